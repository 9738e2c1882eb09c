"""Signals that ask a run to stop. They are noted on arrival and acted on after a batch.

Imports nothing heavy, so that `cli.py` can install the handlers before it imports Lightning. That
takes seconds, in which a signal would otherwise kill the process.
"""

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # pre-emption sends the first, --signal the second

_received: list[int] = []


def _note(signum: int, frame: FrameType | None) -> None:
    _received.append(signum)


def install(*others: signal.Signals) -> None:
    """Takes over the stop signals and others. Call it again after something else has taken them."""
    for signum in (*STOP_SIGNALS, *others):
        signal.signal(signum, _note)


def ignore() -> None:
    """Ignores further stop signals, which must not change the exit code of a saved run.

    This also holds while the interpreter shuts down, which removes handlers but not this setting.
    """
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def restore() -> None:
    """Lets the stop signals end the process again, and forgets those that arrived."""
    _received.clear()
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


def stop_requested() -> bool:
    """Returns whether a stop signal has arrived since `install`."""
    return bool(_received)
