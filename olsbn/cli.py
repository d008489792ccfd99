"""The command line. Each command imports what it needs inside its body: `olsbn --help` must be instant."""

from __future__ import annotations

import atexit
import errno
import gc
import math
import os
import re
import shlex
import signal
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import click

from olsbn import __version__

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from olsbn.problems import OLSProblem

# Exit codes: 0 done, 1 finished with failures, 2 bad input, 128 + signal number when interrupted.
FAILURES, BAD_INPUT = 1, 2


def start() -> None:
    """Run the command `olsbn`, with less garbage collection: most of what a command allocates is modules.

    They take a quarter longer to import, and to tear down at exit, with the interpreter's defaults.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    main()


# ---------------------------------------------------------------- what all commands share


class _Signal(BaseException):
    """SIGINT or SIGTERM arrived."""

    words: ClassVar = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class _Pipe(BaseException):
    """The reader of standard output, such as `head`, has seen enough."""


class _Group(click.Group):
    """A group of commands that says what went wrong in one line."""

    def main(self, args: Any = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        args = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            with _signals_raise():
                code = super().main(args, "olsbn", obj=args, **extra)
        except click.ClickException as err:
            code = err.exit_code
            _complain(err.format_message(), getattr(err, "ctx", None))
        except _Signal as stop:
            code = 128 + stop.args[0]
            name = " ".join(["olsbn", *(arg for arg in args[:1] if arg in self.commands)])
            click.echo(f"{name}: {stop.words[stop.args[0]]}", err=True)
        except _Pipe:
            code = 128 + signal.SIGPIPE
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(code if isinstance(code, int) else 0)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if cmd.help:  # click's mark for text that is not to be filled, which raw docstrings spell out
            cmd.help = cmd.help.replace(r"\b", "\b")
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as err:  # click would turn it into exit code 1
            raise _Pipe from err


def _complain(message: str, ctx: click.Context | None = None) -> None:
    ctx = ctx or click.get_current_context(silent=True)
    click.echo(f"{ctx.command_path if ctx else 'olsbn'}: {' '.join(message.split())}", err=True)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGINT and SIGTERM unwind the stack, so that nothing half-made is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> NoReturn:
        raise _Signal(number)

    before = {number: signal.signal(number, stop) for number in _Signal.words}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn what the library's boundary refuses into one line and exit code 2.

    Only the part of a command that checks its input belongs in here: an error further on is a bug and shows where.
    """
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as err:
        raise click.UsageError(_sentence(err), click.get_current_context(silent=True)) from err


@contextmanager
def may_fail(what: str) -> Iterator[None]:
    """Turn a full disk or exhausted memory into one line and exit code 1."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, MemoryError) as err:
        raise click.ClickException(f"{what} failed: {_sentence(err) or 'out of memory'}") from err


def _sentence(err: BaseException) -> str:
    if isinstance(err, OSError) and err.strerror:
        return f"{err.filename}: {err.strerror}" if err.filename else err.strerror
    return str(err)


def command_line() -> str:
    """Return the command as typed, for the provenance of results."""
    return shlex.join(["olsbn", *click.get_current_context().find_root().obj])


@click.group(cls=_Group, invoke_without_command=True, context_settings={"max_content_width": 110})
@click.version_option(__version__, prog_name="olsbn", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """What exactly does batch normalization do to gradient descent?

    An exact simulator on ordinary least squares (GD, and gradient descent with batch normalization, BNGD), with the
    theory beside every number.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


# ---------------------------------------------------------------- problem and grids from options


