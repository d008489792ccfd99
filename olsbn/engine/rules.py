"""The rules of a step that no formula of the dynamics decides: how cells begin, end and are kept in range."""

import math

import numpy as np

from olsbn.engine.compile import LANES, helper, inline
from olsbn.engine.lanes import CONVERGED, DIVERGED, GOES_ON, MAX_STEPS, NON_FINITE, clear_table

# Rows of the table of lanes. The first six are the coefficients and sums of the pass over the modes.
ROW_A, ROW_B, ROW_C, ROW_V, ROW_S, ROW_P = range(6)
ROW_BETA, ROW_NEXT_BETA, ROW_DELTA, ROW_COS, ROW_N, ROW_EXCESS, ROW_PREVIOUS, ROW_EPS, ROW_KEEP, ROW_LEVEL = range(
    6, 16
)
ROWS = 16

# When a cell is marked `by_rounding` (`olsbn.engine.star` has the account): for a share of rounding in a mode that
# reaches the ninth digit of the excess within some 1e4 steps, where the others see it, by its share of V or of beta;
# and for growth in bursts that brings rounding there. Where n, or V/beta^2, begins below NEAR, growth is linear first.
ROUNDING = 2.0**-52  # of a mode in a step
WRONG, SEEN, MOVES, BURSTS, NEAR = 2.0**-34, 1e-13, 1e-12, 1e7, 1e-3

HUGE = 2.0**300  # a step this long would overflow the sums: the lane is rescaled by a power of two
MAX_SAMPLES = 128
_LEVEL_RATIO = 1e-3  # the contraction ratio is sampled each time the excess has fallen by this


@helper
def begin_table(table, j, beta0, alpha0, eps):  # type: ignore[no-untyped-def]
    """Begin a cell in lane j. Its first pass over the modes moves nothing and only makes the sums of step 0."""
    clear_table(table, j)
    table[ROW_NEXT_BETA * LANES + j] = beta0
    # With COS = 0 and KEEP = 1 the first lane pass yields delta = alpha0 - cos; step 0 then sets the cell's own KEEP.
    table[ROW_DELTA * LANES + j] = alpha0
    table[ROW_KEEP * LANES + j] = 1.0
    table[ROW_EPS * LANES + j] = eps
    table[ROW_LEVEL * LANES + j] = np.inf


@helper
def empty_table(table, j):  # type: ignore[no-untyped-def]
    """Make lane j, whose modes are 0, a fixed point that never asks for a look."""
    clear_table(table, j)
    table[ROW_NEXT_BETA * LANES + j] = 1.0
    table[ROW_LEVEL * LANES + j] = -1.0


@helper
def judge(table, lanes, j, now, n_steps, tol, stop_at_tol, floor, limit):  # type: ignore[no-untyped-def]
    """Return the status with which the cell of lane j ends at this step, or GOES_ON; keep what the step says of it."""
    k = now - lanes[j].began
    excess = table[ROW_EXCESS * LANES + j]
    if excess != excess or (k == 0 and excess == np.inf):
        return NON_FINITE
    if excess > limit:
        return DIVERGED
    ended = GOES_ON
    if excess <= tol and lanes[j].hit < 0:
        lanes[j].hit = k
        if stop_at_tol:
            ended = CONVERGED
    if excess <= floor:
        ended = CONVERGED if lanes[j].hit >= 0 else MAX_STEPS
    table[ROW_LEVEL * LANES + j] = floor if lanes[j].hit >= 0 else max(floor, tol)
    if ended == GOES_ON and k == n_steps:
        ended = CONVERGED if lanes[j].hit >= 0 else MAX_STEPS
    return ended


@helper
def judge_and_sample(table, lanes, samples, j, now, n_steps, tol, stop_at_tol, floor, limit):  # type: ignore[no-untyped-def]
    """Do as `judge`, and sample the contraction ratio each time the excess has fallen by `_LEVEL_RATIO`."""
    level, excess = table[ROW_LEVEL * LANES + j], table[ROW_EXCESS * LANES + j]
    ended = judge(table, lanes, j, now, n_steps, tol, stop_at_tol, floor, limit)
    if excess <= level:
        if now > lanes[j].began and lanes[j].n_samples < MAX_SAMPLES:
            samples[j, lanes[j].n_samples] = last_ratio(table, j)
            lanes[j].n_samples += 1
        level = _LEVEL_RATIO * excess
    table[ROW_LEVEL * LANES + j] = max(level, table[ROW_LEVEL * LANES + j])
    return ended


@inline
def last_ratio(table, j):  # type: ignore[no-untyped-def]
    """Return by what the root of the excess of lane j was multiplied in the last step."""
    return math.sqrt(table[ROW_EXCESS * LANES + j] / table[ROW_PREVIOUS * LANES + j])


@helper
def rescaling(table, j):  # type: ignore[no-untyped-def]
    """Return the exponent of two by which lane j is to be scaled so that its next step stays in range; 0: not at all.

    (w, eps) -> (f w, f^2 eps) changes nothing but the norm, and for a power of two no digit.
    """
    size = abs(table[ROW_A * LANES + j]) + abs(table[ROW_B * LANES + j])
    if not HUGE <= size < np.inf:
        return 0
    return -(math.frexp(size)[1] * 3 // 4)


@helper
def rescale_table(table, lanes, j, shift):  # type: ignore[no-untyped-def]
    """Scale the numbers of lane j that scale with w, and its learning rate."""
    factor = math.ldexp(1.0, shift)
    for row in (ROW_B, ROW_C, ROW_NEXT_BETA):
        table[row * LANES + j] *= factor
    table[ROW_EPS * LANES + j] = table[ROW_EPS * LANES + j] * factor * factor
    lanes[j].exponent += shift
