"""The fixed cells of the audit and a small sample of each group: none is wrong without a flag.

PYTHONPATH=tests python -m pytest tests/stress/audit_sample.py
"""

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


@pytest.mark.parametrize("group", audit.GROUPS)
def test_a_sample_of_each_group(group):
    assert not audit.unknown_params(group)
    for index in range(5):
        case = audit.draw(17, index, groups=[group], few=True)
        assert not complaints(case), case.origin
