"""Perturbed descent and the exits of a box, against enumeration of kicks and sums over the lattice of steps."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from escape import theory


def descent(start, dimension, shape, lr=0.1):
    """Mean and variance of the exact exit step of batch GD, over a fine grid of kicks of one coordinate."""
    u = (np.arange(400_000) + 0.5) / 200_000 - 1
    weight = (1 - u**2) ** ((dimension - (1 if shape == "ball" else 3)) / 2)
    step = theory.gd_exit_step(lr, -1.0, 1.0, start + 0.01 * u)
    mean = np.average(step, weights=weight)
    return mean, np.average((step - mean) ** 2, weights=weight)


@pytest.mark.parametrize("start", [0.0, 0.004, -0.02])
@pytest.mark.parametrize(("dimension", "shape"), [(1, "ball"), (2, "ball"), (7, "ball"), (4, "sphere"), (3, "sphere")])
def test_perturbed_descent_is_an_average_over_kicks(start, dimension, shape):
    mean, variance = descent(start, dimension, shape)
    arguments = (0.1, -1.0, 0.01, dimension, 1.0, start)
    got = theory.perturbed_mean_exit_step(*arguments, shape=shape)
    assert abs(got / mean - 1) < 1e-5, f"mean {got}, over kicks {mean}"
    got = theory.perturbed_exit_step_variance(*arguments, shape=shape)
    assert abs(got / variance - 1) < 2e-3, f"variance {got}, over kicks {variance}"
    alive = theory.perturbed_survival(np.arange(2000), *arguments, shape=shape)
    mean = theory.perturbed_mean_exit_step(*arguments, shape=shape)
    assert alive.sum() == pytest.approx(mean, rel=1e-9), "mean and survival are one law"


@pytest.mark.parametrize(("dimension", "shape", "more"), [(5, "ball", 2), (100, "ball", 2), (100, "sphere", 0)])
@pytest.mark.parametrize("lr", [0.05, 1e-8])  # the second takes strides of many steps
def test_perturbed_descent_in_closed_form(dimension, shape, more, lr):
    log, half = np.log1p(lr), (dimension + more) / 2
    mean = (np.log(100) - (special.digamma(0.5) - special.digamma(half)) / 2) / log + 0.5
    got = theory.perturbed_mean_exit_step(lr, -1.0, 0.01, dimension, 1.0, shape=shape)
    assert abs(got / mean - 1) < 1e-7, f"mean {got}, closed form {mean}"
    variance = (special.polygamma(1, 0.5) - special.polygamma(1, half)) / (4 * log**2) + 1 / 12
    got = theory.perturbed_exit_step_variance(lr, -1.0, 0.01, dimension, 1.0, shape=shape)
    assert abs(got / variance - 1) < 1e-6, f"variance {got}, closed form {variance}"


def test_kick_of_many_dimensions_is_gaussian():
    # E |N| in place of a kick r: noise such that s = r / sqrt(d)
    noise = 1e-2 / 1000 / theory.kick_std(0.1, -1.0, 1.0)
    got = theory.perturbed_mean_exit_step(0.1, -1.0, 1e-2, 10**6, 1.0)
    assert abs(got - theory.mean_exit_step(0.1, -1.0, noise, 1.0)) < 1e-4
    step = np.arange(0, 200, 20)
    alive = theory.perturbed_survival(step, 0.1, -1.0, 1e-2, 10**6, 1.0)
    assert np.allclose(alive, theory.survival(step, 0.1, -1.0, noise, 1.0), atol=1e-5)


def test_projection_of_uniform_points():
    rng = np.random.default_rng(4)
    point = rng.standard_normal((200_000, 5))
    point /= np.linalg.norm(point, axis=1)[:, None]
    for shape, u in (("sphere", point[:, 0]), ("ball", point[:, 0] * rng.uniform(size=200_000) ** 0.2)):
        expected = theory.perturbed_survival(50, 0.1, -1.0, 0.02, 5, 1.0, 0.004, shape=shape)
        share = np.mean(np.abs(0.004 + 0.02 * u) < 1.1**-50)
        error = np.sqrt(expected * (1 - expected) / len(u))
        # False alarms: 6e-5 each.
        assert abs(share - expected) < 4 * error, f"{shape}: sampled {share} +- {error}, law {expected}"


def test_langevin_noise_is_the_inverse_of_the_temperature():
    noise = theory.langevin_noise(0.1, 0.02)
    assert abs(0.1 * noise - np.sqrt(2 * 0.02 * 0.1)) < 1e-16, f"a kick of {0.1 * noise}, not sqrt(2 T lr)"
    assert theory.temperature(0.1, noise) == pytest.approx(0.02, rel=1e-15)


BOX = {"lr": 0.02, "curvatures": np.array([-1.0, -0.6]), "radii": np.array([1.0, 0.5])}


@pytest.mark.parametrize("noise", [0.1, 0.003])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_directions_by_an_integral_over_one_kick(noise, momentum):
    # leaves by the second if |N_1| < (R_1/s_1) (s_2 |N_2|/R_2)^q
    noises = np.array([noise, 2 * noise])
    s = theory.kick_std(0.02, BOX["curvatures"], noises, momentum=momentum)
    rates = theory.growth_rate(0.02, BOX["curvatures"], momentum=momentum)
    q, scale = rates[0] / rates[1], 1 / s[0] * (s[1] / 0.5) ** (rates[0] / rates[1])
    want, _ = integrate.quad(
        lambda x: 2 * stats.norm.pdf(x) * (1 - 2 * special.ndtr(-scale * x**q)), 0, 12, epsabs=1e-13, limit=400
    )
    got = theory.box_exit_probabilities(**BOX, noises=noises, momentum=momentum)
    assert abs(got[1] - want) < 1e-11, f"P {got[1]}, integral {want}"
    assert abs(got.sum() - 1) < 1e-12, f"sum {got.sum()}"


@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0), (0.01, -0.08, 0.3)])
def test_box_lies_between_the_ties_of_the_lattice(start):
    curvatures, noises, radii = [-1.0, -0.6, -0.3], [0.05, 0.05, 0.1], [1.0, 2.0, 1.0]
    got = theory.box_exit_probabilities(0.02, curvatures, noises, radii, start)
    each = zip(curvatures, noises, radii, start, strict=True)
    alive = np.array([theory.survival(np.arange(8000), 0.02, *numbers) for numbers in each])
    leaving = alive[:, :-1] - alive[:, 1:]
    for i in range(3):
        others = np.prod(np.delete(alive, i, 0), 0)
        least, most = leaving[i] @ others[1:], leaving[i] @ others[:-1]
        assert least < got[i] < most < least + 0.03, f"direction {i}: {got[i]} is not in ({least}, {most})"
        # ties split evenly are right to the next order in ln a
        assert abs(got[i] - (least + most) / 2) < 1e-4, f"direction {i}: {got[i]}, {least} and {most}"
    assert abs(got.sum() - 1) < 1e-12


def test_equal_directions_share():
    got = theory.box_exit_probabilities(0.1, [-1.0] * 4, [0.01] * 4, [1.0] * 4)
    assert np.allclose(got, 0.25, rtol=1e-12), f"{got}"
    assert theory.box_exit_probabilities(0.1, [-1.0], [0.01], [1.0]) == pytest.approx([1.0], rel=1e-12)


def test_weak_exit_is_the_leading_order():
    ratios = []
    for noise in (1e-2, 1e-4, 1e-6):
        noises = np.array([noise, noise])
        ratios.append(theory.weak_exit_probability(**BOX, noises=noises))
        ratios[-1] /= theory.box_exit_probabilities(**BOX, noises=noises)[1]
    assert abs(ratios[2] - 1) < 1e-6, f"closed form over integral: {ratios}"
    assert abs(ratios[0] - 1) > 10 * abs(ratios[1] - 1), f"it must converge as the noise falls: {ratios}"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.perturbed_survival(1, 0.1, -1.0, 0.1, 3, 1.0, shape="cube"), "shape"),
        (lambda: theory.perturbed_survival(1, 0.1, -1.0, 0.1, 1, 1.0, shape="sphere"), "dimension"),
        (lambda: theory.perturbed_survival(1, 0.1, -1.0, 0.1, 3, 1.0, 1.0), "start"),
        (lambda: theory.perturbed_mean_exit_step(0.1, 1.0, 0.1, 3, 1.0), "curvature"),
        (lambda: theory.perturbed_exit_step_variance(0.1, -1.0, 0.0, 3, 1.0), "kick_radius"),
        (lambda: theory.langevin_noise(0.0, 1.0), "lr"),
        (lambda: theory.langevin_noise(0.1, -1.0), "temperature"),
        (lambda: theory.box_exit_probabilities(0.1, [-1.0, -2.0], [0.1], [1.0, 1.0]), "noises"),
        (lambda: theory.box_exit_probabilities(0.1, [-1.0], [0.1], [1.0], [1.0]), "start"),
        (lambda: theory.weak_exit_probability(0.1, [-1.0, -2.0], [0.1, 0.1], [1.0, 1.0]), "more negative first"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
