"""What is kept of a cell while it runs, and when it ends: for kernels whose cells each count their own steps."""

import math

import numpy as np

from olsbn.engine.compile import helper
from olsbn.engine.lanes import CONVERGED, DIVERGED, GOES_ON, MAX_STEPS, NON_FINITE

MAX_SAMPLES = 128
LINEAR = 1e-24  # the effective learning rate still moves like the root of the excess: by less than 1e-12 from here on
_LEVEL_RATIO = 1e-3  # the contraction ratio is sampled each time the excess has fallen by this
_STEADY = 1e-9  # a ratio that moves more than this from one step to the next oscillates

WATCH = np.dtype(
    [
        ("cell", np.int64),  # number of the cell in the tile
        ("step", np.int64),  # its own step
        ("hit", np.int64),  # first step with excess <= tol, -1 before
        ("exponent", np.int64),  # w stands scaled by 2**exponent
        ("next_record", np.int64),  # position in the steps to record
        ("n_samples", np.int64),
        ("excess", np.float64),
        ("level", np.float64),  # the next excess worth a look
        ("ratio", np.float64),  # of the root of the excess in the last step
        ("ratio_before", np.float64),
    ]
)


@helper
def begin(watch, j, cell):  # type: ignore[no-untyped-def]
    """Give lane j a cell at its step 0."""
    watch[j].cell = cell
    watch[j].step = 0
    watch[j].hit = -1
    watch[j].exponent = 0
    watch[j].next_record = 0
    watch[j].n_samples = 0
    watch[j].excess = np.nan
    watch[j].level = np.inf
    watch[j].ratio = np.nan
    watch[j].ratio_before = np.nan


@helper
def judge(watch, samples, j, excess, rests, n_steps, tol, stop_at_tol, floor, limit):  # type: ignore[no-untyped-def]
    """Return the status with which the cell of lane j ends at this step, or GOES_ON; keep what the step says of it.

    A run ends at the floor only if it `rests` there and was there the step before: momentum can carry it away again.
    """
    k = watch[j].step
    previous = watch[j].excess
    watch[j].excess = excess
    watch[j].ratio_before = watch[j].ratio
    watch[j].ratio = math.sqrt(excess / previous)
    if excess != excess or (k == 0 and excess == np.inf):
        return NON_FINITE
    if excess > limit:
        return DIVERGED
    ended = GOES_ON
    if excess <= watch[j].level:
        if excess <= tol and watch[j].hit < 0:
            watch[j].hit = k
            if stop_at_tol:
                ended = CONVERGED
        if k > 0 and watch[j].n_samples < MAX_SAMPLES:
            samples[j, watch[j].n_samples] = watch[j].ratio
            watch[j].n_samples += 1
        level = max(_LEVEL_RATIO * excess, floor)
        watch[j].level = max(level, tol) if watch[j].hit < 0 else level
    if excess <= floor and previous <= floor and rests and watch[j].hit >= 0:
        ended = CONVERGED
    if ended == GOES_ON and k == n_steps:
        ended = CONVERGED if watch[j].hit >= 0 else MAX_STEPS
    return ended


@helper
def _converged(first, second, last):  # type: ignore[no-untyped-def]
    """Return whether three samples of a ratio, well apart, leave it less than 1e-12 to go (Aitken)."""
    change, before = abs(last - second), abs(second - first)
    noise = 3e-14 * last
    if change <= noise and before <= noise:
        return True
    return change < 0.9 * before and change * change <= 1e-12 * last * (before - change)


@helper
def settled_ratio(watch, samples, j):  # type: ignore[no-untyped-def]
    """Return the ratio of lane j if it has converged, else NaN; one that oscillates for ever has no limit."""
    n, last = watch[j].n_samples, watch[j].ratio
    if n < 4 or not watch[j].excess <= LINEAR or not abs(last - watch[j].ratio_before) <= _STEADY * last:
        return np.nan
    # over the whole run and over its later part: the first alone mistakes a fast start for the rest
    if not _converged(samples[j, n // 3], samples[j, 2 * n // 3], last):
        return np.nan
    if not _converged(samples[j, n // 2], samples[j, 3 * n // 4], last):
        return np.nan
    return last


@helper
def momentum_ratio(mu, momentum):  # type: ignore[no-untyped-def]
    """Return the modulus of the larger root of z^2 - (1 + momentum - mu) z + momentum."""
    half = 0.5 * abs(1.0 + momentum - mu)
    square = half * half - momentum
    return math.sqrt(momentum) if square < 0.0 else half + math.sqrt(square)
