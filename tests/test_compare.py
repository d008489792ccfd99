"""Theory beside simulation: agreement is counted where it is, and disagreement where it is put."""

import matplotlib
import naive
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot

import olsbn
from olsbn.schema import Status

compare = olsbn.compare


@pytest.fixture(scope="module")
def problem():
    return olsbn.OLSProblem.from_spectrum("logspace", dim=30, cond=50.0)


@pytest.fixture(scope="module")
def ds(problem):
    eps_a = [1e-4, 1e-2, 0.5, 1.0, 1.7, 1.99, 2.0, 2.01, 2.5]
    return olsbn.sweep(problem, eps=np.geomspace(1e-5, 1e5, 61), eps_a=eps_a, n_steps=4000, tol=1e-6)


def _count(result, what):
    return {name: result.attrs[f"{what}_{name}"] for name in ("agrees", "disagrees", "in_band", "not_compared")}


@pytest.mark.parametrize(
    ("kind", "dim", "cond", "n_steps", "tol"),
    [
        ("logspace", 10, 20.0, 2000, 1e-8),
        ("linspace", 60, 100.0, 4000, 1e-3),
        ("two-cluster", 20, 50.0, 5000, 1e-6),
        ("powerlaw", 100, 300.0, 20000, 1e-6),
        ("marchenko-pastur", 40, 30.0, 3000, 1e-10),
    ],
)
def test_all_agree_on_generic_problems(kind, dim, cond, n_steps, tol):
    problem = olsbn.OLSProblem.from_spectrum(kind, dim, cond, seed=1)
    eps_a = [1e-4, 0.5, 1.0, 1.7, 2.0, 2.5]
    bngd = compare(
        olsbn.sweep(problem, eps=np.geomspace(1e-6, 1e6, 73), eps_a=eps_a, n_steps=n_steps, tol=tol), problem
    )
    gd = compare(olsbn.sweep(problem, method="gd", eps=np.geomspace(1e-6, 10, 71), n_steps=n_steps, tol=tol), problem)
    for result in (bngd, gd):
        for what in ("status", "rate"):
            assert _count(result, what)["disagrees"] == 0
        assert result.attrs["status_agrees"] > 3 * result.attrs["status_in_band"]
    assert bngd.attrs["eps_eff_disagrees"] == 0
    # it is not vacuous: all statuses are there, and all regimes
    assert set(np.unique(bngd.status_theory)) == {-1, Status.CONVERGED, Status.MAX_STEPS, Status.DIVERGED}
    assert set(np.unique(gd.status_theory)) == {Status.CONVERGED, Status.MAX_STEPS, Status.DIVERGED}
    assert min(bngd.attrs[f"eps_eff_{name}_cells"] for name in ("small", "large")) >= 3


def test_counts_are_those_of_the_checks(ds, problem):
    result = compare(ds, problem)
    for what in ("status", "rate", "eps_eff"):
        assert sum(_count(result, what).values()) == ds.status.size
        for code, name in zip((-1, 0, 1, 2), ("not_compared", "disagrees", "agrees", "in_band"), strict=True):
            assert (result[f"{what}_check"] == code).sum() == result.attrs[f"{what}_{name}"]
    assert result.attrs["rate_agrees"] > 20 and result.attrs["rate_worst"] < 1e-10
    assert result.status.dims == result.status_check.dims == ds.status.dims
    xr.testing.assert_equal(result.status, ds.status)


def test_scale_decides_beyond_two(ds, problem):
    theory = compare(ds, problem).status_theory
    # at 2 it stays where the transient leaves it, of which there is no theory; outside the window w itself is too slow
    assert set(np.unique(theory.sel(eps_a=2.0))) == {Status.MAX_STEPS, -1}
    # 1.01^(2 * 4000) is 4e34, more than the limit 1e30
    assert (theory.sel(eps_a=2.01) == Status.DIVERGED).all()
    assert (theory.sel(eps_a=1e-4) == Status.MAX_STEPS).all()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("status", {"status": lambda ds: xr.where(ds.status == 0, 1, ds.status)}),
        ("status", {"status": lambda ds: xr.where(ds.eps_a > 2, 1, ds.status)}),
        ("rate", {"rate_sim": lambda ds: ds.rate_sim * (1 + 2e-10)}),
        ("eps_eff", {"eps_eff": lambda ds: 1.2 * ds.eps_eff}),
        ("eps_eff", {"eps_eff": lambda ds: ds.eps_eff.where(ds.eps < 1, 0.8 * ds.eps_eff)}),
    ],
)
def test_wrong_numbers_disagree(ds, problem, what, change):
    wrong = ds.assign({name: make(ds) for name, make in change.items()})
    right, result = compare(ds, problem), compare(wrong, problem)
    assert right.attrs[f"{what}_disagrees"] == 0
    assert result.attrs[f"{what}_disagrees"] > 5


