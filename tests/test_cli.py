"""The command line: tables, runs, replays to the bit, and one line for every bad input."""

import json
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

import escape
from escape import cli, theory
from escape.catalogue import NAMED
from escape.recipe import Recipe

MINE = """
from dataclasses import dataclass
import torch
from escape import Landscape

@dataclass(frozen=True, eq=False)
class Monkey(Landscape):
    samples: torch.Tensor
    affine = True

    def sample_loss(self, x, tilt):
        return x[0] ** 3 - 3 * x[0] * x[1] ** 2 + tilt @ x

@dataclass(frozen=True, eq=False)
class Bowl(Monkey):
    def sample_loss(self, x, tilt):
        return x[0] ** 2 - x[1] ** 2 / 2 + tilt @ x

    def critical_points(self):
        return (self.critical_point(torch.zeros(2).to(self.samples), "pass"),)

def tilts(n, size):
    rows = size * torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return rows - rows.mean(0)

monkey = Monkey(tilts(100, 0.1))
broken = Monkey(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]))
seven = lambda: 7

def bowl(n=50, size=0.1):
    return Bowl(tilts(n, size))
"""
SMALL = ["--steps", "60", "--chains", "40", "--block", "32", "--batch-size", "8", "--quiet"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder with a landscape file of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(MINE)

    def call(*arguments):
        return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])

    return call


def succeed(result):
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result, *words, code=2):
    """Whether a command answered with one line on standard error, said these words, and did nothing else."""
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")
    for word in words:
        assert word in result.stderr


def test_version_and_help(run):
    assert succeed(run("--version")).startswith("escape, version ")
    assert "simulate" in succeed(run())
    assert "--radius" in succeed(run("simulate", "-h"))


def test_landscapes_lists_every_name(run):
    text = succeed(run("landscapes"))
    for name in NAMED:
        assert name in text
    assert "eigenvalues=-1,1,1,1,1" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", NAMED)
def test_every_name_works_without_options(run, name):
    text = succeed(run("show", name, "--batch-size", "8", "--lr", "0.05"))
    assert "leaving" in text or "declares no critical points" in text
    assert max(map(len, text.splitlines())) <= 100


def test_show_says_what_theory_and_the_landscape_say(run):
    options = ["-s", "eigenvalues=-0.5,2", "-s", "noise=0.4,0.2"]
    text = succeed(run("show", "additive-saddle", *options, "--batch-size", 10, "--lr", 0.1))
    kick = theory.kick_std(0.1, -0.5, 0.4 * np.sqrt(theory.kappa(10, 1000)))
    row = [float(number) for number in text.split("escape 1")[1].splitlines()[0].split()]
    expected = [-0.5, 0.16, 0.4, 2 * 0.16 / 0.2, 1.05, 2 * np.log(1.05), kick]
    assert row == pytest.approx(expected, rel=1e-3)
    assert "type I" in text
    assert "spectrum -0.5 2" in text


def test_show_cuts_long_lists_unless_told_not_to(run):
    text = succeed(run("show", "digits"))
    assert "117 more critical points, --all" in text
    assert "55 more escape directions, --all" in text
    one = succeed(run("show", "digits", "--point", "0", "--all"))
    assert "escape 61" in one
    assert "more" not in one
    assert "[3] +sqrt(mu_2) v_2" in succeed(run("show", "digits", "--point", "+sqrt(mu_2) v_2"))


def test_show_predicts_for_the_first_points_alone_unless_told_not_to(run):
    options = ["styblinski-tang", "--lr", 0.01, "--batch-size", 8]
    text = succeed(run("show", *options))
    assert text.count("leaving") == 3
    assert "6 more critical points, --all" in text
    assert succeed(run("show", *options, "--all")).count("leaving") == 9
    assert "3 more critical points" in succeed(run("show", "styblinski-tang")), "six without a prediction"


def test_show_tells_a_kink(run):
    assert "curvature is -4 on one side of the point and -0.25" in succeed(run("show", "two-slope-well"))


