"""Sweeps: a grid of parameters, dimensions and trials, computed in memory or into a store."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.registry import DEFAULT
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.sweeps.compute import run_tile
from olsbn.sweeps.pool import on_threads
from olsbn.sweeps.progress import Progress, meter
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tile

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.sweeps.store import Store


_log = logging.getLogger(__name__)


def sweep(
    problem: OLSProblem | ProblemFamily,
    *,
    method: str = DEFAULT,
    dim: Any = None,
    trial: Any = None,
    n_steps: int,
    tol: float = 1e-10,
    stop: str = "steps",
    record: Any = None,
    reduce: bool | str | int = False,
    check_rounding: bool = True,
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    client: Any = None,
    progress: Progress = None,
    **params: Any,
) -> xr.Dataset:
    r"""Run a method on every cell of a grid of its parameters, dimensions and trials.

    Parameters
    ----------
    problem : OLSProblem or ProblemFamily
        One problem, or a family that makes one for each (dim, trial).
    method : str, optional
        The iteration: a name from `olsbn.methods`, "bngd", "gd", ...
    dim, trial : int or array_like of int, optional
        For a family: dimensions (required) and trial numbers (default 0). A scalar gives no axis.
    n_steps : int
        Steps each cell runs, >= 0.
    tol : float, optional
        Relative excess loss at which a cell counts as converged, in [1e-290, 1).
    stop : {"steps", "tol"}, optional
        Run all steps, or end each cell at its first step with ``excess <= tol``. A cell always ends when its excess
        falls to 1e-290, below which squares underflow, or passes 1e30 (times the start's, if that is above 1).
    record : array_like of int, optional
        Steps in [0, n_steps] at which `excess`, `eps_eff`, `w_norm` and `a` are kept: they then have an axis ``step``,
        after ``trial``, in place of their values at the end. After the end of a cell they are NaN (0 and unchanged
        where the excess fell to the floor). `rate_theory` then belongs to the last recorded step with a number.
    check_rounding : bool, optional
        Whether cells whose rounding may have been amplified are run again in other units and flagged, `by_rounding`.
        Without it there is no flag, and the other numbers are the same.
    reduce : False, "auto" or int, optional
        Run reduced problems (`OLSProblem.reduced`): "auto" where that saves a factor 4 of the modes at an estimated
        error of log(excess) below 1e-6, a number for at most so many modes. For "gd", and "bngd" without smoothing. The
        attributes `modes` and, for a single problem, `reduction_error` say what came of it.
    store : path-like, optional
        A Zarr store to keep the result in, tile by tile. If it is there already, what is done is kept: the same call
        goes on where an earlier one was stopped, however it ended.
    workers : int, optional
        Threads. Default: one for each processor this process may use.
    client : distributed.Client, optional
        Compute on these Dask workers instead of on threads (extra "dask"). With `store` the workers write their own
        tiles: its path must mean the same directory on all machines.
    progress : bool or callable, optional
        Show progress on standard error. Default: if it is a terminal. A function is called with the work done and the
        whole of it (in mode-steps).
    **params : float or array_like, shape (n,)
        The method's parameters by name (``olsbn.methods()[method].params``): `eps`, the learning rate of w, always;
        `eps_a`, that of the BN scale, for BNGD; and so on. A scalar gives no axis, a vector, in any order, an axis of
        its name.

    Returns
    -------
    xarray.Dataset
        Dims ``dim, trial, step``, the method's further parameters as declared, ``eps_a, eps``, less those left out.
        Variables: `status` (codes and names in its attributes
        ``flag_values``, ``flag_meanings``), `steps_to_tol`, `n_steps_run`, `excess`, `eps_eff`, `w_norm`, `a` at the
        step where the cell stopped, `rate_sim` and `rate_theory`; `a` is NaN for GD. With `store` the
        values are read from there when they are used.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above, and for a store that holds another sweep or has another writer.
    OSError
        Where the store cannot be written. What is finished is kept.

    Notes
    -----
    BNGD costs O(d) a step (about 0.25 ns a mode and step on one core), GD O(d log n_steps) a cell in closed form. The
    bits of the result depend on nothing but the arguments. `rate_sim` is the one-step ratio of the square root of the
    excess, for BNGD where three samples a third of the run apart show that it has settled, for GD where what the other
    modes contribute to it and to its distance from 1 is below 1e-10; `rate_theory` is the
    contraction ratio of the dynamics linearised at a minimiser, at the cell's own `eps_eff` and for the modes that the
    start excites (an identity for the limit of `rate_sim` [Cai]).

    With `store`, memory does not grow with the number of cells: a worker holds one tile (at most 65536 cells, about
    20 MB) and the problem's modes (about 1 kB a mode).

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=10, cond=100.0)
    >>> ds = olsbn.sweep(problem, eps=[0.01, 0.1, 1.0], eps_a=[0.5, 1.0], n_steps=2000)
    >>> ds.status.dims, bool((ds.status == 0).all())
    (('eps_a', 'eps'), True)
    """
    spec = SweepSpec.checked(
        problem,
        method,
        params,
        n_steps=n_steps,
        dim=dim,
        trial=trial,
        tol=tol,
        stop=stop,
        record=record,
        reduce=reduce,
        check_rounding=check_rounding,
    )
    if client is not None and not hasattr(client, "submit"):
        raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}")
    if client is not None and workers is not None:
        raise ValueError(f"workers must be left out with a client, which has its own, got {workers!r}")
    if store is not None and not (isinstance(store, str | os.PathLike) and os.fspath(store)):
        raise TypeError(f"store must be a path, got {store!r}")
    if store is not None:
        return fill(spec, store, workers=workers, client=client, progress=progress)[0].dataset()
    arrays = spec.empty()
    for tile, result in results(spec, spec.tiles(), workers=workers, client=client, progress=progress):
        for name, values in result.items():
            arrays[name][spec.full_index(name, tile)] = values
    return spec.dataset(arrays)


def results(
    spec: SweepSpec,
    tiles: Sequence[Tile],
    *,
    store: Store | None = None,
    workers: int | None = None,
    client: Any = None,
    progress: Progress = None,
) -> Iterator[tuple[Tile, Any]]:
    """Compute tiles, on threads or on the workers of `client`, and yield each as it is done, in no fixed order.

    With a store each is written to it, else it is yielded with its arrays.
    """
    job: Any
    if client is None:
        job = partial(run_tile, spec) if store is None else partial(_write_tile, spec, store)
        pool = on_threads(job, tiles, workers)
    else:
        from olsbn.sweeps import dask

        job = partial(run_tile, spec) if store is None else dask.writer(store)
        if store is not None and tiles:
            dask.check_writers(client, store)
        pool = dask.on_workers(client, job, tiles) if tiles else iter(())
    whole, n_cells, began = (
        sum(spec.work(tile) for tile in tiles),
        sum(tile.n_cells for tile in tiles),
        time.monotonic(),
    )
    if tiles and _log.isEnabledFor(logging.INFO):
        from olsbn.engine.compile import is_cached

        if not is_cached():
            _log.info("compiling the engine for this machine, once")
    with meter(n_cells, progress, work=whole) as advance:
        for number, (tile, result) in enumerate(pool, 1):
            advance(tile.n_cells, spec.work(tile))
            _log.debug("tile %d of %d done: %d cells from %s", number, len(tiles), tile.n_cells, tile.ranges)
            yield tile, result
    _log.info("%s: %d cells in %d tiles, %.3g s", spec.method_name, n_cells, len(tiles), time.monotonic() - began)


def _write_tile(spec: SweepSpec, store: Store, tile: Tile, cancel: np.ndarray) -> None:
    result = run_tile(spec, tile, cancel)
    if not cancel[0]:
        store.write(tile, result)


def fill(
    spec: SweepSpec,
    path: str | os.PathLike[str],
    *,
    shard: tuple[int, int] = (1, 1),
    workers: int | None = None,
    client: Any = None,
    progress: Progress = None,
    command: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Store, int]:
    """Run the tiles that a store lacks, all of them or those of one shard (i, n); make the store if need be.

    Returns the store and how many tiles were run. `say` is told in a sentence what is mended, and so is the log.
    """
    from olsbn.sweeps import store as stores

    def mended(what: str) -> None:
        _log.warning(what)
        say(what)

    path = Path(path)
    if not path.exists():
        stores.Store.create(path, spec, command)
        _log.info("store %s made", path)
    elif not stores.damaged_metadata(path):
        found = stores.Store(path)
        found.must_match(spec)
        if not os.access(path / "status", os.W_OK) and found.is_complete():
            return found, 0
    with stores.writing(path, shard) as right:
        if right.alone:
            for what in stores.mend(path, spec):
                mended(what)
        found = stores.Store(path)
        found.must_match(spec)
        todo = []
        for number in range(shard[0] - 1, len(found.tiling), shard[1]):
            tile = found.tiling[number]
            if found.is_done(tile):
                damaged = found.damaged_files(tile)
                if not damaged:
                    continue
                mended(f"{damaged[0]} is damaged: its tile is computed again")
                found.remove(tile)
            todo.append(number)
        if right.alone:
            for what in found.renew_theory():
                mended(what)
        right.share()
        _log.info("store %s opened: %d of %d tiles are done, %d to run", path, sum(map(found.is_done, found.tiling)),
                  len(found.tiling), len(todo))  # fmt: skip
        try:
            tiles = [found.tiling[number] for number in todo]
            for _ in results(spec, tiles, store=found, workers=workers, client=client, progress=progress):
                pass
        except OSError as err:
            done, total = sum(map(found.is_done, found.tiling)), len(found.tiling)
            kept = f"{done} of {total} tiles are kept, and the same command goes on from there"
            raise OSError(err.errno, f"{err.strerror or err}; {kept}", str(path)) from err
    return found, len(todo)


def digest(ds: xr.Dataset) -> str:
    """Return the SHA-256 of all values of a result: equal exactly where every number has the same bits.

    All NaNs count as one number. Attributes do not take part.
    """
    sha = hashlib.sha256()
    for name in sorted([*ds.data_vars, *ds.coords], key=str):
        values = np.asarray(ds[name].values)
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.nan, values)
        sha.update(f"{name}{ds[name].dims}{values.shape}{values.dtype.str}".encode())
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()
