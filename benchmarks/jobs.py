"""The jobs: what is computed, who takes part, what is aimed at."""

import dataclasses
from dataclasses import dataclass

from benchmarks.problems import Affine, Linear, Network, Passage

Problem = Affine | Linear | Network | Passage


@dataclass(frozen=True)
class Target:
    """`of` is to be at least `at_least` times as fast as the fastest of `over`; no number, no aim."""

    over: tuple[str, ...]
    at_least: float | None = None
    of: str = "escape"


@dataclass(frozen=True)
class Job:
    """One problem and its contenders, the first of them the one that ratios are taken of."""

    says: str
    problem: Problem
    contenders: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    cuda: tuple[str, ...] = ()
    # Bound on chain-steps moved over chain-steps needed, where chains leave.
    most_moved: float | None = None


_AFFINE = (
    "escape", "escape-wide", "escape-distinct", "escape-float64", "torch-optim", "torch-batched", "jax", "jax-tuned",
    "jax-best", "numba", "numba-vector", "numba-distinct",
)  # fmt: skip


def _affine(d: int, b: int, jax: float, numba: float, says: str, cuda: tuple[str, ...] = ()) -> Job:
    targets = (
        Target(("jax-tuned",), jax), Target(("numba",), numba), Target(("torch-optim",), 3000),
        Target(("jax-best",)), Target(("numba-vector",)), Target(("numba-distinct",), of="escape-distinct"),
    )  # fmt: skip
    names = tuple(name for name in _AFFINE if b > 1 or name not in ("escape-distinct", "numba-distinct"))
    return Job(says, Affine(d, b), names, targets, cuda)


def _network(width: int, at_least: float) -> Job:
    says = f"Digits network, {width} tanh units (d = {71 * width}), batches of 32, 1,000 chains"
    targets = (Target(("torch-training",), at_least),)
    names = ("escape", "torch-training")
    return Job(says, Network(width), names, targets, names)


_SOLVERS = ("jax", "jax-tuned", "jax-best", "diffrax", "torchsde", "blackjax")
_LINEAR = ("escape", "torch-batched", "jax", "jax-tuned", "jax-best", "numba", "numba-vector")
_AUTOGRAD = ("escape", "escape-autograd")

JOBS = {
    "affine-d10-b32": _affine(10, 32, 3, 0.8, "Additive saddle, d = 10, batches of 32"),
    "affine-d100-b32": _affine(
        100, 32, 8, 1.2, "Additive saddle, d = 100, batches of 32",
        ("escape-eager", "escape-compiled", "torch-batched", "jax", "jax-tuned", "torch-copy"),
    ),
    "affine-d10-b1": _affine(10, 1, 1.5, 0.6, "Additive saddle, d = 10, batches of one"),
    "gaussian-d10": Job(
        "The same saddle, d = 10, under Gaussian noise of the batch's covariance",
        Affine(10, 32, gaussian=True),
        ("escape", "escape-wide", "torch-batched", *_SOLVERS),
        (Target(_SOLVERS, 3), Target(("torch-batched",), 1)),
        ("escape-eager", "escape-compiled", "torch-batched", *_SOLVERS, "torch-normals"),
    ),
    "phase-d64-b32": Job(
        "Phase retrieval, d = 64, batches of 32", Linear("phase"), _LINEAR,
        (Target(("jax", "jax-tuned", "jax-best"), 1.2), Target(("numba",)), Target(("numba-vector",))),
    ),
    "logistic-d64-b32": Job(
        "Logistic regression, d = 64, batches of 32", Linear("logistic"), _LINEAR,
        (Target(("jax", "jax-tuned", "jax-best"), 1.2), Target(("numba",)), Target(("numba-vector",))),
    ),
    "autograd-affine": Job(
        "A landscape affine in its sample, d = 10, batches of 32: gradient in closed form or by autograd",
        Affine(10, 32, own=True), _AUTOGRAD, (Target(("escape",), 1 / 3, of="escape-autograd"),),
    ),
    "autograd-neuron": Job(
        "A plain landscape, one tanh unit, d = 10, batches of 32: gradient in closed form or by autograd",
        Linear("neuron", d=10), _AUTOGRAD, (Target(("escape",), 1 / 3, of="escape-autograd"),),
    ),
    "network-4": _network(4, 20),
    "network-16": _network(16, 10),
    "network-64": _network(64, 5),
    "first-passage": Job(
        "First passage, d = 10, batches of 32, exit steps spread over two decades; rates count needed steps only",
        Passage(), ("escape", "torch-batched", "numba", "numba-vector"),
        (Target(("torch-batched",)), Target(("numba",)), Target(("numba-vector",))),
        most_moved=1.2,
    ),
}  # fmt: skip
# The last two are no races; each is a module of its own.
NAMES = (*JOBS, "memory", "scaling")


def problem_of(job: str, quick: bool) -> Problem:
    """Return the problem of a job, or a small one of its kind."""
    problem = JOBS[job].problem
    if not quick:
        return problem
    if isinstance(problem, Passage):
        return dataclasses.replace(problem, chains=512, unstable=10 * problem.unstable)
    return dataclasses.replace(problem, chains=256 if isinstance(problem, Network) else 512, check_steps=5)
