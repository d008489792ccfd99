"""The sample that a problem was made from, for what needs single rows of it."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from olsbn._validate import FloatArray


@dataclass(frozen=True, eq=False)
class Units:
    """How the columns of a sample were made from the data.

    Attributes
    ----------
    columns, target : tuple of str, str
        Names.
    X_mean, y_mean : ndarray, float
        Means that were subtracted.
    X_scale, y_scale : ndarray, float
        Scales that were divided by; 1 where nothing was.
    n_dropped_rows : int
        Number of rows that were left out, for they had no value somewhere.
    notes : tuple of str
        Remarks on how the table was read.
    """

    columns: tuple[str, ...]
    target: str
    X_mean: FloatArray
    X_scale: FloatArray
    y_mean: float
    y_scale: float = 1.0
    n_dropped_rows: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coefficients:
    """Least squares in the units of the original columns: ``target = intercept + sum_j values[j] columns[j]``.

    Attributes
    ----------
    columns : tuple of str
        Names of the inputs.
    values : tuple of float
        Their coefficients.
    intercept : float
        The constant.
    loss : float
        Half the mean squared residual, the smallest loss that GD and BNGD can reach, in the target's own unit squared.
    target : str
        Name of the target.
    """

    columns: tuple[str, ...]
    values: tuple[float, ...]
    intercept: float
    loss: float
    target: str

    def as_dict(self) -> dict[str, float]:
        """Return the coefficients by the names of their columns."""
        return dict(zip(self.columns, self.values, strict=True))

    def _rows(self) -> list[tuple[str, float]]:
        return [*zip(self.columns, self.values, strict=True), ("intercept", self.intercept), ("loss", self.loss)]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self._rows())
        return "\n".join(f"{name:<{width}}  {value: .10g}" for name, value in self._rows())

    def _repr_html_(self) -> str:
        return html_table(f"least squares for {self.target}", self._rows())


def html_table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    """Return a table of names and values for a notebook."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td>{html.escape(f'{value:.6g}' if isinstance(value, float) else str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of data behind a problem, centred once over the sample.

    Attributes
    ----------
    X : ndarray, shape (n, columns)
        Inputs, every column with mean 0 (and divided by its standard deviation, if the problem was standardized).
    y : ndarray, shape (n,)
        Target with mean 0 (and divided by its standard deviation, if it was standardized).
    basis : ndarray, shape (columns, d)
        Eigenvectors of ``H = X'X/n`` in its columns, in the order and with the signs of the problem's coordinates: a
        vector w of the problem is ``basis @ w`` in the coordinates of the columns.
    eigvals, u : ndarray, shape (d,)
        Those of the problem, by which a problem is known to belong to its sample.
    units : Units, optional
        How the columns were made from the data.
    """

    X: FloatArray
    y: FloatArray
    basis: FloatArray
    eigvals: FloatArray
    u: FloatArray
    units: Units | None = None

    def __post_init__(self) -> None:
        for name in ("X", "y", "basis", "eigvals", "u"):
            array = np.array(getattr(self, name), order="C")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @cached_property
    def Z(self) -> FloatArray:
        """Inputs in the problem's own coordinates, ``X @ basis``, shape (n, d): ``Z'Z/n = diag(eigvals)``."""
        Z = np.einsum("nc,cd->nd", self.X, self.basis)  # not BLAS, whose bits depend on the processor
        Z.setflags(write=False)
        return Z

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.y.size

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the numbers, as 64 hex digits."""
        digest = hashlib.sha256(b"olsbn.Sample/1")
        for array in (self.X, self.y, self.basis):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()

    def lost_inputs(self) -> tuple[str, ...]:
        """Return the names of as many inputs as the rank lacks: what the others leave of each is within rounding.

        By QR with pivoting: the largest column first, then the one of which the chosen ones leave most.
        """
        n_lost = self.X.shape[1] - self.eigvals.size
        if n_lost == 0:
            return ()
        from scipy.linalg import qr

        names = tuple(f"x{j}" for j in range(self.X.shape[1])) if self.units is None else self.units.columns
        _, order = qr(self.X, mode="r", pivoting=True)
        return tuple(names[j] for j in sorted(order[-n_lost:]))

    def coefficients(self) -> Coefficients:
        """Return the least squares solution in the units of the original columns."""
        if self.units is None:
            raise ValueError(
                "coefficients must be asked of a problem made from data, got one read from a store, which does not "
                "keep the units of its columns: make it from its data again"
            )
        units, solution = self.units, np.einsum("cd,d->c", self.basis, self.u)
        residual = self.y - np.einsum("nc,c->n", self.X, solution)
        values = solution * units.y_scale / units.X_scale
        intercept = units.y_mean - float(np.sum(units.X_mean * values))
        loss = float(np.sum(residual * residual)) / (2 * self.n) * units.y_scale**2
        return Coefficients(units.columns, tuple(values.tolist()), intercept, loss, units.target)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.X, self.y, self.basis, self.eigvals, self.u, self.units)

    def __repr__(self) -> str:
        return f"<Sample: {self.n} rows, {self.X.shape[1]} columns>"
