"""Gradient and Hessian of a loss through BN: Theorems 4.1, 4.2 and 4.4, and the second bound of a blog account.

One BN over a batch of m pre-activations y: y_hat = (y - mu)/sigma, outputs z = gamma y_hat + beta, a loss L of the
outputs. L_hat is the loss as a function of y; g and H are gradient and Hessian of L at the outputs: the comparison of
the theorems is that with a network without BN in which the same arrives from above. Everything is differentiated by
differences in 100 digits.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, rounding
from olsbn.ledger.textbook import directional, exact, many_digits, norm

# Differences in 100 digits give 38; the rest is for their condition.
_NOTHING = 1e-30


@many_digits
def layer(cube: Cube, curvature: str = "any", near: float | None = None) -> SimpleNamespace:
    """A batch through BN, gradient and Hessian of a loss above it, and the gradient before it.

    The loss is a polynomial of third degree, so its Hessian is not constant: any symmetric matrix at the outputs,
    "psd", or "identity" times a number, for which H keeps relative norms. With `near` the loss is quadratic, and y is
    that near to its minimum.
    """
    m = cube.integer(3, 5)
    gamma, beta, size = cube.log(0.1, 10), cube.uniform(-2, 2), cube.log(0.1, 10)
    y = size * np.array([cube.uniform(-1, 1) for _ in range(m)])
    g = np.array([cube.uniform(-1, 1) for _ in range(m)])
    rng = cube.rng()
    if not (np.std(y) > 1e-3 * size and np.linalg.norm(g) > 1e-3):
        raise Skip
    A = rng.standard_normal((m, m))
    H = {"any": A + A.T, "psd": A @ A.T, "identity": rng.uniform(0.1, 3) * np.eye(m)}[curvature]
    cubic = np.zeros(m) if curvature == "identity" or near is not None else rng.standard_normal(m)
    y, g, H, cubic, gamma, beta = (exact(value) for value in (y, g, H, cubic, gamma, beta))
    y_hat = textbook.batch_norm(y)
    z = gamma * y_hat + beta
    if near is not None:
        g = H @ (z - y + exact(near) * g)
    sigma = np.sqrt(np.sum((y - np.sum(y) / m) ** 2) / m)

    def loss(outputs: Any) -> Any:
        step = outputs - z
        return g @ step + step @ H @ step / 2 + cubic @ step**3

    def through(inputs: Any) -> Any:
        return loss(gamma * textbook.batch_norm(inputs) + beta)

    grad = np.array([directional(through, y, unit)[0] for unit in exact(np.eye(m))])
    return SimpleNamespace(
        m=m, y=y, g=g, H=H, gamma=gamma, sigma=sigma, y_hat=y_hat, loss=loss, through=through, grad=grad,
        one=exact(np.ones(m)), power=2,
    )  # fmt: skip


@many_digits
def _gradient_bound(i: SimpleNamespace) -> Any:
    """The right side of Theorem 4.1."""
    factor = (i.gamma / i.sigma) ** i.power
    return factor * (i.g @ i.g - (i.one @ i.g) ** 2 / i.m - (i.g @ i.y_hat) ** 2 / i.m)


@many_digits
def _hessian(i: SimpleNamespace) -> Any:
    """The quadratic form of the Hessian of L_hat on its gradient."""
    length = norm(i.grad)
    return directional(i.through, i.y, i.grad / length)[1] * length**2 if length > 0 else length


@many_digits
def _hessian_bound(i: SimpleNamespace) -> Any:
    """The right side of Theorem 4.2."""
    first = (i.gamma / i.sigma) ** 2 * (i.grad @ i.H @ i.grad)
    return first - i.gamma / (i.m * i.sigma**i.power) * (i.g @ i.y_hat) * (i.grad @ i.grad)


@many_digits
def _second_bound(i: SimpleNamespace) -> Any:
    """The right side of the blog's second bound."""
    rest = (i.g @ i.y_hat) * (i.grad @ i.grad) / (i.m * i.gamma)
    return (i.gamma / i.sigma) ** 2 * (i.g @ i.H @ i.g - rest)


def _relative(left: Any, right: Any, size: Any) -> float:
    return float((left - right) / size)


def _narrow(cube: Cube, curvature: str = "identity", ratio: tuple[float, float] = (0.05, 1.0)) -> SimpleNamespace:
    """A batch for which gamma/sigma is given."""
    wanted = cube.log(*ratio)
    i = layer(cube, curvature)
    return _rescaled(i, wanted)


