"""Image files of any size and mode, and their conversion to one shape."""

import math
import os
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from runtime.errors import UserError, printable

Fit = Literal["crop", "pad", "stretch"]
SUFFIXES = (*IMG_EXTENSIONS, ".gif")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")  # which state their size
MAX_UNPACKED, DEFLATED = 2**30, 1040  # bytes of arrays in a small file, and for each byte of it
DAMAGED = (  # or not there: what NumPy raises, which evaluates headers
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError),
)


class UnreadableImageError(Exception):
    """An image file that cannot be read; the message is the reason."""


def list_files(folder: Path) -> Iterator[Path]:
    """Yields the files in and below a folder, sorted, without hidden ones."""
    files: list[Path] = []
    for inside, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]  # others may vanish
        files += [Path(inside, name) for name in names if not name.startswith(".")]
    yield from (path for path in sorted(files) if path.is_file())


def find_images(folder: Path) -> Iterator[Path]:
    """Yields the image files in and below a folder, sorted, without hidden ones."""
    return (path for path in list_files(folder) if path.suffix.lower() in SUFFIXES)


def read_inside(folder: Path, path: Path, limit: int) -> bytes:
    """Reads a plain file in or below a folder, at most `limit` bytes of it.

    Raises:
        UserError: If the path or a link leads out of the folder, or to a pipe or device.
    """
    try:
        target = os.path.realpath(path)
        if not Path(target).is_relative_to(os.path.realpath(folder)):
            raise UserError(printable(f"{path} is outside of {folder}: copy the file there"))
        with open(target, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("no plain file")
            return file.read(limit)
    except (OSError, ValueError) as error:
        reason = printable(f"{path} cannot be read ({getattr(error, 'strerror', error)})")
        raise UserError(f"{reason}: replace it or remove it") from None


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file without waiting, as a pipe otherwise does. Windows has no such flag."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_image(source: Path | BytesIO, max_pixels: int = 2**26) -> Image.Image:
    """Reads an image file in 8-bit color ("RGB"; gray ones have equal channels).

    Turns the image as its EXIF orientation says. Transparent parts become white. 16-bit gray is
    scaled to 8 bits. A JPEG of more than `max_pixels` is decoded at half its width and height.

    Raises:
        UnreadableImageError: If the file is no image, is incomplete, has floating-point pixels or
            more pixels than `max_pixels`.
    """
    try:
        with Image.open(source, formats=FORMATS) as file:
            width, height = file.size
            if width * height > max_pixels:
                file.draft(None, (width // 2, height // 2))
            if file.width * file.height > max_pixels:
                size = f"{width:,} x {height:,} pixels"
                raise UnreadableImageError(f"{size}, max_pixels is {max_pixels:,}: shrink it")
            image = ImageOps.exif_transpose(file)
            image.load()
    except (MemoryError, UnreadableImageError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image in a format that can be read") from None
    except Exception as error:  # Pillow's decoders raise errors of many kinds for damaged files.
        raise UnreadableImageError(" ".join(str(error).split()) or type(error).__name__) from error
    if image.mode == "F":
        raise UnreadableImageError("has floating-point pixels: convert it to 8 bits a channel")
    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        values = np.asarray(image) // 257
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def to_tensor(image: Image.Image, image_shape: tuple[int, int, int], fit: Fit = "crop") -> Tensor:
    """Converts an image to uint8 (C, H, W) of shape `image_shape`, with antialiasing.

    Args:
        image: A gray or color image of any size.
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
        if image.width >= 2 * width * image.height:
            image = image.resize((width, 1), method)
        elif image.height >= 2 * height * image.width:
            image = image.resize((1, height), method)
        image = ImageOps.pad(image, size, method, color="white")
    else:
        image = image.resize(size, method)
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def count_pixels(content: bytes | None) -> int:
    """Returns the number of pixels that an image file claims, 1 if it cannot be read."""
    with suppress(Exception), Image.open(BytesIO(content or b""), formats=FORMATS) as image:
        return image.width * image.height
    return 1


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` file.

    Refuses a small file that unpacks to a huge size, and an array whose header does not fit.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        with np.load(path, allow_pickle=False) as arrays:
            members, packed = arrays.zip.infolist(), path.stat().st_size
            size = sum(member.file_size for member in members)
            if size > min(max(MAX_UNPACKED, 100 * packed), DEFLATED * packed):
                raise ValueError(f"{size:,} bytes of arrays in a file of {packed:,} bytes")
            for member in members:
                with arrays.zip.open(member) as file:
                    _check_header(file, member.file_size)
            return dict(arrays)
    except (*DAMAGED, TypeError, MemoryError, AttributeError) as error:  # the last ones: `.npy`
        raise UserError(
            f"{path} cannot be read as arrays ({' '.join(str(error).split())}): set --data.path to "
            "a file that np.savez has written"
        ) from error


def _check_header(file: IO[bytes], size: int) -> None:
    """Refuses a member whose header claims more or fewer bytes than it has."""
    version = np.lib.format.read_magic(file)
    old = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"an array {dtype} of shape {shape} in {size:,} bytes")
