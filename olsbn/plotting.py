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
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator

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
    "pdf.fonttype": 42,
    "path.simplify": True,
}


@dataclass(frozen=True)
class _Quantity:
    """How a variable becomes a colour."""

    label: str
    log: bool
    cmap: str
    missing: str  # what it means that a cell which ran has no such number


_QUANTITIES = {
    "excess": _Quantity(r"$\log_{10}$ relative excess", True, "viridis", "no excess"),
    "steps_to_tol": _Quantity(r"$\log_{10}$ steps to tolerance", True, "viridis", "tolerance not reached"),
    "rate_sim": _Quantity(
        r"contraction ratio of $\sqrt{\mathrm{excess}}$ a step", False, "cividis", "no rate measured"
    ),
    "eps_eff": _Quantity(r"$\log_{10}$ effective rate $\hat\varepsilon$", True, "cividis", r"$\hat\varepsilon \leq 0$"),
}

# Statuses that are no number: colour, hatch.
_FLAT = {
    Status.DIVERGED: ("#d9a5a0", "////"),
    Status.NON_FINITE: ("#b6a1c9", "xxxx"),
    Status.DEGENERATE: ("#c9c9c9", "...."),
    Status.NOT_RUN: ("#ffffff", "\\\\\\\\"),
}
_MISSING = ("#ececec", "")
_HATCH_COLOR = "#5a4a4a"
_TIGHT: dict[str, Any] = {"color": "#e4006d", "linewidth": 1.4, "linestyle": "-"}
_APPROXIMATE: dict[str, Any] = {"color": "#e4006d", "linewidth": 1.2, "linestyle": (0, (4, 2.5))}


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
    ax = _new_axes((6.4, 4.8) if cells.y is not None else (6.4, 2.2)) if ax is None else ax
    mesh = cells.draw(ax, cells.limits())
    marks = _draw_theory(ax, ds) if theory else []
    _label_axes(ax, ds, cells)
    ax.set_title(_title(ds, cells.incomplete))
    ax.figure.colorbar(mesh, ax=ax, extend=cells.extend(cells.limits()), label=cells.style.label)
    handles = [*marks, *cells.legend()]
    if handles:
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14 if cells.y is not None else -0.45),
            ncols=2,
            frameon=False,
        )
    return ax


def map_figure(ds: xr.Dataset, quantity: str = "excess") -> Figure:
    """Draw BNGD's map with GD's range in a strip below it, on the same learning rates and in the same colours.

    `ds` is what `beside` makes.
    """
    bngd, gd = apart(ds)
    cells, strip = _Cells.of(bngd, quantity), _Cells.of(gd, quantity)
    low, high = np.transpose([cells.limits(), strip.limits()])
    limits = float(np.nanmin(low)), float(np.nanmax(high))
    with style():
        figure = Figure(figsize=(7.2, 5.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 0.085])
        mesh = cells.draw(top, limits)
        strip.draw(bottom, limits)
        marks = _draw_theory(top, bngd) + _draw_theory(bottom, gd)
        _label_axes(top, bngd, cells)
        _label_axes(bottom, gd, strip)
        top.set_xlabel("")
        top.tick_params(axis="x", which="both", labelbottom=False)
        if "eig_max" in ds.attrs:
            half = ds.attrs["eig_max"] / 2
            natural = top.secondary_xaxis("top", functions=(lambda x: x * half, lambda x: x / half))
            natural.set_xlabel(r"in natural units, $\varepsilon\lambda_{\max}/2$")
        figure.suptitle(_title(bngd, cells.incomplete or strip.incomplete, "BNGD and GD"))
        bar = figure.colorbar(mesh, ax=[top, bottom], extend=cells.extend(limits), label=cells.style.label, pad=0.02)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        unique = {handle.get_label(): handle for handle in marks}
        handles = [*unique.values(), *cells.legend("BNGD: "), *strip.legend("GD: ")]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def beside(bngd: xr.Dataset, gd: xr.Dataset) -> xr.Dataset:
    """Put a sweep of GD beside one of BNGD on the same learning rates: its variables get the prefix ``gd_``."""
    both = bngd.assign({f"gd_{name}": variable for name, variable in gd.data_vars.items()})
    both.attrs |= {"gd_sweep_fingerprint": gd.attrs["sweep_fingerprint"]}
    return both


