"""The contract that every data set declares, excerpts, identities and new data sets."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader

from datamodules import (
    ArrayDataModule,
    Functions,
    Gates,
    Images,
    Iris,
    Split,
    Splits,
)
from datamodules.base import cut_validation
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, write_classes
from tests.test_extending import EXAMPLES

# Checkpoints hold these: with another key or value a run would not resume.
IDENTITIES: list[tuple[ArrayDataModule, dict[str, Any]]] = [
    (
        Images("digits", "some/folder", batch_size=7, scale=256.0),
        {"dataset": "digits", "val_fraction": 1 / 12, "split_seed": 0},
    ),
    (
        Functions("x1 + x2", 2, 99, 400, 8),
        {"function": "x1 + x2", "dimensions": 2, "num_train": 99},
    ),
    (
        Iris(2, False, 0.5, 1),
        {"standardize": False, "val_fraction": 0.5, "split_seed": 1},
    ),
]


@pytest.mark.parametrize(("data", "expected"), IDENTITIES)
def test_an_identity_is_what_decides_the_examples(data, expected):
    data.setup()
    assert data.identity() == data.state_dict()["identity"] == expected
    assert list(data.identity()) == list(expected)  # not a byte of a checkpoint changes


@pytest.mark.filterwarnings("ignore")  # Lightning's, of arguments that a program gives
def test_a_data_set_from_the_command_line_has_the_same_identity():
    made = LightningCLI(
        BoringModel,
        ArrayDataModule,
        subclass_mode_data=True,
        run=False,
        save_config_callback=None,
        args=["--data=Gates", "--data.gate=or", "--trainer.logger=false"],
    )
    assert made.datamodule.identity() == Gates("or").identity()


CONTRACT: list[tuple[ArrayDataModule, dict[str, Any]]] = [
    (
        Gates("xnor"),
        {"input_shape": (2,), "image_shape": None, "num_classes": 2, "title": "XNOR"},
    ),
    (Gates(), {"feature_names": ("x1", "x2"), "judge": None, "used_fallback": False}),
    (Functions("x1", 3), {"input_shape": (3,), "num_classes": None, "title": "x1"}),
    (Functions("x1", 3), {"feature_names": ("x1", "x2", "x3"), "scale": 1.0}),
    (Iris(), {"input_shape": (4,), "num_classes": 3, "mirrors": False, "unit": "cm"}),
    (Images("digits"), {"feature_names": None, "class_names": None, "input_shape": (1, 28, 28)}),
]


@pytest.mark.parametrize(("data", "expected"), CONTRACT)
def test_the_contract_is_known_before_any_data_is_read_and_holds(data, expected):
    assert {name: getattr(data, name) for name in expected} == expected
    data.setup()
    assert data.splits.train.inputs.shape[1:] == data.input_shape
    names, columns = data.class_names, data.feature_names
    assert names is None or len(names) == data.num_classes
    assert columns is None or (len(columns),) == data.input_shape


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_each_process_gets_its_share_of_a_batch(split):
    data, shares = Images("digits", batch_size=10), list[torch.Tensor]()
    whole = next(iter(getattr(data, f"{split}_dataloader")()))[0]
    for rank in range(2):
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(
            strategy=strategy, global_rank=rank, world_size=2, current_epoch=0, overfit_batches=0
        )
        shares.append(next(iter(getattr(data, f"{split}_dataloader")()))[0])
    assert torch.equal(torch.cat(shares), whole)


class Undeclared(ArrayDataModule):
    """Five examples of shape (2, 3)."""

    def load_splits(self) -> Splits:
        split = Split(torch.zeros(5, 2, 3), torch.zeros(5))
        return Splits(split, None, split)


def test_a_shape_is_read_from_the_examples_and_a_wrong_declaration_is_refused():
    assert Undeclared(batch_size=1).input_shape == (2, 3)
    data = Undeclared(batch_size=1)
    data.image_shape = (1, 2, 3)
    with pytest.raises(UserError, match=r"of \(2, 3\).*declares \(1, 2, 3\): .*image_shape"):
        data.setup()


def test_a_data_set_is_used_again_after_a_resumed_run(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    data = Gates("xor")
    data.load_state_dict(data.state_dict() | {"seed": 3})
    assert data.seed == 3
    data.setup("fit")
    assert data.seed == 7


def test_facts_are_those_of_the_examples_in_any_order():
    data, other = Gates(), Gates("and")
    for module in (data, other):
        module.setup()
    train = data.splits.train
    facts = data.facts("train")
    assert facts["title"] == "XOR"
    assert facts["counts"] == {"train": 4, "val": 4, "test": 4}
    assert len(facts["content"]) == 16
    assert int(facts["content"], 16)
    assert data.facts("test") == facts != other.facts("test")  # other targets alone
    data.splits = Splits(train.take(torch.tensor([2, 0, 3, 1])), None, train.take(slice(3)))
    assert data.facts("train")["content"] == facts["content"] != data.facts("test")["content"]
    assert data.facts("val") == {
        "title": "XOR", "content": None, "counts": {"train": 4, "val": 0, "test": 3}
    }  # fmt: skip


def test_facts_of_files_and_of_public_data_name_them(photos, tmp_path):
    folder, arrays = loaded(photos), Images("digits")
    arrays.setup()
    assert arrays.facts("test")["title"] == "digits"
    test, facts = folder.splits.test, folder.facts("test")
    assert facts["title"] == "photos"
    assert facts["counts"] == {"train": 14, "val": 4, "test": 2}
    folder.splits = folder.splits._replace(test=Split(test.inputs[:], test.targets))
    assert folder.facts("test") == facts  # of pixels in memory


def test_an_excerpt_stands_for_a_split_in_the_order_of_its_classes():
    split = Split(torch.arange(3000), torch.arange(3000) // 1000)
    found = Undeclared(batch_size=1)._subset(split, 300)
    shares = found.targets.bincount() / 300
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=0.1)
    assert torch.equal(found.inputs // 1000, found.targets)
    assert len(found.inputs.unique()) == 300
    assert torch.equal(Undeclared(batch_size=2)._subset(split, 300).inputs, found.inputs)
    whole = Undeclared(batch_size=1)._subset(split, 9999)
    assert torch.equal(whole.inputs.sort().values, split.inputs)
    assert len(whole.targets[:300].unique()) == 3
    # Data that are in random order already: their beginning
    assert torch.equal(Images("digits")._subset(split, 20).inputs, torch.arange(20))


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_has_the_rows_of_scikit_learn_in_their_order(seed):
    random = np.random.default_rng(seed)
    classes = random.permutation(np.repeat(range(7), random.integers(20, 200, 7)))
    n = len(classes)
    whole = Split(torch.arange(n), torch.from_numpy(classes))
    kept, cut = cut_validation(whole, 0.3, seed)
    theirs = train_test_split(
        range(n), test_size=round(0.3 * n), random_state=seed, stratify=classes
    )
    assert [kept.inputs.tolist(), cut.inputs.tolist()] == [sorted(rows) for rows in theirs]
    assert torch.equal(kept.targets, whole.targets[kept.inputs])


def test_the_data_set_of_the_documentation_is_loaded_identified_and_batched():
    example: dict[str, Any] = {}
    exec(EXAMPLES["data set"].python, example)
    data = example["Bands"](num_train=120)
    assert data.input_shape == data.image_shape == (3, 32, 32)
    assert data.identity() == {"num_train": 120, "data_seed": 0}
    stored = list(data.train_dataloader())
    assert len(stored) == 2
    images, labels = data.on_after_batch_transfer(stored[0], 0)
    assert (images.shape, images.dtype) == ((50, 3, 32, 32), torch.float32)
    assert 0.9 < images.max() <= 1
    assert set(labels.tolist()) == set(range(5))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_is_a_dataset_of_torch(split):
    data = Images("digits", batch_size=50)
    data.setup()
    dataset, known = data.as_dataset(split), getattr(data.splits, split)
    image, label = dataset[-1]
    assert (image.shape, image.dtype, type(label)) == ((1, 28, 28), torch.float32, int)
    assert torch.equal(image, known.inputs[-1] / 255)
    assert label == known.targets[-1]
    with pytest.raises(IndexError):
        dataset[len(known.targets)]
    loader = Fabric(accelerator="cpu").setup_dataloaders(DataLoader(dataset, batch_size=50))
    images, labels = map(torch.cat, zip(*loader, strict=True))
    expected = data.on_after_batch_transfer(known, 0)
    assert torch.equal(images, expected[0])
    assert torch.equal(labels, expected[1])
    assert labels.dtype == torch.int64


def test_a_dataset_of_numbers_has_targets_as_the_models_take_them():
    data = Functions("x1", 1, 99, 400, 8)
    inputs, target = data.as_dataset("train")[3]
    assert (inputs.shape, target.shape, target.dtype) == ((1,), (1,), torch.float32)
    with pytest.raises(UserError, match="there is no split 'tran' here: one of train, val, test"):
        data.as_dataset("tran")


def test_a_dataset_of_pictures_in_a_file_reads_only_what_it_gives(tmp_path):
    dataset = loaded(write_classes(tmp_path / "pictures")).as_dataset("train")
    assert not isinstance(dataset.split.inputs, torch.Tensor)
    images, labels = next(iter(DataLoader(dataset, batch_size=3, num_workers=0)))
    assert torch.equal(images, dataset.split.inputs[:3] / 255)
    assert torch.equal(labels, dataset.split.targets[:3])


def test_validation_and_test_read_their_own_split():
    data = Iris(val_fraction=0.2)
    data.setup()
    loaders = {data.val_dataloader(): data.splits.val, data.test_dataloader(): data.splits.test}
    for loader, split in loaders.items():
        assert torch.equal(torch.cat([inputs for inputs, _ in loader]), split.inputs)
