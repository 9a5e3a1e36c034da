"""What an exact chain returns besides numbers: the law of an exit step, and a stationary law."""

from dataclasses import dataclass

import numpy as np

from escape.theory import _nystrom
from escape.theory._checks import real

_FLAT = 1e-9  # relative spread of the hazard over all states at which the law counts as geometric from there on
_TINY = 1e-16  # surviving probability below which nothing is left to follow
_EVERY = 16  # steps between looks at the hazard
_LONGEST = 200_000  # steps after which a law that is not yet geometric is refused


@dataclass(frozen=True, eq=False)
class Stationary:
    """Stationary law of a chain on quadrature nodes.

    Parameters
    ----------
    nodes, weights, density : (q,) array
        Points, quadrature weights and density there; weights @ density = 1.
    mean, std : (q,) array
        Mean and standard deviation of the step that starts at each node.

    Notes
    -----
    Source: derived.
    """

    nodes: np.ndarray
    weights: np.ndarray
    density: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def occupation(self, low, high):
        """Stationary probability of the interval (low, high), a float.

        One exact step of the chain is integrated over, so the ends need not be nodes.
        """
        inside = _nystrom.interval_probability(self.mean, self.std, low, high)
        return float((self.weights * self.density) @ inside)


@dataclass(frozen=True, eq=False)
class ExitLaw:
    """Law of an exit step tau: P(tau > t) step by step until the hazard is constant, geometric from there on.

    Parameters
    ----------
    alive : (T + 1,) array
        P(tau > t), t = 0 .. T.
    hazard : float
        P(tau = t + 1 | tau > t) for t >= T; 0 where what is left never leaves.
    mean, variance : float
        Of tau, in steps and steps squared; inf where a chain may never leave.
    mean_error, variance_error, survival_error : float
        Estimated errors; the last is the largest of `survival` at any step.

    Notes
    -----
    The ratio P(tau = t + 1 | tau > t) lies between its smallest and largest value over all states from t on, so the
    law counts as geometric once the two agree to 10^-9. Mean and variance come from linear equations of their own.

    Source: derived; the bounds are those of Collatz (1942) and Wielandt (1950) for the largest eigenvalue.
    """

    alive: np.ndarray
    hazard: float
    mean: float
    variance: float
    mean_error: float = np.nan
    variance_error: float = np.nan
    survival_error: float = np.nan

    @property
    def std(self):
        """Standard deviation of tau, sqrt(variance), in steps."""
        return float(np.sqrt(self.variance))

    def survival(self, step):
        """Probability P(tau > step), alive[step] and geometric beyond the table: a float or array like `step`.

        Raises
        ------
        ValueError
            If a step is negative.
        """
        step = np.floor(real("step", step))
        if (step < 0).any():
            raise ValueError(f"step is {step!r}: it must not be negative")
        last = len(self.alive) - 1
        beyond = np.maximum(step - last, 0)
        return (self.alive[np.minimum(step, last).astype(int)] * np.exp(beyond * np.log1p(-self.hazard)))[()]

    def quantile(self, probability):
        """First step t with P(tau <= t) >= probability.

        Parameters
        ----------
        probability : float or array
            Between 0 and 1, ends excluded.

        Returns
        -------
        float or array
            Steps; inf where fewer chains than that ever leave.

        Raises
        ------
        ValueError
            If a probability is not between 0 and 1.
        """
        probability = real("probability", probability)
        if not ((probability > 0) & (probability < 1)).all():
            raise ValueError(f"probability is {probability!r}: it must lie strictly between 0 and 1")
        return self._first_below(1 - probability)[()]

    def quantile_error(self, probability):
        """Error of `quantile`: half its change as survival moves up and down by `survival_error`, in steps."""
        left = 1 - real("probability", probability)
        late = self._first_below(np.maximum(left - self.survival_error, 0))
        return ((late - self._first_below(np.minimum(left + self.survival_error, 1))) / 2)[()]

    def _first_below(self, left):
        """First step at which survival is at most `left`, to a rounding error of survival."""
        left = np.asarray(left) + 1e-14
        falling = np.minimum.accumulate(self.alive)[::-1]
        step = len(falling) - np.searchsorted(falling, left, side="right").astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            more = np.ceil(np.log(left / self.alive[-1]) / np.log1p(-self.hazard))
        more = np.where(self.hazard > 0, more, np.inf)
        return np.where(step < len(falling), step, len(falling) - 1 + more)


def compared(law, other):
    """`law` with errors taken from the same law solved otherwise."""
    steps = np.arange(max(len(law.alive), len(other.alive)))
    gap = np.abs(law.survival(steps) - other.survival(steps)).max()
    pairs = (law.mean, other.mean), (law.variance, other.variance)
    mean, variance = (0.0 if a == b else abs(a - b) for a, b in pairs)  # both may be infinite
    return ExitLaw(law.alive, law.hazard, law.mean, law.variance, mean, variance, gap)


def follow(matrix, leak, row, leak_at_start):
    """P(tau > t) from one start until the hazard is flat, and the hazard there.

    Survival f and the probability g of leaving in the next step are propagated apart, f' = P f, g' = P g, so that no
    hazard is a difference.

    Raises
    ------
    ValueError
        If the hazard is not flat after many steps.
    """
    both = np.column_stack([np.ones_like(leak), leak])
    alive, hazard = [1.0, 1.0 - leak_at_start], 0.0
    for step in range(1, _LONGEST):
        here, next_leak = row @ both
        hazard = min(next_leak / here, 1.0) if here > 0 else 1.0
        if here < _TINY:
            break
        if step % _EVERY == 0:
            held = both[both[:, 0] > 0]
            rate = held[:, 1] / held[:, 0]
            if np.ptp(rate) <= _FLAT * rate.max() or rate.max() < _TINY:
                return np.array(alive), 0.0 if rate.max() < _TINY else hazard
        alive.append(here - next_leak)
        both = matrix @ both
    else:
        raise ValueError(f"the exit law is not geometric after {_LONGEST} steps: use exit_survival for a horizon")
    return np.maximum(alive, 0.0), hazard
