"""The dynamics beyond plain GD and BNGD stated a second time, as printed, in the eigenbasis of H and many digits.

In the order of PyTorch's SGD: ``g_k = grad + weight_decay w``, ``b <- momentum b + g_k``, ``w <- w - eps_k b``, or with
Nesterov's rule ``w <- w - eps_k (g_k + momentum b)``, and the same for a; ``eps_k = eps (k+1)^-eps_power
eps_factor^k``, ``eps_a_k = eps_a (k+1)^-eps_a_power``.

The loss of a x'w/nu is J = (c - 2 a w'g/nu + a^2 w'Hw/nu^2)/2, nu^2 = w'Nw; its gradients are taken as they stand.
"""

import mpmath
import numpy as np
from mpmath import fsum, mpf
from naive import Run


def _vectors(problem):
    """Return eigvals, u, w0, with the null space of H as one mode, and c."""
    lists = [[mpf(float(x)) for x in v] for v in (problem.eigvals, problem.u, problem.w0)]
    if problem.w0_null_norm:
        for values, more in zip(lists, (0.0, 0.0, problem.w0_null_norm), strict=True):
            values.append(mpf(more))
    return *lists, mpf(problem.target_var)


def _dot(*vectors):
    return fsum(mpmath.fprod(xs) for xs in zip(*vectors, strict=True))


def gd_run(problem, eps, n, momentum=0.0, weight_decay=0.0, eps_power=0.0, eps_factor=1.0, nesterov=0, digits=60):
    """GD with momentum, weight decay and schedules."""
    with mpmath.workdps(digits):
        h, u, w, c = _vectors(problem)
        eps, m, wd, power, factor = map(mpf, (eps, momentum, weight_decay, eps_power, eps_factor))
        E = _dot(h, u, u)
        b = [mpf(0)] * len(w)
        rows = []
        for k in range(n + 1):
            eps_k = eps * mpf(k + 1) ** -power * factor**k
            error = [x - y for x, y in zip(w, u, strict=True)]
            excess = _dot(h, error, error) / E
            loss = (c - 2 * _dot(h, u, w) + _dot(h, w, w)) / 2
            rows.append((excess, mpmath.sqrt(excess), mpmath.nan, mpmath.sqrt(_dot(w, w)), eps_k, loss))
            grad = [x * e + wd * y for x, e, y in zip(h, error, w, strict=True)]
            b = [m * x + y for x, y in zip(b, grad, strict=True)]
            step = [x + m * y for x, y in zip(grad, b, strict=True)] if nesterov else b
            w = [x - eps_k * y for x, y in zip(w, step, strict=True)]
    return Run(*map(list, zip(*rows, strict=True)))


def normalized_run(
    problem,
    eps,
    eps_a,
    n,
    normalizer="bn",
    smoothing=0.0,
    momentum=0.0,
    weight_decay=0.0,
    eps_power=0.0,
    eps_factor=1.0,
    eps_a_power=0.0,
    nesterov=0,
    digits=60,
    rounded=None,
):
    """GD on a x'w/nu with nu^2 = w'(H + smoothing I)w ("bn") or w'w ("wn"); a starts at a0 nu0/sigma0.

    `rounded`, a generator of random numbers, moves the learning rate of every step by one rounding of float64.
    """
    with mpmath.workdps(digits):
        h, u, w, c = _vectors(problem)
        numbers = map(mpf, (eps, eps_a, smoothing, momentum, weight_decay, eps_power, eps_factor, eps_a_power))
        eps, eps_a, delta, m, wd, power, factor, a_power = numbers
        N = [x + delta for x in h] if normalizer == "bn" else [mpf(1)] * len(h)
        E = _dot(h, u, u)
        a = mpf(problem.a0) * mpmath.sqrt(_dot(N, w, w) / _dot(h, w, w))
        b, b_a = [mpf(0)] * len(w), mpf(0)
        rows = []
        for k in range(n + 1):
            eps_k = eps * mpf(k + 1) ** -power * factor**k
            if rounded is not None:
                eps_k *= 1 + mpf(2) ** -52 * int(rounded.choice([-1, 1]))
            wg, wHw = _dot(h, u, w), _dot(h, w, w)
            nu = mpmath.sqrt(_dot(N, w, w))
            error = [a * x / nu - y for x, y in zip(w, u, strict=True)]
            residual = [y - wg / wHw * x for x, y in zip(w, u, strict=True)]
            loss = (c - 2 * a * wg / nu + a**2 * wHw / nu**2) / 2
            rows.append((
                _dot(h, error, error) / E, mpmath.sqrt(_dot(h, residual, residual) / E), a, mpmath.sqrt(_dot(w, w)),
                eps_k * a / nu * wg / wHw, loss,
            ))  # fmt: skip
            # dJ/dw = (a/nu) (-g + (a/nu) Hw) + (wg a/nu^3 - a^2 wHw/nu^4) N w
            back = wg * a / nu**3 - a**2 * wHw / nu**4
            grad = [
                (a / nu) * (-hi * ui + (a / nu) * hi * wi) + back * ni * wi + wd * wi
                for hi, ui, wi, ni in zip(h, u, w, N, strict=True)
            ]
            grad_a = -wg / nu + a * wHw / nu**2
            b = [m * x + y for x, y in zip(b, grad, strict=True)]
            b_a = m * b_a + grad_a
            step, step_a = b, b_a
            if nesterov:
                step, step_a = [x + m * y for x, y in zip(grad, b, strict=True)], grad_a + m * b_a
            w = [x - eps_k * y for x, y in zip(w, step, strict=True)]
            a -= eps_a * mpf(k + 1) ** -a_power * step_a
    return Run(*map(list, zip(*rows, strict=True)))


