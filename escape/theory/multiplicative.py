"""Exact moments of mini-batch SGD on a finite sum of quadratics, f_i(x) = x^T H_i x / 2 + g_i . x.

The Hessians differ from term to term, so the noise at the critical point multiplies the distance to it. Commuting
Hessians, one direction at a time, are in `commuting`. Time is in steps.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import eigsh

from escape.theory._batches import checked_hessians
from escape.theory._checks import positive, real, whole
from escape.theory._packed import congruence, packing, pairs, unpacked
from escape.theory.sampling import kappa

_DENSE = 400  # packed size up to which a full eigendecomposition is faster than Lanczos


@dataclass(frozen=True, eq=False)
class SecondMoment:
    """Recursion of mean and second moment about the critical point, m = E x and M = E x x^T.

    m' = A m and M' = A M A + lr^2 kappa / n sum_i (D_i M D_i + D_i m g_i^T + g_i m^T D_i + g_i g_i^T),
    A = I - lr H, D_i = H_i - H. Build it with `second_moment`.

    Parameters
    ----------
    mean_step : (d, d) array
        A.
    operator : (p, p) array
        The map of M without tilts, in packed symmetric coordinates, p = d (d + 1) / 2 (upper triangle, off-diagonal
        entries times sqrt 2). It is symmetric, as the Hessians are.
    cross : (d, d, d) array
        lr^2 kappa / n sum_i D_i[a, b] g_i[c].
    tilt_covariance : (d, d) array
        lr^2 kappa / n sum_i g_i g_i^T.

    Raises
    ------
    ValueError
        By `evolve`, for a bad number of steps or shape of start; by `stationary`, where rho is not below 1.

    Notes
    -----
    Source: Ma and Ying (2021) and Mulayoff and Michaeli (2024), arXiv 2306.07850, for the map without tilts;
    the tilted terms are derived.
    """

    mean_step: np.ndarray
    operator: np.ndarray
    cross: np.ndarray
    tilt_covariance: np.ndarray

    def evolve(self, steps, start=None):
        """Exact mean and second moment, steps 0 to `steps`.

        Parameters
        ----------
        steps : int
            Number of steps.
        start : (d,) array, optional
            x_0 relative to the critical point; the point itself by default.

        Returns
        -------
        (steps + 1, d) array, (steps + 1, d, d) array
            E x_t and E x_t x_t^T.

        Raises
        ------
        ValueError
            If `steps` is not a whole number or `start` is not (d,).
        """
        steps, d = whole("steps", steps), len(self.mean_step)
        start = np.zeros(d) if start is None else real("start", start)
        if start.shape != (d,):
            raise ValueError(f"start has shape {start.shape}: it must be ({d},)")
        row, column, weight = pairs(d)
        mean, moment = np.empty((steps + 1, d)), np.empty((steps + 1, d, d))
        mean[0], moment[0] = start, np.outer(start, start)
        packed = weight * moment[0][row, column]
        for t in range(steps):
            added = self.tilt_covariance
            if mean[t].any():
                mixed = np.tensordot(mean[t], self.cross, (0, 1))
                added = mixed + mixed.T + added
            packed = self.operator @ packed + weight * added[row, column]
            moment[t + 1][row, column] = moment[t + 1][column, row] = packed / weight
            mean[t + 1] = self.mean_step @ mean[t]
        return mean, moment

    def stationary(self):
        """Covariance that the chain settles to, S = A S A + lr^2 kappa / n sum_i (D_i S D_i + g_i g_i^T).

        Returns
        -------
        (d, d) array
            E x x^T in the limit; the mean is zero there, so that the mixed terms of D_i and g_i are gone. A zero
            matrix without tilts.

        Raises
        ------
        ValueError
            If rho is not below 1: the second moment grows, though the chain itself may still settle.

        Notes
        -----
        Exact where rho < 1, for independent batches; digits are lost as 1 / (1 - rho).

        Source: Mulayoff and Michaeli (2024), arXiv 2306.07850, Thm 5, in another form; derived.
        """
        if self.rate >= 1:
            raise ValueError(
                f"rho is {self.rate:.6g}: there is no stationary covariance unless it is below 1; take a smaller lr"
            )
        d = len(self.mean_step)
        row, column, weight = pairs(d)
        added = weight * self.tilt_covariance[row, column]
        return unpacked(linalg.solve(np.eye(len(added)) - self.operator, added, assume_a="sym"), d)

    @cached_property
    def _top(self):
        """Largest eigenvalue and the identity's share of its eigenspace.

        Powers of the map applied to I stay PSD and tend to that share, so it is PSD even if the eigenvalue is
        multiple. Lanczos started at I never leaves the share's span, and finds the same vector.
        """
        d = len(self.mean_step)
        row, column, _ = pairs(d)
        identity = (row == column).astype(float)
        if len(identity) <= _DENSE:
            values, vectors = linalg.eigh(self.operator)
            space = vectors[:, values >= values[-1] - 1e-10 * abs(values[-1])]
            rate, packed = values[-1], space @ (space.T @ identity)
        else:
            values, vectors = eigsh(self.operator, k=1, which="LA", v0=identity)
            rate, packed = values[0], vectors[:, 0]
        matrix = unpacked(packed, d)
        return float(rate), matrix / (np.copysign(1.0, np.trace(matrix)) * np.linalg.norm(matrix))

    @property
    def rate(self):
        """Largest eigenvalue rho of the map: without tilts E |x_t|^2 grows as rho^t."""
        return self._top[0]

    @property
    def log_rate(self):
        """Logarithm of rho per step, the mean-square growth rate; minus infinity if every step ends in zero."""
        with np.errstate(divide="ignore"):
            return float(np.log(max(self.rate, 0.0)))

    @property
    def eigenmatrix(self):
        """Positive semidefinite (d, d) eigenmatrix of rho with Frobenius norm 1: the shape the moment takes."""
        return self._top[1]


def second_moment(hessians, lr, batch_size, replacement=False, tilts=None):
    """Exact recursion of mean and second moment of mini-batch SGD on f_i(x) = x^T H_i x / 2 + g_i . x.

    Q = A (x) A + lr^2 kappa / n sum_i D_i (x) D_i on symmetric matrices; see `SecondMoment`.

    Parameters
    ----------
    hessians : (n, d, d) array
        H_i, symmetric.
    lr : float
        Learning rate.
    batch_size : int
        Terms in a batch, drawn afresh each step.
    replacement : bool
        Whether a batch may hold a term twice.
    tilts : (n, d) array, optional
        g_i, gradients at the critical point; they must average to zero. None by default.

    Returns
    -------
    SecondMoment
        With `evolve`, `stationary`, `rate`, `log_rate` and `eigenmatrix`.

    Raises
    ------
    ValueError
        If shapes do not match, a Hessian is not symmetric, or the tilts do not average to zero.

    Notes
    -----
    Exact for every lr, batch size and sampling with independent batches; not for reshuffling. Memory is p^2 floats,
    p = d (d + 1) / 2: 35 MB at d = 64.

    Source: see `SecondMoment`; packed form derived.
    """
    hessians, lr = checked_hessians(hessians), float(positive("lr", lr))
    n, d = hessians.shape[:2]
    tilts = np.zeros((n, d)) if tilts is None else real("tilts", tilts)
    if tilts.shape != (n, d):
        raise ValueError(f"tilts have shape {tilts.shape}: it must be ({n}, {d}), as the hessians are {hessians.shape}")
    if np.abs(tilts.mean(0)).max() > 1e-10 * max(np.abs(tilts).max(), 1e-300):
        raise ValueError(f"tilts average to {tilts.mean(0)}: at a critical point they average to zero")
    factor = lr**2 * kappa(batch_size, n, replacement) / n
    mean = hessians.mean(0)
    mean_step = np.eye(d) - lr * mean
    row, column, _ = pairs(d)
    spread = (hessians - mean)[:, row, column]
    gram = factor * (spread.T @ spread) + np.outer(mean_step[row, column], mean_step[row, column])
    cross = factor * (spread.T @ tilts)[packing(d)]
    return SecondMoment(mean_step, congruence(gram, d), cross, factor * tilts.T @ tilts)
