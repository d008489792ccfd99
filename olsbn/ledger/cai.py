"""The claims of Cai, Li, Shen on GD and on gradient descent with BN (BNGD), ordinary least squares."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.dynamics import run_bngd
from olsbn.ledger import textbook
from olsbn.ledger.base import (
    DIGITS,
    PROBLEMS,
    RATE,
    WINDOW,
    Claim,
    Cube,
    Skip,
    draw_problem,
    rounding,
)
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.schema import Status
from olsbn.spectral import (
    bngd_contraction_ratio,
    effective_rate_regimes,
    eps_window,
    gd_contraction_ratio,
    spectral_report,
)
from olsbn.sweeps import sweep

# The effective rate and the contraction ratio approach their limits like the root of the excess: here to 1e-12.
_SETTLED = 1e-24
# What is to be told from that has to be larger by far.
_VISIBLE = 1e-8


def _started(problem: OLSProblem, w0: FloatArray | None = None, a0: float | None = None) -> OLSProblem:
    """Return the problem with another start."""
    w0 = problem.w0 if w0 is None else w0
    return OLSProblem(problem.eigvals, problem.u, w0, a0, problem.target_var)  # type: ignore[arg-type]


def _final(problem: OLSProblem, eps: Any, eps_a: Any = 1.0, tol: float = _SETTLED, n_steps: int = 2**22) -> Any:
    """Run until the excess is below `tol`; cells that are not there yet are run once more, 16 times as long."""
    ds = sweep(problem, eps=eps, eps_a=eps_a, n_steps=n_steps, tol=tol, stop="tol", progress=False)
    if (ds.status == Status.MAX_STEPS).any():
        ds = sweep(problem, eps=eps, eps_a=eps_a, n_steps=16 * n_steps, tol=tol, stop="tol", progress=False)
    return ds


def _settled_eps_eff(problem: OLSProblem, eps: Any, tol: float = _SETTLED) -> FloatArray:
    ds = _final(problem, np.atleast_1d(eps), tol=tol)
    if (ds.status != Status.CONVERGED).any():
        raise Skip
    return ds.eps_eff.values


# -------------------------------------------------------------------- one step of the printed update


def _one_step(cube: Cube) -> SimpleNamespace:
    """A dense problem, a state (w, a), a step from it, and how large the rounding errors in it can be."""
    problem = draw_problem(cube)
    strength, eps_a, scale = cube.log(1e-3, 1e3), cube.uniform(0, 2), cube.log(0.1, 10)
    rng = cube.rng()
    p = textbook.dense(problem, rng)
    w, H = p.w0, p.H
    top = float(problem.eigvals[-1])
    a = math.sqrt(p.E) * scale * rng.choice([-1.0, 1.0])
    s, q = textbook.sigma(p, w), textbook.q(p, w)
    eps = strength * s / (abs(a) * max(abs(q), 1e-3 * math.sqrt(p.E) / s) * top)
    w_next, a_next = textbook.bngd_step(p, w, a, eps, eps_a)
    s_next, q_next = textbook.sigma(p, w_next), textbook.q(p, w_next)
    e = p.u - q * w

    def amplified(v: FloatArray) -> float:
        # w'Hw is a sum of terms of size ||H|| ||w||^2
        return top * float(v @ v) / float(v @ H @ v)

    norm = np.linalg.norm
    chi = eps * abs(a) / s
    reach = norm(w_next) + chi * top * (norm(p.u) + abs(q) * norm(w))
    amplification = amplified(w) + amplified(w_next) + amplified(p.u)
    return SimpleNamespace(
        p=p, w=w, a=a, eps=eps, eps_a=eps_a, s=s, q=q, e=e, w_next=w_next, a_next=a_next, s_next=s_next, q_next=q_next,
        eps_eff=eps * (a / s) * q, chi=chi, d=problem.dim, top=top,
        # 20 d: about ten products of H and a vector, of d terms each, multiplication and addition
        ops=20 * problem.dim * amplification,
        vector_size=norm(p.u) + abs(q_next) * reach + norm(e) * (1 + chi * abs(q) * top),
        norm_size=float(reach**2),
    )  # fmt: skip


def _projected(i: SimpleNamespace) -> FloatArray:
    v = i.e - i.eps_eff * (i.p.H @ i.e)
    return v - i.w_next * (i.w_next @ i.p.H @ v) / i.s_next**2


def _energy(i: SimpleNamespace) -> float:
    return float(i.e @ i.p.H @ i.e + (i.a - (i.w @ i.p.g) / i.s) ** 2) / 2


_STEP = f"{PROBLEMS}; rotated at random; a and the step length over 2 and 6 decades, eps_a in (0, 2)"

_ALGEBRA = [
    Claim(
        id="cai.excess",
        source="cai",
        kind="identity",
        statement="The excess loss is half the squared H-norm of the residual and half the squared error of the scale.",
        formula="J - J_min = ||u - q w||_H^2/2 + (a - w'g/sigma)^2/2,  q = w'g/sigma^2",
        problems=_STEP,
        instance=_one_step,
        theory=_energy,
        measured=lambda i: textbook.loss(i.p, i.w, i.a),
        allowed=lambda i: rounding(i.ops, i.p.E + i.a**2),
    ),
    Claim(
        id="cai.residual-norm",
        source="cai",
        kind="identity",
        statement="The residual is H-orthogonal to the weights, and its H-norm follows from the correlation alone.",
        formula="w'He = 0,  ||e||_H^2 = E - (w'g)^2/sigma^2",
        problems=_STEP,
        instance=_one_step,
        theory=lambda i: [0.0, i.p.E - (i.w @ i.p.g) ** 2 / i.s**2],
        measured=lambda i: [i.w @ i.p.H @ i.e, i.e @ i.p.H @ i.e],
        allowed=lambda i: rounding(i.ops, [i.s * math.sqrt(i.p.E), i.p.E]),
    ),
    Claim(
        id="cai.residual-projection",
        source="cai",
        kind="identity",
        statement="A step multiplies the residual by I - eps_hat H and projects it, H-orthogonally, beside the new w.",
        formula="e+ = P (I - eps_hat H) e,  P the H-orthogonal projection onto {v: v'Hw+ = 0}, eps_hat = eps a q/sigma",
        problems=_STEP,
        instance=_one_step,
        theory=_projected,
        measured=lambda i: i.p.u - i.q_next * i.w_next,
        allowed=lambda i: rounding(i.ops, i.vector_size),
    ),
    Claim(
        id="cai.norm-growth",
        source="cai",
        kind="identity",
        statement="The squared norm of w grows at each step by exactly the squared length of the step.",
        formula="||w+||^2 = ||w||^2 + eps^2 (a^2/sigma^2) ||He||^2",
        problems=_STEP,
        instance=_one_step,
        theory=lambda i: i.w @ i.w + i.chi**2 * np.sum((i.p.H @ i.e) ** 2),
        measured=lambda i: i.w_next @ i.w_next,
        allowed=lambda i: rounding(i.ops, i.norm_size),
    ),
]


# -------------------------------------------------------------------- invariances of whole runs


def _monotone(cube: Cube) -> Any:
    problem = draw_problem(cube)
    regimes = effective_rate_regimes(problem)
    eps, eps_a = regimes.eps_1 * cube.log(1e-3, 1e6), cube.uniform(0, 2)
    return run_bngd(problem, eps, eps_a, 300)


def _count_different(x: Any, y: Any) -> int:
    x, y = np.asarray(x, float), np.asarray(y, float)
    return int(np.sum((x != y) & ~(np.isnan(x) & np.isnan(y))))


def _printed_run(
    eigvals: FloatArray, u: FloatArray, w: FloatArray, a: float, eps: float, eps_a: float, n_steps: int
) -> FloatArray:
    """Return a, sigma, w'g and ||w||^2 over some steps of the printed update, with a diagonal H.

    Sums are correctly rounded: those of BLAS depend on where in memory a vector lies. (And a power function is not.)
    """
    g = eigvals * u
    rows = []
    for _ in range(n_steps):
        Hw = eigvals * w
        sigma, wg = math.sqrt(math.fsum(w * Hw)), math.fsum(w * g)
        rows.append((a, sigma, wg, math.fsum(w * w)))
        w, a = w + eps * (a / sigma) * (g - (wg / (sigma * sigma)) * Hw), a + eps_a * (wg / sigma - a)
    return np.array(rows)


def _scaled_start(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    eps, eps_a = effective_rate_regimes(problem).eps_1 * cube.log(1e-3, 1e6), cube.uniform(0, 2)
    r = 2.0 ** cube.integer(-8, 8)
    return SimpleNamespace(problem=problem, eps=eps, eps_a=eps_a, r=r, r_eps=r**2)


def _scaled_start_differences(i: SimpleNamespace) -> list[int]:
    p, eps = i.problem, i.r_eps * i.eps
    x = run_bngd(p, i.eps, i.eps_a, 200)
    y = run_bngd(_started(p, i.r * p.w0, p.a0), eps, i.eps_a, 200)
    s = _printed_run(p.eigvals, p.u, p.w0, p.a0, i.eps, i.eps_a, 50)
    t = _printed_run(p.eigvals, p.u, i.r * p.w0, p.a0, eps, i.eps_a, 50)
    return [
        *(_count_different(x[name], y[name]) for name in ("a", "excess", "residual", "eps_eff")),
        _count_different(i.r * x.w_norm, y.w_norm),
        _count_different(s * [1, i.r, i.r, i.r**2], t),
    ]


def _scaled_problem(cube: Cube) -> SimpleNamespace:
    i = _scaled_start(cube)
    i.t = 4.0 ** cube.integer(-8, 8)
    i.eff = i.t
    return i


def _scaled_problem_differences(i: SimpleNamespace) -> list[int]:
    p, root = i.problem, math.sqrt(i.t)
    x = run_bngd(p, i.eps, i.eps_a, 200)
    y = run_bngd(OLSProblem(i.t * p.eigvals, p.u / root, p.w0, p.a0), i.eps, i.eps_a, 200)
    s = _printed_run(p.eigvals, p.u, p.w0, p.a0, i.eps, i.eps_a, 50)
    t = _printed_run(i.t * p.eigvals, p.u / root, p.w0, p.a0, i.eps, i.eps_a, 50)
    return [
        *(_count_different(x[name], y[name]) for name in ("a", "excess", "residual", "w_norm")),
        _count_different(x.eps_eff / i.eff, y.eps_eff),
        _count_different(s * [1, root, root, 1], t),
    ]


_INVARIANCES = [
    Claim(
        id="cai.norm-monotone",
        source="cai",
        kind="lower",
        statement="The norm of w never decreases, for any learning rates.",
        formula="||w_{k+1}|| / ||w_k|| >= 1",
        problems=f"{PROBLEMS}; eps over 9 decades, eps_a in (0, 2), 300 steps",
        instance=_monotone,
        theory=lambda run: 1.0,
        measured=lambda run: run.w_norm.values[1:] / run.w_norm.values[:-1],
        # each norm is the root of a sum of at most 12 squares
        allowed=lambda run: rounding(2 * 12),
    ),
    Claim(
        id="cai.scaling-start",
        source="cai",
        kind="identity",
        statement="Scaling the start by r and eps by r^2 changes no loss, scale or effective rate; no bit if r = 2^m.",
        formula="(w_0, eps) -> (r w_0, r^2 eps):  a_k, e_k, eps_hat_k unchanged  [numbers that differ]",
        problems=f"{PROBLEMS}; r = 2^-8..2^8; 200 steps of the engine, 50 of the printed update",
        instance=_scaled_start,
        theory=lambda i: 0.0,
        measured=_scaled_start_differences,
        n_random=10,
        n_search=20,
    ),
    Claim(
        id="cai.scaling-problem",
        source="cai",
        kind="identity",
        statement="Scaling H by t and u by t^-1/2 changes no loss or scale and divides the effective rate by t.",
        formula="(H, u) -> (tH, u/sqrt t):  a_k unchanged, eps_hat_k -> eps_hat_k/t  [numbers that differ]",
        problems=f"{PROBLEMS}; t = 4^-8..4^8; 200 steps of the engine, 50 of the printed update",
        instance=_scaled_problem,
        theory=lambda i: 0.0,
        measured=_scaled_problem_differences,
        n_random=10,
        n_search=20,
    ),
]


# -------------------------------------------------------------------- convergence


def _sin2(problem: OLSProblem) -> float:
    """Return ||e_0||_H^2/E, the squared sine of the angle between w_0 and u."""
    g = problem.eigvals * problem.u
    along = float(problem.w0 @ g) ** 2 / float(problem.eigvals @ problem.w0**2)
    return 1 - along / problem.explained_var


def _anywhere(cube: Cube, eps_a: tuple[float, float]) -> SimpleNamespace:
    """Learning rates from far below the plateau to far above it, and any start of w and a."""
    problem = draw_problem(cube, dim=(2, 6), cond=(1.5, 10))
    if _sin2(problem) < 1e-3:
        raise Skip  # so close to u a plateau is too wide to be covered
    a0 = math.sqrt(problem.explained_var) * cube.log(1e-2, 1e2) * (1 if cube.unit() < 0.5 else -1)
    problem = _started(problem, a0=a0)
    regimes = effective_rate_regimes(problem)
    # where the predicted effective rate is 1e-4 of the plateau's, on either side: the number of steps grows beyond that
    low, high = 1e-4 * regimes.eps_1, 1e4 * regimes.eps_2
    if not 0 < low < high < math.inf:
        raise Skip
    rng = cube.rng()
    eps = low * (high / low) ** rng.random(8)
    return SimpleNamespace(problem=problem, eps=eps, eps_a=rng.uniform(*eps_a, 4))


def _not_converged(i: SimpleNamespace) -> int:
    return int((_final(i.problem, i.eps, i.eps_a, tol=1e-10, n_steps=2**19).status != Status.CONVERGED).sum())


def _near_saddle(cube: Cube) -> SimpleNamespace:
    """A start that is nearly, or not at all, orthogonal to g, with the best scale."""
    problem = draw_problem(cube, dim=(2, 6), cond=(1.5, 10))
    g = problem.eigvals * problem.u
    closeness = cube.log(1e-9, 1)
    rng = cube.rng()
    across = rng.standard_normal(problem.dim)
    for _ in range(2):
        across -= g * (across @ g) / (g @ g)
    problem = _started(problem, across / np.linalg.norm(across) + closeness * g / np.linalg.norm(g))
    eps_1 = effective_rate_regimes(problem).eps_1
    return SimpleNamespace(problem=problem, eps=eps_1 * 10.0 ** rng.uniform(-3, 4, 8), eps_a=np.array([1.0]))


def _scale_path(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    root = math.sqrt(problem.explained_var)
    problem = _started(problem, a0=root * cube.log(1e-2, 1e2) * (1 if cube.unit() < 0.5 else -1))
    eps, eps_a = effective_rate_regimes(problem).eps_1 * cube.log(1e-3, 1e6), cube.uniform(1e-3, 1.999)
    return SimpleNamespace(problem=problem, root=root, eps_a=eps_a, run=run_bngd(problem, eps, eps_a, 300))


def _beyond_two(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 30))
    eps_a = cube.uniform(2.05, 6)
    run = run_bngd(problem, effective_rate_regimes(problem).eps_1 * cube.log(1e-2, 1e4), eps_a, 5000)
    a = run.a.values[np.isfinite(run.a.values)]
    if run.attrs["status"] != "diverged":
        raise Skip
    return SimpleNamespace(problem=problem, eps_a=eps_a, a=a, root=math.sqrt(problem.explained_var))


def _at_two(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 20))
    problem = _started(problem, a0=math.sqrt(problem.explained_var) * cube.log(1e-1, 10))
    regimes = effective_rate_regimes(problem)
    n_steps = 60_000
    eps = cube.log(regimes.eps_1 / 10, 10 * max(regimes.eps_1, regimes.eps_2))
    run = run_bngd(problem, eps, 2.0, n_steps, record=np.arange(n_steps - 2, n_steps + 1))
    if not run.residual.values[-1] < 1e-14 * math.sqrt(run.excess.values[-1]):
        raise Skip  # w is still on its way
    return SimpleNamespace(problem=problem, run=run, root=math.sqrt(problem.explained_var))


def _least_excess(cube: Cube) -> float:
    i = _anywhere(cube, (1.05, 1.95))
    return float(_final(i.problem, i.eps, i.eps_a, n_steps=2**19).excess.min())


_ANYWHERE = (
    "d in 2..6, cond in 1.5..10, a_0 of either sign over 4 decades; starts not at u; 8 eps from 1e-4 eps_1 to 1e4 eps_2"
)

_CONVERGENCE = [
    Claim(
        id="cai.converges",
        source="cai",
        kind="identity",
        statement="BNGD converges for every eps > 0 if 0 < eps_a <= 1.",
        formula="excess <= 1e-10 is reached  [cells of 32 where it is not]",
        problems=f"{_ANYWHERE}, 4 eps_a in [0.02, 1]; at most 2^23 steps",
        instance=lambda cube: _anywhere(cube, (0.02, 1.0)),
        theory=lambda i: 0.0,
        measured=_not_converged,
        n_random=12,
        n_search=12,
    ),
    Claim(
        id="cai.converges-to-two",
        source="cai",
        kind="identity",
        statement="It still converges for 1 < eps_a < 2: not stated by [Cai], covered by Arora, Li, Lyu (ICLR 2019).",
        formula="excess <= 1e-10 is reached  [cells of 32 where it is not]",
        problems=f"{_ANYWHERE}, 4 eps_a in [1, 1.98]; at most 2^23 steps",
        instance=lambda cube: _anywhere(cube, (1.0, 1.98)),
        theory=lambda i: 0.0,
        measured=_not_converged,
        n_random=12,
        n_search=12,
    ),
    Claim(
        id="cai.eps-a-necessary",
        source="cai",
        kind="counterexample",
        refutes="lower",
        statement="'Provided eps_a <= 1' (slides) is no necessary condition: refuted is that the excess stays "
        "away from 0 for eps_a in (1, 2).",
        formula="min excess > 1e-10  [false]",
        problems=f"{_ANYWHERE}, 4 eps_a in [1.05, 1.95]",
        instance=_least_excess,
        theory=lambda excess: 1e-10,
        measured=lambda excess: excess,
        n_random=4,
        n_search=0,
    ),
    Claim(
        id="cai.scale-bounded",
        source="cai",
        kind="upper",
        statement="The scale a stays bounded for 0 < eps_a < 2, whatever eps: it is an average for eps_a <= 1.",
        formula="|a_k| <= max(|a_0|, m sqrt E),  m = eps_a/(1 - |1 - eps_a|) = 1 for eps_a <= 1",
        problems=f"{PROBLEMS}; a_0 over 4 decades, eps over 9, eps_a in (0, 2), 300 steps",
        instance=_scale_path,
        theory=lambda i: max(abs(i.problem.a0), i.root * i.eps_a / (1 - abs(1 - i.eps_a))),
        measured=lambda i: np.abs(i.run.a.values).max(),
        # the engine's deviation from the optimal scale carries a few roundings a step
        allowed=lambda i: rounding(4 * 300, np.abs(i.run.a.values).max()),
    ),
    Claim(
        id="cai.at-two",
        source="cai",
        kind="tight",
        statement="At eps_a = 2 the scale neither converges nor diverges: it ends up alternating about its optimum.",
        formula="(a_{k+1} - a*)/(a_k - a*) -> -1,  a* = sign(beta) sqrt E",
        problems="as before with cond in 1.5..20, eps from eps_1/10 to 10 eps_2, 60000 steps",
        instance=_at_two,
        theory=lambda i: -1.0,
        measured=lambda i: (i.run.a.values[1:] - _goal(i)) / (i.run.a.values[:-1] - _goal(i)),
        # a - a* cancels: a has a few roundings of its own size
        allowed=lambda i: rounding(16, i.root / np.abs(i.run.a.values - _goal(i)).min() + 1),
        n_search=20,
    ),
    Claim(
        id="cai.beyond-two",
        source="cai",
        kind="tight",
        statement="Above eps_a = 2 BNGD diverges: |a| grows like |1 - eps_a|^k. So 2 is the edge.",
        formula="a_{k+1}/a_k -> 1 - eps_a",
        problems="as before with cond in 1.5..30, eps over 6 decades, eps_a in 2.05..6, until the excess is 1e30",
        instance=_beyond_two,
        theory=lambda i: 1 - i.eps_a,
        measured=lambda i: i.a[-1] / i.a[-2],
        # a+ = (1 - eps_a) a + eps_a c sqrt E with |c| <= 1: so near is the ratio to its limit
        allowed=lambda i: i.eps_a * i.root / abs(i.a[-2]) + rounding(8, i.eps_a),
    ),
    Claim(
        id="cai.almost-every-start",
        source="cai",
        kind="identity",
        statement="For eps_a = 1 almost every start leads to a minimiser, also those close to the saddles.",
        formula="excess <= 1e-10 is reached  [cells of 8 where it is not]",
        problems="d in 2..6, cond in 1.5..10, w_0'g/(||w_0|| ||g||) from 1e-9 to 1; 8 eps over 7 decades",
        instance=_near_saddle,
        theory=lambda i: 0.0,
        measured=_not_converged,
        n_random=12,
        n_search=12,
    ),
]


def _goal(i: SimpleNamespace) -> float:
    """Return sign(beta) sqrt(E) for a run whose w has converged; the sign is that of eps_eff/a."""
    return i.root * float(np.sign(i.run.eps_eff.values[-1] * i.run.a.values[-1]))


# -------------------------------------------------------------------- critical points


def _critical(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    eps, eps_a = cube.log(1e-3, 1e3) / float(problem.eigvals[-1]), cube.uniform(0.01, 2)
    beta = cube.log(0.1, 10) * (1 if cube.unit() < 0.5 else -1)
    rng = cube.rng()
    p = textbook.dense(problem, rng)
    top, u = float(problem.eigvals[-1]), p.u
    saddle = rng.standard_normal(problem.dim)
    for _ in range(2):  # what the first projection leaves, where it leaves little, is not orthogonal to g
        saddle -= p.g * (saddle @ p.g) / (p.g @ p.g)
    root = math.sqrt(p.E)
    return SimpleNamespace(
        problem=problem, p=p, eps=eps * beta**2, eps_eff=eps, eps_a=eps_a, beta=beta, saddle=saddle,
        minimiser=beta * u, best=math.copysign(root, beta), d=problem.dim, top=top,
        # products of H and a vector, of d terms each; w'Hw is a sum of terms of size ||H|| ||w||^2
        ops=20 * problem.dim * (top * float(u @ u) / p.E + top * float(saddle @ saddle) / float(saddle @ p.H @ saddle)),
    )  # fmt: skip


def _moves(i: SimpleNamespace) -> list[float]:
    """Return how far a step goes from a minimiser and from a saddle, in w and in a."""
    found = []
    for w, a in ((i.minimiser, i.best), (i.saddle, 0.0)):
        w_next, a_next = textbook.bngd_step(i.p, w, a, i.eps, i.eps_a)
        found += [np.linalg.norm(w_next - w) / np.linalg.norm(w), (a_next - a) / math.sqrt(i.p.E)]
    return found


def _saddle_growth(i: SimpleNamespace) -> float:
    tau = i.eps * float(i.p.g @ i.p.g) / float(i.saddle @ i.p.H @ i.saddle)
    return 1 - i.eps_a / 2 + math.sqrt(i.eps_a**2 / 4 + i.eps_a * tau)


def _saddle_jacobian(i: SimpleNamespace) -> float:
    jacobian = textbook.bngd_jacobian(i.p, i.saddle, 0.0, i.eps, i.eps_a)
    return float(np.abs(np.linalg.eigvals(jacobian)).max())


def _minimiser_spectrum(i: SimpleNamespace) -> FloatArray:
    jacobian = textbook.bngd_jacobian(i.p, i.minimiser, i.best, i.eps, i.eps_a)
    return np.sort(np.linalg.eigvals(jacobian).real)


def _linearised(i: SimpleNamespace) -> FloatArray:
    return np.sort(np.append(1 - i.eps_eff * spectral_report(i.problem).eigvals_star, 1 - i.eps_a))


_CRITICAL = [
    Claim(
        id="cai.critical-points",
        source="cai",
        kind="identity",
        statement="Minimisers are w = beta u, a = sign(beta) sqrt E, saddles are a = 0, w'g = 0: no step leaves them.",
        formula="(w+, a+) = (w, a) there",
        problems=f"{PROBLEMS}; rotated at random; eps over 6 decades, beta of either sign",
        instance=_critical,
        theory=lambda i: 0.0,
        measured=_moves,
        allowed=lambda i: rounding(i.ops, (1 + i.eps_eff * i.top)),
    ),
    Claim(
        id="cai.saddles-repel",
        source="cai",
        kind="identity",
        statement="Every saddle repels, for every eps > 0 and eps_a > 0: one eigenvalue of the step is above 1.",
        formula="mu = 1 - eps_a/2 + sqrt(eps_a^2/4 + eps_a tau) > 1,  tau = eps ||g||^2/sigma^2",
        problems=f"{PROBLEMS}; Jacobian of the printed update by complex differentiation, at a random saddle",
        instance=_critical,
        theory=_saddle_growth,
        measured=_saddle_jacobian,
        # the two eigenvalues that couple a and w'g belong to a block that is not symmetric: its eigenvectors can be as
        # far from orthogonal as its off-diagonal elements differ
        allowed=lambda i: rounding(i.ops, (1 + _saddle_growth(i)) * (1 + np.linalg.cond(_saddle_block(i)))),
    ),
    Claim(
        id="cai.linearisation",
        source="cai",
        kind="identity",
        statement="At a minimiser a step has the eigenvalues 1 - eps_a (scale), 1 (along u), 1 - eps_hat lambda*_i.",
        formula="spec DF = {1 - eps_a} + {1 - eps_hat lambda*_i},  H* = H - (Hu)(Hu)'/(u'Hu),  eps_hat = eps/beta^2",
        problems=f"{PROBLEMS}; Jacobian of the printed update by complex differentiation, at w = beta u",
        instance=_critical,
        theory=_linearised,
        measured=_minimiser_spectrum,
        allowed=lambda i: rounding(i.ops, 1 + i.eps_eff * i.top),
    ),
]


def _saddle_block(i: SimpleNamespace) -> FloatArray:
    """Return the eigenvectors of the step restricted to (a, w'g/sigma) at a saddle."""
    tau = i.eps * float(i.p.g @ i.p.g) / float(i.saddle @ i.p.H @ i.saddle)
    return np.linalg.eig(np.array([[1 - i.eps_a, i.eps_a], [tau, 1.0]]))[1]


# -------------------------------------------------------------------- the spectrum of H*


def _star(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 1e4), tilt=4.0)
    p = textbook.dense(problem, cube.rng())
    star = np.linalg.eigvalsh(p.H - np.outer(p.g, p.g) / p.E)
    top = float(problem.eigvals[-1])
    return SimpleNamespace(
        problem=problem, star=star, eigvals=problem.eigvals, top=top,
        # eigvalsh is backward stable: d roundings of ||H||; H* itself is made from g = Hu and E, sums of d terms
        error=rounding(20 * problem.dim, top * top * float(problem.u @ problem.u) / p.E),
    )  # fmt: skip


