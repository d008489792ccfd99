"""What a method must do, as tests.

Subclass `MethodTests`, name the method, write its update once more as a plain loop (`twin`), and let pytest collect the
class.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olsbn.dynamics import registry
from olsbn.dynamics.base import Method, Param
from olsbn.dynamics.predictions import no_rate
from olsbn.problems import OLSProblem
from olsbn.results.comparison import compare
from olsbn.results.proof import certify
from olsbn.runs import run
from olsbn.schema import Status
from olsbn.sweeps import running
from olsbn.sweeps.running import digest, sweep
from olsbn.sweeps.spec import SweepSpec


class MethodTests:
    """Tests of a `Method`. A subclass gives `METHOD` and `twin`, and what else it wants otherwise.

    Attributes
    ----------
    METHOD : Method
        The method; it need not be registered.
    RTOL : float
        To this the twin has to agree, where the rounding flag is not set.
    """

    METHOD: Method
    RTOL = 1e-9

    def twin(self, H: Any, g: Any, w0: Any, a0: float, params: dict[str, float], n_steps: int) -> dict[str, Any]:
        """Return what a plain loop makes of the update, written from the formulas.

        `H` (d, d), `g` and `w0` (d,) are in the coordinates of the inputs, which are not the eigenbasis of H that
        tiles run in: an update that treats coordinates one by one is found here. They are of type longdouble. Return
        ``theta``, the coefficients of the predictions at steps 0..n_steps, (n_steps + 1, d), and any of the method's
        columns by name, (n_steps + 1,).
        """
        raise NotImplementedError

    def values(self, param: Param) -> list[float]:
        """Return some values of a parameter, the neutral one first."""
        if param.name == "eps":
            return [0.05, 0.02, 0.1]
        if param.default is None:
            return [max(param.low, 3.0), max(param.low, 3.0) + 1]
        other = param.default + (1 if param.kind == "count" else 0.25)
        return [param.default, other if other <= param.high else param.default * 0.75]

    @pytest.fixture
    def method(self) -> Method:
        """The method."""
        return self.METHOD

    @pytest.fixture
    def problem(self, method: Method) -> OLSProblem:
        """A problem with what the method needs."""
        if not method.needs_sample:
            return OLSProblem.from_spectrum("logspace", 6, 20.0)
        X = np.random.default_rng(0).standard_normal((40, 6)) * np.geomspace(1, 4, 6)
        return OLSProblem.from_samples(X, X @ np.ones(6))

    @pytest.fixture(autouse=True)
    def registered(self, method: Method, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Offer the method to the package."""
        monkeypatch.setitem(registry._all(), method.name, method)
        yield

    def grids(self, method: Method) -> dict[str, list[float]]:
        """Return some values of each parameter."""
        return {param.name: self.values(param) for param in method.params}

    def swept(self, problem: OLSProblem, method: Method, **changes: Any) -> Any:
        """Return a sweep over `grids`."""
        options: dict[str, Any] = {"method": method.name, "n_steps": 40, "progress": False}
        return sweep(problem, **options | self.grids(method) | changes)

    def test_axes_and_columns_are_those_declared(self, method: Method, problem: OLSProblem) -> None:  # noqa: D102
        ds = self.swept(problem, method, record=[0, 40])
        others = [param.name for param in method.params if param.name not in ("eps", "eps_a")]
        last = [name for name in ("eps_a", "eps") if name in {param.name for param in method.params}]
        assert ds["status"].dims == (*others, *last)
        assert list(ds.data_vars) == list(method.variables)
        assert (ds["status"] >= 0).all() and ds.attrs["method"] == method.name
        for name, column in method.variables.items():
            assert ds[name].dtype == column.dtype and ds[name].attrs["long_name"] == column.meaning
            assert ("step" in ds[name].dims) == column.recorded
            if column.dtype == "float64" and column.recorded:  # `a` of a method without a scale is NaN throughout
                assert ds[name].notnull().any() or name in ("a", "excess_running", "excess_batch", "gap")
        for param in method.params:
            assert ds[param.name].values.tolist() == self.grids(method)[param.name]
            assert ds[param.name].attrs["long_name"] == param.meaning
            assert ds[param.name].attrs["symbol"] == param.symbol

    def test_it_agrees_with_its_twin(self, method: Method) -> None:  # noqa: D102
        rng = np.random.default_rng(0)
        Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
        eigvals, u, w0 = np.geomspace(1, 8, 5), rng.standard_normal(5), rng.standard_normal(5)
        problem = OLSProblem(eigvals, u, w0)
        Q, exact = Q.astype(np.longdouble), problem.eigvals.astype(np.longdouble)
        H, g, start = (Q * exact) @ Q.T, Q @ (exact * problem.u), Q @ problem.w0
        ds = self.swept(problem, method, record=[0, 1, 7, 40])
        best, tried = Q @ problem.u, 0
        for place in np.ndindex(ds["status"].shape):
            cell = ds.isel(dict(zip(ds["status"].dims, place, strict=True)))
            params = {param.name: float(cell[param.name]) for param in method.params}
            found = dict(self.twin(H, g, start, problem.a0, params, 40))
            theta = np.asarray(found.pop("theta"))
            error = theta - best
            found["excess"] = np.einsum("ki,ij,kj->k", error, H, error) / (best @ H @ best)
            sure = np.ones(4, bool)
            if "by_rounding" in cell:
                sure = ~cell["by_rounding"].values
            sure &= np.isfinite(cell["excess"].values) & (cell["excess"].values > 1e-25)
            for name, values in found.items():
                here = np.asarray(values)[[0, 1, 7, 40]].astype(float)
                np.testing.assert_allclose(
                    cell[name].values[sure], here[sure], rtol=self.RTOL, err_msg=f"{name} at {params}"
                )
            tried += int(sure.sum())
        assert tried > 0

    def test_a_run_is_the_cell_of_a_sweep(self, method: Method, problem: OLSProblem) -> None:  # noqa: D102
        ds = self.swept(problem, method, record=[0, 7, 40])
        for number in np.random.default_rng(1).permutation(ds["status"].size)[:5]:
            at = dict(zip(ds["status"].dims, np.unravel_index(number, ds["status"].shape), strict=True))
            cell = ds.isel(at)
            params: dict[str, Any] = {name: float(cell[name]) for name in ds["status"].dims}
            one = run(problem, method.name, n_steps=40, **params)
            for name in one.data_vars.keys() & ds.data_vars.keys():
                np.testing.assert_array_equal(one[name].sel(step=[0, 7, 40]), cell[name])
            assert one.attrs["steps_to_tol"] == int(cell["steps_to_tol"])
            np.testing.assert_array_equal(one.attrs["rate_sim"], cell["rate_sim"])

    def test_tiles_threads_and_order_change_no_bit(self, method: Method, problem: OLSProblem) -> None:  # noqa: D102
        spec = SweepSpec.checked(problem, method.name, self.grids(method), n_steps=40, record=[3, 40])

        def computed(parts: Any, workers: int) -> str:
            arrays = spec.empty()
            for tile, result in running.results(spec, parts, workers=workers, progress=False):
                for name, block in result.items():
                    arrays[name][spec.full_index(name, tile)] = block
            return digest(spec.dataset(arrays))

        whole = computed(list(spec.tiles(spec.shape[1:])), 1)
        assert whole == computed(list(spec.tiles((1,)))[::-1], 3) == computed(list(spec.tiles((2,))), 2)

    def test_neutral_values_change_nothing(self, method: Method, problem: OLSProblem) -> None:  # noqa: D102
        neutral = {p.name: p.default for p in method.params if p.default is not None}
        alone = self.swept(problem, method, **neutral)
        for name, value in neutral.items():
            ds = self.swept(problem, method, **{other: at for other, at in neutral.items() if other != name})
            np.testing.assert_array_equal(ds.sel({name: value})["excess"], alone["excess"])
        needed = {p.name: self.values(p)[0] for p in method.params if p.default is None}
        every = {p.name: self.values(p)[0] for p in method.params}
        specs = [SweepSpec.checked(problem, method.name, given, n_steps=5) for given in (needed, every)]
        assert specs[0].fingerprint == specs[1].fingerprint

    def test_bad_values_are_refused_in_one_sentence(self, method: Method, problem: OLSProblem) -> None:  # noqa: D102
        for param in method.params:
            bad: Any
            for bad, message in ((param.low - 1, "must be >= "), (np.nan, "must be finite"), ([[1.0]], "a vector")):
                with pytest.raises(ValueError, match=f"^{param.name} .*{message}") as caught:
                    self.swept(problem, method, **{param.name: bad})
                assert "\n" not in str(caught.value)

    def test_it_goes_on_where_it_was_stopped(self, method: Method, problem: OLSProblem, tmp_path: Path) -> None:  # noqa: D102
        first: dict[str, Any] = {param.name: self.values(param)[:2] for param in method.params[:3]}
        spec = SweepSpec.checked(problem, method.name, first, n_steps=40, record=[0, 40], tile=(1,))
        half, n_run = running.fill(spec, tmp_path / "s.zarr", shard=(1, 2), progress=False)
        assert n_run == -(-spec.n_cells // 2) == len(half.done())
        store, n_run = running.fill(spec, tmp_path / "s.zarr", progress=False)
        assert n_run == spec.n_cells // 2 and store.spec.facts() == spec.facts()
        in_memory = sweep(problem, method=method.name, **first, n_steps=40, record=[0, 40], progress=False)
        assert digest(store.dataset()) == digest(in_memory)

    def test_rates_are_those_of_theory(self, method: Method, problem: OLSProblem) -> None:  # noqa: D102
        if method.theory.rate is no_rate:
            return  # nothing is said
        neutral = {p.name: p.default for p in method.further}
        ds = self.swept(problem, method, n_steps=20_000, **neutral)
        found = compare(ds, problem)
        assert found.attrs["rate_disagrees"] == 0 and found.attrs["rate_agrees"] > 0

    def test_what_is_not_flagged_is_proved(self, method: Method, problem: OLSProblem) -> None:  # noqa: D102
        if method.exact is None:
            return  # there are no proofs of it; the twin has more digits than the run
        if importlib.util.find_spec("flint") is None:
            pytest.skip('proofs need python-flint: pip install "olsbn[certify]"')
        found = certify(self.swept(problem, method), n=8, problem=problem, progress=False)
        assert found.attrs["refuted"] == 0 and found.attrs["agree"] > 0
        assert not np.isin(found["status_exact"], Status.NOT_RUN).any()
