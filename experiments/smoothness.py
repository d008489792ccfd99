"""Smoothness along runs of GD and BNGD, by two definitions, on real data [Santurkar].

    python experiments/smoothness.py [--smoke]

Over step lengths (the paper): the largest ||grad(x) - grad(x - t grad)||/(t ||grad||) over a range of t. Over samples
(the blog): the largest change of a row's gradient over the change of its output, from one step to the next. BN's
number depends on the scale of w, which means nothing; at equal effective scale it is multiplied by ||w||^2/||u||^2,
so that a minimiser has that of w = u. Data: diabetes, standardized (olsbn[data]).
"""

import drawing
import numpy as np

import olsbn

LENGTHS = np.geomspace(0.5, 4, 8)


def gd(problem, x0, eps, n_steps):
    H, g = problem.eigvals, problem.eigvals * problem.u
    Z, y = problem.sample.Z, problem.sample.y
    n = len(y)
    x, rows = x0, []
    for _ in range(n_steps):
        d = H * x - g
        change = [np.linalg.norm(H * (eps * t * d)) / (eps * t * np.linalg.norm(d)) for t in LENGTHS]
        after = x - eps * d
        move = Z @ (x - after)
        rows.append([max(change), np.max(np.abs(move / n) / np.abs(move)), loss_gd(problem, x)])
        x = after
    return np.array(rows)


def loss_gd(problem, x):
    return float(problem.eigvals @ (x - problem.u) ** 2) / problem.explained_var


def bngd(problem, w0, eps, n_steps):
    H, u = problem.eigvals, problem.u
    g, Z, y = H * u, problem.sample.Z, problem.sample.y
    n = len(y)

    def gradient(w, a):
        s = np.sqrt(w @ (H * w))
        return -(a / s) * (g - (w @ g) / s**2 * (H * w))

    def in_outputs(w, a):
        z = Z @ w
        s = np.sqrt(np.mean(z * z))
        out = z / s
        r = (a * out - y) / n
        return z, a / s * (r - r.mean() - out * np.mean(r * out))

    w, a, rows = w0, problem.a0, []
    for _ in range(n_steps):
        d = gradient(w, a)
        steps = [np.linalg.norm(d - gradient(w - eps * t * d, a)) / (eps * t * np.linalg.norm(d)) for t in LENGTHS]
        after = w - eps * d
        (z, before), (z2, behind) = in_outputs(w, a), in_outputs(after, a)
        s = np.sqrt(w @ (H * w))
        excess = 1 - (w @ g) ** 2 / s**2 / problem.explained_var + (a - (w @ g) / s) ** 2 / problem.explained_var
        rows.append([max(steps), np.max(np.abs(before - behind) / np.abs(z - z2)), excess, w @ w / (u @ u)])
        w, a = after, (w @ g) / s
    return np.array(rows)


def main() -> None:
    small = drawing.smoke(__doc__)
    n_steps = 40 if small else 400
    problem = olsbn.OLSProblem.from_dataset("diabetes", standardize=True)
    w0 = np.random.default_rng(0).standard_normal(problem.dim)
    w0 = 2 * w0 / np.linalg.norm(w0)
    problem = olsbn.OLSProblem(
        problem.eigvals, problem.u, w0, target_var=problem.target_var, sample=problem.sample, n_inputs=problem.n_inputs
    )
    eps_gd = 1 / problem.eigvals[-1]
    regimes = olsbn.effective_rate_regimes(problem)
    eps_bn = regimes.eps_1 / 2  # half the edge of stability, as for GD, were the norm to stay
    plain, bn = gd(problem, w0, eps_gd, n_steps), bngd(problem, w0, eps_bn, n_steps)
    scale, n = bn[:, 3], len(problem.sample.y)
    steps = np.arange(n_steps)
    curves = {
        "GD": (drawing.GD, "-", plain[:, 0], plain[:, 1] * n),
        "BNGD": (drawing.BNGD, ":", bn[:, 0], bn[:, 1] * n),
        "BNGD, equal scale": (drawing.BNGD, "-", bn[:, 0] * scale, bn[:, 1] * n * scale),
    }
    top_star = olsbn.spectral_report(problem).eig_star_max
    with drawing.figure("smoothness", 3.9, small, rows=2, sharex=True) as (figure, (top, bottom)):
        for name, (colour, dashes, over_steps, over_rows) in curves.items():
            top.loglog(steps + 1, over_steps, color=colour, ls=dashes, label=name)
            bottom.loglog(steps + 1, over_rows, color=colour, ls=dashes)
        top.axhline(problem.eigvals[-1], **drawing.LAW, label=r"$\lambda_{\max}$")
        top.set(ylabel=r"$\beta$ over step lengths")
        bottom.set(xlabel="step", ylabel=r"$n\beta$ over samples")
        figure.legend(*top.get_legend_handles_labels(), ncols=2, frameon=False, loc="outside upper center")
        figure.data = {
            "gd": {"step": steps, "beta_steps": plain[:, 0], "beta_samples": plain[:, 1], "excess": plain[:, 2]},
            "bngd": {
                "step": steps, "beta_steps": bn[:, 0], "beta_samples": bn[:, 1], "excess": bn[:, 2], "scale": scale,
            },
        }  # fmt: skip
        # how often is BN smoother, as it is and at equal scale
        less, less_scaled = (np.mean(x < plain[:, 0]) for x in (bn[:, 0], bn[:, 0] * scale))
        figure.caption = f"""Effective smoothness β along runs of GD (ε = 1/λ_max) and BNGD (ε at half the
        plateau's lower end) from one start, diabetes, standardized. Above: over step lengths of half to four times
        the step, the paper's definition; below: over the samples of the batch, times n, the blog's. BNGD's β is below
        GD's at {100 * less:.0f} % of {n_steps} steps as it is, and at {100 * less_scaled:.0f} % at equal effective
        scale, where it ends at {bn[-1, 0] * scale[-1]:.3g} beside {plain[-1, 0]:.3g} of GD (λ_max =
        {problem.eigvals[-1]:.3g}, λ*_max = {top_star:.3g}). Over samples GD has 1/n exactly; BN's is far above and
        jumps, for rows whose output hardly moves decide its maximum: the two definitions contradict each other.
        Excess at the end: GD {plain[-1, 2]:.1e}, BNGD {bn[-1, 2]:.1e}."""


if __name__ == "__main__":
    main()
