"""What a kernel is asked besides problem and parameters."""

from dataclasses import dataclass, field

import numpy as np

from olsbn.schema import EXCESS_FLOOR


def _not_cancelled() -> np.ndarray:
    return np.zeros(1, np.uint8)


def _nothing() -> np.ndarray:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Run:
    """How far the cells of a tile run and what is kept on the way.

    Attributes
    ----------
    n_steps : int
        Steps a cell runs at most.
    tol : float
        Relative excess at which a cell counts as converged.
    stop_at_tol : bool
        Whether it stops there.
    cancel : ndarray of uint8, shape (1,)
        May be set to 1 from another thread: the kernel then returns at once, and cells that had not ended have the
        status "not run".
    record : ndarray of int64, shape (r,)
        Steps to keep in the trace, ascending; r may be 0.
    floor : float
        Relative excess at which a cell ends, for squares below it underflow.
    check_rounding : bool
        Whether cells are run a second time, in other units, to flag those that rounding decides.
    """

    n_steps: int
    tol: float = 1e-10
    stop_at_tol: bool = False
    cancel: np.ndarray = field(default_factory=_not_cancelled)
    record: np.ndarray = field(default_factory=_nothing)
    floor: float = EXCESS_FLOOR
    check_rounding: bool = True
