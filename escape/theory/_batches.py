"""Checks of the terms of a finite sum, and all batches of commuting curvatures with their probabilities."""

import numpy as np
from scipy.special import gammaln, logsumexp

from escape.theory._checks import positive, real
from escape.theory.sampling import kappa

_OUTCOMES = 1_000_000  # distinct batches beyond which enumeration is refused


def checked_curvatures(curvatures):
    """Curvatures as an array (n,).

    Raises
    ------
    ValueError
        If they are not a vector of finite numbers.
    """
    array = real("curvatures", curvatures)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"curvatures have shape {array.shape}: it must be (n,) with n at least 1")
    return array


def checked_hessians(hessians):
    """Hessians as an array (n, d, d).

    Raises
    ------
    ValueError
        If they have another shape, or one of them is not symmetric.
    """
    array = real("hessians", hessians)
    if array.ndim != 3 or not array.size or array.shape[1] != array.shape[2]:
        raise ValueError(f"hessians have shape {array.shape}: it must be (n, d, d)")
    if not np.allclose(array, array.transpose(0, 2, 1), rtol=1e-10, atol=1e-12 * np.abs(array).max()):
        raise ValueError("hessians are not symmetric")
    return array


def batch_law(curvatures, batch_size, replacement):
    """Mean curvature h_B of every distinct batch, and log probabilities.

    Values are taken one by one; a row is a partial batch (places left, sum so far, log weight), and a full one is
    set aside, so the work is that of the batches themselves.

    Raises
    ------
    ValueError
        If the batch does not fit or there are too many distinct batches.
    """
    curvatures = checked_curvatures(curvatures)
    n, b = len(curvatures), batch_size
    kappa(b, n, replacement)
    values, counts = np.unique(curvatures, return_counts=True)
    size = gammaln(b + len(values)) - gammaln(b + 1) - gammaln(len(values))
    if not replacement:
        size = min(size, gammaln(n + 1) - gammaln(b + 1) - gammaln(n - b + 1))
    if size > np.log(_OUTCOMES):
        raise ValueError(
            f"{len(values)} distinct curvatures in batches of {b} make over {_OUTCOMES:g} outcomes to enumerate: "
            "use lyapunov_exponent_product"
        )
    left, total, weight = np.array([b]), np.zeros(1), np.zeros(1)
    behind, done = n - np.cumsum(counts), []
    for value, count, rest in zip(values, counts, behind, strict=True):
        most = left if replacement else np.minimum(left, count)
        row = np.repeat(np.arange(len(left)), most + 1)
        taken = np.arange(len(row)) - np.repeat(np.cumsum(most + 1) - most - 1, most + 1)
        if replacement:
            chosen = taken * np.log(count / n) - gammaln(taken + 1)
        else:
            chosen = gammaln(count + 1) - gammaln(taken + 1) - gammaln(count - taken + 1)
        left, total, weight = left[row] - taken, total[row] + taken * value, weight[row] + chosen
        done.append((total[left == 0], weight[left == 0]))
        # a place must still be fillable: by any later value with replacement, by enough terms without
        open_rows = (left > 0) & (rest > 0 if replacement else left <= rest)
        left, total, weight = left[open_rows], total[open_rows], weight[open_rows]
    total, weight = (np.concatenate(part) for part in zip(*done, strict=True))
    return total / b, weight - logsumexp(weight)


def log_factors(curvatures, lr, batch_size, replacement):
    """ln|1 - lr h_B| and the log probability of every distinct batch."""
    mean, weight = batch_law(curvatures, batch_size, replacement)
    with np.errstate(divide="ignore"):
        return np.log(np.abs(1 - float(positive("lr", lr)) * mean)), weight
