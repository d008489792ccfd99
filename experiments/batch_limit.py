"""Where mini-batch BN ends: the scale against the batch size, and the gap between evaluations, for several inputs.

    python experiments/batch_limit.py [--smoke]

Without noise the direction converges and the scale tends to the mean of sd(batch)/sd(population). Below: the same model
evaluated with running averages (momentum 0.1, as layers have it) and with the batch's own statistics.
"""

import math

import drawing
import numpy as np
from scipy import special

from olsbn import OLSProblem, sweep

SIZES = np.array([3, 4, 6, 8, 12, 16, 24, 32, 64])
REPLICATES, BURN_IN, EVERY, RECORDS = 24, 600, 25, 30


def gaussian_limit(m: np.ndarray) -> np.ndarray:
    """Return b(m) = sqrt(2/m) Gamma(m/2)/Gamma((m - 1)/2)."""
    return np.sqrt(2 / m) * np.exp(special.gammaln(m / 2) - special.gammaln((m - 1) / 2))


def problem(kind: str, rng: np.random.Generator) -> tuple[OLSProblem, str]:
    """Return a problem of two inputs, and how its batches are drawn."""
    if kind == "Gaussian rows":
        return OLSProblem([1.0, 2.0], [1.0, 0.5], [0.3, 1.0]), "gaussian"
    shape = (4096, 2)
    X = rng.standard_t(3, shape) if kind == "sample, Student's t" else rng.uniform(-1, 1, shape)
    return OLSProblem.from_samples(X, X @ [1.0, 0.5], w0=[0.3, 1.0]), "replacement"


def resampled(made: OLSProblem, m: int, rng: np.random.Generator) -> float:
    """Return the mean of sd(batch)/sd(sample) of the outputs, over random batches."""
    y = made.sample.y
    return float(np.mean(y[rng.integers(0, y.size, (20_000, m))].std(1)) / y.std())


def main() -> None:
    small = drawing.smoke(__doc__)
    sizes = SIZES[1:6:2] if small else SIZES
    rng = np.random.default_rng(0)
    record = (BURN_IN + EVERY * np.arange(RECORDS)).tolist()
    parts, worst, b = {}, {}, gaussian_limit(np.linspace(3, 64, 200))
    with drawing.figure("batch-limit", 3.9, small, rows=2, sharex=True) as (figure, (top, bottom)):
        top.plot(np.linspace(3, 64, 200), b, **drawing.THEORY, label="b(m), Gaussian")
        for j, kind in enumerate(("Gaussian rows", "sample, Student's t", "sample, uniform")):
            made, sampling = problem(kind, rng)
            eps = 0.3 * float(made.w0 @ made.w0 / (made.u @ made.u)) / float(made.eigvals[-1])
            found, error, gap, running, batch = np.empty((5, sizes.size))
            for k, m in enumerate(sizes):
                ds = sweep(
                    made, method="minibatch", sampling=sampling, averaging=0.1, eps=eps, eps_a=0.05, batch_size=int(m),
                    replicate=list(range(REPLICATES)), n_steps=record[-1], record=record, progress=False,
                )  # fmt: skip
                scale = np.abs(ds.a.transpose("step", "replicate").values) / math.sqrt(made.explained_var)
                found[k], error[k] = scale.mean(), scale.mean(0).std(ddof=1) / math.sqrt(REPLICATES)
                running[k], batch[k] = (float(ds[name].mean()) for name in ("excess_running", "excess_batch"))
                gap[k] = float(ds.excess.mean())
            if made.sample is None:
                theory = gaussian_limit(sizes.astype(float))
            else:
                theory = np.array([resampled(made, int(m), rng) for m in sizes])
                top.plot(sizes, theory, color=drawing.COLOURS[j], ls=":", lw=0.8)
            look = {"color": drawing.COLOURS[j], "marker": "osD"[j], "ms": 2.5}
            top.errorbar(sizes, found, 3 * error, ls="", label=kind, elinewidth=0.8, **look)
            bottom.plot(sizes, gap, **look)
            bottom.plot(sizes, running, **look, ls="--", mfc="white")
            bottom.plot(sizes, batch, color=drawing.COLOURS[j], ls=":")
            worst[kind] = float(np.max(np.abs(found - theory) / error))
            parts[kind] = {
                "m": sizes, "scale": found, "error": error, "theory": theory, "excess": gap, "excess_running": running,
                "excess_batch": batch,
            }  # fmt: skip
        top.set(xscale="log", ylabel=r"scale $|a|/\sqrt{E}$")
        bottom.set(yscale="log", xlabel="rows in a batch, m", ylabel="mean excess")
        bottom.set_xticks([3, 4, 8, 16, 32, 64], labels=["3", "4", "8", "16", "32", "64"])
        bottom.minorticks_off()
        top.legend(frameon=False, loc="lower right")
        for text, look in (("population", "-"), ("running averages", "--"), ("its own batch", ":")):
            bottom.plot([], [], color="gray", ls=look, label=text)
        bottom.legend(frameon=False, loc="lower left", title="evaluated with")
        figure.data = parts
        off = ", ".join(f"{value:.1f} for {kind}" for kind, value in worst.items())
        figure.caption = f"""Above: the scale a/√E that mini-batch BN ends at, against the batch size, without
        noise in the targets; bars of three standard errors ({REPLICATES} replicates, {RECORDS} records each). Line:
        b(m) for Gaussian rows; dotted: the mean of sd(batch)/sd(sample) of the sample itself (its 20 000 random
        batches have an error of their own). Largest distance to theory in standard errors of the run: {off}. Below:
        mean excess of the same models with the statistics of the population, with running averages (momentum 0.1),
        and with those of the batch it trains on."""


if __name__ == "__main__":
    main()
