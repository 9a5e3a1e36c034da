"""Learning problems: minima, spectra and noise against numpy, scikit-learn, torch.nn and each other."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from cases import normal, rotation
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.preprocessing import scale
from torch.func import hessian, vmap

from escape import (
    DeepLinear,
    GradientDescent,
    HalfSpaces,
    LeastSquares,
    LogisticRegression,
    MatrixCompletion,
    MatrixFactorization,
    MatrixSensing,
    MiniBatch,
    PhaseRetrieval,
    RankOneFactorization,
    SymmetricFactorization,
    TeacherStudent,
    check_landscape,
    predict,
)
from escape.landscapes.digits import standardised_digits
from escape.landscapes.matrix_product import planted_matrix

F64 = torch.float64


def close(what, got, expected, allowed=1e-12):
    got, expected = (torch.from_numpy(np.asarray(value, dtype=float)) for value in (got, expected))
    error = float((got - expected).abs().max())
    assert got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    assert error <= allowed, f"{what} is off by {error:.3g}, {allowed:.3g} allowed"


def named(landscape, name):
    return next(point for point in landscape.critical_points() if point.name == name)


# Regression.


def test_least_squares_minimum_is_that_of_numpy():
    landscape = LeastSquares.digits()
    z, y = landscape.features.numpy(), landscape.targets.numpy()
    assert z.shape == (1797, 61), "three pixels are the same in all images"
    (minimum,) = landscape.critical_points()
    close("solution", minimum.location, np.linalg.lstsq(z, y, rcond=None)[0], 1e-9)
    close("spectrum", minimum.eigenvalues, np.linalg.eigvalsh(z.T @ z / len(z)), 1e-12)
    assert float(minimum.eigenvalues[-1]) == pytest.approx(1.0, abs=1e-12)
    residual = z @ minimum.location.numpy() - y
    close("noise", landscape.gradient_covariance(minimum.location), (z * residual[:, None] ** 2).T @ z / len(z))
    ridge = LeastSquares(landscape.features, landscape.targets, 0.1).critical_points()[0]
    wanted = np.linalg.solve(z.T @ z / len(z) + 0.1 * np.eye(61), z.T @ y / len(z))
    close("ridge solution", ridge.location, wanted, 1e-12)


def test_least_squares_on_a_teacher_has_what_was_asked_for():
    matrix = torch.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=F64)
    landscape = LeastSquares.gaussian(matrix, 0.7, n=50, seed=3)
    (minimum,) = landscape.critical_points()
    close("second moments", landscape.features.T @ landscape.features / 50, matrix)
    close("minimum at the teacher", minimum.location, [0.5**0.5] * 2)
    close("loss there", landscape.loss(minimum.location), 0.5 * 0.49)
    assert minimum.noise == "I"
    assert LeastSquares.gaussian(matrix, 0.0, n=50).critical_points()[0].noise == "II", "interpolation"


def test_least_squares_without_enough_data_is_flat_where_nothing_is_seen():
    landscape = LeastSquares(normal(3, 5), normal(3, seed=1))
    (minimum,) = landscape.critical_points()
    wanted = np.linalg.lstsq(landscape.features.numpy(), landscape.targets.numpy(), rcond=None)[0]
    close("shortest solution", minimum.location, wanted, 1e-12)
    assert (minimum.kind, minimum.noise) == ("degenerate", "II")
    assert minimum.eigenvalues[:2].tolist() == [0.0, 0.0]


def test_logistic_minimum_is_that_of_scikit_learn():
    landscape = LogisticRegression.digits(3, 8, 12, 0.02)
    (minimum,) = landscape.critical_points()
    n = landscape.n
    model = Reference(C=1 / (0.02 * n), fit_intercept=False, tol=1e-10, solver="newton-cholesky")
    model.fit(landscape.features.numpy(), landscape.targets.numpy())
    close("weights", minimum.location, model.coef_[0], 1e-7)
    assert (minimum.kind, minimum.noise) == ("minimum", "I")


def test_logistic_without_a_minimum_declares_none():
    features = torch.tensor([[1.0], [2.0], [-1.0]], dtype=F64)
    assert LogisticRegression(features, torch.tensor([1.0, 1.0, -1.0], dtype=F64)).critical_points() == ()


def test_logistic_minimum_has_no_units():
    """Features in other units move the minimum and nothing else; separable classes have none in any."""
    one = LogisticRegression.gaussian([1.0, 0.5, 0.2], n=200)
    (minimum,) = one.critical_points()
    for unit in (1e10, 1e-10):
        (found,) = LogisticRegression(unit * one.features, one.targets).critical_points()
        close(f"minimum, {unit:g}", unit * found.location, minimum.location, 1e-12)
        close(f"spectrum, {unit:g}", found.eigenvalues / unit**2, minimum.eigenvalues, 1e-12)
        separable = torch.where(one.features[:, 0] > 0, 1.0, -1.0).to(F64)
        assert LogisticRegression(unit * one.features, separable).critical_points() == ()


def test_logistic_curvature_is_finite_far_away():
    landscape = LogisticRegression(torch.ones(2, 1, dtype=F64), torch.tensor([1.0, -1.0], dtype=F64))
    for score in (0.0, 39.0, 41.0, 1000.0):
        x = torch.tensor([score], dtype=F64)
        close("curvature", landscape.hessian(x), [[math.exp(-score) / (1 + math.exp(-score)) ** 2]], 1e-15)
        close("loss", landscape.loss(x), 0.5 * (score + 2 * math.log1p(math.exp(-score))), 1e-12)


def test_a_flat_logistic_minimum_is_not_declared():
    one = LogisticRegression.gaussian([1.0, 0.5], n=200)
    flat = torch.cat([one.features, torch.zeros(200, 1, dtype=F64)], dim=1)
    for seed in range(8):  # rounding gives the curvature of zero either sign
        turned = flat @ rotation(3, seed)
        assert LogisticRegression(turned, one.targets).critical_points() == ()
    (ridged,) = LogisticRegression(turned, one.targets, 0.1).critical_points()
    assert ridged.kind == "minimum"


@pytest.mark.parametrize("signal", [0.0, 1.0, 4.0])
def test_labels_of_the_logistic_model_are_drawn_at_its_signal(signal, within):
    """The likelihood's slope along the teacher's weights has mean zero there. False alarms: 6e-5 each."""
    landscape = LogisticRegression.gaussian([1.0, 0.5, 0.2], signal, n=20_000, seed=2)
    score = landscape.features.sum(1) / 3**0.5
    chance = torch.sigmoid(signal * score)
    slopes = ((landscape.targets + 1) / 2 - chance) * score
    error = (chance * (1 - chance) * score**2).mean().sqrt() / 20_000**0.5
    within("slope of the likelihood", slopes.mean(), 0.0, error, 4)


# Labels: those of the data, and noise of the size asked for.


def test_labels_of_the_digits_are_those_of_scikit_learn():
    data = load_digits()
    pixels = scale(data.data[:, np.ptp(data.data, axis=0) > 0])
    features, labels = standardised_digits()
    close("labels", labels, data.target, 0)
    close("features, up to one number", features * (pixels[0, 2] / features[0, 2]), pixels, 1e-12)
    standard = (data.target - data.target.mean()) / data.target.std()
    close("values", LeastSquares.digits(5).targets, standard)
    pair = LogisticRegression.digits(4, 7)
    chosen = np.isin(data.target, [4, 7])
    close("two digits", pair.targets, np.where(data.target[chosen] == 4, 1, -1), 0)
    close("their images", pair.features, features[chosen], 0)
    close("units", DeepLinear.digits((2,), 4).targets.argmax(1), data.target, 0)
    products = MatrixFactorization.digits(1, 0).matrices
    units = np.eye(10)[data.target] - np.eye(10)[data.target].mean(0)
    close("units and images", products[::100], units[::100, :, None] * features[::100, None, :].numpy())


def _about_the_truth(name, noise):
    """Labels less what they are without noise."""
    if name == "phase retrieval":
        landscape = PhaseRetrieval.gaussian(3, 2000, noise, seed=3)
        return landscape.targets - landscape.features[:, 0] ** 2
    if name == "committee":
        landscape = TeacherStudent.gaussian(4, 2, 2, "tanh", noise, 2000, seed=3)
        return landscape.targets - torch.tanh(landscape.features[:, :2]).sum(1)
    if name == "completion":
        landscape = MatrixCompletion.planted([1.5, 1.0], 60, 50, 2, 0.7, noise, seed=3)
        return landscape.targets - landscape.truth[tuple(landscape.entries.T)]
    landscape = MatrixSensing.gaussian([1.5, 1.0], 3, 3, 2, noise, 2000, seed=3)
    return landscape.targets - (landscape.measurements * landscape.truth).sum((1, 2))


@pytest.mark.parametrize("noise", [0.05, 0.8])
@pytest.mark.parametrize("name", ["phase retrieval", "committee", "completion", "sensing"])
def test_label_noise_has_the_size_asked_for(name, noise, within):
    """Mean and mean square of residuals about the truth. False alarms: 6e-5 each."""
    residual = _about_the_truth(name, noise)
    n = len(residual)
    within("mean", residual.mean(), 0.0, noise / n**0.5, 4)
    within("mean square", (residual**2).mean(), noise**2, noise**2 * (2 / n) ** 0.5, 4)
    close("none", _about_the_truth(name, 0.0), torch.zeros(n, dtype=F64), 1e-14)


def test_label_noise_of_a_linear_network_is_white():
    network = DeepLinear.gaussian([2.0, 1.0], (2,), 3, 4, 0.3, 200)
    residual = network.targets - network.inputs @ planted_matrix([2.0, 1.0], 4, 3).T
    close("covariance", residual.T @ residual / 200, 0.09 * np.eye(4))
    close("of labels and inputs", residual.T @ network.inputs / 200, np.zeros((4, 3)))


# Half-spaces.


def test_noise_of_half_spaces_reaches_every_negative_curvature():
    """E(v·∇f_i)² ≥ λ² at every point; phase retrieval, where |φ''| ≤ |φ'| fails, breaks it at the origin."""
    seen, least = 0, math.inf
    for seed in range(4):
        landscape = HalfSpaces.gaussian(4, 40, seed)
        places = 15 * normal(50, 4, seed=seed)
        for x, bent in zip(places, vmap(landscape.hessian)(places), strict=True):
            values, vectors = torch.linalg.eigh(bent)
            along = float(((landscape.sample_gradients(x) @ vectors[:, 0]) ** 2).mean())
            if values[0] < 0:
                seen, least = seen + 1, min(least, along / float(values[0]) ** 2)
    assert seen > 100, "most points have a negative curvature"
    assert least >= 1, f"E(v.g)² is {least} times the bound"
    origin = PhaseRetrieval.gaussian(3, 100).critical_points()[0]
    assert float(origin.eigenvalues[0]) < 0, "a negative curvature"
    assert origin.noise == "II", "without noise"


