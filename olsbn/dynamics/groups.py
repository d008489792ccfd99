"""What methods share: parameters, and how cells with parameters in the problem's units are run by the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import compiling
from olsbn.dynamics.base import Arrays, Option, Param

if TYPE_CHECKING:
    from olsbn.balls import Ask, Exact
    from olsbn.engine.cells import Schedules
    from olsbn.engine.coordinates import Coordinates
    from olsbn.engine.run import Run
    from olsbn.engine.step import Step
    from olsbn.problems import OLSProblem

# What a cell has of every method that iterates modes.
USUAL_COLUMNS = (
    "status",
    "steps_to_tol",
    "n_steps_run",
    "excess",
    "eps_eff",
    "w_norm",
    "a",
    "by_rounding",
    "rate_sim",
    "rate_theory",
)
EPS = Param("eps", "eps", "learning rate of w", spacing="log", words="learning rate")
EPS_A = Param("eps_a", "eps_a", "learning rate of the scale a", default=1.0, words="learning rate of the BN scale")
MOMENTUM = Param("momentum", "m", "momentum, of w and of a", default=0.0, high=1.0, words="momentum")
NESTEROV = Param(
    "nesterov", "nesterov", "1: Nesterov's momentum, 0: the heavy ball's", default=0.0, high=1.0, kind="count"
)
WEIGHT_DECAY = Param("weight_decay", "lambda_wd", "weight decay on w", default=0.0, words="weight decay")
EPS_POWER = Param(
    "eps_power",
    "alpha",
    "learning rate of w falls like (k+1)^-eps_power",
    default=0.0,
    words="power of the falling learning rate",
)
EPS_FACTOR = Param(
    "eps_factor",
    "q",
    "learning rate of w is multiplied by this at each step",
    default=1.0,
    words="factor of the learning rate a step",
)
EPS_A_POWER = Param(
    "eps_a_power",
    "alpha_a",
    "learning rate of a falls like (k+1)^-eps_a_power",
    default=0.0,
    words="power of the falling rate of the scale",
)
SMOOTHING = Param("smoothing", "delta", "nu^2 = w'(H + delta I)w in place of sigma^2", default=0.0, words="smoothing")
REPLICATE = Param("replicate", "replicate", "number of the stream of random batches", default=0.0, kind="count")
# Schedules by name, of the learning rate of w alone.
SCHEDULES = (
    Option(
        "schedule", "of the learning rate of w over the run", "constant",
        ("constant", "cosine", "warmup-cosine", "wsd"), neutral=True,
    ),
    Option("warmup", "steps of the schedule's warm-up", 0, neutral=True),
    Option("decay", "last share of the steps in which the schedule wsd falls", 0.0, kind="share", neutral=True),
    Option("floor", "least factor of the schedule", 0.0, kind="share", neutral=True),
    Option("eps_factors", "factors of the learning rate of w at each step", None, kind="steps", neutral=True),
)  # fmt: skip
_PARTS = {"warmup": ("warmup-cosine", "wsd"), "decay": ("wsd",), "floor": ("cosine", "warmup-cosine", "wsd")}


def check_schedule(options: Mapping[str, Any]) -> None:
    """Refuse parts of a schedule that the one named does not have."""
    for name, names in _PARTS.items():
        if options[name] and options["schedule"] not in names:
            raise ValueError(f"{name} goes with schedule {' or '.join(names)}, got it with {options['schedule']!r}")
    if options["eps_factors"] is not None and options["schedule"] != "constant":
        raise ValueError(f"eps_factors must be left out with a schedule by name, got {options['schedule']!r}")


class Schedule:
    """The factors of the learning rate of w that a method's options ask for."""

    def __init__(self, eps_factors: Any = None, schedule: str = "constant", **parts: Any) -> None:
        self._given, self._name, self._parts = eps_factors, schedule, {"warmup": 0, "decay": 0.0, "floor": 0.0} | parts

    def factors(self, n_steps: int) -> Any:
        """Return the factors at steps 0..n_steps, None where the learning rate stays."""
        from olsbn.engine.schedules import named

        if self._given is not None:
            return np.array(self._given)
        return None if self._name == "constant" else named(self._name, n_steps, **self._parts)


