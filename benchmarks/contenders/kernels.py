"""numba: every chain in one fused loop, its state in the first cache. It stands for the CPU's limit.

Random words come from 32 xoshiro128+ generators side by side (Blackman and Vigna 2021, ACM Transactions on
Mathematical Software 47:36), which the compiler turns into vector instructions; indices from them by multiplication.
"""

import numpy as np
from numba import njit, prange, uint32, uint64

from benchmarks.contenders.vectors import gather_sum
from benchmarks.problems import Linear, Passage

LANES = 32
_WORDS, _SPARE = 4 * LANES, 5 * LANES  # where the indices lie among the words of the state, and its length
_FAST = {"parallel": True, "fastmath": True, "error_model": "numpy"}


@njit(inline="always")
def _seeded(seed):
    """State of all lanes, by splitmix64."""
    words, z = np.empty(_SPARE, np.uint32), seed
    for j in range(_WORDS):
        z += uint64(0x9E3779B97F4A7C15)
        y = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
        y = (y ^ (y >> uint64(27))) * uint64(0x94D049BB133111EB)
        words[j] = uint32((y ^ (y >> uint64(31))) >> uint64(32))
    return words


@njit(inline="always")
def _refill(words, n):
    """Draw LANES indices below n."""
    for j in range(LANES):
        s0, s1, s2, s3 = words[j], words[LANES + j], words[2 * LANES + j], words[3 * LANES + j]
        words[_WORDS + j] = uint32((uint64(uint32(s0 + s3)) * uint64(n)) >> uint64(32))
        shifted = uint32(s1 << uint32(9))
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        words[j], words[LANES + j], words[2 * LANES + j] = s0, s1, s2
        words[3 * LANES + j] = uint32((s3 << uint32(11)) | (s3 >> uint32(21)))


