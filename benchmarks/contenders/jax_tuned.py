"""JAX as somebody who knows it tunes it."""

import functools
import os
import time

# One XLA device per core is one of the ways tried; it has to be asked for before jax is imported.
_FLAG = f"--xla_force_host_platform_device_count={len(os.sched_getaffinity(0))}"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}".strip()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402

from benchmarks.contenders.jax_plain import check_device, deviation  # noqa: E402
from benchmarks.problems import Linear  # noqa: E402

_TRIAL_SECONDS = 0.3


class Tuned:
    """Gather, mean and update by hand; of several ways to lay out the same work, the fastest on this machine.

    Indices come from 22 random bits by multiplication: no remainder is taken.

    Parameters
    ----------
    everything : bool
        Try, beside unrolling, what takes somebody who knows XLA well: blocks of chains that fit a cache, the faster
        generator, one XLA device per core instead of XLA's own threads, and a batch summed row after row.
    """

    def __init__(self, problem, device, everything=False):
        check_device(device)
        self.everything = everything
        self.problem, self.chains, self.replacement, self.notes = problem, problem.chains, True, {}
        self.samples = jnp.asarray(problem.samples, jnp.float32)
        self.start = jnp.asarray(problem.start, jnp.float32)
        trials = {variant: self._rate(variant) for variant in self._variants(device)}
        best = max(trials, key=trials.get)
        kind, block, unroll, generator, devices = best
        summed = "" if problem.gaussian else f"{kind}, "
        self.variant = f"{summed}blocks of {block}, unroll {unroll}, {generator}, {devices} XLA devices"
        self._settled = self._made(best)

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps."""
        return np.asarray(self._settled(steps, seed)).reshape(self.chains, -1)

    def _variants(self, device):
        """(sum, chains per block, steps unrolled, generator, devices)."""
        chains, cores = self.chains, jax.local_device_count() if device == "cpu" else 1
        base = [("gather", chains, unroll, "threefry2x32", 1) for unroll in (1, 2, 4)]
        if not self.everything:
            return base
        plain = self.problem.gaussian or self.problem.b == 1 or isinstance(self.problem, Linear)
        kinds = ["gather"] if plain else ["gather", "loop"]
        base += [(kind, chains, 2, "threefry2x32", 1) for kind in kinds[1:]]
        base += [("gather", chains, 1, "unsafe_rbg", 1)]
        blocks = [block for block in (512, 2048) if device == "cpu" and chains % (block * cores) == 0]
        base += [("gather", block, 1, "threefry2x32", 1) for block in blocks]
        if cores > 1 and chains % cores == 0:
            base += [(kind, chains // cores, 1, "threefry2x32", cores) for kind in kinds]
            base += [("gather", block, 1, "threefry2x32", cores) for block in blocks]
            base += [("gather", chains // cores, 1, "unsafe_rbg", cores)]
        return base

    def _rate(self, variant) -> float:
        run, steps = self._made(variant), 8
        run(steps, 0).block_until_ready()
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < _TRIAL_SECONDS:
            run(steps, done).block_until_ready()
            done += 1
        return done / (time.perf_counter() - began)

    def _made(self, variant):
        kind, block, unroll, generator, devices = variant
        blocks = self.chains // devices // block
        step = functools.partial(self._step, kind, block)

        def one(key, steps):
            x = jnp.broadcast_to(self.start, (block, self.problem.d))
            return lax.scan(step, x, jax.random.split(key, steps), unroll=unroll)[0]

        def share(key, steps):
            if blocks == 1:
                return one(key, steps)
            return lax.map(lambda inner: one(inner, steps), jax.random.split(key, blocks))

        def key(seed):
            return jax.random.key(seed, impl=generator)

        if devices == 1:
            jitted = jax.jit(share, static_argnums=1)
            return lambda steps, seed: jitted(key(seed), steps)
        mapped = jax.pmap(share, static_broadcasted_argnums=1)
        return lambda steps, seed: mapped(jax.random.split(key(seed), devices), steps)

    def _step(self, kind, block, x, key):
        problem = self.problem
        if isinstance(problem, Linear):
            return self._linear_step(x, key), None
        shrink = 1 - problem.lr * jnp.asarray(problem.curvatures, jnp.float32)
        if problem.gaussian:
            return x * shrink - problem.lr * deviation(problem) * jax.random.normal(key, x.shape), None
        if kind == "gather":
            total = self._rows(_index(key, (block, problem.b), problem.n)).sum(1)
        else:
            columns = _index(key, (problem.b, block), problem.n)
            total = sum(self._rows(column) for column in columns)
        return x * shrink - problem.lr / problem.b * total, None

    def _linear_step(self, x, key):
        problem = self.problem
        batch = self._rows(_index(key, (len(x), problem.b), problem.n))
        features, target = batch[..., :-1], batch[..., -1]
        score = jnp.einsum("cbd,cd->cb", features, x)
        if problem.kind == "phase":
            slopes = (score * score - target) * score
        else:
            slopes = -target * jax.nn.sigmoid(-target * score)
        gradient = jnp.einsum("cb,cbd->cd", slopes, features)
        return x * (1 - problem.lr * problem.ridge) - problem.lr / problem.b * gradient

    def _rows(self, index):
        return self.samples.at[index].get(mode="promise_in_bounds")


def _index(key, shape, n):
    # 22 bits times an n of at most 10 bits fit a word.
    bits = jax.random.bits(key, shape, jnp.uint32) >> 10
    return ((bits * jnp.uint32(n)) >> 22).astype(jnp.int32)
