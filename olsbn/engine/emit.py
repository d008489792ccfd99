"""Machine code of a step: LLVM vectors, written by running the description on values that are instructions.

A block of `LANES` cells has a state, float64[modes, state, LANES] for each group of modes, and a table of rows,
float64[rows, LANES], with all numbers of a lane. Compiled are three functions of addresses, each once for a kind and
kept on disk; `olsbn.engine.tile` calls them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from olsbn.engine.compile import LANES, entry_address
from olsbn.engine.describe import Named, Number, Value, fma, is_zero, largest, size, where
from olsbn.engine.step import DECOUPLED, REPORTED, Kind
from olsbn.engine.vectors import VECTOR, WIDTHS, Writer, _const, anywhere, not_everywhere

CHECK = 16  # steps between two checks of the modes near the top, and values of A, B and D that are remembered
MAX_TRACKED = 8  # of these modes
SEED = 2.0**-1000  # too small to change anything but what would underflow, from where it could never grow again
HUGE = 2.0**300  # a step this long would overflow the sums

# Rows of the table that every kind has; those of a kind's own names follow.
EXCESS, PREVIOUS, LEVEL, AGAIN, MARK, SIZE, LOW, HISTORY, NOISE = range(9)
OUT = 9  # what is reported, in the order of `REPORTED`
OWN = OUT + len(REPORTED)  # homogeneous parts of the tracked modes
UNSEEN = OWN + MAX_TRACKED  # what slaved ones may have of their own
PAST_A = UNSEEN + MAX_TRACKED
PAST_B = PAST_A + CHECK
NAMED = PAST_B + CHECK

# A cell is to be run again where the bound on rounding, in units of one rounding, is this share of the excess or more:
# 1e-12 in relative terms, as a square
_NOISY = 2.0**-27
_TERMS = 8  # of the series of a slaved mode
_SERIES = 1e-13  # to this share the series of a slaved mode has to converge
_ROUNDINGS = 2.0**-44  # what rounding may have made of a mode since the last check, but for its factors
_SLAVED = 1e-20  # a homogeneous part below this share of the mode is no part of it
# A slaved mode is flagged when what it may have of its own is this share of it, where the sums see it: by its share of
# V, or of beta
_GROWN, _SEEN, _MOVES = 2.0**-34, 1e-13, 1e-12

_INT = ir.IntType(64)
_DOUBLES = ir.DoubleType().as_pointer()


class Rows(NamedTuple):
    """Where the numbers of a kind stand."""

    row: dict[str, int]
    fact: dict[str, int]
    past_D: int  # the first of the remembered D; 0 where D is 1
    n_rows: int


@cache
def rows(kind: Kind) -> Rows:
    """Return the rows of a kind's table, and the places of the facts; the first fact is the limit of the excess."""
    layout = kind.layout
    names = dict.fromkeys([*layout.sums, *layout.report_sums, *layout.made, *layout.params])
    row = {name: NAMED + i for i, name in enumerate(names)}
    n_rows = NAMED + len(names)
    past_D = n_rows if "D" in row else 0
    return Rows(row, {name: 1 + i for i, name in enumerate(layout.facts)}, past_D, n_rows + (CHECK if past_D else 0))


