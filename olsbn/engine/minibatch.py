r"""Stochastic BNGD on a finite sample, or on fresh Gaussian draws: statistics of the batch, gradients through them.

The loss of a batch of m rows is ``mean (y - a (z - mean z)/sd z)^2 / 2``, ``z = x'w``, sd without correction; X, y
are centred once over the sample. With ``o = (z - mean z)/sd``, ``error = a o - y``, ``f = a error/m``, one step is

    a <- a - eps_a_k mean(error o)
    w <- w - eps_k (X' (f - mean f - o mean(f o))/sd + weight_decay w)

What is reported (excess, eps_eff, ...) is that of the whole sample, BN by the whole sample's statistics.

Randomness. A stream belongs to (seed, replicate, batch_size): the cells of a sweep that share the two see the same
batches, whatever their learning rates, and stand on the lanes of a block. The generator counts with integers, and
normal variates come from + - * / sqrt alone, so all bits are those of any machine.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_count, one_of
from olsbn.engine.asked import ask, counted, empty_out
from olsbn.engine.compile import LANES, entry, helper
from olsbn.engine.coordinates import LARGEST, in_range
from olsbn.engine.lanes import CANCELLED, DEGENERATE, GOES_ON, move
from olsbn.engine.run import Run
from olsbn.engine.schedules import tables
from olsbn.engine.watch import MAX_SAMPLES, WATCH, begin, judge
from olsbn.problems import OLSProblem
from olsbn.schema import EXCESS_LIMIT

SAMPLINGS = ("epoch", "replacement", "gaussian")
_EPOCH, _REPLACEMENT, _GAUSSIAN, _GIVEN = range(4)
SMALLEST_BATCH = 3  # two numbers, centred and scaled, are always -1 and 1: the gradient in w is 0

_WIDE = 2.0**150  # w is rescaled where an entry leaves (1/_WIDE, _WIDE)
_VECTOR = 8  # lanes are advanced in multiples of this

_A, _EPS, _EPS_A, _DECAY, _Z0, _BETA, _SIGMA2 = range(7)
_ROWS = 7
_N_EXCESS, _N_EPS_EFF, _N_A, _N_NORM2, _N_RESIDUAL, _N_EXPONENT = range(6)


# -------------------------------------------------------------------- the problem with its sample


@dataclass(frozen=True, eq=False)
class SampleStart:
    """A problem as `minibatch_tile` iterates it: scaled by powers of two (see `coordinates.Coordinates`)."""

    X: FloatArray  # (n, d), in the eigenbasis of H; no rows for fresh draws
    y: FloatArray
    eigvals: FloatArray
    u: FloatArray
    w0: FloatArray
    z0: float  # norm of w in the null space of H
    a0: float
    energy: float  # u'Hu
    noise: float  # standard deviation of what u leaves of y, for fresh draws
    eigval_exp: int
    w_exp: int
    u_exp: int
    seed: int
    sampling: str
    batches: np.ndarray | None

    @property
    def eps_exp(self) -> int:
        """A learning rate of w times 2**eps_exp is one in these units."""
        return 2 * self.w_exp - 2 * self.u_exp - self.eigval_exp

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged."""
        return min(EXCESS_LIMIT * (1 + self.a0 * self.a0 / self.energy), LARGEST)


