"""Deflated coordinates: what the kernels iterate, made from a problem and scaled by powers of two to stay in range."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.problems import MACHEPS, OLSProblem
from olsbn.schema import EXCESS_LIMIT

# Modes with a smaller share of E are carried like those with u_i = 0: their pull on the rest is below one rounding.
_SILENT_SHARE = 1e-290
_ROUNDING = 16 * MACHEPS  # a part of w that is smaller is no part of it
LARGEST = 1e308  # a finite limit, so that infinity is always above it


@dataclass(frozen=True)
class Coordinates:
    """A problem in deflated coordinates (see `olsbn.engine.deflated`).

    The units are powers of two, so that no digit changes: eigenvalues times ``2**eigval_exp``, weights times
    ``2**w_exp``, learning rates times ``2**eps_exp``.
    """

    modes: FloatArray
    silent_modes: FloatArray
    start: FloatArray
    silent_start: FloatArray
    u: FloatArray
    beta0: float
    alpha0: float
    mean_eigval: float
    w_null_norm: float  # in the problem's own units
    eigval_exp: int
    w_exp: int
    eps_exp: int
    degenerate: bool
    saddle: bool  # if degenerate: the start has an output, but no step changes anything
    scale: float  # sqrt(E) in the problem's own units: a = scale * alpha
    a0: float  # these two in the problem's own units
    w0_norm: float
    fastest: Any = None  # modes of H* to follow (`olsbn.engine.star_coordinates.Fastest`)

    def kernel_arguments(self) -> tuple[Any, ...]:
        """Return the leading arguments of `olsbn.engine.deflated.deflated_tile`."""
        arrays = self.modes, self.silent_modes, self.start, self.silent_start, self.u
        near = (np.empty(0),) * 3 if self.fastest is None else self.fastest.arrays()
        return *arrays, self.beta0, self.alpha0, self.mean_eigval, *near

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged, scaled with a start far off."""
        return min(EXCESS_LIMIT * (1 + self.alpha0 * self.alpha0), LARGEST)

    def norm(self, squared: FloatArray, exponent: Any) -> FloatArray:
        """Return the norm of w in the problem's units from the kernel's squared norm and rescaling exponents."""
        return whole_norm(squared, self.w_exp + exponent, self.w_null_norm)


def deflate(problem: OLSProblem) -> Coordinates:
    """Return `problem` in deflated coordinates. Sums are correctly rounded, so no bit depends on the machine."""
    eigval_exp = -math.frexp(problem.eigvals[-1])[1]
    with np.errstate(under="ignore"):
        eigvals = np.ldexp(problem.eigvals, eigval_exp)
        roots = np.sqrt(eigvals)
        u, u_exp = in_range(problem.u, roots)
        w, w_exp = in_range(problem.w0, roots)
        eigvals, u, w = merged(eigvals, u, w)
        omega = eigvals * u * u
        explained = math.fsum(omega)
        share = omega / explained
        loud = share > _SILENT_SHARE
        p, lam, u, w_loud = share[loud], eigvals[loud], u[loud], w[loud]
        ratio = w_loud / u
        beta0 = math.fsum(p * ratio)
        start = ratio - beta0
        drift = math.fsum(p * start)
        start, beta0 = start - drift, beta0 + drift
        silent = ~loud & (w != 0)  # without a start as well such a mode stays 0
        silent_modes = np.stack([eigvals[silent], eigvals[silent] / explained], axis=1)
        scale = math.sqrt(problem.explained_var)
        return Coordinates(
            modes=np.stack([lam, p], axis=1).ravel(),
            silent_modes=silent_modes.ravel(),
            start=start,
            silent_start=w[silent],
            u=u,
            beta0=beta0,
            alpha0=problem.a0 / scale,
            mean_eigval=math.fsum(p * lam),
            w_null_norm=problem.w0_null_norm,
            eigval_exp=eigval_exp,
            w_exp=w_exp,
            eps_exp=2 * w_exp - 2 * u_exp - eigval_exp,
            degenerate=not w.any() or (problem.a0 == 0 and beta0 == 0),
            saddle=bool(problem.w0.any()),
            scale=scale,
            a0=problem.a0,
            w0_norm=math.hypot(float(np.linalg.norm(problem.w0)), problem.w0_null_norm),
        )


