"""Random symmetric matrices and what they say of random landscapes: how many saddles of each index, and how few minima.

GOE(n): real symmetric, M_ii ~ N(0, 1) and M_ij ~ N(0, 1/2), density of eigenvalues ∝ Π|λ_i − λ_j| e^{−Σ λ²/2}.
"""

import numpy as np
from scipy import special

from escape.theory._checks import positive, real, whole
from escape.theory._pfaffian import bordered, index_laws, orthonormal, panels, pfaffian, upper_integrals

_LARGEST = 50  # of matrices: beyond, probabilities leave the range of floats


def goe_positive_probability(n):
    """Probability that all eigenvalues of a GOE matrix are positive: that a random Hessian is one of a minimum.

    n! Pf(A) / Z with A_jk = ∫∫_{0<x<y} (φ_j(x)φ_k(y) − φ_k(x)φ_j(y)) dx dy, φ orthonormal on the half-line, bordered by
    ∫ φ_j for odd n, and Z Mehta's integral; 1/2, (2 − √2)/4, (π − 2√2)/(4π), … and e^{−(ln 3/4) n² − O(n)}.

    Parameters
    ----------
    n : int
        Size of the matrix, 1 to 50.

    Returns
    -------
    float
        Relative error below 1e-9.

    Raises
    ------
    ValueError
        If `n` is not such a number.

    Source: Dean and Majumdar 2006, Phys. Rev. Lett. 97, 160201 (exponent and small n); de Bruijn 1955, J. Indian Math.
    Soc. 19, 133 (the Pfaffian).
    """
    n = _size("n", n, 1)
    x, weights, inside = panels(np.linspace(0.0, np.sqrt(2 * n) + 8, 24 + 4 * n))
    values, log_leading = orthonormal(x, weights, n)
    upper = upper_integrals(values, weights, inside)
    skew = values * weights @ upper.T
    log_pfaffian = np.log(np.abs(pfaffian(bordered(skew - skew.T, values @ weights))))
    j = np.arange(1, n + 1)
    log_z = n / 2 * np.log(2 * np.pi) + (special.gammaln(1 + j / 2) - special.gammaln(1.5)).sum()
    return float(np.exp(special.gammaln(n + 1) + log_pfaffian - log_leading.sum() - log_z))


def goe_index_probabilities(n, level=0.0):
    """Law of the number of eigenvalues of a GOE matrix below a level: P(k below), k = 0, …, n.

    Parameters
    ----------
    n : int
        Size of the matrix, 1 to 50.
    level : float
        Level in units of the standard deviation of a diagonal element; the spectrum fills ±√(2n).

    Returns
    -------
    array (n + 1,)
        Probabilities, to about 1e-12 each: those below are noise (`goe_positive_probability` has a small relative
        error instead).

    Raises
    ------
    ValueError
        If `n` is not from 1 to 50 or `level` not finite.

    Notes
    -----
    E z^k is a ratio of two Pfaffians, evaluated at the roots of unity. Source: derived, from de Bruijn 1955.
    """
    n, level = _size("n", n, 1), float(real("level", level))
    edge = np.sqrt(2 * n) + 8
    if abs(level) > edge:
        return np.eye(n + 1)[0 if level < 0 else n]
    return index_laws(n, [-edge, level, edge])[1]


def pspin_counts(n, p):
    """Mean number of stationary points of the spherical p-spin by index: E N_k, k = 0, …, n − 1, both of each pair ±s.

    E N_k = 2 √(2/p) (p − 1)^{n/2} E exp(−(p − 2) λ_k²/(2p)), λ_k the (k + 1)-th lowest of the n eigenvalues of GOE(n).

    Parameters
    ----------
    n : int
        Number of spins, 2 to 50.
    p : int
        Order of the interaction, at least 2.

    Returns
    -------
    array (n,)
        Means over the disorder, exact at every n.

    Raises
    ------
    ValueError
        If `n` or `p` is not such a number.

    Notes
    -----
    A second for n = 20, ten for n = 40.

    Source: Auffinger, Ben Arous and Černý 2013, Comm. Pure Appl. Math. 66, 165, theorem 2.1.
    """
    n, p = _size("n", n, 2), whole("p", p, 2)
    rate = (p - 2) / (2 * p)
    edge = np.sqrt(2 * n) + 8
    levels = np.linspace(-edge, edge, 2 * int(6 * edge) + 1)
    below = 1 - np.cumsum(index_laws(n, levels), axis=1)[:, :n]
    # E g(λ) = g(∞) − ∫ g' P(λ ≤ t) dt with g = exp(−rate t²); the trapezoidal rule is exact to rounding here.
    slope = -2 * rate * levels * np.exp(-rate * levels**2)
    means = np.exp(-rate * edge**2) - np.trapezoid(slope[:, None] * below, levels, axis=0)
    return 2 * np.sqrt(2 / p) * (p - 1) ** (n / 2) * means


