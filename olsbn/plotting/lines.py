"""Lines: runs step by step, and robustness against an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from mpl_toolkits.axes_grid1 import make_axes_locatable

from olsbn.dynamics.registry import BASELINE, DEFAULT, METHODS
from olsbn.maps import cell_edges, symbol
from olsbn.plotting.look import (
    approximate,
    drawable,
    figure_size,
    is_narrow,
    method_color,
    method_of,
    new_axes,
    number,
    power,
    put_legend,
    put_title,
    tight,
)
from olsbn.plotting.maps import axis_label, title_of
from olsbn.plotting.maps import plain as plain_text
from olsbn.results import measures
from olsbn.results.datasets import check_variables, has_laws
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def plot_run(
    ds: xr.Dataset, ax: Axes | None = None, *, title: bool | str = True, legend: bool = True, **line: Any
) -> Axes:
    r"""Draw the relative excess of one run, step by step, with the slope that theory gives it in the end.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.run_gd` or `olsbn.run_bngd`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; several runs may share it. Default: a new figure.
    title, legend : bool, optional
        Whether to have them; a title may be a text of your own.
    **line
        Settings of the line, as in `matplotlib.axes.Axes.plot`.

    Returns
    -------
    matplotlib.axes.Axes
        Nothing is saved.

    Notes
    -----
    The broad line has the slope ``rate_theory**(2 k)``, an identity for the limit of the slope; it is drawn through
    the last point, over the last third of the run, if the run has come to it (to a tenth of ``ln rho``). Excess
    0 (below the floor of the engine) and NaN are not drawn.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ax = olsbn.plotting.plot_run(olsbn.run_bngd(problem, eps=1.0, n_steps=500))
    >>> ax.get_yscale()
    'log'
    """
    check_variables(ds, "a run", ("step", "excess"))
    ax = new_axes((6.4, 4.2)) if ax is None else ax
    found = ds.attrs
    steps, excess = ds["step"].values, ds["excess"].values
    look = {"color": method_color(ds), "label": _run_label(ds), "marker": "o" if steps.size == 1 else ""}
    (curve,) = ax.plot(steps, drawable(excess), **{**look, **line})
    ax.set_yscale("log")
    drawn = np.flatnonzero(np.isfinite(excess) & (excess > 0))
    rate = found.get("rate_theory", np.nan)
    ended_well = found.get("status") in (Status.CONVERGED.label, Status.MAX_STEPS.label)
    if drawn.size > 1 and 0 < rate < 1 and ended_well and not _settled(steps[drawn], excess[drawn], rate):
        ax.plot([], [], color=curve.get_color(), **_band(), label=_LATER.format(f"{rate:.6g}"))
    elif drawn.size > 1 and 0 < rate < 1 and ended_well:
        last = drawn[-1]
        late = steps[drawn][steps[drawn] >= steps[last] * 2 / 3]
        with np.errstate(over="ignore", under="ignore"):
            slope = np.exp(np.log(excess[last]) + 2 * (late - steps[last]) * np.log(rate))
        late, slope = late[slope <= 1], slope[slope <= 1]
        ax.plot(
            late,
            slope,
            color=curve.get_color(),
            solid_capstyle="butt",
            **_band(),
            label=rf"theory: $\rho^{{2k}}$, $\rho = {rate:.6g}$",
        )
    ax.set_xlabel("step $k$")
    ax.set_ylabel("relative excess" if is_narrow(ax) else r"relative excess $(J - J_{\min})/(E/2)$")
    put_title(ax, title_of(ds, [], short=is_narrow(ax)), title)
    if legend:
        ax.legend(frameon=False)
    return ax


def _band() -> dict[str, Any]:
    """Return the look of theory's broad line."""
    return {"linewidth": 3.3 * matplotlib.rcParams["lines.linewidth"], "alpha": 0.3}


_LATER = r"theory: $\rho^{{2k}}$, $\rho = {}$, not reached in this run"


def _settled(steps: np.ndarray, excess: np.ndarray, rate: float) -> bool:
    """Whether the last third of a run falls like theory says that it will in the end."""
    late = steps >= steps[-1] * 2 / 3
    if late.sum() < 2:
        return False
    slope = (np.log(excess[late][-1]) - np.log(excess[late][0])) / (steps[late][-1] - steps[late][0])
    return bool(abs(slope - 2 * np.log(rate)) <= 0.1 * abs(2 * np.log(rate)))


def run_figure(
    runs: list[xr.Dataset], ax: Axes | None = None, *, title: bool | str = True, legend: bool = True
) -> Figure:
    """Draw runs on one problem: their excess above, their effective learning rates below.

    These are relative to the edge of stability of each method; where one has none, or a parameter for which it is
    another, they are drawn as they are. Both take the place of `ax`, if it is given.
    """
    if not isinstance(runs, list):
        raise TypeError(f"runs must be a list of results of olsbn.run, got {type(runs).__name__} (one run: [run])")
    edges = [found.theory.edge if found and has_laws(ds, found) else ("", "") for ds, found in _methods(runs)]
    by_edge = all(name for name, _ in edges)
    alone = ax is None
    bottom: Any
    if ax is None:
        figure: Any = Figure(figsize=figure_size((7.2, 5.4)), layout="constrained")
        ax, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 0.55])
    else:
        figure = ax.figure
        bottom = make_axes_locatable(ax).append_axes("bottom", size="55%", pad=0.08, sharex=ax)
    narrow = is_narrow(figure if alone else ax)
    scaled = []
    for ds, (edge_name, _) in zip(runs, edges, strict=True):
        plot_run(ds, ax, title=False, legend=False)
        edge = ds.attrs.get(edge_name, np.nan) if by_edge else 1.0
        scaled.append(ds["eps_eff"].values / edge)
        bottom.plot(ds["step"].values, drawable(scaled[-1], negative=True), color=method_color(ds))
    if by_edge:
        bottom.axhline(1.0, **tight(), zorder=1.9)
    positive = drawable(np.concatenate(scaled))
    if np.isfinite(positive).any() and np.nanmax(positive) > 30 * np.nanmin(positive):
        bottom.set_yscale("log")
        if np.nanmax(positive) < 300 * np.nanmin(positive):  # the labels between powers of ten would meet
            bottom.yaxis.set_major_locator(LogLocator(subs=[1.0, 3.0]))
            bottom.yaxis.set_major_formatter(FuncFormatter(lambda v, _: power(v)))
        bottom.yaxis.set_minor_formatter(NullFormatter())
    else:
        bottom.set_ylim(bottom=min(0, bottom.get_ylim()[0]))
    ax.set_xlabel("")
    ax.set_ylabel("relative excess" if narrow else ax.get_ylabel())
    ax.tick_params(axis="x", which="both", labelbottom=False)
    names = [ds.attrs["method"].upper() for ds in runs]
    text = title_of(runs[0], [], " and ".join(names), short=narrow)
    put_title(figure if alone else ax, text, title)
    bottom.set_xlabel("step $k$")
    words = r"$\hat\varepsilon$" if narrow else "effective rate"
    bottom.set_ylabel(f"{words} / edge" if by_edge else words)
    keys = [key for key in ax.get_lines() if not str(key.get_label()).startswith("_")]
    if by_edge:
        key = ", ".join(f"{name} {text}" for name, (_, text) in zip(names, edges, strict=True))
        label = "edge of stability" if narrow else f"edge: {key} (exact)"
        keys.append(Line2D([], [], **tight(), label=label))
    put_legend(bottom, keys, alone, legend)
    return figure


def _methods(runs: list[xr.Dataset]) -> list[tuple[xr.Dataset, Any]]:
    return [(ds, method_of(ds)) for ds in runs]


def _run_label(ds: xr.Dataset) -> str:
    found, method = ds.attrs, method_of(ds)
    values = []
    for param in method.params if method else ():
        value = found.get(param.name)
        if value is not None and (param.name in ("eps", "eps_a") or value != param.default):
            values.append(rf"${symbol(ds, param.name)} = {number(float(value))}$")
    label = ", ".join([str(found.get("method", "run")).upper(), *values])
    if found.get("status") not in (None, Status.CONVERGED.label, Status.MAX_STEPS.label):
        label += f": {found['status'].replace('_', ' ')}"
    return label


def plot_robustness(
    ds: xr.Dataset, ax: Axes | None = None, *, x: str | None = None, title: bool | str = True, legend: bool = True
) -> Axes:
    r"""Draw how wide the range of learning rates that reach the tolerance is, against the dimension or another axis.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.robustness`, or of `olsbn.sweep` over eps and another axis; `olsbn.results.measures.bands`
        makes of either what is drawn, and that is taken too. Drawn are `width_decades`, for each value of the other
        axes, and of `gd_width_decades` and `width_theory` what depends on no other axis than `x`.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    x : str, optional
        The axis across. Default: ``dim``, or the last axis that there is.
    title, legend : bool, optional
        Whether to have them; a title may be a text of your own.

    Returns
    -------
    matplotlib.axes.Axes
        Medians over the trials, with bands from the 10 % to the 90 % quantile; nothing is saved.

    Raises
    ------
    ValueError, TypeError
        For a Dataset that is neither.

    Examples
    --------
    >>> import numpy as np, olsbn
    >>> family = olsbn.ProblemFamily("linspace", cond=10.0)
    >>> ds = olsbn.sweep(family, dim=[2, 8], trial=[0, 1, 2], eps=np.logspace(-3, 4, 29), n_steps=300)
    >>> ax = olsbn.plotting.plot_robustness(ds)
    >>> ax.get_xlabel()
    'dimension $d$'
    """
    bands = ds if "quantile" in getattr(ds, "dims", ()) else measures.bands(ds)
    found, width = bands.attrs, bands["width_decades"]
    x = _across(width, x)
    bands = bands.sortby(x)
    width, places_x = bands["width_decades"], bands[x].values
    one, method = method_of(bands), str(found.get("method", DEFAULT)).upper()
    lines: list[tuple[str, xr.DataArray, Any]] = [(method, width, method_color(bands))]
    few = True
    others = [str(d) for d in width.dims if d not in ("quantile", x)]
    if others:
        places = list(np.ndindex(*(width.sizes[d] for d in others)))
        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(places)))
        few = len(places) <= 6
        named = set(np.linspace(0, len(places) - 1, 6).round().astype(int))  # the legend has no room for more
        lines = []
        for i, (place, color) in enumerate(zip(places, colors, strict=True)):
            at = dict(zip(others, place, strict=True))
            values = [f"${symbol(width, d)} = {number(float(width[d].values[k]))}$" for d, k in at.items()]
            lines.append((", ".join([method, *values]) if i in named else "_", width.isel(at), color))
    plain = METHODS[BASELINE]
    if _is_line(bands, "gd_width_decades", x) and one is not plain:
        lines.append((plain.title, bands["gd_width_decades"], plain.color))
    alone = ax is None
    ax = new_axes((6.4, 4.6)) if ax is None else ax
    for label, band, color in lines:
        low, middle, high = _along(band, bands[x])
        if few:
            ax.fill_between(places_x, low, high, color=color, alpha=0.2, linewidth=0)
        square = isinstance(color, str) and color == plain.color  # places of further axes have colours of a map
        ax.plot(places_x, middle, color=color, marker="s" if square else "o", markersize=_dot(), label=label)
    if _is_line(bands, "width_theory", x):
        predicted = _along(bands["width_theory"], bands[x])[1]
        if np.isfinite(predicted).any():
            exact = one is not None and one.theory.exact
            scale = [p.default for p in (one.params if one else ()) if p.name == "eps_a"]
            label = "theory" + "".join(rf" for $\varepsilon_a = {value:g}$" for value in scale)
            label += " (exact)" if exact else " (asymptotic)"
            ax.plot(places_x, predicted, **(tight() if exact else approximate()), label=label)
    if x == "dim" or cell_edges(np.unique(places_x))[1]:
        ax.set_xscale("log")
    if x == "dim":
        ax.set_xticks(places_x, labels=[str(dim) for dim in places_x])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0)
    ax.set_xlabel(axis_label(bands, x))
    tol, n_steps = found.get("tol"), found.get("n_steps")
    reached = "" if tol is None else f"\nthat reaches {power(tol)} in {n_steps} steps"
    narrow = is_narrow(ax)
    words = "range of rates" if narrow else "longest range of learning rates"
    ax.set_ylabel(f"{words}{'' if narrow else reached}, decades")
    n_trials = bands.attrs["n_trials"]
    band_note = "median and 10-90 %" if few else "medians"
    notes = [f"{band_note} of {n_trials} trials" if n_trials > 1 else "one trial"]
    if found.get("n_cut"):
        notes.append(f"{found['n_cut']} of {found['n_ranges']} ranges cut off by the grid")
    if found.get("n_not_run"):
        notes.append(f"incomplete: {found['n_not_run']} cells not run")
    head = plain_text(str(found.get("title", method)), 120)
    put_title(ax, head if narrow else f"{head}\n{'; '.join(notes)}", title)
    put_legend(ax, [key for key in ax.get_lines() if not str(key.get_label()).startswith("_")], alone, legend)
    return ax


def _across(width: xr.DataArray, x: str | None) -> str:
    """Return the axis across: the one asked for, else the dimension, else the last one."""
    dims = [str(d) for d in width.dims if d != "quantile"]
    if x is not None and x not in dims:
        raise ValueError(f"x must be one of the axes {', '.join(dims)}, got {x!r}")
    return x or ("dim" if "dim" in dims else dims[-1])


def _is_line(bands: xr.Dataset, name: str, x: str) -> bool:
    """Whether a measure depends on no other axis than x."""
    return name in bands and set(bands[name].dims) <= {"quantile", x}


def _along(band: xr.DataArray, axis: xr.DataArray) -> np.ndarray:
    """Return quantiles along an axis, (3, n): the same all along it where they do not depend on it, or on chance."""
    if "quantile" not in band.dims:
        band = band.expand_dims(quantile=3)
    if axis.name not in band.dims:
        band = band.expand_dims({str(axis.name): axis.values})
    return np.asarray(band.transpose("quantile", axis.name).values)


def _dot() -> float:
    return 0.7 * float(matplotlib.rcParams["lines.markersize"])
