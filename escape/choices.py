"""Oracles, optimizers and schedules by name, with their options as text: NAME[,KEY=VALUE…]."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable

from torch import Tensor

from escape.catalogue import class_from, close, defaults_of, file_of, read_options
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
from escape.optimizers.base import check_number
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
    check_number("offset", offset, above=0)
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
        ``NAME[,KEY=VALUE…]`` with NAME in `ORACLES`, or ``FILE.py:NAME`` with NAME an `Oracle` class of that file;
        ``at=point`` stands for the critical point of the run.
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
    name, kind, given = _chosen("oracle", text, ORACLES, Oracle)
    if given.get("at") is not None:
        given["at"] = _place(name, point)
    options = {"batch_size": batch_size, "replacement": replacement or None}
    return _made(name, kind, _completed(name, kind, ORACLES, given, options))


def make_optimizer(
    text: str, lr: float, momentum: float | None = None, schedule: str | None = None, warm_up: int = 0
) -> Optimizer:
    """Make an optimizer.

    Parameters
    ----------
    text : str
        ``NAME[,KEY=VALUE…]`` with NAME in `OPTIMIZERS`, or ``FILE.py:NAME`` with NAME an `Optimizer` class of that
        file, which takes `lr`.
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
    name, kind, given = _chosen("optimizer", text, OPTIMIZERS, Optimizer)
    if "lr" in given:
        raise ValueError(f"the learning rate of {name} is given by --lr; leave out lr={given['lr']}")
    if "lr" not in defaults_of(kind):
        raise ValueError(f"{name} takes no lr, which --lr gives: an optimizer has a field `lr`")
    completed = _completed(name, kind, OPTIMIZERS, given, {"momentum": momentum})
    return _made(name, kind, completed | {"lr": _rate(lr, schedule, warm_up)})


def _rate(lr: float, schedule: str | None, warm_up: int):
    if schedule is not None:
        name, kind, given = _chosen("schedule", schedule, SCHEDULES)
        lr = kind(**_completed(name, kind, SCHEDULES, given | {"lr": lr}, {}))
    return WarmUp(lr, warm_up) if warm_up else lr


def names(choices: Iterable[str]) -> str:
    """Names of a table, for a help text."""
    return ", ".join(choices)


def _chosen(what: str, text: str, choices: dict[str, Callable], own: type | None = None) -> tuple[str, Callable, dict]:
    """Split NAME[,KEY=VALUE…] into the name, what it stands for and the options, read by the types of the defaults.

    `own` is the class that one of anybody's own file must be of, None where there is none to be had.
    """
    name, *options = (part.strip() for part in text.split(","))
    if own is not None and file_of(name) is not None:
        kind = class_from(name, what, own)
    elif own is not None and name.endswith(".py"):
        raise ValueError(f"{name} names a file, not an {what} in it; write {name}:NAME")
    elif name in choices:
        kind = choices[name]
    else:
        known = names(choices) if own is None else f"{names(choices)}, or FILE.py:NAME"
        raise ValueError(f"unknown {what} {name!r}{close(name, choices)}; one of {known}")
    if "at" in defaults_of(kind):
        _check_place(name, options)
    given = read_options(name, kind, [option for option in options if not option.endswith("=inf")], needed=False)
    endless = [option.removesuffix("=inf") for option in options if option.endswith("=inf")]
    unknown = [key for key in endless if key not in defaults_of(kind)]
    if unknown:
        raise ValueError(f"{name} has no option {unknown[0]!r}; its options are {names(defaults_of(kind))}")
    return name, kind, given | dict.fromkeys(endless, math.inf)


def _completed(name: str, kind: Callable, choices: dict[str, Callable], given: dict, options: dict) -> dict:
    """Add what the command line gives by options of its own, and defaults; refuse what a choice does not take."""
    fields = defaults_of(kind)
    for key, value in options.items():
        if value is None:
            continue
        if key not in fields:
            takers = names(other for other, kind in choices.items() if key in defaults_of(kind))
            raise ValueError(f"{name} takes no {key.replace('_', ' ')}: leave out {_OWN[key]}, or take {takers}")
        if key in given:
            raise ValueError(f"{key} of {name} is given twice: leave out {_OWN[key]}, or {key}=… after the name")
        given[key] = value
    # A scale of stable noise is in the place of a batch's.
    batch_size = None if name == "stable" and "scale" in given else _BATCH_SIZE
    for key, value in (("batch_size", batch_size), ("momentum", _MOMENTUM)):
        if key in fields and key not in given and key in options:
            given[key] = value
    empty = inspect.Parameter.empty
    missing = [key for key, value in fields.items() if value is empty and key not in given and key != "lr"]
    if missing:
        raise ValueError(f"{name} needs a value for {missing[0]}: write {name},{missing[0]}=…")
    return given


def _made(name: str, kind: Callable, given: dict) -> object:
    """Make one of a class; whatever the code of somebody's file raises is said in one line."""
    try:
        return kind(**given)
    except ValueError:
        raise
    except Exception as error:
        if file_of(name) is None:
            raise
        raise ValueError(f"{name} cannot be made: {type(error).__name__}: {error}") from error


def _check_place(name: str, options: list[str]) -> None:
    """Refuse coordinates, which commas would cut, and anything else but the critical point."""
    for number, option in enumerate(options):
        key, equals, value = option.partition("=")
        if equals and key.strip() == "at" and value.strip() != "point":
            rest = itertools.takewhile(lambda part: "=" not in part, options[number + 1 :])
            got = ",".join([value.strip(), *rest])
            raise ValueError(f"at of {name} must be point, the critical point of the run, got {got!r}")


def _place(name: str, point: Tensor | None) -> Tensor:
    if point is None:
        raise ValueError(f"{name} at the critical point needs one, and the landscape declares none")
    return point
