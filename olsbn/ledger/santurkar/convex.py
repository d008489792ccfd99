"""Where BN starts (Theorem 4.5), and what smoothness is worth: the convex bound and rescaled parameters."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from scipy import optimize

from olsbn._validate import FloatArray
from olsbn.ledger.base import PROBLEMS, Claim, Cube, Skip, Variants, draw_problem, rounding
from olsbn.ledger.runs import count_different
from olsbn.problems import OLSProblem
from olsbn.runs import run_gd
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


_STARTS = f"{PROBLEMS}; starts of length 0.1 to 10, from -u to u"
_FUNCTIONS = (
    "convex quadratics with d in 1..6, and |x| with a rounded tip; beta over 4 decades, distances over 5, 1..100 steps"
)

CLAIMS = (
    Claim(
        id="santurkar.4.5",
        source="santurkar",
        where="Theorem 4.5",
        kind="upper",
        statement="With BN the closest minimiser is nearer: a bound with a square on the bracket, for acute angles.",
        formula="||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)^2/||W*||^2  if <W_0,W*> > 0",
        problems=f"{_STARTS}, at an acute angle to u",
        instance=_start,
        theory=_start_bound,
        measured=_distance2,
        allowed=_size,
    ),
    Claim(
        id="santurkar.4.5-equality",
        source="santurkar",
        where="Theorem 4.5",
        kind="identity",
        statement="It is an equality: the closest minimiser with BN is the projection of the start on the ray.",
        formula="both sides of 4.5",
        problems=f"{_STARTS}, at an acute angle to u",
        instance=_start,
        theory=_start_bound,
        measured=_distance2,
        allowed=_size,
        corrects="Stated as an inequality; nothing is lost.",
    ),
    Claim(
        id="santurkar.4.5-both-signs",
        source="santurkar",
        where="Theorem 4.5",
        kind="identity",
        statement="Where BN's scale may take either sign, -W* counts as well, and no condition on the angle is needed.",
        formula="both sides of 4.5, beta of either sign",
        problems=_STARTS,
        instance=lambda cube: _either_sign(cube),
        theory=_start_bound,
        measured=_distance2,
        allowed=_size,
    ),
    Claim(
        id="santurkar.4.5-no-square",
        source="santurkar",
        where="the blog, last formula",
        kind="counterexample",
        refutes="upper",
        statement="The blog's form has no square on the bracket: refuted is that it bounds the distance.",
        formula="||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)/||W*||^2  [false]",
        problems=f"{_STARTS}, at an acute angle to u",
        instance=_start,
        theory=lambda i: _start_bound(i, 1),
        measured=_distance2,
        allowed=_size,
        n_random=20,
        n_search=0,
        corrects="||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)/||W*||^2",
    ),
    Claim(
        id="santurkar.4.5-any-angle",
        source="santurkar",
        where="the blog, last formula",
        kind="counterexample",
        refutes="upper",
        statement="The blog drops the condition too: refuted is the bound for starts at an obtuse angle.",
        formula="||W_0 - W_hat*||^2 <= ||W_0 - W*||^2 - (||W*||^2 - <W*,W_0>)^2/||W*||^2  for all W_0  [false]",
        problems=f"{_STARTS}, at an obtuse angle to u",
        instance=lambda cube: _start(cube, "obtuse"),
        theory=_start_bound,
        measured=_distance2,
        allowed=_size,
        n_random=20,
        n_search=0,
        corrects="The blog states the bound for every W_0; the theorem needs <W_0,W*> > 0.",
    ),
    Claim(
        id="santurkar.convex-bound",
        source="santurkar",
        where="the blog, 'How does smoothness improve training time?'",
        kind="upper",
        statement="GD with step 1/beta on a convex beta-smooth function; the distance is squared.",
        formula="f(x_t) - f* <= 2 beta ||x_1 - x*||^2/(t - 1)",
        problems=_FUNCTIONS,
        instance=_descent,
        theory=_convex_bound,
        measured=lambda i: i.gaps,
        allowed=lambda i: rounding(4 * i.steps, i.smoothness * i.distance**2),
    ),
    Claim(
        id="santurkar.convex-bound-sharp",
        source="santurkar",
        where="the same bound; Drori, Teboulle, Mathematical Programming 2014",
        kind="upper",
        statement="That bound is too large by a factor of 8: sharp is another one, attained by |x| with a rounded tip.",
        formula="f(x_t) - f* <= beta ||x_1 - x*||^2/(4 (t - 1) + 2)",
        problems=_FUNCTIONS,
        instance=_descent,
        theory=lambda i: i.smoothness * i.distance**i.power / (4 * i.steps + 2),
        measured=lambda i: i.gaps,
        allowed=lambda i: rounding(4 * i.steps, i.smoothness * i.distance**2),
        n_search=120,
    ),
    Claim(
        id="santurkar.convex-bound-no-square",
        source="santurkar",
        where="the blog, 'How does smoothness improve training time?'",
        kind="counterexample",
        refutes="upper",
        statement="The blog's form has no square on the distance: refuted is that it bounds the loss.",
        formula="f(x_t) - f* <= 2 beta ||x_1 - x*||/(t - 1)  [false]",
        problems=_FUNCTIONS,
        instance=_descent,
        theory=lambda i: 2 * i.smoothness * i.distance / i.steps,
        measured=lambda i: i.gaps,
        n_random=40,
        n_search=0,
        corrects="f(x_t) - f(x*) <= 2 beta ||x_1 - x*||/(t - 1)",
    ),
    Claim(
        id="santurkar.rescaling",
        source="santurkar",
        where="the blog, on rescaled parameters",
        kind="identity",
        statement="Rescaling the parameters changes beta and gains nothing: with its learning rate rescaled GD has the "
        "same losses at every step, bit for bit if c is a power of two.",
        formula="w = c v:  beta -> c^2 beta, eps -> eps/c^2, same losses  [numbers that differ]",
        problems=f"{PROBLEMS}; c = 2..256, eps from 0.1 to 1.2 of GD's edge, 200 steps",
        instance=_rescaled,
        theory=lambda i: 0.0,
        measured=_losses_that_differ,
        n_random=10,
        n_search=10,
    ),
    Claim(
        id="santurkar.rescaling-invariant",
        source="santurkar",
        where="the blog, on rescaled parameters",
        kind="identity",
        statement="What rescaling leaves alone is the squared path length over the best learning rate.",
        formula="||x_1 - x*||^2/eps_best unchanged",
        problems=f"{PROBLEMS}; c = 2..256",
        instance=_rescaled,
        theory=lambda i: _figure(i.problem, i.power),
        measured=lambda i: _figure(i.other, i.power),
        allowed=lambda i: rounding(100, _figure(i.problem, i.power)),
        n_random=10,
        n_search=20,
    ),
    Claim(
        id="santurkar.rescaling-same-factor",
        source="santurkar",
        where="the blog, on rescaled parameters",
        kind="counterexample",
        refutes="identity",
        statement="Path length and learning rate do not scale by the same factor: refuted is that their ratio is what "
        "matters, and stays.",
        formula="||x_1 - x*||/eps_best unchanged  [false: c times as large]",
        problems=f"{PROBLEMS}; c = 2..256",
        instance=_rescaled,
        theory=lambda i: _figure(i.problem, 1),
        measured=lambda i: _figure(i.other, 1),
        allowed=lambda i: rounding(100, _figure(i.problem, 1)),
        n_random=6,
        n_search=0,
        corrects="'Your optimal learning rate will inevitably be scaled by the same factor, canceling out any "
        "reduction in path length.'",
    ),
)


def _either_sign(cube: Cube) -> SimpleNamespace:
    i = _start(cube, "any")
    i.both_signs = True
    return i


_false = Variants(CLAIMS)
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
