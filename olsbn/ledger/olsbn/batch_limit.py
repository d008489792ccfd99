"""Where mini-batch BN ends: the scale of batches is not that of the population.

Without noise in the targets the direction converges, and the scale averages what each batch says of it: the standard
deviation of the batch's outputs over that of all outputs.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
from scipy import special

from olsbn._validate import FloatArray
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip
from olsbn.problems import OLSProblem
from olsbn.runs import run
from olsbn.sweeps.running import sweep

_REPLICATES, _RECORDS, _BURN_IN, _EVERY = 32, 40, 600, 50


def gaussian_limit(m: int) -> float:
    """Return b(m), the mean of the standard deviation of m standard Gaussian numbers about their mean."""
    return math.sqrt(2 / m) * math.exp(special.gammaln(m / 2) - special.gammaln((m - 1) / 2))


def _averaged(problem: OLSProblem, m: int, sampling: str) -> SimpleNamespace:
    """Time averages of the scale of many replicates after the direction has converged, and their excess."""
    eps = 0.3 * float(problem.w0 @ problem.w0 / (problem.u @ problem.u)) / float(problem.eigvals[-1])
    record = _BURN_IN + _EVERY * np.arange(_RECORDS)
    ds = sweep(
        problem, method="minibatch", sampling=sampling, eps=eps, eps_a=0.05, batch_size=m,
        replicate=list(range(_REPLICATES)), n_steps=int(record[-1]), record=record.tolist(), progress=False,
    )  # fmt: skip
    scale = np.abs(ds.a.transpose("step", "replicate").values) / math.sqrt(problem.explained_var)
    excess = ds.excess.transpose("step", "replicate").values
    mean = scale.mean(0)
    return SimpleNamespace(
        m=m, found=float(mean.mean()), error=float(mean.std(ddof=1)) / math.sqrt(_REPLICATES),
        apart=float(np.abs(excess - (1 - scale) ** 2).max()),
    )  # fmt: skip


def _gaussian(cube: Cube) -> SimpleNamespace:
    """Fresh batches of Gaussian rows."""
    d, m, cond = cube.integer(2, 4), cube.integer(4, 32), cube.log(1, 4)
    rng = cube.rng()
    eigvals = np.geomspace(1, cond, d)
    return _averaged(OLSProblem(eigvals, *rng.standard_normal((2, d))), m, "gaussian")


def _heavy(cube: Cube) -> SimpleNamespace:
    """Batches of a small sample with heavy tails; all of them are listed for the limit."""
    m, n_batches, d = cube.integer(3, 5), cube.integer(2, 3), cube.integer(1, 3)
    rng = cube.rng()
    X = rng.standard_t(2, (m * n_batches, d))
    y = X @ rng.standard_normal(d)
    problem = OLSProblem.from_samples(X, y)
    if problem.cond > 10:
        raise Skip
    i = _averaged(problem, m, "epoch")
    i.limit = float(np.mean([y[list(rows)].std() for rows in itertools.combinations(range(y.size), m)]) / y.std())
    return i


def _orders(cube: Cube) -> SimpleNamespace:
    """Mean excess, once settled, with rows in one fixed order and in a new order each epoch, for several orders."""
    n, m, d, noise = 64, 16, cube.integer(2, 5), cube.log(0.5, 2)
    rng = cube.rng()
    X = rng.standard_normal((n, d))
    y = X @ rng.standard_normal(d) + noise * rng.standard_normal(n)
    problem = OLSProblem.from_samples(X, y)
    eps = 0.02 * float(problem.w0 @ problem.w0 / (problem.u @ problem.u)) / float(problem.eigvals[-1])
    epochs = 600
    found = np.empty((2, 12))
    for k in range(12):
        single = np.tile(rng.permutation(n).reshape(-1, m), (epochs, 1))
        fresh = np.concatenate([rng.permutation(n).reshape(-1, m) for _ in range(epochs)])
        for j, rows in enumerate((single, fresh)):
            last = np.arange(len(rows) // 2, len(rows))
            ran = run(problem, "minibatch", n_steps=len(rows), batches=rows, eps=eps, eps_a=0.02, record=last)
            found[j, k] = _tail(ran.residual.values, last.size)
    return SimpleNamespace(single=found[0], fresh=found[1])


def _tail(residual: FloatArray, n: int) -> float:
    return float((residual[-n:] ** 2).mean())


chapter = Chapter()


@chapter.claim("olsbn.batch-limit", "tight", _gaussian, n_random=6, n_search=4)
def _(i: SimpleNamespace) -> Comparison:
    """Mini-batch BN on fresh Gaussian rows ends at a scale too small for the population.
    Formula: mean of a/sqrt(E) -> b(m) = sqrt(2/m) Gamma(m/2)/Gamma((m - 1)/2)  [to six standard errors]; there
    excess = (1 - a/sqrt(E))^2
    Problems: d in 2..4, cond in 1..4, batches of 4..32, no noise, eps_a = 0.05; 32 replicates, 40 times 50
    steps apart
    """
    return [gaussian_limit(i.m), 0.0], [i.found, i.apart], [6 * i.error, 1e-9]


@chapter.claim("olsbn.batch-limit-sample", "tight", _heavy, n_random=6, n_search=4)
def _(i: SimpleNamespace) -> Comparison:
    """On a sample it ends at the mean over all batches of their own standard deviation, whatever the rows are.
    Formula: mean of a/sqrt(E) -> mean over batches of sd_B(y)/sd(y)  [to six standard errors]
    Problems: 6..15 rows with the heavy tails of Student's t with 2 degrees of freedom, d in 1..3, cond <= 10, batches
    of 3..5 in a new order each epoch, no noise; 32 replicates, 40 times 50 steps apart
    """
    return i.limit, i.found, 6 * i.error


@chapter.claim("olsbn.single-shuffle", "lower", _orders, n_random=2, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """At a small learning rate one fixed order of rows leaves at least twice the excess that a new order each epoch
    leaves (observed; 5 to 30 times is usual): its batches have a minimiser of their own, and that stays.
    Formula: median over orders of mean ||e||_H^2: one order >= 2 times a new order each epoch
    Problems: samples of 64 rows, d in 2..5, noise from half to twice one input's part, batches of 16; 12 orders, 600
    epochs, the second half counts
    Where: with BN known before: Wu, Yun, Sra, ICML 2023
    """
    return 2 * np.median(i.fresh), np.median(i.single)


_false = chapter.variants
FALSE = {
    "batches have the scale of the population": _false("olsbn.batch-limit", theory=lambda i: [1.0, 0.0]),
    "the limit is the root of (m - 1)/m": _false(
        "olsbn.batch-limit", theory=lambda i: [math.sqrt((i.m - 1) / i.m), 0.0]
    ),
    "heavy tails have the Gaussian limit": _false("olsbn.batch-limit-sample", theory=lambda i: gaussian_limit(i.m)),
    "one order is at most twice as bad": _false("olsbn.single-shuffle", kind="upper"),
    "new orders leave twice the excess": _false(
        "olsbn.single-shuffle", theory=lambda i: 2 * np.median(i.single), measured=lambda i: np.median(i.fresh)
    ),
}
