"""What methods share: parameters; kernels, a plain one where all further parameters are neutral, else a general one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn.dynamics.base import Arrays, Param

if TYPE_CHECKING:
    from olsbn.kernels.run import Run
    from olsbn.problems import OLSProblem

EPS = Param("eps", "eps", "learning rate of w", spacing="log")
EPS_A = Param("eps_a", "eps_a", "learning rate of the scale a", default=1.0)
MOMENTUM = Param("momentum", "m", "momentum, of w and of a", default=0.0, high=1.0)
WEIGHT_DECAY = Param("weight_decay", "lambda_wd", "weight decay on w", default=0.0)
EPS_POWER = Param("eps_power", "alpha", "learning rate of w falls like (k+1)^-eps_power", default=0.0)
EPS_FACTOR = Param("eps_factor", "q", "learning rate of w is multiplied by this at each step", default=1.0)
EPS_A_POWER = Param("eps_a_power", "alpha_a", "learning rate of a falls like (k+1)^-eps_a_power", default=0.0)
SMOOTHING = Param("smoothing", "delta", "nu^2 = w'(H + delta I)w in place of sigma^2", default=0.0)
REPLICATE = Param("replicate", "replicate", "number of the stream of random batches", default=0.0, kind="count")
BATCH_SIZE = Param("batch_size", "m", "rows of a batch", default=32.0, low=3.0, high=2.0**32, kind="count")


def kernel(module: str, name: str) -> Callable[..., Any]:
    """Return a function of `olsbn.kernels.<module>`, imported when it is first called: compilers take time to load."""

    def call(*args: Any, **options: Any) -> Any:
        return getattr(import_module(f"olsbn.kernels.{module}"), name)(*args, **options)

    return call


class OnTwoKernels:
    """A problem in the coordinates of two kernels, a plain one and one for any parameter, made when they are needed."""

    def __init__(self, problem: OLSProblem, plain: str, general: str) -> None:
        self._problem, self._names = problem, (plain, general)

    @cached_property
    def plain(self) -> Any:
        """Coordinates of the plain kernel."""
        return kernel(self._names[0], "prepare")(self._problem)

    @cached_property
    def general(self) -> Any:
        """Coordinates of the general kernel."""
        return kernel(self._names[1], "prepare")(self._problem)

    def tile(self, params: Arrays, run: Run, neutral: Any) -> tuple[Arrays, Arrays]:
        """Run cells, those that are `neutral` on the plain kernel.

        A column that only one of them has is 0, False or NaN in the cells of the other.
        """
        n = params["eps"].size
        neutral = np.broadcast_to(neutral, (n,))
        plain, general = (kernel(name, "tile") for name in self._names)
        if neutral.all():
            return plain(self.plain, params, run)
        if not neutral.any():
            return general(self.general, params, run)
        found: tuple[Arrays, Arrays] = {}, {}
        for where, tile, x in ((neutral, plain, self.plain), (~neutral, general, self.general)):
            parts = tile(x, {name: values[where] for name, values in params.items()}, replace(run))
            for whole, part in zip(found, parts, strict=True):
                for name, values in part.items():
                    empty = np.nan if values.dtype.kind == "f" else 0
                    shape = (*values.shape[:-1], n)
                    whole.setdefault(name, np.full(shape, empty, values.dtype))[..., where] = values
        return found


def is_neutral(params: Mapping[str, Any], further: Sequence[Param]) -> Any:
    """Return for each cell whether all the parameters `further` have their neutral values."""
    neutral = True
    for param in further:
        if param.name in params:
            neutral = neutral & (params[param.name] == param.default)
    return neutral


def without_a_limit(params: Mapping[str, Any]) -> Any:
    """Return for each cell whether decay or a schedule keeps the error from shrinking at a constant ratio."""
    return ~np.asarray(is_neutral(params, (WEIGHT_DECAY, EPS_POWER, EPS_FACTOR, EPS_A_POWER)))
