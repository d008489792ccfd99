"""What an author writes of a dynamics, and what is derived from it: which numbers a variant needs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from olsbn.engine.describe import Named, Number, Uses, uses

COUPLED, DECOUPLED = "coupled", "decoupled"

# What `Step.report` tells of a lane besides its excess; 0 where a dynamics has no such thing.
REPORTED = (
    "residual2",  # the square of the residual
    "a",  # the scale, in units of sqrt(E)
    "eps_eff",
    "norm2",  # the square of the norm of w on the range of H
    "null",  # the norm of w on the null space of H, relative to the start's
    "turn",  # what the eigenvalue of a mode is multiplied by in its recursion
    "turn_a",  # the same of delta, whose eigenvalue is 1
    "couple",  # what couples delta to the modes near a minimiser, times b
    "momentum",
    "nesterov",
    "delta",
    # what a step tells of its own (`Step.told`)
    "own 0", "own 1", "own 2", "own 3",
)  # fmt: skip
OWN_REPORTS = sum(name.startswith("own ") for name in REPORTED)


class Step:
    """A dynamics, described once. Subclasses give the attributes and the three functions.

    Attributes
    ----------
    numbers : dict of str to tuple of str
        The numbers that each mode has, for each group of modes: `COUPLED` ones, which see the others through sums, and
        `DECOUPLED` ones, which do not.
    state : tuple of str
        What each mode carries, in every lane.
    sums : tuple of str
        What the pass over the modes sums up.
    params : dict of str to float
        The parameters of a cell and their neutral values (None: there is none).
    folds : tuple of tuple of str
        Sets of parameters that fold away where all of them are neutral: each choice of them is code of its own.
    idle : dict of str to float
        What a lane without a cell holds, where it is not 0: a fixed point whose excess is finite and above -1.
    units : dict of str to tuple of float
        How a number changes with the units: ``(i, j)`` where it is multiplied by ``f^i t^j`` when w is multiplied by f
        and H by t. Those of w (`state` and all with i != 0) are rescaled by powers of two where a step is too long.
    slaves : bool
        Whether modes obey ``z <- (D - A mu) z + B b`` in variants without momentum, so that they can be slaved.
    settles : tuple of str
        Parameters that have to be neutral for the excess to have a contraction ratio.
    may_return : tuple of str
        Parameters with which a run can leave the floor again.
    on_sphere : bool
        Whether learning rates are those of a w on the unit sphere, and not of the problem's own.
    told : tuple of str
        What `report` tells besides `REPORTED`, at most `OWN_REPORTS` names: columns of the method's own. Their `units`
        must be whole numbers.
    """

    numbers: Mapping[str, tuple[str, ...]]
    state: tuple[str, ...]
    sums: tuple[str, ...]
    params: Mapping[str, float | None]
    folds: tuple[tuple[str, ...], ...] = ()
    idle: Mapping[str, float] = {}
    units: Mapping[str, tuple[float, float]] = {}
    slaves = False
    settles: tuple[str, ...] = ()
    may_return: tuple[str, ...] = ()
    on_sphere = False
    told: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if len(cls.told) > OWN_REPORTS:
            raise ValueError(f"told must have at most {OWN_REPORTS} names, got {', '.join(cls.told)}")
        for name in cls.told:
            if any(power != int(power) for power in cls.units.get(name, (0, 0))):
                raise ValueError(f"units of {name} must be whole numbers, got {cls.units[name]}")

    def modes(self, group: str, p: Any, x: Any, c: Any) -> tuple[dict[str, Number], dict[str, tuple[Number, Number]]]:
        """Return the new state of a mode and the terms of the sums, as pairs of factors.

        `p` has the mode's numbers, `x` its state, `c` what `lanes` made, `p.seed` a number too small to be seen that
        keeps a decoupled mode from underflow.
        """
        raise NotImplementedError

    def lanes(self, x: Any) -> dict[str, Number]:
        """Return what is next by name: what `modes` reads, what the next step reads, `excess`, `size` and `growth`.

        `x` has the sums, what was made a step before (before step 0 what `Coordinates.begin` says, 0 by default), the
        parameters, and the facts of the problem. `size` is how far w moves: above 2^300 it asks for a
        rescaling, and so does `low` (optional), a square of the size of w, below 2^-300. `growth` is the square of
        the largest factor by which the step multiplies a part of the error, and what rounding puts into it; infinite
        where no simple rule tells.
        """
        raise NotImplementedError

    def reported_terms(self, group: str, p: Any, x: Any, c: Any) -> dict[str, tuple[Number, Number]]:
        """Return the terms of sums that only `report` needs."""
        raise NotImplementedError

    def report(self, x: Any) -> dict[str, Number]:
        """Return what is told of a lane at a step: names of `REPORTED` and of `told`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Layout:
    """Which numbers a variant of a step needs, and in which rows of the table of lanes they stand."""

    numbers: dict[str, tuple[str, ...]]  # of each group: those that the pass reads
    reported_numbers: dict[str, tuple[str, ...]]
    state: tuple[str, ...]
    sums: tuple[str, ...]
    report_sums: tuple[str, ...]
    made: tuple[str, ...]  # what `lanes` makes and stores
    params: tuple[str, ...]
    facts: tuple[str, ...]
    row: dict[str, int] = field(default_factory=dict)


