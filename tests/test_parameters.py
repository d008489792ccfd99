"""The further parameters and methods through `run` and `sweep`: rates beside their theory, batches, what has none."""

import numpy as np
import pytest
import tolerances as tol

import olsbn
from olsbn import OLSProblem
from olsbn.dynamics import bngd
from olsbn.engine import gd
from olsbn.engine.run import Run

PROBLEM = OLSProblem.from_spectrum("logspace", 12, 10.0, seed=2)
EPS = np.geomspace(1e-2, 1e2, 9)


@pytest.mark.parametrize(
    ("method", "params", "least"),
    [
        ("bngd", {"eps": EPS, "momentum": [0.0, 0.05, 0.2]}, 10),
        ("bngd", {"eps": EPS, "eps_a": [0.7, 1.2], "smoothing": [0.0, 0.5, 20.0]}, 30),
        ("gd", {"eps": np.linspace(0.02, 0.19, 8), "momentum": [0.0, 0.03]}, 10),
        ("wngd", {"eps": EPS, "eps_a": [0.02, 0.1]}, 10),
        ("gdnp", {}, 1),
    ],
)
def test_rate_of_a_sweep_equals_theory(method, params, least):
    ds = olsbn.sweep(PROBLEM, method=method, **params, n_steps=6000, progress=False)
    sim, theory = ds.rate_sim.values, ds.rate_theory.values
    there = np.isfinite(sim)
    assert there.sum() >= least
    np.testing.assert_allclose(sim[there], theory[there], rtol=tol.RATE)


@pytest.mark.parametrize("name", ["weight_decay", "eps_power", "eps_factor", "eps_a_power"])
def test_what_has_no_limit_at_a_constant_ratio_has_no_rate(name):
    values = {"weight_decay": [0.0, 0.01], "eps_factor": [1.0, 0.999]}.get(name, [0.0, 0.1])
    ds = olsbn.sweep(PROBLEM, eps=EPS, **{name: values}, n_steps=3000, progress=False)
    for rate in (ds.rate_sim, ds.rate_theory):
        assert np.isfinite(rate.isel({name: 0})).any() and np.isnan(rate.isel({name: 1})).all()


def test_neutral_cells_beside_others_have_the_bits_of_the_plain_kernels():
    grid = {"momentum": [0.0, 0.4], "weight_decay": [0.0, 0.1]}
    for method, kernel, more in (("bngd", bngd, {"eps_a": np.ones(9)}), ("gd", gd, {})):
        ds = olsbn.sweep(PROBLEM, method=method, eps=EPS, **grid, n_steps=300, progress=False)
        plain, _ = kernel.tile(kernel.prepare(PROBLEM), {"eps": EPS, **more}, Run(300))
        for name in ("excess", "w_norm", "status", "rate_sim"):
            np.testing.assert_array_equal(ds[name].sel(momentum=0, weight_decay=0), plain[name])


def test_explicit_batches_in_a_run():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    problem = OLSProblem.from_samples(X, X @ [1.0, 2.0, 0.0, -1.0] + rng.normal(size=30))
    batches = rng.integers(0, 30, (20, 5))
    run = olsbn.run(problem, "minibatch", eps=0.1, n_steps=20, batches=batches)
    again = olsbn.run(problem, "minibatch", eps=0.1, n_steps=20, batches=batches.tolist())
    drawn = olsbn.run(problem, "minibatch", eps=0.1, n_steps=20, batch_size=5)
    np.testing.assert_array_equal(run.excess, again.excess)
    assert run.excess[0] == drawn.excess[0] and (run.excess[1:] != drawn.excess[1:]).all()
    assert len(run.attrs["batches_sha256"]) == 64
    with pytest.raises(ValueError, match="batches must be left out for method 'bngd'"):
        olsbn.run(problem, eps=0.1, n_steps=20, batches=batches)
    with pytest.raises(ValueError, match="batches must have a row for each of 21 steps, got 20"):
        olsbn.run(problem, "minibatch", eps=0.1, n_steps=21, batches=batches)


def test_replicates_are_an_axis_and_share_batches_over_learning_rates():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 3))
    problem = OLSProblem.from_samples(X, X @ np.ones(3))
    ds = olsbn.sweep(
        problem, method="minibatch", eps=[0.1, 0.2], batch_size=6, replicate=[0, 1, 2], n_steps=30, progress=False
    )  # fmt: skip
    assert ds.excess.dims == ("replicate", "eps") and np.unique(ds.excess).size == 6
    one = olsbn.run(problem, "minibatch", eps=0.2, batch_size=6, replicate=2, n_steps=30)
    assert one.excess[-1] == ds.excess.sel(replicate=2, eps=0.2)
