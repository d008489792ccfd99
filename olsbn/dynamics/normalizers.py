r"""The step of GD on a x'w/nu, nu^2 = w'Nw, N = h H + c I, in two systems of coordinates; momentum, decay, schedules.

Batch normalization (BN) has N = H, smoothed BN N = H + delta I, weight normalization N = I. With kappa = a/nu,
theta = kappa w and r = g - H theta, in the order of PyTorch's SGD,

    grad_w = -kappa (r - (w'r/nu^2) N w) + weight_decay w       grad_a = -w'r/nu
    b <- momentum b + grad,   step = grad + momentum b (Nesterov) or b,   w <- w - eps_k step,   a <- a - eps_a_k step_a

Units: E = u'Hu = 1. In the H-inner product, ``w ~ beta u + v`` with v across u, V = |v|^2, S = (u, H v), L = (u, H u),

    sigma^2 = beta^2 + V     cos = beta/sigma     n = V/sigma^2 = sin^2     tau = sigma/nu     alpha = kappa sigma
    delta = alpha - cos      excess = n + delta^2      w'r = -sigma delta

``omega = ||w||^2/sigma^2`` gives 1/tau^2 = h + c omega, and with theta = c omega tau^2 (0 for BN, 1 for weight
normalization) the gradient, divided by the learning rate, moves v by ``(R + A H) v - B (H u across u)``:

    A = (alpha/sigma^2) (cos + theta delta)   B = (alpha/sigma) (n - theta delta cos)   R = -c tau^2 alpha delta/sigma^2

so R, with the decay, only scales w. n and delta vanish at a minimiser, beta, cos and a at a saddle, and none of them is
computed as a difference: delta follows from its own changes,

    delta <- delta - eps_a tau+ step_a + a (tau+ - tau) + (cos - cos+)

where the change of cos comes from that of n, and the change of tau from that of omega.
"""

from __future__ import annotations

from typing import Any

from olsbn.engine.describe import INFINITY, Number, fma, is_one, is_zero, largest, same, size, sqrt, where
from olsbn.engine.step import COUPLED, DECOUPLED, Step

# The modules whose source makes the numbers.
NUMBERS = "olsbn.dynamics.normalizers", "olsbn.dynamics.groups", "olsbn.engine.cells", "olsbn.engine.split"


