"""How fast the engine is: against the arithmetic limit of this machine and against what people write instead.

    python benchmarks/engine.py [--quick] [--repeats N] [--out DIR] [--update FILE.md ...]

JAX and PyTorch take part where they are installed; JAX with the printed update and with the form in the eigenbasis of
H* that this package iterates.

Every figure is a median over rounds in which all contestants run once each, in turn, so that a machine whose speed
drifts drifts for all of them; ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from blocks import marked, write_into
from numba import njit

from olsbn.dynamics import bngd
from olsbn.engine.compile import LANES
from olsbn.engine.run import Run
from olsbn.engine.split import LARGEST_DIM
from olsbn.engine.step import COUPLED
from olsbn.engine.vectors import VECTOR, Writer, mode_pass
from olsbn.problems import OLSProblem
from olsbn.sweeps.pool import processors
from olsbn.sweeps.running import sweep

DIMS = (10, 30, 100, 1000, 10000)
ENGINE, ENGINE_ONE, LIMIT = "olsbn", "olsbn, 1 thread", "limit"

# Seconds before a measurement: the threads of the contestant before go on spinning for a while.
_REST = 0.1

# The instructions that a mode of a group of lanes costs a step: four fused multiply-adds and a multiplication, see
# `olsbn.dynamics.normalizers.Star.modes`.
_MIX = "fmfff"


@dataclass(frozen=True)
class Work:
    """A load: `cells` learning rates, all inside the smooth region, where two correct programs agree."""

    dim: int
    cells: int
    steps: int

    @property
    def problem(self) -> OLSProblem:
        """The problem all contestants run."""
        return _problem(self.dim)

    @property
    def eps(self) -> Any:
        """The learning rates."""
        return np.geomspace(1e-5, 1e-3, self.cells)

    @property
    def mode_steps(self) -> float:
        """Cells times modes times steps."""
        return float(self.dim) * self.cells * self.steps


# What precedes the iteration is made once: it is the same for all.
@lru_cache
def _problem(dim: int) -> OLSProblem:
    return OLSProblem.from_spectrum("logspace", dim, 100.0)


@lru_cache(maxsize=1)
def _dense(dim: int) -> tuple[Any, Any]:
    """Return a dense H with the problem's spectrum and its eigenvectors."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))[0]
    return (rotation * _problem(dim).eigvals) @ rotation.T, rotation


# -------------------------------------------------------------------- contestants: work -> excess of every cell


def engine(work: Work, workers: int | None = None) -> Any:
    """Return the excess of every cell as this package computes it."""
    return sweep(
        work.problem, eps=work.eps, n_steps=work.steps, tol=1e-290, workers=workers, progress=False
    ).excess.values


def _on_threads(work: Work, run: Callable[[Any], Any]) -> Any:
    """Return what `run` finds for the learning rates, of which each thread gets a part."""
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(run, np.array_split(work.eps, processors()))))


def deflated(work: Work) -> Any:
    """The engine in deflated coordinates, which serve larger dimensions: 11 operations a mode, and here no check."""
    x = bngd.prepare(work.problem, "deflated")
    how = Run(work.steps, tol=1e-290, check_rounding=False)
    return _on_threads(work, lambda eps: bngd.tile(x, {"eps": eps, "eps_a": np.ones(eps.size)}, how)[0]["excess"])


@njit(nogil=True, error_model="numpy")
def _plain_cells(eigvals, g, w0, a0, eps, n_steps, excess, E):  # type: ignore[no-untyped-def]
    w = np.empty(w0.size)
    for c in range(eps.size):
        w[:] = w0
        a = a0
        for _ in range(n_steps + 1):
            wg, s2 = 0.0, 0.0
            for i in range(w.size):
                wg += w[i] * g[i]
                s2 += eigvals[i] * w[i] * w[i]
            s = np.sqrt(s2)
            excess[c] = 1 - wg * wg / s2 / E + (a - wg / s) ** 2 / E
            x = eps[c] * a / s
            for i in range(w.size):
                w[i] += x * (g[i] - wg / s2 * eigvals[i] * w[i])
            a = wg / s


