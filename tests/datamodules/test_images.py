"""The choice of an image data set, its splits and its pixels."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules import Images, images
from datamodules.base import cut_validation
from datamodules.digits import load_digits
from metrics.judge import load_judge
from runtime.errors import UserError
from tests.test_cli import run


def set_up(data: Images) -> Images:
    data.prepare_data()
    data.setup("fit")
    return data


def test_auto_is_mnist_where_it_is_found(tmp_path, tiny):
    tiny(tmp_path / "MNIST" / "raw", suffix=".gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = set_up(Images("auto", str(tmp_path), val_fraction=0.5))
    assert data.dataset_found == data.hparams["dataset_found"] == data.judge == "mnist"
    assert not data.used_fallback


def test_auto_without_a_named_folder_falls_back_to_digits_loudly_and_on_the_record(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="MNIST WAS NOT FOUND") as caught:
        data = set_up(Images("auto"))
    for part in ("data/MNIST/raw", "tests are offline", "--data.data_dir"):
        assert part in str(caught[0].message)
    assert data.hparams["dataset_found"] == "digits"
    assert data.hparams_initial["dataset_found"] == "digits"  # for loggers
    assert data.hparams["dataset"] == "auto"
    assert data.identity()["dataset"] == data.judge == "digits"
    assert data.used_fallback


@pytest.mark.filterwarnings("ignore:MNIST WAS NOT FOUND")
@pytest.mark.parametrize("dataset", ["auto", "digits"])
@pytest.mark.parametrize(("wanted", "batch_size"), [(10240, 1280), (1280, 1280), (64, 64)])
def test_a_batch_for_mnist_is_halved_until_the_small_digits_fill_it(
    dataset, wanted, batch_size, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        data = set_up(Images(dataset, batch_size=wanted))
        data.test_dataloader()
        assert data.batch_size == batch_size
        assert not caplog.messages  # `test` trains no batch
        data.train_dataloader()
    assert (f"this run takes {batch_size:,}." in caplog.text) == (wanted > batch_size)


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_a_named_folder_without_the_data_is_an_error(tmp_path, dataset):
    missing = Images(dataset, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no folder .*nowhere: set --data.data_dir .*MNIST/raw"):
        set_up(missing)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"files of MNIST are not in .*tests are offline"):
        set_up(Images(dataset, str(tmp_path)))
    assert set_up(Images("digits", str(tmp_path / "nowhere"))).dataset_found == "digits"


def test_the_network_is_asked_only_for_what_is_missing(tmp_path, tiny, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(images, "download", lambda key, folder: asked.append(key) or "no")
    tiny(tmp_path / "MNIST" / "raw")
    places: list[tuple[Any, Path]] = [(k, tmp_path) for k in ("auto", "mnist", "digits", "fashion")]
    for dataset, folder in (*places, ("fashion", tmp_path / "nowhere")):
        Images(dataset, str(folder)).prepare_data()
    assert asked == ["fashion"]


DECLARED = {
    "auto": (1, 10), "mnist": (1, 10), "fashion": (1, 10), "digits": (1, 10), "kmnist": (1, 10),
    "cifar10": (3, 10), "cifar100": (3, 100), "svhn": (3, 10),
}  # fmt: skip


@pytest.mark.parametrize("key", DECLARED)
def test_what_a_data_set_declares_is_known_before_any_data_is_read(key):
    data, (channels, classes) = Images(key), DECLARED[key]
    side = {1: 28, 3: 32}[channels]
    assert (data.input_shape, data.num_classes) == ((channels, side, side), classes)
    assert data.mirrors == (key in ("fashion", "cifar10", "cifar100"))
    assert (data.class_names is not None) == (data.mirrors or key == "kmnist")
    assert data.judge == (key if key in ("mnist", "fashion", "digits") else None)
    assert data.judge is None or load_judge(data.judge).num_classes == 10


@pytest.mark.parametrize("config", ["cgan", "flow", "vae", "mnist_cnn", "judge/own"])
def test_models_take_the_shape_of_color_images(config, tiny_colors, in_root, tmp_path):
    tiny_colors("cifar10", tmp_path)
    data = [f"--data.data_dir={tmp_path}", "--data.val_fraction=0.5", "--data.batch_size=10"]
    quick = ["--trainer.fast_dev_run=1", f"--trainer.default_root_dir={tmp_path}"]
    config = f"--config=configs/{config}.yaml"
    run("fit", config, "--data=Images", "--data.dataset=cifar10", *data, *quick)


def test_validation_is_cut_from_the_training_digits_alone():
    train, test = load_digits()
    data = set_up(Images("digits", split_seed=1))
    expected = *cut_validation(train, 1 / 12, 1), test
    for found, split in zip(data.splits, expected, strict=True):
        assert torch.equal(found.inputs, split.inputs)
    assert data.val_dataloader()
    assert Images("digits", val_fraction=0).val_dataloader() == []


def test_the_seed_of_the_run_decides_the_order_alone(monkeypatch):
    data = set_up(Images("digits"))
    before, first = data.splits.train.inputs.clone(), next(iter(data.train_dataloader()))[0]
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    torch.manual_seed(7)
    other = set_up(Images("digits"))
    assert torch.equal(other.splits.train.inputs, before)
    again = [next(iter(images.train_dataloader()))[0] for images in (data, other)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], first)


@pytest.mark.parametrize("fraction", [0.003, 0.999, 1.5, -0.1])
def test_a_fraction_that_empties_a_class_is_refused(fraction):
    with pytest.raises(UserError, match="val_fraction "):
        Images("digits", val_fraction=fraction).setup()
