"""A problem as the engine iterates it: numbers of the modes, a start, facts; scaled by powers of two into range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.step import Step
from olsbn.problems import MACHEPS, OLSProblem
from olsbn.schema import EXCESS_LIMIT

LARGEST = 1e308  # a finite limit, so that infinity is always above it

Numbers = Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """A problem in some coordinates.

    The units are powers of two, so that no digit changes: eigenvalues times ``2**eigval_exp``, weights times
    ``2**w_exp``, learning rates of w times ``2**eps_exp``.

    Attributes
    ----------
    numbers : dict of str to dict of str to ndarray
        The numbers of the modes of each group, by name.
    start : dict of str to dict of str to ndarray
        The state of each group at step 0; what is left out is 0.
    begin : dict of str to float
        What a lane carries before step 0, where it is not 0.
    facts : dict of str to float
        Numbers of the problem that steps read.
    mu, b : dict of str to ndarray
        For each group the eigenvalues of the step's linear part, as far as they are known, and what couples them.
    tracked : ndarray of int64
        Modes that may be slaved.
    """

    numbers: Mapping[str, Numbers]
    start: Mapping[str, Numbers]
    begin: Mapping[str, float]
    facts: Mapping[str, float]
    mu: Mapping[str, FloatArray]
    b: Mapping[str, FloatArray]
    scale: float  # of `a` in the problem's own units
    limit: float  # relative excess past which a run has diverged
    norm_scale: float  # the square of a norm of w is this times what is reported, times 4**-(w_exp + exponent)
    w_null_norm: float  # in the problem's own units, like the rest
    eigval_exp: int = 0
    w_exp: int = 0
    eps_exp: int = 0
    eps_eff_scale: float = 1.0  # the same for eps_eff, besides 2**eigval_exp
    units: tuple[float, float] = (1.0, 1.0)  # f and t of `in_other_units`
    tracked: Any = field(default_factory=lambda: np.empty(0, np.int64))
    degenerate: bool = False
    saddle: bool = False  # if degenerate: the start has an output, but no step changes anything
    a0: float = math.nan
    w0_norm: float = math.nan

    def norm(self, squared: FloatArray, exponent: Any, null: FloatArray) -> FloatArray:
        """Return the norm of w in the problem's units, from the kernel's squared norm, exponents and null part."""
        begun = self.begin.get("null", 0.0)
        left = self.w_null_norm * (null / begun) if begun else 0.0
        return whole_norm(self.norm_scale * squared, self.w_exp + exponent, left)

    def own(self, step: Step, name: str, values: FloatArray, exponent: Any) -> FloatArray:
        """Return what a step tells of its own in the problem's units."""
        i, j = (int(power) for power in step.units.get(name, (0, 0)))
        found: FloatArray = np.ldexp(values, -(i * (self.w_exp + exponent) + j * self.eigval_exp))
        return found if self.units == (1.0, 1.0) else found / unit_of(step, name, *self.units)

    def in_other_units(self, step: Step, f: float, t: float) -> Coordinates:
        """Return the same problem with w multiplied by f and H by t: every rounding falls differently.

        So that those of the coordinates do as well, each number is moved by one rounding, up or down.
        """

        def scaled(named: Mapping[str, Any]) -> dict[str, Any]:
            return {name: moved(value * unit_of(step, name, f, t), t) for name, value in named.items()}

        return replace(
            self,
            numbers={group: scaled(numbers) for group, numbers in self.numbers.items()},
            start={group: scaled(start) for group, start in self.start.items()},
            begin=scaled(self.begin),
            facts=scaled(self.facts),
            mu={group: mu * t for group, mu in self.mu.items()},
            b={group: b * t for group, b in self.b.items()},
            norm_scale=self.norm_scale / unit_of(step, "norm2", f, t),
            eps_eff_scale=self.eps_eff_scale * t,
            units=(f, t),
        )


def moved(values: Any, seed: float) -> Any:
    """Return numbers moved by one rounding, up or down as a fixed function of the number and of `seed` says.

    Not of its place in an array: that of a cell's numbers is its place in the tile, which may change nothing.
    """
    values = np.asarray(values, float)
    bits = np.ascontiguousarray(values).view(np.uint64).reshape(values.shape) ^ np.uint64(int(seed * 2**40))
    with np.errstate(over="ignore"):  # modulo 2^64; all bits decide, the last ones of a mantissa too
        for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            bits = (bits ^ (bits >> np.uint64(31))) * np.uint64(factor)
    return values * np.where(bits >> np.uint64(63), 1 + MACHEPS, 1 - MACHEPS)


def unit_of(step: Step, name: str, f: float, t: float) -> float:
    """Return by what a number is multiplied when w is multiplied by f and H by t."""
    i, j = step.units.get(name, (0.0, 0.0))
    return _power(f, i) * _power(t, j)


def _power(x: float, power: float) -> float:
    """Return a power, a multiple of 1/2, by products and roots: the bits of others are the C library's."""
    x = x if power >= 0 else 1 / x
    product = math.sqrt(x) if power % 1 else 1.0
    for _ in range(math.floor(abs(power))):
        product *= x
    return product


def limit_of(excess0: float) -> float:
    """Return the relative excess past which a run has diverged, from that of the start."""
    return min(EXCESS_LIMIT * max(1.0, excess0), LARGEST)


def whole_norm(squared: FloatArray, exponent: Any, null_norm: Any) -> FloatArray:
    """Return the norm of w from its scaled square on the range of H, and its norm on the null space."""
    norm = np.ldexp(np.sqrt(squared), -exponent)
    if not np.any(null_norm):
        return norm
    size = np.frexp(np.fmax(norm, null_norm))[1]  # not np.hypot, whose bits depend on the C library
    x, y = np.ldexp(norm, -size), np.ldexp(null_norm, -size)
    return np.ldexp(np.sqrt(x * x + y * y), size)


def in_range(vector: FloatArray, roots: FloatArray) -> tuple[FloatArray, int]:
    """Scale `vector` by a power of two, so that ``roots * vector`` is about 1 at most; return it and the exponent."""
    exponents = np.frexp(vector)[1] + np.frexp(roots)[1]
    present = (vector != 0) & (roots != 0)
    if not present.any():
        return np.zeros_like(vector), 0
    exponent = -int(exponents[present].max())
    return np.ldexp(vector, exponent), exponent


def w0_norm(problem: OLSProblem) -> float:
    """Return the norm of the start."""
    return math.hypot(*problem.w0.tolist(), problem.w0_null_norm)  # in range where squares are not
