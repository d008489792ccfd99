"""Exact dynamics of gradient descent with batch normalization on ordinary least squares.

The public names load on first use, so that ``import olsbn`` costs next to nothing: no NumPy, Numba, xarray or
matplotlib is imported before something needs it.
"""

# Made by tools/stub.py; a test holds it equal to the package.

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as _np
import xarray as _xr
from numpy.typing import NDArray as _NDArray

from olsbn import plotting as plotting
from olsbn.problems import OLSProblem as OLSProblem
from olsbn.problems import ProblemFamily as ProblemFamily
from olsbn.theory import bngd_contraction_ratio as bngd_contraction_ratio
from olsbn.results.proof import certify as certify
from olsbn.ledger import claims as claims
from olsbn.results.comparison import compare as compare
from olsbn.results.quantities import derive as derive
from olsbn.theory import effective_rate_regimes as effective_rate_regimes
from olsbn.theory import eps_window as eps_window
from olsbn.theory import excited_modes as excited_modes
from olsbn.explorer.notebook import explore as explore
from olsbn.theory import gd_contraction_ratio as gd_contraction_ratio
from olsbn.results.measures import median_trial as median_trial
from olsbn.dynamics.registry import methods as methods
from olsbn.results.opening import open as open
from olsbn.results.measures import over_trials as over_trials
from olsbn.results.quantities import quantities as quantities
from olsbn.results.resolution import resolve as resolve
from olsbn.results.measures import robustness as robustness
from olsbn.runs import run_bngd as run_bngd
from olsbn.runs import run_gd as run_gd
from olsbn.theory import spectral_report as spectral_report
from olsbn.search.boundary import zoom as zoom
from olsbn.search.measured import MeasuredWindow

__version__: str
__all__ = ['__version__', 'OLSProblem', 'ProblemFamily', 'run', 'run_gd', 'run_bngd', 'spectral_report', 'gd_contraction_ratio', 'bngd_contraction_ratio', 'effective_rate_regimes', 'eps_window', 'excited_modes', 'methods', 'sweep', 'open', 'compare', 'recommend', 'measured_window', 'zoom', 'certify', 'resolve', 'claims', 'explore', 'robustness', 'over_trials', 'quantities', 'derive', 'median_trial', 'plotting']

class _Array(Protocol):
    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...

_Values = float | Sequence[float] | _NDArray[Any] | _Array
_Progress = bool | Callable[[float, float], None] | None
_Schedule = Sequence[float] | _NDArray[_np.floating[Any]] | _Array

