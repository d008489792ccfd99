"""Any learning rate of scale-invariant weights works: the smallest gradient against T in a small network.

    python experiments/scale_invariance.py [--smoke]

[Arora, Theorem 3.1]: with BN after every layer, gradient descent with any fixed learning rate eta_w of the weights
reaches min_t ||grad L(V_t, g_t)|| = O(T^-1/2), where the gradient is taken at weights of unit norm; only the learning
rate of scales and shifts needs care. A network of two layers with tanh, smoothed BN [eq. 8], full batch, all learning
rates side by side (`olsbn.ledger.networks`), against the same network without BN.
"""

import drawing
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


def exponent(steps: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Return the exponent of T over the last factor of 16, for each learning rate."""
    at = np.unique(np.geomspace(steps[-1] // 16, steps[-1], 40).astype(int)) - 1
    return np.polyfit(np.log(at + 1.0), np.log(least[at]), 1)[0]


def main() -> None:
    small = drawing.smoke(__doc__)
    n_steps, cells = (64, 7) if small else (8192, 13)
    eta = np.geomspace(1e-3, 1e3, cells)
    x, y = data(0)
    least, plain = (np.minimum.accumulate(np.sqrt(train(x, y, eta, n_steps, 0)), 0) for train in (with_bn, without_bn))
    steps = np.arange(1, n_steps + 1)
    with drawing.figure("scale-invariance", 3.9, small, rows=2) as (figure, (top, bottom)):
        for j in range(0, cells, 2):
            top.loglog(steps, least[:, j], color=drawing.style_map(j / (cells - 1)), label=drawing.power(eta[j]))
        top.loglog(steps, least[0].mean() * steps**-0.5, **drawing.LAW, label="$T^{-1/2}$")
        top.set(xlabel="steps T", ylabel="smallest gradient")
        top.legend(title=r"$\eta_w$", ncols=2, frameon=False, loc="lower left", columnspacing=1)
        for n, dashes in ((n_steps // 16, "--"), (n_steps, "-")):
            for values, colour, name in ((least, drawing.BNGD, "BN"), (plain, drawing.GD, "no BN")):
                label = f"{name}, T = {n}"
                bottom.loglog(eta, values[n - 1], dashes, color=colour, marker="o", ms=2.5, label=label)
        bottom.set(xlabel=r"learning rate of the weights $\eta_w$", ylabel="smallest gradient")
        bottom.legend(frameon=False, loc="lower left")
        at = np.unique(np.geomspace(1, n_steps, 100).astype(int)) - 1
        figure.data = {"T": steps[at, None], "eta_w": eta, "bn": least[at], "no_bn": plain[at]}
        of_bn = exponent(steps, least)
        figure.caption = f"""A network of two layers with BN, tanh and least squares, full batch: smallest gradient
        at unit weights in T steps [Arora, Theorem 3.1], learning rates of the weights over six decades, that of
        scales and shifts {ETA_G}. Above: with BN. The exponents of T over the last factor of 16 are {of_bn.min():.2f}
        to {of_bn.max():.2f}. Below: at two times, with BN and without. After {n_steps} steps the smallest gradient
        with BN is at most {least[-1].max():.1e}; without BN it is {np.nanmin(plain[-1]):.1e} to
        {np.nanmax(plain[-1]):.1e}."""


if __name__ == "__main__":
    main()
