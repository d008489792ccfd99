"""Predicted windows of learning rates that are called reliable, against measured ones.

    python tests/stress/windows.py [--windows N] [--seed S] [--outside F] [--far E] [--steps K]

Problems of all kinds: d in 2..200, cond in 1..1e14, tolerances from 1e-12 to 0.5, 10 to 1e5 steps; starts of other
lengths, near the solution, with other scales a0; uneven solutions. Counted are windows with an end off by more than
0.06 decades, with holes of more than a tenth of their width, and empty ones. Exit code 1 if they are more than 0.5 %.
`--outside`, `--far` and `--steps` try other conditions than those of `olsbn.theory.windows`.
"""

import argparse
import math
import sys

import numpy as np

from olsbn import OLSProblem, eps_window, measured_window
from olsbn.theory import windows

KINDS = ("logspace", "linspace", "powerlaw", "marchenko-pastur", "two-cluster", "identity", "random")


def draw(rng):
    """Draw a problem, a tolerance and a number of steps."""
    d, cond, kind = round(2 * 100 ** rng.uniform()), 10 ** rng.uniform(0, 14), KINDS[rng.integers(len(KINDS))]
    if kind == "random":
        eigvals = 10 ** rng.uniform(0, math.log10(cond), d)
        p = OLSProblem(eigvals, rng.normal(size=d), rng.normal(size=d))
    else:
        u = ("sphere", "sphere", "sphere", "ones")[rng.integers(4)]
        p = OLSProblem.from_spectrum(kind, d, 1.0 if kind == "identity" else cond, int(rng.integers(2**31)), u)
    change = rng.integers(8)
    u, w0, a0 = p.u, p.w0, None
    if change == 0:
        w0 = w0 * 10 ** rng.uniform(-3, 3)
    elif change == 1:
        w0 = u + 10 ** rng.uniform(-3, 1) * w0 * np.linalg.norm(u)
    elif change == 2:
        u = u * 10 ** (2 * rng.normal(size=d))
    elif change == 3:
        a0 = p.a0 * 10 ** rng.uniform(-2, 2)
    return OLSProblem(p.eigvals, u, w0, a0), 10 ** rng.uniform(-12, math.log10(0.5)), round(10 ** rng.uniform(1, 5))


def off(predicted, problem):
    """Return by how many decades either end is off, and which part of the window is holes."""
    span = predicted.lower / 10, min(predicted.upper, predicted.lower * 1e12) * 10
    found = measured_window(problem, predicted.tol, predicted.n_steps, span=span, workers=1)
    if not found.decades:
        return math.inf, math.inf, 1.0
    lower, holes = abs(math.log10(found.lower / predicted.lower)), found.holes / found.decades
    if predicted.upper == math.inf:  # one step gets there, however long: as far as float64 goes
        return lower, 0.0 if found.upper > 1e200 else math.inf, holes
    return lower, abs(math.log10(found.upper / predicted.upper)), holes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outside", type=float, default=windows._OUTSIDE)
    parser.add_argument("--far", type=float, default=windows._FAR)
    parser.add_argument("--steps", type=int, default=windows._STEPS)
    options = parser.parse_args()
    windows._OUTSIDE, windows._FAR, windows._STEPS = options.outside, options.far, options.steps
    rng, rows, drawn, some = np.random.default_rng(options.seed), [], 0, 0
    while len(rows) < options.windows:
        problem, tol, n_steps = draw(rng)
        predicted = eps_window(problem, tol, n_steps)
        drawn, some = drawn + 1, some + (predicted.decades > 0)
        if predicted.reliable:
            rows.append(off(predicted, problem))
            if max(rows[-1][:2]) > 0.06 or rows[-1][2] > 0.1:
                print(f"{problem!r} {problem.dim} tol {tol:.3g}, {n_steps} steps: {rows[-1]}", flush=True)
    lower, upper, holes = np.array(rows).T
    ends = (lower > 0.06) | (upper > 0.06)
    bad = ends | (holes > 0.1)
    print(f"{drawn} drawn, {some} with a window, {len(rows)} called reliable")
    print(f"an end off by more than 0.06 decades: {ends.sum()}, {np.isinf(lower).sum()} of them empty")
    print(f"holes of more than a tenth: {(holes > 0.1).sum()}; either: {bad.sum()}")
    print(f"quantiles 0.5, 0.99 of what an end is off: {np.quantile(np.maximum(lower, upper), [0.5, 0.99]).round(4)}")
    sys.exit(int(bad.mean() > 0.005))


if __name__ == "__main__":
    main()
