"""Singular H, as any sample with fewer rows than columns has it: which interpolating solution BNGD ends at.

No gradient moves the part z of w_0 in the null space of H. The predictor a w/sigma ends at u + z/beta, and beta is what
the effective rate says: eps_hat = eps/beta^2.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, draw_problem
from olsbn.ledger.runs import slope
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.runs import run
from olsbn.schema import Status
from olsbn.sweeps.running import sweep
from olsbn.theory import effective_rate_regimes

# The excess to which runs go: the direction, and with it beta, is then known to its root.
_SETTLED = 1e-20
_LIMIT = 1e-8


def _singular(cube: Cube) -> SimpleNamespace:
    """A problem with a null space, rotated at random, a start in and beside it, learning rates around the plateau."""
    full = draw_problem(cube, dim=(2, 6), cond=(1.5, 8))
    n_null, size = cube.integer(1, 6), cube.log(0.1, 10)
    momentum, decay, decades = max(0.0, cube.uniform(-0.8, 0.8)), cube.log(1e-4, 1e-2), cube.uniform(-0.5, 0.5)
    rng = cube.rng()
    d = full.dim + n_null
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    H = basis[:, : full.dim] @ (full.eigvals[:, None] * basis[:, : full.dim].T)
    u = basis[:, : full.dim] @ full.u
    z = basis[:, full.dim :] @ rng.standard_normal(n_null)
    z *= size * np.linalg.norm(full.w0) / np.linalg.norm(z)
    w0 = basis[:, : full.dim] @ full.w0 + z
    problem = OLSProblem.from_moments((H + H.T) / 2, H @ u, w0=w0)
    if problem.dim != full.dim:
        raise Skip
    eps = effective_rate_regimes(problem).eps_1 * 10.0**decades
    return SimpleNamespace(
        problem=problem, p=textbook.Dense(H, H @ u, u, w0, full.explained_var), null=basis[:, full.dim :],
        z=float(np.linalg.norm(z)), eps=eps, momentum=momentum, decay=decay,
    )  # fmt: skip


def _predictor(i: SimpleNamespace, n_steps: int, x: float = 0.0) -> FloatArray:
    """Return a w/sigma after some steps of the printed update with a dense H; `x` is eps times the weight decay."""
    w, a = i.p.w0, i.problem.a0
    b, b_a = 0 * w, 0.0
    for _ in range(n_steps):
        grad, grad_a = textbook.gradient(i.p, w, a)
        b, b_a = i.momentum * b + grad + x / i.eps * w, i.momentum * b_a + grad_a
        w, a = w - i.eps * b, a - b_a
    return np.asarray(a * w / textbook.sigma(i.p, w))


def _ended(cube: Cube) -> SimpleNamespace:
    """The norm of the null part of the predictor at the end: of the printed update, and by the engine's numbers."""
    i = _singular(cube)
    ran = run(i.problem, eps=i.eps, momentum=i.momentum, n_steps=4000, tol=_SETTLED, record=[0, 4000])
    if ran.attrs["status"] != "converged":
        raise Skip
    i.eps_eff = float(ran.eps_eff.values[-1])
    i.found = float(np.linalg.norm(i.null.T @ _predictor(i, 4000)))
    return i


def _decayed(cube: Cube) -> SimpleNamespace:
    """Null parts along a run with weight decay, without momentum; a and sigma are the engine's."""
    i = _singular(cube)
    i.momentum = 0.0
    i.steps = np.array([1, 3, 10, 30])
    ran = run(i.problem, eps=i.eps, weight_decay=i.decay / i.eps, n_steps=30, record=i.steps)
    cosine = np.sqrt(1 - ran.residual.values**2)
    # eps_hat = eps (a/sigma) w'g/sigma^2 and w'g = sigma sqrt(E) cosine
    i.scale = np.abs(ran.a.values) / np.sqrt(
        i.eps * np.abs(ran.a.values) * cosine * math.sqrt(i.p.E) / np.abs(ran.eps_eff.values)
    )
    i.found = [float(np.linalg.norm(i.null.T @ _predictor(i, int(k), i.decay))) for k in i.steps]
    return i


