"""On a GPU: the same laws, the same bits twice, and the same results compiled and not."""

import numpy as np
import pytest
import torch
from cases import CASES, normal

from escape import (
    Above,
    FullBatch,
    GaussianNoise,
    GradientDescent,
    HeavyBall,
    IsotropicNoise,
    MiniBatch,
    QuadraticSaddle,
    SquaredDistance,
    estimate,
    replay,
    simulate,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
F64 = torch.float64
ORACLES = [FullBatch(), MiniBatch(4), MiniBatch(4, True), MiniBatch(60), GaussianNoise(4), IsotropicNoise(4)]


def saddle(device, dtype=F64):
    return QuadraticSaddle.additive([-1.0, 0.5], 0.1, n=100).to(device=device, dtype=dtype)


def run(device="cuda", dtype=F64, oracle=None, optimizer=None, **changed):
    landscape = saddle(device, dtype)
    origin = landscape.critical_points()[0].location
    chosen = {
        "steps": 200, "chains": 5000, "block": 2048, "until": Above(SquaredDistance(origin), 1.0), "every": 20,
        "seed": 3, "observe": {"square": SquaredDistance(origin)}, **changed,
    }  # fmt: skip
    return simulate(landscape, oracle or MiniBatch(4), optimizer or GradientDescent(0.1), origin, **chosen)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_same_bits_twice_and_in_a_replay(dtype, compile):
    one, other = run(dtype=dtype, compile=compile), run(dtype=dtype, compile=compile, executor=1)
    for name in one.data_vars:
        assert np.array_equal(one[name].values, other[name].values, equal_nan=True), f"{name} differs"
    landscape = saddle("cuda", dtype)
    origin = landscape.critical_points()[0].location
    chain = int(one.exit_step.argmax())
    path = replay(
        landscape, MiniBatch(4), GradientDescent(0.1), origin, chain=chain, steps=200, chains=5000, block=2048,
        until=Above(SquaredDistance(origin), 1.0), seed=3, compile=compile,
    )  # fmt: skip
    assert int(path.exit_step) == int(one.exit_step[chain])
    assert np.array_equal(path.x.values[-1], one.final.values[chain])


@pytest.mark.parametrize("oracle", ORACLES[1:], ids=str)
def test_exit_steps_have_the_law_of_the_cpu(oracle):
    p = estimate.ks_two_sample(run(oracle=oracle), run(device="cpu", oracle=oracle, seed=4), horizon=200).pvalue
    assert p > 1e-4, f"{oracle}: exit steps on the two devices differ, p = {p:.2g}"


OPTIMIZERS = [GradientDescent(0.05), HeavyBall(0.05, 0.5), GradientDescent(lambda t: 0.1 / (1 + t))]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_compiled_chunks_are_the_eager_ones(optimizer):
    chosen = {"optimizer": optimizer, "until": None, "steps": 30}
    gap = np.abs(run(compile=True, **chosen).final.values - run(compile=False, **chosen).final.values).max()
    assert gap < 1e-10, f"compiled and eager chunks differ by {gap:.3g}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_landscape_has_the_gradients_of_the_cpu(case):
    here = case.make(F64)
    there = here.to("cuda")
    x = 0.3 * normal(4, here.dimension or 2, seed=1)
    index = torch.arange(8).view(4, 2) % here.n
    for got, expected in (
        (there.gradient(x.cuda(), index.cuda()), here.gradient(x, index)),
        (there.gradient(x.cuda()), here.gradient(x)),
        (there.loss(x.cuda()), here.loss(x)),
    ):
        assert torch.allclose(got.cpu(), expected, rtol=1e-11, atol=1e-13)
