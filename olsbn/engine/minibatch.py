r"""Stochastic BNGD on a finite sample, or on fresh Gaussian draws: statistics of the batch, gradients through them.

The loss of a batch of m rows is ``mean (y - a (z - mean z)/sd z)^2 / 2``, ``z = x'w``, sd without correction; X, y
are centred once over the sample. With the rows of a batch centred over the batch (x, y below), one step is

    z_i = x_i'w     s = sum z_i^2     c = sum y_i z_i     sd^2 = s/m     cos = c/(m sd)
    w <- w - eps_k (a/(m sd) (c/s sum x_i z_i - sum x_i y_i) + weight_decay w)        a <- a + eps_a_k (cos - a)

which is the gradient of that loss, sorted: ``sum x_i y_i`` is one vector for all cells that see the batch.

State. ``w = b u + v``, split exactly at the start, so that a start near u keeps its digits; only v moves, b decays.
`b` is one more mode, whose input is ``x'u``.

Speed. All cells that share batches run together. Two passes do the work: z from w, and ``sum x_i z_i``, which moves w
at once (`_forward`, `_backward`). Each advances a group of `VECTOR` lanes, with the sums for `ROWS` rows, or `COLUMNS`
modes, in registers. The scalars of `LANES` cells stand in a table, w of each group by itself. Every sum runs over rows,
or modes, in their order, fused: no bit depends on how many lanes, rows or columns are taken at once.

What is reported (excess, eps_eff, ...) is that of the whole sample, BN by the whole sample's statistics. It costs as
much as some rows of a batch, so it is computed at recorded steps, at the last one, and where a cell may end:
``excess >= (1 - |a|/sqrt(E))^2`` tells at nearly every step that it is above the tolerance (`_quiet`).
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from olsbn._validate import FloatArray, as_count, one_of
from olsbn.engine.compile import LANES, entry, helper
from olsbn.engine.coordinates import LARGEST, in_range
from olsbn.engine.ending import CANCELLED, CONVERGED, DEGENERATE, DIVERGED, GOES_ON, MAX_STEPS, NON_FINITE
from olsbn.engine.run import Run
from olsbn.engine.schedules import tables
from olsbn.engine.streams import EPOCH, GAUSSIAN, GIVEN, SAMPLINGS, SINGLE, fresh_rows, next_rows, stream_key
from olsbn.engine.tile import NEVER
from olsbn.engine.vectors import VECTOR, Writer, lane_pass
from olsbn.problems import OLSProblem
from olsbn.schema import EXCESS_LIMIT

SMALLEST_BATCH = 3  # two numbers, centred and scaled, are always -1 and 1: the gradient in w is 0

ROWS, COLUMNS = 4, 5  # of a batch, and of w, that a pass takes at once: their sums just fit 16 registers of 4 numbers
_CHUNK = 64  # inputs of a batch that are centred at once
_WIDE = 2.0**150  # w is rescaled where an entry leaves (1/_WIDE, _WIDE)
_CELLS_BYTES = 2**22  # the state of the cells that run together stays within the cache that processors share
_COMPARED = ("excess", "eps_eff", "a", "w_norm")
_TOLERANCE = 1e-10  # relative difference of two runs in other units by which a cell is flagged
_RESOLVED = 1e-26  # below this an excess is the square of some thousand roundings at most
_CLOSE = 1e-28  # below this (1 - |a|/sqrt(E))^2 is not known well enough to say that a cell goes on

# Rows of a block's table: the state, the parameters, those of the step, its sums, and what the whole sample says.
_A, _NEXT_A, _Z0, _LARGEST, _IDLE, _MEAN, _VAR = range(7)
_EPS, _EPS_A, _DECAY, _AVERAGING = range(7, 11)
_EPS_K, _EPS_A_K, _MINUS_DECAY = range(11, 14)
_S, _C, _MINUS_H, _G, _COS, _M, _INVERSE_ROOT = range(14, 21)
_BETA, _ACROSS, _NORM2, _BATCH_MEAN = range(21, 25)
_TABLE = 25

# Numbers of a cell at a step.
_EXCESS, _RESIDUAL, _EPS_EFF, _NUMBER_A, _NUMBER_NORM2, _EXPONENT, _RUNNING, _BATCH = range(8)
NUMBERS = 8


# -------------------------------------------------------------------- the problem with its sample


@dataclass(frozen=True, eq=False)
class SampleStart:
    """A problem as `minibatch_cells` iterates it: scaled by powers of two (see `coordinates.Coordinates`)."""

    X: FloatArray  # (n, d), in the eigenbasis of H; no rows for fresh draws
    y: FloatArray
    eigvals: FloatArray
    u: FloatArray
    along: float  # the start is along u + across, across'Hu = 0
    across: FloatArray
    z0: float  # norm of w in the null space of H
    a0: float
    delta0: float  # a0/sqrt(E) - beta sqrt(E)/sigma at the start
    noise: float  # standard deviation of what u leaves of y
    var0: float  # 1, the variance that running averages begin with
    eigval_exp: int
    w_exp: int
    u_exp: int
    seed: int
    sampling: str
    batches: np.ndarray | None
    # the units of a second run: rows and targets are multiplied by these as they are read, eps before the run
    w_unit: float = 1.0
    x_unit: float = 1.0
    y_unit: float = 1.0
    eps_unit: float = 1.0
    first: "SampleStart | None" = None  # in the units of the first run

    @property
    def energy(self) -> float:
        """``u'Hu``."""
        return math.fsum(self.eigvals * self.u * self.u)

    @property
    def eps_exp(self) -> int:
        """A learning rate of w times 2**eps_exp is one in these units."""
        return 2 * self.w_exp - 2 * self.u_exp - self.eigval_exp

    @property
    def moves(self) -> bool:
        """Whether the start has an output."""
        return self.along != 0 or bool(self.across.any())

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged."""
        return min(EXCESS_LIMIT * (1 + self.a0 * self.a0 / self.energy), LARGEST)

    def in_other_units(self, w: float = 1.37, y: float = 0.77, H: float = 1.61) -> "SampleStart":
        """Return the same problem with w, y and H multiplied by these numbers: every rounding falls differently."""
        x = math.sqrt(H)
        with np.errstate(all="ignore"):
            return replace(
                self,
                eigvals=self.eigvals * H,
                u=self.u * (y / x),
                along=self.along * (w * x / y),
                across=self.across * w,
                z0=self.z0 * w,
                a0=self.a0 * y,
                noise=self.noise * y,
                var0=self.var0 * (w * w * H),
                w_unit=w,
                x_unit=x,
                y_unit=y,
                eps_unit=(w / y) ** 2,
                first=self,
            )


def prepare(problem: OLSProblem, seed: int = 0, sampling: str = "epoch", batches: Any = None) -> SampleStart:
    """Return what `tile` iterates.

    Parameters
    ----------
    problem : OLSProblem
        With its sample, unless `sampling` is "gaussian".
    seed : int, optional
        Of the streams.
    sampling : {"epoch", "replacement", "gaussian", "single"}, optional
        Rows in a fresh random order each epoch, ``n // batch_size`` batches of it (the rows left over wait for the next
        order); rows drawn with replacement; fresh rows ``x ~ N(0, H)``, ``y = u'x + N(0, c - E)``; or rows in one
        random order, the same in all epochs.
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
        a0 = float(np.ldexp(problem.a0, u_exp + eigval_exp // 2))
        along, across, delta0 = _split(eigvals, u, w0, a0)
        target_var = float(np.ldexp(problem.target_var, 2 * u_exp + eigval_exp))
        X, y = np.empty((0, u.size)), np.empty(0)
        if sample is not None and (sampling != "gaussian" or batches is not None):
            X, y = np.ldexp(sample.Z, eigval_exp // 2), np.ldexp(sample.y, u_exp + eigval_exp // 2)
        return SampleStart(
            X=X,
            y=y,
            eigvals=eigvals,
            u=u,
            along=along,
            across=across,
            z0=float(np.ldexp(problem.w0_null_norm, w_exp)),
            a0=a0,
            delta0=delta0,
            noise=math.sqrt(max(target_var - math.fsum(eigvals * u * u), 0.0)),
            var0=float(np.ldexp(1.0, 2 * w_exp + eigval_exp)),
            eigval_exp=eigval_exp,
            w_exp=w_exp,
            u_exp=u_exp,
            seed=seed,
            sampling=sampling,
            batches=batches,
        )


def _split(eigvals: FloatArray, u: FloatArray, w: FloatArray, a: float) -> tuple[float, FloatArray, float]:
    """Return beta, ``w - beta u`` and ``a/sqrt(E) - beta sqrt(E)/sigma``, each rounded once, but for the last's roots.

    With ``w'g = beta E`` and one sign, ``a - w'g/sigma = (a^2 sigma^2 - (w'g)^2)/(sigma (a sigma + w'g))``: the
    numerator is exact.
    """
    h, x, z = ([Fraction(value) for value in vector.tolist()] for vector in (eigvals, u, w))
    energy = sum((p * q * q for p, q in zip(h, x, strict=True)), Fraction(0))
    wg = sum((p * q * r for p, q, r in zip(h, x, z, strict=True)), Fraction(0))
    sigma2 = sum((p * r * r for p, r in zip(h, z, strict=True)), Fraction(0))
    beta = wg / energy
    across = np.array([float(r - beta * q) for q, r in zip(x, z, strict=True)])
    if sigma2 == 0:
        return 0.0, across, math.nan
    root, sigma = math.sqrt(energy), math.sqrt(sigma2)
    if a * float(wg) > 0:
        delta = float((Fraction(a) ** 2 * sigma2 - wg * wg) / sigma2) / (a + float(wg) / sigma)
    else:
        delta = a - float(wg) / sigma
    return float(beta), across, delta / root


# -------------------------------------------------------------------- the two passes


def _write_forward(_typing: Any, state: Any, x: Any, y: Any, modes: Any, z: Any, table: Any) -> Any:
    """Make the outputs of a batch, s and c, for `VECTOR` lanes: ``(state, x, y, modes, z, table) -> None``.

    state float64[all modes, VECTOR], x float64[panels, all modes, ROWS], y float64[panels, ROWS], z float64[panels *
    ROWS, VECTOR], table float64[rows * LANES] from the first of these lanes on.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, along, state, outputs, panels, all_modes = _opened(context, builder, signature, args)
        totals = to.slots([to.constant(0.0)] * 2)
        sums = to.slots([to.constant(0.0)] * ROWS)
        with cgutils.for_range(builder, panels) as panel:
            for slot in sums:
                builder.store(to.constant(0.0), slot)
            first = builder.mul(panel.index, all_modes)
            with cgutils.for_range(builder, args[3]) as mode:
                w = _load(builder, state, mode.index)
                for value, slot in zip(to.mode(builder.add(first, mode.index), ROWS), sums, strict=True):
                    to.increase_by_product(slot, value, w)
            row = builder.mul(panel.index, _whole(ROWS))
            for i, target in enumerate(along.mode(panel.index, ROWS)):
                output = builder.load(sums[i])
                _store(builder, output, outputs, builder.add(row, _whole(i)))
                to.increase_by_product(totals[0], output, output)
                to.increase_by_product(totals[1], target, output)
        for slot, which in zip(totals, (_S, _C), strict=True):
            to.put(builder.load(slot), which, 0)
        return context.get_dummy_value()

    return types.void(state, x, y, types.intp, z, table), generate


def _write_backward(_typing: Any, state: Any, x: Any, g: Any, first: Any, z: Any, table: Any) -> Any:
    """Move `COLUMNS` modes of w from `first` on: ``(state, x, g, first, z, table) -> None``, g float64[modes]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, along, state, outputs, panels, modes = _opened(context, builder, signature, args)
        at = [builder.add(args[3], _whole(c)) for c in range(COLUMNS)]
        sums = to.slots([to.constant(0.0)] * COLUMNS)
        with cgutils.for_range(builder, panels) as loop:
            row, panel = builder.mul(loop.index, _whole(ROWS)), builder.mul(loop.index, modes)
            z = [_load(builder, outputs, builder.add(row, _whole(i))) for i in range(ROWS)]
            for slot, column in zip(sums, at, strict=True):
                for value, output in zip(to.mode(builder.add(panel, column), ROWS), z, strict=True):
                    to.increase_by_product(slot, value, output)
        minus_h, G, minus_decay = to.load(_MINUS_H, 0), to.load(_G, 0), to.load(_MINUS_DECAY, 0)
        largest = to.load(_LARGEST, 0)
        for slot, column in zip(sums, at, strict=True):
            w = _load(builder, state, column)
            step = to.fma(minus_h, builder.load(slot), to.mul(G, along.mode(column, 1)[0]))
            w = to.add(w, to.fma(minus_decay, w, step))
            _store(builder, w, state, column)
            size = to.abs(w)
            largest = builder.select(to.less(largest, size), size, largest)
        to.put(largest, _LARGEST, 0)
        return context.get_dummy_value()

    return types.void(state, x, g, types.intp, z, table), generate


_forward: Any = intrinsic(_write_forward)
_backward: Any = intrinsic(_write_backward)


def _opened(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, ...]:
    """Return what writes x and table, what reads y or g, where state and z are, and the first two sizes of x."""
    arrays = [context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 2, 4, 5)]
    state, x, other, z, table = (array.data for array in arrays)
    sizes = (builder.extract_value(arrays[1].shape, axis) for axis in range(2))
    return Writer(builder, None, x, table, VECTOR), Writer(builder, None, other, None, VECTOR), state, z, *sizes


def _at(builder: Any, base: Any, row: Any) -> Any:
    vector = ir.VectorType(ir.DoubleType(), VECTOR)
    return builder.bitcast(builder.gep(base, [builder.mul(row, _whole(VECTOR))]), vector.as_pointer())


def _load(builder: Any, base: Any, row: Any) -> Any:
    """Load a row of a float64[rows, VECTOR]."""
    value = builder.load(_at(builder, base, row))
    value.align = 8
    return value


def _store(builder: Any, value: Any, base: Any, row: Any) -> None:
    builder.store(value, _at(builder, base, row)).align = 8


def _whole(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def _write_step(to: Writer, v: int, _place: Any, look: Any, limit: Any) -> Any:
    """Make the step of a and the coefficients of that of w from s and c; return where nothing has to be looked at."""
    divide, one = to.builder.fdiv, to.constant(1.0)
    a, s, c, m = to.load(_A, v), to.load(_S, v), to.load(_C, v), to.load(_M, v)
    sd = to.sqrt(divide(s, m))
    inverse = divide(one, to.mul(m, sd))
    cos = to.mul(c, inverse)
    G = to.mul(to.load(_EPS_K, v), to.mul(a, inverse))
    to.put(cos, _COS, v)
    to.put(G, _G, v)
    to.put(to.builder.fneg(to.mul(G, divide(cos, sd))), _MINUS_H, v)
    to.put(to.fma(to.load(_EPS_A_K, v), to.sub(cos, a), a), _NEXT_A, v)
    return _quiet(to, v, look, limit)


def _quiet(to: Writer, v: int, look: Any, limit: Any) -> Any:
    """Return where a cell surely goes on: a says that the excess is above `look` and below `limit`; s is a number."""
    one, s = to.constant(1.0), to.load(_S, v)
    alpha = to.abs(to.mul(to.load(_A, v), to.load(_INVERSE_ROOT, v)))
    below, above = to.sub(one, alpha), to.add(one, alpha)
    conditions = (
        to.less(look, to.mul(below, below)),
        to.less(to.mul(above, above), limit),
        to.less(to.constant(0.0), s),
        to.less(s, to.constant(LARGEST)),
    )
    quiet = conditions[0]
    for condition in conditions[1:]:
        quiet = to.builder.and_(quiet, condition)
    return to.builder.or_(quiet, to.less(to.constant(0.5), to.load(_IDLE, v)))


_step: Any = lane_pass(_write_step, VECTOR)


# -------------------------------------------------------------------- a batch


@helper
def _pack(X, y, rows, x_unit, y_unit, u, raw, mean, xb, yb, gb):  # type: ignore[no-untyped-def]
    """Centre the rows of a batch and put them in panels; return the mean square of their targets as they come.

    They are centred as differences from the first of them: an input that is the same in all becomes 0 exactly, and a
    batch without spread has no output. (A chunk of inputs at a time, to stay in the nearest cache; few arrays a loop,
    else it is not vectorised.)
    """
    m, d = rows.size, u.size
    centre, square = 0.0, 0.0
    for i in range(m):
        target = y[rows[i]] * y_unit
        centre += target
        square += target * target
    centre /= m
    for i in range(m):
        yb[i // ROWS, i % ROWS] = y[rows[i]] * y_unit - centre
    mean[0] = 0.0
    xb[:, 0, :] = 0.0
    base = np.empty(_CHUNK)
    for start in range(0, d, _CHUNK):
        n = min(_CHUNK, d - start)
        first, to_u = X[rows[0], start:], u[start:]
        rest, g = mean[start + 1 :], gb[start + 1 :]
        for p in range(n):
            base[p] = first[p] * x_unit
            rest[p], g[p] = 0.0, 0.0
        for i in range(m):
            source, row = X[rows[i], start:], raw[i]
            for p in range(n):
                row[p] = source[p] * x_unit - base[p]
            for p in range(n):
                rest[p] += row[p]
        for p in range(n):
            rest[p] /= m
        for i in range(m):
            row, target = raw[i], yb[i // ROWS, i % ROWS]
            for p in range(n):
                row[p] -= rest[p]
            for p in range(n):
                g[p] += row[p] * target
        for q in range(xb.shape[0]):
            panel = xb[q]
            one, two, three, four = raw[ROWS * q], raw[ROWS * q + 1], raw[ROWS * q + 2], raw[ROWS * q + 3]
            a, b, c, e = panel[0, 0], panel[0, 1], panel[0, 2], panel[0, 3]
            for p in range(n):
                to = panel[start + p + 1]
                to[0], to[1], to[2], to[3] = one[p], two[p], three[p], four[p]
                a += one[p] * to_u[p]
                b += two[p] * to_u[p]
                c += three[p] * to_u[p]
                e += four[p] * to_u[p]
            panel[0, 0], panel[0, 1], panel[0, 2], panel[0, 3] = a, b, c, e
        for p in range(n):
            rest[p] += base[p]
            mean[0] += rest[p] * to_u[p]
    return square / m


# -------------------------------------------------------------------- what is kept


CELL = np.dtype(
    [
        ("cell", np.int64),  # number of the cell
        ("hit", np.int64),  # first step with excess <= tol, -1 before
        ("low", np.int64),  # last step with excess <= floor
        ("exponent", np.int64),  # w stands scaled by 2**exponent
    ]
)


@helper
def _whole_sample(state, t, eigvals, u, energy, start):  # type: ignore[no-untyped-def]
    """Make beta and ``w - beta u``'s share of sigma^2 of the whole sample, without a difference, and ``||w||^2``.

    At the start nothing of v is along u.
    """
    for j in range(VECTOR):
        t[_BETA, j] = 0.0
        t[_ACROSS, j] = 0.0
        t[_NORM2, j] = 0.0
    for p in range(0 if start else u.size):
        weight = eigvals[p] * u[p] / energy
        for j in range(VECTOR):
            t[_BETA, j] += weight * state[p + 1, j]
    for p in range(u.size):
        for j in range(VECTOR):
            rest = state[p + 1, j] - t[_BETA, j] * u[p]
            t[_ACROSS, j] += eigvals[p] * rest * rest
            x = state[0, j] * u[p] + state[p + 1, j]
            t[_NORM2, j] += x * x
    for j in range(VECTOR):
        t[_BETA, j] += state[0, j]


@helper
def _judge(lane, k, excess, n_steps, tol, stop_at_tol, floor, limit):  # type: ignore[no-untyped-def]
    """Return the status with which a cell ends at step k, or GOES_ON. At the floor a cell ends when it stays there."""
    if excess != excess or (k == 0 and excess == np.inf):
        return NON_FINITE
    if excess > limit:
        return DIVERGED
    if excess <= tol and lane.hit < 0:
        lane.hit = k
        if stop_at_tol:
            return CONVERGED
    if excess <= floor:
        if lane.low == k - 1 and k > 0 and lane.hit >= 0:
            return CONVERGED
        lane.low = k
    if k == n_steps:
        return CONVERGED if lane.hit >= 0 else MAX_STEPS
    return GOES_ON


@helper
def _keep(t, j, exponent, energy, excess, residual, noise, square, out):  # type: ignore[no-untyped-def]
    """Write the numbers of lane j."""
    root, a = math.sqrt(energy), t[_A, j]
    beta, across = t[_BETA, j], t[_ACROSS, j]
    sigma2 = beta * beta * energy + across
    out[_EXCESS] = excess
    out[_RESIDUAL] = residual
    out[_EPS_EFF] = t[_EPS_K, j] * (a / math.sqrt(sigma2)) * (beta * energy / sigma2)
    out[_NUMBER_A] = a
    out[_NUMBER_NORM2] = t[_NORM2, j] + t[_Z0, j] * t[_Z0, j]
    out[_EXPONENT] = exponent
    out[_RUNNING] = np.nan
    if t[_AVERAGING, j] > 0.0:  # a x'w/nu with the averages: (a/nu) (w, mean) against (u, 0)
        kappa = a / math.sqrt(t[_VAR, j])
        along, mean = kappa * beta - 1.0, kappa * t[_MEAN, j] / root
        out[_RUNNING] = along * along + kappa * kappa * (across / energy) + mean * mean
    out[_BATCH] = (square - noise * noise - 2.0 * (a * t[_COS, j]) + a * a) / energy


@helper
def _average(state, t, mean, m):  # type: ignore[no-untyped-def]
    """Move the running averages of mean and variance of z, as layers do: the variance with m - 1 in place of m."""
    for j in range(VECTOR):
        t[_BATCH_MEAN, j] = 0.0
    for p in range(mean.size):
        for j in range(VECTOR):
            t[_BATCH_MEAN, j] += mean[p] * state[p, j]
    for j in range(VECTOR):
        t[_MEAN, j] += t[_AVERAGING, j] * (t[_BATCH_MEAN, j] - t[_MEAN, j])
        t[_VAR, j] += t[_AVERAGING, j] * (t[_S, j] / (m - 1) - t[_VAR, j])


@helper
def _rescale(state, t, j, lane):  # type: ignore[no-untyped-def]
    """Bring w of lane j back into range: (w, eps) -> (f w, f^2 eps) changes nothing else."""
    shift = -math.frexp(t[_LARGEST, j])[1]
    for p in range(state.shape[0]):
        state[p, j] = math.ldexp(state[p, j], shift)
    for row in (_Z0, _MEAN):
        t[row, j] = math.ldexp(t[row, j], shift)
    for row in (_EPS, _VAR):
        t[row, j] = math.ldexp(t[row, j], 2 * shift)
    lane.exponent += shift


# -------------------------------------------------------------------- the cells


@entry
def minibatch_cells(  # type: ignore[no-untyped-def]
    X,
    y,
    eigvals,
    u,
    along,
    across,
    z0,
    a0,
    delta0,
    energy,
    noise,
    var0,
    x_unit,
    y_unit,
    kind,
    batches,
    drawn,
    m,
    key,
    eps,
    eps_a,
    decay,
    averaging,
    table,
    which,
    which_a,
    n_steps,
    tol,
    stop_at_tol,
    floor,
    limit,
    cancel,
    counts,
    numbers,
    record,
    trace,
):
    """Run cells that share their batches; all in the units of `SampleStart`.

    Parameters
    ----------
    X, y, eigvals, u, along, across, z0, a0, delta0, energy, noise, var0, x_unit, y_unit
        As in `SampleStart`.
    kind, batches, drawn, m, key : int64, int64[n_steps, m], tuple, int64, uint64
        How rows are drawn, the rows where they are given, what fresh rows are drawn with (eigvals, u, noise, before a
        change of units), rows of a batch, and the stream.
    eps, eps_a, decay, averaging : float64[cells]
        Learning rates, weight decay, and the weight of a new batch in the running averages (0: none are kept).
    table, which, which_a : float64[t, n_steps + 1], int64[cells], int64[cells]
        Factors of the learning rates, and which row is that of eps, and of eps_a, for each cell.
    n_steps, tol, stop_at_tol, floor, limit, cancel
        As in `olsbn.engine.run.Run`; a cell whose excess passes `limit` has diverged.
    counts : int64[cells, 3], written
        Status, first step with excess <= tol (-1: none), last step.
    numbers : float64[cells, NUMBERS], written
        Excess, residual, eps_eff, a, squared norm of w times 4**e, e, excess by the running averages, and that of the
        batch which the step sees, less the noise of the whole sample.
    record, trace : int64[r] ascending, float64[r, cells, NUMBERS], written
        Steps to record, and there, up to a cell's end, the same numbers.
    """
    d, n_cells = u.size, eps.size
    root = math.sqrt(energy)
    n_blocks = (n_cells + LANES - 1) // LANES
    padded = (d + COLUMNS - 1) // COLUMNS * COLUMNS + 1
    panels = (m + ROWS - 1) // ROWS
    stream = np.array([key], dtype=np.uint64)
    order = np.arange(y.size)
    place = np.array([y.size], dtype=np.int64)  # an epoch is over
    rows, raw = np.arange(m), np.zeros((panels * ROWS, _CHUNK))
    fresh, targets = np.empty((m if kind == GAUSSIAN else 0, d)), np.empty(m)
    mean, gb = np.empty(d + 1), np.zeros(padded)
    xb, yb = np.zeros((panels, padded, ROWS)), np.zeros((panels, ROWS))
    groups = LANES // VECTOR
    w, z = np.empty((n_blocks * groups, padded, VECTOR)), np.zeros((panels * ROWS, VECTOR))
    t = np.zeros((n_blocks, _TABLE, LANES))
    lanes = np.zeros(n_blocks * LANES, CELL)
    out = np.full(NUMBERS, np.nan)
    averages = False
    for c in range(n_cells):
        counts[c, 0] = CANCELLED
        b, j = c // LANES, c % LANES
        lanes[c].cell, lanes[c].hit, lanes[c].low = c, -1, -2
        t[b, _A, j], t[b, _Z0, j], t[b, _VAR, j], t[b, _AVERAGING, j] = a0, z0, var0, averaging[c]
        t[b, _EPS, j], t[b, _EPS_A, j], t[b, _DECAY, j] = eps[c], eps_a[c], eps[c] * decay[c]
        averages |= averaging[c] > 0.0
    for state in w:
        state[0] = along
        for p in range(d):
            state[p + 1] = across[p]
        state[d + 1 :] = 0.0
    t[:, _M, :] = m
    t[:, _INVERSE_ROOT, :] = 1.0 / root
    for c in range(n_cells, n_blocks * LANES):
        t[c // LANES, _IDLE, c % LANES] = 1.0
    look = 4.0 * max(tol, floor, _CLOSE)
    active = n_cells
    r = 0
    for k in range(n_steps + 1):
        if active == 0 or cancel[0] != 0:
            break
        recorded = r < record.size and record[r] == k
        square = np.nan
        if k < n_steps or kind != GIVEN:
            if kind == GAUSSIAN:
                fresh_rows(stream, drawn[0], drawn[1], drawn[2], fresh, targets)
                square = _pack(fresh, targets, rows, x_unit, y_unit, u, raw, mean, xb, yb, gb)
            else:
                next_rows(stream, kind, batches, k, order, place, rows)
                square = _pack(X, y, rows, x_unit, y_unit, u, raw, mean, xb, yb, gb)
        ended = False
        for b in range((active + LANES - 1) // LANES):
            rows_t = t[b]
            n_lanes = min(LANES, active - b * LANES)
            for j in range(n_lanes):
                c = lanes[b * LANES + j].cell
                rows_t[_EPS_K, j] = rows_t[_EPS, j] * table[which[c], k]
                rows_t[_EPS_A_K, j] = rows_t[_EPS_A, j] * table[which_a[c], k]
                rows_t[_MINUS_DECAY, j] = -(rows_t[_DECAY, j] * table[which[c], k])
            rows_t[_LARGEST] = 0.0
            flat = rows_t.reshape(-1)
            for first in range(0, n_lanes, VECTOR):
                state, group = w[b * groups + first // VECTOR], rows_t[:, first:]
                mine = lanes[b * LANES + first : b * LANES + min(first + VECTOR, n_lanes)]
                _forward(state, xb, yb, d + 1, z, flat[first:])
                if _step(flat[first:], 0, look, limit) or recorded or k == n_steps:
                    _whole_sample(state, group, eigvals, u, energy, k == 0)
                    for j in range(mine.size):
                        lane = mine[j]
                        beta, rest = group[_BETA, j], group[_ACROSS, j]
                        sigma2 = beta * beta * energy + rest
                        n = rest / sigma2
                        delta = delta0 if k == 0 else group[_A, j] / root - beta * root / math.sqrt(sigma2)
                        excess = n + delta * delta
                        end = _judge(lane, k, excess, n_steps, tol, stop_at_tol, floor, limit)
                        if end == GOES_ON and group[_S, j] == 0.0:
                            end = DEGENERATE  # of the batch: no step is defined
                        if recorded or end != GOES_ON:
                            _keep(group, j, lane.exponent, energy, excess, math.sqrt(n), noise, square, out)
                        if recorded:
                            trace[r, lane.cell, :] = out
                        if end != GOES_ON:
                            counts[lane.cell, 0], counts[lane.cell, 1], counts[lane.cell, 2] = end, lane.hit, k
                            numbers[lane.cell, :] = out
                            group[_IDLE, j] = 1.0
                            ended = True
                if k == n_steps:
                    continue
                if averages:
                    _average(state, group, mean, m)
                for p in range(1, padded, COLUMNS):
                    _backward(state, xb, gb, p, z, flat[first:])
                for j in range(mine.size):
                    group[_A, j] = group[_NEXT_A, j]
                    group[_Z0, j] += group[_MINUS_DECAY, j] * group[_Z0, j]
                    state[0, j] += group[_MINUS_DECAY, j] * state[0, j]
                    largest = max(group[_LARGEST, j], abs(state[0, j]))
                    group[_LARGEST, j] = largest
                    if not 1.0 / _WIDE < largest < _WIDE and 0.0 < largest < np.inf:
                        _rescale(state, group, j, mine[j])
        r += recorded
        if ended:
            c = 0
            while c < active:
                if t[c // LANES, _IDLE, c % LANES] == 0.0:
                    c += 1
                    continue
                # the last lane moves here, and is looked at next, so that lanes in use stay together
                active -= 1
                if c < active:
                    w[c // VECTOR, :, c % VECTOR] = w[active // VECTOR, :, active % VECTOR]
                    t[c // LANES, :, c % LANES] = t[active // LANES, :, active % LANES]
                    lanes[c] = lanes[active]
                t[active // LANES, _IDLE, active % LANES] = 1.0


# -------------------------------------------------------------------- face


def tile(x: SampleStart, params: dict[str, FloatArray], run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run stochastic BNGD on cells of one problem; see `olsbn.engine.bngd.tile` for what comes back.

    Parameters
    ----------
    x : SampleStart
        The problem, from `prepare`.
    params : dict of ndarray, each of shape (cells,)
        ``eps``, ``eps_a``, ``batch_size`` (>= 3; at most the number of rows where they come in an order),
        ``replicate``, and any of ``eps_power``, ``eps_a_power``, ``weight_decay``, ``averaging``.
    run : Run
        How far, and which steps to keep. Where `check_rounding` is set, all runs a second time, in other units:
        `by_rounding` says where the two differ (`_differ`).
    """
    counts, numbers, trace = _run_cells(x, params, run)
    found, kept = _columns(x, numbers), _columns(x, trace)
    flags = np.zeros(counts.shape[0], bool), np.zeros(trace.shape[:2], bool)
    if run.check_rounding:
        other = x.in_other_units()
        again, numbers, trace = _run_cells(other, params, run)
        flags = _differ(counts, again, found, _columns(other, numbers), kept, _columns(other, trace), run.record)
    del found["residual"]
    found |= {"status": counts[:, 0], "steps_to_tol": counts[:, 1], "n_steps_run": counts[:, 2]}
    found |= {"by_rounding": flags[0], "rate_sim": np.full(counts.shape[0], np.nan)}
    return found, kept | {"by_rounding": flags[1]}


def _run_cells(x: SampleStart, params: dict[str, FloatArray], run: Run) -> tuple[np.ndarray, FloatArray, FloatArray]:
    """Return counts, numbers and trace of `minibatch_cells` for all cells, in the units of x."""
    n = params["eps"].size
    zero = np.zeros(n)
    power, power_a = params.get("eps_power", zero), params.get("eps_a_power", zero)
    decay, averaging = params.get("weight_decay", zero), params.get("averaging", zero)
    sizes, replicates = params["batch_size"].astype(np.int64), params["replicate"].astype(np.int64)
    kind = GIVEN if x.batches is not None else SAMPLINGS.index(x.sampling)
    rows = np.empty((0, 0), np.int64)
    if x.batches is not None:
        rows = x.batches
        if rows.shape[0] < run.n_steps:
            raise ValueError(f"batches must have a row for each of {run.n_steps} steps, got {rows.shape[0]}")
        sizes, replicates = np.full(n, rows.shape[1]), np.zeros(n, np.int64)
    if sizes.min(initial=SMALLEST_BATCH) < SMALLEST_BATCH:
        raise ValueError(f"batch_size must be >= {SMALLEST_BATCH}, got {sizes.min()}")
    if kind in (EPOCH, SINGLE) and sizes.max(initial=0) > x.y.size:
        raise ValueError(
            f"batch_size must be <= {x.y.size}, the rows of the sample, for sampling={x.sampling!r}, got {sizes.max()}"
        )
    counts, numbers = np.zeros((n, 3), np.int64), np.full((n, NUMBERS), np.nan)
    trace = np.full((run.record.size, n, NUMBERS), np.nan)
    counts[:, 0] = CANCELLED
    drawn = x if x.first is None else x.first
    start = x.X, x.y, x.eigvals, x.u, x.along, x.across, x.z0, x.a0, x.delta0, x.energy, x.noise, x.var0
    most = max(_CELLS_BYTES // (8 * LANES * (x.u.size + 1)), 1) * LANES
    with np.errstate(all="ignore"):
        eps = np.ldexp(params["eps"], x.eps_exp) * x.eps_unit
        decay = np.ldexp(decay, -x.eps_exp) / x.eps_unit
        powers, where = np.unique(np.concatenate([power, power_a]), return_inverse=True)
        table, which = tables(run.n_steps + 1, powers, np.ones_like(powers))
        which = which[where]
        for members in _sharing(replicates, sizes):
            m = int(sizes[members[0]])
            key = stream_key(x.seed, int(replicates[members[0]]), m)
            for first in range(0, members.size, most):
                cells = members[first : first + most]
                if not x.moves:
                    counts[cells], numbers[cells] = (DEGENERATE, -1, 0), np.nan
                    numbers[cells, _NUMBER_A], numbers[cells, _NUMBER_NORM2] = x.a0, x.z0**2
                    trace[:, cells] = numbers[cells]
                    continue
                own = counts[cells], numbers[cells], trace[:, cells]  # copies
                minibatch_cells(
                    *start, x.x_unit, x.y_unit, kind, rows, (drawn.eigvals, drawn.u, drawn.noise), m, key,
                    eps[cells], params["eps_a"][cells], decay[cells], averaging[cells],
                    table, which[:n][cells], which[n:][cells],
                    run.n_steps, run.tol, run.stop_at_tol, run.floor, x.limit(), run.cancel,
                    own[0], own[1], run.record, own[2],
                )  # fmt: skip
                counts[cells], numbers[cells], trace[:, cells] = own
    return counts, numbers, trace


def _differ(
    counts: np.ndarray,
    again: np.ndarray,
    found: dict[str, Any],
    others: dict[str, Any],
    kept: dict[str, Any],
    kept_others: dict[str, Any],
    record: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each cell, and for each recorded step of it, whether two runs in other units differ.

    They do where a number of `_COMPARED` differs by more than `_TOLERANCE`, relative, and from the step on at which one
    of them reaches the tolerance, or ends, and the other does not. Past the start an excess below `_RESOLVED` counts as
    different: it is the square of a few roundings of ``a/sqrt(E) - beta sqrt(E)/sigma``, which may be the same by
    chance.
    """
    ends = (counts != again).any(axis=1)
    one, two = (np.where(steps >= 0, steps, NEVER) for steps in (counts[:, 1:], again[:, 1:]))
    since = np.where(one != two, np.minimum(one, two), NEVER).min(axis=1)
    since = np.where(ends & (since == NEVER), counts[:, 2], since)
    last = _apart(found, others) | ends | ((counts[:, 2] > 0) & (found["excess"] < _RESOLVED))
    at = _apart(kept, kept_others) | (record[:, None] >= since)
    return last, at | ((record[:, None] > 0) & (kept["excess"] < _RESOLVED))


def _apart(found: dict[str, Any], others: dict[str, Any]) -> np.ndarray:
    apart = np.zeros_like(found["excess"], bool)
    for name in _COMPARED:
        one, two = found[name], others[name]
        with np.errstate(all="ignore"):
            near = np.abs(one - two) <= _TOLERANCE * np.minimum(np.abs(one), np.abs(two))
        apart |= ~(near | (one == two) | (np.isnan(one) & np.isnan(two)))
    return apart


def _sharing(replicates: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Return the numbers of the cells that share batches, ascending, for each kind of batches."""
    if not sizes.size:
        return []
    order = np.lexsort((sizes, replicates))  # stable
    first = np.any([np.diff(values[order]) != 0 for values in (replicates, sizes)], axis=0)
    return np.split(order, np.flatnonzero(first) + 1)


def _columns(x: SampleStart, numbers: FloatArray) -> dict[str, Any]:
    """Return the numbers of cells in the problem's own units."""
    exponent = np.nan_to_num(numbers[..., _EXPONENT]).astype(int)
    return {
        "excess": numbers[..., _EXCESS],
        "residual": numbers[..., _RESIDUAL],
        "a": np.ldexp(numbers[..., _NUMBER_A], -(x.u_exp + x.eigval_exp // 2)) / x.y_unit,
        "w_norm": np.ldexp(np.sqrt(numbers[..., _NUMBER_NORM2]), -(x.w_exp + exponent)) / x.w_unit,
        "eps_eff": np.ldexp(numbers[..., _EPS_EFF], x.eigval_exp) * (x.x_unit * x.x_unit),
        "excess_running": numbers[..., _RUNNING],
        "excess_batch": numbers[..., _BATCH],
        "gap": numbers[..., _RUNNING] - numbers[..., _BATCH],
    }
