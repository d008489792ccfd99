"""Auto rate-tuning of stochastic gradient descent [Arora, section 4, appendix B], on mini-batch least squares with BN.

The loss is the mean over a few batches, each normalized by its own statistics; a step sees one of them, drawn with
equal odds. Learning rates are eta (t+1)^-alpha for w and eta_g (t+1)^-1/2 for the scale.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.arora.smoothness import L_VV
from olsbn.ledger.base import Chapter, Comparison, Cube, rounding
from olsbn.ledger.minibatches import Batches, batches, loss, paths

_GROUPS, _SHORT, _LONG = 8, 100, 4096


def _sequence(cube: Cube) -> SimpleNamespace:
    """Numbers in [0, B] whose sizes vary over decades, the first not 0."""
    n, spread = cube.integer(2, 18), cube.uniform(0, 6)
    a = np.array([10.0 ** (-spread * cube.unit()) for _ in range(n)])
    return SimpleNamespace(a=a, B=a.max())


def _ratios(i: SimpleNamespace) -> float:
    return float(np.sum(i.a[1:] / np.cumsum(i.a)[:-1]))


def _log_bound(i: SimpleNamespace, last: float = 2.0) -> float:
    return math.log2(i.a[:-1].sum() / i.a[0]) + 1 + last * i.B / i.a[0]


# -------------------------------------------------------------------- instances


def sample(cube: Cube, n_batches: int, d: tuple[int, int] = (2, 3)) -> SimpleNamespace:
    """Return a sample in batches, a start, learning rates, and the constants of the theory for it."""
    dim, size, strength = cube.integer(*d), cube.integer(6, 12), cube.log(0.1, 10)
    c_g, eta, start = 1 - cube.uniform(0.02, 0.98), cube.log(1e-3, 1e3), cube.log(0.1, 10)
    rng = cube.rng()
    x = rng.standard_normal((n_batches, size, dim)) * np.geomspace(1, 3, dim)
    p = batches(x, x @ rng.standard_normal(dim) + strength * rng.standard_normal((n_batches, size)))
    w = rng.standard_normal(dim)
    i = SimpleNamespace(p=p, w=start * w / np.linalg.norm(w), c_g=c_g, eta_g=2 * (1 - c_g), rng=rng)
    i.a = math.sqrt(float(p.E.max())) * rng.uniform(-2, 2)
    i.eta = eta * start**2 / math.sqrt(float(p.E.max()))
    return _with_constants(i)


def _with_constants(i: SimpleNamespace) -> SimpleNamespace:
    cond, E = np.linalg.cond(i.p.H), i.p.E
    # averages of scales below sqrt(E), each step weighted by a learning rate that only falls
    scale = max(abs(i.a), math.sqrt(E.max()) * i.eta_g / (1 - abs(1 - i.eta_g)))
    i.vv = L_VV * float((cond * np.sqrt(E)).max()) * scale
    i.C = i.vv / 2 + float((cond * E).max()) / i.c_g
    i.noise = math.sqrt(
        E.mean()
    )  # the variance of w'g_z/sigma_z is at most the mean of its square, that at most mean E
    i.P = math.pi * i.vv
    i.start = float(i.w @ i.w)
    i.U = (1 + i.c_g / 2) / 2 * i.noise**2
    i.ops = 40 * i.w.size * float(cond.max())
    return i


def _runs(i: SimpleNamespace, draws: Any, power: Any, eta: Any, at: Any = None) -> SimpleNamespace:
    shape = draws.shape[1:]
    i.power, i.etas = np.asarray(power), np.asarray(eta)
    i.run = paths(i.p, np.broadcast_to(i.w, (*shape, i.w.size)), np.full(shape, i.a), draws, eta, power, i.eta_g, at)
    t = np.arange(1.0, len(draws) + 1) if at is None else at + 1.0
    t = t.reshape(-1, *[1] * len(shape))
    i.eta_t, i.eta_gt = eta * t**-i.power, i.eta_g * t**-0.5
    return i


def _all_paths(cube: Cube) -> SimpleNamespace:
    """All 81 paths of 4 steps over 3 batches: expectations are exact."""
    power = cube.uniform(0, 1)
    i = sample(cube, 3)
    draws = np.array(list(itertools.product(range(3), repeat=4))).T
    return _runs(i, draws, power, i.eta)


def _expected_change(i: SimpleNamespace) -> float:
    return float(loss(i.p, i.run.w, i.run.scale).mean() - loss(i.p, i.w, i.a))


def _s(i: SimpleNamespace, weight: int = 2) -> FloatArray:
    """Return S for every path."""
    r = i.run
    first = i.eta_t / r.norm2 * r.v
    return (-first + i.C * i.eta_t**2 / r.norm2**weight * r.v_batch).sum(0)


def _r(i: SimpleNamespace, printed: bool = False) -> FloatArray:
    """Return R for every path; as printed, with the size of the noise once more."""
    noise = i.U * (i.noise if printed else 1.0)
    return (-i.c_g / 2 * i.eta_gt * i.run.a + noise * i.eta_gt**2).sum(0)


def _fixed_direction(cube: Cube) -> SimpleNamespace:
    """One input, so that only the scale moves; it starts at the minimum, and the noise is small."""
    noise = cube.log(1e-3, 0.5)
    i = sample(cube, 3, d=(1, 1))
    phi = (i.p.g[:, 0] * np.sign(i.w[0])) / np.sqrt(i.p.H[:, 0, 0])
    shrink = noise / float(phi.std())
    i.p = Batches(i.p.H, shrink * i.p.g, shrink**2 * i.p.E)
    i.a = shrink * float(phi.mean())
    i = _with_constants(i)
    i.noise, i.U = noise, (1 + i.c_g / 2) / 2 * noise**2
    return _runs(i, np.arange(3)[None], 0.0, i.eta)


def _schedules(cube: Cube, norm: float = 1.0) -> SimpleNamespace:
    """Paths for 5 learning rates over six decades and 3 powers; a start and learning rates of another size."""
    i = sample(cube, 4)
    i.w, i.eta = norm * i.w, norm**2 * i.eta
    i.start = float(i.w @ i.w)
    draws = i.rng.integers(0, 4, (_SHORT, 5, 3, 4))
    eta = i.eta * np.geomspace(1e-3, 1e3, 5)[:, None, None]
    return _runs(i, draws, np.array([0, 0.25, 0.5])[:, None], eta)


def _weight_bound(i: SimpleNamespace) -> FloatArray:
    """Return the bound on ||w_t||^2 that the proof of Lemma B.3 gives, for t = 0, 1, ..."""
    t = np.arange(1.0, len(i.eta_t) + 1).reshape(-1, 1, 1, 1)
    sums = np.cumsum(t ** (-2 * i.power), 0) - t ** (-2 * i.power)
    return np.sqrt(i.start**2 + sums * (2 * (i.etas * i.P) ** 2 + (i.etas * i.P) ** 4 / i.start**2))


def _b4_bounds(i: SimpleNamespace) -> FloatArray:
    r, T = i.run, len(i.eta_t)
    first = -(i.eta_t / r.norm2)[-1] * r.v.sum(0)
    logs = np.log2(r.norm2[-1] / i.start) + 1 + 2 * (i.etas * i.P / i.start) ** 2
    of_r = -i.c_g / 2 * i.eta_gt[-1] * r.a.sum(0) + i.U * i.eta_g**2 * (1 + math.log(T))
    return np.array([first + i.C * logs, of_r])


def _stationarity_bound(i: SimpleNamespace) -> FloatArray:
    """Return the bound on min_t E ||grad L||^2 that the proof of Theorem 4.2 gives, all constants included."""
    T, weights = len(i.eta_t), _weight_bound(i)[-1]
    above = loss(i.p, i.w, i.a) + i.U * i.eta_g**2 * (1 + math.log(T))
    above = above + i.C * (np.log2(weights / i.start) + 1 + 2 * (i.etas * i.P / i.start) ** 2)
    rate = np.minimum(i.eta_t[-1] / weights, i.c_g / 2 * i.eta_gt[-1])
    return (above / (T * rate))[..., 0]


def _of_run(i: SimpleNamespace) -> FloatArray:
    """Return the bound on min_{t<T} E ||grad L||^2 with the sums and the rates that the runs have, T = 1, 2, ..."""
    rates = i.eta_t / i.run.norm2, i.c_g / 2 * i.eta_gt
    sums = np.cumsum((rates[0] * i.run.v + rates[1] * i.run.a).mean(-1), 0)
    slowest = np.minimum(rates[0].min(-1), np.minimum(rates[1], np.inf).min(-1))
    return sums / (np.arange(1.0, len(sums) + 1)[:, None, None] * slowest)


def _long_runs(cube: Cube, powers: tuple[float, ...], every: int = 4) -> SimpleNamespace:
    """Long runs of 32 replicates for several powers, under noise as large as the signal.

    The solutions of the four batches point in directions up to two radians apart, and the rate is one at which a step
    is about as long as w: elsewhere a transient lasts longer than the run.
    """
    angle, cond, c_g, eta = cube.uniform(0.4, 1), cube.uniform(1, 3), cube.uniform(0.2, 0.8), cube.log(0.3, 3)
    rng = cube.rng()
    angles = np.array([-1, -0.5, 0.5, 1]) * angle
    H = np.array([q @ np.diag([1, cond]) @ q.T for q in np.linalg.qr(rng.standard_normal((4, 2, 2)))[0]])
    g = np.einsum("bij,bj->bi", H, np.stack([np.cos(angles), np.sin(angles)], 1))
    p = Batches(H, g, np.einsum("bi,bi->b", g, np.linalg.solve(H, g[..., None])[..., 0]))
    w = rng.standard_normal(2)
    i = SimpleNamespace(
        p=p, w=w / np.linalg.norm(w), a=1.0, c_g=c_g, eta_g=2 * (1 - c_g), at=np.arange(0, _LONG, every)
    )
    draws = rng.integers(0, 4, (_LONG, len(powers), 4 * _GROUPS))
    return _runs(_with_constants(i), draws, np.array(powers)[:, None], eta, i.at)


def _exponents(values: FloatArray, at: Any) -> FloatArray:
    """Return the exponents in T of arrays (records, ...), fitted over the last factor of 16 in T."""
    n = len(values)
    few = np.unique(np.geomspace(n // 16, n, 30).astype(int)) - 1
    flat = np.log(values[few].reshape(few.size, -1))
    return np.polyfit(np.log(at[few] + 1.0), flat, 1)[0].reshape(values.shape[1:])


def _gradient_exponents(i: SimpleNamespace) -> tuple[FloatArray, FloatArray]:
    """Return the exponent of the mean squared gradient so far, over groups of replicates: mean and standard error."""
    total = (i.run.v + i.run.a).reshape(len(i.eta_t), -1, _GROUPS, 4).mean(-1)
    so_far = np.cumsum(total, 0) / np.arange(1, len(total) + 1)[:, None, None]
    fitted = _exponents(so_far, i.at)
    return fitted.mean(-1), fitted.std(-1, ddof=1) / math.sqrt(_GROUPS)


def _effective_exponents(i: SimpleNamespace) -> FloatArray:
    return _exponents((i.eta_t / i.run.norm2).mean(-1), i.at)


def _bound_exponents(i: SimpleNamespace) -> FloatArray:
    """Return the local exponents of log T/sqrt T, and of (log T)^1.5/sqrt T for the power 1/2, in the fitted range."""
    return -0.5 + np.where(i.power[:, 0] < 0.5, 1.0, 1.5) / math.log(_LONG / 4)


_SAMPLES = "d in 2..3, batches of 6..12 with targets whose noise varies over 2 decades; start, eta over 6 decades"

chapter = Chapter(_SAMPLES=_SAMPLES)


@chapter.claim("arora.lemma-B.1", "upper", _sequence, n_random=200, n_search=400)
def _(i: SimpleNamespace) -> Comparison:
    """Numbers in [0, B], each over the sum of those before, add up to a logarithm at most.
    Formula: sum_{t=1}^T a_t/sum_{s<t} a_s <= log2(sum_{t<T} a_t/a_0) + 1 + 2 B/a_0
    Problems: 2..18 numbers over up to 6 decades
    Where: Lemma B.1
    """
    return _log_bound(i), _ratios(i)


@chapter.claim("arora.lemma-B.2", "upper", _all_paths)
def _(i: SimpleNamespace) -> Comparison:
    """In expectation the loss changes by at most S + R, for any schedule of w; C is not attained (R is:
    arora.lemma-B.2-scale).
    Formula: E[L_T] - L_0 <= E[S] + E[R],  S = -sum eta_t/||w||^2 ||grad_v L||^2 + C sum eta_t^2/||w||^4 ||grad_v
    F||^2, R = -c_g/2 sum eta_gt ||grad_g L||^2 + U sum eta_gt^2, U = (1 + c_g/2) L_gg G_g^2/2
    Problems: {_SAMPLES}; 3 batches, powers in 0..1; all 81 paths of 4 steps, so that expectations are exact
    Where: Lemma B.2
    """
    return float((_s(i) + _r(i)).mean()), _expected_change(i), rounding(i.ops, i.p.E.max() + i.a**2)


@chapter.claim("arora.lemma-B.2-scale", "upper", _fixed_direction)
def _(i: SimpleNamespace) -> Comparison:
    """What noise in the scale adds is attained as c_g falls: U is sharp.
    Formula: E[L_T] - L_0 <= E[S] + E[R] as in arora.lemma-B.2
    Problems: one input, so that only the scale moves, from its minimum; noise in 1e-3..0.5; one step, exact
    Where: Lemma B.2
    """
    return float((_s(i) + _r(i)).mean()), _expected_change(i), rounding(40, i.p.E.max() + i.a**2)


@chapter.claim(
    "arora.lemma-B.2-as-printed", "counterexample", _fixed_direction, refutes="upper", n_random=10, n_search=10
)
def _(i: SimpleNamespace) -> Comparison:
    """With the size of the noise once more in R, as printed, the lemma fails where that is small.
    Formula: E[L_T] - L_0 <= E[S] + E[R],  R = -c_g/2 sum eta_gt ||grad_g L||^2 + U sum eta_gt^2 G_g  [false]
    Problems: one input, so that only the scale moves, from its minimum; noise in 1e-3..0.5; one step, exact
    Where: Lemma B.2, the definition of R
    Corrects: R has U sum eta_gt^2 G_g, where U has G_g^2 already; the proof gives U sum eta_gt^2.
    """
    return float((_s(i) + _r(i, printed=True)).mean()), _expected_change(i), rounding(40, i.p.E.max() + i.a**2)


@chapter.claim("arora.lemma-B.3", "lower", _schedules, n_random=8, n_search=16)
def _(i: SimpleNamespace) -> Comparison:
    """On every path the effective learning rate falls no faster than T^-1/2, for powers up to 1/2.
    Formula: eta_T/||w_T||^2 >= eta_T/sqrt(||w_0||^4 + sum (t+1)^(-2 alpha) (2 (eta pi L_vv)^2 + (eta pi
    L_vv)^4/||w_0||^4))
    Problems: {_SAMPLES} and 6 more; 4 batches, powers 0, 1/4, 1/2, 4 paths each of 100 steps
    Where: Lemma B.3
    """
    return i.eta_t / _weight_bound(i), i.eta_t / i.run.norm2, rounding(i.ops, i.eta_t / i.run.norm2)


@chapter.claim("arora.lemma-B.4", "upper", _schedules, n_random=8, n_search=16)
def _(i: SimpleNamespace) -> Comparison:
    """What noise adds to S and R is a logarithm of T, on every path.
    Formula: S <= -eta_T/||w_T||^2 sum ||grad_v L||^2 + C (log2(||w_T||^2/||w_0||^2) + 1 + 2 (eta pi
    L_vv)^2/||w_0||^4),  R <= -c_g eta_gT/2 sum ||grad_g L||^2 + U eta_g^2 (1 + log T)
    Problems: {_SAMPLES} and 6 more; 4 batches, powers 0, 1/4, 1/2, 4 paths each of 100 steps
    Where: Lemma B.4, eqs. 22 and 23
    """
    return _b4_bounds(i), np.array([_s(i), _r(i)])


@chapter.claim(
    "arora.lemma-B.4-as-printed",
    "counterexample",
    lambda cube: _schedules(cube, norm=1e3),
    refutes="upper",
    n_random=6,
    n_search=0,
)
def _(i: SimpleNamespace) -> Comparison:
    """With ||v_t||^2 for ||w_t||^4 in S, as its proof prints it, the lemma fails.
    Formula: S <= ... + C (log2(||w_T||^2/||w_0||^2) + 1 + ...) with C sum eta_t^2 ||grad_v F||^2 in S  [false]
    Problems: {_SAMPLES} and 6 more, at norms a thousand times larger; 4 batches, powers 0, 1/4, 1/2, 4 paths each
    of 100 steps
    Where: Lemma B.4, S as recalled in its proof
    Corrects: S is recalled with ||v_t||^2, which is 1, where Lemma B.2 has ||w_t||^4: then noise adds up like T.
    """
    return _b4_bounds(i)[0], _s(i, weight=0)


@chapter.claim("arora.theorem-4.2", "upper", _schedules, n_random=8, n_search=16)
def _(i: SimpleNamespace) -> Comparison:
    """For every eta the smallest mean squared gradient falls like log T/sqrt T ((log T)^1.5/sqrt T for the power
    1/2): by the run's own rates and sums, which is attained, and by a bound with all constants in it, which is far
    above that everywhere.
    Formula: min_{t<T} E||grad L||^2 <= E[sum_{t<T} r_t ||grad_v L||^2 + s_t ||grad_g L||^2]/(T min(r_T, s_T)) <=
    (L_0 - L_min + C (log2(W/||w_0||^2) + 1 + 2 (eta pi L_vv)^2/||w_0||^4) + U eta_g^2 (1 + log T))/(T min(eta_T/W,
    s_T)), r_t = eta_t/||w_t||^2, s_t = c_g eta_gt/2, W the bound of B.3 on ||w_T||^2
    Problems: {_SAMPLES} and 6 more; 4 batches, powers 0, 1/4, 1/2, mean of 4 paths, T = 1 to 100 (100 for the second)
    Where: Theorem 4.2, eq. 13
    """
    of_run = _of_run(i)
    least = np.minimum.accumulate((i.run.v + i.run.a).mean(-1), 0)
    return (
        np.append(of_run, _stationarity_bound(i)[None], 0),
        np.append(least, of_run[-1:], 0),
        rounding(100 * i.ops, least.max()),
    )


@chapter.claim(
    "arora.theorem-4.2-exponents", "upper", lambda cube: _long_runs(cube, (0.0, 0.25, 0.5)), n_random=2, n_search=0
)
def _(i: SimpleNamespace) -> Comparison:
    """Measured exponents of T agree with those rates for powers 0, 1/4, 1/2, to three standard errors.
    Formula: d log(mean_{t<T} E||grad L||^2)/d log T <= -1/2 + 1/log T, -1/2 + 1/log T, -1/2 + 1.5/log T
    Problems: d = 2, 4 batches whose solutions are up to 2 radians apart, eta over a decade; 32 replicates in 8
    groups, T from 256 to 4096
    Where: Theorem 4.2, eq. 13
    """
    return _bound_exponents(i), _gradient_exponents(i)[0], 3 * _gradient_exponents(i)[1]


@chapter.claim(
    "arora.auto-tuned-rate", "order", lambda cube: _long_runs(cube, (0.0, 0.25, 0.5), every=32), n_random=2, n_search=0
)
def _(i: SimpleNamespace) -> Comparison:
    """Under noise the effective learning rate tunes itself to T^-1/2, for the powers 0, 1/4 and 1/2.
    Formula: eta_T/||w_T||^2 ~ T^-1/2
    Problems: as arora.theorem-4.2-exponents
    Where: section 4.2 (1)
    """
    return -0.5, _effective_exponents(i)


@chapter.claim(
    "arora.remark-4.1", "order", lambda cube: _long_runs(cube, (0.75, 1.0, 1.5), every=32), n_random=2, n_search=0
)
def _(i: SimpleNamespace) -> Comparison:
    """Above the power 1/2 auto-tuning is lost: the effective learning rate falls like the schedule.
    Formula: eta_T/||w_T||^2 ~ T^-alpha,  alpha = 3/4, 1, 3/2
    Problems: as arora.theorem-4.2-exponents
    Where: Remark 4.1
    """
    return -i.power[:, 0], _effective_exponents(i)


_false = chapter.variants
FALSE = {
    "B.1 without B/a_0": _false("arora.lemma-B.1", theory=lambda i: _log_bound(i, 0.0)),
    "B.1 with a tenth of it": _false("arora.lemma-B.1", theory=lambda i: _log_bound(i, 0.1)),
    "B.2 without noise in R": _false.changed("arora.lemma-B.2", U=lambda i: 0.0),
    "B.2 with U smaller by 5 %": _false.changed("arora.lemma-B.2-scale", U=lambda i: 0.95 * i.U),
    "B.2 with a hundredth of C": _false.changed("arora.lemma-B.2", C=lambda i: i.C / 100),
    "B.2 as derived fails": _false("arora.lemma-B.2-as-printed", theory=lambda i: float((_s(i) + _r(i)).mean())),
    "B.3 without a sum over time": _false(
        "arora.lemma-B.3", theory=lambda i: i.eta_t / np.sqrt(i.start**2 + 2 * (i.etas * i.P) ** 2)
    ),
    "the effective rate does not fall": _false("arora.lemma-B.3", theory=lambda i: i.eta_t / i.start),
    "B.4 without its last term": _false.changed("arora.lemma-B.4", P=lambda i: 0.0),
    "B.4 as derived fails": _false("arora.lemma-B.4-as-printed", measured=lambda i: _s(i)),
    "4.2 with T for sqrt T": _false("arora.theorem-4.2", theory=lambda i: loss(i.p, i.w, i.a) / len(i.eta_t)),
    "4.2 with half of it": _false.scaled("arora.theorem-4.2", 0.5),
    "SGD has the rate T^-1": _false("arora.theorem-4.2-exponents", theory=lambda i: -1.0),
    "the effective rate falls like the schedule": _false("arora.auto-tuned-rate", theory=lambda i: -i.power[:, 0]),
    "the power 1 is still tuned": _false("arora.remark-4.1", theory=lambda i: -0.5),
}
