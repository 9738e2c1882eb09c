"""The data of a run: those that its checkpoint names, and the images of its training."""

import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from datamodules.data_module import DataModule, Split, hashes_of
from datamodules.image_files import read_inside
from runtime import checkpoints, files
from runtime.errors import UserError

LISTS = "images.txt"  # in a run's folder
SEEN = "training_images.bin"  # beside checkpoints: sorted hashes of 8 bytes, and their CRC-32
MAX_SEEN = 0.01  # of the images of a score
MAX_BYTES = 2**33  # of a file that others may have made
SPLITS = {"val": "validation", "test": "test"}


def keep_seen(folder: Path, data: Any, initial: str | Path | None = None) -> None:
    """Writes hashes of the training images into the folder of a run's checkpoints.

    Names that the data have told in part go into a file beside that folder.

    Args:
        folder: The folder.
        data: The run's data, after `setup`.
        initial: The checkpoint with the first weights, which have seen other images before.
    """
    if (train := _images(data, "train")) is None:
        return
    seen = [hashes_of(train)]
    if initial and (before := Path(initial).with_name(SEEN)).exists():
        with suppress(UserError):  # Damaged: no reason to end a training.
            seen.append(_read(before))
    hashes = np.unique(np.concatenate(seen)).astype("<u8").tobytes()
    checkpoints.make_folder(folder)
    files.write(folder / SEEN, lambda file: file.write_bytes(hashes + _check(hashes)))
    if data.lists:
        path = folder.parent / LISTS
        text = "\n".join("\n".join([f"# {kind}", *names, ""]) for kind, names in data.lists.items())
        files.write(path, lambda file: file.write_text(text, "utf-8"))
        rank_zero_info(f"Names of these images: {path}")


def check_same(data: DataModule, checkpoint: Path, given: Collection[str] | None) -> None:
    """Refuses data that config.yaml describes otherwise than the checkpoint.

    Args:
        data: The data, after `setup`.
        checkpoint: The checkpoint, which a change of a byte makes invalid.
        given: Options that the user has given beside those of config.yaml; None: all of them.
    """
    states = _states(checkpoint)
    if given is None or not states:
        return
    if (name := type(data).__qualname__) not in states:
        raise UserError(
            f"{checkpoint} was trained with data of {', '.join(states)}, and its run's config.yaml "
            f"has {name}: correct it"
        )
    data.check_same(states[name], given)


def is_own(data: DataModule, checkpoint: Path) -> bool:
    """Returns whether a checkpoint says that it was trained on these data."""
    state = _states(checkpoint).get(type(data).__qualname__)
    return state is not None and not data.differences(state)


def check_unseen(data: DataModule, checkpoint: Path, split: str, allow_seen: bool) -> None:
    """Counts the images of a split that a run has seen in training.

    Raises:
        UserError: If these are more than 1 % of a split that is not the run's own.
    """
    images, path = _images(data, split), checkpoint.parent / SEEN
    if images is None:
        return
    own = is_own(data, checkpoint)
    if not path.exists():
        if not own:
            rank_zero_warn(f"{path} is missing, so images that the run has seen are not counted.")
        return
    seen, count = np.isin(hashes_of(images), _read(path)).sum(), len(images.targets)
    text = f"{seen:,} of the {count:,} {SPLITS[split]} images are training images of this run"
    if seen > MAX_SEEN * count and not own and not allow_seen:
        raise UserError(f"{text}, so scores are too good: give others, or add --allow_seen true")
    if seen:
        rank_zero_info(f"{text}.")


def _images(data: Any, split: str) -> Split | None:
    """Returns a split of images; None: there is none, or its content is not known."""
    splits = data.splits if isinstance(data, DataModule) else None
    return getattr(splits, split) if splits and len(data.input_shape) == 3 else None


def _states(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Returns the states of data in a checkpoint, by the names of their classes."""
    values = checkpoints.contents(checkpoint).items()
    states = {name: value for name, value in values if isinstance(value, dict)}
    return {name: it for name, it in states.items() if isinstance(it.get("identity"), dict)}


def _read(path: Path) -> np.ndarray:
    content = read_inside(path.parent, path, MAX_BYTES)
    if _check(content[:-8]) != content[-8:] or len(content) % 8:
        raise UserError(f"{path} is damaged: restore it or remove it")
    return np.frombuffer(content[:-8], "<u8")


def _check(hashes: bytes) -> bytes:
    return zlib.crc32(hashes).to_bytes(8, "little")
