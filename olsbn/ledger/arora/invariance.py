"""Scale invariance [Arora, section 2 and eqs. 15 to 17]: gradients, growth of the weights, normalizers.

Claims about networks use a small fully batch-normalized one with tanh (`olsbn.ledger.networks`); its scale-invariant
blocks w^(i) are the rows of its weights.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import networks, textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.descent import bngd_paths
from olsbn.ledger.networks import Layer, Rule

_NETWORKS = "two or three layers of 1..4 units with tanh, batches of 6..12; rows of the weights scaled over 6 decades"


def _amplification(net: tuple[Layer, ...], x: FloatArray, rule: Rule) -> float:
    """Return how far rounding in the outputs of the layers is amplified by normalization, from layer to layer."""
    found, h = 1.0, x
    for layer in net:
        z = h @ layer.w.T
        normal, n = networks.normalize(z, layer.w, rule)
        found *= 1 + float((np.abs(h) @ np.abs(layer.w.T) / n).max())
        h = np.tanh(normal * layer.gamma + layer.beta)
    return found


def draw_instance(cube: Cube, rule: Rule | None = None, hidden: int | None = None) -> SimpleNamespace:
    """A network, a batch, the same network with the rows of its weights at norm 1, and one with rows scaled."""
    rule = Rule() if rule is None else rule
    n_in, batch, depth = cube.integer(2, 4), cube.integer(6, 12), cube.integer(1, 2)
    spread, eta = cube.uniform(0, 3), cube.log(1e-3, 1e3)
    rng = cube.rng()
    sizes = (n_in, *rng.integers(1, 5, depth if hidden is None else hidden), 1)
    x, y = rng.standard_normal((batch, n_in)), 2 * rng.standard_normal(batch)
    unit = networks.draw_network(rng, tuple(int(k) for k in sizes))
    unit = networks.scaled(unit, tuple(1 / norms for norms in networks.row_norms(unit)))
    factors = tuple(10.0 ** rng.uniform(-spread, spread, layer.w.shape[0]) for layer in unit)
    return SimpleNamespace(
        x=x, y=y, rule=rule, unit=unit, net=networks.scaled(unit, factors), factors=factors, eta=eta, rng=rng,
        # sums over a batch; normalization amplifies what rounding did before it
        ops=4 * batch * _amplification(unit, x, rule),
    )  # fmt: skip


def _rows(layers: tuple[Any, ...]) -> FloatArray:
    return np.concatenate([np.ravel(layer) for layer in layers])


# -------------------------------------------------------------------- gradients and steps


def _scaled_gradient(i: SimpleNamespace, power: float = 1.0, power_g: float = 0.0) -> FloatArray:
    """Return the gradient at the scaled weights, by what the lemma says of the one at unit weights."""
    at_unit = networks.gradient(i.unit, i.x, i.y, i.rule)
    rows = [layer.w * c[:, None] ** (1 - power) for layer, c in zip(at_unit, i.factors, strict=True)]
    others = [np.concatenate([layer.gamma, layer.beta]) * i.factors[0][0] ** power_g for layer in at_unit]
    return np.concatenate([_rows(tuple(rows)), _rows(tuple(others))])


def _measured_gradient(i: SimpleNamespace) -> FloatArray:
    """Return the gradient at the scaled weights, each row times the norm of its weights; then the other parameters."""
    found = networks.gradient(i.net, i.x, i.y, i.rule)
    rows = [layer.w * c[:, None] for layer, c in zip(found, i.factors, strict=True)]
    return np.concatenate([_rows(tuple(rows)), _rows(tuple(np.concatenate([f.gamma, f.beta]) for f in found))])


def _gradient_size(i: SimpleNamespace) -> float:
    return 1.0 + float(np.linalg.norm(networks.flat(networks.gradient(i.unit, i.x, i.y, i.rule))))


def _one_step(cube: Cube) -> SimpleNamespace:
    """A step of gradient descent on the scaled weights: ``G`` are squared norms of rows, ``grads`` the gradients."""
    i = draw_instance(cube)
    i.grad = networks.gradient(i.net, i.x, i.y, i.rule)
    i.grads = tuple(layer.w for layer in i.grad)
    i.G = tuple(c**2 for c in i.factors)
    i.next = networks.step(i.net, i.grad, i.eta, 0.1)
    at_unit = networks.gradient(i.unit, i.x, i.y, i.rule)
    i.unit_grads = tuple(layer.w for layer in at_unit)
    # rounding in a gradient, times the learning rate of its row
    i.errors = tuple(rounding(i.ops, (1 + i.eta / G * _gradient_size(i)) ** 2) for G in i.G)
    return i


def _growth(i: SimpleNamespace, power: int = 2) -> FloatArray:
    return _rows(tuple(1 + i.eta**power * (d**2).sum(1) / G for d, G in zip(i.grads, i.G, strict=True)))


def _grown(i: SimpleNamespace) -> FloatArray:
    return _rows(tuple((layer.w**2).sum(1) / G for layer, G in zip(i.next, i.G, strict=True)))


def _cosines(i: SimpleNamespace) -> FloatArray:
    """Return w'grad for every row, at unit norm."""
    return _rows(tuple((v.w * d).sum(1) for v, d in zip(i.unit, i.unit_grads, strict=True)))


