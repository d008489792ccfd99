"""Configs and command lines of sweeps: what is good is read as meant, what is not is refused in one line."""

import os
import re
import types

import numpy as np
import pytest
from malformed import COMMANDS, CONFIGS, GOOD

import olsbn
from olsbn.cli import main
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.sweeps import toml
from olsbn.sweeps.plan import plan
from olsbn.sweeps.running import fill


def refused(capsys, *args):
    """Return the one line with which a command is refused."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == ""
    (line,) = err.splitlines()
    assert line.startswith("olsbn")
    return line


def test_there_are_a_hundred():
    assert len(CONFIGS) + len(COMMANDS) >= 100


@pytest.mark.parametrize(("text", "message"), CONFIGS)
def test_malformed_configs(text, message, tmp_path, capsys):
    path = tmp_path / "sweep.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    line = refused(capsys, "sweep", path, "--out", tmp_path / "out.zarr")
    assert message in line
    if "fit on the disk" not in message:
        assert str(path) in line
        assert message in refused(capsys, "plan", path)
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.toml"]


@pytest.mark.parametrize(("args", "message"), COMMANDS)
def test_malformed_command_lines(args, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("olsbn.sweeps.dask._CONNECT", 0.5)
    good = tmp_path / "good.toml"
    good.write_text(GOOD)
    line = refused(capsys, *[arg.format(config=good, out=tmp_path / "out") for arg in args])
    assert message in line
    assert [p.name for p in tmp_path.iterdir()] == ["good.toml"]


def test_a_good_config(tmp_path):
    (tmp_path / "c.toml").write_text(GOOD + "seed = 4\nw0 = 'gradient'")
    spec = toml.load(tmp_path / "c.toml")
    assert spec.source == ProblemFamily("logspace", 10.0, 4, w0="gradient")
    assert spec.axes == ("dim", "trial", "eps_a", "eps") and [n for n in spec.shape if n > 1] == [2, 2, 2, 7]
    assert spec.dims == (3, 5) and spec.trials == (0, 1)
    np.testing.assert_array_equal(spec.params["eps"], np.geomspace(1e-3, 1e3, 7))
    assert (spec.method_name, spec.n_steps, spec.tol, spec.stop) == ("bngd", 20, 1e-10, "steps")


@pytest.mark.parametrize(
    ("eps", "values", "has_axis"),
    [
        ("0.5", [0.5], False),
        ("2", [2.0], False),
        ("'0.5'", [0.5], False),
        ("[1, 0.5]", [1.0, 0.5], True),
        ("'1:3:3@lin'", [1.0, 2.0, 3.0], True),
        ("'0.01:1:3'", [0.01, 0.1, 1.0], True),
        ("'0.5:0.5:1'", [0.5], True),
    ],
)
def test_learning_rates(eps, values, has_axis, tmp_path):
    (tmp_path / "c.toml").write_text(f"n_steps = 5\neps = {eps}\n[problem]\ndata = 'wine'")
    spec = toml.load(tmp_path / "c.toml")
    np.testing.assert_allclose(spec.params["eps"], values, rtol=1e-15)
    assert spec.axes == (("eps",) if has_axis else ())


def test_tables_are_found_beside_the_config(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n1,2\n2,3\n3,5\n")
    (tmp_path / "c.toml").write_text(
        "n_steps = 5\neps = 0.1\n[problem]\ncsv = 't.csv'\ntarget = 'y'\nstandardize = true"
    )
    assert toml.load(tmp_path / "c.toml").source == OLSProblem.from_csv(tmp_path / "t.csv", "y", True)


def test_a_store_of_unscaled_targets_says_how_to_go_on(tmp_path, capsys):
    """Once `standardize = true` left the target alone."""
    (tmp_path / "t.csv").write_text("x,y\n1,2\n2,3\n3,50\n")
    config = "n_steps = 5\neps = '0.1:1:5'\n[problem]\ncsv = 't.csv'\ntarget = 'y'\nstandardize = {}"
    for value, code in (("'inputs'", 0), ("true", 2), ("'inputs'", 0)):
        (tmp_path / "c.toml").write_text(config.format(value))
        with pytest.raises(SystemExit) as stop:
            main(["sweep", str(tmp_path / "c.toml"), "--out", str(tmp_path / "s.zarr")])
        err = capsys.readouterr().err
        assert (stop.value.code or 0) == code
        assert ('standardize = "inputs" goes on with it' in err) == (code == 2) and err.count("\n") <= 2


@pytest.mark.parametrize("method", sorted(olsbn.methods()))
def test_every_key_says_what_it_allows(method, tmp_path):
    keys = toml._keys(olsbn.methods()[method])
    assert {param.name for param in olsbn.methods()[method].params} < set(keys)
    for name, key in keys.items():
        given = {"n_steps": "5", "eps": "0.1", "method": f"'{method}'", "problem": "{data = 'wine'}"}
        given[name] = "[{}]" if name != "problem" else "3"
        (tmp_path / "c.toml").write_text("\n".join(f"{k} = {v}" for k, v in given.items()))
        with pytest.raises(ValueError) as caught:
            toml.load(tmp_path / "c.toml")
        assert str(caught.value).endswith(f"{name} must be {key.allowed}, got {[{}] if name != 'problem' else 3}")


def test_plan(tmp_path, capsys):
    (tmp_path / "c.toml").write_text(GOOD)
    with pytest.raises(SystemExit) as stop:
        main(["plan", str(tmp_path / "c.toml")])
    out, err = capsys.readouterr()
    assert not stop.value.code and err == ""
    assert out.splitlines()[0] == "cells       56 (2 dim x 2 trial x 2 eps_a x 7 eps)"
    assert re.search(r"disk        about \d+ kB when finished, up to \d+ kB and \d+ files and folders before", out)


def test_a_plan_holds(tmp_path):
    """Sizes in blocks of the disk to 30 %, files as an upper limit; tests/stress/plans.py tries times as well."""
    text = 'n_steps = 50\nrecord = [0, 50]\neps = "0.1:10:60"\ndim = [5, 9]\ntrials = 40\n'
    (tmp_path / "c.toml").write_text(text + '[problem]\nspectrum = "logspace"\ncond = 9')
    spec = toml.load(tmp_path / "c.toml")
    found = plan(spec)
    fill(spec, tmp_path / "s.zarr", progress=False)
    paths = [tmp_path / "s.zarr", *(tmp_path / "s.zarr").rglob("*")]
    assert found.n_bytes == pytest.approx(sum(512 * path.lstat().st_blocks for path in paths), rel=0.3)
    assert len(paths) <= found.n_files <= len(paths) + found.n_tiles + 10


def test_a_disk_without_room_for_files(tmp_path, monkeypatch):
    (tmp_path / "c.toml").write_text(GOOD)
    spec, real = toml.load(tmp_path / "c.toml"), os.statvfs(tmp_path)

    names = ("f_bavail", "f_bfree", "f_blocks", "f_frsize")
    full = types.SimpleNamespace(f_files=1000, f_favail=50, **{name: getattr(real, name) for name in names})
    monkeypatch.setattr(os, "statvfs", lambda folder: full)
    with pytest.raises(ValueError, match=r"needs 10\d files while it is written, and the disk of .* has room for 50"):
        toml.check_disk(spec, tmp_path)
