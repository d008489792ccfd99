"""Proofs: the balls hold the numbers of many-digit arithmetic, and what is wrong is refuted."""

import dataclasses
import json
import math

import numpy as np
import pytest
import zarr
from naive import bngd_run_mp, gd_run_mp

import olsbn
from olsbn.balls import Undecided, precision, star
from olsbn.certification import certified, exact_cell
from olsbn.dynamics import registry
from olsbn.dynamics.registry import METHODS
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.schema import Status

flint = pytest.importorskip("flint")

# equal eigenvalues, one without signal, a signal far below rounding, a start in the null space, a0 not the best
AWKWARD = OLSProblem([1, 2, 2, 3.5, 4], [1, 1e-3, 0, 0.5, 1e-30], [0.3, 0.7, -0.2, 0.4, 0.1], a0=0.7, w0_null_norm=0.3)
SPHERE = OLSProblem.from_spectrum("logspace", 6, 50.0, seed=3)
CLOSE = OLSProblem([1, 1 + 1e-12, 1.1, 1.3, 1.3 * (1 + 1e-12)], [1, 2, 1, 1.5, 0.5], [0, 0, 1, 0, 0])
SADDLE = OLSProblem([1, 4], [1, 1], [-4 + 1e-9, 1])


def exact_ball(x):
    """A number of mpmath as a ball without error."""
    sign, man, exponent, _ = x._mpf_
    return flint.arb(-int(man) if sign else int(man)) * flint.arb(2) ** exponent


def inside(ball, x):
    """Whether a ball holds a number of mpmath that has more digits than the ball."""
    return ball.contains(exact_ball(x))


@pytest.mark.parametrize("problem", [AWKWARD, SPHERE, CLOSE, SADDLE], ids=["awkward", "sphere", "close", "saddle"])
@pytest.mark.parametrize(("eps", "eps_a"), [(0.1, 1.0), (1.0, 0.8), (30.0, 1.5), (1e9, 1.0)])
def test_bngd_is_the_printed_update(problem, eps, eps_a):
    steps = [0, 1, 2, 17, 40]
    exact = exact_cell(problem, "bngd", {"eps": eps, "eps_a": eps_a}, 40, 1e-12, record=steps)
    with flint.ctx.workprec(2000):
        twin = bngd_run_mp(problem, eps, eps_a, 40, digits=500)
        for k in steps:
            for ball, column in zip(exact.trace[k], (twin.excess, twin.eps_eff, twin.a, twin.w_norm), strict=True):
                assert inside(ball, column[k])
                assert ball.rel_accuracy_bits() >= 64


@pytest.mark.parametrize("problem", [AWKWARD, SPHERE, CLOSE], ids=["awkward", "sphere", "close"])
@pytest.mark.parametrize("eps", [1e-4, 0.01, 0.03])
def test_gd_is_the_printed_update(problem, eps):
    steps = [0, 1, 2, 17, 40]
    exact = exact_cell(problem, "gd", {"eps": eps}, 40, 1e-280, record=steps)
    twin = gd_run_mp(problem, eps, 40, digits=500)
    with flint.ctx.workprec(2000):
        for k in steps:
            assert inside(exact.trace[k][0], twin.excess[k])
            assert inside(exact.trace[k][3], twin.w_norm[k])


@pytest.mark.parametrize(("scale", "eps"), [(1e-40, 1e-3), (0.0, 1e-50)])
def test_gd_far_below_the_solution(scale, eps):
    """The weights are a small difference of numbers near u: with too few bits no norm would be proved."""
    problem = OLSProblem([1.0, 3.0], [1.0, -2.0], np.array([3.0, 4.0]) * scale)
    n_steps = 0 if scale else 5
    exact = exact_cell(problem, "gd", {"eps": eps}, n_steps, 1e-10)
    expected = 5 * scale if scale else 5 * eps * np.sqrt(37)
    assert float(exact.w_norm) == pytest.approx(expected, rel=1e-14)
    ds = olsbn.sweep(problem, method="gd", eps=eps, n_steps=n_steps, progress=False)
    assert olsbn.certify(ds, 1, problem=problem).agrees.all()


