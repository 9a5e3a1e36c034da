"""Landscapes that are broken on purpose, each with the property that must catch it and words that it must say."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from cases import Monkey, centred, normal
from torch import Tensor

from escape import CriticalPoint, DoubleWell, Landscape, QuadraticSaddle


class Broken(NamedTuple):
    name: str
    make: Callable[[], Landscape]
    caught_by: str  # name of the property
    says: str  # words of the message, what is wrong and what to do


@dataclass(frozen=True, eq=False)
class Honest(Landscape):
    """f_i(x) = ½(z_iᵀx)² + sin(z_iᵀx): not affine, nothing in closed form."""

    samples: Tensor

    @property
    def dimension(self):
        return self.samples.shape[1]

    def sample_loss(self, x, sample):
        score = sample @ x
        return 0.5 * score * score + torch.sin(score)


# Gradients.


class WrongSign(Honest):
    def sample_gradient(self, x, sample):
        return -super().sample_gradient(x, sample)


class WrongScale(Honest):
    def sample_gradient(self, x, sample):
        return 2 * super().sample_gradient(x, sample)


class SlightlyWrong(Honest):
    """Off by a part in a hundred million: seen by no figure."""

    def sample_gradient(self, x, sample):
        return super().sample_gradient(x, sample) * (1 + 1e-8)


class WrongGradientShape(Honest):
    def sample_gradient(self, x, sample):
        return super().sample_gradient(x, sample)[:1]


class RightOnAverage(Honest):
    """Every sample is given the mean gradient: batches have the right mean and no noise."""

    def sample_gradient(self, x, sample):
        return torch.func.grad(lambda y: torch.stack([self.sample_loss(y, row) for row in self.samples]).mean())(x)


class Detached(Honest):
    """Automatic differentiation does not see the half that is detached, and nothing in closed form contradicts it."""

    def sample_loss(self, x, sample):
        score = sample @ x
        return 0.5 * score * score.detach() + torch.sin(score)


class RoundedValue(Honest):
    def sample_loss(self, x, sample):
        value = super().sample_loss(x, sample)
        return value + (torch.round(value, decimals=2) - value).detach()


class RootOfTheOtherBranch(Honest):
    """Finite everywhere, and its gradient is not: torch.where differentiates both branches."""

    def sample_loss(self, x, sample):
        return torch.where(x[0] > 0, torch.sqrt(x[0]), 0.0) + super().sample_loss(x, sample)


# Batches.


class BiasedBatch(Honest):
    def _batch_gradient(self, x, index):
        return 1.05 * super()._batch_gradient(x, index)


class SumForMean(Honest):
    def _batch_gradient(self, x, index):
        return super()._batch_gradient(x, index) * index.shape[1]


class RepeatsDropped(Honest):
    """A batch taken for a set: right without replacement, wrong with it."""

    def _batch_gradient(self, x, index):
        once = [row.unique() for row in index]
        return torch.stack(
            [super(RepeatsDropped, self)._batch_gradient(p[None], r[None])[0] for p, r in zip(x, once, strict=True)]
        )


class BiasedPairs(Honest):
    """Batches of two alone have a bias, as of a formula that divides by b − 1 under a condition."""

    def _batch_gradient(self, x, index):
        return super()._batch_gradient(x, index) * (1.5 if index.shape[1] == 2 else 1.0)


class NormalizedByTheBatch(Honest):
    """As in batch normalization, what one chain sees depends on the chains beside it."""

    def _batch_gradient(self, x, index):
        slope = super()._batch_gradient(x, index)
        return slope + 1e-3 * (x - x.mean(0))


class NormalizedBesideOthers(Honest):
    """The same of the full gradient, which is right for one chain alone."""

    def _full_gradient(self, x):
        slope = super()._full_gradient(x)
        return slope + 1e-3 * (x - x.mean(0))


class WrongFullGradient(Honest):
    def _full_gradient(self, x):
        return 1.01 * super()._full_gradient(x)


class WrongWeights(Honest):
    def weighted_gradient(self, x, weights):
        return super().weighted_gradient(x, weights / 2)


class WrongLoss(Honest):
    def loss(self, x):
        return super().loss(x) + 1


class WrongHessian(Honest):
    def hessian(self, x):
        return 2 * super().hessian(x)


# Claims, and noise.


class FalselyAffine(Honest):
    affine = True


class AffineButForItsValue(Monkey):
    """Every gradient is affine in its sample, and the values are not."""

    dimension = 2

    def sample_loss(self, x, tilt):
        return super().sample_loss(x, tilt) + tilt @ tilt


class FalselyConstant(Honest):
    constant_noise = True


class FalselyConstantQuadratic(QuadraticSaddle):
    constant_noise = True


class WrongTrace(Honest):
    def noise_trace(self, x):
        return 2 * super().noise_trace(x)


class WrongCovariance(Honest):
    """Divided by n − 1."""

    def gradient_covariance(self, x):
        return super().gradient_covariance(x) * self.n / (self.n - 1)


class SecondMomentForVariance(Honest):
    def noise_along(self, x, direction):
        return ((self.sample_gradients(x) @ direction) ** 2).mean(0)


class WrongRoot(QuadraticSaddle):
    @property
    def sample_root(self):
        return 0.9 * super().sample_root


# Functions that are none.


class RandomLoss(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) + 1e-3 * random.random()


class RandomTorchLoss(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) + 1e-3 * torch.rand((), dtype=x.dtype)


class RandomNumpyLoss(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) + 1e-3 * np.random.standard_normal()  # noqa: NPY002


@dataclass(frozen=True, eq=False)
class CountingLoss(Honest):
    calls: itertools.count = field(default_factory=itertools.count)

    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) + 1e-3 * next(self.calls)


@dataclass(frozen=True, eq=False)
class SilentCounter(Honest):
    """Its value changes only after a million calls; the counter is caught before."""

    calls: int = 0

    def sample_loss(self, x, sample):
        object.__setattr__(self, "calls", self.calls + 1)
        return super().sample_loss(x, sample) * (2 if self.calls > 1e6 else 1)


class ChangesPoint(Honest):
    def sample_loss(self, x, sample):
        x *= 2
        return super().sample_loss(x, sample)


class ChangesSample(Honest):
    def sample_loss(self, x, sample):
        sample -= sample.mean()
        return super().sample_loss(x, sample)


class ChangesPointOfGradient(Honest):
    def sample_gradient(self, x, sample):
        slope = sample * (sample @ x + torch.cos(sample @ x))
        x.zero_()
        return slope


class Branches(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) if x[0] > 0 else super().sample_loss(x, 2 * sample)


class LeavesTorch(Honest):
    def sample_loss(self, x, sample):
        return torch.as_tensor(float(np.sin((sample @ x).item())), dtype=x.dtype)


# Shapes, dtypes, sizes.


class VectorLoss(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) * x


class NumberLoss(Honest):
    def sample_loss(self, x, sample):
        return 1.0


class NarrowLoss(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample).float()


class NarrowConstant(Honest):
    """A constant of torch's default dtype in a product: refused beside double precision."""

    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) + torch.ones(3) @ x


