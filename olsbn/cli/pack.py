"""`olsbn pack`."""

from __future__ import annotations

from pathlib import Path

import click

from olsbn.cli.shell import bad_input, main, may_fail
from olsbn.cli.text import bytes_text


@main.command("pack")
@click.argument("store", metavar="STORE")
def pack_command(store: str) -> None:
    """Make plain Zarr of a store that is being written, so that xarray.open_zarr opens it.

    A finished sweep does this by itself. Cells that were not run have the status "not run"; the sweep can still go on.
    """
    with bad_input():
        from olsbn.sweeps.store import Store

        found = Store(Path(store))
        if found.is_read_only:
            raise ValueError(f"{store} must be a store of this olsbn's format that you can write to")
        with may_fail("packing"), found.writing():
            for what in found.mend():
                click.echo(what, err=True)
            found.pack()
    n_bytes = sum(file.stat().st_size for file in found.path.rglob("*") if file.is_file())
    click.echo(f"packed      {store}, {bytes_text(n_bytes)}")
    click.echo(f"tiles       {len(found.done())} of {len(found.tiling)} done")
