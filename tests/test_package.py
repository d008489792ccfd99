"""The package as a stranger meets it: a light import, its names, its version."""

import configparser
import importlib
import re
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

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


def test_every_place_has_the_version_and_the_requirements():
    root = Path(__file__).parents[1]
    assert f"\nversion: {olsbn.__version__}\n" in (root / "CITATION.cff").read_text()
    assert re.search(r"\ndate-released: 20\d\d-\d\d-\d\d\n", (root / "CITATION.cff").read_text())
    recipe = (root / "conda" / "meta.yaml").read_text()
    assert f'version = "{olsbn.__version__}"' in recipe
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    for line in config["options"]["install_requires"].splitlines():
        name, found, bound = line.partition(">=")
        if found:  # conda calls matplotlib without its windows matplotlib-base
            assert f"    - {name.replace('matplotlib', 'matplotlib-base')} >={bound}\n" in recipe
            assert f"{name}=={bound}" in runpy.run_path(str(root / "tools" / "oldest.py"))["oldest"]()


def test_an_index_page_gets_whole_addresses():
    root = Path(__file__).parents[1]
    with_address = runpy.run_path(str(root / "tools" / "address.py"))["with_address"]
    text = with_address((root / "README.md").read_text(encoding="utf-8"), "https://host/a/b", "1.2")
    assert "](https://host/a/b/raw/v1.2/figures/map-diabetes.png)" in text
    assert "](https://host/a/b/blob/v1.2/docs/commands.md)" in text
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 20 and all(target.startswith("https://") for target in targets)


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
