r"""BNGD in the eigenbasis of H*: no mode sees another but through two sums, and each one's own ratio is in sight.

Coordinates (see `olsbn.engine.star_coordinates`): ``w ~ beta u + sum_i z_i e_i``, e_i the H-orthonormal eigenvectors
of H* with eigenvalues mu_i; E = 1. One step is::

    V = sum z_i^2          S = sum b_i z_i      sigma^2 = beta^2 + V    cos = beta/sigma    n = V/sigma^2 = sin^2
    chi = eps a/sigma      A = chi beta/sigma^2 (= eps_eff)             B = chi n           excess = n + delta^2
    z_i <- (1 - A mu_i) z_i + B b_i             beta <- beta + B L - A S                    delta = a - cos
    a <- (1 - eps_a) a + eps_a cos              delta <- (1 - eps_a) delta + (cos - cos_next)

Nothing cancels at a minimiser, where z, n and delta vanish, nor at a saddle, where beta, cos and a do: a and delta are
both carried, for neither keeps its digits as a difference. Nothing drifts along u, so nothing is projected. The norm is
``||w||^2 = ||u||^2 (beta - sum b_i z_i/mu_i)^2 + E sum z_i^2/mu_i``, since the inverse of H is a change of rank one of
that of H* across u.

Slaved modes. Where eps_eff rises slowly through 1/mu the own amplitude of a mode is damped to nothing, and what is left
follows from the forcing, ``z ~ b B/(A mu)``, whose rounding would seed the mode anew as soon as A mu > 2. So the
modes near the top are watched, every `WATCH` steps (`_write_watched`): their own amplitude is followed as the product
of their factors; where it is far below rounding and the mode can grow, z is set to the slaved value, from the series in
the differences of the last values of A and B (`_slaved`).

Marks. A cell is marked `by_rounding` where what a slaved mode may have of its own, and only many digits know, has had
the time to grow; where the bound of the rounding in a watched mode, carried along with it, has become a share of it
that the others see; where bursts of the fastest mode, each of which multiplies what rounding put into it, have grown
too far (`_write_growth`); and where delta, which also followed from the others while the part of its own fell below
their rounding, outlives them (`_write_scale`). That is no proof: not all modes are watched, and bursts are counted by a
rule of thumb.

Execution as in `olsbn.engine.deflated`, with fused multiply-adds where they are written. Cells begin at steps of the
block that are divisible by `WATCH`, so that all lanes are watched at once, and each at its own steps WATCH - 1,
2 WATCH - 1, ...
"""

import math
from typing import Any

import numpy as np

from olsbn.engine.compile import LANES, entry, helper, inline
from olsbn.engine.doubledouble import fma
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
    BURSTS,
    HUGE,
    MOVES,
    NEAR,
    ROUNDING,
    ROW_A,
    ROW_B,
    ROW_BETA,
    ROW_COS,
    ROW_DELTA,
    ROW_EPS,
    ROW_EXCESS,
    ROW_KEEP,
    ROW_LEVEL,
    ROW_N,
    ROW_NEXT_BETA,
    ROW_PREVIOUS,
    ROW_S,
    ROW_V,
    ROWS,
    SEEN,
    WRONG,
    begin_table,
    empty_table,
    judge,
    last_ratio,
)
from olsbn.engine.vectors import VECTOR, WIDTHS, Writer, lane_pass, mode_pass, one_mode_pass, width

WATCH = 16  # steps between two looks at the modes near the top, and values of A and B that are remembered
MAX_WATCHED = 8
_TERMS = 8  # of the series of a slaved mode

# Rows of the table beyond those of `olsbn.engine.rules`.
ROW_ALPHA, ROW_EPS_A, ROW_MARK = ROWS, ROWS + 1, ROWS + 2
ROW_OWN = ROWS + 3  # own amplitudes of the watched modes
ROW_UNSEEN = ROW_OWN + MAX_WATCHED  # what slaved ones may have of their own
ROW_SIZE = ROW_UNSEEN + MAX_WATCHED  # bounds of their sizes
ROW_ERROR = ROW_SIZE + MAX_WATCHED  # and what rounding may have put into them
ROW_GROWTH = ROW_ERROR + MAX_WATCHED  # of the fastest mode in bursts
ROW_SLAVED = ROW_GROWTH + 1  # whether the mode looked at is to be slaved
ROW_DELTA_SIZE = ROW_SLAVED + 1  # what delta is made of, at the last look
ROW_DELTA_ERROR = ROW_DELTA_SIZE + 1  # and what rounding may have put into it
ROW_PAST_A = ROW_DELTA_ERROR + 1
ROW_PAST_B = ROW_PAST_A + WATCH
STAR_ROWS = ROW_PAST_B + WATCH

