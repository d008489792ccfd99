"""benchmarks/engine.py: contestants do the same work, the limit is of the kernel's instructions, tables hold."""

import copy
import importlib
import json
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from olsbn.engine.vectors import VECTOR
from olsbn.problems import OLSProblem
from olsbn.sweeps.running import sweep

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import engine  # noqa: E402  (no package)


def test_contestants_agree():
    work = engine.Work(12, 64, 30)
    runs = engine.contestants(work.dim)
    assert len(runs) >= 6 and len(engine.contestants(10_000)) < len(runs)
    for name, run in runs.items():
        np.testing.assert_allclose(run(work), engine.engine(work), rtol=1e-12, err_msg=name)


def test_the_limit_is_of_the_kernels_instructions():
    assert engine.limit(1, n=2)() > 0
    code = "\n".join(engine._run_pipes.inspect_asm().values())
    if "zmm" not in code or VECTOR != 8:
        pytest.skip("other vectors")
    mixes = engine._REPEATS * engine._CHAINS
    assert len(re.findall(r"vfn?madd\w+pd", code)) == 4 * mixes and code.count("vmulpd") == mixes


RESULT = {
    "machine": {"processor": "abacus", "processors": 2},
    "repeats": 3,
    "table": [
        {"dim": 100, "name": "olsbn", "mode_steps_per_s": 4e9, "engine_over_it": 1.0, "error": 0.0},
        {"dim": 100, "name": "other", "mode_steps_per_s": 1e9, "engine_over_it": 4.0, "error": 2e-15},
        {"dim": 1000, "name": "olsbn", "mode_steps_per_s": 5e9, "engine_over_it": 1.0, "error": 0.0},
        {"dim": 100, "name": "limit", "mode_steps_per_s": 8e9, "engine_over_it": 0.5, "error": None},
    ],
    "kernels": [
        {
            "dim": 100, "star": 3e9, "deflated": 2e9, "limit": 4e9, "star_over_deflated": 1.5, "star_over_limit": 0.75,
            "set_up_s": 2e-3,
        }
    ],
    "maps": [{"name": "map", "mode_steps": 1e11, "seconds": 20.0, "process_seconds": 21.5}],
}  # fmt: skip


def test_tables(tmp_path):
    text = engine.report(RESULT)
    for line in (
        "| **olsbn** | 4 | 5 |",
        "| other | 1 (4×) |  |",
        "| limit of the arithmetic pipes | 8 (0.5×) |  |",
        "All contestants agree on the excess of every cell to 2e-15.",
        "| its share of the limit | 75% |",
        "| eigenbasis over deflated | 1.50× |",
        "| map | 20.0 | 21.5 | 5.00 |",
    ):
        assert line in text.splitlines()
    quick = copy.deepcopy(RESULT)
    del quick["maps"]
    assert "| map |" not in engine.report(quick)
    for name, table in (("benchmark", text), ("kernels", engine.kernel_table(RESULT))):
        path = tmp_path / f"{name}.md"
        path.write_text(f"before\n<!-- {name}: begin -->\nold\n<!-- {name}: end -->\nafter\n")
        engine.write_into(path, engine.BLOCKS, RESULT)
        assert path.read_text() == f"before\n<!-- {name}: begin -->\n{table}\n<!-- {name}: end -->\nafter\n"
    (tmp_path / "none.md").write_text("no marks")
    with pytest.raises(ValueError, match="once, NAME benchmark or kernels"):
        engine.marked(tmp_path / "none.md", engine.BLOCKS)


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("engine", "docs/benchmarks.md"),
        ("engine", "docs/design.md"),
        ("methods", "docs/benchmarks.md"),
        ("methods", "README.md"),
    ],
)
def test_committed_tables_are_of_the_committed_numbers(program, name):
    if program == "methods":
        pytest.importorskip("jax")
    file = {"engine": "bench", "methods": "methods"}[program]
    result = json.loads((ROOT / "figures" / "bench" / f"{file}.json").read_text())
    blocks = importlib.import_module(program).BLOCKS
    block, before, after = engine.marked(ROOT / name, blocks)
    text = f"{before}\n{blocks[block](result)}\n{after}"
    assert text == (ROOT / name).read_text(), f"benchmarks/{program}.py --of figures/bench/{file}.json --update {name}"


def test_operations_of_a_mode_are_those_of_the_step():
    """Plain BNGD has five: two for the mode's factor and its force, one that joins them, and two sums."""
    import operations

    problem = OLSProblem.from_spectrum("logspace", 6, 10.0)
    for params, expected in (({}, 5), ({"momentum": 0.5}, 7), ({"weight_decay": 0.1}, 5), ({"smoothing": 0.1}, 8)):
        run = partial(sweep, problem, eps=[0.1], n_steps=2, progress=False, check_rounding=False, **params)
        [kind] = operations.kinds_of(run)
        assert operations.operations_a_mode(kind) == expected
