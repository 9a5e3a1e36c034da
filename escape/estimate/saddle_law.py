"""The law of exits from a linear saddle fitted to escape steps, censored chains included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from escape.estimate.base import Estimate, check_level, judged, quantile
from escape.estimate.records import EXITED, Records, read

FEWEST_EXITS = 10  # for an interval; below, its coverage is not what it says
REJECTION = 1e-3  # false-alarm rate at which the law is said not to fit
TINY = 1e-300  # chance below which its logarithm comes from an expansion
STEEP = 0.7  # ln a above which the mean formula's lattice term is off by more than 1e-3 of a step
NEAR = 5.0  # R/s below which the escape step is not that of a kick followed by growth
SHARED = 0.02  # of the information that must lie within the cells for the exact correction to be well-conditioned


@dataclass(frozen=True, eq=False)
class SaddleExitLaw:
    """Fitted law tau = ceil((ln(R/s) - ln|N|) / ln a), |N| the length of a normal vector; call it for P(tau > t).

    Attributes
    ----------
    growth_factor, kick_ratio, mean_exit_step : Estimate
        a per step, R/s, and E tau in steps, beyond the horizon of censored chains too.
    p_value : float
        Chance of a worse fit if the law holds; NaN where there were too few chains to tell.
    directions : int
        k, the number of equal escape directions.
    chains, exited : int
        Number of chains in all, and of those that left.
    reliable : bool
        Whether the law fits and the intervals mean what they say.
    reason : str
        Why not, in one line.
    """

    growth_factor: Estimate
    kick_ratio: Estimate
    mean_exit_step: Estimate
    p_value: float
    directions: int
    chains: int
    exited: int
    reliable: bool
    reason: str

    def __call__(self, t: ArrayLike) -> NDArray:
        """Return the fitted P(tau > t) = P(|N| < (R/s) a^-t)."""
        rate, whole = np.log(self.growth_factor.value), np.floor(np.asarray(t, dtype=float))
        return special.gammainc(self.directions / 2, _half_square(np.log(self.kick_ratio.value) - rate * whole))


class _Fit(NamedTuple):
    """Exits and losses by step, and k. The law's parameters are mean = E tau and log_rate = ln ln a."""

    records: Records
    edges: NDArray  # distinct steps at which chains left, those before them, and those to which others were seen
    exits: NDArray
    lost: NDArray
    k: int

    @property
    def offset(self) -> float:
        """E ln|N|, |N| the length of k standard normals."""
        return (special.digamma(self.k / 2) + np.log(2)) / 2

    def log_ratio(self, mean: float, log_rate: float) -> float:
        """Return ln(R/s)."""
        return np.exp(log_rate) * (mean - 0.5) + self.offset

    def mean(self, log_ratio: float, log_rate: float) -> float:
        """Return E tau."""
        return (log_ratio - self.offset) / np.exp(log_rate) + 0.5

    def cost(self, mean: float, log_rate: float) -> float:
        """Return minus the log-likelihood."""
        half = _half_square(self.log_ratio(mean, log_rate) - np.exp(log_rate) * self.edges)
        above, below = special.gammaincc(self.k / 2, half), special.gammainc(self.k / 2, half)
        n = len(self.exits)
        late, early = slice(0, n), slice(n, 2 * n)
        # The smaller of the two tails, so that nothing cancels; nobody was outside before step 0.
        mass = np.where(above[late] < 0.5, above[late] - above[early], below[early] - below[late])
        mass = np.where(self.edges[early] < 0, above[late], mass)
        far = -half[late] + (self.k / 2 - 1) * np.log(half[late]) - special.gammaln(self.k / 2)
        left = np.where(mass > TINY, np.log(np.maximum(mass, TINY)), np.minimum(far, np.log(TINY)))
        return -float(self.exits @ left + self.lost @ np.log(np.maximum(below[2 * n :], TINY)))

    def distribution(self, t: NDArray, mean: float, log_rate: float) -> NDArray:
        """Return P(tau <= t)."""
        height = self.log_ratio(mean, log_rate) - np.exp(log_rate) * t
        return special.gammaincc(self.k / 2, _half_square(height))


def _half_square(height: NDArray) -> NDArray:
    """Return x^2/2 for x = e^height, finite."""
    return np.exp(2 * np.clip(height, -300.0, 300.0)) / 2


