"""experiments/networks.py: its measures, its sharpness, the bridge to run_bngd, and that it goes on after kill -9."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "experiments"))
pytest.importorskip("flax", reason="the extra nn (JAX, Flax) is not installed")

import jax  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402
from nets import bridge, measure, model, plan, results, table  # noqa: E402


@contextlib.contextmanager
def command(folder, *args):
    """Start the experiment; it does not outlive the test."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    line = [sys.executable, str(ROOT / "experiments" / "networks.py"), "--smoke", "--workers", "1", *args]
    how = {"cwd": folder, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(line, **how) as process:
        try:
            yield process
        finally:
            process.kill()


FILES = ("networks.png", "networks.pdf", "table.md", "numbers.json")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a small run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with command(folder) as process:
        printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert "| BN: exponent in K of the lower end |" in printed
    return folder / "networks"


def arrays(path):
    """Return {name: (kind, shape, bytes)} of a store."""
    members = dict(zarr.open_group(path, mode="r").members(max_depth=None))
    found = {name: array[...] for name, array in members.items() if isinstance(array, zarr.Array)}
    assert all(np.isfinite(values).any() for values in found.values())
    return {name: (values.dtype, values.shape, values.tobytes()) for name, values in found.items()}


def test_killed_half_way_it_goes_on_to_the_same_bits(tmp_path, undisturbed):
    with command(tmp_path) as first:
        for line in first.stdout:
            if line.lstrip().startswith("1/"):  # a tile is committed, the second is under way
                break
    assert first.returncode == -signal.SIGKILL
    store = tmp_path / "networks" / "networks.zarr"
    done = {f: f.stat().st_mtime_ns for f in (store / "grid-digits-none-mse-sgd-1-10").rglob("c/*/*/*") if f.is_file()}
    assert done

    with command(tmp_path) as second:
        printed = second.communicate()[0]
    assert second.returncode == 0, printed
    assert printed.startswith("1 of 2 tiles are there")
    assert done == {f: f.stat().st_mtime_ns for f in done}  # what was there is not computed again
    found = arrays(store)
    assert {name.rpartition("/")[2] for name in found} == {"status", "loss", "accuracy", "sharpness"}
    assert found == arrays(undisturbed / "networks.zarr")
    for name in FILES:
        assert (store.parent / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_it_is_drawn_again_from_the_small_files_to_the_same_bytes(tmp_path, undisturbed):
    folder = tmp_path / "networks"
    folder.mkdir()
    for name in (results.NETWORKS, results.LEAST_SQUARES):
        shutil.copy(undisturbed / name, folder)
    with command(tmp_path, "--draw") as process:
        process.communicate()
    assert process.returncode == 0
    for name in FILES:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_the_small_file_holds_what_the_store_does(undisturbed):
    group = zarr.open_group(undisturbed / "networks.zarr", mode="r")
    for study, found in zip(plan.studies("smoke"), results.read(undisturbed)[0], strict=True):
        np.testing.assert_array_equal(found.eps, [eps for eps, _ in study.points])
        for name in ("loss", "accuracy"):
            values = group[f"{study.path}/{name}"][...]
            np.testing.assert_allclose(getattr(found, name), values, rtol=1e-3)  # kept to 2e-4


def test_one_neuron_with_batch_norm_gives_the_numbers_of_run_bngd():
    for row in bridge.compare():
        for name in ("loss", "scale", "norm", "shift"):
            assert row[name] < 1e-13, (name, row)


def test_bridge_is_not_blind():
    """A rate that is off by 1e-9 shows."""
    X, y = bridge.samples()
    w0 = np.ones(X.shape[1])
    with jax.enable_x64(True):
        one, two = (bridge.train(X, y, w0, 0.3, eps, 0.8, 50) for eps in (1e2, 1e2 * (1 + 1e-9)))
    assert np.abs(np.asarray(one[3]) / np.asarray(two[3]) - 1).max() > 1e-11


NET = model.Network("digits", 3, 1, "bn")


def test_sharpness_is_the_largest_eigenvalue_and_falls_with_the_square_of_the_norm():
    params = NET.starts(2)
    arrays = NET.arrays()
    weights, norm = model.split(jax.tree.map(lambda a: a[1], params))
    flat, unflatten = ravel_pytree(weights)

    def loss(w):
        return NET.loss_of(NET.outputs(model.merge(unflatten(w), norm), arrays[0]), arrays[1])

    dense = np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(loss))(flat), float))[-1]
    found = np.asarray(NET.sharpness(arrays, params))
    assert found[1] == pytest.approx(dense, rel=1e-2)
    longer, same = model.split(params)
    longer = NET.sharpness(arrays, model.merge(jax.tree.map(lambda w: 4 * w, longer), same))
    assert np.asarray(longer) == pytest.approx(found / 16, rel=2e-2)


