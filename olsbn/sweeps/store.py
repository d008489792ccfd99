"""A sweep on disk: a Zarr store in which one chunk is one tile, written so that a killed process loses nothing.

Layout. The root group is the result, as xarray opens it: one array for each variable and coordinate. The group `inputs`
holds what the sweep was asked for, to the bit. A tile's data chunks are written first and its chunk of `status` last:
that file is the commit mark, and the set of them is the map of what is done. Zarr writes each chunk to a `*.partial`
file and renames it, so a chunk is there in full or not at all; a crc32c in every chunk tells of later damage. Two more
files lie beside the chunks of `status`: `lock` (see `writing`), and `metadata.json`, a copy of every `zarr.json` with a
hash, from which damaged ones are restored.

Nothing is synced to the disk: a killed process loses the tiles in flight, a power cut may damage the last ones written,
which the checksums then find.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from zarr.codecs import Crc32cCodec, ZstdCodec

from olsbn import files as safe
from olsbn import schema
from olsbn._validate import check_memory, shortened
from olsbn.dynamics.base import Arrays
from olsbn.dynamics.registry import METHODS, method_named
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.problems.reduction import Reduction
from olsbn.problems.sample import Sample
from olsbn.schema import VARIABLES
from olsbn.sweeps.compute import theory_of_tile
from olsbn.sweeps.spec import SweepSpec, engine, theory
from olsbn.sweeps.tiling import Tile, Tiling

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 2
Shard = tuple[int, int]  # (i, n): part i of n, 1 <= i <= n
WHOLE: Shard = (1, 1)

_LOCK, _COPY = "status/lock", "status/metadata.json"
_SHARD_LOCK = "lock-"  # beside it, one for each shard: lock-2-of-8
_SCALARS = ("a0", "target_var", "w0_null_norm", "label", "rank_tol")  # of a problem, as its constructor names them
_SAMPLE = ("X", "y", "basis")  # of a problem's sample, where the method needs it
_PLAIN: Any = {"zarr_format": 3, "use_consolidated": False}  # the files themselves, which are looked through
_METADATA = 1 << 28  # bytes that a file of metadata may have
_NAMES = re.compile(r"(inputs/)?([A-Za-z_][A-Za-z0-9_]*/)?zarr\.json")  # of the files of metadata in a store
_TILES_MOST = 10_000_000
_PATIENCE = 60.0  # seconds a shard waits for another one to prepare the store


class StoreError(ValueError):
    """A store that cannot be used: not a store, damaged, of another sweep, or with another writer."""


_TEXTS = ("title", "created", "olsbn_version", "command", "engine", "theory", "method", "sweep_fingerprint")


def _check_attributes(path: Path, attrs: dict[str, Any]) -> None:
    """Refuse attributes that no store has, whoever wrote them."""

    def wrong(name: str, allowed: str) -> StoreError:
        return StoreError(f"{path / 'zarr.json'}: {name} must be {allowed}, got {shortened(attrs.get(name))}")

    for name in _TEXTS:
        if not isinstance(attrs.get(name), str):
            raise wrong(name, "a text")
    if attrs["method"] not in METHODS:
        raise wrong("method", f"one of {', '.join(METHODS)}")
    axes: Any
    grid: Any
    tile: Any
    axes, grid, tile = (attrs.get(name) for name in ("grid_axes", "grid_shape", "tile_shape"))
    if not isinstance(axes, list) or not all(isinstance(axis, str) for axis in axes) or len({*axes}) != len(axes):
        raise wrong("grid_axes", "a list of names")
    if axes[:2] != ["dim", "trial"]:
        raise wrong("grid_axes", "dim, trial and the parameters")
    for name, sizes in (("grid_shape", grid), ("tile_shape", tile)):
        whole = isinstance(sizes, list) and all(type(n) is int and 1 <= n < 2**53 for n in sizes)
        if not whole or len(sizes) != len(axes):
            raise wrong(name, f"{len(axes)} whole numbers")
    if tile[0] != 1 or any(n > whole for n, whole in zip(tile, grid, strict=True)):
        raise wrong("tile_shape", "of one dimension, and no larger than the grid")
    if len(Tiling(tuple(grid), tuple(tile))) > _TILES_MOST:
        raise wrong("tile_shape", f"so large that there are at most {_TILES_MOST} tiles")


def _check_arrays(path: Path, group: Any, attrs: dict[str, Any]) -> None:
    """Refuse arrays that are not as the store's own attributes and the table of variables have them."""
    sizes = dict(zip(attrs["grid_axes"], zip(attrs["grid_shape"], attrs["tile_shape"], strict=True), strict=True))
    names = [name for name in _folders(path) if name != "inputs"]
    if "status" not in names or "inputs" not in group or not hasattr(group["inputs"], "array_keys"):
        raise StoreError(f"{path} is not a sweep store: it lacks status or inputs")
    for name in names:
        array = group[name]
        if not hasattr(array, "shape"):
            raise StoreError(f"{path / name} must be an array, got a group")
        if name in VARIABLES:
            dims = array.metadata.dimension_names or ()
            steps = {"step": (n := array.shape[dims.index("step")], n)} if "step" in dims else {}
            if not all(dim in sizes or dim in steps for dim in dims):
                raise StoreError(f"{path / name} must have axes of the grid, got {shortened(dims)}")
            want = [{**sizes, **steps}[dim] for dim in dims]
            if list(zip(array.shape, array.chunks, strict=True)) != want or str(array.dtype) != VARIABLES[name].dtype:
                raise StoreError(f"{path / name} must have the shape, tiles and type of the sweep, got others")
        _check_chunk(path, name, array)
    for name in _folders(path / "inputs"):
        _check_chunk(path, f"inputs/{name}", group["inputs"][name])


