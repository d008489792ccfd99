"""`olsbn map`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from olsbn.cli.methods import MethodCommand, parse, split
from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.results import output_directory, results_name, save_netcdf
from olsbn.cli.shell import bad_input, command_line, main, may_fail
from olsbn.cli.text import describe
from olsbn.files import remove

# Bytes needed, with some room, for a cell while a map is computed and drawn.
_BYTES_A_CELL = 600


@main.command("map", cls=MethodCommand)
@problem_options
@click.option("--method", metavar="M", help="Any method (default: BNGD, with GD beside it).")
@click.option("--eps", metavar="LO:HI:N", help="Learning rates of w (default: around the ranges that converge).")
@click.option("--eps-a", metavar="LO:HI:N", help="Learning rates of the BN scale a (default: 0.001 to 3.9).")
@click.option(
    "--steps",
    default="5000",
    show_default=True,
    metavar="K[,K...]",
    help="Steps each cell runs; of several, a panel each.",
)
@click.option("--tol", type=float, default=1e-10, show_default=True, help="Relative excess that counts as converged.")
@click.option("--out", metavar="DIR", help="Where the results go (default: results/map-NAME).")
@click.option(
    "--check-rounding/--no-check-rounding",
    default=True,
    help="Find the cells that rounding decides.",
)
@click.option("--workers", type=int, metavar="N", help="Threads (default: all processors).")
@click.option("--pdf", is_flag=True, help="Draw map.pdf as well, which takes a second.")
@click.option("--zarr", is_flag=True, help="Write the numbers as the Zarr store map.zarr as well.")
@click.option("--resolve", is_flag=True, help="Prove the cells that rounding decides (olsbn resolve); takes minutes.")
def map_command(
    method: str | None,
    steps: str,
    tol: float,
    out: str | None,
    workers: int | None,
    check_rounding: bool,
    resolve: bool,
    pdf: bool,
    zarr: bool,
    **named: Any,
) -> None:
    r"""Draw where BNGD, or any method, converges over (eps, eps_a), BNGD beside GD's range.

    Grids are LO:HI:N, with equal ratios for --eps and equal steps for --eps-a unless @log or @lin is appended. A grid
    of a further parameter, or several --steps, gives panels.

    \b
    Examples:
      olsbn map --data diabetes
      olsbn map --spectrum logspace --dim 100 --cond 1000 --eps 1e-4:1e8:201 --eps-a 0.01:2.5:100@log
      olsbn map --data wine --standardize --steps 10,100,1000
    """
    with bad_input():
        from olsbn import maps
        from olsbn._validate import check_memory, nearest
        from olsbn.dynamics.registry import DEFAULT, METHODS, OTHERS
        from olsbn.sweeps.grid import Grid

        if workers is not None and workers < 1:
            raise ValueError(f"--workers must be >= 1, got {workers}")
        method = nearest("method", DEFAULT if method is None else method, list(METHODS), OTHERS)
        one = METHODS[method]
        record = _steps(steps)
        typed, rest = split(named)
        for name in ("eps", "eps_a"):
            if name in typed:
                _check_axis(name, typed[name])
        params = parse(one, typed, grids=True)
        if "eps_a" in one.settings and "eps_a" not in params:
            params["eps_a"] = Grid(*maps.EPS_A).values()
        sizes = [getattr(values, "size", 1) for values in params.values()] + ([] if "eps" in params else [241])
        check_memory("the number of cells", math.prod(sizes) * len(record), _BYTES_A_CELL)
        problem = make_problem(**rest)
        from olsbn import plotting
        from olsbn.search.tried import default_eps
        from olsbn.sweeps.running import sweep
        from olsbn.sweeps.spec import SweepSpec

        if "eps" in one.settings and "eps" not in params:
            params["eps"] = default_eps(problem, record[-1], tol)
        how: dict[str, Any] = {"n_steps": record[-1], "tol": tol, "check_rounding": check_rounding} | (
            {"record": record} if len(record) > 1 else {}
        )
        spec = SweepSpec.checked(problem, method, params, **how)
        other = one.beside if set(spec.axes) == {"eps_a", "eps"} and len(record) == 1 else ""
        if not spec.axes:
            raise ValueError("a map must have at least one grid LO:HI:N, got none (see: olsbn run)")
        path = (
            Path(out)
            if out is not None
            else results_name("map" if method == DEFAULT else f"map-{method}", problem.label)
        )
    files = ["map.png", "map.nc", *["map.pdf"] * pdf, *["map.zarr"] * zarr]
    with output_directory(path, ("map.nc",)) as publish:
        with may_fail("the sweep"):
            ds = sweep(problem, method=method, workers=workers, **how, **params)
            if resolve:
                from olsbn.results.resolution import resolve as resolved

                ds = resolved(ds, problem, workers=workers)
            if other:
                shared = {name: params[name] for name in METHODS[other].settings if name in params}
                ds = maps.beside(ds, sweep(problem, method=other, workers=workers, **how, **shared))
        if other:
            maps.add_windows(ds, problem)
        ds.attrs["command"] = command_line()

        def write(work: Path) -> None:
            save_netcdf(ds, work / "map.nc")
            if zarr:
                ds.to_zarr(work / "map.zarr", mode="w", consolidated=False)
            figure = plotting.in_style(plotting.map_figure if other else plotting.maps_figure, ds)
            plotting.save(figure, work / "map.png", ds)
            if pdf:
                plotting.save(figure, work / "map.pdf", ds)

        publish(write)
        for name in ("map.pdf", "map.zarr"):
            if name not in files:  # of an earlier map
                remove(path / name)
    click.echo(f"problem     {describe(problem)}\n{maps.summary(problem, ds)}")
    click.echo(f"results     {path}/ ({', '.join(files)})")


def _steps(text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ValueError(f"--steps must be whole numbers with commas between, got {text!r}") from None
    if found[0] < 0:
        raise ValueError(f"--steps must be >= 0, got {found[0]}")
    return found


def _check_axis(name: str, text: str) -> None:
    """Refuse what is no axis of a picture."""
    flag = f"--{name.replace('_', '-')}"
    from olsbn.sweeps.grid import Grid

    axis = Grid.parse(flag, text, log=name == "eps")
    if axis.n < 2:
        raise ValueError(f"{flag} must be LO:HI:N with N >= 2 for a map, got one value (see: olsbn run)")
    for value in (axis.lo, axis.hi):
        if value and not 1e-290 <= value <= 1e290:
            raise ValueError(f"{flag} must be 0 or in [1e-290, 1e290], got {value!r} in {text!r}")
