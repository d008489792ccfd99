"""The numbers of a run as one small NetCDF file: written from a store, read back without JAX."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr

NETWORKS, LEAST_SQUARES = "networks.nc", "least-squares.nc"


@dataclass(frozen=True)
class Result:
    """One study's numbers. `eps`, `eps_a`: (points,); `loss`, `accuracy`: (points, seeds, marks); NaN: not run."""

    facts: dict
    marks: np.ndarray
    sharp_marks: np.ndarray
    eps: np.ndarray
    eps_a: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    sharpness: np.ndarray

    def level(self, n_steps):
        """Return the least loss up to a step, the best accuracy, and whether the run had diverged, (points, seeds)."""
        loss, accuracy = (a[..., self.marks <= n_steps] for a in (self.loss, self.accuracy))
        gone = ~np.isfinite(loss)
        least = np.where(gone, np.inf, loss).min(-1)
        return np.where(self.run, least, np.nan), np.where(self.run, accuracy.max(-1), np.nan), gone.any(-1)

    @property
    def run(self):
        """Whether a point was run, (points, 1)."""
        return np.isfinite(self.accuracy[..., :1]).all((1, 2))[:, None]


def write(folder, store, least_squares):
    """Write what the store holds, and the least-squares numbers, to two files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    marks = sorted({mark for study in store.studies for mark in study.marks})
    sharp = sorted({mark for study in store.studies for mark in study.sharp_marks})
    columns = {name: [] for name in ("study", "eps", "eps_a", "seed", "loss", "accuracy", "sharpness")}
    facts = []
    for number, study in enumerate(store.studies):
        arrays = store.read(study)
        plain = study.name == "grid" and study.method == "gd" and study.network.norm == "none"
        plain &= bool(np.isfinite(arrays["loss"]).any())  # nothing is known of a study that was not run
        start = store.start(study) if plain else {}
        facts.append(
            {"name": study.name, "method": study.method, "n_steps": study.n_steps, "seeds": study.seeds}
            | asdict(study.network) | start
        )  # fmt: skip
        points, cells = np.array(study.points), len(study.points) * study.seeds
        columns["study"] += [number] * cells
        columns["eps"] += np.repeat(points[:, 0], study.seeds).tolist()
        columns["eps_a"] += np.repeat(points[:, 1], study.seeds).tolist()
        columns["seed"] += list(range(study.seeds)) * len(points)
        for name, wanted, there in (
            ("loss", marks, study.marks), ("accuracy", marks, study.marks), ("sharpness", sharp, study.sharp_marks),
        ):  # fmt: skip
            padded = np.full((cells, len(wanted)), np.nan, np.float32)
            if there:
                padded[:, np.searchsorted(wanted, there)] = arrays[name].reshape(cells, -1)
            columns[name].append(padded)
    wide = {"loss": ("cell", "mark"), "accuracy": ("cell", "mark"), "sharpness": ("cell", "sharp_mark")}
    kinds = {"study": "i2", "seed": "i1", "eps": "f8", "eps_a": "f4"}
    variables = {name: ("cell", np.array(columns[name], kind)) for name, kind in kinds.items()}
    variables |= {name: (dims, _rounded(np.concatenate(columns[name]))) for name, dims in wide.items()}
    about = {"studies": json.dumps(facts), "long_name": "loss: relative to the best constant output"}
    ds = xr.Dataset(variables, {"mark": marks, "sharp_mark": sharp}, about)
    for name, found in ((NETWORKS, ds), (LEAST_SQUARES, least_squares)):
        packed = {v: {"zlib": True, "complevel": 9, "shuffle": True} for v in found.data_vars}
        found.to_netcdf(folder / name, engine="h5netcdf", encoding=packed)


def _rounded(values):
    """Return float32 with 12 bits of mantissa, 2e-4 relative: more than the numbers are worth, and packs well."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(np.isfinite(values), ((bits + 0x400) & np.uint32(0xFFFFF800)).view(np.float32), values)


def read(folder):
    """Return ([Result], least-squares Dataset)."""
    ds = xr.load_dataset(folder / NETWORKS, engine="h5netcdf")
    found = []
    for number, facts in enumerate(json.loads(ds.attrs["studies"])):
        part = ds.isel(cell=np.flatnonzero(ds["study"].values == number))
        marks, sharp = ds["mark"].values, ds["sharp_mark"].values
        shape, seeds = (-1, facts["seeds"]), facts["seeds"]
        here = marks <= facts["n_steps"]
        known = [part[name].values.reshape(*shape, part[name].shape[1]) for name in ("loss", "accuracy", "sharpness")]
        found.append(
            Result(
                facts, marks[here], sharp, part["eps"].values[::seeds], part["eps_a"].values[::seeds],
                known[0][..., here], known[1][..., here], known[2],
            )
        )  # fmt: skip
    return found, xr.load_dataset(folder / LEAST_SQUARES, engine="h5netcdf")
