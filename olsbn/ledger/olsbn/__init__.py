"""What was found with this package and is stated by none of the other sources."""

from olsbn.ledger.base import gather
from olsbn.ledger.olsbn import (
    auto_tuning,
    decay,
    edge,
    heavy_ball,
    normalizers,
    plateau,
    spectrum,
    trap,
    windows,
    witness,
)

CLAIMS, FALSE = gather(edge, spectrum, plateau, trap, windows, decay, auto_tuning, heavy_ball, normalizers, witness)
