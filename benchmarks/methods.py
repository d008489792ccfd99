"""How fast each method and parameter is beside JAX `jit(vmap(scan))` of the printed update, in the same rounds.

    python benchmarks/methods.py [--rounds N] [--dim D ...] [--data NAME ...] [--out DIR] [--update FILE.md ...]

All threads on both sides. "unchecked" leaves out the rounding flag (`check_rounding=False`), "checked" is the default.
Medians over rounds in which all run in turn, so that a machine whose speed drifts drifts for all; ratios are taken
round by round. Learning rates span ten times the range in which cells converge, as those of a map do. Mini-batches are
those of `benchmarks/minibatch.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import minibatch
import numpy as np
from blocks import marked, write_into
from engine import machine
from operations import kinds_of, operations_a_mode

import olsbn

CELLS, STEPS = 4096, 300


@dataclass(frozen=True)
class Load:
    """A method with parameters, and what JAX iterates: N = h H + c I, or GD."""

    name: str
    method: str
    params: dict[str, float] = field(default_factory=dict)
    h: float = 1.0
    c: float = 0.0


LOADS = (
    Load("bngd", "bngd"),
    Load("bngd, momentum", "bngd", {"momentum": 0.5}),
    Load("bngd, nesterov", "bngd", {"momentum": 0.5, "nesterov": 1}),
    Load("bngd, weight_decay", "bngd", {"weight_decay": 1e-4}),
    Load("bngd, eps_power", "bngd", {"eps_power": 0.5}),
    Load("bngd, smoothing", "bngd", {"smoothing": 0.1}, c=0.1),
    Load("wngd", "wngd", {"eps_a": 1e-3}, h=0.0, c=1.0),
    Load("gd, momentum", "gd", {"momentum": 0.5}),
)


def jax_cells(load: Load, problem: olsbn.OLSProblem, steps: int) -> Callable[[Any], Any]:
    """Return JAX's program for the excess of cells with these learning rates."""
    import jax
    import jax.numpy as jnp

    p = {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0, "eps_power": 0.0, "eps_a": 1.0} | load.params
    heavy, m, decay = p["momentum"] != 0, p["momentum"], p["weight_decay"]
    rates = (np.arange(steps) + 1.0) ** -p["eps_power"]
    lam, u, w0 = problem.eigvals, problem.u, problem.w0
    g, N, E = lam * u, load.h * lam + load.c, problem.explained_var

    def ahead(grad: Any, b: Any) -> tuple[Any, Any]:
        b = m * b + grad if heavy else grad
        return b, (grad + m * b if p["nesterov"] else b)

    def bn(eps: Any) -> Any:
        def step(state: Any, rate: Any) -> Any:
            w, a, b, b_a = state
            nu2 = w @ (N * w)
            nu = jnp.sqrt(nu2)
            r = g - lam * w * (a / nu)
            wr = w @ r
            b, move = ahead(-(a / nu) * (r - wr / nu2 * N * w) + decay * w, b)
            b_a, move_a = ahead(-wr / nu, b_a)
            return (w - eps * rate * move, a - p["eps_a"] * move_a, b, b_a), None

        a0 = problem.a0 * np.sqrt((w0 @ (N * w0)) / (w0 @ (lam * w0)))
        start = jnp.array(w0), jnp.array(a0), jnp.zeros_like(w0), jnp.array(0.0)
        (w, a, _, _), _ = jax.lax.scan(step, start, jnp.array(rates))
        error = a * w / jnp.sqrt(w @ (N * w)) - u
        return error @ (lam * error) / E

    def gd(eps: Any) -> Any:
        def step(state: Any, rate: Any) -> Any:
            w, b = state
            b, move = ahead(lam * w - g + decay * w, b)
            return (w - eps * rate * move, b), None

        (w, _), _ = jax.lax.scan(step, (jnp.array(w0), jnp.zeros_like(w0)), jnp.array(rates))
        return (w - u) @ (lam * (w - u)) / E

    run = jax.jit(jax.vmap(gd if load.method == "gd" else bn))

    def cells(eps: Any) -> Any:
        with jax.enable_x64(True):  # here alone: it is a setting of the whole process
            return np.asarray(run(eps))

    return cells