def _extreme_u(cube: Cube) -> SimpleNamespace:
    """A solution in the span of the two extreme eigenvectors (or very nearly one of them)."""
    i = SimpleNamespace()
    d, kappa, share = cube.integer(3, 12), cube.log(2, 1e4), cube.unit()
    rng = cube.rng()
    eigvals = np.concatenate([[1.0], np.sort(kappa ** rng.uniform(0.3, 0.7, d - 2)), [kappa]])
    weight = 10.0 ** (16 * share - 8)  # of the top mode against the bottom one
    u = np.zeros(d)
    u[0], u[-1] = 1.0, math.sqrt(weight / kappa)
    i.problem = OLSProblem(eigvals, u / np.linalg.norm(u), rng.standard_normal(d))
    p = textbook.dense(i.problem, rng)
    star = np.linalg.eigvalsh(p.H - np.outer(p.g, p.g) / p.E)[1:]
    i.low_high, i.eigvals, i.share = (float(star[0]), float(star[-1])), eigvals, weight / (1 + weight)
    i.error = rounding(20 * d, kappa * kappa / p.E)
    return i


def _extremes_formula(i: SimpleNamespace) -> list[float]:
    middle = i.share * i.eigvals[0] + (1 - i.share) * i.eigvals[-1]
    return [min(i.eigvals[1], middle), max(i.eigvals[-2], middle)]


