"""Cases of products of random matrices: tilted batches, cloning, and the Monte Carlo Lyapunov exponent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from calibration.case import Case, Measured
from escape import Landscape, MiniBatch, rare, theory

LR, STEPS, CHAINS, START = 0.5, 40, 2000, (1.0, 0.3)
CURVATURES = np.array([1.0, -1.2])  # inside the paradox window: the mean square explodes, every chain collapses
HESSIANS = np.array([[[1.0, 0.4], [0.4, -0.8]], [[-1.3, 0.1], [0.1, 0.9]], [[0.2, -0.7], [-0.7, 0.5]]])


def seeds(rng, repeats):
    """Nothing but seeds: the estimators below draw their own numbers."""
    return [int(seed) for seed in rng.integers(2**31, size=repeats)]


@dataclass(frozen=True, eq=False)
class Parabolas(Landscape):
    """x^T H_i x / 2, the matrices as rows."""

    samples: torch.Tensor
    affine = True

    def sample_loss(self, x, sample):
        """Half the square of the distance, as one sample has it."""
        return 0.5 * x @ sample.view(2, 2) @ x


def tilted(seed):
    """ln E |x_t|^2 at the last step by tilted batches."""
    landscape = Parabolas(torch.as_tensor(HESSIANS).reshape(len(HESSIANS), 4))
    found = rare.tilted_mean_square(
        landscape, MiniBatch(1), LR, torch.zeros(2), torch.tensor(START), steps=STEPS, chains=CHAINS, every=STEPS,
        seed=seed,
    ).log  # fmt: skip
    return Measured(float(found.low[-1]), float(found.high[-1]), bool(found.reliable))


def cloned(p):
    """L(p) of matrices that do not commute, by cloning."""

    def measure(seed):
        found = rare.moment_rate(HESSIANS, LR, 1, p=p, clones=100, steps=100, populations=10, seed=seed).rate
        return Measured(float(found.low), float(found.high), bool(found.reliable))

    return measure


def lyapunov(seed):
    """gamma by the product of matrices, with Student's interval over its chains."""
    chains = 16
    value, error = theory.lyapunov_exponent_product(
        CURVATURES[:, None, None], LR, 1, steps=200, chains=chains, seed=seed
    )
    width = stats.t.ppf(0.975, chains - 1) * error
    return Measured(value - width, value + width, True)


CASES = [
    Case(
        "rare.tilted_mean_square", "three matrices that do not commute", CHAINS, seeds, tilted,
        np.log(np.trace(theory.second_moment(HESSIANS, LR, 1).evolve(STEPS, START)[1][-1])),
    ),
    Case(
        "rare.moment_rate", "three matrices that do not commute, p = 2", 1000, seeds, cloned(2.0),
        theory.second_moment(HESSIANS, LR, 1).log_rate,
    ),
    Case(
        "theory.lyapunov_exponent_product", "two curvatures in the paradox window", 16, seeds, lyapunov,
        theory.lyapunov_exponent(CURVATURES, LR, 1),
    ),
]  # fmt: skip
