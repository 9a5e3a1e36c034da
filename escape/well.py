"""The exact chain of a landscape of one coordinate, between two exits."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from escape import theory
from escape.landscapes import Landscape
from escape.oracles import MiniBatch, Oracle, StableNoise

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
    if isinstance(oracle, StableNoise) and oracle.alpha < 2:
        raise ValueError("the steps of stable noise are not Gaussian")
    if not (isinstance(oracle, MiniBatch) and oracle.noisy(landscape)):
        return _gaussian(landscape, oracle, lr, low, high, own)
    if own:
        raise ValueError("true batches and the noise of Langevin dynamics together are not Gaussian")
    distinct, place = torch.unique(landscape.samples, dim=0, return_inverse=True)

    def gradients(x):
        return sample_gradients(landscape, x, distinct)[:, place.cpu().numpy()]

    return theory.BatchChain(gradients, lr, oracle.batch_size, low, high, oracle.replacement, nodes=_NODES)


def _gaussian(
    landscape: Landscape, oracle: Oracle, lr: float, low: float, high: float, own: float
) -> theory.GaussianChain:
    fixed = any(getattr(oracle, name, None) is not None for name in ("at", "scale"))
    if fixed:  # the noise is that of one point, whichever is asked for
        here = torch.tensor([low]).to(landscape.samples)
        constant = lr * math.sqrt(oracle.noise_variance(landscape, here, torch.ones_like(here)))
    silent = fixed or not oracle.noisy(landscape)
    scale = 0.0 if silent else lr * math.sqrt(oracle.covariance_factor(landscape))

    def drift(x):
        return x - lr * sample_gradients(landscape, x).mean(1)

    def std(x):
        batches = constant if fixed else scale * sample_gradients(landscape, x).std(1) if scale else 0.0
        return np.hypot(np.full(np.shape(x), lr * own), batches)

    return theory.GaussianChain(drift, std, low, high)
