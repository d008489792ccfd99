"""Numbers as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from olsbn.schema import ratio as ratio

if TYPE_CHECKING:
    import numpy as np

    from olsbn.problems import OLSProblem


def describe(problem: OLSProblem) -> str:
    """Return a problem in one line, and one more for each remark on its data and for the unit of learning rates."""
    from olsbn.theory import spectral_report

    report = spectral_report(problem)
    lines = [f"{problem.label}: d = {report.rank}, cond = {report.cond:.6g}, cond* = {report.cond_star:.6g}"]
    return "\n".join([*lines, *remarks(problem)])


def remarks(problem: OLSProblem) -> list[str]:
    """Return what was lost or assumed when data were read, and in which unit learning rates count, a line each."""
    lines = [f"data        {remark}" for remark in problem.remarks]
    if problem.target_unit is not None:
        deviation = math.sqrt(problem.target_var)
        lines.append(
            f"unit        eps of BNGD counts in 1/{problem.target_unit!r}^2; its standard deviation is {deviation:.4g} "
            "(--standardize: 1)"
        )
    return lines


def numbers_text(values: np.ndarray, ends: int = 3) -> str:
    """Return numbers as text, the middle of a long list left out."""
    texts = [f"{value:.6g}" for value in values]
    if len(texts) > 2 * ends + 2:
        texts = [*texts[:ends], f"... ({len(texts) - 2 * ends} more) ...", *texts[-ends:]]
    return "  ".join(texts)


def bytes_text(number: float) -> str:
    """Return a number of bytes as text."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def duration_text(seconds: float) -> str:
    """Return a time as text."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


def grid_text(store: Any) -> str:
    """Return the number of cells of a store, and the sizes of its axes."""
    sizes = " x ".join(
        f"{n} {name}" for n, name in zip(store.tiling.grid, store.attrs["grid_axes"], strict=True) if n > 1
    )
    return f"{math.prod(store.tiling.grid)} cells" + (f" ({sizes})" if sizes else "")
