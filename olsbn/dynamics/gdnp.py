"""GDNP [Kohler]: BNGD in direction, with the best scale and the effective learning rate 1/lambda_max at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.groups import USUAL_COLUMNS, InTwoCoordinates, exactly, iterate
from olsbn.dynamics.normalizers import NUMBERS, BestScaleDeflated, BestScaleStar
from olsbn.dynamics.predictions import Theory

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.engine.run import Run
    from olsbn.problems import OLSProblem

_STAR, _DEFLATED = BestScaleStar(), BestScaleDeflated()


def _at_best_scale(problem: OLSProblem) -> OLSProblem:
    """Return the problem with the start that GDNP has: its a is always the best one, 0 on a saddle."""
    return replace(problem, a0=None)  # type: ignore[arg-type]


def _prepare(problem: OLSProblem) -> InTwoCoordinates:
    return InTwoCoordinates(_at_best_scale(problem), _STAR, _DEFLATED)


def _tile(x: InTwoCoordinates, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    """Run one cell, and return as many equal ones as any parameter given has."""
    n = max([1, *(values.size for values in params.values())])
    cells, trace = iterate(x.step, x.coordinates, {}, run)
    return (
        {name: np.repeat(values, n) for name, values in cells.items()},
        {name: np.repeat(values, n, axis=1) for name, values in trace.items()},
    )


def _rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    from olsbn.theory import bngd_contraction_ratio

    return bngd_contraction_ratio(problem, cells["eps_eff"], 1.0, excited=True)


def _exact(problem: OLSProblem, params: Mapping[str, Any], ask: Ask) -> Exact:
    return _by_balls(_at_best_scale(problem), params, ask)


_by_balls = exactly(_STAR)

METHOD = Method(
    name="gdnp",
    summary="gradient descent in normalized parameters, which chooses its own step lengths",
    params=(),
    columns=USUAL_COLUMNS,
    prepare=_prepare,
    tile=_tile,
    numbers=(*NUMBERS, "olsbn.dynamics.gdnp"),
    theory=Theory(
        rate=_rate, modules=("olsbn.theory.rates",), edge=("eps_eff_max", r"$\hat\varepsilon = 2/\lambda^*_d$")
    ),
    step="a = w'g/sigma,  w <- w + (g/q - H w)/lambda_max,  q = w'g/sigma^2,  sigma^2 = w'H w",
    sources=("Kohler et al. 2019",),
    color="#009e73",
    exact=_exact,
)
