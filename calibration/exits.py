"""Cases of escape steps: saddles by their exact law, minima by the geometric one, with and without censoring."""

from __future__ import annotations

import numpy as np

from calibration.case import Case, Measured
from calibration.moments import measured
from escape import estimate, theory

# a saddle left after 110 steps or so
SADDLE = {"lr": 0.05, "curvature": -1.0, "noise": 0.05, "radius": 1.0}
_LOG = np.log1p(SADDLE["lr"])
_KICK = float(theory.kick_std(SADDLE["lr"], SADDLE["curvature"], SADDLE["noise"]))
CHANCE = 0.002  # of leaving a minimum, at each step
BINOMIAL = "a whole number of exits: Clopper and Pearson's interval holds at least its level"
LATTICE = "whole steps: the band jumps from one to the next"
SKEWED = "few chains: the correction for skewness errs to the wide side where the law is bounded"


def saddle(chains, horizon=np.inf):
    """Experiments (step, status): ceil(ln(R / |Z|) / ln a) with Z ~ N(0, s^2), censored at the horizon."""

    def sample(rng, repeats):
        z = np.abs(_KICK * rng.standard_normal((repeats, chains)))
        step = np.maximum(np.ceil(np.log(SADDLE["radius"] / z) / _LOG), 1)
        return [(np.minimum(row, horizon).astype(int), (row <= horizon).astype(int)) for row in step]

    return sample


def minimum(chains, horizon=np.inf):
    """Experiments (step, status) of exits without memory, censored at the horizon."""

    def sample(rng, repeats):
        step = rng.geometric(CHANCE, (repeats, chains)).astype(float)
        return [(np.minimum(row, horizon).astype(int), (row <= horizon).astype(int)) for row in step]

    return sample


def staggered(chains, low, high):
    """Experiments (step, status) of saddle exits, each chain followed for a length of its own."""

    def sample(rng, repeats):
        for step, _ in saddle(chains)(rng, repeats):
            seen = rng.integers(low, high, chains)
            yield np.minimum(step, seen), (step <= seen).astype(int)

    return sample


def of(estimator, *arguments, **options):
    """An estimator of (step, status) as a measurement."""
    return lambda data: measured(estimator(data[0], *arguments, status=data[1], **options))


def band(step):
    """The survival band at a step."""

    def measure(data):
        curve = estimate.survival(*data)
        place = int(np.searchsorted(curve.steps, step, side="right")) - 1
        if place < 0:  # before the first exit
            return Measured(0.025 ** (1 / curve.chains), 1.0, curve.reliable)
        return Measured(float(curve.low[place]), float(curve.high[place]), curve.reliable)

    return measure


def p_value(test):
    """A test as a measurement."""

    def measure(data):
        p = float(test(data).p_value)
        return Measured(p, p, bool(np.isfinite(p)))

    return measure


def pairs(sample):
    """Experiments of two independent halves."""

    def both(rng, repeats):
        return zip(sample(rng, repeats), sample(rng, repeats), strict=True)

    return both


def _restricted(horizon):
    """E min(tau, h) at the saddle: the sum of P(tau > t) over t < h."""
    return float(theory.survival(np.arange(horizon), **SADDLE).sum())


_MEAN = float(theory.mean_exit_step(**SADDLE))
_VARIANCE = float(theory.exit_step_variance(SADDLE["lr"], SADDLE["curvature"]))
_MEDIAN = int(np.argmax(theory.survival(np.arange(2000), **SADDLE) <= 0.5))
_AT = 110
_HORIZON = 120
_STAYED = float(theory.survival(_AT, **SADDLE))


def _law(t):
    return theory.survival(t, **SADDLE)


