"""What can be said more sharply than in [Arora]: constants, the rate of the scale, the price of a large eta."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.arora import full_batch
from olsbn.ledger.arora.network import backward
from olsbn.ledger.arora.smoothness import POINTS, l_va, l_vv, largest_scale, point
from olsbn.ledger.arora.stochastic import sample
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.descent import bngd_paths
from olsbn.ledger.minibatches import paths
from olsbn.sweeps.running import sweep
from olsbn.theory import effective_rate_regimes


def _all_eta_g(cube: Cube) -> SimpleNamespace:
    """Return runs as for Lemma 3.2, with the largest c_g that its proof allows for an eta_g."""
    i = full_batch.auto_tuned(cube)
    i.c_g = 2 * (2 - i.eps_a) / (2 + i.eps_a)
    i.C = i.vv / 2 + l_va(i.problem) ** 2 / i.c_g
    return i


def _without_pi(cube: Cube) -> SimpleNamespace:
    i = full_batch.auto_tuned(cube)
    i.pi = 1.0
    return i


def _price(cube: Cube) -> SimpleNamespace:
    """Steps to a tolerance for small and for large eta, each for two learning rates a factor of 4 apart."""
    problem = draw_problem(cube, dim=(2, 6), cond=(1.5, 10))
    regimes = effective_rate_regimes(problem)
    if not (regimes.generic and regimes.large_corr > 0.03 and 0 < regimes.eps_1 < math.inf):
        raise Skip
    # where either asymptote of the effective rate holds to 0.1 %
    small, large = regimes.small_until(1e-3), regimes.large_from(1e-3)
    eta = np.array([small / 4, small, large, 4 * large])
    ds = sweep(problem, eps=eta, n_steps=2**22, tol=1e-3, stop="tol", progress=False)
    steps = ds.steps_to_tol.values
    if steps.min() < 50:
        raise Skip  # the start is too near to u, or so large an eta ends near it
    run = bngd_paths(problem, eta, 1.0, 1)
    i = SimpleNamespace(problem=problem, eta=eta, steps=steps, run=run)
    scale = largest_scale(problem, problem.a0, 1.0)
    C = l_vv(problem, scale) / 2 + 2 * l_va(problem) ** 2
    A = run.excess[0] + (C * eta / run.norm2[0] + 0.5) * (
        2 * C + (math.pi * l_vv(problem, scale)) ** 2 * eta / run.norm2[0]
    )
    i.bound = 2 * A * (2 * A + run.norm2[0] / eta) + 4 * A
    return i


def _pairs(values: FloatArray) -> FloatArray:
    """Return the exponent over the first two and over the last two."""
    return np.log(values[1::2] / values[::2]) / math.log(4)


def _after_a_long_step(cube: Cube) -> SimpleNamespace:
    """How far directions turn after the first of 100 steps, for 7 rates over six decades and 4 schedules.

    By the second step and by the last; beside it the sum of what each step turns by at most.
    """
    i = sample(cube, 4)
    eta, power = i.eta * np.geomspace(1, 1e6, 7), np.array([0, 0.5, 0.75, 1])[:, None]
    draws = i.rng.integers(0, 4, (100, 4, 7))
    w, a = np.broadcast_to(i.w, (4, 7, i.w.size)), np.full((4, 7), i.a)
    i.first, second = (paths(i.p, w, a, draws[:n], eta, power, i.eta_g, [0]).w for n in (1, 2))
    run = paths(i.p, w, a, draws, eta, power, i.eta_g)
    u, v = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (i.first, np.array([second, run.w])))
    i.angle = 2 * np.arctan2(np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1))
    schedule = eta * np.arange(1.0, 101)[:, None, None] ** -power
    turns = (schedule * np.sqrt(run.v_batch) / run.norm2)[1:]
    i.turns, i.schedule = np.array([turns[0], turns.sum(0)]), schedule[1:].sum(0)
    return i


chapter = Chapter(POINTS=POINTS)


@chapter.claim("olsbn.gradient-from-hessian", "identity", point)
def _(i: SimpleNamespace) -> Comparison:
    """For a scale-invariant loss the Hessian turns w into minus the gradient: the loss is of degree 0.
    Formula: (d^2 J/dw^2) w = -grad_w J
    Problems: {POINTS}
    """
    return -i.grad, i.vv @ i.w, rounding(i.ops, l_vv(i.problem, i.a) / i.norm)


@chapter.claim("olsbn.A.1-without-pi", "upper", point)
def _(i: SimpleNamespace) -> Comparison:
    """So Lemma A.1 of [Arora] holds without its pi, by one line in place of a geodesic, and pointwise.
    Formula: ||grad_w J|| <= ||d^2 J/dv^2 (v)||/||w||,  v = w/||w||
    Problems: {POINTS}
    """
    return np.linalg.norm(i.vv, 2) * i.norm, np.linalg.norm(i.grad), rounding(i.ops, l_vv(i.problem, i.a) / i.norm)


@chapter.claim("olsbn.A.2-without-pi", "upper", _without_pi, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """So does Lemma A.2: weights and gradients of the scale are bounded with L_vv for pi L_vv.
    Formula: (||w_T||^2 - ||w_0||^2)/(2 eta) + c_g eta_g sum ||grad_a||^2/2 <= J_0 - J_min + (C eta/||w_0||^2 +
    1/2)(2 C + L_vv^2 eta/||w_0||^2)
    Problems: {PROBLEMS}, d <= 6, cond <= 100; 11 eta over ten decades, eps_a in (0, 2)
    """
    return full_batch.growth_bound(i), full_batch.growth(i), rounding(i.ops, full_batch.growth(i) + i.run.norm2 / i.eps)


@chapter.claim("olsbn.C.1-all-inputs", "upper", backward, n_search=200)
def _(i: SimpleNamespace) -> Comparison:
    """Lemma C.1 of [Arora] holds for all inputs of a batch together, without the root of its size and the 3: I - 11'/B
    - xx'/B lies between 0 and I.
    Formula: (sum_b ||dy/dx_b||^2)^(1/2) <= gamma G/sqrt(delta);  (dy/dgamma)^2 + (dy/dbeta)^2 <= B G^2
    Problems: as arora.lemma-C.1
    """
    return (
        [i.gamma * i.G / math.sqrt(i.delta), i.G * math.sqrt(i.B)],
        [np.linalg.norm(i.d_x), math.hypot(i.d_gamma, i.d_beta)],
        rounding(i.ops, i.G * np.array([i.gamma / math.sqrt(i.delta), math.sqrt(i.B)])),
    )


@chapter.claim("olsbn.eta-g", "upper", _all_eta_g, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """Lemma 3.2 of [Arora] holds for eta_g up to 2 (2 - c_g)/((2 + c_g) L_gg), beyond both learning rates that are
    printed: that is where its proof still closes.
    Formula: J+ - J <= -eta ||grad_w||^2 (1 - C eta/||w||^2) - c_g eta_g ||grad_a||^2/2,
    c_g = 2 (2 - eta_g)/(2 + eta_g)
    Problems: {PROBLEMS}, d <= 6, cond <= 100; 11 eta over ten decades, eps_a in (0, 2)
    """
    return (
        full_batch.decrease(i),
        np.diff(i.run.excess, axis=0),
        rounding(i.ops, i.problem.explained_var + i.run.a[:-1] ** 2),
    )


@chapter.claim("olsbn.price-of-eta", "order", _price, n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """A wrong eta costs steps in proportion, on either side; the rate of [Arora] (eq. 10) allows eta^4 above.
    Formula: steps to a tolerance ~ 1/eta for small eta, ~ eta for large
    Problems: d in 2..6, cond in 1.5..10; steps of the engine to a relative excess of 1e-3, where either asymptote of
    the effective rate holds to 0.1 %, and four times further out
    """
    return [-1.0, 1.0], _pairs(i.steps)


@chapter.claim("olsbn.price-of-a-schedule", "upper", _after_a_long_step, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """What is lost above the power 1/2: after a long first step, ||w_1|| ~ eta, the direction turns by no more than
    the sum of the schedule over eta. T must grow like eta^(1/(1 - alpha)), exponentially at alpha = 1. The first bound
    is attained, the second, by a constant, is far above it everywhere.
    Formula: angle(v_1, v_T) <= eta sum_{t=1}^{T-1} (t+1)^-alpha ||grad_v F_t||/||w_t||^2 <= (L_vv/||w_1||^2) eta
    sum_{t=1}^{T-1} (t+1)^-alpha,  ||w_1||^2 = ||w_0||^2 + eta^2 ||grad_w F||^2
    Problems: mini-batch BN, d in 2..3, 4 batches; powers 0, 1/2, 3/4, 1; 7 eta over six decades, T = 2 and 100
    """
    by_constant = i.vv * i.schedule / (i.first**2).sum(-1)
    return [*i.turns, by_constant], [*i.angle, i.turns[1]], rounding(i.ops)


_false = chapter.variants
FALSE = {
    "the Hessian turns w into the gradient": _false("olsbn.gradient-from-hessian", theory=lambda i: i.grad),
    "A.1 with half": _false.scaled("olsbn.A.1-without-pi", 0.5),
    "A.2 by the loss alone": _false("olsbn.A.2-without-pi", theory=lambda i: i.run.excess[0]),
    "a large eta costs what the bound allows": _false("olsbn.price-of-eta", theory=lambda i: _pairs(i.bound)),
    "C.1 with nine tenths": _false.scaled("olsbn.C.1-all-inputs", 0.9),
    "a schedule costs nothing": _false(
        "olsbn.price-of-a-schedule", theory=lambda i: i.vv * i.schedule / (i.first**2).sum(-1) ** 2 * float(i.w @ i.w)
    ),
    "a schedule turns by 5 % less": _false.scaled("olsbn.price-of-a-schedule", 0.95),
    "the proof closes for twice that c_g": _false.changed("olsbn.eta-g", c_g=lambda i: 2 * i.c_g),
}
