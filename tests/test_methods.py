"""One suite for every registered method, and a method from outside the package through all of it."""

import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path

import clipped
import crash
import numpy as np
import pytest
import waiting
import xarray as xr
from matplotlib import pyplot

import olsbn
from olsbn import maps
from olsbn.dynamics import registry
from olsbn.dynamics.base import Method, Param
from olsbn.identity import identity, meaning
from olsbn.sweeps import compute, running
from olsbn.sweeps.running import digest
from olsbn.sweeps.spec import SweepSpec
from olsbn.testing import MethodTests

PROBLEM = olsbn.OLSProblem.from_spectrum("logspace", 6, 20.0)
METHODS = sorted(olsbn.methods())


values = MethodTests().values


def grids(method):
    return {param.name: values(param) for param in olsbn.methods()[method].params}


def swept(method, **changes):
    return olsbn.sweep(PROBLEM, **{"method": method, "n_steps": 40, "progress": False} | grids(method) | changes)


@pytest.fixture(autouse=True)
def sample_where_needed(request, monkeypatch):
    method = getattr(request.node, "callspec", None) and request.node.callspec.params.get("method")
    if method in olsbn.methods() and olsbn.methods()[method].needs_sample:
        monkeypatch.setitem(globals(), "PROBLEM", _with_sample())


def _with_sample():
    X = np.random.default_rng(0).standard_normal((40, 6)) * np.geomspace(1, 4, 6)
    return olsbn.OLSProblem.from_samples(X, X @ np.ones(6))


# ------------------------------------------------------------------ every method


class TestEveryMethod(MethodTests):
    """The suite for methods from outside, on the package's own; twins, rates and proofs have files of their own."""

    test_it_agrees_with_its_twin = None
    test_rates_are_those_of_theory = None
    test_what_is_not_flagged_is_proved = None

    @pytest.fixture(params=METHODS)
    def method(self, request):
        return olsbn.methods()[request.param]

    def test_an_unknown_parameter_is_refused(self, method, problem):
        with pytest.raises(
            ValueError, match=f"^nothing must be left out for method '{method.name}', whose parameters are"
        ):
            self.swept(problem, method, nothing=1.0)


# ------------------------------------------------------------------ what is made of a sweep


@pytest.fixture(params=[*METHODS, "clipped"])
def any_method(request, monkeypatch):
    """The name of each registered method, and of one from outside with no theory; the problem has what it needs."""
    if request.param == "clipped":
        monkeypatch.setitem(registry._all(), "clipped", clipped.METHOD)
    if olsbn.methods()[request.param].needs_sample:
        monkeypatch.setitem(globals(), "PROBLEM", _with_sample())
    return request.param


@pytest.mark.parametrize("record", [None, [3, 40]])
def test_theory_is_put_beside_any_method_over_any_axes(any_method, record):
    """Where theory says nothing nothing is compared, and the reason is told; rates wherever there are two."""
    method = olsbn.methods()[any_method]
    ds = swept(any_method, n_steps=400, record=None if record is None else [*record, 400])
    found = olsbn.compare(ds, PROBLEM)
    assert found.status_check.dims == ds.status.dims and np.array_equal(found.status, ds.status)
    neutral = xr.ones_like(ds.status, bool)
    for param in method.further:
        neutral = neutral & (ds[param.name] == param.default)
    known = neutral if method.theory.ending else xr.zeros_like(neutral)
    assert not (found.status_check != -1).where(~known, False).any()
    assert (found.status_reason == (8 if method.theory.ending else 3)).where(~known, True).all()
    assert ((found.status_reason == 0) == (found.status_check != -1)).all()
    both = np.isfinite(ds.rate_sim) & np.isfinite(ds.rate_theory)
    assert ((found.rate_reason == 0) <= both).all() and (~both <= found.rate_reason.isin([2, 3])).all()
    assert found.attrs["status_disagrees"] == found.attrs["rate_disagrees"] == 0
    assert ("eps_eff_check" in found) == (method.theory.regimes is not None)
    assert found.attrs["status_not_compared"] == int((found.status_check == -1).sum())
    line = found.isel({d: 0 for d in found.status.dims if d != "eps"})
    if "eps" in line.dims:
        olsbn.plotting.plot_comparison(line)
        pyplot.close("all")


