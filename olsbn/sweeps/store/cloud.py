"""A bucket as the place of a store: S3, Google Cloud Storage or Azure, by obstore (extra "cloud").

A bucket has no folders, no rename and no flock. It needs none here: an object appears in full when its upload ends, and
a store of one object a tile asks for no more. The right to write is an object that is made only if there is none, and
replaced only if nobody else has replaced it (conditional requests): see `Lease`.

obstore is chosen because it has conditional requests for all three services, is one wheel without dependencies, and
works on threads. fsspec has no conditional replacement, so it has no lock. Icechunk would make a commit of every tile,
which all writers contend for, and a history that nobody asked for.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from olsbn.files import UnsafeFile, printable
from olsbn.sweeps.store.errors import StoreError
from olsbn.sweeps.store.lock import Shard, holder_text
from olsbn.sweeps.store.places import LOCK, OWN, Stage

SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "adl", "azure")
_RENEWED = 5.0  # seconds between two signs of life of a writer
_DEAD = 20.0  # seconds without a sign of life after which a writer counts as dead
_LOOK = 0.5  # seconds between two looks at another's sign of life
_RETRY = timedelta(seconds=60)
_AT_ONCE = 1000  # objects that a request removes at most
_SHARD = "lock-"


class Bucket:
    """Objects below a prefix. What fails is an OSError that names the object."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._store = _opened(self.url)
        self._lease: Lease | None = None

    def at(self, name: str) -> str:
        """Return the URL of an object."""
        return f"{self.url}/{name}"

    def read(self, name: str, most: int) -> bytes:
        """Return an object of at most `most` bytes."""
        return self._get(name, most)[0]

    def _get(self, name: str, most: int) -> tuple[bytes, str | None]:
        import obstore

        with self._failing(name):
            found = obstore.get(self._store, name)
            if found.meta["size"] > most:
                raise UnsafeFile(f"{self.at(name)} must have at most {most} bytes, got {found.meta['size']}")
            return bytes(found.bytes()), found.meta["e_tag"]

    def write(self, name: str, data: bytes) -> None:
        """Write an object; it is there when the last byte has arrived."""
        import obstore

        with self._failing(name):
            obstore.put(self._store, name, data)

    def put_if(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Write an object if there is none, or if it still has this tag; return the new tag, None if refused."""
        import obstore

        with self._failing(name):
            mode: Any = "create" if tag is None else {"e_tag": tag}
            try:
                return str(obstore.put(self._store, name, data, mode=mode, use_multipart=False)["e_tag"])
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError, FileNotFoundError):
                return None

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder."""
        start = f"{folder}/"
        return [name.removeprefix(start) for name in self._all(start) if "/" not in name.removeprefix(start)]

    def _all(self, start: str) -> Iterator[str]:
        import obstore

        with self._failing(start):
            for batch in obstore.list(self._store, start or None):
                yield from (str(found["path"]) for found in batch)

    def size(self) -> int:
        """Return the bytes of all objects."""
        import obstore

        with self._failing(""):
            return sum(int(found["size"]) for batch in obstore.list(self._store) for found in batch)

    def exists(self, name: str) -> bool:
        """Whether an object is there."""
        import obstore

        with self._failing(name):
            try:
                obstore.head(self._store, name)
            except FileNotFoundError:
                return False
            return True

    def is_empty(self) -> bool:
        """Whether there is no object below the prefix."""
        return next(self._all(""), None) is None

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove objects, and all below them."""
        import obstore

        start = f"{folder}/" if folder else ""
        every: list[str] = []
        for name in names:
            every += [f"{start}{name}", *self._all(f"{start}{name}/")]
        self._must_hold()
        for k in range(0, len(every), _AT_ONCE):
            with self._failing(start), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, every[k : k + _AT_ONCE])

    def make(self, folder: str) -> None:
        """Do nothing: there are no folders."""

    @contextlib.contextmanager
    def stage(self) -> Iterator[Stage]:
        """Write in place: what belongs together is in use when its manifest is there."""
        yield _InPlace(self)

    def leftovers(self) -> list[Path]:
        """Return nothing: an upload that was cut off leaves no object."""
        return []

    def is_writable(self) -> bool:
        """Return True: only the service knows."""
        return True

    def mark(self) -> None:
        """Raise if the right to write was lost: the store was removed, or another process took it over."""
        self._must_hold()

    @contextlib.contextmanager
    def writing(self, shard: Shard, patience: float) -> Iterator[Lease]:
        """Hold the right to write: one process for all of it, or one for each of n shards."""
        lease = Lease(self, shard, patience)
        self._lease = lease
        try:
            yield lease
        finally:
            self._lease = None
            lease.end()

    def writers(self) -> list[str]:
        """Return who is writing now; this takes some seconds where a writer is on another machine."""
        found = []
        for name in sorted(self.names(OWN)):
            if (name == "lock" or name.startswith(_SHARD)) and (facts := _alive(self, f"{OWN}/{name}")) is not None:
                i, _, n = name.removeprefix(_SHARD).partition("-of-")
                found.append(holder_text(facts) if name == "lock" else f"shard {i}/{n}: {holder_text(facts)}")
        return found

    def _must_hold(self) -> None:
        if self._lease is not None:
            self._lease.check()

    @contextlib.contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        import obstore

        try:
            yield
        except obstore.exceptions.BaseError as err:
            raise OSError(errno.EIO, _words(err), self.at(name)) from err


class _InPlace:
    """Objects that are written where they belong."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def write(self, name: str, data: bytes) -> None:
        self._bucket.write(name, data)

    def publish(self, tops: Iterable[str]) -> None:
        self._bucket.mark()


class Lease:
    """The right to write to a bucket: an object that its holder replaces every few seconds.

    It is made and replaced by conditional requests, so two processes cannot both succeed. A holder that was killed
    replaces it no more: another process takes it over, at once if it can see on the same machine that the holder is
    gone, else after 20 seconds. No clocks of two machines are compared. A holder that slept longer than that finds its
    right lost at its next tile. The tiles it wrote meanwhile have the same bits.

    Shards pass through the whole store's lock, one at a time. The first of them keeps it until the store is mended.
    """

    def __init__(self, bucket: Bucket, shard: Shard, patience: float) -> None:
        i, n = shard
        self._bucket, self._n, self._tags = bucket, n, dict[str, str]()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "shards": n} | _machine()
        self._lost, self._renewed, self._stop = False, time.monotonic(), threading.Event()
        self._guard = threading.Lock()
        until = time.monotonic() + patience
        while (other := self._take(LOCK)) is not None:
            if n == 1 or other.get("shards", n) != n or time.monotonic() > until:
                raise StoreError(f"{bucket.url} is being written by {holder_text(other)}")
            time.sleep(_LOOK)  # another shard prepares the store, or packs it
        try:
            mine = f"{OWN}/{_SHARD}{i}-of-{n}"
            others = [f"{OWN}/{name}" for name in bucket.names(OWN) if name.startswith(_SHARD)]
            alive = {name: facts for name in others if (facts := _alive(bucket, name)) is not None}
            for name, facts in alive.items():
                if n == 1 or facts.get("shards") != n or name == mine:
                    where = f", shard {i}/{n}," if name == mine else ""
                    raise StoreError(f"{bucket.url}{where} is being written by {holder_text(facts)}")
            self.alone = not alive
            if n > 1:
                self._take(mine)
                if not self.alone:
                    self._drop(LOCK)
        except BaseException:
            self.end()
            raise
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def share(self) -> None:
        """Let the other shards in."""
        if self.alone and self._n > 1:
            self._drop(LOCK)

    def check(self) -> None:
        """Raise if the right was lost."""
        if self._lost or time.monotonic() - self._renewed > _DEAD:
            words = "the store was removed while it was written, or another process took it over"
            raise OSError(errno.ESTALE, words, self._bucket.url)

    def end(self) -> None:
        """Give the right back."""
        self._stop.set()
        for name in list(self._tags):
            with contextlib.suppress(OSError):
                self._drop(name)

    def _take(self, name: str) -> dict[str, Any] | None:
        """Take a lock; return its living holder if there is one."""
        for _ in range(10):
            tag = self._put(name, None)
            if tag is None:
                found = _look(self._bucket, name)
                if found is not None and _is_alive(self._bucket, name, *found):
                    return found[0]
                tag = found and self._put(name, found[1])
            if tag:
                self._tags[name] = tag
                return None
        return (_look(self._bucket, name) or ({}, ""))[0]

    def _put(self, name: str, tag: str | None) -> str | None:
        """Make or replace a lock; return its tag, None if another process was first."""
        sign = uuid.uuid4().hex
        made = self._bucket.put_if(name, json.dumps({**self._facts, "sign": sign}).encode(), tag)
        if made is None and (found := _look(self._bucket, name)) is not None and found[0].get("sign") == sign:
            return found[1]  # the answer to a first request was lost, and its repetition found what it had made
        return made

    def _drop(self, name: str) -> None:
        with self._guard:
            if tag := self._tags.pop(name, None):
                found = _look(self._bucket, name)
                if found is not None and found[1] == tag:  # not another's, who took it over
                    import obstore

                    with self._bucket._failing(name), contextlib.suppress(FileNotFoundError):
                        obstore.delete(self._bucket._store, name)

    def _renew(self) -> None:
        while not self._stop.wait(_RENEWED):
            began = time.monotonic()
            with contextlib.suppress(OSError), self._guard:  # a network that fails for a moment: tried again
                for name in list(self._tags):
                    tag = self._put(name, self._tags[name])
                    if tag is None:
                        self._lost = True
                        return
                    self._tags[name] = tag
                self._renewed = began