def test_roots_of_a_tiny_gap_and_of_a_tiny_signal():
    """0 = tr H* - (tr H - sum p lambda): the roots' sum is known, to every digit."""
    for problem in (CLOSE, OLSProblem([1.0, 2.0, 3.0], [1e-150, 1.0, 1e-90]), AWKWARD):
        x = star(problem, 256).start
        mu = x.numbers["coupled"]["mu"]
        with precision(400):
            loud = {h for h, u in zip(problem.eigvals.tolist(), problem.u.tolist(), strict=True) if u}
            trace = sum(map(flint.arb, loud), flint.arb(0)) - x.facts["L"]
            assert sum(mu, flint.arb(0)).overlaps(trace)
            assert all(root.rel_accuracy_bits() > 250 for root in mu)


def test_the_plateau_in_many_digits():
    """A mode at the edge of stability, which rounding wakes: float64 is off by 25 decades here (THEORY, section 13)."""
    problem = OLSProblem.from_dataset("diabetes", standardize="inputs")
    exact = exact_cell(problem, "bngd", {"eps": 3.4e-4, "eps_a": 1.0}, 2000, 1e-10, record=[1000])
    twin = bngd_run_mp(problem, 3.4e-4, 1.0, 2000, digits=400)
    with flint.ctx.workprec(2000):
        for ball, k in ((exact.trace[1000][0], 1000), (exact.excess, 2000)):
            assert inside(ball, twin.excess[k]) and ball.rel_accuracy_bits() >= 64
    assert exact.steps_to_tol == next(k for k, x in enumerate(twin.excess) if x <= 1e-10)


def test_few_bits_a_step_are_lost():
    """The printed update loses about four a step."""
    problem = OLSProblem.from_dataset("diabetes", standardize="inputs")
    for eps in (1e-6, 2e-4, 1.0, 1e5):
        assert exact_cell(problem, "bngd", {"eps": eps, "eps_a": 1.0}, 2000, 1e-10).bits_lost < 0.05 * 2000
    # where eps_eff stands above 2/lambda*_d the dynamics itself amplifies: a few tenths of a bit
    assert exact_cell(problem, "bngd", {"eps": 3.4e-4, "eps_a": 1.0}, 2000, 1e-10).bits_lost < 0.5 * 2000


# -------------------------------------------------------------------- how runs end


def test_a_single_mode_never_moves():
    exact = exact_cell(OLSProblem([1], [1], [1], a0=2.0), "bngd", {"eps": 1e91, "eps_a": 0.5}, 100, 1e-10)
    assert exact.excess.overlaps(flint.arb(0.5) ** 200) and exact.excess.rel_accuracy_bits() >= 64
    assert (exact.status, exact.steps_to_tol) == (Status.CONVERGED, 17)  # 4^-17 is the first power below 1e-10


def test_a_start_on_u_stays_there():
    problem = OLSProblem([1, 2, 3], [1.0, 0.5, 0.25], [2.0, 1.0, 0.5], a0=0.0)
    exact = exact_cell(problem, "bngd", {"eps": 0.3, "eps_a": 0.5}, 50, 1e-10)
    assert exact.excess.overlaps(flint.arb(0.5) ** 100)
    problem = OLSProblem([1, 3], [1.0, 1.0], [2.0, 2.0], a0=2.0)  # E = 4: a is right as well
    exact = exact_cell(problem, "bngd", {"eps": 0.3, "eps_a": 0.5}, 50, 1e-10)
    assert (exact.status, exact.steps_to_tol, exact.n_steps_run) == (Status.CONVERGED, 0, 0)


def test_the_rules_are_those_of_the_engine():
    cases = [
        ("bngd", {"eps": 0.02, "eps_a": 1.0, "n_steps": 3000, "tol": 1e-6, "stop": "tol"}),
        ("bngd", {"eps": 0.02, "eps_a": 1.0, "n_steps": 50000, "tol": 1e-6, "stop": "steps"}),  # to the floor
        ("bngd", {"eps": 1e-9, "eps_a": 2.5, "n_steps": 3000, "tol": 1e-6, "stop": "steps"}),  # diverges
        ("bngd", {"eps": 0.0, "eps_a": 1.0, "n_steps": 10, "tol": 1e-6, "stop": "steps"}),
        ("bngd", {"eps": 0.1, "eps_a": 1.0, "n_steps": 0, "tol": 0.99, "stop": "steps"}),
        ("gd", {"eps": 0.02, "n_steps": 3000, "tol": 1e-6, "stop": "tol"}),
        ("gd", {"eps": 0.02, "n_steps": 10**9, "tol": 1e-6, "stop": "steps"}),
        ("gd", {"eps": 0.05, "n_steps": 3000, "tol": 1e-6, "stop": "steps"}),
        ("gd", {"eps": 0.0, "n_steps": 3000, "tol": 1e-6, "stop": "steps"}),
    ]
    seen = set()
    problem = OLSProblem(SPHERE.eigvals, SPHERE.u, SPHERE.w0, a0=2.0)
    for method, args in cases:
        ds = olsbn.sweep(problem, method=method, **args)
        proof = olsbn.certify(ds, problem=problem)
        assert proof.attrs["agree"] == 1, (method, args, proof)
        seen.add((int(proof.status_exact[0]), int(ds.n_steps_run) < args["n_steps"]))
    assert seen >= {(0, True), (1, False), (2, True)}


