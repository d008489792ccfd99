r"""BNGD in deflated coordinates: O(d) to set up, so that it serves any dimension.

Coordinates (see `olsbn.engine.coordinates`). Along the modes with ``u_i != 0`` the weights are
``w_i = u_i (beta + s_i)`` with ``sum_i p_i s_i = 0``, ``p_i = lambda_i u_i^2 / E``; along the modes with ``u_i = 0``
they are ``w_i`` itself. (Equal eigenvalues are one mode along u and one across it.) In units where ``sum p = 1``::

    V = sum p_i s_i^2 + sum_silent (lambda_i/E) w_i^2       S = sum p_i lambda_i s_i      L = sum p_i lambda_i
    sigma^2 = beta^2 + V     cos = beta/sigma     n = V/sigma^2 = sin^2     excess = n + delta^2,  delta = a - cos
    chi = eps a/sigma        A = chi beta/sigma^2 (= eps_eff)               B = chi n
    s_i <- s_i - lambda_i (A s_i - B) + C,   beta <- beta - C,   C = A S - B L,   w_i <- w_i - lambda_i A w_i (silent)
    delta <- (1 - eps_a) delta + (cos - cos_next)

The differences that vanish at a minimiser (s, n, delta) are the variables, so nothing cancels and every number keeps
its relative precision down to 1e-290. Drift of s along u has eigenvalue 1 and is projected out at each step
(``P = sum p_i s_i``, folded into the next update).

Execution. The lanes of a tile are grid cells, `LANES` at a time (`olsbn.engine.lanes`); the loop over modes runs
inside, with the three running sums and the three coefficients of every lane in vector registers
(`olsbn.engine.vectors`). Each lane's arithmetic is + - * / sqrt in a fixed order and never depends on its neighbours:
so the bits depend on neither lanes, threads, tiles nor processor. No fused multiply-add is formed, because none is
asked for.
"""

import math
from typing import Any

import numpy as np

from olsbn.engine.compile import LANES, entry, helper
from olsbn.engine.fastest import A_, B_, BETA, FAR, V_, begin_fastest, empty_fastest, follow_fastest, scale_fastest
from olsbn.engine.lanes import (
    CANCELLED,
    GOES_ON,
    LANE,
    begin_lane,
    empty,
    fill,
    fill_all,
    move,
    move_table,
    next_end,
    next_record,
    scale,
)
from olsbn.engine.rules import (
    HUGE,
    MAX_SAMPLES,
    ROW_A,
    ROW_B,
    ROW_BETA,
    ROW_C,
    ROW_COS,
    ROW_DELTA,
    ROW_EPS,
    ROW_EXCESS,
    ROW_KEEP,
    ROW_LEVEL,
    ROW_N,
    ROW_NEXT_BETA,
    ROW_P,
    ROW_PREVIOUS,
    ROW_S,
    ROW_V,
    ROWS,
    begin_table,
    empty_table,
    judge_and_sample,
    last_ratio,
    rescale_table,
    rescaling,
)
from olsbn.engine.vectors import VECTOR, WIDTHS, Writer, mode_pass, width

_LINEAR = 1e-24  # beta, and so the ratio, still moves like the root of the excess: by less than 1e-12 from here on
_TRACE = 2.0**-1000  # too small to change anything but what would underflow
_FILTER_STEPS = 12  # of the search for a hidden slower mode


# -------------------------------------------------------------------- the pass over the modes


def _write_modes(to: Writer, loop: Any) -> None:
    """``x -= lambda_i (A x - B) - C``; ``m = p_i x``; ``V += m x``, ``S += lambda_i m``, ``P += m``."""
    a, b, c = to.row(ROW_A), to.row(ROW_B), to.row(ROW_C)
    zeros = [to.constant(0.0) for _ in to.groups]
    sums = {row: to.slots(zeros) for row in (ROW_V, ROW_S, ROW_P)}
    with loop() as at:
        eigval, weight = to.mode(at.index, 2)
        for v in to.groups:
            x = to.state(at.index, v)
            pull = to.mul(eigval, to.sub(to.mul(a[v], x), b[v]))
            x = to.sub(to.add(x, c[v]), pull)
            to.put_state(at.index, v, x)
            m = to.mul(weight, x)
            to.increase(sums[ROW_V][v], to.mul(m, x))
            to.increase(sums[ROW_S][v], to.mul(eigval, m))
            to.increase(sums[ROW_P][v], m)
    for row, slots in sums.items():
        to.put_row(row, [to.builder.load(slot) for slot in slots])


