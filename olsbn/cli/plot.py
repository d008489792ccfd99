"""`olsbn plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from olsbn.cli.results import open_result
from olsbn.cli.shell import bad_input, main, may_fail


@main.command("plot")
@click.argument("store", metavar="STORE")
@click.option("--out", metavar="FILE", help="A .png or .pdf file (default: beside the store).")
@click.option(
    "--quantity",
    metavar="Q",
    help="Draw maps, of excess (default for one dimension), steps_to_tol, rate_sim or eps_eff.",
)
@click.option("--dim", type=int, metavar="D", help="Draw the map of this dimension.")
@click.option("--trial", type=int, metavar="T", help="Only this trial (default: medians over all).")
def plot_command(store: str, out: str | None, quantity: str | None, dim: int | None, trial: int | None) -> None:
    """Draw what is in a store: a map, or robustness against the dimension where there are several.

    Of several trials a map shows the median one of each cell. With --quantity several dimensions are drawn as maps side
    by side.
    """
    path = Path(store)
    with bad_input():
        if out is not None and Path(out).suffix not in (".png", ".pdf"):
            raise ValueError(f"--out must end in .png or .pdf, got {out}")
        if out is not None and not Path(out).parent.is_dir():
            raise ValueError(f"--out must be in a directory that exists, got {out}")
        ds = open_result(path)
        from olsbn import maps, plotting
        from olsbn._validate import nearest
        from olsbn.results.measures import robustness

        if quantity is not None:
            nearest("quantity", quantity, list(plotting.QUANTITIES))
        picked = ""
        for name, value in (("dim", dim), ("trial", trial)):
            if value is not None:
                known = ds[name].values.tolist() if name in ds.dims else [ds.attrs[name]] if name in ds.attrs else []
                if value not in known:
                    some = ", ".join(map(str, known[:10])) + (", ..." if len(known) > 10 else "")
                    raise ValueError(f"--{name} must be one of those in the store ({some or 'none'}), got {value}")
                ds = ds.sel({name: value}) if name in ds.dims else ds
                picked += f"-{name}{value}"
        if "eps" not in ds.dims:
            raise ValueError(f"{store} must have an axis eps to be drawn, got {', '.join(map(str, ds.dims)) or 'none'}")
        if "dim" not in ds.dims:
            ds = maps.of_one_dimension(ds, quantity or "excess")
            figure: Any = plotting.plot_map(ds, quantity or "excess").figure
        elif quantity is None:
            figure = plotting.plot_robustness(robustness(ds)).figure
        else:
            figure = plotting.maps_figure(
                [maps.of_one_dimension(ds.sel(dim=d), quantity) for d in ds["dim"].values], quantity
            )
        picked += f"-{quantity}" if quantity else ""
        place = path if path.name else path.resolve()
        target = Path(out) if out is not None else place.with_name(f"{path.stem}{picked}.png")
    with may_fail(f"writing {target}"):
        plotting.save(figure, target, ds)
    click.echo(f"picture     {target}")
