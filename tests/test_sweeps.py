"""Sweeps: their shape, what they refuse, and that nothing but the arguments matters; measures over their axes."""

import threading
import tracemalloc

import numpy as np
import pytest
import xarray as xr

import olsbn
from olsbn.quantity import COLUMNS
from olsbn.schema import Status
from olsbn.sweeps import compute, pool, progress, running
from olsbn.sweeps.running import digest
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tiling
from olsbn.theory import eps_window

PROBLEM = olsbn.OLSProblem.from_spectrum("logspace", 6, 20.0)
FAMILY = olsbn.ProblemFamily("linspace", 10.0)
EPS, EPS_A = np.geomspace(1e-2, 1e3, 9), np.array([0.5, 1.0, 2.5])


def spec_of(problem=PROBLEM, method="bngd", eps=EPS, eps_a=EPS_A, dim=None, trial=None, n_steps=50):
    rates = {"eps": eps, "eps_a": eps_a}
    return SweepSpec.checked(problem, method, rates, dim=dim, trial=trial, n_steps=n_steps, tol=1e-6)


def computed(spec, parts, workers=1):
    arrays = spec.empty()
    for tile, result in running.results(spec, parts, workers=workers, progress=False):
        for name, values in result.items():
            arrays[name][spec.full_index(name, tile)] = values
    return spec.dataset(arrays)


# ------------------------------------------------------------------ schema


@pytest.mark.parametrize(
    ("options", "dims"),
    [
        ({"eps": EPS, "eps_a": EPS_A}, ("eps_a", "eps")),
        ({"eps": EPS}, ("eps",)),
        ({"eps": 0.1, "eps_a": EPS_A}, ("eps_a",)),
        ({"eps": 0.1}, ()),
        ({"eps": [0.1]}, ("eps",)),
        ({"eps": EPS, "problem": FAMILY, "dim": 3}, ("eps",)),
        ({"eps": EPS, "problem": FAMILY, "dim": [3], "trial": 4}, ("dim", "eps")),
        (
            {"eps": EPS, "eps_a": EPS_A, "problem": FAMILY, "dim": [3, 2], "trial": [5, 1]},
            ("dim", "trial", "eps_a", "eps"),
        ),
        ({"eps": EPS, "method": "gd"}, ("eps",)),
    ],
)
def test_dims_variables_and_labels(options, dims):
    ds = olsbn.sweep(**{"problem": PROBLEM, "n_steps": 5} | options)
    gd = options.get("method") == "gd"
    columns = list(olsbn.methods()[options.get("method", "bngd")].columns)
    assert list(ds.data_vars) == columns and (ds.a.isnull().all() if gd else ds.a.notnull().all())
    for name, values in ds.data_vars.items():
        assert values.dims == dims and values.dtype == COLUMNS[name].dtype
        assert {"long_name", "symbol", "units"} <= set(values.attrs)
    for name in dims:
        np.testing.assert_array_equal(ds[name], np.atleast_1d(options[name]))
    assert ds.status.attrs["flag_values"].tolist() == [-1, 0, 1, 2, 3, 4]
    assert ds.status.attrs["flag_meanings"] == "not_run converged max_steps diverged non_finite degenerate"
    assert (ds.status >= 0).all()
    assert {"eps", "eps_a"} - set(dims) <= set(ds.attrs) | ({"eps_a"} if gd else set())
    assert ds.attrs["n_steps"] == 5 and len(ds.attrs["sweep_fingerprint"]) == 64


def test_a_grid_may_have_any_order_but_no_value_twice():
    ds = olsbn.sweep(PROBLEM, eps=[1.0, 0.01], n_steps=20)
    apart = [olsbn.sweep(PROBLEM, eps=[eps], n_steps=20).excess.item() for eps in (1.0, 0.01)]
    assert ds.excess.values.tolist() == apart
    with pytest.raises(ValueError, match=r"eps must not repeat a value, got 1\.0 twice"):
        olsbn.sweep(PROBLEM, eps=[1.0, 0.01, 1.0], n_steps=20)


