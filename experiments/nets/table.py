"""What carries over: each property of least squares, in theory, measured there and measured in networks."""

from dataclasses import dataclass

import numpy as np

from nets.measure import Estimate, average, ranges, slope

LIMIT = 0.3  # relative training loss, and excess, that has to be reached
RANDOM_LIMIT = 1e-3  # of random problems, which reach 0.3 with any large learning rate, in the direction of one step
XENT_LIMIT = 0.01  # of cross-entropy, which falls faster
ACCURACY = 0.8  # share of test rows right
STEPS = (10, 30, 100, 300, 1000, 3000, 10_000)
NARROW = 0.5  # decades; where a range is narrower, at few steps, its ends do not yet follow the laws
ENOUGH = 3  # numbers of steps with a range that wide: a line through two, of which one is just open, says little
COMMON = {"bn": 300, "none": 300, "zero": 100}  # steps at which widths are compared: those that all of them ran
NEAR = 0.25  # an exponent this close to the theory's, or within two errors, is the theory's
PINNED = (1.5, 2.75)  # what counts as at the edge of stability, 2


@dataclass(frozen=True)
class Row:
    """One property. `others`: the same of the other networks, as text; `verdict`: yes, in part, no, or a dash."""

    name: str
    theory: str
    least_squares: str
    network: str
    others: str
    verdict: str


class Numbers:
    """All measured numbers of a run."""

    def __init__(self, results, ls, limit=LIMIT):
        self.results, self.ls, self.limit = results, ls, limit

    def find(self, **facts):
        """Return the one study with these facts, or None."""
        wanted = {"data": "digits", "depth": 1, "method": "gd", "loss": "mse", "name": "grid", "norm": "bn"} | facts
        found = [r for r in self.results if all(r.facts[k] == v for k, v in wanted.items())]
        return found[0] if found else None

    def main(self, norm):
        """Return the network that is drawn; a smoke run has a smaller one only."""
        return self.find(norm=norm, width=100) or next(r for r in self.results if r.facts["norm"] == norm)

    def steps(self, result):
        """Return the numbers of steps at which a study's ranges are taken."""
        return [k for k in STEPS if k <= result.facts["n_steps"]]

    def network_ends(self, result, accuracy=False, limit=None):
        """Return log10 of the ends, (2, seeds, steps)."""
        limit = limit or self.limit
        found = []
        for k in self.steps(result):
            loss, right, diverged = result.level(k)
            miss = ACCURACY - right if accuracy else np.log10(loss / limit)
            # where runs diverge an end is a cliff: nothing to interpolate
            found.append(ranges(result.eps, np.where(diverged & (miss > 0), np.inf, miss)))
        return np.stack(found, -1)

    def ls_ends(self, arm, width):
        """Return log10 of the ends in least squares, (2, seeds, steps)."""
        if width not in self.ls["width"].values:
            return np.full((2, self.ls.sizes["seed"], self.ls.sizes["n_steps"]), np.nan)
        excess = self.ls[f"excess_{arm}"].sel(width=width)
        eps = self.ls["eps_gd" if arm == "none" else "eps_bngd"].values
        return np.stack(
            [ranges(eps, np.log10(part.values.T / self.limit)) for part in excess.transpose("n_steps", ...)], -1
        )

    def ls_ends_at(self, arm, width):
        """Return log10 of the ends in least squares at the steps at which widths are compared, (2, seeds)."""
        steps = list(self.ls["n_steps"].values)
        return self.ls_ends(arm, width)[..., steps.index(COMMON[arm]) if COMMON[arm] in steps else -1]

    def exponents(self, ends, steps, grid):
        """Return the exponents in K of lower end, upper end and range; see `cliff` for the error of the grid.

        Only where the mean range is at least NARROW wide: a law of wide ranges.
        """
        x = np.log10(steps)
        ends = np.where(wide(ends), ends, np.nan)
        return [cliff(slope(x, y), x, y, grid) for y in (*ends, ends[1] - ends[0])]


def wide(ends):
    """Return at which steps all seeds have a range, on the mean at least NARROW wide, (steps,)."""
    return np.isfinite(ends).all((0, 1)) & ((ends[1] - ends[0]).mean(0) >= NARROW)


