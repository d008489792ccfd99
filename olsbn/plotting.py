"""Pictures of results: a Dataset goes in, matplotlib Axes come out.

Nothing is computed here but the places of cells: every number drawn is in the Dataset, the theory in its attributes.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import FuncNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from olsbn._validate import FloatArray, one_of
from olsbn.schema import EXCESS_FLOOR, Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# What the figures of the command line look like, whatever the user's own matplotlib settings are.
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 8,
    "axes.linewidth": 0.8,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}


@dataclass(frozen=True)
class _Quantity:
    """How a variable becomes a colour."""

    label: str
    log: bool
    cmap: str
    missing: str  # what it means that a cell which ran has no such number


# What a map can show.
QUANTITIES = {
    "excess": _Quantity("final relative excess", True, "viridis", "no excess"),
    "steps_to_tol": _Quantity("steps to tolerance", True, "viridis", "tolerance not reached"),
    "rate_sim": _Quantity(
        r"contraction ratio of $\sqrt{\mathrm{excess}}$ a step", False, "cividis", "no rate measured"
    ),
    "eps_eff": _Quantity(r"effective learning rate $\hat\varepsilon$", True, "cividis", r"$\hat\varepsilon \leq 0$"),
}

# Statuses that are no number: colour, hatch.
_FLAT = {
    Status.DIVERGED: ("#e3b5ae", "////"),
    Status.NON_FINITE: ("#b6a1c9", "xxxx"),
    Status.DEGENERATE: ("#c9c9c9", "...."),
    Status.NOT_RUN: ("#ffffff", "\\\\\\\\"),
}
# Matplotlib needs room for margins at both ends of the range of float64.
_DRAWABLE = (1e-290, 1e290)
_MISSING = ("#ececec", "")
_HATCH_COLOR = "#8a5f5a"
_THEORY_COLOR = "#d6005f"
_TIGHT: dict[str, Any] = {"color": _THEORY_COLOR, "linewidth": 1.5, "linestyle": "-"}
_APPROXIMATE: dict[str, Any] = {"color": _THEORY_COLOR, "linewidth": 1.2, "linestyle": (0, (4, 2.5))}
_METHOD_COLORS = {"BNGD": "#1f5fa8", "GD": "#c46a00"}
_REACHED: dict[str, Any] = {"color": "white", "linewidth": 1.2}


# -------------------------------------------------------------------- maps


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
    cells = _Cells.of(ds, quantity)
    alone = ax is None
    if ax is None:
        ax = _new_axes((6.4, 5.4) if cells.y is not None else (6.4, 3.0))
    mesh = cells.draw(ax, cells.limits())
    keys = _draw_theory(ax, ds) if theory else []
    _label_axes(ax, ds, cells)
    ax.set_title(_title(ds, [cells]))
    _color_bar(ax.figure, mesh, [cells], ax)
    keys += _keys({"": cells})
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
    cells, strip = _Cells.of(bngd, quantity), _Cells.of(gd, quantity)
    limits = _shared_limits([cells, strip])
    with style():
        figure = Figure(figsize=(7.2, 5.8), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 0.085])
        mesh = cells.draw(top, limits)
        strip.draw(bottom, limits)
        keys = _draw_theory(top, bngd) + _draw_theory(bottom, gd)
        _label_axes(top, bngd, cells)
        _label_axes(bottom, gd, strip)
        top.set_xlabel("")
        top.tick_params(axis="x", which="both", labelbottom=False)
        if "eig_max" in ds.attrs and not _too_wide(cells.x[0]):
            half = ds.attrs["eig_max"] / 2
            natural = top.secondary_xaxis("top", functions=(lambda x: x * half, lambda x: x / half))
            natural.set_xlabel(r"in natural units, $\varepsilon\lambda_{\max}/2$")
        figure.suptitle(_title(bngd, [cells, strip], "BNGD and GD"))
        _color_bar(figure, mesh, [cells, strip], [top, bottom])
        figure.legend(
            handles=[*keys, *_keys({"BNGD ": cells, "GD ": strip})], loc="outside lower center", ncols=2, frameon=False
        )
    return figure


def maps_figure(maps: list[xr.Dataset], quantity: str = "excess") -> Figure:
    """Draw one map for each dimension side by side, on the same axes and in the same colours.

    Each of `maps` is what `plot_map` takes, of one and the same sweep, with its dimension in ``attrs["rank"]``.
    """
    parts = [_Cells.of(ds, quantity) for ds in maps]
    limits = _shared_limits(parts)
    with style():
        flat = parts[0].y is None
        figure = Figure(figsize=(1.6 + 3.0 * len(maps), 3.4 if flat else 4.6), layout="constrained")
        axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
        theory: dict[str, Line2D] = {}
        for ax, ds, cells in zip(axes, maps, parts, strict=True):
            mesh = cells.draw(ax, limits)
            theory |= {str(key.get_label()): key for key in _draw_theory(ax, ds)}
            _label_axes(ax, ds, cells)
            ax.set_title(rf"$d = {ds.attrs['rank']}$")
            if ax is not axes[0]:
                ax.set_ylabel("")
        figure.suptitle(_title(maps[0].drop_attrs(deep=False).assign_attrs(_common(maps)), parts))
        _color_bar(figure, mesh, parts, list(axes))
        counts = {rf"$d = {ds.attrs['rank']}$: ": cells for ds, cells in zip(maps, parts, strict=True)}
        keys = [*theory.values(), *_keys(counts)]
        figure.legend(handles=keys, loc="outside lower center", ncols=1, frameon=False)
    return figure


def _shared_limits(parts: list[_Cells]) -> tuple[float, float]:
    """Return the range of colours of maps that are drawn together, NaN without numbers."""
    low, high = np.transpose([cells.limits() for cells in parts])
    with np.errstate(all="ignore"):
        return float(np.fmin.reduce(low)), float(np.fmax.reduce(high))


def _common(maps: list[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes for the title of maps that differ in dimension: what is the same in all of them."""
    first = maps[0].attrs
    same = ("method", "n_steps", "n_trials", "cond")
    kept = {name: first[name] for name in same if all(ds.attrs.get(name) == first.get(name, np.nan) for ds in maps)}
    if "n_not_run" in first:
        kept["n_not_run"] = sum(ds.attrs["n_not_run"] for ds in maps)
    return kept | {"problem": f"{first.get('family_kind', '')} problems"}


