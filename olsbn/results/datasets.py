"""What a Dataset tells of itself: its variables, and the problems it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.problems import OLSProblem, ProblemFamily

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.dynamics.base import Method


def check_variables(ds: Any, what: str, names: tuple[str, ...]) -> None:
    """Refuse what is no Dataset, or one that lacks a variable."""
    check_dataset(ds)
    missing = [name for name in names if name not in ds.variables]
    if missing:
        raise ValueError(f"ds must be {what} with {', '.join(names)}, got a Dataset without {', '.join(missing)}")


def check_dataset(ds: Any) -> None:
    """Refuse what is no Dataset."""
    if not hasattr(ds, "data_vars"):
        raise TypeError(f"ds must be an xarray.Dataset, got {type(ds).__name__}")


def check_no_medians(ds: Any) -> None:
    """Refuse medians over trials where the trials themselves are needed."""
    if "n_trials" in getattr(ds, "attrs", ()):
        raise ValueError("ds must be a result of olsbn.sweep, got medians over its trials (take them of the measures)")


def source_of(ds: xr.Dataset, problem: Any = None) -> OLSProblem | ProblemFamily | None:
    """Return what a sweep was made of: `problem`, if it is that, else the family that the Dataset tells of.

    None if it tells of none: of a single problem a Dataset holds only the fingerprint.
    """
    facts = {key.removeprefix("family_"): value for key, value in ds.attrs.items() if key.startswith("family_")}
    family = ProblemFamily(**{key: _plain(value) for key, value in facts.items()}) if facts else None
    if problem is None:
        return family
    if not isinstance(problem, OLSProblem | ProblemFamily):
        raise TypeError(f"problem must be an OLSProblem or a ProblemFamily, got {type(problem).__name__}")
    if family is not None or isinstance(problem, ProblemFamily):
        if problem != family:
            was = family or f"none, for {ds.attrs.get('problem')} is a single problem"
            raise ValueError(f"problem must be the family that was swept, {was}, got {problem!r}")
        return problem
    want, got = str(ds.attrs.get("problem_fingerprint")), problem.fingerprint
    if got != want:
        raise ValueError(
            f"problem must be the one that was swept, {ds.attrs.get('problem')} with the fingerprint {want[:12]}, "
            f"got {got[:12]}"
        )
    return problem


def param_values(ds: xr.Dataset, method: Method) -> dict[str, np.ndarray]:
    """Return the values of a method's parameters by name: those of an axis a vector, others without axes."""
    return {
        param.name: np.asarray(ds[param.name].values if param.name in ds.coords else ds.attrs.get(param.name, default))
        for param, default in ((param, np.nan if param.default is None else param.default) for param in method.params)
    }


def has_laws(ds: xr.Dataset, method: Method) -> bool:
    """Whether all cells have the neutral values of the parameters other than eps and eps_a: what theory is for."""
    values = param_values(ds, method)
    return all(values[param.name].ndim == 0 and values[param.name] == param.default for param in method.further)


def place(ds: xr.Dataset, name: str) -> Any:
    """Return the dimensions or trials of a sweep: an axis, one picked from it, or what had no axis."""
    return np.atleast_1d(ds[name].values if name in ds.coords else ds.attrs.get(name, 0))


def problems_of(
    ds: xr.Dataset, source: OLSProblem | ProblemFamily | None
) -> Iterator[tuple[dict[str, int], OLSProblem]]:
    """Yield the problems of a sweep, one at a time, each with its place on those of the axes dim, trial that `ds` has.

    `source` is what `source_of` returns; of None there are none.
    """
    if source is None:
        return
    dims, trials = place(ds, "dim"), place(ds, "trial")
    for i, j in np.ndindex(dims.size, trials.size):
        problem = source if isinstance(source, OLSProblem) else source(int(dims[i]), int(trials[j]))
        yield {name: k for name, k in (("dim", i), ("trial", j)) if name in ds.dims}, problem


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
