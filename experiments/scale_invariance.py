"""Any learning rate of scale-invariant weights works: the smallest gradient against T in a small network.

    python experiments/scale_invariance.py [--smoke]

[Arora, Theorem 3.1]: with BN after every layer, gradient descent with any fixed learning rate eta_w of the weights
reaches min_t ||grad L(V_t, g_t)|| = O(T^-1/2), where the gradient is taken at weights of unit norm; only the learning
rate of scales and shifts needs care. A network of two layers with tanh, smoothed BN [eq. 8], full batch, all learning
rates side by side (`olsbn.ledger.networks`), against the same network without BN. Draws figures/scale-invariance.png.
"""

import argparse
from pathlib import Path

import numpy as np

from olsbn.ledger import networks
from olsbn.ledger.networks import Layer, Rule

RULE = Rule(delta=0.1, decay=0.01)
ETA_G = 0.1
HIDDEN, INPUTS, BATCH = 4, 3, 24


def data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and the noisy targets of a random network of the same kind, without BN."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((BATCH, INPUTS)) * np.geomspace(0.3, 3, INPUTS)
    hidden = np.tanh(x @ rng.standard_normal((INPUTS, HIDDEN)) / 2)
    y = hidden @ rng.standard_normal(HIDDEN)
    return x, (y - y.mean()) / y.std() + 0.1 * rng.standard_normal(BATCH)


def with_bn(x: np.ndarray, y: np.ndarray, eta: np.ndarray, n_steps: int, seed: int) -> np.ndarray:
    """Return the squared gradient at unit weights, at every step and for every learning rate."""
    net = networks.draw_network(np.random.default_rng(seed), (INPUTS, HIDDEN, 1))
    net = tuple(Layer(*(np.repeat(part[None], eta.size, 0) for part in layer)) for layer in net)
    found = np.empty((n_steps, eta.size))
    for k in range(n_steps):
        grad = networks.gradient(net, x, y, RULE)
        found[k] = sum(
            ((p.w**2).sum(-1) * (d.w**2).sum(-1)).sum(-1) + (d.gamma**2).sum(-1) + (d.beta**2).sum(-1)
            for p, d in zip(net, grad, strict=True)
        )
        net = networks.step(net, grad, eta, ETA_G)
    return found


def without_bn(x: np.ndarray, y: np.ndarray, eta: np.ndarray, n_steps: int, seed: int) -> np.ndarray:
    """Return the squared gradient of the same network without BN; all its parameters have the learning rate eta."""
    rng = np.random.default_rng(seed)
    first = np.repeat(rng.standard_normal((1, HIDDEN, INPUTS)), eta.size, 0)
    last = np.repeat(rng.standard_normal((1, 1, HIDDEN)), eta.size, 0)
    shift, offset = np.zeros((eta.size, 1, HIDDEN)), np.zeros((eta.size, 1, 1))
    found = np.empty((n_steps, eta.size))
    step = eta[:, None, None]
    for k in range(n_steps):
        h = np.tanh(x @ np.swapaxes(first, -1, -2) + shift)
        r = h @ np.swapaxes(last, -1, -2) + offset - y[:, None]
        back = r / np.sqrt(1 + r * r) / BATCH
        d_last, d_offset = np.swapaxes(back, -1, -2) @ h, back.sum(-2, keepdims=True)
        back = (back @ last) * (1 - h * h)
        d_first, d_shift = np.swapaxes(back, -1, -2) @ x, back.sum(-2, keepdims=True)
        found[k] = sum((d**2).sum((-1, -2)) for d in (d_first, d_last, d_shift, d_offset))
        first, last = first - step * d_first, last - step * d_last
        shift, offset = shift - step * d_shift, offset - step * d_offset
    return found


def draw(eta: np.ndarray, least: np.ndarray, plain: np.ndarray, path: Path) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    steps = np.arange(1, len(least) + 1)
    for j in range(0, eta.size, 2):
        colour = colormaps["viridis"](j / (eta.size - 1) * 0.9)
        left.loglog(steps, least[:, :, j].mean(1), color=colour, label=f"{eta[j]:.0e}")
    left.loglog(steps, least[0].mean() * steps**-0.5, color="black", ls="--", lw=1, label=r"$T^{-1/2}$")
    left.set_xlabel("steps T")
    left.set_ylabel("smallest gradient in T steps")
    left.legend(title=r"$\eta_w$", fontsize=7, title_fontsize=8)
    left.set_title("with BN", fontsize=10)
    for n, style in ((len(least) // 16, "--"), (len(least), "-")):
        for values, colour, name in ((least, "#3b528b", "BN"), (plain, "#d95f02", "no BN")):
            right.loglog(eta, values[n - 1].mean(0), style, color=colour, marker="o", ms=3, label=f"{name}, T = {n}")
    right.set_xlabel(r"learning rate of the weights $\eta_w$")
    right.legend(fontsize=8)
    right.set_title("at two times", fontsize=10)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small version, drawn into the current directory")
    smoke = parser.parse_args().smoke
    n_steps, seeds, cells = (64, 1, 7) if smoke else (16_384, 1, 13)
    eta = np.geomspace(1e-3, 1e3, cells)
    least, plain = [], []
    for seed in range(seeds):
        x, y = data(seed)
        for into, train in ((least, with_bn), (plain, without_bn)):
            into.append(np.minimum.accumulate(np.sqrt(train(x, y, eta, n_steps, seed)), 0))
    bn, no_bn = (np.stack(part, 1) for part in (least, plain))
    print("eta_w, exponent of T in the smallest gradient over the last factor of 16, and that gradient: BN, no BN")
    at = np.unique(np.geomspace(n_steps // 16, n_steps, 40).astype(int)) - 1
    for j in range(0, cells, 2):
        exponents = [np.polyfit(np.log(at + 1.0), np.log(v[at, :, j].mean(1)), 1)[0] for v in (bn, no_bn)]
        ends = [v[-1, :, j].mean() for v in (bn, no_bn)]
        print(f"{eta[j]:8.0e}  {exponents[0]:6.2f} {ends[0]:.1e}   {exponents[1]:6.2f} {ends[1]:.1e}")
    folder = Path(".") if smoke else Path(__file__).resolve().parents[1] / "figures"
    draw(eta, bn, no_bn, folder / "scale-invariance.png")


if __name__ == "__main__":
    main()
