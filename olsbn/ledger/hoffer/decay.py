"""Weight decay: what it does to the direction, and how a learning rate does the same.

The update is w+ = (1 - x) w - eta grad F(w), x = eta lambda with the weight decay lambda, and the scale a is trained
beside it. Whole runs are compared in 100 digits, so that no difference is excused by rounding that grew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import RATE, Chapter, Comparison, Cube, Skip, draw_problem
from olsbn.ledger.runs import slope
from olsbn.ledger.textbook import exact, many_digits, norm

# Of 100 digits, 40 steps at most 1e3 times the edge of stability can lose some 1e70; far less is seen.
_NOTHING = 1e-25
_N_STEPS = 40


@many_digits
def _start(cube: Cube) -> SimpleNamespace:
    """A dense problem in many digits with learning rates and a decay."""
    problem = draw_problem(cube, dim=(2, 4), cond=(1.5, 30))
    strength, eps_a, x = cube.log(1e-2, 10), cube.uniform(0.05, 1.95), cube.log(1e-3, 0.5)
    size = cube.log(0.3, 3) * math.sqrt(problem.explained_var)
    p = exact(textbook.dense(problem, cube.rng()))
    eta = exact(strength / float(problem.eigvals[-1])) * (p.w0 @ p.w0) / (p.u @ p.u)
    return SimpleNamespace(p=p, a=exact(size), eta=eta, eps_a=exact(eps_a), x=exact(x), corrected=True, power=2)


def _run(i: SimpleNamespace, x: Any, eta: Callable[[int, Any], Any]) -> list[tuple[Any, Any]]:
    """Return weights and scale at each step; eta is a function of the step's number and of the weights."""
    w, a = i.p.w0, i.a
    states = [(w, a)]
    for k in range(_N_STEPS):
        w, a = textbook.bngd_step(i.p, w, a, eta(k, w), i.eps_a, x)
        states.append((w, a))
    return states


def _apart(one: list[tuple[Any, Any]], other: list[tuple[Any, Any]]) -> float:
    """Return the largest distance of directions, and of scales (relative), along two runs."""
    return max(
        float(max(norm(w / norm(w) - v / norm(v)), abs(a - b) / max(abs(a), abs(b))))
        for (w, a), (v, b) in zip(one, other, strict=True)
    )


@many_digits
def _corrected(i: SimpleNamespace) -> float:
    """Return how far a run whose learning rate is corrected for the norm is from the run with decay."""
    decayed = _run(i, i.x, lambda k, w: i.eta)
    factor = 1 - i.x if i.corrected else 1

    def eta(k: int, w: Any) -> Any:
        with_decay = decayed[k][0]
        return i.eta * (w @ w) / (factor * (with_decay @ with_decay))

    return _apart(decayed, _run(i, exact(0.0), eta))


@many_digits
def _scheduled(i: SimpleNamespace) -> float:
    """Return how far a run with an exponential schedule of the learning rate is from the run with decay."""
    decayed = _run(i, i.x, lambda k, w: i.eta)
    return _apart(decayed, _run(i, exact(0.0), lambda k, w: i.eta * (1 - i.x) ** (-i.power * k - 1)))


@many_digits
def _uncorrected(i: SimpleNamespace) -> float:
    return _apart(_run(i, i.x, lambda k, w: i.eta), _run(i, exact(0.0), lambda k, w: i.eta))


def _without_factor(cube: Cube) -> SimpleNamespace:
    i = _start(cube)
    i.corrected = False
    return i


@many_digits
def _order_without_factor(i: SimpleNamespace) -> float:
    """Return the order in x of the error of the correction by squared norms alone."""
    errors = []
    for x in (1e-9, 5e-10):
        errors.append(_corrected(SimpleNamespace(**(vars(i) | {"x": exact(x)}))))
    if not errors[1] > 0:
        raise Skip
    return math.log2(errors[0] / errors[1])


# -------------------------------------------------------------------- equilibrium under gradient noise


def _noisy(cube: Cube) -> SimpleNamespace:
    """Many weight vectors under decay and tangential gradient noise of a given size at unit norm, to equilibrium."""
    x, eta, noise, d = cube.log(5e-3, 0.5), cube.log(1e-2, 1e2), cube.log(1e-2, 1e2), cube.integer(2, 20)
    first = cube.log(0.1, 10)
    found = _equilibrium(x, eta, noise, d, first, cube.rng())
    return SimpleNamespace(x=x, eta=eta, noise=noise, **found)


def _equilibrium(x: float, eta: float, noise: float, d: int, first: float, rng: np.random.Generator) -> dict[str, Any]:
    w = first * (eta * noise / x) ** 0.25 * _unit(rng.standard_normal((4, d)))
    # ||w||^2 shrinks by (1 - x)^2 a step on its way from afar, and is then contracted by 2 (1 - x)^2 - 1: to e^-36
    for _ in range(int(20 + 5 / x - 36 / math.log(max(abs(2 * (1 - x) ** 2 - 1), 1e-3)))):
        before = w
        w = (1 - x) * w - eta * _noise(w, noise, rng) / np.linalg.norm(w, axis=1)[:, None]
    norms = [np.linalg.norm(v, axis=1) for v in (before, w)]
    return {"norm": norms[1], "cosine": np.sum(before * w, axis=1) / norms[0] / norms[1]}


