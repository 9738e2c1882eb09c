"""LightningCLI for fit, validate and test, with run folders and checkpoints found by name."""

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import (
    contextmanager,
    redirect_stdout,
    suppress,
)
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, Namespace
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from callbacks import DEFAULT_CALLBACKS, Evaluation, Progress
from commands import arguments, config_files, rewording
from commands.fit.config_of_run import with_config_of_run
from commands.fit.parser import (
    CLASSES,
    SECTIONS,
    add_shared_options,
    continue_logger_runs,
    keep_own_hyperparameters,
)
from datamodules.data_module import DataModule
from datamodules.input_spec import InputSpec
from datamodules.provenance import check_same, check_unseen
from models.generative import Generative
from results import Run
from runtime import checkpoints, cluster, own_configs, signals
from runtime.class_defaults import corrected_init_args
from runtime.cpu import flush_denormals
from runtime.errors import UserError, user_error_in
from runtime.files import check_links
from runtime.preemption import Preemption
from runtime.run_folder import RunFolder
from runtime.trainer import LadderTrainer

MIN_CHOOSING = 200  # validation examples; a choice of weights on fewer says so
NAMES = ("ckpt_path", "init_from", "experiment")  # options that name runs
STRICT = {"exit_on_error": False, "allow_abbrev": False}  # a misspelled option is not another


