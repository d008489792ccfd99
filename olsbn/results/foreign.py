"""Result files that somebody else may have made, looked through before a library reads them.

Both formats can name other files of the machine (links, external storage), declare sizes that exhaust its memory, and
hold a few bytes that decompress to many. What the checks let through has none of that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from olsbn._validate import check_memory
from olsbn.files import read_bytes, tree

_METADATA = 1 << 26  # bytes of one file of metadata
_SIZES = {"bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
          "float32": 4, "float64": 8}  # fmt: skip
_CODECS = ("bytes", "zstd", "crc32c", "sharding_indexed")
_FILTERS = ("gzip", "lzf", "shuffle", "fletcher32")


def check_zarr(path: Path) -> None:
    """Refuse a Zarr store that has links, arrays of unusual types, or chunks that would exhaust the memory."""
    arrays, chunks = {}, []
    for file in tree(path):
        if file.name == "zarr.json":
            arrays[file.parent] = _chunk_bytes(file)
        elif "c" in file.relative_to(path).parts[:-1]:
            chunks.append(file)
    for file in chunks:
        folder = next((parent for parent in file.parents if parent in arrays), path)
        size = arrays.get(folder)
        if size is not None and (declared := _decompressed(file)) is not None and declared > size:
            raise ValueError(f"{file} must decompress to {size} bytes, got {declared}")


def _chunk_bytes(file: Path) -> int | None:
    """Return the bytes of a chunk of an array, decompressed; None for a group."""
    where = f"{file} must describe a Zarr array or group"
    try:
        found = json.loads(read_bytes(file, _METADATA))
        if found["zarr_format"] != 3 or found["node_type"] not in ("group", "array"):
            raise ValueError(f"{where} of format 3, got format {found['zarr_format']!r}")
        if not isinstance(found.get("attributes", {}), dict):
            raise ValueError(f"{where}, got attributes that are not a table")
        if found["node_type"] == "group":
            return None
        shape, chunk = found["shape"], found["chunk_grid"]["configuration"]["chunk_shape"]
        dtype, codecs = found["data_type"], _codecs(found["codecs"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ValueError(str(err) if str(err).startswith(where) else f"{where}, got one that is damaged") from None
    sizes = [*shape, *chunk] if isinstance(shape, list) and isinstance(chunk, list) else [None]
    if len(shape) != len(chunk) or not all(type(n) is int and 0 <= n < 2**53 for n in sizes) or 0 in chunk:
        raise ValueError(f"{where} with sizes that are whole numbers, got shape {shape}, chunks {chunk}")
    if not isinstance(dtype, str) or dtype not in _SIZES:
        raise ValueError(f"{where} of numbers, got the type {str(dtype)[:40]!r}")
    if unknown := [name for name in codecs if name not in _CODECS]:
        raise ValueError(f"{where} with the codecs {', '.join(_CODECS)}, got {str(unknown[0])[:40]!r}")
    check_memory(f"{file}: the values of a chunk", math.prod(chunk), _SIZES[dtype])
    return math.prod(chunk) * _SIZES[dtype]


def _codecs(found: list[dict[str, Any]]) -> list[str]:
    names = []
    for codec in found:
        names.append(codec["name"])
        if names[-1] == "sharding_indexed":
            names += _codecs(codec["configuration"]["codecs"] + codec["configuration"]["index_codecs"])
    return names


def _decompressed(file: Path) -> int | None:
    """Return the size that a chunk declares for what zstd makes of it; None if it is not a frame of zstd."""
    with file.open("rb") as opened:  # `tree` has seen that it is a regular file
        return zstd_size(opened.read(18))


def zstd_size(head: bytes) -> int | None:
    """Return the size of the content that a frame of zstd declares in its first 18 bytes (RFC 8878, section 3.1.1).

    None if it is no frame, and a size that nothing fits into if the frame does not say.
    """
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        return None
    flags, single = head[4], bool(head[4] & 32)
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = {0: 1 if single else 0, 1: 2, 2: 4, 3: 8}[flags >> 6]
    if width == 0:
        return 1 << 62
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)


def check_netcdf(path: Path) -> None:
    """Refuse a NetCDF file with links, data kept in other files, unusual filters, or more than the memory holds."""
    import h5py

    with h5py.File(path, "r") as file:
        todo, seen, n_bytes = [file], 0, 0
        while todo:
            group = todo.pop()
            for name in group:
                seen += 1
                where = f"{path}: the object {name[:40]!r}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{where} must lie in the file itself, got a link")
                if seen > 10_000:
                    raise ValueError(f"{path} must have at most 10000 objects, got more")
                if isinstance(found := group[name], h5py.Group):
                    todo.append(found)
                elif isinstance(found, h5py.Dataset):
                    _check_dataset(found, where)
                    n_bytes += found.nbytes
        check_memory(f"{path}: the bytes of all variables", n_bytes, 1)


def _check_dataset(found: Any, where: str) -> None:
    import h5py

    if found.external or found.is_virtual:
        raise ValueError(f"{where} must lie in the file itself, got data in other files")
    filters = found.id.get_create_plist()
    known = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF)
    if any(filters.get_filter(i)[0] not in known for i in range(filters.get_nfilters())):
        raise ValueError(f"{where} must have the filters {', '.join(_FILTERS)}, got another")
