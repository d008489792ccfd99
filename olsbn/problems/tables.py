"""Tables as people have them: columns to numbers, and all that is wrong with one said at once, with what mends it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from olsbn.problems import textfile
from olsbn.problems.data import CLASSES, Table, inputs_of, is_constant

# A cell that says that there is no number, in lower case.
_GAPS = frozenset(
    text.lower()
    for text in (
        *(
            "",
            "NA",
            "NaN",
            "-NaN",
            "N/A",
            "#N/A",
            "#N/A N/A",
            "#NA",
            "<NA>",
            "null",
            "none",
            "nil",
            "?",
            "-",
            "--",
            ".",
        ),
        *("#NULL!", "#VALUE!", "#DIV/0!", "#REF!", "#NAME?", "#NUM!"),
    )
)
# Signs of a unit around the number of every cell of a column.
_UNITS = re.compile(r"([-+]?)\s*([$€£¥₹]?)\s*([-+]?[0-9.,' \u00a0\u202f]*[0-9.](?:[eE][-+]?\d+)?)\s*([%$€£¥₹]?)")
# Marks of the decimals and of thousands that people write, the likeliest first.
_MARKS = ((".", None), (".", ","), (",", None), (",", "."), (".", " "), (",", " "), (".", "'"))
# A column of text with so few values is worth indicator columns; so few stray words in a column of numbers are gaps.
_FEW_LEVELS, _FEW_WORDS = 10, 3
# How many names a message tells.
_NAMED = 6


class TableError(ValueError):
    """All that is wrong with a table, and the arguments that mend it.

    Attributes
    ----------
    remedies : dict
        Arguments of `OLSProblem.from_csv` by name, those given included: with them the table is read, unless
        `hopeless`.
    """

    def __init__(self, where: str, complaints: Sequence[str], remedies: dict[str, Any], hopeless: bool) -> None:
        self._where, self._complaints, self.remedies, self.hopeless = where, list(complaints), remedies, hopeless
        super().__init__(self.spelled(lambda name, value: f"{name}={value!r}", ", "))

    def spelled(self, spell: Callable[[str, Any], str], between: str) -> str:
        """Return the message with its remedies as `spell` writes an argument."""
        parts = [*self._complaints]
        if self.remedies:
            first = "mended in part by" if self.hopeless else "mended by"
            parts.append(f"{first} {between.join(spell(name, value) for name, value in self.remedies.items())}")
        return f"{self._where}: {'; '.join(parts)}"


class Column(NamedTuple):
    """A column: numbers with NaN for gaps, or text (None for gaps). `source` is the column that indicators are of."""

    name: Any
    values: Any
    is_text: bool = False
    source: Any = None


class _Wrong:
    """What has been found wrong, and what is assumed to mend it."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.remedies: dict[str, Any] = {}
        self.hopeless = False

    def add(self, complaint: str, hopeless: bool = False, **remedies: Any) -> None:
        self.complaints.append(complaint)
        self.remedies |= remedies
        self.hopeless |= hopeless


