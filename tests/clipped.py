"""A method from outside the package: gradient descent whose step is no longer than a given length."""

import numpy as np

from olsbn.dynamics.base import Method, Param
from olsbn.dynamics.plain import iterate
from olsbn.quantity import Column


def tile(problem, params, run):
    lam, u = problem.eigvals[:, None], problem.u[:, None]

    def clipped(w):
        move = params["eps"] * lam * (u - w)
        return move, np.minimum(1, params["longest"] / np.maximum(np.linalg.norm(move, axis=0), 1e-300))

    def step(w, k):
        move, clip = clipped(w)
        return w + clip * move

    def measure(w):
        excess = (lam * (w - u) ** 2).sum(axis=0) / problem.explained_var
        clip, norm = clipped(w)[1], np.linalg.norm(w, axis=0)
        return {"excess": excess, "eps_eff": params["eps"] + 0 * excess, "w_norm": norm, "clip": clip}

    return iterate(np.repeat(problem.w0[:, None], params["eps"].size, axis=1), step, measure, run)


METHOD = Method(
    name="clipped",
    summary="gradient descent with clipped steps",
    params=(
        Param("eps", "eps", "learning rate of w", spacing="log"),
        Param("longest", "c", "length of the longest step", default=1.0, spacing="log"),
    ),
    columns=(
        *("status", "steps_to_tol", "n_steps_run", "excess", "eps_eff", "w_norm", "rate_sim", "rate_theory"),
        Column("clip", "c/||m||", "factor by which the step is shortened", scale="linear"),
    ),
    prepare=lambda problem: problem,
    tile=tile,
    numbers=("clipped", "olsbn.dynamics.plain"),
    step="w <- w + min(1, c/||m||) m,  m = eps (g - H w)",
)
