"""The one loop: the cells of a tile on the lanes of a block, step by step, for every dynamics.

The lanes are grid cells; a cell that ends hands its lane to the next. Which lane a cell is on, and beside which others,
changes no bit of it. What a step computes is in the compiled functions of its kind, which are called by address: so
this loop is compiled once.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from olsbn.engine.compile import LANES, entry, helper
from olsbn.engine.emit import (
    AGAIN,
    CHECK,
    EXCESS,
    HISTORY,
    HUGE,
    LEVEL,
    LOW,
    MARK,
    OUT,
    OWN,
    PREVIOUS,
)
from olsbn.engine.ending import CANCELLED, GOES_ON, ending
from olsbn.engine.rates import settled_ratio
from olsbn.engine.step import REPORTED
from olsbn.engine.vectors import VECTOR, width

NEVER = np.iinfo(np.int64).max

LANE = np.dtype(
    [
        ("cell", np.int64),  # number of the cell in the tile, -1 for none
        ("began", np.int64),  # step of the block that is step 0 of the cell
        ("hit", np.int64),  # first step with excess <= tol, -1 before
        ("exponent", np.int64),  # w stands scaled by 2**exponent
        ("next_record", np.int64),  # position in the steps to record
    ]
)

# What is kept of a cell at a step, besides what is reported.
N_EXCESS, N_EXPONENT, N_MARK, N_AGAIN, N_RATE, N_HISTORY = range(6)
N_REPORTED = 6
N_NUMBERS = N_REPORTED + len(REPORTED)
_TURN, _TURN_A, _COUPLE, _MOMENTUM, _NESTEROV, _DELTA = (
    OUT + REPORTED.index(name) for name in ("turn", "turn_a", "couple", "momentum", "nesterov", "delta")
)

_ending = helper(ending)


class Code(NamedTuple):
    """Addresses of the compiled functions, and where the numbers stand that the loop knows of (-1: there is none)."""

    step: int
    report: int
    track: int
    row_A: int
    row_B: int
    row_V: int
    row_beta: int
    row_factor: int
    row_factor_a: int
    aligned: bool  # whether cells begin at steps of the block that are divisible by `CHECK`


class Group(NamedTuple):
    """The modes of a group: their numbers as the passes read them, and their start."""

    numbers: np.ndarray
    reported: np.ndarray
    start: np.ndarray  # float64[modes, state]
    mu: np.ndarray  # eigenvalues, for rates and for slaving
    b: np.ndarray


class Lanes(NamedTuple):
    """How a lane begins, what it holds without a cell, and which rows scale with w, by which power."""

    begin: np.ndarray
    idle: np.ndarray
    power: np.ndarray
    facts: np.ndarray


class Cells(NamedTuple):
    """The parameters of the cells, in the rows `where`; the schedules' factors; and what the ends depend on."""

    params: np.ndarray  # float64[cells, p]
    where: np.ndarray  # int64[p]
    factors: np.ndarray  # float64[t, n_steps + 1]
    which: np.ndarray  # int64[cells, 2]: the rows of `factors` for w and for a
    rests: np.ndarray  # bool[cells]
    may_return: np.ndarray
    settles: np.ndarray


class Ask(NamedTuple):
    """How far the cells run."""

    n_steps: int
    tol: float
    stop_at_tol: bool
    floor: float
    limit: float
    cancel: np.ndarray


class Out(NamedTuple):
    """What is written: integers and numbers of each cell, and the numbers at the steps to record."""

    counts: np.ndarray  # int64[cells, 3]: status, first step with excess <= tol (-1: none), last step
    numbers: np.ndarray  # float64[cells, N_NUMBERS]
    record: np.ndarray  # int64[r], ascending, only read
    trace: np.ndarray  # float64[r, cells, N_NUMBERS]


def _calling(n_integers: int, n_floats: int) -> Any:
    """Return the LLVM type of a compiled function."""
    integer, real = ir.IntType(64), ir.DoubleType()
    return ir.FunctionType(integer, [integer] * n_integers + [real] * n_floats)