class WideConstant(Honest):
    """A constant in double precision, which `to` does not move: all of a float32 run would be in float64."""

    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) + (torch.ones(3, dtype=torch.float64) * x).sum()


class NotANumber(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) + torch.log(x[0])


class Infinite(Honest):
    def sample_loss(self, x, sample):
        return super().sample_loss(x, sample) / 0


class Cancels(Honest):
    """Right in float64; in float32 a thousandth of a million is lost."""

    def sample_loss(self, x, sample):
        return (super().sample_loss(x, sample) + 1e6) - 1e6


class WrongDimension(Honest):
    dimension = 4


class PointOfAnotherSize(Honest):
    dimension = 3

    def critical_points(self):
        return (CriticalPoint(torch.zeros(2).double(), torch.ones(2).double(), torch.eye(2).double()),)


class PointsThatFail(Honest):
    def critical_points(self):
        raise KeyError("no root found")


class NotADataclass(Landscape):
    dimension = 2

    def __init__(self, samples):
        self.samples = samples

    def sample_loss(self, x, sample):
        return 0.5 * (x @ x) + torch.sin(sample @ x)


@dataclass(frozen=True, eq=False)
class HoldsALambda(Honest):
    link: Callable = field(default_factory=lambda: lambda score: 0.5 * score * score)

    def sample_loss(self, x, sample):
        return self.link(sample @ x)


