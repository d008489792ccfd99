"""Sweeps described in a TOML file, checked in full before anything is made."""

from __future__ import annotations

import difflib
import math
import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import numpy as np

    from olsbn.grids import SweepSpec
    from olsbn.problems import OLSProblem, ProblemFamily

# What each key may hold, for the one line that a user sees.
_RATES = "a number >= 0, a list of them, or a text LO:HI:N (LO:HI:N@lin, LO:HI:N@log)"
_START = "a list of numbers, or one of "
ALLOWED = {
    "method": "'bngd' or 'gd'",
    "n_steps": "a whole number >= 0",
    "tol": "a number in [1e-290, 1)",
    "stop": "'steps' or 'tol'",
    "eps": _RATES,
    "eps_a": _RATES,
    "dim": "a whole number >= 1 or a list of them",
    "trials": "how many random problems of each dimension (a whole number >= 1), or a list of their numbers (>= 0)",
    "problem": "a table [problem] with spectrum, data or csv",
    "problem.spectrum": "the name of a spectrum",
    "problem.cond": "a number >= 1",
    "problem.seed": "a whole number >= 0",
    "problem.u": _START + "'sphere', 'ones'",
    "problem.w0": _START + "'sphere', 'gradient'",
    "problem.data": "the name of a data set",
    "problem.csv": "the path of a CSV table, from the config file's own directory",
    "problem.target": "the name of the target's column in the CSV table",
    "problem.standardize": "true or false",
}

_Whole = int | list[int]
_Rates = float | str | list[float]


class _Problem(msgspec.Struct, forbid_unknown_fields=True):
    spectrum: str | None = None
    cond: float | None = None
    seed: int | None = None
    u: str | list[float] | None = None
    w0: str | list[float] | None = None
    data: str | None = None
    csv: str | None = None
    target: str | None = None
    standardize: bool | None = None


class _Sweep(msgspec.Struct, forbid_unknown_fields=True):
    problem: _Problem
    eps: _Rates
    n_steps: int
    method: str = "bngd"
    eps_a: _Rates = 1.0
    dim: _Whole | None = None
    trials: _Whole | None = None
    tol: float = 1e-10
    stop: str = "steps"


def load(path: str | os.PathLike[str]) -> SweepSpec:
    """Read the description of a sweep.

    Parameters
    ----------
    path : path-like
        A TOML file; the keys are those of `ALLOWED`.

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
        return _spec(_converted(raw), path.parent)
    except (ValueError, TypeError, ImportError, MemoryError) as err:
        raise ValueError(f"{path}: {str(err) or 'too large for the memory of this machine'}") from err


def check_disk(spec: SweepSpec, folder: Path) -> None:
    """Refuse a sweep whose results do not fit on the disk."""
    need, free = spec.n_cells * spec.bytes_per_cell, shutil.disk_usage(folder).free
    if need > free:
        raise ValueError(
            f"the grid must have at most {free // spec.bytes_per_cell} cells to fit on the disk of {folder} "
            f"({free / 1e9:.3g} GB free), got {' x '.join(map(str, spec.shape))} = {spec.n_cells}"
        )


def nearest(what: str, value: str, known: list[str]) -> str:
    """Return `value` if it is known, else say which known name is nearest."""
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {what} {value!r}{hint} (known: {', '.join(known)})")


def check_memory(what: str, number: int, bytes_each: int) -> None:
    """Refuse what would not fit into half of the memory of this machine."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 << 30
    most = memory // 2 // bytes_each
    if number > most:
        raise ValueError(f"{what} must be at most {most} to fit into the memory of this machine, got {number}")


# Bytes needed, with some room: a mode of a problem (while it is swept), a value of a learning rate, a trial.
_BYTES_A_MODE, _BYTES_A_RATE, _BYTES_A_TRIAL = 2000, 200, 400


@dataclass(frozen=True)
class Grid:
    """Learning rates as a text: LO:HI:N, or one number."""

    lo: float
    hi: float
    n: int
    log: bool

    @classmethod
    def parse(cls, name: str, text: str, *, log: bool) -> Grid:
        """Read ``LO:HI:N``, ``LO:HI:N@lin``, ``LO:HI:N@log`` or a number."""
        body, at, spacing = text.partition("@")
        form = f"{name} must be LO:HI:N (or LO:HI:N@lin, LO:HI:N@log, or one number), got {text!r}"
        if at and spacing not in ("lin", "log"):
            raise ValueError(form)
        log = spacing == "log" if at else log
        parts = body.split(":")
        try:
            lo, hi, n = float(parts[0]), float(parts[-1]), 1
            if len(parts) == 3:
                hi, n = float(parts[1]), int(parts[2])
            elif len(parts) != 1 or at:
                raise ValueError
        except ValueError:
            raise ValueError(form) from None
        for value in (lo, hi):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and >= 0, got {value!r} in {text!r}")
        if len(parts) == 1:
            return cls(lo, hi, 1, False)
        if n < 1:
            raise ValueError(f"{name} must have N >= 1 values, got {n} in {text!r}")
        if (n == 1 and lo != hi) or (n > 1 and not lo < hi):
            raise ValueError(f"{name} must have LO < HI (and N >= 2), got {text!r}")
        if log and n > 1 and lo == 0:
            raise ValueError(f"{name} must have LO > 0 with logarithmic spacing, got {text!r} (@lin has equal steps)")
        return cls(lo, hi, n, log)

    def values(self) -> np.ndarray:
        """Return the values, ends exact."""
        import numpy as np

        values = np.geomspace(self.lo, self.hi, self.n) if self.log else np.linspace(self.lo, self.hi, self.n)
        if not (np.diff(values) > 0).all():
            raise ValueError(f"a grid must have values that differ, got {self.n} between {self.lo!r} and {self.hi!r}")
        return values


