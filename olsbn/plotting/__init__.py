"""Pictures of results: a Dataset goes in, matplotlib Axes or a Figure come out; the only importer of matplotlib.

Nothing is computed here: every number drawn is in the Dataset, the theory in its attributes. Where cells lie is said by
`olsbn.maps`, and `olsbn.results.measures.bands` takes the medians that `plot_robustness` draws.
"""

from olsbn.plotting.comparison import plot_comparison
from olsbn.plotting.files import in_style, save, save_axes, style_sheet
from olsbn.plotting.lines import plot_robustness, plot_run, run_figure
from olsbn.plotting.look import style
from olsbn.plotting.maps import map_figure, maps_figure, plot_map
from olsbn.quantity import QUANTITIES

__all__ = [
    "QUANTITIES",
    "in_style",
    "map_figure",
    "maps_figure",
    "plot_comparison",
    "plot_map",
    "plot_robustness",
    "plot_run",
    "run_figure",
    "save",
    "save_axes",
    "style",
    "style_sheet",
]


def __dir__() -> list[str]:
    return sorted(__all__)
