"""Norm of the weights and angle a step of BN with weight decay on random batches [Hoffer], and their equilibrium.

    python experiments/norm_and_angle.py [--smoke]

The printed update on fresh Gaussian batches. Without decay the norm grows for ever; with decay it tends to
||w||^4 = eta Gamma/(lambda (2 - eta lambda)), Gamma the squared gradient at unit norm, and the direction turns by
arccos(1 - eta lambda) a step, whatever the start.
"""

import drawing
import numpy as np

DIM, ROWS, NOISE = 20, 16, 3.0


def run(decay: np.ndarray, first: np.ndarray, n_steps: int) -> dict[str, np.ndarray]:
    """Return ||w||, the angle a step and Gamma, (steps, cells); `decay` is eta lambda, eta is 1."""
    rng = np.random.default_rng(3)
    u = rng.standard_normal(DIM) / np.sqrt(DIM)
    w = rng.standard_normal(DIM)
    w, a = first[:, None] * w / np.linalg.norm(w), np.ones(len(first))
    found = {name: np.empty((n_steps, len(first))) for name in ("norm", "angle", "gamma")}
    for k in range(n_steps):
        x = rng.standard_normal((ROWS, DIM))
        y = x @ u + NOISE * rng.standard_normal(ROWS)
        x, y = x - x.mean(0), y - y.mean()
        z = w @ x.T
        s = np.sqrt((z * z).mean(1))
        out = z / s[:, None]
        error = (a[:, None] * out - y) / ROWS
        back = a[:, None] / s[:, None] * (error - out * (error * out).mean(1)[:, None])
        gradient = back @ x
        norm = np.linalg.norm(w, axis=1)
        after = (1 - decay)[:, None] * w - gradient
        found["norm"][k], found["gamma"][k] = norm, norm**2 * (gradient**2).sum(1)
        cosine = (w * after).sum(1) / norm / np.linalg.norm(after, axis=1)
        found["angle"][k] = np.arccos(np.clip(cosine, -1, 1))
        w, a = after, a - 0.05 * ((error * out).sum(1))
    return found


def smooth(values: np.ndarray, n: int) -> np.ndarray:
    """Return running means over n steps."""
    sums = np.cumsum(np.vstack([np.zeros((1, values.shape[1])), values]), 0)
    return (sums[n:] - sums[:-n]) / n


def main() -> None:
    small = drawing.smoke(__doc__)
    n_steps, window = (400, 20) if small else (12_000, 100)
    decays = np.array([0, 1e-3, 4e-3, 1.6e-2])
    decay, first = np.repeat(decays, 2), np.tile([1.0, 12.0], 4)
    found = run(decay, first, n_steps)
    norm, angle = (smooth(found[name], window) for name in ("norm", "angle"))
    late = slice(3 * n_steps // 4, None)
    gamma = found["gamma"][late].mean(0)
    with np.errstate(divide="ignore"):
        ends = (gamma / (decay * (2 - decay))) ** 0.25
    turns = np.arccos(1 - decay)
    steps = np.arange(len(norm)) + window / 2
    with drawing.figure("norm-and-angle", 3.8, small, rows=2, sharex=True) as (figure, (top, bottom)):
        for j in range(decay.size):
            look = {"color": drawing.COLOURS[j // 2], "ls": "-:"[j % 2]}
            label = rf"$\eta\lambda = {decay[j]:g}$" if not j % 2 else None
            top.plot(steps, norm[:, j], **look, label=label)
            bottom.plot(steps, angle[:, j], **look)
            if decay[j] and not j % 2:
                top.axhline(ends[j], **drawing.LAW)
                bottom.axhline(turns[j], **drawing.LAW)
        top.set(xscale="log", yscale="log", ylabel=r"$\|w\|$")
        bottom.set(yscale="log", xlabel="step", ylabel="angle a step, radian")
        figure.legend(*top.get_legend_handles_labels(), ncols=2, frameon=False, loc="outside upper center")
        at = np.unique(np.geomspace(1, len(norm), 150).astype(int)) - 1
        figure.data = {
            "step": steps[at, None], "decay": decay, "first_norm": first, "norm": norm[at], "angle": angle[at],
            "equilibrium_norm": ends, "equilibrium_angle": turns,
        }  # fmt: skip
        with_decay = decay > 0
        tail = {name: found[name][late][:, with_decay] for name in ("norm", "angle")}
        of_norm = ((tail["norm"] ** 4).mean(0) ** 0.25 / ends[with_decay] - 1) * 100
        of_angle = (np.cos(tail["angle"]).mean(0) - 1) / -decay[with_decay] - 1
        figure.caption = f"""Norm of the weights and angle between them and the next ones, for BN with weight decay
        λ on fresh batches of {ROWS} Gaussian rows, d = {DIM}, from two starts (solid, dotted); means over {window}
        steps. Dashed: the equilibria ‖w‖⁴ = ηΓ/(λ(2 − ηλ)), Γ measured, and cos θ = 1 − ηλ. In the last quarter the
        norm is off by {of_norm.min():+.1f} % to {of_norm.max():+.1f} %, and 1 − cos θ by {100 * of_angle.min():+.1f}
        % to {100 * of_angle.max():+.1f} %. Without decay the norm keeps growing."""


if __name__ == "__main__":
    main()