def _wngrad(i: SimpleNamespace, power: float = 1.0, growth: float = 1.0) -> FloatArray:
    """Return v+ and G+/G by the adaptive method of the theorem, row by row."""
    directions, sizes = [], []
    for v, d, G in zip(i.unit, i.unit_grads, i.G, strict=True):
        moved = v.w - (i.eta / G**power)[:, None] * d
        directions.append(moved / np.linalg.norm(moved, axis=1, keepdims=True))
        sizes.append(1 + growth * i.eta**2 / G**2 * (d**2).sum(1))
    return np.concatenate([_rows(tuple(directions)), _rows(tuple(sizes))])


def _direction_and_size(i: SimpleNamespace) -> FloatArray:
    directions = tuple(layer.w / np.linalg.norm(layer.w, axis=1, keepdims=True) for layer in i.next)
    return np.concatenate([_rows(directions), _grown(i)])


def _direction_and_size_errors(i: SimpleNamespace) -> FloatArray:
    directions = tuple(np.repeat(error, v.w.shape[1]) for v, error in zip(i.unit, i.errors, strict=True))
    return np.concatenate([_rows(directions), _rows(i.errors)])


# -------------------------------------------------------------------- second derivatives


def _hessian(net: tuple[Layer, ...], i: SimpleNamespace) -> FloatArray:
    def grad(z: Any) -> Any:
        return networks.flat(networks.gradient(networks.unflat(net, z), i.x, i.y, i.rule))

    return textbook.derivative(grad, networks.flat(net))


def _sizes_of_blocks(i: SimpleNamespace) -> FloatArray:
    """Return, for each parameter, the norm of its block: that of its row of the weights, 1 for scales and shifts."""
    return np.concatenate(
        [
            np.concatenate([np.repeat(c, layer.w.shape[1]), np.ones(2 * c.size)])
            for c, layer in zip(i.factors, i.unit, strict=True)
        ]
    )


def _hessians(cube: Cube) -> SimpleNamespace:
    i = draw_instance(cube, hidden=1)
    i.at_unit, i.at_net = _hessian(i.unit, i), _hessian(i.net, i)
    i.blocks = _sizes_of_blocks(i)
    is_weight = [np.concatenate([np.ones(layer.w.size), np.zeros(2 * layer.gamma.size)]) for layer in i.unit]
    i.weights = np.concatenate(is_weight) > 0
    i.error = rounding(i.ops, 1 + np.linalg.norm(i.at_unit, 2))
    return i


def _mixed(cube: Cube) -> SimpleNamespace:
    """The mixed derivative in w and a of least squares with BN, at w and at v = w/||w||."""
    problem = draw_problem(cube)
    norm = cube.log(1.5, 1e3) ** (1 if cube.unit() < 0.5 else -1)
    p = textbook.dense(problem, cube.rng())
    v = p.w0 / np.linalg.norm(p.w0)
    at_v, at_w = (textbook.derivative(lambda z: -(z @ p.g) / textbook.sigma(p, z), w) for w in (v, norm * v))
    size = float(problem.eigvals[-1]) / float(v @ p.H @ v)
    error = rounding(20 * problem.dim * size, np.sqrt(p.E * size))
    return SimpleNamespace(at_v=at_v, at_w=at_w, norm=norm, error=error)


# -------------------------------------------------------------------- momentum


