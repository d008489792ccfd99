"""The sample that a problem was made from, for what needs single rows of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from olsbn._validate import FloatArray


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of data behind a problem, centred once over the sample.

    Attributes
    ----------
    X : ndarray, shape (n, columns)
        Inputs, every column with mean 0 (and divided by its standard deviation, if the problem was standardized).
    y : ndarray, shape (n,)
        Target with mean 0.
    basis : ndarray, shape (columns, d)
        Eigenvectors of ``H = X'X/n`` in its columns, in the order and with the signs of the problem's coordinates: a
        vector w of the problem is ``basis @ w`` in the coordinates of the columns.
    eigvals, u : ndarray, shape (d,)
        Those of the problem, by which a problem is known to belong to its sample.
    """

    X: FloatArray
    y: FloatArray
    basis: FloatArray
    eigvals: FloatArray
    u: FloatArray

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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.X, self.y, self.basis, self.eigvals, self.u)

    def __repr__(self) -> str:
        return f"<Sample: {self.n} rows, {self.X.shape[1]} columns>"
