"""A loop for methods that are written in NumPy: it judges, records and stops as the kernels do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from olsbn.dynamics.base import Arrays
from olsbn.schema import EXCESS_LIMIT, Status

if TYPE_CHECKING:
    from olsbn.engine.run import Run

State = TypeVar("State")


def iterate(
    start: State, step: Callable[[State, int], State], measure: Callable[[State], Arrays], run: Run
) -> tuple[Arrays, Arrays]:
    """Run all cells of a tile side by side and return what `olsbn.dynamics.base.Method.tile` does.

    Parameters
    ----------
    start : any
        The state of all cells at step 0.
    step : callable
        ``step(state, k)`` returns the state after step k, k from 0. Cells that have ended are stepped on and ignored.
    measure : callable
        ``measure(state)`` returns the columns of a state by name, each over the cells: `excess` and whatever else the
        method has.
    run : olsbn.engine.run.Run
        How far, and what to record.

    Notes
    -----
    Cells end by the rule of `olsbn.engine.ending`.

    `rate_sim` is the last ratio of the square root of the excess where it has been the same, to 1e-10, for the last
    three steps; else NaN.
    """
    state, here = start, measure(start)
    n = here["excess"].size
    status, hit, end = np.full(n, Status.NOT_RUN), np.full(n, -1), np.full(n, -1)
    last = {name: values.copy() for name, values in here.items()}
    ratios = np.full((3, n), np.nan)
    trace = {name: np.full((run.record.size, n), np.nan) for name in here}
    limit = EXCESS_LIMIT * np.maximum(1.0, here["excess"])
    for k in range(run.n_steps + 1):
        excess, going = here["excess"], status == Status.NOT_RUN
        hit[going & (hit < 0) & (excess <= run.tol)] = k
        reached = hit >= 0
        ended = {
            Status.NON_FINITE: np.isnan(excess) | (np.isinf(excess) & (k == 0)),
            Status.DIVERGED: excess > limit,
            Status.CONVERGED: reached & ((excess <= run.floor) | run.stop_at_tol | (k == run.n_steps)),
            Status.MAX_STEPS: ~reached & ((excess <= run.floor) | (k == run.n_steps)),
        }
        with np.errstate(all="ignore"):
            ratios = np.where(going, np.stack([*ratios[1:], np.sqrt(excess / last["excess"])]), ratios)
        for name, values in here.items():
            last[name][going] = values[going]
            trace[name][run.record == k] = np.where(going, values, np.nan)
        for code, where in ended.items():
            now = going & where & (status == Status.NOT_RUN)
            status[now], end[now] = code, k
        if run.cancel[0] or not (status == Status.NOT_RUN).any():
            break
        state = step(state, k)
        here = measure(state)
    with np.errstate(all="ignore"):
        settled = np.ptp(ratios, axis=0) <= 1e-10 * ratios[-1]
    rate = np.where(settled & (status != Status.DIVERGED), ratios[-1], np.nan)
    return {"status": status, "steps_to_tol": hit, "n_steps_run": end, **last, "rate_sim": rate}, trace