class Normalized(Step):
    """The part of the step that both systems of coordinates share: all but the modes."""

    params = {
        "eps": None, "eps_a": None, "momentum": 0.0, "nesterov": 0.0, "decay": 0.0, "identity": 0.0, "factor": 1.0,
        "factor_a": 1.0,
    }  # fmt: skip
    folds = ("momentum", "nesterov"), ("nesterov",), ("factor", "factor_a", "decay"), ("identity",)
    units = {
        "eps": (2, -1), "identity": (0, 1), "beta": (1, 0), "beta_now": (1, 0), "y_beta": (1, 0), "null": (1, -0.5),
        "null_now": (1, -0.5), "y_null": (1, -0.5), "moved": (1, -0.5), "A": (0, -1), "B": (1, -1), "L": (0, 1),
        "U2": (0, -1), "K": (0, 1), "inverse_top": (0, -1), "mu": (0, 1), "V": (2, 0), "S": (1, 1), "slowest": (0, 1),
        "fastest": (0, 1), "top": (0, 1), "norm2": (2, -1),
    }  # fmt: skip
    settles = ("decay", "factor", "factor_a")
    may_return = ("momentum",)
    h = 1.0  # of N = h H + c I

    def norms(self, x: Any) -> tuple[Number, Number]:
        """Return G and Q of ``||w||^2 = U2 beta^2 + 2 beta G + Q`` on the range of H."""
        raise NotImplementedError

    def scale(self, x: Any, cos: Number, delta: Number, hat: Number) -> tuple[Number, Number]:
        """Return alpha and delta: where alpha is not small beside cos it is their sum, else its own recursion's."""
        delta = same(delta, hat - cos)
        total = cos + delta
        return where(size(cos) * 0.5 < size(total), same(total, hat), hat), delta

    def lanes(self, x: Any) -> dict[str, Number]:
        """See `olsbn.engine.step.Step.lanes`."""
        return self.scalars(x, x.beta, x.V, x.S)

    def scalars(self, x: Any, beta: Number, V: Number, S: Number) -> dict[str, Number]:
        """Return what is next, from beta and the sums."""
        first = x.n < 0.0  # before step 0 there is nothing
        sigma2 = fma(beta, beta, V)
        sigma = sqrt(sigma2)
        # cos_before - cos = (n - n_before)/(cos + cos_before) cancels nothing where cos is near 1, and the plain
        # difference nothing where it is near 0
        near = (beta * x.cos > 0.0) & (beta * beta > V)
        both = where(near, fma(sigma, x.cos, beta), 1.0)  # sigma (cos + cos_before)
        inverse = 1.0 / (sigma * both)  # the step's one division
        root = same(inverse * both, 1.0 / sigma)
        n, cos = V * root * root, beta * root
        change = where(near, (n - x.n) * (sigma2 * inverse), x.cos - cos)

        heavy = not is_zero(x.momentum)
        tau, theta, norm, hat, step_a = 1.0, 0.0, {}, x.a, x.step_a if heavy else x.delta
        if not is_zero(x.identity):
            norm = self._norm(x, beta, V, root, n, near)
            tau, theta = norm["tau"], x.identity * norm.pop("omega") * (norm["tau"] * norm["tau"])
            change = fma(x.a, norm.pop("d_tau"), change)
            hat = where(first, x.a, x.a_next * tau)
            step_a = x.step_a if heavy else x.tau * x.delta
        rate_a = x.eps_a if is_one(x.factor_a) else x.rate_a
        delta = where(first, x.delta, fma(-rate_a, step_a * tau, x.delta) + change)
        alpha, delta = self.scale(x, cos, delta, hat)
        excess = fma(delta, delta, n)
        a = alpha / tau

        rate, rate_a = x.eps * x.factor, x.eps_a * x.factor_a
        base = x.eps if heavy else rate  # with momentum the buffers hold eps times the gradients
        chi = self.chi(x, base, alpha, cos, root)
        A = (chi * fma(theta, delta, cos)) * root
        B = chi * fma(-theta, delta * cos, n)
        R = x.decay if heavy else x.decay * x.factor
        if not is_zero(x.identity):
            R = R - x.identity * (tau * tau) * (chi * delta * root)
        along = self._along(A, B, R, S, x.L, beta)
        null = 0.0 if is_zero(R) else R * x.null
        ahead = 1.0  # 1 + m n: how much of the gradient is in the step
        kept_a = 0.0
        y_beta, y_null, step, step_null, step_a = 0.0, 0.0, along, null, tau * delta
        y_a = 0.0
        if heavy:
            m = x.momentum
            y_beta, y_null, y_a = fma(m, x.y_beta, along), fma(m, x.y_null, null), fma(m, x.y_a, step_a)
            nesterov = x.nesterov > 0.5
            step = where(nesterov, fma(m, y_beta, along), y_beta)
            step_null = where(nesterov, fma(m, y_null, null), y_null)
            step_a = where(nesterov, fma(m, y_a, step_a), y_a)
            ahead = fma(m, x.nesterov, 1.0)
            kept_a = rate_a * (m * where(nesterov, m, 1.0)) * x.y_a
            step, step_null = x.factor * step, x.factor * step_null
        # a's own recursion, which keeps its digits where cos is small: 1 - eps_a tau^2 first
        a_next = fma(1.0 - rate_a * ahead * (tau * tau), a, rate_a * ahead * tau * cos) - kept_a
        made: dict[str, Number] = {
            "A": A, "B": B, "R": R, "D": 1.0 - R, "F": x.factor, "theta": theta,
            "beta_now": beta, "beta": beta - step, "y_beta": y_beta,
            "null_now": x.null, "null": x.null - step_null, "y_null": y_null,
            "moved": (x.null * step - step_null * beta) / beta if norm else 0.0,
            "alpha": alpha, "a": a if norm else a_next, "a_next": a_next, "y_a": y_a, "step_a": step_a,
            "rate_a": rate_a, "delta": delta, "cos": cos, "n": n, "excess": excess, "size": size(A) + size(B), **norm,
            # with momentum, and where delta and the modes are coupled, no simple rule says what cannot be amplified
            "growth": INFINITY if heavy or norm else self._growth(x, A / (1.0 - R), n, rate_a),
        }  # fmt: skip
        if not is_zero(R):
            made["size"] = made["size"] + size(R)
            made["low"] = sigma2
        return made

    def _growth(self, x: Any, turn: Number, n: Number, rate_a: Number) -> Number:
        """Return the square of the largest factor by which the step multiplies a disturbance of a mode, or of delta.

        Away from a minimiser a disturbance changes eps_eff as well, through beta, in whose direction H may be larger
        than H* across it: that can amplify where eps_eff lambda_max > 2.
        """
        slow, fast, scale = fma(-turn, x.slowest, 1.0), fma(-turn, x.fastest, 1.0), 1.0 - rate_a
        own, whole = largest(slow * slow, fast * fast), turn * x.top
        beyond = where(whole * whole > 4.0, fma(8.0 * n, whole * whole, own + own), own)  # (x + y)^2 <= 2 x^2 + 2 y^2
        return largest(beyond, scale * scale)

    def chi(self, x: Any, eps: Number, alpha: Number, cos: Number, root: Number) -> Number:
        """Return eps alpha/sigma."""
        return eps * alpha * root

    def _along(self, A: Number, B: Number, R: Number, S: Number, L: Number, beta: Number) -> Number:
        """Return by how much the gradient moves beta."""
        return fma(R, beta, fma(A, S, -(B * L)))

    def _norm(self, x: Any, beta: Number, V: Number, root: Number, n: Number, near: Number) -> dict[str, Number]:
        """Return omega, tau and the change of tau, which is of first order in what vanishes at a minimiser."""
        G, Q = self.norms(x)
        small = (fma(2.0 * beta, G, Q) - x.U2 * V) * (root * root)  # of omega = U2 + small + share
        share = (x.null * root) * (x.null * root)
        lost = x.null / beta
        moved = (x.moved / beta) * (lost + x.lost)
        d_share = where(near, fma(moved, 1.0 - n, -(x.lost * x.lost) * (n - x.n)), share - x.share)
        omega = x.U2 + small + share
        tau = 1.0 / sqrt(fma(x.identity, omega, self.h))
        both = tau * x.tau
        d_tau = -(x.identity * ((small - x.small) + d_share)) * (both * both) / (tau + x.tau)
        return {"omega": omega, "tau": tau, "d_tau": d_tau, "small": small, "share": share, "lost": lost}

    def report(self, x: Any) -> dict[str, Number]:
        """See `olsbn.engine.step.Step.report`."""
        norm = not is_zero(x.identity)
        tau = x.tau if norm else 1.0
        turn = self.turn(x)
        couple, turn_a = 0.0, x.eps_a * x.factor_a * (tau * tau)
        if norm:
            couple = turn * x.theta
            null2 = x.lost * x.lost
            turn_a = fma(x.identity * (tau * tau) * couple, fma(x.U2, x.K, null2 * x.L), turn_a)
        return {
            "residual2": x.n, "a": x.alpha / tau, "eps_eff": turn, "norm2": self.norm2(x), "null": x.null_now,
            "turn": turn, "turn_a": turn_a, "couple": couple, "momentum": x.momentum, "nesterov": x.nesterov,
            "delta": x.delta,
        }  # fmt: skip

    def turn(self, x: Any) -> Number:
        """Return eps_eff."""
        if is_zero(x.momentum) and is_zero(x.identity):
            return x.A
        return x.eps * x.factor * x.alpha * x.cos / fma(x.beta_now, x.beta_now, x.V)

    def norm2(self, x: Any) -> Number:
        """Return the square of the norm of w on the range of H."""
        raise NotImplementedError

    def norm2_ahead(self, x: Any) -> Number:
        """Return the same in `lanes`, from the sums of the pass, as a sum of squares."""
        raise NotImplementedError


