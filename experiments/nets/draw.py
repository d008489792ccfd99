"""Figure, table and numbers, from the two files of a run. Needs no JAX."""

import json

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nets.results import read
from nets.table import COMMON, Numbers, last_sharpness, left_out, networks, rows
from olsbn.plotting import save, style

BLUE, ORANGE, GREEN, RED = "#1f5fa8", "#c46a00", "#3f8f8b", "#d6005f"
SHADES = {"bn": ("#a9c6e8", "#5c93cf", "#123f74"), "none": ("#efc38f", "#dd9440", "#8f4d00")}


def draw(folder):
    """Write figure (PNG, PDF), table (Markdown) and numbers (JSON) to `folder`; return the table."""
    results, ls = read(folder)
    numbers = Numbers(results, ls)
    with style():
        figure = make_figure(numbers)
    about = xr.Dataset(attrs={"title": "Least squares and networks", **ls.attrs})
    for kind in ("png", "pdf"):
        save(figure, folder / f"networks.{kind}", about)
    found = rows(numbers)
    text = table(found) + left_out(numbers) + missing(results)
    (folder / "table.md").write_text(text)
    facts = {"limit": numbers.limit, "table": [vars(row) for row in found], "networks": networks(numbers)}
    (folder / "numbers.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False).replace("NaN", "null") + "\n")
    return text


def table(found):
    """Return the rows as Markdown."""
    lines = ["| property | least squares, theory | least squares, measured | network | other networks | carries over |",
             "|---|---:|---:|---:|---:|---|"]  # fmt: skip
    lines += [f"| {r.name} | {r.theory} | {r.least_squares} | {r.network} | {r.others} | {r.verdict} |" for r in found]
    return "\n".join(lines) + "\n"


def missing(results):
    """Say what was not run, if anything."""
    names = [
        f"{r.facts['name']}, {r.facts['data']}, {r.facts['norm']}, {r.facts['method']}, {r.facts['depth']} × "
        f"{r.facts['width']}" for r in results if not r.run.all()
    ]  # fmt: skip
    return f"\nNot run, or not to the end: {'; '.join(names)}.\n" if names else ""


def make_figure(numbers):
    """Return the figure: least squares above, the network below, the same axes."""
    figure = Figure(figsize=(9.6, 5.8), layout="constrained")
    axes = figure.subplots(2, 4, sharex="col", sharey="col")
    ls, limit = numbers.ls, numbers.limit
    main = {norm: numbers.main(norm) for norm in ("bn", "none")}
    width = main["bn"].facts["width"]
    steps = numbers.steps(main["bn"])
    shown = [k for k in (10, 100, 1000) if k in steps]

    for arm, dim in (("bn", "eps_bngd"), ("none", "eps_gd")):
        result = main[arm]
        for color, k in zip(SHADES[arm], shown, strict=False):
            excess = np.median(ls[f"excess_{arm}"].sel(width=width, n_steps=k).values, 0)
            axes[0, 0].plot(ls[dim].values, shown_loss(excess), color=color)
            loss = result.loss[..., result.marks == k][..., 0]
            loss = np.median(np.where(np.isfinite(loss), loss, np.inf), 1)
            axes[1, 0].plot(result.eps, shown_loss(loss), color=color, marker=".", markersize=4)
    for ax in axes[:, 0]:
        ax.axhline(limit, color="#444444", linewidth=0.9, linestyle=(0, (2, 2)))
        ax.set(xscale="log", yscale="log", ylim=(1e-3, 3), xlim=(1e-4, 1e7))
    axes[0, 0].set_title("loss after K steps")
    axes[0, 0].set_ylabel("relative excess")
    axes[1, 0].set_ylabel("relative training loss")
    keys = [
        Line2D([], [], color=SHADES[arm][min(i, 2)], label=f"{name}, $K = {k}$")
        for arm, name in (("bn", "BN"), ("none", "GD")) for i, k in enumerate(shown)
    ]  # fmt: skip

    grid = {
        "bn": (main["bn"], BLUE, "BN, $\\gamma_0 = 1$"), "none": (main["none"], ORANGE, "GD"),
        "zero": (numbers.find(name="zero", width=width), GREEN, "BN, $\\gamma_0 = 0$"),
    }  # fmt: skip
    for arm in ("zero", "bn", "none"):
        result, color, _ = grid[arm]
        band(axes[0, 1], ls["n_steps"].values, numbers.ls_ends(arm, width), color)
        if result is not None:
            band(axes[1, 1], numbers.steps(result), numbers.network_ends(result), color)
    for row, (lower, upper) in enumerate(guides(numbers, width)):
        k = np.array([30.0, 1000.0])
        for (x0, y0), power in ((lower, -1), (upper, 1)):
            axes[row, 1].plot(k, y0 * (k / x0) ** power, color=RED, linewidth=1, linestyle=(0, (4, 2.5)))
    axes[0, 1].set(xscale="log", yscale="log", title=f"good rates (reach {limit:g}) over $K$")
    axes[1, 1].set_xlabel("steps $K$")
    keys += [Patch(color=color, alpha=0.45, label=label) for _, color, label in map(grid.get, ("zero", "bn", "none"))]
    keys.append(Line2D([], [], color=RED, linewidth=1, linestyle=(0, (4, 2.5)), label="theory: $K^{-1}$, $K^{1}$"))
    keys.append(Line2D([], [], color=RED, linewidth=1.3, label="theory: edge of stability, 2"))
    keys.append(
        Line2D([], [], color="#444444", linewidth=0.9, linestyle=(0, (2, 2)), label=f"to be reached: {limit:g}")
    )
    figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False, fontsize=9)

    for arm in ("zero", "bn"):
        result, color, _ = grid[arm]
        edge = np.median(np.abs(ls[f"edge_{arm}"].sel(width=width).values), (0, 1))
        axes[0, 2].plot(ls["eps_bngd"].values, edge, color=color)
        if result is not None and result.sharpness.size and np.isfinite(result.sharpness).any():
            edge = result.eps[:, None] * last_sharpness(result)
            axes[1, 2].plot(result.eps, np.median(edge, 1), color=color, marker=".", markersize=4)
            axes[1, 2].fill_between(result.eps, edge.min(1), edge.max(1), color=color, alpha=0.2, linewidth=0)
    for ax in axes[:, 2]:
        ax.axhline(2, color=RED, linewidth=1.3)
        ax.set(xscale="log", yscale="log", ylim=(1e-4, 10), xlim=(1e-3, 1e7))
    axes[0, 2].set_title("effective rate × sharpness")
    axes[0, 2].set_ylabel(rf"$\hat\varepsilon\,\lambda^*_d$ at $K = {steps[-1]}$")
    axes[1, 2].set_ylabel(rf"$\varepsilon\,\lambda_{{\max}}(\nabla^2_w L)$ at $K = {steps[-1]}$")
    for arm, study, norm in (("zero", "zero", "bn"), ("bn", "grid", "bn"), ("none", "grid", "none")):
        color, steps = grid[arm][1], COMMON[arm]
        widths = ls["width"].values
        band(axes[0, 3], widths, np.stack([numbers.ls_ends_at(arm, w) for w in widths], -1), color)
        there = {w: numbers.find(name=study, norm=norm, width=w) for w in widths}
        there = {w: r for w, r in there.items() if r is not None and steps in numbers.steps(r)}
        if there:
            found = [numbers.network_ends(r)[..., numbers.steps(r).index(steps)] for r in there.values()]
            band(axes[1, 3], list(there), np.stack(found, -1), color)
    axes[0, 3].set(xscale="log", yscale="log", title="good rates over width")
    axes[1, 3].set_xlabel("width of hidden layer")
    for ax in axes[1, ::2]:
        ax.set_xlabel(r"learning rate $\varepsilon$")
    for ax in axes[:, 1::2].ravel():
        ax.set_ylabel(r"learning rate $\varepsilon$")
        ax.set_ylim(1e-3, 1e7)
    for ax in axes.ravel():
        ax.grid(alpha=0.25, linewidth=0.5)
        ax.minorticks_off()
    for row, name in enumerate(("least squares", "network")):
        axes[row, 0].annotate(name, (-0.52, 0.5), xycoords="axes fraction", rotation=90, va="center", ha="center",
                              fontsize=11, fontweight="bold")  # fmt: skip
    return figure


