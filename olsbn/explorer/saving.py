"""What a tab saves: the picture, the data, the configuration; and what it says of a map in words."""

from __future__ import annotations

import io
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olsbn import maps

if TYPE_CHECKING:
    from olsbn.explorer.computing import Computation
    from olsbn.explorer.view import Given, View

# name -> type of its content
FILES = {
    "picture.png": "image/png",
    "picture.pdf": "application/pdf",
    "data.nc": "application/x-netcdf",
    "sweep.toml": "application/toml",
    "view.py": "text/x-python",
}
# Settings of matplotlib belong to the process.
_DRAWING = threading.Lock()


def made(name: str, computation: Computation, view: View, given: Given) -> bytes:
    """Return the content of a file."""
    if name == "sweep.toml":
        return view.toml(given).encode()
    if name == "view.py":
        return view.python(given).encode()
    ds = computation.dataset()
    if name == "data.nc":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.nc"
            ds.to_netcdf(path, engine="h5netcdf")
            return path.read_bytes()
    from olsbn import plotting

    with _DRAWING:
        figure = plotting.in_style(
            plotting.maps_figure, ds, view.show, x=view.x.name, y=view.y.name, titles=[""], size=(6.4, 5.4)
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format=name.rpartition(".")[2])
    return buffer.getvalue()


def counts(computation: Computation) -> str:
    """Return how the cells of a finished map ended, in a line."""
    return maps.counts(computation.dataset())


def facts(computation: Computation) -> dict[str, Any]:
    """Return what the page says of the problem."""
    problem, spec = computation.problem, computation.spec
    reduction = getattr(spec.source, "reduction", None)
    found: dict[str, Any] = {
        "label": problem.label,
        "dim": problem.dim,
        "cond": float(problem.cond),
        "remarks": list(problem.remarks),
        "target_unit": problem.target_unit,
    }
    if reduction is not None and problem.reduction is None:
        found["reduced"] = {"modes": spec.source.dim, "error": float(spec.source.reduction_error)}  # type: ignore[union-attr]
    return found
