"""The cells of a map: what is coloured by number, what is flat, their outlines, keys and colour bar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import FuncNorm, LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from olsbn._validate import FloatArray
from olsbn.maps import axes_of, cell_edges, map_of, marks
from olsbn.plotting.look import FLAT, HATCH_COLOR, MISSING, distinct, power, reached
from olsbn.quantity import Quantity
from olsbn.results.datasets import check_variables
from olsbn.results.quantities import quantity_of, with_quantity
from olsbn.schema import EXCESS_FLOOR, Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


# Where the range of log10(excess) is smaller than this part of it, the map is a zoom and gets a scale of its own; axes
# of a smaller ratio than this are linear, whatever their spacing.
_ZOOM, _ZOOMED_AXIS = 0.2, 3.0
# From so many separate regions on, those of fewer cells are dots instead of outlines.
_ISLANDS, _ISLAND_CELLS = 4, 12
_ROUNDING = "....", "#ffffff90"


@dataclass(frozen=True)
class Cells:
    """A sweep cut into what is coloured by number and what is flat."""

    style: Quantity  # of what is coloured
    value: FloatArray  # (rows, columns), of an excess the logarithm; NaN where there is no number
    flat: dict[Status | None, np.ndarray]  # cells without a number, by status; None: they ran
    reached: np.ndarray  # cells that reached the tolerance
    tol: float
    x: tuple[FloatArray, bool]
    y: tuple[FloatArray, bool] | None  # None: a single row
    axes: tuple[str, str | None]  # names of the two
    rounding: np.ndarray  # cells whose number is decided by rounding
    proved: np.ndarray  # cells whose number was, until it was proved
    inner: tuple[FloatArray, FloatArray]  # edges for outlines: an exact edge of theory lies between two cells
    whole: bool  # whether the numbers are whole ones

    @classmethod
    def of(cls, ds: xr.Dataset, quantity: str, x: str | None = None, y: str | None = None) -> Cells:
        """Cut a sweep."""
        check_variables(ds, "a sweep", ("status",))
        ds = with_quantity(ds, quantity)
        style = quantity_of(ds, quantity)
        x, y = axes_of(ds, x, y)
        ds = map_of(ds, x, y)
        status = np.atleast_2d(ds["status"].values)
        raw = np.atleast_2d(ds[quantity].values).astype(np.float64)
        ran = (status == Status.CONVERGED) | (status == Status.MAX_STEPS)
        digits = style.scale == "digits"
        if digits:
            raw = np.maximum(raw, EXCESS_FLOOR)
        if ds[quantity].dtype.kind == "i":  # numbers of steps; -1 where there is none
            raw = np.where(raw < 0, np.nan, np.maximum(raw, 1))
        good = ran & np.isfinite(raw) & ((raw > 0) | (style.scale == "linear"))
        value = np.full(raw.shape, np.nan)
        value[good] = np.log10(raw[good]) if digits else raw[good]
        flat: dict[Status | None, np.ndarray] = {s: status == s for s in FLAT}
        flat[None] = ran & ~good
        flat = {s: mask for s, mask in flat.items() if mask.any()}
        rounding, proved = (
            ran & np.atleast_2d(ds[name].values).astype(bool) if name in ds else np.zeros(status.shape, bool)
            for name in ("by_rounding", "resolved")
        )
        across, up = cell_edges(ds[x].values), cell_edges(ds[y].values) if y else None
        inner = _snapped(ds, x, across[0]), _snapped(ds, y, up[0]) if y and up else np.array([0.0, 1.0])
        return cls(
            style, value, flat, status == Status.CONVERGED, float(ds.attrs.get("tol", np.nan)), across, up, (x, y),
            rounding, proved, inner, ds[quantity].dtype.kind == "i",
        )  # fmt: skip

    @property
    def digits(self) -> bool:
        """Whether colours are the digits gained of an excess, whose values are logarithms here."""
        return self.style.scale == "digits"

    @property
    def outlined(self) -> bool:
        """Whether the cells that reached the tolerance get an outline: colour does not tell."""
        return self.digits

    def limits(self) -> tuple[float, float]:
        """Return the range of colours, NaN without numbers. Excess above 1, the start's, is clipped."""
        if np.isnan(self.value).all():
            return np.nan, np.nan
        low, high = float(np.nanmin(self.value)), float(np.nanmax(self.value))
        if not self.digits:
            return low, high
        high = min(high, 0.0)
        if high - low < _ZOOM * -low:  # a small part of a map: a scale of its own
            return low, high
        return min(low, -1.0), 0.0

    def norm(self, limits: tuple[float, float]) -> Normalize:
        """Return how numbers become colours."""
        low, high = limits if np.isfinite(limits).all() else (-1.0, 0.0) if self.digits else (1.0, 2.0)
        if self.digits and high == 0.0:
            # Root of the number of digits gained: slow progress can be told from none.
            return FuncNorm((lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda v: v * np.abs(v)), low, high)
        if high <= low:  # one number all over
            low, high = low - abs(low or 1.0) * 1e-3, high + abs(high or 1.0) * 1e-3
        return (LogNorm if self.style.scale == "log" and high > 2 * low else Normalize)(low, high)

    def draw(self, ax: Axes, limits: tuple[float, float], norm: Any = None, cmap: Any = None) -> Any:
        """Draw all cells and return the coloured mesh."""
        x, y = self.x[0], self.y[0] if self.y else np.array([0.0, 1.0])
        for axis, edges, log, place in (
            (ax.xaxis, x, self.x[1], ax.set_xscale),
            (ax.yaxis, y, bool(self.y and self.y[1]), ax.set_yscale),
        ):
            place("log" if log and edges[-1] > _ZOOMED_AXIS * edges[0] else "linear")
            if axis.get_scale() == "log" and too_wide(edges):
                decades = np.arange(-200.0, 201.0, 100.0)
                inside = (10**decades > edges[0]) & (10**decades < edges[-1])
                axis.set_major_locator(FixedLocator(10 ** decades[inside]))
                axis.set_minor_locator(NullLocator())
            elif axis.get_scale() == "log" and edges[-1] < 30 * edges[0]:
                axis.set_major_locator(LogLocator(subs=[1.0, 2.0, 5.0]))
                axis.set_major_formatter(FuncFormatter(lambda v, _: power(v)))
                axis.set_minor_formatter(NullFormatter())
            elif axis.get_scale() == "linear":
                axis.set_major_locator(MaxNLocator(5))
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
        ax.autoscale(False)  # over hundreds of decades automatic margins, and ticks, would overflow
        norm = self.norm(limits) if norm is None else norm
        mesh = ax.pcolormesh(
            x,
            y,
            np.ma.masked_invalid(self.value),
            shading="flat",
            cmap=self.style.cmap if cmap is None else cmap,
            norm=norm,
            rasterized=True,
            zorder=1,
        )
        for status, mask in self.flat.items():
            color, hatch = MISSING if status is None else FLAT[status]
            area = rectangles(mask, x, y)
            ax.add_patch(PathPatch(area, facecolor=color, edgecolor="none", linewidth=0, zorder=1.1))
            ax.add_patch(PathPatch(area, fill=False, hatch=hatch, edgecolor=HATCH_COLOR, linewidth=0, zorder=1.2))
        if self.rounding.any():
            area = rectangles(self.rounding, x, y)
            ax.add_patch(
                PathPatch(area, fill=False, hatch=_ROUNDING[0], edgecolor=_ROUNDING[1], linewidth=0, zorder=1.2)
            )
        if self.outlined:
            whole, single = self._regions()
            ax.add_patch(PathPatch(border(whole, *self.inner), fill=False, zorder=1.3, **reached()))
            if single.any():
                row, column = np.nonzero(single)
                middle = [np.sqrt(e[:-1] * e[1:]) if log else (e[:-1] + e[1:]) / 2 for e, log in self._edges()]
                dots: dict[str, Any] = {"marker": "s", "linestyle": "", "markersize": 1.8, "markeredgewidth": 0}
                ax.plot(middle[0][column], middle[1][row], color="white", zorder=1.3, **dots)
        return mesh

    def _edges(self) -> list[tuple[FloatArray, bool]]:
        return [self.x, self.y or (np.array([0.0, 1.0]), False)]

    def _regions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells that reached the tolerance as what is outlined, and what are islands.

        Where theory's modes burst now and then only some cells get there: outlines of islands hide what they
        enclose, so from some number on the small ones are dots.
        """
        from scipy.ndimage import label

        names, count = label(self.reached)
        if count <= _ISLANDS:
            return self.reached, np.zeros_like(self.reached)
        size = np.bincount(names.ravel())
        small = self.reached & (size[names] < _ISLAND_CELLS)
        return self.reached & ~small, small


def shared_limits(parts: list[Cells]) -> tuple[float, float]:
    """Return the range of colours of maps that are drawn together, NaN without numbers."""
    low, high = np.transpose([cells.limits() for cells in parts])
    with np.errstate(all="ignore"):
        return float(np.fmin.reduce(low)), float(np.fmax.reduce(high))


def keys_of(parts: dict[str, Cells], counts: bool = True) -> list[Any]:
    """Return the legend's keys for cells that are told apart by their status, with how many there are if asked."""

    def count(masks: dict[str, np.ndarray]) -> str:
        if not counts:
            return ""
        return ": " + ", ".join(f"{name}{mask.sum()} of {mask.size}" for name, mask in masks.items()) + " cells"

    keys: list[Any] = []
    look: dict[str, Any]
    one = next(iter(parts.values()))
    if one.outlined:
        label = f"reached {power(one.tol)}{count({name: cells.reached for name, cells in parts.items()})}"
        look = reached()
        case = withStroke(linewidth=3.3 * look["linewidth"], foreground="#21908c")
        keys.append(Line2D([], [], **look, label=label, path_effects=[case]))
    rounding = {name: cells.rounding for name, cells in parts.items() if cells.rounding.any()}
    if rounding:
        look = {"facecolor": "#21908c", "hatch": _ROUNDING[0], "edgecolor": "white", "linewidth": 0.5}
        keys.append(Patch(label=f"decided by rounding{count(rounding)}", **look))
    proved = {name: cells.proved for name, cells in parts.items() if cells.proved.any()}
    if proved and counts:  # they look like the others
        keys.append(Line2D([], [], linestyle="none", label=f"proved with more digits{count(proved)}"))
    for status in [None, *FLAT]:
        masks = {name: cells.flat[status] for name, cells in parts.items() if status in cells.flat}
        if masks:
            color, hatch = MISSING if status is None else FLAT[status]
            name = one.style.missing or f"no {one.style.name}" if status is None else status.label.replace("_", " ")
            label = f"{name}{count(masks)}"
            keys.append(Patch(facecolor=color, hatch=hatch, edgecolor=HATCH_COLOR, linewidth=0.5, label=label))
    return keys


