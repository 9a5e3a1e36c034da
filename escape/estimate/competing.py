"""Through which boundary chains leave, and at which angle to the escape direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escape.estimate.base import Estimate, binomial_ends, check_level, judged, lonely
from escape.estimate.compare import proportion
from escape.estimate.records import CENSORED, DIVERGED, EXITED, Records, read
from escape.estimate.survival import skewed_interval


@dataclass(frozen=True, eq=False)
class CompetingExits:
    """Cumulative incidence P(tau <= t, cause j) of k causes of exit; call it to evaluate.

    Attributes
    ----------
    causes : ndarray, shape (k,)
        Labels of the causes, ascending.
    steps : ndarray, shape (m,)
        Steps at which at least one chain left.
    incidence, low, high : ndarray, shape (m, k)
        The incidence from each of these steps up to the next, and the ends of its interval, for each separately.
    shares : tuple of k Estimate
        Share of each cause among all chains once every one has left. Where some never did: the incidence at the last
        exit, within the bounds that hold whatever the others do later.
    chains, exited : int
        Number of chains in all, and of those that left.
    reliable : bool
        False when chains diverged.
    reason : str
        Why not, in one line.
    """

    causes: NDArray
    steps: NDArray
    incidence: NDArray
    low: NDArray
    high: NDArray
    shares: tuple[Estimate, ...]
    chains: int
    exited: int
    reliable: bool
    reason: str

    def __call__(self, t: ArrayLike) -> NDArray:
        """Return P(tau <= t, cause j), shape t.shape + (k,); right-continuous, as at the last exit beyond it."""
        start = np.zeros((1, len(self.causes)))
        return np.concatenate([start, self.incidence])[np.searchsorted(self.steps, np.asarray(t), side="right")]


def competing_exits(
    data: Any, cause: ArrayLike, status: ArrayLike | None = None, level: float = 0.95
) -> CompetingExits:
    """Aalen-Johansen estimate of the chance to have left by step t through each of several boundaries.

    F_j(t) = sum_{s <= t} S(s-) d_js / r_s, where d_js of the r_s chains there before s leave at s by cause j and S is
    the Kaplan-Meier curve; Var F_j(t) = sum_s S(s-)^2 / r_s (p_j (1 - A)^2 + p_o A^2 - (p_j (1 - A) - p_o A)^2), with
    p_j = d_js / r_s, p_o the same of all other causes and A = (F_j(t) - F_j(s)) / S(s), 0 where nobody stays. The
    interval is the binomial one of Clopper and Pearson for as many chains as have this variance.

    Parameters
    ----------
    data : Dataset or array_like, shape (c,)
        A simulation, or exit steps. A chain that left is kept where it was then, so its cause can be read off
        `data.final`, for example `np.sign(data.final[:, 0])`.
    cause : array_like of int, shape (c,)
        Which boundary; not looked at where a chain did not leave.
    status : array_like, shape (c,), optional
        With exit steps: 0 censored, 1 exited, 2 diverged; the diverged count as censored.
    level : float
        Confidence of each interval.

    Returns
    -------
    CompetingExits
        Shares are unreliable where chains were censored; everything is where chains diverged.

    Raises
    ------
    ValueError
        When no chain left, the causes are not whole numbers or not one a chain, or the exit steps, a status or the
        level are not valid.

    Notes
    -----
    One minus Kaplan-Meier with other causes taken as censored would be too high: it is no chance of anything seen.
    Source: Aalen and Johansen 1978, Scandinavian Journal of Statistics 5:141; variance: derived, multinomial exits.
    """
    level, records = check_level(level), read(data, status)
    labels = _causes(cause, records)
    causes, which = np.unique(labels, return_inverse=True)
    steps, where = np.unique(records.step[records.left], return_inverse=True)
    left = np.zeros((len(steps), len(causes)))
    np.add.at(left, (where, which), 1)
    at_risk = records.chains - np.searchsorted(np.sort(records.step), steps).astype(float)
    stay = np.cumprod(1 - left.sum(axis=1) / at_risk)
    before = np.append(1.0, stay[:-1])
    incidence = np.cumsum((before / at_risk)[:, None] * left, axis=0)
    bands = [
        _band(incidence[:, j], left[:, j], left.sum(axis=1), at_risk, before, stay, level) for j in range(len(causes))
    ]
    low, high = (np.stack(ends, axis=1) for ends in zip(*bands, strict=True))
    shares = tuple(_share(records, int(left[:, j].sum()), incidence[-1, j], level) for j in range(len(causes)))
    text = records.divergence
    return CompetingExits(
        causes, steps, incidence, low, high, shares, records.chains, records.count(EXITED), not text, text
    )


def _causes(cause: ArrayLike, records: Records) -> NDArray:
    """Return the causes of the chains that left."""
    cause = np.asarray(cause)
    if cause.shape != records.step.shape:
        raise ValueError(f"cause has shape {cause.shape} and exit_step {records.step.shape}; they must agree")
    if cause.dtype.kind not in "fiub":
        raise ValueError(f"cause has dtype {cause.dtype}; it must be whole numbers")
    labels = cause[records.left]
    if not len(labels):
        raise ValueError(f"none of {records.chains} chains left; causes of exit need exits")
    if not (np.isfinite(labels) & (labels % 1 == 0)).all() if cause.dtype.kind == "f" else False:
        raise ValueError("cause of a chain that left is no whole number; number the boundaries")
    return labels.astype(np.int64)


def _band(curve: NDArray, own: NDArray, all_: NDArray, at_risk: NDArray, before: NDArray, stay: NDArray, level: float):
    """Return the ends (m,), (m,) of the interval of one incidence (m,)."""
    p, q = own / at_risk, (all_ - own) / at_risk
    # With w = S(s-)^2 / r and A = (F(t) - F(s)) / S(s), the variance is a quadratic in F(t) with sums over s <= t.
    weight = before**2 / at_risk
    inverse = np.divide(1.0, stay, out=np.zeros_like(stay), where=stay > 1e-12)
    # A = x F(t) + y, so p (1-A)^2 + q A^2 - (p (1-A) - q A)^2 = p (1-p) - 2 A p (1-p-q) + A^2 (p+q) (1-p-q).
    x, y, rest = inverse, -inverse * curve, 1 - p - q
    constant = p * (1 - p) - 2 * y * p * rest + y**2 * (p + q) * rest
    linear = -2 * x * p * rest + 2 * x * y * (p + q) * rest
    square = x**2 * (p + q) * rest
    sums = [np.cumsum(weight * term) for term in (constant, linear, square)]
    variance = np.maximum(sums[0] + sums[1] * curve + sums[2] * curve**2, 0.0)
    # As many chains as would give this variance in a plain count. Where nothing varies, as many as at the step at which
    # an exit, or its want, would have weighed most: r of them stand for r / S of all.
    size = np.minimum.accumulate(at_risk / before)
    size = np.divide(curve * (1 - curve), variance, out=size, where=variance > 1e-15)
    return binomial_ends(curve, size, level)


def _share(records: Records, count: int, incidence: float, level: float) -> Estimate:
    """Return the share of a cause once every chain has left."""
    lost, chains = records.chains - records.count(EXITED), records.chains
    low, high = proportion(count, chains, level).low, proportion(count + lost, chains, level).high
    censored = records.count(CENSORED)
    text = f"{censored} of {chains} chains censored: the bounds hold whatever they do later" if censored else ""
    return judged(float(incidence), low, high, [text, records.divergence])


@dataclass(frozen=True, eq=False)
class ExitAngle:
    """Angles at which chains left, in radians, those that left alone.

    Attributes
    ----------
    angle : ndarray, shape (e,)
        Angle of each chain that left, in the order of the chains.
    mean : Estimate
        Mean angle.
    mean_cosine : Estimate
        Mean cosine of the angle: the mean resultant along the direction, 1 where all leave along it.
    chains, censored, diverged : int
        Number of chains in all, and of those that are not among the angles.
    level : float
        Confidence of the intervals.
    """

    angle: NDArray
    mean: Estimate
    mean_cosine: Estimate
    chains: int
    censored: int
    diverged: int
    level: float

    def share_within(self, angle: float) -> Estimate:
        """Return the share of those that left within this angle (radians) of the direction."""
        found = proportion(int((self.angle <= angle).sum()), len(self.angle), self.level)
        return judged(*found[:3], [self.mean.reason])


def exit_angle(
    data: Any,
    centre: ArrayLike,
    direction: ArrayLike,
    status: ArrayLike | None = None,
    level: float = 0.95,
    signed: bool = False,
) -> ExitAngle:
    """Angle between the line from a critical point to where a chain left, and the escape direction or directions.

    arctan2(|y - P y|, |P y|) in [0, pi/2], with y = x - centre and P the projection onto the span of the directions;
    `signed`, for one direction v, arctan2(|y - v (v.y)|, v.y) in [0, pi] for unit v, so that the two sides differ.

    Parameters
    ----------
    data : Dataset or array_like, shape (c, d)
        A simulation, of which `final` and `status` are used, or positions at the exit.
    centre : array_like, shape (d,)
        The critical point.
    direction : array_like, shape (d,) or (d, k)
        The escape direction, or several linearly independent ones; not necessarily of length one.
    status : array_like, shape (c,), optional
        With positions: 0 censored, 1 exited, 2 diverged. Without it all have exited.
    level : float
        Confidence of the intervals.
    signed : bool
        Tell the two sides apart.

    Returns
    -------
    ExitAngle
        In radians, of the chains that left alone, which its estimates say where any did not: unreliable then, since
        late chains leave at other angles than early ones.

    Raises
    ------
    ValueError
        When shapes disagree, no chain left, a chain left at the centre itself or at no finite position, directions
        depend on each other, `signed` comes with several of them, or status or level are not valid.

    Notes
    -----
    Source: elementary; intervals as for `mean_exit_step` and `proportion`.
    """
    level = check_level(level)
    if hasattr(data, "keys"):
        if status is not None:
            raise ValueError("got a simulation and a status; give a simulation alone, or positions with their status")
        read(data)
        if "final" not in data:
            raise ValueError("the simulation has no final positions; give positions with their status")
        data, status = data["final"], data["status"]
    x, centre, basis = np.asarray(data, dtype=float), np.asarray(centre, float), np.asarray(direction, float)
    basis = basis[:, None] if basis.ndim == 1 else basis
    if x.ndim != 2 or centre.shape != x.shape[1:] or basis.ndim != 2 or len(basis) != x.shape[1]:
        raise ValueError(
            f"positions have shape {x.shape}, centre {centre.shape} and direction {np.shape(direction)}; "
            "they must be (c, d), (d,), and (d,) or (d, k)"
        )
    records = read(np.zeros(len(x)), status)
    if signed and basis.shape[1] > 1:
        raise ValueError(f"signed angles need one direction, got {basis.shape[1]}")
    angle = _angles(x[records.left] - centre, basis, signed)
    out = records.chains - len(angle)
    reasons = [f"{out} of {records.chains} chains never left; these are the angles of the others" if out else ""]
    reasons += [records.divergence, lonely(len(angle))]
    mean, cosine = (judged(float(v.mean()), *skewed_interval(v, level), reasons) for v in (angle, np.cos(angle)))
    lost = records.count(CENSORED), records.count(DIVERGED)
    return ExitAngle(angle, mean, cosine, records.chains, *lost, level)


def _angles(y: NDArray, basis: NDArray, signed: bool) -> NDArray:
    """Return the angles (e,) of y (e, d) to the span of a basis (d, k)."""
    if not len(y):
        raise ValueError("no chain left; an exit angle needs exits")
    if not np.isfinite(y).all() or not y.any(axis=1).all():
        raise ValueError("a chain left at the centre itself, or at no finite position; it has no angle there")
    if not np.isfinite(basis).all() or np.linalg.matrix_rank(basis) < basis.shape[1]:
        raise ValueError("direction must be finite, not zero, and of several none a combination of the others")
    frame = np.linalg.qr(basis)[0]
    along = y @ frame
    across = np.linalg.norm(y - along @ frame.T, axis=1)
    if signed:
        return np.arctan2(across, along[:, 0] * np.sign(frame[:, 0] @ basis[:, 0]))
    return np.arctan2(across, np.linalg.norm(along, axis=1))
