r"""What a claim is, how it is tried, and how the verdict follows from its kind.

Tolerances, all of them, and why they are what they are:

- rounding: a claim states how many roundings separate its two numbers and how large the terms are that are summed
  (`rounding`); the allowance is their product with the machine epsilon, the usual forward error bound;
- `RATE`: measured contraction ratios are compared to 1e-10 of themselves. Both they and the effective rate at which
  theory is evaluated approach their limits like the root of the excess, which is below 1e-12 by then, times the other
  eigenvalues over the largest;
- `DIGITS`: an asymptotic law is tried where its own first-order error is a tenth of 1e-3, and has to hold to 1e-3:
  three digits;
- `ORDER`: exponents are multiples of one half; a measured one counts as the multiple that it is nearest to;
- `WINDOW`: the ends of the range of good learning rates are predicted to 0.03 decades (`olsbn.theory.eps_window`) and
  found on a grid of 0.01 decades;
- in many digits (`textbook.many_digits`): identities are tried with 100 decimal digits and have to hold to 25 at least,
  so that nothing is excused by rounding; a claim says how many;
- samples: an average over random samples is compared to six of its own standard errors.
"""

from __future__ import annotations

import inspect
import math
import re
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_real, one_of
from olsbn.problems import MACHEPS, OLSProblem
from olsbn.problems.sample import html_table

KINDS = ("identity", "tight", "upper", "lower", "order", "counterexample")
RATE = 1e-10
DIGITS = 1e-3
ORDER = 0.25
WINDOW = 0.04

_N_PARAMS = 24


class Skip(Exception):
    """An instance on which nothing can be measured (say, a rate that did not settle); it is counted, not judged."""


def rounding(n_operations: float, size: Any = 1.0) -> Any:
    """Return the rounding error that `n_operations` on numbers of the given size can leave."""
    return MACHEPS * n_operations * np.abs(size)


# -------------------------------------------------------------------- where problems come from


class Cube:
    """A point of the unit cube, read coordinate by coordinate: so a problem is a function of a few numbers.

    Drawing the point at random draws a random problem; moving it searches for the problem on which a claim is closest
    to failing.
    """

    def __init__(self, point: FloatArray) -> None:
        self._point = point
        self.used = 0

    def unit(self) -> float:
        """Return the next coordinate, in [0, 1)."""
        self.used += 1
        return float(self._point[self.used - 1])

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.unit()

    def log(self, low: float, high: float) -> float:
        """Return a number in [low, high), its logarithm uniform."""
        return low * (high / low) ** self.unit()

    def integer(self, low: int, high: int) -> int:
        """Return a whole number in [low, high]."""
        return min(high, low + int((high - low + 1) * self.unit()))

    def rng(self) -> np.random.Generator:
        """Return a random generator that this point determines."""
        return np.random.default_rng(int(self.unit() * 2**53))


def draw_problem(
    cube: Cube, *, dim: tuple[int, int] = (2, 12), cond: tuple[float, float] = (1.5, 1e3), tilt: float = 1.0
) -> OLSProblem:
    """Draw a problem: random spectrum, solution and start, and what makes them special.

    Eigenvalues are log-uniform between 1 and the condition number, with both ends taken, times a scale. The solution
    is Gaussian times ``eigvals**tilt``, so that it leans to one end of the spectrum; the start mixes a Gaussian vector
    with the solution.
    """
    d, kappa = cube.integer(*dim), cube.log(*cond)
    lean, closeness, sizes = cube.uniform(-tilt, tilt), cube.unit(), (cube.log(0.1, 10), cube.log(0.1, 10))
    rng = cube.rng()
    eigvals = kappa ** np.sort(np.concatenate([[0.0, 1.0], rng.random(d - 2)]))
    u = rng.standard_normal(d) * eigvals**lean
    noise = rng.standard_normal(d)
    w0 = (1 - closeness) * noise / np.linalg.norm(noise) + closeness * u / np.linalg.norm(u)
    return OLSProblem(sizes[0] * eigvals, u / np.linalg.norm(u), sizes[1] * w0, label="ledger")


PROBLEMS = (
    "d in 2..12, log-uniform spectrum, cond in 1.5..1e3, u leaning to either end of it, w0 anywhere from random to u"
)


