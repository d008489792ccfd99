"""Measured contraction ratios are theory's, to 1e-10, on clustered spectra: a sample of `tests/stress/rates.py`."""

import numpy as np
import pytest
from stress import rates

import olsbn


@pytest.mark.parametrize("group", rates.GROUPS)
def test_measured_rates_are_those_of_theory(group):
    found = np.concatenate([rates.off(rates.rates(group, seed)) for seed in range(4 if "gd" not in group[:2] else 12)])
    assert found.size >= 8
    assert (found <= rates.OFF).all(), found.max()


def test_the_sample_has_every_parameter_that_has_a_rate():
    """A parameter that theory forgot would show nowhere else."""
    tried = {method: {"eps", "eps_a"} for method, _ in rates.GROUPS.values()}
    for method, params in rates.GROUPS.values():
        tried[method] |= set(params)
    without = {"weight_decay", "eps_power", "eps_factor", "eps_a_power"}  # no limit at a constant ratio
    for name, method in olsbn.methods().items():
        if method.theory.rate is not None and not method.needs_sample:  # batches leave no ratio
            assert {param.name for param in method.params} - without <= tried[name]
