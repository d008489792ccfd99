"""What a pass over the modes is written with: LLVM vectors whose sums and coefficients stay in registers.

The loop vectoriser keeps the sums in memory, which costs a third of the speed. A pass advances the first lanes of a
block; its state is float64[modes, LANES], its table of lanes float64[rows * LANES].
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from olsbn.engine.compile import LANES, inline

VECTOR = min(8, LANES)  # lanes a vector holds
WIDTHS = (LANES, LANES // 2 if LANES > VECTOR else VECTOR, VECTOR)  # how many lanes a pass may advance

_INDEX, _I32 = ir.IntType(64), ir.IntType(32)
_TYPE = ir.VectorType(ir.DoubleType(), VECTOR)


@inline
def width(active):  # type: ignore[no-untyped-def]
    """Return how many lanes to advance so that the `active` first are among them."""
    if active <= VECTOR:
        return VECTOR
    return LANES // 2 if active <= LANES // 2 else LANES


class Writer:
    """Writes the instructions of one pass: ``writer.add`` and so on take and return vectors of lanes."""

    def __init__(self, builder: Any, state: Any, modes: Any, table: Any, n_lanes: int) -> None:
        self.builder = builder
        self._state, self._modes, self._table = state, modes, table
        self.groups = range(n_lanes // VECTOR)
        self.add, self.sub, self.mul = builder.fadd, builder.fsub, builder.fmul

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """Return ``x y + z``, rounded once. (llvmlite's own refuses vectors.)"""
        return self._call("fma", x, y, z)

    def sqrt(self, x: Any) -> Any:
        """Return the root."""
        return self._call("sqrt", x)

    def abs(self, x: Any) -> Any:
        """Return the absolute value."""
        return self._call("fabs", x)

    def div(self, x: Any, y: Any) -> Any:
        """Return the quotient."""
        return self.builder.fdiv(x, y)

    def neg(self, x: Any) -> Any:
        """Return -x."""
        return self.builder.fneg(x)

    def less(self, x: Any, y: Any) -> Any:
        """Return where x < y; nowhere beside a NaN."""
        return self.builder.fcmp_ordered("<", x, y)

    def both(self, x: Any, y: Any) -> Any:
        """Return where both conditions hold."""
        return self.builder.and_(x, y)

    def select(self, condition: Any, x: Any, y: Any) -> Any:
        """Return x where the condition holds, else y."""
        return self.builder.select(condition, x, y)

    def _call(self, name: str, *args: Any) -> Any:
        name = f"llvm.{name}.v{VECTOR}f64"
        function = self.builder.module.globals.get(name)
        if function is None:
            function = ir.Function(self.builder.module, ir.FunctionType(_TYPE, [_TYPE] * len(args)), name)
        return self.builder.call(function, args)

    def row(self, which: int) -> list[Any]:
        """Load a row of the table, a vector for each group of lanes."""
        return [self.load(which, v) for v in self.groups]

    def put_row(self, which: int, values: list[Any]) -> None:
        """Store a row of the table."""
        for v in self.groups:
            self.put(values[v], which, v)

    def state(self, i: Any, v: int) -> Any:
        """Load mode i of group v."""
        return self._load(self._state, self._at_mode(i, v))

    def put_state(self, i: Any, v: int, value: Any) -> None:
        """Store mode i of group v."""
        self._store(value, self._state, self._at_mode(i, v))

    def mode(self, i: Any, n_numbers: int) -> list[Any]:
        """Load the numbers of mode i, each in all lanes."""
        first = self.builder.mul(i, _const(n_numbers))
        return [self._splat(self._modes, self.builder.add(first, _const(k))) for k in range(n_numbers)]

    def slots(self, values: list[Any]) -> list[Any]:
        """Return places for running sums, which the compiler keeps in registers."""
        found = [cgutils.alloca_once(self.builder, _TYPE) for _ in values]
        for value, slot in zip(values, found, strict=True):
            self.builder.store(value, slot)
        return found

    def increase_by_product(self, slot: Any, x: Any, y: Any) -> None:
        """Add a product to a running sum, fused."""
        self.builder.store(self.fma(x, y, self.builder.load(slot)), slot)

    def add_bits(self, x: Any, y: Any) -> Any:
        """Return the sum of two vectors whose 64 bits count as whole numbers."""
        whole = ir.VectorType(_INDEX, VECTOR)
        total = self.builder.add(self.builder.bitcast(x, whole), self.builder.bitcast(y, whole))
        return self.builder.bitcast(total, _TYPE)

    def constant(self, value: float) -> Any:
        """Return a vector of equal numbers."""
        return ir.Constant(_TYPE, [value] * VECTOR)

    def everywhere(self, number: Any) -> Any:
        """Return a float64 in all lanes."""
        empty = ir.Constant(_TYPE, ir.Undefined)
        one = self.builder.insert_element(empty, number, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(_I32, VECTOR), [0] * VECTOR))

    def load(self, which: int, v: int, further: Any = None) -> Any:
        """Load a row of the table for group v, `further` rows on."""
        return self._load(self._table, self._at_row(which, v, further))

    def put(self, value: Any, which: int, v: int, further: Any = None) -> None:
        """Store a row of the table for group v, `further` rows on."""
        self._store(value, self._table, self._at_row(which, v, further))

    def _at_row(self, which: int, v: int, further: Any = None) -> Any:
        at = _const(which * LANES + v * VECTOR)
        return at if further is None else self.builder.add(at, self.builder.mul(further, _const(LANES)))

    def _at_mode(self, i: Any, v: int) -> Any:
        return self.builder.add(self.builder.mul(i, _const(LANES)), _const(v * VECTOR))

    def _pointer(self, base: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(base, [offset]), _TYPE.as_pointer())

    def _load(self, base: Any, offset: Any) -> Any:
        value = self.builder.load(self._pointer(base, offset))
        value.align = 8
        return value

    def _store(self, value: Any, base: Any, offset: Any) -> None:
        self.builder.store(value, self._pointer(base, offset)).align = 8

    def fact(self, which: int) -> Any:
        """Return a number of the problem, which stand where the numbers of modes do in other passes."""
        return self._splat(self._modes, _const(which))

    def _splat(self, base: Any, offset: Any) -> Any:
        return self.everywhere(self.builder.load(self.builder.gep(base, [offset])))