def _write_silent(to: Writer, loop: Any) -> None:
    """``x -= lambda_i A x``, ``V += (lambda_i/E) x^2``; `_TRACE` is added: what has become 0 could never grow again."""
    a, sums = to.row(ROW_A), to.slots(to.row(ROW_V))
    with loop() as at:
        eigval, weight = to.mode(at.index, 2)
        for v in to.groups:
            x = to.state(at.index, v)
            x = to.sub(x, to.mul(eigval, to.mul(a[v], x)))
            x = to.add(x, to.constant(_TRACE))
            to.put_state(at.index, v, x)
            to.increase(sums[v], to.mul(to.mul(weight, x), x))
    to.put_row(ROW_V, [to.builder.load(slot) for slot in sums])


_modes_all, _modes_half, _modes_one = (mode_pass(_write_modes, n) for n in WIDTHS)
_silent_all, _silent_half, _silent_one = (mode_pass(_write_silent, n) for n in WIDTHS)


@helper
def _mode_pass(state, modes, silent_state, silent_modes, table, n_lanes):  # type: ignore[no-untyped-def]
    """Advance all modes of the first lanes; `n_lanes` is one of WIDTHS."""
    if n_lanes == LANES:
        _modes_all(state, modes, table)
        _silent_all(silent_state, silent_modes, table)
    elif n_lanes == VECTOR:
        _modes_one(state, modes, table)
        _silent_one(silent_state, silent_modes, table)
    else:
        _modes_half(state, modes, table)
        _silent_half(silent_state, silent_modes, table)


# -------------------------------------------------------------------- the scalars of a step


@helper
def _lane_pass(table, n_lanes, mean_eigval, limit):  # type: ignore[no-untyped-def]
    """From the sums of the first lanes make the next coefficients; return whether any of them needs a look."""
    events = 0
    for j in range(n_lanes):
        P = table[ROW_P * LANES + j]
        V = table[ROW_V * LANES + j] - P * P
        V = V if V > 0.0 else (V if V != V else 0.0)
        S = table[ROW_S * LANES + j] - P * mean_eigval
        beta = table[ROW_NEXT_BETA * LANES + j] + P
        sigma2 = beta * beta + V
        inverse = 1.0 / sigma2
        root = math.sqrt(sigma2) * inverse  # 1/sigma; the division and the root overlap
        n = V * inverse
        cos = beta * root
        # cos_prev - cos without cancellation, from cos^2 + n = 1, where both have one sign
        cos_prev = table[ROW_COS * LANES + j]
        n_prev = table[ROW_N * LANES + j]
        same = cos * cos_prev > 0.0
        top = n - n_prev if same else cos_prev - cos
        bottom = cos + cos_prev if same else 1.0
        delta = table[ROW_KEEP * LANES + j] * table[ROW_DELTA * LANES + j] + top / bottom
        excess = n + delta * delta
        chi = table[ROW_EPS * LANES + j] * (cos + delta) * root
        A = chi * cos * root
        B = chi * n
        C = A * S - B * mean_eigval
        table[ROW_A * LANES + j] = A
        table[ROW_B * LANES + j] = B + A * P
        table[ROW_C * LANES + j] = C - P
        table[ROW_BETA * LANES + j] = beta
        table[ROW_NEXT_BETA * LANES + j] = beta - C
        table[ROW_DELTA * LANES + j] = delta
        table[ROW_COS * LANES + j] = cos
        table[ROW_N * LANES + j] = n
        table[ROW_PREVIOUS * LANES + j] = table[ROW_EXCESS * LANES + j]
        table[ROW_EXCESS * LANES + j] = excess
        quiet = (excess > table[ROW_LEVEL * LANES + j]) & (excess <= limit) & (abs(A) + abs(B) < HUGE)
        events |= 0 if quiet else 1
    return events != 0


