"""The outer regimes to the next order, and how the effective rate tunes itself between them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.cai.regimes import SMALL_PROBLEMS, halving_order, large, large_law, small, small_law, wide_plateau
from olsbn.ledger.runs import across_the_plateau, settled_eps_eff, slope, started
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.runs import run
from olsbn.sweeps.running import sweep
from olsbn.theory import effective_rate_regimes, spectral_report


def _on_plateau(cube: Cube) -> SimpleNamespace:
    i = wide_plateau(cube, (30, 300))
    i.eps = np.geomspace(3 * i.regimes.eps_1, i.regimes.eps_2 / 3, 15)
    i.eps_eff = settled_eps_eff(i.problem, i.eps, tol=1e-8)
    return i


def _typical(cube: Cube) -> SimpleNamespace:
    """Distances to the edge of stability, in units of 1/cond, of some problems."""
    rng = cube.rng()
    distance: list[float] = []
    while len(distance) < 9:
        try:
            i = _on_plateau(Cube(rng.random(8)))
        except Skip:
            continue
        distance.append(i.problem.cond * (1 - float(np.median(i.eps_eff)) / i.regimes.plateau))
    return SimpleNamespace(distance=distance)


def _distances(cube: Cube) -> SimpleNamespace:
    """Medians over problems and eps of the distance to the edge of stability, for several condition numbers."""
    kind, seed = ("logspace", "powerlaw")[cube.integer(0, 1)], cube.integer(0, 2**31 - 1)
    conds = (20, 80, 320)
    distance = []
    for cond in conds:
        found = []
        for trial in range(12):
            problem = ProblemFamily(kind, cond, seed)(100, trial)
            r = effective_rate_regimes(problem)
            if r.decades > 1.3:
                eps = np.geomspace(3 * r.eps_1, r.eps_2 / 3, 8)
                found.append(1 - settled_eps_eff(problem, eps, tol=1e-8) / r.plateau)
        distance.append(np.median(found))
    return SimpleNamespace(conds=conds, distance=distance)


def _jumps(cube: Cube, around: float = 2.0) -> SimpleNamespace:
    """How far below the edge runs end that begin as far above it as `starts`, with the top mode alone."""
    return _ends(draw_problem(cube, dim=(2, 8), cond=(1.5, 30)), (1e-3, 5e-4), 0.0, around)


def _heavy_jumps(cube: Cube, edge: float | None = None) -> SimpleNamespace:
    """The same with momentum m, beginning 0.04 (1 - m)^2 and half of that above its edge 2 (1 + m)."""
    problem, m = draw_problem(cube, dim=(2, 8), cond=(1.5, 30)), cube.uniform(0.7, 0.95)
    return _ends(problem, (0.04 * (1 - m) ** 2, 0.02 * (1 - m) ** 2), m, 2 * (1 + m) if edge is None else edge)


def _depths(cube: Cube) -> SimpleNamespace:
    """How much deeper than they began runs end, over the square of that, for momenta near 1."""
    problem = draw_problem(cube, dim=(2, 6), cond=(1.5, 30))
    i = SimpleNamespace(apart=np.array([0.1, 0.05, 0.025]))
    deeper = []
    for apart in i.apart:
        delta = 0.02 * apart**2
        found = _ends(problem, (delta,), 1 - apart, 2 * (2 - apart))
        deeper.append((found.ends[0] - delta) / delta**2)
    i.deeper = np.array(deeper)
    return i


def _ends(problem: OLSProblem, starts: tuple[float, ...], m: float, around: float) -> SimpleNamespace:
    root = math.sqrt(problem.explained_var)
    half = np.sqrt(problem.eigvals)
    star, vectors = np.linalg.eigh(
        np.outer(half, half) * (np.eye(problem.dim) - np.outer(*[half * problem.u / root] * 2))
    )
    top = vectors[:, -1] / half
    top *= 1e-6 * np.linalg.norm(problem.u) / np.linalg.norm(top)
    i = SimpleNamespace(starts=np.array(starts), ends=[])
    for delta in starts:
        # the top mode grows by delta/(1 - m) a step, from 1e-6 of what the instability reaches, and falls again
        n_steps = int((60 * (1 - m)) / delta + 300 / (1 - m))
        problem = started(problem, problem.u + delta * top, root)
        eps = (2 * (1 + m) + delta) / star[-1]
        ran = run(problem, eps=eps, momentum=m, n_steps=n_steps, record=[0, n_steps])
        i.ends.append(around - float(ran.eps_eff.values[-1]) * star[-1])
    return i


def _stable(cube: Cube) -> SimpleNamespace:
    """Effective rates where BNGD has ended: every cell whose excess has fallen below 1e-100, whatever its rate."""
    problem, eps, eps_a = across_the_plateau(cube, 8, 4)
    ds = sweep(problem, eps=eps, eps_a=eps_a, n_steps=20_000, progress=False)
    ended = ds.excess.values < 1e-100
    if not ended.any():
        raise Skip
    return SimpleNamespace(ceiling=2 / spectral_report(problem).eig_star_max, eps_eff=ds.eps_eff.values[ended])


chapter = Chapter(SMALL_PROBLEMS=SMALL_PROBLEMS)


@chapter.claim("olsbn.eps-eff-small-order", "order", lambda cube: small(cube, linear=True), n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """The small-eps law is approached linearly in eps.
    Formula: 1 - eps_hat/(eps ||u||^2/||w_0||^2) ~ eps^1
    Problems: {SMALL_PROBLEMS}
    """
    return 1.0, halving_order(small_law)(i)


@chapter.claim("olsbn.eps-eff-large-order", "order", lambda cube: large(cube, linear=True), n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """The large-eps law is approached linearly in 1/eps.
    Formula: 1 - eps_hat/(||u||^2/(eps C^2)) ~ eps^-1
    Problems: {SMALL_PROBLEMS}
    """
    return 1.0, halving_order(large_law)(i)


@chapter.claim("olsbn.edge-jump", "order", _jumps, n_random=6, n_search=8)
def _(i: SimpleNamespace) -> Comparison:
    """An instability of the top mode alone ends as far below the edge of stability as it began above it, to second
    order: the norm of w grows by what the oscillation is worth.
    Formula: eps_hat lambda*_d from 2 + delta to 2 - delta + O(delta^2)  [order of what is missing]
    Problems: {PROBLEMS}, d <= 8, cond <= 30; starts at u with 1e-6 delta of the top mode, delta = 1e-3 and its half
    Where: for gradient descent: the self-stabilization of Damian, Nichani, Lee, ICLR 2023
    """
    missing = i.starts - np.array(i.ends)
    return 2.0, math.log2(abs(missing[0] / missing[1]))


@chapter.claim("olsbn.edge-jump-momentum", "order", _heavy_jumps, n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """With momentum m the same holds about its own edge, for every m, if the instability is small enough.
    Formula: eps_hat lambda*_d from 2 (1 + m) + delta to 2 (1 + m) - delta + O(delta^2)  [order of what is missing]
    Problems: {PROBLEMS}, d <= 8, cond <= 30; m in 0.7..0.95, delta = 0.04 (1 - m)^2 and its half
    """
    missing = i.starts - np.array(i.ends)
    return 2.0, math.log2(abs(missing[0] / missing[1]))


@chapter.claim("olsbn.edge-jump-depth", "order", _depths, n_random=3, n_search=2)
def _(i: SimpleNamespace) -> Comparison:
    """Small enough means delta << (1 - m)^2: beyond that it ends far below the edge, for the norm follows the
    oscillation 1/(1 - m) steps late. So runs with a large momentum, whose instabilities are larger, do not settle at
    the edge.
    Formula: (depth - delta)/delta^2 ~ (1 - m)^-2  [m = 0.9, 0.95, 0.975]
    Problems: {PROBLEMS}, d <= 6, cond <= 30; delta = 0.02 (1 - m)^2
    """
    return -2.0, slope(i.apart, i.deeper)


@chapter.claim("olsbn.self-tuning-upper", "upper", _stable, n_random=12, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """The effective rate settles nowhere above the edge of stability.
    Formula: eps_hat <= 2/lambda*_d
    Problems: {PROBLEMS}, cond <= 100; 8 eps from eps_1/5 to 5 eps_2, 4 eps_a in 0.05..1.95, 20000 steps; every cell
    whose excess is below 1e-100 then
    """
    # the norm of w, a sum of at most 12 squares, and the root lambda*_d, good to a few ulp
    return i.ceiling, i.eps_eff, rounding(40, i.ceiling)


@chapter.claim("olsbn.self-tuning-lower", "lower", _on_plateau, n_random=12, n_search=40)
def _(i: SimpleNamespace) -> Comparison:
    """On the plateau it settles below that edge and above half of it, where the top mode oscillates (observed; less
    for single eps, small cond, and spectra that crowd near the top).
    Formula: median of eps_hat over 3 eps_1 <= eps <= eps_2/3 >= 1/lambda*_d
    Problems: log-spaced and power-law spectra, d in 100..200, cond in 30..300, u and w_0 uniform; 15 eps
    Where: the edge of stability: Cohen et al., ICLR 2021
    """
    return i.regimes.plateau / 2, np.median(i.eps_eff)


@chapter.claim("olsbn.self-tuning-distance", "upper", _typical, n_random=8, n_search=8)
def _(i: SimpleNamespace) -> Comparison:
    """For most problems it settles as close to the edge as 1/cond (observed).
    Formula: median over problems of cond (1 - median of eps_hat lambda*_d/2) <= 1
    Problems: 9 problems as those of olsbn.self-tuning-lower
    """
    return 1.0, np.median(i.distance)


@chapter.claim("olsbn.self-tuning-order", "order", _distances, n_random=6, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The worse the condition, the closer to the edge: where few eigenvalues are near the largest, the distance falls
    like 1/cond (observed).
    Formula: median of 1 - eps_hat lambda*_d/2 ~ cond^-1
    Problems: log-spaced and power-law spectra, d = 100, cond = 20, 80, 320, 12 trials, 8 eps on the plateau each
    """
    return -1.0, slope(i.conds, i.distance)