def apart(ds: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Undo `beside`."""
    prefixed = [name for name in ds.data_vars if str(name).startswith("gd_")]
    gd = ds[prefixed].rename({name: str(name).removeprefix("gd_") for name in prefixed})
    gd.attrs = {**ds.attrs, "method": "gd"}
    if "gd_window" in ds.attrs:
        gd.attrs["window"] = ds.attrs["gd_window"]
    return ds.drop_vars(prefixed), gd


def cell_edges(centres: Any) -> tuple[FloatArray, bool]:
    """Return the edges of cells around ascending coordinates, and whether the axis is to be logarithmic.

    It is where the coordinates are positive and their ratios are more even than their differences. Edges are then
    geometric means, else arithmetic ones; the outer cells are symmetric, and none reaches below 0.
    """
    x = np.asarray(centres, dtype=np.float64)
    if x.size == 1:
        return (np.array([x[0] / 2, x[0] * 2]), True) if x[0] > 0 else (np.array([0.0, 1.0]), False)
    if not (np.diff(x) > 0).all():
        raise ValueError("coordinates of a map must ascend, got some that do not")
    log = bool(x[0] > 0) and np.ptp(np.diff(np.log(x))) / np.log(x[-1] / x[0]) <= np.ptp(np.diff(x)) / (x[-1] - x[0])
    if x.size == 2 and x[0] > 0:
        log = bool(x[1] / x[0] >= 10)
    position = np.log(x) if log else x
    middle = position[:-1] + np.diff(position) / 2
    outer = [2 * position[0] - middle[0]], [2 * position[-1] - middle[-1]]
    edges = np.concatenate([outer[0], middle, outer[1]])
    return (np.exp(edges), True) if log else (np.maximum(edges, 0.0), False)


@dataclass(frozen=True)
class _Cells:
    """A sweep cut into what is coloured by number and what is flat."""

    quantity: str
    value: FloatArray  # (rows, columns), NaN where there is no number
    flat: dict[Status | None, np.ndarray]  # cells without a number, by status; None: they ran
    x: tuple[FloatArray, bool]
    y: tuple[FloatArray, bool] | None  # None: a single row

    @classmethod
    def of(cls, ds: xr.Dataset, quantity: str) -> _Cells:
        if not hasattr(ds, "data_vars"):
            raise TypeError(f"ds must be an xarray.Dataset, got {type(ds).__name__}")
        one_of("quantity", quantity, _QUANTITIES)
        if "status" not in ds or quantity not in ds:
            raise ValueError(f"ds must be a sweep with the variables status and {quantity}, got {sorted(map(str, ds))}")
        dims = ds["status"].dims
        if dims not in (("eps_a", "eps"), ("eps",)):
            raise ValueError(
                f"ds must have the dims (eps_a, eps) or (eps,), got {dims} (select one with ds.isel(trial=0, dim=0))"
            )
        status = np.atleast_2d(ds["status"].values)
        raw = np.atleast_2d(ds[quantity].values).astype(np.float64)
        ran = (status == Status.CONVERGED) | (status == Status.MAX_STEPS)
        if quantity == "excess":
            raw = np.maximum(raw, EXCESS_FLOOR)
        style = _QUANTITIES[quantity]
        if quantity == "steps_to_tol":
            raw = np.where(raw < 0, np.nan, np.maximum(raw, 1))
        good = ran & np.isfinite(raw) & ((raw > 0) | (not style.log))
        value = np.full(raw.shape, np.nan)
        value[good] = np.log10(raw[good]) if style.log else raw[good]
        flat: dict[Status | None, np.ndarray] = {s: status == s for s in _FLAT}
        flat[None] = ran & ~good
        y = cell_edges(ds["eps_a"].values) if "eps_a" in dims else None
        return cls(quantity, value, {s: m for s, m in flat.items() if m.any()}, cell_edges(ds["eps"].values), y)

    @property
    def style(self) -> _Quantity:
        return _QUANTITIES[self.quantity]

    @property
    def incomplete(self) -> str:
        """A few words if cells were not run."""
        missing = self.flat.get(Status.NOT_RUN)
        return "" if missing is None else f"incomplete: {missing.sum()} of {missing.size} cells not run"

    def limits(self) -> tuple[float, float]:
        """Return the range of colours, NaN without numbers. Excess above 1, the start's, is clipped."""
        if np.isnan(self.value).all():
            return np.nan, np.nan
        low, high = float(np.nanmin(self.value)), float(np.nanmax(self.value))
        return (min(low, -1.0), 0.0) if self.quantity == "excess" else (low, high)

    def extend(self, limits: tuple[float, float]) -> str:
        """Return at which end of the colour bar numbers are clipped."""
        with np.errstate(invalid="ignore"):
            return "max" if (self.value > limits[1]).any() else "neither"

    def draw(self, ax: Axes, limits: tuple[float, float]) -> Any:
        """Draw all cells and return the coloured mesh."""
        x, y = self.x[0], self.y[0] if self.y else np.array([0.0, 1.0])
        ax.set_xscale("log" if self.x[1] else "linear")
        ax.set_yscale("log" if self.y and self.y[1] else "linear")
        low, high = limits if np.isfinite(limits).all() else (0.0, 1.0)
        masked = np.ma.masked_invalid(self.value)
        mesh = ax.pcolormesh(
            x, y, masked, shading="flat", cmap=self.style.cmap, vmin=low, vmax=high, rasterized=True, zorder=1
        )
        for status, mask in self.flat.items():
            color, hatch = _MISSING if status is None else _FLAT[status]
            area = _outline(mask, x, y)
            ax.add_patch(PathPatch(area, facecolor=color, edgecolor="none", linewidth=0, zorder=1.1))
            ax.add_patch(PathPatch(area, fill=False, hatch=hatch, edgecolor=_HATCH_COLOR, linewidth=0, zorder=1.2))
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
        return mesh

    def legend(self, prefix: str = "") -> list[Patch]:
        """Return a key for every kind of flat cell, with the number of cells."""
        handles = []
        for status, mask in self.flat.items():
            color, hatch = _MISSING if status is None else _FLAT[status]
            name = self.style.missing if status is None else status.label.replace("_", " ")
            label = f"{prefix}{name} ({mask.sum()} of {mask.size} cells)"
            handles.append(Patch(facecolor=color, hatch=hatch, edgecolor=_HATCH_COLOR, linewidth=0.5, label=label))
        return handles


def _outline(mask: np.ndarray, x: FloatArray, y: FloatArray) -> Outline:
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


def _draw_theory(ax: Axes, ds: xr.Dataset) -> list[Line2D]:
    """Draw what theory says in ``ds.attrs`` and return keys for the legend."""
    marks, found = [], ds.attrs
    if found.get("method") == "gd":
        if "eps_max" in found:
            ax.axvline(found["eps_max"], **_TIGHT)
            marks.append(
                Line2D(
                    [],
                    [],
                    **_TIGHT,
                    label=r"exact edges: BNGD $\varepsilon_a = 2$, GD $\varepsilon_{\max} = 2/\lambda_{\max}$",
                )
            )
    else:
        if "eps_a" in ds.dims:
            ax.axhline(2.0, **_TIGHT)
        for name in ("eps_1", "eps_2"):
            if name in found:
                ax.axvline(found[name], **_APPROXIMATE)
        marks.append(
            Line2D(
                [],
                [],
                **_APPROXIMATE,
                label=r"plateau of $\hat\varepsilon$: edges $\varepsilon_1$, $\varepsilon_2$ (asymptotic)",
            )
        )
    return marks


def _label_axes(ax: Axes, ds: xr.Dataset, cells: _Cells) -> None:
    ax.set_xlabel(r"learning rate $\varepsilon$")
    if cells.y is None:
        ax.set_yticks([])
        ax.set_ylabel(str(ds.attrs.get("method", "")).upper(), rotation=0, ha="right", va="center")
    else:
        ax.set_ylabel(r"learning rate of the BN scale $\varepsilon_a$")


def _title(ds: xr.Dataset, incomplete: str, what: str = "") -> str:
    found = ds.attrs
    words = [f"{what or str(found.get('method', '')).upper()} on {found.get('problem', 'a problem')}"]
    if "rank" in found:
        words.append(f"$d = {found['rank']}$")
    for name, symbol in (("cond", r"\kappa"), ("cond_star", r"\kappa^*")):
        if name in found:
            words.append(f"${symbol} = {_number(found[name])}$")
    words.append(f"{found.get('n_steps', '?')} steps")
    return ", ".join(words) + (f"\n{incomplete}" if incomplete else "")


def _number(value: float) -> str:
    text = f"{value:.3g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}"


# -------------------------------------------------------------------- runs


def plot_run(ds: xr.Dataset, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the relative excess of one run, step by step."""
    ax = _new_axes((6.4, 4.0)) if ax is None else ax
    excess = ds["excess"].values
    ax.plot(ds["step"].values, np.where(excess > 0, excess, np.nan), label=ds.attrs["method"].upper(), **line)
    ax.set_yscale("log")
    ax.set_xlabel("step $k$")
    ax.set_ylabel("relative excess")
    return ax


def run_figure(runs: list[xr.Dataset]) -> Figure:
    """Draw runs on one pair of axes."""
    with style():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        ax = figure.subplots()
        for ds in runs:
            plot_run(ds, ax)
        ax.legend()
    return figure


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
        figure.savefig(path, metadata=metadata)


def _new_axes(size: tuple[float, float]) -> Axes:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]
