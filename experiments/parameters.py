"""Maps of BNGD over momentum and over weight decay, each beside the learning rate, with what theory says on them.

    python experiments/parameters.py [--smoke]

Lines. Momentum m: a slow mode contracts by eps_eff mu/(1 - m) a step, and after one long step w coasts on to 1/(1 - m)
times its length, so that eps_eff -> (1 - m)^2 ||u||^2/(eps C^2) for large eps: both ends of the window of learning
rates that reach the tolerance within K steps move by the factor 1 - m (to first order in eps_eff). Weight decay: w
shrinks by 1 - eps lambda_wd a step; above eps lambda_wd = 2 it grows instead and changes its sign (exact). Shrinking
takes eps_eff to the edge 2/lambda*_d within K steps where 2 eps lambda_wd K > ln(eps_1/eps), or ln(eps/eps_2) beyond
the plateau: from there on decay keeps the run at the edge, where it does not converge.
"""

import drawing
import numpy as np
from matplotlib.patheffects import withStroke

import olsbn

STEPS = 2000


def problem() -> olsbn.OLSProblem:
    """Return the problem of both maps."""
    return olsbn.OLSProblem.from_spectrum("logspace", 30, 100.0, seed=1)


def asymptotes() -> str:
    """Return what momentum does to eps_eff far outside the plateau, over what it is to do: 1, and (1 - m)^2."""
    law = olsbn.effective_rate_regimes(problem())
    ds = olsbn.sweep(
        problem(), eps=[1e-7 * law.eps_1, 1e7 * law.eps_2], momentum=[0.0, 0.5, 0.9], n_steps=STEPS, progress=False
    )
    ratios = [
        ds.eps_eff.sel(momentum=m).values / ds.eps_eff.sel(momentum=0.0).values / [1, (1 - m) ** 2] for m in (0.5, 0.9)
    ]
    return " and ".join(", ".join(f"{value:.4f}" for value in ratio) for ratio in ratios)


def main() -> None:
    small = drawing.smoke(__doc__)
    n, rows, steps = (12, 6, 200) if small else (100, 40, STEPS)
    law = olsbn.effective_rate_regimes(problem())
    eps = np.geomspace(1e-3, 1e5, n)
    momentum, decay = np.linspace(0, 0.975, rows), np.geomspace(1e-6, 1, rows)
    how = {"eps": eps, "n_steps": steps, "tol": 1e-6, "progress": False}
    maps = [olsbn.sweep(problem(), momentum=momentum, **how), olsbn.sweep(problem(), weight_decay=decay, **how)]
    heavy, decayed = (np.log10(np.maximum(ds.excess.values, 1e-12)) for ds in maps)
    window = olsbn.eps_window(problem(), 1e-6, steps, "bngd")
    lines = {"color": "white", "linewidth": 1.2, "path_effects": [withStroke(linewidth=2.4, foreground="black")]}
    with drawing.figure("parameters", 4.2, small, rows=2) as (figure, (top, bottom)):
        for ax, values, other in ((top, heavy, momentum), (bottom, decayed, decay)):
            drawn = ax.pcolormesh(eps, other, values, vmin=-12, vmax=0, cmap="viridis", rasterized=True)
            ax.set(xscale="log", xlabel=r"learning rate $\varepsilon$")
        for end in (window.lower, window.upper):
            top.plot((1 - momentum) * end, momentum, ls="--", **lines)
        bottom.plot(eps, 2 / eps, **lines)
        for where, distance in ((eps < law.eps_1, law.eps_1 / eps), (eps > law.eps_2, eps / law.eps_2)):
            bottom.plot(eps[where], np.log(distance[where]) / (2 * eps[where] * steps), ls="--", **lines)
        top.set(xlim=(eps[0], eps[-1]), ylim=(0, momentum[-1]), ylabel="momentum m")
        bottom.set(yscale="log", xlim=(eps[0], eps[-1]), ylim=(decay[0], decay[-1]), ylabel=r"weight decay $\lambda$")
        figure.colorbar(drawn, ax=[top, bottom], label=r"$\log_{10}$ excess")
        figure.data = {
            "momentum": {"eps": eps, "momentum": momentum[:, None], "log10_excess": heavy},
            "decay": {"eps": eps, "weight_decay": decay[:, None], "log10_excess": decayed},
        }
        found = asymptotes()
        figure.caption = f"""Excess of BNGD after {steps} steps over momentum and over weight decay, against the
        learning rate; d = 30, condition number 100. Above, dashed: 1 − m times the window of theory for 1e-6. Far
        below and above the plateau the effective rate at m = 0.5 and 0.9 is {found} times what theory says of
        momentum, 1 and (1 − m)². Below, solid: ελ = 2, beyond which w grows (exact); dashed: from where on decay
        brings the run to the edge within the steps, so that it does not converge."""


if __name__ == "__main__":
    main()
