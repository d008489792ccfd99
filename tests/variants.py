"""Every variant of every step, with parameters that no other variant serves, and problems with hard starts."""

import itertools
from types import SimpleNamespace
from typing import Any, NamedTuple

import naive_methods as twins
import numpy as np
import printed

from olsbn import OLSProblem
from olsbn.dynamics import gd, normalizers
from olsbn.dynamics.groups import iterate
from olsbn.dynamics.registry import METHODS
from olsbn.engine import split
from olsbn.engine.gd import errors
from olsbn.engine.run import Run
from olsbn.engine.step import Step

STAR, DEFLATED = split.star, split.deflated

# Step, its coordinates, the method whose printed update it is.
STEPS = {
    "star": (normalizers.Star(), STAR, "bngd"),
    "deflated": (normalizers.Deflated(), DEFLATED, "bngd"),
    "wn-star": (normalizers.WeightNormalizedStar(), STAR, "wngd"),
    "wn-deflated": (normalizers.WeightNormalizedDeflated(), DEFLATED, "wngd"),
    "gdnp-star": (normalizers.BestScaleStar(), STAR, "gdnp"),
    "gdnp-deflated": (normalizers.BestScaleDeflated(), DEFLATED, "gdnp"),
    "sphere-star": (normalizers.OnSphereStar(), STAR, "sphere"),
    "sphere-deflated": (normalizers.OnSphereDeflated(), DEFLATED, "sphere"),
    "wngrad-star": (normalizers.WNGradStar(), STAR, "wngrad"),
    "wngrad-deflated": (normalizers.WNGradDeflated(), DEFLATED, "wngrad"),
    "gd": (gd.Steps(), errors, "gd"),
}

# Methods that have no further parameters.
PLAIN = "gdnp", "sphere", "wngrad"

# Values that are not neutral, in the words of the methods, for each parameter of the steps; `identity` is smoothing.
GIVEN = {
    "momentum": {"momentum": 0.4},
    "nesterov": {"momentum": 0.4, "nesterov": 1.0},
    "decay": {"weight_decay": 0.02},  # times 1/eps
    "identity": {"smoothing": 0.6},
    "factor": {"eps_power": 0.3, "eps_factor": 0.98},
    "factor_a": {"eps_a_power": 0.2},
}
NEUTRAL = {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0, "smoothing": 0.0, "eps_power": 0.0, "eps_factor": 1.0,
           "eps_a_power": 0.0}  # fmt: skip


class Variant(NamedTuple):
    """A variant of a step: the parameters `folded` are neutral, all others are not."""

    name: str  # of the step
    step: Step
    coordinates: Any
    method: str
    folded: tuple[str, ...]
    params: dict[str, float]  # besides the learning rates

    def __str__(self):
        return f"{self.name}:{'-'.join(self.params) or 'plain'}"

    def rates(self, problem, size=0.4):
        """Return learning rates for which the run neither creeps nor bursts: eps_eff begins at size/lambda_max."""
        if self.method == "gdnp":
            return {}
        u2 = float(problem.u @ problem.u)
        found = {"eps": size / float(problem.eigvals[-1])}
        if self.method != "gd":
            found["eps"] *= (
                1 if self.method == "sphere" else float(problem.w0 @ problem.w0 + problem.w0_null_norm**2)
            ) / u2
            found["eps_a"] = 0.7 if self.method != "wngd" else 0.7 * u2 / problem.explained_var
        if "weight_decay" in self.params:
            found["weight_decay"] = self.params["weight_decay"] / found["eps"]
        return found

    def run(self, problem, rates, run, params=None):
        """Run one cell, or cells with the given parameters; return columns and trace."""
        params = {**(self.params if params is None else params), **rates}
        given = {name: np.atleast_1d(np.asarray(value, float)) for name, value in params.items()}
        n = max([1, *(values.size for values in given.values())])
        given = {name: np.broadcast_to(values, n).copy() for name, values in given.items()}
        if self.method in ("sphere", "wngrad"):  # whose norm of w is not that of the w that is iterated
            x = SimpleNamespace(step=self.step, coordinates=self.coordinates(problem))
            return METHODS[self.method].tile(x, given, run)
        identity = np.ones(n) if self.method == "wngd" else given.pop("smoothing", None)
        return iterate(self.step, self.coordinates(problem), given, run, identity=identity)

    def trace(self, problem, n_steps, rates=None, **options):
        """Run one cell and return its columns and its whole trace."""
        rates = self.rates(problem) if rates is None else rates
        cells, trace = self.run(problem, rates, Run(n_steps, record=np.arange(n_steps + 1), **options))
        return {name: v[0] for name, v in cells.items()}, {name: v[:, 0] for name, v in trace.items()}

    def twin(self, problem, n_steps, rates=None, digits=60):
        """Return the printed update in many digits."""
        rates = self.rates(problem) if rates is None else rates
        if self.method == "gdnp":
            return twins.gdnp_run(problem, n_steps, digits=digits)
        params = self.params | rates
        if self.method in ("sphere", "wngrad"):
            return twins.sphere_run(problem, n=n_steps, method=self.method, **params, digits=digits)
        if self.method == "gd":
            return twins.gd_run(problem, n=n_steps, **params, digits=digits)
        kind = "wn" if self.method == "wngd" else "bn"
        return twins.normalized_run(problem, n=n_steps, normalizer=kind, **params, digits=digits)

    def balls(self, problem, n_steps, record, rates=None, tol=1e-10):
        """Return the printed update in ball arithmetic."""
        rates = self.rates(problem) if rates is None else rates
        return printed.run(problem, self.method, self.params | rates, n_steps, tol, record)


