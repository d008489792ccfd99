"""`olsbn map`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.results import output_directory, results_name, save_netcdf
from olsbn.cli.shell import bad_input, command_line, main, may_fail
from olsbn.cli.text import describe

# Bytes needed, with some room, for a cell while a map is computed and drawn.
_BYTES_A_CELL = 600


@main.command("map")
@problem_options
@click.option("--eps", metavar="LO:HI:N", help="Learning rates of w (default: around the ranges that converge).")
@click.option("--eps-a", metavar="LO:HI:N", help="Learning rates of the BN scale a (default: 0.001 to 3.9).")
@click.option("--steps", type=int, default=5000, show_default=True, metavar="K", help="Steps each cell runs.")
@click.option("--tol", type=float, default=1e-10, show_default=True, help="Relative excess that counts as converged.")
@click.option("--out", metavar="DIR", help="Where the results go (default: results/map-NAME).")
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
def map_command(
    eps: str | None, eps_a: str | None, steps: int, tol: float, out: str | None, workers: int | None, **named: Any
) -> None:
    r"""Draw where BNGD converges over (eps, eps_a), beside GD's range.

    Grids are LO:HI:N, with equal ratios for --eps and equal steps for --eps-a unless @log or @lin is appended.

    \b
    Examples:
      olsbn map --data diabetes
      olsbn map --spectrum logspace --dim 100 --cond 1000 --eps 1e-4:1e8:201 --eps-a 0.01:2.5:100@log
    """
    with bad_input():
        from olsbn import maps
        from olsbn._validate import check_memory
        from olsbn.sweeps.grid import Grid

        if workers is not None and workers < 1:
            raise ValueError(f"--workers must be >= 1, got {workers}")
        grid = Grid.parse("--eps", eps, log=True) if eps is not None else None
        grid_a = Grid.parse("--eps-a", eps_a, log=False) if eps_a is not None else Grid(*maps.EPS_A)
        for name, axis, text in (("--eps", grid, eps), ("--eps-a", grid_a, eps_a)):
            if axis is None:
                continue
            if axis.n < 2:
                raise ValueError(f"{name} must be LO:HI:N with N >= 2 for a map, got one value (see: olsbn run)")
            for value in (axis.lo, axis.hi):  # what the axis of a picture can show
                if value and not 1e-290 <= value <= 1e290:
                    raise ValueError(f"{name} must be 0 or in [1e-290, 1e290], got {value!r} in {text!r}")
        check_memory("the number of cells", (grid.n if grid else 241) * grid_a.n, _BYTES_A_CELL)
        problem = make_problem(**named)
        from olsbn import plotting
        from olsbn.sweeps.running import sweep
        from olsbn.sweeps.spec import SweepSpec
        from olsbn.theory import eps_window

        rates = grid.values() if grid else maps.default_eps(problem, steps, tol)
        SweepSpec.checked(problem, "bngd", {"eps": rates, "eps_a": grid_a.values()}, n_steps=steps, tol=tol)
        path = Path(out) if out is not None else results_name("map", problem.label)
    with output_directory(path, ("map.nc",)) as publish:
        with may_fail("the sweep"):
            bngd = sweep(problem, eps=rates, eps_a=grid_a.values(), n_steps=steps, tol=tol, workers=workers)
            gd = sweep(problem, method="gd", eps=rates, n_steps=steps, tol=tol, workers=workers)
        ds = maps.beside(bngd, gd)
        for name, method in (("window", "bngd"), ("gd_window", "gd")):
            window = eps_window(problem, tol, steps, method) if steps else None
            if window and window.reliable and 0 < window.lower < window.upper < math.inf:
                ds.attrs[name] = [window.lower, window.upper]
        ds.attrs["command"] = command_line()

        def write(work: Path) -> None:
            save_netcdf(ds, work / "map.nc")
            ds.to_zarr(work / "map.zarr", mode="w", consolidated=False)
            figure = plotting.map_figure(ds)
            plotting.save(figure, work / "map.png", ds)
            plotting.save(figure, work / "map.pdf", ds)

        publish(write)
    click.echo(f"problem     {describe(problem)}\n{maps.summary(problem, ds)}")
    click.echo(f"results     {path}/ (map.png, map.pdf, map.nc, map.zarr)")
