"""BNGD on cells of one problem, in the problem's own units."""

from dataclasses import replace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.coordinates import Coordinates, deflate
from olsbn.engine.deflated import deflated_tile
from olsbn.engine.run import Run
from olsbn.engine.standing import degenerate_cells
from olsbn.engine.star import star_tile
from olsbn.engine.star_coordinates import LARGEST_DIM, StarCoordinates, diagonalise, fastest
from olsbn.problems import OLSProblem

Columns = dict[str, Any]


def prepare(problem: OLSProblem, kernel: str | None = None) -> StarCoordinates | Coordinates:
    """Return the coordinates that `tile` iterates.

    Those of the eigenbasis of H*, O(d^2), up to dimension `LARGEST_DIM`, deflated ones, O(d), above it. `kernel`,
    "star" or "deflated", asks for one of them: each is a witness of the other.
    """
    if (kernel or ("star" if problem.dim <= LARGEST_DIM else "deflated")) == "star":
        return diagonalise(problem)
    return replace(deflate(problem), fastest=fastest(problem))


def tile(x: StarCoordinates | Coordinates, params: dict[str, FloatArray], run: Run) -> tuple[Columns, Columns]:
    """Run BNGD on cells of one problem.

    Parameters
    ----------
    x : StarCoordinates or Coordinates
        The problem, from `prepare`.
    params : dict of ndarray, each of shape (cells,)
        Learning rates ``eps`` and ``eps_a``.
    run : Run
        How far, and which steps to keep.

    Returns
    -------
    cells : dict of ndarray, each of shape (cells,)
        ``status`` (a code of `olsbn.schema.Status`), ``steps_to_tol``, ``n_steps_run``, ``excess``, ``eps_eff``,
        ``w_norm``, ``a``, ``rate_sim``, ``by_rounding``: as in a sweep, at the step where the cell ended. In deflated
        coordinates the mark rests on a coarser bound (`olsbn.engine.fastest`).
    trace : dict of ndarray, each of shape (r, cells)
        ``excess``, ``residual``, ``a``, ``w_norm``, ``eps_eff``, ``by_rounding`` at the steps of `run.record`, NaN
        (and False) after a cell's end.
    """
    eps, eps_a = params["eps"], params["eps_a"]
    if x.degenerate:
        found = degenerate_cells(x, eps.size, run.record.size)
        for part in found:
            part["by_rounding"] = np.zeros(part["excess"].shape, bool)
        return found
    counts, numbers = np.zeros((eps.size, 4), np.int64), np.full((eps.size, 8), np.nan)
    trace = np.full((run.record.size, eps.size, 7), np.nan)
    with np.errstate(all="ignore"):
        ask = np.ldexp(eps, x.eps_exp), eps_a, run.n_steps, run.tol, run.stop_at_tol, run.floor, x.limit(), run.cancel
        if isinstance(x, StarCoordinates):
            star_tile(*x.kernel_arguments(), *ask, counts, numbers, run.record, trace)
        else:
            own = np.full((eps.size, 6), np.nan)
            deflated_tile(*x.kernel_arguments(), *ask, counts, own, run.record, trace)
            numbers[:, [0, 3, 2, 4, 7, 6]] = own
            numbers[:, 5] = counts[:, 3]
        cells = {
            "status": counts[:, 0],
            "steps_to_tol": counts[:, 1],
            "n_steps_run": counts[:, 2],
            "excess": numbers[:, 0],
            "rate_sim": numbers[:, 7],
            "by_rounding": numbers[:, 6] == 1,
            **_in_units(x, numbers),
        }
        return cells, {
            "excess": trace[..., 0],
            "residual": np.sqrt(trace[..., 1]),
            "by_rounding": trace[..., 6] == 1,
            **_in_units(x, trace),
        }


def _in_units(x: StarCoordinates | Coordinates, numbers: FloatArray) -> Columns:
    return {
        "a": x.scale * numbers[..., 2],
        "eps_eff": np.ldexp(numbers[..., 3], x.eigval_exp),
        "w_norm": x.norm(numbers[..., 4], np.nan_to_num(numbers[..., 5]).astype(int)),
    }
