"""Maps: a sweep over two of its axes as coloured cells, with what theory says on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patheffects import withStroke

from olsbn.maps import apart
from olsbn.plotting.cells import Cells, color_bar, keys_of, shared_limits, too_wide
from olsbn.plotting.look import APPROXIMATE, THEORY_COLOR, TIGHT, new_axes, number, power, style
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def plot_map(ds: xr.Dataset, quantity: str = "excess", ax: Axes | None = None, theory: bool = True) -> Axes:
    r"""Draw a sweep over (eps, eps_a), or over eps alone, as a map of coloured cells.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep`, with dims ``(eps_a, eps)`` or ``(eps,)``; of more, select one trial and dimension.
    quantity : {"excess", "steps_to_tol", "rate_sim", "eps_eff"}, optional
        The variable to colour by. Cells whose status is no number are flat and hatched.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    theory : bool, optional
        Draw the thresholds found in ``ds.attrs``: BNGD's edge ``eps_a = 2`` and GD's ``eps_max`` (exact, solid), the
        edges ``eps_1`` and ``eps_2`` of BNGD's plateau (asymptotic, dashed).

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
    cells = Cells.of(ds, quantity)
    alone = ax is None
    if ax is None:
        ax = new_axes((6.4, 5.4) if cells.y is not None else (6.4, 3.0))
    mesh = cells.draw(ax, cells.limits())
    keys = draw_theory(ax, ds) if theory else []
    label_axes(ax, ds, cells)
    ax.set_title(title_of(ds, [cells]))
    color_bar(ax.figure, mesh, [cells], ax)
    keys += keys_of({"": cells})
    if alone:
        ax.figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    elif keys:
        ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False, fontsize="small")
    return ax


def map_figure(ds: xr.Dataset, quantity: str = "excess") -> Figure:
    """Draw BNGD's map with GD's range in a strip below it, on the same learning rates and in the same colours.

    `ds` is what `beside` makes.
    """
    bngd, gd = apart(ds)
    cells, strip = Cells.of(bngd, quantity), Cells.of(gd, quantity)
    limits = shared_limits([cells, strip])
    with style():
        figure = Figure(figsize=(7.2, 5.8), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 0.085])
        mesh = cells.draw(top, limits)
        strip.draw(bottom, limits)
        keys = draw_theory(top, bngd) + draw_theory(bottom, gd)
        label_axes(top, bngd, cells)
        label_axes(bottom, gd, strip)
        top.set_xlabel("")
        top.tick_params(axis="x", which="both", labelbottom=False)
        if "eig_max" in ds.attrs and not too_wide(cells.x[0]):
            half = ds.attrs["eig_max"] / 2
            natural = top.secondary_xaxis("top", functions=(lambda x: x * half, lambda x: x / half))
            natural.set_xlabel(r"in natural units, $\varepsilon\lambda_{\max}/2$")
        figure.suptitle(title_of(bngd, [cells, strip], "BNGD and GD"))
        color_bar(figure, mesh, [cells, strip], [top, bottom])
        figure.legend(
            handles=[*keys, *keys_of({"BNGD ": cells, "GD ": strip})],
            loc="outside lower center",
            ncols=2,
            frameon=False,
        )
    return figure


def maps_figure(maps: list[xr.Dataset], quantity: str = "excess") -> Figure:
    """Draw one map for each dimension side by side, on the same axes and in the same colours.

    Each of `maps` is what `plot_map` takes, of one and the same sweep, with its dimension in ``attrs["rank"]``.
    """
    parts = [Cells.of(ds, quantity) for ds in maps]
    limits = shared_limits(parts)
    with style():
        flat = parts[0].y is None
        figure = Figure(figsize=(1.6 + 3.0 * len(maps), 3.4 if flat else 4.6), layout="constrained")
        axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
        theory: dict[str, Line2D] = {}
        for ax, ds, cells in zip(axes, maps, parts, strict=True):
            mesh = cells.draw(ax, limits)
            theory |= {str(key.get_label()): key for key in draw_theory(ax, ds)}
            label_axes(ax, ds, cells)
            ax.set_title(rf"$d = {ds.attrs['rank']}$")
            if ax is not axes[0]:
                ax.set_ylabel("")
        figure.suptitle(title_of(maps[0].drop_attrs(deep=False).assign_attrs(_common(maps)), parts))
        color_bar(figure, mesh, parts, list(axes))
        counts = {rf"$d = {ds.attrs['rank']}$: ": cells for ds, cells in zip(maps, parts, strict=True)}
        keys = [*theory.values(), *keys_of(counts)]
        figure.legend(handles=keys, loc="outside lower center", ncols=1, frameon=False)
    return figure


def _common(maps: list[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes for the title of maps that differ in dimension: what is the same in all of them."""
    first = maps[0].attrs
    same = ("method", "n_steps", "n_trials", "cond")
    kept = {name: first[name] for name in same if all(ds.attrs.get(name) == first.get(name, np.nan) for ds in maps)}
    if "n_not_run" in first:
        kept["n_not_run"] = sum(ds.attrs["n_not_run"] for ds in maps)
    return kept | {"problem": f"{first.get('family_kind', '')} problems"}


def draw_theory(ax: Axes, ds: xr.Dataset) -> list[Line2D]:
    """Draw what theory says in ``ds.attrs`` and return keys for the legend."""
    keys, found = [], ds.attrs
    left, right = ax.get_xlim()
    if found.get("method") == "gd":
        if left < found.get("eps_max", np.nan) < right:
            ax.axvline(found["eps_max"], **TIGHT)
            keys.append(Line2D([], [], **TIGHT, label=r"$\varepsilon_{\max} = 2/\lambda_{\max}$: edge of GD (exact)"))
    elif "eps_a" in ds.dims:
        if ax.get_ylim()[0] < 2 < ax.get_ylim()[1]:
            ax.axhline(2.0, **TIGHT)
            keys.append(Line2D([], [], **TIGHT, label=r"$\varepsilon_a = 2$: edge of BNGD (exact)"))
        # without a plateau the two are in the other order
        plateau = found.get("eps_1", np.nan) < found.get("eps_2", np.nan)
        inside = {name: found[name] for name in ("eps_1", "eps_2") if plateau and left < found[name] < right}
        for name, value in inside.items():
            ax.axvline(value, **APPROXIMATE)
            if ax.get_xscale() == "linear":
                continue  # no room for names
            ax.annotate(
                rf"$\varepsilon_{name[-1]}$",
                (value, 0.5),
                xycoords=("data", "axes fraction"),
                xytext=(-9 if name == "eps_1" else 9, 0),
                textcoords="offset points",
                color=THEORY_COLOR,
                fontsize=11,
                ha="center",
                va="center",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
        if inside:
            label = r"$\varepsilon_1$, $\varepsilon_2$: edges of the plateau (asymptotic)"
            keys.append(Line2D([], [], **APPROXIMATE, label=label))
    if "window" in found and ("eps_a" not in ds.dims or ax.get_ylim()[0] < 1 < ax.get_ylim()[1]):
        y = 1.0 if "eps_a" in ds.dims else 0.5
        marker: dict[str, Any] = {"color": THEORY_COLOR, "markeredgecolor": "white", "markersize": 8, "linestyle": ""}
        for end, shape in zip(found["window"], (CARETRIGHT, CARETLEFT), strict=True):
            ax.plot([end], [y], marker=shape, zorder=3, **marker)
        if "eps_a" in ds.dims:
            label = rf"predicted range that reaches {power(found['tol'])}"
            keys.append(Line2D([], [], **{**marker, "marker": CARETRIGHT, "label": label}))
    return keys


def label_axes(ax: Axes, ds: xr.Dataset, cells: Cells) -> None:
    """Name the axes."""
    ax.set_xlabel(r"learning rate $\varepsilon$")
    if cells.y is None:
        ax.set_yticks([])
        ax.set_ylabel(str(ds.attrs.get("method", "")).upper(), rotation=0, ha="right", va="center")
    else:
        ax.set_ylabel(r"learning rate of the BN scale $\varepsilon_a$")


def title_of(ds: xr.Dataset, parts: list[Cells], what: str = "") -> str:
    """Return what was swept, how large it is, and what is missing."""
    found = ds.attrs
    name = str(found.get("problem", "a problem")).replace("$", r"\$")
    head = f"{what or str(found.get('method', '')).upper()} on {name if len(name) <= 60 else name[:57] + '...'}"
    words = [f"median of {found['n_trials']} trials"] if "n_trials" in found else []
    if "rank" in found:
        words.append(f"$d = {found['rank']}$")
    for name, symbol in (("cond", r"\kappa"), ("cond_star", r"\kappa^*")):
        if name in found:
            words.append(f"${symbol} = {number(found[name])}$")
    words.append(f"{found.get('n_steps', '?')} steps")
    missing = sum(int(cells.flat[Status.NOT_RUN].sum()) for cells in parts if Status.NOT_RUN in cells.flat)
    missing = found.get("n_not_run", missing)
    total = sum(cells.value.size for cells in parts) * found.get("n_trials", 1)
    return f"{head}\n" + ", ".join(words) + (f"\nincomplete: {missing} of {total} cells not run" if missing else "")
