"""What belongs to a map besides its picture: default windows, where cells lie, what theory marks on it, a summary."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.problems import OLSProblem

# 50 a decade, such that the edge eps_a = 2 lies between two rows of cells.
EPS_A = 2 * 10**-3.29, 2 * 10**0.29, 180, True

# Matplotlib needs room for margins at both ends of the range of float64.
DRAWABLE = (1e-290, 1e290)


def default_eps(problem: OLSProblem, steps: int, tol: float) -> np.ndarray:
    """Return learning rates around everything that theory says happens: whole decades, 25 cells each."""
    from olsbn.theory import effective_rate_regimes, eps_window, spectral_report

    regimes = effective_rate_regimes(problem)
    marks = [spectral_report(problem).eps_max, regimes.eps_1, regimes.eps_2]
    if 0 < tol < 1 and steps >= 1:
        marks += [
            end for m in ("gd", "bngd") for w in [eps_window(problem, tol, steps, m)] for end in (w.lower, w.upper)
        ]
    decades = [math.log10(mark) for mark in marks if 0 < mark < math.inf]
    lo, hi = max(math.floor(min(decades) - 0.5), -300), min(math.ceil(max(decades) + 0.5), 300)
    return np.logspace(lo, hi, 25 * (hi - lo) + 1)


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
    edges = np.exp(np.clip(edges, *np.log(DRAWABLE))) if log else np.maximum(edges, 0.0)
    if not ((np.diff(edges) > 0).all() and edges[-1] < np.inf):
        low, high = DRAWABLE
        raise ValueError(f"coordinates of a map must lie in [{low:g}, {high:g}], got {x[0]:g} to {x[-1]:g}")
    return edges, log


def map_of(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset over (eps_a, eps) or (eps,) in this order, its coordinates ascending."""
    dims = [str(d) for d in ds["status"].dims]
    if set(dims) not in ({"eps_a", "eps"}, {"eps"}):
        picks = ", ".join(f"{d}=0" for d in dims if d not in ("eps_a", "eps"))
        hint = f" (select with ds.isel({picks}))" if picks else ""
        raise ValueError(f"ds must have the dims (eps_a, eps) or (eps,), got ({', '.join(dims)}){hint}")
    ds = ds.sortby([d for d in dims if (np.diff(ds[d].values) < 0).any()])
    return ds.transpose(*(d for d in ("eps_a", "eps") if d in dims))


def of_one_dimension(ds: xr.Dataset, quantity: str) -> xr.Dataset:
    """Return the map of one dimension, as its median trials have it, with the medians of what theory says beside."""
    from olsbn.results.datasets import problems_of, source_of
    from olsbn.results.measures import median_trial
    from olsbn.theory.facts import theory_attrs

    problems = [problem for _, problem in problems_of(ds, source_of(ds))]
    ds = median_trial(ds.load(), quantity) if "trial" in ds.dims else ds.load()
    if problems:
        found = [theory_attrs(problem) for problem in problems]
        for name in found[0]:
            ds.attrs[name] = statistics.median(facts[name] for facts in found if name in facts)
        trial = ds.coords["trial"].item() if "trial" in ds.coords else ds.attrs.get("trial")
        ds.attrs["problem"] = problems[0].label + (f", trial {trial}" if trial is not None else "")
        ds.attrs["rank"] = problems[0].dim
    return ds


def summary(problem: OLSProblem, ds: xr.Dataset) -> str:
    """Return what a map shows, in a few lines."""
    from olsbn import schema
    from olsbn.theory import eps_window, spectral_report

    report = spectral_report(problem)
    steps, tol, eps = ds.attrs["n_steps"], ds.attrs["tol"], ds.eps.values
    edges, log = cell_edges(eps)
    row = ds.sel(eps_a=1.0, method="nearest")
    lines = []
    for method, status in (("BNGD", ds.status), ("GD", ds.gd_status)):
        counts = [(s.label.replace("_", " "), int((status == s).sum())) for s in schema.Status]
        found = ", ".join(f"{count} {name}" for name, count in counts if count)
        lines.append(f"{method:<11} {status.size} cells: {found}")
    lines.append(f"learning rates that reach a relative excess of {tol:g} within {steps} steps:")
    for method, status, where in (
        ("bngd", row.status, f" at eps_a = {float(row.eps_a):.3g}"),
        ("gd", ds.gd_status, ""),
    ):
        good = (status == schema.Status.CONVERGED).values
        measured = "none on this grid"
        if good.any():
            first, last = np.flatnonzero(good)[[0, -1]]
            width = f"{np.diff(np.log10(edges))[good].sum():.2f} decades, " if log else ""
            measured = f"{width}{edges[first]:.3g} to {edges[last + 1]:.3g}"
            measured += "" if good[first : last + 1].all() else " with gaps"
            measured += ", cut off by the grid" if good[0] or good[-1] else ""
        theory = "nothing to predict"
        if steps:
            window = eps_window(problem, tol, steps, method)
            theory = f"theory: {window.decades:.2f} decades" + (" at eps_a = 1" if method == "bngd" else "")
            theory = theory if window.reliable else "theory: no reliable prediction for so few steps"
        lines.append(f"  {method.upper():<9} {measured}{where} ({theory})")
    lines.append("best contraction ratio of sqrt(excess) a step, on the grid and in theory over all learning rates:")
    for name, best in (("BNGD", report.rate_bngd_opt), ("GD", report.rate_gd_opt)):
        prefix = "gd_" if name == "GD" else ""
        steady = ds[f"{prefix}status"].isin([schema.Status.CONVERGED, schema.Status.MAX_STEPS])
        rate = ds[f"{prefix}rate_sim"].where(steady & (ds[f"{prefix}rate_sim"] < 1))
        measured = _ratio(float(rate.min())) if np.isfinite(rate).any() else "none measured"
        lines.append(f"  {name:<9} {measured} (theory: {_ratio(best)})")
    return "\n".join(lines)


def _ratio(rate: float) -> str:
    """Return a contraction ratio as text; one close to 1 by its distance from 1."""
    return f"{rate:.6g}" if not 0.999 < rate < 1 else f"1 - {1 - rate:.4g}"
