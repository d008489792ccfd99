"""Reduction of a problem with many modes to one with a few hundred that gives the same runs."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_real
from olsbn.linalg import MACHEPS, StarSpectrum, gauss_points, on_one_thread

if TYPE_CHECKING:
    from olsbn.problems.problem import OLSProblem

# Modes of the first chunks; each level merges two.
_CHUNK = 1024
# As many of the outermost modes are kept as they are at either end, so that the extreme eigenvalues are exact.
_KEPT = 8
_LEAST = 2 * _KEPT + 2  # modes of a reduced problem
# Modes that n_steps need to a tolerance, over sqrt(n_steps log10(1/tol)): measured (see `OLSProblem.reduced`).
_MODES_FACTOR = 4.0
# "auto" reduces only where that saves at least this factor, and only to this error.
_PAYS = 4
_AUTO_TOL = 1e-6


@dataclass(frozen=True)
class Reduction:
    """What a reduced problem keeps of the one it was made from.

    Attributes
    ----------
    dim : int
        Number of modes of the original.
    fingerprint : str
        That of the original.
    n_steps : int
        Number of steps it was made for.
    error : float
        Estimate of the error of log(excess) over these steps (see `OLSProblem.reduced`).
    star, star_excited : tuple of two floats
        Smallest and largest eigenvalue of the original's H*, besides 0: of all, and of those that the start excites.
    u_norm, w0_norm : float
        Norms of the original's solution and start (in the range of H).
    key : str
        Hash of the arrays of the reduced problem, by which it is known to belong here.
    """

    dim: int
    fingerprint: str
    n_steps: int
    error: float
    star: tuple[float, float]
    star_excited: tuple[float, float]
    u_norm: float
    w0_norm: float
    key: str

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Reduction:
        """Return it from its fields by name, as a file keeps them."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
        return cls(**fields)

    def star_extremes(self, excited: bool) -> tuple[float, float]:
        """Return the extreme eigenvalues of the original's H* besides 0."""
        return self.star_excited if excited else self.star


