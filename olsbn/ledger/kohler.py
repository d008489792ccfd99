"""The claims of Kohler et al. on GDNP, gradient descent in normalized parameters, ordinary least squares."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from scipy import optimize

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import RATE, Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.problems import OLSProblem
from olsbn.theory import bngd_contraction_ratio, spectral_report


def gdnp_excess(problem: OLSProblem, n_steps: int) -> FloatArray:
    """Return the relative excess of GDNP at steps 0..n_steps (fewer if it falls to 1e-280).

    In the coordinates ``w = beta u + v``, ``u'Hv = 0``, nothing cancels: the direction of w is v/beta, and a step is
    ``w + He/(L q)``.
    """
    eigvals, u = problem.eigvals, problem.u
    E = float(eigvals @ u**2)
    top = float(eigvals[-1])
    beta = float(eigvals @ (u * problem.w0)) / E
    v = problem.w0 - beta * u
    found = []
    for _ in range(n_steps + 1):
        v = v / beta  # the scale of w does not matter
        V = float(eigvals @ v**2)
        excess = V / (E + V)
        found.append(excess)
        if excess < 1e-280:
            break
        # 1/q = 1 + V/E at beta = 1, and He/q = lambda (u V/E - v)
        w_step = eigvals * (u * (V / E) - v) / top
        shift = float(eigvals @ (u * w_step)) / E
        beta, v = 1 + shift, v + w_step - shift * u
        v -= float(eigvals @ (u * v)) / E * u  # rounding has put a little of u into it
    return np.array(found)


def _one_step(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    rng = cube.rng()
    p = textbook.dense(problem, rng)
    w, top = p.w0, float(problem.eigvals[-1])
    s, q = textbook.sigma(p, w), textbook.q(p, w)
    if abs(q) * s < 1e-6 * math.sqrt(p.E):
        raise Skip  # GDNP divides by w'g
    a = float(w @ p.g / s)  # the optimal scale
    eps = s / (a * q * top)  # so that eps (a/sigma) q = 1/L
    # sigma^2 is a sum of terms of size ||H|| ||w||^2, w'g one of size ||w|| ||g||
    amplification = top * float(w @ w) / s**2 + math.sqrt(float(w @ w) * float(p.g @ p.g)) / abs(float(w @ p.g))
    size = np.linalg.norm(w) + np.linalg.norm(p.u) / abs(q) + np.linalg.norm(w)
    return SimpleNamespace(p=p, w=w, a=a, eps=eps, top=top, ops=20 * problem.dim * amplification, size=size)


def _bisected(i: SimpleNamespace) -> float:
    """Return the scale at which the loss is least, by bisection of its derivative, as GDNP finds it."""
    reach = 4 * math.sqrt(i.p.E)

    def slope(a: float) -> float:
        return float(textbook.derivative(lambda z: textbook.loss(i.p, i.w, z[0]), np.array([a]))[0])

    return float(optimize.bisect(slope, -reach, reach, xtol=1e-300, maxiter=2000))


def _run(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 300), tilt=3.0)
    return SimpleNamespace(problem=problem, excess=gdnp_excess(problem, 60), d=problem.dim)


def _bound(i: SimpleNamespace) -> FloatArray:
    eigvals = i.problem.eigvals
    return (1 - eigvals[0] / eigvals[-1]) ** (2 * np.arange(1, i.excess.size))


def _long_run(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, dim=(3, 12), cond=(3, 30), tilt=2.0)
    excess = gdnp_excess(problem, 12_000)
    rates = np.sqrt(excess[1:] / excess[:-1])
    # settled: two samples, the excess many decades apart, agree far better than is asked for
    if rates.size < 100 or abs(rates[-1] - rates[-1 - rates.size // 4]) > RATE / 10 * rates[-1]:
        raise Skip
    return SimpleNamespace(problem=problem, rate=float(rates[-1]))


chapter = Chapter()


@chapter.claim("kohler.gdnp-is-bngd", "identity", _one_step)
def _(i: SimpleNamespace) -> Comparison:
    """On least squares GDNP is BNGD with the optimal scale and the effective learning rate 1/lambda_max.
    Formula: w - (w'Hw/(2 L |rho|)) grad rho = w + eps (a/sigma) He,
    rho = -(w'g)^2/(2 w'Hw), a = w'g/sigma, eps (a/sigma) q = 1/L
    Problems: {PROBLEMS}; rotated at random; rho differentiated by complex steps
    """
    return (
        textbook.bngd_step(i.p, i.w, i.a, i.eps, 1.0)[0],
        textbook.gdnp_step(i.p, i.w, i.top),
        rounding(i.ops, i.size),
    )


@chapter.claim("kohler.optimal-scale", "identity", _one_step)
def _(i: SimpleNamespace) -> Comparison:
    """The scale that GDNP finds by bisection has a closed form.
    Formula: root of dJ/da = w'g/sigma
    Problems: {PROBLEMS}; rotated at random; the printed loss differentiated by complex steps, bisected
    """
    return i.w @ i.p.g / textbook.sigma(i.p, i.w), _bisected(i), rounding(i.ops, math.sqrt(i.p.E))


@chapter.claim("kohler.bound", "upper", _run, n_search=120)
def _(i: SimpleNamespace) -> Comparison:
    """GDNP converges linearly from every start with w'g != 0.
    Formula: excess_k / excess_0 <= (1 - lambda_min/lambda_max)^(2k)
    Problems: {PROBLEMS}, cond <= 300, u leaning far to either end; 60 steps
    """
    # sums of d terms, in each of k steps
    return _bound(i), i.excess[1:] / i.excess[0], rounding(20 * i.d * np.arange(1, i.excess.size)) * _bound(i)


@chapter.claim("kohler.asymptotic", "tight", _long_run, n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """The asymptotic factor is that of H*, sharper than the bound's.
    Formula: sqrt(excess_{k+1}/excess_k) -> 1 - lambda*_2/lambda_max
    Problems: d in 3..12, cond in 3..30; up to 12000 steps
    """
    return 1 - spectral_report(i.problem).eig_star_min / i.problem.eigvals[-1], i.rate, RATE


@chapter.claim("kohler.sharper", "upper", lambda cube: draw_problem(cube, cond=(1.5, 300), tilt=3.0))
def _(problem: OLSProblem) -> Comparison:
    """That factor never exceeds the bound's, for lambda*_2 >= lambda_min.
    Formula: max_{i>=2} |1 - lambda*_i/lambda_max| <= 1 - lambda_min/lambda_max
    Problems: {PROBLEMS}, cond <= 300, u leaning far to either end
    """
    return (
        1 - problem.eigvals[0] / problem.eigvals[-1],
        bngd_contraction_ratio(problem, 1 / float(problem.eigvals[-1])),
        rounding(16),
    )


CLAIMS = chapter.claims

_false = chapter.variants
FALSE = {
    "GDNP is BNGD at 2/lambda_max": _false.changed("kohler.gdnp-is-bngd", eps=lambda i: 2 * i.eps),
    "the optimal scale is w'g/sigma^2": _false("kohler.optimal-scale", theory=lambda i: textbook.q(i.p, i.w)),
    "the optimal scale is off by 1e-9": _false.scaled("kohler.optimal-scale", 1 + 1e-9),
    "the bound, one power more": _false(
        "kohler.bound", theory=lambda i: _bound(i) * (1 - i.problem.eigvals[0] / i.problem.eigvals[-1])
    ),
    "the bound with 1.2 lambda_min": _false(
        "kohler.bound",
        theory=lambda i: (
            np.maximum(0, 1 - 1.2 * i.problem.eigvals[0] / i.problem.eigvals[-1]) ** (2 * np.arange(1, i.excess.size))
        ),
    ),
    "the asymptotic factor is the bound's": _false(
        "kohler.asymptotic", theory=lambda i: 1 - i.problem.eigvals[0] / i.problem.eigvals[-1]
    ),
    "the sharper factor is smaller by 1e-3": _false.scaled("kohler.sharper", 0.999),
}
