"""What the scripts of experiments/ share: their options, the look of a figure, and its files.

A figure is 3.3 inches wide, with letters of 7 points or more and colours that colour-blind readers can tell apart. It
is written as NAME.png and NAME.pdf, and its data as NAME.csv, whose first lines, after ``#``, are the caption. The
same numbers give the same bytes: no file holds a date or a path.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from olsbn.dynamics.registry import METHODS
from olsbn.plotting.look import style

WIDTH = 3.3
BNGD, GD = METHODS["bngd"].color, METHODS["gd"].color
# Okabe and Ito's colours, in an order in which neighbours differ in brightness too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
THEORY = {"color": "black", "linewidth": 0.8}
LAW = THEORY | {"linestyle": (0, (4, 2))}


def smoke(about: str | None) -> bool:
    """Read the options of a script; return whether a small version is asked for, drawn into the current directory."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small version, drawn into the current directory")
    return bool(parser.parse_args().smoke)


@contextmanager
def figure(name: str, height: float, small: bool, *, rows: int = 1, columns: int = 1, **how: Any) -> Iterator[Any]:
    """Yield a figure in the common look and its axes; set its ``data`` and ``caption``: it is saved at the end.

    Parameters
    ----------
    name : str
        Of the files, without an ending.
    height : float
        In inches.
    small : bool
        Whether the files go to the current directory, and not to figures/.
    rows, columns, **how
        As in `matplotlib.figure.Figure.subplots`.
    """
    with style((WIDTH, height)):
        made: Any = Figure(layout="constrained")
        made.data, made.caption = {}, ""
        yield made, made.subplots(rows, columns, **how)
        save(made, name, Path(".") if small else Path(__file__).resolve().parents[1] / "figures")


def save(made: Any, name: str, folder: Path) -> None:
    """Write PNG, PDF and CSV, and print the caption."""
    about = {"Title": name}
    made.set_dpi(300)
    FigureCanvasAgg(made).print_png(folder / f"{name}.png", metadata=about | {"Software": "olsbn"})
    made.set_layout_engine("none")  # laid out now: the next format need not find the same places again
    pdf = about | {"Creator": "olsbn", "CreationDate": None}
    FigureCanvasPdf(made).print_pdf(folder / f"{name}.pdf", metadata=pdf)
    caption = textwrap.fill(" ".join(made.caption.split()), 110)
    head = "".join(f"# {line}\n" for line in caption.splitlines())
    (folder / f"{name}.csv").write_text(head + table(made.data).to_csv(index=False, float_format="%.7g"))
    print(f"{name}: {caption}")


def table(data: dict[str, Any]) -> pd.DataFrame:
    """Return arrays and numbers, broadcast against one another, as columns; tables are put below one another."""
    if data and all(isinstance(part, dict) for part in data.values()):
        return pd.concat([table({"part": key} | part) for key, part in data.items()], ignore_index=True)
    arrays = np.broadcast_arrays(*(np.asarray(values) for values in data.values()))
    return pd.DataFrame({key: array.ravel() for key, array in zip(data, arrays, strict=True)})


def between(values: Any, axis: int = 0) -> tuple[Any, Any, Any]:
    """Return the 10 % quantile, the median and the 90 % quantile."""
    low, middle, high = np.nanquantile(np.asarray(values), [0.1, 0.5, 0.9], axis=axis)
    return low, middle, high


def power(value: float) -> str:
    """Return a power of ten as mathtext."""
    return f"$10^{{{round(np.log10(value))}}}$"


def style_map(share: float) -> Any:
    """Return the colour of an ordered value in [0, 1], dark to bright."""
    return colormaps["viridis"](0.88 * share)
