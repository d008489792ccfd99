"""Cells run again in ball arithmetic: which of their digits are proved right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import quantity, schema
from olsbn.balls import Ask, Ball, Exact, Undecided
from olsbn.dynamics.registry import METHODS
from olsbn.problems import OLSProblem
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr

NUMBERS = {"excess": "digits", "eps_eff": "digits_eps_eff", "a": "digits_a", "w_norm": "digits_w_norm"}  # as in Exact
_FULL = 17.0  # digits of a number that is right to the last bit of float64

# variable over `cell` -> (long_name, value where the balls did not decide)
FACTS: dict[str, tuple[str, Any]] = {
    "status_exact": ("how the cell ends in exact arithmetic", np.int8(Status.NOT_RUN)),
    "steps_to_tol_exact": ("first step with excess <= tol in exact arithmetic, -1 where there is none", np.int64(-1)),
    "bits": ("precision that decided the cell, in bits", np.int64(-1)),
    "bits_lost": ("of them, lost on the way", np.int64(-1)),
    "by_rounding": ("whether the sweep says that rounding decides the cell", False),
    "proved": ("whether the balls decided", False),
    "agrees": ("whether the cell is proved right", False),
}


def certified(run: xr.Dataset, problem: OLSProblem, rel: float = 1e-9) -> xr.Dataset:
    """Return a run with proof beside it.

    Parameters
    ----------
    run : xarray.Dataset
        A result of `olsbn.run` with the method "bngd" or "gd".
    problem : OLSProblem
        What was iterated.
    rel : float, optional
        Relative error up to which a number counts as right.

    Returns
    -------
    xarray.Dataset
        `run` and, over `step`, `excess_exact`, `eps_eff_exact`, `a_exact`, `w_norm_exact` and the numbers of digits
        proved right, `digits`, `digits_eps_eff`, `digits_a`, `digits_w_norm`. `attrs`: `certified` (1: proved right, 0:
        proved wrong, -1: the balls did not decide), `certified_digits` (the fewest), `certified_bits`, `status_exact`
        and `steps_to_tol_exact`.

    Notes
    -----
    Guarantee and cost as for `olsbn.certify`, and O(d^2) for each recorded step.
    """
    check_method(run.attrs["method"], run.attrs)
    if problem.fingerprint != run.attrs["problem_fingerprint"]:
        raise ValueError(f"problem must be the one of the run, {run.attrs['problem']}, got {problem.label}")
    proof = proof_of(run, problem, rel)
    beside = {
        name: ("step", proof[name], attrs)
        for number, digits in NUMBERS.items()
        for name, attrs in ((f"{number}_exact", quantity.attrs(number)), (digits, digits_attrs(number)))
    }
    return run.assign(beside).assign_attrs(
        certified=int(proof["agrees"]) if proof["proved"] else -1,
        certified_digits=min(float(proof[digits].min()) for digits in NUMBERS.values()),
        certified_bits=int(proof["bits"]),
        status_exact=Status(int(proof["status_exact"])).label,
        steps_to_tol_exact=int(proof["steps_to_tol_exact"]),
    )


def digits_attrs(name: str) -> dict[str, str]:
    """Return the attributes of the number of digits of a variable."""
    return {"long_name": f"decimal digits of {name} that are proved right", "units": "1"}


# -------------------------------------------------------------------- one cell


def exact_cell(
    problem: OLSProblem,
    method: str,
    params: Mapping[str, Any],
    n_steps: int,
    tol: float,
    stop: str = "steps",
    record: Any = (),
    bits: int | None = None,
) -> Exact:
    """Run one cell in ball arithmetic, with as many bits as it takes.

    Parameters
    ----------
    problem : OLSProblem
        Its numbers, and the parameters, are taken as exact.
    method : str
        A name from `olsbn.methods`.
    params : dict of str to float
        The method's parameters; neutral ones may be left out.
    n_steps, tol, stop
        As in `olsbn.sweep`.
    record : iterable of int, optional
        Steps whose numbers to keep; those after the end of the run are left out.
    bits : int, optional
        Precision to begin with, such as that of a similar cell.

    Raises
    ------
    Undecided
        If 65536 bits do not decide, as where an excess equals the tolerance exactly.

    Notes
    -----
    Kind of guarantee: proof, up to the correctness of python-flint and of the step's description. Cost: some 2
    microseconds a mode and step, up to a few thousand bits; plain GD is in closed form.
    """
    check_method(method)
    exact = METHODS[method].exact
    assert exact is not None
    ask = Ask(n_steps, tol, stop == "tol", tuple(sorted({int(k) for k in record})))
    return exact(problem, params, ask if bits is None else ask._replace(bits=bits))


def proof_of(cell: xr.Dataset, problem: OLSProblem, rel: float) -> dict[str, Any]:
    """Return the row of a cell, a Dataset with no dims but `step`."""
    n_rows = (cell.sizes["step"],) if "step" in cell.dims else ()
    row: dict[str, Any] = {name: empty for name, (_, empty) in FACTS.items()}
    row |= {name: np.full(n_rows, np.nan) for pair in NUMBERS.items() for name in (f"{pair[0]}_exact", pair[1])}
    row["by_rounding"] = "by_rounding" in cell and bool(cell["by_rounding"].any())
    steps = [int(k) for k in np.atleast_1d(cell["step"].values)] if "step" in cell.coords else []
    try:
        exact = exact_cell(
            problem,
            cell.attrs["method"],
            settings(cell),
            int(cell.attrs["n_steps"]),
            float(cell.attrs["tol"]),
            cell.attrs.get("stop", "steps"),
            steps,
        )
    except Undecided:
        return row
    status, steps_to_tol = _ending(cell)
    balls = [at_step(exact, k) for k in steps] if steps else [exact[3:7]]
    for i, (name, digits) in enumerate(NUMBERS.items()):
        column = [ball[i] for ball in balls]
        values = np.atleast_1d(cell[name].values).tolist() if name in cell else [math.nan] * len(column)
        row[f"{name}_exact"] = np.reshape([float(x.mid()) for x in column], n_rows)
        floor = schema.EXCESS_FLOOR if name == "excess" else 0.0
        row[digits] = np.reshape([_digits(x, ball, floor) for x, ball in zip(values, column, strict=True)], n_rows)
    right = all((row[digits] >= -math.log10(rel)).all() for digits in NUMBERS.values())
    row |= {
        "status_exact": np.int8(exact.status),
        "steps_to_tol_exact": np.int64(exact.steps_to_tol),
        "bits": np.int64(exact.bits),
        "bits_lost": np.int64(exact.bits_lost),
        "proved": True,
        "agrees": status == exact.status and steps_to_tol == exact.steps_to_tol and right,
    }
    return row


def at_step(exact: Exact, step: int) -> tuple[Ball, ...]:
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


def check_method(method: str, attrs: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Refuse methods of which there are no proofs, and results, told by `attrs`, of what they do not keep."""
    if METHODS[method].exact is None:
        known = ", ".join(name for name, found in METHODS.items() if found.exact is not None)
        raise ValueError(f"method must be one of {known} to be certified, got {method!r}")
    for name in METHODS[method].in_run:
        if f"{name}_sha256" in attrs:
            raise ValueError(f"a run to be certified must be without {name} of its own, got one: it keeps their digest")


def settings(cell: xr.Dataset) -> dict[str, Any]:
    """Return the parameters and options of a cell by name."""
    method = METHODS[cell.attrs["method"]]
    found: dict[str, Any] = {}
    for param in method.params:
        value = cell.coords[param.name] if param.name in cell.coords else cell.attrs.get(param.name, param.default)
        found[param.name] = float(np.asarray(value))
    return found | method.checked_options({option.name: cell.attrs[option.name] for option in method.options
                                           if option.name in cell.attrs})  # fmt: skip


def number(cell: xr.Dataset, name: str) -> float:
    """Return a coordinate of a cell, or what had no axis."""
    return float(cell[name] if name in cell.coords else cell.attrs[name])


def _ending(cell: xr.Dataset) -> tuple[int, int]:
    """Return status and steps_to_tol."""
    if "status" in cell:
        return int(cell["status"]), int(cell["steps_to_tol"])
    return Status[cell.attrs["status"].upper()], int(cell.attrs["steps_to_tol"])
