"""Tilted chains: the law of their batches, weights that sum to the exact moment over all paths, covering intervals."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from escape import (
    GradientDescent,
    Landscape,
    MiniBatch,
    QuadraticSaddle,
    RankOneFactorization,
    SquaredDistance,
    estimate,
    simulate,
    theory,
)
from escape.rare import growth_tilt, tilted_mean_square
from escape.rare._checks import location
from escape.rare._moment import tilted_moment
from escape.rare._motion import Motion
from escape.rare._steps import slot_weights, systematic
from escape.rare.tilted import _Blocks

MODES = [(1, False), (2, True), (2, False), (3, False)]


@dataclass(frozen=True, eq=False)
class Quadratics(Landscape):
    """f_i = ½ xᵀH_i x + g_iᵀx with Hessians that do not commute."""

    hessians: torch.Tensor
    tilts: torch.Tensor
    affine = True

    @property
    def samples(self):
        return torch.cat([self.hessians.flatten(1), self.tilts], 1)

    @property
    def dimension(self):
        return self.tilts.shape[1]

    def sample_loss(self, x, sample):
        d = len(x)
        return 0.5 * x @ (sample[: d * d].view(d, d) @ x) + sample[d * d :] @ x


@dataclass(frozen=True, eq=False)
class ScalarNet(Landscape):
    """f_i = ½ (u v − y_i)²."""

    samples: torch.Tensor

    def sample_loss(self, x, label):
        return 0.5 * (x[0] * x[1] - label[0]) ** 2


def quadratics(n, d, size, tilt, seed):
    rng = np.random.default_rng(seed)
    hessians = rng.standard_normal((n, d, d))
    tilts = tilt * rng.standard_normal((n, d))
    tilts -= tilts.mean(0)
    return Quadratics(torch.from_numpy(size * (hessians + hessians.transpose(0, 2, 1)) / 2), torch.from_numpy(tilts))


def exact(landscape, lr, b, replacement, steps, start):
    moment = theory.second_moment(landscape.hessians.numpy(), lr, b, replacement, landscape.tilts.numpy())
    return moment.evolve(steps, start)[1]


def batches(n, b, replacement):
    """All ordered batches."""
    every = itertools.product(range(n), repeat=b) if replacement else itertools.permutations(range(n), b)
    return torch.tensor(list(every))


def law(images, index, replacement, order, floor):
    """Probability of ordered batches (m, b) by the slots' weights, and the uniforms that draw them."""
    chosen = torch.full_like(index, -1)
    probability, uniforms = images.new_ones(len(index)), images.new_zeros(index.shape)
    for slot in range(index.shape[1]):
        weights = slot_weights(images, chosen, replacement, order, images.new_full((len(index),), floor))
        share = weights / weights.sum(1, keepdim=True)
        own = share.gather(1, index[:, slot : slot + 1])[:, 0]
        uniforms[:, slot] = share.cumsum(1).gather(1, index[:, slot : slot + 1])[:, 0] - own / 2
        chosen[:, slot] = index[:, slot]
        probability = probability * own
    return probability, uniforms


@pytest.mark.parametrize(("b", "replacement"), [*MODES, (4, True), (4, False), (5, False)])
def test_slots_draw_the_size_biased_law_of_the_whole_batch(b, replacement):
    images = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(b), dtype=torch.float64)
    index = batches(5, b, replacement)
    probability, _ = law(images.expand(len(index), -1, -1), index, replacement, 2.0, 0.0)
    size = images[0, index].mean(1).square().sum(1)
    np.testing.assert_allclose(probability, size / size.sum(), rtol=1e-11, atol=1e-15)


