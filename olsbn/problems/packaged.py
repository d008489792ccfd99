"""The small data sets in scikit-learn's files, read without importing scikit-learn, which takes a second.

The numbers are those that scikit-learn returns, to the bit.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Table(NamedTuple):
    """Inputs and target with their names, the number of rows left out for gaps, and remarks on how it was read."""

    X: Any
    y: Any
    columns: tuple[str, ...]
    target: str
    n_dropped_rows: int = 0
    notes: tuple[str, ...] = ()


_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
_WINE = (
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
    "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline",
)  # fmt: skip
_CELL = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
_BREAST_CANCER = (*(f"mean {x}" for x in _CELL), *(f"{x} error" for x in _CELL), *(f"worst {x}" for x in _CELL))
_DIGITS = tuple(f"pixel_{i}_{j}" for i in range(8) for j in range(8))


def load(name: str) -> Table:
    """Return "diabetes", "wine", "breast_cancer" or "digits".

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    OSError, ValueError
        If its files are not where they were, or not of the form that they had.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ImportError("scikit-learn is not installed", name="sklearn")
    folder = Path(spec.origin).parent / "datasets" / "data"
    if name == "diabetes":
        X, y = (_numbers(folder / f"diabetes_{part}.csv.gz", None) for part in ("data_raw", "target"))
        return _checked(_scaled(X), y, _DIABETES)
    if name == "digits":
        rows = _numbers(folder / "digits.csv.gz", ",")
        return _checked(rows[:, :-1], rows[:, -1].astype(int), _DIGITS)
    file, columns = {"wine": ("wine_data.csv", _WINE), "breast_cancer": ("breast_cancer.csv", _BREAST_CANCER)}[name]
    rows = np.loadtxt(folder / file, delimiter=",", skiprows=1)
    return _checked(np.ascontiguousarray(rows[:, :-1]), rows[:, -1].astype(int), columns)


def _numbers(file: Path, delimiter: str | None) -> Any:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return np.loadtxt(lines, delimiter=delimiter)


def _checked(X: Any, y: Any, columns: tuple[str, ...]) -> Table:
    if X.ndim != 2 or X.shape[1] != len(columns) or y.shape != X.shape[:1]:
        raise ValueError(f"the data set must have {len(columns)} columns, got the shapes {X.shape} and {y.shape}")
    return Table(X, y, columns, "target")


def _scaled(X: Any) -> Any:
    """Return columns of mean 0 and norm 1, by the operations of `sklearn.preprocessing.scale`, in their order."""
    mean, deviation = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
    X -= mean
    once = np.nanmean(X, axis=0)
    if not np.allclose(once, 0):
        X -= once
    X /= deviation
    twice = np.nanmean(X, axis=0)
    if not np.allclose(twice, 0):
        X -= twice
    return X / X.shape[0] ** 0.5
