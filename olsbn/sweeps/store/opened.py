"""A store by its path or its URL."""

from __future__ import annotations

from pathlib import Path

from olsbn.sweeps.spec import SweepSpec
from olsbn.sweeps.store.cloud import Bucket
from olsbn.sweeps.store.errors import StoreError
from olsbn.sweeps.store.header import Header
from olsbn.sweeps.store.store import HEADERS, Store


def open_store(path: Path | str) -> Store:
    """Open a store: a folder, or with a URL (text) a bucket.

    Raises
    ------
    StoreError
        Where there is no store.
    OSError
        Where it cannot be read.
    """
    if isinstance(path, Path):
        return Store(path)
    bucket = Bucket(path)
    if not any(bucket.exists(name) for name in HEADERS):
        what = "does not exist" if bucket.is_empty() else "is not a sweep store: it was not made by 'olsbn sweep'"
        raise StoreError(f"{bucket.url} {what}")
    return Store(bucket.url, bucket)


def exists(path: Path | str) -> bool:
    """Whether something is at a path or URL."""
    if isinstance(path, Path):
        return path.exists() or path.is_symlink()
    return not Bucket(path).is_empty()


def create_store(path: Path | str, spec: SweepSpec, command: str = "") -> None:
    """Make a store with no cell run, all at once; if one is there already, it stays."""
    if isinstance(path, Path):
        Store.create(path, spec, command)
        return
    bucket, header = Bucket(path), Header.of(spec, command).to_bytes()
    if bucket.put_if(HEADERS[0], header, None) is not None:
        bucket.put_if(HEADERS[1], header, None)
