"""The range of good learning rates, against GD's."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn.ledger.base import Chapter, Comparison
from olsbn.ledger.runs import WINDOW_PROBLEMS, window_instance
from olsbn.theory import effective_rate_regimes


def _decades(i: SimpleNamespace, share: float) -> float:
    """Decades of the plateau and a share of those of GD's range."""
    return share * math.log10(i.gd_same[1] / i.gd_same[0]) + effective_rate_regimes(i.problem).decades


chapter = Chapter(WINDOW_PROBLEMS=WINDOW_PROBLEMS)


@chapter.claim("cai.second-acceleration", "lower", window_instance, n_random=4, n_search=2)
def _(i: SimpleNamespace) -> Comparison:
    """Second source of acceleration: BNGD's range of good learning rates is wider than GD's, by the plateau and three
    quarters of GD's at least (observed; about GD's once more is usual).
    Formula: decades of good eps without holes, BNGD >= 7/4 of those of GD + log10(eps_2/eps_1)
    Problems: {WINDOW_PROBLEMS}
    Where: slides, summary of results: robustness to learning rates, wide range
    """
    return _decades(i, 1.75), np.log10(i.bngd[1][1] / i.bngd[1][0]) - i.holes


_false = chapter.variants
FALSE = {
    "BNGD's range is wider by a plateau and 5/4 of GD's": _false(
        "cai.second-acceleration", theory=lambda i: _decades(i, 2.25)
    ),
}
