"""Single runs, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import quantity, schema
from olsbn._validate import as_count, as_flag
from olsbn.certification import certified, check_method
from olsbn.dynamics.registry import DEFAULT, all_params, method_named
from olsbn.problems import OLSProblem, as_problem
from olsbn.quantity import COLUMNS
from olsbn.sweeps.compute import simulate, theory_of_cells
from olsbn.sweeps.pool import interruptible
from olsbn.sweeps.spec import SweepSpec

if TYPE_CHECKING:
    import xarray as xr


def run(
    problem: OLSProblem,
    method: str = DEFAULT,
    *,
    n_steps: int = 1000,
    record: Any = None,
    tol: float = 1e-10,
    certify: bool = False,
    check_rounding: bool = True,
    params: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> xr.Dataset:
    r"""Run a method from the problem's start.

    Parameters
    ----------
    problem : OLSProblem
        The problem and the start.
    method : str, optional
        A name from `olsbn.methods`: its `step` is the update, its `params` are the parameters.
    n_steps : int, optional
        Number of steps, >= 0.
    record : int or array_like of int, optional
        Every how many steps to record (the last one is always there), or the steps themselves, in [0, n_steps].
        Default: every step.
    tol : float, optional
        Relative excess at which the run counts as converged; it goes on all the same.
    check_rounding : bool, optional
        Whether the run is done again in other units, where rounding may have been amplified, to find the steps that
        rounding decides: `by_rounding`.
    params : mapping of str to float, optional
        Parameters and options by name in one mapping: for methods of other packages, whose names no editor knows.
    **keywords : float
        The method's parameters and options by name; for "minibatch" also `batches`, row numbers (n_steps, batch_size).

    Returns
    -------
    xarray.Dataset
        Dim `step`; variables `excess`, `residual`, `a` (NaN for GD, which has no BN scale), `w_norm`, `eps_eff`;
        attributes `status`, `steps_to_tol`, `n_steps_run`, `rate_sim`, `rate_theory`, inputs and versions. Where a run
        has fallen to a relative excess of 1e-290 it stops, and later steps have excess 0; where it diverged they are
        NaN. With `certify` also the exact numbers and how many digits are proved right
        (`olsbn.certification.certified`).

    Raises
    ------
    ValueError, TypeError
        For a method, a parameter or a step that is not allowed.

    Notes
    -----
    The bits are those of the same cell in `olsbn.sweep`. Cost: O(d) a step, and O(d) for each recorded one.

    Examples
    --------
    >>> import olsbn
    >>> run = olsbn.run(olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[0.0, 0.0]), "gd", eps=0.4, n_steps=3)
    >>> run.excess.values.round(4).tolist()
    [1.0, 0.36, 0.1296, 0.0467]
    """
    import xarray as xr

    params = all_params(params, keywords)
    in_run = {name: params.pop(name) for name in method_named(method).in_run if params.get(name) is not None}
    spec = _one_cell(problem, method, params, n_steps, tol, record, check_rounding)
    if as_flag("certify", certify):
        check_method(method, {f"{name}_sha256": "" for name in in_run})
    steps = np.array(spec.record, np.int64)
    rates = dict(spec.params)
    cells, trace = interruptible(lambda cancel: simulate(spec, problem, rates, steps, cancel, **in_run))
    theory = theory_of_cells(spec, problem, rates, cells)
    end = {name: values[0].item() for name, values in (cells | theory).items()}
    columns = COLUMNS | spec.method.variables
    attrs = {
        **spec.attrs(),
        **{
            f"{name}_sha256": sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            for name, value in in_run.items()
        },
        "status": schema.Status(end["status"]).label,
        **{name: end[name] for name in ("steps_to_tol", "n_steps_run", "rate_sim", "rate_theory")},
    }
    found = xr.Dataset(
        {name: ("step", trace[name][:, 0], column.attrs()) for name, column in columns.items() if name in trace},
        coords={"step": ("step", steps, quantity.attrs("step"))},
        attrs=attrs,
    )
    return certified(found, problem) if certify else found


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
    n_steps, record, tol
        As in `run`.

    Returns
    -------
    xarray.Dataset
        As in `run`; `a` is NaN, for GD has no BN scale, and `eps_eff` is `eps`.

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
    return run(problem, "gd", n_steps=n_steps, record=record, tol=tol, eps=eps)


def run_bngd(
    problem: OLSProblem, eps: float, eps_a: float = 1.0, n_steps: int = 1000, record: Any = None, *, tol: float = 1e-10
) -> xr.Dataset:
    r"""Run gradient descent with batch normalization from the problem's start.

    One step is, with ``sigma^2 = w'H w`` and both updates from the same step [Cai],

    ``a <- a + eps_a (w'g/sigma - a)``,  ``w <- w + eps (a/sigma) (g - (w'g/sigma^2) H w)``.

    Parameters
    ----------
    problem : OLSProblem
        The problem and the start.
    eps, eps_a : float
        Learning rates of w and of the BN scale a, finite and >= 0.
    n_steps, record, tol
        As in `run`.

    Returns
    -------
    xarray.Dataset
        As in `run`.

    Notes
    -----
    Iterated in the eigenbasis of H* (above d = 4096 in deflated coordinates), in which nothing cancels: `excess` and
    `residual` keep full relative precision down to 1e-290. Where rounding may decide, on the plateau of eps_eff
    above all, `by_rounding` says so (see `olsbn.engine.cells`): only many digits tell. The bits are those of the
    same cell in `sweep`. Cost: O(d) a step, O(d^2) once for a problem.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> run = olsbn.run_bngd(problem, eps=1.0, n_steps=5000)
    >>> run.attrs["status"], abs(run.attrs["rate_sim"] / run.attrs["rate_theory"] - 1) < 1e-10
    ('converged', True)
    """
    return run(problem, "bngd", n_steps=n_steps, record=record, tol=tol, eps=eps, eps_a=eps_a)


def _one_cell(
    problem: OLSProblem,
    method: str,
    params: dict[str, Any],
    n_steps: int,
    tol: float,
    record: Any,
    check_rounding: bool,
) -> SweepSpec:
    as_problem(problem)
    steps = _steps(record, as_count("n_steps", n_steps))
    spec = SweepSpec.checked(
        problem, method, params, n_steps=n_steps, tol=tol, record=steps, check_rounding=check_rounding
    )
    for name in spec.axes:
        schedules = "; schedules are eps_power, eps_factor and eps_a_power" if name in ("eps", "eps_a") else ""
        raise TypeError(
            f"{name} must be a number, got an array of shape {np.shape(params[name])} (use sweep for a grid{schedules})"
        )
    return spec


def _steps(record: Any, n_steps: int) -> Any:
    """Return the steps to record: all, every so many and the last one, or those that are given."""
    if record is None:
        record = 1
    if np.ndim(record) != 0:
        return record
    every = as_count("record", record, minimum=1)
    return np.append(np.arange(0, n_steps, every), n_steps)
