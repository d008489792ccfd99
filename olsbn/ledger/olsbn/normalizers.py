r"""Any normalizer ``nu^2 = w'Nw``: BN has N = H, smoothed BN N = H + delta I, weight normalization N = I.

The model is a w/nu with the residual r = g - H a w/nu; a step is ``a+ = a + eps_a w'r/nu``,
``w+ = w + eps (a/nu) (r - (w'r/nu^2) Nw)``. Minimisers are w = beta u, a = sqrt(u'Nu); there, with
eps_hat = eps a^2/nu^2 and t = Nu/(u'Nu), a step has the eigenvalues 1 (along u) and 1 - nu_i, nu_i those of

    H^(1/2) [eps_hat (I - ut' - tu' + ||t||^2 uu') + eps_a uu'/(u'Nu)] H^(1/2).
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import PROBLEMS, Chapter, Comparison, Cube, draw_problem, rounding


def step(p: textbook.Dense, N: FloatArray, w: Any, a: Any, eps: float, eps_a: float) -> tuple[Any, Any]:
    """One step of gradient descent on the loss of the model a w/nu, in w and in a."""
    nu = np.sqrt(w @ N @ w)
    r = p.g - p.H @ w * (a / nu)
    along = w @ r
    return w + eps * (a / nu) * (r - (along / nu**2) * (N @ w)), a + eps_a * along / nu


def _drawn(cube: Cube, kind: str | None = None, like_gd: bool = False) -> SimpleNamespace:
    """A problem, a normalizer, learning rates, and the Jacobian of a step at a minimiser."""
    problem = draw_problem(cube, dim=(2, 8), cond=(1.5, 100))
    top = float(problem.eigvals[-1])
    which = cube.integer(0, 3)
    eps_hat, delta, beta = cube.log(1e-3, 10) / top, cube.log(1e-3, 10) * top, cube.log(0.3, 3)
    eps_a = eps_hat if like_gd else cube.log(1e-2, 10)
    rng = cube.rng()
    p = textbook.dense(problem, rng)
    d, eye = problem.dim, np.eye(problem.dim)
    factor = rng.standard_normal((d, d))
    anything = factor @ factor.T + 0.1 * d * eye
    kinds = {"H": p.H, "smoothed": p.H + delta * eye, "I": eye, "any": anything * top / np.linalg.norm(anything, 2)}
    N = kinds[kind or list(kinds)[which]]
    w, nu2 = beta * p.u, float(p.u @ N @ p.u)
    eps = eps_hat * beta**2  # a^2/nu^2 = 1/beta^2

    def both(z: Any) -> Any:
        w_next, a_next = step(p, N, z[:-1], z[-1], eps, eps_a)
        return np.append(w_next, a_next)

    a = math.sqrt(nu2)
    units = np.append(np.full(d, beta), a / np.linalg.norm(p.u))
    jacobian = textbook.derivative(both, np.append(w, a)) * units / units[:, None]
    eigvals, basis = np.linalg.eigh(p.H)
    root = basis @ (np.sqrt(np.maximum(eigvals, 0))[:, None] * basis.T)
    amplified = float(np.linalg.norm(N, 2) * (p.u @ p.u)) / nu2
    return SimpleNamespace(
        problem=problem, p=p, N=N, nu2=nu2, root=root, eps_hat=eps_hat, eps_a=eps_a, jacobian=jacobian,
        t=N @ p.u / nu2, t2=float(np.sum((N @ p.u / nu2) ** 2)),
        error=rounding(40 * d * amplified * float(np.linalg.norm(p.u) * np.linalg.norm(N @ p.u)) / nu2,
                       1 + np.linalg.norm(jacobian, 2)),
    )  # fmt: skip


def _contractions(i: SimpleNamespace) -> FloatArray:
    """Return nu_i of the rank-two formula."""
    u = i.p.u
    inner = i.eps_hat * (np.eye(u.size) - np.outer(u, i.t) - np.outer(i.t, u) + i.t2 * np.outer(u, u))
    inner = inner + i.eps_a * np.outer(u, u) / i.nu2
    return np.linalg.eigvalsh(i.root @ inner @ i.root)


def _distances(i: SimpleNamespace, eigvals: FloatArray) -> FloatArray:
    """Return how far the Jacobian is from having each number as an eigenvalue: the smallest singular value."""
    eye = np.eye(len(i.jacobian))
    return np.array([np.linalg.svd(i.jacobian - z * eye, compute_uv=False)[-1] for z in np.append(eigvals, 1.0)])


def _radius(i: SimpleNamespace) -> float:
    """Return the largest |eigenvalue| of the Jacobian but for the 1 along u."""
    found = np.linalg.eigvals(i.jacobian)
    return float(np.abs(np.delete(found, np.argmin(np.abs(found - 1)))).max())


def _beyond(cube: Cube, kind: str = "I") -> SimpleNamespace:
    """Weight normalization at eps_a above 2/(u'Hu/u'u) by up to a factor 10, any eps_hat."""
    i = _drawn(cube, kind)
    factor = cube.log(1.001, 10)
    i.eps_a = 2 * factor * float(i.p.u @ i.p.u) / i.p.E
    i.radius = float(np.abs(1 - _contractions(i)).max())
    return i


def _below_two(cube: Cube, kind: str = "I") -> SimpleNamespace:
    """Weight normalization at eps_a in (1, 2) and an eps_hat far below its edge."""
    problem = cube.log(2, 100)
    i = _drawn(cube, kind)
    i.scale = problem / i.p.E * float(i.p.u @ i.p.u)  # H times this: u'Hu/u'u is at least 2
    H = i.scale * i.p.H
    p = textbook.Dense(H, H @ i.p.u, i.p.u, i.p.w0, i.scale * i.p.E)
    N = np.eye(len(H)) if kind == "I" else H
    eps_a, eps_hat = cube.uniform(1, 2), 1e-3 / float(np.linalg.norm(H, 2))

    def both(z: Any) -> Any:
        w_next, a_next = step(p, N, z[:-1], z[-1], eps_hat, eps_a)
        return np.append(w_next, a_next)

    at = np.append(p.u, math.sqrt(float(p.u @ N @ p.u)))
    i.jacobian = textbook.derivative(both, at)
    return i


_MINIMISERS = (
    f"{PROBLEMS}, d <= 8, cond <= 100; rotated at random; Jacobian by complex differentiation at w = beta u; eps_hat "
    "over 4 decades, eps_a over 3"
)

chapter = Chapter(_MINIMISERS=_MINIMISERS)


@chapter.claim("olsbn.normalizer-rate", "identity", _drawn)
def _(i: SimpleNamespace) -> Comparison:
    """One formula gives the contraction near a minimiser for every normalizer nu^2 = w'Nw: a change of eps_hat H of
    rank two.
    Formula: 1 - eigenvalues of H^(1/2) [eps_hat (I - ut' - tu' + ||t||^2 uu') + eps_a uu'/(u'Nu)] H^(1/2),
    t = Nu/(u'Nu)  [distance from the spectrum]
    Problems: {_MINIMISERS}; N = H, H + delta I, I, or any
    """
    return 0.0, _distances(i, 1 - _contractions(i)), i.error


@chapter.claim("olsbn.weight-normalization-is-gd", "identity", lambda cube: _drawn(cube, "I", like_gd=True))
def _(i: SimpleNamespace) -> Comparison:
    """Weight normalization with eps_a = eps_hat contracts as plain GD at that rate: it has no H*.
    Formula: N = I, eps_a = eps_hat:  eigenvalues 1 - eps_hat lambda_i  [distance from the spectrum]
    Problems: {_MINIMISERS}
    Where: on weight normalization and least squares: Wu, Dobriban et al., NeurIPS 2020
    """
    return 0.0, _distances(i, 1 - i.eps_hat * i.problem.eigvals), i.error


@chapter.claim("olsbn.weight-normalization-edge", "lower", _beyond)
def _(i: SimpleNamespace) -> Comparison:
    """Weight normalization is unstable for eps_a above 2/(u'Hu/u'u), at every eps_hat: the edge is set by the data.
    Formula: N = I, eps_a > 2 u'u/(u'Hu):  max |1 - nu_i| > 1
    Problems: {_MINIMISERS}; eps_a above that by a factor of up to 10
    """
    return 1.0, i.radius, rounding(20 * i.problem.dim, i.radius)


@chapter.claim(
    "olsbn.weight-normalization-two", "counterexample", _below_two, refutes="upper", n_random=10, n_search=10
)
def _(i: SimpleNamespace) -> Comparison:
    """BN's edge, eps_a = 2 for any data, is not that of weight normalization.
    Formula: N = I, eps_a < 2, eps_hat small:  max |1 - nu_i| <= 1  [false]
    Problems: {_MINIMISERS}; eps_a in 1..2, u'Hu/u'u in 2..100
    """
    return 1.0, _radius(i)


_false = chapter.variants
FALSE = {
    "the normalizer's part of rank one alone": _false.changed("olsbn.normalizer-rate", t2=lambda i: 0.0),
    "every normalizer has H*": _false(
        "olsbn.normalizer-rate",
        measured=lambda i: _distances(i, 1 - i.eps_hat * np.linalg.eigvalsh(i.p.H - np.outer(i.p.g, i.p.g) / i.p.E)),
    ),
    "weight normalization is BN": _false(
        "olsbn.weight-normalization-is-gd",
        measured=lambda i: _distances(i, 1 - i.eps_hat * np.linalg.eigvalsh(i.p.H - np.outer(i.p.g, i.p.g) / i.p.E)),
    ),
    "BN is GD too": _false("olsbn.weight-normalization-is-gd", instance=lambda cube: _drawn(cube, "H", like_gd=True)),
    "BN's edge is set by the data": _false("olsbn.weight-normalization-edge", instance=lambda cube: _beyond(cube, "H")),
    "BN is unstable below two": _false("olsbn.weight-normalization-two", instance=lambda cube: _below_two(cube, "H")),
}
