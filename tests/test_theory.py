"""The theory against oracles: dense eigenvalues, mpmath, brute minimisation, and a small simulation in NumPy."""

import dataclasses
import itertools
import math
import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

import olsbn
from olsbn.linalg import secular_roots
from olsbn.problems import MACHEPS, OLSProblem
from olsbn.theory import (
    bngd_contraction_ratio,
    effective_rate_regimes,
    eps_window,
    excited_modes,
    gd_contraction_ratio,
    spectral_report,
)

# An eigenvalue of H* may be off by this many ulp of itself (measured: at most 0.9 for d <= 400, cond <= 1e12).
ROOT_ULPS = 2


def dense_star(problem):
    g = problem.eigvals * problem.u
    return np.diag(problem.eigvals) - np.outer(g, g) / problem.explained_var


def check_roots(problem, found, digits=60):
    """Every nonzero root is within ROOT_ULPS of itself, by signs of the printed secular equation in mpmath.

    For distinct poles and u_i != 0: ``1 - sum g_i^2/(E (lambda_i - mu))`` falls from +inf to -inf between two poles.
    """
    with mpmath.workdps(digits):
        poles = [mpmath.mpf(float(x)) for x in problem.eigvals]
        g2 = [(x * mpmath.mpf(float(y))) ** 2 for x, y in zip(poles, problem.u, strict=True)]
        E = sum(y / x for x, y in zip(poles, g2, strict=True))

        def secular(mu):
            return E - sum(y / (x - mu) for x, y in zip(poles, g2, strict=True))

        assert len(found) == len(poles) and found[0] == 0.0
        for value, (low, high) in zip(found[1:], itertools.pairwise(poles), strict=True):
            value, slack = mpmath.mpf(float(value)), mpmath.mpf(ROOT_ULPS * MACHEPS)
            assert low <= value <= high
            below, above = value * (1 - slack), value * (1 + slack)
            assert below <= low or secular(below) > 0
            assert above >= high or secular(above) < 0


def simulate(problem, eps, n_steps, tol=1e-28):
    """BNGD with eps_a = 1 in deflated coordinates: (first step with excess <= tol or -1, its eps_eff)."""
    lam, u, E = problem.eigvals, problem.u, problem.explained_var
    weights = lam * u * u
    beta = np.sum(lam * u * problem.w0) / E
    s = problem.w0 / u - beta
    L = np.sum(weights * lam) / E
    a = problem.a0
    for k in range(n_steps + 1):
        V = np.sum(weights * s * s)
        sigma = math.sqrt(beta * beta * E + V)
        q, chi, rest = beta * E / sigma**2, eps * a / sigma, V / sigma**2
        if rest <= tol:
            return k, chi * q
        S = np.sum(weights * lam * s) / E
        a = beta * E / sigma
        s = s - chi * q * (lam * s - S) + chi * rest * (lam - L)
        beta += chi * (rest * L - q * S)
        P = np.sum(weights * s) / E
        s -= P
        beta += P
    return -1, chi * q


def random_problem(rng, d, cond, **kwargs):
    eigvals = np.exp(np.sort(rng.uniform(0, math.log(cond), d)))
    eigvals[0], eigvals[-1] = 1, cond
    return OLSProblem(eigvals, rng.standard_normal(d), rng.standard_normal(d), **kwargs)


# -------------------------------------------------------------------- the spectrum of H*


@pytest.mark.parametrize("cond", [1.5, 1e2, 1e6, 1e12])
@pytest.mark.parametrize("d", [2, 3, 10, 60])
def test_every_root_is_right_to_a_few_ulp_of_itself(d, cond):
    rng = np.random.default_rng([d, int(cond)])
    for spread in (0, 3):
        problem = random_problem(rng, d, cond)
        problem = OLSProblem(problem.eigvals, problem.u * 10.0 ** rng.uniform(-spread, 0, d))
        check_roots(problem, spectral_report(problem).eigvals_star)


@pytest.mark.parametrize("cond", [10.0, 1e4, 1e12])
@pytest.mark.parametrize("d", [2, 7, 50, 300])
def test_spectrum_against_dense_eigenvalues(d, cond):
    problem = random_problem(np.random.default_rng(d), d, cond)
    expected = np.linalg.eigvalsh(dense_star(problem))
    # the dense solver is the less accurate one: its backward error is of order d ulp of ||H||
    assert np.abs(spectral_report(problem).eigvals_star - expected).max() <= d * MACHEPS * cond


