"""Deliberate faults in the descriptions, the engine and the theory of rates: which ordinary test catches which.

    python tests/stress/faults.py [NAME ...] [--list]

Each fault is one replacement in a copy of the package. The test that is expected to catch it is run first; if it does
not, all files that are about steps. Exit code 1 if a fault is caught by none.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FILES = ("test_steps.py", "test_ending.py", "test_rates.py", "test_by_rounding.py", "test_audit.py", "test_dynamics.py")


class Fault(NamedTuple):
    """A replacement in a file of the package, and where it should be seen first."""

    file: str
    old: str
    new: str
    expected: str  # what pytest is given


_STEPS = "dynamics/normalizers.py"
_FALLS = "weight_decay-eps_power-eps_factor-eps_a_power"
_HUGE = "test_steps.py::test_steps_out_of_range_are_rescaled"
_UNITS = "test_by_rounding.py::test_other_units_are_the_same_run"
_CELLS = "test_audit.py::test_fixed_cells"


def _twin(forms, kind):
    return f"test_steps.py::test_each_variant_is_the_printed_update[{forms}-{kind}]"


FAULTS = {
    "decay ignores its schedule": Fault(
        _STEPS, "R = x.decay if heavy else x.decay * x.factor", "R = x.decay", _twin(f"bngd:{_FALLS}", "null_space")
    ),
    "a's learning rate ignores its schedule": Fault(
        _STEPS, "x.eps_a * x.factor_a\n", "x.eps_a\n", _twin(f"bngd:{_FALLS}", "null_space")
    ),
    "wrong sign of theta": Fault(
        _STEPS,
        "B = chi * fma(-theta, delta * cos, n)",
        "B = chi * fma(theta, delta * cos, n)",
        _twin("wngd:plain", "random"),
    ),
    "no Nesterov in a": Fault(
        _STEPS,
        "step_a = where(nesterov, fma(m, y_a, step_a), y_a)",
        "step_a = y_a",
        _twin("bngd:momentum-nesterov", "other_scale"),
    ),
    "no Nesterov along u": Fault(
        _STEPS,
        "step = where(nesterov, fma(m, y_beta, along), y_beta)",
        "step = y_beta",
        _twin("bngd:momentum-nesterov", "random"),
    ),
    "the null space does not shrink": Fault(
        _STEPS, '"null": x.null - step_null', '"null": x.null', _twin(f"bngd:{_FALLS}", "null_space")
    ),
    "the null space forgets momentum": Fault(
        _STEPS, "fma(m, x.y_null, null), fma", "null, fma", _twin(f"bngd:momentum-{_FALLS}", "null_space")
    ),
    "the buffer along u is not rescaled": Fault(
        _STEPS, '"y_beta": (1, 0)', '"y_beta": (0, 0)', f"{_HUGE}[bngd:momentum]"
    ),
    "the null space is not rescaled": Fault(_STEPS, '"null": (1, -0.5),', '"null": (0, -0.5),', f"{_HUGE}[bngd:plain]"),
    "b does not change with the units": Fault(_STEPS, '"b": (0, 1)', '"b": (0, 0)', f"{_UNITS}[star:plain]"),
    "eps changes wrongly with the units": Fault(_STEPS, '"eps": (2, -1)', '"eps": (2, 0)', f"{_UNITS}[star:plain]"),
    "no cell is run in other units": Fault("engine/cells.py", "N_AGAIN] == 1)", "N_AGAIN] == 2)", _CELLS),
    "a's factor does not count for rounding": Fault(
        _STEPS,
        "return largest(largest(slow * slow, fast * fast), scale * scale)",
        "return largest(slow * slow, fast * fast)",
        "test_by_rounding.py::test_a_scale_that_decays_slower_than_the_modes",
    ),
    "modes' factors do not count for rounding": Fault(
        _STEPS,
        "return largest(largest(slow * slow, fast * fast), scale * scale)",
        "return scale * scale",
        _CELLS,
    ),
    "both runs round alike": Fault(
        "engine/cells.py",
        "_DIFFERENT, _VISIBLE = 1e-10, 1e-12",
        "_DIFFERENT, _VISIBLE = 1e9, 1e9",
        _CELLS,
    ),
    "no flag for slaved modes that may have grown": Fault(
        "engine/emit.py",
        "2.0**-34, 1e-13, 1e-12",
        "2.0**340, 1e-13, 1e-12",
        "test_dynamics.py::test_a_slaved_mode_does_not_burst_by_rounding",
    ),
    "no mode is slaved": Fault(
        "engine/emit.py",
        "(own < share) & (turn > 1.9)",
        "(own < share) & (turn > 1.9e9)",
        "test_dynamics.py::test_a_slaved_mode_does_not_burst_by_rounding",
    ),
    "decoupled modes may underflow": Fault(
        _STEPS,
        "force = p.seed if group == DECOUPLED else b * c.B",
        "force = b * c.B",
        "test_dynamics.py::test_a_damped_mode_can_always_grow_again",
    ),
    "drift along u stays": Fault(
        _STEPS, "new = _moved(c, x.s - c.drift, x.y,", "new = _moved(c, x.s, x.y,", _twin("bngd:momentum", "random")
    ),
    "the start is split in float64": Fault(
        "engine/split.py",
        "x, x_low = dd_add(tw, tw_low, -m, -m_low)",
        "x, x_low = tw - m, 0.0",
        _twin("bngd:plain", "near_solution"),
    ),
    "what is across u in equal eigenvalues is lost": Fault(
        "engine/split.py", "across[g] = math.sqrt(rest) * lam", "across[g] = 0.0", _twin("bngd:plain", "equal_eigvals")
    ),
    "theory's rate has no null space": Fault(
        "theory/normalizers.py",
        "lost = null_share * (top / problem.explained_var)",
        "lost = 0.0 * null_share",
        "test_rates.py::test_measured_rates_are_those_of_theory[smoothing]",
    ),
    "theory's rate knows no Nesterov": Fault(
        "theory/normalizers.py",
        "half = np.abs(1 + m - (1 + m * n) * mu) / 2",
        "half = np.abs(1 + m - mu) / 2",
        "test_rates.py::test_measured_rates_are_those_of_theory[nesterov]",
    ),
    "no hidden slower mode is searched": Fault(
        "engine/rates.py",
        "slow, fast = turn * slow, turn * fast",
        "slow, fast = turn * fast, turn * fast",
        "test_rates.py",
    ),
    "a coupled scale has the rate of an uncoupled one": Fault(
        "engine/rates.py", "if couple != 0.0:\n        slow", "if couple > 9e99:\n        slow", "test_rates.py"
    ),
    "momentum ends at the first step at the floor": Fault(
        "engine/ending.py", "(not may_return or previous <= floor)", "True", "test_ending.py"
    ),
    "a run that was at the tolerance cannot diverge": Fault(
        "engine/ending.py", "if excess > limit:", "if excess > limit and hit < 0:", "test_ending.py"
    ),
}


def copy_with(fault, folder):
    """Copy package and tests to a folder, with the fault in it."""
    shutil.copytree(ROOT / "olsbn", folder / "olsbn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", folder)
    path = folder / "olsbn" / fault.file
    text = path.read_text()
    if fault.old not in text:
        raise ValueError(f"{fault.old!r} is no longer in {fault.file}")
    path.write_text(text.replace(fault.old, fault.new))


def caught_by(folder, what):
    """Return the first test that fails, None if all pass."""
    env = os.environ | {"PYTHONPATH": str(folder)}  # compiled code is kept by what it was compiled from
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in what)],
        cwd=folder, env=env, capture_output=True, text=True,
    )  # fmt: skip
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    if done.returncode not in (0, 1) or (done.returncode == 1 and not found):
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return found.group(1) if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="faults to try; all by default")
    parser.add_argument("--list", action="store_true", help="only print their names")
    args = parser.parse_args()
    missed = []
    for name, fault in FAULTS.items():
        if args.names and name not in args.names:
            continue
        if args.list:
            print(name)
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            copy_with(fault, Path(folder))
            test = caught_by(Path(folder), [fault.expected]) or caught_by(Path(folder), FILES)
        missed += [name] if test is None else []
        print(f"{name:50s} {test or 'NOT CAUGHT'} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
