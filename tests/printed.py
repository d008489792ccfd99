"""The printed update of every dynamics in ball arithmetic: an outside judge of the engine.

Model theta = a w/nu with nu^2 = w'Nw, where N = H (BN), H + delta I (smoothed BN) or I (weight normalization); for GD
theta = w. One step, with r = g - H theta and the learning rates of step k:

    gradient of w:  -(a/nu) (r - (w'r/nu^2) N w) + weight_decay w          (GD: -r + weight_decay w)
    gradient of a:  -w'r/nu
    b <- momentum b + gradient,   x <- x - eps_k (gradient + momentum b if nesterov else b)        for x = w and x = a

"sphere" scales w to norm 1 at the start and after each step. "wngrad" does so at the start, divides eps by G, which
begins as ||w0||^2, and adds (eps^2/G) ||gradient of w||^2 to it.

The eigenvectors of H are the coordinates; nothing else is used of olsbn but the floats of an `OLSProblem`. A ball is a
number with a bound on its error, so the numbers are proved. The printed update loses up to about 4 bits a step: the
precision is raised until the numbers are enclosed, and lowered along a run as the balls grow.
"""

from functools import lru_cache
from operator import mul
from typing import NamedTuple

import flint
from flint import arb

EXCESS_FLOOR = 1e-290  # documented limits of a run
EXCESS_LIMIT = 1e30
GOOD_BITS = 44  # relative accuracy of every number, 6e-14
GUARD_BITS = 128  # kept beyond what the balls still know
MOST_BITS = 2**17

NEUTRAL = {"eps": 0.0, "eps_a": 1.0, "momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0, "smoothing": 0.0,
           "eps_power": 0.0, "eps_factor": 1.0, "eps_a_power": 0.0}  # fmt: skip


class Exact(NamedTuple):
    """What a run is like. Steps are -1 where there is none."""

    points: dict[int, tuple[float, float, float, float]]  # recorded step -> excess, eps_eff, a, w_norm
    hit: int  # first step with excess <= tol
    near_hit: bool  # whether the excess is within 1e-9 of tol at that step or before, so that float64 may differ
    floor: int  # first step with excess <= 1e-290, after which no points are computed
    over: int  # first step with excess > 1e30 times the larger of 1 and the start's
    surely_over: int  # first step beyond 2 (1 + a0^2/E) times that; no points are computed from here on
    bits: int


class _Short(ArithmeticError):
    """The balls are too wide at step k; `short` more bits are needed if that is known."""

    def __init__(self, step, short=0):
        super().__init__(f"undecided at step {step}")
        self.step, self.short = step, short