CASES = [
    *(
        Case("estimate.mean_exit_step", "saddle, every chain left", c, saddle(c), of(estimate.mean_exit_step), _MEAN)
        for c in (20, 100, 1000)
    ),
    Case(
        "estimate.mean_exit_step", "saddle, followed for 60 steps", 100, saddle(100, 60), of(estimate.mean_exit_step),
        _MEAN, bad="a bound only: some never left",
    ),
    *(
        Case("estimate.exit_step_variance", "saddle", c, saddle(c), of(estimate.exit_step_variance), _VARIANCE)
        for c in (200, 1000)
    ),
    *(
        Case(
            "estimate.exit_step_variance", "saddle", c, saddle(c), of(estimate.exit_step_variance), _VARIANCE,
            bad="too few chains for a fourth moment",
        )
        for c in (20, 100)
    ),
    *(
        Case(
            "estimate.exponential_mean_exit_step", "minimum, every chain left", c, minimum(c),
            of(estimate.exponential_mean_exit_step), 1 / CHANCE,
        )
        for c in (20, 100, 1000)
    ),
    Case(
        "estimate.exponential_mean_exit_step", "minimum, followed for 500 steps", 100, minimum(100, 500),
        of(estimate.exponential_mean_exit_step), 1 / CHANCE,
    ),
    Case(
        "estimate.exponential_mean_exit_step", "minimum, followed for 100 steps", 100, minimum(100, 100),
        of(estimate.exponential_mean_exit_step), 1 / CHANCE,
        conservative="a whole number of exits, 20 or so: holds at least its level",
    ),
    Case(
        "estimate.exponential_mean_exit_step", "saddle", 100, saddle(100), of(estimate.exponential_mean_exit_step),
        _MEAN, bad="a saddle has a memory",
    ),
    *(
        Case("estimate.survival", f"saddle at step {_AT}", c, saddle(c), band(_AT), _STAYED, conservative=BINOMIAL)
        for c in (20, 100, 1000)
    ),
    *(
        Case(
            "estimate.survival", f"saddle at step {at}, chains lost from step 60 to 250", 200, staggered(200, 60, 250),
            band(at), float(theory.survival(at, **SADDLE)), conservative=BINOMIAL,
        )
        for at in (_AT, 180)
    ),
    Case(
        "estimate.survival", "minimum at step 5, where 99% stay", 100, minimum(100), band(5), float((1 - CHANCE) ** 5),
        conservative=BINOMIAL,
    ),
    *(
        Case(
            "estimate.exit_quantile", "median at the saddle", c, saddle(c), of(estimate.exit_quantile, 0.5),
            float(_MEDIAN), conservative=LATTICE,
        )
        for c in (20, 100, 1000)
    ),
    Case(
        "estimate.exit_quantile", "median of a minimum, followed for 500 steps", 100, minimum(100, 500),
        of(estimate.exit_quantile, 0.5), float(np.ceil(np.log(0.5) / np.log1p(-CHANCE))), conservative=BINOMIAL,
    ),
    *(
        Case(
            "estimate.restricted_mean_exit_step", f"saddle, horizon {_HORIZON}", c, saddle(c, _HORIZON),
            of(estimate.restricted_mean_exit_step, _HORIZON), _restricted(_HORIZON),
            conservative=SKEWED if c < 50 else "",
        )
        for c in (20, 100, 1000)
    ),
    Case(
        "estimate.restricted_mean_exit_step", "saddle, horizon 110, chains lost from step 60 to 250", 200,
        staggered(200, 60, 250), of(estimate.restricted_mean_exit_step, _AT), _restricted(_AT),
    ),
    *(
        Case(
            "estimate.proportion", f"{p:g} of chains", c,
            lambda rng, repeats, c=c, p=p: rng.binomial(c, p, repeats),
            lambda k, c=c: measured(estimate.proportion(int(k), c)), p,
            conservative="exact for every fraction, so above its level for most" if c * p < 100 else "",
        )
        for c, p in ((20, 0.1), (100, 0.3), (10_000, 0.3))
    ),
    Case(
        "estimate.ks_distance", "saddle against its law", 100, saddle(100),
        p_value(lambda data: estimate.ks_distance(data[0], _law)), np.nan, conservative="the law of continuous times",
    ),
    Case(
        "estimate.ks_two_sample", "two minima", 200, pairs(minimum(200)),
        p_value(lambda both: estimate.ks_two_sample(both[0][0], both[1][0])), np.nan,
        conservative="the distance of two samples takes few values",
    ),
]  # fmt: skip
