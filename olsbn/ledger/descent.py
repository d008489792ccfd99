"""Runs of the printed updates for many learning rates at once, in the eigenbasis of H: slow, plain, no kernel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.problems import OLSProblem


def bngd_paths(
    problem: OLSProblem,
    eps: FloatArray,
    eps_a: float,
    n_steps: int,
    momentum: float = 0.0,
    a0: float | None = None,
    nesterov: bool = False,
) -> SimpleNamespace:
    """Run BNGD [Cai], with heavy-ball momentum in the order of PyTorch (``v+ = m v + grad``, ``w+ = w - eps v+``).

    With `nesterov` the step is ``w+ = w - eps (grad + m v+)``.

    Returns
    -------
    SimpleNamespace
        Arrays (n_steps + 1, learning rates): ``excess`` = J - J_min, ``grad_w`` and ``grad_a`` (norms of the gradient),
        ``a``, ``norm2`` = ||w||^2, ``eps_eff``, ``step2`` = ||v||^2 of the step that led there; and ``w`` at the end.
    """
    eigvals, u = problem.eigvals, problem.u
    g = eigvals * u
    w = np.tile(problem.w0, (len(eps), 1))
    a = np.full(len(eps), problem.a0 if a0 is None else a0)
    v, v_a = np.zeros_like(w), np.zeros_like(a)
    names = ("excess", "grad_w", "grad_a", "a", "norm2", "eps_eff", "step2", "terms")
    out = {name: np.empty((n_steps + 1, len(eps))) for name in names}
    for k in range(n_steps + 1):
        Hw = eigvals * w
        s = np.sqrt((w * Hw).sum(1))
        wg = w @ g
        e = u - (wg / s**2)[:, None] * w
        He = eigvals * e
        grad_w, grad_a = -(a / s)[:, None] * He, a - wg / s
        terms = np.abs(a) / s * (np.linalg.norm(g) + np.abs(wg / s**2) * np.linalg.norm(Hw, axis=1))
        row = (
            ((e * He).sum(1) + grad_a**2) / 2, np.linalg.norm(grad_w, axis=1), np.abs(grad_a), a, (w * w).sum(1),
            eps * (a / s) * (wg / s**2), (v * v).sum(1), terms,
        )  # fmt: skip
        for name, value in zip(names, row, strict=True):
            out[name][k] = value
        if k < n_steps:
            v, v_a = momentum * v + grad_w, momentum * v_a + grad_a
            along, along_a = (grad_w + momentum * v, grad_a + momentum * v_a) if nesterov else (v, v_a)
            w, a = w - eps[:, None] * along, a - eps_a * along_a
    return SimpleNamespace(w=w, **out)
