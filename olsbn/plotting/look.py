"""How figures look: colours, hatches, lines and numbers as text, the same in all of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np

from olsbn._validate import FloatArray
from olsbn.maps import DRAWABLE
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from olsbn.dynamics.base import Method

# What the figures of the command line look like, whatever the user's own matplotlib settings are.
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 8,
    "axes.linewidth": 0.8,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}

# Statuses that are no number: colour, hatch.
FLAT = {
    Status.DIVERGED: ("#e3b5ae", "////"),
    Status.NON_FINITE: ("#b6a1c9", "xxxx"),
    Status.DEGENERATE: ("#c9c9c9", "...."),
    Status.NOT_RUN: ("#ffffff", "\\\\\\\\"),
}


MISSING = ("#ececec", "")

HATCH_COLOR = "#8a5f5a"

THEORY_COLOR = "#d6005f"

TIGHT: dict[str, Any] = {"color": THEORY_COLOR, "linewidth": 1.5, "linestyle": "-"}

APPROXIMATE: dict[str, Any] = {"color": THEORY_COLOR, "linewidth": 1.2, "linestyle": (0, (4, 2.5))}


REACHED: dict[str, Any] = {"color": "white", "linewidth": 1.2}


def style() -> AbstractContextManager[None]:
    """Return a context with matplotlib's defaults and `STYLE`: a picture does not depend on the user's settings."""
    return matplotlib.style.context(["default", STYLE])


def new_axes(size: tuple[float, float]) -> Axes:
    """Return the axes of a new figure of the user's own."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def drawable(values: FloatArray, negative: bool = False) -> FloatArray:
    """Return positive values, and negative ones if asked for, within the range of `DRAWABLE`; NaN for the others."""
    size = np.abs(values) if negative else values
    with np.errstate(invalid="ignore"):
        return np.where((size >= DRAWABLE[0]) & (size <= DRAWABLE[1]), values, np.nan)


def method_of(ds: xr.Dataset) -> Method | None:
    """Return the method of a result, None where the package that brings it is not installed."""
    from olsbn.dynamics.registry import METHODS

    return METHODS.get(str(ds.attrs.get("method")))


def method_color(ds: xr.Dataset) -> str:
    """Return the colour that stands for a method."""
    found = method_of(ds)
    return found.color if found else "#1f5fa8"


def power(value: float) -> str:
    """Return a number as mathtext, powers of ten without a factor."""
    text = number(value)
    return f"${text.removeprefix('1 ').removeprefix(chr(92) + 'times ')}$"


def number(value: float, digits: int = 3) -> str:
    """Return a number as mathtext, without dollar signs."""
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}"


def distinct(values: list[float]) -> list[str]:
    """Return numbers as mathtext, with as many digits as it takes to tell them apart."""
    texts: list[str] = []
    for digits in range(3, 18):
        texts = [number(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return [f"${text.removeprefix('1 ').removeprefix(chr(92) + 'times ')}$" for text in texts]
