"""The learning rate of the scale: its true edge is 2."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.cai.convergence import ANYWHERE, anywhere, not_converged
from olsbn.ledger.runs import started
from olsbn.runs import run_bngd
from olsbn.theory import effective_rate_regimes


def _below_two(x: FloatArray) -> FloatArray:
    """Learning rates of the scale from 1 to 2 - 1e-3, closer to 2 the more of them."""
    return np.asarray(2 - 1e-3**x)


def _beyond_two(cube: Cube) -> SimpleNamespace:
    """A run with eps_a above 2, from 1e-3 above it on, with as many steps as |1 - eps_a| needs to grow to 1e30."""
    problem = draw_problem(cube, cond=(1.5, 30))
    h = cube.log(1e-3, 4)
    eps = effective_rate_regimes(problem).eps_1 * cube.log(1e-2, 1e4)
    # from the rounding of a start that is as good as a minimiser to an |a| of 1e15
    n_steps = int(1000 + 1.5 * math.log(1e16 * 1e15) / math.log1p(h))
    run = run_bngd(problem, eps, 2 + h, n_steps)
    a = run.a.values[np.isfinite(run.a.values)]
    return SimpleNamespace(
        problem=problem, eps_a=2 + h, a=a, root=math.sqrt(problem.explained_var), status=run.attrs["status"]
    )


def _at_two(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 20))
    problem = started(problem, a0=math.sqrt(problem.explained_var) * cube.log(1e-1, 10))
    regimes = effective_rate_regimes(problem)
    n_steps = 60_000
    eps = cube.log(regimes.eps_1 / 10, 10 * max(regimes.eps_1, regimes.eps_2))
    run = run_bngd(problem, eps, 2.0, n_steps, record=np.arange(n_steps - 2, n_steps + 1))
    if not run.residual.values[-1] < 1e-14 * math.sqrt(run.excess.values[-1]):
        raise Skip  # w is still on its way
    return SimpleNamespace(problem=problem, run=run, root=math.sqrt(problem.explained_var))


def _goal(i: SimpleNamespace) -> float:
    """Return sign(beta) sqrt(E) for a run whose w has converged; the sign is that of eps_eff/a."""
    return i.root * float(np.sign(i.run.eps_eff.values[-1] * i.run.a.values[-1]))


chapter = Chapter(ANYWHERE=ANYWHERE)


@chapter.claim("olsbn.converges-to-two", "identity", lambda cube: anywhere(cube, _below_two), n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """It still converges for 1 < eps_a < 2, which [Cai] do not state.
    Formula: excess <= 1e-10 is reached  [cells of 18 where it is not]
    Problems: {ANYWHERE}, 3 eps_a in [1, 1.999], most of them near 2; at most 2^23 steps
    Where: covered by Theorem 3.1 of Arora, Li, Lyu, ICLR 2019
    """
    return 0.0, not_converged(i)


@chapter.claim("olsbn.at-two", "tight", _at_two, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """At eps_a = 2 the scale neither converges nor diverges: it ends up alternating about its optimum.
    Formula: (a_{k+1} - a*)/(a_k - a*) -> -1,  a* = sign(beta) sqrt E
    Problems: {PROBLEMS}, cond <= 20; a_0 over 2 decades, eps from eps_1/10 to 10 eps_2, 60000 steps
    """
    # a - a* cancels: a has a few roundings of its own size
    return (
        -1.0,
        (i.run.a.values[1:] - _goal(i)) / (i.run.a.values[:-1] - _goal(i)),
        rounding(16, i.root / np.abs(i.run.a.values - _goal(i)).min() + 1),
    )


@chapter.claim("olsbn.beyond-two-diverges", "identity", _beyond_two, n_search=40)
def _(i: SimpleNamespace) -> Comparison:
    """Above eps_a = 2 every run diverges, from 1e-3 above it on.
    Formula: status diverged  [1 where it is another]
    Problems: as olsbn.beyond-two
    """
    return 0.0, float(i.status != "diverged")


@chapter.claim("olsbn.beyond-two", "tight", _beyond_two)
def _(i: SimpleNamespace) -> Comparison:
    """Above eps_a = 2 BNGD diverges: |a| grows like |1 - eps_a|^k. So 2 is the edge.
    Formula: a_{k+1}/a_k -> 1 - eps_a
    Problems: {PROBLEMS}, cond <= 30; eps over 6 decades, eps_a from 2.001 to 6, until the excess is 1e30
    """
    # a+ = (1 - eps_a) a + eps_a c sqrt E with |c| <= 1: so near is the ratio to its limit
    return 1 - i.eps_a, i.a[-1] / i.a[-2], i.eps_a * i.root / abs(i.a[-2]) + rounding(8, i.eps_a)


_false = chapter.variants
FALSE = {
    "the edge of eps_a is at 2.002": _false(
        "olsbn.converges-to-two", instance=lambda cube: anywhere(cube, lambda x: 2.002 - 1e-3**x)
    ),
    "the edge of eps_a is at 2.002, from above": _false(
        "olsbn.beyond-two-diverges", measured=lambda i: float(i.status != "diverged" or i.eps_a < 2.002)
    ),
    "a converges at eps_a = 2": _false("olsbn.at-two", theory=lambda i: 0.0),
    "|a| grows like eps_a^k": _false("olsbn.beyond-two", theory=lambda i: -i.eps_a),
}
