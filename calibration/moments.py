"""Cases of means, mean squares and growth rates; chains of a linear saddle, or products of random factors."""

from __future__ import annotations

import numpy as np

from calibration.case import Case, Measured
from escape import estimate, theory

CURVATURE, LR, NOISE = -1.0, 0.1, 0.01  # a linear saddle with additive Gaussian noise
START = 0.005
RATE = float(theory.growth_rate(LR, CURVATURE))
EXPANDING = np.linspace(-1.5, 1.1, 20)  # curvatures of a mini-batch of one: the mean grows, and so do typical chains
COLLAPSING = np.array([1.0, -1.2])  # at lr 0.5 the mean square grows while every chain collapses


def measured(found) -> Measured:
    """Return an estimate of one number as a measurement."""
    return Measured(float(np.ravel(found.low)[0]), float(np.ravel(found.high)[0]), bool(found.reliable))


def gaussian(chains, mean=0.0):
    """Experiments (1, chains) of x ~ N(mean, 1)."""
    return lambda rng, repeats: mean + rng.standard_normal((repeats, 1, chains))


def squares(chains):
    """Experiments (1, chains) of x^2 / 2, a loss."""
    return lambda rng, repeats: rng.standard_normal((repeats, 1, chains)) ** 2 / 2


def saddle(chains, steps, start=0.0, well=False, noise=NOISE):
    """Experiments (steps + 1, chains): gradient steps at the saddle, or in the well x^4/4 - x^2/2 around it."""

    def sample(rng, repeats):
        x = np.full((repeats, chains), float(start))
        path = [x]
        for _ in range(steps):
            force = x - x**3 if well else x
            x = x + LR * (force + noise * rng.standard_normal(x.shape))
            path.append(x)
        return np.stack(path, axis=1)

    return sample


def products(chains, steps, curvatures, lr, last=False):
    """Experiments (steps + 1, chains), or the last step alone: products of 1 - lr h, h drawn from curvatures."""

    def sample(rng, repeats):
        for _ in range(repeats):
            factors = 1 - lr * curvatures[rng.integers(0, len(curvatures), (steps, chains))]
            path = np.concatenate([np.ones((1, chains)), np.cumprod(factors, axis=0)])
            yield path[-1:] if last else path

    return sample


def _early(chains, part, curvatures=EXPANDING, lr=LR, told=True, bad=""):
    """A mean square at a part of the freezing step, told of it or not."""
    kind = "weak" if curvatures is EXPANDING else "strong"
    frozen = float(theory.freezing_step(chains, curvatures, lr, 1))
    steps = max(int(part * frozen), 1)
    truth = float(theory.mean_square_rate(curvatures, lr, 1)) ** steps
    rows = {"freezing_step": frozen, "step": [steps]} if told else {}
    says = f"{kind} multiplicative noise at {part:g} t*, {'t* given' if told else 't* not given'}"
    return Case(
        "estimate.mean_square", says, chains,
        products(chains, steps, curvatures, lr, last=True), lambda x: measured(estimate.mean_square(x, **rows)), truth,
        bad=bad,
    )  # fmt: skip


def _blocks(x, block):
    """Power sums of values (t, c)."""
    parts = np.split(x, range(block, x.shape[1], block), axis=1)
    with np.errstate(divide="ignore"):
        logs = [2 * np.log(np.abs(part)) for part in parts]

    def sums(arrays):
        return np.stack([array.sum(axis=1) for array in arrays], axis=1)

    return estimate.PowerSums(
        count=sums([np.ones_like(part) for part in parts]),
        sum=sums(parts),
        sum_of_magnitudes=sums([np.abs(part) for part in parts]),
        sum_of_squares=sums([part**2 for part in parts]),
        sum_of_fourth_powers=sums([part**4 for part in parts]),
        sum_of_lagged_products=sums([np.concatenate([p[:1], p[:-1]]) ** 2 * p**2 for p in parts]),
        sum_of_log_squares=sums(logs),
        sum_of_squared_log_squares=sums([log**2 for log in logs]),
        largest_magnitude=np.stack([np.abs(part).max(axis=1) for part in parts], axis=1),
    )


def _rate(x, **options):
    return measured(estimate.growth_rate(x, np.arange(len(x)), **options))


def _log_rate(x, **options):
    return measured(estimate.log_growth_rate(x, np.arange(len(x)), **options))


_LOG = -np.euler_gamma - np.log(2)  # E ln N(0, 1)^2
_GAMMA = 2 * float(theory.lyapunov_exponent(COLLAPSING, 0.5, 1))
_MILD = float(np.log(theory.mean_square_rate(EXPANDING, LR, 1)))
_STOPPED = np.array([1.0, 2.0, -1.0])  # at lr 0.5 one batch in three maps to zero

