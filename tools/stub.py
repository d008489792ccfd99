"""Write olsbn/__init__.pyi, what editors and type checkers read, from the package itself: ``python tools/stub.py``.

The public names load on first use, so an editor cannot see them in the source. And `sweep`, `run`, `recommend` and
`measured_window` take the parameters of methods as ``**keywords``, so a misspelt one would pass. The stub spells both
out. A test holds it equal to the package.
"""

import inspect
import sys
import textwrap
from pathlib import Path

import olsbn

STUB = Path(olsbn.__file__).with_suffix(".pyi")
# Functions that take parameters of methods: whether a parameter may be a vector, and what is not one of them there.
TAKES = {
    "sweep": (True, ("batches",)),
    "run": (False, ()),
    "recommend": (False, ("eps", "batches", "eps_factors")),
    "measured_window": (False, ("eps", "batches")),
}
HEADER = '''\
"""{doc}"""

# Made by tools/stub.py; a test holds it equal to the package.

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as _np
import xarray as _xr
from numpy.typing import NDArray as _NDArray

from olsbn import plotting as plotting
{imports}

__version__: str
__all__ = {names}

class _Array(Protocol):
    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...

_Values = float | Sequence[float] | _NDArray[Any] | _Array
_Progress = bool | Callable[[float, float], None] | None
_Schedule = Sequence[float] | _NDArray[_np.floating[Any]] | _Array
'''


def own_settings():
    """Return the parameters and options of the package's own methods, and which methods have each."""
    from olsbn.dynamics.registry import _OWN, METHODS

    found = {}
    for name in _OWN:
        for key, item in METHODS[name].settings.items():
            found.setdefault(key, (item, []))[1].append(name)
    return found


def type_of(item, vectors):
    """Return the type of a parameter or option."""
    if hasattr(item, "spacing"):
        return "_Values" if vectors else "float"
    if item.choices:
        return f"Literal[{', '.join(map(repr, item.choices))}]"
    return {"count": "int", "share": "float", "steps": "_Schedule | None"}[item.kind]


def default_of(item):
    """Return the default of a parameter or option; some methods need what has none."""
    if item.default is None:
        return "None" if not hasattr(item, "spacing") else "..."
    whole = getattr(item, "kind", "") == "count" and not getattr(item, "choices", ())
    return repr(int(item.default) if whole else item.default)


def keywords(name):
    """Return the typed keyword arguments of a function that takes parameters of methods, and their lines of docs."""
    vectors, without = TAKES[name]
    lines, docs = [], ["", "Other Parameters", "----------------"]
    for key, (item, having) in own_settings().items():
        if key in without:
            continue
        lines.append(f"{key}: {type_of(item, vectors)} = {default_of(item)}")
        text = f"{item.meaning[:1].upper()}{item.meaning[1:]} (methods: {', '.join(having)})."
        docs += [key, textwrap.fill(text, 112, initial_indent="    ", subsequent_indent="    ")]
    if "batches" not in without:
        lines.append("batches: _NDArray[_np.integer[Any]] | Sequence[Sequence[int]] | None = None")
    return lines, docs


def spelled_out(name):
    """Return the definition of a function that takes parameters of methods."""
    function = getattr(olsbn, name)
    signature = inspect.signature(function)
    lines = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in lines:
            lines.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        lines.append(f"{parameter.name}: {annotation(parameter)}{default}")
    typed, docs = keywords(name)
    body = textwrap.indent("\n".join(f"{line}," for line in [*lines, *typed]), "    ")
    text = "\n".join([inspect.getdoc(function), *docs])
    doc = textwrap.indent(f'r"""{text}\n"""', "    ", lambda line: bool(line.strip()))
    returns = signature.return_annotation.replace("xr.", "_xr.")
    return f"def {name}(\n{body}\n) -> {returns}:\n{doc}\n"


def annotation(parameter):
    """Return the type of a parameter, with names of the stub."""
    return "_Progress" if parameter.annotation == "Progress" else parameter.annotation


def text():
    """Return the stub."""
    plain = {name: module for name, module in olsbn._PUBLIC.items() if name not in TAKES}
    imports = "\n".join(
        [
            *(f"from olsbn.{module} import {name} as {name}" for name, module in sorted(plain.items())),
            "from olsbn.search.measured import MeasuredWindow",
        ]
    )
    header = HEADER.format(doc=olsbn.__doc__.strip() + "\n", imports=imports, names=olsbn.__all__)
    return header + "\n" + "\n".join(map(spelled_out, TAKES))


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(STUB.read_text(encoding="utf-8") != text() and "olsbn/__init__.pyi is old: python tools/stub.py")
    STUB.write_text(text(), encoding="utf-8")
