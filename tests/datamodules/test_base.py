"""The contract that every data set declares."""

from typing import Any

import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel

from datamodules import (
    Functions,
    Gates,
    Images,
    InMemoryDataModule,
    Iris,
    Split,
    Splits,
    StackedImages,
)
from metrics.judge import load_judge
from runtime.errors import UserError

# Checkpoints hold these: with another key or value an old run would not resume.
IDENTITIES: list[tuple[InMemoryDataModule, dict[str, Any]]] = [
    (
        Images("digits", "some/folder", batch_size=7, scale=256.0),
        {"dataset": "digits in MNIST's frame", "val_fraction": 1 / 12, "split_seed": 0},
    ),
    (
        Images("digits", val_fraction=0.25, split_seed=3),
        {"dataset": "digits in MNIST's frame", "val_fraction": 0.25, "split_seed": 3},
    ),
    (
        StackedImages("digits", split_seed=3, num_train=50),
        {
            "dataset": "digits in MNIST's frame",
            "val_fraction": 1 / 12,
            "split_seed": 3,
            "num_train": 50,
        },
    ),
    (Gates(), {"gate": "xor", "repeat": 1, "noise": 0.0, "noise_seed": 0}),
    (
        Gates("or", 5, 0.5, batch_size=2, noise_seed=4),
        {"gate": "or", "repeat": 5, "noise": 0.5, "noise_seed": 4},
    ),
    (
        Functions("x1 + x2", 2, 99, "grid", 400, 0.25, 8, 6),
        {
            "function": "x1 + x2",
            "dimensions": 2,
            "num_train": 99,
            "sampling": "grid",
            "noise": 0.25,
            "data_seed": 6,
        },
    ),
    (
        Iris(2, False, 0.5, 1, 3, 4, 2),
        {
            "standardize": False,
            "val_fraction": 0.5,
            "split_seed": 1,
            "fold": 3,
            "folds": 4,
            "fold_seed": 2,
        },
    ),
]


@pytest.mark.parametrize(("data", "expected"), IDENTITIES)
def test_an_identity_is_what_old_checkpoints_hold(
    data: InMemoryDataModule, expected: dict[str, Any]
) -> None:
    data.setup()
    found = data.identity()
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}
    assert list(found) == list(expected)  # not a byte of a checkpoint changes
    assert data.state_dict()["identity"] == expected


@pytest.mark.filterwarnings("ignore")  # Lightning's, of arguments that a program gives
@pytest.mark.parametrize("subclass_mode", [False, True])
def test_a_data_set_from_the_command_line_has_the_same_identity(subclass_mode: bool) -> None:
    arguments = ["--data=Gates"] if subclass_mode else []
    made = LightningCLI(
        BoringModel,
        InMemoryDataModule if subclass_mode else Gates,
        subclass_mode_data=subclass_mode,
        run=False,
        save_config_callback=None,
        args=[*arguments, "--data.gate=or", "--data.batch_size=2", "--trainer.logger=false"],
    )
    assert made.datamodule.identity() == Gates("or").identity()


CONTRACT: list[tuple[InMemoryDataModule, dict[str, Any]]] = [
    (
        Images("auto"),
        {"image_shape": (1, 28, 28), "num_classes": 10, "mirrors": False, "judge": None},
    ),
    (Images("fashion"), {"mirrors": True, "judge": "fashion", "scale": 255.0}),
    (Images("digits", scale=1.0), {"mirrors": False, "judge": "digits", "class_names": None}),
    (
        StackedImages("mnist"),
        {"image_shape": (3, 28, 28), "num_classes": None, "judge": "mnist", "stacked": True},
    ),
    (
        Gates("xnor"),
        {
            "input_shape": (2,),
            "image_shape": None,
            "num_classes": 2,
            "title": "XNOR",
            "judge": None,
        },
    ),
    (Functions("x1", 3), {"input_shape": (3,), "num_classes": None, "title": "x1", "scale": 1.0}),
    (Iris(), {"input_shape": (4,), "num_classes": 3, "mirrors": False, "splits": None}),
]


@pytest.mark.parametrize(("data", "expected"), CONTRACT)
def test_the_contract_is_known_before_any_data_is_read(
    data: InMemoryDataModule, expected: dict[str, Any]
) -> None:
    found = {name: getattr(data, name) for name in expected}
    assert found == expected
    assert data.input_shape == (data.image_shape or expected["input_shape"])
    assert data.splits is None


@pytest.mark.parametrize(
    "data",
    [
        Images("digits"),
        StackedImages("digits", num_train=50),
        Gates(),
        Functions(dimensions=2, function="x1"),
        Iris(),
    ],
)
def test_the_declared_shape_is_that_of_the_examples(data: InMemoryDataModule) -> None:
    data.setup()
    assert data.splits is not None
    assert data.splits.train.inputs.shape[1:] == data.input_shape
    names = data.class_names
    assert names is None or len(names) == data.num_classes


JUDGES = {
    "mnist": "mnist",
    "fashion": "fashion",
    "kmnist": None,
    "qmnist": "mnist",
    "emnist-digits": "mnist",
    "digits": "digits",
}


@pytest.mark.parametrize(("key", "judge"), JUDGES.items())
def test_a_declared_judge_has_weights(key: Any, judge: str | None) -> None:
    data = Images(key)
    assert data.judge == judge
    assert judge is None or load_judge(judge).num_classes == data.num_classes


def test_only_iris_is_a_table() -> None:
    assert Gates().table() is None
    table = Iris().table()
    assert table is not None
    assert list(table.columns) == [*Iris.feature_names, "species"]


class Undeclared(InMemoryDataModule):
    """Five examples of shape (2, 3)."""

    def load_splits(self) -> Splits:
        split = Split(torch.zeros(5, 2, 3), torch.zeros(5))
        return Splits(split, None, split)


def test_a_shape_that_is_not_declared_is_read_from_the_examples() -> None:
    assert Undeclared(batch_size=1).input_shape == (2, 3)


def test_a_wrong_declaration_is_refused() -> None:
    data = Undeclared(batch_size=1)
    data.image_shape = (1, 2, 3)
    with pytest.raises(UserError, match=r"\(1, 2, 3\).*\(2, 3\).*image_shape"):
        data.setup()


def test_an_excerpt_stands_for_a_split_in_the_order_of_its_classes() -> None:
    class Sorted(InMemoryDataModule):
        pass

    split = Split(torch.arange(3000), torch.arange(3000) // 1000)
    found = Sorted(batch_size=1).excerpt(split, 300)
    shares = found.targets.bincount() / 300
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=0.1)
    assert torch.equal(found.inputs // 1000, found.targets)
    assert len(found.inputs.unique()) == 300
    assert torch.equal(Sorted(batch_size=2).excerpt(split, 300).inputs, found.inputs)
    whole = Sorted(batch_size=1).excerpt(split, 9999)
    assert torch.equal(whole.inputs.sort().values, split.inputs)
    assert len(whole.targets[:300].unique()) == 3


def test_an_excerpt_of_data_in_random_order_is_their_beginning() -> None:
    split = Split(torch.arange(50), torch.zeros(50))
    assert torch.equal(Images("digits").excerpt(split, 20).inputs, torch.arange(20))
    assert torch.equal(Images("digits").excerpt(split, 90).inputs, torch.arange(50))
