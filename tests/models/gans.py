"""Small GANs and a way to train them for a few steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from datamodules import Images
from models import GAN, ConditionalGAN, SelfConditionedGAN
from models.gan.lecture import LectureGenerator, LectureTrunk
from models.gan.networks import ModernGenerator, ModernTrunk
from tests.models.classifiers import fit as fit_with

SHAPE = (1, 28, 28)
LECTURE: dict[str, Any] = {
    "generator": LectureGenerator,
    "trunk": LectureTrunk,
    "initialization": "glorot",
}
DROPOUT = {"trunk": partial(LectureTrunk, channels=2)}  # the lecture's trunk, but narrow
LECTURE_CGAN = LECTURE | {"trunk": partial(LectureTrunk, channels=128, activation="relu")}

# options of the command line
WIDTH_2 = ["--model.generator.width=2", "--model.trunk.width=2", "--model.latent_dim=4"]


def sgd(lr: float = 0.1) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def modern(width: int) -> dict[str, Any]:
    """The modern networks at a width."""
    return {
        "generator": partial(ModernGenerator, width=width),
        "trunk": partial(ModernTrunk, width=width),
    }


def small(kind: type[GAN] = GAN, **kwargs: Any) -> Any:
    """A GAN of modern networks of width 2, unless others are given."""
    torch.manual_seed(0)
    shapes: dict[str, Any] = {"image_shape": SHAPE}
    if issubclass(kind, ConditionalGAN):
        shapes["num_classes"] = 10
    return kind(**(shapes | {"latent_dim": 4} | modern(2) | kwargs))


KINDS = [GAN, ConditionalGAN, SelfConditionedGAN]


def fit(
    model: LightningModule, *callbacks: Callback, batch_size: int = 16, **kwargs: Any
) -> Trainer:
    defaults = {"max_epochs": None, "max_steps": 3, "limit_val_batches": 0}
    data = Images(dataset="digits", batch_size=batch_size)
    return fit_with(model, data, *callbacks, **(defaults | kwargs))


def state(module: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
