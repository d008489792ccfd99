r"""Mini-batch BN in ball arithmetic: one cell, with as many digits as it takes.

Iterated is the update as it is printed in `olsbn.dynamics.minibatch`: gradients as sums over the rows of a batch, which
is centred exactly. The rows are those that the kernel sees (``problem.sample.Z``, or its fresh draws), and the whole
sample is the problem's `eigvals`, `u` and `target_var`: all these float64, the start and the parameters are taken as
exact. A ball is a number with a bound on its error, and every operation rounds outward [Arb], so what is computed is
proved. The printed update loses some bits a step; precision is raised until the balls decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from olsbn import schema
from olsbn.balls import Ball, Exact, Undecided, load_flint, precision
from olsbn.problems import OLSProblem
from olsbn.schema import Status

_FIRST_BITS = 192
_MOST_BITS = 2**16
_WANTED_BITS = 64  # of every number that is handed out: more than float64 can hold
_LARGEST = 1e308  # the kernel's finite limit


def exact_cell(
    problem: OLSProblem,
    params: Mapping[str, float],
    n_steps: int,
    tol: float = 1e-10,
    stop: str = "steps",
    record: Any = (),
    *,
    seed: int = 0,
    sampling: str = "epoch",
    batches: Any = None,
    bits: int = _FIRST_BITS,
) -> Exact:
    """Run one cell of the method "minibatch" in ball arithmetic, with as many bits as it takes.

    Parameters
    ----------
    problem : OLSProblem
        Its numbers, those of its sample in its own coordinates, and the parameters are taken as exact.
    params : dict of str to float
        ``eps``, and any of ``eps_a``, ``batch_size``, ``replicate``, ``eps_power``, ``eps_a_power``,
        ``weight_decay``.
    n_steps, tol, stop
        As in `olsbn.sweep`.
    record : iterable of int, optional
        Steps whose numbers to keep; those after the end of the run are left out.
    seed, sampling, batches
        As in `olsbn.engine.minibatch.prepare`.
    bits : int, optional
        Precision to begin with.

    Returns
    -------
    Exact
        Status, steps and numbers, proved.

    Raises
    ------
    Undecided
        If 65536 bits do not decide, as where an excess equals the tolerance exactly.

    Notes
    -----
    Kind of guarantee: proof, up to the correctness of python-flint and of the printed formulas. Cost: O(batch_size d) a
    step, with some bits for each step.
    """
    given = {
        "eps_a": 1.0, "batch_size": 32, "replicate": 0, "eps_power": 0.0, "eps_a_power": 0.0, "weight_decay": 0.0,
        **{name: float(value) for name, value in params.items()},
    }  # fmt: skip
    rows = _rows(problem, given, n_steps, seed, sampling, batches)
    steps = set(record)
    while True:
        try:
            with precision(bits):
                found = _run(problem, given, rows, n_steps, tol, stop == "tol", steps, bits)
            if found.bits - found.bits_lost >= _WANTED_BITS:
                return found
            if bits >= _MOST_BITS:
                raise Undecided(n_steps)
        except Undecided:
            if bits >= _MOST_BITS:
                raise
        bits = min(2 * bits, _MOST_BITS)


def _rows(
    problem: OLSProblem, params: Mapping[str, Any], n_steps: int, seed: int, sampling: str, batches: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs (n_steps, m, d) and the targets (n_steps, m) of all steps, as float64."""
    from olsbn.engine import minibatch, streams

    x = minibatch.prepare(problem, seed, sampling, batches)
    m, replicate = int(params["batch_size"]), int(params["replicate"])
    if x.batches is None and sampling == "gaussian":
        X, y = np.empty((n_steps, m, problem.dim)), np.empty((n_steps, m))
        streams.all_fresh(streams.stream_key(seed, replicate, m), x.eigvals, x.u, x.noise, X, y)
        half = x.eigval_exp // 2
        return np.ldexp(X, -half), np.ldexp(y, -(x.u_exp + half))
    sample = problem.sample
    assert sample is not None  # or `prepare` refuses
    if x.batches is None:
        numbers = streams.drawn_rows(sampling, seed, replicate, m, sample.n, n_steps)
    else:
        numbers = x.batches[:n_steps]
    return sample.Z[numbers], sample.y[numbers]


