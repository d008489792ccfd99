"""What a sweep's store must survive, in full counts: kills, damage, full and read-only disks, malformed input, Dask.

    python tests/stress/torture.py [--smoke] [--only NAME ...] [--json FILE]

Prints one line a section with what was counted, and ends with 1 if anything went wrong.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import crash
from malformed import COMMANDS, CONFIGS, GOOD

from olsbn import OLSProblem, sweep
from olsbn.sweeps import running
from olsbn.sweeps.store import Store, StoreError

OLSBN = [sys.executable, "-m", "olsbn"]


def reference(spec, folder):
    """Return the digest of the undisturbed sweep."""
    return crash.resumed(spec, folder / "reference.zarr", folder / "log")[0]


def kills(folder, smoke):
    """SIGKILL at every named point of the write path, and at random times up to three times in a row."""
    spec, log = crash.small_sweep(), folder / "log"
    expected = reference(spec, folder)
    names = crash.points_reached(spec, folder / "points.zarr")
    rng = random.Random(1)
    points = [(name, rng.randint(1, n)) for name, n in collections.Counter(names).items()]
    count = collections.Counter()
    for i, (name, nth) in enumerate(points[:: 12 if smoke else 1]):
        path = folder / f"named-{i}.zarr"
        count["killed at a named point"] += crash.killed_at(spec, path, name, nth)
        done, again = crash.check_resume(spec, path, log, expected)
        count["tiles kept"] += done
        count["tiles run again or first"] += again
        shutil.rmtree(path)
    for i in range(4 if smoke else 60):
        path = folder / f"random-{i}.zarr"
        for _ in range(rng.randint(1, 3)):
            count["killed at a random time"] += (
                crash.forked(lambda path=path: crash.fill(spec, path), rng.uniform(0, 0.2)) == signal.SIGKILL
            )
        done, again = crash.check_resume(spec, path, log, expected)
        count["tiles kept"] += done
        count["tiles run again or first"] += again
        shutil.rmtree(path)
    return {"named points": len(points), **count, "finished tiles run again": 0}  # check_resume asserts the last


def same_hash(folder, smoke):
    """Serial, threads, shuffled tiles, tile shapes, shards, Dask with 1, 2 and 4 workers."""
    from distributed import Client, LocalCluster

    spec = crash.small_sweep()
    expected = reference(spec, folder)
    found = {}

    def check(name, **options):
        store, _ = crash.fill(spec, folder / f"{name}.zarr", **options)
        found[name] = running.digest(store.dataset()) == expected

    for workers in (1, 2, 4, 8):
        check(f"threads-{workers}", workers=workers)
    plain = running.on_threads
    for seed in range(2 if smoke else 10):
        running.on_threads = lambda compute, tiles, workers, seed=seed, **how: plain(
            compute, random.Random(seed).sample(tiles, len(tiles)), workers, **how
        )
        check(f"shuffled-{seed}")
    running.on_threads = plain
    for shape in ((1, 1, 1), (2, 4, 3), (3, 4, 7), None):
        store, _ = crash.fill(crash.small_sweep(shape), folder / f"shape-{shape}.zarr")
        found[f"tile shape {shape}"] = running.digest(store.dataset()) == expected
    for n in (2, 5, 20):
        path = folder / f"shards-{n}.zarr"
        for i in random.Random(n).sample(range(1, n + 1), n):
            store, _ = crash.fill(spec, path, shard=(i, n))
        found[f"{n} shards"] = running.digest(store.dataset()) == expected
    for n in (1, 2, 4):
        with (
            LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            check(f"dask-{n}", client=client)
    wrong = [name for name, equal in found.items() if not equal]
    assert not wrong, wrong
    return {"ways": len(found), "digests": 1, "digest": expected[:12]}


def dask_kills(folder, smoke):
    """A killed worker, a killed scheduler, a killed client: the same command goes on to the same digest."""
    from dask_cluster import Cluster

    spec = crash.slow_sweep()
    expected = reference(spec, folder)
    count = collections.Counter()
    for i in range(1 if smoke else 8):
        for victim in ("worker", "scheduler", "client"):
            path = folder / f"{victim}-{i}.zarr"
            with Cluster(2, folder) as cluster:
                child = cluster.command(crash.slow_config(folder), path)
                wait_for_tiles(path, 2 + i)
                kept = crash.finished(path)
                cluster.kill(victim) if victim != "client" else child.kill()
                code = child.wait(timeout=120)
                if victim == "worker":
                    assert code == 0, child.stderr.read()
                elif victim == "scheduler":
                    err = child.stderr.read()
                    lines = [line for line in err.splitlines() if " of the work, " not in line]  # on a slow machine
                    assert code == 1 and "the Dask scheduler was lost" in err and len(lines) == 1, err
                count[f"killed {victim}"] += 1
                count["tiles kept"] += len(kept)
            assert all(tile in crash.finished(path) for tile in kept)
            crash.check_resume(spec, path, folder / "log", expected)
            shutil.rmtree(path)
    return dict(count)


def wait_for_tiles(path, n):
    until = time.monotonic() + 60
    while time.monotonic() < until and len(crash.finished(path) if path.exists() else []) < n:
        time.sleep(0.02)


def shard_kills(folder, smoke):
    """Three shards side by side, each killed at random times; then each is run again, in any order."""
    spec = crash.small_sweep()
    expected = reference(spec, folder)
    rng, count = random.Random(5), collections.Counter()
    for i in range(2 if smoke else 20):
        path = folder / f"shards-{i}.zarr"
        for _ in range(rng.randint(1, 2)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pids = [shard_fork(spec, path, (k, 3)) for k in (1, 2, 3)]
            for pid in pids:
                time.sleep(rng.uniform(0, 0.04))
                os.kill(pid, signal.SIGKILL)
                count["killed shards"] += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        before = crash.finished(path) if path.exists() else []
        log = folder / f"log-{i}"
        for k in rng.sample((1, 2, 3), 3):
            assert crash.forked(lambda k=k, path=path, log=log: crash.fill(spec, path, log, shard=(k, 3))) == 0
        assert not [tile for tile in crash.computed(log) if tile in before]
        store = Store(path)
        assert store.is_packed and running.digest(store.dataset()) == expected
        count["tiles kept"] += len(before)
    return dict(count)


def shard_fork(spec, path, shard):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            crash.fill(spec, path, shard=shard)
            code = 0
        finally:
            os._exit(code)
    return pid


def cloud_kills(folder, smoke):
    """A sweep into a bucket, killed at requests that write and at random times; needs the extra test-cloud."""
    try:
        import flask_cors  # noqa: F401
        import moto  # noqa: F401
        import obstore  # noqa: F401
    except ImportError:
        return {"not tried": 'the extra "test-cloud" is not installed'}
    import bucket

    expected = reference(crash.small_sweep(), folder)
    rng, count = random.Random(7), collections.Counter()
    with bucket.server() as variables, bucket.environment(variables):
        for i in range(2 if smoke else 20):
            url = f"s3://bucket/kills-{i}.zarr"
            for k in (2 * i, rng.randint(5, 25)):
                count["killed at a request"] += bucket.killed_at_request(url, k)
            for _ in range(rng.randint(0, 2)):
                count["killed at a random time"] += bucket.killed_after(url, rng.uniform(1.5, 3))
            found, n_run = bucket.finished(url)
            count["tiles run again or first"] += n_run
            assert found == expected, url
    return dict(count)


def malformed(folder, smoke):
    """100 malformed configs and command lines, each a process of its own: one line, exit code 2, nothing made."""
    work = folder / "malformed"
    work.mkdir()
    good = folder / "good.toml"
    good.write_text(GOOD)
    n = 0
    for text, message in CONFIGS[:: 10 if smoke else 1]:
        config = folder / "bad.toml"
        config.write_bytes(text if isinstance(text, bytes) else text.encode())
        refused(["sweep", str(config), "--out", str(work / "out.zarr")], message, work)
        n += 1
    for args, message in COMMANDS[:: 4 if smoke else 1]:
        refused([arg.format(config=good, out=work / "out.zarr") for arg in args], message, work)
        n += 1
    return {"refused with one line, code 2, nothing made": n}


def refused(args, message, work):
    done = subprocess.run([*OLSBN, *args], capture_output=True, text=True, cwd=work)
    assert done.returncode == 2, (args, done)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and message in done.stderr, (args, done)
    assert not list(work.iterdir()), args


def flips(folder, smoke):
    """Bytes changed in random places of random files, one at a time: named by `status`, mended by the same command."""
    spec = crash.small_sweep()
    path = folder / "flips.zarr"
    store, _ = crash.fill(spec, path)
    expected = running.digest(store.dataset())
    count = collections.Counter()
    rng = random.Random(3)
    for i in range(10 if smoke else 200):
        if i % 2:
            Store(path).unpack()
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith("lock")]
        file = rng.choice(files)
        data = bytearray(file.read_bytes())
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        file.write_bytes(bytes(data))
        store = Store(path)
        named = [found for _, found in store.damaged(sorted(store.done()))]
        assert named == [file], (file, named)
        said = []
        store, n_run = running.fill(spec, path, workers=1, progress=False, say=said.append)
        is_tile = file.parent.name == "tiles"
        most = 1 if is_tile or file.parent.parts[len(path.parts) + 1 :][:1] == ("c",) else 0
        assert n_run <= most and (n_run or not is_tile) and len(said) == 1 and str(file) in said[0], (file, n_run, said)
        assert running.digest(store.dataset()) == expected
        count["tile" if is_tile else "of the store's own" if file.parent.name == "olsbn" else "of the arrays"] += 1
        count["tiles run again"] += n_run
    return {"flips": sum(count.values()) - count["tiles run again"], **count}


def disks(folder, smoke):
    """A disk that fills up and one that is read-only, as real (mounted) file systems."""
    mount = folder / "mount"
    mount.mkdir()
    config = crash.slow_config(folder)
    spec = crash.slow_sweep()
    expected = reference(spec, folder)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(mount)], capture_output=True).returncode:
        return {"mounts": "not allowed here: see tests/test_store.py for the simulated ones"}
    try:
        command = [*OLSBN, "sweep", str(config), "--out", str(mount / "s.zarr")]
        count, sizes = collections.Counter(), range(700, 4000, 600 if smoke else 150)
        done = subprocess.run(command, capture_output=True, text=True)
        for size in sizes:
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(mount)], check=True)
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
            assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1, done
            assert "No space left on device" in done.stderr or "fit on the disk" in done.stderr, done
            count["full disk, one line"] += 1
        assert done.returncode == 0, done
        store = Store(mount / "s.zarr")
        assert running.digest(store.dataset()) == expected
        crash.take_back(mount / "s.zarr", 0)
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        for out in ("s.zarr", "t.zarr"):
            done = subprocess.run([*command[:-1], str(mount / out)], capture_output=True, text=True)
            assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done
            assert "Read-only file system" in done.stderr, done
            count["read-only, one line"] += 1
        return dict(count)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def writers(folder, smoke):
    """A second writer, second shards, and a lock whose owner was killed."""
    spec = crash.slow_sweep()
    count = collections.Counter()
    for i in range(2 if smoke else 10):
        path = folder / f"writers-{i}.zarr"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
        if pid == 0:
            running.fill(spec, path, workers=1, progress=False)
            os._exit(0)
        wait_for_tiles(path, 1)
        for shard in ((1, 1), (1, 2)):
            try:
                running.fill(spec, path, shard=shard, progress=False)
            except StoreError as err:
                assert f"is being written by process {pid} on" in str(err)
                count["refused"] += 1
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with Store(path).writing() as right:
            assert right.alone
            count["lock free after a kill"] += 1
        shutil.rmtree(path)
    return dict(count)


def memory(folder, smoke):
    """Peak memory of a process does not grow with the number of cells."""
    peaks = {}
    for n in (10**5, 10**6) if smoke else (10**5, 10**6, 10**7):
        code = (
            "import sys, numpy as np; sys.path.insert(0, 'stress'); from torture import fill_many; "
            f"print(fill_many({n}, {str(folder / f'memory-{n}.zarr')!r}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
        )
        peaks[f"{n:.0e} cells, peak MB"] = round(float(done.stdout), 1)
        shutil.rmtree(folder / f"memory-{n}.zarr")
    return peaks


def fill_many(n_cells, path):
    """Sweep many cheap cells; return the peak memory in MB."""
    side = round(n_cells**0.5)
    problem = OLSProblem([1.0, 2.0], [1.0, 1.0])
    ds = sweep(problem, eps=np.geomspace(1e-3, 1e3, side), eps_a=np.linspace(0.1, 1.9, side), n_steps=3, store=path)
    assert ds.sizes["eps"] == side
    # not ru_maxrss, which a child has from the process that started it
    (peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:5] == "VmHWM")
    return int(peak) / 1024


SECTIONS = (kills, shard_kills, same_hash, dask_kills, cloud_kills, malformed, flips, disks, writers, memory)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few of each, in a minute")
    parser.add_argument("--only", nargs="*", choices=[s.__name__ for s in SECTIONS], help="these sections")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    options = parser.parse_args()
    results, failed = {}, False
    # what the children share is loaded before the first fork
    with tempfile.TemporaryDirectory() as folder:
        crash.fill(crash.small_sweep(), Path(folder) / "warm.zarr")[0].dataset().load()
    for section in SECTIONS:
        if options.only and section.__name__ not in options.only:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                results[section.__name__] = section(Path(folder), options.smoke)
            except AssertionError as err:
                results[section.__name__], failed = {"FAILED": repr(err)[:2000]}, True
        facts = ", ".join(f"{name}: {value}" for name, value in results[section.__name__].items())
        print(f"{section.__name__:<11} {facts} ({time.monotonic() - began:.0f} s)", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    sys.exit(failed)


if __name__ == "__main__":
    main()
