"""Shared by all tests: one thread for torch outside the engine, and assertions in standard errors."""

import os

# Before numpy is loaded: its threads and those of the engine would fight over the cores.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import comparisons
import numpy as np
import pytest
import torch

# The engine runs its blocks on threads of its own; torch's threads beside them would only fight over the cores.
torch.set_num_threads(1)

COMPARED = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[COMPARED] = []


def _within(what, got, expected, error, allowed):
    """Assert |got − expected| ≤ allowed · error everywhere; where the error is zero, equality to 1e-12."""
    got, expected, error = np.broadcast_arrays(
        np.asarray(got, dtype=float), np.asarray(expected, dtype=float), np.asarray(error, dtype=float)
    )
    floor = 1e-12 * np.maximum(np.abs(expected), 1e-300)
    away = np.abs(got - expected) / np.maximum(error, floor)
    away = np.where(got == expected, 0.0, away)
    worst = np.unravel_index(np.argmax(np.where(np.isnan(away), np.inf, away)), away.shape)
    place = f" at {tuple(int(i) for i in worst)}" if worst else ""
    assert away[worst] <= allowed, (
        f"{what}{place}: got {got[worst]:.10g}, expected {expected[worst]:.10g}, "
        f"{away[worst]:.2f} standard errors ({error[worst]:.3g}) apart where {allowed:g} are allowed"
    )


@pytest.fixture(scope="session")
def within():
    return _within


@pytest.fixture
def compare(request):
    """compare(theory.x, case, measured, predicted, error): one measured number against its prediction.

    `error` is the standard error of `measured`, or of the difference where the prediction has one of its own. Asserts
    |z| ≤ 4 (false alarms 6e-5 each) and keeps z for the table at the end: give numbers from seeds of their own, so
    that all z together are a sample of the standard normal law.
    """

    def one(prediction, case, measured, predicted, error):
        entry = comparisons.Comparison(prediction, case, float(measured), float(predicted), float(error))
        request.config.stash[COMPARED].append(entry)
        assert entry.passes, f"{entry.name}, {case}: {entry.text}"

    return one


def pytest_terminal_summary(terminalreporter, config):
    if "validation" in config.option.markexpr:
        for line in comparisons.table(config.stash[COMPARED]):
            terminalreporter.write_line(line)


def pytest_sessionfinish(session, exitstatus):
    if exitstatus == 0 and comparisons.not_normal(session.config.stash[COMPARED]):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
