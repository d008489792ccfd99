r"""The constants of smoothness [Arora, section 2.4 and Lemma A.1], for least squares with BN.

With z = H^(1/2) w/sigma and p = H^(1/2) u = sqrt(E) (z cos t + n sin t), n a unit vector perpendicular to z, the
derivatives of the loss in w are

    grad = -a sqrt(E) sin t  H^(1/2) n/sigma,
    Hessian = a sqrt(E)/sigma^2  H^(1/2) [cos t (I - zz') + sin t (nz' + zn')] H^(1/2).

The bracket has the norm (|cos t| + sqrt(cos^2 t + 4 sin^2 t))/2, at most 2/sqrt(3), where cos^2 t = 1/3; and sigma^2
is at least lambda_min on the unit sphere. So

    L_vv <= (2/sqrt 3) cond sqrt(E) max|a|,   L_va <= sqrt(cond E),   L_aa = 1.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, draw_problem, rounding
from olsbn.problems import OLSProblem

L_VV = 2 / math.sqrt(3)


def largest_scale(problem: OLSProblem, a0: float, eps_a: float) -> float:
    """Return the largest |a| that BNGD can reach, for 0 < eps_a < 2."""
    return max(abs(a0), math.sqrt(problem.explained_var) * eps_a / (1 - abs(1 - eps_a)))


def l_vv(problem: OLSProblem, scale: float) -> float:
    """Return a bound for the second derivative in w on the unit sphere, for |a| up to `scale`."""
    return L_VV * problem.cond * math.sqrt(problem.explained_var) * scale


def l_va(problem: OLSProblem) -> float:
    """Return a bound for the mixed derivative in w and a on the unit sphere."""
    return math.sqrt(problem.cond * problem.explained_var)


def gradient(p: textbook.Dense, w: Any, a: Any) -> Any:
    """Return the gradient of the loss in w."""
    return -(a / textbook.sigma(p, w)) * (p.g - textbook.q(p, w) * (p.H @ w))


def point(cube: Cube) -> SimpleNamespace:
    """Return a point w that leans to either end of the spectrum, with the derivatives there."""
    problem = draw_problem(cube, cond=(1.001, 300), tilt=3.0)
    lean, norm, a = cube.uniform(-3, 1), cube.log(1e-2, 1e2), cube.log(1e-2, 1e2)
    rng = cube.rng()
    p = textbook.dense(problem, rng)
    eigvals, basis = np.linalg.eigh(p.H)
    w = basis @ (rng.standard_normal(problem.dim) * np.abs(eigvals) ** lean)
    w *= norm / np.linalg.norm(w)
    return SimpleNamespace(
        problem=problem, p=p, w=w, a=a, norm=norm,
        grad=gradient(p, w, a),
        vv=textbook.derivative(lambda z: gradient(p, z, a), w),
        va=gradient(p, w, 1.0),
        # a dozen products of H and a vector; sigma^2 is a sum of terms of size ||H|| ||w||^2
        ops=20 * problem.dim * problem.cond,
    )  # fmt: skip


def _extremal(cube: Cube) -> SimpleNamespace:
    """The points at which the constants are attained."""
    d, kappa, scale = cube.integer(2, 8), cube.log(1.5, 1e4), cube.log(0.1, 10)
    rng = cube.rng()
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    eigvals = scale * np.concatenate([[1.0], kappa ** rng.uniform(0, 1, d - 2), [kappa]])
    first, last = basis[:, 0], basis[:, -1]

    def dense(lam: FloatArray, u: FloatArray) -> textbook.Dense:
        H = basis @ (lam[:, None] * basis.T)
        H = (H + H.T) / 2
        return textbook.Dense(H, H @ u, u, u, float(u @ H @ u))

    def hessian(p: textbook.Dense, v: FloatArray) -> float:
        return float(np.linalg.norm(textbook.derivative(lambda z: gradient(p, z, 1.0), v), 2)) / math.sqrt(p.E)

    round_, along, across = dense(scale + 0 * eigvals, first), dense(eigvals, first), dense(eigvals, last)
    tilted = (first + math.sqrt(2.0) * last) / math.sqrt(3.0)  # cos^2 t = 1/3
    return SimpleNamespace(
        found=[
            hessian(round_, tilted),
            hessian(along, first) / kappa,
            np.linalg.norm(gradient(across, first, 1.0)) / math.sqrt(kappa * across.E),
        ],
        ops=20 * d * kappa,
    )


POINTS = (
    "d in 2..12, cond in 1..300, u and w leaning far to either end of the spectrum; rotated at random; ||w|| and a "
    "over 4 decades"
)

chapter = Chapter(POINTS=POINTS)


@chapter.claim("arora.l-vv", "upper", point, n_search=200)
def _(i: SimpleNamespace) -> Comparison:
    """The second derivative in the direction is bounded on the unit sphere, by a constant in closed form.
    Formula: ||d^2 J/dv^2|| <= L_vv = (2/sqrt 3) cond sqrt(E) max|a|
    Problems: {POINTS}
    Where: section 2.4, for least squares with BN
    """
    return l_vv(i.problem, i.a), np.linalg.norm(i.vv, 2) * i.norm**2, rounding(i.ops, l_vv(i.problem, i.a))


@chapter.claim("arora.l-va", "upper", point, n_search=200)
def _(i: SimpleNamespace) -> Comparison:
    """So is the mixed derivative in direction and scale.
    Formula: ||d^2 J/dv da|| <= L_va = sqrt(cond E)
    Problems: {POINTS}
    Where: section 2.4, for least squares with BN
    """
    return l_va(i.problem), np.linalg.norm(i.va) * i.norm, rounding(i.ops, l_va(i.problem))


@chapter.claim("arora.constants-attained", "identity", _extremal)
def _(i: SimpleNamespace) -> Comparison:
    """These constants are attained: 2/sqrt 3 for cond = 1, cond alone for w = u the lowest eigenvector, and L_va for w
    the lowest and u the highest.
    Formula: L_vv/(sqrt(E) a) = 2/sqrt 3 | >= cond | L_va = sqrt(cond E)
    Problems: d in 2..8, cond in 1.5..1e4
    Where: section 2.4, for least squares with BN
    """
    return [L_VV, 1.0, 1.0], i.found, rounding(i.ops)


@chapter.claim("arora.lemma-A.1", "upper", point)
def _(i: SimpleNamespace) -> Comparison:
    """The gradient in w is bounded by the smoothness of the direction.
    Formula: ||grad_w J|| <= pi L_vv/||w||
    Problems: {POINTS}
    Where: Lemma A.1, eq. 18
    Corrects: The text layer has no pi; the proof, along a geodesic, gives one.
    """
    return (
        math.pi * l_vv(i.problem, i.a) / i.norm,
        np.linalg.norm(i.grad),
        rounding(i.ops, l_vv(i.problem, i.a) / i.norm),
    )


_false = chapter.variants
FALSE = {
    "L_vv with cond alone": _false.scaled("arora.l-vv", 1 / L_VV),
    "L_vv with the root of cond": _false("arora.l-vv", theory=lambda i: l_vv(i.problem, i.a) / i.problem.cond**0.5),
    "L_va smaller by 5 %": _false.scaled("arora.l-va", 0.95),
    "L_va with cond to the power 1/4": _false("arora.l-va", theory=lambda i: l_va(i.problem) / i.problem.cond**0.25),
    "2/sqrt 3 for the lowest eigenvector too": _false("arora.constants-attained", theory=lambda i: [L_VV, L_VV, 1.0]),
    "the gradient does not grow like 1/||w||": _false(
        "arora.lemma-A.1", theory=lambda i: math.pi * l_vv(i.problem, i.a)
    ),
    "A.1 with the root of L_vv": _false(
        "arora.lemma-A.1", theory=lambda i: math.pi * math.sqrt(l_vv(i.problem, i.a)) / i.norm
    ),
}
