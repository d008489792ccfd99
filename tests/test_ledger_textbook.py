"""The printed updates that claims about networks, momentum and mini-batches are tried on."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import waiting

import olsbn
from olsbn.ledger import descent, minibatches, networks, textbook
from olsbn.ledger.arora import blocks
from olsbn.ledger.base import Cube, draw_problem
from olsbn.ledger.networks import Layer, Rule

ROOT = Path(__file__).resolve().parents[1]


def _data(rng, batch=7, inputs=3):
    return rng.standard_normal((batch, inputs)), rng.standard_normal(batch)


@pytest.mark.parametrize(
    "rule",
    [Rule(), Rule(delta=0.3), Rule(delta=0.3, proportional=False), Rule(delta=0.1, decay=0.2)],
    ids=["plain", "proportional", "added", "decay"],
)
def test_back_propagation_is_the_derivative(rule):
    rng = np.random.default_rng(1)
    x, y = _data(rng)
    net = networks.draw_network(rng, (3, 4, 2, 1))
    expected = textbook.derivative(lambda z: networks.loss(networks.unflat(net, z), x, y, rule), networks.flat(net))
    np.testing.assert_allclose(networks.flat(networks.gradient(net, x, y, rule)), expected, atol=1e-14)


def test_relu_differs_from_tanh_in_activation_and_slope():
    rng = np.random.default_rng(2)
    x, y = _data(rng)
    net = networks.draw_network(rng, (3, 4, 1))
    rule, h = Rule("relu"), 1e-6
    grad = networks.flat(networks.gradient(net, x, y, rule))
    z = networks.flat(net)
    for j, e in enumerate(np.eye(z.size)):
        up, down = (networks.loss(networks.unflat(net, z + s * h * e), x, y, rule) for s in (1, -1))
        np.testing.assert_allclose((up - down) / (2 * h), grad[j], atol=1e-8)


@pytest.mark.parametrize("library", ["jax", "torch"])
def test_back_propagation_is_that_of_another_library(library):
    rng = np.random.default_rng(3)
    x, y = _data(rng)
    rule = Rule(delta=0.2, decay=0.1)
    net = networks.draw_network(rng, (3, 4, 2, 1))
    ours = networks.flat(networks.gradient(net, x, y, rule))
    if library == "jax":
        jax = pytest.importorskip("jax", reason="jax is not installed")
        with jax.enable_x64(True):
            xp, parts = jax.numpy, [jax.numpy.asarray(part) for layer in net for part in layer]
            theirs = jax.grad(lambda parts: _loss(xp, parts, xp.asarray(x), xp.asarray(y), rule))(parts)
    else:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        parts = [torch.tensor(part, requires_grad=True) for layer in net for part in layer]
        _loss(torch, parts, torch.tensor(x), torch.tensor(y), rule).backward()
        theirs = [part.grad for part in parts]
    np.testing.assert_allclose(ours, np.concatenate([np.asarray(part).ravel() for part in theirs]), atol=1e-13)


def _loss(xp, parts, x, y, rule):
    """The network once more, written for a library that differentiates it."""
    h = x
    for k in range(0, len(parts), 3):
        w, gamma, beta = parts[k : k + 3]
        z = h @ w.T
        z = z - z.mean(0)
        h = z / xp.sqrt((z**2).mean(0) + rule.delta * (w**2).sum(1)) * gamma + beta
        h = xp.tanh(h) if k + 3 < len(parts) else h
    penalty = sum((part**2).sum() for k, part in enumerate(parts) if k % 3)
    return (xp.sqrt(1 + (h[:, 0] - y) ** 2) - 1).mean() + rule.decay / 2 * penalty


def test_networks_side_by_side_are_the_networks_one_by_one():
    rng = np.random.default_rng(4)
    x, y = _data(rng)
    rule = Rule(delta=0.1)
    nets = [networks.draw_network(rng, (3, 2, 1)) for _ in range(3)]
    together = tuple(
        Layer(*(np.stack(parts) for parts in zip(*layers, strict=True))) for layers in zip(*nets, strict=True)
    )
    for _ in range(2):
        grad = networks.gradient(together, x, y, rule)
        for k, net in enumerate(nets):
            one = networks.gradient(net, x, y, rule)
            for got, expected in zip(grad, one, strict=True):
                for a, b in zip(got, expected, strict=True):
                    np.testing.assert_allclose(a[k], b, rtol=1e-12, atol=1e-14)
            nets[k] = networks.step(net, one, 0.1 * (k + 1), 0.2)
        together = networks.step(together, grad, 0.1 * np.arange(1, 4), 0.2)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.7, False), (0.7, True)])
def test_paths_are_the_printed_update(momentum, nesterov):
    problem = draw_problem(Cube(np.random.default_rng(5).random(24)), cond=(2, 20))
    p = textbook.Dense(
        np.diag(problem.eigvals), problem.eigvals * problem.u, problem.u, problem.w0, problem.explained_var
    )
    eps = np.array([0.1, 1.0])
    run = descent.bngd_paths(problem, eps, 0.8, 12, momentum=momentum, nesterov=nesterov)
    for j in range(2):
        w, a, v, v_a = p.w0, problem.a0, 0.0, 0.0
        for k in range(13):
            np.testing.assert_allclose(run.excess[k, j], textbook.loss(p, w, a), rtol=1e-9)
            np.testing.assert_allclose(run.norm2[k, j], w @ w, rtol=1e-12)
            np.testing.assert_allclose(run.step2[k, j], np.sum(v**2), rtol=1e-9)
            grad = textbook.derivative(lambda z: textbook.loss(p, z[:-1], z[-1]), np.append(w, a))
            np.testing.assert_allclose(
                [run.grad_w[k, j], run.grad_a[k, j]], [np.linalg.norm(grad[:-1]), abs(grad[-1])], rtol=1e-7, atol=1e-15
            )
            np.testing.assert_allclose(
                run.eps_eff[k, j], eps[j] * a / textbook.sigma(p, w) * textbook.q(p, w), rtol=1e-10
            )
            v, v_a, w_old = momentum * v + grad[:-1], momentum * v_a + grad[-1], w
            ahead = np.append(v, v_a) if not nesterov else grad + momentum * np.append(v, v_a)
            w, a = w - eps[j] * ahead[:-1], a - 0.8 * ahead[-1]
        np.testing.assert_allclose(run.w[j], w_old, rtol=1e-9)


def test_minibatch_paths_are_those_of_a_layer_that_normalizes_its_batch():
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((3, 6, 2)), rng.standard_normal((3, 6))
    y -= y.mean(1, keepdims=True)
    p = minibatches.batches(x, y)
    draws = rng.integers(0, 3, (5, 2))
    w, a = rng.standard_normal((2, 2)), np.array([0.3, -1.0])
    run = minibatches.paths(p, w, a, draws, 0.4, 0.25, 0.7)

    def layer_loss(z, batch):
        out = x[batch] @ z[:-1]
        out = out - out.mean()
        return ((y[batch] - z[-1] * out / np.sqrt((out * out).mean())) ** 2).mean() / 2

    for r in range(2):
        z = np.append(w[r], a[r])
        for t in range(5):
            norm2 = z[:-1] @ z[:-1]
            grads = [textbook.derivative(lambda z, b=b: layer_loss(z, b), z) for b in range(3)]
            mean = np.mean(grads, 0)
            np.testing.assert_allclose(run.norm2[t, r], norm2, rtol=1e-12)
            np.testing.assert_allclose(run.v[t, r], norm2 * mean[:-1] @ mean[:-1], rtol=1e-10)
            np.testing.assert_allclose(run.a[t, r], mean[-1] ** 2, rtol=1e-10)
            grad = grads[draws[t, r]]
            np.testing.assert_allclose(run.v_batch[t, r], norm2 * grad[:-1] @ grad[:-1], rtol=1e-10)
            noise = np.mean([np.mean(y[b] ** 2) - p.E[b] for b in range(3)]) / 2
            expected = np.mean([layer_loss(z, b) for b in range(3)])
            np.testing.assert_allclose(minibatches.loss(p, z[:-1], z[-1]) + noise, expected, rtol=1e-12)
            z = z - np.append(0.4 * (t + 1) ** -0.25 * grad[:-1], 0.7 * (t + 1) ** -0.5 * grad[-1])
        np.testing.assert_allclose([*run.w[r], run.scale[r]], z, rtol=1e-12)


def test_gradients_of_several_blocks_are_the_derivatives():
    rng = np.random.default_rng(4)
    for _ in range(5):
        i = blocks._drawn(Cube(rng.random(24)))
        z = np.append(i.w, i.a)
        d = i.w.size
        expected = textbook.derivative(lambda z, i=i, d=d: blocks.loss(i, z[:d], z[d:]), z)
        np.testing.assert_allclose(np.concatenate(blocks.gradient(i, i.w, i.a)), expected, rtol=1e-9, atol=1e-11)


def test_blocks_without_coupling_are_runs_of_bngd():
    one, two = (draw_problem(Cube(np.random.default_rng(seed).random(24)), dim=(2, 4)) for seed in (1, 2))
    d = one.dim
    i = SimpleNamespace(
        H=np.diag(np.append(one.eigvals, two.eigvals)), groups=np.repeat([0, 1], [d, two.dim]),
        g=np.append(one.eigvals * one.u, two.eigvals * two.u),
    )  # fmt: skip
    i.one = (i.groups[:, None] == np.arange(2)).astype(float)
    w, a = np.append(one.w0, two.w0), np.array([one.a0, two.a0])
    for _ in range(20):
        dw, da = blocks.gradient(i, w, a)
        w, a = w - 0.01 * dw, a - 0.7 * da
    for problem, own, scale in ((one, w[:d], a[0]), (two, w[d:], a[1])):
        ran = olsbn.run(problem, eps=0.01, eps_a=0.7, n_steps=20)
        np.testing.assert_allclose([np.linalg.norm(own), scale], [ran.w_norm[-1], ran.a[-1]], rtol=1e-10)


def _scripts():
    """Return the scripts that `make figures` runs."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    return sorted(re.search(r"(?m)^FIGURES := (.*)$", text)[1].split())


