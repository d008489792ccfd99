"""`olsbn resolve`."""

from __future__ import annotations

from typing import Any

import click

from olsbn.cli.problem import make_problem, problem_named, problem_options
from olsbn.cli.results import open_result
from olsbn.cli.shell import FAILURES, bad_input, main, stops_in_time
from olsbn.files import path_or_url


@main.command("resolve")
@click.argument("result", metavar="RESULT")
@click.option("--out", metavar="RESOLVED", required=True, help="The Zarr store to write, or to go on with.")
@click.option("--cells", type=int, metavar="N", help="Prove N of the flagged cells at most (default: all).")
@click.option("--workers", type=int, metavar="N", help="Processes (default: all processors).")
@problem_options
@click.pass_context
def resolve_command(
    ctx: click.Context, result: str, out: str, cells: int | None, workers: int | None, **options: Any
) -> None:
    r"""Replace the cells of a result that rounding decides by what is proved of them.

    RESULT is what `olsbn certify` takes. Its flagged cells (by_rounding) are run again with as many digits as they
    need. The result is a Zarr store, which all other commands take. What is proved is kept from the first cell on: if
    the command is interrupted, the same command goes on from there. Exit code 1 if 65536 bits do not decide a cell.

    \b
    Examples:
      olsbn resolve results/map-diabetes --out resolved.zarr --data diabetes
      olsbn resolve robust.zarr --out resolved.zarr
    """
    with bad_input():
        from olsbn.results.resolution import resolve

        ds = open_result(path_or_url(result))
        problem = make_problem(**options) if problem_named(options) else None
        with stops_in_time(f"interrupted; what is proved is kept in {out}, and the same command goes on from there"):
            found = resolve(ds, problem, cells, store=out, workers=workers)
    facts = found.attrs
    click.echo(f"resolved    {facts['cells_resolved']} cells are proved")
    click.echo(f"flagged     {facts['cells_flagged']} cells are left")
    if facts["cells_flagged"] == facts["cells_undecided"]:
        click.echo(f"results     {out}")
    else:
        click.echo(f"results     {out} is begun; without --cells the same command ends it")
    if facts["cells_undecided"]:
        ctx.exit(FAILURES)