def momentum_runs(cube: Cube, nesterov: bool = False) -> SimpleNamespace:
    """Return runs with momentum for 11 learning rates over ten decades, and what rounding can do to ||w||^2."""
    problem = draw_problem(cube, dim=(2, 8))
    m, eps_a = cube.uniform(0, 0.99), cube.uniform(0.01, 2)
    unit = float(problem.w0 @ problem.w0) / float(problem.eigvals[-1] * (problem.u @ problem.u))
    eps = unit * np.geomspace(1e-5, 1e5, 11)
    run = bngd_paths(problem, eps, eps_a, 60, momentum=m, nesterov=nesterov)
    # w'grad is 0 but for rounding, which momentum keeps for 1/(1 - m) steps
    kept = np.cumsum(2 * eps * np.sqrt(run.norm2) * run.terms, 0)[:-1] / (1 - m) ** 2
    error = rounding(8 * problem.dim, kept + np.cumsum(run.norm2[1:], 0))
    return SimpleNamespace(eps=eps, m=m, run=run, error=error)


def _momentum_growth(i: SimpleNamespace, remembered: float = 2.0) -> FloatArray:
    """Return ||w_k||^2 from the lengths of the steps alone."""
    norm2, memory, found = i.run.norm2[0], np.zeros_like(i.eps), []
    for step2 in i.run.step2[1:]:
        norm2 = norm2 + i.eps**2 * (step2 + remembered * memory)
        memory = i.m * (memory + step2)
        found.append(norm2)
    return np.array(found)


# -------------------------------------------------------------------- normalizers that are scale invariant, or not


def _smoothed(cube: Cube, proportional: bool) -> SimpleNamespace:
    i = draw_instance(cube, Rule(delta=cube.log(1e-3, 1), proportional=proportional))
    i.losses = tuple(float(networks.loss(net, i.x, i.y, i.rule)) for net in (i.unit, i.net))
    return i


def _scaled_relu(cube: Cube, activation: str = "relu", layer: int = 0) -> SimpleNamespace:
    """A network, and the same with all scales and shifts of one layer times one number."""
    factor = cube.log(1e-2, 1e2)
    i = draw_instance(cube)
    i.delta = 0.0
    changed = i.unit[layer]._replace(gamma=factor * i.unit[layer].gamma, beta=factor * i.unit[layer].beta)
    at = layer % len(i.unit)
    i.changed = (*i.unit[:at], changed, *i.unit[at + 1 :])
    h, amplification = i.x, 1.0
    for w, gamma, beta in i.unit:
        z = h @ w.T
        if not np.ptp(z, axis=0).min() > 1e-3:
            raise Skip  # all inputs of a unit are off for the whole batch
        normal, n = networks.normalize(z, w, Rule())
        amplification *= 1 + float((np.abs(h) @ np.abs(w.T) / n).max())
        h = np.maximum(normal * gamma + beta, 0)
    i.rule = Rule(activation=activation)
    i.ops = 4 * len(i.y) * amplification
    return i


def _relu_losses(i: SimpleNamespace, delta: float = 0.0) -> tuple[float, float]:
    rule = i.rule._replace(delta=delta)
    return tuple(float(networks.loss(net, i.x, i.y, rule)) for net in (i.unit, i.changed))  # type: ignore[return-value]


def _toy(cube: Cube) -> SimpleNamespace:
    """A step of gradient descent on x^2/(x^2 + y^2), and one of BNGD with optimal scale, H = I, u = (0, sqrt 2)."""
    angle, size, eps = cube.uniform(0, 2 * np.pi), cube.log(0.1, 10), cube.log(1e-3, 1e3)
    w = size * np.array([np.sin(angle), np.cos(angle)])
    u = np.array([0.0, np.sqrt(2.0)])
    p = textbook.Dense(np.eye(2), u, u, w, 2.0)
    a = float(w @ u / textbook.sigma(p, w))
    toy_step = w - eps * textbook.derivative(lambda z: z[0] ** 2 / (z[0] ** 2 + z[1] ** 2), w)
    return SimpleNamespace(
        toy=[w[0] ** 2 / (w @ w), *toy_step],
        bngd=[textbook.loss(p, w, a), *textbook.bngd_step(p, w, a, eps, 1.0)[0]],
        size=np.array([1.0, 1.0, 1.0]) + np.linalg.norm(w) + eps / size,
    )


chapter = Chapter(_NETWORKS=_NETWORKS)


@chapter.claim("arora.lemma-2.2", "identity", draw_instance)
def _(i: SimpleNamespace) -> Comparison:
    """The gradient of a scale-invariant block falls like the inverse of its norm; others do not change.
    Formula: grad_{w(i)} F(W; g) = grad_{v(i)} F(V; g)/||w(i)||,  grad_g F(W; g) = grad_g F(V; g)
    Problems: {_NETWORKS}
    Where: Lemma 2.2, eq. 5
    """
    return _scaled_gradient(i), _measured_gradient(i), rounding(i.ops, _gradient_size(i))


