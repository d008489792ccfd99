"""Where rounding decides, in kernels that see no single mode of H*: a bound of it in the fastest ones.

`olsbn.engine.star` has every mode in sight, and there the bound is of its own rounding. Elsewhere each mode gets
the rounding of all others, and its amplitude is not known: what is known is the part that began at step 0,
``own <- |c| own``, and what forces it, ``b |B|``. Here c is the mode's factor in one step, 1 - A mu, with weight decay
D - A mu; with momentum the modulus of its slower root.
"""

import math

import numpy as np

from olsbn.engine.compile import LANES, helper
from olsbn.engine.rules import BURSTS, MOVES, NEAR, ROUNDING, SEEN, WRONG
from olsbn.engine.watch import momentum_ratio

# What is kept of each lane: for each mode two numbers, and one of all.
OWN, ERROR = 0, 1
KEEP, A_, B_, V_, BETA, FAR = range(6)


@helper
def empty_fastest(n_modes):  # type: ignore[no-untyped-def]
    """Return room for the numbers of all lanes."""
    return np.zeros((2 * n_modes + 1, LANES))


@helper
def begin_fastest(near, start, j):  # type: ignore[no-untyped-def]
    """Begin a cell in lane j."""
    for t in range(start.size):
        near[2 * t + OWN, j] = start[t]
        near[2 * t + ERROR, j] = 0.0
    near[2 * start.size, j] = 0.0


@helper
def scale_fastest(near, j, factor):  # type: ignore[no-untyped-def]
    """Scale what scales with w in lane j."""
    for i in range(near.shape[0] - 1):
        near[i, j] *= factor


@helper
def follow_fastest(near, step, momentum, mu, pull, active, marks):  # type: ignore[no-untyped-def]
    """Follow the first lanes over a step and mark those in which rounding decides from here on.

    `step` has in its rows what `KEEP` to `FAR` name: 1 less the weight decay, A, B, and before the step V, beta and
    whether a is far off; `momentum` is empty where there is none.
    """
    n, heavy = mu.size, momentum.size > 0
    for t in range(n):
        for j in range(active):
            A, V, beta = step[A_, j], step[V_, j], abs(step[BETA, j])
            turn, force = abs(A) * mu[t], pull[t] * abs(step[B_, j])
            factor = abs(step[KEEP, j] - A * mu[t])
            if heavy:
                factor = momentum_ratio(A * mu[t] + (1.0 - step[KEEP, j]), momentum[j])
            own = near[2 * t + OWN, j] * factor
            error = near[2 * t + ERROR, j] * factor + (math.sqrt(V) + force)
            near[2 * t + OWN, j], near[2 * t + ERROR, j] = own, error
            # the mode is about as large as its own part, or as what forces it over its turn
            rounding, size = error * ROUNDING, max(own * turn, force)
            large = rounding * turn > WRONG * size
            seen = rounding * max(size, rounding * turn) > SEEN * V * turn
            wrong = large & (seen | (rounding * turn > MOVES * beta))
            marks[j] = 1.0 if wrong else marks[j]
            if t == 0:
                growth = near[2 * n, j]
                if growth >= 1.0:
                    growth *= factor if factor > (1.0 if step[FAR, j] > 0.0 else 2.0) else 1.0
                elif NEAR * beta * beta < V:  # not the first step, whose length is given, nor the way from a minimiser
                    growth = 1.0
                near[2 * n, j] = growth
                marks[j] = 1.0 if growth > BURSTS else marks[j]
