"""Cells that some version of the engine got wrong, and a small sample of `tests/stress/audit.py`: none is missed."""

import numpy as np
import pytest
from stress import audit


def complaints(case):
    """Return what is wrong without a flag, or what stays undecided."""
    counts, missed, _ = audit.judge(case)
    assert counts["cells"] > 0
    return [(row["params"], row["wrong"]) for row in missed] + ["undecided"] * counts["undecided"]


@pytest.mark.parametrize("case", list(audit.fixed()), ids=lambda case: f"{case.method}-{'-'.join(case.params)}")
def test_fixed_cells(case):
    assert not complaints(case)


@pytest.mark.parametrize(("i", "group"), list(enumerate(audit.GROUPS)))
def test_a_sample_of_each_group(i, group):
    assert not audit.unknown_params(group)
    for index in range(3 * i, 3 * i + 3):
        case = audit.draw(17, index, groups=[group], few=True)
        assert not complaints(case), case.origin


def test_errors_are_seen(monkeypatch):
    """An engine that is off by 2e-9, or that ends otherwise, is caught; one that is off by 2e-10 is not."""
    case = audit.draw(17, 0, groups=["plain"], kinds=["random"], few=True)
    engine, counted = list(audit.found(case)), {}
    changes = {
        "as it is": lambda numbers, ends: (numbers, ends),
        "2e-10": lambda numbers, ends: (numbers | {"excess": numbers["excess"] * (1 + 2e-10)}, ends),
        "2e-9": lambda numbers, ends: (numbers | {"excess": numbers["excess"] * (1 + 2e-9)}, ends),
        "nan": lambda numbers, ends: (numbers | {"excess": numbers["excess"] * np.nan}, ends),
        "status": lambda numbers, ends: (numbers, ends | {"status": 4}),
        "steps_to_tol": lambda numbers, ends: (numbers, ends | {"steps_to_tol": 7}),
    }
    for name, change in changes.items():
        cells = [(params, *change(numbers, ends), flags & False) for params, numbers, flags, ends in engine]
        cells = [(params, numbers, flags, ends) for params, numbers, ends, flags in cells]
        monkeypatch.setattr(audit, "found", lambda case, cells=cells: cells)
        counts, missed, _ = audit.judge(case)
        assert len(missed) == counts["missed"]
        counted[name] = counts["missed"] / counts["cells"]
    assert counted == {"as it is": 0, "2e-10": 0, "2e-9": 1, "nan": 1, "status": 1, "steps_to_tol": 1}
