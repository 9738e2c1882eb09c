"""Init arguments of version 0.1 build today's models."""

from typing import Any

import pytest
from lightning.pytorch.cli import instantiate_module

import models
from models.legacy import translate, translate_config, translate_hyperparameters

OLD: dict[str, dict[str, Any]] = {
    "GAN": {"architecture": "lecture", "width": 64, "loss": "non_saturating"},
    "ConditionalGAN": {"architecture": "modern", "width": 2, "head": "softmax", "num_classes": 10},
    "MNISTDense": {"hidden": [8], "activation": "relu", "batch_norm": True, "flip": None},
    "MNISTConv": {"architecture": "modern", "width": 2, "dropout": 0.1},
    "VGG": {"width": 0.01, "hidden": 100, "image_size": 64, "batch_norm": True},
    "Judge": {"width": 2, "num_features": 4, "num_classes": 10},
    "IrisMLP": {"hidden": [5], "activation": "tanh", "variation": 1.0},
    "GateMLP": {"hidden_units": 3, "activation": "sigmoid"},
    "FunctionMLP": {"hidden_units": 3, "dimensions": 2, "activation": "sigmoid"},
}


@pytest.mark.parametrize("name", OLD)
def test_every_old_class_builds_a_model(name: str) -> None:
    hparams = translate_hyperparameters({"_class_path": f"models.{name}", **OLD[name]}, "")
    built = instantiate_module(models.base.Module, hparams)
    assert type(built).__name__ == hparams["_class_path"].rpartition(".")[2]
    assert translate(hparams["_class_path"], hparams)[1] == hparams  # today's stay as they are


def test_heads_take_only_the_options_that_they_had_a_use_for() -> None:
    old = {"architecture": "modern", "class_weight": 0.5, "label_smoothing": 0.1}
    _, auxiliary = translate("ConditionalGAN", {**old, "head": "auxiliary"})
    loss = {"class_path": "models.losses.NonSaturating", "init_args": {"label_smoothing": 0.1}}
    assert auxiliary["head"]["init_args"] == {"loss": loss, "class_weight": 0.5}
    _, softmax = translate("ConditionalGAN", {**old, "head": "softmax"})
    assert softmax["head"]["init_args"] == {}


def test_a_lecture_gan_and_a_lecture_classifier_keep_their_networks() -> None:
    _, gan = translate("ConditionalGAN", {"architecture": "lecture", "head": "softmax"})
    assert gan["trunk"]["init_args"] == {"channels": 128, "activation": "relu"}
    assert gan["initialization"] == "glorot"
    _, cnn = translate("MNISTConv", {"architecture": "lecture", "width": 32, "dropout": 0.0})
    assert cnn["network"]["class_path"] == "models.networks.LectureConvNet"


def test_a_config_of_today_is_not_changed() -> None:
    config = {"model": {"class_path": "models.GAN", "init_args": {"latent_dim": 3}}, "data": None}
    assert translate_config(config) == config


@pytest.mark.parametrize("model", [3, {"class_path": 3}, {"class_path": "GAN", "init_args": [3]}])
def test_a_damaged_config_is_left_to_the_parser(model: Any) -> None:
    assert translate_config({"model": model}) == {"model": model}
