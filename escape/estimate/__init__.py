"""Estimates: numbers with intervals from arrays, each saying when not to believe it; numpy and scipy only.

Observables come as arrays (t, c) of t recorded steps and c chains, or as power sums over blocks of chains, as
`simulate(…, reduce=True)` leaves them; escape times as a whole simulation with `exit_step`
and `status`, or as arrays (c,). Time is in steps.
"""

from escape.estimate.base import Estimate
from escape.estimate.compare import KSResult, ks_distance, ks_two_sample, proportion
from escape.estimate.competing import CompetingExits, ExitAngle, competing_exits, exit_angle
from escape.estimate.exits import exit_step_variance, exponential_mean_exit_step, mean_exit_step
from escape.estimate.growth import GrowthRate, growth_rate
from escape.estimate.log_growth import log_growth_rate
from escape.estimate.log_rank import LogRankResult, log_rank
from escape.estimate.memory import Exponentiality, exponentiality
from escape.estimate.moments import (
    effective_chains,
    largest_share,
    mean,
    mean_log_square,
    mean_square,
    mean_square_standard_error,
)
from escape.estimate.saddle_law import SaddleExitLaw, saddle_exit_law
from escape.estimate.streamed import PowerSums, streamed
from escape.estimate.survival import Survival, exit_quantile, restricted_mean_exit_step, survival

__all__ = [
    "CompetingExits",
    "Estimate",
    "ExitAngle",
    "Exponentiality",
    "GrowthRate",
    "KSResult",
    "LogRankResult",
    "PowerSums",
    "SaddleExitLaw",
    "Survival",
    "competing_exits",
    "effective_chains",
    "exit_angle",
    "exit_quantile",
    "exit_step_variance",
    "exponential_mean_exit_step",
    "exponentiality",
    "growth_rate",
    "ks_distance",
    "ks_two_sample",
    "largest_share",
    "log_growth_rate",
    "log_rank",
    "mean",
    "mean_exit_step",
    "mean_log_square",
    "mean_square",
    "mean_square_standard_error",
    "proportion",
    "restricted_mean_exit_step",
    "saddle_exit_law",
    "streamed",
    "survival",
]