def plain_kernel(work: Work) -> Any:
    """The printed update in the eigenbasis, compiled by Numba, a cell after another on all threads."""
    p = work.problem

    def run(eps: Any) -> Any:
        excess = np.empty(eps.size)
        _plain_cells(p.eigvals, p.eigvals * p.u, p.w0, p.a0, eps, work.steps, excess, p.explained_var)
        return excess

    return _on_threads(work, run)


def batched_numpy(work: Work) -> Any:
    """The printed update in the eigenbasis, all cells at once in NumPy."""
    p = work.problem
    g, E = p.eigvals * p.u, p.explained_var
    w, a = np.tile(p.w0, (work.cells, 1)), np.full(work.cells, p.a0)
    for k in range(work.steps + 1):
        wg, s2 = w @ g, (w * w) @ p.eigvals
        s = np.sqrt(s2)
        if k == work.steps:
            return 1 - wg**2 / s2 / E + (a - wg / s) ** 2 / E
        w += (work.eps * a / s)[:, None] * (g - (wg / s2)[:, None] * p.eigvals * w)
        a = wg / s
    return None


def dense_loop(work: Work) -> Any:
    """The printed update with a dense H, a Python loop over cells and steps."""
    p = work.problem
    H, rotation = _dense(work.dim)
    g, E = rotation @ (p.eigvals * p.u), p.explained_var
    excess = np.empty(work.cells)
    for c, eps in enumerate(work.eps):
        w, a = rotation @ p.w0, p.a0
        for k in range(work.steps + 1):
            Hw = H @ w
            wg, s2 = w @ g, w @ Hw
            s = np.sqrt(s2)
            if k == work.steps:
                excess[c] = 1 - wg**2 / s2 / E + (a - wg / s) ** 2 / E
            w = w + eps * a / s * (g - wg / s2 * Hw)
            a = wg / s
    return excess


def _jax() -> dict[str, Callable[[Work], Any]]:
    """Return the printed update and the form in the eigenbasis of H*: a scan over the steps of a cell, vectorized."""
    import jax
    import jax.numpy as jnp

    def printed(eps: Any, x: Any, steps: int) -> Any:
        def sums(w: Any) -> Any:
            return w @ x["g"], w @ (x["eigvals"] * w)

        def step(state: Any, _: Any) -> Any:
            w, a = state
            wg, s2 = sums(w)
            s = jnp.sqrt(s2)
            return (w + eps * a / s * (x["g"] - wg / s2 * x["eigvals"] * w), wg / s), None

        (w, a), _ = jax.lax.scan(step, (x["w0"], x["a0"]), length=steps)
        wg, s2 = sums(w)
        return 1 - wg**2 / s2 / x["E"] + (a - wg / jnp.sqrt(s2)) ** 2 / x["E"]

    def star(eps: Any, x: Any, steps: int) -> Any:
        def look(z: Any, beta: Any) -> Any:
            V, S = z @ z, z @ x["b"]
            s2 = beta * beta + V
            return V / s2, S, beta / jnp.sqrt(s2), s2

        def step(state: Any, _: Any) -> Any:
            z, beta, a = state
            n, S, cos, s2 = look(z, beta)
            chi = eps * a / jnp.sqrt(s2)
            A, B = chi * beta / s2, chi * n
            return ((1 - A * x["mu"]) * z + B * x["b"], beta + B * x["L"] - A * S, cos), None

        (z, beta, a), _ = jax.lax.scan(step, (x["z"], x["beta"], x["a"]), length=steps)
        n, _, cos, _ = look(z, beta)
        return n + (a - cos) ** 2

    run_printed, run_star = (
        jax.jit(jax.vmap(cell, in_axes=(0, None, None)), static_argnums=2) for cell in (printed, star)
    )

    def jax_printed(work: Work) -> Any:
        p = work.problem
        x = {"eigvals": p.eigvals, "g": p.eigvals * p.u, "w0": p.w0, "a0": p.a0, "E": p.explained_var}
        with jax.enable_x64(True):  # here alone: it is a setting of the whole process
            return np.asarray(run_printed(work.eps, x, work.steps))

    def jax_star(work: Work) -> Any:
        p = _star(work.dim)
        x = {name: p.numbers[COUPLED][name] for name in ("mu", "b")} | {"z": p.start[COUPLED]["z"]}
        x |= {"beta": p.begin["beta"], "a": p.begin["a"], "L": p.facts["L"]}
        with jax.enable_x64(True):
            return np.asarray(run_star(np.ldexp(work.eps, p.eps_exp), x, work.steps))

    return {"JAX jit(vmap(scan)), printed update": jax_printed, "JAX jit(vmap(scan)), eigenbasis of H*": jax_star}


