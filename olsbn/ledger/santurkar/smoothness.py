"""Effective smoothness, gradient predictiveness and variation of the loss, on real data, with and without BN.

Two definitions of an effective beta circulate, and they measure different things:

- over step lengths (the paper): from one point along its gradient, the largest ``||grad f(x) - grad f(x - t grad f)||
  / (t ||grad f||)`` over a range of t;
- over the samples of a batch (the blog): from one training step to the next, the largest ``|dL/dy_b - dL'/dy'_b| /
  |y_b - y'_b|`` over the rows b, y the pre-activations.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.arora.smoothness import point
from olsbn.ledger.base import Chapter, Comparison, Cube, rounding
from olsbn.problems import OLSProblem
from olsbn.problems.sample import Sample
from olsbn.sweeps.running import sweep
from olsbn.theory import effective_rate_regimes

_NAMES = ("diabetes", "wine", "breast_cancer")


@functools.cache
def _real(name: str) -> tuple[OLSProblem, Sample]:
    problem = OLSProblem.from_dataset(name, standardize="inputs")
    assert problem.sample is not None
    return problem, problem.sample


def _point(cube: Cube) -> SimpleNamespace:
    """A data set, a point some steps into a run of GD and of BNGD from a random start, with learning rates for both."""
    name, n_steps = _NAMES[cube.integer(0, 2)], cube.integer(0, 60)
    strength, size = cube.log(1e-2, 1e3), cube.log(0.1, 10)
    problem, sample = _real(name)
    w0 = cube.rng().standard_normal(problem.dim)
    problem = OLSProblem(problem.eigvals, problem.u, size * w0 / np.linalg.norm(w0))
    H, u = np.diag(problem.eigvals), problem.u
    p = textbook.Dense(H, H @ u, u, problem.w0, problem.explained_var)
    eps_gd = min(strength, 0.95) * 2 / float(problem.eigvals[-1])
    eps_bn = strength * effective_rate_regimes(problem).eps_1
    x, w, a = p.w0, p.w0, problem.a0
    for _ in range(n_steps):
        x = x - eps_gd * (H @ x - p.g)
        w, a = textbook.bngd_step(p, w, a, eps_bn, 1.0)
    return SimpleNamespace(
        p=p, problem=problem, sample=sample, x=x, w=w, a=a, eps_gd=eps_gd, eps_bn=eps_bn, n=sample.n, power=2,
        lengths=np.geomspace(0.5, 4, 8),
    )  # fmt: skip


def _gd_gradient(i: SimpleNamespace, x: FloatArray) -> FloatArray:
    return i.p.H @ x - i.p.g


def _bn_gradient(i: SimpleNamespace, w: FloatArray) -> Any:
    return textbook.gradient(i.p, w, i.a)[0]


def _change(gradient: Any, x: FloatArray, lengths: FloatArray) -> tuple[FloatArray, float]:
    """How far the gradient moves along itself, for some step lengths, and how long it is."""
    here = gradient(x)
    return np.array([np.linalg.norm(here - gradient(x - t * here)) for t in lengths]), float(np.linalg.norm(here))


def _beta(gradient: Any, x: FloatArray, lengths: FloatArray) -> FloatArray:
    """Effective beta for each step length."""
    change, length = _change(gradient, x, lengths)
    return change / (lengths * length)


def _gd_beta(i: SimpleNamespace) -> FloatArray:
    return _beta(lambda x: _gd_gradient(i, x), i.x, i.eps_gd * i.lengths)


def _gd_beta_error(i: SimpleNamespace) -> FloatArray:
    # the gradient has a few roundings of its largest terms, and the difference of two is divided by the step
    size = np.linalg.norm(i.p.H @ i.x) + np.linalg.norm(i.p.g) + i.eps_gd * i.lengths * i.p.H[-1, -1]
    return np.asarray(
        rounding(20 * i.problem.dim, size / (i.eps_gd * i.lengths * np.linalg.norm(_gd_gradient(i, i.x))))
    )


# -------------------------------------------------------------------- over the samples of a batch


def _sample_loss_gradient(i: SimpleNamespace, y: FloatArray) -> FloatArray:
    """Gradient of the mean of half the squared errors in the outputs y, by complex differentiation."""
    return textbook.derivative(lambda z: np.sum((z - i.sample.y) ** 2) / (2 * i.n), y)


def _through_bn(i: SimpleNamespace, y: FloatArray) -> FloatArray:
    """The same in the pre-activations before BN, with the scale a."""
    s = math.sqrt(float(np.mean(y * y)))
    y_hat = y / s
    g = (i.a * y_hat - i.sample.y) / i.n
    return i.a / s * (g - g.mean() - y_hat * float(np.mean(g * y_hat)))


def _beta_samples(i: SimpleNamespace, gradient: Any = _sample_loss_gradient) -> FloatArray:
    """Change of the gradient over change of the output, row by row, from one step of GD to the next."""
    y, after = i.sample.Z @ i.x, i.sample.Z @ (i.x - i.eps_gd * _gd_gradient(i, i.x))
    i.error = rounding(8, (np.abs(y) + np.abs(after) + np.abs(i.sample.y)) / i.n / np.abs(y - after))
    return np.asarray(np.abs(gradient(i, y) - gradient(i, after)) / np.abs(y - after))


def _bn_betas(i: SimpleNamespace, c: float) -> FloatArray:
    """Both effective betas of BN at c w, for steps that turn the direction by the same angle."""
    w, eps = c * i.w, c**2 * i.eps_bn
    steps = _beta(lambda x: _bn_gradient(i, x), w, eps * i.lengths)
    y, after = i.sample.Z @ w, i.sample.Z @ (w - eps * _bn_gradient(i, w))
    change = _through_bn(i, y) - _through_bn(i, after)
    return np.array([steps.max(), np.max(np.abs(change) / np.abs(y - after))])


def _bn_betas_error(i: SimpleNamespace) -> FloatArray:
    """Rounding of both: that of the gradients' largest terms, over the change that is left of them."""
    gradient, s = _bn_gradient(i, i.w), math.sqrt(float(i.w @ i.p.H @ i.w))
    terms = abs(i.a) / s * (np.linalg.norm(i.p.g) + abs(i.w @ i.p.g) / s**2 * np.linalg.norm(i.p.H @ i.w))
    step = i.eps_bn * gradient
    y, dy = i.sample.Z @ i.w, i.sample.Z @ step
    rows = abs(i.a) / s * (abs(i.a) * np.abs(y).max() / s + np.abs(i.sample.y).max()) / i.n
    smallest = np.array([0.5 * np.linalg.norm(step), np.abs(dy).min()])
    return np.asarray(rounding(40 * i.problem.dim, np.array([terms, rows]) / smallest))


