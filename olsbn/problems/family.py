"""Random problems of one kind, over dimensions and trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from olsbn.problems import spectra
from olsbn.problems.problem import OLSProblem


@dataclass(frozen=True)
class ProblemFamily:
    """Random problems of one kind: ``family(dim, trial)`` is an `OLSProblem`, the same one at every call.

    Parameters are those of `OLSProblem.from_spectrum`, which equals trial 0. Every (dim, trial) draws from random
    streams of its own, so that one never shifts another.

    Examples
    --------
    >>> family = ProblemFamily("logspace", cond=100.0)
    >>> family(10, trial=3) == family(10, trial=3), family(10, trial=3) == family(10, trial=4)
    (True, False)
    """

    kind: str
    cond: float = 1.0
    seed: int = 0
    u: Any = "sphere"
    w0: Any = "sphere"

    def __post_init__(self) -> None:
        names = ("kind", "cond", "seed", "u", "w0")
        for name, value in zip(names, spectra.checked(*(getattr(self, n) for n in names)), strict=True):
            object.__setattr__(self, name, value)

    def __call__(self, dim: int, trial: int = 0) -> OLSProblem:
        """Return the problem of dimension `dim` >= 1 and number `trial` >= 0."""
        eigvals, u, w0, label = spectra.draw(self.kind, self.cond, self.seed, self.u, self.w0, dim, trial)
        return OLSProblem(eigvals, u, w0, label=label)
