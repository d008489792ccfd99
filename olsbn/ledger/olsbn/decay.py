"""BNGD with weight decay and no noise: it does not converge, it hovers at the edge of stability."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from olsbn.ledger.base import Chapter, Comparison, Cube
from olsbn.ledger.runs import slope
from olsbn.problems import OLSProblem
from olsbn.runs import run
from olsbn.theory import spectral_report

# eps times the weight decay
_DECAYS = np.array([0.008, 0.004, 0.002])


def _decayed(cube: Cube) -> SimpleNamespace:
    """Time averages of the effective rate and of the residual, for 16 problems, over the second half of a run."""
    d, n = cube.integer(3, 6), 16
    rng = cube.rng()
    cond = rng.uniform(1.5, 30, (n, 1))
    eigvals = cond ** np.sort(np.hstack([np.zeros((n, 1)), np.ones((n, 1)), rng.random((n, d - 2))]))
    u, w0 = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.standard_normal((2, n, d)))
    eps_eff, excess = np.empty((2, _DECAYS.size, n))
    for j, problem in enumerate(OLSProblem(*rows) for rows in zip(eigvals, u, w0, strict=True)):
        top = spectral_report(problem).eig_star_max
        for k, x in enumerate(_DECAYS):
            n_steps = int(16 / x)
            second = np.arange(n_steps // 2, n_steps)
            # half the edge of stability, were the norm that of u
            ran = run(problem, eps=1 / top, weight_decay=x * top, n_steps=n_steps, record=second)
            eps_eff[k, j] = ran.eps_eff.values[-second.size :].mean() * top / 2
            excess[k, j] = (ran.residual.values[-second.size :] ** 2).mean()
    return SimpleNamespace(eps_eff=eps_eff, excess=excess)


_PROBLEMS = (
    f"16 problems with one d in 3..6, cond in 1.5..30, u and w_0 uniform; eps lambda = {', '.join(map(str, _DECAYS))}, "
    "16/(eps lambda) steps; eps_a = 1"
)

chapter = Chapter(_PROBLEMS=_PROBLEMS)


@chapter.claim("olsbn.decay-converges", "counterexample", _decayed, refutes="upper", n_random=2, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """With weight decay and no noise BNGD does not converge, though GD does (to ridge regression): refuted is that its
    excess becomes small.
    Formula: mean excess over the second half of a run <= 1e-10  [false]
    Problems: {_PROBLEMS}
    Where: known before: Li, Arora, ICLR 2020
    """
    return 1e-10, i.excess


@chapter.claim("olsbn.decay-edge", "tight", _decayed, n_random=2, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The decay shrinks the norm until the effective rate is at the edge of stability, and there it stays: for weak
    decay, and most problems, to 1 %.
    Formula: median over problems of the mean of eps_hat lambda*_d/2 -> 1  [eps lambda = 0.002]
    Problems: {_PROBLEMS}
    Where: known before: Lobacheva et al., NeurIPS 2021; Lyu, Li, Arora, NeurIPS 2022
    """
    return 1.0, np.median(i.eps_eff[-1]), 0.01


@chapter.claim("olsbn.decay-excess", "order", _decayed, n_random=2, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The excess that it hovers at is in proportion to the decay.
    Formula: median over problems of the mean excess ~ (eps lambda)^1
    Problems: {_PROBLEMS}
    """
    return 1.0, slope(_DECAYS, np.median(i.excess, axis=1))


_false = chapter.variants
FALSE = {
    "it does not even come near": _false("olsbn.decay-converges", theory=lambda i: 1.0),
    "it hovers at half the edge": _false.changed("olsbn.decay-edge", eps_eff=lambda i: 2 * i.eps_eff),
    "it hovers 2 % below the edge": _false.scaled("olsbn.decay-edge", 0.98),
    "the excess goes with the root of the decay": _false("olsbn.decay-excess", theory=lambda i: 0.5),
}
