"""Stochastic BNGD: against a real BatchNorm layer, the printed update and full-batch BNGD; streams, ends, laws."""

import math
import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from naive_methods import minibatch_evaluation, minibatch_run, minibatch_run_mp

import olsbn
from olsbn import OLSProblem
from olsbn.dynamics import bngd
from olsbn.engine import minibatch, streams
from olsbn.engine.run import Run
from olsbn.schema import Status

NEUTRAL = {"eps_a": [1.0], "batch_size": [8], "replicate": [0]}
COLUMNS = ("excess", "residual", "a", "w_norm", "eps_eff")


def samples(rng, n=60, d=5, noise=0.3, rank=None):
    X = rng.normal(size=(n, rank or d)) * np.geomspace(1, 3, rank or d) + rng.normal(size=rank or d)
    if rank:
        X = X @ rng.normal(size=(rank, d))
    return X, X @ rng.normal(size=d) + noise * rng.normal(size=n) + 2.0


def cells(problem, n_steps, params, record=(), options=None, **how):
    """Run the product of the parameters' values."""
    values = {**params, **{k: v for k, v in NEUTRAL.items() if k not in params}}
    flat = dict(zip(values, map(np.ravel, np.meshgrid(*values.values(), indexing="ij")), strict=True))
    flat = {name: value.astype(float) for name, value in flat.items()}
    run = Run(n_steps, record=np.array(record, dtype=np.int64), **how)
    return minibatch.tile(minibatch.prepare(problem, **(options or {})), flat, run)


def eigen(sample, w):
    return sample.basis.T @ w


# -------------------------------------------------------------------- the step


