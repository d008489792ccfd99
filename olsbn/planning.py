"""What a sweep will cost, from a short calibration on this machine."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

from olsbn.grids import SweepSpec, Tile
from olsbn.tiles import run_tile

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
    rows = min(spec.eps_a.size, 8)
    columns = min(spec.eps.size, _SAMPLE_CELLS // rows)
    pick = {
        name: np.unique(np.linspace(0, grid.size - 1, n).round().astype(int))
        for name, grid, n in (("eps_a", spec.eps_a, rows), ("eps", spec.eps, columns))
    }
    n_cells = pick["eps_a"].size * pick["eps"].size
    n_steps = spec.n_steps
    if spec.method == "bngd":  # the cost of GD's closed form is not proportional to the steps
        n_steps = min(n_steps, max(1, int(_SAMPLE_MODE_STEPS / (n_cells * spec.dimension(dim)))))
    sample = dataclasses.replace(
        spec, eps=spec.eps[pick["eps"]], eps_a=spec.eps_a[pick["eps_a"]], n_steps=n_steps, stop="steps"
    )
    tile = Tile(dim, 0, (0, pick["eps_a"].size), (0, pick["eps"].size))
    run_tile(dataclasses.replace(sample, n_steps=min(n_steps, 2)), tile)  # compiles
    best, began = math.inf, time.monotonic()
    while best == math.inf or time.monotonic() - began < 0.2:
        before = time.perf_counter()
        run_tile(sample, tile)
        best = min(best, time.perf_counter() - before)
    return best / n_cells * (spec.n_steps / n_steps if n_steps else 1)
