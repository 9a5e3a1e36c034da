"""The benchmarks run, tell right answers from wrong ones, and keep what was measured."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import record, report
from benchmarks.__main__ import main
from benchmarks.contenders import CONTENDERS
from benchmarks.jobs import JOBS, Target, problem_of
from benchmarks.memory import _high_water
from benchmarks.problems import Affine, Linear
from benchmarks.race import _apart, _reached

ALONE = ("escape", "torch-batched", "torch-training")
OWN = [(job, name) for job, held in JOBS.items() for name in ALONE if name in held.contenders]


@pytest.mark.parametrize(("job", "contender"), OWN)
def test_a_contender_of_torch_alone_is_right(job, contender):
    problem = problem_of(job, quick=True)
    made = CONTENDERS[contender].make(problem, "cpu")
    verdict = problem.verdict(made.run(problem.check_steps, seed=1), problem.check_steps, made.replacement)
    assert verdict.right, f"{verdict.worst:.1f} standard errors off in one of {verdict.statistics} statistics"


@pytest.mark.parametrize("contender", ["escape-distinct", "escape-float64", "escape-autograd"])
def test_a_variant_of_escape_is_right(contender):
    problem = problem_of("affine-d10-b32", quick=True)
    made = CONTENDERS[contender].make(problem, "cpu")
    assert problem.verdict(made.run(5, seed=1), 5, made.replacement).right


def _exact(problem, steps, chains, scale=1.0):
    """Positions with the right mean, and the right variance but for a factor."""
    factor = 1 - problem.lr * problem.curvatures
    variance = problem.lr**2 * problem.kappa() * (factor[:, None] ** (2 * np.arange(steps))).sum(1)
    normal = np.random.default_rng(7).standard_normal((chains, problem.d))
    return factor**steps * problem.start + (scale * variance) ** 0.5 * normal


def test_a_right_law_is_right():
    problem = Affine(10, 32)
    assert problem.verdict(_exact(problem, 50, problem.chains), 50, True).right


@pytest.mark.parametrize("scale", [0.5, (1000 - 32) / 999])
def test_a_wrong_variance_is_wrong_even_that_without_replacement(scale):
    problem = Affine(10, 32)
    assert not problem.verdict(_exact(problem, 50, problem.chains, scale), 50, True).right


def test_a_wrong_number_of_steps_and_nan_are_wrong():
    problem = Affine(10, 32)
    final = _exact(problem, 49, problem.chains)
    assert not problem.verdict(final, 50, True).right
    final[3, 4] = np.nan
    assert not problem.verdict(final, 49, True).right


@pytest.mark.parametrize("kind", ["phase", "logistic", "neuron"])
def test_slopes_are_derivatives_of_losses(kind):
    problem, score = Linear(kind), np.linspace(-2, 2, 9)
    target, h = np.where(np.arange(9) % 2, 1.0, -1.0), 1e-5
    slope = (problem.losses(score + h, target) - problem.losses(score - h, target)) / (2 * h)
    np.testing.assert_allclose(problem.slopes(score, target), slope, atol=1e-8)


def test_ratios_are_of_single_rounds():
    entries = {
        "escape": {"rates": [10.0, 40.0, 30.0]},
        "numba": {"rates": [5.0, 10.0, 10.0], "rate": [10.0, 5.0, 10.0]},
        "jax": {"rates": []},
    }
    reached = _reached(Target(("numba", "jax"), 2.5), entries)
    assert (reached["best"], reached["ratio"], reached["reached"]) == ("numba", [3.0, 2.0, 4.0], True)
    assert _reached(Target(("jax",), 2.5), entries)["reached"] is None


def test_exit_steps_that_disagree_are_seen():
    entries = {name: {"mean_exit_step": [mean, 1.0]} for name, mean in (("a", 10.0), ("b", 12.0), ("c", 20.0))}
    assert _apart(entries)["value"] == pytest.approx(10 / 2**0.5)
    assert _apart(entries)["reached"] is False


def test_peers_that_are_missing_are_said_and_results_of_other_jobs_stay(tmp_path):
    path = tmp_path / "results" / "cpu.json"
    memory = {"says": "memory", "cases": [], "targets": []}
    record.save(path, {"memory": memory}, record.environment("cpu"), ("memory",))
    result = CliRunner().invoke(main, ["--quick", "--jobs", "first-passage", "--rounds", "1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    jobs = json.loads(path.read_text())["jobs"]
    assert list(jobs) == ["first-passage", "memory"]
    contenders = jobs["first-passage"]["contenders"]
    assert contenders["escape"]["status"] == contenders["torch-batched"]["status"] == "ok"
    assert contenders["torch-batched"]["ratio"][0] > 0
    missing = [name for name in contenders if CONTENDERS[name].missing()]
    assert all(contenders[name]["status"] == "not installed" for name in missing)
    page = (tmp_path / "RESULTS.md").read_text()
    assert "### first-passage" in page
    assert "## GPU\n\nNot measured yet" in page


def test_a_contender_that_is_wrong_has_no_time():
    entry = {"status": "WRONG", "worst": 12.3, "statistics": 21, "rates": []}
    rows = report.table({"first": "escape", "contenders": {"escape": entry}})
    assert rows[1][1:] == ["WRONG", "", "", "12.3 standard errors off"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_a_missing_gpu_is_one_line():
    result = CliRunner().invoke(main, ["--device", "cuda"])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "no GPU" in result.output


def test_an_unknown_job_is_named():
    result = CliRunner().invoke(main, ["--jobs", "nothing"])
    assert result.exit_code == 2
    assert "nothing" in result.output


def test_peak_memory_is_that_of_this_process():
    before = _high_water()
    held = np.ones(25_000_000)
    assert before + 1e8 < _high_water() + held.nbytes
    assert _high_water() > 1e8


def test_every_job_has_contenders_that_exist():
    for job in JOBS.values():
        assert {*job.contenders, *job.cuda} <= set(CONTENDERS)
        assert dataclasses.is_dataclass(job.problem)
