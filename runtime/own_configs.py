"""Remembers which `config.yaml` the commands of this user have written. Imports nothing heavy.

For each there is an empty file in the user's state folder, whose name is the hash of the config.
A run with such a config may name classes, loggers and folders of the user's own. This holds for the
config alone: links, states and checkpoints of the run are checked as in a run of anybody.
"""

import hashlib
import os
import stat
from pathlib import Path

from runtime.files import create


def folder() -> Path:
    """Returns the folder of the records: `LADDER_STATE`, or one in the user's home."""
    given = os.environ.get("LADDER_STATE")
    return Path(given or Path.home() / ".local" / "state" / "ladder").expanduser() / "configs"


def remember(content: bytes) -> bool:
    """Records the bytes of a config, and returns whether they are recorded."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        if _others_can_write():
            return False
        create(_record(content))
    except FileExistsError:
        return is_recorded(content)
    except (OSError, RuntimeError):  # no such place, or no home
        return False
    return True


def is_recorded(content: bytes) -> bool:
    """Returns whether the bytes of a config were written by this user's commands."""
    try:
        return stat.S_ISREG(_record(content).lstat().st_mode) and not _others_can_write()
    except (OSError, RuntimeError):
        return False


def _record(content: bytes) -> Path:
    return folder() / hashlib.sha256(content).hexdigest()


def _others_can_write() -> bool:
    state = folder().lstat()
    of_another = hasattr(os, "getuid") and state.st_uid != os.getuid()  # Windows has none
    open_to_others = os.name == "posix" and bool(state.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return not stat.S_ISDIR(state.st_mode) or of_another or open_to_others
