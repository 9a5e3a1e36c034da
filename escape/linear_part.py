"""Growth rates of the linear part of SGD at a point, from the Hessians of all samples there."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.func import vjp, vmap

from escape import theory
from escape.landscapes import CriticalPoint, GeneralizedLinear, Landscape, second_order
from escape.landscapes.batches import one_thread
from escape.method import Method
from escape.oracles import SURROGATES, GaussianNoise, MiniBatch, Oracle, Reshuffled, StableNoise
from escape.streams import block_generator

_NUMBERS = 30_000_000  # of all Hessians together, above which they are not formed
_PACKED = 90  # dimension above which the operator on second moments is not formed
_GATHERED = 1 << 22  # numbers of Hessians gathered at a step
_CHAINS, _STEPS, _DRAWN = 64, 600, 50  # of a Lyapunov exponent without a closed form; steps drawn at a time
_EPOCH = 60  # most steps of an epoch, so that such an exponent is a mean over ten of them
_EQUAL = 1e-9  # relative difference of curvatures that counts as none; more where rounding is coarser
_SEARCH = 20  # rounds of a search for a batch that expands


@dataclass(frozen=True)
class Rates:
    """Growth per step of the linear part: ln rho, gamma with its standard error, the exponent alpha; None if unknown.

    `differ` says whether the samples' Hessians do: without that, gamma is half of ln rho. `expands` says whether some
    batch takes points farther away, None if that is not known; of interest where gamma < 0.
    """

    log_rate: float | None
    lyapunov_exponent: float | None
    lyapunov_error: float = 0.0
    escape_exponent: float | None = None
    differ: bool = False
    expands: bool | None = False
    caveats: tuple[str, ...] = ()


@one_thread()
def linear_rates(landscape: Landscape, oracle: Oracle, method: Method, point: CriticalPoint) -> Rates:
    """Rates of the chain that follows the second-order Taylor polynomial of every sample.

    Parameters
    ----------
    landscape, oracle, method
        Of the run.
    point : CriticalPoint
        Where to linearise.
    """
    lr, momentum = method.lr, method.momentum
    kept = _moved(point)
    values = point.eigenvalues.double().cpu().numpy()[kept]
    log = float(np.log(max(_spectral_radius(1 - lr * values, method), 1e-300)))
    plain = Rates(2 * log, log)
    stable = type(oracle) is StableNoise and oracle.alpha < 2
    x, v = point.location, point.directions[:, 0]
    if oracle.noisy(landscape) and (stable or math.isinf(oracle.noise_variance(landscape, x, v))):
        # gamma is that of the difference of two chains, which additive noise leaves alone
        known = log if oracle.additive(landscape) else None
        what = "stable noise" if stable else f"the noise of {type(oracle).__name__}"
        return Rates(None, known, caveats=(f"{what} has no variance: E |x|^2 is infinite at every step",))
    if not oracle.noisy(landscape) or oracle.additive(landscape):
        return plain
    if type(oracle) not in (MiniBatch, Reshuffled, GaussianNoise, *SURROGATES):
        text = f"theory does not know {type(oracle).__name__}: how its noise changes with the distance"
        return Rates(None, None, differ=True, expands=None, caveats=(text,))
    curvatures, residual = _along(landscape, point, kept[[0, -1]])
    scale = np.abs(curvatures).max() + np.abs(values).max()
    hessians = _hessians(landscape, point, kept)
    equal = max(_EQUAL, 64 * torch.finfo(landscape.samples.dtype).eps)
    spread = residual if hessians is None else np.abs(hessians - hessians.mean(0)).max()
    if max(spread, np.abs(curvatures - curvatures.mean(0)).max()) <= equal * scale:
        unseen = "samples agree in the least and the largest curvature; the others were not looked at"
        return plain if hessians is not None else replace(plain, caveats=(unseen,))
    if momentum:
        return Rates(None, None, differ=True, caveats=("curvatures differ: their rates under momentum are not known",))
    if type(oracle) is Reshuffled:
        return _reshuffled(landscape, oracle, lr, point, hessians, int(kept[np.abs(1 - lr * values).argmax()]))
    if type(oracle) in SURROGATES:
        text = "the noise changes with the distance, in another way than a batch's: its rates are not known"
        return Rates(None, None, differ=True, caveats=(text,))
    sampling = (lr, oracle.batch_size, oracle.replacement)
    if hessians is not None:
        diagonal = np.einsum("nii->ni", hessians)
        if np.abs(hessians - diagonal[:, :, None] * np.eye(len(values))).max() <= equal * scale:
            return _commuting(landscape, oracle, point, diagonal, sampling, kept)
    elif residual <= equal * scale:
        caveat = "rates are those along the least and the largest curvature"
        return _commuting(landscape, oracle, point, curvatures, sampling, kept[[0, -1]], (caveat,))
    gamma, error = _lyapunov(landscape, oracle, lr, point, int(kept[np.abs(1 - lr * values).argmax()]), 0, hessians)
    expands = True if type(oracle) is GaussianNoise else None
    if expands is None and hessians is not None and gamma < 0:
        expands = _some_batch_expands(hessians, *sampling, equal * scale)
    if hessians is None or len(values) > _PACKED:
        text = f"n = {landscape.n}, d = {len(point.location)} are too many for ln rho: use rare.moment_rate"
        return Rates(None, gamma, error, differ=True, expands=expands, caveats=(text,))
    log_rate = theory.second_moment(hessians, *sampling).log_rate
    return Rates(log_rate, gamma, error, differ=True, expands=expands)


def _reshuffled(
    landscape: Landscape, oracle: Reshuffled, lr: float, point: CriticalPoint, hessians: np.ndarray | None, number: int
) -> Rates:
    """Rates per step where an epoch goes through a permutation: exact for few samples, gamma by Monte Carlo."""
    n, b = landscape.n, oracle.batch_size
    if n % b or n // b > _EPOCH:
        why = f"reshuffling {n} samples in batches of {b}: rates are known where b divides n, n/b up to {_EPOCH}"
        return Rates(None, None, differ=True, expands=None, caveats=(why,))
    gamma, error = _lyapunov(landscape, oracle, lr, point, number, n // b)
    try:
        if hessians is None or hessians.shape[1] > _PACKED:
            raise ValueError
        log_rate, caveats = theory.reshuffling_second_moment(hessians, lr, b).log_rate * b / n, ()
    except ValueError:
        log_rate, caveats = None, ("too many samples for ln rho of reshuffled epochs",)
    return Rates(log_rate, gamma, error, differ=True, expands=None, caveats=caveats)


def _spectral_radius(factor: np.ndarray, method: Method) -> float:
    """Largest |z| with z^2 - (factor + b) z + b = 0: modes of momentum, or plain descent's factor itself and 0.

    Nesterov's are those with b = momentum * factor, and momentum * factor + factor in the middle.
    """
    b = method.momentum * (factor if method.nesterov else 1.0)
    trace = factor + b
    root = np.sqrt(trace.astype(complex) ** 2 - 4 * b)
    return float(np.abs([trace + root, trace - root]).max() / 2)


def _moved(point: CriticalPoint) -> np.ndarray:
    """Numbers of the directions along which chains move: all but those that a retraction or a symmetry takes away."""
    order = point.eigenvalues.abs().argsort()[point.gauge :]
    return np.sort(order.cpu().numpy())


def _along(landscape: Landscape, point: CriticalPoint, ends: np.ndarray) -> tuple[np.ndarray, float]:
    """Curvatures (n, 2) of all samples along the least and the largest curvature, and by how much H_i v leaves v."""
    x, directions = point.location, point.directions[:, ends]

    def product(sample, v):  # H_i is symmetric: the transposed product, by reverse differentiation, is as good
        return vjp(lambda y: landscape.sample_gradient(y, sample), x)[1](v)[0]

    found, residual = [], 0.0
    for v in directions.T:
        products = vmap(product, (0, None))(landscape.samples, v).double()
        found.append(products @ v.double())
        residual = max(residual, float((products - found[-1][:, None] * v.double()).abs().max()))
    return torch.stack(found, 1).cpu().numpy(), residual


def _hessians(landscape: Landscape, point: CriticalPoint, kept: np.ndarray) -> np.ndarray | None:
    """Hessians (n, m, m) of all samples along the directions kept, or None where they are too large."""
    if not point.complete or landscape.n * len(point.location) ** 2 > _NUMBERS:
        return None
    found = landscape.sample_hessians(point.location).double().cpu().numpy()
    basis = point.directions.double().cpu().numpy()[:, kept]
    turned = np.einsum("ji,njk,kl->nil", basis, found, basis, optimize=True)
    return (turned + turned.transpose(0, 2, 1)) / 2


def _commuting(
    landscape, oracle: Oracle, point, curvatures: np.ndarray, sampling: tuple, number: np.ndarray, caveats: tuple = ()
) -> Rates:
    """Rates where all Hessians share the directions, of these numbers: every direction is a chain of its own."""
    rates = [theory.mean_square_rate(column, *sampling) for column in curvatures.T]
    true = type(oracle) is MiniBatch
    gamma, error = -math.inf, 0.0
    for j in np.argsort(rates)[::-1]:
        if math.log(max(rates[j], 1e-300)) <= 2 * gamma:
            break  # 2 gamma <= ln rho along every direction
        found = _exponent(curvatures[:, j], sampling) if true else _lyapunov(
            landscape, oracle, sampling[0], point, int(number[j])
        )  # fmt: skip
        gamma, error = max((gamma, error), found)
    expanding = [j for j, column in enumerate(curvatures.T) if _column_expands(column, *sampling)] if true else None
    alpha = None
    if true and gamma < 0:
        alpha = math.inf
        try:
            for j in sorted(expanding, key=lambda j: -rates[j]):
                if alpha > 2 or rates[j] >= 1:  # alpha > 2 where rho < 1
                    alpha = min(alpha, theory.escape_exponent(curvatures[:, j], *sampling))
        except ValueError:
            alpha, caveats = None, (*caveats, "too many distinct batches for the exponent of rare escapes")
    return Rates(math.log(max(*rates, 1e-300)), gamma, error, alpha, True, not true or bool(expanding), caveats)


def _column_expands(curvatures: np.ndarray, lr: float, batch_size: int, replacement: bool) -> bool:
    """Whether some batch has |1 - lr h_B| > 1: that of the least or of the largest curvatures, if any."""
    ordered, b = np.sort(curvatures), 1 if replacement else batch_size
    return bool(max(abs(1 - lr * ordered[:b].mean()), abs(1 - lr * ordered[-b:].mean())) > 1 + _EQUAL)


def _some_batch_expands(
    hessians: np.ndarray, lr: float, batch_size: int, replacement: bool, rounding: float
) -> bool | None:
    """Whether some batch has |I - lr H_B| > 1: no if no sample has, yes if one is found, None if neither."""
    values, vectors = np.linalg.eigh(hessians)
    if values.min() >= -rounding and values.max() <= 2 / lr + rounding:
        return False
    if replacement or batch_size == 1:
        return True  # a batch may hold one sample alone
    for end, sign in ((0, -1), (-1, 1)):
        v = vectors[(sign * values[:, end]).argmax(), :, end]
        for _ in range(_SEARCH):
            along = np.einsum("i,nij,j->n", v, hessians, v, optimize=True)
            inner, directions = np.linalg.eigh(hessians[np.argsort(-sign * along)[:batch_size]].mean(0))
            if inner[0] < -rounding or inner[-1] > 2 / lr + rounding:
                return True
            v = directions[:, end]
    return None


def _exponent(curvatures: np.ndarray, sampling: tuple) -> tuple[float, float]:
    """gamma along one direction with its standard error: by enumeration, or by Monte Carlo if the batches are many."""
    try:
        return theory.lyapunov_exponent(curvatures, *sampling), 0.0
    except ValueError:
        return theory.lyapunov_exponent_product(curvatures[:, None, None], *sampling)


def _lyapunov(
    landscape: Landscape,
    oracle: Oracle,
    lr: float,
    point: CriticalPoint,
    number: int,
    epoch: int = 0,
    hessians: np.ndarray | None = None,
) -> tuple[float, float]:
    """gamma and its standard error, by Monte Carlo along the products of I - lr H_B; (-inf, nan) if one maps to zero.

    H_B delta is the difference of two gradients of one batch on the second-order landscape. Chains start along one
    eigenvector: that which batch descent amplifies most, where gamma is found soonest when noise is weak.
    """
    near, start = second_order(landscape, point), point.directions[:, number]
    bent = _bent(near, oracle, point, hessians)
    generator = block_generator(0, 0, point.location.device)
    x = start.expand(_CHAINS, -1).clone()
    # Whole epochs, where steps come in epochs: their means are not those of a part of one.
    drawn, whole = epoch or _DRAWN, epoch or 1
    burn_in, total = -(-(_STEPS // 4) // whole) * whole, torch.zeros(_CHAINS).to(x)
    carried = oracle.begin(near, _CHAINS, generator)
    taken = point.directions[:, np.setdiff1d(np.arange(point.directions.shape[1]), _moved(point))]
    for first in range(0, burn_in + _STEPS, drawn):
        draws, carried = oracle.draw_on(carried, near, drawn, _CHAINS, generator)
        for t, draw in enumerate(draws, first):
            x = x - lr * bent(x, draw)
            x = x - (x @ taken) @ taken.T
            norm = x.norm(dim=1)
            if not bool((norm > 0).all()):
                return -math.inf, math.nan
            x = x / norm[:, None]
            if t >= burn_in:
                total += norm.log()
    rates = total / (first + drawn - burn_in)
    return float(rates.mean()), float(rates.std() / _CHAINS**0.5)


def _bent(near: Landscape, oracle: Oracle, point: CriticalPoint, hessians: np.ndarray | None) -> Callable:
    """H_B delta of every batch, (c, d) -> (c, d): from the Hessians themselves where they are in hand and small."""
    here = point.location.expand(_CHAINS, -1)
    if type(oracle) is MiniBatch and hessians is not None and not isinstance(near, GeneralizedLinear):
        m, b = hessians.shape[1], oracle.batch_size
        if _CHAINS * b * m * m <= _GATHERED:
            basis, bends = point.directions[:, _moved(point)], torch.as_tensor(hessians).to(here)
            return lambda x, draw: torch.einsum("cij,cj->ci", bends[draw.long()].mean(1), x @ basis) @ basis.T
    return lambda x, draw: oracle.gradient(near, here + x, draw) - oracle.gradient(near, here, draw)