def _look(bucket: Bucket, name: str) -> tuple[dict[str, Any], str] | None:
    """Return what the holder of a lock says of itself, and the tag of its last sign of life."""
    try:
        data, tag = bucket._get(name, 4096)
    except FileNotFoundError:
        return None
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return dict(printable(json.loads(data))), str(tag)
    return {}, str(tag)


def _alive(bucket: Bucket, name: str) -> dict[str, Any] | None:
    """Return what the holder of a lock says of itself, if it lives."""
    found = _look(bucket, name)
    return found[0] if found is not None and _is_alive(bucket, name, *found) else None


def _is_alive(bucket: Bucket, name: str, facts: dict[str, Any], tag: str) -> bool:
    """Whether the holder of a lock lives: its process is here, or it gives a sign of life."""
    here = _machine()
    if here and all(facts.get(key) == value for key, value in here.items() if key != "started"):
        return isinstance(facts.get("pid"), int) and _started(facts["pid"]) == facts.get("started")
    until = time.monotonic() + _DEAD
    while time.monotonic() < until:
        time.sleep(_LOOK)
        found = _look(bucket, name)
        if found is None:
            return False
        if found[1] != tag:
            return True
    return False


def _machine() -> dict[str, Any]:
    """Return what tells this machine, and its table of processes, from all others; nothing where it cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return {"machine": f"{boot} {os.readlink('/proc/self/ns/pid')}", "started": _started(os.getpid())}
    except OSError:
        return {}


def _started(pid: int) -> int | None:
    """Return when a process of this machine was started; None if it is not there, or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@lru_cache(maxsize=8)
def _opened(url: str) -> Any:
    """Return obstore's object for a URL. Keys, region and endpoint are those of the environment: AWS_REGION, ..."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not re.fullmatch(r"[^/?#]+/[^?#]*[^/?#]", rest):
        allowed = f"SCHEME://BUCKET/NAME with SCHEME one of {', '.join(SCHEMES)}"
        raise ValueError(f"a store in a bucket must be {allowed}, got {printable(url)}")
    try:
        from obstore.store import from_url
    except ImportError as err:
        raise ImportError('a store in a bucket needs the extra "cloud": pip install "olsbn[cloud]"') from err
    from obstore.exceptions import BaseError

    try:
        return from_url(
            url,
            retry_config={"max_retries": 5, "retry_timeout": _RETRY},
        )
    except BaseError as err:
        raise ValueError(f"{url} cannot be opened: {_words(err)}") from err


def _words(err: Exception) -> str:
    """Return what obstore says, in one line."""
    return str(printable(" ".join(str(err).split("Debug source")[0].split())[:300]))
