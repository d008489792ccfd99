"""Pictures: where cells lie, what the legend says, that nothing depends on where the Dataset came from."""

import itertools
import re

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from PIL import Image

import olsbn
from olsbn import maps, plotting
from olsbn.schema import Status

EPS, EPS_A = np.logspace(-3, 4, 22), np.array([0.3, 0.8, 1.3, 1.8, 2.3])


@pytest.fixture(autouse=True)
def close_figures():
    with matplotlib.rc_context({"backend": "agg"}):
        yield
        pyplot.close("all")


@pytest.fixture(scope="module")
def problem():
    return olsbn.OLSProblem.from_spectrum("logspace", dim=6, cond=30.0)


@pytest.fixture(scope="module")
def swept(problem):
    return olsbn.sweep(problem, eps=EPS, eps_a=EPS_A, n_steps=300)


@pytest.fixture(scope="module")
def swept_gd(problem):
    return olsbn.sweep(problem, method="gd", eps=EPS, n_steps=300)


def mesh_of(ax):
    return next(c for c in ax.collections if isinstance(c, QuadMesh))


def legend_of(ax):
    legends = [ax.get_legend(), *ax.figure.legends]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()


# ---------------------------------------------------------------- cells


def test_edges_of_a_logarithmic_grid_are_geometric_means():
    x = np.array([1e-3, 1e-2, 1e-1, 1.0])
    edges, log = maps.cell_edges(x)
    assert log
    np.testing.assert_allclose(edges[1:-1], np.sqrt(x[1:] * x[:-1]), rtol=1e-13)
    np.testing.assert_allclose(edges[[0, -1]], [x[0] / 10**0.5, x[-1] * 10**0.5], rtol=1e-13)


def test_edges_of_a_linear_grid_are_midpoints_and_not_negative():
    edges, log = maps.cell_edges([0.0, 1.0, 2.0])
    assert not log and edges.tolist() == [0.0, 0.5, 1.5, 2.5]
    edges, log = maps.cell_edges(np.linspace(0.1, 2.1, 11))
    assert not log
    np.testing.assert_allclose(edges, np.linspace(0, 2.2, 12), atol=1e-15)


@pytest.mark.parametrize("x", [[5e-324, 1.0, 1e308], [2.5], [0.0], [1.0, 2.0], [1e-9, 1e9], [3.0, 1e300]])
def test_edges_enclose_their_centres(x):
    edges, log = maps.cell_edges(x)
    assert edges.size == len(x) + 1 and (np.diff(edges) > 0).all() and np.isfinite(edges).all()
    shown = np.clip(x, 1e-290, 1e290) if log else np.array(x)
    rounding = 1 + 1e-12  # of exp(log(x)) at the ends of the range
    assert (edges[:-1] <= shown * rounding).all() and (shown <= edges[1:] * rounding).all()


def test_edges_of_a_grid_that_does_not_ascend():
    with pytest.raises(ValueError, match="distinct"):
        maps.cell_edges([1.0, 1.0, 2.0])


def test_edges_beyond_what_an_axis_can_show():
    for x in ([1e-320], [1e300, 1e304]):
        with pytest.raises(ValueError, match=r"must lie in \[1e-290, 1e\+290\]"):
            maps.cell_edges(x)


def test_cells_lie_where_the_coordinates_say(swept):
    ax = plotting.plot_map(swept)
    corners = mesh_of(ax).get_coordinates()
    assert corners.shape == (EPS_A.size + 1, EPS.size + 1, 2)
    np.testing.assert_allclose(corners[0, 1:-1, 0], np.sqrt(EPS[1:] * EPS[:-1]), rtol=1e-12)
    np.testing.assert_allclose(corners[1:-1, 0, 1], (EPS_A[1:] + EPS_A[:-1]) / 2, rtol=1e-12)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")


def test_colour_is_the_number_of_the_cell_and_statuses_have_none(swept):
    drawn = mesh_of(plotting.plot_map(swept)).get_array()
    ran = swept.status.isin([Status.CONVERGED, Status.MAX_STEPS]).values
    np.testing.assert_array_equal(~np.ma.getmaskarray(drawn), ran)
    np.testing.assert_array_equal(drawn[ran], np.log10(swept.excess.values[ran]))
    assert not ran.all()  # the row above eps_a = 2 diverges
    drawn = mesh_of(plotting.plot_map(swept, "steps_to_tol")).get_array()
    reached = (swept.status == Status.CONVERGED).values
    np.testing.assert_array_equal(~np.ma.getmaskarray(drawn), reached)
    np.testing.assert_array_equal(drawn[reached], swept.steps_to_tol.values[reached])


