"""Signals that ask a run to stop: noted when they come, acted on at a batch's end.

Imports nothing heavy, so that `cli.py` can install the handlers before the seconds that
importing Lightning takes; a signal in that time would otherwise kill the process.
"""

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # pre-emption sends the first, --signal the second

_received: list[int] = []


def _note(signum: int, frame: FrameType | None) -> None:
    _received.append(signum)


def install() -> None:
    """Takes over the stop signals; call it again where something else has taken them."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, _note)


def ignore() -> None:
    """Lets further stop signals change nothing, least of all the exit code of a saved run.

    Not even while the interpreter shuts down: it takes away handlers, but not this.
    """
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def restore() -> None:
    """Lets the stop signals end the process again, and forgets those that came."""
    _received.clear()
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


def stop_requested() -> bool:
    """Whether a stop signal has come since `install`."""
    return bool(_received)