def path_sums(landscape, motion, start, steps, b, replacement, directions):
    """Σ Q W and Σ P |Vᵀδ|^p over all paths, by the tilted steps and by plain ones, after each step: (steps, 2)."""
    blocks = _Blocks(motion, directions, start, 1, 1, 0, False)
    every = batches(landscape.n, b, replacement)
    x, share, found = start[None], torch.ones(1, dtype=torch.float64), []
    for _ in range(steps):
        rows, index = torch.arange(len(x)).repeat_interleave(len(every)), every.repeat(len(x), 1)
        gradients = torch.stack([landscape.sample_gradients(one) for one in x])
        ends = (x - motion.location)[:, None] - motion.lr * gradients
        images = ends if motion.tilt is None else ends @ motion.tilt
        q, uniforms = law(images[rows], index, replacement, motion.order, motion.floor)
        blocks.y, blocks.e, gained = motion.step(blocks.y[rows], blocks.e[rows], uniforms)
        x = x[rows] - motion.lr * gradients[rows[:, None], index].mean(1)
        share, blocks.weight = share[rows] * q, (blocks.weight[0, rows] + gained)[None]
        blocks.size = len(x)
        possible = share > 0  # elsewhere another batch was drawn
        reached = motion.location + blocks.y * 2.0 ** blocks.e[:, None]
        torch.testing.assert_close(reached[possible], x[possible], rtol=1e-12, atol=1e-13)
        seen = x - motion.location if directions is None else (x - motion.location) @ directions
        weights = torch.where(possible, share * blocks.log_weights()[0].exp(), 0.0)
        found.append((float(weights.sum()), float((seen.norm(dim=1) ** motion.order).mean())))
    return np.array(found)


@pytest.mark.parametrize("p", [2.0, 3.0, 0.7])
@pytest.mark.parametrize(("b", "replacement"), [(1, False), (2, True), (2, False)])
@pytest.mark.parametrize("kind", ["type II", "type I from the saddle", "nonlinear"])
def test_all_paths_together_give_the_exact_moment(kind, b, replacement, p):
    directions = tilt = None
    if kind == "type II":
        landscape, start = quadratics(3, 2, 1.5, 0.0, 4), torch.tensor([1.0, 0.5])
        tilt, directions = torch.tensor([[1.0, 0.3], [0.2, 0.5]]).double(), torch.tensor([[0.6], [0.8]]).double()
    elif kind == "nonlinear":
        data = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        landscape, start = RankOneFactorization(data), torch.tensor([0.5, -0.4])
    else:
        # One sample leaves a chain at the saddle for a while: paths through zero count too.
        tilts = torch.tensor([[0.0, 0.0], [0.3, 0.1], [-0.3, -0.1]]).double()
        landscape, start = QuadraticSaddle(torch.tensor([[-0.5, 1.0]] * 3).double(), tilts), torch.zeros(2)
    point, start = landscape.critical_point(torch.zeros(2, dtype=torch.float64)), start.double()
    where = location(point, landscape)
    motion = Motion.of(landscape, MiniBatch(b, replacement), 0.4, point, where, tilt, p, False)
    with torch.no_grad():
        found = path_sums(landscape, motion, start, 3, b, replacement, directions)
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-10, atol=1e-14)


def test_tilted_chains_find_the_mean_square_that_plain_chains_miss():
    """The estimate is allowed 3 of its standard errors: a false alarm in 370 seeds at each of three steps."""
    landscape, start = quadratics(4, 3, 2.0, 0.0, 23), torch.tensor([1.0, 0.0, 0.0])
    origin, truth = torch.zeros(3), exact(landscape, 0.5, 1, False, 60, start.numpy())
    truth = np.trace(truth, axis1=1, axis2=2)[20::20]
    result = tilted_mean_square(
        landscape, MiniBatch(1), 0.5, origin, start, steps=60, chains=2000, every=20, seed=23, linearised=True
    )
    error = (result.log.high[1:] - result.log.value[1:]) / 2.023  # Student, 39 degrees of freedom
    assert (np.abs(result.log.value[1:] - np.log(truth)) < 3 * error).all()
    assert (error < 0.1).all()
    assert result.reliable
    assert (result.chains, result.blocks) == (2000, 40)
    data = simulate(
        landscape, MiniBatch(1), GradientDescent(0.5), start, steps=60, chains=2000, seed=23, every=20, executor=1,
        observe={"distance": lambda x: SquaredDistance(origin)(x).sqrt()},
    )  # fmt: skip
    plain = estimate.mean_square(data["distance"].values)
    assert plain.value[-1] < truth[-1] / 20
    assert not plain.reliable


