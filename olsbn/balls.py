r"""Cells in ball arithmetic, with as many digits as it takes.

A ball is a number with a bound on its error, and every operation rounds outward [Arb], so what is computed is proved.
Precision is raised until the balls decide. The step is that of the engine, interpreted (`olsbn.engine.interpret`); what
it is given is not: the coordinates are enclosed here, from the problem's own floats. With ``p_j = lambda_j u_j^2 / E``,
``r_j = w_j / u_j`` and the roots ``mu_i`` of ``sum_j p_j / (lambda_j - mu) = 0``, one in each gap between neighbouring
eigenvalues (equal ones are one mode along u and one across it)::

    b_i^2 = 1 / sum_j p_j / (lambda_j - mu_i)^2     z_i = b_i sum_j p_j r_j / (lambda_j - mu_i)     beta = sum_j p_j r_j

A mode's error is multiplied by the mode's own factor and by nothing else, so the balls of plain BNGD grow no faster
than the dynamics amplifies a perturbation: the printed update loses about 4 bits a step, these coordinates a few
hundredths of a bit, with momentum some tenths.

Factors of schedules are what their formulas say, exactly, as ``(k+1)^-power factor^k``. The engine reads them from a
table that is right to a few roundings: what rounding does there is part of what a proof judges. Factors that are given
are exact numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cache, lru_cache
from operator import mul
from typing import Any, NamedTuple

import numpy as np

from olsbn import schema
from olsbn.engine.coordinates import LARGEST
from olsbn.engine.ending import GOES_ON, ending
from olsbn.engine.interpret import Cell, Start
from olsbn.engine.step import COUPLED, DECOUPLED, Step
from olsbn.problems import OLSProblem
from olsbn.schema import Status

_FIRST_BITS = 128  # precision a cell is begun with
_MOST_BITS = 2**16  # and given up at
WANTED_BITS = 64  # of every number that is handed out: more than float64 can hold
_TRIM, _TRIM_BITS = 32, 48  # every so many steps digits that the balls do not know are dropped, but for some
_GUARD_BITS = 64  # more for set-up, where differences of the inputs are taken

Ball = Any  # flint.arb: python-flint is loaded when it is needed


class Ask(NamedTuple):
    """How far a cell runs, and what is kept of it."""

    n_steps: int
    tol: float
    stop_at_tol: bool = False
    record: tuple[int, ...] = ()  # ascending; steps after the end of the run are left out
    bits: int = _FIRST_BITS  # precision to begin with; what sufficed for a similar cell saves runs that do not suffice


class Rates(NamedTuple):
    """Factors of a learning rate: those of a schedule by its name, or given ones, times (k+1)^-power factor^k.

    The names and their parts are those of `olsbn.engine.schedules.named`.
    """

    power: float = 0.0
    factor: float = 1.0
    schedule: str = "constant"
    warmup: int = 0
    decay: float = 0.0
    floor: float = 0.0
    given: tuple[float, ...] | None = None


class Exact(NamedTuple):
    """How a cell ends, proved. The numbers are balls with more than `WANTED_BITS` good bits, or 0."""

    status: Status
    steps_to_tol: int
    n_steps_run: int
    excess: Ball
    eps_eff: Ball
    a: Ball  # NaN for GD
    w_norm: Ball
    trace: dict[int, tuple[Ball, Ball, Ball, Ball]]  # step -> excess, eps_eff, a, w_norm
    bits: int  # precision that sufficed
    bits_lost: int  # of them, in the worst of the numbers


class Undecided(ArithmeticError):
    """The balls are too wide to decide at this step."""

    def __init__(self, step: int) -> None:
        super().__init__(f"undecided at step {step}")
        self.step = step


# -------------------------------------------------------------------- as many bits as it takes


def decided(run: Callable[[int], Exact], ask: Ask) -> Exact:
    """Return ``run(bits)`` with as many bits as it takes.

    Parameters
    ----------
    run : callable
        Runs a cell with a precision, which is set; raises `Undecided` where that does not suffice.
    ask : Ask

    Raises
    ------
    Undecided
        If 65536 bits do not decide, as where an excess equals the tolerance exactly.
    """
    bits = ask.bits
    while True:
        try:
            with precision(bits):
                found = run(bits)
            short = WANTED_BITS - found.bits + found.bits_lost
            if short <= 0:
                return found
            if bits >= _MOST_BITS:
                raise Undecided(found.n_steps_run)
            more = short + WANTED_BITS
        except Undecided as err:
            if bits >= _MOST_BITS:
                raise
            ahead = 1.1 * bits * ask.n_steps / max(err.step, 1)  # if bits are lost at an even rate
            more = int(min(max(ahead - bits, bits), 3 * bits))
        bits = min(bits + more, _MOST_BITS)


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Set the precision of balls for a while."""
    flint = load_flint()
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def load_flint() -> Any:
    """Return python-flint, which is loaded when it is needed."""
    try:
        import flint
    except ImportError as err:
        raise ImportError('certify needs python-flint, the extra "certify": pip install "olsbn[certify]"') from err
    return flint