def _scaled(cube: Cube) -> SimpleNamespace:
    factor = 2.0 ** cube.integer(-8, 8)
    i = _point(cube)
    i.c = factor
    return i


def _small_start(cube: Cube) -> SimpleNamespace:
    """A point with small weights."""
    factor = cube.log(1e-3, 1)
    i = _point(cube)
    i.w, i.eps_bn = factor * i.w, factor**2 * i.eps_bn
    return i


# -------------------------------------------------------------------- over all step lengths


def _rows_gradient(i: SimpleNamespace, x: FloatArray) -> FloatArray:
    """Gradient of GD's loss from the rows of the sample."""
    return np.asarray(i.sample.Z.T @ (i.sample.Z @ x - i.sample.y) / i.n)


def _far(cube: Cube) -> SimpleNamespace:
    """A point and steps over many decades."""
    i = _point(cube)
    i.gd_lengths = np.geomspace(1e-3, 1e9, 13) / i.p.H[-1, -1]
    return _with_bn_lengths(i)


def _steep(cube: Cube) -> SimpleNamespace:
    """A point of real data as above, or of a random problem where the gradient can be as steep as it gets."""
    i = _far(cube) if cube.unit() < 0.2 else _with_bn_lengths(point(cube))
    i.margin = 1.0
    return i


def _with_bn_lengths(i: SimpleNamespace) -> SimpleNamespace:
    unit = float(i.w @ i.w) / max(float(np.linalg.norm(_bn_gradient(i, i.w / np.linalg.norm(i.w)))), 1e-300)
    i.bn_lengths = unit * np.geomspace(1e-6, 1e9, 61)
    i.margin = 1.0
    return i


def _gd_losses(i: SimpleNamespace) -> list[Any]:
    """Return J - J_min after GD steps of all lengths, by the engine and from the rows of the sample."""
    problem = OLSProblem(i.problem.eigvals, i.problem.u, i.x)
    ran = sweep(problem, method="gd", eps=i.gd_lengths, n_steps=1, progress=False).excess.values * i.p.E / 2
    least = float(np.mean((i.sample.Z @ i.p.u - i.sample.y) ** 2)) / 2
    here = _rows_gradient(i, i.x)
    rows = [float(np.mean((i.sample.Z @ (i.x - t * here) - i.sample.y) ** 2)) / 2 - least for t in i.gd_lengths]
    return [ran, np.array(rows)]


def _bn_losses(i: SimpleNamespace) -> list[float]:
    here = _bn_gradient(i, i.w)
    return [float(textbook.loss(i.p, i.w - t * here, i.a)) for t in i.bn_lengths]


def _steepest(i: SimpleNamespace) -> float:
    """A bound for BN's gradient at ||w|| = 1: ``(|a|/sigma) ||He||``, sigma >= sqrt(lambda_1), ||He|| <= sqrt(..)."""
    return abs(i.a) * math.sqrt(i.problem.cond * i.p.E)


