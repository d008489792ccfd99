"""Exports are compressed, written a part at a time, and read back as they were."""

import numpy as np
import pytest
import xarray as xr

from olsbn.results import exports, netcdf


@pytest.fixture
def ds():
    rng = np.random.default_rng(0)
    data = {
        "a": (("x", "y"), rng.normal(size=(30, 40)), {"flag_values": np.array([1, 2], np.int8), "long_name": "α"}),
        "flag": (("x",), rng.random(30) < 0.5),
        "count": (("y", "x"), np.arange(1200).reshape(40, 30)),
        "code": (("x",), np.full(30, -1, np.int8)),
        "one": ((), 3.5),
        "none": (("z",), np.empty(0)),
    }
    coords = {"x": np.arange(30.0), "beside": (("x",), np.arange(30))}
    return xr.Dataset(data, coords, {"texts": ["a", "b"], "numbers": [1, 2], "name": "é", "number": 2.5})


@pytest.mark.parametrize("most", [1, 7, 100, 2**20])
def test_every_part_is_written(ds, most, tmp_path, monkeypatch):
    monkeypatch.setattr(netcdf, "_PART", most)
    monkeypatch.setattr(exports, "_PART", most)
    ds["a"][3, 4] = np.nan
    exports.export(ds, tmp_path / "x.nc")
    exports.export(ds, tmp_path / "x.npz")
    with xr.open_dataset(tmp_path / "x.nc") as back:
        xr.testing.assert_identical(back, ds)
    with np.load(tmp_path / "x.npz") as arrays:
        assert set(arrays) == {*ds.coords, *ds.data_vars}
        for name, values in arrays.items():
            np.testing.assert_array_equal(values, ds[name].values)
            assert values.dtype == ds[name].dtype


def test_text_is_left_to_xarray(tmp_path):
    ds = xr.Dataset({"a": ("algorithm", [1.0, 2.0])}, {"algorithm": ["gd", "bngd"]})
    exports.export(ds, tmp_path / "x.nc")
    with xr.open_dataset(tmp_path / "x.nc") as back:
        assert back.algorithm.values.tolist() == ["gd", "bngd"]


def test_files_are_compressed(tmp_path):
    ds = xr.Dataset({"a": (("x", "y"), np.zeros((1000, 1000)))})
    for suffix in (".nc", ".npz"):
        exports.export(ds, tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").stat().st_size < ds.nbytes / 50
