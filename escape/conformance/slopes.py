"""Checks of gradients and Hessians: by automatic differentiation, by differences, of batches and of all samples."""

from itertools import combinations

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from escape.conformance.seen import Seen
from escape.conformance.subject import Subject, place
from escape.conformance.values import NEW_TENSOR, unchanged
from escape.landscapes.base import Landscape

_DIRECTIONS = 8  # along which differences are taken
_BATCHES = 4096  # batches in one call
_LARGEST = 4_000_000  # numbers in all Hessians of samples, beyond which they are not formed


def by_autograd(subject: Subject, see: Seen) -> None:
    """Whether sample_gradient is the derivative of sample_loss, to rounding."""
    landscape, x, rows = subject.landscape, subject.x, subject.samples[subject.index]
    expected = subject.reference
    bad = (~torch.isfinite(expected)).any(-1).nonzero().tolist()
    where = subject.at_sample(bad[0]) if bad else place(x[0])
    see.hold(
        not bad and all(bool(torch.isfinite(every).all()) for every in subject.every),
        f"the gradient of sample_loss is not finite {where}",
        "torch.where differentiates the branch not taken too: keep roots, logarithms and quotients finite in it",
    )
    what = "sample_gradient against automatic differentiation of sample_loss"
    unchanged(landscape.sample_gradient, "sample_gradient", x[0], rows[0, 0])
    alone = landscape.sample_gradient(x[0].clone(), rows[0, 0].clone())
    see.hold(alone.shape == x[0].shape, f"{what} has shape {tuple(alone.shape)}, expected {tuple(x[0].shape)}")
    see.hold(alone.dtype == x.dtype, f"sample_gradient must keep the dtype {x.dtype}, got {alone.dtype}")
    closed = vmap(vmap(landscape.sample_gradient, (None, 0)))(x, rows)
    allowed = subject.eps * subject.slope
    see.close(what, closed, expected, allowed, subject.at_sample)
    see.close("sample_gradient of one point and sample alone", alone, expected[0, 0], allowed, place(x[0]))
    picked = landscape.gradient_at_sample(x, rows[:, 0])
    see.close("gradient_at_sample", picked, expected[:, 0], allowed, subject.at)


def by_differences(subject: Subject, see: Seen) -> None:
    """Whether sample_gradient is the slope of sample_loss, by central differences in double precision."""
    landscape = subject.landscape
    wide = landscape if subject.x.dtype == torch.float64 else landscape.to(dtype=torch.float64)
    x, index = subject.x[:6].to(torch.float64), subject.index[:6, :3]
    d = x.shape[1]
    if d <= _DIRECTIONS:
        directions = torch.eye(d).to(x)
    else:
        directions = torch.nn.functional.normalize(subject.normal(_DIRECTIONS, d).to(x), dim=1)
    rows = wide.samples[index]
    slopes = vmap(vmap(wide.sample_gradient, (None, 0)))(x, rows) @ directions.T
    found, allowed = _differences(wide, x, rows, directions)
    advice = (
        "automatic differentiation does not see all of sample_loss: look for .detach(), torch.no_grad(), .item(), "
        "rounding, or a derivative of your own"
    )
    what = "sample_gradient against finite differences of sample_loss"
    see.close(what, slopes, found, allowed, subject.at_sample, advice)


