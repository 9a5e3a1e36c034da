"""A case: experiments that can be repeated at will, an estimate, and the truth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

LOW, HIGH = 0.93, 0.97  # what coverage of a 95% interval is allowed
REJECTION = 0.05  # level at which tests are judged: a right one rejects as often
FLAGGED = 0.9  # share of repeats that a setting known to be bad must have flagged


class Measured(NamedTuple):
    """What an estimator said of one experiment: an interval, or the p-value of a test as `low`."""

    low: float
    high: float
    reliable: bool


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes
    ----------
    estimator : str
        Public name of the function, with the package it is in: "estimate.mean_square".
    says : str
        What is simulated.
    chains : int
        Chains of one experiment.
    sample : callable
        (generator, repeats) -> the data of that many independent experiments, one by one.
    measure : callable
        Data of one experiment -> `Measured`.
    truth : float
        The right answer; NaN for a test, whose hypothesis is true.
    conservative : str
        Why coverage above 97% is no fault; empty where it is one.
    bad : str
        What is wrong with the setting, which the estimator must say; empty where nothing is.
    repeats : int
        Experiments in the full table.
    """

    estimator: str
    says: str
    chains: int
    sample: Callable[[Generator, int], Iterable[Any]]
    measure: Callable[[Any], Measured]
    truth: float
    conservative: str = ""
    bad: str = ""
    repeats: int = 1000

    @property
    def name(self) -> str:
        """Estimator and setting, which no two cases share."""
        return f"{self.estimator}: {self.says}, {self.chains} chains"

    @property
    def test(self) -> bool:
        """Whether a p-value is measured in the place of an interval."""
        return bool(np.isnan(self.truth))

    def run(self, seed: int, part: int, repeats: int) -> Tally:
        """Repeat the experiment; seed, case and part alone decide the random numbers."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode()), part])
        found = [self.measure(data) for data in self.sample(rng, repeats)]
        low, high, reliable = (np.array(column) for column in zip(*found, strict=True))
        reliable = reliable.astype(bool)
        if self.test:
            wrong = low <= REJECTION
            return Tally(repeats, int(reliable.sum()), int((wrong & reliable).sum()), 0, 0.0, 0)
        # An interval that is not there misses on either side.
        above, below = ~(low <= self.truth), ~(high >= self.truth)
        kept = reliable & np.isfinite(high - low)
        width = float((high - low)[kept].sum() / abs(self.truth))
        return Tally(
            repeats, int(reliable.sum()), int((above & reliable).sum()), int((below & reliable).sum()), width,
            int(kept.sum()),
        )  # fmt: skip


class Tally(NamedTuple):
    """Counts over repeats; misses and widths of those that the estimator called reliable.

    For a test, `above` counts rejections.
    """

    repeats: int
    reliable: int
    above: int
    below: int
    width: float
    bounded: int

    def __add__(self, other: Tally) -> Tally:  # type: ignore[override]
        """Put two parts together."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def hits(self) -> int:
        """Reliable intervals that hold the truth."""
        return self.reliable - self.above - self.below


def verdict(case: Case, tally: Tally) -> str:
    """Return what became of a case: "as said", or what is wrong."""
    if case.bad:
        share = 1 - tally.reliable / tally.repeats
        return "flagged" if share >= FLAGGED else f"NOT FLAGGED in {1 - share:.0%}"
    if not tally.reliable:
        return "NEVER RELIABLE"
    if case.test:
        share = tally.above / tally.reliable
        return _judged(1 - share, case.conservative)
    return _judged(tally.hits / tally.reliable, case.conservative)


def _judged(share: float, conservative: str) -> str:
    if share < LOW:
        return "TOO NARROW"
    if share > HIGH:
        return "conservative" if conservative else "TOO WIDE"
    return "as said"
