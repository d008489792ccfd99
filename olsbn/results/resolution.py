"""Cells that rounding decides, run again with as many digits as they need, and replaced by what is proved."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import __version__, quantity
from olsbn._validate import as_count
from olsbn.balls import Ball, Exact, Undecided, precision
from olsbn.certification import at_step, check_method, exact_cell, settings
from olsbn.dynamics.registry import METHODS
from olsbn.files import open_own
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.results import opening
from olsbn.results.datasets import check_variables
from olsbn.results.processes import on_processes
from olsbn.results.proof import place_of, problem_of, source_to_prove
from olsbn.schema import Status
from olsbn.sweeps.compute import theory_of_cells
from olsbn.sweeps.progress import Progress, meter
from olsbn.sweeps.running import digest
from olsbn.sweeps.spec import SweepSpec

if TYPE_CHECKING:
    import xarray as xr

_AT_ONCE = 4  # neighbouring cells that a process proves one after the other: they need about the same precision
_NUMBERS = ("excess", "eps_eff", "a", "w_norm")
_PROVED = {"status", "steps_to_tol", "n_steps_run", *_NUMBERS, "by_rounding", "rate_theory"}
_JOURNAL = "proved.jsonl"
_SPARE_BITS = 160  # beyond those that the cell before has lost: 64 are wanted
_begin = [128]  # precision that a cell of this process begins with


def resolve(
    ds: xr.Dataset,
    problem: OLSProblem | ProblemFamily | None = None,
    max_cells: int | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = None,
) -> xr.Dataset:
    r"""Replace the cells of a sweep that rounding decides by what is proved of them.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep` with the rounding flag `by_rounding`, or a part of one.
    problem : OLSProblem or ProblemFamily, optional
        What was iterated. It may be left out for a family, and for a Dataset opened from its Zarr store.
    max_cells : int, optional
        How many cells to prove, >= 0, in the order of `ds`; the others stay flagged. Default: all.
    store : path, optional
        Where the result goes: a Zarr store, as `Dataset.to_zarr` writes it. What is proved is kept there from the
        first cell on, and the same call goes on from it; of a finished store the result is read.
    workers : int, optional
        Processes. Default: all processors.
    progress : bool or callable, optional
        Show progress on standard error. Default: if it is a terminal.

    Returns
    -------
    xarray.Dataset
        `ds` with `excess`, `eps_eff`, `a`, `w_norm`, `status`, `steps_to_tol` and `n_steps_run` of the flagged cells
        exact, rounded to float64, also at recorded steps; `rate_theory` follows from them, and what is not proved,
        such as `rate_sim`, is NaN. There `resolved` is True and `by_rounding` False. What 65536 bits do not decide
        stays flagged. `attrs`:
        `cells_resolved`, `cells_undecided`, and `cells_flagged`, how many are left.

    Raises
    ------
    ValueError, TypeError
        For a Dataset without the flag, methods without proofs, a store of something else, and where `problem` is
        missing or another one.
    ImportError
        Without python-flint, the extra "certify".

    Notes
    -----
    Kind of guarantee: proof, as of `olsbn.certify`. A contraction ratio of few digits more is no proof of a limit: so
    `rate_sim` is left out. Cost: about 40 microseconds a step for d = 10 and plain BNGD, more where many digits are
    needed.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem([1, 7e5], [-0.3, 0.07], [0.35, 0.25])
    >>> ds = olsbn.sweep(problem, eps=[0.02, 0.0275, 0.03], n_steps=800)
    >>> found = olsbn.resolve(ds, problem)
    >>> int(found.by_rounding.sum()), int(found.resolved.sum()) == int(ds.by_rounding.sum())
    (0, True)
    """
    check_variables(ds, "a result of sweep", ("status", "by_rounding", "steps_to_tol", *_NUMBERS))
    source = source_to_prove(ds, problem)
    check_method(ds.attrs["method"], ds.attrs)
    axes = tuple(str(name) for name in ds["status"].dims)
    flagged = _any_step(ds["by_rounding"]).transpose(*axes).values & (ds["status"].values != Status.NOT_RUN)
    cells = np.flatnonzero(flagged)[: None if max_cells is None else as_count("max_cells", max_cells)].tolist()
    with _journal(store, ds) as journal:
        if journal.finished and journal.path is not None:
            return opening.open(journal.path).load()
        _prove(ds, source, axes, [cell for cell in cells if cell not in journal.proved], journal, workers, progress)
        proved = {cell: row for cell in cells if (row := journal.proved[cell]) is not None}
        found = _replaced(ds, source, axes, proved)
        found.attrs["cells_resolved"] = int(found["resolved"].sum())
        found.attrs["cells_undecided"] = len(cells) - len(proved)
        found.attrs["cells_flagged"] = int(_any_step(found["by_rounding"]).sum())
        if journal.path is not None and len(cells) == np.count_nonzero(flagged):
            journal.finish(found)
    return found


def _any_step(flag: xr.DataArray) -> xr.DataArray:
    return flag.any("step") if "step" in flag.dims else flag.astype(bool)


# -------------------------------------------------------------------- proving


def _prove(
    ds: xr.Dataset,
    source: OLSProblem | ProblemFamily,
    axes: tuple[str, ...],
    cells: list[int],
    journal: _Journal,
    workers: int | None,
    progress: Progress,
) -> None:
    """Prove cells on processes and write each into the journal."""
    if cells:
        with precision(64):
            pass  # python-flint is there, or says so here
    groups = [cells[i : i + _AT_ONCE] for i in range(0, len(cells), _AT_ONCE)]
    tasks = [[_task(ds.isel(_at(axes, ds, cell))) for cell in group] for group in groups]
    common = source, dict(ds.attrs), _steps(ds)
    with meter(len(cells), progress, unit="flagged cells") as advance:
        for number, found in on_processes(f"{__name__}:prove", common, tasks, workers):
            for cell, row in zip(groups[number], found, strict=True):
                journal.add(cell, row)
            advance(len(found))


def _at(axes: tuple[str, ...], ds: xr.Dataset, cell: int) -> dict[str, int]:
    """Return where a cell stands on the axes."""
    places = np.unravel_index(cell, tuple(ds.sizes[name] for name in axes)) if axes else ()
    return {name: int(k) for name, k in zip(axes, places, strict=True)}


def _steps(ds: xr.Dataset) -> list[int] | None:
    return [int(k) for k in np.atleast_1d(ds["step"].values)] if "step" in ds.coords else None


def _task(cell: xr.Dataset) -> dict[str, Any]:
    """Return what tells a cell: its parameters, and its place among the problems of a family."""
    return {"params": settings(cell), "place": place_of(cell)}


def prove(common: Any, tasks: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """Return the numbers of cells, None for what is undecided.

    A cell begins with the precision that the last one in this process needed. No digit depends on it: numbers are
    rounded correctly.
    """
    source, attrs, steps = common
    found: list[dict[str, Any] | None] = []
    for task in tasks:
        ask = int(attrs["n_steps"]), float(attrs["tol"]), attrs.get("stop", "steps")
        try:
            problem = problem_of(source, attrs, task["place"])
            exact = exact_cell(problem, attrs["method"], task["params"], *ask, record=steps or (), bits=_begin[0])
            if not all(_rounds(x) for row in _rows(exact, steps) for x in row):  # once in some hundred cells
                more = 2 * exact.bits
                exact = exact_cell(problem, attrs["method"], task["params"], *ask, record=steps or (), bits=more)
        except Undecided:
            found.append(None)
            continue
        _begin[0] = exact.bits_lost + _SPARE_BITS
        rows = _rows(exact, steps)
        numbers = {name: [float(row[i].mid()) for row in rows] for i, name in enumerate(_NUMBERS)}
        ends = {"status": int(exact.status), "steps_to_tol": exact.steps_to_tol, "n_steps_run": exact.n_steps_run}
        found.append(ends | numbers)
    return found


def _rows(exact: Exact, steps: list[int] | None) -> list[tuple[Ball, ...]]:
    return [exact[3:7]] if steps is None else [at_step(exact, k) for k in steps]


def _rounds(x: Ball) -> bool:
    """Whether all numbers in a ball are the same in float64."""
    with precision(2 * _SPARE_BITS):  # which the ends are rounded to
        return bool(x.is_nan()) or float(x.lower()) == float(x.upper())


# -------------------------------------------------------------------- replacing


def _replaced(
    ds: xr.Dataset, source: OLSProblem | ProblemFamily, axes: tuple[str, ...], proved: dict[int, dict[str, Any]]
) -> xr.Dataset:
    """Return a copy with the cells that are proved."""
    import xarray as xr

    found = ds.copy(deep=True)
    if "resolved" not in found:
        found["resolved"] = ds["status"].dims, np.zeros(ds["status"].shape, bool), quantity.attrs("resolved")
    cells = sorted(proved)
    if not cells:
        return found
    rows = [proved[cell] for cell in cells]
    places = np.unravel_index(cells, tuple(ds.sizes[name] for name in axes)) if axes else ()
    where = {name: xr.Variable("cell", place) for name, place in zip(axes, places, strict=True)}

    def put(name: str, values: Any) -> None:
        """Set a variable of the cells: values of shape (cells,), or where it has steps (cells, steps)."""
        values = np.broadcast_to(values, (len(cells), ds.sizes["step"]) if "step" in found[name].dims else len(cells))
        dims = ("cell", "step")[: values.ndim]
        found[name][where] = xr.Variable(dims, values) if axes else xr.Variable(dims[1:], values[0])

    for name in ("status", "steps_to_tol", "n_steps_run"):
        if name in found:
            put(name, [row[name] for row in rows])
    for name in _NUMBERS:
        put(name, [row[name] if "step" in ds[name].dims else row[name][0] for row in rows])
    put("by_rounding", False)
    put("resolved", True)
    for name, column in METHODS[ds.attrs["method"]].variables.items():
        if name in found and name not in _PROVED:
            put(name, column.empty)
    if "rate_theory" in found:
        put("rate_theory", [_rate(found.isel(_at(axes, ds, cell)), source) for cell in cells])
    return found


def _rate(cell: xr.Dataset, source: OLSProblem | ProblemFamily) -> float:
    """Return theory's contraction ratio of a cell, from the last of its numbers."""
    problem = problem_of(source, cell.attrs, place_of(cell))
    spec = SweepSpec.checked(problem, cell.attrs["method"], settings(cell), n_steps=int(cell.attrs["n_steps"]))
    last = {}
    for name in ("status", *_NUMBERS):
        values = np.atleast_1d(cell[name].values)
        finite = values[np.isfinite(values)]
        last[name] = (finite if finite.size else values)[-1:]
    return float(theory_of_cells(spec, problem, spec.params, last)["rate_theory"][0])


# -------------------------------------------------------------------- what is kept


class _Journal:
    """The cells proved so far; in a store a file with a line for each."""

    def __init__(self, path: Path | None, key: dict[str, Any]) -> None:
        self.path, self.finished, self._key = path, False, key
        self.proved: dict[int, dict[str, Any] | None] = {}
        self._file: Any = None
        if path is None:
            return
        refusal = f"store must be new, empty, or hold what was resolved of the same result, got {path}"
        if path.exists() and not path.is_dir():
            raise ValueError(f"store must be a directory, got the file {path}")
        if (path / "zarr.json").exists():
            if opening.open(path).attrs.get("resolved_from") != key["digest"]:
                raise ValueError(refusal)
            self.finished = True
            return
        if path.is_dir() and any(path.iterdir()) and not (path / _JOURNAL).exists():
            raise ValueError(refusal)
        path.mkdir(exist_ok=True)
        self._file = os.fdopen(open_own(path / _JOURNAL), "r+")
        lines = self._file.read().splitlines(keepends=True)
        whole = [line for line in map(_line, lines) if line is not None]
        if lines and (not whole or whole[0].get("digest") != key["digest"]):
            self.close()
            raise ValueError(refusal)
        self.proved = {line["cell"]: line["row"] for line in whole[1:]}
        if not lines:
            self._write(key)
        elif not lines[-1].endswith("\n"):
            self._file.write("\n")  # after a line that a killed process left half written, which is ignored

    def add(self, cell: int, row: dict[str, Any] | None) -> None:
        """Keep a cell; None: undecided."""
        self.proved[cell] = row
        if self._file is not None:
            self._write({"cell": cell, "row": row})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def finish(self, ds: xr.Dataset) -> None:
        """Write the result, all at once: its `zarr.json` comes last."""
        assert self.path is not None
        work = self.path / f".{uuid.uuid4().hex}"
        try:
            ds.attrs["resolved_from"] = self._key["digest"]
            ds.drop_encoding().to_zarr(work, mode="w", consolidated=False)
            for new in sorted(work.iterdir(), key=lambda p: p.name == "zarr.json"):
                new.replace(self.path / new.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        (self.path / _JOURNAL).unlink()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


@contextmanager
def _journal(store: str | os.PathLike[str] | None, ds: xr.Dataset) -> Iterator[_Journal]:
    key = {"digest": digest(ds), "olsbn_version": __version__} if store is not None else {}
    journal = _Journal(Path(store) if store is not None else None, key)
    try:
        yield journal
    finally:
        journal.close()


def _line(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