def test_every_problem_of_a_family_is_the_single_one():
    ds = olsbn.sweep(FAMILY, eps=EPS, eps_a=EPS_A, dim=[4, 2], trial=[3, 0, 7], n_steps=30)
    for dim in (4, 2):
        for trial in (3, 0, 7):
            one = olsbn.sweep(FAMILY(dim, trial), eps=EPS, eps_a=EPS_A, n_steps=30)
            assert digest(ds.sel(dim=dim, trial=trial).drop_vars(["dim", "trial"])) == digest(one)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"problem": 3}, TypeError, "problem must be an OLSProblem or a ProblemFamily, got int"),
        (
            {"method": "adam"},
            ValueError,
            "method must be one of bngd, gd, gdnp, wngd, sphere, wngrad, minibatch, got 'adam'",
        ),
        ({"eps": []}, ValueError, "eps must have at least one value, got an empty grid"),
        ({"eps": [[1.0]]}, ValueError, r"eps must be a number or a vector, got an array of shape \(1, 1\)"),
        ({"eps": -1.0}, ValueError, "eps must be >= 0, got -1.0"),
        ({"eps": [0.1, np.nan]}, ValueError, r"eps must be finite, got eps\[1\] = nan"),
        ({"eps": "small"}, TypeError, "eps must hold real numbers, got 'small'"),
        ({"eps_a": [1.0, np.inf]}, ValueError, r"eps_a must be finite, got eps_a\[1\] = inf"),
        ({"method": "gd", "eps_a": 0.5}, ValueError, "eps_a must be left out for method 'gd'"),
        ({"n_steps": 1.5}, TypeError, "n_steps must be a whole number, got 1.5"),
        ({"n_steps": -1}, ValueError, "n_steps must be >= 0, got -1"),
        ({"tol": 1.0}, ValueError, r"tol must lie in \[1e-290, 1\), got 1.0"),
        ({"stop": "soon"}, ValueError, "stop must be one of steps, tol, got 'soon'"),
        ({"dim": 3}, ValueError, r"dim must be left out for a single problem, got 3"),
        ({"trial": 0}, ValueError, r"trial must be left out for a single problem, got 0"),
        ({"problem": FAMILY}, ValueError, "dim must be given for a ProblemFamily, got None"),
        ({"problem": FAMILY, "dim": []}, ValueError, "dim must be a whole number or a vector of them"),
        ({"problem": FAMILY, "dim": [2, 2.5]}, ValueError, "dim must hold whole numbers, got 2.5"),
        ({"problem": FAMILY, "dim": [5, 5]}, ValueError, "dim must not repeat a value, got 5 twice"),
        ({"problem": FAMILY, "dim": [5, 1]}, ValueError, "dim must be >= 2 for cond = 10.0, got 1"),
        ({"problem": FAMILY, "dim": 5, "trial": -1}, ValueError, "trial must be >= 0, got -1"),
        ({"workers": 0}, ValueError, "workers must be >= 1, got 0"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message) as caught:
        olsbn.sweep(**{"problem": PROBLEM, "eps": 0.1, "n_steps": 5} | options)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ nothing but the arguments matters


@pytest.mark.parametrize("method", ["bngd", "gd"])
def test_tiles_order_and_threads_do_not_matter(method):
    spec = spec_of(FAMILY, method, eps_a=EPS_A if method == "bngd" else 1.0, dim=[2, 7], trial=[0, 1, 2])
    expected = digest(computed(spec, spec.tiles((1, 1, 1))))
    for shape in ((3, 3, 9), (2, 2, 4), (1, 1, 32), (1, 5)):
        parts = list(spec.tiles(shape if method == "bngd" else (*shape[:-2], shape[-1])))
        assert sum(tile.n_cells for tile in parts) == spec.n_cells
        for order, workers in ((parts, 1), (parts[::-1], 3)):
            assert digest(computed(spec, order, workers)) == expected


def test_a_digest_sees_every_bit():
    ds = olsbn.sweep(PROBLEM, eps=EPS, n_steps=5)
    changed = ds.copy(deep=True)
    changed.excess.values[3] = np.nextafter(changed.excess.values[3], 1)
    assert digest(ds) == digest(ds.assign_attrs(anything=1)) != digest(changed)
    other_nan = ds.copy(deep=True)
    nan = np.isnan(other_nan.rate_sim.values)
    assert nan.any()
    other_nan.rate_sim.values[nan] = np.array([0x7FF8000000000001], np.uint64).view(float)[0]
    assert digest(ds) == digest(other_nan) != digest(ds.rename(a="b"))


