"""Spectra by name, and the random parts of a problem, each from a stream of its own."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_real, as_vector, one_of


def _marchenko_pastur(dim: int, cond: float) -> FloatArray:
    """Quantiles at 0, 1/(d-1), ..., 1 of the Marchenko-Pastur law with support [1, cond]."""
    if cond == 1:
        return np.ones(dim)
    # Density sqrt((b-x)(x-a))/x on [a, b]. With x = mid - half cos t the distribution function is smooth in t.
    t = np.linspace(0.0, math.pi, 20 * dim + 2001)
    x = 1 + (cond - 1) * np.sin(t / 2) ** 2
    mass = np.concatenate([[0.0], np.cumsum((np.sin(t[1:]) ** 2 / x[1:] + np.sin(t[:-1]) ** 2 / x[:-1]) / 2)])
    eigvals = np.interp(np.linspace(0, 1, dim), mass / mass[-1], x)
    eigvals[0], eigvals[-1] = 1.0, cond
    return eigvals


def _two_cluster(dim: int, cond: float) -> FloatArray:
    low = dim // 2
    return np.sort(
        np.concatenate(
            [
                1 + 0.1 * np.linspace(0, min(1.0, cond - 1), low),
                cond - (cond - 1) * 0.1 * np.linspace(0, 1, dim - low),
            ]
        )
    )


def _pinned(eigvals: FloatArray, cond: float) -> FloatArray:
    eigvals[-1], eigvals[0] = cond, 1.0
    return eigvals


SPECTRA: dict[str, Callable[[int, float], FloatArray]] = {
    "logspace": lambda d, cond: _pinned(np.geomspace(1.0, cond, d), cond),
    "linspace": lambda d, cond: _pinned(np.linspace(1.0, cond, d), cond),
    "powerlaw": lambda d, cond: _pinned(
        np.sort(cond * np.arange(1.0, d + 1) ** -(math.log(cond) / math.log(max(d, 2)))), cond
    ),
    "marchenko-pastur": _marchenko_pastur,
    "two-cluster": _two_cluster,
    "identity": lambda d, cond: np.ones(d),
}
_U_KINDS = ("sphere", "ones")
_W0_KINDS = ("sphere", "gradient")


def checked(kind: Any, cond: Any, seed: Any, u: Any, w0: Any) -> tuple[str, float, int, Any, Any]:
    """Check what a random problem is drawn from; vectors become tuples, so that it can be compared and hashed."""
    one_of("kind", kind, SPECTRA)
    cond = as_real("cond", cond)
    if cond < 1 or (kind == "identity" and cond != 1):
        allowed = "1 for the kind 'identity'" if kind == "identity" else ">= 1"
        raise ValueError(f"cond must be {allowed}, got {cond!r}")
    seed = as_count("seed", seed)
    vectors: list[Any] = []
    for name, value, allowed_names in (("u", u, _U_KINDS), ("w0", w0, _W0_KINDS)):
        if isinstance(value, str):
            vectors.append(one_of(name, value, allowed_names))
        else:
            vectors.append(tuple(as_vector(name, value).tolist()))
    return kind, cond, seed, vectors[0], vectors[1]


def draw(
    kind: str, cond: float, seed: int, u: Any, w0: Any, dim: int, trial: int
) -> tuple[FloatArray, FloatArray, FloatArray, str]:
    """Return eigenvalues, solution, start and label of the problem of dimension `dim` >= 1 and number `trial` >= 0."""
    dim = as_count("dim", dim, minimum=1)
    trial = as_count("trial", trial, maximum=2**32 - 1)
    if dim == 1 and cond != 1:
        raise ValueError(f"dim must be >= 2 for cond = {cond!r}, got 1")
    eigvals = SPECTRA[kind](dim, cond)
    if isinstance(u, str):
        u = sphere(dim, seed, "u", trial) if u == "sphere" else np.full(dim, 1 / math.sqrt(dim))
    if isinstance(w0, str):
        w0 = sphere(dim, seed, "w0", trial) if w0 == "sphere" else unit(eigvals / cond * u)
    label = f"{kind}-d{dim}" + ("" if kind == "identity" else f"-cond{cond:g}")
    return eigvals, u, w0, label


def sphere(dim: int, seed: int, key: str, trial: int = 0) -> FloatArray:
    """Draw a point of the unit sphere from the stream that belongs to (seed, key, dim, trial)."""
    stream = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(key.encode()), dim, trial))
    return unit(np.random.default_rng(stream).standard_normal(dim))


def unit(vector: FloatArray) -> FloatArray:
    """Return `vector` divided by its norm."""
    return vector / math.hypot(*vector)  # not a BLAS sum, whose bits depend on the processor
