"""How a cell ends: one rule for every dynamics, in Python, in compiled code and on balls.

At each step k, from 0, in this order:

1. an excess that is no number, or infinite at step 0, ends the run as `NON_FINITE`;
2. an excess above `limit` ends it as `DIVERGED`;
3. with ``stop="tol"`` the first step with excess <= tol ends it as `CONVERGED`;
4. an excess at the floor ends it, for squares below underflow; not with weight decay, and where momentum can carry the
   run away again only if the step before was at the floor as well;
5. so does the last step; the run is `CONVERGED` if any step had excess <= tol, else `MAX_STEPS`.
"""

from typing import Any

# Status codes; `olsbn.schema.Status` gives them names (a test holds the two together).
CONVERGED, MAX_STEPS, DIVERGED, NON_FINITE, DEGENERATE, CANCELLED = 0, 1, 2, 3, 4, -1
GOES_ON = -2


def ending(
    k: Any, excess: Any, previous: Any, hit: Any, n_steps: Any, stop_at_tol: Any, floor: Any, limit: Any, rests: Any,
    may_return: Any,
) -> Any:  # fmt: skip
    """Return the status with which a cell ends at step k, or GOES_ON.

    `hit` is the first step with excess <= tol up to now, -1 if there was none; `previous` the excess a step before.
    """
    if excess != excess or (k == 0 and excess == float("inf")):
        return NON_FINITE
    if excess > limit:
        return DIVERGED
    at_floor = rests and excess <= floor and (not may_return or previous <= floor)
    if (hit == k and stop_at_tol) or at_floor or k == n_steps:
        return CONVERGED if hit >= 0 else MAX_STEPS
    return GOES_ON
