r"""GD on a x'w/nu, nu^2 = w'Nw, for any N that is a function of H, with momentum, weight decay and schedules.

Batch normalization has N = H, smoothed BN N = H + delta I, weight normalization N = I: here ``N = h H + c I``. With
theta = a w/nu and r = g - H theta, in the order of PyTorch's SGD,

    grad_w = -(a/nu) (r - (w'r/nu^2) N w) + weight_decay w,     b <- momentum b + grad_w,     w <- w - eps_k b
    grad_a = -w'r/nu,                                           b_a <- momentum b_a + grad_a, a <- a - eps_a_k b_a

Coordinates. ``w = beta u + v`` with ``u'Hv = 0`` (and z, the norm of w in the null space of H), where b is split alike.
With kappa = a/nu the error is ``theta - u = gamma u + kappa v``, gamma = kappa beta - 1, so that

    excess = gamma^2 + kappa^2 Y/E,   Y = v'Hv,     w'r = -(beta gamma E + kappa Y) = rho nu^2
    grad_w = (e1 + e2 H) v + (e3 H + e4) u,         nu^2 = h (beta^2 E + Y) + c W2,   W2 = ||w||^2
    e1 = kappa c rho    e2 = kappa (h beta E + c kappa W2)/nu^2    e3 = kappa (c gamma W2 - h Y)/nu^2    e4 = e1 beta

v and gamma vanish at a minimiser, and nothing else is subtracted from anything: gamma comes from gamma, by the relative
changes of a and of beta/nu (from ``tau = nu^2/beta^2``, whose change is a sum of small terms), wherever it is small. So
all numbers keep their precision, relative to the error, down to 1e-290. Where gamma is not small it is made from a.

GDNP [Kohler] is the case ``a = w'g/sigma`` (gamma = -Y/nu^2) with the learning rate that makes eps_eff 1/lambda_max.

Execution as in `olsbn.engine.deflated`, with plain loops over the lanes, of which each counts its own steps.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.asked import ask, counted, empty_out
from olsbn.engine.compile import LANES, entry, helper
from olsbn.engine.coordinates import LARGEST, in_range, merged, whole_norm
from olsbn.engine.fastest import (
    A_,
    B_,
    BETA,
    FAR,
    KEEP,
    V_,
    begin_fastest,
    empty_fastest,
    follow_fastest,
    scale_fastest,
)
from olsbn.engine.lanes import CANCELLED, GOES_ON, empty, fill, move, scale
from olsbn.engine.run import Run
from olsbn.engine.schedules import tables
from olsbn.engine.standing import degenerate_cells
from olsbn.engine.star_coordinates import Fastest, fastest
from olsbn.engine.watch import MAX_SAMPLES, WATCH, begin, judge, momentum_ratio, settled_ratio
from olsbn.problems import OLSProblem
from olsbn.schema import EXCESS_LIMIT

# Rows of the table of lanes; the first six are the sums of the pass over the modes.
(
    _Y, _P, _S, _Q, _G, _W2, _C1, _C2, _C3, _C4, _M, _TABLE, _FOLD, _BETA, _NEXT_BETA, _D_BETA, _B_BETA, _Z,
    _NEXT_Z, _D_Z, _B_Z, _A, _NEXT_A, _B_A, _GROWTH, _GAMMA, _TAU, _NU2, _KAPPA, _EPS, _EPS_A, _EPS_K, _DECAY,
    _C, _MARK,
) = range(35)  # fmt: skip
_ROWS = 35

_HUGE = 2.0**300  # a step this long would overflow the sums: the lane is rescaled by a power of two
_NEAR = 0.5  # |gamma| below which it is followed by its changes
_FILTER_STEPS = 12  # of the search for a hidden slower mode

# Slots of `numbers` and of the trace
_N_EXCESS, _N_EPS_EFF, _N_A, _N_NORM2, _N_RATE, _N_RESIDUAL, _N_EXPONENT, _N_MARK = range(8)


# -------------------------------------------------------------------- coordinates


@dataclass(frozen=True)
class SplitStart:
    """A problem as `normalized_tile` iterates it; the units are powers of two (see `coordinates.Coordinates`)."""

    eigvals: FloatArray
    u: FloatArray
    v: FloatArray
    beta0: float
    z0: float  # norm of w in the null space of H
    kappa0: float  # a0/sigma0
    energy: float  # u'Hu
    mean_eigval: float  # u'H^2u/E
    u2: float  # u'u
    eigval_exp: int
    w_exp: int
    u_exp: int
    degenerate: bool
    saddle: bool
    a0: float  # these three in the problem's own units
    w0_norm: float
    alpha0: float  # a0/sqrt(E)
    problem: OLSProblem

    @cached_property
    def fastest(self) -> Fastest:
        """The modes of H* to follow, which only BN asks for."""
        return fastest(self.problem)

    @property
    def eps_exp(self) -> int:
        """A learning rate of w times 2**eps_exp is one in these units."""
        return 2 * self.w_exp - 2 * self.u_exp - self.eigval_exp

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged."""
        return min(EXCESS_LIMIT * (1 + self.alpha0 * self.alpha0), LARGEST)


