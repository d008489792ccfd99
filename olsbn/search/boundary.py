"""A boundary in the plane of two parameters, refined where the answer changes, and its box-counting dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_real, check_memory, one_of
from olsbn.dynamics.registry import DEFAULT, METHODS
from olsbn.problems import OLSProblem, as_problem
from olsbn.schema import Status
from olsbn.sweeps.compute import simulate
from olsbn.sweeps.pool import on_threads
from olsbn.sweeps.spec import SweepSpec

if TYPE_CHECKING:
    import xarray as xr

# Points computed in one go on a thread, and bytes that a point takes while the plane is refined.
_CHUNK, _BYTES_A_POINT = 2048, 200
# The finest scales are left out: what is thinner than a box has been missed there.
_FINE = 1
WHAT = ("status", "steps", "sign")

Label = Callable[[FloatArray, FloatArray], np.ndarray]


def zoom(
    problem: OLSProblem,
    method: str = DEFAULT,
    *,
    x: Sequence[Any],
    y: Sequence[Any],
    what: str = "status",
    n_steps: int = 1000,
    tol: float = 1e-10,
    levels: int = 9,
    check_rounding: bool = True,
    workers: int | None = None,
    **params: Any,
) -> xr.Dataset:
    r"""Refine the boundary between answers in the plane of two parameters, and measure its box-counting dimension.

    Parameters
    ----------
    problem : OLSProblem
        The problem and the start.
    method : str, optional
        A name from `olsbn.methods`.
    x, y : (name, low, high) or (name, low, high, "log" or "lin")
        The two parameters and their ranges. Default spacing: that of the parameter.
    what : {"status", "steps", "sign"}, optional
        The answer: how a cell ends; how many doublings its steps to the tolerance are (-1 where it never gets there);
        the sign of the scale a at the end, which is that of the limit of w along u.
    n_steps, tol, check_rounding, workers
        As in `olsbn.sweep`.
    levels : int, optional
        In [7, 14]. The finest grid has 2**levels boxes along each axis.
    **params : float
        The method's other parameters and options.

    Returns
    -------
    xarray.Dataset
        Over ``level``: `boxes`, how many boxes of side ``2**-level`` the boundary needs, and `points`, how many cells
        were computed up to there. Over ``box``: `x`, `y`, the middles of the finest boxes, and `flagged`, whether
        rounding may decide a corner. Attributes: `dimension`, `uncertainty`, `first_level`, `last_level` of the fit,
        `flagged_share` of the finest boxes.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above, a method without a scale for "sign", and a plane without a boundary.

    Notes
    -----
    A box is counted where the answers at its four corners differ. A counted box and its neighbours are divided into
    four, so what lies inside a box with equal corners, and away from others, is not found: the dimension of a set of
    thin threads comes out low. `dimension` is the mean slope of log2(boxes) against the level, without the finest one;
    `uncertainty` is half the range of the slopes between neighbouring levels: how far the law holds, and not a bound
    (asymptotic). Cost: cells in proportion to the boxes of the finest level.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[1.0, -0.5])
    >>> found = olsbn.zoom(problem, "gd", x=("eps", 0.1, 1.0), y=("momentum", 0.0, 0.9), n_steps=200, levels=7)
    >>> abs(found.dimension - 1) < 0.2
    True
    """
    import xarray as xr

    as_problem(problem)
    one_of("what", what, WHAT)
    levels = as_count("levels", levels, minimum=7, maximum=14)
    axes = [_axis(key, given, method) for key, given in (("x", x), ("y", y))]
    if axes[0][0] == axes[1][0]:
        raise ValueError(f"x and y must be different parameters, got {axes[0][0]!r} twice")
    if what == "sign" and "eps_a" not in {param.name for param in METHODS[method].params}:
        raise ValueError(f"what must be status or steps for a method without a scale, got 'sign' with {method!r}")
    both = {name: values for name, values, _, _ in ((a[0], np.array(a[1:3]), a[3], None) for a in axes)}
    spec = SweepSpec.checked(
        problem, method, {**params, **both}, n_steps=n_steps, tol=tol, stop="steps", check_rounding=check_rounding
    )
    fixed = {name: float(values[0]) for name, values in spec.params.items() if name not in both}
    flags: dict[str, list[np.ndarray]] = {"flag": []}

    def label(u: FloatArray, v: FloatArray) -> np.ndarray:
        places = {axis[0]: _place(axis, t) for axis, t in zip(axes, (u, v), strict=True)}
        labels, flagged = _answers(spec, problem, places, fixed, what, workers)
        flags["flag"].append(flagged)
        return labels

    found = refine(label, levels)
    if not found.boxes.size:
        raise ValueError(
            f"the plane must have a boundary of the {what}, got one answer everywhere at the level {START} of boxes"
        )
    flagged = found.at_corners(np.concatenate(flags["flag"]))
    dimension, uncertainty, first, last = slope(found.counts)
    middles = [_place(axis, (found.boxes[:, k] + 0.5) / 2**levels) for k, axis in enumerate(axes)]
    data = {
        "boxes": ("level", np.array([found.counts[k] for k in sorted(found.counts)]), {"long_name": "boxes needed"}),
        "points": ("level", np.array([found.points[k] for k in sorted(found.counts)]), {"long_name": "cells computed"}),
        "x": ("box", middles[0], {"long_name": axes[0][0]}),
        "y": ("box", middles[1], {"long_name": axes[1][0]}),
        "flagged": ("box", flagged, {"long_name": "whether rounding may decide a corner"}),
    }
    attrs = {
        **spec.attrs(),
        "what": what,
        **{f"{key}_{part}": value for key, axis in zip("xy", axes, strict=True) for part, value in
           zip(("name", "low", "high", "spacing"), axis, strict=True)},
        "dimension": dimension,
        "uncertainty": uncertainty,
        "first_level": first,
        "last_level": last,
        "flagged_share": float(flagged.mean()),
    }  # fmt: skip
    return xr.Dataset(data, coords={"level": sorted(found.counts)}, attrs=attrs)


def _axis(key: str, given: Any, method: str) -> tuple[str, float, float, str]:
    """Check an axis and return its parameter, its ends and its spacing."""
    from olsbn.dynamics.registry import method_named

    able = {param.name: param for param in method_named(method).params if param.kind == "real"}
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) not in (3, 4):
        raise TypeError(f"{key} must be (name, low, high) or (name, low, high, spacing), got {given!r}")
    param = able[one_of(f"name of {key}", given[0], able)]
    low, high = as_real(f"low of {key}", given[1]), as_real(f"high of {key}", given[2])
    spacing = one_of(f"spacing of {key}", given[3], ("log", "lin")) if len(given) == 4 else ""
    spacing = spacing or ("log" if param.spacing == "log" else "lin")
    if not (low < high and (low > 0 or spacing == "lin")):
        raise ValueError(f"{key} must have low < high, and low > 0 with spacing 'log', got {given!r}")
    return param.name, low, high, spacing


def _place(axis: tuple[str, float, float, str], t: FloatArray) -> FloatArray:
    """Return values of a parameter at places in [0, 1] of its axis."""
    _, low, high, spacing = axis
    values = low * (high / low) ** t if spacing == "log" else low + t * (high - low)
    return np.clip(values, low, high)


def _answers(
    spec: SweepSpec,
    problem: OLSProblem,
    places: dict[str, FloatArray],
    fixed: dict[str, float],
    what: str,
    workers: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run cells at scattered places; return their answers, and whether rounding may decide them."""
    n = len(next(iter(places.values())))
    labels, flagged = np.zeros(n, np.int64), np.zeros(n, bool)

    def compute(first: int, cancel: np.ndarray) -> dict[str, np.ndarray]:
        part = slice(first, min(first + _CHUNK, n))
        size = part.stop - part.start
        cells = {name: places[name][part] if name in places else np.full(size, fixed[name]) for name in spec.params}
        return simulate(spec, problem, cells, None, cancel)[0]

    for first, cells in on_threads(compute, range(0, n, _CHUNK), workers):
        part = slice(first, min(first + _CHUNK, n))
        if what == "status":
            labels[part] = cells["status"]
        elif what == "sign":
            ended = np.isin(cells["status"], (Status.CONVERGED, Status.MAX_STEPS))
            labels[part] = np.where(ended, np.sign(cells["a"]), 2)
        else:
            steps = cells["steps_to_tol"]
            labels[part] = np.where(steps < 0, -1, np.log2(np.maximum(steps, 1)).astype(np.int64))
        if "by_rounding" in cells:
            flagged[part] = cells["by_rounding"]
    return labels, flagged


