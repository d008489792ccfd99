"""GD with momentum, weight decay and schedules, step by step: every mode is a linear recursion of its own.

In the order of PyTorch's SGD, with e = w - u: ``b <- momentum b + H e + weight_decay (u + e)``, ``e <- e - eps_k b``.
The excess ``sum_i lambda_i e_i^2 / E`` is not convex in k with momentum or decay, so the first step within a tolerance
is found by looking at each; plain GD has its closed form in `olsbn.engine.gd`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.asked import ask, counted, empty_out
from olsbn.engine.compile import LANES, entry, helper
from olsbn.engine.coordinates import LARGEST, in_range
from olsbn.engine.lanes import CANCELLED, GOES_ON, empty, fill, move
from olsbn.engine.run import Run
from olsbn.engine.schedules import tables
from olsbn.engine.watch import MAX_SAMPLES, WATCH, begin, judge, momentum_ratio, settled_ratio
from olsbn.problems import OLSProblem
from olsbn.schema import EXCESS_LIMIT

_EXCESS, _EPS, _M, _DECAY, _Z, _B_Z = range(6)
_ROWS = 6


@dataclass(frozen=True)
class ErrorStart:
    """A problem as `steps_tile` iterates it: scaled by powers of two (see `coordinates.Coordinates`)."""

    eigvals: FloatArray
    share: FloatArray  # lambda_i / E
    u: FloatArray
    error: FloatArray  # w0 - u
    z0: float  # norm of w in the null space of H
    eps_exp: int
    w_exp: int

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged."""
        start = float((self.share * self.error * self.error).max())
        return min(EXCESS_LIMIT * max(1.0, start), LARGEST)


def prepare(problem: OLSProblem) -> ErrorStart:
    """Return the coordinates that `tile` iterates: O(d)."""
    eigval_exp = -math.frexp(problem.eigvals[-1])[1]
    with np.errstate(under="ignore", over="ignore"):
        eigvals = np.ldexp(problem.eigvals, eigval_exp)
        u, w_exp = in_range(problem.u, np.sqrt(eigvals))
        return ErrorStart(
            eigvals=eigvals,
            share=eigvals / math.fsum(eigvals * u * u),
            u=u,
            error=np.ldexp(problem.w0 - problem.u, w_exp),
            z0=float(np.ldexp(problem.w0_null_norm, w_exp)),
            eps_exp=-eigval_exp,
            w_exp=w_exp,
        )


@helper
def _pass(e, b, eigvals, share, u, t, eps, n_lanes):  # type: ignore[no-untyped-def]
    """Advance all modes and make the excess."""
    for j in range(n_lanes):
        t[_EXCESS, j] = 0.0
    for i in range(eigvals.size):
        h, p, s = eigvals[i], share[i], u[i]
        for j in range(n_lanes):
            x = e[i, j]
            y = t[_M, j] * b[i, j] + (h * x + t[_DECAY, j] * (s + x))
            x -= eps[j] * y
            b[i, j] = y
            e[i, j] = x
            t[_EXCESS, j] += p * x * x


@helper
def _begin(e, b, t, watch, eps, j, cell, error, z0, rates, momentum, decay):  # type: ignore[no-untyped-def]
    """Begin a cell in lane j; its first pass has eps = 0, no decay and no momentum, and leaves b to be cleared."""
    begin(watch, j, cell)
    fill(e, j, error)
    empty(b, j)
    t[_EPS, j], t[_M, j], t[_DECAY, j], t[_Z, j], t[_B_Z, j] = rates[cell], momentum[cell], decay[cell], z0, 0.0
    eps[j] = 0.0


@helper
def _slowest(error, u, eigvals, eps, momentum):  # type: ignore[no-untyped-def]
    """Return the largest ratio of a mode that the start excites; without decay each mode keeps to itself."""
    ratio = 0.0
    for i in range(error.size):
        if error[i] != 0.0:
            ratio = max(ratio, momentum_ratio(eps * eigvals[i], momentum))
    return ratio


