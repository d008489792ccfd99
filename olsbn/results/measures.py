"""Measures of a sweep: how robust convergence is to the learning rate, and statistics over trials."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn._validate import as_real, as_vector
from olsbn.dynamics.registry import BASELINE, METHODS, method_named
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.results.datasets import (
    check_dataset,
    check_no_medians,
    check_variables,
    has_laws,
    problems_of,
    source_of,
)
from olsbn.results.quantities import with_quantity

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.dynamics.predictions import Theory

# name -> (long_name, units) of what `robustness` returns
_MEASURES = {
    "width_decades": ("longest range of learning rates that reach tol, without a gap", "decades"),
    "width_total_decades": ("all learning rates that reach tol, gaps left out", "decades"),
    "eps_lower": ("lower end of the longest range", "1"),
    "eps_upper": ("upper end of the longest range", "1"),
    "at_edge": ("whether the range ends where the grid does (1): the width is then a lower bound", "1"),
    "margin_decades": (
        "distance from the default learning rate to the range's nearer end, negative outside",
        "decades",
    ),
    "rate_best": ("smallest measured contraction ratio of sqrt(excess) a step, NaN where no run came to one", "1"),
    "eps_best": ("learning rate that has it", "1"),
    "steps_best": ("fewest steps to tol, -1 where none", "1"),
    "eps_fastest": ("learning rate that needs them, NaN where none reaches tol", "1"),
    "n_not_run": ("cells that were not run", "1"),
    "gd_width_decades": ("the same range for plain GD", "decades"),
    "width_gain_decades": ("width_decades less gd_width_decades", "decades"),
    "width_ratio": ("width_decades over gd_width_decades", "1"),
    "width_theory": ("predicted range that reaches tol (for BNGD asymptotic and for eps_a = 1)", "decades"),
    "window_reliable": ("whether width_theory is to be relied on (1), see EpsWindow.reliable", "1"),
    "plateau_theory": ("predicted width of the plateau of eps_eff, log10(eps_2/eps_1)", "decades"),
    "rate_best_theory": ("best contraction ratio of any learning rate", "1"),
}


def robustness(
    ds: xr.Dataset,
    problem: OLSProblem | ProblemFamily | None = None,
    *,
    gd: xr.Dataset | None = None,
    default: float = 0.1,
) -> xr.Dataset:
    r"""Measure how robust convergence is to the learning rate, for every dimension and trial.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep`, of any method and axes, over at least two different ``eps > 0``.
    problem : OLSProblem or ProblemFamily, optional
        What was swept, for the theory beside. Default: the family that ``ds.attrs`` tells of; for a single problem
        there is then no theory.
    gd : xarray.Dataset, optional
        A sweep of GD over the same dimensions and trials. Default: GD's width by its closed form, an identity.
    default : float, optional
        The learning rate that a user would start with, > 0.

    Returns
    -------
    xarray.Dataset
        Dims of `ds` without ``eps`` (of recorded steps the last counts). Variables: `width_decades`,
        `width_total_decades`, `eps_lower`, `eps_upper`, `at_edge`, `margin_decades`, `rate_best`, `eps_best`,
        `steps_best`, `eps_fastest`, `n_not_run`; `rate_best` and `eps_best` are NaN where no run has come to a steady
        rate, which takes more steps than the tolerance does. With theory also `gd_width_decades`, `width_gain_decades`,
        `width_ratio`, `width_theory`, `window_reliable`, `plateau_theory` (where the method has one),
        `rate_best_theory` over ``(dim, trial)``: NaN where theory says nothing, of the method or of its parameters
        other than eps and eps_a.

    Raises
    ------
    ValueError, TypeError
        For a Dataset that is not such a sweep, or a problem that is not the one swept.

    Notes
    -----
    A learning rate is good if the relative excess is at most tol where the cell stops. On the grid it stands for the
    interval up to the geometric mean with its neighbours, and at the ends of the grid for half of that; so a width is
    right to one spacing of the grid. `width_theory` is `eps_window`: an identity for GD, asymptotic for BNGD with
    eps_a = 1 (NaN where the large-eps law fails). Cost: O(cells), and O(d) times some 300 for each problem.

    Examples
    --------
    >>> import numpy as np, olsbn
    >>> family = olsbn.ProblemFamily("linspace", cond=10.0)
    >>> ds = olsbn.sweep(family, dim=[5, 50], trial=[0, 1], eps=np.logspace(-4, 6, 81), n_steps=1000, tol=1e-3)
    >>> found = olsbn.robustness(ds)
    >>> found.width_decades.dims, bool((found.width_gain_decades > 1).all())
    (('dim', 'trial'), True)
    """
    import xarray as xr

    default = as_real("default", default)
    if default <= 0:
        raise ValueError(f"default must be > 0, got {default!r}")
    columns = _measured(ds, default)
    dims = [d for d in ds["status"].dims if d != "eps"]
    source = source_of(ds, problem)
    if source is not None:
        columns |= _predicted(ds, source)
    if gd is not None:
        columns["gd_width_decades"] = _measured(gd, default)["width_decades"]
    if "gd_width_decades" in columns:
        width, gd_width = xr.broadcast(columns["width_decades"], columns["gd_width_decades"])
        columns["width_gain_decades"] = width - gd_width
        with np.errstate(all="ignore"):
            columns["width_ratio"] = width / gd_width
    for name, values in columns.items():
        long_name, units = _MEASURES[name]
        columns[name] = values.transpose(*[d for d in dims if d in values.dims]).assign_attrs(
            long_name=long_name, units=units
        )
    kept = ("title", "method", "n_steps", "tol", "sweep_fingerprint", "olsbn_version")
    return xr.Dataset(columns, attrs={k: ds.attrs[k] for k in kept if k in ds.attrs} | {"default_eps": default})


def over_trials(ds: xr.Dataset, quantiles: Any = (0.1, 0.5, 0.9), over: str = "trial") -> xr.Dataset:
    """Return quantiles and counts over the trials of a sweep, or of what `robustness` returns; or over another axis.

    Parameters
    ----------
    ds : xarray.Dataset
        With the dim `over`.
    quantiles : array_like, optional
        In [0, 1].
    over : str, optional
        The axis, such as the ``replicate`` of mini-batches.

    Returns
    -------
    xarray.Dataset
        For each variable over it its quantiles (dim ``quantile``) and, as ``<name>_count``, of how many trials:
        NaN, and -1 for a number of steps, do not take part. For `status` how many trials ended in each way (dim
        ``flag``), for what is true or false, as `by_rounding`, only how many it is true of.

    Examples
    --------
    >>> import olsbn
    >>> ds = olsbn.sweep(olsbn.ProblemFamily("identity"), dim=3, trial=range(5), eps=[0.1, 1.0], n_steps=50)
    >>> found = olsbn.over_trials(ds)
    >>> found.excess.sizes["quantile"], found.excess_count.values.tolist()
    (3, [5, 5])
    """
    import xarray as xr

    _check_dim(ds, over)
    q = as_vector("quantiles", quantiles)
    if (q < 0).any() or (q > 1).any():
        raise ValueError(f"quantiles must lie in [0, 1], got {q.tolist()}")
    found: dict[str, Any] = {}
    for name, values in ds.data_vars.items():
        if over not in values.dims:
            found[str(name)] = values
        elif name == "status":
            flags = xr.DataArray(schema.FLAG_VALUES, dims="flag", coords={"flag": [s.label for s in schema.Status]})
            found["status_count"] = (values == flags).sum(over).transpose("flag", ...)
        elif values.dtype == bool:
            found[f"{name}_count"] = values.sum(over)
        else:
            if str(name).startswith("steps_"):
                values = values.where(values >= 0)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
                found[str(name)] = values.quantile(q, over, keep_attrs=True)
            found[f"{name}_count"] = values.notnull().sum(over)
    return xr.Dataset(found, attrs=ds.attrs | {f"n_{over}s": ds.sizes[over]})


def median_trial(ds: xr.Dataset, by: str = "excess") -> xr.Dataset:
    """Return every cell of a sweep as its median trial has it: the middle one by a variable, the lower of two.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep` with a dim ``trial``.
    by : str, optional
        The quantity that ranks the trials, stored or derived: a name from `olsbn.quantities`.

    Returns
    -------
    xarray.Dataset
        Without the dim; all variables of a cell are of one and the same trial. By excess, a cell is converged if at
        least half of its trials got that far. Trials without such a number rank last (by status where they are equal);
        trials that were not run do not count. ``attrs`` has `n_trials` and, over all of them, `n_not_run` cells.

    Examples
    --------
    >>> import olsbn
    >>> ds = olsbn.sweep(olsbn.ProblemFamily("identity"), dim=3, trial=range(5), eps=[0.1, 1.0], n_steps=50)
    >>> found = olsbn.median_trial(ds)
    >>> found.excess.dims, bool((found.excess == ds.excess.median("trial")).all())
    (('eps',), True)
    """
    _check_dim(ds, "trial")
    ds = with_quantity(ds, by)
    status = ds["status"].transpose("trial", ...)
    number = ds[by].transpose(*status.dims).values.astype(np.float64)
    not_run = status.values == schema.Status.NOT_RUN
    lost = ~np.isfinite(number) | ((number < 0) if ds[by].dtype.kind == "i" else False)
    order = np.lexsort((status.values, np.where(lost, np.inf, number), not_run), axis=0)
    middle = np.maximum((~not_run).sum(axis=0) - 1, 0) // 2
    chosen = status[0].drop_vars("trial", errors="ignore").copy(data=np.take_along_axis(order, middle[None], 0)[0])
    found = ds.isel(trial=chosen).drop_vars("trial", errors="ignore").transpose(*status.dims[1:])
    return found.assign_attrs(n_trials=ds.sizes["trial"], n_not_run=int(not_run.sum()))


def bands(ds: xr.Dataset) -> xr.Dataset:
    """Return what a picture of robustness against an axis shows: medians and quantiles over the trials.

    Parameters
    ----------
    ds : xarray.Dataset
        What `robustness` returns, or a sweep over eps and another axis, which is put through it.

    Returns
    -------
    xarray.Dataset
        That of `over_trials`, of one trial where there is no such axis. ``attrs`` has how many ranges there are
        (`n_ranges`), how many of them the grid cuts off (`n_cut`), and how many cells were not run (`n_not_run`).
    """
    check_dataset(ds)
    if "width_decades" not in ds:
        check_variables(ds, "a sweep over eps", ("eps", "status"))
        ds = robustness(ds)
    if not [name for name in ds["width_decades"].dims if name != "trial"]:
        raise ValueError("ds must have an axis besides eps and trial, got none")
    cut, missing = (int(ds[name].sum()) if name in ds else 0 for name in ("at_edge", "n_not_run"))
    found = over_trials(ds if "trial" in ds.dims else ds.expand_dims("trial"))
    return found.assign_attrs(n_ranges=ds["width_decades"].size, n_cut=cut, n_not_run=missing)


def _check_dim(ds: Any, name: str) -> None:
    check_dataset(ds)
    if name not in ds.dims:
        raise ValueError(f"ds must have the dim {name!r}, got the dims {', '.join(map(str, ds.dims)) or 'none'}")


# -------------------------------------------------------------------- measured


def _measured(ds: xr.Dataset, default: float) -> dict[str, xr.DataArray]:
    import xarray as xr

    check_no_medians(ds)
    for name in ("status", "excess", "steps_to_tol"):
        if name not in getattr(ds, "data_vars", ()):
            raise ValueError(f"ds must be a result of olsbn.sweep, got none with the variable {name!r}")
    if "eps" not in ds["status"].dims:
        raise ValueError("ds must have the dim 'eps', got a sweep at a single learning rate")
    if "step" in ds.dims:  # of recorded steps the last
        ds = ds.isel(step=-1, drop=True)
    order = np.argsort(ds["eps"].values, kind="stable")
    order = order[ds["eps"].values[order] > 0]
    eps = ds["eps"].values[order]
    if np.unique(eps).size < 2:
        raise ValueError(f"ds must have at least two different eps > 0, got {eps.tolist()}")
    x = np.log10(eps)
    edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])

    rest = [d for d in ds["status"].dims if d != "eps"]

    def values(name: str) -> np.ndarray:
        return np.asarray(ds[name].transpose(*rest, "eps").values[..., order])

    status, steps = values("status"), values("steps_to_tol")
    rates = values("rate_sim") if "rate_sim" in ds else np.full(status.shape, np.nan)
    good = (status == schema.Status.CONVERGED) & (values("excess") <= ds.attrs["tol"])
    shape = good.shape[:-1]
    start, end = np.zeros(shape, int), np.zeros(shape, int)
    for where in np.ndindex(shape):
        jumps = np.flatnonzero(np.diff(np.concatenate([[0], good[where].astype(int), [0]])))
        runs = jumps.reshape(-1, 2)
        if runs.size:
            start[where], end[where] = runs[np.argmax(edges[runs[:, 1]] - edges[runs[:, 0]])]
    some = end > start
    lower, upper = np.where(some, edges[start], np.nan), np.where(some, edges[end], np.nan)
    at = np.log10(default)
    rates = np.where(good & np.isfinite(rates), rates, np.inf)
    best = rates.argmin(axis=-1)
    rate = np.take_along_axis(rates, best[..., None], axis=-1)[..., 0]
    few = np.where(good, steps, np.iinfo(np.int64).max).min(axis=-1)
    none = np.where((status == schema.Status.NOT_RUN).all(axis=-1), np.nan, 0.0)  # nothing ran: no width, not 0
    columns = {
        "width_decades": np.where(some, edges[end] - edges[start], none),
        "width_total_decades": (good * np.diff(edges)).sum(axis=-1) + none,
        "eps_lower": 10**lower,
        "eps_upper": 10**upper,
        "at_edge": (some & ((start == 0) | (end == eps.size))).astype(np.int8),
        "margin_decades": np.minimum(at - lower, upper - at),
        "rate_best": np.where(np.isfinite(rate), rate, np.nan),
        "eps_best": np.where(np.isfinite(rate), eps[best], np.nan),
        "steps_best": np.where(some, few, -1),
        "eps_fastest": np.where(some, eps[np.where(good, steps, np.iinfo(np.int64).max).argmin(axis=-1)], np.nan),
        "n_not_run": (status == schema.Status.NOT_RUN).sum(axis=-1),
    }
    coords = {d: ds[d] for d in rest if d in ds.coords}
    return {name: xr.DataArray(column, dims=rest, coords=coords) for name, column in columns.items()}


# -------------------------------------------------------------------- predicted


def _predicted(ds: xr.Dataset, source: OLSProblem | ProblemFamily) -> dict[str, xr.DataArray]:
    import xarray as xr

    method, n_steps, tol = method_named(ds.attrs["method"]), int(ds.attrs["n_steps"]), float(ds.attrs["tol"])
    theory, laws = method.theory, has_laws(ds, method)
    axes = [d for d in ("dim", "trial") if d in ds.dims]
    names = ["gd_width_decades", "width_theory", "window_reliable"]
    names += [*(["plateau_theory"] if theory.regimes else []), "rate_best_theory"]
    table = np.full((len(names), *(ds.sizes[d] for d in axes)), np.nan)
    for at, problem in problems_of(ds, source):
        column = _width(METHODS[BASELINE].theory, problem, tol, n_steps)[:1]
        if laws:
            column += _width(theory, problem, tol, n_steps)
            column += [theory.regimes(problem).decades] if theory.regimes else []
            column += [theory.best_rates(problem).best]
        index: Any = (slice(len(column)), *(at[d] for d in axes))
        table[index] = column
    coords = {d: ds[d] for d in axes}
    return {name: xr.DataArray(values, dims=axes, coords=coords) for name, values in zip(names, table, strict=True)}


def _width(theory: Theory, problem: OLSProblem, tol: float, n_steps: int) -> list[float]:
    """Return the width of the predicted window and whether it is reliable.

    Where only a law gives the width, an end that is 0 or not known makes it NaN; an identity says 0 where no learning
    rate gets there.
    """
    if not n_steps or theory.window is None:
        return [np.nan, np.nan]
    window = theory.window(problem, tol, n_steps)
    known = theory.exact or np.isfinite([window.lower, window.upper]).all()
    return [window.decades if known else np.nan, float(window.reliable)]
