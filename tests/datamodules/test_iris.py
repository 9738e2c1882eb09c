"""The lecture's split, statistics of the training flowers alone, and folds."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from datamodules import Iris, Splits
from runtime.errors import UserError


def splits(**kwargs: object) -> Splits:
    data = Iris(**kwargs)  # type: ignore[arg-type]
    data.setup()
    assert data.splits is not None
    return data.splits


def test_the_split_is_the_lectures() -> None:
    flowers, species = load_iris(return_X_y=True)
    one_hot = np.eye(3)[species]
    train_x, test_x, train_y, test_y = train_test_split(
        flowers, one_hot, train_size=0.8, random_state=0
    )
    train, val, test = splits(standardize=False)
    assert val is None
    torch.testing.assert_close(train.inputs, torch.tensor(train_x, dtype=torch.float32))
    torch.testing.assert_close(test.inputs, torch.tensor(test_x, dtype=torch.float32))
    assert train.targets.tolist() == train_y.argmax(1).tolist()
    assert test.targets.tolist() == test_y.argmax(1).tolist()
    assert (len(train.targets), len(test.targets)) == (120, 30)


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_statistics_come_from_the_training_flowers_alone(fraction: float) -> None:
    cm = splits(standardize=False, val_fraction=fraction)
    scaled = splits(val_fraction=fraction)
    mean, std = cm.train.inputs.mean(0), cm.train.inputs.std(0, correction=0)
    torch.testing.assert_close(scaled.train.inputs.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.train.inputs.std(0, correction=0), torch.ones(4))
    for name in ("val", "test"):
        before, after = getattr(cm, name), getattr(scaled, name)
        if before is not None:
            torch.testing.assert_close(after.inputs * std + mean, before.inputs)
            assert after.inputs.mean(0).abs().max() > 0.01


def test_validation_leaves_the_test_flowers_alone() -> None:
    train, val, test = splits(standardize=False, val_fraction=0.25)
    assert val is not None
    assert (len(train.targets), len(val.targets), len(test.targets)) == (90, 30, 30)
    assert torch.equal(test.inputs, splits(standardize=False).test.inputs)


def test_folds_partition_the_flowers_by_species() -> None:
    parts = [splits(standardize=False, fold=fold) for fold in range(5)]
    for train, _, test in parts:
        assert test.targets.bincount().tolist() == [10, 10, 10]
        assert len(train.targets) == 120
    joined = torch.cat([test.inputs for _, _, test in parts])
    flowers = torch.tensor(load_iris().data, dtype=torch.float32)
    assert sorted(joined.tolist()) == sorted(flowers.tolist())
    other = splits(standardize=False, fold=0, fold_seed=1).test.inputs
    assert not torch.equal(other, parts[0][2].inputs)


@pytest.mark.parametrize("kwargs", [{"fold": 5}, {"fold": -1}])
def test_nonsense_is_refused_by_its_key(kwargs: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"data.{next(iter(kwargs))}"):
        Iris(**kwargs)  # type: ignore[arg-type]


def test_names_are_in_the_order_of_the_columns() -> None:
    iris = load_iris()
    assert list(Iris.class_names) == iris.target_names.tolist()
    known = [name.removesuffix(" (cm)").replace(" ", "_") for name in iris.feature_names]
    assert list(Iris.feature_names) == known
