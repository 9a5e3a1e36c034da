"""The octopus: a chain of saddles, each of which keeps batch gradient descent longer than the one before."""

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from escape.landscapes.critical_point import CriticalPoint
from escape.landscapes.degenerate import Tilted
from escape.landscapes.sampling import tilts_of


class _Place(NamedTuple):
    """Where points (…, d) are; masks are 0 or 1 in the dtype of x, (…, d)."""

    left: Tensor  # coordinates whose saddle is behind the chain
    active: Tensor  # the coordinate along which it is leaving now
    after: Tensor  # the one that comes next
    progress: Tensor  # (…, 1), how much of the passage is done: 0 in the tube of a saddle, up to 1 at its end
    inside: Tensor  # (…), bool


@dataclass(frozen=True, eq=False)
class Octopus(Tilted):
    """f_i(x) = V(|x_1|, …, |x_d|) + g_iᵀx, V a tube that leads from the saddle at 0 past d − 1 others to a minimum.

    With k coordinates from 2τ to 6τ, x_{k+1} below 2τ and all later ones up to τ in size, V sums

    - L(x_j − 4τ)² − ν for j ≤ k;
    - −γx² + (10γ − 14L)/(3τ) r³ + (5L − 3γ)/(2τ²) r⁴ of x = x_{k+1}, with r = max(x − τ, 0);
    - [L − (L + γ)S(s)] x_{k+2}² with s = r/τ and S = 10s³ − 15s⁴ + 6s⁵: in the passage from τ to 2τ the next
      coordinate turns from stable to unstable;
    - L x_j² for j > k + 2,

    and ν = (13γ + 37L)τ²/6 makes it continuous, with two derivatives. It is defined on this tube and nowhere else:
    outside, loss and gradient are NaN, and a chain that goes there counts as diverged. From starts well inside, batch
    descent stays there for γ ≤ L and lr ≤ 1/(2L), and small noise too; two coordinates near τ at once may lead out.

    Critical points: for k = 0 … d − 1 saddles with |x_j| = 4τ up to k and 0 beyond, Hessian −2γ along x_{k+1} and 2L
    beside it, and minima with all |x_j| = 4τ and Hessian 2L I. Declared are the saddles and the minimum with positive
    coordinates, d + 1 points in the order of the chain; the others, 2^d minima in all, are their mirror images.

    The exit steps T_k of batch descent grow by `theory.successive_exit_ratio(lr, 2L, −2γ)` from saddle to saddle, for
    coordinates whose turn has not come shrink by 1 − 2 lr L a step. Once that falls below the least number, 2^-149 in
    single and 2^-1074 in double precision, they are zero, and descent stands for ever at a saddle that exact
    arithmetic would leave: at lr = 1/(4L), γ = L after four or five saddles, and after six or seven. `underflowed`
    and `check_underflow` say so; noise prevents it.

    Source: Du, Jin, Lee, Jordan, Póczos and Singh 2017 (arXiv 1705.10412), with S for their polynomial g_2.

    Parameters
    ----------
    tau : float
        τ > 0, the scale of length.
    L : float
        Half the stable curvature, > 0.
    gamma : float
        γ > 0, half the unstable curvature.
    tilts : Tensor (n, d)
        g_i, summing to zero: additive noise. `noisy` makes them; one row of zeros is no noise.
    """

    tau: float
    L: float
    gamma: float
    tilts: Tensor

    def __post_init__(self):
        self._check_tilts(1)
        for name in ("tau", "L", "gamma"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")

    @classmethod
    def noisy(
        cls,
        d: int = 10,
        noise: float = 0.0,
        tau: float = math.e,
        L: float = 1.0,
        gamma: float = 1.0,
        n: int = 1000,
        seed: int = 0,
        tilts: str = "gaussian",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Make the octopus with per-sample noise, or with none: then it has a single sample.

        Parameters
        ----------
        d : int
            Dimension, and number of saddles in the chain.
        noise : float
            Standard deviation of a sample's gradient along every coordinate.
        tau, L, gamma
            As in the class.
        n, seed : int
            Number of samples and seed.
        tilts : str
            Law of the tilts, by its name in `tilts_of`.
        dtype : torch.dtype
            Floating type of the landscape and of every run on it.
        """
        if d < 1:
            raise ValueError(f"d must be at least 1, got {d}")
        rows = tilts_of(tilts, n, d, noise, seed) if noise else torch.zeros(1, d)
        return cls(tau, L, gamma, rows.to(dtype))

    def sample_loss(self, x: Tensor, sample: Tensor) -> Tensor:
        """V(|x|) + gᵀx, NaN outside the tube."""
        place = self._place(x)
        y, bends, s = x - 4 * self.tau * place.left * x.sign(), self._bends(place), place.progress[0]
        own = self.tau**2 * s**3 * ((10 * self.gamma - 14 * self.L) / 3 + (5 * self.L - 3 * self.gamma) / 2 * s)
        value = (bends * y * y + sample * x).sum() + own - self._step_down * place.left.sum()
        return _or_nan(place.inside) * value

    def sample_gradient(self, x: Tensor, sample: Tensor) -> Tensor:
        """∇V + g, in closed form; NaN outside the tube."""
        place, sign = self._place(x), x.sign()
        y, bends, s = x - 4 * self.tau * place.left * sign, self._bends(place), place.progress
        own = self.tau * s * s * (10 * self.gamma - 14 * self.L + (10 * self.L - 6 * self.gamma) * s)
        turning = 30 * (self.L + self.gamma) / self.tau * (s * (1 - s)) ** 2 * (place.after * x * x).sum()
        return _or_nan(place.inside) * (2 * bends * y + place.active * sign * (own - turning) + sample)

    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """The saddles in the order of the chain, then the minimum, all with coordinates 4τ or 0."""
        points = []
        for k in range(self.dimension + 1):
            location = torch.zeros_like(self.tilts[0])
            location[:k] = 4 * self.tau
            eigenvalues = torch.full_like(location, 2 * self.L)
            eigenvalues[k : k + 1] = -2 * self.gamma
            name = f"saddle {k + 1}" if k < self.dimension else "minimum"
            points.append(self._tilted_point(location, eigenvalues, name))
        return tuple(points)

    def inside(self, x: Tensor) -> Tensor:
        """Whether points lie where V is defined: (c, d) -> (c,) bool, or (d,) -> ()."""
        return self._place(x).inside

    def region(self, x: Tensor) -> Tensor:
        """Part of the tube that points lie in: (c, d) -> (c,) int64, or (d,) -> ().

        2k with k saddles left and |x_{k+1}| ≤ τ, 2k + 1 in the passage from there, 2d around a minimum; −1 outside.
        """
        place = self._place(x)
        number = 2 * place.left.sum(-1) + (place.progress[..., 0] > 0)
        return torch.where(place.inside, number, -1).long()

    def saddles_left(self, x: Tensor) -> Tensor:
        """Number of saddles left, an observable: leading coordinates from 2τ on, (c, d) -> (c,); NaN outside."""
        place = self._place(x)
        return _or_nan(place.inside) * place.left.sum(-1)

    def underflowed(self, x: Tensor) -> Tensor:
        """Number of coordinates that have underflowed, an observable: (c, d) -> (c,).

        A coordinate counts if its saddle is not left yet and it is zero, or too small for all its digits. The saddles
        themselves have such coordinates: batch descent never leaves from there.
        """
        small = x.abs() < torch.finfo(x.dtype).tiny
        return ((self._place(x).left == 0) & small).sum(-1).to(x.dtype)

    def check_underflow(self, x: Tensor) -> int:
        """Count points (c, d), such as the ends of a run, that have coordinates underflowed, and warn if there are any.

        Warns
        -----
        UserWarning
            Naming the first coordinate that underflowed anywhere.
        """
        x = torch.as_tensor(x)
        x = x[None] if x.ndim == 1 else x
        lost = self.underflowed(x) > 0
        count = int(lost.sum())
        if count:
            small = (x.abs() < torch.finfo(x.dtype).tiny) & (self._place(x).left == 0)
            first = int(small.any(0).int().argmax()) + 1
            kind = str(x.dtype).removeprefix("torch.")
            warnings.warn(
                f"{count} of {len(x)} points have coordinates that underflowed in {kind}, from x_{first} on: without "
                "noise they never leave that saddle; take a wider dtype, fewer saddles, or noise",
                stacklevel=2,
            )
        return count

    def check_starts(self, x: Tensor) -> None:
        """Raise ValueError unless all points (c, d) or (d,) lie where V is defined."""
        x = x[None] if x.ndim == 1 else x
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise ValueError(f"starts must be (c, {self.dimension}) or ({self.dimension},), got {tuple(x.shape)}")
        outside = (~self.inside(x)).nonzero()[:, 0]
        if len(outside):
            raise ValueError(
                f"{len(outside)} of {len(x)} starts lie outside the octopus, first row {int(outside[0])}: leading "
                f"coordinates may be 2τ to 6τ = {6 * self.tau:g} in size, the next below 2τ, the rest up to τ = "
                f"{self.tau:g}"
            )

    @property
    def _step_down(self) -> float:
        """ν, by which every saddle is lower than the one before."""
        return (13 * self.gamma + 37 * self.L) * self.tau**2 / 6

    def _bends(self, place: _Place) -> Tensor:
        """Coefficients of the squares: L, −γ of the active coordinate, in between for the next one in the passage."""
        return self.L - (self.L + self.gamma) * (place.active + place.after * _smooth_step(place.progress))

    def _place(self, x: Tensor) -> _Place:
        size, tau = x.abs(), self.tau
        left = (size >= 2 * tau).to(x.dtype).cumprod(-1)
        before = torch.cat([torch.ones_like(left[..., :1]), left[..., :-1]], -1)
        active = before - left
        after = torch.cat([torch.zeros_like(left[..., :1]), active[..., :-1]], -1)
        along = (active * size).sum(-1, keepdim=True)
        inside = (size <= tau * (1 + active + 5 * left)).all(-1)
        return _Place(left, active, after, (along / tau - 1).clamp(0, 1), inside)


def _smooth_step(s: Tensor) -> Tensor:
    """10s³ − 15s⁴ + 6s⁵: from 0 at 0 to 1 at 1, with two vanishing derivatives at both."""
    return s**3 * (10 - 15 * s + 6 * s * s)


def _or_nan(inside: Tensor) -> Tensor:
    """A factor 1, or NaN that no derivative forgets."""
    return torch.where(inside, 1.0, math.nan)
