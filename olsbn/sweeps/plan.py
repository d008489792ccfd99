"""What a sweep will cost, from a short calibration on this machine."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

from olsbn._validate import FloatArray
from olsbn.sweeps.compute import run_tile
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tile

_SAMPLE_CELLS = 64
_SAMPLE_MODE_STEPS = 1e9  # about half a second on a core
_TILE_OVERHEAD = 0.012  # seconds on a core to start a tile and to write and commit its chunks


@dataclasses.dataclass(frozen=True)
class Plan:
    """Size and cost of a sweep. `core_seconds` is an upper limit for ``stop="tol"``; `n_bytes` is uncompressed."""

    n_cells: int
    n_tiles: int
    tile_cells: int
    n_bytes: int
    core_seconds: float


def plan(spec: SweepSpec) -> Plan:
    """Time a sample of the cells, of the smallest and the largest dimension, and scale it up; takes a few seconds."""
    tiles = spec.tiles()
    dims = [spec.dimension(i) for i in range(spec.shape[0])]
    ends = {i: _seconds_a_cell(spec, i) for i in {int(np.argmin(dims)), int(np.argmax(dims))}}
    known = sorted((dims[i], seconds) for i, seconds in ends.items())
    cost = np.interp(dims, [d for d, _ in known], [s for _, s in known])
    seconds = float(cost.sum()) * math.prod(spec.shape[1:]) + _TILE_OVERHEAD * len(tiles)
    return Plan(spec.n_cells, len(tiles), math.prod(tiles.tile), spec.n_cells * spec.bytes_per_cell, seconds)


def _seconds_a_cell(spec: SweepSpec, dim: int) -> float:
    """Run a sample of the grid at one dimension, fewer steps of it if they are many, twice or more."""
    sample: dict[str, FloatArray] = {}
    room = _SAMPLE_CELLS
    for name, grid in spec.params.items():  # of every axis a few values, of the last one what is left of the sample
        n = room if name == tuple(spec.params)[-1] else min(8, room)
        sample[name] = grid[np.unique(np.linspace(0, grid.size - 1, min(grid.size, n)).round().astype(int))]
        room = max(1, room // sample[name].size)
    n_cells = math.prod(grid.size for grid in sample.values())
    work, n_steps = spec.method.work(spec.dimension(dim), spec.n_steps), spec.n_steps
    if work * n_cells > _SAMPLE_MODE_STEPS:
        n_steps = max(1, int(n_steps * _SAMPLE_MODE_STEPS / (work * n_cells)))
    part = dataclasses.replace(spec, params=sample, n_steps=n_steps, stop="steps", record=None)
    tile = Tile(((dim, dim + 1), (0, 1), *((0, grid.size) for grid in sample.values())))
    run_tile(dataclasses.replace(part, n_steps=min(n_steps, 2)), tile)  # compiles
    best, began = math.inf, time.monotonic()
    while best == math.inf or time.monotonic() - began < 0.2:
        before = time.perf_counter()
        run_tile(part, tile)
        best = min(best, time.perf_counter() - before)
    done = spec.method.work(spec.dimension(dim), n_steps)
    return best / n_cells * (work / done if done else 1)
