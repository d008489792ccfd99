"""The vocabulary of results: status codes, variables, their symbols and units, and the stated limits."""

from enum import IntEnum
from typing import Any, NamedTuple

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

NAN = float("nan")


class Variable(NamedTuple):
    """A variable of a result: how it is stored, its value in a cell that was not run, symbol and meaning."""

    dtype: str
    empty: float
    symbol: str
    long_name: str
    recorded: bool = False  # whether it has a value at each step, and so an axis `step` where steps are recorded
    theory: bool = False  # whether it is theory's, a pass of its own over what was simulated


# Every variable that a cell of a sweep can have, in the order of the result; a method says which of them it has.
# Everything is dimensionless.
VARIABLES = {
    "status": Variable("int8", Status.NOT_RUN, "status", "how the cell ended"),
    "steps_to_tol": Variable("int64", -1, "k_tol", "first step with relative excess <= tol, -1 where there is none"),
    "n_steps_run": Variable("int64", -1, "k_end", "steps the cell ran before it stopped"),
    "excess": Variable("float64", NAN, "(J - J_min)/(E/2)", "relative excess loss", recorded=True),
    "excess_running": Variable(
        "float64", NAN, "excess_run", "relative excess loss, evaluated with the running averages", recorded=True
    ),
    "excess_batch": Variable(
        "float64",
        NAN,
        "excess_B",
        "loss of the batch that the step trains on above the least loss of the whole sample, relative",
        recorded=True,
    ),
    "gap": Variable("float64", NAN, "gap", "train/eval gap: excess_running less excess_batch", recorded=True),
    "eps_eff": Variable(
        "float64",
        NAN,
        "eps_hat",
        "effective learning rate eps (a/sigma) w'g/sigma^2; for GD the learning rate itself",
        recorded=True,
    ),
    "w_norm": Variable("float64", NAN, "||w||", "norm of the weights, null space of H included", recorded=True),
    "a": Variable("float64", NAN, "a", "BN scale", recorded=True),
    "by_rounding": Variable(
        "bool",
        False,
        "by_rounding",
        "whether rounding may decide the excess: only many digits tell",
        recorded=True,
    ),
    "rate_sim": Variable(
        "float64",
        NAN,
        "rho_sim",
        "measured asymptotic contraction ratio of sqrt(excess) a step, NaN where none was reached",
    ),
    "rate_theory": Variable(
        "float64",
        NAN,
        "rho_theory",
        "contraction ratio of the linearised dynamics at the cell's own eps_eff",
        theory=True,
    ),
}

# name -> (symbol, what it is), of what is no variable of a sweep: axes and what a run has besides.
_OTHERS = {
    "step": ("k", "step number"),
    "dim": ("d", "number of inputs"),
    "trial": ("trial", "index of the random problem"),
    "resolved": ("resolved", "whether the cell's numbers are proved: run again with as many digits as it takes"),
    "residual": ("||e||_H / sqrt(E)", "relative H-norm of the residual u - q w"),
}


def attrs(name: str) -> dict[str, Any]:
    """Return the attributes that a variable, or an axis that is no method's parameter, carries in every Dataset."""
    if name in _OTHERS:
        symbol, long_name = _OTHERS[name]
    else:
        symbol, long_name = VARIABLES[name].symbol, VARIABLES[name].long_name
    found: dict[str, Any] = {"long_name": long_name, "symbol": symbol, "units": "1"}
    if name == "status":
        import numpy as np

        found |= {"flag_values": np.array(FLAG_VALUES, dtype=np.int8), "flag_meanings": FLAG_MEANINGS}
    return found


def ratio(rate: float) -> str:
    """Return a contraction ratio as text; one close to 1 by its distance from 1."""
    return f"{rate:.6g}" if not 0.999 < rate < 1 else f"1 - {1 - rate:.4g}"
