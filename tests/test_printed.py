"""The balls of `printed`, the judge of the audit, against the twins in many digits, and its rules of ending."""

from fractions import Fraction

import numpy as np
import pytest
from naive_methods import gd_run, gdnp_run, normalized_run, sphere_run
from printed import EXCESS_FLOOR, EXCESS_LIMIT, run

from olsbn import OLSProblem

TWINS = {
    "bngd": normalized_run,
    "wngd": lambda problem, eps, eps_a, n, digits: normalized_run(problem, eps, eps_a, n, "wn", digits=digits),
    "gdnp": gdnp_run,
    "sphere": sphere_run,
    "wngrad": lambda problem, **params: sphere_run(problem, method="wngrad", **params),
    "gd": gd_run,
}
BNGD = [
    {},
    {"momentum": 0.6},
    {"weight_decay": 0.3},
    {"smoothing": 0.4},
    {"eps_power": 0.5, "eps_a_power": 0.3},
    {"momentum": 0.9, "weight_decay": 0.1, "smoothing": 0.2, "eps_factor": 0.97, "eps_power": 0.2},
]
CELLS = [
    *(("bngd", {"eps": 0.3, "eps_a": 0.7, **more}) for more in BNGD),
    ("wngd", {"eps": 0.2, "eps_a": 0.05}),
    ("gdnp", {}),
    ("sphere", {"eps": 0.3, "eps_a": 0.7}),
    ("wngrad", {"eps": 0.3, "eps_a": 0.7}),
    *(("gd", {"eps": 0.01, **BNGD[i], **more}) for i, more in ((0, {}), (1, {}), (2, {"eps_factor": 0.97}))),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("method", "params"), CELLS)
def test_the_balls_enclose_the_twin(method, params, seed):
    rng, n = np.random.default_rng(seed), 30
    problem = OLSProblem(
        10 ** rng.uniform(0, 2, 4),
        *rng.normal(size=(2, 4)),
        a0=[None, 0.3, -1.0][seed],
        w0_null_norm=0.5 * (seed == 1),
    )
    exact = run(problem, method, params, n, 1e-10, range(n + 1))
    twin = TWINS[method](problem, n=n, digits=100, **params)
    assert list(exact.points) == list(range(n + 1))
    for k, point in exact.points.items():
        expected = [twin.excess[k], twin.eps_eff[k], twin.a[k], twin.w_norm[k]]
        np.testing.assert_allclose(point, [float(x) for x in expected], rtol=1e-13)
    first = [k for k in range(n + 1) if twin.excess[k] <= 1e-10]
    assert exact.hit == (first[0] if first else -1)


def test_nesterov_is_that_of_pytorch():
    """torch.optim.SGD: ``b = g`` at first, then ``b = m b + g``; ``w -= lr (g + m b)``."""
    eps, m, decay, h, u, w = (Fraction(x) for x in (0.25, 0.5, 0.125, 2, 1, 3))
    problem, b = OLSProblem([2.0], [1.0], [3.0]), Fraction(0)
    params = {"eps": 0.25, "momentum": 0.5, "weight_decay": 0.125, "nesterov": 1}
    exact = run(problem, "gd", params, 5, 1e-10, range(6))
    for k in range(6):
        assert exact.points[k][3] == pytest.approx(float(abs(w)), rel=1e-13)
        g = h * (w - u) + decay * w
        b = m * b + g
        w -= eps * (g + m * b)


def test_nesterov_moves_the_scale_too():
    """One mode: w'r/nu moves a alone, and the gradient of w is 0 but for decay."""
    problem = OLSProblem([2.0], [1.0], [3.0], a0=0.25)
    exact = run(problem, "bngd", {"eps": 0.1, "eps_a": 0.3, "momentum": 0.5, "nesterov": 1}, 5, 1e-10, range(6))
    a, b, target = 0.25, 0.0, np.sqrt(2)
    for k in range(6):
        assert exact.points[k][2] == pytest.approx(a, rel=1e-13)
        b = 0.5 * b + (a - target)
        a -= 0.3 * ((a - target) + 0.5 * b)


def test_how_runs_end():
    problem = OLSProblem([1.0, 2.0], [1.0, 1.0], [3.0, -1.0])
    gone = run(problem, "gd", {"eps": 2.0}, 100, 1e-10, [0, 100])
    assert list(gone.points) == [0]
    # the error of the second mode grows by 3, that of the first does not change size
    excess = [(4 + 2 * 4 * 9.0**k) / 3 for k in range(100)]
    assert gone.over == next(k for k in range(100) if excess[k] > EXCESS_LIMIT * excess[0])
    done = run(problem, "gd", {"eps": 0.4}, 1500, 1e-10, [1500])
    excess = [(4 * 0.6 ** (2.0 * k) + 8 * 0.2 ** (2.0 * k)) / 3 for k in range(700)]
    assert not done.points
    assert done.hit == next(k for k in range(700) if excess[k] <= 1e-10)
    assert done.floor == next(k for k in range(700) if excess[k] <= EXCESS_FLOOR)
