r"""The eigenbasis of H*: what the kernel `olsbn.engine.star` iterates, made from a problem in O(d^2).

With ``q_i = sqrt(lambda_i/E) u_i`` (a unit vector) and ``x_i = sqrt(lambda_i/E) w_i``, the H-inner product is the plain
one, H is ``diag(lambda)``, and H* on the complement of u is ``P diag(lambda) P``, ``P = 1 - q q'``. Its eigenvalues are
the roots mu of ``sum_j q_j^2/(lambda_j - mu) = 0``, its eigenvectors ``e_j = b q_j/(lambda_j - mu)`` with
``b^2 = 1/sum_j q_j^2/(lambda_j - mu)^2``. So ``x = beta q + sum_i z_i e_i``, ``beta = q'x``,
``z_i = e_i'(x - beta q)``.
Modes that u does not reach (u_i = 0, and what is across u in the space of a repeated eigenvalue) are eigenvectors of H
and of H* both, with b = 0.

Roots, b and z are found in double-double arithmetic and rounded once: all ``lambda_j - mu_i`` from offsets of the
roots, which float64 gives to a few ulp and one Newton step to some 100 bits; ``x - beta q`` from ``w - beta u``, so
that a start near u keeps its digits; equal eigenvalues are one mode along u and one across it. A mode's own amplitude
at the start is therefore right to its last bits also where it is small beside the others'.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.compile import entry
from olsbn.engine.coordinates import LARGEST, in_range, whole_norm
from olsbn.engine.doubledouble import dd_add, dd_div, dd_mul, dd_sqrt, fma, two_sum
from olsbn.linalg import map_blocks, secular_roots
from olsbn.problems import MACHEPS, OLSProblem
from olsbn.schema import EXCESS_LIMIT

# Above this dimension O(d^2) is too much to set up, and deflated coordinates serve. A limit on d alone: no bit of a
# result may depend on anything else.
LARGEST_DIM = 4096

# Modes with a smaller share of E are carried like those with u_i = 0: their pull on the rest is below one rounding.
_SILENT_SHARE = 2.0**-900
_UP = 900  # eigenvalues stand times two to this power while offsets are found, for some are that small
_ROUNDING = 16 * MACHEPS  # a part of w that is smaller is no part of it
_PARALLEL = (
    2.0**-95
)  # two vectors of float64 that differ by less are parallel: the difference is that of the arithmetic
# Modes that are watched (`olsbn.engine.star`): the fastest, and those with eigenvalues near theirs.
_WATCHED, _NEAR_TOP = 8, 0.4
_FOLLOWED = 4  # by kernels in other coordinates, where each costs as much as some modes


@dataclass(frozen=True, eq=False)
class StarCoordinates:
    """A problem in the eigenbasis of H* (see above); units as in `olsbn.engine.coordinates.Coordinates`."""

    modes: FloatArray  # mu_i, b_i in turn
    silent_modes: FloatArray  # lambda_i, 0 in turn
    start: FloatArray
    silent_start: FloatArray
    watched: Any  # numbers of modes, silent ones counted after the others
    beta0: float
    alpha0: float
    delta0: float  # a/sqrt(E) - beta/sigma at the start, not as a difference of rounded numbers
    mean_eigval: float
    u_norm2: float
    explained: float
    w_null_norm: float
    eigval_exp: int
    w_exp: int
    eps_exp: int
    degenerate: bool
    saddle: bool
    scale: float
    a0: float
    w0_norm: float

    def kernel_arguments(self) -> tuple[Any, ...]:
        """Return the leading arguments of `olsbn.engine.star.star_tile`."""
        arrays = self.modes, self.silent_modes, self.start, self.silent_start, self.watched
        numbers = self.beta0, self.alpha0, self.delta0, self.mean_eigval, self.u_norm2, self.explained
        return *arrays, *numbers

    def limit(self) -> float:
        """Return the relative excess past which a run has diverged, scaled with a start far off."""
        return min(EXCESS_LIMIT * (1 + self.alpha0 * self.alpha0), LARGEST)

    def norm(self, squared: FloatArray, exponent: Any) -> FloatArray:
        """Return the norm of w in the problem's units from the kernel's squared norm and rescaling exponents."""
        return whole_norm(squared, self.w_exp + exponent, self.w_null_norm)


class _Divided(NamedTuple):
    """A problem's eigenvalues, u and w in range, and what `_split` makes of them."""

    eigval_exp: int
    u_exp: int
    w_exp: int
    moves: bool  # w is not 0
    lam: FloatArray  # of each group
    loud: Any
    q: FloatArray  # of those that u reaches, as pairs
    v: FloatArray
    across: FloatArray
    facts: FloatArray

    def modes(self, gaps: Any = None, threads: int | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return mu, b and z of the roots in these gaps, all of them by default."""
        poles = np.ldexp(self.lam[self.loud], _UP)
        found = secular_roots(poles, self.q[:, 0] ** 2 / 2, gaps, threads)
        near, offset = found.near.astype(np.int64), found.offset
        m = offset.size
        out = np.empty((m, 3))
        with np.errstate(all="ignore"):
            map_blocks(
                lambda rows: _refine(poles, self.q, self.v, near, offset, rows.start, rows.stop, out),
                m, 8 * (m + 1), threads,
            )  # fmt: skip
        return np.ldexp(out[:, 0], -_UP), np.ldexp(out[:, 1], -_UP), np.ascontiguousarray(out[:, 2])


def _divide(problem: OLSProblem) -> _Divided:
    """Split a problem's groups of equal eigenvalues: O(d)."""
    eigval_exp = -math.frexp(problem.eigvals[-1])[1]
    with np.errstate(under="ignore"):
        eigvals = np.ldexp(problem.eigvals, eigval_exp)
        roots = np.sqrt(eigvals)
        u, u_exp = in_range(problem.u, roots)
        w, w_exp = in_range(problem.w0, roots)
    starts = np.flatnonzero(np.concatenate([[True], eigvals[1:] != eigvals[:-1]]))
    starts = np.append(starts, eigvals.size)
    n = starts.size - 1
    q, v, across, facts = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n), np.zeros(8)
    loud = np.zeros(n, np.bool_)
    with np.errstate(all="ignore"):
        _split(eigvals, u, w, starts, _SILENT_SHARE, _ROUNDING, _PARALLEL, q, v, across, loud, facts)
    lam = eigvals[starts[:-1]]
    return _Divided(eigval_exp, u_exp, w_exp, bool(w.any()), lam, loud, q[loud], v[loud], across, facts)


