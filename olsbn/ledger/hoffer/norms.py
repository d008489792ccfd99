"""Other norms in BN: L1 and L-infinity in place of L2.

For Gaussian inputs all of them are the standard deviation times a constant, so the dynamics is the same; how far they
are from it on finite samples and for other inputs is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import integrate, special

from olsbn._validate import FloatArray
from olsbn.ledger.base import Chapter, Comparison, Cube, rounding
from olsbn.ledger.runs import slope

# The constant of L1: for a Gaussian variable E|z| = sigma sqrt(2/pi).
L1 = math.sqrt(math.pi / 2)
_QUADRATURE = 1e-9


def l1_norm(z: FloatArray) -> Any:
    """Return ``sqrt(pi/2)`` times the mean absolute value along the last axis."""
    return L1 * np.mean(np.abs(z), axis=-1)


def l2_norm(z: FloatArray) -> Any:
    """Return the root mean square along the last axis."""
    return np.sqrt(np.mean(z * z, axis=-1))


def mean_absolute(characteristic: Callable[[float], float], end: float) -> float:
    """Return E|z| from the characteristic function of a symmetric variable of unit variance; it is 0 beyond `end`."""

    def integrand(t: float) -> float:
        return (1 - characteristic(t)) / (t * t) if t > 1e-4 else 0.5

    inner = integrate.quad(integrand, 0, 5, epsabs=1e-12)[0] + integrate.quad(integrand, 5, end, limit=500)[0]
    return 2 / math.pi * (inner + 1 / end)


def largest_absolute(n: int) -> float:
    """Return the mean of the largest of n absolute standard Gaussian variables."""
    return float(integrate.quad(lambda t: 1 - special.erf(t / math.sqrt(2)) ** n, 0, 40, limit=200)[0])


def _gaussian(cube: Cube) -> SimpleNamespace:
    """A covariance and a direction: the variable xᵀw is what a rotation makes of independent ones."""
    d = cube.integer(1, 12)
    rng = cube.rng()
    A = rng.standard_normal((d, d))
    w = rng.standard_normal(d)
    return SimpleNamespace(weights=A.T @ w, constant=L1)  # x = A xi, x'w = xi'(A'w)


def _gaussian_l1(i: SimpleNamespace) -> float:
    """``constant E|x'w|`` over sigma, from the product of the characteristic functions."""
    unit = i.weights / np.linalg.norm(i.weights)
    return i.constant * mean_absolute(lambda t: math.exp(-math.fsum((unit * t) ** 2) / 2), 12.0)


def _any_sample(cube: Cube) -> FloatArray:
    """A centred sample of outputs, from two values to heavy tails."""
    n, power, skew = cube.integer(3, 12), cube.log(1e-2, 8), cube.uniform(-1, 1)
    z = np.array([cube.uniform(-1, 1) for _ in range(n)])
    z = np.sign(z + skew) * np.abs(z) ** power
    return z - z.mean()


def _by_sample_size(cube: Cube) -> SimpleNamespace:
    """Relative distance of the L1 norm from the standard deviation on Gaussian samples, for some sizes."""
    d = cube.integer(1, 6)
    rng = cube.rng()
    sizes, distance = (100, 400, 1600, 6400), []
    for n in sizes:
        z = rng.standard_normal((64, n, d)) @ rng.standard_normal(d)
        z -= z.mean(axis=1, keepdims=True)
        distance.append(math.sqrt(np.mean((l1_norm(z) / l2_norm(z) - 1) ** 2)))
    return SimpleNamespace(sizes=sizes, distance=distance)


def _sample_step(X: Any, y: Any, w: Any, a: float, eps: float, norm: str) -> tuple[Any, float]:
    """One step of BNGD with another norm, on a sample, gradients through the norm; eps_a = 1."""
    n = y.size
    z = X @ w
    s = float(l1_norm(z) if norm == "l1" else l2_norm(z))
    ds = L1 * (np.sign(z) @ X) / n if norm == "l1" else (z @ X) / n / s
    error = y - a * z / s
    grad = -(a / s) * ((error @ X) / n - (error @ z) / n / s * ds)
    return w - eps * grad, a + float(error @ z) / n / s


def _trajectories(cube: Cube) -> SimpleNamespace:
    """How far BNGD with the L1 norm is from BNGD after 20 steps, on Gaussian samples of some sizes."""
    d, strength = cube.integer(2, 5), cube.log(0.1, 1)
    rng = cube.rng()
    scale, target, start = rng.uniform(0.5, 2, d), rng.standard_normal(d), rng.standard_normal(d)
    sizes, distance = (100, 400, 1600, 6400), []
    for n in sizes:
        apart = []
        for _ in range(16):
            X = rng.standard_normal((n, d)) * scale
            X -= X.mean(axis=0)
            y = X @ target + rng.standard_normal(n)
            y -= y.mean()
            ends = []
            for norm in ("l1", "l2"):
                w, a = start / np.linalg.norm(start), 1.0
                for _ in range(20):
                    w, a = _sample_step(X, y, w, a, strength / np.sum(scale**2), norm)
                ends.append(w)
            apart.append(np.linalg.norm(ends[0] - ends[1]))
        distance.append(np.median(apart))
    return SimpleNamespace(sizes=sizes, distance=distance)


