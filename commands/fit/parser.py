"""The parser of fit, validate and test: their options, and the classes that it can suggest."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning import LightningModule
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch import loggers
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

import callbacks
import datamodules
import models
from callbacks import EpochCheckpoint, Quality, SampleGrid
from datamodules import ArrayDataModule
from models.gan import discriminator, losses
from runtime.checkpoints import contents
from runtime.trust import imported

PARTS = (discriminator, losses)  # of models, with classes that `models` does not name
_IS_MODEL = {name: issubclass(getattr(models, name), LightningModule) for name in models.__all__}
CLASSES = {  # that are suggested, by the option that takes them or by the first word of several
    "model": [name for name, is_model in _IS_MODEL.items() if is_model],
    "model.": [
        *(name for name, is_model in _IS_MODEL.items() if not is_model),
        *torch.optim.__all__,
        *(name for part in PARTS for name, it in vars(part).items() if isinstance(it, type)),
    ],
    "data": [
        name
        for name, it in vars(datamodules).items()
        if isinstance(it, type) and ArrayDataModule in it.__mro__[1:]
    ],
    "trainer.": [*callbacks.__all__, *lightning_callbacks.__all__, *loggers.__all__],
}
FROM_DATA = ("input_shape", "image_shape", "num_classes", "mirrors")  # of a model's init arguments
SECTIONS = {"checkpoint": EpochCheckpoint, "samples": SampleGrid, "quality": Quality}


def add_shared_options(parser: LightningArgumentParser) -> None:
    """Adds the options that fit, validate and test share, and the links from data to model."""
    text = "Name of the folder for this experiment's runs (default: the config file's name)"
    parser.add_argument("--experiment", type=str | None, default=None, help=text)
    text = "Import the classes that a checkpoint or its run's config names, whoever wrote them."
    parser.add_argument("--trust", type=bool, default=False, help=text)
    text = "Test on other images also if more than 1 % of them are training images of the run."
    parser.add_argument("--allow_seen", type=bool, default=False, help=text)
    text = "Start a new run from the weights of another: a run folder or a checkpoint."
    parser.add_argument("--init_from", type=str | None, default=None, help=text)
    for name in FROM_DATA:  # values of the command line are not used
        parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
    for name, kind in SECTIONS.items():
        parser.add_class_arguments(kind, name, sub_configs=True)


def continue_logger_runs(parser: LightningArgumentParser, checkpoint: Path) -> None:
    """Lets loggers of W&B and MLflow continue a checkpoint's runs there, unless given others."""
    runs = [*contents(checkpoint).get("logger_runs", [])]

    def build(kind: type[Any], *args: Any, **given: Any) -> Logger:
        own = next((run for run in runs if run[0] == kind.__name__), None)
        if own is None or given.get("id") or given.get("version") or given.get("run_id"):
            return kind(*args, **given)
        runs.remove(own)
        if issubclass(kind, WandbLogger):
            return kind(*args, **given | {"id": own[1]})
        logger = kind(*args, **given | {"run_id": own[1]})
        try:
            logger.experiment.update_run(own[1], status="RUNNING")
        except Exception as error:  # it raises many kinds
            rank_zero_warn(f"MLflow cannot continue run {own[1]}, so a new one begins: {error}")
            return kind(*args, **given)
        logger.log_hyperparams = keep_hyperparameters
        return logger

    for kind in (WandbLogger, MLFlowLogger):
        parser.add_instantiator(build, kind)


def keep_hyperparameters(*args: Any) -> None:
    """Does nothing, because MLflow refuses to change those of a run."""


def keep_own_hyperparameters(model: LightningModule) -> None:
    """Removes values of the data from a model's `hparams` that its class does not take."""
    own = default_init_args(f"{type(model).__module__}.{type(model).__qualname__}")
    for name in FROM_DATA:
        if name not in own:
            model.hparams.pop(name, None)


@cache
def default_init_args(class_path: str) -> dict[str, Any]:
    """Returns the init arguments that an imported class and its bases take, with their defaults."""
    parser = ArgumentParser()
    if constructor := imported(class_path):
        parser.add_class_arguments(constructor, "cls", fail_untyped=False)
    defaults = parser.get_defaults()
    return defaults.cls.as_dict() if "cls" in defaults else {}  # a class without arguments