def _differences(wide: Landscape, x: Tensor, rows: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes of sample_loss along directions and how far off they may be, (c, b, directions) each.

    Central differences over h and 2h are put together to fourth order; their gap bounds the truncation. Rounding of a
    value is what second differences over a distance of nothing show, and no less than that of f and of x. At a kink
    the one-sided slopes differ by as much at h as at 2h, and any slope between them will do.
    """

    def along(t: float) -> Tensor:
        def one(x, row, direction):
            return wide.sample_loss(x + t * direction, row)

        return vmap(vmap(vmap(one, (None, None, 0)), (None, 0, None)), (0, 0, None))(x, rows, directions)

    eps = torch.finfo(torch.float64).eps
    reach = max(1.0, float(x.abs().max()))
    h = eps ** (1 / 3) * reach
    low2, low, here, high, high2 = (along(t * h) for t in (-2, -1, 0, 1, 2))
    narrow, broad = (high - low) / (2 * h), (high2 - low2) / (4 * h)
    slope = (4 * narrow - broad) / 3
    tiny = torch.stack([along(t * 1e-9 * reach) for t in range(-2, 3)])
    shaken = tiny.diff(n=2, dim=0).abs().amax((0, 2, 3))[:, None, None]
    rounding = shaken + eps * (tiny.abs().amax(0) + reach * slope.abs())
    jump, jump2 = (high - 2 * here + low).abs() / h, (high2 - 2 * here + low2).abs() / (2 * h)
    kink = torch.where((jump > 0.75 * jump2) & (jump > 20 * rounding / h), jump, 0)
    return slope, (broad - narrow).abs() + 10 * rounding / h + kink


def of_batches(subject: Subject, see: Seen) -> None:
    """Whether the gradient of a batch is the mean over its samples, for any size and with repeated samples."""
    landscape, x, index = subject.landscape, subject.x, subject.index
    allowed = subject.eps * subject.slope
    what = "gradient of a batch against the mean over its samples"
    for columns in (5, 1, 3):
        expected = subject.reference[:, :columns].mean(1)
        see.close(what, landscape.gradient(x, index[:, :columns]), expected, allowed, subject.at)
    batch = x.clone()
    landscape.gradient(batch, index)
    see.hold(torch.equal(batch, x), "gradient of a batch changes its argument x in place", NEW_TENSOR)
    same = index[:, :1].expand(-1, 4)
    see.close(what + ", one sample four times", landscape.gradient(x, same), subject.reference[:, 0], allowed)


def alone(subject: Subject, see: Seen) -> None:
    """Whether what a chain sees does not depend on the chains beside it."""
    landscape, x, index = subject.landscape, subject.x, subject.index
    together, full = landscape.gradient(x, index), landscape.gradient(x)
    allowed = subject.eps * subject.slope
    for number in range(min(4, len(x))):
        point, batch = x[number], index[number]
        where = place(point)
        got = landscape.gradient(point, batch)
        see.close("gradient of one point alone", got, together[number], allowed, where)
        see.close("full gradient of one point alone", landscape.gradient(point), full[number], allowed, where)
    order = torch.arange(len(x) - 1, -1, -1, device=x.device)
    turned = landscape.gradient(x[order], index[order])[order]
    see.close("gradient of the same chains in another order", turned, together, allowed, subject.at)


def unbiased(subject: Subject, see: Seen) -> None:
    """Whether batch gradients have the full gradient as their mean, over every batch there is or a balanced set."""
    landscape, n, device = subject.landscape, subject.landscape.n, subject.x.device
    allowed = subject.eps * subject.slope
    few = subject.few.tolist()
    numbers = torch.arange(n, device=device)
    designs = {"all batches of one sample": (numbers[:, None], None)}
    if n >= 2:
        # In a circle every sample is in as many batches as any other, and so they stand for all of them.
        circle = torch.stack([numbers, numbers.roll(1)], 1)
        designs["batches of two that hold every sample twice"] = circle, None
        designs[f"all batches of two of {len(few)} samples"] = torch.tensor(list(combinations(few, 2))), few
    if len(few) >= 3:
        designs[f"all batches of three of {len(few)} samples"] = torch.tensor(list(combinations(few, 3))), few
    for place_number in range(min(2, len(subject.first))):
        x, every = subject.x[place_number], subject.every[place_number]
        for what, (batches, among) in designs.items():
            total = sum(
                landscape.gradient(x.expand(len(part), -1), part).sum(0) for part in batches.to(device).split(_BATCHES)
            )
            expected = every.mean(0) if among is None else every[among].mean(0)
            name = f"mean gradient over {what}, against the mean over their samples,"
            see.close(name, total / len(batches), expected, allowed, place(x))


def of_all(subject: Subject, see: Seen) -> None:
    """Whether the gradient over all samples, weighted or not, is the sum over them."""
    landscape, x, n = subject.landscape, subject.x, subject.landscape.n
    allowed, few = subject.eps * subject.slope, subject.first
    full = landscape.gradient(x)
    name = "gradient over all samples against the mean of sample_gradient"
    see.close(name, full[: len(few)], torch.stack([rows.mean(0) for rows in subject.every]), allowed, subject.at)
    all_of_them = torch.arange(n, device=x.device).expand(len(few), -1)
    name = "gradient over all samples against the batch that holds them all"
    see.close(name, full[: len(few)], landscape.gradient(few, all_of_them), allowed, subject.at)
    equal = x.new_full((len(x), n), 1.0 / n)
    made, name = landscape.weighted_gradient(x, equal)[: len(few)], "weighted_gradient with equal weights"
    see.close(name, made, torch.stack([rows.mean(0) for rows in subject.every]), allowed, subject.at)
    weights = subject.normal(len(few), n) / n
    expected = torch.stack([w @ rows for w, rows in zip(weights, subject.every, strict=True)])
    see.close("weighted_gradient", landscape.weighted_gradient(few, weights), expected, allowed, subject.at)


def hessians(subject: Subject, see: Seen) -> None:
    """Whether Hessians, along a few directions, are derivatives of the gradients of sample_loss."""
    landscape, d = subject.landscape, subject.x.shape[1]
    if d > 512:
        see.skip(f"a Hessian of {d} dimensions takes too long")
    for x in subject.x[:2]:
        directions = torch.nn.functional.normalize(subject.normal(3, d), dim=1)

        def bent(x, sample, directions=directions):
            return torch.stack(
                [jvp(lambda y: grad(landscape.sample_loss)(y, sample), (x,), (v,))[1] for v in directions]
            )

        each = subject.over_samples(bent, x)
        size = float(each.abs().max()) + subject.slope / max(1.0, float(x.norm()))
        expected, allowed = each.mean(0), subject.eps * size
        got = (landscape.hessian(x) @ directions.T).T
        see.close("hessian against derivatives of sample_loss", got, expected, allowed, place(x))
        if landscape.n * d * d <= _LARGEST:
            got = torch.einsum("nij,mj->nmi", landscape.sample_hessians(x), directions)
            see.close("sample_hessians against derivatives of sample_loss", got, each, allowed, place(x))
