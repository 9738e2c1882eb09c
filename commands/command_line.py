"""The command line of a command that needs a Trainer, parsed, completed and checked."""

import re
import sys
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from commands import (
    COMMANDS,
    arguments,
    config_files,
    explanations,
    model_arguments,
    out_of_memory,
    typed,
)
from commands.command_trainer import methods, trainer_class
from commands.parser import (
    CLASSES,
    SECTIONS,
    Parser,
    WholeConfig,
    add_options_of,
    add_shared_options,
    arrange_help,
)
from runtime import checkpoints, cluster, lightning_fixes
from runtime.errors import UserError
from runtime.loggers import missing_package


class CommandLine(LightningCLI):
    """LightningCLI with options of this project, completed by what a checkpoint says."""

    parser: Parser

    def __init__(self, args: ArgsType = None) -> None:
        self.args = sys.argv[1:] if args is None else args
        with out_of_memory.explained(self):
            super().__init__(
                LightningModule,
                trainer_class=trainer_class(),
                trainer_defaults={"default_root_dir": "runs"},
                save_config_callback=WholeConfig,
                save_config_kwargs={"save_to_log_dir": False},
                seed_everything_default=0,
                parser_kwargs={"allow_abbrev": False},  # a misspelled option is not another
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
        for name in self.subcommands():
            add_options_of(name, self.parser.commands[name])
            if isinstance(self.args, list) and {"-h", "--help"} & {*self.args}:
                arrange_help(name, self.parser.commands[name], whole="all" in self.args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_shared_options(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the completed command line, and explains mistakes in one line."""
        self.files: list[Path] = []
        self.own_classes: list[str] | None = None  # those of a config in Python are the user's
        if isinstance(self.args, list):
            self.config = self._parsed(self.args)
        else:
            self.config = parser.parse_object(self.args)
        self._check_sections()
        self._find_checkpoint()
        self._require_data()

    def _parsed(self, args: list[str]) -> Namespace:
        config_files.check(arguments.given_files(args))
        self.own_classes = arguments.own_classes(args)
        args = arguments.normalized(arguments.with_config_of_run(args))
        self.files = arguments.given_files(args)
        config_files.check(self.files)
        config_files.check_one_model(self.files)
        try:
            with lightning_fixes.defaults_of_the_new_class():
                return self.parser.parse_args(config_files.without_unused_loggers(args))
        except UserError as error:
            options = self.parser.commands.get(args[0], self.parser).get_defaults().keys()
            # Without its package, a logger lacks the options that it passes on to it.
            text = missing_package(re.findall(r"\w+", str(error)))
            text = text or explanations.explain(str(error), args, options, CLASSES)
            text = text.replace(f"cli.py {args[0]} ", f"cli.py {typed(args[0])} ")
            raise UserError(text) from None

    @property
    def options(self) -> Namespace:
        """The options of the command."""
        return self.config[self.config.subcommand]

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return Path(self.options.trainer.default_root_dir)

    @property
    def experiment(self) -> str:
        """The name of the folder of this experiment's runs."""
        class_path = self.options.model.class_path if self.options.model else ""
        return arguments.experiment_name(self.files, class_path, self.options.experiment)

    def _check_sections(self) -> None:
        """Refuses a value for a whole section, which the parser takes from a file."""
        for name in ("trainer", *SECTIONS):
            if not isinstance(value := self.options[name], Namespace):
                place = config_files.place_of(name, list(self.args))
                raise UserError(f"{place}{name}: expected options by name, got '{value}'.")

    def _find_checkpoint(self) -> None:
        """Finds the checkpoint. Its hyperparameters take precedence, with a warning."""
        command, wanted = self.config.subcommand, self.options.get("ckpt_path")
        self.checkpoint: Path | None = None
        self.initial: Path | None = None  # the checkpoint with the first weights of a new run
        typed_options = dict(arguments.values(list(self.args)))
        if "--init_from" in typed_options:
            if "--ckpt_path" in typed_options:
                raise UserError(
                    "--init_from starts a new run and --ckpt_path continues one: give one of them."
                )
            wanted = None  # a run's config names its own
        if command == "fit" and wanted is None and cluster.in_job():
            wanted = checkpoints.newest(self.runs / self.experiment / cluster.run_name())
        if wanted is None:
            self._refuse_random_weights()
            if command == "fit" and (initial := self.options.init_from):
                self.initial = checkpoints.resolve(initial, self.runs, option="--init_from")
            return
        resume = command == "fit"
        self.checkpoint = checkpoints.resolve(wanted, self.runs / self.experiment, resume)
        if several := checkpoints.choice(wanted, self.runs / self.experiment, self.checkpoint):
            rank_zero_info(several)
        self.options.ckpt_path = None  # until Lightning has looked for hyperparameters in it
        given = self.options.model or Namespace(class_path=None, init_args=Namespace())
        if saved := model_arguments.saved_in(self.checkpoint, self.own_classes):
            self.config = self.parser.parse_object({command: {"model": saved}}, self.config)
        model = self.options.model
        if given.class_path not in (None, model.class_path):
            here, there = (path.rpartition(".")[2] for path in (given.class_path, model.class_path))
            raise UserError(
                f"--ckpt_path {wanted} is of {there}, but the model given is {here}: leave out the "
                f"model and its config, or give a checkpoint of {here}."
            )
        given_args = given.init_args.as_dict()
        defaults = model_arguments.default_init_args(model.class_path)
        for name, value in model.init_args.as_dict().items():
            if name in given_args and given_args[name] not in (value, defaults[name]):
                rank_zero_warn(
                    f"model.{name}: {self.checkpoint} was trained with {value!r}, which stays; "
                    f"{given_args[name]!r} is not used. Train again to change it."
                )

    def _refuse_random_weights(self) -> None:
        command, untrained = self.config.subcommand, self.options.get("untrained")
        if untrained is False or COMMANDS[command].needs_checkpoint:
            permission = "" if untrained is None else ", or --untrained true"
            raise UserError(
                f"{command} without --ckpt_path would use random weights: give a checkpoint or a "
                f"run folder, `python cli.py {command} --ckpt_path RUN`{permission}."
            )

    def _require_data(self) -> None:
        """Refuses a missing data set, or drops one that the command does not need.

        So a trained model can be used on a machine that lacks its data.
        """
        command = self.config.subcommand
        if not COMMANDS[command].needs_data(self.options):
            self.options.data = None
        elif self.options.get("data") is None:
            raise UserError(
                f"missing: --data. {command} needs a data set: give --data, such as --data Images, "
                "or a config file that names one, such as --config configs/cgan.yaml."
            )
