"""numba as one writes it: the loops of the formula, fused, in parallel over chains, with numba's own random numbers."""

import numpy as np
from numba import njit, prange

from benchmarks.problems import Linear, Passage

_FAST = {"parallel": True, "fastmath": True, "error_model": "numpy"}


@njit(**_FAST)
def _affine(samples, curvatures, lr, b, start, seed, steps, out):
    n, d = samples.shape
    for c in prange(out.shape[0]):
        np.random.seed(seed + c)
        x, total = start.copy(), np.empty(d, np.float32)
        for _ in range(steps):
            total[:] = 0
            for _ in range(b):
                row = np.random.randint(n)
                for k in range(d):
                    total[k] += samples[row, k]
            for k in range(d):
                x[k] -= lr * (curvatures[k] * x[k] + total[k] / b)
        out[c] = x


@njit(**_FAST)
def _exits(samples, curvatures, lr, b, starts, square, seed, steps, out):
    n, d = samples.shape
    for c in prange(len(out)):
        np.random.seed(seed + c)
        x, total = np.zeros(d, np.float32), np.empty(d, np.float32)
        x[0] = starts[c]
        t = 0
        while x[0] * x[0] < square and t < steps:
            total[:] = 0
            for _ in range(b):
                row = np.random.randint(n)
                for k in range(d):
                    total[k] += samples[row, k]
            for k in range(d):
                x[k] -= lr * (curvatures[k] * x[k] + total[k] / b)
            t += 1
        out[c] = t


@njit(**_FAST)
def _linear(samples, targets, phase, ridge, lr, b, start, seed, steps, out):
    n, d = samples.shape
    for c in prange(out.shape[0]):
        np.random.seed(seed + c)
        x, total = start.copy(), np.empty(d, np.float32)
        for _ in range(steps):
            total[:] = 0
            for _ in range(b):
                row, score = np.random.randint(n), np.float32(0)
                for k in range(d):
                    score += samples[row, k] * x[k]
                if phase:
                    slope = (score * score - targets[row]) * score
                else:
                    slope = -targets[row] / (np.float32(1) + np.exp(targets[row] * score))
                for k in range(d):
                    total[k] += slope * samples[row, k]
            for k in range(d):
                x[k] -= lr * (ridge * x[k] + total[k] / b)
        out[c] = x


class Loops:
    """The kernel of a problem."""

    def __init__(self, problem, device):
        if device != "cpu":
            raise RuntimeError("these kernels are for the CPU")
        self.problem, self.chains, self.replacement = problem, problem.chains, True
        self.variant, self.notes = "prange", {}
        self.samples = np.ascontiguousarray(problem.samples[:, : problem.d], np.float32)

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps, or exit steps."""
        problem, lr = self.problem, np.float32(self.problem.lr)
        b, seed = np.int64(problem.b), np.int64(seed * self.chains)
        if isinstance(problem, Passage):
            starts = problem.spread * np.random.default_rng(seed).standard_normal(self.chains)
            exits = np.empty(self.chains, np.int64)
            curvatures, square = problem.curvatures.astype(np.float32), np.float32(problem.radius**2)
            _exits(self.samples, curvatures, lr, b, starts.astype(np.float32), square, seed, steps, exits)
            return exits
        out, start = np.empty((self.chains, problem.d), np.float32), problem.start.astype(np.float32)
        if isinstance(problem, Linear):
            targets, ridge = problem.samples[:, problem.d].astype(np.float32), np.float32(problem.ridge)
            _linear(self.samples, targets, problem.kind == "phase", ridge, lr, b, start, seed, steps, out)
        else:
            _affine(self.samples, problem.curvatures.astype(np.float32), lr, b, start, seed, steps, out)
        return out