def cliff(found, x, y, grid):
    """Add to an exponent the error of a grid of learning rates with spacing `grid`, where ends are not interpolated.

    That is where runs diverge beyond the end: it is known to lie between two learning rates only.
    """
    x = np.asarray(x)[np.isfinite(y).all(0)]
    if x.size < 2 or not grid:
        return found
    return Estimate(found.value, float(max(found.error, grid / np.sqrt(12 * ((x - x.mean()) ** 2).sum()))))


def agrees(found, theory):
    return abs(found.value - theory) <= max(NEAR, 2 * found.error)


def verdict(main, theory, others):
    """Yes: the main network and all others have it. In part: so many of so many. No: none. A dash: not measured."""
    known = [found for found in (main, *others) if np.isfinite(found.value)]
    have = [agrees(found, theory) for found in known]
    if not known:
        return "–"
    return "yes" if all(have) else f"in part ({sum(have)} of {len(have)})" if any(have) else "no"


def spread(others):
    """Return lowest value, median and highest value of the other networks, and how many there are."""
    values = [found.value for found in others if np.isfinite(found.value)]
    if not values:
        return "–"
    shown = (min(values), float(np.median(values)), max(values)) if len(values) > 1 else values
    return f"{' … '.join(f'{value:.2f}' for value in shown)} ({len(values)})".replace("-", "−")


def spacing(result):
    """Return the spacing of a study's learning rates in decades, where ranges end."""
    x = np.log10(np.unique(result.eps))
    return float(np.median(np.diff(x)))


PARTS = ("lower end", "upper end", "range, upper over lower end")


def in_steps(numbers, norm):
    """Return the exponents in K of the main network, and of the others a list of (wide ranges, exponents)."""
    main, found = numbers.find(norm=norm, width=100), []
    if main is None:
        return [Estimate(np.nan, np.nan)] * 3, []
    for result in (main, *(r for r in numbers.results if r.facts["name"] == "grid" and r is not main)):
        if result.facts["norm"] == norm:
            ends, grid = numbers.network_ends(result), spacing(result) if norm == "none" else 0
            found.append((int(wide(ends).sum()), numbers.exponents(ends, numbers.steps(result), grid)))
    return found[0][1], found[1:]


def rows(numbers):
    """Return the rows of the table."""
    found = []
    for norm, arm, theory in (("bn", "bn", (-1, 1, 2)), ("none", "none", (-1, 0, 1))):
        name = "BN" if norm == "bn" else "GD"
        main, every = in_steps(numbers, norm)
        grid = 0.125 if norm == "none" else 0
        ls = numbers.exponents(numbers.ls_ends(arm, 100), numbers.ls["n_steps"].values, grid)
        for j, part in enumerate(PARTS):
            others = [exponents[j] for count, exponents in every if count >= ENOUGH]
            found.append(
                Row(f"{name}: exponent in K of the {part}", f"{theory[j]}".replace("-", "−"), str(ls[j]),
                    str(main[j]), spread(others), verdict(main[j], theory[j], others))
            )  # fmt: skip
    return found + widths(numbers) + edges(numbers) + regimes(numbers) + variants(numbers)


def left_out(numbers):
    """Say what the networks have whose range is wide at fewer than ENOUGH numbers of steps, and how many agree then."""
    text = ""
    for name, norm, theory in (("BN", "bn", (-1, 1, 2)), ("GD", "none", (-1, 0, 1))):
        main, every = in_steps(numbers, norm)
        two = [exponents for count, exponents in every if count == 2]
        known = [main] + [exponents for count, exponents in every if count >= 2]
        if two:
            shown = "; ".join(f"{part} {spread([e[j] for e in two])}" for j, part in enumerate(PARTS))
            agree = ", ".join(str(sum(agrees(e[j], theory[j]) for e in known)) for j in range(3))
            text += f" {name}, wide at two K: {shown}. With these {agree} of {len(known)} agree with the theory."
            text += f" {sum(count < 2 for count, _ in every)} more are wide at one K or none."
    head = "\nNot in the rows on K are networks whose range is wide enough at fewer than three K."
    return f"{head}{text}\n" if text else ""


