"""Three regimes of the effective learning rate: on the sphere, free, and with weight decay.

    python experiments/regimes.py [--smoke]

The excess after many steps against the learning rate. On the sphere the effective rate is fixed, eps ||u||^2, so that
there is an edge and beyond it no convergence. Free weights grow until they are below the edge, at every eps. Decay
shrinks them again: at every eps the run ends at the edge, on a cycle whose excess is in closed form.
"""

import drawing
import numpy as np

import olsbn


def main() -> None:
    small = drawing.smoke(__doc__)
    n_steps = 2000 if small else 20_000
    problem = olsbn.OLSProblem.from_spectrum("logspace", 10, 20.0, seed=3)
    problem = olsbn.OLSProblem(problem.eigvals, problem.u / np.linalg.norm(problem.u), problem.w0)
    top = olsbn.spectral_report(problem).eig_star_max
    edge = 2 / top
    eps = edge * np.geomspace(1e-2, 1e3, 21 if small else 121)
    record = list(range(n_steps - 200, n_steps + 1, 5))
    decay = 1e-3  # eps times the weight decay
    runs = {
        "free": {"method": "bngd"},
        "on the sphere": {"method": "sphere"},
    }
    found = {}
    for name, how in runs.items():
        ds = olsbn.sweep(problem, eps=eps, n_steps=n_steps, record=record, progress=False, **how)
        found[name] = ds.excess.transpose("step", "eps").values
    rows = [
        olsbn.run(problem, eps=float(e), weight_decay=decay / float(e), n_steps=n_steps, record=record) for e in eps
    ]
    found["weight decay"] = np.array([row.excess.values[-len(record) :] for row in rows]).T
    law = decay * top / (2 * problem.explained_var)  # ||u|| = 1
    with drawing.figure("regimes", 2.9, small) as (figure, ax):
        parts = {}
        for j, (name, values) in enumerate(found.items()):
            low, middle, high = (np.maximum(x, 1e-20) for x in drawing.between(values))
            colour = (drawing.BNGD, drawing.COLOURS[1], drawing.COLOURS[2])[j]
            ax.fill_between(eps / edge, low, high, color=colour, alpha=0.25, lw=0)
            ax.plot(eps / edge, middle, color=colour, marker="osD"[j], ms=2, lw=0.8, label=name)
            parts[name] = {"eps": eps, "edge": edge, "excess_10": low, "excess_median": middle, "excess_90": high}
        ax.axvline(1, **drawing.THEORY, label="edge on the sphere")
        ax.axhline(law, **drawing.LAW, label="cycle under decay")
        ax.set(xscale="log", yscale="log", ylim=(5e-21, 20), xlabel=r"$\varepsilon\|u\|^2\lambda^*_d/2$")
        ax.set_ylabel(f"excess after {n_steps} steps")
        figure.legend(*ax.get_legend_handles_labels(), ncols=2, frameon=False, loc="outside upper center")
        figure.data = parts
        sphere = np.median(found["on the sphere"], 0)
        beyond = sphere[eps > 1.01 * edge]
        at = np.median(found["weight decay"], 0)
        at = at[(eps > edge / 2) & (eps < 30 * edge)]
        figure.caption = f"""Excess after {n_steps} steps against the learning rate, d = {problem.dim}, κ =
        {problem.cond:.0f}, ‖w_0‖ = ‖u‖ = 1: medians over the last 200 steps, bands from 10 % to 90 %, cut at 1e-20.
        On the sphere the effective rate is fixed: below the edge ε‖u‖²λ*_d = 2 the run converges, beyond it the least
        excess is {beyond.min():.1e}. Free, BNGD has no edge. With decay (ελ = {decay:g}) it does not converge: dashed
        is the excess of the cycle, ελ‖u‖²λ*_d/(2E) = {law:.2e}; the median of the runs around the edge is
        {np.median(at):.2e}."""


if __name__ == "__main__":
    main()
