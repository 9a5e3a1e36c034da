"""What keeps a module and a loss from being a finite sum, said in one line before anything runs."""

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

_SUM = "f = (1/n) Σ f_i needs one fixed function of the parameters for every sample"


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
            raise ValueError(f"{name} is a {type(part).__name__} {fault}")


def _fault(part: nn.Module) -> str:
    """Say why a layer is no fixed function of one sample and its parameters; empty if it is."""
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

    Raises
    ------
    ValueError
        If the loss of a sample is no scalar, is random or not finite, the module keeps a state, samples of a batch see
        one another, or the module cannot be evaluated for many parameters at once.
    """
    n = landscape.n
    rows = torch.linspace(0, n - 1, min(n, 12), device=landscape.samples.device).round().long()
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


def _check_losses(landscape, x: Tensor, rows: Tensor) -> None:
    before = {name: value.clone() for name, value in landscape.local_module.named_buffers()}
    each = [landscape.mean_loss(x, landscape.inputs[i : i + 1], landscape.targets[i : i + 1]) for i in rows.tolist()]
    shapes = {tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__ for loss in each}
    if shapes != {()}:
        raise ValueError(
            f"criterion must return a scalar tensor for a batch of one sample, got {shapes.pop()}: "
            "take the mean over what it returns, or reduction='mean'"
        )
    batch = landscape.inputs[rows], landscape.targets[rows]
    whole, again = landscape.mean_loss(x, *batch), landscape.mean_loss(x, *batch)
    if not bool(torch.isfinite(torch.stack([*each, whole])).all()):
        raise ValueError("the loss is not finite at or near the module's own parameters; scale inputs or parameters")
    after = dict(landscape.local_module.named_buffers())
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if changed:
        raise ValueError(f"the module changes its buffer {changed[0]} when called: {_SUM}; call module.eval()")
    if not torch.equal(whole, again):
        raise ValueError(f"the module or the criterion is random, two calls differ: {_SUM}; call module.eval()")
    _close(whole, torch.stack(each), whole.detach(), "loss")


def _check_gradients(landscape, x: Tensor, rows: Tensor) -> None:
    try:
        each = torch.stack([landscape.sample_gradient(x, landscape.samples[i]) for i in rows.tolist()])
        got = landscape.gradient(x.expand(2, -1), rows.expand(2, -1))
    except Exception as error:  # whatever a module may raise under transforms
        text = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the module cannot be evaluated for many parameters at once by torch.func: {type(error).__name__}: {text}"
        ) from error
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
    # Sums in the module round as well: a thousand units of roundoff, and a tenth of a percent in half precision.
    allowed = 1e4 * torch.finfo(each.dtype).eps * max(float(size.abs().max()), float(each.abs().max()))
    if not away <= allowed:
        raise ValueError(
            f"the {what} of a batch is not the mean over its samples, off by {away:.3g}: samples see one another, "
            "weights or ignored targets change the mean, shapes of outputs and targets differ, or reduction='sum'"
        )
