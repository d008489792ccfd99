"""How figures look: colours, hatches, lines and numbers as text, the same in all of them."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import matplotlib.colors
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from olsbn._validate import FloatArray
from olsbn.maps import DRAWABLE
from olsbn.results.quantities import method_of
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


# What the figures of the command line look like, whatever the user's own matplotlib settings are.
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 8,
    "axes.linewidth": 0.8,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}
# The same for a column of a paper: no letter smaller than 7 points, thinner lines, more dots an inch.
SMALL_STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "hatch.linewidth": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "figure.dpi": 300,
    "savefig.dpi": 300,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.02,
}
# Figures narrower than this, in inches, get the second one, and short words in legends.
NARROW = 5.0
# Fonts that have what the first font of a style lacks, Chinese, Japanese and Korean first.
_OTHER_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "IPAexGothic", "IPAGothic"),
    *("Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *("Arial Unicode MS", "Unifont"),
)

# Statuses that are no number: shades of grey, which no colour map has, and a hatch.
FLAT = {
    Status.DIVERGED: ("#dcdcdc", "////"),
    Status.NON_FINITE: ("#b4b4b4", "xxxx"),
    Status.DEGENERATE: ("#c8c8c8", "...."),
    Status.NOT_RUN: ("#ffffff", "\\\\\\\\"),
}


MISSING = ("#ececec", "")

HATCH_COLOR = "#6e6e6e"

# Theory is black in a white case: it stands out from every colour, for every eye.
THEORY_COLOR = "black"


def tight(width: float = 1.0) -> dict[str, Any]:
    """Return the look of a line that theory gives exactly; `width` is relative to the user's own lines."""
    return {"color": THEORY_COLOR, "linewidth": width * matplotlib.rcParams["lines.linewidth"], "linestyle": "-"}


def approximate(width: float = 0.8) -> dict[str, Any]:
    """Return the look of a line that theory gives asymptotically."""
    return tight(width) | {"linestyle": (0, (4, 2))}


def cased(look: dict[str, Any]) -> dict[str, Any]:
    """Return the look of a line with a white case, for maps."""
    return look | {"path_effects": [withStroke(linewidth=look["linewidth"] * 2.2, foreground="white")]}


def hex_colors(cmap: str) -> list[str]:
    """Return the 256 colours of a colour map, from low to high, as #rrggbb."""
    return [matplotlib.colors.to_hex(color) for color in matplotlib.colormaps[cmap](np.arange(256))]


def reached() -> dict[str, Any]:
    """Return the look of the outline of what reached the tolerance."""
    return {"color": "white", "linewidth": 0.8 * matplotlib.rcParams["lines.linewidth"]}


def style(size: tuple[float, float] | None = None, more: Any = ()) -> AbstractContextManager[None]:
    """Return a context with matplotlib's defaults and `STYLE`: a picture does not depend on the user's settings.

    Parameters
    ----------
    size : tuple of float, optional
        Width and height of new figures in inches; of a narrow one letters and lines are smaller.
    more : optional
        What `matplotlib.style.use` takes: a style's name, a file or a dict, which has the last word.
    """
    chosen: list[Any] = ["default", STYLE]
    if size is not None:
        chosen += [SMALL_STYLE] if size[0] < NARROW else []
        chosen += [{"figure.figsize": size}]
    return matplotlib.style.context([*chosen, *([more] if more else [])])


def figure_size(size: tuple[float, float]) -> tuple[float, float]:
    """Return the size of a new figure: that of the user's style, if it has one, else `size`."""
    chosen = tuple(matplotlib.rcParams["figure.figsize"])
    return size if chosen == tuple(matplotlib.rcParamsDefault["figure.figsize"]) else chosen