def ball(x: Any) -> Ball:
    """Return a number as a ball: floats and fractions as they are."""
    flint = load_flint()
    if isinstance(x, Fraction):
        return flint.arb(flint.fmpq(x.numerator, x.denominator))
    return x if isinstance(x, flint.arb) else flint.arb(x)


class _Certain:
    """A ball at a step, whose comparisons are proved or raise `Undecided`."""

    def __init__(self, x: Ball, step: int) -> None:
        self._x, self._step = x, step
        if x.is_nan():
            raise Undecided(step)

    def __le__(self, bound: Ball) -> bool:
        if self._x <= bound:
            return True
        if self._x > bound:
            return False
        raise Undecided(self._step)

    def __gt__(self, bound: Ball) -> bool:
        return not self <= bound

    def __eq__(self, bound: object) -> bool:
        """Whether x is as good as infinite, which is all that anybody asks for."""
        return bound == float("inf") and self > ball(np.finfo(float).max)

    def __ne__(self, other: object) -> bool:
        return other is not self

    __hash__ = None  # type: ignore[assignment]


def _square(x: Ball) -> Ball:
    """Return x^2; of a ball around 0 flint's own power is NaN."""
    return x * x


def _bits_lost(row: Sequence[Ball], bits: int) -> int:
    """Return how many of `bits` are not good any more; none of an excess that counts as 0."""
    excess, *others = row
    balls = others if excess.abs_upper() <= schema.EXCESS_FLOOR / 2 else row
    return max(0 if x.is_nan() else bits - min(bits, x.rel_accuracy_bits()) for x in balls)


# -------------------------------------------------------------------- a cell, step by step


class Balls(NamedTuple):
    """A problem in the coordinates of a step: what `olsbn.engine.coordinates.Coordinates` is, enclosed."""

    start: Start
    limit: Ball  # excess past which a run has diverged
    explained: Ball  # what squares of w and of the BN scale are given in units of
    has_scale: bool = True


def by_steps(
    step: Step,
    coordinates: Callable[[OLSProblem, int], Balls],
    problem: OLSProblem,
    params: Mapping[str, Fraction],
    schedules: Mapping[str, Rates],
    ask: Ask,
) -> Exact:
    """Run a cell in ball arithmetic.

    Parameters
    ----------
    step : Step
        The dynamics.
    coordinates : callable
        `star` or `errors`, whichever the step is written in.
    problem : OLSProblem
        Its numbers are taken as exact.
    params : dict of Fraction
        The step's parameters, in the problem's own units.
    schedules : dict of Rates
        Those of the step's "factor" and "factor_a". Neutral ones may be left out.
    ask : Ask

    Raises
    ------
    Undecided
        If 65536 bits do not decide.

    Notes
    -----
    Kind of guarantee: proof, up to the correctness of python-flint and of the step's description.
    """
    moving = {name: rates for name, rates in schedules.items() if rates != Rates()}
    rests = not params.get("decay")
    may_return = any(params.get(name) for name in step.may_return)

    def run(bits: int) -> Exact:
        x = coordinates(problem, bits)
        own = x.start._replace(params={**params, **dict.fromkeys(moving, 1)})
        factors = [_factors(moving[name], ask.n_steps, bits) for name in ("factor", "factor_a") if name in moving]
        return _run(Cell(step, own, ball), x, factors, ask, rests, may_return, bits)

    return decided(run, ask)


