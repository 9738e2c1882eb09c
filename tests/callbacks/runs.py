"""Runs of small classifiers, each with a folder of its own."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from datamodules import Images, Iris
from models.classifier import Classifier


class Small(Classifier):
    """A random linear classifier; a tenth of its confidence makes for every degree of it."""

    def __init__(self, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> None:
        super().__init__()
        torch.manual_seed(0)
        size = int(torch.tensor(shape).prod())
        self.set_network(nn.Sequential(nn.Flatten(), nn.Linear(size, classes)), shape, classes)


def trainer(
    folder: Path, *callbacks: Callback, kind: type[Trainer] = Trainer, **kwargs: Any
) -> Any:
    options = {"accelerator": "cpu", "max_epochs": 1, "logger": CSVLogger(folder, "", "run")}
    return kind(
        **(options | kwargs),
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def digits(**kwargs: Any) -> Images:
    """360 test images in batches of 64, of which the last has 40."""
    data = Images(dataset="digits", batch_size=64, **kwargs)
    data.setup()
    return data


def probabilities(model: Classifier, data: Images | Iris) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets (N,) and probabilities (N, C) of the whole test split at once."""
    assert data.splits is not None
    inputs, targets = data.splits.test
    inputs, targets = data.on_after_batch_transfer((inputs, targets), 0)
    with torch.no_grad():
        return targets, model.eval()(inputs).softmax(dim=1)
