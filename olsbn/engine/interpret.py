"""A step as Python code: one cell on numbers of any kind, such as floats of NumPy, of mpmath, and balls.

The description is traced once into a graph of operations, and the graph is written as straight-line Python: what is
constant has folded away, what occurs twice is computed once, and what nothing depends on is not there. So a cell runs
some times faster than the description itself would, which matters for balls.

A mode's new state is a linear function of its old one. It is written as that, with one coefficient for each number of
the state: in ``(1 - A mu) z`` a ball around z is multiplied by the mode's own factor, in ``z - A mu z`` it would grow
by ``1 + |A mu|`` at every step. Both are the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from operator import mul
from typing import Any, NamedTuple

from olsbn.engine.describe import Named, Number, Value, fma, is_zero, same, sqrt, where
from olsbn.engine.step import REPORTED, Kind, Step

Numbers = Mapping[str, Mapping[str, Sequence[Number]]]
Convert = Callable[[Number], Number]
_TOLD = ("residual2", "a", "eps_eff", "norm2", "null")  # of what a step reports, what a cell's variables are made of
assert set(_TOLD) <= set(REPORTED)


class Start(NamedTuple):
    """A cell before step 0: the modes' numbers and states by group and name, and the lane's numbers by name."""

    numbers: Numbers
    state: Numbers
    begin: Mapping[str, Number]
    facts: Mapping[str, Number]
    params: Mapping[str, Number]


class Cell:
    """A cell on its way. `excess` is that of the present step; `report` tells the rest of it."""

    def __init__(self, step: Step, start: Start, convert: Convert) -> None:
        """Take the numbers of a cell; `convert` makes a float, or any of them, a number of the wanted kind."""
        neutral = (name for name, value in step.params.items() if value is not None and name not in _RATES)
        folded = tuple(name for name in neutral if _is(start.params.get(name, step.params[name]), step.params[name]))
        scheduled = tuple(name for name in _RATES if name in start.params)
        folded += tuple(name for name in _RATES if name in step.params and name not in scheduled)
        self._code = code = _code(step, folded)
        layout = code.layout
        self._numbers = [
            [[convert(x) for x in start.numbers[group][name]] for name in layout.numbers[group]]
            for group in step.numbers
        ]
        self._told = [
            [[convert(x) for x in start.numbers[group][name]] for name in layout.reported_numbers[group]]
            for group in step.numbers
        ]
        zero = convert(0)
        self._state: list[list[list[Number]]] = []
        for group in step.numbers:
            begun = start.state[group]
            n = len(next(iter(begun.values())))
            self._state.append(
                [[convert(x) for x in begun[name]] if name in begun else [zero] * n for name in layout.state]
            )
        self._made = [convert(start.begin.get(name, 0)) for name in code.made]
        self._params = [convert(start.params[name]) for name in code.params]
        self._facts = [convert(start.facts[name]) for name in layout.facts]
        self._passes = [(i, run) for i, run in enumerate(code.passes) if self._size(i)]
        self._reported = [(i, run) for i, run in enumerate(code.reported) if self._size(i)]
        self._zero, self._rates = zero, [convert(1)] * len(code.rates)
        self.excess = zero

    def _size(self, group: int) -> int:
        """Return the number of modes of a group."""
        return len(next(iter(self._state[group]), ()))

    @property
    def rates(self) -> tuple[str, ...]:
        """The schedules that `advance` takes factors of, among "factor" and "factor_a"."""
        return self._code.rates

    def advance(self, factors: Sequence[Number]) -> None:
        """Go to the next step, at first to step 0: `factors` are the schedules' at the step that is reached."""
        code, made, sums = self._code, self._made, [self._zero] * len(self._code.layout.sums)
        for i, run in self._passes:
            self._state[i], sums = run(self._numbers[i], self._state[i], made, self._params, self._rates, sums)
        self._rates = list(factors)
        self._sums = sums
        self.excess, self._made = code.lanes(sums, made, self._params, self._rates, self._facts)

    def numbers(self) -> Iterator[Number]:
        """Yield all numbers that the cell carries to the next step."""
        yield from self._made
        for group in self._state:
            for values in group:
                yield from values

    def report(self) -> dict[str, Number]:
        """Return `residual2`, `a`, `eps_eff`, `norm2` and `null`, in the units of the coordinates."""
        code = self._code
        sums = [self._zero] * len(code.layout.report_sums)
        for i, run in self._reported:
            sums = run(self._told[i], self._state[i], self._made, self._params, self._rates, sums)
        told = code.report(self._sums, self._made, self._params, self._rates, self._facts, sums)
        return dict(zip(_TOLD, told, strict=True))


