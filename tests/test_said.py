"""Statements that were false once: each is tried by what it says."""

import math
import re

import numpy as np
import pytest
from click.testing import CliRunner

import olsbn
from olsbn.cli import main

RANDOM = ["--spectrum", "logspace", "--dim", "6", "--cond", "30"]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*args, code=0):
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.stdout if code == 0 else result.stderr


# ---------------------------------------------------------------- the update that is printed is the one that runs

TERMS = [
    (r"(\w)'(\w) (\w)", r"(\1 @ \2 @ \3)"), (r"(\w)'(\w)", r"(\1 @ \2)"), (r"\b([HN]) w", r"(\1 @ w)"),
    (r"\|\|(\w+)\|\|", r"norm(\1)"), (r"\^", "**"), (r"(\S) \(", r"\1 * ("), (r"([)\w]) (\w|\()", r"\1 * \2"),
]  # fmt: skip


def as_code(text):
    """A formula as printed, as Python."""
    for pattern, code in TERMS:
        text = re.sub(pattern, code, text)
    return re.sub(r"([-+*/]) \* \(", r"\1 (", text)


def printed(method, problem, eps, eps_a, smoothing, n_steps):
    """Iterate the printed update; return the excess at its end."""
    text = olsbn.methods()[method].step
    start, step = ("", text)
    if smoothing:
        text = text.split("with smoothing, ")[1]
        start, step = text.split(":  ")
        assert start == "N = H + smoothing I, from the scale a0 nu0/sigma0"
    else:
        step, start = text.split("; ")
        assert start == "from the scale a0 ||w0||/sigma0"
    H, g, w = np.diag(problem.eigvals), problem.eigvals * problem.u, problem.w0
    N = H + smoothing * np.eye(problem.dim)
    nu0 = math.sqrt(w @ N @ w) if smoothing else np.linalg.norm(w)
    a = problem.a0 * nu0 / math.sqrt(w @ H @ w)
    parts = [part.strip() for part in step.split(",  ")]
    for _ in range(n_steps):
        known = {"H": H, "N": N, "g": g, "w": w, "a": a, "eps": eps, "eps_a": eps_a, "norm": np.linalg.norm}
        for part in reversed(parts):  # what stands further on is used before
            name, formula = re.split(r" = | <- ", part, maxsplit=1)
            value = eval(as_code(formula), known)
            if name == "nu^2":
                name, value = "nu", math.sqrt(value)
            known[f"new {name}" if "<-" in part else name] = value
        w, a = known["new w"], known["new a"]
    nu = math.sqrt(w @ N @ w) if smoothing else np.linalg.norm(w)
    miss = a * w / nu - problem.u
    return miss @ H @ miss / problem.explained_var


@pytest.mark.parametrize(("method", "params"), [("bngd", {"smoothing": 0.7}), ("wngd", {})])
def test_the_printed_update_is_the_one_that_runs(method, params):
    """The update printed for smoothing before ended at an excess of 0.08, and no scale to start from was printed."""
    problem = olsbn.OLSProblem([1.0, 2.0, 5.0], [1.0, -0.5, 0.3], [0.2, 0.9, 0.4])
    for n_steps in (1, 7, 60):
        run = olsbn.run(problem, method, eps=0.1, eps_a=0.3, n_steps=n_steps, **params)
        expected = printed(method, problem, 0.1, 0.3, params.get("smoothing", 0.0), n_steps)
        assert run.excess.values[-1] == pytest.approx(expected, rel=1e-8)


# ---------------------------------------------------------------- run


def test_run_blames_only_what_is_in_use():
    out = call("run", *RANDOM, "--method", "bngd", "--eps", 1e9, "--steps", 30)
    assert "weight decay" not in out and "mini-batches" not in out
    out = call("run", *RANDOM, "--method", "gd", "--eps", 0.0667, "--steps", 5, "--out", "edge")
    assert "more steps may not do" in out and "edge of stability or above it" in out and "decay" not in out
    out = call("run", *RANDOM, "--method", "gd", "--eps", 0.01, "--weight-decay", 0.1, "--steps", 50, "--out", "decay")
    assert "with weight_decay = 0.1 the error does not shrink at a constant ratio" in out


def test_run_tells_no_contraction_ratio_above_one_of_a_run_that_converged():
    args = ["--spectrum", "linspace", "--dim", "50", "--cond", "50", "--method", "bngd", "--tol", "1e-4"]
    seen = False
    for eps in (0.5, 1, 2, 4, 8):
        out = call("run", *args, "--steps", 60, "--eps", eps, "--out", f"r{eps}")
        rate = re.search(r"theory (\S+)", out)[1].rstrip(",")
        if "converged" in out:
            assert rate == "none" or float(rate) < 1
            seen |= "above the edge of stability, not yet settled" in out
    assert seen


def test_run_tells_a_raw_table_to_standardize():
    out = call("run", "--data", "wine", "--method", "gd", "--eps", 1e-6, "--steps", 20)
    assert "standardize the inputs, whose units make the condition number 1.2e+07" in out and "would do" not in out


# ---------------------------------------------------------------- windows and maps


def test_eps_window_says_why_it_has_no_prediction():
    problem = olsbn.OLSProblem.from_spectrum("logspace", 5, 10.0)
    with pytest.raises(ValueError, match=r"got momentum: it follows the gradient flow .* measured_window simulates"):
        olsbn.eps_window(problem, 1e-3, 1000, momentum=0.9)


def test_robustness_says_why_there_is_no_theory():
    family = olsbn.ProblemFamily("linspace", 10.0)
    ds = olsbn.sweep(family, dim=4, eps=np.logspace(-2, 1, 7), momentum=0.5, n_steps=50, tol=1e-3, progress=False)
    ds.to_netcdf("heavy.nc", engine="h5netcdf")
    assert "no theory of BNGD here: it is for runs without momentum" in call("robustness", "heavy.nc")


def test_a_map_tells_the_range_of_gd_and_not_cells_of_its_grid():
    out = call("map", *RANDOM, "--eps", "1e-3:1e2:13", "--eps-a", "0.5:1.5:3", "--steps", 500, "--tol", 1e-6)
    window = olsbn.eps_window(olsbn.OLSProblem.from_spectrum("logspace", 6, 30.0), 1e-6, 500, "gd")
    assert f"{window.lower:.6g} to {window.upper:.6g} (exact; on this grid" in out


# ---------------------------------------------------------------- names


def test_a_misspelt_parameter_is_answered_by_the_one_that_was_meant(tmp_path):
    problem = olsbn.OLSProblem.from_spectrum("logspace", 3, 10.0)
    for attempt in (
        lambda: olsbn.sweep(problem, eps=0.1, n_steps=5, momentom=0.9),
        lambda: olsbn.run(problem, eps=0.1, n_steps=5, momentom=0.9),
        lambda: olsbn.recommend(problem, momentom=0.9),
    ):
        with pytest.raises(ValueError, match="did you mean 'momentum'"):
            attempt()
    (tmp_path / "c.toml").write_text("n_steps = 5\neps = 0.1\nmomentom = 0.9\n[problem]\ndata = 'wine'\n")
    assert "did you mean 'momentum'" in call("plan", "c.toml", code=2)
    assert "--momentum" in call("run", *RANDOM, "--momentom", "0.9", code=2)
