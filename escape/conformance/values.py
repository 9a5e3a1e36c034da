"""Checks of samples, sizes and values: what every other check rests on."""

import random
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from escape.conformance.seen import Broken, Seen
from escape.conformance.subject import Subject, place

NEW_TENSOR = "make a new tensor: x = x + 1, not x += 1"
_PURE = "compute the value from x, the sample and frozen fields alone"


def samples(subject: Subject, see: Seen) -> None:
    """Whether samples are a floating (n, k) tensor of finite numbers."""
    rows = subject.samples
    see.hold(rows.ndim == 2, f"samples must be a floating (n, k) tensor, got shape {tuple(rows.shape)}")
    see.hold(rows.is_floating_point(), f"samples must be a floating (n, k) tensor, got {rows.dtype}")
    see.hold(len(rows) > 0, f"samples must hold at least one row, got shape {tuple(rows.shape)}")
    bad = (~torch.isfinite(rows)).any(1).nonzero()[:, 0]
    see.hold(not len(bad), f"samples hold non-finite numbers in {len(bad)} rows", "clean or drop these rows")


def dimension(subject: Subject, see: Seen) -> None:
    """Whether dimension, declared points and test points agree, and so do dtypes and devices."""
    if subject.fault is not None:
        text = " ".join(str(subject.fault).split())
        raise Broken(f"critical_points() and dimension cannot be read: {type(subject.fault).__name__}: {text}")
    d, rows = subject.dimension, subject.samples
    see.hold(d is None or (isinstance(d, int) and d > 0), f"dimension must be a positive integer or None, got {d!r}")
    for point in subject.points:
        name, location = point.name or "a declared point", point.location
        see.hold(len(location) == d, f"dimension is {d}, but {name} has {len(location)} coordinates")
        for tensor in (location, point.eigenvalues, point.directions):
            same = tensor.dtype == rows.dtype and tensor.device == rows.device
            see.hold(
                same,
                f"{name} is {tensor.dtype} on {tensor.device}, but samples are {rows.dtype} on {rows.device}",
                "make declared points by samples.new_tensor(…)",
            )
    wide = subject.x.shape[1]
    see.hold(d in (None, wide), f"dimension is {d}, but the test points have {wide} coordinates")


def shape_and_dtype(subject: Subject, see: Seen) -> None:
    """Whether one point and one sample give a scalar of the same dtype and device."""
    x, sample = subject.x[0], subject.samples[0]
    value = subject.landscape.sample_loss(x.clone(), sample.clone())
    see.hold(isinstance(value, Tensor), f"sample_loss must return a scalar tensor, got {type(value).__name__}")
    see.hold(value.shape == (), f"sample_loss must return a scalar for one point, got shape {tuple(value.shape)}")
    see.hold(
        value.dtype == x.dtype,
        f"sample_loss must keep the dtype {x.dtype}, got {value.dtype}",
        "make constants by x.new_tensor(…), or keep them as tensor fields, which `to` moves",
    )


def finite(subject: Subject, see: Seen) -> None:
    """Whether values are finite at all test points."""
    for x in subject.x:
        for number in subject.few:
            value = subject.landscape.sample_loss(x.clone(), subject.samples[number].clone())
            see.hold(
                bool(torch.isfinite(value)),
                f"sample_loss is not finite near its own points: {float(value)} {place(x)}, sample {int(number)}",
            )


def arguments_unchanged(subject: Subject, see: Seen) -> None:
    """Whether point and sample are left as they were."""
    for x in subject.x[:2]:
        unchanged(subject.landscape.sample_loss, "sample_loss", x, subject.samples[subject.few[0]])


def unchanged(function: Callable, name: str, x: Tensor, sample: Tensor) -> None:
    """Call a function of one point and one sample, and break off if it changes either."""
    pair = {"x": (x, x.clone()), "sample": (sample, sample.clone())}
    function(*(given for _, given in pair.values()))
    for what, (before, after) in pair.items():
        if not torch.equal(before, after):
            raise Broken(f"{name} changes its argument {what} in place {place(x)}", NEW_TENSOR)


def deterministic(subject: Subject, see: Seen) -> None:
    """Whether a value is the same at every call, whatever was asked in between, and no field changes."""
    landscape, x = subject.landscape, subject.x

    def value(point: int, sample: int) -> Tensor:
        return landscape.sample_loss(x[point].clone(), subject.samples[sample].clone())

    first, before, drawn = value(0, 0), _fields(landscape), _generators()
    for other in range(4):
        value(other % len(x), int(subject.few[other % len(subject.few)]))
        again = value(0, 0)
        if torch.equal(first, again):
            continue
        moved = _generators() != drawn
        cause = "hidden randomness" if moved else "hidden randomness or state"
        remedy = "draw random numbers once, as samples" if moved else "keep no counter and no memory of calls"
        gap = abs(float(again) - float(first))
        raise Broken(f"sample_loss differs from call to call by {gap:.3g}: {cause}", f"{_PURE}; {remedy}")
    see.hold(_generators() == drawn, "sample_loss draws random numbers: hidden randomness", f"{_PURE}; draw them once")
    after = _fields(landscape)
    changed = [name for name in after if not _same(before.get(name), after[name])]
    see.hold(not changed, f"sample_loss changes the field {', '.join(changed)}: hidden state", _PURE)


def lifted(subject: Subject, see: Seen) -> None:
    """Whether a value is the same alone and for many points and samples at once."""
    landscape, x, rows = subject.landscape, subject.x[:4], subject.samples[subject.few]
    loss = landscape.sample_loss
    alone = torch.stack([torch.stack([loss(point.clone(), row.clone()) for row in rows]) for point in x])
    together = vmap(vmap(loss, (None, 0)), (0, None))(x, rows)
    see.close("sample_loss in a batch and alone", together, alone, subject.eps * float(alone.abs().max()), subject.at)


def loss(subject: Subject, see: Seen) -> None:
    """Whether the loss is the mean of all sample losses, one point at a time and many."""
    landscape, x = subject.landscape, subject.x
    got = landscape.loss(x)
    see.hold(got.shape == x.shape[:1], f"loss must map (c, d) to (c,), got shape {tuple(got.shape)}")
    see.hold(bool(torch.isfinite(got).all()), "loss is not finite near its own points")
    # Of an affine landscape, only the claim is wrong: it has a check of its own.
    if not landscape.affine:
        expected = torch.stack([rows.mean() for rows in subject.losses])
        see.close(
            "loss against the mean of sample_loss",
            got[: len(expected)],
            expected,
            subject.eps * subject.height,
            subject.at,
        )
    alone = torch.stack([landscape.loss(point[None])[0] for point in x])
    see.close("loss of one point alone", alone, got, subject.eps * subject.height, subject.at)


def _fields(landscape: object) -> dict[str, object]:
    """Values that an object holds, without those that it caches."""
    cached = {
        name for kind in type(landscape).__mro__ for name, value in vars(kind).items()
        if isinstance(value, cached_property)
    }  # fmt: skip
    held = {name: value for name, value in vars(landscape).items() if name not in cached}
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in held.items()}


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
    plain = (bool, int, float, str)
    return one == other if isinstance(other, plain) else True


def _generators() -> tuple:
    """States of the random numbers that Python, numpy and torch keep for the whole process."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - somebody's code may draw there
    return random.getstate(), name, keys.tobytes(), *rest, torch.get_rng_state().numpy().tobytes()