def _given(method, names):
    params = {}
    for name in names:
        more = GIVEN[name]
        if method == "gd":
            more = {key: value for key, value in more.items() if key != "eps_a_power"}
        params |= more
    return params


def _variants():
    for name, (step, coordinates, method) in STEPS.items():
        seen = set()
        for chosen in itertools.product((True, False), repeat=len(step.folds)):
            asked = {p for folds, names in zip(chosen, step.folds, strict=True) if folds for p in names}
            # a set folds where all of it is neutral
            folded = tuple(dict.fromkeys(p for names in step.folds if set(names) <= asked for p in names))
            others = [p for p, value in step.params.items() if value is not None and p not in folded]
            if folded in seen or (method in PLAIN and others):
                continue
            seen.add(folded)
            if method == "wngd":
                if "identity" in folded:
                    continue  # weight normalization has N = I: identity is 1
                others.remove("identity")
            yield Variant(name, step, coordinates, method, folded, _given(method, others))


ALL = list(_variants())
# The forms of one dynamics: each is a check on the other.
FORMS: dict[str, list[Variant]] = {}
for _v in ALL:
    FORMS.setdefault(f"{_v.method}:{'-'.join(_v.params) or 'plain'}", []).append(_v)

# -------------------------------------------------------------------- problems


def _spectrum(rng, d):
    return np.sort(10 ** rng.uniform(0, 1.5, d))


def random(rng, d=6):
    """Return eigenvalues over 1.5 decades with a random target and start."""
    return OLSProblem(_spectrum(rng, d), *rng.standard_normal((2, d)))


def equal_eigvals(rng):
    """Return eigenvalues of which three are equal and two as good as equal."""
    eigvals = _spectrum(rng, 7)
    eigvals[2:4] = eigvals[1]
    eigvals[5] = eigvals[4] * (1 + 1e-13)
    return OLSProblem(eigvals, *rng.standard_normal((2, 7)))


def zero_u(rng):
    """Return a problem with modes that the target does not reach, or hardly."""
    u, w = rng.standard_normal((2, 7))
    u[[0, 4, 6]] = 0.0, 1e-30, 0.0
    return OLSProblem(_spectrum(rng, 7), u, w)


def null_space(rng):
    """Return a start with a part in the null space of H."""
    return OLSProblem(_spectrum(rng, 5), *rng.standard_normal((2, 5)), w0_null_norm=0.8)


def near_solution(rng):
    """Return a start 1e-10 from a minimiser."""
    u, x = rng.standard_normal((2, 5))
    return OLSProblem(_spectrum(rng, 5), u, u * (1 + 1e-10 * x))


def near_saddle(rng):
    """Return a start with next to no output along the target."""
    eigvals, (u, w) = _spectrum(rng, 5), rng.standard_normal((2, 5))
    g = eigvals * u
    w -= g * (w @ g) / (g @ g)
    return OLSProblem(eigvals, u, w + 1e-7 * g / np.linalg.norm(g))


def along_gradient(rng):
    """Return a start along the gradient."""
    eigvals, u = _spectrum(rng, 5), rng.standard_normal(5)
    return OLSProblem(eigvals, u, eigvals * u)


def other_scale(rng):
    """Return a start with a scale that is not the best one."""
    problem = random(rng, 4)
    return OLSProblem(problem.eigvals, problem.u, problem.w0, a0=-0.4)


PROBLEMS = {
    f.__name__: f
    for f in (
        random,
        equal_eigvals,
        zero_u,
        null_space,
        near_solution,
        near_saddle,
        along_gradient,
        other_scale,
    )
}
