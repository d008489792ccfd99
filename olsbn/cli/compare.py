"""`olsbn compare`."""

from __future__ import annotations

from typing import Any

import click

from olsbn.cli.problem import make_problem, problem_named, problem_options
from olsbn.cli.results import open_result, picture_path
from olsbn.cli.shell import FAILURES, bad_input, main, may_fail
from olsbn.files import path_or_url


@main.command("compare")
@click.argument("result", metavar="RESULT")
@problem_options
@click.option("--out", metavar="FILE", help="Draw it: a .png or .pdf file.")
@click.pass_context
def compare_command(ctx: click.Context, result: str, out: str | None, **named: Any) -> None:
    r"""Put theory beside every cell of a result, and count where they agree.

    RESULT is a store or a file of a sweep or a map. A single problem is named as for `olsbn map`; a family is told by
    the result. Exit code 1 if a rate disagrees, for which theory is exact.

    \b
    Example:
      olsbn compare results/map-wine-standardized --data wine --standardize --out wine.png
    """
    with bad_input():
        target = picture_path(out)
        ds = open_result(path_or_url(result))
        from olsbn import maps
        from olsbn.results.comparison import compare

        problem = make_problem(**named) if problem_named(named) else None
        if problem is None and "problem_fingerprint" in ds.attrs:
            raise ValueError(
                f"a result of a single problem, here {ds.attrs.get('problem')}, does not hold it: name it as for "
                "'olsbn map' (--data, --csv or --spectrum, with what belongs to it)"
            )
        found = [compare(part, problem) for part in maps.apart(ds)]
    for one in found:
        click.echo(one.attrs["title"])
        for what, text in (("status", "status"), ("rate", "contraction ratio"), ("eps_eff", "effective rate")):
            if f"{what}_agrees" not in one.attrs:
                continue
            counts = {name: one.attrs[f"{what}_{name}"] for name in ("agrees", "disagrees", "in_band", "not_compared")}
            why = one.attrs.get(f"{what}_not_compared_why", "")
            click.echo(
                f"  {text:<18} {counts['agrees']} cells agree, {counts['disagrees']} disagree, "
                f"{counts['in_band']} near a predicted edge, {counts['not_compared']} not compared"
                + (f" ({why})" if why else "")
            )
    if target is not None:
        from olsbn import plotting

        with may_fail(f"writing {target}"):
            plotting.save_axes(plotting.plot_comparison, found[0], target)
        click.echo(f"picture     {target}")
    if any(one.attrs["rate_disagrees"] for one in found):
        ctx.exit(FAILURES)