@entry
def steps_tile(  # type: ignore[no-untyped-def]
    eigvals,
    share,
    u,
    error,
    z0,
    rates,
    momentum,
    decay,
    table,
    which,
    steady,
    asked,
    written,
):
    """Run every cell of a tile; all in the units of `ErrorStart`.

    Parameters
    ----------
    eigvals, share, u, error, z0 : float64[d], float64
        As in `ErrorStart`.
    rates, momentum, decay : float64[cells]
    table, which : float64[t, n_steps + 1], int64[cells]
        Factors of the learning rates, and which row is that of each cell.
    steady : bool[cells]
        Whether the excess has a contraction ratio: neither decay nor a schedule.
    asked : Ask
    written : Out
        Three counts; four numbers: excess, learning rate, squared norm of w, settled ratio of sqrt(excess) (NaN: none);
        in the trace the first three of them.
    """
    n_steps, tol, stop_at_tol, floor, limit, cancel = asked
    counts, numbers, record, trace = written
    n_cells, d = rates.size, eigvals.size
    e, b = np.zeros((d, LANES)), np.zeros((d, LANES))
    t, eps = np.zeros((_ROWS, LANES)), np.zeros(LANES)
    watch = np.zeros(LANES, dtype=WATCH)
    samples = np.zeros((LANES, MAX_SAMPLES))
    for k in range(n_cells):
        counts[k, 0] = CANCELLED
    active, next_cell = 0, 0
    while active < LANES and next_cell < n_cells:
        _begin(e, b, t, watch, eps, active, next_cell, error, z0, rates, momentum, decay)
        active, next_cell = active + 1, next_cell + 1

    while active > 0 and cancel[0] == 0:
        _pass(e, b, eigvals, share, u, t, eps, active)
        j = 0
        while j < active:
            cell, k = watch[j].cell, watch[j].step
            if k == 0:
                empty(b, j)
            excess = t[_EXCESS, j]
            ended = judge(
                watch, samples, j, excess, t[_DECAY, j] == 0.0, n_steps, tol, stop_at_tol, floor, limit
            )  # fmt: skip
            eps[j] = t[_EPS, j] * table[which[cell], k]
            kept = watch[j].next_record
            recorded = kept < record.size and record[kept] == k
            if recorded or ended != GOES_ON:
                norm2 = t[_Z, j] * t[_Z, j]
                for i in range(d):
                    w = u[i] + e[i, j]
                    norm2 += w * w
                if recorded:
                    trace[kept, cell, 0], trace[kept, cell, 1], trace[kept, cell, 2] = excess, eps[j], norm2
                    watch[j].next_record += 1
            if ended == GOES_ON:
                t[_B_Z, j] = t[_M, j] * t[_B_Z, j] + t[_DECAY, j] * t[_Z, j]
                t[_Z, j] -= eps[j] * t[_B_Z, j]
                watch[j].step += 1
                j += 1
                continue

            counts[cell, 0], counts[cell, 1], counts[cell, 2] = ended, watch[j].hit, k
            numbers[cell, 0], numbers[cell, 1], numbers[cell, 2], numbers[cell, 3] = excess, eps[j], norm2, np.nan
            if steady[cell]:
                ratio = settled_ratio(watch, samples, j)
                if _slowest(error, u, eigvals, eps[j], t[_M, j]) <= ratio * (1.0 + 1e-9):
                    numbers[cell, 3] = ratio

            if next_cell < n_cells:
                _begin(e, b, t, watch, eps, j, next_cell, error, z0, rates, momentum, decay)
                next_cell += 1
                j += 1
                continue
            # no cell is left: the last lane moves here, and is looked at next, so that lanes in use stay together
            active -= 1
            if j < active:
                move(e, j, active)
                move(b, j, active)
                move(t, j, active)
                eps[j] = eps[active]
                watch[j] = watch[active]
                samples[j, :] = samples[active, :]


def tile(x: ErrorStart, params: dict[str, FloatArray], run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run GD with momentum, weight decay and schedules; see `olsbn.engine.bngd.tile` for what comes back.

    Parameters
    ----------
    x : ErrorStart
        The problem, from `prepare`.
    params : dict of ndarray, each of shape (cells,)
        ``eps``, and any of ``momentum``, ``weight_decay``, ``eps_power``, ``eps_factor``.
    run : Run
        How far, and which steps to keep.
    """
    n = params["eps"].size
    zero, one = np.zeros(n), np.ones(n)
    momentum, decay = params.get("momentum", zero), params.get("weight_decay", zero)
    power, factor = params.get("eps_power", zero), params.get("eps_factor", one)
    out = empty_out(run, n, 3, 4, 3)
    with np.errstate(all="ignore"):
        table, which = tables(run.n_steps + 1, power, factor)
        steps_tile(
            x.eigvals, x.share, x.u, x.error, x.z0, np.ldexp(params["eps"], x.eps_exp), momentum,
            np.ldexp(decay, -x.eps_exp), table, which, (decay == 0) & (power == 0) & (factor == 1),
            ask(run, x.limit()), out,
        )  # fmt: skip

        def columns(values: FloatArray) -> dict[str, Any]:
            return {
                "excess": values[..., 0],
                "a": np.full(values.shape[:-1], np.nan),  # GD has no BN scale
                "w_norm": np.ldexp(np.sqrt(values[..., 2]), -x.w_exp),
                "eps_eff": np.ldexp(values[..., 1], -x.eps_exp),
            }

        return (
            counted(out) | columns(out.numbers) | {"rate_sim": out.numbers[:, 3]},
            columns(out.trace) | {"residual": np.sqrt(out.trace[..., 0])},
        )
