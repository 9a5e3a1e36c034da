"""Gather the experiments: `python -m experiments list` and `python -m experiments run NAME… | --all`."""

import importlib
import sys
import time

import click

from experiments.common import checked_settings, guarded, options, run

NAMES = ("saddle_growth", "exit_times", "digits_saddle", "sharp_flat")


@click.group(help=__doc__)
def main():
    """Gather the experiments."""


@main.command("list")
def list_():
    """List the experiments."""
    for name in NAMES:
        click.echo(f"{name:16} {_load(name).__doc__.splitlines()[0]}")


@main.command("run")
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Run every experiment.")
@options
def run_(names, every, preset, device, seed, chains, figures_to):
    """Run experiments by name, or all of them; exit code 1 if a claim does not hold."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise click.UsageError(f"no experiment {unknown[0]!r}; there are {', '.join(NAMES)}")
    if not names and not every:
        raise click.UsageError("name at least one experiment, or give --all")
    settings = checked_settings(preset, device, seed, chains)
    failed = []
    for name in NAMES if every else names:
        began = time.monotonic()
        found = guarded(run, _load(name), settings, figures_to)
        failed += [f"{name}: {one.text}" for one in found if not one.holds]
        click.echo(f"  {time.monotonic() - began:.1f} s")
    for line in failed:
        click.echo(f"claim does not hold: {line}", err=True)
    sys.exit(1 if failed else 0)


def _load(name: str):
    return importlib.import_module(f"experiments.{name}")


if __name__ == "__main__":
    main(prog_name="python -m experiments")
