"""`olsbn status`."""

from __future__ import annotations

import click

from olsbn.cli.shell import FAILURES, bad_input, main
from olsbn.cli.text import bytes_text, grid_text


@main.command("status")
@click.argument("store", metavar="STORE")
def status_command(store: str) -> None:
    """Say what is in a store, what is missing and what is damaged.

    The exit code is 1 if something is damaged.
    """
    with bad_input():
        from olsbn.files import path_or_url
        from olsbn.sweeps.store import open_store

        found = open_store(path_or_url(store))
        done = found.done()
        damaged, counts = found.survey()
        writers, partial = found.writers(), len(found.leftovers())
        n_bytes = found.size()
    click.echo(f"sweep       {found.attrs['title']}: {grid_text(found)}")
    click.echo(
        f"made        {found.attrs['created']} by olsbn {found.attrs['olsbn_version']}: {found.attrs['command']}"
    )
    packed = ", packed" if found.is_packed else ""
    click.echo(f"tiles       {len(done)} of {len(found.tiling)} done, {bytes_text(n_bytes)} in all{packed}")
    if not damaged:
        texts = [f"{n} {status.label.replace('_', ' ')}" for status, n in counts.items() if n]
        click.echo(f"cells       {', '.join(texts)}")
    for writer in writers:
        click.echo(f"writer      {writer}")
    if partial and not writers:
        click.echo(f"leftovers   {partial} files of a killed writer, removed when the sweep goes on")
    for file in damaged[:20]:
        click.echo(f"damaged     {file}")
    if damaged:
        click.echo(
            f"            {len(damaged)} damaged files in all; the command that made the store, run again, mends them"
        )
        click.get_current_context().exit(FAILURES)