def beside(bngd: xr.Dataset, gd: xr.Dataset) -> xr.Dataset:
    """Put a sweep of GD beside one of BNGD on the same learning rates: its variables get the prefix ``gd_``."""
    both = bngd.assign({f"gd_{name}": variable for name, variable in gd.data_vars.items()})
    both.attrs |= {"gd_sweep_fingerprint": gd.attrs["sweep_fingerprint"]}
    return both


def apart(ds: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Undo `beside`."""
    prefixed: list[Any] = [name for name in ds.data_vars if str(name).startswith("gd_")]
    gd = ds[prefixed].rename({name: str(name).removeprefix("gd_") for name in prefixed})
    gd.attrs = {**ds.attrs, "method": "gd"}
    gd.attrs.pop("window", None)
    if "gd_window" in ds.attrs:
        gd.attrs["window"] = ds.attrs["gd_window"]
    return ds.drop_vars(prefixed), gd


def cell_edges(centres: Any) -> tuple[FloatArray, bool]:
    """Return the edges of cells around ascending coordinates, and whether the axis is to be logarithmic.

    It is where the coordinates are positive and their ratios are more even than their differences. Edges are then
    geometric means, else arithmetic ones; the outer cells are symmetric, and none reaches below 0.
    """
    x = np.asarray(centres, dtype=np.float64)
    if not (np.diff(x) > 0).all():
        raise ValueError("coordinates of a map must be distinct and ascending, got some that are not")
    log = x.size == 1 and bool(x[0] > 0)
    if x.size > 1 and x[0] > 0:
        ratios = np.log(x)
        log = bool(np.ptp(np.diff(ratios)) / np.ptp(ratios) <= np.ptp(np.diff(x)) / np.ptp(x))
    if x.size == 2 and x[0] > 0:
        log = bool(np.log10(x[1]) - np.log10(x[0]) >= 1)
    position = np.log(x) if log else x
    middle = position[:-1] + np.diff(position) / 2
    half = middle[[0, -1]] - position[[0, -2]] if x.size > 1 else np.array([0.5, 0.5])
    edges = np.concatenate([[position[0] - half[0]], middle, [position[-1] + half[1]]])
    edges = np.exp(np.clip(edges, *np.log(_DRAWABLE))) if log else np.maximum(edges, 0.0)
    if not ((np.diff(edges) > 0).all() and edges[-1] < np.inf):
        low, high = _DRAWABLE
        raise ValueError(f"coordinates of a map must lie in [{low:g}, {high:g}], got {x[0]:g} to {x[-1]:g}")
    return edges, log


@dataclass(frozen=True)
class _Cells:
    """A sweep cut into what is coloured by number and what is flat."""

    quantity: str
    value: FloatArray  # (rows, columns), of the excess the logarithm; NaN where there is no number
    flat: dict[Status | None, np.ndarray]  # cells without a number, by status; None: they ran
    reached: np.ndarray  # cells that reached the tolerance
    tol: float
    x: tuple[FloatArray, bool]
    y: tuple[FloatArray, bool] | None  # None: a single row

    @classmethod
    def of(cls, ds: xr.Dataset, quantity: str) -> _Cells:
        one_of("quantity", quantity, QUANTITIES)
        _check_variables(ds, "a sweep", ("status", quantity))
        ds = _map_of(ds)
        dims = ds["status"].dims
        status = np.atleast_2d(ds["status"].values)
        raw = np.atleast_2d(ds[quantity].values).astype(np.float64)
        ran = (status == Status.CONVERGED) | (status == Status.MAX_STEPS)
        if quantity == "excess":
            raw = np.maximum(raw, EXCESS_FLOOR)
        style = QUANTITIES[quantity]
        if quantity == "steps_to_tol":
            raw = np.where(raw < 0, np.nan, np.maximum(raw, 1))
        good = ran & np.isfinite(raw) & ((raw > 0) | (not style.log))
        value = np.full(raw.shape, np.nan)
        value[good] = np.log10(raw[good]) if quantity == "excess" else raw[good]
        flat: dict[Status | None, np.ndarray] = {s: status == s for s in _FLAT}
        flat[None] = ran & ~good
        y = cell_edges(ds["eps_a"].values) if "eps_a" in dims else None
        flat = {s: mask for s, mask in flat.items() if mask.any()}
        tol = float(ds.attrs.get("tol", np.nan))
        return cls(quantity, value, flat, status == Status.CONVERGED, tol, cell_edges(ds["eps"].values), y)

    @property
    def style(self) -> _Quantity:
        return QUANTITIES[self.quantity]

    @property
    def outlined(self) -> bool:
        """Whether the cells that reached the tolerance get an outline: colour does not tell."""
        return self.quantity == "excess"

    def limits(self) -> tuple[float, float]:
        """Return the range of colours, NaN without numbers. Excess above 1, the start's, is clipped."""
        if np.isnan(self.value).all():
            return np.nan, np.nan
        low, high = float(np.nanmin(self.value)), float(np.nanmax(self.value))
        return (min(low, -1.0), 0.0) if self.quantity == "excess" else (low, high)

    def draw(self, ax: Axes, limits: tuple[float, float]) -> Any:
        """Draw all cells and return the coloured mesh."""
        x, y = self.x[0], self.y[0] if self.y else np.array([0.0, 1.0])
        ax.set_xscale("log" if self.x[1] else "linear")
        ax.set_yscale("log" if self.y and self.y[1] else "linear")
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
        ax.autoscale(False)  # over hundreds of decades automatic margins, and ticks, would overflow
        for axis, edges in ((ax.xaxis, x), (ax.yaxis, y)):
            if axis.get_scale() == "log" and _too_wide(edges):
                decades = np.arange(-200.0, 201.0, 100.0)
                axis.set_major_locator(
                    FixedLocator(10 ** decades[(10**decades > edges[0]) & (10**decades < edges[-1])])
                )
                axis.set_minor_locator(NullLocator())
        low, high = limits if np.isfinite(limits).all() else (-1.0, 0.0) if self.quantity == "excess" else (1.0, 2.0)
        if self.quantity == "excess":
            # Root of the number of digits gained: slow progress can be told from none.
            norm: Normalize = FuncNorm((lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda v: v * np.abs(v)), low, high)
        else:
            norm = (LogNorm if self.style.log else Normalize)(low, high if high > low else low + 1)
        mesh = ax.pcolormesh(
            x,
            y,
            np.ma.masked_invalid(self.value),
            shading="flat",
            cmap=self.style.cmap,
            norm=norm,
            rasterized=True,
            zorder=1,
        )
        for status, mask in self.flat.items():
            color, hatch = _MISSING if status is None else _FLAT[status]
            area = _rectangles(mask, x, y)
            ax.add_patch(PathPatch(area, facecolor=color, edgecolor="none", linewidth=0, zorder=1.1))
            ax.add_patch(PathPatch(area, fill=False, hatch=hatch, edgecolor=_HATCH_COLOR, linewidth=0, zorder=1.2))
        if self.outlined:
            ax.add_patch(PathPatch(_border(self.reached, x, y), fill=False, zorder=1.3, **_REACHED))
        return mesh


def _map_of(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset over (eps_a, eps) or (eps,) in this order, its coordinates ascending."""
    dims = [str(d) for d in ds["status"].dims]
    if set(dims) not in ({"eps_a", "eps"}, {"eps"}):
        picks = ", ".join(f"{d}=0" for d in dims if d not in ("eps_a", "eps"))
        hint = f" (select with ds.isel({picks}))" if picks else ""
        raise ValueError(f"ds must have the dims (eps_a, eps) or (eps,), got ({', '.join(dims)}){hint}")
    ds = ds.sortby([d for d in dims if (np.diff(ds[d].values) < 0).any()])
    return ds.transpose(*(d for d in ("eps_a", "eps") if d in dims))


def _keys(parts: dict[str, _Cells]) -> list[Any]:
    """Return the legend's keys for cells that are told apart by their status, with how many there are."""

    def count(masks: dict[str, np.ndarray]) -> str:
        return ", ".join(f"{name}{mask.sum()} of {mask.size}" for name, mask in masks.items()) + " cells"

    keys: list[Any] = []
    one = next(iter(parts.values()))
    if one.outlined:
        label = f"reached {_power(one.tol)}: {count({name: cells.reached for name, cells in parts.items()})}"
        keys.append(
            Line2D([], [], **_REACHED, label=label, path_effects=[withStroke(linewidth=4, foreground="#21908c")])
        )
    for status in [None, *_FLAT]:
        masks = {name: cells.flat[status] for name, cells in parts.items() if status in cells.flat}
        if masks:
            color, hatch = _MISSING if status is None else _FLAT[status]
            name = one.style.missing if status is None else status.label.replace("_", " ")
            label = f"{name}: {count(masks)}"
            keys.append(Patch(facecolor=color, hatch=hatch, edgecolor=_HATCH_COLOR, linewidth=0.5, label=label))
    return keys


def _color_bar(figure: Any, mesh: Any, parts: list[_Cells], ax: Any) -> None:
    one = parts[0]
    if all(np.isnan(cells.value).all() for cells in parts):
        return
    with np.errstate(invalid="ignore"):
        clipped = any((cells.value > mesh.norm.vmax).any() for cells in parts)
    bar = figure.colorbar(mesh, ax=ax, extend="max" if clipped else "neither", label=one.style.label, pad=0.02)
    if one.quantity == "excess":
        ticks, labels = _digit_ticks(mesh.norm.vmin)
        bar.set_ticks(ticks, labels=labels)
        bar.ax.minorticks_off()
    elif one.style.log:
        wide = mesh.norm.vmax > 1e3 * mesh.norm.vmin
        bar.ax.yaxis.set_major_locator(LogLocator(subs=[1.0] if wide else [1.0, 2.0, 5.0]))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _power(v)))
        bar.ax.minorticks_off()


