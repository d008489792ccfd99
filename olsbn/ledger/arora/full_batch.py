"""Auto rate-tuning of gradient descent [Arora, section 3 and appendix A], on least squares with BN.

One scale-invariant block, so m = 1; eta = eps, eta_g = eps_a, and every bound is a number, with the constants of
`olsbn.ledger.arora.smoothness`.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.arora.smoothness import l_va, l_vv, largest_scale
from olsbn.ledger.base import PROBLEMS, Chapter, Comparison, Cube, draw_problem, rounding
from olsbn.ledger.descent import bngd_paths

N_STEPS = 150


def auto_tuned(cube: Cube, share: float = 0.5) -> SimpleNamespace:
    """Runs of BNGD at 11 learning rates over ten decades, and the constants of the theory.

    `share` is the reading of the learning rate of the scale, eps_a = (1 - c_g)/(share L_aa): 1/2 as in Theorem 3.1.
    """
    problem = draw_problem(cube, dim=(2, 6), cond=(1.5, 100), tilt=2.0)
    c_g = 1 - cube.uniform(0.005, 0.995)
    eps_a = (1 - c_g) / share
    a0 = math.sqrt(problem.explained_var) * cube.log(1e-2, 1e2) * (1 if cube.unit() < 0.5 else -1)
    scale = largest_scale(problem, a0, min(eps_a, 2 - 1e-9))
    vv = l_vv(problem, scale)
    start = float(problem.w0 @ problem.w0)
    eps = start / l_vv(problem, math.sqrt(problem.explained_var)) * np.geomspace(1e-5, 1e5, 11)
    return SimpleNamespace(
        problem=problem, c_g=c_g, eps_a=eps_a, eps=eps, start=start, pi=math.pi,
        vv=vv, C=vv / 2 + l_va(problem) ** 2 / c_g,
        run=bngd_paths(problem, eps, eps_a, N_STEPS, a0=a0),
        # the excess, a gradient and a norm in some twenty sums of d terms
        ops=20 * problem.dim * problem.cond,
    )  # fmt: skip


def decrease(i: SimpleNamespace) -> FloatArray:
    """Return the bound of Lemma 3.2 on J_{t+1} - J_t."""
    r = i.run
    of_w = i.eps * r.grad_w**2 * (1 - i.C * i.eps / r.norm2)
    return (-of_w - i.c_g * i.eps_a * r.grad_a**2 / 2)[:-1]


def _first_phase(i: SimpleNamespace) -> FloatArray:
    """Return ||w||^2 just after the last time that it is at most 2 C eta (at the start if it never is)."""
    small = i.run.norm2[:-1] <= 2 * i.C * i.eps
    after = np.where(small.any(0), len(small) - np.argmax(small[::-1], axis=0), 0)
    return i.run.norm2[after, np.arange(i.eps.size)]


def _reach(i: SimpleNamespace) -> FloatArray:
    """Return the bound of eq. 19 on the growth in the first phase, over eta."""
    return 2 * i.C + (i.pi * i.vv) ** 2 * i.eps / i.start


def growth_bound(i: SimpleNamespace) -> FloatArray:
    """Return J_0 - J_min + K, the right-hand side of eq. 20."""
    return i.run.excess[0] + (i.C * i.eps / i.start + 0.5) * _reach(i)


def growth(i: SimpleNamespace) -> FloatArray:
    """Return the left-hand side of eq. 20 for every T."""
    r = i.run
    sums = np.concatenate([np.zeros((1, i.eps.size)), np.cumsum(r.grad_a**2, 0)[:-1]])
    return (r.norm2 - r.norm2[0]) / (2 * i.eps) + i.c_g * i.eps_a / 2 * sums


def _intrinsic(i: SimpleNamespace) -> FloatArray:
    """Return the squared gradient in the direction, at unit norm."""
    return i.run.norm2 * i.run.grad_w**2


def stationarity_bound(i: SimpleNamespace) -> FloatArray:
    """Return the bound on T min_t ||grad J(v_t, a_t)||^2, written out of the proof of Theorem 3.1."""
    A = growth_bound(i)
    return _of_growth(i, A, A)


def _of_growth(i: SimpleNamespace, norm: FloatArray, scale: FloatArray) -> FloatArray:
    """Return the sum of squared gradients that the growth of the norm and the gradients of the scale allow."""
    return 2 * norm * (2 * norm + i.start / i.eps) + 2 * scale / (i.c_g * i.eps_a)


def _grown(i: SimpleNamespace) -> FloatArray:
    """Return `_of_growth` for the growth that the run has, for T = 1, 2, ..."""
    norm = (i.run.norm2 - i.start)[1:] / (2 * i.eps)
    return _of_growth(i, norm, growth(i)[1:] - norm)


def stationarity(i: SimpleNamespace) -> FloatArray:
    """Return T min_{t<T} ||grad J(v_t, a_t)||^2 for T = 1, 2, ..."""
    least = np.minimum.accumulate(_intrinsic(i) + i.run.grad_a**2, 0)
    return np.arange(1.0, len(least))[:, None] * least[:-1]


_RUNS = (
    f"{PROBLEMS}, d <= 6, cond <= 100; 11 eta over ten decades, eps_a in (0, 2), a_0 of either sign over 4 decades; "
    f"{N_STEPS} steps"
)

chapter = Chapter(_RUNS=_RUNS, _T=str(N_STEPS))


@chapter.claim("arora.lemma-3.2", "upper", auto_tuned, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """A step lowers the loss once eta/||w||^2 is below 1/C, whatever eta is.
    Formula: J+ - J <= -eta ||grad_w J||^2 (1 - C eta/||w||^2) - c_g eta_g ||grad_a J||^2/2,
    C = L_vv/2 + L_va^2/(c_g L_aa)
    Problems: {_RUNS}
    Where: Lemma 3.2, eq. 12
    """
    return decrease(i), np.diff(i.run.excess, axis=0), rounding(i.ops, i.problem.explained_var + i.run.a[:-1] ** 2)


@chapter.claim("arora.lemma-3.2-other-eta", "upper", lambda cube: auto_tuned(cube, 1.0), n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """Lemma 3.2 holds for the learning rate of the text as well, half of the one in the theorem.
    Formula: the same with eta_g = (1 - c_g)/L_aa
    Problems: {_RUNS}
    Where: section 3.1
    Corrects: The text has eta_g = (1 - c_g)/L_gg,
    Theorem 3.1 has 2 (1 - c_g)/L_gg. Lemma 3.2 holds for both; only the second reaches the true edge eta_g L_gg = 2,
    and the proof uses it.
    """
    return decrease(i), np.diff(i.run.excess, axis=0), rounding(i.ops, i.problem.explained_var + i.run.a[:-1] ** 2)


@chapter.claim("arora.lemma-A.2-first-phase", "upper", auto_tuned, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """The weights leave the phase of large effective rates with a norm that is bounded.
    Formula: ||w_{t*+1}||^2 <= ||w_0||^2 + eta (2 C + (pi L_vv)^2 eta/||w_0||^2),  t* last with ||w||^2 <= 2 C eta
    Problems: {_RUNS}
    Where: Lemma A.2, 1, eq. 19
    """
    return i.start + i.eps * _reach(i), _first_phase(i), rounding(i.ops, i.run.norm2[-1])


@chapter.claim("arora.lemma-A.2", "upper", auto_tuned, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """The growth of the squared norm and the gradients of the scale are bounded for all times.
    Formula: (||w_T||^2 - ||w_0||^2)/(2 eta) + c_g eta_g sum ||grad_a||^2/2 <= J_0 - J_min + K,
    K = (C eta/||w_0||^2 + 1/2)(2 C + (pi L_vv)^2 eta/||w_0||^2)
    Problems: {_RUNS}
    Where: Lemma A.2, 2, eq. 20
    """
    return growth_bound(i), growth(i), rounding(i.ops, growth(i) + i.run.norm2 / i.eps)


@chapter.claim("arora.eq-11", "upper", auto_tuned, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """The gradients of the direction add up to what the growth of the norm allows.
    Formula: sum_{t<T} ||grad_v J||^2 <= ||w_T||^2 (||w_T||^2 - ||w_0||^2)/eta^2
    Problems: {_RUNS}
    Where: eq. 11
    """
    # the difference of squared norms cancels
    return (
        (i.run.norm2 * (i.run.norm2 - i.run.norm2[0]) / i.eps**2)[1:],
        np.cumsum(_intrinsic(i), 0)[:-1],
        rounding(i.ops * N_STEPS, (i.run.norm2**2)[1:] / i.eps**2),
    )


@chapter.claim("arora.theorem-3.1", "upper", auto_tuned, n_random=15, n_search=30)
def _(i: SimpleNamespace) -> Comparison:
    """For every eta > 0 the smallest gradient in T steps falls at least like T^-1/2: by what the run's own growth
    allows, which is attained, and by a constant that can be computed, which is far above that everywhere.
    Formula: T min_{t<T} ||grad J(v_t, a_t)||^2 <= F(B, D) <= F(A, A),  F(x, y) = 2 x (2 x + ||w_0||^2/eta) +
    2 y/(c_g eta_g),  B = (||w_T||^2 - ||w_0||^2)/(2 eta),  D = c_g eta_g sum ||grad_a||^2/2,  A = J_0 - J_min + K
    Problems: {_RUNS}; T = 1 to {_T} for the first bound, {_T} for the second
    Where: Theorem 3.1, eq. 10
    """
    grown = _grown(i)
    # the difference of squared norms cancels
    cancelled = rounding(i.ops * N_STEPS, (i.run.norm2**2)[1:] / i.eps**2)
    return (
        np.vstack([grown, stationarity_bound(i)]),
        np.vstack([stationarity(i), grown[-1:]]),
        np.vstack([cancelled, cancelled[-1:]]),
    )


_false = chapter.variants
FALSE = {
    "Lemma 3.2 without C": _false.changed("arora.lemma-3.2", C=lambda i: 0.0),
    "Lemma 3.2 with C smaller by cond": _false.changed("arora.lemma-3.2", C=lambda i: i.C / (3 * i.problem.cond)),
    "Lemma 3.2 with eta_g = 4 (1 - c_g)/L_gg": _false("arora.lemma-3.2", instance=lambda cube: auto_tuned(cube, 0.25)),
    "the text's eta_g with three times the decrease": _false.changed(
        "arora.lemma-3.2-other-eta", c_g=lambda i: 3 + 0 * i.c_g
    ),
    "the first phase ends where it began": _false("arora.lemma-A.2-first-phase", theory=lambda i: 1.01 * i.start),
    "the first phase is bounded by eta, without its square": _false(
        "arora.lemma-A.2-first-phase", theory=lambda i: i.start + i.eps * 2 * i.C
    ),
    "the norm grows by the loss alone": _false("arora.lemma-A.2", theory=lambda i: i.run.excess[0]),
    "eq. 11 with the norm at the start": _false(
        "arora.eq-11", theory=lambda i: (i.start * (i.run.norm2 - i.run.norm2[0]) / i.eps**2)[1:]
    ),
    "the rate T^-1/2 without a constant": _false("arora.theorem-3.1", theory=lambda i: i.run.excess[0]),
    "a rate that does not see eta": _false("arora.theorem-3.1", theory=lambda i: 2 * i.run.excess[0] ** 2),
    "the rate T^-1/2, less 5 %": _false.scaled("arora.theorem-3.1", 0.95),
}
