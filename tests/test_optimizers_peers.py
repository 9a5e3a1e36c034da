"""Every optimizer beside torch's own where it has one, and beside a loop written out where it has none."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from cases import normal, quadratic_both, random_factorization, rotation

from escape import (
    SAM,
    Adam,
    Cosine,
    DoubleWell,
    FullBatch,
    GradientDescent,
    HeavyBall,
    Langevin,
    MiniBatch,
    Nesterov,
    Oja,
    PerturbedGradientDescent,
    Projection,
    QuadraticSaddle,
    RMSProp,
    SignDescent,
    StepDecay,
    WarmUp,
    simulate,
)

F64 = torch.float64
STEPS, CHAINS = 90, 4
LANDSCAPES = {
    "double well": lambda: DoubleWell.gaussian(0.3, [1.0, 2.0], n=20),
    "factorization": lambda: random_factorization(F64, n=20, d=3),
    "saddle": lambda: quadratic_both(F64, rotation(3, 1)),
}


@dataclass(frozen=True)
class Kept(MiniBatch):
    """Mini-batches that are written down as they are drawn."""

    drawn: list = field(default_factory=list)

    def draw(self, landscape, steps, chains, generator):
        self.drawn.append(super().draw(landscape, steps, chains, generator))
        return self.drawn[-1]

    def batches(self):
        """Indices (steps, chains, b)."""
        return torch.cat(self.drawn)


def engine(landscape, oracle, optimizer, start, steps=STEPS):
    """Every position, (t, c, d)."""
    d = start.shape[1]
    axes = {f"x{i}": Projection(torch.zeros(d, dtype=F64), torch.eye(d, dtype=F64)[i]) for i in range(d)}
    data = simulate(
        landscape, oracle, optimizer, start, steps=steps, chains=len(start), block=len(start), observe=axes, executor=1
    )
    return np.stack([data[name].values for name in axes], axis=-1)


def gradients(landscape, batches=False):
    """An oracle, and what it shows at step t: (x, t) -> (c, d)."""
    if not batches:
        return FullBatch(), lambda x, t: landscape.gradient(x)
    oracle = Kept(5)
    return oracle, lambda x, t: landscape.gradient(x, oracle.batches()[t])


def assert_same(got, expected, what):
    """Equal to 1e-12 of the chain's distance from the origin, at every step."""
    expected = torch.stack(expected).numpy()
    assert np.isfinite(got).all()
    assert len(got) == len(expected)
    size = np.linalg.norm(expected, axis=-1, keepdims=True)
    error = (np.abs(got - expected) / size).max(axis=(1, 2))
    assert error.max() < 1e-12, f"off from {what} by {error.max():.3g} at step {error.argmax()}"
    assert np.abs(np.diff(got, axis=0)).max() > 0, "nothing moved"


TORCH = {
    "heavy ball": (HeavyBall(0.03, 0.9), torch.optim.SGD, {"lr": 0.03, "momentum": 0.9}),
    "Nesterov": (Nesterov(0.03, 0.9), torch.optim.SGD, {"lr": 0.03, "momentum": 0.9, "nesterov": True}),
    "Nesterov, little momentum": (
        Nesterov(0.03, 0.3),
        torch.optim.SGD,
        {"lr": 0.03, "momentum": 0.3, "nesterov": True},
    ),
    "RMSProp": (RMSProp(0.01), torch.optim.RMSprop, {"lr": 0.01}),
    "RMSProp, long memory, coarse eps": (
        RMSProp(0.003, alpha=0.999, eps=0.1),
        torch.optim.RMSprop,
        {"lr": 0.003, "alpha": 0.999, "eps": 0.1},
    ),
    "Adam": (Adam(0.01), torch.optim.Adam, {"lr": 0.01}),
    # eps is not small beside the gradient at the end: as that vanishes Adam's own step would amplify any rounding.
    "Adam, other settings": (
        Adam(0.02, beta1=0.5, beta2=0.9, eps=0.1),
        torch.optim.Adam,
        {"lr": 0.02, "betas": (0.5, 0.9), "eps": 0.1},
    ),
    "Adam without eps": (Adam(0.02, beta1=0.8, eps=0), torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.999), "eps": 0}),
}


