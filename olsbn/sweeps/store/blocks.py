"""Reading a result from blocks of cells, whatever the files are: regions for xarray, read when they are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from olsbn._validate import check_memory
from olsbn.dynamics.base import Arrays
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tile, Tiling

if TYPE_CHECKING:
    import xarray as xr


class Blocks(Protocol):
    """Blocks of cells that are read as a whole: tiles, or chunks of several tiles."""

    tiling: Tiling

    def read(self, number: int, names: Sequence[str]) -> Arrays | None:
        """Return variables of a block over all axes, or None if it is not there; raise `Damaged` if it is that."""
        ...


def region(spec: SweepSpec, blocks: Blocks, names: Sequence[str], ranges: Sequence[tuple[int, int]]) -> Arrays:
    """Return variables in a region of the grid, over all axes; cells of blocks that are not there are 'not run'."""
    tile = Tile(tuple(ranges))
    found = {name: values for name, values in spec.empty_block(tile.shape).items() if name in names}
    for number in blocks.tiling.overlapping(ranges):
        values = blocks.read(number, names)
        if values is None:
            continue
        there, here = [], []
        for (lo, hi), (first, end) in zip(ranges, blocks.tiling[number].ranges, strict=True):
            a, b = max(lo, first), min(hi, end)
            there.append((a - first, b - first))
            here.append((a - lo, b - lo))
        at, of = Tile(tuple(here)), Tile(tuple(there))
        indices: dict[int, Any] = {}  # with the axis of steps, and without
        for name, array in values.items():
            if array.ndim not in indices:
                indices[array.ndim] = spec.full_index(name, at), spec.full_index(name, of)
            into, part = indices[array.ndim]
            found[name][into] = array[part]
    return found


def dataset(spec: SweepSpec, attrs: dict[str, Any], read: Callable[[str, Any], np.ndarray]) -> xr.Dataset:
    """Return a Dataset whose values ``read(name, ranges)`` returns when they are used."""
    import xarray as xr
    from xarray.core.indexing import LazilyIndexedArray

    data = {}
    for name in spec.columns:
        array = LazilyIndexedArray(_lazy(spec, name, read))
        data[name] = xr.Variable(spec.dims_of(name), array, spec.column(name).attrs())
    return xr.Dataset(data, coords=spec.coords(), attrs=attrs)


def _lazy(spec: SweepSpec, name: str, read: Callable[[str, Any], np.ndarray]) -> Any:
    from xarray.backends import BackendArray
    from xarray.core import indexing

    full, kept = spec.full_shape(name), spec.kept_axes(name)
    at_step = 2 if len(full) > len(spec.shape) else None

    class Lazy(BackendArray):  # a class of xarray's, which is imported when it is needed
        shape = tuple(full[k] for k in kept)
        dtype = np.dtype(spec.column(name).dtype)

        def __getitem__(self, key: Any) -> Any:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.values)

        def values(self, key: tuple[Any, ...]) -> np.ndarray:
            picks = dict(zip(kept, key, strict=True))
            ranges, inner = [], []
            for k, n in enumerate(full):
                pick = picks.get(k, 0)
                chosen = range(n)[pick] if isinstance(pick, slice) else range(int(pick) % n, int(pick) % n + 1)
                lo, hi = (min(chosen), max(chosen) + 1) if len(chosen) else (0, 0)
                if k == at_step:  # steps are read as a whole
                    lo, hi = 0, n
                ranges.append((lo, hi))
                inner.append(
                    [i - lo for i in chosen] if len(chosen) != hi - lo or chosen.step != 1 else slice(0, hi - lo)
                )
            check_memory(f"the values of {name} read at once", math.prod(hi - lo for lo, hi in ranges), 8)
            grid = [r for k, r in enumerate(ranges) if k != at_step]
            if any(lo == hi for lo, hi in grid):
                out = np.empty([hi - lo for lo, hi in ranges], self.dtype)
            else:
                out = read(name, grid)
            for k, some in enumerate(inner):
                if isinstance(some, list):
                    out = out.take(some, axis=k)
            gone = tuple(k for k in range(len(full)) if k not in picks or not isinstance(picks[k], slice))
            return out.reshape([n for k, n in enumerate(out.shape) if k not in gone])

    return Lazy()
