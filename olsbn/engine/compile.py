"""Compilation of the kernels and the cache of compiled code."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba import njit
from numba.core import sigutils
from numba.core.ccallback import CFunc


def _wide() -> bool:
    """Whether the code is for a processor with 32 vector registers of 512 bits."""
    asked = os.environ.get("NUMBA_CPU_FEATURES")
    return "+avx512f" in asked if asked is not None else bool(get_host_cpu_features().get("avx512f"))


# Cells a block advances at once, so that their sums and coefficients just fit the registers: four vectors of 512 bits
# where there are such, else four of 256. (Tests set the variable to show that results do not depend on it.)
LANES = int(os.environ.get("OLSBN_LANES", "32" if _wide() else "16"))

_HERE = Path(__file__).parent


def _cache_dir(*sources: Path) -> Path | None:
    """Return a writable directory that only this code, compiled by this numba, uses; None if there is none.

    numba notices an edited file by time and size only, looks at no file but the function's own, and writes next to the
    source. Keying by the content of all kernels, for they call each other, makes stale code impossible and lets
    read-only installations work. `sources` are further files that the code follows from, which may lie elsewhere.
    """
    key = hashlib.sha256()
    for path in [*sorted(_HERE.glob("*.py")), *sorted(path for path in sources if path.parent != _HERE)]:
        text = path.read_bytes()
        key.update(f"{path.name} {len(text)} ".encode() + text)
    key.update(f"{numba.__version__} {llvmlite.__version__} {np.__version__} {LANES}".encode())
    base = os.environ.get("OLSBN_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "olsbn" / key.hexdigest()[:20]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def cache_folder() -> Path | None:
    """Return where the compiled kernels of this version are kept on this machine; None if nowhere."""
    return _cache_dir(_HERE / "compile.py")


def is_cached() -> bool:
    """Whether some kernel of this version was compiled before on this machine."""
    folder = cache_folder()
    return folder is not None and any(folder.rglob("*.nbc"))


_config: Any = numba.config


def entry(func: Callable[..., Any]) -> Any:
    """Compile on first call, without the GIL, and reuse the machine code of earlier processes where possible."""
    dispatcher = njit(nogil=True, error_model="numpy")(func)
    folder = None if _config.DISABLE_JIT else _cache_dir(Path(func.__code__.co_filename))
    if folder is not None:
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(folder)
        try:
            dispatcher.enable_caching()
        finally:
            _config.CACHE_DIR = before
    return dispatcher


_alive: list[Any] = []  # functions whose addresses are in use


def entry_address(func: Callable[..., Any], signature: str, sources: list[Path]) -> int:
    """Return the address of a compiled function of numbers, which the engine's loop calls; kept on disk like `entry`.

    `sources` are the files, besides those here, that its code follows from.
    """
    function = CFunc(func, sigutils.normalize_signature(signature), {}, {})
    folder = _cache_dir(*sources)
    if folder is not None:
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(folder)
        try:
            function.enable_caching()
        finally:
            _config.CACHE_DIR = before
    function.compile()
    _alive.append(function)
    return int(function.address or 0)


inline = njit(nogil=True, error_model="numpy", inline="always")
helper = njit(nogil=True, error_model="numpy")
