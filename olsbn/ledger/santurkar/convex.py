"""Where BN starts (Theorem 4.5), and what smoothness is worth: the convex bound and rescaled parameters."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from scipy import optimize

from olsbn._validate import FloatArray
from olsbn.ledger.base import PROBLEMS, Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.runs import count_different
from olsbn.problems import OLSProblem
from olsbn.runs import run_gd
from olsbn.sweeps.running import sweep
from olsbn.theory import spectral_report

# -------------------------------------------------------------------- the distance to the closest minimiser


def _start(cube: Cube, side: str = "acute") -> SimpleNamespace:
    """A start and a minimiser without BN, of any length, at an acute, an obtuse or any angle."""
    size, closeness = cube.log(0.1, 10), cube.uniform(*{"acute": (-0.1, 1), "obtuse": (-1, -0.1), "any": (-1, 1)}[side])
    i = SimpleNamespace(problem=draw_problem(cube))
    u = i.problem.u
    w = i.problem.w0 / np.linalg.norm(i.problem.w0)
    i.w0 = size * ((1 - abs(closeness)) * w + closeness * u)
    if (side == "acute" and not i.w0 @ u > 0) or (side == "obtuse" and not i.w0 @ u < 0):
        raise Skip
    i.goal, i.both_signs = u, False
    return i


def _distance2(i: SimpleNamespace) -> float:
    """Squared distance to the closest minimiser with BN, beta u: found by minimisation over beta."""
    reach = 2 * float(np.linalg.norm(i.w0) / np.linalg.norm(i.goal))

    def squared(beta: float) -> float:
        return float(np.sum((i.w0 - beta * i.goal) ** 2))

    low = -reach if i.both_signs else 0.0
    found = optimize.minimize_scalar(squared, bounds=(low, reach), method="bounded", options={"xatol": 1e-12 * reach})
    return min(found.fun, squared(low))


def _start_bound(i: SimpleNamespace, power: int = 2) -> float:
    """The right side of Theorem 4.5."""
    u2, along = float(i.goal @ i.goal), float(i.goal @ i.w0)
    return float(np.sum((i.w0 - i.goal) ** 2)) - (u2 - along) ** power / u2


def _size(i: SimpleNamespace) -> float:
    # a minimum is found to the root of the machine epsilon in beta, so to a few ulp in value
    return float(rounding(200, np.sum(i.w0**2) + np.sum(i.goal**2)))


# -------------------------------------------------------------------- convex functions of given smoothness


def _descent(cube: Cube) -> SimpleNamespace:
    """GD with step 1/beta on a quadratic, or on the function on which it is slowest: |x| with a rounded tip."""
    n_steps, smoothness = cube.integer(1, 100), cube.log(1e-2, 1e2)
    kind, distance = cube.unit(), cube.log(1e-2, 1e3)
    x, gaps = 0.0, []
    if kind < 0.5:
        tip = distance / (2 * n_steps + 1) * cube.log(0.3, 3)
        x = distance
        for _ in range(n_steps):
            x -= x if abs(x) <= tip else math.copysign(tip, x)
            gaps.append(smoothness * (x * x / 2 if abs(x) <= tip else tip * abs(x) - tip * tip / 2))
    else:
        d, kappa = cube.integer(1, 6), cube.log(1, 1e4)
        rng = cube.rng()
        eigvals = smoothness * kappa ** -np.append(0.0, rng.random(d - 1))
        z = rng.standard_normal(d)
        z *= distance / np.linalg.norm(z)
        for _ in range(n_steps):
            z = z - eigvals * z / smoothness
            gaps.append(float(eigvals @ z**2) / 2)
    return SimpleNamespace(
        steps=np.arange(1, n_steps + 1), smoothness=smoothness, distance=distance, gaps=np.array(gaps), power=2
    )


def _convex_bound(i: SimpleNamespace) -> FloatArray:
    """``2 beta ||x_1 - x*||^2/(t - 1)`` after t - 1 steps."""
    return 2 * i.smoothness * i.distance**i.power / i.steps


def _rescaled(cube: Cube) -> SimpleNamespace:
    """A problem, the same in parameters that are c times smaller, and GD's learning rates for both."""
    p = draw_problem(cube)
    c = 2.0 ** cube.integer(1, 8)
    eps = 2 / float(p.eigvals[-1]) * cube.uniform(0.1, 1.2)
    other = OLSProblem(c**2 * p.eigvals, p.u / c, p.w0 / c)
    return SimpleNamespace(problem=p, other=other, c=c, eps=eps, power=2)


def _losses_that_differ(i: SimpleNamespace) -> int:
    one = run_gd(i.problem, i.eps, 200).excess.values
    other = run_gd(i.other, i.eps / i.c**i.power, 200).excess.values
    return count_different(one, other)


