"""Sides and laws of the exit of Gaussian chains: against a dense uniform grid, and against closed forms."""

import numpy as np
import pytest
from scipy.special import ndtr

from escape import theory

LOW, HIGH, START = -0.9, 0.7, 0.1


def chain():
    return theory.GaussianChain(lambda x: 1.05 * x + 0.02, lambda x: 0.12 + 0.03 * np.cos(3 * x), -2.0, 2.0)


def midpoints(cells):
    """Nodes (g,) of a uniform grid, and the matrix of a step from points (m,) to them."""
    h = (HIGH - LOW) / cells
    nodes = np.arange(LOW + h / 2, HIGH, h)

    def step(points):
        mean, std = (part[:, None] for part in chain()._step(points))
        return np.exp(-(((nodes - mean) / std) ** 2) / 2) / np.sqrt(2 * np.pi) / std * h

    return nodes, step


def committor_on(cells, starts):
    nodes, step = midpoints(cells)

    def above(points):
        mean, std = chain()._step(points)
        return ndtr((mean - HIGH) / std)

    inside = np.linalg.solve(np.eye(cells) - step(nodes), above(nodes))
    return above(starts) + step(starts) @ inside


def test_committor_solves_the_linear_system():
    starts = np.linspace(LOW + 0.01, HIGH - 0.01, 15)
    coarse, fine = committor_on(400, starts), committor_on(800, starts)
    # the step's density is cut off at the exits: an error of h^2, which two grids cancel
    assert np.abs(coarse - fine).max() > 1e-7
    assert np.abs(chain().committor(starts, LOW, HIGH) - (4 * fine - coarse) / 3).max() < 1e-9
    assert chain().committor_error(START, LOW, HIGH) < 1e-9


def test_sides_are_shared_out():
    """The mirrored chain leaves at the other side."""
    mirrored = theory.GaussianChain(lambda x: 1.05 * x - 0.02, lambda x: 0.12 + 0.03 * np.cos(3 * x), -2.0, 2.0)
    got = chain().committor(START, LOW, HIGH) + mirrored.committor(-START, -HIGH, -LOW)
    assert abs(got - 1) < 1e-10


def survival_on(cells, steps):
    nodes, step = midpoints(cells)
    row, matrix, alive, survival = step(np.array([START]))[0], step(nodes), np.ones(cells), [1.0]
    for _ in range(steps):
        survival.append(row @ alive)
        alive = matrix @ alive
    return np.array(survival)


def test_exit_law_is_that_of_the_powers():
    steps = 400
    coarse, fine = survival_on(400, steps), survival_on(800, steps)
    survival = (4 * fine - coarse) / 3
    law = chain().exit_law(START, LOW, HIGH)
    assert np.abs(law.survival(np.arange(steps + 1)) - survival).max() < 1e-8
    mean, square = survival.sum(), (2 * np.arange(steps + 1) + 1) @ survival
    assert survival[-1] < 1e-10, "the sums have ended"
    assert law.mean == pytest.approx(mean, rel=1e-8)
    assert law.variance == pytest.approx(square - mean**2, rel=1e-6)
    assert law.std == pytest.approx(np.sqrt(law.variance), rel=1e-14)
    assert law.mean == pytest.approx(chain().mean_exit_step(START, LOW, HIGH), rel=1e-10)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.9999])
def test_quantile_is_the_first_step_by_which_so_many_have_left(q):
    law = chain().exit_law(START, LOW, HIGH)
    step = int(law.quantile(q))
    assert law.survival(step) <= 1 - q < law.survival(step - 1)


def test_reaching_one_set_before_another_is_the_committor_for_half_lines():
    """Sets that reach to the ends of the interval are exits."""
    got = chain().reaching_probability(START, (HIGH, 2.0), (-2.0, LOW))
    assert got == pytest.approx(chain().committor(START, LOW, HIGH), rel=1e-5)


def test_a_start_outside_or_a_missing_exit_is_refused():
    with pytest.raises(ValueError, match="x0"):
        chain().exit_law(5.0, LOW, HIGH)
    with pytest.raises(ValueError, match="exit"):
        chain().exit_law(START)
    with pytest.raises(ValueError, match="exit_low"):
        chain().committor(START, 0.9, 0.2)
