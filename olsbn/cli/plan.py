"""`olsbn plan`."""

from __future__ import annotations

import click

from olsbn.cli.shell import bad_input, main
from olsbn.cli.text import bytes_text, duration_text


@main.command("plan")
@click.argument("config", metavar="CONFIG.toml")
@click.option("--workers", type=int, metavar="N", help="Threads to reckon with (default: all processors).")
def plan_command(config: str, workers: int | None) -> None:
    """Say what a sweep will cost: cells, tiles, bytes, and seconds from a short calibration."""
    with bad_input():
        from olsbn.sweeps import plan as plans
        from olsbn.sweeps.pool import WORKERS, processors

        if workers is not None and not 1 <= workers <= WORKERS:
            raise ValueError(f"--workers must be in [1, {WORKERS}], got {workers}")
        from olsbn.sweeps import toml

        spec = toml.load(config)
    plan = plans.plan(spec)
    workers = workers or processors()
    sizes = " x ".join(f"{n} {name}" for n, name in zip(spec.shape, spec.all_axes, strict=True) if n > 1)
    limit = "at most " if spec.stop == "tol" else "about "
    wall = plan.wall_seconds(workers)
    click.echo(f"cells       {plan.n_cells}" + (f" ({sizes})" if sizes else ""))
    click.echo(f"tiles       {plan.n_tiles} of up to {plan.tile_cells} cells")
    click.echo(
        f"disk        about {bytes_text(plan.n_bytes)} when finished, up to {bytes_text(plan.n_bytes_written)} and "
        f"{plan.n_files} files and folders before"
    )
    alone = duration_text(plan.wall_seconds(1))
    click.echo(f"time        {limit}{duration_text(wall)} on {workers} threads here ({alone} on one)")
