r"""Several scale-invariant blocks [Arora, sections 2.2 to 3, appendix A]: columns in groups, one BN unit each.

The model is sum_i a_i x_i'w_i/sigma_i, sigma_i^2 = w_i'H_ii w_i. With z_i = H_ii^(1/2) w_i/sigma_i,
p_i = H_ii^(-1/2) g_i and R_ij = H_ii^(-1/2) H_ij H_jj^(-1/2) the loss is

    J = c/2 - sum_i a_i p_i'z_i + (1/2) sum_ij a_i a_j z_i'R_ij z_j,

and blocks are coupled by R_ij. For a block alone the others are fixed, and the loss is that of one block with
p_i - sum_{j != i} a_j R_ij z_j in place of p_i. On unit spheres ||dz_i/dv_i|| <= sqrt(cond H_ii), so with
|a_j| <= A, r and s the largest and smallest eigenvalue of R, and P_i = ||p_i|| + A sqrt(sum_{j != i} ||R_ij||^2),

    L_ii <= (2/sqrt 3) cond(H_ii) P_i A,   L_ij <= A^2 sqrt(cond(H_ii) cond(H_jj)) ||R_ij||,   L_gg <= r,
    L_ig <= sqrt(cond(H_ii)) sqrt(P_i^2 + A^2 sum_{j != i} ||R_ij||^2),
    A = max(||a_0||, eta_g sqrt(r E)/(1 - q)),   q = max(|1 - eta_g r|, |1 - eta_g s|) < 1.

One block has r = s = 1 and the constants of `olsbn.ledger.arora.smoothness`.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.arora.smoothness import L_VV
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, rounding

_N_STEPS = 100


def _root(H: FloatArray) -> FloatArray:
    """Return the inverse of the symmetric square root."""
    eigvals, basis = np.linalg.eigh(H)
    return np.asarray(basis @ (basis.T / np.sqrt(eigvals)[:, None]))


def _drawn(cube: Cube) -> SimpleNamespace:
    """Draw a coupled problem in groups of columns, a start, learning rates; and the constants of the theory for it."""
    m, sizes = cube.integer(2, 3), [cube.integer(1, 3) for _ in range(3)]
    spread, coupling, noise = cube.log(1, 6), cube.uniform(0.02, 0.8), cube.log(0.1, 3)
    c_g = 1 - cube.uniform(0.02, 0.98)
    size, lean = cube.log(0.1, 10), cube.uniform(-2, 2)
    rng = cube.rng()
    sizes = sizes[:m]
    d = sum(sizes)
    # factors shared by all columns couple the groups
    X = rng.standard_normal((d, d)) + coupling * np.sqrt(d) * np.outer(np.ones(d), rng.standard_normal(d))
    X = np.exp(rng.uniform(-0.5, 0.5, d) * math.log(spread))[:, None] * X
    H = X @ X.T / d + 0.05 * np.eye(d)
    u = rng.standard_normal(d)
    groups = np.repeat(np.arange(m), sizes)
    i = SimpleNamespace(H=H, g=H @ u, E=float(u @ H @ u), m=m, groups=groups, c_g=c_g, pi=math.pi, noise=noise)
    i.one = (groups[:, None] == np.arange(m)).astype(float)  # a column for each group
    whiten = np.zeros((d, d))
    for k in range(m):
        at = np.ix_(groups == k, groups == k)
        whiten[at] = _root(H[at])
    R = whiten @ H @ whiten
    r = np.linalg.eigvalsh(R)
    if not r[0] > 1e-3:
        raise Skip
    i.L_gg = float(r[-1])
    i.eta_g = 2 * (1 - c_g) / i.L_gg
    q = max(abs(1 - i.eta_g * r[0]), abs(1 - i.eta_g * r[-1]))
    i.a = math.sqrt(i.E) * size * rng.standard_normal(m)
    A = max(float(np.linalg.norm(i.a)), i.eta_g * math.sqrt(i.L_gg * i.E) / (1 - q))
    p = whiten @ i.g
    own = [groups == k for k in range(m)]
    i.cond = np.array([np.linalg.cond(H[np.ix_(k, k)]) for k in own])
    apart = np.array([[np.linalg.norm(R[np.ix_(k, j)], 2) * (k is not j) for j in own] for k in own])
    P = np.array([np.linalg.norm(p[k]) for k in own]) + A * np.sqrt((apart**2).sum(1))
    i.L_vv = A**2 * np.sqrt(np.outer(i.cond, i.cond)) * apart + np.diag(L_VV * i.cond * P * A)
    i.L_vg = np.sqrt(i.cond * (P**2 + A**2 * (apart**2).sum(1)))
    i.C = i.L_vv.sum(1) / 2 + i.L_vg**2 * m / (c_g * i.L_gg)
    w = rng.standard_normal(d) * np.exp(lean * rng.standard_normal(d))
    i.w = w / np.sqrt((w * w) @ i.one)[groups] * np.exp(rng.uniform(-1, 1, m))[groups]
    i.A = A
    i.ops = 60 * d * float(np.linalg.cond(H))
    return i


def gradient(i: SimpleNamespace, w: Any, a: Any) -> tuple[Any, Any]:
    """Return the gradients in w, all groups in one vector, and in a."""
    # products with the blocks of H, group by group
    parts = i.H @ (w[:, None] * i.one)  # column k: H w_k
    s = np.sqrt(np.sum(w[:, None] * i.one * parts, axis=0))
    out = parts @ (a / s)  # H times the sum of all groups, each in its own scale
    r = i.g - out
    along = (w * r) @ i.one / s  # w_k'r/s_k
    own = np.sum(i.one * parts, axis=1)  # H_kk w_k in the rows of group k
    scale = (a / s)[i.groups]
    return -scale * (r - (along / s)[i.groups] * own), -along


def loss(i: SimpleNamespace, w: Any, a: Any) -> Any:
    """Return J - J_min."""
    parts = i.H @ (w[:, None] * i.one)
    s = np.sqrt(np.sum(w[:, None] * i.one * parts, axis=0))
    v = w * (a / s)[i.groups]
    return (i.E - 2 * (v @ i.g) + v @ i.H @ v) / 2


def _points(cube: Cube) -> SimpleNamespace:
    """Second derivatives at a point on the unit spheres with scales of length A."""
    i = _drawn(cube)
    a = i.a * i.A / np.linalg.norm(i.a)
    w = i.w / np.sqrt((i.w * i.w) @ i.one)[i.groups]
    vv = textbook.derivative(lambda z: gradient(i, z, a)[0], w)
    vg = textbook.derivative(lambda z: gradient(i, w, z)[0], a)
    gg = textbook.derivative(lambda z: gradient(i, w, z)[1], a)
    own = [i.groups == k for k in range(i.m)]
    i.found_vv = np.array([[np.linalg.norm(vv[np.ix_(k, j)], 2) for j in own] for k in own])
    i.found_vg = np.array([np.linalg.norm(vg[k], 2) for k in own])
    i.found_gg = float(np.linalg.norm(gg, 2))
    i.grad = np.sqrt((gradient(i, i.w, a)[0] ** 2) @ i.one)
    i.norm = np.sqrt((i.w * i.w) @ i.one)
    return i


def _runs(cube: Cube, share: float = 1.0) -> SimpleNamespace:
    """Runs at 9 learning rates over eight decades; `share` is a factor on the learning rate of the scales."""
    i = _drawn(cube)
    start = (i.w * i.w) @ i.one
    unit = float(start.min()) / float(i.L_vv.max())
    i.eta = unit * np.geomspace(1e-4, 1e4, 9)
    shape = (_N_STEPS + 1, i.eta.size)
    i.excess, i.grad_a = np.empty((2, *shape))
    i.norm2, i.grad_w = np.empty((2, *shape, i.m))
    for j, eta in enumerate(i.eta):
        w, a = i.w, i.a
        for k in range(_N_STEPS + 1):
            dw, da = gradient(i, w, a)
            i.excess[k, j], i.grad_a[k, j] = loss(i, w, a), da @ da
            i.norm2[k, j], i.grad_w[k, j] = (w * w) @ i.one, (dw * dw) @ i.one
            w, a = w - eta * dw, a - share * i.eta_g * da
    i.start = i.norm2[0]
    return i


def _decrease(i: SimpleNamespace) -> FloatArray:
    eta = i.eta[:, None]
    of_w = (eta * i.grad_w * (1 - i.C * eta / i.norm2)).sum(-1)
    return (-of_w - i.c_g * i.eta_g / 2 * i.grad_a)[:-1]


def _reach(i: SimpleNamespace) -> FloatArray:
    """Return the bound of eq. 19 on the growth of each block in the first phase, over eta."""
    return 2 * i.C + (i.pi * np.diag(i.L_vv)) ** 2 * i.eta[:, None] / i.start


def _allowed(i: SimpleNamespace) -> FloatArray:
    """Return J_0 - J_min + sum_i K_i."""
    return i.excess[0] + ((i.C * i.eta[:, None] / i.start + 0.5) * _reach(i)).sum(-1)


def _grown(i: SimpleNamespace) -> tuple[FloatArray, FloatArray]:
    """Return the two terms on the left-hand side of eq. 20, for every T."""
    sums = np.concatenate([np.zeros((1, i.eta.size)), np.cumsum(i.grad_a, 0)[:-1]])
    return (i.norm2 - i.start).sum(-1) / (2 * i.eta), i.c_g * i.eta_g / 2 * sums


def _error(i: SimpleNamespace) -> FloatArray:
    return np.asarray(rounding(i.ops, i.E + i.A**2 * i.L_gg))


_DRAWN = (
    "2 or 3 groups of 1 to 3 columns with shared factors, a start of any size, scales over 2 decades, "
    "eta_g = 2 (1 - c_g)/L_gg"
)
_RAN = f"{_DRAWN}; 9 eta over eight decades, {_N_STEPS} steps"

chapter = Chapter(_DRAWN=_DRAWN, _RAN=_RAN)


@chapter.claim("arora.blocks-constants", "upper", _points, n_random=30, n_search=120)
def _(i: SimpleNamespace) -> Comparison:
    """With several blocks the constants of smoothness are in closed form too, each pair of blocks has its own.
    Formula: L_ii <= (2/sqrt 3) cond_i P_i A,  L_ij <= A^2 sqrt(cond_i cond_j) ||R_ij||,  L_gg <= lambda_max(R),
    L_ig <= sqrt(cond_i (P_i^2 + A^2 sum_{j != i} ||R_ij||^2))
    Problems: {_DRAWN}
    Where: section 2.4, for least squares with m BN units
    """
    theory = np.concatenate([i.L_vv.ravel(), i.L_vg, [i.L_gg]])
    return theory, np.concatenate([i.found_vv.ravel(), i.found_vg, [i.found_gg]]), rounding(i.ops, theory + 1e-300)


@chapter.claim("arora.blocks-lemma-A.1", "upper", _points, n_random=30, n_search=60)
def _(i: SimpleNamespace) -> Comparison:
    """Lemma A.1 holds for each block.
    Formula: ||grad_{w_i} J|| <= pi L_ii/||w_i||
    Problems: {_DRAWN}
    Where: Lemma A.1, eq. 18, for m blocks
    """
    theory = i.pi * np.diag(i.L_vv) / i.norm
    return theory, i.grad, rounding(i.ops, theory)


@chapter.claim("arora.blocks-lemma-3.2", "upper", _runs, n_random=8, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """Lemma 3.2 holds for coupled blocks: a step lowers the loss once eta/||w_i||^2 is below 1/C_i for each.
    Formula: J+ - J <= -eta sum_i ||grad_{w_i} J||^2 (1 - C_i eta/||w_i||^2) - c_g eta_g ||grad_a J||^2/2,
    C_i = sum_j L_ij/2 + m L_ig^2/(c_g L_gg)
    Problems: {_RAN}
    Where: Lemma 3.2, eq. 12, for m blocks
    """
    return _decrease(i), np.diff(i.excess, axis=0), _error(i)


@chapter.claim("arora.blocks-lemma-A.2", "upper", _runs, n_random=8, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """The growth of all squared norms and the gradients of the scales are bounded for all times.
    Formula: sum_i (||w_i(T)||^2 - ||w_i(0)||^2)/(2 eta) + c_g eta_g sum_t ||grad_a||^2/2 <= J_0 - J_min + sum_i K_i,
    K_i = (C_i eta/||w_i(0)||^2 + 1/2)(2 C_i + (pi L_ii)^2 eta/||w_i(0)||^2)
    Problems: {_RAN}
    Where: Lemma A.2, 2, eq. 20, for m blocks
    """
    norm, scale = _grown(i)
    return _allowed(i), norm + scale, rounding(i.ops, norm + scale + i.norm2.sum(-1) / i.eta)


@chapter.claim("arora.blocks-theorem-3.1", "upper", _runs, n_random=8, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """For every eta the smallest gradient of all blocks in T steps falls at least like T^-1/2: by what the run's own
    growth allows, and by a constant in closed form.
    Formula: T min_{t<T} ||grad J(V_t, a_t)||^2 <= sum_i ||w_i(T)||^2 (||w_i(T)||^2 - ||w_i(0)||^2)/eta^2 +
    2 D/(c_g eta_g) <= 2 B (2 B + max_i ||w_i(0)||^2/eta) + 2 B/(c_g eta_g),  D = c_g eta_g sum_t ||grad_a||^2/2,
    B = J_0 - J_min + sum_i K_i
    Problems: {_RAN}
    Where: Theorem 3.1, eqs. 10 and 11, for m blocks
    """
    least = np.minimum.accumulate((i.norm2 * i.grad_w).sum(-1) + i.grad_a, 0)[:-1]
    _, scale = _grown(i)
    own = (i.norm2 * (i.norm2 - i.start)).sum(-1)[1:] / i.eta**2 + 2 * scale[1:] / (i.c_g * i.eta_g)
    B = _allowed(i)
    whole = 2 * B * (2 * B + i.start.max(-1) / i.eta) + 2 * B / (i.c_g * i.eta_g)
    cancelled = rounding(i.ops * _N_STEPS, (i.norm2**2).sum(-1)[1:] / i.eta**2)
    steps = np.arange(1.0, _N_STEPS + 1)[:, None]
    return np.vstack([own, whole]), np.vstack([steps * least, own[-1:]]), np.vstack([cancelled, cancelled[-1:]])


_false = chapter.variants
FALSE = {
    "blocks have the constants of one block each: no L_ij": _false.changed(
        "arora.blocks-constants", L_vv=lambda i: np.diag(np.diag(i.L_vv))
    ),
    "scales of blocks have L_gg = 1": _false.changed("arora.blocks-constants", L_gg=lambda i: 1.0),
    "L_ig sees its own block alone, without cond": _false.changed(
        "arora.blocks-constants", L_vg=lambda i: i.L_vg / np.sqrt(i.cond) / 2
    ),
    "A.1 for blocks with the loss in place of L_ii": _false(
        "arora.blocks-lemma-A.1", theory=lambda i: i.pi * i.E / i.norm
    ),
    "Lemma 3.2 for blocks without C": _false.changed("arora.blocks-lemma-3.2", C=lambda i: 0 * i.C),
    "Lemma 3.2 for blocks with three times the learning rate of scales": _false(
        "arora.blocks-lemma-3.2", instance=lambda cube: _runs(cube, 3.0)
    ),
    "the norms of blocks grow by the loss alone": _false("arora.blocks-lemma-A.2", theory=lambda i: i.excess[0]),
    "the rate T^-1/2 of blocks, less 5 %": _false.scaled("arora.blocks-theorem-3.1", 0.95),
}