def _best_step(cube: Cube) -> SimpleNamespace:
    """A start close to u, so that the effective rate is eps ||u||^2/||w_0||^2, and eps that makes it the best."""
    problem = draw_problem(cube, dim=(3, 12), cond=(5, 300), tilt=3.0)
    report = spectral_report(problem)
    noise = cube.rng().standard_normal(problem.dim)
    noise *= 1e-7 * np.linalg.norm(problem.u) / np.linalg.norm(noise)
    problem = _started(problem, problem.u + noise)
    eps = report.eps_eff_opt * float(problem.w0 @ problem.w0) / float(problem.u @ problem.u)
    rate = run_bngd(problem, eps, 1.0, 20_000, record=20_000).attrs["rate_sim"]
    if math.isnan(rate):
        raise Skip
    return SimpleNamespace(problem=problem, report=report, rate=rate)


_SPECTRUM = [
    Claim(
        id="cai.star-spectrum",
        source="cai",
        kind="identity",
        statement="The spectrum of H* is 0 and the roots of a secular equation.",
        formula="1 = sum_i g_i^2/(E (lambda_i - mu))",
        problems="d in 2..12, cond in 1.5..1e4, u leaning far to either end; H* formed and diagonalised densely",
        instance=_star,
        theory=lambda i: spectral_report(i.problem).eigvals_star,
        measured=lambda i: i.star,
        allowed=lambda i: i.error,
    ),
    Claim(
        id="cai.interlacing-upper",
        source="cai",
        kind="upper",
        statement="Eigenvalue by eigenvalue H* lies below H.",
        formula="lambda*_i <= lambda_i",
        problems="as cai.star-spectrum",
        instance=_star,
        theory=lambda i: i.eigvals,
        measured=lambda i: i.star,
        allowed=lambda i: i.error,
    ),
    Claim(
        id="cai.interlacing-lower",
        source="cai",
        kind="lower",
        statement="Eigenvalue by eigenvalue H* lies above the next lower one of H.",
        formula="lambda*_i >= lambda_{i-1},  i >= 2",
        problems="as cai.star-spectrum",
        instance=_star,
        theory=lambda i: i.eigvals[:-1],
        measured=lambda i: i.star[1:],
        allowed=lambda i: i.error,
    ),
    Claim(
        id="cai.cond-star",
        source="cai",
        kind="upper",
        statement="The effective condition number is at most that of H.",
        formula="cond* = lambda*_d/lambda*_2 <= cond = lambda_d/lambda_1",
        problems="as cai.star-spectrum",
        instance=_star,
        theory=lambda i: i.eigvals[-1] / i.eigvals[0],
        measured=lambda i: i.star[-1] / i.star[1],
        allowed=lambda i: i.error / i.star[1] * (1 + i.star[-1] / i.star[1]),
    ),
    Claim(
        id="cai.cond-star-extreme",
        source="cai",
        kind="identity",
        statement="cond* << cond where u lies along the extreme eigenvectors: first source of acceleration. There H* "
        "has one mean m of the extremes in their place.",
        formula="lambda*_2 = min(lambda_2, m), lambda*_d = max(lambda_{d-1}, m),  m = p_d lambda_1 + p_1 lambda_d, "
        "p = lambda u^2/E",
        problems="d in 3..12, cond in 2..1e4, u in the span of the extreme eigenvectors, weights from 1e-8 to 1e8",
        instance=_extreme_u,
        theory=_extremes_formula,
        measured=lambda i: i.low_high,
        allowed=lambda i: i.error,
    ),
    Claim(
        id="cai.best-rate",
        source="cai",
        kind="tight",
        statement="The best effective rate contracts as cond* says.",
        formula="eps_hat = 2/(lambda*_2 + lambda*_d):  rate = (cond* - 1)/(cond* + 1)",
        problems="d in 3..12, cond in 5..300, u leaning far to either end, start close to u; 20000 steps",
        instance=_best_step,
        theory=lambda i: (i.report.cond_star - 1) / (i.report.cond_star + 1),
        measured=lambda i: i.rate,
        allowed=lambda i: RATE,
    ),
    Claim(
        id="cai.first-acceleration",
        source="cai",
        kind="upper",
        statement="At its best effective rate BNGD contracts at least as fast as GD at its best rate.",
        formula="rate_sim <= (cond - 1)/(cond + 1)",
        problems="as cai.best-rate",
        instance=_best_step,
        theory=lambda i: (i.problem.cond - 1) / (i.problem.cond + 1),
        measured=lambda i: i.rate,
        allowed=lambda i: RATE,
    ),
]


