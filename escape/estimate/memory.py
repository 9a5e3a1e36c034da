"""Whether exits have no memory: a test of the geometric law that censored chains take part in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from escape.estimate.records import EXITED, Records, read

REJECTION = 1e-3  # false-alarm rate at which `exponential_mean_exit_step` gives no interval
FEWEST_EXITS = 5  # below this many, of exits or of steps without one, the normal limit has not set in
COMPONENTS = 4  # enough for a rise, a fall, a hump or a bath, and a turn more; more would cost power against these
SHARE = 0.1  # of the events that a single one may weigh in a component, so that chi^2 holds at the 1e-3 level too
LATTICE = 2**14  # steps that are told apart; more are taken together


class Exponentiality(NamedTuple):
    """A test whether exits have no memory, with its p-value.

    Attributes
    ----------
    statistic : float
        Sum of the squared components; NaN where it could not be tested.
    p_value : float
        Chance of a statistic as large if exits have no memory; NaN where it could not be tested.
    components : ndarray, shape (k,)
        Standard normal each without memory: linear, quadratic and so on in the time at risk. The first is above 0
        where the exit rate rises with time.
    reason : str
        Why it could not be tested, in one line; empty when it was.
    """

    statistic: float
    p_value: float
    components: NDArray
    reason: str


def exponentiality(data: Any, status: ArrayLike | None = None) -> Exponentiality:
    """Test whether exits have no memory: the same chance at each step at risk, however long a chain has stayed.

    Let u in (0, 1) be the share of all steps at risk that lies before a step, and phi_1, phi_2, ... the polynomials
    in u orthonormal to each other and to 1 over the T steps at risk. With D exits, p = D/T, the components
    b_k = sum over exits of phi_k(u) / sqrt(D (1 - p)) are standard normal if exits have no memory, and sum b_k^2 is
    chi^2 with as many degrees as there are components.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps. Censored chains count with the steps for which they were seen.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged; the diverged count as censored.

    Returns
    -------
    Exponentiality
        Up to four components: fewer where a single exit would weigh more than a tenth of all. An exit at step 0 has
        p-value 0. Not tested with fewer than 5 exits, or fewer than 5 steps at risk without one, or where a single
        exit would decide, as where all chains were seen for one step only.

    Raises
    ------
    ValueError
        When the exit steps or a status are not valid.

    Notes
    -----
    Sees an exit rate that rises, falls, or turns up to three times over the time at risk: a saddle, a burn-in, a
    mixture of starts. It does not see a rate that swings often, such as with the epochs of reshuffled batches.
    Source: derived; Neyman's smooth test (1937, Skandinavisk Aktuarietidskrift 20:149) on the total time on test of
    Epstein and Sobel 1953, Journal of the American Statistical Association 48:486.
    """
    records = read(data, status)
    at_start = _at_start(records)
    if at_start:
        return Exponentiality(np.inf, 0.0, np.empty(0), "")
    at_risk, count = _time_on_test(records)
    exits, total = count.sum(), at_risk.sum()
    fewest = min(exits, total - exits)
    values = _orthonormal(at_risk)[1:] if fewest >= FEWEST_EXITS else np.empty((0, len(at_risk)))
    heights = (values[:, at_risk > 0] ** 2).max(axis=1, initial=0.0)
    if not len(values) or heights[0] > fewest:
        text = f"{records.count(EXITED)} exits in {records.step.sum()} steps at risk cannot be tested for a memory"
        return Exponentiality(np.nan, np.nan, np.empty(0), text)
    # The first, a sum of bounded terms, is normal sooner.
    used = 1 + int(np.cumprod(heights[1:] <= SHARE * fewest).sum())
    components = values[:used] @ count / np.sqrt(exits * (1 - exits / total))
    statistic = float(components @ components)
    return Exponentiality(statistic, float(stats.chi2.sf(statistic, used)), components, "")


def memory_reason(records: Records, test: Exponentiality) -> str:
    """Return the reason against exits without memory in words, empty where none was found."""
    at_start = _at_start(records)
    if at_start:
        return f"{at_start} of {records.chains} chains had left at step 0: the exit has a memory of the start"
    if not test.p_value <= REJECTION:
        return ""
    worst = int(np.argmax(np.abs(test.components)))
    trend = ("rises" if test.components[0] > 0 else "falls") if worst == 0 else "rises and falls"
    return f"the exit rate {trend} with time (p = {test.p_value:.2g}): the exits have a memory"


def _at_start(records: Records) -> int:
    return int((records.left & (records.step == 0)).sum())


def _time_on_test(records: Records) -> tuple[NDArray, NDArray]:
    """Return the chains at risk at each step (h,), and how many left at it (h,), without exits that were certain.

    Where the chains seen last left, one exit had to come at the very end; it says nothing and is dropped, with its
    chain at risk. Beyond LATTICE steps they are taken several at a time: exits without memory still have none.
    """
    together = -(-int(records.step.max()) // LATTICE) if len(records.step) else 1
    step, left = records.step, records.left
    if together > 1:
        # A chain counts as at risk in whole cells only, so that what happens in the last, cut one is not used.
        cells = int(step.max()) // together
        left = left & (-(-step // together) <= cells)
        step = np.where(left, -(-step // together), step // together)
    size = int(step.max()) + 1
    lost = np.bincount(step, minlength=size)
    at_risk = (len(step) - lost.cumsum() + lost)[1:].astype(float)
    count = np.bincount(step[left], minlength=size)[1:]
    if len(count) and count[-1]:
        at_risk[-1], count[-1] = at_risk[-1] - 1, count[-1] - 1
    return at_risk, count


def _orthonormal(at_risk: NDArray) -> NDArray:
    """Return 1 and the polynomials in the share of time at risk (k + 1, h), orthonormal over the steps at risk.

    As many as the steps tell apart, COMPONENTS at most.
    """
    weights = at_risk / at_risk.sum()
    powers = np.polynomial.legendre.legvander(2 * (weights.cumsum() - weights / 2) - 1, COMPONENTS).T
    found = []
    for value in powers[: np.count_nonzero(weights)]:
        for _ in range(2):  # twice, against the rounding of the first
            for other in found:
                value = value - (weights * other * value).sum() * other
        size = np.sqrt((weights * value**2).sum())
        if size < 1e-9:
            break
        found.append(value / size)
    return np.stack(found)
