"""Alignment of the noise with the Gauss-Newton matrix, for half squared residuals."""

from escape.noise_geometry.number import Number, undefined
from escape.noise_geometry.products import Products
from escape.noise_geometry.spectra import Noise


def wu_alignment(products: Products, noise: Noise) -> Number:
    """μ = Tr(CG)/(2 f |G|_F²) with G = (1/n) Σ ∇r_i ∇r_iᵀ for terms f_i = ½ r_i².

    Then ∇f_i = r_i ∇r_i, so that ∇r_i ∇r_iᵀ = ∇f_i ∇f_iᵀ/(2 f_i) needs no residual and no sign. A residual of zero
    leaves ∇r_i unknown, and a negative term is no half square.

    Parameters
    ----------
    products : Products
        Of the landscape at the point.
    noise : Noise
        What of C is held: C or the Gram matrix.

    Notes
    -----
    Source: Wu, Wang and Su 2022, NeurIPS, for square loss.
    """
    losses = products.losses()
    if bool((losses < 0).any()):
        return undefined("some f_i is negative, no half square")
    if not float(losses.min()) > 1e-24 * float(losses.max()):
        return undefined("a residual is zero, its gradient unknown")
    root = (2 * losses).sqrt()
    mean = products.gradient
    if noise.covariance is not None:
        rows = ((part + mean) / root[some, None] for some, part in products.centred())
        matrix = sum(part.T @ part for part in rows) / products.n
        both, square = (noise.covariance * matrix).sum(), (matrix * matrix).sum()
    elif noise.gram is not None:
        # With z_i = ∇f_i − ∇f and w_i = (z_i + ∇f)/r_i: n² Tr CG = Σ (z_iᵀw_j)², n² |G|² = Σ (w_iᵀw_j)².
        shift = products.along(mean[:, None])[:, 0] / products.n
        mixed = (noise.gram + shift[:, None]) / root
        inner = (noise.gram + shift[:, None] + shift + mean @ mean / products.n) / root / root[:, None]
        both, square = (mixed * mixed).sum(), (inner * inner).sum()
    else:
        return undefined("neither d nor n is small enough for it to be exact")
    size = 2 * losses.mean() * square
    return Number(float(both / size)) if float(size) > 0 else undefined("the Gauss-Newton matrix is zero")
