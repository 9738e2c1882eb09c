"""Atomic files. Imports nothing heavy."""

import errno
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.errors import UserError, printable

ROOT = Path(__file__).parent.parent  # of the project
METRICS = "metrics.json"  # scores of a run, in its folder
MAX_JSON, MAX_LOG = 10_000_000, 100_000_000  # bytes of a file that others may have made


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Writes a file atomically: it appears complete, under its final name, or not at all.

    The content is on the disk before the file gets its final name, and the name before this
    returns, so that this also holds if the machine loses power. `save` gets the path of a new file
    in the same folder, with the same suffix.
    """
    partial = partial_name(path)
    try:
        with file_errors(path):
            create(partial)
            save(partial)
            fsync(partial)
            partial.replace(path)
            fsync(path.parent)
    finally:
        with suppress(OSError):  # for example on a disk that has become read-only
            partial.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Calls fsync for a file's content or a folder's names. Windows skips folders."""
    is_folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EACCES, errno.EINVAL):
            raise


def partial_name(path: Path) -> Path:
    """Returns an unpredictable name for a file until it is complete."""
    return path.with_name(f".{secrets.token_hex(8)}.{path.stem}.partial{path.suffix}")


def create(path: Path) -> None:
    """Creates an empty file. Fails if the name is taken, also by a link, which is not followed."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)  # not on Windows
    os.close(os.open(path, flags, 0o666))


def check_links(folder: Path, remedy: str = "add --trust true") -> None:
    """Refuses a folder, into which tools write, with links that lead out of it, or with pipes."""
    root = os.path.realpath(folder)
    for inside, folders, names in os.walk(folder):
        for path in (Path(inside, name) for name in (*folders, *names)):
            target = os.path.realpath(path)
            if path.is_symlink() and not Path(target).is_relative_to(root):
                text = printable(f"{path} is a link to {target}, outside {folder}")
                raise UserError(f"{text}: copy the file there, or {remedy}")
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise UserError(f"{printable(str(path))} is no file: remove it, or {remedy}")


def describe_size(nbytes: float) -> str:
    """Returns a number of bytes in the unit that suits it, such as `4.5 kB`."""
    unit, size = ("GB", 1e9) if nbytes >= 1e9 else ("MB", 1e6) if nbytes >= 1e6 else ("kB", 1e3)
    return f"{nbytes / size:,.1f} {unit}"


def remove_partial_files(folder: Path, seconds: float = 0.0) -> None:
    """Removes partial files of killed processes that are older than `seconds`."""
    for path in folder.glob(".*.partial*"):
        with suppress(OSError):  # another process may be faster
            if not path.is_dir() and abs(time.time() - path.lstat().st_mtime) >= seconds:
                path.unlink()


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Adds the file's name to OSErrors without one, such as those of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def write_json(path: Path, value: Any) -> None:
    """Writes plain values as JSON. Numbers that are not finite become null, as JSON requires."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"
    write(path, lambda file: file.write_text(text))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. It is empty if the file does not exist.

    Raises:
        UserError: If the file cannot be read or is no JSON object.
    """
    try:
        content = json.loads(read_text(path, MAX_JSON))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected values by name, a JSON object")
    return content


def read_text(path: Path, max_bytes: int) -> str:
    """Reads a file that somebody else may have made: a ValueError for one that is huge or a pipe.

    A pipe has no end, and a file of 3 GB may take no space on a disk.
    """
    if (stat := path.stat()).st_size > max_bytes:
        raise ValueError(f"has {stat.st_size:,} bytes, which is more than {max_bytes:,}")
    if not path.is_file():
        raise ValueError("is no file")
    return path.read_text()


def complete_lines(path: Path) -> str:
    """Returns the text without lines that a kill, a full disk or a power cut has damaged."""
    lines = read_text(path, MAX_LOG).splitlines(keepends=True) if path.exists() else []
    return "".join(line for line in lines if line.endswith("\n") and "\0" not in line)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
