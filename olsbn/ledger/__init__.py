"""The ledger: every claim of the sources as an executable statement.

A source is an entry in `SOURCES` and a module of that name, or a package of chapters, with its claims in ``CLAIMS`` and
false variants of them in ``FALSE``: each of those must fail, which a test tries for every source.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from olsbn import __version__
from olsbn._validate import as_count, one_of
from olsbn.ledger.base import KINDS, SOURCES, Claim, Cube, Result, Skip
from olsbn.problems.sample import html_table

if TYPE_CHECKING:
    from olsbn.ledger.summary import Row

__all__ = [
    "KINDS",
    "SOURCES",
    "Claim",
    "Claims",
    "Cube",
    "Result",
    "Skip",
    "by_source",
    "claims",
    "false_variants",
    "report",
    "runnable",
    "table",
    "verify",
]


# A module of each extra that claims may need.
_EXTRAS = {"data": "sklearn"}


def by_source() -> dict[str, tuple[Claim, ...]]:
    """Return the claims of every source."""
    return {source: _module(source).CLAIMS for source in SOURCES}


def false_variants() -> dict[str, Claim]:
    """Return false variants of the claims of every source, by source and what is false; none of them may hold."""
    return {f"{source}: {name}": claim for source in SOURCES for name, claim in _module(source).FALSE.items()}


def _module(source: str) -> Any:
    return import_module(f"olsbn.ledger.{source}")


class Claims(tuple[Claim, ...]):
    """Claims, shown as a table in a notebook and as counts elsewhere."""

    def __repr__(self) -> str:
        counts = Counter(claim.source for claim in self)
        what = ", ".join(f"{source} {n}" for source, n in counts.items())
        return f"<{len(self)} claims: {what}>" if self else "<0 claims>"

    def _repr_html_(self) -> str:
        return html_table(f"{len(self)} claims", [(claim.id, f"{claim.kind}: {claim.statement}") for claim in self])


def claims(source: str | Iterable[str] | None = None) -> Claims:
    """Return the claims of the ledger.

    Parameters
    ----------
    source : str or iterable of str, optional
        A name of `SOURCES`; default all.

    Returns
    -------
    Claims, a tuple of Claim
        ``claim.check(seed)`` tries one on fresh random problems.

    Raises
    ------
    ValueError
        For an unknown source.

    Examples
    --------
    >>> import olsbn
    >>> [claim] = [claim for claim in olsbn.claims("cai") if claim.id == "cai.excess"]
    >>> claim.kind, claim.check(seed=1).holds
    ('identity', True)
    """
    wanted = list(SOURCES) if source is None else [source] if isinstance(source, str) else list(source)
    for name in wanted:
        one_of("source", name, SOURCES)
    return Claims(claim for name in SOURCES if name in wanted for claim in _module(name).CLAIMS)


def runnable(which: Iterable[Claim]) -> tuple[tuple[Claim, ...], tuple[Claim, ...]]:
    """Divide claims into those that can be tried here and those whose extra is not installed."""
    which = tuple(which)
    missing = {extra for extra, module in _EXTRAS.items() if find_spec(module) is None}
    return (
        tuple(claim for claim in which if claim.extra not in missing),
        tuple(claim for claim in which if claim.extra in missing),
    )


def verify(
    which: Iterable[Claim], seed: int = 0, effort: float = 1.0, advance: Callable[[int], None] | None = None
) -> Iterator[Result]:
    """Check claims one after another and yield each result; `advance` is called with 1 after each."""
    as_count("seed", seed)
    for claim in which:
        yield claim.check(seed, effort)
        if advance is not None:
            advance(1)


def report(results: Iterable[Result], seed: int, rows: Iterable[Row] = ()) -> dict[str, Any]:
    """Return results and rows of the summary table as JSON-compatible data; numbers that JSON lacks become strings."""

    def plain(entry: Any) -> dict[str, Any]:
        return {key: _plain(value) for key, value in asdict(entry).items()}

    entries = [plain(result) for result in results]
    return {
        "olsbn_version": __version__,
        "seed": seed,
        "holds": all(entry["holds"] for entry in entries),
        "claims": entries,
        "summary": [plain(row) for row in rows],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and json.dumps(value) in ("NaN", "Infinity", "-Infinity"):
        return str(value)
    return value


def table(results: Iterable[Result]) -> str:
    """Return the results as a table in plain text."""
    header = ("claim", "kind", "problems", "theory", "measured", "margin", "verdict")
    rows = [
        (
            r.id,
            r.kind,
            str(r.n_problems - r.n_skipped),
            f"{r.theory:.6g}",
            f"{r.measured:.6g}",
            f"{r.margin:.2g}",
            "holds" if r.holds else "FAILS",
        )
        for r in results
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, tuple("-" * w for w in widths), *rows]
    left = (0, 1, 6)
    return "\n".join(
        "  ".join(
            cell.ljust(w) if k in left else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
