"""The same bits however a sweep is run: tiles, threads, order, Dask, resume, lanes, instruction sets; every variant."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import bits
import crash
import numpy as np
import pytest
import xarray as xr

from olsbn.sweeps import running
from olsbn.sweeps.running import digest
from olsbn.sweeps.spec import SweepSpec

CASES = {case.name: case for case in bits.CASES}

# The same source compiled for other processors and other numbers of lanes than 32. Without "+fma" a fused
# multiply-add is the C library's.
TARGETS = {
    "no-fma-16-lanes": {"OLSBN_LANES": "16", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "avx2-8-lanes": {
        "OLSBN_LANES": "8", "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma"
    },
}  # fmt: skip


def printed(**env):
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, str(Path(tests) / "bits.py")], env=os.environ | {"PYTHONPATH": tests} | env,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def digests():
    return printed(OLSBN_LANES="32")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the instruction sets are those of x86-64")
@pytest.mark.parametrize("target", TARGETS)
def test_instruction_sets_and_lanes_change_no_bit(target, digests):
    """One of each kind of code; `python tests/bits.py --every` prints the digests of every case and every variant."""
    assert len(digests) == len(bits.FEW) + len(bits.FEW_VARIANTS)
    assert printed(**TARGETS[target]) == digests


@pytest.mark.parametrize("name", CASES)
def test_tiles_threads_and_order_change_no_bit(name):
    case = CASES[name]
    want = digest(case.sweep())
    assert digest(case.sweep(workers=3)) == want
    spec = SweepSpec.checked(case.problem, case.method, case.params, **case.options)

    def computed(parts, workers):
        arrays = spec.empty()
        for tile, result in running.results(spec, parts, workers=workers, progress=False):
            for column, block in result.items():
                arrays[column][spec.full_index(column, tile)] = block
        return digest(spec.dataset(arrays))

    shape = spec.shape[1:]
    for parts in (
        list(spec.tiles((1,) * (len(shape) - 1) + (7,)))[::-1] if shape else list(spec.tiles(shape)),
        list(spec.tiles(shape)),
    ):
        assert computed(parts, 2) == want


def test_a_sweep_that_was_resumed_has_the_same_bits(tmp_path):
    """Half of the tiles are lost and made again."""
    for name in ("bngd-all", "wngd"):
        case = CASES[name]
        spec = SweepSpec.checked(case.problem, case.method, case.params, **case.options, tile=(5,))
        store, _ = running.fill(spec, tmp_path / f"{name}.zarr", progress=False)
        crash.take_back(tmp_path / f"{name}.zarr", *range(0, len(store.tiling), 2))
        again, n_run = running.fill(spec, tmp_path / f"{name}.zarr", progress=False)
        assert n_run == len(range(0, len(store.tiling), 2))
        assert digest(again.dataset()) == digest(case.sweep()) == digest(xr.open_zarr(tmp_path / f"{name}.zarr"))


def test_dask_changes_no_bit(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", processes=False
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        for name, case in CASES.items():
            if name != "gdnp":  # one cell
                found = case.sweep(client=client, store=tmp_path / f"{name}.zarr", workers=None)
                assert digest(found) == digest(case.sweep()), name


def test_the_cases_run_by_every_variant_of_the_methods(monkeypatch):
    """A variant that no case of the list reaches would be tried by nobody."""
    from olsbn.engine import cells

    served = set()
    run_kind = cells._run_kind
    monkeypatch.setattr(cells, "_run_kind", lambda kind, *args: served.add(kind.name) or run_kind(kind, *args))
    for case in bits.CASES:
        if case.method != "minibatch":
            few = {name: values[:2] if np.ndim(values) else values for name, values in case.params.items()}
            case._replace(params=few, options={"n_steps": 2}).sweep()
    expected = {
        cells.Kind(v.step, v.folded).name
        for v in bits.variants.ALL
        if v.name in ("star", "gd", "gdnp-star", "sphere-star", "wngrad-star") or (v.name == "wn-star" and not v.params)
    }
    # plain GD has its closed form
    missing = {name for name in expected - served if not name.endswith("Steps:momentum,nesterov,factor,decay")}
    assert not missing