def pspin_complexity(p):
    """Growth rate of the mean number of all stationary points of the spherical p-spin: ln(E N)/n -> ½ ln(p − 1).

    Parameters
    ----------
    p : int or array
        Order of the interaction, at least 2.

    Returns
    -------
    float or array
        Per spin; corrections ln(n)/(2n) + O(1/n).

    Raises
    ------
    ValueError
        If `p` is below 2.

    Source: Auffinger, Ben Arous and Černý 2013, Comm. Pure Appl. Math. 66, 165, theorem 2.8.
    """
    return 0.5 * np.log(_order(p) - 1)[()]


def pspin_minima_complexity(p):
    """Growth rate of the mean number of minima of the spherical p-spin: ½ ln(p − 1) − (p − 2)/p.

    Minima are thus a share exp(−n (p − 2)/p) of all stationary points, to leading order in the exponent.

    Parameters
    ----------
    p : int or array
        Order of the interaction, at least 2.

    Returns
    -------
    float or array
        Per spin; corrections of order n^{−2/3} and positive, so that finite systems have more minima than this says.

    Raises
    ------
    ValueError
        If `p` is below 2.

    Source: Auffinger, Ben Arous and Černý 2013, Comm. Pure Appl. Math. 66, 165, theorem 2.8.
    """
    return pspin_complexity(p) - (1 - 2 / _order(p))[()]


def pspin_threshold_energy(p):
    """Energy per spin 2 √((p − 1)/p) whose negative separates minima, below, from saddles of extensive index, above.

    Where the spectrum of the Hessian, a semicircle of half-width 2 √(p(p − 1)) about p times the energy, touches zero.

    Parameters
    ----------
    p : int or array
        Order of the interaction, at least 2.

    Returns
    -------
    float or array
        E_∞, in the units of H/n with H of variance n.

    Raises
    ------
    ValueError
        If `p` is below 2.

    Source: Auffinger, Ben Arous and Černý 2013, Comm. Pure Appl. Math. 66, 165, equation 2.4.
    """
    return 2 * np.sqrt(1 - 1 / _order(p))[()]


def spiked_top_eigenvalue(signal):
    """Largest eigenvalue of W + signal vvᵀ, W symmetric with independent N(0, 1/n) off the diagonal, |v| = 1, n -> ∞.

    signal + 1/signal above signal = 1, else 2, the edge of W itself.

    Parameters
    ----------
    signal : float or array
        Strength of the planted direction, above zero.

    Returns
    -------
    float or array
        Fluctuations √(2(1 − 1/signal²)/n) above the threshold.

    Raises
    ------
    ValueError
        If `signal` is not above zero.

    Source: Péché 2006, Probab. Theory Relat. Fields 134, 127; after Baik, Ben Arous and Péché 2005, Ann. Probab. 33,
    1643.
    """
    signal = positive("signal", signal)
    return np.where(signal > 1, signal + 1 / signal, 2.0)[()]


def spiked_overlap(signal):
    """Squared overlap of the top eigenvector of W + signal vvᵀ with v, n -> ∞: 1 − 1/signal² above signal = 1, else 0.

    Parameters
    ----------
    signal : float or array
        As in `spiked_top_eigenvalue`.

    Returns
    -------
    float or array
        ⟨u, v⟩².

    Raises
    ------
    ValueError
        If `signal` is not above zero.

    Source: Benaych-Georges and Nadakuditi 2011, Adv. Math. 227, 494.
    """
    signal = positive("signal", signal)
    return np.maximum(1 - 1 / signal**2, 0.0)[()]


def _size(name, n, least):
    n = whole(name, n, least)
    if n > _LARGEST:
        raise ValueError(f"{name} is {n}: at most {_LARGEST}, beyond which rounding spoils the Pfaffian")
    return n


def _order(p):
    array = real("p", p)
    if (array < 2).any():
        raise ValueError(f"p is {p!r}: the order of the interaction, at least 2")
    return array
