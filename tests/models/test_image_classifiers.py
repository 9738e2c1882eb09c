"""The classifiers of images."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import seed_everything
from torch import Tensor

from datamodules import Images
from models import ImageClassifier
from models.networks import LectureConvNet
from runtime.errors import UserError
from tests.models.classifiers import SHAPE, convnet, count_parameters, dense, fit, trainer


def test_lecture_networks_have_their_parameters() -> None:
    # 784 pixels and a bias into each of 128 units, 128 and a bias into 128, then into 10
    assert count_parameters(dense().network) == 785 * 128 + 129 * 128 + 129 * 10 == 118_282
    # 32 filters of 3 x 3 and a bias; 26 x 26 x 32 values and a bias into 128 units; into 10
    lecture = ImageClassifier(SHAPE, 10, LectureConvNet).network
    assert count_parameters(lecture) == 320 + (21_632 + 1) * 128 + 1_290 == 2_770_634


def test_depth_width_and_activation_are_arguments() -> None:
    model = dense((7, 6, 5), "softplus")
    assert count_parameters(model.network) == 785 * 7 + 8 * 6 + 7 * 5 + 6 * 10
    assert sum(isinstance(layer, torch.nn.Softplus) for layer in model.network) == 3


def test_images_and_weights_stay_in_channels_last() -> None:
    model = convnet(4)
    assert model.network[0].weight.is_contiguous(memory_format=torch.channels_last)
    layouts: list[bool] = []

    def look(module: object, inputs: object, output: Tensor) -> None:
        layouts.append(output.is_contiguous(memory_format=torch.channels_last))

    for layer in model.network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(look)
    model(torch.rand(4, 1, 28, 28))
    assert len(layouts) == 7
    assert all(layouts)


def test_augmentation_arguments_reach_the_training_images() -> None:
    images, targets = torch.rand(8, 1, 28, 28), torch.zeros(8, dtype=torch.long)
    assert torch.equal(dense().augment(images, targets), images)
    assert not torch.equal(dense(shift=2.0).augment(images, targets), images)
    erased = dense(erase=8).augment(images, targets)
    assert 16 <= (erased == 0).sum(dim=(1, 2, 3)).min() <= 64


@pytest.mark.parametrize("model", [dense, convnet])
def test_digits_are_learnt_in_a_few_seconds(model: Any) -> None:
    seed_everything(0, verbose=False)
    options = {"width": 8} if model is convnet else {"activation": "relu"}
    made = model(optimizer=lambda p: torch.optim.Adam(p, lr=0.01), **options)
    data = Images(dataset="digits", batch_size=64)
    fit(made, data, max_epochs=4)
    (result,) = trainer().test(made, datamodule=data, verbose=False)
    assert result["test/accuracy"] > 0.9


@pytest.mark.slow
def test_one_epoch_of_real_mnist() -> None:
    folder = os.environ.get("LADDER_DATA_DIR", "")
    if not folder or not (Path(folder) / "MNIST" / "raw").is_dir():
        pytest.skip("no MNIST: LADDER_DATA_DIR does not name a folder with MNIST/raw")
    seed_everything(0, verbose=False)
    data = Images(dataset="mnist", data_dir=folder, batch_size=32, scale=1, val_fraction=0)
    model = dense(initialization="glorot")
    fit(model, data)
    (result,) = trainer().test(model, datamodule=data, verbose=False)
    assert result["test/accuracy"] > 0.85  # 0.88 after the slide's first epoch


@pytest.mark.parametrize(("mirrors", "flips"), [(True, True), (False, False)])
def test_flip_auto_follows_the_data(mirrors: bool, flips: bool) -> None:
    assert convnet(flip="auto", mirrors=mirrors).augmentation.flip is flips
    assert convnet(flip=True, mirrors=False).augmentation.flip


def test_inputs_that_are_no_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"the data have shape \(4,\)"):
        ImageClassifier((4,), 3)


def test_only_clothes_bear_a_mirror() -> None:
    assert [name for name in ("mnist", "fashion", "digits") if Images(dataset=name).mirrors] == [
        "fashion"
    ]


def test_flip_in_evaluation_makes_the_logits_those_of_the_mirror_image() -> None:
    images = torch.rand(4, 1, 28, 28)
    for flip in (True, False):  # nothing is averaged where nothing was mirrored in training
        model = convnet(flip=flip, flip_in_evaluation=True).eval()
        same = torch.allclose(model(images), model(images.flip(3)), atol=1e-6)
        assert same is flip


def test_shift_in_evaluation_averages_the_logits_of_nine_moved_images() -> None:
    model = convnet(shift_in_evaluation=1).eval()
    images = torch.rand(2, 1, 28, 28)
    wide = torch.zeros(2, 1, 30, 30)
    wide[:, :, 1:29, 1:29] = images
    moved = [wide[:, :, y : y + 28, x : x + 28] for y in range(3) for x in range(3)]
    expected = torch.stack([model.network(view) for view in moved]).mean(dim=0)
    torch.testing.assert_close(model(images), expected)
    assert not torch.allclose(model(images), model.network(images))
    model.train()
    torch.manual_seed(0)
    once = model(images)
    torch.manual_seed(0)
    torch.testing.assert_close(once, model.network(images))


def test_clothes_have_names_and_digits_are_their_own() -> None:
    names = Images(dataset="fashion").class_names
    assert names is not None
    assert (len(names), names[0], names[-1]) == (10, "T-shirt", "boot")
    assert Images(dataset="mnist").class_names is None
