"""The window of learning rates that reach a tolerance in a number of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_real, one_of
from olsbn.problems import OLSProblem
from olsbn.problems.sample import html_table
from olsbn.theory.roots import bracketed_root
from olsbn.theory.spectrum import METHODS, star_extremes
from olsbn.theory.start import GENERIC_CORR, Start, ratio, times_two_to

# When the asymptotic law is to be trusted (tests/stress/windows.py counts what goes wrong without each). Both ends lie
# this factor outside the plateau and away from where the two laws meet:
_OUTSIDE = 10
# there are so many steps, for it takes a few until a has caught up and the flow is followed;
_STEPS = 60
# and the start is no closer to the solution than this excess: from nearer by, long steps lead away from it first.
_FAR = 0.1


@dataclass(frozen=True)
class EpsWindow:
    """The learning rates that bring the relative excess to `tol` within `n_steps` steps.

    Attributes
    ----------
    method, tol, n_steps
        What was asked.
    lower, upper : float
        Ends of the window, counting all modes of the start; NaN where no learning rate does it.
    lower_slowest, upper_slowest : float
        The rough estimate that counts the slowest mode only, as if all the excess were in it.
    reliable : bool
        Whether both ends are to be trusted to 0.06 decades. It says nothing of holes between them: on the plateau runs
        of few modes or few steps may not get there in time, and `olsbn.measured_window` counts the holes. Always True
        for GD, an identity, whose window has none. For BNGD: both ends lie a factor 10 or more outside the plateau and
        away from where the two laws meet (a first step as long as the start), there are 60 or more steps, and the start
        has an excess above 0.1 (and above `tol`). Measured, not proved: see `eps_window`.
        `olsbn.measured_window` finds the ends by simulation.
    """

    method: str
    tol: float
    n_steps: int
    lower: float
    upper: float
    lower_slowest: float
    upper_slowest: float
    reliable: bool

    @property
    def decades(self) -> float:
        """Width ``log10(upper/lower)``; 0 for an empty window, inf where every small learning rate does it."""
        return _decades(self.lower, self.upper)

    def _repr_html_(self) -> str:
        names = ("lower", "upper", "decades", "decades_slowest", "reliable")
        title = f"{self.method.upper()}: learning rates that reach {self.tol:g} within {self.n_steps} steps"
        return html_table(title, [(name, getattr(self, name)) for name in names])

    @property
    def decades_slowest(self) -> float:
        """Width of the rough estimate."""
        return _decades(self.lower_slowest, self.upper_slowest)


def eps_window(problem: OLSProblem, tol: float, n_steps: int, method: str = "bngd", **params: Any) -> EpsWindow:
    r"""Predict the window of learning rates that reach a tolerance in a number of steps.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.
    tol : float
        Relative excess ``(J - J_min)/(E/2)`` to reach, in (0, 1).
    n_steps : int
        Number of steps, >= 1.
    method : {"bngd", "gd"}
        The dynamics; BNGD with eps_a = 1.
    **params
        Refused, in a sentence: with momentum, decay or a schedule there is no prediction.

    Returns
    -------
    EpsWindow

    Notes
    -----
    GD, identity: ``excess_k = sum_i lambda_i (1 - eps lambda_i)^(2k) (w0 - u)_i^2 / E`` is convex in eps, so the window
    is an interval; its ends are roots of it. It is the excess *at* step `n_steps` that counts.

    BNGD, asymptotically exact for many steps: at either end of the window the effective rate is far below the plateau,
    where BNGD follows the gradient flow ``dw/dt = q (g - q H w)``, ``q = w'g/sigma^2``, ``t = k eps``, with the excess
    ``1 - (w'g)^2/(sigma^2 E)``. Let t_0 be the time at which the flow from w0 reaches the tolerance, and t_1 the time
    from the direction ``He0`` with norm 1: there one large step leads, with norm ``eps C``. Then, by the scaling law
    ``(w0, eps) -> (r w0, r^2 eps)``, ``lower = t_0/n_steps`` and ``upper = n_steps/(C^2 t_1)``: the window grows like
    ``n_steps^2``, GD's like n_steps. Every mode counts, and so does the way to the minimiser. Found by simulation (log
    and linear spectra, d = 20 and 100, cond 50 to 1000, tol 1e-3 and 1e-8): the error falls like 1/n_steps; the lower
    end is too low, by at most 0.05 decades a factor 3 outside the plateau and 0.02 a factor 10 outside, the upper end
    is too high by a quarter of that. Nearer to the plateau the window is too wide, and may be empty in truth, and from
    a start near the solution it has holes: then `reliable` is False. Where the large-eps law fails, as the `note` of
    `effective_rate_regimes` says, the upper end is NaN.

    Of 4000 windows called reliable, of problems of all kinds (``tests/stress/windows.py``: d up to 200, cond up to
    1e14, tol 1e-12 to 0.5, 10 to 1e5 steps), 7 had an end off by more than 0.06 decades (at most by 0.41) and 5 had
    holes of 11 to 14 % of their width; none was empty. 45 % of all windows that are not empty are called so.

    The rough estimate asks for ``exp(-2 k eps_eff lambda*_2) = tol`` on the two outer branches of the effective rate
    (for GD ``(1 - eps lambda)^(2k) = tol`` for the two extreme modes). It ignores how the excess is spread over the
    modes and is narrower by up to 2 decades at loose tolerances.

    Cost: O(d) times some 300 for GD; for BNGD O(d) times some 1000, for the flow is integrated with adaptive steps (to
    0.004 decades of t, by comparison with ten times smaller steps): 10 ms at d = 100, 8 s at d = 1e6.

    Examples
    --------
    >>> problem = OLSProblem.from_spectrum("linspace", 100, 100.0)
    >>> gd, bn = (eps_window(problem, 1e-3, 10_000, method) for method in ("gd", "bngd"))
    >>> gd.decades < 4 < bn.decades
    True
    """
    one_of("method", method, METHODS)
    if params:
        raise ValueError(
            f"eps_window must be asked without further parameters, got {', '.join(params)}: it follows the gradient "
            "flow (GD: powers of 1 - eps lambda), which runs with momentum, decay or schedules do not; measured_window "
            "simulates them"
        )
    tol = as_real("tol", tol)
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol!r}")
    n_steps = as_count("n_steps", n_steps, minimum=1)
    window = _gd_window if method == "gd" else _bngd_window
    with np.errstate(all="ignore"):  # a range beyond float64 ends in inf or NaN
        ends, reliable = window(problem, tol, n_steps)
        return EpsWindow(method, tol, n_steps, *ends, reliable)


_Ends = tuple[float, float, float, float]


def _decades(lower: float, upper: float) -> float:
    if not lower <= upper:  # also NaN
        return 0.0
    return math.inf if lower == 0 or upper == math.inf else math.log10(upper) - math.log10(lower)


def _gd_window(problem: OLSProblem, tol: float, n_steps: int) -> tuple[_Ends, bool]:
    exp_l = math.frexp(float(problem.eigvals[-1]))[1]
    with np.errstate(all="ignore"):
        eigvals = np.ldexp(problem.eigvals, -exp_l)
        low, high = max(float(eigvals[0]), 2.0**-1000), float(eigvals[-1])
        exp_u = math.frexp(float(np.abs(problem.u).max()))[1]
        u, w0 = np.ldexp(problem.u, -exp_u), np.ldexp(problem.w0, -exp_u)
        error = np.sqrt(eigvals) * (w0 - u) / np.sqrt(np.sum(eigvals * u**2))
        eigvals, error = eigvals[error != 0], error[error != 0]
        largest = np.abs(error).max(initial=1.0)  # only terms of one sign may overflow

        def gap(eps: float) -> float:
            excess = np.sum((np.abs(1 - eps * eigvals) ** n_steps * error) ** 2)
            return float(np.clip(np.log(excess) - math.log(tol), -1e4, 1e4))

        def slope(eps: float) -> float:
            x = 1 - eps * eigvals
            return -float(np.sum(eigvals * np.sign(x) * (np.abs(x) ** (n_steps - 0.5) * error / largest) ** 2))

        root = tol ** (0.5 / n_steps)
        slowest_low = times_two_to(-math.expm1(math.log(tol) / (2 * n_steps)) / low, -exp_l)
        slowest_high = times_two_to((1 + root) / high, -exp_l)
        lower = upper = math.nan
        best = 1 / high if slope(1 / high) >= 0 else 1 / low
        if slope(1 / high) < 0 < slope(1 / low):
            best = _root(slope, 1 / high, 1 / low)
        if gap(best) <= 0:
            lower = 0.0 if gap(0.0) <= 0 else _root(gap, best, best * 2.0**-1000)
            far = max(4 / high, 2 * best)
            while gap(far) <= 0 and far < 1e300:  # the fastest mode is hardly excited
                far *= 2
            upper = _root(gap, best, far) if gap(far) > 0 else math.inf
    return (times_two_to(lower, -exp_l), times_two_to(upper, -exp_l), slowest_low, slowest_high), True


def _root(function: Callable[[float], float], start: float, end: float) -> float:
    """Return where a function changes sign between two positive numbers, to rounding of the ratio to the first."""
    far = math.log(end) - math.log(start)
    found = bracketed_root(lambda x: function(start * math.exp(x)), 0.0, far)
    return start * math.exp(found)


def _bngd_window(problem: OLSProblem, tol: float, n_steps: int) -> tuple[_Ends, bool]:
    start = Start.of(problem)
    if not start.sigma2 > 0:
        return (math.nan, math.nan, math.nan, math.nan), False
    if start.excess <= tol:
        # Small steps do no harm; the first step on the third branch moves away before it comes back.
        lower = 0.0
    else:
        lower = _flow_time(start, start.beta, start.v, tol) / n_steps
    if start.first_step2 == 0:
        upper = math.inf if start.excess == 0 else math.nan
    else:
        w1 = start.He / math.sqrt(start.norm2(start.He))
        beta = float(np.sum(start.eigvals * start.u * w1)) / start.energy
        if start.corr(w1) < GENERIC_CORR:
            upper = math.nan
        else:
            time = _flow_time(start, beta, w1 - beta * start.u, tol)
            upper = n_steps / (start.first_step2 * time) if time > 0 else math.inf
    low_star = star_extremes(problem, False)[0]
    need = ratio(-math.log(tol), 2 * n_steps * math.ldexp(low_star, start.exp_eff)) if low_star > 0 else 0.0
    u2, w2 = start.u2, start.w2
    upper_slowest = ratio(u2, need * start.first_step2)
    eps_1, eps_2 = ratio(start.plateau * w2, u2), ratio(u2, start.plateau * start.first_step2)
    # where the first step is as long as the start the two laws meet, plateau or not
    crossing = math.sqrt(eps_1) * math.sqrt(eps_2)
    reliable = _OUTSIDE * lower <= min(eps_1, crossing) and upper >= _OUTSIDE * max(eps_2, crossing)
    # a start parallel to u stays where it is: no law is needed
    reliable &= start.excess == 0 or (n_steps >= _STEPS and start.excess > max(_FAR, tol))
    if lower > upper:
        lower = upper = math.nan
    a, b, c, d = (times_two_to(end, start.exp_eps) for end in (lower, upper, need * w2 / u2, upper_slowest))
    return (a, b, c, d), bool(reliable)


def _flow_time(start: Start, beta: float, v: FloatArray, tol: float) -> float:
    r"""Return the time at which the gradient flow of BNGD from ``beta u + v`` reaches the relative excess `tol`.

    In the time tau with ``d tau = q^2 dt`` the flow is ``dw/dtau = -H (w - u/q)``: linear for a given q. So each step
    is the exact solution with 1/q linear over the step (an exponential trapezoidal rule, of order 2 also for stiff
    modes), with a length set by how much 1/q and the excess change; afterwards w is scaled back to its norm, which the
    flow conserves. In the deflated coordinates ``1/q - beta = V/(beta E)`` is of second order in v, and no digits are
    lost on the way to small tolerances.
    """
    if beta == 0:
        return math.inf
    eigvals, u, energy = start.eigvals, start.u, np.float64(start.energy)  # NumPy's division never raises
    beta = np.float64(beta)
    weights = eigvals * u

    def measure(beta: float, v: FloatArray) -> tuple[float, float, float]:
        V = float(np.sum(eigvals * v * v))
        bend = V / (beta * energy)  # 1/q - beta
        return V / (beta * beta * energy + V), bend, (beta + bend) ** 2  # excess, bend, dt/dtau

    def advance(length: float) -> tuple[float, FloatArray, float, float, float, float]:
        loss = -np.expm1(-eigvals * length)
        ramp = np.where(loss > 0, 1 - loss / (eigvals * length), 0.0)
        held = v + loss * (bend * u - v)  # were 1/q constant
        shift_held, gain = float(np.sum(weights * held)) / energy, float(np.sum(weights * u * ramp)) / energy
        bend_new = bend
        for _ in range(3):
            # beta moves by shift_held + rise * gain, and 1/q = beta + bend: solved for the rise of 1/q over the step
            rise = (shift_held + bend_new - bend) / (1 - gain)
            shift = shift_held + rise * gain
            moved = held + rise * ramp * u - shift * u
            bend_new = measure(beta + shift, moved)[1]
        back = norm / np.sqrt(np.sum(((beta + shift) * u + moved) ** 2))
        beta_new, moved = (beta + shift) * back, moved * back
        excess_new, bend_new, pace_new = measure(beta_new, moved)
        change = max(abs(rise / (beta + bend)) / 0.03, np.log(excess / excess_new) / 0.2)
        return beta_new, moved, excess_new, bend_new, pace_new, change

    def gap(length: float) -> float:
        return float(np.clip(np.log(advance(length)[2] / tol), -1e3, 1e3))

    norm = np.sqrt(np.sum((beta * u + v) ** 2))
    excess, bend, pace = measure(beta, v)
    time, length = 0.0, 1e-3 / float(eigvals[-1])
    for _ in range(100_000):
        if not excess > tol:
            return time
        step = advance(length)
        if step[5] > 1:
            length *= 0.5
            continue
        beta_new, v_new, excess_new, bend_new, pace_new, change = step
        if excess_new <= tol:
            last = bracketed_root(gap, 0.0, length, xtol=1e-4 * length) if gap(0.0) > 0 else 0.0
            return time + last * (pace + advance(last)[4]) / 2
        time += length * (pace + pace_new) / 2
        beta, v, excess, bend, pace = beta_new, v_new, excess_new, bend_new, pace_new
        length *= 1.5 if change < 0.5 else 0.9 if change > 0.9 else 1.1
    return math.nan