def _run(cell: Cell, x: Balls, factors: list[list[Ball]], ask: Ask, rests: bool, may_return: bool, bits: int) -> Exact:
    tol, floor, limit = ball(ask.tol), ball(schema.EXCESS_FLOOR), x.limit
    n_steps, record = ask.n_steps, frozenset(ask.record)
    level = ball(max(ask.tol, schema.EXCESS_FLOOR))  # nothing happens to an excess between this and the limit
    trace: dict[int, Any] = {}
    ctx = load_flint().ctx
    hit, previous, before = -1, ball(float("inf")), 0
    for k in range(n_steps + 1):
        cell.advance([table[k] for table in factors])
        if k % _TRIM == 0:
            known = (x.rel_accuracy_bits() for x in cell.numbers() if not x.is_exact())
            ctx.prec = min(ctx.prec, _TRIM_BITS + max(known, default=ctx.prec))
        excess = cell.excess
        ended = GOES_ON
        if not (excess > level and excess < limit and k < n_steps):
            now = _Certain(excess, k)
            if hit < 0 and now <= tol:
                hit, level = k, floor
            ended = ending(
                k, now, _Certain(previous, before), hit, n_steps, ask.stop_at_tol, floor, limit, rests, may_return
            )
        if ended != GOES_ON or k in record:
            told = cell.report()
            eps_eff, a = ball(told["eps_eff"]), x.explained.sqrt() * told["a"]
            row = excess, eps_eff, a, (x.explained * (told["norm2"] + _square(told["null"]))).sqrt()
            if not all(number.is_finite() for number in row if x.has_scale or number is not a):
                raise Undecided(k)
            trace[k] = row
        if ended != GOES_ON:
            lost = max(_bits_lost(found, bits) for found in trace.values())
            if k not in record:
                del trace[k]
            return Exact(Status(ended), hit, k, *row, trace, bits, lost)
        previous, before = excess, k
    raise AssertionError("the last step ends a run")


@lru_cache(maxsize=32)
def _factors(rates: Rates, n_steps: int, bits: int) -> list[Ball]:
    """Return the factors at steps 0..n_steps."""
    with precision(bits):
        found, geometric = [], ball(1)
        for k in range(n_steps + 1):
            base = ball(rates.given[k]) * geometric if rates.given else _scheduled(rates, k, n_steps) * geometric
            found.append(base / ball(k + 1) ** ball(rates.power) if rates.power and k else base)
            geometric *= ball(rates.factor)
        return found


def _scheduled(rates: Rates, k: int, n_steps: int) -> Ball:
    """Return the factor at step k by the name of the schedule."""
    if rates.schedule == "constant":
        return ball(1)
    floor = Fraction(rates.floor)
    if rates.schedule != "cosine" and k < rates.warmup:
        return ball(Fraction(k + 1, rates.warmup))
    if rates.schedule == "wsd":
        length = Fraction(rates.decay) * n_steps
        fallen = max(Fraction(0), (k - (n_steps - length)) / length) if length else Fraction(0)
        return ball(1 - (1 - floor) * fallen)
    begun = rates.warmup if rates.schedule == "warmup-cosine" else 0
    t = min(Fraction(k - begun, max(n_steps - begun, 1)), Fraction(1))
    if t == 1:
        return ball(floor)
    return ball(floor) + ball(1 - floor) * (1 + ball(t).cos_pi()) / 2


# -------------------------------------------------------------------- coordinates


