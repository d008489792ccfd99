"""The commands map, run and spectrum: what they write, and what they refuse."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import waiting
import xarray as xr
from click.testing import CliRunner

import olsbn
from olsbn.cli import main
from olsbn.sweeps.grid import Grid

OLSBN = [sys.executable, "-m", "olsbn"]
FAST = ["--eps", "1e-2:1e3:11", "--eps-a", "0.5:2.5:5", "--steps", "200"]
RANDOM = ["--spectrum", "logspace", "--dim", "5", "--cond", "20"]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


def listing(path="."):
    return sorted(str(p) for p in Path(path).rglob("*"))


# ---------------------------------------------------------------- what is refused

TABLES = {
    "text.csv": "a,b,y\n1,2,3\n2,x,4\n",
    "gap.csv": "a,b,y\n1,2,3\n2,,4\n3,1,2\n",
    "nan.csv": "a,b,y\n1,nan,3\n2,3,4\n3,1,2\n",
    "constant.csv": "a,b,y\n1,2,3\n1,3,4\n1,5,1\n",
    "constant_y.csv": "a,b,y\n1,2,7\n2,3,7\n3,1,7\n",
    "duplicate.csv": "a,b,y\n1,1,3\n2,2,4\n4,4,1\n",
    "one.csv": "a,b,y\n1,2,3\n",
    "empty.csv": "",
    "ragged.csv": "a,b,y\n1,2\n",
    "good.csv": "a,b,y\n1,2,3\n2,2,4\n4,1,1\n3,5,2\n",
}

BAD_MAPS = [
    *[(["--csv", name, "--target", "y"], name) for name in TABLES if name != "good.csv"],
    (["--csv", "good.csv", "--target", "z"], "a, b, y"),
    (["--csv", "good.csv"], "--target"),
    (["--csv", "absent.csv", "--target", "y"], "No such file"),
    ([], "--data NAME"),
    (["--data", "wine", "--csv", "good.csv", "--target", "y"], "--data and --csv"),
    (["--data", "wine", "--target", "y"], "--target goes with --csv"),
    (["--data", "wine", "--dim", "3"], "--dim goes with --spectrum"),
    (["--data", "diabets"], "did you mean 'diabetes'?"),
    (["--data", ""], "unknown --data ''"),
    (["--spectrum", "logspce", "--dim", "3", "--cond", "2"], "did you mean 'logspace'?"),
    (["--spectrum", "logspace", "--cond", "2"], "--dim"),
    (["--spectrum", "logspace", "--dim", "3"], "--cond"),
    (["--spectrum", "logspace", "--dim", "0", "--cond", "2"], "got 0"),
    (["--spectrum", "logspace", "--dim", "x", "--cond", "2"], "'x'"),
    (["--spectrum", "logspace", "--dim", 10**13, "--cond", "2"], "memory"),
    (["--spectrum", "logspace", "--dim", "3", "--cond", "nan"], "nan"),
    (["--spectrum", "logspace", "--dim", "3", "--cond", "0.5"], "0.5"),
    ([*RANDOM, "--seed", "-1"], "-1"),
    ([*RANDOM, "--standardize"], "--standardize"),
    *[
        ([*RANDOM, option, grid], grid)
        for option, grids in {
            "--eps": ["10:1:5", "1:10:0", "1:10:-2", "nan:1:3", "1:nan:3", "-1:1:5", "0:1:5", "1:1:5", "1:inf:3"],
            "--eps-a": ["10:1:5", "1:10:0", "nan:1:3", "-1:1:5", "0:1:5@log", "1:2:3@cubic", "1:2", "1:2:2.5", "x"],
        }.items()
        for grid in grids
    ],
    ([*RANDOM, "--eps", ""], "''"),
    ([*RANDOM, "--eps", "1"], "olsbn run"),
    ([*RANDOM, "--eps", "1e-300:1:5"], "1e-290"),
    ([*RANDOM, "--eps", "1:1.0000000000000002:100"], "differ"),
    ([*RANDOM, "--eps", "1:2:99999999999999999999"], "memory"),
    ([*RANDOM, "--steps", "-1"], "-1"),
    ([*RANDOM, "--steps", "many"], "many"),
    ([*RANDOM, "--tol", "0"], "0.0"),
    ([*RANDOM, "--tol", "nan"], "nan"),
    ([*RANDOM, "--workers", "0"], "--workers"),
    ([*RANDOM, "--out", "file"], "file"),
    ([*RANDOM, "--out", "file/below"], "file/below"),
    ([*RANDOM, "--out", "mine"], "earlier results"),
    ([*RANDOM, "--out", "/proc/olsbn"], "/proc/olsbn"),
    ([*RANDOM, "--nope"], "--nope"),
    ([*RANDOM, "extra"], "extra"),
]

BAD_RUNS = [
    (["--eps", "-1"], "-1"),
    (["--eps", "nan"], "nan"),
    (["--eps", "1:2:3"], "1:2:3"),
    (["--eps-a", "-0.1"], "-0.1"),
    (["--method", "sgd"], "bngd"),
    (["--method", "gd", "--eps-a", "1"], "--eps-a"),
    (["--steps", 2**60], "n_steps"),
    (["--out", "mine"], "earlier results"),
]


@pytest.fixture
def tables(tmp_path):
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.nc").write_text("not a result")


@pytest.mark.parametrize(
    ("command", "args", "words"),
    [
        *[("map", args, words) for args, words in BAD_MAPS],
        *[("run", [*RANDOM, *args], words) for args, words in BAD_RUNS],
        ("spectrum", [], "--data NAME"),
        ("spectrum", ["--csv", "text.csv", "--target", "y"], "'x'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tables, command, args, words):
    before = listing()
    result = call(command, *args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith(f"olsbn {command}: ") and result.stderr.count("\n") == 1
    assert words in result.stderr
    assert listing() == before


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help(command):
    result = call(command, "--help")
    assert result.exit_code == 0 and "\\b" not in result.stdout
    if "Example" in result.stdout:
        assert "\n    " in result.stdout.split("Example")[1].split("Options:")[0]  # indented, line by line


def test_unknown_command():
    result = call("mpa")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("olsbn: No such command 'mpa'.") and result.stderr.count("\n") == 1


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    result = call("map", "--data", "wine")
    assert result.exit_code == 2 and 'pip install "olsbn[data]"' in result.stderr
    assert result.stderr.count("\n") == 1 and listing() == []


def test_an_error_after_the_checks_is_not_called_bad_input(monkeypatch):
    def broken(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr("olsbn.plotting.map_figure", broken)
    result = call("map", *RANDOM, *FAST, "--out", "a/b")
    assert isinstance(result.exception, ValueError)
    assert listing() == []  # not even the directories


def test_full_disk_is_one_line_and_a_failure(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("olsbn.plotting.save", full)
    result = call("map", *RANDOM, *FAST)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "No space left on device" in result.stderr
    assert listing() == []


# ---------------------------------------------------------------- grids


def test_grids():
    grid = Grid.parse("--eps", "1e-3:1e3:7", log=True)
    np.testing.assert_allclose(grid.values(), 10.0 ** np.arange(-3, 4), rtol=1e-14)
    assert grid.values()[[0, -1]].tolist() == [1e-3, 1e3]
    assert Grid.parse("--eps", "0:1:5@lin", log=True).values().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert Grid.parse("--eps-a", "0.25:1:3@log", log=False).values().tolist() == [0.25, 0.5, 1]
    assert Grid.parse("--eps", "2.5", log=True).values().tolist() == [2.5]


def test_default_map_has_the_edge_between_two_rows(tmp_path):
    assert call("map", *RANDOM, "--eps", "1:2:2", "--steps", "1", "--out", "m").exit_code == 0
    ds = xr.open_dataset("m/map.nc")
    from olsbn.maps import cell_edges

    edges, log = cell_edges(ds.eps_a.values)
    assert log and np.abs(edges - 2).min() < 1e-12


# ---------------------------------------------------------------- map


def test_map_writes_what_sweep_returns():
    result = call("map", *RANDOM, "--seed", 3, *FAST, "--pdf", "--zarr", "--out", "deep/down")
    assert result.exit_code == 0, result.output
    assert listing("deep/down")[0:3] == [f"deep/down/map.{s}" for s in ("nc", "pdf", "png")]
    assert not [p for p in os.listdir("deep/down") if p.startswith(".")]
    problem = olsbn.OLSProblem.from_spectrum("logspace", 5, 20.0, seed=3)
    eps, eps_a = np.geomspace(1e-2, 1e3, 11), np.linspace(0.5, 2.5, 5)
    bngd = olsbn.sweep(problem, eps=eps, eps_a=eps_a, n_steps=200)
    gd = olsbn.sweep(problem, method="gd", eps=eps, n_steps=200)
    for ds in (xr.open_dataset("deep/down/map.nc"), xr.open_zarr("deep/down/map.zarr", consolidated=False)):
        for name in bngd.data_vars:
            np.testing.assert_array_equal(ds[name].values, bngd[name].values)
        for name in gd.data_vars:
            np.testing.assert_array_equal(ds[f"gd_{name}"].values, gd[name].values)
        assert ds.attrs["problem_fingerprint"] == problem.fingerprint
        assert ds.attrs["command"].startswith("olsbn map --spectrum logspace --dim 5")
        ds.close()


def test_map_tells_counts_and_ranges():
    out = call("map", *RANDOM, "--eps", "1e-4:1e6:101", "--eps-a", "1:2.5:4", "--steps", "2000").stdout
    ds = xr.open_dataset("results/map-logspace-d5-cond20/map.nc")
    n_good, n_diverged = int((ds.status == 0).sum()), int((ds.status == 2).sum())
    assert n_good > 0 and n_diverged > 0
    assert f"BNGD        404 cells: {n_good} converged" in out and f"{n_diverged} diverged" in out
    good = ds.eps.values[(ds.status == 0).sel(eps_a=1).values]
    width, half = 0.1 * good.size, 10**0.05  # ten cells a decade
    assert f"{width:.2f} decades, {good[0] / half:.3g} to {good[-1] * half:.3g} at eps_a = 1" in out


def test_map_again_replaces_its_own_results_only():
    assert call("map", *RANDOM, *FAST, "--pdf", "--zarr", "--out", "m").exit_code == 0
    Path("m/notes.txt").write_text("mine")
    first = Path("m/map.png").read_bytes(), Path("m/map.pdf").read_bytes()
    names = listing("m")
    assert call("map", *RANDOM, *FAST, "--pdf", "--zarr", "--out", "m").exit_code == 0
    assert (Path("m/map.png").read_bytes(), Path("m/map.pdf").read_bytes()) == first  # redrawing gives the same bytes
    assert listing("m") == names
    assert call("map", *RANDOM, *FAST, "--steps", "100", "--out", "m").exit_code == 0
    assert olsbn.open("m").attrs["n_steps"] == 100
    assert listing("m") == ["m/map.nc", "m/map.png", "m/notes.txt"]  # no picture or numbers of the earlier map
    assert Path("m/map.png").read_bytes() != first[0]
    assert Path("m/notes.txt").read_text() == "mine"


def test_a_failed_map_leaves_the_earlier_one(monkeypatch):
    assert call("map", *RANDOM, *FAST, "--out", "m").exit_code == 0
    before = {p: Path(p).read_bytes() for p in listing("m") if Path(p).is_file()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("olsbn.plotting.save", full)
    assert call("map", *RANDOM, *FAST, "--steps", "7", "--out", "m").exit_code == 1
    assert {p: Path(p).read_bytes() for p in listing("m") if Path(p).is_file()} == before


def test_map_of_a_table():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(30, 3))
    y = X @ [1, 2, 3] + rng.normal(size=30)
    np.savetxt("my data$.csv", np.column_stack([X, y]), delimiter=",", header="a,b,c,y", comments="")
    result = call("map", "--csv", "my data$.csv", "--target", "y", "--standardize", "--steps", 100, *FAST[:4])
    assert result.exit_code == 0, result.output
    ds = xr.open_dataset("results/map-my_data_-standardized/map.nc")
    assert ds.attrs["problem_fingerprint"] == olsbn.OLSProblem.from_samples(X, y, standardize=True).fingerprint


@pytest.mark.parametrize(
    "args",
    [
        ["--spectrum", "identity", "--dim", "1"],
        ["--spectrum", "identity", "--dim", "3", "--steps", "0"],
        [*RANDOM, "--eps", "0:1:5@lin", "--eps-a", "0:3:4"],
        [*RANDOM, "--eps", "1e-290:1e290:9", "--eps-a", "1e-290:1e290:9@log"],
        [*RANDOM, "--eps", "1:2:2", "--eps-a", "1:2:2"],
    ],
)
def test_odd_maps(args):
    result = call("map", "--steps", 20, *args)
    assert result.exit_code == 0, result.output


# ---------------------------------------------------------------- run and spectrum


def test_run_writes_what_the_functions_return():
    result = call("run", *RANDOM, "--eps", 0.05, "--eps-a", 0.5, "--steps", 300, "--out", "r")
    assert result.exit_code == 0, result.output
    assert listing("r") == ["r/bngd.nc", "r/gd.nc", "r/run.pdf", "r/run.png"]
    problem = olsbn.OLSProblem.from_spectrum("logspace", 5, 20.0)
    bngd, gd = olsbn.run_bngd(problem, 0.05, 0.5, 300), olsbn.run_gd(problem, 0.05, 300)
    for name, ds in (("bngd", bngd), ("gd", gd)):
        stored = xr.open_dataset(f"r/{name}.nc")
        for variable in ds.data_vars:
            np.testing.assert_array_equal(stored[variable].values, ds[variable].values)
        assert f"theory {ds.attrs['rate_theory']:.15g}" in result.stdout
    assert call("run", *RANDOM, "--method", "gd", "--out", "g").exit_code == 0
    assert listing("g") == ["g/gd.nc", "g/run.pdf", "g/run.png"]


def test_what_stands_beside_a_map_has_its_parameters():
    """GD's strip below BNGD with weight decay is GD with weight decay: a result has one value of it."""
    args = ["--eps", "1e-3:1:7", "--eps-a", "0.5:1.5:3", "--weight-decay", 0.01, "--steps", 50]
    assert call("map", *RANDOM, *args, "--out", "m").exit_code == 0
    ds = xr.open_dataset("m/map.nc")
    problem = olsbn.OLSProblem.from_spectrum("logspace", 5, 20.0)
    gd = olsbn.maps.apart(ds)[1]
    assert gd.attrs["weight_decay"] == 0.01
    np.testing.assert_array_equal(
        gd.excess, olsbn.sweep(problem, method="gd", eps=ds.eps.values, weight_decay=0.01, n_steps=50).excess
    )
    robust = call("robustness", "m", *RANDOM)
    assert robust.exit_code == 0 and "nan" not in robust.stdout


