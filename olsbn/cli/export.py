"""`olsbn export`."""

from __future__ import annotations

from pathlib import Path

import click

from olsbn.cli.results import open_result
from olsbn.cli.shell import bad_input, main, may_fail


@main.command("export")
@click.argument("store", metavar="STORE")
@click.option("--to", "target", metavar="FILE", required=True, help="A .nc, .csv or .npz file.")
def export_command(store: str, target: str) -> None:
    """Write what is in a store to one file: NetCDF, CSV or NPZ."""
    path = Path(target)
    with bad_input():
        from olsbn.results import exports

        if path.suffix not in exports.FORMATS:
            raise ValueError(f"--to must end in {', '.join(exports.FORMATS)}, got {target}")
        if not path.parent.is_dir():
            raise ValueError(f"--to must be in a directory that exists, got {target}")
        ds = open_result(Path(store))
    with may_fail(f"writing {target}"):
        exports.export(ds, path)
    missing = int((ds["status"] == -1).sum())
    click.echo(
        f"exported    {ds['status'].size} cells to {target}" + (f", {missing} of them not run" if missing else "")
    )
