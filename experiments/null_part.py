"""Which interpolating solution BNGD ends at: risk against the learning rate and against d/n, with GD and minimum norm.

    python experiments/null_part.py [--smoke]

With fewer rows than columns H is singular. BNGD ends at the predictor u + z/beta, z the part of w_0 in the null space
of H and beta = sqrt(eps/eps_hat); GD keeps z itself, and the minimum norm solution has none. The risk is the squared
error of the predictor in the true coefficients, for isotropic inputs: the excess loss on new data.
"""

import drawing
import numpy as np

from olsbn import OLSProblem, sweep

NOISE, N = 0.5, 100


def sample(d: int, seed: int, n: int = N):
    """Return inputs, targets, true coefficients of norm 1 and a start of norm 1."""
    rng = np.random.default_rng([seed, d])
    X = rng.standard_normal((n, d))
    truth = rng.standard_normal(d) / np.sqrt(d)
    w0 = rng.standard_normal(d)
    return X, X @ truth + NOISE * rng.standard_normal(n), truth, w0 / np.linalg.norm(w0)


def risks(d: int, seed: int, eps: np.ndarray, n_steps: int) -> dict[str, np.ndarray]:
    """Return the risk of BNGD's end at each eps, measured and by the closed form, of GD's and of minimum norm."""
    X, y, truth, w0 = sample(d, seed)
    X, y = X - X.mean(0), y - y.mean()
    eigvals, basis = np.linalg.eigh(X.T @ X / len(y))
    kept = eigvals > 1e-10 * eigvals[-1]
    along = basis[:, kept]
    u = along @ ((along.T @ (X.T @ y)) / len(y) / eigvals[kept])
    z = w0 - along @ (along.T @ w0)
    problem = OLSProblem(eigvals[kept], along.T @ u, along.T @ w0, w0_null_norm=float(np.linalg.norm(z)))
    ds = sweep(problem, eps=eps, n_steps=n_steps, tol=1e-8, stop="tol", progress=False, check_rounding=False)
    beta = np.sqrt(eps / ds.eps_eff.values) * np.sign(ds.a.values)
    ends = u + z / beta[:, None]
    squared = {
        "bngd": np.sum((ends - truth) ** 2, 1), "gd": np.sum((u + z - truth) ** 2), "minimum": np.sum((u - truth) ** 2)
    }  # fmt: skip
    return squared | {"null": float(np.linalg.norm(z)), "reached": ds.excess.values <= 1e-8, "beta": np.abs(beta)}


def main() -> None:
    small = drawing.smoke(__doc__)
    trials, n_steps = (2, 2000) if small else (5, 50_000)
    eps = np.geomspace(1e-3, 1e2, 11 if small else 31)
    at = [risks(4 * N, t, eps, n_steps) for t in range(trials)]
    ratios = np.array(
        [0.25, 0.75, 1.5, 4] if small else [0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2, 3, 4, 6, 8]
    )
    few = np.array([0.01, 0.1, 10.0])
    over = [[risks(round(r * N), t, few, n_steps // 10) for t in range(trials)] for r in ratios]
    with drawing.figure("null-part", 4.2, small, rows=2) as (figure, (top, bottom)):
        low, middle, high = drawing.between([x["bngd"] for x in at])
        top.fill_between(eps, low, high, color=drawing.BNGD, alpha=0.2, lw=0)
        top.plot(eps, middle, color=drawing.BNGD, label="BNGD")
        gd, least = (np.median([x[name] for x in at]) for name in ("gd", "minimum"))
        top.axhline(gd, color=drawing.GD, ls="-", label="GD, any rate")
        top.axhline(least, **drawing.LAW, label="minimum norm")
        top.set(xscale="log", yscale="log", xlabel=r"learning rate $\varepsilon$", ylabel="risk")
        top.set_title(f"d = {4 * N}, n = {N}", loc="left")
        top.legend(frameon=False)
        table = {name: np.array([[x[name] for x in row] for row in over]) for name in ("bngd", "gd", "minimum")}
        for j, value in enumerate(few):
            bottom.plot(
                ratios, np.median(table["bngd"][..., j], 1), color=drawing.style_map(j / 2), marker="osD"[j], ms=2.5,
                label=rf"BNGD, $\varepsilon = {value:g}$",
            )  # fmt: skip
        bottom.plot(ratios, np.median(table["gd"], 1), color=drawing.GD, label="GD, any rate")
        bottom.plot(ratios, np.median(table["minimum"], 1), **drawing.LAW, label="minimum norm")
        bottom.set(xscale="log", yscale="log", xlabel="columns over rows, d/n", ylabel="risk")
        bottom.set_xticks([0.2, 0.5, 1, 2, 4, 8], labels=["0.2", "0.5", "1", "2", "4", "8"], minor=False)
        bottom.minorticks_off()
        bottom.set_ylim(5e-3, 10)
        bottom.legend(frameon=False, loc="lower right")
        names = ("bngd_median", "bngd_10", "bngd_90")
        figure.data = {
            "over eps": {"ratio": 4.0, "eps": eps, "gd": gd, "minimum": least}
            | dict(zip(names, (middle, low, high), strict=True)),
            "over d/n": {
                "ratio": ratios[:, None], "eps": few, "gd": np.median(table["gd"], 1)[:, None],
                "minimum": np.median(table["minimum"], 1)[:, None], "bngd_median": np.median(table["bngd"], 1),
            },
        }  # fmt: skip
        late = np.mean([x["reached"].mean() for x in at])
        below = np.mean([x["bngd"].min() < x["minimum"] for x in at])
        figure.caption = f"""Risk ‖predictor − truth‖² of the solutions that GD and BNGD end at, from a random
        start of norm 1; isotropic inputs, n = {N} rows, noise {NOISE}; medians of {trials} samples, band 10 % to 90
        %. Above: against the learning rate at d = {4 * N}. Small ε amplifies the part of the start in the null space,
        which GD keeps at every ε (risk {gd:.3g}); large ε removes it (risk {middle[-1]:.3g}, minimum norm
        {least:.3g}). In {100 * below:.0f} % of the samples some ε is better than minimum norm. {100 * late:.0f} % of
        the runs reached an excess of 1e-8. Below: double descent over d/n."""


if __name__ == "__main__":
    main()
