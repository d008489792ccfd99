"""What a sweep will cost: samples of its cells are run on this machine, and their results are compressed."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.sweeps.compute import run_tile
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store.container import compress
from olsbn.sweeps.store.header import Header
from olsbn.sweeps.store.packed import Packed
from olsbn.sweeps.store.places import Folder
from olsbn.sweeps.tiling import Tile

_SAMPLE_CELLS = 64, 2048  # at least, at most
_SAMPLE_MODE_STEPS = 2e8, 1e9  # as many cells as take the first; fewer steps where the least number takes the second
_DIMENSIONS = 4  # so many of them are sampled
_BEST_OF = 0.2  # seconds within which a sample is repeated
_COMMIT = 0.001  # seconds on a core to compress and write a tile, and to read it again when the store is packed
_CELL_WRITTEN = 1e-6  # seconds on a core that the results of a cell take there
_START = 1.5  # seconds until the command computes
_BLOCK, _METADATA = 4096, 2000  # bytes of a block of the disk, and of a file of metadata


@dataclasses.dataclass(frozen=True)
class Plan:
    """Size and cost of a sweep.

    `core_seconds` is the work that is spread over threads, an upper limit for ``stop="tol"``, and `alone_seconds` what
    one thread does before and after it. `n_bytes` is that of a finished store in blocks of the disk, `n_bytes_written`
    the most that there is at once. `n_files` counts files and folders at the most.
    """

    n_cells: int
    n_tiles: int
    tile_cells: int
    n_bytes: int
    n_bytes_written: int
    n_files: int
    core_seconds: float
    alone_seconds: float

    def wall_seconds(self, workers: int) -> float:
        """Return how long the sweep takes on so many threads, all of them on processors of their own."""
        longest = self.core_seconds / self.n_tiles
        return max(self.core_seconds / min(workers, self.n_tiles), longest) + self.alone_seconds


@dataclasses.dataclass
class _Sample:
    """What a sample of one dimension took: seconds a cell, a problem, a tile, and bytes a cell of each variable."""

    cell: float
    problem: float
    tile: float
    sizes: dict[str, float]


def plan(spec: SweepSpec) -> Plan:
    """Run samples of a sweep, of its smallest and largest dimension and some between; takes a few seconds."""
    tiles = spec.tiles()
    dims = [spec.dimension(i) for i in range(spec.shape[0])]
    order = np.argsort(dims, kind="stable")
    picked = {int(order[k]) for k in np.linspace(0, len(dims) - 1, min(_DIMENSIONS, len(dims))).round().astype(int)}
    samples = {i: _sample(spec, i) for i in sorted(picked)}

    def over_dims(name: str) -> Any:
        known = sorted((dims[i], max(getattr(sample, name), 1e-12)) for i, sample in samples.items())
        return np.exp(np.interp(np.log(dims), np.log([d for d, _ in known]), np.log([s for _, s in known])))

    trials, each = spec.shape[1], math.prod(spec.shape[1:])
    seconds = float(over_dims("cell").sum()) * each + float(over_dims("problem").sum()) * trials
    seconds += float(over_dims("tile").sum()) * len(tiles) / len(dims)
    alone = _START + _COMMIT / 2 * len(tiles) + _CELL_WRITTEN * spec.n_cells
    sizes = {name: float(np.mean([sample.sizes[name] for sample in samples.values()])) for name in spec.columns}
    packed, files, folders = _packed(spec, sizes)
    header = 2 * _blocks(len(Header.of(spec, "").to_bytes()))
    cells = math.prod(tiles.tile)
    written = len(tiles) * _blocks(100 + cells * sum(sizes.values())) + header
    return Plan(
        spec.n_cells, len(tiles), cells, packed + header, packed + written, max(len(tiles), 1) + files + folders + 6,
        seconds + _COMMIT / 2 * len(tiles), alone,
    )  # fmt: skip


def _packed(spec: SweepSpec, sizes: dict[str, float]) -> tuple[int, int, int]:
    """Return the bytes, files and folders of the arrays of a finished store."""
    arrays = Packed(Folder(Path()), spec, spec.tiles(), "")
    n_bytes = files = folders = 0
    for name in spec.columns:
        names = {arrays.file_of(name, number) for number in range(len(arrays.shards))}
        inner = {"/".join(file.split("/")[:k]) for file in names for k in range(1, file.count("/") + 1)}
        files, folders = files + len(names) + 1, folders + len(inner)
        n_bytes += len(names) * _blocks(spec.n_cells * sizes[name] / len(names)) + _blocks(_METADATA)
    for _, values, _ in spec.coords().values():
        files, folders = files + 2, folders + 2
        n_bytes += _blocks(values.nbytes) + _blocks(_METADATA)
    texts = _METADATA * (
        len(spec.columns) + len(spec.coords()) + 2
    )  # in the manifest, and in the consolidated metadata
    return n_bytes + 2 * _blocks(texts) + (folders + 2) * _BLOCK + 2 * _BLOCK, files + 5, folders + 3


def _blocks(n_bytes: float) -> int:
    return math.ceil(n_bytes / _BLOCK) * _BLOCK


def _sample(spec: SweepSpec, dim: int) -> _Sample:
    """Run a sample of the grid at one dimension, of fewer steps if they are many."""
    work, n_steps = spec.method.work(spec.dimension(dim), spec.n_steps), spec.n_steps
    least, most = _SAMPLE_CELLS
    params = _spread(spec.params, int(min(most, max(least, _SAMPLE_MODE_STEPS[0] // max(work, 1)))))
    shape = tuple(grid.size for grid in params.values())
    n_cells = math.prod(shape)
    if work * n_cells > _SAMPLE_MODE_STEPS[1]:
        n_steps = max(1, int(n_steps * _SAMPLE_MODE_STEPS[1] / (work * n_cells)))
    steps = None if spec.record is None else tuple(sorted({min(step, n_steps) for step in spec.record}))
    part = dataclasses.replace(spec, params=params, n_steps=n_steps, record=steps, tile=None)
    few = dataclasses.replace(part, n_steps=min(n_steps, 2), record=steps and tuple(sorted({min(s, 2) for s in steps})))
    whole = tuple((0, n) for n in shape)
    first, last = ((trial, trial + 1) for trial in (0, spec.shape[1] - 1))
    one = Tile(((dim, dim + 1), first, *((0, 1) for _ in shape)))
    run_tile(few, Tile(((dim, dim + 1), first, *whole)))  # compiles
    other = Tile(((dim, dim + 1), last, *one.ranges[2:]))
    new, _ = _timed(few, other, once=True)  # another problem, which is made and prepared; the same one if there is one
    again, _ = _timed(few, one)
    seconds, result = _timed(part, Tile(((dim, dim + 1), first, *whole)))
    done = spec.method.work(spec.dimension(dim), n_steps)
    steps_kept = len(spec.record or (0,)) / len(steps or (0,))
    sizes = {
        name: len(compress(values)) / n_cells * (steps_kept if values.ndim > len(spec.shape) else 1)
        for name, values in result.items()
    }
    cell = max(0.0, seconds - again) / n_cells * (work / done if done else 1)
    return _Sample(cell, max(0.0, new - again) if spec.shape[1] > 1 else _first(spec, dim), again, sizes)


def _first(spec: SweepSpec, dim: int) -> float:
    """Return the seconds that it takes to make a problem, of which there is one, as the sweep's kernels want it."""
    before = time.process_time()
    source = spec.source
    problem = source if not callable(source) else source(spec.dims[dim] if spec.dims else 1, (spec.trials or (0,))[0])
    spec.method.prepare(problem, **spec.options)
    return time.process_time() - before


def _timed(spec: SweepSpec, tile: Tile, once: bool = False) -> tuple[float, dict[str, np.ndarray]]:
    """Return the least time on processors that a tile takes, whatever else the machine does, and its results."""
    best, began = math.inf, time.monotonic()
    while best == math.inf or (time.monotonic() - began < _BEST_OF and not once):
        before = time.process_time()
        result = run_tile(spec, tile)
        best = min(best, time.process_time() - before)
    return best, result


def _spread(params: Any, room: int) -> dict[str, FloatArray]:
    """Return parts of the axes, spread evenly, with about as many cells as there is room for."""
    found: dict[str, FloatArray] = {}
    for name, grid in params.items():  # of every axis a few values, of the last one what is left of the sample
        last = name == tuple(params)[-1]
        n = min(grid.size, room if last else max(8, int(room**0.5)), room)
        found[name] = grid[np.unique(np.linspace(0, grid.size - 1, n).round().astype(int))]
        room = max(1, room // found[name].size)
    return found