class _Pass:
    """One function being written: the addresses it got, and the description's numbers as vectors."""

    def __init__(self, kind: Kind, builder: Any, args: list[Any]) -> None:
        self.kind, self.builder, self.rows = kind, builder, rows(kind)
        state0, state1, numbers0, numbers1, self.n0, self.n1, table, facts = args
        self.states = self._pointer(state0), self._pointer(state1)
        self.numbers = self._pointer(numbers0), self._pointer(numbers1)
        self.table, self.facts = self._pointer(table), self._pointer(facts)

    def _pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, _DOUBLES)

    def groups(self) -> list[tuple[str, Any, Any, Any]]:
        """Return name, state, numbers and size of each group of modes."""
        n = self.n0, self.n1
        return [(name, self.states[i], self.numbers[i], n[i]) for i, name in enumerate(self.kind.step.numbers)]

    def writer(self, state: Any, numbers: Any, n_lanes: int) -> Writer:
        return Writer(self.builder, state, numbers, self.table, n_lanes)

    def lane_numbers(self, to: Writer, v: Any, further: Any = None) -> Named:
        """Return the numbers of group v of lanes: rows of the table, facts, and folded parameters."""
        facts = Writer(self.builder, None, self.facts, None, VECTOR)

        def load(name: str) -> Number:
            if name in self.rows.fact:
                return Value(to, facts.fact(self.rows.fact[name]))
            if name not in self.rows.row:
                return Value(to, to.constant(0.0))  # nothing depends on it
            return Value(to, to.load(self.rows.row[name], v, further))

        return self.kind.known(load)

    # ---------------------------------------------------------------- modes

    def modes(self, n_lanes: int) -> None:
        """Advance all modes of the first lanes and make the sums."""
        layout, step = self.kind.layout, self.kind.step
        for which, (group, state, numbers, n) in enumerate(self.groups()):
            to = self.writer(state, numbers, n_lanes)
            zeros = [to.constant(0.0) for _ in to.groups]
            slots = {
                name: to.slots(zeros if which == 0 else to.row(self.rows.row[name]))
                for name in layout.sums
                if which == 0 or name in self._summed(group)
            }
            lanes = [self.lane_numbers(to, v) for v in to.groups]
            # what the modes read is loaded before the loop
            for v in to.groups:
                self._body(step, group, _Unwritten(to), lanes[v])
            with cgutils.for_range(self.builder, n) as at:
                read = dict(zip(layout.numbers[group], to.mode(at.index, len(layout.numbers[group])), strict=True))
                for v in to.groups:
                    mode = _mode(to, read, seed=SEED if group == DECOUPLED else 0.0)
                    here = Named(lambda name, to=to, at=at, v=v: Value(to, self._state(to, at.index, name, v)))  # type: ignore[misc]
                    new, terms = step.modes(group, mode, here, lanes[v])
                    for name in layout.state:
                        self._put_state(to, at.index, name, v, new[name])
                    for name, (x, y) in terms.items():
                        if name in slots and not is_zero(x) and not is_zero(y):
                            value = Value(to, self.builder.load(slots[name][v]))
                            self.builder.store(fma(x, y, value).v, slots[name][v])
            for name, places in slots.items():
                to.put_row(self.rows.row[name], [self.builder.load(place) for place in places])

    def _body(self, step: Any, group: str, to: Any, lanes: Named) -> None:
        """Run the description once on nothing, so that the rows it reads are loaded."""
        nothing = Named(lambda name: Value(to, None))
        step.modes(group, nothing, nothing, _Loaded(lanes, to))

    def _summed(self, group: str) -> set[str]:
        step, kind = self.kind.step, self.kind
        nothing = Named(lambda name: Value(_Unwritten(None), None))
        return set(step.modes(group, nothing, nothing, kind.known(lambda name: Value(_Unwritten(None), None)))[1])

    def _at(self, to: Writer, i: Any, name: str, v: int) -> Any:
        names = self.kind.layout.state
        first = self.builder.mul(i, _const(len(names) * LANES))
        return self.builder.add(first, _const(names.index(name) * LANES + v * VECTOR))

    def _state(self, to: Writer, i: Any, name: str, v: int) -> Any:
        if name not in self.kind.layout.state:
            return to.constant(0.0)  # read by what is not kept
        return to._load(to._state, self._at(to, i, name, v))

    def _put_state(self, to: Writer, i: Any, name: str, v: int, value: Number) -> None:
        to._store(Value(to, None).of(value), to._state, self._at(to, i, name, v))

    # ---------------------------------------------------------------- lanes

    def lanes(self, n_lanes: int, place: Any) -> Any:
        """Make what is next of the first lanes; return whether any of them has to be looked at."""
        to = self.writer(None, None, n_lanes)
        look = not_everywhere(self.builder, [self._lanes(to, v, place) for v in to.groups])
        return self.builder.zext(look, _INT)

    def _lanes(self, to: Writer, v: int, place: Any) -> Any:
        rows, builder = self.rows, self.builder
        x = self.lane_numbers(to, v)
        made = self.kind.step.lanes(x)
        as_vector = Value(to, None).of
        before = to.load(EXCESS, v)
        self._noise(to, v, made)
        to.put(before, PREVIOUS, v)
        # what a run went through, for a later end may forget it; a float64's bits are about the logarithm
        to.put(to.add_bits(to.load(HISTORY, v), as_vector(made["excess"])), HISTORY, v)
        to.put(as_vector(made["excess"]), EXCESS, v)
        to.put(as_vector(made["size"]), SIZE, v)
        for name in self.kind.layout.made:
            if made[name] is not x.__dict__.get(name):
                to.put(as_vector(made[name]), rows.row[name], v)
        if self.kind.slaves:
            for first, name in ((PAST_A, "A"), (PAST_B, "B"), (rows.past_D, "D")):
                if first:
                    to.put(as_vector(made[name]), first, v, place)
        excess = as_vector(made["excess"])
        limit = Writer(builder, None, self.facts, None, VECTOR).fact(0)
        within = builder.fcmp_ordered("<=", excess, limit)
        quiet = to.both(within, to.less(to.load(LEVEL, v), excess))
        quiet = to.both(quiet, to.less(as_vector(made["size"]), to.constant(HUGE)))
        if "low" in made:
            low = as_vector(made["low"])
            to.put(low, LOW, v)
            quiet = to.both(quiet, to.both(to.less(to.constant(1 / HUGE), low), to.less(low, to.constant(HUGE))))
        return quiet

    def _noise(self, to: Writer, v: int, made: dict[str, Number]) -> None:
        """Follow a bound on what rounding has put into the error: each step rounds, and multiplies what was there.

        In units of the square of one rounding, and of the excess.
        """
        if not isinstance(made["growth"], Value):
            to.put(to.constant(1.0), AGAIN, v)
            return
        noise, excess = Value(to, to.load(NOISE, v)), Value(to, Value(to, None).of(made["excess"]))
        to.put(where(excess < noise * _NOISY, 1.0, Value(to, to.load(AGAIN, v))).v, AGAIN, v)
        to.put(largest(excess, noise * made["growth"]).v, NOISE, v)

    # ---------------------------------------------------------------- reports

    def report(self, which: Any) -> None:
        """Tell of the lanes of one vector, number `which`: its own sums over the modes first."""
        layout, step = self.kind.layout, self.kind.step
        down = self.builder.mul(which, _const(VECTOR))
        table = self.builder.gep(self.table, [down])
        for first, (group, state, numbers, n) in enumerate(self.groups()):
            to = Writer(self.builder, self.builder.gep(state, [down]), numbers, table, VECTOR)
            slots = {
                name: to.slots([to.constant(0.0) if first == 0 else to.load(self.rows.row[name], 0)])[0]
                for name in layout.report_sums
            }
            lanes = self.lane_numbers(to, 0)
            self._reported(step, group, _Unwritten(to), lanes)
            read_names = layout.reported_numbers[group]
            with cgutils.for_range(self.builder, n) as at:
                read = dict(zip(read_names, to.mode(at.index, len(read_names)), strict=True))
                mode = _mode(to, read)
                here = Named(lambda name, to=to, at=at: Value(to, self._state(to, at.index, name, 0)))  # type: ignore[misc]
                for name, (x, y) in step.reported_terms(group, mode, here, lanes).items():
                    if name in slots:
                        self.builder.store(fma(x, y, Value(to, self.builder.load(slots[name]))).v, slots[name])
            for name, place in slots.items():
                to.put(self.builder.load(place), self.rows.row[name], 0)
        to = Writer(self.builder, None, None, table, VECTOR)
        told = step.report(self.lane_numbers(to, 0))
        told |= {f"own {i}": told[name] for i, name in enumerate(step.told)}
        for i, name in enumerate(REPORTED):
            to.put(Value(to, None).of(told.get(name, 0.0)), OUT + i, 0)

    def _reported(self, step: Any, group: str, to: Any, lanes: Named) -> None:
        nothing = Named(lambda name: Value(to, None))
        step.reported_terms(group, nothing, nothing, _Loaded(lanes, to))

    # ---------------------------------------------------------------- slaved modes

    def track(self, n_lanes: int, group: Any, i: Any, t: Any, mu: Any, b: Any) -> None:
        """Follow tracked mode number t, mode i of a group, over the last `CHECK` steps; slave it where it can be."""
        coupled = self.builder.icmp_signed("==", group, _const(0))
        to = self.writer(self.builder.select(coupled, *self.states), None, n_lanes)
        for v in to.groups:
            slaved, product = self._track(to, v, i, t, Value(to, to.everywhere(mu)), Value(to, to.everywhere(b)))
            some = self.builder.and_(coupled, anywhere(self.builder, slaved.v))
            with self.builder.if_then(some):
                self._slave(to, v, i, t, Value(to, to.everywhere(mu)), Value(to, to.everywhere(b)), slaved, product)

    def _past(self, to: Writer, v: int, k: int) -> tuple[Value, Value, Number]:
        """Return A, B and D of remembered step k."""
        A, B = (Value(to, to.load(first + k, v)) for first in (PAST_A, PAST_B))
        return A, B, Value(to, to.load(self.rows.past_D + k, v)) if self.rows.past_D else 1.0

    def _track(self, to: Writer, v: int, i: Any, t: Any, mu: Value, b: Value) -> tuple[Value, Number]:
        """Return where a mode is slaved, and the product of its factors since the last check.

        With c = D - A mu: ``own <- |c| own``, the amplitude that the forcing has not made, and ``unseen <- |c|
        unseen``, what a slaved mode may have of its own that no float64 shows.
        """
        rows = self.rows
        own, unseen = (Value(to, to.load(row, v, t)) for row in (OWN, UNSEEN))
        product: Number = 1.0
        for k in range(CHECK - 1):  # the newest A, B and D have not moved the state yet
            A, _, D = self._past(to, v, k)
            product = size(fma(-mu, A, D)) * product
        own, unseen = own * product, unseen * product
        A, B = (Value(to, to.load(rows.row[name], v)) for name in "AB")
        z = size(Value(to, to.state(i, v)))
        forced, turn = b * size(B), mu * size(A)
        # a mode larger than what forces it explains is its own, and so is what is kept from underflow
        free = forced + forced < z * turn
        own, unseen = where(free, z, own), where(free, 0.0, unseen)
        own = where(own < 4 * SEED, 4 * SEED, own)
        share = z * _SLAVED
        slaved = (own < share) & (turn > 1.9)
        unseen = where(slaved & (unseen < share), share, unseen)
        V, beta = (Value(to, to.load(rows.row[name], v)) for name in ("V", "beta"))
        grown = unseen > z * _GROWN
        mark = Value(to, to.load(MARK, v))
        mark = where(grown & (unseen * z > V * _SEEN), 1.0, mark)
        mark = where(grown & (size(beta) * _MOVES < unseen * turn), 1.0, mark)
        to.put(mark.v, MARK, v)
        # the steps from here to the next check begin with the one that is pending
        pending = size(fma(-mu, A, Value(to, to.load(rows.row["D"], v)) if rows.past_D else 1.0))
        to.put((own * pending).v, OWN, v, t)
        to.put((unseen * pending).v, UNSEEN, v, t)
        return slaved, product

    def _slave(self, to: Writer, v: int, i: Any, t: Any, mu: Value, b: Value, slaved: Value, product: Number) -> None:
        """Set a mode without homogeneous part to what follows from the forcing, where the series has converged.

        The solution of ``z+ = (D - A mu) z + b B`` that follows from the forcing alone is the limit of
        ``f <- (b B - (f+ - f))/(A mu + 1 - D)`` from ``f = b B/(A mu + 1 - D)``. Each time the window of remembered
        values shrinks by one: that gives f `_TERMS` steps back, and plain steps lead from there to the present. Where
        the mode differs from it by more than rounding can have made since the last check, a forcing that alternated
        has left it a part of its own, which stays.
        """
        past = [self._past(to, v, CHECK - 1 - _TERMS + k) for k in range(_TERMS + 1)]
        force = [b * B for _, B, _ in past]
        inverse = [1.0 / fma(A, mu, 1.0 - D) for A, _, D in past]
        f = [x * y for x, y in zip(force, inverse, strict=True)]
        last = f[0]
        for term in range(_TERMS):
            last = f[0]
            f = [(force[k] - (f[k + 1] - f[k])) * inverse[k] for k in range(_TERMS - term)]
        x = f[0]
        found = slaved & (size(x - last) < size(x) * _SERIES)
        for k in range(_TERMS):
            A, _, D = past[k]
            x = fma(fma(-mu, A, D), x, force[k])
        z = Value(to, to.state(i, v))
        apart, own = size(z - x), Value(to, to.load(OWN, v, t))
        seen = size(x) * largest(product, 1.0) * _ROUNDINGS < apart
        to.put(where(found & seen, largest(own, apart), own).v, OWN, v, t)
        to.put_state(i, v, where(seen, z, where(found, x, z)).v)


