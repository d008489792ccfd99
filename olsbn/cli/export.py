"""`olsbn export`."""

from __future__ import annotations

from pathlib import Path

import click

from olsbn.cli.results import open_result
from olsbn.cli.shell import bad_input, main, may_fail
from olsbn.files import path_or_url


@main.command("export")
@click.argument("store", metavar="RESULT")
@click.option("--all", "everything", is_flag=True, help="Tables: also the cells that were not run.")
@click.option(
    "--quantity",
    "names",
    multiple=True,
    metavar="Q",
    help="Also this derived quantity, such as eps_eff_ratio; may be given several times.",
)
@click.option("--to", "target", metavar="FILE", required=True, help="A .nc, .csv, .parquet or .npz file.")
def export_command(store: str, everything: bool, names: tuple[str, ...], target: str) -> None:
    """Write a result to one file: NetCDF, CSV, Parquet (needs pandas and pyarrow) or NPZ.

    Tables have a row for each cell that was run, and the names of statuses; --all keeps the others too.
    """
    path = Path(target)
    with bad_input():
        from olsbn.results import exports

        if path.suffix not in exports.FORMATS:
            raise ValueError(f"--to must end in {', '.join(exports.FORMATS)}, got {target}")
        exports.check_format(path)
        if not path.parent.is_dir():
            raise ValueError(f"--to must be in a directory that exists, got {target}")
        ds = open_result(path_or_url(store))
        if names:
            from olsbn.results.quantities import derive

            ds = derive(ds, *names)
    with may_fail(f"writing {target}"):
        exports.export(ds, path, everything=everything)
    if "status" not in ds:
        click.echo(f"exported    {target}")
        return
    missing = int((ds["status"] == -1).sum())
    left_out = missing and path.suffix in exports.TABLES and not everything
    cells = ds["status"].size - (missing if left_out else 0)
    words = "left out" if left_out else "of them not run"
    click.echo(
        f"exported    {cells} cells to {target}"
        + (f", {missing} not run {words}" if left_out else f", {missing} {words}" if missing else "")
    )
