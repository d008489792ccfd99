"""Regression problems: one, a family of random ones, and what they are made from."""

from olsbn.linalg import MACHEPS
from olsbn.problems.family import ProblemFamily
from olsbn.problems.problem import OLSProblem, as_problem

__all__ = ["MACHEPS", "OLSProblem", "ProblemFamily", "as_problem"]
