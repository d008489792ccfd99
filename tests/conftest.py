"""What holds for all tests: nothing here depends on how busy the machine is, and no test changes another's settings."""

import sys

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def settings_of_jax_stay():
    """Fail a test that leaves JAX in float64: it is a setting of the whole process, and other tests would see it."""
    yield
    jax = sys.modules.get("jax")
    assert jax is None or not jax.config.jax_enable_x64