def new_axes(size: tuple[float, float]) -> Axes:
    """Return the axes of a new figure of the user's own."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=figure_size(size), layout="constrained")[1]


def width_of(ax: Axes | Figure) -> float:
    """Return the width of a figure, or of axes, in inches."""
    if isinstance(ax, Figure):
        return float(ax.get_size_inches()[0])
    return float(ax.get_position().width * ax.figure.get_size_inches()[0])  # type: ignore[union-attr]


def is_narrow(ax: Axes | Figure) -> bool:
    """Whether there is room for few words only."""
    return width_of(ax) < (NARROW if isinstance(ax, Figure) else 0.7 * NARROW)


def wrapped(text: str, ax: Axes | Figure, size: Any) -> str:
    """Break lines that are wider than a figure, or axes, in letters of a size; mathtext stays in one piece."""
    points = FontProperties(size=size).get_size_in_points()
    letters = max(12, int(width_of(ax) * 72 / (0.52 * points)))
    lines = []
    for line in text.split("\n"):
        whole = re.sub(r"\$[^$]*\$", lambda found: found[0].replace(" ", "\0"), line)
        made = [""]
        for word in whole.split(" "):
            if made[-1] and _letters(f"{made[-1]} {word}") > letters:
                made.append(word)
            else:
                made[-1] = f"{made[-1]} {word}".strip()
        lines += made
    return "\n".join(lines).replace("\0", " ")


def _letters(text: str) -> int:
    """Return about how many letters wide a text is: of mathtext, commands are one letter and marks none."""
    plain = re.sub(r"\$([^$]*)\$", lambda found: re.sub(r"[{}^_ \0]", "", re.sub(r"\\[a-zA-Z]+", "x", found[1])), text)
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in plain)


def put_title(ax: Axes | Figure, text: str, title: bool | str) -> None:
    """Set the title: `text`, the caller's own, or none."""
    text = title if isinstance(title, str) else text if title else ""
    if isinstance(ax, Figure):
        if text:
            text, family = legible(wrapped(text, ax, matplotlib.rcParams["axes.titlesize"]))
            ax.suptitle(text, fontfamily=family, fontsize=matplotlib.rcParams["axes.titlesize"])
    else:
        text, family = legible(wrapped(text, ax, matplotlib.rcParams["axes.titlesize"]))
        ax.set_title(text, fontfamily=family)


def put_legend(ax: Axes, keys: list[Any], alone: bool, legend: bool) -> None:
    """Set a legend below the axes, in as many columns as there is room for; of a figure of its own below it all."""
    if not (keys and legend):
        return
    how: dict[str, Any] = {"handles": keys, "frameon": False, "columnspacing": 1.2}
    figure = ax.figure
    assert isinstance(figure, Figure) or not alone
    room = (width_of(figure) if alone else width_of(ax)) * figure.dpi  # type: ignore[arg-type]
    for columns in (3, 2, 1) if is_narrow(figure if alone else ax) else (2, 1):  # type: ignore[arg-type]
        if alone:
            found = figure.legend(loc="outside lower center", ncols=columns, **how)
        else:
            size = FontProperties(size=matplotlib.rcParams["axes.labelsize"]).get_size_in_points()
            below = ScaledTranslation(0, -3.2 * size / 72, figure.dpi_scale_trans)
            found = ax.legend(
                loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=ax.transAxes + below, ncols=columns, **how
            )
        if columns == 1 or found.get_window_extent().width <= room:
            return
        found.remove()


def legible(text: str) -> tuple[str, list[str] | None]:
    """Return a text and the fonts for it: those of the style, and of what they lack an installed one that may have it.

    Letters that no font has are question marks.
    """
    if text.isascii():
        return text, None
    installed = set(fontManager.get_font_names())
    families = [str(name) for name in matplotlib.rcParams["font.family"]]
    families += [name for name in _OTHER_FONTS if name in installed]
    known = {
        code
        for name in families
        for code in get_font(fontManager.findfont(FontProperties(family=[name]))).get_charmap()
    }
    return "".join(letter if letter.isascii() or ord(letter) in known else "?" for letter in text), families


def drawable(values: FloatArray, negative: bool = False) -> FloatArray:
    """Return positive values, and negative ones if asked for, within the range of `DRAWABLE`; NaN for the others."""
    size = np.abs(values) if negative else values
    with np.errstate(invalid="ignore"):
        return np.where((size >= DRAWABLE[0]) & (size <= DRAWABLE[1]), values, np.nan)


def method_color(ds: xr.Dataset) -> str:
    """Return the colour that stands for a method."""
    found = method_of(ds)
    return found.color if found else "#0072b2"


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