def test_gd_steps_are_the_naive_ones():
    problem = olsbn.OLSProblem.from_spectrum("linspace", 5, 20.0)
    eps = np.geomspace(1e-3, 0.2, 25)
    ds = olsbn.sweep(problem, method="gd", eps=eps, n_steps=300, tol=1e-4)
    result = compare(ds, problem, band=0.0)
    for k, one in enumerate(eps):
        excess = naive.gd_run(*naive.dense(problem)[:4], one, 300).excess
        first = np.flatnonzero(excess <= 1e-4)
        assert result.steps_theory[k] == (first[0] if first.size else np.inf)
    assert result.attrs["status_disagrees"] == 0 and result.attrs["status_in_band"] <= 1


def test_gd_leaves_again_what_it_passed():
    # nearly no weight in the mode that diverges: the excess falls to the tolerance before it rises
    problem = olsbn.OLSProblem([1.0, 3.0], u=[1.0, 1.0], w0=[0.0, 1 + 1e-12])
    ds = olsbn.sweep(problem, method="gd", eps=[0.7, 0.8], n_steps=60, tol=1e-4)
    result = compare(ds, problem, band=0.0)
    assert (ds.status == 0).all() and result.attrs["status_agrees"] == 2


def test_band_grows_at_the_cost_of_agreement(ds, problem):
    counts = [_count(compare(ds, problem, band=band), "status") for band in (0.0, 0.1, 0.3, 1.0)]
    bands = [count["in_band"] for count in counts]
    assert bands[0] == 0 and bands == sorted(set(bands))
    assert all(sum(count.values()) == ds.status.size for count in counts)


def test_family_and_its_parts():
    family = olsbn.ProblemFamily("logspace", 30.0)
    ds = olsbn.sweep(family, dim=[5, 20], trial=[0, 1, 2], eps=np.geomspace(1e-4, 1e4, 21), n_steps=2000, tol=1e-6)
    whole = compare(ds)
    assert whole.status_check.dims == ("dim", "trial", "eps")
    assert whole.attrs["status_disagrees"] == whole.attrs["eps_eff_disagrees"] == 0
    part = compare(ds.isel(dim=1, trial=2), family)
    xr.testing.assert_equal(part.steps_theory, whole.steps_theory.isel(dim=1, trial=2))
    single = olsbn.sweep(family, dim=20, trial=2, eps=ds.eps.values, n_steps=2000, tol=1e-6)
    np.testing.assert_array_equal(compare(single).steps_theory, part.steps_theory)


@pytest.mark.parametrize("grid", [{"eps": 1.0}, {"eps": 1.0, "eps_a": [0.5, 1.0, 2.5]}, {"eps": [0.1, 1.0]}])
def test_any_dims(problem, grid):
    ds = olsbn.sweep(problem, n_steps=3000, tol=1e-6, **grid)
    result = compare(ds, problem)
    assert result.status_check.dims == ds.status.dims
    assert result.attrs["status_disagrees"] == 0 and result.attrs["status_agrees"] > 0


def test_transposed_dataset(ds, problem):
    xr.testing.assert_equal(compare(ds.transpose("eps", "eps_a"), problem), compare(ds, problem))


def test_start_that_is_not_generic():
    problem = olsbn.OLSProblem.from_spectrum("logspace", 20, 50.0, w0="gradient")
    ds = olsbn.sweep(problem, eps=np.geomspace(1e-5, 1e5, 41), n_steps=3000, tol=1e-6)
    result = compare(ds, problem)
    # of large eps theory says nothing
    large = result.sel(eps=slice(1.0, None))
    assert (large.status_theory == -1).all() and (large.status_check == -1).all() and (large.eps_eff_check == -1).all()
    assert result.attrs["status_disagrees"] == 0 and result.attrs["status_agrees"] > 5


