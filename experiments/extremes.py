"""Run cells whose rates, eigenvalues and starts are drawn from the ends of float64; each must get a true status.

No exception but the boundary's, no warning; a cell that ended well has a finite excess, one that converged has the step
at which it did. Prints how often each status came out.
"""

import argparse
import collections
import warnings

import numpy as np

import olsbn
from olsbn.schema import Status

SMALL = [0.0, -0.0, 5e-324, 1e-308, 1e-300, 1e-200, 1e-155, 1e-100, 1e-50, 1e-16, 1e-8, 1e-3]
LARGE = [1.0, 2.0, 3.0, 1e3, 1e8, 1e16, 1e50, 1e100, 1e155, 1e200, 1e300, 1e308, np.inf, np.nan]
VALUES = np.array([*SMALL, *LARGE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="2000 cells")
    args = parser.parse_args()
    warnings.simplefilter("error")
    rng = np.random.default_rng(args.seed)
    counts = {method: collections.Counter() for method in ("bngd", "gd")}
    refused = 0

    def draw(size: int) -> np.ndarray:
        # mostly what the boundary lets in, else nearly every problem would be refused
        values = VALUES if rng.random() < 0.2 else VALUES[np.isfinite(VALUES)]
        return rng.choice(values, size)

    while sum(counts["bngd"].values()) < (2000 if args.smoke else args.cells):
        d = int(rng.integers(1, 6))
        eigvals, u, w0 = (draw(d) * rng.choice([1.0, 1.0, -1.0], d) for _ in range(3))
        a0 = None if rng.random() < 0.5 else float(draw(1)[0])
        try:
            problem = olsbn.OLSProblem(np.abs(eigvals) if rng.random() < 0.8 else eigvals, u, w0, a0)
        except ValueError:
            refused += 1
            continue
        for method, eps_a in (("bngd", draw(4)), ("gd", 1.0)):
            try:
                ds = olsbn.sweep(problem, method=method, eps=draw(16), eps_a=eps_a, n_steps=60)
            except ValueError:
                refused += 1
                continue
            status, excess, hit = ds.status.values, ds.excess.values, ds.steps_to_tol.values
            ended_well = np.isin(status, [Status.CONVERGED, Status.MAX_STEPS])
            assert (status >= 0).all(), (problem, ds)
            assert np.isfinite(excess[ended_well]).all(), (problem, ds)
            assert ((hit >= 0) == (status == Status.CONVERGED))[ended_well].all(), (problem, ds)
            counts[method].update(status.ravel().tolist())
    print(f"refused at the boundary: {refused} problems and grids")
    for method, count in counts.items():
        print(f"{method:5}", ", ".join(f"{Status(code).label} {n}" for code, n in sorted(count.items())))


if __name__ == "__main__":
    main()
