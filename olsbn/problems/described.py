"""Problems from their descriptions on a command line or in a config, by the table in `olsbn.fields`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olsbn._validate import nearest
from olsbn.fields import FIELDS, KINDS, Field
from olsbn.problems import data, spectra
from olsbn.problems.family import ProblemFamily
from olsbn.problems.problem import OLSProblem
from olsbn.problems.tables import TableError


@dataclass(frozen=True)
class Dialect:
    """How a place where problems are described, a command line or a config, calls the fields.

    Attributes
    ----------
    name : callable
        Returns what a field is called.
    missing : callable
        Returns the message that a field is missing.
    one_of : callable
        Returns the message that exactly one of `KINDS` must be given, from those that were.
    remedy : callable
        Returns an argument of `OLSProblem.from_csv`, by its name and value, as it is typed.
    between : str
        What stands between two of these.
    """

    name: Callable[[str], str]
    missing: Callable[[Field], str]
    one_of: Callable[[list[str]], str]
    remedy: Callable[[str, Any], str]
    between: str


def make(values: Mapping[str, Any], dialect: Dialect, folder: Path | None = None) -> OLSProblem | ProblemFamily:
    """Make what is described; whatever is wrong is said in the names of the dialect.

    A path of a table is taken from `folder`.
    """
    given = [name for name in KINDS if name in values]
    if len(given) != 1:
        raise ValueError(dialect.one_of(given))
    kind, rest = given[0], dict(values)
    source = rest.pop(kind)
    for name in rest:
        if kind not in FIELDS[name].kinds:
            partners = " or ".join(map(dialect.name, FIELDS[name].kinds))
            raise ValueError(f"{dialect.name(name)} goes with {partners}, got it with {dialect.name(kind)}")
    if kind == "spectrum":
        nearest(dialect.name(kind), source, list(spectra.SPECTRA))
        if "cond" not in rest and "exponent" not in rest and source != "identity":
            raise ValueError(dialect.missing(FIELDS["cond"]))
        return ProblemFamily(source, **rest)
    if kind == "data":
        others = f"other data: {dialect.name('csv')}, {dialect.name('target')}"
        return OLSProblem.from_dataset(nearest(dialect.name(kind), source, list(data.DATASETS), others), **rest)
    if "target" not in rest:
        raise ValueError(dialect.missing(FIELDS["target"]))
    try:
        return OLSProblem.from_csv(source if folder is None else folder / source, **rest)
    except TableError as err:
        raise ValueError(err.spelled(dialect.remedy, dialect.between)) from None