_false = chapter.variants
FALSE = {
    "small-eps law, wrong constant, by its order": _false(
        "olsbn.eps-eff-small-order", measured=halving_order(lambda i: 1.01 * small_law(i))
    ),
    "large-eps law, wrong constant, by its order": _false(
        "olsbn.eps-eff-large-order", measured=halving_order(lambda i: 1.01 * large_law(i))
    ),
    "an instability ends at the edge itself": _false(
        "olsbn.edge-jump", measured=lambda i: math.log2(abs(i.ends[0] / i.ends[1]))
    ),
    "an instability is symmetric about 1.9999": _false("olsbn.edge-jump", instance=lambda cube: _jumps(cube, 1.9999)),
    "with momentum instabilities are symmetric about 2": _false(
        "olsbn.edge-jump-momentum", instance=lambda cube: _heavy_jumps(cube, 2.0)
    ),
    "an instability with momentum ends at the edge itself": _false(
        "olsbn.edge-jump-momentum", measured=lambda i: math.log2(abs(i.ends[0] / i.ends[1]))
    ),
    "the depth goes with 1/(1 - m)": _false("olsbn.edge-jump-depth", theory=lambda i: -1.0),
    "the edge of stability is at 1.9": _false.scaled("olsbn.self-tuning-upper", 0.95),
    "it settles above 0.95 of the edge": _false.scaled("olsbn.self-tuning-lower", 1.9),
    "it settles twice as close": _false.scaled("olsbn.self-tuning-distance", 0.5),
    "the distance falls like cond^-1/2": _false("olsbn.self-tuning-order", theory=lambda i: -0.5),
}
