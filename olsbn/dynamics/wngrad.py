"""WNGrad [Wu, Ward, Bottou] on the loss of batch normalization, without the projection that would make it BNGD.

[Arora], Theorem 2.5 and Remark 2.6: with ``v = w/||w||`` and ``G = ||w||^2``, gradient descent on w is

    v <- Pi(v - (eps/G) grad F(v)),   G <- G + (eps^2/G) ||grad F(v)||^2,   Pi(v) = v/||v||,

which "can be seen as WNGrad with projection to unit sphere after each step". So WNGrad with the projection is `bngd`,
digit for digit. This method is WNGrad as its authors have it, without Pi: ``||v||`` grows as well as G does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from olsbn.dynamics.base import Arrays, Method
from olsbn.dynamics.bngd import first_eps
from olsbn.dynamics.groups import EPS, EPS_A, USUAL_COLUMNS, InTwoCoordinates, exactly, iterate, with_norm
from olsbn.dynamics.normalizers import NUMBERS, WNGradDeflated, WNGradStar
from olsbn.dynamics.predictions import Theory
from olsbn.dynamics.sphere import bn_rate

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.engine.run import Run
    from olsbn.problems import OLSProblem

_STAR, _DEFLATED = WNGradStar(), WNGradDeflated()


def _prepare(problem: OLSProblem, form: str | None = None) -> InTwoCoordinates:
    return InTwoCoordinates(problem, _STAR, _DEFLATED, form)


def _tile(x: InTwoCoordinates, params: Arrays, run: Run) -> tuple[Arrays, Arrays]:
    start = x.coordinates.w0_norm or 1.0
    cells, trace = iterate(x.step, x.coordinates, params, run)
    return tuple(columns | {"w_norm": columns["w_norm"] / start} for columns in (cells, trace))  # type: ignore[return-value]


_by_balls = exactly(_STAR)


def _exact(problem: OLSProblem, params: Mapping[str, Any], ask: Ask) -> Exact:
    from olsbn import balls

    with balls.precision(2 * balls.WANTED_BITS):
        weights = [balls.ball(w) for w in [*problem.w0.tolist(), problem.w0_null_norm]]
        start = sum(w * w for w in weights).sqrt()
        return with_norm(_by_balls(problem, params, ask), lambda norm: norm / start if norm > 0 else norm)


METHOD = Method(
    name="wngrad",
    summary="WNGrad on the loss of batch normalization, without projection; with it, it is bngd",
    params=(EPS, EPS_A),
    columns=USUAL_COLUMNS,
    prepare=_prepare,
    tile=_tile,
    numbers=(*NUMBERS, "olsbn.dynamics.wngrad"),
    theory=Theory(
        rate=bn_rate,
        modules=("olsbn.theory.rates",),
        edge=("eps_eff_max", r"$\hat\varepsilon = 2/\lambda^*_d$"),
        first_eps=first_eps,
    ),
    step="a <- a + eps_a (w'g/sigma - a),  w <- w - (eps/G) d,  G <- G + (eps^2/G) ||d||^2,  "
    "d = -(a/sigma) (g - (w'g/sigma^2) H w),  sigma^2 = w'H w; from w0/||w0||, G = ||w0||^2",
    sources=("Wu, Ward, Bottou 2018", "Arora, Li, Lyu 2019"),
    color="#e69f00",
    exact=_exact,
)
