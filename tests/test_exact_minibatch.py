"""Mini-batch BN in balls: against many digits, the kernel and deliberate faults."""

import mpmath
import numpy as np
import pytest
from naive_methods import minibatch_run_mp

import olsbn
from olsbn import OLSProblem
from olsbn.engine.streams import SAMPLINGS, drawn_rows
from olsbn.exact_minibatch import exact_cell
from olsbn.schema import Status

pytest.importorskip("flint")


def sample(seed, n=20, d=3, scale=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.geomspace(1, scale, d)
    return OLSProblem.from_samples(X, X @ rng.normal(size=d) + 0.3 * rng.normal(size=n))


def test_it_equals_two_hundred_digits():
    problem = sample(0)
    params = {"eps": 3.0, "eps_a": 0.7, "weight_decay": 0.01}
    rows = drawn_rows("replacement", 2, 5, 4, 20, 60)
    exact = exact_cell(problem, {**params, "batch_size": 4, "replicate": 5}, 60, seed=2, sampling="replacement")
    norms, scales = minibatch_run_mp(
        problem.sample.Z, problem.sample.y, problem.w0, problem.a0, batches=rows, digits=200, **params
    )
    for ball, number in ((exact.w_norm, norms[60]), (exact.a, scales[60])):
        found = mpmath.mpf(ball.mid().str(40, radius=False))
        assert abs(found / number - 1) < 1e-30
    assert exact.status is Status.MAX_STEPS and exact.bits - exact.bits_lost >= 64


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_cells_of_the_kernel_without_a_flag_are_right(sampling):
    """Hard ones among them: huge rates, a sample with columns apart, a batch of three rows."""
    rng = np.random.default_rng(1)
    flagged = 0
    for seed in range(8):
        problem = sample(seed, scale=1e4 if seed % 2 else 1.0)
        params = {"eps": float(10 ** rng.uniform(-2, 4)), "eps_a": float(rng.choice([0.1, 1.0, 1.9])), "batch_size": 3,
                  "eps_power": float(rng.choice([0.0, 0.3])), "replicate": seed}  # fmt: skip
        steps, tol = [0, 40, 80], float(10 ** rng.uniform(-3, -1))
        run = olsbn.run(problem, "minibatch", n_steps=80, tol=tol, record=steps, sampling=sampling, **params)
        exact = exact_cell(problem, params, 80, tol, record=steps, sampling=sampling)
        ends = run.attrs["status"], run.attrs["steps_to_tol"], run.attrs["n_steps_run"]
        same = ends == (exact.status.label, exact.steps_to_tol, exact.n_steps_run)
        for i, step in enumerate(steps):
            if step not in exact.trace:  # it ends before: three rows drawn with replacement may be the same
                continue
            off = max(
                abs(float(run[name][i]) / float(ball.mid()) - 1)
                for name, ball in zip(("excess", "eps_eff", "a", "w_norm"), exact.trace[step], strict=True)
            )
            bad = off > 1e-9 or (step == 80 and not same)
            flagged += bool(run.by_rounding[i])
            assert not bad or bool(run.by_rounding[i]), (seed, step, off, same)
    assert flagged < 12


def test_it_sees_the_smallest_faults():
    problem = sample(3)
    rows = drawn_rows("epoch", 0, 0, 5, 20, 30)
    right = exact_cell(problem, {"eps": 0.3}, 30, batches=rows)
    other = OLSProblem(problem.eigvals, problem.u, np.nextafter(problem.w0, 1), problem.a0, sample=problem.sample)
    assert not exact_cell(other, {"eps": 0.3}, 30, batches=rows).excess.overlaps(right.excess)
    assert not exact_cell(problem, {"eps": 0.3, "eps_power": 1e-15}, 30, batches=rows).excess.overlaps(right.excess)
    assert not exact_cell(problem, {"eps": 0.3}, 30, batches=np.roll(rows, 1, 0)).excess.overlaps(right.excess)


def test_ends_are_those_of_the_kernel():
    problem = sample(4)
    batches = np.random.default_rng(0).integers(0, 20, (9, 4))
    batches[5] = 17
    exact = exact_cell(problem, {"eps": 0.1}, 9, batches=batches, record=range(10))
    assert exact.status is Status.DEGENERATE and exact.n_steps_run == 5 and sorted(exact.trace) == list(range(6))
    run = olsbn.run(problem, "minibatch", eps=0.1, n_steps=30, tol=0.4, batch_size=20)
    exact = exact_cell(problem, {"eps": 0.1, "batch_size": 20}, 30, 0.4, "tol")
    assert exact.status is Status.CONVERGED and exact.n_steps_run == exact.steps_to_tol == run.attrs["steps_to_tol"]
    assert exact.steps_to_tol > 0