# -------------------------------------------------------------------- tracing

_RATES = ("factor", "factor_a")


class _Graph:
    """The backend of `Value` that keeps every operation once, as a node ``(operation, arguments)``."""

    def __init__(self) -> None:
        self.nodes: list[tuple[Any, ...]] = []
        self._known: dict[tuple[Any, ...], int] = {}
        self._dependent: dict[tuple[int, frozenset[str]], bool] = {}

    def node(self, *key: Any) -> int:
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self.nodes.append(key)
        return self._known[key]

    def __getattr__(self, operation: str) -> Callable[..., int]:
        if operation not in _WRITTEN:
            raise AttributeError(operation)
        return lambda *args: self.node(operation, *args)

    def constant(self, value: float) -> int:
        """Return the node of a constant."""
        return self.node("constant", value)

    def named(self, name: str) -> Value:
        """Return a number that has a name."""
        return Value(self, self.node("named", name))

    def at(self, x: Number) -> int:
        """Return the node of a number."""
        return x.v if isinstance(x, Value) else self.constant(float(x))

    def linear(self, node: int, names: frozenset[str]) -> dict[str, Number]:
        """Return a node as ``sum of coefficient * name``, the rest under "".

        Counted are the names whose coefficients do not depend on them; where they occur otherwise they are in the rest.
        """
        operation, *args = self.nodes[node]
        rest = {"": args[0] if operation == "constant" else Value(self, node)}
        if operation == "named" and args[0] in names:
            return {args[0]: 1.0}
        if operation not in ("neg", "add", "sub", "mul", "fma", "select"):
            return rest
        x, *others = (self._linear(arg, names) for arg in args)
        if operation == "neg":
            found = _scaled(x, -1.0)
        elif operation in ("add", "sub"):
            found = _plus(x, others[0] if operation == "add" else _scaled(others[0], -1.0))
        elif operation == "select":
            if self.depends(args[0], names):
                return rest
            found = {
                name: where(Value(self, args[0]), others[0].get(name, 0.0), others[1].get(name, 0.0))
                for name in dict.fromkeys([*others[0], *others[1]])
            }
        else:
            y = others[0]
            x, y = (x, y) if y.keys() <= {""} else (y, x)
            factor = y.get("", 0.0)
            if not y.keys() <= {""} or self.depends(self.at(factor), names):
                return rest
            found = _scaled(x, factor)
            if operation == "fma":
                found = _plus(found, others[1])
        return found if found.keys() - {""} else rest

    def depends(self, node: int, names: frozenset[str]) -> bool:
        """Whether a node depends on any of the names."""
        if (node, names) not in self._dependent:
            operation, *args = self.nodes[node]
            if operation in ("named", "constant"):
                self._dependent[node, names] = operation == "named" and args[0] in names
            else:
                self._dependent[node, names] = any(self.depends(arg, names) for arg in args)
        return self._dependent[node, names]

    @cached_property
    def _linear(self) -> Callable[[int, frozenset[str]], dict[str, Number]]:
        return cache(self.linear)


def _scaled(x: dict[str, Number], factor: Number) -> dict[str, Number]:
    if isinstance(factor, float) and factor == -1.0:
        return {name: -value for name, value in x.items()}
    return {name: value * factor for name, value in x.items()}


def _plus(x: dict[str, Number], y: dict[str, Number]) -> dict[str, Number]:
    return {name: x.get(name, 0.0) + y.get(name, 0.0) for name in dict.fromkeys([*x, *y])}


# -------------------------------------------------------------------- writing

_WRITTEN = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "fma": "{} * {} + {}", "neg": "-{}",
    "sqrt": "sqrt({})", "abs": "abs({})", "less": "{} < {}", "both": "{} and {}", "select": "{1} if {0} else {2}",
    "same": "same({}, {})",
}  # fmt: skip