def run(problem, method, params, n_steps, tol, record):
    """Run a cell with as many bits as it takes; ArithmeticError if 2^17 do not decide."""
    p = NEUTRAL | params
    bits = 160 + 2 * n_steps
    before = flint.ctx.prec
    try:
        while True:
            try:
                bits = -(-bits // 64) * 64
                flint.ctx.prec = bits
                return _run(problem, method, p, n_steps, tol, set(record), bits)
            except _Short as err:
                if bits >= MOST_BITS:
                    raise
                ahead = int(1.05 * bits * n_steps / max(err.step, 1))  # if bits are lost at an even rate
                more = err.short + 32 if err.short else max(ahead, bits + bits // 4) - bits
                bits = min(bits + min(more, 3 * bits), MOST_BITS)
    finally:
        flint.ctx.prec = before


@lru_cache(maxsize=64)
def _rates(first, power, factor, n_steps, bits):
    """Return ``first (k+1)^-power factor^k`` for k = 0..n_steps; one ball for all where it does not change."""
    if power == 0 and factor == 1:
        return [arb(first)] * (n_steps + 1)
    rates, geometric = [], arb(first)
    for k in range(n_steps + 1):
        rates.append(geometric if power == 0 or k == 0 else geometric * arb(k + 1) ** (-arb(power)))
        geometric *= arb(factor)
    return rates


def _run(problem, method, p, n_steps, tol, record, bits):
    zero, one = arb(0), arb(1)
    h, u, w = ([arb(x) for x in v.tolist()] for v in (problem.eigvals, problem.u, problem.w0))
    if problem.w0_null_norm:  # the null space of H as one mode
        h, u, w = [*h, zero], [*u, zero], [*w, arb(problem.w0_null_norm)]
    g = list(map(mul, h, u))
    E = sum(map(mul, g, u), zero)
    normalized = method != "gd"
    # N = on_h H + on_one I
    on_h, on_one = {"wngd": (zero, one)}.get(method, (one, arb(p["smoothing"])))
    decay, m, nesterov = arb(p["weight_decay"]), arb(p["momentum"]), bool(p["nesterov"]) and p["momentum"] != 0
    eps = _rates(p["eps"], p["eps_power"], p["eps_factor"], n_steps, bits)
    eps_a = _rates(p["eps_a"], p["eps_a_power"], 1.0, n_steps, bits)
    a, G = arb(problem.a0), one
    if method in ("sphere", "wngrad"):
        norm2 = sum(map(mul, w, w), zero)
        w, G = [x / norm2.sqrt() for x in w], norm2 if method == "wngrad" else one
    b, b_a = [zero] * len(w), zero
    kappa, limit, sure = one, None, None
    level, floor_level = arb(tol) * E, arb(EXCESS_FLOOR) * E
    above, below = level * arb(1 + 1e-9), level * arb(1 - 1e-9)
    points, hit, near_hit, floor, over, surely_over = {}, -1, False, -1, -1, -1
    prec = bits
    for k in range(n_steps + 1):
        hw = list(map(mul, h, w))
        wg, wHw = sum(map(mul, g, w), zero), sum(map(mul, hw, w), zero)
        # --- normaliser, model
        if normalized:
            ww = sum(map(mul, w, w), zero) if not on_one.is_zero() else zero
            nu2 = on_h * wHw + on_one * ww
            good = nu2.rel_accuracy_bits()
            if not nu2 > 0 or not wHw > 0 or good < 16:
                raise _Short(k)
            if good + GUARD_BITS < prec - 64:
                prec = flint.ctx.prec = good + GUARD_BITS
            nu = nu2.sqrt()
            if k == 0:
                a = a * (nu2 / wHw).sqrt() if method == "wngd" or p["smoothing"] else a  # the same prediction
            if method == "gdnp":
                a = wg / nu
            kappa = a / nu
        # --- loss above its minimum, of the prediction kappa w
        loss = E - kappa * (wg + wg - kappa * wHw)
        if loss.rel_accuracy_bits() < GOOD_BITS + 8:  # the difference cancels near a minimiser
            error = [kappa * x - y for x, y in zip(w, u, strict=True)]
            loss = sum((c * e * e for c, e in zip(h, error, strict=True)), zero)
        if k == 0:
            limit = arb(EXCESS_LIMIT * max(1.0, float(loss / E))) * E
            sure = 2 * limit * (1 + arb(problem.a0) ** 2 / E)
        # --- endings
        if hit < 0 and not loss > above:
            near_hit |= not loss < below
            if loss <= level:
                hit = k
            elif not loss > level:
                raise _Short(k)
        if not loss <= limit:
            if not loss > limit:
                raise _Short(k)
            over = k if over < 0 else over
            if loss > sure:
                surely_over = k
                break
            if not loss <= sure:
                raise _Short(k)
        if not loss > floor_level:
            if loss <= floor_level:
                floor = k
                break
            raise _Short(k, bits // 4)
        if k in record:
            null = sum(map(mul, w, w), zero)
            row = loss / E, eps[k] / G * kappa * wg / wHw, a, null.sqrt()
            if not normalized:
                row = loss / E, eps[k], arb("nan"), null.sqrt()
            if method == "gdnp":
                row = loss / E, 1 / h[len(problem.eigvals) - 1], a, null.sqrt()
            short = max(GOOD_BITS - (GOOD_BITS if x.is_nan() else x.rel_accuracy_bits()) for x in row)
            if short > 0:
                raise _Short(k, short)
            points[k] = tuple(map(float, row))
        if k == n_steps:
            break
        # --- gradient = on_g g + on_hw H w + on_w w
        if method == "gdnp":
            step = wHw / (wg * h[len(problem.eigvals) - 1])
            w = [x + step * y - z / h[len(problem.eigvals) - 1] for x, y, z in zip(w, g, hw, strict=True)]
            continue
        if normalized:
            wr = wg - kappa * wHw
            back = kappa * wr / nu2
            on_g, on_hw, on_w = -kappa, kappa * kappa + on_h * back, on_one * back + decay
            grad_a = -wr / nu
            b_a = m * b_a + grad_a if p["momentum"] else grad_a
            a = a - eps_a[k] * (grad_a + m * b_a if nesterov else b_a)
        else:
            on_g, on_hw, on_w = -one, one, decay
        if method in ("sphere", "wngrad"):
            grad = _sum3(on_g, g, on_hw, hw, zero, w)
            w = [x - eps[k] / G * y for x, y in zip(w, grad, strict=True)]
            if method == "sphere":
                norm = sum(map(mul, w, w), zero).sqrt()
                w = [x / norm for x in w]
            else:
                G = G + eps[k] * eps[k] / G * sum(map(mul, grad, grad), zero)
        elif p["momentum"]:
            grad = _sum3(on_g, g, on_hw, hw, on_w, w)
            b = [m * x + y for x, y in zip(b, grad, strict=True)]
            step = [y + m * x for x, y in zip(b, grad, strict=True)] if nesterov else b
            w = [x - eps[k] * y for x, y in zip(w, step, strict=True)]
        else:
            w = _sum3(-eps[k] * on_g, g, -eps[k] * on_hw, hw, 1 - eps[k] * on_w, w)
    return Exact(points, hit, near_hit, floor, over, surely_over, bits)


def _sum3(x, g, y, hw, z, w):
    """Return ``x g + y hw + z w``, vectors g, hw and w."""
    if z == 1:
        return [c + (x * a + y * b) for a, b, c in zip(g, hw, w, strict=True)]
    if z == 0:
        return [x * a + y * b for a, b in zip(g, hw, strict=True)]
    return [x * a + y * b + z * c for a, b, c in zip(g, hw, w, strict=True)]
