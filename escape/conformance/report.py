"""What a check of a landscape has found: one line for each property, and what to do about those that do not hold."""

from dataclasses import dataclass

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class NotALandscape(AssertionError):
    """A landscape that is not what it says; the message names the property, the place, the amount and what to do."""


@dataclass(frozen=True)
class Finding:
    """What was found of one property.

    Attributes
    ----------
    name : str
        The property.
    status : {"passed", "failed", "skipped"}
        Skipped: not claimed, not to be had here, or resting on a property that failed.
    deviation, tolerance : float or None
        Largest deviation, in units of what was allowed there, and what was allowed; None where nothing is measured.
    where : str
        Place of the largest deviation.
    text : str
        What is wrong, or why it was skipped; empty where it passed.
    advice : str
        What to do; empty unless it failed.
    """

    name: str
    status: str
    deviation: float | None = None
    tolerance: float | None = None
    where: str = ""
    text: str = ""
    advice: str = ""

    @property
    def message(self) -> str:
        """What is wrong and what to do, in one line."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


@dataclass(frozen=True)
class Report:
    """All findings about one landscape, in the order in which they were looked for.

    Attributes
    ----------
    landscape : str
        Name of its class, with n, d, dtype and device.
    findings : tuple of Finding
        One for each property.
    """

    landscape: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that failed."""
        return tuple(found for found in self.findings if found.status == FAILED)

    def lines(self) -> list[str]:
        """Write a table of all properties, then every failure in full, then how many there are of each."""
        rows = [("property", "result", "off by", "allowed", "")]
        for found in self.findings:
            numbers = ["" if number is None else f"{number:.1e}" for number in (found.deviation, found.tolerance)]
            rows.append((found.name, found.status, *numbers, found.text if found.status == SKIPPED else found.where))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:4], widths[2:]), row[4]]
            ).rstrip()
            for row in rows
        ]
        failed = [f"FAILED  {found.message}" for found in self.failures]
        count = {status: sum(found.status == status for found in self.findings) for status in (PASSED, FAILED, SKIPPED)}
        said = ", ".join(f"{number} {status}" for status, number in count.items())
        return [*lines, *([""] if failed else []), *failed, "", f"{self.landscape}: {said}"]

    def __str__(self) -> str:
        return "\n".join(self.lines())