def test_rates_are_compared_for_every_method_that_has_them():
    for method, params in {
        "gd": {"momentum": [0.0, 0.3]},
        "bngd": {"momentum": [0.0, 0.3], "smoothing": [0.0, 0.5]},
        "wngd": {"eps_a": 0.1},
        "gdnp": {},
    }.items():
        grid = {"eps": [0.05, 0.1]} if method != "gdnp" else {}
        ds = olsbn.sweep(PROBLEM, method=method, n_steps=20_000, **grid, **params)
        found = olsbn.compare(ds, PROBLEM)
        assert found.attrs["rate_agrees"] >= max(1, ds.status.size // 2) and found.attrs["rate_disagrees"] == 0


def test_ranges_of_any_method_over_any_axes(any_method):
    method = olsbn.methods()[any_method]
    ds = swept(any_method, n_steps=400, tol=1e-3)
    if "eps" not in ds.dims:
        with pytest.raises(ValueError, match="ds must have the dim 'eps'"):
            olsbn.robustness(ds, PROBLEM)
        return
    found = olsbn.robustness(ds, PROBLEM)
    assert found.width_decades.dims == tuple(d for d in ds.status.dims if d != "eps")
    assert np.isfinite(found.gd_width_decades)
    # of further parameters there is an axis: theory is for one value of each
    assert not method.further or np.isnan(found.width_theory)
    plain = olsbn.robustness(swept(any_method, **{p.name: p.default for p in method.further}), PROBLEM)
    assert np.isnan(plain.width_theory) == (method.theory.window is None)
    assert ("plateau_theory" in plain) == (method.theory.regimes is not None)


def test_a_summary_of_any_method_over_any_axes(any_method):
    method = olsbn.methods()[any_method]
    ds = swept(any_method)
    text = maps.summary(PROBLEM, ds)
    assert text.startswith(f"{method.title:<11} {ds.status.size} cells: ")
    assert ("learning rates that reach" in text) == ("eps" in ds.dims)
    assert not method.further or "(no prediction)" in text
    plain = swept(any_method, **{p.name: p.default for p in method.further})
    assert ("theory: " in maps.summary(PROBLEM, plain)) == (method.theory.window is not None)
    if method.beside:
        both = maps.beside(plain, swept(method.beside, **{p.name: p.default for p in olsbn.methods()["gd"].further}))
        assert all(f"\n  {olsbn.methods()[m].title:<9} " in maps.summary(PROBLEM, both) for m in (any_method, "gd"))


# ------------------------------------------------------------------ recorded steps


def test_recorded_steps_are_those_of_shorter_sweeps():
    """What is recorded at step k is where a sweep of k steps stops; after the end it follows `run`."""
    eps = np.geomspace(1e-2, 1e3, 9)
    ds = olsbn.sweep(PROBLEM, eps=eps, eps_a=[1.0, 2.5], n_steps=300, record=[0, 20, 300])
    for k in (0, 20, 300):
        short = olsbn.sweep(PROBLEM, eps=eps, eps_a=[1.0, 2.5], n_steps=k)
        ran = short.n_steps_run == k
        for name in ("excess", "eps_eff", "w_norm", "a"):
            np.testing.assert_array_equal(ds[name].sel(step=k).where(ran), short[name].where(ran))
    assert ds.excess.dims == ("step", "eps_a", "eps") and ds.status.dims == ("eps_a", "eps")
    diverged = (ds.status == 2).values
    assert diverged.any() and np.isnan(ds.excess.sel(step=300).values[diverged]).all()
    for bad in (20, [301], [0.5], [True]):
        with pytest.raises((ValueError, TypeError), match=r"^record must hold|^record must be a list of steps"):
            olsbn.sweep(PROBLEM, eps=eps, n_steps=300, record=bad)


# ------------------------------------------------------------------ no method by name


def test_no_module_but_its_own_names_a_method():
    """`if method == ...` is what the registry is there to replace; a name in a tuple or a default is one as well."""
    names = set(olsbn.methods())
    found = []
    for path in Path(olsbn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in names:
                found.append(f"{path.relative_to(Path(olsbn.__file__).parent)}:{node.lineno}")
    # whose subject are two named methods: what is claimed and known of them, run_gd and run_bngd
    # (a lecture's stops are about named ones as well); "sphere" is also a way to draw a start
    allowed = ("dynamics/", "ledger/", "theory/", "runs.py", "problems/", "explorer/tour.py")
    assert [place for place in found if not place.startswith(allowed)] == []


# ------------------------------------------------------------------ identity of what makes the numbers


def test_an_identity_sees_code_and_nothing_else(tmp_path, monkeypatch):
    code = 'def f(x):\n    """Say."""\n    return x + 1  # one\n'
    same = 'def f(x):\n    """Say it\n    otherwise."""\n\n    # a comment\n    return x + 1\n'
    assert meaning(code) == meaning(same) != meaning(code.replace("1", "2"))
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    for i, text in enumerate((code, same, code.replace("+", "-"))):
        (tmp_path / f"part{i}").mkdir()
        monkeypatch.syspath_prepend(tmp_path / f"part{i}")
        (tmp_path / f"part{i}" / f"made{i}.py").write_text(text)
        seen.append(meaning((tmp_path / f"part{i}" / f"made{i}.py").read_text()))
        assert len(identity([f"made{i}"])) == 12
    assert seen[0] == seen[1] != seen[2]
    with pytest.raises(ModuleNotFoundError):
        identity(["no.such.module"])


def test_engines_of_methods_differ_and_theory_has_its_own():
    engines = {name: identity(method.numbers) for name, method in olsbn.methods().items()}
    assert len(set(engines.values())) == len(engines)
    ds = swept("bngd")
    assert ds.attrs["engine"] == engines["bngd"] and ds.attrs["theory"] != ds.attrs["engine"]


def test_no_engine_depends_on_theory(monkeypatch):
    """Also where a method's file has both: its theory may change while a store is unfinished."""
    module = sys.modules[identity.__module__]
    engines, theories = (
        {name: identity(modules) for name, modules in all_of.items() if modules}
        for all_of in (
            {name: method.numbers for name, method in olsbn.methods().items()},
            {name: method.theory.modules for name, method in olsbn.methods().items()},
        )
    )
    source = module._source

    def changed(name):
        text = source(name)
        return text + "\nx = 1\n" if text and name.startswith("olsbn.theory") else text

    monkeypatch.setattr(module, "_source", changed)
    module._identity.cache_clear()
    try:
        for name, method in olsbn.methods().items():
            assert identity(method.numbers) == engines[name]
            assert not method.theory.modules or identity(method.theory.modules) != theories[name]
    finally:
        module._identity.cache_clear()


def test_another_theory_is_a_pass_over_the_store(tmp_path, monkeypatch):
    """A store whose theory has changed is not refused: only its rates are computed again."""
    spec = SweepSpec.checked(PROBLEM, "bngd", {"eps": [0.1, 1.0, 10.0]}, n_steps=200, tile=(1,))
    store, _ = running.fill(spec, tmp_path / "s.zarr", progress=False)
    expected = digest(store.dataset())
    crash.take_back(tmp_path / "s.zarr", 1)
    monkeypatch.setattr("olsbn.sweeps.store.store.theory", lambda method: "another")
    monkeypatch.setattr("olsbn.sweeps.spec.theory", lambda method: "another")
    plain = compute.theory_of_cells

    def other(method, problem, params, cells):
        return {name: values / 2 for name, values in plain(method, problem, params, cells).items()}

    monkeypatch.setattr(compute, "theory_of_cells", other)
    said = []
    again, n_run = running.fill(spec, tmp_path / "s.zarr", progress=False, say=said.append)
    assert n_run == 1 and len(said) == 1 and "its rates are computed again" in said[0]
    assert again.attrs["theory"] == "another"
    halves = again.dataset().rate_theory.values
    monkeypatch.undo()
    plain_sweep = olsbn.sweep(PROBLEM, eps=[0.1, 1.0, 10.0], n_steps=200)
    np.testing.assert_array_equal(2 * halves, plain_sweep.rate_theory)
    back, n_run = running.fill(spec, tmp_path / "s.zarr", progress=False)
    assert n_run == 0 and digest(back.dataset()) == expected


# ------------------------------------------------------------------ a method from outside the package

CONFIG = """\
method = "clipped"
n_steps = 200
eps = "1e-2:1:5"
longest = "1e-2:1:3"
dim = [3, 5]
trials = 2
tol = 1e-6
[problem]
spectrum = "logspace"
cond = 10
"""


@pytest.fixture
def outside(tmp_path):
    """A folder that is a package index of one: the toy method and its entry point; and what runs commands there."""
    about = tmp_path / "site" / "clipped-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: clipped\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[olsbn.methods]\nclipped = clipped:METHOD\n")
    (tmp_path / "site" / "clipped.py").write_text(Path(clipped.__file__).read_text())
    (tmp_path / "c.toml").write_text(CONFIG)
    here = str(Path(olsbn.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), here])}

    def run(*args, **options):
        return subprocess.run(
            [sys.executable, *map(str, args)], cwd=tmp_path, env=env, capture_output=True, text=True, **options
        )

    run.env = env
    return tmp_path, run


