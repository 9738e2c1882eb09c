"""Pictures that were decoded once, in one array in a file that all processes of a node share.

Each set has a folder in the cache: `pixels.npy`, and `index.npz` with all else that is known of it.
Both appear complete or not at all, the index last, so a decoding that was killed begins again.
"""

import hashlib
import json
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from datamodules.data_module import Splits, hash_of
from datamodules.image_files import (
    DAMAGED,
    Fit,
    UnreadableImageError,
    count_pixels,
    read_arrays,
    read_image,
    read_inside,
    to_tensor,
)
from runtime.errors import UserError, printable
from runtime.files import remove_partial_files, write

FORMAT = 4  # of the files; a change of what decoding returns needs a new number
LIMIT = 100  # GB of all sets
CHUNK_FILES, CHUNK_BYTES = 128, 2**24  # image files that are decoded together
PIXEL_BYTES = 8  # of an image file at most: 16 bits in four channels, not compressed
MAX_CLASSES = 2**16
RECORD = np.dtype(
    [
        ("hash", "u8"),
        ("check", "u4"),
        ("size", "u4", 2),
        ("label", "u2"),
        ("split", "u1"),
        ("lightest", "u1"),
    ]
)


class Picture(NamedTuple):
    """A picture that is not decoded yet."""

    name: str  # within the data set
    content: Path | bytes  # an image file, or its bytes
    split: str  # of `Splits`
    label: Any  # number or name of its class; 0 if there are no classes
    folder: Path = Path()  # of the data set, out of which no name or link of a file may lead


class Source(NamedTuple):
    """Pictures that can be decoded. What is stored of them holds until one of `files` changes.

    `open` returns the pictures, and the names of the classes; None: the labels tell them.
    """

    files: dict[str, Path]  # by names within the data set
    open: Callable[[], tuple[Iterable[Picture], tuple[str, ...] | None]]
    num_pictures: int | None = None  # None: not known before they are read


class StoredImages:
    """Images uint8 (N, C, H, W) in a file, which are read when they are asked for.

    `images[index]` returns a tensor, and `take(index)` more `StoredImages`, without reading. An
    image that this process reads for the first time is compared with its checksum.

    Args:
        path: The file, an array in NumPy's format.
        records: A `RECORD` of each image in it; an unreadable one has the size 0.
        about: Facts of the set, such as its class names and unreadable files.
    """

    dtype = torch.uint8

    def __init__(self, path: Path, records: np.ndarray, about: dict[str, Any]) -> None:
        self.path, self.records, self.about = path, records, about
        shape = (len(records), *about["image_shape"])
        header = _header_of(shape)
        with path.open("rb") as file:
            if file.read(len(header)) != header:  # NumPy would evaluate it.
                raise ValueError("its header is not the one that was written")
        self.pixels: np.ndarray = np.memmap(path, np.uint8, "r", len(header), shape)
        self.numbers = torch.arange(len(self.pixels))  # of these images in the file
        self.checked = np.zeros(len(self.pixels), bool)  # those that this process has compared

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self), *self.pixels.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of these images."""
        return int(np.prod(self.shape))

    @property
    def facts(self) -> np.ndarray:
        """Records (N,) of these images: hashes, checksums, sizes, labels and splits."""
        return self.records[self.numbers.numpy()]

    def take(self, index: slice | Tensor) -> "StoredImages":
        """Returns the images at `index`, a slice, int64 (M,) or bool (N,), without reading them."""
        images = object.__new__(StoredImages)
        images.__dict__ |= self.__dict__ | {"numbers": self.numbers[index]}
        return images

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        numbers = self.numbers[index].numpy()
        self._read_together(numbers)
        images = self.pixels[numbers]
        for i in np.flatnonzero(~self.checked[numbers]):
            if checksum_of(images[i]) != self.records["check"][numbers[i]]:
                with suppress(OSError):  # so that the next run decodes again
                    self.path.with_name("index.npz").unlink()
                raise UserError(
                    f"{self.path}: image {numbers[i]} is not what was decoded, because the disk or "
                    "a program has changed it: repeat the command, which decodes the images again. "
                    "A run that had begun continues with --ckpt_path last"
                )
        self.checked[numbers] = True
        return torch.from_numpy(images)

    def _read_together(self, numbers: np.ndarray) -> None:
        """Asks the system for several images at once, which a disk reads three times as fast."""
        memory, size = self.pixels.base, self.pixels[:1].nbytes
        if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED"):  # not on Windows
            for number in numbers.tolist():
                begin = len(memory) - self.pixels.nbytes + number * size
                extra = begin % mmap.PAGESIZE
                memory.madvise(mmap.MADV_WILLNEED, begin - extra, size + extra)

    def to(self, device: torch.device) -> Tensor:
        """Reads all images onto a device."""
        return self[:].to(device)


def checksum_of(image: np.ndarray) -> int:
    """Returns a CRC-32, which takes a fifth of the time of a hash."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def cache_folder() -> Path:
    """Returns `LADDER_CACHE`, or this project's folder in the user's cache folder."""
    own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LADDER_CACHE") or Path(own, "ladder")).expanduser()


