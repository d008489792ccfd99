"""The claims of Hoffer, Banner, Golan, Soudry ('Norm matters'), and of notes on it, on scale invariance and decay."""

from olsbn.ledger.base import gather
from olsbn.ledger.hoffer import batches, decay, expansions, norms

CLAIMS, FALSE = gather(expansions, decay, norms, batches)
