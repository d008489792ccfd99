"""Theory beside simulation: for every cell of a sweep what was predicted, what was found, and whether they agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray, as_real
from olsbn.dynamics.registry import method_named
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.results.datasets import check_dataset, check_no_medians, param_values, problems_of, source_of
from olsbn.schema import Status

if TYPE_CHECKING:
    import xarray as xr

    from olsbn.dynamics.base import Method
    from olsbn.dynamics.predictions import Theory
    from olsbn.theory import EffectiveRateRegimes

# To this accuracy rates have to agree. Both the measured ratio and the eps_eff at which theory is taken approach their
# limits like the root of the excess: a cell is compared if that is a hundredth of it.
RATE_REL = 1e-10
RATE_EXCESS = (RATE_REL / 100) ** 2
# The laws of eps_eff are for eps_a = 1; for others they hold if a follows w at once, that is within some ten steps.
EPS_A_FOLLOWS = (0.1, 1.9)

# What is kept of a sweep beside its status: what theory is held against.
_PUT_BESIDE = ("rate_sim", "rate_theory", "eps_eff")
# Codes of the three checks.
NOT_COMPARED, DISAGREES, AGREES, IN_BAND = -1, 0, 1, 2
CHECKS = {NOT_COMPARED: "not_compared", DISAGREES: "disagrees", AGREES: "agrees", IN_BAND: "in_band"}
# Why a status, a rate or an effective rate was not compared.
REASONS = {
    0: "compared",
    1: "not_run",
    2: "no_steady_rate_measured",
    3: "no_theory",
    4: "excess_above_1e-24",
    5: "tolerance_not_reached",
    6: "no_law_for_this_start",
    7: "scale_outside_0.1_to_1.9",
    8: "further_parameter_not_neutral",
    9: "no_law_for_these_learning_rates",
}
SMALL, PLATEAU, LARGE = 0, 1, 2
REGIMES = {-1: "none", SMALL: "small_eps", PLATEAU: "plateau", LARGE: "large_eps"}


def compare(
    ds: xr.Dataset, problem: OLSProblem | ProblemFamily | None = None, *, band: float = 0.3, rel: float = 0.1
) -> xr.Dataset:
    r"""Put theory beside simulation for every cell of a sweep, and count where they agree.

    Parameters
    ----------
    ds : xarray.Dataset
        A result of `olsbn.sweep`, or a part of one: of any method, over any axes. Of recorded steps the last counts.
    problem : OLSProblem or ProblemFamily, optional
        What the sweep was made of, for a Dataset holds only its fingerprint. It may be left out for a family.
    band : float, optional
        Width, to either side and in decades, of the band around asymptotic edges in which no agreement is asked.
    rel : float, optional
        Relative error up to which the final effective rate counts as predicted.

    Returns
    -------
    xarray.Dataset
        With the dims of `ds`. `status`, `rate_sim`, `rate_theory`, `eps_eff` as in `ds`, and beside them

        - `steps_theory`: predicted number of steps to the tolerance (inf: never; NaN: theory does not say);
          `status_theory`: the status that follows (-1: theory does not say); `status_check`;
        - `rate_check`, for cells whose ratio has settled and (but for GD's closed form) whose excess is below 1e-24;
        - `regime`, `eps_eff_theory` (on the plateau the edge of stability) and `eps_eff_check`, for cells that
          converged, of a method that has such laws: BNGD;
        - `status_reason`, `rate_reason`, `eps_eff_reason`: why a cell was not compared.

        A check is 1 where both agree, 0 where not, 2 in the band, -1 where there is nothing to compare. `attrs` has the
        numbers of each, such as `status_agrees`, `status_in_band`, `rate_disagrees`, `eps_eff_plateau_median`.

    Raises
    ------
    ValueError, TypeError
        If `ds` is not a sweep, or not one of `problem`.

    Notes
    -----
    What there is to compare is the method's `Theory`: of a method without one nothing but rates, where it has them. A
    status and an effective rate are predicted where the parameters other than eps and eps_a are neutral.

    Status of GD: an identity, from its closed form; its band is a single step, for rounding. Status of BNGD: for
    ``eps_a > 2`` the scale diverges like ``|1 - eps_a|^k`` (tight); for ``eps_a < 2`` the number of steps is the larger
    of what the scale needs, ``ln(tol)/(2 ln|1 - eps_a|)``, and what the effective rate needs on its outer branches
    (`olsbn.theory.eps_window`, asymptotic). The band is one of steps: cells whose predicted number of steps is within
    a factor ``10**band`` of ``n_steps`` are in it; for eps that is the distance from the window's ends. What no formula
    tells is how close to the edge of stability a cell on the plateau settles: a few come so close that their top mode
    outlasts the prediction, and count as disagreeing.

    Rates: tight, compared to 1e-10. Effective rates: asymptotic on the outer branches (their laws to first order),
    tried for eps_a in [0.1, 1.9]; on the plateau theory is the upper bound ``2/lambda*_d``, and
    `eps_eff_plateau_median` tells how close to it the cells are.

    Cost: that of `eps_window` for each problem.

    Examples
    --------
    >>> import numpy as np, olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("logspace", dim=30, cond=50.0)
    >>> ds = olsbn.sweep(problem, eps=np.logspace(-4, 3, 29), eps_a=[0.5, 1.0, 2.5], n_steps=3000, tol=1e-6)
    >>> result = olsbn.compare(ds, problem)
    >>> result.attrs["status_disagrees"], result.attrs["rate_disagrees"], result.attrs["eps_eff_disagrees"]
    (0, 0, 0)
    """
    import xarray as xr

    band, rel = as_real("band", band), as_real("rel", rel)
    if not band >= 0 or not rel > 0:
        raise ValueError(f"band must be >= 0 and rel > 0, got {band!r} and {rel!r}")
    method = _check_sweep(ds)
    source = source_of(ds, problem)
    if source is None:
        raise ValueError("problem must be given for a sweep of a single problem, got None")
    if "step" in ds.dims:
        ds = ds.isel(step=-1, drop=True)
    axes = [name for name in ("dim", "trial") if name in ds.dims]
    dims = [param.name for param in method.axes if param.name in ds.dims]
    shape = tuple(ds.sizes[name] for name in (*axes, *dims))
    found: dict[str, np.ndarray] = {}
    for at, one in problems_of(ds, source):
        index = tuple(at[name] for name in axes)
        cells = _Cells.of(ds.isel(at), dims, method)
        for name, values in _compare_one(cells, method.theory, one, band, rel).items():
            found.setdefault(name, np.full(shape, np.nan))[index] = values.reshape(shape[len(axes) :])
    keep = [name for name in ("status", *_PUT_BESIDE) if name in ds]
    result = ds[keep].transpose(*axes, *dims)
    for name, values in found.items():
        code = name.endswith(("_check", "_reason")) or name in ("regime", "status_theory")
        result[name] = ((*axes, *dims), values.astype(np.int8) if code else values, _ATTRS[name])
    result.attrs = {
        **ds.attrs,
        "title": f"Theory beside simulation: {ds.attrs.get('title', '')}",
        "band": band,
        "rel": rel,
    }
    result.attrs |= _summary(result)
    assert isinstance(result, xr.Dataset)
    return result


def _codes(names: dict[int, str]) -> dict[str, Any]:
    return {"flag_values": np.array(list(names), np.int8), "flag_meanings": " ".join(names.values())}


_ATTRS: dict[str, dict[str, Any]] = {
    "steps_theory": {"long_name": "predicted number of steps to the tolerance", "units": "1"},
    "status_theory": {"long_name": "predicted status", **_codes({int(s): s.label for s in Status})},
    "status_check": {"long_name": "status against prediction", **_codes(CHECKS)},
    "status_reason": {"long_name": "why the status was not compared", **_codes(REASONS)},
    "rate_check": {"long_name": "measured contraction ratio against theory", **_codes(CHECKS)},
    "rate_reason": {"long_name": "why the contraction ratio was not compared", **_codes(REASONS)},
    "eps_eff_reason": {"long_name": "why the final effective rate was not compared", **_codes(REASONS)},
    "regime": {"long_name": "regime of the effective rate", **_codes(REGIMES)},
    "eps_eff_theory": {"long_name": "predicted final effective rate", "units": "1"},
    "eps_eff_check": {"long_name": "final effective rate against prediction", **_codes(CHECKS)},
}


def _check_sweep(ds: Any) -> Method:
    """Refuse what is no sweep, and return its method."""
    check_dataset(ds)
    check_no_medians(ds)
    missing = [name for name in ("method", "n_steps", "tol") if name not in ds.attrs]
    method = None if missing else method_named(ds.attrs["method"])
    known = method.variables if method else {}
    missing += [name for name in ("status", "excess", *_PUT_BESIDE) if name not in ds and (name in known or not known)]
    if missing or method is None:
        raise ValueError(f"ds must be a result of sweep, got a Dataset without {', '.join(missing)}")
    return method


# -------------------------------------------------------------------- one problem


@dataclass(frozen=True)
class _Cells:
    """The cells of one problem, vectors."""

    params: dict[str, FloatArray]
    laws: np.ndarray  # whether the parameters other than eps and eps_a are neutral: what predictions are for
    n_steps: int
    tol: float
    status: np.ndarray
    excess: np.ndarray
    rate_sim: np.ndarray
    rate_theory: np.ndarray
    eps_eff: np.ndarray

    @classmethod
    def of(cls, ds: xr.Dataset, dims: list[str], method: Method) -> _Cells:
        """Take them from a sweep of one problem over `dims`."""
        shape = tuple(ds.sizes[name] for name in dims)
        params = {
            name: np.broadcast_to(
                np.reshape(values, [-1 if name == d else 1 for d in dims]) if values.ndim else values, shape
            )
            .ravel()
            .astype(float)
            for name, values in param_values(ds, method).items()
        }
        laws = np.full(math.prod(shape), True)
        for param in method.further:
            laws &= params[param.name] == param.default
        found = {
            name: ds[name].transpose(*dims).values.ravel() if name in ds else np.full(laws.size, np.nan)
            for name in ("status", "excess", *_PUT_BESIDE)
        }
        return cls(params, laws, int(ds.attrs["n_steps"]), float(ds.attrs["tol"]), **found)

    @property
    def ran(self) -> np.ndarray:
        """Whether a cell was run."""
        return self.status != Status.NOT_RUN


def _compare_one(cells: _Cells, theory: Theory, problem: OLSProblem, band: float, rel: float) -> dict[str, np.ndarray]:
    """Return the columns for the cells of one problem."""
    with np.errstate(all="ignore"):
        found = _check_status(cells, theory, problem, band) | _check_rates(cells, theory)
        if theory.regimes is not None:
            found |= _check_eps_eff(cells, theory.regimes(problem), band, rel)
    return found


def _check_status(cells: _Cells, theory: Theory, problem: OLSProblem, band: float) -> dict[str, np.ndarray]:
    n_steps, laws = cells.n_steps, cells.laws
    steps, limit = np.full((2, laws.size), np.nan)
    degenerate = np.zeros(laws.size, bool)
    if theory.ending is not None and laws.any():
        asked = {name: values[laws] for name, values in cells.params.items()}
        steps[laws], limit[laws], degenerate[laws] = theory.ending(problem, asked, n_steps, cells.tol)
    if theory.exact:
        near = np.minimum(np.abs(steps - n_steps), np.abs(limit - n_steps)) <= 1
    else:
        near = np.minimum(*(np.abs(np.log10(k / max(n_steps, 1))) for k in (steps, limit))) < band
    unknown = np.isnan(steps) & ~(limit <= n_steps) & ~degenerate
    predicted = np.select(
        [degenerate, unknown, limit <= n_steps, steps <= n_steps],
        [Status.DEGENERATE, Status.NOT_RUN, Status.DIVERGED, Status.CONVERGED],
        Status.MAX_STEPS,
    )
    silent = np.full(laws.size, theory.ending is None)
    return {
        "steps_theory": steps,
        "status_theory": predicted,
        "status_check": _check(cells.status == predicted, cells.ran & ~unknown, near & ~degenerate),
        "status_reason": np.select([~cells.ran, ~unknown, silent, ~laws], [1, 0, 3, 8], 9),
    }


def _check_rates(cells: _Cells, theory: Theory) -> dict[str, np.ndarray]:
    error = np.abs(cells.rate_sim - cells.rate_theory)
    deep = cells.ran & np.isfinite(error) & ((theory.exact & cells.laws) | (cells.excess <= RATE_EXCESS))
    lost = [deep, ~cells.ran, ~np.isfinite(cells.rate_sim), ~np.isfinite(cells.rate_theory)]
    return {
        "rate_check": _check(error <= RATE_REL * cells.rate_theory, deep),
        "rate_reason": np.select(lost, [0, 1, 2, 3], 4),
    }


def _check(agrees: Any, compared: Any, near: Any = False) -> np.ndarray:
    check = np.where(agrees, AGREES, DISAGREES)
    return np.where(compared, np.where(near, IN_BAND, check), NOT_COMPARED)


def _check_eps_eff(cells: _Cells, regimes: EffectiveRateRegimes, band: float, rel: float) -> dict[str, np.ndarray]:
    eps = cells.params["eps"]
    settled = (cells.status == Status.CONVERGED) & (cells.excess <= cells.tol)
    # The outer laws with what is next in order: all later steps, and for large eps what the start has in ||w||^2.
    small = regimes.small_slope * eps / (1 + eps / regimes.small_scale)
    large = regimes.large_product / eps / (1 + regimes.large_scale / eps + (regimes.crossing / eps) ** 2)
    edges = (regimes.eps_1, regimes.eps_2) if regimes.eps_1 <= regimes.eps_2 else (regimes.crossing,)
    regime = np.where(eps < edges[0], SMALL, np.where(eps > edges[-1], LARGE, PLATEAU))
    theory = np.where(regime == SMALL, small, np.where(regime == LARGE, large, regimes.plateau))
    unknown = np.isnan(theory) | (not regimes.generic and regime != SMALL) | (eps == 0) | ~cells.laws
    near = np.min([np.abs(np.log10(eps / edge)) for edge in edges], axis=0) < band
    agrees = np.where(
        regime == PLATEAU,
        cells.eps_eff <= regimes.plateau * (1 + rel),
        np.abs(cells.eps_eff / theory - 1) <= rel,
    )
    eps_a = cells.params.get("eps_a", np.ones(eps.size))
    compared = settled & ~unknown & (eps_a >= EPS_A_FOLLOWS[0]) & (eps_a <= EPS_A_FOLLOWS[1])
    return {
        "regime": np.where(unknown, -1, regime),
        "eps_eff_theory": np.where(unknown, np.nan, theory),
        "eps_eff_check": _check(agrees, compared, near),
        "eps_eff_reason": np.select([~cells.ran, compared, ~settled, ~cells.laws, unknown], [1, 0, 5, 8, 6], 7),
    }


# -------------------------------------------------------------------- counts


def _summary(result: xr.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for what in ("status", "rate", "eps_eff"):
        if f"{what}_check" in result:
            check = result[f"{what}_check"].values
            found |= {f"{what}_{name}": int((check == code).sum()) for code, name in CHECKS.items()}
            if f"{what}_reason" in result:
                reason = result[f"{what}_reason"].values
                why = {text: int((reason == code).sum()) for code, text in REASONS.items() if code}
                found[f"{what}_not_compared_why"] = ", ".join(
                    f"{count} {text.replace('_', ' ')}" for text, count in why.items() if count
                )
    compared = result["rate_check"].values >= 0
    found["rate_worst"] = math.nan
    if compared.any():
        measured, theory = (result[name].values[compared] for name in ("rate_sim", "rate_theory"))
        found["rate_worst"] = float(np.abs(measured / theory - 1).max())
    if "eps_eff_check" in result:
        with np.errstate(all="ignore"):
            ratio = (result["eps_eff"] / result["eps_eff_theory"]).values
        for code, name in ((SMALL, "small"), (PLATEAU, "plateau"), (LARGE, "large")):
            here = ratio[
                (result["regime"].values == code) & np.isin(result["eps_eff_check"].values, (AGREES, DISAGREES))
            ]
            found[f"eps_eff_{name}_cells"] = int(here.size)
            found[f"eps_eff_{name}_median"] = float(np.median(here)) if here.size else math.nan
    return found
