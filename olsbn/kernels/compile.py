"""Compilation of the kernels; `olsbn.cache` keeps the compiled code."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import njit

from olsbn.cache import attach, folder_of, holds_code

# Cells a block advances at once: four 512-bit vectors, so that their sums and coefficients just fit the register file.
# (Tests set the variable to show that results do not depend on it.)
LANES = int(os.environ.get("OLSBN_LANES", "32"))

_HERE = Path(__file__).parent


def _cache_dir(source: Path) -> Path | None:
    """Return the folder of the code of a function in the file `source`; None if it cannot be kept.

    All kernels take part in its name, for they call each other; so does the file, which may lie in another package.
    """
    sources = [*sorted(_HERE.glob("*.py")), *([source] if source.parent != _HERE else [])]
    return folder_of(sources, f"{numba.__version__} {llvmlite.__version__} {np.__version__} {LANES}")


def cache_folder() -> Path | None:
    """Return where the compiled kernels of this version are kept on this machine; None if nowhere."""
    return _cache_dir(_HERE / "compile.py")


def is_cached() -> bool:
    """Whether some kernel of this version was compiled before on this machine."""
    folder = cache_folder()
    return folder is not None and holds_code(folder)


def entry(func: Callable[..., Any]) -> Any:
    """Compile on first call, without the GIL, and reuse the machine code of earlier processes where possible."""
    dispatcher = njit(nogil=True, error_model="numpy")(func)
    config: Any = numba.config
    if not config.DISABLE_JIT:
        attach(dispatcher, func, _cache_dir(Path(func.__code__.co_filename)))
    return dispatcher


inline = njit(nogil=True, error_model="numpy", inline="always")
helper = njit(nogil=True, error_model="numpy")
