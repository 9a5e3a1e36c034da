"""Cases run by the engine itself: mini-batch SGD at a saddle with an unstable direction and two stable ones."""

from __future__ import annotations

import numpy as np
import torch

from calibration.case import Case
from calibration.exits import of
from calibration.moments import measured
from escape import (
    Above,
    GradientDescent,
    MiniBatch,
    Projection,
    QuadraticSaddle,
    SquaredProjection,
    estimate,
    simulate,
    theory,
)

BATCH, LR, NOISE, RADIUS, STEPS = 32, 0.1, 0.05, 1.0, 60
CHAINS = 300


def _landscape():
    return QuadraticSaddle.additive([-1.0, 0.5, 2.0], noise=NOISE, n=1000)


def paths(rng, repeats):
    """Experiments (steps + 1, chains): the way along the unstable direction."""
    landscape = _landscape()
    saddle = landscape.critical_points()[0]
    data = simulate(
        landscape, MiniBatch(BATCH), GradientDescent(LR), saddle.location, steps=STEPS, chains=CHAINS * repeats,
        observe={"x": Projection(saddle.location, saddle.unstable[:, 0])}, seed=int(rng.integers(2**31)), executor=1,
    )  # fmt: skip
    return np.split(data.x.values, repeats, axis=1)


def exits(rng, repeats):
    """Experiments (step, status): the first step beyond the radius."""
    landscape = _landscape()
    saddle = landscape.critical_points()[0]
    data = simulate(
        landscape, MiniBatch(BATCH), GradientDescent(LR), saddle.location, steps=2000, chains=CHAINS * repeats,
        until=Above(SquaredProjection(saddle, saddle.unstable), RADIUS**2), seed=int(rng.integers(2**31)), executor=1,
    )  # fmt: skip
    split = (np.split(data[name].values, repeats) for name in ("exit_step", "status"))
    return zip(*split, strict=True)


_SIGMA = NOISE * theory.kappa(BATCH, 1000) ** 0.5
_RATE = float(theory.growth_rate(LR, -1.0))
_LAST = float(theory.mean_square(STEPS, LR, -1.0, _SIGMA))
_MEAN = float(theory.mean_exit_step(LR, -1.0, _SIGMA, RADIUS))

torch.set_num_threads(1)
CASES = [
    Case(
        "estimate.mean_square", "simulated saddle, its last step", CHAINS, paths,
        lambda x: measured(estimate.mean_square(x[-1:])), _LAST,
    ),
    Case(
        "estimate.growth_rate", "simulated saddle, jackknife", CHAINS, paths,
        lambda x: measured(estimate.growth_rate(x, np.arange(len(x)))), _RATE,
    ),
    Case(
        "estimate.log_growth_rate", "simulated saddle", CHAINS, paths,
        lambda x: measured(estimate.log_growth_rate(x, np.arange(len(x)))), _RATE,
    ),
    Case(
        "estimate.mean_exit_step", "simulated saddle", CHAINS, exits, of(estimate.mean_exit_step), _MEAN,
    ),
]  # fmt: skip
