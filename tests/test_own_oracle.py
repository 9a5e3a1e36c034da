"""Oracles and optimizers of anybody's own: what theory takes their word for, and how the command line names them.

False alarms: 6e-5 for each comparison with a simulation, in four standard errors.
"""

import json
import math
from dataclasses import dataclass

import pytest
import torch
from cases import random_factorization
from click.testing import CliRunner
from torch import Tensor

from escape import (
    Above,
    DoubleWell,
    GaussianNoise,
    GradientDescent,
    MiniBatch,
    Oracle,
    QuadraticSaddle,
    Reshuffled,
    SquaredDistance,
    predict,
    recorded_match,
    simulate,
    theory,
)
from escape.choices import make_optimizer, make_oracle
from escape.cli import main
from escape.draws import standard_normal
from escape.oracles import Batched

F64 = torch.float64
WELL = DoubleWell.gaussian(3.0, n=20)


@dataclass(frozen=True)
class Half(Batched):
    """∇f plus noise of half the mini-batch's standard deviation, in one dimension."""

    def draw(self, landscape, steps, chains, generator):
        return standard_normal((steps, chains, 1), generator, landscape.samples.dtype)

    def gradient(self, landscape, x, draw):
        share = self.covariance_factor(landscape) * landscape.noise_trace(x)[:, None]
        return landscape.gradient(x) + 0.5 * share.sqrt() * draw

    def noise_covariance(self, landscape, x, directions):
        return 0.25 * super().noise_covariance(landscape, x, directions)


class GaussianHalf(Half):
    """The same, said to be Gaussian."""

    gaussian = True


@dataclass(frozen=True)
class Growing(Oracle):
    """∇f plus Gaussian noise of standard deviation s (1 + x²), which no landscape knows of."""

    size: float
    gaussian = True

    def draw(self, landscape, steps, chains, generator):
        return standard_normal((steps, chains, 1), generator, landscape.samples.dtype)

    def gradient(self, landscape, x, draw):
        return landscape.gradient(x) + self.size * (1 + x**2) * draw

    def noise_covariance(self, landscape, x, directions):
        return (self.size * (1 + x @ x)) ** 2 * directions.T @ directions


class Signs(Growing):
    """Noise of two values, which says nothing of its law."""

    gaussian = False

    def draw(self, landscape, steps, chains, generator):
        return super().draw(landscape, steps, chains, generator).sign()


def minimum(landscape):
    return next(point for point in landscape.critical_points() if not point.index)


def predicted(oracle, radius=0.8, landscape=WELL):
    return predict(landscape, oracle, GradientDescent(0.1), minimum(landscape), radius=radius)


@pytest.mark.parametrize("oracle", [GaussianHalf(1), Growing(0.8)], ids=lambda oracle: type(oracle).__name__)
def test_the_exact_chain_takes_an_oracle_at_its_word(oracle, within):
    found, point = predicted(oracle), minimum(WELL)
    assert found.law == "exact chain in one dimension"
    data = simulate(
        WELL, oracle, GradientDescent(0.1), point.location, steps=10_000, chains=4000,
        until=Above(SquaredDistance(point.location), 0.8**2), seed=1,
    )  # fmt: skip
    assert (data.status.values == 1).all()
    steps = data.exit_step.values.astype(float)
    within("mean exit step", steps.mean(), found.mean_exit_step, steps.std() / math.sqrt(len(steps)), 4)


@pytest.mark.parametrize("oracle", [Half(1), Signs(0.8)], ids=lambda oracle: type(oracle).__name__)
def test_no_exact_chain_of_a_law_that_is_not_said(oracle):
    found, name = predicted(oracle), type(oracle).__name__
    assert found.mean_exit_step is None
    said = f"no exact chain: theory does not know {name}: the law of its noise is not known to be Gaussian"
    assert said in found.caveats
    assert found.chains_leave is None
    unknown = "it hangs on gamma, which is not known"
    reach = f"theory does not know {name}, whose noise may or may not reach a way out"
    assert found.leaving == (reach if oracle.additive(WELL) else unknown)


class Biased(MiniBatch):
    """A mini-batch that always looks too far to one side."""

    def gradient(self, landscape, x, draw):
        return super().gradient(landscape, x, draw) + 0.05


class Clipped(GaussianNoise):
    """Gaussian noise whose gradients are clipped."""

    gaussian = False

    def gradient(self, landscape, x, draw):
        return super().gradient(landscape, x, draw).clamp(-1, 1)


class Halves(Reshuffled):
    """Epochs, of whatever kind."""


class Endless(Growing):
    """Noise without variance."""

    def noise_variance(self, landscape, x, direction):
        return math.inf