def widths(numbers):
    """How ranges move with the width, at COMMON steps; for random least-squares problems with the dimension."""
    found, exponents = [], {}
    x = np.log10([10, 100, 1000])
    for name, arm, study, norm, theory in (
        ("BN, γ₀ = 1", "bn", "grid", "bn", None), ("BN, γ₀ = 0", "zero", "zero", "bn", None),
        ("GD", "none", "grid", "none", 0),
    ):  # fmt: skip
        parts = {width: numbers.find(name=study, norm=norm, width=width) for width in (10, 100, 1000)}
        ls = np.stack([numbers.ls_ends_at(arm, w) for w in parts], -1)
        seeds = [result.facts["seeds"] for result in parts.values() if result]
        net = np.full((2, max(seeds, default=1), 3), np.nan)
        for j, result in enumerate(parts.values()):
            if result and COMMON[arm] in numbers.steps(result):
                net[..., j] = numbers.network_ends(result)[..., numbers.steps(result).index(COMMON[arm])]
        grid = max(spacing(result) for result in parts.values() if result) if theory == 0 and any(parts.values()) else 0
        for part, y, z in (
            ("lower end", net[0], ls[0]), ("upper end", net[1], ls[1]), ("range", net[1] - net[0], ls[1] - ls[0]),
        ):  # fmt: skip
            main = cliff(slope(x, y), x, y, grid)
            same = slope(x, z)
            known = np.isfinite(main.value) and np.isfinite(same.value)
            word = ("yes" if agrees(main, same.value) else "no") if known else "–"
            found.append(
                Row(f"{name}: exponent in the width of the {part}, last layer alone against all layers", "–",
                    str(same), str(main), "–", word)
            )  # fmt: skip
            if part != "lower end":
                exponents[arm, part] = main
    random, first = random_exponents(numbers), []
    for name, arm, method, theory in (("BN", "zero", "bngd", 1), ("GD", "none", "gd", 0)):
        for part in ("range", "upper end"):
            main = exponents[arm, part]
            others = [exponents["bn", part]] if arm == "zero" else []
            first.append(
                Row(f"{name}: exponent in the dimension (network: the width) of the {part}", str(theory),
                    str(random[method, part]), str(main), spread(others), verdict(main, theory, others))
            )  # fmt: skip
    return first + found


def random_exponents(numbers):
    """Return how upper end and range move with the dimension of random least-squares problems."""
    found = {}
    for method in ("bngd", "gd"):
        eps, excess = numbers.ls[f"random_eps_{method}"].values, numbers.ls[f"random_{method}"].values
        excess = np.where(np.isfinite(excess), excess, np.inf)
        both = np.stack([ranges(eps, np.log10(part.T / RANDOM_LIMIT)) for part in excess], -1)
        x = np.log10(numbers.ls["dim"].values)
        found[method, "upper end"], found[method, "range"] = slope(x, both[1]), slope(x, both[1] - both[0])
    return found


def edges(numbers):
    """The edge in the learning rate of (gamma, beta), and GD's upper end against 2/lambda_max of the start."""
    found = []
    ratios = []
    for result in numbers.results:
        facts = result.facts
        if facts["name"] == "grid" and "start_sharpness" in facts:
            upper = numbers.network_ends(result)[1][:, -1]
            ratio = 10**upper * np.array(facts["start_sharpness"]) / 2
            ratios.append((facts, between(average(ratio), gap_above(result.eps, upper))))
    main = [r for f, r in ratios if (f["data"], f["depth"], f["width"]) == ("digits", 1, 100)]
    others = [r for f, r in ratios if (f["data"], f["depth"], f["width"]) != ("digits", 1, 100)]
    if main:
        ls = numbers.ls_ends("none", 100)[1][:, -1]
        limit = numbers.ls["eps_max"].sel(width=100).values[:, 0]
        found.append(
            Row("GD: upper end over 2/λ_max, linearised at the start", "1",
                str(between(average(10**ls / limit), 0.125)), str(main[0]), spread(others), verdict(main[0], 1, others))
        )  # fmt: skip
    for loss, theory in (("mse", "2"), ("xent", "–")):
        result = numbers.find(name="edge", width=100, loss=loss)
        if result is None or not result.run.all():
            continue
        rates = np.unique(result.eps_a)
        grows = ~(result.loss[..., -1] <= result.loss[..., 0])  # the last against the first step; or not finite
        grows = np.array([grows[result.eps_a == rate].any() for rate in rates])
        ls = "–"
        if loss == "mse" and "edge_grows" in numbers.ls:
            ls = bracket(numbers.ls["eps_a_edge"].values, numbers.ls["edge_grows"].values.any((0, 2)))
        text = bracket(rates, grows)
        word = "–" if loss == "xent" else "yes" if text == ls else "no"
        if loss == "xent":
            word = "no"
        name = "squared error" if loss == "mse" else "cross-entropy"
        found.append(Row(f"BN: edge in the learning rate of (γ, β), {name}", theory, ls, text, "–", word))
    return found


