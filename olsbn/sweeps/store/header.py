"""What a store was asked for: the sweep to the bit, how it is cut into tiles, and what the result says of itself."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from olsbn._validate import check_memory, shortened
from olsbn.dynamics.registry import METHODS, method_named
from olsbn.files import printable
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.problems.reduction import Reduction
from olsbn.problems.sample import Sample
from olsbn.sweeps.spec import SOURCE_AXES, SweepSpec
from olsbn.sweeps.store.container import facts_and_arrays, seal, unseal, with_arrays
from olsbn.sweeps.store.errors import StoreError
from olsbn.sweeps.tiling import Tiling

FORMAT = 3
_PLACE = "header"
_TILES_MOST = 10_000_000
_SCALARS = ("a0", "target_var", "w0_null_norm", "label", "rank_tol")  # of a problem, as its constructor names them
_SAMPLE = ("X", "y", "basis")  # of a problem's sample, where the method needs it
_TEXTS = ("title", "created", "olsbn_version", "command", "engine", "theory", "method", "sweep_fingerprint")


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of a store. `attrs` are those of the Dataset, `inputs` and `arrays` what the sweep follows from."""

    attrs: dict[str, Any]
    inputs: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, spec: SweepSpec, command: str) -> Header:
        """Return the header of a new store."""
        attrs = {
            **spec.attrs(),
            "command": command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "olsbn_store_format": FORMAT,
            "grid_axes": spec.all_axes,
            "grid_shape": spec.shape,
            "tile_shape": spec.tiles().tile,
        }
        return cls(plain(attrs), *_inputs(spec))

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        return seal(_PLACE, with_arrays({"attrs": self.attrs, "inputs": self.inputs}, self.arrays))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Header:
        """Return the header that a file holds; refuse one that is damaged, or that no store has."""
        facts, arrays = facts_and_arrays(unseal(_PLACE, data))
        attrs, inputs = facts.get("attrs"), facts.get("inputs")
        if not isinstance(attrs, dict) or not isinstance(inputs, dict):
            raise StoreError(f"{where} must have attributes and inputs")
        if attrs.get("olsbn_store_format") != FORMAT:
            found = shortened(attrs.get("olsbn_store_format"))
            raise StoreError(f"{where} has store format {found}, this olsbn reads 2 and {FORMAT}")
        attrs = checked_attributes(where, printable(attrs))
        return cls(attrs, printable(inputs), arrays)

    def with_theory(self, theory: str) -> Header:
        """Return the header of the same store with the rates of another version of the theory."""
        return dataclasses.replace(self, attrs={**self.attrs, "theory": theory})

    @cached_property
    def tiling(self) -> Tiling:
        """How the grid is cut into tiles."""
        return Tiling(tuple(self.attrs["grid_shape"]), tuple(self.attrs["tile_shape"]))

    @cached_property
    def spec(self) -> SweepSpec:
        """The sweep; checked like one that a user describes."""
        return spec_of(self.inputs, self.arrays, self.attrs)


