"""LightningCLI with run folders, checkpoints found by name, and one-line errors."""

import atexit
import gc
import sys
from pathlib import Path
from typing import Any, NoReturn

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

import datamodules
import models
from callbacks import DEFAULT_CALLBACKS, Progress, Quality, SampleGrid
from commands import arguments, config_files, model_arguments
from commands.maximize import Maximization
from commands.sample import Generation
from runtime import checkpoints, cluster, signals
from runtime.cpu import take_subnormal_numbers_as_zero
from runtime.preemption import Preemption
from runtime.run_folder import RunFolder, run_folder_of
from runtime.trainer import LadderTrainer


class Parser(LightningArgumentParser):
    """A parser that explains a mistake in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # one of jsonargparse's own parsers, which catch this
            super().error(message, ex)
        raise MisconfigurationException(message)


class CommandTrainer(Generation, Maximization, LadderTrainer):
    """The Trainer with a method for each of this command line's own subcommands."""


class LadderCLI(LightningCLI):
    """LightningCLI with run folders, checkpoints found by name, and one-line errors."""

    def __init__(self, args: ArgsType = None) -> None:
        super().__init__(
            LightningModule,
            LightningDataModule,
            trainer_class=CommandTrainer,
            trainer_defaults={"default_root_dir": "runs"},
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_class=Parser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        ours = {name: {"model", "datamodule"} for name in ("maximize", "sample")}
        return {**LightningCLI.subcommands(), **ours}

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})  # our own tables say it with counts
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--experiment",
            type=str | None,
            default=None,
            help="Name of the folder for this experiment's runs (default: the config file's name)",
        )
        model_arguments.link_to_data(parser)
        parser.add_lightning_class_args(checkpoints.EpochCheckpoint, "checkpoint")
        parser.add_lightning_class_args(SampleGrid, "samples")
        parser.add_lightning_class_args(Quality, "quality")

    # -- parsing --------------------------------------------------------------------------------

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        if not isinstance(args, list):
            args = sys.argv[1:] if args is None else args
        if not isinstance(args, list):
            self.files: list[Path] = []
            self.config = parser.parse_object(args)
            return
        args = arguments.lists_joined(arguments.with_config_of_run(args))
        self.files = config_files.given_files(args)
        config_files.check(self.files)
        args = config_files.without_old_names(args)
        try:
            with model_arguments.defaults_of_the_new_class():
                self.config = parser.parse_args(args)
        except MisconfigurationException as error:
            options = [action.dest for action in self._subcommand_parsers["fit"]._actions]
            classes = [*models.__all__, *datamodules.__all__]
            explanation = config_files.explain(str(error), args, options, classes)
            raise MisconfigurationException(explanation) from None

    def _parse_ckpt_path(self) -> None:
        """Finds the checkpoint that is meant; lets its hyperparameters win, and says so."""
        config = self.config[self.config.subcommand]
        self.checkpoint: Path | None = None
        if self.config.subcommand == "fit" and config.ckpt_path is None and cluster.in_job():
            config.ckpt_path = checkpoints.of_run(self.runs / self.experiment / cluster.run_name())
        if config.get("ckpt_path") is None:
            return
        self.checkpoint = checkpoints.resolve(config.ckpt_path, self.runs / self.experiment)
        config.ckpt_path = str(self.checkpoint)
        given = config.model.init_args.as_dict() if config.model else {}
        self._use_hyperparameters_of(self.checkpoint)
        model = self.config[self.config.subcommand].model
        defaults = model_arguments.default_init_args(model.class_path)
        for name, value in model.init_args.as_dict().items():
            if name in given and given[name] not in (value, defaults[name]):
                rank_zero_warn(
                    f"model.{name}: {self.checkpoint} was trained with {value!r}, which stays; "
                    f"{given[name]!r} is not used. Train anew to change it."
                )

    def _use_hyperparameters_of(self, checkpoint: Path) -> None:
        """Gives the model the class and init arguments that the checkpoint was trained with."""
        if saved := model_arguments.saved_in(checkpoint):
            config = {self.config.subcommand: {"model": saved}}
            self.config = self.parser.parse_object(config, self.config)

    @property
    def runs(self) -> Path:
        return Path(self.config[self.config.subcommand].trainer.default_root_dir)

    @property
    def experiment(self) -> str:
        config = self.config[self.config.subcommand]
        class_path = config.model.class_path if config.model else ""
        return config.experiment or arguments.experiment_name(self.files, class_path)

    # -- running --------------------------------------------------------------------------------

    def before_instantiate_classes(self) -> None:
        if not gc.isenabled():
            gc.freeze()  # what was imported is never looked through, in training neither
            atexit.register(gc.unfreeze)  # else triton takes it for leaked, and says so at length
            gc.enable()
        take_subnormal_numbers_as_zero()  # a model may start torch's threads, before its trainer
        if not self._saves:
            signals.restore()  # a signal may end it at once
        if self.subcommand != "fit":
            self.save_config_callback = None
        elif data := self._get(self.config, "data"):
            cluster.insist_on_data(data)

    @property
    def _saves(self) -> bool:
        trainer = self._get(self.config, "trainer")
        wanted = trainer.enable_checkpointing is not False and not trainer.fast_dev_run
        return self.subcommand == "fit" and wanted

    def before_fit(self) -> None:
        cluster.check_strategy(self.trainer, self.model)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
            if self.datamodule is not None:
                model = self._get(self.config, "model")
                model_arguments.check_against_data(model, self.datamodule)
            model_arguments.keep_own_hyperparameters(self.model)
        except ValueError as error:  # jsonargparse wraps what a constructor raises
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, MisconfigurationException):
                cause = cause.__cause__ or cause.__context__
            raise cause or error from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self._get(self.config_init, "trainer")
        callbacks = self._callbacks(config)
        if config.logger in (None, True) and not config.fast_dev_run:
            resumed = run_folder_of(self.checkpoint) if self.checkpoint else None
            callbacks.insert(0, RunFolder(self.runs, self.experiment, resumed))
            kwargs["logger"] = False  # until the folder is known
        if self._saves:
            kwargs["max_time"] = None  # see Preemption
        try:
            return self._instantiate_trainer({**config, "callbacks": callbacks, **kwargs}, [])
        except (ValueError, TypeError) as error:
            raise MisconfigurationException(f"trainer: {error}") from error

    def _callbacks(self, config: Any) -> list[Callback]:
        """The user's, then what every run needs, less what the trainer is told to do without."""
        callbacks = [*(config.callbacks or []), *(make() for make in DEFAULT_CALLBACKS)]
        callbacks += [self._get(self.config_init, name) for name in ("samples", "quality")]
        if config.enable_progress_bar is not False:
            callbacks.append(Progress())
        if self._saves:
            callbacks.append(Preemption(config.max_time))
        if config.enable_checkpointing is not False and not config.fast_dev_run:
            callbacks += [self._get(self.config_init, "checkpoint"), checkpoints.BestCheckpoint()]
        return callbacks

    def after_fit(self) -> None:
        folder = self.trainer.log_dir  # a broadcast, so every rank asks
        if folder and self.trainer.loggers and not self._get(self.config, "trainer").fast_dev_run:
            rank_zero_info(f"This run: {folder}\nWatch it: tensorboard --logdir {self.runs}")
            if self._saves:
                rank_zero_info(f"Next:     python cli.py test --ckpt_path {folder}")