@many_digits
def _rescaled(i: SimpleNamespace, ratio: float) -> SimpleNamespace:
    """Scale the batch so that gamma/sigma is `ratio`; neither the outputs nor what is above them changes."""
    factor = i.gamma / i.sigma / exact(ratio)
    i.y, i.sigma, i.grad = i.y * factor, i.sigma * factor, i.grad / factor
    return i


# -------------------------------------------------------------------- weights (Theorem 4.4)


def _inputs(cube: Cube) -> SimpleNamespace:
    """A batch and inputs X of spectral norm lambda; the outputs y are held, only what multiplies the gradient moves."""
    size, mix = cube.log(1e-2, 1e2), cube.unit()
    i = layer(cube)
    rng = cube.rng()
    d = int(rng.integers(1, 6))
    grad = i.grad.astype(float)
    if not np.linalg.norm(grad) > 0:
        raise Skip
    best = np.outer(grad / np.linalg.norm(grad), rng.standard_normal(d))
    X = mix * best / np.linalg.norm(best) + (1 - mix) * rng.standard_normal((i.m, d))
    unit = np.outer(grad / np.linalg.norm(grad), np.eye(d)[0])
    i.size, i.X, i.worst = size, size * X / np.linalg.norm(X, 2), size * unit
    i.grad_float, i.means = grad, (i.m, i.m)
    return i


def _weights_bound(i: SimpleNamespace, print_: bool = False) -> float:
    """The right side of Theorem 4.4: with all factors, or as it circulates."""
    size = i.size**2
    g = i.g.astype(float)
    mean, along = float(np.sum(g)) ** 2 / i.m, float(g @ i.y_hat.astype(float)) ** 2
    inner = size * g @ g - mean - size * along if print_ else size * (g @ g - mean - along / i.m)
    return float(i.gamma / i.sigma) ** 2 * float(inner)


def _weights_gradient(i: SimpleNamespace, X: FloatArray) -> float:
    return float(np.sum((X.T @ i.grad_float) ** 2))


_LAYER = (
    "batches of 3..5 over 2 decades of sigma and gamma, any gradient and any symmetric Hessian above BN; the loss a "
    "polynomial of third degree; 100 digits"
)

chapter = Chapter(_LAYER=_LAYER)


@chapter.claim("santurkar.4.1", "upper", layer)
def _(i: SimpleNamespace) -> Comparison:
    """BN's gradient is that from above times gamma/sigma, less its mean and its part along y_hat.
    Formula: ||grad_y L_hat||^2 <= (gamma^2/sigma^2)(||g||^2 - <1,g>^2/m - <g,y_hat>^2/m)
    Problems: {_LAYER}
    Where: Theorem 4.1
    """
    # both are rounded once, to a float
    return float(_gradient_bound(i)), float(i.grad @ i.grad), rounding(2, float(_gradient_bound(i)))


@chapter.claim("santurkar.4.1-equality", "identity", layer)
def _(i: SimpleNamespace) -> Comparison:
    """That bound is an equality wherever the gradients from above coincide.
    Formula: both sides of 4.1  [difference, relative to (gamma^2/sigma^2) ||g||^2]
    Problems: {_LAYER}
    Where: Theorem 4.1
    Corrects: Stated as an inequality; as proved, with the same gradient from above, nothing is lost.
    """
    return (
        0.0,
        (
            many_digits(
                lambda i: _relative(i.grad @ i.grad, _gradient_bound(i), (i.gamma / i.sigma) ** 2 * (i.g @ i.g))
            )(i)
        ),
        _NOTHING,
    )


@chapter.claim(
    "santurkar.4.1-same-gradient",
    "counterexample",
    lambda cube: _own_gradient(cube),
    refutes="upper",
    n_random=20,
    n_search=0,
)
def _(i: SimpleNamespace) -> Comparison:
    """The gradients from above have to coincide: refuted is the bound for one loss with and without BN, each with its
    own gradient, that of L at y against that of L at gamma y_hat + beta.
    Formula: ||grad_y L_hat||^2 <= (gamma^2/sigma^2) ||grad L(y)||^2  [false]
    Problems: {_LAYER}, but quadratic and positive semidefinite, y near its minimum; the larger right side, without
    the two terms that are taken off
    Where: Theorem 4.1
    Corrects: The theorem compares two networks; that the same gradient arrives in both is a hypothesis.
    """
    return i.bound, float(i.grad @ i.grad)


