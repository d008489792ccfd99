"""The scheduler: grid cells on the lanes of a block. A cell that ends hands its lane to the next.

A block's numbers stand in a flat table of rows, one number a lane, that the passes read and write; what a lane only
needs now and then is a record of type `LANE`. Which lane a cell is on, and beside which others, changes no bit of it.
"""

import numpy as np

from olsbn.engine.compile import LANES, helper

# Status codes; `olsbn.schema.Status` gives them names (a test holds the two together).
CONVERGED, MAX_STEPS, DIVERGED, NON_FINITE, DEGENERATE, CANCELLED = 0, 1, 2, 3, 4, -1
GOES_ON = -2

NEVER = np.iinfo(np.int64).max

LANE = np.dtype(
    [
        ("cell", np.int64),  # number of the cell in the tile, -1 for none
        ("began", np.int64),  # step of the block that is step 0 of the cell
        ("hit", np.int64),  # first step with excess <= tol, -1 before
        ("exponent", np.int64),  # w stands scaled by 2**exponent
        ("next_record", np.int64),  # position in the steps to record
        ("n_samples", np.int64),  # of the ratio
    ]
)


@helper
def begin_lane(lanes, j, cell, now):  # type: ignore[no-untyped-def]
    """Give lane j a cell whose step 0 is the block's step `now`."""
    lanes[j].cell = cell
    lanes[j].began = now
    lanes[j].hit = -1
    lanes[j].exponent = 0
    lanes[j].next_record = 0
    lanes[j].n_samples = 0


@helper
def fill(array, j, values):  # type: ignore[no-untyped-def]
    """Put the modes of a start into lane j."""
    for i in range(values.size):
        array[i, j] = values[i]


@helper
def fill_all(array, values):  # type: ignore[no-untyped-def]
    """Put the modes of a start into all lanes; a lane at a time would touch every cache line for each."""
    for i in range(values.size):
        array[i, :] = values[i]


@helper
def empty(array, j):  # type: ignore[no-untyped-def]
    """Make all modes of lane j 0."""
    for i in range(array.shape[0]):
        array[i, j] = 0.0


@helper
def move(array, j, source):  # type: ignore[no-untyped-def]
    """Copy the modes of lane `source` to lane j."""
    for i in range(array.shape[0]):
        array[i, j] = array[i, source]


@helper
def scale(array, j, factor):  # type: ignore[no-untyped-def]
    """Multiply the modes of lane j."""
    for i in range(array.shape[0]):
        array[i, j] *= factor


@helper
def move_table(table, j, source):  # type: ignore[no-untyped-def]
    """Copy the numbers of lane `source` to lane j."""
    for row in range(table.size // LANES):
        table[row * LANES + j] = table[row * LANES + source]


@helper
def clear_table(table, j):  # type: ignore[no-untyped-def]
    """Make all numbers of lane j 0."""
    for row in range(table.size // LANES):
        table[row * LANES + j] = 0.0


@helper
def next_end(lanes, active, now, n_steps):  # type: ignore[no-untyped-def]
    """Return the step of the block at which the next cell has run all its steps."""
    first = now + n_steps + 1
    for j in range(active):
        if lanes[j].cell >= 0:
            first = min(first, lanes[j].began + n_steps)
    return first


@helper
def next_record(lanes, active, record):  # type: ignore[no-untyped-def]
    """Return the step of the block at which a cell is to be recorded next."""
    first = NEVER
    if record.size:
        for j in range(active):
            if lanes[j].cell >= 0 and lanes[j].next_record < record.size:
                first = min(first, lanes[j].began + record[lanes[j].next_record])
    return first
