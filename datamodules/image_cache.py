"""Image files decoded once: cached beside them, by their content."""

import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from datamodules.image_files import Fit, UnreadableImageError, read_image, to_tensor
from runtime.files import write

FORMAT = 1  # of the cache; a change of what `decode` returns needs a new number
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Decoded(NamedTuple):
    """Images of one shape, and the files that could not be read."""

    images: Tensor  # uint8 (N, C, H, W) in the order of the files; zeros for unreadable ones
    failures: dict[str, str]  # reasons, by the names of unreadable files below the root
    content: str  # SHA-256 of the files' names and bytes
    source: str  # in words, for the report


def decode(
    root: Path, files: Sequence[Path], image_shape: tuple[int, int, int], fit: Fit, cache: bool
) -> Decoded:
    """Brings image files below `root` to one shape, or finds the result in a cache.

    The cache is `<root>/.ladder`, or the user's cache folder if that cannot be written. An entry
    belongs to the names and bytes of the files, the shape and the fit. A damaged one is replaced.
    """
    start = time.perf_counter()
    names = [file.relative_to(root).as_posix() for file in files]
    with ThreadPoolExecutor(max_workers()) as pool:
        content = _content(names, list(pool.map(_digest, files)))
        key = hashlib.sha256(f"{FORMAT} {content} {image_shape} {fit}".encode()).hexdigest()[:32]
        places = [folder / f"{key}.npz" for folder in _cache_folders(root)] if cache else []
        for place in places:
            if found := _load(place, (len(files), *image_shape)):
                return Decoded(*found, content, f"from the cache in {place.parent}")
        decoded = pool.map(lambda file: _decode(file, image_shape, fit), files)
        images = torch.zeros(len(files), *image_shape, dtype=torch.uint8)
        failures = {}
        for i, result in enumerate(decoded):
            if isinstance(result, str):
                failures[names[i]] = result
            else:
                images[i] = result
    source = f"decoded in {time.perf_counter() - start:.1f} s"
    if cache:
        _save(places, images, failures)
    return Decoded(images, failures, content, source)


def max_workers() -> int:
    """Returns the number of threads: Pillow decodes without Python's lock."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4))


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return "unreadable"  # `_decode` reports it.


def _content(names: Sequence[str], digests: Sequence[str]) -> str:
    pairs = list(zip(names, digests, strict=True))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def _decode(file: Path, image_shape: tuple[int, int, int], fit: Fit) -> Tensor | str:
    """Returns the pixels, or the reason why there are none."""
    try:
        return to_tensor(read_image(file), image_shape, fit)
    except UnreadableImageError as error:
        return str(error)


def _cache_folders(root: Path) -> list[Path]:
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return [root / ".ladder", Path(home) / "ladder"]


def _load(place: Path, shape: tuple[int, ...]) -> tuple[Tensor, dict[str, str]] | None:
    """Reads an entry; None if there is none of this shape or it is damaged (zip has checksums)."""
    try:
        with np.load(place, allow_pickle=False) as arrays:
            images, failures = arrays["images"], json.loads(str(arrays["failures"]))
    except DAMAGE:
        return None
    fits = images.shape == shape and images.dtype == np.uint8 and isinstance(failures, dict)
    return (torch.from_numpy(images), failures) if fits else None


def _save(places: Sequence[Path], images: Tensor, failures: dict[str, str]) -> None:
    """Writes an entry into the first place that is writable, whole even if several runs do."""
    arrays = {"images": images.numpy(), "failures": np.array(json.dumps(failures))}
    problems = []
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            own = place.with_stem(f"{place.stem}-{uuid4().hex}")  # Another run may write just now.
            try:
                write(own, lambda file: np.savez(file, allow_pickle=False, **arrays))
                own.replace(place)
            finally:
                own.unlink(missing_ok=True)
            return
        except OSError as error:
            problems.append(f"{place.parent} ({error.strerror or error})")
    rank_zero_warn(
        f"Decoded images cannot be kept for the next run in {' or '.join(problems)}: it will "
        "decode them again. Make a folder writable, or set XDG_CACHE_HOME."
    )
