"""Errors of users and of runs, and their messages when several ranks fail.

Imports nothing heavy, because `cli.py` needs it before everything else.
"""

import atexit
import errno
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread
from typing import Any

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # in the order in which Lightning looks
GRACE, PATIENCE = 1.0, 6.0  # seconds
LOST_PROCESS = (
    "another process of this run has ended. Its own message says why; without one it was killed, "
    "for example at a memory limit. Checkpoints are kept: `--ckpt_path last` continues."
)
STUCK_PROCESS = (
    "rank {ranks} did not answer within {seconds:g} s (--trainer.rank_timeout): it is stuck or cut "
    "off. Checkpoints are kept: end its process, then `--ckpt_path last` continues."
)
NOT_FOUND = "the processes have not found each other within --trainer.rank_timeout: "
INTERFACES = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"
# Messages of gloo, NCCL and the store if they no longer reach a process.
_LOST = re.compile(
    r"gloo/transport/.*(closed by peer|reset by peer|broken pipe|timed out|no route)"
    r"|connectFullMesh failed|timeout caused pair closure"
    r"|timed out after \S+ (seconds waiting for clients|while trying)"
    r"|ncclRemoteError|remote process exited|remote server shutdown or crash",
    re.IGNORECASE | re.DOTALL,
)

# Control characters of terminals and line ends. Zero-width joiners are allowed in names.
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

FULL = (errno.ENOSPC, errno.EDQUOT)
LOST = (errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE,
        errno.EMFILE, errno.ENFILE, errno.EFBIG)  # fmt: skip


class UserError(Exception):
    """A mistake of the user: `main` prints it in one line and exits with 2."""


class RunFailedError(RuntimeError):
    """A run that cannot continue: `main` prints the reason in one line and exits with 1."""


def user_error_in(error: BaseException | None) -> UserError | None:
    """Returns the user's mistake that an error wraps, such as one of jsonargparse; None: none."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def did_you_mean(near: Iterable[str]) -> str:
    """Returns a question that names the nearest valid names; empty if there are none."""
    names = " or ".join(near)
    return f" Did you mean {names}?" if names else ""


def printable(text: str) -> str:
    """Returns a text with control characters as escapes, as a name that others chose may have."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def require_printable(name: object) -> None:
    """Refuses a name with control characters."""
    if printable(str(name)) != str(name):
        raise UserError(f"{printable(str(name))} has control characters in its name: rename it")


def is_lost_process(error: BaseException) -> bool:
    """Returns whether an error says that another process of the run has ended."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def describe_lost_ranks(error: BaseException) -> str:
    """Says which ranks are stuck or have ended; empty if all are alive."""
    dist: Any = sys.modules.get("torch.distributed")
    if not dist.is_initialized():
        return _describe_start()
    unreachable = [0] if dist.get_rank() else [*range(1, dist.get_world_size())]  # 0 has the store
    missing = _ask_store(lambda store: _roll_call(store, dist, error), unreachable, gone=None)
    if not missing:
        return LOST_PROCESS if missing is None else ""
    seconds = dist.distributed_c10d._get_default_store().timeout.total_seconds()
    return STUCK_PROCESS.format(ranks=", ".join(map(str, missing)), seconds=seconds)


def _describe_start() -> str:
    """Says by which network ranks have not found each other, and which are there."""
    tried = "the address of this host's name"
    with suppress(OSError):
        tried = f"{socket.gethostbyname(socket.gethostname())}, {tried}"
    tried = " and ".join(f"{k}={os.environ[k]}" for k in INTERFACES if k in os.environ) or tried
    present = ", ".join(name for _, name in socket.if_nameindex())
    return NOT_FOUND + (
        f"one has not started, or they cannot connect by {tried}. Set {' and '.join(INTERFACES)} "
        f"to the interface of the network that all nodes share, here one of {present}."
    )


def _roll_call(store: Any, dist: Any, error: BaseException) -> list[int] | None:
    """Returns the ranks that do not answer; None if no rank has timed out."""
    if "timed out" in str(error).lower():
        store.set("timed out", "")
    store.set(f"here: {dist.get_rank()}", "")
    if not store.check(["timed out"]):  # a rank that ends after a timeout sets this first
        return None
    missing, limit = [*range(dist.get_world_size())], time.monotonic() + PATIENCE / 2
    while len(missing) > 1 and time.monotonic() < limit:
        missing = [rank for rank in missing if not store.check([f"here: {rank}"])]
        time.sleep(GRACE / 20)
    return missing


def _ask_store(question: Callable[[Any], Any], silent: Any, gone: Any) -> Any:
    """Queries the store of all ranks, unless its process is stuck or has ended."""
    import torch.distributed as dist

    answers = [gone]

    def ask() -> None:
        with suppress(RuntimeError):
            answers.append(question(dist.distributed_c10d._get_default_store()))

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return silent if thread.is_alive() else answers[-1]


def print_error(error: BaseException | str) -> None:
    """Prints an error in one line. Ranks with the same error print it once.

    Each rank that misses another one prints it, because rank zero may be the missing one.
    """
    text = printable(" ".join(str(error).split()))
    if text.startswith((LOST_PROCESS, NOT_FOUND)) or _is_first_with(text):
        print("error:", text, file=sys.stderr, flush=True)
    dist: Any = sys.modules.get("torch.distributed")
    if dist and dist.is_available() and dist.is_initialized() and dist.get_rank() == 0:
        time.sleep(GRACE)  # the other ranks ask its store, and warn at length if that is gone


def exit_without_cleanup(code: int) -> None:
    """Ends a failed rank at exit without cleanup.

    Otherwise gloo waits for operations with other ranks, which may wait for the end of this one.
    """
    dist: Any = sys.modules.get("torch.distributed")
    if dist and dist.is_available() and dist.is_initialized():
        atexit.register(_exit_without_cleanup, code)


def end_torchrun() -> None:
    """Ends torchrun if this is its first start: a mistake would fail in every restart again."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT") == os.environ.get("LOCAL_RANK") == "0":
        os.kill(os.getppid(), signal.SIGTERM)


def _exit_without_cleanup(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_first_with(text: str) -> bool:
    dist: Any = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return not int(next((os.environ[name] for name in RANKS if name in os.environ), 0))
    return _ask_store(lambda store: store.add(f"error: {text}", 1) == 1, silent=True, gone=True)


def explain_disk_error(error: OSError) -> str:
    """Returns what a disk refused, and the remedy; empty for errors that have other reasons."""
    if error.errno not in (*FULL, *LOST) or error.filename is None:
        return ""
    path = os.fsdecode(error.filename)
    limit = ", see `ulimit -f`" if error.errno == errno.EFBIG else ""
    text = f"{path}: {os.strerror(error.errno)}{limit}"
    if error.errno not in FULL:
        return f"{text}. `--ckpt_path last` continues a run that has saved checkpoints."
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):  # removed with the run that could not begin
        folder = os.path.dirname(folder)
    with suppress(OSError):
        text += f" ({shutil.disk_usage(folder).free / 1e6:,.1f} MB are free)"
        if hasattr(os, "statvfs") and (disk := os.statvfs(folder)).f_files and not disk.f_favail:
            text += ", and too many files are there"
    return f"{text}. Make room, then repeat the command. `--ckpt_path last` continues a run."
