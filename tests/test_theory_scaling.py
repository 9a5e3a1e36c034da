"""Scaling rules and noise scales against finite sums, direct minimisation and exact laws."""

import itertools
import math

import numpy as np
import pytest

from escape import theory

LARGE = {"minimum": 1.0, "saddle": -1.0, "noise": 1e-6, "radius": 1.0}
RULES = {"fixed": 0.0, "sqrt": 0.5, "linear": 1.0}


@pytest.mark.parametrize("rule", RULES)
def test_exact_tends_to_leading_at_small_lr(rule):
    k, gaps = 4, {}
    for lr in (2e-3, 1e-3):
        found = theory.batch_scaling(rule, k, lr, 8, **LARGE)
        gaps[lr] = {name: factor.exact / factor.leading - 1 for name, factor in found.items()}
    for name, gap in gaps[1e-3].items():
        if name.startswith("saddle_exit"):
            continue  # a logarithm away, tested below
        assert abs(gap) < 2e-3, f"{rule}, {name}: exact over leading is 1 + {gap}"
        assert abs(gap) < 1e-12 or 1.9 < gaps[2e-3][name] / gap < 2.1, f"{rule}, {name}: the gap must fall like lr"
    # the rows of the popular table: what each rule keeps
    kept = {"fixed": "drift_per_step", "sqrt": "update_covariance", "linear": "drift_per_epoch"}[rule]
    assert theory.batch_scaling(rule, k, 0.1, 8, **LARGE)[kept] == (1.0, 1.0)


def test_table_of_powers():
    q = {rule: theory.batch_scaling(rule, 16, 1e-3, 2, **LARGE) for rule in RULES}
    table = {
        "gradient_variance": (-1, -1, -1),
        "update_covariance": (-1, 0, 1),
        "drift_per_step": (0, 0.5, 1),
        "drift_per_epoch": (-1, -0.5, 0),
        "temperature": (-1, -0.5, 0),
        "stationary_variance": (-1, -0.5, 0),
        "saddle_kick_variance": (-1, -0.5, 0),
        "saddle_exit_steps": (0, -0.5, -1),
        "saddle_exit_epochs": (1, 0.5, 0),
        "stability": (0, 0.5, 1),
    }
    for name, powers in table.items():
        got = [math.log(q[rule][name].leading, 16) for rule in RULES]
        assert np.allclose(got, powers), f"{name}: powers {got}, want {powers}"


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_exact_factors_of_a_finite_sum(rule, replacement):
    """Every batch of six terms enumerated; stationary variance and kick from a long second-moment recursion."""
    terms, lr, b, k = np.random.default_rng(4).normal(size=6), 0.3, 2, 2
    terms -= terms.mean()
    found = theory.batch_scaling(rule, k, lr, b, 6, replacement, minimum=0.8, saddle=-0.5, noise=1e-4, radius=1.0)
    variance, stationary, kick = [], [], []
    for size, rate in ((b, lr), (b * k, lr * k ** RULES[rule])):
        draws = itertools.product(terms, repeat=size) if replacement else itertools.combinations(terms, size)
        variance.append(np.var([np.mean(batch) for batch in draws]))
        level, gathered, steps = 0.0, 0.0, 400
        for _ in range(steps):
            level = (1 - rate * 0.8) ** 2 * level + rate**2 * variance[-1]
            gathered = (1 + rate * 0.5) ** 2 * gathered + rate**2 * variance[-1]
        stationary.append(level)
        kick.append(gathered / (1 + rate * 0.5) ** (2 * steps))
    rate = k ** RULES[rule]
    want = {
        "gradient_variance": variance[1] / variance[0],
        "update_covariance": rate**2 * variance[1] / variance[0],
        "temperature": rate * variance[1] / variance[0],
        "stationary_variance": stationary[1] / stationary[0],
        "saddle_kick_variance": kick[1] / kick[0],
        "drift_per_epoch": rate / k,
        "stability": rate,
    }
    for name, value in want.items():
        assert abs(found[name].exact / value - 1) < 1e-10, f"{rule}, {name}: {found[name].exact}, enumerated {value}"
    noises = 1e-4, 1e-4 * math.sqrt(variance[1] / variance[0])
    chain = [
        theory.GaussianChain(lambda x, r=r: (1 + 0.5 * r) * x, r * s * 300, -1.001, 1.001).mean_exit_step(
            0.0, -1.0, 1.0
        )
        for r, s in ((lr, noises[0]), (lr * rate, noises[1]))
    ]
    louder = theory.batch_scaling(rule, k, lr, b, 6, replacement, minimum=0.8, saddle=-0.5, noise=0.03, radius=1.0)
    assert abs(louder["saddle_exit_steps"].exact / (chain[1] / chain[0]) - 1) < 2e-3
    assert louder["saddle_exit_epochs"].exact == pytest.approx(k * louder["saddle_exit_steps"].exact, rel=1e-14)


def test_exit_steps_tend_to_the_leading_power_with_the_logarithm():
    """Twice the ln(R/s) halves the distance from the leading power."""
    gaps = []
    for noise in (1e-8, 1e-16):
        found = theory.batch_scaling("fixed", 4, 0.01, 8, minimum=1.0, saddle=-1.0, noise=noise, radius=1.0)
        gaps.append(found["saddle_exit_steps"].exact - 1)
    assert gaps[0] > 0.02
    assert 1.8 < gaps[0] / gaps[1] < 2.2, f"gaps {gaps}"