@lru_cache(maxsize=1)
def _star(dim: int) -> Any:
    return bngd.prepare(_problem(dim), "star").coordinates


def _torch() -> dict[str, Callable[[Work], Any]]:
    import torch

    @torch.no_grad()
    def torch_batched(work: Work) -> Any:
        p = work.problem
        eigvals, u, w0 = (torch.from_numpy(x.copy()) for x in (p.eigvals, p.u, p.w0))
        g, E, eps = eigvals * u, p.explained_var, torch.from_numpy(work.eps)
        w, a = w0.repeat(work.cells, 1), torch.full((work.cells,), p.a0, dtype=torch.float64)
        for k in range(work.steps + 1):
            wg, s2 = w @ g, (w * w) @ eigvals
            s = torch.sqrt(s2)
            if k == work.steps:
                return (1 - wg**2 / s2 / E + (a - wg / s) ** 2 / E).numpy()
            w += (eps * a / s)[:, None] * (g - (wg / s2)[:, None] * eigvals * w)
            a = wg / s
        return None

    return {"PyTorch, batched": torch_batched}


def contestants(dim: int) -> dict[str, Callable[[Work], Any]]:
    """Return everything that can run here at a dimension, by name."""
    found: dict[str, Callable[[Work], Any]] = {
        ENGINE: engine,
        ENGINE_ONE: lambda work: engine(work, workers=1),
        "deflated coordinates alone, unchecked": deflated,
        "plain-coordinates kernel": plain_kernel,
        "NumPy, batched": batched_numpy,
        "NumPy, dense Python loop": dense_loop,
    }
    for make in (_jax, _torch):
        try:
            found |= make()
        except ImportError:
            continue
    if dim > 1000:
        del found["NumPy, dense Python loop"]
    if dim > LARGEST_DIM:
        found.pop("JAX jit(vmap(scan)), eigenbasis of H*", None)
    return found


# -------------------------------------------------------------------- the limit


_CHAINS, _REPEATS = 12, 4  # chains enough to hide the latency, and mixes of each a turn of the loop


def _write_pipes(to: Writer, loop: Any) -> None:
    """The kernel's mix of instructions on registers, with nothing else to do: ``t = t/2 + 1/4``, ``t = t/2``."""
    half, quarter = to.load(0, 0), to.load(1, 0)  # as numbers, that nothing is worked out beforehand
    chains = to.slots([to.load(2 + j, 0) for j in range(_CHAINS)])
    with loop():
        values = [to.builder.load(slot) for slot in chains]
        for op in _MIX * _REPEATS:
            values = [to.fma(t, half, quarter) if op == "f" else to.mul(t, half) for t in values]
        for value, slot in zip(values, chains, strict=True):
            to.builder.store(value, slot)
    for j, slot in enumerate(chains):
        to.put(to.builder.load(slot), 2 + j, 0)


_pipes = mode_pass(_write_pipes, VECTOR)


@njit(nogil=True)
def _run_pipes(turns, table, n):  # type: ignore[no-untyped-def]
    for _ in range(n):
        _pipes(turns, turns, table)


