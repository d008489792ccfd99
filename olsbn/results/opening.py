"""Opening a result, whoever made it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import shortened
from olsbn.files import UnsafeFile, check_folder, path_or_url, printable
from olsbn.results.foreign import check_netcdf, check_zarr

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.sweeps.store import Store


def open(path: str | os.PathLike[str], *, check: bool = False) -> xr.Dataset:
    """Open a result: the store of a sweep, finished or not, a NetCDF file, or a folder of `olsbn map`.

    Parameters
    ----------
    path : path-like or str
        The result: a path, or the URL of a store in a bucket (``s3://bucket/name.zarr``). A folder that is not a store
        itself may hold ``map.nc``, or a store with a name that ends in ``.zarr``.
    check : bool, optional
        Look at the checksums of a whole store first. Those of what is read are looked at in any case.

    Returns
    -------
    xarray.Dataset
        Values of stores are read when they are used; cells that were not run yet have the status -1.

    Raises
    ------
    ValueError
        With one sentence, for what is not a result, is damaged, or would lead outside of itself (see docs/security.md).
    OSError
        If it cannot be read.
    """
    import xarray as xr

    from olsbn.sweeps.store import is_store, open_store

    path = path_or_url(path)
    if isinstance(path, str):
        return _stored(open_store(path), check)
    if path.is_file():
        return _netcdf(path)
    if path.is_dir() and not is_store(path) and not (path / "zarr.json").exists():
        inside = sorted(path.glob("*.zarr"))
        if (path / "map.nc").is_symlink():
            raise UnsafeFile(f"{path / 'map.nc'} must be a regular file, got a symbolic link")
        if (path / "map.nc").is_file():
            return _netcdf(path / "map.nc")
        path = check_folder(path, inside[0].name) if len(inside) == 1 else path
    if (path / "zarr.json").exists() and not is_store(path) and not (path / "inputs").exists():
        check_zarr(path)  # of a map, or made by xarray
        return _readable(path, lambda: xr.open_zarr(path, chunks=None, consolidated=False, zarr_format=3))
    return _stored(open_store(path), check)


def _stored(store: Store, check: bool) -> xr.Dataset:
    assert store.path is not None
    if check and (damaged := [file for _, file in store.damaged(sorted(store.done()))]):
        raise ValueError(
            f"{damaged[0]} is damaged (of {len(damaged)} files); the command that made the store restores it"
        )
    return _readable(store.path, store.dataset)


def _netcdf(path: Path) -> xr.Dataset:
    import xarray as xr

    if path.suffix != ".nc":
        raise ValueError(f"a result must be a Zarr store, a directory with one in it, or a .nc file, got {path}")

    def load() -> xr.Dataset:
        check_netcdf(path)
        with xr.open_dataset(path, engine="h5netcdf") as ds:
            return ds.load()

    return _readable(path, load)


def _readable(path: Path | str, opened: Callable[[], xr.Dataset]) -> xr.Dataset:
    """Return what `opened` returns; what a library says of a file that it cannot read becomes one sentence."""
    try:
        ds = opened()
    except (OSError, MemoryError):
        raise
    except Exception as err:  # of many kinds: h5py's, zarr's and xarray's own
        if isinstance(err, ValueError) and str(path) in str(err):
            raise
        words = printable(" ".join(f"{type(err).__name__}: {err}".split())[:200])
        raise ValueError(f"{path} cannot be read as a result: {words}") from err
    for what in (ds, *(ds[name] for name in ds.variables)):
        what.attrs = {str(printable(name)): _attribute(path, str(name), value) for name, value in what.attrs.items()}
    return ds


def _attribute(path: Path | str, name: str, value: Any) -> Any:
    """Return the value of an attribute, fit for a terminal; refuse what no attribute of a result is."""
    parts = value.ravel().tolist() if isinstance(value, np.ndarray) else value if isinstance(value, list) else [value]
    if not all(isinstance(part, str | int | float | np.generic) for part in parts):
        raise ValueError(f"{path}: the attribute {printable(name)!r} must be text or numbers, got {shortened(value)}")
    return printable(value)