def test_roots_of_problems_whose_condition_fills_the_range_of_float64():
    # seen wrong: 4.405e-95 for the first root
    problem = OLSProblem([4.40524631e-95, 9.89119332e74, 8.33195168e75], [-1.1169431, 0.40426111, 1.46342293])
    assert spectral_report(problem).eig_star_min == pytest.approx(6.789514e-95, rel=1e-6)
    rng = np.random.default_rng(11)
    for _ in range(40):
        d = int(rng.integers(2, 9))
        eigvals = np.sort(10.0 ** rng.uniform(-150, 150, d))
        problem = OLSProblem(eigvals, rng.standard_normal(d) * 10.0 ** rng.uniform(-40, 0, d))
        check_roots(problem, spectral_report(problem).eigvals_star, digits=1000)
    for low in (1e-300, 1e-250):  # a smallest mode with a share of E of 1e-300 and half of ||u||
        problem = OLSProblem([low, 2 * low, 1.0], [1.0, 1.0, 1.0])
        check_roots(problem, spectral_report(problem).eigvals_star, digits=1000)


def test_roots_against_the_dense_matrix_in_many_digits():
    rng = np.random.default_rng(12)
    for decades in (6, 60, 280):
        eigvals = np.sort(10.0 ** rng.uniform(-decades / 2, decades / 2, 5))
        problem = OLSProblem(eigvals, rng.standard_normal(5))
        with mpmath.workdps(700):
            g = [mpmath.mpf(float(x)) * mpmath.mpf(float(y)) for x, y in zip(problem.eigvals, problem.u, strict=True)]
            E = mpmath.fsum(x * mpmath.mpf(float(y)) for x, y in zip(g, problem.u, strict=True))
            H = mpmath.matrix(5, 5)
            for i in range(5):
                for j in range(5):
                    H[i, j] = (mpmath.mpf(float(problem.eigvals[i])) if i == j else 0) - g[i] * g[j] / E
            exact = sorted(mpmath.eigsy(H, eigvals_only=True))
            for x, y in zip(spectral_report(problem).eigvals_star[1:], exact[1:], strict=True):
                assert abs(x - y) <= ROOT_ULPS * MACHEPS * y


def test_clusters_tiny_weights_and_near_deflation():
    rng = np.random.default_rng(5)
    eigvals = np.concatenate([1 + MACHEPS * np.arange(5), 3 + 1e-13 * np.arange(4), [7.0, np.nextafter(7.0, 8), 50.0]])
    for u in (np.ones(12), rng.standard_normal(12), 10.0 ** rng.uniform(-120, 0, 12), 10.0 ** -(np.arange(12.0) ** 2)):
        problem = OLSProblem(eigvals, u)
        check_roots(problem, spectral_report(problem).eigvals_star, digits=400)


def test_offsets_from_the_poles_are_not_lost():
    # The root next to a pole of weight 1e-20 is a hair away from it; one unit in the last place is 1e-16.
    weights = np.array([0.4, 1e-20, 0.4])
    root = secular_roots(np.array([1.0, 2.0, 4.0]), weights, np.array([0, 1])).values
    # 0.4/(1-x) + 0.4/(4-x) = 0 at 2.5; so between 1 and 2 the root sits at 2 - O(1e-20)
    assert root[0] == 2.0
    assert abs(root[1] - 2.5) <= 4 * MACHEPS


def test_repeated_eigenvalues_survive_m_minus_1_times():
    rng = np.random.default_rng(1)
    eigvals = np.repeat([1.0, 2.0, 5.0, 9.0], [3, 1, 4, 2])
    problem = OLSProblem(eigvals, rng.standard_normal(10))
    found = spectral_report(problem).eigvals_star
    assert [np.sum(found == x) for x in (1.0, 2.0, 5.0, 9.0)] == [2, 0, 3, 1]
    assert np.abs(found - np.linalg.eigvalsh(dense_star(problem))).max() <= 10 * MACHEPS * 9


def test_modes_without_weight_keep_their_eigenvalue():
    problem = OLSProblem([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 0.0, 1.0, -0.0, 1e-200])
    found = spectral_report(problem).eigvals_star
    assert found[0] == 0.0
    assert {2.0, 4.0, 5.0} <= set(found.tolist())
    assert np.abs(found - np.linalg.eigvalsh(dense_star(problem))).max() <= 5 * MACHEPS * 5


def test_u_along_one_eigenvector():
    found = spectral_report(OLSProblem([1.0, 2.0, 3.0], [0.0, 1.0, 0.0]))
    assert found.eigvals_star.tolist() == [0.0, 1.0, 3.0]
    assert found.cond_star == 3.0
    # along the smallest eigenvalue: H* is much better conditioned than H
    assert spectral_report(OLSProblem([1.0, 900.0, 1000.0], [1.0, 0.0, 0.0])).cond_star == 1000 / 900


