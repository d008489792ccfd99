"""What was measured with this package; a claim that others had first says who, under ``Where:``."""

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
