"""Seeds: one generator per block of chains, so that no result depends on who runs which block."""

import numpy as np
import torch

_MASK = 0xFFFFFFFF


def block_seed(seed: int, block_index: int) -> int:
    """Return the 32-bit seed of a block: distinct for every block of a run.

    torch's CPU generator keeps only the low 32 bits of the seed that it is given. Independent 64-bit seeds would
    therefore collide within a run of many blocks (about k²/2³³ for k blocks), and two blocks would hold the same
    chains. Here the run's seed gives an offset through `numpy.random.SeedSequence`, and offset + block passes through
    a bijection of the 32-bit integers, so no two blocks of one run can share a stream.

    Parameters
    ----------
    seed : int
        Seed of the run, non-negative.
    block_index : int
        Index of the block, 0 ≤ block_index < 2³².

    Returns
    -------
    int
        A seed in [0, 2³²).
    """
    offset = int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0])
    word = (offset + block_index) & _MASK
    # xor-shift and odd multiplication are each invertible modulo 2³², hence so is their composition.
    for multiplier in (0x7FEB352D, 0x846CA68B):
        word ^= word >> 16
        word = (word * multiplier) & _MASK
    return word ^ (word >> 15)


class BlockGenerator(torch.Generator):
    """The random numbers of one block of chains: a `torch.Generator` with, on the CPU, a numpy generator beside it.

    Torch draws single-precision normals and everything on a GPU; numpy's SFC64 draws indices and double-precision
    normals on a CPU in half the time and less. The two streams are independent of each other.

    Parameters
    ----------
    seed, block_index : int
        See `block_seed`.
    device : torch.device or str
        Where the numbers are drawn. Streams of different device types differ.
    """

    def __new__(cls, seed: int, block_index: int, device: torch.device | str = "cpu"):
        """Make the torch generator, seeded."""
        generator = super().__new__(cls, device=device)
        generator.manual_seed(block_seed(seed, block_index))
        return generator

    def __init__(self, seed: int, block_index: int, device: torch.device | str = "cpu"):
        self.numpy = None
        if self.device.type == "cpu":
            self.numpy = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(block_index,))))


def block_generator(seed: int, block_index: int, device: torch.device | str = "cpu") -> BlockGenerator:
    """Return the generator of one block of chains, freshly seeded: see `BlockGenerator`."""
    return BlockGenerator(seed, block_index, device)
