"""What the plain mean of x_t^2 over finitely many chains shows, where Hessians share a direction: x' = (1 - lr h_B) x.

The chains that carry E x_t^2 grow exponentially rare, and past a certain step no chain among those run is one of them:
the random energy model, with its freezing. Time is in steps.
"""

import numpy as np
from scipy.special import logsumexp

from escape.theory._batches import log_factors
from escape.theory._checks import positive, whole

_CELLS = 2**15  # of the grid that ln|x_t| is put on
_SPACING = 0.3  # of the logarithm of the Laplace variable: the trapezoidal sum errs by 1e-14


def freezing_step(chains, curvatures, lr, batch_size, replacement=False):
    """Step after which the plain mean of x_t^2 over finitely many chains falls below the truth.

    t* = ln(chains) / (2 L'(2) - L(2)): later, the paths that carry E x_t^2 are rarer than one in `chains`.

    Parameters
    ----------
    chains : int or array
        Chains averaged.
    curvatures, lr, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    float or array
        Steps; infinite without noise in the curvature.

    Raises
    ------
    ValueError
        As `lyapunov_exponent`, or if `chains` is below 1.

    Notes
    -----
    Leading order in ln(chains). The mean is already noisy at half of it.

    Source: freezing of the random energy model, Derrida (1981), Phys. Rev. B 24, 2613; applied here by derivation.
    """
    chains = positive("chains", chains)
    if (chains < 1).any():
        raise ValueError(f"chains is {chains!r}: it must be at least 1")
    log, weight = log_factors(curvatures, lr, batch_size, replacement)
    live = np.isfinite(log)  # batches that map to zero carry no second moment
    share = np.exp(2 * log[live] + weight[live] - logsumexp(2 * log[live] + weight[live]))
    # 2 L'(2) - L(2) is the relative entropy of the size-biased law of batches to the true one
    price = 2 * share @ log[live] - logsumexp(2 * log[live] + weight[live])
    return (np.log(chains) / price)[()] if price > 1e-14 else np.where(chains > 1, np.inf, 0.0)[()]


def frozen_log_mean_square(step, chains, curvatures, lr, batch_size, replacement=False):
    """Expected logarithm of the plain mean of x_t^2 / x_0^2 over finitely many chains, E ln((1/m) sum_k x_{t,k}^2).

    int (exp(-e^u) - phi(e^u)^m) du - ln m, phi(l) = E exp(-l x_t^2 / x_0^2).

    Parameters
    ----------
    step : int
        t.
    chains : int
        m, independent chains.
    curvatures, lr, batch_size, replacement
        As in `mean_square_rate`.

    Returns
    -------
    float
        Between 2 gamma t, its value for one chain, and t ln rho, which it follows up to `freezing_step` and falls
        below later.

    Raises
    ------
    ValueError
        As `lyapunov_exponent`, or if a batch maps to zero exactly: all chains may then be zero, with logarithm minus
        infinity.

    Notes
    -----
    Exact but for the grid on which ln|x_t| is added up: none for two distinct batches, else some 1e-3 nats for a
    hundred steps. To leading order in ln(m) and past `freezing_step` it is 2 t L'(p) - ln m with p < 2 of
    p L'(p) - L(p) = ln(m) / t, too high by 3 to 6 nats at a thousand to a hundred thousand chains.

    Source: derived; freezing as in Derrida (1981), Phys. Rev. B 24, 2613.
    """
    step, chains = whole("step", step), whole("chains", chains, 1)
    log, weight = log_factors(curvatures, lr, batch_size, replacement)
    if not np.isfinite(log).all():
        raise ValueError("a batch maps to zero exactly: all chains may be zero, and their mean has no logarithm")
    if step == 0 or np.ptp(log) == 0:
        return float(2 * step * log[0])
    value, probability = _law_of_the_log(2 * log, np.exp(weight), step)
    def missing(u):
        # 1 - phi, by sums of positive terms: phi is close to 1 where it matters for many chains
        return -np.expm1(-np.exp(np.minimum(u[:, None] + value, 30.0))) @ probability

    # the integrand is below e^-37 outside: both of its terms are 1, or both are 0
    ends = -value[-1] - np.log(chains) - 40, max(4.0, 4 - value[0])
    low, high = (_crossing(lambda u, at=at: chains * missing(np.array([u]))[0] - at, *ends) for at in (1e-16, 40.0))
    low, high = min(low, -36.0) - 1, max(high, 4.0)
    u = np.arange(low, high + _SPACING, _SPACING)
    total = 0.0
    for part in np.array_split(u, 1 + len(u) * len(value) // 4_000_000):
        power = np.exp(chains * np.log1p(-np.minimum(missing(part), 1 - 1e-16)))
        total += (np.exp(-np.exp(np.minimum(part, 30.0))) - power).sum()
    return float(_SPACING * total - np.log(chains))


def _crossing(function, low, high):
    """Point a little above where an increasing function turns positive; `high` if it does not."""
    while high - low > 1.0:
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return high


def _law_of_the_log(log, probability, step):
    """Values and probabilities of the sum of `step` independent logarithms, on a grid.

    Each is split between its two neighbours so that its mean is kept; extremes are on the grid.
    """
    cells = 1 if len(np.unique(log)) == 2 else max(_CELLS // step, 16)
    width = np.ptp(log) / cells
    place = (log - log.min()) / width
    left = np.minimum(place.astype(int), cells - 1)
    one = np.zeros(cells + 1)
    np.add.at(one, left, probability * (1 - (place - left)))
    np.add.at(one, left + 1, probability * (place - left))
    size = 2 ** int(np.ceil(np.log2(step * cells + 1)))
    law = np.fft.irfft(np.fft.rfft(one, size) ** step, size)[: step * cells + 1]
    # the transform's rounding is some 1e-16 everywhere: what is below it is noise, not probability
    law = np.where(law > 1e-15, law, 0.0)
    kept = law > 0
    return step * log.min() + width * np.flatnonzero(kept), law[kept] / law.sum()
