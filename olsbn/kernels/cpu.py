r"""All compiled code: BNGD on tiles of grid cells in deflated coordinates, and GD in closed form.

Coordinates (see `olsbn.kernels.coordinates`). Along the modes with ``u_i != 0`` the weights are
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

Execution. The lanes of a tile are grid cells, `LANES` at a time; the loop over modes runs inside, with the three
running sums and the three coefficients of every lane in vector registers (`_mode_pass`, written as LLVM vectors because
the loop vectoriser keeps the sums in memory, which costs a third of the speed). A cell that ends hands its lane to the
next. Each lane's arithmetic is + - * / sqrt in a fixed order and never depends on its neighbours: so the bits depend on
neither lanes, threads, tiles nor processor. No fused multiply-add is formed, because none is asked for.
"""

import hashlib
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Cells a block advances at once: four 512-bit vectors, so that their sums and coefficients just fit the register file.
# (Tests set the variable to show that results do not depend on it.)
LANES = int(os.environ.get("OLSBN_LANES", "32"))
_VECTOR = min(8, LANES)

# Status codes; `olsbn.schema.Status` gives them names (a test holds the two together).
CONVERGED, MAX_STEPS, DIVERGED, NON_FINITE, DEGENERATE, CANCELLED = 0, 1, 2, 3, 4, -1

# Rows of the per-lane table. The first six are shared with _mode_pass.
_A, _B, _C, _V, _S, _P, _BETA, _NEXT_BETA, _DELTA, _COS, _N, _EXCESS, _PREVIOUS, _EPS, _KEEP, _LEVEL = range(16)
_ROWS = 16

_HUGE = 2.0**300  # a step this long would overflow the sums: the lane is rescaled by a power of two
_LEVEL_RATIO = 1e-3  # the contraction ratio is sampled each time the excess has fallen by this
_MAX_SAMPLES = 128
_LINEAR = 1e-24  # beta, and so the ratio, still moves like the root of the excess: by less than 1e-12 from here on
_TRACE = 2.0**-1000  # too small to change anything but what would underflow
_FILTER_STEPS = 12  # of the search for a hidden slower mode


# -------------------------------------------------------------------- compilation and its cache