def test_the_fingerprint_sees_every_argument():
    base = {"eps": EPS, "eps_a": EPS_A, "dim": [2, 3], "trial": [0, 1], "n_steps": 50}
    changes = [
        {}, {"eps": EPS[:-1]}, {"eps": np.nextafter(EPS, 1)}, {"eps_a": EPS_A[:2]}, {"dim": [2, 4]}, {"trial": [0, 2]},
        {"n_steps": 51}, {"trial": 0}, {"problem": olsbn.ProblemFamily("linspace", 10.0, seed=1)},
        {"problem": olsbn.ProblemFamily("logspace", 10.0)},
        {"problem": olsbn.ProblemFamily("linspace", 10.0, w0="gradient")},
    ]  # fmt: skip
    found = [spec_of(**{"problem": FAMILY} | base | change).fingerprint for change in changes]
    assert len(set(found)) == len(changes)
    assert spec_of(FAMILY, **base).fingerprint == found[0]


# ------------------------------------------------------------------ tiles


def test_tiling_covers_the_grid_once():
    tiling = Tiling((2, 5, 3, 7), (1, 2, 2, 3))
    seen = np.zeros(tiling.grid, int)
    for number, tile in enumerate(tiling):
        seen[tile.index] += 1
        assert tile == tiling[number] == tiling[number - len(tiling)]
        assert seen[tile.index].shape == tile.shape and seen[tile.index].size == tile.n_cells
    assert (seen == 1).all() and len(tiling) == 2 * 3 * 2 * 3 == len(tiling[:])
    with pytest.raises(IndexError):
        tiling[len(tiling)]


@pytest.mark.parametrize(
    ("shape", "d", "n_steps"),
    [((10**4, 10**4), 2, 10), ((10**4, 10**4), 1000, 10**5), ((1, 10), 5, 10), ((50, 2000), 100, 1000)],
)
def test_tiles_are_neither_too_many_nor_too_large(shape, d, n_steps):
    problem = olsbn.OLSProblem.from_spectrum("linspace", d, 2.0)
    spec = spec_of(problem, eps=np.linspace(0.1, 1, shape[1]), eps_a=np.linspace(0.1, 1, shape[0]), n_steps=n_steps)
    tiling = spec.tiles()
    assert max(tile.n_cells for tile in tiling) <= 65536
    assert len(tiling) <= 62_000


def test_small_problems_share_tiles():
    spec = spec_of(FAMILY, dim=[2, 3], trial=range(1000), n_steps=10)
    assert len(spec.tiles()) < 200


def test_memory_is_that_of_the_tiles_in_flight():
    spec = spec_of(eps=np.geomspace(1e-2, 1, 2000), eps_a=np.linspace(0.1, 1.9, 500), n_steps=1)
    parts = spec.tiles((1, 10, 1000))
    for _ in running.results(spec, parts[:1], workers=1, progress=False):
        pass
    tracemalloc.start()
    n = 0
    for tile, _ in running.results(spec, parts, workers=2, progress=False):
        n += tile.n_cells
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 10**6
    assert peak < 10 * 65 * 10_000 + 2e7  # of 65 MB in all: results of a few tiles, and the kernel's own arrays


# ------------------------------------------------------------------ stopping, progress


def test_leaving_early_stops_the_kernels():
    """They would run for months; here for as long as it takes to see that one has begun."""
    spec = spec_of(n_steps=2**40)
    timer = threading.Timer(0.3, lambda: started.set())
    started = threading.Event()
    timer.start()

    def interrupted():
        yield from spec.tiles((1, 1, 3))
        started.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for _ in pool.on_threads(lambda tile, cancel: compute.run_tile(spec, tile, cancel), interrupted(), workers=10):
            pass


def test_a_cancelled_tile_says_so():
    spec = spec_of()
    result = compute.run_tile(spec, next(iter(spec.tiles(spec.shape[1:]))), np.ones(1, np.uint8))
    assert (result["status"] == -1).all() and np.isnan(result["excess"]).all()


def test_errors_in_a_tile_arrive():
    def fails(tile, cancel):
        raise RuntimeError("in the tile")

    with pytest.raises(RuntimeError, match="in the tile"):
        list(pool.on_threads(fails, spec_of().tiles((1, 1, 1)), workers=2))


def test_progress_in_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress.meter, "_INTERVAL", 0.0)
    olsbn.sweep(PROBLEM, eps=EPS, n_steps=5, progress=True, workers=1)
    err = capsys.readouterr().err
    assert err.startswith("9 of 9 cells, ") and err.rstrip().endswith("0 s left")
    olsbn.sweep(PROBLEM, eps=EPS, n_steps=5)
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------ measures