_LINEAR = 1e-22  # A, and so the ratio, still moves like the root of the excess: by less than 1e-11 from here on
_SETTLED = 2e-11  # what the other modes may change of the ratio
_TRACE = 2.0**-1000  # too small to change anything but what would underflow
_SLAVED = 1e-20  # an own amplitude below this share of the mode is no part of it
_SERIES = 1e-13  # to this share the series of a slaved mode has to converge
_OFF = 2e-10  # a share of the excess
_AT_MINIMISER = 0.25  # the value of ROW_GROWTH while n, which began below NEAR, has not passed it


# -------------------------------------------------------------------- the pass over the modes


def _write_modes(to: Writer, loop: Any) -> None:
    """``z = (1 - A mu) z + B b``; ``V += z^2``, ``S += b z``: five instructions."""
    a, b = to.row(ROW_A), to.row(ROW_B)
    zeros = [to.constant(0.0) for _ in to.groups]
    v_sums, s_sums, one = to.slots(zeros), to.slots(zeros), to.constant(1.0)
    with loop() as at:
        mu, pull = to.mode(at.index, 2)
        minus = to.builder.fneg(mu)
        for v in to.groups:
            z = to.state(at.index, v)
            z = to.fma(to.fma(minus, a[v], one), z, to.mul(pull, b[v]))
            to.put_state(at.index, v, z)
            to.increase_by_product(v_sums[v], z, z)
            to.increase_by_product(s_sums[v], pull, z)
    for row, slots in ((ROW_V, v_sums), (ROW_S, s_sums)):
        to.put_row(row, [to.builder.load(slot) for slot in slots])


def _write_silent(to: Writer, loop: Any) -> None:
    """``z = (1 - A mu) z``, ``V += z^2``; `_TRACE` is added: what has become 0 could never grow again."""
    a, sums, one = to.row(ROW_A), to.slots(to.row(ROW_V)), to.constant(1.0)
    with loop() as at:
        mu, _ = to.mode(at.index, 2)
        minus = to.builder.fneg(mu)
        for v in to.groups:
            z = to.fma(to.fma(minus, a[v], one), to.state(at.index, v), to.constant(_TRACE))
            to.put_state(at.index, v, z)
            to.increase_by_product(sums[v], z, z)
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


def _write_lanes(to: Writer, v: int, past: Any, mean_eigval: Any, limit: Any) -> Any:
    """From the sums of a group of lanes make the next coefficients; return where no lane needs a look.

    A and B are remembered in place `past` of the last `WATCH`.
    """
    select = to.builder.select
    one, zero = to.constant(1.0), to.constant(0.0)
    V, beta = to.load(ROW_V, v), to.load(ROW_NEXT_BETA, v)
    cos_prev, n_prev = to.load(ROW_COS, v), to.load(ROW_N, v)
    sigma2 = to.fma(beta, beta, V)
    sigma = to.sqrt(sigma2)
    # cos_prev - cos = (n - n_prev)/(cos + cos_prev) cancels nothing where cos is near 1, and the plain difference
    # nothing where it is near 0
    near = to.builder.and_(to.less(zero, to.mul(beta, cos_prev)), to.less(V, to.mul(beta, beta)))
    both = select(near, to.fma(sigma, cos_prev, beta), one)  # sigma (cos + cos_prev)
    inverse = to.builder.fdiv(one, to.mul(sigma, both))  # the step's one division
    root = to.mul(inverse, both)  # 1/sigma
    n, cos = to.mul(to.mul(V, root), root), to.mul(beta, root)
    change = select(near, to.mul(to.sub(n, n_prev), to.mul(sigma2, inverse)), to.sub(cos_prev, cos))
    keep = to.load(ROW_KEEP, v)
    delta = to.fma(keep, to.load(ROW_DELTA, v), change)
    # where a is not small beside cos the sum has all digits, and its error does not grow like |1 - eps_a|^k
    total = to.add(cos, delta)
    own = to.fma(keep, to.load(ROW_ALPHA, v), to.mul(to.load(ROW_EPS_A, v), cos_prev))
    alpha = select(to.less(to.mul(to.abs(cos), to.constant(0.5)), to.abs(total)), total, own)
    excess = to.fma(delta, delta, n)
    chi = to.mul(to.mul(to.load(ROW_EPS, v), alpha), root)
    A, B = to.mul(to.mul(chi, cos), root), to.mul(chi, n)
    turned = to.fma(to.builder.fneg(A), to.load(ROW_S, v), beta)
    to.put(A, ROW_A, v)
    to.put(B, ROW_B, v)
    to.put(A, ROW_PAST_A, v, past)
    to.put(B, ROW_PAST_B, v, past)
    to.put(beta, ROW_BETA, v)
    to.put(to.fma(B, mean_eigval, turned), ROW_NEXT_BETA, v)
    to.put(delta, ROW_DELTA, v)
    to.put(alpha, ROW_ALPHA, v)
    to.put(cos, ROW_COS, v)
    to.put(n, ROW_N, v)
    to.put(to.load(ROW_EXCESS, v), ROW_PREVIOUS, v)
    to.put(excess, ROW_EXCESS, v)
    within = to.builder.fcmp_ordered("<=", excess, limit)
    step = to.less(to.add(to.abs(A), to.abs(B)), to.constant(HUGE))
    return to.builder.and_(to.less(to.load(ROW_LEVEL, v), excess), to.builder.and_(within, step))


