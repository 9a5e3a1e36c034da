"""The properties of a landscape, in the order in which they are looked for, with what to do about each."""

from collections.abc import Callable
from dataclasses import dataclass

from escape.conformance import declared, machine, noise, slopes, values
from escape.conformance.seen import Seen
from escape.conformance.subject import Subject


@dataclass(frozen=True)
class Property:
    """One property: its name, its check, what to do where it fails, and the properties that the check rests on."""

    name: str
    check: Callable[[Subject, Seen], None]
    advice: str
    needs: tuple[Callable, ...] = ()


_FIRST = (values.samples, values.dimension)
_VALUES = (*_FIRST, values.shape_and_dtype, values.finite, values.arguments_unchanged, values.deterministic)
_LIFTED = (*_VALUES, values.lifted)
_SLOPES = (*_LIFTED, slopes.by_autograd)
_CLAIMS = (*_SLOPES, noise.affine, noise.constant)
_BATCHES = (*_CLAIMS, slopes.of_batches)
_POINTS = (*_CLAIMS, slopes.of_all)

PROPERTIES = (
    Property(
        "samples are a floating (n, k) tensor", values.samples,
        "give one row for each term; one number for each is samples[:, None]",
    ),
    Property(
        "dimension and declared points agree", values.dimension,
        "declare `dimension` as d, and points with locations (d,) like the samples", (values.samples,),
    ),
    Property(
        "sample_loss: a scalar of one dtype", values.shape_and_dtype,
        "sum over coordinates: it sees one point (d,) and one sample (k,), and returns a tensor of shape ()", _FIRST,
    ),
    Property(
        "sample_loss: finite", values.finite, "mend the formula there, or give test points where it is defined",
        (*_FIRST, values.shape_and_dtype),
    ),
    Property("sample_loss: leaves its arguments alone", values.arguments_unchanged, values.NEW_TENSOR, _VALUES[:4]),
    Property(
        "sample_loss: the same at every call", values.deterministic, "compute it from x and the sample alone",
        _VALUES[:5],
    ),
    Property(
        "sample_loss: alone as in a batch", values.lifted, "use torch functions of one point and one sample", _VALUES
    ),
    Property(
        "sample_gradient: automatic differentiation", slopes.by_autograd,
        "differentiate sample_loss again by hand, or leave sample_gradient out: it is then computed", _LIFTED,
    ),
    Property(
        "sample_gradient: finite differences", slopes.by_differences, "differentiate sample_loss again", _SLOPES
    ),
    Property(
        "claim: affine", noise.affine, "leave `affine = True` out, or write f_i as affine in its sample", _SLOPES
    ),
    Property("claim: constant_noise", noise.constant, "leave `constant_noise = True` out", _SLOPES),
    Property("loss: the mean of sample_loss", values.loss, "leave `loss` as the base class has it", _CLAIMS),
    Property(
        "batch gradient: the mean of its samples", slopes.of_batches,
        "divide by the batch size, and leave `gradient` as the base class has it", _CLAIMS,
    ),
    Property(
        "batch gradient: alone as beside others", slopes.alone,
        "let a chain's gradient depend on its own point and batch alone, not on averages over chains", _BATCHES,
    ),
    Property(
        "batch gradient: unbiased", slopes.unbiased, "the mean over all batches must be the full gradient",
        (*_BATCHES, slopes.alone),
    ),
    Property(
        "full and weighted gradients", slopes.of_all, "leave them as the base class has them", _BATCHES
    ),
    Property("Hessians", slopes.hessians, "leave `hessian` and `sample_hessians` as the base class has them", _CLAIMS),
    Property(
        "covariance, noise_along, noise_trace", noise.covariance,
        "the divisor is n, and the mean gradient is subtracted; or leave them as the base class has them", _CLAIMS,
    ),
    Property("sample_root", noise.root, "leave `sample_root` and `mean_sample` as the base class has them", _CLAIMS),
    Property("declared points: stationary", declared.stationary, "", _POINTS),
    Property(
        "declared points: orthonormal directions", declared.orthonormal,
        "give eigenvectors of norm one, one a column; critical_point(location) computes them", _POINTS,
    ),
    Property(
        "declared points: index", declared.index, "mend the signs of the declared eigenvalues",
        (*_POINTS, slopes.hessians),
    ),
    Property("declared points: spectrum", declared.spectrum, "", (*_POINTS, slopes.hessians, declared.orthonormal)),
    Property(
        "declared points: kind of noise", declared.noise,
        "declare the other type, or leave it to critical_point(location)", (*_POINTS, declared.orthonormal),
    ),
    Property(
        "retract", declared.retract, "bring a point to the manifold, where a point that lies on it stays", _FIRST
    ),
    Property("float32 agrees with float64", machine.single, "", _SLOPES),
    Property("CUDA agrees with the CPU", machine.device, "make constants by x.new_tensor(…)", _BATCHES),
    Property(
        "copies and pickles", machine.copies, "hold plain values, tensors and named functions, no lambda", _BATCHES
    ),
    Property(
        "runs under every oracle, unchanged", machine.run, "run it by hand to see where", (*_BATCHES, slopes.of_all)
    ),
)  # fmt: skip
