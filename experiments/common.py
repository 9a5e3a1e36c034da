"""What the experiments share: settings, the road from measurement to figure and numbers, and the command line."""

import json
import re
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import torch
import xarray as xr

from escape import figures, simulate
from escape.cli import OneLine
from escape.store import Store, check_writable, read, write, written_whole

PRESETS = ("smoke", "quick", "paper")
RESULTS = Path("results")
FIGURES = Path("paper") / "figures"
NUMBERS = Path("paper") / "numbers.tex"


@dataclass(frozen=True)
class Settings:
    """How an experiment is measured.

    Parameters
    ----------
    preset : {"smoke", "quick", "paper"}
        Few chains, to see that everything runs; minutes for all experiments; or as long as a paper's numbers need.
    device : str
        Where chains run.
    seed : int
        Seed of every run of the experiment.
    chains : int or None
        Chains in place of the preset's own numbers.
    """

    preset: str = "quick"
    device: str = "cpu"
    seed: int = 0
    chains: int | None = None

    def pick(self, smoke, quick, paper):
        """Choose by preset."""
        return {"smoke": smoke, "quick": quick, "paper": paper}[self.preset]

    def pick_chains(self, smoke: int, quick: int, paper: int) -> int:
        """Choose a number of chains: the caller's, or by preset."""
        return self.chains or self.pick(smoke, quick, paper)

    def simulate(self, label: str, landscape, *arguments, **options) -> xr.Dataset:
        """Run `escape.simulate` on this device; a run already in the store is read, not simulated.

        Every label has a seed of its own: numbers that stand side by side must not share their random errors.
        """
        seed = int(np.random.SeedSequence([self.seed, zlib.crc32(label.encode())]).generate_state(1)[0])
        options = {"seed": seed, "store": Store(RESULTS / "runs"), "progress": label, **options}
        return simulate(landscape.to(self.device), *arguments, **options)


@dataclass(frozen=True)
class Claim:
    """A measured number beside its prediction.

    Parameters
    ----------
    name : str
        CamelCase, the macro's name in the paper.
    text : str
        What is claimed, in one line.
    measured, low, high : float
        The number and its 95% interval; low = high = measured for exact ones.
    predicted : float or None
        What theory says; None where the number stands by itself.
    z : float or None
        (measured − predicted) in standard errors.
    holds : bool or None
        Whether the claim stands: |z| within its limit, or a statement that is true or false. None: a number for the
        reader, of which nothing is claimed.
    """

    name: str
    text: str
    measured: float
    low: float
    high: float
    predicted: float | None
    z: float | None
    holds: bool | None


def claim(name: str, text: str, estimate, predicted: float | None = None, limit: float = 3.0) -> Claim:
    """Compare an estimate (value, low, high, …) with a prediction; it holds within `limit` standard errors.

    The standard error is the half-width of the 95% interval over 1.96.
    """
    value, low, high = (float(part) for part in estimate[:3])
    predicted = None if predicted is None else float(predicted)
    if predicted is None:
        return Claim(name, text, value, low, high, None, None, None if np.isfinite([value, low, high]).all() else False)
    error = (high - low) / 2 / 1.959964
    if not np.isfinite([value, error]).all():
        # A censored mean, say: there is nothing to compare.
        return Claim(name, text, value, low, high, predicted, None, False)
    z = (value - predicted) / error if error > 0 else (0.0 if value == predicted else float("inf"))
    return Claim(name, text, value, low, high, predicted, z, bool(abs(z) <= limit))


def fact(name: str, text: str, value: float, holds: bool | None, predicted: float | None = None) -> Claim:
    """State a number without sampling error, and whether what is said of it is true, if anything is."""
    value = float(value)
    predicted = None if predicted is None else float(predicted)
    return Claim(name, text, value, value, value, predicted, None, None if holds is None else bool(holds))


def run(experiment: ModuleType, settings: Settings, figures_to: Path | None = None) -> list[Claim]:
    """Measure into a file, draw from the file, write down the claims.

    Parameters
    ----------
    experiment : module
        With `measure`, `draw` and `claims`.
    settings : Settings
        How.
    figures_to : Path, optional
        Folder of the figures. If omitted, the paper's; but for a run that is not as the paper has it, at the smoke
        preset or with a seed, chains or device of one's own, one beside its results. The paper's numbers likewise.
    """
    name = name_of(experiment)
    folder = RESULTS / settings.preset
    papers = settings == Settings(settings.preset) and settings.preset != "smoke" and figures_to is None
    if figures_to is None:
        figures_to = FIGURES if papers else folder / "figures"
    for place in (folder / f"{name}.nc", figures_to / f"{name}.pdf"):
        check_writable(place)
    data = experiment.measure(settings)
    data.attrs["settings"] = json.dumps(asdict(settings))
    data = read(write(data, folder / f"{name}.nc"))
    with figures.style():
        paths = figures.save(experiment.draw(data), figures_to, name)
    found = experiment.claims(data)
    lines = [json.dumps(asdict(one)) for one in found]
    # Whole or not at all: another experiment may gather all claims meanwhile.
    with written_whole(folder / f"{name}.claims.jsonl") as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n")
    write_numbers(folder, NUMBERS if papers else folder / "numbers.tex")
    report(name, found, paths)
    return found


