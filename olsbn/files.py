"""Files of folders that somebody else may have filled: nothing outside of them is followed, written or waited for."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTIAL = ".partial"  # ends the name of a file that is being written
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class UnsafeFile(ValueError):
    """A file that is not what it should be: a link, a pipe, a device, too large, or outside of its folder."""


def is_url(text: Any) -> bool:
    """Whether text is the URL of a store in a bucket, and not a path."""
    return isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def path_or_url(text: str | os.PathLike[str]) -> Path | str:
    """Return a path as such, and a URL as it is."""
    return text if isinstance(text, str) and is_url(text) else Path(text)


def read_bytes(path: Path | str, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Links are not followed, and the call does not wait for the writer of a pipe.

    Raises
    ------
    UnsafeFile
        If the file is not a regular one, or is larger.
    OSError
        If it cannot be read.
    """
    fd = _open(path, os.O_RDONLY)
    try:
        size = _regular(fd, path).st_size
        if size > most:
            raise UnsafeFile(f"{path} must have at most {most} bytes, got {size}")
        data = os.read(fd, size)
        if len(data) < size:  # a system call returns 2 GB at most
            with os.fdopen(fd, "rb", closefd=False) as file:
                data += file.read(most - len(data))
        return data
    finally:
        os.close(fd)


def open_own(path: Path) -> int:
    """Return a file descriptor to read and write a file, which is made if need be.

    It must be a regular file with one name, so that nobody else's file is changed by writing to it.
    """
    fd = _open(path, os.O_RDWR | os.O_CREAT)
    try:
        if _regular(fd, path).st_nlink > 1:
            raise UnsafeFile(f"{path} must be a file with one name, got one with other hard links")
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there in full or not at all, under a fresh name first; an old one is replaced."""
    work = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    fd = _open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        work.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            work.unlink()
        raise


def check_folder(root: Path, *names: str) -> Path:
    """Return the folder `root`/names; below `root` none of them may be a link."""
    path = str(root)
    for name in names:
        path = f"{path}/{name}"
        mode = os.lstat(path).st_mode
        if not stat.S_ISDIR(mode):
            raise UnsafeFile(f"{path} must be a folder, got {_kind(mode)}")
    return Path(path)


def tree(root: Path) -> Iterator[Path]:
    """Yield the files below a folder; anything but regular files and folders is refused."""
    todo = [root]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    todo.append(Path(entry.path))
                elif stat.S_ISREG(mode):
                    yield Path(entry.path)
                else:
                    raise UnsafeFile(f"{entry.path} must be a file or a folder, got {_kind(mode)}")


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there; links are not followed."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:  # rmtree would wait for the writer of a pipe
            path.unlink()


def printable(value: Any) -> Any:
    """Return text, or the texts in lists and dictionaries, with control and invisible characters escaped.

    A terminal obeys such characters, and a title of a result may have been written by anybody.
    """
    if isinstance(value, str):
        if value.isprintable():
            return value
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    if isinstance(value, dict):
        return {printable(key): printable(part) for key, part in value.items()}
    return [printable(part) for part in value] if isinstance(value, list) else value


def _open(path: Path | str, flags: int) -> int:
    try:
        return os.open(path, flags | _NO_FOLLOW, 0o666)
    except OSError as err:
        if err.errno in (errno.ELOOP, errno.EMLINK):
            raise UnsafeFile(f"{path} must be a regular file, got a symbolic link") from None
        if err.errno == errno.ENXIO:
            raise UnsafeFile(f"{path} must be a regular file, got a pipe or a socket") from None
        if err.errno == errno.EISDIR:
            raise UnsafeFile(f"{path} must be a regular file, got a folder") from None
        raise


def _regular(fd: int, path: Path | str) -> os.stat_result:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFile(f"{path} must be a regular file, got {_kind(found.st_mode)}")
    return found


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    )
    return next((words for test, words in kinds if test(mode)), "a device")