def test_converged_and_then_diverged():
    """The tolerance is reached on the way; that step stays, and the run has diverged."""
    problem = OLSProblem([1], [1], [1], a0=1 + 1e-3)
    exact = exact_cell(problem, "bngd", {"eps": 0.1, "eps_a": 2.5}, 500, 1e-5)
    assert (exact.status, exact.steps_to_tol) == (Status.DIVERGED, 0)
    problem = OLSProblem([1, 4], [1, 1], [0, 1 + 1e-12])
    exact = exact_cell(problem, "gd", {"eps": 0.75}, 500, 1e-5)
    assert exact.status == Status.DIVERGED and 0 < exact.steps_to_tol < exact.n_steps_run


def test_starts_that_cannot_begin():
    for problem, excess in (
        (OLSProblem([1, 4], [1, 1], [0, 0], a0=0.0), math.nan),
        (OLSProblem([1, 4], [1, 1], [-4, 1]), 1),
    ):
        exact = exact_cell(problem, "bngd", {"eps": 0.1, "eps_a": 1.0}, 10, 1e-10)
        assert exact.status == Status.DEGENERATE
        assert float(exact.excess.mid()) == pytest.approx(excess, nan_ok=True)
        assert olsbn.certify(olsbn.sweep(problem, eps=0.1, n_steps=10), problem=problem).agrees.all()


def test_numbers_that_are_zero():
    """a0 = 0, and w0 orthogonal to g with a0 = 1: eps_eff is 0 at first, which no ball around 0 proves."""
    for problem in (OLSProblem([1, 4], [1, 1], [1, 2], a0=0.0), OLSProblem([1, 4], [1, 1], [-4, 1], a0=1.0)):
        exact = exact_cell(problem, "bngd", {"eps": 0.1, "eps_a": 0.5}, 20, 1e-10, record=[0, 20])
        assert exact.trace[0][1].is_zero() and exact.trace[20][1].rel_accuracy_bits() >= 64
        assert exact_cell(problem, "bngd", {"eps": 1e-300, "eps_a": 1.0}, 1, 1e-10).eps_eff.rel_accuracy_bits() >= 64


def test_a_component_that_is_zero():
    """A ball around 0 has a square."""
    problem = OLSProblem([1.5e100, 1.8e100], [1.2, -1.6], [-6e79, 0.0], a0=-1.5e50)
    exact = exact_cell(problem, "bngd", {"eps": 0.0, "eps_a": 1.0}, 1, 1e-10)
    assert exact.w_norm.contains(6e79) and exact.w_norm.rel_accuracy_bits() >= 64


def test_a_tie_is_not_decided():
    """0.25^k meets the tolerance exactly: no number of bits tells on which side."""
    with pytest.raises(Undecided):
        exact_cell(OLSProblem([1, 8], [1.0, 1.0], [2.0, 2.0], a0=6.0), "bngd", {"eps": 0.1, "eps_a": 0.5}, 20, 2.0**-10)


# -------------------------------------------------------------------- Datasets


# the plateau left out, where rounding decides
GRID = {"eps": [1e-4, 1e-3, 1e-2, 2e-2, 1e3, 1e4, 1e5], "eps_a": [0.5, 1.0, 1.5], "n_steps": 300, "tol": 1e-3}


@pytest.fixture(scope="module")
def ds():
    return olsbn.sweep(SPHERE, **GRID)


