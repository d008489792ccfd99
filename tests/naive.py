"""The mathematics stated a second time: slow, readable, straight from the formulas, never from the kernels.

Everything else is tested against this module. It makes no provision for overflow or a degenerate start.

With H = E[xx'], g = E[xy], c = E[y^2], u = H^+ g and E = u'Hu, one step of BNGD [Cai] is, both lines from step k,

    a <- a + eps_a (w'g/sigma - a)
    w <- w + eps (a/sigma) (g - (w'g/sigma^2) H w),    sigma^2 = w'Hw,

and one step of GD is w <- w + eps (g - Hw). The loss of BNGD is J = (c - 2 a w'g/sigma + a^2) / 2, that of GD
J = (c - 2 w'g + w'Hw) / 2, and J_min = (c - E) / 2 for both. What is left of J - J_min after completing the squares is

    GD:    ||w - u||_H^2 / 2
    BNGD:  ||u - q w||_H^2 / 2 + (a - w'g/sigma)^2 / 2,    q = w'g/sigma^2;

that is how the excess is evaluated here, for the difference of the losses cancels (test_naive.py compares the two).
"""

from itertools import pairwise
from typing import Any, NamedTuple

import mpmath
import numpy as np


class Run(NamedTuple):
    """Element k belongs to step k, k = 0..n. NumPy arrays, or lists of mpf from the functions named ``_mp``."""

    excess: Any  # (J - J_min) / (E/2)
    residual: Any  # ||e||_H / sqrt(E), e = u - q w (GD: u - w)
    a: Any  # GD: nan
    w_norm: Any
    eps_eff: Any  # eps (a/sigma) q (GD: eps)
    loss: Any  # J itself


# -------------------------------------------------------------------- dense, float64


def gd_run(H, g, c, w0, eps, n):
    """GD as printed, with a dense H."""
    u = np.linalg.pinv(H, hermitian=True) @ g
    E = u @ H @ u
    w = np.array(w0, dtype=float)
    rows = []
    for _ in range(n + 1):
        e = u - w
        residual = np.sqrt(e @ H @ e / E)
        loss = (c - 2 * (w @ g) + w @ H @ w) / 2
        rows.append((residual**2, residual, np.nan, np.linalg.norm(w), eps, loss))
        w = w + eps * (g - H @ w)
    return Run(*np.array(rows).T)


def bngd_run(H, g, c, w0, a0, eps, eps_a, n):
    """BNGD as printed, with a dense H."""
    u = np.linalg.pinv(H, hermitian=True) @ g
    E = u @ H @ u
    w, a = np.array(w0, dtype=float), float(a0)
    rows = []
    for _ in range(n + 1):
        sigma = np.sqrt(w @ H @ w)
        q = (w @ g) / sigma**2
        e = u - q * w
        excess = (e @ H @ e + (a - (w @ g) / sigma) ** 2) / E
        loss = (c - 2 * a * (w @ g) / sigma + a**2) / 2
        rows.append((excess, np.sqrt(e @ H @ e / E), a, np.linalg.norm(w), eps * (a / sigma) * q, loss))
        w, a = bngd_step(H, g, w, a, eps, eps_a)
    return Run(*np.array(rows).T)


def bngd_step(H, g, w, a, eps, eps_a):
    """One step; w and a may be complex (see `bngd_contraction_ratio`)."""
    sigma = np.sqrt(w @ H @ w)
    return (
        w + eps * (a / sigma) * (g - ((w @ g) / sigma**2) * (H @ w)),
        a + eps_a * ((w @ g) / sigma - a),
    )


def dense(problem):
    """Return H, g, c, w0, a0 of a problem; a start in the null space of H gets a coordinate of its own."""
    eigvals, u, w0 = problem.eigvals, problem.u, problem.w0
    if problem.w0_null_norm:
        eigvals, u, w0 = np.r_[0.0, eigvals], np.r_[0.0, u], np.r_[problem.w0_null_norm, w0]
    return np.diag(eigvals), eigvals * u, problem.target_var, w0, problem.a0


