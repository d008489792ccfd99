"""Theory of GD and BNGD on least squares: spectra, rates, regimes of the effective learning rate, windows.

Everything here follows from the problem alone; no dynamics are run and no kernel is imported, so that a simulation
can be held against it.
"""

from olsbn.theory.normalizers import (
    gd_momentum_contraction_ratio,
    gd_ridge_contraction_ratio,
    heavy_ball_ratio,
    normalized_contraction_ratio,
    wngd_eps_a_max,
)
from olsbn.theory.rates import bngd_contraction_ratio, gd_contraction_ratio
from olsbn.theory.regimes import EffectiveRateRegimes, effective_rate_regimes
from olsbn.theory.spectrum import SpectralReport, excited_modes, spectral_report
from olsbn.theory.windows import EpsWindow, eps_window

__all__ = [
    "EffectiveRateRegimes",
    "EpsWindow",
    "SpectralReport",
    "bngd_contraction_ratio",
    "effective_rate_regimes",
    "eps_window",
    "excited_modes",
    "gd_contraction_ratio",
    "gd_momentum_contraction_ratio",
    "gd_ridge_contraction_ratio",
    "heavy_ball_ratio",
    "normalized_contraction_ratio",
    "spectral_report",
    "wngd_eps_a_max",
]
