"""A Dataset as a NetCDF file: compressed, a part at a time, so that memory does not grow with it.

xarray's own writer asks Dask, where that is installed, which takes a quarter of a second. The files are the same to
every reader of NetCDF.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

_PART = 2**20  # values of a variable that are in memory at once, at most
_CHUNK = 2**16  # values of a chunk of the file
_SMALL = 64  # values below which compression costs more than it saves


def write(ds: xr.Dataset, path: Path) -> None:
    """Write a Dataset to a new file.

    Parameters
    ----------
    ds : xarray.Dataset
        Numbers, booleans or text; values are read when they are used.
    path : Path
        The file.
    """
    if any(variable.dtype.kind not in "fiub" for variable in ds.variables.values()):
        for variable in ds.variables.values():
            variable.encoding = {}  # those of Zarr mean nothing to NetCDF
        ds.to_netcdf(path, engine="h5netcdf")
        return
    import h5netcdf

    with h5netcdf.File(path, "w") as file:
        file.dimensions = {str(name): size for name, size in ds.sizes.items()}
        file.attrs.update({str(name): _attribute(value) for name, value in ds.attrs.items()})
        others = [str(name) for name in ds.coords if name not in ds.dims]
        for name, variable in ds.variables.items():
            about = {str(key): _attribute(value) for key, value in variable.attrs.items()}
            dtype = np.dtype(np.int8) if variable.dtype == bool else variable.dtype.newbyteorder("<")
            if variable.dtype == bool:
                about["dtype"] = "bool"  # so xarray says that these numbers are truth values
            if name in ds.data_vars and (beside := [c for c in others if set(ds[c].dims) <= set(variable.dims)]):
                about["coordinates"] = " ".join(beside)
            how: dict[str, Any] = {}
            if variable.size > _SMALL:
                how = {"chunks": parts_of(variable.shape, _CHUNK), "compression": "gzip", "compression_opts": 1}
                how["shuffle"] = True
            fill = np.nan if dtype.kind == "f" and name not in ds.coords else None
            made = file.create_variable(str(name), variable.dims, dtype, fillvalue=fill, **how)
            made.attrs.update(about)
            for key in slabs(variable.shape, _PART):
                made[key or ...] = np.asarray(variable[key].values).astype(dtype, copy=False)


def parts_of(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Return the shape of parts of at most `most` values, the last axes whole first."""
    sizes, room = [], max(1, most)
    for n in reversed(shape):
        sizes.append(max(1, min(n, room)))
        room = max(1, room // max(1, n))
    return tuple(reversed(sizes))


def slabs(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Yield the indices of the parts of an array, in the order of its values in memory."""
    part = parts_of(shape, most)
    starts = [range(0, n, size) for n, size in zip(shape, part, strict=True)]
    if math.prod(shape):
        for first in itertools.product(*starts):
            yield tuple(slice(i, min(i + size, n)) for i, size, n in zip(first, part, shape, strict=True))


def _attribute(value: Any) -> Any:
    """Return the value of an attribute as HDF5 takes it."""
    if isinstance(value, bool | np.bool_):
        return np.int8(value)
    if isinstance(value, list | tuple):
        return list(value) if any(isinstance(part, str) for part in value) else np.asarray(value)
    return value
