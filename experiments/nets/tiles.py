"""A tile: some learning rates of a study, all seeds, all steps. A pure function of the study."""

import jax
import jax.numpy as jnp
import numpy as np


class Stopped(Exception):
    """The run was asked to stop; the tile is given up."""


def run_tile(study, part, stop):
    """Return {array: values} for the points `part` of a study: (points, seeds, marks). `stop`: a threading.Event.

    `loss`: over all training rows, divided by that of the best constant output. `accuracy`: share of test rows that
    are right. `sharpness`: see `Network.sharpness`; NaN where a run has diverged.
    """
    net, points = study.network, study.points[part]
    arrays = net.arrays()
    shape = (len(points), study.seeds)
    cells = (
        jax.tree.map(lambda a: jnp.tile(a, (len(points),) + (1,) * (a.ndim - 1)), net.starts(study.seeds)),
        *(jnp.asarray(np.repeat(column, study.seeds), jnp.float32) for column in zip(*points, strict=True)),
        jnp.tile(jnp.arange(study.seeds), len(points)),
    )
    rows, unit, step = study.rows(), net.constant_loss(), 0
    rows = None if rows is None else jnp.asarray(rows)
    found = {"loss": [], "accuracy": [], "sharpness": []}
    for mark in study.marks:
        if stop.is_set():
            raise Stopped
        cells = (net.advance(arrays, cells[0], cells[1:], rows, step, mark), *cells[1:])
        step = mark
        loss, accuracy = net.evaluate(arrays, cells[0])
        found["loss"].append(np.asarray(loss) / unit)
        found["accuracy"].append(np.asarray(accuracy))
        if mark in study.sharp_marks:
            found["sharpness"].append(np.asarray(net.sharpness(arrays, cells[0])))
    return {name: np.stack(v, -1).reshape(*shape, -1) for name, v in found.items() if v}


def run_starts(study):
    """Return what is known of a study's start, by seed: the loss, and the sharpness of the linearised network."""
    net = study.network
    arrays = net.arrays()
    params = net.starts(study.seeds)
    return {
        "start_loss": np.asarray(net.evaluate(arrays, params)[0]) / net.constant_loss(),
        "start_sharpness": np.asarray(net.sharpness(arrays, params, True)),
    }
