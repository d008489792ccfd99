r"""BNGD with weight decay, no noise: the cycle of two steps around the edge of stability, its excess and its period.

Near a minimiser let z be the amplitude of the top mode over beta, p = z^2, x = eps lambda_wd, and s = eps ||u||^2
lambda*_d/||w||^2 - 2 the distance to the edge. The decay shrinks ||w||^2 by 2 x a step and the oscillation lets it
grow, so that to leading order

    ds/dk = 4 x - 8 h p,   dp/dk = 2 p (s - K p),   h = E/(||u||^2 lambda*_d),
    K = 4 + 24 b_d^2/lambda*_d^2 + 4 sum_{i<d} b_i^2/lambda*_i^2 - 4 h,   1/b_i^2 = sum_j p_j/(lambda_j - lambda*_i)^2,

p_j = lambda_j u_j^2/E. It rests at p = x/(2 h), s = K p, where the run repeats every two steps; small oscillations
about that have the angular frequency sqrt(8 x) and decay like exp(-K x k/(2 h)): the rest is stable where K > 0. K
follows from the orbit of period two: its mean parts are z_d = 3 b_d p/lambda*_d, z_i = b_i p/lambda*_i.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import DIGITS, Chapter, Comparison, Cube, Skip, draw_problem
from olsbn.ledger.runs import started
from olsbn.problems import OLSProblem
from olsbn.runs import run

_TRIES = 50  # problems drawn until one is of the kind that a claim is about


def star_modes(problem: OLSProblem) -> SimpleNamespace:
    """Return the modes of H* but u: `eigvals`, couplings `b` and H-orthonormal vectors, by dense diagonalisation.

    The sign of a vector is that of theory: its component j is b u_j/(lambda_j - mu), in units where E = 1.
    """
    lam, u, E = problem.eigvals, problem.u, problem.explained_var
    half = np.sqrt(lam)
    across = np.eye(problem.dim) - np.outer(half * u, half * u) / E
    star, vectors = np.linalg.eigh(across @ (lam[:, None] * across))
    star, vectors = star[1:], vectors[:, 1:] / half[:, None]
    # (H - mu) e_i = b_i u/sqrt(E) in units of E = 1: H u/sqrt(E) projects b_i out
    b = (half * half * u) @ (lam[:, None] * vectors) / math.sqrt(E)
    return SimpleNamespace(eigvals=star, b=b, vectors=vectors, h=E / float(u @ u) / float(star[-1]))


def stiffness(modes: SimpleNamespace) -> float:
    """Return K, by which the oscillation lowers its own growth."""
    relative = (modes.b / modes.eigvals) ** 2
    return float(4 + 24 * relative[-1] + 4 * relative[:-1].sum() - 4 * modes.h)


def orbit(problem: OLSProblem, modes: SimpleNamespace, eps: float, x: float) -> tuple[FloatArray, float]:
    """Return weights and scale on the orbit of period two, to leading order."""
    p = x / (2 * modes.h)
    z = modes.b / modes.eigvals * p
    z[-1] = 3 * z[-1] + math.sqrt(p)
    # the norm is that of s = K p; the part along u follows
    norm2 = eps * float(problem.u @ problem.u) * modes.eigvals[-1] / (2 + stiffness(modes) * p)
    across = math.sqrt(problem.explained_var) * modes.vectors @ z
    beta = math.sqrt(norm2 / float(problem.u @ problem.u))
    for _ in range(3):
        w = beta * (problem.u + across)
        beta *= math.sqrt(norm2 / float(w @ w))
    return beta * (problem.u + across), math.sqrt(problem.explained_var) * (1 - p / 2)


def _problem(cube: Cube) -> tuple[OLSProblem, SimpleNamespace]:
    """Draw a problem whose cycle is stable and whose slow modes are fast beside it."""
    rng = cube.rng()
    for _ in range(_TRIES):
        problem = draw_problem(Cube(rng.random(16)), dim=(3, 6), cond=(2, 20))
        modes = star_modes(problem)
        apart = modes.eigvals[-2] / modes.eigvals[-1]
        if 0.3 < stiffness(modes) / modes.h < 300 and apart < 0.9 and 0.05 < modes.h < 2:
            return problem, modes
    raise Skip


def _cycle(cube: Cube) -> SimpleNamespace:
    """The orbit of the printed update by Newton's method, for a weak decay, and the multipliers of two steps."""
    problem, modes = _problem(cube)
    x, eps = 1e-6, 1.0 / float(modes.eigvals[-1])
    H, u = np.diag(problem.eigvals), problem.u
    p = textbook.Dense(H, H @ u, u, problem.w0, problem.explained_var)

    def step(z: Any) -> Any:
        w, a = textbook.bngd_step(p, z[:-1], z[-1], eps, 1.0, x)
        return np.append(w, a)

    at = np.append(*orbit(problem, modes, eps, x))
    for _ in range(12):
        jacobian = textbook.derivative(lambda z: step(step(z)), at)
        move = np.linalg.solve(jacobian - np.eye(at.size), at - step(step(at)))
        at = at + move
    if not np.linalg.norm(move) < 1e-9 * np.linalg.norm(at):
        raise Skip
    other = step(at)
    ends = np.array([at[:-1], other[:-1]])
    norm2 = (ends**2).sum(1)
    cosine2 = (ends @ p.g) ** 2 / (ends**2 @ problem.eigvals) / p.E
    multipliers = np.log(np.linalg.eigvals(jacobian).astype(complex)) / 2
    # of all pairs of multipliers the one of the cycle is nearest to 1; a = w'g/sigma adds zeros
    nearest = multipliers[np.argsort(abs(multipliers))[:2]]
    return SimpleNamespace(
        modes=modes, x=x, K=stiffness(modes), h=modes.h,
        excess=float((1 - cosine2).mean()),
        s=float((eps * (u @ u) * modes.eigvals[-1] / norm2).mean()) - 2,
        omega=float(abs(nearest.imag).max()),
    )  # fmt: skip


