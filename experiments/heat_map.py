"""Where BNGD converges over (eps, eps_a), on the grid of the paper: the heat maps after [Cai], GD's edge in them.

    python experiments/heat_map.py [--smoke]

41 x 43 cells, eps_a = 1.99 logspace(-10, 0), eps = logspace(-5, 16); H = diag(logspace(0, log10 cond, 100)), cond 80
and 1280; u uniform on the sphere, w_0 = Hu/||Hu|| or uniform as well; 2000 steps.
"""

import drawing
import numpy as np

from olsbn import ProblemFamily, sweep

STARTS = {"gradient": r"$w_0 \propto Hu$", "sphere": r"$w_0$ uniform"}
FLOOR = 1e-6


def residual(ds) -> np.ndarray:
    """Return log10 of the residual ||e||_H/sqrt(E), at least that of FLOOR, its mean over trials."""
    a, excess = np.abs(ds.a.values), ds.excess.values
    # excess = ||e||^2/E + (a/sqrt(E) - cos)^2 with ||e||^2/E = 1 - cos^2; family problems have E of their own
    root = np.sqrt([ProblemFamily("logspace", ds.attrs["cond"], seed=1)(100, int(t)).explained_var for t in ds.trial])
    a = a / root[:, None, None]
    with np.errstate(all="ignore"):
        cosine = (1 + a * a - excess) / (2 * a)
        found = np.where(excess < FLOOR**2, FLOOR, np.sqrt(np.clip(1 - cosine**2, FLOOR**2, 1)))
    return np.log10(found).mean(ds.excess.get_axis_num("trial"))


def main() -> None:
    small = drawing.smoke(__doc__)
    trials, n_steps = (2, 50) if small else (50, 2000)
    eps, eps_a = np.logspace(-5, 16, 43), 1.99 * np.logspace(-10, 0, 41)
    parts, good = {}, []
    with drawing.figure("heat-map", 3.4, small, rows=2, columns=2, sharex=True, sharey=True) as (figure, axes):
        for row, cond in zip(axes, (80.0, 1280.0), strict=True):
            for ax, (start, words) in zip(row, STARTS.items(), strict=True):
                family = ProblemFamily("logspace", cond, seed=1, w0=start)
                ds = sweep(
                    family, dim=100, trial=range(trials), eps=eps, eps_a=eps_a, n_steps=n_steps,
                    check_rounding=False, progress=False,
                )  # fmt: skip
                found = residual(ds.assign_attrs(cond=cond))
                drawn = ax.pcolormesh(
                    np.log10(eps), np.log10(eps_a), found, vmin=np.log10(FLOOR), vmax=0, cmap="viridis", rasterized=True
                )
                ax.axvline(np.log10(2 / cond), color="white", lw=1.2)
                ax.axvline(np.log10(2 / cond), color="black", lw=0.8, ls="--")
                ax.set_title(rf"$\kappa = {cond:.0f}$, {words}")
                parts[f"cond {cond:.0f}, {start}"] = {"eps": eps, "eps_a": eps_a[:, None], "log10_residual": found}
                words = "uniform" if start == "sphere" else "w_0 ∝ Hu"
                good.append(f"{100 * np.mean(found < -2):.0f} % (κ = {cond:.0f}, {words})")
        for ax in axes[1]:
            ax.set_xlabel(r"$\log_{10}\varepsilon$")
        for ax in axes[:, 0]:
            ax.set_ylabel(r"$\log_{10}\varepsilon_a$")
        figure.colorbar(drawn, ax=axes, location="bottom", aspect=40, label=r"mean of $\log_{10}\|e_k\|_H/\sqrt{E}$")
        figure.data = parts
        figure.caption = f"""Residual ‖e_k‖_H/√E of BNGD after k = {n_steps} steps over both learning rates, after
        [Cai], on the grid of the paper (41 × 43 cells), d = 100; mean of the logarithm over {trials} random problems,
        cut at 1e-6. Dashed: 2/λ_max, beyond which GD diverges. Part of the grid with a mean below 1e-2:
        {", ".join(good)}. The start w_0 ∝ Hu is not generic: its first step leaves wᵀg as it is, and large ε ends
        near saddles."""


if __name__ == "__main__":
    main()