def gap_above(eps, ends):
    """Return the distance in decades of the two learning rates that a cliff lies between; NaN if there is none."""
    x, at = np.log10(np.unique(eps)), np.nanmean(ends) if np.isfinite(ends).any() else np.nan
    i = np.searchsorted(x, at)
    return float(x[i] - x[i - 1]) if 0 < i < x.size else np.nan


def between(found, gap):
    """Add to a learning rate's error that it is known to lie between two of them only, `gap` decades apart."""
    return Estimate(found.value, float(np.fmax(found.error, found.value * np.log(10) * gap / np.sqrt(12))))


def bracket(rates, grows):
    """Say between which rates the edge lies: the largest of those below which nothing grows, and the next one."""
    rates, grows = np.sort(rates), np.asarray(grows)[np.argsort(rates)]
    if not grows.any():
        return f"none up to {rates[-1]:g}"
    first = int(np.argmax(grows))
    tail = "" if grows[first:].all() else ", not for all above"
    return (f"{rates[first - 1]:g} … {rates[first]:g}" if first else f"below {rates[0]:g}") + tail


def pinned(eps, edge):
    """Return the decades of learning rates with the effective rate at the edge, (seeds,)."""
    inside = (edge >= PINNED[0]) & (edge <= PINNED[1])
    return inside.sum(0) * np.median(np.diff(np.log10(eps)))


def regimes(numbers):
    """The three regimes of the effective learning rate times the sharpness, gamma_0 = 1 and 0."""
    found = []
    for name, arm, study in (("γ₀ = 1", "bn", "grid"), ("γ₀ = 0", "zero", "zero")):
        result = numbers.find(name=study, width=100)
        if result is None or not result.run.all() or 100 not in numbers.ls["width"].values:
            continue
        net = result.eps[:, None] * result.sharpness[..., -1]
        ls_eps = numbers.ls["eps_bngd"].values
        ls = np.median(np.abs(numbers.ls[f"edge_{arm}"].sel(width=100).values), 1).T  # (eps, seeds)
        x, ls_x = np.log10(result.eps), np.log10(ls_eps)
        for part, theory in (("smallest", 1), ("largest", -1)):
            if part == "largest" and study == "zero":
                continue  # the grid ends on the plateau
            one, two = (outer(t, y, part) for t, y in ((x, net), (ls_x, ls)))
            found.append(
                Row(f"BN, {name}: slope of (effective rate × sharpness) in ε, {part} two decades",
                    f"{theory}".replace("-", "−"), str(two), str(one), "–", verdict(one, theory, []))
            )  # fmt: skip
        marks = [np.log10(numbers.ls[f"eps_{j}_{arm}"].sel(width=100).values) for j in (1, 2)]
        theory = float(np.median(np.maximum(marks[1] - marks[0], 0)))
        one, two = average(pinned(result.eps, net)), average(pinned(ls_eps, ls))
        found.append(
            Row(f"BN, {name}: decades of ε in which it is pinned at the edge of stability", f"{theory:.1f}",
                str(two), str(one), "–", "yes" if agrees(one, two.value) else "in part" if one.value else "no")
        )  # fmt: skip
    return found


def outer(x, y, part):
    """Return the slope of log10 y (rates, seeds) over the smallest or largest two decades."""
    here = x <= x[0] + 2.01 if part == "smallest" else x >= x[-1] - 2.01
    return slope(x[here], np.log10(y[here]).T)


def last_sharpness(result):
    """Return the sharpness at the last step at which it was taken, (points, seeds)."""
    there = np.isfinite(result.sharpness).any((0, 1))
    return result.sharpness[..., np.flatnonzero(there)[-1]]


