"""A small fully batch-normalized network [Arora, eq. 2], forward and backward as printed, in NumPy.

Every layer is a product with weights, batch normalization over the batch, and an activation (none in the last layer).
Arrays may have leading axes: one network a learning rate. The forward pass takes complex numbers where the activation
is tanh, so that derivatives can be checked by complex steps.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from olsbn._validate import FloatArray


class Layer(NamedTuple):
    """Weights (..., units, inputs), and scale and shift of the normalized output (..., units)."""

    w: Any
    gamma: Any
    beta: Any


class Rule(NamedTuple):
    """What the network is made of.

    ``delta`` smooths the normalization: it is added to the variance as it stands [Arora, eq. 7], or times ``||w||^2``
    if `proportional` [eq. 8]. The loss is the mean of ``sqrt(1 + r^2) - 1`` over the batch, whose slope is below 1, and
    ``decay/2`` times the squared scales and shifts.
    """

    activation: str = "tanh"
    delta: float = 0.0
    proportional: bool = True
    decay: float = 0.0


def draw_network(rng: np.random.Generator, sizes: tuple[int, ...]) -> tuple[Layer, ...]:
    """Draw weights and shifts at random, and scales between 1/2 and 3/2."""
    return tuple(
        Layer(rng.standard_normal((k, n)), rng.uniform(0.5, 1.5, k), rng.standard_normal(k) / 2)
        for n, k in pairwise(sizes)
    )


def normalize(z: Any, w: Any, rule: Rule) -> tuple[Any, Any]:
    """Return outputs of a layer normalized over the batch (the last axis but one), and what they were divided by."""
    centred = z - z.mean(-2, keepdims=True)
    smoothing = rule.delta * ((w * w).sum(-1)[..., None, :] if rule.proportional else 1.0)
    n = np.sqrt((centred * centred).mean(-2, keepdims=True) + smoothing)
    return centred / n, n


def _activate(x: Any, rule: Rule) -> tuple[Any, Any]:
    """Return the activation and its slope."""
    if rule.activation == "relu":
        return np.where(x > 0, x, 0.0), np.where(x > 0, 1.0, 0.0)
    h = np.tanh(x)
    return h, 1 - h * h


def loss(net: tuple[Layer, ...], x: Any, y: Any, rule: Rule) -> Any:
    """Return the loss on a batch of inputs (batch, inputs) and targets (batch,)."""
    h: Any = x
    for k, layer in enumerate(net):
        normal, _ = normalize(h @ np.swapaxes(layer.w, -1, -2), layer.w, rule)
        h = normal * layer.gamma[..., None, :] + layer.beta[..., None, :]
        if k < len(net) - 1:
            h, _ = _activate(h, rule)
    penalty = sum((layer.gamma**2).sum(-1) + (layer.beta**2).sum(-1) for layer in net)
    return (np.sqrt(1 + (h[..., 0] - y) ** 2) - 1).mean(-1) + rule.decay / 2 * penalty


def gradient(net: tuple[Layer, ...], x: Any, y: Any, rule: Rule) -> tuple[Layer, ...]:
    """Return the gradient of the loss by back propagation, through mean and variance of the batch."""
    h: Any = x
    kept = []
    for k, layer in enumerate(net):
        normal, n = normalize(h @ np.swapaxes(layer.w, -1, -2), layer.w, rule)
        out = normal * layer.gamma[..., None, :] + layer.beta[..., None, :]
        inputs, (h, slope) = h, _activate(out, rule) if k < len(net) - 1 else (out, 1.0)
        kept.append((inputs, normal, n, slope))
    batch = x.shape[-2]
    r = h[..., 0] - y
    back: Any = (r / np.sqrt(1 + r * r) / batch)[..., None]
    found: list[Layer] = []
    for layer, (inputs, normal, n, slope) in zip(net[::-1], kept[::-1], strict=True):
        back = back * slope
        d_gamma, d_beta = (back * normal).sum(-2), back.sum(-2)
        d_normal = back * layer.gamma[..., None, :]
        along = (d_normal * normal).sum(-2, keepdims=True)
        d_z = (d_normal - d_normal.mean(-2, keepdims=True) - normal * along / batch) / n
        d_w = np.swapaxes(d_z, -1, -2) @ inputs
        if rule.proportional:
            d_w = d_w - rule.delta * np.swapaxes(along / n**2, -1, -2) * layer.w
        found.append(Layer(d_w, d_gamma + rule.decay * layer.gamma, d_beta + rule.decay * layer.beta))
        back = d_z @ layer.w
    return tuple(found[::-1])


def step(net: tuple[Layer, ...], grad: tuple[Layer, ...], eta: Any, eta_g: Any) -> tuple[Layer, ...]:
    """One step of gradient descent, with one learning rate for the weights and one for scales and shifts."""
    eta = np.asarray(eta)
    return tuple(
        Layer(p.w - eta[..., None, None] * d.w, p.gamma - eta_g * d.gamma, p.beta - eta_g * d.beta)
        for p, d in zip(net, grad, strict=True)
    )


def flat(net: tuple[Layer, ...]) -> Any:
    """Return all parameters as one vector: layer by layer weights, scales, shifts."""
    return np.concatenate([part.ravel() for layer in net for part in layer])


def unflat(like: tuple[Layer, ...], vector: Any) -> tuple[Layer, ...]:
    """Return the network with the parameters of a vector."""
    found, at = [], 0
    for layer in like:
        parts = []
        for part in layer:
            parts.append(vector[at : at + part.size].reshape(part.shape))
            at += part.size
        found.append(Layer(*parts))
    return tuple(found)


def row_norms(net: tuple[Layer, ...]) -> tuple[FloatArray, ...]:
    """Return the norms of the scale-invariant blocks: the rows of the weights, layer by layer."""
    return tuple(np.linalg.norm(layer.w, axis=-1) for layer in net)


def scaled(net: tuple[Layer, ...], factors: tuple[Any, ...]) -> tuple[Layer, ...]:
    """Return the network with the rows of its weights times factors."""
    return tuple(layer._replace(w=layer.w * c[..., None]) for layer, c in zip(net, factors, strict=True))