CASES = [
    *(
        Case("estimate.mean", "Gaussian chains", c, gaussian(c, 3.0), lambda x: measured(estimate.mean(x)), 3.0)
        for c in (100, 1000)
    ),
    Case("estimate.mean", "squares of Gaussian chains", 1000, squares(1000), lambda x: measured(estimate.mean(x)), 0.5),
    Case(
        "estimate.mean", "squares of Gaussian chains", 20, squares(20), lambda x: measured(estimate.mean(x)), 0.5,
        bad="so few that one of them always holds over 5%",
    ),
    *(
        Case(
            "estimate.mean_square", "Gaussian chains", c, gaussian(c), lambda x: measured(estimate.mean_square(x)), 1.0
        )
        for c in (300, 1000, 10_000)
    ),
    Case(
        "estimate.mean_square", "Gaussian chains", 20, gaussian(20), lambda x: measured(estimate.mean_square(x)), 1.0,
        bad="so few that one of them always holds over 5%",
    ),
    _early(1000, 0.1),
    _early(10_000, 0.1, COLLAPSING, 0.5),
    _early(1000, 0.5, bad="past t*/10"),
    _early(1000, 1.0, told=False, bad="one chain decides"),
    _early(1000, 1.0, COLLAPSING, 0.5, told=False, bad="one chain decides"),
    *(
        Case(
            "estimate.mean_log_square", "Gaussian chains", c, gaussian(c),
            lambda x: measured(estimate.mean_log_square(x)), _LOG,
        )
        for c in (50, 100, 1000)
    ),
    Case(
        "estimate.mean_log_square", "Gaussian chains", 20, gaussian(20),
        lambda x: measured(estimate.mean_log_square(x)), _LOG, bad="too few for the skewness of logarithms",
    ),
    *(
        Case("estimate.growth_rate", "saddle from its point, jackknife", c, saddle(c, 80), _rate, RATE)
        for c in (300, 1000)
    ),
    Case(
        "estimate.growth_rate", "double well from its saddle, jackknife", 500, saddle(500, 120, well=True), _rate, RATE,
    ),
    Case(
        "estimate.growth_rate", "saddle from its point, bootstrap", 300, saddle(300, 80),
        lambda x: _rate(x, interval="bootstrap", resamples=1000), RATE,
    ),
    Case(
        "estimate.growth_rate", "multiplicative noise up to 0.1 t*, jackknife", 2000,
        products(2000, 60, EXPANDING, LR), lambda x: _rate(x, window=(0, 60)), _MILD,
    ),
    Case(
        "estimate.growth_rate", "multiplicative noise past t*, jackknife", 1000, products(1000, 40, COLLAPSING, 0.5),
        _rate, float(np.log(theory.mean_square_rate(COLLAPSING, 0.5, 1))), bad="one chain decides",
    ),
    Case(
        "estimate.growth_rate", "saddle from its point, power sums of 16 blocks", 512, saddle(512, 80),
        lambda x: measured(estimate.growth_rate(_blocks(x, 32), np.arange(len(x)))), RATE,
    ),
    *(
        Case(
            "estimate.log_growth_rate", "collapsing chains, whole run", c, products(c, 200, COLLAPSING, 0.5),
            lambda x: _log_rate(x, window=(0, 200)), _GAMMA,
        )
        for c in (20, 100, 1000)
    ),
    *(
        Case("estimate.log_growth_rate", "saddle from its point", c, saddle(c, 150), _log_rate, RATE)
        for c in (20, 100, 1000)
    ),
    Case(
        "estimate.log_growth_rate", "saddle from a point beside it", 1000, saddle(1000, 150, START), _log_rate, RATE,
    ),
    Case(
        "estimate.log_growth_rate", "double well from its saddle, small noise", 300,
        saddle(300, 200, well=True, noise=NOISE / 1000), _log_rate, RATE,
    ),
    Case(
        "estimate.log_growth_rate", "double well from its saddle", 300, saddle(300, 200, well=True), _log_rate, RATE,
        bad="between start and well there is no room for a window", repeats=500,
    ),
    Case(
        "estimate.log_growth_rate", "collapsing chains, power sums of 16 blocks", 320,
        products(320, 200, COLLAPSING, 0.5),
        lambda x: measured(estimate.log_growth_rate(_blocks(x, 20), np.arange(len(x)), window=(0, 200))), _GAMMA,
    ),
    Case(
        "estimate.log_growth_rate", "one batch in three maps to zero", 100, products(100, 50, _STOPPED, 0.5), _log_rate,
        -np.inf, bad="the mean is minus infinity", repeats=500,
    ),
]  # fmt: skip
