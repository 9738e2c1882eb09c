"""Checkpoints: written whole or not at all, verified, and found by name."""

import difflib
import math
import os
import pickletools
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning_utilities import apply_to_collection

from runtime import files
from runtime.errors import RunFailedError, UserError, printable, require_printable
from runtime.trust import leaves

RESUMABLE = ("optimizer_states", "loops", "epoch", "global_step")  # what `fit` needs
DOS_FOLDER = 0x10  # attribute of a record of a zip archive, which torch then reads as empty
PLAIN = re.compile(  # what the pickle of a checkpoint may name, besides plain values
    r"collections (OrderedDict|Counter)|_codecs encode|builtins (set|complex)"
    r"|torch\._utils _rebuild_(tensor(_v[23])?|parameter)|torch\.storage UntypedStorage"
    r"|torch (\w+Storage|Size|device|bool|\w+\d|float8_\w+)"
)
MAX_NODES, MAX_VALUES = 5_000_000, 300_000  # of a pickle, and of what it stands for
MIN_BYTES, MAX_RATIO = 10**7, 10  # of all tensors, which may share memory, to the file's size

_sound: dict[tuple[str, int, int], dict[str, Any]] = {}  # verified files, without their weights


# -- files ----------------------------------------------------------------------------------------


class BadCheckpointError(UserError):
    """A file that is no checkpoint, is damaged, or has weights that are not finite."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames. Verifies what it loads.

    Lightning writes to a temporary file in $TMPDIR. If that is on another file system, the last
    step is a copy, and a process that is killed during it leaves half a checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folders: set[Path] = set()  # into which it has saved

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        if bad := _not_finite(checkpoint.get("state_dict", {})):
            raise RunFailedError(
                f"weights {bad} contain NaN or infinity, so {path} is not written. Earlier "
                "checkpoints are kept. Try a smaller learning rate or gradient clipping."
            )
        make_folder(path.parent)
        if (log := path.parent.parent / "metrics.csv").exists():
            files.fsync(log)  # a resumed run does not log the rows before the checkpoint again
        files.write(path, lambda partial: _save(checkpoint, partial))
        self._folders.add(path.parent.resolve())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        # Otherwise it is the folder of a sharded checkpoint.
        if Path(path).is_file() and (wrong := problem_of(Path(path))):
            raise BadCheckpointError(f"{path}: {wrong}")
        return super().load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a file, unless it is in a folder into which this object has not saved."""
        if Path(path).parent.resolve() in self._folders:
            Path(path).unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Creates a run's folder of checkpoints, whose name is on the disk before this returns."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for above in folder.parents[:4]:  # up to the one that has the folder of all runs
            files.fsync(above)


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint. Raises the system's error, around which torch raises its own."""
    with path.open("wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def link(name: Path, target: Path) -> None:
    """Points a link to a file in its folder, so that at any moment it is the old or the new one.

    Where links are not allowed, as on most people's Windows, it is a copy.
    """
    partial = files.partial_name(name)
    try:
        partial.symlink_to(target.name)
    except (OSError, NotImplementedError):
        files.write(name, lambda copy: shutil.copyfile(target, copy))
    else:
        partial.replace(name)
        files.fsync(name.parent)


def contents(path: Path) -> dict[str, Any]:
    """Returns what a checkpoint says, verified, with tensors that have no values (`meta`).

    Raises:
        BadCheckpointError: As `problem_of` says.
    """
    found = _examined(path)
    if isinstance(found, str):
        raise BadCheckpointError(f"{path}: {found}")
    return found


def _state_of(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path.resolve()), stat.st_mtime_ns, stat.st_size


def problem_of(path: Path) -> str:
    """Returns what is wrong with a checkpoint; empty if nothing is."""
    return found if isinstance(found := _examined(path), str) else ""


def _examined(path: Path) -> str | dict[str, Any]:
    """Returns what a checkpoint says, or what is wrong with it.

    Reads the file once per process and state of the file, for the checksum of every record (torch
    itself checks none), the entries of a checkpoint, and whether all weights are finite.
    """
    try:
        key = _state_of(path)
        if key in _sound:
            return _sound[key]
        if damage := _damage_of(path):
            return damage
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        tensors = [value for _, value in leaves(content, MAX_VALUES) if torch.is_tensor(value)]
    except Exception:  # torch raises errors of many kinds for other files
        return "not a checkpoint of plain values"
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > max(MIN_BYTES, MAX_RATIO * key[2]):
        return f"its tensors stand for {size:,} bytes, more than {MAX_RATIO} times its size"
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        return "a file of torch, but no checkpoint: it has no state_dict of a LightningModule"
    if not isinstance(content.get("callbacks", {}), dict):
        return "damaged: the states of its callbacks have no names"
    if bad := _not_finite(weights):
        return f"its weights {bad} contain NaN or infinity"
    _sound[key] = apply_to_collection(content, torch.Tensor, lambda tensor: tensor.to("meta"))
    return _sound[key]


def _damage_of(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            names = {record.filename.lower() for record in records}  # torch ignores case
            if len(names) < len(records) or any(record.compress_type for record in records):
                return "damaged: it has compressed records, or two of a name"
            if sum(record.file_size for record in records) > path.stat().st_size:
                return "damaged: its records overlap"
            damaged = archive.testzip()
        reader = torch._C.PyTorchFileReader(str(path))  # which may find another list of records
        found = reader.get_all_records()
        pickles = [reader.get_record(name) for name in found if "data.pkl" in name]
    except OSError:
        raise
    except Exception:  # zipfile raises errors of many kinds for damaged headers
        return "not a checkpoint, or an incomplete one"
    if damaged:
        return f"damaged: its record {damaged} has another checksum than stored"
    # Where torch would read something else than what zipfile has checked:
    if {name.lower() for name in found} != {name.partition("/")[2] for name in names}:
        return "damaged: it has two lists of its records"
    if start := min((record.header_offset for record in records), default=0):
        return f"damaged: {start:,} bytes of something else come before it"
    if folders := [record.filename for record in records if record.external_attr & DOS_FOLDER]:
        return f"damaged: its record {folders[0]} is marked as a folder"
    return next(filter(None, map(_refusal_of, pickles)), "")


def _refusal_of(pickle: bytes) -> str:
    """Returns why a pickle makes other than plain values and dense tensors, or too many; or "".

    Counts the values that each operation makes, with those that it repeats, without running any:
    torch would hash a tuple of two equal tuples, 40 levels deep, for hours.
    """
    stack: list[int] = []  # of numbers of values, and 0 for a mark
    marks: list[int] = []  # where they are
    memo: dict[Any, int] = {}
    count, mark = 0, pickletools.markobject
    try:
        for operation, argument, _ in pickletools.genops(pickle):
            name, before = operation.name, operation.stack_before
            if name == "GLOBAL" and not PLAIN.fullmatch(str(argument)):
                kind = printable(".".join(str(argument).split())[:100])
                return f"not a checkpoint of plain values: it has a {kind}"
            if name == "MARK":
                marks.append(len(stack))
            elif "PUT" in name:
                memo[argument] = stack[-1]
            start = marks.pop() - before.index(mark) if mark in before else len(stack) - len(before)
            value = memo[argument] if "GET" in name else 1 + sum(stack[start:])
            stack[start:] = [0 if made is mark else value for made in operation.stack_after]
            count += value if "GET" in name else 1
            if max(count, value) > MAX_NODES:
                return f"not a checkpoint of plain values: it has more than {MAX_NODES:,} of them"
    except Exception:  # of many kinds, for what is no pickle
        return "not a checkpoint of plain values"
    return ""


def _not_finite(weights: dict[str, Any]) -> str:
    """Returns the name of the first weights that are not finite; empty if all are.

    A mask of 0 and -inf, as for attention, is no such weight.
    """
    for name, weight in weights.items():
        if isinstance(weight, torch.Tensor):
            weight = weight.float() if weight.element_size() == 1 else weight  # such as float8
            if not weight.isfinite().all() and not _is_mask(weight):
                return name
    return ""


def _is_mask(weight: torch.Tensor) -> bool:
    return not weight.is_complex() and bool(((weight == 0) | weight.isneginf()).all())


# -- times ----------------------------------------------------------------------------------------


def epoch_is_due(trainer: Trainer, min_steps: int) -> bool:
    """Returns whether to act at the end of this epoch.

    That is each epoch, or every few if an epoch has fewer than `min_steps` batches: a data set of
    ten batches would otherwise get a picture and a checkpoint every ten steps. The end of the run
    is always due.
    """
    every = max(1, math.ceil(min_steps / trainer.num_training_batches))
    return (trainer.current_epoch + 1) % every == 0 or is_over(trainer)


def is_over(trainer: Trainer) -> bool:
    """Returns whether the step or epoch that just ended is the run's last."""
    loop: Any = trainer.fit_loop
    epochs, steps = loop.epoch_progress.current.processed, trainer.global_step
    may_stop = epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0)
    return (
        (trainer.max_steps != -1 and steps >= trainer.max_steps)
        or (trainer.max_epochs not in (None, -1) and epochs >= trainer.max_epochs)
        or (trainer.should_stop and may_stop)  # early stopping
    )


# -- finding one ----------------------------------------------------------------------------------


def resolve(
    wanted: str | Path, runs: Path, resume: bool = False, option: str = "--ckpt_path"
) -> Path:
    """Finds the checkpoint that `--ckpt_path` or another option means.

    Args:
        wanted: A file; a folder, also one in `runs`, for the newest in or below it; `last` or
            `best`, for the newest or the best below `runs`; or `RUN/best`.
        runs: The folder of this experiment's runs.
        resume: A run will continue, for which weights alone are not enough.
        option: The name of the option, for messages.
    """
    wanted, path, checkpoint = str(wanted), Path(wanted), None
    if path.name == "best" and not path.exists():
        folder = runs if wanted == "best" else path.parent
        checkpoint = max(folder.glob("**/best.ckpt"), key=os.path.getmtime, default=None)
        problem = (
            f"no best.ckpt below {folder}. Classifiers that are validated, and generators whose "
            "samples are scored, keep one; 'last' is the newest checkpoint."
        )
    elif wanted == "last" or path.is_dir() or (runs / path).is_dir():
        folder = runs if wanted == "last" else path if path.is_dir() else runs / path
        checkpoint = newest(folder, resume)
        problem = _reason_for_none(folder)
    elif path.is_file() or path.is_symlink():
        checkpoint = path
    else:
        there = [other.name for other in path.parent.glob("[!.]*")]
        near = difflib.get_close_matches(path.name, there, n=1)
        remedy = f"Give a checkpoint, a run folder, or 'last' for the newest run below {runs}."
        remedy = f"Did you mean {path.parent / near[0]}?" if near else remedy
        problem = f"no such file or folder. {remedy}"
    if checkpoint is None:
        raise UserError(f"{option} {wanted}: {problem}")
    require_printable(checkpoint)
    if wrong := problem_of(checkpoint):
        raise UserError(
            f"{option} {wanted}: {wrong}. Give another, or a run folder, for its newest."
        )
    if resume and (missing := _missing_to_resume(checkpoint)):
        raise UserError(
            f"{option} {wanted}: it has weights but no {missing}, so no run can continue from "
            "it. Use it with test, sample or predict, or give a checkpoint of a run."
        )
    return checkpoint


def newest(folder: Path, resume: bool = False) -> Path | None:
    """Returns the newest sound checkpoint in or below a folder; None if there is none.

    Dates of files decide only between runs, because a clock may have jumped. Within a run, the
    checkpoint with the highest step is the newest.

    Args:
        folder: A run's folder or one above.
        resume: Leave out those from which a run cannot continue.
    """
    # `last.ckpt` may point to one that was removed.
    checkpoints = [path for path in folder.glob("**/[!.]*.ckpt") if path.is_file()]
    dates: dict[Path, float] = {}
    for path in checkpoints:
        dates[path.parent] = max(dates.get(path.parent, 0.0), path.lstat().st_mtime)
    seen: set[Path] = set()
    damaged: list[str] = []
    for run in sorted(dates, key=lambda run: dates[run], reverse=True):
        for path in sorted((p for p in checkpoints if p.parent == run), key=_rank, reverse=True):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            if wrong := problem_of(path):
                damaged.append(f"{path}: {wrong}")
            elif not (resume and _missing_to_resume(path)):
                for text in damaged:
                    rank_zero_warn(f"{text}. Going back to {path.name}.")
                return path
    for text in damaged:
        rank_zero_warn(f"{text}. There is no sound one before it.")
    for path in checkpoints:
        with files.file_errors(path):
            _read(path)  # raises if the disk refuses, which is not the same as none
    return None


def _read(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(2**20):
            pass


def _reason_for_none(folder: Path) -> str:
    """Returns why `newest` has found nothing, and the remedy."""
    checkpoints = sorted(path for path in folder.glob("**/[!.]*.ckpt") if path.is_file())
    if sound := next((path for path in checkpoints if not problem_of(path)), None):
        return f"{sound} has weights alone: start a new run from them with --init_from {sound}"
    if checkpoints:
        return f"no checkpoint below {folder} is sound: train anew"
    return f"no checkpoint below {folder}. Train first, or name a file."


def _rank(path: Path) -> tuple[bool, float, bool, str]:
    """Ranks by the step. `best.ckpt` comes last, because it is not what the run ended with."""
    step = 0.0
    if is_of_the_end := path.name != "best.ckpt":
        try:
            step = saved_step(path) or 0.0
        except Exception:  # damaged, and perhaps the newest
            step = math.inf
    return is_of_the_end, step, path.name == "last.ckpt", path.name


def _missing_to_resume(path: Path) -> str:
    with files.file_errors(path):
        return ", ".join(key for key in RESUMABLE if key not in contents(path))


def saved_step(path: str | Path | None) -> int | None:
    """Returns the step at which a checkpoint was saved; None if it does not say.

    The names of most files have it, so that they need not be opened.
    """
    if path is None or not Path(path).is_file():
        return None
    if (named := _named_step(Path(path))) < math.inf:
        return int(named)
    step = contents(Path(path)).get("global_step")
    return step if isinstance(step, int) else None


def _named_step(path: Path) -> float:
    """Returns the step in a file's name; infinity if it has none."""
    named = re.search(r"step=(\d+)", path.resolve().name)
    return int(named[1]) if named else math.inf


def run_folder_of(checkpoint: Path) -> Path | None:
    """Returns the run folder that contains a checkpoint, or None if the checkpoint is elsewhere."""
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else None
