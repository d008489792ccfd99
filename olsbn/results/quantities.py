"""Quantities of a result: which it has, and those that follow from what is stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import nearest
from olsbn.dynamics.registry import METHODS
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.quantity import DERIVED, QUANTITIES, Derived, Quantity
from olsbn.results.datasets import check_dataset, check_no_medians, has_laws, problems_of, source_of
from olsbn.theory.facts import theory_attrs

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.dynamics.base import Method

_SQUARE = "(unit of the target)^2"


def quantities() -> dict[str, Quantity]:
    r"""Return every quantity by name: stored and derived ones, and the methods' own.

    Returns
    -------
    dict of str to Quantity
        Stored ones are a `olsbn.quantity.Column`, derived ones a `olsbn.quantity.Derived`.

    Examples
    --------
    >>> import olsbn
    >>> found = olsbn.quantities()
    >>> found["eps_eff"].unit, found["eps_eff_ratio"].needs
    ('1', ('eps_eff',))
    """
    own = {name: column for method in METHODS.values() for name, column in method.variables.items()}
    return {**QUANTITIES, **own}


def derive(ds: xr.Dataset, *names: str, problem: OLSProblem | ProblemFamily | None = None) -> xr.Dataset:
    """Add derived quantities to a result.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep`, `olsbn.run` or `olsbn.compare`, or a part of one.
    *names : str
        Names from `olsbn.quantities`. What `ds` has already stays.
    problem : OLSProblem or ProblemFamily, optional
        What it was made of; needed only for a single problem where the result lacks a fact of it.

    Returns
    -------
    xarray.Dataset
        `ds` with the quantities as variables, over the dims of what they are made of.

    Raises
    ------
    ValueError, TypeError
        For a name that is not a quantity, a result that lacks what it is made of, and a fact that is not known: the
        edge of stability is that of neutral parameters, and not all methods have one.

    Notes
    -----
    Each is an identity in the stored numbers and the facts of the problem. Cost: O(cells), and for a family a spectral
    report of each problem, where facts of it are needed.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ds = olsbn.derive(olsbn.sweep(problem, eps=[0.1, 1e4], n_steps=50), "decades", "eps_eff_ratio")
    >>> ds.decades.dims, bool((ds.eps_eff_ratio < 1).all())
    (('eps',), True)
    """
    check_dataset(ds)
    todo = [name for name in names if name not in ds.variables]
    fact = _facts(ds, problem)
    for name in todo:
        found = _known(ds, name)
        if missing := [need for need in found.needs if need not in ds]:
            raise ValueError(f"{name} is made of {', '.join(found.needs)}, got a result without {', '.join(missing)}")
        values = found.of(ds, fact)
        if set(values.dims) <= set(ds[found.needs[0]].dims):
            values = values.transpose(*[d for d in ds[found.needs[0]].dims if d in values.dims])
        ds = ds.assign({name: values.assign_attrs(found.attrs() | _unit(ds, found))})
    return ds


def _known(ds: xr.Dataset, name: str) -> Derived:
    found = QUANTITIES.get(name)
    if isinstance(found, Derived):
        return found
    if found is None:
        nearest("quantity", name, quantities_of(ds))
    raise ValueError(f"quantity must be one of {', '.join(quantities_of(ds))}, got {name!r}")


def _unit(ds: xr.Dataset, found: Derived) -> dict[str, str]:
    """Return the unit where it is that of the target, which the result may name."""
    if found.unit != _SQUARE:
        return {}
    unit = ds.attrs.get("target_unit")
    return {"units": f"({unit})^2" if unit else "1"}


def quantity_of(ds: xr.Dataset, name: str) -> Quantity:
    """Return what is known of a quantity of a result, of one that nothing names from its attributes."""
    method = method_of(ds)
    own = method.variables if method else {}
    found = own.get(name) or QUANTITIES.get(name)
    if found is not None:
        return found
    about = ds[name].attrs
    scale = "linear" if ds[name].dtype.kind in "if" else ""
    return Quantity(name, str(about.get("symbol", name)), str(about.get("long_name", name)), scale=scale)


def quantities_of(ds: xr.Dataset) -> list[str]:
    """Return the quantities that a result has or that follow from it, those that colours can show."""
    stored = [str(name) for name in ds.data_vars if quantity_of(ds, str(name)).scale]
    here = [one.name for one in DERIVED if one.name not in stored and all(need in ds for need in one.needs)]
    return stored + here


def with_quantity(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Return a result that has a quantity which colours can show: the same if it has it, else with it derived."""
    check_dataset(ds)
    if name in ds.data_vars and quantity_of(ds, name).scale:
        return ds
    return derive(ds, nearest("quantity", name, quantities_of(ds)))


def method_of(ds: xr.Dataset) -> Method | None:
    """Return the method of a result, None where the package that brings it is not installed."""
    return METHODS.get(str(ds.attrs.get("method")))


def _facts(ds: xr.Dataset, problem: Any) -> Callable[[str], Any]:
    """Return a function that returns a number of the problem by name, over (dim, trial) for several problems."""
    import xarray as xr

    source = source_of(ds, problem)
    found: dict[str, Any] = {}

    def made() -> dict[str, Any]:
        if not found:
            check_no_medians(ds)
            axes = [name for name in ("dim", "trial") if name in ds.dims]
            shape = [ds.sizes[name] for name in axes]
            coords = {name: ds[name] for name in axes}
            for at, one in problems_of(ds, source):
                for name, value in theory_attrs(one).items():
                    table = found.setdefault(name, xr.DataArray(np.full(shape, math.nan), coords, axes))
                    table[at] = value
        return found

    def fact(name: str) -> Any:
        if name == "tells_sigma":
            method = method_of(ds)
            return method is not None and method.theory.tells_sigma
        if name == "edge":
            name = _edge(ds)
        if source is None and name in ds.attrs:
            return float(ds.attrs[name])
        if name not in made():
            raise ValueError(f"the problem must be given for its {name}, which this result does not hold")
        return made()[name]

    return fact


def _edge(ds: xr.Dataset) -> str:
    method = method_of(ds)
    if method is None or not method.theory.edge[0]:
        raise ValueError(f"the method must have an edge of stability, got {ds.attrs.get('method')}")
    if not has_laws(ds, method):
        raise ValueError(
            "the edge of stability is that of runs without momentum, decay or schedules, got a result with them"
        )
    return method.theory.edge[0]
