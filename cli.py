"""The command line: `python cli.py fit --config configs/cgan.yaml`."""

import gc

from runtime import signals

if __name__ == "__main__":
    signals.install()  # before the imports below, which take seconds
    gc.disable()  # they make a million objects that stay; to look through them takes 0.2 s a time

import logging
import sys
import warnings

from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch.cli import ArgsType
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from commands.compare import compare
from commands.ladder_cli import LadderCLI

IRRELEVANT_WARNINGS = (
    "is not supported by the model summary",  # it guesses megabytes, which nobody asked for
    "isinstance\\(treespec, LeafSpec\\)",  # Lightning's own use of torch
    "Found .* module\\(s\\) in eval mode",  # the moving average rests in eval mode on purpose
    "is smaller than the logging interval",  # means are carried over epochs
    "Checkpoint directory .* exists and is not empty",  # it is a resumed run's own
)


def main(args: ArgsType = None) -> None:
    """Runs the command line.

    Args:
        args: The arguments, by default those of the process.

    Raises:
        SystemExit: With 2 for a user's mistake, explained in one line on standard error; with 75
            when a signal stopped the run, which can be resumed.
    """
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message=f".*{message}")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()  # an advertisement
    )
    given = sys.argv[1:] if args is None else args
    try:
        if isinstance(given, list) and given[:1] == ["compare"]:
            compare(given[1:])
        else:
            LadderCLI(args)
    except MisconfigurationException as error:
        if not _get_rank():
            print("error:", " ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        if __name__ != "__main__":  # where the process goes on
            signals.restore()


if __name__ == "__main__":
    main()