def test_half_spaces_and_their_mirror_image():
    landscape = HalfSpaces.gaussian(2, 20, seed=5)
    first, second = landscape.critical_points()[:2]
    close("f(w) + f(−w)", landscape.loss(first.location) + landscape.loss(-first.location), 1.0)
    close("mirror image", second.location, -first.location, 1e-5)
    close("opposite spectra", second.eigenvalues, -first.eigenvalues.flip(0), 1e-9)
    assert first.noise == second.noise == "I"


# Phase retrieval.


def test_phase_retrieval_has_the_points_of_the_population(within):
    """Curvatures along known directions are means over samples. False alarms: 6e-5 each."""
    landscape = PhaseRetrieval.gaussian(3, 100_000, seed=1)
    a, y = landscape.features, landscape.targets
    ring = torch.tensor([0.0, 3**-0.5, 0.0], dtype=F64)
    axes = torch.eye(3, dtype=F64)
    for name, place, height, curvatures in (
        ("origin", torch.zeros(3, dtype=F64), 0.75, [-3, -1, -1]),
        ("signal", axes[0], 0.0, [6, 2, 2]),
        ("ring", ring, 2 / 3, [-2, 2, 0]),
    ):
        score = a @ place
        losses = 0.25 * (score**2 - y) ** 2
        within(f"f at {name}", losses.mean(), height, losses.std() / len(a) ** 0.5, 4)
        for axis, expected in zip(axes, curvatures, strict=True):
            each = (3 * score**2 - y) * (a @ axis) ** 2
            within(f"curvature at {name}", each.mean(), expected, each.std() / len(a) ** 0.5, 4)
            slopes = (score**2 - y) * score * (a @ axis)
            within(f"slope at {name}", slopes.mean(), 0.0, slopes.std() / len(a) ** 0.5, 4)


