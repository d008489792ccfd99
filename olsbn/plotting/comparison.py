"""Theory beside simulation, as `olsbn.compare` found them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch

from olsbn.maps import cell_edges, map_of, marks
from olsbn.plotting.cells import border, rectangles
from olsbn.plotting.look import HATCH_COLOR, approximate, cased, is_narrow, new_axes, put_legend, put_title, tight
from olsbn.plotting.maps import axis_label, plain
from olsbn.quantity import QUANTITIES
from olsbn.results.comparison import REASONS
from olsbn.results.datasets import check_variables
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# What a cell of `olsbn.compare` is drawn as: colour by what was found, vermilion where theory says otherwise. They
# differ in lightness as well.
_FOUND = {Status.CONVERGED: "#2f7fb5", Status.MAX_STEPS: "#f0ead2", Status.DIVERGED: "#bdbdbd"}

_OTHER, _WRONG, _POINT = "#8c8c8c", "#d55e00", "#0072b2"


def plot_comparison(ds: xr.Dataset, ax: Axes | None = None, *, title: bool | str = True, legend: bool = True) -> Axes:
    r"""Draw theory beside simulation, as `olsbn.compare` found them.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.compare` over eps, or over eps and another parameter. With two dims: a map of the statuses
        found, with an outline of the cells that were predicted to converge. With ``(eps,)``: the final effective rate
        of every cell, and the predicted one as a line; for methods without such a law, as GD, ``|ln rho|`` of the
        contraction ratio, which falls to 0 where convergence ends.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    title, legend : bool, optional
        Whether to have them; a title may be a text of your own.

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
    check_variables(ds, "a result of compare", ("status", "status_theory", "status_check", "rate_check"))
    if "eps" not in ds["status"].dims:
        raise ValueError(f"ds must have the dim eps, got the dims {', '.join(map(str, ds['status'].dims)) or 'none'}")
    ds = map_of(ds)
    dims = ds["status"].dims
    alone = ax is None
    if ax is None:
        ax = new_axes((6.4, 5.4) if len(dims) == 2 else (6.4, 4.4))
    narrow = is_narrow(ax.figure if alone else ax)  # type: ignore[arg-type]
    keys = _comparison_map(ds, ax) if len(dims) == 2 else _comparison_line(ds, ax)
    if narrow:  # the symbol alone
        ax.set_ylabel(re.sub(r"^[^$]*(\$[^$]*\$).*$", r"\1", ax.get_ylabel()))
    ax.set_xlabel(axis_label(ds, str(dims[-1])))
    what = "status" if len(dims) == 2 else "rate" if "eps_eff_check" not in ds else "eps_eff"
    check = ds[f"{what}_check"].values
    agree, compared = int((check == 1).sum()), int(((check == 0) | (check == 1)).sum())
    counted = f"{agree} of {compared} cells away from predicted edges agree"
    head = plain(str(ds.attrs.get("title", "")), 120)
    put_title(
        ax,
        re.sub(r" \([^()]*\)$", "", head) if narrow else f"{head}\n{ds.attrs.get('n_steps')} steps; {counted}",
        title,
    )
    put_legend(ax, keys, alone, legend)
    return ax


def _comparison_map(ds: xr.Dataset, ax: Axes) -> list[Any]:
    up, across = (str(d) for d in ds["status"].dims)
    (x, x_log), (y, y_log) = cell_edges(ds[across].values), cell_edges(ds[up].values)
    status, check = ds["status"].values, ds["status_check"].values
    keys: list[Any] = []
    ax.set_xscale("log" if x_log else "linear")
    ax.set_yscale("log" if y_log else "linear")

    def fill(mask: np.ndarray, label: str, **look: Any) -> None:
        if mask.any():
            ax.add_patch(PathPatch(rectangles(mask, x, y), linewidth=0, **look))
            keys.append(Patch(linewidth=0, label=f"{label}: {mask.sum()}", **look))

    for code in Status:
        fill(status == code, code.label.replace("_", " "), facecolor=_FOUND.get(code, _OTHER), zorder=1.0)
    hatched: dict[str, Any] = {"fill": False, "edgecolor": HATCH_COLOR, "zorder": 1.1}
    fill(check == 2, "near a predicted edge", hatch="////", **hatched)
    fill(check == -1, "no prediction", hatch="....", **hatched)
    fill(check == 0, "not as predicted", facecolor=_WRONG, zorder=1.2)
    outline = border(ds["status_theory"].values == Status.CONVERGED, x, y)
    ax.add_patch(PathPatch(outline, fill=False, zorder=1.3, **cased(tight())))
    keys.insert(0, Line2D([], [], **cased(tight()), label="theory: converges inside"))
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), ylabel=axis_label(ds, up))
    return keys


def _comparison_line(ds: xr.Dataset, ax: Axes) -> list[Any]:
    what = "eps_eff" if "eps_eff_theory" in ds else "rate"
    theory, found = ("eps_eff_theory", "eps_eff") if what == "eps_eff" else ("rate_theory", "rate_sim")
    eps, codes = ds["eps"].values, ds[f"{what}_check"].values
    with np.errstate(all="ignore"):
        value, predicted = (np.where(ds[name].values > 0, ds[name].values, np.nan) for name in (found, theory))
        if what == "rate":
            value, predicted = np.abs(np.log(value)), np.abs(np.log(predicted))
    ax.set(xscale="log", yscale="log")
    keys = ax.plot(eps, predicted, **(tight() if what == "rate" else approximate()), zorder=1.1, label="theory")
    looks: dict[int, tuple[str, dict[str, Any]]] = {
        1: ("as predicted", {"color": _POINT}),
        2: ("near a predicted edge", {"color": _POINT, "markerfacecolor": "white"}),
        -1: ("not compared", {"color": _OTHER, "markersize": 3}),
        0: ("not as predicted", {"color": _WRONG, "marker": "X", "markersize": 7}),
    }
    for code, (label, look) in looks.items():
        here = (codes == code) & np.isfinite(value)
        count = int((codes == code).sum())
        point: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none", "zorder": 1.2, **look}
        if here.any():
            (key,) = ax.plot(eps[here], value[here], **point)
        elif count and code == -1:
            key = Line2D([], [], **point)
        else:
            continue
        why = _reasons(ds, what) if code == -1 else ""
        key.set_label(f"{label}: {count}" + (f" ({why})" if why else ""))
        keys.append(key)
    if what == "rate":
        for edge in (value for mark in marks(ds) if mark.param == "eps" and mark.exact for value in mark.values):
            if eps[0] < edge < eps[-1]:
                keys.append(
                    ax.axvline(edge, **approximate() | {"color": HATCH_COLOR}, label="converges to the left only")
                )
        ax.set_ylabel(r"$|\ln \rho|$, $\rho$: contraction ratio of $\sqrt{\mathrm{excess}}$")
    else:
        ax.set_ylabel(QUANTITIES["eps_eff"].label)
    return keys


def _reasons(ds: xr.Dataset, what: str) -> str:
    """Return why cells were not compared, each reason with its number of cells, of those that are drawn."""
    if f"{what}_reason" not in ds:
        return ""
    codes, numbers = np.unique(ds[f"{what}_reason"].values, return_counts=True)
    return ", ".join(f"{n} {REASONS[code].replace('_', ' ')}" for code, n in zip(codes, numbers, strict=True) if code)
