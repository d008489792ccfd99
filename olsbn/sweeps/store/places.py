"""Where the files of a store are: a folder, or (`cloud`) a bucket. The rest of a store knows names only."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from olsbn.files import PARTIAL, check_folder, read_bytes, remove, write_whole
from olsbn.sweeps.store import lock
from olsbn.sweeps.store.lock import Right, Shard

OWN = "olsbn"  # the folder of a store that holds what is not the result
LOCK = f"{OWN}/lock"
_PACKING = ".packing."


class Stage(Protocol):
    """Files on their way into a store."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        ...

    def publish(self, tops: Iterable[str]) -> None:
        """Put what was written into place: the folders `tops`, and a file of `OWN`."""
        ...


class Place(Protocol):
    """Files by name. A file is there in full or not at all; names have slashes, and lead nowhere else."""

    def at(self, name: str) -> Path | str:
        """Return what a file is called in messages."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """Return a file of at most `most` bytes; FileNotFoundError, or UnsafeFile for what is no such file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file; an old one is replaced."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, without the folder; none if it is not there."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        ...

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove files and folders, with all that is in them, of a folder."""
        ...

    def make(self, folder: str) -> None:
        """Make a folder, where there is such a thing."""
        ...

    def stage(self) -> AbstractContextManager[Stage]:
        """Let many files be written that are in use only when all of them are there."""
        ...

    def size(self) -> int:
        """Return the bytes of all files."""
        ...

    def leftovers(self) -> list[Path]:
        """Return what killed writers left behind."""
        ...

    def is_writable(self) -> bool:
        """Whether this process may write here, as far as is known."""
        ...

    def mark(self) -> Any:
        """Return what tells this place from another one that was made at the same path later."""
        ...

    def writing(self, shard: Shard, patience: float) -> AbstractContextManager[Right]:
        """Hold the right to write: one process, or one for each of n shards; wait so long for shards that prepare."""
        ...

    def writers(self) -> list[str]:
        """Return who is writing here now."""
        ...


class Folder:
    """A folder of this machine, or of a file system that machines share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def at(self, name: str) -> Path:
        """Return the path of a file."""
        return self.path / name

    def read(self, name: str, most: int) -> bytes:
        """Return a regular file, on the way to which there is no link."""
        self._check(name)
        return read_bytes(f"{self.path}/{name}", most)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, on the way to which there is no link."""
        self._check(name)
        write_whole(self.path / name, data)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        try:
            check_folder(self.path, *folder.split("/"))
            return os.listdir(self.path / folder)
        except FileNotFoundError:
            return []

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.path / name).exists()

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove files and folders; links are not followed."""
        with contextlib.suppress(FileNotFoundError):
            if folder:
                check_folder(self.path, *folder.split("/"))
            for name in names:
                remove(self.path / folder / name)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Stage]:
        """Collect files in a hidden folder."""
        work = self.path / OWN / f"{_PACKING}{secrets.token_hex(8)}"
        try:
            yield _Staged(self.path, work)
        finally:
            remove(work)

    def make(self, folder: str) -> None:
        """Make a folder, if it is not there."""
        self._check(folder)
        with contextlib.suppress(FileExistsError):
            (self.path / folder).mkdir()

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(os.lstat(os.path.join(top, name)).st_size for top, _, files in os.walk(self.path) for name in files)

    def leftovers(self) -> list[Path]:
        """Return what killed writers left behind."""
        found = [self.path / OWN / "tiles" / name for name in self.names(f"{OWN}/tiles") if name.endswith(PARTIAL)]
        own = self.path / OWN
        return found + [own / name for name in self.names(OWN) if name.endswith(PARTIAL) or name.startswith(_PACKING)]

    def is_writable(self) -> bool:
        """Whether this process may write here."""
        return os.access(self.path / OWN, os.W_OK)

    def mark(self) -> tuple[int, int] | None:
        """Return what tells the folder from another one at its path."""
        try:
            found = (self.path / OWN).lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def writing(self, shard: Shard, patience: float) -> AbstractContextManager[Right]:
        """Hold the right to write."""
        return lock.writing(self.path / LOCK, shard, patience)

    def writers(self) -> list[str]:
        """Return who is writing here now."""
        return lock.writers(self.path / LOCK)

    def _check(self, name: str) -> None:
        check_folder(self.path, *name.split("/")[:-1])


class _Staged:
    """Files in a hidden folder of a store, which is moved into place."""

    def __init__(self, path: Path, work: Path) -> None:
        self._path, self._work, self._files = path, work, list[Path]()

    def write(self, name: str, data: bytes) -> None:
        file = self._work / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self._files.append(file)

    def publish(self, tops: Iterable[str]) -> None:
        for file in self._files:  # the tiles are removed next: a power cut must not cost both
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        for name in tops:
            remove(self._path / name)
            (self._work / name).rename(self._path / name)
        for file in (self._work / OWN).iterdir():
            file.replace(self._path / OWN / file.name)
