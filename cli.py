"""The command line: `python cli.py fit --config configs/cgan.yaml`."""

import gc
import sys
from typing import TYPE_CHECKING

import commands
from commands import terminal
from commands.errors import is_lightnings, user_errors
from commands.lightning_messages import reworded
from runtime import cpu, signals
from runtime.errors import LOST_PROCESS, RunFailedError, announce, explain, is_lost_process

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType

    from commands.ladder_cli import LadderCLI


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
    cpu.let_waiting_threads_sleep()
    if own_process:
        gc.disable()  # imports make a million objects that stay; each look through them takes 0.2 s
        if "fit" in sys.argv[1:]:  # saves when it is told to stop
            signals.install()  # before imports that take seconds
    with terminal.without_irrelevant_messages():
        try:
            from commands.ladder_cli import LadderCLI

            with terminal.short_warnings():
                return LadderCLI(args)
        finally:
            if not own_process:
                signals.restore()


if __name__ == "__main__":
    main()
