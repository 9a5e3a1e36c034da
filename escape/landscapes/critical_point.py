"""A stationary point with its spectrum and the kind of noise there."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A stationary point of f with the spectrum of its Hessian.

    Parameters
    ----------
    location : Tensor (d,)
        The point.
    eigenvalues : Tensor (d,)
        Eigenvalues of the Hessian of f, ascending.
    directions : Tensor (d, d)
        Orthonormal eigenvectors, one a column, in the same order.
    noise : {"I", "II"} or None
        "I": per-sample gradients differ along an unstable direction, so noise survives at the point. "II": every
        per-sample gradient vanishes along all unstable directions, only the curvatures differ (the names are those of
        Ziyin, Li, Galanti and Ueda 2023, arXiv 2303.13093). At a minimum, all directions count. None: not declared.
    name : str
        A short label for tables.
    gauge : int
        Number of directions along which f is constant by a symmetry, and flat whatever happens, such as the radial one
        of a function of x/‖x‖. They do not count against a minimum or a maximum.
    """

    location: Tensor
    eigenvalues: Tensor
    directions: Tensor
    noise: str | None = None
    name: str = ""
    gauge: int = 0

    def __post_init__(self):
        d = self.location.shape[-1]
        if self.location.shape != (d,) or self.eigenvalues.shape != (d,) or self.directions.shape != (d, d):
            raise ValueError(
                f"a critical point needs location (d,), eigenvalues (d,), directions (d, d), got "
                f"{tuple(self.location.shape)}, {tuple(self.eigenvalues.shape)}, {tuple(self.directions.shape)}"
            )
        if (self.eigenvalues.diff() < 0).any():
            raise ValueError("the eigenvalues of a critical point must ascend; sort them with their directions")
        if not 0 <= self.gauge < d:
            raise ValueError(f"gauge counts flat directions and must lie in 0 to {d - 1}, got {self.gauge}")

    @property
    def index(self) -> int:
        """Number of negative eigenvalues, the Morse index; 0 at a minimum, d − gauge at a maximum."""
        return int((self.eigenvalues < -self._flat).sum())

    @property
    def unstable(self) -> Tensor:
        """Escape directions: eigenvectors of negative eigenvalues, most negative first, (d, index)."""
        return self.directions[:, : self.index]

    @property
    def kind(self) -> str:
        """'minimum', 'saddle', 'maximum', or 'degenerate' where the spectrum has no sign to decide by."""
        positive = int((self.eigenvalues > self._flat).sum())
        curved = len(self.eigenvalues) - self.gauge
        if positive >= curved:
            return "minimum"
        if self.index >= curved:
            return "maximum"
        return "saddle" if self.index else "degenerate"

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "CriticalPoint":
        """Return a copy on a device and in a floating dtype."""
        tensors = (self.location, self.eigenvalues, self.directions)
        return CriticalPoint(*(t.to(device=device, dtype=dtype) for t in tensors), self.noise, self.name, self.gauge)

    @property
    def _flat(self) -> float:
        """Size below which an eigenvalue counts as zero: rounding of the largest one."""
        return 64 * torch.finfo(self.eigenvalues.dtype).eps * float(self.eigenvalues.abs().max().clamp(min=1e-300))
