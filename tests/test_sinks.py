"""The sinks of the package keep the promises of `olsbn.testing.SinkTests`."""

import dataclasses

import numpy as np
import pytest

from olsbn.problems import OLSProblem
from olsbn.sweeps import running, toml
from olsbn.sweeps.sinks import Memory
from olsbn.sweeps.store import Store, StoreError
from olsbn.testing import SinkTests


class TestMemory(SinkTests):
    def make(self, spec, folder):
        return Memory(spec)


class TestStore(SinkTests):
    def make(self, spec, folder):
        Store.create(folder / "s.zarr", spec)
        return Store(folder / "s.zarr")

    def again(self, sink, folder):
        return Store(folder / "s.zarr")


# ------------------------------------------------------------------ processors of several kinds


def rounded_otherwise(spec):
    """Return the sweep as another processor makes it: the last bits of the eigenvalues differ."""
    problem = spec.source
    other = OLSProblem(np.nextafter(problem.eigvals, np.inf), problem.u, problem.w0, a0=problem.a0,
                       target_var=problem.target_var, label=problem.label)  # fmt: skip
    return dataclasses.replace(spec, source=other)


def test_shards_on_other_processors_take_the_problem_from_the_store(tmp_path):
    (tmp_path / "t.csv").write_text("x,z,y\n1,2,3\n2,3,1\n3,5,2\n4,1,1\n")
    config = tmp_path / "c.toml"
    config.write_text('n_steps = 9\neps = "0.1:10:64"\n[problem]\ncsv = "t.csv"\ntarget = "y"')
    spec, path = toml.load(config), tmp_path / "s.zarr"
    spec = dataclasses.replace(spec, tile=(16,))
    other = rounded_otherwise(spec)
    assert other.fingerprint != spec.fingerprint
    running.fill(spec, path, shard=(1, 2), progress=False)
    store, n_run = running.fill(other, path, shard=(2, 2), progress=False)
    assert n_run == 2 and store.is_complete() and store.spec.fingerprint == spec.fingerprint
    whole, _ = running.fill(spec, tmp_path / "whole.zarr", progress=False)
    assert running.digest(store.dataset()) == running.digest(whole.dataset())
    # other data, and a problem that does not say where it is from, are still refused
    (tmp_path / "t.csv").write_text("x,z,y\n1,2,3\n2,3,1\n3,5,2\n4,1,2\n")
    for stranger in (toml.load(config), dataclasses.replace(other, origin=None)):
        with pytest.raises(StoreError, match="holds another sweep"):
            running.fill(stranger, path, progress=False)
