"""Problems with a spectral density in place of eigenvalues: the limit of high dimension, by Gauss quadrature."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np

from olsbn._validate import FloatArray
from olsbn.linalg import gauss_points, on_one_thread

# Points of a first, fine quadrature for each point that is wanted.
_FINER = 20


def _legendre(n: int) -> tuple[FloatArray, FloatArray]:
    from scipy import special  # when it is needed: a problem needs NumPy alone

    return special.roots_legendre(n)


def _marchenko_pastur(n: int, cond: float, dim: int) -> tuple[FloatArray, FloatArray]:
    """Density ``sqrt((cond - x)(x - 1))/x``: Gauss-Chebyshev of the second kind for x times it, in closed form."""
    angle = math.pi * np.arange(n, 0, -1) / (n + 1)
    x = 1 + (cond - 1) * np.cos(angle / 2) ** 2
    mass = (math.sqrt(cond) - 1) ** 2 / 2  # both integrals over pi
    return x, (cond - 1) ** 2 / 4 / (n + 1) * np.sin(angle) ** 2 / x / mass


def _uniform(n: int, cond: float, dim: int) -> tuple[FloatArray, FloatArray]:
    t, weights = _legendre(n)
    return 1 + (cond - 1) * (1 + t) / 2, weights / 2


def _log_uniform(n: int, cond: float, dim: int) -> tuple[FloatArray, FloatArray]:
    t, weights = _legendre(_FINER * n)
    return _fewer(np.exp(math.log(cond) * (1 + t) / 2), weights, n)


def _power_law(n: int, cond: float, dim: int) -> tuple[FloatArray, FloatArray]:
    """Uniform in j of ``cond (j/1)**-alpha``, 1 <= j <= dim, with alpha = log(cond)/log(dim): in t = log j."""
    t, weights = _legendre(_FINER * n)
    share = (1 + t) / 2  # log j/log dim
    return _fewer(cond ** (1 - share)[::-1], (weights * dim ** (share - 1))[::-1], n)


def _fewer(points: FloatArray, weights: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Return the n points of Gauss quadrature for a measure given by many."""
    found, x = on_one_thread(lambda: gauss_points(points, np.sqrt(points * weights)[:, None], n))
    return found, x[:, 0] ** 2 / found / math.fsum(weights)


# kind -> (points ascending, weights) from the number of points, cond and the dimension. They are Gauss points for x
# times the density: the weights times x give its moments, the weights alone sum to 1 only as far as 1/x is resolved.
DENSITIES: dict[str, Callable[[int, float, int], tuple[FloatArray, FloatArray]]] = {
    "logspace": _log_uniform,
    "linspace": _uniform,
    "powerlaw": _power_law,
    "marchenko-pastur": _marchenko_pastur,
}


def draw_overlap(seed: int, dim: int, trial: int) -> float:
    """Return the cosine of the angle between a uniform direction and a fixed one in `dim` dimensions, dim large."""
    stream = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"overlap"), dim, trial))
    return max(-1.0, min(1.0, float(np.random.default_rng(stream).standard_normal()) / math.sqrt(dim)))


def limit(
    kind: str, cond: float, dim: int, n: int, overlap: float
) -> tuple[FloatArray, FloatArray, FloatArray, float, str]:
    r"""Return the limit of random problems: eigenvalues, solution, start, norm of what the start lacks, label.

    A start that is uniform on the sphere is ``w0 = c g/||g|| + sqrt(1 - c^2) z``, z uniform on the sphere across g.
    Beside u it is known to the dynamics through measures only: those of u and z tend to the density, the mixed one to
    0. So every point of the quadrature carries two modes: u and the part of w0 along g in one, z in the other. The ends
    of the spectrum are there as modes without weight.
    """
    points, weights = DENSITIES[kind](n, cond, dim)
    amplitude = np.sqrt(weights)
    g = points * amplitude
    along = overlap / math.sqrt(math.fsum(g * g)) * g
    across = math.sqrt(1 - overlap * overlap) * amplitude
    zero = np.zeros_like(points)
    ends, nothing = np.array([1.0, cond]), np.zeros(2)
    label = f"{kind}-density-d{dim:g}-cond{cond:g}"
    lost = max(0.0, 1 - math.fsum(along**2) - math.fsum(across**2))
    return (
        np.concatenate([np.stack([points, points], axis=1).ravel(), ends]),
        np.concatenate([np.stack([amplitude, zero], axis=1).ravel(), nothing]),
        np.concatenate([np.stack([along, across], axis=1).ravel(), nothing]),
        math.sqrt(lost),
        label,
    )