def problem_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a problem."""
    options = [
        click.option("--data", metavar="NAME", help="A data set: diabetes, wine, breast_cancer, digits, mnist_5k."),
        click.option("--csv", metavar="FILE", help="A CSV table with a header row."),
        click.option("--target", metavar="COL", help="The target's column in the CSV table."),
        click.option("--spectrum", metavar="KIND", help="Random problem: logspace, linspace, powerlaw, ..."),
        click.option("--dim", type=int, metavar="D", help="Number of inputs of the random problem."),
        click.option("--cond", type=float, metavar="K", help="Condition number of the random problem."),
        click.option("--seed", type=int, metavar="S", help="Seed of the random problem (default 0)."),
        click.option("--standardize", is_flag=True, help="Divide each input by its standard deviation."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def make_problem(
    data: str | None,
    csv: str | None,
    target: str | None,
    spectrum: str | None,
    dim: int | None,
    cond: float | None,
    seed: int | None,
    standardize: bool,
) -> OLSProblem:
    """Make the problem that the options name."""
    given = [f"--{name}" for name, value in (("data", data), ("csv", csv), ("spectrum", spectrum)) if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise ValueError(
            "a problem must be given by exactly one of --data NAME, --csv FILE --target COL, "
            f"--spectrum KIND --dim D --cond K; got {got} (try: olsbn map --data diabetes)"
        )
    needs = {
        "--target": (target, "--csv"),
        "--dim": (dim, "--spectrum"),
        "--cond": (cond, "--spectrum"),
        "--seed": (seed, "--spectrum"),
    }
    for name, (value, partner) in needs.items():
        if value is not None and partner != given[0]:
            raise ValueError(f"{name} goes with {partner}, got it with {given[0]}")
    if standardize and spectrum is not None:
        raise ValueError("--standardize goes with --data or --csv, got it with --spectrum")
    if csv is not None and target is None:
        raise ValueError("--csv needs --target COL, the name of the target's column")
    if spectrum is not None and dim is None:
        raise ValueError("--spectrum needs --dim D, the number of inputs")
    from olsbn import problems
    from olsbn.config import check_memory, nearest
    from olsbn.problems.data import DATASETS
    from olsbn.problems.spectra import SPECTRA

    if dim is not None:
        check_memory("--dim", dim, _BYTES_A_MODE)

    if spectrum is None:
        if data is not None:
            problem = problems.OLSProblem.from_dataset(nearest("data set", data, list(DATASETS)), standardize)
        else:
            problem = problems.OLSProblem.from_csv(csv or "", target or "", standardize)
        # titles and directories tell raw data from standardized
        return replace(problem, label=f"{problem.label}-standardized") if standardize else problem
    kind = nearest("spectrum", spectrum, list(SPECTRA))
    if cond is None and kind != "identity" and dim != 1:
        raise ValueError("--spectrum needs --cond K, the condition number")
    return problems.OLSProblem.from_spectrum(kind, dim or 0, 1.0 if cond is None else cond, 0 if seed is None else seed)


# Bytes needed, with some room: a cell while a map is computed and drawn, a mode of a problem.
_BYTES_A_CELL, _BYTES_A_MODE = 600, 600


# ---------------------------------------------------------------- results


@contextmanager
def output_directory(path: Path, data_files: tuple[str, ...]) -> Iterator[Callable[[Callable[[Path], None]], None]]:
    """Open a directory for results; yield a function that fills it all at once.

    The directory must be new, empty, or an earlier result of the same command, which is told by its data files. What is
    written goes into a hidden directory inside it and moves into place when it is complete. If the command does not
    get that far nothing is left behind.
    """
    made: list[Path] = []
    with bad_input():
        if path.exists() and not path.is_dir():
            raise ValueError(f"--out must be a directory, got the file {path}")
        if path.is_dir() and not _is_own(path, data_files):
            raise ValueError(f"--out must be new, empty, or hold earlier results of this command, got {path}")
        missing = [p for p in (path, *path.parents) if not p.exists()]
        try:
            for directory in reversed(missing):
                directory.mkdir()
                made.append(directory)
            work = tempfile.TemporaryDirectory(prefix=_HIDDEN, dir=path)
        except OSError as err:
            for directory in reversed(made):
                directory.rmdir()
            raise ValueError(f"--out must be writable, got {path}: {err.strerror}") from None

    def publish(write: Callable[[Path], None]) -> None:
        with may_fail(f"writing to {path}"):
            write(Path(work.name))
            for new in sorted(Path(work.name).iterdir(), key=lambda p: p.name not in data_files):
                target = path / new.name
                if target.is_dir():
                    target.rename(Path(work.name) / f"old-{new.name}")
                new.replace(target)
        made.clear()

    try:
        yield publish
    finally:
        work.cleanup()
        for directory in reversed(made):
            directory.rmdir()


_HIDDEN = ".olsbn-"


def _is_own(path: Path, data_files: tuple[str, ...]) -> bool:
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(_HIDDEN)]
    if not entries:
        return True
    import h5py

    for entry in entries:
        if entry.name in data_files and entry.is_file() and h5py.is_hdf5(entry):
            with h5py.File(entry) as file:
                if "olsbn_version" in file.attrs:
                    return True
    return False


def results_name(command: str, label: str) -> Path:
    """Return the default directory of a command's results."""
    return Path("results") / f"{command}-{re.sub(r'[^A-Za-z0-9_.+-]+', '_', label).strip('.') or 'problem'}"


def save_netcdf(ds: xr.Dataset, path: Path) -> None:
    """Write a Dataset to a new NetCDF file."""
    ds.to_netcdf(path, engine="h5netcdf")


# ---------------------------------------------------------------- map, run, spectrum


# 50 a decade, such that the edge eps_a = 2 lies between two rows of cells.
_EPS_A = 2 * 10**-3.29, 2 * 10**0.29, 180, True


