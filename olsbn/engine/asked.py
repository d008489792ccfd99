"""What a tile is asked and where it writes, as two tuples that kernels take as they are."""

from typing import NamedTuple

import numpy as np

from olsbn.engine.run import Run


class Ask(NamedTuple):
    """How far the cells of a tile run, in the order in which `judge` of `olsbn.engine.watch` takes it."""

    n_steps: int
    tol: float
    stop_at_tol: bool
    floor: float
    limit: float  # relative excess past which a run has diverged
    cancel: np.ndarray


class Out(NamedTuple):
    """What is written: integers and numbers of each cell, and the numbers at the steps to record."""

    counts: np.ndarray  # int64[cells, ...]: status, first step with excess <= tol (-1: none), last step, ...
    numbers: np.ndarray  # float64[cells, ...]
    record: np.ndarray  # int64[r], ascending, only read
    trace: np.ndarray  # float64[r, cells, ...]


def ask(run: Run, limit: float) -> Ask:
    """Return what a run asks of a tile whose runs have diverged past `limit`."""
    return Ask(run.n_steps, run.tol, run.stop_at_tol, run.floor, limit, run.cancel)


def empty_out(run: Run, n: int, n_counts: int, n_numbers: int, n_trace: int) -> Out:
    """Return room for n cells: numbers are NaN."""
    shape = (run.record.size, n, n_trace)
    return Out(np.zeros((n, n_counts), np.int64), np.full((n, n_numbers), np.nan), run.record, np.full(shape, np.nan))


def counted(out: Out) -> dict[str, np.ndarray]:
    """Return the columns that the counts are."""
    return {"status": out.counts[:, 0], "steps_to_tol": out.counts[:, 1], "n_steps_run": out.counts[:, 2]}
