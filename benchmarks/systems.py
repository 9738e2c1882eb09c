"""The models that the benchmarks build themselves, and a Trainer that only trains."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.cli import instantiate_module
from torch import nn

from datamodules import Images
from datamodules.sources import IMAGE_SHAPE
from models import GAN, VGG16, ConditionalGAN, ImageClassifier, IrisMLP
from models.averaging import Averaging
from models.gan.lecture import LectureGenerator, LectureTrunk, NormalizedSigmoidHead
from models.gan.networks import ModernGenerator, ModernTrunk
from models.gan.penalties import Penalties
from models.networks import ResidualConvNet

DIGITS: dict[str, Any] = {"num_classes": 10}


def modern_cgan(width: int = 64, **options: Any) -> ConditionalGAN:
    """Builds the networks of `configs/cgan.yaml` at a width."""
    networks = {
        "generator": partial(ModernGenerator, width=width),
        "trunk": partial(ModernTrunk, width=width),
    }
    return ConditionalGAN(IMAGE_SHAPE, latent_dim=64, **DIGITS, **networks, **options)


def classifier(network: type[nn.Module], **options: Any) -> ImageClassifier:
    """Builds a classifier of digits with this network."""
    return ImageClassifier(IMAGE_SHAPE, network=partial(network, **options), **DIGITS)


NARROW: dict[str, Callable[[], Any]] = {
    "cGAN": partial(modern_cgan, width=16),
    "CNN": partial(classifier, ResidualConvNet, width=16),
    "VGG-16": partial(classifier, VGG16, width=0.125),
}
FULL: dict[str, Callable[[], Any]] = {
    "cGAN": partial(modern_cgan, average=Averaging(0.999), penalties=Penalties(r1=1.0)),
    "CNN": partial(classifier, ResidualConvNet),
    "VGG-16": partial(classifier, VGG16),
}


def lecture_gan(kind: str, reuse: bool = False) -> GAN:
    """Builds the lecture's `gan` or `cgan`, with the slides' fakes or with reused ones."""
    options: dict[str, Any] = {
        "generator": LectureGenerator,
        "initialization": "glorot",
        "latent": "uniform",
        "fakes_in_eval_mode": not reuse,
    }
    if kind == "gan":
        return GAN(IMAGE_SHAPE, trunk=LectureTrunk, **options)
    trunk = partial(LectureTrunk, channels=128, activation="relu")
    return ConditionalGAN(IMAGE_SHAPE, trunk=trunk, head=NormalizedSigmoidHead, **DIGITS, **options)


AVERAGED: dict[str, Callable[[], Any]] = {
    "lecture GAN": partial(lecture_gan, "gan"),
    "cGAN": modern_cgan,
}


def iris_network(arguments: dict[str, Any]) -> IrisMLP:
    """Builds the network of a config file from its `init_args`."""
    return instantiate_module(IrisMLP, arguments)


def real_batch(size: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Draws images (B, C, H, W) in [0, 1) and labels (B,) of the data sets' shape."""
    images = torch.rand(size, *IMAGE_SHAPE, device=device)
    return images, torch.randint(10, (size,), device=device)


def quiet_trainer(**options: Any) -> Trainer:
    """Returns a Trainer on the CPU that writes and prints nothing."""
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(model: Any, steps: int, batch: int, *callbacks: Callback, **options: Any) -> None:
    """Trains a model for some steps on scikit-learn's digits."""
    trainer = quiet_trainer(
        max_steps=steps,
        precision="32-true",
        limit_val_batches=0,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(model, datamodule=Images(dataset="digits", batch_size=batch))


def use_one_thread_quietly() -> None:
    """Takes one thread, the fastest for small networks, and silences Lightning's reports."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
