"""One stream a block: no two alike, and the same for ever."""

import numpy as np
import pytest
import torch

from escape.streams import block_generator, block_seed

FIRST = [3541575817, 1418123812, 516571746]
NUMBERS = [0.7462810952373509, 0.9503957925745445]
OTHERS = [0.5484188289858579, 0.4048309538417795]


@pytest.mark.parametrize("seed", [0, 2**40])
def test_blocks_of_a_run_have_distinct_seeds(seed):
    seeds = {block_seed(seed, index) for index in range(50_000)}
    assert len(seeds) == 50_000, f"{50_000 - len(seeds)} of 50,000 blocks share a stream"
    assert min(seeds) >= 0
    assert max(seeds) < 2**32


def test_runs_of_neighbouring_seeds_have_distinct_seeds():
    # 64 runs of 64 blocks: 4096 seeds of 2³² coincide somewhere with probability 0.2%, by the birthday bound.
    seeds = [block_seed(seed, index) for seed in range(64) for index in range(64)]
    assert len(set(seeds)) == len(seeds)


def test_seeds_are_spread(within):
    seeds = np.array([block_seed(0, index) for index in range(4096)])
    bits = seeds[:, None] >> np.arange(32) & 1
    # 32 bits, each a fair coin tossed 4096 times: false alarms at 5 standard errors 2e-5.
    within("share of ones in each bit", bits.mean(0), 0.5, 0.5 / 64, 5)


def test_a_stream_is_fixed():
    """The first seeds and numbers of all: a change here changes every result that was ever kept."""
    first = [block_seed(0, 0), block_seed(0, 1), block_seed(1, 0)]
    assert first == FIRST, f"{first}"
    assert torch.rand(2, generator=block_generator(0, 0), dtype=torch.float64).tolist() == NUMBERS
    assert block_generator(0, 0).numpy.random(2).tolist() == OTHERS


def test_generators_are_fresh_and_apart():
    def numbers(seed, block):
        return torch.randn(1000, generator=block_generator(seed, block), dtype=torch.float64)

    assert torch.equal(numbers(3, 5), numbers(3, 5))
    for other in (numbers(3, 6), numbers(4, 5)):
        correlation = float(torch.corrcoef(torch.stack([numbers(3, 5), other]))[0, 1])
        assert abs(correlation) < 5 / 1000**0.5, f"streams correlate by {correlation:.3f}, 5 standard errors are 0.158"
