"""What of the least-squares theory of batch normalization carries over to networks: measured on real data.

    python experiments/networks.py [--full | --smoke] [--draw | --collect | --bridge] [--store PATH] [--workers N]

Trains dense networks on `digits` and `mnist_5k`, with Flax's BatchNorm and without, over ten (six) decades of learning
rates; keeps every finished tile in a Zarr store, so that the same command goes on after it was killed; writes figure,
table and data to figures/networks/, the table to docs/networks.md as well. `--draw` draws again from there without
running. Needs the extra `nn`.
"""

import argparse
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- networks: begin -->", "<!-- networks: end -->"  # around the table in docs/networks.md


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="ten times the steps, sharpness at width 1000 too")
    size.add_argument("--smoke", action="store_true", help="a minute's version, written into the current directory")
    parser.add_argument("--collect", action="store_true", help="run no more tiles: data and figure of those there are")
    parser.add_argument("--draw", action="store_true", help="draw figure and table from the data, run nothing")
    parser.add_argument("--bridge", action="store_true", help="show the bridge to run_bngd alone")
    parser.add_argument("--store", type=Path, help="Zarr store of the run (default: results/networks.zarr)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="tiles at a time")
    return parser.parse_args()


def run(store, workers):
    """Run the missing tiles; return False if asked to stop."""
    from nets.tiles import Stopped, run_tile

    missing, stop = store.missing(), threading.Event()
    print(f"{len(store.tiles) - len(missing)} of {len(store.tiles)} tiles are there", flush=True)
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, lambda *_: stop.set()) for name in signals]

    def one(i):
        began = time.perf_counter()
        if stop.is_set():
            raise Stopped
        return i, run_tile(*store.tiles[i], stop), time.perf_counter() - began

    began, done = time.perf_counter(), 0
    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(one, i) for i in missing]):
            try:
                i, found, took = future.result()
            except Stopped:
                continue
            store.write(i, found)  # only this thread writes
            done += 1
            passed = time.perf_counter() - began
            print(f"{done:4d}/{len(missing)} {passed:7.1f} s  {store.tiles[i][0].path:40s} {took:6.1f} s", flush=True)
    for name, handler in zip(signals, before, strict=True):  # what comes after is short, and is not resumed
        signal.signal(name, handler)
    return not stop.is_set()


def main():
    options = arguments()
    # one thread a tile: results do not depend on the number of processors, and tiles do not disturb each other
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    os.environ["JAX_PLATFORMS"] = "cpu"
    size = "full" if options.full else "smoke" if options.smoke else "default"
    folder = Path("networks") if options.smoke else ROOT / "figures" / "networks"
    if options.bridge:
        from nets import bridge

        print(bridge.text(bridge.compare()))
        return 0
    if not options.draw:
        from nets import leastsquares, results
        from nets.plan import studies
        from nets.store import Store, StoreError, writing

        path = options.store or (folder if options.smoke else ROOT / "results") / "networks.zarr"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            store = Store(path, studies(size))
            with writing(path):
                store.sweep()
                if not options.collect and not run(store, options.workers):
                    print("interrupted; the same command goes on")
                    return 130
        except StoreError as err:
            print(err, file=sys.stderr)
            return 2
        results.write(folder, store, leastsquares.measure(size))
    from nets import draw

    text = draw.draw(folder)
    if not options.smoke:
        page = ROOT / "docs" / "networks.md"
        before, rest = page.read_text().split(BEGIN)
        page.write_text(before + BEGIN + "\n" + text + END + rest.split(END)[1])
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
