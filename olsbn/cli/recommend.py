"""`olsbn recommend`."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.shell import bad_input, main, may_fail
from olsbn.cli.text import describe, ratio


@main.command("recommend")
@problem_options
@click.option("--tol", type=float, default=1e-6, show_default=True, help="Relative excess to reach.")
@click.option("--steps", type=int, default=10_000, show_default=True, metavar="K", help="The most steps to spend.")
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recommend_command(tol: float, steps: int, workers: int | None, as_json: bool, **named: Any) -> None:
    r"""Find the learning rates that need the fewest steps, for GD and BNGD, by simulation.

    Beside them stands the range that needs at most twice as many, and what contracts best in the end, measured and in
    theory. BNGD is taken with eps_a = 1. Learning rates are those of this problem's units: the loss is the mean of
    (y - prediction)^2 / 2, whatever an optimiser's own defaults are.

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
        if not 1e-290 <= tol < 1:
            raise ValueError(f"--tol must lie in [1e-290, 1), got {tol!r}")
        problem = make_problem(**named)
        from olsbn.recommendation import recommend
    with may_fail("the search"):
        found = recommend(problem, tol, steps, workers=workers)
    if as_json:
        rows = {
            str(name): {
                str(key): (None if isinstance(value, float) and math.isnan(value) else value)
                for key, value in ((key, found[key].values[i].item()) for key in found.data_vars)
            }
            for i, name in enumerate(found["method"].values)
        }
        click.echo(json.dumps({"problem": problem.label, "tol": tol, "n_steps": steps, "methods": rows}, indent=1))
        return
    click.echo(f"problem     {describe(problem)}")
    for i, name in enumerate(found["method"].values):
        row = {str(key): found[key].values[i].item() for key in found.data_vars}
        head = f"{str(name).upper():<11} "
        if row["steps_fastest"] >= 0:
            click.echo(
                f"{head}eps = {row['eps_fastest']:.6g} reaches a relative excess of {tol:g} in {row['steps_fastest']} "
                f"steps; at most twice as many for eps in [{row['eps_lower']:.4g}, {row['eps_upper']:.4g}]"
            )
            head = " " * 12
        if not math.isnan(row["rate_best"]):
            theory = f"theory: {ratio(row['rate_theory_best'])}"
            if ratio(row["rate_attainable"]) != ratio(row["rate_theory_best"]):
                theory = (
                    f"theory: at best {ratio(row['rate_attainable'])} from this start, "
                    f"{ratio(row['rate_theory_best'])} over all eps_hat, not attainable"
                )
            click.echo(
                f"{head}best contraction ratio a step {ratio(row['rate_best'])} "
                f"at eps = {row['eps_rate_best']:.6g} ({theory})"
            )
            head = " " * 12
        if row["note"]:
            click.echo(f"{head}{row['note']}")