def prepare(problem: OLSProblem, seed: int = 0, sampling: str = "epoch", batches: Any = None) -> SampleStart:
    """Return what `tile` iterates.

    Parameters
    ----------
    problem : OLSProblem
        With its sample, unless `sampling` is "gaussian".
    seed : int, optional
        Of the streams.
    sampling : {"epoch", "replacement", "gaussian"}, optional
        Rows in a fresh random order each epoch, ``n // batch_size`` batches of it (the rows left over wait for the next
        order); rows drawn with replacement; or fresh rows ``x ~ N(0, H)``, ``y = u'x + N(0, c - E)``.
    batches : array_like of int, shape (n_steps, batch_size), optional
        Row numbers of every step, in place of drawn ones.

    Raises
    ------
    ValueError, TypeError
        Without a sample, or for row numbers that are not there.
    """
    seed = as_count("seed", seed)
    one_of("sampling", sampling, SAMPLINGS)
    sample = problem.sample
    if sample is None and (sampling != "gaussian" or batches is not None):
        raise ValueError(
            "problem must keep its sample (from_samples, from_csv, from_dataset) for minibatch, got one without: "
            "use sampling='gaussian' for fresh draws"
        )
    if batches is not None:
        batches = np.asarray(batches)
        if batches.ndim != 2 or batches.dtype.kind not in "iu" or batches.shape[1] < SMALLEST_BATCH:
            raise ValueError(
                f"batches must be whole numbers of shape (n_steps, batch_size >= {SMALLEST_BATCH}), got an array of "
                f"{batches.dtype}, shape {batches.shape}"
            )
        n = 0 if sample is None else sample.n
        if batches.size and not (batches.min() >= 0 and batches.max() < n):
            raise ValueError(f"batches must hold row numbers in [0, {n}), got {batches.min()} to {batches.max()}")
        batches = np.ascontiguousarray(batches, dtype=np.int64)
    eigval_exp = -math.frexp(problem.eigvals[-1])[1]
    eigval_exp -= eigval_exp % 2  # even, so that its root is a power of two as well
    with np.errstate(under="ignore", over="ignore"):
        eigvals = np.ldexp(problem.eigvals, eigval_exp)
        u, u_exp = in_range(problem.u, np.sqrt(eigvals))
        w0, w_exp = in_range(problem.w0, np.sqrt(eigvals))
        energy = math.fsum(eigvals * u * u)
        target_var = float(np.ldexp(problem.target_var, 2 * u_exp + eigval_exp))
        X, y = np.empty((0, u.size)), np.empty(0)
        if sample is not None and (sampling != "gaussian" or batches is not None):
            X, y = np.ldexp(sample.Z, eigval_exp // 2), np.ldexp(sample.y, u_exp + eigval_exp // 2)
        return SampleStart(
            X=X,
            y=y,
            eigvals=eigvals,
            u=u,
            w0=w0,
            z0=float(np.ldexp(problem.w0_null_norm, w_exp)),
            a0=float(np.ldexp(problem.a0, u_exp + eigval_exp // 2)),
            energy=energy,
            noise=math.sqrt(max(target_var - energy, 0.0)),
            eigval_exp=eigval_exp,
            w_exp=w_exp,
            u_exp=u_exp,
            seed=seed,
            sampling=sampling,
            batches=batches,
        )


# -------------------------------------------------------------------- random numbers


@helper
def _next(stream):  # type: ignore[no-untyped-def]
    """Return 64 random bits: SplitMix64, a counter and a mixing function [Steele, Lea, Flood 2014]."""
    stream[0] += np.uint64(0x9E3779B97F4A7C15)
    z = stream[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@helper
def _below(stream, n):  # type: ignore[no-untyped-def]
    """Return a whole number in [0, n), n < 2**32, without bias [Lemire 2019]."""
    bound = np.uint64(n)
    mask = np.uint64(0xFFFFFFFF)
    product = (_next(stream) >> np.uint64(32)) * bound
    if (product & mask) < bound:
        least = (np.uint64(1 << 32) - bound) % bound
        while (product & mask) < least:
            product = (_next(stream) >> np.uint64(32)) * bound
    return np.int64(product >> np.uint64(32))


@helper
def _log(x):  # type: ignore[no-untyped-def]
    """Return the natural logarithm of 0 < x < inf by arithmetic alone: the C library's differs between machines."""
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        exponent -= 1
    t = (mantissa - 1.0) / (mantissa + 1.0)
    square = t * t
    series = 1.0 / 23.0
    for k in range(21, 0, -2):
        series = series * square + 1.0 / k
    return exponent * 0.6931471805599453 + 2.0 * t * series


@helper
def _normal_pair(stream):  # type: ignore[no-untyped-def]
    """Return two standard normal variates (Marsaglia's polar method)."""
    while True:
        x = np.float64(_next(stream) >> np.uint64(11)) * 2.0**-52 - 1.0
        y = np.float64(_next(stream) >> np.uint64(11)) * 2.0**-52 - 1.0
        s = x * x + y * y
        if 0.0 < s < 1.0:
            factor = math.sqrt(-2.0 * _log(s) / s)
            return x * factor, y * factor


@helper
def _fresh_rows(stream, eigvals, u, noise, xb, yb):  # type: ignore[no-untyped-def]
    """Draw the rows of a batch."""
    d = u.size
    for i in range(yb.size):
        j = 0
        target = 0.0
        while j <= d:
            first, second = _normal_pair(stream)
            for _ in range(2):
                if j < d:
                    xb[i, j] = math.sqrt(eigvals[j]) * first
                    target += u[j] * xb[i, j]
                elif j == d:
                    yb[i] = target + noise * first
                j += 1
                first = second


@helper
def _next_batch(stream, kind, batches, k, order, place, X, y, eigvals, u, noise, xb, yb):  # type: ignore[no-untyped-def]
    """Put the rows of step k into xb, yb; place[0] is where the epoch stands."""
    m = yb.size
    if kind == _GAUSSIAN:
        _fresh_rows(stream, eigvals, u, noise, xb, yb)
        return
    n = y.size
    if kind == _EPOCH and place[0] + m > n:
        for i in range(n - 1, 0, -1):
            j = _below(stream, i + 1)
            order[i], order[j] = order[j], order[i]
        place[0] = 0
    for i in range(m):
        if kind == _EPOCH:
            row = order[place[0] + i]
        elif kind == _REPLACEMENT:
            row = _below(stream, n)
        else:
            row = batches[k, i]
        for j in range(u.size):
            xb[i, j] = X[row, j]
        yb[i] = y[row]
    place[0] += m


# -------------------------------------------------------------------- one step


@helper
def _whole(w, t, eigvals, u, energy, across, n_lanes):  # type: ignore[no-untyped-def]
    """Make beta and sigma^2 of the whole sample, and V = sigma^2 less what is along u, without a difference."""
    for j in range(n_lanes):
        t[_BETA, j] = 0.0
        across[j] = 0.0
    for i in range(u.size):
        weight = eigvals[i] * u[i] / energy
        for j in range(n_lanes):
            t[_BETA, j] += weight * w[i, j]
    for i in range(u.size):
        for j in range(n_lanes):
            rest = w[i, j] - t[_BETA, j] * u[i]
            across[j] += eigvals[i] * rest * rest
    for j in range(n_lanes):
        t[_SIGMA2, j] = t[_BETA, j] * t[_BETA, j] * energy + across[j]


@helper
def _forward(w, xb, z, n_lanes):  # type: ignore[no-untyped-def]
    for i in range(xb.shape[0]):
        for j in range(n_lanes):
            z[i, j] = 0.0
        for p in range(xb.shape[1]):
            x = xb[i, p]
            for j in range(n_lanes):
                z[i, j] += x * w[p, j]


@helper
def _backward(grad, xb, z, n_lanes):  # type: ignore[no-untyped-def]
    for p in range(xb.shape[1]):
        for j in range(n_lanes):
            grad[p, j] = 0.0
    for i in range(xb.shape[0]):
        for p in range(xb.shape[1]):
            x = xb[i, p]
            for j in range(n_lanes):
                grad[p, j] += x * z[i, j]


@helper
def _through(z, yb, t, sums, n_lanes):  # type: ignore[no-untyped-def]
    """Turn the outputs z into the gradient with respect to them; sums[0] becomes the gradient of a, sums[1] sd^2."""
    m = yb.size
    mean, square, grad_a, flat, slope = sums[2], sums[1], sums[0], sums[3], sums[4]
    low, high = sums[5], sums[6]
    for j in range(n_lanes):
        mean[j], square[j], grad_a[j], flat[j], slope[j] = 0.0, 0.0, 0.0, 0.0, 0.0
        low[j], high[j] = z[0, j], z[0, j]
    for i in range(m):
        for j in range(n_lanes):
            x = z[i, j]
            mean[j] += x
            low[j] = x if x < low[j] else low[j]
            high[j] = x if x > high[j] else high[j]
    for j in range(n_lanes):
        mean[j] /= m
    for i in range(m):
        for j in range(n_lanes):
            x = z[i, j] - mean[j]
            z[i, j] = x
            square[j] += x * x
    for j in range(n_lanes):
        # equal outputs are no spread, whatever the rounding of their mean says
        square[j] = square[j] / m if high[j] > low[j] else 0.0
        mean[j] = 1.0 / math.sqrt(square[j])
    for i in range(m):
        target = yb[i]
        for j in range(n_lanes):
            output = z[i, j] * mean[j]
            error = t[_A, j] * output - target
            z[i, j] = output
            grad_a[j] += error * output
            flat[j] += error
    for j in range(n_lanes):
        grad_a[j] /= m
        flat[j] /= m
        slope[j] = t[_A, j] * mean[j] / m
    for i in range(m):
        target = yb[i]
        for j in range(n_lanes):
            output = z[i, j]
            error = t[_A, j] * output - target
            z[i, j] = slope[j] * (error - flat[j] - output * grad_a[j])


@helper
def _update(w, grad, t, watch, sums, eps, eps_a, decay, n_lanes):  # type: ignore[no-untyped-def]
    """Move w and a; rescale the lanes whose w leaves the range: (w, eps) -> (f w, f^2 eps) changes nothing else."""
    largest = sums[2]
    for j in range(n_lanes):
        largest[j] = 0.0
        t[_A, j] -= eps_a[j] * sums[0, j]
        t[_Z0, j] -= decay[j] * t[_Z0, j]
    for p in range(w.shape[0]):
        for j in range(n_lanes):
            x = w[p, j] - (eps[j] * grad[p, j] + decay[j] * w[p, j])
            w[p, j] = x
            largest[j] = max(largest[j], abs(x))
    for j in range(n_lanes):
        if not 1.0 / _WIDE < largest[j] < _WIDE and 0.0 < largest[j] < np.inf:
            shift = -math.frexp(largest[j])[1]
            for p in range(w.shape[0]):
                w[p, j] = math.ldexp(w[p, j], shift)
            t[_Z0, j] = math.ldexp(t[_Z0, j], shift)
            t[_EPS, j] = math.ldexp(t[_EPS, j], 2 * shift)
            watch[j].exponent += shift


# -------------------------------------------------------------------- the block


@entry
def minibatch_block(  # type: ignore[no-untyped-def]
    X,
    y,
    eigvals,
    u,
    w0,
    z0,
    a0,
    energy,
    noise,
    kind,
    batches,
    m,
    key,
    eps,
    eps_a,
    decay,
    table,
    which,
    which_a,
    asked,
    written,
):
    """Run up to LANES cells that share their batches; all in the units of `SampleStart`.

    Parameters
    ----------
    X, y, eigvals, u, w0, z0, a0, energy, noise
        As in `SampleStart`.
    kind, batches, m, key : int64, int64[n_steps, m], int64, uint64
        How rows are drawn, the rows where they are given, rows of a batch, and the stream.
    eps, eps_a, decay : float64[cells]
    table, which, which_a : float64[t, n_steps + 1], int64[cells], int64[cells]
        Factors of the learning rates, and which row is that of eps, and of eps_a, for each cell.
    asked : Ask
    written : Out
        Three counts; six numbers, and in the trace the same: excess, eps_eff, a, squared norm of w times 4**e,
        residual, binary exponent e of the rescaling.
    """
    n_steps, tol, stop_at_tol, floor, limit, cancel = asked
    counts, numbers, record, trace = written
    d, n_cells = u.size, eps.size
    root = math.sqrt(energy)
    stream = np.array([key], dtype=np.uint64)
    order = np.arange(y.size)
    place = np.array([y.size], dtype=np.int64)  # an epoch is over
    xb, yb = np.empty((m, d)), np.empty(m)
    w, grad, z = np.zeros((d, LANES)), np.zeros((d, LANES)), np.zeros((m, LANES))
    t, sums, across = np.zeros((_ROWS, LANES)), np.zeros((7, LANES)), np.zeros(LANES)
    eps_k, eps_a_k, decay_k, out = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(6)
    watch = np.zeros(LANES, dtype=WATCH)
    samples = np.zeros((LANES, MAX_SAMPLES))
    for j in range(n_cells):
        counts[j, 0] = CANCELLED
        begin(watch, j, j)
        w[:, j] = w0
        t[_A, j], t[_EPS, j], t[_EPS_A, j], t[_DECAY, j], t[_Z0, j] = a0, eps[j], eps_a[j], eps[j] * decay[j], z0
    active = n_cells
    k = 0
    while active > 0 and cancel[0] == 0:
        n_lanes = min((active + _VECTOR - 1) // _VECTOR * _VECTOR, LANES)
        _whole(w, t, eigvals, u, energy, across, n_lanes)
        if k < n_steps:
            _next_batch(stream, kind, batches, k, order, place, X, y, eigvals, u, noise, xb, yb)
            _forward(w, xb, z, n_lanes)
            _through(z, yb, t, sums, n_lanes)
            _backward(grad, xb, z, n_lanes)
        j = 0
        while j < active:
            cell = watch[j].cell
            sigma2, beta = t[_SIGMA2, j], t[_BETA, j]
            sigma = math.sqrt(sigma2)
            n = across[j] / sigma2
            delta = t[_A, j] / root - beta * root / sigma
            excess = n + delta * delta
            eps_k[j] = t[_EPS, j] * table[which[cell], k]
            eps_a_k[j] = t[_EPS_A, j] * table[which_a[cell], k]
            decay_k[j] = t[_DECAY, j] * table[which[cell], k]
            watch[j].step = k
            ended = judge(watch, samples, j, excess, True, n_steps, tol, stop_at_tol, floor, limit)
            if ended == GOES_ON and sums[1, j] == 0.0:
                ended = DEGENERATE  # of the batch: no step is defined
            kept = watch[j].next_record
            recorded = kept < record.size and record[kept] == k
            if recorded or ended != GOES_ON:
                out[_N_EXCESS] = excess
                out[_N_EPS_EFF] = eps_k[j] * (t[_A, j] / sigma) * (beta * energy / sigma2)
                out[_N_A] = t[_A, j]
                out[_N_NORM2] = t[_Z0, j] * t[_Z0, j]
                for p in range(d):
                    out[_N_NORM2] += w[p, j] * w[p, j]
                out[_N_RESIDUAL] = math.sqrt(n)
                out[_N_EXPONENT] = watch[j].exponent
            if recorded:
                trace[kept, cell, :] = out
                watch[j].next_record += 1
            if ended == GOES_ON:
                j += 1
                continue
            counts[cell, 0], counts[cell, 1], counts[cell, 2] = ended, watch[j].hit, k
            numbers[cell, :] = out
            # the last lane moves here, and is looked at next, so that lanes in use stay together
            active -= 1
            if j < active:
                for array in (w, grad, t, sums):
                    move(array, j, active)
                across[j] = across[active]
                watch[j] = watch[active]
                samples[j, :] = samples[active, :]
        _update(w, grad, t, watch, sums, eps_k, eps_a_k, decay_k, active)
        k += 1


# -------------------------------------------------------------------- face


def tile(x: SampleStart, params: dict[str, FloatArray], run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run stochastic BNGD on cells of one problem; see `olsbn.engine.bngd.tile` for what comes back.

    Parameters
    ----------
    x : SampleStart
        The problem, from `prepare`.
    params : dict of ndarray, each of shape (cells,)
        ``eps``, ``eps_a``, ``batch_size`` (>= 3; at most the number of rows for epochs), ``replicate``, and any of
        ``eps_power``, ``eps_a_power``, ``weight_decay``.
    run : Run
        How far, and which steps to keep.
    """
    n = params["eps"].size
    zero, one = np.zeros(n), np.ones(n)
    power, power_a = params.get("eps_power", zero), params.get("eps_a_power", zero)
    decay = params.get("weight_decay", zero)
    sizes, replicates = params["batch_size"].astype(np.int64), params["replicate"].astype(np.int64)
    kind = _GIVEN if x.batches is not None else SAMPLINGS.index(x.sampling)
    rows = np.empty((0, 0), np.int64)
    if x.batches is not None:
        rows = x.batches
        if rows.shape[0] < run.n_steps:
            raise ValueError(f"batches must have a row for each of {run.n_steps} steps, got {rows.shape[0]}")
        sizes = np.full(n, rows.shape[1])
    if sizes.min(initial=SMALLEST_BATCH) < SMALLEST_BATCH:
        raise ValueError(f"batch_size must be >= {SMALLEST_BATCH}, got {sizes.min()}")
    if kind == _EPOCH and sizes.max(initial=0) > x.y.size:
        raise ValueError(f"batch_size must be <= {x.y.size}, the rows of the sample, for epochs, got {sizes.max()}")
    counts, numbers, _, trace = out = empty_out(run, n, 3, 6, 6)
    counts[:, 0] = CANCELLED
    with np.errstate(all="ignore"):
        eps, decay = np.ldexp(params["eps"], x.eps_exp), np.ldexp(decay, -x.eps_exp)
        table, which = tables(run.n_steps + 1, np.concatenate([power, power_a]), np.concatenate([one, one]))
        groups = np.unique(np.stack([replicates, sizes]), axis=1, return_inverse=True)
        for (replicate, m), members in zip(groups[0].T, _members(groups[1].ravel(), groups[0].shape[1]), strict=True):
            key = _key(x.seed, int(replicate), int(m))
            for first in range(0, members.size, LANES):
                cells = members[first : first + LANES]
                if not x.w0.any():
                    counts[cells], numbers[cells] = (DEGENERATE, -1, 0), (np.nan, np.nan, x.a0, x.z0**2, np.nan, 0)
                    trace[:, cells] = numbers[cells]
                    continue
                own = empty_out(run, cells.size, 3, 6, 6)
                minibatch_block(
                    x.X, x.y, x.eigvals, x.u, x.w0, x.z0, x.a0, x.energy, x.noise, kind, rows, int(m), key,
                    eps[cells], params["eps_a"][cells], decay[cells], table, which[:n][cells], which[n:][cells],
                    ask(run, x.limit()), own,
                )  # fmt: skip
                counts[cells], numbers[cells], trace[:, cells] = own.counts, own.numbers, own.trace
        found, kept = _columns(x, numbers), _columns(x, trace)
    del found["residual"]
    return counted(out) | found | {"rate_sim": np.full(n, np.nan)}, kept


def _members(group: np.ndarray, n_groups: int) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    return np.split(order, np.searchsorted(group[order], np.arange(1, n_groups)))


def _key(seed: int, replicate: int, batch_size: int) -> np.uint64:
    """Return the start of the stream that belongs to (seed, replicate, batch_size)."""
    words = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"minibatch"), replicate, batch_size))
    return words.generate_state(1, np.uint64)[0]


def _columns(x: SampleStart, numbers: FloatArray) -> dict[str, Any]:
    exponent = np.nan_to_num(numbers[..., _N_EXPONENT]).astype(int)
    return {
        "excess": numbers[..., _N_EXCESS],
        "residual": numbers[..., _N_RESIDUAL],
        "a": np.ldexp(numbers[..., _N_A], -(x.u_exp + x.eigval_exp // 2)),
        "w_norm": np.ldexp(np.sqrt(numbers[..., _N_NORM2]), -(x.w_exp + exponent)),
        "eps_eff": np.ldexp(numbers[..., _N_EPS_EFF], x.eigval_exp),
    }