def csv_table(
    path: Path,
    target: str,
    columns: Sequence[str] | None,
    drop: Sequence[str] | None,
    how: textfile.Reading,
    dropna: bool,
    categories: str,
) -> Table:
    """Return inputs and target of a text file."""
    cells, wrong = textfile.read(path, how), _Wrong()
    if cells.comment:
        wrong.add(f"it begins with a comment ({cells.comment!r})", comment=cells.comment)
    if cells.headless:
        shown = ", ".join(column[0] for column in cells.columns[:3] if len(column))
        wrong.add(
            f"its first row holds numbers ({shown}), no names: without a header the columns are c1 to "
            f"c{len(cells.names)}",
            header=None,
        )
    if len(cells.lines) == 0:
        raise ValueError(f"{path} must have at least two data rows, got 0")
    twice = [name for name, n in Counter(cells.names).items() if n > 1]
    if target in twice or (columns and set(columns) & set(twice)):
        raise ValueError(f"{path} must give every column a name of its own, got {twice[0]!r} twice")
    where = {name: k for k, name in reversed(list(enumerate(cells.names)))}
    wanted = _wanted(cells.names, target, columns, drop, wrong, twice)
    raw = {name: cells.columns[where[name]] for name in wanted}
    na = list(how.na_values)
    plain = {name: _plain(column, how) for name, column in raw.items()}
    marks = _marks(raw, [name for name in raw if plain[name] is None], how, wrong)
    found, notes = [], list(cells.notes)
    for name, column in raw.items():
        if (values := plain[name]) is not None:
            found.append(Column(name, values))
            continue
        one, note, strays = _numbers(name, column, marks, set(na))
        if strays:
            wrong.add(
                f"{_which(name, target)} holds numbers and {' and '.join(map(repr, strays))} "
                f"(line {_line(column, cells.lines, strays[0])})",
                na_values=(na := [*na, *strays]),
            )
        notes += [note] if note else []
        found.append(one)
    return _checked(
        found, target, columns, drop, dropna, categories, str(path), _Place("line", cells.lines), wrong, notes
    )


def frame_table(
    frame: Any,
    target: Any,
    columns: Sequence[Any] | None,
    drop: Sequence[Any] | None,
    dropna: bool,
    categories: str,
) -> Table:
    """Return inputs and target of a table with named columns."""
    if not hasattr(frame, "columns") or not hasattr(frame, "__getitem__"):
        raise TypeError(f"df must be a table with named columns, got {type(frame).__name__}")
    names = list(frame.columns)
    twice = next((name for name, n in Counter(names).items() if n > 1), None)
    if twice is not None:
        raise ValueError(f"df must give every column a name of its own, got {twice!r} twice")
    wrong = _Wrong()
    found = [_of_frame(name, frame[name]) for name in _wanted(names, target, columns, drop, wrong, [])]
    place = _Place("row", np.arange(len(frame)))
    return _checked(found, target, columns, drop, dropna, categories, "df", place, wrong, [])


# ------------------------------------------------------------------ columns


def _wanted(names: list[Any], target: Any, columns: Any, drop: Any, wrong: _Wrong, twice: list[Any]) -> list[Any]:
    """Return the inputs and the target; a wrong name is a complaint."""
    try:
        wanted = [*inputs_of(names, target, columns, drop), target]
    except ValueError as err:
        wrong.add(str(err), hopeless=True)
        left_out = [target, *(drop or [])]
        wanted = [name for name in (columns or names) if name in names and name not in left_out]
        wanted += [target] if target in names else []
    doubled = [name for name in dict.fromkeys(wanted) if name in twice]
    if doubled:
        wrong.add(f"the name {doubled[0]!r} belongs to several columns")
        _without(doubled, columns, drop, wrong)
    return [name for name in dict.fromkeys(wanted) if name not in doubled]


def _without(names: list[Any], columns: Any, drop: Any, wrong: _Wrong) -> None:
    """Assume that columns are left out."""
    if columns is None:
        wrong.remedies["drop"] = list(dict.fromkeys([*wrong.remedies.get("drop", drop or []), *names]))
    else:
        wrong.remedies["columns"] = [n for n in wrong.remedies.get("columns", columns) if n not in names]


def _which(name: Any, target: Any) -> str:
    return f"the target {name!r}" if name == target else f"column {name!r}"


def _line(column: Any, lines: Any, cell: str) -> int:
    return int(lines[next(k for k, c in enumerate(column) if c.strip() == cell)])


def _plain(column: Any, how: textfile.Reading) -> Any:
    """Return a column of plain numbers as such, as most are; None for any other."""
    if how.na_values or (how.decimal, how.thousands) != (".", None):
        return None
    try:
        values = column.astype(np.float64)
    except ValueError:
        return None
    return values if np.isfinite(values).all() and not any("_" in cell for cell in column) else None