def _ran(cube: Cube) -> SimpleNamespace:
    """Runs of the engine to the cycle, from beside it: their excess in the last two steps."""
    problem, modes = _problem(cube)
    x, eps = 5e-4, 1.0 / float(modes.eigvals[-1])
    w, a = orbit(problem, modes, eps, 1.5 * x)
    n_steps = math.ceil(20 * 2 * modes.h / (stiffness(modes) * x)) + math.ceil(10 / x)
    if n_steps > 400_000:
        raise Skip
    ran = run(
        started(problem, w, a), eps=eps, weight_decay=x / eps, n_steps=n_steps, record=[n_steps - 1, n_steps]
    )  # fmt: skip
    if ran.attrs["status"] != "max_steps":
        raise Skip
    return SimpleNamespace(x=x, h=modes.h, excess=float((ran.residual.values[-2:] ** 2).mean()))


def _both_signs(cube: Cube) -> SimpleNamespace:
    """A problem whose solution leans to the top of the spectrum, so that K may have either sign, and its damping."""
    d = cube.integer(3, 5)
    lean = cube.uniform(0.5, 3)
    rng = cube.rng()
    for _ in range(_TRIES):
        eigvals = np.sort(np.append([1.0], rng.uniform(1, 10, d - 1)))
        u = rng.standard_normal(d) * (eigvals / eigvals[-1]) ** lean
        problem = OLSProblem(eigvals, u / np.linalg.norm(u), rng.standard_normal(d))
        modes = star_modes(problem)
        K = stiffness(modes)
        if abs(K) > 0.2 and modes.eigvals[-2] < 0.9 * modes.eigvals[-1] and modes.h < 30:
            return SimpleNamespace(problem=problem, modes=modes, K=K)
    raise Skip


