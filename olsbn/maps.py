"""What belongs to a map besides its picture: where cells lie, what theory marks on it, a summary."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn._validate import FloatArray
from olsbn.quantity import AXES, mathtext

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.dynamics.base import Method
    from olsbn.dynamics.predictions import Mark
    from olsbn.problems import OLSProblem
    from olsbn.theory import EpsWindow

# 50 a decade, such that the edge eps_a = 2 lies between two rows of cells.
EPS_A = 2 * 10**-3.29, 2 * 10**0.29, 180, True

# Matplotlib needs room for margins at both ends of the range of float64.
DRAWABLE = (1e-290, 1e290)


_BESIDE = "_sweep_fingerprint"


def beside(ds: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Put another method's sweep beside one, on the same learning rates: its name stands before its variables."""
    prefix = str(other.attrs["method"])
    both = ds.assign({f"{prefix}_{name}": variable for name, variable in other.data_vars.items()})
    both.attrs |= {f"{prefix}{_BESIDE}": other.attrs["sweep_fingerprint"]}
    return both


def apart(ds: xr.Dataset) -> list[xr.Dataset]:
    """Undo `beside`: return the one or two sweeps of a Dataset."""
    from olsbn.dynamics.registry import METHODS

    name = next((str(key).removesuffix(_BESIDE) for key in ds.attrs if str(key).endswith(_BESIDE)), "")
    prefixed: list[Any] = [key for key in ds.data_vars if name and str(key).startswith(f"{name}_")]
    if not prefixed:
        return [ds]
    other = ds[prefixed].rename({key: str(key).removeprefix(f"{name}_") for key in prefixed})
    other.attrs = {**ds.attrs, "method": name}
    if "title" in ds.attrs:
        mine, its = METHODS[ds.attrs["method"]].title, METHODS[name].title
        other.attrs["title"] = str(ds.attrs["title"]).replace(mine, its, 1)
    other.attrs.pop("window", None)
    if f"{name}_window" in ds.attrs:
        other.attrs["window"] = ds.attrs[f"{name}_window"]
    return [ds.drop_vars(prefixed), other]


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
    edges = np.exp(np.clip(edges, *np.log(DRAWABLE))) if log else np.maximum(edges, 0.0)
    if not ((np.diff(edges) > 0).all() and edges[-1] < np.inf):
        low, high = DRAWABLE
        raise ValueError(f"coordinates of a map must lie in [{low:g}, {high:g}], got {x[0]:g} to {x[-1]:g}")
    return edges, log


def axes_of(ds: xr.Dataset, x: str | None = None, y: str | None = None) -> tuple[str, str | None]:
    """Return the names of a map's axes: those asked for, else eps across and eps_a, or the only other parameter, up."""
    dims = [str(d) for d in ds["status"].dims]
    dims += ["step"] if "step" in ds.dims else []
    for name, axis in (("x", x), ("y", y)):
        if axis is not None and axis not in dims:
            raise ValueError(f"{name} must be one of the dims {', '.join(dims) or '(none)'}, got {axis!r}")
    if x is not None and x == y:
        raise ValueError(f"x and y must be different dims, got {x!r} twice")
    if not dims:
        raise ValueError("ds must have an axis to be drawn, got a single cell")
    rest = [d for d in dims if d not in (x, y)]
    if x is None:
        x = "eps" if "eps" in rest else rest[-1] if rest else None
        if x is None:
            raise ValueError(f"ds must have another dim than y, got {', '.join(dims)}")
        rest.remove(x)
    params = [d for d in rest if d not in ("dim", "trial", "step")]
    if y is None and params:
        y = "eps_a" if "eps_a" in params else params[-1]
    return x, y


def map_of(ds: xr.Dataset, x: str | None = None, y: str | None = None) -> xr.Dataset:
    """Return a Dataset over (y, x), or over (x,) alone, in this order, its coordinates ascending."""
    dims = [str(d) for d in ds["status"].dims] + ["step"] * ("step" in ds.dims)
    x, y = axes_of(ds, x, y)
    found = [d for d in (y, x) if d is not None]
    others = [d for d in dims if d not in found]
    if others:
        picks = ", ".join(f"{d}=0" for d in others)
        raise ValueError(
            f"ds must have the dims ({', '.join(found)}) to be one map, got ({', '.join(dims)}) "
            f"(select with ds.isel({picks}))"
        )
    ds = ds.sortby([d for d in found if (np.diff(ds[d].values) < 0).any()])
    return ds.transpose(*found)


