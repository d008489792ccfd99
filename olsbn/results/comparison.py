"""Theory beside simulation: for every cell of a sweep what was predicted, what was found, and whether they agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray, as_real
from olsbn.problems import MACHEPS, OLSProblem, ProblemFamily
from olsbn.results.datasets import check_dataset, check_no_medians, problems_of, source_of
from olsbn.schema import EXCESS_LIMIT, Status
from olsbn.theory import effective_rate_regimes, eps_window

if TYPE_CHECKING:
    import xarray as xr

# To this accuracy rates have to agree. Both the measured ratio and the eps_eff at which theory is taken approach their
# limits like the root of the excess: a cell is compared if that is a hundredth of it.
RATE_REL = 1e-10
RATE_EXCESS = (RATE_REL / 100) ** 2
# The laws of eps_eff are for eps_a = 1; for others they hold if a follows w at once, that is within some ten steps.
EPS_A_FOLLOWS = (0.1, 1.9)

# Codes of the three checks.
NOT_COMPARED, DISAGREES, AGREES, IN_BAND = -1, 0, 1, 2
CHECKS = {NOT_COMPARED: "not_compared", DISAGREES: "disagrees", AGREES: "agrees", IN_BAND: "in_band"}
# Why a rate, or an effective rate, was not compared.
REASONS = {
    0: "compared",
    1: "not_run",
    2: "no_steady_rate_measured",
    3: "no_theory",
    4: "excess_above_1e-24",
    5: "tolerance_not_reached",
    6: "no_law_for_this_start",
    7: "scale_outside_0.1_to_1.9",
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
        A result of `olsbn.sweep`, or a part of one.
    problem : OLSProblem or ProblemFamily, optional
        What the sweep was made of, for a Dataset holds only its fingerprint. It may be left out for a family.
    band : float, optional
        Width, to either side and in decades, of the band around BNGD's predicted edges in which no agreement is asked.
    rel : float, optional
        Relative error up to which the final effective rate counts as predicted.

    Returns
    -------
    xarray.Dataset
        With the dims of `ds`. `status`, `rate_sim`, `rate_theory`, `eps_eff` as in `ds`, and beside them

        - `steps_theory`: predicted number of steps to the tolerance (inf: never; NaN: theory does not say);
          `status_theory`: the status that follows (-1: theory does not say); `status_check`;
        - `rate_check`, for cells whose ratio has settled and (BNGD) whose excess is below 1e-24; `rate_reason` says why
          the others were not compared, and `eps_eff_reason` the same of effective rates;
        - `regime`, `eps_eff_theory` (on the plateau the edge of stability) and `eps_eff_check`, for BNGD's cells that
          converged.

        A check is 1 where both agree, 0 where not, 2 in the band, -1 where there is nothing to compare. `attrs` has the
        numbers of each, such as `status_agrees`, `status_in_band`, `rate_disagrees`, `eps_eff_plateau_median`.

    Raises
    ------
    ValueError, TypeError
        If `ds` is not a sweep, or not one of `problem`.

    Notes
    -----
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
    _check_sweep(ds)
    source = source_of(ds, problem)
    if source is None:
        raise ValueError("problem must be given for a sweep of a single problem, got None")
    axes = [name for name in ("dim", "trial") if name in ds.dims]
    order = (*axes, *(name for name in ("eps_a", "eps") if name in ds.dims))
    shape = tuple(ds.sizes[name] for name in order)
    names = ["steps_theory", "status_theory", "status_check", "rate_check", "rate_reason"]
    names += [] if ds.attrs["method"] == "gd" else ["regime", "eps_eff_theory", "eps_eff_check", "eps_eff_reason"]
    found = {name: np.full(shape, np.nan) for name in names}
    for at, one in problems_of(ds, source):
        index, part = tuple(at[name] for name in axes), ds.isel(at)
        for name, values in _compare_one(part, one, band, rel).items():
            found[name][index] = values.reshape(shape[len(axes) :])
    keep = [name for name in ("status", "rate_sim", "rate_theory", "eps_eff") if name in ds]
    result = ds[keep].transpose(*order)
    for name, values in found.items():
        code = name.endswith(("_check", "_reason")) or name in ("regime", "status_theory")
        result[name] = (order, values.astype(np.int8) if code else values, _ATTRS[name])
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
    "rate_check": {"long_name": "measured contraction ratio against theory", **_codes(CHECKS)},
    "rate_reason": {"long_name": "why the contraction ratio was not compared", **_codes(REASONS)},
    "eps_eff_reason": {"long_name": "why the final effective rate was not compared", **_codes(REASONS)},
    "regime": {"long_name": "regime of the effective rate", **_codes(REGIMES)},
    "eps_eff_theory": {"long_name": "predicted final effective rate", "units": "1"},
    "eps_eff_check": {"long_name": "final effective rate against prediction", **_codes(CHECKS)},
}


def _check_sweep(ds: Any) -> None:
    check_dataset(ds)
    check_no_medians(ds)
    missing = [name for name in ("status", "eps_eff", "rate_sim", "rate_theory", "excess") if name not in ds]
    missing += [name for name in ("method", "n_steps", "tol") if name not in ds.attrs]
    known = {"dim", "trial", "eps_a", "eps"}
    more = [str(d) for d in ds["status"].dims if d not in known] if not missing else []
    if more or ds.attrs.get("method") not in (None, "gd", "bngd"):
        got = f"the axes {', '.join(more)}" if more else f"the method {ds.attrs['method']}"
        raise ValueError(f"ds must be a sweep of gd or bngd over dim, trial, eps_a, eps: theory is of those, got {got}")
    if missing or "step" in ds.dims:
        raise ValueError(f"ds must be a result of sweep, got a Dataset without {', '.join(missing) or 'cells'}")


# -------------------------------------------------------------------- one problem


def _compare_one(ds: xr.Dataset, problem: OLSProblem, band: float, rel: float) -> dict[str, np.ndarray]:
    """Return the columns for one problem, over (eps_a, eps)."""
    eps = np.atleast_1d(ds["eps"].values if "eps" in ds.coords else ds.attrs["eps"]).astype(float)
    gd = ds.attrs["method"] == "gd"
    eps_a = np.atleast_1d(1.0 if gd else ds["eps_a"].values if "eps_a" in ds.coords else ds.attrs["eps_a"])
    shape = (eps_a.size, eps.size)
    dims = [name for name in ("eps_a", "eps") if name in ds.dims]
    cells = {name: ds[name].transpose(*dims).values.reshape(shape) for name in ("status", "rate_sim", "rate_theory")}
    n_steps, tol = int(ds.attrs["n_steps"]), float(ds.attrs["tol"])
    with np.errstate(all="ignore"):
        if gd:
            steps, limit_steps = (np.atleast_2d(x) for x in _gd_steps(problem, eps, n_steps, tol))
        else:
            steps, limit_steps = _bngd_steps(problem, eps, eps_a[:, None].astype(float), n_steps, tol)
        theory = np.where(steps <= n_steps, Status.CONVERGED, Status.MAX_STEPS)
        theory = np.where(limit_steps <= n_steps, Status.DIVERGED, theory)
        if gd:
            near = np.minimum(np.abs(steps - n_steps), np.abs(limit_steps - n_steps)) <= 1
        else:
            near = np.minimum(*(np.abs(np.log10(k / max(n_steps, 1))) for k in (steps, limit_steps))) < band
        unknown = np.isnan(steps) & ~(limit_steps <= n_steps)
        theory = np.where(unknown, Status.NOT_RUN, theory)
        if _degenerate(problem) and not gd:
            theory, near, unknown = np.full(shape, Status.DEGENERATE), np.zeros(shape, bool), np.zeros(shape, bool)
        ran = cells["status"] != Status.NOT_RUN
        found = {
            "steps_theory": steps,
            "status_theory": theory,
            "status_check": _check(cells["status"] == theory, ran & ~unknown, near),
        }
        excess, eps_eff = (ds[name].transpose(*dims).values.reshape(shape) for name in ("excess", "eps_eff"))
        error = np.abs(cells["rate_sim"] - cells["rate_theory"])
        deep = ran & np.isfinite(error) & (gd | (excess <= RATE_EXCESS))
        found["rate_check"] = _check(error <= RATE_REL * cells["rate_theory"], deep)
        measured, predicted = np.isfinite(cells["rate_sim"]), np.isfinite(cells["rate_theory"])
        found["rate_reason"] = np.select([deep, ~ran, ~measured, ~predicted], [0, 1, 2, 3], 4)
        if not gd:
            settled = (cells["status"] == Status.CONVERGED) & (excess <= tol)
            found |= _check_eps_eff(problem, eps, eps_a[:, None], eps_eff, settled, band, rel)
            reason = found["eps_eff_reason"]
            found["eps_eff_reason"] = np.where(ran, reason, 1)
    return found


def _check(agrees: Any, compared: Any, near: Any = False) -> np.ndarray:
    check = np.where(agrees, AGREES, DISAGREES)
    return np.where(compared, np.where(near, IN_BAND, check), NOT_COMPARED)


def _degenerate(problem: OLSProblem) -> bool:
    along = math.fsum(problem.eigvals * problem.u * problem.w0)
    return not problem.w0.any() or (problem.a0 == 0 and along == 0)


def _gd_steps(problem: OLSProblem, eps: FloatArray, n_steps: int, tol: float) -> tuple[FloatArray, FloatArray]:
    """Return the first step at which GD's excess is at most `tol`, and the one at which it passes the limit.

    The excess is a sum of ``weight_i (1 - eps lambda_i)^(2k)``, convex in k: it falls to its least value, then rises.
    """
    error = problem.w0 - problem.u
    weight = problem.eigvals * error * error / problem.explained_var
    factor = 2 * np.log(np.abs(1 - np.outer(eps, problem.eigvals)))

    def excess(k: FloatArray) -> FloatArray:
        # 0 * log(0): a factor 0 to the power 0 is 1
        power = np.where(k[:, None] == 0, 0.0, factor * k[:, None])
        return np.where(weight > 0, weight * np.exp(power), 0.0).sum(axis=1)

    limit = EXCESS_LIMIT * max(1.0, float(weight.sum()))
    zero = np.zeros(eps.size)
    low, high = zero.copy(), np.full(eps.size, float(n_steps))
    while (high - low > 2).any():  # where the least value is
        third = np.floor((high - low) / 3)
        left, right = low + third, high - third
        falls = excess(left) >= excess(right)
        low, high = np.where(falls, left, low), np.where(falls, high, right)
        if (third == 0).all():
            break
    candidates = np.stack([low, np.floor((low + high) / 2), high])
    least = candidates[np.argmin([excess(k) for k in candidates], axis=0), np.arange(eps.size)]
    first = _first_step(lambda k: excess(k) <= tol, zero, least)
    last = np.full(eps.size, float(n_steps))
    passes = _first_step(lambda k: ~(excess(k) <= limit), least, last)
    return first, passes


def _first_step(holds: Any, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the first whole number in [low, high] from which on a condition holds; inf where it does not at `high`."""
    never = ~holds(high)
    low, high = low - 1, high.copy()
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        good = holds(np.maximum(middle, 0)) & (middle >= 0)
        move = high - low > 1
        high = np.where(move & good, middle, high)
        low = np.where(move & ~good, middle, low)
    return np.where(never, np.inf, high)


