"""What a shell offers for a value: names of data sets, spectra and methods, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from click.shell_completion import CompletionItem

Completion = Callable[[Any, Any, str], list[CompletionItem]]


def _data() -> Iterable[str]:
    from olsbn.problems.data import DATASETS

    return DATASETS


def _spectra() -> Iterable[str]:
    from olsbn.problems.spectra import SPECTRA

    return SPECTRA


def _methods() -> Iterable[str]:
    from olsbn.dynamics.registry import METHODS

    return METHODS


def _one_of(names: Callable[[], Iterable[str]]) -> Completion:
    return lambda ctx, param, begun: [CompletionItem(name) for name in names() if name.startswith(begun)]


def files(ctx: Any, param: Any, begun: str) -> list[CompletionItem]:
    """Leave it to the shell, which knows its files."""
    return [CompletionItem(begun, type="file")]


# Option or metavar -> what to offer for its value.
NAMES: dict[str, Completion] = {"data": _one_of(_data), "spectrum": _one_of(_spectra), "method": _one_of(_methods)}
FILES = ("FILE", "DIR", "RESULT", "STORE", "STORE.zarr", "RESOLVED", "CONFIG.toml")


def completion_of(param: Any) -> Completion | None:
    """Return what to offer for the value of an option or argument, if anything."""
    return NAMES.get(param.name) or (files if param.metavar in FILES else None)
