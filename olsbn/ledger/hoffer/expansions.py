"""Scale invariance, and what one step does to the norm of w and to its direction.

F is the loss of BN-OLS with the scale a held fixed, rho = ||w||, w_hat = w/rho. Steps are taken in 100 digits, so that
the order of an error is what its formula says and not what rounding leaves of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn.ledger import textbook
from olsbn.ledger.base import PROBLEMS, Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.textbook import exact, many_digits, norm

# What 100 digits leave of an identity, with room for the thousands of operations and their condition.
NOTHING = 1e-60
# eta ||grad F(w_hat)||/rho^2 of the longer of the two steps that measure an order
_SHORT = 1e-12


@many_digits
def step(cube: Cube, strength: tuple[float, float] = (1e-3, 1e3)) -> SimpleNamespace:
    """A dense problem, a state and a step length, in many digits."""
    problem = draw_problem(cube, dim=(2, 6))
    x, size = cube.log(*strength), cube.log(0.1, 10)
    rng = cube.rng()
    p = exact(textbook.dense(problem, rng))
    w, a = p.w0, exact(size * math.sqrt(problem.explained_var) * rng.choice([-1.0, 1.0]))
    rho = norm(w)
    w_hat = w / rho
    G = textbook.gradient(p, w_hat, a)[0]
    if not norm(G) > 0:
        raise Skip  # a start at u
    return SimpleNamespace(p=p, w=w, a=a, rho=rho, w_hat=w_hat, G=G, eta=exact(x) * rho**2 / norm(G), power=2)


def _stepped(i: SimpleNamespace, eta: Any, constant: Any = 0) -> Any:
    return i.w - eta * textbook.gradient(i.p, i.w, i.a, constant)[0]


def difference(left: Callable[[Any], Any], right: Callable[[Any], Any]) -> Callable[[Any], float]:
    """Return how far two formulas are apart, relative to the first, in many digits."""

    @many_digits
    def measured(i: SimpleNamespace) -> float:
        x, y = (np.atleast_1d(side(i)) for side in (left, right))
        return float(norm(x - y) / norm(x))

    return measured


def order(true: Callable[..., Any], formula: Callable[..., Any]) -> Callable[[Any], float]:
    """Return the order in eta of the error of a formula, from two short steps, in many digits."""

    @many_digits
    def measured(i: SimpleNamespace) -> float:
        eta = exact(_SHORT) * i.rho**2 / norm(i.G)
        errors = [norm(np.atleast_1d(true(i, h) - formula(i, h))) for h in (eta, eta / 2)]
        return math.log2(errors[0] / errors[1])

    return measured


def _new_norm(i: SimpleNamespace, eta: Any) -> Any:
    return norm(_stepped(i, eta))


def _new_direction(i: SimpleNamespace, eta: Any) -> Any:
    w = _stepped(i, eta)
    return w / norm(w)


def _tangent(i: SimpleNamespace, v: Any) -> Any:
    return v - i.w_hat * (i.w_hat @ v)


def _direction_step(i: SimpleNamespace, eta: Any, power: int, radius: Any) -> Any:
    """``w_hat - eta rho^-power (I - w_hat w_hat') grad F(radius w_hat)``."""
    return i.w_hat - eta / i.rho**power * _tangent(i, textbook.gradient(i.p, radius * i.w_hat, i.a)[0])


def _linear_norm(i: SimpleNamespace, eta: Any) -> Any:
    return i.rho - eta / i.rho * (i.w_hat @ i.G)


def _constant(i: SimpleNamespace) -> Any:
    return i.w @ i.p.H @ i.w / 100


def _float_state(cube: Cube) -> SimpleNamespace:
    """A problem and a state in plain numbers, and how far rounding reaches there."""
    problem = draw_problem(cube)
    scale, size = cube.log(1e-3, 1e3), cube.log(0.1, 10)
    p = textbook.dense(problem, cube.rng())
    a, w = size * math.sqrt(p.E), p.w0 / np.linalg.norm(p.w0)
    top, sigma2 = float(problem.eigvals[-1]), float(p.w0 @ p.H @ p.w0 / (p.w0 @ p.w0))
    return SimpleNamespace(
        p=p, w=w, a=a, scale=scale, power=1,
        # products of H and a vector, of d terms each; sigma^2 is a sum of terms of size ||H||
        ops=20 * problem.dim * top / sigma2,
        slope=a * (np.linalg.norm(p.g) / math.sqrt(sigma2) + math.sqrt(p.E) * top / sigma2),
    )  # fmt: skip


STATE = f"{PROBLEMS}; d <= 6; rotated at random; a over 2 decades; in 100 digits"

chapter = Chapter(STATE=STATE)


@chapter.claim("hoffer.gradient-scaling", "identity", _float_state)
def _(i: SimpleNamespace) -> Comparison:
    """The gradient at w is that at the direction of w, divided by the norm.
    Formula: grad F(w) = grad F(w_hat)/rho
    Problems: {PROBLEMS}; rotated at random; rho over 6 decades; the printed loss differentiated by complex steps
    Where: notes, second equation
    """
    return (
        textbook.derivative(lambda w: textbook.loss(i.p, w, i.a), i.w) / i.scale**i.power,
        textbook.derivative(lambda w: textbook.loss(i.p, w, i.a), i.scale * i.w),
        rounding(i.ops, i.slope / i.scale),
    )


@chapter.claim("hoffer.linear-term", "identity", step)
def _(i: SimpleNamespace) -> Comparison:
    """The linear term of the norm's expansion vanishes: the gradient is orthogonal to w.
    Formula: w_hat' grad F(w_hat) = 0  [relative to ||grad F||]
    Problems: {STATE}
    Where: notes, expansion of the norm
    Corrects: The notes carry the term -eta rho^-1 w_hat' grad L(w_hat) through to the end as the leading one.
    """
    return 0.0, many_digits(lambda i: float(i.w_hat @ i.G / norm(i.G)))(i), NOTHING


@chapter.claim("hoffer.norm-exact", "identity", step)
def _(i: SimpleNamespace) -> Comparison:
    """The norm after a step, exactly: rho^-4 belongs to the gradient at w_hat.
    Formula: rho+ = rho sqrt(1 - 2 eta rho^-2 w_hat' grad F(w_hat) + eta^2 rho^-4 ||grad F(w_hat)||^2)  [difference]
    Problems: {STATE}; the step over 6 decades
    Where: notes, rho_{t+1}
    """
    return (
        0.0,
        (
            difference(
                lambda i: _new_norm(i, i.eta),
                lambda i: (
                    i.rho
                    * np.sqrt(
                        1 - 2 * i.eta / i.rho**2 * (i.w_hat @ i.G) + i.eta**2 / i.rho ** (2 * i.power) * (i.G @ i.G)
                    )
                ),
            )(i)
        ),
        NOTHING,
    )


@chapter.claim("hoffer.norm-first-order", "order", step)
def _(i: SimpleNamespace) -> Comparison:
    """The first-order form of the norm has an error of second order.
    Formula: rho+ - (rho - eta rho^-1 w_hat' grad F(w_hat)) ~ eta^2
    Problems: {STATE}
    Where: notes, expansion of the norm
    """
    return 2.0, order(_new_norm, _linear_norm)(i)


@chapter.claim("hoffer.norm-second-order", "order", step)
def _(i: SimpleNamespace) -> Comparison:
    """One term more and the error is of fourth order: the norm has no odd terms.
    Formula: rho+ - (rho + eta^2 rho^-3 ||grad F(w_hat)||^2/2) ~ eta^4
    Problems: {STATE}
    Where: notes, expansion of the norm
    """
    return 4.0, order(_new_norm, lambda i, eta: i.rho + eta**2 / i.rho**3 * (i.G @ i.G) / 2)(i)


@chapter.claim("hoffer.norm-with-constant", "counterexample", step, refutes="order", n_random=6, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """With the constant that frameworks add under BN's root the loss is not scale invariant: refuted is that the
    expansion of the norm is right to first order there.
    Formula: sigma^2 = w'Hw + c:  rho+ - (rho - eta rho^-1 w_hat' grad F(w_hat)) ~ eta^2  [false: eta^1]
    Problems: {STATE}; the constant c is 1 % of w'Hw
    Where: notes, expansion of the norm
    Corrects: The expansion is stated for BN as used; it needs exact scale invariance.
    """
    return 2.0, (
        order(
            lambda i, eta: norm(_stepped(i, eta, _constant(i))),
            lambda i, eta: i.rho - eta / i.rho * (i.w_hat @ textbook.gradient(i.p, i.w_hat, i.a, _constant(i))[0]),
        )(i)
    )


@chapter.claim("hoffer.direction-exact", "identity", step)
def _(i: SimpleNamespace) -> Comparison:
    """The direction after a step, exactly.
    Formula: w_hat+ = (w_hat - eta rho^-2 grad F(w_hat))/sqrt(1 + eta^2 rho^-4 ||grad F(w_hat)||^2)  [difference]
    Problems: {STATE}; the step over 6 decades
    Where: notes, w_hat_{t+1}
    """
    return (
        0.0,
        (
            difference(
                lambda i: _new_direction(i, i.eta),
                lambda i: (
                    (i.w_hat - i.eta / i.rho**i.power * i.G) / np.sqrt(1 + (i.eta / i.rho**i.power) ** 2 * (i.G @ i.G))
                ),
            )(i)
        ),
        NOTHING,
    )


@chapter.claim("hoffer.direction", "order", step)
def _(i: SimpleNamespace) -> Comparison:
    """The first-order step of the direction: rho^-2 with the gradient at w_hat, rho^-1 with that at w.
    Formula: w_hat+ - (w_hat - eta rho^-2 (I - w_hat w_hat') grad F(w_hat)) ~ eta^2,
    and the same with rho^-1 grad F(rho w_hat)
    Problems: {STATE}
    Where: notes, w_hat_{t+1}
    """
    return 2.0, [
        order(_new_direction, lambda i, eta: _direction_step(i, eta, i.power, exact(1.0)))(i),
        order(_new_direction, lambda i, eta: _direction_step(i, eta, i.power - 1, i.rho))(i),
    ]


@chapter.claim("hoffer.direction-tangent", "order", step)
def _(i: SimpleNamespace) -> Comparison:
    """That error points along w_hat; across it is of third order.
    Formula: (I - w_hat w_hat')(w_hat+ - (w_hat - eta rho^-2 grad F(w_hat))) ~ eta^3
    Problems: {STATE}
    Where: notes, w_hat_{t+1}
    """
    return 3.0, (
        order(
            lambda i, eta: _tangent(i, _new_direction(i, eta)),
            lambda i, eta: _tangent(i, _direction_step(i, eta, i.power, exact(1.0))),
        )(i)
    )


@chapter.claim("hoffer.direction-as-written", "counterexample", step, refutes="order", n_random=6, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The notes' step of the direction, rho^-2 with the gradient at rho w_hat, is wrong in first order: refuted is
    that its error is O(eta^2).
    Formula: w_hat+ - (w_hat - eta rho^-2 (I - w_hat w_hat') grad F(rho w_hat)) ~ eta^2  [false: eta^1]
    Problems: {STATE}
    Where: notes, w_hat_{t+1}
    Corrects: w_hat_{t+1} = w_hat_t - eta rho_t^-2 (I - w_hat w_hat') grad L(w_hat_t rho_t) + O(eta^2)
    """
    return 2.0, order(_new_direction, lambda i, eta: _direction_step(i, eta, i.power, i.rho))(i)


@chapter.claim("hoffer.effective-step", "identity", step)
def _(i: SimpleNamespace) -> Comparison:
    """The effective learning rate is eta/||w||^2: it alone decides by which angle the direction turns.
    Formula: tan(angle of w_hat+ and w_hat) = (eta/||w||^2) ||grad F(w_hat)||  [difference]
    Problems: {STATE}; the step over 6 decades
    Where: notes, step size of the direction
    """
    return (
        0.0,
        (
            difference(
                lambda i: i.eta / i.rho**i.power * norm(i.G),
                lambda i: norm(_tangent(i, _stepped(i, i.eta))) / (i.w_hat @ _stepped(i, i.eta)),
            )(i)
        ),
        NOTHING,
    )


_false = chapter.variants
FALSE = {
    "the gradient does not depend on the norm": _false.changed("hoffer.gradient-scaling", power=lambda i: 0),
    "the gradient falls like rho^-2": _false.changed("hoffer.gradient-scaling", power=lambda i: 2),
    "a linear term with BN's constant": _false(
        "hoffer.linear-term",
        measured=many_digits(lambda i: float(i.w_hat @ textbook.gradient(i.p, i.w_hat, i.a, exact(1e-5))[0])),
    ),
    "rho^-2 with the gradient at w_hat": _false.changed("hoffer.norm-exact", power=lambda i: 1),
    "the norm changes by the length of the step": _false(
        "hoffer.norm-first-order", measured=order(_new_norm, lambda i, eta: i.rho + eta / i.rho * norm(i.G))
    ),
    "the norm's error is of third order": _false("hoffer.norm-first-order", theory=lambda i: 3.0),
    "the quadratic term without a half": _false(
        "hoffer.norm-second-order",
        measured=order(_new_norm, lambda i, eta: i.rho + eta**2 / i.rho**3 * (i.G @ i.G)),
    ),
    "without the constant it fails too": _false(
        "hoffer.norm-with-constant", measured=order(_new_norm, _linear_norm)
    ),
    "direction with rho^-1": _false.changed("hoffer.direction-exact", power=lambda i: 1),
    "the direction's step is eta/rho": _false.changed("hoffer.direction", power=lambda i: 1),
    "across, the error is of second order": _false("hoffer.direction-tangent", theory=lambda i: 2.0),
    "the notes' step with rho^-1 is wrong": _false(
        "hoffer.direction-as-written",
        measured=order(_new_direction, lambda i, eta: _direction_step(i, eta, 1, i.rho)),
    ),
    "the effective step is eta/||w||": _false.changed("hoffer.effective-step", power=lambda i: 1),
}  # fmt: skip
