"""The command line: `python cli.py fit --config configs/cgan.yaml`."""

import sys
from typing import Any

import commands
from commands.rewording import explain_error
from runtime.errors import end_torchrun, exit_without_cleanup, print_error


def main(args: list[str] | None = None) -> Any:
    """Runs the command line, by default that of the process, whose signals it then handles.

    Returns:
        The result of a command that is a function.

    Raises:
        SystemExit: With 2 for a user's mistake, explained in one line on standard error; with 75
            if a signal stopped the run, which can be resumed; with 1, also after one line, if a run
            cannot continue; with 130 if Ctrl-C stopped a tool.
    """
    given = sys.argv[1:] if args is None else args
    own_process = args is None
    try:
        return commands.run(given, own_process)
    except KeyboardInterrupt:
        if not own_process:
            raise
        print("\nStopped by Ctrl-C.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of the output has closed, as in `--help | head -1`
        raise SystemExit(1) from None
    except Exception as error:
        code, text = explain_error(error)
        if own_process:
            exit_without_cleanup(code if text else 1)
        if not text:
            raise
        print_error(text)
        if own_process and code == 2 and given[:1] == ["fit"]:
            end_torchrun()
        raise SystemExit(code) from None


if __name__ == "__main__":
    main()
