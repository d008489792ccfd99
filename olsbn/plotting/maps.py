"""Maps: a sweep over two of its axes as coloured cells, with what theory says on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patheffects import withStroke

from olsbn.dynamics.registry import BASELINE
from olsbn.maps import apart, axes_of, marks, panels, symbol
from olsbn.plotting.cells import Cells, color_bar, keys_of, keys_of_all, shared_limits, too_wide
from olsbn.plotting.look import (
    THEORY_COLOR,
    approximate,
    cased,
    figure_size,
    is_narrow,
    legible,
    method_of,
    new_axes,
    number,
    power,
    put_legend,
    put_title,
    tight,
    width_of,
)
from olsbn.quantity import AXES
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


# Axes narrower than this, in inches, have no room for the names of lines.
_NAMED_WIDTH = 1.5


def plot_map(
    ds: xr.Dataset,
    quantity: str = "excess",
    ax: Axes | None = None,
    theory: bool = True,
    *,
    x: str | None = None,
    y: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    norm: Any = None,
    title: bool | str = True,
    legend: bool = True,
) -> Axes:
    r"""Draw a sweep over two of its axes, or over one, as a map of coloured cells.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep` with one or two dims; of more, select, or draw panels with `maps_figure`.
    quantity : str, optional
        What to colour by: a name from `olsbn.quantities`, stored or derived, whose scale is not "". Cells whose status
        is no number are flat and hatched.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    theory : bool, optional
        Draw the thresholds found in ``ds.attrs``: BNGD's edge ``eps_a = 2`` and GD's ``eps_max`` (exact, solid), the
        edges ``eps_1`` and ``eps_2`` of BNGD's plateau (asymptotic, dashed).
    x, y : str, optional
        The dims across and up. Default: ``eps``, and ``eps_a`` or what else there is.
    vmin, vmax : float, optional
        The range of colours, in the quantity's own unit. Default: that of the cells.
    cmap, norm : optional
        As in `matplotlib.axes.Axes.pcolormesh`. A norm of excess acts on its decimal logarithm.
    title, legend : bool, optional
        Whether to have them; a title may be a text of your own.

    Returns
    -------
    matplotlib.axes.Axes
        With a colour bar and a legend below; nothing is saved.

    Raises
    ------
    ValueError, TypeError
        For a Dataset that is not such a sweep, or a quantity that it does not have.

    Notes
    -----
    On a logarithmic axis a cell reaches to the geometric mean of its neighbours' coordinates.

    Examples
    --------
    >>> import numpy as np, olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ds = olsbn.sweep(problem, eps=np.logspace(-2, 3, 11), eps_a=[0.5, 1.5, 2.5], n_steps=50)
    >>> ax = olsbn.plotting.plot_map(ds)
    >>> ax.get_xscale(), ax.get_xlabel()
    ('log', 'learning rate $\\varepsilon$')
    """
    cells = Cells.of(ds, quantity, x, y)
    alone = ax is None
    limits = _chosen(cells, cells.limits(), vmin, vmax, norm)
    if ax is None:
        ax = new_axes((6.4, 5.4) if cells.y is not None else (6.4, 3.0))
    mesh = cells.draw(ax, limits, norm, cmap)
    narrow = is_narrow(ax.figure if alone else ax)  # type: ignore[arg-type]
    keys = draw_theory(ax, ds, cells, narrow) if theory else []
    label_axes(ax, ds, cells, short=narrow and legend)
    put_title(ax, title_of(ds, [cells], short=narrow), title)
    color_bar(ax.figure, mesh, [cells], ax, narrow)
    put_legend(ax, keys + keys_of({"": cells}, counts=not narrow), alone, legend)
    return ax


def map_figure(
    ds: xr.Dataset,
    quantity: str = "excess",
    ax: Axes | None = None,
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    norm: Any = None,
    title: bool | str = True,
    legend: bool = True,
) -> Figure:
    """Draw a method's map, the range of the one beside it in a strip below, on the same learning rates and colours.

    `ds` is what `beside` makes; the rest is as in `plot_map`. The strip is an inset of the axes, which `ax` may be.
    """
    main, other = apart(ds)
    names = [str(part.attrs["method"]).upper() for part in (main, other)]
    cells, strip = Cells.of(main, quantity), Cells.of(other, quantity)
    own = cells.limits()  # a zoom, whose scale the strip would flatten
    limits = _chosen(cells, own if cells.digits and own[1] < 0 else shared_limits([cells, strip]), vmin, vmax, norm)
    alone = ax is None
    if ax is None:
        ax = Figure(figsize=figure_size((7.2, 5.8)), layout="constrained").subplots()
    figure: Any = ax.figure
    narrow = is_narrow(figure if alone else ax)
    mesh = cells.draw(ax, limits, norm, cmap)
    bottom = ax.inset_axes((0.0, -0.15, 1.0, 0.11))
    strip.draw(bottom, limits, norm, cmap)
    keys = draw_theory(ax, main, cells, narrow) + draw_theory(bottom, other, strip, narrow)
    label_axes(ax, main, cells, short=narrow and legend)
    label_axes(bottom, other, strip)
    _label(bottom.set_xlabel, ax.get_xlabel())
    ax.set_xlabel("")
    ax.tick_params(axis="x", which="both", labelbottom=False)
    if "eig_max" in ds.attrs and ax.get_xscale() == "log" and not (too_wide(cells.x[0]) or narrow):
        half = ds.attrs["eig_max"] / 2
        natural = ax.secondary_xaxis("top", functions=(lambda x: x * half, lambda x: x / half))
        of_gd = "" if ds.attrs.get("target_unit") is None else f" of {names[1]}"
        natural.set_xlabel(rf"in natural units{of_gd}, $\varepsilon\lambda_{{\max}}/2$")
    put_title(figure if alone else ax, title_of(main, [cells, strip], " and ".join(names), short=narrow), title)
    color_bar(figure, mesh, [cells, strip], ax, narrow)
    parts = dict(zip([f"{name} " for name in names], (cells, strip), strict=True))
    put_legend(ax, [*keys, *keys_of(parts, counts=not narrow)], alone, legend)
    return figure


def maps_figure(
    maps: xr.Dataset | list[xr.Dataset],
    quantity: str = "excess",
    *,
    x: str | None = None,
    y: str | None = None,
    titles: list[str] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    norm: Any = None,
    axes: Any = None,
    title: bool | str = True,
    legend: bool = True,
) -> Figure:
    """Draw several maps in panels, on the same axes and in the same colours; more than a row holds wrap.

    Parameters
    ----------
    maps : xarray.Dataset or list of xarray.Dataset
        A sweep of any dims: each value of those that are not axes gives a panel, as `olsbn.maps.panels` cuts it. Or
        what `plot_map` takes, several of them, of one and the same sweep.
    quantity, x, y
        As in `plot_map`.
    titles : list of str, optional
        Of the panels of a list. Default: their dimension, from ``attrs["rank"]``.
    vmin, vmax, cmap, norm
        As in `plot_map`, for all panels.
    axes : array of matplotlib.axes.Axes, optional
        Where to draw: at least as many as there are panels, all of one figure. Default: a new figure.
    title, legend
        As in `plot_map`, of the whole figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not isinstance(maps, list):
        x, y = axes_of(maps, x, y)
        titles, maps = (list(part) for part in zip(*panels(maps, quantity, x, y), strict=True))
    titles = [rf"$d = {ds.attrs['rank']}$" for ds in maps] if titles is None else titles
    parts = [Cells.of(ds, quantity, x, y) for ds in maps]
    limits = _chosen(parts[0], shared_limits(parts), vmin, vmax, norm)
    columns = _columns(len(maps))
    rows = -(-len(maps) // columns)
    if axes is None:
        height = 1.6 if parts[0].y is None else 2.9
        figure = Figure(figsize=figure_size((1.6 + 3.0 * columns, 1.7 + height * rows)), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        places = list(grid.flat)
        for ax in places[len(maps) :]:
            ax.remove()
    else:
        places = list(np.ravel(axes))
        if len(places) < len(maps):
            raise ValueError(f"axes must be at least {len(maps)}, one for each panel, got {len(places)}")
        figure = places[0].figure
    places = places[: len(maps)]
    narrow = is_narrow(figure)
    theory: dict[str, Line2D] = {}
    for k, (ax, ds, cells) in enumerate(zip(places, maps, parts, strict=True)):
        mesh = cells.draw(ax, limits, norm, cmap)
        theory |= {str(key.get_label()): key for key in draw_theory(ax, ds, cells, narrow)}
        label_axes(ax, ds, cells, short=narrow)
        ax.set_title(titles[k])
        if axes is not None:
            continue
        ax.label_outer()
        if k % columns:
            ax.set_ylabel("")
        if k + columns < len(maps):
            ax.set_xlabel("")
        else:
            ax.xaxis.set_tick_params(which="both", labelbottom=True)
    shown = maps[0].drop_attrs(deep=False).assign_attrs(_common(maps)) if len(maps) > 1 else maps[0]
    put_title(figure, title_of(shown, parts, short=narrow), title)
    color_bar(figure, mesh, parts, places, narrow)
    counts = {f"{one}: " if one else "": cells for one, cells in zip(titles, parts, strict=True)}
    few = len(maps) <= 4
    keys = keys_of(counts, not narrow) if few else keys_of_all(parts, not narrow)
    if legend:
        put_legend(places[0], [*theory.values(), *keys], True, legend)
    return figure


def _columns(n: int) -> int:
    """Return how many panels a row has: at most four, the last row not much shorter than the others."""
    return n if n <= 4 else 3 if n in (5, 6, 9) else 4


def _chosen(
    cells: Cells, limits: tuple[float, float], vmin: float | None, vmax: float | None, norm: Any
) -> tuple[float, float]:
    """Return the range of colours, its ends as the user chose them."""
    if norm is not None and (vmin is not None or vmax is not None):
        raise ValueError("vmin and vmax must be left out with a norm, which has its own, got both")
    ends = []
    for name, end, value in zip(("vmin", "vmax"), limits, (vmin, vmax), strict=True):
        if value is not None and not (np.isfinite(value) and (value > 0 or cells.style.scale == "linear")):
            raise ValueError(f"{name} must be finite and > 0, got {value!r}")
        ends.append(end if value is None else float(np.log10(value)) if cells.digits else float(value))
    if None not in (vmin, vmax) and not ends[0] < ends[1]:
        raise ValueError(f"vmin must be < vmax, got {vmin!r} and {vmax!r}")
    return ends[0], ends[1]


def _common(maps: list[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes for the title of maps that differ in dimension: what is the same in all of them."""
    first = maps[0].attrs
    same = ("method", "n_steps", "n_trials", "cond", "cond_star", "problem", "rank", "tol")
    kept = {name: first[name] for name in same if all(ds.attrs.get(name) == first.get(name, np.nan) for ds in maps)}
    if "n_not_run" in first:
        kept["n_not_run"] = sum(ds.attrs["n_not_run"] for ds in maps)
    return {"problem": f"{first.get('family_kind', '')} problems"} | kept


def draw_theory(ax: Axes, ds: xr.Dataset, cells: Cells, short: bool = False) -> list[Line2D]:
    """Draw what theory marks on the axes of a map and return keys for the legend; short ones are symbols."""
    keys, across, up = [], *cells.axes
    for mark in marks(ds):
        look = cased(tight() if mark.exact else approximate())
        inside = []
        for value, name in zip(mark.values, mark.names, strict=True):
            if mark.param == across and ax.get_xlim()[0] < value < ax.get_xlim()[1]:
                ax.axvline(value, **look)
                inside.append(value)
                if name and ax.get_xscale() == "log" and width_of(ax) > _NAMED_WIDTH:  # else no room for names
                    _name_line(ax, name, value, -9 if value == mark.values[0] else 9)
            elif mark.param == up and ax.get_ylim()[0] < value < ax.get_ylim()[1]:
                ax.axhline(value, **look)
                inside.append(value)
        if inside:
            keys.append(Line2D([], [], **look, label=mark.label.partition(": ")[0] if short else mark.label))
    if "window" in ds.attrs and across == "eps" and (up != "eps_a" or ax.get_ylim()[0] < 1 < ax.get_ylim()[1]):
        y = 1.0 if up == "eps_a" else 0.5
        marker: dict[str, Any] = {"color": THEORY_COLOR, "markeredgecolor": "white", "linestyle": ""}
        marker["markersize"] = 1.3 * matplotlib.rcParams["lines.markersize"]
        for end, shape in zip(ds.attrs["window"], (CARETRIGHT, CARETLEFT), strict=True):
            ax.plot([end], [y], marker=shape, zorder=3, **marker)
        if up == "eps_a":
            label = "predicted range" if short else rf"predicted range that reaches {power(ds.attrs['tol'])}"
            keys.append(Line2D([], [], **{**marker, "marker": CARETRIGHT, "label": label}))
    return keys


def _name_line(ax: Axes, name: str, x: float, offset: float) -> None:
    ax.annotate(
        name,
        (x, 0.5),
        xycoords=("data", "axes fraction"),
        xytext=(offset, 0),
        textcoords="offset points",
        color=THEORY_COLOR,
        fontsize="large",
        ha="center",
        va="center",
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )


def label_axes(ax: Axes, ds: xr.Dataset, cells: Cells, short: bool = False) -> None:
    """Name the axes, the upright one by its symbol alone where there is little room."""
    across, up = cells.axes
    _label(ax.set_xlabel, axis_label(ds, across))
    if up is None:
        ax.set_yticks([])
        ax.set_ylabel(str(ds.attrs.get("method", "")).upper(), rotation=0, ha="right", va="center")
    else:
        _label(ax.set_ylabel, f"${symbol(ds, up)}$" if short else axis_label(ds, up))


def _label(put: Any, text: str) -> None:
    text, family = legible(text)
    put(text, fontfamily=family)


def axis_label(ds: xr.Dataset, name: str) -> str:
    """Return an axis in words and its symbol, and the unit that a learning rate of BNGD counts in."""
    method = method_of(ds)
    found = AXES.get(name) or next((param for param in (method.params if method else ()) if param.name == name), None)
    about = ds[name].attrs
    text = found.label if found else f"{about.get('long_name', '')} ${symbol(ds, name)}$".strip()
    unit = ds.attrs.get("target_unit") if name == "eps" and ds.attrs.get("method") != BASELINE else None
    return text if unit is None else f"{text}, in 1/({plain(str(unit))})$^2$"


def plain(text: str, most: int = 60) -> str:
    """Return text in which a dollar sign is one, shortened."""
    text = " ".join(text.split())
    return (text if len(text) <= most else text[: most - 3] + "...").replace("$", r"\$")


def title_of(ds: xr.Dataset, parts: list[Cells], what: str = "", short: bool = False) -> str:
    """Return what was swept, how large it is, and what is missing; a short one leaves the size out."""
    found = ds.attrs
    head = f"{what or str(found.get('method', '')).upper()} on {plain(str(found.get('problem', 'a problem')))}"
    words = [f"median of {found['n_trials']} trials"] if "n_trials" in found else []
    if "rank" in found:
        words.append(f"$d = {found['rank']}$")
    for name, letter in (("cond", r"\kappa"), ("cond_star", r"\kappa^*")):
        if name in found:
            words.append(f"${letter} = {number(found[name])}$")
    if "n_steps" in found:
        words.append(f"{found['n_steps']} steps")
    missing = sum(int(cells.flat[Status.NOT_RUN].sum()) for cells in parts if Status.NOT_RUN in cells.flat)
    missing = found.get("n_not_run", missing)
    total = sum(cells.value.size for cells in parts) * found.get("n_trials", 1)
    size = "" if short else "\n" + ", ".join(words)
    return f"{head}{size}" + (f"\nincomplete: {missing} of {total} cells not run" if missing else "")
