"""Progress of long work: a bar on a terminal, plain lines elsewhere, or the caller's own function."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

# None: show it on a terminal; a function is called with the work done and the whole of it.
Progress = bool | Callable[[float, float], None] | None


class meter:
    """Progress on standard error, in terms of work: what is left of it tells the time that is left.

    Things (cells, claims) are counted beside it, since their work differs. Nothing is shown unless `show`.
    """

    _INTERVAL = 10.0  # seconds between plain lines

    def __init__(self, total: int, show: Progress, unit: str = "cells", work: float | None = None) -> None:
        self._total, self._unit, self._work = total, unit, float(total if work is None else work)
        terminal = sys.stderr.isatty()
        self._call = show if callable(show) else None
        self._show = not callable(show) and (terminal if show is None else show)
        self._bar: Any = None
        if self._show and terminal:
            from tqdm import tqdm

            form = "{percentage:3.0f}%|{bar}| {desc}[{elapsed}<{remaining}]"
            self._bar = tqdm(total=self._work, bar_format=form, leave=False)
            self._bar.set_description_str(f"0 of {total} {unit}{_first_time()} ")

    def __enter__(self) -> Callable[..., None]:
        self._done, self._worked, self._began = 0, 0.0, time.monotonic()
        self._next = self._began + self._INTERVAL
        return self._advance

    def _advance(self, amount: int, work: float | None = None) -> None:
        self._done += amount
        self._worked += amount if work is None else work
        now = time.monotonic()
        if self._call is not None:
            self._call(self._worked, self._work)
        elif self._bar is not None:
            self._bar.set_description_str(f"{self._done} of {self._total} {self._unit} ", refresh=False)
            self._bar.update(min(self._worked, self._work) - self._bar.n)
        elif self._show and now >= self._next:
            self._next = now + self._INTERVAL
            left = (self._work - self._worked) * (now - self._began) / max(self._worked, 1e-300)
            print(
                f"{self._done} of {self._total} {self._unit}, {self._worked / self._work:.0%} of the work, "
                f"{left:.0f} s left",
                file=sys.stderr,
            )

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _first_time() -> str:
    """Say what the first seconds are for where nothing is compiled yet."""
    from olsbn.engine.compile import is_cached

    return "" if is_cached() else ", compiling the engine for this machine, once"
