"""Plain gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from olsbn.dynamics.base import Arrays, Method, Param

if TYPE_CHECKING:
    from olsbn.kernels.run import Run
    from olsbn.problems import OLSProblem


def _prepare(problem: OLSProblem) -> Any:
    from olsbn.kernels import gd

    return gd.prepare(problem)


def _tile(x: Any, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    from olsbn.kernels import gd

    return gd.tile(x, params, run)


def _rate(problem: OLSProblem, params: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    from olsbn.theory import gd_contraction_ratio

    return gd_contraction_ratio(problem, params["eps"], excited=True)


METHOD = Method(
    name="gd",
    summary="plain gradient descent, in closed form",
    params=(Param("eps", "eps", "learning rate of w", spacing="log"),),
    columns=("status", "steps_to_tol", "n_steps_run", "excess", "eps_eff", "w_norm", "a", "rate_sim", "rate_theory"),
    prepare=_prepare,
    tile=_tile,
    numbers=("olsbn.kernels.gd",),
    rate_theory=_rate,
    theory=("olsbn.theory.rates",),
    step="w <- w + eps (g - H w)",
    sources=("textbook",),
    # closed form: a step costs nothing, but finding the first one within the tolerance costs some powers
    work=lambda dim, n_steps: float(dim) * min(n_steps, 500),
    color="#c46a00",
)
