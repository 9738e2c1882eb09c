"""Image files of any size and mode, brought to one shape."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

Fit = Literal["crop", "pad", "stretch"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
GREY = ("1", "L", "LA", "La", "I", "F")  # Pillow's modes; also I;16 and its variants


class UnreadableImageError(Exception):
    """An image file that cannot be read; the message is the reason."""


def find_files(folder: Path) -> Iterator[Path]:
    """Yields the files in and below a folder, sorted, without hidden ones."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def is_image(path: Path) -> bool:
    """Returns whether a file's name has the suffix of an image."""
    return path.suffix.lower() in SUFFIXES


def find_images(folder: Path) -> Iterator[Path]:
    """Yields the image files in and below a folder, sorted, without hidden ones."""
    return filter(is_image, find_files(folder))


def count_channels(path: Path) -> int:
    """Returns the channels, 1 or 3, of what `read_image` returns; reads the file's header only.

    Raises:
        UnreadableImageError: If the header cannot be read.
    """
    try:
        with Image.open(path) as file:
            return 1 if _is_grey(file.mode) else 3
    except Exception as error:
        raise UnreadableImageError(_reason(error)) from error


def read_image(path: Path) -> Image.Image:
    """Reads an image file as 8-bit grey ("L") or colour ("RGB"), upright, on white.

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
    except Exception as error:  # Pillow's decoders raise errors of many kinds for damaged files.
        raise UnreadableImageError(_reason(error)) from error
    if image.mode == "F":
        raise UnreadableImageError("has floating-point pixels: convert it to 8 bits a channel")
    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        values = np.asarray(image).astype(np.int64)
        if 0 < values.max(initial=0) < 4096:
            _warn_of_dark_images(path.parent)
        image = Image.fromarray((values // 257).clip(0, 255).astype(np.uint8))
    mode = "L" if _is_grey(image.mode) else "RGB"
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)


@cache
def _warn_of_dark_images(folder: Path) -> None:
    rank_zero_warn(
        f"{folder} has 16-bit images without a value above 4,095 of 65,535, as 12-bit cameras "
        "write them. They are nearly black: multiply their values by 16 first."
    )


def _is_grey(mode: str) -> bool:
    return mode in GREY or mode.startswith("I;")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format that can be read"
    return " ".join(str(error).split()) or type(error).__name__


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
        image = ImageOps.pad(image, size, method, color="white")
    else:
        image = image.resize(size, method)
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1).contiguous()
