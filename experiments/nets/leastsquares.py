"""The least-squares problem in each network, by olsbn: its last layer alone, trained in the features of its start."""

import jax
import numpy as np
import xarray as xr

import olsbn
from nets import data
from nets.model import CLASSES, Network

STEPS = (10, 30, 100, 300, 1000)
WIDTHS = (10, 100, 1000)
EPS = {"bn": 10.0 ** np.linspace(-3, 7, 41), "gd": 10.0 ** np.linspace(-4, 2, 49)}
EPS_A = 0.5


def features(network, seed_params):
    """Return what the last layer sees at the start, (rows, width), and its weights, (width, CLASSES)."""
    X, _, _, _ = network.arrays()
    before = "norm0" if network.norm == "bn" else "dense0"
    _, state = network.module.apply({"params": seed_params}, X, capture_intermediates=True, mutable=True)
    seen = np.asarray(state["intermediates"][before]["__call__"][0], float)
    return np.maximum(seen, 0), np.asarray(seed_params["dense1"]["kernel"], float)


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
    keep = s > 1e-6 * s[0]  # of features in single precision
    left, s, right = left[:, keep], s[keep], right[keep]
    for k in range(CLASSES):
        y, w = Y[:, k] / np.sqrt(len(Y)), weights[:, k]
        w0 = right @ w
        yield olsbn.OLSProblem(
            s**2, left.T @ y / s, w0, None if plain else scale0, float(y @ y),
            w0_null_norm=float(np.sqrt(max(w @ w - w0 @ w0, 0.0))),
        )  # fmt: skip


def measure(size="default"):
    """Return a Dataset: relative excess over (arm, width, seed, n_steps, eps), and the theory's marks.

    The excess is that of all classes together, relative to the best constant output, as the network's loss is.
    """
    seeds, steps, widths = (5, STEPS, WIDTHS) if size != "smoke" else (2, (10,), (10,))
    _, Y, _, _ = data.load("digits")
    arms = {"bn": ("bn", 1.0), "zero": ("bn", 0.0), "none": ("none", None)}
    found = {}
    for arm, (norm, scale0) in arms.items():
        method = "gd" if arm == "none" else "bngd"
        eps = EPS["gd" if arm == "none" else "bn"]
        shape = (len(widths), seeds)
        excess = np.empty((*shape, len(steps), eps.size))
        edge = np.full((*shape, CLASSES, eps.size), np.nan)
        marks = np.full((*shape, CLASSES, 3), np.nan)  # eps_1, eps_2, eps_max
        for i, width in enumerate(widths):
            network = Network("digits", width, 1, norm)
            starts = network.starts(seeds)
            for seed in range(seeds):
                phi, weights = features(network, jax.tree.map(lambda a, seed=seed: a[seed], starts))
                total, unit = 0.0, 0.0
                for k, problem in enumerate(problems(phi, weights, Y, scale0)):
                    E, report = float(problem.eigvals @ problem.u**2), olsbn.spectral_report(problem)
                    rates = {"eps": eps} if arm == "none" else {"eps": eps, "eps_a": EPS_A}
                    runs = [
                        olsbn.sweep(problem, method=method, n_steps=n, progress=False, workers=1, **rates)
                        for n in steps
                    ]
                    total = total + E * np.array([ds["excess"].values for ds in runs])
                    unit += E
                    marks[i, seed, k, 2] = report.eps_max
                    if arm != "none":
                        edge[i, seed, k] = runs[-1]["eps_eff"].values * report.eigvals_star[-1]
                    if arm == "bn":
                        regimes = olsbn.effective_rate_regimes(problem)
                        marks[i, seed, k, :2] = regimes.eps_1, regimes.eps_2
                excess[i, seed] = total / unit
        axis = "eps_gd" if arm == "none" else "eps_bn"
        found[f"excess_{arm}"] = (("width", "seed", "n_steps", axis), excess)
        if arm == "none":
            found["eps_max"] = (("width", "seed", "class"), marks[..., 2])
        else:
            found[f"edge_{arm}"] = (("width", "seed", "class", axis), edge)
        if arm == "bn":
            found["eps_1"], found["eps_2"] = ((("width", "seed", "class"), marks[..., j]) for j in (0, 1))
    coords = {"width": list(widths), "n_steps": list(steps), "eps_bn": EPS["bn"], "eps_gd": EPS["gd"]}
    return xr.Dataset(found, coords, {"olsbn_version": olsbn.__version__})
