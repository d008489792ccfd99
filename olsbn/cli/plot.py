"""`olsbn plot`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from olsbn.cli.results import open_result, picture_path
from olsbn.cli.shell import bad_input, main, may_fail
from olsbn.files import path_or_url

if TYPE_CHECKING:
    import xarray as xr


@main.command("plot")
@click.argument("result", metavar="RESULT")
@click.option("--out", metavar="FILE", help="A .png or .pdf file (default: beside the result).")
@click.option(
    "--quantity",
    metavar="Q",
    help="Draw maps, of excess (default for one dimension) or another quantity, stored or derived.",
)
@click.option("--dim", type=int, metavar="D", help="Draw the map of this dimension.")
@click.option("--trial", type=int, metavar="T", help="Only this trial (default: medians over all).")
@click.option("--select", multiple=True, metavar="AXIS=VALUE", help="Only this value of an axis, the nearest one.")
@click.option("--x", metavar="AXIS", help="The axis across (default: eps).")
@click.option("--y", metavar="AXIS", help="The axis up (default: eps_a).")
@click.option("--vmin", type=float, help="Lower end of the colours.")
@click.option("--vmax", type=float, help="Upper end of the colours.")
@click.option("--cmap", metavar="NAME", help="A colour map of matplotlib.")
@click.option("--size", metavar="WxH", help="Width and height in inches, such as 3.3x2.4 for a column of a paper.")
@click.option("--style", "style_of", metavar="FILE", help="A style sheet of matplotlib, or the name of one.")
@click.option("--no-title", is_flag=True, help="Leave out the title.")
@click.option("--no-legend", is_flag=True, help="Leave out the legend.")
def plot_command(
    result: str,
    out: str | None,
    quantity: str | None,
    dim: int | None,
    trial: int | None,
    select: tuple[str, ...],
    x: str | None,
    y: str | None,
    size: str | None,
    style_of: str | None,
    no_title: bool,
    no_legend: bool,
    **colours: Any,
) -> None:
    r"""Draw any result: a sweep, a map, a run, as a store, a .nc file or a directory.

    Any two axes make a map, the others panels, unless they are selected. Of several trials a map shows the median one
    of each cell. A sweep over several dimensions is drawn as robustness against the dimension, unless --quantity, --x
    or --y asks for maps.

    \b
    Examples:
      olsbn plot robust.zarr --quantity excess --select eps_a=1 --y dim
      olsbn plot results/map-diabetes --quantity rate_sim
      olsbn plot results/run-diabetes/bngd.nc
      olsbn plot results/map-diabetes --size 3.3x2.4 --no-title --out column.pdf
    """
    where = path_or_url(result)
    path = Path(result)
    with bad_input():
        picture_path(out)
        runs = [] if isinstance(where, str) else _runs(path)
        ds = runs[0] if runs else open_result(where)
        from olsbn import plotting
        from olsbn._validate import nearest
        from olsbn.maps import apart
        from olsbn.results.quantities import quantities_of

        if quantity is not None and not runs:
            nearest("quantity", quantity, quantities_of(apart(ds)[0]))
        ds, picked = _picked(ds, {"dim": dim, "trial": trial}, select)
        look: dict[str, Any] = {"size": _inches(size), "style_of": plotting.style_sheet(style_of)}
        words: dict[str, Any] = {name: False for name, off in (("title", no_title), ("legend", no_legend)) if off}
        chosen = {name: value for name, value in colours.items() if value is not None}
        draw, what, how = _picture(runs, ds, quantity, x, y, chosen)
        figure = plotting.in_style(draw, what, **how, **words, **look)
        picked += f"-{quantity}" if quantity else ""
        place = Path(path.name) if isinstance(where, str) else path if path.name else path.resolve()
        target = Path(out) if out is not None else place.with_name(f"{path.stem}{picked}.png")
    with may_fail(f"writing {target}"):
        plotting.save(figure, target, ds)
    click.echo(f"picture     {target}")


def _runs(path: Path) -> list[xr.Dataset]:
    """Return the runs in a directory of `olsbn run`, or in a file of one; none for other results."""
    files = sorted(path.glob("*.nc")) if path.is_dir() and not (path / "zarr.json").exists() else [path]
    if not files or not all(file.is_file() and file.suffix == ".nc" for file in files):
        return []
    if path.is_dir() and (links := [file for file in files if file.is_symlink()]):
        raise ValueError(f"{links[0]} must be a regular file, got a symbolic link")
    found = [open_result(file) for file in files]
    return found if all(tuple(ds.dims) == ("step",) and "status" not in ds for ds in found) else []


def _picked(ds: xr.Dataset, whole: dict[str, int | None], select: tuple[str, ...]) -> tuple[xr.Dataset, str]:
    """Return what is selected of a result, and how the picture's name tells it."""
    picked = ""
    for name, value in whole.items():
        if value is not None:
            known = ds[name].values.tolist() if name in ds.dims else [ds.attrs[name]] if name in ds.attrs else []
            if value not in known:
                some = ", ".join(map(str, known[:10])) + (", ..." if len(known) > 10 else "")
                raise ValueError(f"--{name} must be one of those in the store ({some or 'none'}), got {value}")
            ds = ds.sel({name: value}) if name in ds.dims else ds
            picked += f"-{name}{value}"
    from olsbn.maps import at_step

    for text in select:
        name, _, number = text.partition("=")
        try:
            wanted = float(number)
            if not math.isfinite(wanted):
                raise ValueError
        except ValueError:
            raise ValueError(f"--select must be AXIS=VALUE with a finite number, got {text!r}") from None
        if name not in ds.dims:
            raise ValueError(f"--select must name one of the axes {', '.join(map(str, ds.dims))}, got {name!r}")
        near = ds[name].sel({name: wanted}, method="nearest").item()
        ds = at_step(ds, int(near)) if name == "step" else ds.sel({name: near})
        picked += f"-{name}{near:.6g}"
    return ds, picked


