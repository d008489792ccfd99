"""Dense networks with Flax's BatchNorm, trained for many (learning rates, seed) at once."""

from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nets import data

LANCZOS = 20  # products with the Hessian for one sharpness
BLOCK = 2**17  # activations of one layer, all cells of a vectorised block together: what stays in the cache
CLASSES = 10


class Dense(nn.Module):
    """Dense layers with ReLU between them; `norm` says after which of them there is a BatchNorm.

    "bn": after all, the last one included, so that every weight is scale invariant; "hidden": after all but the
    last, as is common; "none": nowhere, and layers have a bias. `scale0`: gamma at the start in the last BatchNorm.
    """

    width: int
    depth: int
    norm: str
    scale0: float = 1.0

    @nn.compact
    def __call__(self, x, train=True):
        """Return the outputs (rows, CLASSES)."""
        for layer in range(self.depth + 1):
            last = layer == self.depth
            normalised = self.norm == "bn" or (self.norm == "hidden" and not last)
            x = nn.Dense(CLASSES if last else self.width, use_bias=not normalised, name=f"dense{layer}")(x)
            if normalised:
                # momentum 0: the running statistics are those of the last batch seen, the whole training set
                start = nn.initializers.constant(self.scale0 if last else 1.0)
                x = nn.BatchNorm(use_running_average=not train, momentum=0.0, scale_init=start, name=f"norm{layer}")(x)
            if not last:
                x = nn.relu(x)
        return x


