"""Where the effective rate of BNGD settles with heavy-ball momentum: a measurement of an open question.

    python experiments/momentum_edge.py [--smoke]

Without momentum eps_hat settles just below the edge of stability 2/lambda*_d over a wide range of eps, by itself. With
momentum m the edge is 2 (1 + m)/lambda*_d (claims olsbn.heavy-ball and olsbn.heavy-ball-edge): does it settle there?
Runs the printed update with momentum on w and on a, in the order of PyTorch.
"""

import drawing
import numpy as np

from olsbn import OLSProblem, ProblemFamily, spectral_report

MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.9, 0.95)


def run(problem: OLSProblem, eps: np.ndarray, momentum: np.ndarray, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the effective rate after 3/4 of the steps and at the end, for arrays of learning rates and momenta."""
    eigvals, u = problem.eigvals, problem.u
    g = eigvals * u
    w, a = np.tile(problem.w0, (eps.size, 1)), np.full(eps.size, problem.a0)
    v, v_a = np.zeros_like(w), np.zeros_like(a)
    found = []
    for k in range(n_steps + 1):
        Hw = w * eigvals
        s2 = np.einsum("ij,ij->i", w, Hw)
        s, wg = np.sqrt(s2), w @ g
        if k in (3 * n_steps // 4, n_steps):
            found.append(eps * a * wg / (s2 * s))
        v = momentum[:, None] * v - (a / s)[:, None] * (g - (wg / s2)[:, None] * Hw)
        v_a = momentum * v_a + (a - wg / s)
        w, a = w - eps[:, None] * v, a - v_a
    return found[0], found[1]


def measure(trial: int, dim: int, eps: np.ndarray, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return eps_hat lambda*_d for each momentum and eps, and whether it has come to rest (to 1 %)."""
    problem = ProblemFamily("logspace", 1000.0, seed=1)(dim, trial)
    at = np.broadcast_to(eps, (len(MOMENTA), eps.size)).ravel()
    before, after = run(problem, at, np.repeat(MOMENTA, eps.size), n_steps)
    top = spectral_report(problem).eig_star_max
    settled = np.abs(after - before) <= 0.01 * np.abs(after)
    shape = (len(MOMENTA), eps.size)
    return (after * top).reshape(shape), settled.reshape(shape)


def main() -> None:
    small = drawing.smoke(__doc__)
    dim, n_steps, trials, cells = (10, 300, 1, 20) if small else (50, 10_000, 2, 60)
    eps = np.geomspace(1e-5, 1e3, cells)
    results = [measure(trial, dim, eps, n_steps) for trial in range(trials)]
    values, settled = (np.array(part) for part in zip(*results, strict=True))
    share = []
    with drawing.figure("momentum-edge", 3.3, small, rows=2, columns=3, sharex=True, sharey=True) as (figure, grid):
        for k, (ax, m) in enumerate(zip(grid.ravel(), MOMENTA, strict=True)):
            y, ok = values[:, k] / (1 + m), settled[:, k]
            for trial in range(trials):
                ax.loglog(eps, np.where(ok[trial], np.nan, y[trial]), ".", color="#b0b0b0", ms=2, label="still moving")
                ax.loglog(eps, np.where(ok[trial], y[trial], np.nan), ".", color=drawing.BNGD, ms=2, label="settled")
            ax.axhline(2, **drawing.THEORY, label="edge with m")
            ax.axhline(2 / (1 + m), color=drawing.GD, lw=0.8, ls="--", label="edge without")
            ax.set_title(f"m = {m}")
            ax.set_ylim(3e-3, 5)
            with np.errstate(invalid="ignore"):
                share.append(float(np.mean(np.where(ok, y, np.nan) > 1.9)))
        for ax in grid[1]:
            ax.set_xlabel(r"$\varepsilon$")
        for ax in grid[:, 0]:
            ax.set_ylabel(r"$\hat\varepsilon\lambda^*_d/(1 + m)$")
        keys = dict(zip(*reversed(grid[0, 0].get_legend_handles_labels()), strict=True))
        figure.legend(keys.values(), keys.keys(), ncols=2, frameon=False, loc="outside upper center")
        figure.data = {
            "m": np.array(MOMENTA)[:, None], "trial": np.arange(trials)[:, None, None], "eps": eps,
            "eps_eff_edge": values, "settled": settled,
        }  # fmt: skip
        shares = ", ".join(f"{100 * part:.0f} % at m = {m}" for part, m in zip(share, MOMENTA, strict=True))
        figure.caption = f"""Effective learning rate of BNGD with momentum m after {n_steps} steps, over 1 + m,
        against the learning rate ({trials} problems, d = {dim}, condition number 1000). Solid: the edge with
        momentum, 2(1 + m); dashed: 2. Part of the learning rates that settled above 0.95 of the edge: {shares}. An
        instability that begins δ above the edge ends δ below it only for δ well below (1 − m)² (claims
        olsbn.edge-jump-momentum and -depth): with a large momentum it ends far below."""


if __name__ == "__main__":
    main()
