"""`escape oracles` and `escape optimizers`: what there is, with options."""

import inspect
import textwrap
from collections.abc import Callable

import click

from escape.catalogue import defaults_of, option_text
from escape.choices import OPTIMIZERS, ORACLES, SCHEDULES

_INDENT, _WIDTH = 16, 98


@click.command()
def oracles():
    """List the oracles: how a gradient may be seen, and under which noise."""
    click.echo("\n".join(_listed(ORACLES)))
    click.echo("\nWritten --oracle NAME[,KEY=VALUE…]; batch_size also as --batch-size, replacement as --replacement.")
    click.echo("at=point stands for the critical point: what the noise has there, once and for all.")
    click.echo("One of your own: FILE.py:NAME in the place of NAME, a class derived from escape.Oracle.")


@click.command()
def optimizers():
    """List the optimizers and the schedules of the learning rate."""
    click.echo("\n".join(_listed(OPTIMIZERS)))
    click.echo("\nWritten --optimizer NAME[,KEY=VALUE…]; lr as --lr, momentum also as --momentum.")
    click.echo("One of your own: FILE.py:NAME in the place of NAME, a class derived from escape.Optimizer.")
    click.echo("\nSchedules:\n")
    click.echo("\n".join(_listed(SCHEDULES)))
    click.echo("\nWritten --schedule NAME[,KEY=VALUE…]; lr is --lr. --warm-up STEPS goes before any of them.")


def _listed(choices: dict[str, Callable]) -> list[str]:
    """Every name with the first line of its docstring and its options."""
    lines = []
    for name, kind in choices.items():
        formula = " ".join(kind.__doc__.strip().split("\n\n")[0].split())
        lines += textwrap.wrap(formula, _WIDTH, initial_indent=f"{name:<{_INDENT}}", subsequent_indent=" " * _INDENT)
        options = [_option(key, value) for key, value in defaults_of(kind).items()]
        lines += textwrap.wrap(
            "  ".join(options) or "no options", _WIDTH, initial_indent=" " * _INDENT, subsequent_indent=" " * _INDENT
        )
    return lines


def _option(key: str, default: object) -> str:
    """Write an option with its default: dots where it must be given, nothing where it may be left out."""
    if default is inspect.Parameter.empty:
        return f"{key}=…"
    return f"[{key}=…]" if default is None else f"{key}={option_text(default)}"
