"""Quantities, stored and derived: one table, from which results, pictures, exports and the command line take them."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import olsbn
from olsbn.quantity import AXES, COLUMNS, DERIVED, QUANTITIES, SCALES, Column, mathtext
from olsbn.results.quantities import quantities_of, quantity_of

X = np.random.default_rng(0).standard_normal((40, 5)) @ np.diag([1.0, 2, 3, 4, 5])
Y = X @ np.ones(5) + np.random.default_rng(1).standard_normal(40)
PROBLEM = olsbn.OLSProblem.from_samples(X, Y)
EPS, EPS_A = np.geomspace(1e-3, 1e3, 9), np.array([0.5, 1.0, 1.5])
FAMILY = olsbn.ProblemFamily("linspace", 20.0)


@pytest.fixture(scope="module")
def ds():
    return olsbn.sweep(PROBLEM, eps=EPS, eps_a=EPS_A, n_steps=3000, tol=1e-6)


def test_the_table():
    assert olsbn.quantities().keys() >= QUANTITIES.keys() == {*COLUMNS, *(one.name for one in DERIVED)}
    for name, one in QUANTITIES.items():
        assert one.name == name and one.scale in SCALES and one.unit and one.meaning
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    every = [p for method in olsbn.methods().values() for p in method.params]
    for one in [*QUANTITIES.values(), *AXES.values(), *every]:
        parser.parse(f"${one.mathtext}$")
        parser.parse(one.label)


@pytest.mark.parametrize(
    ("symbol", "tex"),
    [("eps", r"\varepsilon"), ("eps_a", r"\varepsilon_{a}"), ("lambda_wd", r"\lambda_{\mathrm{wd}}"), ("m", "m"),
     ("nesterov", r"\mathrm{nesterov}")],
)  # fmt: skip
def test_symbols_as_mathtext(symbol, tex):
    assert mathtext(symbol) == tex


def test_derived_quantities_are_what_they_say(ds):
    """From the definitions: J by the samples themselves, the edge by eigenvalues of a dense H*."""
    names = [one.name for one in DERIVED]
    found = olsbn.derive(ds, *names)
    at = {"eps": 4, "eps_a": 1}
    cell = found.isel(at)
    run = olsbn.run(PROBLEM, eps=EPS[4], eps_a=EPS_A[1], n_steps=3000)
    Xc, yc = X - X.mean(0), Y - Y.mean()
    best = np.linalg.lstsq(Xc, yc, rcond=None)[0]
    J_min = np.mean((yc - Xc @ best) ** 2) / 2
    E = np.mean((Xc @ best) ** 2)
    np.testing.assert_allclose(cell.excess_loss, run.excess[-1] * E / 2, rtol=1e-12)
    np.testing.assert_allclose(cell.loss, J_min + run.excess[-1] * E / 2, rtol=1e-12)
    np.testing.assert_allclose(cell.decades, -np.log10(run.excess[-1]), rtol=1e-12)
    H, g = Xc.T @ Xc / 40, Xc.T @ yc / 40
    star = H - np.outer(g, g) / (g @ best)  # H* = H - g g'/E
    np.testing.assert_allclose(cell.eps_eff_ratio, cell.eps_eff * np.linalg.eigvalsh(star)[-1] / 2, rtol=1e-10)
    steady = found.rate_sim.notnull()
    np.testing.assert_allclose(
        found.steps_per_decade.where(steady), -1 / np.log10(found.rate_sim.where(steady) ** 2), rtol=1e-12
    )
    np.testing.assert_allclose(cell.pred_norm, np.linalg.norm(_predictor(PROBLEM, EPS[4], EPS_A[1], 3000)), rtol=1e-9)
    assert cell.null_norm == 0
    for name in names:
        assert found[name].dims == ds.excess.dims and {"long_name", "symbol", "units"} <= set(found[name].attrs)


def _predictor(problem, eps, eps_a, n_steps, z=()):
    """Return a w/sigma after the printed update, in the eigenbasis with the null part behind it."""
    lam = np.append(problem.eigvals, np.zeros(len(z)))
    g, w, a = lam * np.append(problem.u, np.zeros(len(z))), np.append(problem.w0, z), problem.a0
    for _ in range(n_steps):
        s = np.sqrt(w @ (lam * w))
        w, a = w + eps * (a / s) * (g - (w @ g) / s**2 * lam * w), a + eps_a * ((w @ g) / s - a)
    return a * w / np.sqrt(w @ (lam * w))


@pytest.mark.parametrize("n_steps", [3, 40])
def test_norms_of_the_predictor_with_fewer_rows_than_columns(n_steps):
    rng = np.random.default_rng(2)
    problem = olsbn.OLSProblem.from_samples(rng.standard_normal((8, 15)), rng.standard_normal(8))
    z = np.array([problem.w0_null_norm])
    found = olsbn.derive(olsbn.sweep(problem, eps=[0.05, 0.8], n_steps=n_steps), "null_norm", "pred_norm")
    for k, eps in enumerate(found.eps.values):
        whole = _predictor(problem, eps, 1.0, n_steps, z)
        np.testing.assert_allclose(found.null_norm[k], abs(whole[-1]), rtol=1e-9)
        np.testing.assert_allclose(found.pred_norm[k], np.linalg.norm(whole), rtol=1e-9)
    with pytest.raises(ValueError, match="null part must keep its size, got a result with weight_decay"):
        olsbn.derive(olsbn.sweep(problem, eps=[0.1], weight_decay=0.01, n_steps=3), "null_norm")
    with pytest.raises(ValueError, match="BNGD without smoothing, got sphere"):
        olsbn.derive(olsbn.sweep(problem, method="sphere", eps=[0.1], n_steps=3), "pred_norm")


def test_a_family_has_facts_of_its_own_at_each_place():
    ds = olsbn.sweep(FAMILY, dim=[3, 8], trial=[0, 4], eps=EPS, n_steps=60, record=[0, 60])
    found = olsbn.derive(ds, "eps_eff_ratio", "excess_loss")
    assert found.eps_eff_ratio.dims == ds.eps_eff.dims
    for d in (3, 8):
        for t in (0, 4):
            edge = olsbn.spectral_report(FAMILY(d, t)).eps_eff_max
            here = found.sel(dim=d, trial=t)
            np.testing.assert_array_equal(here.eps_eff_ratio, here.eps_eff / edge)
            one = olsbn.derive(ds.sel(dim=d, trial=t), "eps_eff_ratio")  # the same of a part
            np.testing.assert_array_equal(one.eps_eff_ratio, here.eps_eff_ratio)


def test_derived_ones_are_compared_over_trials():
    ds = olsbn.sweep(FAMILY, dim=6, trial=range(5), eps=EPS, n_steps=60)
    found = olsbn.derive(ds, "eps_eff_ratio")
    assert (olsbn.over_trials(found).eps_eff_ratio_count == 5).all()
    middle = olsbn.median_trial(ds, "eps_eff_ratio")
    ranked = np.sort(found.eps_eff_ratio.transpose("trial", "eps").values, axis=0)[2]
    np.testing.assert_array_equal(middle.eps_eff_ratio, ranked)
    beside = olsbn.derive(olsbn.compare(ds), "eps_eff_ratio")
    np.testing.assert_array_equal(beside.eps_eff_ratio, found.eps_eff_ratio)


def test_of_a_run():
    run = olsbn.derive(olsbn.run(PROBLEM, eps=1.0, n_steps=30), "decades", "eps_eff_ratio")
    assert run.decades.dims == ("step",) and run.eps_eff_ratio.notnull().all()
    gd = olsbn.derive(olsbn.run_gd(PROBLEM, eps=0.01, n_steps=3), "eps_eff_ratio")
    np.testing.assert_allclose(gd.eps_eff_ratio, 0.01 * PROBLEM.eigvals[-1] / 2, rtol=1e-12)


def test_every_quantity_is_drawn(ds):
    for name in quantities_of(ds):
        ax = olsbn.plotting.plot_map(ds, name)
        (mesh,) = ax.collections
        assert mesh.get_array().count() > 0, name
        assert quantity_of(ds, name).label.split("$")[0].removeprefix("final ") in ax.figure.axes[-1].get_ylabel()
        plt.close(ax.figure)


def test_a_variable_that_nothing_names_is_drawn_by_its_attributes(ds):
    other = ds.assign(mine=(ds.excess * 2).assign_attrs(long_name="twice the excess", symbol="x_2"))
    ax = olsbn.plotting.plot_map(other, "mine")
    assert ax.figure.axes[-1].get_ylabel() == "twice the excess $x_{2}$"


def test_what_is_refused(ds):
    with pytest.raises(ValueError, match=r"quantity.*'eps_ef_ratio'.*eps_eff_ratio"):
        olsbn.derive(ds, "eps_ef_ratio")
    with pytest.raises(ValueError, match="steps_per_decade is made of rate_sim, got a result without rate_sim"):
        olsbn.derive(ds.drop_vars("rate_sim"), "steps_per_decade")
    momentum = olsbn.sweep(PROBLEM, eps=EPS, momentum=0.5, n_steps=5)
    with pytest.raises(ValueError, match="without momentum"):
        olsbn.derive(momentum, "eps_eff_ratio")
    with pytest.raises(ValueError, match="edge of stability"):
        olsbn.derive(olsbn.sweep(PROBLEM, method="wngd", eps=EPS, n_steps=5), "eps_eff_ratio")
    bare = ds.assign_attrs({})
    bare.attrs.pop("explained_var")
    with pytest.raises(ValueError, match="problem must be given for its explained_var"):
        olsbn.derive(bare, "excess_loss")
    np.testing.assert_array_equal(
        olsbn.derive(bare, "excess_loss", problem=PROBLEM).excess_loss, olsbn.derive(ds, "excess_loss").excess_loss
    )
    with pytest.raises(ValueError, match="medians"):
        family = olsbn.sweep(FAMILY, dim=6, trial=range(3), eps=EPS, n_steps=6)
        olsbn.derive(olsbn.median_trial(family), "excess_loss")


def test_columns_of_a_method_have_names_of_their_own():
    from dataclasses import replace

    found = olsbn.methods()["gd"]
    for name in ("excess", "decades", "eps", "dim"):
        with pytest.raises(ValueError, match=f"name of its own, got '{name}'"):
            replace(found, columns=(*found.columns, Column(name, "x", "x")))
    with pytest.raises(ValueError, match=r"column of method 'gd'.*'exces'"):
        replace(found, columns=("exces",))


def test_command_line(tmp_path, ds):
    ds.to_netcdf(tmp_path / "one.nc", engine="h5netcdf")

    def olsbn_says(*args):
        return subprocess.run([sys.executable, "-m", "olsbn", *args], capture_output=True, text=True, cwd=tmp_path)

    done = olsbn_says("plot", "one.nc", "--quantity", "eps_eff_ratio")
    assert done.returncode == 0 and (tmp_path / "one-eps_eff_ratio.png").stat().st_size > 10_000, done.stderr
    done = olsbn_says("export", "one.nc", "--quantity", "decades", "--quantity", "loss", "--to", "one.csv")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "one.csv")
    want = olsbn.derive(ds, "decades", "loss").transpose("eps_a", "eps")
    np.testing.assert_array_equal(table["loss"], want.loss.values.ravel())
    np.testing.assert_array_equal(table["decades"], want.decades.values.ravel())
    done = olsbn_says("plot", "one.nc", "--quantity", "decade")
    assert done.returncode == 2 and "decades" in done.stderr and len(done.stderr.splitlines()) == 1
