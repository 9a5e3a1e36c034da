"""escape itself, by its one verb."""

import numpy as np
import torch

from benchmarks.landscapes import landscape_of
from benchmarks.problems import Network, Passage
from escape import Above, GaussianNoise, GradientDescent, MiniBatch, NormalStart, SquaredProjection, simulate

_EXITED = 1


class Engine:
    """`simulate`, with the options that tell one row of the table from another."""

    def __init__(self, problem, device, *, dtype="float32", replacement=True, closed=True, compile="auto", block=None):
        self.problem, self.replacement = problem, replacement
        self.how = {"compile": compile, "block": block}
        self.chains = problem.chains
        self.variant, self.notes = dtype, {}
        self.landscape = landscape_of(problem, getattr(torch, dtype), device, getattr(problem, "own", True), closed)
        kind = MiniBatch if isinstance(problem, Network) or not problem.gaussian else GaussianNoise
        self.oracle = kind(problem.b, replacement=replacement)
        if isinstance(problem, Passage):
            saddle = self.landscape.critical_points()[0]
            axis = saddle.unstable[:, 0]
            self.start = NormalStart(saddle.location, problem.spread, axis)
            self.until = Above(SquaredProjection(saddle, saddle.unstable), problem.radius**2)
        else:
            self.start, self.until = torch.as_tensor(problem.start, dtype=getattr(torch, dtype)), None

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Simulate; positions, or exit steps where the problem is one of first passage."""
        data = simulate(
            self.landscape, self.oracle, GradientDescent(self.problem.lr), self.start, steps=steps,
            chains=self.chains, until=self.until, seed=seed, **self.how,
        )  # fmt: skip
        if self.until is None:
            return data.final.values
        if not bool((data.status == _EXITED).all()):
            raise RuntimeError(f"chains are left after {steps} steps")
        names = ("chain_steps_needed", "chain_steps_moved", "utilisation")
        self.notes = {name: float(data.attrs[name]) for name in names if name in data.attrs}
        return data.exit_step.values
