"""What the explorer shows, as data: checked, and written as a link, as a sweep in TOML and as lines of Python."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from olsbn import fields
from olsbn._validate import as_count, as_flag, as_real, nearest, one_of, shortened
from olsbn.dynamics.registry import DEFAULT, METHODS, method_named
from olsbn.explorer import shown
from olsbn.fields import FIELDS
from olsbn.problems.reduction import reduce_for
from olsbn.sweeps.grid import Grid
from olsbn.sweeps.spec import SweepSpec

if TYPE_CHECKING:
    from olsbn.dynamics.base import Method, Param
    from olsbn.problems import OLSProblem

# At most so many cells, about 64 MB of results; so many steps, modes and chosen cells.
MOST_CELLS, MOST_STEPS, MOST_DIM, MOST_CHOSEN = 2**20, 10**7, 100_000, 6
# What a window may span, as in pictures.
_LOW, _HIGH = 1e-290, 1e290
_DEFAULT_CELLS = 640, 400
# Fields of a problem that name a file: only what was named at the start is read.
_GIVEN = "given"
_START = {"spectrum": "linspace", "dim": 100, "cond": 100.0}
# Keys of a link that are not the problem's, a parameter or an option.
_KEYS = ("method", "x", "y", "show", "steps", "tol", "reduce", "check_rounding", "cell")


@dataclass(frozen=True)
class Given:
    """The problem that was named at the start: itself, and its fields as in a configuration, if it has any."""

    problem: OLSProblem | None = None
    table: Mapping[str, Any] | None = None

    @property
    def label(self) -> str:
        """Its name."""
        return self.problem.label if self.problem is not None else ""


@dataclass(frozen=True)
class Window:
    """The values of an axis: a parameter from `lo` to `hi` in `n` equal ratios or steps."""

    name: str
    lo: float
    hi: float
    n: int
    log: bool

    def text(self) -> str:
        """Return it as it is typed: LO:HI:N@log."""
        return f"{self.lo!r}:{self.hi!r}:{self.n}@{'log' if self.log else 'lin'}"

    def values(self) -> Any:
        """Return the values, ascending and all different."""
        return Grid(self.lo, self.hi, self.n, self.log).values()


@dataclass(frozen=True)
class View:
    """One view, checked: everything in a result of the explorer follows from it.

    Attributes
    ----------
    problem : tuple of (str, value)
        Fields of `olsbn.fields` and `dim`; or ``(("given", True),)``, the problem named at the start.
    method : str
    fixed : tuple of (str, value)
        Parameters that are no axis, and options, where they are not neutral.
    x, y : Window
        The axes.
    show : str
        The quantity.
    n_steps, tol, reduce, check_rounding
        As in `olsbn.sweep`; `reduce` asks for reduced problems where the method allows them.
    cells : tuple of (float, float)
        The cells that are looked at step by step, by their values on x and y.
    """

    problem: tuple[tuple[str, Any], ...]
    method: str
    fixed: tuple[tuple[str, Any], ...]
    x: Window
    y: Window
    show: str = "excess"
    n_steps: int = 1000
    tol: float = 1e-10
    reduce: bool = True
    check_rounding: bool = True
    cells: tuple[tuple[float, float], ...] = ()

    # ------------------------------------------------------------------ from what the page or a link says

    @classmethod
    def of(cls, state: Mapping[str, Any], given: Given) -> View:
        """Return the view that `state` describes, in the form of `View.state`.

        Raises
        ------
        ValueError, TypeError
            In one sentence, for anything that is not allowed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"a view must be a table of names, got {shortened(state)}")
        names = [field.name for field in dataclasses.fields(cls)]
        for name in state:
            nearest("part of a view:", str(name), names)
        problem = _problem_fields(state.get("problem", {}), given)
        method = method_named(state.get("method", DEFAULT))
        x, y = _windows(method, state, problem, given)
        fixed = _fixed(method, state.get("fixed", {}), (x.name, y.name))
        n_steps = as_count("steps", state.get("n_steps", 1000), minimum=1, maximum=MOST_STEPS)
        view = cls(
            problem, method.name, fixed, x, y,
            one_of("show", state.get("show", "excess"), shown.names(method)),
            n_steps,
            as_real("tol", state.get("tol", 1e-10)),
            as_flag("reduce", state.get("reduce", True)),
            as_flag("check_rounding", state.get("check_rounding", True)),
            _cells(state.get("cells", ())),
        )  # fmt: skip
        if x.n * y.n > MOST_CELLS:
            raise ValueError(f"a view must have at most {MOST_CELLS} cells, got {x.n} x {y.n} = {x.n * y.n}")
        view.spec(given)
        return view

    @classmethod
    def from_query(cls, query: str, given: Given) -> View:
        """Return the view that a link's query describes, as `View.query` writes it."""
        try:
            pairs = parse_qsl(query.removeprefix("?"), strict_parsing=bool(query.strip("?")), max_num_fields=80)
        except ValueError:
            raise ValueError(f"a link must have NAME=VALUE with & between, got {shortened(query)}") from None
        state: dict[str, Any] = {"problem": {}, "fixed": {}, "cells": []}
        texts: dict[str, str] = {}
        for name, text in pairs:
            if name == "cell":
                state["cells"].append(_numbers(text))
            elif name in texts:
                raise ValueError(f"a link must name {name} once, got it twice")
            else:
                texts[name] = text
        method = method_named(texts.get("method", DEFAULT))
        axes = {texts[key]: key for key in ("x", "y") if key in texts}
        for name, text in texts.items():
            if name.startswith("problem."):
                key = name.removeprefix("problem.")
                state["problem"][key] = _typed(key, text)
            elif name in axes and name not in _KEYS:
                grid = Grid.parse(name, text, log=False)
                state[axes[name]] = {"name": name, "lo": grid.lo, "hi": grid.hi, "n": grid.n, "log": grid.log}
            elif name in method.settings and name not in _KEYS:
                state["fixed"][name] = _literal(text)
            elif name not in _KEYS:
                nearest("name in a link:", name, [*_KEYS, *method.settings, "problem.spectrum", "problem.data"])
        for axis, key in axes.items():
            state.setdefault(key, {"name": axis})
        renamed = {"steps": "n_steps"}
        for name in ("method", "show", "steps", "tol", "reduce", "check_rounding"):
            if name in texts:
                state[renamed.get(name, name)] = texts[name] if name in ("method", "show") else _literal(texts[name])
        return cls.of(state, given)

    # ------------------------------------------------------------------ what it stands for

    @property
    def params(self) -> dict[str, Any]:
        """The method's parameters and options as `olsbn.sweep` takes them."""
        return dict(self.fixed) | {axis.name: axis.values() for axis in (self.x, self.y)}

    @property
    def how(self) -> dict[str, Any]:
        """The arguments of `olsbn.sweep` besides problem and parameters; neutral ones left out."""
        found: dict[str, Any] = {"n_steps": self.n_steps, "tol": self.tol}
        if self.reduced:
            found["reduce"] = "auto"
        if not self.check_rounding:
            found["check_rounding"] = False
        return found

    @property
    def reduced(self) -> bool:
        """Whether a problem of many modes is replaced by a reduced one: asked for, and possible for the method."""
        method = METHODS[self.method]
        moved = dict(self.fixed).keys() | {self.x.name, self.y.name}
        return self.reduce and method.reducible is not None and not moved & set(method.reducible)

    @property
    def computation(self) -> View:
        """The view without what changes no number: two views of the same computation differ in nothing else."""
        return dataclasses.replace(self, show="excess", cells=())

    def problem_of(self, given: Given) -> OLSProblem:
        """Return the problem; the same one for the same fields, as long as it is remembered."""
        if dict(self.problem).get(_GIVEN):
            assert given.problem is not None
            return given.problem
        return _made(self.problem)

    def spec(self, given: Given, stride: int = 1) -> SweepSpec:
        """Return the sweep of every `stride`-th cell along both axes."""
        grids = {axis.name: axis.values()[stride // 2 :: stride] for axis in (self.x, self.y)}
        problem, how = self.problem_of(given), dict(self.how)
        reduce = how.pop("reduce", False)
        spec = SweepSpec.checked(problem, self.method, dict(self.fixed) | grids, **how)
        spec.refuse_repeats()
        if reduce:  # as `SweepSpec.checked` does, but a zoom does not reduce the same problem again
            spec = dataclasses.replace(spec, source=_reduced(problem, self.n_steps), reduce=reduce)
        return spec

    def cell(self, x: float, y: float) -> dict[str, Any]:
        """Return the parameters and options of one cell."""
        return dict(self.fixed) | {self.x.name: x, self.y.name: y}

    # ------------------------------------------------------------------ what it is written as

    def state(self) -> dict[str, Any]:
        """Return it as a table for the page, which `View.of` takes."""
        found = dataclasses.asdict(self)
        return found | {"problem": dict(self.problem), "fixed": dict(self.fixed)}

    def query(self) -> str:
        """Return it as the query of a link, which `View.from_query` takes."""
        pairs: list[tuple[str, Any]] = [(f"problem.{name}", _text(value)) for name, value in self.problem]
        pairs += [("method", self.method), ("x", self.x.name), ("y", self.y.name)]
        pairs += [(axis.name, axis.text()) for axis in (self.x, self.y)]
        pairs += [(name, _text(value)) for name, value in self.fixed]
        pairs += [("show", self.show), ("steps", self.n_steps), ("tol", repr(self.tol))]
        pairs += [(name, "false") for name in ("reduce", "check_rounding") if not getattr(self, name)]
        pairs += [("cell", f"{x!r},{y!r}") for x, y in self.cells]
        return urlencode(pairs, safe=":@,.")

    def toml(self, given: Given) -> str:
        """Return the configuration with which `olsbn sweep` computes the same numbers."""
        table = dict(self.problem)
        if _GIVEN in table:
            if given.table is None:
                raise ValueError(
                    f"a configuration needs a problem by its fields, got {given.label!r}, which was given as an object "
                    "(start with: olsbn explore --data, --csv or --spectrum)"
                )
            table = dict(given.table)
        top: dict[str, Any] = {"method": self.method}
        if "dim" in table:
            top["dim"] = table.pop("dim")
        top |= {axis.name: axis.text() for axis in (self.x, self.y)} | dict(self.fixed) | self.how
        lines = [f"{name} = {_toml_value(value)}" for name, value in top.items()]
        lines += ["", "[problem]", *(f"{name} = {_toml_value(value)}" for name, value in table.items())]
        return "\n".join(lines) + "\n"

    def python(self, given: Given) -> str:
        """Return lines of Python that compute the same numbers and draw them."""
        grids = [
            f"{axis.name}=np.{'geomspace' if axis.log else 'linspace'}({axis.lo!r}, {axis.hi!r}, {axis.n})"
            for axis in (self.x, self.y)
        ]
        rest = [f"{name}={value!r}" for name, value in (*self.fixed, *self.how.items())]
        lines = [
            "import numpy as np", "import olsbn", "",
            f"problem = {_python_problem(dict(self.problem), given)}",
            f"ds = olsbn.sweep(problem, method={self.method!r},",
            *(f"                 {part}," for part in grids),
            f"                 {', '.join(rest)})",
            f"ax = olsbn.plotting.plot_map(ds, {self.show!r}, x={self.x.name!r}, y={self.y.name!r})",
        ]  # fmt: skip
        for x, y in self.cells:
            at = {**dict(self.fixed), self.x.name: x, self.y.name: y}
            texts = ", ".join(f"{name}={value!r}" for name, value in at.items())
            lines.append(
                f"run = olsbn.run(problem, {self.method!r}, n_steps={self.n_steps}, tol={self.tol!r}, {texts})"
            )
        return "\n".join(lines) + "\n"


# -------------------------------------------------------------------- windows to begin with


def first_view(given: Given) -> View:
    """Return the view that an explorer opens with."""
    return View.of({}, given)


def axes_of(method: Method) -> list[Param]:
    """Return the parameters of a method that may be an axis of the map, learning rates first."""
    first = {"eps": 0, "eps_a": 1}
    return sorted((p for p in method.params if p.kind == "real"), key=lambda param: first.get(param.name, 2))


def whole_window(param: Param, problem: OLSProblem, n: int, n_steps: int, tol: float) -> Window:
    """Return the window of a parameter that shows all there is: for learning rates by theory, else its own range."""
    from olsbn import maps
    from olsbn.search.tried import default_eps

    if param.name == "eps":
        values = default_eps(problem, n_steps, tol)
        return Window("eps", float(values[0]), float(values[-1]), n, True)
    if param.name == "eps_a":
        lo, hi = maps.EPS_A[:2]
        return Window("eps_a", lo, hi, n, True)
    default = param.default or 0.0
    if param.spacing == "log":
        centre = default or 1.0
        return Window(param.name, max(param.low, centre * 1e-4), min(param.high, centre * 1e4), n, True)
    high = param.high if math.isfinite(param.high) else 2 * max(abs(default), 0.5)
    return Window(param.name, param.low, high, n, False)


def _windows(
    method: Method, state: Mapping[str, Any], problem: tuple[tuple[str, Any], ...], given: Given
) -> tuple[Window, Window]:
    """Return both axes; what is left out is filled in."""
    able = {param.name: param for param in axes_of(method)}
    if len(able) < 2:
        raise ValueError(
            f"a map needs two parameters for its axes, got method {method.name!r} with "
            f"{', '.join(able) or 'none'} (see: olsbn run --method {method.name})"
        )
    asked = {key: state.get(key) or {} for key in ("x", "y")}
    for key, table in asked.items():
        if not isinstance(table, Mapping):
            raise TypeError(f"{key} must be a table with name, lo, hi, n and log, got {shortened(table)}")
        for part in table:
            nearest(f"part of {key}:", str(part), ["name", "lo", "hi", "n", "log"])
    names = {key: one_of(key, table["name"], able) for key, table in asked.items() if table.get("name") is not None}
    for key in asked:
        if key not in names:
            names[key] = next(one for one in able if one not in names.values())
    if names["x"] == names["y"]:
        raise ValueError(f"x and y must be different parameters, got {names['x']!r} twice")
    found = []
    for (key, table), count in zip(asked.items(), _DEFAULT_CELLS, strict=True):
        param = able[names[key]]
        n = as_count(f"n of {key}", table.get("n", count), minimum=2, maximum=8192)
        if table.get("lo") is None or table.get("hi") is None:
            made = _made(problem) if _GIVEN not in dict(problem) else given.problem
            assert made is not None
            steps = as_count("steps", state.get("n_steps", 1000), minimum=1, maximum=MOST_STEPS)
            window = whole_window(param, made, n, steps, as_real("tol", state.get("tol", 1e-10)))
        else:
            lo, hi = (as_real(f"{end} of {param.name}", table[end]) for end in ("lo", "hi"))
            window = Window(param.name, lo, hi, n, as_flag(f"log of {param.name}", table.get("log", False)))
        found.append(_checked(window, param))
    return found[0], found[1]


def _checked(window: Window, param: Param) -> Window:
    lo, hi, name = window.lo, window.hi, window.name
    low, high = max(param.low, -_HIGH), min(param.high, _HIGH)
    if not low <= lo < hi <= high:
        raise ValueError(f"{name} must have LO < HI in [{low:g}, {high:g}], got {lo!r} to {hi!r}")
    if window.log and lo < _LOW:
        raise ValueError(f"{name} must have LO >= {_LOW:g} on a logarithmic axis, got {lo!r}")
    if (hi - lo) / max(abs(lo), abs(hi)) < 64 * window.n * 2.0**-53:
        raise ValueError(f"{name} must differ from cell to cell in float64, got {window.n} cells in {lo!r} to {hi!r}")
    return window


# -------------------------------------------------------------------- parts


def _problem_fields(table: Any, given: Given) -> tuple[tuple[str, Any], ...]:
    """Check the fields of a problem; none stands for the one named at the start, or for the first one."""
    if not isinstance(table, Mapping):
        raise TypeError(f"problem must be a table of fields, got {shortened(table)}")
    if not table:
        table = {_GIVEN: True} if given.problem is not None else _START
    if _GIVEN in table:
        if given.problem is None or len(table) > 1:
            got = "none" if given.problem is None else f"more fields: {', '.join(map(str, table))}"
            raise ValueError(f"problem.{_GIVEN} must name the problem of the start alone, got {got}")
        return ((_GIVEN, True),)
    if "csv" in table:
        raise ValueError(
            f"problem.csv must be named when the explorer is started (olsbn explore --csv FILE --target COL), "
            f"got {shortened(table['csv'])}"
        )
    known = [name for name, field in FIELDS.items() if field.kinds != ("csv",) and name != "csv"]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name != "dim":
            nearest("field of a problem:", str(name), [*known, "dim"])
            field = FIELDS[name]
            number = field.kind is float and isinstance(value, int) and not isinstance(value, bool)
            value = float(value) if number else value
            values[name] = fields.checked(name, value)
    if "spectrum" in values:
        dense = values.get("density") is True
        values["dim"] = as_count("problem.dim", table.get("dim", 100), minimum=1, maximum=2**53 if dense else MOST_DIM)
    elif "dim" in table:
        raise ValueError(f"problem.dim goes with problem.spectrum, got it with {', '.join(values) or 'nothing'}")
    found = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in values.items())
    _made(found)
    return found


@lru_cache(maxsize=8)
def _made(table: tuple[tuple[str, Any], ...]) -> OLSProblem:
    from olsbn.problems import OLSProblem, described

    values = {name: list(value) if isinstance(value, tuple) else value for name, value in table}
    dim: Any = values.pop("dim", None)
    if dim == 1:
        values.setdefault("cond", 1.0)
    dialect = described.Dialect(
        name=lambda name: f"problem.{name}",
        missing=lambda field: f"problem.{field.name} must be given: {field.allowed}",
        one_of=lambda names: (
            f"a problem must have exactly one of spectrum and data, got {' and '.join(names) or 'none'}"
        ),
        remedy=lambda name, value: f"{name} = {value!r}",
        between=", ",
    )
    made = described.make(values, dialect)
    return made if isinstance(made, OLSProblem) else made(dim)


@lru_cache(maxsize=4)
def _reduced(problem: OLSProblem, n_steps: int) -> OLSProblem:
    return reduce_for(problem, n_steps, "auto")


def _fixed(method: Method, table: Any, axes: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """Check parameters that are no axis, and options; neutral ones are left out."""
    if not isinstance(table, Mapping):
        raise TypeError(f"fixed must be a table of parameters, got {shortened(table)}")
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name in axes or value is None:
            continue
        if name not in method.settings:
            nearest(f"parameter of method {method.name!r}:", str(name), list(method.settings))
        item = method.settings[name]
        if hasattr(item, "spacing"):
            number = item.checked(as_real(str(name), value))
            value = float(number)
        elif isinstance(value, list):
            raise TypeError(f"{name} must be one value, got {shortened(value)}")
        else:
            value = item.checked(value)
        if value != item.default:
            found[str(name)] = value
    for param in method.params:
        if param.default is None and param.name not in axes and param.name not in found:
            found[param.name] = 1.0
    return tuple((name, found[name]) for name in method.settings if name in found)


def _cells(cells: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(cells, list | tuple):
        raise TypeError(f"cells must be a list of pairs, got {shortened(cells)}")
    if len(cells) > MOST_CHOSEN:
        raise ValueError(f"at most {MOST_CHOSEN} cells can be compared, got {len(cells)}")
    found = []
    for cell in cells:
        if not isinstance(cell, list | tuple) or len(cell) != 2:
            raise TypeError(f"a cell must be a pair of numbers, got {shortened(cell)}")
        found.append((as_real("x of a cell", cell[0]), as_real("y of a cell", cell[1])))
    return tuple(found)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"cell must be X,Y, two numbers, got {text!r}") from None


def _typed(name: str, text: str) -> Any:
    """Return the value of a problem's field from a link."""
    if name in FIELDS and FIELDS[name].fits(text):
        return text
    return _literal(text)


def _literal(text: str) -> Any:
    """Return a number, true, false or a list from a link, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _toml_value(value: Any) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        text = repr(value)
        return text if any(mark in text for mark in ".e") else f"{text}.0"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _python_problem(table: dict[str, Any], given: Given) -> str:
    """Return a problem as an expression."""
    if _GIVEN in table:
        if given.table is None:
            return f"problem  # the one that olsbn.explore was called with: {given.label}"
        table = dict(given.table)
    kind = next(name for name in fields.KINDS if name in table)
    source = table.pop(kind)
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in table.items()}
    if kind != "spectrum":
        maker = "from_dataset" if kind == "data" else "from_csv"
        return f"olsbn.OLSProblem.{maker}({', '.join([repr(source), *_keywords(listed)])})"
    dim = listed.pop("dim")
    return f"olsbn.ProblemFamily({', '.join([repr(source), *_keywords(listed)])})(dim={dim})"


def _keywords(table: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in table.items()]
