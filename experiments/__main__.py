"""Gather the experiments: `python -m experiments list` and `python -m experiments run NAME… | --all`."""

import importlib

import click

from escape.cli import OneLine
from experiments.common import checked_settings, options, run_all

NAMES = (
    "saddle_growth",
    "exit_times",
    "optimizers",
    "digits_saddle",
    "sharp_flat",
    "dimension",
    "isotropy",
    "noise_ladder",
    "memory",
)


@click.group(cls=OneLine, help=__doc__)
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
    run_all([_load(name) for name in (NAMES if every else names)], settings, figures_to)


def _load(name: str):
    return importlib.import_module(f"experiments.{name}")


if __name__ == "__main__":
    main(prog_name="python -m experiments")
