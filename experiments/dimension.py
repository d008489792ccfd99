"""What the dimension does to robustness: where 'the higher the better' holds, where it fails, and the holes.

    python experiments/dimension.py [--smoke]

Above: decades of learning rates that reach the tolerance, BNGD's less GD's, for four kinds of spectra. Middle: the
width of the plateau of the effective learning rate. Below: at a fixed budget of steps a hole opens in the plateau,
for in its middle the first steps overshoot so far that the effective rate ends below what the budget needs.
"""

import drawing
import numpy as np

import olsbn
from olsbn import ProblemFamily

TOL, STEPS, MANY = 1e-2, 1000, 30_000  # many where the condition number grows with d
HOLE_TOL = 1e-3
KINDS = {
    "linear, cond 100": lambda d: ProblemFamily("linspace", 100.0, seed=1),
    "log, cond 100": lambda d: ProblemFamily("logspace", 100.0, seed=1),
    "power law, cond 100": lambda d: ProblemFamily("powerlaw", 100.0, seed=1),
    r"$\lambda_i = i^{-1.5}$": lambda d: ProblemFamily("powerlaw", d**1.5, seed=1),
}
# The hole ends this many times G below the upper end of the plateau: fitted, the rest of the law is derived.
OVERSHOOT = 45.0


def gains(made, d: int, trials: int, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each trial the width gained over GD, measured and by theory, and the decades of the plateau."""
    problems = [made(d)(d, t) for t in range(trials)]
    windows = [olsbn.eps_window(p, TOL, n_steps) for p in problems]
    low, high = min(w.lower for w in windows) / 30, max(w.upper for w in windows) * 30
    eps = np.geomspace(low, high, int(10 * np.log10(high / low)))
    ds = olsbn.sweep(
        made(d), dim=[d], trial=range(trials), eps=eps, n_steps=n_steps, tol=TOL, stop="tol", check_rounding=False,
        progress=False,
    )  # fmt: skip
    found = olsbn.robustness(ds, made(d))
    plateau = np.array([olsbn.effective_rate_regimes(p).decades for p in problems])
    gain = found.width_gain_decades.values.ravel()
    return gain, (found.width_theory - found.gd_width_decades).values.ravel(), plateau


def hole(d: float, n_steps: int) -> tuple[float, float, float]:
    """Return the decades of the plateau, of the hole in it, and of the hole by its law, for the typical overlap."""
    problem = ProblemFamily("linspace", 100.0, density=True, overlap=d**-0.5)(int(d))
    laws, window = olsbn.effective_rate_regimes(problem), olsbn.eps_window(problem, HOLE_TOL, n_steps)
    eps = np.geomspace(window.lower / 2, window.upper * 2, 301)
    ds = olsbn.sweep(problem, eps=eps, n_steps=n_steps, tol=HOLE_TOL, stop="tol", check_rounding=False, progress=False)
    good = np.flatnonzero(ds.steps_to_tol.values >= 0)
    missing = good[-1] - good[0] + 1 - good.size
    needed = np.log10(OVERSHOOT * laws.eps_1 / window.lower)
    return laws.decades, missing * np.log10(eps[1] / eps[0]), max(0.0, laws.decades - 2 * needed)


def main() -> None:
    small = drawing.smoke(__doc__)
    dims = np.array([10, 30, 100] if small else [10, 30, 100, 300, 1000])
    trials = 3 if small else 5
    budgets = (100,) if small else (100, 300, 1000)
    vast = 10.0 ** np.arange(3, 6 if small else 13)
    parts, gain_texts, exponents = {}, [], []
    with drawing.figure("dimension", 5.8, small, rows=3) as (figure, (top, middle, bottom)):
        for j, (kind, made) in enumerate(KINDS.items()):
            found = [gains(made, int(d), trials, MANY if j == 3 and not small else STEPS) for d in dims]
            gain, theory, plateau = (np.array([row[k] for row in found]) for k in range(3))
            look = {"color": drawing.COLOURS[j], "marker": "osD^"[j], "ms": 3}
            top.plot(dims, np.median(gain, 1), **look, ls="", label=kind)
            top.plot(dims, np.median(theory, 1), color=drawing.COLOURS[j], lw=0.8)
            middle.plot(dims, np.median(plateau, 1), **look, lw=0.8)
            low, half, high = drawing.between(gain, 1)
            parts[kind] = {
                "d": dims, "gain_10": low, "gain": half, "gain_90": high, "gain_theory": np.median(theory, 1),
                "plateau": np.median(plateau, 1),
            }  # fmt: skip
            late = dims >= 30
            exponents.append(np.polyfit(np.log10(dims[late]), np.median(plateau, 1)[late], 1)[0])
            gain_texts.append(f"{half[0]:.1f} to {half[-1]:.1f}")
        for j, budget in enumerate(budgets):
            plateau, holes, law = np.array([hole(float(d), budget) for d in vast]).T
            bottom.plot(vast, holes, "osD"[j], color=drawing.COLOURS[j], ms=3, label=f"{budget} steps")
            bottom.plot(vast, law, color=drawing.COLOURS[j], lw=0.8)
            parts[f"hole, {budget} steps"] = {"d": vast, "plateau": plateau, "hole": holes, "hole_law": law}
        for ax in (top, middle, bottom):
            ax.set(xscale="log", xlabel="dimension d")
        top.set_ylabel("decades more than GD")
        middle.set_ylabel("plateau, decades")
        bottom.set_ylabel("hole, decades")
        figure.legend(*top.get_legend_handles_labels(), ncols=2, frameon=False, loc="outside upper center")
        bottom.legend(frameon=False, loc="upper left")
        figure.data = parts
        names = ("linear", "logarithmic", "power law of cond 100", "λ_i = i^-1.5")
        gained = "; ".join(f"{a} {b}" for a, b in zip(names, gain_texts, strict=True))
        grown = ", ".join(f"{a:.2f}" for a in exponents)
        figure.caption = f"""Above: decades of learning rates that reach {TOL:g}, BNGD's less GD's, against the
        dimension; medians of {trials} trials, lines: theory; {STEPS} steps, {MANY} for λ_i = i^-1.5. From d =
        {dims[0]} to {dims[-1]}: {gained}. With a fixed exponent, where the condition number grows with d, the gain
        hardly grows. Middle: decades of the plateau; it grows like d to the power {grown} (from d = 30 on). Below:
        decades within BNGD's range that do not reach {HOLE_TOL:g} within few steps (limit of high dimension, linear
        spectrum, overlap d^-1/2); lines: log10(ε_2/ε_1) − 2 log10({OVERSHOOT:.0f} ε_1/ε_lower), which says where the
        hole opens, at a dimension that grows like the square of the steps, and is too wide far beyond."""


if __name__ == "__main__":
    main()
