"""The contraction ratio of a cell, where it has settled: one criterion for every dynamics.

Near a minimiser the error is a sum of eigenvectors of the step's linear part, orthogonal in the norm whose square is
the excess. One step multiplies the excess by the mean of the squared ratios under the error, which falls short of the
largest one: so the ratio has settled where it equals the largest ratio of all that the error has a part of. Those come
from the coordinates that are iterated: the eigenvalues are turn mu_i of each mode by itself, ``turn_a`` of delta, and
where delta and the modes are coupled those of the arrowhead matrix ``[turn_a, couple b'; couple b, turn mu]``. Only
the least and the largest matter, for the ratio of an eigenvalue grows with its distance to either side.
"""

import math

import numpy as np

from olsbn.engine.compile import helper

_LINEAR = 1e-22  # eps_eff, and so the ratio, still moves like the root of the excess: by less than 1e-11 from here on
_SETTLED = 2e-11  # what the other modes may change of the ratio


@helper
def root_modulus(turn, momentum, nesterov):  # type: ignore[no-untyped-def]
    """Return the modulus of the larger root of ``z^2 - (1 + m - (1 + m n) x) z + m (1 - n x)``, x the turn.

    Negative where the roots are complex: then the excess oscillates and has no ratio.
    """
    if momentum == 0.0:
        return abs(1.0 - turn)
    half = 0.5 * (1.0 + momentum - (1.0 + momentum * nesterov) * turn)
    product = momentum * (1.0 - nesterov * turn)
    square = half * half - product
    return -math.sqrt(product) if square < 0.0 else abs(half) + math.sqrt(square)


@helper
def _outermost(corner, couple, turn, mu, b, upper):  # type: ignore[no-untyped-def]
    """Return the largest (or least) eigenvalue of the arrowhead matrix, by bisection of its secular equation."""
    sign = 1.0 if upper else -1.0
    inner, reach = sign * corner, 0.0
    for i in range(mu.size):
        inner = max(inner, sign * turn * mu[i])
        reach += (couple * b[i]) ** 2
    low, high = inner, inner + math.sqrt(reach)
    for _ in range(120):
        x = 0.5 * (low + high)
        if not low < x < high:
            break
        value = x - sign * corner
        for i in range(mu.size):
            value -= (couple * b[i]) ** 2 / (x - sign * turn * mu[i])
        if value < 0.0:
            low = x
        else:
            high = x
    return sign * high


@helper
def settled_ratio(  # type: ignore[no-untyped-def]
    excess, previous, turn, turn_a, couple, momentum, nesterov, delta, state, decoupled, mu, b, mu_decoupled
):  # fmt: skip
    """Return the last ratio of sqrt(excess) where it has settled, else NaN.

    `state` and `decoupled` are the modes of the lane, `mu`, `b` and `mu_decoupled` their numbers. Where the modes of
    the iteration are not those of its linear part, `mu` has the least and the largest eigenvalue alone.
    """
    if not 0.0 < excess <= _LINEAR or not previous > 0.0:
        return np.nan
    top, slow, fast = 0.0, np.inf, -np.inf
    if couple != 0.0 and mu.size != state.size:
        return np.nan
    if mu.size != state.size:
        slow, fast = min(mu[0], mu[mu.size - 1]), max(mu[0], mu[mu.size - 1])
    else:
        for i in range(mu.size):  # a mode that is there may be too small to be seen in the excess
            if state[i] != 0.0:
                slow, fast = min(slow, mu[i]), max(fast, mu[i])
    slow, fast = turn * slow, turn * fast
    if couple != 0.0:
        slow = _outermost(turn_a, couple, turn, mu, b, False)
        fast = _outermost(turn_a, couple, turn, mu, b, True)
    for i in range(mu_decoupled.size):
        if decoupled[i] != 0.0:
            slow, fast = min(slow, turn * mu_decoupled[i]), max(fast, turn * mu_decoupled[i])
    complex_ = False
    for k in range(3):
        x = slow if k == 0 else (fast if k == 1 else turn_a)
        if abs(x) < np.inf and (k < 2 or delta != 0.0):
            modulus = root_modulus(x, momentum, nesterov)
            if abs(modulus) > top:
                top, complex_ = abs(modulus), modulus < 0.0
    if complex_:
        return np.nan
    ratio = math.sqrt(excess / previous)
    # for a ratio close to 1 it says nothing to be close to 1
    small = _SETTLED * min(top * top, max(abs((top - 1.0) * (top + 1.0)), 1e-5 * top * top))
    return ratio if abs((top - ratio) * (top + ratio)) <= small else np.nan
