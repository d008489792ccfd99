"""Gradient descent with batch normalization [Cai]."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.groups import (
    EPS,
    EPS_A,
    EPS_A_POWER,
    EPS_FACTOR,
    EPS_POWER,
    MOMENTUM,
    NESTEROV,
    SCHEDULES,
    SMOOTHING,
    USUAL_COLUMNS,
    WEIGHT_DECAY,
    InTwoCoordinates,
    check_schedule,
    exactly,
    iterate,
    without_a_limit,
)
from olsbn.dynamics.normalizers import NUMBERS, Deflated, Star
from olsbn.dynamics.predictions import BestRates, Ending, Mark, Theory

if TYPE_CHECKING:
    from olsbn.engine.run import Run
    from olsbn.problems import OLSProblem

_FURTHER = (MOMENTUM, NESTEROV, WEIGHT_DECAY, EPS_POWER, EPS_FACTOR, EPS_A_POWER, SMOOTHING)


_STAR, _DEFLATED = Star(), Deflated()


def prepare(problem: OLSProblem, form: str | None = None, **schedule: Any) -> InTwoCoordinates:
    """Return the coordinates that `tile` iterates; `form` is "star" or "deflated" where one of them is wanted."""
    return InTwoCoordinates(problem, _STAR, _DEFLATED, form, **schedule)


def tile(x: InTwoCoordinates, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    """Run cells; see `olsbn.engine.cells.execute` for what comes back."""
    return iterate(x.step, x.coordinates, params, run, params.get("smoothing"), x.schedule)


def _rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    from olsbn.theory import bngd_contraction_ratio, normalized_contraction_ratio

    rate = bngd_contraction_ratio(problem, cells["eps_eff"], params["eps_a"], excited=True)
    momentum, nesterov, smoothing = (
        np.broadcast_to(params[p.name], np.shape(rate)) for p in (MOMENTUM, NESTEROV, SMOOTHING)
    )
    coupled = (momentum != 0) | (smoothing != 0)
    if np.any(coupled):
        null_share: Any = 0.0
        if problem.w0_null_norm:  # at a minimiser beta u + z, a^2 = E + smoothing (u'u + z'z/beta^2)
            null_share = (cells["a"] ** 2 - problem.explained_var) / smoothing - float(problem.u @ problem.u)
            null_share = np.where(np.isfinite(null_share), np.maximum(null_share, 0), 0)
        general = normalized_contraction_ratio(
            problem, cells["eps_eff"], params["eps_a"], momentum, smoothing, nesterov=nesterov, null_share=null_share,
            excited=True,
        )  # fmt: skip
        rate = np.where(coupled, general, rate)
    return np.where(without_a_limit(params), np.nan, rate)


def _marks(facts: Mapping[str, Any]) -> tuple[Mark, ...]:
    edge = Mark("eps_a", (2.0,), ("",), r"$\varepsilon_a = 2$: edge of BNGD (exact)", True)
    first, last = (float(facts.get(name, math.nan)) for name in ("eps_1", "eps_2"))
    if first < last:
        label = r"$\varepsilon_1$, $\varepsilon_2$: edges of the plateau (asymptotic)"
        return edge, Mark("eps", (first, last), (r"$\varepsilon_1$", r"$\varepsilon_2$"), label, False)
    if 0 < last <= first < math.inf:
        # without a plateau the two are in the other order, and mark nothing
        label = r"$\sqrt{\varepsilon_1 \varepsilon_2}$: no plateau, the laws for small and large $\varepsilon$ meet"
        return edge, Mark("eps", (math.sqrt(first) * math.sqrt(last),), ("",), label, False)
    return (edge,)


def _best_rates(problem: OLSProblem) -> BestRates:
    """Return the best rate of any effective rate, and of those that are attained from this start.

    Of the modes that the start excites: the others contribute nothing.
    """
    from olsbn.theory import bngd_contraction_ratio, effective_rate_regimes
    from olsbn.theory.spectrum import star_extremes

    low, high = star_extremes(problem, True)
    if math.isnan(low):  # w is where it ends
        return BestRates(0.0, 0.0)
    optimal, most = 2 / (low + high), effective_rate_regimes(problem).attainable
    best = (high - low) / (high + low)
    if math.isnan(most) or most >= optimal:
        return BestRates(best, math.nan if math.isnan(most) else best)
    attained = float(bngd_contraction_ratio(problem, most, excited=True))
    return BestRates(best, attained, f"from this start eps_hat settles at {most:.4g} or less")


def _window(problem: OLSProblem, tol: float, n_steps: int) -> Any:
    from olsbn.theory import eps_window

    return eps_window(problem, tol, n_steps, "bngd")


def _ending(problem: OLSProblem, params: Mapping[str, Any], n_steps: int, tol: float) -> Ending:
    from olsbn.theory.endings import bngd_steps, is_degenerate

    steps, limit = bngd_steps(problem, params["eps"], params["eps_a"], n_steps, tol)
    return Ending(steps, limit, is_degenerate(problem))


def _regimes(problem: OLSProblem) -> Any:
    from olsbn.theory import effective_rate_regimes

    return effective_rate_regimes(problem)


def first_eps(problem: OLSProblem) -> float:
    """Return a learning rate that settles at about the best effective rate, by the law for small learning rates."""
    from olsbn.theory import spectral_report

    rate = spectral_report(problem).eps_eff_opt / _regimes(problem).small_slope
    return rate if 0 < rate < math.inf else 1.0


def _remarks(problem: OLSProblem) -> tuple[str, ...]:
    regimes = _regimes(problem)
    if not regimes.decades <= 0:
        return ()
    return (f"no plateau of eps_hat: it rises up to about eps = {regimes.crossing:.4g}, then falls",)


METHOD = Method(
    name="bngd",
    summary="gradient descent with batch normalization",
    params=(EPS, dataclasses.replace(EPS_A, meaning="learning rate of the BN scale a"), *_FURTHER),
    columns=USUAL_COLUMNS,
    prepare=prepare,
    tile=tile,
    numbers=NUMBERS,
    theory=Theory(
        rate=_rate,
        modules=("olsbn.theory.rates", "olsbn.theory.normalizers"),
        best_rates=_best_rates,
        window=_window,
        ending=_ending,
        regimes=_regimes,
        marks=_marks,
        tells_sigma=True,
        edge=("eps_eff_max", r"$\hat\varepsilon = 2/\lambda^*_d$"),
        first_eps=first_eps,
        remarks=_remarks,
    ),
    step="a <- a + eps_a (w'g/sigma - a),  w <- w + eps (a/sigma) (g - (w'g/sigma^2) H w),  sigma^2 = w'H w; "
    "with smoothing, N = H + smoothing I, from the scale a0 nu0/sigma0:  "
    "a <- a + eps_a w'r/nu,  w <- w + eps (a/nu) (r - (w'r/nu^2) N w),  r = g - H w a/nu,  nu^2 = w'N w",
    sources=("Cai, Li, Shen 2019", "Arora, Li, Lyu 2019"),
    beside="gd",
    reducible=("smoothing",),
    options=SCHEDULES,
    unsteady=("schedule", "eps_factors"),
    check_options=check_schedule,
    color="#0072b2",
    exact=exactly(_STAR, identity=lambda params: params.get("smoothing", 0)),
)
