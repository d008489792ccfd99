"""The store: it survives kills, refuses what it should, finds damage, and always ends with the same bytes."""

import dataclasses
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import crash
import numpy as np
import pytest
import waiting
import xarray as xr

import olsbn
from olsbn.cli import main
from olsbn.schema import Status
from olsbn.sweeps import running
from olsbn.sweeps.running import digest
from olsbn.sweeps.sinks import Memory
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store import Store, StoreError, header, places
from olsbn.sweeps.store.packed import Packed
from olsbn.sweeps.store.places import Folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A finished store and its digest."""
    path = tmp_path_factory.mktemp("store") / "filled.zarr"
    spec = crash.small_sweep()
    store, n_run = crash.fill(spec, path)
    assert n_run == len(store.tiling) == 12
    return spec, path, digest(store.dataset())


@pytest.fixture
def copy(filled, tmp_path):
    """A packed store."""
    spec, path, expected = filled
    shutil.copytree(path, tmp_path / "copy.zarr")
    return spec, tmp_path / "copy.zarr", expected


@pytest.fixture
def written(copy):
    """A store whose tiles are all there and not packed yet."""
    spec, path, expected = copy
    Store(path).unpack()
    assert not Store(path).is_packed and len(list((path / "olsbn" / "tiles").iterdir())) == 12
    return spec, path, expected


def writing(path, shard=(1, 1)):
    return Store(path).writing(shard)


def writer(path):
    return "".join(Store(path).writers())


def run_cli(capsys, *args):
    """Run a command in this process; return exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize("options", [{}, {"consolidated": True}, {"consolidated": False}, {"chunks": None}])
def test_plain_xarray_reads_a_store(filled, options):
    spec, path, expected = filled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = xr.open_zarr(path, **options)
    assert dict(ds.sizes) == {"dim": 2, "trial": 3, "eps_a": 4, "eps": 7}
    assert set(ds.coords) == set(ds.sizes) and set(ds.data_vars) == set(spec.method.columns)
    assert digest(ds) == expected == digest(spec.dataset(in_memory(spec)))
    assert ds.status.attrs["flag_meanings"].split()[1] == "converged" and ds.eps.attrs["units"] == "1"
    assert ds.attrs["sweep_fingerprint"] == spec.fingerprint and ds.attrs["olsbn_store_format"] == 3
    assert ds.status.dtype == np.int8 and ds.steps_to_tol.dtype == np.int64


def in_memory(spec):
    memory = Memory(spec)
    running.run(memory, range(len(memory.tiling)), workers=1, progress=False)
    return memory._arrays


def test_any_part_of_a_store_is_read(written):
    """The same values as of the whole array, from tiles and from packed arrays."""
    spec, path, _ = written
    whole = spec.dataset(in_memory(spec))
    keys = [
        (), (0,), (slice(None), 2), (..., slice(None, None, -2)), (1, slice(1, 3), [0, 3], 5), (..., [6, 1, 1]),
        (slice(2, 2),), (-1, -1, -1, -1), ([1, 0], [2, 1]),
    ]  # fmt: skip
    for packed in (False, True):
        if packed:
            Store(path).pack()
        ds = olsbn.open(path)
        for name in ("excess", "status", "by_rounding"):
            for key in keys:
                np.testing.assert_array_equal(ds[name][key].values, whole[name][key].values)


def test_reading_goes_on_while_the_store_is_packed_and_unpacked(written):
    _, path, expected = written
    ds = olsbn.open(path)
    first = ds.excess[0].values
    Store(path).pack()
    assert digest(ds) == expected
    again = olsbn.open(path)
    Store(path).unpack()
    assert digest(again) == expected
    np.testing.assert_array_equal(first, again.excess[0].values)