def sweep(
    problem: OLSProblem | ProblemFamily,
    *,
    method: str = 'bngd',
    dim: Any = None,
    trial: Any = None,
    n_steps: int,
    tol: float = 1e-10,
    stop: str = 'steps',
    record: Any = None,
    reduce: bool | str | int = False,
    check_rounding: bool = True,
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    client: Any = None,
    progress: _Progress = None,
    params: Mapping[str, Any] | None = None,
    eps: _Values = ...,
    eps_a: _Values = 1.0,
    momentum: _Values = 0.0,
    nesterov: _Values = 0,
    weight_decay: _Values = 0.0,
    eps_power: _Values = 0.0,
    eps_factor: _Values = 1.0,
    eps_a_power: _Values = 0.0,
    smoothing: _Values = 0.0,
    schedule: Literal['constant', 'cosine', 'warmup-cosine', 'wsd'] = 'constant',
    warmup: int = 0,
    decay: float = 0.0,
    floor: float = 0.0,
    eps_factors: _Schedule | None = None,
    batch_size: _Values = 32,
    replicate: _Values = 0,
    averaging: _Values = 0.0,
    seed: int = 0,
    sampling: Literal['epoch', 'replacement', 'gaussian', 'single'] = 'epoch',
) -> _xr.Dataset:
    r"""Run a method on every cell of a grid of its parameters, dimensions and trials.

    Parameters
    ----------
    problem : OLSProblem or ProblemFamily
        One problem, or a family that makes one for each (dim, trial).
    method : str, optional
        The iteration: a name from `olsbn.methods`, "bngd", "gd", ...
    dim, trial : int or array_like of int, optional
        For a family: dimensions (required) and trial numbers (default 0). A scalar gives no axis.
    n_steps : int
        Steps each cell runs, >= 0.
    tol : float, optional
        Relative excess loss at which a cell counts as converged, in [1e-290, 1).
    stop : {"steps", "tol"}, optional
        Run all steps, or end each cell at its first step with ``excess <= tol``. A cell always ends when its excess
        falls to 1e-290, below which squares underflow, or passes 1e30 (times the start's, if that is above 1).
    record : array_like of int, optional
        Steps in [0, n_steps] at which `excess`, `eps_eff`, `w_norm` and `a` are kept: they then have an axis ``step``,
        after ``trial``, in place of their values at the end. After the end of a cell they are NaN (0 and unchanged
        where the excess fell to the floor). `rate_theory` then belongs to the last recorded step with a number.
    check_rounding : bool, optional
        Whether cells whose rounding may have been amplified are run again in other units and flagged, `by_rounding`.
        Without it there is no flag, and the other numbers are the same.
    reduce : False, "auto" or int, optional
        Run reduced problems (`OLSProblem.reduced`): "auto" where that saves a factor 4 of the modes at an estimated
        error of log(excess) below 1e-6, a number for at most so many modes. For "gd", and "bngd" without smoothing. The
        attributes `modes` and, for a single problem, `reduction_error` say what came of it.
    store : path-like or str, optional
        A Zarr store to keep the result in, tile by tile. If it is there already, what is done is kept: the same call
        goes on where an earlier one was stopped, however it ended. A folder, or the URL of a bucket and a name in it,
        ``s3://bucket/name.zarr`` (also gs and az; extra "cloud").
    workers : int, optional
        Threads. Default: one for each processor this process may use.
    client : distributed.Client, optional
        Compute on these Dask workers instead of on threads (extra "dask"). With `store` the workers write their own
        tiles: its path must mean the same directory on all machines.
    progress : bool or callable, optional
        Show progress on standard error. Default: if it is a terminal. A function is called with the work done and the
        whole of it (in mode-steps).
    params : mapping of str to float or array_like, optional
        Parameters and options by name in one mapping: for methods of other packages, whose names no editor knows.
    **keywords : float or array_like, shape (n,)
        The method's parameters by name (``olsbn.methods()[method].params``): `eps`, the learning rate of w, always;
        `eps_a`, that of the BN scale, for BNGD; and so on. A scalar gives no axis, a vector, in any order, an axis of
        its name.

    Returns
    -------
    xarray.Dataset
        Dims ``dim, trial, step``, the method's further parameters as declared, ``eps_a, eps``, less those left out.
        Variables: `status` (codes and names in its attributes
        ``flag_values``, ``flag_meanings``), `steps_to_tol`, `n_steps_run`, `excess`, `eps_eff`, `w_norm`, `a` at the
        step where the cell stopped, `rate_sim` and `rate_theory`; `a` is NaN for GD. With `store` the
        values are read from there when they are used.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above, and for a store that holds another sweep or has another writer.
    OSError
        Where the store cannot be written. What is finished is kept.

    Notes
    -----
    BNGD costs O(d) a step (about 0.25 ns a mode and step on one core), GD O(d log n_steps) a cell in closed form. The
    bits of the result depend on nothing but the arguments. `rate_sim` is the one-step ratio of the square root of the
    excess, for BNGD where three samples a third of the run apart show that it has settled, for GD where what the other
    modes contribute to it and to its distance from 1 is below 1e-10; `rate_theory` is the
    contraction ratio of the dynamics linearised at a minimiser, at the cell's own `eps_eff` and for the modes that the
    start excites (an identity for the limit of `rate_sim` [Cai]).

    With `store`, memory does not grow with the number of cells: a worker holds one tile (at most 65536 cells, about
    20 MB) and the problem's modes (about 1 kB a mode).

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ds = olsbn.sweep(problem, eps=[0.01, 0.1, 1.0], eps_a=[0.5, 1.0], n_steps=2000)
    >>> ds.status.dims, bool((ds.status == 0).all())
    (('eps_a', 'eps'), True)

    Other Parameters
    ----------------
    eps
        Learning rate of w (methods: bngd, gd, wngd, sphere, wngrad, minibatch).
    eps_a
        Learning rate of the BN scale a (methods: bngd, wngd, sphere, wngrad, minibatch).
    momentum
        Momentum, of w and of a (methods: bngd, gd).
    nesterov
        1: Nesterov's momentum, 0: the heavy ball's (methods: bngd, gd).
    weight_decay
        Weight decay on w (methods: bngd, gd, minibatch).
    eps_power
        Learning rate of w falls like (k+1)^-eps_power (methods: bngd, gd, minibatch).
    eps_factor
        Learning rate of w is multiplied by this at each step (methods: bngd, gd).
    eps_a_power
        Learning rate of a falls like (k+1)^-eps_a_power (methods: bngd, minibatch).
    smoothing
        Nu^2 = w'(H + delta I)w in place of sigma^2 (methods: bngd).
    schedule
        Of the learning rate of w over the run (methods: bngd, gd).
    warmup
        Steps of the schedule's warm-up (methods: bngd, gd).
    decay
        Last share of the steps in which the schedule wsd falls (methods: bngd, gd).
    floor
        Least factor of the schedule (methods: bngd, gd).
    eps_factors
        Factors of the learning rate of w at each step (methods: bngd, gd).
    batch_size
        Rows of a batch (methods: minibatch).
    replicate
        Number of the stream of random batches (methods: minibatch).
    averaging
        Weight of a new batch in the running averages that `excess_running` is evaluated with (layers: 0.1); 0: none
        kept (methods: minibatch).
    seed
        Of the streams of batches (methods: minibatch).
    sampling
        Rows in a new order each epoch, drawn with replacement, fresh from N(0, H), or in a single order (methods:
        minibatch).
    """