def _folders(path: Path) -> list[str]:
    """Return the names of the arrays and groups in a folder; Zarr warns of leftovers when it is asked."""
    return sorted(file.parent.name for file in path.glob("*/zarr.json"))


def _check_chunk(path: Path, name: str, array: Any) -> None:
    if array.dtype.kind not in "bif" or [type(codec) for codec in array.compressors] != [ZstdCodec, Crc32cCodec]:
        raise StoreError(f"{path / name} must hold numbers, compressed by zstd with a crc32c, got other codecs")
    check_memory(f"{path / name}: the values of a chunk", math.prod(array.chunks), array.dtype.itemsize)


def _words(err: BaseException) -> str:
    return safe.printable(" ".join(f"{type(err).__name__}: {err}".split())[:200])


class Store:
    """An existing store, opened for reading; `writing` says who may call the methods that change it."""

    def __init__(self, path: Path) -> None:
        damaged = damaged_metadata(path)
        if damaged:
            raise StoreError(f"{path / damaged[0]} is damaged; the command that made the store, run again, restores it")
        self.path = path
        self._group = zarr.open_group(path, mode="r", **_PLAIN)
        self.attrs: dict[str, Any] = safe.printable(dict(self._group.attrs))
        if self.attrs.get("olsbn_store_format") != FORMAT:
            found = self.attrs.get("olsbn_store_format")
            raise StoreError(
                f"{path} has store format {found}, this olsbn reads format {FORMAT}: open it with xarray.open_zarr, "
                f"or with the olsbn that made it ({self.attrs.get('olsbn_version')}), or run the sweep into a new store"
            )
        _check_attributes(path, self.attrs)
        _check_arrays(path, self._group, self.attrs)

    @classmethod
    def create(cls, path: Path, spec: SweepSpec, command: str = "") -> None:
        """Make a store with no cell run. It appears at `path` all at once; if one is there already, it stays."""
        _sweep_abandoned(path)
        for _ in range(10):
            work = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
            try:
                work.mkdir()
                (work / _LOCK).parent.mkdir()
                with _locked(work / _LOCK) as mine:
                    if mine is not None:
                        _write_empty(work, spec, command)
                        try:
                            work.rename(path)
                        except OSError as err:
                            if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                                raise
                        return
            except OSError as err:
                if not isinstance(err, FileNotFoundError) or not path.parent.exists():
                    raise OSError(err.errno, f"{err.strerror or err}; the store could not be made", str(path)) from err
            finally:
                shutil.rmtree(work, ignore_errors=True)
            # another process that sweeps what killed ones have left behind took the new directory for such
        raise StoreError(f"{path} could not be made: other processes were making it all the time")

    @cached_property
    def spec(self) -> SweepSpec:
        """What the store was asked for."""
        damaged = self.damaged_inputs()
        if damaged:
            raise StoreError(
                f"{self.path / damaged[0]} is damaged; the command that made the store, run again, restores it"
            )
        try:
            return self._spec()
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as err:
            raise StoreError(f"{self.path / 'inputs'} does not describe a sweep ({_words(err)})") from err

    def _spec(self) -> SweepSpec:
        inputs: Any = self._group["inputs"]
        facts = dict(inputs.attrs)
        array = {name: np.asarray(inputs[name][...]) for name in _folders(self.path / "inputs")}
        source: OLSProblem | ProblemFamily
        if "kind" in facts:
            u, w0 = (array.get(name, facts.get(name)) for name in ("u", "w0"))
            more = {name: facts[name] for name in ("density", "modes", "overlap") if name in facts}
            source = ProblemFamily(facts["kind"], facts["cond"], facts["seed"], u, w0, **more)
        else:
            scalars = {name: facts[name] for name in _SCALARS if name in facts}
            if "reduction" in facts:
                scalars["reduction"] = Reduction.from_facts(facts["reduction"])
            rows: dict[str, Any] = {name: array[f"sample_{name}"] for name in _SAMPLE if f"sample_{name}" in array}
            sample = Sample(**rows, eigvals=array["eigvals"], u=array["u"]) if rows else None
            source = OLSProblem(array["eigvals"], array["u"], array["w0"], **scalars, sample=sample)
        method, axes = method_named(facts["method"]), facts["axes"]
        neutral = {param.name: np.array([param.default]) for param in method.axes}
        given = {name: array.get(name, neutral[name]) for name in neutral}
        given |= {name: array[name].tolist() for name in ("dim", "trial") if name in array}
        # a vector makes an axis, a number does not
        given = {name: values if name in axes else values[0] for name, values in given.items()}
        dim, trial = given.pop("dim", None), given.pop("trial", None)
        record, reduce = array.get("record"), facts.get("reduce", False)
        family = isinstance(source, ProblemFamily)
        spec = SweepSpec.checked(
            source,
            method.name,
            given | {option.name: facts.get(option.name, option.default) for option in method.options},
            n_steps=facts["n_steps"],
            dim=dim,
            trial=trial,
            tol=facts["tol"],
            stop=facts["stop"],
            record=record,
            reduce=reduce if family else False,
            check_rounding=facts.get("check_rounding", True),
        )
        if list(spec.axes) != axes or [*spec.shape] != self.attrs["grid_shape"]:
            raise ValueError(f"axes {axes} of {self.attrs['grid_shape']} values, where the inputs have {spec.shape}")
        return spec if family else dataclasses.replace(spec, reduce=reduce)  # such a problem was reduced before

    @cached_property
    def tiling(self) -> Tiling:
        """How the grid is cut into tiles: decided when the store was made."""
        return Tiling(tuple(self.attrs["grid_shape"]), tuple(self.attrs["tile_shape"]))

    @cached_property
    def variables(self) -> list[str]:
        """Names of the variables, the commit mark last."""
        return [name for name in VARIABLES if name in self._group and name != "status"] + ["status"]

    def must_match(self, spec: SweepSpec) -> None:
        """Refuse to go on with other inputs, or with an engine whose numbers may differ."""
        if self.attrs["sweep_fingerprint"] != spec.fingerprint:
            differs = _difference(self.spec.facts(), spec.facts())
            raise StoreError(f"{self.path} holds another sweep: {differs}{_other_target(self.spec, spec)}")
        here = engine(spec.method)
        if self.attrs["engine"] != here:
            raise StoreError(
                f"{self.path} was begun by olsbn {self.attrs['olsbn_version']}, engine {self.attrs['engine']}; "
                f"this is engine {here}: finish it with that version, or start a new store"
            )

    # ------------------------------------------------------------------ tiles

    def files(self, tile: Tile) -> list[Path]:
        """Return the files that hold a tile, the commit mark last."""
        block = {"step": 0, **dict(zip(self.attrs["grid_axes"], self.tiling.block(tile), strict=True))}
        return [
            self.path.joinpath(name, "c", *(str(block[axis]) for axis in self._dims[name])) for name in self.variables
        ]

    def is_done(self, tile: Tile) -> bool:
        """Whether the tile was written in full."""
        return self.files(tile)[-1].exists()

    def damaged_files(self, tile: Tile) -> list[Path]:
        """Return the files of a finished tile that are missing or fail their checksum."""
        return [file for file in self.files(tile) if not _intact(file)]

    def write(self, tile: Tile, result: Arrays) -> None:
        """Write a tile and commit it."""
        for name in self.variables:
            self._write(name, tile, result[name])

    def _region(self, name: str, tile: Tile) -> Any:
        index = {"step": slice(None), **dict(zip(self.attrs["grid_axes"], tile.index, strict=True))}
        return tuple(index[axis] for axis in self._dims[name]) or ...

    def _write(self, name: str, tile: Tile, values: np.ndarray) -> None:
        self._arrays[name][self._region(name, tile)] = self.spec.drop_axes(name, values)

    def renew_theory(self) -> Iterator[str]:
        """Compute theory's variables again where another version of the theory made them; yield a sentence then.

        It is a pass over what is done, and as the files of a tile are replaced one by one, it may be cut off anywhere.
        """
        here = theory(self.spec.method)
        if self.attrs["theory"] == here:
            return
        done = [tile for tile in self.tiling if self.is_done(tile) and not self.damaged_files(tile)]
        if done:
            yield f"{self.path} has another version of the theory: its rates are computed again"
        for tile in done:
            simulated = {name: self._read(name, tile) for name in self.variables if not VARIABLES[name].theory}
            for name, values in theory_of_tile(self.spec, tile, simulated).items():
                self._write(name, tile, values)
        zarr.open_group(self.path, mode="r+", **_PLAIN).update_attributes({"theory": here})
        self.attrs["theory"] = here
        with _quietly():
            zarr.consolidate_metadata(self.path)
        _copy_metadata(self.path)

    def _read(self, name: str, tile: Tile) -> np.ndarray:
        values = np.asarray(self._arrays[name][self._region(name, tile)])
        return values.reshape(self.spec.full_shape(name, tile.shape))

    def remove(self, tile: Tile) -> None:
        """Take a tile back, commit mark first."""
        for file in reversed(self.files(tile)):
            file.unlink(missing_ok=True)

    @cached_property
    def _dims(self) -> dict[str, tuple[str, ...]]:
        arrays: Any = self._group
        return {name: tuple(arrays[name].metadata.dimension_names or ()) for name in self.variables}

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        # an empty chunk is written as well: a file that is missing is then always damage
        return {
            name: zarr.open_array(self.path, path=name, mode="r+", zarr_format=3).with_config(
                {"write_empty_chunks": True}
            )
            for name in self.variables
        }

    # ------------------------------------------------------------------ the rest

    def damaged_inputs(self) -> list[str]:
        """Return the coordinate and input chunks that are missing or fail their checksum."""
        names = [name for name in _folders(self.path) if name not in (*VARIABLES, "inputs")]
        names += [f"inputs/{name}" for name in _folders(self.path / "inputs")]
        group: Any = self._group
        chunks = [f"{name}/c/{'/'.join('0' * group[name].ndim)}" for name in sorted(names)]
        return [chunk for chunk in chunks if not _intact(self.path / chunk)]

    def restore_inputs(self, spec: SweepSpec) -> None:
        """Write the coordinates and inputs again."""
        self.must_match(spec)
        group = zarr.open_group(self.path, mode="r+", **_PLAIN)
        for name, values in {**_coordinate_values(spec), **_input_values(spec)}.items():
            array: Any = group[name]
            shutil.rmtree(self.path / name / "c", ignore_errors=True)
            array[...] = values
        self.__dict__.pop("spec", None)

    def status_counts(self) -> dict[schema.Status, int]:
        """Count the cells by status; cells of tiles that are not done count as not run."""
        counts = np.zeros(len(schema.Status), np.int64)
        array: Any = self._group["status"]
        first = array.shape[0] if array.ndim else 0
        step = array.chunks[0] if array.ndim else 1
        for i in range(0, max(first, 1), step):
            part = np.asarray(array[i : i + step] if array.ndim else array[...])
            counts += np.bincount(part.ravel().astype(int) + 1, minlength=counts.size)
        return dict(zip(schema.Status, counts.tolist(), strict=True))

    def partial_files(self) -> list[Path]:
        """Return what killed writers left behind."""
        found = (Path(folder) / name for folder, _, names in os.walk(self.path) for name in names)
        return [path for path in found if path.suffix == ".partial"]

    def is_complete(self) -> bool:
        """Whether all tiles are done."""
        return all(self.is_done(tile) for tile in self.tiling)

    def writer(self) -> str:
        """Return who is writing to the store now, or an empty string."""
        lock = self.path / _LOCK
        if not lock.exists():
            return ""
        try:
            with _locked(lock, shared=True) as free:
                held = free is None
        except OSError:
            return ""
        if held:
            return _holder(lock)
        return ""

    def writers(self) -> list[str]:
        """Return who is writing to the store now: one process, or one for each shard that runs."""
        found = [self.writer()]
        for lock in sorted((self.path / _LOCK).parent.glob(f"{_SHARD_LOCK}*")):
            with contextlib.suppress(OSError), _locked(lock, shared=True) as free:
                if free is None:
                    i, _, n = lock.name.removeprefix(_SHARD_LOCK).partition("-of-")
                    found.append(f"shard {i}/{n}: {_holder(lock)}")
        return [text for text in found if text]

    def dataset(self) -> xr.Dataset:
        """Open the result; values are read when they are used."""
        return open_dataset(self.path)[[name for name in VARIABLES if name in self.variables]]


