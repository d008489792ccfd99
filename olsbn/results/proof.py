"""Cells of a sweep, drawn at random, run again in ball arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import quantity
from olsbn._validate import as_count, as_real
from olsbn.certification import FACTS, NUMBERS, check_method, digits_attrs, number, proof_of
from olsbn.files import path_or_url
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.problems.reduction import reduce_for
from olsbn.results.datasets import check_no_medians, check_variables, source_of
from olsbn.schema import Status
from olsbn.sweeps.progress import Progress, meter
from olsbn.sweeps.store import is_store, open_store

if TYPE_CHECKING:
    import xarray as xr


def certify(
    ds: xr.Dataset,
    n: int = 100,
    seed: int = 0,
    *,
    problem: OLSProblem | ProblemFamily | None = None,
    rel: float = 1e-9,
    progress: Progress = None,
) -> xr.Dataset:
    r"""Run cells of a sweep again in ball arithmetic, and tell which of their digits are proved right.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep` or `olsbn.run` with the method "bngd" or "gd", or a part of one.
    n : int, optional
        How many cells, >= 1: up to a quarter of them from those marked `by_rounding`, the rest from those without the
        mark. All, if there are no more than n.
    seed : int, optional
        Seed of the draw.
    problem : OLSProblem or ProblemFamily, optional
        What was iterated. It may be left out for a family, and for a Dataset opened from its Zarr store.
    rel : float, optional
        Relative error up to which a number counts as right, > 0.
    progress : bool or callable, optional
        Show progress on standard error. Default: if it is a terminal.

    Returns
    -------
    xarray.Dataset
        Over `cell`, with the cell's coordinates; numbers also over `step`, where `ds` has recorded steps.

        - `excess_exact`, `eps_eff_exact`, `a_exact`, `w_norm_exact`: exact numbers, rounded to float64; `status_exact`,
          `steps_to_tol_exact`;
        - `digits`, `digits_eps_eff`, `digits_a`, `digits_w_norm`: how many decimal digits of the numbers in `ds` are
          proved right: ``-log10`` of a bound on the relative error, at most 17;
        - `agrees`: status and steps_to_tol are exact, and all numbers right to `rel`; `proved`: the balls decided
          (where they did not, `agrees` is False and tells nothing); `by_rounding`, as in `ds`;
        - `bits`, the precision that decided the cell, and `bits_lost`, how many of them the steps cost.

        `attrs` has the numbers of cells: `cells`, `agree`, `refuted` (proved wrong, without the mark),
        `refuted_marked`, `undecided`.

    Raises
    ------
    ValueError, TypeError
        For a Dataset that is not such a result, for methods and parameters without an exact step, and where `problem`
        is missing or another one.
    ImportError
        Without python-flint, the extra "certify".

    Notes
    -----
    Kind of guarantee: proof (see `olsbn.balls`), of a reduced sweep for the reduced problem. The problem's numbers and
    the learning rates are taken as exact. An excess below 1e-290, where a run ends, counts as 0. Cost of BNGD: about 4
    microseconds a mode and step, more where ``eps_eff`` stays above 2/lambda*_d and hundreds of bits are needed: 0.2 to
    1 s a cell for d = 10 and 5000 steps. GD is in closed form.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ds = olsbn.sweep(problem, eps=[0.01, 0.1, 1.0], eps_a=[0.5, 1.0], n_steps=200)
    >>> proof = olsbn.certify(ds, n=4, problem=problem)
    >>> proof.sizes["cell"], bool(proof.agrees.all()), bool((proof.digits > 12).all())
    (4, True, True)
    """
    import xarray as xr

    n, seed, rel = as_count("n", n, minimum=1), as_count("seed", seed), as_real("rel", rel)
    if not rel > 0:
        raise ValueError(f"rel must be > 0, got {rel!r}")
    source = source_to_prove(ds, problem)
    axes = tuple(str(name) for name in ds["status"].dims) if "status" in ds else ()
    cells = _drawn(ds, axes, n, seed)
    rows = []
    with meter(len(cells), progress) as advance:
        for index in cells:
            cell = ds.isel(dict(zip(axes, index, strict=True)))
            rows.append(proof_of(cell, problem_of(source, cell.attrs, place_of(cell)), rel))
            advance(1)
    steps = {"step": ds["step"]} if "step" in ds.dims else {}
    data: dict[str, Any] = {}
    for name, digits in NUMBERS.items():
        data[f"{name}_exact"] = (("cell", *steps), quantity.attrs(name))
        data[digits] = (("cell", *steps), digits_attrs(name))
    data |= {name: ("cell", {"long_name": long_name}) for name, (long_name, _) in FACTS.items()}
    found = {name: (dims, np.stack([row[name] for row in rows]), attrs) for name, (dims, attrs) in data.items()}
    wrong, marked = found["proved"][1] & ~found["agrees"][1], found["by_rounding"][1]
    where = {name: [index[k] for index in cells] for k, name in enumerate(axes)}
    return xr.Dataset(
        found,
        coords={name: ("cell", ds[name].values[i], dict(ds[name].attrs)) for name, i in where.items()} | steps,
        attrs={
            **ds.attrs,
            "title": f"Proof: {ds.attrs.get('title', '')}",
            "rel": rel,
            "cells": len(rows),
            "agree": int(found["agrees"][1].sum()),
            "refuted": int((wrong & ~marked).sum()),
            "refuted_marked": int((wrong & marked).sum()),
            "undecided": int((~found["proved"][1]).sum()),
        },
    )


def source_to_prove(ds: Any, problem: Any) -> OLSProblem | ProblemFamily:
    """Return what a Dataset was made of, after checking that it can be certified."""
    check_no_medians(ds)
    check_variables(ds, "a result of sweep or run", ("excess", "eps_eff", "a", "w_norm"))
    missing = [name for name in ("method", "n_steps", "tol") if name not in ds.attrs]
    if missing or not ("status" in ds or "status" in ds.attrs):
        raise ValueError(f"ds must be a result of sweep or run, got one that lacks {', '.join(missing) or 'status'}")
    check_method(ds.attrs["method"], ds.attrs)
    if isinstance(problem, OLSProblem):
        problem = _as_swept(problem, ds.attrs)
    source = source_of(ds, problem)
    opened = path_or_url(ds.encoding.get("source", ""))
    if source is None and (isinstance(opened, str) or (opened / "inputs").is_dir() or is_store(opened)):
        source = source_of(ds, open_store(opened).spec.source)
    if source is None:
        raise ValueError("problem must be given, for of a single problem a Dataset holds only the fingerprint")
    return source


def problem_of(source: OLSProblem | ProblemFamily, attrs: Mapping[str, Any], place: Mapping[str, Any]) -> OLSProblem:
    """Return the problem of a cell, which of a family is at a `dim` and `trial`; `attrs` are those of the sweep."""
    if isinstance(source, OLSProblem):
        return source
    return _as_swept(source(int(place["dim"]), int(place["trial"])), attrs)


def place_of(cell: xr.Dataset) -> dict[str, float]:
    """Return which problem of a family a cell is of."""
    return {name: number(cell, name) for name in ("dim", "trial") if name in cell.coords or name in cell.attrs}


def _as_swept(problem: OLSProblem, attrs: Mapping[str, Any]) -> OLSProblem:
    """Return the problem as the sweep reduced it."""
    reduce = attrs.get("reduce", False)
    if reduce is False or problem.reduction is not None:
        return problem
    return reduce_for(problem, int(attrs["n_steps"]), reduce if isinstance(reduce, str) else int(reduce))


def _drawn(ds: xr.Dataset, axes: tuple[str, ...], n: int, seed: int) -> list[tuple[int, ...]]:
    """Return the indices of the cells to run, in the order of `ds`."""
    if "status" not in ds:
        return [()]
    ran = ds["status"].transpose(*axes).values != Status.NOT_RUN
    marked = np.zeros_like(ran)
    if "by_rounding" in ds:
        marks = ds["by_rounding"]
        marked = (marks.any("step") if "step" in marks.dims else marks).transpose(*axes).values & ran
    if not ran.any():
        raise ValueError("ds must have cells that were run, got none")
    rng = np.random.default_rng(seed)
    some, others = (rng.permutation(np.flatnonzero(which)) for which in (marked, ran & ~marked))
    n_marked = min(some.size, max(n // 4, n - others.size))
    drawn = np.sort(np.concatenate([some[:n_marked], others[: n - n_marked]]))
    return list(zip(*(index.tolist() for index in np.unravel_index(drawn, ran.shape)), strict=True)) if axes else [()]
