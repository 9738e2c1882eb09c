"""The command line: `python cli.py fit --config configs/cgan.yaml`."""

import gc
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import commands
from commands.errors import is_lightnings, user_errors
from commands.lightning_messages import reworded
from runtime import signals
from runtime.errors import LOST_PROCESS, RunFailedError, announce, explain, is_lost_process

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType

    from commands.ladder_cli import LadderCLI

IRRELEVANT_WARNINGS = (
    "is not supported by the model summary",  # the summary guesses sizes in megabytes
    "isinstance\\(treespec, LeafSpec\\)",  # Lightning's use of torch
    "Found .* module\\(s\\) in eval mode",  # the moving average stays in eval mode on purpose
    "is smaller than the logging interval",  # means continue across epochs
    "Total length of .list. across ranks is zero",  # there is no validation split
    "The dirpath has changed",  # a command draws or scores outside the run's folder
    "Checkpoint directory .* exists and is not empty",  # a resumed run uses its own folder
    "The .srun. command is available",  # `runtime.cluster` refuses a job that is started without it
)


def main(args: "ArgsType" = None) -> None:
    """Runs the command line, by default that of the process, whose signals it then handles.

    Raises:
        SystemExit: With 2 for a user's mistake, explained in one line on standard error; with 75
            if a signal stopped the run, which can be resumed; with 1, also after one line, if a run
            cannot go on.
    """
    given = sys.argv[1:] if args is None else args
    try:
        given = commands.named(given) if isinstance(given, list) else given
        if not (isinstance(given, list) and commands.run_light(given)):
            run_lightning(given, own_process=args is None)
    except user_errors() as error:
        announce(reworded(" ".join(str(error).split())))
        raise SystemExit(2) from None
    except RunFailedError as error:
        announce(error)
        raise SystemExit(1) from None
    except OSError as error:
        if not (text := explain(error)):
            raise
        announce(text)
        raise SystemExit(1) from None
    except (RuntimeError, ValueError, AttributeError) as error:
        if is_lost_process(error):
            announce(LOST_PROCESS)
            raise SystemExit(1) from None
        if not is_lightnings(error):
            raise
        announce(reworded(" ".join(str(error).split())))
        raise SystemExit(2) from None


def run_lightning(args: "ArgsType", own_process: bool = False) -> "LadderCLI":
    """Runs a command that needs a Trainer, and returns it."""
    if own_process:
        gc.disable()  # imports make a million objects that stay; each look through them takes 0.2 s
        if "fit" in sys.argv[1:]:  # saves when it is told to stop
            signals.install()  # before imports that take seconds
    with _without_irrelevant_messages():
        try:
            from commands.ladder_cli import LadderCLI

            return LadderCLI(args)
        finally:
            if not own_process:
                signals.restore()


@contextmanager
def _without_irrelevant_messages() -> Iterator[None]:
    """Hides messages that ask nothing of the user, and afterwards restores all filters."""

    def is_relevant(record: logging.LogRecord) -> bool:
        return "litlogger" not in record.getMessage()  # an advertisement

    def report(args: threading.ExceptHookArgs) -> None:
        if type(args.thread).__module__.split(".")[0] != "tensorboard":  # the main thread reports
            threading.__excepthook__(args)

    threading.excepthook = report
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(is_relevant)
    try:
        with warnings.catch_warnings():
            for message in IRRELEVANT_WARNINGS:
                warnings.filterwarnings("ignore", message=f".*{message}")
            yield
    finally:
        threading.excepthook = threading.__excepthook__
        logger.removeFilter(is_relevant)


if __name__ == "__main__":
    main()
