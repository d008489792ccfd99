"""Linear algebra that theory and kernels share, against many digits."""

import mpmath
import numpy as np
import pytest

from olsbn import linalg
from olsbn.linalg import MACHEPS, map_blocks, secular_roots


def equation(seed, n, spread):
    rng = np.random.default_rng(seed)
    poles = np.sort(np.exp(rng.uniform(0, np.log(1e6), n)))
    weights = 10.0 ** rng.uniform(-spread, 0, n)
    return poles, weights / weights.sum() / 2


@pytest.mark.parametrize("spread", [0.1, 20, 120])
@pytest.mark.parametrize("n", [2, 3, 17])
def test_differences_to_the_poles_keep_their_digits(n, spread):
    poles, weights = equation(n, n, spread)
    roots = secular_roots(poles, weights)
    found = roots.differences()
    with mpmath.workdps(300):
        z, p = ([mpmath.mpf(float(x)) for x in v] for v in (poles, weights))
        for i in range(n - 1):
            # the offset from the nearer pole, by bisection on its logarithm
            near = int(roots.near[i])
            side, gap = (1 if near == i else -1), z[i + 1] - z[i]
            low, high = p[near] * gap / 4, gap / 2
            for _ in range(700):
                middle = mpmath.sqrt(low * high)
                value = side * mpmath.fsum(a / (b - z[near] - side * middle) for a, b in zip(p, z, strict=True))
                low, high = (low, middle) if value > 0 else (middle, high)
            exact = [b - z[near] - side * low for b in z]
            assert all(abs(x - y) <= 4 * MACHEPS * abs(y) for x, y in zip(found[i], exact, strict=True))


def test_bits_do_not_depend_on_threads_blocks_or_which_roots_are_asked_for(monkeypatch):
    poles, weights = equation(1, 400, 3)
    whole = secular_roots(poles, weights, threads=1)
    some = np.array([5, 100, 398])
    for other in (secular_roots(poles, weights, threads=7), secular_roots(poles, weights, some)):
        rows = slice(None) if other.near.size == 399 else some
        assert np.array_equal(whole.near[rows], other.near) and np.array_equal(whole.offset[rows], other.offset)
    monkeypatch.setattr(linalg, "_BLOCK", 1000)
    assert np.array_equal(secular_roots(poles, weights, threads=3).offset, whole.offset)


def test_blocks_cover_all_rows_in_order(monkeypatch):
    monkeypatch.setattr(linalg, "_BLOCK", 10)
    for threads in (1, 4):
        found = map_blocks(lambda rows: list(range(100))[rows], 23, 4, threads)
        assert [len(part) for part in found][:2] == [2, 2] and [i for part in found for i in part] == list(range(23))
    assert map_blocks(lambda rows: rows, 0, 4) == []
