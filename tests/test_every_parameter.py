"""Every parameter of every method is known to the engine, the rounding flag, proofs, theory and the printed twin.

A parameter that one of them forgot changes nothing there, or is wrong there: so each test gives a value that is not
neutral and looks for the difference.
"""

import numpy as np
import pytest
from printed import run as printed_run

import olsbn
from olsbn import OLSProblem
from olsbn.certification import certified
from olsbn.engine import cells

PROBLEM = OLSProblem.from_spectrum("logspace", 5, 10.0, seed=2)
METHODS = olsbn.methods()
BASE = {"eps": 0.05, "eps_a": 0.1}
# What changes nothing by itself, and with what it does.
WITH = {"nesterov": {"momentum": 0.25}}
# Schedules and their parts. An option that is not here fails `test_no_option_is_forgotten`.
OPTIONS = {
    "schedule": ({}, {"schedule": "cosine"}),
    "warmup": ({"schedule": "wsd"}, {"schedule": "wsd", "warmup": 9}),
    "decay": ({"schedule": "wsd"}, {"schedule": "wsd", "decay": 0.5}),
    "floor": ({"schedule": "cosine"}, {"schedule": "cosine", "floor": 0.25}),
    "eps_factors": ({}, {"eps_factors": np.linspace(1, 0.5, 41)}),
    "seed": ({}, {"seed": 1}),
    "sampling": ({}, {"sampling": "replacement"}),
}
N = 40


def value_of(method, param):
    """Return a value that is not the neutral one, nor that of BASE, and with which runs converge."""
    if (method, param.name) == ("wngd", "eps_a"):
        return 0.05  # its edge is at most 2/(u'Hu/u'u)
    if param.kind == "count":
        return max(param.low, param.default or 0) + 1
    return {None: 0.07, 1.0: 0.9}.get(param.default, 0.25)


def changes(exact):
    """Yield method, name, and the parameters without and with a value that is not neutral.

    `exact`: of the methods that iterate modes, which have a twin, other units and rates of theory.
    """
    for method in METHODS.values():
        if exact and (method.exact is None or method.needs_sample):
            continue
        base = {name: value for name, value in BASE.items() if name in method.settings}
        for param in method.params:
            start = base | WITH.get(param.name, {})
            yield pytest.param(
                method.name, start, start | {param.name: value_of(method.name, param)}, id=f"{method.name}-{param.name}"
            )
        for option in method.options:
            if option.name in OPTIONS:
                plain, more = OPTIONS[option.name]
                yield pytest.param(method.name, base | plain, base | more, id=f"{method.name}-{option.name}")


def problem_for(method):
    if not METHODS[method].needs_sample:
        return PROBLEM
    X = np.random.default_rng(0).normal(size=(60, 3))
    return OLSProblem.from_samples(X, X @ [1.0, 2.0, -1.0] + np.random.default_rng(1).normal(size=60))


def test_no_option_is_forgotten():
    assert {option.name for method in METHODS.values() for option in method.options} <= OPTIONS.keys()


@pytest.mark.parametrize(("method", "plain", "changed"), list(changes(exact=False)))
def test_it_changes_the_run_and_there_is_a_flag(method, plain, changed):
    problem = problem_for(method)
    here, there = (olsbn.run(problem, method, n_steps=N, **params) for params in (plain, changed))
    assert not here.equals(there)
    if "by_rounding" in METHODS[method].columns:
        assert there.by_rounding.dtype == bool


@pytest.mark.parametrize(("method", "plain", "changed"), list(changes(exact=False)))
def test_proofs_know_it(method, plain, changed):
    pytest.importorskip("flint")
    problem = problem_for(method)
    run = olsbn.run(problem, method, n_steps=N, record=20, certify=True, **changed)
    assert run.attrs["certified"] == 1
    names = METHODS[method].settings
    attrs = {name: value for name, value in run.attrs.items() if name not in names}
    as_plain = run.assign_attrs().copy()
    as_plain.attrs = attrs | plain
    only_told = set(changed) - set(plain) == {"averaging"}  # it evaluates, and moves nothing
    assert certified(as_plain, problem).attrs["certified"] == int(only_told)


@pytest.mark.parametrize(("method", "plain", "changed"), list(changes(exact=True)))
def test_the_printed_twin_knows_it(method, plain, changed):
    pytest.importorskip("flint")
    params = {param.name: changed[param.name] for param in METHODS[method].params if param.name in changed}
    if changed.keys() - params.keys():
        pytest.skip("the printed twin has no schedules by name: `olsbn.balls` has their formulas, the engine tables")
    run = olsbn.run(PROBLEM, method, n_steps=N, **changed)
    twin = printed_run(PROBLEM, method, params, N, 1e-10, range(N + 1))
    for k, (excess, eps_eff, _, w_norm) in twin.points.items():
        got = [float(run[name][k]) for name in ("excess", "eps_eff", "w_norm")]
        assert got == pytest.approx([excess, eps_eff, w_norm], rel=1e-10), k


@pytest.mark.parametrize(("method", "plain", "changed"), list(changes(exact=True)))
def test_the_flag_scales_it_with_the_units(monkeypatch, method, plain, changed):
    """The run in other units is the same run: a parameter without its unit would flag every cell."""
    from olsbn.engine.tile import N_AGAIN

    runs, made, flag = [], cells._runs, cells._flag

    def every_cell(step, x, params, run, schedules, found):
        found.numbers[:, N_AGAIN] = 1
        flag(step, x, params, run, schedules, found)

    monkeypatch.setattr(cells, "_flag", every_cell)
    monkeypatch.setattr(cells, "_runs", lambda *args: runs.append(args) or made(*args))
    run = olsbn.run(PROBLEM, method, n_steps=N, **changed)
    assert not run.by_rounding.any()
    closed_form = method == "gd" and not set(changed) - {"eps"}
    assert len(runs) >= (0 if closed_form else 2)


@pytest.mark.parametrize(("method", "plain", "changed"), list(changes(exact=True)))
def test_theory_knows_it(method, plain, changed):
    """The measured rate is theory's; both are NaN, at every learning rate, where a run has no limit."""
    grid = {"eps": np.geomspace(0.02, 0.16, 4)} if "eps" in changed else {}
    factors = {"eps_factors": np.linspace(1, 0.5, 4001)} if "eps_factors" in changed else {}
    ds = olsbn.sweep(PROBLEM, method=method, n_steps=4000, progress=False, **(changed | grid | factors))
    sim, theory = ds.rate_sim.values, ds.rate_theory.values
    limitless = {"weight_decay", "eps_power", "eps_factor", "eps_a_power", *METHODS[method].unsteady}
    if limitless & {name for name in changed if name not in plain} or limitless & changed.keys():
        assert np.isnan(sim).all() and np.isnan(theory).all()
    else:
        there = np.isfinite(sim)
        assert there.any()
        np.testing.assert_allclose(sim[there], theory[there], rtol=1e-9)
