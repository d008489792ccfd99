"""What a sweep computes: the grid of (dimension, trial, eps_a, eps), its tiles, and the labels of the result."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from olsbn import __version__, schema
from olsbn._validate import FloatArray, as_count, as_floats, as_rate, as_real, one_of
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.theory import effective_rate_regimes, spectral_report

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
# loses little when it is killed and keeps all threads busy to the end; it is no smaller than one block of the kernel,
# and there are not so many of them that a store drowns in files. It is no smaller than some blocks either, for lanes of
# cells that end early have to be filled again, unless that left less than a few tiles.
_TILE_CELLS = 65536
_TILE_MODE_STEPS = 4e9
_TILE_CELLS_LEAST = 32
_TILE_MODE_STEPS_LEAST = 2e8
_TILES_LEAST = 8
_TILES = 30_000

Arrays = dict[str, np.ndarray]


# -------------------------------------------------------------------- tiles


@dataclass(frozen=True)
class Tile:
    """A block of cells: one dimension, some trials, some rows and columns of their (eps_a, eps) grid."""

    dim: int
    trial: int  # the first one
    eps_a: tuple[int, int]
    eps: tuple[int, int]
    n_trials: int = 1

    @property
    def index(self) -> tuple[slice, slice, slice, slice]:
        """Where the tile lies in arrays with all four axes."""
        trials = slice(self.trial, self.trial + self.n_trials)
        return slice(self.dim, self.dim + 1), trials, slice(*self.eps_a), slice(*self.eps)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sizes along all four axes."""
        return 1, self.n_trials, self.eps_a[1] - self.eps_a[0], self.eps[1] - self.eps[0]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)