def _moved(c: Any, z: Number, y: Number, gradient: Number) -> dict[str, Number]:
    """Return a mode after a step with momentum; the buffer holds eps times the gradients."""
    y = fma(c.momentum, y, gradient)
    step = where(c.nesterov > 0.5, fma(c.momentum, y, gradient), y)
    return {"z": z - step if is_one(c.F) else fma(-c.F, step, z), "y": y}


class Star(Normalized):
    """In the eigenbasis of H*: ``w ~ beta u + sum_i z_i e_i``, where no mode sees another but through sums.

    e_i are the H-orthonormal eigenvectors of H* with eigenvalues mu_i, and ``b_i = e_i'H^2u``. Decoupled modes, which u
    does not reach, have b = 0. ``||w||^2 = U2 (beta - sum b_i z_i/mu_i)^2 + sum z_i^2/mu_i``, since the inverse of H is
    a change of rank one of that of H* across u.
    """

    numbers = {COUPLED: ("mu", "b", "b_over_mu", "one_over_mu"), DECOUPLED: ("mu", "one_over_mu")}
    state = ("z", "y")
    sums: tuple[str, ...] = ("V", "S", "P", "Q")
    idle = {"beta": 1.0, "D": 1.0, "n": 0.0, "cos": 1.0, "tau": 1.0}
    units = Normalized.units | {
        "b": (0, 1), "b_over_mu": (0, 0), "one_over_mu": (0, -1), "z": (1, 0), "y": (1, 0), "P": (1, 0), "Q": (2, -1),
    }  # fmt: skip
    slaves = True

    def modes(self, group: str, p: Any, x: Any, c: Any) -> tuple[dict[str, Number], dict[str, tuple[Number, Number]]]:
        """See `olsbn.engine.step.Step.modes`."""
        b = p.b if group == COUPLED else 0.0
        if is_zero(c.momentum):
            force = p.seed if group == DECOUPLED else b * c.B
            new = {"z": fma(fma(-p.mu, c.A, c.D), x.z, force)}
        else:
            new = _moved(c, x.z + p.seed, x.y, fma(fma(p.mu, c.A, c.R), x.z, 0.0 if is_zero(b) else -(b * c.B)))
        z = new["z"]
        terms = {"V": (z, z), "Q": (p.one_over_mu * z, z)}
        if group == COUPLED:
            terms |= {"S": (b, z), "P": (p.b_over_mu, z)}
        return new, terms

    def norms(self, x: Any) -> tuple[Number, Number]:
        """See `Normalized.norms`."""
        along = x.U2 * x.P
        return -along, fma(along, x.P, x.Q)

    def reported_terms(self, group: str, p: Any, x: Any, c: Any) -> dict[str, tuple[Number, Number]]:
        """See `olsbn.engine.step.Step.reported_terms`."""
        found = {"Q_now": (p.one_over_mu * x.z, x.z)}
        return found | {"P_now": (p.b_over_mu, x.z)} if group == COUPLED else found

    def norm2(self, x: Any) -> Number:
        """See `Normalized.norm2`."""
        along = x.beta_now - x.P_now
        return fma(x.U2 * along, along, x.Q_now)

    def norm2_ahead(self, x: Any) -> Number:
        """See `Normalized.norm2_ahead`."""
        along = x.beta - x.P
        return fma(x.U2 * along, along, x.Q)