def stationary(problem: OLSProblem) -> Exact | None:
    """Return how a run ends that cannot begin: sigma = 0, where no step is defined, or a saddle, where none moves."""
    along = sum(Fraction(h) * sum(u * w for u, w in pairs) for h, pairs in _groups(problem).items())
    if problem.w0.any() and (problem.a0 != 0 or along != 0):
        return None
    arb = load_flint().arb
    saddle = problem.w0.any()
    excess, eps_eff = (arb(1), arb(0)) if saddle else (arb.nan(), arb.nan())
    norm2 = sum((_square(arb(w)) for w in problem.w0.tolist()), _square(arb(problem.w0_null_norm)))
    bits = load_flint().ctx.prec
    return Exact(Status.DEGENERATE, -1, 0, excess, eps_eff, arb(problem.a0), norm2.sqrt(), {}, bits, 0)


@lru_cache(maxsize=8)
def star(problem: OLSProblem, bits: int) -> Balls:
    """Return a problem in the eigenbasis of H*, good to about `bits` bits; the units are those of E = 1."""
    arb = load_flint().arb
    with precision(bits + _GUARD_BITS):
        zero = arb(0)
        # along u in each group of equal eigenvalues, and across
        eigvals, u_squared, ratios, others, across = [], [], [], [], []
        for h, pairs in _groups(problem).items():
            along, size = sum(u * w for u, w in pairs), sum(u * u for u, _ in pairs)
            r = along / size if size else Fraction(0)
            rest = sum((_square(ball(w) - ball(r) * ball(u)) for u, w in pairs if w != r * u), zero)
            if size:
                eigvals.append(arb(h))
                u_squared.append(ball(size))
                ratios.append(r)
            if not rest.is_zero():
                others.append(arb(h))
                across.append(rest)
        share = list(map(mul, eigvals, u_squared))
        E = sum(share, zero)
        p = [x / E for x in share]
        orthogonal = not sum(Fraction(h) * u * w for h, pairs in _groups(problem).items() for u, w in pairs)
        beta = zero if orthogonal else sum((x * ball(r) for x, r in zip(p, ratios, strict=True)), zero)
        on_u = len(set(ratios)) == 1
        centre = beta.mid()  # any number will do, as sum_j p_j/(lambda_j - mu_i) = 0; this one keeps what is small
        signal = [zero if on_u else x * (ball(r) - centre) for x, r in zip(p, ratios, strict=True)]
        mu, b, z = [], [], []
        for i in range(len(eigvals) - 1):
            root, gaps = _root(eigvals, p, i)
            inverse = [1 / gap for gap in gaps]
            terms = list(map(mul, p, inverse))
            mu.append(root)
            b.append(1 / sum(map(mul, terms, inverse), zero).sqrt())
            z.append(b[-1] * sum(map(mul, signal, inverse), zero))
        decoupled = [(h * x / E).sqrt() for h, x in zip(others, across, strict=True)]
        L = sum(map(mul, p, eigvals), zero)
        alpha = arb(problem.a0) / E.sqrt()
        V = sum(map(_square, [*z, *decoupled]), zero)
        sigma2 = beta * beta + V
        delta = alpha - beta / sigma2.sqrt()
        limit = arb(schema.EXCESS_LIMIT) * arb(1).max(V / sigma2 + delta * delta)
        start = Start(
            numbers={
                COUPLED: {
                    "mu": mu,
                    "b": b,
                    "b_over_mu": list(map(_over, b, mu)),
                    "one_over_mu": [1 / x for x in mu],
                },
                DECOUPLED: {"mu": others, "one_over_mu": [1 / x for x in others]},
            },
            state={COUPLED: {"z": z}, DECOUPLED: {"z": decoupled}},
            begin={
                "beta": beta,
                "a": alpha,
                "delta": delta,
                "n": -1,
                "D": 1,
                "null": arb(problem.w0_null_norm) / E.sqrt(),
            },
            facts={
                "L": L,
                "U2": sum(u_squared, zero) / E,
                "energy": E,
                "K": sum((x * x / root for x, root in zip(b, mu, strict=True)), zero),
                "inverse_top": 1 / arb(float(problem.eigvals[-1])),
                "top": arb(float(problem.eigvals[-1])),
                # these two tell nothing but where rounding may be amplified
                "slowest": min([*mu[:1], *others[:1]], default=zero),
                "fastest": max([*mu[-1:], *others[-1:]], default=zero),
            },
            params={},
        )
        return Balls(start, limit if limit <= LARGEST else arb(LARGEST), E)


