"""The messages of Lightning in the terminal, some of which are hidden. Imports nothing heavy."""

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import printable

IRRELEVANT_WARNINGS = (
    "is not supported by the model summary",  # the summary guesses sizes in megabytes
    "isinstance\\(treespec, LeafSpec\\)",  # Lightning's use of torch
    "Found .* module\\(s\\) in eval mode",  # the moving average stays in eval mode on purpose
    "is smaller than the logging interval",  # means continue across epochs
    "Total length of .list. across ranks is zero",  # there is no validation split
    "Checkpoint directory .* exists and is not empty",  # a resumed run uses its own folder
    "callbacks: \\[.BestCheckpoint",  # of an older run, whose score EpochCheckpoint has read
    "The .srun. command is available",  # `runtime.cluster` refuses a job that is started without it
)
IRRELEVANT_MESSAGES = re.compile(
    "litlogger|Tip: "  # advertisements
    "|Seed set to|[GT]PU available: False"  # what the config and most machines say already
    "|Automatic Mixed Precision"  # `runtime.trainer` says the precision and why
    "|to estimate number of stepping batches"
    "|`Trainer.fit` stopped"  # the last lines say where the run is
    "|Restoring states|Loaded model weights|Restored all states"  # the first line names the run
)
LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)


@contextmanager
def without_irrelevant_messages() -> Iterator[None]:
    """Hides messages that ask nothing of the user, and afterward restores filters and format."""

    def is_relevant(record: logging.LogRecord) -> bool:
        if "KeyboardInterrupt" in record.getMessage():
            record.msg = "Stopped by Ctrl-C."
        return not IRRELEVANT_MESSAGES.search(record.getMessage())

    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(is_relevant)
    before, thread_failed = warnings.formatwarning, threading.excepthook
    # TensorBoard raises what the disk refuses to its thread once more.
    threading.excepthook = lambda of: issubclass(of.exc_type, OSError) or thread_failed(of)
    try:
        with warnings.catch_warnings():
            for message in IRRELEVANT_WARNINGS:
                warnings.filterwarnings("ignore", message=f".*{message}")
            yield
    finally:
        warnings.formatwarning, threading.excepthook = before, thread_failed
        for logger in loggers:
            logger.removeFilter(is_relevant)


def shorten_warnings() -> None:
    """Prints each warning in one line, like an error. Lightning, if imported later, undoes it."""
    warnings.formatwarning = _one_line


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {printable(' '.join(str(message).split()))}\n"
