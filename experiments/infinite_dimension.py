"""BNGD in a thousand million dimensions: a map, its spread over trials, and how single problems run to this limit.

    python experiments/infinite_dimension.py [--smoke]

Maps are of `ProblemFamily(..., density=True)`, the limit of high dimension, in which the angle of start and solution is
all that is left of chance. Then single problems with that angle held are run beside the limit, at learning rates from
eps_1/100 to 100 eps_2: the difference of log10 excess falls like d^-1/2 but for single cells on the plateau, where the
excess at a given step hangs on when the fastest mode has grown. Prints the numbers and draws
figures/infinite-dimension.png.
"""

import argparse
import math
from pathlib import Path

import numpy as np

import olsbn
from olsbn import OLSProblem, ProblemFamily

KINDS = {"marchenko-pastur": "#3b528b", "linspace": "#21918c", "logspace": "#d95f02"}
COND, OVERLAP, STEPS = 100.0, 0.01, 300


def held(problem: OLSProblem) -> OLSProblem:
    """Return the problem with the cosine of the angle between its start and g set to OVERLAP."""
    g = problem.eigvals * problem.u
    g /= np.linalg.norm(g)
    across = problem.w0 - (problem.w0 @ g) * g
    w0 = OVERLAP * g + math.sqrt(1 - OVERLAP**2) / np.linalg.norm(across) * across
    return OLSProblem(problem.eigvals, problem.u, w0, label=problem.label)


def distances(kind: str, dims: list[int], trials: int) -> np.ndarray:
    """Return |difference of log10 excess| from the limit, (dims, trials, cells)."""
    limit = ProblemFamily(kind, COND, density=True, overlap=OVERLAP)(10**9)
    edges = olsbn.effective_rate_regimes(limit)
    grid = {"eps": np.geomspace(edges.eps_1 / 100, edges.eps_2 * 100, 25), "n_steps": STEPS, "progress": False}

    def run(problem: OLSProblem) -> np.ndarray:
        return np.log10(olsbn.sweep(problem, reduce="auto", **grid).excess.values)

    end = run(limit)
    return np.array(
        [[abs(run(held(ProblemFamily(kind, COND)(d, trial))) - end) for trial in range(trials)] for d in dims]
    )


def draw(ds, dims: list[int], found: dict[str, np.ndarray], path: Path) -> None:
    import matplotlib.pyplot as plt

    from olsbn.plotting import plot_map

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    plot_map(olsbn.median_trial(ds), "excess", ax=axes[0])
    axes[0].set_title(f"Marchenko–Pastur, d = 10⁹, {STEPS} steps\nmedian of {ds.trial.size} trials", fontsize=11)
    low, high = np.quantile(np.log10(ds.excess.values), [0.1, 0.9], axis=ds.excess.get_axis_num("trial"))
    drawn = axes[1].pcolormesh(ds.eps, ds.eps_a, high - low, cmap="magma_r", vmin=0, rasterized=True)
    axes[1].set(xscale="log", xlabel=axes[0].get_xlabel(), ylabel=axes[0].get_ylabel())
    axes[1].set_title("spread: decades of the excess\nbetween the 10 % and 90 % trials", fontsize=11)
    figure.colorbar(drawn, ax=axes[1])
    for kind, off in found.items():
        axes[2].loglog(dims, np.median(off, (1, 2)), "o-", color=KINDS[kind], label=kind)
        axes[2].loglog(dims, np.quantile(off, 0.9, (1, 2)), "^:", color=KINDS[kind])
    first = np.median(next(iter(found.values()))[0])
    axes[2].plot([], [], "^:", color="gray", label="90 % of the cells; lines: median")
    axes[2].loglog(dims, 0.5 * first * (np.array(dims) / dims[0]) ** -0.5, "k--", lw=1, label="$d^{-1/2}$")
    axes[2].set(xlabel="dimension d", ylabel="|difference of log10 excess| from the limit")
    axes[2].set_title("single problems beside the limit,\nangle of start and solution held", fontsize=11)
    axes[2].set_ylim(2e-4, 2)
    axes[2].legend(loc="lower left", fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small version, drawn into the current directory")
    smoke = parser.parse_args().smoke
    dims = [10**2, 10**3] if smoke else [10**3, 10**4, 10**5, 10**6]
    found = {}
    for kind in KINDS:
        found[kind] = distances(kind, dims, 2 if smoke else 4)
        for d, off in zip(dims, found[kind], strict=True):
            numbers = np.median(off), np.quantile(off, 0.9), off.max()
            print(f"{kind:17s} d = {d:.0e}: median {numbers[0]:.2g}, 90 % {numbers[1]:.2g}, largest {numbers[2]:.2g}")
    cells, rows = (20, 10) if smoke else (121, 61)
    vast = ProblemFamily("marchenko-pastur", COND, density=True)
    grid = {"eps": np.geomspace(1e-4, 1e14, cells), "eps_a": np.linspace(0.05, 2.15, rows)}
    ds = olsbn.sweep(vast, dim=10**9, trial=range(4 if smoke else 25), n_steps=STEPS, progress=False, **grid)
    folder = Path(".") if smoke else Path(__file__).resolve().parents[1] / "figures"
    draw(ds, dims, found, folder / "infinite-dimension.png")


if __name__ == "__main__":
    main()