def limit(threads: int, n: int = 4000) -> Callable[[], float]:
    """Return a function that measures how many mode-steps a second the arithmetic pipes take, on that many threads."""
    turns = np.empty(1000)

    def kernel(n: int) -> None:
        _run_pipes(turns, np.repeat([0.5, 0.25, *np.ones(_CHAINS)], LANES), n)

    kernel(1)

    def measure() -> float:
        time.sleep(_REST)
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(kernel, [n] * threads))
        return threads * n * turns.size * _REPEATS * _CHAINS * VECTOR / (time.perf_counter() - began)

    return measure


# -------------------------------------------------------------------- measuring


def _seconds(run: Callable[[], Any]) -> float:
    time.sleep(_REST)
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _sized(dim: int, mode_steps: float, run: Callable[[Work], Any]) -> Work:
    """Return the load 4096 cells x 100 modes x 1000 steps in another shape, with fewer steps for slow contestants."""
    cells = max(64, min(16384, 4096 * 100 // dim // 64 * 64))  # so that no load is over in a few milliseconds
    if run is dense_loop:
        cells, mode_steps = 4, min(mode_steps, max(8.0 * dim, 2e9 / dim / dim))
    return Work(dim, cells, max(2, min(1000, int(mode_steps / dim / cells))))


def table(
    repeats: int, dims: tuple[int, ...] = DIMS, say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Measure every contestant at every dimension; each row has the rate, its ratio to the engine and its error."""
    rows = []
    for dim in dims:
        say(f"d = {dim}")
        runs = contestants(dim)
        loads, errors = {}, {}
        for name, run in runs.items():
            # The slow ones get fewer steps of the same work.
            work = _sized(dim, 4e7 if name.startswith(("NumPy", "PyTorch")) else 4e8, run)
            # A sweep takes some 5 ms besides its arithmetic (the jobs tell what that is for a user). More cells would
            # not serve the others, which go through all of them at every step.
            loads[name] = work = Work(dim, 8 * work.cells, work.steps) if name in (ENGINE, ENGINE_ONE) else work
            answer, want = run(work), engine(work)  # also compiles
            errors[name] = float(np.max(np.abs(answer / want - 1)))
        rates: dict[str, list[float]] = {name: [] for name in runs}
        rates[LIMIT] = []
        pipes = limit(processors())
        for _ in range(repeats):
            rates[LIMIT].append(pipes())
            for name, run in runs.items():
                rates[name].append(loads[name].mode_steps / _seconds(partial(run, loads[name])))
        for name, values in rates.items():
            rows.append(
                {
                    "dim": dim,
                    "name": name,
                    "mode_steps_per_s": statistics.median(values),
                    "engine_over_it": statistics.median(e / v for e, v in zip(rates[ENGINE], values, strict=True)),
                    "error": errors.get(name),
                    **({"cells": loads[name].cells, "steps": loads[name].steps} if name in loads else {}),
                }
            )
    return rows


def curves(repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Measure the engine's rate against dimension, cells, steps and threads: (value, median mode-steps a second)."""

    def rate(work: Work, workers: int | None = None) -> float:
        engine(Work(work.dim, work.cells, 1), workers)
        return statistics.median(work.mode_steps / _seconds(lambda: engine(work, workers)) for _ in range(repeats))

    def load(dim: int) -> Work:
        cells = 2048 if dim <= 1000 else 128
        return Work(dim, cells, int((4e8 if dim <= 1000 else 4e9) / dim / cells))

    dims = (2, 4, 8, 16, 20, 50, 100, 300, 1000, 10_000, 100_000)
    return {
        "dim": [(d, rate(load(d))) for d in dims],
        "cells": [(n, rate(Work(100, n, 4000))) for n in (1, 8, 32, 64, 256, 1024, 4096, 16384)],
        "steps": [(k, rate(Work(100, 4096, k))) for k in (1, 10, 100, 1000, 10_000)],
        "threads": [(t, rate(Work(100, 8192, 1000), t)) for t in range(1, processors() + 1)],
        "limit": [(t, statistics.median(limit(t)() for _ in range(repeats))) for t in range(1, processors() + 1)],
    }


def kernels(repeats: int, dims: tuple[int, ...] = (30, 100, 1000), mode_steps: float = 4e8) -> list[dict[str, float]]:
    """Measure both kernels on one thread, set-up apart, against the limit: in turn, medians of each and of ratios."""
    pipes = limit(1)
    rows = []
    for dim in dims:
        work = Work(dim, 512, max(1, int(mode_steps / dim / 512)))
        cells = {"eps": work.eps, "eps_a": np.ones(work.cells)}
        how = Run(work.steps, tol=1e-290, check_rounding=False)
        set_up = statistics.median(_seconds(partial(bngd.prepare, work.problem, "star")) for _ in range(3))
        x = {form: bngd.prepare(work.problem, form) for form in ("star", "deflated")}
        rounds = []
        for _ in range(1 + repeats):
            star, deflated = (work.mode_steps / _seconds(partial(bngd.tile, x[name], cells, how)) for name in x)
            rounds.append((star, deflated, pipes()))
        star, deflated, pipe = np.array(rounds[1:]).T  # the first one compiles
        rows.append(
            {
                "dim": dim,
                "star": float(np.median(star)),
                "deflated": float(np.median(deflated)),
                "limit": float(np.median(pipe)),
                "star_over_deflated": float(np.median(star / deflated)),
                "star_over_limit": float(np.median(star / pipe)),
                "set_up_s": set_up,
            }
        )
    return rows


# Large jobs, each in a process of its own, which says how long its sweep took.
_JOB = """
import time, numpy as np, olsbn
family = olsbn.ProblemFamily("logspace", 80.0)
began = time.perf_counter()
{}
print(time.perf_counter() - began)
"""
_JOBS = (
    (
        "heat map after [Cai]: 41 x 43 grid, 500 problems, d = 100, 2000 steps",
        "olsbn.sweep(family, dim=100, trial=range(500), n_steps=2000, eps_a=1.99 * np.logspace(-10, 0, 41), "
        "eps=np.logspace(-5, 16, 43), progress=False)",
        41 * 43 * 500 * 100 * 2e3,
    ),
    (
        "map of 1000 x 1000 cells, d = 100, 1000 steps",
        "olsbn.sweep(family(100), n_steps=1000, eps_a=np.linspace(0.01, 1.99, 1000), "
        "eps=np.geomspace(1e-4, 1e8, 1000), progress=False)",
        1e6 * 100 * 1e3,
    ),
)


def maps() -> list[dict[str, Any]]:
    """Time the large jobs once: the heat map after [Cai] and a map of a million cells."""
    found = []
    for name, job, mode_steps in _JOBS:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _JOB.format(job)], check=True, stdout=subprocess.PIPE, text=True)
        process = time.perf_counter() - began
        found.append(
            {"name": name, "mode_steps": mode_steps, "seconds": float(done.stdout), "process_seconds": process}
        )
    return found


def machine() -> dict[str, Any]:
    """Say what was measured on."""
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
        name = re.search(r"model name\s*:\s*(.+)", text).group(1)  # type: ignore[union-attr]
    except (OSError, AttributeError):
        pass
    return {
        "processor": name,
        "processors": processors(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lanes": LANES,
    }


def run(repeats: int, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the whole benchmark and return its numbers."""
    result: dict[str, Any] = {"machine": machine(), "repeats": repeats}
    result["table"] = table(repeats, (100,) if quick else DIMS, say)
    say("kernels")
    result["kernels"] = kernels(repeats)
    if not quick:
        say("curves")
        result["curves"] = curves(repeats)
        say("maps")
        result["maps"] = maps()
    return result


# -------------------------------------------------------------------- reporting


def report(result: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    dims = sorted({row["dim"] for row in result["table"]})
    cell = {(row["name"], row["dim"]): row for row in result["table"]}
    names = list(dict.fromkeys(row["name"] for row in result["table"]))
    lines = [
        f"{result['machine']['processor']}, {result['machine']['processors']} processors, medians of "
        f"{result['repeats']} interleaved rounds. Billions of mode-steps (cells × dimension × steps) a second; "
        "in brackets how many times faster olsbn is.",
        "",
        "| | " + " | ".join(f"d = {d}" for d in dims) + " |",
        "|---|" + "---:|" * len(dims),
    ]
    for name in names:
        values = []
        for d in dims:
            row = cell.get((name, d))
            if row is None:
                values.append("")
                continue
            rate = f"{row['mode_steps_per_s'] / 1e9:.3g}"
            values.append(rate if name == ENGINE else f"{rate} ({row['engine_over_it']:.3g}×)")
        label = "limit of the arithmetic pipes" if name == LIMIT else name
        lines.append(f"| {'**' + label + '**' if name == ENGINE else label} | " + " | ".join(values) + " |")
    errors = [row["error"] for row in result["table"] if row["error"] is not None]
    lines += ["", f"All contestants agree on the excess of every cell to {max(errors):.1g}.", ""]
    lines += [kernel_table(result)]
    if "maps" in result:
        lines += ["", "| job | seconds | whole process | billion mode-steps a second |", "|---|---:|---:|---:|"]
        lines += [
            f"| {m['name']} | {m['seconds']:.1f} | {m['process_seconds']:.1f} | "
            f"{m['mode_steps'] / m['seconds'] / 1e9:.2f} |"
            for m in result["maps"]
        ]
    return "\n".join(lines)


def kernel_table(result: dict[str, Any]) -> str:
    """Return the table of both kernels and the limit as Markdown."""
    rows = result["kernels"]
    lines = {
        "eigenbasis of H*": [f"{row['star'] / 1e9:.3g}" for row in rows],
        "limit of the arithmetic pipes": [f"{row['limit'] / 1e9:.3g}" for row in rows],
        "its share of the limit": [f"{row['star_over_limit']:.0%}" for row in rows],
        "deflated coordinates": [f"{row['deflated'] / 1e9:.3g}" for row in rows],
        "eigenbasis over deflated": [f"{row['star_over_deflated']:.2f}×" for row in rows],
        "set-up of the eigenbasis, all threads": [f"{row['set_up_s'] * 1e3:.3g} ms" for row in rows],
    }
    head = ["| kernel, one thread | " + " | ".join(f"d = {row['dim']}" for row in rows) + " |"]
    head += ["|---|" + "---:|" * len(rows)]
    return "\n".join(head + [f"| {name} | " + " | ".join(values) + " |" for name, values in lines.items()])


# What a marked block of a Markdown file holds, by the name in its marks.
BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {"benchmark": report, "kernels": kernel_table}


def save(result: dict[str, Any], folder: Path) -> None:
    """Write the numbers and, where there are curves, their figure."""
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(result, indent=1))
    if "curves" in result:
        from figure import bench_figure

        bench_figure(result).savefig(folder / "bench.png", dpi=150, metadata={"Software": None})


def main() -> None:
    """Measure, print the tables, and save what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only d = 100, without curves and large maps")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; medians are shown")
    parser.add_argument("--out", type=Path, help="folder for bench.json and, unless --quick, bench.png")
    parser.add_argument(
        "--update", type=Path, nargs="+", default=[], help="Markdown files whose marked blocks get the tables"
    )
    parser.add_argument("--of", type=Path, help="measure nothing: report an earlier bench.json")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats must be >= 1, got {options.repeats}")
    if options.out is not None and not options.out.parent.is_dir():
        parser.error(f"--out must be in a directory that exists, got {options.out}")
    for path in options.update:
        marked(path, BLOCKS)
    if options.of is not None:
        result = json.loads(options.of.read_text())
    else:
        result = run(options.repeats, options.quick, lambda text: print(f"measuring: {text}", file=sys.stderr))
    print(report(result))
    if options.out is not None:
        save(result, options.out)
    for path in options.update:
        write_into(path, BLOCKS, result)


if __name__ == "__main__":
    main()
