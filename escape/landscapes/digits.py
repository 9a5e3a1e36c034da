"""The handwritten digits as features and labels: the real data of the learning problems."""

import numpy as np
import torch
from torch import Tensor


def standardised_digits(components: int = 0) -> tuple[Tensor, Tensor]:
    """Load scikit-learn's handwritten digits: n = 1797 images of 8 × 8 pixels with their labels 0 to 9.

    Every pixel is centred and scaled to unit variance; the three that are the same in all images are dropped. Then all
    are divided by one number that makes the largest eigenvalue of the second moments equal to 1.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository, as shipped with
    scikit-learn.

    Parameters
    ----------
    components : int
        Principal components to keep, the largest, each with its own variance (1, 0.79, 0.70, …); 0 keeps the pixels.

    Returns
    -------
    Tensor (n, d), Tensor (n,)
        Features and labels, float64; d = 61, or the number of components.

    Raises
    ------
    ValueError
        If there are not so many components.
    """
    from sklearn.datasets import load_digits  # half a second of import that no other landscape should pay
    from sklearn.preprocessing import scale

    data = load_digits()
    pixels = scale(data.data[:, np.ptp(data.data, axis=0) > 0])
    if not 0 <= components <= pixels.shape[1]:
        raise ValueError(f"components must lie in 0 (all pixels) to {pixels.shape[1]}, got {components}")
    values, vectors = np.linalg.eigh(pixels.T @ pixels / len(pixels))
    features = pixels @ vectors[:, ::-1][:, :components] if components else pixels
    return torch.from_numpy(features / np.sqrt(values[-1])), torch.from_numpy(data.target.astype(np.float64))
