"""The effective condition number of BN against that of the problem [Cai]: kappa* <= kappa.

python experiments/kappa_star.py [--smoke]
"""

import drawing
import numpy as np

from olsbn import ProblemFamily, spectral_report

DIMS = (3, 5, 10, 100)


def main() -> None:
    small = drawing.smoke(__doc__)
    conds, trials = np.geomspace(2, 1e4, 5 if small else 25), 5 if small else 60
    found = np.array(
        [
            [
                [spectral_report(ProblemFamily("logspace", c, seed=1)(d, t)).cond_star for t in range(trials)]
                for c in conds
            ]
            for d in DIMS
        ]
    )
    share = found / conds[:, None]
    with drawing.figure("kappa-star", 3.6, small, rows=2, sharex=True) as (figure, (top, bottom)):
        for j, d in enumerate(DIMS):
            for ax, values in ((top, found[j]), (bottom, share[j])):
                low, middle, high = drawing.between(values, 1)
                ax.fill_between(conds, low, high, color=drawing.COLOURS[j], alpha=0.2, lw=0)
                ax.plot(conds, middle, color=drawing.COLOURS[j], label=f"d = {d}", marker="osD^"[j], markevery=6, ms=3)
        top.plot(conds, conds, **drawing.THEORY, label=r"$\kappa^* = \kappa$")
        bottom.axhline(1, **drawing.THEORY)
        top.set(xscale="log", yscale="log", ylabel=r"$\kappa^*$ of BN")
        bottom.set(ylim=(0, 1.05), xlabel=r"condition number $\kappa$ of H", ylabel=r"$\kappa^*/\kappa$")
        top.legend(frameon=False, loc="upper left")
        low, middle, high = drawing.between(found, 2)
        columns = {"d": np.array(DIMS)[:, None], "cond": conds, "cond_star_10": low, "cond_star_median": middle}
        figure.data = columns | {"cond_star_90": high}
        at = np.median(share, 2)[:, -1]
        shares = ", ".join(f"{value:.2g} at d = {d}" for d, value in zip(DIMS, at, strict=True))
        figure.caption = f"""Effective condition number κ* = λ*_d/λ*_2 against the condition number κ of H: medians
        and the range from 10 % to 90 % of {trials} random problems with logarithmic eigenvalues. κ* never exceeds κ:
        the largest κ*/κ of all is {share.max():.4f}. At κ = {conds[-1]:.0f} the median of κ*/κ is {shares}. BN's best
        rate gains where few eigenvalues matter."""


if __name__ == "__main__":
    main()
