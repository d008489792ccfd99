"""The methods there are: the package's own, and those that other packages offer in the entry-point group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from olsbn._validate import shortened
from olsbn.dynamics.base import Method
from olsbn.problems.sample import html_table

# The modules of the package's own methods, each with its `METHOD`; their order is the order of every list of methods.
_OWN = ("bngd", "gd", "gdnp", "wngd", "sphere", "wngrad", "minibatch")
# The method that is meant where none is named, and the one that others are held against.
DEFAULT, BASELINE = "bngd", "gd"
# Another package offers a method by an entry point ``name = "module:METHOD"`` in this group.
GROUP = "olsbn.methods"


# Where somebody asks for another one.
OTHERS = "adaptive methods and plain SGD are not computed; how to add a method: docs/adding-a-method.md"


class _Methods(Mapping[str, Method]):
    """All methods by name."""

    def __getitem__(self, name: str) -> Method:
        return _all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_all())

    def __len__(self) -> int:
        return len(_all())


METHODS: Mapping[str, Method] = _Methods()


@cache
def _all() -> dict[str, Method]:
    from importlib.metadata import entry_points

    found = {name: import_module(f"olsbn.dynamics.{name}").METHOD for name in _OWN}
    for entry in entry_points(group=GROUP):
        method = entry.load()
        if not isinstance(method, Method):
            raise TypeError(
                f"the entry point {entry.name} = {entry.value} in {GROUP} must be a Method, got {type(method).__name__}"
            )
        if method.name in found:
            raise ValueError(f"the method {method.name!r} of the entry point {entry.value} is there already")
        found[method.name] = method
    return found


class _Shown(dict[str, Method]):
    """Methods by name, shown as a table."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.values()))

    def _repr_html_(self) -> str:
        return html_table("methods", [(method.name, method.in_words()) for method in self.values()])


def methods() -> dict[str, Method]:
    """Return every method by name: the package's own, and those of installed packages (entry points "olsbn.methods").

    Returns
    -------
    dict of str to Method
        ``Method.params`` has the parameters with symbol, meaning, default and range, ``Method.step`` the update.

    Examples
    --------
    >>> import olsbn
    >>> [param.name for param in olsbn.methods()["bngd"].params][:2]
    ['eps', 'eps_a']
    """
    return _Shown(METHODS)


def method_named(name: Any) -> Method:
    """Return a method by its name."""
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {shortened(name)} ({OTHERS})")
    return METHODS[name]


def all_params(params: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a function was given, in a mapping and as keywords, each in one place only."""
    if params is None:
        return dict(keywords)
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a mapping from names to values, got {shortened(params)}")
    for name in params:
        if not isinstance(name, str):
            raise TypeError(f"params must be a mapping from names to values, got the name {shortened(name)}")
        if name in keywords:
            raise TypeError(f"{name} must be given once, got it in params and as a keyword")
    return {**params, **keywords}


def neutral_elsewhere(name: str, value: Any) -> bool:
    """Whether `value` is the neutral value of another method's parameter: it changes nothing there, nor here."""
    defaults = {p.default for method in METHODS.values() for p in method.params if p.name == name}
    return any(default is not None and np.ndim(value) == 0 and value == default for default in defaults)
