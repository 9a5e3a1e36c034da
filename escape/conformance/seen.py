"""What one check sees: it keeps the worst comparison, and says in words what an exception of somebody's code means."""

from collections.abc import Callable

import torch
from torch import Tensor

from escape.conformance.report import FAILED, PASSED, SKIPPED, Finding

_LONGEST = 220  # characters of somebody else's message


class Broken(Exception):
    """A property that does not hold, where no number measures by how much."""

    def __init__(self, text: str, advice: str | None = None):
        super().__init__(text)
        self.text, self.advice = text, advice


class Skipped(Exception):
    """A property that is not looked at; the text says why."""


class Seen:
    """The comparisons of one check; only the worst is kept."""

    def __init__(self):
        self.ratio = -1.0
        self.deviation = self.tolerance = None
        self.what = self.where = ""
        self.advice = None

    def close(
        self,
        what: str,
        got: Tensor,
        expected: Tensor,
        allowed: float | Tensor,
        where: Callable[[tuple[int, ...]], str] | str = "",
        advice: str | None = None,
    ) -> None:
        """Compare two tensors entry by entry.

        Parameters
        ----------
        what : str
            Name of the comparison, which opens the message.
        got, expected : Tensor
            The two, of one shape.
        allowed : float or Tensor
            Deviation allowed for rounding, the same for all entries or for each.
        where : str, or callable of the index of an entry
            Place of an entry, in words.
        advice : str, optional
            What to do, instead of what the property advises.
        """
        if not isinstance(got, Tensor) or got.shape != expected.shape:
            shape = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
            raise Broken(f"{what} has shape {shape}, expected {tuple(expected.shape)}", advice)
        if not got.numel():
            return
        error = (got - expected).detach().double().abs()
        error = torch.where(error.isnan(), torch.inf, error)
        bounds = torch.as_tensor(allowed, dtype=torch.float64, device=error.device).clamp(min=1e-300)
        bounds = bounds.expand(error.shape)
        ratios = error / bounds
        worst = int(ratios.argmax())
        ratio = float(ratios.reshape(-1)[worst])
        if ratio <= self.ratio:
            return
        self.ratio, self.what, self.advice = ratio, what, advice
        self.deviation, self.tolerance = float(error.reshape(-1)[worst]), float(bounds.reshape(-1)[worst])
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), error.shape)) if error.ndim else ()
        self.where = where(index) if callable(where) else where

    @staticmethod
    def hold(condition: bool, text: str, advice: str | None = None) -> None:
        """Break off unless a condition holds."""
        if not condition:
            raise Broken(text, advice)

    @staticmethod
    def skip(reason: str) -> None:
        """Break off: there is nothing to look at."""
        raise Skipped(reason)

    def finding(self, name: str, advice: str) -> Finding:
        """Turn the worst comparison into a finding."""
        numbers = (self.deviation, self.tolerance, self.where)
        if self.ratio <= 1:
            return Finding(name, PASSED, *numbers)
        place = f" {self.where}" if self.where else ""
        text = f"{self.what} is off by {self.deviation:.3g}{place}, with {self.tolerance:.1g} allowed for rounding"
        return Finding(name, FAILED, *numbers, text, self.advice or advice)


def look(name: str, advice: str, check: Callable[[Seen], None]) -> Finding:
    """Run one check and say what it has found, whatever somebody's code raises."""
    seen = Seen()
    try:
        with torch.no_grad():
            check(seen)
    except Skipped as skipped:
        return Finding(name, SKIPPED, text=str(skipped))
    except Broken as broken:
        return Finding(name, FAILED, text=broken.text, advice=advice if broken.advice is None else broken.advice)
    except Exception as error:  # somebody's code may raise anything
        text, remedy = _in_words(error)
        return Finding(name, FAILED, text=f"{name}: {text}", advice=remedy or advice)
    return seen.finding(name, advice)


def _in_words(error: Exception) -> tuple[str, str]:
    """What an exception says in one line, and what to do where it is a known one."""
    text = " ".join(str(error).split())
    for marks, said, remedy in _KNOWN:
        if any(mark in text for mark in marks):
            return said, remedy
    cut = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    remedy = "write it for one point (d,) and one sample (k,)" if isinstance(error, IndexError) else ""
    return f"{type(error).__name__}: {cut}" if cut else type(error).__name__, remedy


_KNOWN = (
    (
        ("data-dependent control flow", ".item()", "bool() or int()", "aten::_local_scalar_dense"),
        "Python branches on a value, which cannot be done for many points at once",
        "write torch.where(condition, a, b) in place of `if`, torch.clamp or torch.minimum in place of min and max, "
        "and no .item() or float()",
    ),
    (
        ("numpy() on", "Can't call numpy", "can't convert"),
        "the value leaves torch for numpy, which automatic differentiation cannot follow",
        "use torch functions throughout",
    ),
    (
        ("inplace arithmetic", "a view and is being modified inplace", "in-place operation", "modified by an inplace"),
        "a tensor is changed in place, which cannot be done for many points at once",
        "make a new tensor: x = x + 1, not x += 1; torch.stack or torch.cat, not y[0] = …",
    ),
    (
        ("randomness error mode",),
        "random numbers are drawn inside",
        "draw them once, as samples, before the landscape is made",
    ),
    (
        ("same dtype", "but got Float", "but got Double", "expected scalar type"),
        "two dtypes meet",
        "make constants by x.new_tensor(…), or keep them as tensor fields, which `to` moves",
    ),
    (
        ("does not require grad", "has no grad_fn", "not have a grad_fn"),
        "nothing of the value depends on x in a way that automatic differentiation can follow",
        "use torch functions of x throughout, without .detach() or torch.tensor(x)",
    ),
    (
        ("size mismatch", "inconsistent tensor size", "must match the size", "shapes cannot be multiplied"),
        "sizes do not fit",
        "write it for one point (d,) and one sample (k,); `dimension` must be d, and test points (c, d)",
    ),
)