@lru_cache(maxsize=8)
def errors(problem: OLSProblem, bits: int) -> Balls:
    """Return a problem as GD by steps iterates it: the error w - u of every mode."""
    arb = load_flint().arb
    with precision(bits + _GUARD_BITS):
        h, u = ([arb(x) for x in v.tolist()] for v in (problem.eigvals, problem.u))
        E = sum((x * _square(y) for x, y in zip(h, u, strict=True)), arb(0))
        share = [x / E for x in h]
        e = [ball(Fraction(x) - Fraction(y)) for x, y in zip(problem.w0.tolist(), problem.u.tolist(), strict=True)]
        start = Start(
            numbers={COUPLED: {"lam": h, "share": share, "u": u}},
            state={COUPLED: {"e": e}},
            begin={"null": arb(problem.w0_null_norm)},
            facts={},
            params={},
        )
        return Balls(start, _gd_limit(map(mul, share, map(_square, e))), arb(1), has_scale=False)


def _gd_limit(weights: Any) -> Ball:
    """Return the excess past which GD has diverged, from the excess of every mode at the start."""
    arb = load_flint().arb
    limit = arb(schema.EXCESS_LIMIT) * arb(1).max(sum(weights, arb(0)))
    return limit if limit <= LARGEST else arb(LARGEST)


def _over(x: Ball, y: Ball) -> Ball:
    return x / y


def _groups(problem: OLSProblem) -> dict[float, list[tuple[Fraction, Fraction]]]:
    """Return the pairs (u_j, w_j) for each eigenvalue, ascending."""
    groups: dict[float, list[tuple[Fraction, Fraction]]] = {}
    for h, u, w in zip(problem.eigvals.tolist(), problem.u.tolist(), problem.w0.tolist(), strict=True):
        groups.setdefault(h, []).append((Fraction(u), Fraction(w)))
    return groups


