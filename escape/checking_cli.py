"""The command that checks a landscape: a table of what holds, and what to do about what does not."""

import inspect

import click
import torch
from torch import Tensor

from escape.catalogue import defaults_of, maker_of
from escape.conformance import landscape_report
from escape.landscapes import Landscape
from escape.recipe import DTYPES, load_landscape


@click.command()
@click.argument("name")
@click.option("options", "--set", "-s", multiple=True, metavar="KEY=VALUE", help="Option of the landscape.")
@click.option("points", "--point", multiple=True, metavar="X1,X2,…", help="Test here, and wherever else it is given.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of test points and batches.")
@click.option("--dtype", type=click.Choice(list(DTYPES)), help="The landscape's own if omitted.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.pass_context
def check(ctx, name, options, points, seed, dtype, quiet):
    """Check that a landscape is what it says: gradients, noise, claims, critical points.

    NAME is one of `escape landscapes`, or FILE.py:NAME with NAME a landscape, a class or a maker. Test points are near
    the declared ones unless --point gives others. The exit code is 0 if all that could be looked at holds, else 1.
    """
    landscape = _made(name, list(options), dtype)
    x = _points(points, landscape) if points else None
    try:
        report = landscape_report(landscape, x, seed, progress=None if quiet else "check")
    except ValueError as error:
        if "declares no dimension" not in str(error):
            raise
        raise ValueError(f"{name} declares no dimension; say where to test it: --point x1,x2,…") from None
    click.echo(str(report))
    ctx.exit(0 if report.ok else 1)


def _made(name: str, options: list[str], dtype: str | None) -> Landscape:
    """Make the landscape; whatever somebody's code raises is said in one line."""
    maker = maker_of(name)
    if inspect.isclass(maker):
        _check_class(name, maker, options)
    try:
        return load_landscape(name, options, dtype)
    except (ValueError, TypeError, OSError):
        raise
    except Exception as error:  # a fault of somebody's file, of which a traceback says too much
        raise ValueError(f"{name} cannot be made: {type(error).__name__}: {error}") from error


def _check_class(name: str, kind: type, options: list[str]) -> None:
    """Refuse a class that is no landscape, one that is not finished, and one whose fields have no defaults."""
    if not issubclass(kind, Landscape):
        raise TypeError(f"{name} is a class that is no Landscape; derive it from escape.Landscape")
    if inspect.isabstract(kind):
        raise ValueError(f"{name} is not finished: it lacks {', '.join(sorted(kind.__abstractmethods__))}")
    given = {text.partition("=")[0].strip().replace("-", "_") for text in options}
    missing = [key for key, value in defaults_of(kind).items() if value is inspect.Parameter.empty and key not in given]
    if missing:
        own, small = name.rpartition(":")[2], name.rpartition(":")[2].lower()
        small = small if small != own else f"make_{small}"
        raise ValueError(
            f"{name} is a class that needs {', '.join(missing)}: write a maker with defaults beside it, "
            f"def {small}(n=1000): return {own}({', '.join(f'{key}=…' for key in missing)}), "
            f"and check {name.rpartition(':')[0]}:{small}"
        )


def _points(texts: tuple[str, ...], landscape: Landscape) -> Tensor:
    """Read test points, one a text."""
    rows = []
    for text in texts:
        try:
            rows.append([float(part) for part in text.split(",")])
        except ValueError:
            raise ValueError(f"--point must be numbers with commas between them, got {text!r}") from None
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"all --point must have as many coordinates, got {', '.join(str(len(row)) for row in rows)}")
    return torch.tensor(rows, dtype=torch.float64).to(landscape.samples)
