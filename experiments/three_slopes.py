"""The effective learning rate that BNGD settles at, against the learning rate: slopes +1, 0 and -1 [Cai].

python experiments/three_slopes.py [--smoke]
"""

import drawing
import numpy as np

from olsbn import ProblemFamily, effective_rate_regimes, sweep


def slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def main() -> None:
    small = drawing.smoke(__doc__)
    dims = (100, 1000) if small else (30, 100, 1000)
    parts, texts = {}, []
    with drawing.figure("three-slopes", 2.6, small) as (figure, ax):
        for j, d in enumerate(dims):
            problem = ProblemFamily("logspace", 1000.0, seed=1)(d)
            laws = effective_rate_regimes(problem)
            eps = np.geomspace(laws.eps_1 / 1e3, laws.eps_2 * 1e3, 31 if small else 81)
            ds = sweep(problem, eps=eps, n_steps=20_000 if small else 2_000_000, tol=1e-8, stop="tol", progress=False)
            measured, edge = ds.eps_eff.values, laws.plateau
            ax.plot(eps / laws.eps_1, measured / edge, "osD"[j], color=drawing.COLOURS[j], ms=2.5, label=f"d = {d}")
            ax.plot(eps / laws.eps_1, laws.eps_eff(eps) / edge, **drawing.LAW, label="laws" if not j else None)
            parts[f"d = {d}"] = {"eps": eps, "eps_eff": measured, "law": laws.eps_eff(eps), "edge": edge}
            ends = (eps < laws.eps_1 / 30, (eps > 3 * laws.eps_1) & (eps < laws.eps_2 / 3), eps > 30 * laws.eps_2)
            fitted = ", ".join(f"{slope(eps[part], measured[part]):+.3f}" for part in ends)
            texts.append(f"{fitted} at d = {d} (plateau of {laws.decades:.1f} decades)")
        ax.set(xscale="log", yscale="log", xlabel=r"learning rate $\varepsilon/\varepsilon_1$")
        ax.set_ylabel(r"$\hat\varepsilon_\infty$ / edge of stability")
        ax.legend(frameon=False, loc="lower center")
        figure.data = parts
        figure.caption = f"""Settled effective learning rate over the edge of stability 2/λ*_d against the learning
        rate, in units of the plateau's lower end; logarithmic eigenvalues, condition number 1000. Dashed: the laws
        ε‖u‖²/‖w_0‖², 2/λ*_d and ‖u‖²/(εC²). Fitted slopes below, on and above the plateau: {"; ".join(texts)}. Runs
        end at an excess of 1e-8 (steps: up to {int(ds.steps_to_tol.max())} at d = {dims[-1]})."""


if __name__ == "__main__":
    main()
