"""Cells of BNGD that cannot step: sigma = 0 at the start, or a saddle, where no step changes anything."""

from typing import Any

import numpy as np

from olsbn.engine.lanes import DEGENERATE


def degenerate_cells(x: Any, n: int, n_recorded: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a tile of n such cells returns; on a saddle the loss is J(0, w) = c/2.

    `x`, the start in some coordinates, has `saddle`, and `a0` and `w0_norm` in the problem's own units.
    """
    kept = {
        "excess": 1.0 if x.saddle else np.nan,
        "a": x.a0,
        "w_norm": x.w0_norm,
        "eps_eff": 0.0 if x.saddle else np.nan,
    }
    cells = {"status": DEGENERATE, "steps_to_tol": -1, "n_steps_run": 0, "rate_sim": np.nan, **kept}
    kept["residual"] = kept["excess"]  # on a saddle w'g = 0, so the residual is all of u
    return (
        {name: np.full(n, value) for name, value in cells.items()},
        {name: np.full((n_recorded, n), value) for name, value in kept.items()},
    )