# -------------------------------------------------------------------- rates


def _rates(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 100))
    regimes = effective_rate_regimes(problem)
    low, high = sorted((regimes.eps_1, regimes.eps_2))
    if not 0 < low < high < math.inf:
        raise Skip
    rng = cube.rng()
    eps, eps_a = low / 30 * (900 * high / low) ** rng.random(8), rng.uniform(0.05, 1.95, 4)
    ds = sweep(problem, eps=eps, eps_a=eps_a, n_steps=20_000, progress=False)
    settled = ~np.isnan(ds.rate_sim.values) & (ds.excess.values <= _SETTLED)
    if not settled.any():
        raise Skip
    eps_a = np.broadcast_to(eps_a[:, None], settled.shape)[settled]
    return SimpleNamespace(
        problem=problem, eps_a=eps_a, eps_eff=ds.eps_eff.values[settled], rate=ds.rate_sim.values[settled]
    )


def _gd_rates(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 100))
    report = spectral_report(problem)
    eps = report.eps_max * np.append(cube.rng().uniform(0.05, 0.999, 7), report.eps_opt / report.eps_max)
    ds = sweep(problem, method="gd", eps=eps, n_steps=200_000, progress=False)
    settled = ~np.isnan(ds.rate_sim.values)
    if not settled.any():
        raise Skip
    return SimpleNamespace(problem=problem, eps=eps[settled], rate=ds.rate_sim.values[settled])


