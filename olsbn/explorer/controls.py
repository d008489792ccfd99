"""What the page's controls are made of: methods, parameters, quantities, problems, all from the registries."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from olsbn.dynamics.registry import METHODS
from olsbn.explorer import shown, view
from olsbn.explorer.tour import STOPS
from olsbn.problems import data, spectra

if TYPE_CHECKING:
    from olsbn.dynamics.base import Method
    from olsbn.explorer.view import Given


def catalogue(given: Given) -> dict[str, Any]:
    """Return everything that may be chosen."""
    quantities = {name: shown.of_method(method, name) for method in METHODS.values() for name in shown.names(method)}
    return {
        "given": given.label,
        "data": list(data.DATASETS),
        "spectra": list(spectra.SPECTRA),
        "methods": [_method(method) for method in METHODS.values()],
        "quantities": {name: shown.colours(one) for name, one in quantities.items()},
        "codes": {"missing": shown.MISSING, **{s.label: code for s, code in shown.STATUS_CODES.items()}},
        "flags": {"reached": shown.REACHED, "rounding": shown.ROUNDING},
        "tour": [dataclasses.asdict(stop) for stop in STOPS],
        "limits": {"cells": view.MOST_CELLS, "steps": view.MOST_STEPS, "chosen": view.MOST_CHOSEN},
    }


def _method(method: Method) -> dict[str, Any]:
    params = [
        {
            "name": param.name,
            "symbol": shown.plain(param.mathtext),
            "meaning": param.meaning,
            "default": param.default,
            "low": param.low,
            "high": param.high if param.high < 1e300 else None,
            "log": param.spacing == "log",
            "axis": param.kind == "real",
        }
        for param in method.params
    ]
    options = [
        {"name": option.name, "meaning": option.meaning, "default": option.default, "choices": list(option.choices)}
        for option in method.options
        if option.kind != "steps"
    ]
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary,
        "needs_sample": method.needs_sample,
        "params": params,
        "options": options,
        "quantities": shown.names(method),
        "axes": [param.name for param in view.axes_of(method)],
        "step": method.step,
    }
