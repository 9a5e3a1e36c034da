"""Exact moments of mini-batch SGD on a finite sum of quadratics, f_i(x) = x^T H_i x / 2 + g_i . x.

The Hessians differ from term to term, so the noise at the critical point multiplies the distance to it. Commuting
Hessians, one direction at a time, are in `commuting`. Time is in steps.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import eigsh

from escape.theory._checks import positive, real, whole
from escape.theory.sampling import kappa

_DENSE = 400  # packed size up to which a full eigendecomposition is faster than Lanczos


def _pairs(d):
    """Indices of the upper triangle, and weights making packed symmetric matrices keep the Frobenius product."""
    row, column = np.triu_indices(d)
    return row, column, np.where(row == column, 1.0, np.sqrt(2.0))


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
        By `evolve`, for a bad number of steps or shape of start.

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
        row, column, weight = _pairs(d)
        mean, moment = np.empty((steps + 1, d)), np.empty((steps + 1, d, d))
        mean[0], moment[0] = start, np.outer(start, start)
        packed = weight * moment[0][row, column]
        for t in range(steps):
            mixed = np.tensordot(mean[t], self.cross, (0, 1))
            added = mixed + mixed.T + self.tilt_covariance
            packed = self.operator @ packed + weight * added[row, column]
            moment[t + 1][row, column] = moment[t + 1][column, row] = packed / weight
            mean[t + 1] = self.mean_step @ mean[t]
        return mean, moment

    @cached_property
    def _top(self):
        """Largest eigenvalue and the identity's share of its eigenspace.

        Powers of the map applied to I stay PSD and tend to that share, so it is PSD even if the eigenvalue is
        multiple. Lanczos started at I never leaves the share's span, and finds the same vector.
        """
        d = len(self.mean_step)
        row, column, weight = _pairs(d)
        identity = (row == column).astype(float)
        if len(identity) <= _DENSE:
            values, vectors = linalg.eigh(self.operator)
            space = vectors[:, values >= values[-1] - 1e-10 * abs(values[-1])]
            rate, packed = values[-1], space @ (space.T @ identity)
        else:
            values, vectors = eigsh(self.operator, k=1, which="LA", v0=identity)
            rate, packed = values[0], vectors[:, 0]
        matrix = np.empty((d, d))
        matrix[row, column] = matrix[column, row] = packed / weight
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
        With `evolve`, `rate`, `log_rate` and `eigenmatrix`.

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
    hessians, lr = real("hessians", hessians), float(positive("lr", lr))
    if hessians.ndim != 3 or hessians.shape[1] != hessians.shape[2]:
        raise ValueError(f"hessians have shape {hessians.shape}: it must be (n, d, d)")
    n, d = hessians.shape[:2]
    tilts = np.zeros((n, d)) if tilts is None else real("tilts", tilts)
    if tilts.shape != (n, d):
        raise ValueError(f"tilts have shape {tilts.shape}: it must be ({n}, {d}), as the hessians are {hessians.shape}")
    if not np.allclose(hessians, hessians.transpose(0, 2, 1), rtol=1e-10, atol=1e-12 * np.abs(hessians).max()):
        raise ValueError("hessians are not symmetric")
    if np.abs(tilts.mean(0)).max() > 1e-10 * max(np.abs(tilts).max(), 1e-300):
        raise ValueError(f"tilts average to {tilts.mean(0)}: at a critical point they average to zero")
    factor = lr**2 * kappa(batch_size, n, replacement) / n
    mean = hessians.mean(0)
    mean_step = np.eye(d) - lr * mean
    row, column, _ = _pairs(d)
    spread = (hessians - mean)[:, row, column]
    gram = factor * (spread.T @ spread) + np.outer(mean_step[row, column], mean_step[row, column])
    cross = factor * (spread.T @ tilts)[_packing(d)]
    return SecondMoment(mean_step, _congruence(gram, d), cross, factor * tilts.T @ tilts)


def _packing(d):
    """Place of each entry of a symmetric (d, d) matrix among the packed ones."""
    row, column, _ = _pairs(d)
    place = np.empty((d, d), dtype=np.intp)
    place[row, column] = place[column, row] = np.arange(len(row))
    return place


def _congruence(gram, d):
    """Packed form of M -> sum_i S_i M S_i from the Gram matrix sum_i s_i s_i^T of the upper triangles s_i.

    (S M S)_ac sums S_ab M_be S_ec over ordered b, e: the two orders of one packed pair, hence the half.
    """
    row, column, weight = _pairs(d)
    place = _packing(d)
    straight = gram[place[row[:, None], row], place[column[:, None], column]]
    crossed = gram[place[row[:, None], column], place[column[:, None], row]]
    return weight[:, None] * weight * (straight + crossed) / 2


def _distinct(rng, count, n, batch_size):
    """Rows of distinct indices, uniform among all subsets (Floyd: one draw an index, a repeat takes the newcomer)."""
    chosen = np.empty((count, batch_size), dtype=np.int64)
    for position, newcomer in enumerate(range(n - batch_size, n)):
        draw = rng.integers(0, newcomer + 1, count)
        repeat = (chosen[:, :position] == draw[:, None]).any(1)
        chosen[:, position] = np.where(repeat, newcomer, draw)
    return chosen


def _batch_product(hessians, factors, sign, index, x):
    """H_B x for each chain: (c, b) indices, (c, d) points."""
    if factors is not None:
        rows = factors[index]
        score = np.einsum("cbd,cd->cb", rows, x)
        return sign / index.shape[1] * np.einsum("cb,cbd->cd", score, rows)
    total = np.zeros_like(x)
    for member in index.T:
        total += np.einsum("cij,cj->ci", hessians[member], x)
    return total / index.shape[1]


def lyapunov_exponent_product(
    hessians, lr, batch_size, replacement=False, steps=2000, chains=64, seed=0, factors=None, sign=1.0
):
    """Almost sure growth rate gamma = lim ln|x_t| / t by Monte Carlo, for Hessians that do not commute.

    The mean of ln |A_B x| / |x| along the product of random matrices A_B = I - lr H_B, x renormalised each step.

    Parameters
    ----------
    hessians : (n, d, d) array or None
        H_i; None if `factors` is given.
    lr : float
        Learning rate.
    batch_size : int
        Terms in a batch, drawn afresh each step.
    replacement : bool
        Whether a batch may hold a term twice.
    steps, chains : int
        Steps averaged after a tenth as many to forget the start, and independent chains (at least 2).
    seed : int
        Seed of the random numbers.
    factors : (n, d) array, optional
        z_i of rank-one Hessians H_i = sign z_i z_i^T, which are then never formed.
    sign : float
        Factor before z_i z_i^T.

    Returns
    -------
    float, float
        gamma per step and its standard error, from the spread of the chains; (-inf, nan) if a chain is mapped to
        zero exactly.

    Raises
    ------
    ValueError
        If both or neither of `hessians` and `factors` are given, shapes are wrong, or a count is too small.

    Notes
    -----
    The bias of the forgotten start falls as exp(-steps / 10 times the gap of the first two exponents); without a gap
    it is O(1 / steps). Hessians that commute have `lyapunov_exponent`, without error.

    Source: Furstenberg and Kesten (1960), Ann. Math. Statist. 31, 457.
    """
    if (hessians is None) == (factors is None):
        raise ValueError("give either hessians (n, d, d) or factors (n, d), and None for the other")
    terms = real("hessians", hessians) if factors is None else real("factors", factors)
    if terms.ndim != (3 if factors is None else 2):
        raise ValueError(f"got shape {terms.shape}: hessians must be (n, d, d), factors (n, d)")
    n, d = terms.shape[0], terms.shape[-1]
    steps, chains = whole("steps", steps, 1), whole("chains", chains, 2)
    positive("lr", lr)
    kappa(batch_size, n, replacement)  # its checks of the batch are the ones needed here
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((chains, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    total, burn_in = np.zeros(chains), steps // 10
    for t in range(burn_in + steps):
        index = rng.integers(0, n, (chains, batch_size)) if replacement else _distinct(rng, chains, n, batch_size)
        x = x - lr * _batch_product(terms, None if factors is None else terms, sign, index, x)
        norm = np.linalg.norm(x, axis=1)
        if (norm == 0).any():
            return -np.inf, np.nan
        x /= norm[:, None]
        if t >= burn_in:
            total += np.log(norm)
    rates = total / steps
    return float(rates.mean()), float(rates.std(ddof=1) / np.sqrt(chains))