@chapter.claim("arora.lemma-2.4-perpendicular", "identity", _one_step)
def _(i: SimpleNamespace) -> Comparison:
    """The gradient of a scale-invariant block is perpendicular to it.
    Formula: w(i)' grad_{w(i)} L = 0
    Problems: {_NETWORKS}
    Where: Lemma 2.4, 1
    """
    return 0.0, _cosines(i), rounding(i.ops, _gradient_size(i))


@chapter.claim("arora.lemma-2.4-growth", "identity", _one_step)
def _(i: SimpleNamespace) -> Comparison:
    """So its squared norm grows at each step by exactly the squared length of the step.
    Formula: ||w(i)+||^2 = ||w(i)||^2 + eta^2 ||grad_{w(i)} F||^2
    Problems: {_NETWORKS}; eta over 6 decades
    Where: Lemma 2.4, 2
    """
    return _growth(i), _grown(i), _rows(i.errors)


@chapter.claim("arora.theorem-2.5", "identity", _one_step)
def _(i: SimpleNamespace) -> Comparison:
    """Gradient descent on w is WNGrad with projection on the direction v and the squared norm G.
    Formula: v+ = Pi(v - (eta/G) grad_v F),  G+ = G + (eta^2/G) ||grad_v F||^2,  v = w/||w||, G = ||w||^2
    Problems: {_NETWORKS}; eta over 6 decades
    Where: Theorem 2.5, eq. 9, and Remark 2.6
    """
    return _wngrad(i), _direction_and_size(i), _direction_and_size_errors(i)


@chapter.claim("arora.hessian-scaling", "identity", _hessians, n_search=40)
def _(i: SimpleNamespace) -> Comparison:
    """Second derivatives fall like the inverse norm of each scale-invariant block that they are taken in.
    Formula: D (Hessian of L at (W, g)) D = Hessian of L at (V, g),  D = diag(||w(i)||, 1)
    Problems: {_NETWORKS}, two layers; Hessians by complex differentiation of the gradient
    Where: eqs. 15 to 17
    """
    return i.at_unit, i.blocks[:, None] * i.at_net * i.blocks, i.error