@dataclass(frozen=True, eq=False)
class ForgetsInARun(Honest):
    """Wipes its samples in the one call that runs alone make."""

    def weighted_gradient(self, x, weights):
        found = super().weighted_gradient(x, weights)
        if len(x) == 4:
            self.samples.mul_(0.5)
        return found


# Declared points.


class WithPoint(QuadraticSaddle):
    """A quadratic that declares the origin as `change` says."""

    def change(self, x, values, directions, noise):
        return x, values, directions, noise

    def critical_points(self):
        (p,) = super().critical_points()
        return (CriticalPoint(*self.change(p.location, p.eigenvalues, p.directions, p.noise), name="origin"),)


class WrongSpectrum(WithPoint):
    def change(self, x, values, directions, noise):
        return x, values * 1.001, directions, noise


class DigitsOfASpectrum(WithPoint):
    """Six digits of a number that has more."""

    def change(self, x, values, directions, noise):
        return x, values + 1e-6, directions, noise


class WrongIndex(WithPoint):
    def change(self, x, values, directions, noise):
        return x, values.abs().sort().values, directions, noise


class WrongOrder(WithPoint):
    def change(self, x, values, directions, noise):
        return x, values, directions.flip(1), noise


class NotOrthonormal(WithPoint):
    def change(self, x, values, directions, noise):
        return x, values, 2 * directions, noise


class NotStationary(WithPoint):
    def change(self, x, values, directions, noise):
        return x + 1e-6, values, directions, noise


class WrongNoise(WithPoint):
    def change(self, x, values, directions, noise):
        return x, values, directions, {"I": "II", "II": "I"}[noise]


class NoSuchNoise(WithPoint):
    def change(self, x, values, directions, noise):
        return x, values, directions, "multiplicative"


class MovesItsPoints(WithPoint):
    def retract(self, x):
        return x.clamp(min=0.1)


class NotIdempotent(WithPoint):
    def retract(self, x):
        return 0.5 * x


class RetractInPlace(WithPoint):
    def retract(self, x):
        return x.clamp_(-0.1, 0.1)


class NarrowPoint(DoubleWell):
    def critical_points(self):
        return tuple(point.to(dtype=torch.float32) for point in super().critical_points())


def of(kind, n=30, d=3):
    return lambda: kind(normal(n, d, seed=12))


def saddle(kind, how="additive"):
    def make():
        like = getattr(QuadraticSaddle, how)([-1.0, 0.5, 2.0], 0.1, n=30)
        return kind(like.curvatures, like.tilts)

    return make


AUTOGRAD = "sample_gradient: automatic differentiation"
DIFFERENCES = "sample_gradient: finite differences"
BATCH, ALONE, UNBIASED = (
    f"batch gradient: {what}" for what in ("the mean of its samples", "alone as beside others", "unbiased")
)
FULL, HESSIANS, LOSS = "full and weighted gradients", "Hessians", "loss: the mean of sample_loss"
AFFINE, CONSTANT = "claim: affine", "claim: constant_noise"
COVARIANCE = "covariance, noise_along, noise_trace"
SAME, UNCHANGED, LIFTED, SCALAR, FINITE = (
    f"sample_loss: {what}"
    for what in (
        "the same at every call", "leaves its arguments alone", "alone as in a batch", "a scalar of one dtype", "finite"
    )
)  # fmt: skip
SAMPLES = "samples are a floating (n, k) tensor"
DIMENSION, SINGLE, COPIES = "dimension and declared points agree", "float32 agrees with float64", "copies and pickles"
RUN, RETRACT = "runs under every oracle, unchanged", "retract"
STATIONARY, ORTHONORMAL, INDEX, SPECTRUM, NOISE = (
    f"declared points: {what}"
    for what in ("stationary", "orthonormal directions", "index", "spectrum", "kind of noise")
)