def saddle_exit_law(
    data: Any,
    status: ArrayLike | None = None,
    level: float = 0.95,
    directions: int = 1,
    growth_factor: float | None = None,
) -> SaddleExitLaw:
    """Fit the exit law of a linear saddle, P(tau <= t) = P(|N| >= (R/s) a^-t), by maximum likelihood on whole steps.

    A chain that left at step t contributes P(t - 1 < tau <= t), one censored at h contributes P(tau > h). The
    intervals are those of the profile likelihood l: 2 (max l - l) <= q^2, q Student's quantile. The mean is
    E tau = (ln(R/s) - (psi(k/2) + ln 2)/2) / ln a + 1/2.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged; the diverged count as censored.
    level : float
        Confidence of the intervals.
    directions : int
        k, the number of equal escape directions: |N|^2 is chi^2 with k degrees of freedom.
    growth_factor : float, optional
        a, where it is known; only R/s is fitted then.

    Returns
    -------
    SaddleExitLaw
        Estimates NaN where fewer than 2 chains left, or all at two neighbouring steps, with `growth_factor` not given.
        Unreliable when fewer than 10 chains left, chains diverged, the law is rejected (p <= 1e-3), R/s is below 5,
        or ln a above 0.7.

    Raises
    ------
    ValueError
        When the exit steps, a status, the level, `directions` or `growth_factor` are not valid.

    Notes
    -----
    The p-value is that of chi^2 over cells of equal chance up to the first loss, corrected for the fit: Rao and
    Robson 1974, Communications in Statistics 3:1139. Start at the saddle, additive noise, R >> s.
    Source: derived; law: Bakhtin 2011, Probability Theory and Related Fields 150:1.
    """
    level, records = check_level(level), read(data, status)
    if int(directions) != directions or directions < 1:
        raise ValueError(f"directions is {directions!r}; it must be a whole number from 1 on")
    if growth_factor is not None and not 1 < growth_factor < np.inf:
        raise ValueError(f"growth_factor is {growth_factor!r}; it must be a finite number above 1")
    rate = None if growth_factor is None else float(np.log(growth_factor))
    steps, exits = np.unique(records.step[records.left], return_counts=True)
    stays, lost = np.unique(records.step[~records.left], return_counts=True)
    fit = _Fit(records, np.concatenate([steps, steps - 1, stays]), exits, lost, int(directions))
    count = int(exits.sum())
    if not count or (rate is None and np.ptp(steps) < 2):
        text = f"{count} exits, at {len(steps)} steps, do not determine the law"
        return _result(fit, [(np.nan, np.nan, np.nan)] * 3, np.nan, [text, records.divergence])
    best = _maximum(fit, rate)
    threshold = fit.cost(*best) + quantile(level, max(count, 2)) ** 2 / 2
    ends = _intervals(fit, best, threshold, rate)
    p_value = _fit_p_value(fit, best, rate)
    with np.errstate(over="ignore"):
        a, ratio = np.exp(np.exp(best[1])), np.exp(fit.log_ratio(*best))
    reasons = [
        f"only {count} exits: the intervals may be too short" if count < FEWEST_EXITS else "",
        records.divergence,
        f"the law of a linear saddle does not fit (p = {p_value:.2g})" if p_value <= REJECTION else "",
        f"R/s = {ratio:.3g} is below {NEAR:g}: exits are no kick followed by growth" if ratio < NEAR else "",
        f"ln a = {np.log(a):.3g} is above {STEEP:g}: the mean is off by the lattice" if np.log(a) > STEEP else "",
        "" if np.isfinite(ends).all() else "the likelihood leaves an end of an interval open",
    ]
    return _result(fit, ends, p_value, reasons)


def _result(fit: _Fit, ends: list, p_value: float, reasons: list[str]) -> SaddleExitLaw:
    estimates = [judged(*map(float, triple), reasons) for triple in ends]
    reliable, reason = estimates[0].reliable, estimates[0].reason
    records = fit.records
    return SaddleExitLaw(*estimates, p_value, fit.k, records.chains, records.count(EXITED), reliable, reason)