def test_a_sweep_is_proved_right(ds):
    proof = olsbn.certify(ds, n=21, problem=SPHERE)
    assert (proof.attrs["cells"], proof.attrs["agree"], proof.attrs["refuted"]) == (21, 21, 0)
    assert proof.digits.min() > 9 and proof.digits_w_norm.min() > 9
    np.testing.assert_allclose(proof.excess_exact, ds.excess.values.ravel(), rtol=1e-9)
    assert (proof.eps_a.values == np.repeat(GRID["eps_a"], 7)).all() and proof.eps.dims == ("cell",)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("excess", lambda x: x * (1 + 1e-8)),
        ("eps_eff", lambda x: x * (1 - 1e-8)),
        ("a", lambda x: -x),
        ("w_norm", lambda x: x * np.nan),
        ("status", lambda x: x + 1),
        ("steps_to_tol", lambda x: x + 1),
    ],
)
def test_a_tampered_sweep_is_refuted(ds, name, change):
    bad = ds.isel(eps_a=[1]).copy(deep=True)
    bad[name][0, 3] = change(bad[name][0, 3])
    proof = olsbn.certify(bad, problem=SPHERE)
    assert (proof.attrs["refuted"], proof.attrs["agree"]) == (1, 6)
    assert not proof.agrees[3] and proof.proved.all()
    marked = bad.assign(by_rounding=bad.excess == bad.excess[0, 3])
    proof = olsbn.certify(marked, problem=SPHERE)
    assert (proof.attrs["refuted"], proof.attrs["refuted_marked"]) == (0, 1)


def test_the_draw(ds):
    marked = ds.assign(by_rounding=(ds.eps > 2e4) & (ds.eps_a > 0))  # 3 of 21
    proof = olsbn.certify(marked, n=8, seed=1, problem=SPHERE)
    assert proof.sizes["cell"] == 8 and int(proof.by_rounding.sum()) == 2
    other = olsbn.certify(marked, n=8, seed=2, problem=SPHERE)
    assert not np.array_equal(proof.eps, other.eps)
    assert olsbn.certify(marked, n=8, seed=1, problem=SPHERE).identical(proof)
    nothing = ds.copy(deep=True)
    nothing["status"][...] = Status.NOT_RUN
    with pytest.raises(ValueError, match="cells that were run"):
        olsbn.certify(nothing, problem=SPHERE)


def test_recorded_steps(ds):
    recorded = olsbn.sweep(SPHERE, **GRID, record=[0, 7, 300])
    proof = olsbn.certify(recorded, n=5, problem=SPHERE)
    assert proof.agrees.all() and proof.digits.dims == ("cell", "step") and proof.digits.shape == (5, 3)
    proof = olsbn.certify(recorded.isel(step=1), n=5, problem=SPHERE)
    assert proof.agrees.all() and proof.digits.dims == ("cell",)
    bad = recorded.copy(deep=True)
    bad["a"][1, 0, 2] *= 1 + 1e-8
    assert olsbn.certify(bad, n=21, problem=SPHERE).attrs["refuted"] == 1


def test_a_family_is_known():
    family = ProblemFamily("linspace", 10.0, seed=2)
    ds = olsbn.sweep(family, dim=[2, 3], trial=[0, 4], eps=[0.01, 1.0], n_steps=50)
    proof = olsbn.certify(ds)
    assert proof.agrees.all() and proof.sizes["cell"] == 8 and set(proof.dim.values) == {2, 3}


def test_a_reduced_sweep_is_proved_for_the_reduced_problem():
    problem = OLSProblem.from_spectrum("linspace", 60, 100.0)
    ds = olsbn.sweep(problem, eps=[0.01, 0.1], n_steps=20, reduce=30)
    assert olsbn.certify(ds, problem=problem).agrees.all()
    ds = olsbn.sweep(ProblemFamily("linspace", 100.0), dim=[60], eps=[0.01, 0.1], n_steps=20, reduce=30)
    assert olsbn.certify(ds).agrees.all()


def test_a_run_is_proved_right():
    for run in (olsbn.run_bngd(SPHERE, 0.02, n_steps=50000, record=1000), olsbn.run_gd(SPHERE, 0.02, n_steps=50)):
        proof = certified(run, SPHERE)
        assert proof.attrs["certified"] == 1 and proof.attrs["certified_digits"] > 9
        assert proof.digits.dims == ("step",) and (proof.digits > 9).all()
        assert proof.excess.identical(run.excess)
        bad = run.copy(deep=True)
        bad["excess"][10] *= 1 + 1e-6
        assert certified(bad, SPHERE).attrs["certified"] == 0


def test_run_proves_itself():
    run = olsbn.run(SPHERE, eps=0.02, n_steps=100, record=50, certify=True)
    assert run.attrs["certified"] == 1 and (run.digits > 9).all() and run.excess_exact.dims == ("step",)
    assert "digits" not in olsbn.run(SPHERE, eps=0.02, n_steps=100)
    assert all(method.exact is not None for method in olsbn.methods().values())