@main.command("map")
@problem_options
@click.option("--eps", metavar="LO:HI:N", help="Learning rates of w (default: around the ranges that converge).")
@click.option("--eps-a", metavar="LO:HI:N", help="Learning rates of the BN scale a (default: 0.001 to 3.9).")
@click.option("--steps", type=int, default=5000, show_default=True, metavar="K", help="Steps each cell runs.")
@click.option("--tol", type=float, default=1e-10, show_default=True, help="Relative excess that counts as converged.")
@click.option("--out", metavar="DIR", help="Where the results go (default: results/map-NAME).")
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
def map_command(
    eps: str | None, eps_a: str | None, steps: int, tol: float, out: str | None, workers: int | None, **named: Any
) -> None:
    r"""Draw where BNGD converges over (eps, eps_a), beside GD's range.

    Grids are LO:HI:N, with equal ratios for --eps and equal steps for --eps-a unless @log or @lin is appended.

    \b
    Examples:
      olsbn map --data diabetes
      olsbn map --spectrum logspace --dim 100 --cond 1000 --eps 1e-4:1e8:201 --eps-a 0.01:2.5:100@log
    """
    with bad_input():
        from olsbn.config import Grid, check_memory

        if workers is not None and workers < 1:
            raise ValueError(f"--workers must be >= 1, got {workers}")
        grid = Grid.parse("--eps", eps, log=True) if eps is not None else None
        grid_a = Grid.parse("--eps-a", eps_a, log=False) if eps_a is not None else Grid(*_EPS_A)
        for name, axis, text in (("--eps", grid, eps), ("--eps-a", grid_a, eps_a)):
            if axis is None:
                continue
            if axis.n < 2:
                raise ValueError(f"{name} must be LO:HI:N with N >= 2 for a map, got one value (see: olsbn run)")
            for value in (axis.lo, axis.hi):  # what the axis of a picture can show
                if value and not 1e-290 <= value <= 1e290:
                    raise ValueError(f"{name} must be 0 or in [1e-290, 1e290], got {value!r} in {text!r}")
        check_memory("the number of cells", (grid.n if grid else 241) * grid_a.n, _BYTES_A_CELL)
        problem = make_problem(**named)
        from olsbn import plotting
        from olsbn.sweeps import SweepSpec, sweep
        from olsbn.theory import eps_window

        rates = grid.values() if grid else default_eps(problem, steps, tol)
        for method in ("bngd", "gd"):
            SweepSpec.checked(
                problem, method, rates, grid_a.values() if method == "bngd" else 1.0, None, None, steps, tol, "steps"
            )
        path = Path(out) if out is not None else results_name("map", problem.label)
    with output_directory(path, ("map.nc",)) as publish:
        with may_fail("the sweep"):
            bngd = sweep(problem, eps=rates, eps_a=grid_a.values(), n_steps=steps, tol=tol, workers=workers)
            gd = sweep(problem, method="gd", eps=rates, n_steps=steps, tol=tol, workers=workers)
        ds = plotting.beside(bngd, gd)
        for name, method in (("window", "bngd"), ("gd_window", "gd")):
            window = eps_window(problem, tol, steps, method) if steps else None
            if window and window.reliable and 0 < window.lower < window.upper < math.inf:
                ds.attrs[name] = [window.lower, window.upper]
        ds.attrs["command"] = command_line()

        def write(work: Path) -> None:
            save_netcdf(ds, work / "map.nc")
            ds.to_zarr(work / "map.zarr", mode="w", consolidated=False)
            figure = plotting.map_figure(ds)
            plotting.save(figure, work / "map.png", ds)
            plotting.save(figure, work / "map.pdf", ds)

        publish(write)
    click.echo(map_summary(problem, ds))
    click.echo(f"results     {path}/ (map.png, map.pdf, map.nc, map.zarr)")


def default_eps(problem: OLSProblem, steps: int, tol: float) -> np.ndarray:
    """Return learning rates around everything that theory says happens: whole decades, 25 cells each."""
    import numpy as np

    from olsbn.theory import effective_rate_regimes, eps_window, spectral_report

    regimes = effective_rate_regimes(problem)
    marks = [spectral_report(problem).eps_max, regimes.eps_1, regimes.eps_2]
    if 0 < tol < 1 and steps >= 1:
        marks += [
            end for m in ("gd", "bngd") for w in [eps_window(problem, tol, steps, m)] for end in (w.lower, w.upper)
        ]
    decades = [math.log10(mark) for mark in marks if 0 < mark < math.inf]
    lo, hi = max(math.floor(min(decades) - 0.5), -300), min(math.ceil(max(decades) + 0.5), 300)
    return np.logspace(lo, hi, 25 * (hi - lo) + 1)


