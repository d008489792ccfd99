"""The two kernels of BNGD on random problems of any kind (claims olsbn.two-kernels), by numbers.

    python tests/stress/witness.py [--problems 1000] [--seed 0]

Prints how far they are apart, as a part of what is allowed and as relative differences of the excess.
"""

import argparse
import contextlib

import numpy as np

from olsbn.ledger.base import Cube, Skip
from olsbn.ledger.olsbn.witness import two_kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found, drawn = [], 0
    while len(found) < args.problems:
        with contextlib.suppress(Skip):
            found.append(two_kernels(Cube(np.random.default_rng([args.seed, drawn]).random(24))))
        drawn += 1
    worst = np.array([np.max(i.error / i.allowed) for i in found])
    excess = np.concatenate([i.error[0] for i in found])
    print(f"{len(found)} problems ({drawn} drawn), {excess.size} excesses compared")
    print(f"worst part of what is allowed: {worst.max():.3g}; problems above it: {np.sum(worst > 1)}")
    shares = ", ".join(f"{q:g} %: {np.percentile(excess, q):.2g}" for q in (50, 99, 99.9, 100))
    print(f"relative difference of the excess: {shares}")
    print(f"cells with different status: {sum(i.different for i in found)}; marked: {sum(i.marked for i in found)}")
    raise SystemExit(int(worst.max() > 1 or any(i.different for i in found)))


if __name__ == "__main__":
    main()