def merged(eigvals: FloatArray, u: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rotate within each group of equal eigenvalues, so that u has one component there, and w at most one beside it.

    The dynamics do not notice, and the part of w across u then is a number of its own: as a difference of numbers it
    would be lost to rounding once it is small, and could never grow again.
    """
    starts = np.flatnonzero(np.concatenate([[True], eigvals[1:] != eigvals[:-1]]))
    if starts.size == eigvals.size:
        return eigvals, u, w
    rows = []
    for first, last in zip(starts, np.append(starts[1:], eigvals.size), strict=True):
        part, target = w[first:last], u[first:last]
        if last - first > 1:
            size = _length(target)
            direction = target / size if size else target
            along = math.fsum(direction * part)
            across = _length(part - along * direction)
            if across > _ROUNDING * _length(part):
                rows.append((eigvals[first], 0.0, across))
            part, target = np.array([along]), np.array([size])
        rows.append((eigvals[first], target[0], part[0]))
    merged = np.array(rows)
    return merged[:, 0], merged[:, 1], merged[:, 2]


def _length(vector: FloatArray) -> float:
    """Return the Euclidean norm; a power of two keeps the squares in range."""
    exponent = math.frexp(float(np.abs(vector).max()))[1]
    scaled = np.ldexp(vector, -exponent)
    return math.ldexp(math.sqrt(math.fsum(scaled * scaled)), exponent)


@dataclass(frozen=True)
class Modes:
    """A problem as GD sees it: ``w_i - u_i = error_i (1 - eps lambda_i)^k``; units as in `Coordinates`."""

    eigvals: FloatArray
    weight: FloatArray  # lambda_i error_i^2 / E
    u: FloatArray
    start: FloatArray  # w0
    error: FloatArray  # w0 - u
    eps_exp: int
    w_exp: int
    w_null_norm: float

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged."""
        return min(EXCESS_LIMIT * max(1.0, float(self.weight.max())), LARGEST)

    def norm(self, squared: FloatArray) -> FloatArray:
        """Return the norm of w in the problem's units from the kernel's squared norm."""
        return whole_norm(squared, self.w_exp, self.w_null_norm)


def decouple(problem: OLSProblem) -> Modes:
    """Return `problem` in the coordinates of plain GD."""
    eigval_exp = -math.frexp(problem.eigvals[-1])[1]
    with np.errstate(under="ignore", over="ignore"):
        eigvals = np.ldexp(problem.eigvals, eigval_exp)
        u, w_exp = in_range(problem.u, np.sqrt(eigvals))
        start, error = np.ldexp(problem.w0, w_exp), np.ldexp(problem.w0 - problem.u, w_exp)
        weight = (eigvals * error) * error / math.fsum(eigvals * u * u)
    return Modes(eigvals, weight, u, start, error, -eigval_exp, w_exp, problem.w0_null_norm)


def whole_norm(squared: FloatArray, exponent: Any, null_norm: float) -> FloatArray:
    """Return the norm of w from its scaled square on the range of H, and its norm on the null space."""
    norm = np.ldexp(np.sqrt(squared), -exponent)
    if not null_norm:
        return norm
    size = np.frexp(np.fmax(norm, null_norm))[1]  # not np.hypot, whose bits depend on the C library
    x, y = np.ldexp(norm, -size), np.ldexp(null_norm, -size)
    return np.ldexp(np.sqrt(x * x + y * y), size)


def in_range(vector: FloatArray, roots: FloatArray) -> tuple[FloatArray, int]:
    """Scale `vector` by a power of two, so that ``roots * vector`` is about 1 at most; return it and the exponent."""
    exponents = np.frexp(vector)[1] + np.frexp(roots)[1]
    present = (vector != 0) & (roots != 0)
    if not present.any():
        return np.zeros_like(vector), 0
    exponent = -int(exponents[present].max())
    return np.ldexp(vector, exponent), exponent
