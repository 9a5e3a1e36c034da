"""Estimates: numbers with intervals from arrays, each saying when not to believe it; numpy and scipy only.

Observables come as arrays (t, c) of t recorded steps and c chains, or as power sums over blocks of chains, as
`simulate(…, reduce=True)` leaves them; escape times as a whole simulation with `exit_step`
and `status`, or as arrays (c,). Time is in steps.
"""

from escape.estimate.base import Estimate
from escape.estimate.compare import KSResult, ks_distance, ks_two_sample, proportion
from escape.estimate.exits import exit_step_variance, exponential_mean_exit_step, mean_exit_step
from escape.estimate.growth import GrowthRate, growth_rate
from escape.estimate.moments import (
    effective_chains,
    largest_share,
    mean,
    mean_log_square,
    mean_square,
    mean_square_standard_error,
)
from escape.estimate.streamed import PowerSums, streamed
from escape.estimate.survival import Survival, exit_quantile, restricted_mean_exit_step, survival

__all__ = [
    "Estimate",
    "GrowthRate",
    "KSResult",
    "PowerSums",
    "Survival",
    "effective_chains",
    "exit_quantile",
    "exit_step_variance",
    "exponential_mean_exit_step",
    "growth_rate",
    "ks_distance",
    "ks_two_sample",
    "largest_share",
    "mean",
    "mean_exit_step",
    "mean_log_square",
    "mean_square",
    "mean_square_standard_error",
    "proportion",
    "restricted_mean_exit_step",
    "streamed",
    "survival",
]
