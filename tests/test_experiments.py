"""What the experiments share: comparisons, numbers for the paper, the command line."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from experiments import common
from experiments.__main__ import NAMES, main
from experiments.common import Settings, claim, fact, tex_number, write_numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16384, "16384"),
        (0.190620, "0.1906"),
        (0.0, "0"),
        (1.5e-7, r"1.5 \times 10^{-7}"),
        (-2.5, "-2.5"),
        (12345.6, r"1.235 \times 10^{4}"),
    ],
)
def test_numbers_are_written_for_tex(value, text):
    assert tex_number(value) == rf"\ensuremath{{{text}}}"


def test_what_is_not_finite_is_written_too():
    assert tex_number(math.inf) == r"\ensuremath{\infty}"


def test_a_claim_is_judged_in_standard_errors():
    half = 2 * 1.959964
    near, far = (claim("A", "a", (10.0, 10 - half, 10 + half), predicted) for predicted in (14.0, 17.0))
    assert near.z == pytest.approx(-2)
    assert near.holds
    assert far.z == pytest.approx(-3.5)
    assert not far.holds


def test_an_exact_number_holds_only_if_equal():
    assert claim("A", "a", (2.0, 2.0, 2.0), 2.0).holds
    assert not claim("A", "a", (2.0, 2.0, 2.0), 2.1).holds


def test_a_mean_without_upper_end_supports_no_claim():
    assert not claim("A", "a", (2.0, 1.0, math.inf), 2.0).holds


def test_macros_are_named_after_experiment_and_claim(tmp_path):
    found = [claim("Rate", "a", (2.0, 1.0, 3.0), 2.5), fact("Chains", "b", 4096, True)]
    lines = [json.dumps(one.__dict__) for one in found]
    (tmp_path / "saddle_growth.claims.jsonl").write_text("\n".join(lines))
    write_numbers(tmp_path, tmp_path / "numbers.tex")
    text = (tmp_path / "numbers.tex").read_text()
    for macro in ("SaddleGrowthRate", "SaddleGrowthRateLow", "SaddleGrowthRateTheory", "SaddleGrowthChains"):
        assert f"\\newcommand{{\\{macro}}}" in text, macro
    assert "SaddleGrowthChainsTheory" not in text


def test_every_label_has_random_numbers_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    seeds = []
    monkeypatch.setattr(common, "simulate", lambda *_, seed, **__: seeds.append(seed))

    class Still:
        def to(self, device):
            return self

    for seed, label in ((0, "a"), (0, "b"), (1, "a"), (0, "a")):
        Settings(seed=seed).simulate(label, Still())
    assert len(set(seeds[:3])) == 3
    assert seeds[0] == seeds[3]


def test_experiments_are_listed():
    result = CliRunner().invoke(main, ["list"])
    assert result.exit_code == 0
    assert all(name in result.output for name in NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "name at least one"),
        (["run", "sadle"], "no experiment 'sadle'"),
        (["run", "exit_times", "--device", "nowhere"], "no device 'nowhere'"),
        (["run", "exit_times", "--device", "meta"], "take cpu, cuda or cuda:N"),
        (["run", "exit_times", "--preset", "smoke", "--figures", "/proc/none"], "cannot write"),
        (["run", "exit_times", "--preset", "long"], "'long' is not one of"),
        (["run", "exit_times", "--chains", "0"], "0 is not in the range"),
    ],
)
def test_bad_arguments_are_one_line_and_code_two(arguments, message):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.splitlines()) == 1, result.output


def test_an_unwritable_place_is_said_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "results").write_text("in the way")
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    result = CliRunner().invoke(main, ["run", "saddle_growth", "--preset", "smoke"])
    assert result.exit_code == 2
    lines = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert "cannot write" in lines[0]


def test_presets_differ_and_chains_can_be_asked_for():
    assert [Settings(preset).pick(1, 2, 3) for preset in common.PRESETS] == [1, 2, 3]
    assert Settings("smoke", chains=77).pick_chains(1, 2, 3) == 77
    assert np.isfinite(Settings().seed)


def test_a_number_without_a_prediction_is_no_claim():
    assert claim("A", "a", (2.0, 1.0, 3.0)).holds is None
    assert claim("A", "a", (2.0, 1.0, math.inf)).holds is False


def test_an_experiment_run_by_itself_fails_where_a_claim_does(monkeypatch, tmp_path, capsys):
    import experiments.saddle_growth as experiment

    monkeypatch.setattr(common, "run", lambda *_: [fact("A", "a false one", 1.0, False)])
    with pytest.raises(SystemExit) as stopped:
        common.run_all([experiment], Settings("smoke"), None)
    assert stopped.value.code == 1
    assert "saddle_growth: a false one" in capsys.readouterr().err
