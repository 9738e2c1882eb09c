"""Stop signals. The handlers only record them; the run stops after the current batch.

Imports nothing heavy, so that `cli.py` can install the handlers before it imports Lightning. That
takes seconds, in which a signal would otherwise kill the process.
"""

import os
import signal
import sys
from types import FrameType

# Pre-emption sends the first, sbatch's --signal the second, and submitit the third, because some
# versions of NCCL take the second. Windows has the first alone.
_NAMES = ("SIGTERM", "SIGUSR1", "SIGUSR2")
STOP_SIGNALS = tuple(signal.Signals[name] for name in _NAMES if hasattr(signal, name))
AGAIN = b"\nStops after this batch. Ctrl-C again ends at once, without saving.\n"

SAVED_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: exit code of a run that saved after a stop signal

PARENT = "LADDER_PARENT"  # environment variable: number of the process with which this one ends
PR_SET_PDEATHSIG = 1  # of Linux

_received: list[int] = []


def _note(signum: int, frame: FrameType | None) -> None:
    _received.append(signum)


def _note_interrupt(signum: int, frame: FrameType | None) -> None:
    if signum in _received:
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)
    _received.append(signum)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        os.write(2, AGAIN)  # print is not allowed in a handler


def install(*others: signal.Signals) -> None:
    """Takes over the stop signals and others. Call it again after something else has taken them."""
    for signum in (*STOP_SIGNALS, *others):
        signal.signal(signum, _note)


def install_interrupt() -> None:
    """Takes the first Ctrl-C as a stop signal; the second ends the process at once.

    A background process of a shell continues to ignore it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _note_interrupt)


def end_with_parent() -> None:
    """Lets Linux send SIGTERM when the process in `LADDER_PARENT` ends, also if it was killed.

    Exits if it has ended already.
    """
    parent = os.environ.pop(PARENT, "")
    if parent and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if str(os.getppid()) != parent:
            sys.exit(SAVED_EXIT_CODE)


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
    if signal.getsignal(signal.SIGINT) is _note_interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_requested() -> bool:
    """Returns whether a stop signal has arrived since `install`."""
    return bool(_received)
