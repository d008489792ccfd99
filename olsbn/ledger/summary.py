"""GD against BNGD in four properties, measured: the summary table of Cai et al. with numbers in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from olsbn.ledger.base import Skip
from olsbn.ledger.runs import measured_window
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.schema import Status
from olsbn.sweeps.running import sweep
from olsbn.theory import eps_window, spectral_report

_DIM, _COND, _TOL, _STEPS = 100, 100.0, 1e-6, 10_000
_DIMS, _TRIALS = (100, 10, 1000), 5


@dataclass(frozen=True)
class Row:
    """One property of both methods: measured numbers, and those of theory."""

    property: str
    quantity: str
    gd: float
    gd_theory: float
    bngd: float
    bngd_theory: float


def summary(seed: int = 0) -> list[Row]:
    """Measure convergence, rate, and robustness to learning rates and to dimension, for GD and BNGD.

    Log-spaced spectra of condition number 100, u and w_0 uniform on the sphere, eps_a = 1; each of the last rows is the
    median of 5 problems.
    """
    family = ProblemFamily("logspace", _COND, seed)
    problem = family(_DIM)
    report = spectral_report(problem)
    rows = [
        Row(
            "convergence",
            "eps above 2/lambda_max that diverge, % of 61 over 15 decades",
            _diverging(problem, "gd"),
            100.0,
            _diverging(problem, "bngd"),
            0.0,
        ),
        Row(
            "rate",
            "contraction ratio a step, at the best eps (GD) or eps_hat (BNGD)",
            _best_rate(problem, "gd"),
            report.rate_gd_opt,
            _best_rate(problem, "bngd"),
            report.rate_bngd_opt,
        ),
    ]
    for d in _DIMS:
        rows.append(
            Row(
                "robustness to learning rates" if d == _DIM else "robustness to dimension",
                f"decades of eps that reach 1e-6 in 10000 steps, d = {d}",
                *_decades(family, d, "gd"),
                *_decades(family, d, "bngd"),
            )
        )
    return rows


def _diverging(problem: OLSProblem, method: str) -> float:
    """Return the share of learning rates above 2/lambda_max with which a run diverges, in percent."""
    eps = 2 / float(problem.eigvals[-1]) * np.geomspace(1.05, 1e15, 61)
    ds = sweep(problem, method=method, eps=eps, n_steps=2000, progress=False)
    return 100 * float((ds.status == Status.DIVERGED).mean())


def _best_rate(problem: OLSProblem, method: str) -> float:
    report = spectral_report(problem)
    eps = report.eps_opt
    if method == "bngd":
        # from close to u the effective rate is eps ||u||^2/||w_0||^2 and stays
        noise = 1e-8 * np.linalg.norm(problem.u) * problem.w0
        problem = OLSProblem(problem.eigvals, problem.u, problem.u + noise)
        eps = report.eps_eff_opt * float(problem.w0 @ problem.w0) / float(problem.u @ problem.u)
    return float(sweep(problem, method=method, eps=eps, n_steps=40_000, progress=False).rate_sim)


def _decades(family: ProblemFamily, d: int, method: str) -> tuple[float, float]:
    """Return the median width of the range of good learning rates, measured and predicted."""
    measured, predicted = [], []
    for trial in range(_TRIALS):
        problem = family(d, trial)
        window = eps_window(problem, _TOL, _STEPS, method)
        try:
            ends = measured_window(problem, _TOL, _STEPS, method, (window.lower / 10, window.upper * 10))
        except Skip:
            measured.append(math.nan)
        else:
            measured.append(math.log10(ends[1] / ends[0]))
        predicted.append(window.decades)
    return float(np.median(measured)), float(np.median(predicted))


def text(rows: list[Row]) -> str:
    """Return the rows as a table in plain text."""
    cells = [["", "", "GD", "theory", "BNGD", "theory"]]
    cells += [[r.property, r.quantity, *(f"{v:.6g}" for v in (r.gd, r.gd_theory, r.bngd, r.bngd_theory))] for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
