"""Growth rates of the linear part of SGD at a point, from the Hessians of all samples there."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.func import vjp, vmap

from escape import theory
from escape.landscapes import CriticalPoint, Landscape, second_order
from escape.landscapes.batches import one_thread
from escape.oracles import FullBatch, GaussianNoise, MiniBatch, Oracle
from escape.streams import block_generator

_NUMBERS = 30_000_000  # of all Hessians together, above which they are not formed
_PACKED = 90  # dimension above which the operator on second moments is not formed
_CHAINS, _STEPS, _DRAWN = 64, 600, 50  # of a Lyapunov exponent without a closed form; steps drawn at a time
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
def linear_rates(landscape: Landscape, oracle: Oracle, lr: float, momentum: float, point: CriticalPoint) -> Rates:
    """Rates of the chain that follows the second-order Taylor polynomial of every sample.

    Parameters
    ----------
    landscape, oracle, lr, momentum
        Of the run.
    point : CriticalPoint
        Where to linearise.
    """
    kept = _moved(point)
    values = point.eigenvalues.double().cpu().numpy()[kept]
    log = float(np.log(max(_spectral_radius(1 + momentum - lr * values, momentum), 1e-300)))
    plain = Rates(2 * log, log)
    if isinstance(oracle, FullBatch) or landscape.constant_noise or not oracle.covariance_factor(landscape):
        return plain
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
    if not isinstance(oracle, MiniBatch | GaussianNoise):
        text = "the noise grows with the distance, all directions alike: its rates are not known"
        return Rates(None, None, differ=True, caveats=(text,))
    sampling = (lr, oracle.batch_size, oracle.replacement)
    if hessians is not None:
        diagonal = np.einsum("nii->ni", hessians)
        if np.abs(hessians - diagonal[:, :, None] * np.eye(len(values))).max() <= equal * scale:
            return _commuting(landscape, oracle, point, diagonal, sampling, kept)
    elif residual <= equal * scale:
        caveat = "rates are those along the least and the largest curvature"
        return _commuting(landscape, oracle, point, curvatures, sampling, kept[[0, -1]], (caveat,))
    gamma, error = _lyapunov(landscape, oracle, lr, point, int(kept[np.abs(1 - lr * values).argmax()]))
    expands = True if isinstance(oracle, GaussianNoise) else None
    if expands is None and hessians is not None and gamma < 0:
        expands = _some_batch_expands(hessians, *sampling, equal * scale)
    if hessians is None or len(values) > _PACKED:
        text = f"n = {landscape.n}, d = {len(values)} are too many for ln rho: use rare.moment_rate"
        return Rates(None, gamma, error, differ=True, expands=expands, caveats=(text,))
    log_rate = theory.second_moment(hessians, *sampling).log_rate
    return Rates(log_rate, gamma, error, differ=True, expands=expands)


def _spectral_radius(trace: np.ndarray, determinant: float) -> float:
    """Largest |z| with z^2 - trace z + determinant = 0: roots of heavy ball, or a and 0 of plain descent."""
    root = np.sqrt(trace.astype(complex) ** 2 - 4 * determinant)
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
    if landscape.n * len(point.location) ** 2 > _NUMBERS:
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
    true = isinstance(oracle, MiniBatch)
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
    landscape: Landscape, oracle: Oracle, lr: float, point: CriticalPoint, number: int
) -> tuple[float, float]:
    """gamma and its standard error, by Monte Carlo along the products of I - lr H_B; (-inf, nan) if one maps to zero.

    H_B delta is the difference of two gradients of one batch on the second-order landscape. Chains start along one
    eigenvector: that which batch descent amplifies most, where gamma is found soonest when noise is weak.
    """
    near = second_order(landscape, point)
    start = point.directions[:, number]
    generator = block_generator(0, 0, point.location.device)
    x, here = start.expand(_CHAINS, -1).clone(), point.location.expand(_CHAINS, -1)
    burn_in, total = _STEPS // 4, torch.zeros(_CHAINS).to(x)
    taken = point.directions[:, np.setdiff1d(np.arange(len(start)), _moved(point))]
    for first in range(0, burn_in + _STEPS, _DRAWN):
        for t, draw in enumerate(oracle.draw(near, _DRAWN, _CHAINS, generator), first):
            x = x - lr * (oracle.gradient(near, here + x, draw) - oracle.gradient(near, here, draw))
            x = x - (x @ taken) @ taken.T
            norm = x.norm(dim=1)
            if not bool((norm > 0).all()):
                return -math.inf, math.nan
            x = x / norm[:, None]
            if t >= burn_in:
                total += norm.log()
    rates = total / (first + _DRAWN - burn_in)
    return float(rates.mean()), float(rates.std() / _CHAINS**0.5)