class _Text:
    """Assignments for the nodes that are asked for, each after those that it needs."""

    def __init__(self, graph: _Graph, regroup: bool = False) -> None:
        self.graph, self.lines, self.names, self.regroup = graph, list[str](), dict[int, str](), regroup

    def name(self, node: int) -> str:
        """Return how a node is called, after writing what it is."""
        if node not in self.names:
            operation, *args = self.graph.nodes[node]
            if operation == "named":
                return str(args[0])
            if operation == "constant":
                return repr(int(args[0])) if float(args[0]).is_integer() else repr(args[0])
            again = self._regrouped(node) if self.regroup else node
            if again != node:
                self.names[node] = self.name(again)
                return self.names[node]
            if operation == "fma" and self.graph.nodes[args[0]][0] == "neg" and args[0] not in self.names:
                form, args = "{2} - {0} * {1}", [self.graph.nodes[args[0]][1], *args[1:]]
            else:
                form = _WRITTEN[operation]
            line = form.format(*[self.name(arg) for arg in args])
            self.names[node] = f"t{node}"
            self.lines.append(f"t{node} = {line}")
        return self.names[node]

    def _regrouped(self, node: int) -> int:
        """Return ``x - e (.. x ..)`` as ``(1 - ..) x - ..``: the same number, and a smaller ball."""
        operation, *args = self.graph.nodes[node]
        if operation not in ("add", "sub", "fma"):
            return node
        for arg in {"add": args, "sub": args[:1], "fma": args[2:]}[operation]:
            if self.graph.nodes[arg][0] == "named":
                name = str(self.graph.nodes[arg][1])
                found = self.graph.linear(node, frozenset([name]))
                factor = found.get(name, 1.0)
                if isinstance(factor, Value):
                    return self.graph.at(fma(factor, self.graph.named(name), found.get("", 0.0)))
        return node


