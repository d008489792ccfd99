"""The vocabulary of results: status codes, variables, their symbols and units, and the stated limits."""

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

# name -> (symbol, what it is). Everything is dimensionless.
GLOSSARY = {
    "step": ("k", "step number"),
    "eps": ("eps", "learning rate of w"),
    "eps_a": ("eps_a", "learning rate of the BN scale a"),
    "dim": ("d", "number of inputs"),
    "trial": ("trial", "index of the random problem"),
    "excess": ("(J - J_min)/(E/2)", "relative excess loss"),
    "residual": ("||e||_H / sqrt(E)", "relative H-norm of the residual u - q w"),
    "a": ("a", "BN scale"),
    "w_norm": ("||w||", "norm of the weights, null space of H included"),
    "eps_eff": (
        "eps_hat",
        "effective learning rate eps (a/sigma) w'g/sigma^2; for GD the learning rate itself",
    ),
    "status": ("status", "how the cell ended"),
    "steps_to_tol": ("k_tol", "first step with relative excess <= tol, -1 where there is none"),
    "rate_sim": (
        "rho_sim",
        "measured asymptotic contraction ratio of sqrt(excess) a step, NaN where none was reached",
    ),
    "rate_theory": ("rho_theory", "contraction ratio of the linearised dynamics at the cell's own eps_eff"),
    "n_steps_run": ("k_end", "steps the cell ran before it stopped"),
}


def attrs(name: str) -> dict[str, str]:
    """Return the attributes a variable carries in every Dataset."""
    symbol, long_name = GLOSSARY[name]
    return {"long_name": long_name, "symbol": symbol, "units": "1"}
