"""Long runs of plain BNGD on the plateau against `olsbn.certify`, and every measured rate against theory.

    python tests/stress/exact.py                     # 1000 cells of 10 problems, some minutes
    python tests/stress/exact.py --rates 400000      # that many finite rates against theory, a minute or two

Short runs of every method, from hard starts and on random problems, are those of `audit.py`, whose balls iterate the
printed update; runs of 2000 to 5000 steps are only in reach of `certify`, whose balls lose far fewer bits.

A cell passes if status, steps_to_tol and all numbers agree to 1e-9 with ball arithmetic, or if it carries the mark
`by_rounding`. Of the cells that do neither, the change of the exact excess is told when the start moves by 1e-15: where
that is above 1e-9, no engine in float64 can know the digits from the inputs' own rounding on.
"""

import argparse
import json
import sys
import time
from collections import Counter

import numpy as np

import olsbn
from olsbn.balls import Undecided, precision, star
from olsbn.certification import exact_cell
from olsbn.problems import OLSProblem
from olsbn.results.proof import certify

# -------------------------------------------------------------------- problems


def plateau_problems():
    """Ten problems with the learning rates between eps_1 and eps_2, where eps_eff tunes itself to the edge."""
    for name in ("diabetes", "wine", "breast_cancer"):
        yield name, OLSProblem.from_dataset(name, standardize="inputs"), 5000 if name == "diabetes" else 2000
    for kind, dim, cond in [
        ("logspace", 6, 50.0),
        ("logspace", 10, 1000.0),
        ("linspace", 10, 100.0),
        ("powerlaw", 12, 200.0),
        ("two-cluster", 8, 30.0),
        ("marchenko-pastur", 16, 20.0),
        ("logspace", 3, 14.0),
    ]:
        yield f"{kind} {dim}", OLSProblem.from_spectrum(kind, dim, cond, seed=dim), 2000


def grid(problem):
    """Return 20 learning rates across the plateau and 5 of the scale."""
    regimes = olsbn.effective_rate_regimes(problem)
    low, high = regimes.eps_1, regimes.eps_2
    if np.isfinite([low, high]).all() and low < high:
        return np.geomspace(low * 1.01, high / 1.01, 20), [0.3, 0.7, 1.0, 1.3, 1.8]
    scale = np.linalg.norm(problem.w0) ** 2 / np.linalg.norm(problem.u) ** 2 / problem.eigvals[-1]
    return np.geomspace(1e-2 * scale, 1e4 * scale, 20), [0.3, 0.7, 1.0, 1.3, 1.8]


# -------------------------------------------------------------------- cells


def sensitivity(problem, eps, eps_a, n_steps, tol):
    """Return the relative change of the exact excess when the start moves by 1e-15."""
    moved = problem.w0 * (1 + 1e-15 * np.random.default_rng(0).standard_normal(problem.dim))
    other = OLSProblem(problem.eigvals, problem.u, moved, a0=problem.a0)
    try:
        here, there = (exact_cell(p, "bngd", {"eps": eps, "eps_a": eps_a}, n_steps, tol) for p in (problem, other))
        return abs(float((there.excess - here.excess) / here.excess)) if here.excess > 0 else 0.0
    except Undecided:
        return np.inf