@contextmanager
def hide_subclasses_in_help() -> Iterator[None]:
    """Leaves out the classes that an option may name, which are every module of torch."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield
    finally:
        print(re.sub(r",\s*known\s+subclasses:[^)]*", "", text.getvalue()), end="")


class LadderCLI(LightningCLI):
    """LightningCLI with run folders, checkpoints found by name, and one-line errors."""

    def __init__(self, args: list[str]) -> None:
        self.args = args
        self._is_recorded = True
        super().__init__(
            LightningModule,
            trainer_class=LadderTrainer,
            trainer_defaults={"default_root_dir": "runs"},
            save_config_callback=None,  # see RunFolder
            seed_everything_default=0,
            parser_kwargs=STRICT | {name: STRICT for name in self.subcommands()},
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            args=args,
        )

    # --- The command line ---

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Returns Lightning's commands without `predict`, which is this project's."""
        return {k: v for k, v in LightningCLI.subcommands().items() if k != "predict"}

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        super().setup_parser(*args, **kwargs)
        for name, parser in self._subcommand_parsers.items():
            if name != "fit":
                parser.set_defaults({"verbose": False})  # callbacks print tables

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_shared_options(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the command line, completed by the config of the run that it names."""
        self.config = self._parsed(self.args)
        for name in ("trainer", *SECTIONS):
            if not isinstance(value := self.options[name], Namespace):
                names = rewording.names_below(name, self._names_of_options(self.args))
                raise UserError(f"--{name}: expected its options by name{names}, got '{value}'.")
        self._find_checkpoint()
        if self.options.get("data") is None:
            raise UserError(
                "missing: --data. Give a data set, such as --data Images, or a config that names "
                "one, such as --config configs/cgan.yaml."
            )

    def _parsed(self, args: list[str]) -> Namespace:
        if args[1:] and not args[1].startswith("-") and args[0] != "fit":
            args = [args[0], "--ckpt_path", *args[1:]]  # `test RUN`
        self._command = with_config_of_run(args)
        args = self._command.args
        self.files = config_files.given_files(args)
        config_files.check_configs(self.files)
        config_files.warn_of_replaced_parts(self.files)
        if "all" in args and not {"--help", "-h"}.isdisjoint(args):
            args = [args[0], "--help"]
        try:
            with self._command.guard(), corrected_init_args(), hide_subclasses_in_help():
                config = self.parser.parse_args(self._command.with_texts(args))
        except ArgumentError as error:
            own = self._names_of_options(args)
            problem = UserError(rewording.explain_parser_error(str(error), args, own, CLASSES))
            raise user_error_in(error) or problem from None
        given, options = dict(config_files.values(args)), config[args[0]]
        for name in NAMES:  # a run's own config says null, which is no answer to an option
            if options[name] is None and given.get(f"--{name}", "null") != "null":
                options[name] = given[f"--{name}"]
        return config

    def _names_of_options(self, args: list[str]) -> list[str]:
        """Returns the options of a command, and of the classes that its arguments name."""
        classes = (*config_files.CONFIG, "--model", "--data")
        words = config_files.values(self._command.with_texts(args))
        named = [f"{name}={value}" for name, value in words if name in classes]
        values = self._subcommand_parsers[args[0]].get_defaults()
        for needed in (["--data.path=."], []):  # `ImageFolder` has no default for it
            with suppress(ArgumentError, UserError), self._command.guard():
                values = self.parser.parse_args([args[0], *named, *needed])[args[0]]
                break
        names = [name.replace("init_args.", "") for name, _ in values.items()]
        return [*dict.fromkeys(name.removesuffix(".class_path") for name in names)]

    @property
    def options(self) -> Namespace:
        """The options of the command."""
        return self.config[self.config.subcommand]

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return Path(self.options.trainer.default_root_dir).expanduser()

    @property
    def experiment(self) -> str:
        """The name of the folder of this experiment's runs."""
        class_path = self.options.model.class_path if self.options.model else ""
        return arguments.experiment_name(self.files, class_path, self.options.experiment)

    def _find_checkpoint(self) -> None:
        """Finds the checkpoint that the options, or a job that was started again, mean."""
        command, wanted = self.config.subcommand, self.options.get("ckpt_path")
        by_user = wanted is not None
        self.checkpoint: Path | None = None
        given = {name for name, _ in config_files.values(self.args)}
        if "--init_from" in given and "--ckpt_path" in given:
            raise UserError(
                "--init_from starts a new run and --ckpt_path continues one: give one of them."
            )
        if "--init_from" in given:
            wanted = None  # a run's config names its own
        folder = self.runs / self.experiment
        if command == "fit" and wanted is None and cluster.in_job():
            wanted = checkpoints.newest(folder / cluster.run_name(), resume=True)
        if command == "fit" and wanted == "last" and cluster.is_restarted_by_torchrun():
            wanted = checkpoints.newest(folder, resume=True)  # None at its first start
        if wanted is not None:
            if not Path(wanted).exists() and (self.runs / wanted).is_dir():  # an experiment
                wanted = self.runs / wanted
            self.checkpoint = checkpoints.resolve(wanted, folder, command == "fit")
            step = checkpoints.saved_step(self.checkpoint) or 0
            run = self._folder_of_checkpoint or self.checkpoint
            if by_user and self._folder_of_checkpoint and not self.options.trust:
                check_links(run)  # before anything is written there
            if command == "fit" and self.checkpoint.is_file():  # not sharded
                self._keep_seed(checkpoints.contents(self.checkpoint).get("seed"))
            rank_zero_info(f"{'Continues' if command == 'fit' else 'Run:'} {run}, step {step:,}.")
        elif command != "fit":
            raise UserError(
                f"{command} without --ckpt_path would use random weights: give a checkpoint or a "
                f"run folder, `python cli.py {command} RUN`."
            )
        self.options.ckpt_path = str(self.checkpoint) if self.checkpoint else None

    def _keep_seed(self, seed: int | None) -> None:
        """Keeps the seed of a resumed run, which also decides the order of its data."""
        given = self.options.seed_everything
        if isinstance(seed, int) and seed != given:
            if given is not True:
                rank_zero_warn(f"The run continues with seed_everything {seed}, not {given}.")
            self.options.seed_everything = seed

    def _parse_ckpt_path(self) -> None:
        """Replaces Lightning's, which lets a checkpoint's hyperparameters win over all options."""

    # --- The parts of a run ---

    def before_instantiate_classes(self) -> None:
        """Sets up the process: subnormal numbers and signals."""
        flush_denormals()  # a model may start torch's threads, before its trainer
        if not self._saves:
            signals.restore()  # a signal may end it at once
        if self.subcommand == "fit":
            data = self.options.data
            if cluster.in_job() and data.get("init_args", {}).get("dataset") == "auto":
                data.init_args.dataset = "mnist"  # a job must not fall back to less data
            if self.checkpoint and self.checkpoint.is_file() and self._continues_own:
                continue_logger_runs(self.parser, self.checkpoint)

    def instantiate_classes(self) -> None:
        try:
            with self._command.guard():
                super().instantiate_classes()
            if self._command.is_foreign and "--data.data_dir" not in dict(
                config_files.values(self.args)
            ):
                self.datamodule.may_download = False
            keep_own_hyperparameters(self.model)
        except ValueError as error:  # jsonargparse wraps what a constructor raises
            cause = user_error_in(error)
            if missing := re.search(r"(\w+)':\s+(Requirement .*)", str(error)):  # of a logger
                cause = UserError(f"{missing[1]}: {missing[2]}")
            raise (cause or rewording.explain_constructor(error)) from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Builds the Trainer with the run's folder and callbacks."""
        config = self.config_init[self.subcommand].trainer
        chosen = self._callbacks(config)
        if config.logger is not False and not config.fast_dev_run:
            text = self._text_of_config() if self.subcommand == "fit" else ""
            self._is_recorded = own_configs.remember(text.encode()) if text else True
            folder = RunFolder(self.runs, self.experiment, self._folder_of_checkpoint, text)
            chosen.insert(0, folder)
        if config.logger in (None, True):
            kwargs["logger"] = bool(config.fast_dev_run)  # RunFolder adds them
        if self._saves:
            kwargs["max_time"] = None  # see Preemption
        return super().instantiate_trainer(callbacks=chosen, **kwargs)

    def _callbacks(self, config: Namespace) -> list[Callback]:
        """The user's callbacks and those that every run needs, except what the Trainer disables."""
        options = self.config_init[self.subcommand]
        given = config.callbacks or []
        chosen = [*(given if isinstance(given, list) else [given])]
        chosen += [make() for make in DEFAULT_CALLBACKS]
        generative = isinstance(self.model, Generative)
        chosen += [options.samples, options.quality] if generative else [Evaluation()]
        if config.enable_progress_bar is not False:
            chosen.append(Progress())
        if self.subcommand != "fit":
            chosen.append(LambdaCallback(setup=self._check_data))
        if self._saves:
            chosen.append(Preemption(config.max_time, f"python cli.py fit{self._trusting}"))
        if self._keeps_checkpoints:
            chosen.append(options.checkpoint)
        return chosen

    def _text_of_config(self) -> str:
        """Returns the config that trains such a run, and does not continue this one."""
        config = self.options.clone()
        del config["ckpt_path"]
        return self._parser(self.subcommand).dump(config, skip_none=False)

    @property
    def _saves(self) -> bool:
        return self.subcommand == "fit" and self._keeps_checkpoints

    @property
    def _keeps_checkpoints(self) -> bool:
        trainer = self.options.trainer
        return trainer.enable_checkpointing is not False and not trainer.fast_dev_run

    @property
    def _folder_of_checkpoint(self) -> Path | None:
        return checkpoints.run_folder_of(self.checkpoint) if self.checkpoint else None

    @property
    def _continues_own(self) -> bool:
        folder = self._folder_of_checkpoint
        return folder is not None and Run(folder, trust=self.options.trust).is_mine

    # --- Before and after a command ---

    def before_fit(self) -> None:
        for name in ("max_epochs", "max_steps", "check_val_every_n_epoch"):
            if getattr(self.trainer, name) == 0:
                raise UserError(f"--trainer.{name} 0: give 1 or more")
        check_optimization(self.trainer, self.model)
        if self.checkpoint is None and (initial := self.options.init_from):
            source = checkpoints.resolve(initial, self.runs, option="--init_from")
            load_initial_weights(self.model, source)
            self.config_init.fit.checkpoint.initial = source

    def _check_data(self, trainer: Trainer, model: LightningModule, stage: str) -> None:
        """Refuses data of other classes, of a changed config, or that were seen in training."""
        data, path = self.datamodule, self.checkpoint
        if isinstance(data, DataModule) and path and path.is_file():  # not sharded
            data.check_classes(InputSpec.of_checkpoint(checkpoints.contents(path)))
            check_same(data, path, arguments.given_data(self.args))
            split = "test" if stage == "test" else "val"
            check_unseen(data, path, split, self.options.allow_seen)

    def after_validate(self) -> None:
        """Refuses data that had nothing to validate on, and says where the pictures are."""
        data = self.datamodule
        if isinstance(data, DataModule) and data.splits and data.splits.val is None:
            raise UserError("the data have no validation split: use `python cli.py test RUN`.")
        self._print_pictures()

    def after_test(self) -> None:
        """Says where the pictures are, and which command comes next."""
        self._print_pictures()
        tool = "sample" if isinstance(self.model, Generative) else "predict"
        if self._folder_of_checkpoint and not self._is_of_points:
            self._print_next(tool, str(self._folder_of_checkpoint))

    @property
    def _is_of_points(self) -> bool:  # which have no scores and no samples in files
        return isinstance(self.model, Generative) and len(self.model.image_shape) == 1

    def _print_next(self, command: str, folder: str) -> None:
        has_best = Path(folder, "checkpoints", "best.ckpt").exists()
        val = getattr(getattr(self.datamodule, "splits", None), "val", None)
        run = shlex.quote(f"{folder}/best" if has_best else folder)
        rank_zero_info(f"Next:     python cli.py {command} {run}{self._trusting}")
        if has_best and val and (count := len(val.targets)) < MIN_CHOOSING:
            text = f"RUN/best was chosen on {count} validation examples alone"
            rank_zero_info(f"{text}, so it may not be better than RUN, the end of the training.")

    def _print_pictures(self) -> None:
        folder = self.trainer.log_dir  # a broadcast, so every rank takes part
        if folder and self.trainer.loggers and any(Path(folder, "figures").glob("*.png")):
            rank_zero_info(f"Pictures: {folder}/figures")

    def after_fit(self) -> None:
        """Prints where the run and its pictures are, and which command comes next."""
        folder = self.trainer.log_dir
        if not folder or not self.trainer.loggers or self.options.trainer.fast_dev_run:
            return
        rank_zero_info(f"This run: {folder}")
        self._print_pictures()
        runs = shlex.quote(str(self.runs))
        rank_zero_info(f"Watch it: tensorboard --logdir {runs} --host localhost")
        if self._saves and not self._is_of_points:
            self._print_next("test", folder)

    @property
    def _trusting(self) -> str:
        """Returns the option without which the run's own config would be refused later."""
        return "" if self._is_recorded else " --trust true"


def check_optimization(trainer: Trainer, model: LightningModule) -> None:
    """Refuses strategies and options that cannot train a model in manual optimization."""
    if model.automatic_optimization:
        return
    kind = type(model).__name__
    # FSDP requires one call of the model's `forward` per step, and DeepSpeed takes one optimizer.
    if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy):
        name = type(trainer.strategy).__name__.removesuffix("Strategy")
        raise UserError(
            f"trainer.strategy: {name} cannot train {kind}, whose networks take "
            "turns with an optimizer each: use --trainer.strategy ddp, these networks fit any GPU."
        )
    if (value := trainer.gradient_clip_val) and "gradient_clip_val" in model.hparams:
        raise UserError(
            f"--trainer.gradient_clip_val {value:g} has no effect on {kind}, which optimizes its "
            f"networks itself: use --model.gradient_clip_val {value:g}"
        )
    if trainer.accumulate_grad_batches > 1:
        raise UserError(
            f"--trainer.accumulate_grad_batches {trainer.accumulate_grad_batches} has no effect on "
            f"{kind}, which optimizes its networks itself: leave it out. --data.batch_size is the "
            "number of images of an update"
        )


def load_initial_weights(model: LightningModule, checkpoint: Path) -> None:
    """Copies the weights that have the same name and shape in both models.

    The others keep their initial values: the last layer, if the new data have other classes.

    Raises:
        UserError: If none are the same.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    own = model.state_dict()
    same = {name: w for name, w in saved.items() if name in own and own[name].shape == w.shape}
    if not same:
        raise UserError(
            f"--init_from {checkpoint}: no weights have the name and shape of one in "
            f"{type(model).__name__}. Give a run of the same kind of model."
        )
    model.load_state_dict(same, strict=False)
    missing = ", ".join(name for name in own if name not in same) or "none"
    rank_zero_info(f"Weights from {checkpoint}: {len(same)} of {len(own)} tensors. New: {missing}.")
