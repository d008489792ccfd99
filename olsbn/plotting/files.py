"""Figures as files, with their provenance inside."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from olsbn.plotting.look import style

if TYPE_CHECKING:
    import xarray as xr


def save(figure: Figure, path: Path, ds: xr.Dataset) -> None:
    """Write a figure of `ds` to a PNG or PDF, with its provenance inside; the same figure gives the same bytes."""
    provenance = {
        name: str(value)
        for name, value in sorted(ds.attrs.items())
        if name == "command" or name.endswith(("_version", "fingerprint"))
    }
    title, about = str(ds.attrs.get("title", "")), json.dumps(provenance)
    creator = f"olsbn {ds.attrs.get('olsbn_version', '')}"
    metadata = {
        ".png": {"Title": title, "Description": about, "Software": creator},
        ".pdf": {"Title": title, "Subject": about, "Creator": creator, "CreationDate": None},
    }[path.suffix]
    with style():
        # without savefig, which draws twice: once to see how large it gets
        if path.suffix == ".png":
            FigureCanvasAgg(figure).print_png(path, metadata=metadata)
        else:
            from matplotlib.backends.backend_pdf import FigureCanvasPdf

            FigureCanvasPdf(figure).print_pdf(path, metadata=metadata)
    figure.set_layout_engine("none")  # laid out now: the next format need not find the same places again


def in_style(
    draw: Callable[..., Any], *args: Any, size: tuple[float, float] | None = None, style_of: Any = (), **how: Any
) -> Figure:
    """Draw with one of the functions of this package in its own style, whatever the user's is, and return the figure.

    `size` is that of the figure in inches; `style_of` is what `matplotlib.style.use` takes, and has the last word.
    """
    with style(size, style_of):
        made = draw(*args, **how)
        figure = made if isinstance(made, Figure) else made.figure
        assert isinstance(figure, Figure)
        dpi = matplotlib.rcParams["savefig.dpi"]
        if dpi != "figure":
            figure.set_dpi(dpi)
    return figure


def save_axes(draw: Callable[..., Any], ds: xr.Dataset, path: Path, **how: Any) -> None:
    """Draw with one of the functions of this package, in its own style, and write it."""
    save(in_style(draw, ds, **how), path, ds)


def style_sheet(text: str | None) -> Any:
    """Return a style of matplotlib by name, or what a style sheet sets, refusing what matplotlib cannot read."""
    if text is None or text in matplotlib.style.available:
        return text or ()
    if not Path(text).is_file():
        raise ValueError(f"style must be a file or one of matplotlib's styles, got {text!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = dict(matplotlib.rc_params_from_file(text, use_default_template=False))
    except (ValueError, UnicodeError, UserWarning) as err:
        raise ValueError(f"style must be a style sheet of matplotlib, got {text}: {err}") from None
    if not found:
        raise ValueError(f"style must be a style sheet of matplotlib, got {text}, which sets nothing")
    return found
