"""Accuracy and modes in closed form."""

import math

import pytest
import torch

from metrics.labels import ModeCounts, label_accuracy, mode_coverage


def test_accuracy_is_hits_over_samples_of_the_class_asked_for() -> None:
    found = label_accuracy(torch.tensor([[8, 2, 0], [1, 3, 0], [0, 0, 0]]))
    assert found.overall == 11 / 14
    assert found.by_class[:2] == [0.8, 0.75]
    assert math.isnan(found.by_class[2])
    assert math.isnan(label_accuracy(torch.zeros(3, 3, dtype=torch.int64)).overall)


def test_all_modes_alike_are_at_0() -> None:
    counts = torch.full((1000,), 7)
    assert mode_coverage(counts, torch.ones(1000)) == (1000, pytest.approx(0, abs=1e-12))


def test_one_mode_of_many_is_at_their_logarithm() -> None:
    counts = torch.zeros(1000, dtype=torch.int64)
    counts[3] = 50
    assert mode_coverage(counts, torch.ones(1000)) == (1, pytest.approx(math.log(1000)))


def test_divergence_is_from_generated_to_real() -> None:
    found = mode_coverage(torch.tensor([1, 1, 0]), torch.tensor([6, 2, 2]))
    assert found == (2, pytest.approx(0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.2)))


def test_modes_without_samples() -> None:
    none, some = torch.tensor([0, 0]), torch.tensor([0, 5])
    assert mode_coverage(none, some)[0] == 0
    assert math.isnan(mode_coverage(none, some).kl)
    assert mode_coverage(torch.tensor([1, 1]), some).kl == math.inf


def test_counts_over_batches() -> None:
    metric = ModeCounts(4)
    metric.update(torch.tensor([0, 3, 3]))
    metric.update(torch.tensor([3]))
    assert metric.compute().tolist() == [1, 0, 0, 3]
