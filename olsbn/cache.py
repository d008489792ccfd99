"""The cache of compiled code: what is wrong with it costs a compilation and a warning, never the run.

numba notices an edited file by time and size only, looks at no file but the function's own, writes next to the source,
and lets a damaged or full cache end the program. Here a folder belongs to the content of all kernels.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator

from olsbn.files import read_bytes, write_whole

_config: Any = numba.config


def folder_of(sources: Iterable[Path], facts: str) -> Path | None:
    """Return the folder that only this code, compiled in this way, uses; None if there is nowhere to keep it."""
    key = hashlib.sha256()
    for path in sources:
        text = path.read_bytes()
        key.update(f"{path.name} {len(text)} ".encode() + text)
    key.update(facts.encode())
    base = _base()
    return None if base is None else base / "olsbn" / key.hexdigest()[:20]


def _base() -> Path | None:
    for name in ("OLSBN_CACHE_DIR", "XDG_CACHE_HOME"):
        if os.environ.get(name):
            return Path(os.environ[name])
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # no HOME, and a user without an entry, as in a container
        return None


@lru_cache
def _sources() -> bytes:
    """Return a hash of all sources of the package."""
    root, sha = Path(__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        text = path.read_bytes()
        sha.update(f"{path.relative_to(root)} {len(text)} ".encode() + text)
    return sha.digest()


def kept_text(name: str, pattern: str, make: Callable[[], str]) -> str:
    """Return a short text that follows from the sources of the package, kept on disk as far as that can be done."""
    base = _base()
    if base is None:
        return make()
    key = hashlib.sha256(_sources() + name.encode()).hexdigest()[:20]
    file = base / "olsbn" / "texts" / key
    with suppress(OSError, ValueError):
        if re.fullmatch(pattern, found := read_bytes(file, 1000).decode()):
            return found
    text = make()
    with suppress(OSError, ValueError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())
    return text


@lru_cache
def state(folder: Path | None) -> str:
    """Return how a folder can be used: "writable", "read-only" with compiled code in it, or "none" and why."""
    if folder is None:
        return "none: there is no home directory"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
        return "writable"
    except OSError as err:
        if holds_code(folder):
            return "read-only"
        return f"none: {folder}: {err.strerror or err}"


def holds_code(folder: Path) -> bool:
    """Whether compiled code is in a folder."""
    with suppress(OSError):
        return any(folder.rglob("*.nbc"))
    return False


def damaged(folder: Path) -> list[Path]:
    """Return the files in a folder that cannot be loaded."""
    import pickle

    found = []
    for file in sorted([*folder.rglob("*.nbi"), *folder.rglob("*.nbc")]):
        try:
            with file.open("rb") as opened:
                pickle.load(opened)
                if file.suffix == ".nbi":
                    pickle.load(opened)
        except Exception:  # a damaged pickle raises anything
            found.append(file)
    return found


def attach(dispatcher: Any, func: Callable[..., Any], folder: Path | None) -> None:
    """Let a compiled function keep its machine code in a folder, as far as that can be used."""
    if folder is None or state(folder).startswith("none"):
        return
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        dispatcher._cache = _Cache(func)
    except (OSError, RuntimeError) as err:
        _warn(folder, err)
    finally:
        _config.CACHE_DIR = before


class _Locator(UserProvidedCacheLocator):
    """The folder that was asked for, which need not be writable."""

    def ensure_cache_path(self) -> None:
        with suppress(OSError):
            super().ensure_cache_path()


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _Cache(FunctionCache):
    """numba's cache of a function; where it cannot load or save, the function is compiled, or not kept."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as err:  # what was pickled and is damaged raises anything
            _warn(self._cache_path, err)
            with suppress(OSError):
                Path(self._cache_path, self._cache_file._index_name).unlink()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as err:  # as above: numba reads the index before it writes to it
            if not isinstance(err, PermissionError) and getattr(err, "errno", None) != 30:
                _warn(self._cache_path, err)


@lru_cache(maxsize=1)
def _warn_once(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=2)


def _warn(folder: Any, err: BaseException) -> None:
    words = f"{type(err).__name__}: {err}"[:200]
    _warn_once(f"the cache of compiled code in {folder} cannot be used ({words}); compiling instead")
