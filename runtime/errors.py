"""Failures of a run that are nobody's mistake on the command line."""

import errno
import os
import shutil
from contextlib import suppress

FULL = (errno.ENOSPC, errno.EDQUOT)
LOST = (errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE)


class RunFailedError(RuntimeError):
    """A run that cannot go on: `main` prints the reason in one line and exits with 1.

    Args:
        text: The reason and the remedy.
        of_one_process: Only one of several processes fails, and so it prints, whichever it is.
    """

    def __init__(self, text: str, of_one_process: bool = False) -> None:
        super().__init__(text)
        self.of_one_process = of_one_process


def explain(error: OSError) -> str:
    """Returns what a disk refused, and the remedy; empty for errors that have other reasons."""
    if error.errno not in (*FULL, *LOST) or error.filename is None:
        return ""
    path = os.fsdecode(error.filename)
    text = f"{path}: {os.strerror(error.errno)}"
    if error.errno not in FULL:
        return f"{text}. A run that had saved checkpoints goes on with `--ckpt_path last`."
    with suppress(OSError):
        free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
        text += f" ({free / 1e6:,.1f} MB are free)"
    return f"{text}. Make room, then repeat the command. A run goes on with `--ckpt_path last`."
