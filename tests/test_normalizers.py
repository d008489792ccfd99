"""Contraction ratios with momentum and other normalisers against the Jacobian of one step, known cases, bad input."""

import math

import naive_methods as twins
import numpy as np
import pytest

from olsbn import OLSProblem
from olsbn.theory import (
    bngd_contraction_ratio,
    gd_contraction_ratio,
    gd_momentum_contraction_ratio,
    gd_ridge_contraction_ratio,
    heavy_ball_ratio,
    normalized_contraction_ratio,
    wngd_eps_a_max,
)


def random_problem(rng, d_max=10):
    d = int(rng.integers(1, d_max))
    eigvals, u = 10 ** rng.uniform(0, 2, d), rng.normal(size=d)
    if d > 4:
        u[1], eigvals[3] = 0.0, eigvals[2]
    return OLSProblem(eigvals, u, rng.normal(size=d))


@pytest.mark.parametrize("normalizer", ["bn", "smoothed", "wn"])
@pytest.mark.parametrize("seed", range(12))
def test_ratio_is_the_spectral_radius_of_the_jacobian(normalizer, seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    delta = 10 ** rng.uniform(-3, 3) if normalizer == "smoothed" else 0.0
    momentum = rng.uniform(0, 0.9) if seed % 2 else 0.0
    eps_eff, eps_a = rng.uniform(0, 2 / problem.eigvals[-1]), rng.uniform(0, 2)
    N = np.ones(problem.dim) if normalizer == "wn" else problem.eigvals + delta
    if normalizer == "wn":
        eps_a /= problem.eigvals[-1]
    name = "wn" if normalizer == "wn" else "bn"
    for nesterov in (0, 1):
        found = normalized_contraction_ratio(
            problem, eps_eff, eps_a, momentum, delta, nesterov=nesterov, normalizer=name
        )
        want = twins.normalized_jacobian_ratio(problem.eigvals, problem.u, N, eps_eff, eps_a, momentum, nesterov)
        # a double root moves by the square root of what rounding does to the Jacobian
        assert found == pytest.approx(want, rel=1e-9 if momentum == 0 else 1e-6)


@pytest.mark.parametrize("normalizer", ["bn", "wn"])
@pytest.mark.parametrize("seed", range(4))
def test_a_part_of_the_minimiser_in_the_null_space_counts(normalizer, seed):
    rng = np.random.default_rng(50 + seed)
    problem = random_problem(rng)
    delta = 0.0 if normalizer == "wn" else 10 ** rng.uniform(-1, 2)
    z = rng.uniform(0.3, 2)
    eigvals, u = np.r_[0.0, problem.eigvals], np.r_[z, problem.u]
    N = np.ones(u.size) if normalizer == "wn" else eigvals + delta
    eps_eff, eps_a = rng.uniform(0, 2 / problem.eigvals[-1]), rng.uniform(0, 2) / N[-1]
    found = normalized_contraction_ratio(problem, eps_eff, eps_a, 0, delta, normalizer=normalizer, null_share=z * z)
    assert found == pytest.approx(twins.normalized_jacobian_ratio(eigvals, u, N, eps_eff, eps_a, 0.0), rel=1e-9)


def test_neutral_values_give_the_old_ratios():
    problem = OLSProblem.from_spectrum("logspace", 30, 100.0)
    eps, eps_a = np.geomspace(1e-3, 1, 20)[:, None], np.linspace(0, 2, 5)
    np.testing.assert_array_max_ulp(
        normalized_contraction_ratio(problem, eps, eps_a), bngd_contraction_ratio(problem, eps, eps_a), 4
    )
    np.testing.assert_allclose(
        gd_momentum_contraction_ratio(problem, eps), gd_contraction_ratio(problem, eps), rtol=1e-15
    )
    np.testing.assert_allclose(
        gd_ridge_contraction_ratio(problem, eps, 0.0), gd_contraction_ratio(problem, eps), rtol=1e-15
    )


def test_small_smoothing_tends_to_bn_and_equal_rates_of_wngd_are_plain_gd():
    problem = OLSProblem.from_spectrum("linspace", 20, 30.0)
    eps = np.linspace(0.001, 0.06, 30)
    smoothed = normalized_contraction_ratio(problem, eps, 0.7, 0.0, 1e-12)
    np.testing.assert_allclose(smoothed, bngd_contraction_ratio(problem, eps, 0.7), rtol=1e-10)
    equal = normalized_contraction_ratio(problem, eps, eps, normalizer="wn")
    np.testing.assert_allclose(equal, gd_contraction_ratio(problem, eps), rtol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_edge_of_the_scale_rate_depends_on_the_data_for_wn_only(seed):
    rng = np.random.default_rng(80 + seed)
    problem = random_problem(rng)
    eps_eff = rng.uniform(0, 1.9) / problem.eigvals[-1]
    edge = wngd_eps_a_max(problem, eps_eff)
    assert edge <= 2 / (problem.explained_var / (problem.u @ problem.u)) * (1 + 1e-12)
    assert normalized_contraction_ratio(problem, eps_eff, edge * (1 - 1e-9), normalizer="wn") < 1
    assert normalized_contraction_ratio(problem, eps_eff, edge * (1 + 1e-9), normalizer="wn") > 1
    assert normalized_contraction_ratio(problem, eps_eff, 2 * (1 - 1e-9)) < 1
    assert math.isnan(wngd_eps_a_max(problem, 2.1 / problem.eigvals[-1]))


def test_edge_with_momentum():
    m = np.linspace(0, 0.95, 20)
    assert (heavy_ball_ratio(2 * (1 + m) * (1 - 1e-12), m) < 1).all()
    assert (heavy_ball_ratio(2 * (1 + m) * (1 + 1e-12), m) > 1).all()
    nesterov = (2 + 2 * m) / (1 + 2 * m)
    assert (heavy_ball_ratio(nesterov * (1 - 1e-12), m, 1) < 1).all()
    assert (heavy_ball_ratio(nesterov * (1 + 1e-12), m, 1) > 1).all()
    for mu in (0.1, 1.0, 1.2):
        roots = [np.abs(np.roots([1, -(1 + b) * (1 - mu), b * (1 - mu)])).max() for b in m]
        np.testing.assert_allclose(heavy_ball_ratio(mu, m, 1), roots, rtol=1e-12, atol=1e-15)
    roots = [np.abs(np.roots([1, -(1 + b - mu), b])).max() for b in m for mu in (0.1, 1.0, 3.0)]
    np.testing.assert_allclose([heavy_ball_ratio(mu, b) for b in m for mu in (0.1, 1.0, 3.0)], roots, rtol=1e-12)


def test_ridge_ratio_is_that_of_gd_on_the_penalised_problem():
    problem = OLSProblem.from_spectrum("logspace", 12, 50.0)
    H = np.diag(problem.eigvals) + 0.3 * np.eye(12)
    eps = np.linspace(0.001, 0.05, 9)
    want = [np.abs(np.linalg.eigvalsh(np.eye(12) - e * H)).max() for e in eps]
    np.testing.assert_allclose(gd_ridge_contraction_ratio(problem, eps, 0.3), want, rtol=1e-13)


def test_only_excited_modes_count():
    eigvals = [1.0, 2.0, 5.0, 9.0]
    problem = OLSProblem(eigvals, [1.0, 1.0, 1.0, 0.0], w0=[1.0, 0.5, -1.0, 0.0])
    smaller = OLSProblem(eigvals[:3], [1.0, 1.0, 1.0])
    for options in ({"smoothing": 0.5}, {"normalizer": "wn"}, {"momentum": 0.01}):
        excited = normalized_contraction_ratio(problem, 0.2, 0.3, excited=True, **options)
        assert excited == pytest.approx(normalized_contraction_ratio(smaller, 0.2, 0.3, **options), rel=1e-12)
        assert excited != normalized_contraction_ratio(problem, 0.2, 0.3, **options)
    assert gd_momentum_contraction_ratio(problem, 0.2, 0.3, excited=True) == heavy_ball_ratio(1.0, 0.3)


@pytest.mark.parametrize("eigvals", [[1.0, 2.0, 5.0], [0.25, 0.5, 1.0], [2.0, 3.0], [1.0]])
def test_a_point_on_an_eigenvalue_is_told_from_the_root(eigvals):
    """Halving such a spectrum's range meets an eigenvalue of H exactly."""
    d = len(eigvals)
    problem, H, u = OLSProblem(eigvals, np.ones(d)), np.diag(eigvals), np.ones(d)
    for delta in (0.0, 0.5):
        N = H + delta * np.eye(d) if delta else np.eye(d)
        F, t = u @ N @ u, N @ u / (u @ N @ u)
        K = 0.2 * (np.eye(d) - np.outer(u, t) - np.outer(t, u) + t @ t * np.outer(u, u)) + 0.3 * np.outer(u, u) / F
        want = np.abs(np.linalg.eigvalsh(np.eye(d) - np.sqrt(H) @ K @ np.sqrt(H))).max()
        options = {"smoothing": delta} if delta else {"normalizer": "wn"}
        assert normalized_contraction_ratio(problem, 0.2, 0.3, **options) == pytest.approx(want, rel=1e-13)


def test_ends_and_bad_input():
    problem = OLSProblem([1.0, 3.0], [1.0, 1.0])
    assert normalized_contraction_ratio(problem, 0.0, 0.5, normalizer="wn") == 1
    assert np.isnan(normalized_contraction_ratio(problem, [np.nan, -0.1], 0.5, smoothing=1.0)).all()
    for call, words in (
        (lambda: normalized_contraction_ratio(problem, 0.1, -1.0), "eps_a must be >= 0"),
        (lambda: normalized_contraction_ratio(problem, 0.1, momentum=np.nan), "momentum must be finite"),
        (lambda: normalized_contraction_ratio(problem, 0.1, smoothing=1.0, normalizer="wn"), "smoothing must be 0"),
        (lambda: normalized_contraction_ratio(problem, 0.1, normalizer="l1"), "normalizer must be one of bn, wn"),
        (lambda: normalized_contraction_ratio(problem, np.ones(2), np.ones(3)), "must broadcast"),
        (lambda: gd_momentum_contraction_ratio(problem, "x"), "eps must hold real numbers"),
        (lambda: gd_ridge_contraction_ratio(problem, 0.1, -1.0), "weight_decay must be >= 0"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            call()
