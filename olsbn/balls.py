r"""BNGD and GD in ball arithmetic: one cell, with as many digits as it takes.

A ball is a number with a bound on its error, and every operation rounds outward [Arb], so what is computed is proved.
Precision is raised until the balls decide. Iterated are the eigen-coordinates of ``H* = H - (Hu)(Hu)'/(u'Hu)``, which
are not those of the kernels. With ``p_j = lambda_j u_j^2 / E``, ``r_j = w_j / u_j`` and the roots ``mu_i`` of
``sum_j p_j / (lambda_j - mu) = 0``, one in each gap between neighbouring eigenvalues (equal ones are one mode along u
and one across it)::

    b_i = 1 / sum_j p_j / (lambda_j - mu_i)^2       y_i = sum_j p_j r_j / (lambda_j - mu_i)      beta = sum_j p_j r_j
    V = sum b_i y_i^2 + sum T_m     S = sum b_i y_i     sigma^2 = beta^2 + V     n = V/sigma^2     q = beta/sigma^2
    chi = eps alpha/sigma           A = chi q (= eps_eff)                        B = chi n         alpha = a/sqrt(E)
    y_i <- (1 - A mu_i) y_i + B     T_m <- (1 - A lambda_m)^2 T_m                beta <- beta + chi (n L - q S)

where ``T_m = lambda_m w_m^2 / E`` are the modes without signal and ``L = sum p_j lambda_j``. A mode's error is
multiplied by the mode's own factor and by nothing else, so the balls grow no faster than the dynamics amplifies a
perturbation: the printed update loses about 4 bits a step, these coordinates a few hundredths of a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cache, lru_cache
from operator import mul
from typing import Any, NamedTuple

from olsbn import schema
from olsbn.problems import OLSProblem
from olsbn.schema import Status

_FIRST_BITS = 128  # precision a cell is begun with
_MOST_BITS = 2**16  # and given up at
_WANTED_BITS = 64  # of every number that is handed out: more than float64 can hold
_GUARD_BITS = 64  # more for set-up, where differences of the inputs are taken
_LARGEST = 1e308  # the kernels' finite limit: a number above it counts as having passed every limit

Ball = Any  # flint.arb: python-flint is loaded when it is needed


class Exact(NamedTuple):
    """How a cell ends, proved. The numbers are balls with more than `_WANTED_BITS` good bits, or 0."""

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


# -------------------------------------------------------------------- one cell


def exact_cell(
    problem: OLSProblem,
    method: str,
    eps: float,
    eps_a: float,
    n_steps: int,
    tol: float,
    stop: str = "steps",
    record: Any = (),
) -> Exact:
    """Run one cell in ball arithmetic, with as many bits as it takes.

    Parameters
    ----------
    problem : OLSProblem
        Its numbers, and the learning rates, are taken as exact.
    method : {"bngd", "gd"}
        The iteration.
    eps, eps_a : float
        Learning rates; `eps_a` is not used by GD.
    n_steps, tol, stop
        As in `olsbn.sweep`.
    record : iterable of int, optional
        Steps whose numbers to keep; those after the end of the run are left out.

    Raises
    ------
    Undecided
        If 65536 bits do not decide, as where an excess equals the tolerance exactly.

    Notes
    -----
    Kind of guarantee: proof, up to the correctness of python-flint and of the formulas above. Cost: some 2 microseconds
    a mode and step for BNGD, up to a few thousand bits; GD is closed form.
    """
    run = EXACT[method]
    bits, steps = _FIRST_BITS, sorted(set(record))
    while True:
        try:
            with _precision(bits):
                found = run(problem, eps, eps_a, n_steps, tol, stop == "tol", steps, bits)
            short = _WANTED_BITS - found.bits + found.bits_lost
            if short <= 0:
                return found
            more = short + _WANTED_BITS
        except Undecided as err:
            if bits >= _MOST_BITS:
                raise
            ahead = 1.1 * bits * n_steps / max(err.step, 1)  # if bits are lost at an even rate
            more = int(min(max(ahead - bits, bits), 3 * bits))
        bits = min(bits + more, _MOST_BITS)


@contextmanager
def _precision(bits: int) -> Iterator[None]:
    flint = _flint()
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def _flint() -> Any:
    try:
        import flint
    except ImportError as err:
        raise ImportError('certify needs python-flint, the extra "certify": pip install "olsbn[certify]"') from err
    return flint


def _at_most(x: Ball, bound: Ball, step: int) -> bool:
    """Return whether x <= bound, if the balls can tell."""
    if x <= bound:
        return True
    if x > bound:
        return False
    raise Undecided(step)


def _square(x: Ball) -> Ball:
    """Return x^2; of a ball around 0 flint's own power is NaN."""
    return x * x


