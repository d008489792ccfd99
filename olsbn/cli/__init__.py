"""The command line, one file a command.

A command imports what it needs when it runs: `olsbn --help` must be instant.
"""

from importlib import import_module

from olsbn.cli.shell import main, start

__all__ = ["main", "start"]

_COMMANDS = (
    "recommend", "map", "explore", "zoom", "run", "spectrum", "sweep", "plan", "status", "pack", "plot", "robustness",
    "compare", "export", "certify", "resolve", "verify", "doctor",
)  # fmt: skip

for _name in _COMMANDS:
    import_module(f"olsbn.cli.{_name}")
