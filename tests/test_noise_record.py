"""The match of a run's oracle with its mini-batch, recorded beside the run."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from cases import random_factorization

from escape import (
    DiagonalNoise,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HessianNoise,
    IsotropicNoise,
    LeadingNoise,
    MiniBatch,
    NormalStart,
    Oja,
    Reshuffled,
    StableNoise,
    merge,
    noise_match,
    recorded_match,
    simulate,
    theory,
)
from escape.noise_geometry import measured_match

F64 = torch.float64
HERE = torch.tensor([0.7, -0.4, 0.2], dtype=F64)
LANDSCAPE = random_factorization(F64, n=40, d=3)
OPTIONS = {"steps": 3, "chains": 10, "block": 4, "executor": 1}


def run(oracle, start=HERE, **options):
    return simulate(LANDSCAPE, oracle, GradientDescent(0.01), start, **{**OPTIONS, **options})


@pytest.mark.parametrize(
    ("oracle", "differing"),
    [
        (MiniBatch(4), ()),
        (MiniBatch(4, replacement=True), ()),
        (Reshuffled(4), ()),
        (GaussianNoise(4), ()),
        (DiagonalNoise(4), ("variance", "distance")),
        (LeadingNoise(4), ("variance", "trace", "distance")),
        (LeadingNoise(4, at=-HERE), ("variance", "trace", "distance")),
        (IsotropicNoise(4), ("variance", "distance")),
        (HessianNoise(4), ("variance", "distance")),
        (StableNoise(2.0, batch_size=4), ("variance", "distance")),
        (StableNoise(1.5, batch_size=4), ("variance", "trace", "distance")),
    ],
    ids=str,
)
def test_what_differs_is_what_must(oracle, differing):
    """Kurtosis aside, which 4000 draws of a batch of four tell from a Gaussian's or not, as it comes."""
    match = recorded_match(run(oracle, match=True))
    assert match.draws == 4000
    assert {row.oracle for row in match.rows} == {str(oracle)}
    assert {row.direction for row in match.rows} == {"escape", "random 1", "random 2", "all"}
    found = {row.quantity for row in match.rows if row.differs} - {"kurtosis"}
    # Of a distance the record is sure only where it is large.
    assert found - {"distance"} == set(differing) - {"distance"}, str(match)
    assert found <= set(differing)


@pytest.mark.parametrize("oracle", [DiagonalNoise(4), LeadingNoise(4), HessianNoise(4), Reshuffled(4)], ids=str)
def test_the_measured_variance_is_the_exact_one(oracle, within):
    rows = noise_match(LANDSCAPE, [oracle], HERE, HERE, draws=40_000).of(direction="given 1", quantity="variance")
    exact = oracle.noise_variance(LANDSCAPE, HERE, HERE / HERE.norm())
    within("variance", rows[0].measured, exact, rows[0].error, 5)
    kappa = theory.kappa(4, 40, False)
    direction = HERE / HERE.norm()
    expected = kappa * float(direction @ LANDSCAPE.gradient_covariance(HERE) @ direction)
    assert rows[0].expected == pytest.approx(expected, rel=1e-12)


def test_infinite_variance_is_reported_as_such():
    match = recorded_match(run(StableNoise(1.5, batch_size=4), match=True))
    for row in match.rows:
        infinite = row.quantity in ("variance", "trace", "distance")
        assert math.isinf(row.measured) == infinite
        assert math.isnan(row.measured) != infinite
        assert math.isnan(row.error)
        assert row.differs == infinite
    assert "inf" in str(match)


@pytest.mark.parametrize("oracle", [FullBatch(), StableNoise(1.5, 0.1)], ids=str)
def test_what_stands_for_no_batch_says_so(oracle):
    match = recorded_match(run(oracle, match=True))
    assert match.rows == ()
    assert str(match) == f"no match: {oracle} stands for no mini-batch"


def test_a_record_is_plain_json_and_comes_back_whole():
    for oracle in (GaussianNoise(4), StableNoise(1.5, batch_size=4), LeadingNoise(4)):
        data = run(oracle, match=True)

        def refuse(name):
            raise AssertionError(f"{name} is no JSON")

        json.loads(data.attrs["noise_match"], parse_constant=refuse)
        match = recorded_match(data)
        again = recorded_match(run(oracle, match=True))
        assert str(match) == str(again)
    with pytest.raises(ValueError, match="run it with match=True"):
        recorded_match(run(GaussianNoise(4)))
    with pytest.raises(ValueError, match="match must be True or False, got 'yes'"):
        run(GaussianNoise(4), match="yes")