@dataclass(frozen=True, eq=False)
class Fastest:
    """The modes of H* near the top, for kernels in other coordinates; units as in `StarCoordinates`."""

    mu: FloatArray
    pull: FloatArray  # b
    start: FloatArray  # |z| at step 0
    eigval_exp: int
    w_exp: int
    u_exp: int

    def arrays(self, eigval_exp: int | None = None, w_over_u_exp: int | None = None) -> tuple[FloatArray, ...]:
        """Return mu, b and the start, scaled as in coordinates with other exponents than these."""
        up = 0 if eigval_exp is None else eigval_exp - self.eigval_exp
        start = 0 if w_over_u_exp is None else w_over_u_exp - (self.w_exp - self.u_exp)
        return np.ldexp(self.mu, up), self.pull, np.ldexp(self.start, start)


def fastest(problem: OLSProblem) -> Fastest:
    """Return the modes that a kernel follows to tell where rounding decides: O(d)."""
    x = _divide(problem)
    n_roots = int(x.loud.sum()) - 1
    mu, b, z = x.modes(np.arange(max(0, n_roots - _FOLLOWED), n_roots), threads=1)
    silent = x.across != 0
    mu = np.concatenate([mu, x.lam[silent]])
    which = _watched(mu)[:_FOLLOWED]
    pull, start = np.concatenate([b, np.zeros(silent.sum())]), np.abs(np.concatenate([z, x.across[silent]]))
    return Fastest(mu[which], pull[which], start[which], x.eigval_exp, x.w_exp, x.u_exp)


