"""Forecast of the exit from a saddle by one random kick, as perturbed gradient descent gives it."""

import math

from torch import Tensor

from escape import theory
from escape.landscapes import CriticalPoint, Landscape
from escape.optimizers import PerturbedGradientDescent
from escape.oracles import Oracle
from escape.stable_exits import Forecast

# Share of the chains that may be kicked again before they leave.
_AGAIN = 0.01


def kicked_exit(
    landscape: Landscape, oracle: Oracle, optimizer: PerturbedGradientDescent, point: CriticalPoint, start: Tensor,
    start_std: float, radius: float,
) -> Forecast:  # fmt: skip
    """Exit of perturbed descent from a saddle with one escape direction, by the law of its first kick.

    Parameters
    ----------
    landscape, oracle, optimizer
        Of the run, at a constant learning rate.
    point : CriticalPoint
        The saddle.
    start : Tensor (d,)
        Where chains start.
    start_std : float
        Standard deviation of a normal start.
    radius : float
        Exit radius along the escape direction.
    """
    lr, curvature, threshold = float(optimizer.lr), float(point.eigenvalues[0]), float(optimizer.threshold)
    here = float((start - point.location) @ point.directions[:, 0])
    reason = ""
    if oracle.noisy(landscape):
        reason = "kicks on top of noisy gradients: no law of the exit step"
    elif point.index > 1:
        reason = f"a kick along {point.index} escape directions at once: theory has one alone"
    elif start_std:
        reason = "a kick from a spread start: theory starts at one point"
    elif float(landscape.gradient(start).norm()) > threshold:
        reason = f"the gradient at the start is above threshold {threshold:g}: no kick there"
    if reason:
        return Forecast(None, None, "", (reason,))
    numbers = lr, curvature, float(optimizer.radius), len(start)
    # Once its gradient is above the threshold a chain is not kicked again.
    reach = min(radius, threshold / abs(curvature))
    again = theory.perturbed_survival(optimizer.interval + 1, *numbers, reach, here) if abs(here) < reach else 0.0
    if again > _AGAIN:
        text = f"{again:.2g} of the chains may be kicked again before they leave: no law of the exit step"
        return Forecast(None, None, "", (text,))
    mean = float(theory.perturbed_mean_exit_step(*numbers, radius, here))
    std = math.sqrt(theory.perturbed_exit_step_variance(*numbers, radius, here))
    return Forecast(mean, std, "linear saddle, one kick uniform in a ball", ())