@chapter.claim("arora.eq-16-as-printed", "counterexample", _mixed, refutes="identity", n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """The printed factor of the mixed derivative, with a second norm, is wrong.
    Formula: d^2 L(W; g)/dw(i) dg = d^2 L(V; g)/dv(i) dg / (||w(i)|| ||w(j)||)  [false, here for i = j = 1]
    Problems: {PROBLEMS}; rotated at random; least squares with BN, ||w|| over 6 decades but not 1
    Where: appendix A, the second of the identities before eq. 15
    Corrects: The mixed derivative in w(i) and g is printed with 1/(||w(i)|| ||w(j)||); there is no j: it is
    1/||w(i)||, as eq. 16 then uses.
    """
    return i.at_v / i.norm**2, i.at_w, i.error / i.norm + i.error / i.norm**2


@chapter.claim("arora.momentum-norm", "identity", momentum_runs, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """With momentum the norm still grows: by the squares of all steps so far, none of which is negative.
    Formula: ||w_{k+1}||^2 = ||w_k||^2 + eta^2 (||s_{k+1}||^2 + 2 sum_{j<=k} m^{k+1-j} ||s_j||^2),  w+ = w - eta s
    Problems: {PROBLEMS}, d <= 8; least squares with BN, 11 eta over 10 decades, m in 0..0.99, 60 steps
    Where: section 5
    """
    return _momentum_growth(i), i.run.norm2[1:], i.error


@chapter.claim("arora.smoothing-keeps", "identity", lambda cube: _smoothed(cube, proportional=True))
def _(i: SimpleNamespace) -> Comparison:
    """Smoothing by delta ||w||^2, as the paper proposes, keeps the weights scale invariant.
    Formula: F(W; g) = F(V; g) with variance + delta ||w_k||^2
    Problems: {_NETWORKS}; delta in 1e-3..1
    Where: eq. 8
    """
    return i.losses[0], i.losses[1], rounding(i.ops, 1 + i.losses[0])


@chapter.claim(
    "arora.smoothing-breaks",
    "counterexample",
    lambda cube: _smoothed(cube, proportional=False),
    refutes="identity",
    n_random=10,
    n_search=10,
)
def _(i: SimpleNamespace) -> Comparison:
    """Smoothing by a constant, as in use, breaks the scale invariance.
    Formula: F(W; g) = F(V; g) with variance + delta  [false]
    Problems: {_NETWORKS}; delta in 1e-3..1
    Where: eq. 7
    """
    return i.losses[0], i.losses[1], rounding(i.ops, 1 + i.losses[0])


@chapter.claim("arora.relu", "identity", _scaled_relu)
def _(i: SimpleNamespace) -> Comparison:
    """With ReLU the scales and shifts of a layer, taken together, are scale invariant, but the last's.
    Formula: F(c gamma, c beta) = F(gamma, beta), c > 0
    Problems: {_NETWORKS}, ReLU for tanh; c over 4 decades; no unit with all inputs off
    Where: section 2.1
    """
    return _relu_losses(i)[0], _relu_losses(i)[1], rounding(i.ops, 1 + _relu_losses(i)[0])


@chapter.claim("arora.relu-smoothed", "counterexample", _scaled_relu, refutes="identity", n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """With the paper's own smoothing (eq. 8) that invariance of scales and shifts is lost.
    Formula: F(c gamma, c beta) = F(gamma, beta) with variance + ||w_k||^2/10  [false]
    Problems: as arora.relu
    Where: section 2.1 with eq. 8
    Corrects: The paper's smoothing keeps the weights scale invariant,
    but not the scales and shifts of a ReLU network: delta ||w||^2 does not follow the size of the inputs.
    """
    return _relu_losses(i, 0.1)[0], _relu_losses(i, 0.1)[1], rounding(i.ops, 1 + _relu_losses(i, 0.1)[0])


@chapter.claim("arora.toy-loss", "identity", _toy)
def _(i: SimpleNamespace) -> Comparison:
    """The toy loss x^2/(x^2 + y^2) is least squares with BN at the optimal scale: same loss, same steps.
    Formula: x^2/(x^2 + y^2) = J - J_min for d = 2, H = I, u = (0, sqrt 2), a = w'g/sigma; so are their gradients
    Problems: w at any angle, its norm over 2 decades, eps over 6
    Where: an illustration that goes about with it; not in the submission
    """
    return i.toy, i.bngd, rounding(30, i.size)


_false = chapter.variants
FALSE = {
    "the gradient does not depend on the norm": _false("arora.lemma-2.2", theory=lambda i: _scaled_gradient(i, 0.0)),
    "scales and shifts see the norm": _false("arora.lemma-2.2", theory=lambda i: _scaled_gradient(i, 1.0, -1.0)),
    "the gradient has a part along v": _false("arora.lemma-2.4-perpendicular", theory=lambda i: 1e-9),
    "the norm grows by eta, not its square": _false("arora.lemma-2.4-growth", theory=lambda i: _growth(i, 1)),
    "WNGrad with the norm, not its square": _false("arora.theorem-2.5", theory=lambda i: _wngrad(i, power=0.5)),
    "WNGrad's own, larger growth": _false("arora.theorem-2.5", theory=lambda i: _wngrad(i, growth=2.0)),
    "second derivatives scale once": _false(
        "arora.hessian-scaling", measured=lambda i: np.sqrt(np.outer(i.blocks, i.blocks)) * i.at_net
    ),
    "all blocks scale twice": _false.changed("arora.hessian-scaling", blocks=lambda i: i.blocks.max() + 0 * i.blocks),
    "the right factor": _false("arora.eq-16-as-printed", theory=lambda i: i.at_v / i.norm),
    "with momentum, steps add up once": _false("arora.momentum-norm", theory=lambda i: _momentum_growth(i, 1.0)),
    "with momentum, only the last step counts": _false("arora.momentum-norm", theory=lambda i: _momentum_growth(i, 0)),
    "a constant keeps scale invariance": _false(
        "arora.smoothing-keeps", instance=lambda cube: _smoothed(cube, proportional=False)
    ),
    "delta ||w||^2 breaks it": _false(
        "arora.smoothing-breaks", instance=lambda cube: _smoothed(cube, proportional=True)
    ),
    "tanh is as homogeneous as ReLU": _false("arora.relu", instance=lambda cube: _scaled_relu(cube, "tanh")),
    "the last layer's scales too": _false("arora.relu", instance=lambda cube: _scaled_relu(cube, layer=-1)),
    "no smoothing breaks it": _false("arora.relu-smoothed", measured=lambda i: _relu_losses(i, 0.1)[0]),
    "the toy loss is twice that": _false("arora.toy-loss", theory=lambda i: 2 * np.array(i.toy)),
}