def _gd_edge(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 100))
    nearness = cube.log(1e-3, 0.5)
    return SimpleNamespace(problem=problem, eps=2 / float(problem.eigvals[-1]) * np.array([1 - nearness, 1 + nearness]))


_RATES = [
    Claim(
        id="cai.linear-rate",
        source="cai",
        kind="tight",
        statement="BNGD converges linearly, at the rate of its linearisation at the effective rate it settles at.",
        formula="sqrt(J_{k+1} - J_min)/sqrt(J_k - J_min) -> max(|1 - eps_a|, max_{i>=2} |1 - eps_hat lambda*_i|)",
        problems=f"{PROBLEMS}, cond <= 100; 8 eps from eps_1/30 to 30 eps_2, 4 eps_a in 0.05..1.95, 20000 steps; cells "
        "whose rate has settled and whose excess is below 1e-24",
        instance=_rates,
        theory=lambda i: bngd_contraction_ratio(i.problem, i.eps_eff, i.eps_a),
        measured=lambda i: i.rate,
        allowed=lambda i: RATE * i.rate,
    ),
    Claim(
        id="cai.gd-rate",
        source="cai",
        kind="tight",
        statement="GD converges linearly at the rate of its largest factor; best is (cond - 1)/(cond + 1).",
        formula="rate -> max_i |1 - eps lambda_i|;  eps = 2/(lambda_1 + lambda_d): (cond - 1)/(cond + 1)",
        problems=f"{PROBLEMS}, cond <= 100; eps in (0.05, 0.999) 2/lambda_d and the best one",
        instance=_gd_rates,
        theory=lambda i: gd_contraction_ratio(i.problem, i.eps),
        measured=lambda i: i.rate,
        allowed=lambda i: RATE * i.rate,
    ),
    Claim(
        id="cai.gd-edge",
        source="cai",
        kind="identity",
        statement="GD converges below eps = 2/lambda_d and diverges above: the contrast to BNGD.",
        formula="status (0 converged, 2 diverged) at (1 -+ h) 2/lambda_d, h from 1e-3 to 1/2",
        problems=f"{PROBLEMS}, cond <= 100; 1e6 steps in closed form",
        instance=_gd_edge,
        theory=lambda i: [Status.CONVERGED, Status.DIVERGED],
        measured=lambda i: sweep(i.problem, method="gd", eps=i.eps, n_steps=1_000_000, progress=False).status.values,
    ),
]


