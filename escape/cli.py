"""The command line: name a landscape, look at its critical points, run chains, replay one of them to the bit."""

import json
import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import xarray as xr

from escape import report, store
from escape.catalogue import file_of, resolved
from escape.checking_cli import check
from escape.choices import OPTIMIZERS, ORACLES, SCHEDULES, names
from escape.description import described, setting_of
from escape.execute import WorkerLost
from escape.executors import KINDS, opened
from escape.listing_cli import optimizers, oracles
from escape.provenance import spec_of
from escape.recipe import DTYPES, Parts, Recipe, RecipeJob, find_point, load_landscape
from escape.results import merge as merge_shards
from escape.run import CENSORED, DIVERGED, EXITED, Run
from escape.simulate import replay as replay_chain
from escape.simulate import run_checked
from escape.spec import digest
from escape.store import FileStore
from escape.tables import coordinates

_STATUS = {CENSORED: "censored", EXITED: "exited", DIVERGED: "diverged"}


class Refused(click.ClickException):
    """Input of which no run can be made."""

    exit_code = 2


class Differs(click.ClickException):
    """A replay that is not what the file holds."""

    exit_code = 1


class OneLine(click.Group):
    """Commands that answer bad input with one line on standard error, and Ctrl-C with exit code 130.

    Bad input is what the library refuses by ValueError, TypeError, OSError or MemoryError. Any other exception is a
    fault of the program, or of somebody's own file, and shows its traceback.
    """

    def invoke(self, ctx):
        """Run a command, its refusals turned into one line and its warnings too."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                raise
            except (ValueError, TypeError, OSError, MemoryError, WorkerLost) as error:
                raise Refused(str(error) or type(error).__name__) from error
            except KeyboardInterrupt as error:
                click.echo(f"Interrupted; {_line(error) or 'nothing was written'}", err=True)
                ctx.exit(130)

    def main(self, *args, standalone_mode=True, **extra):
        """Run the command line and leave with its exit code."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except click.ClickException as error:
            click.echo(f"Error: {_line(error.format_message())}", err=True)
            code = error.exit_code
        except click.Abort:
            code = 130
        sys.exit(code if isinstance(code, int) else 0)


def _line(text: object) -> str:
    return " ".join(str(text).split())


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Write a warning in one line; those not meant for the user with where they are from."""
    where = "" if category is UserWarning else f" ({category.__name__}, {filename}:{lineno})"
    click.echo(f"Warning: {_line(message)}{where}", err=True)


@click.group(cls=OneLine, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="escape", prog_name="escape")
@click.pass_context
def main(ctx):
    """Saddle points and escape: chains of mini-batch SGD beside exact theory and batch gradient descent."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@main.command()
def landscapes():
    """List the named landscapes with their formulas and options."""
    click.echo("\n".join(report.named_landscapes()))


for command in (check, oracles, optimizers):
    main.add_command(command)
_set = click.option("options", "--set", "-s", multiple=True, metavar="KEY=VALUE", help="Option of the landscape.")
_REPLACEMENT = "Draw batches with replacement."
_CHOICE = "NAME[,KEY=VALUE…]"
_ORACLE = f"One of {names(ORACLES)}; with at=point, the noise of the critical point."
_OPTIMIZER = f"One of {names(OPTIMIZERS)}."
_SCHEDULE = f"Of the learning rate, from --lr on: one of {names(SCHEDULES)}; constant if omitted."


@main.command()
@click.argument("name")
@_set
@click.option("--point", help="Only this critical point, by name or number.")
@click.option("--lr", type=float, help="Adds the growth factor a and the growth rate 2 ln a of the mean square.")
@click.option("--batch-size", type=int, help="Adds the effective kick s and the prediction; needs --lr.")
@click.option("--replacement", is_flag=True, help=_REPLACEMENT)
@click.option("--oracle", metavar=_CHOICE, default="minibatch", show_default=True, help=_ORACLE)
@click.option("--optimizer", metavar=_CHOICE, help=f"{_OPTIMIZER} gd, or with --momentum heavy-ball, if omitted.")
@click.option("--momentum", type=float, help="Of an optimizer that has one.")
@click.option("--radius", type=float, help="Adds the exit step at this distance.")
@click.option("every", "--all", is_flag=True, help="All points, directions and eigenvalues.")
def show(name, options, point, every, lr, **given):
    """Show a landscape's critical points: spectrum, noise, escape directions, and what theory predicts there.

    NAME is one of `escape landscapes`, or FILE.py:NAME. `noise std` is that of one sample's gradient along the
    direction, `d v'Cv/tr C` the same variance relative to the mean over all directions.
    """
    setting = setting_of(name, lr, **given)
    landscape = load_landscape(name, options)
    points = list(enumerate(landscape.critical_points()))
    if point is not None:
        wanted = find_point(tuple(p for _, p in points), point)
        points = [(number, p) for number, p in points if p is wanted]
    click.echo("\n".join(described(name, landscape, points, every, setting)))