def test_make_figures_runs_every_script_that_draws_a_figure():
    drawn = {path.stem for path in (ROOT / "experiments").glob("*.py") if "drawing.figure(" in path.read_text()}
    assert drawn == set(_scripts())


@pytest.mark.parametrize("script", _scripts())
def test_experiment_runs_small(script, tmp_path):
    if script == "smoothness":
        pytest.importorskip("sklearn")
    path = ROOT / "experiments" / f"{script}.py"
    done = subprocess.run(
        [sys.executable, path, "--smoke"], cwd=tmp_path, capture_output=True, text=True, timeout=waiting.PATIENCE
    )
    assert done.returncode == 0, done.stderr
    name = script.replace("_", "-")
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(files) == [f"{name}.{ending}" for ending in ("csv", "pdf", "png")]
    caption = [line for line in files[f"{name}.csv"].decode().splitlines() if line.startswith("# ")]
    assert caption and "nan" not in " ".join(caption)
    assert not any(part in data for data in files.values() for part in (str(tmp_path).encode(), b"CreationDate"))


def test_committed_figures_are_readable_and_have_their_data():
    for script in _scripts():
        name = script.replace("_", "-")
        assert all((ROOT / "figures" / f"{name}.{ending}").exists() for ending in ("csv", "pdf", "png")), name
