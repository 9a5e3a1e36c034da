"""What keeps a module and a loss from being a finite sum, said in one line before anything runs."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

_SUM = "f = (1/n) Σ f_i needs one fixed function of the parameters for every sample"
# Samples from first to last that are looked at, and targets of which one is; numbers of a slice of all samples.
_SOME, _NUMBERS = 12, 1 << 18


def check_module(module: nn.Module, criterion) -> None:
    """Refuse a module that has nothing to move, or layers that couple samples, draw random numbers or keep a state.

    Raises
    ------
    TypeError
        If `module` is no module, or `criterion` cannot be called.
    ValueError
        Naming the layer or the parameter, and what to do.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    if not callable(criterion):
        raise TypeError(f"criterion must be callable, criterion(outputs, targets), got {type(criterion).__name__}")
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise ValueError(f"parameter {name} has no shape yet; call the module once on a batch of inputs")
        if not parameter.is_floating_point():
            raise ValueError(f"parameter {name} is {parameter.dtype}; all parameters must be real floating tensors")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError("the module has no parameter that requires a gradient; there is nothing to move")
    parts = [(f"module.{name}" if name else "module", part) for name, part in module.named_modules()]
    if isinstance(criterion, nn.Module):
        parts += [(f"criterion.{name}" if name else "criterion", part) for name, part in criterion.named_modules()]
    for name, part in parts:
        fault = _fault(part)
        if fault:
            kind = type(part).__name__
            raise ValueError(f"{name} is {'an' if kind[0] in 'AEIOU' else 'a'} {kind} {fault}")


def _fault(part: nn.Module) -> str:
    """Say why a layer is no fixed function of one sample and its parameters; empty if it is."""
    if isinstance(part, nn.Embedding | nn.EmbeddingBag):
        if part.max_norm is not None:
            return f"with max_norm = {part.max_norm:g}: it rewrites its weights when called; use max_norm=None"
        if part.scale_grad_by_freq:
            return "with scale_grad_by_freq: what it gives is no gradient; use scale_grad_by_freq=False"
        if part.padding_idx is not None and part.weight.requires_grad:
            return f"with padding_idx = {part.padding_idx}: it leaves out that row's gradient; use padding_idx=None"
    if isinstance(part, _BatchNorm) and part.running_mean is None:
        return "without running statistics: it couples the samples of a batch; use GroupNorm"
    if not part.training:
        return ""
    if isinstance(part, _BatchNorm):
        return "in training mode: it couples the samples of a batch; call module.eval()"
    if isinstance(part, _InstanceNorm) and part.track_running_stats:
        return "in training mode: it changes its running statistics; call module.eval()"
    if isinstance(part, _DropoutNd) and part.p > 0:
        return f"in training mode with p = {part.p:g}: it is random; call module.eval()"
    if isinstance(part, nn.MultiheadAttention | nn.RNNBase) and part.dropout > 0:
        return f"in training mode with dropout {part.dropout:g}: it is random; call module.eval()"
    if isinstance(part, nn.RReLU):
        return "in training mode: it is random; call module.eval()"
    return ""


@contextlib.contextmanager
def second_derivatives() -> Iterator[None]:
    """Say in one ValueError where torch cannot differentiate a gradient: its own text has several lines."""
    try:
        yield
    except NotImplementedError as error:
        why = "the loss has a part without second derivatives, write it in plain operations"
        raise ValueError(f"{why}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def check_data(inputs: Tensor, targets: Tensor) -> None:
    """Refuse inputs and targets that are no n samples.

    Raises
    ------
    ValueError
        If their lengths differ, there are none, or their numbers are complex or not finite.
    """
    for name, rows in (("inputs", inputs), ("targets", targets)):
        if not rows.ndim or rows.is_complex():
            kind = "complex" if rows.is_complex() else "one number"
            raise ValueError(f"{name} must be real with one row per sample, (n, …), got {kind}")
        if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
            raise ValueError(f"{name} hold numbers that are not finite; clean or drop their rows")
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"inputs and targets must hold one row per sample each, got {len(inputs)} and {len(targets)}")


def check_sum(landscape) -> None:
    """Hold the mean over a batch against the mean of per-sample losses and gradients, at two points.

    Gradients and curvatures are those of some samples, among them one of every target where these are few whole
    numbers; losses, at one of the points, those of all: a weight or a sample left out is then seen, however rare.

    Raises
    ------
    ValueError
        If the loss of a sample is no scalar, is random or not finite, the module keeps a state, samples of a batch see
        one another, or the module cannot be evaluated for many parameters at once.
    """
    rows = _rows(landscape)
    own = landscape.start
    generator = torch.Generator(device=own.device).manual_seed(0)
    moved = own + 0.1 * torch.randn(own.shape, generator=generator, device=own.device, dtype=own.dtype)
    devices = [own.device] if own.device.type == "cuda" else []
    # Whatever is random draws from a copy of the global generator, which is left as it was.
    with torch.random.fork_rng(devices), torch.no_grad():
        for x in (own, moved):
            _check_losses(landscape, x, rows)
            _check_gradients(landscape, x, rows)
            _check_curvature(landscape, x, rows, generator)
        _check_all_losses(landscape, moved)


