"""Checks at the boundary: one sentence that says what, the value got, and what is allowed."""

import difflib
import os
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def as_vector(name: str, value: Any, *, size: int | None = None) -> FloatArray:
    """Return `value` as a new contiguous finite float64 vector of length `size` (any length >= 1 if None)."""
    array = as_floats(name, value)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a vector, got an array of shape {array.shape}")
    if size is not None and array.size != size:
        raise ValueError(f"{name} must have length {size}, got length {array.size}")
    if array.size == 0:
        raise ValueError(f"{name} must have at least one element, got an empty vector")
    return array


def as_floats(name: str, value: Any) -> FloatArray:
    """Return `value` as a new contiguous float64 array, refusing text, complex numbers, gaps, NaN and infinity."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must not have masked elements, got {shortened(value)}")
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array, got a sparse one of shape {value.shape} (use its toarray())")
    try:
        raw = np.asarray(value)
        # tables with columns of different or nullable types arrive as objects
        numbers = raw.dtype.kind in "fiub" or (raw.dtype == object and all(isinstance(x, Real) for x in raw.flat))
        if not numbers:
            raise TypeError
        with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf, which is refused below
            array = np.array(raw, dtype=np.float64, order="C") + 0.0  # -0.0 becomes 0.0: they are one number
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must hold real numbers, got {shortened(value)}") from None
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f"[{', '.join(map(str, where))}]" if where else ""
        raise ValueError(f"{name} must be finite, got {name}{place} = {array[where]}")
    return array


def as_rate(name: str, value: Any) -> FloatArray:
    """Return a learning rate, or a vector of them, as float64: finite and >= 0."""
    array = as_floats(name, value)
    if array.ndim > 1:
        raise ValueError(f"{name} must be a number or a vector, got an array of shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must have at least one value, got an empty grid")
    if (array < 0).any():
        raise ValueError(f"{name} must be >= 0, got {float(array[array < 0].flat[0])!r}")
    return array


def as_count(name: str, value: Any, *, minimum: int = 0, maximum: int = 2**53) -> int:
    """Return `value` as an int in [minimum, maximum]."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {shortened(value)}")
    if not minimum <= value <= maximum:
        limit = f">= {minimum}" if value < minimum else f"<= {maximum}"
        raise ValueError(f"{name} must be {limit}, got {value}")
    return int(value)


def as_real(name: str, value: Any) -> float:
    """Return `value` as a finite float."""
    array = as_floats(name, value)
    if array.ndim != 0:
        raise TypeError(f"{name} must be a number, got an array of shape {array.shape}")
    return float(array)


def as_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool; a word such as "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shortened(value)}")
    return bool(value)


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the names allowed."""
    names = list(allowed)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name} must be one of {', '.join(names)}, got {shortened(value)}")
    return value


def nearest(what: str, value: str, known: list[str], others: str = "") -> str:
    """Return `value` if it is known, else say which known name is nearest, and what there is to say of others."""
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {what} {value!r}{hint} (known: {', '.join(known)}{others and '; '}{others})")


def check_memory(what: str, number: int, bytes_each: int) -> None:
    """Refuse what would not fit into half of the memory of this machine."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 << 30
    most = memory // 2 // bytes_each
    if number > most:
        raise ValueError(f"{what} must be at most {most} to fit into the memory of this machine, got {number}")


def shortened(value: Any) -> str:
    """Return a value as a few words for a message."""
    if getattr(value, "ndim", 0):  # arrays and tables
        dtype = getattr(value, "dtype", None) or np.asarray(value).dtype
        return f"an array of {dtype}, shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
