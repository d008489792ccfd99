"""Where results go, and where they are read from."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from olsbn.cli.shell import bad_input, may_fail

if TYPE_CHECKING:
    import xarray as xr

_HIDDEN = ".olsbn-"


@contextmanager
def output_directory(path: Path, data_files: tuple[str, ...]) -> Iterator[Callable[[Callable[[Path], None]], None]]:
    """Open a directory for results; yield a function that fills it all at once.

    The directory must be new, empty, or an earlier result of the same command, which is told by its data files. What is
    written goes into a hidden directory inside it and moves into place when it is complete. If the command does not
    get that far nothing is left behind.
    """
    made: list[Path] = []
    with bad_input():
        if path.exists() and not path.is_dir():
            raise ValueError(f"--out must be a directory, got the file {path}")
        if path.is_dir() and not _is_own(path, data_files):
            raise ValueError(f"--out must be new, empty, or hold earlier results of this command, got {path}")
        missing = [p for p in (path, *path.parents) if not p.exists()]
        try:
            for directory in reversed(missing):
                directory.mkdir()
                made.append(directory)
            work = tempfile.TemporaryDirectory(prefix=_HIDDEN, dir=path)
        except OSError as err:
            for directory in reversed(made):
                directory.rmdir()
            raise ValueError(f"--out must be writable, got {path}: {err.strerror}") from None

    def publish(write: Callable[[Path], None]) -> None:
        with may_fail(f"writing to {path}"):
            write(Path(work.name))
            for new in sorted(Path(work.name).iterdir(), key=lambda p: p.name not in data_files):
                target = path / new.name
                if target.is_dir():
                    target.rename(Path(work.name) / f"old-{new.name}")
                new.replace(target)
        made.clear()

    try:
        yield publish
    finally:
        work.cleanup()
        for directory in reversed(made):
            directory.rmdir()


def _is_own(path: Path, data_files: tuple[str, ...]) -> bool:
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(_HIDDEN)]
    if not entries:
        return True
    import h5py

    for entry in entries:
        if entry.name in data_files and entry.is_file() and h5py.is_hdf5(entry):
            with h5py.File(entry) as file:
                if "olsbn_version" in file.attrs:
                    return True
    return False


def results_name(command: str, label: str) -> Path:
    """Return the default directory of a command's results."""
    return Path("results") / f"{command}-{re.sub(r'[^A-Za-z0-9_.+-]+', '_', label).strip('.') or 'problem'}"


def save_netcdf(ds: xr.Dataset, path: Path) -> None:
    """Write a Dataset to a new NetCDF file."""
    from olsbn.results import netcdf

    netcdf.write(ds, path)


def picture_path(out: str | None) -> Path | None:
    """Return where a picture is to go, refusing what is no picture or has no directory."""
    if out is None:
        return None
    if Path(out).suffix not in (".png", ".pdf"):
        raise ValueError(f"--out must end in .png or .pdf, got {out}")
    if not Path(out).parent.is_dir():
        raise ValueError(f"--out must be in a directory that exists, got {out}")
    return Path(out)


def open_result(path: Path | str) -> xr.Dataset:
    """Open any result, whoever made it: see `olsbn.results.opening`."""
    from olsbn.results import opening

    return opening.open(path, check=True)
