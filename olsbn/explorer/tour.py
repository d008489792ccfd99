"""A tour of five stops for a lecture: each sets the controls and says what to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Of 60 seeds one with a wide plateau: 0.02 to 324, where the median of the 60 spans 0.02 to 4.2.
_ONE = {"spectrum": "logspace", "dim": 100, "cond": 100.0, "seed": 48}
_EPS = {"name": "eps", "lo": 1e-3, "hi": 1e5, "log": True}
_EPS_A = {"name": "eps_a", "lo": 0.01, "hi": 3.9, "log": True}


@dataclass(frozen=True)
class Stop:
    """A stop: its title, what to look at in a few sentences, the view that it sets, and the step of the cells.

    `at` is None for the last step; `log_steps` asks for a logarithmic axis of steps.
    """

    title: str
    look: tuple[str, ...]
    view: dict[str, Any]
    at: int | None = None
    log_steps: bool = False


STOPS = (
    Stop(
        "The edge of gradient descent",
        (
            "Plain gradient descent: learning rate ε across, momentum m up.",
            "Bottom row, m = 0: right of ε = 2/λ_max every run diverges.",
            "Below: two runs, ε one percent left and right of that edge. Only the last bar, the top mode, differs.",
            "Momentum moves the edge to 2(1 + m)/λ_max: at most by a factor of two.",
        ),
        {
            "problem": _ONE,
            "method": "gd",
            "x": {"name": "eps", "lo": 1e-3, "hi": 0.1, "log": True},
            "y": {"name": "momentum", "lo": 0.0, "hi": 0.95, "log": False},
            "cells": [[0.0198, 0.0], [0.0202, 0.0]],
            "n_steps": 1000,
            "tol": 1e-6,
        },
    ),
    Stop(
        "Batch normalization forgives",
        (
            "The same problem with batch normalization: ε across, the rate ε_a of the scale a up.",
            "The white line encloses the runs that reach the tolerance: four decades of ε and more.",
            "Below ε_a = 2 nothing diverges, however large ε is. Above it the scale a is unstable.",
            "Below: two rates, a factor of 200 apart, and nearly the same loss.",
        ),
        {
            "problem": _ONE,
            "method": "bngd",
            "x": _EPS,
            "y": _EPS_A,
            "cells": [[0.18, 1.0], [36.0, 1.0]],
            "n_steps": 1000,
            "tol": 1e-6,
        },
    ),
    Stop(
        "Self-tuning on the plateau",
        (
            "The same runs, coloured by the effective rate ε̂ at their end.",
            "Left, ε̂ grows like ε. Right, it falls like 1/ε.",
            "Between ε₁ and ε₂ it is flat: ε̂ settles just below its edge 2/λ*_d by itself.",
            "Below: ε̂ overshoots the edge, the top mode grows and lengthens w, and ε̂ comes down to the edge.",
        ),
        {
            "problem": _ONE,
            "method": "bngd",
            "show": "eps_eff",
            "x": _EPS,
            "y": _EPS_A,
            "cells": [[0.18, 1.0], [36.0, 1.0]],
            "n_steps": 1000,
            "tol": 1e-6,
        },
        at=5,
        log_steps=True,
    ),
    Stop(
        "The edge, and what rounding has to do with it",
        (
            "Ten inputs (diabetes), near the left end of the plateau. Dotted cells are flagged.",
            "Below, ε̂ rests above its edge and the last bar above 1, yet the loss falls on.",
            "The top mode was damped below 10⁻¹⁶ of its forcing first, so nothing of it is left to grow.",
            "A plain float64 loop feeds it by rounding: there the loss jumps to 10⁻³ near step 800. "
            "Only many digits decide: olsbn certify.",
        ),
        {
            "problem": {"data": "diabetes", "standardize": True},
            "method": "bngd",
            "x": {"name": "eps", "lo": 0.5, "hi": 8.0, "log": True},
            "y": {"name": "eps_a", "lo": 0.2, "hi": 1.8, "log": False},
            "cells": [[2.37, 1.0]],
            "n_steps": 2000,
            "tol": 1e-10,
        },
    ),
    Stop(
        "Momentum and decay",
        (
            "Batch normalization with momentum 0.5 and weight decay: ε across, the decay up.",
            "Decay shrinks w, which raises ε̂: the run is driven back to the edge again and again.",
            "Below: at each crossing the loss jumps up. It settles nowhere, though normalization or decay alone does.",
            "Momentum moves the edge of ε̂ to 2(1 + m)/λ*_d. Change it in the controls and look.",
        ),
        {
            "problem": _ONE,
            "method": "bngd",
            "x": {"name": "eps", "lo": 1e-3, "hi": 10.0, "log": True},
            "y": {"name": "weight_decay", "lo": 1e-5, "hi": 1.0, "log": True},
            "fixed": {"momentum": 0.5},
            "cells": [[0.03, 0.1]],
            "n_steps": 500,
            "tol": 1e-6,
            "check_rounding": False,
        },
        at=110,
    ),
)
