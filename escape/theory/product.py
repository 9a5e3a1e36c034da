"""Almost sure growth of mini-batch SGD for Hessians that do not commute, by Monte Carlo. Time is in steps."""

import numpy as np

from escape.theory._checks import positive, real, whole
from escape.theory.sampling import kappa


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
