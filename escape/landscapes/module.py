"""A user's own network: any torch.nn.Module with a loss and data, its parameters one point of a landscape."""

import copy
import dataclasses
import math
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from escape.landscapes.base import Landscape
from escape.landscapes.module_checks import check_data, check_module, check_sum, second_derivatives

# Numbers of inputs and parameters in a slice of chains: more chains at once are not faster, and need their memory.
_AT_ONCE = 1 << 20
# Columns of a Hessian computed at once.
_COLUMNS = 64


@dataclass(frozen=True, eq=False)
class ModuleLandscape(Landscape):
    """f_i(x) = criterion(module(input_i; parameters x), target_i), for any module whose samples do not see one another.

    Chains are evaluated side by side: the module's own forward pass on a batch of inputs, lifted over the parameters of
    all chains, so that a layer is one batched matrix product. x (d,) holds all parameters that require a gradient, flat
    and one after the other in the order of `named_parameters`; those that require none stay as they are, as buffers do.

    Parameters
    ----------
    module : torch.nn.Module
        Called on inputs (b, …). A copy is kept, moved to the device of the inputs and, where these are floating, to
        their dtype, which is that of a run.
    criterion : callable
        (outputs, targets) -> the mean loss of a batch, a scalar: `torch.nn.functional.cross_entropy`, `mse_loss`, …
    inputs : Tensor (n, …)
        One input a row, of any shape; floating, or integer such as tokens.
    targets : Tensor (n, …)
        One target a row; integers, such as classes, reach the criterion as integers.

    Raises
    ------
    TypeError, ValueError
        For a module or criterion that couples samples, is random or keeps a state, in one line that says what to do.

    Notes
    -----
    No critical point is known; `find_critical_point` finds one near a start, `landscape.start` being the parameters
    that the module came with. The batch axis comes first in inputs, outputs and targets.
    """

    module: nn.Module
    criterion: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    targets: Tensor

    def __post_init__(self):
        check_module(self.module, self.criterion)
        inputs, targets = torch.as_tensor(self.inputs).detach(), torch.as_tensor(self.targets).detach()
        check_data(inputs, targets)
        floating = inputs.is_floating_point()
        dtype = inputs.dtype if floating else next(p for p in self.module.parameters() if p.requires_grad).dtype
        module = copy.deepcopy(self.module).to(device=inputs.device, dtype=dtype)
        targets = targets.to(inputs.device, dtype if targets.is_floating_point() else None)
        criterion = self.criterion
        if isinstance(criterion, nn.Module):
            criterion = copy.deepcopy(criterion).to(device=inputs.device, dtype=dtype).requires_grad_(False)
        fields = {"module": module, "criterion": criterion, "inputs": inputs.contiguous(), "targets": targets}
        fields["_copies"] = _Copies(module)
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        for name, rows in (("inputs", inputs), ("targets", targets)):
            if not rows.is_floating_point() and not torch.equal(rows.to(dtype).to(rows.dtype), rows):
                raise ValueError(f"{name} hold integers that {dtype} cannot tell apart; give a module in float64")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch suspects of shapes is held against numbers here
            check_sum(self)

    @cached_property
    def samples(self) -> Tensor:
        """Flattened inputs and targets side by side, (n, k), floating."""
        flat = (rows.reshape(len(rows), -1).to(self.dtype) for rows in (self.inputs, self.targets))
        return torch.cat(list(flat), dim=1)

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters and of a run."""
        return next(p for p in self.module.parameters() if p.requires_grad).dtype

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Names and shapes of the parameters that x holds, in its order."""
        return {name: value.shape for name, value in self.module.named_parameters() if value.requires_grad}

    @property
    def dimension(self) -> int:
        """Number d of parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def start(self) -> Tensor:
        """The parameters that the module came with, (d,)."""
        return self.flatten(self.module)

    def flatten(self, parameters: nn.Module | dict[str, Tensor]) -> Tensor:
        """Point x (d,) of a module of the same kind, or of named parameters such as a `state_dict`.

        Raises
        ------
        ValueError
            If a parameter is missing or of another shape.
        """
        named = dict(parameters.named_parameters()) if isinstance(parameters, nn.Module) else parameters
        for name, shape in self.shapes.items():
            got = tuple(named[name].shape) if name in named else "none"
            if got != tuple(shape):
                raise ValueError(f"parameter {name} must be of shape {tuple(shape)}, got {got}")
        return torch.cat([named[name].detach().reshape(-1) for name in self.shapes]).to(self.inputs.device, self.dtype)

    def parameters_of(self, x: Tensor) -> dict[str, Tensor]:
        """Named parameters of a point (d,), views of it: what `flatten` made flat."""
        if x.shape != (self.dimension,):
            raise ValueError(f"x must be one point of shape ({self.dimension},), got {tuple(x.shape)}")
        parts = x.split([math.prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def module_at(self, x: Tensor) -> nn.Module:
        """Return a copy of the module with the parameters of a point (d,), such as a row of a run's `final`."""
        module = copy.deepcopy(self.module)
        named = self.parameters_of(torch.as_tensor(x).to(self.inputs.device, self.dtype))
        module.load_state_dict({**module.state_dict(), **{name: value.clone() for name, value in named.items()}})
        return module

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Return a copy with module, inputs and targets moved to a device and a floating dtype."""
        module, inputs = copy.deepcopy(self.module).to(device=device, dtype=dtype), self.inputs
        inputs = inputs.to(device=device, dtype=dtype if inputs.is_floating_point() else None)
        return dataclasses.replace(self, module=module, inputs=inputs)

    def mean_loss(self, x: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of one batch at one point: x (d,), inputs (b, …), targets (b, …) -> ()."""
        return self.criterion(functional_call(self.local_module, self.parameters_of(x), (inputs,)), targets)

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """criterion(module(input_i; x), target_i)."""
        width = self.inputs[0].numel()
        parts = (sample[:width], self.inputs), (sample[width:], self.targets)
        return self.mean_loss(x, *(part.reshape(1, *rows.shape[1:]).to(rows.dtype) for part, rows in parts))

    def loss(self, x: Tensor) -> Tensor:
        """Evaluate f at points: (c, d) -> (c,), or (d,) -> ()."""
        if x.ndim == 1:
            return self.loss(x[None])[0]
        losses = self._lifted("mean losses", self.mean_loss, (0, None, None))
        parts = [
            torch.cat([losses(some, self.inputs[rows], self.targets[rows]) for some in self._few(x, width)]) * width
            for rows, width in self._portions(x)
        ]
        return sum(parts) / self.n

    def hessian(self, x: Tensor) -> Tensor:
        """Hessian of f at one point, (d,) -> (d, d), by forward differentiation of the full gradient.

        Raises
        ------
        ValueError
            If torch has no second derivatives of the module.
        """
        along = vmap(lambda v: jvp(self.gradient, (x,), (v,))[1])
        # With gradients enabled functions are run, not recordings of them, which know no transforms.
        with torch.enable_grad(), second_derivatives():
            found = torch.cat([along(some) for some in torch.eye(len(x)).to(x).split(_COLUMNS)])
        return found if x.requires_grad else found.detach()

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇f_i(x), every point with its own weights: x (c, d), weights (c, n) -> (c, d).

        One reverse pass through the weighted sum of losses: no gradient of a single sample is ever held.
        """
        lifted = self._lifted("weighted gradient", grad(self._weighted_loss), (0, 0, None))
        total = torch.zeros_like(x)
        for rows, width in self._portions(x):
            pairs = zip(self._few(x, width), self._few(weights[:, rows], width), strict=True)
            total = total + torch.cat([lifted(some, each, self.samples[rows]) for some, each in pairs])
        return total

    def _weighted_loss(self, x: Tensor, weights: Tensor, part: Tensor) -> Tensor:
        return weights @ vmap(self.sample_loss, (None, 0))(x, part)

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        b = index.shape[1]
        lifted = self._lifted("module batch gradients", grad(self.mean_loss), (0, 0, 0))
        found = []
        for some, rows in zip(self._few(x, b), self._few(index, b), strict=True):
            rows = rows.reshape(-1)
            batch = (data.index_select(0, rows).view(-1, b, *data.shape[1:]) for data in (self.inputs, self.targets))
            found.append(lifted(some, *batch))
        return found[0] if len(found) == 1 else torch.cat(found)

    def _full_gradient(self, x: Tensor) -> Tensor:
        lifted = self._lifted("module gradients", grad(self.mean_loss), (0, None, None))
        total = torch.zeros_like(x)
        for rows, width in self._portions(x):
            found = [lifted(some, self.inputs[rows], self.targets[rows]) for some in self._few(x, width)]
            total = total + torch.cat(found) * (width / self.n)
        return total

    def _portions(self, x: Tensor) -> list[tuple[slice, int]]:
        """Slices of the samples that one chain takes at a time, and how many samples are in each."""
        size = max(1, _AT_ONCE // self.samples.shape[1])
        return [(slice(first, first + size), min(size, self.n - first)) for first in range(0, self.n, size)]

    def _few(self, x: Tensor, batch: int) -> tuple[Tensor, ...]:
        """Rows of x (c, …) in pieces of as many chains as are worked through at once with batches of this size."""
        return x.split(max(1, _AT_ONCE // (batch * self.samples.shape[1] + self.dimension)))

    @property
    def local_module(self) -> nn.Module:
        """The calling thread's copy of the module: while it is called, its parameters are those of the call."""
        return self._copies.mine()


class _Copies:
    """Copies of a module, one for every thread that asks; a copy or a pickle of it makes its own.

    They differ in structure alone and share all tensors, of which none is ever written into: a copy may be asked for in
    the middle of a derivative, where new tensors would be taken for a part of it.
    """

    def __init__(self, module: nn.Module):
        self._module, self._local = module, threading.local()
        self._still = copy.deepcopy(module).requires_grad_(False)
        held = [value for part in self._still.modules() for value in vars(part).values() if isinstance(value, Tensor)]
        self._tensors = [*self._still.parameters(), *self._still.buffers(), *held]

    def mine(self) -> nn.Module:
        held = getattr(self._local, "module", None)
        if held is None:
            shared = {id(value): value for value in self._tensors}
            held = self._local.module = copy.deepcopy(self._still, shared)
        return held

    def __reduce__(self):
        return _Copies, (self._module,)
