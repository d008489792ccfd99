"""The claims of Cai, Li, Shen on GD and on gradient descent with BN (BNGD), ordinary least squares."""

from olsbn.ledger.base import gather
from olsbn.ledger.cai import algebra, convergence, critical, invariances, rates, regimes, spectrum, windows

CLAIMS, FALSE = gather(algebra, invariances, convergence, critical, spectrum, rates, regimes, windows)
