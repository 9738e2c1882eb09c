"""Samples are scored in the class frequencies that `test` asks for."""

import torch

from benchmarks.score_samples import as_often_as


def test_as_many_as_possible_are_kept_in_the_wanted_frequencies() -> None:
    wanted = torch.tensor([0, 1, 1, 2])  # 25, 50 and 25 %
    labels = torch.tensor([0, 1, 2] * 10)
    kept = as_often_as(wanted, labels)
    assert labels[kept].bincount().tolist() == [5, 10, 5]
    assert kept[:5].tolist() == [0, 3, 6, 9, 12]
