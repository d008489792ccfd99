"""A forum question on the expansion of the norm in [Hoffer], and its answer: is it rho^-2 or rho^-4?"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, rounding
from olsbn.ledger.hoffer.expansions import NOTHING, STATE, difference, order, step
from olsbn.ledger.textbook import norm


def _at_w(cube: Cube) -> SimpleNamespace:
    i = step(cube)
    i.gradient = textbook.many_digits(textbook.gradient)(i.p, i.w, i.a)[0]
    return i


def _squared(i: SimpleNamespace) -> object:
    """The answer's second line; `power` is that of rho before the squared gradient."""
    grad = i.gradient
    return i.rho**2 * (1 - 2 * i.eta / i.rho**2 * (i.w @ grad) + i.eta**2 / i.rho**i.power * (grad @ grad))


def _sample(cube: Cube) -> SimpleNamespace:
    """A sample of inputs, far from centred, and a direction."""
    n, d, rho = cube.integer(4, 20), cube.integer(2, 6), cube.log(1e-3, 1e3)
    offset = cube.uniform(0, 3)
    rng = cube.rng()
    X = rng.standard_normal((n, d)) * rng.uniform(0.2, 5, d) + offset
    w = rng.standard_normal(d)
    w /= np.linalg.norm(w)
    z = X @ w
    return SimpleNamespace(
        X=X, w=w, rho=rho, power=1,
        # sums of n terms; the mean is taken off outputs of size |X|, of which the standard deviation is left
        allowed=rounding(20 * n, np.abs(X).max() * np.linalg.norm(X) / np.std(z) ** 2 * d / rho),
    )  # fmt: skip


def _jacobian(i: SimpleNamespace, rho: float) -> object:
    return textbook.derivative(lambda w: textbook.batch_norm(i.X @ w), rho * i.w)


chapter = Chapter(STATE=STATE)


@chapter.claim("forum.output-jacobian", "identity", _sample)
def _(i: SimpleNamespace) -> Comparison:
    """The derivative of BN's outputs at w is that at the direction of w, divided by the norm.
    Formula: d BN(Xw)/dw at rho w_hat = (1/rho) d BN(Xw)/dw at w_hat
    Problems: samples of 4..20 rows, 2..6 columns, not centred; rho over 6 decades; by complex steps
    Where: the question, second equation
    """
    return _jacobian(i, 1.0) / i.rho**i.power, _jacobian(i, i.rho), i.allowed


@chapter.claim("forum.rho-minus-2", "identity", _at_w)
def _(i: SimpleNamespace) -> Comparison:
    """The answer's rho^-2 is right, for the gradient at w; [Hoffer]'s rho^-4 for that at w_hat (hoffer.norm-exact).
    Formula: rho+^2 = rho^2 (1 - 2 eta rho^-2 w'grad F(w) + eta^2 rho^-2 ||grad F(w)||^2)  [difference]
    Problems: {STATE}; the step over 6 decades
    Where: the answer, second line
    Corrects: 'I do not see why there is a power -4 in the paper': grad F(w) = grad F(w_hat)/rho brings the other
    rho^-2.
    """
    return 0.0, difference(lambda i: norm(i.w - i.eta * i.gradient) ** 2, _squared)(i), NOTHING


@chapter.claim("forum.one-power-for-both", "counterexample", step, refutes="identity", n_random=6, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The powers cannot be exchanged: refuted is rho^-2 with the gradient of the question, at w_hat.
    Formula: rho+^2 = rho^2 (1 - ... + eta^2 rho^-2 ||grad F(w_hat)||^2)  [false]  [difference]
    Problems: {STATE}; the step over 6 decades
    Where: the answer's note
    Corrects: 'But this is unimportant for your question': with the question's gradient it decides the term.
    """
    return (
        0.0,
        (
            difference(
                lambda i: norm(i.w - i.eta * i.G / i.rho) ** 2,
                lambda i: i.rho**2 + i.eta**2 / i.rho ** (i.power - 2) * (i.G @ i.G),
            )(i)
        ),
        NOTHING,
    )


@chapter.claim("forum.taylor", "order", _at_w)
def _(i: SimpleNamespace) -> Comparison:
    """The answer's Taylor approximation has an error of second order, and that is all: its linear term is zero.
    Formula: rho+ - rho (1 - eta rho^-2 w'grad F(w)) ~ eta^2
    Problems: {STATE}
    Where: the answer, last line
    """
    return 2.0, (
        order(lambda i, eta: norm(i.w - eta * i.gradient), lambda i, eta: i.rho - eta / i.rho * (i.w @ i.gradient))(i)
    )


CLAIMS = chapter.claims

_false = chapter.variants
FALSE = {
    "the outputs' derivative does not depend on the norm": _false.changed("forum.output-jacobian", power=lambda i: 0),
    "rho^-4 with the gradient at w": _false.changed("forum.rho-minus-2", power=lambda i: 4),
    "the other power is wrong too": _false.changed("forum.one-power-for-both", power=lambda i: 4),
    "the approximation is right to third order": _false("forum.taylor", theory=lambda i: 3.0),
}
