"""Convergence for any learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.runs import final, started
from olsbn.problems import OLSProblem
from olsbn.runs import run_bngd
from olsbn.schema import Status
from olsbn.theory import effective_rate_regimes

ANYWHERE = (
    "d in 2..20, cond in 1.5..300, a_0 of either sign over 4 decades; starts not at u; 6 eps from 1e-5 cond eps_1 (at "
    "most eps_1/10) to as far above eps_2"
)


def _sin2(problem: OLSProblem) -> float:
    """Return ||e_0||_H^2/E, the squared sine of the angle between w_0 and u."""
    g = problem.eigvals * problem.u
    along = float(problem.w0 @ g) ** 2 / float(problem.eigvals @ problem.w0**2)
    return 1 - along / problem.explained_var


def anywhere(cube: Cube, eps_a: Callable[[FloatArray], FloatArray]) -> SimpleNamespace:
    """Learning rates from far below the plateau to far above it, and any start; eps_a is a function of [0, 1)."""
    problem = draw_problem(cube, dim=(2, 20), cond=(1.5, 300))
    if _sin2(problem) < 1e-3:
        raise Skip  # so close to u a plateau is too wide to be covered
    a0 = math.sqrt(problem.explained_var) * cube.log(1e-2, 1e2) * (1 if cube.unit() < 0.5 else -1)
    problem = started(problem, a0=a0)
    regimes = effective_rate_regimes(problem)
    # down to where the effective rate is predicted to be this small against the plateau's: then some 1e6 steps are
    # needed, whatever the condition number
    least = min(1e-1, 1e-5 * problem.cond)
    low, high = least * regimes.eps_1, regimes.eps_2 / least
    if not 0 < low < high < math.inf:
        raise Skip
    rng = cube.rng()
    eps = low * (high / low) ** rng.random(6)
    return SimpleNamespace(problem=problem, eps=eps, eps_a=eps_a(rng.random(3)))


def not_converged(i: SimpleNamespace) -> int:
    """Count the cells that do not reach an excess of 1e-10."""
    return int((final(i.problem, i.eps, i.eps_a, tol=1e-10, n_steps=2**19).status != Status.CONVERGED).sum())


def near_saddle(cube: Cube) -> SimpleNamespace:
    """A start that is nearly, or not at all, orthogonal to g, with the best scale."""
    problem = draw_problem(cube, dim=(2, 6), cond=(1.5, 10))
    g = problem.eigvals * problem.u
    closeness = cube.log(1e-9, 1)
    rng = cube.rng()
    across = rng.standard_normal(problem.dim)
    for _ in range(2):
        across -= g * (across @ g) / (g @ g)
    problem = started(problem, across / np.linalg.norm(across) + closeness * g / np.linalg.norm(g))
    eps_1 = effective_rate_regimes(problem).eps_1
    return SimpleNamespace(problem=problem, eps=eps_1 * 10.0 ** rng.uniform(-3, 4, 8), eps_a=np.array([1.0]))


def _scale_path(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    root = math.sqrt(problem.explained_var)
    problem = started(problem, a0=root * cube.log(1e-2, 1e2) * (1 if cube.unit() < 0.5 else -1))
    eps, eps_a = effective_rate_regimes(problem).eps_1 * cube.log(1e-3, 1e6), cube.uniform(1e-3, 1.999)
    return SimpleNamespace(problem=problem, root=root, eps_a=eps_a, run=run_bngd(problem, eps, eps_a, 300))


def _least_excess(cube: Cube) -> float:
    i = anywhere(cube, lambda x: 1.05 + 0.9 * x)
    return float(final(i.problem, i.eps, i.eps_a, n_steps=2**19).excess.min())


chapter = Chapter(ANYWHERE=ANYWHERE)


@chapter.claim(
    "cai.converges", "identity", lambda cube: anywhere(cube, lambda x: 0.02 ** (1 - x)), n_random=12, n_search=12
)
def _(i: SimpleNamespace) -> Comparison:
    """BNGD converges for every eps > 0 if 0 < eps_a <= 1.
    Formula: excess <= 1e-10 is reached  [cells of 18 where it is not]
    Problems: {ANYWHERE}, 3 eps_a in [0.02, 1]; at most 2^23 steps
    Where: slides, summary of results: convergence
    """
    return 0.0, not_converged(i)


@chapter.claim("cai.eps-a-necessary", "counterexample", _least_excess, refutes="lower", n_random=4, n_search=0)
def _(excess: float) -> Comparison:
    """'Provided eps_a <= 1' (slides) is no necessary condition: refuted is that the excess stays away from 0 for eps_a
    in (1, 2).
    Formula: min excess > 1e-10  [false]
    Problems: {ANYWHERE}, 3 eps_a in [1.05, 1.95]
    Where: slides, summary of results: convergence
    Corrects: 'Arbitrary eps provided eps_a <= 1': sufficient; the true condition is eps_a < 2.
    """
    return 1e-10, excess


@chapter.claim("cai.scale-bounded", "upper", _scale_path)
def _(i: SimpleNamespace) -> Comparison:
    """The scale a stays bounded for 0 < eps_a < 2, whatever eps: it is an average for eps_a <= 1.
    Formula: |a_k| <= max(|a_0|, m sqrt E),  m = eps_a/(1 - |1 - eps_a|) = 1 for eps_a <= 1
    Problems: {PROBLEMS}; a_0 over 4 decades, eps over 9, eps_a in (0, 2), 300 steps
    """
    # the engine's deviation from the optimal scale carries a few roundings a step
    return (
        max(abs(i.problem.a0), i.root * i.eps_a / (1 - abs(1 - i.eps_a))),
        np.abs(i.run.a.values).max(),
        rounding(4 * 300, np.abs(i.run.a.values).max()),
    )


@chapter.claim("cai.almost-every-start", "identity", near_saddle, n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """For eps_a = 1 almost every start leads to a minimiser, also those close to the saddles.
    Formula: excess <= 1e-10 is reached  [cells of 8 where it is not]
    Problems: d in 2..6, cond in 1.5..10, w_0'g/(||w_0|| ||g||) from 1e-9 to 1; 8 eps over 7 decades
    """
    return 0.0, not_converged(i)


def _on_saddle(cube: Cube) -> SimpleNamespace:
    i = near_saddle(cube)
    # of 24 bits each, so that their products are exact, and w_0'g is 0 and not a rounding that a run grows from
    eigvals, u = (values.astype(np.float32).astype(np.float64) for values in (i.problem.eigvals, i.problem.u))
    g = eigvals * u
    across = np.zeros(i.problem.dim)
    across[0], across[1] = g[1], -g[0]
    return SimpleNamespace(problem=OLSProblem(eigvals, u, across, 0.0), eps=i.eps, eps_a=i.eps_a)


_false = chapter.variants
FALSE = {
    "eps_a up to 2.2 converges": _false(
        "cai.converges", instance=lambda cube: anywhere(cube, lambda x: 0.02 + 2.18 * x)
    ),
    "every start leads to a minimiser": _false("cai.almost-every-start", instance=_on_saddle),
    "eps_a > 1 does converge": _false("cai.eps-a-necessary", refutes="upper"),
    "a smaller bound for a": _false.scaled("cai.scale-bounded", 0.99),
}