def test_simulate_is_the_library_call_and_replays_to_the_bit(run):
    text = succeed(
        run("simulate", "additive-saddle", "--radius", 0.05, "--start-std", 0.01, "--out", "a.nc", "--every", 7, *SMALL)
    )
    assert "wrote a.nc" in text
    assert "theory: linear saddle" in text
    data = xr.load_dataset("a.nc", engine="h5netcdf")
    saddle = escape.QuadraticSaddle.additive([-1, 1, 1, 1, 1], 0.3)
    (point,) = saddle.critical_points()
    direction = point.unstable[:, 0]
    direct = escape.simulate(
        saddle, escape.MiniBatch(8), escape.GradientDescent(0.05), escape.NormalStart(point.location, 0.01, direction),
        steps=60, chains=40, block=32, every=7, observe={"projection": escape.Projection(point, direction)},
        until=escape.Above(escape.SquaredProjection(point, point.unstable), 0.05**2),
    )  # fmt: skip
    for name in ("projection", "exit_step", "status", "final", "step"):
        assert data[name].values.tobytes() == direct[name].values.tobytes()
    assert set(data.data_vars) == {"projection", "squared_distance", "loss", "exit_step", "status", "final"}

    exited, censored = (int(np.flatnonzero(data.status.values == status)[-1]) for status in (1, 0))
    for chain in (0, exited, censored):
        text = succeed(run("replay", "a.nc", "--chain", chain, "--out", "path.nc"))
        path = xr.load_dataset("path.nc", engine="h5netcdf")
        assert path.x.values[-1].tobytes() == data.final.values[chain].tobytes()
        assert int(path.exit_step) == int(data.exit_step[chain]) == path.sizes["step"] - 1
        assert f"at step {int(path.exit_step)}" in text
        assert "the same to the bit" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["double-well", "-s", "bath=1,2", "--oracle", "gaussian", "--radius", 0.3, "--start", "left minimum"],
        ["double-well", "-s", "tilts=gaussian", "--oracle", "isotropic", "--start", "saddle", "--dtype", "float32"],
        ["two-slope-well", "--optimizer", "heavy-ball", "--momentum", 0.5, "--radius", 0.2, "--replacement"],
        ["multiplicative-saddle", "--start-at", "0.1,0,0,0,0.5", "--radius", 0.4, "--lr", 0.2],
        ["my.py:bowl", "-s", "size=0.5", "--offset", 0.01, "--radius", 0.1],
        ["my.py:monkey", "--start-at", "0.1,0", "--start-std", 0.1, "--radius", 3],
    ],
    ids=lambda arguments: arguments[0],
)
def test_replay_rebuilds_every_kind_of_run(run, arguments):
    succeed(run("simulate", *arguments, "--out", "b.nc", *SMALL))
    for chain in (0, 39):
        assert "the same to the bit" in succeed(run("replay", "b.nc", "--chain", chain))


def test_full_batch_stands_beside_the_closed_form(run):
    text = succeed(
        run("simulate", "additive-saddle", "--oracle", "full", "--offset", 0.001, "--radius", 1, "--steps", 300,
            "--chains", 2, "--quiet")
    )  # fmt: skip
    exact = f"{theory.gd_exit_step(0.05, -1.0, 1.0, 0.001):g}"
    estimate, closed = (line for line in text.splitlines() if line.startswith("  "))
    assert exact in estimate.split()
    assert exact in closed.split()


def test_without_a_radius_growth_stands_beside_theory(run):
    text = succeed(run("simulate", "additive-saddle", *SMALL))
    assert f"theory: 2 ln a                 {theory.growth_rate(0.05, -1.0):.5g}" in text
    assert "nothing was written" in text


@pytest.mark.parametrize("radius", [[], ["--radius", 1e150]])
def test_diverged_chains_are_counted_and_replayed(run, radius):
    text = succeed(run("simulate", "double-well", "--lr", 1e4, *radius, *SMALL, "--out", "d.nc"))
    assert "diverged 40" in text
    assert "diverged at step" in succeed(run("replay", "d.nc", "--chain", 3))


def test_censoring_is_said(run):
    text = succeed(run("simulate", "additive-saddle", "--radius", 100, *SMALL))
    assert "caveat: 40 of 40 chains censored at step 60" in text


def test_progress_unless_quiet(run):
    loud = [argument for argument in SMALL if argument != "--quiet"]
    assert "simulate: done" in run("simulate", "additive-saddle", *loud).stderr
    assert run("simulate", "additive-saddle", *SMALL).stderr == ""


def test_threshold_passed_at_the_start_is_a_warning(run):
    result = run("simulate", "additive-saddle", "--radius", 0.5, "--offset", 0.6, *SMALL)
    assert "exited 40" in succeed(result)
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Warning: threshold 0.25 is already passed at the start")