class _Code:
    """The functions of a step with some parameters folded."""

    def __init__(self, step: Step, folded: tuple[str, ...]) -> None:
        self.kind = Kind(step, folded)
        self.layout = layout = self.kind.layout
        self.made = list(layout.made)
        self.params = [name for name in layout.params if name not in _RATES]
        self.rates = tuple(name for name in layout.params if name in _RATES)
        groups = list(step.numbers)
        self.passes = [self._modes(group) for group in groups]
        self.reported = [self._reported(group) for group in groups]
        self.lanes, self.report = self._lanes(), self._report()

    def _lane_names(self, graph: _Graph) -> Named:
        return self.kind.known(graph.named)

    def _unpack(self, **lists: Sequence[str]) -> list[str]:
        return [f"{', '.join(names)}, = {name}" for name, names in lists.items() if names]

    @property
    def _of_lane(self) -> dict[str, Sequence[str]]:
        return {"made": self.made, "params": self.params, "rates": self.rates}

    def _modes(self, group: str) -> Callable[..., Any]:
        graph, layout = _Graph(), self.layout
        numbers = [f"n_{name}" for name in layout.numbers[group]]
        state = [f"s_{name}" for name in layout.state]
        kept = Named(lambda name: graph.named(f"s_{name}") if name in layout.state else 0.0)
        mode = Named(lambda name: graph.named(f"n_{name}"), seed=0.0)
        new, terms = self.kind.step.modes(group, mode, kept, self._lane_names(graph))
        of_state = frozenset(state)
        # the new state, as a linear function of the old one
        ends = {}
        places = {}
        for name in layout.state:
            node = graph.at(new[name])
            total: Number = 0.0
            for old, coefficient in graph.linear(node, of_state).items():
                total = fma(coefficient, graph.named(old), total) if old else total + coefficient
            ends[name] = places[node] = graph.at(total)
        summed = {name: terms[name] for name in layout.sums if name in terms}
        return self._loop(graph, numbers, state, list(ends.values()), places, summed, layout.sums)

    def _reported(self, group: str) -> Callable[..., Any]:
        graph, layout, kind = _Graph(), self.layout, self.kind
        numbers = [f"n_{name}" for name in layout.reported_numbers[group]]
        state = [f"s_{name}" for name in layout.state]
        kept = Named(lambda name: graph.named(f"s_{name}") if name in layout.state else 0.0)
        mode = Named(lambda name: graph.named(f"n_{name}"))
        terms = kind.step.reported_terms(group, mode, kept, self._lane_names(graph))
        summed = {name: terms[name] for name in layout.report_sums if name in terms}
        return self._loop(graph, numbers, state, [], {}, summed, layout.report_sums)

    def _loop(
        self,
        graph: _Graph,
        numbers: list[str],
        state: list[str],
        ends: list[int],
        places: dict[int, int],
        summed: Mapping[str, tuple[Number, Number]],
        sums: Sequence[str],
    ) -> Callable[..., Any]:
        """Return a function that makes the nodes `ends` of every mode, and adds to the sums."""
        body, outside, of_mode = _Text(graph), _Text(graph), frozenset([*numbers, *state])

        def hoist(node: int) -> None:
            """Write outside of the loop what is the same for all modes."""
            if not graph.depends(node, of_mode):
                body.names[node] = outside.name(node)
            elif graph.nodes[node][0] not in ("named", "constant"):
                for arg in graph.nodes[node][1:]:
                    hoist(arg)

        for node in ends:
            hoist(node)
        lists: dict[int, str] = {}  # node -> name of the list of its values
        for node in ends:
            lists[node] = f"new_{len(lists)}"
            body.name(node)
        factors = {}
        for name, (x, y) in summed.items():
            if is_zero(x) or is_zero(y):
                continue
            pair = []
            for factor in (x, y):
                node = graph.at(factor)
                for plain, linear in places.items():  # the new state under its other name
                    body.names.setdefault(plain, body.names.get(linear, f"t{linear}"))
                node = places.get(node, node)
                operation, *args = graph.nodes[node]
                if operation == "named" and args[0] in (*numbers, *state):
                    pair.append(f"all_{args[0]}")
                    continue
                if node not in lists:
                    hoist(node)
                    lists[node] = f"new_{len(lists)}"
                    body.name(node)
                pair.append(lists[node])
            factors[name] = pair
        append = [f"{name}.append({body.name(node)})" for node, name in lists.items()]
        lines = self._unpack(**self._of_lane)
        alls = [f"all_{name}" for name in (*numbers, *state)]
        if numbers:
            lines.append(f"{', '.join(alls[: len(numbers)])}, = numbers")
        if state:
            lines.append(f"{', '.join(alls[len(numbers) :])}, = state")
        if sums:
            lines.append(f"{', '.join(f'sum_{name}' for name in sums)}, = sums")
        lines += outside.lines
        if append:
            lines += [f"{name} = []" for name in lists.values()]
            lines.append(f"for {', '.join((*numbers, *state))}, in zip({', '.join(alls)}):")
            lines += [f"    {line}" for line in (*body.lines, *append)]
        lines += [f"sum_{name} = sum(map(mul, {x}, {y}), sum_{name})" for name, (x, y) in factors.items()]
        new_sums = f"[{', '.join(f'sum_{name}' for name in sums)}]"
        new_state = f"[{', '.join(lists[node] for node in ends)}]"
        lines.append(f"return {new_state}, {new_sums}" if ends else f"return {new_sums}")
        return _function("numbers, state, made, params, rates, sums", lines)

    def _lanes(self) -> Callable[..., Any]:
        graph, layout = _Graph(), self.layout
        made = self.kind.step.lanes(self._lane_names(graph))
        text = _Text(graph, regroup=True)
        excess = text.name(graph.at(made["excess"]))
        values = [text.name(graph.at(made[name])) for name in self.made]
        lines = self._unpack(sums=layout.sums, **self._of_lane, facts=layout.facts)
        lines += [*text.lines, f"return {excess}, [{', '.join(values)}]"]
        return _function("sums, made, params, rates, facts", lines)

    def _report(self) -> Callable[..., Any]:
        graph, layout = _Graph(), self.layout
        told = self.kind.step.report(self._lane_names(graph))
        text = _Text(graph)
        values = [text.name(graph.at(told.get(name, 0.0))) for name in _TOLD]
        lines = self._unpack(sums=layout.sums, **self._of_lane, facts=layout.facts, further=layout.report_sums)
        lines += [*text.lines, f"return {', '.join(values)}"]
        return _function("sums, made, params, rates, facts, further", lines)


def _sqrt(x: Number) -> Number:
    try:
        return x.sqrt()
    except AttributeError:
        return sqrt(x)


def _function(arguments: str, lines: list[str]) -> Callable[..., Any]:
    source = f"def function({arguments}):\n" + "\n".join(f"    {line}" for line in lines)
    names: dict[str, Any] = {"sqrt": _sqrt, "same": same, "mul": mul, "inf": float("inf"), "nan": float("nan")}
    exec(source, names)
    names["function"].source = source
    return names["function"]


_code = cache(_Code)


def _is(x: Number, constant: float | None) -> bool:
    return constant is not None and x == constant