@pytest.mark.parametrize("make", [crash.small_sweep, crash.single_problem_sweep])
def test_the_store_holds_its_inputs_to_the_bit(make, tmp_path):
    spec = make()
    Store.create(tmp_path / "s.zarr", spec, "the command")
    store = Store(tmp_path / "s.zarr")
    assert store.spec.facts() == spec.facts() and store.spec.fingerprint == spec.fingerprint
    assert store.attrs["command"] == "the command"
    assert not store.is_complete() and (store.dataset().status == -1).all()


def test_arrays_given_for_u_and_w0_come_back(tmp_path):
    family = olsbn.ProblemFamily("linspace", 4.0, 7, u=[1.0, 2.0, 0.1], w0="gradient")
    spec = SweepSpec.checked(family, "bngd", {"eps": [0.1, 1.0]}, dim=3, n_steps=5, tol=1e-3, stop="tol")
    Store.create(tmp_path / "s.zarr", spec)
    assert Store(tmp_path / "s.zarr").spec.facts() == spec.facts()


def test_a_sweep_without_axes(tmp_path):
    problem = olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0])
    for _ in range(2):
        ds = olsbn.sweep(problem, eps=0.5, n_steps=20, store=tmp_path / "point.zarr")
        assert digest(ds) == digest(olsbn.sweep(problem, eps=0.5, n_steps=20))


# ------------------------------------------------------------------ the same bytes, however it is done


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_and_order_do_not_matter(workers, filled, tmp_path, monkeypatch):
    spec, _, expected = filled
    plain = running.on_threads

    def shuffled(compute, tiles, workers, **how):
        tiles = list(tiles)
        random.Random(workers).shuffle(tiles)
        return plain(compute, tiles, workers, **how)

    monkeypatch.setattr(running, "on_threads", shuffled)
    store, _ = crash.fill(spec, tmp_path / "s.zarr", workers=workers)
    assert digest(store.dataset()) == expected


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 7), (2, 3, 4)])
def test_tile_shapes_do_not_matter(shape, filled, tmp_path):
    spec, _, expected = filled
    other = crash.small_sweep(shape)
    store, _ = crash.fill(other, tmp_path / "s.zarr")
    sizes = [n for n, axis in zip(store.tiling.tile, spec.all_axes, strict=True) if axis in spec.axes]
    assert sizes == [1, *shape] and digest(store.dataset()) == expected
    _, again = crash.fill(spec, tmp_path / "s.zarr")  # the granularity is the store's, not the caller's
    assert again == 0


