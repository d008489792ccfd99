"""`olsbn sweep`."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import click

from olsbn.cli.shell import bad_input, command_line, main, may_fail, sentence, stops_in_time
from olsbn.cli.text import grid_text
from olsbn.files import path_or_url


@main.command("sweep")
@click.argument("config", metavar="CONFIG.toml")
@click.option(
    "--out",
    metavar="STORE.zarr",
    required=True,
    help="The store: a folder, or s3://BUCKET/NAME.",
)
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
@click.option("--scheduler", metavar="ADDRESS", help="Compute on the workers of this Dask scheduler instead.")
@click.option("--shard", metavar="I/N", help="Only part I of N, for job arrays that share a file system.")
def sweep_command(config: str, out: str, workers: int | None, scheduler: str | None, shard: str | None) -> None:
    r"""Run the sweep that a TOML file describes, into a store.

    The same command goes on where an earlier one was stopped, however it ended. A store in a bucket (s3://, gs://, az://)
    needs the extra "cloud".

    \b
    Example of a CONFIG.toml:
      n_steps = 2000
      eps = "1e-5:1e16:43"          # LO:HI:N with equal ratios, a number, or a list
      eps_a = "0.1:1.9:19"          # LO:HI:N with equal steps
      dim = [10, 100, 1000]
      trials = 20
      [problem]
      spectrum = "logspace"         # or data = "diabetes", or csv = "table.csv", target = "y"
      cond = 100
    """
    path = path_or_url(out)
    with bad_input():
        part = _shard(shard)
        from olsbn.sweeps.pool import WORKERS

        if workers is not None and not 1 <= workers <= WORKERS:
            raise ValueError(f"--workers must be in [1, {WORKERS}], got {workers}")
        if scheduler is not None and (workers is not None or shard is not None):
            raise ValueError("--scheduler goes without --workers and --shard")
        from olsbn.sweeps import toml

        spec = toml.load(config)
        if isinstance(path, Path) and not path.parent.is_dir():
            raise ValueError(f"--out must be in a directory that exists, got {out}")
        if isinstance(path, Path) and not (path.exists() or path.is_symlink()):
            toml.check_disk(spec, path.parent)
        from olsbn.files import UnsafeFile
        from olsbn.sweeps.running import fill
        from olsbn.sweeps.store import StoreError

        client = None
        if scheduler is not None:
            from olsbn.sweeps import dask

            client = dask.connect(scheduler, quiet=True)
    goes_on = f"what is finished is kept in {out}, and the same command goes on from there"
    with stops_in_time(f"interrupted; {goes_on}"), may_fail("the sweep"):
        try:
            store, n_run = fill(
                spec, path, shard=part, workers=workers, client=client, progress=True, command=command_line(),
                say=lambda text: click.echo(text, err=True),
            )  # fmt: skip
        except (StoreError, UnsafeFile, OSError) as err:
            if isinstance(err, OSError) and err.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise click.UsageError(sentence(err), click.get_current_context()) from err
        finally:
            if client is not None:
                client.close(timeout=1)
    click.echo(f"sweep       {store.attrs['title']}: {grid_text(store)}")
    click.echo(f"tiles       {n_run} run now, {len(store.done())} of {len(store.tiling)} done")
    click.echo(f"results     {out}")


def _shard(text: str | None) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard must be I/N with 1 <= I <= N, got {text!r}")
    return int(found[1]), int(found[2])
