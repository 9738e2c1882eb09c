"""The Frechet distance in closed form."""

import math

import pytest
import torch
from torch import Tensor

from metrics.frechet import (
    Gaussian,
    GaussianMoments,
    fit_gaussian,
    frechet_by_class,
    frechet_distance,
)


def gaussian(mean: list[float], covariance: list[list[float]]) -> Gaussian:
    return Gaussian(*(torch.tensor(t, dtype=torch.float64) for t in (mean, covariance)))


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def moments(features: Tensor) -> Tensor:
    metric = GaussianMoments(features.shape[1])
    metric.update(features)
    return metric.compute()[0]


def test_two_gaussians_whose_covariances_do_not_commute() -> None:
    """For 2 x 2, tr (C1 C2)^(1/2) = (tr C1 C2 + 2 det(C1 C2)^(1/2))^(1/2): Cayley-Hamilton."""
    first = gaussian([1.0, 2.0], [[2.0, 1.0], [1.0, 3.0]])
    second = gaussian([4.0, -2.0], [[5.0, -1.0], [-1.0, 1.0]])
    product = first.covariance @ second.covariance  # trace 11, determinant 5 x 4
    root = math.sqrt(11 + 2 * math.sqrt(20))
    assert product.trace() == 11
    assert frechet_distance(first, second) == pytest.approx(9 + 16 + 5 + 6 - 2 * root, rel=1e-13)


def test_a_shift_costs_its_squared_length() -> None:
    features, shift = normal(200, 8), torch.arange(8.0, dtype=torch.float64)
    fits = [fit_gaussian(moments(x)) for x in (features, features + shift)]
    assert frechet_distance(*fits) == pytest.approx(140, rel=1e-11)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_sets_are_at_0_whatever_their_rank(rank: int) -> None:
    """A root of eigenvalues would leave some 1e-8 for each dimension without variance."""
    fit = fit_gaussian(moments(normal(200, rank) @ normal(rank, 8)))
    assert 0 <= frechet_distance(fit, fit) < 1e-12


@pytest.mark.parametrize(("second", "expected"), [([9.0, 0.0], 1.0), ([0.0, 9.0], 13.0)])
def test_covariances_without_an_inverse(second: list[float], expected: float) -> None:
    """Deviations 2 and 3 along one axis: (3 - 2)^2; along two: 2^2 + 3^2."""
    zero = torch.zeros(2, dtype=torch.float64)
    first, other = (Gaussian(zero, torch.tensor(d).double().diag()) for d in ([4.0, 0.0], second))
    assert frechet_distance(first, other) == pytest.approx(expected, rel=1e-13)


def test_rounding_in_directions_without_variance_is_no_variance() -> None:
    """Against the unit Gaussian, deviation r along one skew axis of 8: (r - 1)^2 + 7."""
    axis = normal(8)
    first = Gaussian(torch.zeros(8).double(), torch.outer(axis, axis))
    second = Gaussian(torch.zeros(8).double(), torch.eye(8).double())
    expected = (axis.norm().item() - 1) ** 2 + 7
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-13)


def test_a_distance_is_never_negative() -> None:
    for seed in range(20):
        x = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed)).double()
        fits = fit_gaussian(moments(x)), fit_gaussian(moments(x.flip(0)))
        assert frechet_distance(*fits) >= 0


def test_fits_are_unbiased_and_of_each_class() -> None:
    features, labels = normal(100, 5), torch.arange(100) % 3
    metric = GaussianMoments(5, 3)
    for rows in torch.arange(100).split(7):
        metric.update(features[rows], labels[rows])
    found = metric.compute()
    assert found[:, 0, 0].tolist() == [34, 33, 33]
    for k in range(3):
        fit, members = fit_gaussian(found[k]), features[labels == k]
        torch.testing.assert_close(fit.mean, members.mean(dim=0), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(fit.covariance, members.T.cov(), rtol=1e-12, atol=1e-14)


def test_plain_sums_bear_means_of_a_thousand_deviations() -> None:
    features = normal(1000, 5)
    found = fit_gaussian(moments(features + 1000)).covariance
    torch.testing.assert_close(found, features.T.cov(), rtol=1e-8, atol=1e-8)


def test_each_class_has_its_distance_and_too_few_samples_have_none() -> None:
    """Class k is shifted by k along each of 4 axes; class 2 has one sample, class 3 none."""
    features = normal(41, 4)
    labels = torch.tensor([0] * 20 + [1] * 20 + [2])
    first, second = GaussianMoments(4, 4), GaussianMoments(4, 4)
    first.update(features, labels)
    second.update(features + labels[:, None], labels)
    distances = frechet_by_class(first.compute(), second.compute())
    assert distances[:2] == pytest.approx([0, 4], abs=1e-11)
    assert all(math.isnan(d) for d in distances[2:])


def test_classes_need_labels() -> None:
    with pytest.raises(ValueError, match="needs labels"):
        GaussianMoments(4, 10).update(normal(3, 4))


def test_a_diverged_network_is_no_crash() -> None:
    fit = fit_gaussian(moments(normal(9, 3)))
    broken = fit_gaussian(moments(normal(9, 3).log()))
    assert math.isnan(frechet_distance(broken, fit))
