"""A Zarr store of the studies, in the manner of `olsbn sweep`: a tile's data first, its commit mark last.

Each study is a group; one chunk is one tile. The array `status` of the root has a chunk for every tile of all studies:
that it is there says that the tile was written in full.
"""

import json
import shutil

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from nets.plan import fingerprint
from nets.tiles import run_starts
from olsbn.sweeps.store import StoreError
from olsbn.sweeps.store.lock import writing as holding

__all__ = ["Store", "StoreError", "writing"]

CODECS = [ZstdCodec(level=3), Crc32cCodec()]


def writing(path):
    """Hold the right to write to the store at `path`."""
    return holding(path / "status" / "lock")


class Store:
    """The store at `path`, made if need be; whoever writes must be inside `writing(path)`."""

    def __init__(self, path, studies):
        self.path, self.studies = path, studies
        self.tiles = [(study, part) for study in studies for part in study.tiles()]
        mark = fingerprint(studies)
        if not path.exists():
            self._create(mark)
        self._group = zarr.open_group(path, mode="r+")
        if self._group.attrs.get("fingerprint") != mark:
            raise StoreError(f"{path} holds other studies, or those of another version: name another one with --store")

    def _create(self, mark):
        work = self.path.with_name(f".{self.path.name}.partial")
        shutil.rmtree(work, ignore_errors=True)
        group = zarr.create_group(work, attributes={"fingerprint": mark})
        for study in self.studies:
            points, size = len(study.points), study.tiles()[0].stop
            kinds = {"loss": study.marks, "accuracy": study.marks, "sharpness": study.sharp_marks}
            for name, marks in kinds.items():
                if marks:
                    shape = (points, study.seeds, len(marks))
                    group.create_array(f"{study.path}/{name}", shape=shape, chunks=(size, *shape[1:]), dtype="f4",
                                       fill_value=np.nan, compressors=CODECS,
                                       config={"write_empty_chunks": True})  # fmt: skip
        group.create_array("status", shape=[len(self.tiles)], chunks=[1], dtype="i1", fill_value=-1, compressors=CODECS)
        (work / "status").mkdir(exist_ok=True)
        work.rename(self.path)

    def missing(self):
        """Return the numbers of the tiles that are not there, or fail their checksum."""
        return [i for i in range(len(self.tiles)) if not self._intact(i)]

    def _intact(self, i):
        if not (self.path / "status" / "c" / str(i)).exists():
            return False
        study, part = self.tiles[i]
        try:
            for name in self._group[study.path].array_keys():
                if not (self.path / study.path / name / "c" / str(self._block(i)) / "0" / "0").exists():
                    return False
                self._group[study.path][name][part]
            return int(self._group["status"][i]) == 0
        except (OSError, ValueError, RuntimeError):
            return False

    def _block(self, i):
        study, part = self.tiles[i]
        return part.start // study.tiles()[0].stop

    def write(self, i, found):
        """Write a tile and commit it."""
        study, part = self.tiles[i]
        mark = self.path / "status" / "c" / str(i)
        mark.unlink(missing_ok=True)
        for name, values in found.items():
            self._group[study.path][name][part] = values
        self._group["status"][i] = 0

    def start(self, study):
        """Return what `run_starts` finds for a study, and keep it beside the tiles: it takes a while for the widest."""
        file = self.path / "starts" / f"{study.path}.json"
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            work = file.with_suffix(".partial")
            work.write_text(json.dumps({name: values.tolist() for name, values in run_starts(study).items()}))
            work.replace(file)
        return json.loads(file.read_text())

    def sweep(self):
        """Remove what killed writers have left behind."""
        for file in self.path.rglob("*.partial"):
            file.unlink(missing_ok=True)

    def read(self, study):
        """Return {array: values} of a study; NaN where tiles are missing."""
        return {name: self._group[study.path][name][...] for name in self._group[study.path].array_keys()}
