"""How fast the engine is: against the arithmetic limit of this machine and against what people write instead.

    python benchmarks/engine.py [--quick] [--repeats N] [--out DIR] [--update FILE.md]

JAX and PyTorch take part where they are installed.

Every figure is a median over rounds in which all contestants run once each, in turn, so that a machine whose speed
drifts drifts for all of them; ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from olsbn.kernels.compile import LANES
from olsbn.kernels.coordinates import deflate
from olsbn.kernels.deflated import deflated_tile
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.sweeps.pool import processors
from olsbn.sweeps.running import sweep

DIMS = (10, 30, 100, 1000, 10000)
ENGINE, ENGINE_ONE, LIMIT = "olsbn", "olsbn, 1 thread", "limit"

# Seconds before a measurement: the threads of the contestant before go on spinning for a while.
_REST = 0.1

# What one mode of one cell costs a step: 5 multiplications and 6 additions (see `_make_mode_pass`).
_MULTIPLICATIONS, _ADDITIONS = 5, 6


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
    eps, excess = work.eps, np.empty(work.cells)
    parts = np.array_split(np.arange(work.cells), processors())

    def run(part: Any) -> None:
        out = np.empty(part.size)
        _plain_cells(p.eigvals, p.eigvals * p.u, p.w0, p.a0, eps[part], work.steps, out, p.explained_var)
        excess[part] = out

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, parts))
    return excess


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


def _jax() -> Callable[[Work], Any]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def cell(eps: Any, eigvals: Any, g: Any, w0: Any, a0: Any, E: Any, steps: int) -> Any:
        def step(state: Any, _: Any) -> Any:
            w, a = state
            wg, s2 = w @ g, w @ (eigvals * w)
            s = jnp.sqrt(s2)
            return (w + eps * a / s * (g - wg / s2 * eigvals * w), wg / s), None

        (w, a), _ = jax.lax.scan(step, (w0, a0), length=steps)
        wg, s2 = w @ g, w @ (eigvals * w)
        return 1 - wg**2 / s2 / E + (a - wg / jnp.sqrt(s2)) ** 2 / E

    run = jax.jit(jax.vmap(cell, in_axes=(0, None, None, None, None, None, None)), static_argnums=6)

    def jax_scan(work: Work) -> Any:
        p = work.problem
        return np.asarray(run(work.eps, p.eigvals, p.eigvals * p.u, p.w0, p.a0, p.explained_var, work.steps))

    return jax_scan


def _torch() -> Callable[[Work], Any]:
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

    return torch_batched


def contestants() -> dict[str, Callable[[Work], Any]]:
    """Return everything that can run here, by name."""
    found: dict[str, Callable[[Work], Any]] = {
        ENGINE: engine,
        ENGINE_ONE: lambda work: engine(work, workers=1),
        "plain-coordinates kernel": plain_kernel,
        "NumPy, batched": batched_numpy,
        "NumPy, dense Python loop": dense_loop,
    }
    for name, make in (("JAX jit(vmap(scan))", _jax), ("PyTorch, batched", _torch)):
        try:
            found[name] = make()
        except ImportError:
            continue
    return found


# -------------------------------------------------------------------- the limit


def _pipe_kernel(repeats: int, chains: int = 8) -> tuple[Any, int]:
    """Return a kernel of nothing but the engine's mix of operations on registers, and its mode-steps an element."""
    mix = "amamamamama"
    assert mix.count("a") == _ADDITIONS and mix.count("m") == _MULTIPLICATIONS
    lines = ["def pipes(x, n, a, m):", "  for k in range(n):", "    for l in range(x.size):"]
    lines += [f"      t{j} = x[l] + {j}.0" for j in range(chains)]
    for _ in range(repeats):
        lines += [f"      t{j} = t{j} {'+ a' if op == 'a' else '* m'}" for op in mix for j in range(chains)]
    lines.append("      x[l] = " + " + ".join(f"t{j}" for j in range(chains)))
    namespace: dict[str, Any] = {}
    exec("\n".join(lines), namespace)
    return njit(nogil=True, error_model="numpy")(namespace["pipes"]), repeats * chains


def limit(threads: int) -> Callable[[], float]:
    """Return a function that measures how many mode-steps a second the arithmetic pipes take, on that many threads."""
    kernel, per_element = _pipe_kernel(repeats=10)
    kernel(np.ones(64), 1, 0.25, 0.5)
    n = 100_000

    def measure() -> float:
        time.sleep(_REST)
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: kernel(np.ones(64), n, 0.25, 0.5), range(threads)))
        return threads * n * 64 * per_element / (time.perf_counter() - began)

    return measure


# -------------------------------------------------------------------- measuring