def test_saddles_of_phase_retrieval_are_near_the_ring():
    points = PhaseRetrieval.gaussian(2, 4000, seed=2).critical_points()
    assert [point.name for point in points[:3]] == ["origin", "+x", "-x"]
    assert len(points) == 5, "in the plane the sphere is one pair"
    for point in points[3:]:
        assert point.index >= 1
        assert point.noise == "I"
        close("on the ring", point.location.abs(), [0.0, 3**-0.5], 0.1)
        close("spectrum", point.eigenvalues, [-2.0, 2.0], 0.5)


def test_phase_retrieval_with_fewer_samples_than_dimensions():
    """The signal lies in a flat valley: known without noise, and with it nothing is a minimum of its own."""
    landscape = PhaseRetrieval.gaussian(5, 3)
    points = landscape.critical_points()
    assert [point.name for point in points] == ["origin", "+x", "-x"]
    assert torch.equal(points[1].location, landscape.signal)
    assert torch.equal(points[2].location, -landscape.signal)
    assert (points[1].kind, points[1].noise) == ("degenerate", "II")
    assert [point.name for point in PhaseRetrieval.gaussian(5, 3, 0.1).critical_points()] == ["origin"]


def test_saddles_of_phase_retrieval_are_sharp():
    """Of few samples, a search ends on flat saddles as well, which are others from every start."""
    for n in (6, 8, 40):
        for point in PhaseRetrieval.gaussian(6, n, seed=1).critical_points()[3:]:
            assert float(point.eigenvalues.abs().min()) > 1e-7 * float(point.eigenvalues.abs().max())