def keys_of_all(parts: list[Cells], counts: bool = True) -> list[Any]:
    """Return the keys of so many maps that only their totals can be told."""
    flat: dict[Status | None, np.ndarray] = {}
    for status in [None, *FLAT]:
        mask = np.concatenate([cells.flat.get(status, np.zeros(cells.value.shape, bool)).ravel() for cells in parts])
        flat |= {status: mask} if mask.any() else {}
    all_of: dict[str, Any] = {
        n: np.concatenate([getattr(cells, n).ravel() for cells in parts]) for n in ("reached", "rounding", "proved")
    }
    return keys_of({"": replace(parts[0], flat=flat, **all_of)}, counts)


def color_bar(figure: Any, mesh: Any, parts: list[Cells], ax: Any, narrow: bool = False) -> None:
    """Add the colour bar of maps that share their colours; in a narrow figure with fewer words and ticks."""
    one: Cells = parts[0]
    norm: Any = mesh.norm
    if all(np.isnan(cells.value).all() for cells in parts):
        return
    low, high = float(norm.vmin), float(norm.vmax)
    with np.errstate(invalid="ignore"):
        above, below = any((c.value > high).any() for c in parts), any((c.value < low).any() for c in parts)
    extend = {(False, False): "neither", (True, False): "max", (False, True): "min", (True, True): "both"}[above, below]
    bar = figure.colorbar(
        mesh,
        ax=ax,
        extend=extend,
        label=one.style.label.removeprefix("final ") if narrow else one.style.label,
        pad=0.02,
    )
    if one.digits and high == 0.0:
        ticks, labels = _digit_ticks(low, 0.12 if narrow else 0.05)
        bar.set_ticks(ticks, labels=labels)
        bar.ax.minorticks_off()
    elif isinstance(norm, LogNorm) and high > 2 * low:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=[1.0] if high > 1e3 * low else [1.0, 2.0, 5.0]))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: power(v)))
        bar.ax.minorticks_off()
    else:
        _narrow_ticks(bar, replace(one, value=np.concatenate([cells.value.ravel() for cells in parts])))


