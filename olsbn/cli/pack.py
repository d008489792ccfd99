"""`olsbn pack`."""

from __future__ import annotations

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
        from olsbn.files import path_or_url
        from olsbn.sweeps.store import open_store

        found = open_store(path_or_url(store))
        if found.is_read_only:
            raise ValueError(f"{store} must be a store of this olsbn's format that you can write to")
        with may_fail("packing"), found.writing():
            for what in found.mend():
                click.echo(what, err=True)
            found.pack()
    click.echo(f"packed      {store}, {bytes_text(found.size())}")
    click.echo(f"tiles       {len(found.done())} of {len(found.tiling)} done")