_POINTS = (
    "diabetes, wine, breast cancer (standardized), random starts over 2 decades of length, 0 to 60 steps of GD and of "
    "BNGD with learning rates over 5 decades"
)

chapter = Chapter(_POINTS=_POINTS)


@chapter.claim("santurkar.beta-over-steps", "identity", _point, n_random=12, n_search=20, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """Without BN the effective beta over step lengths does not depend on their range: the loss is quadratic.
    Formula: ||grad(x) - grad(x - t grad)||/(t ||grad||) = ||H grad||/||grad||  for all t
    Problems: {_POINTS}; t from 1/2 to 4 learning rates
    Where: effective beta-smoothness, over step lengths
    """
    return (
        np.linalg.norm(i.p.H @ _gd_gradient(i, i.x)) / np.linalg.norm(_gd_gradient(i, i.x)),
        _gd_beta(i),
        _gd_beta_error(i),
    )


@chapter.claim("santurkar.beta-over-steps-bound", "upper", _point, n_random=12, n_search=20, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """And it is at most the largest eigenvalue of H, the beta of the loss.
    Formula: ||grad(x) - grad(x - t grad)||/(t ||grad||) <= lambda_d
    Problems: {_POINTS}; t from 1/2 to 4 learning rates
    Where: effective beta-smoothness, over step lengths
    """
    return i.problem.eigvals[-1], _gd_beta(i), _gd_beta_error(i)


@chapter.claim("santurkar.beta-over-samples", "identity", _point, n_random=12, n_search=20, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """The blog's definition, over the samples of a batch, does not see the landscape: on least squares without BN it
    is 1/n at every step of every run, whatever the data.
    Formula: |dL/dy_b - dL'/dy'_b|/|y_b - y'_b| = 1/n  for every row b
    Problems: {_POINTS}
    Where: the blog's formula of the effective beta-smoothness
    Corrects: The blog gives this as what the authors 'were actually measuring': then least squares without BN has
    one smoothness, whatever the data.
    """
    return 1 / i.n, _beta_samples(i), i.error


@chapter.claim("santurkar.beta-norm", "identity", _scaled, n_random=12, n_search=20, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """With BN either effective beta goes with ||w||^-2: it can be made as small or as large as one likes without
    changing a prediction.
    Formula: beta(c w) = beta(w)/c^2, with t and eps times c^2
    Problems: {_POINTS}; c = 2^-8..2^8
    Where: effective beta-smoothness, both definitions
    """
    return _bn_betas(i, 1.0), _bn_betas(i, i.c) * i.c**i.power, _bn_betas_error(i)


@chapter.claim(
    "santurkar.smoother-everywhere",
    "counterexample",
    _small_start,
    refutes="upper",
    n_random=20,
    n_search=0,
    extra="data",
)
def _(i: SimpleNamespace) -> Comparison:
    """BN as such does not make the landscape smoother: refuted is that its effective beta is below the beta of the
    loss without it, for small weights.
    Formula: max over t of ||grad(w) - grad(w - t grad)||/(t ||grad||) <= lambda_d  [false]
    Problems: {_POINTS}; weights up to 1000 times smaller, with the learning rate that goes with them
    Where: effective beta-smoothness, over step lengths; the blog's figure
    Corrects: 'Improved beta-smoothness under batch norm' without saying for which norm of the weights.
    """
    return i.problem.eigvals[-1], _beta(lambda w: _bn_gradient(i, w), i.w, i.eps_bn * i.lengths).max()


@chapter.claim("santurkar.predictive-gd", "identity", _far, n_random=8, n_search=8, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """Without BN the gradient changes in proportion to the length of the step, without limit.
    Formula: ||grad(x) - grad(x - t grad)|| = t ||H grad||
    Problems: {_POINTS}; t from 1e-3/lambda_d to 1e9/lambda_d; gradients from the rows of the sample, H of the problem
    Where: gradient predictiveness
    """
    here = _gd_gradient(i, i.x)
    moved = i.gd_lengths * np.linalg.norm(i.p.H @ here)
    found, _length = _change(lambda x: _rows_gradient(i, x), i.x, i.gd_lengths)
    # sums over the rows; the rows have an H that differs from the problem's by its rounding
    top = i.p.H[-1, -1]
    size = np.linalg.norm(i.p.g) + top * (np.linalg.norm(i.x) + i.gd_lengths * (np.linalg.norm(here) + top))
    return moved, found, rounding(4 * i.n, size)


@chapter.claim("santurkar.predictive-bn", "upper", _steep, n_search=200, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """With BN it never changes by more than a constant over the norm, however long the step is (observed for a
    factor 1; the triangle inequality gives 2).
    Formula: ||grad(w) - grad(w - t grad)|| <= |a| sqrt(cond E)/||w||  for all t
    Problems: as arora.l-va, where the constant is attained; one in five: {_POINTS}; t over 15 decades
    Where: gradient predictiveness
    """
    steepest = _steepest(i) / np.linalg.norm(i.w)
    found = _change(lambda w: _bn_gradient(i, w), i.w, i.bn_lengths)[0]
    return i.margin * steepest, found, rounding(20 * i.problem.dim * i.problem.cond, steepest)


@chapter.claim("santurkar.variation-gd", "identity", _far, n_random=8, n_search=8, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """Without BN the loss along the gradient grows like the square of the step, without limit.
    Formula: J(x - t grad) - J_min = J - J_min - t ||grad||^2 + t^2 grad'H grad/2
    Problems: {_POINTS}; t from 1e-3/lambda_d to 1e9/lambda_d; by the engine, and from the rows of the sample
    Where: variation of the loss
    """
    here, e = _gd_gradient(i, i.x), i.x - i.p.u
    t, top = i.gd_lengths, i.p.H[-1, -1]
    grown = e @ i.p.H @ e / 2 - t * (here @ here) + t**2 * (here @ i.p.H @ here) / 2
    # the gradient is a difference of two vectors: its rounding is that of top ||e||, far more than its own size near u
    length, bent, lost = np.linalg.norm(here), here @ i.p.H @ here, top * np.linalg.norm(e)
    terms = e @ i.p.H @ e / 2 + t * length * (length + lost) + t**2 * (bent / 2 + math.sqrt(bent * top) * lost)
    # the rows have the loss with its noise and means of n squares, and an H that is the problem's but for rounding
    reach = np.linalg.norm(i.x) + np.linalg.norm(i.p.u) + t * (np.linalg.norm(here) + top)
    rows = rounding(4 * i.n, np.mean(i.sample.y**2) + top * reach**2)
    return [grown, grown], _gd_losses(i), [rounding(40 * i.problem.dim, terms), rows]


@chapter.claim("santurkar.variation-bn", "upper", _far, n_random=8, n_search=16, extra="data")
def _(i: SimpleNamespace) -> Comparison:
    """With BN it stays bounded, by what no weights can exceed.
    Formula: J(a, w - t grad) - J_min <= (sqrt E + |a|)^2/2  for all t
    Problems: {_POINTS}; t over 15 decades
    Where: variation of the loss
    """
    return (
        (math.sqrt(i.p.E) + abs(i.a)) ** 2 / 2 * i.margin,
        _bn_losses(i),
        rounding(20 * i.problem.dim * i.problem.cond, i.p.E),
    )


_false = chapter.variants
FALSE = {
    "without BN beta is lambda_d": _false("santurkar.beta-over-steps", theory=lambda i: i.problem.eigvals[-1]),
    "it is at most lambda_d/2": _false.scaled("santurkar.beta-over-steps-bound", 0.5),
    "over samples it is 1/n with BN too": _false(
        "santurkar.beta-over-samples", measured=lambda i: _beta_samples(i, _through_bn)
    ),
    "over samples it is lambda_d/n": _false(
        "santurkar.beta-over-samples", theory=lambda i: i.problem.eigvals[-1] / i.n
    ),
    "BN's beta goes with 1/||w||": _false.changed("santurkar.beta-norm", power=lambda i: 1),
    "BN's beta does not depend on the norm": _false.changed("santurkar.beta-norm", power=lambda i: 0),
    "without BN it is not below lambda_d either": _false("santurkar.smoother-everywhere", measured=_gd_beta),
    "the gradient changes with the square of the step": _false(
        "santurkar.predictive-gd", theory=lambda i: i.gd_lengths**2 * np.linalg.norm(i.p.H @ _gd_gradient(i, i.x))
    ),
    "the gradient changes with lambda_d": _false(
        "santurkar.predictive-gd", theory=lambda i: i.gd_lengths * i.p.H[-1, -1] * np.linalg.norm(_gd_gradient(i, i.x))
    ),
    "it never changes by more than 0.95 of that": _false.changed("santurkar.predictive-bn", margin=lambda i: 0.95),
    "the loss along the gradient without a half": _false(
        "santurkar.variation-gd",
        theory=lambda i: 2 * np.square(i.gd_lengths) * np.sum(i.p.H @ _gd_gradient(i, i.x) ** 2) / 2,
    ),
    "the loss along the gradient falls like the step alone": _false(
        "santurkar.variation-gd",
        theory=lambda i: (i.x - i.p.u) @ i.p.H @ (i.x - i.p.u) / 2 - i.gd_lengths * np.sum(_gd_gradient(i, i.x) ** 2),
    ),
    "the loss stays below half of that": _false.changed("santurkar.variation-bn", margin=lambda i: 0.5),
}  # fmt: skip