def _marks(raw: dict[Any, Any], odd: list[Any], how: textfile.Reading, wrong: _Wrong) -> tuple[str, str | None]:
    """Return decimal mark and separator of thousands: those given, or the likeliest that read all that looks so.

    `odd` are the columns that are not plain.
    """
    given = how.decimal, how.thousands
    gaps = _GAPS | {text.lower() for text in how.na_values}

    def numeric(column: Any) -> list[str]:
        # what is a number with some marks, in columns of nothing else
        cells = [cell for cell in map(_without_unit, map(str.strip, column)) if cell.lower() not in gaps]
        like = [cell for cell in cells if re.fullmatch(r"[-+]?[0-9.,' \u00a0\u202f]*[0-9.](?:[eE][-+]?\d+)?", cell)]
        return list(dict.fromkeys(like)) if 2 * len(like) > len(cells) else []

    unread = [cell for name in odd for cell in numeric(raw[name]) if not _reads(cell, *given)]
    if not unread:
        return given
    cells = [cell for column in raw.values() for cell in numeric(column)]
    best = next((m for m in _MARKS if all(_reads(cell, *m) for cell in cells)), None)
    if best is None:
        return given
    others = [m for m in _MARKS if m not in (best, given) and all(_reads(cell, *m) for cell in cells)]
    also = ""
    if others and _value(unread[0], *best) != _value(unread[0], *others[0]):
        also = f", taken as {_value(unread[0], *best):.10g}, not {_value(unread[0], *others[0]):.10g}"
    remedies: dict[str, Any] = {"decimal": best[0]} if best[0] != given[0] else {}
    remedies |= {"thousands": best[1]} if best[1] != given[1] else {}
    wrong.add(f"{len(unread)} values such as {unread[0]!r} have other marks{also}", **remedies)
    return best


def _reads(cell: str, decimal: str, thousands: str | None) -> bool:
    return _pattern(decimal, thousands).fullmatch(cell) is not None


@cache
def _pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    """Return the pattern of a number with these marks."""
    point = re.escape(decimal)
    whole = r"\d+" if thousands is None else rf"(?:\d+|\d{{1,3}}(?:{_class(thousands)}\d{{3}})+)"
    return re.compile(rf"[-+]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?")


def _class(thousands: str) -> str:
    return "[ \u00a0\u202f]" if thousands == " " else re.escape(thousands)


def _value(cell: str, decimal: str, thousands: str | None) -> float:
    if thousands is not None:
        cell = re.sub(_class(thousands), "", cell)
    return float(cell.replace(decimal, "."))


def _without_unit(cell: str) -> str:
    if textfile.is_number(cell):
        return cell
    found = _UNITS.fullmatch(cell)
    return found[1] + found[3] if found and (found[2] or found[4]) else cell


def _numbers(name: Any, column: Any, marks: tuple[str, str | None], na: set[str]) -> tuple[Column, str, list[str]]:
    """Return a column as numbers, or as text; a word on it; and the few words in it that are none."""
    cells = [cell.strip() for cell in column]
    kept = [cell for cell in cells if cell.lower() not in _GAPS and cell not in na]
    note = ""
    if kept and all(cell.lower() in ("true", "false") for cell in kept):
        cells = [{"true": "1", "false": "0"}.get(cell.lower(), cell) for cell in cells]
    if kept and any(sign in kept[0] for sign in "%$€£¥₹"):
        parts = [_UNITS.fullmatch(cell) for cell in kept]
        units = {(found[2], found[4]) if found else None for found in parts}
        if len(units) == 1 and (unit := units.pop()) is not None:
            note = f"{name!r} is read without its {''.join(unit)!r}"
            cells = [_without_unit(cell) for cell in cells]
    values, words = np.full(len(cells), np.nan), Counter[str]()
    for k, cell in enumerate(cells):
        if cell.lower() in _GAPS or cell in na:
            continue
        if _reads(cell, *marks):
            values[k] = _value(cell, *marks)
            if math.isfinite(values[k]):
                continue
        values[k] = np.nan
        words[cell] += 1
    n_words = words.total()
    if not words:
        return Column(name, values), note, []
    if len(words) <= _FEW_WORDS and n_words < len(kept) / 2:
        return Column(name, values), note, list(words)
    text = [None if cell.lower() in _GAPS or cell in na else cell for cell in cells]
    return Column(name, np.array(text, dtype=object), True), "", []


