"""A sweep on disk, in a folder that survives whatever kills the process that writes it.

While a sweep is written, each tile is one file in ``olsbn/tiles``, written under a fresh name and renamed, so that it
is there in full or not at all. When the last tile is in, the tiles become plain Zarr beside that folder, which
xarray opens alone. The folder ``olsbn`` also holds the header (what was asked for, to the bit, twice), the locks,
and the manifest (checksums and copies of the metadata) of a packed store.

Files: `header` what was asked for, `tiles` and `packed` the two states, `old` format 2, `lock` who may write,
`container` checksums and compression, `blocks` regions for xarray, `places` and `cloud` where files are (a folder, a
bucket), `store` all of it together, `opened` a store by its path or URL.

Nothing is synced to the disk while tiles are written: a killed process loses the tiles in flight, a power cut may
damage the last ones written, which the checksums then find.
"""

from olsbn.sweeps.store.errors import Damaged, StoreError
from olsbn.sweeps.store.opened import create_store, exists, open_store
from olsbn.sweeps.store.store import Store, is_store

__all__ = ["Damaged", "Store", "StoreError", "create_store", "exists", "is_store", "open_store"]
