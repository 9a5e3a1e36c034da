"""All distinct batch gradients of one coordinate, with their probabilities."""

import numpy as np
from scipy.special import gammaln

from escape.theory._checks import whole
from escape.theory.sampling import kappa

OUTCOMES = 20_000  # distinct batches beyond which enumeration is refused
_ENTRIES = 20_000_000  # of the table of batches


def sample_groups(at_probes):
    """Columns of (q, n) gradients that agree at every probe: index of one in each group, and how many there are."""
    scale = np.abs(at_probes).max(initial=0.0) or 1.0
    _, first, counts = np.unique(np.round(at_probes / scale, 12), axis=1, return_index=True, return_counts=True)
    return first, counts


def compositions(counts, batch_size, replacement):
    """Every batch as numbers (k, groups) of samples taken from groups of given sizes, and its log weight.

    Raises
    ------
    ValueError
        If the batch does not fit or there are too many.
    """
    n = int(counts.sum())
    kappa(batch_size, n, replacement)
    taken, left, weight = np.zeros((1, 0), dtype=int), np.array([batch_size]), np.zeros(1)
    behind = n - np.cumsum(counts)
    for count, rest in zip(counts, behind, strict=True):
        most = left if replacement else np.minimum(left, count)
        least = left if rest == 0 else (np.zeros_like(left) if replacement else np.maximum(left - rest, 0))
        ways = most - least + 1
        if ways.sum() > OUTCOMES or ways.sum() * len(counts) > _ENTRIES:
            raise ValueError(
                f"{len(counts)} distinct samples in batches of {batch_size} make too many outcomes to enumerate, "
                f"at most {OUTCOMES}: take fewer samples, or GaussianChain for a Gaussian surrogate"
            )
        row = np.repeat(np.arange(len(left)), ways)
        here = np.arange(len(row)) - np.repeat(np.cumsum(ways) - ways - least, ways)
        if replacement:
            chosen = here * np.log(count / n) - gammaln(here + 1)
        else:
            chosen = gammaln(count + 1) - gammaln(here + 1) - gammaln(count - here + 1)
        taken, left, weight = np.column_stack([taken[row], here]), left[row] - here, weight[row] + chosen
    return taken, weight


def batch_outcomes(at_probes, batch_size, replacement):
    """Distinct batches of samples whose gradients at a few probes are (q, n).

    Returns
    -------
    first : (groups,) array
        One sample of each group of equal ones.
    mixture : (groups, k) array
        Shares: gradients of the groups (q, groups) @ mixture are those of the k distinct batches.
    probability : (k,) array
        Their probabilities.
    """
    first, counts = sample_groups(at_probes)
    taken, weight = compositions(counts, whole("batch_size", batch_size, 1), replacement)
    probability = np.exp(weight - weight.max())
    probability /= probability.sum()
    # different batches may have the same mean everywhere, such as {+, -} and {0, 0}
    means = at_probes[:, first] @ taken.T / batch_size
    one, _ = sample_groups(means)
    scale = np.abs(means).max(initial=0.0) or 1.0
    _, label = np.unique(np.round(means / scale, 12), axis=1, return_inverse=True)
    merged = np.bincount(label.ravel(), weights=probability)
    return first, taken[one].T / batch_size, merged