@pytest.mark.parametrize("label_noise", [0.0, 1e-6, 1e-10])
def test_little_label_noise_is_noise(label_noise):
    landscape = PhaseRetrieval.gaussian(3, 200, label_noise)
    assert named(landscape, "+x").noise == ("I" if label_noise else "II")
    check_landscape(landscape)
    narrow = PhaseRetrieval.gaussian(3, 200, label_noise, dtype=torch.float32)
    assert named(narrow, "+x").noise == "II", "rounding of single precision is more"


# Matrices.


def test_symmetric_factorization_of_rank_one_is_the_old_one():
    data = normal(30, 4, seed=1)
    one, old = SymmetricFactorization(data, 1), RankOneFactorization(data)
    x, index = normal(5, 4, seed=2), torch.randint(30, (5, 7), generator=torch.Generator().manual_seed(3))
    close("loss", one.loss(x), old.loss(x))
    close("batch gradient", one.gradient(x, index), old.gradient(x, index))
    saddle, known = named(one, "values 2"), named(old, "+sqrt(mu_2) v_2")
    close("spectrum", saddle.eigenvalues, known.eigenvalues)
    close("place, up to its sign", saddle.location.abs(), known.location.abs())


def test_symmetric_factorization_is_the_distance_from_a_matrix():
    landscape = SymmetricFactorization.gaussian([1.5, 1.0, 0.6], 2, 40)
    moments = landscape.data.T @ landscape.data / 40
    x = normal(6, seed=4)
    u = x.reshape(2, 3).T
    distance = 0.25 * ((u @ u.T - moments) ** 2).sum() - 0.25 * (moments**2).sum()
    close("¼‖UUᵀ − M‖²", landscape.loss(x), distance)
    turned = (u @ rotation(2, 5)).T.flatten()
    close("rotated", landscape.loss(turned), distance)
    place = named(landscape, "values 1, 2")
    assert (place.kind, place.gauge) == ("minimum", 1)
    assert named(landscape, "values 1").gauge == 1, "the empty column turns into the other"
    assert named(landscape, "origin").gauge == 0
    assert named(landscape, "values 1").noise == "II"
    assert named(landscape, "values 2, 3").noise == "I"


