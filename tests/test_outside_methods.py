"""Methods from outside the package, with columns of their own, through `olsbn.testing.MethodTests`."""

import time
from pathlib import Path

import clipped
import matplotlib.pyplot as plt
import numpy as np
import pytest
import saturated

import olsbn
from olsbn.dynamics import registry
from olsbn.dynamics.base import Method
from olsbn.engine.step import Step
from olsbn.quantity import Column
from olsbn.testing import MethodTests


class TestClipped(MethodTests):
    METHOD = clipped.METHOD

    def twin(self, H, g, w0, a0, params, n_steps):
        w, steps, clips = w0, [w0], []
        for _ in range(n_steps + 1):
            move = params["eps"] * (g - H @ w)
            clips.append(min(1, params["longest"] / np.linalg.norm(move)))
            w = w + clips[-1] * move
            steps.append(w)
        return {"theta": steps[:-1], "clip": clips}


class TestSaturated(MethodTests):
    METHOD = saturated.METHOD

    def twin(self, H, g, w0, a0, params, n_steps):
        w, steps, short, length = w0, [w0], [], []
        for _ in range(n_steps + 1):
            move = params["eps"] * (g - H @ w)
            short.append(1 / np.sqrt(1 + params["slack"] ** 2 * (move @ move)))
            length.append(short[-1] * np.sqrt(move @ move))
            w = w + short[-1] * move
            steps.append(w)
        return {"theta": steps[:-1], "shortened": short, "step_length": length}


def by_coordinates(problem, params, run):
    """Take the sign of each coordinate of the gradient, in the eigenbasis of H: not what its update says."""
    from olsbn.dynamics.plain import iterate

    lam, u = problem.eigvals[:, None], problem.u[:, None]

    def measure(w):
        excess = (lam * (w - u) ** 2).sum(axis=0) / problem.explained_var
        return {"excess": excess, "eps_eff": params["eps"] + 0 * excess}

    start = np.repeat(problem.w0[:, None], params["eps"].size, axis=1)
    return iterate(start, lambda w, k: w + params["eps"] * np.sign(lam * (u - w)), measure, run)


def test_the_suite_finds_an_update_that_takes_coordinates_one_by_one(monkeypatch):
    class Wrong(MethodTests):
        METHOD = Method(
            "sign", "signs of the gradient", (clipped.METHOD.params[0],),
            ("status", "steps_to_tol", "n_steps_run", "excess", "eps_eff"), lambda problem: problem, by_coordinates,
            ("clipped",), "w <- w + eps sign(g - H w)",
        )  # fmt: skip

        def twin(self, H, g, w0, a0, params, n_steps):
            steps = [w0]
            for _ in range(n_steps):
                steps.append(steps[-1] + params["eps"] * np.sign(g - H @ steps[-1]))
            return {"theta": steps}

    monkeypatch.setitem(registry._all(), "sign", Wrong.METHOD)
    with pytest.raises(AssertionError, match="excess at"):
        Wrong().test_it_agrees_with_its_twin(Wrong.METHOD)


@pytest.fixture
def offered(monkeypatch):
    for module in (clipped, saturated):
        monkeypatch.setitem(registry._all(), module.METHOD.name, module.METHOD)


def test_own_columns_are_quantities(offered, tmp_path):
    problem = olsbn.OLSProblem.from_spectrum("logspace", 12, 20.0)
    eps = np.geomspace(1e-3, 0.09, 12)
    for method, column, other in (("clipped", "clip", "longest"), ("saturated", "shortened", "slack")):
        assert olsbn.quantities()[column].meaning
        ds = olsbn.sweep(problem, method=method, eps=eps, **{other: [0.1, 1.0, 10.0]}, n_steps=30,
                         store=tmp_path / f"{method}.zarr", progress=False)  # fmt: skip
        assert ds[column].notnull().all() and (ds[column] <= 1).all() and (ds[column] > 0).all()
        ax = olsbn.plotting.plot_map(ds, column)
        assert ax.figure.axes[-1].get_ylabel() == olsbn.quantities()[column].label
        plt.close("all")
        run = olsbn.run(problem, method, eps=eps[3], n_steps=30, **{other: 1.0})
        np.testing.assert_array_equal(run[column][-1], ds[column].sel({other: 1.0})[3])


def test_a_column_costs_nothing_while_no_step_is_told(offered):
    """At kernel speed: the same sweep with and without own columns that need no sum of their own."""
    problem = olsbn.OLSProblem.from_spectrum("logspace", 200, 20.0)
    bare = type("Bare", (saturated.Saturated,), {"told": (), "__module__": "saturated"})

    def seconds(step):
        saved, saturated.STEP = saturated.STEP, step
        try:
            spent = []
            for _ in range(4):
                before = time.process_time()
                olsbn.sweep(problem, method="saturated", eps=np.geomspace(1e-3, 0.09, 64), slack=1.0, n_steps=2000,
                            check_rounding=False, workers=1, progress=False)  # fmt: skip
                spent.append(time.process_time() - before)
            return min(spent)
        finally:
            saturated.STEP = saved

    assert seconds(saturated.STEP) < 1.3 * seconds(bare())


def test_what_a_step_may_tell():
    with pytest.raises(ValueError, match="told must have at most 4 names"):
        type("Much", (Step,), {"told": tuple("abcde")})
    with pytest.raises(ValueError, match="units of a must be whole numbers"):
        type("Half", (Step,), {"told": ("a",), "units": {"a": (0.5, 0)}})


def test_the_page_shows_the_files_that_are_tested():
    page = (Path(__file__).parents[1] / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    for module in (clipped, saturated):
        assert Path(module.__file__).read_text(encoding="utf-8").split('"""', 2)[2].strip() in page


def test_a_column_has_a_name_of_its_own():
    assert isinstance(olsbn.quantities()["excess"], Column)
