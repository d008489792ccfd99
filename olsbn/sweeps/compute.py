"""Computing a tile: a pure function of the sweep and the tile. Simulation first, then theory's pass over it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from olsbn.dynamics.base import Arrays
from olsbn.dynamics.registry import METHODS
from olsbn.problems import OLSProblem
from olsbn.problems.sample import Sample
from olsbn.schema import EXCESS_FLOOR, Status
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tile


def run_tile(spec: SweepSpec, tile: Tile, cancel: np.ndarray | None = None) -> Arrays:
    """Compute a tile; the arrays have all axes.

    `cancel`, a uint8 array of one element, may be set to 1 from another thread: the tile then returns at once, and the
    cells that had not ended have the status "not run".
    """
    cancel = np.zeros(1, np.uint8) if cancel is None else cancel
    steps = None if spec.record is None else np.array(spec.record, np.int64)
    params, result = spec.cells(tile), spec.empty_block(tile.shape)
    for i, trial in enumerate(tile.trials):
        if cancel[0]:
            break
        cells, trace = simulate(spec, spec.problem(tile.dim, trial), params, steps, cancel)
        cells |= {name: values for name, values in trace.items() if name in result}
        _put(cells, result, i)
    theory = theory_of_tile(spec, tile, result)
    return result | theory


def simulate(
    spec: SweepSpec, problem: OLSProblem, params: Arrays, steps: np.ndarray | None, cancel: np.ndarray, **in_run: Any
) -> tuple[Arrays, Arrays]:
    """Run cells of one problem; return their columns, and what they were like at recorded steps, (steps, cells).

    `in_run` are the method's arguments of that name.
    """
    from olsbn.engine.run import Run

    if in_run:
        x = spec.method.prepare(problem, **spec.options, **in_run)
    else:
        sample = problem.sample if spec.method.needs_sample else None
        x = _prepared(spec.method_name, problem, tuple(spec.options.items()), sample)
    recorded = np.empty(0, np.int64) if steps is None else steps
    run = Run(spec.n_steps, spec.tol, spec.stop == "tol", cancel, recorded, check_rounding=spec.check_rounding)
    with np.errstate(all="ignore"):
        cells, trace = spec.method.tile(x, params, run)
    return cells, {} if steps is None else _after_the_end(cells, trace, steps)


@lru_cache(maxsize=16)
def _prepared(method: str, problem: OLSProblem, options: tuple[tuple[str, Any], ...], sample: Sample | None) -> Any:
    """Return a problem as a method's kernel wants it; problems are equal by their moments, whatever their samples."""
    return METHODS[method].prepare(problem, **dict(options))


def _after_the_end(cells: Arrays, trace: Arrays, steps: np.ndarray) -> Arrays:
    """Fill the recorded steps after a cell's end.

    At the floor nothing that float64 can show changes any more: the excess is 0 from there on. A degenerate cell stays
    where it is, from its start or, without spread in a batch, from a later step on. What diverged has no numbers.
    """
    after = steps[:, None] > cells["n_steps_run"]
    low = cells["excess"] <= EXCESS_FLOOR
    still = (cells["status"] == Status.DEGENERATE) & (steps[:, None] >= cells["n_steps_run"])
    found = {}
    for name, values in trace.items():
        last = cells.get("excess" if name == "residual" else name, np.full(after.shape[1], np.nan))
        gone: Any = np.where(low, 0.0 if name in ("excess", "residual") else last, np.nan)
        if values.dtype == bool:
            gone = last
        found[name] = np.where(still, last, np.where(after, gone, values)).astype(values.dtype)
    return found


def theory_of_tile(spec: SweepSpec, tile: Tile, simulated: Mapping[str, np.ndarray]) -> Arrays:
    """Return theory's variables of a tile: a function of what was simulated and stored, over all axes."""
    params, empty = spec.cells(tile), spec.empty_block(tile.shape)
    result = {name: values for name, values in empty.items() if spec.column(name).theory}
    for i, trial in enumerate(tile.trials):
        n_cells = next(iter(params.values())).size if params else 1
        cells = {name: _at_the_end(values[0, i], n_cells) for name, values in simulated.items()}
        _put(theory_of_cells(spec, spec.problem(tile.dim, trial), params, cells), result, i)
    return result


def theory_of_cells(
    spec: SweepSpec, problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]
) -> Arrays:
    """Return theory's variables of cells of one problem; NaN where nothing was run."""
    with np.errstate(all="ignore"):
        rate = spec.method.theory.rate(problem, params, cells)
    lost = np.isin(cells["status"], (Status.NOT_RUN, Status.DEGENERATE))
    lost |= any(name in spec.told_options for name in spec.method.unsteady)
    return {"rate_theory": np.where(lost, np.nan, rate)}


def _at_the_end(values: np.ndarray, n_cells: int) -> np.ndarray:
    """Return a variable as vector over the cells: of recorded steps the last one before the cell ended."""
    values = values.reshape(-1, n_cells)
    if len(values) == 1 or values.dtype.kind != "f":
        return values[-1]
    last = len(values) - 1 - np.argmax(np.isfinite(values[::-1]), axis=0)
    return values[last, np.arange(n_cells)]


def _put(cells: Mapping[str, np.ndarray], result: Arrays, trial: int) -> None:
    for name in result.keys() & cells.keys():
        block = result[name]
        block[0, trial] = np.reshape(cells[name], block.shape[2:])