def test_a_method_from_outside(outside):
    folder, run = outside
    done = run("-m", "olsbn", "plan", "c.toml")
    assert (done.returncode == 0 and "60 cells" in " ".join(done.stdout.split())) or "cells       60" in done.stdout
    for expected in ("run now", "0 run now"):
        done = run("-m", "olsbn", "sweep", "c.toml", "--out", "s.zarr")
        assert done.returncode == 0 and expected in done.stdout, done.stderr
    code = (
        "import olsbn, numpy as np; from olsbn.sweeps.running import digest; import xarray as xr\n"
        "f = olsbn.ProblemFamily('logspace', 10); options = dict(dim=[3, 5], trial=[0, 1], n_steps=200, tol=1e-6)\n"
        "options |= dict(eps=np.geomspace(1e-2, 1, 5), longest=np.geomspace(1e-2, 1, 3))\n"
        "ds = olsbn.sweep(f, method='clipped', **options)\n"
        "assert ds.excess.dims == ('dim', 'trial', 'longest', 'eps') and (ds.status >= 0).all()\n"
        "assert digest(ds) == digest(xr.open_zarr('s.zarr'))\n"
        "assert 'clipped' in olsbn.methods()\n"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    (folder / "line.toml").write_text(CONFIG.replace('"1e-2:1:3"', "0.1"))
    assert run("-m", "olsbn", "sweep", "line.toml", "--out", "line.zarr").returncode == 0
    done = run("-m", "olsbn", "plot", "line.zarr", "--dim", "3", "--quantity", "excess")
    assert done.returncode == 0, done.stderr
    assert (folder / "line-dim3-excess.png").stat().st_size > 10_000
    # without the package that brings it, the store is named as what it is
    env = run.env | {"PYTHONPATH": str(Path(olsbn.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "olsbn", "sweep", "c.toml", "--out", "s.zarr"],
        cwd=folder, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "got 'clipped'" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_method_from_outside_on_dask(outside):
    pytest.importorskip("distributed")
    folder, run = outside
    code = (
        "import olsbn, numpy as np\n"
        "from distributed import Client, LocalCluster\n"
        "from olsbn.sweeps.running import digest\n"
        "if __name__ == '__main__':\n"
        "    p = olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0])\n"
        "    options = dict(method='clipped', eps=[0.1, 0.2], n_steps=9)\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address='127.0.0.1:0') as cluster:\n"
        "        with Client(cluster, set_as_default=False) as client:\n"
        "            ds = olsbn.sweep(p, client=client, store='d.zarr', **options)\n"
        "            print(digest(ds) == digest(olsbn.sweep(p, **options)))\n"
    )
    (folder / "on_dask.py").write_text(code)
    done = run("on_dask.py", timeout=waiting.PATIENCE)
    assert done.stdout.split() == ["True"], done.stderr


def test_the_page_shows_the_file_that_is_tested():
    page = (Path(__file__).parents[1] / "docs" / "adding-a-method.md").read_text()
    code = Path(clipped.__file__).read_text().split('"""', 2)[2].strip()
    assert code in page
    assert len(code.splitlines()) < 50


def test_the_page_of_methods_is_that_of_the_registry():
    docs = Path(__file__).parents[1] / "docs"
    done = subprocess.run(
        [sys.executable, "-c", "import methods_page; print(methods_page.text(), end='')"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(docs), str(docs.parent)])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == (docs / "methods.md").read_text(encoding="utf-8")


def test_an_update_is_stated_once():
    """What README and docstrings say of a step is `Method.step` up to what a parameter changes, in other letters."""
    for run in (olsbn.run_gd, olsbn.run_bngd):
        plain = olsbn.methods()[run.__name__.removeprefix("run_")].step.split("; ")[0]
        for part in plain.split(",  "):
            assert f"``{part}``" in run.__doc__
    text = "          ".join(olsbn.methods()["bngd"].step.split(",  ")[:2])
    letters = {"<-": "←", "eps": "ε", "sigma": "σ", "'": "ᵀ", "^2": "²", " - ": " − "}
    for plain, letter in letters.items():
        text = text.replace(plain, letter)
    assert f"\n    {text}\n" in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_bad_entry_points_are_named(monkeypatch):
    class Entry:
        name, value = "wrong", "nowhere:METHOD"

        def load(self):
            return "a string"

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry()])
    registry._all.cache_clear()
    try:
        with pytest.raises(TypeError, match=r"the entry point wrong = nowhere:METHOD .* must be a Method"):
            dict(registry.METHODS)
    finally:
        monkeypatch.undo()
        registry._all.cache_clear()


def test_parameters_describe_themselves():
    for method in olsbn.methods().values():
        assert isinstance(method, Method) and method.step and method.summary and method.numbers
        for param in method.params:
            assert isinstance(param, Param) and param.meaning and param.symbol
            assert param.default is None or param.low <= param.default <= param.high
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(olsbn.methods())[:2] == ["bngd", "gd"]
