"""The update rules as printed, with a dense H, for the ledger: independent of the engine and of the spectral theory.

Everything takes complex numbers as well, so that derivatives come from complex steps, exact to rounding.
"""

from __future__ import annotations

import decimal
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from olsbn._validate import FloatArray
from olsbn.problems import OLSProblem


class Dense(NamedTuple):
    """The problem in coordinates that are not the eigenbasis."""

    H: Any
    g: Any
    u: Any
    w0: Any
    E: Any


def dense(problem: OLSProblem, rng: np.random.Generator) -> Dense:
    """Rotate a problem at random."""
    d = problem.dim
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    H = basis @ (problem.eigvals[:, None] * basis.T)
    H = (H + H.T) / 2
    u = basis @ problem.u
    return Dense(H, H @ u, u, basis @ problem.w0, float(u @ H @ u))


def sigma(p: Dense, w: Any) -> Any:
    """Return the standard deviation of the output, ``sqrt(w'Hw)``."""
    return np.sqrt(w @ p.H @ w)


def q(p: Dense, w: Any) -> Any:
    """Return ``w'g/sigma^2``."""
    return (w @ p.g) / (w @ p.H @ w)


def loss(p: Dense, w: Any, a: Any) -> Any:
    """Return the loss less its noise, ``J - J_min = (E - 2 a w'g/sigma + a^2)/2``."""
    return (p.E - 2 * a * (w @ p.g) / sigma(p, w) + a * a) / 2


def bngd_gradient(a: Any, g: Any, Hw: Any, wg: Any, s: Any) -> tuple[Any, Any]:
    """Gradient of the loss in w and in a, from the products ``Hw``, ``wg = w'g`` and the normaliser s.

    ``s = sqrt(w'Hw)`` for BN; for ``sqrt(w'Hw + constant)`` the formula is the same.
    """
    return -(a / s) * (g - (wg / (s * s)) * Hw), a - wg / s


def gradient(p: Dense, w: Any, a: Any, constant: Any = 0) -> tuple[Any, Any]:
    """Gradient of the loss in w and in a, BN with a constant under its root (frameworks add 1e-5)."""
    Hw = p.H @ w
    return bngd_gradient(a, p.g, Hw, w @ p.g, np.sqrt(w @ Hw + constant))


def bngd_update(w: Any, a: Any, eps: Any, eps_a: Any, grad: tuple[Any, Any], decay: Any = 0) -> tuple[Any, Any]:
    """BNGD's update [Cai], of weights and scale at once; `decay` is eps times the weight decay."""
    return w - eps * grad[0] - decay * w, a - eps_a * grad[1]


def bngd_step(p: Dense, w: Any, a: Any, eps: Any, eps_a: Any, decay: Any = 0) -> tuple[Any, Any]:
    """One step of BNGD [Cai]; both lines use the old state."""
    return bngd_update(w, a, eps, eps_a, gradient(p, w, a), decay)


def batch_norm(z: Any) -> Any:
    """Return the outputs of BN over a batch, without a constant under the root."""
    centred = z - np.sum(z) / z.size
    return centred / np.sqrt(np.sum(centred * centred) / z.size)


def gdnp_step(p: Dense, w: FloatArray, smoothness: float) -> FloatArray:
    """One step of GDNP [Kohler]: ``w - eta grad rho``, ``rho = -(w'g)^2/(2 w'Hw)``, by differentiation of rho.

    The step length is ``eta = w'Hw/(2 L |rho|)`` with L the largest eigenvalue of H.
    """

    def rho(w: Any) -> Any:
        return -((w @ p.g) ** 2) / (2 * (w @ p.H @ w))

    return w - (w @ p.H @ w) / (2 * smoothness * abs(rho(w))) * derivative(rho, w)


def derivative(function: Callable[[Any], Any], x: FloatArray) -> FloatArray:
    """Differentiate by complex steps: a gradient for a number, a Jacobian (rows: outputs) for a vector."""
    columns = []
    for j in range(x.size):
        z = x.astype(complex)
        z[j] += 1e-100j
        columns.append(np.imag(function(z)) / 1e-100)
    return np.array(columns).T


def bngd_jacobian(p: Dense, w: FloatArray, a: float, eps: float, eps_a: float) -> FloatArray:
    """Return the Jacobian of one step of BNGD, over (w, a)."""

    def step(z: Any) -> Any:
        w_next, a_next = bngd_step(p, z[:-1], z[-1], eps, eps_a)
        return np.append(w_next, a_next)

    return derivative(step, np.append(w, a))


# -------------------------------------------------------------------- the same in many digits


def many_digits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function compute with 100 digits wherever its numbers are those of `exact`."""

    @functools.wraps(function)
    def inner(*args: Any, **options: Any) -> Any:
        with decimal.localcontext(prec=100):
            return function(*args, **options)

    return inner


def exact(value: Any) -> Any:
    """Return a number, an array or a problem with decimal numbers in place of floats; the values are the same."""
    if isinstance(value, Dense):
        H, u = exact(value.H), exact(value.u)
        return Dense(H, H @ u, u, exact(value.w0), u @ H @ u)
    if isinstance(value, np.ndarray):
        return np.array([exact(float(entry)) for entry in value.ravel()], dtype=object).reshape(value.shape)
    return decimal.Decimal(value)


def norm(v: Any) -> Any:
    """Return the Euclidean norm, of decimal numbers too."""
    return np.sqrt(v @ v)


def directional(function: Callable[[Any], Any], x: Any, v: Any) -> tuple[Any, Any]:
    """Return first and second derivative along v of a function of decimal numbers, by differences: 38 digits."""
    h = decimal.Decimal("1e-30")
    before, here, after = function(x - h * v), function(x), function(x + h * v)
    return (after - before) / (2 * h), (after - 2 * here + before) / (h * h)
