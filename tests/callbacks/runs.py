"""Runs of small classifiers, each in its own folder."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from datamodules import Images, Iris
from datamodules.base import ArrayDataModule, Split, Splits
from figures.pictures import name_rows
from models.classifier import Classifier
from models.networks import FeedForward

NAMES_PX = name_rows(Image.new("L", (0, 9)), ["0"]).width  # what names of one digit add to a grid
SHAPES = [(1, 28, 28), (3, 32, 32), (1, 64, 64), (3, 16, 24)]


class Small(Classifier):
    """A random linear classifier."""

    def __init__(
        self, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10, **options: Any
    ) -> None:
        torch.manual_seed(0)
        super().__init__(shape, classes, partial(FeedForward, hidden=0), **options)


def trainer(
    folder: Path, *callbacks: Callback, kind: type[Trainer] = Trainer, **kwargs: Any
) -> Any:
    options = {"accelerator": "cpu", "max_epochs": 1, "logger": CSVLogger(folder, "", "run")}
    return kind(
        **(options | {"log_every_n_steps": 1, "enable_progress_bar": False} | kwargs),
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_model_summary=False,
    )


def digits(**kwargs: Any) -> Images:
    """360 test images in batches of 64, of which the last has 40."""
    data = Images(dataset="digits", batch_size=64, **kwargs)
    data.setup()
    return data


class Pictures(ArrayDataModule):
    """Random uint8 images of any shape, with named classes."""

    def __init__(self, shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 4) -> None:
        super().__init__(batch_size=8, scale=255.0)
        self.image_shape, self.num_classes = shape, num_classes
        self.class_names = tuple(f"kind {k}" for k in range(num_classes))

    def load_splits(self) -> Splits:
        random = torch.Generator().manual_seed(0)
        images = torch.randint(256, (16, *self.image_shape), dtype=torch.uint8, generator=random)
        split = Split(images, torch.arange(16) % self.num_classes)
        return Splits(split, split, split)


def probabilities(model: Classifier, data: Images | Iris) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets (N,) and probabilities (N, C) of the whole test split at once."""
    assert data.splits is not None
    inputs, targets = data.splits.test
    inputs, targets = data.on_after_batch_transfer((inputs, targets), 0)
    with torch.no_grad():
        return targets, model.eval()(inputs).softmax(dim=1)


def pictures(folder: Path) -> set[str]:
    """Names of the pictures of the run in a folder."""
    return {path.name for path in (folder / "run" / "figures").glob("*.png")}
