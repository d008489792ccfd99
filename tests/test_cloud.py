"""Stores in a bucket: the promises of stores, without rename and flock, against a server of S3 on this machine."""

import random
import subprocess
import sys
import time

import bucket
import crash
import numpy as np
import pytest
import xarray as xr

import olsbn
from olsbn.cli import main
from olsbn.sweeps import running, toml
from olsbn.sweeps.running import digest
from olsbn.sweeps.sinks import Memory
from olsbn.testing import SinkTests

obstore = pytest.importorskip("obstore")
pytest.importorskip("moto")
pytest.importorskip("flask_cors")
from olsbn.sweeps.store import StoreError, cloud, create_store, open_store  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def served():
    """The server."""
    with bucket.server() as variables, bucket.environment(variables):
        cloud._opened.cache_clear()
        yield variables
    cloud._opened.cache_clear()


@pytest.fixture
def url(request):
    """A name in the bucket that nobody else uses."""
    return f"s3://bucket/{request.node.name.replace('[', '-').replace(']', '')}/s.zarr"


@pytest.fixture(scope="module")
def expected():
    """The digest of the small sweep."""
    spec = crash.small_sweep()
    memory = Memory(spec)
    running.run(memory, range(len(memory.tiling)), progress=False)
    return digest(memory.dataset())


class TestBucket(SinkTests):
    def make(self, spec, folder):
        create_store(f"s3://bucket/{folder.name}/s.zarr", spec)
        return open_store(f"s3://bucket/{folder.name}/s.zarr")

    def again(self, sink, folder):
        return open_store(sink.path)


def objects(url):
    return sorted(found["path"] for batch in obstore.list(cloud.Bucket(url)._store) for found in batch)


def command(*args):
    return [sys.executable, "-m", "olsbn", *map(str, args)]


def run_cli(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code, *capsys.readouterr()


# ------------------------------------------------------------------ a whole sweep


def test_a_finished_store_is_plain_zarr(url, expected):
    from zarr.storage import ObjectStore

    store, n_run = running.fill(crash.small_sweep(), url, progress=False)
    assert n_run == 12 and store.is_packed
    names = objects(url)
    assert not [name for name in names if name.startswith(("olsbn/tiles", "olsbn/lock"))]
    assert digest(xr.open_zarr(ObjectStore(cloud.Bucket(url)._store, read_only=True))) == expected
    assert digest(olsbn.open(url)) == expected and running.fill(crash.small_sweep(), url)[1] == 0


def test_the_commands_take_a_url(url, tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text('n_steps = 9\neps = "0.1:10:5"\neps_a = [0.5, 1]\ndim=3\n[problem]\nspectrum="logspace"\ncond=9')
    code, out, err = run_cli(capsys, "sweep", config, "--out", url)
    assert code == 0 and f"results     {url}" in out, err
    code, out, _ = run_cli(capsys, "status", url)
    assert code == 0 and "1 of 1 done" in out and "packed" in out
    assert run_cli(capsys, "pack", url)[0] == 0
    assert run_cli(capsys, "export", url, "--to", tmp_path / "x.npz")[0] == 0
    assert run_cli(capsys, "plot", url, "--out", tmp_path / "x.png")[0] == 0
    assert run_cli(capsys, "certify", url, "--cells", 2)[0] == 0
    with np.load(tmp_path / "x.npz") as arrays:
        np.testing.assert_array_equal(arrays["excess"], olsbn.open(url)["excess"])
    problem = olsbn.OLSProblem.from_spectrum("logspace", 3, 9.0)
    ds = olsbn.sweep(problem, eps=[0.1, 1.0], eps_a=1.0, n_steps=9, store=f"{url}-2")
    assert ds.sizes == {"eps": 2} and olsbn.open(f"{url}-2").status.size == 2


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("s3://bucket", "must be SCHEME://BUCKET/NAME"),
        ("ftp://b/x", "must be SCHEME://BUCKET/NAME with SCHEME one of s3"),
        ("s3://no-such-bucket/x.zarr", "404"),
        ("s3://bucket/nothing/x.zarr", "does not exist"),
    ],
)
def test_one_line_for_a_url_that_leads_nowhere(where, words, capsys):
    code, out, err = run_cli(capsys, "status", where)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and words in err