def test_shards_side_by_side(filled, tmp_path):
    spec, _, expected = filled
    path, log = tmp_path / "s.zarr", tmp_path / "log"
    children = []
    for i in (1, 2, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
        if pid == 0:
            try:
                crash.fill(spec, path, log, shard=(i, 3))
            except BaseException as err:
                print(repr(err), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert digest(Store(path).dataset()) == expected
    assert len(crash.computed(log)) == 12


# ------------------------------------------------------------------ kills

KILLS = [
    ("write new olsbn/header: half", 1), ("rename new store: before", 1), ("rename new store: after", 1),
    ("_tell olsbn/lock: before", 1), ("write olsbn/tiles: half", 5), ("write olsbn/tiles: before", 3),
    ("write olsbn/tiles: not yet renamed", 7), ("replace olsbn/tiles/*.partial: after", 12), ("compute: after", 6),
    ("write olsbn/.packing/excess/c: half", 1), ("rename olsbn/.packing/excess: after", 1),
    ("write olsbn/manifest: before", 1), ("write olsbn/manifest: after", 1),
    ("write zarr.json: after", 1), ("rmtree olsbn/tiles: before", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "count"), KILLS)
def test_a_killed_sweep_goes_on(name, count, filled, tmp_path):
    spec, _, expected = filled
    path, log = tmp_path / "s.zarr", tmp_path / "log"
    assert crash.killed_at(spec, path, name, count)
    crash.check_resume(spec, path, log, expected)
    assert {p.name for p in tmp_path.iterdir()} - {"log"} == {"s.answer", "s.zarr"}  # nothing half-made is left


def test_killed_at_any_time_again_and_again(filled, tmp_path):
    spec, _, expected = filled
    path, log = tmp_path / "s.zarr", tmp_path / "log"
    for seed in range(4):
        crash.forked(lambda: crash.fill(spec, path), kill_after=random.Random(seed).uniform(0, 0.15))
    crash.check_resume(spec, path, log, expected)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_at_once(number, code, tmp_path):
    """The sweep would take weeks; its code is compiled before, for the compiler cannot be stopped."""
    olsbn.sweep(olsbn.OLSProblem.from_spectrum("logspace", 2, 9.0), eps=[0.1, 0.2], n_steps=1)
    config = tmp_path / "long.toml"
    config.write_text(
        'n_steps = 100000000000\neps = "1e-3:1e5:400"\neps_a = "0.1:1.9:40"\ndim = 100\n'
        '[problem]\nspectrum = "logspace"\ncond = 100'
    )
    store = tmp_path / "s.zarr"
    child = subprocess.Popen(
        [sys.executable, "-m", "olsbn", "sweep", config, "--out", store], stderr=subprocess.PIPE, text=True
    )
    waiting.until((store / "olsbn" / "lock").exists, child)
    time.sleep(0.3)  # it may, but need not, have begun with the tiles
    child.send_signal(number)
    _, err = child.communicate(timeout=waiting.PATIENCE)
    assert child.returncode == code
    (line,) = err.splitlines()
    assert line.startswith("olsbn sweep: interrupted; what is finished is kept") and "goes on from there" in line
    assert not Store(store).writers()


# ------------------------------------------------------------------ writers


def test_a_second_writer_is_refused(written):
    spec, path, _ = written
    crash.take_back(path, *range(6))
    with writing(path):
        assert writer(path).startswith(f"process {os.getpid()} on ")
        with pytest.raises(StoreError, match=rf"is being written by process {os.getpid()} on "):
            crash.fill(spec, path)
        with pytest.raises(StoreError, match="is being written by"):
            crash.fill(spec, path, shard=(1, 2))
    assert writer(path) == ""
    assert crash.fill(spec, path)[1] == 6


def test_shards_share_the_store_but_not_a_shard(copy):
    _, path, _ = copy
    with writing(path, (1, 3)) as first:
        assert first.alone
        first.share()
        with writing(path, (2, 3)) as second:
            assert not second.alone
        for shard, what in (
            ((1, 3), "shard 1/3, is being written"),
            ((1, 2), "is being written"),
            ((1, 1), "is being"),
        ):
            with pytest.raises(StoreError, match=what), writing(path, shard):
                pass


def test_status_names_every_writer(copy, capsys):
    _, path, _ = copy

    def writers():
        code, out, _ = run_cli(capsys, "status", path)
        assert code == 0
        return [line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith("writer")]

    me = f"process {os.getpid()} on "
    with writing(path):
        (line,) = writers()
        assert line.startswith(me)
    with writing(path, (1, 3)) as first:
        first.share()
        with writing(path, (3, 3)):
            assert [line[: len(f"shard 1/3: {me}")] for line in writers()] == [f"shard {i}/3: {me}" for i in (1, 3)]
    assert writers() == []


def test_the_log_tells_of_a_store(written, caplog):
    spec, path, _ = written
    caplog.set_level("DEBUG", "olsbn")
    victim = path / "olsbn" / "tiles" / "000004"
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    crash.fill(spec, path)
    told = caplog.messages
    assert f"store {path} opened: 11 of 12 tiles are done, 1 to run" in told
    assert any(f"{victim} is damaged" in text for text in told) and any("tile 1 of 1 done" in text for text in told)
    assert {record.name.split(".")[0] for record in caplog.records} == {"olsbn"}


def test_without_locks_there_is_a_warning(copy, monkeypatch):
    import fcntl

    def no_locks(fd, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match="cannot lock the store .*No locks available"), writing(copy[1]):
        pass


def test_another_sweep_is_refused(copy):
    spec, path, expected = copy
    changes = {
        "n_steps is 60 there and 61 here": {"n_steps": 61},
        "tol is 1e-06 there and 1e-05 here": {"tol": 1e-5},
        "eps is 7 values there and 6 values here": {"params": dict(spec.params) | {"eps": spec.params["eps"][:6]}},
        "stop is steps there and tol here": {"stop": "tol"},
        "dim is 2 values there and 1 values here": {"dim": [2]},
        "family seed is 0 there and 1 here": {"problem": olsbn.ProblemFamily("logspace", 50.0, seed=1)},
    }
    for message, change in changes.items():
        call = {
            "problem": spec.source,
            "method": "bngd",
            "params": dict(spec.params),
            "dim": spec.dims,
            "trial": spec.trials,
        }
        call |= {"n_steps": spec.n_steps, "tol": spec.tol, "stop": spec.stop} | change
        other = SweepSpec.checked(call.pop("problem"), call.pop("method"), call.pop("params"), **call)
        with pytest.raises(StoreError, match=f"holds another sweep: .*{message}"):
            running.fill(other, path)
    assert digest(Store(path).dataset()) == expected


def test_another_engine_is_refused(copy, monkeypatch):
    spec, path, _ = copy
    monkeypatch.setattr("olsbn.sweeps.store.store.engine", lambda method: "0123456789ab")
    with pytest.raises(StoreError, match=r"was begun by olsbn .*this is engine 0123456789ab"):
        running.fill(spec, path)


def test_another_format_is_refused(copy, monkeypatch):
    spec, path, _ = copy
    monkeypatch.setattr(header, "FORMAT", 4)
    other = path.with_name("other.zarr")
    Store.create(other, spec)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="has store format 4, this olsbn reads 2 and 3"):
        Store(other)


# ------------------------------------------------------------------ format 2


@pytest.fixture
def old(tmp_path):
    """Stores that the version before the first release of format 3 has written."""
    zipfile.ZipFile(Path(__file__).parent / "data" / "format2.zip").extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "complete"), [("family", False), ("problem", True), ("point", True)])