def sphere_run(problem, eps, eps_a, n, method="sphere", digits=60):
    """GD on a x'w/sigma: "sphere" has w scaled to norm 1 at the start and after each step; "wngrad" at the start alone.

    WNGrad divides eps by G, which begins as ||w0||^2 and grows by (eps^2/G) ||grad||^2.
    """
    with mpmath.workdps(digits):
        h, u, w, c = _vectors(problem)
        E, g, norm, a = _dot(h, u, u), [x * y for x, y in zip(h, u, strict=True)], mpmath.sqrt(_dot(w, w)), problem.a0
        w, a, G = [x / norm for x in w], mpf(a), mpf(1) if method == "sphere" else norm**2
        rows = []
        for _ in range(n + 1):
            wg, sigma, size = _dot(w, g), mpmath.sqrt(_dot(h, w, w)), mpmath.sqrt(_dot(w, w))
            error = [a * x / sigma - y for x, y in zip(w, u, strict=True)]
            residual = [y - wg / sigma**2 * x for x, y in zip(w, u, strict=True)]
            excess, rate, loss = _dot(h, error, error) / E, mpf(eps) / G, (c - 2 * a * wg / sigma + a**2) / 2
            rows.append((
                excess, mpmath.sqrt(_dot(h, residual, residual) / E), a, size, rate * a / sigma * wg / sigma**2, loss,
            ))  # fmt: skip
            grad = [-(a / sigma) * (x - wg / sigma**2 * hi * y) for x, hi, y in zip(g, h, w, strict=True)]
            a += mpf(eps_a) * (wg / sigma - a)
            w = [x - rate * y for x, y in zip(w, grad, strict=True)]
            if method == "sphere":
                norm = mpmath.sqrt(_dot(w, w))
                w = [x / norm for x in w]
            else:
                G += mpf(eps) ** 2 / G * _dot(grad, grad)
    return Run(*map(list, zip(*rows, strict=True)))


def gdnp_run(problem, n, digits=60):
    """GDNP [Kohler] on OLS: BNGD in direction with a optimal and eps_eff = 1/lambda_max at every step."""
    with mpmath.workdps(digits):
        h, u, w, c = _vectors(problem)
        E, g = _dot(h, u, u), [x * y for x, y in zip(h, u, strict=True)]
        rows = []
        for _ in range(n + 1):
            wg, wHw = _dot(g, w), _dot(h, w, w)
            q, sigma = wg / wHw, mpmath.sqrt(wHw)
            a = wg / sigma
            residual = [y - q * x for x, y in zip(w, u, strict=True)]
            excess = _dot(h, residual, residual) / E
            norm = mpmath.sqrt(_dot(w, w))
            rows.append((excess, mpmath.sqrt(excess), a, norm, 1 / max(h), (c - 2 * a * wg / sigma + a**2) / 2))
            eps = 1 / (max(h) * q * a / sigma)
            w = [x + eps * (a / sigma) * (gi - q * hi * x) for x, gi, hi in zip(w, g, h, strict=True)]
    return Run(*map(list, zip(*rows, strict=True)))


def minibatch_run(X, y, w, a, eps, eps_a, batches, eps_power=0.0, eps_a_power=0.0, weight_decay=0.0):
    """Stochastic BNGD as printed; element k of (w, a) belongs to step k. X and y are those of the loss, as they stand.

    The loss of a batch is the mean of (y - a (z - mean z)/sd(z))^2/2, z = Xw; the gradient goes through mean and sd.
    """
    w, a = np.array(w, dtype=float), float(a)
    ws, scales = [w], [a]
    for k, rows in enumerate(batches):
        x, target = X[rows], y[rows]
        x = x - x.mean(axis=0)
        z = x @ w
        m, sd = len(rows), np.sqrt(np.mean(z**2))
        output = z / sd
        error = a * output - target
        # d output_i / d w = (x_i - output_i mean_j output_j x_j)/sd
        grad = (a / sd) * (error @ (x - np.outer(output, output @ x / m))) / m
        grad_a = np.mean(error * output)
        w = w - eps * (k + 1) ** -eps_power * (grad + weight_decay * w)
        a = a - eps_a * (k + 1) ** -eps_a_power * grad_a
        ws.append(w)
        scales.append(a)
    return np.array(ws), np.array(scales)


