"""The kernel distance is that of the double loop over all pairs."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from metrics.kid import KernelDistance, KernelMoments, kernel_distance


def clouds(n: int, m: int, size: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    first = torch.randn(n, size, generator=random, dtype=torch.float64)
    return first, 0.5 + torch.randn(m, size, generator=random, dtype=torch.float64)


def distance(first: Tensor, second: Tensor, groups: int = 2, batch: int = 7) -> KernelDistance:
    sums = []
    for features in (first, second):
        metric = KernelMoments(features.shape[1], groups)
        for rows in torch.arange(len(features)).split(batch):
            metric.update(features[rows], rows)
        sums.append(metric.compute())
    return kernel_distance(*sums)


def naive(x: Tensor, y: Tensor) -> float:
    """Binkowski et al. 2018, eq. 4, term by term."""

    def mean(a: Tensor, b: Tensor, same: bool) -> float:
        values = [
            float(a[i] @ b[j] / a.shape[1] + 1) ** 3
            for i in range(len(a))
            for j in range(len(b))
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_estimate_is_that_of_all_pairs_of_different_samples() -> None:
    first, second = clouds(23, 17)
    assert distance(first, second).estimate == pytest.approx(naive(first, second), rel=1e-11)


def test_estimate_is_that_of_torchmetrics_for_one_subset_of_all() -> None:
    first, second = clouds(40, 40, size=64)
    expected = poly_mmd(first, second).item()
    assert distance(first, second).estimate == pytest.approx(expected, rel=1e-11)


def test_error_is_that_of_the_mean_of_groups_by_index() -> None:
    first, second = clouds(23, 17)
    dealt = [(torch.arange(len(x)) + torch.arange(len(x)) // 3) % 3 for x in (first, second)]
    groups = torch.tensor([naive(first[dealt[0] == g], second[dealt[1] == g]) for g in range(3)])
    found = distance(first, second, groups=3)
    assert found.error == pytest.approx(groups.std().item() / math.sqrt(3), rel=1e-6)


def test_classes_that_take_turns_are_spread_over_the_groups() -> None:
    """Groups of one class each, held against groups of all, would be as far apart as classes."""
    torch.manual_seed(0)
    clusters = torch.randn(10, 4, dtype=torch.float64) * 3
    turns, other = (clusters.repeat(60, 1) + 0.1 * torch.randn(600, 4) for _ in "ab")
    other = other[torch.randperm(600)]
    mixed = turns[torch.randperm(600)]
    errors = [distance(first, other, groups=10).error for first in (turns, mixed)]
    assert errors[0] < 2 * errors[1]


def test_two_points_in_closed_form() -> None:
    """All samples at a, or all at b: k(a, a) + k(b, b) - 2 k(a, b), and groups that agree."""
    a, b = torch.tensor([[2.0, 0.0]]).expand(8, 2), torch.tensor([[2.0, 2.0]]).expand(6, 2)
    found = distance(a, b)
    assert found.estimate == pytest.approx(3.0**3 + 5.0**3 - 2 * 3.0**3, rel=1e-12)
    assert found.error == pytest.approx(0, abs=1e-12)


def test_float32_features_are_summed_in_float64() -> None:
    first, second = (x.float() for x in clouds(40, 40))
    expected = distance(first.double(), second.double()).estimate
    assert distance(first, second).estimate == pytest.approx(expected, rel=1e-13)


def test_too_few_samples_are_nan() -> None:
    first, second = clouds(9, 9)
    lacking = distance(first, second[:3])  # one sample in the second group
    assert math.isfinite(lacking.estimate)
    assert math.isnan(lacking.error)
    for one in second.split(1):  # whatever rounding leaves of 0 / 0
        assert math.isnan(distance(first, one).estimate)
    with pytest.raises(ValueError, match="needs 2 or more"):
        KernelMoments(6, num_groups=1)
