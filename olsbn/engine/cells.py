"""Cells of one problem, run by a step: variants, the rounding flag, and numbers in the problem's own units.

The rounding flag. A cell whose rounding may have been amplified is run again in other units, (w, eps) -> (f w, f^2 eps)
and (H, eps) -> (t H, eps/t), which leave the dynamics as they are and make every rounding fall differently. It is
flagged where the two runs differ by more than `_DIFFERENT`, a tenth of the nine digits that are promised, at the end
or, in the mean, on the way there: with weight decay a run comes to the same cycle wherever it was. Where they differ
visibly, but by less, a third run decides. What all runs miss alike is a slaved mode (`olsbn.engine.tile`) whose
own part, below anything that float64 can show, had the time to grow: such cells are flagged by the tile itself.

A cell is not run again where a bound on what rounding has put into its error (`olsbn.engine.emit`) never came near the
error itself: each step rounds by one part in 2^53, and multiplies what was there by at most the largest of |1 - eps_eff
mu| over the modes and |1 - eps_a|. That counts neither the number of roundings nor their way through eps_eff, so there
is room for a factor of a hundred; `tests/stress/audit.py` tries it. Where delta and the modes are coupled, and with
momentum, every cell is run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from olsbn._validate import FloatArray
from olsbn.engine.coordinates import Coordinates, moved, unit_of
from olsbn.engine.ending import CANCELLED, DEGENERATE
from olsbn.engine.run import Run
from olsbn.engine.step import COUPLED, DECOUPLED, REPORTED, Kind, Step

Columns = dict[str, Any]

OTHER_UNITS = (1.3741592653589793, 1.6180339887498949)  # f and t of the second run: no powers of two
_THIRD_UNITS = (0.8271828182845905, 2.3025850929940455)
_FACTORS = "factor", "factor_a"  # parameters that schedules change from step to step
_DIFFERENT, _VISIBLE = 1e-10, 1e-12


@dataclass(frozen=True, eq=False)
class Schedules:
    """Factors of the learning rates: `tables` (t, n_steps + 1), or (t, 1); which is of w and a, a cell."""

    tables: FloatArray
    which: np.ndarray  # int64[cells, 2]

    @cached_property
    def neutral(self) -> np.ndarray:
        """Whether the tables of w, and of a, are 1 at every step: bool[cells, 2]."""
        return (self.tables == 1).all(axis=1)[self.which]

    def moved(self, seed: float) -> Schedules:
        """Return the schedules with every factor moved by a rounding, but for those that are 1."""
        return Schedules(np.where(self.tables == 1, 1.0, moved(self.tables, seed)), self.which)

    def of(self, cells: np.ndarray) -> Schedules:
        """Return the schedules of some cells."""
        return Schedules(self.tables, self.which[cells])


def constant_rates(n: int) -> Schedules:
    """Return the schedules of n cells whose learning rates stay."""
    return Schedules(np.ones((1, 1)), np.zeros((n, 2), np.int64))


@cache
def _kind(step: Step, folded: tuple[str, ...]) -> Kind:
    return Kind(step, folded)


def execute(
    step: Step, x: Coordinates, params: Mapping[str, FloatArray], run: Run, schedules: Schedules | None = None
) -> tuple[Columns, Columns]:
    """Run cells of one problem.

    Parameters
    ----------
    step : Step
        The dynamics.
    x : Coordinates
        The problem, in the coordinates of the step.
    params : dict of ndarray, each of shape (cells,)
        The step's parameters, in the units of the coordinates; neutral ones may be left out.
    run : Run
        How far, and which steps to keep.
    schedules : Schedules, optional
        Factors of the learning rates.

    Returns
    -------
    cells : dict of ndarray, each of shape (cells,)
        ``status`` (a code of `olsbn.schema.Status`), ``steps_to_tol``, ``n_steps_run``, ``excess``, ``eps_eff``,
        ``w_norm``, ``a``, ``rate_sim`` and, if asked for, ``by_rounding``: at the step where the cell ended.
    trace : dict of ndarray, each of shape (r, cells)
        ``excess``, ``residual``, ``a``, ``w_norm``, ``eps_eff``, ``by_rounding`` at the steps of `run.record`, NaN
        (and False) after a cell's end.
    """
    n = next(iter(params.values())).size
    schedules = schedules or constant_rates(n)
    if x.degenerate:
        return _degenerate(x, n, run, step.told)
    neutral = {name: value for name, value in step.params.items() if value is not None and name not in _FACTORS}
    given = {name: np.full(n, value) for name, value in neutral.items()} | dict(params)
    params = {name: given[name] for name in step.params if name in given}
    with np.errstate(all="ignore"):
        found = _runs(step, x, params, run, schedules)
        if run.check_rounding:
            _flag(step, x, params, run, schedules, found)
        return found.columns(x, run, step)


@dataclass(frozen=True, eq=False)
class _Found:
    counts: np.ndarray
    numbers: FloatArray
    trace: FloatArray

    @classmethod
    def empty(cls, n: int, n_recorded: int, n_numbers: int) -> _Found:
        counts = np.full((n, 3), CANCELLED)
        return cls(counts, np.full((n, n_numbers), np.nan), np.full((n_recorded, n, n_numbers), np.nan))

    def put(self, cells: np.ndarray, part: _Found) -> None:
        self.counts[cells], self.numbers[cells], self.trace[:, cells] = part.counts, part.numbers, part.trace

    def columns(self, x: Coordinates, run: Run, step: Step | None = None) -> tuple[Columns, Columns]:
        from olsbn.engine.tile import N_RATE

        cells, trace = _in_units(x, self.numbers, step), _in_units(x, self.trace, step)
        del cells["residual"]
        if not run.check_rounding:
            del cells["by_rounding"], trace["by_rounding"]
        counted = {"status": self.counts[:, 0], "steps_to_tol": self.counts[:, 1], "n_steps_run": self.counts[:, 2]}
        return counted | cells | {"rate_sim": self.numbers[:, N_RATE]}, trace


def _in_units(x: Coordinates, numbers: FloatArray, step: Step | None) -> Columns:
    from olsbn.engine.tile import N_EXCESS, N_EXPONENT, N_MARK, N_REPORTED

    told = {name: numbers[..., N_REPORTED + i] for i, name in enumerate(REPORTED)}
    exponent = np.nan_to_num(numbers[..., N_EXPONENT]).astype(int)
    own = {name: x.own(step, name, told[f"own {i}"], exponent) for i, name in enumerate(step.told)} if step else {}
    return own | {
        "excess": numbers[..., N_EXCESS],
        "residual": np.sqrt(told["residual2"]),
        "a": x.scale * told["a"],
        "eps_eff": np.ldexp(x.eps_eff_scale * told["eps_eff"], x.eigval_exp),
        "w_norm": x.norm(told["norm2"], exponent, np.ldexp(told["null"], -exponent)),
        "by_rounding": numbers[..., N_MARK] == 1,
    }


def _runs(step: Step, x: Coordinates, params: Mapping[str, FloatArray], run: Run, schedules: Schedules) -> _Found:
    """Run every cell by the code that its own parameters ask for: what is neutral in it folds away."""
    from olsbn.engine.tile import N_NUMBERS

    n = next(iter(params.values())).size
    neutral_rates = schedules.neutral
    neutral: dict[str, Any] = {name: params[name] == value for name, value in step.params.items() if name in params}
    neutral |= {name: neutral_rates[:, i] for i, name in enumerate(_FACTORS)}
    which = np.zeros(n, np.int64)
    for i, names in enumerate(step.folds):
        folds = np.ones(n, bool)
        for name in names:
            folds &= neutral.get(name, True)
        which += folds.astype(np.int64) << i
    found = _Found.empty(n, run.record.size, N_NUMBERS)
    for number in np.unique(which).tolist():
        folded = dict.fromkeys(name for i, names in enumerate(step.folds) if number >> i & 1 for name in names)
        kind, mine = _kind(step, tuple(folded)), which == number
        if mine.all():
            return _run_kind(kind, x, params, run, schedules)
        cells = np.flatnonzero(mine)
        part = {name: values[cells] for name, values in params.items()}
        found.put(cells, _run_kind(kind, x, part, run, schedules.of(cells)))
    return found


def _run_kind(kind: Kind, x: Coordinates, params: Mapping[str, FloatArray], run: Run, schedules: Schedules) -> _Found:
    from olsbn.engine import tile

    step, fixed = kind.step, _fixed(kind, x)
    n = next(iter(params.values())).size
    missing = [name for name in fixed.own if name not in params]
    if missing:
        raise ValueError(f"{', '.join(missing)} must be given to {type(step).__name__}, got {', '.join(params)}")
    values = np.empty((n, len(fixed.own)))
    for i, name in enumerate(fixed.own):
        values[:, i] = params[name]
    returns, moving = np.zeros(n, bool), np.zeros(n, bool)
    for name in step.may_return:
        if name in params:
            returns |= params[name] != step.params[name]
    for name in step.settles:
        if name in params:
            moving |= params[name] != step.params[name]
    decays = params["decay"] != 0 if "decay" in params else np.zeros(n, bool)
    cells = tile.Cells(
        values, fixed.where, schedules.tables, schedules.which, ~decays, returns,
        ~moving & schedules.neutral.all(axis=1),
    )  # fmt: skip
    ask = tile.Ask(run.n_steps, run.tol, run.stop_at_tol, run.floor, x.limit, run.cancel)
    found = _Found.empty(n, run.record.size, tile.N_NUMBERS)
    out = tile.Out(found.counts, found.numbers, run.record, found.trace)
    tile.run_tile(fixed.code, *fixed.groups, fixed.lanes, cells, fixed.tracked, ask, out)
    return found


class _Fixed(NamedTuple):
    """What does not depend on the cells: code, modes, and how lanes begin."""

    code: Any
    groups: tuple[Any, Any]
    lanes: Any
    tracked: Any
    own: tuple[str, ...]  # the parameters that are rows of the table
    where: Any


@lru_cache(maxsize=64)
def _fixed(kind: Kind, x: Coordinates) -> _Fixed:
    from olsbn.engine import emit, tile

    layout, rows = kind.layout, emit.rows(kind)
    row = [rows.row.get(name, -1) for name in ("A", "B", "V", "beta", "factor", "factor_a")]
    begin, idle, power = np.zeros(rows.n_rows), np.zeros(rows.n_rows), np.zeros(rows.n_rows, np.int64)
    for name, where in rows.row.items():
        begin[where], idle[where] = x.begin.get(name, 0.0), kind.step.idle.get(name, 0.0)
        power[where] = int(kind.step.units.get(name, (0, 0))[0])
    for first, last in ((emit.OWN, emit.PAST_A), (emit.PAST_B, emit.NAMED)):
        power[first:last] = 1
    idle[emit.LEVEL] = -1.0
    own = tuple(name for name in layout.params if name not in _FACTORS)
    return _Fixed(
        tile.Code._make([*emit.compiled(kind), *row, kind.slaves]),
        (_group(kind, x, COUPLED), _group(kind, x, DECOUPLED)),
        tile.Lanes(begin, idle, power, np.array([x.limit, *(x.facts[name] for name in layout.facts)])),
        x.tracked if kind.slaves else np.empty(0, np.int64),
        own,
        np.array([rows.row[name] for name in own], np.int64),
    )


def _group(kind: Kind, x: Coordinates, group: str) -> Any:
    from olsbn.engine.tile import Group

    if group not in kind.step.numbers:
        nothing = np.empty(0)
        return Group(nothing, nothing, np.empty((0, len(kind.layout.state))), nothing, nothing)

    def packed(names: tuple[str, ...]) -> FloatArray:
        return np.stack([x.numbers[group][name] for name in names], axis=1).ravel() if names else np.empty(0)

    n = next(iter(x.start[group].values())).size
    start = np.zeros((n, len(kind.layout.state)))
    for i, name in enumerate(kind.layout.state):
        if name in x.start[group]:
            start[:, i] = x.start[group][name]
    return Group(
        packed(kind.layout.numbers[group]), packed(kind.layout.reported_numbers[group]), start, x.mu[group], x.b[group]
    )


# -------------------------------------------------------------------- the rounding flag


def _flag(
    step: Step, x: Coordinates, params: Mapping[str, FloatArray], run: Run, schedules: Schedules, found: _Found
) -> None:
    """Flag the cells that rounding decides: in `found`, N_MARK becomes 1."""
    from olsbn.engine.tile import N_AGAIN, N_MARK

    # what is flagged at its end may have been right at a step before
    unflagged = (found.numbers[:, N_MARK] != 1) | (found.trace[..., N_MARK] == 0).any(axis=0)
    again = np.flatnonzero((found.numbers[:, N_AGAIN] == 1) & unflagged)
    here = _compared(x, found, again, run, step)
    for f, t in (OTHER_UNITS, _THIRD_UNITS):
        if not again.size:
            return
        scaled = {name: values[again] * unit_of(step, name, f, t) for name, values in params.items()}
        if "decay" in scaled:  # a product, and so a rounded number
            scaled["decay"] = moved(scaled["decay"], f)
        other = x.in_other_units(step, f, t)
        there = _compared(other, _runs(step, other, scaled, run, schedules.of(again).moved(f)), slice(None), run, step)
        if run.cancel[0]:
            found.counts[again, 0] = CANCELLED  # not known to be right
            return
        ends, steps = _differ(here, there, _DIFFERENT, step.told)
        found.numbers[again[ends], N_MARK] = 1
        found.trace[:, again, N_MARK] = np.where(steps, 1, found.trace[:, again, N_MARK])
        ends, steps = _differ(here, there, _VISIBLE, step.told)
        visible = ends | steps.any(axis=0)
        again = again[visible]
        here = {name: values[..., visible] for name, values in here.items()}


_COMPARED = "excess", "eps_eff", "a", "w_norm"


def _compared(x: Coordinates, found: _Found, cells: Any, run: Run, step: Step) -> Columns:
    """Return what two runs of the same cells are compared by."""
    from olsbn.engine.tile import N_HISTORY

    ends, steps = found.columns(x, run, step)
    kept = {name: ends[name][cells] for name in ("status", "steps_to_tol", *_COMPARED, *step.told)}
    kept["excess"] = np.where(kept["excess"] <= run.floor, 0, kept["excess"])
    kept |= {f"{name} at steps": steps[name][:, cells] for name in (*_COMPARED, *step.told)}
    kept["history"] = _bits(found.numbers[..., N_HISTORY])[cells]
    kept["history at steps"] = _bits(found.trace[..., N_HISTORY])[:, cells]
    # a history is a sum over the steps up to there
    kept["length"] = found.counts[cells, 2] + 1
    kept["length at steps"] = np.broadcast_to(run.record[:, None] + 1, kept["history at steps"].shape)
    return kept


def _bits(numbers: FloatArray) -> Any:
    """Return float64 as the whole numbers that their bits are."""
    return np.ascontiguousarray(numbers).view(np.int64)


def _differ(here: Columns, there: Columns, level: float, told: tuple[str, ...]) -> tuple[Any, Any]:
    """Return which cells differ by more than `level` at their ends, and which at the steps recorded.

    They differ as well where the mean of what their excesses differed by on the way does.
    """

    def apart(at: str) -> Any:
        # a relative change of `level` moves the bits by at most level 2^53
        lost = np.abs(here[f"history{at}"] - there[f"history{at}"]) > here[f"length{at}"] * (level * 2.0**52)
        for name in (*_COMPARED, *told):
            x, y = here[name + at], there[name + at]
            # where both are 0, infinite or NaN they are the same
            lost = lost | (np.abs(x - y) > level * np.abs(x)) | (np.isnan(x) != np.isnan(y))
        return lost

    ends = (here["status"] != there["status"]) | (here["steps_to_tol"] != there["steps_to_tol"])
    return ends | apart(""), apart(" at steps")


# -------------------------------------------------------------------- starts that stay


def _degenerate(x: Coordinates, n: int, run: Run, told: tuple[str, ...]) -> tuple[Columns, Columns]:
    """Return what n cells that cannot step have: sigma = 0, or a saddle, where the loss is J(0, w) = c/2."""
    kept = {
        "excess": 1.0 if x.saddle else np.nan,
        "a": x.a0,
        "w_norm": x.w0_norm,
        "eps_eff": 0.0 if x.saddle else np.nan,
    }
    kept |= dict.fromkeys(told, np.nan)
    if run.check_rounding:
        kept["by_rounding"] = False
    cells = {"status": DEGENERATE, "steps_to_tol": -1, "n_steps_run": 0, "rate_sim": np.nan, **kept}
    kept["residual"] = kept["excess"]  # on a saddle w'g = 0, so the residual is all of u
    return (
        {name: np.full(n, value) for name, value in cells.items()},
        {name: np.full((run.record.size, n), value) for name, value in kept.items()},
    )
