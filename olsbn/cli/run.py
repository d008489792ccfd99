"""`olsbn run`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.results import output_directory, results_name, save_netcdf
from olsbn.cli.shell import bad_input, command_line, main, may_fail
from olsbn.cli.text import describe

if TYPE_CHECKING:
    from olsbn.problems import OLSProblem


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
        from olsbn._validate import nearest

        nearest("method", method, ["gd", "bngd", "both"])
        if method == "gd" and eps_a is not None:
            raise ValueError("--eps-a goes with BNGD, got it with --method gd, which has no BN scale")
        problem = make_problem(**named)
        from olsbn import plotting
        from olsbn.runs import run_bngd, run_gd
        from olsbn.sweeps.spec import SweepSpec

        if steps < 1:
            raise ValueError(f"--steps must be >= 1 for a picture of a run, got {steps}")
        rates = {m: default_rate(problem, m) if eps is None else eps for m in ("bngd", "gd") if method in (m, "both")}
        scale = 1.0 if eps_a is None else eps_a
        for name, rate in rates.items():
            given = {"eps": rate} | ({"eps_a": scale} if name == "bngd" else {})
            SweepSpec.checked(problem, name, given, n_steps=steps, tol=tol)
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
                ds.attrs["command"] = command_line()
                save_netcdf(ds, work / f"{name}.nc")
            figure = plotting.run_figure(list(runs.values()))
            for suffix in ("png", "pdf"):
                plotting.save(figure, work / f"run.{suffix}", next(iter(runs.values())))

        publish(write)
    click.echo(f"problem     {describe(problem)}")
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