def _digit_ticks(low: float) -> tuple[list[float], list[str]]:
    """Return where a colour bar from `low` to 0, digits on a root scale, has its ticks, and their labels."""
    wanted = [0.0, -1, -2, -5, -10, -20, -40, -70, -110, -160, -220, -290]
    if low > -3:
        wanted = [float(np.log10(v)) for v in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)]
    ticks: list[float] = []
    for tick in wanted:
        if tick >= low and (not ticks or np.sqrt(-tick) - np.sqrt(-ticks[-1]) > 0.05 * np.sqrt(-low)):
            ticks.append(tick)
    return ticks, [f"{10**v:.3g}" if low > -3 or v == 0 else f"$10^{{{v:.0f}}}$" for v in ticks]


def _check_variables(ds: Any, what: str, names: tuple[str, ...]) -> None:
    if not hasattr(ds, "data_vars"):
        raise TypeError(f"ds must be an xarray.Dataset, got {type(ds).__name__}")
    missing = [name for name in names if name not in ds.variables]
    if missing:
        raise ValueError(f"ds must be {what} with {', '.join(names)}, got a Dataset without {', '.join(missing)}")


def _too_wide(edges: FloatArray) -> bool:
    """Return whether an axis spans more decades than matplotlib can put ticks on."""
    return bool(edges[0] > 0 and np.log10(edges[-1]) - np.log10(edges[0]) > 200)


