"""Computing tiles: one tile as a pure function, many tiles on threads, and a progress meter."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from olsbn import schema
from olsbn._validate import FloatArray, as_count
from olsbn.grids import VARIABLES, Arrays, SweepSpec, Tile
from olsbn.problems import OLSProblem
from olsbn.theory import bngd_contraction_ratio, gd_contraction_ratio

Result = TypeVar("Result")

# -------------------------------------------------------------------- one tile


def run_tile(spec: SweepSpec, tile: Tile, cancel: np.ndarray | None = None) -> Arrays:
    """Compute a tile: a pure function of its arguments. The arrays have all four axes.

    `cancel`, a uint8 array of one element, may be set to 1 from another thread: the tile then returns at once, and the
    cells that had not ended have the status "not run".
    """
    eps, eps_a = (grid.ravel() for grid in np.meshgrid(spec.eps[slice(*tile.eps)], spec.eps_a[slice(*tile.eps_a)]))
    cancel = np.zeros(1, np.uint8) if cancel is None else cancel
    result = {name: np.full(tile.shape, empty, dtype) for name, (dtype, empty) in VARIABLES.items()}
    for i in range(tile.n_trials):
        if cancel[0]:
            break
        with np.errstate(all="ignore"):
            cells, _ = cells_of(spec.problem(tile.dim, tile.trial + i), spec, eps, eps_a, cancel)
        for name, values in result.items():
            values[0, i] = cells[name].reshape(values.shape[2:])
    return result


def cells_of(
    problem: OLSProblem,
    spec: SweepSpec,
    eps: FloatArray,
    eps_a: FloatArray,
    cancel: np.ndarray,
    record: np.ndarray | None = None,
) -> tuple[Arrays, Arrays]:
    """Run cells of one problem; return their columns and what was kept at the steps `record`, each (r, cells)."""
    from olsbn.kernels import bngd, gd
    from olsbn.kernels.run import Run

    kept = np.empty(0, np.int64) if record is None else record
    run = Run(spec.n_steps, spec.tol, spec.stop == "tol", cancel, kept)
    if spec.method == "gd":
        cells, trace = gd.tile(prepared("gd", problem), {"eps": eps}, run)
        cells["rate_theory"] = gd_contraction_ratio(problem, eps, excited=True)
    else:
        cells, trace = bngd.tile(prepared("bngd", problem), {"eps": eps, "eps_a": eps_a}, run)
        cells["rate_theory"] = bngd_contraction_ratio(problem, cells["eps_eff"], eps_a, excited=True)
        cells["rate_theory"][cells["status"] == schema.Status.DEGENERATE] = np.nan
    return cells, trace


@lru_cache(maxsize=16)
def prepared(method: str, problem: OLSProblem) -> Any:
    """Return the coordinates of a problem for a method."""
    from olsbn.kernels import bngd, gd

    return (gd if method == "gd" else bngd).prepare(problem)


# -------------------------------------------------------------------- many tiles


def run_tiles(
    spec: SweepSpec, tiles: Iterable[Tile], *, workers: int | None = None, progress: bool | None = None
) -> Iterator[tuple[Tile, Arrays]]:
    """Compute tiles on threads and yield each with its result as it is done, in no fixed order (see `on_threads`)."""
    tiles = tiles if isinstance(tiles, Sequence) else list(tiles)
    with meter(sum(tile.n_cells for tile in tiles), progress) as advance:
        for tile, result in on_threads(lambda tile, cancel: run_tile(spec, tile, cancel), tiles, workers):
            advance(tile.n_cells)
            yield tile, result


def on_threads(
    compute: Callable[[Tile, np.ndarray], Result], tiles: Iterable[Tile], workers: int | None = None
) -> Iterator[tuple[Tile, Result]]:
    """Call ``compute(tile, cancel)`` on threads and yield each tile with its result as it is done, in no fixed order.

    Only a few tiles wait at a time, so memory does not grow with their number. Closing the iterator, or an exception
    such as KeyboardInterrupt, sets `cancel`, which stops the kernels within milliseconds; the tiles in flight are
    dropped.
    """
    workers = processors() if workers is None else as_count("workers", workers, minimum=1)
    cancel = np.zeros(1, np.uint8)
    waiting: dict[Future[Result], Tile] = {}
    queue = iter(tiles)
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(waiting) < 2 * workers and (tile := next(queue, None)) is not None:
                    waiting[pool.submit(compute, tile, cancel)] = tile
                if not waiting:
                    return
                # the timeout lets the main thread see signals
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    yield waiting.pop(future), future.result()
        finally:
            cancel[0] = 1
            for future in waiting:
                future.cancel()


def interruptible(compute: Callable[[np.ndarray], Result]) -> Result:
    """Return ``compute(cancel)``, from a thread: a signal gets through while a kernel runs (see `on_threads`)."""
    [(_, result)] = on_threads(lambda _, cancel: compute(cancel), [Tile(0, 0, (0, 1), (0, 1))], workers=1)
    return result


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class meter:
    """Progress on standard error: a bar on a terminal, else a plain line now and then; nothing unless `show`."""

    _INTERVAL = 10.0  # seconds between plain lines

    def __init__(self, total: int, show: bool | None, unit: str = "cells") -> None:
        self._total, self._unit = total, unit
        terminal = sys.stderr.isatty()
        self._show = terminal if show is None else show
        self._bar: Any = None
        if self._show and terminal:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=f" {unit}", unit_scale=True, leave=False)

    def __enter__(self) -> Callable[[int], None]:
        self._done, self._began = 0, time.monotonic()
        self._next = self._began + self._INTERVAL
        return self._advance

    def _advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(amount)
        elif self._show and now >= self._next:
            self._next = now + self._INTERVAL
            rate = self._done / (now - self._began)
            left = (self._total - self._done) / rate
            print(
                f"{self._done} of {self._total} {self._unit}, {rate:.3g} a second, {left:.0f} s left", file=sys.stderr
            )

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
