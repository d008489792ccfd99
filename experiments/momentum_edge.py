"""Where the effective rate of BNGD settles with heavy-ball momentum: a measurement of an open question.

    python experiments/momentum_edge.py [--smoke]

Without momentum eps_hat settles just below the edge of stability 2/lambda*_d over a wide range of eps, by itself. With
momentum m the edge is 2 (1 + m)/lambda*_d (claims olsbn.heavy-ball and olsbn.heavy-ball-edge): does it settle there?
Runs the printed update with momentum on w and on a, in the order of PyTorch, and draws figures/momentum-edge.png.
"""

import argparse
from pathlib import Path

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


def draw(eps: np.ndarray, values: np.ndarray, settled: np.ndarray, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    for k, (axes, m) in enumerate(zip(figure.subplots(2, 3, sharex=True, sharey=True).ravel(), MOMENTA, strict=True)):
        for trial in range(len(values)):
            y, ok = values[trial, k] / (1 + m), settled[trial, k]
            axes.loglog(
                eps, np.where(ok, y, np.nan), ".", color="#3b528b", ms=3, label="settled" if not trial else None
            )
            axes.loglog(
                eps, np.where(ok, np.nan, y), ".", color="#bbbbbb", ms=3, label="still moving" if not trial else None
            )
        axes.axhline(2, color="black", lw=1)
        axes.axhline(2 / (1 + m), color="#d95f02", lw=1, ls="--")
        axes.set_title(f"m = {m}", fontsize=10)
        axes.set_ylim(3e-3, 5)
    figure.supxlabel("learning rate eps", fontsize=10)
    figure.supylabel(r"settled effective rate  $\hat\epsilon\,\lambda^*_d/(1+m)$", fontsize=10)
    figure.axes[-1].legend(loc="upper left", bbox_to_anchor=(0, 0.8), fontsize=8)
    figure.axes[2].text(eps[0], 2.4, "edge with momentum: 2(1 + m)", fontsize=8)
    figure.axes[3].text(eps[0], 1.27, "edge without: 2", fontsize=8, color="#d95f02")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small version, drawn into the current directory")
    smoke = parser.parse_args().smoke
    dim, n_steps, trials, cells = (10, 300, 1, 20) if smoke else (50, 20_000, 3, 90)
    eps = np.geomspace(1e-5, 1e3, cells)
    results = [measure(trial, dim, eps, n_steps) for trial in range(trials)]
    values, settled = (np.array(part) for part in zip(*results, strict=True))
    print("largest settled eps_hat lambda*_d over (1 + m), and the part of all eps settled above 1.9 (1 + m)")
    for k, m in enumerate(MOMENTA):
        y = np.where(settled[:, k], values[:, k], np.nan) / (1 + m)
        above = np.mean(y * (1 + m) > 2)
        print(f"m = {m:4}  {np.nanmax(y):.3f}  {np.mean(y > 1.9):.3f}  above 2, the edge without momentum: {above:.3f}")
    folder = Path(".") if smoke else Path(__file__).resolve().parents[1] / "figures"
    draw(eps, values, settled, folder / "momentum-edge.png")


if __name__ == "__main__":
    main()
