"""Word of a first compilation: a minute in which nothing else is said."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

_log = logging.getLogger(__name__)


@cache
def listen() -> None:
    """Log when Numba compiles something that no earlier process has compiled on this machine, once in a process."""
    from numba.core import event

    class Once(event.Listener):
        said = False

        def on_start(self, event: Any) -> None:
            if not self.said:
                self.said = True
                _log.info("compiling for this machine, once: this takes about a minute")

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Once())
