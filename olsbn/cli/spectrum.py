"""`olsbn spectrum`."""

from __future__ import annotations

import math
from typing import Any

import click

from olsbn.cli.problem import make_problem, problem_options
from olsbn.cli.shell import bad_input, main
from olsbn.cli.text import numbers_text, remarks


@main.command("spectrum")
@problem_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every eigenvalue.")
def spectrum_command(as_json: bool, **named: Any) -> None:
    r"""Print the spectra of H and H*, thresholds and best rates.

    \b
    Examples:
      olsbn spectrum --data wine --standardize
      olsbn spectrum --csv table.csv --target price --json
    """
    with bad_input():
        problem = make_problem(**named)
    from olsbn.theory import effective_rate_regimes, spectral_report

    report, regimes = spectral_report(problem), effective_rate_regimes(problem)
    table = [
        ("d", report.rank, "number of modes, the rank of H"),
        ("cond", report.cond, "condition number of H"),
        ("cond_star", report.cond_star, "condition number of H*, BNGD's own"),
        ("eps_max", report.eps_max, "GD converges for 0 < eps < eps_max = 2/lambda_max"),
        ("eps_opt", report.eps_opt, "GD's best learning rate"),
        ("rate_gd_opt", report.rate_gd_opt, "GD's contraction ratio of sqrt(excess) a step there"),
        ("eps_eff_max", report.eps_eff_max, "BNGD: edge of stability of the effective rate, 2/lambda*_max"),
        ("eps_eff_opt", report.eps_eff_opt, "BNGD: best effective rate"),
        ("rate_bngd_opt", report.rate_bngd_opt, "BNGD's contraction ratio there, with eps_a = 1"),
        ("eps_eff_attainable", regimes.attainable, "BNGD: the effective rate settles at most here, from this w0"),
        ("eps_1", regimes.eps_1, "BNGD: start of the plateau, for this problem's w0"),
        ("eps_2", regimes.eps_2, "BNGD: end of the plateau, for this problem's w0"),
    ]
    if as_json:
        import json

        found: dict[str, Any] = {"problem": problem.label, "fingerprint": problem.fingerprint}
        found |= {name: value if math.isfinite(value) else None for name, value, _ in table}
        found |= {
            "n_inputs": problem.n_inputs,
            "n_dropped_rows": problem.n_dropped_rows,
            "target_scale": problem.target_scale,
            "remarks": list(problem.remarks),
            "eigvals": report.eigvals.tolist(),
            "eigvals_star": report.eigvals_star.tolist(),
            "note": regimes.note,
        }
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    rows = [("problem", problem.label, "")] + [(name, f"{value:.10g}", what) for name, value, what in table]
    for name, value, what in rows:
        click.echo(f"{name:<19}{value:<18}{what}".rstrip())
    for name, eigvals in (("eigvals", report.eigvals), ("eigvals_star", report.eigvals_star)):
        click.echo(f"{name:<19}{numbers_text(eigvals)}")
    for line in remarks(problem):
        name, _, text = line.partition(" ")
        click.echo(f"{name:<19}{text.strip()}")
    if regimes.decades <= 0:
        click.echo(
            "note               eps_2 <= eps_1: no plateau; the effective rate rises up to about eps = "
            f"{regimes.crossing:.6g}, to at most {regimes.attainable:.6g}, and falls from there on"
        )
    if regimes.note:
        click.echo(f"note               {regimes.note}")
