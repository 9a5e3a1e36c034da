"""What a result depends on, and where it was made."""

import functools
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from escape.run import Run
from escape.spec import describe, digest


def spec_of(run: Run, need_key: bool) -> dict:
    """Everything the result of a run is a function of, as JSON types.

    Raises
    ------
    TypeError
        If `need_key` and some part of the run has no description by value, so that no stored result could be trusted.
    """
    samples = run.landscape.samples
    spec = {
        "escape": version("escape"),
        "source": source(),
        # Another build may round otherwise, or draw other numbers.
        "torch": str(torch.__version__),
        "numpy": version("numpy"),
        "steps": run.steps,
        "chains": run.chains,
        "every": run.every,
        "seed": run.seed,
        "block": run.block,
        "reduce": run.reduce,
        "common_random_numbers": run.common,
        "compiled": run.compiled,
        "dtype": str(samples.dtype).removeprefix("torch."),
        "device_type": samples.device.type,
    }
    for name in ("landscape", "oracle", "optimizer", "start", "observe", "until"):
        try:
            spec[name] = describe(getattr(run, name))
        except TypeError as error:
            if need_key:
                raise TypeError(f"{name} cannot key a stored result: {error}") from error
            spec[name] = {"not described": str(error)}
    return spec


def environment(run: Run) -> dict:
    """Where and with what a result was made, as netCDF attributes: it does not change the result."""
    return {
        "seed": run.seed,
        "block": run.block,
        "dtype": str(run.landscape.samples.dtype).removeprefix("torch."),
        "device": str(run.landscape.samples.device),
        "sampling": run.oracle.sampling,
        "escape_version": version("escape"),
        "torch_version": str(torch.__version__),
        "numpy_version": version("numpy"),
        "git_commit": _git_commit(),
        "frozen_after_exit": int(run.until is not None),
    }


@functools.cache
def source() -> str:
    """Digest of the package's source that results depend on, so that an edit of it is not answered from a store."""
    folder = Path(__file__).parent
    names = ("run", "block", "chunk", "draws", "streams", "observables", "starts", "simulate")
    files = [folder / f"{name}.py" for name in names]
    for package in ("landscapes", "mapped", "optimizers", "oracles"):
        files += sorted((folder / package).glob("*.py"))
    return digest([file.read_text() for file in files])


@functools.cache
def _git_commit() -> str:
    """Commit of the checkout that the package lies in; empty where it lies in none."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
