"""The engine against the printed update in ball arithmetic: cells where float64 has a hard time, drawn without end.

    python tests/stress/audit.py [--seconds 60] [--seed 0] [--group NAME ...] [--kind NAME ...] [--json FILE]
    python tests/stress/audit.py --fixed              # cells that some version of the engine got wrong
    python tests/stress/audit.py --replay FILE        # the cells of a file that --json wrote

A group is a method with its parameters, a kind is a sort of problem. All cells of a problem are one `olsbn.sweep`; its
excess is compared at several recorded steps, its status and steps_to_tol at the end. A cell is wrong if an excess is
off by more than 1e-9, or the status or steps_to_tol differ; it is missed if that is so where `by_rounding` is not set.
Missed cells are printed, and written to FILE as JSON lines with all numbers. Exit code 1 if there are any.

Counted apart: "other", cells right in this sense whose eps_eff, a or w_norm is off by more than 1e-9 without a flag;
"ending", cells whose n_steps_run differs from the documented rule. `moved` of a missed cell is the relative change of
the exact excess if the start moves by 1e-15: above 1e-9 rounding of w alone is enough to lose nine digits (near a
solution, where w - u counts, an engine that splits the start exactly does better).
"""

import argparse
import itertools
import json
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import printed

import olsbn
from olsbn import OLSProblem

OFF = 1e-9
CONVERGED, MAX_STEPS, DIVERGED = 0, 1, 2
NAMES = ("excess", "eps_eff", "a", "w_norm")


class Case(NamedTuple):
    """Cells of one problem: the grid over all parameters that are lists."""

    group: str
    kind: str
    problem: OLSProblem
    method: str
    params: dict[str, Any]
    n_steps: int
    tol: float
    record: list[int]
    origin: Any = None  # (seed, index) where it was drawn


# -------------------------------------------------------------------- problems


def _spectrum(rng, d, kind=None):
    kind = kind or rng.choice(["random", "one-apart", "two-clusters", "power-law"])
    if kind == "one-apart":
        eigvals = np.append(10 ** rng.uniform(0, 1, d - 1), 10 ** rng.uniform(1.3, 3.5))
        return eigvals if rng.random() < 0.8 else 1 / eigvals
    if kind == "two-clusters":
        width = rng.choice([0.1, 1e-3, 1e-7])
        return np.where(np.arange(d) < rng.integers(1, d), 1.0, 10 ** rng.uniform(0.5, 3)) * (1 + width * rng.random(d))
    if kind == "power-law":
        return np.arange(1.0, d + 1) ** -rng.uniform(0.7, 4)
    return 10 ** rng.uniform(0, 10 ** rng.uniform(-0.5, 0.6), d)


def _random(rng, d):
    return _spectrum(rng, d, "random"), *rng.standard_normal((2, d)), {}


def _one_apart(rng, d):
    return _spectrum(rng, d, "one-apart"), *rng.standard_normal((2, d)), {}


def _two_clusters(rng, d):
    return _spectrum(rng, d, "two-clusters"), *rng.standard_normal((2, d)), {}


def _power_law(rng, d):
    return _spectrum(rng, d, "power-law"), *rng.standard_normal((2, d)), {}


def _near_solution(rng, d):
    u, x = rng.standard_normal((2, d))
    size = 1e-12 if rng.random() < 0.5 else 10 ** rng.uniform(-14, -2)
    return _spectrum(rng, d), u, u * (1 + size * x), {}


def _near_saddle(rng, d):
    eigvals, (u, w) = _spectrum(rng, d), rng.standard_normal((2, d))
    g = eigvals * u
    w -= g * (w @ g) / (g @ g)
    w += 10 ** rng.uniform(-12, -3) * np.linalg.norm(w) * g / np.linalg.norm(g)
    return eigvals, u, w, {}


def _along_gradient(rng, d):
    eigvals, (u, x) = _spectrum(rng, d), rng.standard_normal((2, d))
    size = rng.choice([0.0, 1e-12, 1e-9, 1e-5])
    return eigvals, u, eigvals * u * (1 + size * x), {}


