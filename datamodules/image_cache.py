"""Images that were decoded once: for each folder and size a file that only grows, kept for later.

Beside the pixels there is an index, one record for each image. A record is written after its pixels
are on the disk, so an interrupted run, also by a power cut, leaves complete images, and the next
one goes on behind them.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from datamodules.image_files import Fit, UnreadableImageError, count_pixels, read_image, to_tensor
from datamodules.image_sources import ImageSource
from datamodules.rows import FileRows, OpenFile, cache_folder
from runtime.errors import UserError
from runtime.files import describe_size

FORMAT = 3  # of the files; a change of what decoding returns needs a new number
LIMIT = 100  # GB of all data sets
CHUNK_FILES, CHUNK_BYTES = 128, 2**24  # image files that are decoded together
CHECKED = 8  # images whose pixels are compared with the index at each start
FACTS = np.dtype([("pixels", "u8"), ("look", "u8"), ("lightest", "u1")])
RECORD = np.dtype(
    [("key", "V16"), ("sha256", "V32"), ("size", "u4", 2), ("facts", FACTS), ("check", "u4")]
)


class Decoded(NamedTuple):
    """Images of one shape, and the files that could not be read."""

    images: FileRows  # uint8 (N, C, H, W), in the order of the sources that are readable
    sizes: np.ndarray  # int64 (sources, 2), width and height in the file; 0 for unreadable ones
    failures: dict[int, str]  # reasons, by the numbers of unreadable sources
    content: str  # SHA-256 of the sources' names and bytes


def describe(images: Tensor) -> np.ndarray:
    """Returns facts (N,) of images uint8 (N, C, H, W).

    `pixels` is the same number for equal images. `look` is it for images that look alike: it has
    the levels of 8 x 8 parts that are above their mean (average hash), and finds nine of ten copies
    of photographs as JPEG. `lightest` is the largest level.
    """
    facts = np.zeros(len(images), FACTS)
    levels = F.adaptive_avg_pool2d(images.mean(dim=1, dtype=torch.float32), 8).flatten(1)
    above = (levels > levels.mean(dim=1, keepdim=True)).numpy()
    facts["look"] = np.packbits(above, axis=1).view("<u8")[:, 0]
    facts["lightest"] = images.flatten(1).amax(dim=1)
    found = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images.numpy())
    facts["pixels"] = np.frombuffer(b"".join(found), "<u8")
    return facts


def entries() -> list[Path]:
    """Returns the folders of the data sets in the cache, the last used first."""
    found = [path.parent for path in cache_folder().glob("*/about.json")]
    return sorted(found, key=lambda folder: -(folder / "about.json").stat().st_mtime)


def remove(folder: Path) -> bool:
    """Removes a data set from the cache; False if a process is decoding it."""
    try:
        with FileLock(f"{folder}.lock", timeout=0):
            (folder / "about.json").unlink(missing_ok=True)  # first, so that it is no entry
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        return False
    return True


class ImageCache:
    """The decoded images of one folder, at one size.

    Args:
        root: The folder, or a file of many images.
        image_shape: (C, H, W).
        fit: How images of other proportions are resized.
        max_pixels: Limit for each image.
    """

    def __init__(
        self, root: Path, image_shape: tuple[int, int, int], fit: Fit, max_pixels: int
    ) -> None:
        self.image_shape, self.fit, self.max_pixels = image_shape, fit, max_pixels
        self.about = {
            "path": str(root.resolve()), "image_shape": image_shape, "fit": fit,
            "max_pixels": max_pixels, "format": FORMAT,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(self.about).encode()).hexdigest()[:16]
        self.folder = cache_folder() / key
        self.pixels, self.index = self.folder / "pixels.u8", self.folder / "index"
        self.row_bytes = int(np.prod(image_shape))

    def load(self, sources: Sequence[ImageSource], order: Sequence[int]) -> Decoded:
        """Returns the images of these sources. Decodes those that are new or have changed.

        `order` has the numbers of the sources in the order in which their pixels shall lie in the
        file. Other processes wait until this one has decoded.

        Raises:
            UserError: If the cache cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked():
                decoded = self._load(sources, order)
        except OSError as error:
            raise UserError(
                f"the cache {self.folder} cannot be written ({error.strerror or error}). Decoded "
                f"images take {describe_size(self.row_bytes * len(sources))}: make room, or set "
                "the environment variable LADDER_CACHE to a folder with room. Decoded images "
                "stay, and the same command goes on"
            ) from None
        _keep_within_limit(self.folder)
        return decoded

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(f"{self.folder}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            rank_zero_info(f"Another process decodes {self.about['path']}: waiting for it.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _load(self, sources: Sequence[ImageSource], order: Sequence[int]) -> Decoded:
        (self.folder / "about.json").write_text(json.dumps(self.about))  # and marks it as used
        keys = [_key(source) for source in sources]
        records, failures = self._records(), dict[int, tuple[str, str]]()
        known = {*records["key"].tolist()}
        if missing := [i for i in order if keys[i] not in known]:
            failures = self._append(sources, keys, missing, len(records))
            records = self._records()
        rows = {key: row for row, key in enumerate(records["key"].tolist())}
        readable = np.array([i not in failures for i in range(len(sources))])
        numbers = np.array([rows[keys[i]] for i in np.flatnonzero(readable)], np.int64)
        found, sizes = records[numbers], np.zeros((len(sources), 2), np.int64)
        sizes[readable] = found["size"]
        images = FileRows(
            OpenFile(self.pixels), self.image_shape, torch.from_numpy(numbers), found["facts"]
        )
        if self._is_damaged(images):
            rank_zero_warn(f"{self.folder} is damaged: the images are decoded again.")
            self.index.unlink()
            return self._load(sources, order)
        digests = iter(found["sha256"].tolist())
        pairs = [
            (source.name, failures[i][0] if i in failures else next(digests).hex())
            for i, source in enumerate(sources)
        ]
        content = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
        reasons = {i: reason for i, (_, reason) in failures.items()}
        return Decoded(images, sizes, reasons, content)

    def _records(self) -> np.ndarray:
        """Returns a record for each image; one that a power cut has torn has another key."""
        if not (self.index.exists() and self.pixels.exists()):
            return np.zeros(0, RECORD)
        whole = self.pixels.stat().st_size // self.row_bytes
        records = np.fromfile(self.index, RECORD)[:whole]
        records["key"][records["check"] != _checks(records)] = bytes(16)
        return records

    def _is_damaged(self, images: FileRows) -> bool:
        """Compares a few images with the index."""
        some = torch.linspace(0, len(images) - 1, min(len(images), CHECKED)).long()
        facts = describe(images[some])["pixels"] if len(some) else np.zeros(0, "u8")
        return not np.array_equal(facts, images.take(some).facts["pixels"])  # type: ignore[index]

    def _append(
        self, sources: Sequence[ImageSource], keys: list[bytes], missing: list[int], kept: int
    ) -> dict[int, tuple[str, str]]:
        """Decodes the missing sources behind `kept` images.

        Returns:
            The SHA-256 and the reason for each source that cannot be read, by its number.
        """
        failures: dict[int, tuple[str, str]] = {}
        size = describe_size(self.row_bytes * len(missing))
        some = f"{len(missing):,} new or changed" if kept else f"{len(missing):,}"
        rank_zero_info(f"Decoding {some} images of {self.about['path']}, {size}, once.")
        flags, bar = (
            os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0),
            Tqdm(total=len(missing), desc="Decoding", unit=" images", leave=False, disable=None),
        )
        with (
            bar,
            open(os.open(self.pixels, flags, 0o600), "wb") as pixels,
            open(os.open(self.index, flags, 0o600), "wb") as index,
        ):
            pixels.truncate(kept * self.row_bytes)
            index.truncate(kept * RECORD.itemsize)
            for file in (pixels, index):
                file.seek(0, os.SEEK_END)
            for numbers in _chunks(sources, missing):
                found = self._decode([sources[i] for i in numbers])
                whole = [image for image, _, _ in found if isinstance(image, Tensor)]
                records = np.zeros(len(whole), RECORD)
                good = iter(records)
                for i, (image, digest, detail) in zip(numbers, found, strict=True):
                    if image is None:
                        failures[i] = digest, str(detail)
                        continue
                    record = next(good)
                    record["key"], record["sha256"] = keys[i], bytes.fromhex(digest)
                    record["size"] = detail
                if whole:
                    images = torch.stack(whole)
                    records["facts"] = describe(images)
                    records["check"] = _checks(records)
                    pixels.write(images.numpy().reshape(-1).data)
                    pixels.flush()
                    os.fsync(pixels.fileno())  # before the index says that they are there
                    index.write(records.tobytes())
                    index.flush()
                bar.update(len(numbers))
        return failures

    def _decode(self, sources: Sequence[ImageSource]) -> list[tuple[Tensor | None, str, Any]]:
        """Returns the pixels, the SHA-256 and the size, or None and the reason, of each source."""
        with ThreadPoolExecutor(8) as pool:
            contents = list(pool.map(_read, sources))
            largest = min(self.max_pixels, max(pool.map(count_pixels, contents)))
        # Each image takes the memory of all its pixels. Pillow decodes without Python's lock.
        with ThreadPoolExecutor(min(8, 2 * self.max_pixels // largest)) as pool:
            return list(pool.map(self._decode_one, contents))

    def _decode_one(self, content: bytes | None) -> tuple[Tensor | None, str, Any]:
        digest = "unreadable" if content is None else hashlib.sha256(content).hexdigest()
        try:
            image = read_image(BytesIO(content or b""), self.max_pixels)
        except UnreadableImageError as error:
            return None, digest, str(error)
        return to_tensor(image, self.image_shape, self.fit), digest, image.size


def _checks(records: np.ndarray) -> np.ndarray:
    size = RECORD.itemsize - RECORD["check"].itemsize
    return np.array([zlib.crc32(record.tobytes()[:size]) for record in records], "u4")


def _key(source: ImageSource) -> bytes:
    """Returns what tells a source from another one, and from the same one after a change."""
    text = f"{source.name}\0{source.size}\0{source.changed}".encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()


def _read(source: ImageSource) -> bytes | None:
    try:
        return source.read()
    except OSError:
        return None


def _chunks(sources: Sequence[ImageSource], numbers: list[int]) -> Iterator[list[int]]:
    """Yields numbers of sources that are decoded together."""
    chunk, size = list[int](), 0
    for i in numbers:
        chunk.append(i)
        size += sources[i].size
        if len(chunk) == CHUNK_FILES or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _keep_within_limit(used: Path) -> None:
    """Removes the data sets that were not used for the longest time, if all are too large."""
    total = 0
    for folder in (used, *(it for it in entries() if it != used)):
        total += size_of(folder)
        if total > LIMIT * 1e9 and folder != used and remove(folder):
            rank_zero_info(f"Removed {folder} from the cache, which is limited to {LIMIT} GB.")


def size_of(folder: Path) -> int:
    """Returns the bytes of a data set in the cache."""
    return sum(path.stat().st_size for path in folder.glob("*"))
