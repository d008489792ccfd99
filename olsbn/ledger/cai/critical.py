"""Critical points, and the linearisation there."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, draw_problem, rounding
from olsbn.theory import spectral_report


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


def saddle_growth(i: SimpleNamespace) -> float:
    """Return the largest eigenvalue of a step at a saddle."""
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


def _saddle_block(i: SimpleNamespace) -> FloatArray:
    """Return the eigenvectors of the step restricted to (a, w'g/sigma) at a saddle."""
    tau = i.eps * float(i.p.g @ i.p.g) / float(i.saddle @ i.p.H @ i.saddle)
    return np.linalg.eig(np.array([[1 - i.eps_a, i.eps_a], [tau, 1.0]]))[1]


chapter = Chapter()


@chapter.claim("cai.critical-points", "identity", _critical)
def _(i: SimpleNamespace) -> Comparison:
    """Minimisers are w = beta u, a = sign(beta) sqrt E, saddles are a = 0, w'g = 0: no step leaves them.
    Formula: (w+, a+) = (w, a) there
    Problems: {PROBLEMS}; rotated at random; eps over 6 decades, beta of either sign
    """
    return 0.0, _moves(i), rounding(i.ops, (1 + i.eps_eff * i.top))


@chapter.claim("cai.saddles-repel", "identity", _critical)
def _(i: SimpleNamespace) -> Comparison:
    """Every saddle repels, for every eps > 0 and eps_a > 0: one eigenvalue of the step is above 1.
    Formula: mu = 1 - eps_a/2 + sqrt(eps_a^2/4 + eps_a tau) > 1,  tau = eps ||g||^2/sigma^2
    Problems: {PROBLEMS}; Jacobian of the printed update by complex differentiation, at a random saddle
    """
    # the two eigenvalues that couple a and w'g belong to a block that is not symmetric: its eigenvectors can be as
    # far from orthogonal as its off-diagonal elements differ
    return (
        saddle_growth(i),
        _saddle_jacobian(i),
        rounding(i.ops, (1 + saddle_growth(i)) * (1 + np.linalg.cond(_saddle_block(i)))),
    )


@chapter.claim("cai.linearisation", "identity", _critical)
def _(i: SimpleNamespace) -> Comparison:
    """At a minimiser a step has the eigenvalues 1 - eps_a (scale), 1 (along u), 1 - eps_hat lambda*_i.
    Formula: spec DF = {1 - eps_a} + {1 - eps_hat lambda*_i},  H* = H - (Hu)(Hu)'/(u'Hu),  eps_hat = eps/beta^2
    Problems: {PROBLEMS}; Jacobian of the printed update by complex differentiation, at w = beta u
    """
    return _linearised(i), _minimiser_spectrum(i), rounding(i.ops, 1 + i.eps_eff * i.top)


_false = chapter.variants
FALSE = {
    "w = u with a = E": _false.changed("cai.critical-points", best=lambda i: i.best * math.sqrt(i.p.E) * 1.1),
    "saddles are neutral": _false("cai.saddles-repel", theory=lambda i: 1.0),
    "tau with the norm of u": _false(
        "cai.saddles-repel",
        theory=lambda i: saddle_growth(SimpleNamespace(**(vars(i) | {"p": i.p._replace(g=i.p.u)}))),
    ),
    "the linearisation has H": _false(
        "cai.linearisation", theory=lambda i: np.sort(np.append(1 - i.eps_eff * i.problem.eigvals, 1 - i.eps_a))
    ),
    "eps_hat = eps/beta": _false.changed("cai.linearisation", eps_eff=lambda i: i.eps / abs(i.beta)),
}