@njit(inline="always")
def _separate(words, n, count, marks, stamp, spare):
    """Draw again, from the word `spare`, every index that came before in its batch."""
    for j in range(_WORDS, _WORDS + count):
        index = words[j]
        while marks[index] == stamp:
            spare += uint64(0x9E3779B97F4A7C15)
            y = (spare ^ (spare >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
            y = (y ^ (y >> uint64(27))) * uint64(0x94D049BB133111EB)
            index = uint32(((y >> uint64(32)) * uint64(n)) >> uint64(32))
        marks[index] = stamp
        words[j] = index
    return spare


def _affine(d, width, b, n, replacement):
    """x ← decay ∘ x − η/b Σ samples."""
    gather, many = gather_sum(width, min(b, LANES)), b > 1

    @njit(**_FAST)
    def run(samples, decay, rate, start, seeds, steps, out):
        for c in prange(out.shape[0]):
            words, spare = _seeded(seeds[c]), seeds[c] ^ uint64(0xD1B54A32D192ED03)
            marks = np.zeros(1 if replacement else n, np.uint32)
            x, total = np.zeros(width, np.float32), np.zeros(width, np.float32)
            for k in range(d):
                x[k] = start[k]
            for t in range(steps):
                if many:
                    for k in range(width):
                        total[k] = 0
                    for _ in range(0, b, LANES):
                        _refill(words, n)
                        if not replacement:
                            spare = _separate(words, n, b, marks, uint32(t + 1), spare)
                        gather(samples, words, _WORDS, total)
                    for k in range(width):
                        x[k] = x[k] * decay[k] - rate * total[k]
                else:
                    if t % LANES == 0:
                        _refill(words, n)
                    row = words[_WORDS + t % LANES]
                    for k in range(width):
                        x[k] = x[k] * decay[k] - rate * samples[row, k]
            for k in range(d):
                out[c, k] = x[k]

    return run


def _exits(d, width, b, n):
    """The affine step until x_0² has reached the square, each chain by itself."""
    gather = gather_sum(width, min(b, LANES))

    @njit(**_FAST)
    def run(samples, decay, rate, starts, square, seeds, steps, out):
        for c in prange(len(out)):
            words = _seeded(seeds[c])
            x, total = np.zeros(width, np.float32), np.zeros(width, np.float32)
            x[0] = starts[c]
            t = 0
            while x[0] * x[0] < square and t < steps:
                for k in range(width):
                    total[k] = 0
                for _ in range(0, b, LANES):
                    _refill(words, n)
                    gather(samples, words, _WORDS, total)
                for k in range(width):
                    x[k] = x[k] * decay[k] - rate * total[k]
                t += 1
            out[c] = t

    return run


def _linear(d, width, b, n, phase):
    """Scores of the batch, slopes, weighted sum of rows, in that order."""
    gather = gather_sum(width, min(b, LANES), weighted=True)

    @njit(**_FAST)
    def run(samples, targets, decay, rate, start, seeds, steps, out):
        for c in prange(out.shape[0]):
            words = _seeded(seeds[c])
            x, total = np.zeros(width, np.float32), np.zeros(width, np.float32)
            weights = np.zeros(LANES, np.float32)
            for k in range(d):
                x[k] = start[k]
            for _ in range(steps):
                for k in range(width):
                    total[k] = 0
                for _ in range(0, b, LANES):
                    _refill(words, n)
                    for j in range(min(b, LANES)):
                        row, score = words[_WORDS + j], np.float32(0)
                        for k in range(width):
                            score += samples[row, k] * x[k]
                        weights[j] = score
                    for j in range(min(b, LANES)):
                        score, target = weights[j], targets[words[_WORDS + j]]
                        if phase:
                            weights[j] = (score * score - target) * score
                        else:
                            weights[j] = -target / (np.float32(1) + np.exp(target * score))
                    gather(samples, words, _WORDS, total, weights)
                for k in range(width):
                    x[k] = x[k] * decay - rate * total[k]
            for k in range(d):
                out[c, k] = x[k]

    return run


class Fused:
    """One kernel for each problem, compiled for its d, b and n; rows padded to whole vectors."""

    def __init__(self, problem, device, *, replacement=True):
        if device != "cpu":
            raise RuntimeError("these kernels are for the CPU")
        if problem.b != 1 and problem.b % LANES:
            raise RuntimeError(f"b must be 1 or a multiple of {LANES}")
        if not replacement and problem.b > LANES:
            raise RuntimeError(f"without replacement, b must be at most {LANES}")
        self.problem, self.replacement = problem, replacement
        self.chains, self.variant, self.notes = problem.chains, "prange, xoshiro128+", {}
        d = problem.d
        width = -(-d // 8) * 8
        self.samples = np.zeros((problem.n, width), np.float32)
        self.samples[:, :d] = problem.samples[:, :d]
        self.rate = np.float32(problem.lr / problem.b)
        if isinstance(problem, Linear):
            self.kernel = _linear(d, width, problem.b, problem.n, problem.kind == "phase")
            self.targets = problem.samples[:, d].astype(np.float32)
            return
        self.decay = np.ones(width, np.float32)
        self.decay[:d] = 1 - problem.lr * problem.curvatures
        if isinstance(problem, Passage):
            self.kernel = _exits(d, width, problem.b, problem.n)
        else:
            self.kernel = _affine(d, width, problem.b, problem.n, replacement)

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps, or exit steps."""
        problem, random = self.problem, np.random.default_rng(seed)
        seeds = random.integers(0, 1 << 63, self.chains, dtype=np.uint64)
        if isinstance(problem, Passage):
            starts = (problem.spread * random.standard_normal(self.chains)).astype(np.float32)
            exits = np.empty(self.chains, np.int64)
            square = np.float32(problem.radius**2)
            self.kernel(self.samples, self.decay, self.rate, starts, square, seeds, steps, exits)
            return exits
        out, start = np.empty((self.chains, problem.d), np.float32), problem.start.astype(np.float32)
        if isinstance(problem, Linear):
            decay = np.float32(1 - problem.lr * problem.ridge)
            self.kernel(self.samples, self.targets, decay, self.rate, start, seeds, steps, out)
        else:
            self.kernel(self.samples, self.decay, self.rate, start, seeds, steps, out)
        return out
