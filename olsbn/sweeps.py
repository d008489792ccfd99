"""Grids of (dimension, trial, eps_a, eps) cut into tiles, run on threads, joined into one labelled Dataset."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import __version__, schema
from olsbn._validate import FloatArray, as_count, as_floats, as_rate, as_real, one_of
from olsbn.kernels.coordinates import decouple, deflate
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.spectral import bngd_contraction_ratio, effective_rate_regimes, gd_contraction_ratio, spectral_report

if TYPE_CHECKING:
    import xarray as xr

DIMS = ("dim", "trial", "eps_a", "eps")

# What a cell yields: variable -> (dtype, value of a cell that was not run).
VARIABLES: dict[str, tuple[str, float]] = {
    "status": ("int8", schema.Status.NOT_RUN),
    "steps_to_tol": ("int64", -1),
    "n_steps_run": ("int64", -1),
    "excess": ("float64", np.nan),
    "eps_eff": ("float64", np.nan),
    "w_norm": ("float64", np.nan),
    "a": ("float64", np.nan),
    "rate_sim": ("float64", np.nan),
    "rate_theory": ("float64", np.nan),
}

# A tile is at most this many cells, and about this much work (1 to 3 s on a core), so that a sweep shows progress,
# loses little when it is killed and keeps all threads busy to the end; it is no smaller than one block of the kernel.
_TILE_CELLS = 65536
_TILE_MODE_STEPS = 4e9
_TILE_CELLS_LEAST = 32

Arrays = dict[str, np.ndarray]


def sweep(
    problem: OLSProblem | ProblemFamily,
    *,
    method: str = "bngd",
    eps: Any,
    eps_a: Any = 1.0,
    dim: Any = None,
    trial: Any = None,
    n_steps: int,
    tol: float = 1e-10,
    stop: str = "steps",
    workers: int | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    r"""Run GD or BNGD on every cell of a grid of learning rates, dimensions and trials.

    Parameters
    ----------
    problem : OLSProblem or ProblemFamily
        One problem, or a family that makes one for each (dim, trial).
    method : {"bngd", "gd"}, optional
        The iteration. GD has no `eps_a` axis.
    eps, eps_a : float or array_like, shape (n,)
        Learning rates of w and of the BN scale, finite and >= 0. A scalar gives no axis.
    dim, trial : int or array_like of int, optional
        For a family: dimensions (required) and trial numbers (default 0). A scalar gives no axis.
    n_steps : int
        Steps each cell runs, >= 0.
    tol : float, optional
        Relative excess loss at which a cell counts as converged, in [1e-290, 1).
    stop : {"steps", "tol"}, optional
        Run all steps, or end each cell at its first step with ``excess <= tol``. A cell always ends when its excess
        falls to 1e-290, below which squares underflow, or passes 1e30 (times the start's, if that is above 1).
    workers : int, optional
        Threads. Default: one for each processor this process may use.
    progress : bool, optional
        Show progress on standard error. Default: if it is a terminal.

    Returns
    -------
    xarray.Dataset
        Dims ``(dim, trial, eps_a, eps)`` less those left out. Variables: `status` (codes and names in its attributes
        ``flag_values``, ``flag_meanings``), `steps_to_tol`, `n_steps_run`, `excess`, `eps_eff`, `w_norm`, `a` at the
        step where the cell stopped, `rate_sim` and `rate_theory`.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above.

    Notes
    -----
    BNGD costs O(d) a step (about 0.25 ns a mode and step on one core), GD O(d log n_steps) a cell in closed form. The
    bits of the result depend on nothing but the arguments. `rate_sim` is the one-step ratio of the square root of the
    excess, reported where three samples a third of the run apart show that it has settled; `rate_theory` is the
    contraction ratio of the dynamics linearised at a minimiser, at the cell's own `eps_eff` and for the modes that the
    start excites (an identity for the limit of `rate_sim` [Cai]).

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ds = olsbn.sweep(problem, eps=[0.1, 1.0, 10.0], eps_a=[0.5, 1.0], n_steps=2000)
    >>> ds.status.dims, bool((ds.status == 0).all())
    (('eps_a', 'eps'), True)
    """
    spec = SweepSpec.checked(problem, method, eps, eps_a, dim, trial, n_steps, tol, stop)
    arrays = spec.empty()
    for tile, result in run_tiles(spec, spec.tiles(), workers=workers, progress=progress):
        for name, values in result.items():
            arrays[name][tile.index] = values
    return spec.dataset(arrays)


@dataclass(frozen=True)
class Tile:
    """A block of cells that one kernel call computes: one problem, some rows and columns of its (eps_a, eps) grid."""

    dim: int
    trial: int
    eps_a: tuple[int, int]
    eps: tuple[int, int]

    @property
    def index(self) -> tuple[int, int, slice, slice]:
        """Where the tile lies in arrays with all four axes."""
        return self.dim, self.trial, slice(*self.eps_a), slice(*self.eps)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return (self.eps_a[1] - self.eps_a[0]) * (self.eps[1] - self.eps[0])


@dataclass(frozen=True, eq=False)
class SweepSpec:
    """What a sweep computes, checked: every cell follows from it. `dims` and `trials` are None for a single problem."""

    source: OLSProblem | ProblemFamily
    method: str
    eps: FloatArray
    eps_a: FloatArray
    dims: tuple[int, ...] | None
    trials: tuple[int, ...] | None
    n_steps: int
    tol: float
    stop: str
    axes: tuple[str, ...]

    @classmethod
    def checked(
        cls, problem: Any, method: str, eps: Any, eps_a: Any, dim: Any, trial: Any, n_steps: Any, tol: Any, stop: str
    ) -> SweepSpec:
        """Check the arguments of `sweep` and put them into one form."""
        if not isinstance(problem, OLSProblem | ProblemFamily):
            raise TypeError(f"problem must be an OLSProblem or a ProblemFamily, got {type(problem).__name__}")
        one_of("method", method, ("bngd", "gd"))
        one_of("stop", stop, ("steps", "tol"))
        n_steps = as_count("n_steps", n_steps, maximum=2**40)
        tol = as_real("tol", tol)
        if not schema.EXCESS_FLOOR <= tol < 1:
            raise ValueError(f"tol must lie in [{schema.EXCESS_FLOOR:g}, 1), got {tol!r}")
        eps = as_rate("eps", eps)
        if method == "gd" and not (np.ndim(eps_a) == 0 and eps_a == 1.0):
            raise ValueError("eps_a must be left out for method 'gd', which has no BN scale")
        eps_a = as_rate("eps_a", eps_a)
        axes = []
        if isinstance(problem, ProblemFamily):
            if dim is None:
                raise ValueError("dim must be given for a ProblemFamily, got None")
            dims, has_dim = _counts("dim", dim, 1)
            trials, has_trial = _counts("trial", 0 if trial is None else trial, 0)
            axes = [name for name, has in (("dim", has_dim), ("trial", has_trial)) if has]
            for d in dims:
                problem(d, trials[0])  # bad combinations are found before anything is computed
        else:
            for name, value in (("dim", dim), ("trial", trial)):
                if value is not None:
                    raise ValueError(
                        f"{name} must be left out for a single problem, got {value!r} (use a ProblemFamily)"
                    )
            dims = trials = None
        axes += [name for name, grid in (("eps_a", eps_a), ("eps", eps)) if grid.ndim]
        for grid in (eps, eps_a):
            grid.setflags(write=False)
        return cls(
            problem, method, np.atleast_1d(eps), np.atleast_1d(eps_a), dims, trials, n_steps, tol, stop, tuple(axes)
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sizes of all four axes; an axis that was left out has size 1."""
        return len(self.dims or (0,)), len(self.trials or (0,)), self.eps_a.size, self.eps.size

    @property
    def variables(self) -> list[str]:
        """Names of the variables this method yields."""
        return [name for name in VARIABLES if not (self.method == "gd" and name == "a")]

    def problem(self, dim: int, trial: int) -> OLSProblem:
        """Return the problem at positions `dim`, `trial` of their axes."""
        if isinstance(self.source, OLSProblem):
            return self.source
        assert self.dims is not None and self.trials is not None
        return _family_problem(self.source, self.dims[dim], self.trials[trial])

    def mode_steps(self) -> float:
        """Return the largest number of mode-steps the sweep can take; the work of GD is not proportional to it."""
        modes = [self.source.dim] if isinstance(self.source, OLSProblem) else list(self.dims or ())
        return float(sum(modes)) * math.prod(self.shape[1:]) * max(self.n_steps, 1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that the result depends on."""
        if isinstance(self.source, OLSProblem):
            source: Any = self.source.fingerprint
        else:
            parts = {
                k: v if isinstance(v, str | int | float) else np.asarray(v, float).tolist()
                for k, v in vars(self.source).items()
            }
            source = [parts, self.dims, self.trials]
        facts = [
            source,
            self.method,
            self.eps.tolist(),
            self.eps_a.tolist(),
            self.n_steps,
            self.tol,
            self.stop,
            self.axes,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def tile_shape(self) -> tuple[int, int]:
        """Return how many values of eps_a and of eps a tile has."""
        largest = self.source.dim if isinstance(self.source, OLSProblem) else max(self.dims or (1,))
        work = largest * (min(self.n_steps, 500) if self.method == "gd" else self.n_steps) + 1
        cells = int(min(_TILE_CELLS, max(_TILE_CELLS_LEAST, _TILE_MODE_STEPS // work)))
        # at least a few tiles for each thread, whatever their number may be on another machine
        cells = min(cells, max(_TILE_CELLS_LEAST, -(-math.prod(self.shape) // 64)))
        columns = min(self.eps.size, cells)
        return min(self.eps_a.size, max(1, cells // columns)), columns

    def tiles(self, tile_shape: tuple[int, int] | None = None) -> list[Tile]:
        """Cut the grid into tiles, row by row."""
        rows, columns = tile_shape or self.tile_shape()
        n_dim, n_trial, n_eps_a, n_eps = self.shape
        return [
            Tile(i, j, (p, min(p + rows, n_eps_a)), (q, min(q + columns, n_eps)))
            for i in range(n_dim)
            for j in range(n_trial)
            for p in range(0, n_eps_a, rows)
            for q in range(0, n_eps, columns)
        ]

    def empty(self) -> Arrays:
        """Return arrays over all four axes, every cell 'not run'."""
        return {name: np.full(self.shape, VARIABLES[name][1], dtype=VARIABLES[name][0]) for name in self.variables}

    def coords(self) -> dict[str, tuple[str, Any, dict[str, str]]]:
        """Return the coordinates of the axes that the Dataset has."""
        values = {"dim": self.dims, "trial": self.trials, "eps_a": self.eps_a, "eps": self.eps}
        return {name: (name, np.asarray(values[name]), schema.attrs(name)) for name in self.axes}

    def attrs(self) -> dict[str, Any]:
        """Return what the Dataset says of itself: inputs, their hash, versions."""
        found = {
            "title": f"{self.method.upper()} on {describe(self.source)}",
            "method": self.method,
            "n_steps": self.n_steps,
            "tol": self.tol,
            "stop": self.stop,
            "sweep_fingerprint": self.fingerprint,
            **{
                name: float(grid[0])
                for name, grid in (("eps", self.eps), ("eps_a", self.eps_a))
                if name not in self.axes
            },
            **provenance(),
        }
        if self.method == "gd":
            found.pop("eps_a")
        if isinstance(self.source, OLSProblem):
            found |= {
                "problem": self.source.label,
                "problem_fingerprint": self.source.fingerprint,
                "rank": self.source.dim,
                **theory_attrs(self.source),
            }
        else:
            found |= {
                f"family_{k}": v if isinstance(v, str | int | float) else np.asarray(v, float)
                for k, v in vars(self.source).items()
            }
        return found

    def dataset(self, arrays: Arrays) -> xr.Dataset:
        """Label the arrays, dropping the axes that were left out."""
        import xarray as xr

        drop = tuple(i for i, name in enumerate(DIMS) if name not in self.axes)
        data = {
            name: (self.axes, np.squeeze(values, axis=drop), variable_attrs(name)) for name, values in arrays.items()
        }
        return xr.Dataset(data, coords=self.coords(), attrs=self.attrs())


def theory_attrs(problem: OLSProblem) -> dict[str, float]:
    """Return what theory says of a problem, as far as it is finite: pictures draw it without computing anything."""
    report, regimes = spectral_report(problem), effective_rate_regimes(problem)
    found = {
        "eig_max": float(problem.eigvals[-1]),
        "cond": report.cond,
        "cond_star": report.cond_star,
        "eps_max": report.eps_max,
        "eps_eff_max": report.eps_eff_max,
        "eps_1": regimes.eps_1,
        "eps_2": regimes.eps_2,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def variable_attrs(name: str) -> dict[str, Any]:
    """Return the attributes of a variable of the result."""
    if name != "status":
        return schema.attrs(name)
    flags = {"flag_values": np.array(schema.FLAG_VALUES, dtype=np.int8), "flag_meanings": schema.FLAG_MEANINGS}
    return schema.attrs(name) | flags


def describe(source: OLSProblem | ProblemFamily) -> str:
    """Return a few words for a title."""
    if isinstance(source, OLSProblem):
        return f"{source.label} (d = {source.dim}, cond = {source.cond:.3g})"
    return f"{source.kind} problems" + ("" if source.kind == "identity" else f" (cond = {source.cond:g})")


def provenance() -> dict[str, str]:
    """Return the versions that made a result."""
    import numba

    return {
        "olsbn_version": __version__,
        "numpy_version": np.__version__,
        "numba_version": numba.__version__,
        "python_version": platform.python_version(),
    }


def digest(ds: xr.Dataset) -> str:
    """Return the SHA-256 of all values of a result: equal exactly where every number has the same bits.

    All NaNs count as one number. Attributes do not take part.
    """
    sha = hashlib.sha256()
    for name in sorted([*ds.data_vars, *ds.coords], key=str):
        values = np.asarray(ds[name].values)
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.nan, values)
        sha.update(f"{name}{ds[name].dims}{values.shape}{values.dtype.str}".encode())
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()


# -------------------------------------------------------------------- one tile


def run_tile(spec: SweepSpec, tile: Tile, cancel: np.ndarray | None = None) -> Arrays:
    """Compute a tile: a pure function of its arguments.

    `cancel`, a uint8 array of one element, may be set to 1 from another thread: the tile then returns at once, and the
    cells that had not ended have the status "not run".
    """
    problem = spec.problem(tile.dim, tile.trial)
    eps, eps_a = (grid.ravel() for grid in np.meshgrid(spec.eps[slice(*tile.eps)], spec.eps_a[slice(*tile.eps_a)]))
    compute = _gd_cells if spec.method == "gd" else _bngd_cells
    cancel = np.zeros(1, np.uint8) if cancel is None else cancel
    with np.errstate(all="ignore"):
        cells = compute(problem, spec, eps, eps_a, cancel)
    shape = tile.eps_a[1] - tile.eps_a[0], tile.eps[1] - tile.eps[0]
    return {name: cells[name].astype(VARIABLES[name][0]).reshape(shape) for name in spec.variables}


def _bngd_cells(problem: OLSProblem, spec: SweepSpec, eps: FloatArray, eps_a: FloatArray, cancel: np.ndarray) -> Arrays:
    from olsbn.kernels import cpu

    x = deflated(problem)
    n = eps.size
    counts, numbers = np.zeros((n, 4), np.int64), np.full((n, 5), np.nan)
    if x.degenerate:
        return _degenerate_cells(problem, n)
    nothing = np.empty(0, np.int64), np.empty((0, 5))
    cpu.bngd_tile(
        *x.kernel_arguments(), np.ldexp(eps, x.eps_exp), eps_a, spec.n_steps, spec.tol, spec.stop == "tol",
        schema.EXCESS_FLOOR, x.limit(), cancel, counts, numbers, *nothing,
    )  # fmt: skip
    eps_eff = np.ldexp(numbers[:, 1], x.eigval_exp)
    return {
        "status": counts[:, 0],
        "steps_to_tol": counts[:, 1],
        "n_steps_run": counts[:, 2],
        "excess": numbers[:, 0],
        "eps_eff": eps_eff,
        "w_norm": x.norm(numbers[:, 3], counts[:, 3]),
        "a": x.scale * numbers[:, 2],
        "rate_sim": numbers[:, 4],
        "rate_theory": bngd_contraction_ratio(problem, eps_eff, eps_a, excited=True),
    }


def _gd_cells(problem: OLSProblem, spec: SweepSpec, eps: FloatArray, eps_a: FloatArray, cancel: np.ndarray) -> Arrays:
    from olsbn.kernels import cpu

    x = decoupled(problem)
    n = eps.size
    counts, numbers = np.zeros((n, 3), np.int64), np.full((n, 3), np.nan)
    cpu.gd_tile(
        x.eigvals, x.weight, x.u, x.error, np.ldexp(eps, x.eps_exp), spec.n_steps, spec.tol, spec.stop == "tol",
        schema.EXCESS_FLOOR, x.limit(), cancel, counts, numbers,
    )  # fmt: skip
    return {
        "status": counts[:, 0],
        "steps_to_tol": counts[:, 1],
        "n_steps_run": counts[:, 2],
        "excess": numbers[:, 0],
        "eps_eff": eps,
        "w_norm": x.norm(numbers[:, 1]),
        "rate_sim": numbers[:, 2],
        "rate_theory": gd_contraction_ratio(problem, eps, excited=True),
    }


def _degenerate_cells(problem: OLSProblem, n: int) -> Arrays:
    """No step can be taken (sigma = 0), or none changes anything (a saddle): on a saddle the loss is J(0, w) = c/2."""
    saddle = bool(problem.w0.any())
    values = {
        "status": float(schema.Status.DEGENERATE),
        "steps_to_tol": -1.0,
        "n_steps_run": 0.0,
        "excess": 1.0 if saddle else np.nan,
        "eps_eff": 0.0 if saddle else np.nan,
        "w_norm": math.hypot(float(np.linalg.norm(problem.w0)), problem.w0_null_norm),
        "a": problem.a0,
        "rate_sim": np.nan,
        "rate_theory": np.nan,
    }
    return {name: np.full(n, value) for name, value in values.items()}


deflated = lru_cache(maxsize=16)(deflate)
decoupled = lru_cache(maxsize=16)(decouple)


@lru_cache(maxsize=16)
def _family_problem(family: ProblemFamily, dim: int, trial: int) -> OLSProblem:
    return family(dim, trial)


# -------------------------------------------------------------------- many tiles


def run_tiles(
    spec: SweepSpec, tiles: Iterable[Tile], *, workers: int | None = None, progress: bool | None = None
) -> Iterator[tuple[Tile, Arrays]]:
    """Compute tiles on threads and yield each with its result as it is done, in no fixed order.

    Only a few tiles wait at a time, so memory does not grow with their number. Closing the iterator, or an exception
    such as KeyboardInterrupt, stops the kernels within milliseconds; the tiles in flight are dropped.
    """
    tiles = list(tiles)
    workers = processors() if workers is None else as_count("workers", workers, minimum=1)
    cancel = np.zeros(1, np.uint8)
    waiting: dict[Future[Arrays], Tile] = {}
    queue = iter(tiles)
    with meter(sum(tile.n_cells for tile in tiles), progress) as advance, ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for tile in queue:
                    waiting[pool.submit(run_tile, spec, tile, cancel)] = tile
                    if len(waiting) >= 2 * workers:
                        break
                if not waiting:
                    return
                # the timeout lets the main thread see signals
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    tile = waiting.pop(future)
                    yield tile, future.result()
                    advance(tile.n_cells)
        finally:
            cancel[0] = 1
            for future in waiting:
                future.cancel()


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class meter:
    """Progress on standard error: a bar on a terminal, else a plain line now and then; nothing unless `show`."""

    _INTERVAL = 10.0  # seconds between plain lines

    def __init__(self, total: int, show: bool | None, unit: str = "cells") -> None:
        self._total, self._unit = total, unit
        terminal = sys.stderr.isatty()
        self._show = terminal if show is None else show
        self._bar: Any = None
        if self._show and terminal:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=f" {unit}", unit_scale=True, leave=False)

    def __enter__(self) -> Callable[[int], None]:
        self._done, self._began = 0, time.monotonic()
        self._next = self._began + self._INTERVAL
        return self._advance

    def _advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(amount)
        elif self._show and now >= self._next:
            self._next = now + self._INTERVAL
            rate = self._done / (now - self._began)
            left = (self._total - self._done) / rate
            print(
                f"{self._done} of {self._total} {self._unit}, {rate:.3g} a second, {left:.0f} s left", file=sys.stderr
            )

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _counts(name: str, value: Any, minimum: int) -> tuple[tuple[int, ...], bool]:
    """Return whole numbers as a tuple, and whether they came as a vector."""
    if np.ndim(value) == 0:
        return (as_count(name, value.item() if isinstance(value, np.ndarray) else value, minimum=minimum),), False
    array = as_floats(name, value)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a whole number or a vector of them, got an array of shape {array.shape}")
    if (array != np.floor(array)).any():
        raise ValueError(f"{name} must hold whole numbers, got {float(array[array != np.floor(array)][0])!r}")
    values = tuple(as_count(name, int(v), minimum=minimum) for v in array)
    if len(set(values)) != len(values):
        raise ValueError(f"{name} must not repeat a value, got {list(values)!r}")
    return values, True
