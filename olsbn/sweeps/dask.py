"""The same tiles on Dask workers. With a store the workers write their own tiles, and the store stays the only truth.

Nothing is oversubscribed: a tile runs on one thread and calls no BLAS, so a worker computes as many tiles at once as it
has threads, and `dask worker --nthreads N` is all there is to set.
"""

from __future__ import annotations

import logging
import queue
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from olsbn.files import path_or_url
from olsbn.sweeps.compute import run_tile
from olsbn.sweeps.sinks import Sink
from olsbn.sweeps.spec import engine
from olsbn.sweeps.store import Store, StoreError, open_store
from olsbn.sweeps.tiling import Tile

_CONNECT = 10.0  # seconds to reach a scheduler
_WORKERS = 60.0  # seconds to wait for a first worker, and for another one when all are gone
_LOST = 5.0  # seconds without a scheduler after which it counts as lost
_SCHEDULER_LOST = "the Dask scheduler was lost"


def connect(address: str, *, quiet: bool = False) -> Any:
    """Return a client of the scheduler at `address`; `quiet` leaves it to exceptions to say what went wrong."""
    try:
        from distributed import Client
    except ImportError as err:
        raise ImportError('Dask needs the extra "dask": pip install "olsbn[dask]"') from err
    if quiet:
        for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        return Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as err:
        raise ValueError(f"cannot reach a Dask scheduler at {address!r} ({type(err).__name__})") from err


def check_writers(client: Any, store: Sink) -> None:
    """Make sure that every worker of `client` can write to a store, or say which one cannot and why."""
    _await_workers(client)
    with _scheduler_needed(client):
        complaints = client.run(_cannot_write, *_place(store), on_error="return")
    for worker, complaint in complaints.items():
        if isinstance(complaint, OSError):  # it has just left; its tiles will go to others
            continue
        if isinstance(complaint, Exception):
            raise StoreError(f"the worker {worker} cannot run olsbn: {complaint}")
        if complaint:
            raise StoreError(f"the worker {worker} {complaint}")


def writer(store: Sink) -> Callable[[Tile], None]:
    """Return what a worker does with a tile: compute it and write it to the store."""
    return partial(_write_tile, *_place(store))


def _place(store: Sink) -> tuple[str, str, str]:
    assert store.path is not None
    path = store.path.resolve() if isinstance(store.path, Path) else store.path
    return str(path), store.spec.fingerprint, engine(store.spec.method)


# -------------------------------------------------------------------- on the worker


def _write_tile(path: str, fingerprint: str, expected: str, tile: Tile) -> None:
    complaint = _cannot_write(path, fingerprint, expected)
    if complaint:  # a worker that came later than the check
        raise StoreError(f"the worker on {socket.gethostname()} {complaint}")
    store = _stored(path, fingerprint)
    store.write(tile, run_tile(store.spec, tile))


def _cannot_write(path: str, fingerprint: str, expected: str) -> str:
    """Say why this worker cannot write to the store, or nothing."""
    try:
        spec = _stored(path, fingerprint).spec
        mine = engine(spec.method)
    except (OSError, ValueError) as err:
        return f"does not see the store as it is here, which must be on a file system that all machines share: {err}"
    if mine != expected:
        return f"has another version of the engine ({mine}, not {expected})"
    return "" if spec.fingerprint == fingerprint else "finds or makes other inputs from the store than are here"


@lru_cache(maxsize=4)
def _stored(path: str, fingerprint: str) -> Store:
    return open_store(path_or_url(path))


# -------------------------------------------------------------------- on the client


def on_workers(client: Any, job: Callable[[Tile], Any], tiles: Iterable[Tile]) -> Iterator[tuple[Tile, Any]]:
    """Call ``job(tile)`` on the workers of `client` and yield each tile with its result, in no fixed order.

    Only a few tiles a thread are kept waiting. An error of a tile is raised.
    """
    _await_workers(client)
    run = uuid.uuid4().hex[:8]  # keys of its own: results of an earlier run are never taken for this one's
    waiting: dict[Any, Tile] = {}
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    todo = iter(enumerate(tiles))
    threads, looked = _threads(client), time.monotonic()
    try:
        while True:
            while len(waiting) < 8 + 3 * threads and (item := next(todo, None)) is not None:
                key = f"olsbn-{run}-{item[0]}"
                with _scheduler_needed(client):
                    future = client.submit(job, item[1], key=key, pure=False)
                waiting[future] = item[1]
                future.add_done_callback(done.put)
            if not waiting:
                return
            try:
                future = done.get(timeout=0.2)
            except queue.Empty:
                _check_alive(client)
            else:
                tile = waiting.pop(future)
                _check_finished(future)
                with _scheduler_needed(client):
                    result = future.result()
                yield tile, result
            if time.monotonic() > looked + 5:
                threads, looked = _threads(client), time.monotonic()
                if threads == 0:
                    _await_workers(client)
    finally:
        if client.status == "running":
            with suppress(Exception):
                client.cancel(list(waiting), force=True)


@contextmanager
def _scheduler_needed(client: Any) -> Iterator[None]:
    """Say in one way that the scheduler was lost, for which a client has many words."""
    try:
        yield
    except CancelledError as err:
        raise ConnectionError(_SCHEDULER_LOST) from err
    except Exception as err:
        if client.status == "running" and not isinstance(err, OSError):
            raise
        raise ConnectionError(_SCHEDULER_LOST) from err


def _check_finished(future: Any) -> None:
    if future.status == "finished":
        return
    if future.status != "error":
        raise ConnectionError(_SCHEDULER_LOST)
    err = future.exception()
    if type(err).__name__ == "KilledWorker":
        raise ConnectionError("a tile was lost with every worker that tried it: are they out of memory?") from err
    raise err


def _check_alive(client: Any) -> None:
    until = time.monotonic() + _LOST
    while client.status != "running":
        if time.monotonic() > until or client.status == "closed":
            raise ConnectionError(_SCHEDULER_LOST)
        time.sleep(0.1)


def _threads(client: Any) -> int:
    _check_alive(client)
    with _scheduler_needed(client):
        return sum(client.nthreads().values())


def _await_workers(client: Any) -> None:
    try:
        client.wait_for_workers(1, timeout=_WORKERS)
    except TimeoutError as err:
        raise ConnectionError(f"no Dask worker within {_WORKERS:g} s") from err
    except OSError as err:
        raise ConnectionError(_SCHEDULER_LOST) from err
