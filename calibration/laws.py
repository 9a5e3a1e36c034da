"""Cases of fitted laws, causes of exit, and tests of what exits have in common."""

from __future__ import annotations

import numpy as np

from calibration.case import Case, Measured
from calibration.exits import BINOMIAL, CHANCE, SADDLE, SKEWED, minimum, p_value, pairs, saddle
from calibration.moments import measured
from escape import estimate, theory

SHARE = 0.3  # of the exits through the first boundary


def fitted(field):
    """One number of the fitted law of a saddle."""

    def measure(data):
        law = estimate.saddle_exit_law(data[0], status=data[1])
        low, high, reliable = measured(getattr(law, field))
        return Measured(low, high, law.reliable and reliable)

    return measure


def causes(chains, horizon=np.inf):
    """Experiments (step, status, cause) of exits without memory through one of two boundaries."""

    def sample(rng, repeats):
        for step, status in minimum(chains, horizon)(rng, repeats):
            yield step, status, (rng.random(chains) < SHARE).astype(int)

    return sample


def _unseen(found, reliable):
    """The interval of a boundary through which no chain of all left."""
    _, low, high, *_ = estimate.proportion(0, found.chains)
    return Measured(low, high, reliable)


def incidence(at):
    """The incidence of the first boundary by a step."""

    def measure(data):
        found = estimate.competing_exits(data[0], data[2], status=data[1])
        row = int(np.searchsorted(found.steps, at, side="right")) - 1
        if 1 not in found.causes or row < 0:
            return _unseen(found, found.reliable)
        column = int(np.searchsorted(found.causes, 1))
        return Measured(float(found.low[row, column]), float(found.high[row, column]), found.reliable)

    return measure


def share(data):
    """The share of the first boundary."""
    found = estimate.competing_exits(data[0], data[2], status=data[1])
    if 1 not in found.causes:
        return _unseen(found, found.reliable and found.exited == found.chains)
    return measured(found.shares[int(np.searchsorted(found.causes, 1))])


def angle(field):
    """A mean over directions that are uniform in a plane."""

    def measure(points):
        return measured(getattr(estimate.exit_angle(points, np.zeros(2), np.array([1.0, 0.0])), field))

    return measure


_PLANE = {c: lambda rng, repeats, c=c: rng.standard_normal((repeats, c, 2)) for c in (20, 100, 1000)}
_FIELDS = {
    "growth_factor": float(theory.growth_factor(SADDLE["lr"], SADDLE["curvature"])),
    "kick_ratio": SADDLE["radius"] / float(theory.kick_std(SADDLE["lr"], SADDLE["curvature"], SADDLE["noise"])),
    "mean_exit_step": float(theory.mean_exit_step(**SADDLE)),
}

CASES = [
    *(
        Case(
            "estimate.saddle_exit_law", f"saddle, {seen}: {field}", c, saddle(c, horizon), fitted(field),
            _FIELDS[field], repeats=500,
        )
        for field, c, seen, horizon in (
            ("mean_exit_step", 20, "every chain left", np.inf),
            ("growth_factor", 100, "every chain left", np.inf),
            ("kick_ratio", 100, "every chain left", np.inf),
            ("mean_exit_step", 100, "followed for 110 steps", 110),
        )
    ),
    Case(
        "estimate.saddle_exit_law", "minimum", 100, minimum(100), fitted("mean_exit_step"), 1 / CHANCE,
        bad="not the law of a saddle", repeats=100,
    ),
    *(
        Case("estimate.competing_exits", "share of a boundary, every chain left", c, causes(c), share, SHARE,
             conservative=BINOMIAL)
        for c in (20, 100, 1000)
    ),
    *(
        Case(
            "estimate.competing_exits", "incidence by step 400, followed for 500", c, causes(c, 500), incidence(400),
            float(SHARE * -np.expm1(400 * np.log1p(-CHANCE))), conservative=BINOMIAL,
        )
        for c in (20, 100, 1000)
    ),
    Case(
        "estimate.competing_exits", "share of a boundary, followed for 500 steps", 100, causes(100, 500), share, SHARE,
        bad="some have not chosen yet",
    ),
    *(
        Case("estimate.exit_angle", "uniform directions: mean", c, _PLANE[c], angle("mean"), np.pi / 4)
        for c in (20, 100, 1000)
    ),
    *(
        Case("estimate.exit_angle", "uniform directions: mean cosine", c, _PLANE[c], angle("mean_cosine"), 2 / np.pi,
             conservative=SKEWED if c < 50 else "")
        for c in (20, 100)
    ),
    *(
        Case("estimate.exponentiality", "minimum", c, minimum(c), p_value(lambda data: estimate.exponentiality(*data)),
             np.nan)
        for c in (20, 100, 1000)
    ),
    Case(
        "estimate.exponentiality", "minimum, followed for 500 steps", 100, minimum(100, 500),
        p_value(lambda data: estimate.exponentiality(*data)), np.nan,
    ),
    *(
        Case(
            "estimate.log_rank", f"two {place}", c, pairs(sample),
            p_value(lambda both: estimate.log_rank(both[0][0], both[1][0], status=[both[0][1], both[1][1]])), np.nan,
        )
        for place, c, sample in (
            ("minima, followed for 500 steps", 20, minimum(20, 500)),
            ("minima, followed for 500 steps", 100, minimum(100, 500)),
            ("saddles", 100, saddle(100)),
        )
    ),
]  # fmt: skip