def _seconds(run: Callable[[], Any]) -> float:
    time.sleep(_REST)
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _sized(dim: int, mode_steps: float, run: Callable[[Work], Any]) -> Work:
    """Return the load 4096 cells x 100 modes x 1000 steps in another shape, with fewer steps for slow contestants."""
    cells = max(64, min(4096, 4096 * 100 // dim // 64 * 64))
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
        runs = contestants()
        loads, errors = {}, {}
        for name, run in runs.items():
            # The slow ones get fewer steps of the same work.
            budget = 4e8 if name in (ENGINE, ENGINE_ONE, "JAX jit(vmap(scan))", "plain-coordinates kernel") else 4e7
            loads[name] = work = _sized(dim, budget, run)
            if run is dense_loop and dim > 1000:
                continue
            answer, want = run(work), engine(work)  # also compiles
            errors[name] = float(np.max(np.abs(answer / want - 1)))
        runs = {name: run for name, run in runs.items() if name in errors}
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


def kernel_share_of_limit(repeats: int, dims: tuple[int, ...] = (50, 100, 1000)) -> list[dict[str, float]]:
    """Measure the tile kernel on one thread against the limit, in turn; half of the modes silent in a second run."""
    pipes = limit(1)
    rows = []
    for dim in dims:
        problem = OLSProblem.from_spectrum("logspace", dim, 100.0)
        u = problem.u.copy()
        u[::2] = 0
        shares = {}
        for name, p in (
            ("all modes with signal", problem),
            ("every other mode with u_i = 0", OLSProblem(problem.eigvals, u, problem.w0)),
        ):
            x = deflate(p)
            cells, steps = 256, int(2e8 / dim / 256)
            arguments = *x.kernel_arguments(), np.ldexp(np.geomspace(1e-5, 1e-2, cells), x.eps_exp), np.ones(cells)
            limits = 1e-290, False, 1e-290, 1e30, np.zeros(1, np.uint8)
            out = np.zeros((cells, 4), np.int64), np.zeros((cells, 5)), np.empty(0, np.int64), np.empty((0, cells, 6))
            run = partial(deflated_tile, *arguments, steps, *limits, *out)
            run()
            shares[name] = statistics.median(dim * cells * steps / _seconds(run) / pipes() for _ in range(repeats))
        rows.append({"dim": dim, **shares})
    return rows


def maps() -> list[dict[str, Any]]:
    """Time the large jobs once: the heat map after [Cai] and a map of a million cells."""
    family = ProblemFamily("logspace", 80.0)

    def heat_map() -> None:
        sweep(
            family, dim=100, trial=range(500), n_steps=2000, progress=False,
            eps_a=1.99 * np.logspace(-10, 0, 41), eps=np.logspace(-5, 16, 43),
        )  # fmt: skip

    def square_map() -> None:
        eps_a, eps = np.linspace(0.01, 1.99, 1000), np.geomspace(1e-4, 1e8, 1000)
        sweep(family(100), n_steps=1000, progress=False, eps_a=eps_a, eps=eps)

    jobs = (
        ("heat map after [Cai]: 41 x 43 grid, 500 problems, d = 100, 2000 steps", heat_map, 41 * 43 * 500 * 100 * 2e3),
        ("map of 1000 x 1000 cells, d = 100, 1000 steps", square_map, 1e6 * 100 * 1e3),
    )
    return [{"name": name, "mode_steps": mode_steps, "seconds": _seconds(job)} for name, job, mode_steps in jobs]


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
    say("share of the limit")
    result["share_of_limit"] = kernel_share_of_limit(repeats)
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
    lines += ["", f"All contestants agree on the excess of every cell to {max(errors):.1g}."]
    kinds = [key for key in result["share_of_limit"][0] if key != "dim"]
    lines += [
        "",
        "| kernel's share of the limit, one thread | " + " | ".join(kinds) + " |",
        "|---|" + "---:|" * len(kinds),
    ]
    lines += [
        f"| d = {row['dim']} | " + " | ".join(f"{row[k]:.0%}" for k in kinds) + " |" for row in result["share_of_limit"]
    ]
    if "maps" in result:
        lines += ["", "| job | seconds | billion mode-steps a second |", "|---|---:|---:|"]
        lines += [
            f"| {m['name']} | {m['seconds']:.1f} | {m['mode_steps'] / m['seconds'] / 1e9:.2f} |" for m in result["maps"]
        ]
    return "\n".join(lines)


_MARKS = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"


def marked(path: Path) -> tuple[str, str]:
    """Return what stands before and after the marked block of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    begin, end = _MARKS
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{path} must hold the marks {begin} and {end} once each")
    return text[: text.index(begin) + len(begin)], text[text.index(end) :]


def write_into(path: Path, text: str) -> None:
    """Replace the marked block of a Markdown file."""
    before, after = marked(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(f"{before}\n{text}\n{after}", encoding="utf-8")
    temporary.replace(path)


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
    parser.add_argument("--update", type=Path, help="Markdown file whose marked block gets the tables")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats must be >= 1, got {options.repeats}")
    if options.out is not None and not options.out.parent.is_dir():
        parser.error(f"--out must be in a directory that exists, got {options.out}")
    if options.update is not None:
        marked(options.update)
    result = run(options.repeats, options.quick, lambda text: print(f"measuring: {text}", file=sys.stderr))
    text = report(result)
    print(text)
    if options.out is not None:
        save(result, options.out)
    if options.update is not None:
        write_into(options.update, text)


if __name__ == "__main__":
    main()