def test_dimension_one_and_identity():
    one = spectral_report(OLSProblem([4.0], [2.0]))
    assert one.eigvals_star.tolist() == [0.0]
    assert math.isnan(one.cond_star) and math.isnan(one.eps_eff_opt)
    assert (one.cond, one.eps_max, one.eps_eff_max, one.rate_bngd_opt, one.rate_gd_opt) == (
        1.0,
        0.5,
        math.inf,
        0.0,
        0.0,
    )
    same = spectral_report(OLSProblem(np.full(6, 3.0), np.arange(6.0)))
    assert same.eigvals_star.tolist() == [0.0] + [3.0] * 5
    assert (same.cond_star, same.rate_bngd_opt, same.eps_eff_max) == (1.0, 0.0, 2 / 3)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(0.01, 100), st.floats(0.01, 100))
def test_dimension_two_in_closed_form(low, high, u1, u2):
    problem = OLSProblem([low, high], [u1, u2])
    # H* has rank one, so its trace is its eigenvalue
    (low, high), (u1, u2) = problem.eigvals, problem.u
    E = low * u1**2 + high * u2**2
    expected = low * high * (u1**2 + u2**2) / E
    assert spectral_report(problem).eig_star_max == pytest.approx(expected, rel=8 * MACHEPS, abs=0)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([2.0, 1e3, 1e9]))
def test_interlacing_neutral_direction_and_trace(d, seed, cond):
    rng = np.random.default_rng(seed)
    eigvals = np.round(np.exp(rng.uniform(0, math.log(cond), d)), 1)  # rounded: some are equal
    problem = OLSProblem(eigvals, rng.standard_normal(d) * (rng.random(d) < 0.8) + np.eye(d)[0])
    report = spectral_report(problem)
    star, eigvals = report.eigvals_star, problem.eigvals
    assert (star[1:] >= eigvals[:-1]).all() and (star[1:] <= eigvals[1:]).all() and star[0] == 0
    H_star, top = dense_star(problem), eigvals[-1]
    assert np.abs(H_star @ problem.u).max() <= d * MACHEPS * top * np.abs(problem.u).max() * 4
    assert star.sum() == pytest.approx(np.trace(H_star), abs=4 * d * MACHEPS * top)
    if d > 1:
        assert report.cond_star <= report.cond
        # the extreme eigenvalues, found in O(d), are those of the whole spectrum, to the bit
        assert (report.eig_star_min, report.eig_star_max) == (star[1], star[-1])


def test_extremes_of_a_million_modes():
    problem = OLSProblem.from_spectrum("logspace", 10**6, 1e6)
    report = spectral_report(problem)
    assert problem.eigvals[0] < report.eig_star_min < problem.eigvals[1]
    assert problem.eigvals[-2] < report.eig_star_max < problem.eigvals[-1]
    for root in (report.eig_star_min, report.eig_star_max):
        # one unit in the last place around the root changes the sign of the secular function
        with np.errstate(all="ignore"):
            sides = [
                math.fsum(problem.eigvals * problem.u**2 / (problem.eigvals - x))
                for x in (root * (1 - 4 * MACHEPS), root * (1 + 4 * MACHEPS))
            ]
        assert sides[0] < 0 < sides[1]


