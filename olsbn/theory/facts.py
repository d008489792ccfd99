"""What theory says of a problem in numbers: results carry it, and pictures draw it without computing anything."""

from __future__ import annotations

import math

from olsbn.problems import OLSProblem
from olsbn.theory.regimes import effective_rate_regimes
from olsbn.theory.spectrum import spectral_report


def theory_attrs(problem: OLSProblem) -> dict[str, float]:
    """Return spectrum, thresholds and edges of the plateau of a problem by name, as far as they are finite."""
    report, regimes = spectral_report(problem), effective_rate_regimes(problem)
    found = {
        "explained_var": problem.explained_var,
        "loss_min": (problem.target_var - problem.explained_var) / 2,
        "eig_max": float(problem.eigvals[-1]),
        "cond": report.cond,
        "cond_star": report.cond_star,
        "eps_max": report.eps_max,
        "eps_eff_max": report.eps_eff_max,
        "eps_1": regimes.eps_1,
        "eps_2": regimes.eps_2,
        "w0_null_norm": problem.w0_null_norm,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}