def _bits_lost(row: Sequence[Ball], bits: int) -> int:
    """Return how many of `bits` are not good any more; none of an excess that counts as 0."""
    excess, *others = row
    balls = others if excess.abs_upper() <= schema.EXCESS_FLOOR / 2 else row
    return max(0 if x.is_nan() else bits - min(bits, x.rel_accuracy_bits()) for x in balls)


# -------------------------------------------------------------------- BNGD


class _Modes(NamedTuple):
    """A problem in the eigen-coordinates of H*, as balls."""

    roots: list[Ball]  # mu_i
    weights: list[Ball]  # b_i
    start: list[Ball]  # y_i
    silent_eigvals: list[Ball]
    silent_start: list[Ball]  # T_m
    beta: Ball
    alpha: Ball
    mean_eigval: Ball  # L
    explained: Ball  # E
    back: Any  # matrix from y to w_j / u_j - beta
    u_squared: list[Ball]
    null_squared: Ball


def _bngd(
    problem: OLSProblem,
    eps: float,
    eps_a: float,
    n_steps: int,
    tol: float,
    stop_at_tol: bool,
    record: list[int],
    bits: int,
) -> Exact:
    arb = _flint().arb
    degenerate = _degenerate(problem)
    if degenerate is not None:
        return degenerate
    modes = _modes(problem, bits)
    roots, weights, y = modes.roots, modes.weights, modes.start
    silent, T = modes.silent_eigvals, modes.silent_start
    beta, L = modes.beta, modes.mean_eigval
    follow, eps_ball = arb(eps_a), arb(eps)
    keep, alpha = 1 - follow, modes.alpha
    limit = arb(min(schema.EXCESS_LIMIT, _LARGEST)) * (1 + _square(modes.alpha))
    limit = limit if limit <= _LARGEST else arb(_LARGEST)
    tol_ball, floor, zero = arb(tol), arb(schema.EXCESS_FLOOR), arb(0)
    to_record = set(record)
    trace = {}
    hit, ended = -1, None
    cos = n = delta = zero
    for k in range(n_steps + 1):
        m = list(map(mul, weights, y))
        V = sum(T, sum(map(mul, m, y), zero))
        S = sum(m, zero)
        sigma2 = beta * beta + V
        if not sigma2 > 0:
            raise Undecided(k)
        root = sigma2.rsqrt()
        before, n_before = cos, n
        cos, n = beta * root, V / sigma2
        if k == 0:
            delta = modes.alpha - cos
        elif cos * before > 0 and n + n_before < 1:
            delta = keep * delta + (n - n_before) / (cos + before)  # cos^2 + n = 1: nothing cancels where n is small
        else:
            delta = keep * delta + (before - cos)
        excess = n + delta * delta
        chi = eps_ball * alpha * root
        q = beta / sigma2
        A, B = chi * q, chi * n
        if not _at_most(excess, limit, k):
            ended = Status.DIVERGED
        elif hit < 0 and _at_most(excess, tol_ball, k):
            hit = k
            if stop_at_tol:
                ended = Status.CONVERGED
        if hit >= 0 and ended is None and _at_most(excess, floor, k):
            ended = Status.CONVERGED
        if ended is None and k == n_steps:
            ended = Status.CONVERGED if hit >= 0 else Status.MAX_STEPS
        if ended is not None or k in to_record:
            row = excess, A, modes.explained.sqrt() * alpha, _norm(modes, y, T, beta)
            if not all(x.is_finite() for x in row):
                raise Undecided(k)
            trace[k] = row
            if ended is not None:
                lost = max(_bits_lost(found, bits) for found in trace.values())
                if k not in to_record:
                    del trace[k]
                return Exact(ended, hit, k, *row, trace, bits, lost)
        y = [(1 - A * mu) * x + B for mu, x in zip(roots, y, strict=True)]
        if T:
            T = [_square(1 - A * h) * x for h, x in zip(silent, T, strict=True)]
        beta += chi * (n * L - q * S)
        alpha = keep * alpha + follow * cos
    raise AssertionError


def _degenerate(problem: OLSProblem) -> Exact | None:
    """Return how a run ends that cannot begin: sigma = 0, where no step is defined, or a saddle, where none moves."""
    along = sum(Fraction(h) * sum(u * w for u, w in pairs) for h, pairs in _groups(problem).items())
    if problem.w0.any() and (problem.a0 != 0 or along != 0):
        return None
    arb = _flint().arb
    saddle = problem.w0.any()
    excess, eps_eff = (arb(1), arb(0)) if saddle else (arb.nan(), arb.nan())
    norm2 = sum((_square(arb(w)) for w in problem.w0.tolist()), _square(arb(problem.w0_null_norm)))
    bits = _flint().ctx.prec
    return Exact(Status.DEGENERATE, -1, 0, excess, eps_eff, arb(problem.a0), norm2.sqrt(), {}, bits, 0)