# ---------------------------------------------------------------- legend and title


@pytest.fixture
def mixed(swept):
    ds = swept.copy(deep=True)
    ds.status.values[0, :4] = Status.NOT_RUN
    ds.status.values[1, :3] = Status.NON_FINITE
    ds.status.values[2, :2] = Status.DEGENERATE
    return ds


def test_legend_counts_statuses(mixed):
    texts = legend_of(plotting.plot_map(mixed))
    for status in (Status.NOT_RUN, Status.NON_FINITE, Status.DEGENERATE, Status.DIVERGED):
        count = int((mixed.status == status).sum())
        assert f"{status.label.replace('_', ' ')}: {count} of {mixed.status.size} cells" in texts
    reached = int((mixed.status == Status.CONVERGED).sum())
    assert reached and f"reached $10^{{-10}}$: {reached} of {mixed.status.size} cells" in texts
    texts = legend_of(plotting.plot_map(mixed, "steps_to_tol"))
    assert (
        f"tolerance not reached: {int((mixed.status == Status.MAX_STEPS).sum())} of {mixed.status.size} cells" in texts
    )


def test_every_hatched_area_covers_its_cells(mixed):
    ax = plotting.plot_map(mixed.assign(by_rounding=mixed.by_rounding & False))
    hatched = [p for p in ax.patches if p.get_hatch()]
    assert len(hatched) == 4
    x, y = np.meshgrid(EPS, EPS_A)
    covered = sum(
        np.array([p.get_path().contains_point(point) for point in zip(x.flat, y.flat, strict=True)]).astype(int)
        for p in hatched
    )
    flat = ~mixed.status.isin([Status.CONVERGED, Status.MAX_STEPS]).values
    np.testing.assert_array_equal(covered.reshape(x.shape), flat.astype(int))


def test_title_says_what_and_whether_it_is_complete(swept, mixed, problem):
    title = plotting.plot_map(swept).get_title()
    assert problem.label in title and "$d = 6$" in title and r"\kappa = 30$" in title and "300 steps" in title
    assert "incomplete" not in title
    assert f"incomplete: 4 of {mixed.status.size} cells not run" in plotting.plot_map(mixed).get_title()


