"""What is run: the list of studies, cut into tiles."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import flax
import jax
import numpy as np

from nets import data
from nets.model import Network

MARKS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700)
SHARP_MARKS = (1, 10, 30, 100, 300)
EPS_A = 0.5  # learning rate of (gamma, beta) where no other is said
TILE = 20.0  # seconds of one idle core, about


@dataclass(frozen=True)
class Study:
    """One network, one method, a list of learning rates (eps, eps_a) for several seeds, n_steps steps each."""

    name: str  # what it is for: "grid" is the main one
    network: Network
    method: str  # "gd" or "sgd"
    points: tuple
    n_steps: int
    seeds: int
    sharp: bool = False

    @property
    def path(self):
        """The study's group in the store."""
        net = self.network
        return "-".join(map(str, (self.name, net.data, net.norm, net.loss, self.method, net.depth, net.width)))

    @cached_property
    def marks(self):
        """Steps after which losses are taken, ascending."""
        powers = [m * 10**j for j in range(5) for m in MARKS if m * 10**j < self.n_steps and (j == 0 or m >= 100)]
        return sorted({*powers, self.n_steps})

    @cached_property
    def sharp_marks(self):
        """Steps after which the sharpness is taken."""
        if not self.sharp:
            return []
        return [mark for mark in self.marks if mark in (*SHARP_MARKS, self.n_steps) or mark in (1000, 3000, 10_000)]

    def rows(self):
        """Return the rows of each step's batch, (seeds, n_steps, BATCH); None: all rows."""
        return None if self.method == "gd" else data.batches(self.seeds, self.n_steps)

    def tiles(self):
        """Return slices of `points`, of equal length but for the last."""
        net = self.network
        step = 3e-4 * max(net.width / 100, 0.2) * (1 + (net.depth - 1) * (0.8 + net.width / 120))
        if self.method == "sgd":
            step /= 4
        size = max(1, min(len(self.points), round(TILE / (self.n_steps * self.seeds * step))))
        count = -(-len(self.points) // size)
        size = -(-len(self.points) // count)
        return [slice(i, min(i + size, len(self.points))) for i in range(0, len(self.points), size)]


def decades(low, high, each):
    """Return powers of ten from 10**low to 10**high, `each` a decade."""
    return 10.0 ** np.linspace(low, high, round((high - low) * each) + 1)


def at(eps, eps_a=EPS_A):
    """Return points, all pairs of the two."""
    return tuple((float(e), float(a)) for a in np.atleast_1d(eps_a) for e in np.atleast_1d(eps))


# learning rates of (gamma, beta), about where the scale of least squares has its edge, and slow ones
EDGE = (0.1, 1.0, 1.5, 1.8, 1.9, 1.95, 1.98, 2.02, 2.05, 2.1, 2.2, 2.5, 3, 5, 10, 100, 1000)
EDGE_EPS = (0.1, 10.0, 1000.0)
SLOW = (1, 0.1, 0.01, 0.001)
# without BatchNorm: closer where the upper end can be
PLAIN = 10.0 ** np.array([-4, -3.5, -3, -2.5, *np.arange(-2.25, 1.1, 0.25), 1.5, 2])


def studies(size="default"):
    """Return the studies, the most telling ones first. `size`: "smoke", "default" or "full"."""
    if size == "smoke":
        wide, narrow = decades(-3, 7, 0.5), decades(-4, 2, 0.5)
        small = {"n_steps": 10, "seeds": 2}
        return [
            Study("grid", Network("digits", 10, 1, "none"), "sgd", at(narrow), **small),
            Study("grid", Network("digits", 10, 1, "bn"), "gd", at(wide), sharp=True, **small),
        ]
    full = size == "full"
    more, seeds = (10 if full else 1), 5
    found = []

    def add(name, n_steps, network, method="gd", points=None, **how):
        if points is None:
            points = at(PLAIN if network.norm == "none" else decades(-3, 7, 2))
        found.append(Study(name, network, method, points, n_steps * more, seeds, **how))

    def grid(name, width, depth, n_steps, methods=("gd", "sgd")):
        for method in methods:
            for norm in ("bn", "none"):
                sharp = method == "gd" and norm == "bn" and (full or width < 1000)
                add("grid", n_steps, Network(name, width, depth, norm), method, sharp=sharp)

    one = Network("digits", 100, 1, "bn")
    grid("digits", 100, 1, 1000)
    add("zero", 1000, replace(one, scale0=0.0), sharp=True)
    grid("digits", 10, 1, 1000)
    add("zero", 1000, replace(one, scale0=0.0, width=10))
    for loss in ("mse", "xent"):
        add("edge", 300, replace(one, loss=loss), points=at(EDGE_EPS, EDGE))
    add("hidden", 1000, replace(one, norm="hidden"))
    grid("digits", 1000, 1, 300)
    add("zero", 100, replace(one, scale0=0.0, width=1000))
    grid("digits", 100, 2, 1000)
    grid("digits", 10, 2, 1000)
    for width, depth, n_steps in ((100, 1, 1000), (10, 1, 1000), (100, 2, 1000), (10, 2, 1000), (1000, 1, 300)):
        grid("mnist_5k", width, depth, n_steps)
    for norm in ("bn", "none"):
        add("xent", 1000, replace(one, norm=norm, loss="xent"))
    add("rates", 1000, one, points=at(decades(-3, 7, 1), SLOW))
    for name in ("digits", "mnist_5k"):
        grid(name, 1000, 2, 100)
    return found


def fingerprint(found):
    """Return a hash of everything that the numbers depend on: the studies, and the code of data, network and tiles."""
    facts = [(dataclasses.asdict(study), study.marks, study.sharp_marks) for study in found]
    text = json.dumps([facts, jax.__version__, flax.__version__], sort_keys=True)
    for file in ("data.py", "model.py", "tiles.py"):
        text += (Path(__file__).parent / file).read_text()
    return hashlib.sha256(text.encode()).hexdigest()[:16]