@pytest.mark.parametrize(
    "start",
    [
        {"w0": [0.0, 0.0]},
        {"w0": [4.0, -1.0], "a0": 0.0},
        {"w0": [2.0, 2.0]},
        {"w0": [2.0, 2.0], "a0": 100.0},
    ],
)
def test_special_starts(start):
    problem = olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], **start)
    result = compare(olsbn.sweep(problem, eps=[0.0, 1e-2, 1.0, 100.0], eps_a=[0.5, 1.0], n_steps=300), problem)
    assert result.attrs["status_disagrees"] == 0 and result.attrs["status_agrees"] == 8


def test_start_at_the_minimiser_does_not_diverge():
    problem = olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[2.0, 2.0])
    result = compare(olsbn.sweep(problem, eps=[0.1, 1.0], eps_a=[2.0, 2.5], n_steps=300), problem)
    assert result.attrs["status_disagrees"] == 0 and result.attrs["status_not_compared"] == 4


def test_one_dimension():
    problem = olsbn.OLSProblem([2.0], u=[1.0], w0=[0.5], a0=3.0)
    result = compare(olsbn.sweep(problem, eps=[0.1, 10.0], eps_a=[0.5, 1.0, 2.5], n_steps=200), problem)
    assert result.attrs["status_disagrees"] == 0 and result.attrs["status_agrees"] == 6


def test_incomplete_sweep(ds, problem):
    part = ds.copy(deep=True)
    part["status"][:4] = Status.NOT_RUN
    result = compare(part, problem)
    assert (result.status_check[:4] == -1).all()
    assert result.attrs["status_disagrees"] == 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda ds, p: compare(ds), ValueError, "problem must be given for a sweep of a single problem"),
        (lambda ds, p: compare(ds, olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0])), ValueError, "with the fingerprint"),
        (lambda ds, p: compare(ds, olsbn.ProblemFamily("logspace", 50.0)), ValueError, "must be the family"),
        (lambda ds, p: compare(ds, "logspace"), TypeError, "must be an OLSProblem or a ProblemFamily, got str"),
        (lambda ds, p: compare(ds.drop_vars("status"), p), ValueError, "a Dataset without status"),
        (lambda ds, p: compare(ds.status, p), TypeError, "got DataArray"),
        (lambda ds, p: compare(olsbn.run_bngd(p, 1.0, n_steps=3), p), ValueError, "a result of sweep"),
        (lambda ds, p: compare(ds, p, band=-1.0), ValueError, "band must be >= 0"),
        (lambda ds, p: compare(ds, p, rel=0.0), ValueError, "rel > 0"),
    ],
)
def test_bad_input(ds, problem, make, error, message):
    with pytest.raises(error, match=message):
        make(ds, problem)


def test_result_can_be_stored(ds, problem, tmp_path):
    result = compare(ds, problem)
    result.to_netcdf(tmp_path / "comparison.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "comparison.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back.load(), result)


@pytest.mark.parametrize("rows", [True, False])
def test_picture_counts_what_it_shows(ds, problem, rows):
    with matplotlib.rc_context({"backend": "agg"}):
        wrong = ds.assign(status=xr.where((ds.eps_a > 2) & (ds.eps > 1), 1, ds.status), eps_eff=1.2 * ds.eps_eff)
        result = compare(wrong if rows else wrong.sel(eps_a=1.0), problem)
        ax = olsbn.plotting.plot_comparison(result)
        ax.figure.canvas.draw()
        labels = [text.get_text() for text in ax.figure.legends[0].get_texts()]
        what = "status" if rows else "eps_eff"
        assert f"not as predicted: {result.attrs[f'{what}_disagrees']}" in labels
        compared = result.attrs[f"{what}_agrees"] + result.attrs[f"{what}_disagrees"]
        assert f"{result.attrs[f'{what}_agrees']} of {compared} cells" in ax.get_title()
        pyplot.close("all")


def test_picture_refuses_other_datasets(ds, problem):
    with pytest.raises(ValueError, match="a result of compare"):
        olsbn.plotting.plot_comparison(ds)
    with pytest.raises(ValueError, match="dims"):
        olsbn.plotting.plot_comparison(compare(ds, problem).isel(eps=0))