def _rectangles(mask: np.ndarray, x: FloatArray, y: FloatArray) -> Outline:
    """Return the cells of a mask as rectangles, one for each run of cells in a row."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    step = np.diff(padded, axis=1)
    row, first = np.nonzero(step == 1)
    last = np.nonzero(step == -1)[1]
    left, right, low, high = x[first], x[last], y[row], y[row + 1]
    corners = np.stack([left, low, right, low, right, high, left, high, left, low], axis=1).reshape(-1, 2)
    codes = np.tile([Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY], len(row))
    return Outline(corners, codes)


def _border(mask: np.ndarray, x: FloatArray, y: FloatArray) -> Outline:
    """Return the edges between the cells of a mask and the others."""
    row, column = np.nonzero(mask[:, 1:] != mask[:, :-1])
    upright = np.stack([x[column + 1], y[row], x[column + 1], y[row + 1]], axis=1)
    row, column = np.nonzero(mask[1:] != mask[:-1])
    level = np.stack([x[column], y[row + 1], x[column + 1], y[row + 1]], axis=1)
    ends = np.concatenate([upright, level]).reshape(-1, 2)
    return Outline(ends, np.tile([Outline.MOVETO, Outline.LINETO], len(ends) // 2))


def _draw_theory(ax: Axes, ds: xr.Dataset) -> list[Line2D]:
    """Draw what theory says in ``ds.attrs`` and return keys for the legend."""
    keys, found = [], ds.attrs
    left, right = ax.get_xlim()
    if found.get("method") == "gd":
        if left < found.get("eps_max", np.nan) < right:
            ax.axvline(found["eps_max"], **_TIGHT)
            keys.append(Line2D([], [], **_TIGHT, label=r"$\varepsilon_{\max} = 2/\lambda_{\max}$: edge of GD (exact)"))
    elif "eps_a" in ds.dims:
        if ax.get_ylim()[0] < 2 < ax.get_ylim()[1]:
            ax.axhline(2.0, **_TIGHT)
            keys.append(Line2D([], [], **_TIGHT, label=r"$\varepsilon_a = 2$: edge of BNGD (exact)"))
        # without a plateau the two are in the other order
        plateau = found.get("eps_1", np.nan) < found.get("eps_2", np.nan)
        inside = {name: found[name] for name in ("eps_1", "eps_2") if plateau and left < found[name] < right}
        for name, value in inside.items():
            ax.axvline(value, **_APPROXIMATE)
            if ax.get_xscale() == "linear":
                continue  # no room for names
            ax.annotate(
                rf"$\varepsilon_{name[-1]}$",
                (value, 0.5),
                xycoords=("data", "axes fraction"),
                xytext=(-9 if name == "eps_1" else 9, 0),
                textcoords="offset points",
                color=_THEORY_COLOR,
                fontsize=11,
                ha="center",
                va="center",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
        if inside:
            label = r"$\varepsilon_1$, $\varepsilon_2$: edges of the plateau (asymptotic)"
            keys.append(Line2D([], [], **_APPROXIMATE, label=label))
    if "window" in found and ("eps_a" not in ds.dims or ax.get_ylim()[0] < 1 < ax.get_ylim()[1]):
        y = 1.0 if "eps_a" in ds.dims else 0.5
        marker: dict[str, Any] = {"color": _THEORY_COLOR, "markeredgecolor": "white", "markersize": 8, "linestyle": ""}
        for end, shape in zip(found["window"], (CARETRIGHT, CARETLEFT), strict=True):
            ax.plot([end], [y], marker=shape, zorder=3, **marker)
        if "eps_a" in ds.dims:
            label = rf"predicted range that reaches {_power(found['tol'])}"
            keys.append(Line2D([], [], **{**marker, "marker": CARETRIGHT, "label": label}))
    return keys


def _label_axes(ax: Axes, ds: xr.Dataset, cells: _Cells) -> None:
    ax.set_xlabel(r"learning rate $\varepsilon$")
    if cells.y is None:
        ax.set_yticks([])
        ax.set_ylabel(str(ds.attrs.get("method", "")).upper(), rotation=0, ha="right", va="center")
    else:
        ax.set_ylabel(r"learning rate of the BN scale $\varepsilon_a$")


def _title(ds: xr.Dataset, parts: list[_Cells], what: str = "") -> str:
    found = ds.attrs
    name = str(found.get("problem", "a problem")).replace("$", r"\$")
    head = f"{what or str(found.get('method', '')).upper()} on {name if len(name) <= 60 else name[:57] + '...'}"
    words = [f"median of {found['n_trials']} trials"] if "n_trials" in found else []
    if "rank" in found:
        words.append(f"$d = {found['rank']}$")
    for name, symbol in (("cond", r"\kappa"), ("cond_star", r"\kappa^*")):
        if name in found:
            words.append(f"${symbol} = {_number(found[name])}$")
    words.append(f"{found.get('n_steps', '?')} steps")
    missing = sum(int(cells.flat[Status.NOT_RUN].sum()) for cells in parts if Status.NOT_RUN in cells.flat)
    missing = found.get("n_not_run", missing)
    total = sum(cells.value.size for cells in parts) * found.get("n_trials", 1)
    return f"{head}\n" + ", ".join(words) + (f"\nincomplete: {missing} of {total} cells not run" if missing else "")


def _power(value: float) -> str:
    """Return a number as mathtext, powers of ten without a factor."""
    text = _number(value)
    return f"${text.removeprefix('1 ').removeprefix(chr(92) + 'times ')}$"


def _number(value: float) -> str:
    text = f"{value:.3g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}"


# -------------------------------------------------------------------- runs


def plot_run(ds: xr.Dataset, ax: Axes | None = None, **line: Any) -> Axes:
    r"""Draw the relative excess of one run, step by step, with the slope that theory gives it in the end.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.run_gd` or `olsbn.run_bngd`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; several runs may share it. Default: a new figure.
    **line
        Settings of the line, as in `matplotlib.axes.Axes.plot`.

    Returns
    -------
    matplotlib.axes.Axes
        Nothing is saved.

    Notes
    -----
    The dashed line has the slope ``rate_theory**(2 k)``, an identity for the limit of the slope; it is drawn through
    the last point, over the last third of the run. Excess 0 (below the floor of the engine) and NaN are not drawn.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ax = olsbn.plotting.plot_run(olsbn.run_bngd(problem, eps=1.0, n_steps=500))
    >>> ax.get_yscale()
    'log'
    """
    _check_variables(ds, "a run", ("step", "excess"))
    ax = _new_axes((6.4, 4.2)) if ax is None else ax
    found = ds.attrs
    steps, excess = ds["step"].values, ds["excess"].values
    look = {"color": _method_color(ds), "label": _run_label(ds), "marker": "o" if steps.size == 1 else ""}
    (curve,) = ax.plot(steps, _drawable(excess), **{**look, **line})
    ax.set_yscale("log")
    drawn = np.flatnonzero(np.isfinite(excess) & (excess > 0))
    rate = found.get("rate_theory", np.nan)
    if drawn.size > 1 and 0 < rate < 1 and found.get("status") in (Status.CONVERGED.label, Status.MAX_STEPS.label):
        last = drawn[-1]
        late = steps[drawn][steps[drawn] >= steps[last] * 2 / 3]
        with np.errstate(over="ignore", under="ignore"):
            slope = np.exp(np.log(excess[last]) + 2 * (late - steps[last]) * np.log(rate))
        late, slope = late[slope <= 1], slope[slope <= 1]
        ax.plot(
            late,
            slope,
            color=curve.get_color(),
            linewidth=5,
            alpha=0.3,
            solid_capstyle="butt",
            label=rf"theory: $\rho^{{2k}}$, $\rho = {rate:.6g}$",
        )
    ax.set_xlabel("step $k$")
    ax.set_ylabel(r"relative excess $(J - J_{\min})/(E/2)$")
    ax.set_title(_title(ds, []))
    ax.legend(frameon=False)
    return ax


def run_figure(runs: list[xr.Dataset]) -> Figure:
    """Draw runs on one problem: their excess above, their effective learning rates below, each by its own edge."""
    with style():
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 0.55])
        bottom.axhline(1.0, **_TIGHT)
        scaled = []
        for ds in runs:
            plot_run(ds, top)
            edge = ds.attrs.get("eps_max" if ds.attrs["method"] == "gd" else "eps_eff_max", np.nan)
            scaled.append(ds["eps_eff"].values / edge)
            bottom.plot(ds["step"].values, _drawable(scaled[-1], negative=True), color=_method_color(ds))
        positive = _drawable(np.concatenate(scaled))
        if np.isfinite(positive).any() and np.nanmax(positive) > 30 * np.nanmin(positive):
            bottom.set_yscale("log")
        else:
            bottom.set_ylim(bottom=min(0, bottom.get_ylim()[0]))
        top.set_title("")
        top.set_xlabel("")
        figure.suptitle(_title(runs[0], [], " and ".join(ds.attrs["method"].upper() for ds in runs)))
        bottom.set_xlabel("step $k$")
        bottom.set_ylabel("effective rate / edge")
        key = r"edge: BNGD $\hat\varepsilon = 2/\lambda^*_d$, GD $\varepsilon = 2/\lambda_{\max}$ (exact)"
        bottom.legend(handles=[Line2D([], [], **_TIGHT, label=key)], frameon=False)
    return figure


def _drawable(values: FloatArray, negative: bool = False) -> FloatArray:
    """Return positive values, and negative ones if asked for, within the range of `_DRAWABLE`; NaN for the others."""
    size = np.abs(values) if negative else values
    with np.errstate(invalid="ignore"):
        return np.where((size >= _DRAWABLE[0]) & (size <= _DRAWABLE[1]), values, np.nan)


def _method_color(ds: xr.Dataset) -> str:
    return _METHOD_COLORS.get(str(ds.attrs.get("method")).upper(), "#1f5fa8")


def _run_label(ds: xr.Dataset) -> str:
    found = ds.attrs
    label = rf"{found.get('method', 'run').upper()}, $\varepsilon = {_number(found.get('eps', np.nan))}$"
    if found.get("method") == "bngd":
        label += rf", $\varepsilon_a = {_number(found['eps_a'])}$"
    if found.get("status") not in (None, Status.CONVERGED.label, Status.MAX_STEPS.label):
        label += f": {found['status'].replace('_', ' ')}"
    return label


# -------------------------------------------------------------------- robustness


def plot_robustness(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    r"""Draw how wide the range of learning rates that reach the tolerance is, against the dimension.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.robustness`, or of `olsbn.sweep` over dimensions, which is then put through it. Drawn are
        `width_decades`, for each ``eps_a``, and of `gd_width_decades` and `width_theory` what is there.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

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
    from olsbn.measures import over_trials, robustness

    _check_variables(ds, "a sweep over dimensions", ("dim",))
    if "width_decades" not in ds:
        _check_variables(ds, "a sweep over dimensions", ("dim", "eps", "status"))
        ds = robustness(ds)
    bands = over_trials(ds if "trial" in ds.dims else ds.expand_dims("trial"))
    found, dims = ds.attrs, ds["dim"].values
    method = str(found.get("method", "bngd")).upper()
    width = bands["width_decades"]
    lines: list[tuple[str, xr.DataArray, Any]] = [(method, width, _method_color(ds))]
    few = True
    if "eps_a" in width.dims:
        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, width.sizes["eps_a"]))
        few = width.sizes["eps_a"] <= 6
        named = set(np.linspace(0, width.sizes["eps_a"] - 1, 6).round().astype(int))  # the legend has no room for more
        lines = [
            (rf"{method}, $\varepsilon_a = {_number(float(value))}$" if i in named else "_", width.isel(eps_a=i), color)
            for i, (value, color) in enumerate(zip(width["eps_a"].values, colors, strict=True))
        ]
    if "gd_width_decades" in bands and method != "GD":
        lines.append(("GD", bands["gd_width_decades"], _METHOD_COLORS["GD"]))
    ax = _new_axes((6.4, 4.2)) if ax is None else ax
    for label, band, color in lines:
        low, middle, high = band.transpose("quantile", "dim").values
        if few:
            ax.fill_between(dims, low, high, color=color, alpha=0.2, linewidth=0)
        ax.plot(dims, middle, color=color, marker="o", markersize=4, label=label)
    if "width_theory" in bands:
        theory = bands["width_theory"].transpose("quantile", "dim").values[1]
        if np.isfinite(theory).any():
            kind = _TIGHT if method == "GD" else _APPROXIMATE
            label = "theory (exact)" if method == "GD" else r"theory for $\varepsilon_a = 1$ (asymptotic)"
            ax.plot(dims, theory, **kind, label=label)
    ax.set_xscale("log")
    ax.set_xticks(dims, labels=[str(dim) for dim in dims])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0)
    ax.set_xlabel("dimension $d$")
    tol, n_steps = found.get("tol"), found.get("n_steps")
    reached = "" if tol is None else f"\nthat reaches {_power(tol)} in {n_steps} steps"
    ax.set_ylabel(f"longest range of learning rates{reached}, decades")
    n_trials = bands.attrs["n_trials"]
    band_note = "median and 10-90 %" if few else "medians"
    notes = [f"{band_note} of {n_trials} trials" if n_trials > 1 else "one trial"]
    cut, missing = (int(ds[name].sum()) if name in ds else 0 for name in ("at_edge", "n_not_run"))
    if cut:
        notes.append(f"{cut} of {ds['at_edge'].size} ranges cut off by the grid")
    if missing:
        notes.append(f"incomplete: {missing} cells not run")
    ax.set_title(f"{found.get('title', method)}\n{'; '.join(notes)}")
    ax.legend(edgecolor="none")
    return ax


