"""The table: coverage of every case, on a terminal and in the page."""

from __future__ import annotations

from pathlib import Path

from calibration.case import Case, Tally, verdict
from escape import estimate

PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
BEGIN, END = "<!-- written by make calibrate, from here -->", "<!-- to here -->"
_INTERVALS = ["estimate of", "data", "chains", "coverage", "(95%)", "too low", "too high", "flagged", "width", ""]
_TESTS = ["test", "data", "chains", "rejected at 5%", "(95%)", "not tested", ""]
_BAD = ["estimate of", "data", "chains", "what is wrong", "flagged", ""]


def tables(cases: list[Case], found: dict[str, Tally]) -> dict[str, list[list[str]]]:
    """Return the three tables, heading first: intervals, tests, and settings that are bad on purpose."""
    made = {"intervals": [_INTERVALS], "tests": [_TESTS], "bad": [_BAD]}
    for case in cases:
        if case.name in found:
            tally = found[case.name]
            kind = "bad" if case.bad else "tests" if case.test else "intervals"
            made[kind].append({"bad": _bad, "tests": _test, "intervals": _interval}[kind](case, tally))
    return {kind: rows for kind, rows in made.items() if len(rows) > 1}


def _interval(case: Case, tally: Tally) -> list[str]:
    count = max(tally.reliable, 1)
    width = f"{tally.width / tally.bounded:.2g}" if tally.bounded else "none"
    return [
        *_head(case), *_share(tally.hits, tally.reliable), f"{tally.below / count:.1%}", f"{tally.above / count:.1%}",
        f"{1 - tally.reliable / tally.repeats:.1%}", width, _verdict(case, tally),
    ]  # fmt: skip


def _test(case: Case, tally: Tally) -> list[str]:
    flagged = f"{1 - tally.reliable / tally.repeats:.1%}"
    return [*_head(case), *_share(tally.above, tally.reliable), flagged, _verdict(case, tally)]


def _bad(case: Case, tally: Tally) -> list[str]:
    return [*_head(case), case.bad, f"{1 - tally.reliable / tally.repeats:.1%}", _verdict(case, tally)]


def _head(case: Case) -> list[str]:
    return [case.estimator.removeprefix("estimate."), case.says, f"{case.chains:,}"]


def _share(count: int, total: int) -> tuple[str, str]:
    if not total:
        return "none", ""
    found = estimate.proportion(count, total)
    return f"{found.value:.1%}", f"{found.low:.1%}–{found.high:.1%}"


def _verdict(case: Case, tally: Tally) -> str:
    said = verdict(case, tally)
    return f"{said}: {case.conservative}" if said == "conservative" else said


def counts(cases: list[Case], found: dict[str, Tally]) -> str:
    """Return how often each experiment was repeated, in a line."""
    usual = max(tally.repeats for tally in found.values())
    fewer = {case.estimator: found[case.name].repeats for case in cases if found[case.name].repeats < usual}
    said = ", ".join(f"{count:,} in some of {name.removeprefix('estimate.')}" for name, count in fewer.items())
    return f"{usual:,} experiments a line{f' ({said})' if said else ''}."


def plain(rows: list[list[str]]) -> str:
    """Return a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def page(rows: list[list[str]]) -> str:
    """Return a table for the page."""
    head, *body = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def write(text: str, into: str) -> str:
    """Return a page with the text between its two marks."""
    before, begin, rest = into.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r} to write between")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
