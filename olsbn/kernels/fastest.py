"""Where rounding decides, in kernels that see no single mode of H*: a bound of it in the fastest ones.

`olsbn.kernels.star` has every mode in sight, and there the bound is of its own rounding. Elsewhere each mode gets
the rounding of all others, and its amplitude is not known: what is known is the part that began at step 0,
``own <- |c| own``, and what forces it, ``b |B|``. Here c is the mode's factor in one step, 1 - A mu, with weight decay
D - A mu; with momentum the modulus of its slower root.
"""

import math

import numpy as np

from olsbn.kernels.compile import LANES, helper
from olsbn.kernels.watch import momentum_ratio

# A mark for a share of rounding that reaches the ninth digit; from which share of V, and of beta, on it is seen;
# and how far bursts of the fastest mode may multiply it: as in `olsbn.kernels.star`.
_ROUNDING = 2.0**-52
_WRONG, _SEEN, _MOVES, _BURSTS, _NEAR = 2.0**-34, 1e-13, 1e-12, 1e7, 1e-3

# What is kept of each lane: for each mode two numbers, and one of all.
OWN, ERROR = 0, 1


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
def follow_fastest(near, mu, pull, j, keep, A, B, momentum, V, beta, far):  # type: ignore[no-untyped-def]
    """Follow lane j over a step with coefficients A and B; return whether rounding decides from here on.

    `keep` is 1 less the weight decay of the step, V and beta are those before it; `far`: whether a is far off.
    """
    n = mu.size
    size = math.sqrt(V)
    wrong = False
    for t in range(n):
        turn, force = abs(A * mu[t]), pull[t] * abs(B)
        factor = momentum_ratio(A * mu[t] + (1.0 - keep), momentum) if momentum > 0.0 else abs(keep - A * mu[t])
        own, error = near[2 * t + OWN, j] * factor, near[2 * t + ERROR, j] * factor + (size + force)
        near[2 * t + OWN, j], near[2 * t + ERROR, j] = own, error
        rounding = error * _ROUNDING
        z = max(own, force / turn if turn > 0.0 else 0.0)
        if rounding > _WRONG * z and (rounding * max(z, rounding) > _SEEN * V or rounding * turn > _MOVES * abs(beta)):
            wrong = True
        if t == 0:
            growth = near[2 * n, j]
            if growth >= 1.0:
                growth *= factor if factor > (1.0 if far else 2.0) else 1.0
            elif _NEAR * beta * beta < V:  # not the first step, whose length is given, nor the way from a minimiser
                growth = 1.0
            near[2 * n, j] = growth
            wrong |= growth > _BURSTS
    return wrong