def test_theory_is_drawn_where_it_is(swept, swept_gd, problem):
    regimes = olsbn.effective_rate_regimes(problem)
    ax = plotting.plot_map(swept)
    upright = [line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert upright == [regimes.eps_1, regimes.eps_2]
    assert [line.get_ydata() for line in ax.lines if line.get_ydata()[0] == line.get_ydata()[1]] == [[2.0, 2.0]]
    ax = plotting.plot_map(swept_gd)
    assert [line.get_xdata()[0] for line in ax.lines] == [olsbn.spectral_report(problem).eps_max]
    assert plotting.plot_map(swept, theory=False).lines[:] == []


def test_one_tolerance_outline(swept):
    """The outline passes between every two neighbours of which one reached the tolerance, and nowhere else."""
    ax = plotting.plot_map(swept)
    outline = next(p for p in ax.patches if not p.get_fill() and not p.get_hatch())
    reached = (swept.status == Status.CONVERGED).values
    edges = int((reached[1:] != reached[:-1]).sum() + (reached[:, 1:] != reached[:, :-1]).sum())
    assert edges and len(outline.get_path().vertices) == 2 * edges


# ---------------------------------------------------------------- axes, files


def test_draws_into_given_axes_and_returns_them(swept, swept_gd, problem):
    run = olsbn.run_bngd(problem, 1.0, n_steps=50)
    for draw in (
        lambda ax: plotting.plot_map(swept, ax=ax),
        lambda ax: plotting.plot_map(swept_gd, "rate_sim", ax=ax),
        lambda ax: plotting.plot_map(swept, "eps_eff", ax=ax),
        lambda ax: plotting.plot_run(run, ax),
    ):
        ax = pyplot.figure().subplots()
        assert draw(ax) is ax
        assert isinstance(draw(None), Axes)
        ax.figure.draw_without_rendering()


def test_a_file_draws_the_same(swept, swept_gd, tmp_path):
    both = maps.beside(swept, swept_gd)
    both.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    both.to_zarr(tmp_path / "a.zarr", consolidated=False)
    nc, zarr = xr.open_dataset(tmp_path / "a.nc"), xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
    first = pixels(plotting.plot_map(both).figure)
    for ds in (nc, zarr):
        np.testing.assert_array_equal(pixels(plotting.plot_map(ds).figure), first)
        for part, original in zip(maps.apart(ds), (swept, swept_gd), strict=True):
            xr.testing.assert_equal(part.load(), original)
    nc.close()


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_redrawing_gives_the_same_bytes(swept, swept_gd, tmp_path, suffix):
    both = maps.beside(swept, swept_gd)
    both.attrs["command"] = "olsbn map --data 'x y'"
    plotting.save(plotting.in_style(plotting.map_figure, both), tmp_path / f"a{suffix}", both)
    with matplotlib.rc_context({"font.size": 20, "font.family": "monospace", "savefig.dpi": 30}):  # a user's settings
        plotting.save(plotting.in_style(plotting.map_figure, both), tmp_path / f"b{suffix}", both)
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert data == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".png":
        with Image.open(tmp_path / "a.png") as image:
            info = image.info
        assert info["Software"] == f"olsbn {olsbn.__version__}"
        assert both.attrs["sweep_fingerprint"] in info["Description"] and "olsbn map --data" in info["Description"]
    else:
        assert both.attrs["sweep_fingerprint"].encode() in data and b"CreationDate" not in data


@pytest.mark.parametrize("quantity", ["excess", "steps_to_tol", "rate_sim", "eps_eff"])
def test_the_legend_is_inside_the_figure(quantity):
    """Cells by the ten thousand make the longest keys: seen cut off at both sides."""
    problem = olsbn.OLSProblem.from_spectrum("logspace", 3, 10.0)
    how = {"n_steps": 100, "tol": 1e-10, "eps": np.geomspace(1e-5, 1e3, 241)}
    both = maps.beside(
        olsbn.sweep(problem, eps_a=np.geomspace(1e-3, 3.9, 180), **how), olsbn.sweep(problem, method="gd", **how)
    )
    figure = plotting.map_figure(both, quantity)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_the_map_figure_tells_of_both(swept, swept_gd):
    figure = plotting.map_figure(maps.beside(swept, swept_gd))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    n = {name: int((ds.status == Status.DIVERGED).sum()) for name, ds in (("BNGD", swept), ("GD", swept_gd))}
    assert f"diverged: BNGD {n['BNGD']} of {swept.status.size}, GD {n['GD']} of {swept_gd.status.size} cells" in texts
    top = figure.axes[0]
    bottom, upper = top.child_axes
    assert top.get_xlim() == bottom.get_xlim()
    half = swept.attrs["eig_max"] / 2
    figure.draw_without_rendering()
    natural = upper.get_xlim()
    np.testing.assert_allclose(natural, np.array(top.get_xlim()) * half, rtol=1e-12)


# ---------------------------------------------------------------- runs and robustness


def test_run_shows_the_excess_and_the_slope_of_theory(problem):
    run = olsbn.run_bngd(problem, 0.05, n_steps=400)
    ax = plotting.plot_run(run)
    curve, slope = ax.lines
    np.testing.assert_array_equal(curve.get_ydata(), run.excess.values)
    x, y = slope.get_data()
    assert x[-1] == 400 and y[-1] == pytest.approx(run.excess.values[-1], rel=1e-12)
    assert y[0] / y[-1] == pytest.approx(run.attrs["rate_theory"] ** (2 * (x[0] - x[-1])), rel=1e-9)


def test_the_edge_of_stability_is_in_the_picture_of_runs(problem):
    runs = [olsbn.run_bngd(problem, 1e-2, n_steps=50), olsbn.run_gd(problem, 0.01, 50)]  # far below it
    bottom = plotting.run_figure(runs).axes[1]
    assert bottom.get_ylim()[0] < 1 < bottom.get_ylim()[1]


@pytest.mark.parametrize(("eps", "n_steps"), [(0.0, 5), (1e300, 5), (1e-300, 5), (1.0, 0), (2.0, 60)])
def test_odd_runs_are_drawn(problem, eps, n_steps):
    runs = [olsbn.run_bngd(problem, eps, n_steps=n_steps), olsbn.run_gd(problem, eps, n_steps)]
    plotting.run_figure(runs).draw_without_rendering()


def test_robustness_shows_medians(tmp_path):
    family = olsbn.ProblemFamily("logspace", cond=10.0)
    ds = olsbn.sweep(family, dim=[2, 6, 18], trial=range(5), eps=np.logspace(-3, 5, 41), n_steps=300, tol=1e-6)
    found = olsbn.robustness(ds)
    for ax in (plotting.plot_robustness(ds), plotting.plot_robustness(found)):
        curves = {line.get_label(): line.get_ydata() for line in ax.lines}
        np.testing.assert_allclose(curves["BNGD"], found.width_decades.median("trial"))
        np.testing.assert_allclose(curves["GD"], found.gd_width_decades.median("trial"))
        assert "5 trials" in ax.get_title()
    ds.status.values[0, 0, :3] = Status.NOT_RUN
    assert "incomplete: 3 cells not run" in " ".join(plotting.plot_robustness(ds).get_title().split())
    single = plotting.plot_robustness(ds.isel(trial=1))
    np.testing.assert_allclose(single.lines[0].get_ydata(), found.width_decades.isel(trial=1))
    assert "one trial" in single.get_title()


def test_maps_of_several_dimensions_share_their_colours():
    family = olsbn.ProblemFamily("linspace", 10.0)
    ds = olsbn.sweep(family, dim=[2, 20], trial=range(3), eps=EPS, eps_a=EPS_A, n_steps=100, tol=1e-3)
    maps = [
        olsbn.median_trial(ds).isel(dim=i).assign_attrs(rank=d, eps_1=0.1, eps_2=1.0) for i, d in enumerate((2, 20))
    ]
    figure = plotting.maps_figure(maps)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["$d = 2$", "$d = 20$"]
    assert mesh_of(figure.axes[0]).get_clim() == mesh_of(figure.axes[1]).get_clim()
    assert "BNGD on linspace problems\nmedian of 3 trials" in figure.get_suptitle()
    assert "incomplete" not in figure.get_suptitle()
    maps[1].attrs["n_not_run"] = 3
    assert "incomplete: 3 of 660 cells not run" in plotting.maps_figure(maps).get_suptitle()
    reached = [int((one.status == 0).sum()) for one in maps]
    labels = legend_of(figure.axes[0])
    assert len(labels) == len(set(labels))
    assert any(f"$d = 2$: {reached[0]} of 110, $d = 20$: {reached[1]} of 110 cells" in label for label in labels)


def test_any_order_of_axes_and_values_draws_the_same(swept):
    shuffled = swept.isel(eps=np.random.default_rng(0).permutation(EPS.size), eps_a=slice(None, None, -1))
    one, two = plotting.plot_map(swept), plotting.plot_map(shuffled.transpose("eps", "eps_a"))
    np.testing.assert_array_equal(pixels(one.figure), pixels(two.figure))


def test_a_run_that_ended_badly_says_so(problem):
    for run, word in (
        (olsbn.run_gd(problem, 1.0, 200), "diverged"),
        (olsbn.run_bngd(olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0], [0.0, 0.0]), 1.0, n_steps=3), "degenerate"),
    ):
        assert legend_of(plotting.plot_run(run))[0].endswith(f": {word}")
    assert plotting.plot_run(olsbn.run_gd(problem, 0.1, 0)).lines[0].get_marker() == "o"


