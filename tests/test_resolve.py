"""Flagged cells are replaced by what is proved; what is interrupted goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import olsbn
from olsbn.balls import Undecided
from olsbn.certification import exact_cell
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.results import processes, resolution

pytest.importorskip("flint")

# delta, forced over hundreds of steps, has nothing of its own but rounding, and decays slower than the mode
HARD = OLSProblem([1, 7e5], [-0.3, 0.07], [0.35, 0.25])
GRID = {"eps": np.geomspace(0.02, 0.03, 6), "eps_a": [1.0, 1.9], "n_steps": 800, "tol": 1e-8}
NAMES = "excess", "eps_eff", "a", "w_norm"


@pytest.fixture(scope="module")
def ds():
    found = olsbn.sweep(HARD, progress=False, **GRID)
    # whichever cells this version of the engine flags, here it is these, with numbers that are wrong
    flags = np.zeros(found.by_rounding.shape, bool)
    flags[0, [1, 3]] = flags[1, 2] = True
    found["by_rounding"] = found.by_rounding.dims, flags
    for name in NAMES:
        found[name] = found[name].where(~found.by_rounding, 7.0)
    return found


def check(found, ds, problem=HARD):
    """Hold every cell that is resolved against `exact_cell`, and every other one against what it was."""
    assert (found.resolved == ds.by_rounding).all() and not found.by_rounding.any()
    for name in set(ds.data_vars) - {"by_rounding"}:
        xr.testing.assert_identical(found[name].where(~found.resolved), ds[name].where(~ds.by_rounding))
    for i, j in np.argwhere(found.resolved.values):
        cell = found[{"eps_a": i, "eps": j}]
        params = {"eps": float(cell.eps), "eps_a": float(cell.eps_a)}
        exact = exact_cell(problem, "bngd", params, ds.attrs["n_steps"], ds.attrs["tol"])
        assert [float(cell[name]) for name in NAMES] == [float(x.mid()) for x in exact[3:7]]
        assert (cell.status, cell.steps_to_tol, cell.n_steps_run) == exact[:3]
        assert np.isnan(cell.rate_sim)


def test_flagged_cells_are_replaced(ds):
    before = ds.copy(deep=True)
    found = olsbn.resolve(ds, HARD, workers=1)
    check(found, ds)
    xr.testing.assert_identical(ds, before)
    assert [found.attrs[f"cells_{name}"] for name in ("resolved", "undecided", "flagged")] == [3, 0, 0]
    proof = olsbn.certify(found, problem=HARD)
    resolved = found.resolved.values.ravel()
    assert proof.agrees.values[resolved].all() and (proof.digits.values[resolved] > 15).all()
    assert olsbn.resolve(found, HARD).identical(found)
    theory = olsbn.bngd_contraction_ratio(HARD, found.eps_eff[0, 1].values, 1.0, excited=True)
    assert float(found.rate_theory[0, 1]) == pytest.approx(float(theory), rel=1e-13)


def test_on_processes_it_is_the_same(ds, monkeypatch):
    monkeypatch.setattr(resolution, "_AT_ONCE", 1)
    seen = []
    found = olsbn.resolve(ds, HARD, workers=2, progress=lambda done, all_: seen.append((done, all_)))
    assert found.identical(olsbn.resolve(ds, HARD, workers=1))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_only_some(ds):
    found = olsbn.resolve(ds, HARD, 1)
    assert found.attrs["cells_flagged"] == 2 and bool(found.resolved[0, 1])
    check(olsbn.resolve(found, HARD).assign(resolved=ds.by_rounding), ds)
    assert olsbn.resolve(ds, HARD, 0).drop_vars("resolved").equals(ds)


def test_recorded_steps():
    ds = olsbn.sweep(HARD, **GRID, record=[0, 7, 400, 800], progress=False)
    ds["by_rounding"][2:, 1, 3] = True
    found = olsbn.resolve(ds, HARD)
    assert found.resolved.dims == ("eps_a", "eps") and bool(found.resolved[1, 3]) and not found.by_rounding.any()
    assert found.excess.dims == ds.excess.dims
    params = {"eps": GRID["eps"][3], "eps_a": 1.9}
    exact = exact_cell(HARD, "bngd", params, 800, 1e-8, record=[0, 7, 400, 800])
    for i, k in enumerate((0, 7, 400, 800)):
        assert [float(found[name][i, 1, 3]) for name in NAMES] == [float(x.mid()) for x in exact.trace[k]]
    assert np.isfinite(found.rate_theory[1, 3])
    one = olsbn.resolve(ds.isel(eps_a=1, eps=3), HARD)
    assert one.resolved.dims == () and one.excess.identical(found.excess[:, 1, 3])


def test_other_methods_and_families():
    family = ProblemFamily("linspace", 10.0, seed=2)
    ds = olsbn.sweep(family, dim=[2, 3], trial=[0, 4], eps=0.1, momentum=[0.0, 0.5], n_steps=50, progress=False)
    ds["by_rounding"][1, 1, 1] = True
    truth = ds.copy(deep=True)
    ds["excess"][1, 1, 1] = 5
    found = olsbn.resolve(ds)
    assert int(found.resolved.sum()) == int(ds.by_rounding.sum())
    np.testing.assert_allclose(found.excess, truth.excess, rtol=1e-9)
    np.testing.assert_allclose(found.rate_theory[1, 1, 1], truth.rate_theory[1, 1, 1], rtol=1e-9)


def test_what_is_undecided_stays_flagged():
    """0.25^k meets the tolerance exactly: no number of bits tells on which side."""
    problem = OLSProblem([1, 8], [1.0, 1.0], [2.0, 2.0], a0=6.0)
    ds = olsbn.sweep(problem, eps=[0.1], eps_a=0.5, n_steps=20, tol=2.0**-10, progress=False)
    ds["by_rounding"][...] = True
    found = olsbn.resolve(ds, problem)
    assert found.by_rounding.all() and not found.resolved.any() and found.attrs["cells_undecided"] == 1
    with pytest.raises(Undecided):
        exact_cell(problem, "bngd", {"eps": 0.1, "eps_a": 0.5}, 20, 2.0**-10)


def test_what_cannot_be_resolved(ds, tmp_path):
    for change, args, message in [
        ({}, {"max_cells": -1}, "max_cells must be >= 0"),
        ({}, {"problem": None}, "problem must be given"),
        ({}, {"problem": OLSProblem([1.0], [1.0])}, "problem must be the one"),
        ({"method": "minibatch", "batches_sha256": "0"}, {}, "without batches of its own"),
    ]:
        with pytest.raises(ValueError, match=message):
            olsbn.resolve(ds.assign_attrs(change), **({"problem": HARD, "store": tmp_path / "x"} | args))
    with pytest.raises(ValueError, match=r"with .*by_rounding"):
        olsbn.resolve(ds.drop_vars("by_rounding"), HARD, store=tmp_path / "x")
    with pytest.raises(TypeError, match="xarray"):
        olsbn.resolve(None)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------- stores


def test_a_store_goes_on(ds, tmp_path, monkeypatch):
    store, proved = tmp_path / "r.zarr", []
    prove = resolution.prove
    monkeypatch.setattr(resolution, "_AT_ONCE", 1)

    def counted(common, tasks):
        if len(proved) == 2:
            raise KeyboardInterrupt
        proved.append(tasks)
        return prove(common, tasks)

    monkeypatch.setattr(resolution, "prove", counted)
    with pytest.raises(KeyboardInterrupt):
        olsbn.resolve(ds, HARD, store=store, workers=1)
    lines = (store / "proved.jsonl").read_text().splitlines()
    assert len(lines) == 3
    with (store / "proved.jsonl").open("a") as file:
        file.write('{"cell": 8, "ro')  # what a killed process may leave
    with pytest.raises(ValueError, match="store must be"):
        olsbn.resolve(ds.isel(eps=slice(0, 4)), HARD, store=store)
    monkeypatch.setattr(resolution, "prove", prove)
    seen = []
    found = olsbn.resolve(ds, HARD, store=store, workers=1, progress=lambda done, all_: seen.append(all_))
    assert seen == [1]
    check(found, ds)
    assert sorted(p.name for p in store.iterdir() if p.suffix == ".jsonl" or p.name.startswith(".")) == []
    monkeypatch.setattr(resolution, "prove", None)
    again = olsbn.resolve(ds, HARD, store=store)
    xr.testing.assert_equal(again, found)
    for other in (ds.isel(eps=slice(0, 4)), ds.assign(excess=ds.excess * 2)):
        with pytest.raises(ValueError, match="store must be"):
            olsbn.resolve(other, HARD, store=store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="store must be"):
        olsbn.resolve(ds, HARD, store=tmp_path / "mine")


def test_the_command(ds, tmp_path, capsys):
    from olsbn.cli import main

    ds = olsbn.sweep(OLSProblem.from_spectrum("logspace", 4, 50.0), eps=[0.1, 1.0], n_steps=60, progress=False)
    ds["by_rounding"][0] = True
    ds.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")

    def command(*args):
        with pytest.raises(SystemExit) as stop:
            main([*map(str, args)])
        return stop.value.code, *capsys.readouterr()

    options = ("--spectrum", "logspace", "--dim", 4, "--cond", 50)
    code, out, _ = command("resolve", tmp_path / "s.nc", "--out", tmp_path / "r.zarr", *options)
    assert code == 0 and "resolved    1 cells" in out and "flagged     0 cells" in out
    found = xr.open_zarr(tmp_path / "r.zarr", consolidated=False)
    assert found.resolved.values.tolist() == [True, False]
    code, out, _ = command("certify", tmp_path / "r.zarr", *options)
    assert code == 0 and "proved right to 1e-09     2" in out
    code, _, err = command("resolve", tmp_path / "s.nc", "--out", tmp_path / "q.zarr")
    assert code == 2 and "problem must be given" in err and not (tmp_path / "q.zarr").exists()
    args = ("map", *options, "--eps", "0.1:1:2", "--eps-a", "0.5:1:2", "--steps", 60, "--zarr", "--out", tmp_path / "m")
    code, out, err = command(*args, "--resolve")
    assert code == 0, err
    assert "resolved" in xr.open_zarr(tmp_path / "m" / "map.zarr", consolidated=False)


def test_a_signal_ends_the_workers(ds, tmp_path):
    """Ctrl-C: exit 130, what is proved is kept, and no process is left."""
    ds = olsbn.sweep(HARD, **(GRID | {"n_steps": 100000}), progress=False)
    ds["by_rounding"][...] = True
    ds.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    np.savez(tmp_path / "p.npz", h=HARD.eigvals, u=HARD.u, w=HARD.w0)
    script = (
        "import sys, numpy as np, xarray as xr, olsbn\n"
        f"p = np.load({str(tmp_path / 'p.npz')!r})\n"
        f"ds = xr.open_dataset({str(tmp_path / 's.nc')!r}, engine='h5netcdf').load()\n"
        "print('begin', flush=True)\n"
        f"olsbn.resolve(ds, olsbn.OLSProblem(p['h'], p['u'], p['w']), store={str(tmp_path / 'r.zarr')!r}, workers=2)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, start_new_session=True
    )
    assert child.stdout.readline() == b"begin\n"

    def workers():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == child.pid:
                found.append(int(pid))
        return found

    until = time.monotonic() + 60
    while len(started := workers()) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(started) == 2
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert b"KeyboardInterrupt" in err
    until = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in started) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in started)
    assert json.loads((tmp_path / "r.zarr" / "proved.jsonl").read_text().splitlines()[0])["digest"]


# -------------------------------------------------------------------- processes


def test_a_call_that_fails_and_a_worker_that_dies():
    assert sorted(processes.on_processes("operator:add", 1, [1, 2, 3], 2)) == [(0, 2), (1, 3), (2, 4)]
    with pytest.raises(TypeError, match="unsupported operand"):
        list(processes.on_processes("operator:add", 1, ["x", 2], 2))
    with pytest.raises(RuntimeError, match="ended by itself"):
        list(processes.on_processes("os:killpg", 0, [signal.SIGKILL, signal.SIGKILL], 2))  # its own group


def test_a_map_and_its_summary_say_how_many_cells_were_proved(ds):
    from olsbn import maps
    from olsbn.plotting.cells import Cells, keys_of

    for data, words in ((ds, "decided by rounding"), (olsbn.resolve(ds, HARD), "proved with more digits")):
        assert maps.counts(data).endswith(f"; 3 {words}")
        assert f"{words}: 3 of 12 cells" in [key.get_label() for key in keys_of({"": Cells.of(data, "excess")})]


def test_mini_batches_are_resolved_and_what_is_not_proved_is_left_out():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    problem = OLSProblem.from_samples(X, X @ [1.0, 2.0, -1.0] + rng.normal(size=30))
    grid = {"eps": [0.1, 0.3], "replicate": [0, 1], "batch_size": 5, "averaging": 0.1}
    ds = olsbn.sweep(problem, method="minibatch", n_steps=40, record=[20, 40], progress=False, **grid)
    ds["by_rounding"][...] = False
    ds["by_rounding"][:, 0, 1] = True
    found = olsbn.resolve(ds, problem)
    assert found.attrs["cells_resolved"] == 1 and not found.by_rounding.any()
    for name in NAMES:
        np.testing.assert_allclose(found[name], ds[name], rtol=1e-10)
    for name in ("gap", "excess_batch", "excess_running"):
        assert int(found[name].isnull().sum()) == int(ds[name].isnull().sum()) + 2