# -------------------------------------------------------------------- files


def style() -> AbstractContextManager[None]:
    """Return a context with matplotlib's defaults and `STYLE`: a picture does not depend on the user's settings."""
    return matplotlib.style.context(["default", STYLE])


def save(figure: Figure, path: Path, ds: xr.Dataset) -> None:
    """Write a figure of `ds` to a PNG or PDF, with its provenance inside; the same figure gives the same bytes."""
    provenance = {
        name: str(value)
        for name, value in sorted(ds.attrs.items())
        if name == "command" or name.endswith(("_version", "fingerprint"))
    }
    title, about = str(ds.attrs.get("title", "")), json.dumps(provenance)
    creator = f"olsbn {ds.attrs.get('olsbn_version', '')}"
    metadata = {
        ".png": {"Title": title, "Description": about, "Software": creator},
        ".pdf": {"Title": title, "Subject": about, "Creator": creator, "CreationDate": None},
    }[path.suffix]
    with style():
        figure.set_dpi(STYLE["savefig.dpi"])
        # without savefig, which draws twice: once to see how large it gets
        if path.suffix == ".png":
            FigureCanvasAgg(figure).print_png(path, metadata=metadata)
        else:
            from matplotlib.backends.backend_pdf import FigureCanvasPdf

            FigureCanvasPdf(figure).print_pdf(path, metadata=metadata)
    figure.set_layout_engine("none")  # laid out now: the next format need not find the same places again


