"""How fast mini-batches are beside JAX, which differentiates the printed loss of a batch.

    python benchmarks/minibatch.py [--rounds N] [--data NAME ...]

JAX runs ``jit(vmap(scan))``, in float64, on the same rows; both sides have all processors. Two loads of 4096 cells:
learning rates that share their batches, and 64 learning rates for each of 64 replicates. Both sides take part in every
round, and ratios are taken round by round; a median of them is shown. Results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from olsbn.engine import minibatch
from olsbn.engine.run import Run
from olsbn.engine.streams import drawn_rows
from olsbn.problems import OLSProblem
from olsbn.sweeps.pool import processors

CELLS, REPLICATES, ROWS = 4096, 64, 32
SHARED = "sharing batches"
STEPS = {"diabetes": 300, "breast_cancer": 300, "mnist_5k": 20}
# Relative difference of the excess at the end up to which two runs did the same work: cells of ill-conditioned samples
# amplify rounding.
_SAME = 1e-4
REST = 0.1  # seconds before a measurement: the threads of the contestant before go on spinning for a while


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", nargs="+", choices=STEPS, default=list(STEPS))
    args = parser.parse_args()
    print(
        f"{CELLS} cells, batches of {ROWS}, {processors()} processors; times as fast as JAX, medians of {args.rounds}"
    )
    print(f"{'data':<15}{'d':>5}{'steps':>7}  {'cells':<16}{'JAX, s':>9}{'unchecked':>11}{'checked':>9}")
    for name in args.data:
        for row in rows(name, args.rounds):
            print(
                f"{name:<15}{row['dim']:>5}{STEPS[name]:>7}  {row['cells']:<16}{row['jax_s']:>9.3f}"
                f"{row['jax']:>11.2f}{row['jax_checked']:>9.2f}",
                flush=True,
            )


def rows(name: str, rounds: int) -> list[dict[str, Any]]:
    """Measure both loads on a data set."""
    problem, found = OLSProblem.from_dataset(name), []
    for replicates, cells in ((1, SHARED), (REPLICATES, f"{CELLS // REPLICATES} x {REPLICATES}")):
        with jax.enable_x64(True):  # here alone: it is a setting of the whole process
            of_jax, *ours = measure(problem, STEPS[name], replicates, rounds)
        plain, checked = (statistics.median(a / b for a, b in zip(of_jax, other, strict=True)) for other in ours)
        found.append(
            {
                "data": name, "dim": problem.dim, "cells": cells, "jax_s": statistics.median(of_jax), "jax": plain,
                "jax_checked": checked,
            }
        )  # fmt: skip
    return found


def measure(problem: OLSProblem, n_steps: int, replicates: int, rounds: int) -> list[list[float]]:
    """Return the seconds of JAX, and of the kernel without and with its second run, in every round."""
    eps = np.geomspace(1e-3, 1e-1, CELLS // replicates)
    runs = [
        with_jax(problem, eps, replicates, n_steps),
        with_kernel(problem, eps, replicates, n_steps, False),
        with_kernel(problem, eps, replicates, n_steps, True),
    ]
    results = [run() for run in runs]  # compiled here
    worst = max(np.abs(result / results[1] - 1).max() for result in results)
    if not worst < _SAME:
        raise AssertionError(f"the contestants must agree on the excess to {_SAME:g}, got {worst:.2g}")
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, times in zip(runs, seconds, strict=True):
            time.sleep(REST)
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
    return seconds


def with_kernel(
    problem: OLSProblem, eps: np.ndarray, replicates: int, n_steps: int, check: bool
) -> Callable[[], np.ndarray]:
    """Return a function that runs the cells with the kernel, and returns the excess, (replicates, learning rates)."""
    x, run = minibatch.prepare(problem), Run(n_steps, check_rounding=check)
    cells = {
        "eps": np.tile(eps, replicates),
        "eps_a": np.ones(CELLS),
        "batch_size": np.full(CELLS, float(ROWS)),
        "replicate": np.repeat(np.arange(float(replicates)), eps.size),
    }
    parts = np.array_split(np.arange(CELLS), processors())

    def part(where: np.ndarray) -> np.ndarray:
        return minibatch.tile(x, {name: values[where] for name, values in cells.items()}, run)[0]["excess"]

    def call() -> np.ndarray:
        with ThreadPoolExecutor(len(parts)) as pool:
            return np.concatenate(list(pool.map(part, parts))).reshape(replicates, eps.size)

    return call


def with_jax(problem: OLSProblem, eps: np.ndarray, replicates: int, n_steps: int) -> Callable[[], np.ndarray]:
    """Return a function that runs the cells with JAX, and returns the same."""
    sample = problem.sample
    assert sample is not None
    X, y, w0 = (jnp.asarray(values) for values in (sample.Z, sample.y, problem.w0))
    rows = [drawn_rows("epoch", 0, replicate, ROWS, sample.n, n_steps) for replicate in range(replicates)]

    def loss(w: Any, a: Any, x: Any, target: Any) -> Any:
        z = x @ w
        z = z - jnp.mean(z)
        return jnp.mean((target - a * z / jnp.sqrt(jnp.mean(z * z))) ** 2) / 2

    gradients = jax.grad(loss, argnums=(0, 1))

    def cell(rate: Any, batches: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            w, a = state
            grad_w, grad_a = gradients(w, a, X[batch], y[batch])
            return (w - rate * grad_w, a - grad_a), None

        return jax.lax.scan(step, (w0, jnp.asarray(problem.a0)), batches)[0]

    every = jax.jit(jax.vmap(jax.vmap(cell, in_axes=(0, None)), in_axes=(None, 0)))
    if replicates == 1:  # one array of batches: the products of all cells are one product of matrices
        every = jax.jit(jax.vmap(cell, in_axes=(0, None)))
    inputs = jnp.asarray(eps), jnp.asarray(rows[0] if replicates == 1 else np.stack(rows))

    def call() -> np.ndarray:
        w, a = (np.asarray(values) for values in every(*inputs))
        g = problem.eigvals * problem.u
        kappa = a / np.sqrt((w * w) @ problem.eigvals)
        energy = problem.explained_var
        excess = 1 - 2 * kappa * (w @ g) / energy + a * a / energy
        return excess.reshape(replicates, eps.size)

    return call


if __name__ == "__main__":
    main()
