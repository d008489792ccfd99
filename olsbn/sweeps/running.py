"""Sweeps: a grid of parameters, dimensions and trials, computed in memory or into a store."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.registry import DEFAULT, all_params
from olsbn.files import path_or_url
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.sweeps.compute import run_tile
from olsbn.sweeps.pool import on_threads
from olsbn.sweeps.progress import Progress, meter
from olsbn.sweeps.sinks import Memory, Sink
from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.tiling import Tile

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.sweeps.store import Store


_log = logging.getLogger(__name__)

_BRIEF = 2e7  # mode-steps: 10 ms


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
    params: Mapping[str, Any] | None = None,
    **keywords: Any,
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
    store : path-like or str, optional
        A Zarr store to keep the result in, tile by tile. If it is there already, what is done is kept: the same call
        goes on where an earlier one was stopped, however it ended. A folder, or the URL of a bucket and a name in it,
        ``s3://bucket/name.zarr`` (also gs and az; extra "cloud").
    workers : int, optional
        Threads. Default: one for each processor this process may use.
    client : distributed.Client, optional
        Compute on these Dask workers instead of on threads (extra "dask"). With `store` the workers write their own
        tiles: its path must mean the same directory on all machines.
    progress : bool or callable, optional
        Show progress on standard error. Default: if it is a terminal. A function is called with the work done and the
        whole of it (in mode-steps).
    params : mapping of str to float or array_like, optional
        Parameters and options by name in one mapping: for methods of other packages, whose names no editor knows.
    **keywords : float or array_like, shape (n,)
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
        all_params(params, keywords),
        n_steps=n_steps,
        dim=dim,
        trial=trial,
        tol=tol,
        stop=stop,
        record=record,
        reduce=reduce,
        check_rounding=check_rounding,
    )
    spec.refuse_repeats()
    if client is not None and not hasattr(client, "submit"):
        raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}")
    if client is not None and workers is not None:
        raise ValueError(f"workers must be left out with a client, which has its own, got {workers!r}")
    if store is not None and not (isinstance(store, str | os.PathLike) and os.fspath(store)):
        raise TypeError(f"store must be a path or a URL, got {store!r}")
    if store is not None:
        return fill(spec, store, workers=workers, client=client, progress=progress)[0].dataset()
    memory = Memory(spec)
    run(memory, range(len(memory.tiling)), workers=workers, client=client, progress=progress)
    return memory.dataset()


def run(
    sink: Sink,
    numbers: Sequence[int],
    *,
    workers: int | None = None,
    client: Any = None,
    progress: Progress = None,
) -> None:
    """Compute tiles into a sink, each as it is done and in no fixed order.

    Workers of `client` write to a sink that other processes find; else the tiles come back and are written here.
    """
    tiles = [sink.tiling[number] for number in numbers]
    for tile, result in results(sink.spec, tiles, sink=sink, workers=workers, client=client, progress=progress):
        if result is not None:
            sink.write(tile, result)


def results(
    spec: SweepSpec,
    tiles: Sequence[Tile],
    *,
    sink: Sink | None = None,
    workers: int | None = None,
    client: Any = None,
    progress: Progress = None,
) -> Iterator[tuple[Tile, Any]]:
    """Compute tiles, on threads or on the workers of `client`, and yield each with its result, in no fixed order.

    The result is None where it was written to the sink already.
    """
    job: Any
    whole = sum(spec.work(tile) for tile in tiles)
    if client is None:
        job = partial(run_tile, spec) if sink is None else partial(_compute, spec, sink)
        pool = on_threads(job, tiles, workers, brief=whole < _BRIEF)
    else:
        from olsbn.sweeps import dask

        job = partial(run_tile, spec)
        if sink is not None and sink.path is not None and tiles:
            job = dask.writer(sink)
            dask.check_writers(client, sink)
        pool = dask.on_workers(client, job, tiles) if tiles else iter(())
    n_cells, began = sum(tile.n_cells for tile in tiles), time.monotonic()
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


def _compute(spec: SweepSpec, sink: Sink, tile: Tile, cancel: np.ndarray) -> None:
    result = run_tile(spec, tile, cancel)
    if not cancel[0]:
        sink.write(tile, result)


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
    from olsbn.sweeps.store import create_store, exists, open_store

    path = path_or_url(path)
    if not exists(path):
        create_store(path, spec, command)
        _log.info("store %s made", path)
    store = open_store(path)
    store.must_match(spec)
    if store.is_read_only and store.is_complete():
        return store, 0
    return store, fill_sink(store, shard, workers=workers, client=client, progress=progress, say=say)


def fill_sink(
    sink: Sink, shard: tuple[int, int], *, workers: int | None, client: Any, progress: Progress,
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """Run the tiles of a shard that a sink lacks, and bring the result into its last form; return how many were run."""

    def mended(what: str) -> None:
        _log.warning(what)
        say(what)

    own, total = range(shard[0] - 1, len(sink.tiling), shard[1]), len(sink.tiling)
    with sink.writing(shard) as right:
        if right.alone:
            for what in sink.mend():
                mended(what)
        done = sink.done()
        for number, file in sink.damaged([number for number in own if number in done]):
            if number is not None:
                mended(f"{file} is damaged: its tile is computed again")
                done.discard(number)
        right.share()
        todo = [number for number in own if number not in done]
        _log.info("store %s opened: %d of %d tiles are done, %d to run", sink.path, len(done), total, len(todo))
        try:
            run(sink, todo, workers=workers, client=client, progress=progress)
            if left := set(own) - sink.done():
                raise OSError(errno.EIO, f"{len(left)} tiles that were written are not there")
        except OSError as err:
            raise _kept(sink, err) from err
    try:
        sink.finish()
    except OSError as err:
        raise _kept(sink, err) from err
    return len(todo)


def _kept(sink: Sink, err: OSError) -> OSError:
    """Return an error that says as well what is kept."""
    if err.errno == errno.ESTALE:
        return err
    if isinstance(sink.path, Path) and not sink.path.exists():
        kept = "the store was moved or removed while it was written"
    else:
        try:
            n = len(sink.done())
        except OSError:  # of a network that fails
            return err
        kept = f"{n} of {len(sink.tiling)} tiles are kept, and the same command goes on from there"
    return OSError(err.errno, f"{err.strerror or err}; {kept}", str(sink.path))


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
