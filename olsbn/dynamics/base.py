"""What a method is: one object of data, from which command line, sweeps, stores, plans, docs and tests follow."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_floats, as_real, nearest, one_of, shortened
from olsbn.dynamics.predictions import Theory
from olsbn.problems.sample import html_table
from olsbn.quantity import COLUMNS, QUANTITIES, Column, Symbolic

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.engine.run import Run
    from olsbn.problems import OLSProblem

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Param(Symbolic):
    """A numeric parameter of a method: a number, or a vector that makes an axis of its name.

    Attributes
    ----------
    name, symbol, meaning : str
        In results and on the command line, in formulas, and in words.
    default : float or None
        The neutral value, which changes nothing; None if the parameter must be given.
    low, high : float
        The values allowed, both ends included; `high` may be inf, which itself is not allowed.
    spacing : {"log", "linear"}
        What LO:HI:N means for it.
    kind : {"real", "count"}
        Whole numbers only for "count".
    tex : str
        The symbol as mathtext, without dollar signs. Default: made of `symbol` (`olsbn.quantity.mathtext`).
    words : str
        What a picture calls its axis. Default: `meaning`.
    """

    name: str
    symbol: str
    meaning: str
    default: float | None = None
    low: float = 0.0
    high: float = math.inf
    spacing: str = "linear"
    kind: str = "real"
    tex: str = ""
    words: str = ""

    @property
    def label(self) -> str:
        """What a picture calls its axis."""
        return f"{self.words or self.meaning} ${self.mathtext}$"

    def checked(self, value: Any) -> FloatArray:
        """Return a number or a vector of them as float64, refusing what is not allowed."""
        if callable(value):
            raise TypeError(
                f"{self.name} must be a number or a vector of them, got {shortened(value)} "
                "(schedules are eps_power, eps_factor, eps_a_power, schedule and eps_factors)"
            )
        array = as_floats(self.name, value)
        if array.ndim > 1:
            raise ValueError(f"{self.name} must be a number or a vector, got an array of shape {array.shape}")
        if array.size == 0:
            raise ValueError(f"{self.name} must have at least one value, got an empty grid")
        for bad, limit in ((array < self.low, f">= {self.low:g}"), (array > self.high, f"<= {self.high:g}")):
            if bad.any():
                raise ValueError(f"{self.name} must be {limit}, got {float(array[bad].flat[0])!r}")
        if self.kind == "count" and (array != np.floor(array)).any():
            fraction = float(array[array != np.floor(array)].flat[0])
            raise ValueError(f"{self.name} must hold whole numbers, got {fraction!r}")
        return array


@dataclass(frozen=True)
class Option:
    """A setting of a method that is not a number of a grid, the same for all cells of a sweep.

    Attributes
    ----------
    name, meaning : str
    default : any
    choices : tuple of str
        The names allowed, for one of some names.
    kind : {"count", "share", "steps"}
        Without choices: a whole number >= 0, a number in [0, 1], or a number >= 0 for each step and one for the last.
    neutral : bool
        Whether the default changes nothing, so that results do not name it.
    """

    name: str
    meaning: str
    default: Any
    choices: tuple[str, ...] = ()
    kind: str = "count"
    neutral: bool = False

    def checked(self, value: Any, n_steps: int | None = None) -> Any:
        """Return the value, refusing what is not allowed."""
        if self.choices:
            return one_of(self.name, value, self.choices)
        if self.kind == "count":
            return as_count(self.name, value)
        if self.kind == "share":
            share = as_real(self.name, value)
            if not 0 <= share <= 1:
                raise ValueError(f"{self.name} must lie in [0, 1], got {share!r}")
            return share
        if value is None:
            return None
        values = as_floats(self.name, value)
        if values.ndim != 1 or (n_steps is not None and values.size != n_steps + 1) or (values < 0).any():
            wanted = "n_steps + 1" if n_steps is None else f"n_steps + 1 = {n_steps + 1}"
            raise ValueError(f"{self.name} must be {wanted} numbers >= 0, got {shortened(value)}")
        return tuple(values.tolist())


@dataclass(frozen=True, repr=False)
class Method:
    """A dynamics, as data.

    Attributes
    ----------
    name : str
        In results, TOML and on the command line: lower case.
    summary : str
        A line in words.
    params : tuple of Param
        In declared order. The axes of a sweep are the further ones in this order, then `eps_a`, then `eps`.
    columns : tuple of str or Column
        What a cell has: names from `olsbn.quantity.COLUMNS`, and columns of the method's own.
    prepare : callable
        ``prepare(problem, **options)`` returns the problem as the kernel wants it: made once for each problem.
    tile : callable
        ``tile(coordinates, {name: float64[cells]}, run)`` runs cells of one problem and returns their columns and what
        was recorded, ``({column: array[cells]}, {column: float64[steps, cells]})``, in the problem's own units. The
        numbers of a cell depend on nothing but its own parameters.
    numbers : tuple of str
        The modules whose source makes these numbers: another version of them is another engine.
    theory : Theory
        What is known without running it.
    step : str
        The update, as printed.
    sources : tuple of str
        Where it is from.
    work : callable
        ``work(dim, n_steps)`` returns about how many mode-steps a cell takes.
    beside : str
        The method whose runs on the same learning rates stand beside its own in maps; none if empty.
    reducible : tuple of str or None
        The parameters that have to be neutral for a problem to be replaced by one with fewer modes and the same
        moments; None: never.
    options : tuple of Option
        Settings that are no numbers of a grid.
    in_run : tuple of str
        Further arguments of `prepare` that `olsbn.run` passes on as they are, arrays for instance.
    color : str
        Of its curves in figures.
    needs_sample : bool
        Whether it runs on the problem's sample and not on its moments alone.
    unsteady : tuple of str
        Options with which a run has no contraction ratio.
    check_options : callable, optional
        Refuses options that do not go together, ``check_options({name: value})``.
    exact : callable or None
        ``exact(problem, {name: float}, ask)`` proves how a cell runs (`olsbn.balls`), with parameters and options by
        name; None: there are no proofs of it.
    """

    name: str
    summary: str
    params: tuple[Param, ...]
    columns: tuple[str | Column, ...]
    prepare: Callable[..., Any]
    tile: Callable[[Any, Arrays, Run], tuple[Arrays, Arrays]]
    numbers: tuple[str, ...]
    step: str
    theory: Theory = field(default_factory=Theory)
    sources: tuple[str, ...] = ()
    work: Callable[[int, int], float] = lambda dim, n_steps: float(dim) * n_steps
    beside: str = ""
    reducible: tuple[str, ...] | None = None
    options: tuple[Option, ...] = ()
    in_run: tuple[str, ...] = ()
    color: str = "#5a5a5a"
    needs_sample: bool = False
    unsteady: tuple[str, ...] = ()
    check_options: Callable[[Mapping[str, Any]], None] | None = None
    exact: Callable[[OLSProblem, Mapping[str, Any], Ask], Exact] | None = None

    def __post_init__(self) -> None:
        known = {*QUANTITIES, "dim", "trial", "step", *self.settings}
        for column in self.columns:
            if isinstance(column, Column):
                if column.name in known:
                    raise ValueError(
                        f"a column of method {self.name!r} must have a name of its own, got {column.name!r}"
                    )
            elif column not in COLUMNS:
                nearest(f"column of method {self.name!r}:", column, [*COLUMNS])

    @cached_property
    def variables(self) -> dict[str, Column]:
        """What a cell has, by name."""
        found = (column if isinstance(column, Column) else COLUMNS[column] for column in self.columns)
        return {column.name: column for column in found}

    def __repr__(self) -> str:
        return f"<Method {self.name}: {self.in_words()}>"

    def _repr_html_(self) -> str:
        def row(item: Param | Option) -> tuple[str, str]:
            required = isinstance(item, Param) and item.default is None
            return item.name, f"{item.meaning} ({'required' if required else f'default {item.default}'})"

        rows = [("step", self.step), *map(row, self.settings.values())]
        return html_table(f"{self.name}: {self.summary}", rows)

    def in_words(self) -> str:
        """Return its summary and the names of its parameters."""
        return f"{self.summary}; parameters: {', '.join(self.settings) or 'none'}"

    @property
    def title(self) -> str:
        """Its name in titles."""
        return self.name.upper()

    @property
    def axes(self) -> tuple[Param, ...]:
        """The parameters in the order of a sweep's axes."""
        last = {"eps_a": 1, "eps": 2}
        return tuple(sorted(self.params, key=lambda param: last.get(param.name, 0)))

    @property
    def further(self) -> tuple[Param, ...]:
        """The parameters other than `eps` and `eps_a` that have a neutral value: what theory takes as given."""
        return tuple(param for param in self.params if param.default is not None and param.name != "eps_a")

    @property
    def settings(self) -> dict[str, Param | Option]:
        """Parameters and options by name."""
        return {item.name: item for item in self.params} | {item.name: item for item in self.options}

    def param(self, name: str) -> Param:
        """Return a parameter by its name."""
        return next(param for param in self.params if param.name == name)

    def checked_params(self, given: Mapping[str, Any]) -> dict[str, FloatArray]:
        """Check parameters by name and return all of them in the order of the axes, scalars as arrays without axes."""
        from olsbn.dynamics.registry import METHODS, neutral_elsewhere

        unknown = [name for name in given if name not in {param.name for param in self.params}]
        for name in unknown:
            known_elsewhere = any(name in method.settings for method in METHODS.values())
            if not known_elsewhere and difflib.get_close_matches(name, [*self.settings], n=1, cutoff=0.8):
                nearest(f"parameter of method {self.name!r}:", name, [*self.settings])
            if not neutral_elsewhere(name, given[name]):
                known = ", ".join(param.name for param in self.params) or "none"
                raise ValueError(f"{name} must be left out for method {self.name!r}, whose parameters are: {known}")
        found = {}
        for param in self.axes:
            value = given.get(param.name, param.default)
            if value is None:
                raise ValueError(f"{param.name} must be given for method {self.name!r}: {param.meaning}")
            array = param.checked(value)
            array.setflags(write=False)
            found[param.name] = array
        return found

    def checked_options(self, given: Mapping[str, Any], n_steps: int | None = None) -> dict[str, Any]:
        """Check options by name and return all of them."""
        found = {
            option.name: option.checked(given.get(option.name, option.default), n_steps) for option in self.options
        }
        if self.check_options is not None:
            self.check_options(found)
        return found

    def told(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a result names: all but those that change nothing."""
        silent = {option.name: option.default for option in self.options if option.neutral}
        return {name: value for name, value in options.items() if name not in silent or value != silent[name]}
