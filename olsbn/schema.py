"""How a run ends: status codes, and the stated limits."""

from enum import IntEnum

# Below this relative excess the squares in the sums of the engine underflow: a run stops there.
EXCESS_FLOOR = 1e-290
# A run whose relative excess passes this has diverged.
EXCESS_LIMIT = 1e30


class Status(IntEnum):
    """How a cell of a sweep, or a run, ended.

    NOT_RUN: not computed yet. CONVERGED: relative excess <= tol was reached. MAX_STEPS: all steps ran without that.
    DIVERGED: the relative excess passed `EXCESS_LIMIT` (times the start's, if that is above 1). NON_FINITE: arithmetic
    left the range of float64. DEGENERATE: the start has sigma = 0, where no step is defined, or lies on a saddle (a = 0
    and w'g = 0), where none moves.
    """

    NOT_RUN = -1
    CONVERGED = 0
    MAX_STEPS = 1
    DIVERGED = 2
    NON_FINITE = 3
    DEGENERATE = 4

    @property
    def label(self) -> str:
        """The name users see: lower case, one word with underscores (CF flag_meanings)."""
        return self.name.lower()


# CF conventions, section 3.5: how a reader of the file decodes `status`.
FLAG_VALUES = [int(s) for s in Status]
FLAG_MEANINGS = " ".join(s.label for s in Status)


def ratio(rate: float) -> str:
    """Return a contraction ratio as text; one close to 1 by its distance from 1."""
    return f"{rate:.6g}" if not 0.999 < rate < 1 else f"1 - {1 - rate:.4g}"
