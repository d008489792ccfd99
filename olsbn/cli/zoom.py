"""`olsbn zoom`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from olsbn.cli.methods import MethodCommand, parse, split
from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.shell import bad_input, main, may_fail
from olsbn.cli.text import describe


@main.command("zoom", cls=MethodCommand)
@problem_options
@click.option("--method", metavar="M", help="Any method (default: the package's, BNGD).")
@click.option("--x", required=True, metavar="NAME=LO:HI", help="The parameter across, and its range (@log or @lin).")
@click.option("--y", required=True, metavar="NAME=LO:HI", help="The parameter up, and its range.")
@click.option("--what", default="status", show_default=True, help="The answer: status, steps or sign.")
@click.option("--steps", type=int, default=1000, show_default=True, metavar="K", help="Steps each cell runs.")
@click.option("--tol", type=float, default=1e-10, show_default=True, help="Relative excess that counts as converged.")
@click.option("--levels", type=int, default=9, show_default=True, metavar="L", help="The finest grid has 2^L boxes.")
@click.option("--check-rounding/--no-check-rounding", default=True, help="Find the cells that rounding decides.")
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
@click.option("--json", "json_path", metavar="FILE", help="Write counts, dimension and uncertainty as JSON.")
@click.option("--out", metavar="FILE.nc", help="Write the finest boxes as NetCDF.")
def zoom_command(
    method: str | None, x: str, y: str, what: str, steps: int, tol: float, levels: int, check_rounding: bool,
    workers: int | None, json_path: str | None, out: str | None, **named: Any,
) -> None:  # fmt: skip
    r"""Refine the boundary between answers and measure its box-counting dimension.

    \b
    Examples:
      olsbn zoom --data diabetes --standardize --x eps=0.1:100 --y eps_a=0.1:1.9 --what steps
      olsbn zoom --spectrum logspace --dim 10 --cond 100 --method gd --x eps=0.001:0.1 --y momentum=0:0.9
    """
    with bad_input():
        from olsbn.search.boundary import zoom

        typed, rest = split(named)
        from olsbn.dynamics.registry import DEFAULT, method_named

        method = DEFAULT if method is None else method
        params = parse(method_named(method), typed, grids=False)
        problem = make_problem(**rest)
        axes = {"x": _axis("--x", x), "y": _axis("--y", y)}
        for flag, name in (("--json", json_path), ("--out", out)):
            if name is not None and not Path(name).parent.is_dir():
                raise ValueError(f"{flag} must be in a directory that exists, got {name}")
        with may_fail("the refinement"):
            found = zoom(
                problem, method, what=what, n_steps=steps, tol=tol, levels=levels, check_rounding=check_rounding,
                workers=workers, **axes, **params,
            )  # fmt: skip
    click.echo(f"problem     {describe(problem)}")
    for level, boxes, points in zip(found.level.values, found.boxes.values, found.points.values, strict=True):
        click.echo(f"level {level:<5} {boxes} of {4**level} boxes, {points} cells computed")
    levels_used = f"levels {found.attrs['first_level']} to {found.attrs['last_level']}"
    click.echo(f"dimension   {found.attrs['dimension']:.3f} +- {found.attrs['uncertainty']:.3f} ({levels_used})")
    click.echo(f"flagged     {100 * found.attrs['flagged_share']:.1f} % of the finest boxes: rounding may decide them")
    if json_path is not None:
        kept = ("what", "dimension", "uncertainty", "first_level", "last_level", "flagged_share", "method", "n_steps")
        table = {name: found.attrs[name] for name in kept} | {
            name: found[name].values.tolist() for name in ("level", "boxes", "points")
        }
        Path(json_path).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    if out is not None:
        found.to_netcdf(out, engine="h5netcdf")


def _axis(flag: str, text: str) -> tuple[Any, ...]:
    """Return NAME=LO:HI, with @log or @lin, as `olsbn.zoom` takes it."""
    name, _, rest = text.partition("=")
    body, _, spacing = rest.partition("@")
    try:
        low, high = (float(part) for part in body.split(":"))
    except ValueError:
        raise ValueError(f"{flag} must be NAME=LO:HI (or NAME=LO:HI@log, NAME=LO:HI@lin), got {text!r}") from None
    return (name.replace("-", "_"), low, high, *([spacing] if spacing else []))
