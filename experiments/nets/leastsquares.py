"""The least-squares problem in each network, by olsbn: its last layer alone, trained in the features of its start."""

import jax
import numpy as np
import xarray as xr

import olsbn
from nets import data, plan
from nets.model import CLASSES, Network

STEPS = (10, 30, 100, 300, 1000)
WIDTHS = (10, 100, 1000)
EPS = {"bngd": 10.0 ** np.linspace(-3, 7, 41), "gd": 10.0 ** np.linspace(-4, 2, 49)}
ARMS = {"bn": ("bn", 1.0), "zero": ("bn", 0.0), "none": ("none", None)}  # norm, gamma at the start
TRIALS, RANDOM_EPS = 10, {"bngd": 10.0 ** np.linspace(-5, 10, 61), "gd": 10.0 ** np.linspace(-5, 0, 41)}


def features(network, params):
    """Return what the last layer sees at the start, (rows, width), and its weights, (width, CLASSES)."""
    X, _, _, _ = network.arrays()
    before = "norm0" if network.norm == "bn" else "dense0"
    _, state = network.module.apply({"params": params}, X, capture_intermediates=True, mutable=True)
    seen = np.asarray(state["intermediates"][before]["__call__"][0], float)
    return np.maximum(seen, 0), np.asarray(params["dense1"]["kernel"], float)


def problems(phi, weights, Y, scale0):
    """Return one problem for each class. `scale0`: gamma at the start, or None: a layer with a bias, without BN.

    With BatchNorm features are centred, by BatchNorm; without, the bias is the weight of a constant feature.
    """
    plain = scale0 is None
    if plain:
        phi, weights = np.c_[phi, np.ones(len(phi))], np.vstack([weights, np.zeros(CLASSES)])
    else:
        phi = phi - phi.mean(0)
    left, s, right = np.linalg.svd(phi / np.sqrt(len(phi)), full_matrices=False)
    keep = s > 1e-6 * s[0]  # features are in single precision
    left, s, right = left[:, keep], s[keep], right[keep]
    found = []
    for k in range(CLASSES):
        y, w = Y[:, k] / np.sqrt(len(Y)), weights[:, k]
        w0 = right @ w
        null = float(np.sqrt(max(w @ w - w0 @ w0, 0.0)))
        a0 = None if plain else scale0
        found.append(olsbn.OLSProblem(s**2, left.T @ y / s, w0, a0, float(y @ y), w0_null_norm=null))
    return found


def total_excess(found, method, n_steps, eps, **eps_a):
    """Return the excess of all classes together, relative to the best constant, and the sweeps it is made of."""
    sweeps = [
        olsbn.sweep(problem, method=method, n_steps=n_steps, eps=eps, progress=False, workers=1, **eps_a)
        for problem in found
    ]
    energy = np.array([float(problem.eigvals @ problem.u**2) for problem in found])
    excess = np.array([ds["excess"].values for ds in sweeps])
    excess = np.where(np.isfinite(excess), excess, np.inf)
    return np.tensordot(energy / energy.sum(), excess, 1), sweeps


def measure(size="default"):
    """Return a Dataset: excess over (width, seed, n_steps, eps) for each arm, effective rates, and theory's marks."""
    seeds, steps, widths = (5, STEPS, WIDTHS) if size != "smoke" else (2, (10,), (10,))
    _, Y, _, _ = data.load("digits")
    found = {}
    for arm, (norm, scale0) in ARMS.items():
        method = "gd" if arm == "none" else "bngd"
        how, eps, axis = {} if method == "gd" else {"eps_a": plan.EPS_A}, EPS[method], f"eps_{method}"
        excess = np.empty((len(widths), seeds, len(steps), eps.size))
        edge = np.full((len(widths), seeds, CLASSES, eps.size), np.nan)
        marks = np.full((len(widths), seeds, CLASSES, 3), np.nan)  # eps_1, eps_2, eps_max
        for i, width in enumerate(widths):
            network = Network("digits", width, 1, norm)
            starts = network.starts(seeds)
            for seed in range(seeds):
                params = jax.tree.map(lambda a, seed=seed: a[seed], starts)
                classes = problems(*features(network, params), Y, scale0)
                reports = [olsbn.spectral_report(problem) for problem in classes]
                marks[i, seed, :, 2] = [report.eps_max for report in reports]
                for j, n_steps in enumerate(steps):
                    excess[i, seed, j], sweeps = total_excess(classes, method, n_steps, eps, **how)
                if method == "bngd":
                    for k, (problem, report, ds) in enumerate(zip(classes, reports, sweeps, strict=True)):
                        edge[i, seed, k] = ds["eps_eff"].values * report.eigvals_star[-1]
                        regimes = olsbn.effective_rate_regimes(problem)
                        marks[i, seed, k, :2] = regimes.eps_1, regimes.eps_2
                if arm == "bn" and width == 100:
                    rates = np.array([point[1] for point in plan.at(1.0, plan.EDGE)])
                    start = total_excess(classes, method, 0, 1.0)[0]
                    last = total_excess(classes, method, 300, plan.EDGE_EPS, eps_a=rates)[0]
                    found.setdefault("edge_grows", (("seed", "eps_a_edge", "eps_edge"), []))[1].append(last > start)
                    last = total_excess(classes, method, steps[-1], eps, eps_a=plan.SLOW)[0]
                    found.setdefault("excess_slow", (("seed", "eps_a_slow", axis), []))[1].append(last)
        found[f"excess_{arm}"] = (("width", "seed", "n_steps", axis), excess)
        if method == "gd":
            found["eps_max"] = (("width", "seed", "class"), marks[..., 2])
        else:
            found[f"edge_{arm}"] = (("width", "seed", "class", axis), edge)
            for j in (1, 2):
                found[f"eps_{j}_{arm}"] = (("width", "seed", "class"), marks[..., j - 1])
    family = olsbn.ProblemFamily("linspace", cond=100.0)
    for method, eps in RANDOM_EPS.items():
        ds = olsbn.sweep(
            family, method=method, dim=list(WIDTHS), trial=list(range(TRIALS if size != "smoke" else 2)), eps=eps,
            n_steps=300 if size != "smoke" else 10, progress=False, workers=1,
        )  # fmt: skip
        found[f"random_{method}"] = (("dim", "trial", f"random_eps_{method}"), ds["excess"].values)
    coords = {"width": list(widths), "n_steps": list(steps), "dim": list(WIDTHS), "eps_a_edge": list(plan.EDGE)}
    coords |= {"eps_edge": list(plan.EDGE_EPS), "eps_a_slow": list(plan.SLOW)}
    coords |= {f"eps_{method}": eps for method, eps in EPS.items()}
    coords |= {f"random_eps_{method}": eps for method, eps in RANDOM_EPS.items()}
    found = {name: (dims, np.asarray(values)) for name, (dims, values) in found.items()}
    used = {dim for dims, _ in found.values() for dim in dims}
    return xr.Dataset(
        found, {name: v for name, v in coords.items() if name in used}, {"olsbn_version": olsbn.__version__}
    )
