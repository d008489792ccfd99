"""Conformance suites for what other packages add; they need pytest."""

from olsbn.testing.methods import MethodTests
from olsbn.testing.sinks import SinkTests

__all__ = ["MethodTests", "SinkTests"]