def _figure(problem: OLSProblem, power: int) -> float:
    """Path length to some power over the best learning rate."""
    return float(np.linalg.norm(problem.w0 - problem.u) ** power / spectral_report(problem).eps_opt)


def _best_rate(problem: OLSProblem) -> float:
    """Return GD's best learning rate by simulation: where the branches of its measured contraction ratio meet.

    Below the best rate the ratio falls along a line, above it rises along another; two points give each.
    """
    guess = spectral_report(problem).eps_opt
    eps = guess * np.array([0.9, 0.95, 1.02, 1.04])
    rate = sweep(problem, method="gd", eps=eps, n_steps=2_000_000, progress=False).rate_sim.values
    if not (np.isfinite(rate).all() and rate[1] < rate[0] and rate[2] < rate[3]):
        raise Skip
    falls, rises = (np.polyfit(eps[part], rate[part], 1) for part in (slice(0, 2), slice(2, 4)))
    return float((falls[1] - rises[1]) / (rises[0] - falls[0]))


def _measured_figures(cube: Cube) -> SimpleNamespace:
    """A problem and a rescaled one, and the best learning rates of both by simulation."""
    i = _rescaled(cube)
    i.best, i.other_best = _best_rate(i.problem), _best_rate(i.other)
    return i


_STARTS = f"{PROBLEMS}; starts of length 0.1 to 10, from -u to u"
_FUNCTIONS = (
    "convex quadratics with d in 1..6, and |x| with a rounded tip; beta over 4 decades, distances over 5, 1..100 steps"
)

chapter = Chapter(_FUNCTIONS=_FUNCTIONS, _STARTS=_STARTS)


@chapter.claim("santurkar.4.5", "upper", _start)
def _(i: SimpleNamespace) -> Comparison:
    """With BN the closest minimiser is nearer: a bound with a square on the bracket, for acute angles.
    Formula: ||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)^2/||W*||^2  if <W_0,W*> > 0
    Problems: {_STARTS}, at an acute angle to u
    Where: Theorem 4.5
    """
    return _start_bound(i), _distance2(i), _size(i)


@chapter.claim("santurkar.4.5-equality", "identity", _start)
def _(i: SimpleNamespace) -> Comparison:
    """It is an equality: the closest minimiser with BN is the projection of the start on the ray.
    Formula: both sides of 4.5
    Problems: {_STARTS}, at an acute angle to u
    Where: Theorem 4.5
    Corrects: Stated as an inequality; nothing is lost.
    """
    return _start_bound(i), _distance2(i), _size(i)


@chapter.claim("santurkar.4.5-both-signs", "identity", lambda cube: _either_sign(cube))
def _(i: SimpleNamespace) -> Comparison:
    """Where BN's scale may take either sign, -W* counts as well, and no condition on the angle is needed.
    Formula: both sides of 4.5, beta of either sign
    Problems: {_STARTS}
    Where: Theorem 4.5
    """
    return _start_bound(i), _distance2(i), _size(i)


@chapter.claim("santurkar.4.5-no-square", "counterexample", _start, refutes="upper", n_random=20, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The blog's form has no square on the bracket: refuted is that it bounds the distance.
    Formula: ||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)/||W*||^2  [false]
    Problems: {_STARTS}, at an acute angle to u
    Where: the blog, last formula
    Corrects: ||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)/||W*||^2
    """
    return _start_bound(i, 1), _distance2(i), _size(i)


@chapter.claim(
    "santurkar.4.5-any-angle",
    "counterexample",
    lambda cube: _start(cube, "obtuse"),
    refutes="upper",
    n_random=20,
    n_search=0,
)
def _(i: SimpleNamespace) -> Comparison:
    """The blog drops the condition too: refuted is the bound for starts at an obtuse angle.
    Formula: ||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)^2/||W*||^2  for all W_0  [false]
    Problems: {_STARTS}, at an obtuse angle to u
    Where: the blog, last formula
    Corrects: The blog states the bound for every W_0; the theorem needs <W_0,W*> > 0.
    """
    return _start_bound(i), _distance2(i), _size(i)


@chapter.claim("santurkar.convex-bound", "upper", _descent)
def _(i: SimpleNamespace) -> Comparison:
    """GD with step 1/beta on a convex beta-smooth function; the distance is squared. (8 times too large, so its
    constant is not tested: santurkar.convex-bound-sharp.)
    Formula: f(x_t) - f* <= 2 beta ||x_1 - x*||^2/(t - 1)
    Problems: {_FUNCTIONS}
    Where: the blog, 'How does smoothness improve training time?'
    """
    return _convex_bound(i), i.gaps, rounding(4 * i.steps, i.smoothness * i.distance**2)


@chapter.claim("santurkar.convex-bound-sharp", "upper", _descent, n_search=120)
def _(i: SimpleNamespace) -> Comparison:
    """That bound is too large by a factor of 8: sharp is another one, attained by |x| with a rounded tip.
    Formula: f(x_t) - f* <= beta ||x_1 - x*||^2/(4 (t - 1) + 2)
    Problems: {_FUNCTIONS}
    Where: the same bound; Drori, Teboulle, Mathematical Programming 2014
    """
    return (
        i.smoothness * i.distance**i.power / (4 * i.steps + 2),
        i.gaps,
        rounding(4 * i.steps, i.smoothness * i.distance**2),
    )


@chapter.claim("santurkar.convex-bound-no-square", "counterexample", _descent, refutes="upper", n_random=40, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The blog's form has no square on the distance: refuted is that it bounds the loss.
    Formula: f(x_t) - f* <= 2 beta ||x_1 - x*||/(t - 1)  [false]
    Problems: {_FUNCTIONS}
    Where: the blog, 'How does smoothness improve training time?'
    Corrects: f(x_t) - f(x*) <= 2 beta ||x_1 - x*||/(t - 1)
    """
    return 2 * i.smoothness * i.distance / i.steps, i.gaps


