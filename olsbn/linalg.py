"""Linear algebra that theory, problems and kernels may all use; no bit of a result depends on the number of threads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from olsbn._validate import FloatArray

MACHEPS = float(np.finfo(np.float64).eps)
# Elements of one temporary array of the secular solver: 1 MiB, so that a few of them fit into an L2 cache.
_BLOCK = 2**17
# Inside the secular solver offsets are larger, and weights smaller, by two to this power: see `secular_roots`.
_OFFSET_EXP = 950
# A root of the secular equation leaves no more than this share of its terms' size (rounding, some 1e-14).
_SECULAR_TOL = 1e-6
# What orthogonalisation leaves of a vector is rounding below this share of it.
_LOST_TOL = 1e-13

# Modes whose shares of ||u||^2 and of E (over those of the largest mode) are both below 2 to this power are deflated:
# relative to its pole the offset of such a root is below 2**-388.
_TINY_EXP = -900
# A start that differs from a multiple of u by less than this share, in every component, does so by rounding: it excites
# nothing. Of a part in modes that u does not reach it is the share in the H-norm that counts.
EXCITED_TOL = 16 * MACHEPS

Result = TypeVar("Result")


# -------------------------------------------------------------------- threads


def on_one_thread(compute: Callable[[], Result]) -> Result:
    """Run linear algebra on one BLAS thread: its bits depend on the number of threads."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return compute()


def map_blocks(
    function: Callable[[slice], Result], n_rows: int, n_columns: int, threads: int | None = None
) -> list[Result]:
    """Call ``function(rows)`` for blocks of the rows of an (n_rows, n_columns) array, on threads, and list the results.

    The blocks do not depend on the number of threads (default: as many as there are processors).
    """
    step = max(1, _BLOCK // max(n_columns, 1))
    blocks = [slice(i, min(i + step, n_rows)) for i in range(0, n_rows, step)]
    threads = min(threads or os.cpu_count() or 1, len(blocks))
    if threads <= 1:
        return [function(rows) for rows in blocks]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, blocks))


# -------------------------------------------------------------------- the secular equation


@dataclass(frozen=True, eq=False)
class SecularRoots:
    """Roots of a secular equation as offsets from their nearer poles, so that no difference to a pole loses digits.

    Attributes
    ----------
    poles : ndarray, shape (n,)
        Ascending.
    near : ndarray of int, shape (m,)
        Number of the pole nearest to each root.
    offset : ndarray, shape (m,)
        ``root - poles[near]``, to a few ulp of itself; at most half the gap between the root's two poles in size.
    """

    poles: FloatArray
    near: Any
    offset: FloatArray

    @cached_property
    def values(self) -> FloatArray:
        """The roots, shape (m,), to a few ulp of themselves."""
        return self.poles[self.near] + self.offset

    def differences(self, rows: slice = slice(None)) -> FloatArray:
        """Return ``poles_j - root_i``, shape (roots in `rows`, n), each to a few ulp of itself.

        The offset is at most half of ``poles_j - poles[near_i]`` for every other pole, so the subtraction cancels no
        digits. O(rows n) memory: take blocks (`map_blocks`).
        """
        found = self.poles - self.poles[self.near[rows], None]
        found -= self.offset[rows, None]
        return found