def at_step(ds: xr.Dataset, step: int) -> xr.Dataset:
    """Return a sweep with recorded steps as it was after one of them: numbers and statuses of that step."""
    found = ds.sel(step=step).drop_vars("step").assign_attrs(n_steps=int(step))
    to_tol, last = found["steps_to_tol"], found["n_steps_run"]
    reached = (to_tol >= 0) & (to_tol <= step)
    ended = found["status"].isin([schema.Status.DIVERGED, schema.Status.NON_FINITE]) & (last <= step)
    fixed = ended | found["status"].isin([schema.Status.NOT_RUN, schema.Status.DEGENERATE])
    status = found["status"].where(fixed, np.where(reached, schema.Status.CONVERGED, schema.Status.MAX_STEPS))
    found["status"] = status.astype(np.int8).assign_attrs(ds["status"].attrs)
    found["steps_to_tol"] = to_tol.where(reached, -1).astype(to_tol.dtype).assign_attrs(to_tol.attrs)
    for name in ("rate_sim", "rate_theory"):  # of the end, not of this step
        if name in found and step < int(ds["step"].values.max()):
            found = found.drop_vars(name)
    return found


# A figure with more panels than this shows nothing any more.
MOST_PANELS = 24


def panels(
    ds: xr.Dataset, quantity: str = "excess", x: str | None = None, y: str | None = None
) -> list[tuple[str, xr.Dataset]]:
    """Cut a sweep of any dims into maps over (y, x), each with the text that tells it from the others.

    Of several trials a map shows the median one of each cell, unless the trial is an axis.
    """
    x, y = axes_of(ds, x, y)
    from olsbn.results.quantities import with_quantity

    ds = with_quantity(ds, quantity)
    dims = ["step"] * ("step" in ds[quantity].dims) + [str(d) for d in ds["status"].dims]
    rest = [d for d in dict.fromkeys(dims) if d not in (x, y, "trial")]
    number = math.prod(ds.sizes[d] for d in rest)
    if number > MOST_PANELS:
        sizes = " x ".join(f"{ds.sizes[d]} {d}" for d in rest)
        raise ValueError(f"a figure must have at most {MOST_PANELS} panels, got {sizes} = {number}: select some")
    found = []
    for where in np.ndindex(*(ds.sizes[d] for d in rest)):
        at = dict(zip(rest, where, strict=True))
        part = ds.isel({d: k for d, k in at.items() if d != "step"})
        if "step" in part.dims and "step" not in (x, y):
            part = at_step(part, int(ds["step"].values[at.get("step", -1)]))
        values = [(d, ds[d].values[k].item()) for d, k in at.items()]
        if "trial" not in (x, y) and "dim" not in (x, y):
            part = of_one_dimension(part, quantity)
        elif "trial" in part.dims and "trial" not in (x, y):
            from olsbn.results.measures import median_trial

            part = median_trial(part.load(), quantity)
        found.append((", ".join(f"${symbol(ds, d)} = {value:.6g}$" for d, value in values), part))
    return found


def symbol(ds: xr.Dataset | xr.DataArray, name: str) -> str:
    """Return an axis's symbol as mathtext, without dollar signs: a parameter's own."""
    from olsbn.dynamics.registry import METHODS

    method = METHODS.get(str(ds.attrs.get("method")))
    found = AXES.get(name) or next((param for param in (method.params if method else ()) if param.name == name), None)
    if found is not None:
        return found.mathtext
    return mathtext(str(ds[name].attrs.get("symbol", name)) if name in ds.coords else name)


def marks(ds: xr.Dataset) -> list[Mark]:
    """Return what theory marks on the axes of a sweep; what it knows is in the attributes.

    A method's marks are for the neutral values of its further parameters: where one has another, there are none.
    """
    from olsbn.dynamics.registry import METHODS
    from olsbn.results.datasets import has_laws

    method = METHODS.get(str(ds.attrs.get("method")))
    return list(method.theory.marks(ds.attrs)) if method and has_laws(ds, method) else []


def of_one_dimension(ds: xr.Dataset, quantity: str) -> xr.Dataset:
    """Return the map of one dimension, as its median trials have it, with the medians of what theory says beside."""
    from olsbn.results.datasets import problems_of, source_of
    from olsbn.results.measures import median_trial
    from olsbn.theory.facts import theory_attrs

    problems = [problem for _, problem in problems_of(ds, source_of(ds))]
    ds = median_trial(ds.load(), quantity) if "trial" in ds.dims else ds.load()
    ds = ds.assign_attrs()  # a part of a Dataset shares the attributes of the whole
    if problems:
        found = [theory_attrs(problem) for problem in problems]
        for name in found[0]:
            ds.attrs[name] = statistics.median(facts[name] for facts in found if name in facts)
        trial = ds.coords["trial"].item() if "trial" in ds.coords else ds.attrs.get("trial")
        ds.attrs["problem"] = problems[0].label + (f", trial {trial}" if trial is not None else "")
        ds.attrs["rank"] = problems[0].dim
    return ds


def add_windows(ds: xr.Dataset, problem: OLSProblem) -> None:
    """Put the predicted ranges that reach the tolerance into the attributes of a map, or of two side by side."""
    from olsbn.dynamics.registry import METHODS

    for i, part in enumerate(apart(ds)):
        window = _window(METHODS[part.attrs["method"]], problem, part)
        if window and window.reliable and 0 < window.lower < window.upper < math.inf:
            ds.attrs[f"{part.attrs['method']}_window" if i else "window"] = [window.lower, window.upper]