def _bngd_steps(
    problem: OLSProblem, eps: FloatArray, eps_a: FloatArray, n_steps: int, tol: float
) -> tuple[FloatArray, FloatArray]:
    """Return the predicted steps to the tolerance and to divergence, over (eps_a, eps)."""
    window = eps_window(problem, tol, max(n_steps, 1))
    regimes = effective_rate_regimes(problem)
    outer = np.maximum(
        0.0 if window.lower == 0 else window.lower * n_steps / eps,
        0.0 if window.upper == math.inf or math.isnan(window.upper) else eps * n_steps / window.upper,
    )
    if math.isnan(window.lower) and window.reliable:
        outer = np.full(eps.size, np.inf)
    if not window.reliable:
        # an end near the plateau, where the number of steps depends on the transient: only far from it is it known
        outer = np.where((eps > regimes.eps_1 / 3) & (eps < 3 * regimes.eps_2), np.nan, outer)
    # where the upper end is not known, nothing is known to the right of the small-eps branch
    if math.isnan(window.upper):
        outer = np.where(eps > regimes.eps_1 / 3, np.nan, outer)
    outer = np.where(eps == 0, 0.0 if window.lower == 0 else np.inf, outer)
    factor = np.abs(1 - eps_a)
    start = max(1.0, problem.a0**2 / problem.explained_var)
    scale = np.maximum(0.0, np.log(tol / start) / (2 * np.log(factor)))
    limit = np.where(factor > 1, math.log(EXCESS_LIMIT) / (2 * np.log(factor)), np.inf)
    if window.upper == math.inf:  # w starts at its end: what a has to start with is all that grows, if not rounding
        along = math.fsum(problem.eigvals * problem.u * problem.w0)
        off = abs(problem.a0 / math.sqrt(problem.explained_var) - math.copysign(1.0, along))
        if off < 16 * MACHEPS:
            limit = np.full_like(limit, np.inf)
    # from eps_a = 2 on the scale keeps or multiplies what the transient of w leaves in it, however much that is
    steps = np.where(factor < 1, np.maximum(outer, scale), np.where(outer > n_steps, outer, np.nan))
    return np.broadcast_to(steps, (eps_a.size, eps.size)), np.broadcast_to(limit, (eps_a.size, eps.size))


