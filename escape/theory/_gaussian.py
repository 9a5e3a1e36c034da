"""Discretisation of a one-dimensional chain with Gaussian steps, and what all its exact numbers share."""

from dataclasses import dataclass, replace

import numpy as np

from escape.theory import _nystrom
from escape.theory._checks import positive, real

LEAK = 1e-6  # probability of ending beyond a truncated side above which an answer is refused
_FINER = 1.5  # panels are this much narrower in the solution an error is taken from


@dataclass(frozen=True, eq=False)
class GaussianKernel:
    """Steps N(m(x), s(x)^2) on panels of Gauss-Legendre nodes; `sets` are intervals that end a chain."""

    drift: object
    std: object
    low: float
    high: float
    breakpoints: tuple = ()
    refine: float = 1.0

    def __post_init__(self):
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise ValueError(f"low, high are {self.low}, {self.high}: they must be finite and low below high")
        positive("refine", self.refine)
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
        return std.min() / self.refine

    def _finer(self):
        return replace(self, refine=_FINER * self.refine)

    def _off(self, quantity, *arguments):
        """Change of a quantity on narrower panels."""
        return np.abs(getattr(self, quantity)(*arguments) - getattr(self._finer(), quantity)(*arguments))

    def _discretise(self, sets):
        """Nodes outside of the sets, their weights, the step's mean and std, and P."""
        low, high = self._inner(sets)
        edges = (*self.breakpoints, *(end for ends in sets for end in ends if np.isfinite(end)))
        nodes, weights = _nystrom.quadrature(low, high, self._panel(low, high), edges)
        free = ~np.any([(nodes > a) & (nodes < b) for a, b in sets], axis=0) if sets else np.ones(len(nodes), bool)
        nodes, weights = nodes[free], weights[free]
        mean, std = self._step(nodes)
        return nodes, weights, mean, std, _nystrom.transition(mean, std, nodes, weights)

    def _exits(self, exit_low, exit_high):
        """The two outer sets that end a chain; None for a side without an exit."""
        if exit_low is None and exit_high is None:
            raise ValueError("give exit_low or exit_high: a chain without an exit never leaves")
        low = self.low if exit_low is None else float(real("exit_low", exit_low))
        high = self.high if exit_high is None else float(real("exit_high", exit_high))
        if not self.low <= low < high <= self.high:
            raise ValueError(
                f"exit_low, exit_high are {exit_low}, {exit_high}: inside [{self.low:g}, {self.high:g}], in this order"
            )
        return [*([] if exit_low is None else [(-np.inf, low)]), *([] if exit_high is None else [(high, np.inf)])]

    def _inner(self, sets):
        """The interval between the outer sets, cut at the truncation."""
        low = max([self.low, *(b for a, b in sets if a == -np.inf)])
        return low, min([self.high, *(a for a, b in sets if b == np.inf)])

    def _set(self, name, ends):
        """An interval as two floats, infinite where it reaches beyond the chain's."""
        low, high = np.asarray(ends, dtype=float)
        if not (low < high and high > self.low and low < self.high):
            raise ValueError(f"{name} is {ends!r}: it must be (low, high) and meet [{self.low:g}, {self.high:g}]")
        return (-np.inf if low <= self.low else low), (np.inf if high >= self.high else high)

    def _lost(self, mean, std, sets):
        """Probability of a step beyond a side that no set covers."""
        lost = np.zeros(len(mean))
        if not any(a == -np.inf for a, _ in sets):
            lost = lost + _nystrom.interval_probability(mean, std, -np.inf, self.low)
        if not any(b == np.inf for _, b in sets):
            lost = lost + _nystrom.interval_probability(mean, std, self.high, np.inf)
        return lost

    def _refuse(self, lost):
        if np.max(lost, initial=0.0) > LEAK:
            raise ValueError(
                f"the chain leaves through a truncated side with probability {np.max(lost):.2g}: "
                f"widen low, high = {self.low:g}, {self.high:g}"
            )

    def _solve(self, x0, sets, cost):
        """Sum of a cost until a set is entered, and probability of leaving by truncation; zero in a set."""
        nodes, weights, mean, std, matrix = self._discretise(sets)
        lost = self._lost(mean, std, sets)
        leak = lost + sum(_nystrom.interval_probability(mean, std, *ends) for ends in sets)
        solution = _nystrom.absorb(matrix, leak, np.column_stack([cost(mean, std), lost]))
        start = real("x0", x0).ravel()
        mean, std = self._step(start)
        value = np.column_stack([cost(mean, std), self._lost(mean, std, sets)])
        value = value + _nystrom.transition(mean, std, nodes, weights) @ solution
        value[np.any([(start <= b) & (start >= a) for a, b in sets], axis=0)] = 0.0
        self._refuse(value[:, 1])
        return value.reshape(*np.shape(x0), 2)

    def _iterate(self, steps, x0, sets, first):
        """Values at x0 of f_1 .. f_steps, f_{t+1} = P f_t outside of the sets; refused if the truncation is felt.

        `first(x, mean, std)` is f_1: f_0 may jump inside a panel, the step that follows is smooth.
        """
        nodes, weights, mean, std, matrix = self._discretise(sets)
        column = np.column_stack([first(mean, std), self._lost(mean, std, sets)])
        lost = column[:, 1].copy()
        mean, std = self._step(x0)
        row, begin = _nystrom.transition(mean, std, nodes, weights), first(mean, std)
        lost_at_start = self._lost(mean, std, sets)
        values, escaped = [begin], lost_at_start
        for _ in range(steps - 1):
            here = row @ column
            values.append(here[:, 0])
            escaped = lost_at_start + here[:, 1]
            column = matrix @ column
            column[:, 1] += lost
        self._refuse(escaped)
        return np.array(values[:steps]).reshape(-1, len(x0))
