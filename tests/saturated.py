"""A method from outside the package, on the engine: gradient descent whose long steps are shortened."""

from fractions import Fraction

import numpy as np

from olsbn.dynamics.base import Method, Param
from olsbn.dynamics.predictions import Theory
from olsbn.engine.describe import INFINITY, fma, is_zero, sqrt
from olsbn.engine.step import COUPLED, Step
from olsbn.quantity import Column


class Saturated(Step):
    numbers = {COUPLED: ("lam", "share", "u")}
    state = ("e",)  # the error w - u of a mode
    sums = ("X", "G")  # the excess, and the squared norm of the gradient
    params = {"eps": None, "slack": 0.0}
    folds = (("slack",),)
    units = {"lam": (0, 1), "share": (-2, 0), "u": (1, 0), "e": (1, 0), "eps": (0, -1), "slack": (-1, 0),
             "A": (0, -1), "G": (2, 2), "norm2": (2, 0), "step_length": (1, 0)}  # fmt: skip
    told = ("shortened", "step_length")

    def modes(self, group, p, x, c):
        e = fma(-c.A, p.lam, 1.0) * x.e
        gradient = p.lam * e
        return {"e": e}, {"X": (p.share * e, e), "G": (gradient, gradient)}

    def lanes(self, x):
        A = x.eps
        if not is_zero(x.slack):
            move = x.slack * x.eps
            A = x.eps / sqrt(fma(move * move, x.G, 1.0))
        return {"A": A, "null": x.null, "excess": x.X, "size": 0.0, "growth": INFINITY}

    def reported_terms(self, group, p, x, c):
        w = p.u + x.e
        return {"Q_now": (w, w)}

    def report(self, x):
        own = {"shortened": x.A / x.eps, "step_length": x.A * sqrt(x.G)}
        return own | {"residual2": x.X, "a": np.nan, "eps_eff": x.A, "norm2": x.Q_now, "null": x.null, "turn": x.A}


STEP = Saturated()


def prepare(problem):
    from olsbn.engine.gd import errors

    return errors(problem)


def tile(x, params, run):
    from olsbn.engine.cells import execute

    own = {"eps": np.ldexp(params["eps"], x.eps_exp), "slack": np.ldexp(params["slack"], -x.w_exp)}
    return execute(STEP, x, own, run)


def rate(problem, params, cells):
    from olsbn.theory import gd_contraction_ratio

    return gd_contraction_ratio(problem, params["eps"], excited=True)


def exact(problem, params, ask):
    from olsbn import balls

    own = {name: Fraction(params[name]) for name in STEP.params}
    return balls.by_steps(STEP, balls.errors, problem, own, {}, ask)


METHOD = Method(
    name="saturated",
    summary="gradient descent whose long steps are shortened",
    params=(
        Param("eps", "eps", "learning rate of w", spacing="log"),
        Param("slack", "s", "1 over the length that no step exceeds", default=0.0),
    ),
    columns=(
        *("status", "steps_to_tol", "n_steps_run", "excess", "eps_eff", "w_norm", "a", "by_rounding"),
        *("rate_sim", "rate_theory"),
        Column("shortened", "A/eps", "factor by which the step is shortened", scale="linear"),
        Column("step_length", "||m||", "length of the step", tex=r"\|m\|"),
    ),
    prepare=prepare,
    tile=tile,
    numbers=("saturated", "olsbn.engine.cells", "olsbn.engine.gd"),
    theory=Theory(rate=rate, modules=("olsbn.theory.rates",)),
    step="w <- w + m/sqrt(1 + s^2 ||m||^2),  m = eps (g - H w)",
    exact=exact,
)
