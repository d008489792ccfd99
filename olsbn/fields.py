"""What a problem is described by: one table, from which Python's checks, the command line and TOML follow.

It needs no NumPy: the command line makes its options from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or isinstance(value, float)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _character(value: Any) -> bool:
    return _text(value) and len(value) == 1 and value not in '\r\n"'


def _vector(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and all(map(_number, value)))


@dataclass(frozen=True)
class Field:
    """A field of a problem's description.

    Attributes
    ----------
    fits, allowed : callable, str
        A test of its value, and what is allowed in words.
    meaning : str
        The help of its option.
    kinds : tuple of str
        The fields that it goes with: "spectrum", "data", "csv".
    metavar : str
        What stands for its value on the command line; "" for a flag, None where it has no option.
    option : str
        Its option, if that is not its name.
    kind : type
        What a typed value is: str, int, float, or list for several texts.
    """

    name: str
    fits: Callable[[Any], bool]
    allowed: str
    meaning: str
    kinds: tuple[str, ...] = ()
    metavar: str | None = None
    option: str = ""
    kind: type = str

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return self.option.split("/")[0] or f"--{self.name.replace('_', '-')}"


_CSV, _TABLE, _RANDOM = ("csv",), ("data", "csv"), ("spectrum",)
_START = "a list of numbers, or one of "

FIELDS = {
    field.name: field
    for field in (
        Field(
            "data",
            _text,
            "the name of a data set",
            "A data set: diabetes, wine, breast_cancer, digits, mnist_5k.",
            metavar="NAME",
        ),
        Field(
            "csv",
            _text,
            "the path of a table, from the config file's own directory",
            "A table in a text file, compressed or not.",
            metavar="FILE",
        ),
        Field("target", _text, "the name of the target's column", "The target's column in the table.", _CSV, "COL"),
        Field(
            "columns", _texts, "a list of the columns that are inputs",
            "An input; may be given several times (default: all columns but the target).", _TABLE, "COL", kind=list,
        ),
        Field(
            "drop", _texts, "a list of the columns that are left out",
            "A column that is left out; may be given several times.", _TABLE, "COL", kind=list,
        ),
        Field(
            "sep", _character, "the character between the values (' ' for runs of spaces)",
            "What separates the values: a character, tab or space (default: recognised).", _CSV, "CHAR",
        ),
        Field("decimal", lambda v: v in (".", ","), "'.' or ','", "The decimal mark (default: a point).", _CSV, "CHAR"),
        Field(
            "thousands", lambda v: v in (",", ".", " ", "'"), "one of ',', '.', ' ', \"'\"",
            "What separates thousands (default: nothing).", _CSV, "CHAR",
        ),
        Field(
            "header", _flag, "true or false",
            "Whether the first row has names (default: yes, numbers refused); without, columns are c1, c2, ...",
            _CSV, "", "--header/--no-header",
        ),
        Field("encoding", _text, "the name of an encoding", "The text's encoding (default: recognised).", _CSV, "NAME"),
        Field(
            "na_values", _texts, "a list of texts that stand for a missing value",
            "A text that stands for a missing value, beside NA, -, ? and the like; may be given several times.",
            _CSV, "TEXT", "--na", list,
        ),
        Field("dropna", _flag, "true or false", "Leave out rows with missing values.", _CSV, ""),
        Field("comment", _text, "the mark of lines that are skipped", "Skip lines that begin with this.", _CSV, "MARK"),
        Field(
            "categories", lambda v: v in ("refuse", "onehot"), "'refuse' or 'onehot'",
            "onehot: make indicator columns of text (default: refuse).", _CSV, "HOW",
        ),
        Field(
            "spectrum", _text, "the name of a spectrum", "Random problem: logspace, linspace, powerlaw, ...",
            metavar="KIND",
        ),
        Field("cond", _number, "a number >= 1", "Condition number of the random problem.", _RANDOM, "K", kind=float),
        Field(
            "exponent", _number, "a number >= 0", "Exponent of the power law, in place of --cond.", _RANDOM, "A",
            kind=float,
        ),
        Field("seed", _whole, "a whole number >= 0", "Seed of the random problem (default 0).", _RANDOM, "S", kind=int),
        Field("u", _vector, _START + "'sphere', 'ones'", "", _RANDOM),
        Field("w0", _vector, _START + "'sphere', 'gradient'", "", _RANDOM),
        Field("density", _flag, "true or false", "Its limit of high dimension: --dim may have any size.", _RANDOM, ""),
        Field("overlap", _number, "a number in [-1, 1]", "", _RANDOM),
        Field("modes", _whole, "a whole number >= 2", "", _RANDOM),
        Field(
            "standardize", lambda v: _flag(v) or v == "inputs", "true, false or 'inputs'",
            "Divide inputs and target by their standard deviations.", _TABLE, "",
        ),
    )
}  # fmt: skip
KINDS = ("spectrum", "data", "csv")


def checked(name: str, value: Any) -> Any:
    """Return the value of a field if it is allowed."""
    field = FIELDS[name]
    if not field.fits(value):
        from olsbn._validate import shortened

        raise (ValueError if isinstance(value, str) else TypeError)(
            f"{name} must be {field.allowed}, got {shortened(value)}"
        )
    return value