BATCH_SIZE = Param(
    "batch_size", "m", "rows of a batch", default=32.0, low=3.0, high=2.0**32, kind="count", words="batch size"
)


def kernel(module: str, name: str) -> Callable[..., Any]:
    """Return a function of `olsbn.engine.<module>`, imported when it is first called: compilers take time to load."""

    def call(*args: Any, **options: Any) -> Any:
        compiling.listen()
        return getattr(import_module(f"olsbn.engine.{module}"), name)(*args, **options)

    return call


class InTwoCoordinates:
    """A problem in the eigenbasis of H*, or above `LARGEST_DIM` in deflated coordinates, and the step of each."""

    def __init__(
        self, problem: OLSProblem, star: Step, deflated: Step, form: str | None = None, **schedule: Any
    ) -> None:
        """Take `form`, "star" or "deflated", where one of them is asked for: each is a check on the other."""
        from olsbn.engine import split

        in_star = (form or ("star" if problem.dim <= split.LARGEST_DIM else "deflated")) == "star"
        self.step = star if in_star else deflated
        self.schedule = Schedule(**schedule)
        self.coordinates = (split.star if in_star else split.deflated)(problem)


def iterate(
    step: Step,
    x: Coordinates,
    params: Mapping[str, Any],
    run: Run,
    identity: Any = None,
    schedule: Schedule | None = None,
) -> tuple[Arrays, Arrays]:
    """Run cells with parameters in the problem's own units; `identity` is c of ``N = h H + c I``, also in them."""
    from olsbn.engine.cells import execute

    compiling.listen()
    n = max([1, *(np.size(values) for values in params.values())])
    with np.errstate(all="ignore"):
        eps = params.get("eps", np.ones(n))
        # on the sphere w has a unit of its own
        eps_exp = x.eps_exp - 2 * x.w_exp if step.on_sphere else x.eps_exp
        own = {"eps": np.ldexp(eps, eps_exp), "eps_a": params.get("eps_a", np.ones(n))}
        if "weight_decay" in params:
            # a product, since a run that rescales w would take its factors out of range
            own["decay"] = eps * params["weight_decay"]
        if identity is not None:
            own["identity"] = np.ldexp(identity, x.eigval_exp)
        own |= {name: params[name] for name in ("momentum", "nesterov") if name in params}
        return execute(step, x, own, run, _schedules(params, run.n_steps, n, schedule))


def _schedules(params: Mapping[str, Any], n_steps: int, n: int, schedule: Schedule | None) -> Schedules | None:
    """Return the tables by which the learning rates of n cells change, each once; None where all of them stay."""
    from olsbn.engine.cells import Schedules
    from olsbn.engine.schedules import tables

    powers = [params.get(name, np.zeros(n)) for name in ("eps_power", "eps_a_power")]
    factors = [params.get("eps_factor", np.ones(n)), np.ones(n)]
    base = schedule.factors(n_steps) if schedule is not None else None
    if base is None and not any(np.any(power) for power in powers) and np.all(factors[0] == 1):
        return None
    rows, which = tables(n_steps + 1, np.concatenate(powers), np.concatenate(factors))
    of_w, of_a = which[:n], which[n:]
    if base is not None:
        rows, of_a = np.concatenate([rows * base, rows]), of_a + len(rows)
    return Schedules(rows, np.stack([of_w, of_a], axis=1))


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
            "factor": balls.Rates(
                float(params.get("eps_power", 0)),
                float(params.get("eps_factor", 1)),
                params.get("schedule", "constant"),
                **{name: params[name] for name in _PARTS if name in params},
                given=params.get("eps_factors"),
            ),
            "factor_a": balls.Rates(float(params.get("eps_a_power", 0))),
        }
        return balls.by_steps(step, getattr(balls, coordinates), problem, own, schedules, ask)

    return exact


def with_norm(found: Exact, norm: Callable[[Any], Any]) -> Exact:
    """Return a proved cell with the norm of w that the method tells, from that of the w that is iterated."""
    trace = {k: (excess, eps_eff, a, norm(w)) for k, (excess, eps_eff, a, w) in found.trace.items()}
    return found._replace(w_norm=norm(found.w_norm), trace=trace)


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