def _of_frame(name: Any, series: Any) -> Column:
    raw = np.asarray(series)
    if raw.dtype.kind in "fiub":
        return Column(name, raw.astype(np.float64))
    missing = np.asarray(series.isna() if hasattr(series, "isna") else [x is None for x in raw], dtype=bool)
    try:
        if raw.dtype.kind != "O" or any(isinstance(x, str) for x in raw):
            raise TypeError
        return Column(name, np.array([math.nan if gap else x for x, gap in zip(raw, missing, strict=True)], np.float64))
    except (TypeError, ValueError):
        text = [None if gap else str(x) for x, gap in zip(raw, missing, strict=True)]
        return Column(name, np.array(text, dtype=object), True)


# ------------------------------------------------------------------ the table


class _Place(NamedTuple):
    """How a row is told: by its line, or by its number."""

    word: str
    numbers: Any

    def of(self, row: int) -> str:
        return f"{self.word} {int(self.numbers[row])}"


def _checked(
    found: list[Column],
    target: Any,
    columns: Any,
    drop: Any,
    dropna: bool,
    categories: str,
    where: str,
    place: _Place,
    wrong: _Wrong,
    notes: list[str],
) -> Table:
    """Return the table, or say all that is wrong with it: each complaint is made as if those before were mended."""
    n = len(place.numbers)
    found = _indicators(found, target, columns, drop, categories, place, wrong, notes)
    gaps = {one.name: np.isnan(one.values) for one in found}
    mostly = [name for name, gap in gaps.items() if name != target and 2 * gap.sum() > n]
    if mostly and not (dropna and n - np.any([gaps[one.name] for one in found], axis=0).sum() >= 2):
        most = max(int(gaps[name].sum()) for name in mostly)
        wrong.add(f"{_listed(mostly)} without a number in up to {most} of {n} rows")
        _without(mostly, columns, drop, wrong)
        found = [one for one in found if one.name not in mostly]
    holed = [one.name for one in found if gaps[one.name].any()]
    lost = np.any([gaps[name] for name in holed], axis=0) if holed else np.zeros(n, bool)
    if holed and not dropna:
        first = place.of(int(np.flatnonzero(lost)[0]))
        wrong.add(
            f"{lost.sum()} of {n} rows {_have(lost)} gaps, in {_listed(holed, False)} (first: {first})", dropna=True
        )
    found = [one._replace(values=one.values[~lost]) for one in found]
    kept = n - int(lost.sum())
    infinite = [one.name for one in found if np.isinf(one.values).any()]
    if infinite:
        wrong.add(f"{_listed(infinite)} with infinite values", hopeless=target in infinite)
        _without([name for name in infinite if name != target], columns, drop, wrong)
        found = [one for one in found if one.name not in infinite]
    if kept < 2:
        wrong.add(f"at least two rows must be left, got {kept} of {n}", hopeless=True)
    elif found:
        found = _distinct(found, target, columns, drop, wrong)
    if wrong.complaints:
        if not any(one.name != target for one in found):
            wrong.hopeless = True
        raise TableError(where, wrong.complaints, wrong.remedies, wrong.hopeless)
    table = np.stack([one.values for one in found], axis=1) + 0.0  # -0.0 becomes 0.0: they are one number
    return Table(
        table[:, :-1], table[:, -1], tuple(str(one.name) for one in found[:-1]), str(target), n - kept, tuple(notes)
    )


