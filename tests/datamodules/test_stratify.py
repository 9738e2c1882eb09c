"""The stratified cut finds the rows that scikit-learn finds."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from datamodules.stratify import stratified_cut


@pytest.mark.parametrize("seed", range(20))
def test_the_rows_are_those_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = int(random.integers(1, 12))
    counts = random.integers(2, 200, classes)
    targets = torch.from_numpy(random.permutation(np.repeat(random.permutation(classes), counts)))
    n = len(targets)
    size = int(random.integers(classes, n - classes + 1))
    theirs = train_test_split(range(n), test_size=size, random_state=seed, stratify=targets.numpy())
    assert stratified_cut(targets, size, seed) == tuple(sorted(rows) for rows in theirs)


def test_the_validation_images_of_mnist_are_those_of_scikit_learn() -> None:
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    targets = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(range(10), counts)))
    theirs = train_test_split(
        range(60_000), test_size=5000, random_state=0, stratify=targets.numpy()
    )
    assert stratified_cut(targets, 5000, 0) == tuple(sorted(rows) for rows in theirs)
