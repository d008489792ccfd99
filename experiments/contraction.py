"""Contraction ratio a step against the learning rate, for GD and BNGD, measured beside theory [Cai, slides].

    python experiments/contraction.py [--smoke]

GD contracts below 2/lambda_max only. BNGD does so at every learning rate, for its effective one settles below the edge.
"""

import drawing
import numpy as np

import olsbn


def main() -> None:
    small = drawing.smoke(__doc__)
    problem = olsbn.OLSProblem.from_spectrum("logspace", 100, 20.0, seed=1)
    spectrum = olsbn.spectral_report(problem)
    eps = np.geomspace(1e-3, 1e4, 29 if small else 121)
    gd = np.geomspace(1e-3, 2.5 * spectrum.eps_max, 20 if small else 60)
    n_steps = 4000 if small else 40_000
    found = olsbn.sweep(problem, eps=eps, n_steps=n_steps, progress=False)
    plain = olsbn.sweep(problem, method="gd", eps=gd, n_steps=n_steps, progress=False)
    fine = np.geomspace(gd[0], gd[-1], 400)
    ok = np.isfinite(found.rate_sim.values)
    good = int((found.status.values == 0).sum())
    off = np.max(np.abs(found.rate_sim - found.rate_theory).values[ok])
    with drawing.figure("contraction", 2.5, small) as (figure, ax):
        ax.plot(fine, olsbn.gd_contraction_ratio(problem, fine), **drawing.THEORY)
        ax.plot(eps, found.rate_theory.values, **drawing.THEORY, label="theory")
        ax.plot(gd, plain.rate_sim.values, "s", color=drawing.GD, ms=2.5, label="GD, measured")
        ax.plot(eps, found.rate_sim.values, "o", color=drawing.BNGD, ms=2.5, label="BNGD, measured")
        ax.axhline(1, color="gray", lw=0.6)
        ax.axvline(spectrum.eps_max, color="gray", lw=0.6, ls=":")
        ax.text(spectrum.eps_max * 1.3, 1.035, r"$2/\lambda_{\max}$", color="dimgray")
        ax.set(xscale="log", xlim=(1e-3, 1e4), ylim=(0.895, 1.06))
        ax.set(xlabel=r"learning rate $\varepsilon$", ylabel="contraction ratio a step")
        ax.legend(loc="upper right", frameon=False)
        figure.data = {
            "gd": {"eps": gd, "measured": plain.rate_sim.values, "theory": olsbn.gd_contraction_ratio(problem, gd)},
            "bngd": {"eps": eps, "measured": found.rate_sim.values, "theory": found.rate_theory.values},
        }
        figure.caption = f"""Contraction ratio of the residual a step against the learning rate: {problem.dim}
        logarithmic eigenvalues, condition number {problem.cond:.0f}. GD converges below 2/λ_max =
        {spectrum.eps_max:.3g} only, BNGD reached 1e-10 at {good} of {eps.size} learning rates. The best ratios are
        {spectrum.rate_gd_opt:.4f} for GD and {spectrum.rate_bngd_opt:.4f} for BNGD. Where BNGD's ratio has settled
        within {n_steps} steps ({ok.sum()} cells), it differs from theory by {off:.1e} at most."""


if __name__ == "__main__":
    main()
