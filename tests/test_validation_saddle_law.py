"""Every closed form of a saddle with additive noise against simulated chains, each from a seed of its own."""

import math

import numpy as np
import pytest
import torch

from escape import (
    Above,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    MiniBatch,
    Projection,
    QuadraticSaddle,
    SquaredDistance,
    SquaredProjection,
    simulate,
    theory,
)

pytestmark = pytest.mark.validation
LR, CURVATURE, NOISE, RADIUS = 0.1, -1.0, 0.01, 1.0
CHAINS = 20_000
POINT = torch.zeros(1, dtype=torch.float64)
S = theory.kick_std(LR, CURVATURE, NOISE)
HEAVY, NESTEROV = {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}


def saddle(curvatures, noises, oracle):
    """A quadratic saddle whose batch gradient has the noises asked for under this oracle."""
    kappa = theory.kappa(oracle.batch_size, 1000, oracle.replacement)
    return QuadraticSaddle.additive(curvatures, [noise / math.sqrt(kappa) for noise in noises])


def engine_exits(seed, oracle=None, optimizer=None, start=POINT, curvatures=(CURVATURE,), **more):
    """Dataset of chains that run until they are outside."""
    oracle, d, cut = oracle or GaussianNoise(4), len(curvatures), "steps" in more
    more = {"steps": 900, "chains": CHAINS, "until": Above(SquaredDistance(torch.zeros(d)), RADIUS**2), **more}
    landscape = saddle(curvatures, [NOISE] * d, oracle)
    data = simulate(landscape, oracle, optimizer or GradientDescent(LR), start, seed=seed, **more)
    assert cut or (data.status.values == 1).all(), "the law is that of chains that all leave"
    return data


def coordinate(seed, steps, optimizer=None, start=0.0, curvature=CURVATURE, noise=NOISE, oracle=None):
    """One coordinate of all chains at the steps asked for, (steps, chains); nobody leaves."""
    oracle = oracle or MiniBatch(4)
    data = simulate(
        saddle([curvature], [noise], oracle), oracle, optimizer or GradientDescent(LR), POINT + start,
        steps=max(steps), chains=CHAINS, observe={"x": Projection(POINT, torch.ones(1))}, seed=seed,
    )  # fmt: skip
    return data.x.values[list(steps)]


def nesterov_exits(seed, start=0.0, radius=RADIUS, chains=CHAINS):
    """Exit steps and places under Nesterov's momentum and Gaussian noise."""
    rng = np.random.default_rng(seed)
    x, v, inside = np.full(chains, start), np.zeros(chains), np.arange(chains)
    step, place = np.zeros(chains), np.zeros(chains)
    for t in range(1, 2000):
        ahead = x + 0.9 * v
        new = ahead - LR * (CURVATURE * ahead + NOISE * rng.standard_normal(len(x)))
        x, v, out = new, new - x, np.abs(new) >= radius
        step[inside[out]], place[inside[out]] = t, x[out]
        x, v, inside = x[~out], v[~out], inside[~out]
        if not len(inside):
            return step, place
    raise AssertionError("chains are still inside")


def nesterov_coordinate(seed, steps, start=0.0, curvature=CURVATURE):
    """One coordinate under Nesterov's momentum, (steps, chains)."""
    rng = np.random.default_rng(seed)
    x, v, xs = np.full(CHAINS, start), np.zeros(CHAINS), []
    for _ in range(max(steps) + 1):
        xs.append(x)
        ahead = x + 0.9 * v
        new = ahead - LR * (curvature * ahead + NOISE * rng.standard_normal(CHAINS))
        x, v = new, new - x
    return np.array(xs)[list(steps)]


