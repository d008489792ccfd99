"""The right to write to a store: one process, or one for each shard of a sweep."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from olsbn.files import open_own, printable, read_bytes
from olsbn.sweeps.store.errors import StoreError

Shard = tuple[int, int]  # (i, n): part i of n, 1 <= i <= n
WHOLE: Shard = (1, 1)
_SHARD_LOCK = "lock-"  # beside the lock, one for each shard: lock-2-of-8
PATIENCE = 60.0  # seconds a shard waits for another one to prepare the store


class Right(Protocol):
    """The right to write to a store. `alone`: no other process has it yet, so leftovers may be swept."""

    alone: bool

    def share(self) -> None:
        """Let the other shards in; from here on nothing but the own tiles may be written."""
        ...


class _Locked:
    """The right to write to a folder."""

    def __init__(self, fd: int, alone: bool, n_shards: int) -> None:
        self._fd, self.alone, self._n_shards = fd, alone, n_shards

    def share(self) -> None:
        """Let the other shards in; from here on nothing but the own tiles may be written."""
        if self.alone and self._n_shards > 1 and not _flock(self._fd, shared=True):
            raise StoreError("another process took the store over before its shards could start; try again")


@contextlib.contextmanager
def writing(lock: Path, shard: Shard = WHOLE, patience: float = PATIENCE) -> Iterator[Right]:
    """Hold the right to write to a store, by its lock file: one process for all of it, or one for each of n shards.

    The kernel gives up a lock with the process that holds it, however that ends. It is flock: on NFS it holds between
    machines where the server keeps locks (NFSv4, or v3 with lockd), on Lustre if mounted with `flock`. Where a file
    system has no locks, a warning says so; two writers of one sweep then waste time, but write the same bytes.
    """
    (i, n), store = shard, lock.parents[1]
    with contextlib.ExitStack() as stack:
        fd, alone = stack.enter_context(locked(lock)), True
        until = time.monotonic() + patience
        while fd is None:
            if n > 1:
                fd, alone = stack.enter_context(locked(lock, shared=True)), False
            if n == 1 or _read(lock).get("shards", n) != n or time.monotonic() > until:
                raise StoreError(f"{store} is being written by {holder(lock)}")
            if fd is None:  # another shard of the same sweep prepares the store, or packs it
                time.sleep(0.05)
        mine = lock if n == 1 else lock.with_name(f"{_SHARD_LOCK}{i}-of-{n}")
        if n > 1 and stack.enter_context(locked(mine)) is None:
            raise StoreError(f"{store}, shard {i}/{n}, is being written by {holder(mine)}")
        since = datetime.now(UTC).isoformat(timespec="seconds")
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "shards": n}
        for file in (mine, lock) if alone else (mine,):
            _tell(file, facts)
        yield _Locked(fd, alone, n)


def writers(lock: Path) -> list[str]:
    """Return who is writing to a store now: one process, or one for each shard that runs."""
    found = []
    for file in (lock, *sorted(lock.parent.glob(f"{_SHARD_LOCK}*"))):
        if not file.exists():
            continue
        with contextlib.suppress(OSError), locked(file, shared=True) as free:
            if free is None:
                i, _, n = file.name.removeprefix(_SHARD_LOCK).partition("-of-")
                found.append(holder(file) if file == lock else f"shard {i}/{n}: {holder(file)}")
    return found


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[int | None]:
    """Hold a lock file, made if need be; yield None if another process has it."""
    fd = open_own(path)
    try:
        yield fd if _flock(fd, shared) else None
    finally:
        os.close(fd)


def holder(lock: Path) -> str:
    """Return what the holder of a lock says of itself."""
    return holder_text(_read(lock))


def holder_text(facts: dict[str, Any]) -> str:
    """Return in words who holds a lock."""
    return f"process {facts.get('pid', '?')} on {facts.get('host', '?')} (since {facts.get('since', '?')})"


def _flock(fd: int, shared: bool) -> bool:
    try:
        import fcntl

        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError) as err:
        warnings.warn(f"cannot lock the store ({err}): make sure that nothing else writes to it", stacklevel=4)
    return True


def _tell(lock: Path, facts: dict[str, Any]) -> None:
    fd = open_own(lock)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, json.dumps(facts).encode())
    finally:
        os.close(fd)


def _read(lock: Path) -> dict[str, Any]:
    """Return what the holder of a lock says of itself; it may be just about to."""
    for _ in range(20):
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            return dict(printable(json.loads(read_bytes(lock, 4096))))
        time.sleep(0.01)
    return {}
