"""Gradient descent with batch normalization [Cai]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from olsbn.dynamics.base import Arrays, Method, Param

if TYPE_CHECKING:
    from olsbn.kernels.run import Run
    from olsbn.problems import OLSProblem


def _prepare(problem: OLSProblem) -> Any:
    from olsbn.kernels import bngd

    return bngd.prepare(problem)


def _tile(x: Any, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    from olsbn.kernels import bngd

    return bngd.tile(x, params, run)


def _rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    from olsbn.theory import bngd_contraction_ratio

    return bngd_contraction_ratio(problem, cells["eps_eff"], params["eps_a"], excited=True)


METHOD = Method(
    name="bngd",
    summary="gradient descent with batch normalization",
    params=(
        Param("eps", "eps", "learning rate of w", spacing="log"),
        Param("eps_a", "eps_a", "learning rate of the BN scale a", default=1.0),
    ),
    columns=("status", "steps_to_tol", "n_steps_run", "excess", "eps_eff", "w_norm", "a", "rate_sim", "rate_theory"),
    prepare=_prepare,
    tile=_tile,
    numbers=("olsbn.kernels.bngd",),
    rate_theory=_rate,
    theory=("olsbn.theory.rates",),
    step="a <- a + eps_a (w'g/sigma - a),  w <- w + eps (a/sigma) (g - (w'g/sigma^2) H w),  sigma^2 = w'H w",
    sources=("Cai, Li, Shen 2019",),
    color="#1f5fa8",
)