@pytest.mark.parametrize("oracle", [Biased(2), Clipped(2)], ids=lambda oracle: type(oracle).__name__)
def test_a_subclass_is_not_taken_for_its_parent(oracle):
    """By its type theory knows of a parent's chain and rates; of a subclass it has what that says, and no more."""
    name = type(oracle).__name__
    assert predicted(oracle).mean_exit_step is None
    landscape = random_factorization(F64)
    found = predict(landscape, oracle, GradientDescent(0.05), landscape.critical_points()[0])
    assert (found.log_rate, found.lyapunov_exponent) == (None, None)
    assert f"theory does not know {name}: how its noise changes with the distance" in found.caveats
    known = predict(landscape, type(oracle).__mro__[1](2), GradientDescent(0.05), landscape.critical_points()[0])
    assert known.lyapunov_exponent is not None
    assert found.noise == known.noise
    saddle = QuadraticSaddle.additive([-1.0, 0.5], 0.05, n=20)
    point = saddle.critical_points()[0]
    found = predict(saddle, oracle, GradientDescent(0.1), point, radius=1.0)
    assert found.mean_exit_step == predict(saddle, MiniBatch(2), GradientDescent(0.1), point, radius=1.0).mean_exit_step


@pytest.mark.parametrize(
    ("oracle", "said"),
    [
        (Halves(2), "theory does not know Halves, whose draws depend on those before them"),
        (Endless(0.1), "theory does not know Endless, whose noise has no variance"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_exit_law_of_a_noise_that_is_not_known(oracle, said):
    saddle = QuadraticSaddle.additive([-1.0, 0.5], 0.05, n=20)
    found = predict(saddle, oracle, GradientDescent(0.1), saddle.critical_points()[0], radius=1.0)
    assert (found.mean_exit_step, found.kick_std) == (None, None)
    assert any(said in text for text in found.caveats), found.caveats
    bowl = QuadraticSaddle.additive([0.5], 0.05, n=20)
    assert predict(bowl, oracle, GradientDescent(0.1), bowl.critical_points()[0]).stationary_std is None


def test_noise_of_ones_own_is_at_every_place_what_it_is():
    """However small it is beside the gradients of the samples, of which it is not made."""
    landscape = QuadraticSaddle.additive([-1.0], 1.0, n=20)
    found = predict(landscape, Growing(1e-14), GradientDescent(0.1), landscape.critical_points()[0])
    assert found.noise_type == "I"
    assert found.kick_std == pytest.approx(theory.kick_std(0.1, -1.0, 1e-14), rel=1e-12)
    assert found.log_rate is None, "it does not say that it is the same everywhere"
    assert recorded_match(
        simulate(landscape, Growing(0.1), GradientDescent(0.1), torch.zeros(1), steps=1, chains=1, match=True)
    ).note == "Growing(size=0.1) stands for no mini-batch"  # fmt: skip


def test_tensors_of_an_oracle_are_written_so_that_two_are_told_apart():
    @dataclass(frozen=True, eq=False)
    class Weighted(Growing):
        weights: Tensor | None = None

    assert str(Weighted(0.1)) == repr(Weighted(0.1))
    assert str(Weighted(0.1, torch.tensor([0.1, 0.2], dtype=F64))) == "Weighted(size=0.1, weights=[0.1, 0.2])"
    one, other = torch.zeros(40, 50), torch.zeros(40, 50)
    other[20, 25] = 1.0
    assert str(Weighted(0.1, one)) != str(Weighted(0.1, other))
    assert str(Weighted(0.1, one)).startswith("Weighted(size=0.1, weights=<40 x 50 numbers, ")


# On the command line.

MINE = '''
from dataclasses import dataclass
import torch
from escape import GradientDescent, Landscape, Optimizer, Oracle, QuadraticSaddle
from escape.draws import standard_normal

class Bent(QuadraticSaddle):
    pass

def bent(n=40):
    made = QuadraticSaddle.additive([-1.0, 0.5], 0.02, n)
    return Bent(made.curvatures, made.tilts)

@dataclass(frozen=True)
class Fixed(Oracle):
    """Noise of one size, on landscapes of this file alone."""
    noise: float
    at: torch.Tensor | None = None
    gaussian = True

    def check(self, landscape):
        if not isinstance(landscape, Bent):
            raise ValueError("a landscape of another file")
        if self.noise == 13:
            raise KeyError("unlucky")

    def __post_init__(self):
        if self.noise == 7:
            raise KeyError("seven")

    def draw(self, landscape, steps, chains, generator):
        return standard_normal((steps, chains, landscape.dimension), generator, landscape.samples.dtype)

    def gradient(self, landscape, x, draw):
        return landscape.gradient(x) + self.noise * draw

    def noise_covariance(self, landscape, x, directions):
        return self.noise**2 * directions.T @ directions

    def additive(self, landscape):
        return True

class Unfinished(Oracle):
    def gradient(self, landscape, x, draw):
        return x

@dataclass(frozen=True)
class Twice(GradientDescent):
    factor: float = 2.0

    def step(self, state, gradient, kick, t):
        return super().step(state, self.factor * gradient, kick, t)

class Rateless(GradientDescent):
    def __init__(self):
        pass

ready = Fixed(0.1)
'''
BASE = ["--lr", "0.1", "--radius", "1", "--quiet", "--steps", "300", "--chains", "200", "--block", "100"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder with a file of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(MINE)

    def call(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return call


def test_an_oracle_of_a_file(run, tmp_path):
    """Of the same file as the landscape, whose classes it knows; shown, run, kept and replayed."""
    oracle = ["--oracle", "my.py:Fixed,noise=0.01"]
    shown = run("show", "my.py:bent", "--lr", 0.1, "--radius", 1, *oracle)
    assert shown.exit_code == 0, shown.output
    assert "Fixed, noise 0.01; gd, lr 0.1" in shown.output
    mean = theory.mean_exit_step(0.1, -1.0, 0.01, 1.0)
    assert f"mean step {mean:.5g}" in shown.output
    result = run("simulate", "my.py:bent", *BASE, *oracle, "--out", "out.nc")
    assert result.exit_code == 0, result.output
    assert "Fixed, noise 0.01" in result.output
    again = run("replay", "out.nc", "--chain", 5)
    assert again.exit_code == 0, again.output
    assert "the same to the bit" in again.output


def test_an_optimizer_of_a_file(run):
    result = run("simulate", "my.py:bent", *BASE, "--optimizer", "my.py:Twice,factor=3", "--batch-size", 4)
    assert result.exit_code == 0, result.output
    assert "optimizer   Twice, lr 0.1, factor 3" in result.output
    assert make_optimizer("my.py:Twice", 0.1, schedule="step,interval=5").lr.interval == 5


def test_at_is_the_critical_point_for_ones_own_as_well(run):
    here = torch.tensor([0.5, 0.0], dtype=F64)
    assert make_oracle("my.py:Fixed,noise=0.1,at=point", point=here).at is here


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--oracle", "my.py"], ["my.py names a file, not an oracle in it; write my.py:NAME"]),
        (["--oracle", "none.py:Fixed"], ["no file none.py"]),
        (["--oracle", "my.py:Fixd,noise=1"], ["my.py has no oracle 'Fixd'", "did you mean Fixed"]),
        (["--oracle", "my.py:bent"], ["my.py:bent is no oracle: give a class derived from escape.Oracle"]),
        (["--oracle", "my.py:ready"], ["my.py:ready is no oracle: give a class"]),
        (["--oracle", "my.py:Twice"], ["my.py:Twice is no oracle"]),
        (["--oracle", "my.py:Unfinished"], ["my.py:Unfinished is not finished: it lacks draw"]),
        (["--oracle", "my.py:Fixed"], ["my.py:Fixed needs a value for noise"]),
        (["--oracle", "my.py:Fixed,nose=1"], ["has no option 'nose'", "did you mean noise"]),
        (["--oracle", "my.py:Fixed,noise=7"], ["my.py:Fixed cannot be made: KeyError: 'seven'"]),
        (["--oracle", "my.py:Fixed,noise=1", "--batch-size", 4], ["my.py:Fixed takes no batch size"]),
        (["--oracle", "my.py:Fixed,noise=1,at=0,0"], ["at of my.py:Fixed must be point", "got '0,0'"]),
        (["--oracle", "fixed"], ["unknown oracle 'fixed'", "or FILE.py:NAME"]),
        (["--optimizer", "my.py:Fixed"], ["my.py:Fixed is no optimizer: give a class derived from escape.Optimizer"]),
        (["--optimizer", "my.py:Rateless"], ["my.py:Rateless takes no lr"]),
        (["--optimizer", "my.py:Twice,lr=1"], ["given by --lr"]),
        (["--optimizer", "my.py:Twice", "--momentum", 0.5], ["my.py:Twice takes no momentum"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_what_makes_none_is_refused_in_one_line(run, words, said):
    result = run("simulate", "my.py:bent", *BASE, *words)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert len(result.output.strip().splitlines()) == 1, result.output
    for word in said:
        assert word in result.output


def test_a_file_that_was_changed_is_read_again(run, tmp_path):
    assert make_oracle("my.py:Fixed,noise=0.1") == make_oracle("my.py:Fixed,noise=0.1")
    before = type(make_oracle("my.py:Fixed,noise=0.1"))
    (tmp_path / "my.py").write_text(MINE + "\n# changed\n")
    assert type(make_oracle("my.py:Fixed,noise=0.1")) is not before


def test_the_record_of_a_run_keeps_the_words(run, tmp_path):
    import xarray as xr

    run("simulate", "my.py:bent", *BASE, "--oracle", "my.py:Fixed,noise=0.01", "--out", "out.nc")
    with xr.open_dataset("out.nc") as data:
        assert "my.py:Fixed,noise=0.01" in json.loads(data.attrs["command"])["oracle"]
