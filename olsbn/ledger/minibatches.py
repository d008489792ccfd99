"""Mini-batch BN on a finite sample of least squares, as printed: slow, plain, many replicates at once.

The loss of a batch z, with mean and variance of the batch, is ``F_z = (c_z - 2 a w'g_z/sigma_z + a^2)/2``, where H_z,
g_z, c_z are the covariances of the batch and ``sigma_z^2 = w'H_z w``; the loss L is its mean over the batches.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from olsbn._validate import FloatArray


class Batches(NamedTuple):
    """Covariances of some batches: H (batches, d, d), g (batches, d), and E = g'H^-1 g (batches,)."""

    H: FloatArray
    g: FloatArray
    E: FloatArray


def batches(x: FloatArray, y: FloatArray) -> Batches:
    """Return the covariances of inputs (batches, size, d) and targets (batches, size)."""
    x = x - x.mean(1, keepdims=True)
    y = y - y.mean(1, keepdims=True)
    H = np.einsum("bni,bnj->bij", x, x) / x.shape[1]
    g = np.einsum("bni,bn->bi", x, y) / x.shape[1]
    return Batches(H, g, np.einsum("bi,bi->b", g, np.linalg.solve(H, g[..., None])[..., 0]))


def _of(H: FloatArray, g: FloatArray, w: FloatArray, a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the gradients in w and in a, at arrays of states."""
    Hw = np.einsum("...ij,...j->...i", H, w)
    s2 = (w * Hw).sum(-1)
    s, wg = np.sqrt(s2), (w * g).sum(-1)
    return -(a / s)[..., None] * (g - (wg / s2)[..., None] * Hw), a - wg / s


def loss(p: Batches, w: FloatArray, a: Any) -> FloatArray:
    """Return L + mean E/2, less noise, at arrays of states."""
    Hw = np.einsum("bij,...j->...bi", p.H, w)
    phi = np.einsum("...j,bj->...b", w, p.g) / np.sqrt(np.einsum("...j,...bj->...b", w, Hw))
    return (a * a - 2 * a * phi.mean(-1) + p.E.mean()) / 2


def paths(
    p: Batches, w: FloatArray, a: FloatArray, draws: Any, eta: Any, power: Any, eta_a: float, at: Any = None
) -> SimpleNamespace:
    """Run SGD with learning rates ``eta (t+1)^-power`` for w and ``eta_a (t+1)^-1/2`` for a.

    Parameters
    ----------
    p : Batches
    w, a : arrays (..., d) and (...)
    draws : array of int (steps, ...)
        The batch that every path sees at every step.
    eta, power : float or arrays that broadcast with a
    at : increasing steps at which to record, default all

    Returns
    -------
    SimpleNamespace
        Arrays (recorded, ...): ``norm2``, and squared gradients at unit norm, of the loss, ``v`` and ``a``, and of the
        batch, ``v_batch``; ``w`` and ``scale`` at the end.
    """
    n_steps = len(draws)
    at = np.arange(n_steps) if at is None else np.asarray(at)
    out = {name: np.empty((len(at), *a.shape)) for name in ("norm2", "v", "a", "v_batch")}
    k = 0
    for t in range(n_steps):
        z = draws[t]
        grad_w, grad_a = _of(p.H[z], p.g[z], w, a)
        if k < len(at) and at[k] == t:
            norm2 = (w * w).sum(-1)
            all_w, all_a = _of(p.H, p.g, w[..., None, :], a[..., None])
            out["norm2"][k], out["a"][k] = norm2, all_a.mean(-1) ** 2
            out["v"][k] = norm2 * (all_w.mean(-2) ** 2).sum(-1)
            out["v_batch"][k] = norm2 * (grad_w**2).sum(-1)
            k += 1
        w = w - np.expand_dims(eta * (t + 1.0) ** -np.asarray(power), -1) * grad_w
        a = a - eta_a * (t + 1.0) ** -0.5 * grad_a
    return SimpleNamespace(w=w, scale=a, **out)