SIMULATE = {
    "batch": (["additive-saddle", "--batch-size", 2000], ["2000", "n = 1000"]),
    "batch 0": (["additive-saddle", "--batch-size", 0], ["batch_size"]),
    "batch of all": (["additive-saddle", "--oracle", "full", "--batch-size", 8], ["full takes no batch size"]),
    "lr": (["additive-saddle", "--lr", -1], ["lr must be a positive"]),
    "lr nan": (["additive-saddle", "--lr", "nan"], ["nan"]),
    "lr word": (["additive-saddle", "--lr", "fast"], ["--lr", "fast"]),
    "chains": (["additive-saddle", "--chains", 0], ["chains must be", "at least 1"]),
    "steps": (["additive-saddle", "--steps", -1], ["steps"]),
    "every": (["additive-saddle", "--every", 0], ["every"]),
    "seed": (["additive-saddle", "--seed", -1], ["seed"]),
    "block": (["additive-saddle", "--block", 0], ["block"]),
    "threads": (["additive-saddle", "--threads", 0], ["--threads"]),
    "momentum": (["additive-saddle", "--momentum", 0.9], ["heavy-ball"]),
    "momentum 1": (["additive-saddle", "--optimizer", "heavy-ball", "--momentum", 1], ["[0, 1)"]),
    "radius": (["additive-saddle", "--radius", 0], ["radius must be a positive"]),
    "offset": (["additive-saddle", "--offset", "inf"], ["offset"]),
    "std": (["additive-saddle", "--start-std", -1], ["std"]),
    "start dimension": (["additive-saddle", "--start-at", "1,2"], ["dimension 2", "dimension 5"]),
    "start dimension with offset": (["additive-saddle", "--start-at", "1,2", "--offset", 1], ["dimension 2"]),
    "start words": (["additive-saddle", "--start-at", "1;2"], ["'1;2'"]),
    "start nan": (["additive-saddle", "--start-at", "nan,0,0,0,0"], ["non-finite"]),
    "point": (["double-well", "--start", "sadle"], ["did you mean saddle?"]),
    "point number": (["double-well", "--start", 3], ["0 to 2"]),
    "no points": (["my.py:monkey"], ["--start-at"]),
    "point of none": (["my.py:monkey", "--start", "0", "--start-at", "0,0"], ["declares none"]),
    "offset of none": (["my.py:monkey", "--start-at", "0,0", "--offset", 1], ["no direction"]),
    "landscape": (["additive-sadle"], ["did you mean additive-saddle?"]),
    "option": (["additive-saddle", "-s", "nois=1"], ["did you mean noise?", "eigenvalues, noise, n, seed"]),
    "option of none": (["digits", "-s", "n=1"], ["it has none"]),
    "option form": (["additive-saddle", "-s", "noise"], ["key=value"]),
    "option number": (["additive-saddle", "-s", "n=many"], ["option n", "'many'"]),
    "option whole": (["additive-saddle", "-s", "n=10.5"], ["whole"]),
    "option nan": (["additive-saddle", "-s", "noise=nan"], ["finite"]),
    "option value": (["double-well", "-s", "noise=-1"], ["noise"]),
    "option bool": (["two-slope-well", "-s", "scaled_noise=maybe"], ["true or false"]),
    "option word": (["double-well", "-s", "tilts=uniform"], ["rademacher, gaussian"]),
    "samples": (["my.py:broken", "--start-at", "0,0"], ["non-finite", "row 1"]),
    "file": (["none.py:monkey"], ["no file none.py"]),
    "file alone": (["my.py"], ["my.py:NAME"]),
    "name": (["my.py:monky"], ["did you mean monkey"]),
    "no landscape": (["my.py:seven"], ["must give a Landscape, got int"]),
    "made": (["my.py:monkey", "-s", "n=3"], ["takes no options"]),
    "folder": (["additive-saddle", "--out", "."], ["folder"]),
    "unwritable": (["additive-saddle", "--out", "my.py/a.nc"], ["cannot write my.py/a.nc"]),
    "oracle": (["additive-saddle", "--oracle", "sgd"], ["'sgd'", "minibatch"]),
    "no such option": (["additive-saddle", "--leaning-rate", 1], ["--leaning-rate"]),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), SIMULATE.values(), ids=SIMULATE)
def test_bad_input_is_one_line_before_any_step(run, monkeypatch, arguments, words):
    def step(*_):
        raise AssertionError("a step was made")

    # The module, which the function of the same name hides.
    monkeypatch.setattr(sys.modules["escape.simulate"], "run_block", step)
    refused(run("simulate", *arguments), *words)


