"""Closed forms and exact solvers that estimates are held against; numpy and scipy only.

Nothing here simulates the engine or reads its results. `curvature` is a signed Hessian eigenvalue (negative in an
escape direction), `noise` the standard deviation of the batch gradient along the direction, time is in steps.
"""

from escape.theory.chain import GaussianChain, Stationary
from escape.theory.commuting import (
    escape_exponent,
    freezing_step,
    lyapunov_exponent,
    mean_square_rate,
    moment_function,
)
from escape.theory.descent import gd_exit_step, rounding_exit_step
from escape.theory.exits import (
    exit_quantile,
    exit_side_probability,
    exit_step_variance,
    exit_tail_rate,
    mean_exit_step,
    survival,
)
from escape.theory.kramers import eyring_kramers, finite_lr_correction, temperature
from escape.theory.multiplicative import SecondMoment, lyapunov_exponent_product, second_moment
from escape.theory.paradox import paradox_window, paradox_windows
from escape.theory.saddle import (
    growth_factor,
    growth_rate,
    growth_window,
    kick_std,
    local_growth_rate,
    mean_square,
    regime,
    total_mean_square,
)
from escape.theory.sampling import kappa

__all__ = [
    "GaussianChain",
    "SecondMoment",
    "Stationary",
    "escape_exponent",
    "exit_quantile",
    "exit_side_probability",
    "exit_step_variance",
    "exit_tail_rate",
    "eyring_kramers",
    "finite_lr_correction",
    "freezing_step",
    "gd_exit_step",
    "growth_factor",
    "growth_rate",
    "growth_window",
    "kappa",
    "kick_std",
    "local_growth_rate",
    "lyapunov_exponent",
    "lyapunov_exponent_product",
    "mean_exit_step",
    "mean_square",
    "mean_square_rate",
    "moment_function",
    "paradox_window",
    "paradox_windows",
    "regime",
    "rounding_exit_step",
    "second_moment",
    "survival",
    "temperature",
    "total_mean_square",
]