# -------------------------------------------------------------------- eigenbasis, many digits


def gd_run_mp(problem, eps, n, digits=60):
    """GD as printed, in the eigenbasis of H; the float64 numbers of the problem are taken as exact."""
    with mpmath.workdps(digits):
        eigvals, u, w, g, null2, c, E = _exact(problem)
        eps = mpmath.mpf(eps)
        rows = []
        for _ in range(n + 1):
            excess = mpmath.fsum(h * (ui - wi) ** 2 for h, ui, wi in zip(eigvals, u, w, strict=True)) / E
            wHw = mpmath.fsum(h * wi**2 for h, wi in zip(eigvals, w, strict=True))
            loss = (c - 2 * mpmath.fdot(w, g) + wHw) / 2
            w_norm = mpmath.sqrt(mpmath.fdot(w, w) + null2)
            rows.append((excess, mpmath.sqrt(excess), mpmath.nan, w_norm, eps, loss))
            w = [wi + eps * (gi - h * wi) for h, wi, gi in zip(eigvals, w, g, strict=True)]
    return Run(*map(list, zip(*rows, strict=True)))


def bngd_run_mp(problem, eps, eps_a, n, digits=60):
    """BNGD as printed, in the eigenbasis of H; the float64 numbers of the problem are taken as exact."""
    with mpmath.workdps(digits):
        eigvals, u, w, g, null2, c, E = _exact(problem)
        eps, eps_a, a = mpmath.mpf(eps), mpmath.mpf(eps_a), mpmath.mpf(problem.a0)
        rows = []
        for _ in range(n + 1):
            wg = mpmath.fdot(w, g)
            sigma = mpmath.sqrt(mpmath.fsum(h * wi**2 for h, wi in zip(eigvals, w, strict=True)))
            q = wg / sigma**2
            e2 = mpmath.fsum(h * (ui - q * wi) ** 2 for h, ui, wi in zip(eigvals, u, w, strict=True))
            excess = (e2 + (a - wg / sigma) ** 2) / E
            loss = (c - 2 * a * wg / sigma + a**2) / 2
            w_norm = mpmath.sqrt(mpmath.fdot(w, w) + null2)
            rows.append((excess, mpmath.sqrt(e2 / E), a, w_norm, eps * (a / sigma) * q, loss))
            w = [wi + eps * (a / sigma) * (gi - q * h * wi) for h, wi, gi in zip(eigvals, w, g, strict=True)]
            a = a + eps_a * (wg / sigma - a)
    return Run(*map(list, zip(*rows, strict=True)))


def _exact(problem):
    eigvals, u, w0 = ([mpmath.mpf(float(x)) for x in v] for v in (problem.eigvals, problem.u, problem.w0))
    g = [h * ui for h, ui in zip(eigvals, u, strict=True)]
    null2 = mpmath.mpf(problem.w0_null_norm) ** 2
    return eigvals, u, w0, g, null2, mpmath.mpf(problem.target_var), mpmath.fdot(g, u)


def star_mp(problem, digits=60):
    """Return mu_i, b_i, z_i(0), e_ij, q_j, beta_0 in the eigenbasis of H*, all u_i != 0 and distinct eigenvalues.

    With q_j = sqrt(lambda_j/E) u_j, x_j = sqrt(lambda_j/E) w_j: mu_i are the roots of sum_j q_j^2/(lambda_j - mu),
    found by bisection, e_ij = b_i q_j/(lambda_j - mu_i) is normed by b_i, and x = beta q + sum_i z_i e_i.
    """
    with mpmath.workdps(digits):
        eigvals, u, w, _, _, _, E = _exact(problem)
        q = [mpmath.sqrt(h / E) * x for h, x in zip(eigvals, u, strict=True)]
        x = [mpmath.sqrt(h / E) * y for h, y in zip(eigvals, w, strict=True)]
        mu, b, z, e = [], [], [], []
        for low, high in pairwise(eigvals):
            for _ in range(int(3.4 * digits)):
                middle = (low + high) / 2
                value = mpmath.fsum(s * s / (h - middle) for s, h in zip(q, eigvals, strict=True))
                low, high = (middle, high) if value < 0 else (low, middle)
            mu.append((low + high) / 2)
            rest = [s / (h - mu[-1]) for s, h in zip(q, eigvals, strict=True)]
            b.append(1 / mpmath.sqrt(mpmath.fdot(rest, rest)))
            e.append([b[-1] * r for r in rest])
            z.append(mpmath.fdot(e[-1], x))
        return mu, b, z, e, q, mpmath.fdot(q, x)


