r"""Smoothed fully batch-normalized networks meet the assumptions [Arora, appendix C]; and eq. 11 on one.

Constants for appendix C, which the paper leaves open. Back propagation through BN multiplies by
``(gamma/n) (I - 11'/B - xx'/B)``, x the normalized outputs, n the divisor, at least sqrt(delta) ||w||; that matrix lies
between 0 and I. With a loss whose slope is below 1 and decay lambda on scales and shifts g_l of layer l,

    ||dF/dg_l|| <= D_l = prod_{j>l} K_j/sqrt(delta),   ||g_l|| <= K_l = max(||g_l(0)||, D_l/lambda).

For one unit on least squares, J = (c - 2a w'g/nu + a^2 w'Hw/nu^2)/2 with nu^2 = w'(H + delta I)w,

    L_vv <= cond(H + delta I) [(2/sqrt 3) sqrt(E) |a| + (1 + sqrt 2) a^2/2],

finite for singular H too.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import networks, textbook
from olsbn.ledger.arora.smoothness import L_VV
from olsbn.ledger.base import Chapter, Comparison, Cube, rounding
from olsbn.ledger.networks import Layer, Rule

_ETAS = np.geomspace(1e-3, 1e3, 7)


def backward(cube: Cube) -> SimpleNamespace:
    """Return derivatives of ``y = f'z``, z the outputs of a unit with smoothed BN, by complex differentiation."""
    d, batch, delta = cube.integer(1, 4), cube.integer(2, 12), cube.log(1e-4, 10)
    gamma, mix, size = cube.log(0.1, 10), cube.uniform(0, math.pi), cube.log(1e-3, 10)
    rng = cube.rng()
    x, w = size * rng.standard_normal((batch, d)), rng.standard_normal((1, d)) * 10.0 ** rng.uniform(-2, 2)
    rule = Rule(delta=delta)

    def normal(x: Any) -> Any:
        return networks.normalize(x @ w.T, w, rule)[0][:, 0]

    x_hat = normal(x)
    # f anywhere between the normalized outputs and a constant, which are the directions that bounds are met in
    f = math.cos(mix) * x_hat / (np.linalg.norm(x_hat) + 1e-300) + math.sin(mix) / math.sqrt(batch)
    f = f + rng.uniform(0, 1) ** 4 * rng.standard_normal(batch)
    d_x = textbook.derivative(lambda z: gamma * (f @ normal(z.reshape(x.shape))), x.ravel()).reshape(x.shape)
    return SimpleNamespace(
        G=float(np.linalg.norm(f)), B=batch, gamma=gamma, delta=delta, d_x=d_x,
        d_gamma=abs(f @ x_hat), d_beta=abs(f.sum()),
        ops=40 * batch * (1 + float(np.abs(x).max()) / (size * math.sqrt(delta))),
    )  # fmt: skip


def _run(cube: Cube) -> SimpleNamespace:
    """Gradient descent on a smoothed network with decay, for learning rates of the weights over six decades."""
    delta, decay, step = cube.log(0.05, 2), cube.log(0.02, 1), cube.uniform(0.05, 1)
    n_in, batch, depth = cube.integer(2, 4), cube.integer(6, 12), cube.integer(1, 2)
    rng = cube.rng()
    sizes = (n_in, *(int(k) for k in rng.integers(1, 5, depth)), 1)
    x, y = rng.standard_normal((batch, n_in)), 10.0 ** rng.uniform(-1, 2) * rng.standard_normal(batch)
    rule, eta_g = Rule(delta=delta, decay=decay), step / decay
    net = networks.draw_network(rng, sizes)
    net = tuple(Layer(*(np.repeat(part[None], _ETAS.size, 0) for part in layer)) for layer in net)
    start = [(layer.w**2).sum(-1) for layer in net]
    sums: list[Any] = [np.zeros(s.shape) for s in start]
    scales = []
    for _ in range(100):
        scales.append([np.sqrt((p.gamma**2).sum(-1) + (p.beta**2).sum(-1)) for p in net])
        grad = networks.gradient(net, x, y, rule)
        sums = [s + (p.w**2).sum(-1) * (d.w**2).sum(-1) for s, p, d in zip(sums, net, grad, strict=True)]
        net = networks.step(net, grad, _ETAS, eta_g)
    return SimpleNamespace(
        delta=delta, decay=decay, start=start, sums=sums, end=[(layer.w**2).sum(-1) for layer in net], B=batch,
        scales=np.array(scales), at_start=np.array(scales[0]),
        # the terms that a gradient at unit norm is the sum of
        terms=float(np.abs(x).max()) * math.prod(1 + np.max(s) / math.sqrt(delta) for s in scales[0])
        + math.prod(1 + np.max(s) / math.sqrt(delta) for s in scales[-1]),
    )  # fmt: skip


def _scale_bounds(i: SimpleNamespace) -> FloatArray:
    """Return K_l for every layer and learning rate."""
    slope, found = 1.0, []
    for at_start in i.at_start[::-1]:
        found.append(np.maximum(at_start, slope / i.decay))
        slope = slope * found[-1] / math.sqrt(i.delta)
    return np.array(found[::-1])


def _rows(values: list[Any]) -> FloatArray:
    return np.concatenate([np.ravel(v) for v in values])


def _of_growth(i: SimpleNamespace) -> FloatArray:
    eta = _ETAS[:, None] ** 2
    return _rows([end * (end - start) / eta for end, start in zip(i.end, i.start, strict=True)])


