"""Maps: a sweep over two of its axes as coloured cells, with what theory says on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patheffects import withStroke

from olsbn.maps import apart, axes_of, marks, panels, symbol
from olsbn.plotting.cells import Cells, color_bar, keys_of, keys_of_all, shared_limits, too_wide
from olsbn.plotting.look import APPROXIMATE, THEORY_COLOR, TIGHT, new_axes, number, power, style
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


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
) -> Axes:
    r"""Draw a sweep over two of its axes, or over one, as a map of coloured cells.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep` with one or two dims; of more, select, or draw panels with `maps_figure`.
    quantity : {"excess", "steps_to_tol", "rate_sim", "eps_eff"}, optional
        The variable to colour by. Cells whose status is no number are flat and hatched.
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
    limits = _chosen(quantity, cells.limits(), vmin, vmax, norm)
    if ax is None:
        ax = new_axes((6.4, 5.4) if cells.y is not None else (6.4, 3.0))
    mesh = cells.draw(ax, limits, norm, cmap)
    keys = draw_theory(ax, ds, cells) if theory else []
    label_axes(ax, ds, cells)
    ax.set_title(title_of(ds, [cells]))
    color_bar(ax.figure, mesh, [cells], ax)
    keys += keys_of({"": cells})
    if alone:
        ax.figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    elif keys:
        ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False, fontsize="small")
    return ax


def map_figure(
    ds: xr.Dataset,
    quantity: str = "excess",
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    norm: Any = None,
) -> Figure:
    """Draw a method's map, the range of the one beside it in a strip below, on the same learning rates and colours.

    `ds` is what `beside` makes; the colours are chosen as in `plot_map`.
    """
    main, other = apart(ds)
    names = [str(part.attrs["method"]).upper() for part in (main, other)]
    cells, strip = Cells.of(main, quantity), Cells.of(other, quantity)
    own = cells.limits()  # a zoom, whose scale the strip would flatten
    limits = _chosen(quantity, own if own[1] < 0 else shared_limits([cells, strip]), vmin, vmax, norm)
    with style():
        figure = Figure(figsize=(7.2, 5.8), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 0.085])
        mesh = cells.draw(top, limits, norm, cmap)
        strip.draw(bottom, limits, norm, cmap)
        keys = draw_theory(top, main, cells) + draw_theory(bottom, other, strip)
        label_axes(top, main, cells)
        label_axes(bottom, other, strip)
        top.set_xlabel("")
        top.tick_params(axis="x", which="both", labelbottom=False)
        if "eig_max" in ds.attrs and top.get_xscale() == "log" and not too_wide(cells.x[0]):  # else no room for two
            half = ds.attrs["eig_max"] / 2
            natural = top.secondary_xaxis("top", functions=(lambda x: x * half, lambda x: x / half))
            natural.set_xlabel(r"in natural units, $\varepsilon\lambda_{\max}/2$")
        figure.suptitle(title_of(main, [cells, strip], " and ".join(names)))
        color_bar(figure, mesh, [cells, strip], [top, bottom])
        figure.legend(
            handles=[*keys, *keys_of(dict(zip([f"{name} " for name in names], (cells, strip), strict=True)))],
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize="small",
            columnspacing=1.2,
        )
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

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not isinstance(maps, list):
        x, y = axes_of(maps, x, y)
        titles, maps = (list(part) for part in zip(*panels(maps, quantity, x, y), strict=True))
    titles = [rf"$d = {ds.attrs['rank']}$" for ds in maps] if titles is None else titles
    parts = [Cells.of(ds, quantity, x, y) for ds in maps]
    limits = _chosen(quantity, shared_limits(parts), vmin, vmax, norm)
    columns = _columns(len(maps))
    rows = -(-len(maps) // columns)
    with style():
        height = 1.6 if parts[0].y is None else 2.9
        figure = Figure(figsize=(1.6 + 3.0 * columns, 1.7 + height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        theory: dict[str, Line2D] = {}
        for k, (ax, ds, cells) in enumerate(zip(axes.flat, maps, parts, strict=False)):
            mesh = cells.draw(ax, limits, norm, cmap)
            theory |= {str(key.get_label()): key for key in draw_theory(ax, ds, cells)}
            label_axes(ax, ds, cells)
            ax.set_title(titles[k])
            ax.label_outer()
            if k % columns:
                ax.set_ylabel("")
            if k + columns < len(maps):
                ax.set_xlabel("")
            else:
                ax.xaxis.set_tick_params(which="both", labelbottom=True)
        for ax in axes.flat[len(maps) :]:
            ax.remove()
        shown = maps[0].drop_attrs(deep=False).assign_attrs(_common(maps)) if len(maps) > 1 else maps[0]
        figure.suptitle(title_of(shown, parts))
        color_bar(figure, mesh, parts, list(axes.flat[: len(maps)]))
        counts = {f"{title}: " if title else "": cells for title, cells in zip(titles, parts, strict=True)}
        keys = [*theory.values(), *(keys_of(counts) if len(maps) <= 4 else keys_of_all(parts))]
        figure.legend(handles=keys, loc="outside lower center", ncols=1, frameon=False)
    return figure


def _columns(n: int) -> int:
    """Return how many panels a row has: at most four, the last row not much shorter than the others."""
    return n if n <= 4 else 3 if n in (5, 6, 9) else 4


def _chosen(
    quantity: str, limits: tuple[float, float], vmin: float | None, vmax: float | None, norm: Any
) -> tuple[float, float]:
    """Return the range of colours, its ends as the user chose them."""
    if norm is not None and (vmin is not None or vmax is not None):
        raise ValueError("vmin and vmax must be left out with a norm, which has its own, got both")
    ends = []
    for name, end, value in zip(("vmin", "vmax"), limits, (vmin, vmax), strict=True):
        if value is not None and not (np.isfinite(value) and (value > 0 or quantity == "rate_sim")):
            raise ValueError(f"{name} must be finite and > 0, got {value!r}")
        ends.append(end if value is None else float(np.log10(value)) if quantity == "excess" else float(value))
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


def draw_theory(ax: Axes, ds: xr.Dataset, cells: Cells) -> list[Line2D]:
    """Draw what theory marks on the axes of a map and return keys for the legend."""
    keys, across, up = [], *cells.axes
    for mark in marks(ds):
        look = TIGHT if mark.exact else APPROXIMATE
        inside = []
        for value, name in zip(mark.values, mark.names, strict=True):
            if mark.param == across and ax.get_xlim()[0] < value < ax.get_xlim()[1]:
                ax.axvline(value, **look)
                inside.append(value)
                if name and ax.get_xscale() == "log":  # else no room for names
                    _name_line(ax, name, value, -9 if value == mark.values[0] else 9)
            elif mark.param == up and ax.get_ylim()[0] < value < ax.get_ylim()[1]:
                ax.axhline(value, **look)
                inside.append(value)
        if inside:
            keys.append(Line2D([], [], **look, label=mark.label))
    if "window" in ds.attrs and across == "eps" and (up != "eps_a" or ax.get_ylim()[0] < 1 < ax.get_ylim()[1]):
        y = 1.0 if up == "eps_a" else 0.5
        marker: dict[str, Any] = {"color": THEORY_COLOR, "markeredgecolor": "white", "markersize": 8, "linestyle": ""}
        for end, shape in zip(ds.attrs["window"], (CARETRIGHT, CARETLEFT), strict=True):
            ax.plot([end], [y], marker=shape, zorder=3, **marker)
        if up == "eps_a":
            label = rf"predicted range that reaches {power(ds.attrs['tol'])}"
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
        fontsize=11,
        ha="center",
        va="center",
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )


def label_axes(ax: Axes, ds: xr.Dataset, cells: Cells) -> None:
    """Name the axes."""
    across, up = cells.axes
    ax.set_xlabel(axis_label(ds, across))
    if up is None:
        ax.set_yticks([])
        ax.set_ylabel(str(ds.attrs.get("method", "")).upper(), rotation=0, ha="right", va="center")
    else:
        ax.set_ylabel(axis_label(ds, up))


def axis_label(ds: xr.Dataset, name: str) -> str:
    """Return an axis in words and its symbol."""
    words = {"eps": "learning rate", "eps_a": "learning rate of the BN scale", "dim": "dimension", "step": "step"}
    found = words.get(name, str(ds[name].attrs.get("long_name", "")))
    return found if name == "trial" else f"{found} ${symbol(ds, name)}$".strip()


def title_of(ds: xr.Dataset, parts: list[Cells], what: str = "") -> str:
    """Return what was swept, how large it is, and what is missing."""
    found = ds.attrs
    name = str(found.get("problem", "a problem")).replace("$", r"\$")
    head = f"{what or str(found.get('method', '')).upper()} on {name if len(name) <= 60 else name[:57] + '...'}"
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
    return f"{head}\n" + ", ".join(words) + (f"\nincomplete: {missing} of {total} cells not run" if missing else "")
