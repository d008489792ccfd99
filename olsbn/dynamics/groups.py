"""What methods share: parameters, and how cells with parameters in the problem's units are run by the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Param

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.engine.coordinates import Coordinates
    from olsbn.engine.run import Run
    from olsbn.engine.step import Step
    from olsbn.problems import OLSProblem

EPS = Param("eps", "eps", "learning rate of w", spacing="log")
EPS_A = Param("eps_a", "eps_a", "learning rate of the scale a", default=1.0)
MOMENTUM = Param("momentum", "m", "momentum, of w and of a", default=0.0, high=1.0)
NESTEROV = Param(
    "nesterov", "nesterov", "1: Nesterov's momentum, 0: the heavy ball's", default=0.0, high=1.0, kind="count"
)
WEIGHT_DECAY = Param("weight_decay", "lambda_wd", "weight decay on w", default=0.0)
EPS_POWER = Param("eps_power", "alpha", "learning rate of w falls like (k+1)^-eps_power", default=0.0)
EPS_FACTOR = Param("eps_factor", "q", "learning rate of w is multiplied by this at each step", default=1.0)
EPS_A_POWER = Param("eps_a_power", "alpha_a", "learning rate of a falls like (k+1)^-eps_a_power", default=0.0)
SMOOTHING = Param("smoothing", "delta", "sigma^2 = w'(H + delta I)w", default=0.0)
REPLICATE = Param("replicate", "replicate", "number of the stream of random batches", default=0.0, kind="count")
BATCH_SIZE = Param("batch_size", "m", "rows of a batch", default=32.0, low=3.0, high=2.0**32, kind="count")


def kernel(module: str, name: str) -> Callable[..., Any]:
    """Return a function of `olsbn.engine.<module>`, imported when it is first called: compilers take time to load."""

    def call(*args: Any, **options: Any) -> Any:
        return getattr(import_module(f"olsbn.engine.{module}"), name)(*args, **options)

    return call


class InTwoCoordinates:
    """A problem in the eigenbasis of H*, or above `LARGEST_DIM` in deflated coordinates, and the step of each."""

    def __init__(self, problem: OLSProblem, star: Step, deflated: Step, form: str | None = None) -> None:
        """Take `form`, "star" or "deflated", where one of them is asked for: each is a check on the other."""
        from olsbn.engine import split

        in_star = (form or ("star" if problem.dim <= split.LARGEST_DIM else "deflated")) == "star"
        self.step = star if in_star else deflated
        self.coordinates = (split.star if in_star else split.deflated)(problem)


def iterate(
    step: Step, x: Coordinates, params: Mapping[str, Any], run: Run, identity: Any = None, options: Any = None
) -> tuple[Arrays, Arrays]:
    """Run cells with parameters in the problem's own units; `identity` is c of ``N = h H + c I``, also in them."""
    from olsbn.engine.cells import Schedules, execute
    from olsbn.engine.schedules import tables

    n = max([1, *(np.size(values) for values in params.values())])
    with np.errstate(all="ignore"):
        own = {"eps": np.ldexp(params.get("eps", np.ones(n)), x.eps_exp), "eps_a": params.get("eps_a", np.ones(n))}
        # a product, since a run that rescales w would take its factors out of range
        own["decay"] = params.get("eps", np.ones(n)) * params.get("weight_decay", np.zeros(n))
        own["identity"] = np.ldexp(np.zeros(n) if identity is None else identity, x.eigval_exp)
        own |= {name: params[name] for name in ("momentum", "nesterov") if name in params}
        zero, one = np.zeros(n), np.ones(n)
        powers = [params.get(name, zero) for name in ("eps_power", "eps_a_power")]
        rows, which = tables(
            run.n_steps + 1, np.concatenate(powers), np.concatenate([params.get("eps_factor", one), one])
        )
        return execute(step, x, own, run, Schedules(rows, np.stack([which[:n], which[n:]], axis=1)))


def exactly(
    step: Step, coordinates: str = "star", identity: Callable[[Mapping[str, Any]], Any] = lambda params: 0
) -> Callable[[OLSProblem, Mapping[str, Any], Ask], Exact]:
    """Return `Method.exact` of a step: `iterate` for one cell in balls.

    `coordinates` are those of `olsbn.balls`, and ``identity(params)`` is c of ``N = h H + c I``.
    """

    def exact(problem: OLSProblem, params: Mapping[str, Any], ask: Ask) -> Exact:
        from olsbn import balls

        if "eps_a" in step.params and (stationary := balls.stationary(problem)) is not None:
            return stationary
        eps, decay = (Fraction(params.get(name, default)) for name, default in (("eps", 1), ("weight_decay", 0)))
        own = {"eps": eps, "eps_a": Fraction(params.get("eps_a", 1)), "decay": eps * decay}
        own["identity"] = Fraction(identity(params))
        own |= {name: Fraction(params[name]) for name in ("momentum", "nesterov") if name in params}
        own = {name: own[name] for name in step.params if name in own}
        schedules = {
            "factor": (float(params.get("eps_power", 0)), float(params.get("eps_factor", 1))),
            "factor_a": (float(params.get("eps_a_power", 0)), 1.0),
        }
        return balls.by_steps(step, getattr(balls, coordinates), problem, own, schedules, ask)

    return exact


def is_neutral(params: Mapping[str, Any], further: Sequence[Param]) -> Any:
    """Return for each cell whether all the parameters `further` have their neutral values."""
    neutral = True
    for param in further:
        if param.name in params:
            neutral = neutral & (params[param.name] == param.default)
    return neutral


def without_a_limit(params: Mapping[str, Any]) -> Any:
    """Return for each cell whether decay or a schedule keeps the error from shrinking at a constant ratio."""
    return ~np.asarray(is_neutral(params, (WEIGHT_DECAY, EPS_POWER, EPS_FACTOR, EPS_A_POWER)))
