r"""BNGD with w scaled to norm 1 after each step: the effective learning rate no longer adapts.

``w+ = Pi(w - eps grad)``, ``Pi(w) = w/||w||``. BN does not depend on the scale of w, so that this is a step of BNGD
with ``eps_k = eps ||w_k||^2``, and at a minimiser ``w = beta u`` the effective learning rate is ``eps ||u||^2``.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import RATE, Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.runs import started
from olsbn.problems import OLSProblem
from olsbn.runs import run
from olsbn.sweeps.running import sweep


def _star(problem: OLSProblem) -> FloatArray:
    """Return the spectrum of H*, its zero first, by dense diagonalisation."""
    return np.asarray(np.linalg.eigvalsh(_star_matrix(problem)))


def _star_matrix(problem: OLSProblem) -> FloatArray:
    """Return H* with the same eigenvalues as a symmetric matrix across ``H^(1/2) u``."""
    half = np.sqrt(problem.eigvals)
    h = half * problem.u / math.sqrt(problem.explained_var)
    across = np.eye(problem.dim) - np.outer(h, h)
    return np.asarray(across @ (problem.eigvals[:, None] * across))


def _drawn(cube: Cube, dim: tuple[int, int], cond: float) -> OLSProblem:
    """Return a problem whose u has any norm."""
    problem, size = draw_problem(cube, dim=dim, cond=(1.5, cond)), cube.log(0.1, 10)
    return OLSProblem(problem.eigvals, size * problem.u, problem.w0)


def _linearised(cube: Cube) -> SimpleNamespace:
    """The Jacobian of a step, projection included, at w = u/||u||, a = sqrt(E), by complex differentiation."""
    problem = _drawn(cube, (2, 8), 100)
    rate, eps_a = cube.log(1e-2, 10) / float(problem.eigvals[-1]), cube.uniform(0.01, 4)
    p, norm = textbook.dense(problem, cube.rng()), float(np.linalg.norm(problem.u))

    def step(z: Any) -> Any:
        w, a = textbook.bngd_step(p, z[:-1], z[-1], rate / norm**2, eps_a)
        return np.append(w / np.sqrt(w @ w), a)

    jacobian = textbook.derivative(step, np.append(p.u / norm, math.sqrt(p.E)))
    # products of H and a vector, of d terms each; w'Hw is a sum of terms of size ||H|| ||w||^2
    ops = 40 * problem.dim * float(problem.eigvals[-1] * norm**2) / p.E
    return SimpleNamespace(
        problem=problem, rate=rate, eps_a=eps_a, jacobian=jacobian,
        error=rounding(ops, 1 + np.linalg.norm(jacobian, 2)),
    )  # fmt: skip


def _edges(cube: Cube) -> SimpleNamespace:
    """Problems and learning rates a little below the edge and a little above."""
    problem = _drawn(cube, (2, 8), 100)
    nearness = cube.log(3e-3, 0.3)
    return SimpleNamespace(problem=problem, nearness=nearness, edge=2.0)


def _grows(i: SimpleNamespace, method: str = "sphere") -> list[float]:
    """Return whether a small part of the top mode grows, below and above the edge, by the engine."""
    problem = i.problem
    star, vectors = np.linalg.eigh(_star_matrix(problem))
    top = vectors[:, -1] / np.sqrt(problem.eigvals)
    top *= 1e-10 * np.linalg.norm(problem.u) / np.linalg.norm(top)
    near = started(problem, problem.u + top, math.sqrt(problem.explained_var))
    # a factor of 1 + 2 nearness, long enough for e^8 either way
    n_steps, found = math.ceil(8 / (2 * i.nearness)) + 8, []
    for side in (1 - i.nearness, 1 + i.nearness):
        eps = i.edge * side / float(star[-1] * (problem.u @ problem.u))
        ran = run(near, method, eps=eps, n_steps=n_steps, record=[0, n_steps])
        found.append(float(not ran.excess.values[-1] <= ran.excess.values[0]))
    return found


def _beyond(cube: Cube, method: str = "sphere") -> SimpleNamespace:
    """Runs from anywhere at 1.001 to 100 times the edge."""
    problem = _drawn(cube, (2, 8), 100)
    factors = np.array([cube.log(1.001, 100) for _ in range(4)])
    eps = 2 * factors / float(_star(problem)[-1] * (problem.u @ problem.u))
    ds = sweep(problem, method=method, eps=eps, n_steps=20_000, progress=False)
    return SimpleNamespace(converged=(np.atleast_1d(ds.excess.values) <= 1e-10).astype(float))


def _rates(cube: Cube) -> SimpleNamespace:
    """Measured contraction ratios below the edge, from anywhere."""
    problem = _drawn(cube, (2, 6), 20)
    shares, eps_a = np.array([cube.log(0.05, 0.99) for _ in range(4)]), cube.uniform(0.1, 1.9)
    star = _star(problem)
    eps = 2 * shares / float(star[-1] * (problem.u @ problem.u))
    ds = sweep(problem, method="sphere", eps=eps, eps_a=eps_a, n_steps=20_000, progress=False)
    found = np.atleast_1d(ds.rate_sim.values)
    settled = np.isfinite(found)
    if not settled.any():
        raise Skip
    return SimpleNamespace(problem=problem, star=star[1:], eps=eps[settled], eps_a=eps_a, found=found[settled])


def _ratio(i: SimpleNamespace, unit: float) -> FloatArray:
    """Return the contraction ratio if eps_hat is eps times `unit`."""
    modes = np.abs(1 - unit * i.eps[:, None] * i.star).max(axis=1)
    return np.asarray(np.maximum(modes, abs(1 - i.eps_a)))


chapter = Chapter()


@chapter.claim("olsbn.sphere-linear", "identity", _linearised)
def _(i: SimpleNamespace) -> Comparison:
    """On the unit sphere the linearisation at a minimiser is that of BNGD at the fixed rate eps ||u||^2; along u the
    projection leaves nothing.
    Formula: eigenvalues 1 - eps ||u||^2 lambda*_i, 1 - eps_a, and 0 along u  [distance from the spectrum]
    Problems: {PROBLEMS}, ||u|| over 2 decades, d <= 8, cond <= 100; rotated at random; Jacobian of the step and
    the projection by complex differentiation; eps ||u||^2 over 3 decades
    """
    expected = np.concatenate([1 - i.rate * _star(i.problem)[1:], [1 - i.eps_a, 0.0]])
    eye = np.eye(len(i.jacobian))
    return 0.0, np.array([np.linalg.svd(i.jacobian - z * eye, compute_uv=False)[-1] for z in expected]), i.error


@chapter.claim("olsbn.sphere-edge", "identity", _edges, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """So the edge of stability is sharp: a small part of the top mode falls below it and grows above it.
    Formula: eps ||u||^2 lambda*_d = 2  [whether it grows, from 3e-3 below and above on]
    Problems: {PROBLEMS}, ||u|| over 2 decades, d <= 8, cond <= 100; start 1e-10 from a minimiser
    Where: regimes on the sphere, of networks: Kodryan et al., NeurIPS 2022
    """
    return [0.0, 1.0], _grows(i)


@chapter.claim("olsbn.sphere-beyond", "identity", _beyond, n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """Beyond the edge no run converges, whatever its start, where BNGD does at every learning rate.
    Formula: eps ||u||^2 lambda*_d > 2:  excess > 1e-10 after 20000 steps  [1 where it is not]
    Problems: {PROBLEMS}, ||u|| over 2 decades, d <= 8, cond <= 100; 4 eps from 1.001 to 100 times the edge
    """
    return 0.0, i.converged


@chapter.claim("olsbn.sphere-rate", "tight", _rates, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """Below the edge the runs that converge do so at the rate of the linearisation.
    Formula: rate -> max(|1 - eps_a|, |1 - eps ||u||^2 lambda*_i|)
    Problems: {PROBLEMS}, ||u|| over 2 decades, d <= 6, cond <= 20; 4 eps from 0.05 to 0.99 of the edge, eps_a in
    0.1..1.9, 20000 steps
    """
    return _ratio(i, float(i.problem.u @ i.problem.u)), i.found, RATE * i.found


_false = chapter.variants
FALSE = {
    "the projection leaves the scale of w": _false(
        "olsbn.sphere-linear",
        measured=lambda i: np.array([np.linalg.svd(i.jacobian - np.eye(len(i.jacobian)), compute_uv=False)[-1]]),
    ),
    "on the sphere H takes the place of H*": _false(
        "olsbn.sphere-linear",
        measured=lambda i: np.array(
            [
                np.linalg.svd(i.jacobian - (1 - i.rate * z) * np.eye(len(i.jacobian)), compute_uv=False)[-1]
                for z in i.problem.eigvals
            ]
        ),
    ),
    "the edge on the sphere is at 1": _false.changed("olsbn.sphere-edge", edge=lambda i: 1.0),
    "the edge on the sphere is 1% higher": _false.changed(
        "olsbn.sphere-edge", edge=lambda i: 2.02, nearness=lambda i: 3e-3
    ),
    "without projection the edge is the same": _false(
        "olsbn.sphere-beyond", instance=lambda cube: _beyond(cube, "bngd")
    ),
    "the fixed rate is eps": _false("olsbn.sphere-rate", theory=lambda i: _ratio(i, 1.0)),
}
