"""Every interval the package gives is calibrated, and a reduced form of the calibration holds."""

import inspect
import typing

import numpy as np
import pytest
from scipy import stats

from calibration import case as judge
from calibration import table
from calibration.case import Case, Measured, Tally
from calibration.run import CASES, run
from escape import estimate, rare

REPEATS = 60
# A case that is as said, with coverage anywhere in 93% to 97%, fails for one seed in 10,000 at either end.
FALSE_ALARM = 1e-4
SLOW = ("saddle_exit_law", "growth_rate", "competing_exits", "simulated", "rare.")  # in the name of a case
QUICK = 5  # repeats of these: enough to see that they run and are not far off


def gives(result) -> bool:
    """Whether a return type holds an interval or a p-value, itself or in a field."""
    names = {*getattr(result, "_fields", ()), *getattr(result, "__dataclass_fields__", ())}
    if {"low", "high"} <= names or "p_value" in names:
        return True
    hints = typing.get_type_hints(result) if names else {}
    return any(gives(inner) for hint in hints.values() for inner in (hint, *typing.get_args(hint)))


def test_every_public_interval_is_calibrated():
    functions = {
        f"{module.__name__.removeprefix('escape.')}.{name}": getattr(module, name)
        for module in (estimate, rare)
        for name in module.__all__
    }
    giving = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and gives(typing.get_type_hints(function).get("return"))
    }
    assert len(giving) > 10
    calibrated = {case.estimator for case in CASES if not case.bad}
    assert giving <= calibrated, f"no case in calibration/ for {', '.join(sorted(giving - calibrated))}"


def test_names_are_of_one_case_each():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reduced(case):
    tally = case.run(7, 0, QUICK if any(word in case.name for word in SLOW) else REPEATS)
    if case.bad:
        flagged = tally.repeats - tally.reliable
        assert flagged >= stats.binom.ppf(FALSE_ALARM, tally.repeats, judge.FLAGGED)
        return
    assert tally.reliable > 0
    hits = tally.reliable - tally.above if case.test else tally.hits
    assert hits >= stats.binom.ppf(FALSE_ALARM, tally.reliable, judge.LOW), tally
    if not case.conservative:
        assert hits <= stats.binom.isf(FALSE_ALARM, tally.reliable, judge.HIGH), tally


def made_up(width=1.0, **changed):
    """A case of the normal mean with its known error, padded by a factor."""
    half = 1.959964 * width
    arguments = {
        "estimator": "estimate.made_up", "says": "a number", "chains": 1, "truth": 5.0, "repeats": 500,
        "sample": lambda rng, repeats: 5 + rng.standard_normal(repeats),
        "measure": lambda x: Measured(x - half, x + half, True),
    } | changed  # fmt: skip
    return Case(**arguments)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "as said"),
        ({"width": 0.7}, "TOO NARROW"),
        ({"width": 1.5}, "TOO WIDE"),
        ({"width": 1.5, "conservative": "by construction"}, "conservative"),
        ({"width": 0.7, "conservative": "by construction"}, "TOO NARROW"),
        ({"bad": "on purpose"}, "NOT FLAGGED in 100%"),
        ({"bad": "on purpose", "measure": lambda x: Measured(x, x, x < 0)}, "flagged"),
        ({"measure": lambda x: Measured(x, x, False)}, "NEVER RELIABLE"),
        ({"measure": lambda x: Measured(np.nan, np.nan, True)}, "TOO NARROW"),
        ({"truth": np.nan, "measure": lambda x: Measured(stats.norm.cdf(x - 5), 0, True)}, "as said"),
        ({"truth": np.nan, "measure": lambda x: Measured(stats.norm.cdf(x - 5) / 2, 0, True)}, "TOO NARROW"),
    ],
)
def test_right_and_wrong_intervals_are_told_apart(changed, said):
    case = made_up(**changed)
    assert judge.verdict(case, case.run(1, 0, 2000)) == said


def test_misses_are_counted_on_their_side_and_only_of_the_reliable():
    case = made_up(
        sample=lambda rng, repeats: [3.0, 7.0, 8.0, 5.0, 9.0], measure=lambda x: Measured(x - 1, x + 1, x < 9)
    )
    assert case.run(1, 0, 5) == Tally(5, 4, above=2, below=1, width=8 / 5, bounded=4)


def test_parts_have_numbers_of_their_own_that_depend_on_nothing_else():
    case = made_up(measure=lambda x: Measured(x, x, True), sample=lambda rng, repeats: [rng.random()])
    first, again, other = (case.run(1, part, 1).above for part in (0, 0, 1))
    assert first == again
    del other
    draws = {
        (seed, part): made_up(sample=lambda rng, repeats: [rng.random()], measure=lambda x: Measured(0, x, True))
        .run(seed, part, 1).width
        for seed in (1, 2) for part in (0, 1)
    }  # fmt: skip
    assert len(set(draws.values())) == 4


def test_processes_change_nothing():
    (case,) = (case for case in CASES if case.name == "estimate.proportion: 0.3 of chains, 100 chains")
    found = run(3, share=0.2, wanted=case.name, workers=2, said=lambda done, parts: None)
    assert found == {case.name: case.run(3, 0, 100) + case.run(3, 1, 100)}


def test_the_page_is_written_between_its_marks_alone():
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.write("new", page) == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    with pytest.raises(ValueError, match="no lines"):
        table.write("new", "nothing")
    assert table.write("new", table.PAGE.read_text()).count("new") >= 1


def test_tables_say_what_was_found():
    cases = [made_up(), made_up(says="too few", bad="too few chains"), made_up(says="a test", truth=np.nan)]
    tallies = [Tally(1000, 900, 20, 30, 90.0, 900), Tally(1000, 0, 0, 0, 0.0, 0), Tally(1000, 1000, 45, 0, 0.0, 0)]
    found = table.tables(cases, {case.name: tally for case, tally in zip(cases, tallies, strict=True)})
    assert found["intervals"][1] == [
        "made_up", "a number", "1", "94.4%", "92.7%–95.8%", "3.3%", "2.2%", "10.0%", "0.1", "as said",
    ]  # fmt: skip
    assert found["bad"][1][3:] == ["too few chains", "100.0%", "flagged"]
    assert found["tests"][1][3] == "4.5%"
    assert all(len(row) == len(rows[0]) for rows in found.values() for row in rows)