class Deflated(Normalized):
    """In the eigenbasis of H, along u and across it: ``w_i = u_i (beta + s_i)``, ``sum_i p_i s_i = 0``.

    p_i = lambda_i u_i^2. O(d) to set up, so that it serves any dimension, and independent of the roots of H*. Drift of
    s along u, P = sum p_i s_i, has eigenvalue 1: it is counted to beta and taken out at the next step.
    """

    numbers = {COUPLED: ("lam", "p", "u2"), DECOUPLED: ("mu", "one_over_mu")}
    state = ("s", "y")
    sums: tuple[str, ...] = ("V", "S", "P", "G", "Q", "W")
    idle = Star.idle
    units = Normalized.units | {
        "lam": (0, 1), "p": (0, 0), "u2": (0, -1), "one_over_mu": (0, -1), "s": (1, 0), "y": (1, 0), "P": (1, 0),
        "G": (1, -1), "Q": (2, -1), "W": (2, -1), "C": (1, 0), "drift": (1, 0), "B_": (1, -1),
    }  # fmt: skip

    def lanes(self, x: Any) -> dict[str, Number]:
        """See `olsbn.engine.step.Step.lanes`."""
        P = x.P
        V = fma(-P, P, x.V)
        V = where(V < 0.0, 0.0, V)
        S, beta = fma(-P, x.L, x.S), x.beta + P
        made = self.scalars(x, beta, V, S)
        A, B, R = made["A"], made["B"], made["R"]
        C = fma(A, S, -(B * x.L))
        if is_zero(x.momentum):
            made["C"] = fma(-made["D"], P, C)
        else:
            made["C"] = fma(R, P, C)
        return made | {"B_": fma(A, P, B), "drift": P}

    def modes(self, group: str, p: Any, x: Any, c: Any) -> tuple[dict[str, Number], dict[str, tuple[Number, Number]]]:
        """See `olsbn.engine.step.Step.modes`."""
        heavy = not is_zero(c.momentum)
        if group == DECOUPLED:
            if heavy:
                new = _moved(c, x.s + p.seed, x.y, fma(p.mu, c.A, c.R) * x.s)
            else:
                new = {"z": fma(fma(-p.mu, c.A, c.D), x.s, p.seed)}
            z = new["z"]
            terms = {"V": (z, z), "Q": (p.one_over_mu * z, z), "W": (p.one_over_mu * z, z)}
        else:
            if heavy:
                new = _moved(c, x.s - c.drift, x.y, fma(fma(p.lam, c.A, c.R), x.s, fma(-p.lam, c.B_, -c.C)))
            else:
                new = {"z": fma(fma(-p.lam, c.A, c.D), x.s, fma(p.lam, c.B_, c.C))}
            z = new["z"]
            m, t, w = p.p * z, p.u2 * z, z + c.beta
            terms = {"V": (m, z), "S": (p.lam, m), "P": (p.p, z), "G": (p.u2, z), "Q": (t, z), "W": (p.u2 * w, w)}
        return {"s": z, "y": new.get("y", 0.0)}, terms

    def norms(self, x: Any) -> tuple[Number, Number]:
        """See `Normalized.norms`."""
        G = fma(-x.P, x.U2, x.G)
        return G, x.Q - x.P * (x.G + G)

    def reported_terms(self, group: str, p: Any, x: Any, c: Any) -> dict[str, tuple[Number, Number]]:
        """See `olsbn.engine.step.Step.reported_terms`."""
        if group == DECOUPLED:
            return {"Q_now": (p.one_over_mu * x.s, x.s)}
        w = x.s + (c.beta_now - c.drift)
        return {"Q_now": (p.u2 * w, w)}

    def norm2(self, x: Any) -> Number:
        """See `Normalized.norm2`."""
        return x.Q_now

    def norm2_ahead(self, x: Any) -> Number:
        """See `Normalized.norm2_ahead`."""
        return x.W


