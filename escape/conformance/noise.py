"""Checks of claims on which faster ways rely, and of the noise: covariances against their definition."""

import torch
from torch.func import vmap

from escape.conformance.seen import Seen
from escape.conformance.subject import Subject, place

_WIDE = "a covariance matrix of so many dimensions takes too much memory"


def affine(subject: Subject, see: Seen) -> None:
    """Whether values and gradients at a mixture of samples are the mixture of values and gradients."""
    landscape, x = subject.landscape, subject.x
    if not landscape.affine:
        see.skip("not claimed")
    rows = subject.samples[subject.index]
    # Weights of either sign that sum to one: Gaussian surrogates go beyond the samples themselves.
    weights = subject.normal(*subject.index.shape)
    weights = weights - weights.mean(1, keepdim=True) + 1 / weights.shape[1]
    for what, mix in (("means", torch.full_like(weights, 1 / weights.shape[1])), ("mixtures", weights)):
        mixed = torch.einsum("cb,cbk->ck", mix, rows)
        allowed = subject.eps * float(mix.abs().sum(1).max())
        slope = torch.einsum("cb,cbd->cd", mix, subject.reference)
        name = f"the claim `affine`: the gradient at {what} of samples"
        see.close(name, landscape.gradient_at_sample(x, mixed), slope, allowed * subject.slope, subject.at)
        values = vmap(vmap(landscape.sample_loss, (None, 0)))(x, rows)
        name = f"the claim `affine`: the value at {what} of samples"
        height = (mix * values).sum(1)
        see.close(name, vmap(landscape.sample_loss)(x, mixed), height, allowed * subject.height, subject.at)
    name = "the claim `affine`: loss, which sees the mean sample alone,"
    expected = torch.stack([rows.mean() for rows in subject.losses])
    see.close(name, landscape.loss(subject.first), expected, subject.eps * subject.height, subject.at)


def constant(subject: Subject, see: Seen) -> None:
    """Whether the covariance is the same at the first points, by its definition."""
    if not subject.landscape.constant_noise:
        see.skip("not claimed")
    if not subject.has_matrices:
        see.skip(_WIDE)
    if len(subject.x) < 2:
        see.skip("it takes two test points")
    first = subject.covariance(0)
    allowed = subject.noise_allowed(float(first.abs().max()))
    for number in range(1, len(subject.first)):
        where = place(subject.x[number])
        see.close("the claim `constant_noise`: covariance", subject.covariance(number), first, allowed, where)
        trace = subject.x.new_tensor(subject.landscape.constant_trace(subject.x.shape[1]))
        name = "the claim `constant_noise`: constant_trace"
        see.close(name, trace, first.trace(), len(first) * allowed, where)


def covariance(subject: Subject, see: Seen) -> None:
    """Whether covariance, variance along directions and trace are those of the gradients of sample_loss."""
    landscape, d = subject.landscape, subject.x.shape[1]
    if not subject.has_matrices:
        see.skip(_WIDE)
    traces = landscape.noise_trace(subject.x)
    see.hold(traces.shape == subject.x.shape[:1], f"noise_trace must map (c, d) to (c,), got {tuple(traces.shape)}")
    for number, x in enumerate(subject.first):
        expected, where = subject.covariance(number), place(x)
        allowed = subject.noise_allowed(float(expected.diagonal().max()))
        see.close(
            "gradient_covariance against its definition", landscape.gradient_covariance(x), expected, allowed, where
        )
        # Formulas of the trace may subtract the square of the mean gradient, whatever the noise.
        total = float(expected.trace())
        loose = subject.noise_allowed(total) + d * subject.eps / 100 * subject.slope**2
        see.close("noise_trace against the covariance", traces[number], expected.trace(), loose, where)
        directions = torch.nn.functional.normalize(subject.normal(d, 3), dim=0)
        along = torch.einsum("im,ij,jm->m", directions, expected, directions)
        loose = subject.noise_allowed(total)
        name = "noise_along against the covariance"
        see.close(name, landscape.noise_along(x, directions), along, loose, where)
        see.close(name, landscape.noise_along(x, directions[:, 0]), along[0], loose, where)


def root(subject: Subject, see: Seen) -> None:
    """Whether `sample_root` is a root of the samples' covariance and carries it into that of the gradients."""
    landscape = subject.landscape
    if not landscape.affine:
        see.skip("only of an affine landscape")
    if not subject.has_matrices:
        see.skip(_WIDE)
    factor, rows = landscape.sample_root, subject.samples
    see.hold(factor.shape[0] == rows.shape[1], f"sample_root must be (k, r) with k = {rows.shape[1]}")
    centred = rows - rows.mean(0)
    expected = centred.T @ centred / len(rows)
    size = float(expected.abs().max()) + subject.eps * float(rows.abs().max()) ** 2
    name = "sample_root against the covariance of the samples"
    see.close(name, factor @ factor.T, expected, subject.eps * size)
    if not factor.shape[1]:
        return
    for number, x in enumerate(subject.x[:2]):
        base = landscape.gradient_at_sample(x[None], landscape.mean_sample[None])[0]
        shifted = landscape.gradient_at_sample(x.expand(factor.shape[1], -1), landscape.mean_sample + factor.T)
        made = (shifted - base).T @ (shifted - base)
        exact = subject.covariance(number)
        allowed = len(exact) * subject.noise_allowed(float(exact.diagonal().max()))
        see.close("covariance of the Gaussian surrogate", made, exact, allowed, place(x))
