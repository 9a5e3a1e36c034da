"""JAX as a user writes it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.problems import Linear


def check_device(device: str) -> None:
    """Raise RuntimeError where jax runs on another device than the one asked for."""
    found = jax.default_backend()
    if found != ("gpu" if device == "cuda" else "cpu"):
        raise RuntimeError(f"jax runs on {found} here")


class Plain:
    """The loss of one chain's batch, `grad`, `vmap` over chains, and a jitted `lax.scan` over steps."""

    def __init__(self, problem, device):
        check_device(device)
        self.problem, self.chains, self.replacement = problem, problem.chains, True
        self.variant, self.notes = jax.__version__, {}
        samples, start = jnp.asarray(problem.samples, jnp.float32), jnp.asarray(problem.start, jnp.float32)
        gradient = jax.vmap(jax.grad(_loss(problem)))

        @functools.partial(jax.jit, static_argnums=1)
        def run(key, steps):
            def step(x, key):
                if problem.gaussian:
                    normal = jax.random.normal(key, x.shape)
                    return x - problem.lr * (gradient(x, jnp.zeros_like(x)) + deviation(problem) * normal), None
                index = jax.random.randint(key, (problem.chains, problem.b), 0, problem.n)
                return x - problem.lr * gradient(x, samples[index]), None

            x = jnp.broadcast_to(start, (problem.chains, problem.d))
            return lax.scan(step, x, jax.random.split(key, steps))[0]

        self._run = run

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps."""
        return np.asarray(self._run(jax.random.key(seed), steps))


def deviation(problem) -> float:
    """Return the standard deviation of a coordinate of the batch gradient."""
    return problem.noise * problem.kappa() ** 0.5


def _loss(problem):
    """Loss of one chain (d,) on its batch (b, k), or, under Gaussian noise, at its sample (d,)."""
    if not isinstance(problem, Linear):
        curvatures = jnp.asarray(problem.curvatures, jnp.float32)
        return lambda x, batch: 0.5 * (curvatures * x * x).sum() + (batch @ x).mean()

    def loss(x, batch):
        score, target = batch[:, :-1] @ x, batch[:, -1]
        if problem.kind == "phase":
            return (0.25 * (score**2 - target) ** 2).mean()
        return jnp.logaddexp(0.0, -target * score).mean() + 0.5 * problem.ridge * (x @ x)

    return loss