_ENDS = "excess", "size", "low", "growth"  # read by the loop, constant or not


class Kind:
    """A variant of a step: the parameters `folded` are the constants that they are where they are neutral."""

    def __init__(self, step: Step, folded: tuple[str, ...]) -> None:
        self.step, self.folded = step, folded
        self.constants = {name: float(step.params[name] or 0.0) for name in folded}
        while True:  # what follows from constants alone is one
            made = step.lanes(self.known(Uses().named))
            more = {name: float(x) for name, x in made.items() if isinstance(x, float | int) and name not in _ENDS}
            if more.keys() <= self.constants.keys():
                break
            self.constants |= more
        self.name = f"{type(step).__module__}.{type(step).__qualname__}:{','.join(folded)}"
        self.number = zlib.crc32(self.name.encode())

    def known(self, make: Callable[[str], Number]) -> Named:
        """Return numbers by name, the folded parameters among them."""
        return Named(make, **self.constants)

    @cached_property
    def slaves(self) -> bool:
        """Whether modes can be slaved: their recursion is of first order."""
        return self.step.slaves and len(self.layout.state) == 1

    @cached_property
    def layout(self) -> Layout:
        """Which numbers are needed: what the excess, the ends and the reports depend on, and nothing else."""
        step, to = self.step, Uses()
        made = step.lanes(self.known(to.named))
        made_of = {name: uses(value) for name, value in made.items()}
        moves, terms, read, reported, report_read = {}, {}, {}, {}, {}
        for group in step.numbers:
            here = Named(lambda name: to.named(f"state {name}"))
            seen = Named(lambda name: to.named(f"number {name}"))
            new, summed = step.modes(group, seen, here, self.known(to.named))
            moves[group] = {name: uses(value) for name, value in new.items()}
            terms[group] = {name: uses(x) | uses(y) for name, (x, y) in summed.items()}
            told = step.reported_terms(group, seen, here, self.known(to.named))
            reported[group] = {name: uses(x) | uses(y) for name, (x, y) in told.items()}
        report_of = frozenset[str]().union(*(uses(x) for x in step.report(self.known(to.named)).values()))

        needed = set(report_of).union(*(made_of[name] for name in _ENDS if name in made_of))
        while True:
            more = set(needed)
            for group in step.numbers:
                for name, names in [*terms[group].items(), *reported[group].items()]:
                    if name in needed:
                        more |= names
                for name, names in moves[group].items():
                    if f"state {name}" in needed:
                        more |= names
            for name, names in made_of.items():
                if name in needed:
                    more |= names
            if more == needed:
                break
            needed = more
        state = tuple(name for name in step.state if f"state {name}" in needed)
        sums = tuple(name for name in step.sums if name in needed)
        for group in step.numbers:
            passed = [terms[group][name] for name in sums if name in terms[group]]
            passed += [moves[group][name] for name in state]
            read[group] = _numbers(step.numbers[group], passed)
            report_read[group] = _numbers(step.numbers[group], list(reported[group].values()))
        told_sums = {name for told in reported.values() for name in told}
        known = {*step.sums, *made, *step.params, *told_sums}
        return Layout(
            numbers=read,
            reported_numbers=report_read,
            state=state,
            sums=sums,
            report_sums=tuple(sorted(told_sums & report_of)),
            made=tuple(name for name in made if name in needed and name not in {*_ENDS, *self.constants}),
            params=tuple(name for name in step.params if name in needed and name not in self.constants),
            facts=tuple(sorted(x for x in needed if x not in known and " " not in x)),
        )


def _numbers(names: tuple[str, ...], read: list[frozenset[str]]) -> tuple[str, ...]:
    every = frozenset[str]().union(*read)
    return tuple(name for name in names if f"number {name}" in every)