@pytest.mark.parametrize("seed", range(4))
def test_a_real_batchnorm_layer_trains_the_same(seed):
    """Automatic differentiation through torch's BatchNorm, SGD on weights and scale, with decay on the weights."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    rng = np.random.default_rng(seed)
    X, y = samples(rng)
    problem = OLSProblem.from_samples(X, y)
    sample = problem.sample
    batches = (
        rng.integers(0, len(y), (30, 9)) if seed % 2 else rng.permuted(np.tile(np.arange(60), (30, 1)), axis=1)[:, :7]
    )
    eps, eps_a, decay = 10 ** rng.uniform(-3, 0), rng.uniform(0.1, 1.5), 0.02
    _, trace = cells(
        problem, 30, {"eps": [eps], "eps_a": [eps_a], "weight_decay": [decay]}, range(31), {"batches": batches}
    )  # fmt: skip

    inputs, targets = torch.tensor(sample.X), torch.tensor(sample.y)
    linear = torch.nn.Linear(inputs.shape[1], 1, bias=False, dtype=torch.float64)
    layer = torch.nn.BatchNorm1d(1, eps=1e-300, affine=False, track_running_stats=False, dtype=torch.float64)
    scale = torch.nn.Parameter(torch.tensor(problem.a0, dtype=torch.float64))
    linear.weight.data[:] = torch.tensor(sample.basis @ problem.w0)
    optimizer = torch.optim.SGD(
        [
            {"params": linear.parameters(), "lr": eps, "weight_decay": decay},
            {"params": [scale], "lr": eps_a},
        ]
    )
    for k, rows in enumerate(batches):
        w = sample.basis.T @ linear.weight.detach().numpy()[0]
        assert trace["w_norm"][k, 0] == pytest.approx(np.linalg.norm(w), rel=1e-11)
        assert trace["a"][k, 0] == pytest.approx(scale.item(), rel=1e-10, abs=1e-11)
        assert trace["excess"][k, 0] == pytest.approx(excess(problem, w, scale.item()), rel=1e-8)
        optimizer.zero_grad()
        output = scale * layer(linear(inputs[rows]))[:, 0]
        loss = ((targets[rows] - output) ** 2).mean() / 2
        loss.backward()
        optimizer.step()


def excess(problem, w, a):
    """(J - J_min)/(E/2) of the whole sample."""
    g = problem.eigvals * problem.u
    sigma = np.sqrt(w @ (problem.eigvals * w))
    J = (problem.target_var - 2 * a * (w @ g) / sigma + a**2) / 2
    return (J - (problem.target_var - problem.explained_var) / 2) / (problem.explained_var / 2)


@pytest.mark.parametrize("seed", range(2))
def test_a_layer_of_another_library_trains_the_same(seed):
    """The same with JAX and the layer of flax."""
    jax = pytest.importorskip("jax")
    linen = pytest.importorskip("flax.linen")
    rng = np.random.default_rng(30 + seed)
    problem = OLSProblem.from_samples(*samples(rng))
    batches = rng.integers(0, 60, (25, 9))
    eps, eps_a = 10 ** rng.uniform(-3, 0), rng.uniform(0.1, 1.5)
    _, trace = cells(problem, 25, {"eps": [eps], "eps_a": [eps_a]}, range(26), {"batches": batches})
    with jax.enable_x64(True):  # here alone: it is a setting of the whole process
        layer = linen.BatchNorm(
            False, epsilon=0.0, use_bias=False, use_scale=False, use_fast_variance=False, force_float32_reductions=False
        )

        def loss(w, a, x, y):
            output, _ = layer.apply({"batch_stats": statistics}, (x @ w)[:, None], mutable=["batch_stats"])
            return ((y - a * output[:, 0]) ** 2).mean() / 2

        statistics = layer.init(jax.random.key(0), np.zeros((9, 1)))["batch_stats"]
        gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))
        w, a = problem.w0, problem.a0
        for k, rows in enumerate(batches):
            assert trace["w_norm"][k, 0] == pytest.approx(np.linalg.norm(w), rel=1e-11)
            assert trace["a"][k, 0] == pytest.approx(float(a), rel=1e-10, abs=1e-11)
            assert trace["excess"][k, 0] == pytest.approx(excess(problem, w, float(a)), rel=1e-8)
            grad_w, grad_a = gradients(w, a, problem.sample.Z[rows], problem.sample.y[rows])
            w, a = np.asarray(w - eps * grad_w), a - eps_a * grad_a


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_printed_update(seed):
    rng = np.random.default_rng(10 + seed)
    problem = OLSProblem.from_samples(*samples(rng, rank=3 if seed == 3 else None), standardize=seed == 1)
    batches = rng.integers(0, 60, (60, 6))
    decays = {"eps_power": 0.4, "eps_a_power": 0.3, "weight_decay": 0.01}
    _, trace = cells(
        problem, 60, {"eps": [0.2], "eps_a": [0.6], **{k: [v] for k, v in decays.items()}}, range(61),
        {"batches": batches},
    )  # fmt: skip
    Z, y = problem.sample.Z, problem.sample.y
    ws, scales = minibatch_run(Z, y, problem.w0, problem.a0, 0.2, 0.6, batches, **decays)
    np.testing.assert_allclose(trace["a"][:, 0], scales, rtol=1e-10, atol=1e-10)
    null = problem.w0_null_norm * np.cumprod(np.append(1, 1 - 0.01 * 0.2 * np.arange(1.0, 61) ** -0.4))
    np.testing.assert_allclose(trace["w_norm"][:, 0], np.hypot(np.linalg.norm(ws, axis=1), null), rtol=1e-11)
    want = [excess(problem, w, a) for w, a in zip(ws, scales, strict=True)]
    np.testing.assert_allclose(trace["excess"][:, 0], want, rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_sixty_digits(seed):
    rng = np.random.default_rng(20 + seed)
    problem = OLSProblem.from_samples(*samples(rng, n=25, d=4))
    batches = rng.integers(0, 25, (40, 6))
    params = {"eps": [10 ** rng.uniform(-2, 0)], "eps_a": [rng.uniform(0.2, 1.2)], "weight_decay": [0.03]}
    _, trace = cells(problem, 40, params, range(41), {"batches": batches})
    given = {name: value[0] for name, value in params.items()}
    norms, scales = minibatch_run_mp(
        problem.sample.Z, problem.sample.y, problem.w0, problem.a0, batches=batches, **given
    )  # fmt: skip
    top = max(abs(x) for x in scales)
    for k in range(41):
        assert abs(trace["w_norm"][k, 0] - norms[k]) <= 1e-12 * norms[k]
        assert abs(trace["a"][k, 0] - scales[k]) <= 1e-11 * top


@pytest.mark.parametrize("sampling", ["epoch", "given"])
def test_full_batches_are_bngd(sampling):
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(3)))
    options = {} if sampling == "epoch" else {"batches": np.tile(np.arange(60), (50, 1))}
    eps = np.geomspace(1e-3, 1e2, 9)
    found, trace = cells(problem, 50, {"eps": eps, "eps_a": [0.7], "batch_size": [60]}, range(51), options)
    want, full = bngd.tile(bngd.prepare(problem), {"eps": eps, "eps_a": np.full(9, 0.7)}, Run(50, record=np.arange(51)))
    for name in COLUMNS:
        np.testing.assert_allclose(trace[name], full[name], rtol=1e-7, atol=1e-9 * np.nanmax(np.abs(full[name])))
    np.testing.assert_array_equal(found["status"], want["status"])


# -------------------------------------------------------------------- streams


def test_a_cell_depends_on_nothing_but_its_own_parameters():
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(4)))
    axes = {
        "eps": np.geomspace(1e-3, 1e3, 23),
        "eps_a": np.array([0.3, 1.0]),
        "batch_size": np.array([3, 10]),
        "replicate": np.array([0, 1, 5]),
    }
    for sampling in streams.SAMPLINGS:
        how = {"tol": 0.05, "stop_at_tol": True, "options": {"sampling": sampling, "seed": 7}}
        whole, _ = cells(problem, 40, axes, **how)
        shape = [v.size for v in axes.values()]
        one, _ = cells(problem, 40, {**axes, "eps": axes["eps"][[4]], "replicate": np.array([5])}, **how)
        for name, values in one.items():
            want = whole[name].reshape(shape)[4, :, :, 2].ravel()
            np.testing.assert_array_equal(values, want, err_msg=f"{sampling} {name}")
        by_replicate = whole["excess"].reshape(shape)
        assert (by_replicate[..., 0] != by_replicate[..., 1]).mean() > 0.9
        other, _ = cells(problem, 40, axes, **{**how, "options": {"sampling": sampling, "seed": 8}})
        assert (other["excess"] != whole["excess"]).mean() > 0.9


def test_an_epoch_holds_every_row_once_and_draws_are_uniform():
    stream, counts = np.array([5], dtype=np.uint64), np.zeros(7)
    for _ in range(70_000):
        counts[streams._below(stream, 7)] += 1
    assert np.abs(counts - 10_000).max() < 5 * math.sqrt(10_000)
    rows = streams.drawn_rows("epoch", 3, 0, 3, 10, 9).reshape(3, 9)
    assert all(np.unique(epoch).size == 9 for epoch in rows)
    assert (rows[0] != rows[1]).any() and (rows[1] != rows[2]).any()
    drawn = streams.drawn_rows("replacement", 3, 0, 5, 10, 2000).ravel()
    assert np.abs(np.bincount(drawn, minlength=10) - 1000).max() < 5 * math.sqrt(1000)


def test_a_single_order_is_that_of_the_first_epoch_for_ever():
    rows = streams.drawn_rows("single", 3, 1, 4, 10, 12)
    np.testing.assert_array_equal(rows[:2], streams.drawn_rows("epoch", 3, 1, 4, 10, 12)[:2])
    np.testing.assert_array_equal(rows, np.tile(rows[:2], (6, 1)))
    assert np.unique(rows[:2]).size == 8


@pytest.mark.parametrize("sampling", ["epoch", "replacement", "single"])
def test_the_rows_that_are_said_to_be_drawn_are_those_of_the_run(sampling):
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(11)))
    params = {"eps": [0.05, 0.2], "batch_size": [7], "replicate": [3]}
    drawn, _ = cells(problem, 40, params, options={"sampling": sampling, "seed": 5})
    rows = streams.drawn_rows(sampling, 5, 3, 7, 60, 40)
    given, _ = cells(problem, 40, params, options={"batches": rows})
    for name in ("excess", "a", "w_norm", "eps_eff", "status"):
        np.testing.assert_array_equal(drawn[name], given[name])


def test_fresh_rows_have_the_moments_of_the_problem():
    problem = OLSProblem.from_spectrum("logspace", 3, 9.0)
    problem = OLSProblem(problem.eigvals, problem.u, problem.w0, target_var=2 * problem.explained_var)
    x = minibatch.prepare(problem, sampling="gaussian")
    stream, n = np.array([1], dtype=np.uint64), 200_000
    xb, yb = np.empty((n, 3)), np.empty(n)
    streams.fresh_rows(stream, x.eigvals, x.u, x.noise, xb, yb)
    standard = xb / np.sqrt(x.eigvals)
    for k, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
        spread = math.sqrt((math.factorial(2 * k) / 2**k / math.factorial(k)) / n)
        assert np.abs((standard**k).mean(axis=0) - moment).max() < 5 * spread
    assert np.abs(np.corrcoef(standard.T) - np.eye(3)).max() < 5 / math.sqrt(n)
    assert (yb @ yb) / n == pytest.approx(x.energy + x.noise**2, rel=0.02)
    np.testing.assert_allclose(xb.T @ yb / n, x.eigvals * x.u, atol=5 * math.sqrt(3 * x.energy / n))
    for value in (5e-324, 1e-300, 0.1, 0.5, 0.75, 1 - 2.0**-53):
        assert float(streams._log(value)) == pytest.approx(float(mpmath.log(value)), rel=4e-16)


# -------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("averaging", [0.1, 0.7, 1.0])
def test_running_averages_and_the_gap_are_those_of_a_layer(averaging):
    rng = np.random.default_rng(40)
    X, y = samples(rng, rank=3)
    problem = OLSProblem.from_samples(X, y)
    batches = rng.integers(0, 60, (80, 6))
    params = {"eps": [0.3, 30.0], "eps_a": [0.6], "weight_decay": [0.01], "averaging": [averaging]}
    _, trace = cells(problem, 80, params, range(81), {"batches": batches})
    Z, y = problem.sample.Z, problem.sample.y
    least, unit = (problem.target_var - problem.explained_var) / 2, problem.explained_var / 2
    for j, eps in enumerate(params["eps"]):
        ws, scales = minibatch_run(Z, y, problem.w0, problem.a0, eps, 0.6, batches, weight_decay=0.01)
        evaluated, trained = minibatch_evaluation(Z, y, ws, scales, batches, averaging)
        sure = ~trace["by_rounding"][:80, j].astype(
            bool
        )  # else the twin, in float64 too, is right no more than the kernel
        assert sure.sum() > 60
        running, batch, gap = (trace[name][:80, j][sure] for name in ("excess_running", "excess_batch", "gap"))
        evaluated, trained = evaluated[sure], trained[sure]
        np.testing.assert_allclose(running, (evaluated - least) / unit, rtol=1e-8)
        np.testing.assert_allclose(batch, (trained - least) / unit, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(gap, (evaluated - trained) / unit, rtol=1e-7, atol=1e-9)
    assert np.isnan(trace["excess_batch"][80]).all()  # no batch is given for it


def test_without_averages_there_are_none_and_a_drawn_batch_is_seen_at_the_end_too():
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(41)))
    params = {"eps": [0.1], "averaging": [0.0, 0.1, 0.0]}
    found, _ = cells(problem, 20, params)
    assert np.isnan(found["excess_running"]).tolist() == [True, False, True]
    assert found["excess"][0] == found["excess"][1] and np.isfinite(found["excess_batch"]).all()
    _, trace = cells(problem, 21, params, [20])
    np.testing.assert_array_equal(trace["excess_batch"][0], found["excess_batch"])


def test_rescaled_weights_take_their_averages_with_them():
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(42)))
    params = {"eps": np.array([1.0]), "averaging": np.array([1.0])}
    _, one = cells(problem, 6, params, range(7))
    moved = OLSProblem(problem.eigvals, problem.u, problem.w0 * 2.0**200, sample=problem.sample)
    _, two = cells(moved, 6, {**params, "eps": params["eps"] * 4.0**200}, range(7))
    # from step 1 on nothing is left of the layer's first variance, which has a unit
    np.testing.assert_array_equal(one["excess_running"][1:], two["excess_running"][1:])
    _, trace = cells(problem, 6, {**params, "eps": np.array([1e120])}, range(7))
    assert np.isfinite(trace["excess_running"]).all() and (trace["excess_running"][2:] < 1e3).all()


def limit(m):
    """b(m) = E sd/sigma of m normal numbers, sd without correction: E|chi_{m-1}|/sqrt(m)."""
    return math.sqrt(2 / m) * math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2))


@pytest.mark.parametrize("m", [4, 16])
def test_fresh_batches_end_at_the_mean_of_their_spread(m):
    """Without noise w goes to u and a/sqrt(E) to b(m): the excess is (1 - b)^2, that of a batch on average 1 - b^2."""
    problem = OLSProblem([1.0, 2.0, 5.0], [0.3, 1.0, -0.5], [1.0, 0.2, 0.7])
    n, steps = 400, 1500
    params = {
        "eps": [0.5], "eps_a": [0.01], "batch_size": [m], "replicate": np.arange(n), "averaging": [0.02],
    }  # fmt: skip
    found, _ = cells(problem, steps, params, options={"sampling": "gaussian"}, check_rounding=False)
    b, root = limit(m), math.sqrt(problem.explained_var)
    for values, expected in (
        (np.abs(found["a"]) / root, b),
        (found["excess_batch"], 1 - b**2 + 0.01 / 2 * (1 - 1 / m - b**2)),  # a fluctuates by eps_a/2 of sd's variance
        (found["excess"], (1 - b) ** 2 + 0.01 / 2 * (1 - 1 / m - b**2)),
    ):
        error = values.std() / math.sqrt(n)
        assert abs(values.mean() - expected) < 4 * error + 1e-4, (values.mean(), expected, error)
    # batches that are seen in evaluation with others' statistics: another loss than in training
    assert found["gap"].mean() == pytest.approx((1 - b) ** 2 - (1 - b**2), abs=0.05)


# -------------------------------------------------------------------- the start, looks, flags


def test_a_start_near_the_solution_keeps_its_digits():
    """Printed beside the sum it comes from; the number is from 60 digits."""
    u = np.array([0.3, 1.1, -0.7])
    problem = OLSProblem([1.0, 7.0, 90.0], u, u * (1 + 1e-12 * np.array([1, -2, 0.5])))
    found, _ = cells(problem, 0, {"eps": [0.01]}, options={"sampling": "gaussian"})
    assert found["excess"][0] == pytest.approx(8.447553221577575e-25, rel=1e-14)
    assert not found["by_rounding"].any()


@pytest.mark.parametrize("seed", range(6))
def test_where_nothing_is_recorded_cells_end_all_the_same(seed):
    """A cell is looked at only where it may end: with all steps recorded it is looked at always."""
    rng = np.random.default_rng(50 + seed)
    base = OLSProblem.from_samples(*samples(rng, n=30, d=3, noise=0.0 if seed % 2 else 0.2))
    a0 = base.a0 * rng.choice([-1.0, 1.0, 1e-9, 30.0])
    problem = OLSProblem(base.eigvals, base.u, base.w0, a0, base.target_var, sample=base.sample)
    params = {"eps": np.geomspace(1e-3, 1e5, 30), "eps_a": np.array([0.02, 0.7, 1.95, 2.3]), "batch_size": [4, 30]}
    for how in ({"tol": 0.1}, {"tol": 1e-3, "stop_at_tol": True}, {"tol": 0.3}):
        seldom, _ = cells(problem, 150, params, **how)
        always, trace = cells(problem, 150, params, range(151), **how)
        for name, values in seldom.items():
            np.testing.assert_array_equal(values, always[name], err_msg=name)
        low = trace["excess"] <= how["tol"]
        np.testing.assert_array_equal(seldom["steps_to_tol"], np.where(low.any(axis=0), low.argmax(axis=0), -1))


def test_flags_tell_the_cells_that_rounding_decides():
    """Long chaotic runs and an excess of a few roundings are flagged, what is sure is not."""
    rng = np.random.default_rng(60)
    X = rng.normal(size=(8, 4)) * np.geomspace(1, 1e3, 4)
    problem = OLSProblem.from_samples(X, X @ rng.normal(size=4))
    params = {"eps": np.geomspace(1e-4, 1e4, 25), "batch_size": [3, 8]}
    found, trace = cells(problem, 400, params, range(0, 401, 40))
    assert 0.05 < found["by_rounding"].mean() < 0.95 and not trace["by_rounding"][0].any()
    np.testing.assert_array_equal(found["by_rounding"], trace["by_rounding"][-1])
    assert found["by_rounding"][found["excess"] < 1e-26].all()
    plain, _ = cells(problem, 400, params, check_rounding=False)
    assert not plain["by_rounding"].any()
    for name in ("excess", "a", "w_norm", "eps_eff", "status"):
        np.testing.assert_array_equal(plain[name], found[name])


def test_flags_tell_cells_that_reach_the_tolerance_or_end_at_another_step():
    counts = np.array([[1, -1, 9], [0, 4, 9], [0, 4, 9], [4, -1, 9], [2, -1, 9]])
    again = np.array([[1, -1, 9], [0, 5, 9], [1, -1, 9], [4, -1, 6], [3, -1, 9]])
    record = np.arange(10)
    last, kept = ({name: np.ones(shape) for name in minibatch._COMPARED} for shape in (5, (10, 5)))
    flags, at = minibatch._differ(counts, again, last, last, kept, kept, record)
    np.testing.assert_array_equal(flags, [False, True, True, True, True])
    np.testing.assert_array_equal(at.argmax(axis=0), [0, 4, 4, 6, 9])
    assert not at[:, 0].any() and at[9, 1:].all()
    for name in minibatch._COMPARED:
        other = {**kept, name: kept[name] + 2e-10 * (record == 3)[:, None]}
        _, at = minibatch._differ(
            counts[:1],
            counts[:1],
            *[{n: v[:1] for n, v in last.items()}] * 2,
            *({n: v[:, :1] for n, v in x.items()} for x in (kept, other)),
            record,
        )
        np.testing.assert_array_equal(at[:, 0], record == 3)


def flat_of(params, n_steps, record):
    values = {**params, **{k: v for k, v in NEUTRAL.items() if k not in params}}
    flat = dict(zip(values, map(np.ravel, np.meshgrid(*values.values(), indexing="ij")), strict=True))
    return {name: value.astype(float) for name, value in flat.items()}, Run(n_steps, record=np.array(record))


def test_other_units_are_the_same_problem():
    rng = np.random.default_rng(61)
    problem = OLSProblem.from_samples(*samples(rng, rank=3), w0=rng.normal(size=5))
    for sampling in streams.SAMPLINGS:
        x = minibatch.prepare(problem, sampling=sampling)
        y = x.in_other_units(1.7, 0.6, 2.9)
        params, run = flat_of(
            {"eps": [0.01, 1.0], "weight_decay": [0.1], "eps_power": [0.5], "averaging": [0.1]}, 20, range(21)
        )
        one, two = (minibatch._columns(z, minibatch._run_cells(z, params, run)[2]) for z in (x, y))
        for name, values in one.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-9, atol=1e-12, err_msg=f"{sampling} {name}")
            assert (two[name][1:] != values[1:]).any()


DIGESTS = """
import hashlib
import numpy as np
from olsbn import OLSProblem
from olsbn.engine import minibatch
from olsbn.engine.run import Run
rng = np.random.default_rng(0)
X = rng.standard_normal((40, 7)) * np.geomspace(1, 10, 7)
problem = OLSProblem.from_samples(X, X @ rng.standard_normal(7) + rng.standard_normal(40))
n = 77
params = {"eps": np.append(np.geomspace(1e-4, 1e3, n - 1), 1e200), "eps_a": np.linspace(0, 2.1, n),
          "batch_size": np.where(np.arange(n) % 3, 9.0, 14.0), "replicate": np.arange(n) % 2.0,
          "averaging": np.full(n, 0.1), "weight_decay": np.linspace(0, 0.1, n), "eps_power": np.linspace(0, 1, n) ** 2}
