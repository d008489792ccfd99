"""What the theory of a method says, as data: rates, windows, endings and what it marks on a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from olsbn._validate import FloatArray
    from olsbn.problems import OLSProblem
    from olsbn.theory import EffectiveRateRegimes, EpsWindow


@dataclass(frozen=True)
class Mark:
    """What theory marks on a parameter's axis of a map: values, and what they are; exact, or asymptotic."""

    param: str
    values: tuple[float, ...]
    names: tuple[str, ...]  # mathtext beside each
    label: str
    exact: bool


class BestRates(NamedTuple):
    """The best contraction ratio of any effective learning rate, and of those that the problem's start attains."""

    best: float = math.nan
    attained: float = math.nan
    why: str = ""  # what keeps a run from the best one, in words that follow "for"


class Ending(NamedTuple):
    """How cells end: steps to the tolerance and to divergence. inf: never; NaN: theory does not say."""

    steps: FloatArray
    limit: FloatArray
    degenerate: bool = False  # the start is one from which there is no step


def no_rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    """Return NaN for every cell: a method without a theory of its rate."""
    return np.full(np.shape(cells["eps_eff"]), np.nan)


@dataclass(frozen=True)
class Theory:
    """The theory of a method; what is left out is not known, and nothing is compared with it.

    All but `rate` is for the neutral values of the parameters other than `eps` and `eps_a`, and asked for no others.

    Attributes
    ----------
    rate : callable
        ``rate(problem, params, cells)`` returns the contraction ratio for each cell, NaN where there is none. It sees
        what was simulated (`eps_eff`), never the kernel.
    modules : tuple of str
        Those that `rate` comes from: another version of them is another theory.
    exact : bool
        Whether `window` and `ending` are identities, and a rate needs no effective learning rate to have settled.
    best_rates : callable
        ``best_rates(problem)`` returns the `BestRates`.
    window : callable or None
        ``window(problem, tol, n_steps)`` returns the `EpsWindow` of learning rates that reach the tolerance, for the
        default eps_a.
    ending : callable or None
        ``ending(problem, params, n_steps, tol)`` returns the `Ending` of cells, ``params`` a vector by name.
    regimes : callable or None
        ``regimes(problem)`` returns what the effective learning rate settles at, `EffectiveRateRegimes`.
    marks : callable
        ``marks(facts)`` returns what is marked on the axes of a map, from the attributes of a sweep
        (`olsbn.theory.facts`).
    edge : (str, str)
        The edge of stability of the effective learning rate: its name among those attributes, and as mathtext.
    tells_sigma : bool
        Whether the effective learning rate is ``eps (a/sigma) w'g/sigma^2`` with a norm of w that is not reset, so that
        sigma follows from it, from excess and from a.
    first_eps : callable
        ``first_eps(problem)`` returns a learning rate to begin with.
    remarks : callable
        ``remarks(problem)`` returns lines that belong to a summary.
    """

    rate: Callable[[OLSProblem, Mapping[str, Any], Mapping[str, Any]], Any] = no_rate
    modules: tuple[str, ...] = ()
    exact: bool = False
    best_rates: Callable[[OLSProblem], BestRates] = lambda problem: BestRates()
    window: Callable[[OLSProblem, float, int], EpsWindow] | None = None
    ending: Callable[[OLSProblem, Mapping[str, FloatArray], int, float], Ending] | None = None
    regimes: Callable[[OLSProblem], EffectiveRateRegimes] | None = None
    marks: Callable[[Mapping[str, Any]], tuple[Mark, ...]] = lambda facts: ()
    edge: tuple[str, str] = ("", "")
    tells_sigma: bool = False
    first_eps: Callable[[OLSProblem], float] = lambda problem: 1.0
    remarks: Callable[[OLSProblem], tuple[str, ...]] = lambda problem: ()
