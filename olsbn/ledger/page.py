"""The page that lists every claim: source, kind, formula, margin, verdict, and what a source has wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable

from olsbn import __version__
from olsbn.ledger import SOURCES, claims, false_variants
from olsbn.ledger.base import Claim, Result

_KINDS = """\
| kind | the claim holds where | margin |
|---|---|---|
| identity | both numbers are equal, but for rounding | 1 less the part of the allowed error that is used |
| tight | they are equal in a limit, compared as near to it as is stated | the same |
| order | an exponent is nearer to the stated one than to any other multiple of one half | the same |
| upper, lower | theory bounds the measured number | distance to the bound, as a part of it, rounding included |
| counterexample | a statement that circulates fails on the problem found | how far it fails |"""


def page(results: Iterable[Result]) -> str:
    """Return the results as a page in Markdown, the same bytes for the same results."""
    results = tuple(results)
    known = {claim.id: claim for claim in claims()}
    n_false = len(false_variants())
    holding = sum(result.holds for result in results)
    seeds = ", ".join(str(seed) for seed in sorted({result.seed for result in results}))
    parts = [
        "# Every claim, tried",
        f"Written by `olsbn verify --page FILE` (olsbn {__version__}, seed {seeds}): {holding} of {len(results)} "
        "claims hold. Each is tried on random problems and on the worst ones that a search finds; shown is the problem "
        f"that was nearest to failing. The verdict follows from the kind. The tests feed the ledger {n_false} false "
        "variants of the claims, and every one of them has to fail.",
        _KINDS,
        _overview(results),
        _found_wrong(results, known),
        _wide(results),
        _coverage(results, known),
    ]
    for source in SOURCES:
        own = [result for result in results if result.source == source]
        if own:
            parts += [f"## {source}\n\n{SOURCES[source]}.", *(_entry(result, known.get(result.id)) for result in own)]
    return "\n\n".join(parts) + "\n"


def _overview(results: tuple[Result, ...]) -> str:
    false = [claim.source for claim in false_variants().values()]
    lines = ["| source | claims | hold | counterexamples | false variants |", "|---|---:|---:|---:|---:|"]
    for source in SOURCES:
        own = [result for result in results if result.source == source]
        if own:
            refuted = sum(result.kind == "counterexample" for result in own)
            held = sum(result.holds for result in own)
            lines.append(f"| [{source}](#{source}) | {len(own)} | {held} | {refuted} | {false.count(source)} |")
    return "\n".join(lines)


def _found_wrong(results: tuple[Result, ...], known: dict[str, Claim]) -> str:
    """The list of what a source, or an account of it, says and the ledger finds false or incomplete."""
    lines = ["## What is false or incomplete in the sources"]
    for result in results:
        claim = known.get(result.id)
        if claim is None or claim.source == "olsbn" or not (claim.corrects or claim.refutes):
            continue
        said = claim.corrects or claim.formula
        where = f", {_plain(claim.where)}" if claim.where else ""
        lines.append(f"- **{result.source}{where}** says or leaves out: {_plain(said)}  ")
        verdict = "" if result.holds else " (this claim of the ledger does not hold)"
        lines.append(f"  Found (`{result.id}`){verdict}: {_plain(claim.statement)} {_numbers(result)}")
    return "\n".join([lines[0], "", *lines[1:]])


# What the sources have beyond the claims, or in more generality than these.
_NOT_TRIED = (
    "[Cai] convergence for almost every start is measured, not proved; their figures are in `figures` and benchmarks.",
    "[Arora] stochastic, Lemmas B.2 to B.4 and Theorems 4.2 and C.3 have closed-form constants for one block only; the "
    "exponents of Theorem 4.2 are measured for d = 2 and 3.",
    "[Arora] decay on the scale, and WNGrad with its own G_0, are not tried.",
    "[Hoffer] decay mimicked by a learning rate is tried on least squares, full batches and mini-batches; no network, "
    "no convolution.",
    "[Santurkar] smoothness as a series is tried on least squares and diabetes, not on a network.",
    "[Kohler] GDNP on half-spaces and on networks is not tried, least squares is.",
)


def _coverage(results: tuple[Result, ...], known: dict[str, Claim]) -> str:
    """Which claims try what place of a source, and what is not tried."""
    places: dict[tuple[str, str], list[str]] = {}
    for result in results:
        claim = known.get(result.id)
        if claim is not None and claim.source != "olsbn":
            places.setdefault((claim.source, claim.where or "no numbered place"), []).append(result.id)
    lines = ["## What of the sources is tried", "", "| source | place | claims |", "|---|---|---|"]
    for (source, where), ids in places.items():
        place = _plain(where).replace("|", r"\|")
        lines.append(f"| {source} | {place} | {', '.join(ids)} |")
    return "\n".join([*lines, "", "Not tried, or narrower than the source:", "", *(f"- {text}" for text in _NOT_TRIED)])


def used(result: Result) -> float:
    """Return the share of a bound that the nearest problem uses; NaN where there is none to speak of."""
    if result.kind not in ("upper", "lower") or not min(result.theory, result.measured) > 0:
        return math.nan
    low, high = sorted((result.theory, result.measured))
    return low / high


def _wide(results: tuple[Result, ...]) -> str:
    """The list of bounds that no problem comes near, whose constants are therefore not tested."""
    lines = [
        "## Bounds that nothing tried comes near",
        "",
        "Their constants are not tested: sharper ones would pass too.",
    ]
    found = [result for result in results if used(result) < 0.5]
    rows = [f"- `{r.id}`: the nearest problem uses {used(r):.2g} of the bound" for r in found]
    return "\n".join([*lines, "", *(rows or ["None."])])


def _numbers(result: Result) -> str:
    if result.kind == "counterexample":
        return f"The statement says {result.theory:.6g}, its counterexample gives {result.measured:.6g}."
    return f"Theory {result.theory:.6g}, measured {result.measured:.6g}."


def _entry(result: Result, claim: Claim | None) -> str:
    where = f" ({_plain(claim.where)})" if claim is not None and claim.where else ""
    tried = result.n_problems - result.n_skipped
    verdict = "holds" if result.holds else "FAILS"
    return "\n".join(
        [
            f"### {result.id}",
            "",
            f"{result.kind}, **{verdict}**, margin {result.margin:.2g}: {_plain(result.statement)}{where}",
            "",
            f"    {result.formula}",
            "",
            f"Theory {result.theory:.6g}, measured {result.measured:.6g}. Tried {tried}: {_plain(result.problems)}.",
        ]
    )


def _plain(text: str) -> str:
    """Keep Markdown from reading formulas as markup."""
    return text.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")