def _check_eps_eff(
    problem: OLSProblem, eps: FloatArray, eps_a: FloatArray, eps_eff: FloatArray, settled: Any, band: float, rel: float
) -> dict[str, np.ndarray]:
    regimes = effective_rate_regimes(problem)
    # The outer laws with what is next in order: all later steps, and for large eps what the start has in ||w||^2.
    small = regimes.small_slope * eps / (1 + eps / regimes.small_scale)
    large = regimes.large_product / eps / (1 + regimes.large_scale / eps + (regimes.crossing / eps) ** 2)
    edges = (regimes.eps_1, regimes.eps_2) if regimes.eps_1 <= regimes.eps_2 else (regimes.crossing,)
    regime = np.where(eps < edges[0], SMALL, np.where(eps > edges[-1], LARGE, PLATEAU))
    theory = np.where(regime == SMALL, small, np.where(regime == LARGE, large, regimes.plateau))
    unknown = np.isnan(theory) | (not regimes.generic and regime != SMALL) | (eps == 0)
    near = np.min([np.abs(np.log10(eps / edge)) for edge in edges], axis=0) < band
    agrees = np.where(
        regime == PLATEAU,
        eps_eff <= regimes.plateau * (1 + rel),
        np.abs(eps_eff / theory - 1) <= rel,
    )
    follows = (eps_a >= EPS_A_FOLLOWS[0]) & (eps_a <= EPS_A_FOLLOWS[1])
    compared = settled & ~unknown & follows
    reason = np.select([compared, ~settled, np.broadcast_to(unknown, eps_eff.shape)], [0, 5, 6], 7)
    regime = np.where(unknown, -1, regime)
    return {
        "regime": np.broadcast_to(regime, eps_eff.shape),
        "eps_eff_theory": np.broadcast_to(np.where(unknown, np.nan, theory), eps_eff.shape),
        "eps_eff_check": _check(agrees, compared, near),
        "eps_eff_reason": reason,
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
    with np.errstate(all="ignore"):
        compared = result["rate_check"].values >= 0
        error = np.abs(result["rate_sim"].values / result["rate_theory"].values - 1)[compared]
    found["rate_worst"] = float(error.max()) if error.size else math.nan
    if "eps_eff_check" in result:
        ratio = (result["eps_eff"] / result["eps_eff_theory"]).values
        for code, name in ((SMALL, "small"), (PLATEAU, "plateau"), (LARGE, "large")):
            here = ratio[
                (result["regime"].values == code) & np.isin(result["eps_eff_check"].values, (AGREES, DISAGREES))
            ]
            found[f"eps_eff_{name}_cells"] = int(here.size)
            found[f"eps_eff_{name}_median"] = float(np.median(here)) if here.size else math.nan
    return found
