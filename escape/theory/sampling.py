"""How a batch is drawn, as far as second moments see it."""

from escape.theory._checks import whole


def kappa(batch_size, n, replacement=False):
    """Factor by which a batch mean shrinks the covariance of one term's gradient.

    Cov(g_B) = kappa C with C = (1/n) sum_i (g_i - g)(g_i - g)^T, divisor n:
    kappa = 1/b with replacement, (n - b) / (b (n - 1)) for a fresh batch of distinct terms.

    Parameters
    ----------
    batch_size : int
        b, terms in a batch.
    n : int
        Terms of the whole sum.
    replacement : bool
        Whether one batch may hold a term twice.

    Returns
    -------
    float
        kappa, without unit; 0 for the full batch of distinct terms, and for n = 1.

    Raises
    ------
    ValueError
        If `batch_size` or `n` is not a whole number above zero, or if a batch of distinct terms
        is to be larger than `n`.

    Notes
    -----
    Exact for every n and b. Batches are independent from step to step: a permutation shared by an
    epoch (reshuffling) is correlated in time and has no such factor.

    Source: sampling from a finite population; e.g. Cochran, Sampling Techniques.
    """
    batch_size, n = whole("batch_size", batch_size, 1), whole("n", n, 1)
    if not replacement and batch_size > n:
        raise ValueError(f"batch_size is {batch_size}: without replacement it is at most n = {n}")
    if n == 1:
        return 0.0
    if replacement:
        return 1.0 / batch_size
    return (n - batch_size) / (batch_size * (n - 1))
