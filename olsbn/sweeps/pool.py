"""Many tiles on threads; `olsbn.sweeps.dask` has the same on workers of Dask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from olsbn._validate import as_count

WORKERS = 4096  # threads at most: a system gives no more to a process by default

Result = TypeVar("Result")
Item = TypeVar("Item")


def on_threads(
    compute: Callable[[Item, np.ndarray], Result],
    tiles: Iterable[Item],
    workers: int | None = None,
    *,
    brief: bool = False,
) -> Iterator[tuple[Item, Result]]:
    """Call ``compute(tile, cancel)`` on threads and yield each tile with its result as it is done, in no fixed order.

    Only a few tiles wait at a time, so memory does not grow with their number. Closing the iterator, or an exception
    such as KeyboardInterrupt, sets `cancel`, which stops the kernels within milliseconds; the tiles in flight are
    dropped. Where all tiles are `brief` they are computed on the caller's thread: to start others takes longer.
    """
    workers = processors() if workers is None else as_count("workers", workers, minimum=1, maximum=WORKERS)
    cancel = np.zeros(1, np.uint8)
    if brief:
        yield from ((tile, compute(tile, cancel)) for tile in tiles)
        return
    waiting: dict[Future[Result], Item] = {}
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
    [(_, result)] = on_threads(lambda _, cancel: compute(cancel), ["the only one"], workers=1)
    return result


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
