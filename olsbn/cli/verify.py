"""`olsbn verify`."""

from __future__ import annotations

from pathlib import Path

import click

from olsbn.cli.shell import FAILURES, bad_input, main, may_fail


class _SourceOption(click.Option):
    """Names the sources in its help, which is made when it is asked for: they are not loaded before."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from olsbn.ledger import SOURCES

        self.help = f"Claims of this source only: {', '.join(SOURCES)}."
        return super().get_help_record(ctx)


@main.command("verify")
@click.option("--source", "sources", cls=_SourceOption, multiple=True, metavar="NAME")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the random problems.")
@click.option(
    "--effort", type=float, default=1.0, show_default=True, metavar="X", help="Factor on the number of problems."
)
@click.option("--json", "target", metavar="FILE", help="Write everything to FILE, statements and formulas included.")
@click.option("--page", "page_target", metavar="FILE", help="Write a page in Markdown that lists every claim.")
@click.option("--summary/--no-summary", default=True, help="Measure the summary table of GD against BNGD as well.")
@click.pass_context
def verify_command(
    ctx: click.Context,
    sources: tuple[str, ...],
    seed: int,
    effort: float,
    target: str | None,
    page_target: str | None,
    summary: bool,
) -> None:
    r"""Try every claim of the sources on fresh random problems and on the worst ones found.

    The margin is >= 0 where a claim holds: for a bound the distance to it (relative, rounding included), else one less
    the part of the allowed error that is used. Exit code 1 if a claim does not hold.

    \b
    Examples:
      olsbn verify
      olsbn verify --source kohler --seed 7 --json kohler.json
      olsbn verify --page claims.md
    """
    with bad_input():
        from olsbn import ledger
        from olsbn._validate import as_count, as_real, nearest

        as_count("--seed", seed)
        if not as_real("--effort", effort) > 0:
            raise ValueError(f"--effort must be > 0, got {effort}")
        known = list(ledger.by_source())
        claims, left_out = ledger.runnable(ledger.claims([nearest("source", name, known) for name in sources] or None))
        for option, path in (("--json", target), ("--page", page_target)):
            if path is not None and (not Path(path).parent.is_dir() or Path(path).is_dir()):
                raise ValueError(f"{option} must be a file in a directory that exists, got {path}")
    from olsbn.sweeps.progress import meter

    with meter(len(claims), True, "claims") as advance:
        results = list(ledger.verify(claims, seed, effort, advance))
    click.echo(ledger.table(results))
    rows = []
    if summary and (not sources or "cai" in sources):
        from olsbn.ledger import summary as measured

        rows = measured.summary(seed)
        click.echo(f"\n{measured.text(rows)}")
    failed = [result for result in results if not result.holds]
    for result in failed:
        click.echo(f"\n{result.id} FAILS: {result.statement}\n  {result.formula}\n  {result.problems}")
    click.echo(f"\n{len(results) - len(failed)} of {len(results)} claims hold (seed {seed})")
    for extra in sorted({claim.extra for claim in left_out}):
        n = sum(claim.extra == extra for claim in left_out)
        click.echo(f'{n} more were left out, for they need: pip install "olsbn[{extra}]"')
    if target is not None:
        import json

        _write(target, json.dumps(ledger.report(results, seed, rows), indent=1, allow_nan=False) + "\n")
    if page_target is not None:
        from olsbn.ledger.page import page

        _write(page_target, page(results))
    if failed:
        ctx.exit(FAILURES)


def _write(target: str, text: str) -> None:
    """Write a file at once, or not at all."""
    with may_fail(f"writing {target}"):
        scratch = Path(f"{target}.partial")
        scratch.write_text(text)
        scratch.replace(target)