@pytest.mark.parametrize("batches", [False, True], ids=["full", "batches"])
@pytest.mark.parametrize("name", LANDSCAPES)
@pytest.mark.parametrize("peer", TORCH)
def test_steps_are_those_of_torch(name, peer, batches):
    landscape, start = LANDSCAPES[name](), 0.3 * normal(CHAINS, 3, seed=2)
    oracle, see = gradients(landscape, batches)
    optimizer, kind, settings = TORCH[peer]
    got = engine(landscape, oracle, optimizer, start)
    x = start.clone()
    theirs, expected = kind([x], **settings), [start.clone()]
    for t in range(STEPS):
        x.grad = see(x, t)
        theirs.step()
        expected.append(x.clone())
    assert_same(got, expected, f"torch.optim.{kind.__name__}")


SCHEDULED = {
    "StepDecay": (
        lambda lr: StepDecay(lr, interval=25, factor=0.5),
        lambda peer: torch.optim.lr_scheduler.StepLR(peer, 25, 0.5),
    ),
    "Cosine": (
        lambda lr: Cosine(lr, steps=100, final=0.001),
        lambda peer: torch.optim.lr_scheduler.CosineAnnealingLR(peer, 100, 0.001),
    ),
    "WarmUp": (
        lambda lr: WarmUp(lr, steps=40, start_factor=0.2),
        lambda peer: torch.optim.lr_scheduler.LinearLR(peer, 0.2, 1.0, 40),
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULED)
@pytest.mark.parametrize("peer", ["Nesterov", "Adam", "RMSProp"])
def test_scheduled_steps_are_those_of_torch(peer, schedule):
    landscape, start = LANDSCAPES["factorization"](), 0.3 * normal(CHAINS, 3, seed=2)
    oracle, see = gradients(landscape, batches=True)
    optimizer, kind, settings = TORCH[peer]
    ours, scheduler = SCHEDULED[schedule]
    got = engine(landscape, oracle, type(optimizer)(ours(optimizer.lr), *list(vars(optimizer).values())[1:]), start)
    x = start.clone()
    theirs, expected = kind([x], **settings), [start.clone()]
    scheduler = scheduler(theirs)
    for t in range(STEPS):
        x.grad = see(x, t)
        theirs.step()
        scheduler.step()
        expected.append(x.clone())
    assert_same(got, expected, f"torch.optim.{kind.__name__} under {schedule}")


@pytest.mark.parametrize("name", LANDSCAPES)
def test_adam_without_memory_is_sign_descent(name):
    landscape, start = LANDSCAPES[name](), 0.3 * normal(CHAINS, 3, seed=2)
    got = engine(landscape, MiniBatch(5), Adam(0.01, beta1=0, beta2=0, eps=0), start)
    signs = engine(landscape, MiniBatch(5), SignDescent(0.01), start)
    assert np.array_equal(got, signs)
    assert np.allclose(np.abs(np.diff(signs, axis=0)), 0.01, rtol=1e-12)
    rms = engine(landscape, MiniBatch(5), RMSProp(0.01, alpha=0, eps=0), start)
    assert np.array_equal(got, rms)


@pytest.mark.parametrize("optimizer", [Adam(0.01, eps=0), RMSProp(0.01, eps=0), SignDescent(0.01), SAM(0.01, 0.1)])
def test_a_vanishing_gradient_moves_nothing(optimizer):
    landscape = QuadraticSaddle.multiplicative([-1.0, 0.5], 0.0, n=4)
    start = torch.zeros(CHAINS, 2, dtype=F64)
    start[1:, 1] = 0.9
    got = engine(landscape, FullBatch(), optimizer, start)
    assert (got[:, :, 0] == 0).all()
    assert (got[:, 0] == 0).all()
    assert (got[-1, 1:, 1] < 0.9).all()


@pytest.mark.parametrize("batches", [False, True], ids=["full", "batches"])
@pytest.mark.parametrize("name", LANDSCAPES)
def test_sam_takes_two_gradients_of_one_batch(name, batches):
    landscape, start = LANDSCAPES[name](), 0.3 * normal(CHAINS, 3, seed=2)
    oracle, see = gradients(landscape, batches)
    got = engine(landscape, oracle, SAM(0.03, 0.2), start)
    expected = [start]
    for t in range(STEPS):
        # From where the engine stands: where the gradient vanishes its direction would amplify any rounding.
        x, rows = torch.from_numpy(got[t]), []
        gradient = see(x, t)
        for k in range(CHAINS):
            rows.append(x[k] + 0.2 * gradient[k] / math.sqrt(sum(float(g) ** 2 for g in gradient[k])))
        expected.append(x - 0.03 * see(torch.stack(rows), t))
    assert_same(got, expected, "two gradients a step")


def test_sam_without_a_radius_is_descent():
    landscape, start = LANDSCAPES["factorization"](), 0.3 * normal(CHAINS, 3, seed=2)
    plain = engine(landscape, MiniBatch(5), GradientDescent(0.03), start)
    assert np.array_equal(engine(landscape, MiniBatch(5), SAM(0.03, 0), start), plain)


@dataclass(frozen=True)
class KeptKicks(PerturbedGradientDescent):
    """Perturbed descent whose kicks are written down."""

    drawn: list = field(default_factory=list)

    def draw(self, x, steps, generator):
        self.drawn.append(super().draw(x, steps, generator))
        return self.drawn[-1]


@pytest.mark.parametrize("threshold", [0.3, math.inf])
@pytest.mark.parametrize("interval", [0, 7])
def test_kicks_come_where_the_gradient_is_small_and_time_has_passed(threshold, interval):
    landscape, start = LANDSCAPES["double well"](), 0.5 * normal(CHAINS, 3, seed=2)
    optimizer = KeptKicks(0.05, 0.1, threshold, interval)
    oracle, see = gradients(landscape, batches=threshold == math.inf)
    got = engine(landscape, oracle, optimizer, start)
    kicks = torch.cat(optimizer.drawn)
    last, expected, count = [None] * CHAINS, [start], np.zeros(CHAINS)
    for t in range(STEPS):
        x = expected[-1].clone()
        flat = see(x, t).norm(dim=1)
        for k in range(CHAINS):
            if flat[k] <= threshold and (last[k] is None or t - last[k] > interval):
                x[k] += kicks[t, k]
                last[k], count[k] = t, count[k] + 1
        expected.append(x - 0.05 * see(x, t))
    assert_same(got, expected, "kicks by hand")
    everywhere = math.ceil(STEPS / (interval + 1))
    assert (count == everywhere).all() if threshold == math.inf else (count > 0).all() and count.min() < everywhere


def test_kicks_are_uniform_in_the_ball():
    d, radius, count = 3, 0.7, 200_000
    drawn = PerturbedGradientDescent(0.1, radius, 0.1, 5).draw(normal(4, d), count // 4, torch.Generator())
    points = drawn.reshape(-1, d)
    share = (points.norm(dim=1) / radius) ** d  # uniform in [0, 1]
    assert float(share.max()) <= 1
    for power in (1, 2, 3):
        error = math.sqrt((1 / (2 * power + 1) - 1 / (power + 1) ** 2) / count)
        assert abs(float((share**power).mean()) - 1 / (power + 1)) < 4.5 * error
    # E x xᵀ = r²/(d + 2) I, and each entry's spread from E x⁴ = 3 r⁴/((d + 2)(d + 4)), E x² y² a third of it
    covariance = points.T @ points / count
    square = radius**2 / (d + 2)
    fourth = radius**4 / ((d + 2) * (d + 4))
    error = np.sqrt((fourth * (1 + 2 * np.eye(d)) - square**2 * np.eye(d)) / count)
    assert (np.abs(covariance.numpy() - square * np.eye(d)) < 4.5 * error).all()
    assert (points.mean(0).abs() < 4.5 * math.sqrt(square / count)).all()


@dataclass(frozen=True)
class KeptNoise(Langevin):
    """Langevin dynamics whose noise is written down."""

    drawn: list = field(default_factory=list)

    def draw(self, x, steps, generator):
        self.drawn.append(super().draw(x, steps, generator))
        return self.drawn[-1]


@pytest.mark.parametrize("lr", [0.03, StepDecay(0.05, 20, 0.5)], ids=["constant", "schedule"])
def test_langevin_is_its_formula(lr):
    landscape, start = LANDSCAPES["factorization"](), 0.3 * normal(CHAINS, 3, seed=2)
    optimizer = KeptNoise(lr, 0.02)
    oracle, see = gradients(landscape, batches=True)
    got = engine(landscape, oracle, optimizer, start)
    noise, expected = torch.cat(optimizer.drawn), [start]
    for t in range(STEPS):
        x, rate = expected[-1], lr(t) if callable(lr) else lr
        expected.append(x - rate * see(x, t) + math.sqrt(2 * rate * 0.02) * noise[t])
    assert_same(got, expected, "x − ηg + √(2ηT) ξ")
    assert abs(float(noise.mean())) < 4.5 / math.sqrt(noise.numel())
    assert abs(float((noise**2).mean()) - 1) < 4.5 * math.sqrt(2 / noise.numel())


@pytest.mark.parametrize(
    "optimizer",
    [Nesterov(0.1, 0.9), RMSProp(0.1), Adam(0.1), SignDescent(0.1), SAM(0.1, 0.1), Langevin(0.1, 0.1)],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_steps_leave_their_state_alone(optimizer):
    x = normal(3, 2, seed=1)
    state = optimizer.init(x)
    before = [leaf.clone() for leaf in state]
    first, second = optimizer.step(state, x, x, 0), optimizer.step(state, x, x, 0)
    assert all(torch.equal(leaf, old) for leaf, old in zip(state, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.x, x)
    assert len(state) == len(first)
    assert all(leaf.shape[0] == 3 for leaf in first)


def test_on_a_sphere_steps_are_those_of_flat_space_brought_back():
    landscape = Oja.gaussian([3.0, 1.0, 0.5], n=20)
    start = landscape.retract(normal(CHAINS, 3, seed=3))
    signs, sam = [start], [start]
    for _ in range(STEPS):
        signs.append(landscape.retract(signs[-1] - 0.02 * landscape.gradient(signs[-1]).sign()))
        gradient = landscape.gradient(sam[-1])
        uphill = sam[-1] + 0.01 * gradient / gradient.norm(dim=1, keepdim=True)
        sam.append(landscape.retract(sam[-1] - 0.005 * landscape.gradient(uphill)))
    assert_same(engine(landscape, FullBatch(), SignDescent(0.02), start), signs, "signs on the sphere")
    assert_same(engine(landscape, FullBatch(), SAM(0.005, 0.01), start), sam, "SAM on the sphere")


BAD = {
    "momentum": (lambda: Nesterov(0.1, 1.0), r"momentum must lie in \[0, 1\), got 1.0"),
    "a boolean": (lambda: Nesterov(0.1, True), r"momentum must lie in \[0, 1\), got True"),
    "alpha": (lambda: RMSProp(0.1, alpha=1.0), r"alpha must lie in \[0, 1\), got 1.0"),
    "beta1": (lambda: Adam(0.1, beta1=-0.1), r"beta1 must lie in \[0, 1\), got -0.1"),
    "beta2": (lambda: Adam(0.1, beta2=math.nan), r"beta2 must lie in \[0, 1\), got nan"),
    "eps": (lambda: Adam(0.1, eps=-1e-8), "eps must be at least 0, got -1e-08"),
    "eps of RMSProp": (lambda: RMSProp(0.1, eps=math.inf), "eps must be a finite number, got inf"),
    "radius of SAM": (lambda: SAM(0.1, -1), "radius must be at least 0, got -1"),
    "radius of a kick": (lambda: PerturbedGradientDescent(0.1, 0, 1, 1), "radius must be above 0, got 0"),
    "threshold": (lambda: PerturbedGradientDescent(0.1, 1, math.nan, 1), "threshold must be a finite number, got nan"),
    "interval": (
        lambda: PerturbedGradientDescent(0.1, 1, 1, 1.5),
        "interval must be an integer of at least 0, got 1.5",
    ),
    "temperature": (lambda: Langevin(0.1, -1), "temperature must be at least 0, got -1"),
    "temperature in words": (lambda: Langevin(0.1, "1"), "temperature must be a finite number, got '1'"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_numbers_are_said_in_one_line(what):
    make, said = BAD[what]
    with pytest.raises(ValueError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [Adam, RMSProp, SignDescent])
@pytest.mark.parametrize("lr", [0, -0.1, math.nan, True, "0.1"])
def test_lr_must_be_positive(kind, lr):
    with pytest.raises(ValueError, match="lr must be a positive finite number or a schedule"):
        kind(lr)


def test_a_kick_by_threshold_needs_the_gradient_itself():
    landscape, start = LANDSCAPES["double well"](), 0.3 * normal(CHAINS, 3, seed=2)
    with pytest.raises(ValueError, match="under MiniBatch sees noise instead: give FullBatch") as caught:
        engine(landscape, MiniBatch(5), PerturbedGradientDescent(0.1, 0.1, 0.2, 9), start)
    assert "\n" not in str(caught.value)
    assert "every 10 steps" in str(caught.value)
    engine(landscape, MiniBatch(landscape.n), PerturbedGradientDescent(0.1, 0.1, 0.2, 9), start, steps=2)
    engine(landscape, MiniBatch(5), PerturbedGradientDescent(0.1, 0.1, math.inf, 9), start, steps=2)