def open_dataset(path: Path) -> xr.Dataset:
    """Open the result in a Zarr store; values are read when they are used."""
    import xarray as xr

    ds = xr.open_zarr(path, chunks=None, consolidated=False, zarr_format=3)
    ds["status"].attrs |= schema.attrs("status")  # JSON forgot the type of the flags, which CF wants to be status's
    return ds


# -------------------------------------------------------------------- one writer, or the shards of one sweep


class Right:
    """The right to write to a store. `alone`: no other process has it yet, so leftovers may be swept."""

    def __init__(self, fd: int, alone: bool, n_shards: int) -> None:
        self._fd, self.alone, self._n_shards = fd, alone, n_shards

    def share(self) -> None:
        """Let the other shards in; from here on nothing but chunks of the own tiles may be written."""
        if self.alone and self._n_shards > 1 and not _flock(self._fd, shared=True):
            raise StoreError("another process took the store over before its shards could start; try again")


@contextlib.contextmanager
def writing(path: Path, shard: Shard = WHOLE) -> Iterator[Right]:
    """Hold the right to write to a store: one process for the whole sweep, or one for each of its n shards.

    The kernel gives up a lock with the process that holds it, however that ends. It is flock: on NFS it holds between
    machines where the server keeps locks (NFSv4, or v3 with lockd), on Lustre if mounted with `flock`. Where a file
    system has no locks, a warning says so; two writers of one sweep then waste time, but write the same bytes.
    """
    i, n = shard
    lock = path / _LOCK
    with contextlib.ExitStack() as stack:
        fd, alone = stack.enter_context(_locked(lock)), True
        until = time.monotonic() + _PATIENCE
        while fd is None:
            if n > 1:
                fd, alone = stack.enter_context(_locked(lock, shared=True)), False
            if n == 1 or _read_lock(lock).get("shards", n) != n or time.monotonic() > until:
                raise StoreError(f"{path} is being written by {_holder(lock)}")
            if fd is None:  # another shard of the same sweep prepares the store
                time.sleep(0.05)
        mine = lock if n == 1 else lock.with_name(f"{_SHARD_LOCK}{i}-of-{n}")
        if n > 1 and stack.enter_context(_locked(mine)) is None:
            raise StoreError(f"{path}, shard {i}/{n}, is being written by {_holder(mine)}")
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now(), "shards": n}
        for file in (mine, lock) if alone else (mine,):
            _write_lock(file, facts)
        yield Right(fd, alone, n)


