"""Any landscape under any oracle with any optimizer: it runs, or is refused with the reason."""

import functools
import math

import numpy as np
import pytest
from cases import normal
from click.testing import CliRunner

from escape import QuadraticSaddle, SquaredDistance, predict, simulate
from escape.choices import OPTIMIZERS, ORACLES, SCHEDULES, make_optimizer, make_oracle
from escape.cli import main
from escape.optimizers import Cosine, GradientDescent, HeavyBall, InverseTime, PerturbedGradientDescent, WarmUp
from escape.oracles import LeadingNoise, MiniBatch, StableNoise
from escape.recipe import find_point, load_landscape
from escape.tables import coordinates, oracle_text

# How each is named on the command line, with what it cannot do without.
ORACLE = {name: name for name in ORACLES} | {"stable": "stable,alpha=1.5", "leading at": "leading,at=point"}
OPTIMIZER = {name: name for name in OPTIMIZERS} | {
    "pgd": "pgd,radius=0.01,threshold=1,interval=2",
    "pgd always": "pgd,radius=0.01,threshold=inf,interval=2",
    "langevin": "langevin,temperature=0.01",
    "sam": "sam,radius=0.01",
}
SCHEDULE = {"step": "step,interval=2", "inverse-time": "inverse-time,offset=3", "cosine": "cosine,steps=9"}
# One landscape of every road a gradient may take: affine, one score, plain autograd, a manifold.
LANDSCAPES = {
    "additive-saddle": ["n=40"],
    "digits": [],
    "two-basins": [],
    "oja": ["n=40"],
}


# Combinations that make no sense, and why.
REFUSED = {("pgd", oracle): "sees noise instead" for oracle in ORACLE.keys() - {"full"}}


@functools.cache
def place(name):
    """A landscape, a saddle or minimum of it, and somewhere near to start from."""
    landscape = load_landscape(name, LANDSCAPES[name])
    point = find_point(landscape.critical_points(), None)
    return landscape, point, landscape.retract(point.location + 0.01 * normal(2, len(point.location), seed=1))


@pytest.mark.parametrize("name", LANDSCAPES)
@pytest.mark.parametrize("oracle", ORACLE)
def test_every_combination_runs_or_is_refused_with_the_reason(name, oracle):
    landscape, point, start = place(name)
    seen = make_oracle(ORACLE[oracle], None if oracle == "full" else 4, point=point.location)
    for optimizer in OPTIMIZER:
        moves = landscape, seen, make_optimizer(OPTIMIZER[optimizer], 0.01)
        observe, said = {"x": SquaredDistance(point)}, REFUSED.get((optimizer, oracle))
        if said is not None:
            with pytest.raises(ValueError, match=f"under {type(seen).__name__} {said}"):
                simulate(*moves, start, steps=3, chains=2)
            continue
        data = simulate(*moves, start, steps=3, chains=2, block=2, observe=observe, executor=1)
        assert np.isfinite(data.final.values).all(), (oracle, optimizer)
        moved = (data.x.values[1:] != data.x.values[0]).any(0)
        assert moved.all(), f"{optimizer} did not move under {oracle}"


@pytest.mark.parametrize("optimizer", ["gd", "pgd", "pgd always", "langevin"])
@pytest.mark.parametrize("oracle", ORACLE)
def test_every_combination_is_predicted_or_refused_in_one_line(oracle, optimizer):
    """At a saddle that is left along two directions alike, and at a minimum."""
    for curvatures in ([-1.0, -1.0, 0.5], [0.5, 0.5, 1.0]):
        landscape = QuadraticSaddle.additive(curvatures, 0.05, n=40)
        point = landscape.critical_points()[0]
        seen = make_oracle(ORACLE[oracle], None if oracle == "full" else 4, point=point.location)
        moves = landscape, seen, make_optimizer(OPTIMIZER[optimizer], 0.1), point
        said = REFUSED.get((optimizer, oracle))
        if said is not None:
            with pytest.raises(ValueError, match=f"under {type(seen).__name__} {said}") as caught:
                predict(*moves, radius=1.0)
            assert "\n" not in str(caught.value)
            continue
        found = predict(*moves, radius=1.0)
        known = optimizer in ("gd", "langevin") and point.index and (optimizer, oracle) != ("gd", "full")
        assert not known or found.chains_leave == "all"
        assert all("\n" not in text for text in (found.leaving, *found.caveats))
        assert found.kick_std != math.inf


def test_what_an_oracle_is_taken_at_is_said():
    landscape, point, _ = place("additive-saddle")
    here, there = point.location, point.location + 0.5
    assert oracle_text(LeadingNoise(4, at=here), landscape).endswith(", taken at the critical point")
    assert oracle_text(LeadingNoise(4, at=there), landscape).endswith(f", taken at {coordinates(there.numpy())}")
    assert "taken" not in oracle_text(LeadingNoise(4), landscape)
    assert oracle_text(StableNoise(1.5, 0.1), landscape) == "stable noise, alpha 1.5, scale 0.1"
    assert "taken at the critical point" in run(*BASE, "--oracle", "leading,at=point", "--batch-size", 4).output


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


