"""The exact chain of a landscape of one coordinate, between two exits."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from escape import theory
from escape.landscapes import Landscape
from escape.oracles import SURROGATES, GaussianNoise, MiniBatch, Oracle, StableNoise

# Whose noise in one dimension is that of the samples, unless it is taken at one point.
_OF_SAMPLES = (GaussianNoise, *SURROGATES)
_NODES, _LONG = 2**12, 1e5  # of the grids: four digits of the mean; steps above which a law is taken as geometric


def sample_gradients(landscape: Landscape, x: np.ndarray, samples: Tensor | None = None) -> np.ndarray:
    """Gradients (q, n) of all samples, or of some, at points x (q,) of one coordinate."""
    samples = landscape.samples if samples is None else samples
    points = torch.as_tensor(np.asarray(x, dtype=float))[:, None].to(landscape.samples)
    one = vmap(landscape.sample_gradient, (None, 0))
    found = torch.cat([vmap(one, (0, None))(part, samples)[..., 0] for part in points.split(4096)])
    return found.double().cpu().numpy()


def exact_chain(
    landscape: Landscape, oracle: Oracle, lr: float, location: float, radius: float, start: float, own: float = 0.0
) -> tuple[float | None, float | None, str]:
    """Mean and standard deviation of the exit step from |x - location| < radius, or None and the reason.

    Parameters
    ----------
    landscape, oracle, lr
        Of a run of gradient descent in one dimension.
    location, radius, start : float
        Centre and half-width of the interval, and where the chains start.
    own : float
        Standard deviation of a Gaussian gradient noise that comes on top of the oracle's, as in Langevin dynamics.
    """
    low, high = location - radius, location + radius
    if not low < start < high:
        return 0.0, 0.0, ""
    try:
        chain = _chain(landscape, oracle, lr, low, high, own)
        mean = float(chain.mean_exit_step(start, exit_low=low, exit_high=high))
        if not math.isfinite(mean):
            return mean, None, ""
        # The law is followed step by step until it is geometric: of a long time the standard deviation is the mean.
        std = float(chain.exit_law(start, exit_low=low, exit_high=high).std) if mean < _LONG else mean
    except ValueError as error:
        return None, None, f"no exact chain: {error}"
    return mean, std, ""


def _chain(landscape: Landscape, oracle: Oracle, lr: float, low: float, high: float, own: float):
    """The chain of true batches, or of Gaussian noise, of which there is but one kind in one dimension."""
    if not oracle.memoryless:
        raise ValueError("batches of one epoch depend on each other, and x alone is no Markov chain")
    if not oracle.noisy(landscape) or oracle.gaussian:
        return _gaussian(landscape, oracle, lr, low, high, own)
    if type(oracle) is StableNoise:
        raise ValueError("the steps of stable noise are not Gaussian")
    if type(oracle) is not MiniBatch:
        name = type(oracle).__name__
        raise ValueError(f"theory does not know {name}: the law of its noise is not known to be Gaussian")
    if own:
        raise ValueError("true batches and the noise of Langevin dynamics together are not Gaussian")
    distinct, place = torch.unique(landscape.samples, dim=0, return_inverse=True)

    def gradients(x):
        return sample_gradients(landscape, x, distinct)[:, place.cpu().numpy()]

    return theory.BatchChain(gradients, lr, oracle.batch_size, low, high, oracle.replacement, nodes=_NODES)


def _gaussian(
    landscape: Landscape, oracle: Oracle, lr: float, low: float, high: float, own: float
) -> theory.GaussianChain:
    def drift(x):
        return x - lr * sample_gradients(landscape, x).mean(1)

    def std(x):
        return lr * np.hypot(np.full(np.shape(x), own), _seen_std(landscape, oracle, x))

    return theory.GaussianChain(drift, std, low, high)


def _seen_std(landscape: Landscape, oracle: Oracle, x: np.ndarray) -> np.ndarray | float:
    """Standard deviation of the gradient that an oracle of Gaussian noise shows at points x (q,) of one coordinate."""
    if not oracle.noisy(landscape):
        return 0.0
    known = type(oracle) in _OF_SAMPLES
    if known and not oracle.additive(landscape):
        return math.sqrt(oracle.covariance_factor(landscape)) * sample_gradients(landscape, x).std(1)
    points = torch.as_tensor(np.asarray(x, dtype=float).reshape(-1, 1)).to(landscape.samples)
    unit = torch.ones_like(points[0])
    if known:
        return math.sqrt(oracle.noise_variance(landscape, points[0], unit))
    return np.sqrt([oracle.noise_variance(landscape, point, unit) for point in points]).reshape(np.shape(x))