def test_run_of_many_steps_records_some():
    assert call("run", "--spectrum", "identity", "--dim", 2, "--steps", 50_001, "--out", "r").exit_code == 0
    steps = xr.open_dataset("r/bngd.nc").step.values
    assert steps.size < 20_002 and steps[0] == 0 and steps[-1] == 50_001


def test_default_rates_of_a_run_are_near_the_best():
    first = {name: method.theory.first_eps for name, method in olsbn.methods().items()}
    problem = olsbn.OLSProblem.from_spectrum("linspace", 30, 50.0)
    report = olsbn.spectral_report(problem)
    assert first["gd"](problem) == report.eps_opt
    ds = olsbn.run_bngd(problem, first["bngd"](problem), n_steps=3000)
    assert 0.3 * report.eps_eff_opt < ds.eps_eff.values[-1] <= report.eps_eff_max


def test_spectrum_as_text_and_json():
    problem = olsbn.OLSProblem.from_spectrum("logspace", 50, 1e3)
    report, regimes = olsbn.spectral_report(problem), olsbn.effective_rate_regimes(problem)
    args = ["spectrum", "--spectrum", "logspace", "--dim", 50, "--cond", 1e3]
    text = call(*args)
    assert text.exit_code == 0 and f"{report.cond_star:.10g}" in text.stdout and "(44 more)" in text.stdout
    found = json.loads(call(*args, "--json").stdout)
    assert found["cond_star"] == report.cond_star and found["eps_1"] == regimes.eps_1
    assert found["eigvals_star"] == report.eigvals_star.tolist() and found["fingerprint"] == problem.fingerprint
    one = json.loads(call("spectrum", "--spectrum", "identity", "--dim", 1, "--json").stdout)
    assert one["cond_star"] is None  # NaN is no JSON


