"""The window of learning rates that reach a tolerance in a number of steps, measured by simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from olsbn._validate import as_count, as_real, as_vector
from olsbn.dynamics.registry import DEFAULT, all_params
from olsbn.problems import OLSProblem, as_problem
from olsbn.problems.sample import html_table
from olsbn.search.tried import Tried, default_eps, grid

# Learning rates a decade of the grid, and where the search ends: at both ends.
_A_DECADE, _LIMITS = 50, (1e-290, 1e290)


@dataclass(frozen=True)
class MeasuredWindow:
    """The learning rates that bring the relative excess to `tol` within `n_steps` steps, as simulated.

    Attributes
    ----------
    method, tol, n_steps
        What was asked.
    lower, upper : float
        The smallest and the largest learning rate tried that does it; NaN where none does.
    below, above : float
        The next ones tried beyond, which do not; 0 and inf where the window goes on to 1e-290 or 1e290.
    holes : float
        Decades between the ends that do not reach the tolerance.
    rounding : float
        Decades between the ends where rounding had decided the excess before the tolerance was reached (`by_rounding`).
    n_tried : int
        Learning rates tried.
    """

    method: str
    tol: float
    n_steps: int
    lower: float
    upper: float
    below: float
    above: float
    holes: float
    rounding: float
    n_tried: int

    @property
    def decades(self) -> float:
        """Width ``log10(upper/lower)``, holes included; 0 where no learning rate does it."""
        return math.log10(self.upper) - math.log10(self.lower) if self.lower > 0 else 0.0

    def _repr_html_(self) -> str:
        names = ("lower", "upper", "decades", "holes", "rounding", "below", "above", "n_tried")
        title = f"{self.method.upper()}: learning rates that reached {self.tol:g} within {self.n_steps} steps"
        return html_table(title, [(name, getattr(self, name)) for name in names])


def measured_window(
    problem: OLSProblem,
    tol: float,
    n_steps: int,
    method: str = DEFAULT,
    *,
    accuracy: float = 0.01,
    span: Any = None,
    workers: int | None = None,
    params: Mapping[str, Any] | None = None,
    **keywords: Any,
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
    """
    as_problem(problem)
    params = all_params(params, keywords)
    tol, n_steps, accuracy = as_real("tol", tol), as_count("n_steps", n_steps, minimum=1), as_real("accuracy", accuracy)
    if not 1e-9 <= accuracy <= 1:
        raise ValueError(f"accuracy must lie in [1e-9, 1], got {accuracy!r}")
    for name, value in params.items():
        if name == "eps":
            raise ValueError("eps must be left out: its window is what is measured")
        if np.ndim(value):
            raise ValueError(f"{name} must be a number, got an array of shape {np.shape(value)}")
    low, high = default_eps(problem, n_steps, tol)[[0, -1]] if span is None else as_vector("span", span, size=2)
    if not _LIMITS[0] <= low < high <= _LIMITS[1]:
        raise ValueError(f"span must be LO < HI in [{_LIMITS[0]:g}, {_LIMITS[1]:g}], got {low:g} and {high:g}")
    tried = Tried([problem], method, tol, n_steps, params, workers)
    return window(tried, low, high, accuracy)


def window(tried: Tried, low: float, high: float, accuracy: float, a_decade: float = _A_DECADE) -> MeasuredWindow:
    """Measure the window of one start: from `low` to `high` and beyond at first, so many learning rates a decade."""
    tried.look(grid(low, high, a_decade))
    further = 2.0  # decades
    while True:
        reached, eps = np.isfinite(tried.steps[0]), tried.eps
        down, up = reached[0] and eps[0] > _LIMITS[0], reached[-1] and eps[-1] < _LIMITS[1]
        if not (down or up):
            break
        if down:
            tried.look(grid(max(eps[0] / 10**further, _LIMITS[0]), eps[0], a_decade))
        if up:
            tried.look(grid(eps[-1], min(eps[-1], _LIMITS[1] / 10**further) * 10**further, a_decade))
        further = min(2 * further, 256.0)
    named = (tried.method, tried.tol, tried.n_steps)
    if not reached.any():
        return MeasuredWindow(*named, math.nan, math.nan, math.nan, math.nan, 0.0, 0.0, tried.eps.size)
    for at in (0, -1):
        while True:
            end = int(np.flatnonzero(np.isfinite(tried.steps[0]))[at])
            left = end - 1 if at == 0 else end
            if not 0 <= left < tried.eps.size - 1 or math.log10(tried.eps[left + 1] / tried.eps[left]) <= accuracy:
                break
            tried.look(tried.between(left, accuracy / 12))
    eps, reached = tried.eps, np.isfinite(tried.steps[0])
    first, last = np.flatnonzero(reached)[[0, -1]]
    middle = np.log10(eps[first : last + 1])
    width = np.diff(np.concatenate([middle[:1], (middle[1:] + middle[:-1]) / 2, middle[-1:]]))
    return MeasuredWindow(
        *named, float(eps[first]), float(eps[last]),
        float(eps[first - 1]) if first else 0.0, float(eps[last + 1]) if last + 1 < eps.size else math.inf,
        holes=float(width[~reached[first : last + 1]].sum()),
        rounding=float(width[tried.flagged[0, first : last + 1]].sum()), n_tried=eps.size,
    )  # fmt: skip
