"""The claims of Arora, Li, Lyu on the auto rate-tuning that scale invariance brings.

As submitted (text layer of the submission); statements on losses in general are tried on least squares with BN, one
scale-invariant block, and on a small network, many.
"""

from olsbn.ledger.arora import full_batch, invariance, network, smoothness, stochastic
from olsbn.ledger.base import gather

CLAIMS, FALSE = gather(invariance, smoothness, full_batch, stochastic, network)