@contextlib.contextmanager
def _locked(path: Path, shared: bool = False) -> Iterator[int | None]:
    """Hold a lock file, made if need be; yield None if another process has it."""
    fd = safe.open_own(path)
    try:
        yield fd if _flock(fd, shared) else None
    finally:
        os.close(fd)


def _flock(fd: int, shared: bool) -> bool:
    try:
        import fcntl

        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError) as err:
        warnings.warn(f"cannot lock the store ({err}): make sure that nothing else writes to it", stacklevel=4)
    return True


def _read_lock(lock: Path) -> dict[str, Any]:
    """Return what the holder of a lock says of itself; it may be just about to."""
    for _ in range(20):
        with contextlib.suppress(OSError, ValueError):
            return dict(safe.printable(json.loads(safe.read_bytes(lock, 4096))))
        time.sleep(0.01)
    return {}


def _write_lock(lock: Path, facts: dict[str, Any]) -> None:
    fd = safe.open_own(lock)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, json.dumps(facts).encode())
    finally:
        os.close(fd)


def _holder(lock: Path) -> str:
    facts = _read_lock(lock)
    return f"process {facts.get('pid', '?')} on {facts.get('host', '?')} (since {facts.get('since', '?')})"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# -------------------------------------------------------------------- making a store


def _write_empty(path: Path, spec: SweepSpec, command: str) -> None:
    tile = spec.tiles().tile
    attrs = {
        **spec.attrs(),
        "command": command,
        "created": _now(),
        "olsbn_store_format": FORMAT,
        "grid_axes": spec.all_axes,
        "grid_shape": spec.shape,
        "tile_shape": tile,
    }
    group = zarr.create_group(path, zarr_format=3, attributes=_plain(attrs))
    for name in spec.columns:
        known, kept = VARIABLES[name], spec.kept_axes(name)
        shape, chunks = (spec.full_shape(name, sizes) for sizes in (spec.shape, tile))
        group.create_array(
            name, shape=[shape[k] for k in kept], chunks=tuple(chunks[k] for k in kept), dtype=known.dtype,
            fill_value=known.empty, dimension_names=spec.dims_of(name), compressors=_CODECS,
            attributes=_plain(schema.attrs(name)),
        )  # fmt: skip
    for name, (_, values, about) in spec.coords().items():
        group.create_array(
            name, data=values, chunks=values.shape, dimension_names=[name], compressors=_CODECS,
            attributes=_plain(about), config={"write_empty_chunks": True},
        )  # fmt: skip
    inputs = {name: getattr(spec, name) for name in ("n_steps", "tol", "stop")}
    inputs |= {"method": spec.method_name, "axes": list(spec.axes), **spec.told_options}
    if not spec.check_rounding:
        inputs["check_rounding"] = False
    if spec.reduce is not False:
        inputs["reduce"] = spec.reduce
    if isinstance(spec.source, OLSProblem):
        inputs |= {name: getattr(spec.source, name) for name in _SCALARS}
        if spec.source.reduction is not None:
            inputs["reduction"] = dataclasses.asdict(spec.source.reduction)
    else:
        inputs |= {name: value for name, value in spec.source.facts().items() if not isinstance(value, tuple)}
    group.create_group("inputs", attributes=_plain(inputs))
    for name, values in _input_values(spec).items():
        group.create_array(
            name, data=values, chunks=values.shape,
            dimension_names=[f"{name.removeprefix('inputs/')}_{i}" for i in range(values.ndim)],
            compressors=_CODECS, config={"write_empty_chunks": True},
        )  # fmt: skip
    with _quietly():
        zarr.consolidate_metadata(path)
    _copy_metadata(path)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Consolidated metadata, without a warning: xarray asks for them first, and warns where there are none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        yield


