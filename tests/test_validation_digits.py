"""Mini-batch SGD on the handwritten digits against exact moments of its linearisation, in standard errors."""

import numpy as np
import pytest

from escape import GradientDescent, MiniBatch, Projection, RankOneFactorization, SquaredDistance, simulate, theory

pytestmark = pytest.mark.validation


@pytest.fixture(scope="module")
def digits():
    landscape = RankOneFactorization.digits()
    saddle = landscape.critical_points()[3]
    gradients = landscape.sample_gradients(saddle.location)
    sums = landscape.sample_hessians(saddle.location).numpy(), (gradients - gradients.mean(0)).numpy()
    return landscape, saddle, *sums


@pytest.mark.parametrize(("batch_size", "lr", "chains", "steps"), [(1, 5e-4, 2048, 500), (32, 2e-3, 512, 300)])
def test_mean_square_at_the_second_saddle_is_that_of_the_recursion(digits, within, batch_size, lr, chains, steps):
    """So close to the saddle that the quartic changes the drift by under 1%: a bias far below a standard error."""
    landscape, saddle, hessians, tilts = digits
    every = steps // 10
    observe = {
        "v": Projection(saddle, saddle.unstable[:, 0]),
        "norm": SquaredDistance(np.zeros(64)),
    }
    data = simulate(
        landscape, MiniBatch(batch_size), GradientDescent(lr), saddle.location, steps=steps, chains=chains,
        every=every, observe=observe, seed=1, block=min(chains, 1024),
    )  # fmt: skip
    gap = -float(saddle.eigenvalues[0])
    shift = np.abs(data.norm.values.mean(1) - float(saddle.location @ saddle.location)).max() / gap
    assert shift < 0.01, f"the quartic changes the mean drift by {shift}"
    moments = theory.second_moment(hessians, lr, batch_size, tilts=tilts).evolve(steps)[1]
    v = saddle.unstable[:, 0].numpy()
    exact = np.einsum("i,tij,j->t", v, moments, v)[::every]
    squares = data.v.values**2
    error = squares.std(1, ddof=1) / chains**0.5
    # False alarms: 0.006% at each of ten recorded steps.
    within(f"mean square, b = {batch_size}", squares.mean(1)[1:], exact[1:], error[1:], 4)


def test_growth_tends_to_that_of_batch_descent_and_lies_above_it_at_one_sample(digits):
    _, saddle, hessians, _ = digits
    lr = 0.01
    rate = theory.growth_rate(lr, float(saddle.eigenvalues[0]))
    rates = {b: theory.second_moment(hessians, lr, b).log_rate for b in (1, 8, 1797)}
    assert rates[1] > 1.04 * rate, f"ln rho {rates[1]} at b = 1 against 2 ln a = {rate}"
    assert rate < rates[8] < 1.01 * rate, f"ln rho {rates[8]} at b = 8 against 2 ln a = {rate}"
    assert abs(rates[1797] / rate - 1) < 1e-10, f"ln rho {rates[1797]} of the whole sample against 2 ln a = {rate}"