def measure(dim: int, rounds: int) -> list[dict[str, Any]]:
    """Measure all loads at one dimension."""
    problem = olsbn.OLSProblem.from_spectrum("logspace", dim, 100.0)
    cells = CELLS if dim <= 100 else CELLS // 8
    regimes = olsbn.effective_rate_regimes(problem)
    bn = np.geomspace(regimes.eps_1 / 10, regimes.eps_2 * 10, cells)
    own = np.geomspace(0.02, 0.2, cells) / problem.eigvals[-1]  # within the range of GD with momentum
    runs: dict[str, dict[str, Callable[[], Any]]] = {}
    operations: dict[str, int] = {}
    for load in LOADS:
        eps = own if load.method == "gd" else bn
        sweep = partial(
            olsbn.sweep, problem, method=load.method, eps=eps, n_steps=STEPS, tol=1e-290, progress=False, **load.params
        )
        jax = partial(jax_cells(load, problem, STEPS), eps)
        runs[load.name] = {"unchecked": partial(sweep, check_rounding=False), "checked": sweep, "jax": jax}
        [kind] = kinds_of(runs[load.name]["unchecked"])
        operations[load.name] = operations_a_mode(kind)
        theirs, ours, _ = jax(), runs[load.name]["unchecked"]().excess.values, sweep()  # all are compiled here
        same = np.isfinite(ours) & (ours > 1e-12)
        off = np.median(np.abs(theirs[same] / ours[same] - 1))
        if not off < 1e-6:
            raise SystemExit(f"{load.name}: JAX iterates something else, median difference {off:.1e}")
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, of in runs.items():
            for how, run in of.items():
                time.sleep(minibatch.REST)
                began = time.perf_counter()
                run()
                times.setdefault((name, how), []).append(time.perf_counter() - began)

    def ratio(over: tuple[str, str], under: tuple[str, str]) -> float:
        return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))

    return [
        {
            "dim": dim, "name": name, "operations": operations[name],
            "mode_steps_per_s": dim * cells * STEPS / statistics.median(times[name, "unchecked"]),
            "over_bngd": ratio((name, "unchecked"), ("bngd", "unchecked")),
            "jax": ratio((name, "jax"), (name, "unchecked")),
            "jax_checked": ratio((name, "jax"), (name, "checked")),
            "checked": ratio((name, "checked"), (name, "unchecked")),
        }
        for name in runs
    ]  # fmt: skip


def words_of(result: dict[str, Any]) -> str:
    """Return how it was measured."""
    machine = result["machine"]
    return (
        f"{machine['processor']}, {machine['processors']} processors, medians of {result['rounds']} interleaved rounds"
    )


def full(result: dict[str, Any]) -> str:
    """Return the tables of the page on speed."""
    lines = [
        f"{words_of(result)}; {CELLS} cells ({CELLS // 8} above d = 100), {STEPS} steps.",
        "",
        "| d | method | operations a mode | 1e9 mode-steps/s | time over BNGD's | times as fast as JAX "
        "| with the flag | its time |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['dim']} | {row['name']} | {row['operations']} | {row['mode_steps_per_s'] / 1e9:.2f} "
        f"| {row['over_bngd']:.2f} | {row['jax']:.1f} | {row['jax_checked']:.1f} | {row['checked']:.2f} |"
        for row in result["methods"]
    ]
    lines += ["", "| mini-batches of 32 | cells | times as fast as JAX | with the flag |", "|---|---|---:|---:|"]
    lines += [
        f"| {row['data']}, d = {row['dim']} | {row['cells']} | {row['jax']:.1f} | {row['jax_checked']:.1f} |"
        for row in result["minibatch"]
    ]
    return "\n".join(lines)


def short(result: dict[str, Any]) -> str:
    """Return the table of the README: one dimension, and mini-batches."""
    lines = [
        "Times as fast as JAX, `jit(vmap(scan))` of the printed update in float64, all threads on both sides, d = 100",
        f"({words_of(result)}). The rounding flag costs a second run where",
        "rounding could be amplified.",
        "",
        "| method | without the flag | with it |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['jax']:.1f} | {row['jax_checked']:.1f} |"
        for row in result["methods"]
        if row["dim"] == 100
    ]
    lines += [
        f"| minibatch, {row['data']}, {row['cells']} | {row['jax']:.1f} | {row['jax_checked']:.1f} |"
        for row in result["minibatch"]
        if row["cells"] == minibatch.SHARED
    ]
    return "\n".join(lines)


BLOCKS = {"methods": full, "speed": short}


def main() -> None:
    """Measure, print the tables, and save what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dim", type=int, nargs="*", default=[10, 30, 100, 1000])
    parser.add_argument("--data", nargs="*", choices=minibatch.STEPS, default=list(minibatch.STEPS))
    parser.add_argument("--out", type=Path, help="folder for methods.json")
    parser.add_argument("--of", type=Path, help="measure nothing: report an earlier methods.json")
    parser.add_argument(
        "--update", type=Path, nargs="+", default=[], help="Markdown files whose marked blocks to write"
    )
    args = parser.parse_args()
    for path in args.update:
        marked(path, BLOCKS)
    if args.of is not None:
        result = json.loads(args.of.read_text())
    else:
        result = {
            "machine": machine(),
            "rounds": args.rounds,
            "methods": [row for dim in args.dim for row in measure(dim, args.rounds)],
            "minibatch": [row for name in args.data for row in minibatch.rows(name, args.rounds)],
        }
    print(full(result))
    if args.out is not None:
        (args.out / "methods.json").write_text(json.dumps(result, indent=1))
    for path in args.update:
        write_into(path, BLOCKS, result)


if __name__ == "__main__":
    main()
