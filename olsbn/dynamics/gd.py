"""Plain gradient descent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.groups import (
    EPS,
    EPS_FACTOR,
    EPS_POWER,
    MOMENTUM,
    WEIGHT_DECAY,
    OnTwoKernels,
    is_neutral,
    without_a_limit,
)
from olsbn.dynamics.predictions import BestRates, Ending, Mark, Theory

if TYPE_CHECKING:
    from olsbn.kernels.run import Run
    from olsbn.problems import OLSProblem

_FURTHER = (MOMENTUM, WEIGHT_DECAY, EPS_POWER, EPS_FACTOR)


def _tile(x: OnTwoKernels, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    return x.tile(params, run, is_neutral(params, _FURTHER))


def _rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    from olsbn.theory import gd_contraction_ratio, gd_momentum_contraction_ratio

    momentum = np.asarray(params["momentum"])
    rate = gd_contraction_ratio(problem, params["eps"], excited=True)
    if np.any(momentum):
        heavy = gd_momentum_contraction_ratio(problem, params["eps"], momentum, excited=True)
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


METHOD = Method(
    name="gd",
    summary="plain gradient descent, in closed form; with momentum, decay or a schedule step by step",
    params=(EPS, *_FURTHER),
    columns=("status", "steps_to_tol", "n_steps_run", "excess", "eps_eff", "w_norm", "a", "rate_sim", "rate_theory"),
    prepare=lambda problem: OnTwoKernels(problem, "gd", "gd_steps"),
    tile=_tile,
    numbers=("olsbn.kernels.gd", "olsbn.kernels.gd_steps"),
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
    color="#d55e00",
)
