"""Where a user tries what olsbn does not compute, the message says so, and what there is instead."""

import io
import logging
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import olsbn
from olsbn.cli import main
from olsbn.sweeps.progress import meter

PROBLEM = olsbn.OLSProblem.from_spectrum("logspace", 3, 10.0)
X = np.random.default_rng(0).normal(size=(12, 3))
samples = olsbn.OLSProblem.from_samples


class Network:
    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: olsbn.sweep(PROBLEM, method="adam", eps=0.1, n_steps=5), "got 'adam' (adaptive methods"),
        (lambda: olsbn.run(PROBLEM, "sgd", eps=0.1), "plain SGD are not computed"),
        (lambda: olsbn.recommend(PROBLEM, methods=["rmsprop"]), "how to add a method: docs/adding-a-method.md"),
        (lambda: samples(np.ones((12, 28, 28)), X[:, 0]), "(images: X.reshape(len(X), -1))"),
        (lambda: samples(X[:, 0], X[:, 0]), "(one input: X[:, None])"),
        (lambda: samples(X, ["cat", "dog"] * 6), "no classification: class labels may be coded as numbers"),
        (lambda: samples(X, np.eye(12)), "one target at a time, y[:, 0]; no one-hot classes"),
        (lambda: olsbn.OLSProblem.from_dataset("mnist"), "(other data: from_samples, from_dataframe, from_csv)"),
        (
            lambda: olsbn.run_bngd(PROBLEM, lambda k: 0.1 / k),
            "(schedules are eps_power, eps_factor, eps_a_power, schedule and eps_factors)",
        ),
        (lambda: olsbn.run_bngd(PROBLEM, np.ones(5), n_steps=5), "use sweep for a grid; schedules are eps_power"),
        (lambda: olsbn.run_bngd(Network(), 0.1), "olsbn computes least squares, not networks"),
        (lambda: olsbn.sweep(Network(), eps=0.1, n_steps=5), "olsbn computes least squares, not networks"),
        (lambda: olsbn.run_bngd(X, 0.1), "OLSProblem.from_samples(X, y) makes one from data"),
        (lambda: olsbn.run(PROBLEM, "wngd", eps=0.1, nesterov=True), "nesterov must be left out for method 'wngd'"),
    ],
)
def test_what_is_not_computed(attempt, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)) as refused:
        attempt()
    assert "\n" not in str(refused.value)


def told(*args, code=2):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.stderr


def test_what_is_not_computed_on_the_command_line(tmp_path):
    random = ["--spectrum", "logspace", "--dim", 3, "--cond", 10]
    assert "adaptive methods and plain SGD are not computed" in told("run", *random, "--method", "adam")
    assert "adaptive methods and plain SGD are not computed" in told("map", *random, "--method", "lion")
    assert "other data: --csv, --target" in told("spectrum", "--data", "imagenet")
    table = tmp_path / "t.csv"
    table.write_text("a;kind;y\n1,5;cat;1\n2,5;dog;2\n;cat;4\n4;dog;3\n")
    typed = ["spectrum", "--csv", table, "--target", "y"]
    assert "mended by --decimal ," in told(*typed)  # tests/test_tables.py takes the remedies


def test_a_table_as_people_have_it_in_a_config(tmp_path):
    (tmp_path / "t.csv").write_text("a;kind;y\n1,5;cat;1\n2,5;dog;2\n;cat;4\n4;dog;3\n")
    config = 'n_steps = 5\neps = 0.1\n[problem]\ncsv = "t.csv"\ntarget = "y"\n'
    (tmp_path / "c.toml").write_text(config + 'sep = ";"\ndecimal = ","\ndrop = ["kind"]\ndropna = true\n')
    from olsbn.sweeps import toml

    expected = olsbn.OLSProblem.from_csv(tmp_path / "t.csv", "y", sep=";", decimal=",", drop=["kind"], dropna=True)
    assert toml.load(tmp_path / "c.toml").source == expected
    np.testing.assert_allclose(expected.sample.X[:, 0] + 8 / 3, [1.5, 2.5, 4])
    (tmp_path / "c.toml").write_text(config + 'drop = "kind"\n')
    with pytest.raises(ValueError, match=r"problem\.drop must be a list of the columns"):
        toml.load(tmp_path / "c.toml")


def test_coefficients_of_what_a_store_keeps(tmp_path):
    problem = samples(X, X @ [1.0, 2.0, 3.0])
    from olsbn.sweeps.store import Store

    for method, more in (("bngd", {}), ("minibatch", {"batch_size": 4})):
        path = tmp_path / f"{method}.zarr"
        olsbn.sweep(problem, method=method, eps=0.1, n_steps=2, store=path, progress=False, **more)
        with pytest.raises(ValueError, match=r"make it from (them|its data) again"):
            Store(path).spec.source.coefficients()


# ---------------------------------------------------------------- what is said of what is done


def test_the_library_logs_and_prints_nothing_of_it(caplog, capsys):
    caplog.set_level("INFO", "olsbn")
    olsbn.sweep(PROBLEM, eps=[0.1, 0.2], n_steps=5)
    assert any(re.match(r"bngd: 2 cells in 1 tiles", text) for text in caplog.messages)
    code = "import olsbn; olsbn.sweep(olsbn.OLSProblem([1.0], [1.0], [2.0]), eps=[0.1], n_steps=5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("olsbn").handlers)


def test_verbose_says_what_is_done(tmp_path):
    (tmp_path / "c.toml").write_text('n_steps = 5\neps = 0.1\ndim = 2\n[problem]\nspectrum = "logspace"\ncond = 3.0\n')
    args = ["sweep", tmp_path / "c.toml", "--out", tmp_path / "s.zarr"]
    lines = told("-v", *args, code=0).splitlines()
    assert any("s.zarr made" in line for line in lines) and any("0 of 1 tiles are done, 1 to run" in s for s in lines)
    assert not any("tile 1 of 1 done" in line for line in lines)
    (tmp_path / "s.zarr").rename(tmp_path / "first.zarr")
    assert any("tile 1 of 1 done: 1 cells" in line for line in told("-vv", *args, code=0).splitlines())
    assert not logging.getLogger("olsbn").handlers[1:]
    (tmp_path / "s.zarr").rename(tmp_path / "second.zarr")
    assert "tile" not in told(*args, code=0)


def test_the_first_run_on_a_machine_says_that_it_compiles(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def shown():
        monkeypatch.setattr(sys, "stderr", Terminal())
        with meter(10, None):
            return sys.stderr.getvalue()

    monkeypatch.setenv("OLSBN_CACHE_DIR", str(tmp_path))
    assert "| 0 of 10 cells, compiling the engine for this machine, once [" in shown()
    from olsbn.engine.compile import cache_folder

    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "kernel.nbc").touch()
    assert "0 of 10 cells" in shown() and "compiling" not in shown()