# ---------------------------------------------------------------- any axes, panels, scales


def test_any_two_axes_make_a_map():
    family = olsbn.ProblemFamily("linspace", 10.0)
    ds = olsbn.sweep(family, dim=[2, 5, 20], eps=EPS, n_steps=50, tol=1e-3)
    ax = plotting.plot_map(ds, x="eps", y="dim")
    assert (ax.get_xlabel(), ax.get_ylabel()) == (r"learning rate $\varepsilon$", "dimension $d$")
    drawn = mesh_of(ax).get_array()
    ran = ds.status.isin([Status.CONVERGED, Status.MAX_STEPS]).values
    np.testing.assert_array_equal(drawn[ran], np.log10(ds.excess.values[ran]))
    turned = plotting.plot_map(ds, x="dim", y="eps")
    assert mesh_of(turned).get_array().shape == drawn.shape[::-1]
    for bad, words in (({"x": "depth"}, "x must be one of the dims dim, eps"), ({"x": "eps", "y": "eps"}, "twice")):
        with pytest.raises(ValueError, match=words):
            plotting.plot_map(ds, **bad)


def test_panels_wrap_and_keep_their_own_theory(monkeypatch):
    family = olsbn.ProblemFamily("linspace", 10.0)
    dims = [2, 3, 4, 5, 6, 8, 10, 14, 20]
    ds = olsbn.sweep(family, dim=dims, eps=EPS, eps_a=EPS_A, n_steps=50, tol=1e-3)
    figure = plotting.maps_figure(ds)
    assert figure.get_size_inches()[0] <= 13.6
    axes = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in axes] == [f"$d = {d}$" for d in dims]
    for ax, d in zip(axes, dims, strict=True):
        regimes = olsbn.effective_rate_regimes(family(d, 0))
        ends = [e for e in (regimes.eps_1, regimes.eps_2) if ax.get_xlim()[0] < e < ax.get_xlim()[1]]
        upright = [line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]]
        assert upright == (ends if regimes.decades > 0 else [pytest.approx(regimes.crossing)])
    reached = int((ds.status == Status.CONVERGED).sum())
    assert any(f"{reached} of {ds.status.size} cells" in text for text in legend_of(figure.axes[0]))
    monkeypatch.setattr(maps, "MOST_PANELS", 20)
    with pytest.raises(ValueError, match="at most 20 panels"):
        plotting.maps_figure(ds, x="eps_a", y="dim")


