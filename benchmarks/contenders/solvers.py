"""Solvers of stochastic differential equations, and a sampler, doing the Gaussian job with dt = lr."""

import functools
import time

import numpy as np


class Diffrax:
    """Euler with constant steps; the Brownian path that diffrax has for them, beside its tree.

    The fastest of three is taken: the unsafe path by `vmap` over chains or with all chains as one state, and the
    tree by `vmap`. "Unsafe" means that the path may be walked once and forwards only, which is all that is needed here.
    """

    def __init__(self, problem, device):
        import jax

        from benchmarks.contenders.jax_plain import check_device

        check_device(device)
        self.problem, self.chains, self.replacement, self.notes = problem, problem.chains, True, {}
        trials = {variant: self._rate(variant) for variant in (("unsafe", "vmap"), ("unsafe", "one"), ("tree", "vmap"))}
        best = max(trials, key=trials.get)
        self.variant = f"{best[0]} Brownian path, {'vmap' if best[1] == 'vmap' else 'all chains one state'}"
        self._settled, self._key = self._made(best), jax.random.key

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps."""
        return np.asarray(self._settled(self._key(seed), steps))

    def _rate(self, variant) -> float:
        import jax

        run, steps = self._made(variant), 4
        run(jax.random.key(0), steps).block_until_ready()
        began = time.perf_counter()
        run(jax.random.key(1), steps).block_until_ready()
        return 1 / (time.perf_counter() - began)

    def _made(self, variant):
        import diffrax
        import jax
        import jax.numpy as jnp
        import lineax

        path, layout = variant
        problem = self.problem
        curvatures = jnp.asarray(problem.curvatures, jnp.float32)
        scale = problem.lr**0.5 * problem.noise * problem.kappa() ** 0.5

        def solve(start, key, steps):
            end, like = steps * problem.lr, jax.ShapeDtypeStruct(start.shape, start.dtype)
            if path == "unsafe":
                brownian = diffrax.UnsafeBrownianPath(like, key)
            else:
                brownian = diffrax.VirtualBrownianTree(0.0, end * 1.001, problem.lr / 2, like, key)
            noise = diffrax.ControlTerm(
                lambda t, y, args: lineax.DiagonalLinearOperator(jnp.full_like(y, scale)), brownian
            )
            terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: -curvatures * y), noise)
            # A grid instead of dt0: summed in single precision, the steps of a long run would miss its end.
            grid = diffrax.StepTo(ts=jnp.arange(steps + 1, dtype=jnp.float32) * jnp.float32(problem.lr))
            last = jnp.float32(steps) * jnp.float32(problem.lr)
            solution = diffrax.diffeqsolve(
                terms, diffrax.Euler(), 0.0, last, None, start, stepsize_controller=grid, max_steps=None,
                adjoint=diffrax.DirectAdjoint(), saveat=diffrax.SaveAt(t1=True),
            )  # fmt: skip
            return solution.ys[0]

        start = jnp.broadcast_to(jnp.asarray(problem.start, jnp.float32), (problem.chains, problem.d))

        @functools.partial(jax.jit, static_argnums=1)
        def run(key, steps):
            if layout == "one":
                return solve(start, key, steps)
            return jax.vmap(lambda x, k: solve(x, k, steps))(start, jax.random.split(key, problem.chains))

        return run


class Torchsde:
    """`sdeint` with diagonal noise by Euler's method, on a Brownian interval told the step."""

    def __init__(self, problem, device):
        import torch

        self.problem, self.device = problem, device
        self.chains, self.replacement, self.variant, self.notes = problem.chains, True, "BrownianInterval", {}
        curvatures = torch.as_tensor(problem.curvatures, dtype=torch.float32, device=device)
        scale = problem.lr**0.5 * problem.noise * problem.kappa() ** 0.5

        class Equation:
            noise_type, sde_type = "diagonal", "ito"

            def f(self, t, y):
                return -curvatures * y

            def g(self, t, y):
                return torch.full_like(y, scale)

        self.equation = Equation()

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps."""
        import torch
        import torchsde

        problem, size = self.problem, (self.chains, self.problem.d)
        start = torch.as_tensor(problem.start, dtype=torch.float32, device=self.device).repeat(self.chains, 1)
        # Times in double precision: in single, the end of a long run is missed by a step. dt itself is exact enough.
        times = torch.tensor([0.0, steps * problem.lr], dtype=torch.float64, device=self.device)
        motion = torchsde.BrownianInterval(
            0.0, steps * problem.lr, size, dtype=torch.float32, device=self.device, entropy=seed, dt=problem.lr,
            cache_size=8,
        )  # fmt: skip
        with torch.no_grad():
            path = torchsde.sdeint(self.equation, start, times, bm=motion, method="euler", dt=problem.lr)
        return path[-1].cpu().numpy()


class Blackjax:
    """SGLD with the temperature that gives the batch's variance, `vmap` over chains in a jitted scan."""

    def __init__(self, problem, device):
        import blackjax
        import jax
        import jax.numpy as jnp
        from jax import lax

        from benchmarks.contenders.jax_plain import check_device

        check_device(device)
        self.problem, self.chains, self.replacement = problem, problem.chains, True
        self.variant, self.notes, self._key = "sgld", {}, jax.random.key
        curvatures = jnp.asarray(problem.curvatures, jnp.float32)
        # √(2 η T) ξ is to be η σ √κ ξ.
        temperature = 0.5 * problem.lr * problem.noise**2 * problem.kappa()
        sampler = blackjax.sgld(lambda x, batch: -curvatures * x)
        step = jax.vmap(lambda key, x: sampler.step(key, x, None, problem.lr, temperature))

        @functools.partial(jax.jit, static_argnums=1)
        def run(key, steps):
            x = jnp.broadcast_to(jnp.asarray(problem.start, jnp.float32), (problem.chains, problem.d))
            return lax.scan(
                lambda x, k: (step(jax.random.split(k, problem.chains), x), None), x, jax.random.split(key, steps)
            )[0]

        self._run = run

    def run(self, steps: int, seed: int) -> np.ndarray:
        """Positions after `steps` steps."""
        return np.asarray(self._run(self._key(seed), steps))