def plain(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON has them."""
    return {name: np.asarray(v).tolist() if isinstance(v, np.ndarray | tuple) else v for name, v in attrs.items()}


def checked_attributes(where: str, attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attributes, refusing those that no store has, whoever wrote them.

    Parameters that the method did not have when the store was made are axes of one value, the neutral one.
    """

    def wrong(name: str, allowed: str) -> StoreError:
        return StoreError(f"{where}: {name} must be {allowed}, got {printable(shortened(attrs.get(name)))}")

    for name in _TEXTS:
        if not isinstance(attrs.get(name), str):
            raise wrong(name, "a text")
    if attrs["method"] not in METHODS:
        raise wrong("method", f"one of {', '.join(METHODS)}")
    axes: Any
    grid: Any
    tile: Any
    axes, grid, tile = (attrs.get(name) for name in ("grid_axes", "grid_shape", "tile_shape"))
    params = METHODS[attrs["method"]].axes
    every = [*SOURCE_AXES, *(param.name for param in params)]
    new = {param.name for param in params if param.default is not None} - set(axes if isinstance(axes, list) else [])
    if axes != [name for name in every if name not in new]:
        raise wrong("grid_axes", "dim, trial and the method's parameters")
    for name, sizes in (("grid_shape", grid), ("tile_shape", tile)):
        whole = isinstance(sizes, list) and all(type(n) is int and 1 <= n < 2**53 for n in sizes)
        if not whole or len(sizes) != len(axes):
            raise wrong(name, f"{len(axes)} whole numbers")
    if tile[0] != 1 or any(n > most for n, most in zip(tile, grid, strict=True)):
        raise wrong("tile_shape", "of one dimension, and no larger than the grid")
    if len(Tiling(tuple(grid), tuple(tile))) > _TILES_MOST:
        raise wrong("tile_shape", f"so large that there are at most {_TILES_MOST} tiles")
    sizes_of = {name: dict(zip(axes, attrs[name], strict=True)) for name in ("grid_shape", "tile_shape")}
    wider = {name: [sizes.get(axis, 1) for axis in every] for name, sizes in sizes_of.items()}
    return {**attrs, "grid_axes": every, **wider}


def _inputs(spec: SweepSpec) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    facts = {name: getattr(spec, name) for name in ("n_steps", "tol", "stop", "reduce", "origin", "check_rounding")}
    facts |= {"method": spec.method_name, "axes": list(spec.axes), "options": dict(spec.told_options)}
    arrays: dict[str, Any] = {name: spec.params[name] for name in spec.telling_params()}
    if spec.record is not None:
        arrays["record"] = spec.record
    if isinstance(spec.source, OLSProblem):
        facts["problem"] = {name: getattr(spec.source, name) for name in _SCALARS}
        if spec.source.reduction is not None:
            facts["reduction"] = dataclasses.asdict(spec.source.reduction)
        arrays |= {f"problem_{name}": getattr(spec.source, name) for name in ("eigvals", "u", "w0")}
        if spec.sample is not None:
            arrays |= {f"sample_{name}": getattr(spec.sample, name) for name in _SAMPLE}
    else:
        arrays |= {"dim": spec.dims, "trial": spec.trials}
        family = spec.source.facts()
        facts["family"] = {name: value for name, value in family.items() if not isinstance(value, tuple)}
        arrays |= {f"family_{name}": value for name, value in family.items() if isinstance(value, tuple)}
    return plain(facts), {name: np.asarray(values) for name, values in arrays.items()}


def spec_of(facts: dict[str, Any], arrays: dict[str, np.ndarray], attrs: dict[str, Any]) -> SweepSpec:
    """Return the sweep that inputs describe; raises errors of many kinds where they describe none."""
    source: OLSProblem | ProblemFamily
    if "family" in facts:
        vectors = {name.removeprefix("family_"): a for name, a in arrays.items() if name.startswith("family_")}
        if not facts["family"].get("density"):  # the cost of a density does not depend on dim
            check_memory("dim", int(np.max(arrays["dim"])), 2000)
        source = ProblemFamily(**{"u": None, "w0": None, **facts["family"], **vectors})
    else:
        scalars = {name: value for name, value in facts["problem"].items() if name in _SCALARS}
        if "reduction" in facts:
            scalars["reduction"] = Reduction.from_facts(facts["reduction"])
        rows: dict[str, Any] = {name: arrays[f"sample_{name}"] for name in _SAMPLE if f"sample_{name}" in arrays}
        eigvals, u, w0 = (arrays[f"problem_{name}"] for name in ("eigvals", "u", "w0"))
        sample = Sample(**rows, eigvals=eigvals, u=u) if rows else None
        source = OLSProblem(eigvals, u, w0, **scalars, sample=sample)
    method, axes = method_named(facts["method"]), facts["axes"]
    neutral = {param.name: np.array([param.default]) for param in method.axes}
    given = {name: arrays.get(name, neutral[name]) for name in neutral}
    given |= {name: arrays[name].tolist() for name in SOURCE_AXES if name in arrays}
    # a vector makes an axis, a number does not
    if long := [name for name, values in given.items() if name not in axes and len(values) != 1]:
        raise ValueError(f"{long[0]} must have one value or be an axis")
    given = {name: values if name in axes else values[0] for name, values in given.items()}
    dim, trial = given.pop("dim", None), given.pop("trial", None)
    reduce, family = facts.get("reduce", False), isinstance(source, ProblemFamily)
    spec = SweepSpec.checked(
        source, method.name, given | facts.get("options", {}), n_steps=facts["n_steps"], dim=dim, trial=trial,
        tol=facts["tol"], stop=facts["stop"], record=arrays.get("record"), reduce=reduce if family else False,
        check_rounding=facts.get("check_rounding", True),
    )  # fmt: skip
    if list(spec.axes) != axes or [*spec.shape] != attrs["grid_shape"] or method.name != attrs["method"]:
        raise ValueError(f"the inputs have {list(spec.axes)}, {spec.shape}; the store {axes}, {attrs['grid_shape']}")
    widest = max(np.dtype(spec.column(name).dtype).itemsize for name in spec.columns)
    check_memory("the values of a tile", math.prod(attrs["tile_shape"]) * len(spec.record or (0,)), widest)
    # the problem was reduced before; where it is from tells a shard on another machine that it is the same
    changes = {} if family else {"reduce": reduce}
    return dataclasses.replace(spec, origin=facts.get("origin"), tile=tuple(attrs["tile_shape"]), **changes)
