"""BNGD in a thousand million dimensions: a map, its spread over trials, and how single problems run to this limit.

    python experiments/infinite_dimension.py [--smoke]

Maps are of `ProblemFamily(..., density=True)`, the limit of high dimension, in which the angle of start and solution is
all that is left of chance. Then single problems with that angle held are run beside the limit, at learning rates from
eps_1/100 to 100 eps_2: the difference of log10 excess falls like d^-1/2 but for single cells on the plateau, where the
excess at a given step hangs on when the fastest mode has grown.
"""

import math

import drawing
import numpy as np

import olsbn
from olsbn import OLSProblem, ProblemFamily

KINDS = ("marchenko-pastur", "linspace", "logspace")
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


def main() -> None:
    small = drawing.smoke(__doc__)
    dims = [10**2, 10**3] if small else [10**3, 10**4, 10**5]
    cells, rows, trials = (20, 10, 4) if small else (101, 41, 9)
    vast = ProblemFamily("marchenko-pastur", COND, density=True)
    eps, eps_a = np.geomspace(1e-4, 1e14, cells), np.linspace(0.05, 2.15, rows)
    ds = olsbn.sweep(
        vast, dim=10**9, trial=range(trials), n_steps=STEPS, progress=False, eps=eps, eps_a=eps_a, check_rounding=False
    )
    excess = np.log10(ds.excess.values)
    low, middle, high = drawing.between(excess, ds.excess.get_axis_num("trial"))
    parts = {"map": {"eps": eps, "eps_a": eps_a[:, None], "low": low, "median": middle, "high": high}}
    texts = []
    with drawing.figure("infinite-dimension", 4.6, small, rows=3) as (figure, (top, centre, bottom)):
        for ax, values, words, scale in (
            (top, middle, "median of $\\log_{10}$ excess", {"vmin": -8, "vmax": 0, "cmap": "viridis"}),
            (centre, high - low, "10 % to 90 %, decades", {"vmin": 0, "vmax": 8, "cmap": "magma_r"}),
        ):
            drawn = ax.pcolormesh(np.log10(eps), eps_a, values, rasterized=True, **scale)
            ax.set(xlabel=r"$\log_{10}\varepsilon$", ylabel=r"$\varepsilon_a$")
            figure.colorbar(drawn, ax=ax, label=words)
        for kind, colour in zip(KINDS, drawing.COLOURS, strict=False):
            off = distances(kind, dims, 2)
            median, most = np.median(off, (1, 2)), np.quantile(off, 0.9, (1, 2))
            bottom.loglog(dims, median, "o-", color=colour, ms=3, label=kind)
            bottom.loglog(dims, most, "^:", color=colour, ms=3)
            parts[kind] = {"d": dims, "median": median, "quantile_90": most}
            texts.append(f"{kind} {median[0]:.2g} to {median[-1]:.2g}")
        bottom.loglog(
            dims, parts[KINDS[0]]["median"][0] * (np.array(dims) / dims[0]) ** -0.5, **drawing.LAW, label="$d^{-1/2}$"
        )
        bottom.set(xlabel="dimension d", ylabel="distance from the limit")
        bottom.set_ylim(2e-4, 3)
        bottom.legend(frameon=False, loc="lower left")
        figure.data = parts
        good = np.median(middle[eps_a < 1.9] < -3, 0) > 0
        island = np.flatnonzero(good)
        missing = island[-1] - island[0] + 1 - good.sum() if good.any() else 0
        figure.caption = f"""BNGD in 10⁹ dimensions, Marchenko–Pastur spectrum, condition number {COND:.0f},
        {STEPS} steps. Above: median of the excess over {trials} random problems; the bright island within the dark
        range is the hole of a fixed budget: there the first steps overshoot so far that the effective rate ends too
        low for {STEPS} steps (it spans {missing * np.log10(eps[1] / eps[0]):.1f} decades where the median exceeds
        1e-3). Middle: spread over the problems. Below: |difference of log10 excess| of single problems from the
        limit, the angle of start and solution held; lines: median, dotted: 90 % of the cells. From d = {dims[0]} to
        {dims[-1]}: {"; ".join(texts)}."""


if __name__ == "__main__":
    main()