_CODECS: Any = [ZstdCodec(level=1), Crc32cCodec()]


def _coordinate_values(spec: SweepSpec) -> dict[str, np.ndarray]:
    return {name: values for name, (_, values, _) in spec.coords().items()}


def _input_values(spec: SweepSpec) -> dict[str, np.ndarray]:
    found: dict[str, Any] = {name: spec.params[name] for name in spec.telling_params()}
    if spec.record is not None:
        found["record"] = spec.record
    if isinstance(spec.source, OLSProblem):
        found |= {name: getattr(spec.source, name) for name in ("eigvals", "u", "w0")}
        if spec.sample is not None:
            found |= {f"sample_{name}": getattr(spec.sample, name) for name in _SAMPLE}
    else:
        found |= {"dim": spec.dims, "trial": spec.trials}
        found |= {name: value for name, value in spec.source.facts().items() if isinstance(value, tuple)}
    return {f"inputs/{name}": np.asarray(values) for name, values in found.items()}


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON has them."""
    return {name: np.asarray(v).tolist() if isinstance(v, np.ndarray | tuple) else v for name, v in attrs.items()}


def _sweep_abandoned(path: Path) -> None:
    """Remove stores that were being made when their process was killed."""
    for work in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with contextlib.suppress(OSError):
            if not (work / _LOCK).exists():  # killed, or a moment before, in which case it is made once more
                with contextlib.suppress(FileNotFoundError):
                    (work / _LOCK).parent.rmdir()
                work.rmdir()
                continue
            with _locked(work / _LOCK) as free:
                if free is not None:
                    shutil.rmtree(work, ignore_errors=True)


# -------------------------------------------------------------------- damage


def _intact(file: Path) -> bool:
    """Whether the last four bytes are the crc32c of all before."""
    try:
        data = file.read_bytes()
    except OSError:
        return False
    return len(data) >= 4 and crc32c(data[:-4]) == int.from_bytes(data[-4:], "little")


def _copy_metadata(path: Path) -> None:
    files = {str(file.relative_to(path)): file.read_text() for file in sorted(path.rglob("zarr.json"))}
    safe.write_whole(path / _COPY, json.dumps({"sha256": _hash(files), "files": files}).encode())


def _read_copy(path: Path) -> dict[str, str] | None:
    """Return the copies of the metadata by file, or None if they are damaged."""
    try:
        copy = json.loads(safe.read_bytes(path / _COPY, _METADATA))
        files = dict(copy["files"])
        whole = copy["sha256"] == _hash(files)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    # names and texts are the store's own, or a file of somebody's choice would be written
    if whole and (strange := [n for n, text in files.items() if not (_NAMES.fullmatch(n) and isinstance(text, str))]):
        raise StoreError(f"{path / _COPY} must name files of metadata in the store, got {shortened(strange[0])}")
    return files if whole else None


def _hash(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def damaged_metadata(path: Path) -> list[str]:
    """Return the metadata files of a store that are missing or changed."""
    if not path.exists():
        raise StoreError(f"{path} does not exist")
    if not (path / "zarr.json").is_file() and not (path / _COPY).is_file():
        raise StoreError(f"{path} is not a sweep store")
    if not (path / _COPY).is_file() and _format(path) is None:
        raise StoreError(f"{path} is not a sweep store: it was not made by 'olsbn sweep'")
    for _ in safe.tree(path):  # nothing in it is a link, a pipe or a device
        pass
    files = _read_copy(path)
    if files is None:
        return [_COPY]
    return [name for name, text in files.items() if _text(path / name) != text]


def restore_metadata(path: Path, spec: SweepSpec) -> list[str]:
    """Restore damaged metadata from their copies, or the copies from the metadata; return what was restored."""
    damaged = damaged_metadata(path)
    if damaged == [_COPY]:
        # One of two is damaged; what is left must be this sweep, as a store made anew would have it.
        if _format(path) != FORMAT or _attribute(path, "sweep_fingerprint") != spec.fingerprint:
            raise StoreError(f"{path / _COPY} is damaged, and {path / 'zarr.json'} is not this sweep's")
        _copy_metadata(path)
        return damaged
    files = _read_copy(path) or {}
    for name in damaged:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        safe.write_whole(path / name, files[name].encode())
    return damaged


def mend(path: Path, spec: SweepSpec) -> list[str]:
    """Sweep leftovers and restore damaged metadata and inputs; return a sentence for each thing restored."""
    restored = restore_metadata(path, spec)
    store = Store(path)
    damaged = store.damaged_inputs()
    if damaged:
        store.restore_inputs(spec)
    for file in store.partial_files():
        file.unlink(missing_ok=True)
    return [f"{path / name} was damaged and is restored" for name in restored + damaged]


def _text(file: Path) -> str | None:
    try:
        return safe.read_bytes(file, _METADATA).decode()
    except (OSError, ValueError):
        return None


def _attribute(path: Path, name: str) -> Any:
    try:
        return json.loads(safe.read_bytes(path / "zarr.json", _METADATA))["attributes"].get(name)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _format(path: Path) -> Any:
    return _attribute(path, "olsbn_store_format")


def _other_target(there: SweepSpec, here: SweepSpec) -> str:
    """Say how to go on with a store of the time when `standardize` left the target alone."""
    old, new = there.source, here.source
    if not (isinstance(old, OLSProblem) and isinstance(new, OLSProblem)) or old.dim != new.dim:
        return ""
    same = np.array_equal(old.eigvals, new.eigvals) and np.allclose(old.u, new.u * new.target_scale, rtol=1e-9, atol=0)
    if new.target_scale == 1 or not same:
        return ""
    return ' (its target is in its own unit: standardize = "inputs" goes on with it, true now scales the target too)'


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Say in a few words what differs between two sweeps."""
    found = []
    for name in {**there, **here}:
        old, new = there.get(name), here.get(name)
        if old == new:
            continue
        if isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                old, new = f"{len(old)} values", f"{len(new)} values"
            else:
                old, new = next(pair for pair in zip(old, new, strict=True) if pair[0] != pair[1])
        old, new = ("none" if value is None else str(value)[:20] for value in (old, new))
        found.append(f"{name} is {old} there and {new} here")
    return "; ".join(found[:3]) or "the inputs are the same, but their hash is not"