def _grows(i: SimpleNamespace) -> float:
    """Return whether a small disturbance of the cycle grows in a run of the printed update."""
    x, eps = 1e-4, 1.0 / float(i.modes.eigvals[-1])
    H, u = np.diag(i.problem.eigvals), i.problem.u
    p = textbook.Dense(H, H @ u, u, i.problem.w0, i.problem.explained_var)
    w, a = orbit(i.problem, i.modes, eps, x)
    unit = eps * float(u @ u) * float(i.modes.eigvals[-1])
    period = 2 * math.pi / math.sqrt(8 * x)
    w = w * (1 - 0.05 * math.sqrt(x / i.modes.h))
    growth = math.log(3) / (abs(i.K) * x / (2 * i.modes.h))  # a factor 3 in theory
    if growth > 60_000:
        raise Skip
    s = np.empty(math.ceil(growth + 2 * period))
    for k in range(s.size):
        s[k] = unit / (w @ w)
        w, a = textbook.bngd_step(p, w, a, eps, 1.0, x)
    n = math.ceil(period)
    first, last = s[n // 4 : n + n // 4], s[-n:]
    return float(np.ptp(last) > np.ptp(first))


chapter = Chapter()


@chapter.claim("olsbn.decay-cycle-excess", "tight", _cycle, n_random=15, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """BNGD with weak decay comes to rest on a cycle of two steps, not at a minimiser: with this excess.
    Formula: ||e||_H^2/E -> eps lambda ||u||^2 lambda*_d/(2 E)
    Problems: {PROBLEMS}, d in 3..6, cond in 2..20, lambda*_(d-1) < 0.9 lambda*_d; the cycle of the printed update by
    Newton's method, eps lambda = 1e-6
    """
    theory = i.x / (2 * i.h)
    return theory, i.excess, DIGITS * theory


@chapter.claim("olsbn.decay-cycle-edge", "tight", _cycle, n_random=15, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """On it the effective rate that the norm says is above the edge of stability, by an amount in closed form.
    Formula: eps ||u||^2 lambda*_d/||w||^2 - 2 -> K eps lambda/(2 h),  h = E/(||u||^2 lambda*_d),
    K = 4 + 24 b_d^2/lambda*_d^2 + 4 sum_{i<d} b_i^2/lambda*_i^2 - 4 h
    Problems: as olsbn.decay-cycle-excess
    """
    theory = i.K * i.x / (2 * i.h)
    return theory, i.s, DIGITS * abs(theory)


@chapter.claim("olsbn.decay-cycle-period", "tight", _cycle, n_random=15, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """The effective rate oscillates about it with a period that depends on the decay alone: not on the problem.
    Formula: period -> 2 pi/sqrt(8 eps lambda)  [angular frequency]
    Problems: as olsbn.decay-cycle-excess; the multipliers of two steps of the printed update
    Where: the cycle, measured in networks: Lobacheva et al., NeurIPS 2021
    """
    theory = math.sqrt(8 * i.x)
    return theory, i.omega, 10 * DIGITS * theory


@chapter.claim("olsbn.decay-cycle-run", "tight", _ran, n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """A run of the engine ends on that cycle.
    Formula: ||e||_H^2/E -> eps lambda ||u||^2 lambda*_d/(2 E)  [eps lambda = 5e-4: to 1 %]
    Problems: as olsbn.decay-cycle-excess; a start that belongs to a decay half as strong again
    """
    theory = i.x / (2 * i.h)
    return theory, i.excess, 10 * DIGITS * theory


@chapter.claim("olsbn.decay-cycle-stable", "identity", _both_signs, n_random=8, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """The cycle attracts where K > 0 and repels where K < 0: there the norm shrinks and bursts for ever.
    Formula: a disturbance grows <=> K < 0
    Problems: d in 3..5, cond <= 10, u leaning to the top of the spectrum, |K| > 0.2; eps lambda = 1e-4, as long as
    theory takes for a factor 3
    """
    return float(i.K < 0), _grows(i)


_false = chapter.variants
FALSE = {
    "the cycle's excess without the mean eigenvalue": _false(
        "olsbn.decay-cycle-excess", theory=lambda i: i.x / 2, allowed=lambda i: DIGITS * i.x / 2
    ),
    "the cycle has twice the excess": _false.scaled("olsbn.decay-cycle-excess", 2.0),
    "the cycle is at the edge itself": _false("olsbn.decay-cycle-edge", theory=lambda i: 0.0),
    "the cycle's K without the norm of the top mode": _false(
        "olsbn.decay-cycle-edge", theory=lambda i: (i.K + 2 * i.h) * i.x / (2 * i.h)
    ),
    "the cycle's period goes with 2 pi/sqrt(4 eps lambda)": _false.scaled("olsbn.decay-cycle-period", 0.5**0.5),
    "runs with decay end at 0.98 of the cycle's excess": _false.scaled("olsbn.decay-cycle-run", 0.98),
    "the cycle always attracts": _false("olsbn.decay-cycle-stable", theory=lambda i: 0.0),
}
