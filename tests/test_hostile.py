"""Results from somebody else: nothing outside of them is written, followed or waited for, and each ends in one line."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import olsbn
from olsbn import files
from olsbn.cli import main
from olsbn.results.foreign import check_zarr, zstd_size
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store import Damaged, Store, lock
from olsbn.sweeps.store.container import compress, decompress, facts_and_arrays, seal, unseal, with_arrays

READERS = ("status", "export", "plot", "robustness", "certify", "compare")


CONFIG = 'n_steps = 5\neps = [0.1, 1.0]\ndim = 3\n[problem]\nspectrum = "logspace"\ncond = 9'
STATES = ("packed", "written", "old")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A config and its store: finished, while it is written, and of format 2."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "c.toml").write_text(CONFIG)
    for state in ("packed", "written"):
        with pytest.raises(SystemExit):
            main(["sweep", str(folder / "c.toml"), "--out", str(folder / state)])
    Store(folder / "written").unpack()
    zipfile.ZipFile(Path(__file__).parent / "data" / "format2.zip").extractall(folder)
    (folder / "problem.zarr").rename(folder / "old")
    return folder


@pytest.fixture(params=STATES)
def state(request):
    return request.param


@pytest.fixture
def hostile(state, made, tmp_path):
    """A copy of a store, in a folder of its own, beside a file and a folder that must stay as they are."""
    (tmp_path / "in").mkdir()
    shutil.copytree(made / state, tmp_path / "in" / "s.zarr")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("precious")
    yield tmp_path / "in" / "s.zarr"
    assert (tmp_path / "victim").read_text() == "precious"
    assert [(p.name, p.read_text()) for p in (tmp_path / "folder").iterdir()] == [("file", "precious")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "in", "victim"]


def refused(capsys, *args, codes=(1, 2)):
    """Return the one line with which a command ends; it shows no character that a terminal obeys."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert stop.value.code in codes, (args, out, err)
    assert "\x1b" not in out + err
    (line,) = err.splitlines()
    assert line.startswith("olsbn") and line.isprintable()
    return line


def arguments(reader, store):
    folder = store.parent
    return {
        "export": [store, "--to", folder / "x.nc"],
        "plot": [store, "--out", folder / "x.png"],
        "certify": [store, "--cells", "1"],
    }.get(reader, [store])


def outcome(capsys, *args):
    """Run a command; return its exit code and one line at most. It must not show what a terminal obeys."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert stop.value.code in (0, 1, 2) and "Traceback" not in err and "\x1b" not in out + err
    assert all(line.isprintable() for line in (out + err).splitlines())
    return stop.value.code, err.strip()


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["../../victim", "{root}/victim", "../../folder/new", "olsbn/lock", "a/../../x"])
@pytest.mark.parametrize("state", ["packed"], indirect=True)
def test_a_manifest_names_files_of_the_store_only(name, made, hostile, capsys):
    packed = Store(hostile)._packed
    facts = packed._manifest
    facts["texts"][name.format(root=hostile.parents[1])] = "overwritten"
    (hostile / "olsbn" / "manifest").write_bytes(seal(packed._place, with_arrays(facts, {})))
    assert outcome(capsys, "status", hostile)[0] == 1
    assert outcome(capsys, "sweep", made / "c.toml", "--out", hostile)[0] == 0  # it is made anew
    assert outcome(capsys, "status", hostile)[0] == 0


@pytest.mark.parametrize("name", ["../../victim", "{root}/victim"])
def test_a_copy_of_metadata_of_format_2_is_not_obeyed(name, made, tmp_path, capsys):
    """A folder with this one file sufficed to write any file of the user's."""
    (tmp_path / "victim").write_text("precious")
    path = tmp_path / "in" / "s.zarr"
    (path / "status").mkdir(parents=True)
    copy = {name.format(root=tmp_path): "overwritten", "zarr.json": "{}"}
    text = hashlib.sha256(json.dumps(copy, sort_keys=True).encode()).hexdigest()
    (path / "status" / "metadata.json").write_text(json.dumps({"sha256": text, "files": copy}))
    for args in (["sweep", made / "c.toml", "--out", path], ["status", path]):
        assert "is not a sweep store" in refused(capsys, *args, codes=(2,))
    assert (tmp_path / "victim").read_text() == "precious"


# ------------------------------------------------------------------ links and pipes

PLACES = {
    "packed": ["olsbn", "olsbn/header", "olsbn/header.copy", "olsbn/lock", "olsbn/manifest", "zarr.json", "excess",
               "excess/zarr.json", "excess/c", "excess/c/0", "status/c/0", "eps", "eps/c/0", "olsbn/zarr.json"],
    "written": ["olsbn", "olsbn/header", "olsbn/header.copy", "olsbn/lock", "olsbn/tiles", "olsbn/tiles/000000"],
    "old": ["status/lock", "zarr.json", "excess/zarr.json", "excess/c/0", "status/c/0", "inputs/eps/c/0", "excess",
            "status", "inputs", "excess/c", "inputs/zarr.json", "inputs/eps/zarr.json"],
}  # fmt: skip


