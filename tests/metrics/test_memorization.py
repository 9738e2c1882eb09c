"""Copies score 0, fresh samples 1."""

import math

import pytest
import torch
from torch import Tensor

from metrics.neighbours import memorization_floor, memorization_ratio


def cloud(count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=random, dtype=torch.float64)


@pytest.fixture(autouse=True, params=[7, 512])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.neighbours.CHUNK", request.param)


def test_mean_distances_in_closed_form() -> None:
    """At 0, 1, ..., 9, each with training samples at 0.1 and test samples at 0.4 beside it."""
    line = torch.arange(10.0, dtype=torch.float64)[:, None]
    assert memorization_ratio(line, line + 0.1, line - 0.4) == pytest.approx(0.1 / 0.4, rel=1e-6)


def test_copies_score_0() -> None:
    train, test = cloud(200, 0), cloud(200, 1)
    assert memorization_ratio(train, train, test) == pytest.approx(0, abs=1e-6)
    half = torch.cat([train[:100], cloud(100, 2)])
    assert memorization_ratio(half, train, test) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("sizes", [(1000, 1000), (1000, 100), (100, 1000)])
def test_fresh_samples_score_1_whatever_the_sizes(sizes: tuple[int, int]) -> None:
    """Of ten times as many references the nearest would be at 10^(-1/4) = 0.56 the distance.

    Ten draws of 500: each ratio is off by about 0.04, their mean by 0.012.
    """
    ratios = [
        memorization_ratio(
            cloud(500, 3 * i), cloud(sizes[0], 3 * i + 1), cloud(sizes[1], 3 * i + 2)
        )
        for i in range(10)
    ]
    assert sum(ratios) / 10 == pytest.approx(1, abs=0.05)


def test_floor_compares_each_training_sample_with_all_others() -> None:
    """Trained on 0, 1, ..., 9, tested at 0.25, 1.25, ..., 9.25 and, cut off, at 0.

    The nearest other is at 1; the nearest test sample but its own at 0.75, for 0 at 1.25.
    """
    line = torch.arange(10.0, dtype=torch.float64)[:, None]
    test = torch.cat([line + 0.25, line[:1]])
    expected = 1 / ((9 * 0.75 + 1.25) / 10)
    assert memorization_floor(line, test) == pytest.approx(expected, rel=1e-6)


def test_floor_of_fresh_samples_is_1() -> None:
    floors = [memorization_floor(cloud(500, 2 * i), cloud(500, 2 * i + 1)) for i in range(10)]
    assert sum(floors) / 10 == pytest.approx(1, abs=0.05)


def test_without_samples_it_is_nan() -> None:
    some, none = cloud(3, 0), cloud(0, 0)
    assert math.isnan(memorization_ratio(none, some, some))
    assert math.isnan(memorization_ratio(some, none, some))
    assert math.isnan(memorization_floor(some, none))
    assert math.isnan(memorization_floor(some[:1], some))
