"""Gradient descent with weight normalization: the model a x'w/||w||."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.bngd import first_eps
from olsbn.dynamics.groups import EPS, EPS_A, USUAL_COLUMNS, InTwoCoordinates, exactly, iterate
from olsbn.dynamics.normalizers import NUMBERS, WeightNormalizedDeflated, WeightNormalizedStar
from olsbn.dynamics.predictions import Theory

if TYPE_CHECKING:
    from olsbn.engine.run import Run
    from olsbn.problems import OLSProblem

_STAR, _DEFLATED = WeightNormalizedStar(), WeightNormalizedDeflated()


def _prepare(problem: OLSProblem) -> InTwoCoordinates:
    return InTwoCoordinates(problem, _STAR, _DEFLATED)


def _tile(x: InTwoCoordinates, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    return iterate(x.step, x.coordinates, params, run, identity=np.ones(params["eps"].size))


def _rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    from olsbn.theory import normalized_contraction_ratio

    null_share: Any = 0.0
    if problem.w0_null_norm:  # at a minimiser beta u + z, a^2 = u'u + z'z/beta^2
        null_share = cells["a"] ** 2 - float(problem.u @ problem.u)
        null_share = np.where(np.isfinite(null_share), np.maximum(null_share, 0), 0)
    return normalized_contraction_ratio(
        problem, cells["eps_eff"], params["eps_a"], normalizer="wn", null_share=null_share, excited=True
    )


METHOD = Method(
    name="wngd",
    summary="gradient descent with weight normalization",
    params=(EPS, EPS_A),
    columns=USUAL_COLUMNS,
    prepare=_prepare,
    tile=_tile,
    numbers=(*NUMBERS, "olsbn.dynamics.wngd"),
    # at a minimiser the effective rate is eps/beta^2 for any normaliser
    theory=Theory(rate=_rate, modules=("olsbn.theory.normalizers",), first_eps=first_eps),
    step="a <- a + eps_a w'r/||w||,  w <- w + eps (a/||w||) (r - (w'r/||w||^2) w),  r = g - a H w/||w||; "
    "from the scale a0 ||w0||/sigma0",
    sources=("Salimans, Kingma 2016",),
    color="#cc79a7",
    exact=exactly(_STAR, identity=lambda params: 1),
)