def _write_call(_typing: Any, address: Any, args: Any) -> Any:
    """Call the function at an address with a tuple of integers, the last numbers being float64."""
    n_floats = sum(isinstance(t, types.Float) for t in args.types)
    function_type = _calling(len(args.types) - n_floats, n_floats)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        numbers = []
        for i, t in enumerate(signature.args[1].types):
            value = builder.extract_value(values[1], i)
            wanted = types.float64 if isinstance(t, types.Float) else types.int64
            numbers.append(context.cast(builder, value, t, wanted))
        return builder.call(builder.inttoptr(values[0], function_type.as_pointer()), numbers)

    return types.int64(address, args), generate


def _write_address(_typing: Any, array: Any) -> Any:
    """Return where an array's numbers are."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, values[0]).data, ir.IntType(64))

    return types.int64(array), generate


_call: Any = intrinsic(_write_call)
_address: Any = intrinsic(_write_address)


# -------------------------------------------------------------------- lanes


@helper
def _fill(state, j, start):  # type: ignore[no-untyped-def]
    for i in range(start.shape[0]):
        for s in range(start.shape[1]):
            state[i, s * LANES + j] = start[i, s]


@helper
def _set(table, j, values):  # type: ignore[no-untyped-def]
    for row in range(values.size):
        table[row * LANES + j] = values[row]


@helper
def _begin(table, lanes, j, c, now, modes, others, how, cells, tracked):  # type: ignore[no-untyped-def]
    """Begin cell c in lane j: its first pass over the modes moves nothing and only makes the sums of step 0."""
    _set(table, j, how.begin)
    for i in range(cells.where.size):
        table[cells.where[i] * LANES + j] = cells.params[c, i]
    table[LEVEL * LANES + j] = np.inf
    lanes[j].cell, lanes[j].began, lanes[j].hit = c, now, -1
    lanes[j].exponent, lanes[j].next_record = 0, 0
    n = modes.start.shape[0]
    for t in range(tracked.size):
        i = tracked[t]
        table[(OWN + t) * LANES + j] = abs(modes.start[i, 0] if i < n else others.start[i - n, 0])


@helper
def _vacate(table, lanes, state, other, j, how):  # type: ignore[no-untyped-def]
    """Leave lane j without a cell: at a fixed point that never asks to be looked at."""
    for modes in (state, other):
        for i in range(modes.shape[0]):
            for s in range(modes.shape[1] // LANES):
                modes[i, s * LANES + j] = 0.0
    _set(table, j, how.idle)
    lanes[j].cell = -1


@helper
def _move(array, j, source):  # type: ignore[no-untyped-def]
    for i in range(array.shape[0]):
        for s in range(array.shape[1] // LANES):
            array[i, s * LANES + j] = array[i, s * LANES + source]


@helper
def _shift(table, j, code):  # type: ignore[no-untyped-def]
    """Return the exponent of two by which w of lane j is to be scaled so that its next step stays in range; 0: not.

    (w, eps) -> (f w, f^2 eps) changes nothing but the norm, and for a power of two no digit. It leaves A as it is: what
    counts is how far w moves.
    """
    if code.row_V < 0:
        return 0
    size = abs(table[code.row_A * LANES + j]) * math.sqrt(table[code.row_V * LANES + j])
    if code.row_B >= 0:
        size += abs(table[code.row_B * LANES + j])
    size += abs(table[code.row_beta * LANES + j])
    if HUGE <= size < np.inf:
        return -(math.frexp(size)[1] * 3 // 4)
    low = table[LOW * LANES + j]
    if 0.0 < low < np.inf and not 1.0 / HUGE < low < HUGE:
        return -(math.frexp(low)[1] // 2)
    return 0


@helper
def _rescale(table, lanes, state, other, j, shift, how):  # type: ignore[no-untyped-def]
    """Scale all numbers of lane j that scale with w."""
    factor = math.ldexp(1.0, shift)
    for modes in (state, other):
        for i in range(modes.shape[0]):
            for s in range(modes.shape[1] // LANES):
                modes[i, s * LANES + j] *= factor
    for row in range(how.power.size):
        p = how.power[row]
        for _ in range(abs(p)):
            table[row * LANES + j] *= factor if p > 0 else 1.0 / factor
    lanes[j].exponent += shift


@helper
def _next_end(lanes, active, now, n_steps):  # type: ignore[no-untyped-def]
    """Return the step of the block at which the next cell has run all its steps."""
    first = now + n_steps + 1
    for j in range(active):
        if lanes[j].cell >= 0:
            first = min(first, lanes[j].began + n_steps)
    return first


@helper
def _next_record(lanes, active, record):  # type: ignore[no-untyped-def]
    """Return the step of the block at which a cell is to be recorded next."""
    first = NEVER
    if record.size:
        for j in range(active):
            if lanes[j].cell >= 0 and lanes[j].next_record < record.size:
                first = min(first, lanes[j].began + record[lanes[j].next_record])
    return first


@helper
def _check_modes(code, addresses, n_lanes, modes, others, tracked):  # type: ignore[no-untyped-def]
    """Follow the tracked modes over the last `CHECK` steps, and slave those without an amplitude of their own."""
    n = modes.mu.size
    for t in range(tracked.size):
        i = tracked[t]
        if i < n:
            _call(code.track, (*addresses, n_lanes, 0, i, t, modes.mu[i], modes.b[i]))
        else:
            _call(code.track, (*addresses, n_lanes, 1, i - n, t, others.mu[i - n], 0.0))


# -------------------------------------------------------------------- what is kept


@helper
def _keep(table, lanes, j, numbers):  # type: ignore[no-untyped-def]
    numbers[N_EXCESS] = table[EXCESS * LANES + j]
    numbers[N_EXPONENT] = lanes[j].exponent
    numbers[N_MARK] = table[MARK * LANES + j]
    numbers[N_AGAIN] = table[AGAIN * LANES + j]
    numbers[N_HISTORY] = table[HISTORY * LANES + j]
    for i in range(N_NUMBERS - N_REPORTED):
        numbers[N_REPORTED + i] = table[(OUT + i) * LANES + j]


@helper
def _rate(table, j, state, other, modes, others):  # type: ignore[no-untyped-def]
    row = j
    return settled_ratio(
        table[EXCESS * LANES + row], table[PREVIOUS * LANES + row], table[_TURN * LANES + row],
        table[_TURN_A * LANES + row], table[_COUPLE * LANES + row], table[_MOMENTUM * LANES + row],
        table[_NESTEROV * LANES + row], table[_DELTA * LANES + row], state[:, j], other[:, j], modes.mu, modes.b,
        others.mu,
    )  # fmt: skip


# -------------------------------------------------------------------- a tile


@entry
def run_tile(code, modes, others, how, cells, tracked, asked, written):  # type: ignore[no-untyped-def]
    """Run every cell of a tile.

    Parameters
    ----------
    code : Code
        What the kind's compiled functions are, and where its numbers stand.
    modes, others : Group
        The coupled and the decoupled modes.
    how : Lanes
    cells : Cells
    tracked : int64[at most MAX_TRACKED]
        Numbers of the modes near the top, decoupled ones counted after the others.
    asked : Ask
        Cells that had not ended when `cancel` was set keep the status CANCELLED.
    written : Out
    """
    n_steps, tol, stop_at_tol, floor, limit, cancel = asked
    counts, numbers, record, trace = written
    n_cells = cells.params.shape[0]
    state = np.empty((modes.start.shape[0], modes.start.shape[1] * LANES))
    other = np.empty((others.start.shape[0], others.start.shape[1] * LANES))
    table = np.zeros(how.begin.size * LANES)
    lanes = np.zeros(LANES, LANE)
    for c in range(n_cells):
        counts[c, 0] = CANCELLED
    for group, start in ((state, modes.start), (other, others.start)):
        for i in range(start.shape[0]):  # a lane at a time would touch every cache line for each
            for s in range(start.shape[1]):
                group[i, s * LANES : (s + 1) * LANES] = start[i, s]
    active = min(LANES, n_cells)
    for j in range(active):
        _begin(table, lanes, j, j, 0, modes, others, how, cells, tracked)
    for j in range(active, LANES):
        _vacate(table, lanes, state, other, j, how)
    next_cell, free, now, ends = active, 0, 0, n_steps
    last = cells.factors.shape[1] - 1  # one factor stands for all steps
    records = _next_record(lanes, active, record)
    addresses = (
        _address(state), _address(other), _address(modes.numbers), _address(others.numbers), state.shape[0],
        other.shape[0], _address(table), _address(how.facts),
    )  # fmt: skip
    to_report = (
        _address(state), _address(other), _address(modes.reported), _address(others.reported), state.shape[0],
        other.shape[0], _address(table), _address(how.facts),
    )  # fmt: skip

    while active > 0 and cancel[0] == 0:
        n_lanes, past = width(active), now % CHECK
        if code.row_factor >= 0 or code.row_factor_a >= 0:
            for j in range(active):
                c = lanes[j].cell
                if c >= 0:
                    if code.row_factor >= 0:
                        table[code.row_factor * LANES + j] = cells.factors[
                            cells.which[c, 0], min(now - lanes[j].began, last)
                        ]
                    if code.row_factor_a >= 0:
                        table[code.row_factor_a * LANES + j] = cells.factors[
                            cells.which[c, 1], min(now - lanes[j].began, last)
                        ]
        look = _call(code.step, (*addresses, n_lanes, past))
        if code.track != 0 and past == CHECK - 1:
            _check_modes(code, addresses, n_lanes, modes, others, tracked)
        scheduled = False
        if now == records:
            scheduled = True
            told = -1
            for j in range(active):
                r = lanes[j].next_record
                if lanes[j].cell >= 0 and r < record.size and record[r] == now - lanes[j].began:
                    if told != j // VECTOR:
                        told = j // VECTOR
                        _call(code.report, (*to_report, told, 0))
                    _keep(table, lanes, j, trace[r, lanes[j].cell])
                    lanes[j].next_record = r + 1
        if look != 0 or now == ends:
            scheduled = True
            told = -1
            for j in range(active):
                c = lanes[j].cell
                if c < 0:
                    continue
                k, excess = now - lanes[j].began, table[EXCESS * LANES + j]
                if k == 0:
                    table[AGAIN * LANES + j] = 0.0
                    table[PREVIOUS * LANES + j] = np.inf
                if excess <= tol and lanes[j].hit < 0:
                    lanes[j].hit = k
                table[LEVEL * LANES + j] = floor if lanes[j].hit >= 0 else max(floor, tol)
                ended = _ending(
                    k, excess, table[PREVIOUS * LANES + j], lanes[j].hit, n_steps, stop_at_tol, floor, limit,
                    cells.rests[c], cells.may_return[c],
                )  # fmt: skip
                if ended == GOES_ON:
                    shift = _shift(table, j, code)
                    if shift != 0:
                        _rescale(table, lanes, state, other, j, shift, how)
                    continue
                counts[c, 0], counts[c, 1], counts[c, 2] = ended, lanes[j].hit, k
                if told != j // VECTOR:
                    told = j // VECTOR
                    _call(code.report, (*to_report, told, 0))
                _keep(table, lanes, j, numbers[c])
                if cells.settles[c]:
                    numbers[c, N_RATE] = _rate(table, j, state, other, modes, others)
                _vacate(table, lanes, state, other, j, how)
                free += 1
        if free > 0 and (not code.aligned or past == CHECK - 1 or free == active):
            # fill the free lanes, or move the last ones to them, so that lanes in use stay together
            scheduled = True
            if code.aligned:
                now += CHECK - 1 - past  # no cell is on its way if all are free
            j = 0
            while j < active:
                if lanes[j].cell >= 0:
                    j += 1
                elif next_cell < n_cells:
                    _fill(state, j, modes.start)
                    _fill(other, j, others.start)
                    _begin(table, lanes, j, next_cell, now + 1, modes, others, how, cells, tracked)
                    next_cell += 1
                    j += 1
                else:
                    active -= 1
                    if j < active:
                        _move(state, j, active)
                        _move(other, j, active)
                        for row in range(how.begin.size):
                            table[row * LANES + j] = table[row * LANES + active]
                        lanes[j] = lanes[active]
                    _vacate(table, lanes, state, other, active, how)
            free = 0
        if scheduled:
            ends = _next_end(lanes, active, now, n_steps)
            records = _next_record(lanes, active, record)
        now += 1
