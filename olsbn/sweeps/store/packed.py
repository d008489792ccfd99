"""A finished store: plain Zarr with sharding, which xarray alone opens.

Zarr writes it. It is read here without Zarr, by what the header says of it: whatever the metadata of the arrays say,
nothing larger is made than the sweep has.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from google_crc32c import value as crc32c

from olsbn import schema
from olsbn.dynamics.base import Arrays
from olsbn.files import UnsafeFile
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store.blocks import Blocks, region
from olsbn.sweeps.store.container import decompress, facts_and_arrays, seal, unseal, with_arrays
from olsbn.sweeps.store.errors import Damaged
from olsbn.sweeps.store.header import plain
from olsbn.sweeps.store.places import OWN, Place
from olsbn.sweeps.tiling import Tile, Tiling, blocks_of

_MANIFEST, _PLACE = f"{OWN}/manifest", "manifest"
_ROOT = "zarr.json"  # written last
_CHUNKS = 256  # about as many of them for a variable: a damaged one costs its tiles
_CHUNK_VALUES, _SHARD_VALUES = 2**20, 2**21
_METADATA = 1 << 26
_EMPTY = 2**64 - 1  # offset of a chunk that a shard does not hold


class Packed:
    """The arrays of a packed store. `tiling` cuts the grid into chunks, `shards` into files."""

    def __init__(self, files: Place, spec: SweepSpec, tiles: Tiling, place: str) -> None:
        self.files, self.spec, self.tiles, self._place = files, spec, tiles, f"{_PLACE} {place}"
        steps = len(spec.record or (0,))
        cells = min(max(spec.n_cells // _CHUNKS, math.prod(tiles.tile)), _CHUNK_VALUES // steps)
        self.tiling = Tiling(tiles.grid, blocks_of(tiles, cells))
        self.shards = Tiling(tiles.grid, blocks_of(self.tiling, _SHARD_VALUES // steps))
        self.names = spec.columns
        self._in_shard = tuple(s // c for s, c in zip(self.shards.tile, self.tiling.tile, strict=True))

    @property
    def is_there(self) -> bool:
        """Whether the store is packed: the manifest is written when all data are in place, the root group last."""
        return self.files.exists(_MANIFEST) or self.files.exists("zarr.json")

    # ------------------------------------------------------------------ reading

    def read(self, number: int, names: Sequence[str]) -> Arrays | None:
        """Return variables of a chunk over all axes."""
        return {name: self._chunk(name, number) for name in names}

    def _chunk(self, name: str, number: int) -> np.ndarray:
        block = self.tiling.block(self.tiling[number])
        shard = tuple(b // n for b, n in zip(block, self._in_shard, strict=True))
        file = self._file(name, shard)
        # the shape of a chunk: the last one of an axis reaches beyond the grid
        full = self.spec.full_shape(name, self.tiling.tile)
        try:
            data = self.files.read(file, self._most(name))
            part = data
            if self.spec.kept_axes(name):
                at = Tiling(self._in_shard, (1,) * len(self._in_shard)).number(
                    [b % n for b, n in zip(block, self._in_shard, strict=True)]
                )
                part = _inner(data, math.prod(self._in_shard), at)
            if crc32c(part[:-4]) != int.from_bytes(part[-4:], "little"):
                raise Damaged("a chunk fails its checksum")
            values = decompress(part[:-4], full, self.spec.column(name).dtype)
        except (ValueError, OSError) as err:
            raise Damaged(
                f"{self.files.at(file)} is damaged ({err}); the command that made the store, run again, restores it"
            ) from err
        shape = self.tiling[number].shape
        return values[self.spec.full_index(name, Tile(tuple((0, n) for n in shape)))]

    def _file(self, name: str, shard: Sequence[int]) -> str:
        """Return the file of a shard."""
        index = [*shard[:2], 0, *shard[2:]] if len(self.spec.full_shape(name)) > len(shard) else list(shard)
        return "/".join([name, "c", *(str(index[k]) for k in self.spec.kept_axes(name))])

    def file_of(self, name: str, shard: int) -> str:
        """Return the name of the file of a shard, by its number."""
        return self._file(name, self.shards.block(self.shards[shard]))

    def _most(self, name: str) -> int:
        """Return an upper limit of the bytes of a shard."""
        values = math.prod(self.spec.full_shape(name, self.shards.tile))
        return 4096 + int(8.1 * values) + 128 * math.prod(self._in_shard)

    # ------------------------------------------------------------------ damage

    def damaged(self) -> list[Path | str]:
        """Return the files that are missing or not as they were packed."""
        try:
            manifest = self._manifest
        except (OSError, ValueError):
            return [self.files.at(_MANIFEST)]
        found = [name for name, text in manifest["texts"].items() if self._text(name) != text]
        blocks = [self.shards.block(shard) for shard in self.shards]
        files = {self._file(name, block): self._most(name) for name in self.names for block in blocks}
        files |= {f"{name}/c/0": _METADATA for name in self.spec.coords()}
        found += [name for name, most in files.items() if self._sum(name, most) != manifest["sums"].get(name)]
        return [self.files.at(name) for name in found]

    def missing(self) -> list[int]:
        """Return the numbers of the tiles that were not run when the store was packed."""
        try:
            return list(self._manifest["missing"])
        except (OSError, ValueError):
            return [number for number in range(len(self.tiles)) if self._is_missing(number)]

    def _is_missing(self, number: int) -> bool:
        try:
            found = region(self.spec, self, ["status"], self.tiles[number].ranges)
        except Damaged:
            return True
        return bool((found["status"] == schema.Status.NOT_RUN).any())

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        facts, _ = facts_and_arrays(unseal(self._place, self.files.read(_MANIFEST, _METADATA)))
        texts, sums, missing = (facts.get(name) for name in ("texts", "sums", "missing"))
        if not (isinstance(texts, dict) and isinstance(sums, dict) and isinstance(missing, list)):
            raise Damaged("not a manifest")
        # names are the store's own, or a file of somebody's choice would be written
        if set(texts) != self._texts or not all(isinstance(text, str) for text in texts.values()):
            raise Damaged("a manifest of other files")
        if not all(type(number) is int and 0 <= number < len(self.tiles) for number in missing):
            raise Damaged("a manifest of other tiles")
        return facts

    @property
    def _texts(self) -> set[str]:
        """The files of metadata that a packed store has."""
        arrays = (*self.names, *self.spec.coords(), OWN)
        return {_ROOT, *(f"{name}/zarr.json" for name in arrays)}

    def _text(self, name: str) -> str | None:
        try:
            return self.files.read(name, _METADATA).decode()
        except (OSError, ValueError):
            return None

    def _sum(self, name: str, most: int) -> list[int] | None:
        try:
            return _sum(self.files.read(name, most))
        except (OSError, ValueError):
            return None

    def restore_texts(self) -> list[Path | str]:
        """Write damaged metadata again, from the copies in the manifest; return which."""
        texts = self._manifest["texts"]
        damaged = [name for name, text in texts.items() if self._text(name) != text]
        for name in damaged:
            with contextlib.suppress(OSError, UnsafeFile):  # the folder is lost: its array is made again
                self.files.write(name, texts[name].encode())
        return [self.files.at(name) for name in damaged]

    # ------------------------------------------------------------------ packing

    def pack(self, source: Blocks, attrs: dict[str, Any], missing: Sequence[int]) -> None:
        """Make the arrays of the tiles, and put them in place when they are there in full."""
        sums: dict[str, list[int]] = {}
        texts: dict[str, str] = {}
        with self.files.stage() as stage:
            for name, data in self._written(source, attrs):
                if name in self._texts:
                    texts[name] = data.decode()
                else:
                    sums[name] = _sum(data)
                if name != _ROOT:
                    stage.write(name, data)
            stage.publish([*self.names, *self.spec.coords()])
        facts = {"texts": texts, "sums": sums, "missing": list(missing)}
        self.files.write(_MANIFEST, seal(self._place, with_arrays(facts, {})))
        self.__dict__.pop("_manifest", None)
        self.files.write(_ROOT, texts[_ROOT].encode())

    def _written(self, source: Blocks, attrs: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
        """Yield the files of the arrays, made by Zarr in memory, a shard at a time; the metadata come last."""
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        codecs: Any = [ZstdCodec(level=1), Crc32cCodec()]
        always: Any = {"write_empty_chunks": True}
        made: dict[str, Any] = {}
        store = zarr.storage.MemoryStore(made)
        group = zarr.create_group(store, zarr_format=3, attributes=attrs)
        zarr.create_group(store, path=OWN, zarr_format=3)
        arrays: dict[str, Any] = {}
        for name in self.names:
            known, kept = self.spec.column(name), self.spec.kept_axes(name)
            shape, chunks, shards = (
                tuple(self.spec.full_shape(name, sizes)[k] for k in kept)
                for sizes in (self.spec.shape, self.tiling.tile, self.shards.tile)
            )
            arrays[name] = group.create_array(
                name, shape=shape, chunks=chunks, shards=shards if shape else None, dtype=known.dtype,
                fill_value=known.empty, dimension_names=self.spec.dims_of(name), compressors=codecs, config=always,
                attributes=plain(known.attrs()),
            )  # fmt: skip
        for name, (_, values, about) in self.spec.coords().items():
            group.create_array(
                name, data=values, chunks=values.shape, dimension_names=[name], compressors=codecs, config=always,
                attributes=plain(about),
            )  # fmt: skip
        with warnings.catch_warnings():  # xarray asks for consolidated metadata first, and warns where there are none
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(store)
        for shard in self.shards:
            for name, values in region(self.spec, source, self.names, shard.ranges).items():
                index = self.spec.full_index(name, shard)
                arrays[name][tuple(index[k] for k in self.spec.kept_axes(name)) or ...] = self.spec.drop_axes(
                    name, values
                )
                for file in made.keys() - self._texts:
                    yield file, made.pop(file).to_bytes()
        for file in sorted(made):
            yield file, made[file].to_bytes()

    def sweep(self) -> None:
        """Remove arrays that are not in use: of a packing that was killed, or of a store that is unpacked."""
        self.files.remove("", [*self.names, *self.spec.coords()])

    def remove(self) -> None:
        """Remove the packed arrays, the manifest first."""
        self.files.remove(OWN, ["manifest"])
        self.files.remove("", ["zarr.json"])
        self.sweep()


def _sum(data: bytes) -> list[int]:
    return [len(data), crc32c(data)]


def _inner(data: bytes, n: int, at: int) -> bytes:
    """Return the chunk at position `at` of a shard of n chunks, whose index stands at its end."""
    index = data[-(16 * n + 4) : -4]
    if len(index) != 16 * n or crc32c(index) != int.from_bytes(data[-4:], "little"):
        raise Damaged("the index of a shard fails its checksum")
    first, size = np.frombuffer(index, "<u8").reshape(n, 2)[at].tolist()
    if first == _EMPTY or first + size > len(data) or size < 4:
        raise Damaged("a chunk is not in its shard")
    return data[first : first + size]