def audit_cells(n_cells):
    """Print a line for each problem and return the rows."""
    rows = []
    print(
        f"{'problem':28s} {'cells':>5s} {'agree':>5s} {'marked':>6s} {'m.agree':>7s} {'refuted':>7s}  worst digits, why"
    )
    for name, problem, n_steps in plateau_problems():
        began = time.perf_counter()
        eps, eps_a = grid(problem)
        ds = olsbn.sweep(problem, eps=eps, eps_a=eps_a, n_steps=n_steps, progress=False)
        proof = certify(ds, n_cells, problem=problem)
        wrong = (proof.proved & ~proof.agrees & ~proof.by_rounding).values
        why = Counter()
        for i in np.flatnonzero(wrong):
            cell = proof.isel(cell=i)
            found = ds.sel(eps=cell.eps, eps_a=cell.eps_a)
            reasons = [
                name
                for name, bad in (
                    ("status", found.status != cell.status_exact),
                    ("steps_to_tol", found.steps_to_tol != cell.steps_to_tol_exact),
                    ("excess", cell.digits < 9),
                    ("eps_eff", cell.digits_eps_eff < 9),
                    ("a", cell.digits_a < 9),
                    ("w_norm", cell.digits_w_norm < 9),
                )
                if bad
            ]
            change = sensitivity(problem, float(cell.eps), float(cell.eps_a), n_steps, ds.attrs["tol"])
            why[("condition" if change > 1e-9 else "float64") + ": " + "+".join(reasons)] += 1
        marked = proof.by_rounding.values
        row = {
            "problem": name,
            "cells": proof.sizes["cell"],
            "agree": int(proof.agrees.sum()),
            "marked": int(marked.sum()),
            "marked_agree": int((proof.agrees.values & marked).sum()),
            "refuted": int(wrong.sum()),
            "undecided": proof.attrs["undecided"],
            "status_wrong": int((proof.status_exact.values != ds_values(ds, proof, "status")).sum()),
            "worst_digits": float(np.nanmin(np.where(marked, np.nan, proof.digits))) if not marked.all() else None,
            "bits_max": int(proof.bits.max()),
            "bits_per_step": float(np.median(proof.bits_lost)) / n_steps,
            "seconds": time.perf_counter() - began,
            "why": dict(why),
        }
        rows.append(row)
        print(
            f"{name:28s} {row['cells']:5d} {row['agree']:5d} {row['marked']:6d} "
            f"{row['marked_agree']:7d} {row['refuted']:7d}  {row['worst_digits']}, {row['why']}, "
            f"{row['bits_max']} bits, {row['bits_per_step']:.3f} a step, {row['seconds']:.0f} s",
            flush=True,
        )
    total = {key: sum(row[key] for row in rows) for key in ("cells", "agree", "marked", "marked_agree", "refuted")}
    total["undecided"] = sum(row["undecided"] for row in rows)
    print(total)
    return rows


def ds_values(ds, proof, name):
    """Return the values of the sweep at the proof's cells."""
    return np.array([ds[name].sel(eps=e, eps_a=a) for e, a in zip(proof.eps.values, proof.eps_a.values, strict=True)])


# -------------------------------------------------------------------- rates


