"""How a sweep into a store scales with threads and with Dask workers, and what a tile costs besides its arithmetic.

    python tests/stress/scaling.py [--smoke] [--rounds N] [--most N]

Rounds are interleaved, and the least disturbed one of each kind is shown: it is the one that tells of the program.
"""

import argparse
import collections
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dask_cluster import Cluster
from distributed import Client

from olsbn import ProblemFamily
from olsbn.sweeps.pool import processors
from olsbn.sweeps.running import fill
from olsbn.sweeps.spec import SweepSpec


def spec_of(dim, n_steps, shape):
    """40 trials of one dimension, cut into tiles of `shape`."""
    family, eps = ProblemFamily("logspace", 100.0), np.geomspace(1e-3, 1e5, 128)
    return SweepSpec.checked(family, "bngd", {"eps": eps}, dim=[dim], trial=range(40), n_steps=n_steps, tile=shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=processors(), help="largest number of threads or workers")
    options = parser.parse_args()
    work, empty = spec_of(100, 1000 if options.smoke else 50_000, (1, 1, 128)), spec_of(2, 1, (1, 1, 16))
    numbers = [n for n in (2**i for i in range(10)) if n <= options.most]
    found = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:

        def seconds(spec, **how):
            path = Path(folder) / "s.zarr"
            began = time.perf_counter()
            fill(spec, path, progress=False, **how)
            took = time.perf_counter() - began
            shutil.rmtree(path)
            return took

        for round_ in range(1 + (1 if options.smoke else options.rounds)):
            for n in numbers:
                with Cluster(n, folder) as cluster, Client(cluster.address, set_as_default=False) as client:
                    client.wait_for_workers(n)
                    for kind, how in (("threads", {"workers": n}), ("Dask workers", {"client": client})):
                        seconds(empty, **how)  # warms the workers up
                        both = seconds(work, **how), seconds(empty, **how) / len(empty.tiles())
                        if round_:
                            found[kind, n].append(both)
    print(f"{work.mode_steps():.3g} mode-steps in {len(work.tiles())} tiles; seconds, speed-up, overhead a tile")
    for kind in ("threads", "Dask workers"):
        for n in numbers:
            best, overhead = (min(values) for values in zip(*found[kind, n], strict=True))
            first = min(values[0] for values in found[kind, 1])
            print(f"{kind:<13} {n:>3}  {best:7.2f} s  {first / best:5.2f} x  {1e3 * overhead:6.1f} ms")


if __name__ == "__main__":
    main()
