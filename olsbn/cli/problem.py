"""The options that name a problem, and the problem they name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from olsbn.problems import OLSProblem

# Bytes needed, with some room, for a mode of a problem.
_BYTES_A_MODE = 600


def problem_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a problem."""
    options = [
        click.option("--data", metavar="NAME", help="A data set: diabetes, wine, breast_cancer, digits, mnist_5k."),
        click.option("--csv", metavar="FILE", help="A CSV table with a header row."),
        click.option("--target", metavar="COL", help="The target's column in the CSV table."),
        click.option("--columns", metavar="A,B,...", help="Inputs of the CSV table (default: all but the target)."),
        click.option("--drop", metavar="A,B,...", help="Columns of the CSV table that are left out, such as text."),
        click.option("--sep", metavar="CHAR", help="What separates its values (default: a comma)."),
        click.option("--dropna", is_flag=True, help="Leave out rows of the CSV table with missing values."),
        click.option("--decimal", metavar="CHAR", help="Its decimal mark (default: a point)."),
        click.option("--spectrum", metavar="KIND", help="Random problem: logspace, linspace, powerlaw, ..."),
        click.option("--dim", type=int, metavar="D", help="Number of inputs of the random problem."),
        click.option("--cond", type=float, metavar="K", help="Condition number of the random problem."),
        click.option("--seed", type=int, metavar="S", help="Seed of the random problem (default 0)."),
        click.option("--density", is_flag=True, help="Its limit of high dimension: --dim may have any size."),
        click.option("--standardize", is_flag=True, help="Divide each input by its standard deviation."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def problem_named(named: dict[str, Any]) -> bool:
    """Whether any of the options that name a problem was given."""
    return any(value is not None and value is not False and value != () for value in named.values())


def make_problem(
    data: str | None,
    csv: str | None,
    target: str | None,
    columns: str | None,
    drop: str | None,
    sep: str | None,
    dropna: bool,
    decimal: str | None,
    spectrum: str | None,
    dim: int | None,
    cond: float | None,
    seed: int | None,
    density: bool,
    standardize: bool,
) -> OLSProblem:
    """Make the problem that the options name."""
    given = [f"--{name}" for name, value in (("data", data), ("csv", csv), ("spectrum", spectrum)) if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise ValueError(
            "a problem must be given by exactly one of --data NAME, --csv FILE --target COL, "
            f"--spectrum KIND --dim D --cond K; got {got} (try: olsbn map --data diabetes)"
        )
    needs = {
        "--target": (target, "--csv"),
        "--columns": (columns, "--csv"),
        "--drop": (drop, "--csv"),
        "--sep": (sep, "--csv"),
        "--dropna": (dropna or None, "--csv"),
        "--decimal": (decimal, "--csv"),
        "--dim": (dim, "--spectrum"),
        "--cond": (cond, "--spectrum"),
        "--seed": (seed, "--spectrum"),
        "--density": (density or None, "--spectrum"),
    }
    for name, (value, partner) in needs.items():
        if value is not None and partner != given[0]:
            raise ValueError(f"{name} goes with {partner}, got it with {given[0]}")
    if standardize and spectrum is not None:
        raise ValueError("--standardize goes with --data or --csv, got it with --spectrum")
    if csv is not None and target is None:
        raise ValueError("--csv needs --target COL, the name of the target's column")
    if spectrum is not None and dim is None:
        raise ValueError("--spectrum needs --dim D, the number of inputs")
    from olsbn import problems
    from olsbn._validate import check_memory, nearest
    from olsbn.problems.data import DATASETS
    from olsbn.problems.spectra import SPECTRA

    if dim is not None and not density:
        check_memory("--dim", dim, _BYTES_A_MODE)

    if spectrum is None:
        if data is not None:
            name = nearest("data set", data, list(DATASETS), "other data: --csv FILE --target COL")
            return problems.OLSProblem.from_dataset(name, standardize)
        how: dict[str, Any] = {
            "columns": _names(columns),
            "drop": _names(drop),
            "sep": _separator(sep),
            "dropna": dropna,
            "decimal": "." if decimal is None else decimal,
        }
        try:
            return problems.OLSProblem.from_csv(csv or "", target or "", standardize, **how)
        except ValueError as err:
            raise ValueError(_as_options(str(err))) from err
    kind = nearest("spectrum", spectrum, list(SPECTRA))
    if cond is None and kind != "identity" and dim != 1:
        raise ValueError("--spectrum needs --cond K, the condition number")
    return problems.ProblemFamily(kind, 1.0 if cond is None else cond, seed or 0, density=density)(dim or 0)


def _as_options(text: str) -> str:
    """Return a message whose remedies are arguments of Python as one of options."""
    text = re.sub(r"drop=\['(.*?)'\]", r"--drop '\1'", text).replace("dropna=True", "--dropna")
    return re.sub(r"\b(sep|decimal)='(.*?)'", r"--\1 '\2'", text)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _separator(text: str | None) -> str:
    return "," if text is None else {"\\t": "\t", "tab": "\t"}.get(text, text)