def test_other_commands_refuse_in_one_line(run):
    refused(run("shwo"), "shwo")
    refused(run("show"), "NAME")
    refused(run("show", "diigts"), "did you mean digits?")
    refused(run("show", "additive-saddle", "--lr", "nan"), "lr")
    refused(run("show", "additive-saddle", "--batch-size", 8), "--lr")
    refused(run("show", "additive-saddle", "--batch-size", 2000, "--lr", 1), "n = 1000")
    refused(run("show", "my.py:monkey", "--point", "0"), "declares none")
    assert "declares no critical points" in succeed(run("show", "my.py:monkey"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without an accelerator")
def test_absent_device(run):
    refused(run("simulate", "additive-saddle", "--device", "cuda"), "cuda is not available")


def test_file_that_fails_says_where(run, tmp_path):
    (tmp_path / "bad.py").write_text("import torch\n\nx = undefined\n")
    refused(run("show", "bad.py:x"), "bad.py fails in line 3: NameError")
    (tmp_path / "worse.py").write_text("def x(:\n")
    refused(run("show", "worse.py:x"), "SyntaxError", "line 1")


def test_replay_refuses_in_one_line(run, tmp_path):
    refused(run("replay", "none.nc", "--chain", 0), "no file none.nc")
    succeed(run("simulate", "my.py:bowl", "--radius", 0.1, "--out", "c.nc", *SMALL))
    for chain in (40, -1):
        refused(run("replay", "c.nc", "--chain", chain), "chains 0 to 39")
    refused(run("replay", "c.nc"), "--chain")
    refused(run("replay", "c.nc", "--chain", 0, "--out", "my.py/p.nc"), "cannot write")
    whole = (tmp_path / "c.nc").read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "torn.nc").write_bytes(whole[:size])
        refused(run("replay", "torn.nc", "--chain", 0), "torn.nc")
    xr.Dataset({"x": ("t", [1.0])}).to_netcdf("other.nc", engine="h5netcdf")
    refused(run("replay", "other.nc", "--chain", 0), "holds no command")


def test_replay_tells_what_changed(run, tmp_path):
    succeed(run("simulate", "my.py:bowl", "--radius", 0.1, "--out", "c.nc", *SMALL))
    (tmp_path / "my.py").write_text(MINE.replace("manual_seed(0)", "manual_seed(1)"))
    refused(run("replay", "c.nc", "--chain", 0), "differs from the file", "landscape changed", code=1)
    (tmp_path / "my.py").unlink()
    refused(run("replay", "c.nc", "--chain", 0), "my.py:bowl, and that file is gone")


def test_replay_sees_a_single_bit(run, tmp_path):
    succeed(run("simulate", "additive-saddle", "--out", "c.nc", *SMALL))
    with h5py.File("c.nc", "r+") as file:
        file["final"][5, 1] = np.nextafter(file["final"][5, 1], 1)
    refused(run("replay", "c.nc", "--chain", 5), "final position", "made with torch", code=1)
    succeed(run("replay", "c.nc", "--chain", 6))


def test_the_file_holds_the_whole_command(run, tmp_path):
    succeed(run("simulate", "my.py:bowl", "-s", "n=40", "--out", "c.nc", "--lr", 0.1, *SMALL[:-3], "--quiet"))
    data = xr.load_dataset("c.nc", engine="h5netcdf")
    command = json.loads(data.attrs["command"])
    assert command["landscape"] == f"{(tmp_path / 'my.py').resolve()}:bowl"
    assert (command["options"], command["lr"], command["block"]) == (["n=40"], 0.1, 32)
    assert Recipe.of(data, "c.nc") == Recipe(**command)
    with pytest.raises(ValueError, match="another version"):
        Recipe.of(xr.Dataset(attrs={"command": '{"wings": 2}'}), "c.nc")


def test_a_fault_of_the_program_shows_itself(run, monkeypatch):
    def fault(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "run_checked", fault)
    assert isinstance(run("simulate", "additive-saddle").exception, ZeroDivisionError)


def test_real_process(tmp_path):
    (tmp_path / "ready.py").write_text(MINE + "\nprint('ready', flush=True)\n")
    endless = ["simulate", "ready.py:bowl", "--steps", "1000000000", "--every", "1000000", "--out", "never.nc"]
    program = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell may inherit that it is ignored
from escape.cli import main
try:
    main(["simulate", "additive-saddle", "--lr", "nan"])
except SystemExit as bad:
    print(bad.code, flush=True)
main({endless})
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    process = subprocess.Popen([sys.executable, "-c", program], **pipes)
    try:
        assert [process.stdout.readline() for _ in range(2)] == ["2\n", "ready\n"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert err.splitlines() == [
            "Error: lr must be a positive finite number or a schedule t -> float, got nan",
            "Interrupted; nothing was written",
        ]
        assert not list(tmp_path.glob("*never.nc*"))
    finally:
        process.kill()
        process.wait()