def test_batch_norm_makes_the_last_bias_and_the_scale_of_weights_idle():
    params = jax.tree.map(lambda a: a[0], NET.starts(1))
    weights, norm = model.split(params)
    X = NET.arrays()[0]
    out = NET.outputs(params, X)
    again = NET.outputs(model.merge(jax.tree.map(lambda w: 4 * w, weights), norm), X)
    np.testing.assert_allclose(out, again, atol=1e-3)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-5)
    plain = model.Network("digits", 3, 1, "none")
    assert set(jax.tree.map(lambda a: a[0], plain.starts(1))) == {"dense0", "dense1"}


def test_the_default_is_what_was_asked_for():
    studies = plan.studies()
    grid = [s for s in studies if s.name == "grid"]
    for name in ("digits", "mnist_5k"):
        for width in (10, 100, 1000):
            for depth in (1, 2):
                for norm, decades in (("bn", 10), ("none", 6)):
                    for method in ("gd", "sgd"):
                        network = model.Network(name, width, depth, norm)
                        (study,) = (s for s in grid if s.network == network and s.method == method)
                        eps = [point[0] for point in study.points]
                        assert study.seeds == 5 and max(eps) / min(eps) == pytest.approx(10.0**decades)
    for study in studies:
        assert sum(part.stop - part.start for part in study.tiles()) == len(study.points)
        rows = study.rows()
        if rows is not None:
            assert all(sorted(epoch.ravel()) == list(range(320)) for epoch in rows[0, :20].reshape(2, -1))


def test_ends_of_ranges():
    eps = 10.0 ** np.arange(-3, 4)
    low, high = measure.ends(eps, [2, 1, -1, -2, -1, 3, 4])
    assert (low, high) == pytest.approx((-1.5, 1.25))
    low, high = measure.ends(eps, [1, -1, 1, -1, -1, np.inf, np.inf])  # the longest; half-way where runs diverged
    assert (low, high) == pytest.approx((-0.5, 1.5))
    assert np.isnan(measure.ends(eps, np.ones(7))).all()
    low, high = measure.ends(eps, [-1, -1, -1, 1, 1, 1, 1])
    assert np.isnan(low) and high == pytest.approx(-0.5)
    assert np.isnan(measure.ends(eps, [1, 1, -1, np.nan, 1, 1, 1])[1])  # not run


def test_exponents_and_their_errors():
    x = np.log10([10, 30, 100, 300])
    rng = np.random.default_rng(0)
    y = 2 * x + rng.normal(0, 0.1, (5, 1)) + rng.normal(0, 0.01, (5, 4))
    found = measure.slope(x, y)
    assert abs(found.value - 2) < 4 * found.error < 0.2
    y[2, 0] = np.nan  # a point that a seed lacks is left out for all
    assert measure.slope(x, y).value == pytest.approx(measure.slope(x[1:], y[:, 1:]).value)
    assert np.isnan(measure.slope(x[:1], y[:, :1]).value)
    wide = table.cliff(found, x, y, 0.25)
    assert wide.error > 0.05 and wide.value == found.value


def test_a_range_counts_where_it_is_half_a_decade_wide_for_all_seeds():
    lower = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, np.nan, 0.0]])
    upper = np.array([[0.4, 0.7, 1.0, 2.0], [0.4, 0.5, np.nan, 2.0]])
    assert table.wide(np.stack([lower, upper])).tolist() == [False, True, False, True]


def test_verdicts():
    one, off, none = measure.Estimate(1.1, 0.05), measure.Estimate(1.6, 0.1), measure.Estimate(np.nan, np.nan)
    assert table.verdict(one, 1, [one, none]) == "yes"
    assert table.verdict(one, 1, [off, none, one]) == "in part (2 of 3)"
    assert table.verdict(off, 1, []) == "no"
    assert table.verdict(none, 1, []) == "–"
    assert table.spread([off, one, none, one]) == "1.10 … 1.10 … 1.60 (3)"
    assert table.spread([off, none]) == "1.60 (1)"
    assert table.spread([none]) == "–"
    assert table.bracket(np.array([1, 1.9, 2.1]), [False, False, True]) == "1.9 … 2.1"
    assert table.bracket(np.array([1, 1.9, 2.1]), [False, False, False]) == "none up to 2.1"