class _Unwritten:
    """A backend that writes nothing; `_Loaded` uses it to find out what is read."""

    def __init__(self, to: Any) -> None:
        self._to = to

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


class _Loaded:
    """Numbers of lanes that load the rows asked for, and give values of another backend in their place."""

    def __init__(self, lanes: Named, to: Any) -> None:
        self._lanes, self._to = lanes, to

    def __getattr__(self, name: str) -> Number:
        value = getattr(self._lanes, name)
        return Value(self._to, None) if isinstance(value, Value) else value


def _mode(to: Writer, read: dict[str, Any], **known: Number) -> Named:
    """Return the numbers of a mode; those that nothing depends on are not loaded."""
    return Named(lambda name: Value(to, to.constant(0.0)), **known, **{name: Value(to, x) for name, x in read.items()})


# -------------------------------------------------------------------- compiled functions

KINDS: dict[int, Kind] = {}
# What every compiled function is given: where the numbers are, and how many modes there are.
_ADDRESSES = "state0", "state1", "numbers0", "numbers1", "n0", "n1", "table", "facts"


def _written(write: Callable[[_Pass, list[Any]], Any]) -> Any:
    """Return an intrinsic ``(kind, (addresses..., more...)) -> int64`` whose body `write` writes."""

    @intrinsic(prefer_literal=True)
    def compiled(_typing: Any, kind: Any, args: Any) -> Any:
        if not isinstance(kind, types.IntegerLiteral):
            raise TypingError("the kind must be known when the code is written")

        def generate(_context: Any, builder: Any, signature: Any, values: Any) -> Any:
            numbers = [builder.extract_value(values[1], i) for i in range(len(signature.args[1].types))]
            n = len(_ADDRESSES)
            found = write(_Pass(KINDS[kind.literal_value], builder, numbers[:n]), numbers[n:])
            return _const(0) if found is None else found

        return types.int64(kind, args), generate

    return compiled


