"""Single runs of GD and BNGD, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn._validate import as_count, as_floats, as_rate
from olsbn.grids import Arrays, SweepSpec, describe, provenance, variable_attrs
from olsbn.problems import OLSProblem, as_problem
from olsbn.tiles import cells_of, interruptible

if TYPE_CHECKING:
    import xarray as xr


def run_gd(
    problem: OLSProblem, eps: float, n_steps: int = 1000, record: Any = None, *, tol: float = 1e-10
) -> xr.Dataset:
    r"""Run plain gradient descent, ``w <- w + eps (g - H w)``, from the problem's start.

    Parameters
    ----------
    problem : OLSProblem
        The problem and the start.
    eps : float
        Learning rate, finite and >= 0.
    n_steps : int, optional
        Number of steps, >= 0.
    record : int or array_like of int, optional
        Every how many steps to record (the last one is always there), or the steps themselves, in [0, n_steps].
        Default: every step.
    tol : float, optional
        Relative excess at which the run counts as converged; it goes on all the same.

    Returns
    -------
    xarray.Dataset
        Dim `step`; variables `excess`, `residual`, `a` (NaN: GD has no BN scale), `w_norm`, `eps_eff` (= eps);
        attributes `status`, `steps_to_tol`, `n_steps_run`, `rate_sim`, `rate_theory`, inputs and versions. Where a run
        has fallen to a relative excess of 1e-290 it stops, and later steps have excess 0; where it diverged they are
        NaN.

    Notes
    -----
    Closed form, error_i(k) = (1 - eps lambda_i)^k error_i(0), with double-double powers: an identity, each step as
    precise as the problem itself. Cost: O(d) for each recorded step.

    Examples
    --------
    >>> import olsbn
    >>> run = olsbn.run_gd(olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[0.0, 0.0]), eps=0.4, n_steps=3)
    >>> run.excess.values.round(4).tolist()
    [1.0, 0.36, 0.1296, 0.0467]
    """
    spec = _one_cell(problem, "gd", eps, 1.0, n_steps, tol)
    return _run(spec, _steps(record, n_steps))


def run_bngd(
    problem: OLSProblem, eps: float, eps_a: float = 1.0, n_steps: int = 1000, record: Any = None, *, tol: float = 1e-10
) -> xr.Dataset:
    r"""Run gradient descent with batch normalization from the problem's start.

    One step is, with ``sigma^2 = w'Hw`` and both updates from the same step [Cai],

    ``a <- a + eps_a (w'g/sigma - a)``,  ``w <- w + eps (a/sigma) (g - (w'g/sigma^2) H w)``.

    Parameters
    ----------
    problem : OLSProblem
        The problem and the start.
    eps, eps_a : float
        Learning rates of w and of the BN scale a, finite and >= 0.
    n_steps, record, tol
        As in `run_gd`.

    Returns
    -------
    xarray.Dataset
        Dim `step`; variables `excess`, `residual`, `a`, `w_norm`, `eps_eff`; attributes as in `run_gd`.

    Notes
    -----
    Iterated in deflated coordinates, in which nothing cancels: `excess` and `residual` keep full relative precision
    down to 1e-290. The bits are those of the same cell in `sweep`. Cost: O(d) a step.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> run = olsbn.run_bngd(problem, eps=1.0, n_steps=5000)
    >>> run.attrs["status"], abs(run.attrs["rate_sim"] / run.attrs["rate_theory"] - 1) < 1e-10
    ('converged', True)
    """
    spec = _one_cell(problem, "bngd", eps, eps_a, n_steps, tol)
    return _run(spec, _steps(record, n_steps))


def _run(spec: SweepSpec, steps: np.ndarray) -> xr.Dataset:
    def compute(cancel: np.ndarray) -> tuple[Arrays, Arrays]:
        with np.errstate(all="ignore"):
            return cells_of(spec.problem(0, 0), spec, spec.eps, spec.eps_a, cancel, steps)

    cells, trace = interruptible(compute)
    cell = {name: values.item() for name, values in cells.items()}
    return _dataset(spec, steps, {name: values[:, 0] for name, values in trace.items()}, cell)


def _one_cell(problem: OLSProblem, method: str, eps: Any, eps_a: Any, n_steps: int, tol: float) -> SweepSpec:
    as_problem(problem)
    for name, value in (("eps", eps), ("eps_a", eps_a)):
        if as_rate(name, value).ndim:
            raise TypeError(f"{name} must be a number, got an array of shape {np.shape(value)} (use sweep for a grid)")
    return SweepSpec.checked(problem, method, eps, eps_a, None, None, n_steps, tol, "steps")


def _steps(record: Any, n_steps: int) -> np.ndarray:
    """Return the steps to record, ascending."""
    if record is None:
        record = 1
    if np.ndim(record) == 0:
        every = as_count("record", record, minimum=1)
        return np.append(np.arange(0, n_steps, every), n_steps)
    if np.asarray(record).dtype == bool:
        raise TypeError("record must hold step numbers, got a mask")
    steps = as_floats("record", record)
    whole = steps.ndim == 1 and steps.size > 0 and (steps == np.floor(steps)).all()
    if not whole or steps.min() < 0 or steps.max() > n_steps:
        raise ValueError(f"record must hold whole steps in [0, {n_steps}], got {record!r}")
    return np.unique(steps).astype(np.int64)  # of floats: NumPy 2.4 takes seconds for a million integers


def _dataset(spec: SweepSpec, steps: np.ndarray, columns: dict[str, np.ndarray], cell: dict[str, Any]) -> xr.Dataset:
    import xarray as xr

    status = schema.Status(cell["status"])
    after = steps > cell["n_steps_run"]
    if after.any() and status is not schema.Status.DEGENERATE:
        stopped_low = cell["excess"] <= schema.EXCESS_FLOOR
        for name, values in columns.items():
            gone = np.nan
            if stopped_low:
                # the floor: nothing that float64 can show changes any more
                gone = 0.0 if name in ("excess", "residual") else cell.get(name, np.nan)
            values[after] = gone
    attrs = {
        "title": f"{spec.method.upper()} on {describe(spec.source)}",
        "method": spec.method,
        "eps": float(spec.eps[0]),
        "eps_a": float(spec.eps_a[0]) if spec.method == "bngd" else np.nan,  # GD has no BN scale
        "n_steps": spec.n_steps,
        "tol": spec.tol,
        "status": status.label,
        **{name: cell[name] for name in ("steps_to_tol", "n_steps_run", "rate_sim", "rate_theory")},
        "problem": spec.problem(0, 0).label,
        "problem_fingerprint": spec.problem(0, 0).fingerprint,
        **provenance(),
    }
    return xr.Dataset(
        {name: ("step", values, variable_attrs(name)) for name, values in columns.items()},
        coords={"step": ("step", steps, schema.attrs("step"))},
        attrs=attrs,
    )
