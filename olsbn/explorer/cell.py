"""One cell of a map: every quantity with theory's value next to it, and its run step by step with the spectrum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn.dynamics.registry import METHODS
from olsbn.explorer import shown
from olsbn.results.datasets import has_laws

if TYPE_CHECKING:
    from olsbn.dynamics.base import Method
    from olsbn.explorer.computing import Computation
    from olsbn.explorer.view import Given, View
    from olsbn.problems import OLSProblem

# At most so many steps of a run, and modes of a spectrum, are drawn.
_STEPS, _MODES = 1500, 300


def number(value: Any) -> float | int | None:
    """Return a number for the page: nothing in place of NaN and infinity, which its format does not have."""
    plain = value.item() if hasattr(value, "item") else value
    return plain if not isinstance(plain, float) or math.isfinite(plain) else None


def numbers(values: Any) -> list[float | int | None]:
    """Return an array for the page."""
    return [number(value) for value in np.asarray(values).tolist()]


def hover(computation: Computation, x: float, y: float) -> dict[str, Any]:
    """Return every quantity of the cell nearest to a point, each with what theory says of it."""
    row, column = computation.at(x, y)
    view, method = computation.view, METHODS[computation.view.method]
    here = {name: values[row, column] for name, values in computation.columns.items()}
    params = view.cell(float(computation.x[column]), float(computation.y[row]))
    theory = _theory(computation, method, params, here)
    rows = [
        {
            "name": name,
            "words": shown.of_method(method, name).meaning,
            "value": _text(name, value),
            "theory": theory.get(name, ""),
        }
        for name, value in shown.all_of(computation, row, column).items()
    ]
    axes = [
        {"name": axis.name, "symbol": shown.plain(method.param(axis.name).mathtext), "value": params[axis.name]}
        for axis in (view.x, view.y)
    ]
    stride = int(computation.stride[row, column])
    return {"at": axes, "rows": rows, "row": row, "column": column, "stride": stride}


def _text(name: str, value: Any) -> str:
    if name == "status":
        return schema.Status(int(value)).label.replace("_", " ")
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return "never" if value < 0 else str(int(value))
    if not math.isfinite(value):
        return "–"
    return schema.ratio(float(value)) if name.startswith("rate_") else f"{float(value):.6g}"


def _theory(computation: Computation, method: Method, params: dict[str, Any], here: dict[str, Any]) -> dict[str, str]:
    """Return what theory says of a cell's quantities, by name; nothing where it says nothing."""
    found: dict[str, str] = {}
    if "rate_theory" in here and math.isfinite(here["rate_theory"]):
        found["rate_sim"] = schema.ratio(float(here["rate_theory"]))
    edge = edge_of(computation.attrs, method, params)
    if edge is not None and "eps_eff" in here:
        found["eps_eff"] = f"edge of stability {edge:.6g}"
    if not has_laws(computation.labels(), method):
        return found
    vectors = {name: np.array([value]) for name, value in params.items() if isinstance(value, float)}
    vectors |= {p.name: np.array([p.default]) for p in method.params if p.name not in vectors and p.default is not None}
    if method.theory.ending is not None:
        ending = method.theory.ending(computation.problem, vectors, computation.view.n_steps, computation.view.tol)
        steps = float(np.ravel(ending.steps)[0])
        if not math.isnan(steps):
            found["steps_to_tol"] = f"{steps:.6g}" if math.isfinite(steps) else "never"
    if method.theory.regimes is not None and params.get("eps_a", 1.0) == 1.0 and "eps" in params:
        settled = float(np.ravel(method.theory.regimes(computation.problem).eps_eff(params["eps"]))[0])
        if math.isfinite(settled):
            found["eps_eff"] = f"settles near {settled:.4g}; {found.get('eps_eff', '')}".rstrip("; ")
    return found


def edge_of(facts: Any, method: Method, params: dict[str, Any]) -> float | None:
    """Return the edge of stability of a cell's effective learning rate; momentum moves it."""
    plain = facts.get(method.theory.edge[0])
    if plain is None or params.get("smoothing"):
        return None
    m, nesterov = float(params.get("momentum", 0.0)), float(params.get("nesterov", 0.0))
    # Polyak 1964: (2 + 2m)/mu for the heavy ball, (2 + 2m)/(1 + 2m)/mu for Nesterov's rule (`heavy_ball_ratio`)
    return float(plain) * (1 + m) / (1 + 2 * m * nesterov)


def steps(view: View, given: Given, facts: Any, x: float, y: float) -> dict[str, Any]:
    """Run a cell and return its quantities step by step, and the spectrum that decides which modes shrink."""
    from olsbn.runs import run

    method, problem, params = METHODS[view.method], view.problem_of(given), view.cell(x, y)
    record = _record(view.n_steps)
    ds = run(
        problem, view.method, n_steps=view.n_steps, record=record, tol=view.tol, check_rounding=view.check_rounding,
        **params,
    )  # fmt: skip
    series = {str(name): numbers(values.values) for name, values in ds.data_vars.items()}
    return {
        "x": x,
        "y": y,
        "step": ds["step"].values.tolist(),
        "series": series,
        "status": str(ds.attrs["status"]).replace("_", " "),
        "steps_to_tol": int(ds.attrs["steps_to_tol"]),
        "tol": view.tol,
        "edge": edge_of(facts, method, params),
        **spectrum(problem, method, params, ds["eps_eff"].values),
    }


def _record(n_steps: int) -> np.ndarray:
    """Return steps to draw: all, or the first ones and then with equal ratios."""
    if n_steps < _STEPS:
        return np.arange(n_steps + 1)
    return np.unique(np.append(np.geomspace(1, n_steps, _STEPS).round().astype(np.int64), [0, n_steps]))


def spectrum(problem: OLSProblem, method: Method, params: dict[str, Any], eps_eff: Any) -> dict[str, Any]:
    """Return the eigenvalues that a run's modes belong to, of many some; those of H for GD, else of H*.

    The factors themselves follow from `eps_eff`: |1 - eps_eff mu|, or with momentum the larger root of the mode's
    recursion (`olsbn.theory.heavy_ball_ratio`).
    """
    from olsbn.theory import spectral_report

    report = spectral_report(problem)
    plain = method.theory.edge[0] == "eps_max"
    eigvals = report.eigvals if plain else report.eigvals_star[1:]
    if eigvals.size > _MODES:
        eigvals = eigvals[np.unique(np.linspace(0, eigvals.size - 1, _MODES).round().astype(int))]
    why = ""
    if not method.theory.edge[0] or params.get("smoothing"):
        why = "the modes are coupled to the scale here: H and its eigenvalues do not decide alone"
    return {
        "mu": numbers(eigvals),
        "of": "H" if plain else "H*",
        "modes": int(report.eigvals.size),
        "momentum": float(params.get("momentum", 0.0)),
        "nesterov": float(params.get("nesterov", 0.0)),
        "why_not": why,
    }
