"""Who takes part. A contender is loaded in a process of its own, and what it needs is imported there only.

A contender is a class made from (problem, device) and the options named here. It has `chains`, `replacement` and
`variant`, a few words on what it settled on, and `run(steps, seed)` -> positions (chains, d) after that many steps, or
exit steps (chains,), as a numpy array.
"""

import importlib
import importlib.util
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """Where a contender is found, what it must find installed, and how the table describes it."""

    module: str
    name: str
    says: str
    needs: tuple[str, ...] = ()
    options: dict = field(default_factory=dict)

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]

    def make(self, problem, device: str):
        """Load and set up the contender."""
        module = importlib.import_module(f"benchmarks.contenders.{self.module}")
        return getattr(module, self.name)(problem, device, **self.options)


CONTENDERS = {
    "escape": Entry("engine", "Engine", "escape"),
    "escape-wide": Entry("engine", "Engine", "escape, block=8192", options={"block": 8192}),
    "escape-distinct": Entry("engine", "Engine", "escape, without replacement", options={"replacement": False}),
    "escape-float64": Entry("engine", "Engine", "escape, double precision", options={"dtype": "float64"}),
    "escape-autograd": Entry("engine", "Engine", "escape, only sample_loss written", options={"closed": False}),
    "escape-eager": Entry("engine", "Engine", "escape, compile=False", options={"compile": False}),
    "escape-compiled": Entry("engine", "Engine", "escape, compile=True", options={"compile": True}),
    "torch-optim": Entry("hand_torch", "Optim", "torch.optim.SGD, one chain after the other"),
    "torch-training": Entry("hand_torch", "Training", "torch.optim.SGD on the same module, one chain after the other"),
    "torch-batched": Entry("hand_torch", "Batched", "torch by hand, all chains side by side"),
    "jax": Entry("jax_plain", "Plain", "JAX, vmap(grad(loss)) in a jitted scan", ("jax",)),
    "jax-tuned": Entry("jax_tuned", "Tuned", "JAX tuned by hand: gather, mean, update", ("jax",)),
    "jax-best": Entry(
        "jax_tuned", "Tuned", "JAX, the best of every layout of the work", ("jax",), {"everything": True}
    ),
    "diffrax": Entry("solvers", "Diffrax", "diffrax, Euler with dt = lr", ("jax", "diffrax")),
    "torchsde": Entry("solvers", "Torchsde", "torchsde, Euler with dt = lr", ("torchsde",)),
    "blackjax": Entry("solvers", "Blackjax", "blackjax, SGLD of the same variance", ("jax", "blackjax")),
    "numba": Entry("loops", "Loops", "numba, the loops of the formula in one kernel", ("numba",)),
    "numba-vector": Entry("kernels", "Fused", "numba, vector instructions by hand: the CPU's limit", ("numba",)),
    "numba-distinct": Entry(
        "kernels", "Fused", "numba, vector instructions, without replacement", ("numba",), {"replacement": False}
    ),
    "torch-normals": Entry("hand_torch", "Normals", "torch fills a tensor with the normals"),
    "torch-copy": Entry("hand_torch", "Copy", "bound: the gathered bytes at the speed of a copy"),
}
