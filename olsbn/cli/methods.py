"""Options that are made from the methods: one for each parameter that any of them has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from olsbn.dynamics.base import Method, Option, Param


_BYTES_A_VALUE = 200

# What names the problem, or the sweep, keeps its name: a method's own setting of it gets the prefix method-.
_TAKEN = ("seed", "steps", "tol", "dim", "trial", "data", "target", "method", "out")


class MethodCommand(click.Command):
    """A command with an option for every parameter and option of the methods, made when the command runs."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own options and those of the methods."""
        found = super().get_params(ctx)
        own = {param.name for param in found}
        *rest, last = found  # --help stays last
        return [*rest, *(option for option in _options() if option.name not in own), last]


def _options() -> list[click.Option]:
    from olsbn.dynamics.registry import METHODS

    texts: dict[str, tuple[Any, list[str]]] = {}
    for method in METHODS.values():
        for name, item in method.settings.items():
            if getattr(item, "kind", "") != "steps":  # one number a step is not typed
                texts.setdefault(name, (item, []))[1].append(method.name)
    options = []
    for name, (item, names) in texts.items():
        default = "" if item.default is None else f"; default {item.default:g}" if _is_number(item) else ""
        text = f"{item.meaning[:1].upper()}{item.meaning[1:]} ({', '.join(names)}{default})."
        options.append(click.Option([_flag(name), _keyword(name)], metavar=_metavar(item), help=text))
    return options


def _keyword(name: str) -> str:
    return f"method_{name}" if name in _TAKEN else name


def _flag(name: str) -> str:
    return f"--{_keyword(name).replace('_', '-')}"


def _is_number(item: Any) -> bool:
    return isinstance(item.default, int | float) and not isinstance(item.default, bool)


def _metavar(item: Any) -> str:
    return "X" if hasattr(item, "spacing") else "NAME" if item.choices else "N"


def split(named: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Take the values of parameters and options, as typed, out of all that was given; return them and the rest."""
    from olsbn.dynamics.registry import METHODS

    known = {_keyword(name): name for method in METHODS.values() for name in method.settings}
    given = {known[key]: value for key, value in named.items() if key in known and value is not None}
    return given, {key: value for key, value in named.items() if key not in known}


def parse(method: Method, given: dict[str, str], *, grids: bool) -> dict[str, Any]:
    """Return the values of a method's parameters and options; grids LO:HI:N only where they are allowed."""
    from olsbn._validate import check_memory
    from olsbn.dynamics.registry import METHODS
    from olsbn.sweeps.grid import Grid

    found: dict[str, Any] = {}
    params: dict[str, Param] = {param.name: param for param in method.params}
    options = {option.name: option for option in method.options}
    for name, text in given.items():
        flag = _flag(name)
        if name in options:
            found[name] = _option(options[name], flag, text)
        elif name in params:
            grid = Grid.parse(flag, text, log=params[name].spacing == "log")
            if ":" in text and not grids:
                raise ValueError(f"{flag} must be one number here, got the grid {text!r} (see: olsbn map, olsbn sweep)")
            check_memory(f"the number of values of {flag}", grid.n, _BYTES_A_VALUE)
            found[name] = grid.values() if ":" in text else grid.lo
        else:
            having = [other.name for other in METHODS.values() if name in {p.name for p in other.params}]
            raise ValueError(f"{flag} goes with {' or '.join(having)}, got it with --method {method.name}")
    return found


def _option(option: Option, flag: str, text: str) -> Any:
    if option.choices:
        return text
    if option.kind == "count":
        if not text.isdigit():
            raise ValueError(f"{flag} must be a whole number >= 0, got {text!r}")
        return int(text)
    try:
        return option.checked(float(text))
    except ValueError:
        raise ValueError(f"{flag} must be a number in [0, 1], got {text!r}") from None
