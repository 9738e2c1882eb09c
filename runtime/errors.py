"""Failures of a run that are nobody's mistake on the command line, and how ranks announce them.

Imports nothing heavy, because `cli.py` needs it before everything else.
"""

import errno
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from typing import Any

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # in the order in which Lightning looks
GRACE = 1.0  # seconds
LOST_PROCESS = (
    "another process of this run has ended. Its own message says why; without one it was killed, "
    "for example at a memory limit. Checkpoints are kept: `--ckpt_path last` goes on."
)
# What gloo, NCCL and the store say if they no longer reach a process, and nothing else of theirs.
_LOST = re.compile(
    r"gloo/transport/.*(closed by peer|reset by peer|broken pipe|connection timed out|no route)"
    r"|ncclRemoteError|remote process exited|remote server shutdown or crash",
    re.IGNORECASE | re.DOTALL,
)

FULL = (errno.ENOSPC, errno.EDQUOT)
LOST = (errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE,
        errno.EMFILE, errno.ENFILE)  # fmt: skip


class UserError(Exception):
    """A mistake of the user: `main` prints it in one line and exits with 2."""


class RunFailedError(RuntimeError):
    """A run that cannot go on: `main` prints the reason in one line and exits with 1."""


def is_lost_process(error: BaseException) -> bool:
    """Returns whether an error says that another process of the run has ended."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def announce(error: BaseException | str) -> None:
    """Prints an error in one line. Ranks with the same error print it once.

    Each rank that has lost another one says so, because the one that would print may be lost.
    """
    text = " ".join(str(error).split())
    if text == LOST_PROCESS or _is_first_with(text):
        print("error:", text, file=sys.stderr, flush=True)
    dist: Any = sys.modules.get("torch.distributed")
    if dist and dist.is_available() and dist.is_initialized() and dist.get_rank() == 0:
        time.sleep(GRACE)  # the other ranks ask its store, and warn at length if that is gone


def _is_first_with(text: str) -> bool:
    dist: Any = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return not int(next((os.environ[name] for name in RANKS if name in os.environ), 0))
    try:
        return dist.distributed_c10d._get_default_store().add(f"error: {text}", 1) == 1
    except RuntimeError:  # the store was in a process that has ended
        return True


def explain(error: OSError) -> str:
    """Returns what a disk refused, and the remedy; empty for errors that have other reasons."""
    if error.errno not in (*FULL, *LOST) or error.filename is None:
        return ""
    path = os.fsdecode(error.filename)
    text = f"{path}: {os.strerror(error.errno)}"
    if error.errno not in FULL:
        return f"{text}. A run that had saved checkpoints goes on with `--ckpt_path last`."
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):  # removed with the run that could not begin
        folder = os.path.dirname(folder)
    with suppress(OSError):
        text += f" ({shutil.disk_usage(folder).free / 1e6:,.1f} MB are free)"
        if hasattr(os, "statvfs") and (disk := os.statvfs(folder)).f_files and not disk.f_favail:
            text += ", and too many files are there"
    return f"{text}. Make room, then repeat the command. A run goes on with `--ckpt_path last`."
