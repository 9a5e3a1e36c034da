"""A double well turned against the axes, with eight samples, and how far reshuffled batches can carry a chain in it."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from escape import Landscape

# Angle of the well to the axes and of the noise to the well, standard deviations of the noise, curvature aside.
WELL_ANGLE, NOISE_ANGLE, STDS, BATH = 20.0, 30.0, (1.05, 0.6), 1.0


@dataclass(frozen=True, eq=False)
class TurnedWell(Landscape):
    """f_i(x) = y_1⁴/4 − y_1²/2 + ½ c y_2² + g_iᵀx with y = Qᵀx: a double well that no coordinate axis runs along."""

    samples: Tensor  # (n, 2), the tilts g_i, of sum zero
    basis: Tensor  # (2, 2), Q

    affine: ClassVar[bool] = True
    constant_noise: ClassVar[bool] = True
    dimension: ClassVar[int] = 2

    def sample_loss(self, x, tilt):
        """y_1⁴/4 − y_1²/2 + ½ c y_2² + gᵀx."""
        y = self.basis.T @ x
        return y[0] ** 4 / 4 - y[0] ** 2 / 2 + 0.5 * BATH * y[1] ** 2 + tilt @ x

    def sample_gradient(self, x, tilt):
        """Q (y_1³ − y_1, c y_2) + g."""
        y = self.basis.T @ x
        return self.basis @ torch.stack([y[0] ** 3 - y[0], BATH * y[1]]) + tilt

    def critical_points(self):
        """Left minimum, saddle."""
        first = self.basis[:, 0]
        return self.critical_point(-first, "left minimum"), self.critical_point(0 * first, "saddle")


def turned_well(noise: float = 1.0) -> TurnedWell:
    """Eight tilts, in the well's own coordinates all signs of two independent parts, each twice."""
    signs = np.array(list(itertools.product((1, -1), (1, -1))), dtype=float)
    tilts = np.repeat(noise * signs * STDS @ _turn(NOISE_ANGLE).T, 2, axis=0)
    basis = _turn(WELL_ANGLE)
    return TurnedWell(torch.from_numpy(tilts @ basis.T), torch.from_numpy(basis))


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def reshuffled_exit_step(slopes: np.ndarray, batch_size: int, lr: float) -> float:
    """Mean exit step from −1 to beyond 1 under reshuffling: inf where no order of the batches leads over, else nan.

    Over the orders o of the batches of all epochs, with m_k(y) = y − lr (y³ − y + s_o(k)) for batch means s, the
    interval I_{e+1} = hull(I_e ∪ ∪_o m_K∘…∘m_1(I_e)) from I_0 = {−1} holds all that e + 1 epochs can reach. It has
    closed where it grows by less than 1e-13, and leads over where a step of an epoch comes to 1.

    Parameters
    ----------
    slopes : array (n,)
        Tilt of every sample along the well.
    batch_size : int
        A divisor of n.
    lr : float
        Learning rate.
    """
    orders = _orders(slopes, batch_size)
    low, high = -1.0, -1.0
    turning = np.sqrt((1 + lr) / (3 * lr))
    for _ in range(1000):
        ends = np.repeat([[low, high]], len(orders), axis=0)
        for push in orders.T:
            # Where one step turns back on itself an end of the image lies inside.
            inner = [np.clip(at, ends[:, 0], ends[:, 1]) for at in (-turning, turning)]
            image = np.stack([*ends.T, *inner], axis=1)
            image = image - lr * (image**3 - image + push[:, None])
            ends = np.stack([image.min(1), image.max(1)], axis=1)
            if ends.max() >= 1:
                return np.nan
        before, low, high = (low, high), min(low, ends.min()), max(high, ends.max())
        if max(before[0] - low, high - before[1]) < 1e-13:
            return np.inf
    return np.nan


def _orders(slopes: np.ndarray, batch_size: int) -> np.ndarray:
    """Mean slopes of the batches of an epoch (order, batch), every order once."""
    orders = set()
    for order in itertools.permutations(range(len(slopes))):
        rows = np.reshape(order, (-1, batch_size))
        if (np.diff(rows, axis=1) > 0).all():
            orders.add(tuple(np.round(slopes[rows].mean(1), 12)))
    return np.array(sorted(orders))