BASE = ["simulate", "additive-saddle", "--set", "n=40", "--lr", 0.05, "--steps", 6, "--chains", 8, "--quiet"]


@pytest.mark.parametrize("oracle", ORACLE)
def test_every_oracle_has_its_word_on_the_command_line(oracle):
    result = run(*BASE, "--oracle", ORACLE[oracle], "--radius", 1, *(["--batch-size", 4] if oracle != "full" else []))
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("optimizer", OPTIMIZER)
def test_every_optimizer_has_its_word_on_the_command_line(optimizer):
    oracle = ["--oracle", "full"] if optimizer == "pgd" else ["--batch-size", 4]
    result = run(*BASE, "--optimizer", OPTIMIZER[optimizer], "--radius", 1, "--start-std", 0.1, *oracle)
    assert result.exit_code == 0, result.output
    assert f"optimizer   {OPTIMIZER[optimizer].split(',')[0]}, lr 0.05" in result.output


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_has_its_word_on_the_command_line(schedule, tmp_path):
    out = tmp_path / "run.nc"
    words = [*BASE, "--schedule", SCHEDULE[schedule], "--warm-up", 3, "--batch-size", 4, "--out", out]
    result = run(*words)
    assert result.exit_code == 0, result.output
    again = run("replay", out, "--chain", 5)
    assert again.exit_code == 0, again.output
    assert "the same to the bit" in again.output


def test_all_names_are_listed_with_their_options():
    oracles, optimizers = run("oracles").output, run("optimizers").output
    for name in ORACLES:
        assert f"\n{name} " in f"\n{oracles}"
    for name in (*OPTIMIZERS, *SCHEDULES):
        assert f"\n{name} " in f"\n{optimizers}"
    assert "alpha=…" in oracles
    assert "beta2=0.999" in optimizers


def test_what_is_made():
    assert make_oracle("minibatch") == MiniBatch(32)
    assert make_oracle("minibatch,batch_size=4", replacement=True) == MiniBatch(4, True)
    assert make_oracle("stable,alpha=1.5") == StableNoise(1.5, batch_size=32)
    assert make_oracle("stable,alpha=1.5,scale=0.2") == StableNoise(1.5, 0.2)
    assert isinstance(make_oracle("leading"), LeadingNoise)
    assert make_optimizer("heavy-ball", 0.1) == HeavyBall(0.1, 0.9)
    assert make_optimizer("heavy-ball", 0.1, 0.5) == HeavyBall(0.1, 0.5)
    assert make_optimizer("gd", 0.1, schedule="inverse-time,offset=4") == GradientDescent(InverseTime(0.4, 4.0))
    cosine = Cosine(0.1, 50)
    assert make_optimizer("gd", 0.1, schedule="cosine,steps=50", warm_up=5) == GradientDescent(WarmUp(cosine, 5))
    pgd = make_optimizer("pgd,radius=0.1,threshold=inf,interval=3", 0.1)
    assert pgd == PerturbedGradientDescent(0.1, 0.1, math.inf, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--oracle", "gausian"], ["gausian", "did you mean gaussian"]),
        (["--oracle", "gaussian,sice=3"], ["sice", "batch_size"]),
        (["--oracle", "gaussian,batch_size=3", "--batch-size", 4], ["given twice"]),
        (["--oracle", "reshuffled", "--replacement"], ["reshuffled takes no replacement", "minibatch"]),
        (["--oracle", "stable"], ["stable needs a value for alpha"]),
        (["--oracle", "stable,alpha=3"], ["alpha"]),
        (["--oracle", "leading,at=there"], ["at of leading must be point"]),
        (["--oracle", "leading,at=0,0"], ["at of leading must be point", "got '0,0'"]),
        (["--oracle", "leading,at=0,0,batch_size=4"], ["at of leading must be point", "got '0,0'"]),
        (["--oracle", "stable,alpha=1.5,scale=0.1", "--replacement"], ["replacement goes with batch_size"]),
        (["--oracle", "stable,alpha=1.5,scale=0.1", "--batch-size", 4], ["give scale or batch_size, and not both"]),
        (["--schedule", "inverse-time,offset=0"], ["offset must be above 0"]),
        (["--optimizer", "adm"], ["adm", "did you mean adam"]),
        (["--optimizer", "adam,beta1=2"], ["beta1"]),
        (["--optimizer", "adam,lr=2"], ["--lr"]),
        (["--optimizer", "langevin"], ["langevin needs a value for temperature"]),
        (["--optimizer", "sam,width=inf"], ["width", "radius"]),
        (["--optimizer", "adam", "--momentum", 0.5], ["adam takes no momentum", "nesterov"]),
        (["--schedule", "cosin,steps=3"], ["did you mean cosine"]),
        (["--schedule", "cosine"], ["cosine needs a value for steps"]),
        (["--schedule", "cosine,steps=3"], ["step 3", "0.0"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_bad_choices_are_one_line(words, said):
    result = run(*BASE, *words)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert len(result.output.strip().splitlines()) == 1
    for word in said:
        assert word in result.output
