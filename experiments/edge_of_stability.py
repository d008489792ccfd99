"""The edge of stability: sharpness along a run, instabilities, the cycle under decay and its period, the central flow.

python experiments/edge_of_stability.py [--smoke]
"""

import math

import drawing
import numpy as np

import olsbn
from olsbn import OLSProblem
from olsbn.ledger.olsbn.central_flow import central_flow
from olsbn.ledger.olsbn.cycle import orbit, star_modes


def sharpness(problem: OLSProblem, eps: float, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return eps times the largest eigenvalue of the Hessian in w along the printed update, and the excess."""
    H, g = problem.eigvals, problem.eigvals * problem.u
    w, a, found = problem.w0, problem.a0, np.empty((2, n_steps))
    for k in range(n_steps):
        Hw, s = H * w, math.sqrt(w @ (H * w))
        wg = float(w @ g)
        # J = -a w'g/s + const: H and a change of rank two
        change = np.outer(g, Hw) + np.outer(Hw, g) - 3 * wg / s**2 * np.outer(Hw, Hw)
        hessian = a / s**3 * (wg * np.diag(H) + change)
        found[:, k] = eps * np.linalg.eigvalsh(hessian)[-1], 1 - wg**2 / s**2 / problem.explained_var
        w, a = w + eps * (a / s) * (g - wg / s**2 * Hw), wg / s
    return found[0], found[1]


def crossings(values: np.ndarray, steps: np.ndarray) -> float:
    """Return the mean period of oscillation about the mean, from upward crossings."""
    off = values - values[-values.size // 4 :].mean()
    up = np.flatnonzero((off[:-1] < 0) & (off[1:] >= 0))
    return float(np.diff(steps[up]).mean()) if up.size > 2 else math.nan


def main() -> None:
    small = drawing.smoke(__doc__)
    n_steps = 100 if small else 600
    one = OLSProblem.from_spectrum("logspace", 30, 1000.0, seed=2)
    laws = olsbn.effective_rate_regimes(one)
    eps = math.sqrt(laws.eps_1 * laws.eps_2)
    sharp, excess = sharpness(one, eps, n_steps)
    ran = olsbn.run(one, eps=eps, n_steps=n_steps - 1)
    relative = ran.eps_eff.values / laws.plateau * 2

    two = OLSProblem.from_spectrum("logspace", 5, 10.0, seed=4)
    modes = star_modes(two)
    decays = np.array([1e-2, 1e-3]) if small else np.geomspace(1e-2, 1e-4, 7)
    periods = []
    for x in decays:
        at = 1 / float(modes.eigvals[-1])
        w, a = orbit(two, modes, at, float(x))
        n = int(8 * 2 * math.pi / math.sqrt(8 * x))
        start = OLSProblem(two.eigvals, two.u, w * (1 - 0.1 * math.sqrt(x / modes.h)), a)
        path = olsbn.run(start, eps=at, weight_decay=float(x) / at, n_steps=n)
        s = at * float(two.u @ two.u) * modes.eigvals[-1] / path.w_norm.values**2
        periods.append(crossings(s, np.arange(s.size)))

    ratio = 1e-2 if small else 2e-3
    eigvals = np.append(ratio * np.array([1, 1.6, 2.0]), [0.5, 1.0])
    three = OLSProblem(eigvals, [1.0, 0.7, 0.8, 0.6, 0.5])
    slow = star_modes(three)
    b, mu = np.abs(slow.b), slow.eigvals
    root = math.sqrt(three.explained_var)
    vectors = slow.vectors * np.sign(slow.b) * root
    z = np.where(mu < 0.1, 0.2 * np.sqrt(mu), 0.0)[:-1]
    U2 = float(three.u @ three.u) / three.explained_var
    times = np.arange(int(1 / ratio) + 1.0)
    flow, p = central_flow(mu, b, U2, z, times)
    w0 = three.u + vectors @ np.append(z, 0.3 * math.sqrt(p[0]))
    follows = olsbn.run(OLSProblem(three.eigvals, three.u, w0), eps=2 / float(mu[-1]), n_steps=times.size - 1)
    norm2 = U2 * (1 - (b[:-1] / mu[:-1] * flow).sum(1)) ** 2 + (flow**2 / mu[:-1]).sum(1)
    measured = follows.w_norm.values**2 / three.explained_var

    with drawing.figure("edge-of-stability", 5.6, small, rows=3) as (figure, (top, middle, bottom)):
        steps = np.arange(n_steps)
        top.plot(steps, sharp, color=drawing.COLOURS[1], label=r"$\varepsilon\cdot$ sharpness in w")
        top.plot(steps, relative, color=drawing.BNGD, lw=0.8, label=r"$\hat\varepsilon\lambda^*_d$")
        top.axhline(2, **drawing.LAW)
        top.set(xlabel="step", ylim=(0, 4), ylabel="over the edge: > 2")
        top.legend(frameon=False, loc="upper right", ncols=2)
        middle.loglog(decays, periods, "o", color=drawing.BNGD, ms=3.5, label="measured")
        middle.loglog(
            decays, 2 * np.pi / np.sqrt(8 * decays), **drawing.THEORY, label=r"$2\pi/\sqrt{8\varepsilon\lambda}$"
        )
        middle.set(xlabel=r"decay $\varepsilon\lambda$", ylabel="period, steps")
        middle.legend(frameon=False)
        bottom.plot(times, measured / norm2[0], color=drawing.BNGD, lw=0.8, label="run")
        bottom.plot(times, norm2 / norm2[0], **drawing.LAW, label="central flow")
        bottom.set(xlabel="step", ylabel=r"$\|w\|^2/\|w_0\|^2$")
        bottom.legend(frameon=False, loc="lower right")
        figure.data = {
            "run": {"step": steps, "eps_sharpness": sharp, "eps_eff_edge": relative, "excess": excess},
            "decay": {"eps_lambda": decays, "period": periods, "theory": 2 * np.pi / np.sqrt(8 * decays)},
            "central flow": {"step": times, "norm2": measured, "norm2_flow": norm2, "square_flow": p},
        }
        above = (relative[1:] + relative[:-1]) / 2 > 2
        count = int(np.sum(above[1:] & ~above[:-1]))
        theory = 2 * np.pi / np.sqrt(8 * decays)
        figure.caption = f"""Above: a run in the middle of the plateau (d = {one.dim}, κ = {one.cond:.0f}): ε times
        the largest eigenvalue of the Hessian in w, and ε̂λ*_d; both come to rest at 2, the edge (dashed), ε̂λ*_d at
        {relative[-1]:.3f} after {count} crossings upwards (means of two steps). Middle: under weight decay the
        effective rate oscillates about the edge; the period is off 2π/√(8ελ) by
        {100 * np.nanmax(np.abs(np.array(periods) / theory - 1)):.1f} % at most, whatever the problem. Below: a run at
        the edge and its central flow, slow modes {1 / ratio:.0f} times slower than fast ones; log ‖w‖² is off by
        {np.max(np.abs(np.log(measured / norm2))):.3f} at most, while it grows by {np.log(norm2[-1] / norm2[0]):.3f}."""


if __name__ == "__main__":
    main()
