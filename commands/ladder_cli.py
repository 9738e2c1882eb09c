"""The runs of a command that needs a Trainer: its parts built, its folder, its last words."""

import atexit
import gc
import shlex
import sys
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

import models
from callbacks import DEFAULT_CALLBACKS, Progress, Summary
from commands import initial_weights, last_words, model_arguments, program
from commands.command_line import CommandLine
from datamodules.base import InMemoryDataModule
from runtime import checkpoints, cluster, signals, trust
from runtime.cpu import take_subnormal_numbers_as_zero
from runtime.errors import UserError
from runtime.preemption import Preemption
from runtime.run_folder import RunFolder, run_folder_of


def check_monitors(trainer: Trainer, data: LightningDataModule | None) -> None:
    """Refuses callbacks that watch the validation split of data that have none."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector
        watched = str(getattr(callback, "monitor", None))
        chosen = not isinstance(callback, checkpoints.BestCheckpoint)
        if chosen and watched.startswith("val/") and isinstance(data, InMemoryDataModule):
            data.setup()
            if data.splits is not None and data.splits.val is None:
                name = type(callback).__name__
                raise UserError(
                    f"trainer.callbacks: {name} watches {watched}, and the data have no "
                    "validation split: set --data.val_fraction 0.2, or watch train/loss."
                )


class LadderCLI(CommandLine):
    """LightningCLI with run folders, checkpoints found by name, and one-line errors."""

    def before_instantiate_classes(self) -> None:
        """Arranges the process: garbage collection, subnormal numbers, signals."""
        if self.checkpoint:
            self.options.ckpt_path = str(self.checkpoint)
        if not gc.isenabled():
            gc.freeze()  # no collection looks through what was imported, in training neither
            if "triton" in sys.modules:  # it would report that as leaked, at length
                atexit.register(gc.unfreeze)  # the look through it at the end takes a second
            gc.enable()
        take_subnormal_numbers_as_zero()  # a model may start torch's threads, before its trainer
        if not self._saves:
            signals.restore()  # a signal may end it at once
        if self.subcommand != "fit" or self.options.trainer.logger is False:
            self.save_config_callback = None
        if self.subcommand == "fit" and (data := self.options.get("data")):
            cluster.insist_on_data(data)

    @property
    def _saves(self) -> bool:
        return self.subcommand == "fit" and self._keeps_checkpoints

    @property
    def _keeps_checkpoints(self) -> bool:
        trainer = self.options.trainer
        return trainer.enable_checkpointing is not False and not trainer.fast_dev_run

    def before_fit(self) -> None:
        cluster.check_strategy(self.trainer, self.model)
        check_monitors(self.trainer, self.datamodule)
        if self.initial is not None:
            initial_weights.load_into(self.model, self.initial)

    def before_predict(self) -> None:
        """Refuses a GAN, which has nothing to predict."""
        if isinstance(self.model, models.GAN):
            raise UserError(
                "predict is for classifiers and regressors; draw from a GAN with "
                f"`python cli.py sample --ckpt_path {self.checkpoint or 'RUN'}`."
            )

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
            if self.datamodule is not None:
                trained = self.checkpoint is not None
                model_arguments.check_against_data(self.options.model, self.datamodule, trained)
            model_arguments.keep_own_hyperparameters(self.model)
        except ValueError as error:  # jsonargparse wraps what a constructor raises
            cause: BaseException = error
            while not isinstance(cause, UserError):
                if (inner := cause.__cause__ or cause.__context__) is None:
                    break
                cause = inner
            raise cause from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Builds the Trainer with the run's folder and callbacks."""
        config = self.config_init[self.subcommand].trainer
        chosen = self._callbacks(config)
        if config.logger is not False and not config.fast_dev_run:
            resumed = self._folder_of_checkpoint
            given = [] if config.logger in (None, True) else config.logger
            others = given if isinstance(given, list) else [given]
            chosen.insert(0, RunFolder(self.runs, self.experiment, resumed, others))
        kwargs["logger"] = bool(config.fast_dev_run)  # RunFolder adds them once the folder is known
        if self._saves:
            kwargs["max_time"] = None  # see Preemption
        kwargs["enable_model_summary"] = False  # see Summary
        return super().instantiate_trainer(callbacks=chosen, **kwargs)

    def _callbacks(self, config: Namespace) -> list[Callback]:
        """The user's callbacks and those that every run needs, except what the Trainer disables."""
        options = self.config_init[self.subcommand]
        given = config.callbacks or []
        chosen = [*(given if isinstance(given, list) else [given])]
        chosen += [make() for make in DEFAULT_CALLBACKS]
        chosen += [options.samples, options.quality]
        if config.enable_progress_bar is not False:
            chosen.append(Progress())
        if config.enable_model_summary is not False:
            chosen.append(Summary())
        if self._saves:
            command = f"{program.cli()} fit{self._trusting}"
            chosen.append(Preemption(config.max_time, command))
        if self._keeps_checkpoints:
            chosen += [options.checkpoint, checkpoints.BestCheckpoint()]
        return chosen

    def before_validate(self) -> None:
        self._pictures = last_words.written_at(self._folder_of_checkpoint)

    before_test = before_validate

    @property
    def _folder_of_checkpoint(self) -> Path | None:
        return run_folder_of(self.checkpoint) if self.checkpoint else None

    def after_validate(self) -> None:
        """Refuses data that had nothing to validate on, and names the new pictures."""
        data = self.datamodule
        if isinstance(data, InMemoryDataModule) and data.splits and data.splits.val is None:
            again = "train again with --data.val_fraction 0.2"
            remedy = f", or {again}" if "val_fraction" in data.hparams else ""
            raise UserError(
                "the data have no validation split: use `python cli.py test --ckpt_path RUN`"
                f"{remedy}."
            )
        self._name_pictures()

    def after_test(self) -> None:
        self._name_pictures()

    def _name_pictures(self) -> None:
        folder = self.trainer.log_dir  # a broadcast, so every rank takes part
        if folder and self.trainer.loggers:
            self._print(last_words.new_pictures(Path(folder), self._pictures))

    def after_fit(self) -> None:
        """Prints where the run and its pictures are, and which command comes next."""
        folder = self.trainer.log_dir  # a broadcast, so every rank takes part
        if not folder or not self.trainer.loggers or self.options.trainer.fast_dev_run:
            return
        lines = [f"This run: {folder}", *last_words.pictures_of_training(Path(folder))]
        lines.append(last_words.watching(self.runs))
        if self._saves:
            run = self._as_option(folder)
            lines = last_words.missing_validation(self.trainer, self.datamodule, run) + lines
            lines.append(f"Next:     {program.cli()} test {run}")
        self._print(lines)

    def _as_option(self, folder: str) -> str:
        """Returns the options that name a run to other commands."""
        return f"--ckpt_path {shlex.quote(folder)}{self._trusting}"

    @property
    def _trusting(self) -> str:
        foreign = any(trust.foreign_classes(self.options.as_dict()))
        return " --trust true" if foreign else ""  # the user's own classes

    @staticmethod
    def _print(lines: list[str]) -> None:
        for line in lines:
            rank_zero_info(line)
