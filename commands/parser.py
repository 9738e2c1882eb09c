"""The parser of commands that need a Trainer, their options, and the classes it can suggest."""

import re
from argparse import SUPPRESS, Action
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse import ActionSubCommands, DefaultHelpFormatter
from lightning import LightningModule, Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch import loggers
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

import callbacks
import datamodules
import models
from callbacks import Quality, SampleGrid
from commands import COMMANDS, typed
from commands.command_trainer import methods
from commands.model_arguments import link_to_data
from runtime.checkpoints import EpochCheckpoint
from runtime.errors import UserError
from runtime.files import write

MODULES = (models, datamodules, callbacks, lightning_callbacks, loggers, torch.optim)
CLASSES = [name for module in MODULES for name in module.__all__]
SECTIONS = {"checkpoint": EpochCheckpoint, "samples": SampleGrid, "quality": Quality}
TITLES = {  # of the help's groups of options
    "trainer": "Trainer", "model": "Model", "data": "Data", "checkpoint": "Checkpoints",
    "samples": "Grids of samples", "quality": "Quality scores",
}  # fmt: skip
TEXTS: dict[Any, str] = {  # in place of Lightning's, for all commands or for one
    "ckpt_path": "The trained weights: a checkpoint, a run folder, `last` or `best`.",
    ("fit", "ckpt_path"): "Continue a run: a checkpoint, a run folder, or `last` for the newest.",
    "seed_everything": "Seed of all that is random; true: a new one for each run.",
    "weights_only": "Refuse a checkpoint that contains more than plain values.",
    "verbose": "Also print Lightning's own table.",
}


class HelpText(DefaultHelpFormatter):
    """Formats help in plain words: `int, 1 or more` instead of `Annotated[int, 1 or more]`."""

    def _expand_help(self, action: Action) -> str:
        text = super()._expand_help(action)  # before it is wrapped, which has no public way
        text = re.sub(r"Annotated\[(\w+), (.+?)\]", r"\1, \2", text)
        required = action.dest == "ckpt_path"  # by most commands
        return text.replace(", default: null)", ")") if required else text


class Parser(LightningArgumentParser):
    """A parser that raises its errors, and knows the light commands by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpText} | kwargs)

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
        raise UserError(message)


class WholeConfig(SaveConfigCallback):
    """Writes a run's `config.yaml` whole or not at all. Lightning empties the file first.

    A run that goes on writes it only when nothing can refuse its checkpoint any more.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder = Path(trainer.log_dir or ".")  # a broadcast, so every rank asks
        if self.config.get("ckpt_path") is None:
            super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")

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


def add_options_of(command: str, parser: Parser) -> None:
    """Adds the options that a command has beyond those of its method."""
    own = (parser.groups or {})[command]
    if command in ("validate", "test"):
        parser.set_defaults({"verbose": False})  # callbacks print tables
    if command in ("validate", "test", "predict"):
        text = "Allow random weights, if there is no --ckpt_path."
        own.add_argument("--untrained", type=bool, default=False, help=text)
    if command == "fit":
        text = "Start a new run from the weights of another: a run folder or a checkpoint."
        own.add_argument("--init_from", type=str | None, default=None, help=text)
    else:  # the config of a run has this option
        parser.add_argument("--init_from", type=str | None, default=None, help=SUPPRESS)
    kind = methods().get(command)
    if kind and "weights_only" not in signature(getattr(kind, command)).parameters:
        parser.add_argument("--weights_only", type=bool | None, default=None, help=SUPPRESS)


def arrange_help(command: str, parser: Parser, whole: bool) -> None:
    """Puts a command's own options first in its help, and shortens titles and texts.

    The parser can then do nothing but print its help, because it builds what its groups name. The
    options of the Trainer, the model and the other parts fill ten screens, so only the whole
    help lists them.
    """
    trains = command == "fit"
    main = "--config FILE" if trains else "--ckpt_path RUN"
    parser.usage = f"python cli.py {typed(command)} {main} [OPTIONS]"
    parser.description = f"{COMMANDS[command].summary}."
    groups = parser.groups or {}
    own, parts = groups[command], [groups[name] for name in TITLES]
    own.title = f"Options of {command}"
    general = next(group for group in parser._action_groups if group.title == "options")
    for action in (*own._group_actions, *general._group_actions):
        action.help = TEXTS.get((command, action.dest)) or TEXTS.get(action.dest) or action.help
    for group, title in zip(parts, TITLES.values(), strict=True):
        group.title = title
    source = "A config file gives most of them." if trains else "A run's config.yaml gives them."
    if not whole:
        names = ", ".join(f"--{name}.* ({title})" for name, title in TITLES.items())
        source = f"{names}. {source} `python cli.py {typed(command)} --help all` lists them."
    shared = parser.add_argument_group("Trainer, model and data options", source)
    # argparse has no public way to order groups, nor to leave out what no user can set
    vars(parser)["_action_groups"] = [own, general, shared, *(parts if whole else [])]
