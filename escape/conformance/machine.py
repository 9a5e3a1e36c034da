"""Checks of a landscape as a thing that is moved, copied, sent to other processes, and run."""

import copy
import pickle
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import vmap

from escape.conformance.seen import Seen
from escape.conformance.subject import Subject
from escape.landscapes.base import Landscape
from escape.optimizers import GradientDescent, HeavyBall
from escape.oracles import (
    DiagonalNoise,
    FullBatch,
    GaussianNoise,
    HessianNoise,
    IsotropicNoise,
    LeadingNoise,
    MiniBatch,
    Reshuffled,
    StableNoise,
)
from escape.simulate import simulate

# Units of single-precision roundoff that values and gradients may differ by, of the largest of their kind.
_SINGLE = 1e3
# Dimension up to which oracles take a spectrum at every step.
_SPECTRA = 16


def single(subject: Subject, see: Seen) -> None:
    """Whether float32 gives the values and gradients of float64, to the accuracy of float32."""
    pair = {dtype: _moved(subject.landscape, see, dtype=dtype) for dtype in (torch.float64, torch.float32)}
    kept = {landscape.samples.dtype: landscape for landscape in pair.values()}
    see.hold(len(kept) == 2, "to(dtype=…) does not move the samples", "hold samples as a tensor field of the dataclass")
    wide, narrow = pair[torch.float64], pair[torch.float32]
    # Of numbers that single precision has exactly, or a sharp bend between two of them would be a difference.
    x = subject.x[:6].float()
    index = subject.index[: len(x)]
    advice = "keep large numbers from cancelling (log1p, expm1, differences taken first), or run it in float64 alone"
    for what, lifted in (
        ("sample_loss", lambda landscape: vmap(landscape.sample_loss, (None, 0))),
        ("sample_gradient", lambda landscape: vmap(landscape.sample_gradient, (None, 0))),
    ):
        exact = vmap(lifted(wide))(x.double(), wide.samples[index])
        got = vmap(lifted(narrow))(x, narrow.samples[index])
        see.hold(
            got.dtype == torch.float32,
            f"{what} must keep the dtype torch.float32, got {got.dtype}",
            "make constants by x.new_tensor(…), or keep them as tensor fields, which `to` moves",
        )
        size = float(exact.abs().max())
        if what == "sample_loss":
            size += subject.slope * float(x.abs().max())
        allowed = _SINGLE * torch.finfo(torch.float32).eps * size
        see.close(f"{what} in float32 against float64", got.double(), exact, allowed, subject.at_sample, advice)


def device(subject: Subject, see: Seen) -> None:
    """Whether a GPU gives the values and gradients of the CPU."""
    if not torch.cuda.is_available():
        see.skip("no CUDA")
    here = _moved(subject.landscape, see, device="cpu")
    there = _moved(subject.landscape, see, device="cuda")
    see.hold(there.samples.device.type == "cuda", "to('cuda') does not move the samples", "hold them as tensor fields")
    x, index = subject.x.to("cpu"), subject.index.to("cpu")
    for what, size in (("loss", subject.height), ("gradient", subject.slope)):
        one = here.loss(x) if what == "loss" else here.gradient(x, index)
        other = there.loss(x.cuda()) if what == "loss" else there.gradient(x.cuda(), index.cuda())
        see.close(f"{what} on CUDA against the CPU", other.cpu(), one, subject.eps * size, subject.at)


def copies(subject: Subject, see: Seen) -> None:
    """Whether copies, and pickles for other processes, are the same landscape."""
    landscape = subject.landscape
    value = landscape.gradient(subject.x, subject.index)
    twin = copy.deepcopy(landscape)
    see.hold(torch.equal(twin.gradient(subject.x, subject.index), value), "a deep copy has other gradients")
    kind = type(landscape)
    if "<locals>" in kind.__qualname__ or kind.__module__ == "__main__" or not _importable(kind):
        see.skip(
            f"copies are the same; pickles need {kind.__qualname__} in a module, {kind.__module__} is not imported"
        )
    try:
        twin = pickle.loads(pickle.dumps(landscape))
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        see.hold(False, f"it cannot be pickled: {type(error).__name__}: {text}")
    see.hold(torch.equal(twin.gradient(subject.x, subject.index), value), "what is pickled comes back with others")


def run(subject: Subject, see: Seen) -> None:
    """Whether it runs under every oracle, and is the same landscape afterwards."""
    landscape, x = subject.landscape, subject.x[:4]
    before = {name: value.clone() for name, value in _tensors(landscape)} | {"samples": subject.samples.clone()}
    batch = min(2, landscape.n)
    oracles = [FullBatch(), MiniBatch(batch), MiniBatch(batch, replacement=True), Reshuffled(batch)]
    oracles += [GaussianNoise(batch)]
    if subject.dimension is not None:
        at = x[0] if subject.dimension > _SPECTRA else None
        oracles += [DiagonalNoise(batch), LeadingNoise(batch, at=at), HessianNoise(batch, at=at)]
        oracles += [IsotropicNoise(batch), StableNoise(1.5, batch_size=batch)]
    # So small a step that no chain gets anywhere: it is the way that is looked at.
    lr = 1e-3 / max(1.0, subject.slope)
    # An optimizer sees nothing of the landscape but its gradient: one oracle will do for the second.
    pairs = [(oracle, GradientDescent(lr)) for oracle in oracles] + [(MiniBatch(batch), HeavyBall(lr, 0.5))]
    for oracle, optimizer in pairs:
        name = f"a run under {type(oracle).__name__} and {type(optimizer).__name__}"
        try:
            data = simulate(landscape, oracle, optimizer, x, steps=3, chains=len(x), block=len(x), executor=1)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            see.hold(False, f"{name} raised {type(error).__name__}: {text}")
        end = torch.as_tensor(data.final.values)
        see.hold(bool(torch.isfinite(end).all()), f"{name} does not stay finite")
        after = dict(_tensors(landscape)) | {"samples": landscape.samples}
        changed = [key for key, value in before.items() if not torch.equal(value, after[key])]
        see.hold(not changed, f"{name} changes {', '.join(changed)}", "make new tensors instead of changing them")


def _tensors(landscape: Landscape) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in vars(landscape).items() if isinstance(value, Tensor))


def _moved(landscape: Landscape, see: Seen, **where) -> Landscape:
    try:
        return landscape.to(**where)
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        see.hold(
            False,
            f"to({', '.join(f'{key}={value}' for key, value in where.items())}) raised {type(error).__name__}: {text}",
            "make it a dataclass with @dataclass(frozen=True, eq=False), with tensors as fields",
        )


def _importable(kind: type) -> bool:
    """Whether the class is found where it says it lives."""
    try:
        return pickle.loads(pickle.dumps(kind)) is kind
    except Exception:
        return False
