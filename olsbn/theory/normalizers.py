"""Asymptotic contraction ratios with momentum, with other normalisers, and towards the ridge limit of weight decay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, one_of
from olsbn.linalg import map_blocks
from olsbn.problems import OLSProblem, as_problem
from olsbn.theory.labels import by_labels, floats_or_nan, labelled, rates
from olsbn.theory.spectrum import excited_modes, star_extremes, star_spectrum

NORMALIZERS = ("bn", "wn")


def heavy_ball_ratio(mu: Any, momentum: Any = 0.0, nesterov: Any = 0) -> Any:
    r"""Return the contraction ratio of a mode under GD with momentum.

    Parameters
    ----------
    mu : array_like
        Learning rate times curvature of the mode; NaN gives NaN.
    momentum : array_like, optional
        m, finite and >= 0. It broadcasts against `mu`.
    nesterov : array_like, optional
        1 where the momentum is Nesterov's, else 0. It broadcasts too.

    Returns
    -------
    ndarray, broadcast shape (a scalar for scalars)
        The modulus of the larger root of ``z^2 - (1 + m - mu) z + m``: sqrt(m) where the roots are complex,
        ``(1 - sqrt m)^2 < mu < (1 + sqrt m)^2``, and growing with the distance from there on either side. With
        Nesterov's momentum of ``z^2 - (1 + m)(1 - mu) z + m(1 - mu)``: it grows with the distance from mu = 1.

    Notes
    -----
    Identity (tight) [Polyak 1964], for ``b <- m b + grad, w <- w - eps b``. Below 1 for ``0 < mu < 2(1 + m)`` and
    m < 1. At the two ends of the complex range the root is double and the error falls like ``k m^(k/2)``. For
    Nesterov's rule, ``w <- w - eps (grad + m b)``, below 1 for ``0 < mu < (2 + 2m)/(1 + 2m)``.

    Examples
    --------
    >>> heavy_ball_ratio([0.5, 1.0, 3.0], momentum=0.5).round(12).tolist()
    [0.707106781187, 0.707106781187, 1.0]
    """
    mu, m = np.asarray(mu, dtype=float), np.asarray(momentum, dtype=float)
    n = np.asarray(nesterov, dtype=float)
    with np.errstate(over="ignore", invalid="ignore"):
        half = np.abs(1 + m - (1 + m * n) * mu) / 2
        product = m * (1 - n * mu)
        square = half * half - product
        real = half + np.sqrt(np.maximum(square, 0))
        return np.where(square < 0, np.sqrt(np.abs(product)), np.where(np.isinf(half), np.inf, real))[()]


def gd_momentum_contraction_ratio(
    problem: OLSProblem, eps: Any, momentum: Any = 0.0, *, nesterov: Any = 0, excited: bool = False
) -> Any:
    r"""Return the asymptotic contraction ratio of the error of GD with momentum a step.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    eps, momentum : array_like
        Learning rates and momentum, finite and >= 0; they broadcast.
    nesterov : array_like, optional
        1 where the momentum is Nesterov's, else 0. It broadcasts too.
    excited : bool, optional
        Count only the modes that the problem's start excites; 0 where it excites none.

    Returns
    -------
    ndarray, broadcast shape (a scalar for scalars)
        ``max_i`` of `heavy_ball_ratio` at ``eps lambda_i``.

    Notes
    -----
    Identity (tight); below 1 up to ``eps = 2(1 + m)/lambda_max``. Only the extreme eigenvalues count, for the ratio of
    a mode has no maximum between two others. Cost: O(d + size of the result).

    Examples
    --------
    >>> problem = OLSProblem([1.0, 3.0], u=[1.0, 1.0])
    >>> float(gd_momentum_contraction_ratio(problem, 1.0, momentum=0.5))
    1.0
    """
    as_problem(problem)
    args = eps, momentum, nesterov
    if any(labelled(arg) for arg in args):
        return by_labels(
            lambda x, y, z: gd_momentum_contraction_ratio(problem, x, y, nesterov=z, excited=excited), *args
        )
    eps, m, n = _broadcast(
        eps=rates("eps", eps), momentum=rates("momentum", momentum), nesterov=rates("nesterov", nesterov)
    )
    eigvals = problem.eigvals[excited_modes(problem, "gd")] if excited else problem.eigvals
    if eigvals.size == 0:
        return np.zeros_like(eps)[()]
    with np.errstate(over="ignore"):
        ends = [heavy_ball_ratio(eps * float(end), m, n) for end in (eigvals[0], eigvals[-1])]
    return np.maximum(*ends)[()]


def gd_ridge_contraction_ratio(problem: OLSProblem, eps: Any, weight_decay: Any, momentum: Any = 0.0) -> Any:
    r"""Return the contraction ratio of the distance of GD with weight decay to its own limit, ridge regression.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    eps, weight_decay, momentum : array_like
        Finite and >= 0; they broadcast.

    Returns
    -------
    ndarray, broadcast shape (a scalar for scalars)
        ``max_i`` of `heavy_ball_ratio` at ``eps (lambda_i + weight_decay)``.

    Notes
    -----
    Identity (tight): ``w - (H + weight_decay I)^-1 g`` obeys plain GD with ``H + weight_decay I``. The excess of the
    loss without penalty tends to a constant > 0 instead, so it has no such ratio. Cost: O(size of the result).

    Examples
    --------
    >>> problem = OLSProblem([1.0, 3.0], u=[1.0, 1.0])
    >>> float(gd_ridge_contraction_ratio(problem, 0.25, weight_decay=1.0))
    0.5
    """
    as_problem(problem)
    args = eps, weight_decay, momentum
    if any(labelled(arg) for arg in args):
        return by_labels(lambda *x: gd_ridge_contraction_ratio(problem, *x), *args)
    eps, wd, m = _broadcast(
        eps=rates("eps", eps), weight_decay=rates("weight_decay", weight_decay), momentum=rates("momentum", momentum)
    )
    with np.errstate(over="ignore"):
        ends = [heavy_ball_ratio(eps * (float(end) + wd), m) for end in (problem.eigvals[0], problem.eigvals[-1])]
    return np.maximum(*ends)[()]


def normalized_contraction_ratio(
    problem: OLSProblem,
    eps_eff: Any,
    eps_a: Any = 1.0,
    momentum: Any = 0.0,
    smoothing: Any = 0.0,
    *,
    nesterov: Any = 0,
    normalizer: str = "bn",
    null_share: Any = 0.0,
    excited: bool = False,
) -> Any:
    r"""Return the asymptotic contraction ratio near a minimiser of GD on ``a x'w/nu``, ``nu^2 = w'Nw``.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    eps_eff : array_like
        Effective learning rates ``eps (a/nu) w'g/w'Hw``; NaN, and negative numbers, which no minimiser has, give NaN.
    eps_a, momentum, smoothing : array_like, optional
        Learning rate of a, momentum of w and a, and delta; finite and >= 0. All broadcast.
    nesterov : array_like, optional
        1 where the momentum is Nesterov's, else 0. It broadcasts too.
    normalizer : {"bn", "wn"}, optional
        ``N = H + smoothing I``, or ``N = I`` (weight normalization), where smoothing must be 0.
    null_share : array_like, optional
        ``||z||^2/beta^2`` for a minimiser ``w = beta u + z`` with z in the null space of H; it counts unless N = H.
    excited : bool, optional
        Count only the modes that the problem's start excites.

    Returns
    -------
    ndarray, broadcast shape (a scalar for scalars; DataArrays broadcast by name and give one)
        The largest `heavy_ball_ratio` over the eigenvalues of ``H^1/2 K H^1/2``, with ``t = N u/(u'N u)``,
        ``K = eps_eff (I - u t' - t u' + ||t||^2 u u') + eps_a u u'/(u'N u)``.

    Raises
    ------
    ValueError, TypeError
        For values that are not allowed, or shapes that do not broadcast.

    Notes
    -----
    Identity (tight) for the linearisation: the error ``d = a w/nu - u`` obeys ``d <- d - K H d``. N = H gives
    ``eps_eff H*`` and, apart from it, eps_a [Cai]. Else a and w are coupled by a change of rank two of ``eps_eff H``;
    for N = I it is of rank one, ``(eps_a - eps_eff) u u'/(u'u)``.

    The extreme eigenvalues are found from the number of eigenvalues below x, which is the number of poles below it and
    the inertia of a 2 x 2 matrix (Haynsworth); it needs one sum, ``sum_i p_i/(lambda_i - x)``. Cost: O(d) for N = H,
    else about 25 such sums for each element of the result.

    Examples
    --------
    >>> problem = OLSProblem([1.0, 1.0], u=[1.0, 0.0])
    >>> normalized_contraction_ratio(problem, [0.5, 1.0], eps_a=0.75).tolist()
    [0.5, 0.25]
    >>> float(normalized_contraction_ratio(problem, 0.5, 0.5, normalizer="wn"))
    0.5
    """
    as_problem(problem)
    one_of("normalizer", normalizer, NORMALIZERS)
    args = eps_eff, eps_a, momentum, smoothing, null_share, nesterov
    if any(labelled(arg) for arg in args):
        return by_labels(
            lambda x, y, m, s, z, n: normalized_contraction_ratio(
                problem, x, y, m, s, nesterov=n, normalizer=normalizer, null_share=z, excited=excited
            ),
            *args,
        )
    eps_eff, eps_a, m, smoothing, lost, n = _broadcast(
        eps_eff=floats_or_nan("eps_eff", eps_eff),
        eps_a=rates("eps_a", eps_a),
        momentum=rates("momentum", momentum),
        smoothing=rates("smoothing", smoothing),
        null_share=rates("null_share", null_share),
        nesterov=rates("nesterov", nesterov),
    )
    if normalizer == "wn" and smoothing.any():
        raise ValueError(f"smoothing must be 0 for normalizer='wn', got {float(smoothing[smoothing != 0].flat[0])!r}")
    ratio = np.full(eps_eff.shape, np.nan)
    valid = eps_eff >= 0
    plain = valid & (smoothing == 0) if normalizer == "bn" else np.zeros_like(valid)
    ratio[plain] = _split_ratio(problem, eps_eff[plain], eps_a[plain], m[plain], n[plain], excited)
    rest = valid & ~plain
    if rest.any():
        low, high = _coupled_extremes(
            problem, eps_eff[rest], eps_a[rest], smoothing[rest], lost[rest], normalizer, excited
        )
        ratio[rest] = np.maximum(heavy_ball_ratio(low, m[rest], n[rest]), heavy_ball_ratio(high, m[rest], n[rest]))
    return ratio[()]


def wngd_eps_a_max(problem: OLSProblem, eps_eff: Any) -> Any:
    r"""Return the edge of stability in eps_a of weight normalization, for effective learning rates of w below theirs.

    Parameters
    ----------
    problem : OLSProblem
        The problem; its start does not matter.
    eps_eff : array_like
        Effective learning rates at the minimiser, finite and >= 0.

    Returns
    -------
    ndarray, shape of `eps_eff` (a scalar for a scalar)
        ``eps_eff + 1 / sum_i (lambda_i p_i / (2 - eps_eff lambda_i))``, ``p_i = u_i^2/(u'u)``; NaN from
        ``eps_eff lambda_max >= 2`` on.

    Notes
    -----
    Identity (tight): where ``eps_eff H + (eps_a - eps_eff) H^1/2 p p' H^1/2`` has the largest eigenvalue 2. It falls
    from ``2 u'u/(u'Hu)`` at eps_eff = 0 and depends on the data, where BN's edge is 2 for all. Cost: O(d) an element.

    Examples
    --------
    >>> problem = OLSProblem([1.0, 4.0], u=[1.0, 0.0])
    >>> wngd_eps_a_max(problem, [0.0, 0.25]).tolist()
    [2.0, 2.0]
    """
    as_problem(problem)
    if labelled(eps_eff):
        return by_labels(lambda x: wngd_eps_a_max(problem, x), eps_eff)
    eps_eff = rates("eps_eff", eps_eff)
    eigvals = problem.eigvals
    u = problem.u / float(np.abs(problem.u).max())
    p = u * u / math.fsum(u * u)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        total = np.sum(p * eigvals / (2 - eps_eff[..., None] * eigvals), axis=-1)
        edge = eps_eff + 1 / total
    return np.where(eps_eff * float(eigvals[-1]) < 2, edge, np.nan)[()]


def _broadcast(**arrays: FloatArray) -> list[FloatArray]:
    try:
        return list(np.broadcast_arrays(*arrays.values()))
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"{', '.join(arrays)} must broadcast against each other, got shapes {shapes}") from None


def _split_ratio(
    problem: OLSProblem, eps_eff: FloatArray, eps_a: FloatArray, m: FloatArray, n: FloatArray, excited: bool
) -> Any:
    """N = H: the scale goes its own way."""
    low, high = star_extremes(problem, excited)
    ratio = heavy_ball_ratio(eps_a, m, n)
    if not math.isnan(low):
        with np.errstate(over="ignore"):
            for end in (low, high):
                ratio = np.maximum(ratio, heavy_ball_ratio(eps_eff * end, m, n))
    return ratio


def _coupled_extremes(
    problem: OLSProblem,
    eps_eff: FloatArray,
    eps_a: FloatArray,
    smoothing: FloatArray,
    null_share: FloatArray,
    normalizer: str,
    excited: bool,
) -> tuple[FloatArray, FloatArray]:
    """Return the extreme eigenvalues of ``H^1/2 K H^1/2`` for vectors of cells.

    In units of ``eps_eff lambda_max`` it is a matrix of low rank beside D, the eigenvalues over the largest one. How
    many eigenvalues lie below x follows by Haynsworth from how many D has there and the inertia of what is left:

    N = I: ``D + s W W'``, s = eps_a/eps_eff - 1, ``W = D^1/2 u/||u||``: that of ``-1/s - W'(D - x)^-1 W``;
    else ``D + W M W'``, ``W = (D^1/2 u, D^1/2 t)``, ``M = [[||t||^2 + r/F, -1], [-1, 0]]``, F = u'N u, r =
    eps_a/eps_eff: that of ``-M^-1 - W'(D - x)^-1 W``, made of one sum.
    """
    from olsbn.theory.inertia import extremes  # compiled, which the rest of theory is not

    star = star_spectrum(problem)
    top = float(problem.eigvals[-1])
    poles = star.unscaled(star.poles) / top
    with np.errstate(under="ignore"):
        p = np.ldexp(star.weights, star.exponents - int((star.exponents + np.frexp(star.weights)[1]).max()))
    p /= math.fsum(p)
    mean, U = math.fsum(p * poles), math.fsum(p / poles)  # units where u'Hu = 1 and lambda_max = 1
    lost = null_share * (top / problem.explained_var)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if normalizer == "wn":
            F = U + lost
            s = eps_a / eps_eff - 1
            scale = eps_a * (top / F)  # all there is for eps_eff = 0
            width = 1 + np.maximum(s, 0) / F
            cells = [s, F]
        else:
            c = smoothing / top
            F = 1 + c * (U + lost)
            corner = (mean + 2 * c + c * c * (U + lost)) / (F * F) + eps_a / (eps_eff * top) / F
            scale = eps_a / F
            width = 1 + corner + 2 * np.sqrt(mean + 2 * c + c * c * U) / F
            cells = [corner, F, c]

    def block(rows: slice) -> tuple[FloatArray, FloatArray]:
        return extremes(poles, p, mean, width[rows], *(of[rows] for of in cells))

    blocks = map_blocks(block, eps_eff.size, poles.size)
    low, high = (np.concatenate(ends) for ends in zip(*blocks, strict=True))
    with np.errstate(over="ignore", invalid="ignore"):
        low = np.where(eps_eff == 0, 0.0 if poles.size > 1 else scale, low * (eps_eff * top))
        high = np.where(eps_eff == 0, scale, high * (eps_eff * top))
    copies = star.survivors[star.survivors_excited()] if excited else star.survivors
    if copies.size:
        low, high = np.minimum(low, eps_eff * copies[0]), np.maximum(high, eps_eff * copies[-1])
    return low, high