def _inches(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+\.?\d*)x(\d+\.?\d*)", text)
    if not found or not all(1 <= float(side) <= 40 for side in found.groups()):
        raise ValueError(f"--size must be WxH, two numbers of inches in [1, 40], got {text!r}")
    return float(found[1]), float(found[2])


def _picture(
    runs: list[xr.Dataset], ds: xr.Dataset, quantity: str | None, x: str | None, y: str | None, colours: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the function that draws a result, what it draws, and its further arguments."""
    from olsbn import maps, plotting
    from olsbn.results.measures import bands

    plain = quantity is None and x is None and y is None and not colours
    if runs:
        if not plain:
            raise ValueError("--quantity, --x, --y and colours go with a map, got them with a run")
        return plotting.run_figure, runs, {}
    if "width_decades" in ds:
        return plotting.plot_robustness, bands(ds), {"x": x}
    if "status_check" in ds:
        return plotting.plot_comparison, ds, {}
    ds, *other = maps.apart(whole := ds)
    how: dict[str, Any] = {"quantity": quantity or "excess", **colours}
    if other and x is None and y is None:
        return plotting.map_figure, whole, how
    if "status" not in ds:
        raise ValueError(
            f"the result must be a sweep, a map or a run, got one with {', '.join(map(str, ds.data_vars))}"
        )
    if plain and "eps" in ds.dims and "dim" in ds.dims:
        return plotting.plot_robustness, bands(ds), {}
    if x is None and y is None and "eps" not in ds.dims:
        dims = ", ".join(map(str, ds.dims)) or "none"
        raise ValueError(f"the result must have an axis eps to be drawn without --x, got {dims}")
    how |= {"x": x, "y": y}
    parts = maps.panels(ds, quantity or "excess", x, y)
    if len(parts) == 1:
        return plotting.plot_map, parts[0][1], how
    return plotting.maps_figure, [part for _, part in parts], how | {"titles": [title for title, _ in parts]}