def shown_loss(loss):
    """Return losses as drawn: those that left the panel stand above it."""
    return np.where(np.isfinite(loss), np.clip(loss, 1e-12, 1e6), 1e6)


def band(ax, x, ends, color):
    """Fill between the ends of ranges, means over seeds; a mark where only one end is on the grid."""
    lower, upper = 10 ** ends.mean(1)
    x = np.asarray(x, float)
    ax.fill_between(x, lower, upper, color=color, alpha=0.3, linewidth=0)
    for end in (lower, upper):
        ax.plot(x, end, color=color, marker="o", markersize=3, linewidth=1.2)


def guides(numbers, width):
    """Return, for both rows, a point on BN's lower and upper end from which the theory's lines start."""
    result = numbers.main("bn")
    found = []
    for steps, ends in (
        (numbers.ls["n_steps"].values, numbers.ls_ends("bn", width)),
        (numbers.steps(result), numbers.network_ends(result)),
    ):  # fmt: skip
        middle = 10 ** ends.mean(1)
        good = np.flatnonzero(np.isfinite(middle).all(0))
        if good.size:
            k = good[-1]
            found.append(((steps[k], middle[0, k]), (steps[k], middle[1, k])))
        else:
            found.append(((1.0, np.nan), (1.0, np.nan)))
    return found