def name_of(experiment: ModuleType) -> str:
    """Name of an experiment, which is `__main__` to Python while it runs by itself."""
    return experiment.__spec__.name.rpartition(".")[2]


def report(name: str, found: list[Claim], paths: list[Path]) -> None:
    """Print claims as a table and where the figure is."""
    click.echo(f"\n{name}")
    for one in found:
        value = f"{one.measured:.5g}"
        if one.high > one.low:
            value += f" [{one.low:.5g}, {one.high:.5g}]"
        beside = "" if one.predicted is None else f"   theory {one.predicted:.5g}"
        beside += "" if one.z is None else f"   z = {one.z:+.2f}"
        mark = {True: "ok ", False: "OFF", None: " – "}[one.holds]
        click.echo(f"  {mark} {one.text}: {value}{beside}")
    click.echo("  figure: " + ", ".join(str(path) for path in paths))


def write_numbers(folder: Path, path: Path) -> None:
    """Gather the claims of all experiments of one preset into TeX macros.

    A claim `Rate` of the experiment saddle_growth becomes the macro `SaddleGrowthRate`, and its interval, prediction
    and z-score the same with `Low`, `High`, `Theory` and `Z` behind.
    """
    lines = ["% Generated by the experiments; do not edit."]
    for file in sorted(folder.glob("*.claims.jsonl")):
        prefix = "".join(word.capitalize() for word in file.name.removesuffix(".claims.jsonl").split("_"))
        for one in map(json.loads, file.read_text().splitlines()):
            parts = {"": one["measured"], "Low": one["low"], "High": one["high"], "Theory": one["predicted"]}
            for suffix, value in {**parts, "Z": one["z"]}.items():
                if value is not None:
                    lines.append(f"\\newcommand{{\\{prefix}{one['name']}{suffix}}}{{{tex_number(value)}}}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n")


def tex_number(value: float) -> str:
    """Write a number for the paper: whole ones in full, others to four digits, with powers of ten where needed."""
    if not np.isfinite(value):
        return r"\ensuremath{\infty}" if value > 0 else "--"
    text = f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.4g}"
    match = re.fullmatch(r"(-?[\d.]+)e([+-]\d+)", text)
    return rf"\ensuremath{{{match[1]} \times 10^{{{int(match[2])}}}}}" if match else rf"\ensuremath{{{text}}}"


def options(command):
    """Add the options that every experiment has."""
    for option in reversed(
        [
            click.option("--preset", type=click.Choice(PRESETS), default="quick", show_default=True, help="How long."),
            click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
            click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
            click.option("--chains", type=click.IntRange(min=2), help="Chains in place of the preset's own numbers."),
            click.option("--figures", "figures_to", type=click.Path(path_type=Path), help="Folder of the figures."),
        ]
    ):
        command = option(command)
    return command


def checked_settings(preset: str, device: str, seed: int, chains: int | None) -> Settings:
    """Return the settings, or a usage error where there is no such device."""
    try:
        if torch.device(device).type not in ("cpu", "cuda"):
            raise RuntimeError("take cpu, cuda or cuda:N")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise click.UsageError(f"no device {device!r} here: {str(error).splitlines()[0]}") from error
    return Settings(preset, device, seed, chains)


def run_all(experiments: list[ModuleType], settings: Settings, figures_to: Path | None) -> None:
    """Run experiments one after the other; leave with exit code 1 if a claim does not hold."""
    failed = []
    for experiment in experiments:
        began = time.monotonic()
        found = run(experiment, settings, figures_to)
        failed += [f"{name_of(experiment)}: {one.text}" for one in found if one.holds is False]
        click.echo(f"  {time.monotonic() - began:.1f} s")
    for line in failed:
        click.echo(f"claim does not hold: {line}", err=True)
    sys.exit(1 if failed else 0)


def command(module_name: str) -> click.Command:
    """Make the Click command of one experiment, from its module."""
    experiment = sys.modules[module_name]

    @click.command(help=experiment.__doc__)
    @options
    def main(preset, device, seed, chains, figures_to):
        run_all([experiment], checked_settings(preset, device, seed, chains), figures_to)

    def one_line():
        # A group of this one command answers bad input as the package's own command line does.
        group = OneLine(commands={"run": main})
        group.main(["run", *sys.argv[1:]], prog_name=f"python -m experiments.{name_of(experiment)}")

    return one_line