def _unit(v: FloatArray) -> FloatArray:
    return v / np.linalg.norm(v, axis=1)[:, None]


def _noise(w: FloatArray, noise: float, rng: np.random.Generator) -> FloatArray:
    """Random vectors orthogonal to w, of squared length `noise`."""
    w_hat, n = _unit(w), rng.standard_normal(w.shape)
    for _ in range(2):
        n -= np.sum(n * w_hat, axis=1)[:, None] * w_hat
    return math.sqrt(noise) * _unit(n)


def _small_angles(cube: Cube) -> SimpleNamespace:
    """Angles at equilibrium for two small x, one half of the other."""
    x, d = cube.log(0.02, 0.1), cube.integer(2, 10)
    rng = cube.rng()
    xs = np.array([x, x / 2])
    cosine = [_equilibrium(value, 1.0, 1.0, d, 1.0, rng)["cosine"].mean() for value in xs]
    return SimpleNamespace(x=xs, angle=np.arccos(cosine), factor=2)


def _random_noise(cube: Cube) -> SimpleNamespace:
    """Noise of random length: time averages over many vectors, with their standard errors."""
    x, eta, d = cube.log(0.02, 0.3), cube.log(0.1, 10), cube.integer(2, 12)
    rng = cube.rng()
    rho2 = np.full(64, math.sqrt(eta * d / (2 * x)))
    sums = np.zeros((2, 64))
    # the noise across w has d - 1 dimensions; only its length matters for the norm
    for k in range(1200):
        if k >= 400:
            sums += rho2, 1 / rho2
        rho2 = (1 - x) ** 2 * rho2 + eta**2 * rng.chisquare(d - 1, 64) / rho2
    balance = sums[0] / (sums[1] * eta**2 * (d - 1) / x)
    return SimpleNamespace(x=x, balance=balance, factor=2)


# -------------------------------------------------------------------- mini-batches


def _minibatch_angles(cube: Cube) -> SimpleNamespace:
    """Root mean squared angle a step of BN with mini-batches and decay, at equilibrium, for some x."""
    d, n, batch = cube.integer(3, 8), 256, 8
    noise = cube.uniform(0.5, 2)
    rng = cube.rng()
    X = rng.standard_normal((n, d))
    X -= X.mean(axis=0)
    y = X @ rng.standard_normal(d) + noise * math.sqrt(d) * rng.standard_normal(n)
    xs = np.repeat([0.1, 0.025, 0.00625], 16)
    w = rng.standard_normal((xs.size, d))
    squared, n_steps, counted = np.zeros(xs.size), 1600, 0
    for k in range(n_steps):
        rows = rng.integers(n, size=(xs.size, batch))
        Xb, yb = X[rows], y[rows]
        Xb = Xb - Xb.mean(axis=1, keepdims=True)
        z = np.einsum("rbd,rd->rb", Xb, w)
        s = np.sqrt(np.mean(z * z, axis=1, keepdims=True))
        z_hat, error = z / s, yb - z / s * math.sqrt(d)
        # gradient of mean (y - a z_hat)^2/2 through both statistics, a fixed
        back = -(error - np.mean(error, axis=1, keepdims=True) - z_hat * np.mean(error * z_hat, axis=1, keepdims=True))
        grad = math.sqrt(d) / s * np.einsum("rbd,rb->rd", Xb, back) / batch
        new = (1 - xs)[:, None] * w - 0.1 * grad
        if k >= n_steps - 400:
            counted += 1
            cosine = np.sum(_unit(new) * _unit(w), axis=1)
            squared += np.arccos(np.clip(cosine, -1, 1)) ** 2
        w = new
    angle = np.sqrt(squared / counted).reshape(3, 16).mean(axis=1)
    return SimpleNamespace(x=xs[::16], angle=angle)


_RUNS = (
    "d in 2..4, cond in 1.5..30; rotated; eta from 0.01 to 10 in units of 1/lambda_max, eps_a in (0.05, 1.95), x in "
)
_RUNS += "1e-3..0.5; 40 steps in 100 digits"
_NOISE = "d in 2..20, eta and the noise Gamma over 4 decades, x = eta lambda in 0.005..0.5, starts over 2 decades"

chapter = Chapter(_NOISE=_NOISE, _RUNS=_RUNS)


