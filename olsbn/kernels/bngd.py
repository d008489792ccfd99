"""BNGD on cells of one problem, in the problem's own units."""

from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.kernels.coordinates import Coordinates, deflate
from olsbn.kernels.deflated import deflated_tile
from olsbn.kernels.lanes import DEGENERATE
from olsbn.kernels.run import Run
from olsbn.problems import OLSProblem

Columns = dict[str, Any]


def prepare(problem: OLSProblem) -> Coordinates:
    """Return the coordinates that `tile` iterates: O(d)."""
    return deflate(problem)


def tile(x: Coordinates, params: dict[str, FloatArray], run: Run) -> tuple[Columns, Columns]:
    """Run BNGD on cells of one problem.

    Parameters
    ----------
    x : Coordinates
        The problem, from `prepare`.
    params : dict of ndarray, each of shape (cells,)
        Learning rates ``eps`` and ``eps_a``.
    run : Run
        How far, and which steps to keep.

    Returns
    -------
    cells : dict of ndarray, each of shape (cells,)
        ``status`` (a code of `olsbn.schema.Status`), ``steps_to_tol``, ``n_steps_run``, ``excess``, ``eps_eff``,
        ``w_norm``, ``a``, ``rate_sim``: as in a sweep, at the step where the cell ended.
    trace : dict of ndarray, each of shape (r, cells)
        ``excess``, ``residual``, ``a``, ``w_norm``, ``eps_eff`` at the steps of `run.record`, NaN after a cell's end.
    """
    eps, eps_a = params["eps"], params["eps_a"]
    if x.degenerate:
        return _degenerate(x, eps.size, run.record.size)
    counts, numbers = np.zeros((eps.size, 4), np.int64), np.full((eps.size, 5), np.nan)
    trace = np.full((run.record.size, eps.size, 6), np.nan)
    with np.errstate(all="ignore"):
        deflated_tile(
            *x.kernel_arguments(), np.ldexp(eps, x.eps_exp), eps_a, run.n_steps, run.tol, run.stop_at_tol,
            run.floor, x.limit(), run.cancel, counts, numbers, run.record, trace,
        )  # fmt: skip
        cells = {
            "status": counts[:, 0],
            "steps_to_tol": counts[:, 1],
            "n_steps_run": counts[:, 2],
            "excess": numbers[:, 0],
            "eps_eff": np.ldexp(numbers[:, 1], x.eigval_exp),
            "w_norm": x.norm(numbers[:, 3], counts[:, 3]),
            "a": x.scale * numbers[:, 2],
            "rate_sim": numbers[:, 4],
        }
        return cells, {
            "excess": trace[..., 0],
            "residual": np.sqrt(trace[..., 1]),
            "a": x.scale * trace[..., 2],
            "w_norm": x.norm(trace[..., 4], np.nan_to_num(trace[..., 5]).astype(int)),
            "eps_eff": np.ldexp(trace[..., 3], x.eigval_exp),
        }


def _degenerate(x: Coordinates, n: int, n_recorded: int) -> tuple[Columns, Columns]:
    """No step can be taken (sigma = 0), or none changes anything (a saddle): on a saddle the loss is J(0, w) = c/2."""
    values = {
        "status": DEGENERATE,
        "steps_to_tol": -1,
        "n_steps_run": 0,
        "excess": 1.0 if x.saddle else np.nan,
        "eps_eff": 0.0 if x.saddle else np.nan,
        "w_norm": x.w0_norm,
        "a": x.a0,
        "rate_sim": np.nan,
    }
    kept = {name: values[name] for name in ("excess", "a", "w_norm", "eps_eff")}
    kept["residual"] = values["excess"]  # on a saddle w'g = 0, so the residual is all of u
    return (
        {name: np.full(n, value) for name, value in values.items()},
        {name: np.full((n_recorded, n), value) for name, value in kept.items()},
    )