def _narrow_ticks(bar: Any, one: Cells) -> None:
    """Label a scale of little range with as many digits as tell its ticks apart."""
    low, high = bar.mappable.norm.vmin, bar.mappable.norm.vmax
    with np.errstate(invalid="ignore"):
        if np.nanmin(one.value) == np.nanmax(one.value):
            ticks = [float(np.nanmin(one.value))]
        else:
            ticks = [float(t) for t in MaxNLocator(6, integer=one.whole).tick_values(low, high)]
    ticks = [t for t in ticks if low <= t <= high]
    bar.set_ticks(ticks, labels=distinct([10**t for t in ticks] if one.digits else ticks))
    bar.ax.minorticks_off()


def _digit_ticks(low: float, apart: float) -> tuple[list[float], list[str]]:
    """Return where a colour bar from `low` to 0, digits on a root scale, has its ticks, and their labels."""
    wanted = [0.0, -1, -2, -5, -10, -20, -40, -70, -110, -160, -220, -290]
    if low > -3:
        wanted = [float(np.log10(v)) for v in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)]
    ticks: list[float] = []
    for tick in wanted:
        if tick >= low and (not ticks or np.sqrt(-tick) - np.sqrt(-ticks[-1]) > apart * np.sqrt(-low)):
            ticks.append(tick)
    return ticks, [f"{10**v:.3g}" if low > -3 or v == 0 else f"$10^{{{v:.0f}}}$" for v in ticks]


