"""Maps of BNGD over momentum and over weight decay, each beside the learning rate, with what theory says on them.

    python experiments/parameters.py [--out figures/parameters.png] [--smoke]

Lines. Momentum m: a slow mode contracts by eps_eff mu/(1 - m) a step, and after one long step w coasts on to 1/(1 - m)
times its length, so that eps_eff -> (1 - m)^2 ||u||^2/(eps C^2) for large eps: both ends of the window of learning
rates that reach the tolerance within K steps move by the factor 1 - m (to first order in eps_eff). Weight decay: w
shrinks by 1 - eps lambda_wd a step; above eps lambda_wd = 2 it grows instead and changes its sign (exact). Shrinking
takes eps_eff to the edge 2/lambda*_d within K steps where 2 eps lambda_wd K > ln(eps_1/eps), or ln(eps/eps_2) beyond
the plateau: from there on decay keeps the run at the edge, where it does not converge.
"""

import argparse

import numpy as np

import olsbn

STEPS = 2000
DASHED = {"color": "#c2185b", "linestyle": "--", "linewidth": 1.4}


def problem() -> olsbn.OLSProblem:
    """Return the problem of both maps."""
    return olsbn.OLSProblem.from_spectrum("logspace", 30, 100.0, seed=1)


def check_asymptotes() -> None:
    """Print what momentum does to eps_eff far outside the plateau, over what it is to do: 1, and (1 - m)^2."""
    law = olsbn.effective_rate_regimes(problem())
    eps = np.array([1e-7 * law.eps_1, 1e7 * law.eps_2])
    ds = olsbn.sweep(problem(), eps=eps, momentum=[0.0, 0.5, 0.9], n_steps=STEPS)
    for m in (0.5, 0.9):
        ratio = ds.eps_eff.sel(momentum=m).values / ds.eps_eff.sel(momentum=0.0).values
        print(f"m = {m}: {ratio / [1, (1 - m) ** 2]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="figures/parameters.png")
    parser.add_argument("--smoke", action="store_true", help="few cells")
    args = parser.parse_args()
    n, rows = (12, 6) if args.smoke else (120, 60)
    check_asymptotes()
    law = olsbn.effective_rate_regimes(problem())
    eps = np.geomspace(1e-3, 1e5, n)
    momentum, decay = np.linspace(0, 0.975, rows), np.geomspace(1e-6, 1, rows)
    heavy = olsbn.sweep(problem(), eps=eps, momentum=momentum, n_steps=STEPS, tol=1e-6)
    decayed = olsbn.sweep(problem(), eps=eps, weight_decay=decay, n_steps=STEPS, tol=1e-6)

    import matplotlib.pyplot as plt

    from olsbn.plotting import plot_map

    fig, axes = plt.subplots(1, 2, figsize=(13, 5.6), layout="constrained")
    for ax, ds in zip(axes, (heavy, decayed), strict=True):
        plot_map(ds, "excess", ax=ax, theory=False)
        low, high = ax.get_xlim(), ax.get_ylim()
        if ds is heavy:
            window = olsbn.eps_window(problem(), 1e-6, STEPS, "bngd")
            ax.plot((1 - momentum) * window.lower, momentum, **DASHED)
            ax.plot((1 - momentum) * window.upper, momentum, **DASHED)
            ax.set_title("BNGD with momentum\ndashed: 1 − m times the window of theory", fontsize=11)
        else:
            ax.plot(eps, 2 / eps, color=DASHED["color"], linewidth=1.4)
            for where, distance in ((eps < law.eps_1, law.eps_1 / eps), (eps > law.eps_2, eps / law.eps_2)):
                ax.plot(eps[where], np.log(distance[where]) / (2 * eps[where] * STEPS), **DASHED)
            ax.set_title("BNGD with weight decay λ\nsolid: ελ = 2; dashed: ε̂ reaches the edge at step K", fontsize=11)
        ax.set_xlim(low)
        ax.set_ylim(high)
    fig.savefig(args.out, dpi=110)
    print(args.out)


if __name__ == "__main__":
    main()