def made_up(good, eps, **attrs):
    """A sweep result whose cells are good or not as told."""
    good = np.asarray(good, bool)
    dims = ("trial", "eps")[-good.ndim :]
    columns = {
        "status": np.where(good, 0, 1), "excess": np.where(good, 1e-12, 1.0),
        "steps_to_tol": np.where(good, 7, -1), "rate_sim": np.where(good, 0.5, np.nan),
    }  # fmt: skip
    return xr.Dataset(
        {name: (dims, values) for name, values in columns.items()}, {"eps": eps}, {"tol": 1e-10, "n_steps": 10} | attrs
    )


def test_widths_of_known_ranges():
    eps = np.logspace(-3, 3, 7)
    good = [[0, 0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0, 1], [0] * 7, [1] * 7, [0, 0, 0, 1, 0, 0, 0]]
    found = olsbn.robustness(made_up(good, eps), default=1.0)
    np.testing.assert_allclose(found.width_decades, [2, 1.5, 0, 6, 1])
    np.testing.assert_allclose(found.width_total_decades, [3, 2, 0, 6, 1])
    np.testing.assert_allclose(found.eps_lower, [10**-1.5, 1e-3, np.nan, 1e-3, 10**-0.5])
    np.testing.assert_allclose(found.eps_upper, [10**0.5, 10**-1.5, np.nan, 1e3, 10**0.5])
    assert found.at_edge.values.tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(found.margin_decades, [0.5, -1.5, np.nan, 3, 0.5])
    assert found.steps_best.values.tolist() == [7, 7, -1, 7, 7]
    np.testing.assert_allclose(found.rate_best, [0.5, 0.5, np.nan, 0.5, 0.5])
    shuffled = np.random.default_rng(0).permutation(7)
    assert digest(olsbn.robustness(made_up(good, eps).isel(eps=shuffled), default=1.0)) == digest(found)


def test_widths_against_theory():
    """GD's closed form is an identity, so the grid's spacing is all that may differ; BNGD's law is asymptotic."""
    family, spacing = olsbn.ProblemFamily("linspace", 100.0), 0.1
    eps = np.logspace(-7, 8, round(15 / spacing) + 1)
    options = {"eps": eps, "dim": [5, 40], "trial": [0, 1, 2], "n_steps": 2000, "tol": 1e-3}
    bngd, gd = olsbn.sweep(family, **options), olsbn.sweep(family, method="gd", **options)
    found, found_gd = olsbn.robustness(bngd, gd=gd), olsbn.robustness(gd)
    assert found.width_decades.dims == ("dim", "trial") == found.width_theory.dims
    assert abs(found_gd.width_decades - found_gd.width_theory).max() <= spacing
    np.testing.assert_array_equal(found.gd_width_decades, found_gd.width_decades)
    np.testing.assert_array_equal(found.width_gain_decades, found.width_decades - found.gd_width_decades)
    reliable = np.array([[eps_window(family(d, t), 1e-3, 2000).reliable for t in range(3)] for d in (5, 40)])
    assert reliable.sum() >= 3
    assert abs(found.width_decades - found.width_theory).values[reliable].max() <= spacing + 0.06
    assert (found.rate_best >= found.rate_best_theory * (1 - 1e-9)).values[found.rate_best.notnull()].all()
    single = olsbn.sweep(family(5, 1), eps=eps, n_steps=2000, tol=1e-3)
    alone = olsbn.robustness(single, family(5, 1))
    assert alone.width_decades.item() == found.width_decades.sel(dim=5, trial=1).item()
    assert alone.width_theory.item() == found.width_theory.sel(dim=5, trial=1).item()
    assert "width_theory" not in olsbn.robustness(single)


