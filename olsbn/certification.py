"""Cells of a sweep run again in ball arithmetic: which of their digits are proved right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn._validate import as_count, as_real
from olsbn.balls import Ball, Exact, Undecided, exact_cell
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.results.datasets import check_no_medians, check_variables, source_of
from olsbn.schema import Status
from olsbn.sweeps.progress import meter
from olsbn.sweeps.store import Store

if TYPE_CHECKING:
    import xarray as xr

_NUMBERS = {"excess": "digits", "eps_eff": "digits_eps_eff", "a": "digits_a", "w_norm": "digits_w_norm"}  # as in Exact
_FULL = 17.0  # digits of a number that is right to the last bit of float64
# Parameters whose exact step is not there yet, and the value under which they do nothing.
_NEUTRAL = {
    "momentum": 0.0, "weight_decay": 0.0, "eps_power": 0.0, "eps_factor": 1.0, "eps_a_power": 0.0, "smoothing": 0.0,
}  # fmt: skip

# variable over `cell` -> (long_name, value where the balls did not decide)
_FACTS: dict[str, tuple[str, Any]] = {
    "status_exact": ("how the cell ends in exact arithmetic", np.int8(Status.NOT_RUN)),
    "steps_to_tol_exact": ("first step with excess <= tol in exact arithmetic, -1 where there is none", np.int64(-1)),
    "bits": ("precision that decided the cell, in bits", np.int64(-1)),
    "bits_lost": ("of them, lost on the way", np.int64(-1)),
    "by_rounding": ("whether the sweep says that rounding decides the cell", False),
    "proved": ("whether the balls decided", False),
    "agrees": ("whether the cell is proved right", False),
}


def certify(
    ds: xr.Dataset,
    n: int = 100,
    seed: int = 0,
    *,
    problem: OLSProblem | ProblemFamily | None = None,
    rel: float = 1e-9,
    progress: bool | None = None,
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
    progress : bool, optional
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
    Kind of guarantee: proof (see `olsbn.balls`). The problem's numbers and the learning rates are taken as exact. An
    excess below 1e-290, where a run ends, counts as 0. Cost of BNGD: about 4 microseconds a mode and step, more where
    ``eps_eff`` stays above 2/lambda*_d and hundreds of bits are needed: 0.2 to 1 s a cell for d = 10 and 5000 steps.
    GD is in closed form.

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
    source = _source(ds, problem)
    axes = tuple(str(name) for name in ds["status"].dims) if "status" in ds else ()
    cells = _drawn(ds, axes, n, seed)
    rows = []
    with meter(len(cells), progress) as advance:
        for index in cells:
            rows.append(_certified(ds.isel(dict(zip(axes, index, strict=True))), source, rel))
            advance(1)
    steps = {"step": ds["step"]} if "step" in ds.dims else {}
    data: dict[str, Any] = {}
    for name, digits in _NUMBERS.items():
        data[f"{name}_exact"] = (("cell", *steps), schema.attrs(name))
        data[digits] = (("cell", *steps), {"long_name": f"decimal digits of {name} that are proved right"})
    data |= {name: ("cell", {"long_name": long_name}) for name, (long_name, _) in _FACTS.items()}
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


def certified(run: xr.Dataset, problem: OLSProblem) -> xr.Dataset:
    """Return a run with proof beside it.

    Parameters
    ----------
    run : xarray.Dataset
        A result of `olsbn.run` with the method "bngd" or "gd".
    problem : OLSProblem
        What was iterated.

    Returns
    -------
    xarray.Dataset
        `run` and, over `step`, `excess_exact`, `eps_eff_exact`, `a_exact`, `w_norm_exact` and the numbers of digits
        proved right, `digits`, `digits_eps_eff`, `digits_a`, `digits_w_norm`. `attrs`: `certified` (1: proved right, 0:
        proved wrong, -1: the balls did not decide), `certified_digits` (the fewest), `certified_bits`, `status_exact`
        and `steps_to_tol_exact`.

    Notes
    -----
    Guarantee and cost as for `certify`, and O(d^2) for each recorded step.
    """
    proof = certify(run, 1, problem=problem).isel(cell=0)
    names = [name for exact, digits in _NUMBERS.items() for name in (f"{exact}_exact", digits)]
    fewest = min(float(proof[digits].min()) for digits in _NUMBERS.values())
    return run.assign(proof[names].drop_vars("cell", errors="ignore")).assign_attrs(
        certified=int(proof["agrees"]) if proof["proved"] else -1,
        certified_digits=fewest,
        certified_bits=int(proof["bits"]),
        status_exact=Status(int(proof["status_exact"])).label,
        steps_to_tol_exact=int(proof["steps_to_tol_exact"]),
    )


# -------------------------------------------------------------------- one cell


def _certified(cell: xr.Dataset, source: OLSProblem | ProblemFamily, rel: float) -> dict[str, Any]:
    """Return the row of a cell, a Dataset with no dims but `step`."""
    n_rows = (cell.sizes["step"],) if "step" in cell.dims else ()
    row: dict[str, Any] = {name: empty for name, (_, empty) in _FACTS.items()}
    row |= {name: np.full(n_rows, np.nan) for pair in _NUMBERS.items() for name in (f"{pair[0]}_exact", pair[1])}
    row["by_rounding"] = "by_rounding" in cell and bool(cell["by_rounding"].any())
    steps = [int(k) for k in np.atleast_1d(cell["step"].values)] if "step" in cell.coords else []
    try:
        exact = exact_cell(
            _problem(source, cell),
            cell.attrs["method"],
            _number(cell, "eps"),
            1.0 if cell.attrs["method"] == "gd" else _number(cell, "eps_a"),
            int(cell.attrs["n_steps"]),
            float(cell.attrs["tol"]),
            cell.attrs.get("stop", "steps"),
            steps,
        )
    except Undecided:
        return row
    status, steps_to_tol = _ending(cell)
    balls = [_at(exact, k) for k in steps] if steps else [exact[3:7]]
    for i, (name, digits) in enumerate(_NUMBERS.items()):
        column = [ball[i] for ball in balls]
        values = np.atleast_1d(cell[name].values).tolist() if name in cell else [math.nan] * len(column)
        row[f"{name}_exact"] = np.reshape([float(x.mid()) for x in column], n_rows)
        floor = schema.EXCESS_FLOOR if name == "excess" else 0.0
        row[digits] = np.reshape([_digits(x, ball, floor) for x, ball in zip(values, column, strict=True)], n_rows)
    right = all((row[digits] >= -math.log10(rel)).all() for digits in _NUMBERS.values())
    row |= {
        "status_exact": np.int8(exact.status),
        "steps_to_tol_exact": np.int64(exact.steps_to_tol),
        "bits": np.int64(exact.bits),
        "bits_lost": np.int64(exact.bits_lost),
        "proved": True,
        "agrees": status == exact.status and steps_to_tol == exact.steps_to_tol and right,
    }
    return row


def _at(exact: Exact, step: int) -> tuple[Ball, ...]:
    """Return the four numbers at a step. After the end, those of the floor stay; those of a divergence are NaN."""
    if step in exact.trace:
        return exact.trace[step]
    last = exact[3:7]
    if exact.status is Status.DEGENERATE:
        return last
    if last[0] <= schema.EXCESS_FLOOR:
        return (last[0] * 0, *last[1:])
    return (last[0] * math.nan,) * 4


def _digits(value: float, exact: Ball, floor: float = 0.0) -> float:
    """Return how many decimal digits of `value` are proved right; numbers up to `floor` are all one."""
    if exact.is_nan():
        return _FULL if math.isnan(value) else 0.0
    if math.isnan(value):
        return 0.0
    if exact.abs_upper() <= floor:
        return _FULL if abs(value) <= floor else 0.0
    if math.isinf(value):
        return _FULL if exact.abs_lower() > np.finfo(float).max else 0.0
    error = (exact - value).abs_upper() / exact.abs_lower()
    if not error.is_finite():
        return 0.0
    return max(0.0, -math.log10(max(float(error), 10.0**-_FULL)))


# -------------------------------------------------------------------- reading a Dataset


def _source(ds: Any, problem: Any) -> OLSProblem | ProblemFamily:
    """Return what a Dataset was made of, after checking that it can be certified."""
    check_no_medians(ds)
    check_variables(ds, "a result of sweep or run", ("excess", "eps_eff", "a", "w_norm"))
    missing = [name for name in ("method", "n_steps", "tol") if name not in ds.attrs]
    if missing or not ("status" in ds or "status" in ds.attrs):
        raise ValueError(f"ds must be a result of sweep or run, got one that lacks {', '.join(missing) or 'status'}")
    if ds.attrs["method"] not in ("bngd", "gd"):
        raise ValueError(f"method must be 'bngd' or 'gd' to be certified, got {ds.attrs['method']!r}")
    for name, neutral in _NEUTRAL.items():
        values = np.atleast_1d(ds[name].values if name in ds.coords else ds.attrs.get(name, neutral))
        if (values != neutral).any():
            raise ValueError(f"{name} must be {neutral:g} to be certified, got {values[values != neutral][0]}")
    source = source_of(ds, problem)
    opened = Path(ds.encoding.get("source", ""))
    if source is None and opened.name and (opened / "inputs").is_dir():
        source = source_of(ds, Store(opened).spec.source)
    if source is None:
        raise ValueError("problem must be given, for of a single problem a Dataset holds only the fingerprint")
    return source


def _problem(source: OLSProblem | ProblemFamily, cell: xr.Dataset) -> OLSProblem:
    if isinstance(source, OLSProblem):
        return source
    return source(int(_number(cell, "dim")), int(_number(cell, "trial")))


def _number(cell: xr.Dataset, name: str) -> float:
    return float(cell[name] if name in cell.coords else cell.attrs[name])


def _ending(cell: xr.Dataset) -> tuple[int, int]:
    """Return status and steps_to_tol."""
    if "status" in cell:
        return int(cell["status"]), int(cell["steps_to_tol"])
    return Status[cell.attrs["status"].upper()], int(cell.attrs["steps_to_tol"])


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
