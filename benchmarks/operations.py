"""How many operations a step takes for each mode: counted in the description that the machine code is written from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from olsbn.engine import cells
from olsbn.engine.describe import Named, Value, fma, is_zero
from olsbn.engine.step import COUPLED, Kind


class _Counted:
    """A backend whose values are the operations that made them, so that one that occurs twice counts once."""

    def __init__(self) -> None:
        self.operations: set[tuple[Any, ...]] = set()

    def constant(self, value: float) -> tuple[Any, ...]:
        """Return a constant."""
        return "constant", value

    def named(self, name: str) -> Value:
        """Return a number that is there."""
        return Value(self, ("named", name))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def operation(*operands: Any) -> tuple[Any, ...]:
            made = name, *operands
            self.operations.add(made)
            return made

        return operation


def operations_a_mode(kind: Kind) -> int:
    """Return how many vector operations the pass over the modes takes for each, loads and stores aside."""
    to, layout = _Counted(), kind.layout
    mode, state = (Named(lambda name, sort=sort: to.named(f"{sort} {name}"), seed=0.0) for sort in ("number", "state"))  # type: ignore[misc]
    new, terms = kind.step.modes(COUPLED, mode, state, kind.known(to.named))
    made = [new[name] for name in layout.state]
    made += [
        fma(x, y, to.named(f"sum {name}"))
        for name, (x, y) in terms.items()
        if name in layout.sums and not is_zero(x) and not is_zero(y)
    ]
    needed, found = [x.v for x in made if isinstance(x, Value)], set()
    while needed:
        one = needed.pop()
        if one in to.operations and _of_modes(one):  # the others are done before the loop
            needed += one[1:]
            if one[0] != "neg":  # part of the operation that takes it
                found.add(one)
    return len(found)


def _of_modes(made: Any) -> bool:
    """Whether a value differs from mode to mode."""
    if made[0] == "named":
        return made[1].startswith(("number ", "state ", "sum "))
    return made[0] != "constant" and any(map(_of_modes, made[1:]))


def kinds_of(run: Callable[[], Any]) -> list[Kind]:
    """Return the variants of steps that a sweep runs."""
    kinds: list[Kind] = []
    real: Any = cells._run_kind

    def seen(kind: Kind, *args: Any) -> Any:
        kinds.append(kind)
        return real(kind, *args)

    cells._run_kind = seen
    try:
        run()
    finally:
        cells._run_kind = real
    return list(dict.fromkeys(kinds))