# -------------------------------------------------------------------- boxes

START = 5  # the first grid has 2**5 boxes along each axis, all of them looked at


class Refined:
    """A refined plane: the finest boxes of the boundary, how many are needed at each level, and points by then."""

    def __init__(self, levels: int) -> None:
        self.side = 2**levels + 1  # points along an axis of the finest grid
        self.keys = np.empty(0, np.int64)  # of points that are known, ascending
        self.labels = np.empty(0, np.int64)
        self.order = np.empty(0, np.int64)  # in which they were computed
        self.boxes = np.empty((0, 2), np.int64)
        self.counts: dict[int, int] = {}
        self.points: dict[int, int] = {}

    def learn(self, points: np.ndarray, label: Label) -> None:
        """Compute the labels of points, given in units of the finest grid, that are not known yet."""
        keys = np.setdiff1d(points[:, 0] * self.side + points[:, 1], self.keys)
        if not keys.size:
            return
        check_memory("the number of cells", self.keys.size + keys.size, _BYTES_A_POINT)
        u, v = keys // self.side / (self.side - 1), keys % self.side / (self.side - 1)
        labels = np.asarray(label(u, v))
        known = self.keys.size
        self.keys = np.concatenate([self.keys, keys])
        self.labels = np.concatenate([self.labels, labels])
        self.order = np.concatenate([self.order, np.arange(known, known + keys.size)])
        by_key = np.argsort(self.keys, kind="stable")
        self.keys, self.labels, self.order = self.keys[by_key], self.labels[by_key], self.order[by_key]

    def corners(self, boxes: np.ndarray, step: int) -> np.ndarray:
        """Return the four corners of boxes of a side, in units of the finest grid, (boxes, 4, 2)."""
        return (boxes[:, None, :] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])) * step

    def differ(self, boxes: np.ndarray, step: int) -> np.ndarray:
        """Return whether the labels at the corners of boxes differ."""
        corners = self.corners(boxes, step)
        found = self.labels[np.searchsorted(self.keys, corners[..., 0] * self.side + corners[..., 1])]
        return np.asarray((found != found[:, :1]).any(axis=1))

    def at_corners(self, values: np.ndarray) -> np.ndarray:
        """Return for the finest boxes whether any corner has a property, given in the order of computation."""
        corners = self.corners(self.boxes, 1)
        places = np.searchsorted(self.keys, corners[..., 0] * self.side + corners[..., 1])
        return np.asarray(values[self.order[places]].any(axis=1))