def test_marks_are_for_neutral_parameters(problem):
    ds = olsbn.sweep(problem, eps=EPS, eps_a=EPS_A, weight_decay=[0.0, 1e-3], n_steps=50)
    (_, plain), (_, decayed) = maps.panels(ds)
    assert maps.marks(plain) and not maps.marks(decayed)
    alone = olsbn.sweep(problem, eps=EPS, eps_a=EPS_A, weight_decay=1e-3, n_steps=50)
    assert not maps.marks(alone) and not plotting.plot_map(alone).lines[:]
    figure = plotting.maps_figure(ds)
    upright = [[line for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]] for ax in figure.axes[:2]]
    assert upright[0] and not upright[1]


@pytest.mark.parametrize("quantity", ["excess", "eps_eff", "rate_sim", "steps_to_tol"])
def test_a_deep_zoom_tells_its_colours_apart(problem, quantity):
    eps, eps_a = np.geomspace(0.05, 0.05 * (1 + 1e-6), 9), np.linspace(1.0, 1.000001, 5)
    ds = olsbn.sweep(problem, eps=eps, eps_a=eps_a, n_steps=4000 if quantity != "excess" else 20, tol=1e-3)
    ax = plotting.plot_map(ds, quantity)
    ax.figure.draw_without_rendering()
    bar = ax.figure.axes[-1]
    low, high = bar.get_ylim()
    shown = [t.get_text() for t, at in zip(bar.get_yticklabels(), bar.get_yticks(), strict=True) if low <= at <= high]
    assert shown and len(set(shown)) == len(shown)
    if quantity != "steps_to_tol":
        colours = mesh_of(ax).to_rgba(mesh_of(ax).get_array())
        assert len(np.unique(colours.reshape(-1, 4), axis=0)) > 5
    boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))


def test_a_zoomed_map_has_room_for_its_labels_and_a_scale_of_its_own(problem):
    eps, eps_a = np.linspace(0.3, 0.3003, 9), np.linspace(0.99999, 1.0, 5)
    how = {"n_steps": 60, "tol": 1e-6}
    both = maps.beside(
        olsbn.sweep(problem, eps=eps, eps_a=eps_a, **how), olsbn.sweep(problem, method="gd", eps=eps, **how)
    )
    figure = plotting.map_figure(both)
    figure.draw_without_rendering()
    top = figure.axes[0]
    (bottom,) = top.child_axes  # and no second scale above
    colours = mesh_of(top).to_rgba(mesh_of(top).get_array())
    assert len(np.unique(colours.reshape(-1, 4), axis=0)) > 5
    for axis in (bottom.xaxis, top.yaxis):
        texts = [t for t in axis.get_ticklabels() if t.get_text()] + [axis.get_offset_text()]
        boxes = [t.get_window_extent() for t in texts if t.get_text()]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_colours_as_chosen(swept):
    ax = plotting.plot_map(swept, "eps_eff", vmin=1e-3, vmax=1.0, cmap="magma")
    assert mesh_of(ax).get_clim() == (1e-3, 1.0) and mesh_of(ax).get_cmap().name == "magma"
    norm = matplotlib.colors.Normalize(-3, 0)
    assert mesh_of(plotting.plot_map(swept, norm=norm)).norm is norm
    assert mesh_of(plotting.plot_map(swept, vmin=1e-12, vmax=1.0)).get_clim() == (-12, 0)
    for bad in ({"vmin": 2.0, "vmax": 1.0}, {"vmin": -1.0}, {"vmin": 1.0, "norm": norm}):
        with pytest.raises(ValueError, match="vmin"):
            plotting.plot_map(swept, **bad)


