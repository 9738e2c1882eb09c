"""The parser of commands that need a Trainer, and the names of classes that it can suggest."""

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
from commands import COMMANDS
from runtime.files import write

MODULES = (models, datamodules, callbacks, lightning_callbacks, loggers, torch.optim)
CLASSES = [name for module in MODULES for name in module.__all__]


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