def _regimes(cube: Cube) -> SimpleNamespace:
    """Null parts at the end for eps below, on and above a wide plateau."""
    family = ProblemFamily("logspace", cube.log(5, 30), cube.integer(0, 2**31 - 1))
    full = family(cube.integer(100, 200))
    rng = cube.rng()
    n_null = cube.integer(1, 50)
    z = rng.standard_normal(n_null)
    z *= cube.log(0.1, 1) / np.linalg.norm(z)
    zeros = np.zeros(n_null)
    H = np.diag(np.append(full.eigvals, zeros))
    problem = OLSProblem.from_moments(H, np.append(full.eigvals * full.u, zeros), w0=np.append(full.w0, z))
    regimes = effective_rate_regimes(problem)
    if not regimes.decades > 1.5:
        raise Skip
    low, high = regimes.eps_1, regimes.eps_2
    ends = ((low / 300, low / 30), (3 * low, high / 3), (30 * high, 300 * high))
    i = SimpleNamespace(eps=np.array([np.geomspace(*end, 6) for end in ends]))
    ds = sweep(problem, eps=i.eps.ravel(), n_steps=2**20, tol=1e-8, stop="tol", progress=False)
    if (ds.status != Status.CONVERGED).any():
        raise Skip
    # what the norm of w says, whose growth is that of its part outside the null space
    beta2 = (ds.w_norm.values**2 - z @ z) / float(full.u @ full.u)
    i.null = (np.linalg.norm(z) / np.sqrt(beta2)).reshape(i.eps.shape)
    return i


chapter = Chapter()


@chapter.claim("olsbn.null-part", "tight", _ended, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """With a singular H the predictor of BNGD ends at u + z/beta, z the part of w_0 in the null space: of all
    solutions that interpolate, eps decides which. GD keeps z at every eps.
    Formula: ||null part of a w/sigma|| -> ||z|| sqrt(eps_hat/eps)
    Problems: rank 2..6, null space of 1..6 dimensions, cond <= 8, rotated; ||z|| from 0.1 to 10 times the rest of w_0;
    eps within a factor 3 of the plateau's edge, momentum up to 0.8 in half of them; predictor of the printed update
    with a dense H, eps_hat of the engine
    Where: for weight normalization: Wu, Dobriban et al., NeurIPS 2020
    """
    theory = i.z * math.sqrt(i.eps_eff / i.eps)
    return theory, i.found, _LIMIT * theory


@chapter.claim("olsbn.null-part-decay", "identity", _decayed, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """Weight decay removes the null part: it shrinks by the same factor at each step, and no gradient restores it.
    Formula: ||null part of a w/sigma|| at step k = (|a|/sigma) (1 - eps lambda)^k ||z||
    Problems: as olsbn.null-part without momentum, eps lambda in 1e-4..1e-2; steps 1, 3, 10, 30
    """
    theory = i.scale * (1 - i.decay) ** i.steps * i.z
    return theory, i.found, _LIMIT * theory


@chapter.claim("olsbn.null-part-regimes", "order", _regimes, n_random=2, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """So small eps leaves the most of it: the null part falls like eps^-1/2 on the plateau and like 1/eps beyond, and
    below the plateau it does not depend on eps.
    Formula: ||z||/|beta| ~ eps^0, eps^-1/2, eps^-1
    Problems: log-spaced spectra, rank 100..200, cond in 5..30, null space of 1..50 dimensions; 6 eps in each regime
    """
    return [0.0, -0.5, -1.0], [slope(x, y) for x, y in zip(i.eps, i.null, strict=True)]


_false = chapter.variants
FALSE = {
    "BNGD keeps the null part, as GD does": _false("olsbn.null-part", theory=lambda i: i.z),
    "the null part goes with eps_hat/eps": _false("olsbn.null-part", theory=lambda i: i.z * i.eps_eff / i.eps),
    "BNGD ends at the solution of least norm": _false(
        "olsbn.null-part", theory=lambda i: 0.0, allowed=lambda i: _LIMIT * i.z
    ),
    "decay leaves the null part alone": _false("olsbn.null-part-decay", theory=lambda i: i.scale * i.z),
    "the null part falls like eps^-1 on the plateau": _false(
        "olsbn.null-part-regimes", theory=lambda i: [0.0, -1.0, -1.0]
    ),
}
