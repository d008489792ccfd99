"""Tables of the factors by which learning rates change from step to step, made before a run.

Only + - * / sqrt are used, so that the bits of a table, and of a run that reads it, are the same on every machine: a
power or a logarithm of the C library is not.
"""

import math
from typing import Any

import numpy as np

from olsbn._validate import FloatArray

_SPLIT = 134217729.0  # 2**27 + 1


def schedule(n_steps: int, power: float, factor: float = 1.0) -> FloatArray:
    """Return ``(k + 1)**-power * factor**k`` for k = 0..n_steps-1, to a few roundings.

    Parameters
    ----------
    n_steps : int
        Length of the table.
    power, factor : float
        ``power >= 0``, ``0 < factor``.
    """
    table = _falling(n_steps, power) if power else np.ones(n_steps)
    return table * _geometric(n_steps, factor) if factor != 1 else table


NAMES = "constant", "cosine", "warmup-cosine", "wsd"


def named(name: str, n_steps: int, warmup: int, decay: float, floor: float) -> FloatArray:
    """Return the factors of a learning rate at steps 0..n_steps by the name of their schedule.

    "cosine" falls from 1 at step 0 to `floor` at step `n_steps` like ``(1 + cos)/2``, "warmup-cosine" does so after a
    warm-up ``(k + 1)/warmup`` of `warmup` steps, and "wsd" (warm-up, stable, decay) stays at 1 after it and falls
    linearly to `floor` over the last share `decay` of the steps.
    """
    k = np.arange(n_steps + 1.0)
    if name == "constant":
        return np.ones(n_steps + 1)
    if name == "wsd":
        length = decay * n_steps
        fallen = np.clip((k - (n_steps - length)) / length, 0, 1) if length else np.zeros(n_steps + 1)
        factors = 1 - (1 - floor) * fallen
    else:
        begun = warmup if name == "warmup-cosine" else 0
        t = np.clip((k - begun) / max(n_steps - begun, 1), 0, 1)
        factors = floor + (1 - floor) * _quarter_cosine(t) ** 2  # cos^2(x/2) = (1 + cos x)/2
    return np.where(k < warmup, (k + 1) / max(warmup, 1), factors) if name != "cosine" else factors


def _quarter_cosine(t: FloatArray) -> FloatArray:
    """Return cos(pi t/2) for t in [0, 1], by series: the C library's cosine has other bits elsewhere."""
    late = t > 0.5
    x = (math.pi / 2) * np.where(late, 1 - t, t)
    term, total = np.where(late, x, 1.0), np.zeros_like(t)
    for i in range(12):
        total = total + term
        n = 2 * i + np.where(late, 2.0, 1.0)
        term = -term * (x * x) / (n * (n + 1))
    return np.where(t >= 1, 0.0, total)


def tables(n_steps: int, power: FloatArray, factor: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """Return the tables of all cells, each once: ``(tables (t, n_steps), which (cells,))``."""
    pairs, which = np.unique(np.stack([power, factor]), axis=1, return_inverse=True)
    return np.stack([schedule(n_steps, *pair) for pair in pairs.T]), which.ravel().astype(np.int64)


def _falling(n_steps: int, power: float) -> FloatArray:
    """Return ``(k + 1)**-power``: the binary digits of the power tell which iterated square roots to multiply."""
    whole = math.floor(power)
    root, root_low = np.arange(1.0, n_steps + 1), np.zeros(n_steps)
    high, low = np.ones(n_steps), np.zeros(n_steps)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(whole):
            high, low = _product(high, low, root, root_low)
        rest = power - whole
        while rest:
            first = np.sqrt(root)
            square, square_low = _product(first, 0.0, first, 0.0)
            root_low = ((root - square) + (root_low - square_low)) / (2 * first)
            root = first
            rest *= 2
            if rest >= 1:
                high, low = _product(high, low, root, root_low)
                rest -= 1
        inverse = 1 / high
        product, product_low = _product(inverse, 0.0, high, low)
        return np.where(np.isfinite(product), inverse + inverse * ((1 - product) - product_low), inverse)


def _geometric(n_steps: int, factor: float) -> FloatArray:
    """Return ``factor**k`` by doubling, in double-doubles: the rounding errors of k products would add up."""
    high, low = np.ones(1), np.zeros(1)
    top, rest = np.array(factor), np.array(0.0)  # factor**high.size
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        while high.size < n_steps:
            more, more_low = _product(high, low, top, rest)
            high, low = np.concatenate([high, more]), np.concatenate([low, more_low])
            top, rest = _product(top, rest, top, rest)
    return high[:n_steps]


def _product(a: Any, a_low: Any, b: Any, b_low: Any) -> tuple[FloatArray, FloatArray]:
    """Return a product of double-doubles; without the lower part where it leaves the range."""
    p = a * b
    t = _SPLIT * a
    a1 = t - (t - a)
    t = _SPLIT * b
    b1 = t - (t - b)
    a2, b2 = a - a1, b - b1
    e = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2 + (a * b_low + a_low * b)
    high = p + e
    inside = np.isfinite(high) & (np.abs(p) > 1e-280)
    return np.where(inside, high, p), np.where(inside, e - (high - p), 0.0)
