"""What a sweep computes, checked: source, method, grids of its parameters, steps; and the labels of the result."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import __version__, quantity, schema
from olsbn._validate import FloatArray, as_count, as_flag, as_floats, as_real, one_of
from olsbn.cache import kept_text
from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.registry import METHODS, method_named
from olsbn.identity import identity
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.problems.data import SCOPE
from olsbn.problems.reduction import check_reduce, reduce_for, reduced_dim
from olsbn.problems.sample import Sample
from olsbn.quantity import Column
from olsbn.sweeps.tiling import Tile, Tiling, tile_shape
from olsbn.theory.facts import theory_attrs

if TYPE_CHECKING:
    import xarray as xr

# The axes of problems, before those of the method's parameters.
SOURCE_AXES = ("dim", "trial")


@dataclass(frozen=True, eq=False)
class SweepSpec:
    """What a sweep computes: every cell follows from it. `dims` and `trials` are None for a single problem.

    `params` has a vector for each parameter of the method, in the order of the axes; `axes` names those that the
    result has. `reduce` is that of `reduce_for`, by which problems of a family are replaced as they are made; a single
    problem has been replaced already. `tile` overrides the sizes of a tile, which do not change a number.
    """

    source: OLSProblem | ProblemFamily
    method_name: str
    params: Mapping[str, FloatArray]
    dims: tuple[int, ...] | None
    trials: tuple[int, ...] | None
    n_steps: int
    tol: float
    stop: str
    axes: tuple[str, ...]
    record: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tile: tuple[int, ...] | None = None
    reduce: bool | str | int = False
    check_rounding: bool = True
    origin: str | None = None

    @classmethod
    def checked(
        cls,
        problem: Any,
        method: Any,
        params: Mapping[str, Any],
        *,
        n_steps: Any,
        dim: Any = None,
        trial: Any = None,
        tol: Any = 1e-10,
        stop: Any = "steps",
        record: Any = None,
        tile: tuple[int, ...] | None = None,
        reduce: Any = False,
        check_rounding: Any = True,
    ) -> SweepSpec:
        """Check the arguments of `sweep` and put them into one form; `params` has the method's options as well."""
        if not isinstance(problem, OLSProblem | ProblemFamily):
            raise TypeError(f"problem must be an OLSProblem or a ProblemFamily, got {type(problem).__name__} ({SCOPE})")
        found = method_named(method)
        one_of("stop", stop, ("steps", "tol"))
        n_steps = as_count("n_steps", n_steps, maximum=2**40)
        tol = as_real("tol", tol)
        if not schema.EXCESS_FLOOR <= tol < 1:
            raise ValueError(f"tol must lie in [{schema.EXCESS_FLOOR:g}, 1), got {tol!r}")
        names = {option.name for option in found.options}
        options = found.checked_options({name: value for name, value in params.items() if name in names}, n_steps)
        grids = found.checked_params({name: value for name, value in params.items() if name not in names})
        dims, trials, axes = _problems(problem, dim, trial)
        if reduce is not False:
            _check_reduce(found, grids)
            check_reduce(reduce)
            if isinstance(problem, OLSProblem):
                problem = reduce_for(problem, n_steps, reduce)
        axes += [name for name, grid in grids.items() if grid.ndim]
        return cls(
            source=problem,
            method_name=found.name,
            params={name: np.atleast_1d(grid) for name, grid in grids.items()},
            dims=dims,
            trials=trials,
            n_steps=n_steps,
            tol=tol,
            stop=stop,
            axes=tuple(axes),
            record=None if record is None else recorded_steps(record, n_steps),
            options=options,
            tile=tile,
            reduce=reduce,
            check_rounding=as_flag("check_rounding", check_rounding),
        )

    def refuse_repeats(self) -> None:
        """Refuse an axis with the same value twice, which no label could tell apart."""
        for name in self.axes:
            values = self.params[name].tolist() if name in self.params else []
            if len({*values}) != len(values):
                twice = Counter(values).most_common(1)[0][0]
                raise ValueError(f"{name} must not repeat a value, got {twice!r} twice")

    @property
    def method(self) -> Method:
        """The dynamics."""
        return METHODS[self.method_name]

    @property
    def told_options(self) -> dict[str, Any]:
        """The options that change something."""
        return self.method.told(self.options)

    @property
    def columns(self) -> tuple[str, ...]:
        """The variables of the result: those of the method, without the rounding flag where it is not asked for."""
        return tuple(name for name in self.method.variables if self.check_rounding or name != "by_rounding")

    def column(self, name: str) -> Column:
        """Return what is known of a variable of the result."""
        return self.method.variables[name]

    # ------------------------------------------------------------------ axes and sizes

    @property
    def all_axes(self) -> tuple[str, ...]:
        """Every axis a grid of this method can have, in order."""
        return (*SOURCE_AXES, *self.params)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes; one that was left out has size 1."""
        return len(self.dims or (0,)), len(self.trials or (0,)), *(grid.size for grid in self.params.values())

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    def dims_of(self, name: str) -> tuple[str, ...]:
        """Return the axes that a variable of the result has, `step` after `trial`."""
        if not self._has_steps(name):
            return self.axes
        at = sum(axis in SOURCE_AXES for axis in self.axes)
        return (*self.axes[:at], "step", *self.axes[at:])

    def _has_steps(self, name: str) -> bool:
        return self.record is not None and self.column(name).recorded

    def full_shape(self, name: str, shape: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return the shape of a variable over all axes, of the whole grid or of a block of it."""
        shape = self.shape if shape is None else shape
        return (*shape[:2], len(self.record or ()), *shape[2:]) if self._has_steps(name) else shape

    def full_index(self, name: str, tile: Tile) -> tuple[slice, ...]:
        """Return where a tile lies in an array of a variable over all axes."""
        index = tile.index
        return (*index[:2], slice(None), *index[2:]) if self._has_steps(name) else index

    def kept_axes(self, name: str) -> list[int]:
        """Return which of all axes of a variable the result has."""
        steps = ("step",) if self._has_steps(name) else ()
        axes = (*SOURCE_AXES, *steps, *self.params)
        return [k for k, axis in enumerate(axes) if axis in self.axes or axis == "step"]

    @property
    def bytes_per_cell(self) -> int:
        """Bytes that a cell's results take, uncompressed."""
        sizes = {name: np.dtype(self.column(name).dtype).itemsize for name in self.columns}
        steps = 1 if self.record is None else len(self.record)
        return sum(size * (steps if self._has_steps(name) else 1) for name, size in sizes.items())

    # ------------------------------------------------------------------ problems and work

    @property
    def sample(self) -> Sample | None:
        """The sample that the numbers depend on, if they do."""
        return self.source.sample if self.method.needs_sample and isinstance(self.source, OLSProblem) else None

    def problem(self, dim: int, trial: int) -> OLSProblem:
        """Return the problem at positions `dim`, `trial` of their axes."""
        if isinstance(self.source, OLSProblem):
            return self.source
        assert self.dims is not None and self.trials is not None
        return _family_problem(self.source, self.dims[dim], self.trials[trial], self.n_steps, self.reduce)

    def dimension(self, dim: int) -> int:
        """Return the number of modes of the problems at position `dim`."""
        if isinstance(self.source, OLSProblem):
            return self.source.dim
        n = self.source.n_modes((self.dims or (1,))[dim])
        return n if self.source.density else reduced_dim(n, self.n_steps, self.reduce)

    def cell_work(self, dim: int) -> float:
        """Return about how many mode-steps a cell takes at position `dim`."""
        return self.method.work(self.dimension(dim), self.n_steps)

    def work(self, tile: Tile) -> float:
        """Return about how many mode-steps a tile takes."""
        return tile.n_cells * max(self.cell_work(tile.dim), 1.0)

    def tiles(self, shape: tuple[int, ...] | None = None) -> Tiling:
        """Cut the grid into tiles, row by row. `shape` has the sizes along the last axes, 1 along those before."""
        shape = shape or self.tile
        if shape is None:
            shape = tile_shape(self.shape, max(self.cell_work(i) for i in range(self.shape[0])))
        whole = (1,) * (len(self.shape) - len(shape)) + tuple(shape)
        if len(whole) != len(self.shape) or whole[0] != 1:
            raise ValueError(f"a tile of {' x '.join(self.all_axes)} must have one dimension, got the sizes {whole}")
        return Tiling(self.shape, whole)

    def cells(self, tile: Tile) -> Arrays:
        """Return the parameters of a tile's cells for one of its problems, each as a vector."""
        parts = [grid[slice(*ends)] for grid, ends in zip(self.params.values(), tile.ranges[2:], strict=True)]
        return {name: grid.ravel() for name, grid in zip(self.params, np.meshgrid(*parts, indexing="ij"), strict=True)}

    # ------------------------------------------------------------------ identity

    def facts(self) -> dict[str, Any]:
        """Return everything that the result depends on, by name; neutral parameters, which change nothing, left out.

        The problems of a family are made on the machine that needs them, by functions (powers, logarithms) whose last
        bit is a matter of the machine. So one problem of each dimension takes part as numbers.
        """
        if isinstance(self.source, OLSProblem):
            source: dict[str, Any] = {"problem": self.source.fingerprint}
            if self.sample is not None:
                source["sample"] = self.sample.fingerprint
        else:
            assert self.dims is not None and self.trials is not None
            source = {f"family {name}": value for name, value in self.source.facts().items()}
            source |= {"dim": list(self.dims), "trial": list(self.trials)}
            source["problems made here"] = [
                _family_problem(self.source, d, self.trials[0], self.n_steps, self.reduce).fingerprint
                for d in self.dims
            ]
            if self.reduce is not False:
                source["reduce"] = self.reduce
        found: dict[str, Any] = {"method": self.method_name, "axes": self.axes}
        found |= {name: getattr(self, name) for name in ("n_steps", "tol", "stop")}
        found |= source | {name: self.params[name].tolist() for name in self.telling_params()} | self.told_options
        if not self.check_rounding:
            found["check_rounding"] = False
        return found if self.record is None else found | {"record": list(self.record)}

    def telling_params(self) -> list[str]:
        """Return the parameters that are an axis or have another value than the neutral one."""
        return [
            name
            for name, grid in self.params.items()
            if name in self.axes or grid.tolist() != [self.method.param(name).default]
        ]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that the result depends on."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()

    # ------------------------------------------------------------------ the result

    def empty(self) -> Arrays:
        """Return arrays over all axes, every cell 'not run'."""
        return self.empty_block(self.shape)

    def empty_block(self, shape: tuple[int, ...]) -> Arrays:
        """Return arrays for a block of cells, all of them 'not run'."""
        known = {name: self.column(name) for name in self.columns}
        return {name: np.full(self.full_shape(name, shape), v.empty, dtype=v.dtype) for name, v in known.items()}

    def drop_axes(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return an array over all axes without those that were left out."""
        return values.reshape([values.shape[k] for k in self.kept_axes(name)])

    def coords(self) -> dict[str, tuple[str, Any, dict[str, str]]]:
        """Return the coordinates of the axes that the Dataset has."""
        values = {"dim": self.dims, "trial": self.trials, **self.params}
        found = {name: (name, np.asarray(values[name]), self._axis_attrs(name)) for name in self.axes}
        if self.record is not None:
            found["step"] = ("step", np.array(self.record, np.int64), quantity.attrs("step"))
        return found

    def _axis_attrs(self, name: str) -> dict[str, str]:
        return quantity.attrs(name) if name in SOURCE_AXES else self.method.param(name).attrs()

    def attrs(self) -> dict[str, Any]:
        """Return what the Dataset says of itself: inputs, their hash, versions."""
        found = {
            "title": f"{self.method.title} on {describe(self.source)}",
            "method": self.method_name,
            "n_steps": self.n_steps,
            "tol": self.tol,
            "stop": self.stop,
            "sweep_fingerprint": self.fingerprint,
            **self.told_options,
            **{name: float(grid[0]) for name, grid in self.params.items() if name not in self.axes},
            **provenance(self.method),
        }
        if self.reduce is not False:
            found |= {"reduce": self.reduce, **self._reduction_attrs()}
        if isinstance(self.source, OLSProblem):
            found |= {
                "problem": self.source.label,
                "problem_fingerprint": self.source.fingerprint,
                "rank": self.source.dim if self.source.reduction is None else self.source.reduction.dim,
                "rank_tol": self.source.rank_tol,
                **({"target_unit": unit} if (unit := self.source.target_unit) is not None else {}),
                **theory_attrs(self.source),
            }
        else:
            assert self.dims is not None and self.trials is not None
            found |= {
                f"family_{k}": v
                if isinstance(v, str | float)
                else int(v)
                if isinstance(v, int)
                else np.asarray(v, float)
                for k, v in self.source.facts().items()
            }
            found |= {
                name: grid[0] for name, grid in (("dim", self.dims), ("trial", self.trials)) if name not in self.axes
            }
        return found

    def _reduction_attrs(self) -> dict[str, Any]:
        """Return how many modes the problems were reduced to, and the largest estimated error of log(excess)."""
        at = [(i, j) for i in range(self.shape[0]) for j in range(self.shape[1])]
        made = [self.problem(i, j) for i, j in at[:1]] if isinstance(self.source, OLSProblem) else []
        if not made:
            return {"modes": [self.dimension(i) for i in range(self.shape[0])]}
        return {"modes": made[0].dim, "reduction_error": made[0].reduction_error}

    def dataset(self, arrays: Arrays) -> xr.Dataset:
        """Label the arrays, dropping the axes that were left out."""
        import xarray as xr

        data = {
            name: (self.dims_of(name), self.drop_axes(name, values), self.column(name).attrs())
            for name, values in arrays.items()
        }
        return xr.Dataset(data, coords=self.coords(), attrs=self.attrs())


def recorded_steps(record: Any, n_steps: int) -> tuple[int, ...]:
    """Return the steps to record, ascending, each in [0, n_steps] once."""
    if np.ndim(record) == 0:
        raise TypeError(f"record must be a list of steps, got {record!r} (in run a number is a stride)")
    if np.asarray(record).dtype == bool:
        raise TypeError("record must hold step numbers, got a mask")
    steps = as_floats("record", record)
    whole = steps.ndim == 1 and steps.size > 0 and (steps == np.floor(steps)).all()
    if not whole or steps.min() < 0 or steps.max() > n_steps:
        raise ValueError(f"record must hold whole steps in [0, {n_steps}], got {record!r}")
    # of floats: NumPy 2.4 takes seconds for a million integers
    return tuple(np.unique(steps).astype(np.int64).tolist())


@lru_cache(maxsize=16)
def _family_problem(
    family: ProblemFamily, dim: int, trial: int, n_steps: int = 0, reduce: bool | str | int = False
) -> OLSProblem:
    return reduce_for(family(dim, trial), n_steps, reduce)


def _check_reduce(method: Method, grids: Mapping[str, Any]) -> None:
    """Reduced problems give the runs of methods that see a problem through its moments in lambda."""
    moved = [n for n in method.reducible or () if np.any(grids[n] != method.param(n).default)]
    if method.reducible is None or moved:
        able = {name: other.reducible for name, other in METHODS.items() if other.reducible is not None}
        texts = [f"{name} (without {', '.join(not_with)})" if not_with else name for name, not_with in able.items()]
        got = f"{method.name} with {moved[0]}" if moved else method.name
        raise ValueError(f"reduce must be False for methods other than {', '.join(texts)}, got {got}")


def _problems(
    problem: OLSProblem | ProblemFamily, dim: Any, trial: Any
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None, list[str]]:
    """Return dimensions and trials, and which of them are axes."""
    if isinstance(problem, OLSProblem):
        for name, value in (("dim", dim), ("trial", trial)):
            if value is not None:
                raise ValueError(f"{name} must be left out for a single problem, got {value!r} (use a ProblemFamily)")
        return None, None, []
    if dim is None:
        raise ValueError("dim must be given for a ProblemFamily, got None")
    dims, has_dim = _counts("dim", dim, 1)
    trials, has_trial = _counts("trial", 0 if trial is None else trial, 0)
    for d in dims:
        problem(d, trials[0])  # bad combinations are found before anything is computed
    problem(dims[0], max(trials))
    return dims, trials, [name for name, has in (("dim", has_dim), ("trial", has_trial)) if has]


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


def describe(source: OLSProblem | ProblemFamily) -> str:
    """Return a few words for a title."""
    if isinstance(source, OLSProblem):
        return f"{source.label} (d = {source.dim}, cond = {source.cond:.3g})"
    if source.exponent is not None:
        return f"{source.kind} problems (exponent {source.exponent:g})"
    return f"{source.kind} problems" + ("" if source.kind == "identity" else f" (cond = {source.cond:g})")


def provenance(method: Method) -> dict[str, str]:
    """Return the versions that made a result."""
    import numba

    return {
        "olsbn_version": __version__,
        "engine": engine(method),
        "theory": theory(method),
        "numpy_version": np.__version__,
        "numba_version": numba.__version__,
        "python_version": platform.python_version(),
    }


def engine(method: Method) -> str:
    """Return a short hash of the source that makes a method's numbers; a store holds those of one engine."""
    return _identity(tuple(method.numbers))


def theory(method: Method) -> str:
    """Return a short hash of the source of a method's theory, which is a pass of its own over the result."""
    return _identity(tuple(method.theory.modules))


@lru_cache
def _identity(modules: tuple[str, ...]) -> str:
    """Return the identity of modules; of the package's own it is kept on disk, for it takes 0.2 s to find."""
    if not all(name.startswith("olsbn.") for name in modules):
        return identity(modules)
    return kept_text(f"identity {' '.join(modules)}", r"[0-9a-f]{12}", lambda: identity(modules))
