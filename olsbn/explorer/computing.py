"""The computation of a view: coarse, then fine, in tiles that can be cancelled at any time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import maps
from olsbn.dynamics.registry import METHODS
from olsbn.explorer import shown
from olsbn.explorer.view import Given, View
from olsbn.sweeps.compute import run_tile
from olsbn.sweeps.tiling import Tile

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.sweeps.spec import SweepSpec

# The first picture has every n-th cell such that it takes at most about so many mode-steps: a tenth of a second.
_FIRST_WORK = 2e8
# A tile takes about so many, a tenth of a second, and is no smaller than a block of the kernel.
_TILE_WORK, _TILE_CELLS, _TILE_CELLS_MOST = 4e8, 32, 16384
# From one picture to the next the distance of cells shrinks by this.
_FINER = 4


@dataclass(frozen=True)
class Part:
    """A tile of one pass: cells of the whole grid at every `stride`-th place, from row `y` and column `x` on."""

    stride: int
    spec: SweepSpec
    tile: Tile
    last: bool


class Computation:
    """The numbers of a view, filled in pass by pass: every column over (y, x), of cells not yet computed a near one's.

    `parts` yields what is to be computed, in order; `compute` computes one, on any thread; `put` takes it in.
    """

    def __init__(self, view: View, given: Given) -> None:
        self.view = view
        self.cancelled = np.zeros(1, np.uint8)
        self.problem = view.problem_of(given)
        self.shape = view.y.n, view.x.n
        self.x, self.y = view.x.values(), view.y.values()
        self._given, self.method = given, METHODS[view.method]
        self.spec = view.spec(given)
        self.attrs = self.spec.attrs()
        self.cell_work = max(self.spec.cell_work(0), 1.0)
        self.stride = np.zeros(self.shape, np.int32)  # from which pass a cell's numbers are; 0: none yet
        self.columns: dict[str, np.ndarray] = {}
        self.done_work, self.started = 0.0, time.perf_counter()
        self.strides = self._strides()
        self.total_work = sum(self._cells_of(stride) * self.cell_work for stride in self.strides)
        self.finished = False

    def _cells_of(self, stride: int) -> int:
        return math.prod(len(range(stride // 2, n, stride)) for n in self.shape)

    def _strides(self) -> list[int]:
        """Return the distances of the cells of each pass, down to 1."""
        found = [1]
        while math.prod(self.shape) / found[-1] ** 2 * self.cell_work > _FIRST_WORK and min(self.shape) > 4 * found[-1]:
            found.append(found[-1] * _FINER)
        return found[::-1]

    def cancel(self) -> None:
        """Stop: kernels that run return within milliseconds."""
        self.cancelled[0] = 1

    def parts(self) -> Iterator[Part]:
        """Yield the tiles of all passes, those near the middle first."""
        for stride in self.strides:
            spec = self.spec if stride == 1 else self.view.spec(self._given, stride)
            tiling = spec.tiles(self._tile_sizes(spec))
            middle = np.array(tiling.counts) / 2 - 0.5
            order = sorted(range(len(tiling)), key=lambda k: float(np.abs(tiling.block(tiling[k]) - middle).max()))
            for place, number in enumerate(order):
                yield Part(stride, spec, tiling[number], last=place == len(order) - 1)

    def _tile_sizes(self, spec: SweepSpec) -> tuple[int, ...]:
        cells = int(min(_TILE_CELLS_MOST, max(_TILE_CELLS, _TILE_WORK / self.cell_work)))
        grid = [max(n, 1) for n in spec.shape]
        room, sizes = cells, []
        long = [n for n in grid if n > 1]
        for n in reversed(grid):
            # rows of a tile are at most a few times as long as it is high
            size = min(n, room if len(long) < 2 else max(16, math.isqrt(2 * cells))) if n > 1 else 1
            size = min(size, max(room, 1))
            sizes.append(size)
            room = max(1, room // size)
        return 1, *reversed(sizes[:-1])

    def compute(self, part: Part) -> dict[str, np.ndarray]:
        """Compute a tile: its columns over (y, x)."""
        block = run_tile(part.spec, part.tile, self.cancelled)
        return {name: self._upright(part.spec, name, values) for name, values in block.items()}

    def _upright(self, spec: SweepSpec, name: str, values: np.ndarray) -> np.ndarray:
        """Return a column over (y, x): without axes that have one value, in the order of the picture."""
        found = values.reshape([values.shape[k] for k in spec.kept_axes(name)])
        return found if spec.axes == (self.view.y.name, self.view.x.name) else found.T

    def put(self, part: Part, block: dict[str, np.ndarray]) -> tuple[slice, slice]:
        """Take a tile in and return which cells of the whole grid it stands for."""
        rows, columns = self._place(part)
        # the last tiles of a pass may come after the first ones of the next
        coarser = (self.stride[rows, columns] == 0) | (self.stride[rows, columns] >= part.stride)
        for name, values in block.items():
            if name not in self.columns:
                self.columns[name] = np.full(self.shape, self.method.variables[name].empty, values.dtype)
            s = part.stride
            whole = values if s == 1 else np.repeat(np.repeat(values, s, axis=0), s, axis=1)
            target = self.columns[name][rows, columns]
            whole = np.pad(
                whole, [(0, max(0, t - w)) for t, w in zip(target.shape, whole.shape, strict=True)], mode="edge"
            )
            target[coarser] = whole[: target.shape[0], : target.shape[1]][coarser]
        self.stride[rows, columns][coarser] = part.stride
        self.done_work += part.tile.n_cells * self.cell_work
        return rows, columns

    def _place(self, part: Part) -> tuple[slice, slice]:
        names = part.spec.all_axes
        ends = []
        for axis, n in ((self.view.y, self.shape[0]), (self.view.x, self.shape[1])):
            first, last = part.tile.ranges[names.index(axis.name)]
            end = n if last == len(range(part.stride // 2, n, part.stride)) else last * part.stride
            ends.append(slice(first * part.stride, min(end, n)))
        return ends[0], ends[1]

    # ------------------------------------------------------------------ what is asked of it

    def at(self, x: float, y: float) -> tuple[int, int]:
        """Return row and column of the cell nearest to a point."""
        found = []
        for axis, value in ((self.view.y, y), (self.view.x, x)):
            lo, hi, at = axis.lo, axis.hi, value
            if axis.log:
                lo, hi, at = math.log(lo), math.log(hi), math.log(max(value, 1e-300))
            found.append(int(np.clip(round((at - lo) / (hi - lo) * (axis.n - 1)), 0, axis.n - 1)))
        return found[0], found[1]

    def marks(self) -> list[dict[str, Any]]:
        """Return what theory marks on the axes: lines, and the predicted range of good learning rates."""
        empty = self.labels()
        found = [
            {"param": mark.param, "values": list(mark.values), "names": [shown.plain(name) for name in mark.names],
             "label": shown.plain(mark.label), "exact": mark.exact}
            for mark in maps.marks(empty)
        ]  # fmt: skip
        maps.add_windows(empty, self.problem)
        if "window" in empty.attrs:
            label = f"predicted range that reaches {self.view.tol:g}"
            found.append(
                {"param": "eps", "values": list(empty.attrs["window"]), "names": ["", ""], "label": label,
                 "exact": False, "range": True}
            )  # fmt: skip
        return found

    def labels(self) -> xr.Dataset:
        """Return the labels of the result, without its numbers."""
        import xarray as xr

        return xr.Dataset(coords=self.spec.coords(), attrs=dict(self.attrs))

    def dataset(self) -> xr.Dataset:
        """Return the finished numbers as `olsbn.sweep` does."""
        if not self.finished:
            raise ValueError("the map must be finished to be saved, got one that is being computed")
        arrays = {}
        names = self.method.variables
        upright = self.spec.axes == (self.view.y.name, self.view.x.name)
        for name in (name for name in names if name in self.columns):
            values = self.columns[name] if upright else self.columns[name].T
            arrays[name] = values.reshape(self.spec.full_shape(name))
        return self.spec.dataset(arrays)
