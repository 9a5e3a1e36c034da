"""Degenerate saddles: closed forms against the exact iteration, the double integral and the exact chain."""

import numpy as np
import pytest
from scipy import integrate

from escape import theory
from escape.theory.degenerate import _overshoot


def iterated(lr, degree, starts, coefficient=1.0, radius=1.0):
    x, step = np.array(starts), np.zeros(len(starts))
    while (inside := x < radius).any():
        step += inside
        x = np.where(inside, x + lr * coefficient * x ** (degree - 1), x)
    return step


def chain_steps(lr, degree, noise, radius, two_sided, start=0.0, coefficient=1.0):
    length = (lr * noise**2 / 2 / coefficient) ** (1 / degree)
    low = -1.001 * radius if two_sided else -7 * length
    sign = np.sign if two_sided else np.ones_like
    chain = theory.GaussianChain(
        lambda x: x + lr * coefficient * sign(x) * np.abs(x) ** (degree - 1), lr * noise, low, 1.001 * radius, (0.0,)
    )
    return chain.mean_exit_step(start, -radius if two_sided else None, radius)


@pytest.mark.parametrize("degree", [2.5, 3, 4])
def test_gd_exit_step_against_the_iteration(degree):
    starts = 10 ** np.random.default_rng(1).uniform(-1.2, -0.02, 1000)
    # the ceiling is missed by one step in a share (k R^(n-2))^2 / 3 of starts
    for lr, share in ((0.3, 0.06), (0.1, 0.01), (0.03, 0.003)):
        step = iterated(lr, degree, starts)
        off = theory.degenerate_gd_exit_step(lr, degree, 1.0, starts) - step
        assert np.abs(off).max() <= 1, f"n = {degree}, lr = {lr}: off by {off[np.abs(off).argmax()]} steps"
        assert (off != 0).mean() <= share, f"n = {degree}, lr = {lr}: {(off != 0).sum()} of 1000 starts are off"
    # the orders that the flow leaves out are seen: without them all late starts would be off
    flow = np.ceil((starts ** (2 - degree) - 1) / ((degree - 2) * 0.1))
    assert (flow != iterated(0.1, degree, starts)).mean() > 0.5


def test_gd_exit_step_scales_and_ends():
    start, c, radius = 0.05, 3.0, 0.7
    got = theory.degenerate_gd_exit_step(0.02, 3.5, radius, start, c)
    assert got == iterated(0.02, 3.5, [start], c, radius)[0], f"coefficient and radius: {got}"
    ends = theory.degenerate_gd_exit_step(0.1, 3, 1.0, np.array([0.0, 1.0, -2.0, 0.999]))
    assert ends.tolist() == [np.inf, 0, 0, 1], f"from the saddle, the edge, outside and just inside: {ends}"
    assert theory.degenerate_gd_exit_step(0.1, 3, 1.0, -0.2) == theory.degenerate_gd_exit_step(0.1, 3, 1.0, 0.2)


@pytest.mark.parametrize("degree", [2.5, 3.0, 4.0])
def test_constants_against_the_double_integral(degree):
    """Inner integral over the way z = s - q back from s, so that nothing overflows; the other quadrant is a product."""

    def inner(s):
        back = min(s, 60 * s ** (1 - degree))  # e^-60 is left out
        return integrate.quad(lambda q: np.exp(((s - q) ** degree - s**degree) / degree), 0, back, epsrel=1e-10)[0]

    near = integrate.quad(inner, 0, 12, limit=200)[0]
    far = 12 ** (2 - degree) / (degree - 2) + (degree - 1) * 12 ** (2 - 2 * degree) / (2 * degree - 2)
    quadrant = integrate.quad(lambda y: np.exp(-(y**degree) / degree), 0, np.inf)[0] ** 2
    want = near + far, near + far + quadrant, 2 * (near + far) + quadrant
    got = [theory.degenerate_exit_constant(degree, *kind) for kind in ((True,), (False,), (False, True))]
    assert np.allclose(got, want, rtol=1e-5), f"n = {degree}: closed forms {got}, quadrature {want}"


def test_constants_of_the_cubic_are_as_one_to_two_to_three():
    one, two, three = (theory.degenerate_exit_constant(3, *kind) for kind in ((True,), (False,), (False, True)))
    assert abs(two / one - 2) < 1e-12
    assert abs(three / one - 3) < 1e-12


