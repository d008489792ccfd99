"""`olsbn recommend`."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from olsbn.cli.methods import MethodCommand, parse, split
from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.shell import bad_input, main, may_fail
from olsbn.cli.text import describe, ratio


@main.command("recommend", cls=MethodCommand)
@problem_options
@click.option("--tol", type=float, default=1e-6, show_default=True, help="Relative excess to reach.")
@click.option("--steps", type=int, default=10_000, show_default=True, metavar="K", help="The most steps to spend.")
@click.option(
    "--starts", type=int, default=20, show_default=True, metavar="N",
    help="Random starts to search with; five times as many for what is told. 1: the problem's own start alone.",
)  # fmt: skip
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recommend_command(tol: float, steps: int, starts: int, workers: int | None, as_json: bool, **named: Any) -> None:
    r"""Find the learning rates that most starts need the fewest steps with, for GD and BNGD, by simulation.

    Beside them stands the range that needs at most twice as many, and what contracts best in the end, measured and in
    theory. Momentum, weight decay and schedules are taken as given. Learning rates are those of this problem's units:
    the loss is the mean of (y - prediction)^2 / 2. The last lines are what to type in PyTorch.

    \b
    Examples:
      olsbn recommend --csv house.csv --target price --standardize
      olsbn recommend --spectrum logspace --dim 100 --cond 1000 --tol 1e-8
    """
    with bad_input():
        if workers is not None and workers < 1:
            raise ValueError(f"--workers must be >= 1, got {workers}")
        if steps < 1:
            raise ValueError(f"--steps must be >= 1, got {steps}")
        if starts < 1:
            raise ValueError(f"--starts must be >= 1, got {starts}")
        if not 1e-290 <= tol < 1:
            raise ValueError(f"--tol must lie in [1e-290, 1), got {tol!r}")
        typed, rest = split(named)
        if "eps" in typed:
            raise ValueError(f"--eps must be left out: it is what is looked for, got {typed['eps']}")
        from olsbn.dynamics.registry import BASELINE, DEFAULT, METHODS
        from olsbn.search.recommendation import recommend, shared

        params: dict[str, Any] = {}
        for name, given in shared((BASELINE, DEFAULT), typed).items():
            params |= parse(METHODS[name], given, grids=False)
        problem = make_problem(**rest)
    with may_fail("the search"):
        found = recommend(problem, tol, steps, starts, workers=workers, **params)
    rows = {
        str(name): {str(key): found[key].values[i].item() for key in found.data_vars}
        for i, name in enumerate(found["algorithm"].values)
    }
    typed_in = found.attrs["pytorch"]
    if as_json:
        plain = {
            name: {key: None if isinstance(x, float) and math.isnan(x) else x for key, x in row.items()}
            for name, row in rows.items()
        }
        facts = {"problem": problem.label, "tol": tol, "n_steps": steps, "starts": starts, "parameters": params}
        click.echo(json.dumps(facts | {"algorithms": plain, "pytorch": typed_in}, indent=1))
        return
    click.echo(f"problem     {describe(problem)}")
    click.echo(f"start       {found.attrs['start']}")
    for name, row in rows.items():
        _print(name, row, tol)
    if typed_in:
        data = "X and y as above" if problem.sample is not None else "X of such a covariance and y"
        click.echo(f"PyTorch     for BNGD, float tensors {data}, X (rows, inputs) and y (rows, 1):")
        click.echo("\n".join(f"    {line}" for line in typed_in.splitlines()))
    elif rows[DEFAULT]["steps_fastest"] >= 0:
        click.echo("PyTorch     no lines: it lacks one of these parameters")


def _print(name: str, row: dict[str, Any], tol: float) -> None:
    head = f"{name.upper():<11} "
    if row["steps_fastest"] >= 0:
        click.echo(
            f"{head}eps = {row['eps_fastest']:.6g} reaches a relative excess of {tol:g} in {row['steps_fastest']} "
            f"steps; at most twice as many for eps in [{row['eps_lower']:.6g}, {row['eps_upper']:.6g}]"
        )
        head = " " * 12
    if not math.isnan(row["rate_best"]):
        best, attained = ratio(row["rate_theory_best"]), ratio(row["rate_attainable"])
        theory = f" (theory: {best})"
        if math.isnan(row["rate_theory_best"]):
            theory = ""
        elif attained != best:
            theory = f" (theory: {attained} at the effective rates that these starts attain, {best} over all)"
        click.echo(
            f"{head}best contraction ratio a step {ratio(row['rate_best'])} at eps = {row['eps_rate_best']:.6g}{theory}"
        )
        head = " " * 12
    if row["note"]:
        click.echo(f"{head}{row['note']}")
