"""The options that name a problem, and the problem they name."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from olsbn.fields import FIELDS, Field

if TYPE_CHECKING:
    from olsbn.problems import OLSProblem

# Bytes needed, with some room, for a mode of a problem.
_BYTES_A_MODE = 600


def problem_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a problem."""
    options = [_option(field) for field in FIELDS.values() if field.metavar is not None]
    at = next(i for i, field in enumerate(FIELDS.values()) if field.name == "spectrum") + 1
    options[at:at] = [click.option("--dim", type=int, metavar="D", help="Number of inputs of the random problem.")]
    options += [click.option("--standardize-inputs", is_flag=True, help="Divide the inputs alone.")]
    for option in reversed(options):
        command = option(command)
    return command


def _option(field: Field) -> Any:
    how: dict[str, Any] = {"help": field.meaning}
    if field.metavar == "":
        how |= {"default": None} if "/" in field.option else {"is_flag": True}
    else:
        how |= {"metavar": field.metavar, "multiple": field.kind is list}
        how |= {"type": field.kind} if field.kind in (int, float) else {}
    return click.option(field.option or field.flag, field.name, **how)


def problem_named(named: dict[str, Any]) -> bool:
    """Whether any of the options that name a problem was given."""
    return bool(_given(named))


def _given(named: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; a flag is given if it is set, `header` if either of its names was."""
    unset = {name: value for name, value in named.items() if value is None or value == () or value is False}
    unset.pop("header", None) if named.get("header") is not None else None
    return {name: value for name, value in named.items() if name not in unset}


def make_problem(**named: Any) -> OLSProblem:
    """Make the problem that the options name."""
    from olsbn._validate import check_memory
    from olsbn.problems import described

    values = table_of(**named)
    dim = values.pop("dim", None)
    if "spectrum" in values:
        if dim is None:
            raise ValueError("--spectrum needs --dim D, the number of inputs")
        if not values.get("density"):
            check_memory("--dim", dim, _BYTES_A_MODE)
        if dim == 1:
            values.setdefault("cond", 1.0)
    elif dim is not None and values:
        raise ValueError(f"--dim goes with --spectrum, got it with --{'csv' if 'csv' in values else 'data'}")
    made = described.make(values, described.Dialect(_name, _missing, _one_of, _typed, " "))
    return made if dim is None else made(dim)  # type: ignore[return-value, operator]


def table_of(**named: Any) -> dict[str, Any]:
    """Return the fields of a problem, and `dim`, that the options name, as a configuration has them."""
    given = _given(named)
    dim = given.pop("dim", None)
    if given.pop("standardize_inputs", False):
        if given.get("standardize"):
            raise ValueError("--standardize and --standardize-inputs must not be given together, got both")
        given["standardize"] = "inputs"
    values = {name: _value(FIELDS[name], value) for name, value in given.items()}
    return values if dim is None else values | {"dim": dim}


def _value(field: Field, value: Any) -> Any:
    """Return what was typed as the value of a field."""
    if field.name == "sep":
        value = {"\\t": "\t", "tab": "\t", "space": " "}.get(value, value)
    value = list(value) if isinstance(value, tuple) else value
    if not field.fits(value):
        raise ValueError(f"{_name(field.name)} must be {field.allowed}, got {value!r}")
    return value


def _name(name: str) -> str:
    return FIELDS[name].flag


def _missing(field: Field) -> str:
    return f"--{field.kinds[0]} needs {field.flag} {field.metavar}, {field.allowed}"


def _one_of(given: list[str]) -> str:
    return (
        "a problem must be given by exactly one of --data NAME, --csv FILE --target COL, "
        f"--spectrum KIND --dim D --cond K; got {' and '.join(map(_name, given)) or 'none'} "
        "(try: olsbn map --data diabetes)"
    )


def _typed(name: str, value: Any) -> str:
    """Return an argument of `from_csv` as it is typed."""
    if name == "header":
        return "--no-header" if value is None else "--header"
    if value is True:
        return FIELDS[name].flag
    values = value if isinstance(value, list) else [value]
    return " ".join(f"{FIELDS[name].flag} {shlex.quote(str(one))}" for one in values)