def key(eigvals: FloatArray, u: FloatArray, w0: FloatArray) -> str:
    """Return a hash of the arrays of a problem."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(x, "<f8").tobytes() for x in (eigvals, u, w0))).hexdigest()


def modes_needed(n_steps: int, tol: float) -> int:
    """Return how many modes carry a run of `n_steps` steps to `tol` in log(excess)."""
    smooth = math.ceil(_MODES_FACTOR * math.sqrt(n_steps * -math.log10(tol)))
    return min(smooth, 2 * (n_steps + 2)) + 2 * _KEPT  # the latter give all the moments that n_steps see


def reduced(problem: OLSProblem, n_steps: int, tol: float, max_modes: int | None) -> OLSProblem:
    """See `OLSProblem.reduced`."""
    n_steps = as_count("n_steps", n_steps, minimum=1)
    tol = as_real("tol", tol)
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol!r}")
    n = modes_needed(n_steps, tol)
    if max_modes is not None:
        n = min(n, as_count("max_modes", max_modes, minimum=_LEAST))
    eigvals, E = problem.eigvals, problem.explained_var
    stuck = math.fsum(eigvals * problem.u * problem.w0) == 0  # sigma0 = 0, or a saddle, which rounding would leave
    if problem.reduction is not None or n >= problem.dim or stuck:
        return problem
    with np.errstate(over="ignore", invalid="ignore"):
        roots = np.sqrt(eigvals / E)
        starts = np.stack([roots * problem.u, roots * problem.w0], axis=1)
        size = math.sqrt(math.fsum(starts[:, 1] ** 2))
    if not np.isfinite(starts).all() or not math.isfinite(size) or not np.isfinite(eigvals[-1] / E):
        raise ValueError("problem must have E = u'Hu, eigenvalues and w0 of moderate sizes to be reduced")
    unit = size or 1.0
    starts[:, 1] /= unit
    points, found = on_one_thread(lambda: _reduced_points(eigvals, starts, n, n_steps))
    error = _error(eigvals, starts, points, found, size, n_steps)
    back = np.sqrt(E / points)
    u, w0 = back * found[:, 0] + 0.0, back * found[:, 1] * unit + 0.0
    whole = StarSpectrum(eigvals, problem.u, problem.w0)
    w0_norm = math.sqrt(math.fsum(problem.w0**2))
    # Gauss quadrature finds too little of ||w0||^2, the moment of 1/lambda: in slow modes, which hardly move.
    lost = max(0.0, w0_norm**2 - math.fsum(w0**2))
    reduction = Reduction(
        dim=problem.dim,
        fingerprint=problem.fingerprint,
        n_steps=n_steps,
        error=error,
        star=whole.extremes(False),
        star_excited=whole.extremes(True),
        u_norm=math.sqrt(math.fsum(problem.u**2)),
        w0_norm=w0_norm,
        key=key(points, u, w0),
    )
    null_norm = math.hypot(problem.w0_null_norm, math.sqrt(lost))
    return type(problem)(
        points,
        u,
        w0,
        a0=problem.a0,
        target_var=problem.target_var,
        w0_null_norm=null_norm,
        label=problem.label,
        rank_tol=problem.rank_tol,
        reduction=reduction,
    )


def reduce_for(problem: OLSProblem, n_steps: int, reduce: bool | str | int) -> OLSProblem:
    """Return the problem that a sweep of `n_steps` steps is to run.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    n_steps : int
        Number of steps.
    reduce : False, "auto" or int
        False: as it is. "auto": reduced, if that saves a factor of 4 of its modes and its estimated error is at most
        1e-6 in log(excess). A number: reduced to at most so many modes, whatever the error.
    """
    check_reduce(reduce)
    if reduce is False:
        return problem
    if reduce != "auto":
        return reduced(problem, max(n_steps, 1), 1e-12, int(reduce))
    if n_steps < 1 or problem.dim < _PAYS * modes_needed(n_steps, 1e-12):
        return problem
    found = reduced(problem, n_steps, 1e-12, None)
    return found if found.reduction_error <= _AUTO_TOL else problem


def check_reduce(reduce: Any) -> None:
    """Refuse what `reduce_for` does not know."""
    known = reduce is False or (isinstance(reduce, str) and reduce == "auto")
    if not known and (isinstance(reduce, bool) or not isinstance(reduce, int | np.integer)):
        raise ValueError(f"reduce must be False, 'auto' or a number of modes, got {reduce!r}")
    if not known:
        as_count("reduce", reduce, minimum=_LEAST)


def reduced_dim(dim: int, n_steps: int, reduce: bool | str | int) -> int:
    """Return how many modes `reduce_for` leaves of `dim`, if the error is small enough."""
    if reduce is False or n_steps < 1:
        return dim
    needed = modes_needed(n_steps, 1e-12)
    if isinstance(reduce, str):
        return needed if dim >= _PAYS * needed else dim
    return min(dim, needed, int(reduce))


def _reduced_points(eigvals: FloatArray, starts: FloatArray, n: int, n_steps: int) -> tuple[FloatArray, FloatArray]:
    """Reduce all but the outermost modes, in chunks that are reduced and merged two by two."""
    inner = slice(_KEPT, eigvals.size - _KEPT)
    n -= 2 * _KEPT
    top = float(eigvals[-1])

    def shrink(part: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
        points, x = part
        # A run is a polynomial of degree 2 n_steps in lambda, bounded on [0, top]: at most a wave in the angle
        # 2 arcsin(sqrt(lambda/top)), for which as many points as half its phase, and some more, are enough on a chunk.
        # Mostly it is smooth like (1 - t lambda)^(2 n_steps), for which the chunk's share of n, doubled, is enough.
        ends = np.sqrt(np.array([points.min(), points.max()]) / top)
        angle = 2 * float(np.diff(np.arcsin(np.minimum(ends, 1.0)))[0])
        phase = n_steps * angle
        needed = math.ceil(min(n, phase + 7 * phase ** (1 / 3) + 12, 2 * n * angle / math.pi + 24))
        return part if points.size <= needed else gauss_points(points, x, needed)

    eigenvalues, x = eigvals[inner], starts[inner]
    parts = [shrink((eigenvalues[i : i + _CHUNK], x[i : i + _CHUNK])) for i in range(0, eigenvalues.size, _CHUNK)]
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [shrink(_joined(pair)) for pair in pairs]
    return _joined([(eigvals[:_KEPT], starts[:_KEPT]), *parts, (eigvals[-_KEPT:], starts[-_KEPT:])])


def _joined(parts: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _error(
    eigvals: FloatArray, starts: FloatArray, points: FloatArray, found: FloatArray, size: float, n_steps: int
) -> float:
    """Return the largest error of a log of ``sum x^2 (1 - t lambda)^(2 n_steps)`` over steps t and vectors x.

    The vectors are u, w0 and w0 - u: so for the last it is the very excess of GD with the learning rate t.
    """
    top, worst = float(eigvals[-1]), 0.0
    for t in np.concatenate([np.geomspace(0.1 / n_steps, 1.5, 12), [1.9, 2.0]]) / top:
        for steps in {n_steps, max(1, n_steps // 10)}:
            sums = []
            for x, lam in ((starts, eigvals), (found, points)):
                factor = np.abs(1 - t * lam) ** steps
                with np.errstate(under="ignore"):
                    a, b = x[:, 0] * factor, x[:, 1] * factor
                    sums.append([float(np.sum(v * v)) for v in (a, b, a - size * b)])
            rounding = MACHEPS * sums[0][0]  # of w0 - u, where w0 is u
            for exact, approximate, least in zip(*sums, (0.0, 0.0, rounding), strict=True):
                if exact > max(least, 1e-280):
                    worst = max(worst, abs(math.log(approximate / exact)) if approximate > 0 else math.inf)
    return worst
