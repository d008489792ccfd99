"""What was measured with this package; a claim that others had first says who, under ``Where:``."""

from olsbn.ledger.base import gather
from olsbn.ledger.olsbn import (
    auto_tuning,
    batch_limit,
    central_flow,
    cycle,
    decay,
    edge,
    engine,
    heavy_ball,
    normalizers,
    null_part,
    plateau,
    sharpness,
    spectrum,
    sphere,
    trap,
    windows,
    witness,
)

CLAIMS, FALSE = gather(
    edge,
    spectrum,
    plateau,
    sharpness,
    trap,
    windows,
    decay,
    cycle,
    central_flow,
    auto_tuning,
    heavy_ball,
    normalizers,
    null_part,
    sphere,
    batch_limit,
    witness,
    engine,
)