@dataclass(frozen=True)
class Network:
    """A network on a data set with a loss: pure functions of its parameters."""

    data: str
    width: int
    depth: int
    norm: str
    loss: str = "mse"
    scale0: float = 1.0

    @property
    def module(self):
        """The Flax module."""
        return Dense(self.width, self.depth, self.norm, self.scale0)

    @partial(jax.jit, static_argnums=(0, 1))
    def starts(self, seeds):
        """Return the parameters at the start, as Flax draws them, of the seeds 0..seeds-1."""
        row = jnp.zeros((2, data.load(self.data)[0].shape[1]), jnp.float32)
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(0)))(jnp.arange(seeds))
        return jax.vmap(lambda key: self.module.init(key, row)["params"])(keys)

    def arrays(self):
        """Return training inputs and targets, test inputs and labels."""
        X, Y, X_test, labels = data.load(self.data)
        if self.loss == "xent":
            Y = Y - Y.min(0)  # one-hot again
        X, Y, X_test = (jnp.asarray(a, jnp.float32) for a in (X, Y, X_test))
        return X, Y, X_test, jnp.asarray(labels, jnp.int32)

    def outputs(self, params, X, X_test=None):
        """Return the outputs; of test rows with the statistics of the training rows."""
        _, state = self._empty(params, X)
        out, state = self.module.apply({"params": params, **state}, X, mutable=["batch_stats"])
        if X_test is None:
            return out
        return out, self.module.apply({"params": params, **state}, X_test, train=False)

    def _empty(self, params, X):
        """Return BatchNorm's statistics as they are before the first batch; they are overwritten by it."""
        shapes = jax.eval_shape(self.module.init, jax.random.key(0), X[:2])
        stats = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes.get("batch_stats", {}))
        return params, {"batch_stats": stats} if stats else {}

    def loss_of(self, out, Y):
        """Half the squared error, or the cross-entropy, summed over classes, averaged over rows."""
        if self.loss == "mse":
            return 0.5 * jnp.mean(jnp.sum((out - Y) ** 2, -1))
        return -jnp.mean(jnp.sum(Y * jax.nn.log_softmax(out), -1))

    def constant_loss(self):
        """Return the loss of the best constant output: what losses are measured in."""
        _, Y, _, _ = data.load(self.data)
        if self.loss == "mse":
            return 0.5 * float((Y**2).sum(1).mean())
        p = (Y - Y.min(0)).mean(0)
        return float(-(p * np.log(p)).sum())

    # ---------------------------------------------------------------- many cells at once

    @partial(jax.jit, static_argnums=0, donate_argnums=2)
    def advance(self, arrays, params, rates, rows, first, last):
        """Run the steps first..last-1 of all cells. `rates`: eps, eps_a and seed of each; `rows`: see `Study.rows`."""
        X, Y, _, _ = arrays

        def objective(params, x, y):
            return self.loss_of(self.outputs(params, x), y)

        def cell(args):
            params, (eps, eps_a, seed) = args

            def step(k, params):
                x, y = (X, Y) if rows is None else (X[rows[seed, k]], Y[rows[seed, k]])
                gradient = jax.grad(objective)(params, x, y)
                rate = jax.tree_util.tree_map_with_path(lambda path, _: eps_a if is_norm(path) else eps, params)
                return jax.tree.map(lambda p, r, g: p - r * g, params, rate, gradient)

            return jax.lax.fori_loop(first, last, step, params)

        return jax.lax.map(cell, (params, rates), batch_size=self._block(params, X if rows is None else rows[0, 0]))

    @partial(jax.jit, static_argnums=0)
    def evaluate(self, arrays, params):
        """Return each cell's loss over all training rows, and its share of test rows that are right."""
        X, Y, X_test, labels = arrays

        def cell(params):
            out, test = self.outputs(params, X, X_test)
            return self.loss_of(out, Y), jnp.mean(jnp.argmax(test, -1) == labels)

        return jax.lax.map(cell, params, batch_size=self._block(params, X_test))

    @partial(jax.jit, static_argnums=(0, 3))
    def sharpness(self, arrays, params, linearised=False):
        """Return each cell's largest eigenvalue of the Hessian of the loss in the weights, by Lanczos.

        Of the weights only (gamma and beta fixed), where BatchNorm is; `linearised`: of the Gauss-Newton matrix, the H
        of the network linearised in its weights. In scale-invariant weights the Hessian at w is that at w/||w|| divided
        by ||w||^2: eps times its largest eigenvalue is the effective learning rate times the sharpness at normalised
        weights, with each neuron's own ||w||.
        """
        X, Y, _, _ = arrays

        def cell(params):
            weights, rest = split(params)
            flat, unflatten = ravel_pytree(weights)

            def outputs(w):
                return self.outputs(merge(unflatten(w), rest), X)

            def product(v):
                if linearised:
                    out, dout = jax.jvp(outputs, (flat,), (v,))
                    _, ddout = jax.jvp(jax.grad(self.loss_of), (out, Y), (dout, jnp.zeros_like(Y)))
                    return jax.vjp(outputs, flat)[1](ddout)[0]
                return jax.jvp(jax.grad(lambda w: self.loss_of(outputs(w), Y)), (flat,), (v,))[1]

            return largest_eigenvalue(product, flat.size)

        return jax.lax.map(cell, params, batch_size=self._block(params, X))

    def _block(self, params, X):
        """Return how many cells one vectorised block has: a divisor of their number, so that none is left over."""
        count = len(jax.tree.leaves(params)[0])
        most = max(1, BLOCK // (len(X) * self.width))
        return max(n for n in range(1, min(most, count) + 1) if count % n == 0)


def is_norm(path):
    """Whether a parameter is BatchNorm's."""
    return path[0].key.startswith("norm")


def split(params):
    """Return the parameters of dense layers and those of BatchNorm."""
    norm = {name: value for name, value in params.items() if name.startswith("norm")}
    return {name: value for name, value in params.items() if name not in norm}, norm


def merge(weights, norm):
    return {**weights, **norm}


def largest_eigenvalue(product, size):
    """Return the largest eigenvalue of a symmetric operator, by Lanczos with full reorthogonalisation."""
    n = min(LANCZOS, size)
    v = jax.random.normal(jax.random.key(1), (size,))
    basis = jnp.zeros((n + 1, size)).at[0].set(v / jnp.linalg.norm(v))

    def step(j, state):
        basis, alpha, beta = state
        w = product(basis[j])
        a = w @ basis[j]
        for _ in range(2):
            w = w - basis.T @ (basis @ w)
        b = jnp.linalg.norm(w)
        w = jnp.where(b > 1e-6 * jnp.abs(a), w / b, 0.0)
        return basis.at[j + 1].set(w), alpha.at[j].set(a), beta.at[j].set(jnp.where(b > 1e-6 * jnp.abs(a), b, 0.0))

    _, alpha, beta = jax.lax.fori_loop(0, n, step, (basis, jnp.zeros(n), jnp.zeros(n)))
    T = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    T = jnp.where(jnp.isfinite(T), T, jnp.nan)
    return jnp.linalg.eigvalsh(T)[-1]