def _maximum(fit: _Fit, rate: float | None) -> NDArray:
    """Return (mean, log_rate) of the greatest likelihood, from a start at two quantiles of all chains."""
    left = np.sort(fit.records.step[fit.records.left])
    early, late = left[len(left) // 4], left[-1 - len(left) // 10]
    early, late = (early, late) if late > early + 1 else (left[0], left[-1])
    share = [(np.searchsorted(left, t, side="right") - 0.5) / fit.records.chains for t in (early, late)]
    height = np.log(stats.chi.isf(share, fit.k))
    start = np.log(rate or max((height[0] - height[1]) / (late - early), 1e-8))
    mean = fit.mean(height[0] + np.exp(start) * (early - 0.5), start)
    if rate is not None:
        return np.array([_least(lambda m: fit.cost(m, start), mean, 1 / rate)[0], start])
    spread = np.exp(-start) / np.sqrt(len(left))
    simplex = np.array([[mean, start], [mean + 3 * spread, start], [mean, start + 0.2]])
    options = {"initial_simplex": simplex, "xatol": 1e-6, "fatol": 1e-8, "maxiter": 1000}
    return optimize.minimize(lambda x: fit.cost(*x), simplex[0], method="Nelder-Mead", options=options).x


def _least(cost, start: float, step: float) -> tuple[float, float]:
    """Return where a function of one number is least, and its value there."""
    found = optimize.minimize_scalar(cost, bracket=(start - step, start + step), method="brent", tol=1e-5)
    return float(found.x), float(found.fun)


def _intervals(fit: _Fit, best: NDArray, threshold: float, rate: float | None) -> list[tuple]:
    """Return value and interval of a, of R/s and of the mean."""
    mean, log_rate = best
    ratio, width = fit.log_ratio(*best), np.exp(-log_rate) / np.sqrt(fit.exits.sum())
    small = 1 / np.sqrt(fit.exits.sum())
    if rate is not None:
        low, high = _reach(lambda m, _: (fit.cost(m, log_rate), 0.0), mean, width, 0.0, threshold)
        ratios = np.exp([fit.log_ratio(m, log_rate) for m in (mean, low, high)])
        return [(np.exp(rate),) * 3, tuple(ratios), (mean, low, high)]
    # One parameter is held, and the other, started from the last best, is set free.
    of_rate = _reach(lambda r, m: _least(lambda x: fit.cost(x, r), m, width)[::-1], log_rate, small, mean, threshold)
    of_mean = _reach(lambda m, r: _least(partial(fit.cost, m), r, small)[::-1], mean, width, log_rate, threshold)
    of_ratio = _reach(
        lambda q, r: _least(lambda x: fit.cost(fit.mean(q, x), x), r, small)[::-1], ratio, small, log_rate, threshold
    )
    with np.errstate(over="ignore"):
        factors, ratios = np.exp(np.exp([log_rate, *of_rate])), np.exp([ratio, *of_ratio])
    return [tuple(factors), tuple(ratios), (mean, *of_mean)]


def _reach(profile, best: float, step: float, other: float, threshold: float) -> tuple[float, float]:
    """Return how far the parameter goes down and up before its profile cost passes the threshold; NaN if never."""
    ends = []
    for sign in (-1, 1):
        held, near, far = other, 0.0, step
        for _ in range(12):
            cost, held = profile(best + sign * far, held)
            if cost > threshold:
                break
            near, far = far, 2 * far
        passed = cost > threshold
        excess = lambda d, s=sign, h=held: profile(best + s * d, h)[0] - threshold  # noqa: E731
        # Where rounding hides the likelihood's top there is no place to start from.
        passed = passed and excess(near) <= 0 < excess(far)
        ends.append(best + sign * optimize.brentq(excess, near, far, rtol=1e-4) if passed else np.nan)
    return ends[0], ends[1]


def _fit_p_value(fit: _Fit, best: NDArray, rate: float | None) -> float:
    """Return the p-value of chi^2 over cells of the fitted law, corrected for the parameters fitted."""
    records, chains = fit.records, fit.records.chains
    cells = min(round(2 * chains**0.4), chains // 5, 20)
    if cells < 4:
        return np.nan
    chances = np.arange(1, cells) / cells
    edges = (fit.log_ratio(*best) - np.log(stats.chi.isf(chances, fit.k))) / np.exp(best[1])
    edges = np.unique(np.maximum(np.round(edges), 0))
    stays = records.step[~records.left]
    edges = edges[edges <= stays.min()] if len(stays) else edges
    seen = (records.left[:, None] & (records.step[:, None] <= edges)).sum(axis=0)
    count = np.diff(np.concatenate([[0], seen, [chains]]))

    def chance(x: NDArray) -> NDArray:
        return np.diff(np.concatenate([[0.0], fit.distribution(edges, *x), [1.0]]))

    p = chance(best)
    free = [0, 1] if rate is None else [0]
    shifts = np.diag([1e-3 * np.exp(-best[1]), 1e-3])[free]
    if len(p) <= len(free) + 1 or p.min() * chains < 1e-3:
        return np.nan
    slope = np.stack([(chance(best + s) - chance(best - s)) / 2 for s in shifts], axis=1) / np.sqrt(p)[:, None]
    information = _information(fit, best, shifts) / chains
    z = (count - chains * p) / np.sqrt(chains * p)
    rest = information - slope.T @ slope
    if not np.isfinite(information).all() or np.linalg.matrix_rank(information) < len(free):
        return np.nan
    plain = float(z @ z)
    if np.linalg.eigvals(np.linalg.solve(information, rest)).real.min() < SHARED:
        return float(stats.chi2.sf(plain, len(p) - 1 - len(free)))
    score = slope.T @ z
    return float(stats.chi2.sf(plain + score @ np.linalg.solve(rest, score), len(p) - 1))


def _information(fit: _Fit, best: NDArray, shifts: NDArray) -> NDArray:
    """Return the second differences of the cost along the shifts (p, 2)."""
    size = len(shifts)
    found = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            corners = [(si * sj, best + si * shifts[i] + sj * shifts[j]) for si in (1, -1) for sj in (1, -1)]
            found[i, j] = sum(sign * fit.cost(*x) for sign, x in corners) / 4
    return found
