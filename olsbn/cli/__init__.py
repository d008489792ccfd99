"""The command line, one file a command.

A command imports what it needs when it runs: `olsbn --help` must be instant.
"""

from importlib import import_module

from olsbn.cli.shell import main, start

__all__ = ["main", "start"]

for _name in ("map", "run", "spectrum", "sweep", "plan", "status", "plot", "export", "certify", "verify"):
    import_module(f"olsbn.cli.{_name}")