def test_colours_as_chosen_on_several_maps(swept, swept_gd, problem):
    recorded = olsbn.sweep(problem, eps=EPS, eps_a=EPS_A, n_steps=100, record=[10, 100])
    norm = matplotlib.colors.Normalize(-3, 0)
    for draw, ds in ((plotting.maps_figure, recorded), (plotting.map_figure, maps.beside(swept, swept_gd))):
        for colours in ({"vmin": 1e-6, "vmax": 1.0, "cmap": "magma"}, {"norm": norm, "cmap": "magma"}):
            first, second = draw(ds, **colours).axes[:2]
            meshes = [mesh_of(first), mesh_of(first.child_axes[0] if first.child_axes else second)]
            assert {mesh.get_clim() for mesh in meshes} == {(-3, 0) if "norm" in colours else (-6, 0)}
            assert {mesh.get_cmap().name for mesh in meshes} == {"magma"}
        with pytest.raises(ValueError, match="vmin and vmax must be left out with a norm"):
            draw(ds, norm=norm, vmin=1e-3)


def test_outline_keeps_to_the_exact_edge(problem):
    """The last row below eps_a = 2 has cells that reach above it; what is outlined does not."""
    ds = olsbn.sweep(problem, eps=EPS, eps_a=np.linspace(0.1, 2.3, 12), n_steps=2000, tol=1e-6)
    assert (ds.status.sel(eps_a=1.9) == 0).any()
    ax = plotting.plot_map(ds)
    outline = next(p for p in ax.patches if not p.get_fill() and not p.get_hatch())
    assert outline.get_path().vertices[:, 1].max() == 2.0


def test_islands_of_the_tolerance_are_dots(swept):
    """Outlines of many islands hide what they enclose; a few, or large ones, are outlined."""
    islands = [(0, 3), (0, 9), (1, 6), (1, 12), (4, 17)]  # (eps_a, eps), apart from each other
    ds = swept.copy(deep=True)
    ds.status.values[:] = Status.MAX_STEPS
    ds.status.values[3, :14] = Status.CONVERGED  # and the main land
    for k, (row, column) in enumerate(islands):
        ds.status.values[row, column] = Status.CONVERGED
        ax = plotting.plot_map(ds, theory=False)
        dots = [line for line in ax.lines if line.get_marker() == "s"]
        outline = next(p for p in ax.patches if not p.get_fill() and not p.get_hatch())
        edges = len(outline.get_path().vertices) // 2
        if k < 3:  # with the main land at most four
            assert not dots and edges > 2 * 14 + 1
    (line,) = dots
    assert edges == 2 * 14 + 1
    near = [(np.abs(EPS_A - y).argmin(), np.abs(np.log(EPS / x)).argmin()) for x, y in line.get_xydata()]
    assert sorted(near) == sorted(islands)
    row = ds.isel(eps_a=0).assign(status=ds.status.isel(eps_a=0).copy(data=np.arange(EPS.size) % 2))
    (line,) = [line for line in plotting.plot_map(row, theory=False).lines if line.get_marker() == "s"]
    assert len(line.get_xdata()) == EPS.size // 2


def test_cells_decided_by_rounding_are_shown_and_counted(swept):
    marked = swept.assign(by_rounding=(swept.eps > 10) & (swept.eps_a < 1) & (swept.status >= 0))
    counted = int((marked.by_rounding & swept.status.isin([0, 1])).sum())
    assert counted > 3
    labels = legend_of(plotting.plot_map(marked))
    assert f"decided by rounding: {counted} of {swept.status.size} cells" in labels
    none = swept.assign(by_rounding=swept.by_rounding & False)
    assert not any("rounding" in label for label in legend_of(plotting.plot_map(none)))


def test_theory_of_a_run_is_drawn_where_it_came_to_it(problem):
    early = plotting.plot_run(olsbn.run_bngd(problem, 1e-3, n_steps=30))
    assert any("not reached in this run" in text for text in legend_of(early))
    assert all(line.get_xdata().size in (0, 31) for line in early.lines)


# ---------------------------------------------------------------- columns of papers, other people's styles


