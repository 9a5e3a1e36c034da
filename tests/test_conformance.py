"""A broken landscape is caught by the check of what is broken; an honest one passes them all, and a report says so."""

import inspect
import math
import re
import sys
import types
from dataclasses import dataclass

import pytest
import torch
from broken import BROKEN, Cancels, Detached, Honest, WrongSign, WrongTrace, of, saddle
from cases import CASES, Monkey, centred, normal
from click.testing import CliRunner
from torch import Tensor

import escape
from escape import (
    Landscape,
    NotALandscape,
    Optimizer,
    Oracle,
    QuadraticSaddle,
    check_landscape,
    cli,
    landscape_report,
    simulate,
)
from escape.catalogue import defaults_of
from escape.conformance.properties import PROPERTIES

F64, F32 = torch.float64, torch.float32
NAMES = [one.name for one in PROPERTIES]

# As the design writes it, and a file of a researcher's own.
MINE = """
from dataclasses import dataclass
import torch
from torch import Tensor
from escape import Landscape

@dataclass(frozen=True, eq=False)
class Monkey(Landscape):
    samples: Tensor  # (n, 2), summing to zero
    affine = True
    def sample_loss(self, x, tilt):
        return x[0] ** 3 - 3 * x[0] * x[1] ** 2 + tilt @ x

@dataclass(frozen=True, eq=False)
class Pointed(Monkey):
    dimension = 2
    def critical_points(self):
        return (self.critical_point(self.samples.new_zeros(2), "origin"),)

class Wrong(Pointed):
    def sample_gradient(self, x, tilt):
        return -super().sample_gradient(x, tilt)

class Unfinished(Landscape):
    pass

class NoLandscape:
    pass

def tilts(n, size=0.1):
    rows = size * torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return rows - rows.mean(0)

def monkey(n=100):
    return Monkey(tilts(n))

def pointed(n=100):
    return Pointed(tilts(n))

def wrong():
    return Wrong(tilts(100))

def flat():
    return Monkey(tilts(100)[:, 0])

def raises():
    return torch.ones(2) @ torch.ones(3)

ready = pointed()
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(MINE)
    return lambda *arguments: CliRunner().invoke(cli.main, ["check", *arguments, "--quiet"])


def finding(report, name):
    (found,) = [found for found in report.findings if found.name == name]
    return found


# Broken ones.


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_what_is_broken_is_caught_by_its_check(broken):
    report = landscape_report(broken.make())
    assert not report.ok
    first = report.failures[0]
    assert first.name == broken.caught_by, first.message
    assert re.search(broken.says, first.message), first.message
    assert "\n" not in first.message
    assert first.advice
    assert len(report.findings) == len(PROPERTIES)


def test_every_property_that_can_fail_here_is_failed_by_something():
    caught = {broken.caught_by for broken in BROKEN}
    assert set(NAMES) - caught == {"CUDA agrees with the CPU"}, "a check that nothing fails may check nothing"
    assert len({broken.name for broken in BROKEN}) == len(BROKEN)


@pytest.mark.parametrize("broken", BROKEN[::12], ids=lambda broken: broken.name)
def test_the_one_line_raises_the_first_failure_of_the_report(broken):
    first = landscape_report(broken.make(), seed=3).failures[0]
    with pytest.raises(NotALandscape) as caught:
        check_landscape(broken.make(), seed=3)
    assert str(caught.value) == first.message


def test_what_rests_on_a_failure_is_skipped_and_the_rest_goes_on():
    report = landscape_report(of(WrongSign)())
    assert [found.name for found in report.failures] == ["sample_gradient: automatic differentiation"]
    batch = finding(report, "batch gradient: unbiased")
    assert (batch.status, batch.text) == ("skipped", "needs: sample_gradient: automatic differentiation")
    assert finding(report, "sample_loss: alone as in a batch").status == "passed"
    other = landscape_report(of(WrongTrace)())
    assert finding(other, "runs under every oracle, unchanged").status == "passed"


# Honest ones.


@pytest.mark.parametrize("case", [case for case in CASES if "digits" not in case.name][::3], ids=lambda case: case.name)
def test_a_report_of_an_honest_one_has_no_failure(case):
    points = None if case.points is None else torch.tensor(case.points, dtype=F64)
    report = landscape_report(case.make(F64), points, seed=5)
    assert report.ok, str(report)
    measured = [found for found in report.findings if found.tolerance is not None]
    assert len(measured) >= 10
    for found in measured:
        assert found.status == "passed"
        assert 0 <= found.deviation <= found.tolerance


@pytest.mark.parametrize("seed", range(5))
def test_honest_ones_pass_whatever_the_seed(seed):
    check_landscape(of(Honest)(), seed=seed)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3, 1e9])
def test_units_do_not_matter(scale):
    """Of a landscape in other units the same things hold, and the same lie is caught."""
    honest = QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=30)
    check_landscape(QuadraticSaddle(scale * honest.curvatures, scale * honest.tilts))

    class Off(QuadraticSaddle):
        def sample_gradient(self, x, sample):
            return super().sample_gradient(x, sample) * (1 + 1e-6)

    with pytest.raises(NotALandscape, match="automatic differentiation"):
        check_landscape(Off(scale * honest.curvatures, scale * honest.tilts))


def test_differences_tell_a_kink_from_an_error():
    @dataclass(frozen=True, eq=False)
    class Kinked(Landscape):
        samples: Tensor
        unseen: float = 0.0  # slope that automatic differentiation does not see

        def sample_loss(self, x, sample):
            return x.abs().sum() + self.unseen * x.detach().sum() + x @ sample

    name = "sample_gradient: finite differences"
    beside, at_the_kink = torch.tensor([[0.5, -0.5]], dtype=F64), torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=F64)
    assert finding(landscape_report(Kinked(centred(20, 2)), at_the_kink), name).status == "passed"
    assert finding(landscape_report(Kinked(centred(20, 2)), beside), name).status == "passed"
    # At the kink any slope between those of the two sides will do; beside it only one.
    found = finding(landscape_report(Kinked(centred(20, 2), 1e-3), beside), name)
    assert (found.status, round(found.deviation, 9)) == ("failed", 1e-3)
    assert found.tolerance < 1e-8


def test_differences_are_as_sharp_as_rounding_allows():
    report = landscape_report(of(Honest)())
    found = finding(report, "sample_gradient: finite differences")
    assert found.tolerance < 1e-8, "of values of order one, differences are good to nine digits"
    narrow = landscape_report(Honest(normal(30, 3, seed=12, dtype=F32)))
    assert finding(narrow, "sample_gradient: finite differences").tolerance < 1e-8, "they are taken in float64"


def test_a_million_added_and_taken_away_is_rounding_and_no_wrong_gradient():
    report = landscape_report(of(Cancels)())
    assert [found.name for found in report.failures] == ["float32 agrees with float64"]


def test_skipped_says_why():
    report = landscape_report(saddle(QuadraticSaddle)())
    assert finding(report, "retract").text == "flat space"
    assert finding(landscape_report(of(Honest)()), "claim: affine").text == "not claimed"
    if not torch.cuda.is_available():
        assert finding(report, "CUDA agrees with the CPU").text == "no CUDA"

    class Local(Honest):
        pass

    assert "pickles need" in finding(landscape_report(of(Local)()), "copies and pickles").text


def test_progress_and_table():
    seen = []
    report = landscape_report(of(Detached)(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, len(PROPERTIES)) for i in range(len(PROPERTIES))]
    text = str(report)
    for name in NAMES:
        assert name in text
    assert f"FAILED  {report.failures[0].message}" in text
    assert text.splitlines()[-1].startswith("Detached (n = 30, float64 on cpu): ")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(2), r"must be \(c, d\), one point a row, got shape \(2,\)"),
        (torch.zeros(0, 2), "one point a row"),
        (torch.tensor([[0.0, torch.nan]]), "finite"),
        (None, "declares no dimension"),
    ],
)
def test_points_that_are_none_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        check_landscape(Monkey(centred(40, 2)), points)


def test_test_points_of_another_dimension():
    with pytest.raises(NotALandscape, match="dimension is 3, but the test points have 2 coordinates"):
        check_landscape(of(Honest)(), torch.zeros(2, 2, dtype=F64))


# The ten lines of the design.


def written():
    names = {"__name__": "written_by_a_researcher"}
    source = MINE[: MINE.index("@dataclass(frozen=True, eq=False)\nclass Pointed")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "written_by_a_researcher", types.ModuleType("written_by_a_researcher"))
        exec(compile(source, "monkey", "exec"), names)
    return names["Monkey"]


VALUES = {"batch_size": 4, "lr": 0.01, "momentum": 0.9, "interval": 5, "threshold": math.inf, "alpha": 1.5}


def concrete(kind):
    found = [one for one in vars(escape).values() if isinstance(one, type) and issubclass(one, kind)]
    return [one for one in found if not getattr(one, "__abstractmethods__", None)]


def made(kind):
    needed = [key for key, value in defaults_of(kind).items() if value is inspect.Parameter.empty]
    needed += ["batch_size"] if kind is escape.StableNoise else []  # that, or a scale
    return kind(**{key: VALUES.get(key, 0.1) for key in needed})


@pytest.mark.parametrize("optimizer", concrete(Optimizer), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("oracle", concrete(Oracle), ids=lambda kind: kind.__name__)
def test_the_monkey_as_designed_runs_under_everything(oracle, optimizer):
    monkey = written()(0.1 * centred(40, 2))
    start = torch.zeros(2, dtype=F64)
    if not issubclass(oracle, escape.FullBatch | escape.MiniBatch | escape.Reshuffled | escape.GaussianNoise):
        with pytest.raises(ValueError, match="declare a critical point or `dimension`"):
            made(oracle).check(monkey)
        monkey = type("WithDimension", (type(monkey),), {"dimension": 2})(monkey.samples)
    data = simulate(monkey, made(oracle), made(optimizer), start, steps=10, chains=8, block=8, seed=1)
    assert torch.isfinite(torch.as_tensor(data.final.values)).all()


def test_the_monkey_as_designed_passes():
    points = torch.tensor([[0.0, 0.0], [0.3, -0.2], [-0.5, 0.4]], dtype=F64)
    report = landscape_report(written()(0.1 * centred(40, 2)), points)
    assert report.ok, str(report)
    assert finding(report, "claim: affine").status == "passed"


# The command.


@pytest.mark.parametrize(
    "arguments",
    [
        ["my.py:pointed"],
        ["my.py:ready"],
        ["my.py:pointed", "--set", "n=30", "--dtype", "float32", "--seed", "4"],
        ["my.py:monkey", "--point", "0,0", "--point", "0.3,-0.2"],
        ["additive-saddle", "--set", "n=50"],
    ],
    ids=" ".join,
)
def test_the_command_passes_what_is_right(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    for name in NAMES:
        assert name in result.stdout
    assert " 0 failed" in result.stdout.splitlines()[-1]
    assert result.stderr == ""


def test_the_command_fails_what_is_wrong(run):
    result = run("my.py:wrong")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert "automatic differentiation" in line
    assert "leave sample_gradient out" in line
    assert " 1 failed" in result.stdout.splitlines()[-1]
    flat = run("my.py:flat", "--point", "0,0")
    assert flat.exit_code == 1
    assert "samples[:, None]" in flat.stdout


def test_the_command_shows_progress(run):
    result = CliRunner().invoke(cli.main, ["check", "my.py:pointed"])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("check: done in")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my.py:Monkey"], ["needs samples", "write a maker", "def monkey(n=1000): return Monkey(samples=…)"]),
        (["my.py:Unfinished"], ["is not finished: it lacks", "sample_loss"]),
        (["my.py:NoLandscape"], ["is no Landscape"]),
        (["my.py:raises"], ["cannot be made: RuntimeError"]),
        (["my.py:monkey"], ["declares no dimension", "--point x1,x2"]),
        (["my.py:monkey", "--point", "0,a"], ["--point must be numbers", "'0,a'"]),
        (["my.py:monkey", "--point", "0,0", "--point", "1"], ["as many coordinates, got 2, 1"]),
        (["my.py:monkey", "--point", "nan,0"], ["must be finite"]),
        (["my.py:nothing"], ["no landscape 'nothing'"]),
        (["nowhere.py:x"], ["no file nowhere.py"]),
        (["additive-sadle"], ["did you mean additive-saddle?"]),
        (["my.py:pointed", "--set", "m=3"], ["has no option 'm'"]),
        (["my.py:pointed", "--dtype", "float16"], ["float16"]),
        (["my.py:pointed", "--seed", "-1"], ["--seed"]),
    ],
)
def test_bad_input_is_one_line(run, arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_one_point_of_another_dimension_is_a_failure_with_its_reason(run):
    result = run("my.py:pointed", "--point", "0,0,0")
    assert result.exit_code == 1
    assert "dimension is 2, but the test points have 3 coordinates" in result.stdout
