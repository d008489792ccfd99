"""The naive twin against itself: its two precisions, its two forms of the excess, and what one can do by hand."""

import mpmath
import naive
import numpy as np
import pytest

from olsbn import OLSProblem

PROBLEM = OLSProblem.from_spectrum("logspace", 6, 50.0, seed=7)
FIELDS = ("excess", "residual", "w_norm", "eps_eff", "loss")


def _doubles(run, field):
    return np.array([float(x) for x in getattr(run, field)])


@pytest.mark.parametrize("field", FIELDS)
def test_float64_agrees_with_60_digits(field):
    H, g, c, w0, a0 = naive.dense(PROBLEM)
    gd, gd_mp = naive.gd_run(H, g, c, w0, 0.03, 40), naive.gd_run_mp(PROBLEM, 0.03, 40)
    bn, bn_mp = naive.bngd_run(H, g, c, w0, a0, 0.3, 0.7, 40), naive.bngd_run_mp(PROBLEM, 0.3, 0.7, 40)
    np.testing.assert_allclose(getattr(gd, field), _doubles(gd_mp, field), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(getattr(bn, field), _doubles(bn_mp, field), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("c_factor", [1.0, 3.0])
def test_excess_is_the_loss_above_its_minimum(c_factor):
    p = PROBLEM
    p = OLSProblem(p.eigvals, p.u, p.w0, a0=-0.4, target_var=c_factor * p.explained_var)
    with mpmath.workdps(60):
        E = mpmath.fsum(mpmath.mpf(h) * mpmath.mpf(x) ** 2 for h, x in zip(p.eigvals, p.u, strict=True))
        J_min = (mpmath.mpf(p.target_var) - E) / 2
        for run in (naive.gd_run_mp(p, 0.03, 30), naive.bngd_run_mp(p, 0.3, 0.7, 30)):
            for loss, excess in zip(run.loss, run.excess, strict=True):
                assert abs((loss - J_min) / (E / 2) - excess) < mpmath.mpf(10) ** -55


def test_one_step_by_hand():
    # H = diag(1, 4), u = (1, 1), w = (1, 0), a = 2: sigma = 1, w'g = 1, q = 1, e = (0, 1), E = 5.
    H, g = np.diag([1.0, 4.0]), np.array([1.0, 4.0])
    run = naive.bngd_run(H, g, 5.0, [1.0, 0.0], 2.0, 0.5, 0.25, 1)
    assert run.excess[0] == pytest.approx((4 + 1) / 5)  # ||e||_H^2 = 4, (a - w'g/sigma)^2 = 1
    assert run.eps_eff[0] == pytest.approx(0.5 * 2)
    assert run.loss[0] == pytest.approx((5 - 4 + 4) / 2)
    assert run.a[1] == pytest.approx(2 + 0.25 * (1 - 2))
    assert run.w_norm[1] == pytest.approx(np.hypot(1, 4))  # w + 0.5 * 2 * (g - Hw) = (1, 4)
    assert naive.gd_run(H, g, 5.0, [1.0, 0.0], 0.5, 1).w_norm[1] == pytest.approx(np.hypot(1, 2))


def test_ratios_by_brute_force_are_reached_by_long_runs():
    p = PROBLEM
    H, u = np.diag(p.eigvals), p.u
    run = naive.bngd_run_mp(p, 0.03, 0.9, 1500, digits=120)
    theory = naive.bngd_contraction_ratio(H, u, float(run.eps_eff[-1]), 0.9)
    assert float(mpmath.sqrt(run.excess[-1] / run.excess[-2])) == pytest.approx(theory)
    run = naive.gd_run_mp(p, 0.02, 1500)
    assert float(mpmath.sqrt(run.excess[-1] / run.excess[-2])) == pytest.approx(naive.gd_contraction_ratio(H, 0.02))


def test_the_eigenbasis_of_h_star_changes_nothing():
    printed, star = naive.bngd_run_mp(PROBLEM, 0.3, 0.7, 40), naive.bngd_star_run_mp(PROBLEM, 0.3, 0.7, 40)
    for field in ("excess", "residual", "a", "w_norm", "eps_eff"):
        for x, y in zip(getattr(printed, field), getattr(star, field), strict=True):
            assert abs(x - y) <= mpmath.mpf(10) ** -50 * abs(x), field


@pytest.mark.parametrize("eps_eff", [0.01, 0.03, 0.2])
@pytest.mark.parametrize("eps_a", [0.001, 1.0, 1.99])
def test_jacobian_has_the_eigenvalues_of_h_star(eps_eff, eps_a):
    H, u = np.diag(PROBLEM.eigvals), PROBLEM.u
    star = naive.eigvals_star(H, u)
    assert abs(star[0]) < 1e-13 * star[-1]
    expected = max(abs(1 - eps_a), *np.abs(1 - eps_eff * star[1:]))
    assert naive.bngd_contraction_ratio(H, u, eps_eff, eps_a) == pytest.approx(expected, rel=1e-12)
