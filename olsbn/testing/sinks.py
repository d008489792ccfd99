"""What a place for the tiles of a sweep must do, as tests.

Subclass `SinkTests`, say how a sink is made and opened again, and let pytest collect the class.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olsbn.dynamics.registry import DEFAULT
from olsbn.problems import ProblemFamily
from olsbn.schema import Status
from olsbn.sweeps.compute import run_tile
from olsbn.sweeps.running import digest, fill_sink
from olsbn.sweeps.sinks import Sink
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tile


class SinkTests:
    """Tests of a `Sink`. A subclass overrides `make`, and `again` if the tiles outlive the object."""

    def make(self, spec: SweepSpec, folder: Path) -> Sink:
        """Return a new sink for a sweep."""
        raise NotImplementedError

    def again(self, sink: Sink, folder: Path) -> Sink:
        """Return another object for the same tiles."""
        return sink

    @pytest.fixture
    def spec(self) -> SweepSpec:
        """24 cells in 4 tiles, with recorded steps."""
        family = ProblemFamily("logspace", 9.0)
        grids = {"eps": [0.1, 1.0, 10.0], "eps_a": [0.5, 1.0]}
        spec = SweepSpec.checked(
            family, DEFAULT, grids, dim=[2, 3], trial=[0, 4], n_steps=9, tol=1e-3, record=[0, 9], stop="steps"
        )
        return dataclasses.replace(spec, tile=(1, 2, *spec.shape[2:-2], 1, 3))

    @pytest.fixture
    def sink(self, spec: SweepSpec, tmp_path: Path) -> Sink:
        """A new sink."""
        return self.make(spec, tmp_path)

    def fill(self, sink: Sink, shard: tuple[int, int] = (1, 1), **options: Any) -> int:
        """Run what a sink lacks."""
        say = options.pop("say", lambda text: None)
        return fill_sink(sink, shard, workers=2, client=None, progress=False, say=say)

    def test_it_keeps_the_sweep_to_the_bit(self, sink: Sink, spec: SweepSpec) -> None:  # noqa: D102
        assert sink.spec.facts() == spec.facts() and sink.spec.fingerprint == spec.fingerprint
        assert sink.tiling.grid == spec.shape and not sink.done()
        assert (sink.dataset()["status"] == Status.NOT_RUN).all()

    def test_a_tile_comes_back(self, sink: Sink, tmp_path: Path) -> None:  # noqa: D102
        tile = sink.tiling[len(sink.tiling) - 1]
        result = run_tile(sink.spec, tile)
        with sink.writing((1, 1)):
            sink.write(tile, result)
        for one in (sink, self.again(sink, tmp_path)):
            assert one.done() == {len(one.tiling) - 1} and not list(one.damaged(sorted(one.done())))
            found = one.read(tile)
            assert set(found) == set(result)
            for name, values in result.items():
                np.testing.assert_array_equal(found[name], values)
        whole = Tile(tuple((0, n) for n in sink.spec.shape))
        assert (sink.read(whole)["status"] != Status.NOT_RUN).sum() == tile.n_cells

    def test_it_ends_with_the_same_bits(self, sink: Sink, tmp_path: Path) -> None:  # noqa: D102
        n = len(sink.tiling)
        expected = self.expected(sink.spec)
        assert self.fill(sink) == n and sink.done() == set(range(n))
        assert digest(sink.dataset()) == expected
        again = self.again(sink, tmp_path)
        assert self.fill(again) == 0 and digest(again.dataset()) == expected

    def test_shards_make_one_result(self, sink: Sink, tmp_path: Path) -> None:  # noqa: D102
        counts = [self.fill(self.again(sink, tmp_path), (i, 3)) for i in (2, 3, 1)]
        assert sum(counts) == len(sink.tiling)
        assert digest(self.again(sink, tmp_path).dataset()) == self.expected(sink.spec)

    def test_it_goes_on_where_it_was_stopped(self, sink: Sink, tmp_path: Path) -> None:  # noqa: D102
        with sink.writing((1, 1)):
            for number in (0, 3):
                sink.write(sink.tiling[number], run_tile(sink.spec, sink.tiling[number]))
        again = self.again(sink, tmp_path)
        assert self.fill(again) == len(sink.tiling) - 2
        assert digest(again.dataset()) == self.expected(sink.spec)

    def test_a_second_writer_is_refused(self, sink: Sink, tmp_path: Path) -> None:  # noqa: D102
        if sink.path is None:
            return  # nobody else can reach it
        with sink.writing((1, 1)), pytest.raises(ValueError, match="is being written"):
            self.fill(self.again(sink, tmp_path))

    def expected(self, spec: SweepSpec) -> str:
        """Return the digest of the sweep."""
        arrays = spec.empty()
        for tile in spec.tiles():
            for name, values in run_tile(spec, tile).items():
                arrays[name][spec.full_index(name, tile)] = values
        return digest(spec.dataset(arrays))
