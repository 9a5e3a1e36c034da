"""torch as people write it by hand, on its own threads."""

import copy

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.landscapes import network_of
from benchmarks.problems import Linear, Passage


def _slopes(kind: str, score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if kind == "phase":
        return (score * score - target) * score
    return -target * torch.sigmoid(-target * score)


class Batched:
    """All chains side by side: draw, gather, mean, update, in place where that is natural."""

    def __init__(self, problem, device):
        self.problem, self.device = problem, torch.device(device)
        self.chains, self.replacement = problem.chains, True
        self.variant = f"{torch.get_num_threads()} threads" if device == "cpu" else device
        self.variant, self.notes = f"{self.variant}{'' if problem.gaussian else ', samples[index], mean'}", {}
        self.samples = torch.as_tensor(problem.samples, dtype=torch.float32, device=device)
        if not isinstance(problem, Linear):
            self.curvatures = torch.as_tensor(problem.curvatures, dtype=torch.float32, device=device)

    @torch.no_grad()
    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps, or exit steps."""
        problem, generator = self.problem, torch.Generator(self.device).manual_seed(seed)
        if isinstance(problem, Passage):
            return self._exits(steps, generator).cpu().numpy()
        x = torch.as_tensor(problem.start, dtype=torch.float32, device=self.device).repeat(self.chains, 1)
        other = self._gaussian if problem.gaussian else self._affine
        step = self._linear if isinstance(problem, Linear) else other
        for _ in range(steps):
            step(x, generator)
        return x.cpu().numpy()

    def _index(self, generator):
        shape = (self.chains, self.problem.b)
        return torch.randint(self.problem.n, shape, generator=generator, device=self.device)

    def _affine(self, x, generator):
        batch = self.samples[self._index(generator)].mean(1)
        x.mul_(1 - self.problem.lr * self.curvatures).sub_(batch, alpha=self.problem.lr)

    def _gaussian(self, x, generator):
        normal = torch.randn(x.shape, generator=generator, device=self.device)
        scale = self.problem.lr * self.problem.noise * self.problem.kappa() ** 0.5
        x.mul_(1 - self.problem.lr * self.curvatures).add_(normal, alpha=scale)

    def _linear(self, x, generator):
        problem = self.problem
        batch = self.samples[self._index(generator)]
        features, target = batch[..., :-1], batch[..., -1]
        slopes = _slopes(problem.kind, torch.bmm(features, x[:, :, None])[..., 0], target)
        gradient = torch.bmm(slopes[:, None], features)[:, 0] / problem.b
        x.mul_(1 - problem.lr * problem.ridge).sub_(gradient, alpha=problem.lr)

    def _exits(self, steps, generator):
        """Move all chains until the last has left."""
        problem = self.problem
        x = torch.zeros(self.chains, problem.d, device=self.device)
        x[:, 0] = problem.spread * torch.randn(self.chains, generator=generator, device=self.device)
        exits = torch.zeros(self.chains, dtype=torch.int64, device=self.device)
        alive = x[:, 0] ** 2 < problem.radius**2
        while alive.any():
            self._affine(x, generator)
            exits += alive
            alive &= x[:, 0] ** 2 < problem.radius**2
        return exits


class Optim:
    """torch.optim.SGD with autograd, one chain after the other: few chains, and its rate is per chain-step."""

    def __init__(self, problem, device):
        self.problem, self.device = problem, device
        self.chains, self.replacement = min(256, problem.chains), True
        self.variant, self.notes = f"{self.chains} chains", {}
        self.samples = torch.as_tensor(problem.samples, dtype=torch.float32, device=device)
        self.curvatures = torch.as_tensor(problem.curvatures, dtype=torch.float32, device=device)
        # A vector of ten numbers is no work for two threads.
        torch.set_num_threads(1)

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps."""
        torch.manual_seed(seed)
        return torch.stack([self._chain(steps) for _ in range(self.chains)]).cpu().numpy()

    def _chain(self, steps):
        problem = self.problem
        x = torch.nn.Parameter(torch.as_tensor(problem.start, dtype=torch.float32, device=self.device))
        optimizer = torch.optim.SGD([x], lr=problem.lr)
        for _ in range(steps):
            batch = self.samples[torch.randint(problem.n, (problem.b,), device=self.device)]
            loss = 0.5 * (self.curvatures * x * x).sum() + (batch @ x).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return x.detach()


class Training:
    """The usual training loop of a module, one chain after the other: few chains, and its rate is per chain-step."""

    def __init__(self, problem, device):
        self.problem, self.device = problem, device
        self.chains, self.replacement = 64, True
        self.variant, self.notes = f"{self.chains} chains", {}
        inputs, targets = problem.data
        self.inputs = torch.as_tensor(inputs, dtype=torch.float32, device=device)
        self.targets = torch.as_tensor(targets, device=device)
        self.module = network_of(problem).to(device)
        self.begun = copy.deepcopy(self.module.state_dict())
        # Layers this small are no work for two threads.
        torch.set_num_threads(1)

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps."""
        torch.manual_seed(seed)
        return torch.stack([self._chain(steps) for _ in range(self.chains)]).cpu().numpy()

    def _chain(self, steps):
        problem, module, n = self.problem, self.module, len(self.inputs)
        module.load_state_dict(self.begun)
        optimizer = torch.optim.SGD(module.parameters(), lr=problem.lr)
        for _ in range(steps):
            index = torch.randint(n, (problem.b,), device=self.device)
            loss = F.cross_entropy(module(self.inputs[index]), self.targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


class _Bound:
    """A part of the job alone: it has no answer that could be wrong."""

    unchecked = True

    def __init__(self, problem, device):
        self.problem, self.device = problem, torch.device(device)
        self.chains, self.replacement, self.variant, self.notes = problem.chains, True, str(device), {}

    def _wait(self) -> np.ndarray:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return np.empty((self.chains, 0))


class Normals(_Bound):
    """Only the normals: what no program that draws them by torch can exceed."""

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Fill a tensor (chains, d), once a step."""
        generator = torch.Generator(self.device).manual_seed(seed)
        normal = torch.empty(self.chains, self.problem.d, device=self.device)
        for _ in range(steps):
            normal.normal_(generator=generator)
        return self._wait()


class Copy(_Bound):
    """Only the bytes: b rows of d numbers a chain-step, read at the speed at which memory is copied."""

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Copy half the bytes, which reads and writes all of them, once a step."""
        numbers = self.chains * self.problem.b * self.problem.d // 2
        source = torch.zeros(numbers, device=self.device)
        target = torch.empty_like(source)
        for _ in range(steps):
            target.copy_(source)
        return self._wait()
