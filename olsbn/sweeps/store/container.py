"""The files of a store's own: sealed by a checksum that takes in the place the file belongs to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google_crc32c import extend
from google_crc32c import value as crc32c
from numcodecs import zstd

from olsbn.sweeps.store.errors import Damaged

MAGIC = b"olsbn-3\n"
_HEAD = len(MAGIC) + 4
_DTYPES = ("<f8", "<i8", "|b1", "|i1")


def seal(place: str, parts: Iterable[bytes]) -> bytes:
    """Return the content of a file: a mark of the format, a crc32c of place and content, the content."""
    body = b"".join(parts)
    return MAGIC + extend(crc32c(place.encode()), body).to_bytes(4, "little") + body


def unseal(place: str, data: bytes) -> memoryview:
    """Return what `seal` was given, or raise `Damaged` if a bit differs or the file belongs elsewhere."""
    body = memoryview(data)[_HEAD:]
    if data[: len(MAGIC)] != MAGIC:
        raise Damaged("not a file of a store")
    if extend(crc32c(place.encode()), bytes(body)) != int.from_bytes(data[len(MAGIC) : _HEAD], "little"):
        raise Damaged("damaged, or of another place")
    return body


def compress(values: np.ndarray) -> bytes:
    """Return the values, little-endian, compressed."""
    return bytes(zstd.compress(np.ascontiguousarray(values, values.dtype.newbyteorder("<")), 1))


def decompress(data: bytes | memoryview, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return an array of a known size; nothing larger is made, whatever the data say of their size."""
    values = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
    flat = values.reshape(-1).view(np.uint8)
    try:
        zstd.decompress(bytes(data), flat)
    except (ValueError, RuntimeError) as err:
        raise Damaged(f"not {flat.size} bytes compressed by zstd: {err}") from None
    return values


def with_arrays(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """Return facts and arrays as parts of a file. Arrays are not compressed: they take no more memory than the file."""
    plain = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    table = {name: [a.dtype.str, list(a.shape)] for name, a in plain.items()}
    text = json.dumps({"facts": facts, "arrays": table}).encode()
    return [len(text).to_bytes(4, "little"), text, *(a.tobytes() for a in plain.values())]


def facts_and_arrays(body: memoryview) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what `with_arrays` was given, or raise `Damaged`."""
    try:
        end = 4 + int.from_bytes(body[:4], "little")
        found = json.loads(bytes(body[4:end]))
        arrays = {}
        for name, (dtype, shape) in found["arrays"].items():
            if dtype not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
                raise Damaged(f"the array {name!r} is not of numbers")
            size = math.prod(shape) * np.dtype(dtype).itemsize
            part = body[end : end + size]  # no larger than the file, whatever the sizes are
            arrays[str(name)] = np.frombuffer(part, dtype).reshape(shape).astype(np.dtype(dtype).newbyteorder("="))
            end += size
        return dict(found["facts"]), arrays
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise Damaged(f"not facts and arrays ({type(err).__name__})") from None
