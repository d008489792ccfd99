"""Arithmetic on pairs of float64 whose sum is the number, to about 100 bits; fused multiply-adds where asked for."""

import math
from typing import Any

from numba.core import types
from numba.extending import intrinsic

from olsbn.engine.compile import inline


def _fma(_typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return ``x y + z``, rounded once: an instruction where the processor has it, else exact software."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), generate


fma: Any = intrinsic(_fma)


@inline
def two_sum(a, b):  # type: ignore[no-untyped-def]
    """Return the sum and its rounding error."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@inline
def dd_add(a, a_low, b, b_low):  # type: ignore[no-untyped-def]
    """Return the sum of two pairs."""
    s, e = two_sum(a, b)
    t, f = two_sum(a_low, b_low)
    e += t
    high = s + e
    e = (e - (high - s)) + f
    total = high + e
    return total, e - (total - high)


@inline
def dd_mul(a, a_low, b, b_low):  # type: ignore[no-untyped-def]
    """Return the product of two pairs."""
    p = a * b
    e = fma(a, b, -p) + (a * b_low + a_low * b)
    high = p + e
    return high, e - (high - p)


@inline
def dd_div(a, a_low, b, b_low):  # type: ignore[no-untyped-def]
    """Return the quotient of two pairs."""
    q = a / b
    r = fma(-q, b, a) + (a_low - q * b_low)
    e = r / b
    high = q + e
    return high, e - (high - q)


@inline
def dd_sqrt(a, a_low):  # type: ignore[no-untyped-def]
    """Return the root of a pair > 0."""
    q = math.sqrt(a)
    r = fma(-q, q, a) + a_low
    e = r / (2.0 * q)
    high = q + e
    return high, e - (high - q)
