"""Arguments of theory: arrays of any shape, and labelled arrays, whose axes go by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_floats, as_rate


def labelled(value: Any) -> bool:
    """Whether `value` is an xarray object, whose axes go by their names."""
    return hasattr(value, "dims") and hasattr(value, "coords") and not hasattr(value, "data_vars")


def by_labels(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` with the arrays behind xarray objects, broadcast by name, and label what it returns."""
    import xarray as xr

    return xr.apply_ufunc(function, *args, keep_attrs=False, dask="allowed").rename(None)


def rates(name: str, value: Any) -> FloatArray:
    """Like as_rate, for arrays of any shape."""
    array = as_floats(name, value)
    return as_rate(name, array.ravel()).reshape(array.shape) if array.size else array


def floats_or_nan(name: str, value: Any) -> FloatArray:
    """Like as_floats, but NaN and infinity may be there."""
    try:
        array = np.asarray(value)
    except ValueError:
        return as_floats(name, value)  # a ragged list: let it say so
    return array.astype(np.float64) if array.dtype.kind == "f" else as_floats(name, value)