@pytest.mark.parametrize(("degree", "two_sided"), [(4, True), (3, True), (3, False), (2.5, True)])
def test_mean_exit_step_is_the_constant_less_the_radius(degree, two_sided):
    lr, noise, c, radius = 1e-4, 1e-2, 2.0, 1.0
    spread = lr * noise**2 / 2
    time = lr * theory.degenerate_mean_exit_step(lr, degree, noise, radius, coefficient=c, two_sided=two_sided)
    constant = theory.degenerate_exit_constant(degree, two_sided) * spread ** (2 / degree - 1) * c ** (-2 / degree)
    want = constant - radius ** (2 - degree) / ((degree - 2) * c)
    # what is left is the delay of a few steps
    assert abs(time - want) < 12 * lr, f"n = {degree}: time {time}, constant less radius {want}"


@pytest.mark.parametrize(("degree", "two_sided"), [(4, True), (3, True), (3, False)])
def test_mean_exit_step_against_the_chain(degree, two_sided):
    """Drift carries the chain over the radius: what is left of the error vanishes like lr, far below half a step."""
    spread, errors = 1e-4, []
    for lr in (0.2, 0.1, 0.05):
        noise = np.sqrt(2 * spread / lr)
        got = theory.degenerate_mean_exit_step(lr, degree, noise, 1.0, two_sided=two_sided)
        errors.append(got - chain_steps(lr, degree, noise, 1.0, two_sided))
    assert np.abs(errors).max() < 0.12, f"errors in steps {errors}"
    assert 1.6 < errors[0] / errors[1] < 2.3, f"errors in steps {errors}: they should halve"
    assert 1.6 < errors[1] / errors[2] < 2.3, f"errors in steps {errors}: they should halve"


@pytest.mark.parametrize(("two_sided", "start"), [(True, 0.0), (True, -0.06), (False, 0.0), (False, -0.2)])
def test_mean_exit_step_where_noise_carries_over(two_sided, start):
    """A radius of two noise lengths, and starts off the saddle: the error falls like sqrt(lr)."""
    errors = []
    for lr in (0.2, 0.05):
        noise = np.sqrt(2e-4 / lr)
        got = theory.degenerate_mean_exit_step(lr, 3, noise, 0.1, start, 1.5, two_sided)
        errors.append(got - chain_steps(lr, 3, noise, 0.1, two_sided, start, 1.5))
    assert np.abs(errors).max() < 0.15, f"errors in steps {errors}"
    assert abs(errors[1]) < 0.75 * abs(errors[0]), f"errors in steps {errors}: a quarter of lr should halve them"


def test_limit_of_the_chain_is_the_diffusion():
    """Richardson's limit lr -> 0 of the chain's time at fixed temperature is the time of the constant."""
    spread, times = 1e-4, []
    for lr in (0.1, 0.05):
        times.append(lr * chain_steps(lr, 4, np.sqrt(2 * spread / lr), 1.0, True))
    limit = 2 * times[1] - times[0]
    want = theory.degenerate_exit_constant(4) * spread**-0.5 - 0.5
    assert abs(limit / want - 1) < 1e-4, f"chain {times}, limit {limit}, diffusion {want}"


def test_overshoot_of_a_walk():
    """Against a simulated ladder, the drift-dominated limit, and across the switch of formulas."""
    rng = np.random.default_rng(3)
    x = np.zeros(200_000)
    while (inside := x < 8).any():
        x[inside] += rng.normal(0.7, 1, inside.sum())
    error = (x - 8).std() / np.sqrt(len(x))
    assert abs((x - 8).mean() - _overshoot(0.7)) < 4 * error, f"simulated {(x - 8).mean()} +- {error}"
    assert abs(_overshoot(30.0) - (900 + 1) / 60) < 1e-12, "a walk that never steps back"
    assert abs(_overshoot(0.05 * (1 + 1e-9)) - _overshoot(0.05 * (1 - 1e-9))) < 1e-6, "two formulas meet at 0.05"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.degenerate_gd_exit_step(0.1, 2, 1.0, 0.1), "degree is 2"),
        (lambda: theory.degenerate_gd_exit_step(0.0, 3, 1.0, 0.1), "lr is"),
        (lambda: theory.degenerate_exit_constant(3, True, True), "one-sided"),
        (lambda: theory.degenerate_exit_constant(np.nan), "degree is"),
        (lambda: theory.degenerate_mean_exit_step(0.1, 3, 0.0, 1.0), "noise is"),
        (lambda: theory.degenerate_mean_exit_step(0.1, 3, 0.1, 1.0, start=-1.5), "inside"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