def test_robustness_refuses():
    ds = olsbn.sweep(PROBLEM, eps=EPS, n_steps=5)
    for bad, message in (
        (ds.drop_vars("status"), "none with the variable 'status'"),
        (olsbn.sweep(PROBLEM, eps=0.1, n_steps=5), "ds must have the dim 'eps'"),
        (olsbn.sweep(PROBLEM, eps=[0.0, 0.1], n_steps=5), "at least two different eps > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            olsbn.robustness(bad)
    with pytest.raises(ValueError, match="problem must be the one that was swept"):
        olsbn.robustness(ds, FAMILY(6))
    with pytest.raises(ValueError, match="default must be > 0"):
        olsbn.robustness(ds, default=0.0)


def test_over_trials():
    ds = olsbn.sweep(FAMILY, eps=EPS, dim=[2, 5], trial=range(6), n_steps=40, tol=1e-3)
    found = olsbn.over_trials(ds, [0, 0.5, 1])
    np.testing.assert_array_equal(found.excess.sel(quantile=0.5), np.median(ds.excess, axis=1))
    np.testing.assert_array_equal(found.status_count.sel(flag="converged"), (ds.status == 0).sum("trial"))
    assert (found.status_count.sum("flag") == 6).all()
    reached = (ds.steps_to_tol >= 0).sum("trial")
    np.testing.assert_array_equal(found.steps_to_tol_count, reached)
    np.testing.assert_array_equal(found.by_rounding_count, ds.by_rounding.sum("trial"))
    assert "by_rounding" not in found
    low = found.steps_to_tol.sel(quantile=0)
    assert (low.values[reached.values > 0] >= 0).all() and np.isnan(low.values[reached.values == 0]).all()
    with pytest.raises(ValueError, match="ds must have the dim 'trial'"):
        olsbn.over_trials(found)
    with pytest.raises(ValueError, match=r"quantiles must lie in \[0, 1\]"):
        olsbn.over_trials(ds, [2.0])


@pytest.mark.parametrize("by", ["excess", "eps_eff", "steps_to_tol", "rate_sim"])
def test_the_median_trial_is_a_trial(by):
    ds = olsbn.sweep(FAMILY, eps=[*EPS, 1e9], eps_a=[0.5, 1.0, 2.5], dim=[2, 5], trial=range(7), n_steps=40, tol=1e-3)
    for trial in range(4):  # three are left of one cell, none of another
        ds.status[0, trial, 0, 0], ds.excess[0, trial, 0, 0] = Status.NOT_RUN, np.nan
    ds.status[1, :3, 0, 0], ds.excess[1, :3, 0, 0] = Status.NOT_RUN, np.nan  # an even number is left
    ds.status[1, :, 2, 1] = Status.NOT_RUN
    found = olsbn.median_trial(ds, by)
    assert found.status.dims == ("dim", "eps_a", "eps")
    assert found.attrs["n_trials"] == 7 and found.attrs["n_not_run"] == 14
    for where in np.ndindex(found.status.shape):
        at = (where[0], slice(None), *where[1:])
        number, status = ds[by].values[at], ds.status.values[at]
        number = np.where(np.isfinite(number) & ((by != "steps_to_tol") | (number >= 0)), number, np.inf)
        ran = [t for t in range(7) if status[t] != Status.NOT_RUN]
        if not ran:
            assert found.status.values[where] == Status.NOT_RUN
            continue
        rank = sorted(ran, key=lambda t: (number[t], status[t]))
        for name in ds.data_vars:
            chosen = ds[name].values[at][rank[(len(rank) - 1) // 2]]
            np.testing.assert_array_equal(found[name].values[where], chosen)


def test_what_medians_are_not_for():
    ds = olsbn.sweep(FAMILY, eps=EPS, dim=[2, 5], trial=range(3), n_steps=40, tol=1e-3)
    for call in (olsbn.robustness, olsbn.compare):
        with pytest.raises(ValueError, match="got medians over its trials"):
            call(olsbn.median_trial(ds))
    with pytest.raises(TypeError, match=r"ds must be an xarray\.Dataset, got int"):
        olsbn.median_trial(3)
    with pytest.raises(ValueError, match="unknown quantity 'los'; did you mean 'loss'"):
        olsbn.median_trial(ds, "los")


def test_what_was_not_run_has_no_width():
    ds = olsbn.sweep(FAMILY, eps=EPS, dim=[2, 5], trial=range(3), n_steps=40, tol=1e-3)
    ds.status[1, 2], ds.excess[1, 2] = Status.NOT_RUN, np.nan
    for name in ("width_decades", "width_total_decades"):
        gone = olsbn.robustness(ds)[name].isnull().values
        assert gone[1, 2] and gone.sum() == 1


def test_robustness_of_one_trial_is_that_trial():
    """A trial picked from the axis keeps its own theory."""
    family = olsbn.ProblemFamily("linspace", 50.0)
    ds = olsbn.sweep(family, dim=[5, 20], trial=[0, 3], eps=np.geomspace(1e-3, 1e3, 25), n_steps=500, tol=1e-3)
    whole, one = olsbn.robustness(ds).isel(trial=1), olsbn.robustness(ds.isel(trial=1))
    for name in ("width_theory", "plateau_theory", "rate_best_theory", "gd_width_decades"):
        np.testing.assert_array_equal(one[name], whole[name])
    assert not np.array_equal(one.width_theory, olsbn.robustness(ds.isel(trial=0)).width_theory)