def secular_roots(
    poles: FloatArray, weights: FloatArray, gaps: Any = None, threads: int | None = None, *, exponents: Any = 0
) -> SecularRoots:
    r"""Solve ``sum_i weights_i / (poles_i - x) = 0`` between neighbouring poles.

    Parameters
    ----------
    poles : ndarray, shape (n,)
        Distinct, ascending, > 0.
    weights : ndarray, shape (n,)
        > 0, sum <= 1. An offset may be as small as ``weights[near]`` times half a gap: poles are to be scaled up, by a
        power of two, where that would underflow.
    gaps : ndarray of int, optional
        Root k lies between poles k and k + 1, 0 <= k < n - 1. Default: all of them.
    threads : int, optional
        Default: as many as there are processors. The bits do not depend on it.
    exponents : ndarray of int, shape (n,), optional
        For weights beyond the range of float64: they are ``weights * 2**exponents``, 2**-1923 or more.

    Returns
    -------
    SecularRoots

    Notes
    -----
    These are the nonzero eigenvalues of ``D - (Du)(Du)'/(u'Du)``, ``weights = D u^2``: the factor x, which belongs to
    the eigenvalue 0, is divided out of the usual secular function ``1 - sum (Du)_i^2 / (E (D_i - x))``.

    Each root is sought as an offset from the nearer pole, ``x = pole + t``, so that all ``pole_i - x`` are known to
    full relative precision (as in LAPACK's dlaed4). In units of the gap and oriented so that the near pole is at 0 and
    the other one at 1, t is s in (0, 1/2] and the function times s,
    ``F(s) = sum_i weights_i y_i,  y_i = s/(z_i - s)``, has terms of size <= weights_i: nothing overflows. F is
    ``-weights[near] < 0`` at 0, >= 0 at 1/2 by the choice of the pole, with one change of sign, above weights[near]/2.
    Steps: Li's "middle way" (rational interpolation with both poles fixed, LAPACK Working Note 89), kept in the
    bracket by geometric bisection. A step that underflow made small is told from a root by the size of F there.

    Weights and offsets may be as small as 2**-1923: F is divided by ``weights[near]``, s is carried times 2**950 and
    weights divided by it. All these are powers of two, which change no bit of weights and offsets in plain range.

    Relative condition: x is homogeneous of degree 1 and increasing in each pole, so relative errors of the poles pass
    to x unamplified; and since terms left and right of x balance, a relative error delta of every term moves x by at
    most ``2 delta x``. So all roots come out to a few ulp of themselves whatever the spread of the poles.

    Cost: O(n) a root, some 8 iterations; memory a few MiB a thread.

    Examples
    --------
    >>> roots = secular_roots(np.array([1.0, 2.0, 4.0]), np.array([0.4, 1e-20, 0.4]))
    >>> roots.values.round(12).tolist(), roots.near.tolist()
    ([2.0, 2.5], [1, 1])
    >>> bool(0 < roots.differences()[0, 1] < 1e-19)
    True
    """
    gaps = np.arange(poles.size - 1) if gaps is None else np.asarray(gaps, dtype=np.int64)
    mantissas, more = np.frexp(weights)
    powers = more + exponents
    blocks = map_blocks(
        lambda rows: _secular_block(poles, mantissas, powers, gaps[rows]), gaps.size, poles.size, threads
    )
    if not blocks:
        return SecularRoots(poles, np.empty(0, np.int64), np.empty(0))
    near, offset = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return SecularRoots(poles, near, offset)


