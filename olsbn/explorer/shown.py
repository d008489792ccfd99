"""What a map of the explorer can show: quantities, how they are coloured, and which cells have none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn._validate import FloatArray
from olsbn.schema import EXCESS_FLOOR, Status

if TYPE_CHECKING:
    from olsbn.dynamics.base import Method

# Codes of cells for the page: has a number, has none though it ran, or how it ended; bits for flags.
NUMBER, MISSING = 0, 1
STATUS_CODES = {Status.NOT_RUN: 2, Status.DIVERGED: 3, Status.NON_FINITE: 4, Status.DEGENERATE: 5}
REACHED, ROUNDING = 32, 64


def names(method: Method) -> list[str]:
    """Return the quantities that a map of a method can show."""
    from olsbn.plotting.cells import QUANTITIES

    return [name for name in QUANTITIES if name in method.columns]


def colours(quantity: str) -> dict[str, Any]:
    """Return how a quantity becomes a colour: scale, words, the colours of its map from low to high."""
    from olsbn.plotting.cells import QUANTITIES
    from olsbn.plotting.look import hex_colors

    style = QUANTITIES[quantity]
    scale = "digits" if quantity == "excess" else "log" if style.log else "linear"
    return {
        "name": quantity,
        "scale": scale,
        "label": plain(style.label),
        "missing": plain(style.missing),
        "colors": hex_colors(style.cmap),
    }


def drawn(quantity: str, columns: dict[str, np.ndarray]) -> tuple[FloatArray, np.ndarray]:
    """Return the number of each cell, of an excess its decimal logarithm, and the cell's code with its flags."""
    style = colours(quantity)["scale"]
    status = columns["status"]
    raw = columns[quantity].astype(np.float64)
    if quantity == "excess":
        raw = np.maximum(raw, EXCESS_FLOOR)
    elif quantity == "steps_to_tol":
        raw = np.where(raw < 0, np.nan, np.maximum(raw, 1))
    ran = (status == Status.CONVERGED) | (status == Status.MAX_STEPS)
    good = ran & np.isfinite(raw) & ((raw > 0) | (style == "linear"))
    codes = np.where(good, NUMBER, MISSING).astype(np.uint8)
    for ended, code in STATUS_CODES.items():
        codes[status == ended] = code
    codes[status == Status.CONVERGED] |= REACHED
    if "by_rounding" in columns:
        codes[ran & columns["by_rounding"]] |= ROUNDING
    values = np.full(raw.shape, np.nan)
    values[good] = np.log10(raw[good]) if style == "digits" else raw[good]
    return values, codes


def limits(quantity: str, values: FloatArray) -> tuple[float, float] | None:
    """Return the range of colours, None without numbers; of an excess above 1, the start's, it is clipped."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    if quantity == "excess":
        high = min(high, 0.0)
        return (low, high) if high - low < 0.2 * -low else (min(low, -1.0), 0.0)
    return low, high


_COMMANDS = {
    r"\varepsilon": "ε", r"\lambda": "λ", r"\mu": "μ", r"\sigma": "σ", r"\delta": "δ", r"\alpha": "α", r"\beta": "β",
    r"\rho": "ρ", r"\nu": "ν", r"\max": "max", r"\min": "min", r"\leq": "≤", r"\geq": "≥", r"\|": "‖", r"\infty": "∞",
    r"\log": "log", r"\,": " ", r"\ ": " ",
}  # fmt: skip
_BELOW = dict(zip("0123456789+-aekmnoprstux", "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₖₘₙₒₚᵣₛₜᵤₓ", strict=True))


def plain(text: str) -> str:
    r"""Return mathtext as plain text: ``$\varepsilon_1$`` as ε₁."""
    import re

    text = re.sub(r"\\hat\s*\{?(\\[a-z]+|\w)\}?", lambda m: f"{_COMMANDS.get(m[1], m[1])}\u0302", text)
    text = re.sub(r"\\mathrm\{([^}]*)\}", r"\1", text)
    text = re.sub(r"\\sqrt\{([^}]*)\}", r"√(\1)", text)
    for command, letter in _COMMANDS.items():
        text = text.replace(command, letter)

    def below(match: re.Match[str]) -> str:
        inner = (match[1] or match[2]).strip()
        return "".join(_BELOW.get(c, "") for c in inner) if all(c in _BELOW for c in inner) else f"_{inner}"

    text = re.sub(r"_(?:\{([^}]*)\}|(\w))", below, text)
    return re.sub(r"\^\*", "*", text).replace("$", "").replace("{", "").replace("}", "")


def symbol(text: str) -> str:
    """Return a symbol of a parameter, such as eps_a, as plain text: ε_a."""
    greek = {"eps": "ε", "alpha": "α", "beta": "β", "delta": "δ", "lambda": "λ", "mu": "μ", "rho": "ρ", "sigma": "σ"}
    head, bar, tail = text.partition("_")
    letters = "".join(_BELOW.get(c, "") for c in tail) if tail and all(c in _BELOW for c in tail) else bar + tail
    return greek.get(head, head) + letters


def meaning(name: str) -> str:
    """Return what a quantity is, in words."""
    return schema.VARIABLES[name].long_name


def all_of(computation: Any, row: int, column: int) -> dict[str, Any]:
    """Return every quantity of a cell, stored and derived."""
    return {name: values[row, column] for name, values in computation.columns.items() if name != "rate_theory"}