def diagonalise(problem: OLSProblem, threads: int | None = None) -> StarCoordinates:
    """Return `problem` in the eigenbasis of H*: O(d^2), on threads; no bit depends on their number."""
    x = _divide(problem)
    mu, b, z = x.modes(threads=threads)
    facts, lam = x.facts, x.lam
    silent = x.across != 0  # without a start such a mode stays 0
    twice = 2 * x.u_exp + x.eigval_exp  # E stands times two to this power
    with np.errstate(all="ignore"):
        w0_norm = math.hypot(float(np.linalg.norm(problem.w0)), problem.w0_null_norm)
        delta0 = _start_delta(float(np.ldexp(problem.a0, (twice + 1) // 2)), 2.0 ** (twice % 2), facts)
    degenerate = not x.moves or (problem.a0 == 0 and facts[0] == 0)
    return StarCoordinates(
        modes=np.stack([mu, b], axis=1).ravel(),
        silent_modes=np.stack([lam[silent], np.zeros(silent.sum())], axis=1).ravel(),
        start=z,
        silent_start=x.across[silent],
        watched=_watched(np.concatenate([mu, lam[silent]])),
        beta0=facts[0],
        alpha0=problem.a0 / math.sqrt(problem.explained_var),
        delta0=float(delta0),
        mean_eigval=facts[2],
        u_norm2=facts[3],
        explained=facts[6],
        w_null_norm=problem.w0_null_norm,
        eigval_exp=x.eigval_exp,
        w_exp=x.w_exp,
        eps_exp=2 * x.w_exp - 2 * x.u_exp - x.eigval_exp,
        degenerate=degenerate,
        saddle=bool(problem.w0.any()),
        scale=math.sqrt(problem.explained_var),
        a0=problem.a0,
        w0_norm=w0_norm,
    )


def _watched(eigvals: FloatArray) -> Any:
    """Return the numbers of the modes near the top, the fastest first."""
    if not eigvals.size:
        return np.empty(0, np.int64)
    order = np.argsort(-eigvals, kind="stable")[:_WATCHED]
    return order[eigvals[order] >= _NEAR_TOP * eigvals.max()].astype(np.int64)


@entry
def _split(eigvals, u, w, starts, silent_share, rounding, parallel, q, v, across, loud, facts):  # type: ignore[no-untyped-def]
    """Split groups of equal eigenvalues into a mode along u and one across it, and w into beta u and the rest.

    Writes q and ``x - beta q`` of every group as pairs, the part across u of each (all of x where u has too little
    there), which groups u reaches, and in `facts`: beta, L, ``||u||^2``, ``sigma^2``, E; all but L and the norm as
    pairs.
    """
    n = starts.size - 1
    size = np.empty((n, 2))  # lambda ||u||^2 of each group
    along = np.empty((n, 2))  # lambda u'w
    E, E_low, s, s_low = 0.0, 0.0, 0.0, 0.0
    for g in range(n):
        ww, ww_low = 0.0, 0.0
        tt, tt_low, tw, tw_low = 0.0, 0.0, 0.0, 0.0
        for i in range(starts[g], starts[g + 1]):
            p = u[i] * u[i]
            tt, tt_low = dd_add(tt, tt_low, p, fma(u[i], u[i], -p))
            p = u[i] * w[i]
            tw, tw_low = dd_add(tw, tw_low, p, fma(u[i], w[i], -p))
            p = w[i] * w[i]
            ww, ww_low = dd_add(ww, ww_low, p, fma(w[i], w[i], -p))
        lam = eigvals[starts[g]]
        size[g, 0], size[g, 1] = dd_mul(tt, tt_low, lam, 0.0)
        along[g, 0], along[g, 1] = dd_mul(tw, tw_low, lam, 0.0)
        ww, ww_low = dd_mul(ww, ww_low, lam, 0.0)
        s, s_low = dd_add(s, s_low, ww, ww_low)
        E, E_low = dd_add(E, E_low, size[g, 0], size[g, 1])
    B, B_low, L, L_low, norm2 = 0.0, 0.0, 0.0, 0.0, 0.0
    for g in range(n):
        loud[g] = size[g, 0] > silent_share * E
        if loud[g]:
            B, B_low = dd_add(B, B_low, along[g, 0], along[g, 1])
            lam = eigvals[starts[g]]
            x, x_low = dd_mul(size[g, 0], size[g, 1], lam, 0.0)
            L, L_low = dd_add(L, L_low, x, x_low)
            norm2 += size[g, 0] / lam
    B, B_low = dd_div(B, B_low, E, E_low)
    L, L_low = dd_div(L, L_low, E, E_low)
    root, root_low = dd_sqrt(E, E_low)
    straight = True
    for g in range(n):
        first, last = starts[g], starts[g + 1]
        lam, lam_low = dd_sqrt(eigvals[first], 0.0)
        lam, lam_low = dd_div(lam, lam_low, root, root_low)
        if loud[g]:
            # sizes of the group's parts in units of |u|: x - beta q = sqrt(lambda/E) (u'w - beta u'u)/|u|
            tt, tt_low = dd_div(size[g, 0], size[g, 1], eigvals[first], 0.0)
            tw, tw_low = dd_div(along[g, 0], along[g, 1], eigvals[first], 0.0)
            length, length_low = dd_sqrt(tt, tt_low)
            q[g, 0], q[g, 1] = dd_mul(length, length_low, lam, lam_low)
            m, m_low = dd_mul(tt, tt_low, B, B_low)
            x, x_low = dd_add(tw, tw_low, -m, -m_low)
            straight &= abs(x) <= parallel * abs(m)
            x, x_low = dd_div(x, x_low, length, length_low)
            v[g, 0], v[g, 1] = dd_mul(x, x_low, lam, lam_low)
            if last - first > 1:
                rest, whole = 0.0, 0.0
                r, r_low = dd_div(tw, tw_low, tt, tt_low)
                for i in range(first, last):
                    m, m_low = dd_mul(r, r_low, u[i], 0.0)
                    x, x_low = dd_add(w[i], 0.0, -m, -m_low)
                    rest += x * x
                    whole += w[i] * w[i]
                if rest > rounding * rounding * whole:
                    across[g] = math.sqrt(rest) * lam
        elif last - first == 1:
            across[g] = w[first] * lam
        else:
            whole = 0.0
            for i in range(first, last):
                whole += w[i] * w[i]
            across[g] = math.sqrt(whole) * lam
    if straight:
        v[:, :] = 0.0
    s, s_low = dd_div(s, s_low, E, E_low)
    facts[0], facts[1], facts[2], facts[3], facts[4], facts[5] = B, B_low, L, norm2, s, s_low
    facts[6], facts[7] = E, E_low


@entry
def _refine(poles, q, v, near, offset, first, last, out):  # type: ignore[no-untyped-def]
    """Write mu, b and z of the roots `first` to `last`: a Newton step on each offset, then the sums, as pairs."""
    n = poles.size
    for i in range(first, last):
        pole, t, t_low = poles[near[i]], offset[i], 0.0
        for final in range(2):
            # g_j = offset/(pole_j - root), in size at most 1
            F, F_low, G, G_low, Z, Z_low = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(n):
                x, x_low = two_sum(poles[j], -pole)
                x, x_low = dd_add(x, x_low, -t, -t_low)
                x, x_low = dd_div(t, t_low, x, x_low)
                x, x_low = dd_mul(x, x_low, q[j, 0], q[j, 1])
                y, y_low = dd_mul(x, x_low, x, x_low)
                G, G_low = dd_add(G, G_low, y, y_low)
                if final:
                    y, y_low = dd_mul(x, x_low, v[j, 0], v[j, 1])
                    Z, Z_low = dd_add(Z, Z_low, y, y_low)
                else:
                    y, y_low = dd_mul(x, x_low, q[j, 0], q[j, 1])
                    F, F_low = dd_add(F, F_low, y, y_low)
            if not final:
                x, x_low = dd_mul(t, t_low, -F / G, 0.0)
                t, t_low = dd_add(t, t_low, x, x_low)
        G, G_low = dd_sqrt(G, G_low)
        x, x_low = dd_div(Z, Z_low, G, G_low)
        y, y_low = dd_div(t, t_low, G, G_low)
        high, low = two_sum(pole, t)
        out[i, 0] = high + (low + t_low)
        out[i, 1] = abs(y)
        out[i, 2] = x if t > 0.0 else -x


@entry
def _start_delta(a0, factor, facts):  # type: ignore[no-untyped-def]
    """Return ``a0/sqrt(factor E) - beta/sigma``."""
    if facts[4] == 0.0:
        return a0
    x, x_low = dd_sqrt(facts[6] * factor, facts[7] * factor)
    x, x_low = dd_div(a0, 0.0, x, x_low)
    s, s_low = dd_sqrt(facts[4], facts[5])
    y, y_low = dd_div(facts[0], facts[1], s, s_low)
    return dd_add(x, x_low, -y, -y_low)[0]
