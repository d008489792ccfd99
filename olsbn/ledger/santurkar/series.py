r"""Effective smoothness along whole runs, with and without BN, and what half of it is worth.

Over step lengths (the paper's definition) beta is the largest ``||grad f(x) - grad f(x - t grad f)||/(t ||grad
f||)``. BN's beta has the unit 1/||w||^2, which means nothing; times ||w||^2/||u||^2 it is at the scale of GD, for a
minimiser then has the Hessian H* where GD has H.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.arora.smoothness import l_vv, largest_scale
from olsbn.ledger.base import DIGITS, Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.problems import OLSProblem
from olsbn.theory import effective_rate_regimes, spectral_report

_N_STEPS = 300
_LENGTHS = np.geomspace(0.5, 4, 6)


def _series(cube: Cube) -> SimpleNamespace:
    """Beta over step lengths along a run of GD and one of BNGD, whose learning rates are a share of their edges."""
    problem = draw_problem(cube, dim=(2, 8), cond=(1.5, 100))
    share, side = cube.uniform(0.05, 0.95), cube.log(0.1, 10)
    H, u = np.diag(problem.eigvals), problem.u
    p = textbook.Dense(H, H @ u, u, problem.w0, problem.explained_var)
    eps_gd, eps = share * 2 / float(problem.eigvals[-1]), side * effective_rate_regimes(problem).eps_1
    if not 0 < eps < math.inf:
        raise Skip
    i = SimpleNamespace(problem=problem, gd=[], bn=[], norm2=[], error=[])
    x, w, a = p.w0, p.w0, problem.a0
    i.bound = l_vv(problem, largest_scale(problem, a, 1.0))
    i.bound_va = math.sqrt(problem.cond * problem.explained_var)
    for _ in range(_N_STEPS):
        d = H @ x - p.g
        if np.linalg.norm(d) > 1e-8 * np.linalg.norm(p.g):
            i.gd.append(max(np.linalg.norm(H @ d * t) / (t * np.linalg.norm(d)) for t in _LENGTHS))
        x = x - eps_gd * d
        dw, da = textbook.gradient(p, w, a)
        size = float(np.linalg.norm(dw))
        # a gradient that is left of terms 1e7 times as large has no digits for a difference
        terms = abs(a) / textbook.sigma(p, w) * (np.linalg.norm(p.g) + abs(textbook.q(p, w)) * np.linalg.norm(H @ w))
        if size < 1e-7 * terms:
            break
        far = [w - eps * t * dw for t in _LENGTHS]
        i.bn.append(
            max(
                np.linalg.norm(dw - textbook.gradient(p, z, a)[0]) / (eps * t * size)
                for z, t in zip(far, _LENGTHS, strict=True)
            )
        )
        i.norm2.append(float(w @ w))
        i.error.append(20 * problem.dim * problem.cond * terms / (eps * _LENGTHS[0] * size))
        w, a = w - eps * dw, a - da
    i.bn, i.gd, i.norm2 = np.array(i.bn), np.array(i.gd), np.array(i.norm2)
    i.error = rounding(1.0, np.array(i.error))
    i.ends = float(np.linalg.norm(textbook.gradient(p, w, a)[0]) * math.sqrt(w @ w) / problem.explained_var)
    return i


def _settled(cube: Cube) -> SimpleNamespace:
    """The same where the run of BNGD has come near a minimiser."""
    i = _series(cube)
    if not (i.bn.size > 20 and i.ends < 1e-6):
        raise Skip
    return i


def _halved(cube: Cube) -> SimpleNamespace:
    """Losses of GD with step 1/beta on a problem, and on one with half of every eigenvalue."""
    problem = draw_problem(cube)
    half = OLSProblem(problem.eigvals / 2, problem.u, problem.w0)
    flat = OLSProblem(np.minimum(problem.eigvals, float(problem.eigvals[-1]) / 2), problem.u, problem.w0)

    def losses(problem: OLSProblem) -> FloatArray:
        lam = problem.eigvals
        steps = np.arange(200)[:, None]
        return np.asarray(((1 - lam / lam[-1]) ** (2 * steps) * (problem.w0 - problem.u) ** 2) @ lam / 2)

    return SimpleNamespace(whole=losses(problem), half=losses(half), flat=losses(flat))


chapter = Chapter(_N=str(_N_STEPS))


@chapter.claim("santurkar.beta-series", "upper", _series, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """Along a whole run BN's smoothness over step lengths is bounded: it falls as the norm grows.
    Formula: beta_k ||w_k||^2 <= L_vv = (2/sqrt 3) cond sqrt(E) max|a|
    Problems: {PROBLEMS}, d <= 8, cond <= 100; BNGD's eps from a tenth to ten times the plateau's lower end, {_N}
    steps as long as the gradient has seven digits, step lengths of half to four times the step
    Where: effective beta-smoothness, over step lengths, as a series
    """
    return i.bound, i.bn * i.norm2, i.error * i.norm2


@chapter.claim("santurkar.beta-series-gd", "upper", _series, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """Along a run of GD it stays between the ends of the spectrum.
    Formula: beta_k <= lambda_max
    Problems: as santurkar.beta-series, GD's eps from 0.05 to 0.95 of its edge
    Where: effective beta-smoothness, over step lengths, as a series
    """
    top = float(i.problem.eigvals[-1])
    return top, i.gd, rounding(8 * i.problem.dim, top)


@chapter.claim("santurkar.beta-series-end", "upper", _settled, n_random=30, n_search=40)
def _(i: SimpleNamespace) -> Comparison:
    """At equal effective scale BN's smoothness ends no larger than the largest eigenvalue of H*, which is less than
    GD's.
    Formula: beta ||w||^2/||u||^2 <= lambda*_max + rest <= lambda_max  [at the end of the run, to three digits]
    Problems: as santurkar.beta-series, runs that have come to a gradient below 1e-6
    Where: 'comparison at equal effective scale', section 4
    """
    star = spectral_report(i.problem).eig_star_max
    return star, i.bn[-1] * i.norm2[-1] / float(i.problem.u @ i.problem.u), i.error[-1] * i.norm2[-1] + 1e-3 * star


@chapter.claim("santurkar.half-beta", "identity", _halved)
def _(i: SimpleNamespace) -> Comparison:
    """With half the beta, all else equal, the step is twice as long and the distance to the least loss is half.
    Formula: H -> H/2, step 1/beta:  f(x_t) - f* -> (f(x_t) - f*)/2
    Problems: {PROBLEMS}; 200 steps of GD
    Where: the blog, 'halve the distance between the current loss and the optimal loss'
    """
    return i.whole / 2, i.half, rounding(8, i.whole)


@chapter.claim("santurkar.half-beta-alone", "counterexample", _halved, refutes="identity", n_random=12, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """All else equal is meant: refuted is that halving the largest eigenvalues alone halves the distance.
    Formula: lambda_i -> min(lambda_i, lambda_max/2), step 1/beta:  f(x_t) - f* -> (f(x_t) - f*)/2  [false; t = 20]
    Problems: as santurkar.half-beta
    Where: the blog, 'halve the distance between the current loss and the optimal loss'
    Corrects: 'If we can halve the beta constant with all else equal there's a good chance we can halve the distance':
    exact if every eigenvalue is halved, else more or less than that.
    """
    return 0.5, i.flat[20] / i.whole[20], DIGITS


_false = chapter.variants
FALSE = {
    "BN's beta along a run without cond": _false.changed(
        "santurkar.beta-series", bound=lambda i: i.bound / i.problem.cond
    ),
    "GD's beta along a run is below half of lambda_max": _false.scaled("santurkar.beta-series-gd", 0.5),
    "BN's beta ends below lambda*_max/10": _false.scaled("santurkar.beta-series-end", 0.1),
    "half the beta, a quarter of the distance": _false.scaled("santurkar.half-beta", 0.5),
    "other eigenvalues have no part in it": _false(
        "santurkar.half-beta-alone", measured=lambda i: (i.half / i.whole)[20]
    ),
}
