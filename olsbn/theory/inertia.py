"""Extreme eigenvalues of a diagonal matrix with a change of rank one or two, counted by inertia; compiled.

What is asked of a point is how many eigenvalues lie below it (Haynsworth): the poles below it, and the inertia of a
1 x 1 or 2 x 2 matrix made of one sum, ``sum_i p_i/(lambda_i - x)``. Cells go side by side, so that the sums of several
are made at once; each is made in the order of the poles, so its bits depend on nothing else.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numba
import numpy as np

from olsbn._validate import FloatArray
from olsbn.cache import attach, folder_of

_LANES = 16
_RESOLUTION = 2.0**-58  # of a root, in units of the largest eigenvalue
_MAX_POINTS = 200  # each three points halve the interval at least, so no more than 180 are needed
_compiled = numba.njit(nogil=True, error_model="numpy")


@_compiled
def _rank_one(s0, place, s, F):  # type: ignore[no-untyped-def]
    """How many eigenvalues of ``D + s W W'`` lie below a point, and a number that vanishes at them."""
    g = 1 + s * s0 / F
    if s > 0:
        return place - (0 if g > 0 else 1), g
    return place + (1 if s < 0 and g < 0 else 0), g


@_compiled
def _rank_two(x, s0, place, mean, corner, F, c):  # type: ignore[no-untyped-def]
    """The same for ``D + W M W'``."""
    s1 = 1 + x * s0  # sum p lambda/(lambda - x)
    s2 = mean + x * s1
    off = 1 - (s1 + c * s0) / F
    last = corner - (s2 + 2 * c * s1 + c * c * s0) / (F * F)
    det = -s0 * last - off * off
    if det < 0:
        return place, det
    return place + (1 if last < 0 else -1), det


@_compiled
def _end(poles, p, mean, first, F, c, rank_one, own, lower, upper, root):  # type: ignore[no-untyped-def]
    """Find the smallest x with more than `own` eigenvalues below it, pole `own` being the only one between the bounds.

    Illinois' rule on what vanishes there times the distance to the nearest pole, with halving where it does not pay.
    """
    x, sums, before = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    at_lower, at_upper, side = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    for j in range(_LANES):
        x[j], before[j] = lower[j] + (upper[j] - lower[j]) / 2, np.inf
        at_lower[j], at_upper[j], side[j] = -np.inf, np.inf, 0.0
    for point in range(_MAX_POINTS):
        for j in range(root.size):
            sums[j] = 0.0
            if x[j] == poles[own]:  # where nothing can be counted
                x[j] += 2.0**-53 * x[j] + _RESOLUTION
        for i in range(poles.size):
            for j in range(root.size):  # not a constant, or it is unrolled and not made a vector
                sums[j] += p[i] / (poles[i] - x[j])
        going = False
        for j in range(_LANES):
            place = own + (1 if x[j] > poles[own] else 0)
            if rank_one:
                count, size = _rank_one(sums[j], place, first[j], F[j])
            else:
                count, size = _rank_two(x[j], sums[j], place, mean, first[j], F[j], c[j])
            gap = np.inf
            for i in range(max(own - 1, 0), min(own + 2, poles.size)):
                gap = min(gap, abs(x[j] - poles[i]))
            size = abs(size) * gap
            if count > own:
                upper[j], at_upper[j] = x[j], size
                if side[j] > 0:
                    at_lower[j] /= 2
                side[j] = 1.0
            else:
                lower[j], at_lower[j] = x[j], -size
                if side[j] < 0:
                    at_upper[j] /= 2
                side[j] = -1.0
            length = upper[j] - lower[j]
            least = 2.0**-53 * upper[j] + _RESOLUTION
            root[j] = lower[j] + length / 2
            if length <= 2 * least:
                continue
            going = True
            x[j] = root[j]
            if point % 3 == 2 and length > before[j] / 2:
                before[j] = length / 2
                continue
            if point % 3 == 2:
                before[j] = length
            guess = upper[j] - length * (at_upper[j] / (at_upper[j] - at_lower[j]))
            if math.isfinite(guess):  # a step beyond it, so that the root comes to lie between two points
                x[j] = min(max(guess, lower[j] + least), upper[j] - least)
        if not going:
            break


@_compiled
def _extremes(poles, p, mean, width, first, F, c, rank_one, low, high):  # type: ignore[no-untyped-def]
    """Find both ends for all cells; an eigenvalue lies between the poles before and after its own (Weyl)."""
    lower, upper, n = np.empty(_LANES), np.empty(_LANES), poles.size
    for begin in range(0, width.size, _LANES):
        end = begin + _LANES
        for k in range(2):
            own = k * (n - 1)
            for j in range(_LANES):
                lower[j] = poles[own - 1] if own > 0 else 0.0
                upper[j] = min(width[begin + j], poles[own + 1]) if own + 1 < n else width[begin + j]
            root = high if k else low
            _end(
                poles, p, mean, first[begin:end], F[begin:end], c[begin:end], rank_one, own, lower, upper,
                root[begin:end],
            )  # fmt: skip


attach(_extremes, _extremes.py_func, folder_of([Path(__file__)], f"{numba.__version__} {np.__version__}"))


def extremes(
    poles: FloatArray,
    p: FloatArray,
    mean: float,
    width: FloatArray,
    first: FloatArray,
    F: FloatArray,
    c: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the smallest and the largest eigenvalue for vectors of cells, to 2^-53 of itself or 2^-58.

    Parameters
    ----------
    poles, p : ndarray, shape (n,)
        D, ascending, the last one 1, and the weights: ``W = D^1/2 u`` in units where ``sum p = 1``, p > 0.
    mean : float
        ``sum p lambda``.
    width : ndarray, shape (cells,)
        An upper bound of the eigenvalues.
    first, F, c : ndarray, shape (cells,)
        Rank one (c is None): s and F of ``D + (s/F) W W'``. Rank two: the corner of M, u'Nu and the smoothing.
    """
    n = width.size
    padded = [
        np.ascontiguousarray(np.concatenate([a, np.full(-n % _LANES, a[-1])]))
        for a in (width, first, F, np.zeros(n) if c is None else c)
    ]
    low, high = np.empty((2, padded[0].size))
    run: Any = _extremes
    run(poles, p, mean, *padded, c is None, low, high)
    found: tuple[Any, Any] = low[:n], high[:n]
    return found