@chapter.claim("santurkar.rescaling", "identity", _rescaled, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """Rescaling the parameters changes beta and gains nothing: with its learning rate rescaled GD has the same losses
    at every step, bit for bit if c is a power of two.
    Formula: w = c v:  beta -> c^2 beta, eps -> eps/c^2, same losses  [numbers that differ]
    Problems: {PROBLEMS}; c = 2..256, eps from 0.1 to 1.2 of GD's edge, 200 steps
    Where: the blog, on rescaled parameters
    """
    return 0.0, _losses_that_differ(i)


@chapter.claim("santurkar.rescaling-invariant", "tight", _measured_figures, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """What rescaling leaves alone is the squared path length over the best learning rate.
    Formula: ||x_1 - x*||^2/eps_best unchanged
    Problems: {PROBLEMS}; c = 2..256; the best learning rates by simulation, where the falling and the
    rising branch of the measured contraction ratio meet
    Where: the blog, on rescaled parameters
    """
    theory, found = (
        np.linalg.norm(p.w0 - p.u) ** i.power / eps for p, eps in ((i.problem, i.best), (i.other, i.other_best))
    )
    return theory, found, 1e-6 * theory


@chapter.claim(
    "santurkar.rescaling-same-factor", "counterexample", _rescaled, refutes="identity", n_random=6, n_search=0
)
def _(i: SimpleNamespace) -> Comparison:
    """Path length and learning rate do not scale by the same factor: refuted is that their ratio is what matters, and
    stays.
    Formula: ||x_1 - x*||/eps_best unchanged  [false: c times as large]
    Problems: {PROBLEMS}; c = 2..256
    Where: the blog, on rescaled parameters
    Corrects: 'Your optimal learning rate will inevitably be scaled by the same factor,
    canceling out any reduction in path length.'
    """
    return _figure(i.problem, 1), _figure(i.other, 1), rounding(100, _figure(i.problem, 1))


def _either_sign(cube: Cube) -> SimpleNamespace:
    i = _start(cube, "any")
    i.both_signs = True
    return i


_false = chapter.variants
FALSE = {
    "4.5 less 1 %": _false.scaled("santurkar.4.5", 0.99),
    "4.5 without the square": _false("santurkar.4.5", theory=lambda i: _start_bound(i, 1)),
    "equality with half the bracket": _false(
        "santurkar.4.5-equality", theory=lambda i: (_start_bound(i) + np.sum((i.w0 - i.goal) ** 2)) / 2
    ),
    "one sign for every angle": _false.changed("santurkar.4.5-both-signs", both_signs=lambda i: False),
    "with the square it fails too": _false("santurkar.4.5-no-square", theory=_start_bound),
    "an acute angle fails too": _false("santurkar.4.5-any-angle", instance=_start),
    "the convex bound for the distance": _false.changed("santurkar.convex-bound", power=lambda i: 1),
    "the convex bound, 9 times smaller": _false.scaled("santurkar.convex-bound", 1 / 9),
    "the sharp bound less 1 %": _false.scaled("santurkar.convex-bound-sharp", 0.99),
    "the square does not help": _false("santurkar.convex-bound-no-square", theory=_convex_bound),
    "the learning rate goes with 1/c": _false.changed("santurkar.rescaling", power=lambda i: 1),
    "path length over the learning rate": _false.changed("santurkar.rescaling-invariant", power=lambda i: 1),
    "its square changes too": _false(
        "santurkar.rescaling-same-factor",
        theory=lambda i: _figure(i.problem, 2),
        measured=lambda i: _figure(i.other, 2),
        allowed=lambda i: rounding(100, _figure(i.problem, 2)),
    ),
}  # fmt: skip
