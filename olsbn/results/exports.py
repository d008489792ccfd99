"""Exports of a result: NetCDF, NPZ and CSV files that appear at their place all at once."""

from __future__ import annotations

import csv
import itertools
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

FORMATS = (".nc", ".csv", ".npz")


def export(ds: xr.Dataset, path: Path) -> None:
    """Write a Dataset to a file; its suffix tells the format. A file that is there is replaced.

    CSV has a column for every coordinate and variable and a row for every cell, numbers in full precision. NPZ has an
    array for every coordinate and variable. Only NetCDF keeps the attributes.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"the export must end in {', '.join(FORMATS)}, got {str(path)!r}")
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        {".nc": _to_netcdf, ".csv": _to_csv, ".npz": _to_npz}[path.suffix](ds, work)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def _to_netcdf(ds: xr.Dataset, path: Path) -> None:
    for variable in ds.variables.values():
        variable.encoding = {}  # those of Zarr mean nothing to NetCDF
    ds.to_netcdf(path, engine="h5netcdf")


def _to_npz(ds: xr.Dataset, path: Path) -> None:
    np.savez_compressed(path, **{str(name): ds[name].values for name in [*ds.coords, *ds.data_vars]})


def _to_csv(ds: xr.Dataset, path: Path) -> None:
    dims = [str(d) for d in ds.sizes]
    names = [str(name) for name in ds.data_vars]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*dims, *names])
        if not dims:
            writer.writerow([ds[name].values.item() for name in names])
            return
        # a slab at a time: a block of the first axes, all of the last one
        outer = [[value.item() for value in ds[d].values] for d in dims[:-1]]
        inner: Any = ds[dims[-1]].values.tolist()
        for where in itertools.product(*map(range, map(len, outer))):
            slab = ds.isel(dict(zip(dims[:-1], where, strict=True)))
            head = [values[i] for values, i in zip(outer, where, strict=True)]
            columns = [slab[name].values.tolist() for name in names]
            writer.writerows([*head, *row] for row in zip(inner, *columns, strict=True))