def _smoothed_unit(cube: Cube) -> SimpleNamespace:
    """A point on the unit sphere, for least squares with smoothed BN; H may be singular."""
    d, kappa, delta = cube.integer(2, 8), cube.log(1.1, 1e4), cube.log(1e-3, 10)
    rank, a, lean = cube.integer(1, d), cube.log(1e-2, 1e2), cube.uniform(-2, 1)
    rng = cube.rng()
    eigvals = np.sort(kappa ** rng.uniform(-1, 0, d)) * (np.arange(d) >= d - rank)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    H = basis @ (eigvals[:, None] * basis.T)
    g = basis @ (eigvals * rng.standard_normal(d))
    E = float(np.sum((basis.T @ g)[eigvals > 0] ** 2 / eigvals[eigvals > 0]))
    N = H + delta * np.eye(d)
    w = basis @ (rng.standard_normal(d) * (eigvals + delta) ** lean)

    def gradient(w: Any) -> Any:
        nu2, Nw = w @ N @ w, N @ w
        phi, psi = w @ g / np.sqrt(nu2), w @ H @ w / nu2
        return -a * (g / np.sqrt(nu2) - phi * Nw / nu2) + a**2 * (H @ w - psi * Nw) / nu2

    hessian = textbook.derivative(gradient, w / np.linalg.norm(w))
    cond = float((eigvals[-1] + delta) / (eigvals[0] + delta))
    return SimpleNamespace(hessian=hessian, cond=cond, E=E, a=a, d=d)


def _unit_bound(i: SimpleNamespace) -> float:
    return float(i.cond * (L_VV * math.sqrt(i.E) * i.a + (1 + math.sqrt(2)) / 2 * i.a**2))


chapter = Chapter()


@chapter.claim("arora.lemma-C.1", "upper", backward)
def _(i: SimpleNamespace) -> Comparison:
    """Back propagation through smoothed BN is bounded, in scale, in shift and in each input.
    Formula: |dy/dgamma| <= G sqrt(B), |dy/dbeta| <= G sqrt(B), ||dy/dx_b|| <= 3 gamma G sqrt(B)/sqrt(delta)
    Problems: d in 1..4, batches of 2..12, delta over 5 decades, scales over 2
    Where: Lemma C.1
    Corrects: The denominator under 3 gamma is lost in the text layer: it is sqrt(delta). The proof differentiates
    the root without its 1/2: the constant 2 would do.
    """
    return (
        i.G * math.sqrt(i.B) * np.array([1, 1, 3 * i.gamma / math.sqrt(i.delta)]),
        [i.d_gamma, i.d_beta, np.linalg.norm(i.d_x, axis=1).max()],
        rounding(i.ops, i.G * math.sqrt(i.B) * (1 + i.gamma / math.sqrt(i.delta))),
    )


@chapter.claim("arora.lemma-C.2", "upper", _run, n_random=6, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """With decay the scales and shifts stay bounded, layer by layer, whatever the rate of the weights.
    Formula: ||g_l|| <= K_l = max(||g_l(0)||, D_l/lambda),  D_l = prod_{j>l} K_j/sqrt(delta)
    Problems: two or three layers of 1..4 units with tanh, batches of 6..12, delta in 0.05..2, lambda in 0.02..1,
    targets over 3 decades, eta_g lambda < 1; 7 eta over 6 decades, 100 steps
    Where: Lemma C.2
    """
    return _scale_bounds(i), i.scales.max(0), rounding(200, _scale_bounds(i))


@chapter.claim("arora.theorem-C.3", "upper", _smoothed_unit, n_search=200)
def _(i: SimpleNamespace) -> Comparison:
    """With smoothing the second derivatives are bounded on the unit sphere even where H is singular; here with a
    constant, where the paper has compactness.
    Formula: ||d^2 J/dv^2|| <= cond(H + delta I) ((2/sqrt 3) sqrt(E) |a| + (1 + sqrt 2) a^2/2)
    Problems: one unit, least squares; d in 2..8, H of any rank from 1, delta and a over 4 decades
    Where: Theorem C.3
    """
    return _unit_bound(i), np.linalg.norm(i.hessian, 2), rounding(40 * i.d * i.cond, _unit_bound(i))


@chapter.claim("arora.eq-11-network", "upper", _run, n_random=6, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """In a network the gradients of each row of the weights add up to what the growth of its norm allows.
    Formula: sum_{t<T} ||grad_{v(i)} L||^2 <= ||w_T(i)||^2 (||w_T(i)||^2 - ||w_0(i)||^2)/eta^2
    Problems: as arora.lemma-C.2
    Where: eq. 11
    """
    # a hundred steps; the difference of squared norms cancels, and w'grad is 0 but for rounding
    return (
        _of_growth(i),
        _rows(i.sums),
        (
            rounding(
                100 * 50 * i.B, _rows([end**2 / _ETAS[:, None] ** 2 + end / _ETAS[:, None] * i.terms for end in i.end])
            )
        ),
    )


_false = chapter.variants
FALSE = {
    "C.1 without sqrt(B)": _false(
        "arora.lemma-C.1", theory=lambda i: i.G * np.array([1, 1, 3 * i.gamma / i.delta**0.5])
    ),
    "C.1 without delta": _false(
        "arora.lemma-C.1", theory=lambda i: i.G * math.sqrt(i.B) * np.array([1, 1, 3 * i.gamma])
    ),
    "C.2 without decay's inverse": _false("arora.lemma-C.2", theory=lambda i: np.maximum(i.at_start, 0.3)),
    "C.3 without the square of a": _false("arora.theorem-C.3", theory=lambda i: i.cond * L_VV * math.sqrt(i.E) * i.a),
    "C.3 with the root of cond": _false("arora.theorem-C.3", theory=lambda i: _unit_bound(i) / math.sqrt(i.cond)),
    "eq. 11 with half of the growth": _false.scaled("arora.eq-11-network", 0.5),
}
