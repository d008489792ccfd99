"""Plain GD in closed form: ``w_i - u_i = (w0 - u)_i (1 - eps lambda_i)^k``, by double-double powers."""

import math
from dataclasses import dataclass

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.compile import entry, helper, inline
from olsbn.engine.coordinates import Coordinates, in_range, limit_of, whole_norm
from olsbn.engine.ending import CANCELLED, CONVERGED, DIVERGED, MAX_STEPS, NON_FINITE
from olsbn.engine.run import Run
from olsbn.engine.step import COUPLED
from olsbn.problems import OLSProblem


@dataclass(frozen=True)
class Modes:
    """A problem as GD sees it: ``w_i - u_i = error_i (1 - eps lambda_i)^k``; units as in `Coordinates`."""

    eigvals: FloatArray
    weight: FloatArray  # lambda_i error_i^2 / E
    u: FloatArray
    start: FloatArray  # w0
    error: FloatArray  # w0 - u
    eps_exp: int
    w_exp: int
    w_null_norm: float

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged."""
        return limit_of(math.fsum(self.weight))

    def norm(self, squared: FloatArray) -> FloatArray:
        """Return the norm of w in the problem's units from the kernel's squared norm."""
        return whole_norm(squared, self.w_exp, self.w_null_norm)


def decouple(problem: OLSProblem) -> Modes:
    """Return `problem` in the coordinates of plain GD."""
    eigval_exp = -math.frexp(problem.eigvals[-1])[1]
    with np.errstate(under="ignore", over="ignore"):
        eigvals = np.ldexp(problem.eigvals, eigval_exp)
        u, w_exp = in_range(problem.u, np.sqrt(eigvals))
        start, error = np.ldexp(problem.w0, w_exp), np.ldexp(problem.w0 - problem.u, w_exp)
        weight = (eigvals * error) * error / math.fsum(eigvals * u * u)
    return Modes(eigvals, weight, u, start, error, -eigval_exp, w_exp, problem.w0_null_norm)


def errors(problem: OLSProblem) -> Coordinates:
    """Return `problem` as GD by steps iterates it: the error w - u of every mode."""
    x = decouple(problem)
    with np.errstate(all="ignore"):
        share = x.eigvals / math.fsum(x.eigvals * x.u * x.u)
    return Coordinates(
        numbers={COUPLED: {"lam": x.eigvals, "share": share, "u": x.u}},
        start={COUPLED: {"e": x.error}},
        begin={"null": 1.0},
        facts={},
        mu={COUPLED: x.eigvals},
        b={COUPLED: 0 * x.eigvals},
        scale=math.nan,  # GD has no BN scale
        limit=x.limit(),
        norm_scale=1.0,
        w_null_norm=x.w_null_norm,
        eigval_exp=-x.eps_exp,
        w_exp=x.w_exp,
        eps_exp=x.eps_exp,
    )


# -------------------------------------------------------------------- the kernel's face


def prepare(problem: OLSProblem) -> Modes:
    """Return the coordinates that `tile` iterates: O(d)."""
    return decouple(problem)


def tile(x: Modes, params: dict[str, FloatArray], run: Run) -> tuple[dict[str, np.ndarray], dict[str, FloatArray]]:
    """Run GD on cells with the learning rates ``params["eps"]``; see `olsbn.engine.bngd.tile` for what comes back.

    A trace goes on after a cell's end, for no step depends on the ones before it.
    """
    eps = params["eps"]
    counts, numbers = np.zeros((eps.size, 3), np.int64), np.full((eps.size, 3), np.nan)
    trace = np.full((run.record.size, eps.size, 2), np.nan)
    with np.errstate(all="ignore"):
        scaled = np.ldexp(eps, x.eps_exp)
        if run.record.size:
            gd_trace(x.eigvals, x.weight, x.u, x.start, scaled, run.record, run.cancel, trace)
        gd_tile(x.eigvals, x.weight, x.u, x.start, x.error, scaled, run.n_steps, run.tol,
                run.stop_at_tol, run.floor, x.limit(), run.cancel, counts, numbers)  # fmt: skip
        cells = {
            "status": counts[:, 0],
            "steps_to_tol": counts[:, 1],
            "n_steps_run": counts[:, 2],
            "excess": numbers[:, 0],
            "eps_eff": eps,
            "w_norm": x.norm(numbers[:, 1]),
            "a": np.full(eps.size, np.nan),  # GD has no BN scale
            "rate_sim": numbers[:, 2],
        }
        if run.check_rounding:
            cells["by_rounding"] = np.zeros(eps.size, bool)
        kept = {"by_rounding": np.zeros(trace.shape[:2], bool)} if run.check_rounding else {}
        return cells, kept | {
            "excess": trace[..., 0],
            "residual": np.sqrt(trace[..., 0]),
            "a": np.full(trace.shape[:2], np.nan),
            "w_norm": x.norm(trace[..., 1]),
            "eps_eff": np.broadcast_to(eps, trace.shape[:2]).copy(),
        }


# -------------------------------------------------------------------- powers as double-doubles


@inline
def _two_product(a, b):  # type: ignore[no-untyped-def]
    """Return the product and its rounding error (Dekker), or no error where the splitting would overflow."""
    p = a * b
    if not abs(p) < 1e290 or abs(a) > 1e290 or abs(b) > 1e290:
        return p, 0.0
    t = 134217729.0 * a
    a1 = t - (t - a)
    a2 = a - a1
    t = 134217729.0 * b
    b1 = t - (t - b)
    b2 = b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


@inline
def _dd_product(a, a_low, b, b_low):  # type: ignore[no-untyped-def]
    """Return the product of two double-doubles, to about 100 bits."""
    p, e = _two_product(a, b)
    if abs(p) < 1e290:
        e += a * b_low + a_low * b
    high = p + e
    return high, (e - (high - p) if abs(high) < 1e290 else 0.0)


@inline
def _gd_base(eps, eigval):  # type: ignore[no-untyped-def]
    """Return 1 - eps*eigval as a double-double."""
    p, e = _two_product(eps, eigval)
    high = 1.0 - p
    if not abs(high) < 1e290:
        return high, 0.0
    back = high - 1.0
    low = (1.0 - (high - back)) + (-p - back) - e
    total = high + low
    return total, low - (total - high)


@helper
def _gd_excess_pair(table, n_bits, power, weight, k_bit):  # type: ignore[no-untyped-def]
    """Return the excess where `power` times base^(2^k_bit) stands (k_bit < 0: just `power`), and one step later."""
    here, there = 0.0, 0.0
    for i in range(weight.size):
        x, low = power[i, 0], power[i, 1]
        if k_bit >= 0:
            x, low = _dd_product(x, low, table[k_bit, i, 0], table[k_bit, i, 1])
        y, _ = _dd_product(x, low, table[0, i, 0], table[0, i, 1])
        if weight[i] != 0.0:  # a mode that is not excited stays so, also where its factor overflows
            here += weight[i] * x * x
            there += weight[i] * y * y
    return here, there


@helper
def _gd_advance(table, power, k_bit):  # type: ignore[no-untyped-def]
    for i in range(power.shape[0]):
        power[i, 0], power[i, 1] = _dd_product(power[i, 0], power[i, 1], table[k_bit, i, 0], table[k_bit, i, 1])


@helper
def _gd_at(table, n_bits, power, weight, k):  # type: ignore[no-untyped-def]
    """Set `power` to base^k and return the excess at k and at k + 1."""
    power[:, 0] = 1.0
    power[:, 1] = 0.0
    for b in range(n_bits):
        if (k >> b) & 1:
            _gd_advance(table, power, b)
    return _gd_excess_pair(table, n_bits, power, weight, -1)


@helper
def _gd_first(table, n_bits, power, weight, n_steps, level, falling):  # type: ignore[no-untyped-def]
    """Return the first step k <= n_steps with excess <= level (falling) or > level (rising), -1 if there is none.

    The excess is a sum of geometric sequences, hence convex in k: "above the level and still falling" holds up to a
    step and never again, and so does "not above the level" where it starts there. Each is found by binary lifting.
    """
    power[:, 0] = 1.0
    power[:, 1] = 0.0
    here, there = _gd_excess_pair(table, n_bits, power, weight, -1)
    if falling:
        going = here > level and there < here
    else:
        going = here <= level
    k = 0
    if going:  # find the last step at which it still goes on; the answer is one later
        for b in range(n_bits - 1, -1, -1):
            if k + (1 << b) > n_steps:
                continue
            here, there = _gd_excess_pair(table, n_bits, power, weight, b)
            still = (here > level and there < here) if falling else here <= level
            if still:
                k += 1 << b
                _gd_advance(table, power, b)
        k += 1
        if k > n_steps:
            return -1
        _gd_advance(table, power, 0)
        here, there = _gd_excess_pair(table, n_bits, power, weight, -1)
    if falling:
        return k if here <= level else -1
    return k if not here <= level else -1


@helper
def _gd_settled(table, power, weight, error):  # type: ignore[no-untyped-def]
    """Return whether the slowest mode that the start excites has taken over, for the powers held.

    One step multiplies the excess ``sum_i c_i``, ``c_i = weight_i power_i^2``, by the mean of base^2 under c, which
    lacks ``sum_i c_i (top^2 - base_i^2) / sum_i c_i`` to the limit top^2. That must be small beside top^2 and, for a
    ratio close to 1 says nothing by being close to 1, beside the distance of top^2 from 1.
    """
    top, top_low = 0.0, 0.0
    for i in range(weight.size):
        x, low = table[0, i, 0], table[0, i, 1]
        if x < 0.0:
            x, low = -x, -low
        if error[i] != 0.0 and (x > top or (x == top and low > top_low)):
            top, top_low = x, low
    lacking, total = 0.0, 0.0
    for i in range(weight.size):
        if error[i] != 0.0:
            x, low = table[0, i, 0], table[0, i, 1]
            if x < 0.0:
                x, low = -x, -low
            share = weight[i] * power[i, 0] * power[i, 0]
            lacking += share * (((top - x) + (top_low - low)) * (top + x))
            total += share
    small = max(1e-10 * min(top * top, abs((top - 1.0) + top_low) * (top + 1.0)), 1e-16 * top * top)
    return lacking <= small * total


@helper
def _squared_norm(power, u, start):  # type: ignore[no-untyped-def]
    """Return ``sum_i w_i^2``, w = (1 - power) u + power w0: far below u, w0 has digits that w0 - u lacks."""
    total = 0.0
    for i in range(u.size):
        w = u[i]
        if start[i] != u[i]:
            high = power[i, 0]
            w = ((1.0 - high) - power[i, 1]) * u[i] + high * start[i] if abs(high) < 1e150 else high * (start[i] - u[i])
        total += w * w
    return total


@entry
def gd_tile(eigvals, weight, u, start, error, eps, n_steps, tol, stop_at_tol, floor, limit, cancel, counts, numbers):  # type: ignore[no-untyped-def]
    """Run GD on every cell of a tile, in closed form: O(d log n_steps) a cell.

    ``excess_k = sum_i weight_i (1 - eps lambda_i)^(2k)`` with ``weight_i = lambda_i (w0 - u)_i^2 / E``; the powers are
    double-doubles, so the result is as good as its inputs for any k.

    Parameters
    ----------
    eigvals : float64[d]
        Eigenvalues of H.
    weight, u, start, error : float64[d]
        The weights above, the solution, w0 and ``w0 - u``.
    eps : float64[cells]
        Learning rates in the units of `eigvals`.
    n_steps, tol, stop_at_tol, floor, limit, cancel
        As in `olsbn.engine.deflated.deflated_tile`.
    counts : int64[cells, 3], written
        status, first step with excess <= tol (-1: none), last step.
    numbers : float64[cells, 3], written
        excess, squared norm of w, settled ratio of sqrt(excess) (NaN: none).
    """
    d = eigvals.size
    n_bits = 1
    while (1 << n_bits) <= n_steps + 1:
        n_bits += 1
    table = np.empty((n_bits, d, 2))
    power = np.empty((d, 2))
    for c in range(eps.size):
        counts[c, 0] = CANCELLED
    for c in range(eps.size):
        if cancel[0] != 0:
            return
        for i in range(d):
            table[0, i, 0], table[0, i, 1] = _gd_base(eps[c], eigvals[i])
        for b in range(1, n_bits):
            for i in range(d):
                x, low = table[b - 1, i, 0], table[b - 1, i, 1]
                table[b, i, 0], table[b, i, 1] = _dd_product(x, low, x, low)

        hit = _gd_first(table, n_bits, power, weight, n_steps, tol, True)
        over = _gd_first(table, n_bits, power, weight, n_steps, limit, False)
        low = hit if stop_at_tol else _gd_first(table, n_bits, power, weight, n_steps, floor, True)
        diverged = over >= 0 and not 0 <= low < over
        end = over if diverged else (low if low >= 0 else n_steps)
        if hit > end:
            hit = -1
        status = DIVERGED if diverged else (MAX_STEPS if hit < 0 else CONVERGED)
        excess, _ = _gd_at(table, n_bits, power, weight, end)
        if not excess < np.inf and status != DIVERGED:
            status = NON_FINITE
        norm = _squared_norm(power, u, start)
        counts[c, 0], counts[c, 1], counts[c, 2] = status, hit, end
        numbers[c, 0], numbers[c, 1], numbers[c, 2] = excess, norm, np.nan
        if end >= 1:
            x0, x1 = _gd_at(table, n_bits, power, weight, end - 1)
            if x0 > 0.0 and x1 < np.inf and _gd_settled(table, power, weight, error):
                numbers[c, 2] = math.sqrt(x1 / x0)


@entry
def gd_trace(eigvals, weight, u, start, eps, record, cancel, trace):  # type: ignore[no-untyped-def]
    """Write excess and squared norm of w at the steps `record` (ascending) of every cell into trace[r, cells, 2].

    The others are those of `gd_tile`.
    """
    d = eigvals.size
    n_bits = 1
    while record.size and (1 << n_bits) <= record[-1] + 1:
        n_bits += 1
    table = np.empty((n_bits, d, 2))
    power = np.empty((d, 2))
    for c in range(eps.size):
        for i in range(d):
            table[0, i, 0], table[0, i, 1] = _gd_base(eps[c], eigvals[i])
        for b in range(1, n_bits):
            for i in range(d):
                x, low = table[b - 1, i, 0], table[b - 1, i, 1]
                table[b, i, 0], table[b, i, 1] = _dd_product(x, low, x, low)
        power[:, 0] = 1.0
        power[:, 1] = 0.0
        k = np.int64(0)
        for r in range(record.size):
            if cancel[0] != 0:
                return
            ahead = record[r] - k
            for b in range(n_bits):
                if (ahead >> b) & 1:
                    _gd_advance(table, power, b)
            k = record[r]
            trace[r, c, 0], _ = _gd_excess_pair(table, n_bits, power, weight, -1)
            trace[r, c, 1] = _squared_norm(power, u, start)


@entry
def gd_iterate(eigvals, weight, error, eps, n_steps, excess):  # type: ignore[no-untyped-def]
    """Write the excess of steps 0..n_steps, iterating ``x_i <- (1 - eps lambda_i) x_i``: a check on the closed form."""
    x = np.ones(eigvals.size)
    for k in range(n_steps + 1):
        total = 0.0
        for i in range(eigvals.size):
            total += weight[i] * x[i] * x[i]
            x[i] -= eps * eigvals[i] * x[i]
        excess[k] = total
