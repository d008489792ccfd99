"""Waiting for other processes: for what they do, and not for a time in which an idle machine has done it."""

import time

PATIENCE = 900  # seconds after which a test gives up, on the busiest machine


def until(condition, process=None):
    """Wait until a condition holds; fail if the process that has to make it hold ends before, or PATIENCE does."""
    began = time.monotonic()
    while not condition():
        assert process is None or process.poll() is None, f"ended too early, with {process.returncode}"
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)