def _secular_block(poles: FloatArray, mantissas: FloatArray, powers: Any, left: Any) -> tuple[Any, FloatArray]:
    """Return the nearer pole of each root, and the root's offset from it."""
    gap = poles[left + 1] - poles[left]

    def scaled_weights(pole: Any) -> FloatArray:  # those of each row over that of its pole, but for its mantissa
        return np.ldexp(mantissas, powers - powers[pole][:, None] - _OFFSET_EXP)

    # A step that is 0/0 or infinite falls outside the bracket and becomes a bisection.
    with np.errstate(all="ignore"):
        # The sign at the middle tells the nearer pole.
        z = (poles - poles[left][:, None]) / gap[:, None]
        half, unit = 2.0 ** (_OFFSET_EXP - 1), 2.0**-_OFFSET_EXP
        near_left = np.sum(scaled_weights(left) * (half / (z - 0.5)), axis=1) >= 0
        near = np.where(near_left, left, left + 1)
        z = (poles - poles[near][:, None]) / np.where(near_left, gap, -gap)[:, None]
        weights = scaled_weights(near)
        low, high = np.ldexp(mantissas[near], powers[near] + _OFFSET_EXP - 1), np.full(left.size, half)
        s = high.copy()
        todo = np.arange(left.size)
        for iteration in range(120):
            at = s[todo]
            y = at[:, None] / (z - (at * unit)[:, None])
            terms = weights * y
            value = terms.sum(axis=1)
            size = np.abs(terms).sum(axis=1)
            terms *= y
            slope = terms.sum(axis=1) * unit
            slope_far = np.sum(terms, axis=1, where=y > 0) * unit
            above = value >= 0
            high[todo[above]] = at[above]
            low[todo[~above]] = at[~above]
            lo, hi = low[todo], high[todo]
            # c zeta^2 - a zeta + b = 0 for the relative step zeta, all divided by the distance of the far pole / s
            fraction = at * unit
            ratio = fraction / (1 - fraction)
            a = (1 - ratio) * value + slope
            c = ratio * (value + slope - slope_far) - slope_far
            root = np.sqrt(np.maximum(a * a + 4 * value * c, 0))
            zeta = np.where(a > 0, -2 * value / (a + root), (a - root) / np.where(c == 0, np.inf, 2 * c))
            new = at + at * zeta
            still = np.abs(new - at) <= MACHEPS / 2 * at
            wrong = ~((new > lo) & (new < hi)) | (still & (np.abs(value) > _SECULAR_TOL * size))
            new = np.where(wrong | (iteration >= 40), _geometric_mean(lo, hi), new)
            exact = np.abs(value) <= MACHEPS / 4 * size
            s[todo] = np.where(exact, at, new)
            done = exact | (np.abs(new - at) <= MACHEPS / 2 * at) | (hi <= lo * (1 + 2 * MACHEPS))
            if done.all():
                break
            todo, z, weights = todo[~done], z[~done], weights[~done]
        size, power = np.frexp(gap)
        offset = np.ldexp(np.where(near_left, s, -s) * size, power - _OFFSET_EXP)
    return near, offset


