"""Random batches: a generator that counts with integers, uniform and normal variates, and the orders of rows.

A stream belongs to (seed, replicate, batch_size). Normal variates come from + - * / sqrt alone, so all bits are the
same on every machine.
"""

import math
import zlib

import numpy as np

from olsbn.engine.compile import entry, helper

SAMPLINGS = ("epoch", "replacement", "gaussian", "single")
EPOCH, REPLACEMENT, GAUSSIAN, SINGLE, GIVEN = range(5)


def stream_key(seed: int, replicate: int, batch_size: int) -> np.uint64:
    """Return the start of the stream that belongs to (seed, replicate, batch_size)."""
    words = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"minibatch"), replicate, batch_size))
    return words.generate_state(1, np.uint64)[0]


@helper
def _next(stream):  # type: ignore[no-untyped-def]
    """Return 64 random bits: SplitMix64, a counter and a mixing function [Steele, Lea, Flood 2014]."""
    stream[0] += np.uint64(0x9E3779B97F4A7C15)
    z = stream[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@helper
def _below(stream, n):  # type: ignore[no-untyped-def]
    """Return a whole number in [0, n), n < 2**32, without bias [Lemire 2019]."""
    bound = np.uint64(n)
    mask = np.uint64(0xFFFFFFFF)
    product = (_next(stream) >> np.uint64(32)) * bound
    if (product & mask) < bound:
        least = (np.uint64(1 << 32) - bound) % bound
        while (product & mask) < least:
            product = (_next(stream) >> np.uint64(32)) * bound
    return np.int64(product >> np.uint64(32))


@helper
def _log(x):  # type: ignore[no-untyped-def]
    """Return the natural logarithm of 0 < x < inf by arithmetic alone: the C library's differs between machines."""
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        exponent -= 1
    t = (mantissa - 1.0) / (mantissa + 1.0)
    square = t * t
    series = 1.0 / 23.0
    for k in range(21, 0, -2):
        series = series * square + 1.0 / k
    return exponent * 0.6931471805599453 + 2.0 * t * series


@helper
def _normal_pair(stream):  # type: ignore[no-untyped-def]
    """Return two standard normal variates (Marsaglia's polar method)."""
    while True:
        x = np.float64(_next(stream) >> np.uint64(11)) * 2.0**-52 - 1.0
        y = np.float64(_next(stream) >> np.uint64(11)) * 2.0**-52 - 1.0
        s = x * x + y * y
        if 0.0 < s < 1.0:
            factor = math.sqrt(-2.0 * _log(s) / s)
            return x * factor, y * factor


@helper
def fresh_rows(stream, eigvals, u, noise, xb, yb):  # type: ignore[no-untyped-def]
    """Draw the rows of a batch."""
    d = u.size
    for i in range(yb.size):
        j = 0
        target = 0.0
        while j <= d:
            first, second = _normal_pair(stream)
            for _ in range(2):
                if j < d:
                    xb[i, j] = math.sqrt(eigvals[j]) * first
                    target += u[j] * xb[i, j]
                elif j == d:
                    yb[i] = target + noise * first
                j += 1
                first = second


@helper
def next_rows(stream, kind, batches, k, order, place, rows):  # type: ignore[no-untyped-def]
    """Put the row numbers of step k into `rows`; place[0] is where the epoch stands, at the end before the first."""
    m, n = rows.size, order.size
    if kind == REPLACEMENT:
        for i in range(m):
            rows[i] = _below(stream, n)
    elif kind == GIVEN:
        for i in range(m):
            rows[i] = batches[k, i]
    else:
        if place[0] + m > n:
            if kind == EPOCH or k == 0:  # a single order of rows is never shuffled again
                for i in range(n - 1, 0, -1):
                    j = _below(stream, i + 1)
                    order[i], order[j] = order[j], order[i]
            place[0] = 0
        for i in range(m):
            rows[i] = order[place[0] + i]
        place[0] += m


@entry
def _all_rows(key, kind, n, out):  # type: ignore[no-untyped-def]
    stream = np.array([key], dtype=np.uint64)
    order, place, none = np.arange(n), np.array([n]), np.empty((0, 0), np.int64)
    for k in range(out.shape[0]):
        next_rows(stream, kind, none, k, order, place, out[k])


@entry
def all_fresh(key, eigvals, u, noise, X, y):  # type: ignore[no-untyped-def]
    """Draw the inputs X[k] and targets y[k] that step k of a cell sees."""
    stream = np.array([key], dtype=np.uint64)
    for k in range(y.shape[0]):
        fresh_rows(stream, eigvals, u, noise, X[k], y[k])


def drawn_rows(sampling: str, seed: int, replicate: int, batch_size: int, n: int, n_steps: int) -> np.ndarray:
    """Return the row numbers of a sample of n rows that the steps of a cell see, shape (n_steps, batch_size)."""
    out = np.empty((n_steps, batch_size), np.int64)
    _all_rows(stream_key(seed, replicate, batch_size), SAMPLINGS.index(sampling), n, out)
    return out
