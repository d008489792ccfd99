"""What a map of the explorer can show: quantities, how they are coloured, and which cells have none."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.quantity import DERIVED, QUANTITIES, Derived, Quantity
from olsbn.results.quantities import derive
from olsbn.schema import EXCESS_FLOOR, Status

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.dynamics.base import Method
    from olsbn.explorer.computing import Computation

# Codes of cells for the page: has a number, has none though it ran, or how it ended; bits for flags.
NUMBER, MISSING = 0, 1
STATUS_CODES = {Status.NOT_RUN: 2, Status.DIVERGED: 3, Status.NON_FINITE: 4, Status.DEGENERATE: 5}
REACHED, ROUNDING = 32, 64
_ALL = slice(None)


def names(method: Method) -> list[str]:
    """Return the quantities that a map of a method can show: its own, and those that follow from them."""
    stored = [name for name, column in method.variables.items() if column.scale]
    return stored + [one.name for one in DERIVED if all(need in method.variables for need in one.needs)]


def of_method(method: Method, name: str) -> Quantity:
    """Return what is known of a quantity of a method."""
    return method.variables.get(name) or QUANTITIES[name]


def colours(quantity: Quantity) -> dict[str, Any]:
    """Return how a quantity becomes a colour: scale, words, the colours of its map from low to high."""
    from olsbn.plotting.look import hex_colors

    return {
        "name": quantity.name,
        "scale": quantity.scale,
        "label": plain(quantity.label),
        "missing": plain(quantity.missing) or "no number",
        "colors": hex_colors(quantity.cmap),
    }


def dataset(computation: Computation, names: Iterable[str], rows: Any, columns: Any) -> xr.Dataset:
    """Return a block of cells as a part of the result, from which derived quantities are made; stored ones by name."""
    import xarray as xr

    view, method = computation.view, computation.method
    places = {view.y.name: computation.y[rows], view.x.name: computation.x[columns]}
    shape = tuple(len(values) for values in places.values())
    found = {
        name: (
            tuple(places),
            computation.columns[name][rows, columns] if name in computation.columns else np.ones(shape),
        )
        for name in names
    }
    coords = {name: (name, values, method.param(name).attrs()) for name, values in places.items()}
    return xr.Dataset(found, coords=coords, attrs=computation.attrs)


def raw(computation: Computation, name: str, rows: Any = _ALL, columns: Any = _ALL) -> np.ndarray:
    """Return a quantity of a block of cells, stored or derived.

    Raises
    ------
    ValueError
        For a derived quantity that these parameters do not have.
    """
    if name in computation.columns:
        return computation.columns[name][rows, columns]
    found = QUANTITIES[name]
    assert isinstance(found, Derived)
    values = derive(dataset(computation, found.needs, rows, columns), name)[name]
    return np.asarray(values.transpose(computation.view.y.name, computation.view.x.name).values)


def check(computation: Computation, name: str) -> None:
    """Refuse a derived quantity that these parameters do not have, before anything is computed."""
    found = QUANTITIES.get(name)
    if name not in computation.method.variables and isinstance(found, Derived):
        derive(dataset(computation, found.needs, slice(0, 1), slice(0, 1)), name)


def drawn(computation: Computation, name: str, rows: Any = _ALL, columns: Any = _ALL) -> tuple[FloatArray, np.ndarray]:
    """Return the number of each cell, on a scale of digits its decimal logarithm, and the cell's code with its flags.

    The rules are those of `olsbn.plotting.cells.Cells`.
    """
    scale = of_method(computation.method, name).scale
    status = computation.columns["status"][rows, columns]
    numbers = raw(computation, name, rows, columns)
    steps = numbers.dtype.kind == "i"  # -1 where there is none
    numbers = numbers.astype(np.float64)
    if scale == "digits":
        numbers = np.maximum(numbers, EXCESS_FLOOR)
    if steps:
        numbers = np.where(numbers < 0, np.nan, np.maximum(numbers, 1))
    ran = (status == Status.CONVERGED) | (status == Status.MAX_STEPS)
    good = ran & np.isfinite(numbers) & ((numbers > 0) | (scale == "linear"))
    codes = np.where(good, NUMBER, MISSING).astype(np.uint8)
    for ended, code in STATUS_CODES.items():
        codes[status == ended] = code
    codes[status == Status.CONVERGED] |= REACHED
    if "by_rounding" in computation.columns:
        codes[ran & computation.columns["by_rounding"][rows, columns]] |= ROUNDING
    codes[computation.stride[rows, columns] == 0] = STATUS_CODES[Status.NOT_RUN]
    values = np.full(numbers.shape, np.nan)
    values[good] = np.log10(numbers[good]) if scale == "digits" else numbers[good]
    return values, codes


def limits(computation: Computation, name: str) -> tuple[float, float] | None:
    """Return the range of colours, None without numbers; of an excess above 1, the start's, it is clipped."""
    if not computation.columns:
        return None
    values, _ = drawn(computation, name)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    if of_method(computation.method, name).scale == "digits":
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


def all_of(computation: Computation, row: int, column: int) -> dict[str, Any]:
    """Return every quantity of a cell, stored and derived, as far as it has them; not theory's, which stands beside."""
    method = computation.method
    found = {
        name: values[row, column] for name, values in computation.columns.items() if not method.variables[name].theory
    }
    rows, columns = slice(row, row + 1), slice(column, column + 1)
    for name in names(method):
        if name not in computation.columns:
            with contextlib.suppress(ValueError):
                found[name] = raw(computation, name, rows, columns)[0, 0]
    return found
