"""Text files of numbers, cut into named columns of cells that are still text; pandas does the cutting."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", " ": "spaces"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Lines that a separator is recognised by.
_LOOKED_AT = 50


class Reading(NamedTuple):
    """How a text file is to be read; the fields are arguments of `OLSProblem.from_csv`."""

    sep: str | None = None
    decimal: str = "."
    thousands: str | None = None
    header: Any = "infer"
    encoding: str | None = None
    na_values: tuple[str, ...] = ()
    comment: str | None = None


class Cells(NamedTuple):
    """A table of text: names, a column of cells for each, the line of the file that each row begins in, remarks."""

    names: list[str]
    columns: list[Any]
    lines: Any
    notes: list[str]
    headless: bool  # names were expected in the first row, which holds numbers
    comment: str | None  # a mark of lines that had to be skipped, though none was given


def read(path: Path, how: Reading) -> Cells:
    """Cut a file into named columns, rows of other lengths refused; comments and blank lines are skipped."""
    text, notes = _decoded(path, how.encoding)
    if "\x00" in text:
        raise ValueError(f"{path} must be a text table, got a file with NUL bytes (of a spreadsheet: save it as CSV)")
    lines = text.split("\n")
    comment = _comment(lines) if how.comment is None else None
    mark = comment or how.comment
    if mark:
        lines = ["" if line.lstrip().startswith(mark) else line for line in lines]
    first = next((k for k, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise ValueError(f"{path} must hold a table, got an empty file")
    sep = how.sep
    said = re.fullmatch(r'"?sep=(.)"?\s*', lines[first], re.DOTALL)
    if said:  # Excel's own line
        sep, lines[first] = sep or said[1], ""
        first = next((k for k, line in enumerate(lines) if line.strip()), first)
    shown = [line for line in lines[first : first + 4 * _LOOKED_AT] if line.strip()][:_LOOKED_AT]
    sep = _separator(shown) if sep is None else sep
    widths = [len(_fields(line, sep)) for line in shown[:2]]
    cells, at = _cut(path, "\n".join(lines), sep, max(widths))
    return _named(cells, at, how, notes, widths[0] == max(widths) - 1, comment)


def _comment(lines: list[str]) -> str | None:
    """Return the mark of comments if the first line looks like one: it is not cut as those after it are."""
    filled = [line for line in lines[: 4 * _LOOKED_AT] if line.strip()]
    mark = next((mark for mark in ("#", "%") if filled and filled[0].lstrip().startswith(mark)), None)
    rest = [line for line in filled if mark and not line.lstrip().startswith(mark)][:_LOOKED_AT]
    if not rest:
        return None
    sep = _separator(rest)
    return mark if len(_fields(filled[0], sep)) != len(_fields(rest[0], sep)) else None


def _decoded(path: Path, encoding: str | None) -> tuple[str, list[str]]:
    """Return the text of a file, compressed or not, and what was assumed of its encoding."""
    raw = _bytes(path)
    if encoding is None:
        encoding = next((name for mark, name in _BOMS if raw.startswith(mark)), None)
    notes = []
    try:
        if encoding is None:
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                text = raw.decode("cp1252")
                notes = ["not UTF-8, read as cp1252 (unless encoding says otherwise)"]
        else:
            text = raw.decode(encoding)
    except LookupError:
        raise ValueError(f"encoding must be the name of a text encoding, such as latin-1, got {encoding!r}") from None
    except UnicodeError as err:
        raise ValueError(f"{path} must be text in {encoding or 'UTF-8'}, got other bytes ({err})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff"), notes


def _bytes(path: Path) -> bytes:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
                if len(names) != 1:
                    raise ValueError(f"{path} must hold one file, got {len(names)}: {', '.join(names[:5])}")
                return archive.read(names[0])
        opened: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix, open)
        with opened(path, "rb") as file:
            return file.read()
    except OSError as err:
        raise ValueError(f"cannot read {path}: {err.strerror or err}") from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as err:
        raise ValueError(f"cannot read {path}: not a whole {path.suffix} file ({err})") from None


def _fields(line: str, sep: str) -> list[str]:
    """Return the values of a line; runs of spaces count as one."""
    if sep == " ":
        line = " ".join(line.split())
    return next(csv.reader([line], delimiter=sep, skipinitialspace=True), [])


def _separator(lines: list[str]) -> str:
    """Return the separator that cuts all lines alike; a header may lack the name of an index."""
    best, fallback = "", ","
    for sep in SEPARATORS:
        try:
            counts = [len(_fields(line, sep)) for line in lines]
        except csv.Error:
            continue
        rest = set(counts[1:]) or {counts[0]}
        if (
            len(rest) == 1
            and max(counts) > 1
            and counts[0] in (max(counts), max(counts) - 1)
            and counts[0] <= max(rest)
        ):
            best = best or sep
        elif counts[0] > 1 and fallback == ",":
            fallback = sep
    return best or fallback


def _cut(path: Path, text: str, sep: str, width: int) -> tuple[Any, Any]:
    """Return the cells of a text as an array of strings without blank rows, and the lines that the rows begin in."""
    import pandas as pd

    how: dict[str, Any] = {"header": None, "names": range(width), "dtype": object, "na_filter": False}
    how |= {"skip_blank_lines": False, "skipinitialspace": True, "sep": r"\s+" if sep == " " else sep}
    if sep == " ":  # a mark at the start of a line would be an empty cell
        text = "\n".join(line.strip() for line in text.split("\n"))
    try:
        cells = pd.read_csv(io.StringIO(text), **how).to_numpy()
    except (pd.errors.ParserError, csv.Error) as err:
        odd = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(err))
        if odd:
            raise _ragged(path, int(odd[1]), int(odd[3]), int(odd[2])) from None
        raise ValueError(f"{path} must be a table of text, got: {' '.join(str(err).split())}") from None
    within = np.array([sum(cell.count("\n") for cell in row) for row in cells]) if '"' in text else np.zeros(len(cells))
    lines = 1 + np.arange(len(cells)) + np.concatenate([[0], np.cumsum(within)[:-1]]).astype(int)
    filled = (cells != "").any(axis=1)
    suspect = filled & (cells[:, -1] == "")
    suspect[np.flatnonzero(filled)[0]] = False  # a header may lack the name of an index
    if suspect.any() and sep != " ":
        # pandas' fast reader fills a row that is too short with empty cells; the other one tells
        exact: Any = pd.read_csv(io.StringIO(text), engine="python", **how).to_numpy()
        suspect &= (exact == None).any(axis=1)  # noqa: E711
    if suspect.any():
        line = int(lines[suspect][0])
        raise _ragged(path, width, len(_fields(text.split("\n")[line - 1], sep)), line)
    return cells[filled], lines[filled]


def _ragged(path: Path, want: int, got: int, line: int) -> ValueError:
    return ValueError(f"{path} must have {want} values in every row, got {got} in line {line}")


def _named(cells: Any, lines: Any, how: Reading, notes: list[str], short_header: bool, comment: str | None) -> Cells:
    """Tell names from numbers, and leave out columns that are none of the table."""
    head = [cell.strip() for cell in cells[0]]
    named = [cell for cell in head if cell]
    headless = how.header == "infer" and 2 * sum(is_number(cell) for cell in named) >= len(named)
    without = headless or how.header is None or how.header is False
    body, at = (cells, lines) if without else (cells[1:], lines[1:])
    empty = (body == "").all(axis=0) if len(body) else np.zeros(len(head), bool)
    if without:
        head = [f"c{j + 1}" for j in range(len(head))]
    elif short_header and not empty[-1]:  # as R writes tables: no name over the names of rows
        head = ["", *head[:-1]]
    kept = []
    for j, name in enumerate(head):
        if empty[j] and (without or not name):
            notes.append(f"column {j + 1} is empty, left out")
            continue
        if not without and (not name or re.fullmatch(r"Unnamed: \d+", name)):
            if j == 0 and len(set(body[:, 0])) == len(body):
                notes.append("column 1 has no name, left out as an index")
                continue
            head[j] = f"c{j + 1}"
            notes.append(f"column {j + 1} has no name, read as {head[j]!r}")
        kept.append(j)
    return Cells([head[j] for j in kept], [body[:, j] for j in kept], at, notes, headless, comment)


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number as Python reads it, without an underscore."""
    try:
        return "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        return False
