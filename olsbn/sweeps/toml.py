"""Sweeps described in a TOML file, checked in full before anything is made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from olsbn._validate import check_memory, nearest, shortened
from olsbn.fields import FIELDS, Field

if TYPE_CHECKING:
    from olsbn.dynamics.base import Method, Option, Param
    from olsbn.problems import OLSProblem, ProblemFamily
    from olsbn.sweeps.spec import SweepSpec


class _Key(NamedTuple):
    """What a key may hold: a test of its type, and what is allowed in words; what is left to check is the library's."""

    fits: Callable[[Any], bool]
    allowed: str
    needed: bool = False


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or isinstance(value, float)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _either(*tests: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(fits(value) for fits in tests)


_WHOLES, _NUMBERS = _either(_whole, _list_of(_whole)), _list_of(_number)


def _keys(method: Method) -> dict[str, _Key]:
    """Return the keys of a config for a method."""
    from olsbn.dynamics.registry import METHODS

    *first, last = (repr(name) for name in METHODS)
    found = {
        "problem": _Key(lambda value: isinstance(value, dict), "a table [problem] with spectrum, data or csv", True),
        "n_steps": _Key(_whole, "a whole number >= 0", True),
        **{param.name: _param_key(param) for param in method.params},
        **{option.name: _option_key(option) for option in method.options},
        "method": _Key(_text, f"{', '.join(first)} or {last}" if first else last),
        "tol": _Key(_number, "a number in [1e-290, 1)"),
        "stop": _Key(_text, "'steps' or 'tol'"),
        "record": _Key(_list_of(_whole), "a list of steps"),
        "check_rounding": _Key(_flag, "true or false"),
        "reduce": _Key(_either(_whole, _text), "'auto' or a number of modes"),
        "dim": _Key(_WHOLES, "a whole number >= 1 or a list of them"),
        "trials": _Key(
            _WHOLES,
            "how many random problems of each dimension (a whole number >= 1), or a list of their numbers (>= 0)",
        ),
    }
    return found


def _param_key(param: Param) -> _Key:
    allowed = f"a number >= {param.low:g}, a list of them, or a text LO:HI:N (LO:HI:N@lin, LO:HI:N@log)"
    return _Key(_either(_number, _text, _NUMBERS), allowed, needed=param.default is None)


def _option_key(option: Option) -> _Key:
    if option.choices:
        return _Key(_text, f"one of {', '.join(option.choices)}")
    if option.kind == "count":
        return _Key(_whole, "a whole number >= 0")
    if option.kind == "share":
        return _Key(_number, "a number in [0, 1]")
    return _Key(_NUMBERS, "a list of n_steps + 1 numbers >= 0")


def load(path: str | os.PathLike[str]) -> SweepSpec:
    """Read the description of a sweep.

    Parameters
    ----------
    path : path-like
        A TOML file: `n_steps`, `method`, the method's parameters and options, `tol`, `stop`, `record`, `reduce`, `dim`,
        `trials`, and a table ``[problem]``.

    Returns
    -------
    SweepSpec

    Raises
    ------
    ValueError
        With file, key, value and what is allowed, for anything that `olsbn.sweep` would refuse, unknown keys, and
        problems or grids too large for the memory of this machine.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode()
        raw = tomllib.loads(text)
    except OSError as err:
        raise ValueError(f"cannot read {path}: {err.strerror or err}") from None
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{path} must be a TOML file in UTF-8: {str(err) or type(err).__name__}") from None
    try:
        return _spec(raw, path.parent)
    except (ValueError, TypeError, ImportError, MemoryError) as err:
        raise ValueError(f"{path}: {str(err) or 'too large for the memory of this machine'}") from err


_FILES = 100  # of a store besides its tiles, about


def check_disk(spec: SweepSpec, folder: Path) -> None:
    """Refuse a sweep whose results, or whose files, do not fit on the disk."""
    need, free = spec.n_cells * spec.bytes_per_cell, shutil.disk_usage(folder).free
    if need > free:
        raise ValueError(
            f"the grid must have at most {free // spec.bytes_per_cell} cells to fit on the disk of {folder} "
            f"({free / 1e9:.3g} GB free), got {' x '.join(map(str, spec.shape))} = {spec.n_cells}"
        )
    if hasattr(os, "statvfs"):
        disk, tiles = os.statvfs(folder), len(spec.tiles())
        if disk.f_files and tiles + _FILES > disk.f_favail:  # some file systems do not count them, and say 0
            raise ValueError(
                f"the sweep needs {tiles + _FILES} files while it is written, and the disk of {folder} has room for "
                f"{disk.f_favail}"
            )


# Bytes needed, with some room: a mode of a problem (while it is swept), a value of a parameter, a trial.
_BYTES_A_MODE, _BYTES_A_VALUE, _BYTES_A_TRIAL = 2000, 200, 400


# -------------------------------------------------------------------- from TOML to a sweep


def _spec(raw: Mapping[str, Any], folder: Path) -> SweepSpec:
    from olsbn.dynamics.registry import DEFAULT, METHODS, method_named
    from olsbn.sweeps.spec import SweepSpec

    name = raw.get("method", DEFAULT)
    method = method_named(name) if isinstance(name, str) else METHODS[DEFAULT]
    keys = _keys(method)
    for key in raw:
        if key not in keys and key in FIELDS:
            raise ValueError(f"the key {key!r} belongs under [problem]")
    elsewhere = {param.name: param for other in METHODS.values() for param in other.params}
    others = {key: _param_key(elsewhere[key]) for key in raw if key in elsewhere and key not in keys}
    _check(raw, keys, "", others)  # a parameter of another method is refused in the library's own words
    _check(raw["problem"], {name: _Key(field.fits, field.allowed) for name, field in FIELDS.items()}, "problem")
    dim, trials = raw.get("dim"), raw.get("trials")
    if raw["problem"].get("density") is not True:  # the cost of a density does not depend on dim
        check_memory("dim", max(dim if isinstance(dim, list) else [dim or 1], default=1), _BYTES_A_MODE)
    if isinstance(trials, int):
        if trials < 1:
            raise ValueError(f"trials must be {keys['trials'].allowed}, got {trials}")
        check_memory("trials", trials, _BYTES_A_TRIAL)
        trials = list(range(trials))
    source = _source(raw["problem"], folder)
    family = "spectrum" in raw["problem"]
    for key, value in (("dim", dim), ("trials", trials)):
        if value is not None and not family:
            raise ValueError(f"{key} goes with problem.spectrum, got it with a single problem")
    if family and dim is None:
        raise ValueError(f"the key 'dim' is missing: it must be {keys['dim'].allowed}")
    params = {key: _values(elsewhere[key], raw[key]) for key in raw if key in elsewhere}
    params |= {option.name: raw[option.name] for option in method.options if option.name in raw}
    rest = {key: raw[key] for key in ("tol", "stop", "record", "reduce", "check_rounding") if key in raw}
    spec = SweepSpec.checked(source, name, params, dim=dim, trial=trials, n_steps=raw["n_steps"], **rest)
    spec.refuse_repeats()
    return spec if family else dataclasses.replace(spec, origin=_origin(raw["problem"], folder))


def _origin(table: Mapping[str, Any], folder: Path) -> str:
    """Return a hash of what a problem is made from: how the table is described, and its bytes.

    The numbers of a problem from data depend on the processor, by their last bits: that is not another problem.
    """
    described = {name: value for name, value in table.items() if name != "csv"}
    sha = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    if "csv" in table:
        sha.update((folder / table["csv"]).read_bytes())
    return sha.hexdigest()


def _check(
    table: Mapping[str, Any], keys: Mapping[str, _Key], where: str, others: Mapping[str, _Key] | None = None
) -> None:
    """Check the keys and types of a table."""
    dotted = f"{where}." if where else ""
    for key in table:
        if key not in keys and key not in (others or {}):
            nearest(f"key in [{where}]:" if where else "key", key, list(keys))
    for key, (_, allowed, needed) in keys.items():
        if needed and key not in table:
            raise ValueError(f"the key {dotted + key!r} is missing: it must be {allowed}")
    for key, value in table.items():
        fits, allowed, _ = {**keys, **(others or {})}[key]
        if not fits(value):
            raise ValueError(f"{dotted}{key} must be {allowed}, got {shortened(value)}")


def _values(param: Param, value: Any) -> Any:
    """Return the values of a parameter, which a text may stand for."""
    if not isinstance(value, str):
        return value
    from olsbn.sweeps.grid import Grid

    grid = Grid.parse(param.name, value, log=param.spacing == "log")
    check_memory(f"the number of values of {param.name}", grid.n, _BYTES_A_VALUE)
    return grid.values() if ":" in value else grid.lo


def _source(table: Mapping[str, Any], folder: Path) -> OLSProblem | ProblemFamily:
    from olsbn.problems import described

    return described.make(table, described.Dialect(_dotted, _missing, _one_of, _typed, ", "), folder)


def _dotted(name: str) -> str:
    return f"problem.{name}"


def _missing(field: Field) -> str:
    return f"the key {_dotted(field.name)!r} is missing: it must be {field.allowed}"


def _one_of(given: list[str]) -> str:
    return f"[problem] must have exactly one of spectrum, data and csv, got {' and '.join(given) or 'none'}"


def _typed(name: str, value: Any) -> str:
    """Return an argument of `OLSProblem.from_csv` as a line of TOML."""
    return f"{name} = {json.dumps(value if value is not None else False, ensure_ascii=False)}"
