"""Gradient descent with batch normalization and w projected to the unit sphere: the effective rate is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.groups import EPS, EPS_A, USUAL_COLUMNS, InTwoCoordinates, exactly, iterate, with_norm
from olsbn.dynamics.normalizers import NUMBERS, OnSphereDeflated, OnSphereStar
from olsbn.dynamics.predictions import Theory

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.engine.run import Run
    from olsbn.problems import OLSProblem

_STAR, _DEFLATED = OnSphereStar(), OnSphereDeflated()


def _prepare(problem: OLSProblem, form: str | None = None) -> InTwoCoordinates:
    return InTwoCoordinates(problem, _STAR, _DEFLATED, form)


def _projected(columns: Arrays) -> Arrays:
    """Return columns with the norm that w has: 1, and 0 where there is nothing to project."""
    return columns | {"w_norm": np.where(columns["w_norm"] > 0, 1.0, columns["w_norm"])}


def _tile(x: InTwoCoordinates, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    cells, trace = iterate(x.step, x.coordinates, params, run)
    return _projected(cells), _projected(trace)


def bn_rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    """Return BN's ratio: a step's norm changes in second order only, so near a minimiser eps_eff alone decides."""
    from olsbn.theory import bngd_contraction_ratio

    return bngd_contraction_ratio(problem, cells["eps_eff"], params["eps_a"], excited=True)


def _first_eps(problem: OLSProblem) -> float:
    """Return the learning rate of the best effective rate, which without a part in the null space is exact."""
    from olsbn.theory import spectral_report

    rate = spectral_report(problem).eps_eff_opt / float(problem.u @ problem.u)
    return rate if 0 < rate < np.inf else 1.0


_by_balls = exactly(_STAR)


def _exact(problem: OLSProblem, params: Mapping[str, Any], ask: Ask) -> Exact:
    return with_norm(_by_balls(problem, params, ask), lambda norm: norm * 0 + 1 if norm > 0 else norm)


METHOD = Method(
    name="sphere",
    summary="gradient descent with batch normalization, w scaled to norm 1 at the start and after each step",
    params=(EPS, EPS_A),
    columns=USUAL_COLUMNS,
    prepare=_prepare,
    tile=_tile,
    numbers=(*NUMBERS, "olsbn.dynamics.sphere"),
    # at a minimiser beta u + z on the sphere eps_eff is eps/beta^2 = eps (||u||^2 + ||z||^2/beta^2)
    theory=Theory(
        rate=bn_rate,
        modules=("olsbn.theory.rates",),
        edge=("eps_eff_max", r"$\hat\varepsilon = 2/\lambda^*_d$"),
        first_eps=_first_eps,
    ),
    step="a <- a + eps_a (w'g/sigma - a),  w <- Pi(w + eps (a/sigma) (g - (w'g/sigma^2) H w)),  sigma^2 = w'H w,  "
    "Pi(w) = w/||w||; from Pi(w0)",
    sources=("Kodryan et al. 2022", "Arora, Li, Lyu 2019"),
    color="#7f6000",
    exact=_exact,
)
