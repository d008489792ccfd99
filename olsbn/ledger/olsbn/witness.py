"""Two kernels that share no coordinates, each an independent check of the other."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.base import MACHEPS, Chapter, Comparison, Cube, Skip
from olsbn.ledger.runs import FORMS, iterated
from olsbn.problems import OLSProblem

_RECORD = np.append(0, np.unique(np.geomspace(1, 400, 12).astype(int)))
_SEEN = 1e-280  # a smaller excess nears what underflows
_MOVED = 1e-15  # how far starts are moved to see what the dynamics makes of a rounding
_TIMES = 100  # every step rounds, not the start alone
_SADDLE = 1e-2  # deflated coordinates round a/sqrt(E) by an ulp over its distance from 0, where the saddles are


def any_problem(cube: Cube) -> OLSProblem:
    """Draw a problem of any kind: eigenvalues that repeat, u_i = 0, tiny u_i, sparse starts, none of each in half."""
    d, cond = round(cube.log(2, 200)), cube.log(1, 1e8)
    repeated, silent, tiny, sparse = (max(0.0, 2 * cube.unit() - 1) for _ in range(4))
    rng = cube.rng()
    eigvals = cond ** np.append([0.0, 1.0], rng.random(d - 2))
    eigvals = np.where(rng.random(d) < repeated, eigvals[rng.integers(0, d, d)], eigvals)
    u, w0 = rng.standard_normal((2, d))
    u *= np.where(rng.random(d) < tiny, 10.0 ** (-12 * rng.random(d)), 1.0)
    u[rng.random(d) < silent], w0[rng.random(d) < sparse] = 0.0, 0.0
    if not u.any() or not w0.any():
        raise Skip
    return OLSProblem(eigvals, u, w0)


def moved_start(p: OLSProblem, rng: np.random.Generator) -> OLSProblem:
    """Move a start: each number by 1e-15 of itself and, but where u_i = 0, by 1e-15 of the whole."""
    size = np.where(p.u != 0, np.sqrt(p.eigvals @ p.w0**2 / p.dim / p.eigvals), 0.0)
    by = _MOVED * (p.w0 * rng.standard_normal(p.dim) + size * rng.standard_normal(p.dim))
    return OLSProblem(p.eigvals, p.u, p.w0 + by, p.a0)


def two_kernels(cube: Cube, shift: float = 0.0) -> SimpleNamespace:
    """Run a problem by both kernels, and by each from moved starts; the second one at learning rates off by `shift`.

    `error` and `moved` are differences of the logarithm of excess, ``||w||`` and eps_eff and of a/sqrt(E), at every
    recorded step of every cell that is not flagged, as long as its excess is above what underflows.
    """
    problem = any_problem(cube)
    scale = math.sqrt(problem.explained_var)
    if abs(problem.a0) < _SADDLE * scale:
        raise Skip
    rng = cube.rng()
    unit = float(problem.w0 @ problem.w0 / (problem.u @ problem.u)) / problem.eigvals[-1]
    eps, eps_a = unit * 10 ** rng.uniform(-2, 6, 24), rng.uniform(0, 2, 24)

    def run(problem: OLSProblem, form: str) -> tuple[FloatArray, SimpleNamespace]:
        at = eps * (1 + shift) if form == "deflated" else eps
        cells, trace = iterated(problem, form, at, eps_a, 400, _RECORD)
        with np.errstate(all="ignore"):
            logs = [np.log(np.abs(trace[name])) for name in ("excess", "w_norm", "eps_eff")]
        more = SimpleNamespace(status=cells["status"], marked=trace["by_rounding"], end=cells["by_rounding"])
        return np.array([*logs, trace["a"] / scale]), more

    (star, first), (deflated, second) = (run(problem, form) for form in FORMS)
    moved = [
        np.abs(run(moved_start(problem, rng), form)[0] - found)
        for form, found in zip(FORMS, (star, deflated), strict=True)
        for _ in range(4)
    ]
    seen = ~first.marked & (np.minimum(star[0], deflated[0]) > math.log(_SEEN))
    if not seen.any():
        raise Skip
    steps = np.broadcast_to((_RECORD + problem.dim)[:, None], seen.shape)[seen]
    return SimpleNamespace(
        error=np.abs(star - deflated)[:, seen],
        allowed=_TIMES * (np.max(moved, 0)[:, seen] + MACHEPS * steps),
        different=int(np.sum((first.status != second.status) & ~first.end)),
        marked=int(first.end.sum()),
    )


_ANY = (
    "d in 2..200, log-uniform spectrum, cond in 1..1e8; in half of them each repeated eigenvalues, u_i = 0, u_i down "
    "to 1e-12, sparse starts; |w_0'g| >= sigma_0 sqrt(E)/100, for deflated coordinates lose digits at saddles; 24 "
    "cells, eps over 8 decades, eps_a in 0..2"
)

chapter = Chapter(_ANY=_ANY)


@chapter.claim("olsbn.two-kernels", "upper", two_kernels)
def _(i: SimpleNamespace) -> Comparison:
    """The eigenbasis of H* and deflated coordinates, which share no number, give the same run, where it is not flagged:
    they differ by no more than 100 times what a start moved by 1e-15 and a rounding a step make.
    Formula: |Delta log excess|, |Delta log ||w|||, |Delta log eps_hat|,
    |Delta a|/sqrt(E) <= 100 (moved + (k + d) 2^-52)
    Problems: {_ANY}; 13 steps k in 0..400; moved: the largest change in 4 trials of each kernel
    """
    return i.allowed, i.error


@chapter.claim("olsbn.two-kernels-status", "identity", two_kernels)
def _(i: SimpleNamespace) -> Comparison:
    """Both kernels say the same of every cell that is not flagged: converged or not, or how it ended.
    Formula: cells with different status = 0
    Problems: {_ANY}; 400 steps, tol = 1e-10
    """
    return 0.0, i.different


_false = chapter.variants
FALSE = {
    "two kernels, one at learning rates off in the tenth digit": _false(
        "olsbn.two-kernels", instance=lambda cube: two_kernels(cube, 1e-9)
    ),
    "two kernels, one at twice the learning rates": _false(
        "olsbn.two-kernels-status", instance=lambda cube: two_kernels(cube, 1.0)
    ),
}