def test_stores_of_format_2_are_read(name, complete, old, capsys):
    path = old / f"{name}.zarr"
    store, ds, plain = Store(path), olsbn.open(path), xr.open_zarr(path)
    later = set(ds.data_vars) - set(plain.data_vars)  # what the methods did not have then
    assert later <= {"by_rounding", "excess_running", "excess_batch", "gap"}
    assert digest(ds[list(plain.data_vars)]) == digest(plain) and set(plain.data_vars) <= set(ds.data_vars)
    assert store.spec.fingerprint == store.attrs["sweep_fingerprint"] == ds.attrs["sweep_fingerprint"]
    assert store.is_complete() == complete and sum(store.survey()[1].values()) == ds.status.size
    assert run_cli(capsys, "status", path)[0] == 0
    assert run_cli(capsys, "export", path, "--to", old / "x.nc")[0] == 0


def test_stores_of_format_2_are_not_written(old, capsys, monkeypatch):
    monkeypatch.setattr("olsbn.sweeps.store.store.engine", lambda method: engines[method.name])
    engines = {"bngd": Store(old / "family.zarr").attrs["engine"], "gd": Store(old / "problem.zarr").attrs["engine"]}
    with pytest.raises(StoreError, match="has store format 2, which this olsbn reads but does not write"):
        running.fill(Store(old / "family.zarr").spec, old / "family.zarr")
    assert running.fill(Store(old / "problem.zarr").spec, old / "problem.zarr")[1] == 0
    assert run_cli(capsys, "pack", old / "problem.zarr")[0] == 2
    flip(old / "problem.zarr" / "excess" / "c" / "1")
    code, out, _ = run_cli(capsys, "status", old / "problem.zarr")
    assert code == 1 and "excess/c/1" in out


