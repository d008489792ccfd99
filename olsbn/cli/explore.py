"""`olsbn explore`."""

from __future__ import annotations

import threading
import webbrowser
from typing import Any

import click

from olsbn.cli.problem import make_problem, problem_named, problem_options, table_of
from olsbn.cli.shell import bad_input, main


@main.command("explore")
@problem_options
@click.option("--port", type=int, metavar="N", help="Port (default: 8642, or a free one if it is taken).")
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen: this machine alone.")
@click.option("--no-browser", is_flag=True, help="Print where the page is, and open nothing.")
@click.option("--workers", type=int, metavar="N", help="Threads that compute (default: all processors).")
def explore_command(port: int | None, address: str, no_browser: bool, workers: int | None, **named: Any) -> None:
    r"""Walk through a map in the browser: zoom, click a cell, take the tour.

    The page reads no file. The problem that is named here is in its list, with data sets and random problems.

    \b
    Examples:
      olsbn explore
      olsbn explore --data diabetes --standardize
      olsbn explore --csv table.csv --target y --no-browser
    """
    with bad_input():
        from olsbn.explorer.notebook import started
        from olsbn.explorer.view import Given

        given = Given(make_problem(**named), table_of(**named)) if problem_named(named) else Given()
        try:
            explorer = started(given, port=8642 if port is None else port, address=address, workers=workers)
        except OSError:
            if port is not None:
                raise
            explorer = started(given, port=0, address=address, workers=workers)
    click.echo(f"explorer    {explorer.url}  (Ctrl-C stops it)")
    if not no_browser:
        webbrowser.open(explorer.url)
    try:
        threading.Event().wait()
    finally:
        explorer.close()
