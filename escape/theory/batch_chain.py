"""Exact numbers of true mini-batch SGD in one dimension: every batch is enumerated, nothing is Gaussian.

Time is in steps.
"""

from dataclasses import dataclass

import numpy as np

from escape.theory._batch_kernel import ROUNDING, BatchKernel
from escape.theory._checks import real, whole
from escape.theory._laws import ExitLaw, follow
from escape.theory._still import BatchStationary, averaged, still_masses
from escape.theory._walk import inner, split


@dataclass(frozen=True, eq=False)
class BatchChain(BatchKernel):
    """Chain x' = x - lr g_B(x) with g_B the mean gradient of a fresh batch, from all its outcomes.

    Parameters
    ----------
    gradients : callable
        Per-sample gradients: points (q,) -> (q, n).
    lr : float
        Learning rate.
    batch_size : int
        b.
    low, high : float
        Interval outside of which the chain does not go, or only with negligible probability.
    replacement : bool
        Whether a sample may come twice in one batch.
    nodes : int
        Nodes of the grids; where a step has many outcomes, fewer are used.

    Raises
    ------
    ValueError
        If the interval is empty, the batch does not fit, gradients are not (q, n), or there are over 20000 outcomes.

    Notes
    -----
    Samples that agree at several points of [low, high] count as equal. Landing exactly on an exit is leaving.

    Where the starts reach at most 1500 points, the chain is solved on these to rounding: the walk on a lattice.
    Else u = 1 + mean_B u(x - lr g_B(x)) is solved on irregular grids with linear interpolation. u is not smooth, it
    jumps wherever some batches lead to the edge of an exit; the error left is random in the position of the grid, falls
    about as 1 / nodes, and is taken from the range over four grids and from grids with half the nodes. Methods
    that end in `_error` give it. It is 1e-4 to 1e-6 for a few outcomes a step, less for many.
    A chain that no sequence of batches leads out has mean exit step inf; a passage narrower than a cell counts as open.
    Methods raise ValueError where the chain would leave [low, high] with probability above 10^-6.

    Source: derived.
    """

    def _mean(self, x0, exit_low, exit_high):
        """Mean exit step and its error."""
        self._bounds(exit_low, exit_high)

        def solved(walk):
            lost = walk.at_start(walk.out_at_start[:, 2], walk.solve(walk.out[:, 2], walk.free()))
            self._refuse(lost)
            steps = walk.at_start(1.0, walk.solve(np.ones(len(walk.nodes)), ~walk.doomed()))
            return np.array([np.where(walk.may_stay(), np.inf, steps), lost])

        (value, lost), (error, _) = averaged(self._walks((exit_low, exit_high), real("x0", x0).ravel()), solved)
        finite = np.where(np.isfinite(value), value, 0.0)
        error = error + ROUNDING * finite**2 + lost * finite
        return value.reshape(np.shape(x0)), error.reshape(np.shape(x0))

    def mean_exit_step(self, x0, exit_low=None, exit_high=None):
        """Mean first step outside (exit_low, exit_high): u(x) = 1 + mean_B u(x - lr g_B(x)) at x0.

        Parameters
        ----------
        x0 : float or array
            Start; 0 steps if outside already.
        exit_low, exit_high : float, optional
            Exits; at least one. A side left out has none and is truncated at `low` or `high`.

        Returns
        -------
        float or array
            Steps, with the shape of `x0`; inf where the chain may come to where no batches lead out.

        Raises
        ------
        ValueError
            If no exit is given, exits are not ordered inside [low, high], or the truncation is felt.
        """
        return self._mean(x0, exit_low, exit_high)[0][()]

    def mean_exit_step_error(self, x0, exit_low=None, exit_high=None):
        """Error of `mean_exit_step`, in steps."""
        return self._mean(x0, exit_low, exit_high)[1][()]

    def _committor(self, x0, exit_low, exit_high):
        if exit_low is None or exit_high is None:
            raise ValueError(f"exit_low, exit_high are {exit_low}, {exit_high}: a committor needs both")
        start = real("x0", x0).ravel()
        walks = self._walks((exit_low, exit_high), start)
        value, error = averaged(walks, lambda w: w.at_start(w.out_at_start[:, 1], w.solve(w.out[:, 1], w.free())))
        value = np.where(start >= exit_high, 1.0, value)
        return value.reshape(np.shape(x0)), error.reshape(np.shape(x0))

    def committor(self, x0, exit_low, exit_high):
        """Probability of leaving (exit_low, exit_high) at the high side.

        Parameters and errors are those of `mean_exit_step`, with both exits; an array or float like `x0`. A chain that
        never leaves counts for neither side: the low side's is 1 - committor only where every chain leaves.
        """
        return self._committor(x0, exit_low, exit_high)[0][()]

    def committor_error(self, x0, exit_low, exit_high):
        """Error of `committor`."""
        return self._committor(x0, exit_low, exit_high)[1][()]

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
            On grids with a quarter of the nodes; with its errors.

        Raises
        ------
        ValueError
            As `mean_exit_step`, if `x0` is not inside, or if the law is not geometric after 200000 steps.
        """
        start = real("x0", x0)
        low, high = self._bounds(exit_low, exit_high)
        if start.ndim or not inner(start, (exit_low, exit_high), low, high):
            raise ValueError(f"x0 is {x0!r}: it must be one start between the exits")
        walks = self._walks((exit_low, exit_high), start[None], share=4)
        laws = [[self._law(walk) for walk in some] for some in walks]
        length = max(len(law.alive) for law in (*laws[0], *laws[1]))

        def numbers(law):
            return np.concatenate([[law.mean, law.variance, law.hazard], law.survival(np.arange(length))])

        value, error = averaged(laws, numbers)
        return ExitLaw(value[3:], value[2], value[0], value[1], error[0], error[1], error[3:].max())

    def _law(self, walk):
        """Exit law on one grid."""
        sure = ~walk.doomed()
        first = walk.solve(np.ones(len(sure)), sure)
        second = walk.solve(np.where(sure, 2 * first - 1, 0.0), sure)
        mean = variance = np.inf
        if not walk.may_stay()[0]:
            mean = 1 + (walk.row @ first).item()
            variance = 2 * mean - 1 + (walk.row @ second).item() - mean**2
        alive, hazard = follow(walk.matrix, walk.out.sum(1), walk.row.toarray()[0], walk.out_at_start.sum())
        return ExitLaw(alive, hazard, mean, variance)

    def _over_time(self, steps, exits, x0, first):
        """Probabilities at step 1 .. steps and their errors, f_{t+1} = P f_t from f_1(points landed on)."""
        given = np.atleast_1d(real("x0", x0))
        cell = (self.high - self.low) / self._count(4)
        # starts a cell away tell how much a jump next to a path from the given one may be smeared
        start = np.concatenate([given, given - cell, given + cell])
        probability = self._outcomes[2]
        begin = first(self._step(start)) @ probability

        def iterated(walk):
            column, values = first(self._step(walk.nodes)) @ probability, [begin]
            for _ in range(steps - 1):
                values.append(walk.row @ column)
                column = walk.matrix @ column
            return np.array(values[:steps]).reshape(-1, len(start))

        value, error = averaged(self._walks(exits, start, share=4), iterated)
        value, *beside = np.split(value, 3, axis=1)
        error = np.split(error, 3, axis=1)[0] + np.max([np.abs(other - value) for other in beside], axis=0)
        zero = np.zeros((1, len(given)))
        return value, np.concatenate([zero, error]).reshape(-1, *np.shape(x0))

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
            Probabilities, on grids with a quarter of the nodes.

        Raises
        ------
        ValueError
            As `mean_exit_step`, or if `steps` is not a whole number.
        """
        return self._survival(steps, x0, exit_low, exit_high)[0]

    def exit_survival_error(self, steps, x0, exit_low=None, exit_high=None):
        """Error of `exit_survival` at each step."""
        return self._survival(steps, x0, exit_low, exit_high)[1]

    def _survival(self, steps, x0, exit_low, exit_high):
        steps, (low, high), exits = whole("steps", steps), self._bounds(exit_low, exit_high), (exit_low, exit_high)
        start = np.atleast_1d(real("x0", x0))
        inside = inner(start, exits, low, high).astype(float)
        one = self._outcomes[2]
        value, error = self._over_time(steps, exits, x0, lambda points: split(points, one, exits, low, high)[0])
        return np.concatenate([inside[None], value * inside]).reshape(-1, *np.shape(x0)), error

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
            Probabilities, on grids with a quarter of the nodes.

        Raises
        ------
        ValueError
            If `low` is not below `high`, or `steps` is not a whole number.
        """
        return self._occupation(steps, x0, low, high)[0]

    def occupation_over_time_error(self, steps, x0, low, high):
        """Error of `occupation_over_time` at each step."""
        return self._occupation(steps, x0, low, high)[1]

    def _occupation(self, steps, x0, low, high):
        steps, start = whole("steps", steps), np.atleast_1d(real("x0", x0))
        if not low < high:
            raise ValueError(f"low, high are {low}, {high}: low must be below high")

        def within(points):
            return (points > low) & (points < high)

        value, error = self._over_time(steps, (None, None), x0, within)
        return np.concatenate([within(start)[None].astype(float), value]).reshape(-1, *np.shape(x0)), error

    def stationary(self):
        """Stationary law of the free chain, a `BatchStationary` with `.occupation(low, high)` and its error.

        Raises
        ------
        ValueError
            If a step leaves [low, high] with probability above 10^-6, or the chain falls apart.
        """
        found = []
        for some in self._walks((None, None), np.array([(self.low + self.high) / 2]), share=4):
            found.append([(walk.nodes, still_masses(walk.matrix)) for walk in some])
            for walk, (_, mass) in zip(some, found[-1], strict=True):
                self._refuse(mass @ walk.out[:, 2])
        return BatchStationary(self, *found)
