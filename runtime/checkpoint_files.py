"""Checkpoint files: written whole or not at all, and verified before they are used."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from runtime import files
from runtime.errors import RunFailedError, UserError

FORMAT = 1  # of the checkpoints of this version; files without a number are older
FORMAT_KEY = "ladder_format"
RESUMABLE = ("optimizer_states", "loops", "epoch", "global_step")  # what `fit` needs
DOS_FOLDER = 0x10  # attribute of a record of a zip archive, which torch then reads as empty

_sound: set[tuple[str, int, int]] = set()  # files that this process has verified


class BadCheckpointError(UserError):
    """A file that is no checkpoint, is damaged, or has weights that are not finite."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames. Verifies what it loads.

    Lightning writes to a temporary file in $TMPDIR. If that is on another file system, the last
    step is a copy, and a process that is killed during it leaves half a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        if bad := _not_finite(checkpoint.get("state_dict", {})):
            raise RunFailedError(
                f"weights {bad} contain NaN or infinity, so {path} is not written. Earlier "
                "checkpoints are kept. Try a smaller learning rate or gradient clipping."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = checkpoint | {FORMAT_KEY: FORMAT}
        try:
            files.write(path, lambda partial: _save(checkpoint, partial))
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            free = shutil.disk_usage(path.parent).free / 1e6
            raise RunFailedError(
                f"{path} cannot be written ({reason}; {free:,.0f} MB are free). Earlier "
                "checkpoints are kept: make room, then `--ckpt_path last` goes on."
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        if Path(path).is_file():  # otherwise the folder of a sharded checkpoint
            try:
                verify(Path(path))
            except BadCheckpointError as error:
                raise BadCheckpointError(f"{path}: {error}") from error
        return super().load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint, after `last.ckpt` has been pointed to the newest other one."""
        path = Path(path)
        last = path.with_name("last.ckpt")
        if last.is_symlink() and last.readlink() == Path(path.name):
            others = [other for other in path.parent.glob("[!.]*.ckpt") if not other.is_symlink()]
            others = [other for other in others if other != path]
            if others:
                link(last, max(others, key=lambda other: other.stat().st_mtime))
        path.unlink(missing_ok=True)


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint. Raises the system's error, around which torch raises its own."""
    with path.open("wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def link(name: Path, target: Path) -> None:
    """Points a link to a file in its folder, so that at any moment it is the old or the new one."""
    partial = files.partial_name(name)
    partial.unlink(missing_ok=True)
    partial.symlink_to(target.name)
    partial.replace(name)


def verify(path: Path) -> None:
    """Checks a checkpoint, once per process and state of the file.

    Reads the file once, for the checksum of every record (torch itself checks none), the entries of
    a checkpoint, and whether all weights are finite.

    Raises:
        BadCheckpointError: If something is wrong; the message says what, without the path.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise BadCheckpointError(f"cannot be read ({error.strerror})") from error
    key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    if key in _sound:
        return
    _check_bytes(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises errors of many kinds for other files
        raise BadCheckpointError("not a checkpoint of plain values") from error
    _check_content(content)
    _sound.add(key)


def _check_bytes(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged, records = archive.testzip(), archive.infolist()
    except OSError as error:
        raise BadCheckpointError(f"cannot be read ({error.strerror})") from error
    except Exception as error:  # zipfile raises errors of many kinds for damaged headers
        raise BadCheckpointError("not a checkpoint, or an incomplete one") from error
    if damaged:
        raise BadCheckpointError(f"damaged: its record {damaged} has another checksum than stored")
    # Where torch would read something else than what zipfile has checked:
    if start := min((record.header_offset for record in records), default=0):
        raise BadCheckpointError(f"damaged: {start:,} bytes of something else come before it")
    if folders := [record.filename for record in records if record.external_attr & DOS_FOLDER]:
        raise BadCheckpointError(f"damaged: its record {folders[0]} is marked as a folder")


def _check_content(content: Any) -> None:
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(w, torch.Tensor) for w in weights.values()
    ):
        raise BadCheckpointError(
            "a file of torch, but no checkpoint: it has no state_dict of a LightningModule"
        )
    if (found := content.get(FORMAT_KEY, 0)) > FORMAT:
        raise BadCheckpointError(
            f"written by a newer version of this project (format {found}; this version reads up to "
            f"{FORMAT}): update the project"
        )
    if bad := _not_finite(weights):
        raise BadCheckpointError(f"its weights {bad} contain NaN or infinity")


def _not_finite(weights: dict[str, Any]) -> str:
    """Returns the name of the first weights that are not finite; empty if all are."""
    for name, weight in weights.items():
        if isinstance(weight, torch.Tensor) and not weight.isfinite().all():
            return name
    return ""