def run(
    problem: OLSProblem,
    method: str = 'bngd',
    *,
    n_steps: int = 1000,
    record: Any = None,
    tol: float = 1e-10,
    certify: bool = False,
    check_rounding: bool = True,
    params: Mapping[str, Any] | None = None,
    eps: float = ...,
    eps_a: float = 1.0,
    momentum: float = 0.0,
    nesterov: float = 0,
    weight_decay: float = 0.0,
    eps_power: float = 0.0,
    eps_factor: float = 1.0,
    eps_a_power: float = 0.0,
    smoothing: float = 0.0,
    schedule: Literal['constant', 'cosine', 'warmup-cosine', 'wsd'] = 'constant',
    warmup: int = 0,
    decay: float = 0.0,
    floor: float = 0.0,
    eps_factors: _Schedule | None = None,
    batch_size: float = 32,
    replicate: float = 0,
    averaging: float = 0.0,
    seed: int = 0,
    sampling: Literal['epoch', 'replacement', 'gaussian', 'single'] = 'epoch',
    batches: _NDArray[_np.integer[Any]] | Sequence[Sequence[int]] | None = None,
) -> _xr.Dataset:
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

    Other Parameters
    ----------------
    eps
        Learning rate of w (methods: bngd, gd, wngd, sphere, wngrad, minibatch).
    eps_a
        Learning rate of the BN scale a (methods: bngd, wngd, sphere, wngrad, minibatch).
    momentum
        Momentum, of w and of a (methods: bngd, gd).
    nesterov
        1: Nesterov's momentum, 0: the heavy ball's (methods: bngd, gd).
    weight_decay
        Weight decay on w (methods: bngd, gd, minibatch).
    eps_power
        Learning rate of w falls like (k+1)^-eps_power (methods: bngd, gd, minibatch).
    eps_factor
        Learning rate of w is multiplied by this at each step (methods: bngd, gd).
    eps_a_power
        Learning rate of a falls like (k+1)^-eps_a_power (methods: bngd, minibatch).
    smoothing
        Nu^2 = w'(H + delta I)w in place of sigma^2 (methods: bngd).
    schedule
        Of the learning rate of w over the run (methods: bngd, gd).
    warmup
        Steps of the schedule's warm-up (methods: bngd, gd).
    decay
        Last share of the steps in which the schedule wsd falls (methods: bngd, gd).
    floor
        Least factor of the schedule (methods: bngd, gd).
    eps_factors
        Factors of the learning rate of w at each step (methods: bngd, gd).
    batch_size
        Rows of a batch (methods: minibatch).
    replicate
        Number of the stream of random batches (methods: minibatch).
    averaging
        Weight of a new batch in the running averages that `excess_running` is evaluated with (layers: 0.1); 0: none
        kept (methods: minibatch).
    seed
        Of the streams of batches (methods: minibatch).
    sampling
        Rows in a new order each epoch, drawn with replacement, fresh from N(0, H), or in a single order (methods:
        minibatch).
    """

def recommend(
    problem: OLSProblem,
    tol: float = 1e-06,
    n_steps: int = 10000,
    starts: int = 20,
    *,
    methods: Sequence[str] = ('gd', 'bngd'),
    workers: int | None = None,
    params: Mapping[str, Any] | None = None,
    eps_a: float = 1.0,
    momentum: float = 0.0,
    nesterov: float = 0,
    weight_decay: float = 0.0,
    eps_power: float = 0.0,
    eps_factor: float = 1.0,
    eps_a_power: float = 0.0,
    smoothing: float = 0.0,
    schedule: Literal['constant', 'cosine', 'warmup-cosine', 'wsd'] = 'constant',
    warmup: int = 0,
    decay: float = 0.0,
    floor: float = 0.0,
    batch_size: float = 32,
    replicate: float = 0,
    averaging: float = 0.0,
    seed: int = 0,
    sampling: Literal['epoch', 'replacement', 'gaussian', 'single'] = 'epoch',
) -> _xr.Dataset:
    r"""Find the learning rates that need the fewest steps from most starts, by simulation.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    tol : float, optional
        Relative excess to reach, in [1e-290, 1).
    n_steps : int, optional
        The most steps to spend, >= 1.
    starts : int, optional
        With how many random starts to search, >= 1 (see Notes); 1: with the problem's own start alone.
    methods : sequence of str, optional
        Iterations with a learning rate `eps`.
    workers : int, optional
        Threads. Default: one for each processor.
    params : mapping of str to float, optional
        Parameters by name in one mapping: for methods of other packages, whose names no editor knows.
    **keywords : float
        Further parameters, as in `sweep`: numbers, each for those of the methods that have it.

    Returns
    -------
    xarray.Dataset
        Over `algorithm`: `eps_fastest`, `steps_fastest`, `eps_lower` and `eps_upper` (the range around it that needs at
        most twice as many steps), `rate_best`, `eps_rate_best`, `rate_theory_best` and `rate_attainable`. Where
        something is missing (NaN, steps -1), `note` says why. ``attrs["pytorch"]`` has lines to type in PyTorch for
        BNGD (`olsbn.search.pytorch.pytorch_lines`), ``attrs["start"]`` for which starts all this is.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above.

    Notes
    -----
    Simulated. A learning rate takes as many steps as 90 % of the starts need: it is searched for with `starts` random
    starts, and what is told is measured from five times as many, because a learning rate that is best for twenty starts
    looks better from these than from others. Random starts have the norm of the problem's own (1 where it was not
    given), a direction that is uniform over the inputs, and the best scale a0 (the problem's own a0 where that is not
    the best one).

    Advice has to survive rounding. A run that rounding may have decided before it reaches the tolerance (`by_rounding`)
    counts as one that does not get there. And where the effective rate is above its edge for long, a plain loop in
    float32 would lose the run: its rounding of w grows until it is seen, though the simulation, whose rounding is
    relative to each mode, and exact arithmetic do not show it. Learning rates where that happens for more than 2 % of
    the starts are left out. (Asymptotic; diabetes: plain loops in float64 need twice the steps from where a rounding
    error may grow by 1e12.5 on, which is where it reaches the tolerance.)

    Learning rates are tried as the six digits that are printed, 25 a decade over everything that theory says happens
    and beyond it while they are good, then 2 % apart wherever they need at most 2.5 times the fewest steps, where a
    learning rate counts with its two neighbours. `eps_fastest` is the one in the geometric middle of the widest stretch
    within 2 % of the fewest steps. No learning rate that was tried in the range needs more than twice `steps_fastest`.
    A needle or a hole narrower than 2 % may be missed.

    The best rate is measured at the end of runs of `n_steps` steps from `starts` starts, as the 90 % quantile too; a
    slow contraction needs more steps to settle. The theoretical rates are asymptotic: a run whose slowest mode has
    hardly any of the start may contract better for as long as it is watched. GD attains `rate_theory_best`. BNGD cannot
    choose its effective learning rate: it settles at what follows from eps and the start,
    `EffectiveRateRegimes.attainable` or less. Both are NaN where the parameters are not neutral.

    Cost: for each method and start O(d) times steps times some 500 learning rates that end as soon as the best ones
    have; for the rate some 100 run all `n_steps` steps.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("linspace", dim=10, cond=20.0)
    >>> found = olsbn.recommend(problem, tol=1e-6, n_steps=2000)
    >>> found.algorithm.values.tolist(), bool((found.eps_lower <= found.eps_fastest).all())
    (['gd', 'bngd'], True)
    >>> own = olsbn.recommend(problem, n_steps=2000, starts=1).sel(algorithm="bngd")
    >>> run = olsbn.run_bngd(problem, eps=float(own.eps_fastest), n_steps=2000, tol=1e-6)
    >>> run.attrs["steps_to_tol"] == own.steps_fastest.item()
    True

    Other Parameters
    ----------------
    eps_a
        Learning rate of the BN scale a (methods: bngd, wngd, sphere, wngrad, minibatch).
    momentum
        Momentum, of w and of a (methods: bngd, gd).
    nesterov
        1: Nesterov's momentum, 0: the heavy ball's (methods: bngd, gd).
    weight_decay
        Weight decay on w (methods: bngd, gd, minibatch).
    eps_power
        Learning rate of w falls like (k+1)^-eps_power (methods: bngd, gd, minibatch).
    eps_factor
        Learning rate of w is multiplied by this at each step (methods: bngd, gd).
    eps_a_power
        Learning rate of a falls like (k+1)^-eps_a_power (methods: bngd, minibatch).
    smoothing
        Nu^2 = w'(H + delta I)w in place of sigma^2 (methods: bngd).
    schedule
        Of the learning rate of w over the run (methods: bngd, gd).
    warmup
        Steps of the schedule's warm-up (methods: bngd, gd).
    decay
        Last share of the steps in which the schedule wsd falls (methods: bngd, gd).
    floor
        Least factor of the schedule (methods: bngd, gd).
    batch_size
        Rows of a batch (methods: minibatch).
    replicate
        Number of the stream of random batches (methods: minibatch).
    averaging
        Weight of a new batch in the running averages that `excess_running` is evaluated with (layers: 0.1); 0: none
        kept (methods: minibatch).
    seed
        Of the streams of batches (methods: minibatch).
    sampling
        Rows in a new order each epoch, drawn with replacement, fresh from N(0, H), or in a single order (methods:
        minibatch).
    """

def measured_window(
    problem: OLSProblem,
    tol: float,
    n_steps: int,
    method: str = 'bngd',
    *,
    accuracy: float = 0.01,
    span: Any = None,
    workers: int | None = None,
    params: Mapping[str, Any] | None = None,
    eps_a: float = 1.0,
    momentum: float = 0.0,
    nesterov: float = 0,
    weight_decay: float = 0.0,
    eps_power: float = 0.0,
    eps_factor: float = 1.0,
    eps_a_power: float = 0.0,
    smoothing: float = 0.0,
    schedule: Literal['constant', 'cosine', 'warmup-cosine', 'wsd'] = 'constant',
    warmup: int = 0,
    decay: float = 0.0,
    floor: float = 0.0,
    eps_factors: _Schedule | None = None,
    batch_size: float = 32,
    replicate: float = 0,
    averaging: float = 0.0,
    seed: int = 0,
    sampling: Literal['epoch', 'replacement', 'gaussian', 'single'] = 'epoch',
) -> MeasuredWindow:
    r"""Find the window of learning rates that reach a tolerance in a number of steps, by simulation.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.
    tol : float
        Relative excess to reach, in [1e-290, 1).
    n_steps : int
        Number of steps, >= 1.
    method : str, optional
        The iteration, one with a learning rate `eps`; BNGD unless said.
    accuracy : float, optional
        Distance between either end and the next learning rate tried beyond it, at most, in decades; in [1e-9, 1].
    span : (float, float), optional
        Where to look first, LO < HI. Default: around everything that theory says happens.
    workers : int, optional
        Threads. Default: one for each processor.
    params : mapping of str to float, optional
        Parameters by name in one mapping: for methods of other packages, whose names no editor knows.
    **keywords : float
        Further parameters of the method, numbers.

    Returns
    -------
    MeasuredWindow

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above.

    Notes
    -----
    Simulated: 50 learning rates a decade, over `span` and on beyond it until the outermost ones do not reach the
    tolerance; then finer between the outermost one that does and the next, until they are `accuracy` apart. So both
    ends are verified: `lower` and `upper` reach the tolerance, `below` and `above` do not. What is narrower than a
    fiftieth of a decade may be missed: a needle beyond the ends, a hole between them. `eps_window` is the theory.

    Cost: O(d) times `n_steps` times some 500 learning rates, less where they get there sooner.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", 20, 50.0)
    >>> measured = olsbn.measured_window(problem, tol=1e-3, n_steps=1500)
    >>> predicted = olsbn.eps_window(problem, tol=1e-3, n_steps=1500)
    >>> predicted.reliable, abs(measured.decades - predicted.decades) < 0.06, measured.holes
    (True, True, 0.0)

    Other Parameters
    ----------------
    eps_a
        Learning rate of the BN scale a (methods: bngd, wngd, sphere, wngrad, minibatch).
    momentum
        Momentum, of w and of a (methods: bngd, gd).
    nesterov
        1: Nesterov's momentum, 0: the heavy ball's (methods: bngd, gd).
    weight_decay
        Weight decay on w (methods: bngd, gd, minibatch).
    eps_power
        Learning rate of w falls like (k+1)^-eps_power (methods: bngd, gd, minibatch).
    eps_factor
        Learning rate of w is multiplied by this at each step (methods: bngd, gd).
    eps_a_power
        Learning rate of a falls like (k+1)^-eps_a_power (methods: bngd, minibatch).
    smoothing
        Nu^2 = w'(H + delta I)w in place of sigma^2 (methods: bngd).
    schedule
        Of the learning rate of w over the run (methods: bngd, gd).
    warmup
        Steps of the schedule's warm-up (methods: bngd, gd).
    decay
        Last share of the steps in which the schedule wsd falls (methods: bngd, gd).
    floor
        Least factor of the schedule (methods: bngd, gd).
    eps_factors
        Factors of the learning rate of w at each step (methods: bngd, gd).
    batch_size
        Rows of a batch (methods: minibatch).
    replicate
        Number of the stream of random batches (methods: minibatch).
    averaging
        Weight of a new batch in the running averages that `excess_running` is evaluated with (layers: 0.1); 0: none
        kept (methods: minibatch).
    seed
        Of the streams of batches (methods: minibatch).
    sampling
        Rows in a new order each epoch, drawn with replacement, fresh from N(0, H), or in a single order (methods:
        minibatch).
    """