def map_summary(problem: OLSProblem, ds: xr.Dataset) -> str:
    """Return what a map shows, in a few lines."""
    import numpy as np

    from olsbn import plotting, schema
    from olsbn.theory import eps_window, spectral_report

    report = spectral_report(problem)
    steps, tol, eps = ds.attrs["n_steps"], ds.attrs["tol"], ds.eps.values
    edges, log = plotting.cell_edges(eps)
    row = ds.sel(eps_a=1.0, method="nearest")
    lines = [f"problem     {_describe(problem)}"]
    for method, status in (("BNGD", ds.status), ("GD", ds.gd_status)):
        counts = [(s.label.replace("_", " "), int((status == s).sum())) for s in schema.Status]
        found = ", ".join(f"{count} {name}" for name, count in counts if count)
        lines.append(f"{method:<11} {status.size} cells: {found}")
    lines.append(f"learning rates that reach a relative excess of {tol:g} within {steps} steps:")
    for method, status, where in (
        ("bngd", row.status, f" at eps_a = {float(row.eps_a):.3g}"),
        ("gd", ds.gd_status, ""),
    ):
        good = (status == schema.Status.CONVERGED).values
        measured = "none on this grid"
        if good.any():
            first, last = np.flatnonzero(good)[[0, -1]]
            width = f"{np.diff(np.log10(edges))[good].sum():.2f} decades, " if log else ""
            measured = f"{width}{edges[first]:.3g} to {edges[last + 1]:.3g}"
            measured += "" if good[first : last + 1].all() else " with gaps"
            measured += ", cut off by the grid" if good[0] or good[-1] else ""
        theory = "nothing to predict"
        if steps:
            window = eps_window(problem, tol, steps, method)
            theory = f"theory: {window.decades:.2f} decades" + (" at eps_a = 1" if method == "bngd" else "")
            theory = theory if window.reliable else "theory: no reliable prediction for so few steps"
        lines.append(f"  {method.upper():<9} {measured}{where} ({theory})")
    lines.append("best contraction ratio of sqrt(excess) a step, on the grid and in theory over all learning rates:")
    for name, best in (("BNGD", report.rate_bngd_opt), ("GD", report.rate_gd_opt)):
        prefix = "gd_" if name == "GD" else ""
        steady = ds[f"{prefix}status"].isin([schema.Status.CONVERGED, schema.Status.MAX_STEPS])
        rate = ds[f"{prefix}rate_sim"].where(steady & (ds[f"{prefix}rate_sim"] < 1))
        measured = _ratio(float(rate.min())) if np.isfinite(rate).any() else "none measured"
        lines.append(f"  {name:<9} {measured} (theory: {_ratio(best)})")
    return "\n".join(lines)


def _ratio(rate: float) -> str:
    """Return a contraction ratio as text; one close to 1 by its distance from 1."""
    return f"{rate:.6g}" if not 0.999 < rate < 1 else f"1 - {1 - rate:.4g}"


def _describe(problem: OLSProblem) -> str:
    from olsbn.theory import spectral_report

    report = spectral_report(problem)
    return f"{problem.label}: d = {problem.dim}, cond = {report.cond:.6g}, cond* = {report.cond_star:.6g}"