def _geometric_mean(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return sqrt(x y), rounded as if the product could not leave the range of float64."""
    power = np.frexp(x)[1] // 2
    return np.ldexp(np.sqrt(np.ldexp(x, -2 * power) * y), power)


# -------------------------------------------------------------------- the spectrum of H*


class StarSpectrum:
    """The spectrum of ``H* = H - (Hu)(Hu)'/(u'Hu)``, H = diag(eigvals), and what of it a start w0 excites.

    It is split into roots of the secular equation and survivors of deflation.

    Modes with equal eigenvalues are merged: rotated so that u has one component in the group. Then modes without
    weight in u are set aside: their eigenvalue is an eigenvalue of H*. What is left has distinct poles and positive
    weights.
    """

    def __init__(self, eigvals: FloatArray, u: FloatArray, w0: FloatArray) -> None:
        self._eigvals, self._u, self._w0 = eigvals, u, w0
        # Scale by a power of two, upwards, so that no small eigenvalue is lost against a large one.
        self._shift = max(0, 1000 - math.frexp(float(eigvals[-1]))[1])
        self._starts = np.flatnonzero(np.concatenate([[True], eigvals[1:] != eigvals[:-1]]))
        sizes = np.diff(np.append(self._starts, eigvals.size))
        self._group = np.repeat(np.arange(sizes.size), sizes)
        ends = eigvals[self._starts]
        weights, exponents = _group_weights(eigvals, u, self._starts, self._group)
        size = np.frexp(weights)[1] + exponents  # of E's parts, and less that of their eigenvalues: of ||u||^2's parts
        size_u2 = size - np.frexp(ends)[1]
        there = weights > 0
        self._active = there & ((size >= size[there].max() + _TINY_EXP) | (size_u2 >= size_u2[there].max() + _TINY_EXP))
        self.poles = np.ldexp(ends[self._active], self._shift)
        self.weights, self.exponents = weights[self._active], exponents[self._active]
        self.n_roots = self.poles.size - 1
        # A group of m equal eigenvalues leaves m - 1 of them if u has weight in it, else all m.
        self._copies = sizes - self._active
        self.survivors = np.repeat(eigvals[self._starts], self._copies)

    def extremes(self, excited: bool) -> tuple[float, float]:
        """Return the smallest and the largest eigenvalue of H* besides the 0 along u; NaN if there is none."""
        found: list[float] = []
        if self.n_roots and (not excited or self.roots_excited()):
            ends = secular_roots(
                self.poles, self.weights, np.array([0, self.n_roots - 1]), threads=1, exponents=self.exponents
            )
            found += self.unscaled(ends.values).tolist()
        survivors = self.survivors[self.survivors_excited()] if excited else self.survivors
        if survivors.size:
            found += [float(survivors[0]), float(survivors[-1])]
        return (min(found), max(found)) if found else (math.nan, math.nan)

    @cached_property
    def _unordered(self) -> FloatArray:
        roots = secular_roots(self.poles, self.weights, exponents=self.exponents)
        return np.concatenate([[0.0], self.unscaled(roots.values), self.survivors])

    def order(self) -> Any:
        """Return the order that sorts (0, roots, survivors)."""
        if not self.survivors.size:
            return np.arange(self.n_roots + 1)
        return np.argsort(self._unordered, kind="stable")

    def eigvals(self) -> FloatArray:
        """Return all eigenvalues, ascending."""
        return self._unordered[self.order()]

    def unscaled(self, values: FloatArray) -> Any:
        """Return eigenvalues in the problem's own units."""
        return np.ldexp(values, -self._shift)

    def roots_excited(self) -> bool:
        """Whether w0 has a part that is not parallel to u; it then excites every root within a step."""
        return not parallel(self._eigvals, self._u, self._w0)

    def survivors_excited(self) -> Any:
        """Return for every survivor of deflation whether w0 has a part in its eigenspace orthogonal to u."""
        starts, group = self._starts, self._group

        def scaled(vector: FloatArray) -> FloatArray:
            size = np.maximum.reduceat(np.abs(vector), starts)[group]
            return np.divide(vector, size, out=np.zeros_like(vector), where=size > 0)

        u, w0 = scaled(self._u), scaled(self._w0)
        norm2 = np.add.reduceat(u * u, starts)
        along = np.divide(np.add.reduceat(u * w0, starts), norm2, out=np.zeros_like(norm2), where=self._active)
        rest = w0 - along[group] * u
        part, whole = np.add.reduceat(rest * rest, starts), np.add.reduceat(w0 * w0, starts)
        return np.repeat(part > EXCITED_TOL**2 * whole, self._copies)


def _group_weights(eigvals: FloatArray, u: FloatArray, starts: Any, group: Any) -> tuple[FloatArray, Any]:
    """Return for each group of equal eigenvalues its part of E, times a power of two that puts E into [1/2, 1).

    The parts are numbers and exponents, for they may lie 2000 binary orders apart.
    """
    mantissa, exponent = _weights(eigvals, u)
    largest = np.maximum.reduceat(np.where(mantissa > 0, exponent, -(2**30)), starts)
    parts = np.add.reduceat(np.ldexp(mantissa, exponent - largest[group]), starts)
    largest = np.where(parts > 0, largest, 0)
    top = largest[parts > 0].max()
    total = math.fsum(np.ldexp(parts, largest - top))
    return parts, largest - top - math.frexp(total)[1]


def _weights(eigvals: FloatArray, u: FloatArray) -> tuple[FloatArray, Any]:
    """Return eigvals * u**2 as mantissas and exponents."""
    mantissa_l, exponent_l = np.frexp(eigvals)
    mantissa_u, exponent_u = np.frexp(u)
    return mantissa_l * mantissa_u * mantissa_u, exponent_l + 2 * exponent_u