# -------------------------------------------------------------------- regimes of the effective learning rate


def _regime(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, dim=(2, 8), cond=(1.5, 15))
    regimes = effective_rate_regimes(problem)
    # A start at u, or one whose first large step leads close to a saddle, has no such regimes.
    if not (regimes.small_scale < 1e3 * regimes.eps_1 and regimes.large_corr > 0.03 and regimes.generic):
        raise Skip
    return SimpleNamespace(problem=problem, regimes=regimes)


def _small(cube: Cube, linear: bool = False) -> SimpleNamespace:
    """Two small eps, one half of the other, at which the law's first-order errors are at most a tenth of `DIGITS`.

    The squared norm of w grows by eps E times a number and by (eps C)^2, relative to ||w_0||^2; with `linear`, the
    first of the two has to rule by a factor 100.
    """
    i = _regime(cube)
    r = i.regimes
    eps = r.small_until(DIGITS / 10)
    if linear:
        eps = min(eps, r.crossing**2 / r.small_scale / 100)
        if not eps / r.small_scale > _VISIBLE:
            raise Skip
    return _settle(i, np.array([eps, eps / 2]))


def _large(cube: Cube, linear: bool = False) -> SimpleNamespace:
    """The same for large eps, one twice the other: there the rest of ||w||^2 is small against (eps C)^2."""
    i = _regime(cube)
    r = i.regimes
    eps = r.large_from(DIGITS / 10)
    if linear:
        eps = max(eps, 100 * r.crossing**2 / r.large_scale)
        if not r.large_scale / eps > _VISIBLE:
            raise Skip
    return _settle(i, np.array([eps, 2 * eps]))


def _settle(i: SimpleNamespace, eps: FloatArray) -> SimpleNamespace:
    if not (i.regimes.eps_eff(eps) > 1e-7 * i.regimes.plateau).all():
        raise Skip  # too slow to be run to its end
    i.eps, i.eps_eff = eps, _settled_eps_eff(i.problem, eps)
    return i


def _halving_order(law: Any) -> Any:
    """Return a function that measures the order in which the relative error of a law falls when it is halved."""

    def order(i: SimpleNamespace) -> float:
        error = np.abs(1 - i.eps_eff / law(i))
        return math.log2(error[0] / error[1])

    return order


def _small_law(i: SimpleNamespace) -> FloatArray:
    p = i.problem
    return i.eps * float(p.u @ p.u) / float(p.w0 @ p.w0)


def _large_law(i: SimpleNamespace) -> FloatArray:
    p = i.problem
    sigma = math.sqrt(float(p.eigvals @ p.w0**2))
    g = p.eigvals * p.u
    He = g - float(p.w0 @ g) / sigma**2 * p.eigvals * p.w0
    C = abs(p.a0) * float(np.linalg.norm(He)) / sigma
    return float(p.u @ p.u) / (i.eps * C**2)


def _wide_plateau(cube: Cube, cond: tuple[float, float]) -> SimpleNamespace:
    """Random u and w_0 in many dimensions, where the plateau is wide, and spectra with few eigenvalues near the top."""
    kind = ("logspace", "powerlaw")[cube.integer(0, 1)]
    family = ProblemFamily(kind, cube.log(*cond), cube.integer(0, 2**31 - 1))
    problem = family(cube.integer(100, 200))
    regimes = effective_rate_regimes(problem)
    if not regimes.decades > 1.5:
        raise Skip
    return SimpleNamespace(problem=problem, regimes=regimes)


def _on_plateau(cube: Cube) -> SimpleNamespace:
    i = _wide_plateau(cube, (30, 300))
    i.eps = np.geomspace(3 * i.regimes.eps_1, i.regimes.eps_2 / 3, 15)
    i.eps_eff = _settled_eps_eff(i.problem, i.eps, tol=1e-8)
    return i


def _slopes(cube: Cube) -> SimpleNamespace:
    i = _wide_plateau(cube, (5, 30))
    problem, low, high = i.problem, i.regimes.eps_1, i.regimes.eps_2
    ends = ((low / 300, low / 30), (3 * low, high / 3), (30 * high, 300 * high))
    i.eps = np.array([np.geomspace(*end, 8) for end in ends])
    i.eps_eff = _settled_eps_eff(problem, i.eps.ravel(), tol=1e-8).reshape(i.eps.shape)
    return i


def _distances(cube: Cube) -> SimpleNamespace:
    """Medians over problems and eps of the distance to the edge of stability, for several condition numbers."""
    kind, seed = ("logspace", "powerlaw")[cube.integer(0, 1)], cube.integer(0, 2**31 - 1)
    conds = (20, 80, 320)
    distance = []
    for cond in conds:
        found = []
        for trial in range(25):
            problem = ProblemFamily(kind, cond, seed)(100, trial)
            r = effective_rate_regimes(problem)
            if r.decades > 1.3:
                eps = np.geomspace(3 * r.eps_1, r.eps_2 / 3, 8)
                found.append(1 - _settled_eps_eff(problem, eps, tol=1e-8) / r.plateau)
        distance.append(np.median(found))
    return SimpleNamespace(conds=conds, distance=distance)


def _slope(x: Any, y: Any) -> float:
    return float(np.polyfit(np.log(np.asarray(x, float)), np.log(np.abs(np.asarray(y, float))), 1)[0])


def _stable(cube: Cube) -> SimpleNamespace:
    i = _rates(cube)
    i.ceiling = 2 / spectral_report(i.problem).eig_star_max
    return i


