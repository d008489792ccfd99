r"""Heavy-ball momentum near a minimiser, in the order of PyTorch: ``v+ = m v + grad``, ``w+ = w - eps v+``; a too.

A mode that plain descent multiplies by 1 - mu has the two factors z of ``z^2 - (1 + m - mu) z + m = 0``: mu is
eps lambda for GD, and eps_hat lambda*, eps_a and 0 (along u) for BNGD. Both are inside the unit circle iff
0 < mu < 2 (1 + m).
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.arora.invariance import momentum_runs
from olsbn.ledger.base import Chapter, Comparison, Cube, draw_problem, rounding
from olsbn.ledger.runs import started
from olsbn.problems import OLSProblem
from olsbn.runs import run


def factors(mu: Any, m: float) -> Any:
    """Return both factors a step of every mode."""
    half = (1 + m - np.asarray(mu, complex)) / 2
    root = np.sqrt(half**2 - m)
    return np.concatenate([half - root, half + root])


def _star(problem: OLSProblem) -> Any:
    """Return the spectrum of H*, its zero first, by dense diagonalisation."""
    g = problem.eigvals * problem.u
    return np.linalg.eigvalsh(np.diag(problem.eigvals) - np.outer(g, g) / (problem.u @ g))


def _distances(jacobian: FloatArray, z: Any) -> FloatArray:
    """Return how far the matrix is from having each z as an eigenvalue: the smallest singular value of J - z.

    Eigenvalues that are compared one by one would lose half their digits where two factors meet.
    """
    return np.array([np.linalg.svd(jacobian - x * np.eye(len(jacobian)), compute_uv=False)[-1] for x in z])


def _linearised(cube: Cube) -> SimpleNamespace:
    """A minimiser, its Jacobian under BNGD with momentum by complex differentiation, and that of GD."""
    problem = draw_problem(cube, dim=(2, 8), cond=(1.5, 100))
    m, eps_hat = cube.uniform(0, 0.99), cube.log(1e-2, 10) / float(problem.eigvals[-1])
    eps_a, beta = cube.uniform(0.01, 4), cube.log(0.3, 3)
    p = textbook.dense(problem, cube.rng())
    d, eps = problem.dim, eps_hat * beta**2

    def step(z: Any) -> Any:
        w, a, v, v_a = z[:d], z[d], z[d + 1 : -1], z[-1]
        w_next, a_next = textbook.bngd_step(p, w, a, eps, eps_a)
        v, v_a = m * v + (w - w_next) / eps, m * v_a + (a - a_next) / eps_a
        return np.concatenate([w - eps * v, [a - eps_a * v_a], v, [v_a]])

    def gd_step(z: Any) -> Any:
        v = m * z[d:] + p.H @ z[:d] - p.g
        return np.concatenate([z[:d] - eps_hat * v, v])

    # units in which a velocity is one step: else the matrix is far from balanced, and so are its singular values
    units = np.concatenate([np.full(d, beta), [1.0], np.full(d, beta / eps), [1 / eps_a]])
    at = np.concatenate([beta * p.u, [math.sqrt(p.E)], np.zeros(d + 1)])
    gd_units = np.concatenate([np.ones(d), np.full(d, 1 / eps_hat)])
    return SimpleNamespace(
        problem=problem, m=m, eps_hat=eps_hat, eps_a=eps_a,
        jacobian=textbook.derivative(step, at) * units / units[:, None],
        gd_jacobian=textbook.derivative(gd_step, np.concatenate([p.u, np.zeros(d)])) * gd_units / gd_units[:, None],
        # products of H and a vector, of d terms each; w'Hw is a sum of terms of size ||H|| ||w||^2
        ops=40 * d * float(problem.eigvals[-1] * (p.u @ p.u)) / p.E,
    )  # fmt: skip


def _mu(i: SimpleNamespace) -> FloatArray:
    return np.append(i.eps_hat * _star(i.problem), i.eps_a)


def _error(i: SimpleNamespace, jacobian: FloatArray) -> float:
    return float(rounding(i.ops, 1 + np.linalg.norm(jacobian, 2)))


def _edges(cube: Cube) -> SimpleNamespace:
    """Heavy-ball runs from close to a minimiser, a little below the edge and a little above, for the top mode."""
    problem = draw_problem(cube, dim=(2, 8), cond=(1.5, 100))
    m, nearness = cube.uniform(0, 0.95), cube.log(3e-3, 0.3)
    sides = np.array([1 - nearness, 1 + nearness])
    return SimpleNamespace(problem=problem, m=m, nearness=nearness, sides=sides, edge=2 * (1 + m))


def _grows(i: SimpleNamespace) -> list[float]:
    """Return, for GD, BNGD and the scale, below and above the edge, whether the top mode grows, by the engine."""
    problem, m, root = i.problem, i.m, math.sqrt(i.problem.explained_var)
    h = np.sqrt(problem.eigvals) * problem.u / root
    half = np.sqrt(problem.eigvals)
    star, vectors = np.linalg.eigh(np.outer(half, half) * (np.eye(problem.dim) - np.outer(h, h)))
    top = vectors[:, -1] / half
    top *= 1e-10 * np.linalg.norm(problem.u) / np.linalg.norm(top)
    # near -1 a factor leaves by 2 (1 + m)/(1 - m) times what mu is off by: long enough for e^8, either way
    n_steps = math.ceil(8 * (1 - m) / (2 * (1 + m) * i.nearness) + 8 / (1 - m))
    starts = (
        ("gd", problem.u + 1e-9 * np.eye(problem.dim)[-1], root, {"eps": 1 / problem.eigvals[-1]}),
        ("bngd", problem.u + top, root, {"eps": 1 / star[-1]}),
        ("bngd", problem.u, root * (1 + 1e-9), {"eps_a": 1.0, "eps": 1e-3 / star[-1]}),
    )
    found = []
    for side in i.sides:
        for method, w0, a0, rates in starts:
            name = "eps_a" if "eps_a" in rates else "eps"
            own = rates | {name: rates[name] * i.edge * side}
            ran = run(started(problem, w0, a0), method, n_steps=n_steps, record=[0, n_steps], momentum=m, **own)
            found.append(float(not ran.excess.values[-1] <= ran.excess.values[0]))  # NaN where it diverged
    return found


chapter = Chapter()


@chapter.claim("olsbn.heavy-ball", "identity", _linearised, n_search=40)
def _(i: SimpleNamespace) -> Comparison:
    """At a minimiser BNGD with momentum m has, for each eigenvalue mu of plain BNGD's step, two factors.
    Formula: z^2 - (1 + m - mu) z + m = 0,  mu in {0, eps_hat lambda*_i, eps_a}  [distance of z from the spectrum]
    Problems: {PROBLEMS}, d <= 8, cond <= 100; Jacobian by complex differentiation, m in 0..0.99, eps_hat over 3
    decades, eps_a in 0..4
    """
    return 0.0, _distances(i.jacobian, factors(_mu(i), i.m)), _error(i, i.jacobian)


@chapter.claim("olsbn.heavy-ball-gd", "identity", _linearised, n_search=40)
def _(i: SimpleNamespace) -> Comparison:
    """So has GD with momentum, for each eps lambda_i.
    Formula: z^2 - (1 + m - mu) z + m = 0,  mu = eps lambda_i  [distance of z from the spectrum]
    Problems: as olsbn.heavy-ball
    Where: known before: Polyak, 1964
    """
    return 0.0, _distances(i.gd_jacobian, factors(i.eps_hat * i.problem.eigvals, i.m)), _error(i, i.gd_jacobian)


@chapter.claim("olsbn.heavy-ball-edge", "identity", _edges, n_random=15, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """With momentum the edge of stability is at 2 (1 + m): for GD, for BNGD and for the scale.
    Formula: the top mode decays at mu = 2 (1 + m)(1 - x), grows at 2 (1 + m)(1 + x);
    mu = eps lambda_max, eps_hat lambda*_max, eps_a
    Problems: {PROBLEMS}, d <= 8, cond <= 100; runs from close to a minimiser, m in 0..0.95, x over 2 decades
    Where: for GD known before: Polyak, 1964; Cohen et al., ICLR 2021
    """
    return [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], _grows(i)


@chapter.claim(
    "olsbn.nesterov-norm", "lower", lambda cube: momentum_runs(cube, nesterov=True), n_random=15, n_search=30
)
def _(i: SimpleNamespace) -> Comparison:
    """With Nesterov's momentum too the norm never decreases, as [Arora] say of momentum: w'v is minus a sum of squares
    of the velocities and products of neighbours that is positive definite for every m.
    Formula: ||w_{k+1}|| >= ||w_k||:  w'v = -eps sum_j m^{k-j} ((1 + m) ||v_j||^2 - m v_{j-1}'v_j) <= 0
    Problems: {PROBLEMS}, d <= 8; least squares with BN, 11 eps over 10 decades, m in 0..0.99, 60 steps
    """
    return i.run.norm2[:-1], i.run.norm2[1:], i.error


_false = chapter.variants
FALSE = {
    "momentum has Nesterov's factors": _false(
        "olsbn.heavy-ball",
        measured=lambda i: _distances(
            i.jacobian,
            [z for mu in _mu(i) for z in np.roots([1, -(1 + i.m) * (1 - mu), i.m * (1 - mu)])],
        ),
    ),
    "momentum sees H, not H*": _false(
        "olsbn.heavy-ball", measured=lambda i: _distances(i.jacobian, factors(i.eps_hat * i.problem.eigvals, i.m))
    ),
    "momentum averages: the gradient counts 1 - m": _false(
        "olsbn.heavy-ball-gd",
        measured=lambda i: _distances(i.gd_jacobian, factors((1 - i.m) * i.eps_hat * i.problem.eigvals, i.m)),
    ),
    "with Nesterov's momentum the norm shrinks": _false("olsbn.nesterov-norm", kind="upper"),
    "momentum's edge is at 2": _false.changed("olsbn.heavy-ball-edge", edge=lambda i: 2.0),
    "momentum's edge is at 2/(1 - m)": _false.changed("olsbn.heavy-ball-edge", edge=lambda i: 2 / (1 - i.m)),
}