def _rows(landscape) -> Tensor:
    """Some samples from first to last, and one with each of the rarest whole numbers among the targets."""
    n, targets = landscape.n, landscape.targets.reshape(landscape.n, -1)
    rows = torch.linspace(0, n - 1, min(n, _SOME), device=targets.device).round().long()
    if targets.is_floating_point():
        return rows
    _, which, counts = torch.unique(targets, return_inverse=True, return_counts=True)
    rare = torch.isin(which.flatten(), counts.argsort()[:_SOME]).nonzero()[:, 0]
    labels, first = which.flatten()[rare], torch.full_like(counts, n)
    first.scatter_reduce_(0, labels, rare // targets.shape[1], "amin")
    return torch.cat([rows, first[labels.unique()]]).unique()


def _check_losses(landscape, x: Tensor, rows: Tensor) -> None:
    before = {name: value.clone() for name, value in landscape.local_module.named_buffers()}
    each = [_of_one(landscape, x, i) for i in rows.tolist()]
    shapes = {tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__ for loss in each}
    if shapes != {()}:
        raise ValueError(
            f"criterion must return a scalar tensor for a batch of one sample, got {shapes.pop()}: "
            "take the mean over what it returns, or reduction='mean'"
        )
    batch = landscape.inputs[rows], landscape.targets[rows]
    whole, again = landscape.mean_loss(x, *batch), landscape.mean_loss(x, *batch)
    _check_finite(torch.stack([*each, whole]))
    after = dict(landscape.local_module.named_buffers())
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if changed:
        raise ValueError(f"the module changes its buffer {changed[0]} when called: {_SUM}; call module.eval()")
    if not torch.equal(whole, again):
        raise ValueError(f"the module or the criterion is random, two calls differ: {_SUM}; call module.eval()")
    _close(whole, torch.stack(each), whole.detach(), "loss")


def _of_one(landscape, x: Tensor, i: int) -> Tensor:
    """Loss of one sample, or one line that says why there is none."""
    inputs, targets = landscape.inputs[i : i + 1], landscape.targets[i : i + 1]
    try:
        return landscape.mean_loss(x, inputs, targets)
    except Exception as error:  # whatever a module and a criterion may raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        given = ", ".join(
            f"{name} {tuple(rows.shape)} {rows.dtype}" for name, rows in (("inputs", inputs), ("targets", targets))
        )
        raise kind(f"module and criterion fail on one sample, {given}: {_one_line(error)}") from error


def _check_finite(losses: Tensor) -> None:
    if not bool(torch.isfinite(losses).all()):
        raise ValueError(
            "the loss is not finite at or near the module's own parameters: scale inputs or parameters, and drop "
            "samples whose target is ignored or of weight 0"
        )


def _check_all_losses(landscape, x: Tensor) -> None:
    """Whether f is the mean over all samples, of which few may have a weight of their own."""
    size = max(1, min(landscape.n, _NUMBERS // landscape.samples.shape[1]))
    lifted = vmap(landscape.sample_loss, (None, 0))
    try:
        each = torch.cat([lifted(x, part) for part in landscape.samples.split(size)])
        whole = landscape.loss(x.expand(2, -1))
    except Exception as error:
        for i in range(landscape.n):  # a sample that fails by itself is the better reason
            _of_one(landscape, x, i)
        raise _not_lifted(landscape, error) from error
    _check_finite(torch.cat([each, whole]))
    _close(whole[1], each, each.abs().max(), "loss")


def _not_lifted(landscape, error: Exception) -> ValueError:
    parts = landscape.module.named_modules(prefix="module")
    recurrent = [name for name, part in parts if isinstance(part, nn.RNNBase | nn.RNNCellBase)]
    advice = f"; write the recurrence of {recurrent[0]} in plain operations" if recurrent else ""
    return ValueError(
        f"the module cannot be evaluated for many parameters at once by torch.func{advice}: {_one_line(error)}"
    )


def _check_gradients(landscape, x: Tensor, rows: Tensor) -> None:
    try:
        each = torch.stack([landscape.sample_gradient(x, landscape.samples[i]) for i in rows.tolist()])
        together = vmap(landscape.sample_gradient, (None, 0))(x, landscape.samples[rows])
        got = landscape.gradient(x.expand(2, -1), rows.expand(2, -1))
    except Exception as error:  # whatever a module may raise under transforms
        raise _not_lifted(landscape, error) from error
    _close(together.mean(0), each, each.abs().max(), "gradient")
    _close(got[1], each, each.abs().max(), "gradient")


def _check_curvature(landscape, x: Tensor, rows: Tensor, generator: torch.Generator) -> None:
    """Whether uᵀ(Hv) = vᵀ(Hu): torch's fused layers have had wrong second derivatives, and said nothing."""
    u, v = torch.randn(2, len(x), generator=generator, device=x.device, dtype=x.dtype)
    try:
        with torch.enable_grad():  # functions are run, not recordings of them, which know no transforms
            hu, hv = (jvp(lambda y: landscape.gradient(y, rows), (x,), (w,))[1].detach() for w in (u, v))
    except Exception:  # said by torch itself to whoever asks for a Hessian; descent needs none
        return
    away = abs(float(u @ hv - v @ hu))
    allowed = 1e4 * torch.finfo(x.dtype).eps * float(u.norm() * hv.norm() + v.norm() * hu.norm())
    if not away <= allowed:
        raise ValueError(
            f"torch.func gives a Hessian that is not symmetric, u'Hv - v'Hu = {away:.3g}: a fused layer has wrong "
            "second derivatives (LayerNorm with weights has); write it in plain operations, or elementwise_affine=False"
        )


def _close(whole: Tensor, each: Tensor, size: Tensor, what: str) -> None:
    """Whether a mean over a batch is the mean of its parts, to rounding of the largest part."""
    mean = each.mean(0)
    away = float((whole - mean).abs().max())
    # Sums in the module round as well: ten thousand units of roundoff, a tenth of a percent in single precision.
    allowed = 1e4 * torch.finfo(each.dtype).eps * max(float(size.abs().max()), float(each.abs().max()))
    if not away <= allowed:
        raise ValueError(
            f"the {what} of a batch is not the mean over its samples, off by {away:.3g}: samples see one another, "
            "weights or ignored targets change the mean, shapes of outputs and targets differ, or reduction='sum'"
        )