def parallel(eigvals: FloatArray, u: FloatArray, w0: FloatArray) -> bool:
    """Whether w0 is a multiple of u, to the rounding of its components; w0 = 0 is one."""
    if not w0.any():
        return True
    reached = u != 0
    if not reached.all() and float(scaled_weights(eigvals, w0)[~reached].sum()) > EXCITED_TOL**2:
        return False
    if not w0[reached].all():
        return False
    # w0/u is one number, compared as mantissas and exponents
    (x, i), (y, j) = np.frexp(w0[reached]), np.frexp(u[reached])
    ratio, more = np.frexp(x / y)
    power = i - j + more
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.ldexp(ratio, power - int(power.max()))
    return float(np.ptp(ratio)) <= EXCITED_TOL * float(np.abs(ratio).max())


def scaled_weights(eigvals: FloatArray, u: FloatArray) -> FloatArray:
    """Return eigvals * u**2 times the power of two that puts the sum into [1/2, 1)."""
    mantissa, exponent = _weights(eigvals, u)
    exponent -= exponent[mantissa > 0].max()
    weights = np.ldexp(mantissa, np.where(mantissa > 0, exponent, 0))
    return np.ldexp(weights, -math.frexp(math.fsum(weights))[1])


# -------------------------------------------------------------------- block Lanczos


def gauss_points(points: FloatArray, starts: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    r"""Return few points that give the same moments as many: block Gauss quadrature by block Lanczos.

    Parameters
    ----------
    points : ndarray, shape (m,)
        Where the measure sits.
    starts : ndarray, shape (m, b)
        Its weights: the b x b matrices ``x_i x_i'`` of the rows of `starts`.
    n : int
        Number of points wanted, >= b.

    Returns
    -------
    points : ndarray, shape (k,)
        k <= n of them, ascending, within the range of the given ones; fewer than n where fewer give all moments.
    starts : ndarray, shape (k, b)
        So that ``sum_i f(points_i) x_i x_i'`` is the same for all polynomials f of degree below 2 (n // b) - 1.

    Notes
    -----
    Band Lanczos on diag(points), from the columns of `starts`, with full reorthogonalisation twice; a vector of which
    nothing is left (w0 parallel to u, points used up) is passed over. Points are shifted and scaled to [-1, 1] first,
    so that a narrow range far from 0 loses no digits. Time O(m n^2), memory O(m n), on one thread: call it inside
    `on_one_thread`.
    """
    low, high = float(points.min()), float(points.max())
    middle, half = low + (high - low) / 2, (high - low) / 2
    scaled = (points - middle) / half if half > 0 else np.zeros_like(points)
    basis = np.empty((n, points.size))
    k, from_starts, next_image = 0, 0, 0
    columns = list(np.ascontiguousarray(starts.T))
    while k < n:
        if columns:
            vector = columns.pop(0).copy()
        elif next_image < k:
            vector = scaled * basis[next_image]
            next_image += 1
        else:
            break  # the space is invariant: nothing is left out
        before = math.sqrt(float(vector @ vector))
        for _ in range(2):
            vector -= (basis[:k] @ vector) @ basis[:k]
        after = math.sqrt(float(vector @ vector))
        if after > _LOST_TOL * before:
            basis[k] = vector / after
            k += 1
        if not columns and not from_starts:
            from_starts = k
    basis = basis[:k]
    T = (basis * scaled) @ basis.T
    theta, turn = np.linalg.eigh((T + T.T) / 2)
    found = turn[:from_starts].T @ (basis[:from_starts] @ starts)
    found = np.where(found[:, :1] < 0, -found, found)  # the sign of an eigenvector is the eigensolver's whim
    return np.clip(middle + half * theta, low, high), found
