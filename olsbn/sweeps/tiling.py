"""A grid cut into tiles: blocks of cells of one dimension, small enough to be lost and large enough to be worth it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

# A tile is at most this many cells, and about this much work (1 to 3 s on a core), so that a sweep shows progress,
# loses little when it is killed and keeps all threads busy to the end; it is no smaller than one block of the kernel,
# and there are not so many of them that a store drowns in files. It is no smaller than some blocks either, for lanes of
# cells that end early have to be filled again, unless that left less than a few tiles.
_TILE_CELLS = 65536
_TILE_MODE_STEPS = 4e9
_TILE_CELLS_LEAST = 32
_TILE_MODE_STEPS_LEAST = 2e8
_TILES_LEAST = 8
_TILE_MODE_STEPS_SMALL = 2e6  # less than this is not worth a tile, which costs about a millisecond
_TILES = 30_000


@dataclass(frozen=True)
class Tile:
    """A block of cells: along each axis of the grid its first position and the one after its last. One dimension."""

    ranges: tuple[tuple[int, int], ...]

    @property
    def dim(self) -> int:
        """The position of its dimension."""
        return self.ranges[0][0]

    @property
    def trials(self) -> range:
        """The positions of its trials."""
        return range(*self.ranges[1])

    @property
    def index(self) -> tuple[slice, ...]:
        """Where the tile lies in arrays with all axes."""
        return tuple(slice(*ends) for ends in self.ranges)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes along all axes."""
        return tuple(end - first for first, end in self.ranges)

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
        blocks = self._block(number % len(self))
        return Tile(
            tuple((i * size, min((i + 1) * size, n)) for i, size, n in zip(blocks, self.tile, self.grid, strict=True))
        )

    def __iter__(self) -> Iterator[Tile]:
        return (self[i] for i in range(len(self)))

    def block(self, tile: Tile) -> tuple[int, ...]:
        """Return where a tile stands among the tiles, along each axis."""
        return tuple(first // size for (first, _), size in zip(tile.ranges, self.tile, strict=True))

    def number(self, block: Sequence[int]) -> int:
        """Return the number of the tile that stands at `block`."""
        found = 0
        for i, count in zip(block, self.counts, strict=True):
            found = found * count + i
        return found

    def overlapping(self, region: Sequence[tuple[int, int]]) -> Iterator[int]:
        """Yield the numbers of the tiles that have cells in a region, which is given like the ranges of a tile."""
        blocks = [range(lo // size, -(-hi // size)) for (lo, hi), size in zip(region, self.tile, strict=True)]
        return (self.number(block) for block in itertools.product(*blocks))

    def _block(self, number: int) -> tuple[int, ...]:
        found = []
        for count in reversed(self.counts):
            number, i = divmod(number, count)
            found.append(i)
        return tuple(reversed(found))


def tile_shape(grid: tuple[int, ...], work: float) -> tuple[int, ...]:
    """Return the sizes of a tile of a grid whose first axis is the dimension, where a cell takes `work` mode-steps."""
    n_cells, work = math.prod(grid), work + 1
    cells = int(min(_TILE_CELLS, max(_TILE_CELLS_LEAST, _TILE_MODE_STEPS // work)))
    # at least a few tiles for each thread, whatever their number may be on another machine
    enough = min(int(_TILE_MODE_STEPS_LEAST // work), -(-n_cells // _TILES_LEAST))
    enough = max(enough, int(_TILE_MODE_STEPS_SMALL // work))
    cells = min(cells, max(_TILE_CELLS_LEAST, enough, -(-n_cells // 64)))
    cells = min(_TILE_CELLS, max(cells, -(-n_cells // _TILES)))
    sizes = []
    for n in reversed(grid[1:]):
        size = _even(n, cells)
        sizes.append(size)
        cells //= size
    return 1, *reversed(sizes)


def blocks_of(tiling: Tiling, most: int) -> tuple[int, ...]:
    """Return the sizes of blocks of whole tiles with at most `most` cells, the last axes whole first."""
    sizes, room = list(tiling.tile), max(1, most // math.prod(tiling.tile))
    for axis in reversed(range(len(sizes))):
        n = _even(tiling.counts[axis], room)
        sizes[axis] *= n
        room //= n
        if n < tiling.counts[axis]:
            break
    return tuple(sizes)


def _even(n: int, most: int) -> int:
    """Return the size of the parts when n things are cut into as few parts of at most `most` as will do."""
    return -(-n // -(-n // max(1, most)))
