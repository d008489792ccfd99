"""The bridge: a network of one neuron with BatchNorm and no activation is the problem that olsbn solves."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import olsbn

# (learning rate, steps): small, on the plateau of the effective rate (before rounding decides, see the README), large
RATES = ((1e-1, 300), (1e2, 300), (1e4, 300), (1e7, 300))
EPS_A = 0.8


class Neuron(nn.Module):
    """x -> gamma (x'w - mean)/sigma + beta, with Flax's BatchNorm and nothing added to its variance."""

    @nn.compact
    def __call__(self, x):
        """Return the output of each row."""
        x = nn.Dense(1, use_bias=False, name="dense")(x)
        norm = nn.BatchNorm(use_running_average=False, epsilon=0.0, use_fast_variance=False, dtype=x.dtype, name="norm")
        return norm(x)[:, 0]


def samples():
    """Return the diabetes data, standardized, and the target in units of its standard deviation."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    X, y = X - X.mean(0), y - y.mean()
    return X / X.std(0), y / y.std()


@partial(jax.jit, static_argnames="n_steps")
def train(X, y, w0, gamma, eps, eps_a, n_steps):
    """Return loss, gamma, beta and |w| at steps 0..n_steps of gradient descent on half the mean squared error."""
    one = jnp.ones(1, X.dtype)
    params = {"dense": {"kernel": w0[:, None]}, "norm": {"scale": gamma * one, "bias": 0 * one}}
    rates = {"dense": {"kernel": eps}, "norm": {"scale": eps_a, "bias": eps_a}}
    statistics = {"norm": {"mean": 0 * one, "var": one}}  # running ones, which training does not use

    def loss(params):
        out, _ = Neuron().apply({"params": params, "batch_stats": statistics}, X, mutable=["batch_stats"])
        return 0.5 * jnp.mean((out - y) ** 2)

    def step(params, _):
        value, gradient = jax.value_and_grad(loss)(params)
        norm, w = params["norm"], params["dense"]["kernel"]
        seen = value, norm["scale"][0], norm["bias"][0], jnp.linalg.norm(w)
        return jax.tree.map(lambda p, r, g: p - r * g, params, rates, gradient), seen

    return jax.lax.scan(step, params, length=n_steps + 1)[1]


def compare(rates=RATES):
    """Return, for each learning rate, the largest differences between the network and `run_bngd` over all steps."""
    X, y = samples()
    w0 = np.random.default_rng(0).standard_normal(X.shape[1])
    found = []
    with jax.enable_x64(True):
        for eps, n_steps in rates:
            problem = olsbn.OLSProblem.from_samples(X, y, w0=w0, a0=0.3)
            run = olsbn.run_bngd(problem, eps=eps, eps_a=EPS_A, n_steps=n_steps)
            loss, gamma, beta, norm = map(np.asarray, train(X, y, w0, 0.3, eps, EPS_A, n_steps))
            # the loss is half the target's variance less E/2, the rest is the relative excess times E/2
            E = float(problem.eigvals @ problem.u**2)
            theory = (float(problem.target_var) - E + E * run["excess"].values) / 2
            found.append(
                {
                    "eps": eps,
                    "n_steps": n_steps,
                    "excess_last": float(run["excess"][-1]),
                    "edge": float(run["eps_eff"][-1] * olsbn.spectral_report(problem).eigvals_star[-1]),
                    "loss": float(np.abs(loss - theory).max()),
                    "scale": float(np.abs(gamma - run["a"].values).max()),
                    "norm": float(np.abs(norm / run["w_norm"].values - 1).max()),
                    "shift": float(np.abs(beta).max()),
                }
            )
    return found


def text(found):
    """Return the comparison as lines of text."""
    lines = [
        "one neuron with Flax's BatchNorm against olsbn.run_bngd, diabetes, float64; largest differences",
        "     eps  steps  excess at the end  eps_hat lambda*   loss      gamma     |w| (rel.)  |beta|",
    ]
    for row in found:
        lines.append(
            f"{row['eps']:8.0e}  {row['n_steps']:5d}  {row['excess_last']:17.3g}  {row['edge']:15.3g}"
            f"  {row['loss']:8.1e}  {row['scale']:8.1e}  {row['norm']:9.1e}  {row['shift']:8.1e}"
        )
    return "\n".join(lines)
