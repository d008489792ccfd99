"""One list of sweeps in which every method runs by every variant of its step; as a program, their digests.

PYTHONPATH=tests python tests/bits.py
"""

import hashlib
import sys
from typing import Any, NamedTuple

import numpy as np
import variants

import olsbn
from olsbn.engine.run import Run
from olsbn.sweeps.running import digest


class Case(NamedTuple):
    """A sweep, but for how it is run."""

    name: str
    problem: olsbn.OLSProblem
    method: str
    params: dict[str, Any]
    options: dict[str, Any]

    def sweep(self, **how):
        """Run it."""
        return olsbn.sweep(
            self.problem, method=self.method, progress=False, **self.params, **self.options, **{"workers": 1} | how
        )


def _problems():
    rng = np.random.default_rng(0)
    # decoupled modes, a null space, eigenvalues that repeat
    u = np.where(np.arange(23) % 5 == 2, 0, np.cos(np.arange(23.0)))
    eigvals = np.geomspace(1, 300, 23)
    eigvals[7] = eigvals[8]
    mixed = olsbn.OLSProblem(eigvals, u, np.sin(np.arange(23.0)), w0_null_norm=0.5)
    X = rng.standard_normal((40, 7)) * np.geomspace(1, 10, 7)
    return mixed, olsbn.OLSProblem.from_samples(X, X @ rng.standard_normal(7) + rng.standard_normal(40))


MIXED, SAMPLE = _problems()
EPS = np.append(np.geomspace(1e-3, 1e6, 41), 1e200)  # a lane that is rescaled, cells that end early, lanes refilled
_BN = {"eps": EPS, "eps_a": [0.3, 1.9]}
_LONG = {"n_steps": 300, "tol": 1e-6, "record": [0, 9, 300]}
_HEAVY = {"momentum": [0.0, 0.6], "nesterov": [0.0, 1.0]}
_FALLS = {"weight_decay": [0.0, 1e-3], "eps_power": [0.0, 0.5], "eps_factor": 0.999, "eps_a_power": 0.25}

CASES = [
    Case("bngd", MIXED, "bngd", _BN | {"eps_a": np.linspace(0, 2.1, 4)}, _LONG),
    Case("bngd-tol", MIXED, "bngd", _BN, _LONG | {"stop": "tol", "n_steps": 900}),
    Case("bngd-momentum", MIXED, "bngd", _BN | _HEAVY, _LONG),
    Case("bngd-falls", MIXED, "bngd", _BN | _FALLS, _LONG),
    Case("bngd-momentum-smoothing", MIXED, "bngd", {"eps": EPS[::2], "smoothing": 0.2, **_HEAVY}, _LONG),
    Case("bngd-smoothing", MIXED, "bngd", _BN | {"smoothing": [0.0, 0.2]}, _LONG),
    Case("bngd-all", MIXED, "bngd", {"eps": EPS[::4], **_HEAVY, **_FALLS, "smoothing": [0.0, 0.2]}, _LONG),
    Case("bngd-large", olsbn.OLSProblem.from_spectrum("logspace", 5000, 50.0), "bngd", {"eps": EPS[::8], "eps_a": 0.7},
         {"n_steps": 40}),
    Case("gd", MIXED, "gd", {"eps": np.geomspace(1e-5, 1e-2, 40)}, _LONG),
    Case("gd-all", MIXED, "gd", {"eps": np.geomspace(1e-5, 1e-2, 40), **_HEAVY, "weight_decay": [0.0, 1e-3],
                                 "eps_power": [0.0, 0.5]}, _LONG),
    Case("wngd", MIXED, "wngd", {"eps": EPS, "eps_a": [0.003, 0.1]}, _LONG),
    Case("sphere", MIXED, "sphere", _BN, _LONG),
    Case("wngrad", MIXED, "wngrad", _BN, _LONG),
    Case("gdnp", MIXED, "gdnp", {}, _LONG),
    Case("minibatch", SAMPLE, "minibatch", {"eps": EPS, "batch_size": 8, "weight_decay": [0.0, 1e-3]},
         {"n_steps": 200, "tol": 1e-6}),
]  # fmt: skip


def of_variant(v):
    """Return a digest of cells of one variant: also of those that no method's parameters lead to."""
    problem, eps = MIXED, EPS[::2]
    rates = v.rates(problem)
    if "eps" in rates:
        rates = {name: np.full(eps.size, value) for name, value in rates.items()} | {"eps": eps}
        if "weight_decay" in rates:
            rates["weight_decay"] = 0.02 / eps
    cells, trace = v.run(problem, rates, Run(100, 1e-6, record=np.array([3, 40, 100])))
    found = {**cells, **{f"{name} at steps": values for name, values in trace.items()}}
    return hashlib.sha256(b"".join(found[name].tobytes() for name in sorted(found))).hexdigest()


# Another target means that every variant is compiled again, some seconds each: here is one of each kind of code.
FEW = "bngd", "bngd-large", "gd", "wngd", "gdnp", "minibatch"
FEW_VARIANTS = tuple(v for v in variants.ALL if v.name == "star" and {"momentum", "weight_decay"} <= v.params.keys())[
    :1
]


def main(every):
    """Print a line for each case and for each variant, or for a few of them."""
    for case in CASES:
        if every or case.name in FEW:
            print(case.name, digest(case.sweep()))
    for v in variants.ALL if every else FEW_VARIANTS:
        print(v, of_variant(v))


if __name__ == "__main__":
    main("--every" in sys.argv)
