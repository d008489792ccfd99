"""A Dask scheduler and workers as processes of their own, which can be killed."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class Cluster:
    def __init__(self, n_workers, folder):
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.n_workers = n_workers
        self.processes = []

    def __enter__(self):
        where = self.folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", where)
        while not where.exists():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = json.loads(where.read_text())["address"]
        self.workers = [
            self.start("worker", self.address, "--nthreads", "1", "--no-nanny") for _ in range(self.n_workers)
        ]
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def command(self, config, store):
        """Start `olsbn sweep` on this cluster."""
        args = ["sweep", config, "--out", store, "--scheduler", self.address]
        child = subprocess.Popen(
            [sys.executable, "-m", "olsbn", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(child)
        return child

    def kill(self, victim):
        {"worker": self.workers[0], "scheduler": self.scheduler}[victim].kill()

    def start(self, *args, program=("-m", "dask")):
        # without an address of its own a scheduler's HTTP server wants port 8787, which another cluster may have
        command = [sys.executable, *program, *map(str, args), "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process
