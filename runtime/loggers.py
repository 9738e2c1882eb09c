"""Loggers beside the run folder's own: W&B and MLflow log into it and continue its run."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from runtime import lightning_mends
from runtime.errors import UserError
from runtime.files import read_json, write_json

# The command line makes a function of a logger's class and arguments. It is called when the run's
# folder is known, because these loggers take their folder and run as arguments.
LoggerFactory = Callable[[], Logger]

IDS = "loggers.json"  # in a run's folder: which run of W&B or MLflow it is
# Neither tells the host, the user, the command line, or where the program and its git remote are.
WANDB_PRIVATE: dict[str, Any] = {"x_disable_meta": True, "disable_git": True, "host": ""}
MLFLOW_PRIVATE = {"mlflow.user": "unknown", "mlflow.source.name": "cli.py"}
SECRET_NAME = re.compile(
    r"(?i)(?:^|[._])(?:(?:api|access|private)_?key|token|passw(?:or)?d|secret)(?:_[^.]*)?$"
)
URL_WITH_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
PACKAGES = {  # of loggers: the module to import, and how to install it
    "WandbLogger": ("wandb", '-e ".[wandb]"'),
    "MLFlowLogger": ("mlflow", '-e ".[mlflow]"'),
    "CometLogger": ("comet_ml", "comet-ml"),
}


def check(factories: Sequence[LoggerFactory]) -> None:
    """Refuses a logger whose package is not installed, or whose options contain a secret."""
    for make in factories:
        if name := secret_in(getattr(make, "keywords", {})):
            raise UserError(
                f"trainer.logger.{name}: the run's config.yaml would hold this secret. Leave it "
                "out and set the variable that the service reads, such as WANDB_API_KEY, "
                "COMET_API_KEY or MLFLOW_TRACKING_PASSWORD."
            )
        if text := missing_package(base.__name__ for base in class_of(make).__mro__):
            raise UserError(text)


def secret_in(options: Any, name: str = "") -> str:
    """Returns the dotted name of an option that contains a secret; empty if none does.

    A secret is a text whose option's name says so, or a URL with a password.
    """
    if isinstance(options, str):
        secret = options and SECRET_NAME.search(name) or URL_WITH_PASSWORD.search(options)
        return name if secret else ""
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(options, Mapping):
        pairs = options.items()
    elif isinstance(options, list | tuple):
        pairs = enumerate(options)
    found = (secret_in(value, f"{name}.{key}".lstrip(".")) for key, value in pairs)
    return next(filter(None, found), "")


def missing_package(names: Iterable[str]) -> str:
    """Returns which package to install for the loggers of these names; empty if all are there."""
    for name in names:
        module, install = PACKAGES.get(name, ("", ""))
        if module and find_spec(module) is None:
            return (
                f"trainer.logger: {name} needs the package {module}, which is not installed: "
                f"`pip install {install}`."
            )
    return ""


def class_of(make: LoggerFactory) -> type:
    """Returns the class that a factory makes; `Logger` if it is some other function."""
    return make.args[-1] if isinstance(make, partial) else Logger


def start(factories: Sequence[LoggerFactory], folder: Path) -> list[Logger]:
    """Makes the loggers of the run in a folder. Call it on rank zero alone.

    Writes the identifiers of their runs to the folder, so that whoever resumes the run, or tests
    it, continues the same runs of W&B and MLflow.
    """
    ids = read_json(folder / IDS)
    loggers: list[Logger] = []
    names = [class_of(make).__name__ for make in factories]
    for i, (make, name) in enumerate(zip(factories, names, strict=True)):
        earlier = names[:i].count(name)
        key = f"{name}_{earlier + 1}" if earlier else name
        try:
            logger, run = _start(make, folder, ids.get(key))
        except Exception as error:
            text = f"trainer.logger: {name} cannot start: {error}"
            raise UserError(text) from error
        loggers.append(logger)
        if run is not None and run != ids.get(key):
            ids[key] = run
            write_json(folder / IDS, ids)
    return loggers


def _start(make: LoggerFactory, folder: Path, run: str | None) -> tuple[Logger, str | None]:
    kind, options = class_of(make), getattr(make, "keywords", {})
    if issubclass(kind, WandbLogger):
        return _start_wandb(kind, options, folder, run)
    if issubclass(kind, MLFlowLogger):
        return _start_mlflow(kind, options, folder, run)
    return make(), None


def _start_wandb(
    kind: type[WandbLogger], options: dict[str, Any], folder: Path, run: str | None
) -> tuple[Logger, str]:
    mode = options.get("mode") or os.environ.get("WANDB_MODE", "offline")
    offline = options["offline"] or mode in ("offline", "dryrun")
    run = options["version"] or options["id"] or run or token_hex(4)
    quiet = WANDB_PRIVATE | {"console": "off", "silent": offline}
    save_dir = folder if options["save_dir"] == "." else options["save_dir"]
    chosen = {
        "version": run,
        "resume": options.get("resume") or "allow",
        "mode": "offline" if offline else mode,
        "project": options["project"] or os.environ.get("WANDB_PROJECT", "ladder"),
        "name": options["name"] or _name(folder),
        "save_dir": save_dir,
        "settings": options.get("settings") or quiet,
    }
    if offline:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # would be sent over the network
        rank_zero_info(
            f"W&B logs offline; `wandb sync {save_dir}/wandb/offline-run-*` uploads, "
            "WANDB_MODE=online uploads while training."
        )
    kind = FinishingWandbLogger if kind is WandbLogger else kind
    logger = kind(**(options | chosen))
    lightning_mends.drop_removed_settings(logger)
    _ = logger.experiment  # starts the run
    return logger, run


def _start_mlflow(
    kind: type[MLFlowLogger], options: dict[str, Any], folder: Path, run: str | None
) -> tuple[Logger, str]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # would be sent over the network
    from mlflow.exceptions import MlflowException

    kind = ContinuingMLFlowLogger if kind is MLFlowLogger else kind
    chosen: dict[str, Any] = {"run_name": options["run_name"] or _name(folder)}
    chosen["tags"] = MLFLOW_PRIVATE | (options["tags"] or {})
    if options["experiment_name"] == "lightning_logs":
        chosen["experiment_name"] = folder.parent.name
    if options["save_dir"] == "./mlruns":
        chosen["save_dir"] = str(folder.parent.parent / "mlruns")
    logging.getLogger(MLFlowLogger.__module__).addFilter(_is_not_about_a_new_experiment)
    if not options["tracking_uri"]:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow wants a database
    if run := options["run_id"] or run:
        logger = kind(**(options | chosen | {"run_id": run}))
        try:
            logger.experiment.update_run(run, status="RUNNING")
            return logger, run
        except MlflowException as error:
            rank_zero_warn(f"MLflow: cannot continue run {run}, so this is a new one. {error}")
    logger = kind(**(options | chosen | {"run_id": None}))
    run = logger.run_id  # starts the run
    assert run is not None
    return logger, run


def _is_not_about_a_new_experiment(record: logging.LogRecord) -> bool:
    return not record.getMessage().endswith("not found. Creating it.")


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


class FinishingWandbLogger(WandbLogger):
    """W&B's logger, except that its run ends with the Trainer's, not with the process."""

    def finalize(self, status: str) -> None:
        super().finalize(status)
        self.experiment.finish(exit_code=int(status != "success"))


class ContinuingMLFlowLogger(MLFlowLogger):
    """MLflow's logger, except that a resumed run may have other hyperparameters."""

    def log_hyperparams(self, params: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            super().log_hyperparams(params)
        except MlflowException as error:
            rank_zero_warn(f"MLflow keeps the first hyperparameters of a run. {error}")