@lru_cache(maxsize=8)
def _modes(problem: OLSProblem, bits: int) -> _Modes:
    """Return the eigen-coordinates of H* at the start, good to about `bits` bits."""
    flint = _flint()
    arb = flint.arb

    def ball(x: Fraction) -> Ball:
        return arb(flint.fmpq(x.numerator, x.denominator))

    with _precision(bits + _GUARD_BITS):
        zero = arb(0)
        # along u in each group of equal eigenvalues, and across
        eigvals, u_squared, ratios, silent, across = [], [], [], [], []
        for h, pairs in _groups(problem).items():
            along, size = sum(u * w for u, w in pairs), sum(u * u for u, _ in pairs)
            r = along / size if size else Fraction(0)
            rest = sum((_square(ball(w) - ball(r) * ball(u)) for u, w in pairs if w != r * u), zero)
            if size:
                eigvals.append(arb(h))
                u_squared.append(ball(size))
                ratios.append(r)
            if not rest.is_zero():
                silent.append(arb(h))
                across.append(rest)
        share = list(map(mul, eigvals, u_squared))
        E = sum(share, zero)
        p = [x / E for x in share]
        orthogonal = not sum(Fraction(h) * u * w for h, pairs in _groups(problem).items() for u, w in pairs)
        beta = zero if orthogonal else sum((x * ball(r) for x, r in zip(p, ratios, strict=True)), zero)
        on_u = len(set(ratios)) == 1
        centre = beta.mid()  # any number will do, as sum_j p_j/(lambda_j - mu_i) = 0; this one keeps what is small
        signal = [zero if on_u else x * (ball(r) - centre) for x, r in zip(p, ratios, strict=True)]
        roots, weights, start, rows = [], [], [], []
        for i in range(len(eigvals) - 1):
            root, gaps = _root(eigvals, p, i)
            inverse = [1 / gap for gap in gaps]
            terms = list(map(mul, p, inverse))
            b = 1 / sum(map(mul, terms, inverse), zero)
            roots.append(root)
            weights.append(b)
            start.append(sum(map(mul, signal, inverse), zero))
            rows.append([b * x for x in inverse])
        return _Modes(
            roots,
            weights,
            start,
            silent,
            [h * x / E for h, x in zip(silent, across, strict=True)],
            beta,
            arb(problem.a0) / E.sqrt(),
            sum(map(mul, p, eigvals), zero),
            E,
            flint.arb_mat(rows).transpose() if rows else None,
            u_squared,
            _square(arb(problem.w0_null_norm)),
        )


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
    arb = _flint().arb
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

    bits = _flint().ctx.prec
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


def _norm(modes: _Modes, y: list[Ball], T: list[Ball], beta: Ball) -> Ball:
    """Return the norm of w."""
    flint = _flint()
    along = (modes.back * flint.arb_mat([[x] for x in y])).entries() if y else [flint.arb(0)]
    total = modes.null_squared
    for u2, s in zip(modes.u_squared, along, strict=True):
        total += u2 * _square(beta + s)
    for h, x in zip(modes.silent_eigvals, T, strict=True):
        total += x * modes.explained / h
    return total.sqrt()


# -------------------------------------------------------------------- GD


def _gd(
    problem: OLSProblem,
    eps: float,
    eps_a: float,
    n_steps: int,
    tol: float,
    stop_at_tol: bool,
    record: list[int],
    bits: int,
) -> Exact:
    """Run GD: ``w_i - u_i = (1 - eps lambda_i)^k (w_i - u_i)(0)``."""
    flint = _flint()
    arb = flint.arb
    zero = arb(0)
    rows = list(zip(problem.eigvals.tolist(), problem.u.tolist(), problem.w0.tolist(), strict=True))
    E = sum((arb(h) * _square(arb(u)) for h, u, _ in rows), zero)
    weights, factors, changes = [], [], []
    largest = arb(1)
    for h, u, w in rows:
        if u == w:
            continue
        weight = arb(h) * _square(arb(w) - arb(u)) / E
        step = 1 - Fraction(eps) * Fraction(h)
        largest = largest.max(weight)
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
        return not _at_most(zero, sum(map(mul, powers(k), changes), zero), k)

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
        k = first(lambda k: _at_most(excess(k), level, k) or not falling(k))
        return k if k >= 0 and _at_most(excess(k), level, k) else -1

    limit = arb(schema.EXCESS_LIMIT) * largest
    limit = limit if limit <= _LARGEST else arb(_LARGEST)
    over = first(lambda k: not _at_most(excess(k), limit, k) and not falling(k))
    if not _at_most(excess(0), limit, 0):
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
    return x**k if k else _flint().arb(1)


# What can be run exactly, by the name of the method.
EXACT = {"bngd": _bngd, "gd": _gd}
