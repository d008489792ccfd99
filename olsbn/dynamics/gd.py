"""Plain gradient descent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.groups import (
    EPS,
    EPS_FACTOR,
    EPS_POWER,
    MOMENTUM,
    NESTEROV,
    SCHEDULES,
    USUAL_COLUMNS,
    WEIGHT_DECAY,
    Schedule,
    check_schedule,
    exactly,
    is_neutral,
    iterate,
    kernel,
    without_a_limit,
)
from olsbn.dynamics.predictions import BestRates, Ending, Mark, Theory
from olsbn.engine.describe import INFINITY, fma, is_one, is_zero, where
from olsbn.engine.step import COUPLED, Step

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.engine.run import Run
    from olsbn.problems import OLSProblem

_FURTHER = (MOMENTUM, NESTEROV, WEIGHT_DECAY, EPS_POWER, EPS_FACTOR)


class Steps(Step):
    """GD with momentum, weight decay and schedules: every mode of the error e = w - u is a recursion of its own.

    ``g = H e + weight_decay (u + e),  b <- momentum b + g,  step = g + momentum b`` (Nesterov) or b, ``e <- e - eps_k
    step``; ``excess = sum_i lambda_i e_i^2/E``. The buffers hold eps times the gradients, and
    the parameter `decay` is eps times the weight decay.
    """

    numbers = {COUPLED: ("lam", "share", "u")}
    state = ("e", "y")
    sums = ("X",)
    params = {"eps": None, "momentum": 0.0, "nesterov": 0.0, "decay": 0.0, "factor": 1.0}
    folds = ("momentum", "nesterov"), ("nesterov",), ("factor", "decay")
    units = {
        "lam": (0, 1), "share": (-2, 0), "u": (1, 0), "e": (1, 0), "eps": (0, -1), "norm2": (2, 0),
    }  # fmt: skip
    settles = ("decay", "factor")
    may_return = ("momentum",)

    def modes(self, group: str, p: Any, x: Any, c: Any) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
        """See `olsbn.engine.step.Step.modes`."""
        gradient = fma(fma(c.A, p.lam, c.R), x.e, 0.0 if is_zero(c.R) else c.R * p.u)
        y = step = gradient
        if not is_zero(c.momentum):
            y = fma(c.momentum, x.y, gradient)
            step = where(c.nesterov > 0.5, fma(c.momentum, y, gradient), y)
        e = x.e - step if is_one(c.F) else fma(-c.F, step, x.e)
        return {"e": e, "y": y}, {"X": (p.share * e, e)}

    def lanes(self, x: Any) -> dict[str, Any]:
        """See `olsbn.engine.step.Step.lanes`."""
        step = pull = x.decay * x.null
        y_null = 0.0
        if not is_zero(x.momentum):
            y_null = fma(x.momentum, x.y_null, pull)
            step = where(x.nesterov > 0.5, fma(x.momentum, y_null, pull), y_null)
        return {
            "A": x.eps, "R": x.decay, "F": x.factor, "y_null": y_null, "null": x.null - x.factor * step,
            "null_now": x.null, "excess": x.X, "size": 0.0, "growth": INFINITY,
        }  # fmt: skip

    def reported_terms(self, group: str, p: Any, x: Any, c: Any) -> dict[str, tuple[Any, Any]]:
        """See `olsbn.engine.step.Step.reported_terms`."""
        w = p.u + x.e
        return {"Q_now": (w, w)}

    def report(self, x: Any) -> dict[str, Any]:
        """See `olsbn.engine.step.Step.report`."""
        turn = x.eps * x.factor
        return {
            "residual2": x.X, "a": math.nan, "eps_eff": turn, "norm2": x.Q_now, "null": x.null_now, "turn": turn,
            "momentum": x.momentum, "nesterov": x.nesterov,
        }  # fmt: skip


_STEPS = Steps()


class _Prepared:
    """A problem for the closed form, and for the steps."""

    def __init__(self, problem: OLSProblem, **schedule: Any) -> None:
        self._problem = problem
        self.schedule = Schedule(**schedule)

    @cached_property
    def closed(self) -> Any:
        """What the closed form needs."""
        return kernel("gd", "prepare")(self._problem)

    @cached_property
    def steps(self) -> Any:
        """What the steps need."""
        return kernel("gd", "errors")(self._problem)


def _tile(x: _Prepared, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    """Run cells, those of plain GD in closed form."""
    n = params["eps"].size
    closed = np.broadcast_to(is_neutral(params, _FURTHER), (n,)) & (x.schedule.factors(run.n_steps) is None)
    found: tuple[Arrays, Arrays] = {}, {}
    for where_, part in ((closed, kernel("gd", "tile")), (~closed, _by_steps)):
        if where_.any():
            own = {name: values[where_] for name, values in params.items()}
            for whole, columns in zip(found, part(x.closed if where_ is closed else x, own, run), strict=True):
                for name, values in columns.items():
                    whole.setdefault(name, np.zeros((*values.shape[:-1], n), values.dtype))[..., where_] = values
    return found


def _by_steps(x: _Prepared, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    return iterate(_STEPS, x.steps, params, run, schedule=x.schedule)


def _rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    from olsbn.theory import gd_contraction_ratio, gd_momentum_contraction_ratio

    momentum = np.asarray(params["momentum"])
    rate = gd_contraction_ratio(problem, params["eps"], excited=True)
    if np.any(momentum):
        heavy = gd_momentum_contraction_ratio(
            problem, params["eps"], momentum, nesterov=params["nesterov"], excited=True
        )
        rate = np.where(momentum == 0, rate, heavy)
    return np.where(without_a_limit(params), np.nan, rate)


def _marks(facts: Mapping[str, Any]) -> tuple[Mark, ...]:
    label = r"$\varepsilon_{\max} = 2/\lambda_{\max}$: edge of GD (exact)"
    return (Mark("eps", (float(facts.get("eps_max", math.nan)),), ("",), label, True),)


def _best_rates(problem: OLSProblem) -> BestRates:
    """Every learning rate is attained: it is the effective one."""
    from olsbn.theory import spectral_report

    rate = spectral_report(problem).rate_gd_opt
    return BestRates(rate, rate)


def _window(problem: OLSProblem, tol: float, n_steps: int) -> Any:
    from olsbn.theory import eps_window

    return eps_window(problem, tol, n_steps, "gd")


def _ending(problem: OLSProblem, params: Mapping[str, Any], n_steps: int, tol: float) -> Ending:
    from olsbn.theory.endings import gd_steps

    return Ending(*gd_steps(problem, params["eps"], n_steps, tol))


def _first_eps(problem: OLSProblem) -> float:
    from olsbn.theory import spectral_report

    return spectral_report(problem).eps_opt


def _exact(problem: OLSProblem, params: Mapping[str, Any], ask: Ask) -> Exact:
    """Prove a cell, one of plain GD in closed form; see `olsbn.dynamics.base.Method`."""
    from olsbn.balls import closed_form

    unscheduled = params.get("schedule", "constant") == "constant" and params.get("eps_factors") is None
    if unscheduled and is_neutral(params, _FURTHER):
        return closed_form(problem, params["eps"], ask)
    return _by_balls(problem, params, ask)


_by_balls = exactly(_STEPS, "errors")

METHOD = Method(
    name="gd",
    summary="plain gradient descent, in closed form; with momentum, decay or a schedule step by step",
    params=(EPS, *_FURTHER),
    columns=USUAL_COLUMNS,
    prepare=_Prepared,
    tile=_tile,
    numbers=("olsbn.engine.gd", "olsbn.engine.cells", "olsbn.dynamics.groups", "olsbn.dynamics.gd"),
    theory=Theory(
        rate=_rate,
        modules=("olsbn.theory.rates", "olsbn.theory.normalizers"),
        exact=True,
        best_rates=_best_rates,
        window=_window,
        ending=_ending,
        marks=_marks,
        edge=("eps_max", r"$\varepsilon = 2/\lambda_{\max}$"),
        first_eps=_first_eps,
    ),
    step="w <- w + eps (g - H w)",
    sources=("textbook",),
    # closed form: a step costs nothing, but finding the first one within the tolerance costs some powers
    work=lambda dim, n_steps: float(dim) * min(n_steps, 500),
    reducible=(),
    options=SCHEDULES,
    unsteady=("schedule", "eps_factors"),
    check_options=check_schedule,
    color="#d55e00",
    exact=_exact,
)