def variants(numbers):
    """Cross-entropy, BatchNorm after hidden layers only, test accuracy, and slow (gamma, beta)."""
    found = []
    for label, facts, theory, how in (
        ("BN, cross-entropy: exponent in K of the", {"name": "xent", "loss": "xent"}, (-1, 1), {}),
        ("GD, cross-entropy: exponent in K of the", {"name": "xent", "loss": "xent", "norm": "none"}, (-1, 0), {}),
        ("BN after hidden layers only: exponent in K of the", {"name": "hidden", "norm": "hidden"}, (-1, 1), {}),
        ("BN, test accuracy: exponent in K of the", {}, (-1, 1), {"accuracy": True}),
        ("GD, test accuracy: exponent in K of the", {"norm": "none"}, (-1, 0), {"accuracy": True}),
    ):
        result = numbers.find(width=100, **facts)
        if result is None or not result.run.all():
            continue
        limit = {"limit": XENT_LIMIT} if facts.get("loss") == "xent" else {}
        ends = numbers.network_ends(result, **how, **limit)
        step = 0 if facts.get("norm", "bn") == "bn" else spacing(result)
        every = numbers.exponents(ends, numbers.steps(result), step)
        for j, part in enumerate(("lower end", "upper end")):
            found.append(
                Row(f"{label} {part}", f"{theory[j]}".replace("-", "−"), "–", str(every[j]), "–",
                    verdict(every[j], theory[j], []))
            )  # fmt: skip
    result = numbers.find(name="rates", width=100)
    if result is not None and result.run.all() and "excess_slow" in numbers.ls:
        rates = np.unique(result.eps_a)
        loss = result.level(result.facts["n_steps"])[0]
        net = np.stack([
            ranges(result.eps[result.eps_a == r], np.log10(loss[result.eps_a == r] / numbers.limit)) for r in rates
        ], -1)  # fmt: skip
        excess = numbers.ls["excess_slow"].sortby("eps_a_slow")
        eps = numbers.ls["eps_bngd"].values
        ls = np.stack([ranges(eps, np.log10(part.values.T / numbers.limit))
                       for part in excess.transpose("eps_a_slow", ...)], -1)  # fmt: skip
        for j, part in enumerate(("lower end", "upper end")):
            one, two = slope(np.log10(rates), net[j]), slope(np.log10(np.sort(numbers.ls["eps_a_slow"].values)), ls[j])
            found.append(
                Row(f"BN: exponent in the learning rate of (γ, β), 0.001 to 1, of the {part}, K = 1000", "as measured",
                    str(two), str(one), "–", "yes" if agrees(one, two.value) else "no")
            )  # fmt: skip
    return found


def networks(numbers):
    """Return a list of dicts: ranges and exponents of every network of the main grid, for several limits."""
    found = []
    for result in numbers.results:
        facts = result.facts
        if facts["name"] in ("edge", "rates"):
            continue
        steps = numbers.steps(result)
        row = {k: facts[k] for k in ("name", "data", "depth", "width", "norm", "method", "loss", "scale0")}
        row |= {"steps": steps, "complete": bool(result.run.all()), "seeds": facts["seeds"]}
        step = spacing(result) if facts["norm"] != "bn" else 0
        for label, how in (
            ("loss 0.5", {"limit": 0.5}), ("loss 0.3", {"limit": 0.3}), ("loss 0.2", {"limit": 0.2}),
            ("loss 0.1", {"limit": 0.1}), ("loss 0.01", {"limit": 0.01}), (f"accuracy {ACCURACY}", {"accuracy": True}),
        ):  # fmt: skip
            ends = numbers.network_ends(result, **how)
            lower, upper, both = numbers.exponents(ends, steps, step)
            row[label] = {
                "lower": ends[0].mean(0).tolist(), "upper": ends[1].mean(0).tolist(),
                "lower_sd": ends[0].std(0).tolist(), "upper_sd": ends[1].std(0).tolist(),
                "exponents": {n: [e.value, e.error] for n, e in (("lower", lower), ("upper", upper), ("range", both))},
            }  # fmt: skip
        found.append(row)
    return found