def _uniform_sums(cube: Cube) -> SimpleNamespace:
    """Equally weighted sums of d independent uniform inputs, of unit variance."""
    dims = (8, 16, 32, 64)
    lean = cube.uniform(0, 1)
    ratio = []
    for d in dims:
        weights = 1 + lean * np.linspace(-0.5, 0.5, d)
        weights /= np.linalg.norm(weights)
        reach = math.sqrt(3) / math.pi * weights

        def transform(t: float, reach: FloatArray = reach) -> float:
            return float(np.prod(np.sinc(reach * t)))

        ratio.append(L1 * mean_absolute(transform, 300.0))
    return SimpleNamespace(dims=dims, ratio=np.array(ratio))


def _signs(cube: Cube) -> SimpleNamespace:
    """Inputs of +1 and -1, all 2^d of them, and a direction."""
    d = cube.integer(1, 8)
    weights = cube.rng().standard_normal(d)
    signs = 1.0 - 2 * (np.arange(2**d)[:, None] >> np.arange(d) & 1)
    return SimpleNamespace(z=signs @ weights, d=d)


def _spikes(cube: Cube) -> SimpleNamespace:
    """Samples of which all but a few are zero."""
    n = 4096
    counts = np.array([4, 16, 64, 256])
    rng = cube.rng()
    ratio = []
    for k in counts:
        z = np.zeros(n)
        z[rng.permutation(n)[:k]] = np.resize([1.0, -1.0], k)
        ratio.append(l1_norm(z) / l2_norm(z))
    return SimpleNamespace(share=counts / n, ratio=np.array(ratio))


def _largest(cube: Cube, uniform: bool = False) -> SimpleNamespace:
    """The L-infinity norm of batches of outputs, over their standard deviation in the population."""
    n, d = cube.integer(4, 256), cube.integer(1, 6)
    rng = cube.rng()
    w = rng.standard_normal(d) * rng.uniform(0.1, 10, d)
    draw = (lambda size: rng.uniform(-math.sqrt(3), math.sqrt(3), size)) if uniform else rng.standard_normal
    ratio = np.abs(draw((2000, n, d)) @ w).max(axis=1) / np.linalg.norm(w)
    return SimpleNamespace(n=n, ratio=ratio, expected=largest_absolute(n))


chapter = Chapter()


@chapter.claim("hoffer.l1-gaussian", "identity", _gaussian)
def _(i: SimpleNamespace) -> Comparison:
    """For Gaussian inputs the L1 norm with its constant is the standard deviation, in every direction.
    Formula: sqrt(pi/2) E|x'w| = sqrt(w'Hw)  [ratio, by quadrature]
    Problems: Gaussian inputs, d in 1..12, any covariance and direction
    Where: L1 batch norm
    """
    return 1.0, _gaussian_l1(i), _QUADRATURE


@chapter.claim("hoffer.l1-upper", "upper", _any_sample)
def _(z: FloatArray) -> Comparison:
    """For any inputs the L1 norm with its constant is at most sqrt(pi/2) = 1.2533 times the L2 norm.
    Formula: sqrt(pi/2) mean|z| <= sqrt(pi/2) sigma
    Problems: samples of 3..12 outputs, from two values to heavy tails
    Where: L1 batch norm
    """
    return L1 * l2_norm(z), l1_norm(z), rounding(4 * z.size, l1_norm(z))


@chapter.claim("hoffer.l1-lower", "lower", _any_sample)
def _(z: FloatArray) -> Comparison:
    """And it is at least the variance over the largest output: small where single outputs stand out.
    Formula: sqrt(pi/2) mean|z| >= sqrt(pi/2) sigma^2/max|z|
    Problems: samples of 3..12 outputs, from two values to heavy tails
    Where: L1 batch norm
    """
    return L1 * l2_norm(z) ** 2 / np.abs(z).max(), l1_norm(z), rounding(4 * z.size, l1_norm(z))