@main.command()
@click.argument("name")
@_set
@click.option("--oracle", metavar=_CHOICE, default="minibatch", show_default=True, help=_ORACLE)
@click.option("--batch-size", type=int, help="32 if omitted.")
@click.option("--replacement", is_flag=True, help=_REPLACEMENT)
@click.option("--optimizer", metavar=_CHOICE, default="gd", show_default=True, help=_OPTIMIZER)
@click.option("--lr", type=float, default=0.05, show_default=True, help="Learning rate.")
@click.option("--momentum", type=float, help="0.9 if omitted, of an optimizer that has one.")
@click.option("--schedule", metavar=_CHOICE, help=_SCHEDULE)
@click.option("--warm-up", type=click.IntRange(0), default=0, help="Steps of a linear warm-up of the learning rate.")
@click.option("--steps", type=int, default=1000, show_default=True)
@click.option("--chains", type=int, default=1000, show_default=True)
@click.option("--start", metavar="POINT", help="Critical point, by name or number; the first saddle if omitted.")
@click.option("--start-at", metavar="X1,X2,…", help="Start at these coordinates; POINT stays the origin of distances.")
@click.option("--offset", type=float, default=0.0, help="Start this far along the escape direction.")
@click.option("--start-std", type=float, default=0.0, help="Start normal, of this std along the escape direction.")
@click.option("--radius", type=float, help="Exit at this distance along the escape directions; omit to never stop.")
@click.option("--every", type=int, help="Record every so many steps; about 200 times if omitted.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--executor", metavar="KIND", default="threads", show_default=True, help=f"{KINDS}.")
@click.option("--workers", "--threads", type=click.IntRange(min=1), help="Threads or processes; all cores if omitted.")
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts, from 1 on; `escape merge` joins them.")
@click.option("--dtype", type=click.Choice(list(DTYPES)), help="The landscape's own if omitted.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--block", type=int, help="Chains per block; part of what the result depends on.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.nc", help="Keep the result as netCDF-4.")
@click.option("--match/--no-match", default=None, help="Record how the noise matches a mini-batch's; if not its own.")
@click.option("--quiet", is_flag=True, help="No progress.")
def simulate(name, options, start_at, every, executor, workers, shard, out, match, quiet, **given):
    """Run chains from a critical point of a landscape, and say when they left.

    NAME is one of `escape landscapes`, or FILE.py:NAME. Recorded are the projection on the most unstable direction, the
    squared distance from the critical point, and the loss. A chain leaves at --radius along all unstable directions;
    at a minimum, in any direction. With --out, finished blocks of chains are kept beside FILE.nc until it is written:
    after an interruption of any kind, the same command goes on from there.
    """
    coordinates = None if start_at is None else _coordinates(start_at)
    part = None if shard is None else _shard(shard)
    recipe = Recipe(name, list(options), start_at=coordinates, **given)
    parts = recipe.parts()
    every = max(1, recipe.steps // 200) if every is None else every
    run = recipe.run(parts, every)
    found = {key: resolved(getattr(recipe, key)) for key in ("landscape", "oracle", "optimizer")}
    recipe = replace(recipe, **found, block=run.block)
    # A run that cannot be told from others by its parts is written, but not looked for.
    keyed = out is not None and _has_key(run)
    held = FileStore(out, lambda data: data.attrs.update(command=recipe.dumps())) if out is not None else None
    if held is not None:
        held.check(spec_of(run, need_key=False), shard)
    with opened(executor, workers) as pool:
        local = pool is None or isinstance(pool, int)
        job = None if local else RecipeJob(recipe.dumps(), every, digest(spec_of(run, need_key=False)))
        data = run_checked(
            run, executor=pool, store=held if keyed else None, shard=part, progress=None if quiet else "simulate",
            job=job, match=parts.surrogate if match is None else match,
        )  # fmt: skip
    if out is not None and not keyed:
        held.save({}, data)
    click.echo("\n".join(report.outcome(replace(recipe, landscape=name), parts, data)))
    said = f"{out} held this run already" if keyed and held.held else f"wrote {out}"
    click.echo(said if out is not None else "nothing was written; --out FILE.nc keeps the result")


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
def merge(out, files):
    """Join the FILES that the shards of one run have written into OUT: the same to the bit as the run in one piece."""
    store.check_writable(out)
    data = merge_shards(*(store.read(file) for file in files))
    store.write(data, out)
    click.echo(f"{len(files)} shards, {data.sizes['chain']} chains\nwrote {out}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--chain", type=int, required=True, help="Which chain, from 0.")
@click.option("--out", type=click.Path(path_type=Path), metavar="PATH.nc", help="Keep the whole path as netCDF-4.")
def replay(file, chain, out):
    """Run one chain of a FILE written by `escape simulate` again, and hold it against the file, to the bit."""
    data = store.read(file)
    recipe = Recipe.of(data, str(file))
    first, last = int(data.chain[0]), int(data.chain[-1])
    if not first <= chain <= last:
        raise ValueError(f"chain {chain} is not in {file}, which has chains {first} to {last}")
    source = file_of(recipe.landscape)
    if source is not None and not source.is_file():
        raise ValueError(f"{file} was made with the landscape {recipe.landscape}, and that file is gone; put it back")
    if out is not None:
        store.check_writable(out)
    parts = recipe.parts()
    path = replay_chain(
        parts.landscape, parts.oracle, parts.optimizer, parts.start, until=parts.until, chain=chain, **recipe.engine
    )
    _compare(data, path, chain, recipe, parts)
    exit_step, status = int(path.exit_step), int(path.status)
    rows = [
        ("chain", f"{chain} of {file}"),
        ("ended", f"{_STATUS[status]} at step {exit_step}"),
        ("start", coordinates(path.x.values[0])),
        ("end", coordinates(path.x.values[-1])),
        ("file", "the same to the bit: final position, exit step and status"),
    ]
    click.echo("\n".join([*(f"{key:<8}{text}" for key, text in rows), "", *report.path_rows(parts, path)]))
    if out is not None:
        path.attrs = {key: data.attrs[key] for key in ("command", "spec", "seed", "block") if key in data.attrs}
        store.write(path, out)
        click.echo(f"wrote {out}")


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise ValueError(f"--shard must be I/N, such as 3/8, got {text!r}")
    return int(match[1]), int(match[2])


def _has_key(run: Run) -> bool:
    """Whether a run can be told from every other; said in a warning if not."""
    try:
        spec_of(run, need_key=True)
    except TypeError as error:
        warnings.warn(f"{error}; if this run is interrupted, it begins anew", stacklevel=2)
        return False
    return True


def _coordinates(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--start-at must be numbers with commas between them, got {text!r}") from None


def _compare(data: xr.Dataset, path: xr.Dataset, chain: int, recipe: Recipe, parts: Parts) -> None:
    """Raise `Differs` unless a replay is what the file holds of that chain, naming what was not the same."""
    held = data.sel(chain=chain)
    pairs = {
        "exit step": (held.exit_step, path.exit_step),
        "status": (held.status, path.status),
        "final position": (held.final, path.x.isel(step=-1)),
    }
    wrong = [name for name, (was, now) in pairs.items() if not _same_bits(was.values, now.values)]
    if not wrong:
        return
    run = recipe.run(parts, 1)
    now, was = json.loads(json.dumps(spec_of(run, need_key=False))), json.loads(data.attrs.get("spec", "{}"))
    changed = [key for key in now if key not in ("every", "observe") and now[key] != was.get(key)]
    reason = f"{', '.join(changed)} changed since" if changed else f"made with torch {data.attrs.get('torch_version')}"
    raise Differs(f"chain {chain} differs from the file in {', '.join(wrong)} ({reason})")


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.atleast_1d(one).tobytes() == np.atleast_1d(other).tobytes()