for sampling in ("epoch", "gaussian"):
    x = minibatch.prepare(problem, sampling=sampling)
    cells, trace = minibatch.tile(x, params, Run(90, tol=0.2, stop_at_tol=True, record=np.arange(0, 91, 9)))
    found = [cells[name] for name in sorted(cells)] + [trace[name] for name in sorted(trace)]
    print(sampling, hashlib.sha256(b"".join(np.ascontiguousarray(values).tobytes() for values in found)).hexdigest())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the instruction sets are those of x86-64")
def test_bits_do_not_depend_on_lanes_or_instructions():
    def run(**env):
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS], env={**os.environ, **env}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    native = run()
    assert native.count("\n") == 2
    assert run(OLSBN_LANES="16", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == native


# -------------------------------------------------------------------- ends and bad input


def test_a_batch_without_spread_ends_the_run():
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(7)))
    batches = np.random.default_rng(0).integers(0, 60, (9, 4))
    batches[5] = 17
    found, trace = cells(problem, 9, {"eps": [0.1, 1.0]}, range(10), {"batches": batches})
    assert (found["status"] == Status.DEGENERATE).all() and (found["n_steps_run"] == 5).all()
    assert np.isfinite(trace["excess"][:6]).all() and np.isnan(trace["excess"][6:]).all()
    run = olsbn.run(problem, "minibatch", eps=0.1, n_steps=9, batches=batches)
    np.testing.assert_array_equal(run.excess[:6], trace["excess"][:6, 0])
    assert (run.excess[6:] == run.excess[5]).all()  # it stays where it is from then on


