"""What `olsbn plan` says of a sweep beside what the sweep takes: time, disk and files, for every method.

    python tests/stress/plans.py

Ends with 1 if the time on processors is wrong by more than 30 % and 2 s, or a size by more than 30 %. The time on the clock is
that of a machine that does nothing else.
"""

# ruff: noqa: E501

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from olsbn.sweeps import toml
from olsbn.sweeps.plan import plan

FAMILY = '[problem]\nspectrum = "logspace"\ncond = 100\n'
DATA = '[problem]\ndata = "{}"\nstandardize = true\n'
CONFIGS = {
    "bngd, d = 10": 'n_steps = 20000\neps = "1e-2:1e3:200"\neps_a = "0.1:1.9:20"\ndim = 10\n' + FAMILY,
    "bngd, d = 10 to 1000": 'n_steps = 1000\neps = "1e-2:1e3:40"\ndim = [10, 100, 1000]\ntrials = 10\n' + FAMILY,
    "bngd, 300 trials": 'n_steps = 1000\neps = "1e-2:1e3:20"\ndim = 100\ntrials = 300\n' + FAMILY,
    "bngd, d = 1000, few steps": 'n_steps = 20\neps = "1e-2:1e3:20"\ndim = 1000\ntrials = 30\n' + FAMILY,
    "bngd, 101 recorded steps": f'n_steps = 1000\nrecord = {list(range(0, 1001, 10))}\neps = "1e-2:1e3:400"\neps_a = [0.5, 1.0]\ndim = 50\n'
    + FAMILY,
    "bngd, stop at tol": 'n_steps = 20000\nstop = "tol"\neps = "1e-2:1e3:400"\neps_a = "0.1:1.9:10"\ndim = 20\n'
    + FAMILY,
    "gd": 'method = "gd"\nn_steps = 100000\neps = "1e-3:1:4000"\ndim = [10, 300]\ntrials = 20\n' + FAMILY,
    "gdnp": 'method = "gdnp"\nn_steps = 20000\ndim = [10, 100]\ntrials = 200\n' + FAMILY,
    "wngd": 'method = "wngd"\nn_steps = 5000\neps = "1e-3:1e1:200"\neps_a = [0.5, 1.0]\ndim = [20, 200]\ntrials = 2\n'
    + FAMILY,
    "sphere": 'method = "sphere"\nn_steps = 5000\neps = "1e-3:1e1:400"\neps_a = [0.5, 1.0]\ndim = 50\n' + FAMILY,
    "momentum, decay": 'n_steps = 5000\neps = "1e-3:1e2:200"\nmomentum = [0.0, 0.9]\nweight_decay = 0.001\ndim = 50\n'
    + FAMILY,
    "minibatch": 'method = "minibatch"\nn_steps = 2000\neps = "1e-3:1e1:40"\nbatch_size = [16, 64]\nreplicate = [0, 1, 2]\n'
    + DATA.format("diabetes"),
    "bngd, diabetes": 'n_steps = 50000\neps = "1e-2:1e3:200"\neps_a = "0.1:1.9:10"\n' + DATA.format("diabetes"),
}


def used(folder):
    """Return the bytes on the disk, in blocks, and the number of files and folders."""
    found = [folder, *folder.rglob("*")]
    return sum(512 * path.lstat().st_blocks for path in found), len(found)


def main():
    wrong = False
    print(f"{'':<28}{'planned s':>10}{'taken':>8}{'CPU planned':>12}{'CPU':>8}{'planned kB':>12}{'taken':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in CONFIGS.items():
            config, store = Path(folder) / "c.toml", Path(folder) / f"{len(os.listdir(folder))}.zarr"
            config.write_text(text)
            spec = toml.load(config)
            found = plan(spec)
            planned, core = found.wall_seconds(2), found.core_seconds + found.alone_seconds
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [sys.executable, "-m", "olsbn", "sweep", str(config), "--out", str(store), "--workers", "2"]
            subprocess.run(command, check=True, capture_output=True)
            taken, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            n_bytes, _ = used(store)
            off = abs(core - cpu) > max(2, 0.3 * cpu) or abs(found.n_bytes - n_bytes) > 0.3 * n_bytes
            wrong |= off
            print(
                f"{name:<28}{planned:>10.1f}{taken:>8.1f}{core:>12.1f}{cpu:>8.1f}{found.n_bytes / 1e3:>12.0f}"
                f"{n_bytes / 1e3:>8.0f}{' off' * off}",
                flush=True,
            )
    sys.exit(wrong)


if __name__ == "__main__":
    main()
