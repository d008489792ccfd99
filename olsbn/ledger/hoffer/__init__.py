"""No claim of this source is entered yet."""

from olsbn.ledger.base import Claim

CLAIMS: tuple[Claim, ...] = ()
FALSE: dict[str, Claim] = {}