def bngd_star_run_mp(problem, eps, eps_a, n, digits=60):
    """BNGD in the eigenbasis of H*, in the form that is iterated; see `star_mp`."""
    with mpmath.workdps(digits):
        eigvals, u, _, _, null2, _, E = _exact(problem)
        mu, b, z, _, q, beta = star_mp(problem, digits)
        eps, eps_a, a = mpmath.mpf(eps), mpmath.mpf(eps_a), mpmath.mpf(problem.a0) / mpmath.sqrt(E)
        mean = mpmath.fsum(h * s * s for h, s in zip(eigvals, q, strict=True))
        rows = []
        for _ in range(n + 1):
            V, S = mpmath.fdot(z, z), mpmath.fdot(b, z)
            sigma = mpmath.sqrt(beta**2 + V)
            cos, sin2 = beta / sigma, V / sigma**2
            chi = eps * a / sigma
            A, B = chi * beta / sigma**2, chi * sin2
            along = beta - mpmath.fsum(bi * zi / m for bi, zi, m in zip(b, z, mu, strict=True))
            squares = mpmath.fsum(zi**2 / m for zi, m in zip(z, mu, strict=True))
            w_norm = mpmath.sqrt(mpmath.fdot(u, u) * along**2 + E * squares + null2)
            excess = sin2 + (a - cos) ** 2
            rows.append((excess, mpmath.sqrt(sin2), mpmath.sqrt(E) * a, w_norm, A, mpmath.nan))
            z = [(1 - A * m) * zi + B * bi for m, zi, bi in zip(mu, z, b, strict=True)]
            beta += B * mean - A * S
            a += eps_a * (cos - a)
    return Run(*map(list, zip(*rows, strict=True)))


# -------------------------------------------------------------------- theory by brute force


def H_star(H, u):
    """Return H* = H - (Hu)(Hu)'/(u'Hu), dense."""
    return H - np.outer(H @ u, H @ u) / (u @ H @ u)


def eigvals_star(H, u):
    """Return the eigenvalues of H*, ascending; the first is 0 to rounding only."""
    return np.linalg.eigvalsh(H_star(H, u))


def gd_contraction_ratio(H, eps):
    """Return the spectral radius of I - eps H."""
    return np.abs(np.linalg.eigvalsh(np.eye(len(H)) - eps * H)).max()


def bngd_contraction_ratio(H, u, eps_eff, eps_a):
    """Return the spectral radius of the Jacobian of one step at the minimiser w = u, a = sqrt(E), but for u itself.

    No formula of the linearisation enters: the Jacobian comes from the step by complex differentiation. At w = u the
    learning rate is the effective one. The Jacobian is symmetric there, and u is its neutral direction.
    """
    d = len(u)
    a, h = np.sqrt(u @ H @ u), 1e-30
    jacobian = np.empty((d + 1, d + 1))
    for j in range(d + 1):
        z = np.r_[u, a].astype(complex)
        z[j] += h * 1j
        w_new, a_new = bngd_step(H, H @ u, z[:d], z[d], eps_eff, eps_a)
        jacobian[:, j] = np.r_[w_new, a_new].imag / h
    rest = np.linalg.svd(np.r_[u, 0.0][None])[2][1:]  # an orthonormal basis of everything but u
    return np.abs(np.linalg.eigvals(rest @ jacobian @ rest.T)).max()
