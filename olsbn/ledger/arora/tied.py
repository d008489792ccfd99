"""One learning rate for weights and scale [Arora, section 1.1]: it need only suit the scale."""

from __future__ import annotations

import math
from types import SimpleNamespace

from olsbn.ledger.base import Chapter, Comparison, Cube, draw_problem
from olsbn.problems import OLSProblem
from olsbn.runs import run


def _tied(cube: Cube, edge: float = 2.0) -> SimpleNamespace:
    """Runs of BNGD with eps = eps_a below the edge and above it, for inputs of any size, and whether GD converges."""
    problem, size = draw_problem(cube, dim=(2, 6), cond=(1.5, 20)), cube.log(0.1, 10)
    # standardized targets; the size of the inputs is free: GD's edge goes with its square, BN's has no part in it
    root = math.sqrt(problem.explained_var)
    problem = OLSProblem(size**2 * problem.eigvals, problem.u / root / size, problem.w0)
    below, above = edge * (1 - cube.log(0.02, 0.9)), edge * (1 + cube.log(0.02, 1))
    n_steps = 2**20
    ends = [
        run(problem, eps=eps, eps_a=eps, n_steps=n_steps, tol=1e-10, record=[0, n_steps]).attrs
        for eps in (below, above)
    ]
    return SimpleNamespace(
        lost=float(ends[0]["status"] != "converged"),
        kept=float(ends[1]["status"] != "diverged"),
        gd=float(below > 2 / problem.eigvals[-1]),
    )


chapter = Chapter()


@chapter.claim("arora.tied-rates", "identity", _tied, n_random=12, n_search=16)
def _(i: SimpleNamespace) -> Comparison:
    """With one learning rate for weights and scale BN's edge is that of the scale alone, 2, whatever the data are.
    Formula: eps = eps_a:  converged below 2, diverged above  [1 where it is not]
    Problems: {PROBLEMS}, d <= 6, cond <= 20, inputs of sizes over 2 decades; eps from 0.2 to 1.96 and from 2.04 to 4
    Where: section 1.1, 'we only need to set a learning rate that is suitable for g'
    """
    return [0.0, 0.0], [i.lost, i.kept]


@chapter.claim("arora.tied-rates-gd", "counterexample", _tied, refutes="identity", n_random=12, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """Without BN such a rate does not suit the weights: refuted is that GD converges with it too.
    Formula: eps < 2:  eps <= 2/lambda_max  [false]
    Problems: as arora.tied-rates
    """
    return 0.0, i.gd


_false = chapter.variants
FALSE = {
    "the edge of one learning rate is at 2.2": _false("arora.tied-rates", instance=lambda cube: _tied(cube, 2.2)),
    "the edge of one learning rate is at 1.9": _false("arora.tied-rates", instance=lambda cube: _tied(cube, 1.9)),
    "with one learning rate GD always diverges": _false("arora.tied-rates-gd", theory=lambda i: i.gd),
}
