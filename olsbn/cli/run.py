"""`olsbn run`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from olsbn.cli.methods import MethodCommand, parse, split
from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.results import output_directory, results_name, save_netcdf
from olsbn.cli.shell import bad_input, command_line, main, may_fail
from olsbn.cli.text import describe

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.problems import OLSProblem

# Steps that a recommended learning rate is looked for in, and mode-steps spent on finding how many would have done.
_LOOK, _LONGER = 20_000, 1e8


@main.command("run", cls=MethodCommand)
@problem_options
@click.option("--method", default="both", show_default=True, metavar="M", help="A method, or both: gd and bngd.")
@click.option(
    "--eps", metavar="X", help="Learning rate of w (default: for each method the one that needs the fewest steps)."
)
@click.option("--eps-a", metavar="X", help="Learning rate of the BN scale a (default: 1).")
@click.option(
    "--steps", type=int, default=2000, show_default=True, metavar="K", help="Number of steps; up to 20000 are recorded."
)
@click.option("--tol", type=float, default=1e-10, show_default=True, help="Relative excess that counts as converged.")
@click.option("--check-rounding/--no-check-rounding", default=True, help="Find the steps that rounding decides.")
@click.option(
    "--out", metavar="DIR", help="Where the results go (default: results/run-NAME, run-M-NAME of one method)."
)
def run_command(method: str, steps: int, tol: float, out: str | None, check_rounding: bool, **named: Any) -> None:
    r"""Run GD and BNGD, or any method, once and draw every step.

    \b
    Examples:
      olsbn run --data diabetes
      olsbn run --spectrum logspace --dim 100 --cond 1000 --method bngd --eps 10 --eps-a 0.5
    """
    with bad_input():
        from olsbn._validate import nearest
        from olsbn.dynamics.registry import DEFAULT, METHODS, OTHERS

        nearest("method", method, [*METHODS, "both"], OTHERS)
        names = [DEFAULT, METHODS[DEFAULT].beside] if method == "both" else [method]
        typed, rest = split(named)
        # what only one of two methods has is given to that one
        having = {name: set(METHODS[name].settings) for name in names}
        stray = {key: value for key, value in typed.items() if not any(key in known for known in having.values())}
        given = {
            name: parse(
                METHODS[name], {key: value for key, value in typed.items() if key in having[name]} | stray, grids=False
            )
            for name in names
        }
        problem = make_problem(**rest)
        from olsbn import plotting
        from olsbn.runs import run
        from olsbn.sweeps.spec import SweepSpec

        if steps < 1:
            raise ValueError(f"--steps must be >= 1 for a picture of a run, got {steps}")
        notes = {}
        for name in names:
            if "eps" not in given[name] and "eps" in {p.name for p in METHODS[name].params}:
                SweepSpec.checked(problem, name, {"eps": 1.0} | given[name], n_steps=steps, tol=tol)
                given[name]["eps"], notes[name] = default_eps(problem, name, tol, steps, given[name])
            SweepSpec.checked(problem, name, given[name], n_steps=steps, tol=tol)
        path = (
            Path(out)
            if out is not None
            else results_name("run" if method == "both" else f"run-{method}", problem.label)
        )
    with output_directory(path, tuple(f"{name}.nc" for name in names)) as publish:
        with may_fail("the run"):
            record = max(1, -(-steps // 20_000))
            runs = {
                name: run(problem, name, n_steps=steps, record=record, tol=tol, check_rounding=check_rounding, **params)
                for name, params in given.items()
            }

        def write(work: Path) -> None:
            for name, ds in runs.items():
                ds.attrs["command"] = command_line()
                save_netcdf(ds, work / f"{name}.nc")
            figure = plotting.in_style(plotting.run_figure, list(runs.values()))
            for suffix in ("png", "pdf"):
                plotting.save(figure, work / f"run.{suffix}", next(iter(runs.values())))

        publish(write)
    click.echo(f"problem     {describe(problem)}")
    for name, ds in runs.items():
        at = [f"{p.name} = {ds.attrs[p.name]:.6g}" for p in METHODS[name].params if ds.attrs.get(p.name) != p.default]
        if "eps_a" in having[name] and not any(text.startswith("eps_a") for text in at):
            at.append(f"eps_a = {ds.attrs['eps_a']:g}")
        to_tol = ds.attrs["steps_to_tol"]
        reached = f"{to_tol} steps to" if to_tol >= 0 else f"in {steps} steps not down to"
        head = f"{name.upper():<11} {ds.attrs['status'].replace('_', ' ')}, {reached} a relative excess of {tol:g}"
        click.echo(f"{head} ({', '.join(at)})" if at else head)
        if notes.get(name):
            click.echo(f"{'':<11} {notes[name]}")
        if to_tol < 0 and ds.attrs["status"] == "max_steps":
            click.echo(f"{'':<11} {how_many(problem, name, given[name], ds)}")
        if "by_rounding" in ds and ds["by_rounding"].values[-1]:
            first = int(ds["step"].values[ds["by_rounding"].values.argmax()])
            click.echo(f"{'':<11} rounding may decide from step {first} on (by_rounding): only many digits tell")
        measured = "none" if math.isnan(ds.attrs["rate_sim"]) else f"{ds.attrs['rate_sim']:.15g}"
        click.echo(f"{'':<11} contraction ratio a step: measured {measured}, theory {theory_text(name, ds)}")
    click.echo(f"results     {path}/ ({', '.join(['run.png', 'run.pdf', *(f'{name}.nc' for name in names)])})")


def default_eps(problem: OLSProblem, method: str, tol: float, steps: int, others: dict[str, Any]) -> tuple[float, str]:
    """Return the learning rate that needs the fewest steps, by simulation, or one by theory; and which it is."""
    from olsbn.dynamics.registry import METHODS
    from olsbn.search.recommendation import fastest

    eps, needed = fastest(problem, method, tol, min(steps, _LOOK), **others)
    if needed >= 0:
        return eps, f"eps is the one that needs the fewest steps, by simulation: {needed} (see: olsbn recommend)"
    eps = METHODS[method].theory.first_eps(problem)
    return eps, f"eps by theory: none reaches {tol:g} in {min(steps, _LOOK)} steps"


def how_many(problem: OLSProblem, method: str, params: dict[str, Any], ds: xr.Dataset) -> str:
    """Return how many steps a run that ended short of its tolerance would have needed."""
    from olsbn.dynamics.registry import METHODS
    from olsbn.search.recommendation import STANDARDIZE, is_raw
    from olsbn.sweeps.running import sweep

    tol, steps = float(ds.attrs["tol"]), int(ds.attrs["n_steps"])
    rate, excess = float(ds.attrs["rate_theory"]), float(ds["excess"].values[-1])
    if is_raw(problem):
        return STANDARDIZE.format(problem.cond)
    if not 0 < rate < 1:
        return f"more steps may not do: {why_no_rate(method, params, rate)}"
    more = steps
    while METHODS[method].work(problem.dim, more) < _LONGER / 4 and more < 2**38:
        more *= 4
        cell = sweep(problem, method=method, n_steps=more, tol=tol, stop="tol", progress=False, **params)
        if int(cell["steps_to_tol"]) >= 0:
            return f"{int(cell['steps_to_tol'])} steps would do (--steps)"
        if int(cell["status"]) != 1:
            return f"it would not get there: {str(ds.attrs['status']).replace('_', ' ')} after more steps"
    if excess > tol:
        about = steps + math.log(tol / excess) / (2 * math.log(rate))
        return f"about {about:.2g} steps would do, by theory's contraction ratio; {more} do not"
    return f"{more} steps do not do either"


def why_no_rate(method: str, params: dict[str, Any], rate: float) -> str:
    """Return why no contraction ratio below 1 is predicted, by what is in use."""
    from olsbn.dynamics.registry import METHODS

    if METHODS[method].needs_sample:
        return "mini-batches keep the loss from its minimum"
    known = METHODS[method].settings
    fading = [name for name in ("weight_decay", "eps_power", "eps_factor", "eps_a_power") if name in params]
    used = [f"{name} = {params[name]:g}" for name in fading if params[name] != known[name].default]
    if used:
        return f"with {', '.join(used)} the error does not shrink at a constant ratio"
    if rate >= 1:
        return "the effective learning rate is at its edge of stability or above it, where a minimum repels"
    return "the effective learning rate has not settled"


def theory_text(method: str, ds: xr.Dataset) -> str:
    """Return the predicted contraction ratio of a run, or why there is none."""
    rate = float(ds.attrs["rate_theory"])
    if math.isnan(rate):
        return "none"
    if rate < 1 or ds.attrs["status"] != "converged":
        return f"{rate:.15g}"
    return "none, for the run ends while its effective learning rate is above the edge of stability, not yet settled"