def test_matrix_factorization_by_hand():
    landscape = MatrixFactorization.gaussian([1.5, 1.0, 0.6], 4, 3, 1, noise=0.5, n=40)
    origin, minimum, saddle, _ = landscape.critical_points()
    close("origin", origin.eigenvalues, [-1.5, -1.0, -0.6, 0.0, 0.6, 1.0, 1.5])
    # 2σ_2, 0, σ_2 ± σ_1, σ_2 ± σ_3, and σ_2 for the fourth row.
    expected = sorted([2.0, 0.0, 2.5, -0.5, 1.6, 0.4, 1.0])
    close("saddle", saddle.eigenvalues, expected)
    close("noise along the escape direction", landscape.noise_along(saddle.location, saddle.unstable[:, 0]), 0.25)
    assert (origin.noise, minimum.noise, saddle.noise) == ("II", "I", "I")
    wide = MatrixFactorization.gaussian([1.5, 0.7], 3, 2, 2, n=40)
    x, mix = normal(wide.dimension, seed=6), rotation(2, 7) + 0.5
    u, v = (part.mT for part in wide.factors(x))
    close("½‖UVᵀ − B‖²", wide.loss(x) + 0.5 * (1.5**2 + 0.7**2), 0.5 * ((u @ v.T - wide.matrices.mean(0)) ** 2).sum())
    turned = torch.cat([(u @ mix).T.flatten(), (v @ torch.linalg.inv(mix).T).T.flatten()])
    close("gauge", wide.loss(turned), wide.loss(x))


def test_factorization_of_labels_and_images_is_that_of_their_covariance():
    landscape = MatrixFactorization.digits(2, 5)
    covariance = landscape.matrices.mean(0)
    values = torch.linalg.svdvals(covariance)
    close("labels lie in nine dimensions", torch.linalg.matrix_rank(covariance), 5, 0)
    close("origin", named(landscape, "origin").eigenvalues[:4], -values[[0, 0, 1, 1]])
    assert named(landscape, "values 1, 2").kind == "minimum"


@pytest.mark.parametrize("symmetric", [False, True])
def test_isometric_sensing_is_factorization(symmetric):
    options = {"label_noise": 0.3, "n": 60, "isometric": True, "symmetric": symmetric}
    sensing = MatrixSensing.gaussian([1.5, 1.0], 3, 3, 2, **options)
    x = normal(sensing.dimension, seed=8)
    u, v = sensing.factors(x)
    expected = 0.5 * ((u.mT @ v - sensing.truth) ** 2).sum() + 0.5 * 0.3**2
    close("½‖UVᵀ − B‖² and the noise", sensing.loss(x), expected)
    minimum = named(sensing, "values 1, 2")
    close("truth", sensing.product(minimum.location), sensing.truth.flatten())
    assert (minimum.kind, minimum.noise) == ("minimum", "I")


def test_sensing_with_few_measurements_finds_the_truth_flat_or_not():
    landscape = MatrixSensing.gaussian([1.0], 4, 4, 1, n=12)
    origin, truth = landscape.critical_points()
    slope = (landscape.targets[:, None, None] * landscape.measurements).mean(0)
    close("origin", origin.eigenvalues[:4], -torch.linalg.svdvals(slope))
    close("loss at the truth", landscape.loss(truth.location), 0.0)
    assert (truth.noise, truth.gauge, truth.index) == ("II", 1, 0)
    noisy = MatrixSensing.gaussian([1.0], 4, 4, 1, 0.1, 12)
    assert len(noisy.critical_points()) == 1, "no sample fits the truth"


