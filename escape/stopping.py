"""When a point of a sweep has chains enough: blocks are added until an interval is as narrow as was asked for."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import numpy as np
import xarray as xr

from escape import estimate
from escape.estimate.base import check_level
from escape.run import Run

PILOT = 200  # chains at least in the first round
MARGIN = 1.1  # asked for beyond what the width reached predicts, so that few points fall short by little
GROWTH = 4  # times the chains so far, at most, in one round: a pilot's width is rough


class Verdict(NamedTuple):
    """What is known of a point: its estimate, and how many blocks it shall have; no more than now if it is done."""

    value: float
    low: float
    high: float
    relative_half_width: float
    reached: bool
    reason: str
    blocks: int


class Precision(NamedTuple):
    """The rule: blocks are added until the interval's half-width is at most `precision` of the estimate.

    After n chains with relative half-width w, 1.1 n (w / precision)² chains are run, in whole blocks, but at most 4 n
    and at most all. Where a chain was lost the interval of a mean has no upper end, and more chains would not give it
    one: such a point is given up.
    """

    precision: float
    target: Callable
    level: float

    def pilot(self, run: Run) -> int:
        """Return the blocks of the first round."""
        return min(run.blocks, -(-PILOT // run.block))

    def judge(self, run: Run, data: xr.Dataset, blocks: int) -> Verdict:
        """Say what the chains of the first `blocks` blocks, in `data`, tell.

        Raises
        ------
        TypeError
            If the target gives no estimate of one number.
        """
        found = self.target(data, level=self.level)
        try:
            value, low, high = (float(getattr(found, name)) for name in ("value", "low", "high"))
            reliable, reason = bool(found.reliable), str(found.reason)
        except (AttributeError, TypeError) as error:
            raise TypeError(f"target must return an Estimate of one number, got {found!r}") from error
        half = (high - low) / 2
        width = 0.0 if half == 0 else half / abs(value) if value and math.isfinite(value) else math.inf
        width = math.inf if math.isnan(width) else width
        narrow = width <= self.precision
        # A mean that is itself infinite has seen nothing yet; a finite one without an end, of chains some of which were
        # censored, never will have one. Of another target nobody can say: a quantile's end may come with more chains.
        hopeless = self.target is estimate.mean_exit_step and math.isfinite(value) and math.isinf(high - low)
        if narrow or hopeless or blocks >= run.blocks:
            if not narrow and not hopeless:
                used = f"{width:.2g} with all {run.chains} chains"
                reason = f"{used}; {reason}" if reason else used
            reached = narrow and reliable
            return Verdict(value, low, high, width, reached, "" if reached else reason, blocks)
        done = blocks * run.block
        wanted = done * min(GROWTH, MARGIN * (width / self.precision) ** 2)
        more = min(run.blocks, max(blocks + 1, math.ceil(wanted / run.block)))
        return Verdict(value, low, high, width, False, reason, more)


def checked_precision(precision, target, level: float, runs: dict[str, Run]) -> Precision | None:
    """Return the rule that arguments of `sweep` describe, or None where no precision is asked for.

    Raises
    ------
    ValueError, TypeError
        One line on what makes no rule; without an exit, naming the point.
    """
    if precision is None:
        return None
    if isinstance(precision, bool) or not isinstance(precision, Real) or not 0 < precision < np.inf:
        raise ValueError(f"precision must be a relative half-width above 0, such as 0.05, got {precision!r}")
    level = check_level(level)
    if not callable(target):
        raise TypeError(f"target must be a callable of (data, level=…) such as estimate.mean_exit_step, got {target!r}")
    try:
        inspect.signature(target).bind(None, level=level)
    except TypeError as error:
        raise TypeError(f"target must be a callable of (data, level=…): {error}") from error
    if target is estimate.mean_exit_step:
        for place, run in runs.items():
            if run.until is None:
                raise ValueError(f"at {place}: precision of the mean exit step needs an exit; give until")
    return Precision(float(precision), target, level)