BROKEN = [
    Broken("wrong sign", of(WrongSign), AUTOGRAD, "leave sample_gradient out"),
    Broken("wrong scale", of(WrongScale), AUTOGRAD, "is off by"),
    Broken("wrong in the ninth digit", of(SlightlyWrong), AUTOGRAD, "is off by"),
    Broken("gradient of wrong shape", of(WrongGradientShape), AUTOGRAD, r"has shape \(1,\), expected \(3,\)"),
    Broken("right on average, not per sample", of(RightOnAverage), AUTOGRAD, "is off by .* sample "),
    Broken("detached half", of(Detached), DIFFERENCES, r"look for \.detach\(\)"),
    Broken("rounded value", of(RoundedValue), DIFFERENCES, "finite differences of sample_loss is off"),
    Broken(
        "root of the other branch", of(RootOfTheOtherBranch), AUTOGRAD, "is not finite .* torch.where differentiates"
    ),
    Broken("biased batch gradient", of(BiasedBatch), BATCH, "divide by the batch size"),
    Broken("sum for mean", of(SumForMean), BATCH, "gradient of a batch against the mean over its samples"),
    Broken("repeated samples dropped", of(RepeatsDropped), BATCH, "is off by"),
    Broken("biased for pairs alone", of(BiasedPairs), UNBIASED, "mean gradient over .* of two"),
    Broken("batch normalization over chains", of(NormalizedByTheBatch), BATCH, "is off by"),
    Broken("depends on the chains beside it", of(NormalizedBesideOthers), ALONE, "depend on its own point"),
    Broken("wrong full gradient", of(WrongFullGradient), FULL, "gradient over all samples"),
    Broken("wrong weights", of(WrongWeights), FULL, "weighted_gradient"),
    Broken("wrong loss", of(WrongLoss), LOSS, "loss against the mean of sample_loss is off by 1"),
    Broken("wrong Hessian", of(WrongHessian), HESSIANS, "hessian against derivatives"),
    Broken("false affine claim", of(FalselyAffine), AFFINE, "leave `affine = True` out"),
    Broken("affine but for its value", lambda: AffineButForItsValue(centred(30, 2)), AFFINE, "the value at"),
    Broken("false constant noise", of(FalselyConstant), CONSTANT, "leave `constant_noise = True` out"),
    Broken("false constant noise, affine", saddle(FalselyConstantQuadratic, "multiplicative"), CONSTANT, "is off by"),
    Broken("wrong trace", of(WrongTrace), COVARIANCE, "noise_trace against the covariance"),
    Broken("wrong divisor of the covariance", of(WrongCovariance), COVARIANCE, "the divisor is n"),
    Broken("second moment for variance", of(SecondMomentForVariance), COVARIANCE, "noise_along"),
    Broken("wrong root", saddle(WrongRoot), "sample_root", "covariance of the samples"),
    Broken("hidden randomness", of(RandomLoss), SAME, "hidden randomness; .*draw random numbers once"),
    Broken("hidden randomness of torch", of(RandomTorchLoss), SAME, "hidden randomness"),
    Broken("hidden randomness of numpy", of(RandomNumpyLoss), SAME, "hidden randomness"),
    Broken("call counter", of(CountingLoss), SAME, "hidden randomness or state; .*keep no counter"),
    Broken("counter that does not show yet", of(SilentCounter), SAME, "changes the field calls: hidden state"),
    Broken("changes the point", of(ChangesPoint), UNCHANGED, "sample_loss changes its argument x in place"),
    Broken("changes the sample", of(ChangesSample), UNCHANGED, "sample_loss changes its argument sample in place"),
    Broken("gradient changes the point", of(ChangesPointOfGradient), AUTOGRAD, "sample_gradient changes its argument"),
    Broken("branch on a value", of(Branches), LIFTED, "Python branches on a value.*torch.where"),
    Broken("leaves torch", of(LeavesTorch), LIFTED, "Python branches on a value.*no .item()"),
    Broken("vector loss", of(VectorLoss), SCALAR, r"must return a scalar for one point, got shape \(3,\)"),
    Broken("loss that is a number", of(NumberLoss), SCALAR, "must return a scalar tensor, got float"),
    Broken("loss of another dtype", of(NarrowLoss), SCALAR, "must keep the dtype torch.float64, got torch.float32"),
    Broken("constant in float32", of(NarrowConstant), SCALAR, r"two dtypes meet; make constants by x\.new_tensor"),
    Broken("constant in float64", of(WideConstant), SINGLE, "must keep the dtype torch.float32, got torch.float64"),
    Broken("not a number", of(NotANumber), FINITE, r"is not finite near its own points: nan at x = \("),
    Broken("infinite", of(Infinite), FINITE, "is not finite near its own points"),
    Broken("cancels in float32", of(Cancels), SINGLE, "keep large numbers from cancelling"),
    Broken("dimension that does not fit", of(WrongDimension), SCALAR, "sizes do not fit; .*`dimension` must be d"),
    Broken("point of another size", of(PointOfAnotherSize), DIMENSION, "dimension is 3, but .* has 2 coordinates"),
    Broken("points that cannot be made", of(PointsThatFail), DIMENSION, "KeyError: 'no root found'"),
    Broken("point of another dtype", lambda: NarrowPoint.rademacher(0.3, n=40), DIMENSION, "is torch.float32 on cpu"),
    Broken("samples in one row", lambda: Honest(normal(30)), SAMPLES, r"got shape \(30,\); .*samples\[:, None\]"),
    Broken("samples that are integers", lambda: Honest(torch.ones(30, 3, dtype=int)), SAMPLES, "got torch.int64"),
    Broken("samples that are not finite", lambda: Honest(torch.full((30, 3), torch.nan)), SAMPLES, "in 30 rows; clean"),
    Broken("no samples", lambda: Honest(torch.zeros(0, 3)), SAMPLES, "at least one row"),
    Broken("no dataclass", of(NotADataclass, d=2), SINGLE, "make it a dataclass"),
    Broken("holds a lambda", of(HoldsALambda), COPIES, "cannot be pickled: .*no lambda"),
    Broken("changes its samples in a run", of(ForgetsInARun), RUN, "changes samples"),
    Broken("wrong spectrum", saddle(WrongSpectrum), SPECTRUM, "the Hessian there has eigenvalues -1, 0.5, 2"),
    Broken("six digits of a spectrum", saddle(DigitsOfASpectrum), SPECTRUM, "at origin is off by 1e-06"),
    Broken("wrong index", saddle(WrongIndex), INDEX, "index at origin is declared 0 and found 1"),
    Broken("directions in another order", saddle(WrongOrder), SPECTRUM, "spectrum and directions at origin"),
    Broken("directions not orthonormal", saddle(NotOrthonormal), ORTHONORMAL, "orthonormal directions at origin"),
    Broken("point not stationary", saddle(NotStationary), STATIONARY, "gradient at origin is off by .*Newton steps"),
    Broken("noise II for I", saddle(WrongNoise), NOISE, "is declared type II and found type I"),
    Broken("noise I for II", saddle(WrongNoise, "multiplicative"), NOISE, "is declared type I and found type II"),
    Broken("noise of no type", saddle(NoSuchNoise), NOISE, "must be 'I', 'II' or None, got 'multiplicative'"),
    Broken("retract that moves declared points", saddle(MovesItsPoints), RETRACT, "retract of origin, which must stay"),
    Broken("retract that never arrives", saddle(NotIdempotent), RETRACT, "retract of a retracted point"),
    Broken("retract in place", saddle(RetractInPlace), RETRACT, "changes its argument in place"),
]
