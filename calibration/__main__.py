"""Repeat every case, print the table and write it into docs/statistics.md; exit code 1 if one is not as said."""

import sys
import time

import click

from calibration import table
from calibration.case import verdict
from calibration.run import CASES, WORKERS, run

TITLES = {"intervals": "Intervals", "tests": "Tests, where the hypothesis is true", "bad": "Bad on purpose"}


@click.command(help=__doc__)
@click.option("--only", default="", help="Cases whose name holds this; the page is then left alone.")
@click.option("--share", type=click.FloatRange(0, min_open=True), default=1.0, help="Part of the repeats; likewise.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=WORKERS, show_default=True)
def main(only, share, seed, workers):
    """Run what is asked for."""
    begun, shown = time.monotonic(), [0.0]

    def said(done, parts):
        if done == parts or time.monotonic() - shown[0] > 5:
            shown[0] = time.monotonic()
            click.echo(f"{done} of {parts} parts, {shown[0] - begun:.0f} s", err=True)

    found = run(seed, share, only, workers, said)
    made = table.tables(CASES, found)
    for kind, rows in made.items():
        click.echo(f"\n{TITLES[kind]}\n\n{table.plain(rows)}")
    if not only and share == 1:
        text = "\n\n".join(f"### {TITLES[kind]}\n\n{table.page(rows)}" for kind, rows in made.items())
        text = f"{table.counts(CASES, found)} Seed {seed}.\n\n{text}"
        table.PAGE.write_text(table.write(text, table.PAGE.read_text()))
    held = {case.name: case for case in CASES}
    wrong = [f"{name}: {verdict(held[name], tally)}" for name, tally in found.items()]
    wrong = [line for line in wrong if not line.endswith((": as said", ": flagged", ": conservative"))]
    for line in wrong:
        click.echo(f"NOT AS SAID: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