def _indicators(
    found: list[Column],
    target: Any,
    columns: Any,
    drop: Any,
    categories: str,
    place: _Place,
    wrong: _Wrong,
    notes: list[str],
) -> list[Column]:
    """Replace columns of text by indicators of their values but the first, or complain."""
    text = [one for one in found if one.is_text]
    if not text:
        return found
    levels = {one.name: sorted({cell for cell in one.values if cell is not None}) for one in text}
    if target in levels:
        wrong.add(f"the target {target!r} holds text ({_first_text(text, target, place)}){CLASSES}", hopeless=True)
    inputs = [one.name for one in text if one.name != target]
    few = [name for name in inputs if 2 <= len(levels[name]) <= min(_FEW_LEVELS, len(place.numbers) // 2)]
    if categories != "onehot":
        many = [name for name in inputs if name not in few]
        if inputs:
            told = ", ".join(f"{name!r} ({_first_text(text, name, place)})" for name in inputs[:_NAMED])
            rest = f" and {len(inputs) - _NAMED} more" if len(inputs) > _NAMED else ""
            wrong.add(f"text in {'column' if len(inputs) == 1 else 'columns'} {told}{rest}")
        if few:
            wrong.remedies["categories"] = "onehot"
        if many:
            _without(many, columns, drop, wrong)
    else:
        few = [name for name in inputs if len(levels[name]) >= 2]
        single = [name for name in inputs if name not in few]
        if single:
            wrong.add(f"{_listed(single)} with one text in every row")
            _without(single, columns, drop, wrong)
    made = []
    for one in found:
        if not one.is_text:
            made.append(one)
        elif one.name in few:
            first, *others = levels[one.name]
            gap = np.array([cell is None for cell in one.values])
            for level in others:
                made.append(Column(f"{one.name}={level}", np.where(gap, np.nan, one.values == level), False, one.name))
            notes.append(f"{one.name!r} is {len(others)} indicator{'s' * (len(others) > 1)}, 0 for {first!r}")
    return made


def _first_text(text: list[Column], name: Any, place: _Place) -> str:
    values = next(one.values for one in text if one.name == name)
    rows = [k for k, cell in enumerate(values) if cell is not None]
    row = next((k for k in rows if not textfile.is_number(values[k])), rows[0] if rows else 0)
    shown = repr(values[row])
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} in {place.of(row)}"


def _distinct(found: list[Column], target: Any, columns: Any, drop: Any, wrong: _Wrong) -> list[Column]:
    """Complain of constant and duplicate columns, and leave them out."""
    constant = [one for one in found if is_constant(one.values)]
    if constant:
        told = ", ".join(f"{one.name!r} = {float(one.values[0])!r}" for one in constant[:_NAMED])
        rest = f" and {len(constant) - _NAMED} more" if len(constant) > _NAMED else ""
        wrong.add(f"constant: {told}{rest} in every row", hopeless=any(one.name == target for one in constant))
    seen: dict[bytes, Any] = {}
    twins = []
    for one in found:
        if one.name not in [c.name for c in constant]:
            first = seen.setdefault((one.values + 0.0).tobytes(), one.name)
            if first != one.name:
                # the target comes last: an input that equals it is what goes
                twins.append((first, one.name) if one.name == target else (one.name, first))
    if twins:
        told = ", ".join(f"{name!r} equal to {other!r}" for name, other in twins[:_NAMED])
        wrong.add(f"duplicate: {told}{f' and {len(twins) - _NAMED} more' if len(twins) > _NAMED else ''}")
    gone = [name for name in [*(one.name for one in constant), *(name for name, _ in twins)] if name != target]
    if gone:
        _without([one.source or one.name for one in found if one.name in gone], columns, drop, wrong)
    return [one for one in found if one.name not in gone]


def _have(rows: Any) -> str:
    return "has" if rows.sum() == 1 else "have"


def _listed(names: list[Any], word: bool = True) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (f"column{'s' * (len(names) > 1)} " if word else "") + ", ".join(map(repr, names[:_NAMED])) + rest
