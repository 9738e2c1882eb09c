"""A way to train classifiers for a few steps."""

from functools import partial
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from models import ImageClassifier, IrisMLP
from models.networks import FeedForward, ResidualConvNet

SHAPE = (1, 28, 28)


def dense(hidden: Any = (128, 128), activation: str = "sigmoid", **kwargs: Any) -> ImageClassifier:
    """A fully connected classifier of digits; with the defaults, the lecture's."""
    network = partial(FeedForward, hidden=hidden, activation=activation)
    return ImageClassifier(SHAPE, 10, network, **kwargs)


def convnet(width: int = 2, dropout: float = 0.0, **kwargs: Any) -> ImageClassifier:
    """A residual classifier of digits."""
    network = partial(ResidualConvNet, width=width, dropout=dropout)
    return ImageClassifier(SHAPE, 10, network, **kwargs)


def iris(hidden: Any, activation: str = "sigmoid", **kwargs: Any) -> IrisMLP:
    """A classifier of flowers with other layers than the lecture's."""
    network = partial(FeedForward, hidden=hidden, activation=activation)
    return IrisMLP(network=network, **kwargs)


def trainer(*callbacks: Callback, kind: type[Trainer] = Trainer, **kwargs: Any) -> Trainer:
    defaults: dict[str, Any] = {"max_epochs": 1, "accelerator": "cpu", "logger": False}
    return kind(
        **(defaults | kwargs),
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit(
    model: LightningModule, data: LightningDataModule, *callbacks: Callback, **kwargs: Any
) -> Trainer:
    made = trainer(*callbacks, **kwargs)
    made.fit(model, datamodule=data)
    return made


def count_parameters(network: nn.Module) -> int:
    """Returns the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
