"""Dask: the same bytes, and nothing finished is lost with a worker, the scheduler or the client."""

import signal
import time

import crash
import pytest
import waiting
from dask_cluster import Cluster

from olsbn.sweeps import running
from olsbn.sweeps.running import digest
from olsbn.sweeps.store import Store, StoreError

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", protocol="inproc://"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(2, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return digest(crash.fill(crash.small_sweep(), tmp_path_factory.mktemp("x") / "x.zarr")[0].dataset())


def test_with_a_store(client, expected, tmp_path):
    store, n_run = running.fill(crash.small_sweep(), tmp_path / "s.zarr", client=client, progress=False)
    assert n_run == 12 and digest(store.dataset()) == expected
    assert running.fill(crash.small_sweep(), tmp_path / "s.zarr", client=client, progress=False)[1] == 0


def test_without_a_store(client, expected):
    spec = crash.small_sweep()
    rates = {name: spec.params[name] for name in ("eps_a", "eps")}
    ds = running.sweep(
        spec.source, **rates, dim=spec.dims, trial=spec.trials, n_steps=spec.n_steps, tol=spec.tol, client=client,
        progress=False,
    )  # fmt: skip
    assert digest(ds) == expected


def test_workers_must_see_the_store(client, tmp_path, monkeypatch):
    from olsbn.sweeps import dask as ours

    ours._stored.cache_clear()
    monkeypatch.setattr(ours, "_stored", lambda *args: Store(tmp_path / "elsewhere"))
    with pytest.raises(StoreError, match=r"the worker .* does not see the store .* does not exist"):
        running.fill(crash.small_sweep(), tmp_path / "s.zarr", client=client, progress=False)


def test_workers_must_run_the_same_engine_on_the_same_inputs(tmp_path):
    from olsbn.sweeps import dask as ours

    store, _ = crash.fill(crash.small_sweep(), tmp_path / "s.zarr")
    right = str(store.path), store.attrs["sweep_fingerprint"], store.attrs["engine"]
    assert ours._cannot_write(*right) == ""
    assert "has another version of the engine" in ours._cannot_write(*right[:2], "another")
    assert "other inputs" in ours._cannot_write(right[0], "another", right[2])


def test_errors_of_a_tile_arrive(client, tmp_path, monkeypatch):
    def full(store, tile, result):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(OSError, match=r"No space left on device; 0 of 12 tiles are kept"):
        running.fill(crash.small_sweep(), tmp_path / "s.zarr", client=client, progress=False)


def test_kills(cluster, tmp_path):
    """The client, then a worker, then the scheduler: each costs at most the tiles in flight."""
    spec, config = crash.slow_sweep(), crash.slow_config(tmp_path)
    path = tmp_path / "s.zarr"
    kept = []
    for victim in ("client", "worker", "scheduler"):
        child = cluster.command(config, path)
        enough = len(kept) + 3
        waiting.until(lambda n=enough: len(crash.finished(path)) >= n, child)
        if victim == "client":
            child.kill()
        else:
            cluster.kill(victim)
        if victim == "worker":  # the other one goes on, until Ctrl-C
            time.sleep(0.5)
            child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=waiting.PATIENCE)
        code, words = {
            "client": (-signal.SIGKILL, ()),
            "worker": (130, ("interrupted; what is finished is kept",)),
            "scheduler": (1, ("the Dask scheduler was lost", "tiles are kept")),
        }[victim]
        assert (child.returncode, len(err.splitlines())) == (code, bool(words)), err
        assert all(text in err for text in words)
        before, kept = kept, crash.finished(path)
        assert len(kept) >= len(before) + 3 and all(tile in kept for tile in before)
    before = kept
    digest_now, again = crash.resumed(spec, path, tmp_path / "log")
    assert not [tile for tile in again if tile in before]
    whole, _ = crash.fill(spec, tmp_path / "whole.zarr")
    assert digest_now == digest(whole.dataset())


def test_workers_without_olsbn(tmp_path):
    """One line, not a traceback of Dask's."""
    without = "import sys; sys.modules['olsbn'] = None; from dask.__main__ import main; main()"
    with Cluster(0, tmp_path) as cluster:
        cluster.start("worker", cluster.address, "--nthreads", "1", "--no-nanny", program=("-c", without))
        child = cluster.command(crash.slow_config(tmp_path), tmp_path / "s.zarr")
        _, err = child.communicate(timeout=waiting.PATIENCE)
    assert child.returncode == 2 and len(err.splitlines()) == 1 and "cannot run olsbn" in err
