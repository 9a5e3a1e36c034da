"""What the experiments on noise compute for themselves, beside enumeration and simulation."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from escape import check_landscape, theory
from experiments import isotropy, noise_ladder, reshuffling
from experiments.common import Settings
from experiments.turned_well import reshuffled_exit_step, turned_well


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_sums_over_random_orders_have_the_moments_of_all_orders(batch_size):
    pairs = np.random.default_rng(1).standard_normal((6, 6))
    sums = []
    for order in itertools.permutations(range(6)):
        batch = np.empty(6, dtype=int)
        batch[list(order)] = np.arange(6) // batch_size
        sums.append((pairs * (batch < batch[:, None])).sum())
    mean, std = reshuffling.order_sum(pairs, batch_size)
    assert mean == pytest.approx(np.mean(sums), rel=1e-12)
    assert std == pytest.approx(np.std(sums), rel=1e-12)


def test_reshuffled_order_sums_of_equal_hessians_are_those_of_additive_noise():
    tilts = np.random.default_rng(2).standard_normal(60)
    tilts -= tilts.mean()
    # Small enough for second order in lr to be all: the law of reshuffling is exact for every lr.
    lr, curvature, b = 1e-7, -1.0, 5
    std = reshuffling.order_sum(np.tile(curvature * tilts, (60, 1)), b)[1] * (lr / b) ** 2
    assert std**2 == pytest.approx(theory.reshuffling_epoch_variance(lr, curvature, tilts.std(), 60, b), rel=1e-5)


def test_turned_well_is_a_landscape_whose_slope_along_the_well_is_that_of_the_exact_chains():
    well = turned_well()
    check_landscape(well, torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    y = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
    slope = well.gradient(y[:, None] * well.basis[:, 0]) @ well.basis[:, 0]
    assert torch.allclose(slope, y**3 - y, rtol=0, atol=1e-13)


def test_stable_chain_leaves_as_a_simulation_of_it_does(within):
    """Law of Chambers, Mallows and Stuck drawn with numpy; 4 standard errors, false alarm 6e-5."""
    alpha, scale, chains = 1.5, 0.05, 20_000
    rng = np.random.default_rng(3)
    exact = noise_ladder._stable_exit(lambda x: 1.05 * x, scale, alpha, 0.0, -1.0, 1.0)
    x, exits, step = np.zeros(chains), np.zeros(chains), 0
    while (alive := exits == 0).any():
        step += 1
        angle, wait = np.pi * (rng.random(alive.sum()) - 0.5), rng.exponential(size=alive.sum())
        jump = np.sin(alpha * angle) / np.cos(angle) ** (1 / alpha)
        jump *= (np.cos((1 - alpha) * angle) / wait) ** ((1 - alpha) / alpha)
        x[alive] = 1.05 * x[alive] + scale * jump
        exits[alive & (np.abs(x) >= 1)] = step
    within("mean exit step", exits.mean(), exact, exits.std() / chains**0.5, 4)


def test_reshuffling_leads_over_where_the_noise_is_strong_and_only_there():
    slopes = (turned_well().samples @ turned_well().basis[:, 0]).numpy()
    chains = noise_ladder.WELL_BATCH, noise_ladder.WELL_LR
    assert reshuffled_exit_step(slopes, *chains) == np.inf
    assert np.isnan(reshuffled_exit_step(2 * slopes, *chains))  # not known: it may


def test_engineered_noise_is_isotropic_in_any_basis_and_few_samples_never_are():
    true = isotropy._at(Settings("smoke"), isotropy._engineered, "origin")
    assert true["participation"] == pytest.approx(1, abs=1e-12)
    assert true["escape"] == pytest.approx(1, abs=1e-12)
    few = isotropy._at(Settings("smoke"), isotropy._few_digits, "+sqrt(mu_2) v_2")
    assert few["rank"] == isotropy.FEW - 1
    assert few["participation"] == pytest.approx(few["direct"], rel=1e-10)
    assert few["participation"] <= (isotropy.FEW - 1) / 64


@pytest.mark.parametrize("make", [turned_well, isotropy._few_digits], ids=["affine", "generalized linear"])
def test_hessians_can_be_taken_by_several_threads_at_once(make):
    """Chains run on threads, and noise shaped like the Hessian takes it where they are."""
    landscape = make()
    points = torch.randn(20, landscape.dimension, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    alone = landscape.hessians_at(points)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: landscape.hessians_at(points), range(40)))
    assert all(torch.equal(one, alone) for one in found)
