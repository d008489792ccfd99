"""A problem and its start in the coordinates and units of the laws about learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from olsbn._validate import FloatArray
from olsbn.linalg import parallel
from olsbn.problems import OLSProblem
from olsbn.theory.spectrum import star_extremes

# A first large step that leaves w with a smaller correlation to the target than this lands next to the saddles.
GENERIC_CORR = 1e-6


@dataclass(frozen=True)
class Start:
    """A problem and its start scaled by powers of two to size 1, in the coordinates ``w0 = beta u + v``."""

    eigvals: FloatArray
    u: FloatArray
    w0: FloatArray
    exp_eps: int  # eps = 2**exp_eps * scaled eps
    exp_eff: int  # eps_eff = 2**exp_eff * scaled eps_eff
    energy: float  # E
    beta: float
    v: FloatArray
    sigma2: float
    excess: float  # ||e0||_H^2/E = V/sigma0^2
    He: FloatArray
    first_step2: float  # C^2
    plateau: float  # 2/lambda*_d, inf for d = 1
    u2: float  # ||u||^2
    w2: float  # ||w0||^2, of the part in the range of H

    @classmethod
    def of(cls, problem: OLSProblem) -> Start:
        """Return the problem so."""
        exp_l = math.frexp(float(problem.eigvals[-1]))[1]
        exp_l += exp_l % 2  # even, so that its root is a power of two as well
        exp_u = math.frexp(float(np.abs(problem.u).max()))[1]
        exp_w = math.frexp(float(np.abs(problem.w0).max()))[1]
        with np.errstate(under="ignore"):
            eigvals = np.ldexp(problem.eigvals, -exp_l)
            u, w0 = np.ldexp(problem.u, -exp_u), np.ldexp(problem.w0, -exp_w)
            a0 = times_two_to(problem.a0, -exp_u - exp_l // 2)
            energy = float(np.sum(eigvals * u * u))
            beta = ratio(float(np.sum(eigvals * u * w0)), energy)
            v = w0 - beta * u
            V = float(np.sum(eigvals * v * v))
            sigma2 = beta * beta * energy + V
            if parallel(problem.eigvals, problem.u, problem.w0):
                V, v = 0.0, np.zeros_like(v)
            if energy > 0 and sigma2 > 0:
                excess, q = V / sigma2, beta * energy / sigma2
                He = eigvals * (excess * u - q * v)
                a0 = a0 or beta * energy / math.sqrt(sigma2)
                first_step2 = a0 * a0 * (float(np.sum(He * He)) / sigma2) if V > 0 else 0.0
            else:
                sigma2, excess, He, first_step2 = 0.0, math.nan, np.zeros_like(u), math.nan
        top = star_extremes(problem, False)[1]
        plateau = math.inf if math.isnan(top) else ratio(2.0, math.ldexp(top, -exp_l))
        u2, w2 = float(np.sum(u * u)), float(np.sum(w0 * w0))
        if problem.reduction is not None:
            u2 = times_two_to(problem.reduction.u_norm, -exp_u) ** 2
            w2 = times_two_to(problem.reduction.w0_norm, -exp_w) ** 2
        exp_eps = 2 * exp_w - 2 * exp_u - exp_l
        return cls(eigvals, u, w0, exp_eps, -exp_l, energy, beta, v, sigma2, excess, He, first_step2, plateau, u2, w2)

    def norm2(self, vector: FloatArray) -> float:
        """Return the squared Euclidean norm."""
        return float(np.sum(vector * vector))

    def corr(self, w: FloatArray) -> float:
        """Return ``|w'g|/(sigma sqrt(E))``, the correlation of prediction and target."""
        w = _to_unit_size(w)
        sigma2 = float(np.sum(self.eigvals * w * w))
        return min(1.0, ratio(abs(float(np.sum(self.eigvals * self.u * w))), math.sqrt(sigma2 * self.energy)))


def ratio(numerator: float, denominator: float) -> float:
    """Divide; 0/0 is NaN and x/0 is inf, without an exception."""
    if denominator == 0:
        return math.nan if numerator == 0 else math.copysign(math.inf, numerator)
    return numerator / denominator


def times_two_to(value: float, exponent: int) -> float:
    """Like math.ldexp, with inf in place of an OverflowError."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


def _to_unit_size(vector: FloatArray) -> FloatArray:
    """Scale by a power of two so that the largest entry is in [1/2, 1)."""
    return np.ldexp(vector, -math.frexp(float(np.abs(vector).max()))[1])