class Tiling(Sequence[Tile]):
    """All tiles of a grid, row by row. Tiles are made when asked for: their number may be large."""

    def __init__(self, grid: tuple[int, ...], tile: tuple[int, ...]) -> None:
        self.grid, self.tile = grid, tile
        self.counts = tuple(-(-n // size) for n, size in zip(grid, tile, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    @overload
    def __getitem__(self, number: int) -> Tile: ...
    @overload
    def __getitem__(self, number: slice) -> list[Tile]: ...
    def __getitem__(self, number: int | slice) -> Tile | list[Tile]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"tile number must be in [0, {len(self)}), got {number}")
        ranges = [
            (i * size, min((i + 1) * size, n))
            for i, size, n in zip(self.block(number % len(self)), self.tile, self.grid, strict=True)
        ]
        (dim, _), (first, last), rows, columns = ranges
        return Tile(dim, first, rows, columns, last - first)

    def __iter__(self) -> Iterator[Tile]:
        return (self[i] for i in range(len(self)))

    def block(self, number: int) -> tuple[int, ...]:
        """Return where tile `number` stands among the tiles, along each axis."""
        found = []
        for count in reversed(self.counts):
            number, i = divmod(number, count)
            found.append(i)
        return tuple(reversed(found))


# -------------------------------------------------------------------- the sweep


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
        dims: tuple[int, ...] | None = None
        trials: tuple[int, ...] | None = None
        if isinstance(problem, ProblemFamily):
            if dim is None:
                raise ValueError("dim must be given for a ProblemFamily, got None")
            dims, has_dim = _counts("dim", dim, 1)
            trials, has_trial = _counts("trial", 0 if trial is None else trial, 0)
            axes = [name for name, has in (("dim", has_dim), ("trial", has_trial)) if has]
            for d in dims:
                problem(d, trials[0])  # bad combinations are found before anything is computed
            problem(dims[0], max(trials))
        else:
            for name, value in (("dim", dim), ("trial", trial)):
                if value is not None:
                    raise ValueError(
                        f"{name} must be left out for a single problem, got {value!r} (use a ProblemFamily)"
                    )
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
    def n_cells(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @property
    def bytes_per_cell(self) -> int:
        """Bytes that a cell's results take, uncompressed."""
        return sum(np.dtype(dtype).itemsize for dtype, _ in VARIABLES.values())

    def problem(self, dim: int, trial: int) -> OLSProblem:
        """Return the problem at positions `dim`, `trial` of their axes."""
        if isinstance(self.source, OLSProblem):
            return self.source
        assert self.dims is not None and self.trials is not None
        return _family_problem(self.source, self.dims[dim], self.trials[trial])

    def dimension(self, dim: int) -> int:
        """Return the number of modes of the problems at position `dim`."""
        return self.source.dim if isinstance(self.source, OLSProblem) else (self.dims or (1,))[dim]

    def mode_steps(self) -> float:
        """Return the largest number of mode-steps the sweep can take; the work of GD is not proportional to it."""
        modes = [self.source.dim] if isinstance(self.source, OLSProblem) else list(self.dims or ())
        return float(sum(modes)) * math.prod(self.shape[1:]) * max(self.n_steps, 1)

    def facts(self) -> dict[str, Any]:
        """Return everything that the result depends on, by name.

        The problems of a family are made on the machine that needs them, by functions (powers, logarithms) whose last
        bit is a matter of the machine. So one problem of each dimension takes part as numbers.
        """
        if isinstance(self.source, OLSProblem):
            source: dict[str, Any] = {"problem": self.source.fingerprint}
        else:
            assert self.dims is not None and self.trials is not None
            source = {f"family {name}": value for name, value in vars(self.source).items()}
            source |= {"dim": list(self.dims), "trial": list(self.trials)}
            source["problems made here"] = [
                _family_problem(self.source, d, self.trials[0]).fingerprint for d in self.dims
            ]
        rest = ("method", "n_steps", "tol", "stop", "axes")
        return {name: getattr(self, name) for name in rest} | {
            **source,
            "eps": self.eps.tolist(),
            "eps_a": self.eps_a.tolist(),
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that the result depends on."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()

    def tile_shape(self) -> tuple[int, int, int]:
        """Return how many trials, values of eps_a and values of eps a tile has."""
        largest = self.source.dim if isinstance(self.source, OLSProblem) else max(self.dims or (1,))
        work = largest * (min(self.n_steps, 500) if self.method == "gd" else self.n_steps) + 1
        cells = int(min(_TILE_CELLS, max(_TILE_CELLS_LEAST, _TILE_MODE_STEPS // work)))
        # at least a few tiles for each thread, whatever their number may be on another machine
        enough = min(int(_TILE_MODE_STEPS_LEAST // work), -(-self.n_cells // _TILES_LEAST))
        cells = min(cells, max(_TILE_CELLS_LEAST, enough, -(-self.n_cells // 64)))
        cells = min(_TILE_CELLS, max(cells, -(-self.n_cells // _TILES)))
        columns = _even(self.eps.size, cells)
        rows = _even(self.eps_a.size, cells // columns)
        return _even(self.shape[1], cells // (columns * rows)), rows, columns

    def tiles(self, tile_shape: tuple[int, ...] | None = None) -> Tiling:
        """Cut the grid into tiles, row by row. `tile_shape` is (trials, rows, columns), or (rows, columns)."""
        shape = tile_shape or self.tile_shape()
        return Tiling(self.shape, (1,) * (4 - len(shape)) + tuple(shape))

    def empty(self) -> Arrays:
        """Return arrays over all four axes, every cell 'not run'."""
        return {name: np.full(self.shape, empty, dtype=dtype) for name, (dtype, empty) in VARIABLES.items()}

    def drop_axes(self, values: np.ndarray) -> np.ndarray:
        """Return an array over all four axes without those that were left out."""
        return np.squeeze(values, axis=tuple(i for i, name in enumerate(DIMS) if name not in self.axes))

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
                "rank_tol": self.source.rank_tol,
                **theory_attrs(self.source),
            }
        else:
            assert self.dims is not None and self.trials is not None
            found |= {
                f"family_{k}": v if isinstance(v, str | int | float) else np.asarray(v, float)
                for k, v in vars(self.source).items()
            }
            found |= {
                name: grid[0] for name, grid in (("dim", self.dims), ("trial", self.trials)) if name not in self.axes
            }
        return found

    def dataset(self, arrays: Arrays) -> xr.Dataset:
        """Label the arrays, dropping the axes that were left out."""
        import xarray as xr

        data = {name: (self.axes, self.drop_axes(values), variable_attrs(name)) for name, values in arrays.items()}
        return xr.Dataset(data, coords=self.coords(), attrs=self.attrs())


def _even(n: int, most: int) -> int:
    """Return the size of the parts when n things are cut into as few parts of at most `most` as will do."""
    return -(-n // -(-n // max(1, most)))


@lru_cache(maxsize=16)
def _family_problem(family: ProblemFamily, dim: int, trial: int) -> OLSProblem:
    return family(dim, trial)


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
        raise ValueError(f"{name} must not repeat a value, got {Counter(values).most_common(1)[0][0]} twice")
    return values, True


# -------------------------------------------------------------------- labels


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
        "engine": engine(),
        "numpy_version": np.__version__,
        "numba_version": numba.__version__,
        "python_version": platform.python_version(),
    }


@lru_cache(maxsize=1)
def engine() -> str:
    """Return a short hash of the source that makes the numbers: results of two engines are not mixed in one store."""
    from olsbn.kernels.compile import identity

    here = Path(__file__).parent
    sources = [here / "tiles.py", here / "linalg.py", *sorted((here / "theory").glob("*.py"))]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    key.update(identity(("gd", "bngd")).encode())
    return key.hexdigest()[:12]
