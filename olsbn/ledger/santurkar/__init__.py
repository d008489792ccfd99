"""The claims of Santurkar, Tsipras, Ilyas, Madry on BN and smoothness, and of a blog account of them."""

from olsbn.ledger.base import gather
from olsbn.ledger.santurkar import bounds, convex, series, smoothness

CLAIMS, FALSE = gather(bounds, convex, smoothness, series)