# ---------------------------------------------------------------- processes


def test_help_is_instant_and_imports_nothing_heavy():
    code = (
        "import sys, olsbn.cli\n"
        "try: olsbn.cli.main([])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'numpy', 'numba', 'xarray', 'matplotlib', 'scipy', 'h5py'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    for args in ([], ["--help"], ["map", "--help"]):
        assert subprocess.run([*OLSBN, *args], capture_output=True, check=True).stdout
    assert (
        subprocess.run([*OLSBN, "--version"], capture_output=True, text=True).stdout == f"olsbn {olsbn.__version__}\n"
    )


def test_a_reader_that_leaves_is_no_error(monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it Python itself drops what does not fit, silently
    args = [*OLSBN, "spectrum", "--spectrum", "logspace", "--dim", "4000", "--cond", "10", "--json"]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("command", ["map", "run"])
def test_interrupted_in_one_line(command, number, word):
    # steps so small that no run comes to its end, however late the signal is
    slow = ["--eps", "1e-9"] if command == "run" else []
    args = [*OLSBN, command, *RANDOM, *slow, "--steps", str(10**10), "--out", "deep/down"]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        waiting.until(Path("deep/down").exists, process)
        time.sleep(0.5)  # it may, but need not, have begun with the cells
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=waiting.PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    told = [line for line in err.splitlines() if not line.startswith("olsbn: compiling")]
    assert (out, told) == ("", [f"olsbn {command}: {word}"])
    assert listing() == []