def test_power_of_two_scalings_are_exact():
    problem = random_problem(np.random.default_rng(9), 30, 1e5)
    report = spectral_report(problem)
    for shift in (-900, -20, 300):
        other = spectral_report(OLSProblem(np.ldexp(problem.eigvals, shift), np.ldexp(problem.u, -shift // 4)))
        assert np.array_equal(other.eigvals_star, np.ldexp(report.eigvals_star, shift))
        assert (other.cond_star, other.rate_bngd_opt) == (report.cond_star, report.rate_bngd_opt)
        assert other.eps_eff_opt == math.ldexp(report.eps_eff_opt, -shift)


# -------------------------------------------------------------------- rates


def test_best_rates_are_the_minima_of_the_contraction_ratios():
    rng = np.random.default_rng(3)
    for d, cond in ((2, 5.0), (12, 40.0), (50, 3.0)):
        problem = random_problem(rng, d, cond)
        report = spectral_report(problem)
        for ratio, best, rate, limit in (
            (lambda x, p=problem: gd_contraction_ratio(p, x), report.eps_opt, report.rate_gd_opt, report.eps_max),
            (
                lambda x, p=problem: bngd_contraction_ratio(p, x),
                report.eps_eff_opt,
                report.rate_bngd_opt,
                report.eps_eff_max,
            ),
        ):
            found = minimize_scalar(ratio, bounds=(0, limit), method="bounded", options={"xatol": 1e-12})
            assert found.fun == pytest.approx(rate, abs=1e-6)
            if rate > 1e-3:  # for one mode only the minimum is a kink at rate 0
                assert found.x == pytest.approx(best, rel=1e-5)
            assert ratio(best) == pytest.approx(rate, abs=4 * MACHEPS)
            assert ratio(limit) == pytest.approx(1, abs=4 * MACHEPS)
            assert ratio(limit * 1.01) > 1 > ratio(limit * 0.99)


def test_contraction_ratios_are_norms_of_the_iteration_matrices():
    rng = np.random.default_rng(4)
    problem = random_problem(rng, 8, 30.0)
    H, H_star = np.diag(problem.eigvals), dense_star(problem)
    neutral = np.outer(problem.u, problem.u) / np.sum(problem.u**2)
    for eps in (0.0, 0.01, 0.05, 0.1, -0.03):
        if eps >= 0:
            assert gd_contraction_ratio(problem, eps) == pytest.approx(np.linalg.norm(np.eye(8) - eps * H, 2))
        outside_u = np.eye(8) - eps * H_star - neutral
        for eps_a in (0.3, 1.0, 2.5):
            expected = max(abs(1 - eps_a), np.linalg.norm(outside_u, 2))
            assert bngd_contraction_ratio(problem, eps, eps_a) == pytest.approx(expected, rel=1e-13)


def test_contraction_ratios_broadcast():
    problem = random_problem(np.random.default_rng(4), 8, 30.0)
    eps_eff, eps_a = np.array([0.01, -0.02, np.nan, np.inf]), np.array([[0.5], [1.9], [3.0]])
    ratio = bngd_contraction_ratio(problem, eps_eff, eps_a)
    assert ratio.shape == (3, 4)
    assert np.isnan(ratio[:, 2]).all() and np.isinf(ratio[:, 3]).all()
    assert ratio[1, 0] == bngd_contraction_ratio(problem, 0.01, 1.9)
    assert ratio[2, 0] == 2.0
    assert gd_contraction_ratio(problem, [[0.1, 1e308], [0.0, 1.0]]).shape == (2, 2)
    one = OLSProblem([2.0], [1.0])
    assert bngd_contraction_ratio(one, [3.0, np.nan], 0.75).tolist()[0] == 0.25
    assert np.isnan(bngd_contraction_ratio(one, np.nan, 0.75))


@pytest.mark.parametrize("bad", [-1e-300, np.nan, np.inf, [0.1, -1.0], [], "fast", None, 1j])
def test_bad_rates_are_refused(bad):
    problem = OLSProblem([1.0, 2.0], [1.0, 1.0])
    for call in (
        lambda: gd_contraction_ratio(problem, bad),
        lambda: bngd_contraction_ratio(problem, 0.1, bad),
        lambda: effective_rate_regimes(problem).eps_eff(bad),
    ):
        if isinstance(bad, list) and not bad:
            assert call().shape == (0,)
            continue
        with pytest.raises((ValueError, TypeError), match=r"eps(_a)? must"):
            call()


def test_bad_effective_rates_shapes_and_methods_are_refused():
    problem = OLSProblem([1.0, 2.0], [1.0, 1.0])
    for bad in ("fast", None, [[1.0], [1.0, 2.0]], 1j):
        with pytest.raises(TypeError, match="eps_eff must hold real numbers"):
            bngd_contraction_ratio(problem, bad)
    with pytest.raises(ValueError, match="broadcast"):
        bngd_contraction_ratio(problem, np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="method must be one of gd, bngd"):
        excited_modes(problem, "sgd")
    for tol, n_steps in ((0.0, 10), (1.0, 10), (math.nan, 10), (1e-3, 0), (1e-3, -5)):
        with pytest.raises(ValueError, match=r"tol|n_steps"):
            eps_window(problem, tol, n_steps)


# -------------------------------------------------------------------- excited modes


def test_modes_that_gd_excites():
    problem = OLSProblem([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0])
    assert excited_modes(problem, "gd").tolist() == [False, True, False]
    assert gd_contraction_ratio(problem, 0.5, excited=True) == 0.0
    assert gd_contraction_ratio(problem, 0.5) == 0.5
    assert gd_contraction_ratio(OLSProblem([1.0, 2.0], [1.0, 1.0], [1.0, 1.0]), [9.0], excited=True).tolist() == [0.0]


def textbook_ratio(problem, eps, n_steps):
    """Measured ratio of the residual's H-norm over the last step of a run that stays above rounding."""
    lam, u, w, a = problem.eigvals, problem.u, problem.w0.copy(), problem.a0
    norms = []
    for _ in range(n_steps):
        sigma = math.sqrt(np.sum(lam * w * w))
        product = np.sum(lam * u * w)
        e = u - product / sigma**2 * w
        norms.append(math.sqrt(np.sum(lam * e * e)))
        a, w = product / sigma, w + eps * a / sigma * lam * e
        eps_eff = eps * (product / sigma) * product / sigma**3
    return norms[-1] / norms[-2], eps_eff


def test_modes_that_bngd_excites():
    # modes 2 (u = 0) and the pair at 3 leave survivors at 2 and 3
    eigvals, u = [1.0, 2.0, 3.0, 3.0, 4.0], [1.0, 0.0, 1.0, 1.0, 1.0]
    for w0, survivor2, survivor3 in (
        ([1.0, 0.0, 0.5, 0.5, 0.2], False, False),
        ([1.0, 1e-3, 0.5, 0.5, 0.2], True, False),
        ([1.0, 0.0, 0.5, 0.1, 0.2], False, True),
        ([1.0, 1e-300, 0.5, 0.1, 0.2], True, True),
    ):
        problem = OLSProblem(eigvals, u, w0)
        star, mask = spectral_report(problem).eigvals_star, excited_modes(problem, "bngd")
        assert mask.shape == (5,) and not mask[0]
        assert mask[star == 2.0].tolist() == [survivor2] and mask[star == 3.0].tolist() == [survivor3]
        assert mask[(star > 0) & (star != 2) & (star != 3)].tolist() == [True, True]


def test_starts_along_u_excite_no_mode():
    for scale in (2.0, -0.3):
        problem = OLSProblem([1.0, 2.0, 5.0], [0.1, 0.2, 0.7], scale * np.array([0.1, 0.2, 0.7]))
        assert not excited_modes(problem, "bngd").any()
        assert bngd_contraction_ratio(problem, 100.0, 0.75, excited=True) == 0.25
    assert excited_modes(OLSProblem([1.0], [2.0], [5.0]), "bngd").tolist() == [False]


def test_a_start_close_to_u_excites_what_is_there():
    rng = np.random.default_rng(2)
    u = rng.standard_normal(5)
    for size in (1e-13, 1e-11, 1e-8):
        problem = OLSProblem([1.0, 2.0, 3.0, 3.0, 4.0], u, 0.7 * u * (1 + size * rng.standard_normal(5)))
        assert excited_modes(problem, "bngd").tolist() == [False, True, True, True, True]
        assert effective_rate_regimes(problem).generic
    # 1e-30 of u is not rounding where the start has nothing: the excess is 1e-60, and the kernel follows it
    problem = OLSProblem([1.0, 2.0], [1.0, 1e-30], [1.0, 0.0])
    assert excited_modes(problem, "bngd").tolist() == [False, True]
    ds = olsbn.sweep(problem, eps=0.1, n_steps=3000)
    assert float(ds.rate_theory) == pytest.approx(0.8, rel=1e-12)


def test_a_part_that_u_does_not_reach_counts_by_its_size():
    for part, expected in ((1e-3, True), (1e-12, True), (1e-17, False)):
        problem = OLSProblem([1.0, 2.0, 3.0], [0.0, 0.6, 0.8], [part, 0.3, 0.4])
        star, mask = spectral_report(problem).eigvals_star, excited_modes(problem, "bngd")
        assert mask[star == 1.0].tolist() == [True] and mask[star > 1].tolist() == [expected]


def test_a_start_in_one_mode_excites_every_root():
    # v0 has weight in the fastest mode alone; the nonlinear terms fill the slow one, which then sets the rate
    base = OLSProblem([1.0, 3.0, 10.0], [1.0, 1.0, 1.0])
    star = spectral_report(base).eigvals_star
    v = base.u / (base.eigvals - star[2])  # H^(1/2)-eigenvector for star[2], in the coordinates of w
    problem = OLSProblem(base.eigvals, base.u, base.u + 0.3 * v / np.abs(v).max())
    assert excited_modes(problem, "bngd").tolist() == [False, True, True]
    measured, eps_eff = textbook_ratio(problem, 0.12, 60)
    expected = bngd_contraction_ratio(problem, eps_eff, excited=True)
    assert measured == pytest.approx(expected, rel=1e-3)
    assert abs(1 - eps_eff * star[2]) < 0.9 * expected  # the mode that was there is faster


def test_a_mode_that_is_not_excited_does_not_set_the_rate():
    problem = OLSProblem([0.1, 1.0, 2.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.3])
    measured, eps_eff = textbook_ratio(problem, 0.4, 20)
    assert measured == pytest.approx(bngd_contraction_ratio(problem, eps_eff, excited=True), rel=1e-4)
    assert bngd_contraction_ratio(problem, eps_eff) > measured + 0.1


# -------------------------------------------------------------------- regimes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_asymptotes_of_the_effective_rate(seed):
    problem = OLSProblem.from_spectrum("logspace", 12, 20.0, seed=seed)
    regimes = effective_rate_regimes(problem)
    assert regimes.generic
    for eps in (regimes.small_until(1e-3), regimes.large_from(1e-3)):
        k, eps_eff = simulate(problem, eps, 400_000, tol=1e-12)
        assert k > 0
        # asymptotically exact, and 1e-3 was asked for: its first-order term is what is left
        assert eps_eff == pytest.approx(regimes.eps_eff(eps), rel=1.2e-3)
        assert 1 - eps_eff / regimes.eps_eff(eps) == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_plateau_sits_just_below_the_edge_of_stability(seed):
    problem = OLSProblem.from_spectrum("logspace", 100, 100.0, seed=seed)
    regimes = effective_rate_regimes(problem)
    assert regimes.decades == pytest.approx(math.log10(regimes.eps_2 / regimes.eps_1))
    assert regimes.decades > 1
    k, eps_eff = simulate(problem, math.sqrt(regimes.eps_1 * regimes.eps_2), 100_000)
    assert k > 0
    assert 0.98 * regimes.plateau < eps_eff <= regimes.plateau * (1 + 1e-9)


def test_edges_are_where_the_laws_meet():
    regimes = effective_rate_regimes(random_problem(np.random.default_rng(0), 20, 50.0))
    assert regimes.small_slope * regimes.eps_1 == pytest.approx(regimes.plateau)
    assert regimes.large_product / regimes.eps_2 == pytest.approx(regimes.plateau)
    grid = np.array([0.0, regimes.eps_1 / 2, math.sqrt(regimes.eps_1 * regimes.eps_2), 2 * regimes.eps_2])
    expected = [0.0, regimes.plateau / 2, regimes.plateau, regimes.plateau / 2]
    assert regimes.eps_eff(grid) == pytest.approx(expected)


def test_the_printed_formulas():
    problem = random_problem(np.random.default_rng(2), 9, 30.0, a0=-0.7)
    H, u, w0 = np.diag(problem.eigvals), problem.u, problem.w0
    sigma0 = math.sqrt(w0 @ H @ w0)
    e0 = u - (w0 @ H @ u) / sigma0**2 * w0
    C = 0.7 * np.linalg.norm(H @ e0) / sigma0
    top = np.linalg.eigvalsh(dense_star(problem))[-1]
    regimes = effective_rate_regimes(problem)
    assert regimes.small_slope == pytest.approx(u @ u / (w0 @ w0))
    assert regimes.large_product == pytest.approx(u @ u / C**2)
    assert regimes.eps_1 == pytest.approx(2 * (w0 @ w0) / (top * (u @ u)))
    assert regimes.eps_2 == pytest.approx(top * (u @ u) / (2 * C**2))


def test_starts_that_are_not_generic_say_so():
    trap = effective_rate_regimes(OLSProblem.from_spectrum("logspace", 30, 100.0, w0="gradient"))
    assert not trap.generic and "saddles" in trap.note and trap.large_corr < 1e-12
    along = effective_rate_regimes(OLSProblem([1.0, 2.0, 3.0], [1.0, 0.3, 0.7], [2.0, 0.6, 1.4]))
    assert "parallel" in along.note and along.large_product == math.inf
    assert along.eps_eff([0.0, 1e-3]) == pytest.approx([0.0, 1e-3 / 4])
    saddle = effective_rate_regimes(OLSProblem([1.0, 2.0], [1.0, 0.0], [0.0, 1.0]))
    assert "saddle" in saddle.note
    nothing = effective_rate_regimes(OLSProblem([1.0, 2.0], [1.0, 1.0], [0.0, 0.0]))
    assert "sigma0" in nothing.note and math.isnan(nothing.eps_1) and math.isnan(nothing.decades)


def test_a_start_with_a0_zero_uses_the_next_a():
    problem = OLSProblem.from_spectrum("logspace", 12, 20.0)
    held = OLSProblem(problem.eigvals, problem.u, problem.w0, a0=0.0)
    found, expected = (dataclasses.asdict(effective_rate_regimes(p)) for p in (held, problem))
    assert found.pop("note") == expected.pop("note") == ""
    assert found == pytest.approx(expected, rel=1e-14)
    eps = effective_rate_regimes(held).large_from(1e-2)
    assert simulate(held, eps, 100_000, tol=1e-10)[1] == pytest.approx(simulate(problem, eps, 100_000, tol=1e-10)[1])


def test_regimes_scale_exactly_by_powers_of_two():
    problem = random_problem(np.random.default_rng(8), 9, 30.0)
    base = effective_rate_regimes(problem)
    for l, b, r in ((100, -30, 41), (-100, 60, -77)):
        scaled = OLSProblem(
            np.ldexp(problem.eigvals, 2 * l),
            np.ldexp(problem.u, b),
            np.ldexp(problem.w0, r),
            math.ldexp(problem.a0, l + b),
        )
        found = effective_rate_regimes(scaled)
        eps, eff = 2 * r - 2 * b - 2 * l, -2 * l
        assert found.eps_1 == math.ldexp(base.eps_1, eps) and found.eps_2 == math.ldexp(base.eps_2, eps)
        assert found.plateau == math.ldexp(base.plateau, eff)
        assert found.small_slope == math.ldexp(base.small_slope, eff - eps)
        assert found.large_product == math.ldexp(base.large_product, eff + eps)


# -------------------------------------------------------------------- windows


def test_gd_window_against_the_closed_form_of_the_run():
    problem = random_problem(np.random.default_rng(6), 15, 40.0)

    def excess(eps, k):
        error = (1 - eps * problem.eigvals) ** k * (problem.w0 - problem.u)
        return np.sum(problem.eigvals * error**2) / problem.explained_var

    for tol, k in ((1e-2, 60), (1e-6, 500)):
        window = eps_window(problem, tol, k, "gd")
        assert window.reliable and 0 < window.lower < window.upper
        assert excess(window.lower, k) == pytest.approx(tol, rel=1e-9)
        assert excess(window.upper, k) == pytest.approx(tol, rel=1e-9)
        assert excess(math.sqrt(window.lower * window.upper), k) < tol
    assert eps_window(problem, 1e-6, 3, "gd").decades == 0
    solved = OLSProblem(problem.eigvals, problem.u, problem.u)
    assert eps_window(solved, 1e-6, 3, "gd").lower == 0 and eps_window(solved, 1e-6, 3, "gd").decades == math.inf


def simulated_end(problem, guess, tol, n_steps):
    """The edge between reaching the tolerance and not, by bisection within a factor 1.5 of the guess."""

    def reached(eps):
        return simulate(problem, eps, n_steps, tol)[0] >= 0

    low, high = guess / 1.5, guess * 1.5
    side = reached(low)
    assert side != reached(high), "the end is not within a factor 1.5 of the prediction"
    for _ in range(7):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if reached(middle) == side else (low, middle)
    return math.sqrt(low * high)


@pytest.mark.parametrize(
    ("d", "cond", "tol", "n_steps"), [(20, 50.0, 1e-3, 1500), (20, 50.0, 1e-8, 2000), (60, 30.0, 1e-3, 1500)]
)
def test_bngd_window_against_simulation(d, cond, tol, n_steps):
    problem = OLSProblem.from_spectrum("logspace", d, cond)
    window = eps_window(problem, tol, n_steps)
    assert window.reliable
    for end in (window.lower, window.upper):
        assert abs(math.log10(simulated_end(problem, end, tol, n_steps) / end)) <= 0.03
    assert window.decades_slowest < window.decades  # the slowest mode alone is too pessimistic


def test_a_window_between_the_laws_is_not_called_reliable():
    # seen: called reliable, [0.056, 0.226], and no learning rate reaches the tolerance. There is no plateau here, and
    # both ends lie within a factor 3 of where a first step is as long as the start.
    problem = OLSProblem.from_spectrum("logspace", 3, 14.0, seed=1)
    window, regimes = eps_window(problem, 1e-8, 100), effective_rate_regimes(problem)
    assert window.lower < regimes.crossing < window.upper and not window.reliable
    assert 1 < regimes.crossing / window.lower < 3 and 1 < window.upper / regimes.crossing < 3
    eps = np.geomspace(window.lower / 10, window.upper * 10, 400)
    assert (olsbn.sweep(problem, eps=eps, n_steps=100, tol=1e-8, progress=False).steps_to_tol == -1).all()


@pytest.mark.parametrize("tol", [1e-2, 1e-6])
def test_flow_time_against_a_general_ode_solver(tol):
    problem = OLSProblem.from_spectrum("logspace", 30, 300.0)
    H, u, E = problem.eigvals, problem.u, problem.explained_var

    def excess(_, w):
        return 1 - np.sum(H * u * w) ** 2 / (E * np.sum(H * w * w)) - tol

    def flow(_, w):
        q = np.sum(H * u * w) / np.sum(H * w * w)
        return q * H * (u - q * w)

    excess.terminal = True
    exact = solve_ivp(flow, (0, 1e9), problem.w0, "LSODA", events=excess, rtol=1e-9, atol=1e-12).t_events[0][0]
    # the integrator's own claim: 0.004 decades
    assert eps_window(problem, tol, 10**6).lower == pytest.approx(exact / 10**6, rel=0.01)


def test_growth_of_the_windows_with_the_number_of_steps():
    problem = OLSProblem.from_spectrum("linspace", 100, 100.0)
    narrow, wide = (eps_window(problem, 1e-3, k) for k in (10_000, 100_000))
    assert wide.decades - narrow.decades == pytest.approx(2)
    narrow, wide = (eps_window(problem, 1e-3, k, "gd") for k in (10_000, 100_000))
    assert wide.decades - narrow.decades == pytest.approx(1, abs=0.05)


def test_windows_that_are_empty_or_unbounded():
    problem = OLSProblem.from_spectrum("logspace", 30, 1000.0)
    short = eps_window(problem, 1e-8, 5)
    assert short.decades == 0 and math.isnan(short.lower) and not short.reliable
    trap = eps_window(OLSProblem.from_spectrum("logspace", 30, 100.0, w0="gradient"), 1e-3, 10_000)
    assert trap.lower > 0 and math.isnan(trap.upper)
    along = eps_window(OLSProblem([1.0, 2.0], [1.0, 0.5], [2.0, 1.0]), 1e-3, 10)
    assert along.lower == 0 and along.upper == math.inf and along.decades == math.inf


def test_labels_are_kept_and_broadcast_by_name():
    problem = OLSProblem.from_spectrum("logspace", 5, 10.0)
    ds = olsbn.sweep(problem, eps=[0.01, 0.1, 1.0], eps_a=[0.5, 1.0, 1.5], n_steps=50)  # as many of one as of the other
    found = bngd_contraction_ratio(problem, ds.eps_eff, ds.eps_a, excited=True)
    assert found.dims == ("eps_a", "eps") and found.equals(ds.rate_theory.rename(None))
    assert found.name is None and not found.attrs
    assert gd_contraction_ratio(problem, ds.eps).equals(ds.eps.copy(data=gd_contraction_ratio(problem, ds.eps.values)))
    regimes = effective_rate_regimes(problem)
    np.testing.assert_array_equal(regimes.eps_eff(ds.eps).sel(eps=0.1), regimes.eps_eff(0.1))
    with pytest.raises(ValueError, match="eps must be >= 0"):
        gd_contraction_ratio(problem, -ds.eps)


# -------------------------------------------------------------------- the boundary

EXTREME = st.one_of(
    st.sampled_from([0.0, -0.0, 5e-324, 1e-308, 2.3e-308, 1e-160, 1e-30, 1.0, -1.0, 2.0, 1e30, 1e160, 1e308, -1e308]),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(EXTREME, EXTREME, EXTREME), min_size=1, max_size=6))
def test_no_problem_raises_or_warns(rows):
    eigvals, u, w0 = (np.array(column) for column in zip(*rows, strict=True))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem = OLSProblem(np.abs(eigvals), u, w0)
    except ValueError:
        return  # refused at the boundary, with a sentence
    report = spectral_report(problem)
    star = report.eigvals_star
    assert star[0] == 0 and (star[1:] >= problem.eigvals[:-1]).all() and (star[1:] <= problem.eigvals[1:]).all()
    assert np.isfinite(star).all()
    assert excited_modes(problem, "bngd").shape == star.shape
    for ratio in (
        gd_contraction_ratio(problem, [0.0, 1e-308, 1.0, 1e308]),
        bngd_contraction_ratio(problem, [0.0, 1e308]),
    ):
        assert (ratio >= 0).all()
    regimes = effective_rate_regimes(problem)
    assert np.shape(regimes.eps_eff([0.0, 1.0, 1e308])) == (3,)
    for method in ("gd", "bngd"):
        window = eps_window(problem, 1e-3, 100, method)
        assert not window.lower > window.upper
    dataclasses.asdict(regimes)
