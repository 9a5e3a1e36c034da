"""The search for stationary points: complete where the answer is known, right where it is not, and open about both."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import hessian

from escape import DoubleWell, Landscape, RandomField, SphericalPSpin, find_stationary_points, theory

F64 = torch.float64


@dataclass(frozen=True, eq=False)
class Separable(Landscape):
    """f_i(x) = Σ_j (x_j⁴/4 − x_j²/2 + x_j/8) + g_iᵀx: three roots a coordinate, two of them minima."""

    samples: Tensor
    affine = True

    @property
    def dimension(self):
        return self.samples.shape[1]

    def sample_loss(self, x, tilt):
        return (x**4 / 4 - x**2 / 2 + x / 8).sum() + tilt @ x


@dataclass(frozen=True, eq=False)
class Axes(Landscape):
    """−¼ Σ x_j⁴/|x|⁴ on the unit sphere: 3^d − 1 points, C(d, k) 2^k of index k − 1."""

    samples: Tensor
    affine = True

    @property
    def dimension(self):
        return self.samples.shape[1]

    def retract(self, x):
        return x / x.norm(dim=-1, keepdim=True)

    def sample_loss(self, x, tilt):
        return -0.25 * (x**4).sum() / (x @ x) ** 2


class Leaning(Axes):
    """Not constant along x, so that a gradient in space is none on the sphere."""

    def sample_loss(self, x, tilt):
        return super().sample_loss(x, tilt) + 0.1 * (x @ x)


def still(d, cls=Separable):
    return cls(torch.zeros(2, d, dtype=F64))


@pytest.mark.parametrize("index", [None, range(4)], ids=["damped Newton", "eigenvector following"])
def test_all_points_of_a_separable_polynomial(index):
    found = find_stationary_points(still(3), 1500, seed=1, index=index)
    expected = [math.comb(3, k) * 2 ** (3 - k) for k in range(4)]
    assert found.histogram().tolist() == expected, f"by index {found.histogram()}, expected {expected}"
    roots = np.sort(np.roots([1, 0, -1, 0.125]).real)
    off = np.abs(found.locations.numpy()[:, :, None] - roots).min(-1).max()
    assert off < 1e-12, f"coordinates {off} off the roots"
    assert found.unseen < 1, f"{found.unseen} said to be missing of all"
    assert int(found.hits.sum()) + found.failures == found.starts == 1500
    assert not found.degenerate.any()


@pytest.mark.parametrize("index", [None, range(4)], ids=["damped Newton", "eigenvector following"])
def test_all_points_on_a_sphere(index):
    found = find_stationary_points(still(4, Axes), 2000, seed=2, index=index)
    expected = [math.comb(4, k) * 2**k for k in range(1, 5)]
    assert found.histogram().tolist() == expected, f"by index {found.histogram()}, expected {expected}"
    assert found.eigenvalues.shape == (80, 3), "tangent directions alone"
    k = (found.locations.abs() > 1e-6).sum(1).double()
    assert torch.allclose(found.energies, -0.25 / k), "energies are −1/(4k)"
    assert torch.allclose(found.eigenvalues[:, 0], torch.where(k > 1, -2 / k, 1.0), atol=1e-9)


def test_points_are_polished_and_their_spectra_are_those_of_the_loss():
    landscape = SphericalPSpin.gaussian(6, 3, noise=0.0, n=1, seed=4)
    found = find_stationary_points(landscape, 300, index=range(6))
    assert float(landscape.gradient(found.locations).norm(dim=1).max()) < 1e-12
    assert torch.allclose(found.locations.norm(dim=1), torch.tensor(math.sqrt(6), dtype=F64), atol=1e-13)
    assert (found.energies.diff() >= 0).all()
    for i in (0, len(found) // 2, len(found) - 1):
        full = torch.linalg.eigvalsh(
            hessian(lambda x: landscape.sample_loss(x, landscape.mean_sample))(found.locations[i])
        )
        radial = full.abs().argmin()
        tangent = torch.cat([full[:radial], full[radial + 1 :]])
        assert torch.allclose(found.eigenvalues[i], tangent, atol=1e-10), (
            f"point {i}: {found.eigenvalues[i]}, {tangent}"
        )
        assert int(found.index[i]) == int((tangent < 0).sum())
    points = found.critical_points(5)
    assert [point.index for point in points] == found.index[:5].tolist()
    assert points[0].kind == "minimum"
    assert len(found.critical_points()) == len(found)


def test_the_antipode_of_a_point_is_one_too():
    landscape = SphericalPSpin.gaussian(7, 3, noise=0.0, n=1, seed=5)
    found = find_stationary_points(landscape, 3000, index=range(7))
    counts = found.histogram()[:7]
    assert (counts == counts[::-1]).all(), f"p odd: as many of index k as of N − 1 − k, got {counts}"
    assert torch.allclose(found.energies, -found.energies.flip(0), atol=1e-9)


def test_eigenvector_following_finds_the_index_it_looks_for():
    landscape = SphericalPSpin.gaussian(8, 3, noise=0.0, n=1, seed=6)
    for k in (0, 3, 7):
        found = find_stationary_points(landscape, 60, seed=k, index=k)
        assert len(found), f"index {k}: nothing found"
        assert (found.index == k).all(), f"looked for index {k}, found {found.histogram()}"


def test_the_two_methods_agree_on_what_they_find():
    landscape = RandomField.gaussian(features=60, stiffness=0.8, n=40, seed=3)
    newton = find_stationary_points(landscape, 500, scale=1.5)
    followed = find_stationary_points(landscape, 500, index=range(3), scale=1.5)
    assert newton.histogram().tolist() == followed.histogram().tolist()
    assert torch.allclose(newton.locations, followed.locations, atol=1e-8)
    low, saddles, high = followed.histogram()
    assert low - saddles + high == 1, "Morse: the field rises on all sides, so minima − saddles + maxima = 1"


def test_failures_are_counted_and_discarded():
    found = find_stationary_points(still(2), 50, seed=3, steps=2)
    assert found.failures > 0
    assert int(found.hits.sum()) == found.starts - found.failures
    nothing = find_stationary_points(still(2), torch.full((3, 2), 0.3, dtype=F64), steps=1)
    assert (len(nothing), nothing.failures) == (0, 3)
    assert nothing.histogram().tolist() == [0, 0, 0]
    assert nothing.critical_points() == ()


def test_starts_of_ones_own_and_seeds():
    starts = torch.tensor([[-1.0, -1.0], [-1.1, -0.9], [0.1, 0.1]], dtype=F64)
    found = find_stationary_points(still(2), starts)
    assert found.hits.tolist() == [2, 1]
    assert found.index.tolist() == [0, 2]
    again, other = (find_stationary_points(still(2), 4, seed=s).locations for s in (0, 9))
    first = find_stationary_points(still(2), 4, seed=0).locations
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_bias_is_said_and_the_unseen_are_bounded():
    landscape = SphericalPSpin.gaussian(8, 3, noise=0.0, n=1, seed=7)
    few, many = (find_stationary_points(landscape, count, index=range(8)) for count in (60, 4000))
    assert len(few) + few.unseen <= 1.3 * len(many), f"{len(few)} and {few.unseen} unseen of {len(many)}"
    assert few.unseen > 0.2 * (len(many) - len(few))
    assert "basin" in few.bias
    assert str(few.failures) in few.bias
    edges, counts = many.energy_histogram(10)
    assert counts.sum() == len(many)
    assert (counts.sum(1) == many.histogram()).all()
    assert edges[0] == float(many.energies[0])


def test_unequal_basins_are_hit_unequally():
    # basins of minima of x⁴/4 − x²/2 + x/8 under descent alone: the deeper side is wider
    found = find_stationary_points(still(1), 4000, index=0, scale=1.0)
    share = float(found.hits[0]) / float(found.hits.sum())
    assert found.index.tolist() == [0, 0]
    assert abs(share - 0.5) > 5 * 0.5 / math.sqrt(4000), f"share {share} of the deeper minimum"


def test_counts_are_those_of_the_p_spin(within):
    """Mean of complete searches over disorder against the exact mean; 2 comparisons at 4 errors, false alarms 1e-4."""
    counts = []
    for seed in range(16):
        landscape = SphericalPSpin.gaussian(5, 3, noise=0.0, n=1, seed=100 + seed)
        found = find_stationary_points(landscape, 400, seed, range(5), steps=60)
        assert (found.histogram()[:5] == found.histogram()[4::-1]).all()
        counts.append(found.histogram()[:5])
    counts, expected = np.array(counts), theory.pspin_counts(5, 3)
    error = counts.sum(1).std(ddof=1) / math.sqrt(len(counts))
    within("points in all", counts.sum(1).mean(), expected.sum(), error, 4)
    error = counts[:, 0].std(ddof=1) / math.sqrt(len(counts))
    within("minima", counts[:, 0].mean(), expected[0], error, 4)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (lambda: find_stationary_points(still(2).to(dtype=torch.float32)), "needs float64"),
        (lambda: find_stationary_points(still(2), 0), "cannot draw 0 starts"),
        (lambda: find_stationary_points(still(2), torch.zeros(2, dtype=F64)), "starts must be finite"),
        (lambda: find_stationary_points(still(2), torch.full((1, 2), math.nan)), "starts must be finite"),
        (lambda: find_stationary_points(still(2), index=3), "from 0 to 2"),
        (lambda: find_stationary_points(still(2), index=[]), "from 0 to 2"),
        (lambda: find_stationary_points(still(3, Axes), index=3), "from 0 to 2"),
        (lambda: find_stationary_points(still(3, Leaning)), "must not change across it"),
        (lambda: find_stationary_points(still(2), torch.zeros(1, 3, dtype=F64)), "dimension 2"),
    ],
)
def test_bad_input(search, message):
    with pytest.raises(ValueError, match=message) as caught:
        search()
    assert "\n" not in str(caught.value)


def test_a_declared_well_is_found():
    well = DoubleWell.rademacher(0.3, [2.0], n=40)
    found = find_stationary_points(well, 60)
    for point in well.critical_points():
        gap = (found.locations - point.location).norm(dim=1).min()
        assert float(gap) < 1e-12, f"{point.name} missed by {float(gap)}"
    assert len(found) == 3