def test_what_is_no_store_is_refused(tmp_path, filled, capsys):
    spec, _, _ = filled
    (tmp_path / "file").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data").write_text("precious")
    xr.Dataset({"x": ("y", [1.0])}).to_zarr(tmp_path / "other.zarr", consolidated=False)
    for name in ("file", "folder", "other.zarr"):
        with pytest.raises(StoreError, match="is not a sweep store"):
            running.fill(spec, tmp_path / name)
        code, out, err = run_cli(capsys, "status", tmp_path / name)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1
    with pytest.raises(StoreError, match="does not exist"):
        Store(tmp_path / "nothing")
    assert (tmp_path / "folder" / "data").read_text() == "precious"


# ------------------------------------------------------------------ damage


def flip(file, seed=0):
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    place = random.Random(seed).randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    file.write_bytes(bytes(data))


# name -> file, harm, tiles that are computed again: of a store that is packed, and of one that is not
PACKED = {
    "shard": ("excess/c/0/0/0/0", flip, None),
    "lost shard": ("a/c/0/0/0/0", lambda file: file.unlink(), 12),
    "cut shard": ("rate_sim/c/0/0/0/0", lambda file: os.truncate(file, 5), 12),
    "coordinate": ("eps/c/0", flip, 0),
    "array metadata": ("excess/zarr.json", flip, 0),
    "group metadata": ("zarr.json", flip, 0),
    "no group metadata": ("zarr.json", lambda file: file.unlink(), 0),
    "manifest": ("olsbn/manifest", flip, 0),
    "no manifest": ("olsbn/manifest", lambda file: file.unlink(), 0),
    "header": ("olsbn/header", flip, 0),
    "no copy": ("olsbn/header.copy", lambda file: file.unlink(), 0),
}
WRITTEN = {
    "tile": ("olsbn/tiles/000005", flip, 1),
    "cut tile": ("olsbn/tiles/000011", lambda file: os.truncate(file, 20), 1),
    "empty tile": ("olsbn/tiles/000000", lambda file: os.truncate(file, 0), 1),
    "a tile at another's place": ("olsbn/tiles/000003", lambda file: shutil.copy(file.with_name("000004"), file), 1),
    "written header": ("olsbn/header", flip, 0),
}


@pytest.mark.parametrize("what", [*PACKED, *WRITTEN])
def test_damage_is_named_and_mended(what, written, capsys):
    spec, path, expected = written
    if what in PACKED:
        Store(path).pack()
    name, harm, n_tiles = {**PACKED, **WRITTEN}[what]
    harm(path / name)
    code, out, err = run_cli(capsys, "status", path)
    assert str(path / name) in out + err and "damaged" in out + err
    assert code in (1, 2) and len(err.splitlines()) == (code == 2)
    assert run_cli(capsys, "export", path, "--to", path.parent / "x.npz")[0] == 2
    log, said = path.parent / "log", []
    store, n_run = crash.fill(spec, path, log, say=said.append)
    assert n_run == len(crash.computed(log)) and (n_run <= 1 if n_tiles is None else n_run == n_tiles)
    assert len(said) == 1 and str(path / name) in said[0]
    assert store.is_packed and digest(store.dataset()) == expected == digest(xr.open_zarr(path))
    assert run_cli(capsys, "status", path)[0] == 0


def test_two_kinds_of_damage_at_once(copy):
    spec, path, expected = copy
    for name in ("zarr.json", "eps/zarr.json", "olsbn/header", "excess/c/0/0/0/0", "olsbn/manifest", "dim/c/0"):
        flip(path / name)
    shutil.rmtree(path / "n_steps_run")
    store, n_run = crash.fill(spec, path)
    assert n_run == 12 and digest(store.dataset()) == expected == digest(xr.open_zarr(path))