class WeightNormalizedStar(Star):
    """Weight normalization, N = I."""

    h = 0.0


class WeightNormalizedDeflated(Deflated):
    """Weight normalization, N = I."""

    h = 0.0


class _BestScale(Normalized):
    """GDNP [Kohler]: a is the best one and eps_eff is 1/lambda_max, at every step."""

    def scale(self, x: Any, cos: Number, delta: Number, hat: Number) -> tuple[Number, Number]:
        """See `Normalized.scale`."""
        return cos, 0.0

    def chi(self, x: Any, eps: Number, alpha: Number, cos: Number, root: Number) -> Number:
        """See `Normalized.chi`."""
        return x.inverse_top / (cos * root)

    def turn(self, x: Any) -> Number:
        """See `Normalized.turn`."""
        return x.inverse_top


class BestScaleStar(_BestScale, Star):
    """GDNP in the eigenbasis of H*."""


class BestScaleDeflated(_BestScale, Deflated):
    """GDNP in the eigenbasis of H."""


class _ByNorm(Normalized):
    """Steps whose eps_eff depends on the norm of w beside its range's: no simple rule says what is not amplified."""

    def _growth(self, x: Any, turn: Number, n: Number, rate_a: Number) -> Number:
        return INFINITY


class _OnSphere(_ByNorm):
    """BNGD whose w is projected to the unit sphere before every step.

    BN does not depend on the scale of w, so that is a step on the unprojected w with ``eps_k = eps ||w_k||^2``.
    """

    on_sphere = True

    def chi(self, x: Any, eps: Number, alpha: Number, cos: Number, root: Number) -> Number:
        """See `Normalized.chi`."""
        return eps * (alpha * root * (x.energy * fma(x.null, x.null, self.norm2_ahead(x))))


