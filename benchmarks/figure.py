"""The figure of the benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure


def bench_figure(result: dict[str, Any]) -> Figure:
    """Draw the engine's rate against dimension, cells, steps and threads, with the limit of the arithmetic pipes.

    Parameters
    ----------
    result : dict
        What `engine.run` returns, curves included.

    Returns
    -------
    Figure
    """
    curves = result["curves"]
    limits = dict(curves["limit"])
    panels = (
        ("dim", "dimension $d$", "at least 128 cells"),
        ("cells", "cells", "$d = 100$, 4000 steps"),
        ("steps", "steps", "$d = 100$, 4096 cells"),
        ("threads", "threads", "$d = 100$, 8192 cells, 1000 steps"),
    )
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    for ax, (name, label, title) in zip(axes, panels, strict=True):
        x, rate = np.array(curves[name]).T
        if name == "threads":
            ax.plot(*np.array(curves["limit"]).T / [[1], [1e9]], color="#a33b20", lw=1.5)
            ax.set_xticks(x)
        else:
            ax.axhline(max(limits.values()) / 1e9, color="#a33b20", lw=1.5, label="limit of the arithmetic pipes")
            ax.set_xscale("log")
        ax.plot(x, rate / 1e9, "o-", ms=4, color="#28507a", label="olsbn, all threads")
        ax.set(xlabel=label)
        ax.set_title(title, fontsize=8)
        ax.grid(alpha=0.3, lw=0.5)
    axes[0].set(ylabel="10$^9$ mode-steps / s", ylim=(0, None))
    figure.legend(handles=axes[0].get_lines(), loc="outside lower center", ncols=2, frameon=False)
    return figure
