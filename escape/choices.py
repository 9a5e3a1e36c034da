"""Oracles, optimizers and schedules by name, with their options as text: NAME[,KEY=VALUE…]."""

import inspect
import math
from collections.abc import Callable, Iterable

from torch import Tensor

from escape.catalogue import close, defaults_of, read_options
from escape.optimizers import (
    SAM,
    Adam,
    Cosine,
    GradientDescent,
    HeavyBall,
    InverseTime,
    Langevin,
    Nesterov,
    Optimizer,
    PerturbedGradientDescent,
    RMSProp,
    SignDescent,
    StepDecay,
    WarmUp,
)
from escape.oracles import (
    DiagonalNoise,
    FullBatch,
    GaussianNoise,
    HessianNoise,
    IsotropicNoise,
    LeadingNoise,
    MiniBatch,
    Oracle,
    Reshuffled,
    StableNoise,
)


def inverse_time(lr: float, offset: float = 1.0) -> InverseTime:
    """η_t = η_0 t0/(t + t0), t0 the `offset`: that of Robbins and Monro (1951)."""
    return InverseTime(lr * offset, offset)


ORACLES: dict[str, Callable[..., Oracle]] = {
    "full": FullBatch,
    "minibatch": MiniBatch,
    "reshuffled": Reshuffled,
    "gaussian": GaussianNoise,
    "diagonal": DiagonalNoise,
    "leading": LeadingNoise,
    "isotropic": IsotropicNoise,
    "hessian": HessianNoise,
    "stable": StableNoise,
}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "gd": GradientDescent,
    "heavy-ball": HeavyBall,
    "nesterov": Nesterov,
    "pgd": PerturbedGradientDescent,
    "langevin": Langevin,
    "rmsprop": RMSProp,
    "adam": Adam,
    "sign": SignDescent,
    "sam": SAM,
}
SCHEDULES: dict[str, Callable[..., Callable[[int], float]]] = {
    "step": StepDecay,
    "inverse-time": inverse_time,
    "cosine": Cosine,
}
# What stands for an option that is not given: a batch that fits a cache line of indices, the momentum of most papers.
_BATCH_SIZE, _MOMENTUM = 32, 0.9
# Options of the command line that a choice may or may not take, and what to say where it does not.
_OWN = {"batch_size": "--batch-size", "replacement": "--replacement", "momentum": "--momentum"}


def make_oracle(
    text: str, batch_size: int | None = None, replacement: bool = False, point: Tensor | None = None
) -> Oracle:
    """Make an oracle.

    Parameters
    ----------
    text : str
        ``NAME[,KEY=VALUE…]`` with NAME in `ORACLES`; ``at=point`` stands for the critical point of the run.
    batch_size : int or None
        Batch size; 32 if None, for those that have one.
    replacement : bool
        Whether batches are drawn with replacement, for those that draw any.
    point : Tensor (d,) or None
        Location of the critical point.

    Raises
    ------
    ValueError
        For a name, an option or a number of which no oracle can be made.
    """
    name, kind, given = _chosen("oracle", text, ORACLES)
    if given.get("at") is not None:
        given["at"] = _place(name, given["at"], point)
    if "scale" in given and batch_size is None:
        return kind(**given)  # a scale of its own in the place of a batch's
    return kind(**_completed(name, ORACLES, given, {"batch_size": batch_size, "replacement": replacement or None}))


def make_optimizer(
    text: str, lr: float, momentum: float | None = None, schedule: str | None = None, warm_up: int = 0
) -> Optimizer:
    """Make an optimizer.

    Parameters
    ----------
    text : str
        ``NAME[,KEY=VALUE…]`` with NAME in `OPTIMIZERS`.
    lr : float
        Learning rate; with a schedule, the rate that it starts from.
    momentum : float or None
        0.9 if None, for those that have one.
    schedule : str or None
        ``NAME[,KEY=VALUE…]`` with NAME in `SCHEDULES`; a constant rate if None.
    warm_up : int
        Steps of a linear warm-up before it.

    Raises
    ------
    ValueError
        For a name, an option or a number of which no optimizer can be made.
    """
    name, kind, given = _chosen("optimizer", text, OPTIMIZERS)
    if "lr" in given:
        raise ValueError(f"the learning rate of {name} is given by --lr; leave out lr={given['lr']:g}")
    completed = _completed(name, OPTIMIZERS, given, {"momentum": momentum})
    return kind(**completed, lr=_rate(lr, schedule, warm_up))


def _rate(lr: float, schedule: str | None, warm_up: int):
    if schedule is not None:
        name, kind, given = _chosen("schedule", schedule, SCHEDULES)
        lr = kind(**_completed(name, SCHEDULES, given | {"lr": lr}, {}))
    return WarmUp(lr, warm_up) if warm_up else lr


def names(choices: Iterable[str]) -> str:
    """Names of a table, for a help text."""
    return ", ".join(choices)


def _chosen(what: str, text: str, choices: dict[str, Callable]) -> tuple[str, Callable, dict]:
    """Split NAME[,KEY=VALUE…] into the name, what it stands for and the options, read by the types of the defaults."""
    name, *options = (part.strip() for part in text.split(","))
    if name not in choices:
        raise ValueError(f"unknown {what} {name!r}{close(name, choices)}; one of {names(choices)}")
    kind = choices[name]
    given = read_options(name, kind, [option for option in options if not option.endswith("=inf")], needed=False)
    endless = [option.removesuffix("=inf") for option in options if option.endswith("=inf")]
    unknown = [key for key in endless if key not in defaults_of(kind)]
    if unknown:
        raise ValueError(f"{name} has no option {unknown[0]!r}; its options are {names(defaults_of(kind))}")
    return name, kind, given | dict.fromkeys(endless, math.inf)


def _completed(name: str, choices: dict[str, Callable], given: dict, options: dict) -> dict:
    """Add what the command line gives by options of its own, and defaults; refuse what a choice does not take."""
    fields = defaults_of(choices[name])
    for key, value in options.items():
        if value is None:
            continue
        if key not in fields:
            takers = names(other for other, kind in choices.items() if key in defaults_of(kind))
            raise ValueError(f"{name} takes no {key.replace('_', ' ')}: leave out {_OWN[key]}, or take {takers}")
        if key in given:
            raise ValueError(f"{key} of {name} is given twice: leave out {_OWN[key]}, or {key}=… after the name")
        given[key] = value
    for key, value in (("batch_size", _BATCH_SIZE), ("momentum", _MOMENTUM)):
        if key in fields and key not in given and key in options:
            given[key] = value
    empty = inspect.Parameter.empty
    missing = [key for key, value in fields.items() if value is empty and key not in given and key != "lr"]
    if missing:
        raise ValueError(f"{name} needs a value for {missing[0]}: write {name},{missing[0]}=…")
    return given


def _place(name: str, at: object, point: Tensor | None) -> Tensor:
    if at != "point":
        raise ValueError(f"at of {name} must be point, the critical point of the run, got {at!r}")
    if point is None:
        raise ValueError(f"{name} at the critical point needs one, and the landscape declares none")
    return point