@pytest.fixture(scope="module")
def pictures(problem, swept, swept_gd):
    """Every function that draws, with something to draw."""
    family = olsbn.ProblemFamily("linspace", 10.0)
    swept_family = olsbn.sweep(family, dim=[2, 8, 32], trial=range(3), eps=EPS, n_steps=100, tol=1e-3)
    found = olsbn.compare(swept, problem)
    runs = [olsbn.run_bngd(problem, 0.1, n_steps=200), olsbn.run_gd(problem, 0.01, 200)]
    return {
        "map": (plotting.plot_map, swept),
        "one row": (plotting.plot_map, swept_gd),
        "steps": (lambda ds, **how: plotting.plot_map(ds, "steps_to_tol", **how), swept),
        "two maps": (plotting.map_figure, maps.beside(swept, swept_gd)),
        "panels": (plotting.maps_figure, olsbn.sweep(problem, eps=EPS, eps_a=EPS_A, n_steps=50, record=[5, 50])),
        "run": (plotting.plot_run, runs[0]),
        "runs": (plotting.run_figure, runs),
        "robustness": (plotting.plot_robustness, swept_family),
        "comparison": (plotting.plot_comparison, found),
        "compared line": (plotting.plot_comparison, olsbn.compare(swept_gd, problem)),
    }


NAMES = [
    *("map", "one row", "steps", "two maps", "panels", "run", "runs", "robustness", "comparison", "compared line"),
]


def words_of(figure):
    figure.draw_without_rendering()
    # ticks outside of the limits have labels, which are not drawn
    ticks = {
        label
        for ax in [*figure.axes, *(child for ax in figure.axes for child in ax.child_axes)]
        for axis in (ax.xaxis, ax.yaxis)
        for label in [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]
    }
    found = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if text not in ticks], [text for text in found if text in ticks]


@pytest.mark.parametrize("name", NAMES)
def test_a_column_of_a_paper_is_legible_and_nothing_is_cut(pictures, name):
    draw, what = pictures[name]
    figure = plotting.in_style(draw, what, size=(3.3, 2.4))
    words, ticks = words_of(figure)
    assert words and min(text.get_fontsize() for text in [*words, *ticks]) >= 7
    box = figure.bbox
    for text in words:
        at = text.get_window_extent()
        assert at.x0 >= -1 and at.y0 >= -1 and at.x1 <= box.x1 + 1 and at.y1 <= box.y1 + 1, text.get_text()
    if name != "panels":  # of which each has a third of the width
        assert max(ax.get_position().height for ax in figure.axes) > 0.25


@pytest.mark.parametrize("name", NAMES)
def test_axes_of_the_caller_keep_their_size_and_the_style_is_the_callers(pictures, name):
    draw, what = pictures[name]
    with matplotlib.rc_context({"lines.linewidth": 0.3, "font.size": 5.0}):
        figure = pyplot.figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        place = {"axes": [left, right]} if name == "panels" else {"ax": left}
        draw(what, **place, title=False, legend=False)
        assert tuple(figure.get_size_inches()) == (9, 4)
        assert not figure.legends and left.get_legend() is None and figure.get_suptitle() == ""
        assert name == "panels" or left.get_title() == ""
        lines = [line for line in left.lines if line.get_linestyle() not in ("", "None", "none")]
        assert all(line.get_linewidth() <= 1.0 for line in lines)
        _, ticks = words_of(figure)
        assert {text.get_fontsize() for text in ticks} <= {5.0}
        if name not in ("panels", "robustness", "runs", "run", "one row", "compared line"):
            assert len(right.lines) == 0
        if name != "panels":
            draw(what, ax=right, title="mine")
            titles = [right.get_title(), figure.get_suptitle()]
            assert titles.count("mine") == 1


def test_the_users_size_is_taken(swept, swept_gd):
    with matplotlib.rc_context({"figure.figsize": (4.0, 3.0)}):
        for figure in (plotting.plot_map(swept).figure, plotting.map_figure(maps.beside(swept, swept_gd))):
            assert tuple(figure.get_size_inches()) == (4, 3)


def test_colours_differ_in_lightness():
    """What lies on a map of colours is grey, white or black: no hue has to be told from another."""
    from matplotlib.colors import to_rgb

    from olsbn.plotting import look

    for color, _ in look.FLAT.values():
        assert len(set(to_rgb(color))) == 1
    assert to_rgb(look.tight()["color"]) == (0, 0, 0)
    assert len({method.color for method in olsbn.methods().values()}) == len(olsbn.methods())


def test_an_edge_is_drawn_where_it_holds(problem):
    """With momentum the edge of stability is another one."""
    plain, moved = (olsbn.run(problem, "gd", eps=0.01, momentum=m, n_steps=50) for m in (0.0, 0.9))
    assert plotting.run_figure([plain]).axes[1].get_ylabel() == "effective rate / edge"
    assert plotting.run_figure([moved]).axes[1].get_ylabel() == "effective rate"
    with pytest.raises(TypeError, match=r"a list of results.*\[run\]"):
        plotting.run_figure(plain)


