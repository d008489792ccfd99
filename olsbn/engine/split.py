r"""A problem split into its part along u and the rest, from which the coordinates of BN and its relatives are made.

With ``q_i = sqrt(lambda_i/E) u_i`` (a unit vector) and ``x_i = sqrt(lambda_i/E) w_i``, the H-inner product is the plain
one, H is ``diag(lambda)``, and H* on the complement of u is ``P diag(lambda) P``, ``P = 1 - q q'``. Its eigenvalues are
the roots mu of ``sum_j q_j^2/(lambda_j - mu) = 0``, its eigenvectors ``e_j = b q_j/(lambda_j - mu)`` with
``b^2 = 1/sum_j q_j^2/(lambda_j - mu)^2``. So ``x = beta q + sum_i z_i e_i``, ``beta = q'x``,
``z_i = e_i'(x - beta q)``.
Modes that u does not reach (u_i = 0, and what is across u in the space of a repeated eigenvalue) are decoupled: they
are eigenvectors of H and of H* both, with b = 0.

Everything is found in double-double arithmetic and rounded once: all ``lambda_j - mu_i`` from offsets of the roots,
which float64 gives to a few ulp and one Newton step to some 100 bits; ``x - beta q`` from ``w - beta u``, so that a
start near u keeps its digits; equal eigenvalues are one mode along u and one across it. So a mode's amplitude at the
start is right to its last bits also where it is small beside the others'.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.compile import entry
from olsbn.engine.coordinates import Coordinates, in_range, limit_of, w0_norm
from olsbn.engine.doubledouble import dd_add, dd_div, dd_mul, dd_sqrt, fma, two_sum
from olsbn.engine.step import COUPLED, DECOUPLED
from olsbn.linalg import map_blocks, secular_roots
from olsbn.problems import MACHEPS, OLSProblem

# Above this dimension O(d^2) is too much to set up, and deflated coordinates serve. A limit on d alone: no bit of a
# result may depend on anything else.
LARGEST_DIM = 4096

# Modes with a smaller share of E are carried like those with u_i = 0: their coupling is below one rounding.
_DECOUPLED_SHARE = 2.0**-900
_UP = 900  # eigenvalues stand times two to this power while offsets are found, for some are that small
_ROUNDING = 16 * MACHEPS  # a part of w that is smaller is no part of it
# two vectors of float64 that differ by less are parallel: the difference is that of the arithmetic
_PARALLEL = 2.0**-95
_TRACKED, _NEAR_TOP = 8, 0.4  # modes that may be slaved: the fastest, and those with eigenvalues near theirs


class Split(NamedTuple):
    """A problem's eigenvalues, u and w in range, and what `_split` makes of them."""

    problem: OLSProblem
    eigval_exp: int
    u_exp: int
    w_exp: int
    moves: bool  # w is not 0
    lam: FloatArray  # of each group of equal eigenvalues
    coupled: Any
    q: FloatArray  # of those that u reaches, as pairs
    v: FloatArray
    across: FloatArray
    sums: FloatArray

    def modes(self, gaps: Any = None, threads: int | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return mu, b and z of the roots in these gaps, all of them by default."""
        poles = np.ldexp(self.lam[self.coupled], _UP)
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

    @np.errstate(all="ignore")  # numbers that leave float64 are infinite, and end in a status
    def coordinates(self, **own: Any) -> Coordinates:
        """Return what the coordinates of both kinds share, with those of one of them."""
        problem, sums = self.problem, self.sums
        rest = self.across != 0  # without a start a decoupled mode stays 0
        lam = self.lam[rest]
        twice = 2 * self.u_exp + self.eigval_exp  # E stands times two to this power
        energy, alpha0 = float(sums[6]), problem.a0 / math.sqrt(problem.explained_var)
        with np.errstate(all="ignore"):
            scaled_a0 = float(np.ldexp(problem.a0, (twice + 1) // 2))
            delta0 = _start_delta(scaled_a0, 2.0 ** (twice % 2), sums)
            null = float(np.ldexp(problem.w0_null_norm, self.w_exp)) / math.sqrt(energy)
            norm2 = float(sums[3]) / energy
        own["numbers"] = {COUPLED: own["numbers"], DECOUPLED: {"mu": lam, "one_over_mu": 1 / lam}}
        own["start"] = {COUPLED: own["start"], DECOUPLED: dict.fromkeys(own["start"], self.across[rest])}
        own["mu"], own["b"] = {COUPLED: own["mu"], DECOUPLED: lam}, {COUPLED: own["b"], DECOUPLED: 0 * lam}
        return Coordinates(
            **own,
            begin={"beta": float(sums[0]), "a": alpha0, "delta": delta0, "n": -1.0, "D": 1.0, "null": null},
            facts={
                "L": float(sums[2]),
                "U2": norm2,
                "energy": energy,
                "K": float(sums[2]) - 1 / norm2 if norm2 else math.nan,
                "inverse_top": float(1 / self.lam[-1]),
                "top": float(self.lam[-1]),
                "slowest": min([*own["mu"][COUPLED][:1], *lam[:1]], default=0.0),
                "fastest": max([*own["mu"][COUPLED][-1:], *lam[-1:]], default=0.0),
            },
            scale=math.sqrt(problem.explained_var),
            limit=limit_of(
                max(0.0, 1 - float(sums[0]) * float(sums[0]) / float(sums[4])) + delta0 * delta0 if sums[4] else 1.0
            ),
            norm_scale=energy,
            w_null_norm=problem.w0_null_norm,
            eigval_exp=self.eigval_exp,
            w_exp=self.w_exp,
            eps_exp=2 * self.w_exp - 2 * self.u_exp - self.eigval_exp,
            degenerate=not self.moves or (problem.a0 == 0 and sums[0] == 0),
            saddle=bool(problem.w0.any()),
            a0=problem.a0,
            w0_norm=w0_norm(problem),
        )


def split(problem: OLSProblem) -> Split:
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
    q, v, across, sums = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n), np.zeros(8)
    coupled = np.zeros(n, np.bool_)
    with np.errstate(all="ignore"):
        _split(eigvals, u, w, starts, _DECOUPLED_SHARE, _ROUNDING, _PARALLEL, q, v, across, coupled, sums)
    lam = eigvals[starts[:-1]]
    return Split(problem, eigval_exp, u_exp, w_exp, bool(w.any()), lam, coupled, q[coupled], v[coupled], across, sums)


def star(problem: OLSProblem, threads: int | None = None) -> Coordinates:
    """Return `problem` in the eigenbasis of H*: O(d^2), on threads; no bit depends on their number."""
    x = split(problem)
    mu, b, z = x.modes(threads=threads)
    with np.errstate(all="ignore"):
        numbers = {"mu": mu, "b": b, "b_over_mu": b / mu, "one_over_mu": 1 / mu}
    return x.coordinates(
        numbers=numbers, start={"z": z}, mu=mu, b=b, tracked=_tracked(np.concatenate([mu, x.lam[x.across != 0]]))
    )


def deflated(problem: OLSProblem) -> Coordinates:
    """Return `problem` in the eigenbasis of H, along u and across it: O(d)."""
    x = split(problem)
    lam, q = x.lam[x.coupled], x.q[:, 0]
    n_roots = max(lam.size - 1, 0)
    mu = x.modes(np.unique([0, n_roots - 1]), threads=1)[0] if n_roots else np.empty(0)  # the slowest and the fastest
    with np.errstate(all="ignore"):
        numbers = {"lam": lam, "p": q * q, "u2": q * q / lam}
        return x.coordinates(numbers=numbers, start={"s": x.v[:, 0] / q}, mu=mu, b=np.empty(0))


def _tracked(eigvals: FloatArray) -> Any:
    """Return the numbers of the modes near the top, the fastest first."""
    if not eigvals.size:
        return np.empty(0, np.int64)
    order = np.argsort(-eigvals, kind="stable")[:_TRACKED]
    return order[eigvals[order] >= _NEAR_TOP * eigvals.max()].astype(np.int64)


@entry
def _split(eigvals, u, w, starts, decoupled_share, rounding, parallel, q, v, across, coupled, sums):  # type: ignore[no-untyped-def]
    """Split groups of equal eigenvalues into a mode along u and one across it, and w into beta u and the rest.

    Writes q and ``x - beta q`` of every group as pairs, the part across u of each (all of x where u has too little
    there), which groups u reaches, and in `sums`: beta, L, ``||u||^2``, ``sigma^2``, E; all but L and the norm as
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
        coupled[g] = size[g, 0] > decoupled_share * E
        if coupled[g]:
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
        if coupled[g]:
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
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = B, B_low, L, norm2, s, s_low
    sums[6], sums[7] = E, E_low


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
def _start_delta(a0, factor, sums):  # type: ignore[no-untyped-def]
    """Return ``a0/sqrt(factor E) - beta/sigma``."""
    if sums[4] == 0.0:
        return a0
    x, x_low = dd_sqrt(sums[6] * factor, sums[7] * factor)
    x, x_low = dd_div(a0, 0.0, x, x_low)
    s, s_low = dd_sqrt(sums[4], sums[5])
    y, y_low = dd_div(sums[0], sums[1], s, s_low)
    return dd_add(x, x_low, -y, -y_low)[0]
