"""`olsbn robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from olsbn.cli.problem import make_problem, problem_named, problem_options
from olsbn.cli.results import open_result, picture_path
from olsbn.cli.shell import bad_input, main, may_fail
from olsbn.files import path_or_url

# Of more than twice as many rows so many are printed.
_ROWS = 12


@main.command("robustness")
@click.argument("result", metavar="RESULT")
@problem_options
@click.option("--default", "rate", type=float, default=0.1, show_default=True, metavar="EPS", help="A usual choice.")
@click.option("--out", metavar="FILE", help="A .csv, .nc, .npz or .parquet table, or a .png or .pdf picture.")
def robustness_command(result: str, rate: float, out: str | None, **named: Any) -> None:
    r"""Measure how wide the range of learning rates is that reach the tolerance.

    RESULT is a store or a file of a sweep or a map over eps. A line for each combination of the other axes, medians of
    the trials.

    \b
    Example:
      olsbn robustness robust.zarr --out widths.png
    """
    with bad_input():
        from olsbn.results import exports

        target = Path(out) if out is not None else None
        if target is not None and target.suffix not in exports.FORMATS:
            picture_path(out)
        ds = open_result(path_or_url(result))
        from olsbn import maps
        from olsbn.dynamics.registry import METHODS
        from olsbn.results.datasets import has_laws
        from olsbn.results.measures import bands, over_trials, robustness

        problem = make_problem(**named) if problem_named(named) else None
        parts = maps.apart(ds)
        found = [robustness(part, problem, default=rate) for part in parts]
        if (
            target is not None
            and target.suffix in (".png", ".pdf")
            and not (set(found[0]["width_decades"].dims) - {"trial"})
        ):
            raise ValueError("--out must be a table for a result without an axis besides eps, got a picture")
    for one in found:
        click.echo(one.attrs.get("title", result))
        flat = over_trials(one, [0.5]).isel(quantile=0) if "trial" in one.dims else one
        rows = flat.stack(row=list(flat["width_decades"].dims)) if flat["width_decades"].dims else flat
        n = rows.sizes.get("row", 1)
        shown = range(n) if n <= 2 * _ROWS else [round(k * (n - 1) / (_ROWS - 1)) for k in range(_ROWS)]
        for i in shown:
            cell = rows.isel(row=i) if "row" in rows.dims else rows
            where = ", ".join(f"{d} {cell[d].item():.6g}" for d in one["width_decades"].dims if d in cell.coords)
            click.echo(f"  {where + ': ' if where else ''}{_line(cell)}")
        if len(shown) < n:
            click.echo(f"  {len(shown)} of {n} rows are shown; --out FILE.csv has all of them")
    for part in parts:
        if not has_laws(part, METHODS[part.attrs["method"]]):
            click.echo(
                f"no theory of {part.attrs['method'].upper()} here: it is for runs without momentum, decay or schedules"
            )
    if not any("width_theory" in one for one in found):
        click.echo("theory needs the problem, which this result does not hold: name it as for 'olsbn map'")
    if target is None:
        return
    with may_fail(f"writing {target}"):
        if target.suffix in exports.FORMATS:
            exports.export(found[0], target)
        else:
            from olsbn import plotting

            plotting.save_axes(plotting.plot_robustness, bands(found[0]), target)
    click.echo(f"{'table' if target.suffix in exports.FORMATS else 'picture':<11} {target}")


def _line(cell: Any) -> str:
    width = float(cell["width_decades"])
    if not width > 0:
        return "no learning rate of the grid reaches the tolerance"
    text = f"{width:.2f} decades, {float(cell['eps_lower']):.4g} to {float(cell['eps_upper']):.4g}"
    if "width_theory" in cell and float(cell["width_theory"]) >= 0:  # not NaN: theory says nothing of all methods
        doubt = "" if float(cell["window_reliable"]) == 1 else ", not to be relied on"
        text += f" (theory {float(cell['width_theory']):.2f}{doubt})"
    return f"{text}; fewest steps {int(cell['steps_best'])} at eps = {float(cell['eps_fastest']):.4g}"
