"""Results from somebody else: nothing outside of them is written, followed or waited for, and each ends in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from olsbn import files
from olsbn.cli import main
from olsbn.results.foreign import check_zarr, zstd_size
from olsbn.results.opening import open_result
from olsbn.sweeps import store as stores

READERS = ("status", "export", "plot", "robustness", "certify", "compare")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A config and its finished store."""
    folder = tmp_path_factory.mktemp("made")
    config = folder / "c.toml"
    config.write_text('n_steps = 5\neps = [0.1, 1.0]\ndim = 3\n[problem]\nspectrum = "logspace"\ncond = 9')
    with pytest.raises(SystemExit):
        main(["sweep", str(config), "--out", str(folder / "s.zarr")])
    return config, folder / "s.zarr"


@pytest.fixture
def hostile(made, tmp_path):
    """A copy of the store, in a folder of its own, beside a file and a folder that must stay as they are."""
    (tmp_path / "in").mkdir()
    shutil.copytree(made[1], tmp_path / "in" / "s.zarr")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "folder").mkdir()
    yield tmp_path / "in" / "s.zarr"
    assert (tmp_path / "victim").read_text() == "precious" and not list((tmp_path / "folder").iterdir())
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


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["../../victim", "{root}/victim", "../../folder/new", "status/lock", "a/../../x"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_copy_of_metadata_names_files_of_the_store_only(name, bare, made, hostile, capsys):
    name = name.format(root=hostile.parents[1])
    if bare:  # a folder with this one file
        shutil.rmtree(hostile)
        (hostile / "status").mkdir(parents=True)
    copy = {name: "overwritten", "zarr.json": "{}"}
    (hostile / "status" / "metadata.json").write_text(json.dumps({"sha256": stores._hash(copy), "files": copy}))
    for args in (["sweep", made[0], "--out", hostile], ["status", hostile]):
        assert "must name files of metadata in the store" in refused(capsys, *args, codes=(2,))


# ------------------------------------------------------------------ links and pipes

PLACES = ["status/lock", "status/metadata.json", "zarr.json", "excess/zarr.json", "excess/c/0", "status/c/0", "eps/c/0",
          "inputs/eps/c/0", "excess", "status", "inputs", "excess/c"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_links_and_pipes_are_refused(place, kind, made, hostile, capsys):
    outside, target = hostile.parents[1], hostile / place
    is_folder = target.is_dir()
    shutil.rmtree(target) if is_folder else target.unlink()
    if kind == "link":
        target.symlink_to(outside / ("folder" if is_folder else "victim"))
    elif kind == "dangling":
        target.symlink_to(outside / "new")
    else:
        os.mkfifo(target)
    for args in (["sweep", made[0], "--out", hostile], ["status", hostile], ["export", *arguments("export", hostile)]):
        refused(capsys, *args)
    with pytest.raises(ValueError, match=r"must be|damaged|not a sweep store"):
        open_result(hostile)


def test_a_lock_with_another_name_is_not_written(made, hostile, capsys):
    (hostile / "status" / "lock").unlink()
    os.link(hostile.parents[1] / "victim", hostile / "status" / "lock")
    assert "hard links" in refused(capsys, "sweep", made[0], "--out", hostile)


def test_leftovers_of_known_names_are_not_written(made, hostile):
    """What is written first has a fresh name: a link that waits there is left alone, and swept as a leftover."""
    for name in ("status/metadata.json.partial", "zarr.json.partial"):
        (hostile / name).symlink_to(hostile.parents[1] / "victim")
    with pytest.raises(ValueError, match="got a symbolic link"):
        stores.Store(hostile)


def test_a_pipe_does_not_hang(made, tmp_path):
    (tmp_path / "s.zarr").mkdir()
    os.mkfifo(tmp_path / "s.zarr" / "zarr.json")
    os.mkfifo(tmp_path / "x.nc")
    for args in (["status", tmp_path / "s.zarr"], ["export", tmp_path / "x.nc", "--to", tmp_path / "y.nc"]):
        done = subprocess.run(
            [sys.executable, "-m", "olsbn", *map(str, args)], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


# ------------------------------------------------------------------ attributes

FORGED = {
    "title": 3, "created": None, "engine": [], "theory": None, "method": "adam", "command": {"a": 1},
    "grid_axes": "dim", "grid_shape": [-1], "tile_shape": [0, 0], "sweep_fingerprint": 7, "olsbn_version": [1],
}  # fmt: skip
FORGED_INPUTS = {
    "n_steps": "many", "tol": None, "stop": "never", "axes": ["x"], "method": "\x1b[2J", "kind": "nothing",
    "cond": "big", "seed": -4, "u": 3, "w0": {"a": 1},
}  # fmt: skip


def forge(path, group, **changes):
    """Change attributes, consolidated ones included, and make the copy of the metadata fit."""
    for name, value in changes.items():
        for file in {path / "zarr.json", path / group / "zarr.json"}:
            found = json.loads(file.read_text())
            for meta in (found, *found.get("consolidated_metadata", {}).get("metadata", {}).values()):
                if name in meta.get("attributes", {}):
                    meta["attributes"][name] = value
            file.write_text(json.dumps(found))
    stores._copy_metadata(path)


@pytest.mark.parametrize(
    ("group", "name"), [*((".", n) for n in FORGED), *(("inputs", n) for n in FORGED_INPUTS), (".", "all")]
)
def test_forged_attributes_end_in_one_line(group, name, made, hostile, capsys):
    values = FORGED if group == "." else FORGED_INPUTS
    forge(hostile, group, **(values if name == "all" else {name: values[name]}))
    line = refused(capsys, "sweep", made[0], "--out", hostile)
    assert "s.zarr" in line
    for reader in READERS:
        with pytest.raises(SystemExit) as stop:
            main([reader, *map(str, arguments(reader, hostile))])
        out, err = capsys.readouterr()
        assert stop.value.code in (0, 1, 2) and len(err.splitlines()) <= 1 and "Traceback" not in err
        assert "\x1b" not in out + err


def test_control_characters_do_not_reach_the_terminal(hostile, capsys):
    forge(hostile, ".", title="\x1b]0;owned\x07\x1b[2Jtitle\u202e", command="\r\nroot#", created="\x9b31m")
    with pytest.raises(SystemExit) as stop:
        main(["status", str(hostile)])
    out, _ = capsys.readouterr()
    assert stop.value.code == 0 and "title" in out and all(line.isprintable() for line in out.splitlines())
    lock = hostile / "status" / "lock"
    lock.write_text(json.dumps({"pid": "\x1b[2J", "host": "\x07", "since": "\u202e"}))
    assert stores._holder(lock).isprintable()
    assert open_result(hostile).attrs["title"].isprintable()


# ------------------------------------------------------------------ sizes


def test_sizes_are_bounded_before_they_are_allocated(hostile, capsys):
    text = (hostile / "excess" / "zarr.json").read_text()
    for change in (
        {"shape": [10**15]},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**14]}}},
    ):
        (hostile / "excess" / "zarr.json").write_text(json.dumps(json.loads(text) | change))
        stores._copy_metadata(hostile)
        assert "excess" in refused(capsys, "export", *arguments("export", hostile))


def test_a_chunk_that_decompresses_to_more_is_refused(tmp_path):
    from numcodecs import zstd

    path = tmp_path / "s.zarr"
    xr.Dataset({"x": ("y", np.arange(10.0))}).to_zarr(path, consolidated=False)
    check_zarr(path)
    (path / "x" / "c" / "0").write_bytes(zstd.compress(np.zeros(10**7), 1))
    with pytest.raises(ValueError, match="must decompress to 80 bytes, got 80000000"):
        open_result(path)


@pytest.mark.parametrize("n", [1, 200, 255, 256, 300, 65791, 65792, 10**6])
def test_the_declared_size_of_a_frame(n):
    from numcodecs import zstd

    assert zstd_size(zstd.compress(bytes(n), 1)[:18]) == n


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
