"""The claims of Arora, Li, Lyu on the auto rate-tuning that scale invariance brings.

As submitted (text layer of the submission); statements on losses in general are tried on least squares with BN, one
scale-invariant block or several, and on a small network, many.
"""

from olsbn.ledger.arora import blocks, full_batch, invariance, network, smoothness, stochastic, tied
from olsbn.ledger.base import gather

CLAIMS, FALSE = gather(invariance, smoothness, full_batch, tied, blocks, stochastic, network)