@chapter.claim("hoffer.l1-not-for-all", "counterexample", _signs, refutes="identity", n_random=10, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The constant belongs to Gaussian inputs: refuted is that it makes L1 equal to L2 for others.
    Formula: sqrt(pi/2) E|x'w| = sigma for inputs of +1 and -1  [false]  [ratio]
    Problems: all 2^d inputs of +1 and -1, d in 1..8, random directions
    Where: L1 batch norm
    """
    return 1.0, l1_norm(i.z) / l2_norm(i.z), rounding(4 * i.z.size)


@chapter.claim("hoffer.l1-central-limit", "order", _uniform_sums, n_random=4, n_search=4)
def _(i: SimpleNamespace) -> Comparison:
    """Sums of many independent inputs are nearly Gaussian: there the error falls with their number.
    Formula: sqrt(pi/2) E|x'w|/sigma - 1 ~ d^-1  for uniform inputs
    Problems: d = 8, 16, 32, 64 independent uniform inputs, weights from equal to 1/2..3/2; by quadrature
    Where: L1 batch norm
    """
    return -1.0, slope(i.dims, i.ratio - 1)


@chapter.claim("hoffer.l1-spikes", "order", _spikes, n_random=4, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """For sparse outputs the L1 norm is too small without limit: with the root of their share.
    Formula: sqrt(pi/2) mean|z|/sigma ~ p^(1/2),  p the share of outputs that are not 0
    Problems: 4096 outputs, 4 to 256 of them +1 or -1
    Where: L1 batch norm
    """
    return 0.5, slope(i.share, i.ratio)


@chapter.claim("hoffer.l1-sample", "order", _by_sample_size, n_random=3, n_search=2)
def _(i: SimpleNamespace) -> Comparison:
    """On a finite Gaussian sample L1 and L2 differ by its own fluctuations.
    Formula: sqrt(pi/2) mean|z|/sigma - 1 ~ n^(-1/2)
    Problems: samples of 100 to 6400 rows, 1..6 columns, 64 of each
    Where: L1 batch norm
    """
    return -0.5, slope(i.sizes, i.distance)


@chapter.claim("hoffer.l1-dynamics", "order", _trajectories, n_random=3, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """So on Gaussian samples BNGD with the L1 norm runs beside BNGD, the closer the larger the sample.
    Formula: ||w_20 (L1) - w_20 (L2)|| ~ n^(-1/2)
    Problems: samples of 100 to 6400 rows, 2..5 columns, median of 16; 20 steps, gradients through the norm
    Where: L1 batch norm
    """
    return -0.5, slope(i.sizes, i.distance)


@chapter.claim("hoffer.linf-constant", "tight", _largest, n_random=3, n_search=3)
def _(i: SimpleNamespace) -> Comparison:
    """For Gaussian inputs the L-infinity norm is the standard deviation times a constant that depends on the size of
    the batch only.
    Formula: mean of max|z|/sigma = int_0^oo 1 - erf(t/sqrt 2)^n dt  [to six standard errors]
    Problems: 2000 batches of 4..256 rows, 1..6 independent columns of different size, random directions
    Where: L-infinity batch norm
    """
    return i.expected, i.ratio.mean(), 6 * i.ratio.std() / math.sqrt(i.ratio.size)


@chapter.claim("hoffer.linf-upper", "upper", lambda cube: round(cube.log(1, 1e9)))
def _(n: int) -> Comparison:
    """That constant stays below sqrt(2 ln 2n), its limit for large batches.
    Formula: int_0^oo 1 - erf(t/sqrt 2)^n dt <= sqrt(2 ln 2n)
    Problems: n from 1 to 1e9, by quadrature
    Where: L-infinity batch norm
    """
    return math.sqrt(2 * math.log(2 * n)), largest_absolute(n), _QUADRATURE


@chapter.claim(
    "hoffer.linf-not-for-all",
    "counterexample",
    lambda cube: _largest(cube, uniform=True),
    refutes="tight",
    n_random=3,
    n_search=0,
)
def _(i: SimpleNamespace) -> Comparison:
    """For other inputs it is another constant: refuted is the Gaussian one for uniform inputs.
    Formula: mean of max|z|/sigma = int_0^oo 1 - erf(t/sqrt 2)^n dt  [false for uniform inputs]
    Problems: as hoffer.linf-constant, with uniform columns
    Where: L-infinity batch norm
    """
    return i.expected, i.ratio.mean(), 6 * i.ratio.std() / math.sqrt(i.ratio.size)


_false = chapter.variants
FALSE = {
    "no constant": _false.changed("hoffer.l1-gaussian", constant=lambda i: 1.0),
    "the constant is pi/2": _false.changed("hoffer.l1-gaussian", constant=lambda i: L1**2),
    "L1 is at most L2": _false("hoffer.l1-upper", theory=l2_norm),
    "the bound is smaller by 1 %": _false.scaled("hoffer.l1-upper", 0.99),
    "L1 is at least L2": _false("hoffer.l1-lower", theory=l2_norm),
    "Gaussian inputs are no exception": _false(
        "hoffer.l1-not-for-all",
        measured=lambda i: L1 * mean_absolute(lambda t: math.exp(-t * t / 2), 12.0),
        allowed=lambda i: _QUADRATURE,
    ),
    "the error falls with the root of d": _false("hoffer.l1-central-limit", theory=lambda i: -0.5),
    "L1 falls with the share itself": _false("hoffer.l1-spikes", theory=lambda i: 1.0),
    "no fluctuations": _false("hoffer.l1-sample", theory=lambda i: -1.0),
    "the runs do not come closer": _false("hoffer.l1-dynamics", theory=lambda i: 0.0),
    "the constant of twice the batch": _false.changed(
        "hoffer.linf-constant", expected=lambda i: largest_absolute(2 * i.n)
    ),
    "it stays below sqrt(2 ln n) - 1/2": _false(
        "hoffer.linf-upper", theory=lambda n: math.sqrt(2 * math.log(max(n, 1))) - 0.5
    ),
    "Gaussian inputs have another one too": _false("hoffer.linf-not-for-all", instance=_largest),
}
