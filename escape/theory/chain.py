"""Exact numbers of a one-dimensional chain with Gaussian steps, x' = m(x) + s(x) N(0, 1).

SGD with Gaussian noise of any size and state dependence on any landscape of one coordinate: no small-noise or
small-step limit is taken, only a quadrature that converges spectrally. Time is in steps.
"""

from dataclasses import dataclass

import numpy as np

from escape.theory import _nystrom
from escape.theory._checks import real, whole

_LEAK = 1e-6  # probability of ending beyond a truncated side above which an answer is refused


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
class GaussianChain:
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

    Raises
    ------
    ValueError
        If the interval is empty, or s is not above zero on it.

    Notes
    -----
    Panels no wider than the smallest s, with 8 Gauss-Legendre nodes and edges at the breakpoints: 10 digits and more
    where |m'| is of order 1. Elimination without subtraction keeps them however long the times are.
    Methods raise ValueError where the chain would leave [low, high] with probability above 10^-6.

    Source: Fredholm equation of the second kind by Gauss quadrature, e.g. Atkinson (1997); elimination by Grassmann,
    Taksar and Heyman (1985), Oper. Res. 33, 1107.
    """

    drift: object
    std: object
    low: float
    high: float
    breakpoints: tuple = ()

    def __post_init__(self):
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise ValueError(f"low, high are {self.low}, {self.high}: they must be finite and low below high")
        self._panel(self.low, self.high)

    def _step(self, x):
        """Mean and standard deviation of the step from each point."""
        x = np.asarray(x, dtype=float)
        mean = np.broadcast_to(np.asarray(self.drift(x), dtype=float), x.shape)
        std = self.std(x) if callable(self.std) else self.std
        return mean, np.broadcast_to(np.asarray(std, dtype=float), x.shape)

    def _panel(self, low, high):
        """Panel width: the smallest std on a fine sample, breakpoints seen from both sides."""
        tiny = 1e-9 * (high - low)
        sides = [point + side for point in self.breakpoints for side in (-tiny, tiny) if low < point + side < high]
        mean, std = self._step(np.concatenate([np.linspace(low + tiny, high - tiny, 2001), sides]))
        if not (np.isfinite(std) & (std > 0) & np.isfinite(mean)).all():
            raise ValueError(f"std is {std.min()!r} somewhere in [{low:g}, {high:g}]: drift finite, std above zero")
        return std.min()

    def _discretise(self, low, high, refine=1.0):
        """Nodes, weights, step's mean and std, and P on one interval."""
        nodes, weights = _nystrom.quadrature(low, high, self._panel(low, high) / refine, self.breakpoints)
        mean, std = self._step(nodes)
        return nodes, weights, mean, std, _nystrom.transition(mean, std, nodes, weights)

    def _domain(self, exit_low, exit_high):
        """Interval to stay in, and the outer sides that are truncations rather than exits."""
        low = self.low if exit_low is None else float(real("exit_low", exit_low))
        high = self.high if exit_high is None else float(real("exit_high", exit_high))
        if not self.low <= low < high <= self.high:
            raise ValueError(
                f"exit_low, exit_high are {exit_low}, {exit_high}: inside [{self.low:g}, {self.high:g}], in this order"
            )
        return low, high, (-np.inf if exit_low is None else low), (np.inf if exit_high is None else high)

    def _exits(self, mean, std, low, high, real_low, real_high):
        """Probabilities of a step out of (low, high), and of a step beyond a truncated side."""
        below = _nystrom.interval_probability(mean, std, -np.inf, low)
        above = _nystrom.interval_probability(mean, std, high, np.inf)
        lost = (below if np.isinf(real_low) else 0.0) + (above if np.isinf(real_high) else 0.0)
        return below + above, np.broadcast_to(lost, mean.shape)

    def _solve_exit(self, x0, exit_low, exit_high, refine):
        """Mean exit step and probability of leaving by truncation, from each start."""
        low, high, *real_sides = self._domain(exit_low, exit_high)
        if np.isinf(real_sides).all():
            raise ValueError("give exit_low or exit_high: a chain without an exit never leaves")
        nodes, weights, mean, std, matrix = self._discretise(low, high, refine)
        leak, lost = self._exits(mean, std, low, high, *real_sides)
        solution = _nystrom.absorb(matrix, leak, np.column_stack([np.ones_like(leak), lost]))
        start = real("x0", x0).ravel()
        mean, std = self._step(start)
        first = np.column_stack([np.ones(len(start)), self._exits(mean, std, low, high, *real_sides)[1]])
        value = first + _nystrom.transition(mean, std, nodes, weights) @ solution
        value[(start <= low) | (start >= high)] = 0.0
        if value[:, 1].max() > _LEAK:
            raise ValueError(
                f"the chain leaves through a truncated side with probability {value[:, 1].max():.2g}: "
                f"widen low, high = {self.low:g}, {self.high:g}"
            )
        return value.reshape(*np.shape(x0), 2)

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
        return self._solve_exit(x0, exit_low, exit_high, 1.0)[..., 0][()]

    def mean_exit_step_error(self, x0, exit_low=None, exit_high=None):
        """Error of `mean_exit_step`: change on panels 1.5 times finer, plus the truncated share of the chains.

        Arguments, shape and errors are those of `mean_exit_step`; in steps.
        """
        coarse = self._solve_exit(x0, exit_low, exit_high, 1.0)
        fine = self._solve_exit(x0, exit_low, exit_high, 1.5)
        return (np.abs(coarse[..., 0] - fine[..., 0]) + fine[..., 1] * fine[..., 0])[()]

    def _iterate(self, steps, x0, low, high, real_sides, first):
        """Values at x0 of f_0 .. f_steps, f_{t+1} = P f_t on (low, high), and the probability truncated by the end.

        `first(x, mean, std)` is f_1: f_0 may jump inside a panel, the step that follows is smooth.
        """
        nodes, weights, mean, std, matrix = self._discretise(low, high)
        column = np.column_stack([first(mean, std), self._exits(mean, std, low, high, *real_sides)[1]])
        lost = column[:, 1].copy()
        start = np.atleast_1d(x0)
        mean, std = self._step(start)
        row, begin = _nystrom.transition(mean, std, nodes, weights), first(mean, std)
        lost_at_start = self._exits(mean, std, low, high, *real_sides)[1]
        values, escaped = [begin], lost_at_start
        for _ in range(steps - 1):
            here = row @ column
            values.append(here[:, 0])
            escaped = lost_at_start + here[:, 1]
            column = matrix @ column
            column[:, 1] += lost
        if np.max(escaped) > _LEAK:
            raise ValueError(
                f"the chain leaves through a truncated side with probability {np.max(escaped):.2g}: "
                f"widen low, high = {self.low:g}, {self.high:g}"
            )
        return np.array(values[:steps])

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
        steps, start = whole("steps", steps), np.atleast_1d(real("x0", x0))
        low, high, *real_sides = self._domain(exit_low, exit_high)
        if np.isinf(real_sides).all():
            raise ValueError("give exit_low or exit_high: a chain without an exit never leaves")
        inside = ((start > low) & (start < high)).astype(float)
        later = self._iterate(
            steps, start, low, high, real_sides, lambda m, s: _nystrom.interval_probability(m, s, low, high)
        )
        return (np.concatenate([inside[None], later.reshape(-1, len(start)) * inside])).reshape(-1, *np.shape(x0))

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
        later = self._iterate(
            steps,
            start,
            self.low,
            self.high,
            (-np.inf, np.inf),
            lambda m, s: _nystrom.interval_probability(m, s, low, high),
        )
        return np.concatenate([inside[None], later.reshape(-1, len(start))]).reshape(-1, *np.shape(x0))

    def stationary(self):
        """Stationary law of the free chain, a `Stationary` with `.occupation(low, high)`.

        Raises
        ------
        ValueError
            If a step leaves [low, high] with probability above 10^-6, or the chain falls apart.
        """
        nodes, weights, mean, std, matrix = self._discretise(self.low, self.high)
        probability = _nystrom.invariant(matrix)
        leak = probability @ self._exits(mean, std, self.low, self.high, -np.inf, np.inf)[0]
        if leak > _LEAK:
            raise ValueError(f"a stationary step leaves [{self.low:g}, {self.high:g}] with probability {leak:.2g}")
        return Stationary(nodes, weights, probability / weights, mean, std)
