"""Input checks shared by the closed forms: one clear line for every bad number."""

import numpy as np


def real(name, value):
    """Array of finite floats.

    Raises
    ------
    ValueError
        If an entry is not a finite number.
    """
    array = np.asarray(value, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} is {value!r}: it must be finite")
    return array


def positive(name, value):
    """Array of finite floats above zero.

    Raises
    ------
    ValueError
        If an entry is zero, negative or not finite.
    """
    array = real(name, value)
    if (array <= 0).any():
        raise ValueError(f"{name} is {value!r}: it must be above zero")
    return array


def nonnegative(name, value):
    """Array of finite floats, none below zero.

    Raises
    ------
    ValueError
        If an entry is negative or not finite.
    """
    array = real(name, value)
    if (array < 0).any():
        raise ValueError(f"{name} is {value!r}: it must not be negative")
    return array


def unstable(curvature):
    """Array of curvatures, all of them negative.

    Raises
    ------
    ValueError
        If a curvature is zero, positive or not finite.
    """
    array = real("curvature", curvature)
    if (array >= 0).any():
        raise ValueError(f"curvature is {curvature!r}: an escape direction has a negative one, -lambda")
    return array


def whole(name, value, least=0):
    """A whole number as an `int`, not below `least`.

    Raises
    ------
    ValueError
        If the value is not whole or is below `least`.
    """
    if np.ndim(value) or int(value) != value or value < least:
        raise ValueError(f"{name} is {value!r}: it must be a whole number, at least {least}")
    return int(value)
