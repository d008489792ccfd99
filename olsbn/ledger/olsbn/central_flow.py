r"""The central flow of BNGD on least squares: what a run at the edge of stability follows on average.

While the top mode oscillates, eps_hat stays at 2/lambda*_d on average, and the mean square p of its amplitude over
beta is what keeps it there: the slow modes turn w towards u, which at a fixed norm would raise eps_hat, and the
oscillation makes the norm grow. With A = 2/lambda*_d, beta^2 = eps/A, z_i the amplitudes of the modes i < d over
beta, in units where E = 1,

    dz_i/dt = -A lambda*_i z_i + A b_i (sum_j z_j^2 + p),
    N = U^2 (1 - sum_i b_i z_i/lambda*_i)^2 + sum_i z_i^2/lambda*_i,   dN/dt = A^2 lambda*_d p,   p >= 0,

U^2 = ||u||^2/E and N = ||w||^2/(beta^2 E). The last line is linear in p, so p is a function of the z_i. The flow is
the limit of slow modes that are slow beside the top one: its error is of first order in their ratio.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from scipy.integrate import solve_ivp

from olsbn._validate import FloatArray
from olsbn.ledger.base import DIGITS, Chapter, Comparison, Cube, Skip
from olsbn.ledger.olsbn.cycle import star_modes
from olsbn.ledger.runs import started
from olsbn.problems import OLSProblem
from olsbn.runs import run

_RATIOS = (1e-3, 2.5e-4)


def central_flow(
    eigvals: FloatArray, b: FloatArray, U2: float, z: FloatArray, times: FloatArray, growth: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Return slow amplitudes and p at some times; `eigvals` and `b` are those of H*, the top mode last.

    `growth` is a factor on dN/dt: 1.
    """
    slow, coupling, A = eigvals[:-1], b[:-1], 2 / float(eigvals[-1])

    def square(z: FloatArray) -> float:
        along = 1 - float(coupling @ (z / slow))
        gradient = 2 * z / slow - 2 * U2 * along * coupling / slow
        free = A * (coupling * (z @ z) - slow * z)
        return max(0.0, float(gradient @ free) / float(growth * A * A * eigvals[-1] - gradient @ (A * coupling)))

    def rate(_: float, z: FloatArray) -> FloatArray:
        return np.asarray(A * (coupling * (z @ z + square(z)) - slow * z))

    found = solve_ivp(rate, (0, times[-1]), z, t_eval=times, rtol=1e-9, atol=1e-13).y.T
    return found, np.array([square(z) for z in found])


