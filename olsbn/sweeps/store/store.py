"""A store of a sweep, whatever state it is in: made, written tile by tile, mended, packed, and read."""

from __future__ import annotations

import contextlib
import errno
import glob
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn.dynamics.base import Arrays
from olsbn.files import PARTIAL, UnsafeFile, printable, remove, write_whole
from olsbn.problems import OLSProblem
from olsbn.sweeps.compute import theory_of_tile
from olsbn.sweeps.spec import SweepSpec, engine, theory
from olsbn.sweeps.store import blocks, lock, old
from olsbn.sweeps.store.errors import Damaged, StoreError
from olsbn.sweeps.store.header import Header
from olsbn.sweeps.store.lock import PATIENCE, WHOLE, Right, Shard
from olsbn.sweeps.store.packed import Packed
from olsbn.sweeps.store.places import LOCK, OWN, Folder, Place
from olsbn.sweeps.store.tiles import Tiles
from olsbn.sweeps.tiling import Tile, Tiling

if TYPE_CHECKING:
    import xarray as xr

HEADERS = (f"{OWN}/header", f"{OWN}/header.copy")  # the same twice: either restores the other
_HEADER_BYTES = 1 << 34


class Store:
    """A store that exists; `writing` says who may call the methods that change it."""

    def __init__(self, path: Path | str, files: Place | None = None) -> None:
        self.path = path if files is not None else Path(path)
        self.files: Place = files or Folder(Path(path))
        self.damaged_headers: list[str] = []
        self._old = files is None and not is_store(Path(path))
        self._header = self._read_old() if self._old else self._read_header()
        self._place = f"{self.attrs['sweep_fingerprint']} {self.attrs['engine']} {self.attrs['tile_shape']}"
        self._mark = None if self._old else self.files.mark()

    def _read_header(self) -> Header:
        found: Header | None = None
        for name in HEADERS:
            try:
                header = Header.from_bytes(self.files.read(name, _HEADER_BYTES), str(self.files.at(name)))
            except (OSError, Damaged, UnsafeFile) as err:
                if isinstance(err, StoreError) and not isinstance(err, Damaged):
                    raise  # intact, but of no store
                lost = isinstance(err, FileNotFoundError | UnsafeFile)
                if not lost and not isinstance(self.path, Path):
                    raise  # a network that fails is not damage
                self.damaged_headers.append(name)
            else:
                found = found or header
        if found is None:
            raise StoreError(f"{self.files.at(HEADERS[0])} and its copy are damaged: run the sweep into a new store")
        return found

    def _read_old(self) -> Header:
        assert isinstance(self.path, Path)
        if not self.path.exists():
            raise StoreError(f"{self.path} does not exist")
        found = old.header(self.path) if self.path.is_dir() else None
        if found is None:
            raise StoreError(f"{self.path} is not a sweep store: it was not made by 'olsbn sweep'")
        return found

    @classmethod
    def create(cls, path: Path, spec: SweepSpec, command: str = "") -> None:
        """Make a store with no cell run. It appears at `path` all at once; if one is there already, it stays."""
        _sweep_abandoned(path)
        header = Header.of(spec, command).to_bytes()
        for _ in range(10):
            work = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
            try:
                work.mkdir()
                (work / OWN).mkdir()
                with lock.locked(work / LOCK) as mine:
                    if mine is not None:
                        (work / OWN / "tiles").mkdir()
                        for name in HEADERS:
                            write_whole(work / name, header)
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
                remove(work)
            # another process that sweeps what killed ones have left behind took the new directory for such
        raise StoreError(f"{path} could not be made: other processes were making it all the time")

    # ------------------------------------------------------------------ what it is of

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of the result."""
        return self._header.attrs

    @cached_property
    def spec(self) -> SweepSpec:
        """What the store was asked for."""
        try:
            return self._header.spec
        except StoreError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, MemoryError) as err:
            words = printable(" ".join(f"{type(err).__name__}: {err}".split())[:200])
            raise StoreError(f"{self.path} does not describe a sweep ({words})") from err

    @property
    def tiling(self) -> Tiling:
        """How the grid is cut into tiles: decided when the store was made."""
        return self._header.tiling

    def must_match(self, spec: SweepSpec) -> None:
        """Refuse to go on with other inputs, or with an engine whose numbers may differ."""
        if self.spec.fingerprint != spec.fingerprint and not self._same_origin(spec):
            differs = _difference(self.spec.facts(), spec.facts())
            raise StoreError(f"{self.path} holds another sweep: {differs}{_other_target(self.spec, spec)}")
        if self.attrs["sweep_fingerprint"] != self.spec.fingerprint:
            raise StoreError(
                f"{self.path} was begun with other numbers than its inputs give here, in their last bits perhaps: the "
                "problems of a family depend on the processor that makes them"
            )
        here = engine(spec.method)
        if self.attrs["engine"] != here:
            raise StoreError(
                f"{self.path} was begun by olsbn {self.attrs['olsbn_version']}, engine {self.attrs['engine']}; "
                f"this is engine {here}: finish it with that version, or start a new store"
            )
        if self._old and not self.is_complete():
            raise StoreError(
                f"{self.path} has store format 2, which this olsbn reads but does not write: finish it with olsbn "
                f"{self.attrs['olsbn_version']}, or start a new store"
            )

    def _same_origin(self, spec: SweepSpec) -> bool:
        """Whether the same problem was made from the same data, by a processor that rounds in another way."""
        made = ("problem", "sample")
        if spec.origin is None or spec.origin != self.spec.origin:
            return False
        there, here = self.spec.facts(), spec.facts()
        return {k: v for k, v in there.items() if k not in made} == {k: v for k, v in here.items() if k not in made}

    # ------------------------------------------------------------------ tiles

    @cached_property
    def _tiles(self) -> Tiles:
        return Tiles(self.files, self.spec, self.tiling, self._place)

    @cached_property
    def _packed(self) -> Packed:
        return Packed(self.files, self.spec, self.tiling, self._place)

    @cached_property
    def _old_tiles(self) -> old.Old:
        assert isinstance(self.path, Path)
        return old.Old(self.path, self.spec, self.tiling)

    @property
    def is_packed(self) -> bool:
        """Whether the store is plain Zarr now."""
        return not self._old and self._packed.is_there

    def _blocks(self) -> blocks.Blocks:
        return self._old_tiles if self._old else self._packed if self._packed.is_there else self._tiles

    def done(self) -> set[int]:
        """Return the numbers of the tiles that were written in full."""
        if self._old:
            return self._old_tiles.done()
        if not self.is_packed:
            return self._tiles.done()
        return set(range(len(self.tiling))) - set(self._packed.missing())

    def is_complete(self) -> bool:
        """Whether all tiles are done."""
        return len(self.done()) == len(self.tiling)

    def damaged(self, numbers: Sequence[int]) -> Iterator[tuple[int | None, Path | str]]:
        """Yield which of the tiles are damaged, each with its file; None for what belongs to no tile."""
        yield from ((None, self.files.at(name)) for name in self.damaged_headers)
        if self._old:
            yield from ((number, file) for number in numbers for file in self._old_tiles.damage(number))
        elif self.is_packed:
            yield from ((None, file) for file in self._packed.damaged())
        else:
            yield from ((n, self._tiles.file(n)) for n in numbers if self._tiles.is_damaged(n))

    def write(self, tile: Tile, result: Arrays) -> None:
        """Write a tile and commit it."""
        if self.files.mark() != self._mark:
            raise OSError(errno.ESTALE, "the store was moved or removed while it was written", str(self.path))
        self._tiles.write(tile, result)

    def read(self, tile: Tile) -> Arrays:
        """Return the variables of a region of the grid over all axes; what was not run is that."""
        return self._region(self.spec.columns, tile.ranges)

    def _region(self, names: Sequence[str], ranges: Sequence[tuple[int, int]]) -> Arrays:
        for _ in range(100):
            before, error = self.is_packed, None
            try:
                found = blocks.region(self.spec, self._blocks(), names, ranges)
            except Damaged as err:
                error = err
            if self.is_packed == before:  # it was not packed, or unpacked, meanwhile
                if error is not None:
                    raise error
                return found
        raise StoreError(f"{self.path} is packed and unpacked all the time")

    def dataset(self) -> xr.Dataset:
        """Open the result; values are read when they are used."""
        ds = blocks.dataset(self.spec, dict(self.attrs), lambda name, ranges: self._region([name], ranges)[name])
        ds.encoding["source"] = str(self.path)
        return ds

    def survey(self) -> tuple[list[Path | str], dict[schema.Status, int]]:
        """Return the damaged files, and how many cells have which status; what is damaged or not done is not run.

        Each tile is read once.
        """
        is_packed = self.is_packed
        done = sorted(self.done())
        damaged = [file for _, file in self.damaged(done if self._old else [])]
        source, counts = self._blocks(), np.zeros(len(schema.Status), np.int64)
        for number in range(len(source.tiling)) if is_packed else done:
            try:
                found = source.read(number, ["status"])
            except Damaged:
                if not is_packed and not self._old:
                    damaged.append(self._tiles.file(number))
                continue
            if found is not None:
                counts += np.bincount(found["status"].ravel().astype(int) + 1, minlength=counts.size)
        counts[0] += int(np.prod(self.tiling.grid)) - counts.sum()
        return damaged, dict(zip(schema.Status, counts.tolist(), strict=True))

    # ------------------------------------------------------------------ writing

    def writing(self, shard: Shard = WHOLE) -> AbstractContextManager[Right]:
        """Hold the right to write: one process for the whole sweep, or one for each of its n shards."""
        return self.files.writing(shard, PATIENCE)

    def writers(self) -> list[str]:
        """Return who is writing to the store now: one process, or one for each shard that runs."""
        return [] if self._old else self.files.writers()

    def size(self) -> int:
        """Return the bytes of all files."""
        return Folder(self.path).size() if isinstance(self.path, Path) else self.files.size()

    def leftovers(self) -> list[Path]:
        """Return what killed writers left behind."""
        return [] if self._old else self.files.leftovers()

    def mend(self) -> Iterator[str]:
        """Sweep leftovers, restore what is damaged of all but tiles, unpack if need be; yield what was mended."""
        for file in self.leftovers():
            remove(file)
        for name in self.damaged_headers:
            self.files.write(name, self._header.to_bytes())
            yield f"{self.files.at(name)} was damaged and is restored"
        self.damaged_headers = []
        if not self.is_packed:
            self._packed.sweep()  # of a packing that was killed
            self.files.make(f"{OWN}/tiles")
            yield from self._renew_theory()
            return
        with contextlib.suppress(OSError, ValueError):
            for text in self._packed.restore_texts():
                yield f"{text} was damaged and is restored"
        damaged = self._packed.damaged()
        for lost in damaged:
            yield f"{lost} is damaged: its tiles are computed again"
        if damaged or self._packed.missing() or self.attrs["theory"] != theory(self.spec.method):
            self.unpack()
            yield from self._renew_theory()
        else:
            self._tiles.remove()  # of a packing that was killed when all was in place

    def unpack(self) -> None:
        """Make tiles of the arrays again, of all that are intact."""
        self.files.make(f"{OWN}/tiles")
        chunks, tiles = self._packed.tiling, self._tiles
        for number in range(len(chunks)):
            chunk = chunks[number]
            try:
                values = self._packed.read(number, self.spec.columns)
            except Damaged:
                continue
            assert values is not None
            for part in self.tiling.overlapping(chunk.ranges):
                tile = self.tiling[part]
                inside = Tile(
                    tuple((a - lo, b - lo) for (a, b), (lo, _) in zip(tile.ranges, chunk.ranges, strict=True))
                )
                result = {name: array[self.spec.full_index(name, inside)] for name, array in values.items()}
                if not (result["status"] == schema.Status.NOT_RUN).any():
                    tiles.write(tile, result)
        self._packed.remove()
        self.__dict__.pop("_packed")

    def pack(self) -> None:
        """Make plain Zarr of the tiles. Until all of it is in place the tiles stay."""
        if self.is_packed:
            return
        missing = sorted(set(range(len(self.tiling))) - self._tiles.done())
        self._packed.pack(self._tiles, self.attrs, missing)
        self._tiles.remove()

    @property
    def is_read_only(self) -> bool:
        """Whether this process cannot write to the store."""
        return self._old or not self.files.is_writable()

    def finish(self) -> None:
        """Pack the store if it is complete, once the right to write was given back; the last of several shards does."""
        if self._old or self.is_packed or not self.is_complete():
            return
        try:
            with self.files.writing(WHOLE, 0):
                self.pack()
        except StoreError:
            if not self.writers():
                raise

    def _renew_theory(self) -> Iterator[str]:
        """Compute theory's variables again where another version of the theory made them; yield a sentence then.

        It is a pass over what is done. The files of the tiles are replaced one by one, so it may be cut off anywhere.
        """
        here = theory(self.spec.method)
        if self.attrs["theory"] == here:
            return
        done = sorted(number for number in self.done() if not self._tiles.is_damaged(number))
        if done:
            yield f"{self.path} has another version of the theory: its rates are computed again"
        for number in done:
            result = self._tiles.read(number)
            assert result is not None
            simulated = {name: values for name, values in result.items() if not self.spec.column(name).theory}
            self._tiles.write(
                self.tiling[number], simulated | theory_of_tile(self.spec, self.tiling[number], simulated)
            )
        self._header = self._header.with_theory(here)
        for name in HEADERS:
            self.files.write(name, self._header.to_bytes())


def is_store(path: Path) -> bool:
    """Whether a sweep made this folder, and this olsbn can write to it."""
    return any((path / name).is_file() or (path / name).is_symlink() for name in HEADERS)


def _sweep_abandoned(path: Path) -> None:
    """Remove stores that were being made when their process was killed."""
    for work in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        if work.is_symlink() or not work.is_dir():
            continue
        with contextlib.suppress(OSError, StoreError):
            if not (work / LOCK).exists():  # killed, or a moment before, in which case it is made once more
                with contextlib.suppress(FileNotFoundError):
                    (work / OWN).rmdir()
                work.rmdir()
                continue
            with lock.locked(work / LOCK) as free:
                if free is not None:
                    remove(work)


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
        was, now = there.get(name), here.get(name)
        if was == now:
            continue
        if isinstance(was, list) and isinstance(now, list):
            if len(was) != len(now):
                was, now = f"{len(was)} values", f"{len(now)} values"
            else:
                was, now = next(pair for pair in zip(was, now, strict=True) if pair[0] != pair[1])
        was, now = ("none" if value is None else str(value)[:20] for value in (was, now))
        found.append(f"{name} is {was} there and {now} here")
    return "; ".join(found[:3]) or "the inputs are the same, but their hash is not"