@pytest.mark.parametrize(("state", "place"), [(s, p) for s in STATES for p in PLACES[s]], indirect=["state"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_nothing_is_written_or_read_through_links_and_pipes(kind, place, state, made, hostile, capsys):
    outside, target = hostile.parents[1], hostile / place
    is_folder = target.is_dir()
    if is_folder:
        shutil.move(target, outside / "in" / "away")  # what the link leads to would do
    elif target.exists():
        target.unlink()
    if kind == "link":
        target.symlink_to(outside / ("in/away" if is_folder else "victim"))
    elif kind == "dangling":
        target.symlink_to(outside / "new")
    else:
        os.mkfifo(target)
    before = sorted((p.name, p.lstat().st_mtime_ns) for p in (outside / "in" / "away").rglob("*"))
    code, err = outcome(capsys, "status", hostile)
    unused = place in ("olsbn/lock", "status/lock", "status", "excess/zarr.json") and state != "packed"
    assert code or unused or place == "olsbn/lock", err
    outcome(capsys, "export", *arguments("export", hostile))
    outcome(capsys, "pack", hostile)
    outcome(capsys, "sweep", made / "c.toml", "--out", hostile)
    assert before == sorted((p.name, p.lstat().st_mtime_ns) for p in (outside / "in" / "away").rglob("*"))


@pytest.mark.parametrize("state", ["packed", "written"], indirect=True)
def test_a_lock_with_another_name_is_not_written(made, hostile, capsys):
    (hostile / "olsbn" / "lock").unlink()
    os.link(hostile.parents[1] / "victim", hostile / "olsbn" / "lock")
    assert "hard links" in refused(capsys, "sweep", made / "c.toml", "--out", hostile)


@pytest.mark.parametrize("state", ["packed", "written"], indirect=True)
@pytest.mark.parametrize("name", ["olsbn/.header.1.partial", "olsbn/.packing.1", "olsbn/tiles/.x.partial", "a", "eps"])
def test_links_in_the_way_are_removed_and_not_followed(name, made, hostile, capsys):
    target = hostile / name
    target.parent.mkdir(exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    target.symlink_to(hostile.parents[1] / "folder")
    assert outcome(capsys, "sweep", made / "c.toml", "--out", hostile)[0] == 0
    assert outcome(capsys, "status", hostile)[0] == 0 and not target.is_symlink()


def test_a_pipe_does_not_hang(made, tmp_path):
    for name in ("s.zarr", "t.zarr/olsbn"):
        (tmp_path / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "s.zarr" / "zarr.json")
    os.mkfifo(tmp_path / "t.zarr" / "olsbn" / "header")
    os.mkfifo(tmp_path / "x.nc")
    for args in (
        ["status", tmp_path / "s.zarr"],
        ["status", tmp_path / "t.zarr"],
        ["export", tmp_path / "x.nc", "--to", tmp_path / "y.nc"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "olsbn", *map(str, args)], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


# ------------------------------------------------------------------ attributes

FORGED = {
    "title": 3, "created": None, "engine": [], "theory": None, "method": "adam", "command": {"a": 1},
    "grid_axes": "dim", "grid_shape": [-1], "tile_shape": [0, 0], "sweep_fingerprint": 7, "olsbn_version": [1],
    "olsbn_store_format": "\x1b[2J",
}  # fmt: skip
FORGED_INPUTS = {
    "n_steps": "many", "tol": None, "stop": "never", "axes": ["x"], "method": "\x1b[2J", "family": 3, "problem": 3,
    "options": 7, "reduce": "x", "origin": 3, "kind": "nothing", "a0": "\x07", "label": 3,
}  # fmt: skip


def forge(path, state, group, **changes):
    """Change attributes and make the checksums fit."""
    if state == "old":
        for file in (path / "zarr.json", path / "inputs" / "zarr.json"):
            found = json.loads(file.read_text())
            found["attributes"] |= {name: value for name, value in changes.items() if name in found["attributes"]}
            file.write_text(json.dumps(found))
        return
    facts, arrays = facts_and_arrays(unseal("header", (path / "olsbn" / "header").read_bytes()))
    facts["attrs" if group == "." else "inputs"] |= changes
    for name in ("header", "header.copy"):
        (path / "olsbn" / name).write_bytes(seal("header", with_arrays(facts, arrays)))


@pytest.mark.parametrize(
    ("group", "name"), [*((".", n) for n in FORGED), *(("inputs", n) for n in FORGED_INPUTS), (".", "all")]
)
def test_forged_attributes_end_in_one_line(group, name, state, made, hostile, capsys):
    values = FORGED if group == "." else FORGED_INPUTS
    forge(hostile, state, group, **(values if name == "all" else {name: values[name]}))
    code, err = outcome(capsys, "sweep", made / "c.toml", "--out", hostile)
    assert len(err.splitlines()) <= 1 and (code == 0 or "s.zarr" in err)
    for reader in READERS:
        code, err = outcome(capsys, reader, *arguments(reader, hostile))
        assert len(err.splitlines()) <= 1
        assert code or group == "inputs"


@pytest.mark.parametrize("array", ["eps", "dim", "trial", "eps_a", "record", "family_u"])
@pytest.mark.parametrize(
    "values",
    [np.array([np.nan]), np.zeros((2, 2)), np.zeros(0), np.array([-1.0]), np.array([10**15]), np.zeros(3, bool)],
)
@pytest.mark.parametrize("state", ["packed"], indirect=True)
def test_forged_inputs_end_in_one_line(array, values, made, hostile, capsys):
    facts, arrays = facts_and_arrays(unseal("header", (hostile / "olsbn" / "header").read_bytes()))
    for name in ("header", "header.copy"):
        (hostile / "olsbn" / name).write_bytes(seal("header", with_arrays(facts, arrays | {array: values})))
    for args in (["status", hostile], ["export", *arguments("export", hostile)]):
        code, err = outcome(capsys, *args)
        assert len(err.splitlines()) == (code == 2)
    refused(capsys, "sweep", made / "c.toml", "--out", hostile, codes=(2,))


def test_control_characters_do_not_reach_the_terminal(hostile, state, capsys):
    forge(hostile, state, ".", title="\x1b]0;owned\x07\x1b[2Jtitle\u202e", command="\r\nroot#", created="\x9b31m")
    with pytest.raises(SystemExit) as stop:
        main(["status", str(hostile)])
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    assert "title" in out and all(line.isprintable() for line in out.splitlines())
    assert olsbn.open(hostile).attrs["title"].isprintable()
    (hostile.parent / "lock").write_text(json.dumps({"pid": "\x1b[2J", "host": "\x07", "since": "\u202e"}))
    assert lock.holder(hostile.parent / "lock").isprintable()


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize("state", ["packed", "written"], indirect=True)
def test_sizes_are_bounded_before_they_are_allocated(hostile, state, made, capsys):
    """A tile, a chunk, and inputs that claim more than they may have; and a grid that no memory holds."""
    spec = Store(hostile).spec
    bomb = compress(np.zeros(10**7))
    if state == "written":
        place = f"{Store(hostile)._place} 0"
        parts = [np.array([len(bomb)] * len(spec.method.columns), "<u4").tobytes(), *[bomb] * len(spec.method.columns)]
        (hostile / "olsbn" / "tiles" / "000000").write_bytes(seal(place, parts))
        assert outcome(capsys, "status", hostile)[0] in (1, 2)
        with pytest.raises(ValueError, match="damaged"):
            olsbn.open(hostile).load()
    else:
        with pytest.raises(Damaged, match="not 16 bytes"):
            decompress(bomb, (2,), "float64")
    facts = {"attrs": {}, "inputs": {}}
    huge = with_arrays(facts, {})[1].replace(b'"arrays": {}', b'"arrays": {"eps": ["<f8", [1000000000000000]]}')
    with pytest.raises(Damaged):
        facts_and_arrays(memoryview(len(huge).to_bytes(4, "little") + huge))


def test_a_grid_that_no_memory_holds_is_opened_but_not_read(tmp_path):
    rates = np.arange(1.0, 10**5)
    spec = SweepSpec.checked(olsbn.OLSProblem([1.0], [1.0]), "bngd", {"eps": rates, "eps_a": rates}, n_steps=1)
    Store.create(tmp_path / "s.zarr", spec)
    ds = olsbn.open(tmp_path / "s.zarr")
    assert ds.excess[5, 7].isnull()
    with pytest.raises(ValueError, match="the values of excess read at once must be at most"):
        ds.excess.load()


def test_a_chunk_that_decompresses_to_more_is_refused(tmp_path):
    path = tmp_path / "s.zarr"
    xr.Dataset({"x": ("y", np.arange(10.0))}).to_zarr(path, consolidated=False)
    check_zarr(path)
    (path / "x" / "c" / "0").write_bytes(compress(np.zeros(10**7)))
    with pytest.raises(ValueError, match="must decompress to 80 bytes, got 80000000"):
        olsbn.open(path)


@pytest.mark.parametrize("n", [1, 200, 255, 256, 300, 65791, 65792, 10**6])
def test_the_declared_size_of_a_frame(n):
    assert zstd_size(compress(np.zeros(n, np.int8))[:18]) == n


@pytest.mark.parametrize(
    "change", [{"zarr_format": 2}, {"node_type": "x"}, {"data_type": "string"}, {"shape": [-1]}, {"shape": "ten"},
               {"codecs": [{"name": "bytes"}, {"name": "pickle"}]}, {"chunk_grid": {}}, {"attributes": 3},
               {"shape": [10**16]}, {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2**50]}}}],
)  # fmt: skip
def test_forged_metadata_of_zarr_ends_in_one_line(change, tmp_path, capsys):
    path = tmp_path / "s.zarr"
    xr.Dataset({"x": ("y", np.arange(10.0))}).to_zarr(path, consolidated=False)
    file = path / "x" / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    refused(capsys, "export", *arguments("export", path), codes=(2,))


# ------------------------------------------------------------------ NetCDF


def netcdf(path, make):
    """Write a NetCDF file, then change it by h5py."""
    import h5py

    xr.Dataset({"status": ("eps", np.zeros(3, np.int8))}, {"eps": [1.0, 2.0, 3.0]}).to_netcdf(path, engine="h5netcdf")
    with h5py.File(path, "r+") as file:
        make(h5py, file)


HDF5 = {
    "soft link": lambda h5py, file: file.__setitem__("x", h5py.SoftLink("/status")),
    "external link": lambda h5py, file: file.__setitem__("x", h5py.ExternalLink("secret.nc", "/status")),
    "external storage": lambda h5py, file: file.create_dataset(
        "x", (8,), "u1", external=[(str(Path(file.filename).parent / "secret"), 0, 8)]
    ),
    "virtual data": lambda h5py, file: file.create_virtual_dataset("x", _virtual(h5py)),
    "huge": lambda h5py, file: file.create_dataset("x", (2**50,), "f8", chunks=(1024,)),
    "group": lambda h5py, file: file.create_group("g").__setitem__("x", h5py.SoftLink("/status")),
}


def _virtual(h5py):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("secret.nc", "x", (3,))
    return layout


@pytest.mark.parametrize("what", HDF5)
def test_netcdf_files_lead_nowhere(what, tmp_path, capsys):
    (tmp_path / "secret").write_bytes(b"password")
    netcdf(tmp_path / "x.nc", HDF5[what])
    line = refused(capsys, "export", tmp_path / "x.nc", "--to", tmp_path / "y.csv", codes=(2,))
    assert "must lie in the file itself" in line or "must be at most" in line
    assert not (tmp_path / "y.csv").exists()


def test_a_file_that_is_not_netcdf_ends_in_one_line(tmp_path, capsys):
    for content in (b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        (tmp_path / "x.nc").write_bytes(content)
        refused(capsys, "export", tmp_path / "x.nc", "--to", tmp_path / "y.csv", codes=(2,))


def test_links_in_a_folder_of_results_are_refused(tmp_path, capsys):
    xr.Dataset({"x": ("step", [1.0])}, attrs={"method": "gd"}).to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "run-gd.nc").symlink_to(tmp_path / "run.nc")
    assert "symbolic link" in refused(capsys, "plot", tmp_path / "in", codes=(2,))
    (tmp_path / "in" / "run-gd.nc").unlink()
    xr.Dataset({"x": ("y", [1.0])}).to_zarr(tmp_path / "o.zarr", consolidated=False)
    (tmp_path / "in" / "map.zarr").symlink_to(tmp_path / "o.zarr")
    assert "symbolic link" in refused(capsys, "plot", tmp_path / "in", codes=(2,))


# ------------------------------------------------------------------ the files themselves


def test_files_are_written_whole_under_fresh_names(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "x").symlink_to(tmp_path / "victim")
    files.write_whole(tmp_path / "x", b"data")  # takes the place of the link
    assert (tmp_path / "x").read_bytes() == b"data" and not (tmp_path / "x").is_symlink()
    assert (tmp_path / "victim").read_text() == "precious"
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "00")
    (tmp_path / ".x.00.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        files.write_whole(tmp_path / "x", b"data")
    assert (tmp_path / "victim").read_text() == "precious"


def test_files_that_are_too_large_are_not_read(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(files.UnsafeFile, match="at most 100 bytes, got 1000000000000"):
        files.read_bytes(tmp_path / "x", 100)


def test_text_for_a_terminal():
    assert files.printable("ε = 3, λ*") == "ε = 3, λ*"
    assert files.printable({"a\x1b": ["b\x07", 3]}) == {"a\\x1b": ["b\\x07", 3]}
    assert files.printable("\x1b[2J\u202e\x9b").isprintable()


def test_a_link_in_place_of_a_map_is_refused(tmp_path, capsys):
    import xarray as xr

    xr.Dataset({"x": ("y", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "map.nc").symlink_to(tmp_path / "other.nc")
    assert "must be a regular file, got a symbolic link" in refused(capsys, "plot", tmp_path / "m", codes=(2,))
