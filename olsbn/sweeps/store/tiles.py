"""A store while it is written: one file a tile, which is there in full or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from olsbn.dynamics.base import Arrays
from olsbn.files import UnsafeFile
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store.container import compress, decompress, seal, unseal
from olsbn.sweeps.store.errors import Damaged
from olsbn.sweeps.store.places import OWN, Place
from olsbn.sweeps.tiling import Tile, Tiling

_FOLDER = f"{OWN}/tiles"


class Tiles:
    """The files of tiles.

    A file holds the length of each variable, then the variables, compressed. Its checksum takes in the sweep, the
    engine, the cut into tiles and the number of the tile: a file that is moved to another place is found.
    """

    def __init__(self, files: Place, spec: SweepSpec, tiling: Tiling, place: str) -> None:
        self.files, self.spec, self.tiling, self._place = files, spec, tiling, place
        self.names = spec.columns
        cells = np.prod(tiling.tile) * len(spec.record or (0,))
        # zstd adds little to what it cannot compress
        self._most = 4096 + int(cells * sum(8.1 + 0.1 * len(name) for name in self.names))

    def file(self, number: int) -> Path | str:
        """Return the file of a tile."""
        return self.files.at(_name(number))

    def done(self) -> set[int]:
        """Return the numbers of the tiles that are there."""
        names = self.files.names(_FOLDER)
        return {number for name in names if name.isdecimal() and (number := int(name)) < len(self.tiling)}

    def write(self, tile: Tile, result: Arrays) -> None:
        """Write a tile and commit it."""
        number = self.tiling.number(self.tiling.block(tile))
        parts = [compress(result[name]) for name in self.names]
        lengths = np.array([len(part) for part in parts], "<u4").tobytes()
        self.files.write(_name(number), seal(f"{self._place} {number}", [lengths, *parts]))

    def read(self, number: int, names: Sequence[str] | None = None) -> Arrays | None:
        """Return variables of a tile, all of them unless named; None if it is not there."""
        try:
            body = unseal(f"{self._place} {number}", self.files.read(_name(number), self._most))
            ends = 4 * len(self.names) + np.cumsum(np.frombuffer(body[: 4 * len(self.names)], "<u4"), dtype=np.int64)
            shape, found, at = self.tiling[number].shape, {}, 4 * len(self.names)
            for name, end in zip(self.names, ends.tolist(), strict=True):
                if names is None or name in names:
                    part = body[at:end]
                    found[name] = decompress(part, self.spec.full_shape(name, shape), self.spec.column(name).dtype)
                at = end
        except FileNotFoundError:
            return None
        except (Damaged, UnsafeFile) as err:
            raise Damaged(
                f"{self.file(number)} is damaged ({err}); the command that made the store, run again, restores it"
            ) from err
        except (ValueError, TypeError) as err:
            raise Damaged(f"{self.file(number)} does not hold a tile ({err})") from err
        return found

    def is_damaged(self, number: int) -> bool:
        """Whether the file of a tile that is there fails its checksum."""
        try:
            unseal(f"{self._place} {number}", self.files.read(_name(number), self._most))
        except (OSError, ValueError):
            return True
        return False

    def remove(self) -> None:
        """Remove all tiles."""
        self.files.remove(OWN, ["tiles"])


def _name(number: int) -> str:
    return f"{_FOLDER}/{number:06d}"
