"""Reduced problems beside full ones: 1e5 modes, 60 learning rates, 1000 steps; and a sweep of 1e6 modes, timed.

    python tests/stress/dimension.py [--dim 100000] [--vast 1000000]

For each spectrum: the difference of log excess between the full run and that of `reduced(1000)`, beside what a start
moved by 1e-15 makes of the full run (the largest of four trials). Cells that the reduced run marks `by_rounding` are
left out; above the dimensions of the eigenbasis of H* full runs carry no mark.
"""

import argparse
import time

import numpy as np

import olsbn
from olsbn import OLSProblem

STEPS = 1000


def log_excess(problem, eps):
    ds = olsbn.sweep(problem, eps=eps, n_steps=STEPS, progress=False)
    return np.log(ds.excess.values), ds.by_rounding.values


def beside(kind, cond, dim):
    problem = OLSProblem.from_spectrum(kind, dim, cond)
    law = olsbn.effective_rate_regimes(problem)
    eps = np.geomspace(law.eps_1 / 1e3, law.eps_2 * 1e3, 60)
    began = time.perf_counter()
    small = problem.reduced(STEPS)
    made = time.perf_counter() - began
    few, marked = log_excess(small, eps)
    ran = time.perf_counter() - began
    began = time.perf_counter()
    full, _ = log_excess(problem, eps)
    took = time.perf_counter() - began
    rng = np.random.default_rng(0)
    moved = [
        OLSProblem(problem.eigvals, problem.u, problem.w0 * (1 + 1e-15 * rng.standard_normal(dim)), problem.a0)
        for _ in range(4)
    ]
    amplified = np.max([np.abs(log_excess(p, eps)[0] - full) for p in moved], 0)[~marked]
    off = np.abs(few - full)[~marked]
    above = np.sum(off > 100 * np.maximum(amplified, 1e-13))
    print(
        f"{kind:16s} cond {cond:g}, {dim} modes: {small.dim} modes, estimate {small.reduction_error:.1g}; off by "
        f"{np.median(off):.1g} (median), {off.max():.1g} (largest); a moved start {np.median(amplified):.1g}, "
        f"{amplified.max():.1g}; above 100 times that: {above} of {off.size}; reduced {made:.1f} s, with its run "
        f"{ran:.1f} s, full run {took:.1f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=10**5)
    parser.add_argument("--vast", type=int, default=10**6)
    args = parser.parse_args()
    for kind, cond in (("linspace", 100.0), ("logspace", 1e4), ("marchenko-pastur", 30.0), ("powerlaw", 1e3)):
        beside(kind, cond, args.dim)
    began = time.perf_counter()
    problem = OLSProblem.from_spectrum("logspace", args.vast, 100.0)
    eps, eps_a = np.geomspace(1e-3, 1e8, 20), np.linspace(0.2, 2, 10)
    ds = olsbn.sweep(problem, eps=eps, eps_a=eps_a, n_steps=1000, reduce="auto", progress=False)
    print(f"{args.vast} modes, {ds.status.size} cells, {STEPS} steps in {time.perf_counter() - began:.1f} s in all")


if __name__ == "__main__":
    main()
