"""A stationary point with its spectrum and the kind of noise there."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A stationary point of f with the spectrum of its Hessian, or with both ends of it.

    In large dimension only m < d eigenpairs may be known: the m − 1 lowest ones and, last, the highest. Everything that
    rests on the others says so: `index` and `unstable` raise where an unseen eigenvalue may be negative.

    Parameters
    ----------
    location : Tensor (d,)
        The point.
    eigenvalues : Tensor (d,) or (m,)
        Eigenvalues of the Hessian of f, ascending; where 2 ≤ m < d, the m − 1 lowest and the highest.
    directions : Tensor (d, d) or (d, m)
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
    error : float
        Error of the eigenvalues, below which one counts as zero, where it is more than rounding: that of an iteration,
        or of a location found to some accuracy.
    """

    location: Tensor
    eigenvalues: Tensor
    directions: Tensor
    noise: str | None = None
    name: str = ""
    gauge: int = 0
    error: float = 0.0

    def __post_init__(self):
        d, m = self.location.shape[-1], self.eigenvalues.shape[-1]
        shapes = self.location.shape, self.eigenvalues.shape, self.directions.shape
        if shapes != ((d,), (m,), (d, m)) or not (m == d or 2 <= m < d):
            raise ValueError(
                f"a critical point needs location (d,), eigenvalues (d,), directions (d, d), got "
                f"{', '.join(str(tuple(shape)) for shape in shapes)}"
            )
        if (self.eigenvalues.diff() < 0).any():
            raise ValueError("the eigenvalues of a critical point must ascend; sort them with their directions")
        if not 0 <= self.gauge < d:
            raise ValueError(f"gauge counts flat directions and must lie in 0 to {d - 1}, got {self.gauge}")
        if self.gauge and m < d:
            raise ValueError(f"{m} of {d} eigenpairs are known: with a gauge all must be")

    @property
    def complete(self) -> bool:
        """Whether all d eigenpairs are known."""
        return len(self.eigenvalues) == len(self.location)

    @property
    def negative(self) -> int:
        """Number of negative eigenvalues among those known: the index, or a lower bound of it."""
        return int((self.eigenvalues < -self._flat).sum())

    @property
    def index_known(self) -> bool:
        """Whether no eigenvalue that is not known can be negative, or all are."""
        return self.complete or self.negative != len(self.eigenvalues) - 1

    @property
    def index(self) -> int:
        """Number of negative eigenvalues, the Morse index; 0 at a minimum, d − gauge at a maximum.

        Raises
        ------
        ValueError
            If only some eigenpairs are known, and all but the highest of them are negative.
        """
        if not self.index_known:
            m, d = len(self.eigenvalues), len(self.location)
            raise ValueError(
                f"the index is at least {self.negative} and not known: {m} of {d} eigenpairs are known and all but the "
                "highest are negative; ask escape_directions for more"
            )
        everything = self.negative == len(self.eigenvalues)
        return len(self.location) if everything else self.negative

    @property
    def unstable(self) -> Tensor:
        """Escape directions: eigenvectors of negative eigenvalues, most negative first, (d, index).

        Raises
        ------
        ValueError
            If not all of them are known.
        """
        if self.index > len(self.eigenvalues):
            raise ValueError(f"{len(self.eigenvalues)} of {self.index} escape directions are known")
        return self.directions[:, : self.index]

    @property
    def kind(self) -> str:
        """'minimum', 'saddle', 'maximum', or 'degenerate' where the spectrum has no sign to decide by."""
        positive = int((self.eigenvalues > self._flat).sum())
        if positive > 1 and not self.complete:  # those that are not known lie between the last two
            positive += len(self.location) - len(self.eigenvalues)
        curved = len(self.location) - self.gauge
        if positive >= curved:
            return "minimum"
        if self.index_known and self.index >= curved:
            return "maximum"
        return "saddle" if self.negative else "degenerate"

    @property
    def caveats(self) -> tuple[str, ...]:
        """What is not known of the spectrum, in one line, or nothing."""
        if self.complete:
            return ()
        m, d = self.directions.shape[1], len(self.location)
        return (f"{m} of {d} eigenpairs are known, the lowest and the highest one",)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "CriticalPoint":
        """Return a copy on a device and in a floating dtype."""
        tensors = (self.location, self.eigenvalues, self.directions)
        moved = (tensor.to(device=device, dtype=dtype) for tensor in tensors)
        return CriticalPoint(*moved, self.noise, self.name, self.gauge, self.error)

    @property
    def _flat(self) -> float:
        """Size below which an eigenvalue counts as zero: rounding of the largest one, or the error declared."""
        rounding = 64 * torch.finfo(self.eigenvalues.dtype).eps
        return max(self.error, rounding * float(self.eigenvalues.abs().max().clamp(min=1e-300)))
