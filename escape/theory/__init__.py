"""Closed forms and exact solvers that estimates are held against; numpy and scipy only.

Nothing here simulates the engine or reads its results. `curvature` is a signed Hessian eigenvalue (negative in an
escape direction), `noise` the standard deviation of the batch gradient along the direction, time is in steps.
"""

from escape.theory._laws import ExitLaw, Stationary
from escape.theory._still import BatchStationary
from escape.theory.adaptive import adam_exit_step, adam_path, adaptive_equivalent, adaptive_growth_factor
from escape.theory.atypical import box_exit_probabilities, survivor_mean_square, weak_exit_probability
from escape.theory.batch_chain import BatchChain
from escape.theory.chain import GaussianChain
from escape.theory.commuting import (
    escape_exponent,
    escape_probability_bounds,
    lyapunov_exponent,
    mean_square_rate,
    moment_function,
)
from escape.theory.degenerate import degenerate_exit_constant, degenerate_gd_exit_step, degenerate_mean_exit_step
from escape.theory.descent import gd_exit_step, rounding_exit_step, successive_exit_ratio
from escape.theory.exits import (
    exit_quantile,
    exit_side_probability,
    exit_step_variance,
    exit_tail_rate,
    mean_exit_step,
    survival,
)
from escape.theory.freezing import freezing_step, frozen_log_mean_square
from escape.theory.gaussian_regression import regression_stationary_covariance, regression_threshold_lr
from escape.theory.heavy_tail import (
    regression_collapse_lr,
    regression_lyapunov_exponent,
    regression_moment_function,
    regression_tail_exponent,
)
from escape.theory.kramers import combined_escape_time, eyring_kramers, finite_lr_correction, temperature
from escape.theory.momentum import (
    growth_factor,
    growth_rate,
    kick_std,
    look_ahead_factor,
    start_projection,
    transient_factor,
)
from escape.theory.multiplicative import SecondMoment, second_moment
from escape.theory.paradox import paradox_window, paradox_windows
from escape.theory.perturbed import (
    langevin_noise,
    perturbed_exit_step_variance,
    perturbed_mean_exit_step,
    perturbed_survival,
)
from escape.theory.plane import GaussianPlane, PlaneStationary
from escape.theory.product import lyapunov_exponent_product
from escape.theory.quasi_potential import escape_log_time, gaussian_quasi_potential, quasi_potential
from escape.theory.random_matrix import (
    goe_index_probabilities,
    goe_positive_probability,
    pspin_complexity,
    pspin_counts,
    pspin_minima_complexity,
    pspin_threshold_energy,
    spiked_overlap,
    spiked_top_eigenvalue,
)
from escape.theory.reshuffling import (
    reshuffling_epoch_variance,
    reshuffling_kick_std,
    reshuffling_mean_exit_step,
    reshuffling_mean_square,
    reshuffling_second_moment,
)
from escape.theory.robbins_monro import decay_mean_square_limit, power_law_lr, power_law_sums
from escape.theory.saddle import growth_window, local_growth_rate, mean_square, regime, total_mean_square
from escape.theory.sampling import best_lr, kappa, noise_scales, one_step_decrease
from escape.theory.scaling import adam_scaling, batch_scaling, largest_stable_scaling, svag_coefficients
from escape.theory.schedules import (
    decay_exit_quantile,
    decay_growth_exponent,
    decay_kick_std,
    exit_quantile_schedule,
    mean_exit_step_schedule,
    mean_square_schedule,
    survival_schedule,
)
from escape.theory.stability import (
    gd_threshold_lr,
    mean_square_threshold_lr,
    monotone_threshold_lr,
    nonuniformity_threshold_lr,
)
from escape.theory.stable import stable_mean_exit_step, stable_tail_constant
from escape.theory.stable_saddle import (
    stable_kick_scale,
    stable_saddle_exit_step,
    stable_saddle_exit_variance,
    stable_saddle_survival,
)
from escape.theory.stationary import (
    stationary_covariance,
    stationary_gradient_square,
    stationary_shift,
    stationary_variance,
    stationary_work,
)

__all__ = [
    "BatchChain",
    "BatchStationary",
    "ExitLaw",
    "GaussianChain",
    "GaussianPlane",
    "PlaneStationary",
    "SecondMoment",
    "Stationary",
    "adam_exit_step",
    "adam_path",
    "adam_scaling",
    "adaptive_equivalent",
    "adaptive_growth_factor",
    "batch_scaling",
    "best_lr",
    "box_exit_probabilities",
    "combined_escape_time",
    "decay_exit_quantile",
    "decay_growth_exponent",
    "decay_kick_std",
    "decay_mean_square_limit",
    "degenerate_exit_constant",
    "degenerate_gd_exit_step",
    "degenerate_mean_exit_step",
    "escape_exponent",
    "escape_log_time",
    "escape_probability_bounds",
    "exit_quantile",
    "exit_quantile_schedule",
    "exit_side_probability",
    "exit_step_variance",
    "exit_tail_rate",
    "eyring_kramers",
    "finite_lr_correction",
    "freezing_step",
    "frozen_log_mean_square",
    "gaussian_quasi_potential",
    "gd_exit_step",
    "gd_threshold_lr",
    "goe_index_probabilities",
    "goe_positive_probability",
    "growth_factor",
    "growth_rate",
    "growth_window",
    "kappa",
    "kick_std",
    "langevin_noise",
    "largest_stable_scaling",
    "local_growth_rate",
    "look_ahead_factor",
    "lyapunov_exponent",
    "lyapunov_exponent_product",
    "mean_exit_step",
    "mean_exit_step_schedule",
    "mean_square",
    "mean_square_rate",
    "mean_square_schedule",
    "mean_square_threshold_lr",
    "moment_function",
    "monotone_threshold_lr",
    "noise_scales",
    "nonuniformity_threshold_lr",
    "one_step_decrease",
    "paradox_window",
    "paradox_windows",
    "perturbed_exit_step_variance",
    "perturbed_mean_exit_step",
    "perturbed_survival",
    "power_law_lr",
    "power_law_sums",
    "pspin_complexity",
    "pspin_counts",
    "pspin_minima_complexity",
    "pspin_threshold_energy",
    "quasi_potential",
    "regime",
    "regression_collapse_lr",
    "regression_lyapunov_exponent",
    "regression_moment_function",
    "regression_stationary_covariance",
    "regression_tail_exponent",
    "regression_threshold_lr",
    "reshuffling_epoch_variance",
    "reshuffling_kick_std",
    "reshuffling_mean_exit_step",
    "reshuffling_mean_square",
    "reshuffling_second_moment",
    "rounding_exit_step",
    "second_moment",
    "spiked_overlap",
    "spiked_top_eigenvalue",
    "stable_kick_scale",
    "stable_mean_exit_step",
    "stable_saddle_exit_step",
    "stable_saddle_exit_variance",
    "stable_saddle_survival",
    "stable_tail_constant",
    "start_projection",
    "stationary_covariance",
    "stationary_gradient_square",
    "stationary_shift",
    "stationary_variance",
    "stationary_work",
    "successive_exit_ratio",
    "survival",
    "survival_schedule",
    "survivor_mean_square",
    "svag_coefficients",
    "temperature",
    "total_mean_square",
    "transient_factor",
    "weak_exit_probability",
]
