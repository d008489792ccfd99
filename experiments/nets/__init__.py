"""The parts of `experiments/networks.py`, one purpose a file."""
