"""Ranges of learning rates, how their ends move, and how sure that is. Pure NumPy."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty (one standard deviation); NaN where it could not be measured."""

    value: float
    error: float

    def __str__(self):
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:.2f} ± {self.error:.2f}".replace("-", "−")


def ends(eps, miss):
    """Return log10 of both ends of the longest run of learning rates with `miss` <= 0.

    Between two rates the end lies where the straight line through `miss` is 0; half-way if `miss` is not finite at the
    outer one. NaN: nowhere reached, an end beyond the grid, or next to a rate that was not run.
    """
    x, miss = np.log10(eps), np.asarray(miss, float)
    inside = miss <= 0
    edges = np.flatnonzero(np.diff(np.r_[False, inside, False].astype(int)))
    if not edges.size:
        return np.nan, np.nan
    first, last = max(edges.reshape(-1, 2), key=lambda pair: x[pair[1] - 1] - x[pair[0]])

    def crossing(inner, outer):
        if not 0 <= outer < x.size or np.isnan(miss[outer]):
            return np.nan
        share = miss[inner] / (miss[inner] - miss[outer]) if np.isfinite(miss[outer]) else 0.5
        return x[inner] + share * (x[outer] - x[inner])

    return crossing(first, first - 1), crossing(last - 1, last)


def ranges(eps, miss):
    """Return log10 of the ends for each column of `miss` (rates, seeds): (2, seeds)."""
    return np.array([ends(eps, column) for column in np.asarray(miss).T]).T


def slope(x, y, rng=None):
    """Return the slope of y (seeds, points) over x, as an Estimate.

    Of the means over the seeds, at points that every seed has; its error is the larger of the regression's own and
    the standard deviation over 1000 bootstrap samples of the seeds. Two points have no regression error.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    good = np.isfinite(y).all(0)
    x, y = x[good], y[:, good]
    if x.size < 2:
        return Estimate(np.nan, np.nan)
    away = x - x.mean()
    weights = away / (away @ away)
    each = y @ weights  # the slope is linear in y: of means the mean of slopes
    mean = y.mean(0)
    value = float(each.mean())
    rest = mean - mean.mean() - value * away
    regression = np.sqrt(rest @ rest / max(x.size - 2, 1) / (away @ away)) if x.size > 2 else 0.0
    rng = rng or np.random.default_rng(0)
    draws = each[rng.integers(0, each.size, (1000, each.size))].mean(1)
    return Estimate(value, float(max(regression, draws.std())))


def average(values):
    """Return the mean over seeds and its standard error; NaN if a seed has no value."""
    values = np.asarray(values, float)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)))
