"""Where the tiles of a sweep go: what a place for them must do, and the one in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from olsbn.dynamics.base import Arrays
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tile, Tiling

if TYPE_CHECKING:
    import xarray as xr


class Right(Protocol):
    """The right to write. `alone`: nobody else has it yet, so that what killed writers have left may be removed."""

    alone: bool

    def share(self) -> None:
        """Let the other shards in; from here on nothing but the own tiles may be written."""
        ...


class Sink(Protocol):
    """A place for the tiles of one sweep. `olsbn.testing.SinkTests` tries whether a class keeps these promises.

    Attributes
    ----------
    spec : SweepSpec
        The sweep it was made for, to the bit.
    tiling : Tiling
        How the grid is cut into tiles; tiles are known by their numbers.
    path : Path, str or None
        Where other processes find it, a folder or a URL; None if only this one can write to it.
    """

    @property
    def path(self) -> Path | str | None: ...  # noqa: D102
    @property
    def spec(self) -> SweepSpec: ...  # noqa: D102
    @property
    def tiling(self) -> Tiling: ...  # noqa: D102

    def done(self) -> set[int]:
        """Return the numbers of the tiles that were written in full."""
        ...

    def damaged(self, numbers: Sequence[int]) -> Iterator[tuple[int | None, Path | str]]:
        """Yield which of these finished tiles cannot be trusted, with a file; None for what belongs to no tile."""
        ...

    def write(self, tile: Tile, result: Arrays) -> None:
        """Write a tile: afterwards it is there in full, or, if this fails or is killed, as before."""
        ...

    def read(self, tile: Tile) -> Arrays:
        """Return the variables in a region, given like a tile, over all axes; cells without a tile are not run."""
        ...

    def writing(self, shard: tuple[int, int]) -> AbstractContextManager[Right]:
        """Hold the right to write: one process for all tiles, or one for each of the n shards (i, n)."""
        ...

    def mend(self) -> Iterator[str]:
        """Remove leftovers and restore what belongs to no tile; yield a sentence for each thing mended."""
        ...

    def finish(self) -> None:
        """Bring the result into its last form if all tiles are there."""
        ...

    def dataset(self) -> xr.Dataset:
        """Return the result so far."""
        ...


class Alone:
    """The right to write to what no other process has."""

    alone = True

    def share(self) -> None:
        """Do nothing: there is nobody else."""


class Memory:
    """Arrays of this process."""

    path = None

    def __init__(self, spec: SweepSpec) -> None:
        self.spec, self.tiling = spec, spec.tiles()
        self._arrays = spec.empty()
        self._done: set[int] = set()

    def done(self) -> set[int]:
        """Return the numbers of the tiles that were written."""
        return set(self._done)

    def damaged(self, numbers: Sequence[int]) -> Iterator[tuple[int | None, Path | str]]:
        """Yield nothing."""
        return iter(())

    def write(self, tile: Tile, result: Arrays) -> None:
        """Write a tile."""
        for name, array in self._arrays.items():
            array[self.spec.full_index(name, tile)] = result[name]
        self._done.add(self.tiling.number(self.tiling.block(tile)))

    def read(self, tile: Tile) -> Arrays:
        """Return the variables in a region."""
        return {name: array[self.spec.full_index(name, tile)].copy() for name, array in self._arrays.items()}

    @contextlib.contextmanager
    def writing(self, shard: tuple[int, int]) -> Iterator[Right]:
        """Hold the right to write."""
        yield Alone()

    def mend(self) -> Iterator[str]:
        """Yield nothing."""
        return iter(())

    def finish(self) -> None:
        """Do nothing."""

    def dataset(self) -> xr.Dataset:
        """Return the result so far."""
        return self.spec.dataset(self._arrays)