def _new_axes(size: tuple[float, float]) -> Axes:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


# -------------------------------------------------------------------- benchmark


def bench_figure(result: dict[str, Any]) -> Figure:
    """Draw the engine's rate against dimension, cells, steps and threads, with the limit of the arithmetic pipes.

    Parameters
    ----------
    result : dict
        What `olsbn.bench.run` returns, curves included.

    Returns
    -------
    Figure
    """
    curves = result["curves"]
    limits = dict(curves["limit"])
    panels = (
        ("dim", "dimension $d$", "at least 128 cells"),
        ("cells", "cells", "$d = 100$, 4000 steps"),
        ("steps", "steps", "$d = 100$, 4096 cells"),
        ("threads", "threads", "$d = 100$, 8192 cells, 1000 steps"),
    )
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    for ax, (name, label, title) in zip(axes, panels, strict=True):
        x, rate = np.array(curves[name]).T
        if name == "threads":
            ax.plot(*np.array(curves["limit"]).T / [[1], [1e9]], color="#a33b20", lw=1.5)
            ax.set_xticks(x)
        else:
            ax.axhline(max(limits.values()) / 1e9, color="#a33b20", lw=1.5, label="limit of the arithmetic pipes")
            ax.set_xscale("log")
        ax.plot(x, rate / 1e9, "o-", ms=4, color="#28507a", label="olsbn, all threads")
        ax.set(xlabel=label)
        ax.set_title(title, fontsize=8)
        ax.grid(alpha=0.3, lw=0.5)
    axes[0].set(ylabel="10$^9$ mode-steps / s", ylim=(0, None))
    figure.legend(handles=axes[0].get_lines(), loc="outside lower center", ncols=2, frameon=False)
    return figure


