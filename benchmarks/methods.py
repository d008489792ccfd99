"""How fast each method and parameter is beside JAX `jit(vmap(scan))` of the printed update, in the same rounds.

    python benchmarks/methods.py [--rounds N] [--dim D ...] [--update FILE.md]

All threads on both sides. "unchecked" leaves out the rounding flag (`check_rounding=False`), "checked" is the default.
Medians over rounds in which all run in turn, so that a machine whose speed drifts drifts for all; ratios are taken
round by round. Learning rates span ten times the range in which cells converge, as those of a map do.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

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


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dim", type=int, nargs="*", default=[10, 30, 100, 1000])
    parser.add_argument("--no-jax", action="store_true")
    args = parser.parse_args()
    print("| d | method | 1e9 mode-steps/s | times BNGD's time | times JAX, unchecked | checked | checked/unchecked |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for dim in args.dim:
        table(dim, args.rounds, not args.no_jax)


def table(dim: int, rounds: int, with_jax: bool) -> None:
    """Measure all loads at one dimension."""
    problem = olsbn.OLSProblem.from_spectrum("logspace", dim, 100.0)
    cells = CELLS if dim <= 100 else CELLS // 8
    regimes = olsbn.effective_rate_regimes(problem)
    bn = np.geomspace(regimes.eps_1 / 10, regimes.eps_2 * 10, cells)
    own = np.geomspace(0.02, 0.2, cells) / problem.eigvals[-1]  # within the range of GD with momentum
    runs: dict[str, dict[str, Callable[[], Any]]] = {}
    for load in LOADS:
        eps = own if load.method == "gd" else bn
        sweep = partial(
            olsbn.sweep, problem, method=load.method, eps=eps, n_steps=STEPS, tol=1e-290, progress=False, **load.params
        )
        runs[load.name] = {"unchecked": partial(sweep, check_rounding=False), "checked": sweep}
        if with_jax:
            runs[load.name]["jax"] = partial(jax_cells(load, problem, STEPS), eps)
        found = [getattr(run(), "excess", None) for run in runs[load.name].values()]  # compile
        if with_jax:
            theirs, ours = runs[load.name]["jax"](), found[0].values
            same = np.isfinite(ours) & (ours > 1e-12)
            off = np.median(np.abs(theirs[same] / ours[same] - 1))
            if not off < 1e-6:
                raise SystemExit(f"{load.name}: JAX iterates something else, median difference {off:.1e}")
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, of in runs.items():
            for how, run in of.items():
                began = time.perf_counter()
                run()
                times.setdefault((name, how), []).append(time.perf_counter() - began)

    def ratio(over: tuple[str, str], under: tuple[str, str]) -> float:
        return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))

    for name in runs:
        rate = dim * cells * STEPS / statistics.median(times[name, "unchecked"])
        plain = ratio((name, "unchecked"), ("bngd", "unchecked"))
        against = [ratio((name, "jax"), (name, how)) if with_jax else float("nan") for how in ("unchecked", "checked")]
        twice = ratio((name, "checked"), (name, "unchecked"))
        print(
            f"| {dim} | {name} | {rate / 1e9:.2f} | {plain:.2f} | {against[0]:.1f} | {against[1]:.1f} | {twice:.2f} |"
        )


if __name__ == "__main__":
    main()
