"""Measured contraction ratios against theory's on clustered spectra: every method, every parameter that has a rate.

    python tests/stress/rates.py [--rates 17000] [--seed 0]

Prints for each group how many ratios were measured and how many of them are off by more than 1e-10; exit code 1 if any.
"""

import argparse
import sys

import numpy as np

import olsbn
from olsbn import OLSProblem

OFF = 1e-10

# group -> method, parameters besides the learning rates
GROUPS = {
    "plain": ("bngd", {}),
    "momentum": ("bngd", {"momentum": [0.02, 0.3]}),
    "nesterov": ("bngd", {"momentum": [0.02, 0.3], "nesterov": 1}),
    "smoothing": ("bngd", {"smoothing": [0.03, 3.0]}),
    "smoothing-momentum": ("bngd", {"smoothing": 0.3, "momentum": 0.1}),
    "smoothing-nesterov": ("bngd", {"smoothing": 0.3, "momentum": 0.1, "nesterov": 1}),
    "wngd": ("wngd", {}),
    "gdnp": ("gdnp", {}),
    "sphere": ("sphere", {}),
    "wngrad": ("wngrad", {}),
    "gd": ("gd", {}),
    "gd-momentum": ("gd", {"momentum": [0.02, 0.3]}),
    "gd-nesterov": ("gd", {"momentum": [0.02, 0.3], "nesterov": 1}),
}


def problem_of(rng):
    """Draw a problem: clusters of eigenvalues, some equal, some modes that u does not reach, a null space."""
    centres = 10 ** rng.uniform(0, rng.uniform(0.2, 1.5), rng.integers(2, 5))
    width = 10 ** rng.uniform(-13, -1)
    eigvals = np.concatenate([c * (1 + width * rng.random(rng.integers(1, 5))) for c in centres])
    d = eigvals.size
    if rng.random() < 0.3:
        eigvals[rng.integers(d)] = eigvals[rng.integers(d)]
    u, w = rng.standard_normal((2, d))
    if rng.random() < 0.3:
        u[rng.permutation(d)[: rng.integers(1, d)]] *= rng.choice([0.0, 1e-9])
    null = 0.7 if rng.random() < 0.3 else 0.0
    return OLSProblem(eigvals, u, w, w0_null_norm=null)


def rates(group, seed, n_eps=8):
    """Return the dataset of a sweep of a group over a random problem."""
    method, params = GROUPS[group]
    rng = np.random.default_rng([seed, sorted(GROUPS).index(group)])
    problem = problem_of(rng)
    given, top, u2 = dict(params), float(problem.eigvals[-1]), float(problem.u @ problem.u)
    if method != "gdnp":
        given["eps"] = 10 ** rng.uniform(-1.3, 0.25, n_eps) / top
    if method == "sphere":
        given["eps"] /= u2
    if method in ("bngd", "wngd", "wngrad"):
        given["eps"] *= float(problem.w0 @ problem.w0 + problem.w0_null_norm**2) / u2
    if method not in ("gd", "gdnp"):
        given["eps_a"] = np.array([1.0, 0.3, 1.7]) * (u2 / problem.explained_var if method == "wngd" else 1)
    if "smoothing" in given:
        given["smoothing"] = np.multiply(given["smoothing"], float(np.mean(problem.eigvals)))
    return olsbn.sweep(problem, method=method, n_steps=int(10 ** rng.uniform(2.5, 4.5)), progress=False, **given)


def off(ds):
    """Return the measured ratios' relative distances from theory's."""
    there = np.isfinite(ds.rate_sim.values)
    found, theory = ds.rate_sim.values[there], ds.rate_theory.values[there]
    return np.abs(found - theory) / theory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=int, default=17_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = {group: [] for group in GROUPS}
    seed = args.seed * 10**6
    while sum(map(len, found.values())) < args.rates:
        for group, distances in found.items():
            more = off(rates(group, seed))
            distances += more.tolist()
            if not (more <= OFF).all():
                print(f"{group} {seed}: off by {np.max(more):.2e}", flush=True)
        seed += 1
    print(f"{'group':20s} {'rates':>8s} {'off':>6s} {'worst':>9s}")
    for group, distances in found.items():
        print(f"{group:20s} {len(distances):8d} {sum(not x <= OFF for x in distances):6d} {max(distances):9.1e}")
    total = sum(map(len, found.values()))
    wrong = sum(not x <= OFF for distances in found.values() for x in distances)
    print(f"{total} rates, {wrong} off by more than {OFF:g}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