def test_chunks_and_tiles_know_their_place(copy):
    """Two intact shards that changed places are found, and so are tiles of another sweep."""
    spec, path, _ = copy
    shutil.copy(path / "excess" / "c" / "0" / "0" / "0" / "0", path / "a" / "c" / "0" / "0" / "0" / "0")
    assert [file for _, file in Store(path).damaged([])] == [path / "a" / "c" / "0" / "0" / "0" / "0"]
    other = path.with_name("other.zarr")
    Store.create(other, dataclasses.replace(spec, n_steps=61))
    Store(path).unpack()
    shutil.copy(path / "olsbn" / "tiles" / "000001", other / "olsbn" / "tiles" / "000001")
    assert [number for number, _ in Store(other).damaged([1])] == [1]
    with pytest.raises(StoreError, match="000001 is damaged"):
        olsbn.open(other).load()


def test_both_headers_lost_are_named(copy, capsys):
    spec, path, _ = copy
    for name in ("header", "header.copy"):
        flip(path / "olsbn" / name)
    for args in (("status", path), ("export", path, "--to", path.parent / "x.nc")):
        code, _, err = run_cli(capsys, *args)
        assert code == 2 and "header and its copy are damaged" in err
    with pytest.raises(StoreError, match="header and its copy are damaged"):
        running.fill(spec, path)
    shutil.rmtree(path / "olsbn")
    with pytest.raises(StoreError, match="has lost its header"):
        running.fill(spec, path)
    assert digest(olsbn.open(path)) == digest(xr.open_zarr(path))  # what is left is plain Zarr


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_store_that_goes_away_ends_the_run(how, tmp_path, monkeypatch, capsys):
    spec, path = crash.small_sweep(), tmp_path / "s.zarr"
    before, n = running.run_tile, [0]

    def goes_away(*args, **kwargs):
        n[0] += 1
        if n[0] == 5:
            path.rename(tmp_path / "elsewhere") if how != "removed" else shutil.rmtree(path)
            if how == "replaced":
                Store.create(path, spec)
        return before(*args, **kwargs)

    monkeypatch.setattr(running, "run_tile", goes_away)
    with pytest.raises((OSError, StoreError), match="was moved or removed while it was written"):
        running.fill(spec, path, workers=1, progress=False)
    left = {"moved": ["elsewhere"], "removed": [], "replaced": ["elsewhere", "s.zarr"]}[how]
    assert sorted(p.name for p in tmp_path.iterdir()) == left
    if how != "removed":
        assert len(Store(tmp_path / "elsewhere").done()) == 4
    if how == "replaced":
        assert not Store(path).done()


def test_a_tile_that_vanishes_is_an_error(tmp_path, monkeypatch):
    spec, path = crash.small_sweep(), tmp_path / "s.zarr"
    write = Store.write

    def lossy(store, tile, result):
        write(store, tile, result)
        (path / "olsbn" / "tiles" / "000002").unlink(missing_ok=True)

    monkeypatch.setattr(Store, "write", lossy)
    with pytest.raises(OSError, match="1 tiles that were written are not there; 11 of 12 tiles are kept"):
        running.fill(spec, path, workers=1, progress=False)


# ------------------------------------------------------------------ packing


def test_an_unfinished_store_is_packed_and_goes_on(written, capsys):
    spec, path, expected = written
    crash.take_back(path, 0, 7)
    code, out, _ = run_cli(capsys, "pack", path)
    assert code == 0 and "10 of 12 done" in out
    ds = xr.open_zarr(path)
    assert int((ds.status == -1).sum()) == 28 and digest(ds) == digest(olsbn.open(path))
    assert Store(path).done() == set(range(12)) - {0, 7} and not (path / "olsbn" / "tiles").exists()
    assert "10 of 12 done" in run_cli(capsys, "status", path)[1]
    log = path.parent / "log"
    store, n_run = crash.fill(spec, path, log)
    assert n_run == 2 == len(crash.computed(log)) and digest(store.dataset()) == expected == digest(xr.open_zarr(path))


