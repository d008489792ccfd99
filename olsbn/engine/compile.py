"""Compilation of the engine; `olsbn.cache` keeps the compiled code."""

import os
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

from olsbn.cache import attach, folder_of, holds_code


def _wide() -> bool:
    """Whether the code is for a processor with 32 vector registers of 512 bits."""
    asked = os.environ.get("NUMBA_CPU_FEATURES")
    return "+avx512f" in asked if asked is not None else bool(get_host_cpu_features().get("avx512f"))


# Cells a block advances at once, so that their sums and coefficients just fit the registers: four vectors of 512 bits
# where there are such, else four of 256. (Tests set the variable to show that results do not depend on it.)
LANES = int(os.environ.get("OLSBN_LANES", "32" if _wide() else "16"))

_HERE = Path(__file__).parent


def _cache_dir(*sources: Path) -> Path | None:
    """Return the folder of code that follows from the files `sources`; None if it cannot be kept.

    All files of the engine take part in its name, for they call each other.
    """
    every = [*sorted(_HERE.glob("*.py")), *sorted(path for path in sources if path.parent != _HERE)]
    return folder_of(every, f"{numba.__version__} {llvmlite.__version__} {np.__version__} {LANES}")


def cache_folder() -> Path | None:
    """Return where the compiled engine of this version is kept on this machine; None if nowhere."""
    return _cache_dir(_HERE / "compile.py")


def is_cached() -> bool:
    """Whether some function of this version was compiled before on this machine."""
    folder = cache_folder()
    return folder is not None and holds_code(folder)


def entry(func: Callable[..., Any]) -> Any:
    """Compile on first call, without the GIL, and reuse the machine code of earlier processes where possible."""
    dispatcher = njit(nogil=True, error_model="numpy")(func)
    config: Any = numba.config
    if not config.DISABLE_JIT:
        attach(dispatcher, func, _cache_dir(Path(func.__code__.co_filename)))
    return dispatcher


_alive: list[Any] = []  # functions whose addresses are in use


def entry_address(func: Callable[..., Any], signature: str, sources: list[Path]) -> int:
    """Return the address of a compiled function of numbers, which the engine's loop calls; kept on disk like `entry`.

    `sources` are the files, besides those here, that its code follows from.
    """
    function = CFunc(func, sigutils.normalize_signature(signature), {}, {})
    attach(function, func, _cache_dir(*sources))
    function.compile()
    _alive.append(function)
    return int(function.address or 0)


inline = njit(nogil=True, error_model="numpy", inline="always")
helper = njit(nogil=True, error_model="numpy")
