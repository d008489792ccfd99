"""What was measured with this package; a claim that others had first says who, under ``Where:``."""

from olsbn.ledger.base import gather
from olsbn.ledger.olsbn import (
    auto_tuning,
    batch_limit,
    decay,
    edge,
    engine,
    heavy_ball,
    normalizers,
    null_part,
    plateau,
    spectrum,
    trap,
    windows,
    witness,
)

CLAIMS, FALSE = gather(
    edge,
    spectrum,
    plateau,
    trap,
    windows,
    decay,
    auto_tuning,
    heavy_ball,
    normalizers,
    null_part,
    batch_limit,
    witness,
    engine,
)
