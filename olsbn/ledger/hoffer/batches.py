"""Weight decay on mini-batches: a learning rate does the same, step by step, whatever the batches are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from olsbn.ledger.base import Chapter, Comparison, Cube

_N_STEPS = 60


def _run(i: SimpleNamespace, x: float, growth: float) -> np.ndarray:
    """Return directions, scales and norms of the printed update; eta grows by a factor a step, x is eta lambda."""
    w, a, eta = i.w0, i.a0, i.eps if x else i.eps / (1 - i.x)
    rows = []
    for X, y in zip(i.X, i.y, strict=True):
        z = X @ w
        s = np.sqrt(np.mean(z * z))
        out = z / s
        error = (a * out - y) / y.size
        back = a / s * (error - out * np.mean(error * out))
        w, a, eta = (1 - x) * w - eta * (back @ X), a - 0.1 * float(error @ out), eta * growth
        norm = float(np.linalg.norm(w))
        rows.append([*w / norm, a, norm])
    return np.array(rows)


def _mimicked(cube: Cube, power: int = 2) -> SimpleNamespace:
    """A run of mini-batch BN with decay, and one without it on the same batches with a learning rate that grows."""
    d, m, noise, x, strength = (
        cube.integer(2, 4),
        cube.integer(4, 8),
        cube.log(0.1, 3),
        cube.log(1e-3, 0.1),
        cube.unit(),
    )
    rng = cube.rng()
    X = rng.standard_normal((_N_STEPS, m, d))
    y = X @ rng.standard_normal(d) + noise * rng.standard_normal((_N_STEPS, m))
    i = SimpleNamespace(
        X=X - X.mean(1, keepdims=True), y=y - y.mean(1, keepdims=True), w0=rng.standard_normal(d), a0=float(y.std()),
        eps=10.0 ** (2 * strength - 1), x=x,
    )  # fmt: skip
    i.decayed, i.mimics = _run(i, x, 1.0), _run(i, 0.0, (1 - x) ** -power)
    i.mimics[:, -1] *= (1 - x) ** np.arange(1, _N_STEPS + 1)
    return i


chapter = Chapter()


@chapter.claim("hoffer.decay-batches", "tight", _mimicked, n_random=8, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """On mini-batches too weight decay is mimicked exactly by a learning rate that grows: same directions and scales.
    Formula: eta_t = eta (1 - eta lambda)^(-2t-1):  the same w_t/||w_t|| and a_t, ||w_t|| (1 - eta lambda)^t  [to 1e-7]
    Problems: 60 batches of 4..8 Gaussian rows, d in 2..4, noise 0.1..3; eta over 2 decades, eta lambda in 1e-3..0.1
    Where: notes, conclusion, on mini-batches; the schedule by Li, Arora, ICLR 2020
    """
    return i.decayed, i.mimics, 1e-7 * (1 + np.abs(i.decayed))


_false = chapter.variants
FALSE = {
    "on batches decay is mimicked by the first power": _false(
        "hoffer.decay-batches", instance=lambda cube: _mimicked(cube, 1)
    ),
}