def test_edge_of_stability():
    lr, h = 0.05, 4.0
    assert theory.largest_stable_scaling("fixed", lr, h) == np.inf
    for rule, want in (("sqrt", 100.0), ("linear", 10.0)):
        k = theory.largest_stable_scaling(rule, lr, h)
        assert abs(k / want - 1) < 1e-12, f"{rule}: {k}, want {want}"
    edge = {k: theory.batch_scaling("linear", k, lr, 1, minimum=h, saddle=-1, noise=1e-3, radius=1) for k in (9, 10)}
    assert np.isfinite(edge[9]["stationary_variance"].exact)
    assert edge[10]["stationary_variance"].exact == np.inf


def quadratic():
    rng = np.random.default_rng(5)
    root = rng.normal(size=(3, 3))
    hessian = root @ root.T
    terms = rng.normal(size=(7, 3)) * [1, 3, 0.3] + [0.5, -1, 2]
    gradient = terms.mean(0)
    covariance = (terms - gradient).T @ (terms - gradient) / len(terms)
    return gradient, covariance, hessian, terms


@pytest.mark.parametrize("replacement", [False, True])
def test_decrease_is_the_mean_over_all_batches(replacement):
    gradient, covariance, hessian, terms = quadratic()
    lr, size = 0.07, 2
    draws = list(itertools.product(terms, repeat=size) if replacement else itertools.combinations(terms, size))
    batches = np.array(draws).mean(1)
    want = np.mean([lr * gradient @ g - lr**2 / 2 * g @ hessian @ g for g in batches])
    got = theory.one_step_decrease(lr, gradient, covariance, hessian, size, 7, replacement)
    assert abs(got / want - 1) < 1e-12, f"decrease {got}, over all {len(batches)} batches {want}"
    best = theory.best_lr(gradient, covariance, hessian, size, 7, replacement)
    rates = best * np.array([0.99, 1.0, 1.01])
    gains = theory.one_step_decrease(rates, gradient, covariance, hessian, size, 7, replacement)
    assert gains.argmax() == 1, f"gains {gains} about the best learning rate"


def test_noise_scales_give_the_best_step_and_its_gain():
    gradient, covariance, hessian, _ = quadratic()
    scales = theory.noise_scales(gradient, covariance, hessian)
    whole = theory.best_lr(gradient, covariance, hessian, 10**12)
    assert abs(scales.largest_lr / whole - 1) < 1e-10
    most = theory.one_step_decrease(whole, gradient, covariance, hessian, 10**12)
    for size in (1, 8, 64):
        best = theory.best_lr(gradient, covariance, hessian, size)
        gain = theory.one_step_decrease(best, gradient, covariance, hessian, size)
        share = 1 / (1 + scales.curved / size)
        assert abs(best / scales.largest_lr / share - 1) < 1e-10
        assert abs(gain / most / share - 1) < 1e-10, f"b = {size}: gain {gain / most} of the whole, want {share}"
    # noise and gradient are of the same size in a batch of the simple scale
    mean_square = np.trace(covariance) / scales.simple
    assert abs(mean_square / (gradient @ gradient) - 1) < 1e-12
    round_ = theory.noise_scales(gradient, covariance, 3 * np.eye(3))
    assert abs(round_.simple / round_.curved - 1) < 1e-12, "equal where all curvatures are"
    assert theory.best_lr(gradient, covariance, -hessian, 4) == np.inf


@pytest.mark.parametrize("ell", [1, 2, 5.5])
def test_svag_keeps_the_mean_and_scales_the_covariance(ell):
    first, second = theory.svag_coefficients(ell)
    values = np.array([first * x + second * y for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    assert abs(first + second - 1) < 1e-14
    assert abs(values.var() - ell) < 1e-13, f"variance {values.var()} times that of one gradient, want {ell}"
    assert theory.svag_coefficients(1) == (1, 0)


def test_adam_scaling():
    got = theory.adam_scaling(4, 1e-3, 0.9, 0.99, 1e-6)
    assert np.allclose(got, (2e-3, 0.6, 0.96, 5e-7), rtol=1e-12)
    back = theory.adam_scaling(1 / 4, *got)
    assert np.allclose(back, (1e-3, 0.9, 0.99, 1e-6), rtol=1e-12), "scaling back undoes it"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: theory.batch_scaling("cubic", 2, 0.1, 4, **LARGE), "rule is"),
        (lambda: theory.batch_scaling("sqrt", 1.3, 0.1, 4, **LARGE), "whole"),
        (lambda: theory.batch_scaling("sqrt", 2, 2.1, 4, **LARGE), "stationary"),
        (lambda: theory.batch_scaling("sqrt", 2, 0.1, 4, 8, **LARGE), "noise"),
        (lambda: theory.batch_scaling("sqrt", 4, 0.1, 4, 8, **LARGE), "at most"),
        (lambda: theory.largest_stable_scaling("sqrt", 0.1, -1.0), "curvature is"),
        (lambda: theory.noise_scales([0.0, 0.0], np.eye(2), np.eye(2)), "above zero"),
        (lambda: theory.noise_scales([1.0], np.eye(2), np.eye(2)), "must be"),
        (lambda: theory.svag_coefficients(0.5), "ell is"),
        (lambda: theory.adam_scaling(20, 1e-3, 0.9), "beta1"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