def test_a_store_has_few_files(tmp_path):
    """One file a tile while it is written, and a number that does not depend on the tiles afterwards."""
    spec = crash.small_sweep((1, 1, 1))
    path = tmp_path / "s.zarr"
    Store.create(path, spec)
    store = Store(path)
    with store.writing():
        running.run(store, range(168), workers=2, progress=False)
    found = list(path.rglob("*"))
    assert sum(p.is_file() for p in found) == 168 + 3 and sum(p.is_dir() for p in found) == 2
    store.finish()
    assert sum(p.is_file() for p in path.rglob("*")) < 50
    assert digest(xr.open_zarr(path)) == digest(store.dataset())


@pytest.mark.parametrize("most", [1, 20, 10**6])
def test_chunks_and_shards_of_any_size_are_read(most, written, monkeypatch):
    monkeypatch.setattr("olsbn.sweeps.store.packed._CHUNKS", 168 // most + 1)
    monkeypatch.setattr("olsbn.sweeps.store.packed._SHARD_VALUES", 3 * most)
    spec, path, expected = written
    Store(path).pack()
    assert digest(xr.open_zarr(path)) == expected == digest(olsbn.open(path))
    assert not list(Store(path).damaged([]))
    packed = Packed(Folder(path), spec, Store(path).tiling, Store(path)._place)
    files = [f for f in (path / "excess" / "c").rglob("*") if f.is_file()]
    assert len(files) == len(packed.shards)
    flip(files[0], seed=3)
    _, n_run = crash.fill(spec, path)
    assert n_run <= len(list(packed.tiles.overlapping(packed.shards[0].ranges)))
    assert digest(xr.open_zarr(path)) == expected


# ------------------------------------------------------------------ disks


def test_a_full_disk(filled, tmp_path, monkeypatch, capsys):
    spec, _, expected = filled
    path, write, left = tmp_path / "s.zarr", places.write_whole, [7]

    def full(file, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        write(file, data)

    monkeypatch.setattr(places, "write_whole", full)
    with pytest.raises(OSError, match=r"No space left on device; \d+ of 12 tiles are kept") as caught:
        crash.fill(spec, path)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    kept = crash.finished(path)
    assert 0 < len(kept) < 12
    monkeypatch.setattr(places, "write_whole", write)
    crash.check_resume(spec, path, tmp_path / "log", expected)
    # on the command line: one line, exit code 1
    monkeypatch.setattr("olsbn.sweeps.store.store.write_whole", full)
    config = tmp_path / "c.toml"
    config.write_text('n_steps = 5\neps = [0.1]\ndim = 3\n[problem]\nspectrum = "logspace"\ncond = 9')
    code, out, err = run_cli(capsys, "sweep", config, "--out", tmp_path / "t.zarr")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1 and "No space left on device" in err
    assert not (tmp_path / "t.zarr").exists() and not list(tmp_path.glob(".t.zarr*"))


def test_a_disk_that_is_full_when_the_store_is_packed(filled, tmp_path, monkeypatch):
    spec, _, expected = filled
    put = places._Staged.write

    def full(stage, name, data):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr(places._Staged, "write", full)
    with pytest.raises(OSError, match="No space left on device; 12 of 12 tiles are kept"):
        crash.fill(spec, tmp_path / "s.zarr")
    assert digest(olsbn.open(tmp_path / "s.zarr")) == expected and not Store(tmp_path / "s.zarr").leftovers()
    monkeypatch.setattr(places._Staged, "write", put)
    crash.check_resume(spec, tmp_path / "s.zarr", tmp_path / "log", expected)


def test_a_read_only_directory(filled, tmp_path, monkeypatch, capsys):
    """Permissions do not bind root, so the refusal is simulated where the store asks for its first directory."""
    config = tmp_path / "c.toml"
    config.write_text('n_steps = 5\neps = [0.1]\ndim = 3\n[problem]\nspectrum = "logspace"\ncond = 9')
    mkdir = Path.mkdir

    def refused(path, *args, **kwargs):
        if str(tmp_path) in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refused)
    code, out, err = run_cli(capsys, "sweep", config, "--out", tmp_path / "s.zarr")
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert f"{tmp_path / 's.zarr'}: Permission denied" in err
    assert [p.name for p in tmp_path.iterdir()] == ["c.toml"]


def test_a_finished_store_needs_no_right_to_write(filled, monkeypatch):
    spec, path, expected = filled
    monkeypatch.setattr(os, "access", lambda *args: False)
    opened = os.open

    def for_reading(file, flags, *args):
        assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), "opened for writing"
        return opened(file, flags, *args)

    monkeypatch.setattr(os, "open", for_reading)
    store, n_run = running.fill(spec, path)
    assert n_run == 0 and digest(store.dataset()) == expected


