"""The range of good learning rates, against GD's."""

from __future__ import annotations

import numpy as np

from olsbn.ledger.base import Claim, Variants
from olsbn.ledger.runs import WINDOW_PROBLEMS, window_instance
from olsbn.theory import effective_rate_regimes

CLAIMS = (
    Claim(
        id="cai.second-acceleration",
        source="cai",
        kind="lower",
        statement="Second source of acceleration: BNGD's range of good learning rates is wider than GD's, by the "
        "plateau at least.",
        formula="decades of good eps, BNGD >= those of GD + log10(eps_2/eps_1)",
        problems=WINDOW_PROBLEMS,
        instance=window_instance,
        theory=lambda i: np.log10(i.gd_same[1] / i.gd_same[0]) + effective_rate_regimes(i.problem).decades,
        measured=lambda i: np.log10(i.bngd[1][1] / i.bngd[1][0]),
        n_random=4,
        n_search=2,
    ),
)


_false = Variants(CLAIMS)
FALSE = {
    "BNGD's range is wider by two plateaus": _false(
        "cai.second-acceleration",
        theory=lambda i: np.log10(i.gd_same[1] / i.gd_same[0]) + 2 * effective_rate_regimes(i.problem).decades,
    ),
}
