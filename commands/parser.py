"""The parser of commands that need a Trainer, their options, and the classes it can suggest."""

from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse import ActionSubCommands
from lightning import LightningModule, Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch import loggers
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import callbacks
import datamodules
import models
from callbacks import Quality, SampleGrid
from commands import COMMANDS
from commands.command_trainer import methods
from commands.model_arguments import link_to_data
from runtime.checkpoints import EpochCheckpoint
from runtime.files import write

MODULES = (models, datamodules, callbacks, lightning_callbacks, loggers, torch.optim)
CLASSES = [name for module in MODULES for name in module.__all__]
SECTIONS = {"checkpoint": EpochCheckpoint, "samples": SampleGrid, "quality": Quality}


class Parser(LightningArgumentParser):
    """A parser that raises its errors, and knows the light commands by name."""

    def add_subcommands(self, *args: Any, **kwargs: Any) -> ActionSubCommands:
        """Adds the light commands, for the help and for shell completion."""
        subcommands = super().add_subcommands(*args, **kwargs)
        for name, command in COMMANDS.items():
            if command.light:
                subcommands.add_subcommand(name, Parser(), help=command.summary)
        self.commands: dict[str, Parser] = subcommands.choices  # also those that are added later
        return subcommands

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # one of jsonargparse's own parsers, which catch this
            super().error(message, ex)
        raise MisconfigurationException(message)


class WholeConfig(SaveConfigCallback):
    """Writes a run's `config.yaml` whole or not at all. Lightning empties the file first."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder = Path(trainer.log_dir or ".")  # a broadcast, so every rank asks
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False)
        write(self._folder / self.config_filename, lambda file: file.write_text(text))


def add_shared_options(parser: LightningArgumentParser) -> None:
    """Adds the options that all commands share."""
    text = "Name of the folder for this experiment's runs (default: the config file's name)"
    parser.add_argument("--experiment", type=str | None, default=None, help=text)
    text = "Import the classes that a checkpoint or its run's config names, whoever wrote them."
    parser.add_argument("--trust", type=bool, default=False, help=text)
    link_to_data(parser)
    for name, kind in SECTIONS.items():
        parser.add_class_arguments(kind, name, sub_configs=True)


def add_options_of(command: str, parser: LightningArgumentParser) -> None:
    """Adds the options that a command has beyond those of its method."""
    if command in ("validate", "test"):
        parser.set_defaults({"verbose": False})  # callbacks print tables
    if command in ("validate", "test", "predict"):
        text = "Allow random weights, if there is no --ckpt_path."
        parser.add_argument("--untrained", type=bool, default=False, help=text)
    kind = methods().get(command)
    if kind and "weights_only" not in signature(getattr(kind, command)).parameters:
        text = "Has no effect on this command."  # the config of a run has this option
        parser.add_argument("--weights_only", type=bool | None, default=None, help=text)