def _equal_eigvals(rng, d):
    eigvals = _spectrum(rng, d)
    gap = rng.choice([0.0, 1e-14, 1e-12, 1e-8])
    eigvals[1::2] = eigvals[0 : d - 1 : 2] * (1 + gap)
    return eigvals, *rng.standard_normal((2, d)), {}


def _zero_u(rng, d):
    u, w = rng.standard_normal((2, d))
    some = rng.permutation(d)[: 1 + (d - 1) // rng.integers(2, 4)]
    u[some] *= rng.choice([0.0, 1e-160, 1e-30, 1e-12, 1e-6], some.size, p=[0.5, 0.1, 0.1, 0.15, 0.15])
    if rng.random() < 0.3:
        w *= rng.random(d) < 0.6
    return _spectrum(rng, d), u, w, {}


def _null_space(rng, d):
    return _spectrum(rng, d), *rng.standard_normal((2, d)), {"w0_null_norm": 10 ** rng.uniform(-1.5, 1)}


KINDS = {
    "random": _random,
    "one-apart": _one_apart,
    "two-clusters": _two_clusters,
    "power-law": _power_law,
    "near-solution": _near_solution,
    "near-saddle": _near_saddle,
    "along-gradient": _along_gradient,
    "equal-eigvals": _equal_eigvals,
    "zero-u": _zero_u,
    "null-space": _null_space,
}


def _problem(rng, kind, d):
    while True:
        eigvals, u, w, more = KINDS[kind](rng, d)
        if rng.random() < 0.15:
            more["a0"] = rng.standard_normal() * 10 ** rng.uniform(-3, 2) * np.sqrt(eigvals @ u**2)
        if w.any() and u.any() and eigvals * u @ w != 0:
            return OLSProblem(eigvals, u, w, **more)


# -------------------------------------------------------------------- parameters


def _momentum(rng, p, scale):
    p["momentum"] = float(rng.choice([0.3, 0.5, 0.9, 0.99, rng.random()]))


def _nesterov(rng, p, scale):
    _momentum(rng, p, scale)
    p["nesterov"] = 1.0


def _decay(rng, p, scale):
    p["weight_decay"] = float(10 ** rng.uniform(-4, -0.7) / rng.choice(p["eps"]))


def _smoothing(rng, p, scale):
    p["smoothing"] = float(scale * 10 ** rng.uniform(-3, 1))


def _eps_power(rng, p, scale):
    p["eps_power"] = float(rng.choice([0.25, 0.5, 1.0, rng.uniform(0, 1.5)]))


def _eps_factor(rng, p, scale):
    p["eps_factor"] = float(1 - 10 ** rng.uniform(-3, -1)) if rng.random() < 0.8 else 1.01


def _eps_a_power(rng, p, scale):
    p["eps_a_power"] = float(rng.choice([0.25, 0.5, 1.0]))


PARAMS = (_momentum, _decay, _smoothing, _eps_power, _eps_factor, _eps_a_power)
# group -> method, how often it is drawn, parameters besides the learning rates (None: some of them)
GROUPS = {
    "plain": ("bngd", 8, ()),
    "momentum": ("bngd", 2, (_momentum,)),
    "nesterov": ("bngd", 1, (_nesterov,)),
    "decay": ("bngd", 1, (_decay,)),
    "momentum-decay": ("bngd", 2, (_momentum, _decay)),
    "smoothing": ("bngd", 1, (_smoothing,)),
    "eps_power": ("bngd", 1, (_eps_power,)),
    "eps_factor": ("bngd", 1, (_eps_factor,)),
    "eps_a_power": ("bngd", 1, (_eps_a_power,)),
    "mixture": ("bngd", 2, None),
    "mixture-nesterov": ("bngd", 1, None),
    "wngd": ("wngd", 6, ()),
    "gdnp": ("gdnp", 1, ()),
    "sphere": ("sphere", 1, ()),
    "wngrad": ("wngrad", 1, ()),
    "gd": ("gd", 1, None),
    "gd-nesterov": ("gd", 1, None),
}


def unknown_params(group):
    """Return the parameters of a group that its method does not have yet."""
    method = GROUPS[group][0]
    if method not in olsbn.methods():
        return [method]
    known = {param.name for param in olsbn.methods()[method].params}
    return [name for name in ("nesterov",) if name in group and name not in known]


def _learning_rates(rng, method, problem, n_eps):
    """Return learning rates of w around the plateau, and two of a."""
    h, u, w = problem.eigvals, problem.u, problem.w0
    if method == "gd":
        return (10 ** rng.uniform(-2, 0.7, n_eps) / h[-1]).tolist(), None
    regimes = olsbn.effective_rate_regimes(problem)
    low, high = sorted((regimes.eps_1 / 30, regimes.eps_2 * 30))
    if not 0 < low < high < np.inf:
        scale = (w @ w) / (u @ u) / h[-1]
        low, high = 1e-2 * scale, 1e4 * scale
    if high / low > 1e12 and rng.random() < 0.7:  # of a vast range only some, so that the run does something
        low = high * 1e-6 if rng.random() < 0.3 else low
        high = min(high, low * 1e6)
    eps = np.exp(rng.uniform(np.log(low), np.log(high), n_eps)).tolist()
    eps_a = rng.choice(
        [1.0, 0.1, 0.01, 1.9, 2.05, rng.uniform(0, 2)], 2, replace=False, p=[0.3, 0.15, 0.1, 0.15, 0.1, 0.2]
    )
    if method == "sphere":
        eps = (np.array(eps) / (w @ w + problem.w0_null_norm**2)).tolist()
    if method == "wngd":  # its edge is at most 2 (u'u)/(u'Hu)
        eps_a = eps_a * (u @ u) / (h @ u**2)
    return eps, eps_a.tolist()


def draw(seed, index, groups=None, kinds=None, few=False):
    """Return a random case, the same for every version of the engine; `few`: few modes and steps."""
    rng = np.random.default_rng([seed, index])
    names = list(groups or GROUPS)
    weights = np.array([GROUPS[name][1] for name in names], float)
    group = str(rng.choice(names, p=weights / weights.sum()))
    kind = str(rng.choice(list(kinds or KINDS)))
    method, _, params = GROUPS[group]
    many = not few and rng.random() < 0.2
    n_steps = round(np.exp(rng.uniform(np.log(20), np.log(200 if many or few else 400))))
    n_eps = 4 if few or many else 12
    if not few and not many and rng.random() < 0.03:
        n_steps, n_eps = 2000, 3
    problem = _problem(rng, kind, int(rng.integers(10, 51) if many else rng.integers(1 if kind == "random" else 2, 7)))
    p = {}
    if method != "gdnp":
        p["eps"], eps_a = _learning_rates(rng, method, problem, n_eps)
        if eps_a:
            p["eps_a"] = eps_a
    if params is None:
        known = PARAMS if method == "bngd" else (_momentum, _decay, _eps_power, _eps_factor)
        params = [known[i] for i in rng.permutation(len(known))[: rng.integers(1 if method == "gd" else 2, 5)]]
        if group.endswith("nesterov"):
            params = [x for x in params if x is not _momentum] + [_nesterov]
    for more in params:
        more(rng, p, float(np.mean(problem.eigvals)))
    record = {1, n_steps // 8, n_steps // 4, n_steps // 2, 3 * n_steps // 4, n_steps, int(rng.integers(0, n_steps))}
    tol = 1e-10 if rng.random() < 0.5 else 10 ** rng.uniform(-20, -3)
    return Case(group, kind, problem, method, p, n_steps, float(tol), sorted(record), (seed, index))


def fixed():
    """Return cells that some version of the engine got wrong without a flag."""
    u = np.array([0.3, 1.1, -0.7])
    near = OLSProblem([1, 7, 90], u, u * (1 + 1e-12 * np.array([1, -2, 0.5])))
    for more in ({}, {"momentum": 1e-300}, {"eps_power": 0.5}):
        yield Case("fixed", "near-solution", near, "bngd", {"eps": 0.01, **more}, 0, 1e-10, [0])
    plain = OLSProblem(
        (4.2644234655408155, 4.3685032968946755, 349.93926500744556),
        (0.10587234206137366, -0.41974558500603243, -0.02032298818535357),
        (-1.48755955797516, 0.22539060125462762, 0.5024576977363405),
    )
    yield Case("fixed", "one-apart", plain, "bngd", {"eps": 379.51312679356687}, 220, 1e-10, [110, 165, 220])
    # flagged at its end for another reason, and so not run again for the steps before
    burst = OLSProblem(
        (1.3631258225787097, 1.3631258225787097, 7.779747415397843, 7.779747415397843, 2545.205896473952),
        (-0.290481746585939, 1.4314647107157354, -0.30391657976005226, 2.6232271849120012, 0.13592651879605938),
        (-0.5159000625744226, 0.4192689363374145, 0.2969748845051908, 1.4430238981117587, 0.029638047633346012),
        a0=9.011794405989392,
    )
    rates = {"eps": 0.00017551595330742568, "eps_a": 2.05}
    yield Case("fixed", "equal-eigvals", burst, "bngd", rates, 382, 1.7070201893863572e-18, [95, 164, 191, 286, 382])
    wn = OLSProblem(
        (3.457331032420876, 1758.940767530082),
        (-1.565878011959349, -0.042692195936378866),
        (-0.5745456595520496, 0.3768178786536324),
    )
    rates = {"eps": 0.020611161173622185, "eps_a": 0.0006181978432896505}
    yield Case("fixed", "one-apart", wn, "wngd", rates, 400, 1e-10, [200, 225, 250, 400])
    heavy = OLSProblem(
        (1.6219540409798996, 3.976905605235844, 5.220472059981556, 8.408139683957831, 37.34624009507491),
        (0.11878646880284993, 2.5102039986185245, -0.07370393981920682, 2.0868679182813548, 0.07897046160423685),
        (-0.5899312351657228, -0.017252334454064624, -0.084771139297649, 1.0025419478294944, -0.8650842216675502),
    )
    rates = {"eps": 0.005819977145560599, "momentum": 0.9, "weight_decay": 11.253485245096249}
    yield Case("fixed", "one-apart", heavy, "bngd", rates, 600, 1e-10, [100, 200, 400, 600])


# -------------------------------------------------------------------- judging


def found(case):
    """Run the engine on all cells of a case; return for each one its parameters and its numbers."""
    ds = olsbn.sweep(case.problem, method=case.method, n_steps=case.n_steps, tol=case.tol, record=case.record,
                     workers=1, progress=False, **case.params)  # fmt: skip
    axes = ds.excess.dims[1:]
    for at in itertools.product(*(range(ds.sizes[name]) for name in axes)):
        params = dict(case.params) | {name: float(ds[name].values[i]) for name, i in zip(axes, at, strict=True)}
        numbers = {name: ds[name].values[(slice(None), *at)] for name in NAMES if name in ds}
        flags = ds.by_rounding.values[(slice(None), *at)] if "by_rounding" in ds else np.zeros(len(case.record), bool)
        ends = {name: int(ds[name].values[at]) for name in ("status", "steps_to_tol", "n_steps_run")}
        yield params, numbers, flags, ends


def _off(x, truth):
    """Return the relative error of a number; inf where only one of the two is NaN."""
    if x != x or truth != truth:
        return 0.0 if x != x and truth != truth else np.inf
    return abs(x - truth) / abs(truth) if truth else abs(x)


def compare(case, exact, numbers, flags, ends):
    """Return what is wrong with a cell: lists of ``(what, off, flagged)`` for excess and ends, and for the others."""
    wrong, others = [], []
    rests = not any(case.params.get(name) for name in ("momentum", "weight_decay"))
    for i, k in enumerate(case.record):
        excess = float(numbers["excess"][i])
        if exact.floor >= 0 and k >= exact.floor:
            if rests and not excess <= 1.01 * printed.EXCESS_FLOOR:
                wrong.append((f"excess at {k}", np.inf, bool(flags[i])))
            continue
        if exact.surely_over >= 0 and k >= exact.surely_over:
            # what has diverged has no numbers, but for the step at which it ended
            if excess == excess and not (k == ends["n_steps_run"] and excess > printed.EXCESS_LIMIT):
                wrong.append((f"excess at {k}", np.inf, bool(flags[i])))
            continue
        if exact.over >= 0 and k >= exact.over and excess != excess:
            continue
        truth = exact.points[k]
        if _off(excess, truth[0]) > OFF:
            wrong.append((f"excess at {k}", _off(excess, truth[0]), bool(flags[i])))
        for name, value in zip(NAMES[1:], truth[1:], strict=True):
            if name in numbers and _off(float(numbers[name][i]), value) > OFF:
                others.append((f"{name} at {k}", _off(float(numbers[name][i]), value), bool(flags[i])))
    usual = {CONVERGED, MAX_STEPS} if exact.near_hit else {CONVERGED if exact.hit >= 0 else MAX_STEPS}
    allowed = {DIVERGED} if exact.surely_over >= 0 else usual | {DIVERGED} if exact.over >= 0 else usual
    flagged = bool(np.any(flags))
    if ends["status"] not in allowed:
        wrong.append((f"status {ends['status']}", np.inf, flagged))
    if ends["steps_to_tol"] != exact.hit and not exact.near_hit:
        wrong.append((f"steps_to_tol {ends['steps_to_tol']}, exactly {exact.hit}", np.inf, flagged))
    end = exact.over if exact.over >= 0 else exact.floor if exact.floor >= 0 and rests else case.n_steps
    return wrong, others, ends["n_steps_run"] != end and (exact.floor < 0 or rests)


def _moved(case, params):
    """Return the largest relative change of the exact excess when the start moves by 1e-15."""
    x = case.problem
    start = x.w0 * (1 + 1e-15 * np.random.default_rng(0).standard_normal(x.dim))
    other = OLSProblem(x.eigvals, x.u, start, a0=x.a0, w0_null_norm=x.w0_null_norm)
    try:
        here, there = (printed.run(p, case.method, params, case.n_steps, case.tol, case.record) for p in (x, other))
    except ArithmeticError:
        return float("nan")
    both = here.points.keys() & there.points.keys()
    return max((_off(there.points[k][0], here.points[k][0]) for k in both), default=float("nan"))


def judge(case):
    """Compare all cells of a case; return counts, the missed cells, and the seconds of the exact runs."""
    counts, missed, seconds = Counter(), [], 0.0
    for params, numbers, flags, ends in found(case):
        began = time.process_time()
        try:
            exact = printed.run(case.problem, case.method, params, case.n_steps, case.tol, case.record)
        except ArithmeticError:
            counts["undecided"] += 1
            continue
        seconds += time.process_time() - began
        wrong, others, ending = compare(case, exact, numbers, flags, ends)
        flagged = bool(np.any(flags))
        bad = [item for item in wrong if not item[2]]
        counts["cells"] += 1
        counts["points"] += len(case.record)
        counts["points_wrong"] += sum(item[0].startswith("excess") for item in wrong)
        counts["points_flagged"] += int(np.sum(flags))
        counts["wrong"] += bool(wrong)
        counts["missed"] += bool(bad)
        counts["right"] += not wrong
        counts["right_flagged"] += not wrong and flagged
        counts["other"] += not wrong and any(not item[2] for item in others)
        counts["ending"] += not wrong and ending
        if bad:
            missed.append(_row(case, params, exact, numbers, flags, ends, wrong))
    return counts, missed, seconds


def _row(case, params, exact, numbers, flags, ends, wrong):
    """Return a missed cell with all its numbers."""
    x = case.problem
    return {
        "group": case.group, "kind": case.kind, "origin": case.origin, "method": case.method,
        "eigvals": x.eigvals.tolist(), "u": x.u.tolist(), "w0": x.w0.tolist(), "a0": x.a0,
        "w0_null_norm": x.w0_null_norm, "params": params, "n_steps": case.n_steps, "tol": case.tol,
        "record": case.record, "wrong": wrong, "found": {name: list(map(float, v)) for name, v in numbers.items()},
        "by_rounding": list(map(bool, flags)), "exact": {str(k): point for k, point in exact.points.items()},
        **ends, "exact_steps_to_tol": exact.hit, "exact_over": exact.over, "exact_floor": exact.floor,
        "bits": exact.bits, "moved": _moved(case, params),
    }  # fmt: skip


def case_of(row):
    """Return the case of a row that was written to a file."""
    problem = OLSProblem(row["eigvals"], row["u"], row["w0"], a0=row["a0"], w0_null_norm=row["w0_null_norm"])
    return Case(row["group"], row["kind"], problem, row["method"], row["params"], row["n_steps"], row["tol"],
                row["record"], row["origin"])  # fmt: skip


# -------------------------------------------------------------------- report

COLUMNS = ("cells", "wrong", "missed", "right", "right_flagged", "other", "ending", "undecided", "points",
           "points_wrong", "points_flagged")  # fmt: skip


def table(title, counts):
    """Print counts by name."""
    print(f"{title:18s}" + "".join(f"{name:>15s}" for name in COLUMNS))
    total = sum(counts.values(), Counter())
    for name, row in [*sorted(counts.items()), ("all", total)]:
        print(f"{name:18s}" + "".join(f"{row[column]:15d}" for column in COLUMNS))
    print(flush=True)


def show(row):
    """Print a missed cell in a few lines."""
    worst = max((off for what, off, flagged in row["wrong"] if not flagged), default=0.0)
    print(f"MISSED {row['group']} {row['kind']} {row['origin']} worst {worst:.2g} moved {row['moved']:.2g}: "
          + ", ".join(f"{what} ({off:.1e}{', flagged' if flagged else ''})" for what, off, flagged in row["wrong"])
          + f"; status {row['status']}, {row['n_steps']} steps, tol {row['tol']!r}")  # fmt: skip
    print(f"    {row['method']} {row['params']}")
    print(f"    eigvals {row['eigvals']} u {row['u']} w0 {row['w0']} a0 {row['a0']!r} null {row['w0_null_norm']!r}")


def _drawn(args):
    case = draw(*args)
    return case, (Counter(), [], 0.0) if unknown_params(case.group) else judge(case)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--group", choices=GROUPS, action="append", help="methods with their parameters")
    parser.add_argument("--kind", choices=KINDS, action="append", help="sorts of problems")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fixed", action="store_true", help="only the cells that some version got wrong")
    parser.add_argument("--replay", help="only the cells of this file")
    parser.add_argument("--json", help="write the missed cells to this file")
    args = parser.parse_args()
    for group in args.group or GROUPS:
        if unknown_params(group):
            print(f"{group}: left out, {GROUPS[group][0]} has no {', '.join(unknown_params(group))}")

    by_group, by_kind, missed, exact_seconds = defaultdict(Counter), defaultdict(Counter), [], 0.0
    file = open(args.json, "w") if args.json else None  # noqa: SIM115

    def take(case, verdict):
        nonlocal exact_seconds
        counts, rows, seconds = verdict
        by_group[case.group] += counts
        by_kind[case.kind] += counts
        exact_seconds += seconds
        for row in rows:
            missed.append(row)
            show(row)
            if file:
                print(json.dumps(row), file=file, flush=True)

    began = time.monotonic()
    if args.replay or args.fixed:
        with open(args.replay) if args.replay else sys.stdin as lines:
            cases = [case_of(json.loads(line)) for line in lines] if args.replay else fixed()
        for case in cases:
            take(case, judge(case))
    else:
        with ProcessPoolExecutor(args.processes) as pool:
            waiting, index = [], 0
            while waiting or time.monotonic() < began + args.seconds:
                while len(waiting) < 2 * args.processes and time.monotonic() < began + args.seconds:
                    waiting.append(pool.submit(_drawn, (args.seed, index, args.group, args.kind)))
                    index += 1
                if waiting:
                    take(*waiting.pop(0).result())
    wall = time.monotonic() - began
    table("group", by_group)
    table("kind", by_kind)
    cells = sum(row["cells"] for row in by_group.values())
    rate = cells / max(exact_seconds, 1e-9)
    print(f"{cells} cells in {wall:.0f} s; exact runs: {exact_seconds:.0f} s of processors, {rate:.0f} cells a second")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
