"""What is descended: a finite sum f = (1/n) Σ f_i, written for one point and one sample and lifted here, once."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev, vmap

from escape.landscapes.batches import batch_sum
from escape.landscapes.changes import VALUES
from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.lifting import Lifted, LiftedFunctions
from escape.landscapes.sample_noise import SampleNoise
from escape.mapped import gathered, is_mapped, packed, parts, path_of, unpacked

# The largest temporary of a lifted call, in numbers: larger batches are worked through in slices.
_SLICE = 1 << 22
# The largest slice of the samples themselves, in numbers: many of them are read from memory, or a file, page by page.
_PAGE = 1 << 20


class Landscape(SampleNoise, ABC):
    """A finite sum f(x) = (1/n) Σ_i f_i(x), each term given by one row of `samples`.

    A subclass holds `samples` (n, k) and writes `sample_loss` for one point and one sample; the loss, the gradient of
    any batch, the Hessian and the noise covariance follow. `sample_gradient` may be given in closed form for speed.

    Attributes
    ----------
    samples : Tensor (n, k)
        One row per term. A run takes its dtype and device from here.
    affine : bool
        True where every f_i is affine in its sample. A batch then acts through its mean sample alone, which is many
        times faster than the mean of gradients; `check_landscape` tests the claim.
    constant_noise : bool
        True where the covariance of the per-sample gradients is the same at every point.
    constant_hessian : bool
        True where the Hessian of f is the same at every point.
    """

    samples: Tensor
    affine: ClassVar[bool] = False
    constant_noise: bool = False
    constant_hessian: bool = False

    @abstractmethod
    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """f_i(x) at one point (d,) for one sample (k,), a scalar tensor."""

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """∇f_i(x) at one point (d,) for one sample (k,); by automatic differentiation unless given in closed form."""
        return grad(self.sample_loss)(x, sample)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """Return the stationary points of f that are known exactly; none unless declared."""
        return ()

    def retract(self, x: Tensor) -> Tensor:
        """Bring points (c, d) back onto the landscape's manifold after a step; the identity on flat space."""
        return x

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.samples.shape[0]

    @property
    def dimension(self) -> int | None:
        """Dimension d of the space, or None where nothing declares it."""
        points = self.critical_points()
        return points[0].location.shape[0] if points else None

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Return a copy with every tensor field moved to a device and a floating dtype.

        Raises
        ------
        ValueError
            For samples mapped from a file of another dtype, or another device: they would all be read into memory.
        """
        moved = {
            field.name: _moved(value, device, dtype if value.is_floating_point() else None)
            for field in dataclasses.fields(self)
            if field.init and isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)

    # Lifted once; a landscape does not override what follows.

    def loss(self, x: Tensor) -> Tensor:
        """Evaluate f at points x: (c, d) -> (c,), or (d,) -> ()."""
        if x.ndim == 1:
            return self.loss(x[None])[0]
        if self.affine:
            return self._lifted("loss", self.sample_loss, (0, None))(x, self.mean_sample)
        losses = self._lifted("losses", vmap(self.sample_loss, (None, 0)), (0, None))
        return sum(losses(x, part).sum(-1) for part in self._sample_parts(x.numel(), "loss")) / self.n

    def gradient(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Mean of ∇f_i over a batch of each point's own, or over all samples.

        Parameters
        ----------
        x : Tensor (c, d) or (d,)
            Points.
        index : Tensor (c, b) or (b,), integer, optional
            The batch of each point; all n samples if omitted.

        Returns
        -------
        Tensor, of the shape of `x`.
        """
        if x.ndim == 1:
            return self.gradient(x[None], None if index is None else index[None])[0]
        if self.affine:
            if index is None:
                return self.gradient_at_sample(x, self.mean_sample.expand(x.shape[0], -1))
            return self.gradient_at_sample(x, self._mean_of(index))
        return self._full_gradient(x) if index is None else self._batch_gradient(x, index)

    def weighted_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_i w_i ∇f_i(x), every point with its own weights: x (c, d), weights (c, n) -> (c, d)."""

        def one(x, weights, part):
            return weights @ vmap(self.sample_gradient, (None, 0))(x, part)

        total = torch.zeros_like(x)
        lifted = self._lifted("weighted gradient", one, (0, 0, None))
        for rows, part in zip(self._slices(x.numel()), self._sample_parts(x.numel()), strict=True):
            total = total + lifted(x, weights[:, rows], part)
        return total

    def gradient_at_sample(self, x: Tensor, sample: Tensor) -> Tensor:
        """∇f_i(x) with every point's own sample: x (c, d), sample (c, k) -> (c, d)."""
        return self._lifted("gradient", self.sample_gradient, (0, 0))(x, sample)

    def hessian(self, x: Tensor) -> Tensor:
        """Hessian of f at one point: (d,) -> (d, d)."""
        if self.affine:
            return hessian(self.sample_loss)(x, self.mean_sample)
        if self._in_one_slice(x.numel()):
            return hessian(lambda x: self.loss(x[None])[0])(x)
        return self.hessians_at(x[None])[0]

    def hessians_at(self, x: Tensor) -> Tensor:
        """Hessians of f at points: (c, d) -> (c, d, d)."""
        if self.affine:
            return self._lifted("hessians", jacrev(grad(self.sample_loss)), (0, None))(x, self.mean_sample)

        # Backward twice: forward differentiation, of which `hessian` is made, fails where several threads do it.
        def one(x, part):
            return jacrev(grad(lambda x: vmap(self.sample_loss, (None, 0))(x, part).sum()))(x)

        lifted = self._lifted("hessians of a part", one, (0, None))
        return sum(lifted(x, part) for part in self._sample_parts(x.numel() * x.shape[1], "hessian")) / self.n

    def sample_gradients(self, x: Tensor) -> Tensor:
        """All ∇f_i at one point: (d,) -> (n, d)."""
        each = vmap(self.sample_gradient, (None, 0))
        if self._in_one_slice(x.numel()):
            return each(x, self.samples)
        return torch.cat([each(x, part) for part in self._sample_parts(x.numel())])

    def sample_hessians(self, x: Tensor) -> Tensor:
        """All Hessians of f_i at one point: (d,) -> (n, d, d). Memory n d² numbers."""
        one = vmap(hessian(self.sample_loss), (None, 0))
        return torch.cat([one(x, part) for part in self._sample_parts(x.numel() ** 2)])

    def critical_point(self, location: Tensor, name: str = "") -> CriticalPoint:
        """Describe a stationary point by its Hessian's spectrum and the kind of noise there, all computed.

        Parameters
        ----------
        location : Tensor (d,)
            A point where ∇f vanishes.
        name : str
            A label.

        Raises
        ------
        ValueError
            If `sample_loss` does not return a scalar.
        """
        shape = tuple(self.sample_loss(location, self.samples[0]).shape)
        if shape:
            raise ValueError(f"sample_loss must return a scalar for one point, got {shape}: sample[0], or a sum")
        eigenvalues, directions = torch.linalg.eigh(self.hessian(location))
        bare = CriticalPoint(location, eigenvalues, directions, name=name)
        return dataclasses.replace(bare, noise=self.noise_type(bare))

    def _mean_of(self, index: Tensor) -> Tensor:
        """Mean sample of each batch, (c, b) -> (c, k)."""
        if index.shape[1] == 1:
            return gathered(self._rows, index[:, 0])
        return batch_sum(self._rows, index).mul_(1.0 / index.shape[1])

    @cached_property
    def _rows(self) -> Tensor:
        """Samples with every row in one piece of memory: sums of scattered rows take thirty times as long."""
        return self.samples if is_mapped(self.samples) else self.samples.contiguous()

    def _batch_gradient(self, x: Tensor, index: Tensor) -> Tensor:
        """Mean gradient of a batch where nothing is known of the samples' role: x (c, d), index (c, b)."""
        width = max(1, _SLICE // max(1, x.numel()))
        gradients = self._lifted("batch gradients", vmap(self.sample_gradient, (None, 0)), (0, 0))
        total = torch.zeros_like(x)
        for part in index.split(width, dim=1):
            # The sample is gathered here: indexing a captured tensor inside vmap is not possible.
            total = total + gradients(x, gathered(self.samples, part)).sum(1)
        return total / index.shape[1]

    def _full_gradient(self, x: Tensor) -> Tensor:
        gradients = self._lifted("full gradients", vmap(self.sample_gradient, (None, 0)), (0, None))
        total = torch.zeros_like(x)
        for part in self._sample_parts(x.numel(), "gradient"):
            total = total + gradients(x, part).sum(1)
        return total / self.n

    def _lifted(self, name: str, function: Callable, in_dims: tuple) -> Lifted:
        """Lift a function, once."""
        return self._lifted_functions.get_or_lift(name, function, in_dims)

    @cached_property
    def _lifted_functions(self) -> LiftedFunctions:
        return LiftedFunctions()

    def __getstate__(self) -> dict:
        """What is copied or sent elsewhere: of samples mapped from a file, where they are."""
        return {name: packed(value) for name, value in vars(self).items() if name != VALUES}

    def __setstate__(self, state: dict) -> None:
        vars(self).update({name: unpacked(value) for name, value in state.items()})

    def _slice_size(self, width: int) -> int:
        """Samples in a slice that keeps a temporary of `width` numbers for each, and the samples, within bounds."""
        return max(1, min(_SLICE // max(1, width), _PAGE // max(1, self.samples.shape[1:].numel())))

    def _in_one_slice(self, width: int) -> bool:
        return self.n <= self._slice_size(width)

    def _slices(self, width: int) -> list[slice]:
        """Slices of the sample axis that keep a temporary of `width` numbers per sample within bounds."""
        size = self._slice_size(width)
        return [slice(first, first + size) for first in range(0, self.n, size)]

    def _sample_parts(self, width: int, what: str = "pass") -> Iterator[Tensor]:
        """The samples in these slices; `what` names a pass over a file that takes long."""
        return parts(self.samples, self._slice_size(width), what)


def _moved(value: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    same = (dtype is None or dtype == value.dtype) and (device is None or torch.device(device) == value.device)
    if is_mapped(value) and not same:
        raise ValueError(
            f"samples are mapped from {path_of(value)} as {value.dtype} on the CPU: to have them otherwise would read "
            "them all into memory; write the file in the dtype wanted, or load_samples it"
        )
    return value.to(device=device, dtype=dtype)