# -------------------------------------------------------------------- theory beside simulation


# What a cell of `olsbn.compare` is drawn as: colour by what was found, red where theory says otherwise.
_FOUND = {Status.CONVERGED: "#3f8f8b", Status.MAX_STEPS: "#d9d4c5", Status.DIVERGED: "#e3b5ae"}
_OTHER, _WRONG = "#a8a8a8", "#c00000"


def plot_comparison(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    r"""Draw theory beside simulation, as `olsbn.compare` found them.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.compare`. With dims ``(eps_a, eps)``: a map of the statuses found, with an outline of the
        cells that were predicted to converge. With ``(eps,)``: the final effective rate (for GD the contraction ratio)
        of every cell, and the predicted one as a line.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        With counts in title and legend; nothing is saved.

    Raises
    ------
    ValueError, TypeError
        For a Dataset that is not such a result.

    Examples
    --------
    >>> import numpy as np, olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=20.0)
    >>> ds = olsbn.sweep(problem, eps=np.logspace(-3, 3, 13), n_steps=3000, tol=1e-6)
    >>> olsbn.plotting.plot_comparison(olsbn.compare(ds, problem)).get_yscale()
    'log'
    """
    _check_variables(ds, "a result of compare", ("status", "status_theory", "status_check", "rate_check"))
    ds = _map_of(ds)
    dims = ds["status"].dims
    alone = ax is None
    if ax is None:
        ax = _new_axes((6.4, 5.4) if len(dims) == 2 else (6.4, 4.4))
    keys = _comparison_map(ds, ax) if len(dims) == 2 else _comparison_line(ds, ax)
    ax.set_xlabel(r"learning rate $\varepsilon$")
    what = "status" if len(dims) == 2 else "rate" if "eps_eff_check" not in ds else "eps_eff"
    check = ds[f"{what}_check"].values
    agree, compared = int((check == 1).sum()), int(((check == 0) | (check == 1)).sum())
    counted = f"{agree} of {compared} cells away from predicted edges agree"
    ax.set_title(f"{ds.attrs.get('title', '')}\n{ds.attrs.get('n_steps')} steps; {counted}", fontsize="medium")
    if alone:
        ax.figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    else:
        ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False, fontsize="small")
    return ax


