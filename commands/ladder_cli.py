"""LightningCLI with run folders, checkpoints found by name, and one-line errors."""

import atexit
import gc
import re
import sys
from inspect import signature
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

import models
from callbacks import DEFAULT_CALLBACKS, Progress, Quality, SampleGrid, Summary
from commands import COMMANDS, arguments, config_files, model_arguments, typed
from commands.command_trainer import methods, trainer_class
from commands.parser import CLASSES, Parser
from runtime import checkpoints, cluster, lightning_mends, signals, trust
from runtime.cpu import take_subnormal_numbers_as_zero
from runtime.loggers import missing_package
from runtime.preemption import Preemption
from runtime.ranges import Range, check_values
from runtime.run_folder import RunFolder, run_folder_of

SEEDS = Range(0, 2**32 - 1)  # what NumPy takes


class LadderCLI(LightningCLI):
    """LightningCLI with run folders, checkpoints found by name, and one-line errors."""

    parser: Parser

    def __init__(self, args: ArgsType = None) -> None:
        self.args = sys.argv[1:] if args is None else args
        super().__init__(
            LightningModule,
            trainer_class=trainer_class(),
            trainer_defaults={"default_root_dir": "runs"},
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_kwargs={"allow_abbrev": False},  # else a misspelled option may pass for another
            parser_class=Parser,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Returns the commands that need a Trainer, with the parameters that are no options.

        Only the given one, if there is one, because the parser of each takes 50 ms to build.
        """
        own = LightningCLI.subcommands()
        own |= {name: own.get(name, {"model", "datamodule"}) for name in methods()}
        given = self.args[:1] if isinstance(self.args, list) else [*self.args]
        return {name: own[name] for name in given if name in own} or own

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        super().setup_parser(*args, **kwargs)
        built = self.subcommands()
        for name in {"validate", "test"} & built.keys():
            self.parser.commands[name].set_defaults({"verbose": False})  # callbacks print tables
        for name in {"validate", "test", "predict"} & built.keys():
            text = "Allow random weights, if there is no --ckpt_path."
            self.parser.commands[name].add_argument(
                "--untrained", type=bool, default=False, help=text
            )

        for name, kind in [(n, k) for n, k in methods().items() if n in built]:  # the config of a run has this option
            if "weights_only" not in signature(getattr(kind, name)).parameters:
                text = "Has no effect on this command."
                self.parser.commands[name].add_argument(
                    "--weights_only", type=bool | None, default=None, help=text
                )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the options that all commands share."""
        text = "Name of the folder for this experiment's runs (default: the config file's name)"
        parser.add_argument("--experiment", type=str | None, default=None, help=text)
        text = "Import the classes that a checkpoint or its run's config names, whoever wrote them."
        parser.add_argument("--trust", type=bool, default=False, help=text)
        model_arguments.link_to_data(parser)
        parser.add_class_arguments(checkpoints.EpochCheckpoint, "checkpoint", sub_configs=True)
        parser.add_class_arguments(SampleGrid, "samples", sub_configs=True)
        parser.add_class_arguments(Quality, "quality", sub_configs=True)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the completed command line, and explains mistakes in one line."""
        args = sys.argv[1:] if args is None else args
        self.files: list[Path] = []
        self.own_classes: list[str] | None = None  # those of a config in Python are the user's
        if isinstance(args, list):
            config_files.check(arguments.given_files(args))
            self.own_classes = arguments.own_classes(args)
            args = arguments.normalized(arguments.with_config_of_run(args))
            self.files = arguments.given_files(args)
            config_files.check(self.files)
            try:
                with lightning_mends.defaults_of_the_new_class():
                    self.config = parser.parse_args(config_files.without_old_names(args))
            except MisconfigurationException as error:
                options = self.parser.commands.get(args[0], parser).get_defaults().keys()
                # Without its package, a logger lacks the options that it passes on to it.
                explanation = missing_package(re.findall(r"\w+", str(error)))
                explanation = explanation or config_files.explain(
                    str(error), args, options, CLASSES
                )
                explanation = explanation.replace(f"cli.py {args[0]} ", f"cli.py {typed(args[0])} ")
                raise MisconfigurationException(explanation) from None
        else:
            self.config = parser.parse_object(args)
        self._check_seed()
        self._find_checkpoint()
        self._require_data()

    @property
    def options(self) -> Namespace:
        """The options of the command."""
        return self.config[self.config.subcommand]

    def _find_checkpoint(self) -> None:
        """Finds the checkpoint. Its hyperparameters take precedence, with a warning."""
        command, wanted = self.config.subcommand, self.options.get("ckpt_path")
        self.checkpoint: Path | None = None
        if command == "fit" and wanted is None and cluster.in_job():
            wanted = checkpoints.newest(self.runs / self.experiment / cluster.run_name())
        if wanted is None:
            untrained = self.options.get("untrained")
            if untrained is False or COMMANDS[command].needs_checkpoint:
                permission = "" if untrained is None else ", or --untrained true"
                raise MisconfigurationException(
                    f"{command} without --ckpt_path would use random weights: give a checkpoint or "
                    f"a run folder, `python cli.py {command} --ckpt_path RUN`{permission}."
                )
            return
        resume = command == "fit"
        self.checkpoint = checkpoints.resolve(wanted, self.runs / self.experiment, resume)
        self.options.ckpt_path = None  # until Lightning has looked for hyperparameters in it
        given = self.options.model.init_args.as_dict() if self.options.model else {}
        if saved := model_arguments.saved_in(self.checkpoint, self.own_classes):
            self.config = self.parser.parse_object({command: {"model": saved}}, self.config)
        model = self.options.model
        defaults = model_arguments.default_init_args(model.class_path)
        for name, value in model.init_args.as_dict().items():
            if name in given and given[name] not in (value, defaults[name]):
                rank_zero_warn(
                    f"model.{name}: {self.checkpoint} was trained with {value!r}, which stays; "
                    f"{given[name]!r} is not used. Train again to change it."
                )

    def _check_seed(self) -> None:
        seed = self.options.seed_everything
        if not isinstance(seed, bool):
            check_values({"seed_everything": seed}, {"seed_everything": SEEDS}, "--")

    def _require_data(self) -> None:
        """Refuses a missing data set, or drops one that the command does not need.

        So a trained model can be used on a machine that lacks its data.
        """
        command = self.config.subcommand
        if not COMMANDS[command].needs_data(self.options):
            self.options.data = None
        elif self.options.get("data") is None:
            raise MisconfigurationException(
                f"missing: --data. {command} needs a data set: give --data, such as --data Images, "
                "or a config file that names one, such as --config configs/cgan.yaml."
            )

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return Path(self.options.trainer.default_root_dir)

    @property
    def experiment(self) -> str:
        """The name of the folder of this experiment's runs."""
        class_path = self.options.model.class_path if self.options.model else ""
        name = self.options.experiment or arguments.experiment_name(self.files, class_path)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise MisconfigurationException(
                f"--experiment {name}: give the name of a folder below {self.runs}"
            )
        return name

    def before_instantiate_classes(self) -> None:
        """Arranges the process: garbage collection, subnormal numbers, signals."""
        if self.checkpoint:
            self.options.ckpt_path = str(self.checkpoint)
        if not gc.isenabled():
            gc.freeze()  # no collection looks through what was imported, in training neither
            atexit.register(gc.unfreeze)  # else triton reports it as leaked, at length
            gc.enable()
        take_subnormal_numbers_as_zero()  # a model may start torch's threads, before its trainer
        if not self._saves:
            signals.restore()  # a signal may end it at once
        if self.subcommand != "fit":
            self.save_config_callback = None
        elif data := self.options.get("data"):
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

    def before_predict(self) -> None:
        """Refuses a GAN, which has nothing to predict."""
        if isinstance(self.model, models.GAN):
            raise MisconfigurationException(
                "predict is for classifiers and regressors; draw from a GAN with "
                f"`python cli.py sample --ckpt_path {self.checkpoint or 'RUN'}`."
            )

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
            if self.datamodule is not None:
                model_arguments.check_against_data(self.options.model, self.datamodule)
            model_arguments.keep_own_hyperparameters(self.model)
        except ValueError as error:  # jsonargparse wraps what a constructor raises
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, MisconfigurationException):
                cause = cause.__cause__ or cause.__context__
            raise cause or error from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Builds the Trainer with the run's folder and callbacks."""
        config = self.config_init[self.subcommand].trainer
        chosen = self._callbacks(config)
        if config.logger is not False and not config.fast_dev_run:
            resumed = run_folder_of(self.checkpoint) if self.checkpoint else None
            given = [] if config.logger in (None, True) else config.logger
            others = given if isinstance(given, list) else [given]
            chosen.insert(0, RunFolder(self.runs, self.experiment, resumed, others))
        kwargs["logger"] = bool(config.fast_dev_run)  # RunFolder adds them once the folder is known
        if self._saves:
            kwargs["max_time"] = None  # see Preemption
        kwargs["enable_model_summary"] = False  # see Summary
        try:
            return super().instantiate_trainer(callbacks=chosen, **kwargs)
        except (ValueError, TypeError) as error:
            raise MisconfigurationException(f"trainer: {error}") from error

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
            chosen.append(Preemption(config.max_time))
        if self._keeps_checkpoints:
            chosen += [options.checkpoint, checkpoints.BestCheckpoint()]
        return chosen

    def after_fit(self) -> None:
        """Prints where the run is and which command comes next."""
        folder = self.trainer.log_dir  # a broadcast, so every rank takes part
        if folder and self.trainer.loggers and not self.options.trainer.fast_dev_run:
            rank_zero_info(f"This run: {folder}\nWatch it: tensorboard --logdir {self.runs}")
            if self._saves:
                foreign = any(trust.foreign_classes(self.options.as_dict()))
                trusting = " --trust true" if foreign else ""  # the user's own classes
                rank_zero_info(f"Next:     python cli.py test --ckpt_path {folder}{trusting}")