def _widths(cube: Cube) -> SimpleNamespace:
    """Geometric means over random problems of the plateau's width, from simulations, in some dimensions."""
    kind = ("logspace", "linspace")[cube.integer(0, 1)]
    family = ProblemFamily(kind, cube.log(5, 20), cube.integer(0, 2**31 - 1))
    dims = (10, 50, 250)
    measured = []
    for d in dims:
        found = []
        # the width varies by a factor 10, for it goes with the squared correlation of the start: it takes many trials
        for trial in range(250):
            problem = family(d, trial)
            r = effective_rate_regimes(problem)
            eps = np.array([r.eps_1 / 30, 30 * r.eps_2])
            small, large = _settled_eps_eff(problem, eps, tol=1e-4)
            # the two outer branches, extended to where they meet the edge of stability
            edge = spectral_report(problem).eps_eff_max
            found.append((eps[1] * large / edge) / (eps[0] * edge / small))
        measured.append(math.exp(np.mean(np.log(found))))
    return SimpleNamespace(dims=dims, measured=measured)


def _trap(cube: Cube) -> SimpleNamespace:
    """The start w_0 proportional to g, far above the plateau: effective rates at step 3."""
    problem = draw_problem(cube, cond=(3, 300))
    g = problem.eigvals * problem.u
    problem = _started(problem, g / np.linalg.norm(g))
    start = effective_rate_regimes(problem)
    if not start.small_scale < 100 * start.eps_1:
        raise Skip  # nearly parallel to u as well
    eps = max(start.eps_2, math.sqrt(start.eps_1 * start.eps_2)) * np.geomspace(1e2, 1e9, 57)
    ds = sweep(problem, eps=eps, n_steps=3, progress=False)
    # Large enough that step 3 is next to the saddles, not so large that the correlation of w and u is rounding.
    near = (1 - ds.excess.values < 1e-3) & (1 - ds.excess.values > 1e-9)
    if near.sum() < 8:
        raise Skip
    return SimpleNamespace(eps=eps[near], eps_eff=ds.eps_eff.values[near])


_SMALL_PROBLEMS = (
    "d in 2..8, cond in 1.5..15, u leaning to either end, w0 anywhere; starts at u or leading to a saddle left out"
)

_REGIMES = [
    Claim(
        id="cai.eps-eff-small",
        source="cai",
        kind="tight",
        statement="For small eps the effective rate settles at eps times the squared ratio of the norms of u and w_0.",
        formula="eps_hat / (eps ||u||^2/||w_0||^2) -> 1 as eps -> 0  [error 1e-4, to three digits]",
        problems=_SMALL_PROBLEMS,
        instance=_small,
        theory=lambda i: 1.0,
        measured=lambda i: i.eps_eff / _small_law(i),
        allowed=lambda i: DIGITS,
        n_random=6,
        n_search=6,
    ),
    Claim(
        id="cai.eps-eff-small-order",
        source="cai",
        kind="order",
        statement="The small-eps law is approached linearly in eps.",
        formula="1 - eps_hat/(eps ||u||^2/||w_0||^2) ~ eps^1",
        problems=_SMALL_PROBLEMS,
        instance=lambda cube: _small(cube, linear=True),
        theory=lambda i: 1.0,
        measured=_halving_order(_small_law),
        n_random=6,
        n_search=6,
    ),
    Claim(
        id="cai.eps-eff-large",
        source="cai",
        kind="tight",
        statement="For large eps it settles at a rate inversely proportional to eps: the first step sets the norm.",
        formula="eps_hat / (||u||^2/(eps C^2)) -> 1 as eps -> oo,  C = |a_0| ||He_0||/sigma_0  [error 1e-4, to three "
        "digits]",
        problems=_SMALL_PROBLEMS,
        instance=_large,
        theory=lambda i: 1.0,
        measured=lambda i: i.eps_eff / _large_law(i),
        allowed=lambda i: DIGITS,
        n_random=6,
        n_search=6,
    ),
    Claim(
        id="cai.eps-eff-large-order",
        source="cai",
        kind="order",
        statement="The large-eps law is approached linearly in 1/eps.",
        formula="1 - eps_hat/(||u||^2/(eps C^2)) ~ eps^-1",
        problems=_SMALL_PROBLEMS,
        instance=lambda cube: _large(cube, linear=True),
        theory=lambda i: 1.0,
        measured=_halving_order(_large_law),
        n_random=6,
        n_search=6,
    ),
    Claim(
        id="cai.three-slopes",
        source="cai",
        kind="order",
        statement="Between the two is a plateau on which eps hardly matters: the effective rate tunes itself.",
        formula="eps_hat ~ eps^+1, eps^0, eps^-1 below eps_1 = 2||w_0||^2/(lambda*_d ||u||^2), between, and above "
        "eps_2 = lambda*_d ||u||^2/(2 C^2)",
        problems="log-spaced and power-law spectra, d in 100..200, cond in 5..30, u and w_0 uniform on the sphere; 8 "
        "eps each, a factor 3 from the edges",
        instance=_slopes,
        theory=lambda i: [1.0, 0.0, -1.0],
        measured=lambda i: [_slope(x, y) for x, y in zip(i.eps, i.eps_eff, strict=True)],
        n_random=4,
        n_search=4,
    ),
    Claim(
        id="cai.self-tuning-upper",
        source="cai",
        kind="upper",
        statement="The effective rate settles nowhere above the edge of stability.",
        formula="eps_hat <= 2/lambda*_d",
        problems="as cai.linear-rate",
        instance=_stable,
        theory=lambda i: i.ceiling,
        measured=lambda i: i.eps_eff,
        # the norm of w, a sum of at most 12 squares, and the root lambda*_d, good to a few ulp
        allowed=lambda i: rounding(40, i.ceiling),
    ),
    Claim(
        id="cai.self-tuning-lower",
        source="cai",
        kind="lower",
        statement="On the plateau it settles below that edge and above half of it, where the top mode oscillates "
        "(observed; less for single eps, small cond, and spectra that crowd near the top).",
        formula="median of eps_hat over 3 eps_1 <= eps <= eps_2/3 >= 1/lambda*_d",
        problems="log-spaced and power-law spectra, d in 100..200, cond in 30..300, u and w_0 uniform; 15 eps",
        instance=_on_plateau,
        theory=lambda i: i.regimes.plateau / 2,
        measured=lambda i: np.median(i.eps_eff),
        n_random=4,
        n_search=4,
    ),
    Claim(
        id="cai.self-tuning-order",
        source="cai",
        kind="order",
        statement="The worse the condition, the closer to the edge: where few eigenvalues are near the largest, the "
        "distance falls like 1/cond (observed).",
        formula="median of 1 - eps_hat lambda*_d/2 ~ cond^-1",
        problems="log-spaced and power-law spectra, d = 100, cond = 20, 80, 320, 25 trials, 8 eps on the plateau each",
        instance=_distances,
        theory=lambda i: -1.0,
        measured=lambda i: _slope(i.conds, i.distance),
        n_random=2,
        n_search=0,
    ),
    Claim(
        id="cai.dimension",
        source="cai",
        kind="order",
        statement="Robustness to dimension, the higher the better: for random u and w_0 the plateau widens like d.",
        formula="mean eps_2/eps_1 ~ d^1",
        problems="two spectra, cond in 5..20, d = 10, 50, 250; geometric mean of 250 trials; from simulated eps_hat",
        instance=_widths,
        theory=lambda i: 1.0,
        measured=lambda i: _slope(i.dims, i.measured),
        n_random=2,
        n_search=0,
    ),
    Claim(
        id="cai.trap-first-step",
        source="cai",
        kind="identity",
        statement="A start proportional to g is not generic: the first step leaves w'g as it is, however long it is.",
        formula="w_0 = g:  w_1'g = w_0'g",
        problems=f"{PROBLEMS}; rotated at random; the length of the step over 6 decades",
        instance=lambda cube: _one_step_from_g(cube),
        theory=lambda i: i.w @ i.p.g,
        measured=lambda i: i.w_next @ i.p.g,
        allowed=lambda i: rounding(i.ops, math.sqrt(i.norm_size) * np.linalg.norm(i.p.g)),
    ),
    Claim(
        id="cai.trap",
        source="cai",
        kind="order",
        statement="From there the effective rate falls like eps^-3: a large eps ends next to the saddles, and lingers.",
        formula="w_0 = g:  eps_hat_3 ~ eps^-3",
        problems=f"{PROBLEMS}, cond in 3..300; eps so large that the squared correlation of w_3 and u is 1e-9 to 1e-3",
        instance=_trap,
        theory=lambda i: -3.0,
        measured=lambda i: _slope(i.eps, i.eps_eff),
    ),
    Claim(
        id="cai.large-law-any-start",
        source="cai",
        kind="counterexample",
        refutes="order",
        statement="The large-eps law does not hold for every start: refuted is its exponent -1 for w_0 = g.",
        formula="w_0 = g:  eps_hat_3 ~ eps^-1  [false]",
        problems="as cai.trap",
        instance=_trap,
        theory=lambda i: -1.0,
        measured=lambda i: _slope(i.eps, i.eps_eff),
        n_random=6,
        n_search=0,
    ),
]