# -------------------------------------------------------------------- claims


# What theory says, what is found, and the error allowed, in absolute terms: rounding, or the accuracy that a limit is
# taken with (0 where it is left out). Each is a number or an array.
Comparison = tuple[Any, Any] | tuple[Any, Any, Any]


@dataclass(frozen=True, repr=False)
class Claim:
    r"""One statement of a source, with all it takes to try it.

    Attributes
    ----------
    id : str
        The name of its source, a dot, and a name of its own.
    kind : {"identity", "tight", "upper", "lower", "order", "counterexample"}
        identity: both numbers are equal, but for rounding. tight: they are equal in a limit, and compared as near to it
        as is stated. upper, lower: theory bounds the measured number. order: an exponent. counterexample: a statement
        that circulates and is false; `refutes` is the kind of that statement, and theory is what it says.
    statement, formula, problems : str
        The claim in words and as a formula, and how problems are drawn.
    instance : callable
        From a `Cube` to whatever `compare` needs. It may raise `Skip`.
    compare : callable
        From an instance to theory, measured number and allowed error (`Comparison`).
    n_random, n_search : int
        Random problems, and further ones in the search for the worst margin.
    where : str
        The place in the source: a theorem, an equation, a section.
    corrects : str
        What the source, or a circulated account of it, says there and is false or incomplete.
    extra : str
        The extra of olsbn that it takes to try it ("data"), or "".
    """

    id: str
    kind: str
    statement: str
    formula: str
    problems: str
    instance: Callable[[Cube], Any] = field(repr=False)
    compare: Callable[[Any], Comparison] = field(repr=False)
    refutes: str = ""
    n_random: int = 30
    n_search: int = 80
    where: str = ""
    corrects: str = ""
    extra: str = ""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        if (self.kind == "counterexample") != bool(self.refutes):
            raise ValueError(f"refutes must be given for a counterexample and for nothing else, got {self.refutes!r}")

    def __repr__(self) -> str:
        return f"<Claim {self.id}, {self.kind}: {self.statement}>"

    def _repr_html_(self) -> str:
        names = ("kind", "statement", "formula", "problems", "where", "corrects", "citation")
        return html_table(self.id, [(name, getattr(self, name)) for name in names if getattr(self, name)])

    @property
    def source(self) -> str:
        """The name of the source, one of `SOURCES`."""
        return self.id.partition(".")[0]

    @property
    def citation(self) -> str:
        """What to read."""
        return SOURCES[self.source]

    def margins(self, instance: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return theory, measured and margin on one instance, as flat arrays.

        The margin is >= 0 exactly where the claim holds. It is ``1 - error/allowed`` where two numbers should be equal,
        else the distance to the bound, with the rounding allowed, as a part of the bound. For a counterexample it is
        how far the refuted statement fails.
        """
        values = (*self.compare(instance), 0.0)[:3]
        theory, measured, allowed = (np.ravel(v) for v in np.broadcast_arrays(*(np.asarray(v, float) for v in values)))
        kind = self.refutes or self.kind
        with np.errstate(all="ignore"):
            if kind in ("upper", "lower"):
                slack = (theory - measured if kind == "upper" else measured - theory) + allowed
                margin = slack / np.where(theory != 0, np.abs(theory), 1.0)
            else:
                error = np.abs(measured - theory)
                # 0/0 is exact agreement where nothing is allowed
                margin = np.where(error == 0, 1.0, 1 - error / (ORDER if kind == "order" else allowed))
        margin = -margin if self.refutes else margin
        return theory, measured, np.where(np.isnan(margin), -np.inf, margin)

    def check(self, seed: int = 0, effort: float = 1.0) -> Result:
        """Try the claim on random problems and search for the worst; see `Result`.

        Parameters
        ----------
        seed : int
            Random problems come from ``SeedSequence(seed)``, keyed by the id of the claim.
        effort : float
            Factor on the number of problems.
        """
        began = time.perf_counter()
        rng = np.random.default_rng(
            np.random.SeedSequence(as_count("seed", seed), spawn_key=(zlib.crc32(self.id.encode()),))
        )
        if not (effort := as_real("effort", effort)) > 0:
            raise ValueError(f"effort must be > 0, got {effort!r}")
        tried = [self._try(rng.random(_N_PARAMS)) for _ in range(max(2, round(self.n_random * effort)))]
        # Two searches, from the two worst problems, lest one ends in a corner of its own.
        for start in sorted(filter(None, tried), key=self._rank)[:2]:
            tried += self._search(start, round(self.n_search * effort / 2), rng)
        found = sorted(filter(None, tried), key=self._rank)
        worst = found[0] if found else _Trial(-math.inf, math.nan, math.nan, np.empty(0), 0)
        return Result(
            id=self.id,
            source=self.source,
            citation=self.citation,
            kind=self.kind,
            statement=self.statement,
            formula=self.formula,
            problems=self.problems,
            n_problems=len(tried),
            n_skipped=len(tried) - len(found),
            theory=worst.theory,
            measured=worst.measured,
            margin=worst.margin,
            holds=worst.margin > 0 if self.refutes else worst.margin >= 0,
            seed=seed,
            seconds=time.perf_counter() - began,
            worst=tuple(worst.point[: worst.used].tolist()),
        )

    def _try(self, point: FloatArray) -> _Trial | None:
        """Try the claim at a point of the cube; None where nothing can be measured."""
        cube = Cube(point)
        try:
            theory, measured, margin = self.margins(self.instance(cube))
        except Skip:
            return None
        at = int(np.argmax(margin) if self.refutes else np.argmin(margin))
        return _Trial(float(margin[at]), float(theory[at]), float(measured[at]), point, cube.used)

    def _rank(self, trial: _Trial) -> float:
        """Smaller is nearer to failing; a counterexample has to be found, so there larger counts."""
        return -trial.margin if self.refutes else trial.margin

    def _search(self, at: _Trial, n: int, rng: np.random.Generator) -> list[_Trial | None]:
        """Move some coordinates at random, further after a success than after a failure, and keep what is worse."""
        tried: list[_Trial | None] = []
        size = 0.3
        for _ in range(n):
            moved = rng.random(at.used) < max(0.3, 1.5 / at.used)
            moved[rng.integers(at.used)] = True
            point = at.point.copy()
            point[: at.used][moved] += size * rng.standard_normal(int(moved.sum()))
            point = np.abs(point) % 2  # folded back into the cube
            point = np.minimum(np.where(point > 1, 2 - point, point), 1 - 2.0**-53)
            trial = self._try(point)
            tried.append(trial)
            worse = trial is not None and self._rank(trial) < self._rank(at)
            size = min(0.5, 2 * size) if worse else max(1e-4, 0.7 * size)
            at = trial if trial is not None and worse else at
        return tried


@dataclass(frozen=True)
class _Trial:
    """What came out at a point of the cube, of which the first `used` coordinates counted."""

    margin: float
    theory: float
    measured: float
    point: FloatArray
    used: int


@dataclass(frozen=True)
class Result:
    """How a claim fared: theory, measured and margin are those of the problem that was nearest to failing.

    Attributes
    ----------
    n_problems, n_skipped : int
        Problems tried, and those among them on which nothing could be measured. A claim with nothing measured fails.
    holds : bool
        The verdict: the margin is >= 0 (> 0 for a counterexample).
    worst : tuple of float
        Where in the unit cube that problem lies: ``claim.instance(Cube(worst))`` makes it again.
    """

    id: str
    source: str
    citation: str
    kind: str
    statement: str
    formula: str
    problems: str
    n_problems: int
    n_skipped: int
    theory: float
    measured: float
    margin: float
    holds: bool
    seed: int
    seconds: float
    worst: tuple[float, ...]


# -------------------------------------------------------------------- chapters


class Chapter:
    """Claims of a source, in the order in which they are stated.

    Parameters
    ----------
    **texts : str
        Texts that the docstrings of claims may name in braces, beside ``{PROBLEMS}``.
    """

    def __init__(self, **texts: str) -> None:
        self._texts = {"PROBLEMS": PROBLEMS} | texts
        self.claims: tuple[Claim, ...] = ()

    def claim(
        self, id: str, kind: str, instance: Callable[[Cube], Any], **options: Any
    ) -> Callable[[Callable[[Any], Comparison]], Callable[[Any], Comparison]]:
        """Return a decorator that makes a claim of a function from an instance to a `Comparison`.

        The docstring of the function holds the statement and then, each from a line of its own on, ``Formula:``,
        ``Problems:``, and where there is something to say ``Where:`` and ``Corrects:``; what else a `Claim` has are
        options.
        """

        def add(compare: Callable[[Any], Comparison]) -> Callable[[Any], Comparison]:
            statement, *more = _LABEL.split(inspect.cleandoc(compare.__doc__ or ""))
            found = {label.lower(): text for label, text in zip(more[::2], more[1::2], strict=True)}
            if not statement or not {"formula", "problems"} <= found.keys():
                raise ValueError(f"the docstring of {id} must be a statement, Formula: and Problems:")
            texts: dict[str, Any] = {
                key: " ".join(text.splitlines()) for key, text in ({"statement": statement} | found).items()
            }
            for name, text in self._texts.items():
                texts["problems"] = texts["problems"].replace(f"{{{name}}}", text)
            self.claims += (Claim(id=id, kind=kind, instance=instance, compare=compare, **texts, **options),)
            return compare

        return add

    @property
    def variants(self) -> Variants:
        """What makes false variants of the claims so far."""
        return Variants(self.claims)


_LABEL = re.compile(r"\n(Formula|Problems|Where|Corrects): ")


# -------------------------------------------------------------------- false variants


class Variants:
    """Makes false variants of claims, which stand beside them: each must fail, and a test tries them all."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        self._claims = {claim.id: claim for claim in claims}

    def __call__(self, name: str, **changes: Any) -> Claim:
        """Return the claim with some attributes replaced, or `theory`, `measured`, `allowed` of its comparison."""
        claim = self._claims[name]
        parts = [changes.pop(part, None) for part in ("theory", "measured", "allowed")]

        def compare(i: Any) -> Comparison:
            values = (*claim.compare(i), 0.0)[:3]
            theory, measured, allowed = (x if part is None else part(i) for part, x in zip(parts, values, strict=True))
            return theory, measured, allowed

        return replace(claim, compare=compare, **changes)

    def changed(self, name: str, **values: Callable[[Any], Any]) -> Claim:
        """Return the claim with some attributes of its instances replaced by functions of the instance."""
        make = self._claims[name].instance

        def instance(cube: Cube) -> Any:
            i = make(cube)
            for key, value in values.items():
                setattr(i, key, value(i))
            return i

        return self(name, instance=instance)

    def scaled(self, name: str, factor: float) -> Claim:
        """Return the claim with another constant in front of what theory says."""
        compare = self._claims[name].compare
        return self(name, theory=lambda i: factor * np.asarray(compare(i)[0]))


def gather(*modules: Any) -> tuple[tuple[Claim, ...], dict[str, Claim]]:
    """Return the claims of a source's chapters, one a module, and their false variants by what is false."""
    false: dict[str, Claim] = {}
    for module in modules:
        if twice := false.keys() & module.FALSE.keys():
            raise ValueError(f"two false variants are called {sorted(twice)[0]!r}")
        false |= module.FALSE
    return tuple(claim for module in modules for claim in module.chapter.claims), false


# -------------------------------------------------------------------- sources

# A source is an entry here and a module (or a package of chapters) of that name with CLAIMS and FALSE.
SOURCES = {
    "cai": "Cai, Li, Shen: A Quantitative Analysis of the Effect of Batch Normalization on Gradient Descent, ICML 2019",
    "kohler": "Kohler et al.: Exponential Convergence Rates for Batch Normalization, AISTATS 2019",
    "arora": "Arora, Li, Lyu: Theoretical Analysis of Auto Rate-Tuning by Batch Normalization, ICLR 2019",
    "hoffer": "Hoffer, Banner, Golan, Soudry: Norm matters, NeurIPS 2018, and notes on it",
    "santurkar": "Santurkar, Tsipras, Ilyas, Madry: How Does Batch Normalization Help Optimization?, NeurIPS 2018, and "
    "a blog account of it",
    "forum": "Forum question 'A proof involving Batch-Normalization and SGD in Neural Networks', with its answer",
    "olsbn": "olsbn: measured with this package and stated by none of the sources above; a claim that others had first "
    "says who",
}