def _comparison_map(ds: xr.Dataset, ax: Axes) -> list[Any]:
    (x, x_log), (y, y_log) = cell_edges(ds["eps"].values), cell_edges(ds["eps_a"].values)
    status, check = ds["status"].values, ds["status_check"].values
    keys: list[Any] = []
    ax.set_xscale("log" if x_log else "linear")
    ax.set_yscale("log" if y_log else "linear")

    def fill(mask: np.ndarray, label: str, **look: Any) -> None:
        if mask.any():
            ax.add_patch(PathPatch(_rectangles(mask, x, y), linewidth=0, **look))
            keys.append(Patch(linewidth=0, label=f"{label}: {mask.sum()}", **look))

    for code in Status:
        fill(status == code, code.label.replace("_", " "), facecolor=_FOUND.get(code, _OTHER), zorder=1.0)
    hatched: dict[str, Any] = {"fill": False, "edgecolor": "#505050", "zorder": 1.1}
    fill(check == 2, "near a predicted edge", hatch="////", **hatched)
    fill(check == -1, "no prediction", hatch="....", **hatched)
    fill(check == 0, "not as predicted", facecolor=_WRONG, zorder=1.2)
    border = _border(ds["status_theory"].values == Status.CONVERGED, x, y)
    ax.add_patch(PathPatch(border, fill=False, zorder=1.3, **_TIGHT))
    keys.insert(0, Line2D([], [], **_TIGHT, label="theory: converges inside"))
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), ylabel=r"learning rate $\varepsilon_a$ of the scale")
    return keys


def _comparison_line(ds: xr.Dataset, ax: Axes) -> list[Any]:
    gd = "eps_eff_theory" not in ds
    theory, found, check = ("rate_theory", "rate_sim", "rate_check") if gd else (
        "eps_eff_theory", "eps_eff", "eps_eff_check"
    )  # fmt: skip
    eps, codes = ds["eps"].values, ds[check].values
    value, predicted = (np.where(ds[name].values > 0, ds[name].values, np.nan) for name in (found, theory))
    ax.set(xscale="log", yscale="linear" if gd else "log")
    keys = ax.plot(eps, predicted, **(_TIGHT if gd else _APPROXIMATE), zorder=1.1, label="theory")
    looks: dict[int, tuple[str, dict[str, Any]]] = {
        1: ("as predicted", {"color": "#28507a"}),
        2: ("near a predicted edge", {"color": "#28507a", "markerfacecolor": "white"}),
        -1: ("not compared", {"color": _OTHER, "markersize": 3}),
        0: ("not as predicted", {"color": _WRONG, "marker": "X", "markersize": 7}),
    }
    for code, (label, look) in looks.items():
        here = (codes == code) & np.isfinite(value)
        if here.any():
            point: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none", "zorder": 1.2, **look}
            keys += ax.plot(eps[here], value[here], label=f"{label}: {here.sum()}", **point)
    ax.set_ylabel(r"contraction ratio of $\sqrt{\mathrm{excess}}$" if gd else QUANTITIES["eps_eff"].label)
    return keys