_lanes_all, _lanes_half, _lanes_one = (lane_pass(_write_lanes, n) for n in WIDTHS)


@helper
def _lane_pass(table, n_lanes, past, mean_eigval, limit):  # type: ignore[no-untyped-def]
    """Make the next coefficients of the first lanes; return whether any of them needs a look."""
    if n_lanes == LANES:
        return _lanes_all(table, past, mean_eigval, limit)
    if n_lanes == VECTOR:
        return _lanes_one(table, past, mean_eigval, limit)
    return _lanes_half(table, past, mean_eigval, limit)


@helper
def _rescaling(table, j):  # type: ignore[no-untyped-def]
    """Return the exponent of two by which lane j is to be scaled so that its next step stays in range; 0: not at all.

    (w, eps) -> (f w, f^2 eps) changes nothing but the norm, and for a power of two no digit. It leaves A as it is: what
    counts is how far w moves.
    """
    size = abs(table[ROW_A * LANES + j]) * math.sqrt(table[ROW_V * LANES + j]) + abs(table[ROW_B * LANES + j])
    if not HUGE <= size < np.inf:
        return 0
    return -(math.frexp(size)[1] * 3 // 4)


@helper
def _rescale(table, lanes, state, silent_state, j, shift):  # type: ignore[no-untyped-def]
    """Scale all numbers of lane j that scale with w, and its learning rate."""
    factor = math.ldexp(1.0, shift)
    scale(state, j, factor)
    scale(silent_state, j, factor)
    for row in (ROW_B, ROW_NEXT_BETA):
        table[row * LANES + j] *= factor
    for row in range(WATCH):
        table[(ROW_PAST_B + row) * LANES + j] *= factor
    for row in range(MAX_WATCHED):
        for which in (ROW_OWN, ROW_UNSEEN, ROW_SIZE, ROW_ERROR):
            table[(which + row) * LANES + j] *= factor
    table[ROW_EPS * LANES + j] = table[ROW_EPS * LANES + j] * factor * factor
    lanes[j].exponent += shift


# -------------------------------------------------------------------- the modes near the top


@inline
def _mode(modes, silent_modes, i):  # type: ignore[no-untyped-def]
    """Return mu and b of mode i, silent ones counted after the others."""
    m = modes.size // 2
    return (modes[2 * i], modes[2 * i + 1]) if i < m else (silent_modes[2 * (i - m)], 0.0)


@inline
def _fastest(modes, silent_modes, watched):  # type: ignore[no-untyped-def]
    """Return mu of the fastest mode, 0 where there is none."""
    return _mode(modes, silent_modes, watched[0])[0] if watched.size else 0.0


def _write_watched(to: Writer, v: int, mode: Any, t: Any, mu: Any, pull: Any) -> Any:
    """Follow watched mode number t over the last `WATCH` steps and mark cells; return where it need not be slaved.

    With c = 1 - A mu: ``own <- |c| own``, the amplitude that the forcing has not made; ``unseen <- |c| unseen``, what a
    slaved mode may have of its own that no float64 shows; ``size <- |c| size + b |B|``, a bound of the mode's; and
    ``error <- |c| error + size``, one of the rounding in it, in units of one rounding.
    """
    builder, select = to.builder, to.builder.select
    zero, one, minus = to.constant(0.0), to.constant(1.0), to.builder.fneg(mu)
    product, size, error = one, to.load(ROW_SIZE, v, t), to.load(ROW_ERROR, v, t)
    for row in range(WATCH - 1):  # the newest A and B have not moved the state yet
        factor = to.abs(to.fma(minus, to.load(ROW_PAST_A + row, v), one))
        product = to.mul(product, factor)
        size = to.fma(factor, size, to.mul(pull, to.abs(to.load(ROW_PAST_B + row, v))))
        error = to.fma(factor, error, size)
    own, unseen = (to.mul(product, to.load(row, v, t)) for row in (ROW_OWN, ROW_UNSEEN))
    A, forced = to.load(ROW_A, v), to.mul(pull, to.abs(to.load(ROW_B, v)))
    z, turn = to.abs(to.state(mode, v)), to.mul(mu, to.abs(A))
    # a mode larger than what forces it explains is its own, and so is what is kept from underflow
    free = to.less(to.add(forced, forced), to.mul(z, turn))
    own, unseen = select(free, z, own), select(free, zero, unseen)
    own = select(to.less(own, to.constant(4.0 * _TRACE)), to.constant(4.0 * _TRACE), own)
    share = to.mul(z, to.constant(_SLAVED))
    slaved = builder.and_(to.less(own, share), to.less(to.constant(1.9), turn))
    to.put(select(slaved, one, zero), ROW_SLAVED, v)
    unseen = select(builder.and_(slaved, to.less(unseen, share)), share, unseen)
    error = to.add(error, to.constant(16.0 * _TRACE / ROUNDING))
    rounding = to.mul(error, to.constant(ROUNDING))
    rounding = select(to.less(rounding, unseen), unseen, rounding)
    seen = builder.or_(
        to.less(to.mul(to.constant(SEEN), to.load(ROW_V, v)), to.mul(rounding, z)),
        to.less(to.mul(to.constant(MOVES), to.abs(to.load(ROW_BETA, v))), to.mul(rounding, turn)),
    )
    wrong = builder.and_(seen, to.less(to.mul(z, to.constant(WRONG)), rounding))
    to.put(select(wrong, one, to.load(ROW_MARK, v)), ROW_MARK, v)
    # the steps from here to the next look begin with the one that is pending
    factor = to.abs(to.fma(minus, A, one))
    size = to.fma(factor, z, forced)
    to.put(to.mul(own, factor), ROW_OWN, v, t)
    to.put(to.mul(unseen, factor), ROW_UNSEEN, v, t)
    to.put(size, ROW_SIZE, v, t)
    to.put(to.fma(factor, error, size), ROW_ERROR, v, t)
    return builder.not_(slaved)


def _write_growth(to: Writer, v: int, mu: Any) -> None:
    """Follow how far the fastest mode has grown in bursts, and mark cells.

    Each burst throws eps_eff down by an amount that depends on the mode, and so multiplies what rounding put into it.
    Counted are factors above 2, and all above 1 while a is far off; not the first step, whose length is given, and not
    the growth away from a minimiser, which is linear, and keeps relative errors as they are.
    """
    builder, select, one = to.builder, to.builder.select, to.constant(1.0)
    before = to.load(ROW_GROWTH, v)
    least = select(to.less(one, to.abs(to.load(ROW_DELTA, v))), one, to.constant(2.0))
    growth = select(to.less(before, one), one, before)
    for row in range(WATCH):
        factor = to.abs(to.fma(builder.fneg(mu), to.load(ROW_PAST_A + row, v), one))
        counts = to.less(least, factor)
        if row == 0:
            counts = builder.and_(counts, to.less(to.constant(0.5), before))
        growth = to.mul(growth, select(counts, factor, one))
    left = select(to.less(to.constant(NEAR), to.load(ROW_N, v)), one, to.constant(_AT_MINIMISER))
    growth = select(builder.fcmp_ordered("==", before, to.constant(_AT_MINIMISER)), left, growth)
    to.put(growth, ROW_GROWTH, v)
    to.put(select(to.less(to.constant(BURSTS), growth), one, to.load(ROW_MARK, v)), ROW_MARK, v)


def _write_scale(to: Writer, v: int) -> None:
    """Follow over the last `WATCH` steps what rounding has put into delta, and mark cells whose excess it is part of.

    ``error <- |1 - eps_a| error + size``, in units of one rounding: delta is what is left of it and differences of n.
    Between two looks the size falls or grows about evenly, so no term is larger than the first or the last.
    """
    keep = to.abs(to.load(ROW_KEEP, v))
    kept = keep
    for _ in range(WATCH.bit_length() - 1):
        kept = to.mul(kept, kept)
    delta = to.abs(to.load(ROW_DELTA, v))
    size = to.add(delta, to.load(ROW_N, v))
    first = to.mul(kept, to.load(ROW_DELTA_SIZE, v))
    most = to.builder.select(to.less(first, size), size, first)
    error = to.fma(kept, to.load(ROW_DELTA_ERROR, v), to.mul(to.constant(float(WATCH)), most))
    rounding = to.mul(error, to.constant(ROUNDING))
    wrong = to.less(to.mul(to.constant(_OFF), to.load(ROW_EXCESS, v)), to.mul(rounding, delta))
    to.put(size, ROW_DELTA_SIZE, v)
    to.put(error, ROW_DELTA_ERROR, v)
    to.put(to.builder.select(wrong, to.constant(1.0), to.load(ROW_MARK, v)), ROW_MARK, v)


def _write_cell(to: Writer, v: int, _: Any, mu: Any, __: Any) -> Any:
    """Follow what belongs to a cell as a whole; `mu` is the fastest mode's, 0 without one."""
    _write_growth(to, v, mu)
    _write_scale(to, v)
    return to.less(to.constant(0.0), to.constant(1.0))  # nothing more to do


@helper
def _last_look(table, j, mu, past):  # type: ignore[no-untyped-def]
    """Do as `_write_growth` and `_write_scale` for lane j, whose cell ends `past` + 1 steps after its last look."""
    growth = table[ROW_GROWTH * LANES + j]
    first, least = 1 if growth < 1.0 else 0, 1.0 if abs(table[ROW_DELTA * LANES + j]) > 1.0 else 2.0
    if growth != _AT_MINIMISER:
        growth = max(growth, 1.0)
        for row in range(first, past + 1):
            factor = abs(fma(-mu, table[(ROW_PAST_A + row) * LANES + j], 1.0))
            growth *= factor if factor > least else 1.0
    kept = 1.0
    for _ in range(past + 1):
        kept *= abs(table[ROW_KEEP * LANES + j])
    delta = abs(table[ROW_DELTA * LANES + j])
    most = max(kept * table[ROW_DELTA_SIZE * LANES + j], delta + table[ROW_N * LANES + j])
    rounding = (kept * table[ROW_DELTA_ERROR * LANES + j] + (past + 1) * most) * ROUNDING
    if growth > BURSTS or rounding * delta > _OFF * table[ROW_EXCESS * LANES + j]:
        table[ROW_MARK * LANES + j] = 1.0


_watched_all, _watched_half, _watched_one = (one_mode_pass(_write_watched, n) for n in WIDTHS)
_cell_all, _cell_half, _cell_one = (lane_pass(_write_cell, n) for n in WIDTHS)


@helper
def _watch(table, state, silent_state, modes, silent_modes, watched, n_lanes):  # type: ignore[no-untyped-def]
    """Follow the watched modes over the last `WATCH` steps; mark cells and slave modes."""
    m = state.shape[0]
    for t in range(watched.size):
        i = watched[t]
        mu, pull = _mode(modes, silent_modes, i)
        silent = i >= m
        of, k = (silent_state, i - m) if silent else (state, i)
        if n_lanes == LANES:
            alone = _watched_all(table, of, k, t, mu, pull)
        elif n_lanes == VECTOR:
            alone = _watched_one(table, of, k, t, mu, pull)
        else:
            alone = _watched_half(table, of, k, t, mu, pull)
        if alone and not silent:
            for j in range(n_lanes):
                if table[ROW_SLAVED * LANES + j] > 0.0:
                    found, converged = _slaved(table, j, mu, pull)
                    if converged:
                        pending = abs(fma(-mu, table[ROW_A * LANES + j], 1.0))
                        state[i, j] = found
                        table[(ROW_ERROR + t) * LANES + j] = _SERIES / ROUNDING * abs(found) * pending
    mu = _fastest(modes, silent_modes, watched)
    if n_lanes == LANES:
        _cell_all(table, 0, mu, 0.0)
    elif n_lanes == VECTOR:
        _cell_one(table, 0, mu, 0.0)
    else:
        _cell_half(table, 0, mu, 0.0)


@helper
def _slaved(table, j, mu, pull):  # type: ignore[no-untyped-def]
    """Return the value of a mode without own amplitude, and whether the series has converged to rounding.

    The solution of ``z+ = (1 - A mu) z + b B`` that follows from the forcing alone is the limit of
    ``f <- (b B - (f+ - f))/(A mu)`` from ``f = b B/(A mu)``. Each time the window of remembered values shrinks by one:
    that gives f `_TERMS` steps back, and plain steps lead from there to the present.
    """
    f = np.empty(_TERMS + 1)
    first = WATCH - 1 - _TERMS
    for k in range(_TERMS + 1):
        f[k] = pull * table[(ROW_PAST_B + first + k) * LANES + j] / (table[(ROW_PAST_A + first + k) * LANES + j] * mu)
    last = 0.0
    for term in range(_TERMS):
        last = f[0]
        for k in range(_TERMS - term):
            force = pull * table[(ROW_PAST_B + first + k) * LANES + j]
            f[k] = (force - (f[k + 1] - f[k])) / (table[(ROW_PAST_A + first + k) * LANES + j] * mu)
    x = f[0]
    if not abs(x - last) <= _SERIES * abs(x):
        return 0.0, False
    for k in range(_TERMS):
        A, B = table[(ROW_PAST_A + first + k) * LANES + j], table[(ROW_PAST_B + first + k) * LANES + j]
        x = fma(fma(-mu, A, 1.0), x, pull * B)
    return x, True


# -------------------------------------------------------------------- what is kept


@helper
def _squared_norm(table, state, silent_state, modes, silent_modes, u_norm2, explained, j):  # type: ignore[no-untyped-def]
    """Return sum_i w_i^2 of lane j at the present step."""
    total, along = 0.0, 0.0
    for i in range(state.shape[0]):
        x = state[i, j] / modes[2 * i]
        along += modes[2 * i + 1] * x
        total += state[i, j] * x
    for i in range(silent_state.shape[0]):
        total += silent_state[i, j] * (silent_state[i, j] / silent_modes[2 * i])
    along = table[ROW_BETA * LANES + j] - along
    return u_norm2 * (along * along) + explained * total


@helper
def _rate(table, state, silent_state, modes, silent_modes, j):  # type: ignore[no-untyped-def]
    """Return the last ratio of sqrt(excess) of lane j where its slowest mode carries the excess, else NaN.

    One step multiplies the excess, a sum of squares c, by the mean of the squared factors under c, which lacks
    ``sum c (top^2 - factor^2)/sum c`` to the limit top^2. That must be small beside top^2 and, for a ratio close to 1
    says nothing by being close to 1, beside the distance of top^2 from 1.
    """
    if not 0.0 < table[ROW_EXCESS * LANES + j] <= _LINEAR or not table[ROW_PREVIOUS * LANES + j] > 0.0:
        return np.nan
    A = table[ROW_A * LANES + j]
    delta, sigma2 = table[ROW_DELTA * LANES + j], table[ROW_V * LANES + j] + table[ROW_BETA * LANES + j] ** 2
    top = abs(table[ROW_KEEP * LANES + j]) if delta != 0.0 else 0.0
    for i in range(state.shape[0]):  # a mode that is there may be too small to be seen in V
        if state[i, j] != 0.0:
            top = max(top, abs(fma(-A, modes[2 * i], 1.0)))
    for i in range(silent_state.shape[0]):
        top = max(top, abs(fma(-A, silent_modes[2 * i], 1.0)))
    keep = abs(table[ROW_KEEP * LANES + j])
    total = sigma2 * delta * delta
    lacking = total * ((top - keep) * (top + keep))
    for i in range(state.shape[0]):
        factor, share = abs(fma(-A, modes[2 * i], 1.0)), state[i, j] * state[i, j]
        total += share
        lacking += share * ((top - factor) * (top + factor))
    for i in range(silent_state.shape[0]):
        factor, share = abs(fma(-A, silent_modes[2 * i], 1.0)), silent_state[i, j] * silent_state[i, j]
        total += share
        lacking += share * ((top - factor) * (top + factor))
    small = _SETTLED * min(top * top, max(abs((top - 1.0) * (top + 1.0)), 1e-5 * top * top))
    return last_ratio(table, j) if lacking <= small * total else np.nan


@helper
def _record(table, lanes, active, now, record, state, silent_state, modes, silent_modes, u_norm2, explained, trace):  # type: ignore[no-untyped-def]
    """Keep the numbers of every lane whose cell is at a step to record."""
    for j in range(active):
        r = lanes[j].next_record
        if lanes[j].cell >= 0 and r < record.size and record[r] == now - lanes[j].began:
            _keep(
                table, lanes, j, state, silent_state, modes, silent_modes, u_norm2, explained, trace[r, lanes[j].cell]
            )
            lanes[j].next_record = r + 1


@helper
def _keep(table, lanes, j, state, silent_state, modes, silent_modes, u_norm2, explained, numbers):  # type: ignore[no-untyped-def]
    numbers[0] = table[ROW_EXCESS * LANES + j]
    numbers[1] = table[ROW_N * LANES + j]
    numbers[2] = table[ROW_ALPHA * LANES + j]
    numbers[3] = table[ROW_A * LANES + j]
    numbers[4] = _squared_norm(table, state, silent_state, modes, silent_modes, u_norm2, explained, j)
    numbers[5] = lanes[j].exponent
    numbers[6] = table[ROW_MARK * LANES + j]


# -------------------------------------------------------------------- a tile


@helper
def _begin(table, lanes, j, c, now, beta0, alpha0, eps, eps_a, start, silent_start, watched):  # type: ignore[no-untyped-def]
    """Begin cell c in lane j, whose modes stand at the start."""
    begin_table(table, j, beta0, alpha0, eps)
    table[ROW_ALPHA * LANES + j] = alpha0
    begin_lane(lanes, j, c, now)
    for t in range(watched.size):
        i = watched[t]
        z = start[i] if i < start.size else silent_start[i - start.size]
        table[(ROW_OWN + t) * LANES + j] = table[(ROW_SIZE + t) * LANES + j] = abs(z)


@helper
def _first_look(table, j, delta0, eps_a):  # type: ignore[no-untyped-def]
    """Finish step 0, whose delta is known better than as a difference, and let the cell's own eps_a act."""
    table[ROW_KEEP * LANES + j] = 1.0 - eps_a
    table[ROW_EPS_A * LANES + j] = eps_a
    table[ROW_DELTA * LANES + j] = delta0
    table[ROW_DELTA_SIZE * LANES + j] = abs(delta0) + table[ROW_N * LANES + j]
    table[ROW_GROWTH * LANES + j] = 0.0 if table[ROW_N * LANES + j] > NEAR else _AT_MINIMISER
    table[ROW_EXCESS * LANES + j] = fma(delta0, delta0, table[ROW_N * LANES + j])


@helper
def _vacate(table, lanes, state, silent_state, j):  # type: ignore[no-untyped-def]
    """Leave lane j without a cell."""
    empty(state, j)
    empty(silent_state, j)
    empty_table(table, j)
    lanes[j].cell = -1


@entry
def star_tile(  # type: ignore[no-untyped-def]
    modes,
    silent_modes,
    start,
    silent_start,
    watched,
    beta0,
    alpha0,
    delta0,
    mean_eigval,
    u_norm2,
    explained,
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
        ``mu_i, b_i`` in turn for the roots, ``lambda_i, 0`` for the modes that u does not reach.
    start, silent_start : float64[m], float64[n]
        z_i at step 0.
    watched : int64[at most MAX_WATCHED]
        Numbers of the modes near the top, silent ones counted after the others.
    beta0, alpha0, delta0, mean_eigval, u_norm2, explained : float64
        beta, a/sqrt(E) and ``a/sqrt(E) - cos`` at step 0, L, ``||u||^2`` of the modes u reaches, E.
    eps, eps_a : float64[cells]
        Learning rates in the scaled units of the coordinates.
    n_steps : int64
        Steps each cell runs; `stop_at_tol` ends it at the first step with excess <= tol.
    floor, limit : float64
        A cell also ends at excess <= floor, or > limit.
    cancel : uint8[1]
        Set to 1 from outside to give up; cells that had not ended keep the status CANCELLED.
    counts : int64[cells, 3], written
        status, first step with excess <= tol (-1: none), last step.
    numbers : float64[cells, 8], written
        excess, n, a/sqrt(E), eps_eff, squared norm of w times 4**e, e, whether rounding decided, settled ratio of
        sqrt(excess) (NaN: none).
    record, trace : int64[r] ascending, float64[r, cells, 7], written
        Steps to record, and there, up to a cell's end, the first 7 of these numbers.
    """
    n_cells = eps.size
    state = np.empty((start.size, LANES))
    silent_state = np.empty((silent_start.size, LANES))
    table = np.zeros(STAR_ROWS * LANES)
    lanes = np.zeros(LANES, LANE)

    for c in range(n_cells):
        counts[c, 0] = CANCELLED
    fill_all(state, start)
    fill_all(silent_state, silent_start)
    active = min(LANES, n_cells)
    for j in range(active):
        _begin(table, lanes, j, j, 0, beta0, alpha0, eps[j], eps_a[j], start, silent_start, watched)
    for j in range(active, LANES):
        _vacate(table, lanes, state, silent_state, j)
    next_cell = active
    free = 0
    now = 0
    ends = n_steps
    records = next_record(lanes, active, record)

    while active > 0 and cancel[0] == 0:
        n_lanes = width(active)
        _mode_pass(state, modes, silent_state, silent_modes, table, n_lanes)
        past = now % WATCH
        look = _lane_pass(table, n_lanes, past, mean_eigval, limit)
        if past == WATCH - 1:
            _watch(table, state, silent_state, modes, silent_modes, watched, n_lanes)
        scheduled = False
        if look:
            for j in range(active):
                if lanes[j].cell >= 0 and now == lanes[j].began:
                    _first_look(table, j, delta0, eps_a[lanes[j].cell])
        if now == records:
            _record(
                table, lanes, active, now, record, state, silent_state, modes, silent_modes, u_norm2, explained, trace
            )
            scheduled = True
        if look or now == ends:
            scheduled = True
            for j in range(active):
                c = lanes[j].cell
                if c < 0:
                    continue
                ended = judge(table, lanes, j, now, n_steps, tol, stop_at_tol, floor, limit)
                if ended == GOES_ON:
                    shift = _rescaling(table, j)
                    if shift != 0:
                        _rescale(table, lanes, state, silent_state, j, shift)
                    continue
                counts[c, 0], counts[c, 1], counts[c, 2] = ended, lanes[j].hit, now - lanes[j].began
                if past != WATCH - 1:
                    _last_look(table, j, _fastest(modes, silent_modes, watched), past)
                _keep(table, lanes, j, state, silent_state, modes, silent_modes, u_norm2, explained, numbers[c])
                numbers[c, 7] = _rate(table, state, silent_state, modes, silent_modes, j)
                _vacate(table, lanes, state, silent_state, j)
                free += 1
        if free > 0 and (past == WATCH - 1 or free == active):
            # fill the free lanes, or move the last ones to them, so that lanes in use stay together
            scheduled = True
            now += WATCH - 1 - past  # no cell is on its way if all are free
            j = 0
            while j < active:
                if lanes[j].cell >= 0:
                    j += 1
                elif next_cell < n_cells:
                    fill(state, j, start)
                    fill(silent_state, j, silent_start)
                    _begin(
                        table,
                        lanes,
                        j,
                        next_cell,
                        now + 1,
                        beta0,
                        alpha0,
                        eps[next_cell],
                        eps_a[next_cell],
                        start,
                        silent_start,
                        watched,
                    )
                    next_cell += 1
                    j += 1
                else:
                    active -= 1
                    if j < active:
                        move(state, j, active)
                        move(silent_state, j, active)
                        move_table(table, j, active)
                        lanes[j] = lanes[active]
                    _vacate(table, lanes, state, silent_state, active)
            free = 0
        if scheduled:
            ends = next_end(lanes, active, now, n_steps)
            records = next_record(lanes, active, record)
        now += 1