def test_leftovers_are_swept(written, capsys):
    spec, path, _ = written
    for name in ("olsbn/tiles/.000003.abc.partial", "olsbn/.header.xyz.partial"):
        (path / name).write_bytes(b"half")
    (path / "olsbn" / ".packing.123").mkdir()
    abandoned = path.with_name(f".{path.name}.123.partial")
    (abandoned / "olsbn").mkdir(parents=True)
    (abandoned / "olsbn" / "lock").touch()
    code, out, _ = run_cli(capsys, "status", path)
    assert code == 0 and "leftovers   3 files" in out
    crash.fill(spec, path)
    assert not Store(path).leftovers()
    Store.create(path, spec)  # there already: it stays, and what was abandoned goes
    assert not abandoned.exists() and Store(path).is_complete()


# ------------------------------------------------------------------ commands on a store


def test_export(filled, tmp_path, capsys):
    _, path, expected = filled
    ds = Store(path).dataset()
    for suffix in ("nc", "csv", "npz"):
        code, out, _ = run_cli(capsys, "export", path, "--to", tmp_path / f"x.{suffix}")
        assert code == 0 and f"exported    {ds.status.size} cells" in out
    with xr.open_dataset(tmp_path / "x.nc") as back:
        assert digest(back) == expected and back.attrs["method"] == "bngd"
    with np.load(tmp_path / "x.npz") as arrays:
        assert set(arrays) == {*ds.coords, *ds.data_vars}
        np.testing.assert_array_equal(arrays["excess"], ds.excess.values)
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert len(lines) == 1 + ds.status.size
    names, row = lines[0].split(","), lines[-1].split(",")
    assert names[:4] == ["dim", "trial", "eps_a", "eps"]
    for name, text in zip(names, row, strict=True):
        value = ds[name].values.flat[-1]
        if name == "status":
            assert text == Status(int(value)).label
            continue
        assert float(text) == value or (np.isnan(float(text)) and np.isnan(value))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.csv", "x.nc", "x.npz"]


def test_an_unfinished_store_is_exported_as_such(written, capsys, tmp_path):
    _, path, _ = written
    crash.take_back(path, *range(6))
    assert "84 of them not run" in run_cli(capsys, "export", path, "--to", tmp_path / "x.npz")[1]
    assert "6 of 12 done" in run_cli(capsys, "status", path)[1]


def test_plot(filled, tmp_path, capsys):
    _, path, _ = filled
    for name, options in (("a.png", ()), ("b.pdf", ("--dim", 6)), ("c.png", ("--dim", 2, "--trial", 3))):
        code, _, err = run_cli(capsys, "plot", path, "--out", tmp_path / name, *options)
        assert (code, err) == (0, "") and (tmp_path / name).stat().st_size > 5000