def prepare(problem: OLSProblem) -> SplitStart:
    """Return the coordinates that the tiles iterate: O(d), sums correctly rounded."""
    eigval_exp = -math.frexp(problem.eigvals[-1])[1]
    eigval_exp -= eigval_exp % 2  # even, so that its root is a power of two as well
    with np.errstate(under="ignore", over="ignore"):
        eigvals = np.ldexp(problem.eigvals, eigval_exp)
        roots = np.sqrt(eigvals)
        u, u_exp = in_range(problem.u, roots)
        w, w_exp = in_range(problem.w0, roots)
        eigvals, u, w = merged(eigvals, u, w)
        moving = (u != 0) | (w != 0)
        eigvals, u, w = eigvals[moving], u[moving], w[moving]
        energy = math.fsum(eigvals * u * u)
        beta0 = math.fsum(eigvals * u * w) / energy
        v = w - beta0 * u
        drift = math.fsum(eigvals * u * v) / energy
        v, beta0 = v - drift * u, beta0 + drift
        sigma0 = math.sqrt(beta0 * beta0 * energy + math.fsum(eigvals * v * v))
        a0 = float(np.ldexp(problem.a0, u_exp + eigval_exp // 2))
        return SplitStart(
            eigvals=eigvals,
            u=u,
            v=v,
            beta0=beta0,
            z0=float(np.ldexp(problem.w0_null_norm, w_exp)),
            kappa0=a0 / sigma0 if sigma0 else 0.0,
            energy=energy,
            mean_eigval=math.fsum(eigvals * eigvals * u * u) / energy,
            u2=math.fsum(u * u),
            eigval_exp=eigval_exp,
            w_exp=w_exp,
            u_exp=u_exp,
            degenerate=not w.any() or (problem.a0 == 0 and beta0 == 0),
            saddle=bool(w.any()),
            a0=problem.a0,
            w0_norm=float(whole_norm(np.array(math.fsum(w * w)), w_exp, problem.w0_null_norm)),
            alpha0=problem.a0 / math.sqrt(problem.explained_var),
            problem=problem,
        )


# -------------------------------------------------------------------- the passes over the modes

# Both end with the same sums, written twice: as a function of their own they cost a tenth of the speed.


@helper
def _plain_pass(v, eigvals, u, t, n_lanes, norms):  # type: ignore[no-untyped-def]
    """Advance v by ``v <- (C1 - C2 lambda) v + (C3 lambda + C4) u`` and make the sums of the new v."""
    for row in range(6):
        for j in range(n_lanes):
            t[row, j] = 0.0
    for i in range(eigvals.size):
        h, s = eigvals[i], u[i]
        hs = h * s
        for j in range(n_lanes):
            x = (t[_C1, j] - t[_C2, j] * h) * v[i, j] + (t[_C3, j] * h + t[_C4, j]) * s
            v[i, j] = x
            t[_Y, j] += h * x * x
            t[_P, j] += hs * x
            t[_S, j] += hs * h * x
        if norms:
            for j in range(n_lanes):
                x = v[i, j]
                w = t[_NEXT_BETA, j] * s + x
                t[_Q, j] += x * x
                t[_G, j] += s * x
                t[_W2, j] += w * w


@helper
def _momentum_pass(v, b, eigvals, u, t, n_lanes, norms):  # type: ignore[no-untyped-def]
    """Advance ``b <- M b + (C1 + C2 lambda) v + (C3 lambda + C4) u``, ``v <- v - FOLD u - TABLE b``, and the sums."""
    for row in range(6):
        for j in range(n_lanes):
            t[row, j] = 0.0
    for i in range(eigvals.size):
        h, s = eigvals[i], u[i]
        hs = h * s
        for j in range(n_lanes):
            y = t[_M, j] * b[i, j] + ((t[_C1, j] + t[_C2, j] * h) * v[i, j] + (t[_C3, j] * h + t[_C4, j]) * s)
            x = (v[i, j] - t[_FOLD, j] * s) - t[_TABLE, j] * y
            b[i, j] = y
            v[i, j] = x
            t[_Y, j] += h * x * x
            t[_P, j] += hs * x
            t[_S, j] += hs * h * x
        if norms:
            for j in range(n_lanes):
                x = v[i, j]
                w = t[_NEXT_BETA, j] * s + x
                t[_Q, j] += x * x
                t[_G, j] += s * x
                t[_W2, j] += w * w


# -------------------------------------------------------------------- the scalars of a step


@helper
def _look(t, j, first, kappa0, h, energy, mean_eigval, u2, gdnp):  # type: ignore[no-untyped-def]
    """Make of the sums of lane j everything that the step knows, and return the excess.

    P is what rounding has left of v along u: it belongs to beta.
    """
    c = t[_C, j]
    P = t[_P, j] / energy
    Y = t[_Y, j] - P * P * energy
    Y = Y if Y > 0.0 else (Y if Y != Y else 0.0)
    Q = t[_Q, j] - P * (2.0 * t[_G, j] - P * u2)
    G = t[_G, j] - P * u2
    S = t[_S, j] / energy - P * mean_eigval
    beta_before, z_before = t[_BETA, j], t[_Z, j]
    d_beta = t[_D_BETA, j] + P
    beta, z = t[_NEXT_BETA, j] + P, t[_NEXT_Z, j]
    W2 = t[_W2, j] + z * z
    nu2 = h * (beta * beta * energy + Y) + (c * W2 if c != 0.0 else 0.0)
    nu = math.sqrt(nu2)
    small = 0.0  # tau is this, and a constant, and c (z/beta)^2
    if beta != 0.0:
        small = h * Y / (beta * beta)
        if c != 0.0:
            small += c * (2.0 * G + Q / beta) / beta
    if gdnp:
        gamma = -Y / nu2
        a = beta * energy / nu
    elif first:
        gamma = kappa0 * beta - 1.0
        a = kappa0 * nu
    else:
        a = t[_NEXT_A, j]
        gamma = a * beta / nu - 1.0
        before = t[_GAMMA, j]
        if abs(gamma) < _NEAR and abs(before) < _NEAR and beta * beta_before > 0.0:
            change = small - t[_TAU, j]
            if c != 0.0 and z != 0.0:
                lost, left = z_before / beta_before, z / beta
                moved = (t[_D_Z, j] - lost * d_beta) / beta  # left - lost
                change += c * moved * (left + lost)
            y = change * (beta * beta) / nu2
            shrunk = -y / (1.0 + math.sqrt(1.0 - y))
            grown = t[_GROWTH, j]  # relative change of a
            gamma = before + (1.0 + before) * (grown + shrunk * (1.0 + grown))
            a = (1.0 + gamma) * nu / beta
    kappa = a / nu
    excess = gamma * gamma + kappa * kappa * (Y / energy)
    t[_Y, j], t[_P, j], t[_S, j], t[_Q, j], t[_G, j], t[_W2, j] = Y, P, S, Q, G, W2
    t[_BETA, j], t[_Z, j], t[_A, j], t[_GAMMA, j], t[_TAU, j] = beta, z, a, gamma, small
    t[_NU2, j], t[_KAPPA, j] = nu2, kappa
    return excess


@helper
def _prepare_step(t, j, factor, eps_a, heavy, h, energy, mean_eigval, gdnp, top_eigval):  # type: ignore[no-untyped-def]
    """Make the coefficients of the next step of lane j, and its scalars after the step; `factor` is the schedule's.

    The buffer of momentum stands multiplied by the lane's learning rate, and DECAY is learning rate times decay: so all
    of a lane scales with w, or not at all.
    """
    c, beta, Y, W2, nu2 = t[_C, j], t[_BETA, j], t[_Y, j], t[_W2, j], t[_NU2, j]
    gamma, kappa, P, z = t[_GAMMA, j], t[_KAPPA, j], t[_P, j], t[_Z, j]
    rho = -(beta * gamma * energy + kappa * Y) / nu2
    e1 = kappa * c * rho if c != 0.0 else 0.0
    e2 = h * beta * energy
    e3 = -h * Y
    if c != 0.0:
        e2 += c * kappa * W2
        e3 += c * gamma * W2
    e2 = kappa * (e2 / nu2)
    e3 = kappa * (e3 / nu2)
    e4 = e1 * beta
    if gdnp:
        root = (beta * beta + Y / energy) / beta
        t[_EPS, j] = root * root / top_eigval
    along = e2 * t[_S, j] + e3 * mean_eigval + e4  # of the gradient, along u
    base = t[_EPS, j]
    eps = base * factor
    t[_TABLE, j], t[_EPS_K, j], t[_FOLD, j] = factor, eps, P
    if heavy:
        m, decay = t[_M, j], t[_DECAY, j]
        t[_C1, j] = base * e1 + decay
        t[_C2, j] = base * e2
        t[_C3, j] = base * e3 - t[_C2, j] * P
        t[_C4, j] = base * (e4 - along) - t[_C1, j] * P
        t[_B_BETA, j] = m * t[_B_BETA, j] + (base * along + decay * beta)
        t[_B_Z, j] = m * t[_B_Z, j] + t[_C1, j] * z
        t[_B_A, j] = m * t[_B_A, j] - rho * math.sqrt(nu2)
        t[_D_BETA, j] = -factor * t[_B_BETA, j]
        t[_D_Z, j] = -factor * t[_B_Z, j]
    else:
        decay = t[_DECAY, j] * factor
        t[_C1, j] = (1.0 - decay) - eps * e1
        t[_C2, j] = eps * e2
        t[_C3, j] = t[_C2, j] * P - eps * e3
        t[_C4, j] = eps * (along - e4) - t[_C1, j] * P
        t[_D_BETA, j] = -(eps * along + decay * beta)
        t[_D_Z, j] = -((eps * e1 + decay) * z)
        t[_B_A, j] = -rho * math.sqrt(nu2)
    t[_NEXT_BETA, j] = beta + t[_D_BETA, j]
    t[_NEXT_Z, j] = z + t[_D_Z, j]
    t[_GROWTH, j] = -eps_a * t[_B_A, j] / t[_A, j]
    t[_NEXT_A, j] = t[_A, j] - eps_a * t[_B_A, j]


@helper
def _follow(t, near, step, mu, pull, active, heavy, energy):  # type: ignore[no-untyped-def]
    """Mark the lanes in which rounding decides from the next step on, whose coefficients stand."""
    for j in range(active):
        f = t[_TABLE, j] if heavy else 1.0
        step[KEEP, j] = 1.0 - f * t[_C1, j] if heavy else t[_C1, j]
        step[A_, j] = f * t[_C2, j]
        step[B_, j] = f * (t[_C3, j] + (t[_C2, j] if heavy else -t[_C2, j]) * t[_P, j])
        step[V_, j], step[BETA, j] = t[_Y, j] / energy, t[_BETA, j]
        step[FAR, j] = 1.0 if abs(t[_GAMMA, j]) > 1.0 else 0.0
    follow_fastest(near, step, t[_M] if heavy else t[_M, :0], mu, pull, active, t[_MARK])


@helper
def _shift(t, j, heavy):  # type: ignore[no-untyped-def]
    """Return the exponent of two by which w of lane j is to be scaled so that the next step stays in range; 0: not."""
    size = abs(t[_C1, j]) + abs(t[_C2, j]) + abs(t[_C3, j])
    if heavy:
        size = size * abs(t[_TABLE, j]) + abs(t[_NEXT_BETA, j])
    if _HUGE <= size < np.inf:
        return -(math.frexp(size)[1] * 3 // 4)
    if not 1.0 / _HUGE < t[_NU2, j] < _HUGE and 0.0 < t[_NU2, j] < np.inf:
        return -(math.frexp(t[_NU2, j])[1] // 2)
    return 0


@helper
def _rescale(t, watch, near, v, b, j, shift):  # type: ignore[no-untyped-def]
    """Scale lane j: (w, eps) -> (f w, f^2 eps) changes nothing else."""
    f = math.ldexp(1.0, shift)
    scale(v, j, f)
    scale(b, j, f)
    scale_fastest(near, j, f)
    for row in (_BETA, _NEXT_BETA, _D_BETA, _B_BETA, _Z, _NEXT_Z, _D_Z, _B_Z, _FOLD, _C3, _C4):
        t[row, j] *= f
    t[_EPS, j] = t[_EPS, j] * f * f
    t[_EPS_K, j] = t[_EPS_K, j] * f * f
    watch[j].exponent += shift


@helper
def _begin_lane(t, near, v, b, j, start, near_start, beta0, z0, eps, eps_a, momentum, decay, c):  # type: ignore[no-untyped-def]
    """Begin a cell in lane j: its first pass over the modes moves nothing and only makes the sums of step 0."""
    fill(v, j, start)
    empty(b, j)
    empty(t, j)
    begin_fastest(near, near_start, j)
    t[_NEXT_BETA, j] = beta0
    t[_NEXT_Z, j] = z0
    t[_EPS, j], t[_EPS_A, j], t[_M, j], t[_DECAY, j], t[_C, j] = eps, eps_a, momentum, eps * decay, c
    if b.shape[0] == 0:
        t[_C1, j] = 1.0  # of the plain pass; the other one moves v by TABLE b = 0


# -------------------------------------------------------------------- what is reported of a cell


@helper
def _report(t, v, u, j, energy, norms, exponent, out):  # type: ignore[no-untyped-def]
    """Write excess-independent numbers of lane j at its present step."""
    beta, kappa, z = t[_BETA, j], t[_KAPPA, j], t[_Z, j]
    across = t[_Y, j] / energy
    sigma2 = beta * beta + across
    out[_N_EPS_EFF] = t[_EPS_K, j] * kappa * beta / sigma2
    out[_N_A] = t[_A, j]
    out[_N_RESIDUAL] = math.sqrt(across / sigma2)
    if norms:
        total = t[_W2, j]
    else:
        total = z * z
        shift = beta - t[_P, j]
        for i in range(u.size):
            w = shift * u[i] + v[i, j]
            total += w * w
    out[_N_NORM2] = total
    out[_N_EXPONENT] = exponent


@helper
def _hidden_ratio(t, v, eigvals, u, j, h, energy, u2, eps_eff, eps_a, x, y):  # type: ignore[no-untyped-def]
    """Return a lower bound of the contraction ratio of the slowest mode that the error of lane j holds a trace of.

    A slower mode with a tiny amplitude cannot be seen in the excess, where it enters squared, until it takes the lead:
    a ratio that has settled before that is not the asymptotic one. Near a minimiser the error d = theta - u obeys
    ``d_next = d - K d + momentum (d - d_before)`` with, for t = N u/(u'N u) (null space of H included),

        K = (eps_eff (I - u t' - t u' + ||t||^2 u u') + eps_a u u'/(u'N u)) H,

    self-adjoint in the H-norm. So ``K - mu``, mu the Rayleigh quotient, is a filter that wipes out the leading mode and
    brings up those far from it, down to rounding; and as every Rayleigh quotient of K lies between the extreme
    eigenvalues that d holds, and the ratio of a mode grows with the distance of its eigenvalue to either side, no
    quotient's ratio exceeds the largest one.
    """
    c, m, beta = t[_C, j], t[_M, j], t[_BETA, j]
    lost = t[_Z, j] / beta
    F = h * energy + c * (u2 + lost * lost)
    tt = (c * lost / F) * (c * lost / F)
    for i in range(u.size):
        n_u = (h * eigvals[i] + c) * u[i] / F
        tt += n_u * n_u
    largest = 0.0
    shift = t[_GAMMA, j] - t[_KAPPA, j] * t[_P, j]
    for i in range(u.size):
        x[i] = shift * u[i] + t[_KAPPA, j] * v[i, j]
        largest = max(largest, abs(x[i]))
    if not 0.0 < largest < np.inf:
        return 0.0
    for i in range(u.size):
        x[i] /= largest
    mu = 0.0
    ratio = 0.0
    for filtered in range(_FILTER_STEPS + 1):
        uh, th = 0.0, 0.0
        for i in range(u.size):
            force = eigvals[i] * x[i]
            uh += u[i] * force
            th += (h * eigvals[i] + c) * u[i] / F * force
        xx, xy, yy = 0.0, 0.0, 0.0
        for i in range(u.size):
            n_u = (h * eigvals[i] + c) * u[i] / F
            pull = u[i] * (eps_a * uh / F + eps_eff * (tt * uh - th)) - eps_eff * n_u * uh
            y[i] = eps_eff * (eigvals[i] * x[i]) + pull
            xx += eigvals[i] * x[i] * x[i]
            xy += eigvals[i] * x[i] * y[i]
            yy += eigvals[i] * y[i] * y[i]
        if not xx > 1e-250:  # nothing is left, or too little to square
            return ratio
        if filtered == 0:
            mu = xy / xx
        ratio = max(ratio, max(momentum_ratio(xy / xx, m), momentum_ratio(math.sqrt(yy / xx), m)))
        for i in range(u.size):
            x[i] = y[i] - mu * x[i]
    return ratio


# -------------------------------------------------------------------- the tile


@entry
def normalized_tile(  # type: ignore[no-untyped-def]
    eigvals,
    u,
    start,
    scalars,
    fast,
    h,
    norms,
    gdnp,
    heavy,
    eps,
    eps_a,
    momentum,
    decay,
    c,
    tables,
    which,
    which_a,
    steady,
    asked,
    written,
):
    """Run every cell of a tile; all in the units of `SplitStart`.

    Parameters
    ----------
    eigvals, u, start : float64[d]
        lambda_i, u_i, and v_i at step 0.
    scalars : float64[6]
        beta0, z0, kappa0, E, u'H^2u/E, u'u.
    fast : three float64[at most 4]
        mu, b and the start of the modes of H* to follow for the mark.
    h : float64
        N = h H + c I.
    norms, gdnp, heavy : bool
        Whether any c is not 0; whether `a` is optimal and eps_eff 1/lambda_max; whether there is momentum.
    eps, eps_a, momentum, decay, c : float64[cells]
    tables, which, which_a : float64[t, n_steps + 1], int64[cells], int64[cells]
        Factors of the learning rates, and which row is that of eps, and of eps_a, for each cell.
    steady : bool[cells]
        Whether the cell has a minimiser to come to rest at, with learning rates that stay.
    asked : Ask
    written : Out
        Three counts; eight numbers, and in the trace the same but for the ratio: excess, eps_eff, a, squared norm of w
        times 4**e, settled ratio of sqrt(excess) (NaN: none), residual, binary exponent e of the lane's rescaling,
        whether rounding decided.
    """
    n_steps, tol, stop_at_tol, floor, limit, cancel = asked
    counts, numbers, record, trace = written
    n_cells, d = eps.size, eigvals.size
    beta0, z0, kappa0, energy, mean_eigval, u2 = scalars
    v = np.zeros((d, LANES))
    b = np.zeros((d if heavy else 0, LANES))
    t = np.zeros((_ROWS, LANES))
    watch = np.zeros(LANES, dtype=WATCH)
    samples = np.zeros((LANES, MAX_SAMPLES))
    x, y, out = np.empty(d), np.empty(d), np.zeros(8)
    near_mu, near_pull, near_start = fast
    near, step = empty_fastest(near_mu.size), np.zeros((6, LANES))
    for k in range(n_cells):
        counts[k, 0] = CANCELLED
    active, next_cell = 0, 0
    while active < LANES and next_cell < n_cells:
        begin(watch, active, next_cell)
        _begin_lane(
            t, near, v, b, active, start, near_start, beta0, z0, eps[next_cell], eps_a[next_cell], momentum[next_cell],
            decay[next_cell], c[next_cell],
        )  # fmt: skip
        active, next_cell = active + 1, next_cell + 1

    while active > 0 and cancel[0] == 0:
        if heavy:
            _momentum_pass(v, b, eigvals, u, t, active, norms)
        else:
            _plain_pass(v, eigvals, u, t, active, norms)
        j = 0
        while j < active:
            cell, k = watch[j].cell, watch[j].step
            excess = _look(t, j, k == 0, kappa0, h, energy, mean_eigval, u2, gdnp)
            rests = steady[cell] or t[_DECAY, j] == 0.0
            ended = judge(watch, samples, j, excess, rests, n_steps, tol, stop_at_tol, floor, limit)
            eps_a_k = t[_EPS_A, j] * tables[which_a[cell], k]
            exponent = watch[j].exponent
            _prepare_step(t, j, tables[which[cell], k], eps_a_k, heavy, h, energy, mean_eigval, gdnp, eigvals[d - 1])
            kept = watch[j].next_record
            if kept < record.size and record[kept] == k:
                _report(t, v, u, j, energy, norms, exponent, out)
                out[_N_EXCESS] = excess
                out[_N_MARK] = t[_MARK, j]
                trace[kept, cell, :] = out
                watch[j].next_record += 1
            if ended == GOES_ON:
                shift = _shift(t, j, heavy)
                if shift != 0:
                    _rescale(t, watch, near, v, b, j, shift)
                watch[j].step += 1
                j += 1
                continue

            _report(t, v, u, j, energy, norms, exponent, out)
            out[_N_EXCESS] = excess
            out[_N_MARK] = t[_MARK, j]
            out[_N_RATE] = np.nan
            if steady[cell]:
                ratio = settled_ratio(watch, samples, j)
                if ratio == ratio:
                    slowest = _hidden_ratio(
                        t, v, eigvals, u, j, h, energy, u2, out[_N_EPS_EFF], eps_a_k, x, y
                    )  # fmt: skip
                    if slowest <= ratio * (1.0 + 1e-9):
                        out[_N_RATE] = ratio
            counts[cell, 0], counts[cell, 1], counts[cell, 2] = ended, watch[j].hit, k
            numbers[cell, :] = out

            if next_cell < n_cells:
                begin(watch, j, next_cell)
                _begin_lane(
                    t, near, v, b, j, start, near_start, beta0, z0, eps[next_cell], eps_a[next_cell],
                    momentum[next_cell], decay[next_cell], c[next_cell],
                )  # fmt: skip
                next_cell += 1
                j += 1
                continue
            # no cell is left: the last lane moves here, and is looked at next, so that lanes in use stay together
            active -= 1
            if j < active:
                move(v, j, active)
                move(b, j, active)
                move(t, j, active)
                move(near, j, active)
                watch[j] = watch[active]
                samples[j, :] = samples[active, :]
        if near_mu.size:  # a lane that has just begun does not move
            _follow(t, near, step, near_mu, near_pull, active, heavy, energy)


# -------------------------------------------------------------------- faces

_NEUTRAL = {
    "momentum": 0.0,
    "weight_decay": 0.0,
    "eps_power": 0.0,
    "eps_factor": 1.0,
    "eps_a_power": 0.0,
    "smoothing": 0.0,
}


def tile(x: SplitStart, params: dict[str, FloatArray], run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run BNGD with momentum, weight decay, schedules and smoothing; see `olsbn.engine.bngd.tile` for what comes back.

    Parameters
    ----------
    x : SplitStart
        The problem, from `prepare`.
    params : dict of ndarray, each of shape (cells,)
        ``eps``, ``eps_a``, and any of ``momentum``, ``weight_decay``, ``eps_power``, ``eps_factor``, ``eps_a_power``,
        ``smoothing``.
    run : Run
        How far, and which steps to keep.
    """
    found = _cells(x, params, run, 1.0, params.get("smoothing", np.zeros(params["eps"].size)), x.eigval_exp)
    for part in found:
        part.setdefault("by_rounding", np.zeros(part["excess"].shape, bool))  # of a start that stays
    return found


def tile_wngd(x: SplitStart, params: dict[str, FloatArray], run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run GD with weight normalization, N = I; parameters as in `tile`, without smoothing."""
    return _cells(x, params, run, 0.0, np.ones(params["eps"].size), 0)


def tile_gdnp(x: SplitStart, params: dict[str, FloatArray], run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run GDNP [Kohler], which has no parameters: one cell, and as many equal ones as any parameter given has."""
    n = max([1, *(values.size for values in params.values())])
    one = {"eps": np.ones(1), "eps_a": np.ones(1)}
    cells, trace = _cells(x, one, run, 1.0, np.zeros(1), 0, gdnp=True)
    return (
        {name: np.repeat(values, n) for name, values in cells.items()},
        {name: np.repeat(values, n, axis=1) for name, values in trace.items()},
    )


def _cells(
    x: SplitStart,
    params: dict[str, FloatArray],
    run: Run,
    h: float,
    identity: FloatArray,
    identity_exp: int,
    gdnp: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run cells with ``N = h H + identity I``; `identity` is scaled by 2**identity_exp."""
    n = params["eps"].size
    p = {name: params.get(name, np.full(n, value)) for name, value in _NEUTRAL.items()}
    counts, numbers, _, trace = out = empty_out(run, n, 3, 8, 8)
    # only of BN do the modes near the top of H* obey their own recursion
    marked = h == 1.0 and not gdnp
    fast = x.fastest.arrays(x.eigval_exp, x.w_exp - x.u_exp) if marked else (np.empty(0),) * 3
    scalars = np.array([x.beta0, x.z0, x.kappa0, x.energy, x.mean_eigval, x.u2])
    with np.errstate(all="ignore"):
        eps = np.ldexp(params["eps"], x.eps_exp)
        eps_a = params["eps_a"] if h else np.ldexp(params["eps_a"], -x.eigval_exp)
        decay, c = np.ldexp(p["weight_decay"], -x.eps_exp), np.ldexp(identity, identity_exp)
        rows, which = tables(
            run.n_steps + 1,
            np.concatenate([p["eps_power"], p["eps_a_power"]]),
            np.concatenate([p["eps_factor"], np.ones(n)]),
        )
        which, which_a = which[:n], which[n:]
        steady = (decay == 0) & (p["eps_power"] == 0) & (p["eps_factor"] == 1) & (p["eps_a_power"] == 0)
        if x.degenerate:
            return degenerate_cells(x, n, run.record.size)
        # the passes round differently: which of them runs must be the cell's own matter
        for heavy in (False, True):
            for norms in (False, True):
                cells = np.flatnonzero(((p["momentum"] != 0) == heavy) & ((c != 0) == norms))
                if cells.size == 0:
                    continue
                own = empty_out(run, cells.size, 3, 8, 8)
                normalized_tile(
                    x.eigvals, x.u, x.v, scalars, fast, h, norms, gdnp, heavy, eps[cells], eps_a[cells],
                    p["momentum"][cells], decay[cells], c[cells], rows, which[cells], which_a[cells], steady[cells],
                    ask(run, x.limit()), own,
                )  # fmt: skip
                counts[cells], numbers[cells], trace[:, cells] = own.counts, own.numbers, own.trace
        found = counted(out) | _columns(x, numbers, h) | {"rate_sim": numbers[:, _N_RATE]}
        del found["residual"]
        kept = _columns(x, trace, h)
        if marked:
            for columns, values in ((found, numbers), (kept, trace)):
                columns["by_rounding"] = values[..., _N_MARK] == 1
        return found, kept


def _columns(x: SplitStart, numbers: FloatArray, h: float) -> dict[str, Any]:
    """Return what cells and traces share, in the problem's own units."""
    exponent = np.nan_to_num(numbers[..., _N_EXPONENT]).astype(int)
    a_exp = x.u_exp + (x.eigval_exp // 2 if h else 0)
    return {
        "excess": numbers[..., _N_EXCESS],
        "residual": numbers[..., _N_RESIDUAL],
        "a": np.ldexp(numbers[..., _N_A], -a_exp),
        "w_norm": np.ldexp(np.sqrt(numbers[..., _N_NORM2]), -(x.w_exp + exponent)),
        "eps_eff": np.ldexp(numbers[..., _N_EPS_EFF], x.eigval_exp),
    }