@pytest.mark.parametrize(("b", "replacement"), MODES)
@pytest.mark.parametrize("better", [False, True])
def test_batches_of_any_kind_and_size(within, b, replacement, better):
    landscape, start = quadratics(5, 3, 1.0, 0.0, 3), torch.tensor([1.0, 0.0, 0.0])
    oracle, origin, ray = MiniBatch(b, replacement), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])
    tilt = growth_tilt(landscape, oracle, 0.5, origin) if better else None
    result = tilted_mean_square(
        landscape, oracle, 0.5, origin, start, steps=20, chains=400, every=20, seed=b, tilt=tilt, directions=ray
    )
    truth = np.log(exact(landscape, 0.5, b, replacement, 20, start.numpy())[20, 2, 2])
    within("ln mean square", result.log.value[1], truth, (result.log.high[1] - result.log.value[1]) / 2.023, 4)


def test_additive_noise_from_the_saddle(within):
    landscape = QuadraticSaddle.additive([-1.0, 0.5], [0.1, 0.2], n=20)
    point, ray = landscape.critical_points()[0], torch.tensor([1.0, 0.0])
    result = tilted_mean_square(
        landscape, MiniBatch(4), 0.1, point, torch.zeros(2), steps=60, chains=400, every=20, seed=8, directions=ray
    )
    noise = 0.1 * np.sqrt(theory.kappa(4, 20, False))
    truth = np.log(theory.mean_square(result.step[1:], 0.1, -1.0, noise))
    within("ln mean square", result.log.value[1:], truth, (result.log.high[1:] - result.log.value[1:]) / 2.023, 4)
    assert np.isneginf(result.log.value[0])
    assert result.estimate.value[0] == 0


@pytest.mark.parametrize("linearised", [False, True])
def test_the_kick_is_the_floor_that_leaves_no_spread(linearised):
    """With one direction h grows by a² in every mean, so that late chains differ only by x²/(x² + s²)."""
    landscape = QuadraticSaddle.additive([-1.0], 0.1, n=10)
    point = landscape.critical_points()[0]
    result = tilted_mean_square(
        landscape, MiniBatch(1), 0.2, point, torch.zeros(1), steps=60, chains=200, every=60, linearised=linearised
    )
    truth = np.log(theory.mean_square(60, 0.2, -1.0, 0.1))
    assert result.log.value[1] == pytest.approx(truth, abs=1e-3)
    assert result.effective_chains[1] > 0.99 * result.chains


def test_one_direction_has_no_spread_and_no_overflow():
    curvatures = torch.tensor([[1.0], [-1.2]], dtype=torch.float64)
    landscape = QuadraticSaddle(curvatures, torch.zeros_like(curvatures))
    point = landscape.critical_points()[0]
    result = tilted_mean_square(
        landscape, MiniBatch(1), 0.5, point, torch.tensor([0.25]), steps=2400, chains=40, every=600, linearised=True
    )
    rate = np.log(theory.mean_square_rate(curvatures[:, 0].numpy(), 0.5, 1))
    start = 2 * np.log(0.25)
    np.testing.assert_allclose(result.log.value, start + rate * result.step, rtol=1e-11)
    np.testing.assert_allclose(result.log.high, result.log.low, rtol=1e-11)
    assert np.isinf(result.estimate.value[-1])
    assert result.reliable


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_a_neural_net_near_its_saddle(within, p):
    """All 2^12 paths of the net itself, nonlinear as it is, against tilted chains."""
    labels = np.array([1.2, -1.0])
    x = np.array([[0.125, 0.125]])
    truth = [np.log(np.linalg.norm(x[0]) ** p)]
    for _ in range(12):
        slope = x[:, :1] * x[:, 1:] - labels
        x = (x[:, None] - 0.5 * slope[:, :, None] * x[:, None, ::-1]).reshape(-1, 2)
        truth.append(np.log((np.linalg.norm(x, axis=1) ** p).mean()))
    landscape = ScalarNet(torch.tensor(labels)[:, None])
    result = tilted_mean_square(
        landscape, MiniBatch(1), 0.5, torch.zeros(2), torch.full((2,), 0.125), steps=12, chains=400, seed=2, p=p
    )
    error = np.maximum((result.log.high - result.log.value) / 2.023, 1e-12)
    within("ln moment", result.log.value, truth, error, 4)