def refine(label: Label, levels: int) -> Refined:
    """Refine the boundary between the labels of a function on the unit square; see `zoom`.

    ``label(u, v)`` returns whole numbers for vectors of places.
    """
    found = Refined(levels)
    side = 2**START
    boxes = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    for level in range(START, levels + 1):
        step = 2 ** (levels - level)
        found.learn(found.corners(boxes, step).reshape(-1, 2), label)
        boxes = boxes[found.differ(boxes, step)]
        found.points[level] = int(found.keys.size)
        if level == levels or not boxes.size:
            break
        around = boxes[:, None, :] + np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
        near = np.unique(around.reshape(-1, 2), axis=0)
        near = near[((near >= 0) & (near < 2**level)).all(axis=1)]
        boxes = (near[:, None, :] * 2 + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).reshape(-1, 2)
    found.boxes = boxes
    for level in range(START, levels + 1):
        found.points.setdefault(level, int(found.keys.size))
        found.counts[level] = len(np.unique(boxes >> (levels - level), axis=0)) if boxes.size else 0
    return found


def slope(counts: dict[int, int]) -> tuple[float, float, int, int]:
    """Return the mean slope of log2(boxes) against the level, half the range of slopes, and the levels used."""
    used = sorted(counts)[:-_FINE]
    slopes = np.diff(np.log2([max(counts[k], 1) for k in used]))
    return float(slopes.mean()), float(np.ptp(slopes)) / 2, used[0], used[-1]