def test_what_cannot_be_certified(ds, monkeypatch):
    for args, message in [
        ({"n": 0}, "n must be >= 1"),
        ({"rel": 0.0}, "rel must be > 0"),
        ({"problem": None}, "problem must be given"),
        ({"problem": AWKWARD}, "problem must be the one"),
    ]:
        with pytest.raises(ValueError, match=message):
            olsbn.certify(ds, **({"problem": SPHERE} | args))
    monkeypatch.setitem(registry._all(), "toy", dataclasses.replace(METHODS["gd"], name="toy", exact=None))
    with pytest.raises(ValueError, match=r"method must be one of bngd, .* to be certified, got 'toy'"):
        olsbn.certify(ds.assign_attrs(method="toy"), problem=SPHERE)
    with pytest.raises(ValueError, match="a run to be certified must be without batches of its own"):
        olsbn.certify(ds.assign_attrs(method="minibatch", batches_sha256="0"), problem=SPHERE)
    with pytest.raises(ValueError, match="a result of sweep or run"):
        olsbn.certify(ds[["status"]], problem=SPHERE)
    with pytest.raises(TypeError, match="xarray"):
        olsbn.certify(None)


# -------------------------------------------------------------------- the command


def command(capsys, *args):
    """Return exit code, standard output and standard error of `olsbn certify`."""
    from olsbn.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["certify", *map(str, args)])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_command_on_a_store(tmp_path, capsys):
    store = tmp_path / "s.zarr"
    olsbn.sweep(SPHERE, **GRID, store=store, progress=False)
    code, out, _ = command(capsys, store, "--cells", 6, "--json", tmp_path / "proof.json")
    assert code == 0 and "6 cells" in out and "proved right to 1e-09     6" in out
    report = json.loads((tmp_path / "proof.json").read_text())
    assert report["attrs"]["agree"] == 6 and len(report["columns"]["excess_exact"]) == 6
    assert command(capsys, tmp_path, "--cells", 1)[0] == 0  # the directory that holds it
    # a number changed behind the checksums' back
    array = zarr.open_array(store / "excess", mode="r+")
    array[...] = array[...] * (1 + 1e-8)
    code, out, _ = command(capsys, store, "--cells", 6)
    assert code == 1 and "refuted, without mark     6" in out and out.count("  refuted: eps_a") == 6
    # and one that the checksums see
    chunk = next(path for path in (store / "excess" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    code, out, err = command(capsys, store)
    assert code == 2 and "damaged" in err and not out


def test_command_on_a_file(tmp_path, capsys):
    problem = OLSProblem.from_spectrum("logspace", 6, 50.0)
    file = tmp_path / "run.nc"
    olsbn.run_bngd(problem, 0.02, n_steps=60, record=20).to_netcdf(file, engine="h5netcdf")
    options = ("--spectrum", "logspace", "--dim", 6, "--cond", 50)
    code, out, _ = command(capsys, file, *options)
    assert code == 0 and "1 cells" in out
    (tmp_path / "map").mkdir()
    olsbn.sweep(problem, eps=[0.01, 0.02], n_steps=60).to_zarr(tmp_path / "map" / "map.zarr", consolidated=False)
    code, out, _ = command(capsys, tmp_path / "map", *options)
    assert code == 0 and "2 cells" in out
    code, _, err = command(capsys, file)
    assert code == 2 and "problem must be given" in err
    code, _, err = command(capsys, file, "--spectrum", "logspace", "--dim", 6, "--cond", 51)
    assert code == 2 and "fingerprint" in err
    code, _, err = command(capsys, tmp_path / "nothing")
    assert code == 2 and "does not exist" in err


@pytest.mark.parametrize("name", [name for name in METHODS if name != "gd"])  # plain GD is in closed form
def test_a_cell_begins_with_the_precision_that_is_asked_for(name):
    """What a proof hands out is rounded again with twice its bits where the first ones leave two floats possible."""
    X = np.random.default_rng(0).normal(size=(20, 3))
    problem = OLSProblem.from_samples(X, X @ [1.0, 2.0, -1.0] + 0.1)
    params = {} if name == "gdnp" else {"eps": 0.05}
    if METHODS[name].needs_sample:
        params["batch_size"] = 5.0
    assert exact_cell(problem, name, params, 20, 1e-10, bits=1024).bits >= 1024