def _snapped(ds: xr.Dataset, name: str, edges: FloatArray) -> FloatArray:
    """Return edges of cells, those that an exact edge of theory should pass moved onto it."""
    centres, edges = ds[name].values, edges.copy()
    for mark in marks(ds):
        for value in mark.values if mark.exact and mark.param == name else ():
            k = int(np.searchsorted(centres, value))
            if 0 < k < centres.size and centres[k - 1] < value < centres[k]:
                edges[k] = value
    return edges


def too_wide(edges: FloatArray) -> bool:
    """Return whether an axis spans more decades than matplotlib can put ticks on."""
    return bool(edges[0] > 0 and np.log10(edges[-1]) - np.log10(edges[0]) > 200)


def rectangles(mask: np.ndarray, x: FloatArray, y: FloatArray) -> Outline:
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


def border(mask: np.ndarray, x: FloatArray, y: FloatArray) -> Outline:
    """Return the edges between the cells of a mask and the others."""
    row, column = np.nonzero(mask[:, 1:] != mask[:, :-1])
    upright = np.stack([x[column + 1], y[row], x[column + 1], y[row + 1]], axis=1)
    row, column = np.nonzero(mask[1:] != mask[:-1])
    level = np.stack([x[column], y[row + 1], x[column + 1], y[row + 1]], axis=1)
    ends = np.concatenate([upright, level]).reshape(-1, 2)
    return Outline(ends, np.tile([Outline.MOVETO, Outline.LINETO], len(ends) // 2))
