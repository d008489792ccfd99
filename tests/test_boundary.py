"""The boundary between answers: box-counting dimensions of sets whose dimension is known, and of runs."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import olsbn
from olsbn.cli import main
from olsbn.search.boundary import refine, slope


def line(u, v):
    return v > 0.3 + 0.37 * u


def circle(u, v):
    return (u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.1


def basilica(u, v):
    """Whether z <- z^2 - 1 stays bounded: the boundary is a Julia set."""
    z, escaped = (u * 3.4 - 1.7) + 1j * (v * 2 - 1), np.zeros(u.shape, bool)
    for _ in range(80):
        with np.errstate(all="ignore"):
            z = np.where(escaped, z, z * z - 1)
            escaped |= np.abs(z) > 4
    return escaped


def cantor(u, v):
    """The parity of the first ternary digit that is 1: the boundary is the Cantor set times a line."""
    found, t = np.zeros(u.shape, np.int64), u.copy()
    for k in range(1, 30):
        t = t * 3
        digit = np.minimum(t.astype(int), 2)
        t -= digit
        found = np.where((found == 0) & (digit == 1), k % 2 + 1, found)
    return found


@pytest.mark.parametrize(
    ("label", "dimension", "most"),
    [(line, 1.0, 0.03), (circle, 1.0, 0.03), (basilica, 1.268, 0.1), (cantor, 1 + np.log(2) / np.log(3), 0.25)],
)
def test_the_dimension_of_known_sets_lies_within_the_uncertainty(label, dimension, most):
    found, uncertainty, _, _ = slope(refine(label, 11).counts)
    assert abs(found - dimension) <= uncertainty <= most


def test_refinement_finds_the_boxes_of_the_whole_grid():
    """Of a connected boundary nothing is missed, at a small part of the cells."""
    found = refine(circle, 8)
    t = np.arange(2**8 + 1) / 2**8
    whole = circle(*np.meshgrid(t, t, indexing="ij"))
    corners = np.stack([whole[:-1, :-1], whole[1:, :-1], whole[:-1, 1:], whole[1:, 1:]])
    expected = np.argwhere((corners != corners[0]).any(axis=0))
    assert {tuple(box) for box in found.boxes} == {tuple(box) for box in expected}
    assert found.counts[8] == len(expected)
    assert found.keys.size < 0.12 * whole.size


def test_gd_s_edge_is_a_smooth_line():
    problem = olsbn.OLSProblem.from_spectrum("logspace", dim=5, cond=10.0)
    found = olsbn.zoom(
        problem, "gd", x=("eps", 0.05, 0.5), y=("momentum", 0.0, 0.9), n_steps=20_000, tol=1e-3, levels=7
    )
    assert found.dimension == pytest.approx(1, abs=0.1)
    edge = 2 * (1 + found.y) / 10  # Polyak: eps lambda_max = 2 (1 + m)
    assert float(abs(found.x / edge - 1).max()) < 0.05


def test_answers_are_those_of_runs():
    problem = olsbn.OLSProblem.from_spectrum("logspace", dim=5, cond=10.0)
    found = olsbn.zoom(problem, x=("eps", 0.01, 1e3), y=("eps_a", 0.2, 2.5), what="steps", n_steps=100, levels=7)
    k = len(found.x) // 2
    x, y = float(found.x[k]), float(found.y[k])
    half_x, half_y = (1e5) ** (0.5 / 2**7), 2.3 * 0.5 / 2**7
    steps = [
        olsbn.run(problem, eps=x * half_x**i, eps_a=y + half_y * j, n_steps=100).attrs["steps_to_tol"]
        for i in (-1, 1)
        for j in (-1, 1)
    ]
    assert len({-1 if s < 0 else int(np.log2(max(s, 1))) for s in steps}) > 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": ("eps", 1.0, 0.1)}, "low < high"),
        ({"x": ("eps", 1.0)}, "name, low, high"),
        ({"x": ("rate", 0.1, 1.0)}, "must be one of"),
        ({"y": ("eps", 0.1, 1.0)}, "different"),
        ({"what": "colour"}, "status, steps, sign"),
        ({"levels": 3}, "levels must be >= 7"),
        ({"x": ("eps", 1e-9, 2e-9)}, "boundary"),
    ],
)
def test_bad_input_is_refused(change, words):
    problem = olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[1.0, -0.5])
    how = {"x": ("eps", 0.1, 1.0), "y": ("eps_a", 0.5, 1.5), "n_steps": 10, "levels": 7} | change
    with pytest.raises((ValueError, TypeError), match=words):
        olsbn.zoom(problem, **how)


def test_the_command_prints_and_writes(tmp_path):
    path = tmp_path / "zoom.json"
    line = "zoom --spectrum logspace --dim 3 --cond 10 --method gd --x eps=0.05:0.5 --y momentum=0:0.9 --steps 300"
    found = CliRunner().invoke(main, [*line.split(), "--levels", "7", "--json", str(path)])
    assert found.exit_code == 0, found.output
    table = json.loads(path.read_text())
    assert f"dimension   {table['dimension']:.3f} +- " in found.output
    bad = CliRunner().invoke(main, line.replace("eps=0.05:0.5", "eps").split())
    assert bad.exit_code == 2 and "NAME=LO:HI" in bad.output