def rate_problems():
    """Random problems without end, by turns plain and special."""
    seed = 0
    while True:
        rng = np.random.default_rng(seed)
        d = int(rng.integers(2, 13))
        eigvals = np.sort(10 ** rng.uniform(0, 10 ** rng.uniform(-0.5, 0.4), d))
        u, w = rng.standard_normal((2, d))
        kind = "plain"
        if seed % 3 == 2:
            kind = "special"
            features = rng.random(4) < 0.5
            if features[0]:  # tiny u
                some = rng.permutation(d)[: 1 + d // 3]
                u[some] *= 10 ** rng.uniform(-40, -3, some.size)
            if features[1] and d > 2:  # zero u
                u[rng.permutation(d)[: 1 + d // 4]] = 0
            if features[2]:  # gaps of 1e-12
                eigvals[1::2] = eigvals[0 : d - 1 : 2] * (1 + 1e-12)
            if features[3]:  # a sparse start
                w[rng.permutation(d)[: 1 + d // 2]] = 0
            if rng.random() < 0.3:  # numbers that meet
                u, w = np.round(u * 2) / 2 if not features[0] else u, np.round(w * 2) / 2
        if u.any() and w.any():
            yield seed, kind, OLSProblem(eigvals, u, w)
        seed += 1


def audit_rates(n_rates):
    """Compare `rate_sim` with `rate_theory`; tell of those that differ by more than 1e-10 which one is wrong."""
    n_steps, seen, cells, off, missing = 3000, Counter(), Counter(), [], Counter()
    for seed, kind, problem in rate_problems():
        if sum(seen.values()) >= n_rates:
            break
        eps = np.geomspace(1e-3, 1e4, 60) / problem.eigvals[-1] * (problem.w0 @ problem.w0) / (problem.u @ problem.u)
        ds = olsbn.sweep(problem, eps=eps, eps_a=[0.2, 0.6, 1.0, 1.4, 1.9], n_steps=n_steps, progress=False)
        sim, theory = ds.rate_sim.values, ds.rate_theory.values
        finite = np.isfinite(sim)
        seen[kind] += int(finite.sum())
        cells[kind] += sim.size
        missing[kind] += int(((ds.excess.values < 1e-24) & ~finite).sum())
        with np.errstate(all="ignore"):
            error = np.abs(sim / theory - 1)
        error = np.where(finite & np.isnan(theory), np.inf, error)
        off += [(float(error[i, j]), kind, seed, i, j, ds.isel(eps_a=i, eps=j), problem)
                for i, j in zip(*np.nonzero(finite & ~(error <= 1e-10)), strict=True)]  # fmt: skip
    print(f"{sum(seen.values())} finite rates in {sum(cells.values())} cells: {dict(seen)}")
    print(f"without a rate though the excess is below 1e-24: {dict(missing)}")
    print(f"off by more than 1e-10: {len(off)}, {dict(Counter(kind for _, kind, *_ in off))}")
    why = Counter()
    off.sort(key=lambda row: -row[0])
    for error, kind, seed, _, _, cell, problem in off[:: max(1, len(off) // 200)]:
        verdict = judge(problem, cell)
        why[verdict] += 1
        if why[verdict] <= 5:
            print(f"  {error:.1e} {kind}, seed {seed}, eps {float(cell.eps)!r}, eps_a {float(cell.eps_a)}, "
                  f"sim {float(cell.rate_sim):.12g}, theory {float(cell.rate_theory):.12g}, mark "
                  f"{bool(cell.by_rounding) if 'by_rounding' in cell else None}: {verdict}")  # fmt: skip
    print(f"why (of {min(len(off), 200)} judged or more): {dict(why)}")
    return {"finite": dict(seen), "cells": dict(cells), "off": len(off), "missing": dict(missing), "why": dict(why)}


def judge(problem, cell):
    """Return which of two rates is wrong: the exact one-step ratio, and the exact slowest mode, decide."""
    last = int(cell.n_steps_run)
    try:
        exact = exact_cell(
            problem, "bngd", {"eps": float(cell.eps), "eps_a": float(cell.eps_a)}, last, 1e-10, record=[last - 1, last]
        )
    except Undecided:
        return "undecided"
    if exact.n_steps_run != last:
        return "the exact run ends at another step"
    ratio = float((exact.trace[last][0] / exact.trace[last - 1][0]).sqrt())
    with precision(exact.bits):
        A = exact.eps_eff
        slowest = [abs(1 - A * mu) for modes in star(problem, exact.bits).start.numbers.values() for mu in modes["mu"]]
        slowest = max([float(x) for x in slowest] + [abs(1 - float(cell.eps_a))])
    sim, theory = float(cell.rate_sim), float(cell.rate_theory)
    parts = ["sim is the exact ratio" if abs(sim / ratio - 1) <= 1e-9 else "sim is not the exact ratio"]
    parts.append(
        "theory is the slowest mode" if abs(theory / slowest - 1) <= 1e-9 else "theory is not the slowest mode"
    )
    parts.append("the slowest leads" if abs(ratio / slowest - 1) <= 1e-9 else "the slowest does not lead")
    return ", ".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100, help="of each problem")
    parser.add_argument("--rates", type=int, help="compare that many finite rates with theory instead")
    parser.add_argument("--json", help="write the numbers to this file")
    args = parser.parse_args()
    began = time.perf_counter()
    found = audit_rates(args.rates) if args.rates else audit_cells(args.cells)
    print(f"{time.perf_counter() - began:.0f} s")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)
    bad = found["off"] if args.rates else sum(row["refuted"] for row in found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