def _const(value: int) -> Any:
    return ir.Constant(_INDEX, value)


def mode_pass(write: Callable[[Writer, Any], Any], n_lanes: int) -> Any:
    """Return an intrinsic ``(state, modes, table) -> None`` that advances the first `n_lanes` through all modes.

    ``write(writer, loop)`` writes it: what comes before ``with loop() as i:``, the body for mode i, and what comes
    after.
    """

    @intrinsic
    def compiled(_typing: Any, state: Any, modes: Any, table: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            arrays = [context.make_array(t)(context, builder, a) for t, a in zip(signature.args, args, strict=True)]
            n_modes = builder.extract_value(arrays[0].shape, 0)
            state_ptr, modes_ptr, table_ptr = (array.data for array in arrays)
            writer = Writer(builder, state_ptr, modes_ptr, table_ptr, n_lanes)
            write(writer, lambda: cgutils.for_range(builder, n_modes))
            return context.get_dummy_value()

        return types.void(state, modes, table), generate

    return compiled


def lane_pass(write: Callable[..., Any], n_lanes: int) -> Any:
    """Return an intrinsic ``(table, place, x, y) -> bool`` for the scalars of a step of the first `n_lanes`.

    ``write(writer, v, place, x, y)`` writes it for group v; `place` is an int64, x and y are numbers in all lanes. It
    returns where all is quiet; the intrinsic returns whether it is not so everywhere.
    """

    @intrinsic
    def compiled(_typing: Any, table: Any, place: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            writer = Writer(builder, None, None, data, n_lanes)
            x, y = writer.everywhere(args[2]), writer.everywhere(args[3])
            return not_everywhere(builder, [write(writer, v, args[1], x, y) for v in writer.groups])

        return types.boolean(table, types.int64, types.float64, types.float64), generate

    return compiled


def anywhere(builder: Any, where: Any) -> Any:
    """Return whether a condition holds in any lane of a vector."""
    bits = builder.bitcast(where, ir.IntType(VECTOR))
    return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(VECTOR), 0))


def not_everywhere(builder: Any, quiet: list[Any]) -> Any:
    """Return whether a condition fails in any lane of any vector."""
    while len(quiet) > 1:
        quiet = [builder.and_(*quiet[:2]), *quiet[2:]]
    return anywhere(builder, builder.not_(quiet[0]))
