"""Scores of neighbours in closed form, and sample by sample."""

import math

import pytest
import torch
from torch import Tensor

from metrics import neighbours
from metrics.bank import FeatureBank
from metrics.neighbours import farthest, manifold_scores


def cloud(count: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 4, generator=random, dtype=torch.float64)


def naive(generated: Tensor, real: Tensor) -> list[float]:
    """The four definitions, one sample at a time."""

    def radius(x: Tensor, i: int, k: int) -> float:
        return sorted(float((x[i] - x[j]).norm()) for j in range(len(x)) if j != i)[k - 1]

    def inside(points: Tensor, balls: Tensor, k: int) -> Tensor:
        radii = [radius(balls, i, k) for i in range(len(balls))]
        rows = [
            [float((p - balls[i]).norm()) <= radii[i] for i in range(len(balls))] for p in points
        ]
        return torch.tensor(rows)  # (points, balls)

    dense = inside(generated, real, 5)
    return [
        inside(generated, real, 3).any(dim=1).double().mean().item(),
        inside(real, generated, 3).any(dim=1).double().mean().item(),
        dense.double().sum(dim=1).mean().item() / 5,
        dense.any(dim=0).double().mean().item(),
    ]


@pytest.mark.parametrize("chunk", [7, 512])
def test_scores_are_their_definitions(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    generated, real = cloud(30, 0.8, seed=1) + 0.8, cloud(40)
    expected = naive(generated, real)
    assert min(expected) > 0
    assert max(expected) < 1  # so that no score is met by chance
    assert list(manifold_scores(generated, real)) == pytest.approx(expected, rel=1e-12)


def test_a_set_lies_within_itself() -> None:
    """Each ball of 5 neighbours holds these and its centre: density 6 / 5.

    On the edge of a ball rounding decides, on which sets that share no sample never are.
    """
    scores = manifold_scores(cloud(50), cloud(50))
    assert scores == (1, 1, pytest.approx(6 / 5, abs=0.02), 1)


def test_sets_far_apart_share_nothing() -> None:
    assert manifold_scores(cloud(50) + 100, cloud(50)) == (0, 0, 0, 0)


def test_a_lost_mode_costs_recall_and_coverage_alone() -> None:
    one = cloud(40)
    scores = manifold_scores(one, torch.cat([one, one + 100]))
    assert (scores.precision, scores.recall, scores.coverage) == (1, 0.5, 0.5)


def test_too_few_samples_are_nan() -> None:
    for sets in ((cloud(5), cloud(9)), (cloud(9), cloud(5)), (cloud(0), cloud(9))):
        assert all(math.isnan(score) for score in manifold_scores(*sets))
    assert manifold_scores(cloud(6), cloud(6)).precision == 1


def test_the_bank_keeps_the_lowest_indices_in_their_order() -> None:
    features = cloud(100)
    bank = FeatureBank(4, max_samples=30)
    for rows in torch.randperm(100, generator=torch.Generator().manual_seed(0))[:80].split(9):
        bank.update(features[rows].float(), rows)
    seen = torch.randperm(100, generator=torch.Generator().manual_seed(0))[:80].sort().values
    kept = features[seen[seen < 30]].float().double()
    assert 0 < len(kept) < 30  # some slots stay empty
    assert torch.equal(bank.compute(), kept)


@pytest.mark.parametrize("chunk", [2, 512])
def test_the_farthest_samples_and_their_nearest_references(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    samples = torch.tensor([0.0, 7.0, 1.2, -3.0, 9.0])[:, None]  # 0, 3.5, 0.2, 3 and 1.5 away
    references = torch.tensor([0.0, 1.0, 10.5])[:, None]
    places, nearest = farthest(samples, references, 2)
    assert places.tolist() == [1, 3]
    assert nearest.tolist() == [2, 0]
    assert len(farthest(samples, references, 20)[0]) == 5
