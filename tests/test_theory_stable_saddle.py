"""Exit from a saddle under stable noise: limits, two routes to every constant, refusals."""

import math

import numpy as np
import pytest
from scipy import special

from escape import theory

LR, H = 0.1, -1.0
LOG = math.log(1.1)


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.3, 1.8])
def test_logarithm_of_a_stable_variable(alpha):
    """E ln|S| and Var ln|S| from the law that survival holds, against the closed forms in mean and variance.

    E ln|S| = ∫ P(|S| > e^y) dy over y > 0 less ∫ P(|S| < e^y) dy over y < 0, and the same with 2y for the square.
    """
    # With lr so that ln a = ln 1.1, and a scale so that s = 1.
    scale = np.expm1(alpha * LOG) ** (1 / alpha) / LR
    node, weight = np.polynomial.legendre.leggauss(20)
    edges = np.concatenate([np.linspace(-40, 0, 9), np.array([1.0, 3.0, 8.0, 25.0]) / min(alpha, 1)])
    half = np.diff(edges)[:, None] / 2
    y, w = (edges[:-1, None] + half * (1 + node)).ravel(), (half * weight).ravel()
    inside = np.array([float(theory.stable_saddle_survival(0, LR, H, alpha, scale, r)) for r in np.exp(y)])
    excess = np.where(y > 0, 1 - inside, -inside)
    mean, square = w @ excess, w @ (2 * y * excess)
    said = (0.5 - float(theory.stable_saddle_exit_step(LR, H, alpha, scale, 1.0))) * LOG
    assert said == pytest.approx(mean, abs=1e-6)
    spread = (float(theory.stable_saddle_exit_variance(LR, H, alpha)) - 1 / 12) * LOG**2
    assert spread == pytest.approx(square - mean**2, rel=1e-6)


def test_two_is_gaussian():
    noise, radius = math.sqrt(2) * 0.01, 1.0
    assert theory.stable_kick_scale(LR, H, 2.0, 0.01) * math.sqrt(2) == pytest.approx(
        theory.kick_std(LR, H, noise), rel=1e-14
    )
    for k in (1, 2, 5):
        mean = theory.mean_exit_step(LR, H, noise, radius, directions=k)
        assert theory.stable_saddle_exit_step(LR, H, 2.0, 0.01, radius, k) == pytest.approx(mean, rel=1e-13)
        variance = theory.exit_step_variance(LR, H, directions=k)
        assert theory.stable_saddle_exit_variance(LR, H, 2.0, k) == pytest.approx(variance, rel=1e-13)
    t = np.arange(0, 400, 7)
    mine = theory.stable_saddle_survival(t, LR, H, 2.0, 0.01, radius)
    assert np.allclose(mine, theory.survival(t, LR, H, noise, radius), rtol=1e-12, atol=0)


def test_one_is_cauchy():
    t, s = np.arange(0, 500, 11), 0.3
    reach = np.exp(-t * LOG) / theory.stable_kick_scale(LR, H, 1.0, s)
    assert np.allclose(theory.stable_saddle_survival(t, LR, H, 1.0, s, 1.0), 2 / np.pi * np.arctan(reach), rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.89, 0.91, 1.05, 1.5, 1.95])
def test_survival_by_fourier(alpha):
    """P(|S| < r) = (2/π) ∫ sin(rt)/t exp(−t^α) dt, on both sides of every change of method."""
    scale = np.expm1(alpha * LOG) ** (1 / alpha) / LR  # so that s = 1
    last = 40 ** (1 / alpha)
    edges = np.unique(np.concatenate([[0.0], np.geomspace(1e-14, last, 500)]))
    node, weight = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges)[:, None] / 2
    t = edges[:-1, None] + half * (1 + node)
    for reach in (1e-9, 1e-4, 0.0999, 0.1001, 1.0):
        if reach * last > 500:  # too many oscillations for this grid
            continue
        exact = 2 / np.pi * (half * weight * np.sin(reach * t) / t * np.exp(-(t**alpha))).sum()
        assert theory.stable_saddle_survival(0, LR, H, alpha, scale, reach) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.4, 0.8, 1.0, 1.3, 1.8])
def test_early_exits_are_single_jumps(alpha):
    """P(|S| > r) ~ 2c/r^α far out, and continuous where the method changes."""
    scale = np.expm1(alpha * LOG) ** (1 / alpha) / LR  # so that s = 1

    def beyond(reach):
        return 1 - theory.stable_saddle_survival(0, LR, H, alpha, scale, reach)

    reach = 1e5 ** (1 / alpha)
    assert beyond(reach) == pytest.approx(2e-5 * theory.stable_tail_constant(alpha), rel=1e-4)
    assert beyond(99.999) == pytest.approx(beyond(100.001) * (1 + 2e-5 * alpha), rel=1e-6)


def test_late_survival_is_exponential():
    alpha, s = 1.5, 0.01
    kick = theory.stable_kick_scale(LR, H, alpha, s)
    for t in (150, 300, 600):
        late = 2 / math.pi * special.gamma(1 + 1 / alpha) * math.exp(-t * LOG) / kick
        assert theory.stable_saddle_survival(t, LR, H, alpha, s, 1.0) == pytest.approx(late, rel=1e-2)


def test_a_kick_is_the_sum_of_its_parts():
    alpha, scale = 1.3, 0.2
    t = np.arange(1, 2000)
    total = (((LR * scale) * 1.1 ** -t.astype(float)) ** alpha).sum() ** (1 / alpha)
    assert theory.stable_kick_scale(LR, H, alpha, scale) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alpha": 0.0}, "alpha is"),
        ({"alpha": 2.1}, r"alpha is 2.1: in \(0, 2\]"),
        ({"curvature": 1.0}, "an escape direction has a negative one"),
        ({"lr": 0.0}, "lr is"),
        ({"scale": 0.0}, "scale is"),
        ({"radius": -1.0}, "radius is"),
        ({"directions": 0}, "directions is"),
    ],
)
def test_what_is_out_of_range_is_refused(change, said):
    good = {"lr": LR, "curvature": H, "alpha": 1.5, "scale": 0.1, "radius": 1.0, "directions": 1}
    with pytest.raises(ValueError, match=said):
        theory.stable_saddle_exit_step(**(good | change))