_ON_SPHERE = {"eps": (0, 0)}


class OnSphereStar(_OnSphere, Star):
    """BNGD on the unit sphere in the eigenbasis of H*."""

    units = Star.units | _ON_SPHERE


class OnSphereDeflated(_OnSphere, Deflated):
    """BNGD on the unit sphere in the eigenbasis of H."""

    units = Deflated.units | _ON_SPHERE


class _WNGrad(_ByNorm):
    """WNGrad [Wu, Ward, Bottou] on the loss of BN: ``v <- v - (eps/G) grad``, ``G <- G + (eps^2/G) ||grad||^2``.

    It begins with ``v_0 = w_0/||w_0||`` and ``G_0 = ||w_0||^2``. For ``w = ||w_0|| v`` it is a step of BNGD with
    ``eps_k = eps G_0/G_k``, and a step by dw multiplies G by ``1 + ||dw||^2/||w_0||^2``. That could be had from the
    norm of w, to which dw is orthogonal, but not where w is large beside dw.
    """

    def moved2(self, x: Any) -> Number:
        """Return ``||dw||^2`` of the step before, from the sums of the pass."""
        raise NotImplementedError

    def chi(self, x: Any, eps: Number, alpha: Number, cos: Number, root: Number) -> Number:
        """See `Normalized.chi`."""
        return (eps * self._grown(x)["shrunk"]) * alpha * root

    def scalars(self, x: Any, beta: Number, V: Number, S: Number) -> dict[str, Number]:
        """See `Normalized.scalars`."""
        made = super().scalars(x, beta, V, S)
        return made | self._grown(x) | {"along": self._along(made["A"], made["B"], made["R"], S, x.L, beta)}

    def _grown(self, x: Any) -> dict[str, Number]:
        """Return ``||w_0||`` and G_0/G."""
        first = x.n < 0.0
        w_start = where(first, sqrt(fma(x.null, x.null, self.norm2_ahead(x))), x.w_start)
        share = sqrt(self.moved2(x)) / w_start  # its square alone would leave the range of numbers
        return {"w_start": w_start, "shrunk": where(first, 1.0 + x.shrunk, x.shrunk / fma(share, share, 1.0))}


_GROWN = {"w_start": (1, -0.5), "along": (1, 0)}
_IDLE = {"w_start": 1.0}


class WNGradStar(_WNGrad, Star):
    """WNGrad in the eigenbasis of H*."""

    sums = (*Star.sums, "dP", "dQ")
    units = Star.units | _GROWN | {"dP": (1, 0), "dQ": (2, -1)}
    idle = Star.idle | _IDLE

    def modes(self, group: str, p: Any, x: Any, c: Any) -> tuple[dict[str, Number], dict[str, tuple[Number, Number]]]:
        """See `olsbn.engine.step.Step.modes`."""
        new, terms = super().modes(group, p, x, c)
        dz = fma(-p.mu * c.A, x.z, p.b * c.B if group == COUPLED else 0.0)
        terms |= {"dQ": (p.one_over_mu * dz, dz)}
        return new, terms | {"dP": (p.b_over_mu, dz)} if group == COUPLED else terms

    def moved2(self, x: Any) -> Number:
        """See `_WNGrad.moved2`."""
        along = x.along + x.dP
        return fma(x.U2 * along, along, x.dQ)


class WNGradDeflated(_WNGrad, Deflated):
    """WNGrad in the eigenbasis of H."""

    sums = (*Deflated.sums, "dW")
    units = Deflated.units | _GROWN | {"dW": (2, -1)}
    idle = Deflated.idle | _IDLE

    def modes(self, group: str, p: Any, x: Any, c: Any) -> tuple[dict[str, Number], dict[str, tuple[Number, Number]]]:
        """See `olsbn.engine.step.Step.modes`."""
        new, terms = super().modes(group, p, x, c)
        coupled = group == COUPLED
        dw = p.lam * fma(-c.A, x.s, c.B_) if coupled else -p.mu * c.A * x.s
        return new, terms | {"dW": ((p.u2 if coupled else p.one_over_mu) * dw, dw)}

    def moved2(self, x: Any) -> Number:
        """See `_WNGrad.moved2`."""
        return x.dW