@main.command("run")
@problem_options
@click.option("--method", default="both", show_default=True, metavar="M", help="gd, bngd or both.")
@click.option("--eps", type=float, help="Learning rate of w (default: by theory, for each method its own).")
@click.option("--eps-a", type=float, help="Learning rate of the BN scale a (default: 1).")
@click.option(
    "--steps", type=int, default=2000, show_default=True, metavar="K", help="Number of steps; up to 20000 are recorded."
)
@click.option("--tol", type=float, default=1e-10, show_default=True, help="Relative excess that counts as converged.")
@click.option("--out", metavar="DIR", help="Where the results go (default: results/run-NAME).")
def run_command(
    method: str, eps: float | None, eps_a: float | None, steps: int, tol: float, out: str | None, **named: Any
) -> None:
    r"""Run GD and BNGD once and draw every step.

    \b
    Examples:
      olsbn run --data diabetes
      olsbn run --spectrum logspace --dim 100 --cond 1000 --method bngd --eps 10 --eps-a 0.5
    """
    with bad_input():
        from olsbn.config import nearest

        nearest("method", method, ["gd", "bngd", "both"])
        if method == "gd" and eps_a is not None:
            raise ValueError("--eps-a goes with BNGD, got it with --method gd, which has no BN scale")
        problem = make_problem(**named)
        from olsbn import plotting
        from olsbn.dynamics import run_bngd, run_gd
        from olsbn.sweeps import SweepSpec, theory_attrs

        if steps < 1:
            raise ValueError(f"--steps must be >= 1 for a picture of a run, got {steps}")
        rates = {m: default_rate(problem, m) if eps is None else eps for m in ("bngd", "gd") if method in (m, "both")}
        scale = 1.0 if eps_a is None else eps_a
        for name, rate in rates.items():
            SweepSpec.checked(problem, name, rate, scale if name == "bngd" else 1.0, None, None, steps, tol, "steps")
        path = Path(out) if out is not None else results_name("run", problem.label)
    with output_directory(path, tuple(f"{name}.nc" for name in rates)) as publish:
        with may_fail("the run"):
            record = max(1, -(-steps // 20_000))
            runs = {
                name: run_gd(problem, rate, steps, record, tol=tol)
                if name == "gd"
                else run_bngd(problem, rate, scale, steps, record, tol=tol)
                for name, rate in rates.items()
            }

        def write(work: Path) -> None:
            for name, ds in runs.items():
                ds.attrs |= {**theory_attrs(problem), "rank": problem.dim, "command": command_line()}
                save_netcdf(ds, work / f"{name}.nc")
            figure = plotting.run_figure(list(runs.values()))
            for suffix in ("png", "pdf"):
                plotting.save(figure, work / f"run.{suffix}", next(iter(runs.values())))

        publish(write)
    click.echo(f"problem     {_describe(problem)}")
    for name, ds in runs.items():
        at = f"eps = {rates[name]:.6g}" + (f", eps_a = {scale:g}" if name == "bngd" else "")
        to_tol = ds.attrs["steps_to_tol"]
        reached = f"{to_tol} steps to" if to_tol >= 0 else f"in {steps} steps not down to"
        click.echo(
            f"{name.upper():<11} {ds.attrs['status'].replace('_', ' ')}, {reached} a relative excess of {tol:g} ({at})"
        )
        measured = "none" if math.isnan(ds.attrs["rate_sim"]) else f"{ds.attrs['rate_sim']:.15g}"
        click.echo(f"{'':<11} contraction ratio a step: measured {measured}, theory {ds.attrs['rate_theory']:.15g}")
    click.echo(f"results     {path}/ ({', '.join(['run.png', 'run.pdf', *(f'{name}.nc' for name in rates)])})")


def default_rate(problem: OLSProblem, method: str) -> float:
    """Return GD's best learning rate, or one that BNGD takes to about its best effective rate."""
    from olsbn.theory import effective_rate_regimes, spectral_report

    report = spectral_report(problem)
    if method == "gd":
        return report.eps_opt
    rate = report.eps_eff_opt / effective_rate_regimes(problem).small_slope
    return rate if 0 < rate < math.inf else 1.0


@main.command("spectrum")
@problem_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every eigenvalue.")
def spectrum_command(as_json: bool, **named: Any) -> None:
    r"""Print the spectra of H and H*, thresholds and best rates.

    \b
    Examples:
      olsbn spectrum --data wine --standardize
      olsbn spectrum --csv table.csv --target price --json
    """
    with bad_input():
        problem = make_problem(**named)
    from olsbn.theory import effective_rate_regimes, spectral_report

    report, regimes = spectral_report(problem), effective_rate_regimes(problem)
    table = [
        ("d", report.rank, "number of modes, the rank of H"),
        ("cond", report.cond, "condition number of H"),
        ("cond_star", report.cond_star, "condition number of H*, BNGD's own"),
        ("eps_max", report.eps_max, "GD converges for 0 < eps < eps_max = 2/lambda_max"),
        ("eps_opt", report.eps_opt, "GD's best learning rate"),
        ("rate_gd_opt", report.rate_gd_opt, "GD's contraction ratio of sqrt(excess) a step there"),
        ("eps_eff_max", report.eps_eff_max, "BNGD: edge of stability of the effective rate, 2/lambda*_max"),
        ("eps_eff_opt", report.eps_eff_opt, "BNGD: best effective rate"),
        ("rate_bngd_opt", report.rate_bngd_opt, "BNGD's contraction ratio there, with eps_a = 1"),
        ("eps_1", regimes.eps_1, "BNGD: start of the plateau, for this problem's w0"),
        ("eps_2", regimes.eps_2, "BNGD: end of the plateau, for this problem's w0"),
    ]
    if as_json:
        import json

        found: dict[str, Any] = {"problem": problem.label, "fingerprint": problem.fingerprint}
        found |= {name: value if math.isfinite(value) else None for name, value, _ in table}
        found |= {
            "eigvals": report.eigvals.tolist(),
            "eigvals_star": report.eigvals_star.tolist(),
            "note": regimes.note,
        }
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    rows = [("problem", problem.label, "")] + [(name, f"{value:.10g}", what) for name, value, what in table]
    for name, value, what in rows:
        click.echo(f"{name:<14}{value:<18}{what}".rstrip())
    for name, eigvals in (("eigvals", report.eigvals), ("eigvals_star", report.eigvals_star)):
        click.echo(f"{name:<14}{shortened(eigvals)}")
    if regimes.note:
        click.echo(f"note          {regimes.note}")


def shortened(values: np.ndarray, ends: int = 3) -> str:
    """Return numbers as text, the middle of a long list left out."""
    texts = [f"{value:.6g}" for value in values]
    if len(texts) > 2 * ends + 2:
        texts = [*texts[:ends], f"... ({len(texts) - 2 * ends} more) ...", *texts[-ends:]]
    return "  ".join(texts)


# ---------------------------------------------------------------- bench


@main.command("bench")
@click.option("--quick", is_flag=True, help="Only d = 100, without curves and large maps.")
@click.option("--repeats", type=click.IntRange(1, 100), default=5, show_default=True, help="Rounds; medians are shown.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for bench.json and, unless --quick, bench.png.")
@click.option("--update", type=click.Path(path_type=Path), help="Markdown file whose marked block gets the tables.")
def bench_command(quick: bool, repeats: int, out: Path | None, update: Path | None) -> None:
    """Measure the engine against the limit of this machine and against what people write instead.

    JAX and PyTorch take part where they are installed.
    """
    with bad_input():
        from olsbn import bench

        if update is not None:
            bench.marked(update)
        if out is not None and (not out.parent.is_dir() or (out.exists() and not out.is_dir())):
            raise ValueError(f"--out must be a directory, new or old, in one that exists, got {out}")
    result = bench.run(repeats, quick, lambda text: click.echo(f"measuring: {text}", err=True))
    text = bench.report(result)
    click.echo(text)
    with may_fail("saving the benchmark"):
        if out is not None:
            bench.save(result, out)
        if update is not None:
            bench.write_into(update, text)


# ---------------------------------------------------------------- sweeps in a store


class _Stopped(BaseException):
    """SIGINT or SIGTERM arrived while a store was being filled."""


@contextmanager
def _stops_in_time(message: str) -> Iterator[None]:
    """On SIGINT or SIGTERM say `message` and leave, at the latest after a second: the store is safe."""
    context, said = click.get_current_context(), threading.Event()

    def say() -> None:
        if not said.is_set():
            said.set()
            _complain(message, context)

    def leave(code: int) -> None:
        say()
        os._exit(code)

    def stop(number: int, _: object) -> NoReturn:
        code = 128 + number
        # what cannot be interrupted (a kernel that is being compiled, a worker that does not answer) is not waited for
        timer = threading.Timer(1.0, leave, (code,))
        timer.daemon = True
        timer.start()
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_DFL)
        raise _Stopped(code)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped as stopped:
        say()
        context.exit(stopped.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shard(text: str | None) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard must be I/N with 1 <= I <= N, got {text!r}")
    return int(found[1]), int(found[2])


@main.command("sweep")
@click.argument("config", metavar="CONFIG.toml")
@click.option("--out", metavar="STORE.zarr", required=True, help="The Zarr store; what is in it already is kept.")
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
@click.option("--scheduler", metavar="ADDRESS", help="Compute on the workers of this Dask scheduler instead.")
@click.option("--shard", metavar="I/N", help="Only part I of N, for job arrays that share a file system.")
def sweep_command(config: str, out: str, workers: int | None, scheduler: str | None, shard: str | None) -> None:
    r"""Run the sweep that a TOML file describes, into a store.

    The same command goes on where an earlier one was stopped, however it ended.

    \b
    Example of a CONFIG.toml:
      n_steps = 2000
      eps = "1e-5:1e16:43"          # LO:HI:N with equal ratios, a number, or a list
      eps_a = "0.1:1.9:19"          # LO:HI:N with equal steps
      dim = [10, 100, 1000]
      trials = 20
      [problem]
      spectrum = "logspace"         # or data = "diabetes", or csv = "table.csv", target = "y"
      cond = 100
    """
    path = Path(out)
    with bad_input():
        part = _shard(shard)
        if workers is not None and workers < 1:
            raise ValueError(f"--workers must be >= 1, got {workers}")
        if scheduler is not None and (workers is not None or shard is not None):
            raise ValueError("--scheduler goes without --workers and --shard")
        from olsbn import config as configs

        spec = configs.load(config)
        if not path.parent.is_dir():
            raise ValueError(f"--out must be in a directory that exists, got {out}")
        if not path.exists():
            configs.check_disk(spec, path.parent)
        from olsbn.store import StoreError
        from olsbn.sweeps import fill

        client = None
        if scheduler is not None:
            from olsbn import distributed

            client = distributed.connect(scheduler, quiet=True)
    goes_on = f"what is finished is kept in {out}, and the same command goes on from there"
    with _stops_in_time(f"interrupted; {goes_on}"), may_fail("the sweep"):
        try:
            store, n_run = fill(
                spec, path, shard=part, workers=workers, client=client, progress=True, command=command_line(),
                say=lambda text: click.echo(text, err=True),
            )  # fmt: skip
        except (StoreError, OSError) as err:
            if isinstance(err, OSError) and err.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise click.UsageError(_sentence(err), click.get_current_context()) from err
        finally:
            if client is not None:
                client.close(timeout=1)
    left = sum(not store.is_done(tile) for tile in store.tiling)
    click.echo(f"sweep       {store.attrs['title']}: {_grid(store)}")
    click.echo(f"tiles       {n_run} run now, {len(store.tiling) - left} of {len(store.tiling)} done")
    click.echo(f"results     {out}")


def _grid(store: Any) -> str:
    sizes = " x ".join(
        f"{n} {name}" for n, name in zip(store.tiling.grid, ("dim", "trial", "eps_a", "eps"), strict=True) if n > 1
    )
    return f"{math.prod(store.tiling.grid)} cells" + (f" ({sizes})" if sizes else "")


@main.command("plan")
@click.argument("config", metavar="CONFIG.toml")
@click.option("--workers", type=int, metavar="N", help="Threads to reckon with (default: all processors).")
def plan_command(config: str, workers: int | None) -> None:
    """Say what a sweep will cost: cells, tiles, bytes, and seconds from a short calibration."""
    with bad_input():
        if workers is not None and workers < 1:
            raise ValueError(f"--workers must be >= 1, got {workers}")
        from olsbn import config as configs
        from olsbn import planning, tiles

        spec = configs.load(config)
    plan = planning.plan(spec)
    workers = workers or tiles.processors()
    names = ("dim", "trial", "eps_a", "eps")
    sizes = " x ".join(f"{n} {name}" for n, name in zip(spec.shape, names, strict=True) if n > 1)
    limit = "at most " if spec.stop == "tol" else "about "
    wall = max(plan.core_seconds / min(workers, plan.n_tiles), plan.core_seconds / plan.n_tiles)
    click.echo(f"cells       {plan.n_cells}" + (f" ({sizes})" if sizes else ""))
    click.echo(f"tiles       {plan.n_tiles} of up to {plan.tile_cells} cells")
    click.echo(f"disk        at most {_bytes(plan.n_bytes)}")
    click.echo(
        f"time        {limit}{_duration(wall)} on {workers} threads here ({_duration(plan.core_seconds)} on one)"
    )


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


@main.command("status")
@click.argument("store", metavar="STORE")
def status_command(store: str) -> None:
    """Say what is in a store, what is missing and what is damaged.

    The exit code is 1 if something is damaged.
    """
    with bad_input():
        from olsbn.store import Store

        found = Store(Path(store))
        inputs = found.damaged_inputs()
    done = [tile for tile in found.tiling if found.is_done(tile)]
    damaged = [str(found.path / name) for name in inputs]
    damaged += [str(file) for tile in done for file in found.damaged_files(tile)]
    n_bytes = sum(file.stat().st_size for file in found.path.rglob("*") if file.is_file())
    click.echo(f"sweep       {found.attrs['title']}: {_grid(found)}")
    click.echo(
        f"made        {found.attrs['created']} by olsbn {found.attrs['olsbn_version']}: {found.attrs['command']}"
    )
    click.echo(f"tiles       {len(done)} of {len(found.tiling)} done, {_bytes(n_bytes)} in all")
    if not damaged:
        counts = [f"{n} {status.label.replace('_', ' ')}" for status, n in found.status_counts().items() if n]
        click.echo(f"cells       {', '.join(counts)}")
    writer, partial = found.writer(), len(found.partial_files())
    if writer:
        click.echo(f"writer      {writer}")
    elif partial:
        click.echo(f"leftovers   {partial} files of a killed writer, removed when the sweep goes on")
    for file in damaged[:20]:
        click.echo(f"damaged     {file}")
    if damaged:
        click.echo(
            f"            {len(damaged)} damaged files in all; the command that made the store, run again, mends them"
        )
        click.get_current_context().exit(FAILURES)


@main.command("plot")
@click.argument("store", metavar="STORE")
@click.option("--out", metavar="FILE", help="A .png or .pdf file (default: beside the store).")
@click.option(
    "--quantity",
    metavar="Q",
    help="Draw maps, of excess (default for one dimension), steps_to_tol, rate_sim or eps_eff.",
)
@click.option("--dim", type=int, metavar="D", help="Draw the map of this dimension.")
@click.option("--trial", type=int, metavar="T", help="Only this trial (default: medians over all).")
def plot_command(store: str, out: str | None, quantity: str | None, dim: int | None, trial: int | None) -> None:
    """Draw what is in a store: a map, or robustness against the dimension where there are several.

    Of several trials a map shows the median one of each cell. With --quantity several dimensions are drawn as maps side
    by side.
    """
    path = Path(store)
    with bad_input():
        if out is not None and Path(out).suffix not in (".png", ".pdf"):
            raise ValueError(f"--out must end in .png or .pdf, got {out}")
        if out is not None and not Path(out).parent.is_dir():
            raise ValueError(f"--out must be in a directory that exists, got {out}")
        ds = _open_result(path)
        from olsbn import measures, plotting
        from olsbn.config import nearest

        if quantity is not None:
            nearest("quantity", quantity, list(plotting.QUANTITIES))
        picked = ""
        for name, value in (("dim", dim), ("trial", trial)):
            if value is not None:
                known = ds[name].values.tolist() if name in ds.dims else [ds.attrs[name]] if name in ds.attrs else []
                if value not in known:
                    some = ", ".join(map(str, known[:10])) + (", ..." if len(known) > 10 else "")
                    raise ValueError(f"--{name} must be one of those in the store ({some or 'none'}), got {value}")
                ds = ds.sel({name: value}) if name in ds.dims else ds
                picked += f"-{name}{value}"
        if "eps" not in ds.dims:
            raise ValueError(f"{store} must have an axis eps to be drawn, got {', '.join(map(str, ds.dims)) or 'none'}")
        if "dim" not in ds.dims:
            ds = _as_map(ds, quantity or "excess")
            figure: Any = plotting.plot_map(ds, quantity or "excess").figure
        elif quantity is None:
            figure = plotting.plot_robustness(measures.robustness(ds)).figure
        else:
            figure = plotting.maps_figure([_as_map(ds.sel(dim=d), quantity) for d in ds["dim"].values], quantity)
        picked += f"-{quantity}" if quantity else ""
        place = path if path.name else path.resolve()
        target = Path(out) if out is not None else place.with_name(f"{path.stem}{picked}.png")
    with may_fail(f"writing {target}"):
        plotting.save(figure, target, ds)
    click.echo(f"picture     {target}")


def _as_map(ds: xr.Dataset, quantity: str) -> xr.Dataset:
    """Return the map of one dimension, as its median trials have it, with the medians of what theory says beside."""
    from olsbn import measures
    from olsbn.grids import theory_attrs

    problems = measures.problems(ds)
    ds = measures.median_trial(ds.load(), quantity) if "trial" in ds.dims else ds.load()
    if problems:
        found = [theory_attrs(problem) for problem in problems]
        for name in found[0]:
            ds.attrs[name] = statistics.median(facts[name] for facts in found if name in facts)
        trial = ds.coords["trial"].item() if "trial" in ds.coords else ds.attrs.get("trial")
        ds.attrs["problem"] = problems[0].label + (f", trial {trial}" if trial is not None else "")
        ds.attrs["rank"] = problems[0].dim
    return ds


@main.command("export")
@click.argument("store", metavar="STORE")
@click.option("--to", "target", metavar="FILE", required=True, help="A .nc, .csv or .npz file.")
def export_command(store: str, target: str) -> None:
    """Write what is in a store to one file: NetCDF, CSV or NPZ."""
    path = Path(target)
    with bad_input():
        from olsbn import exports

        if path.suffix not in exports.FORMATS:
            raise ValueError(f"--to must end in {', '.join(exports.FORMATS)}, got {target}")
        if not path.parent.is_dir():
            raise ValueError(f"--to must be in a directory that exists, got {target}")
        ds = _open_result(Path(store))
    with may_fail(f"writing {target}"):
        exports.export(ds, path)
    missing = int((ds["status"] == -1).sum())
    click.echo(
        f"exported    {ds['status'].size} cells to {target}" + (f", {missing} of them not run" if missing else "")
    )


def _open_result(path: Path) -> xr.Dataset:
    """Open a store after a look at its checksums, so that damage is named instead of drawn."""
    from olsbn.store import Store

    store = Store(path)
    damaged = [store.path / name for name in store.damaged_inputs()]
    damaged += [file for tile in store.tiling if store.is_done(tile) for file in store.damaged_files(tile)]
    if damaged:
        raise ValueError(
            f"{damaged[0]} is damaged (of {len(damaged)} files); the command that made the store restores it"
        )
    return store.dataset()


# ---------------------------------------------------------------- ledger


class _SourceOption(click.Option):
    """Names the sources in its help, which is made when it is asked for: they are not loaded before."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from olsbn.ledger import SOURCES

        self.help = f"Claims of this source only: {', '.join(SOURCES)}."
        return super().get_help_record(ctx)


@main.command("verify")
@click.option("--source", "sources", cls=_SourceOption, multiple=True, metavar="NAME")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the random problems.")
@click.option(
    "--effort", type=float, default=1.0, show_default=True, metavar="X", help="Factor on the number of problems."
)
@click.option("--json", "target", metavar="FILE", help="Write everything to FILE, statements and formulas included.")
@click.option("--summary/--no-summary", default=True, help="Measure the summary table of GD against BNGD as well.")
@click.pass_context
def verify_command(
    ctx: click.Context, sources: tuple[str, ...], seed: int, effort: float, target: str | None, summary: bool
) -> None:
    r"""Try every claim of the sources on fresh random problems and on the worst ones found.

    The margin is >= 0 where a claim holds: for a bound the distance to it (relative, rounding included), else one less
    the part of the allowed error that is used. Exit code 1 if a claim does not hold.

    \b
    Examples:
      olsbn verify
      olsbn verify --source kohler --seed 7 --json kohler.json
    """
    with bad_input():
        from olsbn import ledger
        from olsbn._validate import as_count, as_real
        from olsbn.config import nearest

        as_count("--seed", seed)
        if not as_real("--effort", effort) > 0:
            raise ValueError(f"--effort must be > 0, got {effort}")
        known = list(ledger.by_source())
        claims = ledger.claims([nearest("source", name, known) for name in sources] or None)
        if target is not None and (not Path(target).parent.is_dir() or Path(target).is_dir()):
            raise ValueError(f"--json must be a file in a directory that exists, got {target}")
    from olsbn.tiles import meter

    with meter(len(claims), True, "claims") as advance:
        results = list(ledger.verify(claims, seed, effort, advance))
    click.echo(ledger.table(results))
    rows = []
    if summary and (not sources or "cai" in sources):
        from olsbn.ledger import summary as measured

        rows = measured.summary(seed)
        click.echo(f"\n{measured.text(rows)}")
    failed = [result for result in results if not result.holds]
    for result in failed:
        click.echo(f"\n{result.id} FAILS: {result.statement}\n  {result.formula}\n  {result.problems}")
    click.echo(f"\n{len(results) - len(failed)} of {len(results)} claims hold (seed {seed})")
    if target is not None:
        import json

        with may_fail(f"writing {target}"):
            data = ledger.report(results, seed, rows)
            scratch = Path(f"{target}.partial")
            scratch.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
            scratch.replace(target)
    if failed:
        ctx.exit(FAILURES)
