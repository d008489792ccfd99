"""The cache of compiled code: what is wrong with it costs a compilation and a warning, never the run."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from numba import njit

from olsbn import cache

FACTS = "for tests"


def twice(x):
    return 2 * x


def compiled(folder):
    """Return the function, compiled or loaded, and how often it was loaded."""
    dispatcher = njit(twice)
    cache.attach(dispatcher, twice, folder)
    assert dispatcher(3) == 6
    return sum(dispatcher.stats.cache_hits.values())


@pytest.fixture
def folder(tmp_path):
    cache.state.cache_clear()
    cache._warn_once.cache_clear()
    yield tmp_path
    cache.state.cache_clear()


def test_code_is_kept_and_loaded(folder):
    assert compiled(folder) == 0 and cache.holds_code(folder) and not cache.damaged(folder)
    assert compiled(folder) == 1


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("size", [0, 1, 40, -1])
def test_damaged_files_are_compiled_again(suffix, size, folder):
    compiled(folder)
    (file,) = folder.rglob(f"*{suffix}")
    os.truncate(file, size if size >= 0 else file.stat().st_size + size)
    assert cache.damaged(folder) == [file]
    with pytest.warns(RuntimeWarning, match="cannot be used .*; compiling instead"):
        assert compiled(folder) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(folder) == 1 and not cache.damaged(folder)


def test_a_full_disk_is_a_warning(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert compiled(folder) == 0


def test_a_read_only_cache_is_used(folder, monkeypatch):
    """Permissions do not bind root, so the refusal is simulated."""
    compiled(folder)

    def refused(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    cache.state.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.state(folder) == "read-only" and compiled(folder) == 1
    cache.state.cache_clear()
    assert cache.state(folder / "empty").startswith("none: ")


def test_without_a_home_directory(monkeypatch):
    for name in ("OLSBN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert cache.folder_of([], FACTS) is None and cache.state(None).startswith("none")
    assert compiled(None) == 0


def test_doctor_names_a_damaged_cache(tmp_path):
    env = {**os.environ, "OLSBN_CACHE_DIR": str(tmp_path)}
    code = "from olsbn.engine.compile import cache_folder; print(cache_folder())"
    asked = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    where = Path(asked.stdout.strip())
    where.mkdir(parents=True, exist_ok=True)
    (where / "star.nbc").write_bytes(b"half")
    done = subprocess.run([sys.executable, "-m", "olsbn", "doctor"], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "1 damaged files, first star.nbc" in done.stdout