def test_what_is_not_a_store_stays_as_it_is(capsys, url):
    obstore.put(cloud.Bucket(url)._store, "data", b"precious")
    with pytest.raises(StoreError, match="is not a sweep store"):
        running.fill(crash.small_sweep(), url)
    assert objects(url) == ["data"]


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("state", ["written", "packed"])
def test_damage_is_named_and_mended(state, url, expected, capsys):
    spec = crash.small_sweep()
    store, _ = running.fill(spec, url, progress=False)
    if state == "written":
        with store.writing():
            store.unpack()
    victims = {"written": "olsbn/tiles/000003", "packed": "excess/c/0/0/0/0"}
    for name in (victims[state], "olsbn/header"):
        data = bytearray(store.files.read(name, 10**9))
        data[-9] ^= 4
        store.files.write(name, bytes(data))
    code, out, _ = run_cli(capsys, "status", url)
    assert code == 1 and f"damaged     {url}/{victims[state]}" in out and f"damaged     {url}/olsbn/header" in out
    said = []
    store, n_run = running.fill(spec, url, progress=False, say=said.append)
    assert n_run >= 1 and len(said) == 2 and digest(olsbn.open(url)) == expected
    assert run_cli(capsys, "status", url)[0] == 0


# ------------------------------------------------------------------ kills


def started(config, url, n_tiles):
    """Start the command and wait for some tiles."""
    child = subprocess.Popen(command("sweep", config, "--out", url, "--workers", 1), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < until:
        if len([name for name in objects(url) if name.startswith("olsbn/tiles/")]) >= n_tiles:
            break
        time.sleep(0.05)
    assert child.poll() is None, child.communicate()
    return child


def test_a_killed_command_goes_on(url, tmp_path, capsys):
    config = crash.slow_config(tmp_path)
    config.write_text(config.read_text().replace("150000", "30000"))
    child = started(config, url, 3)
    code, _, err = run_cli(capsys, "sweep", config, "--out", url)  # a second writer, while the first one lives
    assert code == 2 and f"is being written by process {child.pid}" in err and len(err.splitlines()) == 1
    assert f"writer      process {child.pid}" in run_cli(capsys, "status", url)[1]
    child.kill()
    child.communicate()
    kept = open_store(url).done()
    assert len(kept) >= 3
    code, out, err = run_cli(capsys, "sweep", config, "--out", url)
    n = len(open_store(url).tiling)
    assert code == 0 and f"{n - len(kept)} run now, {n} of {n} done" in out, err
    memory = Memory(toml.load(config))
    running.run(memory, range(n), progress=False)
    assert digest(olsbn.open(url)) == digest(memory.dataset())


def test_kills_at_requests(url, expected):
    rng = random.Random(1)
    for k in (rng.randrange(16), 18 + rng.randrange(20)):  # while tiles are written, while they are packed
        assert bucket.killed_at_request(url, k)
    store, _ = running.fill(crash.small_sweep(), url, progress=False)
    assert store.is_packed and digest(store.dataset()) == expected


# ------------------------------------------------------------------ the right to write


def test_a_writer_on_another_machine_counts_as_dead_when_it_gives_no_sign(url, monkeypatch):
    spec = crash.small_sweep()
    create_store(url, spec)
    store = open_store(url)
    monkeypatch.setattr(cloud, "_RENEWED", 0.2)
    monkeypatch.setattr(cloud, "_LOOK", 0.1)
    monkeypatch.setattr(cloud, "_DEAD", 1.0)
    with store.writing() as first:
        monkeypatch.setattr(cloud, "_machine", lambda: {"machine": "another one", "started": 1})
        with pytest.raises(StoreError, match="is being written by process"):
            running.fill(spec, url, progress=False)
        assert open_store(url).writers()
        first._stop.set()  # no more signs: it was killed, or lost its network
        first._thread.join()
        with open_store(url).writing() as second:
            assert second.alone
            with pytest.raises(OSError, match="another process took it over"):
                first._lost or time.sleep(1.1) or first.check()
        assert not [name for name in objects(url) if "lock" in name]


def test_a_store_that_is_removed_while_it_is_written(url, monkeypatch):
    spec = crash.small_sweep()
    create_store(url, spec)
    store = open_store(url)
    monkeypatch.setattr(cloud, "_RENEWED", 0.1)
    with store.writing():
        obstore.delete(cloud.Bucket(url)._store, objects(url))
        until = time.monotonic() + 10
        while not store.files._lease._lost and time.monotonic() < until:
            time.sleep(0.05)
        with pytest.raises(OSError, match="was removed while it was written"):
            running.run(store, range(12), progress=False)
    assert objects(url) == []


def test_shards_are_let_in_when_the_store_is_mended(url, expected):
    spec = crash.small_sweep()
    create_store(url, spec)
    first, second, other = (open_store(url) for _ in range(3))
    with first.writing((1, 2)) as one:
        assert one.alone
        with pytest.raises(StoreError, match="is being written"), other.writing((1, 1)):
            pass
        one.share()
        with second.writing((2, 2)) as two:
            assert not two.alone and len(other.writers()) == 2
            with pytest.raises(StoreError, match=r"shard 2/2, is being written"), other.writing((2, 2)):
                pass
            with pytest.raises(StoreError, match="is being written"), other.writing((1, 1)):
                pass
    for i in (2, 1):
        running.fill(spec, url, shard=(i, 2), progress=False)
    assert digest(olsbn.open(url)) == expected
