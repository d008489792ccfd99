"""The range of good learning rates, predicted."""

from __future__ import annotations

import numpy as np

from olsbn.ledger.base import WINDOW, Claim, Variants
from olsbn.ledger.runs import WINDOW_PROBLEMS, growth, window_instance

CLAIMS = (
    Claim(
        id="olsbn.window",
        source="olsbn",
        kind="tight",
        statement="The range of good learning rates of BNGD is where its two outer regimes are fast enough.",
        formula="log10 of both ends of {eps: excess <= tol within K steps}, from the gradient flow at either end",
        problems=WINDOW_PROBLEMS,
        instance=window_instance,
        theory=lambda i: np.log10([i.predicted[1].lower, i.predicted[1].upper]),
        measured=lambda i: np.log10(i.bngd[1]),
        allowed=lambda i: WINDOW,
        n_random=4,
        n_search=2,
    ),
    Claim(
        id="olsbn.window-growth",
        source="olsbn",
        kind="order",
        statement="With the number K of steps BNGD's range of good learning rates grows like K^2 and GD's like K.",
        formula="upper/lower end ~ K^2 (BNGD), K^1 (GD)",
        problems=f"{WINDOW_PROBLEMS} and a quarter of it (GD: 16 times as many)",
        instance=window_instance,
        theory=lambda i: [2.0, 1.0],
        measured=lambda i: [growth(i.bngd), growth(i.gd)],
        n_random=4,
        n_search=2,
    ),
)


_false = Variants(CLAIMS)
FALSE = {
    "BNGD's window grows like K": _false("olsbn.window-growth", theory=lambda i: [1.0, 1.0]),
    "GD's window grows like K^2": _false("olsbn.window-growth", theory=lambda i: [2.0, 2.0]),
    "the window ends at the plateau": _false(
        "olsbn.window", theory=lambda i: np.log10([i.predicted[1].lower, i.predicted[1].upper]) * [1, 0.5]
    ),
}
