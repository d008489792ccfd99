r"""The sharpness of BN's loss: the Hessian in w in closed form, H and a change of rank two.

d^2 J/dw dw = (a/sigma^3) (w'g H + g (Hw)' + (Hw) g' - 3 (w'g/sigma^2) (Hw)(Hw)')
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn.ledger import textbook
from olsbn.ledger.arora.smoothness import POINTS, point
from olsbn.ledger.base import Chapter, Comparison, Cube, draw_problem, rounding
from olsbn.ledger.olsbn.cycle import star_modes


def hessian(p: textbook.Dense, w: Any, a: Any) -> Any:
    """Return the second derivative of the loss in w."""
    Hw, s, wg = p.H @ w, textbook.sigma(p, w), w @ p.g
    change = np.outer(p.g, Hw) + np.outer(Hw, p.g) - 3 * wg / s**2 * np.outer(Hw, Hw)
    return a / s**3 * (wg * p.H + change)


def _minimiser(cube: Cube) -> SimpleNamespace:
    """A minimiser beta u of any scale, and a learning rate."""
    problem, beta, eps = draw_problem(cube, dim=(2, 8), cond=(1.5, 100)), cube.log(0.1, 10), cube.log(1e-2, 1e2)
    p = textbook.dense(problem, cube.rng())
    top = float(np.linalg.eigvalsh(hessian(p, beta * p.u, math.sqrt(p.E)))[-1])
    return SimpleNamespace(
        problem=problem, eps=eps, found=eps * top, theory=eps / beta**2 * float(star_modes(problem).eigvals[-1]),
        ops=40 * problem.dim * problem.cond,
    )  # fmt: skip


chapter = Chapter(POINTS=POINTS)


@chapter.claim("olsbn.sharpness", "identity", point, n_search=60)
def _(i: SimpleNamespace) -> Comparison:
    """The Hessian of BN's loss in w is a multiple of H and a change of rank two.
    Formula: d^2 J/dw dw = (a/sigma^3) (w'g H + g (Hw)' + (Hw) g' - 3 (w'g/sigma^2) (Hw)(Hw)')
    Problems: {POINTS}
    """
    size = np.linalg.norm(i.vv, 2) + i.a * math.sqrt(i.p.E) / float(i.w @ i.w) * i.problem.cond
    return i.vv, hessian(i.p, i.w, i.a), rounding(i.ops, size)


@chapter.claim("olsbn.sharpness-edge", "identity", _minimiser, n_search=40)
def _(i: SimpleNamespace) -> Comparison:
    """At a minimiser eps times the sharpness is eps_hat lambda*_d: the edge of stability at 2 is that of the sharpness.
    Formula: eps lambda_max(d^2 J/dw dw) = eps_hat lambda*_d
    Problems: {PROBLEMS}, d <= 8, cond <= 100, minimisers beta u with beta over 2 decades, eps over 4
    """
    return i.theory, i.found, rounding(i.ops, i.theory)


_false = chapter.variants
FALSE = {
    "the Hessian has 2 for 3": _false(
        "olsbn.sharpness",
        measured=lambda i: (
            hessian(i.p, i.w, i.a)
            + i.a * (i.w @ i.p.g) / textbook.sigma(i.p, i.w) ** 5 * np.outer(i.p.H @ i.w, i.p.H @ i.w)
        ),
    ),
    "the sharpness is that of H": _false(
        "olsbn.sharpness-edge",
        theory=lambda i: i.theory * float(i.problem.eigvals[-1]) / float(star_modes(i.problem).eigvals[-1]),
    ),
}
