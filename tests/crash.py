"""Kill a process that fills a store, at a chosen point of the write path or at a chosen time.

The children are forks, so that what the product runs is the product itself: the points are functions that it calls,
wrapped in the child alone.
"""

import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

from olsbn import OLSProblem, ProblemFamily, files
from olsbn.sweeps import running, toml
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store import Store, StoreError, lock, places
from olsbn.sweeps.store import store as stores


def small_sweep(tile=(1, 2, 7)):
    """168 cells, in 12 tiles unless told how many trials, eps_a and eps a tile has (None: by size)."""
    rates = {"eps": np.geomspace(1e-2, 1e3, 7), "eps_a": [0.5, 1.0, 1.5, 2.5]}
    family = ProblemFamily("logspace", 50.0)
    spec = SweepSpec.checked(family, "bngd", rates, dim=[2, 6], trial=[0, 1, 3], n_steps=60, tol=1e-6)
    if tile is None:
        return spec
    return dataclasses.replace(spec, tile=(tile[0], *[1] * (len(spec.params) - 2), *tile[1:]))


def single_problem_sweep():
    problem = OLSProblem.from_spectrum("linspace", 5, 9.0)
    return SweepSpec.checked(problem, "gd", {"eps": np.geomspace(1e-2, 1, 20)}, n_steps=60, tol=1e-6, tile=(6,))


def forked(action, kill_after=None):
    """Run `action` in a fork; return the signal that ended it, 0 if none. A child that fails prints why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the child failed: see its traceback"
        return 0
    return os.WTERMSIG(status)


def fill(spec, path, log=None, order=None, **options):
    """Fill the store on two threads and append the tiles that were computed to the file `log`."""

    before = running.run_tile

    def logged(spec, tile, cancel=None):
        if log is not None:
            with open(log, "a") as file:
                file.write(json.dumps(key(tile)) + "\n")
        return before(spec, tile, cancel)

    running.run_tile = logged
    try:
        options.setdefault("workers", 2)
        return running.fill(spec, path, progress=False, **options)
    finally:
        running.run_tile = before


def key(tile):
    return [list(ends) for ends in tile.ranges]


def computed(log):
    return [json.loads(line) for line in Path(log).read_text().splitlines()] if Path(log).exists() else []


def finished(path):
    """Return the keys of the tiles that are committed, as the store itself counts them."""
    try:
        store = Store(path)
        return [key(store.tiling[number]) for number in sorted(store.done())]
    except StoreError:
        return []


def take_back(path, *numbers):
    """Make a packed store one that is being written, and lacks these tiles."""
    store = Store(path)
    if store.is_packed:
        store.unpack()
    for number in numbers:
        (path / "olsbn" / "tiles" / f"{number:06d}").unlink(missing_ok=True)


class Points:
    """Wraps what the write path calls; `reached(name)` is called before, in the middle of and after each."""

    def __init__(self, root, reached):
        self.root, self.reached = root, reached

    def install(self):
        self._wrap_method(pathlib.Path, "rename")
        self._wrap_method(pathlib.Path, "replace")
        self._wrap_method(lock, "_tell")
        self._wrap_method(shutil, "rmtree")
        for module in (stores, places):
            module.write_whole = self._in_parts(module.write_whole)
        self._wrap_method(pathlib.Path, "unlink")
        flock, put, tile = fcntl.flock, places._Staged.write, running.run_tile

        def wrapped_flock(fd, how):
            self.reached("lock: before")
            flock(fd, how)
            self.reached("lock: after")

        def wrapped_put(stage, name, data):
            what = self._name(stage._work / name)
            self.reached(f"write {what}: before")
            put(stage, name, data[: len(data) // 2])
            self.reached(f"write {what}: half")
            put(stage, name, data)
            self.reached(f"write {what}: after")

        def wrapped_tile(*args, **kwargs):
            self.reached("compute: before")
            result = tile(*args, **kwargs)
            self.reached("compute: after")
            return result

        fcntl.flock, places._Staged.write, running.run_tile = wrapped_flock, wrapped_put, wrapped_tile

    def _in_parts(self, write):
        def wrapped(path, data):
            name = self._name(path)
            self.reached(f"write {name}: before")
            partial = path.with_name(f".{path.name}.0{files.PARTIAL}")
            partial.write_bytes(data[: len(data) // 2])
            self.reached(f"write {name}: half")
            partial.write_bytes(data)
            self.reached(f"write {name}: not yet renamed")
            os.unlink(partial)
            write(path, data)
            self.reached(f"write {name}: after")

        return wrapped

    def _wrap_method(self, owner, method):
        original = getattr(owner, method)

        def wrapped(path, *args, **kwargs):
            inside = str(self.root) in str(path) or str(Path(path).parent) == str(self.root.parent)
            if inside:
                self.reached(f"{method} {self._name(path)}: before")
            result = original(path, *args, **kwargs)
            if inside:
                self.reached(f"{method} {self._name(path)}: after")
            return result

        setattr(owner, method, wrapped)

    def _name(self, path):
        """Return the path inside the store without what differs from chunk to chunk and from run to run."""
        parts = Path(path).relative_to(self.root.parent).parts
        inner = [part for part in parts[1:] if not part.isdigit()]
        inner = [".packing" if part.startswith(".packing.") else part for part in inner]
        if inner and inner[-1].endswith(".partial"):
            inner[-1] = "*.partial"
        made = "new " if parts[0].endswith(".partial") else ""
        return made + ("/".join(inner) or "store")


def points_reached(spec, path):
    """Return the names of all points of an undisturbed run, in order."""
    log = path.with_suffix(".points")

    def action():
        def reached(name):
            with open(log, "a") as file:
                file.write(name + "\n")

        Points(path, reached).install()
        fill(spec, path)

    assert forked(action) == 0
    return log.read_text().splitlines()


def killed_at(spec, path, name, count, log=None):
    """Fill the store in a fork that is killed when it reaches a point for the `count`-th time; return if it was."""

    def action():
        left = [count]

        def reached(where):
            if where == name:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        Points(path, reached).install()
        fill(spec, path, log)

    return forked(action) == signal.SIGKILL


def resumed(spec, path, log):
    """Fill the rest in a fork; return the digest and the keys of the tiles that were computed."""
    answer = path.with_suffix(".answer")

    def action():
        store, _ = fill(spec, path, log)
        assert store.is_complete() and store.is_packed and not store.leftovers()
        answer.write_text(running.digest(store.dataset()))

    Path(log).unlink(missing_ok=True)
    assert forked(action) == 0
    return answer.read_text(), computed(log)


def check_resume(spec, path, log, expected):
    """Assert that a killed run goes on to the expected digest without computing a finished tile; return the counts."""
    before = finished(path)
    digest, again = resumed(spec, path, log)
    assert digest == expected
    assert not [tile for tile in again if tile in before]
    assert sorted(before + again) == sorted(finished(path))
    return len(before), len(again)


SLOW = 'n_steps = 150000\neps = "1e-2:1e2:40"\neps_a = [0.5, 1.0, 1.5]\ndim = [20, 30]\ntrials = 12\n'
SLOW += '[problem]\nspectrum = "logspace"\ncond = 100.0\n'


def slow_sweep():
    """A sweep whose tiles take about a tenth of a second, by its config."""
    return toml.load(slow_config(Path(tempfile.gettempdir())))


def slow_config(folder):
    file = folder / f"slow-{os.getpid()}.toml"
    file.write_text(SLOW)
    return file