def _window(method: Method, problem: OLSProblem, ds: xr.Dataset) -> EpsWindow | None:
    """Return the predicted window, None where theory has none for these parameters."""
    from olsbn.results.datasets import has_laws

    law = method.theory.window if has_laws(ds, method) else None
    return law(problem, ds.attrs["tol"], ds.attrs["n_steps"]) if law and ds.attrs["n_steps"] else None


def counts(ds: xr.Dataset) -> str:
    """Return how the cells of a sweep ended, in a line."""
    status = ds["status"]
    ended = [(s.label.replace("_", " "), int((status == s).sum())) for s in schema.Status]
    text = ", ".join(f"{count} {label}" for label, count in ended if count)
    decided = ""
    for name, words in (("by_rounding", "decided by rounding"), ("resolved", "proved with more digits")):
        if name in ds and "step" not in ds.dims:  # of what has diverged no more is asked
            number = int((ds[name] & (status != schema.Status.DIVERGED)).sum())
            decided += f"; {number} {words}" if number else ""
    return f"{str(ds.attrs['method']).upper():<11} {status.size} cells: {text}{decided}"


def summary(problem: OLSProblem, ds: xr.Dataset) -> str:
    """Return what a map shows, in a few lines: a sweep of one problem, of any method and axes, or two side by side."""
    from olsbn.dynamics.registry import METHODS

    parts = [(METHODS[part.attrs["method"]], part) for part in apart(ds)]
    lines = [counts(part) for _, part in parts]
    if "eps" in ds["status"].dims:
        lines.append(
            f"learning rates that reach a relative excess of {ds.attrs['tol']:g} within {ds.attrs['n_steps']} steps:"
        )
        lines += [_width_line(method, problem, part) for method, part in parts]
    lines.append("best contraction ratio of sqrt(excess) a step, on the grid and in theory over all learning rates:")
    lines += [_rate_line(method, problem, part) for method, part in parts]
    return "\n".join([*lines, *(line for method, _ in parts for line in method.theory.remarks(problem))])


def _width_line(method: Method, problem: OLSProblem, ds: xr.Dataset) -> str:
    """Return the range of good learning rates, other parameters as near to their defaults as the grid has them."""
    row, where = ds.sortby("eps"), []
    for name in (str(d) for d in ds["status"].dims if d != "eps"):
        default = method.param(name).default
        row = row.isel({name: 0}) if default is None else row.sortby(name).sel({name: default}, method="nearest")
        where.append(f"{name} = {float(row[name]):.3g}")
    good = (row["status"] == schema.Status.CONVERGED).values
    measured = "none on this grid"
    if good.any():
        edges, log = cell_edges(row["eps"].values)
        first, last = np.flatnonzero(good)[[0, -1]]
        width = f"{np.diff(np.log10(edges))[good].sum():.2f} decades, " if log else ""
        digits = max(3, math.ceil(1 - math.log10(1 - edges[first] / edges[last + 1])))  # of a zoom more
        measured = f"{width}{edges[first]:.{digits}g} to {edges[last + 1]:.{digits}g}"
        measured += "" if good[first : last + 1].all() else " with gaps"
        measured += ", cut off by the grid" if good[0] or good[-1] else ""
    window = _window(method, problem, row)
    if not ds.attrs["n_steps"]:
        theory = "nothing to predict"
    elif window is None:
        theory = "no prediction"
    elif method.theory.exact:
        found = (
            "none" if not window.decades else f"{window.decades:.2f} decades, {window.lower:.6g} to {window.upper:.6g}"
        )
        return f"  {method.title:<9} {found} (exact; on this grid {measured})"
    elif window.reliable:
        theory = f"theory: {window.decades:.2f} decades{_scale(method)}"
    else:
        theory = "theory: not reliable near the plateau or the solution, or for few steps"
    return f"  {method.title:<9} {measured}{' at ' if where else ''}{', '.join(where)} ({theory})"


def _scale(method: Method) -> str:
    """Return at which learning rate of the scale theory is, for a method that has one."""
    return "".join(f" at eps_a = {param.default:g}" for param in method.params if param.name == "eps_a")


def _rate_line(method: Method, problem: OLSProblem, ds: xr.Dataset) -> str:
    from olsbn.results.datasets import has_laws

    measured = "none measured"
    if "rate_sim" in ds:
        steady = ds["status"].isin([schema.Status.CONVERGED, schema.Status.MAX_STEPS])
        rate = ds["rate_sim"].where(steady & (ds["rate_sim"] < 1))
        measured = schema.ratio(float(rate.min())) if np.isfinite(rate).any() else "none measured in so few steps"
    best, attained, why = method.theory.best_rates(problem)
    if math.isnan(best) or not has_laws(ds, method):
        theory = "no prediction"
    elif schema.ratio(attained) != schema.ratio(best):
        theory = (
            f"theory{_scale(method)}: not below {schema.ratio(attained)}, for {why}; "
            f"{schema.ratio(best)} would be the best over all eps_hat"
        )
    else:
        theory = f"theory: {schema.ratio(best)}"
    return f"  {method.title:<9} {measured} ({theory})"
