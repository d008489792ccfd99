"""The package as a stranger meets it: a light import, its names, its version."""

import importlib
import subprocess
import sys
from importlib.metadata import version

import pytest

import olsbn

HEAVY = ("numpy", "scipy", "numba", "xarray", "zarr", "matplotlib", "dask", "pandas", "click", "msgspec", "flint")


def loaded_after(code):
    """Return the heavy packages that a fresh interpreter has loaded after running the code."""
    report = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy():
    assert loaded_after("import olsbn; dir(olsbn); olsbn.__version__") == set()


def test_a_problem_needs_numpy_alone():
    assert loaded_after("import olsbn; olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0])") == {"numpy"}


def test_theory_needs_no_engine():
    code = "import olsbn; olsbn.spectral_report(olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0]))"
    assert loaded_after(code) <= {"numpy", "scipy"}


def test_version_is_the_installed_one():
    assert olsbn.__version__ == version("olsbn")


def test_unknown_attribute():
    with pytest.raises(AttributeError, match=r"module 'olsbn' has no attribute 'nothing'"):
        _ = olsbn.nothing
    with pytest.raises(ImportError, match="nothing"):
        from olsbn import nothing  # noqa: F401


def test_dir_lists_the_public_names():
    assert dir(olsbn) == sorted(olsbn.__all__)
    assert {"OLSProblem", "ProblemFamily", "run_gd", "run_bngd", "spectral_report", "sweep", "plotting"} <= set(
        dir(olsbn)
    )


@pytest.mark.parametrize("name", olsbn.__all__)
def test_every_public_name_resolves_and_is_documented(name):
    value = getattr(importlib.import_module("olsbn"), name)
    assert value is getattr(olsbn, name)
    if name != "__version__":
        assert value.__doc__ and value.__name__.split(".")[-1] == name