@helper
def _settled(first, second, last):  # type: ignore[no-untyped-def]
    """Return whether three samples of a ratio, well apart, show that it has converged.

    In the linear regime the excess is a sum of geometric sequences with positive weights, so the error of the one-step
    ratio itself decays geometrically: the two differences bound what is left of it (Aitken).
    """
    change, before = abs(last - second), abs(second - first)
    noise = 3e-14 * last
    if change <= noise and before <= noise:
        return True
    return change < 0.9 * before and change * change <= 1e-12 * last * (before - change)


@helper
def _hidden_ratio(table, state, modes, silent_state, silent_modes, j, x):  # type: ignore[no-untyped-def]
    """Return a lower bound of the contraction ratio of the slowest mode that the deviation of lane j holds a trace of.

    A slower mode with a tiny amplitude cannot be seen in the excess, where it enters squared, until it takes the
    lead: a ratio that has settled before that is not the asymptotic one. So the linear part of the step,
    ``T x = x - A lambda x + A sum(p lambda x)``, is used as a filter: ``T - mu`` with mu the Rayleigh quotient wipes
    out the leading mode and brings up those far from it, down to the level of rounding. T is symmetric in the weights
    p, hence ``||Tx||/||x||`` never exceeds its largest ratio, whatever x has become. Silent modes go their own way,
    each with a ratio that is known.
    """
    A, P = table[ROW_A * LANES + j], table[ROW_P * LANES + j]
    ratio = 0.0
    for i in range(silent_state.shape[0]):
        ratio = max(ratio, abs(1.0 - A * silent_modes[2 * i]))
    largest = 0.0
    for i in range(x.size):
        x[i] = state[i, j] - P
        largest = max(largest, abs(x[i]))
    if not 0.0 < largest < np.inf:
        return ratio
    for i in range(x.size):
        x[i] /= largest
    mu = 0.0
    for filtered in range(_FILTER_STEPS + 1):
        mean = 0.0
        for i in range(x.size):
            mean += modes[2 * i + 1] * x[i]
        S = 0.0
        for i in range(x.size):
            x[i] -= mean  # rounding along u, which T keeps
            S += modes[2 * i + 1] * modes[2 * i] * x[i]
        xx, xy, yy = 0.0, 0.0, 0.0
        for i in range(x.size):
            y = x[i] - A * (modes[2 * i] * x[i] - S)
            weight = modes[2 * i + 1]
            xx += weight * x[i] * x[i]
            xy += weight * x[i] * y
            yy += weight * y * y
        if not xx > 1e-250:  # nothing is left, or too little to square
            return ratio
        if filtered == 0:
            mu = xy / xx
        ratio = max(ratio, math.sqrt(yy / xx))
        for i in range(x.size):
            x[i] = x[i] - A * (modes[2 * i] * x[i] - S) - mu * x[i]
    return ratio


@helper
def _squared_norm(table, state, silent_state, u, j):  # type: ignore[no-untyped-def]
    """Return sum_i w_i^2 of lane j at the present step."""
    shift = table[ROW_BETA * LANES + j] - table[ROW_P * LANES + j]
    total = 0.0
    for i in range(state.shape[0]):
        w = u[i] * (state[i, j] + shift)
        total += w * w
    for i in range(silent_state.shape[0]):
        total += silent_state[i, j] * silent_state[i, j]
    return total


# -------------------------------------------------------------------- what is kept