@chapter.claim("hoffer.decay-correction", "identity", _start, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """Weight decay is mimicked exactly by a learning rate that is corrected for the norms: all directions and scales
    are the same.
    Formula: eta'_t = eta ||w'_t||^2/((1 - x) ||w_t||^2), w' without decay, w with  [largest difference]
    Problems: {_RUNS}
    Where: notes, conclusion
    Corrects: The notes say that the results 'can be mimicked' and are 'very nearly the same': they are the same.
    """
    return 0.0, _corrected(i), _NOTHING


@chapter.claim("hoffer.decay-norms-alone", "order", _without_factor, n_random=5, n_search=5)
def _(i: SimpleNamespace) -> Comparison:
    """A correction by the squared norms alone, without 1 - x, is off in first order of x.
    Formula: eta'_t = eta ||w'_t||^2/||w_t||^2:  difference ~ x^1
    Problems: {_RUNS}
    Where: notes, conclusion
    """
    return 1.0, _order_without_factor(i)


@chapter.claim("hoffer.decay-schedule", "identity", _start, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """It is mimicked exactly by an exponentially growing learning rate too.
    Formula: eta_t = eta (1 - x)^(-2t - 1)  [largest difference of directions and scales]
    Problems: {_RUNS}
    Where: notes, conclusion; the schedule by Li, Arora, ICLR 2020
    """
    return 0.0, _scheduled(i), _NOTHING


@chapter.claim("hoffer.decay-changes-nothing", "counterexample", _start, refutes="identity", n_random=4, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """'Weight decay is really not needed' does not mean that it can be left out: refuted is that the same learning
    rate gives the same directions without it.
    Formula: eta'_t = eta  [false]  [largest difference]
    Problems: {_RUNS}
    Where: notes, conclusion
    Corrects: 'Weight decay is really not needed if learning rate is controlled responsibly': with a learning rate
    that grows exponentially, or follows two norms.
    """
    return 0.0, _uncorrected(i), _NOTHING


@chapter.claim("hoffer.equilibrium-norm", "tight", _noisy, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """Decay and gradient noise balance at a norm that does not depend on the start.
    Formula: ||w||^4 -> eta Gamma/(lambda (2 - eta lambda)),  Gamma = ||noise||^2 at unit norm  [ratio]
    Problems: {_NOISE}
    Where: consequence of the norm's recursion; after van Laarhoven, arXiv 1706.05350
    """
    return 1.0, i.norm**4 * i.x * (2 - i.x) / (i.eta**2 * i.noise), RATE


@chapter.claim("hoffer.equilibrium-angle", "tight", _noisy, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """There the direction turns by the same angle at each step, whatever the noise and its size.
    Formula: cos(angle of w+ and w) -> 1 - eta lambda
    Problems: {_NOISE}
    Where: consequence of the norm's recursion; known before: Wan et al., 2020; Kosson et al., 2023
    """
    return 1 - i.x, i.cosine, RATE


@chapter.claim("hoffer.equilibrium-angle-small", "order", _small_angles, n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """The angle is sqrt(2 eta lambda) with a relative error of first order.
    Formula: angle/sqrt(2 eta lambda) - 1 ~ (eta lambda)^1
    Problems: d in 2..10, x in 0.02..0.1 and its half
    Where: consequence of the norm's recursion; known before: Wan et al., 2020; Kosson et al., 2023
    """
    return 1.0, slope(i.x, i.angle / np.sqrt(i.factor * i.x) - 1)


@chapter.claim("hoffer.equilibrium-random", "tight", _random_noise, n_random=6, n_search=6)
def _(i: SimpleNamespace) -> Comparison:
    """If the noise has a random length the balance holds for time averages.
    Formula: <||w||^2>/<||w||^-2> -> eta E Gamma/(lambda (2 - eta lambda))  [ratio, to six standard errors]
    Problems: 64 vectors, noise chi-squared in d - 1 in 1..11 dimensions, x in 0.02..0.3, 800 steps at equilibrium
    Where: consequence of the norm's recursion
    """
    return 1 / (i.factor - i.x), i.balance.mean(), 6 * i.balance.std() / 8


@chapter.claim("hoffer.minibatch-angle", "order", _minibatch_angles, n_random=2, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The noise of true mini-batches does the same: the angle a step goes with the root of the decay.
    Formula: root mean squared angle ~ (eta lambda)^(1/2)
    Problems: samples of 256 rows, 3..8 columns, batches of 8 with replacement, eta 0.1; x = 0.1, 0.025, 0.00625
    Where: consequence of the norm's recursion
    """
    return 0.5, slope(i.x, i.angle)


_false = chapter.variants
FALSE = {
    "correction without 1 - x": _false.changed("hoffer.decay-correction", corrected=lambda i: False),
    "the correction is right in first order": _false("hoffer.decay-norms-alone", theory=lambda i: 2.0),
    "the schedule grows with one power": _false.changed("hoffer.decay-schedule", power=lambda i: 1),
    "the corrected run differs too": _false("hoffer.decay-changes-nothing", measured=_corrected),
    "the norm without 2 - x": _false.changed("hoffer.equilibrium-norm", eta=lambda i: i.eta * math.sqrt(1 - i.x / 2)),
    "||w||^2 in place of ||w||^4": _false.changed("hoffer.equilibrium-norm", norm=lambda i: np.sqrt(i.norm)),
    "cos = 1 - x/2": _false.changed("hoffer.equilibrium-angle", x=lambda i: i.x / 2),
    "the angle is sqrt x": _false.changed("hoffer.equilibrium-angle-small", factor=lambda i: 1),
    "averages without the 2": _false.changed("hoffer.equilibrium-random", factor=lambda i: 1.5),
    "the angle goes with the decay": _false("hoffer.minibatch-angle", theory=lambda i: 1.0),
}
