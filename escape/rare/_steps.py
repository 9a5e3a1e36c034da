"""One step under a changed law: batches drawn by where they lead, and chains drawn by what they weigh.

A batch is drawn slot by slot, each slot with probability in proportion to the conditional mean square of where the
whole batch will lead, given the slots filled so far. These means are known in closed form, and by the chain rule their
product is the size-biased law of the whole batch, without a list of all batches.
"""

import math

import torch
from torch import Tensor


def conditional_squares(images: Tensor, chosen: Tensor, replacement: bool) -> Tensor:
    """E[|Σ_{j∈B} u_j|² | slots filled so far, i next] for every i: images (c, n, k), chosen (c, s, b) -> see below.

    With s slots filled, their sum S and r = b − s − 1 to come after i. With replacement
        |S + u_i + r ū|² + r var(u),
    without, with M = n − s − 1 terms left after i, of mean μ_i and variance v_i,
        |S + u_i + r μ_i|² + r (M − r)/(M − 1) v_i.

    Parameters
    ----------
    images : Tensor (c, n, k)
        u_i, where one step with term i alone leads.
    chosen : Tensor (c, b), integer
        Slots filled so far; −1 for those that are not.
    replacement : bool
        Whether a term may come twice.

    Returns
    -------
    Tensor (c, n)
        Zero for terms that may not come again.
    """
    n, b = images.shape[1], chosen.shape[1]
    filled = int((chosen[0] >= 0).sum())
    taken = chosen[:, :filled]
    rest = b - filled - 1
    sums = images.gather(1, taken[:, :, None].expand(-1, -1, images.shape[2])).sum(1)
    if replacement:
        mean = images.mean(1)
        spread = ((images - mean[:, None]) ** 2).sum(-1).mean(1)
        return ((images + (sums + rest * mean)[:, None]) ** 2).sum(-1) + rest * spread[:, None]
    after, left = n - filled - 1, images.sum(1) - sums
    share = rest / after if after else 0.0
    squares = ((1 - share) * images + (sums + share * left)[:, None]).square().sum(-1)
    if 0 < rest < after:
        own = images.square().sum(-1)
        left_squares = own.sum(1) - own.gather(1, taken).sum(1)
        mean_squares = (left[:, None] - images).square().sum(-1) / after**2
        variance = (left_squares[:, None] - own) / after - mean_squares
        squares = squares + rest * (after - rest) / (after - 1) * variance.clamp(min=0)
    return squares.scatter(1, taken, 0.0)


def slot_weights(images: Tensor, chosen: Tensor, replacement: bool, order: float, floor: Tensor) -> Tensor:
    """Weights of all terms for the next slot, (E[|u_B|² | …] + f)^(p/2) with u_B the batch mean: (c, n).

    Parameters
    ----------
    images, chosen, replacement
        As in `conditional_squares`.
    order : float
        p.
    floor : Tensor (c,)
        f.
    """
    b = chosen.shape[1]
    squares = conditional_squares(images, chosen, replacement) / b**2 + floor[:, None]
    weights = squares if order == 2 else squares ** (order / 2)
    filled = int((chosen[0] >= 0).sum())
    return weights if replacement or not filled else weights.scatter(1, chosen[:, :filled], 0.0)


def choose_batch(
    images: Tensor, uniforms: Tensor, replacement: bool, order: float, floor: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw a batch for every chain by where it leads.

    Slot by slot with the weights of `slot_weights`. The ratio of the true law of the batch to the one drawn from is
    Π_s (mean weight of slot s / weight of the term chosen); the last of these weights is h(u_B) = (|u_B|² + f)^(p/2).

    Parameters
    ----------
    images, replacement, order, floor
        As in `slot_weights`.
    uniforms : Tensor (c, b)
        Uniform in [0, 1).

    Returns
    -------
    Tensor (c, b), Tensor (c,)
        Terms, and the logarithm of h(u_B) times the ratio of the laws. For p = 2, and for batches of one, that is
        ln E h(u_B), whatever was drawn. Minus infinity where every batch leads to h = 0.
    """
    n, b = images.shape[1], uniforms.shape[1]
    chosen = torch.full(uniforms.shape, -1, dtype=torch.int64, device=images.device)
    log = images.new_zeros(len(images))
    for slot in range(b):
        weights = slot_weights(images, chosen, replacement, order, floor)
        sums = weights.cumsum(1)
        total = sums[:, -1]
        term = torch.searchsorted(sums, uniforms[:, slot : slot + 1] * total[:, None], right=True)
        # Rounding may put the point at the very end, where nothing need have weight.
        chosen[:, slot] = torch.where(term[:, 0] < n, term[:, 0], weights.argmax(1))
        log = log + (total / (n if replacement else n - slot)).log()
        if slot < b - 1:
            log = log - weights.gather(1, chosen[:, slot : slot + 1])[:, 0].log()
        if not slot:
            dead = total == 0
    return chosen, torch.where(dead, -math.inf, log)


def systematic(log_weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draw m ancestors in each of g populations, chain i m w_i / Σw times in the mean and but one more or less.

    Parameters
    ----------
    log_weights : Tensor (..., m)
        ln w.
    uniforms : Tensor (..., 1)
        One number in [0, 1) a population.

    Returns
    -------
    Tensor (..., m), integer

    Notes
    -----
    Source: systematic resampling, Carpenter, Clifford and Fearnhead 1999, IEE Proceedings - Radar, Sonar and
    Navigation 146:2.
    """
    m = log_weights.shape[-1]
    sums = log_weights.softmax(-1).cumsum(-1)
    sums = sums / sums[..., -1:]
    points = (torch.arange(m, dtype=sums.dtype, device=sums.device) + uniforms) / m
    return torch.searchsorted(sums, points.clamp(max=1 - 2**-53), right=True).clamp(max=m - 1)


def effective(log_weights: Tensor) -> Tensor:
    """Effective number of chains (Σw)²/Σw²: (..., m) -> (...), NaN where all weights are zero."""
    weights = (log_weights - log_weights.amax(-1, keepdim=True)).exp()
    return weights.sum(-1).square() / weights.square().sum(-1)


def log_mean(log_weights: Tensor) -> Tensor:
    """ln of the mean weight of each population, (..., m) -> (...)."""
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])
