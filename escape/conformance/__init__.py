"""One proof for every landscape: what it declares against what follows from its per-sample loss."""

from collections.abc import Callable, Iterator

from torch import Tensor

from escape.conformance.properties import PROPERTIES
from escape.conformance.report import FAILED, SKIPPED, Finding, NotALandscape, Report
from escape.conformance.seen import look
from escape.conformance.subject import Subject
from escape.landscapes.base import Landscape
from escape.progress import Progress


def check_landscape(landscape: Landscape, points: Tensor | None = None, seed: int = 0) -> None:
    """Prove a landscape right, property by property.

    Checked: samples, dtypes and shapes; values finite, the same at every call, alone and in a batch, and without a
    trace left on their arguments; gradients against automatic differentiation and against finite differences; batch
    gradients against the mean over their samples, and unbiased; the affine and the constant-noise claims; covariances
    against their definition; every declared point stationary, with its index, spectrum, directions and kind of noise;
    retraction; float32 beside float64, CUDA beside the CPU where there is one; copies, pickles, and a short run under
    every oracle.

    Parameters
    ----------
    landscape : Landscape
        What to prove; float64 gives the sharpest test.
    points : Tensor (c, d), optional
        Where to test; near declared points if omitted.
    seed : int
        Seed of the batches and of the points.

    Raises
    ------
    NotALandscape
        Naming the first property that fails, where, by how much, and what to do.
    ValueError
        If there is nothing to tell the dimension by, or the points are none.
    """
    for found in _findings(landscape, points, seed):
        if found.status == FAILED:
            raise NotALandscape(found.message)


def landscape_report(
    landscape: Landscape,
    points: Tensor | None = None,
    seed: int = 0,
    progress: bool | str | Callable[[int, int], None] | None = None,
) -> Report:
    """Look for every property of a landscape that `check_landscape` proves, and go on after one that fails.

    What rests on a property that failed is skipped, and says on which.

    Parameters
    ----------
    landscape, points, seed
        As in `check_landscape`.
    progress : bool, str or callable, optional
        As in `simulate`: True or a label shows it, a callable is called with (done, total).

    Returns
    -------
    Report
        With one finding for each property; printed, it is a table.

    Raises
    ------
    ValueError
        As `check_landscape`.
    """
    findings = []
    with Progress(len(PROPERTIES), progress) as bar:
        for found in _findings(landscape, points, seed):
            findings.append(found)
            bar.advance(1)
    samples = landscape.samples
    size = f"n = {len(samples)}" if samples.ndim else "no samples"
    name = f"{type(landscape).__name__} ({size}, {str(samples.dtype).removeprefix('torch.')} on {samples.device.type})"
    return Report(name, tuple(findings))


def _findings(landscape: Landscape, points: Tensor | None, seed: int) -> Iterator[Finding]:
    """Look for one property after the other; those that rest on one that failed are skipped."""
    failed: dict[Callable, str] = {}
    first, *others = PROPERTIES
    # Nothing else can be made of a landscape without proper samples, not even test points.
    found = look(first.name, first.advice, lambda see: first.check(_Bare(landscape), see))
    yield found
    if found.status == FAILED:
        failed[first.check] = first.name
    subject = None if failed else Subject(landscape, points, seed)
    for one in others:
        missing = [failed[check] for check in one.needs if check in failed]
        if missing:
            yield Finding(one.name, SKIPPED, text=f"needs: {missing[0]}")
            continue
        found = look(one.name, one.advice, lambda see, one=one: one.check(subject, see))
        if found.status == FAILED:
            failed[one.check] = one.name
        yield found


class _Bare:
    """A landscape of which only the samples are known to be there."""

    def __init__(self, landscape: Landscape):
        self.samples = landscape.samples


__all__ = ["Finding", "NotALandscape", "Report", "check_landscape", "landscape_report"]
