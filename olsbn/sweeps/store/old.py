"""Stores of format 2, in which every variable of a tile was a chunk of a Zarr array: they are read, not written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google_crc32c import value as crc32c

from olsbn._validate import shortened
from olsbn.dynamics.base import Arrays
from olsbn.dynamics.registry import METHODS
from olsbn.files import check_folder, printable, read_bytes
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store.container import decompress
from olsbn.sweeps.store.errors import Damaged, StoreError
from olsbn.sweeps.store.header import FORMAT, Header, checked_attributes
from olsbn.sweeps.store.places import OWN
from olsbn.sweeps.tiling import Tiling

_FORMAT = 2
_METADATA = 1 << 26
_CHUNK = 1 << 34
_PROBLEM, _SAMPLE = ("eigvals", "u", "w0"), ("X", "y", "basis")
_SCALARS = ("a0", "target_var", "w0_null_norm", "label", "rank_tol")
_FAMILY = ("kind", "cond", "seed", "u", "w0", "density", "modes", "overlap")


def header(path: Path) -> Header | None:
    """Return what a store of format 2 was asked for, as a header; None if this is no such store."""
    attrs = printable(_attributes(path / "zarr.json"))
    if attrs is None or "olsbn_store_format" not in attrs:
        return None
    if attrs["olsbn_store_format"] == FORMAT:
        raise StoreError(f"{path} has lost its header, {path / OWN / 'header'}: it can be read, but not go on")
    if attrs["olsbn_store_format"] != _FORMAT:
        found = shortened(attrs["olsbn_store_format"])
        raise StoreError(
            f"{path} has store format {found}, this olsbn reads 2 and 3: open it with xarray.open_zarr, or with the "
            f"olsbn that made it ({shortened(attrs.get('olsbn_version'))}), or run the sweep into a new store"
        )
    attrs = checked_attributes(str(path / "zarr.json"), attrs)
    old = printable(_attributes(path / "inputs" / "zarr.json"))
    if old is None:
        raise StoreError(f"{path / 'inputs' / 'zarr.json'} is damaged; the olsbn that made the store restores it")
    arrays = {name: _input(path, name) for name in sorted(p.parent.name for p in path.glob("inputs/*/zarr.json"))}
    known = ("n_steps", "tol", "stop", "method", "axes", "reduction", "reduce", "check_rounding")
    facts: dict[str, Any] = {name: old[name] for name in known if name in old}
    options = METHODS[attrs["method"]].options
    facts["options"] = {option.name: old[option.name] for option in options if option.name in old}
    if "kind" in old:
        facts["family"] = {name: old[name] for name in _FAMILY if name in old}
        arrays |= {f"family_{name}": arrays.pop(name) for name in ("u", "w0") if name in arrays}
    else:
        facts["problem"] = {name: old[name] for name in _SCALARS if name in old}
        arrays |= {f"problem_{name}": arrays.pop(name) for name in _PROBLEM if name in arrays}
    return Header(attrs, facts, arrays)


def _attributes(file: Path) -> dict[str, Any] | None:
    try:
        check_folder(file.parents[1], file.parent.name)
        found = json.loads(read_bytes(file, _METADATA))["attributes"]
    except (OSError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _input(path: Path, name: str) -> np.ndarray:
    file = path / "inputs" / name / "zarr.json"
    try:
        check_folder(path, "inputs", name)
        found = json.loads(read_bytes(file, _METADATA))
        shape, dtype = found["shape"], {"float64": "<f8", "int64": "<i8"}[found["data_type"]]
        if not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{file} is damaged; the olsbn that made the store restores it") from None
    chunk = path.joinpath("inputs", name, "c", *("0" for _ in shape))
    return _chunk(path, chunk, tuple(shape), dtype)


def _chunk(path: Path, file: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    try:
        check_folder(path, *file.relative_to(path).parts[:-1])
        data = read_bytes(file, _CHUNK)
        # memory is bounded by the file, of which zstd makes at most 30 000 times as much
        if math.prod(shape) * np.dtype(dtype).itemsize > 4096 + 30_000 * len(data):
            raise Damaged("too short for its shape")
        if crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise Damaged("it fails its checksum")
        return decompress(data[:-4], shape, dtype)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as err:
        raise Damaged(f"{file} is damaged ({err}); the olsbn that made the store restores it") from None


class Old:
    """The tiles of a store of format 2."""

    def __init__(self, path: Path, spec: SweepSpec, tiling: Tiling) -> None:
        self.path, self.spec, self.tiling = path, spec, tiling
        # what methods did not have when these stores were made
        later = "by_rounding", "excess_running", "excess_batch", "gap"
        self._never_there = {name for name in later if not os.path.lexists(path / name)}

    def _file(self, name: str, number: int) -> Path:
        block = self.tiling.block(self.tiling[number])
        index = [*block[:2], 0, *block[2:]] if len(self.spec.full_shape(name)) > len(block) else list(block)
        return self.path.joinpath(name, "c", *(str(index[k]) for k in self.spec.kept_axes(name)))

    def done(self) -> set[int]:
        """Return the numbers of the tiles that were committed, by their chunk of `status`."""
        return {number for number in range(len(self.tiling)) if os.path.lexists(self._file("status", number))}

    def read(self, number: int, names: Sequence[str] | None = None) -> Arrays | None:
        """Return variables of a tile; None if it was not committed."""
        if not os.path.lexists(self._file("status", number)):
            return None
        shape, found = self.tiling[number].shape, {}
        for name in names or self.spec.columns:
            if name in self._never_there:
                found[name] = np.full(
                    self.spec.full_shape(name, shape), self.spec.column(name).empty, self.spec.column(name).dtype
                )
                continue
            # chunks at the edge of the grid are as large as the others
            whole = self.spec.full_shape(name, self.tiling.tile)
            try:
                values = _chunk(self.path, self._file(name, number), whole, self.spec.column(name).dtype)
            except FileNotFoundError:
                raise Damaged(
                    f"{self._file(name, number)} is missing; the olsbn that made the store restores it"
                ) from None
            slices = [slice(0, n) for n in self.spec.full_shape(name, shape)]
            found[name] = values[tuple(slices)]
        return found

    def damage(self, number: int) -> list[Path]:
        """Return the files of a tile that are damaged."""
        found = []
        for name in self.spec.columns:
            try:
                self.read(number, [name])
            except Damaged:
                found.append(self._file(name, number))
        return found
