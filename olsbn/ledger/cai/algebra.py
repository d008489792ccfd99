"""One step of the printed update: what it does to the residual, the loss and the norm."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import PROBLEMS, Chapter, Comparison, Cube, draw_problem, rounding

_STEP = f"{PROBLEMS}; rotated at random; a and the step length over 2 and 6 decades, eps_a in (0, 2)"


def one_step(cube: Cube) -> SimpleNamespace:
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


def energy(i: SimpleNamespace) -> float:
    """Return the excess loss by the formula, from residual and scale."""
    return float(i.e @ i.p.H @ i.e + (i.a - (i.w @ i.p.g) / i.s) ** 2) / 2


chapter = Chapter(_STEP=_STEP)


@chapter.claim("cai.excess", "identity", one_step)
def _(i: SimpleNamespace) -> Comparison:
    """The excess loss is half the squared H-norm of the residual and half the squared error of the scale.
    Formula: J - J_min = ||u - q w||_H^2/2 + (a - w'g/sigma)^2/2,  q = w'g/sigma^2
    Problems: {_STEP}
    """
    return energy(i), textbook.loss(i.p, i.w, i.a), rounding(i.ops, i.p.E + i.a**2)


@chapter.claim("cai.residual-norm", "identity", one_step)
def _(i: SimpleNamespace) -> Comparison:
    """The residual is H-orthogonal to the weights, and its H-norm follows from the correlation alone.
    Formula: w'He = 0,  ||e||_H^2 = E - (w'g)^2/sigma^2
    Problems: {_STEP}
    """
    return (
        [0.0, i.p.E - (i.w @ i.p.g) ** 2 / i.s**2],
        [i.w @ i.p.H @ i.e, i.e @ i.p.H @ i.e],
        rounding(i.ops, [i.s * math.sqrt(i.p.E), i.p.E]),
    )


@chapter.claim("cai.residual-projection", "identity", one_step)
def _(i: SimpleNamespace) -> Comparison:
    """A step multiplies the residual by I - eps_hat H and projects it, H-orthogonally, beside the new w.
    Formula: e+ = P (I - eps_hat H) e,  P the H-orthogonal projection onto {v: v'Hw+ = 0}, eps_hat = eps a q/sigma
    Problems: {_STEP}
    """
    return _projected(i), i.p.u - i.q_next * i.w_next, rounding(i.ops, i.vector_size)


@chapter.claim("cai.norm-growth", "identity", one_step)
def _(i: SimpleNamespace) -> Comparison:
    """The squared norm of w grows at each step by exactly the squared length of the step.
    Formula: ||w+||^2 = ||w||^2 + eps^2 (a^2/sigma^2) ||He||^2
    Problems: {_STEP}
    """
    return i.w @ i.w + i.chi**2 * np.sum((i.p.H @ i.e) ** 2), i.w_next @ i.w_next, rounding(i.ops, i.norm_size)


def _euclidean_projection(i: SimpleNamespace) -> FloatArray:
    v = i.e - i.eps_eff * (i.p.H @ i.e)
    return v - i.w_next * (i.w_next @ v) / (i.w_next @ i.w_next)


_false = chapter.variants
FALSE = {
    "no square on the scale's error": _false(
        "cai.excess", theory=lambda i: float(i.e @ i.p.H @ i.e + abs(i.a - (i.w @ i.p.g) / i.s)) / 2
    ),
    "no half": _false.scaled("cai.excess", 2),
    "Euclidean norm of the residual": _false("cai.residual-norm", measured=lambda i: [i.w @ i.e, i.e @ i.e]),
    "no square on sigma": _false("cai.residual-norm", theory=lambda i: [0.0, i.p.E - (i.w @ i.p.g) ** 2 / i.s]),
    "Euclidean projection": _false("cai.residual-projection", theory=_euclidean_projection),
    "effective rate without a": _false.changed("cai.residual-projection", eps_eff=lambda i: i.eps * i.q / i.s),
    "norm grows by the step, not its square": _false(
        "cai.norm-growth", theory=lambda i: i.w @ i.w + i.chi * np.sum((i.p.H @ i.e) ** 2)
    ),
}
