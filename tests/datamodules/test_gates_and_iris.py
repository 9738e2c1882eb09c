"""Truth tables, the lecture's split of the flowers, and what training examples alone get."""

import operator
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from datamodules import ArrayDataModule, Gates, Iris, Splits

TRUTH: dict[str, Callable[[bool, bool], bool]] = {
    "or": operator.or_,
    "and": operator.and_,
    "xor": operator.ne,
    "xnor": operator.eq,
}


def splits(data: ArrayDataModule) -> Splits:
    data.setup()
    return data.splits


@pytest.mark.parametrize("gate", TRUTH)
def test_the_four_points_follow_the_truth_table(gate):
    train, val, test = splits(Gates(gate))
    points, targets = test
    assert points.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (points.dtype, targets.dtype) == (torch.float32, torch.int64)
    assert targets.tolist() == [TRUTH[gate](bool(a), bool(b)) for a, b in points.tolist()]
    assert all(torch.equal(split.inputs, points) for split in (train, val))
    assert all(torch.equal(split.targets, targets) for split in (train, val))


def test_the_split_is_the_lectures():
    flowers, species = load_iris(return_X_y=True)
    one_hot = np.eye(3)[species]
    train_x, test_x, train_y, test_y = train_test_split(
        flowers, one_hot, train_size=0.8, random_state=0
    )
    train, val, test = splits(Iris(standardize=False))
    assert val is None
    torch.testing.assert_close(train.inputs, torch.tensor(train_x, dtype=torch.float32))
    torch.testing.assert_close(test.inputs, torch.tensor(test_x, dtype=torch.float32))
    assert train.targets.tolist() == train_y.argmax(1).tolist()
    assert test.targets.tolist() == test_y.argmax(1).tolist()
    cut = splits(Iris(standardize=False, val_fraction=0.25))
    assert [len(split.targets) for split in cut if split] == [90, 30, 30]
    assert torch.equal(cut.test.inputs, test.inputs)


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_statistics_come_from_the_training_flowers_alone(fraction):
    cm = splits(Iris(standardize=False, val_fraction=fraction))
    data = Iris(val_fraction=fraction)
    scaled = splits(data)
    torch.testing.assert_close(scaled.train.inputs.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.train.inputs.std(0, correction=0), torch.ones(4))
    for before, after in zip(cm, scaled, strict=True):
        if before is not None and after is not None:
            assert torch.equal(data.in_units(after.inputs), before.inputs)
    assert scaled.test.inputs.mean(0).abs().max() > 0.01


def test_the_table_has_all_flowers_and_the_names_of_scikit_learn():
    iris = load_iris()
    assert list(Iris.class_names) == iris.target_names.tolist()
    known = [name.removesuffix(" (cm)").replace(" ", "_") for name in iris.feature_names]
    assert list(Iris.feature_names) == known
    table = Iris().table()
    assert list(table.columns) == [*known, "species"]
    assert np.array_equal(table[known].to_numpy(), iris.data)
    assert Gates().table() is None