def _run(
    problem: OLSProblem,
    params: Mapping[str, float],
    rows: tuple[np.ndarray, np.ndarray],
    n_steps: int,
    tol: float,
    stop_at_tol: bool,
    record: set[int],
    bits: int,
) -> Exact:
    flint = load_flint()
    arb = flint.arb
    h, u, w = ([arb(x) for x in vector.tolist()] for vector in (problem.eigvals, problem.u, problem.w0))
    d, a, null = len(h), arb(problem.a0), arb(problem.w0_null_norm)
    eps, eps_a, decay = (arb(params[name]) for name in ("eps", "eps_a", "weight_decay"))
    power, power_a = (arb(-params[name]) for name in ("eps_power", "eps_a_power"))
    hu = [x * y for x, y in zip(h, u, strict=True)]
    energy = _dot(hu, u)
    limit = arb(schema.EXCESS_LIMIT) * (1 + a * a / energy)
    limit = limit if limit <= _LARGEST else arb(_LARGEST)
    trace: dict[int, tuple[Ball, Ball, Ball, Ball]] = {}
    hit, low = -1, -2

    def numbers(k: int) -> tuple[Ball, Ball, Ball, Ball]:
        """Return excess, eps_eff, a and the norm of w, by the statistics of the whole sample."""
        hw = [x * y for x, y in zip(h, w, strict=True)]
        sigma2, wg = _dot(hw, w), _dot(hu, w)
        if not sigma2 > 0:
            raise Undecided(k)
        kappa = a / sigma2.sqrt()
        errors = [kappa * x - y for x, y in zip(w, u, strict=True)]
        excess = _dot([x * y for x, y in zip(h, errors, strict=True)], errors) / energy
        return excess, _factor(eps, power, k) * kappa * wg / sigma2, a, (_dot(w, w) + null * null).sqrt()

    def ended(status: Status, k: int, last: tuple[Ball, Ball, Ball, Ball]) -> Exact:
        kept = [*trace.values(), last]
        lost = max(_bits_lost(x, bits) for found in kept for x in found)
        return Exact(status, hit, k, *last, trace, bits, lost)

    if not problem.w0.any():
        return Exact(Status.DEGENERATE, -1, 0, arb.nan(), arb.nan(), a, null, {}, bits, 0)
    k = 0
    while True:
        now = numbers(k)
        excess = now[0]
        if k in record:
            trace[k] = now
        if not _at_most(excess, limit, k):
            return ended(Status.DIVERGED, k, now)
        if hit < 0 and _at_most(excess, arb(tol), k):
            hit = k
            if stop_at_tol:
                return ended(Status.CONVERGED, k, now)
        if _at_most(excess, arb(schema.EXCESS_FLOOR), k):
            if low == k - 1 and hit >= 0:
                return ended(Status.CONVERGED, k, now)
            low = k
        if k == n_steps:
            return ended(Status.CONVERGED if hit >= 0 else Status.MAX_STEPS, k, now)
        if (rows[0][k] == rows[0][k][:1]).all():  # no spread, whatever w is
            return ended(Status.DEGENERATE, k, now)
        X, targets = _centred(rows[0][k]), rows[1][k].tolist()
        m = len(targets)
        z = X * flint.arb_mat([[x] for x in w])
        sd = (_dot(z.entries(), z.entries()) / m).sqrt()
        if not sd > 0:
            raise Undecided(k)
        outputs = [x / sd for x in z.entries()]
        errors = [a * o - t for o, t in zip(outputs, targets, strict=True)]
        slope = _dot(errors, outputs) / m  # the gradient of a
        back = flint.arb_mat([[(e - slope * o) / m for e, o in zip(errors, outputs, strict=True)]])
        gradient = (back * X).entries()
        eps_k = _factor(eps, power, k)
        w = [x - eps_k * (a / sd * gradient[p] + decay * x) for p, x in zip(range(d), w, strict=True)]
        null -= eps_k * decay * null
        a -= _factor(eps_a, power_a, k) * slope
        if not all(x.is_finite() for x in w):
            raise Undecided(k)
        k += 1


def _centred(values: np.ndarray) -> Any:
    """Return the rows less their mean."""
    flint = load_flint()
    m = len(values)
    columns = [[flint.arb(x) for x in column] for column in values.T.tolist()]
    means = [sum(column, flint.arb(0)) / m for column in columns]
    return flint.arb_mat([[column[i] - mean for column, mean in zip(columns, means, strict=True)] for i in range(m)])


def _factor(rate: Ball, power: Ball, k: int) -> Ball:
    """Return ``rate (k + 1)^power``."""
    return rate if power == 0 else rate * load_flint().arb(k + 1) ** power


def _dot(x: list[Ball], y: list[Ball]) -> Ball:
    return sum((p * q for p, q in zip(x, y, strict=True)), load_flint().arb(0))


def _at_most(x: Ball, bound: Ball, step: int) -> bool:
    """Return whether x <= bound, if the balls can tell."""
    if x <= bound:
        return True
    if x > bound:
        return False
    raise Undecided(step)


def _bits_lost(x: Ball, bits: int) -> int:
    """Return how many of the bits of a number are not good; none of 0."""
    if x == 0 or x.is_nan():
        return 0
    return bits if not x.is_finite() else max(0, bits - int(x.rel_accuracy_bits()))