@chapter.claim("santurkar.4.1-gamma", "counterexample", layer, refutes="upper", n_random=20, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """BN makes gradients smaller only where gamma <= sigma: refuted is that it always does.
    Formula: ||grad_y L_hat|| <= ||g||  [false]
    Problems: {_LAYER}
    Where: Theorem 4.1
    Corrects: The shorthand that BN makes gradients smaller, without the factor gamma/sigma.
    """
    return float(norm(i.g)), float(norm(i.grad))


@chapter.claim("santurkar.4.2", "upper", layer)
def _(i: SimpleNamespace) -> Comparison:
    """BN's curvature along its gradient is that from above times gamma^2/sigma^2, less a term that is positive where
    the gradient points away from the mean.
    Formula: v'(d^2 L_hat/dy dy)v <= (gamma^2/sigma^2) v'Hv - (gamma/(m sigma^2)) <g,y_hat> ||v||^2,
    v = grad_y L_hat
    Problems: {_LAYER}
    Where: Theorem 4.2; the blog's first bound
    """
    return float(_hessian_bound(i)), float(_hessian(i)), rounding(2, float(_hessian_bound(i)))


@chapter.claim("santurkar.4.2-equality", "identity", layer)
def _(i: SimpleNamespace) -> Comparison:
    """That bound is an equality as well, for every Hessian from above.
    Formula: both sides of 4.2  [difference, relative to their largest term]
    Problems: {_LAYER}
    Where: Theorem 4.2
    Corrects: Stated as an inequality; nothing is lost.
    """
    return 0.0, many_digits(lambda i: _relative(_hessian(i), _hessian_bound(i), _hessian_size(i)))(i), _NOTHING


@chapter.claim("santurkar.second-bound", "upper", _narrow)
def _(i: SimpleNamespace) -> Comparison:
    """Where H keeps relative norms (here: a number times the identity) and gamma <= sigma, the curvature is bounded by
    that of the gradient from above.
    Formula: v'(d^2 L_hat/dy dy)v <= (gamma^2/sigma^2)(g'Hg - <g,y_hat> ||v||^2/(m gamma))
    Problems: batches of 3..5, gamma/sigma in 0.05..1, H = h I with h > 0, any gradient from above; 100 digits
    Where: the blog's second bound
    """
    return float(_second_bound(i)), float(_hessian(i)), rounding(4, _second_size(i))


@chapter.claim(
    "santurkar.second-bound-gamma",
    "counterexample",
    lambda cube: _narrow(cube, ratio=(1.5, 20.0)),
    refutes="upper",
    n_random=20,
    n_search=0,
)
def _(i: SimpleNamespace) -> Comparison:
    """That H keeps relative norms is not enough: refuted is the second bound for gamma > sigma.
    Formula: v'(d^2 L_hat/dy dy)v <= (gamma^2/sigma^2)(g'Hg - <g,y_hat> ||v||^2/(m gamma))  [false]
    Problems: as santurkar.second-bound, gamma/sigma in 1.5..20
    Where: the blog's second bound
    Corrects: 'If H_jj preserves the relative norms of g and grad_y L_hat' is all that the blog asks for.
    """
    return float(_second_bound(i)), float(_hessian(i))


@chapter.claim(
    "santurkar.second-bound-norms",
    "counterexample",
    lambda cube: _narrow(cube, "psd", ratio=(0.5, 1.0)),
    refutes="upper",
    n_random=60,
    n_search=60,
)
def _(i: SimpleNamespace) -> Comparison:
    """Nor can that condition be left out: refuted is the second bound for other positive semidefinite H.
    Formula: v'(d^2 L_hat/dy dy)v <= (gamma^2/sigma^2)(g'Hg - <g,y_hat> ||v||^2/(m gamma))  [false]
    Problems: as santurkar.second-bound, with any positive semidefinite H
    Where: the blog's second bound
    """
    return float(_second_bound(i)), float(_hessian(i))


@chapter.claim("santurkar.4.4", "upper", _inputs)
def _(i: SimpleNamespace) -> Comparison:
    """Over all inputs of spectral norm lambda the weights' gradient is bounded by lambda^2 times 4.1.
    Formula: ||X' grad_y L_hat||^2 <= (gamma^2/sigma^2) lambda^2 (||g||^2 - <1,g>^2/m - <g,y_hat>^2/m)
    Problems: {_LAYER}; inputs of norm lambda over 4 decades, from random to the worst ones
    Where: Theorem 4.4
    """
    return (
        _weights_bound(i),
        _weights_gradient(i, i.X),
        rounding(60, float(i.gamma / i.sigma) ** 2 * i.size**2 * float(i.g @ i.g)),
    )


@chapter.claim("santurkar.4.4-equality", "identity", _inputs)
def _(i: SimpleNamespace) -> Comparison:
    """Some inputs attain it: it is the minimax value, not only a bound.
    Formula: max over ||X|| <= lambda of ||X' grad_y L_hat||^2 = (gamma^2/sigma^2) lambda^2 (...)
    Problems: {_LAYER}; inputs along the gradient
    Where: Theorem 4.4
    """
    return (
        _weights_bound(i),
        _weights_gradient(i, i.worst),
        rounding(60, float(i.gamma / i.sigma) ** 2 * i.size**2 * float(i.g @ i.g)),
    )


@chapter.claim("santurkar.4.4-as-printed", "counterexample", _inputs, refutes="upper", n_random=10, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The circulated form lacks a lambda^2 at the mean and a 1/m at the last term: refuted is that it bounds the
    gradient.
    Formula: max ||X' grad_y L_hat||^2 <= (gamma^2/sigma^2)(max ||X'g||^2 - m mean(g)^2 - lambda^2 <g,y_hat>^2)
    [false]
    Problems: {_LAYER}; inputs along the gradient
    Where: Theorem 4.4
    Corrects: g_hat <= (gamma^2/sigma^2)(g^2 - m mu_g^2 - lambda^2 <grad_y L, y_hat>^2)
    """
    return (
        _weights_bound(i, print_=True),
        _weights_gradient(i, i.worst),
        rounding(60, float(i.gamma / i.sigma) ** 2 * i.size**2 * float(i.g @ i.g)),
    )


def _own_gradient(cube: Cube) -> SimpleNamespace:
    """The bound with the gradient that the loss has at y itself."""
    return _with_own(layer(cube, "psd", near=cube.log(1e-2, 1)))


@many_digits
def _with_own(i: SimpleNamespace) -> SimpleNamespace:
    own = np.array([directional(i.loss, i.y, unit)[0] for unit in exact(np.eye(i.m))])
    i.bound = float((i.gamma / i.sigma) ** 2 * (own @ own))
    return i


@many_digits
def _hessian_size(i: SimpleNamespace) -> Any:
    steep = (i.grad @ i.grad) * abs(i.g @ i.y_hat) * i.gamma / (i.m * i.sigma**2)
    return abs((i.gamma / i.sigma) ** 2 * (i.grad @ i.H @ i.grad)) + steep


@many_digits
def _second_size(i: SimpleNamespace) -> float:
    return float((i.gamma / i.sigma) ** 2 * (i.g @ i.H @ i.g + abs(i.g @ i.y_hat) * (i.grad @ i.grad) / i.gamma))


_false = chapter.variants
FALSE = {
    "4.1 less 1 %": _false.scaled("santurkar.4.1", 0.99),
    "4.1 with gamma/sigma": _false.changed("santurkar.4.1", power=lambda i: 1),
    "4.1 without 1/m at the last term": _false(
        "santurkar.4.1-equality",
        measured=many_digits(lambda i: _relative(
            i.grad @ i.grad,
            (i.gamma / i.sigma) ** 2 * (i.g @ i.g - (i.one @ i.g) ** 2 / i.m - (i.g @ i.y_hat) ** 2),
            (i.gamma / i.sigma) ** 2 * (i.g @ i.g),
        )),
    ),
    "4.1 without the mean": _false.changed("santurkar.4.1-equality", one=lambda i: 0 * i.one),
    "the same gradient refutes it too": _false.changed(
        "santurkar.4.1-same-gradient", bound=lambda i: float((i.gamma / i.sigma) ** 2 * (i.g @ i.g))
    ),
    "it does even where gamma <= sigma": _false(
        "santurkar.4.1-gamma", instance=lambda cube: _narrow(cube, "any")
    ),
    "4.2 less a part": _false.changed("santurkar.4.2", H=lambda i: i.H * exact(0.99) if i.H[0, 0] > 0 else i.H),
    "4.2 with sigma in place of its square": _false.changed("santurkar.4.2-equality", power=lambda i: 1),
    "the second bound less a part": _false.changed("santurkar.second-bound", H=lambda i: i.H * exact(0.5)),
    "gamma <= sigma refutes it too": _false("santurkar.second-bound-gamma", instance=_narrow),
    "H that keeps norms refutes it too": _false("santurkar.second-bound-norms", instance=_narrow),
    "4.4 with lambda": _false.changed("santurkar.4.4", size=lambda i: i.size**0.5),
    "4.4 less 1 %": _false.scaled("santurkar.4.4", 0.99),
    "the minimax value, smaller by 0.1 %": _false.scaled("santurkar.4.4-equality", 0.999),
    "with all factors it fails too": _false("santurkar.4.4-as-printed", theory=_weights_bound),
}  # fmt: skip