def minibatch_evaluation(X, y, ws, scales, batches, averaging):
    """What training and evaluation say of the states of `minibatch_run`, as losses of rows, before each step.

    Returns the loss of the whole sample, z normalised by running averages, and that of the batch that the step trains
    on, z normalised by its own statistics. A layer (PyTorch's) begins with mean 0 and variance 1, moves them by
    `averaging` at each step, and takes the variance with m - 1.
    """
    mean, variance, evaluated, trained = 0.0, 1.0, [], []
    for w, a, rows in zip(ws, scales, batches, strict=False):
        evaluated.append(np.mean((y - a * (X @ w - mean) / np.sqrt(variance)) ** 2) / 2)
        z = X[rows] @ w
        trained.append(np.mean((y[rows] - a * (z - z.mean()) / z.std()) ** 2) / 2)
        mean = (1 - averaging) * mean + averaging * z.mean()
        variance = (1 - averaging) * variance + averaging * z.var(ddof=1)
    return np.array(evaluated), np.array(trained)


def minibatch_run_mp(X, y, w, a, eps, eps_a, batches, weight_decay=0.0, digits=60):
    """The same in many digits: the norm of w and the scale, for each step. Gradients as sums over the rows."""
    with mpmath.workdps(digits):
        w, a = [mpf(float(x)) for x in w], mpf(float(a))
        eps, eps_a, wd = mpf(eps), mpf(eps_a), mpf(weight_decay)
        norms, scales = [mpmath.sqrt(_dot(w, w))], [a]
        for rows in batches:
            x = [[mpf(float(v)) for v in X[i]] for i in rows]
            target, m = [mpf(float(y[i])) for i in rows], len(rows)
            z = [_dot(row, w) for row in x]
            mean = fsum(z) / m
            sd = mpmath.sqrt(fsum((v - mean) ** 2 for v in z) / m)
            output = [(v - mean) / sd for v in z]
            error = [a * o - t for o, t in zip(output, target, strict=True)]
            grad_a = _dot(error, output) / m
            means = [fsum(column) / m for column in zip(*x, strict=True)]
            slopes = [_dot(output, column) / m for column in zip(*x, strict=True)]
            grad = [
                fsum(e * (row[j] - means[j] - o * slopes[j]) for e, o, row in zip(error, output, x, strict=True))
                * a / sd / m
                for j in range(len(w))
            ]  # fmt: skip
            w = [v - eps * (g + wd * v) for v, g in zip(w, grad, strict=True)]
            a -= eps_a * grad_a
            norms.append(mpmath.sqrt(_dot(w, w)))
            scales.append(a)
    return norms, scales


# -------------------------------------------------------------------- theory by brute force


def normalized_jacobian_ratio(eigvals, u, N, eps_eff, eps_a, momentum, nesterov=0):
    """Spectral radius of one step of GD on a x'w/nu at the minimiser w = u, a = nu, but for u itself.

    `u` may have a part in the null space of H. No formula of the linearisation enters: the Jacobian of the gradient as
    printed, by complex differentiation; with momentum the step of (x, x_before) is ``2d + 2`` wide.
    """
    d = len(u)
    target = np.where(eigvals > 0, u, 0.0)

    def gradient(w, a):
        nu = np.sqrt(w @ (N * w))
        r = eigvals * (target - a * w / nu)
        return np.r_[-(a / nu) * (r - (w @ r) / nu**2 * N * w), -(w @ r) / nu]

    point, jacobian = np.r_[u, np.sqrt(u @ (N * u))], np.empty((d + 1, d + 1))
    # at this point a/nu = 1 and wg = wHw, so the learning rate is the effective one
    for j in range(d + 1):
        z = point.astype(complex)
        z[j] += 1e-30j
        jacobian[:, j] = gradient(z[:d], z[d]).imag / 1e-30
    step = np.r_[np.full(d, eps_eff), eps_a][:, None] * jacobian
    eye, zero = np.eye(d + 1), np.zeros((d + 1, d + 1))
    # Nesterov's rule takes (1 + m) of the newest gradient, and m less of the one before
    ahead = momentum * nesterov
    blocks = [[(1 + momentum) * eye - (1 + ahead) * step, ahead * step - momentum * eye], [eye, zero]]
    values, vectors = np.linalg.eig(np.block(blocks))
    # neutral: what moves no prediction (the scale of w, and w in the null space of H)
    directions = vectors[: d + 1]
    outputs = np.sqrt(eigvals)[:, None] * (
        directions[:d] - np.outer(u, (N * u) @ directions[:d]) / (u @ (N * u)) + np.outer(u, directions[d]) / point[d]
    )
    seen = np.linalg.norm(outputs, axis=0) > 1e-7 * np.linalg.norm(directions, axis=0)
    return np.abs(values[seen]).max()