def test_sensing_of_a_symmetric_matrix():
    landscape = MatrixSensing.gaussian([1.0, 0.5], 3, 3, 2, n=8, symmetric=True)
    origin, truth = landscape.critical_points()
    slope = (landscape.targets[:, None, None] * landscape.measurements).mean(0)
    expected = -2 * torch.linalg.eigvalsh((slope + slope.T) / 2).repeat_interleave(2).flip(0)
    close("origin", origin.eigenvalues, expected)
    dense = torch.linalg.eigvalsh(hessian(lambda x: landscape.loss(x[None])[0])(origin.location))
    close("origin, computed", origin.eigenvalues, dense)
    close("truth", landscape.product(truth.location), landscape.truth.flatten())
    narrow = landscape.to(dtype=torch.float32)
    assert [point.name for point in narrow.critical_points()] == ["origin", "truth"]
    # Next to a UUᵀ, but none: the labels are not those of any point.
    bent = landscape.truth + torch.tensor([[0.0, 1e-3, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=F64)
    targets = (landscape.measurements * bent).sum((1, 2))
    tilted = MatrixSensing(landscape.measurements, targets, 2, bent, symmetric=True)
    assert [point.name for point in tilted.critical_points()] == ["origin"]
    lopsided = MatrixSensing(landscape.measurements, targets, 2, bent)
    assert len(lopsided.critical_points()) == 2


def test_completion_sees_entries():
    landscape = MatrixCompletion.planted([1.5, 1.0], 4, 3, 2, 0.6, seed=2)
    x = normal(landscape.dimension, seed=9)
    u, v = landscape.factors(x)
    found = (u.mT @ v)[landscape.entries[:, 0], landscape.entries[:, 1]]
    close("loss", landscape.loss(x), 0.5 * ((found - landscape.targets) ** 2).mean())
    assert landscape.n == round(0.6 * 12)
    close("entries of the truth", landscape.targets, landscape.truth[tuple(landscape.entries.T)])
    whole = MatrixCompletion.planted([1.5, 1.0], 4, 3, 1, 1.0)
    close("saddle", named(whole, "values 2").eigenvalues[0], -0.5 / 12)
    close("minimum", named(whole, "values 1").eigenvalues[-1], 3.0 / 12)


# Networks.


def linear_network(landscape, x):
    """The same network of torch.nn, with weights from x."""
    layers = [torch.nn.Linear(a, b, bias=False, dtype=F64) for a, b in pairwise(landscape.widths)]
    for layer, weights in zip(layers, landscape.layers(x), strict=True):
        layer.weight.data = weights.clone()
    return torch.nn.Sequential(*layers)


def test_linear_network_is_that_of_torch():
    landscape = DeepLinear.digits((3, 2), 4)
    x = 0.5 * normal(landscape.dimension, seed=10)
    network = linear_network(landscape, x)
    loss = 0.5 * ((network(landscape.inputs) - landscape.targets) ** 2).sum(1).mean()
    loss.backward()
    close("loss", landscape.loss(x), loss.detach(), 1e-10)
    gradient = torch.cat([layer.weight.grad.flatten() for layer in network])
    close("gradient", landscape.gradient(x), gradient, 1e-10)


def test_linear_network_of_depth_two_is_a_factorization():
    """White inputs: f is ½‖W_2 W_1 − Y‖² and a constant, whose spectra are known in closed form."""
    network = DeepLinear.gaussian([2.0, 1.0, 0.5], (2,), 3, 4, n=40)
    matrices = network.targets[:, :, None] * network.inputs[:, None, :]
    factorization = MatrixFactorization(matrices, 2)
    for name in ("origin", "values 1", "values 1, 2", "values 2"):
        one, other = named(network, name), named(factorization, name)
        # The labels' noise has singular directions of its own beyond those of the teacher.
        close(f"spectrum at {name}", one.eigenvalues, other.eigenvalues, 1e-12)
        assert (one.gauge, one.index, one.noise) == (other.gauge, other.index, other.noise)


def test_points_of_deeper_networks_are_stationary_and_keep_what_they_learned():
    """Inputs that are not white, so that singular directions of the map and of its target differ."""
    network = DeepLinear.digits((2, 3), 3)
    gradients = [float(network.gradient(point.location).abs().max()) for point in network.critical_points()]
    assert max(gradients) < 1e-13
    heights = {p.name: float(network.loss(p.location)) for p in network.critical_points()}
    assert heights["values 1, 2"] < heights["values 1"] < heights["origin"]
    assert heights["values 1"] < heights["values 2"]


def test_the_minimum_of_a_wide_linear_network_is_declared():
    network = DeepLinear.digits((8,), 10)
    points = {point.name: point for point in network.critical_points()}
    assert list(points) == ["origin", *(f"values {', '.join(map(str, range(1, m + 1)))}" for m in range(1, 9))]
    minimum = points["values 1, 2, 3, 4, 5, 6, 7, 8"]
    assert minimum.kind == "minimum"
    best = np.linalg.lstsq(network.inputs.numpy(), network.targets.numpy(), rcond=None)[0]
    values = np.linalg.svd(network.inputs.numpy() @ best, compute_uv=False)
    left = 0.5 * ((network.targets**2).sum() - (values[:8] ** 2).sum()) / network.n
    close("loss of the best network of that rank", network.loss(minimum.location), left, 1e-12)


def test_flat_directions_of_a_network_of_depth_three():
    """W_l -> G_l W_l G_{l−1}⁻¹ has 8 parameters for two hidden layers of width 2; at rank 1, two of them do nothing."""
    network = DeepLinear.gaussian([2.0, 1.0], (2, 2), 2, 2, n=40)
    for name, gauge in (("origin", 0), ("values 1", 6), ("values 1, 2", 8)):
        point = named(network, name)
        assert point.gauge == gauge, name
        assert int((point.eigenvalues == 0).sum()) >= gauge
    assert named(network, "values 1, 2").kind == "minimum"


@pytest.mark.parametrize("depth", [3, 4])
def test_origin_of_a_deep_network_is_degenerate_and_prediction_says_so(depth):
    network = DeepLinear.gaussian([2.0, 1.0], (2,) * (depth - 1), 2, 2, n=40)
    origin = network.critical_points()[0]
    assert (origin.kind, origin.index, origin.noise) == ("degenerate", 0, "II")
    assert float(origin.eigenvalues.abs().max()) == 0
    bent = hessian(lambda x: network.loss(x[None])[0])(origin.location)
    assert float(bent.abs().max()) == 0
    found = predict(network, MiniBatch(4), GradientDescent(0.1), origin, radius=0.1)
    assert found.mean_exit_step is None
    assert found.kind == "degenerate"
    assert any("degenerate point" in caveat for caveat in found.caveats), found.caveats
    shallow = DeepLinear.gaussian([2.0, 1.0], (2,), 2, 2, n=40)
    assert shallow.critical_points()[0].kind == "saddle"


def committee(landscape, x):
    units = landscape.units
    hidden = torch.nn.Linear(len(x) // units, units, bias=False, dtype=F64)
    hidden.weight.data = x.reshape(units, -1).clone()
    act = {"tanh": torch.tanh, "erf": lambda u: torch.erf(u / 2**0.5)}[landscape.activation]
    loss = 0.5 * ((act(hidden(landscape.features)).sum(1) - landscape.targets) ** 2).mean()
    loss.backward()
    return loss.detach(), hidden.weight.grad.flatten()


@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_committee_is_that_of_torch(activation):
    landscape = TeacherStudent.gaussian(3, 2, 3, activation, 0.1, 50)
    x = normal(6, seed=11)
    loss, gradient = committee(landscape, x)
    close("loss", landscape.loss(x), loss)
    close("gradient", landscape.gradient(x), gradient)
    for size in (3, 30):
        index = torch.randperm(50, generator=torch.Generator().manual_seed(1))[:size]
        part = TeacherStudent(landscape.features[index], landscape.targets[index], landscape.teacher, 2, activation)
        close(f"batch of {size}", landscape.gradient(x, index), committee(part, x)[1])


def test_units_that_are_alike_part_without_noise():
    landscape = TeacherStudent.gaussian(3, 3, 3, n=400)
    plateau, teacher = landscape.critical_points()
    parts = plateau.location.reshape(3, 3)
    assert float((parts - parts[0]).abs().max()) == 0
    assert plateau.index >= 2
    apart = plateau.unstable.reshape(3, 3, -1).sum(0)
    close("escape directions", apart, torch.zeros_like(apart), 1e-9)
    assert float(landscape.noise_along(plateau.location, plateau.unstable).max()) < 1e-28
    together = torch.ones(3, dtype=F64).kron(torch.eye(3, dtype=F64)[0]) / 3**0.5
    assert float(landscape.noise_along(plateau.location, together)) > 1e-4
    assert plateau.noise == teacher.noise == "II"
    assert float(landscape.loss(teacher.location)) < float(landscape.loss(plateau.location))
    permuted = teacher.location.reshape(3, 3)[[2, 0, 1]].flatten()
    close("another teacher", landscape.gradient(permuted), torch.zeros(9, dtype=F64))
    spare = named(TeacherStudent.gaussian(3, 3, 2, n=50), "teacher")
    assert spare.location[6:].tolist() == [0.0] * 3


# What is refused.


def sensed(truth):
    return MatrixSensing(normal(9, 2, 2), normal(9, seed=1), 1, torch.tensor(truth, dtype=F64), symmetric=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LeastSquares(torch.ones(3), torch.ones(3)), "features must be"),
        (lambda: LeastSquares(torch.ones(3, 2), torch.ones(2)), "one number for each of 3 rows"),
        (lambda: LeastSquares(torch.ones(3, 2), torch.ones(3), -1.0), "ridge must be"),
        (lambda: LeastSquares.gaussian([1.0, 0.0]), "positive definite"),
        (lambda: LeastSquares.digits(62), "components must lie in 0"),
        (lambda: LogisticRegression(torch.ones(2, 1), torch.tensor([0.0, 1.0])), "must be ±1"),
        (lambda: LogisticRegression.digits(3, 3), "two different digits"),
        (lambda: HalfSpaces(2 * torch.ones(2, 1)), "divide all by that number"),
        (lambda: PhaseRetrieval(torch.ones(2, 1), torch.ones(2), torch.zeros(1)), "signal must not be zero"),
        (lambda: SymmetricFactorization(torch.ones(2, 3), 4), "rank must lie in 1 to d = 3"),
        (lambda: MatrixFactorization.gaussian([1.0, 2.0, 3.0], 2, 3), "singular_values must be 1 to 2"),
        (lambda: MatrixFactorization(torch.ones(2, 3, 4), 4), "rank must lie in 1 to 3"),
        (lambda: MatrixSensing.gaussian([1.0], 2, 3, symmetric=True), "must be square"),
        (lambda: MatrixSensing(torch.ones(4, 2, 2), torch.ones(3)), "one number for each of 4"),
        (lambda: sensed([[0.0, 1.0], [0.0, 0.0]]), "truth must be some UUᵀ"),
        (lambda: sensed([[1.0, 0.0], [0.0, -1.0]]), "truth must be some UUᵀ"),
        (lambda: MatrixCompletion.planted([1.0], share=0.0), "share must lie"),
        (lambda: MatrixCompletion.planted([1.0], 60, 60, dtype=torch.float16), "torch.float16 cannot tell"),
        (lambda: MatrixCompletion.planted([1.0], 20, 20).to(dtype=torch.bfloat16), "torch.bfloat16 cannot tell"),
        (lambda: MatrixCompletion(torch.tensor([[0, 3]]), torch.ones(1), (2, 3)), "must lie in a 2 × 3 matrix"),
        (lambda: DeepLinear.gaussian([1.0], ()), "hidden must be widths"),
        (lambda: DeepLinear.gaussian([1.0], (2.5,)), "whole widths"),
        (lambda: TeacherStudent.gaussian(activation="relu"), "tanh, erf"),
        (lambda: TeacherStudent.gaussian(2, teacher_units=3), "teacher_units must lie"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(make, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        make()
