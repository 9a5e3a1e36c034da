"""Exact numbers of a one-dimensional chain with Gaussian steps, x' = m(x) + s(x) N(0, 1).

SGD with Gaussian noise of any size and state dependence on any landscape of one coordinate: no small-noise or
small-step limit is taken, only a quadrature that converges spectrally. Time is in steps.
"""

from dataclasses import dataclass

import numpy as np

from escape.theory import _nystrom
from escape.theory._checks import real, whole
from escape.theory._gaussian import LEAK, GaussianKernel
from escape.theory._laws import ExitLaw, Stationary, compared, follow


@dataclass(frozen=True, eq=False)
class GaussianChain(GaussianKernel):
    """Chain x' = m(x) + s(x) N(0, 1), solved by the Nystrom method.

    Parameters
    ----------
    drift : callable
        m, the mean of one step, for an array of points: x - lr * f'(x) for SGD.
    std : callable or float
        s, the standard deviation of one step, above zero: lr * noise for SGD.
    low, high : float
        Interval outside of which the chain does not go, or only with negligible probability.
    breakpoints : sequence of float
        Points where m or s has a kink or a jump.
    refine : float
        Panels are this much narrower than the smallest s.

    Raises
    ------
    ValueError
        If the interval is empty, or s or `refine` is not above zero.

    Notes
    -----
    Panels no wider than the smallest s, with 8 Gauss-Legendre nodes and edges at the breakpoints: 10 digits and more
    where |m'| is of order 1. Elimination without subtraction keeps them however long the times are.
    Methods raise ValueError where the chain would leave [low, high] with probability above 10^-6. Those that end in
    `_error` take the arguments of the one they judge and give its change on panels 1.5 times narrower, plus what is
    lost by the truncation to [low, high].

    Source: Fredholm equation of the second kind by Gauss quadrature, e.g. Atkinson (1997); elimination by Grassmann,
    Taksar and Heyman (1985), Oper. Res. 33, 1107.
    """

    def mean_exit_step(self, x0, exit_low=None, exit_high=None):
        """Mean first step outside (exit_low, exit_high): u(x) = 1 + int k(x, y) u(y) dy at x0.

        Parameters
        ----------
        x0 : float or array
            Start; 0 steps if outside already.
        exit_low, exit_high : float, optional
            Exits; at least one. A side left out has none and is truncated at `low` or `high`.

        Returns
        -------
        float or array
            Steps, with the shape of `x0`; error from `mean_exit_step_error`.

        Raises
        ------
        ValueError
            If no exit is given, exits are not ordered inside [low, high], or the truncation is felt.
        """
        return self._solve(x0, self._exits(exit_low, exit_high), lambda m, s: np.ones(len(m)))[..., 0][()]

    def mean_exit_step_error(self, x0, exit_low=None, exit_high=None):
        """Error of `mean_exit_step`, in steps."""
        value = self._solve(x0, self._exits(exit_low, exit_high), lambda m, s: np.ones(len(m)))
        return (self._off("mean_exit_step", x0, exit_low, exit_high) + value[..., 1] * value[..., 0])[()]

    def reaching_probability(self, x0, target, avoid):
        """Probability of entering the interval `target` before `avoid`: q(x) = int_target k + int k(x, y) q(y) dy.

        Parameters
        ----------
        x0 : float or array
            Start; 1 in `target`, 0 in `avoid`.
        target, avoid : (low, high)
            Intervals that do not overlap; ends may be infinite.

        Returns
        -------
        float or array
            Probability, with the shape of `x0`; its relative accuracy holds however small it is.

        Raises
        ------
        ValueError
            If the intervals are empty, overlap or lie outside [low, high], or the truncation is felt.
        """
        target, avoid = self._set("target", target), self._set("avoid", avoid)
        if max(target[0], avoid[0]) < min(target[1], avoid[1]):
            raise ValueError(f"target {target} and avoid {avoid} overlap: a chain in both has reached neither first")
        value = self._solve(x0, [target, avoid], lambda m, s: _nystrom.interval_probability(m, s, *target))
        start = np.asarray(x0, dtype=float)
        return np.where((start >= target[0]) & (start <= target[1]), 1.0, value[..., 0])[()]

    def reaching_probability_error(self, x0, target, avoid):
        """Error of `reaching_probability`."""
        sets = [self._set("target", target), self._set("avoid", avoid)]
        lost = self._solve(x0, sets, lambda m, s: np.zeros(len(m)))[..., 1]
        return (self._off("reaching_probability", x0, target, avoid) + lost)[()]

    def committor(self, x0, exit_low, exit_high):
        """Probability of leaving (exit_low, exit_high) at the high side; 1 - committor is that of the low one.

        Parameters and errors are those of `mean_exit_step`, with both exits; an array or float like `x0`.
        """
        low, high = self._exits(exit_low, exit_high)
        return self.reaching_probability(x0, high, low)

    def committor_error(self, x0, exit_low, exit_high):
        """Error of `committor`."""
        low, high = self._exits(exit_low, exit_high)
        return self.reaching_probability_error(x0, high, low)

    def exit_law(self, x0, exit_low=None, exit_high=None):
        """Law of the first step outside (exit_low, exit_high), an `ExitLaw` with mean, variance and quantiles.

        Parameters
        ----------
        x0 : float
            Start, inside.
        exit_low, exit_high : float, optional
            As in `mean_exit_step`.

        Returns
        -------
        ExitLaw
            With errors from panels 1.5 times narrower.

        Raises
        ------
        ValueError
            As `mean_exit_step`, if `x0` is not inside, or if the law is not geometric after 200000 steps.
        """
        return compared(*(chain._exit_law(x0, self._exits(exit_low, exit_high)) for chain in (self, self._finer())))

    def _exit_law(self, x0, sets):
        start = real("x0", x0)
        if start.ndim or any(a <= start <= b for a, b in sets):
            raise ValueError(f"x0 is {x0!r}: it must be one start between the exits")
        nodes, weights, mean, std, matrix = self._discretise(sets)
        lost = self._lost(mean, std, sets)
        leak = lost + sum(_nystrom.interval_probability(mean, std, *ends) for ends in sets)
        first = _nystrom.absorb(matrix, leak, np.ones((len(leak), 1)))
        second = _nystrom.absorb(matrix, leak, 2 * first - 1)
        mean, std = self._step(start[None])
        row = _nystrom.transition(mean, std, nodes, weights)
        leak_at_start = self._lost(mean, std, sets) + sum(_nystrom.interval_probability(mean, std, *e) for e in sets)
        expected = 1 + (row @ first).item()
        alive, hazard = follow(matrix, leak, row.toarray()[0], leak_at_start.item())
        return ExitLaw(alive, hazard, expected, 2 * expected - 1 + (row @ second).item() - expected**2)

    def exit_survival(self, steps, x0, exit_low=None, exit_high=None):
        """Probability P(tau > t) of never having left (exit_low, exit_high), t = 0 .. steps.

        Parameters
        ----------
        steps : int
            Last step.
        x0 : float or (m,) array
            Starts.
        exit_low, exit_high : float, optional
            As in `mean_exit_step`.

        Returns
        -------
        (steps + 1,) or (steps + 1, m) array
            Probabilities.

        Raises
        ------
        ValueError
            As `mean_exit_step`, or if `steps` is not a whole number.
        """
        steps, start, sets = whole("steps", steps), np.atleast_1d(real("x0", x0)), self._exits(exit_low, exit_high)
        low, high = self._inner(sets)
        inside = ((start > low) & (start < high)).astype(float)
        later = self._iterate(steps, start, sets, lambda m, s: _nystrom.interval_probability(m, s, low, high))
        return np.concatenate([inside[None], later * inside]).reshape(-1, *np.shape(x0))

    def exit_survival_error(self, steps, x0, exit_low=None, exit_high=None):
        """Error of `exit_survival` at each step."""
        return self._off("exit_survival", steps, x0, exit_low, exit_high)

    def occupation_over_time(self, steps, x0, low, high):
        """Probability P(low < x_t < high) of the free chain, t = 0 .. steps.

        Parameters
        ----------
        steps : int
            Last step.
        x0 : float or (m,) array
            Starts.
        low, high : float
            Interval, ends may be infinite.

        Returns
        -------
        (steps + 1,) or (steps + 1, m) array
            Probabilities.

        Raises
        ------
        ValueError
            If `low` is not below `high`, `steps` is not a whole number or the truncation is felt.
        """
        steps, start = whole("steps", steps), np.atleast_1d(real("x0", x0))
        if not low < high:
            raise ValueError(f"low, high are {low}, {high}: low must be below high")
        inside = ((start > low) & (start < high)).astype(float)
        later = self._iterate(steps, start, [], lambda m, s: _nystrom.interval_probability(m, s, low, high))
        return np.concatenate([inside[None], later]).reshape(-1, *np.shape(x0))

    def occupation_over_time_error(self, steps, x0, low, high):
        """Error of `occupation_over_time` at each step."""
        return self._off("occupation_over_time", steps, x0, low, high)

    def stationary(self):
        """Stationary law of the free chain, a `Stationary` with `.occupation(low, high)`.

        Raises
        ------
        ValueError
            If a step leaves [low, high] with probability above 10^-6, or the chain falls apart.
        """
        nodes, weights, mean, std, matrix = self._discretise([])
        probability = _nystrom.invariant(matrix)
        leak = probability @ self._lost(mean, std, [])
        if leak > LEAK:
            raise ValueError(f"a stationary step leaves [{self.low:g}, {self.high:g}] with probability {leak:.2g}")
        return Stationary(nodes, weights, probability / weights, mean, std)

    def stationary_error(self, low, high):
        """Error of `stationary().occupation(low, high)`."""
        return abs(self.stationary().occupation(low, high) - self._finer().stationary().occupation(low, high))