def _followed(cube: Cube, factor: float = 1.0) -> SimpleNamespace:
    """Errors of the flow for two ratios of slow modes to fast ones, over the time in which the slow ones decay."""
    shape = np.array([cube.uniform(1, 3) for _ in range(3)])
    top, size, share = cube.uniform(0.3, 0.7), cube.uniform(0.05, 0.2), cube.uniform(0.4, 1.5)
    rng = cube.rng()
    u = np.append(rng.uniform(0.5, 1, 3), share * rng.uniform(0.5, 1, 2))
    i = SimpleNamespace(norm=[], drift=0.0)
    for ratio in _RATIOS:
        eigvals = np.append(ratio * shape, [top, 1.0])
        order = np.argsort(eigvals)
        problem = OLSProblem(eigvals[order], u[order])
        modes = star_modes(problem)
        b, mu = np.abs(modes.b), modes.eigvals
        vectors = modes.vectors * np.sign(modes.b) * math.sqrt(problem.explained_var)
        # weights along u in slow directions, shorter than u: turning to u then raises eps_hat; one mode is left alone
        z = np.where(mu < 0.02, size * np.sqrt(mu), 0.0)[:-1]
        U2 = float(problem.u @ problem.u) / problem.explained_var
        n_steps = int(0.5 / ratio)
        times = np.arange(n_steps + 1.0)
        slow, p = central_flow(mu, b, U2, z, times, factor)
        if not p.min() > 0:
            raise Skip  # eps_hat falls by itself, or has left the edge
        # on the flow, the top mode on one side of its mean, and what that makes of the part along u
        side = math.sqrt(p[0])
        start = np.append(z, side + 3 * b[-1] / mu[-1] * p[0])
        w0 = (1 + b[-1] / mu[-1] * side) * problem.u + vectors @ start
        a0 = math.sqrt(problem.explained_var / (1 + p[0]))
        ran = run(started(problem, w0, a0), eps=2 / float(mu[-1]), n_steps=n_steps)
        norm2 = ran.w_norm.values**2 / problem.explained_var
        flow = U2 * (1 - (b[:-1] / mu[:-1] * slow).sum(1)) ** 2 + (slow**2 / mu[:-1]).sum(1)
        i.norm.append(float(np.abs(np.log(norm2 / flow)).max()))
        i.excess = (float((p + (slow**2).sum(1)).mean()), float((ran.residual.values**2).mean()))
        pairs = (ran.eps_eff.values[1:] + ran.eps_eff.values[:-1]) / 2
        i.rate = float(pairs.mean()) * float(mu[-1])
        i.drift = max(i.drift, abs(math.log(flow[-1] / flow[0])))
    if not i.drift > 0.02:
        raise Skip  # nothing to follow
    return i


def _order(errors: list[float]) -> float:
    return math.log(errors[0] / errors[1]) / math.log(_RATIOS[0] / _RATIOS[1])


chapter = Chapter()


@chapter.claim("olsbn.central-flow", "order", _followed, n_random=5, n_search=5)
def _(i: SimpleNamespace) -> Comparison:
    """At the edge of stability a run of BNGD follows a flow on average: its norm, to first order in the ratio of slow
    modes to fast ones.
    Formula: dz_i/dt = A (b_i (sum z_j^2 + p) - lambda*_i z_i),  d(||w||^2/(beta^2 E))/dt = A^2 lambda*_d p,
    A = 2/lambda*_d;  error of log ||w||^2 ~ ratio^1
    Problems: 3 slow modes at 1 to 3 times the ratio, 2 fast ones, u with parts in all; ratio 1e-3 and a quarter of it,
    0.5/ratio steps of the engine, from a start on the flow
    Where: central flows of networks: Cohen et al., ICLR 2025
    """
    return 1.0, _order(i.norm)


@chapter.claim("olsbn.central-flow-excess", "tight", _followed, n_random=5, n_search=5)
def _(i: SimpleNamespace) -> Comparison:
    """So is its mean excess, nearly all of it the oscillation of the top mode, to 1 %.
    Formula: mean of ||e||_H^2/E -> mean of p + sum_i z_i^2
    Problems: as olsbn.central-flow, ratio 2.5e-4
    """
    return i.excess[0], i.excess[1], 10 * DIGITS * i.excess[0]


@chapter.claim("olsbn.central-flow-edge", "tight", _followed, n_random=5, n_search=5)
def _(i: SimpleNamespace) -> Comparison:
    """On it the effective rate stays at the edge of stability, on average over pairs of steps.
    Formula: mean of eps_hat lambda*_d -> 2
    Problems: as olsbn.central-flow, ratio 2.5e-4
    """
    return 2.0, i.rate, 2 * DIGITS


_false = chapter.variants
FALSE = {
    "on the central flow the norm grows twice as fast": _false(
        "olsbn.central-flow", instance=lambda cube: _followed(cube, 2.0)
    ),
    "the central flow has half the oscillation": _false(
        "olsbn.central-flow-excess", instance=lambda cube: _followed(cube, 2.0)
    ),
    "the central flow is right to second order": _false("olsbn.central-flow", theory=lambda i: 2.0),
    "the flow stays 1 % below the edge": _false.scaled("olsbn.central-flow-edge", 0.99),
}
