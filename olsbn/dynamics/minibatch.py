"""Stochastic gradient descent with batch normalization, statistics of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from olsbn.dynamics.base import Method, Option, Param
from olsbn.dynamics.bngd import first_eps
from olsbn.dynamics.groups import BATCH_SIZE, EPS, EPS_A, EPS_A_POWER, EPS_POWER, REPLICATE, WEIGHT_DECAY, kernel
from olsbn.dynamics.predictions import Theory

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.problems import OLSProblem

AVERAGING = Param(
    "averaging",
    "mu",
    "weight of a new batch in the running averages that `excess_running` is evaluated with (layers: 0.1); 0: none kept",
    default=0.0,
    high=1.0,
)


def _exact(problem: OLSProblem, params: Mapping[str, Any], ask: Ask) -> Exact:
    from olsbn.exact_minibatch import exact_cell

    options = {name: params[name] for name in ("seed", "sampling") if name in params}
    numbers = {name: value for name, value in params.items() if name not in options}
    stop = "tol" if ask.stop_at_tol else "steps"
    return exact_cell(problem, numbers, ask.n_steps, ask.tol, stop, ask.record, bits=ask.bits, **options)


METHOD = Method(
    name="minibatch",
    summary="stochastic gradient descent with batch normalization by the statistics of each batch",
    params=(EPS, EPS_A, BATCH_SIZE, REPLICATE, EPS_POWER, EPS_A_POWER, WEIGHT_DECAY, AVERAGING),
    columns=(
        "status",
        "steps_to_tol",
        "n_steps_run",
        "excess",
        "excess_running",
        "excess_batch",
        "gap",
        "eps_eff",
        "w_norm",
        "a",
        "by_rounding",
        "rate_sim",
        "rate_theory",
    ),
    prepare=kernel("minibatch", "prepare"),
    tile=kernel("minibatch", "tile"),
    numbers=("olsbn.engine.minibatch",),
    step="a <- a - eps_a d/da J_B,  w <- w - eps d/dw J_B,  J_B = mean_B (y - a (z - mean_B z)/sd_B z)^2/2,  z = x'w",
    sources=("Ioffe, Szegedy 2015", "Arora, Li, Lyu 2019"),
    # both are those of the whole sample
    theory=Theory(edge=("eps_eff_max", r"$\hat\varepsilon = 2/\lambda^*_d$"), first_eps=first_eps),
    work=lambda dim, n_steps: 100.0 * dim * n_steps,  # some 30 rows of a batch, three times
    options=(
        Option("seed", "of the streams of batches", 0),
        Option(
            "sampling",
            "rows in a new order each epoch, drawn with replacement, fresh from N(0, H), or in a single order",
            "epoch",
            ("epoch", "replacement", "gaussian", "single"),
        ),
    ),
    in_run=("batches",),
    needs_sample=True,
    color="#56b4e9",
    exact=_exact,
)
