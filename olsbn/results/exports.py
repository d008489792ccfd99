"""Exports of a result: NetCDF, NPZ, CSV and Parquet files that appear at their place all at once."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn.results import netcdf

if TYPE_CHECKING:
    import xarray as xr

FORMATS = (".nc", ".csv", ".npz", ".parquet")
TABLES = (".csv", ".parquet")
_PART = 2**20  # values of an array that are in memory at once


def check_format(path: Path) -> None:
    """Refuse a file that cannot be written: another suffix, or Parquet without pyarrow."""
    if path.suffix not in FORMATS:
        raise ValueError(f"the export must end in {', '.join(FORMATS)}, got {str(path)!r}")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError('a .parquet file needs pyarrow: pip install "olsbn[parquet]"')


def export(ds: xr.Dataset, path: Path, *, everything: bool = True) -> None:
    """Write a Dataset to a file; its suffix tells the format. A file that is there is replaced.

    CSV and Parquet have a column for every coordinate and variable and a row for every cell (and recorded step),
    numbers in full precision, statuses by their names; unless `everything`, cells that were not run are left out. NPZ
    has an array for every coordinate and variable. Only NetCDF keeps the attributes.
    """
    check_format(path)
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        if path.suffix == ".nc":
            netcdf.write(ds, work)
        elif path.suffix == ".npz":
            _to_npz(ds, work)
        else:
            (_to_csv if path.suffix == ".csv" else _to_parquet)(ds, work, everything)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def _to_npz(ds: xr.Dataset, path: Path) -> None:
    """Write what `numpy.savez_compressed` would, a part of an array at a time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in [*ds.coords, *ds.data_vars]:
            array = ds.variables[name]
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_2_0(file, header)
                for key in netcdf.slabs(array.shape, _PART):
                    file.write(np.ascontiguousarray(array[key].values).tobytes())


def _slabs(ds: xr.Dataset, everything: bool) -> Iterator[tuple[list[str], list[list[Any]]]]:
    """Yield the columns' names and, a slab at a time, their values: a block of the first axes, all of the last one."""
    dims, names = [str(d) for d in ds.sizes], [str(name) for name in ds.data_vars]
    flags = {
        name: dict(zip(np.asarray(ds[name].attrs["flag_values"]).tolist(), meanings.split(), strict=True))
        for name in names
        if (meanings := ds[name].attrs.get("flag_meanings"))
    }
    outer = [[value.item() for value in ds[d].values] for d in dims[:-1]]
    for where in itertools.product(*map(range, map(len, outer))):
        slab = ds.isel(dict(zip(dims[:-1], where, strict=True)))
        size = ds.sizes[dims[-1]] if dims else 1
        inner = [ds[dims[-1]].values] if dims else []
        columns = [np.full(size, values[i]) for values, i in zip(outer, where, strict=True)] + inner
        for name in names:
            values = slab[name].values
            # what is true or false is written as 1 or 0, which every reader of tables takes
            columns.append(np.broadcast_to(values.astype(np.int8) if values.dtype == bool else values, (size,)))
        keep = np.ones(size, bool)
        if not everything and "status" in names:
            keep = np.broadcast_to(slab["status"].values, (size,)) != schema.Status.NOT_RUN
        lists = [column[keep].tolist() for column in columns]
        for name, text in flags.items():
            k = len(dims) + names.index(name)
            lists[k] = [text.get(code, code) for code in lists[k]]
        yield [*dims, *names], lists


def _to_csv(ds: xr.Dataset, path: Path, everything: bool) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for k, (header, columns) in enumerate(_slabs(ds, everything)):
            if k == 0:
                writer.writerow(header)
            writer.writerows(zip(*columns, strict=True))


def _to_parquet(ds: xr.Dataset, path: Path, everything: bool) -> None:
    import pyarrow
    from pyarrow import parquet

    writer = None
    try:
        for header, columns in _slabs(ds, everything):
            table = pyarrow.table(dict(zip(header, columns, strict=True)))
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