@helper
def _rate(table, lanes, samples, state, modes, silent_state, silent_modes, j, x):  # type: ignore[no-untyped-def]
    """Return the settled ratio of sqrt(excess) of lane j, NaN where there is none."""
    n = lanes[j].n_samples
    if n < 4 or not table[ROW_EXCESS * LANES + j] <= _LINEAR:
        return np.nan
    last = last_ratio(table, j)
    # over the whole run and over its later part: the first alone mistakes a fast start for the rest
    if not _settled(samples[j, n // 3], samples[j, 2 * n // 3], last):
        return np.nan
    if not _settled(samples[j, n // 2], samples[j, 3 * n // 4], last):
        return np.nan
    slowest = _hidden_ratio(table, state, modes, silent_state, silent_modes, j, x)
    if table[ROW_DELTA * LANES + j] != 0.0:
        slowest = max(slowest, abs(table[ROW_KEEP * LANES + j]))
    return last if slowest <= last * (1.0 + 1e-9) else np.nan


@helper
def _record(table, lanes, active, now, record, state, silent_state, u, marks, trace):  # type: ignore[no-untyped-def]
    """Keep the numbers of every lane whose cell is at a step to record."""
    for j in range(active):
        r = lanes[j].next_record
        if r < record.size and record[r] == now - lanes[j].began:
            c = lanes[j].cell
            trace[r, c, 0] = table[ROW_EXCESS * LANES + j]
            trace[r, c, 1] = table[ROW_N * LANES + j]
            trace[r, c, 2] = table[ROW_COS * LANES + j] + table[ROW_DELTA * LANES + j]
            trace[r, c, 3] = table[ROW_A * LANES + j]
            trace[r, c, 4] = _squared_norm(table, state, silent_state, u, j)
            trace[r, c, 5] = lanes[j].exponent
            trace[r, c, 6] = marks[j]
            lanes[j].next_record = r + 1


@entry
def deflated_tile(  # type: ignore[no-untyped-def]
    modes,
    silent_modes,
    start,
    silent_start,
    u,
    beta0,
    alpha0,
    mean_eigval,
    near_mu,
    near_pull,
    near_start,
    eps,
    eps_a,
    n_steps,
    tol,
    stop_at_tol,
    floor,
    limit,
    cancel,
    counts,
    numbers,
    record,
    trace,
):
    """Run BNGD on every cell of a tile.

    Parameters
    ----------
    modes, silent_modes : float64[2 m], float64[2 n]
        ``lambda_i, p_i`` in turn for the modes with u_i != 0; ``lambda_i, lambda_i / E`` for those with u_i = 0
        and a start, for without one they stay 0.
    start, silent_start, u : float64[m], float64[n], float64[m]
        s_i and w_i at step 0, and u_i, which only the norm needs.
    beta0, alpha0, mean_eigval : float64
        beta and a/sqrt(E) at step 0, and L.
    eps, eps_a : float64[cells]
        Learning rates in the scaled units of the coordinates.
    n_steps : int64
        Steps each cell runs; `stop_at_tol` ends it at the first step with excess <= tol.
    floor, limit : float64
        A cell also ends at excess <= floor, or > limit.
    cancel : uint8[1]
        Set to 1 from outside to give up; cells that had not ended keep the status CANCELLED.
    counts : int64[cells, 4], written
        status, first step with excess <= tol (-1: none), last step, binary exponent e of the lane's rescaling.
    numbers : float64[cells, 6], written
        excess, eps_eff, a/sqrt(E), squared norm of w times 4**e, settled ratio of sqrt(excess) (NaN: none), whether
        rounding decided.
    record, trace : int64[r] ascending, float64[r, cells, 7], written
        Steps to record, and there, up to a cell's end: excess, n, a/sqrt(E), eps_eff, squared norm of w times 4**e, e,
        whether rounding decided.
    """
    n_cells = eps.size
    state = np.empty((start.size, LANES))
    silent_state = np.empty((silent_start.size, LANES))
    table = np.zeros(ROWS * LANES)
    lanes = np.zeros(LANES, LANE)
    samples = np.zeros((LANES, MAX_SAMPLES))
    near, marks, step, none = empty_fastest(near_mu.size), np.zeros(LANES), np.ones((6, LANES)), np.empty(0)
    x = np.empty(start.size)

    for c in range(n_cells):
        counts[c, 0] = CANCELLED
    fill_all(state, start)
    fill_all(silent_state, silent_start)
    active = min(LANES, n_cells)
    for j in range(active):
        begin_table(table, j, beta0, alpha0, eps[j])
        begin_lane(lanes, j, j, 0)
        begin_fastest(near, near_start, j)
    for j in range(active, LANES):
        empty(state, j)
        empty(silent_state, j)
        empty_table(table, j)
    next_cell = active
    now = 0
    ends = n_steps
    records = next_record(lanes, active, record)

    while active > 0 and cancel[0] == 0:
        n_lanes = width(active)
        _mode_pass(state, modes, silent_state, silent_modes, table, n_lanes)
        look = _lane_pass(table, n_lanes, mean_eigval, limit)
        recorded = now == records
        if recorded:
            _record(table, lanes, active, now, record, state, silent_state, u, marks, trace)
        judged = look or now == ends
        if judged:
            j = 0
            while j < active:
                c = lanes[j].cell
                if now == lanes[j].began:
                    table[ROW_KEEP * LANES + j] = 1.0 - eps_a[c]
                ended = judge_and_sample(table, lanes, samples, j, now, n_steps, tol, stop_at_tol, floor, limit)
                if ended == GOES_ON:
                    shift = rescaling(table, j)
                    if shift != 0:
                        scale(state, j, math.ldexp(1.0, shift))
                        scale(silent_state, j, math.ldexp(1.0, shift))
                        rescale_table(table, lanes, j, shift)
                        scale_fastest(near, j, math.ldexp(1.0, shift))
                    j += 1
                    continue

                counts[c, 0], counts[c, 1] = ended, lanes[j].hit
                counts[c, 2], counts[c, 3] = now - lanes[j].began, lanes[j].exponent
                numbers[c, 0] = table[ROW_EXCESS * LANES + j]
                numbers[c, 1] = table[ROW_A * LANES + j]
                numbers[c, 2] = table[ROW_COS * LANES + j] + table[ROW_DELTA * LANES + j]
                numbers[c, 3] = _squared_norm(table, state, silent_state, u, j)
                numbers[c, 5] = marks[j]
                numbers[c, 4] = _rate(table, lanes, samples, state, modes, silent_state, silent_modes, j, x)

                if next_cell < n_cells:
                    fill(state, j, start)
                    fill(silent_state, j, silent_start)
                    begin_table(table, j, beta0, alpha0, eps[next_cell])
                    begin_lane(lanes, j, next_cell, now + 1)
                    begin_fastest(near, near_start, j)
                    marks[j] = 0.0
                    next_cell += 1
                    j += 1
                    continue
                # No cell is left: the last lane moves here (and is looked at next), so that lanes in use stay together.
                active -= 1
                if j < active:
                    move(state, j, active)
                    move(silent_state, j, active)
                    move_table(table, j, active)
                    lanes[j] = lanes[active]
                    samples[j, :] = samples[active, :]
                    marks[j] = marks[active]
                    move(near, j, active)
                empty(state, active)
                empty(silent_state, active)
                empty_table(table, active)
            ends = next_end(lanes, active, now, n_steps)
        if recorded or judged:
            records = next_record(lanes, active, record)
        if near_mu.size:
            for j in range(active):
                A, P = table[ROW_A * LANES + j], table[ROW_P * LANES + j]
                step[A_, j], step[B_, j] = A, table[ROW_B * LANES + j] - A * P
                step[V_, j], step[BETA, j] = max(table[ROW_V * LANES + j] - P * P, 0.0), table[ROW_BETA * LANES + j]
                step[FAR, j] = 1.0 if abs(table[ROW_DELTA * LANES + j]) > 1.0 else 0.0
            follow_fastest(near, step, none, near_mu, near_pull, active, marks)
        now += 1
