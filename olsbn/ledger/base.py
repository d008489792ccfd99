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
- `WINDOW`: the ends of the range of good learning rates are predicted to 0.03 decades (`olsbn.spectral.eps_window`) and
  found on a grid of 0.01 decades.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_real, one_of
from olsbn.problems import MACHEPS, OLSProblem

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


@dataclass(frozen=True)
class Claim:
    r"""One statement of a source, with all it takes to try it.

    Attributes
    ----------
    id, source : str
        A name, and the source it belongs to; `citation` says what to read.
    kind : {"identity", "tight", "upper", "lower", "order", "counterexample"}
        identity: both numbers are equal, but for rounding. tight: they are equal in a limit, and compared as near to it
        as is stated. upper, lower: theory bounds the measured number. order: an exponent. counterexample: a statement
        that circulates and is false; `refutes` is the kind of that statement, and `theory` is what it says.
    statement, formula, problems : str
        The claim in words and as a formula, and how problems are drawn.
    instance : callable
        From a `Cube` to whatever `theory`, `measured` and `allowed` need. It may raise `Skip`.
    theory, measured : callable
        From an instance to a number or an array: what theory says and what is found.
    allowed : callable
        From an instance to the error allowed, in absolute terms: rounding, or the accuracy a limit is taken with.
    n_random, n_search : int
        Random problems, and further ones in the search for the worst margin.
    """

    id: str
    source: str
    kind: str
    statement: str
    formula: str
    problems: str
    instance: Callable[[Cube], Any] = field(repr=False)
    theory: Callable[[Any], Any] = field(repr=False)
    measured: Callable[[Any], Any] = field(repr=False)
    allowed: Callable[[Any], Any] = field(repr=False, default=lambda instance: 0.0)
    refutes: str = ""
    n_random: int = 20
    n_search: int = 40

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        if (self.kind == "counterexample") != bool(self.refutes):
            raise ValueError(f"refutes must be given for a counterexample and for nothing else, got {self.refutes!r}")

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
        values = (self.theory(instance), self.measured(instance), self.allowed(instance))
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
        margin = np.where(np.isnan(margin), -np.inf, margin)
        return theory, measured, -margin if self.refutes else margin

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
        tally = _Tally(self)
        for _ in range(max(2, round(self.n_random * effort))):
            tally.add(rng.random(_N_PARAMS))
        n_search = round(self.n_search * effort)
        size = 0.3
        for step in range(n_search if tally.found else 0):
            if step and step == n_search // 2:
                tally.restart()  # once more from the second worst, lest the first was a dead end
                size = 0.3
            point = tally.at.copy()
            moved = rng.random(tally.used) < max(0.3, 1.5 / tally.used)
            moved[rng.integers(tally.used)] = True
            point[: tally.used][moved] += size * rng.standard_normal(int(moved.sum()))
            point = np.abs(point) % 2
            point = np.clip(np.where(point > 1, 2 - point, point), 0, 1 - 2.0**-53)  # folded back into the cube
            size = min(0.5, 2 * size) if tally.add(point) else max(1e-4, 0.7 * size)
        return tally.result(seed, time.perf_counter() - began)


class _Tally:
    """The instances tried so far and the one that decides: the worst, or the clearest counterexample."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self.n_tried = self.n_skipped = self.used = 0
        self.found: list[tuple[float, float, float, FloatArray]] = []  # margin, theory, measured, point: worst first
        self._start = 0

    def _rank(self, margin: float) -> float:
        """Smaller is nearer to failing; a counterexample has to be found, so there larger counts."""
        return -margin if self._claim.refutes else margin

    @property
    def at(self) -> FloatArray:
        """The point where the search stands."""
        return self.found[min(self._start, len(self.found) - 1)][3]

    def restart(self) -> None:
        self._start = 1

    def add(self, point: FloatArray) -> bool:
        """Try the claim at a point; return whether it is the worst so far (from where the search stands)."""
        self.n_tried += 1
        cube = Cube(point)
        try:
            theory, measured, margin = self._claim.margins(self._claim.instance(cube))
        except Skip:
            self.n_skipped += 1
            return False
        self.used = max(self.used, cube.used)
        at = int(np.argmax(margin) if self._claim.refutes else np.argmin(margin))
        entry = (float(margin[at]), float(theory[at]), float(measured[at]), point)
        better = not self.found or self._rank(entry[0]) < self._rank(
            self.found[min(self._start, len(self.found) - 1)][0]
        )
        self.found.append(entry)
        self.found.sort(key=lambda e: self._rank(e[0]))
        if better:
            self._start = 0 if self.found[0] is entry else self._start
        return better

    def result(self, seed: int, seconds: float) -> Result:
        claim = self._claim
        margin, theory, measured, point = self.found[0] if self.found else (-math.inf, math.nan, math.nan, None)
        return Result(
            id=claim.id,
            source=claim.source,
            citation=claim.citation,
            kind=claim.kind,
            statement=claim.statement,
            formula=claim.formula,
            problems=claim.problems,
            n_problems=self.n_tried,
            n_skipped=self.n_skipped,
            theory=theory,
            measured=measured,
            margin=margin,
            holds=margin > 0 if claim.refutes else margin >= 0,
            seed=seed,
            seconds=seconds,
            worst=tuple(point[: self.used].tolist()) if point is not None else (),
        )


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


SOURCES = {
    "cai": "Cai, Li, Shen: A Quantitative Analysis of the Effect of Batch Normalization on Gradient Descent, ICML 2019",
    "kohler": "Kohler et al.: Exponential Convergence Rates for Batch Normalization, AISTATS 2019",
}