def entries() -> list[Path]:
    """Returns the folders of the sets in the cache, the last used first."""
    folders = cache_folder().glob("[0-9a-f]" * 16)
    sets = [it for it in folders if it.is_dir() and not it.is_symlink()]
    return sorted(sets, key=lambda folder: -folder.stat().st_mtime)


def describe(folder: Path) -> dict[str, Any]:
    """Returns what is known of a set; empty if it is incomplete or of an earlier version."""
    with suppress(*DAMAGED, UserError):
        return json.loads(read_arrays(folder / "index.npz")["about"].tobytes())
    return {}


def size_of(folder: Path) -> int:
    """Returns the bytes of a set in the cache."""
    return sum(path.lstat().st_size for path in folder.glob("*"))


def remove(folder: Path) -> bool:
    """Removes a set from the cache; False if a process is decoding it."""
    with suppress(Timeout), FileLock(f"{folder}.lock", timeout=0):
        shutil.rmtree(folder, ignore_errors=True)
        return True
    return False


class Store:
    """The decoded pictures of one data set, at one size.

    Args:
        path: The folder, file or address.
        image_shape: (C, H, W).
        fit: How images of other proportions are resized.
        max_pixels: Limit for each image.
        labeled: The pictures have classes.
    """

    def __init__(
        self,
        path: str,
        image_shape: tuple[int, int, int],
        fit: Fit,
        max_pixels: int,
        labeled: bool,
    ) -> None:
        self.image_shape, self.fit, self.max_pixels = image_shape, fit, max_pixels
        self.path, self.labeled = path, labeled
        self.options = {
            "path": path, "image_shape": [*image_shape], "fit": fit, "max_pixels": max_pixels,
            "labeled": labeled, "format": FORMAT,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(self.options).encode()).hexdigest()[:16]
        self.folder = cache_folder() / key
        self.pixels, self.index = self.folder / "pixels.npy", self.folder / "index.npz"

    def load(self, source: Source) -> StoredImages:
        """Returns the pictures of a source; decodes them if they are new or its files have changed.

        Other processes wait until this one has decoded.

        Raises:
            UserError: If the cache cannot be written.
        """
        lock = FileLock(f"{self.folder}.lock")
        try:
            if self.folder.is_symlink():
                raise UserError(f"{self.folder} is a link: remove it, and a folder takes its place")
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(Timeout):
                lock.acquire(timeout=0)
            if not lock.is_locked:
                rank_zero_info(f"Another process decodes {printable(self.path)}: waiting for it.")
                lock.acquire()
            images = self._open(source)
            if images is None:
                self._decode(source)
                images = self._open(source)
            os.utime(self.folder)  # It was used.
        except OSError as error:
            size = int(np.prod(self.image_shape)) * (source.num_pictures or 0) / 1e9
            raise UserError(
                f"the cache {self.folder} cannot be written ({error.strerror or error}). Decoded "
                f"images take {f'{size:.2f} GB' if size else 'a byte a pixel and channel'}: make "
                "room, or set the environment variable LADDER_CACHE to a folder with room"
            ) from None
        finally:
            lock.release()
        if images is None:
            raise UserError(f"{printable(self.path)} changes while it is read: repeat the command")
        _keep_within_limit(self.folder)
        return images

    def _open(self, source: Source) -> StoredImages | None:
        """Maps the stored pictures; None: there are none, or of other files, or damaged ones."""
        with suppress(*DAMAGED, UserError, TypeError):
            arrays = read_arrays(self.index)
            about, records = json.loads(arrays["about"].tobytes()), arrays["records"]
            files = source.files | {name: Path(name) for name in about["beside"]}
            if (
                about["files"] == _state_of(files)
                and self.pixels.is_file()
                and about["image_shape"] == [*self.image_shape]
                and records.dtype == RECORD
                and records["split"].max(initial=0) < len(Splits._fields)
                and records["label"].max(initial=0) < len(about["class_names"] or [0])
            ):
                return StoredImages(self.pixels, records, about)
        return None

    def _decode(self, source: Source) -> None:
        """Decodes all pictures."""
        remove_partial_files(self.folder)
        self.index.unlink(missing_ok=True)  # It describes what is replaced.
        count = source.num_pictures
        some = "the images" if count is None else f"{count:,} images"
        rank_zero_info(f"Decoding {some} of {printable(self.path)}, once.")
        pictures, classes = source.open()
        done: list[_Decoded] = []
        with Tqdm(total=count, desc="Decoding", unit=" images", leave=False, disable=None) as bar:
            write(self.pixels, lambda path: done.extend(self._write_pixels(path, pictures, bar)))
        if not done:
            raise UserError(f"{printable(self.path)} has no images")
        records = np.array([it.record for it in done], RECORD)
        if self.labeled:
            records["label"], classes = _numbered([it.picture.label for it in done], classes)
        known = {*source.files.values()}
        beside = [it.picture.content for it in done if isinstance(it.picture.content, Path)]
        files = {str(path): path for path in beside if path not in known}
        contents = json.dumps([(it.picture.name, it.digest) for it in done])
        about = self.options | {
            "files": _state_of(source.files | files), "beside": [*files],
            "names": [it.picture.name for it in done],
            "class_names": classes, "failures": [it.failure for it in done if it.failure],
            "content": hashlib.sha256(contents.encode()).hexdigest(),
        }  # fmt: skip
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        write(self.index, lambda path: np.savez(path, records=records, about=text))

    def _write_pixels(self, path: Path, pictures: Iterable[Picture], bar: Tqdm) -> list["_Decoded"]:
        """Writes the pixels. A full disk refuses to, where mapped memory would end the process."""
        done: list[_Decoded] = []
        with path.open("r+b") as file:
            file.write(_header_of((0, *self.image_shape)))
            for chunk in _chunks(pictures):
                images = np.zeros((len(chunk), *self.image_shape), np.uint8)
                done += self._decode_into(images, chunk)
                file.write(images.data)
                bar.update(len(chunk))
            file.seek(0)
            file.write(_header_of((len(done), *self.image_shape)))
        return done

    def _decode_into(self, images: np.ndarray, chunk: list[Picture]) -> list["_Decoded"]:
        workers = (os.cpu_count() or 1) + 4
        with ThreadPoolExecutor(workers) as pool:
            contents = [*pool.map(self._read, chunk)]
            largest = min(self.max_pixels, max(pool.map(count_pixels, contents)))
        # Each image takes the memory of all its pixels. Pillow decodes without Python's lock.
        with ThreadPoolExecutor(min(workers, 2 * self.max_pixels // largest)) as pool:
            return [*pool.map(self._decode_one, images, chunk, contents)]

    def _read(self, picture: Picture) -> bytes:
        """Returns the bytes of an image file, no more than its pixels can have."""
        if isinstance(picture.content, bytes):
            return picture.content
        return read_inside(picture.folder, picture.content, PIXEL_BYTES * self.max_pixels)

    def _decode_one(self, pixels: np.ndarray, picture: Picture, content: bytes) -> "_Decoded":
        """Decodes an image into `pixels` (C, H, W)."""
        size, failure = (0, 0), ""
        try:
            image = read_image(BytesIO(content), self.max_pixels)
            size, pixels[:] = image.size, to_tensor(image, self.image_shape, self.fit).numpy()
        except UnreadableImageError as error:
            failure = f"{picture.name} ({error})"
        split = Splits._fields.index(picture.split)
        record = hash_of(pixels), checksum_of(pixels), size, 0, split, pixels.max()
        if isinstance(picture.content, bytes):
            picture = picture._replace(content=b"")  # gives its memory back
        return _Decoded(picture, record, hashlib.sha256(content).hexdigest(), failure)


class _Decoded(NamedTuple):
    picture: Picture
    record: tuple[Any, ...]
    digest: str  # SHA-256 of the file
    failure: str  # its name and why it cannot be read; empty: it can


def _numbered(
    labels: list[Any], names: tuple[str, ...] | None
) -> tuple[list[int], tuple[str, ...]]:
    """Returns the numbers of the classes, and their names."""
    if names is None and any(isinstance(label, str) for label in labels):
        names = (*sorted({*map(str, labels)}),)
        known = {name: number for number, name in enumerate(names)}
        labels = [known[str(label)] for label in labels]
    numbers = [int(label) for label in labels]
    names = names or (*map(str, range(1 + max(numbers))),)
    if max(numbers) >= len(names) or len(names) > MAX_CLASSES:
        raise UserError(
            f"the largest label is {max(numbers):,} of {len(names):,} classes: number them from 0, "
            f"at most {MAX_CLASSES:,} of them"
        )
    return numbers, names


def _chunks(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    """Yields pictures that are decoded together."""
    chunk, size = list[Picture](), 0
    for picture in pictures:
        chunk.append(picture)
        if isinstance(picture.content, bytes):
            size += len(picture.content)
        elif picture.content.is_file():
            size += picture.content.stat().st_size
        if len(chunk) == CHUNK_FILES or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _header_of(shape: tuple[int, ...]) -> bytes:
    """Returns the header of an array in NumPy's format, as long for any number of rows."""
    header, file = {"descr": "|u1", "fortran_order": False, "shape": shape}, BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _state_of(files: Mapping[str, Path]) -> str:
    """Returns a hash of the names, sizes and times of files."""
    states = []
    for name, path in files.items():
        with suppress(OSError):  # It is missing.
            state = path.stat()
            states.append((name, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def _keep_within_limit(used: Path) -> None:
    """Removes the sets that were not used for the longest time, if all are too large."""
    total = 0
    for folder in (used, *(it for it in entries() if it != used)):
        total += size_of(folder)
        if total > LIMIT * 1e9 and folder != used and remove(folder):
            rank_zero_info(f"Removed {folder} from the cache, which is limited to {LIMIT} GB.")