def _by_width(write: Callable[[_Pass, list[Any], int], Any]) -> Callable[[_Pass, list[Any]], Any]:
    """Return what writes the code for each width; the first argument after the addresses chooses."""

    def written(of: _Pass, more: list[Any]) -> Any:
        builder = of.builder
        result = cgutils.alloca_once(builder, _INT)
        builder.store(_const(0), result)
        for n_lanes in dict.fromkeys(WIDTHS):
            with builder.if_then(builder.icmp_signed("==", more[0], _const(n_lanes))):
                found = write(of, more, n_lanes)
                if found is not None:
                    builder.store(found, result)
        return builder.load(result)

    return written


def _advance(of: _Pass, more: list[Any], n_lanes: int) -> Any:
    of.modes(n_lanes)
    return of.lanes(n_lanes, more[1])


write_step = _written(_by_width(_advance))
write_report = _written(lambda of, more: of.report(more[0]))
write_track = _written(_by_width(lambda of, more, n_lanes: of.track(n_lanes, *more[1:])))

_EIGHT = ", ".join(["int64"] * 8)


class Compiled(NamedTuple):
    """Addresses of a kind's functions; 0 where there is none."""

    step: int
    report: int
    track: int


@cache
def compiled(kind: Kind) -> Compiled:
    """Return the compiled functions of a kind, from disk where they were compiled before."""
    KINDS[kind.number] = kind
    number = kind.number
    sources = [Path(str(sys.modules[base.__module__].__file__)) for base in type(kind.step).__mro__[:-2]]

    def step(a, b, c, d, e, f, g, h, i, j):  # type: ignore[no-untyped-def]
        return write_step(number, (a, b, c, d, e, f, g, h, i, j))

    def report(a, b, c, d, e, f, g, h, i, j):  # type: ignore[no-untyped-def]
        return write_report(number, (a, b, c, d, e, f, g, h, i, j))

    def track(a, b, c, d, e, f, g, h, i, j, k, l, m, n):  # type: ignore[no-untyped-def]
        return write_track(number, (a, b, c, d, e, f, g, h, i, j, k, l, m, n))

    two = f"int64({_EIGHT}, int64, int64)"
    six = f"int64({_EIGHT}, int64, int64, int64, int64, float64, float64)"
    return Compiled(
        entry_address(step, two, sources),
        entry_address(report, two, sources),
        entry_address(track, six, sources) if kind.slaves else 0,
    )