def test_runs_of_other_seeds_measure_with_other_draws():
    one, again, other = (recorded_match(run(DiagonalNoise(4), seed=seed, match=True)) for seed in (1, 1, 2))
    assert [row.measured for row in one.of(quantity="trace")] == [row.measured for row in again.of(quantity="trace")]
    assert [row.measured for row in one.of(quantity="trace")] != [row.measured for row in other.of(quantity="trace")]


def test_points_that_print_alike_are_told_apart():
    """Two points that differ in a late digit, or in the middle of many coordinates, which tensors print as dots."""
    near = HERE + torch.tensor([0.0, 1e-9, 0.0], dtype=F64)
    oracles = [LeadingNoise(4, at=HERE), LeadingNoise(4, at=near), HessianNoise(4, at=HERE)]
    match = noise_match(LANDSCAPE, oracles, HERE, draws=100)
    for oracle in oracles:
        assert len(match.of(oracle, quantity="trace")) == 1
    long = torch.zeros(2000, dtype=F64)
    other = long.clone()
    other[1000] = 1.0
    names = {str(LeadingNoise(4, at=at)) for at in (long, other, long.clone())}
    assert len(names) == 2
    assert all(len(name) < 120 and "\n" not in name for name in names)
    assert str(LeadingNoise(4)) == repr(LeadingNoise(4))


def test_one_spectrum_is_taken_for_all_draws_of_a_match(monkeypatch):
    eigh, taken = torch.linalg.eigh, []
    monkeypatch.setattr(torch.linalg, "eigh", lambda a: (taken.append(a.shape[:-2].numel()), eigh(a))[1])
    measured_match(LANDSCAPE, HessianNoise(4), HERE)
    assert sum(taken) < 10, f"{sum(taken)} spectra for 4000 draws at one point"


def test_a_record_changes_neither_the_run_nor_its_key(tmp_path):
    plain, matched = run(GaussianNoise(4), store=tmp_path), run(GaussianNoise(4), match=True)
    assert plain.attrs["spec"] == matched.attrs["spec"]
    for name in ("final", "exit_step", "status"):
        assert np.array_equal(plain[name], matched[name])


def test_a_record_survives_the_store_and_is_added_where_there_is_none(tmp_path, monkeypatch):
    oracle = DiagonalNoise(4)
    assert "noise_match" not in run(oracle, store=tmp_path).attrs
    added = recorded_match(run(oracle, store=tmp_path, match=True))
    assert len(list(tmp_path.glob("*.nc"))) == 1

    def never(*_):
        raise AssertionError("it is there")

    monkeypatch.setattr(sys.modules["escape.noise_geometry.record"], "noise_match", never)
    for match in (True, False):
        assert str(recorded_match(run(oracle, store=tmp_path, match=match))) == str(added)


def test_shards_put_together_keep_the_record():
    shards = [run(DiagonalNoise(4), shard=(i, 3), match=i == 2) for i in (1, 2, 3)]
    whole = run(DiagonalNoise(4), match=True)
    assert str(recorded_match(merge(*shards))) == str(recorded_match(whole))


def test_where_it_is_measured():
    """At the start, or the mean start: the exact values of the mini-batch there are in the record."""

    def trace_at(x):
        return theory.kappa(4, 40, False) * float(LANDSCAPE.noise_trace(x[None])[0])

    def recorded(start, **options):
        rows = recorded_match(run(DiagonalNoise(4), start, match=True, **options)).of(quantity="trace")
        return rows[0].expected

    assert recorded(HERE) == pytest.approx(trace_at(HERE), rel=1e-12)
    starts = torch.stack([HERE + 0.1 * k for k in range(4)])
    assert recorded(starts, chains=4) == pytest.approx(trace_at(starts.mean(0)), rel=1e-12)
    drawn = recorded(NormalStart(HERE, 1e-3), chains=64, block=64)
    assert drawn == pytest.approx(trace_at(HERE), rel=0.02)
    assert drawn != trace_at(HERE)


def test_on_a_sphere_it_is_measured_on_it():
    sphere = Oja.gaussian([1.0, 0.5, 0.1], n=40)
    starts = torch.eye(3, dtype=F64)
    data = simulate(sphere, DiagonalNoise(4), GradientDescent(0.01), starts, steps=1, chains=3, block=3, match=True)
    x = torch.full((3,), 3**-0.5, dtype=F64)
    expected = theory.kappa(4, 40, False) * float(sphere.gradient_covariance(x).trace())
    assert recorded_match(data).of(quantity="trace")[0].expected == pytest.approx(expected, rel=1e-12)
