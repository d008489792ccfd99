"""Exact dynamics of gradient descent with batch normalization on ordinary least squares.

The public names load on first use, so that ``import olsbn`` costs next to nothing: no NumPy, Numba, xarray or
matplotlib is imported before something needs it.
"""

import logging as _logging
from importlib import import_module as _import_module
from typing import Any

__version__ = "0.1.0"

# name -> module that defines it
_PUBLIC = {
    "OLSProblem": "problems",
    "ProblemFamily": "problems",
    "run": "runs",
    "run_gd": "runs",
    "run_bngd": "runs",
    "spectral_report": "theory",
    "gd_contraction_ratio": "theory",
    "bngd_contraction_ratio": "theory",
    "effective_rate_regimes": "theory",
    "eps_window": "theory",
    "excited_modes": "theory",
    "methods": "dynamics.registry",
    "sweep": "sweeps.running",
    "open": "results.opening",
    "compare": "results.comparison",
    "recommend": "search.recommendation",
    "measured_window": "search.measured",
    "zoom": "search.boundary",
    "certify": "results.proof",
    "resolve": "results.resolution",
    "claims": "ledger",
    "explore": "explorer.notebook",
    "robustness": "results.measures",
    "over_trials": "results.measures",
    "quantities": "results.quantities",
    "derive": "results.quantities",
    "median_trial": "results.measures",
}
_SUBMODULES = ("plotting",)

# What a library does: its messages go where the application sends them, and nowhere unless it does.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

__all__ = ["__version__", *_PUBLIC, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(_import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
