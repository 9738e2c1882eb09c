"""The command line: `python cli.py fit --config configs/cgan.yaml`."""

import sys
from typing import TYPE_CHECKING, Any

import commands
from commands import terminal
from commands.errors import explained
from runtime import signals
from runtime.errors import announce, end_at_once

if TYPE_CHECKING:
    from commands.ladder_cli import LadderCLI


def main(args: list[str] | None = None) -> Any:
    """Runs the command line, by default that of the process, whose signals it then handles.

    Returns:
        The result of a command that is a function.

    Raises:
        SystemExit: With 2 for a user's mistake, explained in one line on standard error; with 75
            if a signal stopped the run, which can be resumed; with 1, also after one line, if a run
            cannot go on; with 130 if Ctrl-C stopped a tool.
    """
    given = sys.argv[1:] if args is None else args
    own_process = args is None
    try:
        return commands.run(given, lambda words: run_lightning(words, own_process))
    except KeyboardInterrupt:
        if not own_process:
            raise
        print("\nStopped by Ctrl-C.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # nobody reads the output any more, as in `--help | head -1`
        raise SystemExit(1) from None
    except Exception as error:
        code, text = explained(error)
        if own_process:
            end_at_once(code if text else 1)
        if not text:
            raise
        announce(text)
        raise SystemExit(code) from None


def run_lightning(args: list[str], own_process: bool = False) -> "LadderCLI":
    """Runs fit, validate or test, and returns their Trainer, model and data."""
    if own_process and args[0] == "fit":
        signals.install()  # before imports that take seconds: fit saves when it is told to stop
    with terminal.without_irrelevant_messages():
        try:
            from commands.ladder_cli import LadderCLI

            terminal.shorten_warnings()
            run = LadderCLI(args)
        except SystemExit:  # saved, because it was told to stop
            _leave_ranks(own_process)
            raise
        finally:
            if not own_process:
                signals.restore()
    _leave_ranks(own_process)
    return run


def _leave_ranks(own_process: bool) -> None:
    """Leaves the group of ranks, which torch asks for before the interpreter shuts down.

    A thread of gloo that lets go of a tensor during the shutdown would abort the process, and the
    job would count as failed. After an error no rank waits: see `end_at_once`.
    """
    import torch.distributed as dist

    if own_process and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