def _root(eigvals: list[Ball], p: list[Ball], i: int) -> tuple[Ball, list[Ball]]:
    """Return the root mu of ``f(mu) = sum_j p_j/(lambda_j - mu)`` after eigenvalue i, and all lambda_j - mu.

    The unknown is the distance t > 0 from the nearer neighbour: ``h(t) = -p_i + t sum_{j != i} p_j/(D_j - t)``, D_j the
    distances between eigenvalues, is convex, so Newton's method comes down to the root from the middle of the gap. What
    it finds is then enclosed: f has one root in the gap, so two signs of h prove it.
    """
    arb = load_flint().arb
    half = (eigvals[i + 1] - eigvals[i]) / 2
    middle = eigvals[i] + half
    at_middle = sum((x / (h - middle) for x, h in zip(p, eigvals, strict=True)), arb(0))
    base, sign = (i + 1, -1) if at_middle < 0 else (i, 1)
    others = [(x, sign * (h - eigvals[base])) for j, (x, h) in enumerate(zip(p, eigvals, strict=True)) if j != base]

    def pull(t: Ball) -> tuple[Ball, Ball]:
        """Return h and its derivative."""
        inverse = [(x, D, 1 / (D - t)) for x, D in others]
        return (
            t * sum((x * y for x, _, y in inverse), arb(0)) - p[base],
            sum((x * D * y * y for x, D, y in inverse), arb(0)),
        )

    bits = load_flint().ctx.prec
    t = half.mid()
    for _ in range(2000):
        value, slope = (x.mid() for x in pull(t))
        after = (t - value / slope).mid()
        done = abs(after - t) < after * arb(2) ** (16 - bits)
        t = after
        if done:
            break
    width = t * arb(2) ** (_GUARD_BITS // 2 - bits)
    for _ in range(bits):
        if pull(t - width)[0] < 0 and pull(t + width)[0] > 0:
            break
        width *= 2
    else:
        raise Undecided(0)
    t = (t - width).union(t + width)
    return eigvals[base] + sign * t, [
        -sign * t if j == base else (h - eigvals[base]) - sign * t for j, h in enumerate(eigvals)
    ]


# -------------------------------------------------------------------- plain GD


def closed_form(problem: OLSProblem, eps: float, ask: Ask) -> Exact:
    """Run GD: ``w_i - u_i = (1 - eps lambda_i)^k (w_i - u_i)(0)``; see `by_steps`."""
    return decided(lambda bits: _gd(problem, eps, ask, bits), ask)


def _gd(problem: OLSProblem, eps: float, ask: Ask, bits: int) -> Exact:
    n_steps, tol, stop_at_tol, record, _ = ask
    flint = load_flint()
    arb = flint.arb
    zero = arb(0)
    rows = list(zip(problem.eigvals.tolist(), problem.u.tolist(), problem.w0.tolist(), strict=True))
    E = sum((arb(h) * _square(arb(u)) for h, u, _ in rows), zero)
    weights, factors, changes = [], [], []
    for h, u, w in rows:
        if u == w:
            continue
        weight = arb(h) * _square(arb(w) - arb(u)) / E
        step = 1 - Fraction(eps) * Fraction(h)
        weights.append(weight)
        factors.append(arb(flint.fmpq(step.numerator, step.denominator)))
        change = step * step - 1
        changes.append(arb(flint.fmpq(change.numerator, change.denominator)))

    @cache
    def powers(k: int) -> list[Ball]:
        return [x * _power(c, 2 * k) for x, c in zip(weights, factors, strict=True)]

    def excess(k: int) -> Ball:
        return sum(powers(k), zero)

    def falling(k: int) -> bool:
        return _Certain(-sum(map(mul, powers(k), changes), zero), k) > zero

    def first(holds: Callable[[int], bool]) -> int:
        """Return the first step <= n_steps at which a condition holds that stays once it does; -1: none."""
        if not holds(n_steps):
            return -1
        low, high = -1, n_steps
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        return high

    def first_low(level: Ball) -> int:
        """The excess is convex in k: "at the level, or not falling any more" stays once it holds."""
        k = first(lambda k: _Certain(excess(k), k) <= level or not falling(k))
        return k if k >= 0 and _Certain(excess(k), k) <= level else -1

    limit = _gd_limit(weights)
    over = first(lambda k: not _Certain(excess(k), k) <= limit and not falling(k))
    if not _Certain(excess(0), 0) <= limit:
        over = 0
    hit, floor = first_low(arb(tol)), first_low(arb(schema.EXCESS_FLOOR))
    if over >= 0 and not (hit >= 0 and hit < over and stop_at_tol) and not 0 <= floor < over:
        status, end, hit = Status.DIVERGED, over, (hit if hit < over else -1)
    else:
        status = Status.CONVERGED if hit >= 0 else Status.MAX_STEPS
        end = hit if stop_at_tol and hit >= 0 else floor if floor >= 0 else n_steps
    trace = {}
    for k in {*(k for k in record if k <= end), end}:
        norm2 = _square(arb(problem.w0_null_norm))
        for h, u, w in rows:
            step = 1 - Fraction(eps) * Fraction(h)
            shrunk = _power(arb(flint.fmpq(step.numerator, step.denominator)), k)
            norm2 += _square(arb(u) + shrunk * (arb(w) - arb(u)))
        norm = norm2.sqrt()
        if not norm.is_finite():  # w far below u is a difference of numbers near u
            raise Undecided(k)
        trace[k] = excess(k), arb(eps), arb.nan(), norm
    lost = max(_bits_lost(found, bits) for found in trace.values())
    last = trace[end]
    if end not in record:
        del trace[end]
    return Exact(status, hit, end, *last, trace, bits, lost)


def _power(x: Ball, k: int) -> Ball:
    return x**k if k else load_flint().arb(1)
