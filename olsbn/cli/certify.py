"""`olsbn certify`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from olsbn.cli.problem import make_problem, problem_named, problem_options
from olsbn.cli.results import open_result
from olsbn.cli.shell import FAILURES, bad_input, main, may_fail
from olsbn.files import path_or_url

if TYPE_CHECKING:
    import xarray as xr

_SHOWN = 10  # refuted cells


@main.command("certify")
@click.argument("result", metavar="RESULT")
@click.option("--cells", type=int, default=100, show_default=True, metavar="N", help="How many cells to draw.")
@click.option("--draw", type=int, default=0, show_default=True, metavar="S", help="Seed of the draw.")
@click.option("--json", "file", metavar="FILE", help="Write every cell to FILE.")
@problem_options
@click.pass_context
def certify_command(ctx: click.Context, result: str, cells: int, draw: int, file: str | None, **options: Any) -> None:
    r"""Run cells of a result again in ball arithmetic, and tell what of it is proved right.

    RESULT is the store of a sweep, a directory or a store of `olsbn map`, or a NetCDF file. Only the store of a
    sweep holds its problem: for the others a single problem is named as for `olsbn run`. Up to a quarter of the cells
    are drawn from those marked as decided by rounding. Exit code 1 if a cell without the mark is proved wrong.

    \b
    Examples:
      olsbn certify results/map-diabetes-standardized --data diabetes --standardize
      olsbn certify robust.zarr --cells 500 --json proof.json
      olsbn certify run.nc --data diabetes --standardize
    """
    with bad_input():
        from olsbn.results.proof import certify

        if file is not None and (not Path(file).parent.is_dir() or Path(file).is_dir()):
            raise ValueError(f"--json must be a file in a directory that exists, got {file}")
        ds = open_result(path_or_url(result))
        problem = make_problem(**options) if problem_named(options) else None
        began = time.perf_counter()
        proof = certify(ds, cells, draw, problem=problem, progress=None)
        seconds = time.perf_counter() - began
    click.echo(_text(proof, seconds))
    if file is not None:
        import json

        with may_fail(f"writing {file}"):
            scratch = Path(f"{file}.partial")
            scratch.write_text(json.dumps(_report(proof), indent=1, allow_nan=False) + "\n")
            scratch.replace(file)
    if proof.attrs["refuted"]:
        ctx.exit(FAILURES)


def _text(proof: xr.Dataset, seconds: float) -> str:
    facts, decided = proof.attrs, proof.isel(cell=proof.proved.values)
    marked = int(proof.by_rounding.sum())
    lines = [
        f"{facts['title']}: {facts['cells']} cells in ball arithmetic, {seconds:.1f} s",
        f"proved right to {facts['rel']:g}     {facts['agree']}",
        f"refuted, without mark     {facts['refuted']}",
        f"marked by_rounding        {marked}" + (f" ({facts['refuted_marked']} of them wrong)" if marked else ""),
        f"not decided               {facts['undecided']}",
    ]
    if decided.sizes["cell"]:
        steps = max(int(facts["n_steps"]), 1)
        good = decided.isel(cell=decided.agrees.values)
        if good.sizes["cell"]:
            names = {"excess": "digits", "eps_eff": "digits_eps_eff", "a": "digits_a", "w_norm": "digits_w_norm"}
            fewest = ", ".join(f"{name} {float(good[digits].min()):.1f}" for name, digits in names.items())
            lines.append(f"digits proved, at least   {fewest}")
        lines.append(
            f"precision                 {int(decided.bits.min())} to {int(decided.bits.max())} bits, "
            f"median loss {float(decided.bits_lost.median()) / steps:.3f} bits a step"
        )
    wrong = proof.isel(cell=(proof.proved & ~proof.agrees & ~proof.by_rounding).values)
    for i in range(min(wrong.sizes["cell"], _SHOWN)):
        cell = wrong.isel(cell=i)
        where = ", ".join(f"{name} {cell[name].item():.6g}" for name in cell.coords if name != "step")
        lines.append(
            f"  refuted: {where or 'the run'}: exact excess {float(cell.excess_exact.min()):.6g} "
            f"({float(cell.digits.min()):.1f} digits right), steps to tol {int(cell.steps_to_tol_exact)}, "
            f"eps_eff {float(cell.digits_eps_eff.min()):.1f} digits"
        )
    if wrong.sizes["cell"] > _SHOWN:
        lines.append(f"  ... and {wrong.sizes['cell'] - _SHOWN} more")
    return "\n".join(lines)


def _report(proof: xr.Dataset) -> dict[str, Any]:
    """Return everything as JSON takes it: what is not a finite number is null."""
    import math

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(x) for x in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    facts = {name: plain(v.tolist() if hasattr(v, "tolist") else v) for name, v in proof.attrs.items()}
    columns = {str(name): plain(values.values.tolist()) for name, values in proof.variables.items()}
    return {"attrs": facts, "columns": columns}