def _cache_dir() -> Path | None:
    """Return a writable directory that only this source, compiled by this numba, uses; None if there is none.

    numba notices an edited file by time and size only, and writes next to the source. Keying by content makes stale
    code impossible and lets read-only installations work.
    """
    key = hashlib.sha256(Path(__file__).read_bytes())
    key.update(f"{numba.__version__} {llvmlite.__version__} {np.__version__} {LANES}".encode())
    base = os.environ.get("OLSBN_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "olsbn" / key.hexdigest()[:20]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


_config: Any = numba.config
_CACHE_DIR = None if _config.DISABLE_JIT else _cache_dir()


def _entry(func: Callable[..., Any]) -> Any:
    """Compile on first call, without the GIL, and reuse the machine code of earlier processes where possible."""
    dispatcher = njit(nogil=True, error_model="numpy")(func)
    if _CACHE_DIR is not None:
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(_CACHE_DIR)
        try:
            dispatcher.enable_caching()
        finally:
            _config.CACHE_DIR = before
    return dispatcher


_inline = njit(nogil=True, error_model="numpy", inline="always")
_helper = njit(nogil=True, error_model="numpy")


# -------------------------------------------------------------------- the pass over the modes


def _make_mode_pass(n_vectors: int, silent: bool) -> Any:
    """Return an intrinsic that advances the first `n_vectors * 8` lanes through all modes.

    For each mode i and lane: ``x = state[i, lane]``; ``x -= lambda_i (A x - B) - C``; ``m = p_i x``; ``V += m x``,
    ``S += lambda_i m``, ``P += m``. With `silent`, B = C = 0, S and P stay as they are, and V goes on from its value;
    `_TRACE` is added to x, for a mode that had become 0 could never grow again.
    """
    width = _VECTOR
    vector = ir.VectorType(ir.DoubleType(), width)
    index = ir.IntType(64)

    @intrinsic
    def mode_pass(_typing: Any, state: Any, modes: Any, lanes: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            arrays = [context.make_array(t)(context, builder, a) for t, a in zip(signature.args, args, strict=True)]
            state_ptr, modes_ptr, lanes_ptr = (array.data for array in arrays)
            n_modes = builder.extract_value(arrays[0].shape, 0)

            def const(value: int) -> Any:
                return ir.Constant(index, value)

            def pointer(base: Any, offset: Any) -> Any:
                return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

            def load(base: Any, offset: Any) -> Any:
                value = builder.load(pointer(base, offset))
                value.align = 8
                return value

            def store(value: Any, base: Any, offset: Any) -> None:
                builder.store(value, pointer(base, offset)).align = 8

            def splat(base: Any, offset: Any) -> Any:
                empty = ir.Constant(vector, ir.Undefined)
                one = builder.insert_element(
                    empty, builder.load(builder.gep(base, [offset])), ir.Constant(ir.IntType(32), 0)
                )
                return builder.shuffle_vector(
                    one, empty, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
                )

            def row(which: int, v: int) -> Any:
                return const(which * LANES + v * width)

            groups = range(n_vectors)
            A, B, C = ([load(lanes_ptr, row(which, v)) for v in groups] for which in (_A, _B, _C))
            sums = (_V,) if silent else (_V, _S, _P)
            held = {(which, v): cgutils.alloca_once(builder, vector) for which in sums for v in groups}
            for (which, v), slot in held.items():
                builder.store(load(lanes_ptr, row(which, v)) if silent else ir.Constant(vector, [0.0] * width), slot)

            with cgutils.for_range(builder, n_modes) as loop:
                i = loop.index
                eigval = splat(modes_ptr, builder.mul(i, const(2)))
                weight = splat(modes_ptr, builder.add(builder.mul(i, const(2)), const(1)))
                for v in groups:
                    where = builder.add(builder.mul(i, const(LANES)), const(v * width))
                    x = load(state_ptr, where)
                    if silent:
                        x = builder.fsub(x, builder.fmul(eigval, builder.fmul(A[v], x)))
                        x = builder.fadd(x, ir.Constant(vector, [_TRACE] * width))
                    else:
                        pull = builder.fmul(eigval, builder.fsub(builder.fmul(A[v], x), B[v]))
                        x = builder.fsub(builder.fadd(x, C[v]), pull)
                    store(x, state_ptr, where)
                    m = builder.fmul(weight, x)
                    terms = (
                        {_V: builder.fmul(m, x)}
                        if silent
                        else {_V: builder.fmul(m, x), _S: builder.fmul(eigval, m), _P: m}
                    )
                    for which, term in terms.items():
                        builder.store(builder.fadd(builder.load(held[which, v]), term), held[which, v])
            for (which, v), slot in held.items():
                store(builder.load(slot), lanes_ptr, row(which, v))
            return context.get_dummy_value()

        return types.void(state, modes, lanes), generate

    return mode_pass


_ALL = LANES // _VECTOR
_modes_all, _silent_all = _make_mode_pass(_ALL, False), _make_mode_pass(_ALL, True)
_modes_half, _silent_half = _make_mode_pass(_ALL // 2 or 1, False), _make_mode_pass(_ALL // 2 or 1, True)
_modes_one, _silent_one = _make_mode_pass(1, False), _make_mode_pass(1, True)


@_helper
def _mode_pass(state, modes, silent_state, silent_modes, lanes, n_lanes):  # type: ignore[no-untyped-def]
    """Advance all modes of the first lanes; `n_lanes` is one of the widths of `_width`."""
    if n_lanes == LANES:
        _modes_all(state, modes, lanes)
        _silent_all(silent_state, silent_modes, lanes)
    elif n_lanes == _VECTOR:
        _modes_one(state, modes, lanes)
        _silent_one(silent_state, silent_modes, lanes)
    else:
        _modes_half(state, modes, lanes)
        _silent_half(silent_state, silent_modes, lanes)


@_inline
def _width(active):  # type: ignore[no-untyped-def]
    """Return how many lanes to advance so that the `active` first are among them."""
    if active <= _VECTOR:
        return _VECTOR
    return LANES // 2 if active <= LANES // 2 else LANES


# -------------------------------------------------------------------- the scalars of a step


@_helper
def _lane_pass(lanes, n_lanes, mean_eigval, limit):  # type: ignore[no-untyped-def]
    """From the sums of the first lanes make the next coefficients; return whether any of them needs a look."""
    events = 0
    for j in range(n_lanes):
        P = lanes[_P * LANES + j]
        V = lanes[_V * LANES + j] - P * P
        V = V if V > 0.0 else (V if V != V else 0.0)
        S = lanes[_S * LANES + j] - P * mean_eigval
        beta = lanes[_NEXT_BETA * LANES + j] + P
        sigma2 = beta * beta + V
        inverse = 1.0 / sigma2
        root = math.sqrt(sigma2) * inverse  # 1/sigma; the division and the root overlap
        n = V * inverse
        cos = beta * root
        # cos_prev - cos without cancellation, from cos^2 + n = 1, where both have one sign
        cos_prev = lanes[_COS * LANES + j]
        n_prev = lanes[_N * LANES + j]
        same = cos * cos_prev > 0.0
        top = n - n_prev if same else cos_prev - cos
        bottom = cos + cos_prev if same else 1.0
        delta = lanes[_KEEP * LANES + j] * lanes[_DELTA * LANES + j] + top / bottom
        excess = n + delta * delta
        chi = lanes[_EPS * LANES + j] * (cos + delta) * root
        A = chi * cos * root
        B = chi * n
        C = A * S - B * mean_eigval
        lanes[_A * LANES + j] = A
        lanes[_B * LANES + j] = B + A * P
        lanes[_C * LANES + j] = C - P
        lanes[_BETA * LANES + j] = beta
        lanes[_NEXT_BETA * LANES + j] = beta - C
        lanes[_DELTA * LANES + j] = delta
        lanes[_COS * LANES + j] = cos
        lanes[_N * LANES + j] = n
        lanes[_PREVIOUS * LANES + j] = lanes[_EXCESS * LANES + j]
        lanes[_EXCESS * LANES + j] = excess
        quiet = (excess > lanes[_LEVEL * LANES + j]) & (excess <= limit) & (abs(A) + abs(B) < _HUGE)
        events |= 0 if quiet else 1
    return events != 0


@_helper
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


@_helper
def _hidden_ratio(lanes, state, modes, silent_state, silent_modes, j, x):  # type: ignore[no-untyped-def]
    """Return a lower bound of the contraction ratio of the slowest mode that the deviation of lane j holds a trace of.

    A slower mode with a tiny amplitude cannot be seen in the excess, where it enters squared, until it takes the
    lead: a ratio that has settled before that is not the asymptotic one. So the linear part of the step,
    ``T x = x - A lambda x + A sum(p lambda x)``, is used as a filter: ``T - mu`` with mu the Rayleigh quotient wipes
    out the leading mode and brings up those far from it, down to the level of rounding. T is symmetric in the weights
    p, hence ``||Tx||/||x||`` never exceeds its largest ratio, whatever x has become. Silent modes go their own way,
    each with a ratio that is known.
    """
    A, P = lanes[_A * LANES + j], lanes[_P * LANES + j]
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


@_helper
def _load_start(state, silent_state, j, start, silent_start):  # type: ignore[no-untyped-def]
    """Put the start into lane j."""
    for i in range(start.size):
        state[i, j] = start[i]
    for i in range(silent_start.size):
        silent_state[i, j] = silent_start[i]


@_helper
def _begin(lanes, j, beta0, alpha0, eps):  # type: ignore[no-untyped-def]
    """Begin a cell in lane j. Its first pass over the modes moves nothing and only makes the sums of step 0."""
    for row in range(_ROWS):
        lanes[row * LANES + j] = 0.0
    lanes[_NEXT_BETA * LANES + j] = beta0
    # With COS = 0 and KEEP = 1 the first lane pass yields delta = alpha0 - cos; step 0 then sets the cell's own KEEP.
    lanes[_DELTA * LANES + j] = alpha0
    lanes[_KEEP * LANES + j] = 1.0
    lanes[_EPS * LANES + j] = eps
    lanes[_LEVEL * LANES + j] = np.inf


@_helper
def _empty_lane(lanes, state, silent_state, j):  # type: ignore[no-untyped-def]
    """Make lane j a fixed point that never asks for a look."""
    for i in range(state.shape[0]):
        state[i, j] = 0.0
    for i in range(silent_state.shape[0]):
        silent_state[i, j] = 0.0
    for row in range(_ROWS):
        lanes[row * LANES + j] = 0.0
    lanes[_NEXT_BETA * LANES + j] = 1.0
    lanes[_LEVEL * LANES + j] = -1.0


@_helper
def _squared_norm(lanes, state, silent_state, u, j):  # type: ignore[no-untyped-def]
    """Return sum_i w_i^2 of lane j at the present step."""
    shift = lanes[_BETA * LANES + j] - lanes[_P * LANES + j]
    total = 0.0
    for i in range(state.shape[0]):
        w = u[i] * (state[i, j] + shift)
        total += w * w
    for i in range(silent_state.shape[0]):
        total += silent_state[i, j] * silent_state[i, j]
    return total


@_entry
def bngd_tile(  # type: ignore[no-untyped-def]
    modes,
    silent_modes,
    start,
    silent_start,
    u,
    beta0,
    alpha0,
    mean_eigval,
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
    numbers : float64[cells, 5], written
        excess, eps_eff, a/sqrt(E), squared norm of w times 4**e, settled ratio of sqrt(excess) (NaN: none).
    record, trace : int64[r] ascending, float64[r, 6], written
        Steps of cell 0 to record, and there: excess, n, a/sqrt(E), eps_eff, squared norm of w times 4**e, e.
    """
    n_cells = eps.size
    state = np.empty((start.size, LANES))
    silent_state = np.empty((silent_start.size, LANES))
    lanes = np.zeros(_ROWS * LANES)
    cell = np.full(LANES, -1)
    began = np.zeros(LANES, dtype=np.int64)
    hit = np.zeros(LANES, dtype=np.int64)
    exponent = np.zeros(LANES, dtype=np.int64)
    n_samples = np.zeros(LANES, dtype=np.int64)
    samples = np.zeros((LANES, _MAX_SAMPLES))
    x = np.empty(start.size)

    for c in range(n_cells):
        counts[c, 0] = CANCELLED
    active = 0
    next_cell = 0
    n_recorded = 0
    now = 0
    for i in range(start.size):  # all lanes at once: a lane at a time would touch every cache line for each
        state[i, :] = start[i]
    for i in range(silent_start.size):
        silent_state[i, :] = silent_start[i]
    for j in range(LANES):
        if next_cell < n_cells:
            _begin(lanes, j, beta0, alpha0, eps[next_cell])
            cell[j], began[j], hit[j], exponent[j], n_samples[j] = next_cell, 0, -1, 0, 0
            next_cell += 1
            active += 1
        else:
            _empty_lane(lanes, state, silent_state, j)
    next_end = n_steps

    while active > 0 and cancel[0] == 0:
        n_lanes = _width(active)
        _mode_pass(state, modes, silent_state, silent_modes, lanes, n_lanes)
        look = _lane_pass(lanes, n_lanes, mean_eigval, limit)
        if n_recorded < record.size and record[n_recorded] == now:
            trace[n_recorded, 0] = lanes[_EXCESS * LANES]
            trace[n_recorded, 1] = lanes[_N * LANES]
            trace[n_recorded, 2] = lanes[_COS * LANES] + lanes[_DELTA * LANES]
            trace[n_recorded, 3] = lanes[_A * LANES]
            trace[n_recorded, 4] = _squared_norm(lanes, state, silent_state, u, 0)
            trace[n_recorded, 5] = exponent[0]
            n_recorded += 1
        if look or now == next_end:
            j = 0
            while j < active:
                k = now - began[j]
                excess = lanes[_EXCESS * LANES + j]
                if k == 0:
                    lanes[_KEEP * LANES + j] = 1.0 - eps_a[cell[j]]
                ended = -1
                if excess != excess or (k == 0 and excess == np.inf):
                    ended = NON_FINITE
                elif excess > limit:
                    ended = DIVERGED
                elif excess <= lanes[_LEVEL * LANES + j]:
                    if excess <= tol and hit[j] < 0:
                        hit[j] = k
                        if stop_at_tol:
                            ended = CONVERGED
                    if excess <= floor:
                        ended = CONVERGED if hit[j] >= 0 else MAX_STEPS
                    if k > 0 and n_samples[j] < _MAX_SAMPLES:
                        samples[j, n_samples[j]] = math.sqrt(excess / lanes[_PREVIOUS * LANES + j])
                        n_samples[j] += 1
                    level = max(_LEVEL_RATIO * excess, floor)
                    lanes[_LEVEL * LANES + j] = max(level, tol) if hit[j] < 0 else level
                if ended < 0 and k == n_steps:
                    ended = CONVERGED if hit[j] >= 0 else MAX_STEPS

                if ended < 0:
                    size = abs(lanes[_A * LANES + j]) + abs(lanes[_B * LANES + j])
                    if _HUGE <= size < np.inf:
                        # (w, eps) -> (f w, f^2 eps) changes nothing but the norm; f is a power of two
                        shift = -(math.frexp(size)[1] * 3 // 4)
                        factor = math.ldexp(1.0, shift)
                        for i in range(state.shape[0]):
                            state[i, j] *= factor
                        for i in range(silent_state.shape[0]):
                            silent_state[i, j] *= factor
                        for row in (_B, _C, _NEXT_BETA):
                            lanes[row * LANES + j] *= factor
                        lanes[_EPS * LANES + j] = lanes[_EPS * LANES + j] * factor * factor
                        exponent[j] += shift
                    j += 1
                    continue

                c = cell[j]
                counts[c, 0], counts[c, 1], counts[c, 2], counts[c, 3] = ended, hit[j], k, exponent[j]
                numbers[c, 0] = excess
                numbers[c, 1] = lanes[_A * LANES + j]
                numbers[c, 2] = lanes[_COS * LANES + j] + lanes[_DELTA * LANES + j]
                numbers[c, 3] = _squared_norm(lanes, state, silent_state, u, j)
                numbers[c, 4] = np.nan
                n = n_samples[j]
                if n >= 4 and excess <= _LINEAR:
                    last = math.sqrt(excess / lanes[_PREVIOUS * LANES + j])
                    # over the whole run and over its later part: the first alone mistakes a fast start for the rest
                    whole = _settled(samples[j, n // 3], samples[j, 2 * n // 3], last)
                    if whole and _settled(samples[j, n // 2], samples[j, 3 * n // 4], last):
                        slowest = _hidden_ratio(lanes, state, modes, silent_state, silent_modes, j, x)
                        if lanes[_DELTA * LANES + j] != 0.0:
                            slowest = max(slowest, abs(lanes[_KEEP * LANES + j]))
                        if slowest <= last * (1.0 + 1e-9):
                            numbers[c, 4] = last

                if next_cell < n_cells:
                    _load_start(state, silent_state, j, start, silent_start)
                    _begin(lanes, j, beta0, alpha0, eps[next_cell])
                    cell[j], began[j], hit[j], exponent[j], n_samples[j] = next_cell, now + 1, -1, 0, 0
                    next_cell += 1
                    j += 1
                    continue
                # No cell is left: the last lane moves here (and is looked at next), so that lanes in use stay together.
                active -= 1
                if j < active:
                    for i in range(state.shape[0]):
                        state[i, j] = state[i, active]
                    for i in range(silent_state.shape[0]):
                        silent_state[i, j] = silent_state[i, active]
                    for row in range(_ROWS):
                        lanes[row * LANES + j] = lanes[row * LANES + active]
                    cell[j], began[j], hit[j] = cell[active], began[active], hit[active]
                    exponent[j], n_samples[j] = exponent[active], n_samples[active]
                    samples[j, :] = samples[active, :]
                _empty_lane(lanes, state, silent_state, active)
            next_end = now + n_steps + 1
            for j in range(active):
                next_end = min(next_end, began[j] + n_steps)
        now += 1


# -------------------------------------------------------------------- GD in closed form


@_inline
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


@_inline
def _dd_product(a, a_low, b, b_low):  # type: ignore[no-untyped-def]
    """Return the product of two double-doubles, to about 100 bits."""
    p, e = _two_product(a, b)
    if abs(p) < 1e290:
        e += a * b_low + a_low * b
    high = p + e
    return high, (e - (high - p) if abs(high) < 1e290 else 0.0)


@_inline
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


@_helper
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


@_helper
def _gd_advance(table, power, k_bit):  # type: ignore[no-untyped-def]
    for i in range(power.shape[0]):
        power[i, 0], power[i, 1] = _dd_product(power[i, 0], power[i, 1], table[k_bit, i, 0], table[k_bit, i, 1])


@_helper
def _gd_at(table, n_bits, power, weight, k):  # type: ignore[no-untyped-def]
    """Set `power` to base^k and return the excess at k and at k + 1."""
    power[:, 0] = 1.0
    power[:, 1] = 0.0
    for b in range(n_bits):
        if (k >> b) & 1:
            _gd_advance(table, power, b)
    return _gd_excess_pair(table, n_bits, power, weight, -1)


@_helper
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


@_helper
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


@_entry
def gd_tile(eigvals, weight, u, error, eps, n_steps, tol, stop_at_tol, floor, limit, cancel, counts, numbers):  # type: ignore[no-untyped-def]
    """Run GD on every cell of a tile, in closed form: O(d log n_steps) a cell.

    ``excess_k = sum_i weight_i (1 - eps lambda_i)^(2k)`` with ``weight_i = lambda_i (w0 - u)_i^2 / E``; the powers are
    double-doubles, so the result is as good as its inputs for any k.

    Parameters are those of `bngd_tile`, besides
    ----------
    weight, u, error : float64[d]
        The weights above, the solution and ``w0 - u``.
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
        end = n_steps
        status = MAX_STEPS
        over = _gd_first(table, n_bits, power, weight, n_steps, limit, False)
        if over >= 0 and not (0 <= hit < over and stop_at_tol):
            end, status = over, DIVERGED
            if hit > over:
                hit = -1
        elif hit >= 0 and stop_at_tol:
            end = hit
        else:
            low_enough = _gd_first(table, n_bits, power, weight, n_steps, floor, True)
            if low_enough >= 0:
                end = low_enough
        if hit >= 0:
            status = CONVERGED
        excess, _ = _gd_at(table, n_bits, power, weight, end)
        if not excess < np.inf and status != DIVERGED:
            status = NON_FINITE
        norm = 0.0
        for i in range(d):
            w = u[i] + power[i, 0] * error[i]
            norm += w * w
        counts[c, 0], counts[c, 1], counts[c, 2] = status, hit, end
        numbers[c, 0], numbers[c, 1], numbers[c, 2] = excess, norm, np.nan
        if end >= 1:
            x0, x1 = _gd_at(table, n_bits, power, weight, end - 1)
            if x0 > 0.0 and x1 < np.inf and _gd_settled(table, power, weight, error):
                numbers[c, 2] = math.sqrt(x1 / x0)


@_entry
def gd_trace(eigvals, weight, u, error, eps, record, cancel, trace):  # type: ignore[no-untyped-def]
    """Write excess and squared norm of w at the steps `record` (ascending) of one GD run into trace[r, 2].

    `cancel` as in `bngd_tile`.
    """
    d = eigvals.size
    n_bits = 1
    while record.size and (1 << n_bits) <= record[-1] + 1:
        n_bits += 1
    table = np.empty((n_bits, d, 2))
    power = np.empty((d, 2))
    for i in range(d):
        table[0, i, 0], table[0, i, 1] = _gd_base(eps, eigvals[i])
    for b in range(1, n_bits):
        for i in range(d):
            x, low = table[b - 1, i, 0], table[b - 1, i, 1]
            table[b, i, 0], table[b, i, 1] = _dd_product(x, low, x, low)
    power[:, 0] = 1.0
    power[:, 1] = 0.0
    k = np.int64(0)
    for r in range(record.size):
        if cancel[0] != 0:
            break
        ahead = record[r] - k
        for b in range(n_bits):
            if (ahead >> b) & 1:
                _gd_advance(table, power, b)
        k = record[r]
        trace[r, 0], _ = _gd_excess_pair(table, n_bits, power, weight, -1)
        norm = 0.0
        for i in range(d):
            w = u[i] + power[i, 0] * error[i]
            norm += w * w
        trace[r, 1] = norm


@_entry
def gd_iterate(eigvals, weight, error, eps, n_steps, excess):  # type: ignore[no-untyped-def]
    """Write the excess of steps 0..n_steps, iterating ``x_i <- (1 - eps lambda_i) x_i``: a check on the closed form."""
    x = np.ones(eigvals.size)
    for k in range(n_steps + 1):
        total = 0.0
        for i in range(eigvals.size):
            total += weight[i] * x[i] * x[i]
            x[i] -= eps * eigvals[i] * x[i]
        excess[k] = total
