"""How fast each method and parameter is, in mode-steps a second on one thread, beside plain BNGD in the same round.

    python benchmarks/methods.py [--rounds N]

A mode-step is one mode of one cell for one step; of mini-batches one row of a batch counts like a mode's step. Medians
over rounds in which all run in turn.
"""

import argparse
import statistics
import time

import numpy as np

import olsbn

DIM, CELLS, STEPS, ROWS = 100, 64, 1000, 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    problem = olsbn.OLSProblem.from_spectrum("logspace", DIM, 100.0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, DIM))
    sample = olsbn.OLSProblem.from_samples(X, X @ rng.normal(size=DIM) + rng.normal(size=400))
    eps = np.geomspace(1e-3, 1e-2, CELLS)
    loads = {
        "bngd": ("bngd", {}),
        "bngd, momentum": ("bngd", {"momentum": 0.5}),
        "bngd, weight_decay": ("bngd", {"weight_decay": 1e-4}),
        "bngd, eps_power": ("bngd", {"eps_power": 0.5}),
        "bngd, smoothing": ("bngd", {"smoothing": 0.1}),
        "bngd, momentum and smoothing": ("bngd", {"momentum": 0.5, "smoothing": 0.1}),
        "wngd": ("wngd", {"eps_a": 1e-3}),
        "gd, momentum": ("gd", {"momentum": 0.5}),
        "gdnp": ("gdnp", None),
        f"minibatch, {ROWS} rows": ("minibatch", {"batch_size": ROWS}),
    }

    def seconds(method: str, params: dict | None, n_steps: int = STEPS) -> float:
        where = sample if method == "minibatch" else problem
        grid = {} if params is None else {"eps": eps, **params}
        began = time.perf_counter()
        olsbn.sweep(where, method=method, **grid, n_steps=n_steps, workers=1, progress=False)
        return time.perf_counter() - began

    times: dict[str, list[float]] = {name: [] for name in loads}
    for load in loads.values():
        seconds(*load, n_steps=1)  # compile
    for _ in range(rounds):
        for name, load in loads.items():
            times[name].append(seconds(*load))
    print(f"d = {DIM}, {CELLS} cells, {STEPS} steps, 1 thread")
    for name, (method, params) in loads.items():
        work = DIM * STEPS * (1 if params is None else CELLS) * (ROWS if method == "minibatch" else 1)
        ratio = statistics.median(a / b for a, b in zip(times[name], times["bngd"], strict=True))
        rate = work / statistics.median(times[name])
        share = "" if params is None else f"{ratio:8.2f} times the time of bngd"
        print(f"{name:30} {rate:9.2e} mode-steps/s {share}")


if __name__ == "__main__":
    main()
