"""`olsbn doctor`."""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from olsbn import __version__
from olsbn.cli.shell import main

_NEEDED = ("numpy", "scipy", "numba", "llvmlite", "xarray", "zarr", "h5netcdf", "h5py", "matplotlib")
# extra -> (module, package) of what it brings
_EXTRAS = {
    "data": (("sklearn", "scikit-learn"), ("mlxtend", "mlxtend"), ("pandas", "pandas")),
    "dask": (("dask", "dask"), ("distributed", "distributed")),
    "certify": (("flint", "python-flint"),),
    "parquet": (("pyarrow", "pyarrow"),),
    "bench": (("jax", "jax"),),
    "nn": (("jax", "jax"), ("flax", "flax")),
}


@main.command("doctor")
def doctor_command() -> None:
    """Say what is here: versions, processors, threads, the cache of compiled code, extras."""
    click.echo(f"olsbn       {__version__} on Python {platform.python_version()} ({sys.executable})")
    click.echo(f"system      {platform.platform()}")
    click.echo(f"packages    {', '.join(f'{name} {_version(name)}' for name in _NEEDED)}")
    from olsbn.engine import compile as compiled
    from olsbn.sweeps.pool import processors

    click.echo(f"processors  {processors()} for this process, {platform.machine()}; as many threads unless --workers")
    click.echo(f"cache       {_cache(compiled.cache_folder())}")
    for extra, parts in _EXTRAS.items():
        have = [f"{name} {_version(name)}" for module, name in parts if importlib.util.find_spec(module)]
        lack = [name for module, name in parts if not importlib.util.find_spec(module)]
        text = ", ".join(have) + ("; " if have and lack else "") + (f"missing: {', '.join(lack)}" if lack else "")
        click.echo(f"extra       {extra}: {text}")


def _cache(folder: Path | None) -> str:
    """Return what the cache of compiled code is like."""
    from olsbn import cache

    state = cache.state(folder)
    if folder is None or state.startswith("none"):
        return f"{state}; every process compiles again (set OLSBN_CACHE_DIR to a folder of your own)"
    words = "compiled code is there" if cache.holds_code(folder) else "empty: the next run compiles, some seconds"
    if damaged := cache.damaged(folder):
        words = f"{len(damaged)} damaged files, first {damaged[0].name}: they are compiled again when they are needed"
    return f"{folder} ({state}; {words})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