def _one_step_from_g(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    strength = cube.log(1e-3, 1e3)
    p = textbook.dense(problem, cube.rng())
    w = p.g / np.linalg.norm(p.g)
    s, q = textbook.sigma(p, w), textbook.q(p, w)
    top = float(problem.eigvals[-1])
    a = float(w @ p.g / s)
    eps = strength * s / (a * q * top)
    w_next, _ = textbook.bngd_step(p, w, a, eps, 1.0)
    reach = np.linalg.norm(w_next) + eps * a / s * top * (np.linalg.norm(p.u) + q)
    return SimpleNamespace(p=p, w=w, w_next=w_next, norm_size=reach**2, ops=20 * problem.dim * top / s**2)


# -------------------------------------------------------------------- the range of good learning rates


def measured_window(
    problem: OLSProblem, tol: float, n_steps: int, method: str, span: tuple[float, float]
) -> FloatArray:
    """Return the ends of the range of eps that reach `tol` within `n_steps`, found by simulation.

    A coarse grid over `span`, then the cell of the grid at each end once more; the error is 1 % of a decade at most.
    """
    grid = np.geomspace(*span, 96)
    for _ in range(2):
        good = sweep(problem, method=method, eps=grid, n_steps=n_steps, tol=tol, stop="tol", progress=False)
        reached = np.flatnonzero(good.steps_to_tol.values >= 0)
        if not reached.size or reached[0] == 0 or reached[-1] == grid.size - 1:
            raise Skip
        ends = [(grid[reached[0] - 1], grid[reached[0]]), (grid[reached[-1]], grid[reached[-1] + 1])]
        grid = np.unique(np.concatenate([np.geomspace(*end, 24) for end in ends]))
    return np.array([math.sqrt(math.prod(end)) for end in ends])


def _window(cube: Cube) -> SimpleNamespace:
    kind = ("logspace", "linspace")[cube.integer(0, 1)]
    problem = ProblemFamily(kind, cube.log(10, 100), cube.integer(0, 2**31 - 1))(cube.integer(20, 100))
    i = SimpleNamespace(problem=problem, tol=cube.log(1e-6, 1e-2), n_steps=4000)
    i.steps = (i.n_steps // 4, i.n_steps)
    i.predicted = [eps_window(problem, i.tol, k) for k in i.steps]
    if not all(w.reliable and w.decades > 0 for w in i.predicted):
        raise Skip
    span = (i.predicted[1].lower / 30, i.predicted[1].upper * 30)
    i.bngd = [measured_window(problem, i.tol, k, "bngd", span) for k in i.steps]
    bound = 2 / float(problem.eigvals[-1])
    i.gd = [measured_window(problem, i.tol, 16 * k, "gd", (1e-6 * bound, 10 * bound)) for k in i.steps]
    i.gd_same = measured_window(problem, i.tol, i.n_steps, "gd", (1e-6 * bound, 10 * bound))
    return i


def _growth(ends: Any) -> float:
    """Return the exponent of the number of steps in the width of the window, from steps k and 4 k."""
    first, second = (end[1] / end[0] for end in ends)
    return math.log(second / first) / math.log(4)


_WINDOW = "two spectra, d in 20..100, cond in 10..100, u and w_0 uniform, tol from 1e-6 to 1e-2, 4000 steps"

_WINDOWS = [
    Claim(
        id="cai.window",
        source="cai",
        kind="tight",
        statement="The range of good learning rates of BNGD is where its two outer regimes are fast enough.",
        formula="log10 of both ends of {eps: excess <= tol within K steps}, from the gradient flow at either end",
        problems=_WINDOW,
        instance=_window,
        theory=lambda i: np.log10([i.predicted[1].lower, i.predicted[1].upper]),
        measured=lambda i: np.log10(i.bngd[1]),
        allowed=lambda i: WINDOW,
        n_random=4,
        n_search=2,
    ),
    Claim(
        id="cai.second-acceleration",
        source="cai",
        kind="lower",
        statement="Second source of acceleration: BNGD's range of good learning rates is wider than GD's, by the "
        "plateau at least.",
        formula="decades of good eps, BNGD >= those of GD + log10(eps_2/eps_1)",
        problems=_WINDOW,
        instance=_window,
        theory=lambda i: np.log10(i.gd_same[1] / i.gd_same[0]) + effective_rate_regimes(i.problem).decades,
        measured=lambda i: np.log10(i.bngd[1][1] / i.bngd[1][0]),
        n_random=4,
        n_search=2,
    ),
    Claim(
        id="cai.window-growth",
        source="cai",
        kind="order",
        statement="With the number K of steps BNGD's range of good learning rates grows like K^2 and GD's like K.",
        formula="upper/lower end ~ K^2 (BNGD), K^1 (GD)",
        problems=f"{_WINDOW} and a quarter of it (GD: 16 times as many)",
        instance=_window,
        theory=lambda i: [2.0, 1.0],
        measured=lambda i: [_growth(i.bngd), _growth(i.gd)],
        n_random=4,
        n_search=2,
    ),
]

CLAIMS = (*_ALGEBRA, *_INVARIANCES, *_CONVERGENCE, *_CRITICAL, *_SPECTRUM, *_RATES, *_REGIMES, *_WINDOWS)
