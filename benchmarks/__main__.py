"""Run the benchmarks, print their tables and keep them; exit code 1 if a contender gives a wrong answer."""

import sys
from pathlib import Path

import click

from benchmarks import memory, record, report, scaling
from benchmarks.jobs import JOBS, NAMES
from benchmarks.race import Settings, race

HOME = Path(__file__).parent
STUDIES = {"memory": memory, "scaling": scaling}


@click.command(help=__doc__)
@click.option("--jobs", "wanted", help=f"Jobs, by comma: {', '.join(NAMES)}. All if omitted.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=None, help="Rounds of a race.  [default: 7; quick: 2]")
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that everything runs; kept only where --out says.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: benchmarks]")
@click.option("--redraw", is_flag=True, help="Measure nothing; write page and figure from the results that are there.")
def main(wanted, device, rounds, quick, out, redraw):
    """Run what is asked for."""
    jobs = _jobs(wanted, device)
    folder = out or (None if quick and not redraw else HOME)
    if redraw:
        _publish(folder)
        return
    if device == "cuda":
        _check_gpu()
    rounds = rounds or (2 if quick else 7)
    settings = Settings(device, rounds, 0.02 if quick else 1.0, quick, lambda line: click.echo(line, err=True))
    where, wrong = record.environment(device), False
    for name in jobs:
        click.echo(f"{name} …", err=True)
        result = race(name, settings) if name in JOBS else STUDIES[name].measure(settings)
        wrong |= any(entry["status"] == "WRONG" for entry in result.get("contenders", {}).values())
        click.echo(report.plain(name, result) + "\n")
        # Kept job by job: what is stopped half-way keeps its first half.
        if folder is not None:
            record.save(folder / "results" / f"{device}.json", {name: result}, where, NAMES)
    if folder is not None:
        _publish(folder)
    sys.exit(int(wrong))


def _jobs(wanted: str | None, device: str) -> list[str]:
    there = [name for name in NAMES if device == "cpu" or (name in JOBS and JOBS[name].cuda)]
    if wanted is None:
        return there
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in there:
            raise click.UsageError(f"no job {name!r} on {device}; there are {', '.join(there)}")
    return names


def _check_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise click.ClickException("--device cuda: torch sees no GPU here; run this where torch.cuda.is_available()")


def _publish(folder: Path) -> None:
    cpu, cuda = (record.load(folder / "results" / f"{device}.json") for device in ("cpu", "cuda"))
    if "curves" in cpu["jobs"].get("scaling", {}):
        scaling.draw(cpu["jobs"]["scaling"], folder / "scaling.png")
    (folder / "RESULTS.md").write_text(report.page(cpu, cuda))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
