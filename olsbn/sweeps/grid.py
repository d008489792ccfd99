"""A grid of a parameter as a text: LO:HI:N, or one number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Grid:
    """Values of a parameter: N of them from `lo` to `hi`, with equal steps or equal ratios."""

    lo: float
    hi: float
    n: int
    log: bool

    @classmethod
    def parse(cls, name: str, text: str, *, log: bool) -> Grid:
        """Read ``LO:HI:N``, ``LO:HI:N@lin``, ``LO:HI:N@log`` or a number."""
        body, at, spacing = text.partition("@")
        form = f"{name} must be LO:HI:N (or LO:HI:N@lin, LO:HI:N@log, or one number), got {text!r}"
        if at and spacing not in ("lin", "log"):
            raise ValueError(form)
        log = spacing == "log" if at else log
        parts = body.split(":")
        try:
            lo, hi, n = float(parts[0]), float(parts[-1]), 1
            if len(parts) == 3:
                hi, n = float(parts[1]), int(parts[2])
            elif len(parts) != 1 or at:
                raise ValueError
        except ValueError:
            raise ValueError(form) from None
        for value in (lo, hi):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and >= 0, got {value!r} in {text!r}")
        if len(parts) == 1:
            return cls(lo, hi, 1, False)
        if n < 1:
            raise ValueError(f"{name} must have N >= 1 values, got {n} in {text!r}")
        if (n == 1 and lo != hi) or (n > 1 and not lo < hi):
            raise ValueError(f"{name} must have LO < HI (and N >= 2), got {text!r}")
        if log and n > 1 and lo == 0:
            raise ValueError(f"{name} must have LO > 0 with logarithmic spacing, got {text!r} (@lin has equal steps)")
        return cls(lo, hi, n, log)

    def values(self) -> np.ndarray:
        """Return the values, ends exact."""
        import numpy as np

        values = np.geomspace(self.lo, self.hi, self.n) if self.log else np.linspace(self.lo, self.hi, self.n)
        if not (np.diff(values) > 0).all():
            raise ValueError(f"a grid must have values that differ, got {self.n} between {self.lo!r} and {self.hi!r}")
        return values