def covered(size, steps, repeats):
    """Shares of repeats, cut from one run, whose interval holds the truth, and of those that are believed."""
    landscape, start = quadratics(4, 2, 1.0, 0.3, 6), torch.zeros(2)
    point = landscape.critical_point(torch.zeros(2, dtype=torch.float64))
    where = location(point, landscape)
    motion = Motion.of(landscape, MiniBatch(1), 0.5, point, where, None, 2.0, False)
    with torch.no_grad():
        blocks = _Blocks(motion, None, start, size, 40 * repeats, 12, True)
        for _ in range(steps):
            blocks.step()
        log = blocks.log_weights().numpy()
    truth = np.log(np.trace(exact(landscape, 0.5, 1, False, steps, start.numpy())[steps]))
    found = [tilted_moment(log[None, 40 * k : 40 * k + 40], np.array([steps]), 0.95) for k in range(repeats)]
    hits = [bool(one.log.low[0] <= truth <= one.log.high[0]) for one in found]
    return np.mean(hits), np.mean([one.reliable for one in found])


def test_intervals_cover_where_they_are_believed():
    """200 repeats at 95%: 4 standard errors of a coverage. Where single blocks carry the mean, they do not cover."""
    hits, believed = covered(20, 8, 200)
    assert abs(hits - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)
    assert believed > 0.99
    hits, believed = covered(2, 25, 100)
    assert hits < 0.9
    assert believed < 0.05


def test_systematic_resampling_is_fair():
    log = torch.log(torch.tensor([0.05, 0.0, 0.4, 0.25, 0.3], dtype=torch.float64))
    uniforms = ((torch.arange(1000) + 0.5) / 1000).double()[:, None]
    counts = torch.nn.functional.one_hot(systematic(log.expand(1000, -1), uniforms), 5).sum(1)
    np.testing.assert_allclose(counts.double().mean(0), 5 * log.exp(), atol=1e-3)
    assert (counts - 5 * log.exp()).abs().max() < 1
    assert int(counts[:, 1].max()) == 0


def test_growth_tilt_is_the_eigenmatrix():
    landscape, oracle = quadratics(5, 3, 1.0, 0.0, 9), MiniBatch(2)
    root = growth_tilt(landscape, oracle, 0.5, torch.zeros(3), share=1e-9).numpy()
    moment = theory.second_moment(landscape.hessians.numpy(), 0.5, 2)
    np.testing.assert_allclose(root @ root.T / np.linalg.norm(root @ root.T), moment.eigenmatrix, atol=1e-8)


SMALL = {"steps": 9, "chains": 80}


def run(**changed):
    landscape, origin = quadratics(4, 2, 1.0, 0.0, 5), torch.zeros(2)
    given = {
        "landscape": landscape, "oracle": MiniBatch(2), "lr": 0.5, "point": origin, "start": torch.ones(2), **SMALL,
    }  # fmt: skip
    return tilted_mean_square(**given | changed)


def test_the_answer_depends_on_arguments_and_seed_alone():
    once, again, sparse = run(), run(progress=lambda done, total: None), run(every=3)
    np.testing.assert_array_equal(once.log.value, again.log.value)
    np.testing.assert_array_equal(once.log.value[::3], sparse.log.value)
    assert run(seed=1).log.value[5] != once.log.value[5]


def test_what_cannot_be_believed_is_said():
    assert np.isneginf(run(start=torch.zeros(2)).log.value).all()
    assert "1 block" in run(chains=5, block=5).reason
    data = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    far = run(landscape=RankOneFactorization(data), start=torch.full((2,), 50.0))
    assert "overflowed" in far.reason
    assert np.isnan(far.log.value[-1])
    assert np.isfinite(far.log.value[0])
    one = run(chains=2, block=1)
    assert "one chain holds" in one.reason


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chains": 0}, "chains must be an integer of at least 1"),
        ({"lr": -1.0}, "lr must be a finite number above zero"),
        ({"p": 0}, "p must be a finite number above zero"),
        ({"oracle": MiniBatch(9)}, "larger than the landscape's n"),
        ({"oracle": None}, "oracle must be a MiniBatch"),
        ({"start": torch.ones(3)}, r"start must be \(2,\)"),
        ({"start": torch.tensor([1.0, float("nan")])}, "non-finite"),
        ({"point": torch.zeros(3)}, "point has dimension 3"),
        ({"tilt": torch.ones(2, 1)}, "tilt must have rank 2"),
        ({"directions": torch.ones(3)}, "directions must be finite"),
        ({"level": 1.0}, "level is 1.0"),
    ],
)
def test_bad_arguments_are_refused(changed, said):
    with pytest.raises((ValueError, TypeError), match=said):
        run(**changed)