def mean_error(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def variance_error(values):
    """Variance and its standard error, for any law."""
    away = (values - values.mean()) ** 2
    return away.mean(), away.std() / math.sqrt(len(values))


def std_error(values):
    variance, error = variance_error(values)
    return math.sqrt(variance), error / (2 * math.sqrt(variance))


def share_error(yes, expected):
    return np.mean(yes), math.sqrt(expected * (1 - expected) / len(yes))


def beside(measured, predicted):
    """Measured, predicted and the standard error, in the order of `compare`."""
    return measured[0], predicted, measured[1]


# Moments.


@pytest.mark.parametrize(
    ("seed", "curvature", "optimizer", "how"),
    [
        (101, -1.0, None, {}),
        (102, 0.5, None, {}),
        (103, -1.0, HeavyBall(LR, 0.9), HEAVY),
        (104, 0.5, HeavyBall(LR, 0.9), HEAVY),
    ],
)
def test_mean_square(seed, curvature, optimizer, how, compare):
    (x,) = coordinate(seed, [30], optimizer, 0.004, curvature)
    predicted = theory.mean_square(30, LR, curvature, NOISE, 0.004, **how)
    compare(theory.mean_square, f"curvature {curvature:g} {how}", *beside(mean_error(x**2), predicted))


def test_mean_square_nesterov(compare):
    (x,) = nesterov_coordinate(105, [25], 0.004)
    predicted = theory.mean_square(25, LR, CURVATURE, NOISE, 0.004, **NESTEROV)
    compare(theory.mean_square, "Nesterov", *beside(mean_error(x**2), predicted))


def test_total_mean_square(compare):
    oracle, curvatures, noises = MiniBatch(4, replacement=True), (-1.0, -0.3, 0.8), (0.01, 0.05, 0.2)
    data = simulate(
        saddle(curvatures, noises, oracle), oracle, GradientDescent(LR), torch.zeros(3, dtype=torch.float64),
        steps=30, chains=CHAINS, seed=106,
    )  # fmt: skip
    measured = mean_error((data.final.values**2).sum(1))
    compare(
        theory.total_mean_square,
        "three directions",
        *beside(measured, theory.total_mean_square(30, LR, curvatures, noises)),
    )


def growth(first, last, steps):
    """Mean growth per step of the logarithm of a mean, and its standard error by the delta method."""
    error = (last / last.mean() - first / first.mean()).std() / math.sqrt(len(last))
    return math.log(last.mean() / first.mean()) / steps, error / steps


def test_growth_factor(compare):
    first, last = coordinate(107, [0, 40], start=0.003)
    log, error = growth(first, last, 40)
    compare(
        theory.growth_factor, "mean of SGD", math.exp(log), theory.growth_factor(LR, CURVATURE), math.exp(log) * error
    )
    predicted = theory.growth_factor(LR, CURVATURE, **HEAVY)
    # the other mode has fallen by (z-/z+)^50 = 1e-14
    log, error = growth(*coordinate(108, [50, 60], HeavyBall(LR, 0.9), 0.003), 10)
    compare(theory.growth_factor, "heavy ball", math.exp(log), predicted, math.exp(log) * error)


def test_growth_rate(compare):
    # a^-2t of the moment is still to come: 1e-7 of the rate
    log, error = growth(*(coordinate(109, [90, 120]) ** 2), 30)
    compare(theory.growth_rate, "SGD", log, theory.growth_rate(LR, CURVATURE), error)
    log, error = growth(*(coordinate(110, [50, 60], HeavyBall(LR, 0.9)) ** 2), 10)
    compare(theory.growth_rate, "heavy ball", log, theory.growth_rate(LR, CURVATURE, **HEAVY), error)


def test_local_growth_rate(compare):
    # a difference over two steps is off the slope by a sixth of its second derivative, a seventh of the error below
    log, error = growth(*(coordinate(111, [9, 11], start=0.001) ** 2), 2)
    predicted = theory.local_growth_rate(10, LR, CURVATURE, NOISE, 0.001)
    compare(theory.local_growth_rate, "step 10", log, predicted, error)


@pytest.mark.parametrize(
    ("seed", "optimizer", "how"),
    [(112, None, {}), (113, HeavyBall(LR, 0.9), HEAVY), (114, HeavyBall(LR, 0.5), {"momentum": 0.5})],
)
def test_kick_std(seed, optimizer, how, compare):
    (x,) = coordinate(seed, [120], optimizer)
    measured = std_error(x / theory.growth_factor(LR, CURVATURE, **how) ** 120)
    compare(theory.kick_std, f"{how}", *beside(measured, theory.kick_std(LR, CURVATURE, NOISE, **how)))


def test_kick_std_nesterov(compare):
    (x,) = nesterov_coordinate(115, [80])
    measured = std_error(x / theory.growth_factor(LR, CURVATURE, **NESTEROV) ** 80)
    compare(theory.kick_std, "Nesterov", *beside(measured, theory.kick_std(LR, CURVATURE, NOISE, **NESTEROV)))


def test_start_projection(compare):
    (x,) = coordinate(116, [60], HeavyBall(LR, 0.9), 0.01)
    measured = mean_error(x / 0.01 / theory.growth_factor(LR, CURVATURE, **HEAVY) ** 60)
    compare(theory.start_projection, "heavy ball", *beside(measured, theory.start_projection(LR, CURVATURE, **HEAVY)))
    (x,) = nesterov_coordinate(117, [60], 0.01)
    measured = mean_error(x / 0.01 / theory.growth_factor(LR, CURVATURE, **NESTEROV) ** 60)
    compare(theory.start_projection, "Nesterov", *beside(measured, theory.start_projection(LR, CURVATURE, **NESTEROV)))


def test_transient_factor(compare):
    # x_{t+1} - z+ x_t is the dying mode alone, at rest 1 - z+ of the start
    x = coordinate(118, [0, 1, 2, 3], HeavyBall(LR, 0.9), 0.01)
    dying = x[1:] - theory.growth_factor(LR, CURVATURE, **HEAVY) * x[:-1]
    log, error = growth(dying[0], dying[2], 2)
    predicted = theory.transient_factor(LR, CURVATURE, momentum=0.9)
    compare(theory.transient_factor, "heavy ball", math.exp(log), predicted, math.exp(log) * error)


# The exit law.

LAWS = {
    "Gaussian noise": ({}, {}),
    "mini-batches": ({"oracle": MiniBatch(4)}, {}),
    "three directions": (
        {"curvatures": (CURVATURE,) * 3, "start": torch.zeros(3, dtype=torch.float64)},
        {"directions": 3},
    ),
    "a start off the saddle": ({"start": POINT + 2 * S}, {"start": 2 * S}),
    "heavy ball": ({"optimizer": HeavyBall(LR, 0.9)}, HEAVY),
}


@pytest.mark.parametrize(("seed", "law"), list(enumerate(LAWS, 201)))
def test_mean_exit_step(seed, law, compare):
    run, how = LAWS[law]
    step = engine_exits(seed, **run).exit_step.values.astype(float)
    predicted = theory.mean_exit_step(LR, CURVATURE, NOISE, RADIUS, **how)
    compare(theory.mean_exit_step, law, *beside(mean_error(step), predicted))


@pytest.mark.parametrize(
    ("seed", "law", "at"), [(211, "mini-batches", 70), (212, "three directions", 60), (213, "heavy ball", 22)]
)
def test_survival(seed, law, at, compare):
    run, how = LAWS[law]
    predicted = theory.survival(at, LR, CURVATURE, NOISE, RADIUS, **how)
    measured = share_error(engine_exits(seed, **run).exit_step.values > at, predicted)
    compare(theory.survival, f"{law}, step {at}", *beside(measured, predicted))


@pytest.mark.parametrize(("seed", "law"), [(221, "Gaussian noise"), (222, "three directions"), (223, "heavy ball")])
def test_exit_step_variance(seed, law, compare):
    run, how = LAWS[law]
    step = engine_exits(seed, **run).exit_step.values.astype(float)
    predicted = theory.exit_step_variance(LR, CURVATURE, **how)
    compare(theory.exit_step_variance, law, *beside(variance_error(step), predicted))


@pytest.mark.parametrize(
    ("seed", "law", "q"), [(231, "Gaussian noise", 0.5), (232, "a start off the saddle", 0.9), (233, "heavy ball", 0.1)]
)
def test_exit_quantile(seed, law, q, compare):
    run, how = LAWS[law]
    # a radius at which the quantile is a whole number: the share of chains out by then is q
    early = theory.exit_quantile(q, LR, CURVATURE, NOISE, RADIUS, **how)
    grown = theory.growth_factor(LR, CURVATURE, **{k: v for k, v in how.items() if k == "momentum"})
    radius = RADIUS * grown ** (math.ceil(early) - early)
    at = round(float(theory.exit_quantile(q, LR, CURVATURE, NOISE, radius, **how)))
    data = engine_exits(seed, until=Above(SquaredDistance(POINT), radius**2), **run)
    compare(theory.exit_quantile, f"{law}, q = {q:g}", *beside(share_error(data.exit_step.values <= at, q), q))


def test_exit_tail_rate(compare):
    # chains still inside radius a^-t = s/10 and s/50: the law is exponential there but for 2e-3 of the error below
    first, last = (math.ceil(math.log(factor * RADIUS / S) / math.log(1.1)) for factor in (10, 50))
    step = engine_exits(241).exit_step.values
    early, late = np.sum(step > first), np.sum(step > last)
    measured = math.log(early / late) / (last - first)
    predicted = theory.exit_tail_rate(LR, CURVATURE)
    kept = math.exp(-predicted * (last - first))
    error = math.sqrt((1 - kept) / (kept * early)) / (last - first)
    compare(theory.exit_tail_rate, "from s/10 to s/50", measured, predicted, error)


def test_exit_side_probability(compare):
    predicted = theory.exit_side_probability(LR, CURVATURE, NOISE, 0.7 * S)
    data = engine_exits(242, oracle=MiniBatch(4), start=POINT + 0.7 * S)
    compare(
        theory.exit_side_probability, "SGD", *beside(share_error(data.final.values[:, 0] > 0, predicted), predicted)
    )
    predicted = theory.exit_side_probability(LR, CURVATURE, NOISE, S, **HEAVY)
    data = engine_exits(243, optimizer=HeavyBall(LR, 0.9), start=POINT + S)
    compare(
        theory.exit_side_probability,
        "heavy ball",
        *beside(share_error(data.final.values[:, 0] > 0, predicted), predicted),
    )


def test_exits_under_nesterov(compare):
    step, _ = nesterov_exits(244)
    predicted = theory.mean_exit_step(LR, CURVATURE, NOISE, RADIUS, **NESTEROV)
    compare(theory.mean_exit_step, "Nesterov", *beside(mean_error(step), predicted))
    step, _ = nesterov_exits(245, 0.003)
    predicted = theory.survival(18, LR, CURVATURE, NOISE, RADIUS, 0.003, **NESTEROV)
    compare(theory.survival, "Nesterov, off the saddle", *beside(share_error(step > 18, predicted), predicted))
    _, place = nesterov_exits(246, -0.003)
    predicted = theory.exit_side_probability(LR, CURVATURE, NOISE, -0.003, **NESTEROV)
    compare(theory.exit_side_probability, "Nesterov", *beside(share_error(place > 0, predicted), predicted))


# Schedules.

WARM_UP = np.minimum(0.01 * np.arange(1, 401), 0.1)


def scheduled(seed, lrs, noise=NOISE, start=0.0, radius=RADIUS):
    oracle = GaussianNoise(4)
    return simulate(
        saddle([CURVATURE], [noise], oracle), oracle, GradientDescent(lambda t: float(lrs[t])), POINT + start,
        steps=len(lrs), chains=CHAINS, until=Above(SquaredDistance(POINT), radius**2), seed=seed,
    )  # fmt: skip


def test_schedules(compare):
    x = scheduled(301, WARM_UP[:50], start=0.003, radius=1e6).final.values[:, 0]
    predicted = theory.mean_square_schedule(WARM_UP[:50], CURVATURE, NOISE, 0.003)[-1]
    compare(theory.mean_square_schedule, "warm-up", *beside(mean_error(x**2), predicted))
    step = scheduled(302, WARM_UP).exit_step.values
    predicted = theory.survival_schedule(WARM_UP, CURVATURE, NOISE, RADIUS)[80]
    compare(theory.survival_schedule, "warm-up", *beside(share_error(step > 80, predicted), predicted))
    step = scheduled(303, WARM_UP[:90]).exit_step.values.astype(float)
    predicted = theory.mean_exit_step_schedule(WARM_UP[:90], CURVATURE, NOISE, RADIUS)
    compare(theory.mean_exit_step_schedule, "warm-up, cut off", *beside(mean_error(step), predicted))


def test_quantile_of_a_schedule(compare):
    # the law at a whole step: the share of chains out by the median is the first to reach one half
    at = theory.exit_quantile_schedule(0.5, WARM_UP, CURVATURE, NOISE, RADIUS)
    reach = np.sqrt(theory.mean_square_schedule(WARM_UP, CURVATURE, NOISE)[int(at)]) * 0.6744897501960817
    assert theory.exit_quantile_schedule(0.5, WARM_UP, CURVATURE, NOISE, reach * 0.999999) == at
    step = scheduled(304, WARM_UP, radius=reach).exit_step.values
    compare(theory.exit_quantile_schedule, "warm-up, median", *beside(share_error(step <= at, 0.5), 0.5))


DECAY = 1 / (np.arange(300) + 1.0)


def test_decay(compare):
    # mu = 1: A_t = t + 1; separate runs, as one chain's x_t at both steps would be nearly proportional
    early = mean_error(scheduled(305, DECAY[:29], radius=1e9).final.values[:, 0] ** 2)
    late = mean_error(scheduled(306, DECAY[:299], radius=1e9).final.values[:, 0] ** 2)
    slope = math.log(late[0] / early[0]) / math.log(10)
    error = math.hypot(early[1] / early[0], late[1] / late[0]) / math.log(10)
    compare(theory.decay_growth_exponent, "mu = 1", slope, theory.decay_growth_exponent(1.0, CURVATURE), error)
    measured = std_error(scheduled(307, DECAY[:150], radius=1e9).final.values[:, 0] / 151)
    compare(theory.decay_kick_std, "mu = 1", *beside(measured, theory.decay_kick_std(1.0, 1.0, CURVATURE, NOISE)))


def test_decay_exit_quantile(compare):
    # a radius at which the quantile is a whole number, as A_t = t + 1
    radius = RADIUS * 151 / (1 + theory.decay_exit_quantile(0.3, 1.0, 1.0, CURVATURE, NOISE, RADIUS))
    at = theory.decay_exit_quantile(0.3, 1.0, 1.0, CURVATURE, NOISE, radius)
    assert at == pytest.approx(150, abs=1e-9)
    step = scheduled(308, DECAY[:160], radius=radius).exit_step.values
    compare(theory.decay_exit_quantile, "mu = 1", *beside(share_error(step <= 150, 0.3), 0.3))


# Descent after one kick, and Langevin noise.


def kicked(seed, dimension, shape, start=0.0):
    """Exit steps of batch descent after a kick of radius 0.01 in a ball or on a sphere."""
    rng = np.random.default_rng(seed)
    kick = rng.standard_normal((CHAINS, dimension))
    kick *= 0.01 / np.linalg.norm(kick, axis=1)[:, None]
    if shape == "ball":
        kick *= rng.uniform(size=(CHAINS, 1)) ** (1 / dimension)
    landscape = QuadraticSaddle.multiplicative([CURVATURE, *[0.5] * (dimension - 1)], 0.0, n=10)
    first = torch.eye(dimension, dtype=torch.float64)[0]
    data = simulate(
        landscape, FullBatch(), GradientDescent(LR), torch.from_numpy(kick) + start * first,
        steps=900, chains=CHAINS, until=Above(SquaredProjection(torch.zeros(dimension), first), RADIUS**2),
    )  # fmt: skip
    return data.exit_step.values.astype(float)


def test_perturbed_survival(compare):
    step = kicked(401, 5, "ball", 0.004)
    predicted = theory.perturbed_survival(50, LR, CURVATURE, 0.01, 5, RADIUS, 0.004)
    compare(theory.perturbed_survival, "ball, off the saddle", *beside(share_error(step > 50, predicted), predicted))


@pytest.mark.parametrize(("seed", "dimension", "shape"), [(402, 5, "ball"), (403, 3, "sphere")])
def test_perturbed_mean_exit_step(seed, dimension, shape, compare):
    predicted = theory.perturbed_mean_exit_step(LR, CURVATURE, 0.01, dimension, RADIUS, shape=shape)
    compare(theory.perturbed_mean_exit_step, shape, *beside(mean_error(kicked(seed, dimension, shape)), predicted))


def test_perturbed_exit_step_variance(compare):
    predicted = theory.perturbed_exit_step_variance(LR, CURVATURE, 0.01, 4, RADIUS, shape="sphere")
    measured = variance_error(kicked(404, 4, "sphere"))
    compare(theory.perturbed_exit_step_variance, "sphere", *beside(measured, predicted))


def test_langevin_noise(compare):
    # equipartition in a well of curvature 1: the Gibbs law's T, and the factor of discrete steps
    temperature = 1e-3
    noise = theory.langevin_noise(LR, temperature)
    (x,) = coordinate(406, [150], curvature=1.0, noise=noise, oracle=GaussianNoise(4))
    measured, error = mean_error(x**2 * (1 - LR / 2))
    # a temperature off by a part is a noise off by half of it
    slope = noise / (2 * temperature)
    compare(theory.langevin_noise, "equipartition", noise + slope * (measured - temperature), noise, slope * error)


# Boxes and survivors.


def box_exits(seed, curvatures, noises, radii, chains=CHAINS, lr=0.02):
    """Direction by which each chain leaves a box: the one along which it has been outside for longest."""
    rng = np.random.default_rng(seed)
    curvatures, noises, radii = (np.array(numbers)[:, None] for numbers in (curvatures, noises, radii))
    x, found = np.zeros((len(radii), chains)), []
    while x.shape[1]:
        x = (1 - lr * curvatures) * x + lr * noises * rng.standard_normal(x.shape)
        beyond = np.log(np.abs(x) / radii) / np.log1p(-lr * curvatures)
        out = (beyond >= 0).any(0)
        found.append(beyond[:, out].argmax(0))
        x = x[:, ~out]
    return np.concatenate(found)


def test_box_exits(compare):
    box = [-1.0, -0.6, -0.8], [0.03, 0.05, 0.01], [1.0, 1.0, 0.5]
    predicted = theory.box_exit_probabilities(0.02, *box)[1]
    measured = share_error(box_exits(501, *box) == 1, predicted)
    compare(theory.box_exit_probabilities, "second of three", *beside(measured, predicted))


def test_weak_exit(compare):
    box = [-1.0, -0.6], [0.003, 0.003], [1.0, 1.0]
    predicted = theory.weak_exit_probability(0.02, *box)
    measured = share_error(box_exits(502, *box) == 1, predicted)
    compare(theory.weak_exit_probability, "noise .003", *beside(measured, predicted))


@pytest.mark.parametrize(
    ("seed", "at", "law"), [(511, 60, "Gaussian noise"), (512, 95, "a start off the saddle"), (513, 25, "heavy ball")]
)
def test_survivors(seed, at, law, compare):
    run, how = LAWS[law]
    data = engine_exits(seed, steps=at, **run)
    left = data.final.values[data.status.values == 0, 0]
    predicted = theory.survivor_mean_square(at, LR, CURVATURE, NOISE, RADIUS, **how)
    compare(theory.survivor_mean_square, f"{law}, step {at}", *beside(mean_error(left**2), predicted))