# -------------------------------------------------------------------- from TOML to a sweep


def _converted(raw: dict[str, Any]) -> _Sweep:
    """Check keys and types."""
    try:
        return msgspec.convert(raw, _Sweep)
    except msgspec.ValidationError as err:
        message, _, place = str(err).partition(" - at ")
        keys = re.findall(r"\.(\w+)", place)
        prefix = "".join(f"{key}." for key in keys)
        name = re.search(r"field `(.*)`$", message)
        if name is None:
            value: Any = raw
            for key in keys:
                value = value[key]
            raise ValueError(f"{'.'.join(keys)} must be {ALLOWED['.'.join(keys)]}, got {_short(value)}") from None
        if "missing" in message:
            raise ValueError(
                f"the key {prefix + name[1]!r} is missing: it must be {ALLOWED[prefix + name[1]]}"
            ) from None
        if not prefix and f"problem.{name[1]}" in ALLOWED:
            raise ValueError(f"the key {name[1]!r} belongs under [problem]") from None
        known = [key.removeprefix(prefix) for key in ALLOWED if key.startswith(prefix)]
        nearest(f"key in [{prefix[:-1]}]:" if prefix else "key", name[1], [key for key in known if "." not in key])
        raise


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _spec(config: _Sweep, folder: Path) -> SweepSpec:
    from olsbn.grids import SweepSpec

    dims = config.dim if isinstance(config.dim, list) else [config.dim or 1]
    check_memory("dim", max(dims, default=1), _BYTES_A_MODE)
    trials: Any = config.trials
    if isinstance(trials, int):
        if trials < 1:
            raise ValueError(f"trials must be {ALLOWED['trials']}, got {trials}")
        check_memory("trials", trials, _BYTES_A_TRIAL)
        trials = range(trials)
    source = _source(config.problem, folder)
    family = config.problem.spectrum is not None
    for name, value in (("dim", config.dim), ("trials", trials)):
        if value is not None and not family:
            raise ValueError(f"{name} goes with problem.spectrum, got it with a single problem")
    if family and config.dim is None:
        raise ValueError(f"the key 'dim' is missing: it must be {ALLOWED['dim']}")
    eps = _rates("eps", config.eps, log=True)
    eps_a = _rates("eps_a", config.eps_a, log=False)
    return SweepSpec.checked(
        source, config.method, eps, eps_a, config.dim, None if trials is None else list(trials), config.n_steps,
        config.tol, config.stop,
    )  # fmt: skip


def _rates(name: str, value: Any, *, log: bool) -> Any:
    if not isinstance(value, str):
        return value
    grid = Grid.parse(name, value, log=log)
    check_memory(f"the number of values of {name}", grid.n, _BYTES_A_RATE)
    return grid.values() if ":" in value else grid.lo


def _source(problem: _Problem, folder: Path) -> OLSProblem | ProblemFamily:
    from olsbn import problems
    from olsbn.problems.data import DATASETS
    from olsbn.problems.spectra import SPECTRA

    kinds = {"spectrum": ("cond", "seed", "u", "w0"), "data": ("standardize",), "csv": ("target", "standardize")}
    given = [name for name in kinds if getattr(problem, name) is not None]
    if len(given) != 1:
        raise ValueError(
            f"[problem] must have exactly one of spectrum, data and csv, got {' and '.join(given) or 'none'}"
        )
    kind = given[0]
    for name in problem.__struct_fields__:
        if name not in (kind, *kinds[kind]) and getattr(problem, name) is not None:
            partners = " or ".join(f"problem.{k}" for k, names in kinds.items() if name in names)
            raise ValueError(f"problem.{name} goes with {partners}, got it with problem.{kind}")
    if problem.spectrum is not None:
        nearest("problem.spectrum", problem.spectrum, list(SPECTRA))
        if problem.cond is None and problem.spectrum != "identity":
            raise ValueError(f"the key 'problem.cond' is missing: it must be {ALLOWED['problem.cond']}")
        given_too = {name: getattr(problem, name) for name in kinds["spectrum"] if getattr(problem, name) is not None}
        return problems.ProblemFamily(problem.spectrum, **given_too)
    if problem.data is not None:
        nearest("problem.data", problem.data, list(DATASETS))
        return problems.OLSProblem.from_dataset(problem.data, bool(problem.standardize))
    if problem.target is None:
        raise ValueError(f"the key 'problem.target' is missing: it must be {ALLOWED['problem.target']}")
    return problems.OLSProblem.from_csv(folder / (problem.csv or ""), problem.target, bool(problem.standardize))