def test_symbols_are_those_of_the_parameters(problem):
    for name, symbol, words in (
        ("momentum", "m", "momentum"),
        ("weight_decay", r"\lambda_{\mathrm{wd}}", "weight decay"),
        ("eps_a_power", r"\alpha_{a}", "power of the falling rate of the scale"),
        ("smoothing", r"\delta", "smoothing"),
    ):
        ds = olsbn.sweep(problem, eps=EPS, n_steps=5, **{name: [0.0, 0.1, 0.2]})
        assert plotting.plot_map(ds).get_ylabel() == f"{words} ${symbol}$"


def test_counts_are_those_of_what_is_drawn(problem, swept_gd):
    found = olsbn.compare(swept_gd, problem)
    part = found.isel(eps=slice(0, 8))
    labels = " ".join(legend_of(plotting.plot_comparison(part)))
    codes = part.rate_check.values
    assert f"not compared: {(codes == -1).sum()} (" in labels
    assert sum(int(n) for n in re.findall(r"[(,] ?(\d+) [a-z]", labels)) == (codes == -1).sum()


def test_titles_in_any_script(swept, tmp_path, recwarn):
    ds = swept.assign_attrs(problem="住宅価格 $5 <価格>", target_unit="価格 in $")
    ax = plotting.plot_map(ds)
    plotting.save(ax.figure, tmp_path / "a.png", ds)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert ax.get_xlabel().startswith(r"learning rate $\varepsilon$, in 1/(") and r"\$)$^2$" in ax.get_xlabel()


# ---------------------------------------------------------------- what is refused


def test_what_is_refused(swept, problem):
    family = olsbn.sweep(olsbn.ProblemFamily("identity"), dim=[2, 3], eps=[0.1, 1.0], n_steps=5)
    with pytest.raises(ValueError, match="unknown quantity 'los'; did you mean 'loss'"):
        plotting.plot_map(swept, "los")
    with pytest.raises(TypeError, match=r"ds must be an xarray\.Dataset, got ndarray"):
        plotting.plot_map(np.ones((2, 2)))
    with pytest.raises(ValueError, match="without status"):
        plotting.plot_map(olsbn.run_gd(problem, 0.1, 5))
    with pytest.raises(ValueError, match=r"got \(dim, eps\) \(select with ds.isel\(dim=0\)\)"):
        plotting.plot_map(family)
    with pytest.raises(ValueError, match="without step"):
        plotting.plot_run(swept)
    with pytest.raises(ValueError, match="must have an axis besides eps and trial"):
        plotting.plot_robustness(swept.isel({d: 0 for d in swept.status.dims if d != "eps"}))
    with pytest.raises(ValueError, match=r"x must be one of the axes .*got 'dim'"):
        plotting.plot_robustness(swept, x="dim")


def test_robustness_is_drawn_against_any_axis(problem):
    """Every line is the width that `robustness` says, at the values of the axis across."""
    ds = olsbn.sweep(problem, eps=EPS, momentum=[0.9, 0.0, 0.5], eps_a=[0.5, 1.0], n_steps=200, tol=1e-3)
    found = olsbn.robustness(ds, problem)
    for x, other in (("momentum", "eps_a"), ("eps_a", "momentum")):
        ax = plotting.plot_robustness(found, x=x)
        ordered = found.width_decades.sortby([x])
        drawn = [line for line in ax.get_lines() if len(line.get_xdata()) == ds.sizes[x]]
        for k in range(ds.sizes[other]):
            np.testing.assert_array_equal(drawn[k].get_xdata(), ordered[x])
            np.testing.assert_array_equal(drawn[k].get_ydata(), ordered.isel({other: k}))
        (gd,) = (line for line in drawn if line.get_label() == "GD")
        np.testing.assert_array_equal(gd.get_ydata(), float(found.gd_width_decades))
        assert ax.get_xlabel() == plotting.plot_map(ds.isel({other: 0}), y=x).get_ylabel()
        pyplot.close("all")


def test_quantiles_over_any_axis(problem):
    ds = olsbn.sweep(problem, eps=EPS, eps_a=[0.5, 1.0, 1.5], n_steps=30)
    found = olsbn.over_trials(ds, over="eps_a")
    np.testing.assert_array_equal(found.excess.sel(quantile=0.5), ds.excess.median("eps_a"))
    assert found.attrs["n_eps_as"] == 3 and (found.status_count.sum("flag") == 3).all()
