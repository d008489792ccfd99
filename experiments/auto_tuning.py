"""Any learning rate of the weights: the smallest gradient against T, T^-1/2 and T^-1/4 [Arora, Theorems 3.1 and 4.2].

    python experiments/auto_tuning.py [--smoke]

Least squares with BN, the gradient taken at weights of norm 1. Above: full batch, on a power law of eigenvalues,
where no linear rate sets in within the steps. Below: stochastic, on batches of a sample, each normalized by its own
statistics, with learning rates eta (t + 1)^-alpha of w and eta_g (t + 1)^-1/2 of the scale.
"""

import drawing
import numpy as np

from olsbn import OLSProblem
from olsbn.ledger.descent import bngd_paths
from olsbn.ledger.minibatches import batches, paths


def full_batch(small: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return learning rates in units of the plateau's lower end, the smallest gradient in T steps, and a bound on it.

    The bound is that of eq. 11: T least^2 <= ||w_T||^2 (||w_T||^2 - ||w_0||^2)/eta^2.
    """
    rng = np.random.default_rng(0)
    eigvals = np.arange(1, 201.0) ** -1.5
    problem = OLSProblem(eigvals, rng.standard_normal(200), rng.standard_normal(200))
    problem = OLSProblem(problem.eigvals, problem.u, problem.w0 / np.linalg.norm(problem.w0))
    unit = float(2 / problem.eigvals[-1] / (problem.u @ problem.u))
    factors = 10.0 ** np.arange(-2, 5, 2)
    run = bngd_paths(problem, factors * unit, 1.0, 200 if small else 8000)
    root = np.sqrt(problem.explained_var)
    steps = np.arange(1.0, len(run.norm2))[:, None]
    allowed = np.sqrt(run.norm2 * (run.norm2 - run.norm2[0]))[1:] / (factors * unit) / np.sqrt(steps)
    least = np.minimum.accumulate(np.sqrt(run.norm2) * run.grad_w)[:-1]
    return factors, least / root, allowed / root


def stochastic(small: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return learning rates, steps and the smallest root of the mean squared gradient in T steps, over 32 paths."""
    rng = np.random.default_rng(1)
    n, size, d, replicates, n_steps = 8, 12, 5, 32, 256 if small else 16_384
    x = rng.standard_normal((n, size, d)) * np.geomspace(1, 3, d)
    p = batches(x, x @ rng.standard_normal(d) + 2 * rng.standard_normal((n, size)))
    scale = np.sqrt(p.E.mean())
    factors = 10.0 ** np.arange(-2, 3)
    shape = (factors.size, 2, replicates)
    w = np.broadcast_to(rng.standard_normal((replicates, d)), (*shape, d))
    w = w / np.linalg.norm(w, axis=-1, keepdims=True)
    at = np.unique(np.geomspace(1, n_steps, 120).astype(int)) - 1
    run = paths(
        p, w, np.full(shape, scale), rng.integers(0, n, (n_steps, *shape)), factors[:, None, None] / scale,
        np.array([0.0, 0.5])[:, None], 1.0, at,
    )  # fmt: skip
    mean = np.sqrt((run.v + run.a).mean(-1)) / scale
    return factors, at + 1, np.minimum.accumulate(mean)


def exponent(steps: np.ndarray, values: np.ndarray) -> float:
    """Return the exponent of T over the last factor of 16."""
    late = steps >= steps[-1] / 16
    return float(np.polyfit(np.log(steps[late]), np.log(values[late]), 1)[0])


def main() -> None:
    small = drawing.smoke(__doc__)
    factors, least, allowed = full_batch(small)
    steps = np.arange(1.0, len(least) + 1)
    etas, at, mean = stochastic(small)
    with drawing.figure("auto-tuning", 4.4, small, rows=2) as (figure, (top, bottom)):
        colours = [drawing.style_map(j / (factors.size - 1)) for j in range(factors.size)]
        for j, factor in enumerate(factors):
            top.loglog(steps, least[:, j], color=colours[j], label=drawing.power(factor))
            top.loglog(steps, allowed[:, j], color=colours[j], ls=":")
        top.loglog(steps, 4 * steps**-0.5, **drawing.LAW, label="$T^{-1/2}$")
        for j, factor in enumerate(etas):
            colour = drawing.style_map(j / (etas.size - 1))
            bottom.loglog(at, mean[:, j, 0], color=colour, label=drawing.power(factor))
            bottom.loglog(at, mean[:, j, 1], color=colour, ls=":")
        bottom.loglog(at, 1.3 * at**-0.25, **drawing.LAW, label="$T^{-1/4}$")
        top.set_title("full batch, and what eq. 11 allows (dotted)", loc="left")
        bottom.set_title(r"stochastic: $\alpha = 0$ (solid), $1/2$ (dotted)", loc="left")
        for ax in (top, bottom):
            ax.set(xlabel="steps T", ylabel="smallest gradient")
            ax.legend(title=r"$\eta$, relative", ncols=2, frameon=False, loc="lower left", columnspacing=1)
        kept = np.unique(np.geomspace(1, len(least), 120).astype(int)) - 1
        figure.data = {
            "full batch": {
                "alpha": 0.0,
                "eta": factors,
                "T": steps[kept, None],
                "least": least[kept],
                "allowed": allowed[kept],
            },
            "stochastic": {"alpha": np.array([0, 0.5]), "eta": etas[:, None], "T": at[:, None, None], "least": mean},
        }
        random = [[exponent(at, mean[:, j, k]) for j in range(etas.size)] for k in range(2)]
        figure.caption = f"""Smallest gradient at unit weights in T steps, relative to √E, for learning rates over
        6 and 4 decades. Full batch, eigenvalues i^-1.5, d = 200, gradient in the direction: dotted is what the growth
        of the norm allows [eq. 11], never less ({"holds" if (least <= allowed * (1 + 1e-9)).all() else "FAILS"} at
        all steps), at best {(allowed / least).min():.3f} times the gradient; a run with a learning rate too small or
        too large waits, and then falls. Stochastic, 8 batches of 12 rows, d = 5, mean over 32 paths:
        {min(random[0]):.2f} to {max(random[0]):.2f} for α = 0, {min(random[1]):.2f} to {max(random[1]):.2f} for α =
        1/2; the theorem promises −1/4 but for logarithms."""


if __name__ == "__main__":
    main()
