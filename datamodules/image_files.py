"""Image files of any size and mode, brought to one shape, once: a cache keeps the result."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

Fit = Literal["crop", "pad", "stretch"]
SUFFIXES = (*IMG_EXTENSIONS, ".gif")
FORMAT = 2  # of the cache; a change of what `decode` returns needs a new number
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # or not there


class UnreadableImageError(Exception):
    """An image file that cannot be read; the message is the reason."""


def find_files(folder: Path) -> Iterator[Path]:
    """Yields the files in and below a folder, sorted, without hidden ones."""
    found: list[Path] = []
    for inside, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]  # others may vanish
        found += [Path(inside, name) for name in names if not name.startswith(".")]
    yield from (path for path in sorted(found) if path.is_file())


def find_images(folder: Path) -> Iterator[Path]:
    """Yields the image files in and below a folder, sorted, without hidden ones."""
    return (path for path in find_files(folder) if path.suffix.lower() in SUFFIXES)


def read_image(path: Path) -> Image.Image:
    """Reads an image file in 8-bit colour ("RGB"; grey ones have equal channels).

    Turns the image as its EXIF orientation says. Transparent parts become white. 16-bit grey is
    scaled to 8 bits.

    Raises:
        UnreadableImageError: If the file is no image, is incomplete or has floating-point pixels.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image in a format that can be read") from None
    except Exception as error:  # Pillow's decoders raise errors of many kinds for damaged files.
        raise UnreadableImageError(" ".join(str(error).split()) or type(error).__name__) from error
    if image.mode == "F":
        raise UnreadableImageError("has floating-point pixels: convert it to 8 bits a channel")
    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        values = np.asarray(image).astype(np.int64) // 257
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def to_tensor(image: Image.Image, image_shape: tuple[int, int, int], fit: Fit = "crop") -> Tensor:
    """Brings an image to `image_shape`, as uint8 (C, H, W), with antialiasing.

    Args:
        image: A grey or colour image of any size.
        image_shape: Channels (1 or 3), height and width.
        fit: `crop` cuts off what does not fit, equally on both sides. `pad` adds white edges.
            `stretch` changes the proportions.
    """
    channels, height, width = image_shape
    image = image.convert("L" if channels == 1 else "RGB")
    size, method = (width, height), Image.Resampling.BICUBIC
    if fit == "crop":
        image = ImageOps.fit(image, size, method)
    elif fit == "pad":
        # `ImageOps.pad` would round the short side of a thinner image to 0.
        wide = max(image.width, image.height // (2 * height) + 1)
        high = max(image.height, image.width // (2 * width) + 1)
        image = image.resize((wide, high), method)  # a copy, unless it is so thin
        image = ImageOps.pad(image, size, method, color="white")
    else:
        image = image.resize(size, method)
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1).contiguous()


class Decoded(NamedTuple):
    """Images of one shape, and the files that could not be read."""

    images: Tensor  # uint8 (N, C, H, W) in the order of the files; zeros for unreadable ones
    sizes: np.ndarray  # int64 (N, 2), width and height of the files' images; 0 for unreadable ones
    failures: dict[int, str]  # reasons, by the numbers of unreadable files
    content: str  # SHA-256 of the files' names and bytes


def decode(
    root: Path, files: Sequence[Path], image_shape: tuple[int, int, int], fit: Fit
) -> Decoded:
    """Brings image files below `root` to one shape, or finds the result in `<root>/.ladder`.

    A result is kept there for the names and bytes of the files, the shape and the fit, unless files
    are unreadable or the folder cannot be written.
    """
    with ThreadPoolExecutor(8) as pool:  # Pillow decodes without Python's lock.
        names = [file.relative_to(root).as_posix() for file in files]
        pairs = list(zip(names, pool.map(_digest, files), strict=True))
        content = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
        key = hashlib.sha256(f"{FORMAT} {content} {image_shape} {fit}".encode()).hexdigest()[:32]
        kept = root / ".ladder" / f"{key}.npz"
        with suppress(*DAMAGED), np.load(kept) as arrays:
            return Decoded(torch.from_numpy(arrays["images"]), arrays["sizes"], {}, content)
        results = list(pool.map(lambda file: _decode(file, image_shape, fit), files))
    failures = {i: result for i, result in enumerate(results) if isinstance(result, str)}
    images = torch.zeros(len(files), *image_shape, dtype=torch.uint8)
    sizes = np.zeros((len(files), 2), np.int64)
    for i, result in enumerate(results):
        if not isinstance(result, str):
            images[i], sizes[i] = result
    if not failures and not kept.parent.is_symlink():  # which others may have made
        with suppress(OSError):  # a read-only folder or a full disk
            kept.parent.mkdir(exist_ok=True)
            with TemporaryDirectory(dir=kept.parent) as own:  # Several runs may do so at once.
                np.savez(f"{own}/it.npz", images=images.numpy(), sizes=sizes)
                Path(own, "it.npz").replace(kept)
    return Decoded(images, sizes, failures, content)


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"  # `_decode` reports it.


def _decode(
    file: Path, image_shape: tuple[int, int, int], fit: Fit
) -> tuple[Tensor, tuple[int, int]] | str:
    """Returns the pixels and the size in the file, or the reason why there are none."""
    try:
        image = read_image(file)
    except UnreadableImageError as error:
        return str(error)
    return to_tensor(image, image_shape, fit), image.size
