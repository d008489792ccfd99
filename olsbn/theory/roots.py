"""The root of a function between two points, without importing `scipy.optimize`, which takes a quarter of a second."""

from __future__ import annotations

from collections.abc import Callable

_EPS = 2.0**-52


def bracketed_root(
    function: Callable[[float], float], a: float, b: float, xtol: float = 1e-15, rtol: float = 4 * _EPS
) -> float:
    """Return where a function changes sign between `a` and `b`, by Brent's method.

    Parameters
    ----------
    function : callable
        Of one number; values of different sign at `a` and `b`, or 0 at one of them.
    a, b : float
        The ends.
    xtol, rtol : float, optional
        The root is known to ``xtol + rtol |x|``.

    Raises
    ------
    ValueError
        Where the function has the same sign at both ends.

    Notes
    -----
    Richard P. Brent, Algorithms for Minimization without Derivatives, 1973, chapter 4. At most some 100 calls at the
    tolerances of float64, some 10 for smooth functions.
    """
    fa, fb = function(a), function(b)
    if fa * fb > 0 or fa != fa or fb != fb:
        raise ValueError(f"the function must change sign between {a!r} and {b!r}, got {fa!r} and {fb!r}")
    c, fc = a, fa
    step = before = b - a
    while True:
        if abs(fc) < abs(fb):  # b is the best point, c one of the other sign
            a, b, c, fa, fb, fc = b, c, b, fb, fc, fb
        tolerance = xtol / 2 + rtol * abs(b) / 2
        half = (c - b) / 2
        if fb == 0 or abs(half) <= tolerance:
            return b
        if abs(before) < tolerance or abs(fa) <= abs(fb):
            step = before = half
        else:
            s = fb / fa
            if a == c:
                p, q = 2 * half * s, 1 - s
            else:
                r, t = fb / fc, fa / fc
                p, q = s * (2 * half * t * (t - r) - (b - a) * (r - 1)), (t - 1) * (r - 1) * (s - 1)
            p, q = (p, -q) if p > 0 else (-p, q)
            if 2 * p < min(3 * half * q - abs(tolerance * q), abs(before * q)):
                before, step = step, p / q
            else:
                step = before = half
        a, fa = b, fb
        b += step if abs(step) > tolerance else tolerance if half > 0 else -tolerance
        fb = function(b)
        if (fb > 0) == (fc > 0):
            c, fc = a, fa
            step = before = b - a