def test_huge_steps_are_followed():
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(8)))
    found, _ = cells(problem, 30, {"eps": [1e100, 1e200, 1e300], "weight_decay": [0.0]})
    assert (found["status"] == Status.MAX_STEPS).all() and np.isfinite(found["excess"]).all()
    ones, _ = cells(problem, 30, {"eps": [2.0**-4]})
    scaled = OLSProblem.from_samples(*samples(np.random.default_rng(8)), w0=problem.sample.basis @ problem.w0)
    assert scaled.dim == problem.dim and np.isfinite(ones["excess"]).all()


def test_scaling_law_bit_for_bit():
    """(w, eps) -> (2^k w, 4^k eps) changes nothing but the norm."""
    X, y = samples(np.random.default_rng(9))
    base = OLSProblem.from_samples(X, y)
    moved = OLSProblem(
        base.eigvals, base.u, base.w0 * 2.0**40, base.a0, base.target_var, 0.0, sample=base.sample
    )  # fmt: skip
    one, _ = cells(base, 60, {"eps": np.array([0.01, 1.0])})
    two, _ = cells(moved, 60, {"eps": np.array([0.01, 1.0]) * 4.0**40})
    for name in ("excess", "eps_eff", "a"):
        np.testing.assert_array_equal(one[name], two[name])
    np.testing.assert_array_equal(one["w_norm"] * 2.0**40, two["w_norm"])


def test_bad_input_gets_one_sentence():
    problem = OLSProblem.from_samples(*samples(np.random.default_rng(5)))
    bare = OLSProblem.from_spectrum("linspace", 4, 3.0)
    for call, words in (
        (lambda: minibatch.prepare(bare), "problem must keep its sample"),
        (lambda: minibatch.prepare(problem, sampling="shuffle"), "sampling must be one of"),
        (lambda: minibatch.prepare(problem, batches=np.ones((4, 2), int)), "batches must be whole numbers of shape"),
        (lambda: minibatch.prepare(problem, batches=np.full((4, 3), 60)), r"row numbers in \[0, 60\), got 60"),
        (lambda: cells(problem, 5, {"eps": [1.0], "batch_size": [2]}), "batch_size must be >= 3, got 2"),
        (lambda: cells(problem, 5, {"eps": [1.0], "batch_size": [61]}), "batch_size must be <= 60"),
        (lambda: cells(problem, 5, {"eps": [1.0]}, options={"batches": np.ones((4, 3), int)}), "a row for each of 5"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    found, _ = cells(bare, 5, {"eps": [0.1]}, options={"sampling": "gaussian"})
    assert found["status"] == Status.MAX_STEPS
